"""The command line as a person uses it: real files in, real files out, and every failure one line."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator import __version__, extensions
from cryoppp_annotator.cli import main, options
from cryoppp_annotator.cli.export import Wanted
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.core.opening import open_project
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files.exporting import DECISIONS

PROGRAM = [sys.executable, "-m", "cryoppp_annotator"]
COMMANDS = ("annotate", "demo", "import", "status", "convert", "export", "simulate")
NAME = "Falcon_2012_06_12-14_33_35_0"
SIZE, PIXEL_A = 256, 2.0


class Result:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process, through everything but the interpreter's start."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        code = main.run([str(a) for a in arguments])
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Session]]:
    sessions: list[Session] = []

    def open_it(folder: Path, **keywords: Any) -> Session:
        sessions.append(open_project(folder, **keywords))
        return sessions[-1]

    yield open_it
    for session in sessions:
        session.close()


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """Two small micrographs of noise."""
    folder = tmp_path / "movies"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(rng.normal(size=(SIZE, SIZE + 32)).astype(np.float32))
            file.voxel_size = PIXEL_A
    return folder


def write_csv(path: Path, rows: list[tuple[float, float]], diameter: float = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["X-Coordinate,Y-Coordinate,Diameter", *(f"{x:g},{y:g},{diameter:g}" for x, y in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def density(session: Session, name: str) -> float:
    """Mean of the denoised picture (s.d. 1) at the picks of a micrograph."""
    (micrograph,) = (m for m in session.micrographs if m.name == name)
    picture = BAND_PASS.denoise(
        images.read(session.path_of(micrograph)),
        pixel_size_A=session.pixel_size_A(micrograph),
        diameter_A=session.diameter_A,
        max_side=1024,
        context=JobContext(),
    )
    particles = session.store.particles(micrograph.id)
    i = np.round(particles.y / picture.step[0]).astype(int)
    j = np.round(particles.x / picture.step[1]).astype(int)
    inside = (i >= 0) & (j >= 0) & (i < picture.pixels.shape[0]) & (j < picture.pixels.shape[1])
    assert inside.sum() > 0.95 * len(particles)
    return float(picture.pixels[i[inside], j[inside]].mean())


def assert_fails(result: Result, *words: str, code: int = 1) -> None:
    assert result.code == code, result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


# --- the program ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.code == 0
    assert "Example:" in result.out
    assert f"cryoppp-annotator {command}" in result.out.split("Example:")[1]


def test_every_command_is_listed(cli: Cli) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        result = cli(*arguments)
        assert result.code == 0
        assert all(f"\n  {command} " in result.out for command in COMMANDS)


def test_version_and_help_start_without_heavy_modules() -> None:
    script = (
        "import sys\n"
        "from cryoppp_annotator.cli.main import run\n"
        "codes = [run(a) for a in (['--version'], ['--help'], ['import', '--help'], ['status'])]\n"
        "heavy = {'numpy', 'scipy', 'sqlalchemy', 'pandas', 'qtpy', 'napari'} & set(sys.modules)\n"
        "print(codes, heavy)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"cryoppp-annotator {__version__}\n")
    assert ran.stdout.endswith("[0, 0, 0, 2] set()\n")


def test_python_m_is_the_same_program() -> None:
    ran = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"cryoppp-annotator {__version__}\n"


def test_units_are_printed_in_ascii_where_the_output_takes_nothing_else(tmp_path: Path) -> None:
    command = [*PROGRAM, "simulate", "-o", tmp_path, "--pixel-size", "50"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"error: a pixel size of 50 A/px makes no sense (0.1 to 20)\n")


def test_a_reader_that_has_seen_enough_is_no_error(movies: Path, tmp_path: Path) -> None:
    subprocess.run([*PROGRAM, "import", tmp_path / "p", "--micrographs", movies], capture_output=True, check=True)
    for command in ([*PROGRAM, "status", tmp_path / "p"], [*PROGRAM, "--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writing)
        assert ran.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("status",),
        ("status", "x", "--jsn"),
        ("export", "p", "-o", "d"),
        ("simulate", "-o", "d", "-n", "0"),
        ("simulate", "-o", "d", "--size", "big"),
        ("import", "p", "--frame", "upside-down"),
        ("convert", "a.csv", "-o", "d", "--to", "relion", "--diameter", "wide"),
        ("simulate", "-o", "d", "--map", "m.mrc", "--structure", "shell"),
    ],
)
def test_wrong_usage_is_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert_fails(cli(*arguments), "--help)", code=2)


def test_choices_are_those_of_the_session() -> None:
    assert {f.value for f in options.Frame} - {"auto"} == {o.value for o in Orientation}
    assert [w.value for w in Wanted] == list(DECISIONS)


def test_debug_shows_the_traceback_wherever_it_stands(cli: Cli, tmp_path: Path) -> None:
    for arguments in (("--debug", "status", tmp_path), ("status", tmp_path, "--debug")):
        result = cli(*arguments)
        assert result.code == 1
        assert "Traceback" in result.err
        assert "ProjectError" in result.err


def test_an_unexpected_error_is_one_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("cryoppp_annotator.cli.status.find_project", broken)
    assert_fails(cli("status", tmp_path), "ZeroDivisionError", "two lines", "--debug")


def test_greedy_options_take_what_a_shell_pattern_makes() -> None:
    given = ["import", "p", "--coords", "a", "b", "--frame", "auto", "--micrographs", "m", "n", "--", "x", "y"]
    assert options.spread(given) == [
        "import",
        "p",
        "--coords",
        "a",
        "--coords",
        "b",
        "--frame",
        "auto",
        "--micrographs",
        "m",
        "--micrographs",
        "n",
        "--",
        "x",
        "y",
    ]
    other = ["export", "p", "--coords", "a", "b"]
    assert options.spread(other) == other


# --- the window ----------------------------------------------------------------------------------------------------


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Stands for the real window and remembers how it was asked for."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def fake(path: Path | None, **keywords: Any) -> int:
        calls.append((path, keywords))
        return 3 if path is None else 0

    monkeypatch.setattr(extensions, "window", lambda: fake)
    return calls


def test_annotate_hands_over_to_the_window(cli: Cli, window: list[Any], movies: Path, tmp_path: Path) -> None:
    shot = tmp_path / "x.png"
    asked = ("annotate", movies, "--project", tmp_path / "p", "--curator", "ada", "--screenshot", shot, "--quit")
    assert cli(*asked, "--scheduler", "tcp://host:8786").code == 0
    keywords = {
        "project": tmp_path / "p",
        "curator": "ada",
        "scheduler": "tcp://host:8786",
        "screenshot": shot,
        "quit_after": True,
        "debug": False,
    }
    assert window == [(movies, keywords)]
    assert cli("--debug", "annotate").code == 3  # the window's own exit code
    assert window[1][0] is None
    assert window[1][1]["debug"] is True
    assert window[1][1]["scheduler"] is None


def test_a_scheduler_file_is_found_wherever_the_window_looks_from_and_dask_must_be_there(
    cli: Cli, window: list[Any], movies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.json").write_text("{}")
    assert cli("annotate", movies, "--scheduler", "s.json").code == 0
    assert window[0][1]["scheduler"] == str(tmp_path / "s.json")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert_fails(cli("annotate", movies, "--scheduler", "s.json"), "pip install 'cryoppp-annotator[cluster]'")
    assert len(window) == 1


def test_annotate_without_qt_or_without_the_folder(
    cli: Cli, window: list[Any], movies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_fails(cli("annotate", tmp_path / "nothing"), "there is no")
    assert window == []
    monkeypatch.undo()
    monkeypatch.setattr(extensions, "find", lambda _: extensions.Found({}, ()))
    assert_fails(cli("annotate", movies), "the window cannot start", "pyqt6")


# --- import --------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_import_puts_cryoppp_picks_on_particles(cli: Cli, opened: Any, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "cryoppp" / "10017"
    result = cli("import", tmp_path / "p", "--micrographs", source, "--coords", source, "--json")
    assert result.code == 0, result.err
    assert result.json["particles"] == {"accepted": 0, "undecided": 1021, "rejected": 0}
    (entered,) = result.json["imports"]
    assert (entered["frame"], entered["verdict"], entered["unmatched"]) == ("flip-y", "flip-y", [])
    session = opened(tmp_path / "p", read_only=True)
    assert {m.name[-10:]: m.n_particles for m in session.micrographs} == {"14_33_35_0": 629, "15_07_41_0": 392}
    assert session.diameter_A == pytest.approx(108 * 1.77)
    assert density(session, NAME) < -1.5


@pytest.mark.realdata
def test_the_wrong_frame_puts_them_on_nothing(cli: Cli, opened: Any, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "cryoppp" / "10017"
    asked = ("import", tmp_path / "p", "--micrographs", source, "--coords", source, "--frame", "as-stored")
    result = cli(*asked)
    assert result.code == 0
    assert "but the image says flip-y" in result.out
    assert abs(density(opened(tmp_path / "p", read_only=True), NAME)) < 0.15


@pytest.mark.realdata
def test_the_lite_picture_gives_the_same_particles(cli: Cli, opened: Any, data_dir: Path, tmp_path: Path) -> None:
    """CryoPPP_Lite's JPGs lie upside down against the MRCs: the same particles, mirrored rows."""
    full, lite = data_dir / "cryoppp" / "10017", data_dir / "cryoppp_lite" / "10017"
    csv = lite / "ground_truth" / "particle_coordinates" / f"{NAME}.csv"
    alone = Path(shutil.copy(csv, tmp_path))  # away from the pictures beside which it says what it is
    assert cli("import", tmp_path / "mrc", "--micrographs", full, "--coords", full).code == 0
    for number, coords in enumerate((lite, csv, alone)):
        project = tmp_path / f"jpg{number}"
        result = cli("import", project, "--micrographs", lite, "--coords", coords, "--pixel-size", "1.77")
        assert result.code == 0, result.err
        sessions = [opened(folder, read_only=True) for folder in (tmp_path / "mrc", project)]
        micrographs = [next(m for m in s.micrographs if m.name == NAME) for s in sessions]
        ours = [s.store.particles(m.id) for s, m in zip(sessions, micrographs, strict=True)]
        np.testing.assert_array_equal(ours[0].x, ours[1].x)
        np.testing.assert_array_equal(micrographs[0].height - ours[0].y, ours[1].y)
        assert density(sessions[1], NAME) < -1.5


@pytest.mark.realdata
@pytest.mark.parametrize(
    "source", ["formats/relion_star/cryosegnet_sample_tab.star", "cryoppp/10017/ground_truth/*_selected.star"]
)
def test_a_star_with_cryoppp_y_is_refused_until_the_frame_is_said(
    cli: Cli, opened: Any, data_dir: Path, tmp_path: Path, source: str
) -> None:
    (original,) = data_dir.glob(source)
    star = Path(shutil.copy(original, tmp_path / "picks.star"))
    asked = ("import", tmp_path / "p", "--micrographs", data_dir / "cryoppp" / "10017", "--coords", star)
    assert_fails(cli(*asked), "the image says flip-y", "--frame")
    assert opened(tmp_path / "p", read_only=True).counts()["undecided"] == 0
    result = cli(*asked, "--frame", "flip-y", "--json")
    assert result.code == 0, result.err
    assert result.json["imports"][0]["picks"] > 600
    assert density(opened(tmp_path / "p", read_only=True), NAME) < -1.5


def test_many_files_are_one_step_and_strange_names_are_told(
    cli: Cli, opened: Any, movies: Path, tmp_path: Path
) -> None:
    files = [write_csv(tmp_path / "csv" / f"{name}.csv", [(10, 20), (30, 40)]) for name in ("a", "b", "zzz")]
    asked = ("import", tmp_path / "p", "--micrographs", movies / "*.mrc", "--coords", *files, "--decision", "accepted")
    result = cli(*asked, "--curator", "ada")
    assert result.code == 0, result.err
    assert result.err == "unmatched: zzz is no micrograph of the project\n"
    session = opened(tmp_path / "p", curator="ada")
    assert session.counts() == {"accepted": 4, "undecided": 0, "rejected": 0}
    assert [s.curator for s in session.pick_sets.values()] == ["ada"]
    session.go(1)
    np.testing.assert_array_equal(session.particles.y, [SIZE - 20, SIZE - 40])
    session.undo()
    assert session.counts()["accepted"] == 0


def test_importing_twice_is_refused(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20)])
    assert cli("import", tmp_path / "p", "--micrographs", movies, "--coords", csv).code == 0
    assert_fails(cli("import", tmp_path / "p", "--coords", csv), "imported before")


def test_permissive_leaves_bad_rows_out_and_lists_them(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20), (30, 40)])
    csv.write_text(csv.read_text().replace("30,40", "thirty,40"))
    asked = ("import", tmp_path / "p", "--micrographs", movies, "--coords", csv)
    assert_fails(cli(*asked), "a.csv, line 3")
    result = cli(*asked, "--permissive", "--json")
    assert result.code == 0
    assert result.err.startswith(f"left out: {csv}, line 3: ")
    assert result.json["particles"]["undecided"] == 1


def test_pixel_size_is_taken_from_the_person(cli: Cli, opened: Any, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20)], diameter=100)
    asked = ("import", tmp_path / "p", "--micrographs", movies, "--coords", csv, "--pixel-size", "0.5")
    assert cli(*asked).code == 0
    session = opened(tmp_path / "p", read_only=True)
    assert session.pixel_size_A(session.micrographs[0]) == 0.5
    assert session.diameter_A == pytest.approx(50)


# --- status and export ---------------------------------------------------------------------------------------------


def test_status_counts_and_works_where_nothing_can_be_written(
    cli: Cli, opened: Any, movies: Path, tmp_path: Path
) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20), (30, 40), (50, 60)])
    (movies / "c.mrc").write_bytes(b"no image")
    project = movies / "annotator-project"
    assert cli("import", project, "--micrographs", movies, "--coords", csv).code == 0
    session = opened(project)
    session.go(1)
    session.decide(session.particles.id[:1], Decision.REJECTED, Reason.CARBON)
    session.set_state([1], MicrographState.COMPLETE)
    session.close()
    before = (project / "annotations.sqlite").read_bytes()
    project.chmod(0o555)
    try:
        for path in (project, project / "annotations.sqlite", movies):
            answer = cli("status", path, "--json").json
            assert answer["micrographs"] == 3
            assert answer["states"] == {"unseen": 2, "in progress": 0, "complete": 1, "empty": 0, "unusable": 0}
            assert answer["particles"] == {"accepted": 0, "undecided": 2, "rejected": 1}
            assert answer["finished"] == 1
            assert [(s["name"], s["particles"]) for s in answer["pick_sets"]] == [("a.csv", 3)]
            assert list(answer["problems"]) == ["c"]
        text = cli("status", project).out
        assert "2 unseen, 1 complete" in text
        assert "0 accepted, 2 undecided, 1 rejected" in text
    finally:
        project.chmod(0o755)
    assert (project / "annotations.sqlite").read_bytes() == before


@pytest.mark.realdata
def test_export_and_import_give_the_same_project(cli: Cli, opened: Any, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "cryoppp" / "10017"
    asked = ("import", tmp_path / "p", "--micrographs", source, "--coords", source, "--decision", "accepted")
    assert cli(*asked).code == 0
    session = opened(tmp_path / "p")
    session.go(1)
    session.decide(session.particles.id[:29], Decision.REJECTED, Reason.CARBON)
    session.move(session.particles.id[100:101], 1234.5678901, 987.25)
    out = tmp_path / "out"
    result = cli("export", tmp_path / "p", "-o", out, "--to", "cryoppp", "--decision", "all", "--json")
    assert result.code == 0
    assert (result.json["picks"], result.json["micrographs"]) == (1021, 2)
    again = ("import", tmp_path / "q", "--micrographs", source, "--coords", out, "--decision", "accepted")
    assert cli(*again).code == 0
    other = opened(tmp_path / "q")
    assert other.counts() == session.counts() == {"accepted": 992, "undecided": 0, "rejected": 29}
    assert other.diameter_A == pytest.approx(session.diameter_A)
    for micrograph in (1, 2):
        first, second = session.store.particles(micrograph), other.store.particles(micrograph)
        a, b = (p.take(np.lexsort((p.y, p.x))) for p in (first, second))
        np.testing.assert_allclose(a.x, b.x, rtol=0, atol=1e-9)
        np.testing.assert_allclose(a.y, b.y, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(a.decision, b.decision)
        np.testing.assert_allclose(session.diameters_A(a), other.diameters_A(b))
        kept = [s.store.extra(micrograph) for s in (session, other)]
        angles = [sorted(row["Angle-Psi"] for row in extra.values()) for extra in kept]
        assert angles[0] == angles[1]


@pytest.mark.realdata
@pytest.mark.relion
def test_relion_reads_exported_particles(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "cryoppp" / "10017"
    assert cli("import", tmp_path / "p", "--micrographs", source, "--coords", source).code == 0
    asked = ("export", tmp_path / "p", "-o", tmp_path, "--to", "relion-particles", "--decision", "undecided")
    assert cli(*asked).code == 0
    given, back = tmp_path / "particles.star", tmp_path / "back.star"
    ran = subprocess.run(
        ["relion_star_handler", "--i", given, "--o", back], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert len(_positions(given)) == 1021
    assert _positions(given)[0].tolist() == [3752, 4096 - 693]
    np.testing.assert_allclose(_positions(given), _positions(back), atol=1e-4)


@pytest.mark.realdata
@pytest.mark.relion
def test_relion_extracts_the_particles_we_picked(cli: Cli, opened: Any, data_dir: Path, tmp_path: Path) -> None:
    """RELION's own extraction from the exported STAR cuts out the pixels that lie around our picks."""
    source, box = data_dir / "cryoppp" / "10017", 64
    assert cli("import", tmp_path / "p", "--micrographs", source, "--coords", source).code == 0
    out = tmp_path / "out"
    assert cli("export", tmp_path / "p", "-o", out, "--to", "relion", "--decision", "undecided").code == 0
    (tmp_path / "micrographs").symlink_to(source / "micrographs")
    words = (
        "--i out/manualpick_micrographs.star --coord_dir out/ --coord_suffix _manualpick.star --part_star part.star "
        f"--part_dir Particles/ --extract --extract_size {box}"
    )
    subprocess.run(["relion_preprocess", *words.split()], cwd=tmp_path, capture_output=True, check=True)
    stack = mrcfile.read(tmp_path / "Particles" / "micrographs" / f"{NAME}.mrcs")
    session = opened(tmp_path / "p", read_only=True)
    particles = session.store.particles(1)
    image = images.read(session.path_of(session.micrographs[0])).astype(np.float32)
    assert len(stack) == len(particles) == 629
    for cut, x, y in zip(stack, particles.x.astype(int), particles.y.astype(int), strict=True):
        if min(x, y) >= box // 2 and max(x, y) <= 4096 - box // 2:
            here = image[y - box // 2 : y + box // 2, x - box // 2 : x + box // 2]
            np.testing.assert_array_equal(cut, here)


def _positions(star: Path) -> np.ndarray:
    from cryoppp_annotator.formats.relion import RELION

    return np.concatenate([np.column_stack([p.x, p.y]) for p in RELION.read(star).picks])


def test_export_of_nothing_says_what_there_is(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20)])
    assert cli("import", tmp_path / "p", "--micrographs", movies, "--coords", csv).code == 0
    assert_fails(cli("export", tmp_path / "p", "-o", tmp_path / "o", "--to", "relion"), "1 undecided")
    for command in (("export", tmp_path / "p"), ("convert", csv)):
        result = cli(*command, "-o", tmp_path / "o", "--to", "word")
        assert_fails(result, "'word'")
        choices = result.err.split("choose one of ")[1].strip().split(", ")
        assert choices == [name for name, fmt in formats().items() if fmt.can_write]
        assert {"cryoppp", "relion", "relion-particles"} <= set(choices)


def test_list_of_formats(cli: Cli) -> None:
    result = cli("convert", "--list-formats")
    assert result.code == 0, result.err
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert list(lines) == list(formats())
    assert "reads, writes" in lines["relion"]
    assert "writes" not in lines["cistem"]


@pytest.mark.realdata
def test_import_from_a_binned_frame(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    """Topaz picks of images made 8 times smaller: said with --scale, or asked of the image."""
    source = data_dir / "cryoppp" / "10017"
    movies = ("--micrographs", source / "micrographs")
    whole, binned = tmp_path / "whole.txt", tmp_path / "binned.txt"
    assert cli("convert", source, "-o", whole, "--to", "topaz", *movies).code == 0
    rows = [line.split("\t") for line in whole.read_text().splitlines()]
    small = [[name, str(float(x) / 8), str(float(y) / 8)] for name, x, y in rows[1:]]
    binned.write_text("\n".join("\t".join(row) for row in [rows[0], *small]) + "\n")
    assert (
        cli("convert", binned, "-o", tmp_path / "c.star", "--to", "relion-particles", *movies, "--scale", 8).code == 0
    )
    truth = np.array([[float(x), float(y)] for _, x, y in rows[1:]])
    np.testing.assert_allclose(_positions(tmp_path / "c.star"), truth)
    asked = ("import", tmp_path / "p", *movies, "--coords", binned)
    assert_fails(cli(*asked), "8 x binned", "--frame")
    for more in (("--scale", 8), ("--frame", "image")):
        result = cli(*asked[:1], tmp_path / str(more[1]), *asked[2:], *more, "--json")
        assert result.code == 0, result.err
        (one,) = result.json["imports"]
        assert (one["frame"], one["anchor"], one["scale"]) == ("as-stored", "centre", 8.0)
    for name in ("8", "image"):
        session = open_project(tmp_path / name, read_only=True)
        positions = np.concatenate([np.column_stack([p.x, p.y]) for p in map(session.store.particles, (1, 2))])
        np.testing.assert_allclose(positions, truth)
        session.close()


def test_an_image_that_cannot_tell_the_frame_is_not_asked(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20)])
    asked = ("import", tmp_path / "p", "--micrographs", movies, "--coords", csv, "--frame", "image")
    assert_fails(cli(*asked), "cannot tell", "--frame")


# --- convert -------------------------------------------------------------------------------------------------------


def test_convert_there_and_back_is_exact(cli: Cli, movies: Path, tmp_path: Path) -> None:
    rows = [(10, 20), (30.25, 41.5), (-3, 300)]
    csv = write_csv(tmp_path / "labels" / "a.csv", rows)
    asked = ("convert", csv, "-o", tmp_path / "a.star", "--to", "relion", "--micrographs", movies)
    result = cli(*asked, "--json")
    assert result.code == 0, result.err
    assert result.json["picks"] == 3
    np.testing.assert_array_equal(_positions(tmp_path / "a.star"), [(x, SIZE - y) for x, y in rows])
    back = ("convert", tmp_path / "a.star", "-o", tmp_path / "a.csv", "--to", "cryoppp", "--micrographs", movies)
    assert_fails(cli(*back), "diameter")
    assert cli(*back, "--diameter", "20px").code == 0
    assert (tmp_path / "a.csv").read_text() == csv.read_text()
    assert cli(*back[:2], "-o", tmp_path / "b.csv", *back[4:], "--diameter", "40").code == 0  # angstrom, 2 A/px
    assert (tmp_path / "b.csv").read_text() == csv.read_text()


def test_convert_needs_the_height_only_for_a_flip(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20), (30, 40)])
    assert_fails(cli("convert", csv, "-o", tmp_path / "o", "--to", "relion"), "--micrographs")
    assert cli("convert", csv, "-o", tmp_path / "o", "--to", "cryoppp").code == 0
    assert (tmp_path / "o" / "ground_truth" / "particle_coordinates" / "a.csv").read_text() == csv.read_text()
    assert cli("convert", csv, "-o", tmp_path / "s.star", "--to", "relion-particles", "--frame", "as-stored").code == 0
    np.testing.assert_array_equal(_positions(tmp_path / "s.star"), [(10, 20), (30, 40)])
    assert cli("convert", tmp_path / "s.star", "-o", tmp_path / "r", "--to", "relion").code == 0
    np.testing.assert_array_equal(_positions(tmp_path / "r" / "a_manualpick.star"), [(10, 20), (30, 40)])


def test_convert_angstrom_needs_a_pixel_size(cli: Cli, tmp_path: Path) -> None:
    star = tmp_path / "a.star"
    star.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n10 20\n")
    asked = ("convert", star, "-o", tmp_path / "o", "--to", "cryoppp", "--frame", "flip-y", "--diameter", "50")
    assert_fails(cli(*asked), "--pixel-size")
    assert cli(*asked, "--pixel-size", "2").code == 0
    written = tmp_path / "o" / "ground_truth" / "particle_coordinates" / "a.csv"
    assert written.read_text().splitlines()[1] == "10,20,25"


def test_convert_keeps_rejected_picks_apart(cli: Cli, tmp_path: Path) -> None:
    truth = tmp_path / "d" / "ground_truth"
    write_csv(truth / "particle_coordinates" / "a.csv", [(10, 20)])
    false = write_csv(truth / "false_positives" / "a_false_positives.csv", [(30, 40)])
    asked = ("--to", "relion-particles", "--frame", "as-stored")
    result = cli("convert", tmp_path / "d", "-o", tmp_path / "d.star", *asked)
    assert result.code == 0
    assert "1 rejected pick," in result.err
    np.testing.assert_array_equal(_positions(tmp_path / "d.star"), [(10, 20)])
    assert cli("convert", false, "-o", tmp_path / "f.star", *asked).code == 0
    np.testing.assert_array_equal(_positions(tmp_path / "f.star"), [(30, 40)])
    assert cli("convert", tmp_path / "d", "-o", tmp_path / "e", "--to", "cryoppp").code == 0
    assert len(list((tmp_path / "e").rglob("*.csv"))) == 2


def test_convert_several_micrographs_into_one_file_is_refused(cli: Cli, movies: Path, tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"{name}.csv", [(10, 20)]) for name in ("a", "b", "c")]
    asked = ("convert", *files, "--to", "relion", "--micrographs", movies)
    assert_fails(cli(*asked, "-o", tmp_path / "x.star"), "name a folder")
    result = cli(*asked, "-o", tmp_path / "x")
    assert result.code == 0
    assert "c is no micrograph" in result.err


@pytest.mark.realdata
def test_convert_real_picks_to_particles_and_back(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "cryoppp" / "10017"
    movies = ("--micrographs", source / "micrographs")
    star = tmp_path / "particles.star"
    assert cli("convert", source, "-o", star, "--to", "relion-particles", *movies).code == 0
    assert cli("convert", star, "-o", tmp_path, "--to", "cryoppp", *movies, "--diameter", "108px").code == 0
    for original in sorted((source / "ground_truth" / "particle_coordinates").glob("*.csv")):
        ours = tmp_path / "ground_truth" / "particle_coordinates" / original.name
        a, b = (np.loadtxt(f, delimiter=",", skiprows=1, usecols=(0, 1, 2)) for f in (original, ours))
        np.testing.assert_array_equal(a, b)


# --- simulate and demo ---------------------------------------------------------------------------------------------

SMALL = ("--micrographs", 2, "--size", "320x256", "--particles", 12, "--seed", 5, "--pixel-size", 4)


def test_simulate_tells_the_truth_in_every_layout(cli: Cli, opened: Any, tmp_path: Path) -> None:
    out = tmp_path / "sim"
    result = cli("simulate", "-o", out, *SMALL, "--json")
    assert result.code == 0, result.err
    answer = json.loads((out / "truth.json").read_text())
    assert answer["complete"] is True
    assert answer["parameters"]["seed"] == 5
    info = images.probe(out / answer["micrographs"][0]["file"])
    assert (info.width, info.height) == (320, 256)
    assert info.pixel_size_A == pytest.approx(4)
    n = sum(len(m["particles"]) for m in answer["micrographs"])
    assert n == result.json["particles"] > 0
    truth = np.array([(p["x"], p["y"]) for m in answer["micrographs"] for p in m["particles"]])
    np.testing.assert_allclose(_positions(out / "truth.star"), truth, atol=1e-12)
    assert cli("import", tmp_path / "p", "--micrographs", out, "--coords", out).code == 0
    session = opened(tmp_path / "p", read_only=True)
    xy = [(p.x, p.y) for m in session.micrographs for p in [session.store.particles(m.id)]]
    np.testing.assert_allclose(np.concatenate([np.column_stack(pair) for pair in xy]), truth, atol=1e-9)


def test_simulate_repeats_itself_and_leaves_other_files_alone(cli: Cli, tmp_path: Path) -> None:
    for folder in ("one", "two", "one"):  # the second time in its place
        assert cli("simulate", "-o", tmp_path / folder, *SMALL).code == 0
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    for file in files:
        one, two = ((tmp_path / folder / file).read_bytes() for folder in ("one", "two"))
        if file.suffix == ".mrc":
            one, two = one[1024:], two[1024:]  # the header's label tells the time
        assert one == two, file
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    assert_fails(cli("simulate", "-o", precious, *SMALL), "holds other files")
    assert os.listdir(precious) == ["thesis.tex"]


def test_simulate_from_a_map(cli: Cli, tmp_path: Path) -> None:
    z, y, x = np.indices((24, 24, 24)) - 11.5
    blob = np.exp(-(z**2 / 40 + y**2 / 20 + x**2 / 10)).astype(np.float32)
    mrcfile.write(tmp_path / "map.mrc", blob)
    asked = ("simulate", "-o", tmp_path / "o", *SMALL, "--map", tmp_path / "map.mrc")
    assert_fails(cli(*asked), "--voxel-size")
    assert cli(*asked, "--voxel-size", 5).code == 0
    assert_fails(cli("simulate", "-o", tmp_path / "x", "--structure", "teapot"), "shell, double-ring, blob")


@pytest.mark.relion
@pytest.mark.realdata
def test_relion_projects_the_same_view_at_our_angles(data_dir: Path, tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    from cryoppp_annotator.batch.simulate import structure_from_map
    from cryoppp_annotator.imaging.shapes import make_views

    source = data_dir / "maps" / "ribosome70s_5A.mrc"
    views = make_views(structure_from_map(source, 5.0), 5.0, 2, seed=0)
    values = mrcfile.read(source)
    level = values.mean() + values.std()
    mrcfile.write(tmp_path / "map.mrc", np.where(values > level, values - level, 0).astype(np.float32), voxel_size=5.0)
    for i, turn in enumerate(views.orientations):
        angles = Rotation.from_quat(turn).inv().as_euler("ZYZ", degrees=True)
        named = [a for pair in zip(("--rot", "--tilt", "--psi"), map(str, angles), strict=True) for a in pair]
        asked = ["relion_project", "--i", tmp_path / "map.mrc", "--o", tmp_path / "out.mrc", "--angpix", "5", *named]
        subprocess.run(asked, capture_output=True, check=True)
        theirs, ours = mrcfile.read(tmp_path / "out.mrc").squeeze(), views.render(i, 0.0, 0.0)
        shape = np.maximum(theirs.shape, ours.shape)
        spectra = [np.fft.fft2(image - image.mean(), s=shape) for image in (theirs, ours)]
        match = np.fft.ifft2(spectra[0] * spectra[1].conj()).real.max()
        assert match > 0.95 * np.linalg.norm(theirs - theirs.mean()) * np.linalg.norm(ours - ours.mean())


def test_demo_is_made_once_and_found_again(cli: Cli, opened: Any, window: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = cli("demo", "--dir", folder, "--quit")
    assert result.code == 0, result.err
    assert window[0][0] == folder / "annotator-project"
    session = opened(folder / "annotator-project", curator="ada")
    assert [m.state.value for m in session.micrographs] == ["complete", "in progress", *["unseen"] * 4]
    sets = {s.name: number for number, s in session.pick_sets.items()}
    assert set(sets) == {"truth", "candidates"}
    for micrograph in session.micrographs:
        particles = session.store.particles(micrograph.id)
        truth = particles.take(particles.pick_set == sets["truth"])
        candidates = particles.take(particles.pick_set == sets["candidates"])
        assert set(truth.decision.tolist()) == {int(micrograph.id <= 2)}
        assert np.isfinite(candidates.score).all()
        assert set(candidates.class_id.tolist()) <= set(range(1, 9))
        near = np.hypot(truth.x[:, None] - candidates.x, truth.y[:, None] - candidates.y).min(axis=0)
        radius = 0.5 * session.diameter_A / session.pixel_size_A(micrograph)
        np.testing.assert_array_equal(candidates.class_id >= 7, near > radius)
        rejected = candidates.decision == Decision.REJECTED
        np.testing.assert_array_equal(rejected, (candidates.class_id >= 7) & (micrograph.id == 1))
    assert session.next_undo() is None  # what the simulation did is not the curator's to undo
    session.go(3)
    session.decide(session.particles.id[:7], Decision.ACCEPTED)
    assert cli("demo", "--dir", folder, "--no-window").out.startswith("found")
    assert opened(folder / "annotator-project").counts() == session.counts()
    assert_fails(cli("demo", "--dir", folder, "--seed", 1), "other parameters")
    assert_fails(cli("simulate", "-o", folder), "project")
    assert cli("demo", "--dir", tmp_path, "--no-window").code == 1


def test_an_interrupted_demo_is_made_anew(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr("cryoppp_annotator.batch.demo._start", lambda *_: (_ for _ in ()).throw(OSError("unplugged")))
        assert_fails(cli("demo", "--dir", folder, "--micrographs", 1, "--no-window"), "unplugged")
    assert cli("demo", "--dir", folder, "--micrographs", 1, "--no-window").out.startswith("made")


def test_ctrl_c_cancels_the_job(tmp_path: Path) -> None:
    asked = [*PROGRAM, "simulate", "-o", str(tmp_path / "o"), "-n", "500"]
    # a shell that runs this in the background ignores SIGINT, and so would the program
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    wait_for(lambda: any((tmp_path / "o" / "micrographs").glob("simulated_*.mrc")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "cancelled; what was finished is kept\n"
    assert json.loads((tmp_path / "o" / "truth.json").read_text())["complete"] is False
    assert len(list((tmp_path / "o" / "micrographs").glob("simulated_*.mrc"))) < 500
    assert not list((tmp_path / "o" / "micrographs").glob(".*"))


def wait_for(ready: Callable[[], bool], timeout_s: float = 300) -> None:
    limit = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals to imitate")
def test_a_bar_is_drawn_on_a_terminal_only(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    asked = [*PROGRAM, "simulate", "-o", str(tmp_path / "o"), *map(str, SMALL)]
    ran = subprocess.run(asked, stdout=subprocess.PIPE, stderr=theirs, text=True, check=True)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    assert b"Simulating" in drawn
    assert ran.stdout.startswith("simulated 2 micrographs")
    assert ran.stdout.count("\n") == 1


# --- hostile input -------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path, movies: Path) -> dict[str, Path]:
    """Files that are not what they are called."""
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)) * 20)
    empty = tmp_path / "empty.star"
    empty.write_bytes(b"")
    folder = tmp_path / "empty"
    folder.mkdir()
    database = tmp_path / "other" / "annotations.sqlite"
    database.parent.mkdir()
    database.write_bytes(b"not a database" * 100)
    taken = tmp_path / "taken"
    taken.write_text("here first")
    return {
        "MISSING": tmp_path / "missing",
        "BINARY": binary,
        "EMPTY": empty,
        "FOLDER": folder,
        "OTHER": database.parent,
        "TAKEN": taken,
        "MOVIES": movies,
        "NEW": tmp_path / "new",
        "GOOD": write_csv(tmp_path / "a.csv", [(10, 20)]),
    }


@pytest.mark.parametrize(
    "command",
    [
        "annotate MISSING",
        "status MISSING",
        "status FOLDER",
        "status TAKEN",
        "status OTHER",
        "export OTHER -o NEW --to relion",
        "export MISSING -o NEW --to relion",
        "import NEW",
        "import NEW --micrographs MISSING",
        "import NEW --micrographs FOLDER",
        "import TAKEN --micrographs MOVIES",
        "import TAKEN/deeper --micrographs MOVIES",
        "import OTHER --micrographs MOVIES",
        "import NEW --micrographs MOVIES --coords MISSING",
        "import NEW --micrographs MOVIES --coords BINARY",
        "import NEW --micrographs MOVIES --coords EMPTY",
        "import NEW --micrographs MOVIES --coords FOLDER",
        "import NEW --micrographs MOVIES --coords GOOD --format word",
        "import NEW --micrographs MOVIES --coords GOOD --pixel-size -1",
        "convert MISSING -o NEW --to relion",
        "convert BINARY -o NEW --to relion",
        "convert GOOD -o TAKEN --to cryoppp",
        "convert GOOD -o TAKEN/deeper.csv --to cryoppp",
        "convert GOOD -o NEW --to word",
        "convert GOOD -o NEW --to relion --micrographs MISSING",
        "convert GOOD -o NEW --to relion --micrographs FOLDER",
        "simulate -o TAKEN",
        "simulate -o TAKEN/deeper",
        "simulate -o NEW --map MISSING",
        "simulate -o NEW --map BINARY",
        "simulate -o NEW --size 10",
        "simulate -o NEW --pixel-size 0",
        "demo --dir TAKEN --no-window",
        "demo --dir MOVIES --no-window",
    ],
)
def test_hostile_input_is_one_line(cli: Cli, hostile: dict[str, Path], command: str) -> None:
    arguments = []
    for word in command.split():
        name, _, rest = word.partition("/")
        arguments.append(str(hostile[name] / rest) if name in hostile else word)
    assert_fails(cli(*arguments))
    assert hostile["TAKEN"].read_text() == "here first"


def test_output_that_cannot_be_written_is_one_line(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20)])
    project = tmp_path / "p"
    assert cli("import", project, "--micrographs", movies, "--coords", csv).code == 0
    for command in (
        ("export", project, "--to", "relion", "--decision", "all", "-o", "/proc/nowhere"),
        ("convert", csv, "--to", "cryoppp", "-o", "/proc/nowhere"),
        ("simulate", *SMALL, "-o", "/proc/nowhere"),
        ("import", "/proc/nowhere", "--micrographs", movies),
        ("demo", "--no-window", "--dir", "/proc/nowhere"),
    ):
        assert_fails(cli(*command))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_project_refuses_imports(cli: Cli, movies: Path, tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "a.csv", [(10, 20)])
    project = tmp_path / "p"
    assert cli("import", project, "--micrographs", movies).code == 0
    project.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert_fails(cli("import", project, "--coords", csv))
    finally:
        project.chmod(0o755)
