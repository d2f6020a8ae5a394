"""Files of other programs that are no picks of micrographs: named for what they are, never read as something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats.registry import read_any
from cryoppp_annotator.model.pickfile import PickFile

LOG = "m0.csv: error: m0.csv: is of no known coordinate format\nm1.csv: error: m1.csv, line 2: X is '556,2'\n"
DYNAMO = " ".join(map(str, range(1, 36))) + "\n"
HEAD = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"


def read(folder: Path, name: str, content: str | bytes) -> PickFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_any(path, list(formats().values()))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("log.txt", LOG, "is a log"),
        ("run.out", 'Traceback (most recent call last):\n  File "a.py", line 3\nValueError: no\n', "is a log|without"),
        ("run.log", "2026-01-01 12:00:00 INFO picking a.mrc\n2026-01-01 12:00:01 ERROR no file\n", "is a log"),
        ("read.me", "These are the picks of June.\n", "text without a table"),
        ("empty.txt", "", "is empty"),
        ("settings.json", '{"a": 3}', r"is JSON.*its keys: a"),
        ("labelme.json", '{"shapes": [], "imagePath": "m0.png"}', "labelme.*COCO"),
        ("page.html", "<!DOCTYPE html><html></html>", "web page"),
        ("words.csv", "name,age\nanna,3\n", "without columns x and y .it has name, age"),
        ("m0.csv", "X (A),Y (A)\n5,6\n", "without columns x and y"),
        ("m0.csv", "556,2;126,3\n", "decimal commas"),
        ("m0.txt", "556 126 60 60\n", "4 numbers a row"),
        ("topaz.txt", "m0 556 126 0.5\nm1 788 478 0.7\n", "no names"),
        ("a.tbl", DYNAMO * 2, "Dynamo"),
        ("m0.txt", "#micrograph: m0.mrc\n#segment length: 100\n100 100 200 200 64\n", "helices"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "picture"),
        ("a.gz", b"\x1f\x8b" + bytes(40), "unpack"),
        # STAR files that are none, or that hold something else
        ("head.star", "data_particles\n", "without columns"),
        ("head.star", "# version 30001\n", "without columns"),
        ("a.star", HEAD.removeprefix("data_\n") + "m.mrc 1 2\n", "no line data_"),
        ("a.star", "; by hand\n" + HEAD + "m.mrc 1 2\n", "line 1: begins with ;"),
        ("a.star", HEAD + "m.mrc 1 2\n;\n", "line 8: begins with ;"),
        ("a.star", HEAD.replace("CoordinateX", "coordinatex") + "m.mrc 1 2\n", "capitals"),
        ("a.star", HEAD + "m.mrc 1 2\nm.mrc\n", "line 8: 1 value where the loop has 3 labels"),
        ("a.star", "data_\nloop_\n_rlnTomoName #1\n_rlnCenteredCoordinateXAngst #2\nt 1\n", "tomography"),
        ("a.star", "data_\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesStarFile #2\nt a\n", "tomography"),
        ("job.star", "data_job\n\n_rlnJobTypeLabel relion.autopick\n", "--relion"),
        # three dimensions, or corners
        ("info/m0_info.json", '{"boxes_3d": [[5, 6, 0, "manual", 0.5, 0]]}', "boxes_3d"),
        ("info/m0_info.json", '{"boxes": [], "boxes_3d": [[5, 6, 0, "manual", 0.5, 0]]}', "boxes_3d"),
        ("m0.csv", "index,axis-0,axis-1,axis-2\n0,0,5,6\n1,1,7,8\n", r"axis-0\): positions in a tomogram"),
        ("m0.csv", " ,Label,X,Y,Slice\n1,m0.mrc,5,6,1\n2,m0.mrc,7,8,2\n", r"slice\): positions"),
        ("m0.csv", "index,shape-type,vertex-index,axis-0,axis-1\n0,rectangle,0,1,5\n", "corners"),
    ],
)
def test_what_is_no_picks_is_named(tmp_path: Path, name: str, content: str | bytes, what: str) -> None:
    with pytest.raises(FormatError) as raised:
        read(tmp_path, name, content)
    assert re.search(what, str(raised.value)), raised.value


@pytest.mark.parametrize(
    ("content", "micrograph"),
    [
        ("index,axis-0,axis-1,axis-2\n0,3,50,60\n", "m0"),  # one slice of a stack: its number is no coordinate
        ("y,x\n50,60\n", "m0"),
        ("row,col\n50,60\n", "m0"),
        ("X (px);Y (px)\n60;50\n", "m0"),
        (" ,Label,X,Y,Slice\n1,a.mrc:0050-0060,60,50,1\n2,a.mrc:0001-0050-0060,60,50,1\n", "a.mrc"),
        (" ,Label,X,Y,Slice\n1,a.mrc,60,50,1\n2,b.mrc,60,50,2\n", "a.mrc"),
    ],
)
def test_tables_say_which_columns_were_taken(tmp_path: Path, content: str, micrograph: str) -> None:
    file = read(tmp_path, "m0.csv", content)
    picks = file.picks[0]
    assert (picks.micrograph, set(picks.x.tolist()), set(picks.y.tolist())) == (micrograph, {60.0}, {50.0})
    assert "are taken as centres in px" in file.notes[0]


def test_widths_beside_x_and_y_are_a_question(tmp_path: Path) -> None:
    assert any("corners" in note for note in read(tmp_path, "m0.csv", "x,y,width,height\n60,50,9,9\n").notes)


@pytest.mark.parametrize("value", ["0", "-1.77", "nan"])
def test_a_pixel_size_that_is_none_is_doubted(tmp_path: Path, value: str) -> None:
    optics = "data_optics\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 " + value + "\n"
    rows = HEAD.replace("data_", "data_particles") + "_rlnOpticsGroup #4\nm.mrc 1 2 1\n"
    file = read(tmp_path, "a.star", optics + rows)
    assert (file.known_pixel_size_A(), value in file.pixel_size_doubt) == (None, True)
    assert any(
        "optics groups that data_optics does not have (2)" in note
        for note in (read(tmp_path, "b.star", optics + rows.replace("1 2 1", "1 2 2")).notes)
    )


def test_files_of_a_folder_keep_their_notes_and_their_own_optics(tmp_path: Path) -> None:
    read(tmp_path, "a.star", HEAD.replace("data_", "data_particles") + "m.mrc 1 2\n")
    other = HEAD.replace("data_", "data_particles") + "_rlnPixelSize #4\nn.mrc 1 2 1.5\n"
    read(tmp_path, "b.star", other)
    assert any("CryoPPP's tools" in note for note in read_any(tmp_path, list(formats().values())).notes)
    optics = "data_optics\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 1.5\n"
    read(tmp_path, "b.star", optics + other)
    with pytest.raises(FormatError, match="optics groups differ"):
        read_any(tmp_path, list(formats().values()))


TWO_NAMES = """{"images": [{"id": 1, "file_name": "m.mrc", "width": 99, "height": 99}],
"categories": [{"id": 1, "name": "\\ud800 a"}, {"id": 2, "name": "b"}],
"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}]}"""


def test_json_that_no_program_can_mean(tmp_path: Path) -> None:
    """Half a sign in a name, which no database can hold; a key twice, of which Python forgets the first."""
    file = read(tmp_path, "picks.json", TWO_NAMES)
    (name,) = {text for column in file.picks[0].extra.values() for text in column.tolist() if text.endswith(" a")}
    assert name == "? a"
    twice = TWO_NAMES.rstrip("}") + ', "annotations": []}'
    with pytest.raises(FormatError, match="'annotations' is twice"):
        read(tmp_path, "picks.json", twice)
