"""Classes of RELION and cryoSPARC come in: matched by micrograph and position, what does not match is counted."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from class_tools import (
    BAR,
    DIAMETER_A,
    PIXEL_A,
    SIDE,
    all_picks,
    averages,
    make_micrographs,
    make_project,
    write_cryosparc,
    write_relion,
)

from cryoppp_annotator.cli import main
from cryoppp_annotator.errors import AnnotatorError, FormatError, Refused
from cryoppp_annotator.formats.class_files import read_class_files
from cryoppp_annotator.formats.image.stacks import read_stack, write_stack
from cryoppp_annotator.formats.table.star import format_star, number_text
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.classes import decide, other_programs
from cryoppp_annotator.session.core.session import Session


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("made") / "data"
    truth = make_micrographs(folder, 2)
    make_project(folder, truth, jitter_px=1.0).close()
    return folder, truth


@pytest.fixture
def session(made, tmp_path: Path) -> Iterator[Session]:
    from cryoppp_annotator.session.core import opening

    shutil.copytree(made[0], tmp_path / "data")
    opened = opening.open_project(tmp_path / "data" / "project", curator="me")
    yield opened
    opened.close()


class Truth:
    """The places as another program's particles: found at the pick, off by a known shift from its particle."""

    def __init__(self, session: Session, truth: dict[str, np.ndarray]) -> None:
        picks = all_picks(session)
        self.id, self.x, self.y = picks["id"], picks["x"], picks["y"]
        self.dx, self.dy = truth["x"] - self.x, truth["y"] - self.y
        self.names = [f"m{int(i)}.mrc" for i in truth["micrograph"]]
        self.number = truth["kind"].astype(np.int32) + 1


@pytest.fixture
def other(session: Session, made) -> Truth:
    return Truth(session, made[1])


def check(session: Session, files: list[Path], other: Truth, source: str, posterior: float, pixel_A: float) -> None:
    before = all_picks(session)
    result = other_programs.import_run(session, files)
    assert result.problem == ""
    run = decide.enter_run(session, result)
    assert (run.source, len(run.summaries), run.pixel_size_A) == (source, 3, pytest.approx(pixel_A))
    assert [item.resolution_A for item in run.summaries] == pytest.approx([10.0, 11.0, 12.0])
    assert all(0 <= item.quality <= 1 for item in run.summaries)
    assert all((item.quality >= 0.35) == (item.suggestion is Decision.ACCEPTED) for item in run.summaries)
    members = decide.members(session, run.id)
    assert np.array_equal(members.particle, other.id)
    assert np.array_equal(members.number, other.number)
    assert members.posterior == pytest.approx(posterior)
    assert members.shift_x == pytest.approx(other.dx, abs=0.02)
    assert members.shift_y == pytest.approx(other.dy, abs=0.02)
    assert members.angle_deg == pytest.approx(-30.0, abs=1e-4)
    assert np.array_equal(decide.load_averages(session, run), averages(3, 24))
    assert {k: v.tolist() for k, v in all_picks(session).items()} == {k: v.tolist() for k, v in before.items()}
    assert decide.is_out_of_date(session, run) == 0
    # and it is acted on like one's own
    assert decide.decide_classes(session, run.id, [3], Decision.REJECTED).n == (other.number == 3).sum()
    assert decide.recentre(session, run.id, [1]).n == (other.number == 1).sum()
    assert decide.save_templates(session, run.id, [2]).is_file()
    with pytest.raises(AnnotatorError, match="another program"):
        decide.update_of(run)


@pytest.mark.parametrize("old", [False, True])
def test_relion(session: Session, other: Truth, tmp_path: Path, old: bool) -> None:
    # the particle lies at its coordinates minus the origin
    origin = -np.column_stack([other.dx, other.dy]) * PIXEL_A
    data = write_relion(tmp_path / "rel", other.x, other.y, other.names, other.number, origin_A=origin, old=old)
    check(session, [data], other, "relion", 0.75, 4.0)


@pytest.mark.parametrize("apart", [False, True])
def test_cryosparc(session: Session, other: Truth, tmp_path: Path, apart: bool) -> None:
    shift = -np.column_stack([other.dx, other.dy]) * PIXEL_A / 4.0
    data = write_cryosparc(tmp_path / "cs", other.x, other.y, other.names, other.number, shift_px=shift, apart=apart)
    check(session, [data], other, "cryosparc", 0.5, 4.0)


def test_files_named_in_any_order_and_from_different_places(session: Session, other: Truth, tmp_path: Path) -> None:
    data = write_relion(tmp_path / "rel", other.x, other.y, other.names, other.number)
    (tmp_path / "away").mkdir()
    moved = [shutil.move(data.with_name(f"run_it025_{n}"), tmp_path / "away") for n in ("classes.mrcs", "model.star")]
    with pytest.raises(FormatError, match="averages are not beside it"):
        read_class_files([data])
    class_set = read_class_files([*map(Path, moved), data])
    assert class_set.resolution_A.tolist() == [10.0, 11.0, 12.0]
    cs = write_cryosparc(tmp_path / "cs", other.x, other.y, other.names, other.number)
    images = cs.with_name("J12_020_class_averages.cs")
    assert read_class_files([images, cs]).program == "cryosparc"
    stack = cs.with_name("J12_020_class_averages.mrc")
    images.unlink()
    assert np.isnan(read_class_files([stack, cs]).resolution_A).all()
    with pytest.raises(FormatError, match="averages are not beside it"):
        read_class_files([cs])


def test_what_lies_on_no_pick_is_counted_and_one_pick_takes_one_particle(
    session: Session, other: Truth, tmp_path: Path
) -> None:
    far = DIAMETER_A / PIXEL_A
    x, y = other.x.copy(), other.y.copy()
    x[0] += 0.2 * far  # within a quarter of the diameter
    x[1] += 0.3 * far
    x = np.append(x, other.x[5] + 2.0)  # beside the one that lies on the pick
    y = np.append(y, other.y[5])
    names = [*other.names, other.names[5]]
    number = np.append(other.number, 1).astype(np.int32)
    names[7] = "elsewhere.mrc"
    data = write_relion(tmp_path / "rel", x, y, names, number)
    result = other_programs.import_run(session, [data])
    text = " · ".join(result.notes)
    n = len(other.x)
    assert f"3 of {n + 1} particles lie on no pick here" in text
    assert "2 picks on these micrographs are in no class" in text
    assert "1 names match no micrograph (MotionCorr/job002/elsewhere.mrc" in text
    assert set(result.members["particle"]) == set(np.delete(other.id, [1, 7]))
    assert result.members["number"][result.members["particle"] == other.id[5]] == other.number[5]
    assert result.members["shift_x"][result.members["particle"] == other.id[0]] == pytest.approx(0.2 * far, abs=1e-3)


def test_a_frame_that_the_image_contradicts_is_asked_about(session: Session, other: Truth, tmp_path: Path) -> None:
    real = other.number < 3
    names = [n for n, keep in zip(other.names, real, strict=True) if keep]
    data = write_relion(tmp_path / "rel", other.x[real], SIDE - other.y[real], names, other.number[real])
    with pytest.raises(Refused, match=r"frame|lie on a pick"):
        other_programs.import_run(session, [data])
    result = other_programs.import_run(session, [data], orientation=Orientation.FLIP_Y)
    assert len(result.members["particle"]) == real.sum()


def test_hostile_files(session: Session, other: Truth, tmp_path: Path) -> None:
    def relion(**changed: object) -> Path:
        given = {"x": other.x, "y": other.y, "names": other.names, "number": other.number, **changed}
        return write_relion(tmp_path / "rel", given["x"], given["y"], given["names"], given["number"])

    data = relion()
    write_stack(data.with_name("run_it025_classes.mrcs"), averages(2, 24), 4.0)
    with pytest.raises(FormatError, match=r"class 3.*2 averages"):
        read_class_files([data])
    data = relion()
    data.with_name("run_it025_classes.mrcs").write_bytes(b"\0" * 700)
    with pytest.raises(FormatError, match=r"classes\.mrcs"):
        read_class_files([data])
    data = relion()
    data.write_text(data.read_text().replace("0.75", "high"))
    with pytest.raises(FormatError, match="rlnMaxValueProbDistribution"):
        read_class_files([data])
    data = relion()
    data.write_text(data.read_text().replace("rlnClassNumber", "rlnSomething"))
    with pytest.raises(FormatError, match="rlnClassNumber"):
        read_class_files([data])
    with pytest.raises(Refused, match=r"0 of .* import its coordinates first"):
        other_programs.import_run(session, [relion(x=other.x + 20.0, y=other.y + 20.0)])
    with pytest.raises(FormatError, match="other micrographs"):
        other_programs.import_run(session, [relion(names=["x.mrc"] * len(other.x))])
    cs = write_cryosparc(tmp_path / "cs", other.x, other.y, other.names, other.number)
    with pytest.raises(FormatError, match="one program"):
        read_class_files([cs, relion()])
    with pytest.raises(FormatError, match=r"neither \.star"):
        read_class_files([tmp_path / "notes.txt"])
    cs.write_bytes(cs.read_bytes()[:-40])
    with pytest.raises(FormatError):
        read_class_files([cs])
    assert decide.list_runs(session) == []


# ---------------------------------------------------------------------- command line


def test_the_command_line_classifies_imports_and_exports(
    session: Session, other: Truth, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = session.store.folder

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main.run([str(a) for a in arguments])
        return (code, *capfd.readouterr())

    code, out, _ = run("export-classes", folder)
    assert (code, out.strip()) == (0, "no classes yet: cryoppp-annotator classify PROJECT")
    code, out, _ = run("classify", folder, "-k", 3, "--seed", 1, "--json")
    made = json.loads(out)
    assert (code, made["run"], len(made["classes"])) == (0, 1, 3)
    assert sum(c["count"] for c in made["classes"]) == len(other.x)
    data = write_relion(tmp_path / "rel", other.x, other.y, other.names, other.number)
    code, out, err = run("import-classes", folder, data, "--name", "from RELION", "--json")
    assert (code, json.loads(out)["run"]) == (0, 2)
    assert "frame" in err
    code, out, _ = run("export-classes", folder, "--json")
    assert [entry["source"] for entry in json.loads(out)["runs"]] == ["here", "relion"]
    session.refresh()
    decide.decide_classes(session, 2, [3], Decision.REJECTED)
    code, out, _ = run("export-classes", folder, "-o", "out", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["run"] == 2
    names = ["classes.mrcs", "particles.star", "summary.csv", "gallery.png"]
    assert answer["files"] == [f"out/{name}" for name in names]
    assert np.array_equal(read_stack(tmp_path / "out" / "classes.mrcs")[0], averages(3, 24))
    table = read_star(tmp_path / "out" / "particles.star").table("particles")
    assert table is not None
    kept = other.number != 3
    assert [int(n) for n in table.columns["rlnClassNumber"]] == other.number[kept].tolist()
    assert np.array(table.columns["rlnCoordinateX"], float) == pytest.approx(other.x[kept], abs=1e-3)
    assert set(table.columns["rlnAnglePsi"]) == {"30.0000"}
    # what was written comes in again as it went out
    shutil.copy(tmp_path / "out" / "classes.mrcs", tmp_path / "out" / "averages.mrcs")
    code, _, err = run("import-classes", folder, "out/particles.star", "out/averages.mrcs")
    assert code == 0, err
    again = decide.members(session, 3)
    assert np.array_equal(again.number, other.number[kept])
    for arguments, said in (
        (("export-classes", folder, "-o", "x", "--run", 9), "no such classes (runs: 1, 2, 3)"),
        (("export-classes", folder, "-o", "x", "--classes", "1,99"), "has no class 99"),
        (("export-classes", folder, "-o", "x", "--classes", "first"), "numbers of classes, as in 1,4,7"),
        (("import-classes", folder, "nothing.star"), "nothing.star"),
        (("import-classes", tmp_path, data), "no project"),
        (("classify", folder, "--diameter", 100), "a project knows this itself"),
        (("classify", data, "--name", "x", "-o", "y"), "only of a project"),
        (("classify", data), "say where to write"),
    ):
        code, _, err = run(*arguments)
        assert code in (1, 2), arguments
        assert said in err, err
        assert len(err.strip().splitlines()) == 1, err


# ---------------------------------------------------------------------- RELION itself


@pytest.mark.relion
def test_relions_own_output(session: Session, other: Truth, made, tmp_path: Path) -> None:
    """RELION classifies our extraction of these picks; its classes come in, and its shifts lead to the particles."""
    real = np.flatnonzero(other.number == BAR + 1)
    picks = tmp_path / "picks.star"
    columns = {
        "rlnCoordinateX": number_text(other.x[real]),
        "rlnCoordinateY": number_text(other.y[real]),
        "rlnMicrographName": [other.names[i] for i in real.tolist()],
    }
    picks.write_text(format_star([("", columns)]))
    out = tmp_path / "particles"
    arguments = ["extract", picks, "--micrographs", made[0], "-o", out, "--diameter", DIAMETER_A]
    assert main.run([str(a) for a in arguments]) == 0
    (tmp_path / "rel").mkdir()
    options = (
        "--o rel/run --i particles/particles.star --iter 6 --K 2 --tau2_fudge 4 --particle_diameter 75 --zero_mask "
        "--oversampling 1 --psi_step 12 --offset_range 4 --offset_step 1 --norm --scale --j 1 --pool 30 "
        "--dont_combine_weights_via_disc --preread_images --random_seed 1"
    )
    done = subprocess.run(
        ["relion_refine", *options.split()], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    data = tmp_path / "rel" / "run_it006_data.star"
    class_set = read_class_files([data])
    assert (len(class_set.averages), class_set.file.n_picks) == (2, len(real))
    result = other_programs.import_run(session, [data])
    assert set(result.members["particle"]) == set(other.id[real])
    place = np.searchsorted(other.id, result.members["particle"])
    # the averages may be off the middle, alike for one class and angle; the shifts' scatter must be ours
    largest = result.members["number"] == np.bincount(result.members["number"]).argmax()
    for name, true in (("shift_x", other.dx), ("shift_y", other.dy)):
        seen = result.members[name][largest]
        assert np.corrcoef(seen, true[place][largest])[0, 1] > 0.5
    truth = made[1]
    turn = np.deg2rad(2 * (result.members["angle_deg"] - np.rad2deg(truth["angle"][place])))[largest]
    assert np.abs(np.exp(1j * turn).mean()) > 0.8  # a bar looks the same after half a turn
