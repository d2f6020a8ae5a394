"""The frame guard on files: the command, its exit codes and its words."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.batch.check_frame import FrameOptions, check
from cryoppp_annotator.cli import main
from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.image.images import micrograph_name
from cryoppp_annotator.model.coordinates import CRYOPPP_FRAME, Anchor, SourceFrame

H, W, DIAMETER = 400, 500, 30


@pytest.fixture
def positions(tmp_path: Path):
    """Forty dark discs on ``mics/m.mrc`` (2 A/px); a blank of the name ``n.mrc`` beside it."""
    rng = np.random.default_rng(2)
    x, y = rng.uniform(30, W - 30, 40).round(), rng.uniform(30, H - 30, 40).round()
    image = rng.normal(0, 1, (H, W)).astype(np.float32)
    yy, xx = np.mgrid[:H, :W]
    for cx, cy in zip(x, y, strict=True):
        image[np.hypot(yy - cy, xx - cx) < DIAMETER / 2] -= 1
    (tmp_path / "mics").mkdir()
    for name, values in (("m", image), ("n", np.zeros((H, W), np.float32))):
        with mrcfile.new(tmp_path / f"mics/{name}.mrc") as file:
            file.set_data(values)
            file.voxel_size = 2.0
    return x, y


def star(path: Path, x, y) -> Path:
    rows = "\n".join(f"{a:g} {b:g}" for a, b in zip(x, y, strict=True))
    path.write_text(f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{rows}\n")
    return path


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main.run(["check-frame", *map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("flip", "code", "verdict"), [(False, 0, "as-stored"), (True, 1, "flip-y")], ids=["right", "wrong"]
)
def test_the_answer_for_scripts(tmp_path, positions, capsys, flip, code, verdict):
    x, y = positions
    path = star(tmp_path / "m_manualpick.star", x, H - y if flip else y)
    exit_code, out, _ = run(capsys, path, "--micrographs", tmp_path / "mics", "--diameter", 60, "--json")
    answer = json.loads(out)
    assert exit_code == code
    assert (answer["verdict"], answer["anchor"], answer["scale"]) == (verdict, "centre", 1.0)
    assert answer["margin_se"] >= 3
    assert 30 <= answer["picks_tested"] <= 40
    assert answer["contradicted"] is flip


def test_a_binned_file_is_contradicted_in_words(tmp_path, positions, capsys):
    path = star(tmp_path / "m.star", *(values / 4 for values in positions))
    code, out, _ = run(capsys, path, "--micrographs", tmp_path / "mics/*.mrc", "--diameter", "30px")
    assert code == 1
    assert "WRONG FRAME: relion declares as-stored, the image says as-stored, 4 x binned" in out


def test_random_picks_are_undecided_and_no_failure(tmp_path, positions, capsys):
    rng = np.random.default_rng(5)
    path = star(tmp_path / "m.star", rng.uniform(0, W, 30), rng.uniform(0, H, 30))
    code, out, _ = run(capsys, path, "--micrographs", tmp_path / "mics")
    assert code == 0
    assert "undecided" in out
    code, out, _ = run(capsys, path, "--micrographs", tmp_path / "mics", "--json")
    assert (code, json.loads(out)["verdict"], json.loads(out)["anchor"]) == (0, "undecided", None)


def test_an_image_named_by_a_person_needs_no_matching_name(tmp_path, positions):
    path = star(tmp_path / "anything.star", *positions)
    report = check([path], FrameOptions(str(tmp_path / "mics/m.mrc")))
    assert report.verdict.frame == SourceFrame()
    with pytest.raises(FormatError, match="holds none of the micrographs"):
        check([path], FrameOptions(str(tmp_path / "mics")))


def test_several_files_pool_and_blanks_say_nothing(tmp_path, positions):
    files = [star(tmp_path / f"{name}.star", *positions) for name in "mn"]
    report = check([*files, star(tmp_path / "other.star", [1], [1])], FrameOptions(str(tmp_path / "mics")))
    assert report.verdict.frame == SourceFrame()
    assert set(report.tested) == {"m.mrc", "n.mrc"}
    assert report.unmatched == ("other",)


def test_files_of_different_formats_are_refused(tmp_path, positions):
    csv = tmp_path / "m.csv"
    csv.write_text("X-Coordinate,Y-Coordinate,Diameter\n1,2,30\n")
    with pytest.raises(FormatError, match="one by one"):
        check([csv, star(tmp_path / "n.star", *positions)], FrameOptions(str(tmp_path / "mics")))


def test_the_diameter_in_angstrom_needs_a_pixel_size(tmp_path, positions, capsys):
    with mrcfile.open(tmp_path / "mics/m.mrc", "r+") as file:
        file.voxel_size = 0
    path = star(tmp_path / "m.star", *positions)
    code, _, err = run(capsys, path, "--micrographs", tmp_path / "mics", "--diameter", "60")
    assert code == 1
    assert "--pixel-size" in err
    code, *_ = run(capsys, path, "--micrographs", tmp_path / "mics", "--diameter", "60", "--pixel-size", "2")
    assert code == 0
    assert run(capsys, path, "--micrographs", tmp_path / "mics", "--diameter", "thick")[0] == 2


@pytest.mark.realdata
def test_real_files(data_dir, capsys):
    falcon = "Falcon_2012_06_12-14_33_35_0"
    folder = data_dir / "cryoppp/10017"
    mics = folder / "micrographs"
    truth = folder / "ground_truth/empiar-10017_particles_selected.star"
    assert run(capsys, truth, "--micrographs", mics, "--diameter", 191)[0] == 0
    code, out, _ = run(capsys, truth, "--micrographs", mics, "--diameter", 191, "--format", "relion-particles")
    assert code == 1
    assert "the image says flip-y" in out
    report = check([data_dir / "formats/same_picks_three_ways/sample.box"], FrameOptions(str(mics / f"{falcon}.mrc")))
    assert report.declared == SourceFrame(anchor=Anchor.CORNER)
    assert report.verdict.frame == SourceFrame()
    assert report.contradicted
    report = check([data_dir / f"picks_10017/cryolo_box/{falcon}.box"], FrameOptions(str(mics)))
    assert not report.contradicted
    assert report.verdict.frame == SourceFrame(anchor=Anchor.CORNER)
    report = check(sorted((folder / "ground_truth/particle_coordinates").glob("*.csv")), FrameOptions(str(mics)))
    assert report.verdict.frame == CRYOPPP_FRAME
    assert {micrograph_name(name) for name in report.tested} >= {falcon}


@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_labels_made_by_convert_lie_on_their_pictures(tmp_path, positions, capsys, to):
    x, y = positions
    path = star(tmp_path / "m.star", x, y)
    arguments = ["convert", path, "-o", tmp_path / "out", "--to", to, "--diameter", f"{DIAMETER}px"]
    assert main.run([str(a) for a in arguments]) == 1  # no picture, and nothing to make one of
    assert "picture" in capsys.readouterr().err
    assert main.run([str(a) for a in [*arguments, "--micrographs", tmp_path / "mics"]]) == 0
    capsys.readouterr()
    source = tmp_path / "out" if to == "yolo" else tmp_path / "out/annotations.json"
    report = check([source], FrameOptions(str(tmp_path / "out/images")))
    assert (report.format, report.verdict.frame) == (to, SourceFrame())


def test_a_project_exports_labels_with_pictures(tmp_path, positions):
    from cryoppp_annotator.model.curation import Decision
    from cryoppp_annotator.session.core.opening import open_plan, plan
    from cryoppp_annotator.session.files import exporting, importing

    session = open_plan(plan(tmp_path / "mics", tmp_path / "project"), curator="ann")
    try:
        file = importing.read(session, star(tmp_path / "m.star", *positions))
        assert not file.contradicted
        importing.enter(session, file, decision=Decision.ACCEPTED)
        report = exporting.export(session, tmp_path / "out", "coco")
    finally:
        session.close()
    assert {path.name for path in report.files} == {"m.png", "annotations.json"}
    assert (
        check([tmp_path / "out/annotations.json"], FrameOptions(str(tmp_path / "mics"))).verdict.frame == SourceFrame()
    )


@pytest.mark.parametrize("answer", ["image", "format"])
def test_an_import_asks_about_corners_too(tmp_path, positions, answer):
    from cryoppp_annotator.errors import Refused
    from cryoppp_annotator.session.core.opening import open_plan, plan
    from cryoppp_annotator.session.files import importing

    x, y = positions
    path = tmp_path / "m.box"
    path.write_text(
        "".join(f"{a:g}\t{b:g}\t60\t60\n" for a, b in zip(x, y, strict=True))
    )  # centres, where corners belong
    session = open_plan(plan(tmp_path / "mics", tmp_path / "project"), curator="ann")
    try:
        file = importing.read(session, path)
        assert file.contradicted
        assert "box corners" not in str(file.verdict)
        with pytest.raises(Refused, match="the image says as-stored"):
            importing.enter(session, file)
        settled = file.as_imaged() if answer == "image" else file.with_orientation(file.frame.orientation)
        assert not settled.contradicted
        importing.enter(session, settled)
        entered = session.store.particles(session.micrographs[0].id)
        assert np.allclose(np.sort(entered.x), np.sort(x + (0 if answer == "image" else 30)))
    finally:
        session.close()
