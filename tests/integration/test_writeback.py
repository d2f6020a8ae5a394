"""What goes in comes out: unedited files byte for byte, edited ones with only the edited rows changed."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.errors import FormatError, Refused
from cryoppp_annotator.formats.table.cs_tables import Dataset, read_dataset, write_dataset
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.session.files.as_imported import write_back

STAR = """# version 30001

# a comment of somebody

data_optics

loop_
_rlnOpticsGroup #1
_rlnMicrographPixelSize #2
1 1.5

# version 30001

data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnSomethingOfTomorrow #4
_rlnOpticsGroup #5
a.mrc   100.500000    20.000000   'two words'   1
b.mrc    10.000000    11.100000   x             1
a.mrc     7.000000     8.250000   y             1

data_last

_rlnNothing 0
"""


@pytest.fixture
def opened(tmp_path: Path):
    made: list[Session] = []

    def make(folder: Path) -> Session:
        plan = opening.plan(folder, tmp_path / f"project{len(made)}")
        made.append(opening.open_plan(plan, curator="me"))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b"):
        with mrcfile.new(folder / f"{name}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32))
            mrc.voxel_size = 1.5
    return folder


def enter(session: Session, path: Path, orientation: Orientation | None = Orientation.AS_STORED) -> int:
    importing.enter(session, importing.read(session, path, orientation=orientation))
    return max(session.pick_sets)


def changed(before: Path, after: Path) -> list[str]:
    lines = [path.read_bytes().decode().splitlines() for path in (before, after)]
    return [d for d in difflib.ndiff(*lines) if d[0] in "+-"]


@pytest.mark.realdata
@pytest.mark.parametrize("source", ["cryoppp/10017", "cryoppp_lite/10017"])
def test_unedited_cryoppp_comes_out_byte_for_byte(opened, data_dir, tmp_path, source):
    session = opened(data_dir / source)
    number = enter(session, data_dir / source, None)
    report = write_back(session, number, tmp_path / "out")
    truth = data_dir / source / "ground_truth" / "particle_coordinates"
    assert {f.name for f in report.files} == {f.name for f in truth.glob("*.csv")}
    for file in report.files:
        assert file.read_bytes() == (truth / file.name).read_bytes()


@pytest.mark.realdata
def test_an_edit_in_cryoppp_changes_that_row_only(opened, data_dir, tmp_path):
    source = data_dir / "cryoppp" / "10017"
    session = opened(source)
    number = enter(session, source, None)
    session.go(session.micrographs[0].id)
    first, second, third = session.particles.id[:3].tolist()
    assert session.particles.x[0] == 3752
    assert session.particles.y[0] == 4096 - 693
    session.move([first], [3752.5], [4096 - 700])
    session.decide([third], Decision.REJECTED, Reason.ICE)
    session.add(2000, 4000, anyway=True)
    out = write_back(session, number, tmp_path / "out").files[0]
    before = source / "ground_truth" / "particle_coordinates" / out.name
    rows = sorted(changed(before, out))
    starts = [",".join(row.split(",")[:3]) for row in rows]
    assert starts == ["+ 2000,96,108", "+ 3752.5,700,108", "- 339,2837,108", "- 3752,693,108"]
    # what varies from pick to pick is not made up; what is the micrograph's is repeated
    assert rows[0] == "+ 2000,96,108,,,,,,-68.151962,0.0,0.0"
    assert rows[1].split(",")[3:] == rows[3].split(",")[3:]
    assert second in session.particles.id
    session.undo(), session.undo(), session.undo()
    again = write_back(session, number, tmp_path / "again").files[0]
    assert again.read_bytes() == before.read_bytes()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("image", "picks"),
    [
        ("curation/Ucsf_stack_1142_DW.mrc", "curation/Ucsf_stack_1142_DW_autopick.star"),
        ("cryoppp_lite/10017/micrographs/Falcon_2012_06_12-14_57_34_0.jpg", "picks_10017/manual_relion_star"),
        ("cryoppp/10017/micrographs/Falcon_2012_06_12-14_33_35_0.mrc", "picks_10017/cryolo_box"),
    ],
)
def test_other_real_files_come_out_byte_for_byte(opened, data_dir, tmp_path, image, picks):
    stem = Path(image).stem
    file = data_dir / picks
    if file.is_dir():
        (file,) = file.glob(f"{stem}.*")
    folder = tmp_path / "one"
    folder.mkdir()
    shutil.copy(data_dir / image, folder)
    session = opened(folder)
    out = write_back(session, enter(session, file), tmp_path / "out").files[0]
    assert out.read_bytes() == file.read_bytes()


def test_other_blocks_comments_and_columns_survive(opened, movies, tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    session = opened(movies)
    number = enter(session, tmp_path / "p.star")
    session.go(session.micrographs[0].id)
    session.move(session.particles.id[1:2], [9.125], [8.25])
    out = write_back(session, number, tmp_path / "out").files[0]
    assert changed(tmp_path / "p.star", out) == [
        "- a.mrc     7.000000     8.250000   y             1",
        "+ a.mrc        9.125         8.25   y             1",
    ]


def test_a_hand_pick_follows_the_rows_of_its_micrograph(opened, movies, tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    session = opened(movies)
    number = enter(session, tmp_path / "p.star")
    session.go(session.micrographs[1].id)
    session.add(250, 150.5)
    out = write_back(session, number, tmp_path / "out").files[0]
    assert changed(tmp_path / "p.star", out) == ["+ b.mrc 250 150.5 x 1"]
    file = importing.read(session, out, orientation=Orientation.AS_STORED)
    assert sorted(len(p) for _, p in file.matched) == [2, 2]
    silent = write_back(session, number, tmp_path / "silent", with_hand_picks=False).files[0]
    assert silent.read_text() == STAR


def test_a_file_that_changed_since_is_refused(opened, movies, tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    session = opened(movies)
    number = enter(session, tmp_path / "p.star")
    (tmp_path / "p.star").write_text(STAR.replace("11.1", "12.1"))
    with pytest.raises(FormatError, match="changed since"):
        write_back(session, number, tmp_path / "out")
    (tmp_path / "p.star").unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        write_back(session, number, tmp_path / "out")
    session.go(1)
    session.add(20, 20, anyway=True)
    with pytest.raises(Refused, match="not imported from files"):
        write_back(session, max(session.pick_sets), tmp_path / "out")


# --- every format that can be given back ---------------------------------------------------------------------------

CBOX = (
    "\ndata_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n"
    "_CoordinateZ #3\n_Width #4\n_Height #5\n_Confidence #6\n90.50 10.25 <NA> 20.0 20.0 0.50\n"
    "0.0 1e1 <NA> 20.0 20.0 0.70\n\ndata_cryolo_include\n\nloop_\n_slice_index #1\n\n"
)
XMIPP = (
    "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\nManual\ndata_particles\nloop_\n _itemId\n"
    " _enabled\n _xcoor\n _ycoor\n _cost\n _micrographId\n 000001   1   100  20  0   000001\n"
    " 000002   1   10  20  0   000001\n 000003   -1   50  60  0   000001\n"
)
BOXES = '{"ctf": [1, {"defocus": 1.25}], "boxes": [[100, 20, "manual"], [10.0, 20, "auto_local", 0.5]], "quality": 5}'
#: A file of each format with picks at (100, 20) and (10, 20) of ``a``.
FILES = {
    "cryoppp": ("a.csv", "X-Coordinate,Y-Coordinate,Diameter\n100.0,180,20\n10,180,20\n"),
    "relion": ("a_autopick.star", "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n 100.00 20.00\n 10 20\n"),
    "relion-particles": (
        "p.star",
        "data_particles\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\na.mrc 100.0 20\na.mrc 10 20\n",
    ),
    "box": ("a.box", "90\t10.0\t20\t20\n0\t10\t20\t20\n"),
    "cbox": ("a.cbox", CBOX.replace("90.50 10.25", "90.00 10.00")),
    "topaz": ("t.txt", "image_name\tx_coord\ty_coord\tscore\na\t100\t20\t0.50\na\t10\t20\t-1\n"),
    "xmipp": ("a.pos", XMIPP),
    "epicker": ("a.thi", "[Particle Coordinates: X Y Value]\n100\t20\t0.50\n10\t20\t0.39\n[End]\n"),
    "eman2": ("info/a_info.json", BOXES),
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_unedited_is_the_same_bytes(opened, movies, tmp_path, name):
    file, text = FILES[name]
    path = tmp_path / "in" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(text.replace("\n", "\r\n").encode() if name in ("topaz", "box") else text.encode())
    session = opened(movies)
    number = enter(session, path, None)
    (out,) = write_back(session, number, tmp_path / "out").files
    assert out.name == path.name
    assert out.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_each_format_edited_differs_in_what_was_edited(opened, movies, tmp_path, name):
    file, text = FILES[name]
    path = tmp_path / "in" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    session = opened(movies)
    number = enter(session, path, None)
    session.go(session.micrographs[0].id)
    assert session.particles.x[:2].tolist() == [100, 10]
    assert session.particles.y[:2].tolist() == [20, 20]
    session.move(session.particles.id[:1], [104], [25])
    session.decide(session.particles.id[1:2], Decision.REJECTED, Reason.ICE)
    session.add(250, 150, anyway=True)
    (out,) = write_back(session, number, tmp_path / "out").files
    plan = importing.read(session, out)
    rows = [
        (x, y, d)
        for _, p in plan.matched
        for x, y, d in zip(
            *plan.frame.to_canonical(p.x, p.y, height=200, box_size=0 if p.box_size_px is None else p.box_size_px),
            np.broadcast_to(np.asarray(p.decision), (len(p),)) == Decision.REJECTED,
            strict=True,
        )
    ]
    assert [(x, y) for x, y, rejected in rows if not rejected] == [(104, 25), (250, 150)]
    if name == "xmipp":
        assert changed(path, out) == [
            "-  000001   1   100  20  0   000001",
            "+  000001   1   104  25  0   000001",
            "-  000002   1   10  20  0   000001",
            "+  000002  -1   10  20  0   000001",
            "+ 000004 1 250 150 0 000001",
        ]
    elif name == "eman2":
        answer = json.loads(out.read_text())
        assert answer["ctf"] == [1, {"defocus": 1.25}]
        assert answer["quality"] == 5
        assert answer["boxes"] == [[104, 25, "manual"], [250, 150, "manual"]]
    else:
        assert len(changed(path, out)) == 4, changed(path, out)


def test_cryosparc_comes_back_as_a_filled_copy(opened, movies, tmp_path):
    columns = {
        "uid": np.array([2**64 - 1, 2**63 + 1, 7], np.uint64),
        "location/micrograph_path": np.array([b"J1/a.mrc", b"J1/a.mrc", b"J1/b.mrc"]),
        "location/micrograph_shape": np.array([[200, 300]] * 3, np.uint32),
        "location/center_x_frac": np.array([0.25, 0.5, 0.75], np.float32),
        "location/center_y_frac": np.array([0.25, 0.5, 1], np.float32),
        "nobody/knows": np.array([1.5, 2.5, 3.5]),
    }
    path = write_dataset(tmp_path / "in" / "picked.cs", Dataset(columns, compressed=True))
    session = opened(movies)
    number = enter(session, path, Orientation.FLIP_Y)
    (out,) = write_back(session, number, tmp_path / "out").files
    assert out.read_bytes() == path.read_bytes()
    session.go(session.micrographs[0].id)
    first, second = session.particles.id.tolist()
    session.move([first], [90], [40])
    session.decide([second], Decision.REJECTED, Reason.ICE)
    session.add(250, 150, anyway=True)
    (out,) = write_back(session, number, tmp_path / "edited").files
    table = read_dataset(out).columns
    assert table["uid"][:2].tolist() == [2**64 - 1, 7]
    assert table["nobody/knows"].tolist() == [1.5, 3.5, 0]
    np.testing.assert_allclose(table["location/center_x_frac"] * 300, [90, 225, 250], rtol=1e-6)
    np.testing.assert_allclose(200 - table["location/center_y_frac"] * 200, [40, 0, 150], atol=1e-4)


def test_boxes_that_are_not_square_are_not_edited_in_place(opened, movies, tmp_path):
    path = tmp_path / "a.box"
    path.write_text("90\t10\t20\t30\n")
    session = opened(movies)
    number = enter(session, path)
    (out,) = write_back(session, number, tmp_path / "out").files
    assert out.read_bytes() == path.read_bytes()
    session.go(session.micrographs[0].id)
    session.move(session.particles.id[:1], [104], [25])
    with pytest.raises(Refused, match="written as a whole"):
        write_back(session, number, tmp_path / "edited")


def test_an_empty_file_says_so_again(opened, movies, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.box").write_text("90\t10\t20\t20\n")
    (folder / "b.box").write_text("")
    session = opened(movies)
    (plan,) = importing.read_many(session, [folder / "a.box", folder / "b.box"])
    importing.enter(session, plan.as_the_format_says())
    report = write_back(session, max(session.pick_sets), tmp_path / "out")
    assert sorted((f.name, f.stat().st_size) for f in report.files) == [("a.box", 12), ("b.box", 0)]
