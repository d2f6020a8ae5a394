"""Xmipp .pos."""

from __future__ import annotations

import numpy as np
import pytest
from format_tools import check_declarations, fuzz, picks_of, put, refuse_hostile, refuse_huge, written_back
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.xmipp import XMIPP
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.pickfile import WriteOptions

HEAD = "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\n"
LABELS = "loop_\n _itemId\n _enabled\n _xcoor\n _ycoor\n _cost\n _micrographId\n"
MANUAL = (
    HEAD
    + "Manual\ndata_particles\n"
    + LABELS
    + (
        " 000001   1   1372  2210  0   000001\n"
        " 000002   1   455  98  0   000001\n"
        " 000003   -1   3001  1766  0   000001\n"
    )
)
AUTO = (
    HEAD
    + "Supervised\ndata_particles\n"
    + LABELS
    + (" 000007   1   10  20  0.000000   000004\ndata_particles_auto\n")
    + LABELS
    + " 000009   -1   30  40  0.830000   000004\n"
)


def test_declarations():
    check_declarations(XMIPP)


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from([Decision.ACCEPTED, Decision.REJECTED])),
        max_size=9,
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    x, y, decision = np.array(rows, np.float64).reshape(-1, 3).T
    score = np.arange(1, len(x) + 1) / 7
    (path,) = XMIPP.write(
        tmp_path_factory.mktemp("xmipp"), [picks_of("a", x, y, score=score, decision=decision)], WriteOptions()
    )
    (pick,) = XMIPP.read(path).picks
    assert np.abs(pick.x - x).max(initial=0) <= 0.5  # whole pixels
    assert np.abs(pick.y - y).max(initial=0) <= 0.5
    assert np.array_equal(pick.score, score)
    assert np.array_equal(pick.decision == Decision.REJECTED, decision == Decision.REJECTED)


@given(st.lists(st.tuples(st.integers(-9999, 9999), st.integers(-9999, 9999)), min_size=1, max_size=9))
def test_whole_pixels_are_exact(tmp_path_factory, rows):
    x, y = np.array(rows, np.float64).T
    (path,) = XMIPP.write(tmp_path_factory.mktemp("xmipp"), [picks_of("a", x, y)], WriteOptions())
    (pick,) = XMIPP.read(path).picks
    assert (pick.x.tolist(), pick.y.tolist()) == (x.tolist(), y.tolist())
    assert np.isnan(pick.score).all()


def test_what_scipion_writes(tmp_path):
    path = put(tmp_path, MANUAL, "mic.pos")
    assert XMIPP.sniff(path, MANUAL.encode()) > 0.9
    file = XMIPP.read(path)
    (pick,) = file.picks
    assert (pick.micrograph, pick.x.tolist(), pick.y.tolist()) == ("mic", [1372, 455, 3001], [2210, 98, 1766])
    assert pick.decision.tolist() == [Decision.UNDECIDED, Decision.UNDECIDED, Decision.REJECTED]
    assert pick.extra["xmipp:itemId"].tolist() == ["000001", "000002", "000003"]
    assert np.isnan(pick.score).all()
    (again,) = written_back(XMIPP, file, tmp_path / "out")
    assert again.read_text().split() == MANUAL.split()


def test_automatic_picks_and_their_state_are_kept(tmp_path):
    file = XMIPP.read(put(tmp_path, AUTO, "mic.pos"))
    (pick,) = file.picks
    assert pick.score.tolist() == [0, 0.83]
    assert pick.decision.tolist() == [Decision.UNDECIDED, Decision.REJECTED]
    assert pick.extra["xmipp:block"].tolist() == ["particles", "particles_auto"]
    (again,) = written_back(XMIPP, file, tmp_path / "out")
    assert "Supervised" in again.read_text()
    assert "data_particles_auto" in again.read_text()


def test_the_box_size_lies_beside(tmp_path):
    paths = XMIPP.write(tmp_path, [picks_of("a", [1], [2])], WriteOptions(box_size_px=180))
    assert [p.name for p in paths] == ["a.pos", "config.xmd"]
    assert XMIPP.read(paths[0]).picks[0].box_size_px.tolist() == [180]
    put(tmp_path, "nonsense", "config.xmd")
    with pytest.raises(FormatError, match=r"config\.xmd"):
        XMIPP.read(paths[0])
    assert XMIPP.read(paths[0], permissive=True).issues


def test_new_picks_get_ids_of_their_own(tmp_path):
    extra = {
        "xmipp:itemId": ["000007", "", "000003", ""],
        "xmipp:micrographId": ["000004"] * 4,
        "xmipp:x": ["", "2", "", ""],
    }
    (path,) = XMIPP.write(tmp_path, [picks_of("a", [1, 2, 3, 4], [1, 2, 3, 4], extra=extra)], WriteOptions())
    (pick,) = XMIPP.read(path).picks
    assert pick.extra["xmipp:itemId"].tolist() == ["000007", "000008", "000003", "000009"]
    assert pick.extra["xmipp:x"].tolist() == ["0", "2", "0", "0"]


@pytest.mark.parametrize(
    "data",
    [MANUAL.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + MANUAL.encode(), MANUAL.encode("utf-16")],
)
def test_ways_to_say_the_same(tmp_path, data):
    path = put(tmp_path, data, "a.pos")
    assert XMIPP.sniff(path, data[:4096]) > 0.9
    assert XMIPP.read(path).n_picks == 3


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (MANUAL + "1 1 2\n", "3 values"),
        (MANUAL + "1 1 x 2 0 1\n", "xcoor"),
        (MANUAL + "1 1 1 inf 0 1\n", "ycoor"),
        (MANUAL + "1 maybe 1 1 0 1\n", "enabled"),
        (HEAD + "Manual\n", "no block"),
        (HEAD + "Manual\ndata_particles\nloop_\n _xcoor\n1\n", "lacks"),
    ],
)
def test_bad_files(tmp_path, data, says):
    with pytest.raises(FormatError, match=says):
        XMIPP.read(put(tmp_path, data, "a.pos"))


def test_empty_and_hostile_files(tmp_path):
    for data in ("", HEAD + "Manual\ndata_particles\n" + LABELS):
        assert [len(p) for p in XMIPP.read(put(tmp_path, data, "a.pos")).picks] == [0]
    refuse_hostile(XMIPP, tmp_path, "a.pos")
    refuse_huge(XMIPP, tmp_path, "big.pos")


def test_damaged_files_raise_format_errors_only(tmp_path):
    fuzz(XMIPP, [MANUAL.encode(), AUTO.encode()], tmp_path / "damaged.pos")
