"""EMAN2's info files: only the key boxes is ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from format_tools import as_written, check_declarations, fuzz, picks_of, put, refuse_hostile, refuse_huge, written_back
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.eman2 import EMAN2
from cryoppp_annotator.model.pickfile import WriteOptions

INFO = (
    '{"quality": 5, "boxes": [[1872, 1404, "manual"], [2210, 933, "manual"], [455.0, 2011.5, "auto_local", 0.83],\n'
    ' [1, 2, "auto_mine", -3.5, 1, {"a": null}], [3, 4]],\n'
    ' "ctf": [512, "E1.5 300", [0.1, NaN], 18446744073709551615]}\n'
)


def test_declarations():
    check_declarations(EMAN2)


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.one_of(st.just(np.nan), st.floats(-100, 100))),
        max_size=9,
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    x, y, score = np.array(rows, np.float64).reshape(-1, 3).T
    (path,) = EMAN2.write(tmp_path_factory.mktemp("eman2"), [picks_of("0001", x, y, score=score)], WriteOptions())
    (pick,) = EMAN2.read(path).picks
    assert pick.micrograph == "0001"
    assert np.array_equal(pick.x, x)
    assert np.array_equal(pick.y, y)
    assert np.array_equal(pick.score, score, equal_nan=True)
    assert pick.extra["eman2:tag"].tolist() == ["manual" if np.isnan(s) else "auto_local" for s in score]


def test_entries_of_every_kind(tmp_path):
    path = put(tmp_path, INFO, "info/mic_info.json")
    assert EMAN2.sniff(path, INFO.encode()) > 0.9
    file = EMAN2.read(path)
    (pick,) = file.picks
    assert (pick.micrograph, pick.x.tolist(), pick.y.tolist()) == (
        "mic",
        [1872, 2210, 455, 1, 3],
        [1404, 933, 2011.5, 2, 4],
    )
    assert np.array_equal(pick.score, [np.nan, np.nan, 0.83, -3.5, np.nan], equal_nan=True)
    assert pick.extra["eman2:tag"].tolist() == ["manual", "manual", "auto_local", "auto_mine", ""]


def test_only_the_boxes_of_an_existing_file_change(tmp_path):
    path = put(tmp_path, INFO, "info/mic_info.json")
    before = json.loads(INFO)
    file = EMAN2.read(path)
    (written,) = EMAN2.write(tmp_path, [as_written(file, file.picks[0])], WriteOptions())
    assert written == path
    after = json.loads(path.read_text())
    assert list(after) == list(before)
    assert after["boxes"][:4] == before["boxes"][:4]
    assert after["boxes"][4] == [3, 4, "manual"]
    assert json.dumps(after["ctf"]) == json.dumps(before["ctf"])
    EMAN2.write(path.parent, [picks_of("mic", [7], [8])], WriteOptions())
    after = json.loads(path.read_text())
    assert (after["boxes"], after["quality"]) == ([[7, 8, "manual"]], 5)
    put(tmp_path, "{", "info/mic_info.json")
    with pytest.raises(FormatError, match="not JSON"):
        EMAN2.write(tmp_path, [picks_of("mic", [7], [8])], WriteOptions())
    assert path.read_text() == "{"


def test_a_project_has_particle_and_pixel_size(tmp_path):
    put(tmp_path, '{"global.ptclsize": 108, "global.apix": 1.77, "global.boxsize": 160}', "info/project.json")
    put(tmp_path, '{"boxes": [[1, 2, "manual"]]}', "info/a.b_info.json")
    put(tmp_path, '{"boxes": []}', "info/c_info.json")
    put(tmp_path, '{"quality": 5}', "info/d_info.json")
    for path in (tmp_path, tmp_path / "info"):
        assert EMAN2.sniff(path, b"") > 0.5
        file = EMAN2.read(path)
        assert [(p.micrograph, len(p)) for p in file.picks] == [("a.b", 1), ("c", 0)]
        assert file.pixel_size_A == 1.77
        assert file.picks[0].diameter_px.tolist() == [108]
    with pytest.raises(FormatError, match="was not picked"):
        EMAN2.read(tmp_path / "info/d_info.json")
    put(tmp_path, "[]", "info/e_info.json")
    with pytest.raises(FormatError, match="list"):
        EMAN2.read(tmp_path)
    assert len(EMAN2.read(tmp_path, permissive=True).issues) == 1
    assert EMAN2.sniff(tmp_path / "elsewhere", b"") == 0


@pytest.mark.parametrize(
    "box",
    [
        "1",
        "[1]",
        '["1", 2]',
        "[NaN, 2]",
        "[1, Infinity]",
        "[true, 2]",
        "[1, 2, 3]",
        "[1e999, 2]",
        "null",
        "[1, [2]]",
        '[1, 2, "' + "a" * 1000 + '"]',
        "[" + "9" * 400 + ", 2]",
    ],
)
def test_bad_boxes(tmp_path, box):
    path = put(tmp_path, f'{{"boxes": [[1, 2, "manual"], {box}]}}', "a_info.json")
    with pytest.raises(FormatError, match="box 2"):
        EMAN2.read(path)
    file = EMAN2.read(path, permissive=True)
    assert (file.n_picks, len(file.issues)) == (1, 1)


def test_hostile_files(tmp_path):
    refuse_hostile(EMAN2, tmp_path, "a_info.json")
    refuse_huge(EMAN2, tmp_path, "big_info.json")
    for data in (
        b"",
        b'{"boxes": 3}',
        b'{"boxes": [[1, 2]',
        b'{"a":' * 99_999,
        b'{"boxes": [[' + b"9" * 5000 + b", 1]]}",
    ):
        with pytest.raises(FormatError):
            EMAN2.read(put(tmp_path, data, "a_info.json"))
    (pick,) = EMAN2.read(put(tmp_path, '{"boxes": [[1, 2, "\\ud800"]]}', "a_info.json")).picks
    pick.extra["eman2:tag"][0].encode()  # can be stored


def test_ways_to_say_the_same(tmp_path):
    for data in (b"\xef\xbb\xbf" + INFO.encode(), INFO.encode("utf-16"), INFO.replace("\n", "\r\n").encode()):
        assert EMAN2.read(put(tmp_path, data, "a_info.json")).n_picks == 5


def test_unedited(tmp_path):
    file = EMAN2.read(put(tmp_path, INFO.replace(", [3, 4]", ""), "mic_info.json"))
    written_back(EMAN2, file, tmp_path / "out")


def test_damaged_files_raise_format_errors_only(tmp_path):
    fuzz(EMAN2, [INFO.encode()], tmp_path / "damaged_info.json")
