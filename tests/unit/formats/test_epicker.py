"""EPicker .thi and .coord."""

from __future__ import annotations

import numpy as np
import pytest
from format_tools import check_declarations, fuzz, picks_of, put, refuse_hostile, refuse_huge, same_picks, written_back
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.epicker import EPICKER
from cryoppp_annotator.model.pickfile import WriteOptions

PARTICLES = "[Particle Coordinates: X Y Value]\n1243 512 0.43\n123 5123 0.39\n[End]\n"
VESICLES = "[Vesicle Coordinates: X Y Radius Value]\n10\t20\t30\t0.500000\n[End]\n"
HELICES = "[Helix Coordinates: X Y Group Value]\n1\t2\t1\t0.5\n3\t4\t2\t0.25\n[End]\n"


def test_declarations():
    check_declarations(EPICKER)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-100, 100)), max_size=9))
def test_what_is_written_is_read(tmp_path_factory, rows):
    x, y, score = np.array(rows, np.float64).reshape(-1, 3).T
    (path,) = EPICKER.write(tmp_path_factory.mktemp("thi"), [picks_of("a", x, y, score=score)], WriteOptions())
    (pick,) = EPICKER.read(path).picks
    assert np.array_equal(pick.x, x)
    assert np.array_equal(pick.y, y)
    if len(x):
        assert np.array_equal(pick.score, score)


def test_what_the_documentation_shows(tmp_path):
    path = put(tmp_path, PARTICLES, "m.thi")
    assert EPICKER.sniff(path, PARTICLES.encode()) > 0.9
    file = EPICKER.read(path)
    (pick,) = file.picks
    assert (pick.micrograph, pick.x.tolist(), pick.y.tolist()) == ("m", [1243, 123], [512, 5123])
    assert pick.score.tolist() == [0.43, 0.39]
    (again,) = written_back(EPICKER, file, tmp_path / "out")
    assert again.read_text() == PARTICLES.replace(" ", "\t").replace(
        "[Particle\tCoordinates:\tX\tY\tValue]", PARTICLES[:33]
    )


def test_vesicles_have_a_diameter_and_helices_a_group(tmp_path):
    (pick,) = EPICKER.read(put(tmp_path, VESICLES, "v.thi")).picks
    assert (pick.x[0], pick.y[0], pick.diameter_px[0], pick.score[0]) == (10, 20, 60, 0.5)
    file = EPICKER.read(put(tmp_path, HELICES, "h.thi"))
    assert file.picks[0].extra["epicker:group"].tolist() == ["1", "2"]
    (again,) = written_back(EPICKER, file, tmp_path / "out")
    assert again.read_text() == HELICES
    both = EPICKER.read(put(tmp_path, PARTICLES + HELICES, "b.thi"))
    assert [len(p) for p in both.picks] == [2, 2]


@pytest.mark.parametrize(
    "data",
    [
        PARTICLES.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + PARTICLES.encode(),
        PARTICLES.encode("utf-16"),
        PARTICLES.replace(" ", "\t").replace("[Particle\tCoordinates:\t", "[Particle Coordinates: ").encode(),
        b"1243 512 0.43\n123 5123 0.39",
    ],
)
def test_ways_to_say_the_same(tmp_path, data):
    path = put(tmp_path, data, "m.thi")
    assert EPICKER.sniff(path, data[:4096]) > 0.7
    same_picks(EPICKER.read(path).picks[0], EPICKER.read(put(tmp_path, PARTICLES, "n.thi")).picks[0])


def test_empty_files_and_missing_scores(tmp_path):
    for data in ("", "[Particle Coordinates: X Y Value]\n[End]\n"):
        (pick,) = EPICKER.read(put(tmp_path, data, "e.thi")).picks
        assert (pick.micrograph, len(pick)) == ("e", 0)
    (path,) = EPICKER.write(tmp_path, [picks_of("a", [1], [2])], WriteOptions())
    assert path.read_text() == "[Particle Coordinates: X Y Value]\n1\t2\t0\n[End]\n"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1", "1 values"),
        ("1 2 3 4", "4 values"),
        ("x 2 3", "'x'"),
        ("1 inf 3", "'inf'"),
        ("[Boxes: X Y]", "no section"),
    ],
)
def test_bad_rows(tmp_path, row, says):
    path = put(tmp_path, f"[Particle Coordinates: X Y Value]\n1 2 3\n{row}\n[End]\n", "a.thi")
    with pytest.raises(FormatError, match=says) as caught:
        EPICKER.read(path)
    assert caught.value.line == 3
    assert EPICKER.read(path, permissive=True).n_picks == 1


def test_hostile_files(tmp_path):
    refuse_hostile(EPICKER, tmp_path, "a.thi")
    refuse_huge(EPICKER, tmp_path, "big.thi")


@pytest.mark.realdata
def test_real_coord(data_dir):
    (pick,) = EPICKER.read(data_dir / "formats/same_picks_three_ways/sample.coord").picks
    assert (len(pick), pick.x[0], pick.y[0]) == (440, 3523, 2905)


def test_damaged_files_raise_format_errors_only(tmp_path):
    samples = [text.encode() for text in (PARTICLES, VESICLES, HELICES, PARTICLES * 20)]
    fuzz(EPICKER, samples, tmp_path / "damaged.thi")
    fuzz(EPICKER, [b"3523\t2905\n1441\t985\n", b"1 2 10 10\n3 4 10 10\n"], tmp_path / "damaged.coord", n=150)
