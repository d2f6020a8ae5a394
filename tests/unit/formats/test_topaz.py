"""Topaz tables."""

from __future__ import annotations

import numpy as np
import pytest
from format_tools import check_declarations, fuzz, picks_of, put, refuse_hostile, refuse_huge, written_back
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.topaz import TOPAZ
from cryoppp_annotator.model.coordinates import SourceFrame
from cryoppp_annotator.model.pickfile import WriteOptions

HEAD = "image_name\tx_coord\ty_coord\tscore\n"
README = HEAD + (
    "Microtubules_00000\t420\t586\t0.6130168\n"
    "Microtubules_00000\t881\t475\t-0.32318813\n"
    "Microtubules_00000\t514\t359\t-0.6220623\n"
)
pixels = st.floats(-1e6, 1e6)


def test_declarations():
    check_declarations(TOPAZ)


@given(st.lists(st.lists(st.tuples(pixels, pixels, st.floats(-100, 100)), min_size=1, max_size=5), max_size=4))
def test_what_is_written_is_read(tmp_path_factory, micrographs):
    picks = []
    for i, rows in enumerate(micrographs):
        x, y, score = np.array(rows, np.float64).reshape(-1, 3).T
        picks.append(picks_of(f"000{i} a", x, y, score=score))
    (path,) = TOPAZ.write(tmp_path_factory.mktemp("topaz"), picks, WriteOptions())
    file = TOPAZ.read(path)
    assert [p.micrograph for p in file.picks] == [p.micrograph.name for p in picks]
    for got, expected in zip(file.picks, picks, strict=True):
        assert (got.x.tolist(), got.y.tolist(), got.score.tolist()) == (
            expected.x.tolist(),
            expected.y.tolist(),
            expected.score.tolist(),
        )


@given(st.lists(st.tuples(pixels, pixels), min_size=1, max_size=5), st.sampled_from([2, 4, 8, 3, 0.5]))
def test_the_scale_is_the_frame_s(tmp_path_factory, rows, scale):
    x, y = np.array(rows).T
    frame = SourceFrame(scale=scale)
    (path,) = TOPAZ.write(tmp_path_factory.mktemp("topaz"), [picks_of("a", x, y)], WriteOptions(frame=frame))
    (pick,) = TOPAZ.read(path).picks
    back = np.column_stack(frame.to_canonical(pick.x, pick.y, height=4096))
    np.testing.assert_allclose(back, np.column_stack([x, y]), rtol=0, atol=2e-9 * scale)


def test_the_text_itself(tmp_path):
    picks = [picks_of("b", [8], [4]), picks_of("0001", [16.5, 7], [24, 1], score=[1, np.nan]), picks_of("c", [], [])]
    (path,) = TOPAZ.write(tmp_path / "all.txt", picks, WriteOptions(frame=SourceFrame(scale=8)))
    assert path == tmp_path / "all.txt"
    assert path.read_text() == HEAD + "b\t1\t0.5\tnan\n0001\t2.0625\t3\t1\n0001\t0.875\t0.125\tnan\n"
    (path,) = TOPAZ.write(tmp_path, picks[:1], WriteOptions())
    assert (path.name, path.read_text()) == ("particles.txt", "image_name\tx_coord\ty_coord\nb\t8\t4\n")
    for bad in ([picks[0], picks[0]], [picks_of("a\tb", [1], [2])], [picks_of("a", [np.inf], [2])]):
        with pytest.raises(FormatError):
            TOPAZ.write(tmp_path / "x.txt", bad, WriteOptions())
    assert not (tmp_path / "x.txt").exists()


def test_what_the_readme_shows(tmp_path):
    path = put(tmp_path, README, "p.txt")
    assert TOPAZ.sniff(path, README.encode()) > 0.9
    file = TOPAZ.read(path)
    (pick,) = file.picks
    assert (pick.micrograph, pick.x[0], pick.y[0]) == ("Microtubules_00000", 420, 586)
    assert pick.score.tolist() == [0.6130168, -0.32318813, -0.6220623]
    (again,) = written_back(TOPAZ, file, tmp_path / "out")
    assert again.read_text() == README


@pytest.mark.parametrize(
    "data",
    [
        README.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + README.encode(),
        README.encode("utf-16"),
        README.replace("\t", ",").encode(),
        README.replace("\t", " ").encode(),
    ],
)
def test_ways_to_say_the_same(tmp_path, data):
    path = put(tmp_path, data, "p.txt")
    assert TOPAZ.sniff(path, data[:4096]) > 0.9
    (pick,) = TOPAZ.read(path).picks
    assert (pick.micrograph, pick.x.tolist()) == ("Microtubules_00000", [420, 881, 514])


def test_unknown_columns_and_mixed_images_are_kept(tmp_path):
    text = "x_coord\timage_name\ty_coord\tnote\n1\tb\t2\tq q\n3\t0001.mrc\t4\t\n5\tb\t6\tz\n"
    file = TOPAZ.read(put(tmp_path, text, "p.tsv"))
    assert [(p.micrograph, p.x.tolist()) for p in file.picks] == [("b", [1, 5]), ("0001.mrc", [3])]
    assert file.picks[0].extra["topaz:note"].tolist() == ["q q", "z"]
    written_back(TOPAZ, file, tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a\t1\t2", "3 values"),
        ("a\t1\t2\t3\t4", "5 values"),
        ("a\tx\t2\t3", "'x'"),
        ("a\t1\tnan\t3", "'nan'"),
        ("a\t1\t2\tbig", "'big'"),
    ],
)
def test_bad_rows(tmp_path, row, says):
    path = put(tmp_path, f"{HEAD}a\t1\t2\t3\n{row}\na\t5\t6\t\n", "p.txt")
    with pytest.raises(FormatError, match=says) as caught:
        TOPAZ.read(path)
    assert caught.value.line == 3
    file = TOPAZ.read(path, permissive=True)
    assert file.picks[0].x.tolist() == [1, 5]
    assert [issue.line for issue in file.issues] == [3]


def test_hostile_files(tmp_path):
    refuse_hostile(TOPAZ, tmp_path, "a.txt")
    refuse_huge(TOPAZ, tmp_path, "big.txt")
    for data in ("", "image_name\tx_coord\n", "image_name\tx_coord\ty_coord\tx_coord\n"):
        with pytest.raises(FormatError):
            TOPAZ.read(put(tmp_path, data, "a.txt"))
    assert TOPAZ.read(put(tmp_path, HEAD, "a.txt")).picks == ()


@pytest.mark.realdata
def test_real_file(data_dir, tmp_path):
    path = data_dir / "formats/topaz_txt/empiar10025_t20s_first400.txt"
    file = TOPAZ.read(path)
    assert (file.n_picks, len(file.picks)) == (400, 8)
    pick = file.picks[0]
    assert (pick.micrograph, pick.x[0], pick.y[0]) == ("14sep05c_c_00003gr_00014sq_00004hl_00004es_c", 6924, 2481)
    (again,) = written_back(TOPAZ, file, tmp_path)
    assert again.read_bytes() == path.read_bytes()


def test_60_000_rows_are_read(tmp_path):
    rows = "".join(f"mic_{i // 300:04d}\t{i % 4096}\t{i % 3838}\t{i / 7:.6f}\n" for i in range(60_000))
    path = put(tmp_path, HEAD + rows, "p.txt")
    file = TOPAZ.read(path)
    assert (file.n_picks, len(file.picks)) == (60_000, 200)


@pytest.mark.realdata
def test_damaged_files_raise_format_errors_only(data_dir, tmp_path):
    real = (data_dir / "formats/topaz_txt/empiar10025_t20s_first400.txt").read_bytes()[:3000]
    fuzz(TOPAZ, [real, README.encode()], tmp_path / "damaged.txt")
