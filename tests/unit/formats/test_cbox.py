"""crYOLO .cbox, new and old."""

from __future__ import annotations

import numpy as np
import pytest
from format_tools import (
    any_positions,
    as_written,
    canonical,
    check_declarations,
    fuzz,
    picks_of,
    positions,
    put,
    refuse_hostile,
    refuse_huge,
    written_back,
)
from hypothesis import given

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.box import BOX
from cryoppp_annotator.formats.cbox import CBOX
from cryoppp_annotator.model.pickfile import WriteOptions

HEAD = "\ndata_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n"
FLAT = HEAD + "_Width #3\n_Height #4\n_Confidence #5\n"


def test_declarations():
    check_declarations(CBOX)


@given(positions)
def test_what_is_written_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("cbox")
    x, y = np.array(rows, np.float64).reshape(-1, 2).T
    score = np.where(np.arange(len(x)) % 2, np.nan, np.arange(len(x)) / 7)
    diameter = np.where(np.arange(len(x)) % 3, np.nan, 107.3)
    (path,) = CBOX.write(
        folder, [picks_of("0001", x, y, score=score, diameter=diameter)], WriteOptions(box_size_px=110)
    )
    file = CBOX.read(path)
    (pick,) = file.picks
    assert np.array_equal(canonical(file, pick), np.column_stack([x, y]))
    if len(x):
        assert np.array_equal(pick.score, score, equal_nan=True)
        assert np.array_equal(pick.diameter_px, diameter, equal_nan=True)


@given(any_positions)
def test_any_position_survives_to_a_billionth_of_a_pixel(tmp_path_factory, rows):
    x, y = np.array(rows).T
    (path,) = CBOX.write(tmp_path_factory.mktemp("cbox"), [picks_of("a", x, y)], WriteOptions())
    file = CBOX.read(path)
    np.testing.assert_allclose(canonical(file, file.picks[0]), np.column_stack([x, y]), rtol=0, atol=2e-9)


def test_the_text_itself(tmp_path):
    picks = [picks_of("a", [200], [100], diameter=107, score=0.5), picks_of("c", [], [])]
    paths = CBOX.write(tmp_path, picks, WriteOptions())
    assert [p.name for p in paths] == ["a.cbox", "c.cbox"]
    text = paths[0].read_text()
    assert "data_global\n\n_cbox_format_version 1.0\n" in text
    assert "146\t46\t<NA>\t108\t108\t<NA>\t107\t107\t0.5\t<NA>\t<NA>\n" in text
    assert "data_cryolo_include" in text
    assert paths[1].read_bytes() == b""
    with pytest.raises(FormatError, match="box size"):
        CBOX.write(tmp_path, [picks_of("b", [1], [1], diameter=np.nan)], WriteOptions())


def test_a_changed_diameter_is_written_and_an_unchanged_one_keeps_both_sides(tmp_path):
    extra = {"cryolo:EstWidth": ["232.0", "<NA>", "220.0"], "cryolo:EstHeight": ["222.0", "<NA>", "220.0"]}
    pick = picks_of("a", [1, 2, 3], [1, 2, 3], diameter=[227, np.nan, 100], extra=extra)
    (path,) = CBOX.write(tmp_path, [pick], WriteOptions(box_size_px=10))
    kept = CBOX.read(path).picks[0].extra
    assert kept["cryolo:EstWidth"].tolist() == ["232.0", "<NA>", "100"]
    assert kept["cryolo:EstHeight"].tolist() == ["222.0", "<NA>", "100"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (FLAT + "1 2 3 4\n", "4 values"),
        (FLAT + "1 2 3 4 x\n", "Confidence"),
        (FLAT + "1 <NA> 3 4 5\n", "CoordinateY"),
        (FLAT + "1 2 nan 4 5\n", "Width"),
        (HEAD + "1 2\n", "lacks the column _Width"),
        ("data_global\n\n_cbox_format_version 1.0\n", "data_cryolo"),
        ("1 2 3 4 5 6\n", "6 values"),
        ("1 2 3 4 5 6 y\n", "EstHeight"),
        ("1 2 3 4 5 6 7\n1 2 3 4 5\n", "5 values"),
    ],
)
def test_bad_files(tmp_path, data, says):
    with pytest.raises(FormatError, match=says):
        CBOX.read(put(tmp_path, data, "a.cbox"))


def test_bad_rows_are_stepped_over(tmp_path):
    file = CBOX.read(put(tmp_path, FLAT + "1 2 3 4 5\n1 inf 3 4 5\n1 2\n7 8 2 2 <NA>\n", "a.cbox"), permissive=True)
    assert file.picks[0].x.tolist() == [1, 7]
    assert sorted(issue.line for issue in file.issues) == [15, 16]


def test_hostile_files(tmp_path):
    refuse_hostile(CBOX, tmp_path, "a.cbox")
    refuse_huge(CBOX, tmp_path, "big.cbox")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "n", "first", "score", "diameter"),
    [
        ("TcdA1-0018_frames_sum", 120, (3810.3671875, 3984.455551147461), 0.6578449010848999, 227),
        ("2d_particles", 3, (24.1877, 40.459892), np.nan, np.nan),
        ("old_7col_TcdA1-0010_frames_sum", 133, (3483.5, 3985.5), 0.86305755, 222),
        ("filament_empty", 0, None, None, None),
        ("filament_ActLifeact_03211", 16, (55.987737909516682, 911.738627145086), 1.0, np.nan),
    ],
)
def test_real_files(data_dir, tmp_path, name, n, first, score, diameter):
    file = CBOX.read(data_dir / "formats/cryolo_cbox" / f"{name}.cbox")
    (pick,) = file.picks
    assert (len(pick), pick.micrograph, file.issues) == (n, name, ())
    if first is not None:
        assert tuple(canonical(file, pick)[0]) == pytest.approx(first, abs=1e-12)
        assert np.array_equal([pick.score[0], pick.diameter_px[0]], [score, diameter], equal_nan=True)
    if not name.startswith("old"):
        written_back(CBOX, file, tmp_path)
    if name.startswith("filament_Act"):
        assert set(pick.extra["cryolo:filamentid"]) == {"0.0"}


@pytest.mark.realdata
def test_old_files_are_written_as_new_ones(data_dir, tmp_path):
    file = CBOX.read(data_dir / "formats/cryolo_cbox/old_7col_TcdA1-0010_frames_sum.cbox")
    (path,) = CBOX.write(tmp_path, [as_written(file, file.picks[0])], WriteOptions())
    again = CBOX.read(path)
    assert np.array_equal(canonical(again, again.picks[0]), canonical(file, file.picks[0]))
    assert again.picks[0].extra["cryolo:EstHeight"].tolist() == file.picks[0].extra["cryolo:EstHeight"].tolist()


def test_a_box_keeps_its_size_from_one_format_to_the_other(tmp_path):
    box = BOX.read(put(tmp_path, "14 35 20 10 0.5\n", "a.box"))
    (path,) = CBOX.write(tmp_path, [as_written(box, box.picks[0])], WriteOptions())
    cbox = CBOX.read(path)
    (back,) = BOX.write(tmp_path / "out", [as_written(cbox, cbox.picks[0])], WriteOptions())
    assert back.read_text() == "14\t35\t20\t10\t0.5\n"


@pytest.mark.realdata
def test_tomograms_are_refused(data_dir):
    path = data_dir / "formats/cryolo_cbox/3d_particle.cbox"
    for permissive in (False, True):
        with pytest.raises(FormatError, match="2 slices of a tomogram"):
            CBOX.read(path, permissive=permissive)


def test_vertices_of_filaments_are_named(tmp_path):
    vertices = "\ndata_filament_vertices\n\nloop_\n_CoordinateX #1\n_filamentid #2\n1 0\n2 0\n"
    file = CBOX.read(put(tmp_path, FLAT + "1 2 3 4 5\n" + vertices, "a.cbox"))
    assert file.n_picks == 1
    assert "2 vertices" in file.issues[0].message


@pytest.mark.realdata
def test_damaged_files_raise_format_errors_only(data_dir, tmp_path):
    files = sorted((data_dir / "formats/cryolo_cbox").glob("*.cbox"))
    fuzz(CBOX, [path.read_bytes()[:3000] for path in files], tmp_path / "damaged.cbox", n=400)
