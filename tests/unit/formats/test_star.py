"""STAR grammar: tables as text, bad rows by line, and what is no STAR refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.atomic import replacing, write_text
from cryoppp_annotator.formats.table.simple_star import read_simple
from cryoppp_annotator.formats.table.star import ColumnReader, format_star, number_text, parse_star, read_text
from cryoppp_annotator.formats.table.star_file import read_star

HERE = Path("x.star")
HEAD = "\ndata_\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n"


def put(folder: Path, data: bytes, name: str = "x.star") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_columns_are_text_and_lines_are_counted():
    table = parse_star("# RELION\n\ndata_a\n\nloop_\n_n #1\n_v #2\n0001\t 1.50\n\n0002 'a b' # note\n", HERE).tables[0]
    assert table.block == "a"
    assert table.columns == {"n": ["0001", "0002"], "v": ["1.50", "a b"]}
    assert table.lines == [8, 10]


def test_a_label_and_value_block_is_a_table_of_one_row():
    assert parse_star("data_optics\n_rlnVoltage 300\n_rlnName 'a b'\n", HERE).tables[0].columns == {
        "rlnVoltage": ["300"],
        "rlnName": ["a b"],
    }


def test_names_that_look_like_keywords_and_foreign_letters_are_values():
    text = "data_\nloop_\n_n #1\n_v #2\ndata_01.mrc 1\n_x.mrc 2\nloop_3.mrc 3\nMäusé%.mrc 4\nit's 5\n$a 6\n[1,2] 7\n"
    names = ["data_01.mrc", "_x.mrc", "loop_3.mrc", "Mäusé%.mrc", "it's", "$a", "[1,2]"]
    assert parse_star(text, HERE).tables[0].columns["n"] == names


def test_rows_wrapped_by_a_spreadsheet_are_unwrapped():
    text = 'data_\nloop_\n_n\n_x\n_y\n"""a b.mrc"" 3 4"\n'
    assert parse_star(text, HERE).tables[0].columns == {"n": ["a b.mrc"], "x": ["3"], "y": ["4"]}


@pytest.mark.parametrize("row", ["1", "1 2 3", "1 'a b' 3", ";text\n;"])
def test_a_row_of_the_wrong_width_is_named_by_line(row):
    with pytest.raises(FormatError) as caught:
        parse_star(HEAD + "1 2\n" + row + "\n", HERE)
    assert caught.value.line == 8


def test_a_short_and_a_long_row_do_not_cancel_out():
    star = parse_star(HEAD + "1 2\n3\n4 5 6\n7 8\n", HERE, permissive=True)
    assert star.tables[0].columns["rlnCoordinateX"] == ["1", "7"]
    assert [issue.line for issue in star.issues] == [8, 9]


@pytest.mark.parametrize(
    "text",
    ["garbage", "# comment\n", "\n", "data_\nloop_\n_a\n_a\n1 2\n", "data_\nloop_\n_a\n1\ndata_\nloop_\n_a\n1\n"],
)
def test_what_is_no_star_is_refused(text):
    with pytest.raises(FormatError):
        parse_star(text, HERE)


def test_byte_order_marks_line_ends_and_utf16(tmp_path):
    text = "data_\nloop_\n_a #1\n5\n6\n"
    for data in (b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode(), text.encode("utf-16")):
        assert read_star(put(tmp_path, data)).tables[0].columns == {"a": ["5", "6"]}
    assert read_star(put(tmp_path, b"")).tables == ()


def test_other_encodings_and_binary_files_are_refused(tmp_path):
    with pytest.raises(FormatError, match="UTF-8") as caught:
        read_text(put(tmp_path, b"data_\nloop_\n_a\nM\xe4use\n"))
    assert caught.value.line == 4
    for data in (b"data_\x00\n", np.random.default_rng(0).bytes(5000), b"a" * 100_000 + b"\x00", b"\xff\xfe\x00"):
        with pytest.raises(FormatError):
            read_text(put(tmp_path, data))
    for path in (tmp_path, tmp_path / "absent.star"):
        with pytest.raises(FormatError, match="cannot be read"):
            read_text(path)


def test_a_huge_binary_file_is_refused_at_once(tmp_path):
    path = tmp_path / "big.star"
    with path.open("wb") as stream:
        stream.truncate(20 << 30)  # sparse
    started = time.process_time()
    with pytest.raises(FormatError, match="not a text file"):
        read_text(path)
    assert time.process_time() - started < 1


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["C", "Z"]), max_size=8)] * 2), max_size=8))
def test_what_is_written_is_read(rows):
    columns = {"a": [a for a, _ in rows], "b": [f"x {b}" for _, b in rows]}
    text = format_star([("optics", {"k": ["1"]}), ("", columns)], version="30001")
    assert text.endswith("\n\n")
    assert parse_star(text, HERE).tables[1].columns == columns


def test_what_cannot_be_written_is_refused():
    for value in ("a\nb c", "' a\" b"):
        with pytest.raises(FormatError):
            format_star([("", {"a": [value]})])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_number_text_is_exact(values):
    array = np.array(values, np.float64)
    assert np.array_equal(np.array([float(t) for t in number_text(array)]), array)


def test_number_text_is_short():
    assert number_text(np.array([3752.0, 0.1, 1e300, -2.0])) == ["3752", "0.1", "1e+300", "-2"]
    assert number_text(np.array([3.0])) == ["3"]


@pytest.mark.parametrize("value", ["'a'b ", '"a"b ', "'a ", "'\" ", "1", ".", "%u", "[", "[1 "])
def test_a_long_damaged_row_is_refused_in_time_that_grows_with_its_length(value):
    text = f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{value * (1 << 18)}\n"
    with pytest.raises(FormatError) as caught:
        parse_star(text, HERE)
    assert caught.value.line == 6


def test_a_quote_ends_where_a_blank_follows_it():
    text = "data_\n\nloop_\n_a #1\n_b #2\n'it's a' \"b \"c\" # d\n"
    table = parse_star(text, HERE, permissive=True).tables[0]
    assert table.columns["a"][0] == "it's a"
    assert table.columns["b"][0] == 'b "c'


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "abc", "", "1_0", "1,5", "1e999", "9" * 100_000 + "x"])
def test_bad_numbers_are_named_by_line(text):
    columns = {"x": ["1", text, "3"]}
    with pytest.raises(FormatError) as caught:
        ColumnReader(columns, [5, 6, 7], HERE, False).number("x")
    assert caught.value.line == 6
    reader = ColumnReader(columns, [5, 6, 7], HERE, True)
    reader.number("x")
    assert reader.good.tolist() == [True, False, True]
    assert reader.issues[0].line == 6


def test_placeholders_are_not_set():
    columns = {"s": ["-999", "-999.000000", "0.5", "nan", "None"], "c": ["-999", "2", "3.0", "0", "-999.0"]}
    reader = ColumnReader(columns, [1, 2, 3, 4, 5], HERE, False)
    assert np.array_equal(reader.number("s", optional=True), [np.nan, np.nan, 0.5, np.nan, np.nan], equal_nan=True)
    assert reader.integer("c").tolist() == [0, 2, 3, 0, 0]
    with pytest.raises(FormatError, match="whole"):
        ColumnReader({"c": ["1.5"]}, [1], HERE, False).integer("c")


def test_a_column_that_would_fill_the_memory_is_refused():
    with pytest.raises(FormatError, match="damaged"):
        ColumnReader({"t": ["a" * 2_000_000] + [""] * 300}, list(range(301)), HERE, False).text("t")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = write_text(tmp_path / "sub" / "a.star", "old")
    with pytest.raises(TypeError), replacing(path) as stream:
        stream.writelines([b"new", None])
    assert path.read_text() == "old"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.star"]


def test_a_replaced_file_keeps_its_mode_and_a_link_is_not_written_through(tmp_path):
    path = write_text(tmp_path / "a.csv", "1")
    path.chmod(0o640)
    write_text(path, "2")
    assert path.stat().st_mode & 0o777 == 0o640
    (tmp_path / "link.csv").symlink_to(path)
    write_text(tmp_path / "link.csv", "3")
    assert path.read_text() == "2"
    assert not (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "link.csv").read_text() == "3"


# --- the short way for simple files --------------------------------------------------------------------------------

words = st.text(alphabet="aZ09.-+_#'\"[]$;é dataloop\t", min_size=1, max_size=9)
values = st.one_of(st.floats(-1e4, 1e4).map(str), words)


@st.composite
def star_texts(draw):
    labels = draw(
        st.lists(st.sampled_from(["_rlnX #1", "_rlnX", "_rlnY #2", "_b_c", "_", "_x y", "_rlnZ # note"]), max_size=4)
    )
    rows = draw(st.lists(st.lists(values, min_size=len(labels), max_size=len(labels)).map(" ".join), max_size=4))
    head = draw(
        st.sampled_from(["data_\n\nloop_\n", "# made\n\ndata_a\nloop_ \n", "data_ b\nloop_\n", "data_a\n_k 1\nloop_\n"])
    )
    tail = draw(st.sampled_from(["", "\n", "\n\n# end", "\ndata_more\nloop_\n_q\n1\n", "\n_rlnLate\n"]))
    return head + "".join(f"{label}\n" for label in labels) + "\n".join(rows) + tail


@given(star_texts())
def test_a_simple_file_says_the_same_without_the_grammar(text):
    simple = read_simple(text)
    if simple is not None:
        (table,) = parse_star(text, Path("x.star")).tables
        block, columns, lines = simple
        assert (table.block, {k: list(v) for k, v in table.columns.items()}, table.lines) == (block, columns, lines)


def test_the_files_of_pickers_go_the_short_way():
    text = "# version 30001\n\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1.5 2\n 3 4e-1 \n\n"
    assert read_simple(text) == ("", {"rlnCoordinateX": ["1.5", "3"], "rlnCoordinateY": ["2", "4e-1"]}, [8, 9])
