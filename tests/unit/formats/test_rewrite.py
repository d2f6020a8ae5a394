"""Rows edited in place: nothing else changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.formats.table.rewrite import cells, rewritten, with_cells

words = st.text("abc123.-_", min_size=1, max_size=8)


def edit(data: bytes, separator=None, edited=None, dropped=(), appended=()) -> bytes:
    return rewritten(data, edited=edited or {}, dropped=dropped, appended=appended, separator=separator)


def test_relions_columns_stay_aligned():
    line = "  839.125024    19.979167     0.624705            0     0.000000 "
    assert with_cells(line, {0: "1.5"}, None) == "         1.5    19.979167     0.624705            0     0.000000 "
    assert with_cells(line, {1: "12345.12345678"}, None).split() == [
        *cells(line, None)[:1],
        "12345.12345678",
        *cells(line, None)[2:],
    ]


def test_quotes_hold_words_together():
    assert cells("1 'two words' 3", None) == ["1", "'two words'", "3"]
    assert cells('"a,b",2,"c ""d"""', ",") == ['"a,b"', "2", '"c ""d"""']
    assert with_cells('"a,b",2,3', {1: "9"}, ",") == '"a,b",9,3'


@given(st.lists(words, min_size=1, max_size=6), st.sampled_from([" ", "\t", "  ", "    ", ","]), st.data())
def test_one_cell_changes_and_no_other(row, joint, data):
    separator = "," if joint == "," else None
    line = joint.join(row)
    number = data.draw(st.integers(0, len(row) - 1))
    text = data.draw(words)
    expected = [*row[:number], text, *row[number + 1 :]]
    assert cells(with_cells(line, {number: text}, separator), separator) == expected
    assert with_cells(line, {}, separator) == line


@given(
    st.binary()
    .filter(lambda b: not b.startswith((b"\xff\xfe", b"\xfe\xff")))
    .map(lambda b: b.decode("latin-1").encode())
)
def test_unedited_is_the_same_bytes(data):
    assert edit(data) == data


def test_encoding_and_line_ends_are_kept():
    for mark, encoding in ((b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le")):
        data = mark + "x,y\r\n1,2\r\n3,4\r\n5,6\r\n".encode(encoding)
        out = edit(data, ",", {2: {0: "1.5"}}, {3}, [(4, "7,8")])
        assert out == mark + "x,y\r\n1.5,2\r\n5,6\r\n7,8\r\n".encode(encoding)
