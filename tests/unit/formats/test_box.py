"""EMAN1 boxes: corners, scores and flags, and the proof on real picks that corners they are."""

from __future__ import annotations

import numpy as np
import pytest
from format_tools import (
    any_positions,
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
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.box import BOX
from cryoppp_annotator.formats.cryoppp import CRYOPPP
from cryoppp_annotator.model.coordinates import Anchor, SourceFrame
from cryoppp_annotator.model.pickfile import WriteOptions

MICROGRAPH = "Falcon_2012_06_12-14_33_35_0"


def test_declarations():
    check_declarations(BOX)


@given(positions, st.integers(0, 300))
def test_what_is_written_is_read(tmp_path_factory, rows, box):
    folder = tmp_path_factory.mktemp("box")
    x, y = np.array(rows, np.float64).reshape(-1, 2).T
    score = np.arange(len(x)) / 7 if len(x) % 2 else np.nan
    (path,) = BOX.write(folder, [picks_of("0001", x, y, score=score)], WriteOptions(box_size_px=box))
    file = BOX.read(path)
    (pick,) = file.picks
    assert pick.micrograph == "0001"
    assert np.array_equal(canonical(file, pick), np.column_stack([x, y]))
    if len(x) % 2:
        assert np.array_equal(pick.score, score)
    if len(x):
        assert set(pick.box_size_px) == {box}


@given(any_positions, st.floats(1, 500))
def test_any_position_survives_to_a_billionth_of_a_pixel(tmp_path_factory, rows, box):
    x, y = np.array(rows).T
    (path,) = BOX.write(tmp_path_factory.mktemp("box"), [picks_of("a", x, y)], WriteOptions(box_size_px=box))
    file = BOX.read(path)
    np.testing.assert_allclose(canonical(file, file.picks[0]), np.column_stack([x, y]), rtol=0, atol=2e-9)


def test_the_text_itself(tmp_path):
    picks = [
        picks_of("a", [200, 300], [100, 50], diameter=107),
        picks_of("b", [10.25], [11], score=0.5),
        picks_of("c", [], []),
        picks_of("d", [5, 6], [7, 8], score=[np.nan, 1]),
    ]
    paths = BOX.write(tmp_path, picks, WriteOptions())
    assert [p.name for p in paths] == ["a.box", "b.box", "c.box", "d.box"]
    assert paths[0].read_text() == "146\t46\t108\t108\n246\t-4\t108\t108\n"
    assert paths[1].read_text() == "-43.75\t-43\t108\t108\t0.5\n"
    assert paths[2].read_bytes() == b""
    assert np.array_equal(BOX.read(paths[3]).picks[0].score, [np.nan, 1], equal_nan=True)
    (path,) = BOX.write(tmp_path, picks[:1], WriteOptions(box_size_px=180, suffix="_x"))
    assert (path.name, path.read_text().split("\n")[0]) == ("a_x.box", "110\t10\t180\t180")


def test_what_cannot_be_written(tmp_path):
    for pick, says in [
        (picks_of("a", [1, 2], [3, 4], diameter=[108, np.nan]), "box size"),
        (picks_of("a", [np.nan], [1]), "finite"),
    ]:
        with pytest.raises(FormatError, match=says):
            BOX.write(tmp_path, [pick], WriteOptions())
    with pytest.raises(FormatError, match="two micrographs"):
        BOX.write(tmp_path, [picks_of("a", [1], [1])] * 2, WriteOptions())
    assert not list(tmp_path.iterdir())


def test_a_size_of_zero_means_centres_and_sides_may_differ(tmp_path):
    path = put(tmp_path, "24 40 0 0\n14 35 20 10\n", "a.box")
    file = BOX.read(path)
    assert canonical(file, file.picks[0]).tolist() == [[24, 40], [24, 40]]
    assert file.picks[0].box_size_px.tolist() == [0, 20]
    (again,) = written_back(BOX, file, tmp_path / "out")
    assert again.read_text() == "24\t40\t0\t0\n14\t35\t20\t10\n"


@pytest.mark.parametrize(
    ("fifth", "score", "flag"),
    [
        (["-3", "0"], None, ["-3", "0"]),
        (["-3.5", "0"], [-3.5, 0], None),
        (["0.5", "nan"], [0.5, np.nan], None),
        (["0", "0"], [0, 0], None),
        (["1", "-1"], [1, -1], None),
    ],
)
def test_the_fifth_column_is_a_score_or_eman_s_flag(tmp_path, fifth, score, flag):
    path = put(tmp_path, "".join(f"1 2 10 10 {value}\n" for value in fifth), "a.box")
    (pick,) = BOX.read(path).picks
    assert (pick.score is None) == (score is None)
    if score is not None:
        assert np.array_equal(pick.score, score, equal_nan=True)
    assert pick.extra.get("box:flag", np.zeros(0)).tolist() == (flag or [])
    (again,) = written_back(BOX, BOX.read(path), tmp_path / "out")
    assert again.read_text().split()[4::5] == fifth


@pytest.mark.parametrize(
    "data",
    [
        b"1\t2\t10\t10\r\n",
        b"\xef\xbb\xbf1 2 10 10",
        "1 2 10 10\n".encode("utf-16"),
        b"# EMAN\n\n  1   2  10\t10\n\n",
        b"1.0 2.0 1e1 10\r",
    ],
)
def test_ways_to_say_the_same(tmp_path, data):
    path = put(tmp_path, data, "0001.box")
    assert BOX.sniff(path, data[:4096]) > 0.9
    file = BOX.read(path)
    assert canonical(file, file.picks[0]).tolist() == [[6, 7]]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1 2 3", "3 values"),
        ("1 2 3 4 5", "5 values"),
        ("1 2 3 4 5 6", "6 values"),
        ("x 2 3 4", "'x'"),
        ("1 nan 3 4", "'nan'"),
        ("1 2 inf 4", "'inf'"),
        ("1 2 -3 4", "size"),
        ("1 2 3 1e30", "size"),
        ("1_0 2 3 4", "'1_0'"),
    ],
)
def test_bad_rows(tmp_path, row, says):
    path = put(tmp_path, f"1 2 10 10\n{row}\n5 6 10 10\n", "a.box")
    with pytest.raises(FormatError, match=says) as caught:
        BOX.read(path)
    assert (caught.value.line, caught.value.path) == (2, path)
    file = BOX.read(path, permissive=True)
    assert file.picks[0].x.tolist() == [1, 5]
    assert [issue.line for issue in file.issues] == [2]


def test_hostile_files(tmp_path):
    refuse_hostile(BOX, tmp_path, "a.box")
    refuse_huge(BOX, tmp_path, "big.box")
    with pytest.raises(FormatError, match="cannot be read"):
        BOX.read(tmp_path / "absent.box")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "n", "first", "score"),
    [
        (f"eman1_box/repic_crYOLO_{MICROGRAPH}.box", 719, (2979, 3975), 0.6598718762397766),
        (f"eman1_box/repic_deepPicker_{MICROGRAPH}.box", 381, (522, 126), 0.78618085),
        (f"eman1_box/repic_topaz_{MICROGRAPH}.box", 789, (2092, 912), 7.182231),
        ("eman1_box/boxmanager_2d_0_center.box", 2, (92, 67), None),
        ("eman1_box/boxmanager_2d_center.box", 3, (24, 40), None),
        ("eman1_box/boxmanager_2d_center_float.box", 3, (24.3, 40.7), None),
        ("eman1_box/boxmanager_2d_left.box", 3, (24, 40), None),
        ("eman1_box/boxmanager_2d_empty.box", 0, None, None),
        ("same_picks_three_ways/sample.box", 440, (3651, 3033), None),
        (f"../picks_10017/hand_negative_box/{MICROGRAPH}.box", 53, (240, 2883), None),
        (f"../picks_10017/hand_positive_box/{MICROGRAPH}.box", 130, (1454, 2189), None),
    ],
)
def test_real_files(data_dir, tmp_path, name, n, first, score):
    file = BOX.read(data_dir / "formats" / name)
    (pick,) = file.picks
    assert len(pick) == n
    if first is not None:
        assert tuple(canonical(file, pick)[0]) == first
    assert (None if pick.score is None else pick.score[0]) == score
    written_back(BOX, file, tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "line"), [("boxmanager_2d_corrupt_has_string.box", 2), ("boxmanager_2d_corrupt_unqual_columns.box", 3)]
)
def test_real_broken_files(data_dir, name, line):
    path = data_dir / "formats/eman1_box" / name
    with pytest.raises(FormatError) as caught:
        BOX.read(path)
    assert caught.value.line == line
    file = BOX.read(path, permissive=True)
    assert (file.n_picks, len(file.issues)) == (2, 1)


@pytest.mark.realdata
def test_cryolo_boxes_are_corners_in_the_frame_of_the_mrc(data_dir):
    """FORMATS.md 1.3: 0.986 of the CryoPPP picks have a crYOLO pick within 40 px, and 0.28 if corners were centres."""
    truth = CRYOPPP.read(data_dir / f"cryoppp/10017/ground_truth/particle_coordinates/{MICROGRAPH}.csv")
    boxes = BOX.read(data_dir / f"picks_10017/cryolo_box/{MICROGRAPH}.box")
    (expected,), (pick,) = truth.picks, boxes.picks

    def matched(xy):
        distance, _ = cKDTree(xy).query(canonical(truth, expected))
        return float((distance <= 40).mean())

    assert matched(canonical(boxes, pick)) == pytest.approx(0.986, abs=0.001)
    centres = SourceFrame(anchor=Anchor.CENTRE)
    assert matched(np.column_stack(centres.to_canonical(pick.x, pick.y, height=4096))) < 0.35


@pytest.mark.realdata
def test_damaged_files_raise_format_errors_only(data_dir, tmp_path):
    files = [*(data_dir / "formats/eman1_box").glob("*.box"), *(data_dir / "picks_10017").glob("*_box/*.box")]
    fuzz(BOX, [path.read_bytes()[:3000] for path in sorted(files)], tmp_path / "damaged.box", n=400)
