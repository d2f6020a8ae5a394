"""A project out into coordinate files: which micrographs, which picks, and what is told about them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from cryosparc.dataset import Dataset
from PIL import Image

from cryoppp_annotator.errors import Cancelled, FormatError, Refused
from cryoppp_annotator.formats.cryoppp import CRYOPPP
from cryoppp_annotator.formats.relion import RELION, RELION_PARTICLES
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import watch
from cryoppp_annotator.session.core.opening import open_plan, plan
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import changed, exporting, importing
from cryoppp_annotator.session.files.entering import enter_and_let_go
from cryoppp_annotator.session.regions import drawing

H, W = 96, 128
#: cryoSPARC's fields of a pick's place.
FIELDS = {"micrograph_path": "O", "micrograph_shape": "2u4", "center_x_frac": "f4", "center_y_frac": "f4"}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Four micrographs; three picks on the first: accepted, undecided, rejected."""
    folder = tmp_path / "movies"
    folder.mkdir()
    for name in "abcd":
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(np.zeros((H, W), np.float32))
            file.voxel_size = 2.0
    session = open_plan(plan(folder, tmp_path / "project"), curator="ann")
    session.go(1)
    ids = [session.add(x, 10.0, anyway=True).new_id for x in (10.5, 50.0, 100.0)]
    session.decide(ids[1:2], Decision.UNDECIDED)
    session.decide(ids[2:], Decision.REJECTED, Reason.ICE)
    yield session
    session.close()


def names(report: exporting.ExportReport) -> list[str]:
    return [path.name for path in report.files]


@pytest.mark.parametrize(
    ("word", "columns"),
    [
        ("accepted", [10.5]),
        ("undecided", [50]),
        ("rejected", [100]),
        ("accepted+undecided", [10.5, 50]),
        ("accepted+rejected", [10.5, 100]),
        ("all", [10.5, 50, 100]),
    ],
)
def test_decisions(session: Session, tmp_path: Path, word: str, columns: list[float]) -> None:
    report = exporting.export(session, tmp_path / "o", "relion-particles", decisions=exporting.DECISIONS[word])
    assert (report.n_picks, report.n_micrographs) == (len(columns), 1)
    (picks,) = RELION_PARTICLES.read(report.files[0]).picks
    assert picks.micrograph == "a.mrc"
    assert picks.x.tolist() == columns
    assert picks.y.tolist() == [10.0] * len(columns)


def test_empty_is_a_statement_and_unseen_is_none(session: Session, tmp_path: Path) -> None:
    session.set_state([2], MicrographState.EMPTY)
    session.go(3)
    session.add(5.0, 5.0)
    session.set_state([3], MicrographState.UNUSABLE)
    report = exporting.export(session, tmp_path / "o", "cryoppp")
    assert names(report) == ["a.csv", "b.csv"]
    assert report.notes[0] == "1 unusable micrograph left out"
    assert len(CRYOPPP.read(report.files[1]).picks[0]) == 0


def test_a_diameter_that_nobody_said_is_told(session: Session, tmp_path: Path) -> None:
    report = exporting.export(session, tmp_path / "o", "cryoppp")
    assert "the particle's diameter is not set; 150 Å" in report.notes[0]
    session.set_diameter(40)
    report = exporting.export(session, tmp_path / "o", "cryoppp")
    assert report.notes == ()
    assert CRYOPPP.read(report.files[0]).picks[0].diameter_px.tolist() == [20.0]


def test_frame_and_suffix(session: Session, tmp_path: Path) -> None:
    report = exporting.export(
        session, tmp_path / "o", "relion", orientation=Orientation.FLIP_Y, suffix="_mine", box_size_px=20
    )
    assert "a_mine.star" in names(report)
    (picks,) = RELION.read(tmp_path / "o" / "a_mine.star").picks
    assert picks.y.tolist() == [H - 10.0]


def test_pixel_size_and_diameter_follow_the_override(session: Session, tmp_path: Path) -> None:
    session.set_diameter(40)
    session.set_pixel_size(4.0, 1)
    report = exporting.export(session, tmp_path / "o", "cryoppp")
    assert CRYOPPP.read(report.files[0]).picks[0].diameter_px.tolist() == [10.0]


def test_nothing_to_write(session: Session, tmp_path: Path) -> None:
    session.decide_where(Which(), Decision.UNDECIDED)
    with pytest.raises(Refused, match="0 accepted, 3 undecided, 0 rejected"):
        exporting.export(session, tmp_path / "o", "cryoppp")
    assert not (tmp_path / "o").exists()


def test_unknown_format_and_a_file_in_the_way(session: Session, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="relion, relion-particles"):
        exporting.export(session, tmp_path / "o", "word")
    (tmp_path / "o").write_text("here first")
    for name in ("cryoppp", "relion", "relion-particles"):
        with pytest.raises(FormatError, match="cannot be written"):
            exporting.export(session, tmp_path / "o", name)
    assert (tmp_path / "o").read_text() == "here first"


def imported(session: Session, path: Path, text: str) -> Path:
    path.write_text(text)
    importing.enter(
        session, importing.read(session, path, orientation=Orientation.AS_STORED), decision=Decision.ACCEPTED
    )
    return path


@pytest.mark.parametrize("name", ["relion", "relion-particles"])
def test_hand_picks_do_not_cost_an_import_its_columns(session: Session, tmp_path: Path, name: str) -> None:
    labels = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnAnglePsi", "rlnDefocusU", "rlnOther")
    head = "data_\n\nloop_\n" + "".join(f"_{label} #{i}\n" for i, label in enumerate(labels, 1))
    rows = "a.mrc 20 30 12.5 15000.25 left\na.mrc 40 50 13.5 15000.25 right\n"
    imported(session, tmp_path / "p.star", head + rows)
    report = exporting.export(session, tmp_path / "o", name)
    star = read_star(tmp_path / "o" / ("a_manualpick.star" if name == "relion" else "particles.star"))
    assert report.n_picks == 3
    table = star.tables[-1].columns
    assert table["rlnCoordinateX"] == ["10.5", "20", "40"]
    assert [float(value) for value in table["rlnAnglePsi"]] == [-999, 12.5, 13.5]
    assert table["rlnDefocusU"] == ["15000.25"] * 3  # the micrograph's, not the particle's
    assert table["rlnOther"] == ["None", "left", "right"]


def test_another_axis_keeps_the_format_s_corner(session: Session, tmp_path: Path) -> None:
    exporting.export(session, tmp_path / "o", "box", box_size_px=20, orientation=Orientation.FLIP_Y)
    assert (tmp_path / "o" / "a.box").read_text() == f"0.5\t{H - 10 - 10}\t20\t20\n"
    exporting.export(session, tmp_path / "t", "topaz", scale=2)
    assert (tmp_path / "t" / "particles.txt").read_text().split("\n")[1] == "a\t5.25\t5"


def test_a_cryosparc_export_fills_a_copy_of_what_was_imported(session: Session, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="template"):
        exporting.export(session, tmp_path / "o", "cryosparc")
    made = Dataset.allocate(2, [(f"location/{name}", kind) for name, kind in FIELDS.items()])
    made["location/micrograph_path"] = np.array(["J1/b.mrc", "J1/a.mrc"], object)
    made["location/micrograph_shape"] = np.array([[H, W]] * 2, np.uint32)
    made["location/center_x_frac"], made["location/center_y_frac"] = [0.5, 0.25], [0.5, 0.75]
    source = tmp_path / "picked.cs"
    made.save(source)
    plan = importing.read(session, source, orientation=Orientation.FLIP_Y)
    importing.enter(session, plan, decision=Decision.ACCEPTED)
    report = exporting.export(session, tmp_path / "o", "cryosparc")
    assert names(report) == ["picked.cs", "picked.csg"]
    back = Dataset.load(report.files[0])
    assert back["uid"][:2].tolist() == made["uid"].tolist()
    assert [path.decode() if isinstance(path, bytes) else path for path in back["location/micrograph_path"]] == [
        "J1/b.mrc",
        "J1/a.mrc",
        "J1/a.mrc",
    ]
    assert back["location/center_x_frac"].tolist() == pytest.approx([0.5, 0.25, 10.5 / W])
    assert back["location/center_y_frac"].tolist() == pytest.approx([0.5, 0.75, 1 - 10 / H])
    other = tmp_path / "other.cs"
    shutil.copy(source, other)
    assert names(exporting.export(session, tmp_path / "o", "cryosparc", template=other)) == ["other.cs", "other.csg"]


def test_labels_go_with_the_pictures_they_are_of(session: Session, tmp_path: Path) -> None:
    session.set_diameter(40)
    ramp = np.linspace(0, 255, H * W).reshape(H, W).round().astype(np.float32)
    with mrcfile.open(tmp_path / "movies" / "a.mrc", "r+") as file:
        file.set_data(ramp)
    watch.check(session)
    changed.keep(session, [1])  # another picture under the picks, on purpose
    coco = exporting.export(session, tmp_path / "c", "coco")
    assert names(coco) == ["a.png", "annotations.json"]
    answer = json.loads((tmp_path / "c" / "annotations.json").read_text())
    assert answer["info"]["frame"] == "as-stored"
    assert "row 0 of the picture is the first row" in answer["info"]["y_axis"]
    assert answer["images"] == [{"id": 1, "file_name": "a.png", "width": W, "height": H}]
    assert answer["annotations"][0]["bbox"] == [0.5, 0, 20, 20]
    yolo = exporting.export(session, tmp_path / "y", "yolo")
    assert names(yolo) == ["a.png", "a.txt", "classes.txt", "data.yaml"]
    assert "y runs down" in (tmp_path / "y" / "data.yaml").read_text()
    for folder in ("c", "y"):
        pixels = np.asarray(Image.open(tmp_path / folder / "images" / "a.png"))
        assert pixels.dtype == np.uint8
        assert (np.diff(pixels.astype(int).ravel()) >= 0).all()  # not flipped
    with pytest.raises(FormatError, match="frame of the pictures"):
        exporting.export(session, tmp_path / "c", "coco", orientation=Orientation.FLIP_Y)


def test_regions_go_out_and_come_back(session: Session, tmp_path: Path) -> None:
    session.set_diameter(40)
    outline = [[20, 60], [20, 90], [50, 90], [50, 60.25]]
    drawing.draw(session, outline, Reason.CARBON)
    assert any("1 region (carbon) not written" in note for note in exporting.export(session, tmp_path, "relion").notes)
    report = exporting.export(session, tmp_path / "c", "coco", decisions=list(Decision))
    assert any("1 region (carbon) written as outlines" in note for note in report.notes)
    entries = json.loads((tmp_path / "c" / "annotations.json").read_text())["annotations"]
    assert [entry["annotator"]["decision"] for entry in entries[:3]] == ["accepted", "undecided", "rejected"]
    assert (entries[2]["annotator"]["reason"], entries[2]["annotator"]["curator"]) == ("ice", "ann")
    assert entries[3]["annotator"]["curator"] == "ann"
    fresh = open_plan(plan(tmp_path / "movies", tmp_path / "fresh"), curator="bob")
    line = enter_and_let_go(fresh, [importing.read(fresh, tmp_path / "c" / "annotations.json")], 0)
    assert "3 picks and 1 region" in line
    assert fresh.counts() == {"accepted": 1, "undecided": 1, "rejected": 1}
    (region,) = fresh.store.regions(1)
    assert region.reason is Reason.CARBON
    assert np.array_equal(region.vertices, session.store.regions(1)[0].vertices)
    importing.enter(fresh, importing.read(fresh, tmp_path / "c" / "annotations.json"), again=True)
    assert len(fresh.store.regions(1)) == 1, "the same outline comes once"
    fresh.undo()
    fresh.undo()
    assert fresh.store.regions(1) == []
    fresh.close()


def test_export_can_be_cancelled(session: Session, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        exporting.export(session, tmp_path / "o", "cryoppp", context=JobContext(is_cancelled=lambda: True))
    assert not (tmp_path / "o").exists()
