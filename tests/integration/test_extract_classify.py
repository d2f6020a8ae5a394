"""`extract` and `classify` from files to files, and RELION on what they write."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image

from cryoppp_annotator.batch.extract import ExtractOptions, extract
from cryoppp_annotator.cli import main
from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.context import JobContext

Run = Callable[..., tuple[int, str, str]]
N = 60


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main.run([str(a) for a in arguments])
        return (code, *capfd.readouterr())

    return call


def bar(shape: tuple[int, int], x: float, y: float, angle: float) -> np.ndarray:
    yy, xx = np.indices(shape, np.float32)
    along = (xx - x) * np.cos(angle) + (yy - y) * np.sin(angle)
    across = -(xx - x) * np.sin(angle) + (yy - y) * np.cos(angle)
    return np.asarray(np.exp(-(along**2) / 50.0 - across**2 / 8.0), np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two micrographs of dark bars, their picks, one of them off the edge."""
    rng = np.random.default_rng(0)
    (tmp_path / "mics").mkdir()
    for name in ("a", "b"):
        image = rng.normal(10.0, 0.5, (300, 340)).astype(np.float32)
        rows = [
            "data_particles",
            "",
            "loop_",
            "_rlnCoordinateX #1",
            "_rlnCoordinateY #2",
            "_rlnDefocusU #3",
            "_rlnDefocusV #4",
            "_rlnDefocusAngle #5",
        ]
        for i in range(N // 2):
            x, y = 36 + 54 * (i % 6) + rng.uniform(-1, 1), 34 + 54 * (i // 6) + rng.uniform(-1, 1)
            image -= 2.0 * bar(image.shape, x, y, rng.uniform(0, np.pi))
            rows.append(f"{x:.3f} {y:.3f} 15000 15000 0")
        rows.append("5 5 15000 15000 0")
        with mrcfile.new(tmp_path / "mics" / f"{name}.mrc") as file:
            file.set_data(image)
            file.voxel_size = 2.5
        (tmp_path / f"{name}.star").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_extract_writes_stacks_and_their_star(run: Run, data: Path) -> None:
    code, out, err = run(
        "extract", "a.star", "b.star", "--micrographs", "mics", "-o", "P", "--box-size", 48, "--bin", 2, "--json"
    )
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["particles"], answer["skipped"], answer["out_px"]) == (N, 2, 24)
    assert "2 of 62 picks" in err
    star = read_star(data / "P/particles.star")
    optics, particles = star.table("optics"), star.table("particles")
    assert optics is not None
    assert particles is not None
    assert optics.columns["rlnImagePixelSize"] == ["5"]
    assert optics.columns["rlnImageSize"] == ["24"]
    assert particles.columns["rlnImageName"][0] == "000001@P/a.mrcs"
    assert particles.columns["rlnMicrographName"][-1].endswith("mics/b.mrc")
    assert particles.columns["rlnDefocusU"][0] == "15000"
    with mrcfile.open(data / "P/a.mrcs") as file:
        assert file.is_image_stack()
        assert file.data.shape == (N // 2, 24, 24)
        assert float(file.voxel_size.x) == pytest.approx(5.0)
        mean = file.data.mean(axis=0)
    assert np.unravel_index(mean.argmax(), mean.shape) == (12, 12)
    assert mrcfile.validate(data / "P/a.mrcs")


def test_a_micrograph_that_cannot_be_read_is_skipped(run: Run, data: Path) -> None:
    whole = (data / "mics/b.mrc").read_bytes()
    with mrcfile.open(data / "mics/b.mrc", "r+") as file:
        file.data[:] = np.nan
    code, _, err = run("extract", "a.star", "b.star", "--micrographs", "mics", "-o", "P", "--box-size", 48)
    assert code == 0
    assert "left out: 32 of 62" in err
    assert not (data / "P/b.mrcs").exists()
    (data / "mics/b.mrc").write_bytes(whole)


@pytest.mark.parametrize("damage", [b"", b"this is a text\n" * 200], ids=["empty", "text"])
def test_what_is_no_image_is_skipped_and_named(run: Run, data: Path, damage: bytes) -> None:
    (data / "mics/b.mrc").write_bytes(damage)
    code, out, err = run("extract", "a.star", "b.star", "--micrographs", "mics", "-o", "P", "--box-size", 48, "--json")
    assert code == 0
    assert json.loads(out)["particles"] == N // 2
    assert "skipped: " in err
    assert "b.mrc" in err
    (data / "mics/a.mrc").write_bytes(damage)
    code, _, err = run("extract", "a.star", "b.star", "--micrographs", "mics", "-o", "Q", "--box-size", 48)
    assert code == 1
    assert "not one of the micrographs" in err


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """STARs of twelve micrographs in ``many``, the larger first: they end in another order than they begin."""
    rng = np.random.default_rng(1)
    (tmp_path / "many").mkdir()
    stars = []
    for i in range(12):
        n = 12 - i
        image = rng.normal(0.0, 1.0, (64, 64 * n)).astype(np.float32)
        x = 32.0 + 64.0 * np.arange(n)
        image[32, x.astype(int)] -= 50.0 + i  # so that a box can be told from that of another micrograph
        with mrcfile.new(tmp_path / "many" / f"m{i:02d}.mrc") as file:
            file.set_data(image)
            file.voxel_size = 2.0
        stars.append(tmp_path / f"m{i:02d}.star")
        rows = "".join(f"{at} 32\n" for at in x)
        stars[-1].write_text(f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{rows}")
    cut_off = tmp_path / "many" / "m05.mrc"
    cut_off.with_name("m05.mrc.gz").write_bytes(gzip.compress(cut_off.read_bytes())[:-2000])
    cut_off.unlink()
    return stars


def test_the_table_has_the_order_of_the_picks_whatever_ends_first(run: Run, many: list[Path], tmp_path: Path) -> None:
    code, _, err = run("extract", *many, "--micrographs", "many", "-o", "P", "--box-size", 32)
    assert code == 0
    assert "skipped: " in err
    assert "m05.mrc.gz" in err
    star = read_star(tmp_path / "P/particles.star")
    particles = star.table("particles")
    assert particles is not None
    expected = [(i, k) for i in range(12) if i != 5 for k in range(12 - i)]
    assert particles.columns["rlnImageName"] == [f"{k + 1:06d}@P/m{i:02d}.mrcs" for i, k in expected]
    assert [Path(name).stem for name in particles.columns["rlnMicrographName"]] == [f"m{i:02d}" for i, _ in expected]
    assert [float(x) for x in particles.columns["rlnCoordinateX"]] == [32.0 + 64.0 * k for _, k in expected]
    for i in set(range(12)) - {5}:
        with mrcfile.open(tmp_path / "P" / f"m{i:02d}.mrcs") as file:
            assert file.data.reshape(-1, 32, 32).shape[0] == 12 - i
            assert np.median(file.data[..., 16, 16]) > 40
    left = {path.name for path in (tmp_path / "P").iterdir()} - {f"m{i:02d}.mrcs" for i in range(12)}
    assert left == {"particles.star"}


def test_a_cancelled_extraction_has_no_table_and_is_made_again(many: list[Path], tmp_path: Path) -> None:
    cancel = threading.Event()

    def report(done: float, _total: float, _message: str) -> None:
        if done >= 3:
            cancel.set()

    options = ExtractOptions(str(tmp_path / "many"), 32)
    out = tmp_path / "P"
    with pytest.raises(Cancelled):
        extract(many, out, options, context=JobContext(on_progress=report, is_cancelled=cancel.is_set))
    assert not out.exists()
    assert extract(many, out, options).n_particles == 78 - 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("extract", "a.star", "--micrographs", "mics", "-o", "P"), "diameter"),
        (("extract", "a.star", "--micrographs", "mics", "-o", "P", "--box-size", "47"), "even"),
        (("extract", "a.star", "--micrographs", "mics", "-o", "P", "--box-size", "400"), "whole box"),
        (("classify", "a.star", "-o", "C"), "where the micrographs are"),
        (("classify", "a.star", "b.star", "-o", "C"), "--micrographs"),
        (("classify", "nothing.mrcs", "-o", "C"), "nothing.mrcs"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run: Run, data: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = run(*arguments)
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_classify_picks(run: Run, data: Path) -> None:
    code, out, err = run(
        "classify", "a.star", "b.star", "--micrographs", "mics", "-o", "C", "-k", 3, "--diameter", 80, "--json"
    )
    assert code == 0, err
    answer = json.loads(out)
    assert {"id", "count", "quality", "resolution_A", "decision"} <= set(answer["classes"][0])
    assert sum(item["count"] for item in answer["classes"]) == N
    assert answer["seconds"] > 0
    particles = read_star(data / "C/particles.star").table("particles")
    assert particles is not None
    assert len(particles) == N
    assert set(particles.columns["rlnClassNumber"]) <= {"1", "2", "3"}
    assert "rlnImageName" in particles.columns
    with mrcfile.open(data / "C/classes.mrcs") as file:
        assert file.data.shape == (3, 48, 48)
    rows = list(csv.DictReader((data / "C/summary.csv").open()))
    assert [int(row["id"]) for row in rows] == [1, 2, 3]
    with Image.open(data / "C/gallery.png") as picture:
        assert picture.size[0] > 100


def test_classify_a_bare_stack_with_bad_images(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stack = rng.normal(size=(40, 32, 32)).astype(np.float32) + 3 * bar((32, 32), 16, 16, 0.3)
    stack[4] = np.nan
    stack[7] = 1.0
    write_stack(tmp_path / "s.mrcs", stack, None)
    code, _, err = run("classify", "s.mrcs", "-o", "C", "-k", 2)
    assert code == 0, err
    assert "left out: 2 boxes" in err
    particles = read_star(tmp_path / "C/particles.star").table("particles")
    assert particles is not None
    assert [i for i, c in enumerate(particles.columns["rlnClassNumber"]) if c == "0"] == [4, 7]
    assert particles.columns["rlnImageName"][4] == "000005@s.mrcs"


def test_boxes_of_two_sizes_and_a_missing_image_are_named(run: Run, tmp_path: Path) -> None:
    for name, side in (("s", 32), ("t", 24)):
        write_stack(tmp_path / f"{name}.mrcs", np.zeros((3, side, side), np.float32), 2.0)
    head = "data_particles\n\nloop_\n_rlnImageName #1\n"
    for rows, said in (
        ("1@s.mrcs\n1@t.mrcs\n", "different sizes"),
        ("9@s.mrcs\n", "names image 9"),
        ("1@gone.mrcs\n", "gone.mrcs"),
        ("s.mrcs\n", "number@stack"),
    ):
        (tmp_path / "p.star").write_text(head + rows)
        code, _, err = run("classify", "p.star", "-o", "C")
        assert code == 1
        assert said in err


@pytest.mark.relion
def test_relion_takes_what_was_extracted(run: Run, data: Path) -> None:
    code, _, err = run("extract", "a.star", "b.star", "--micrographs", "mics", "-o", "P", "--box-size", 48, "--bin", 2)
    assert code == 0, err
    made = subprocess.run(
        ["relion_stack_create", "--i", "P/particles.star", "--o", "joined"], cwd=data, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    with mrcfile.open(data / "joined.mrcs") as file:
        assert file.data.shape == (N, 24, 24)
    (data / "R").mkdir()
    refined = subprocess.run(
        [
            "relion_refine",
            "--o",
            "R/run",
            "--i",
            "P/particles.star",
            "--iter",
            "1",
            "--K",
            "2",
            "--ctf",
            "--particle_diameter",
            "90",
            "--psi_step",
            "30",
            "--offset_range",
            "2",
            "--offset_step",
            "2",
            "--norm",
            "--scale",
            "--dont_check_norm",
            "--zero_mask",
            "--tau2_fudge",
            "2",
        ],
        cwd=data,
        capture_output=True,
        text=True,
    )
    assert refined.returncode == 0, refined.stdout[-2000:] + refined.stderr[-2000:]
    table = read_star(data / "R/run_it001_data.star").table("particles")
    assert table is not None
    assert len(table) == N
    code, _, err = run("classify", "R/run_it001_data.star", "-o", "C", "-k", 2)
    assert code == 0, err
