"""A set of coordinate files: whole or not at all, and nothing outside the folder that was named."""

from __future__ import annotations

import csv
import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from format_tools import picks_of
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoppp_annotator.batch.resume import Progress
from cryoppp_annotator.errors import AnnotatorError, FormatError
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats import atomic
from cryoppp_annotator.formats.atomic import file_set, write_text
from cryoppp_annotator.formats.registry import read_any
from cryoppp_annotator.formats.table.spreadsheet import csv_text, kept_text, original_text
from cryoppp_annotator.formats.writing import write_picks
from cryoppp_annotator.model.file_names import file_name_problem, printable
from cryoppp_annotator.model.pickfile import WriteOptions

WRITABLE = sorted(name for name, fmt in formats().items() if fmt.can_write and "template" not in fmt.carries)
BAD_NAMES = (
    "",
    ".",
    "..",
    "../x",
    "../../x",
    "../../../../tmp/x",
    "/tmp/x",
    "/etc/passwd",
    "a/../../x",
    "a/b",
    "a/",
    "/",
    "..\\x",
    "..\\..\\x",
    "C:\\x",
    "\\\\server\\share\\x",
    "a\\b",
    "a\0b",
    "\0",
    "a\nb",
    "\n",
    "a\rb",
    "a\tb",
    "\x1b[31m",
    "a\x7fb",
    "a\x85b",
    "a\x0bb",
    "a\x0cb",
    "x" * 300,
    "é" * 150,
    "\udcff",
    "a\udc80b",
    "..//x",
    "./../x",
    "~/../x/y",
    "x/../../../y",
    "...//..",
    "\x00../x",
    "../\n",
    "sub/dir/name",
)


def options(**changes) -> WriteOptions:
    return WriteOptions(
        box_size_px=100.0, images=lambda m: np.zeros((m.height or 8, m.width or 8), np.uint8), **changes
    )


def small(name: str):
    return picks_of(name, [10.0, 40.0], [20.0, 30.0], height=64)


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", WRITABLE)
def test_no_bad_name_writes_outside_and_none_stops_the_others(name, tmp_path):
    deep = tmp_path / "a" / "b" / "c" / "d" / "out"
    good = small("good")
    for bad in BAD_NAMES:
        files, notes = write_picks(formats()[name], deep, [good, small(bad)], options())
        assert files
        assert all(file.is_relative_to(deep) for file in files)
        (note,) = notes
        assert "left out: 1 micrograph" in note
        assert note.isprintable()
        with pytest.raises(FormatError, match="cannot be a file name"):
            write_picks(formats()[name], deep, [small(bad)], options())
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(deep)]
    assert not list(tmp_path.rglob(".unfinished-*"))


@pytest.mark.parametrize("suffix", ["/../../../x", "/x", "\\x", "\n", "\0", "/..", "a/b"])
@pytest.mark.parametrize("name", WRITABLE)
def test_no_suffix_leads_out_of_the_folder(name, suffix, tmp_path):
    out = tmp_path / "a" / "b" / "out"
    with pytest.raises(FormatError, match="suffix"):
        write_picks(formats()[name], out, [small("good")], options(suffix=suffix))
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("name", WRITABLE)
def test_a_planted_link_is_replaced_and_a_linked_folder_refused(name, tmp_path):
    first, _ = write_picks(formats()[name], tmp_path / "first", [small("good")], options())
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    out = tmp_path / "out"
    for file in first:
        place = out / file.relative_to(tmp_path / "first")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(precious / "file")
    write_picks(formats()[name], out, [small("good")], options())
    assert files_below(precious) == {"file": b"precious"}
    assert not any(p.is_symlink() for p in out.rglob("*"))
    folders = {file.relative_to(tmp_path / "first").parts[0] for file in first if file.parent != tmp_path / "first"}
    for folder in folders:
        linked = tmp_path / f"linked-{folder}"
        linked.mkdir()
        (linked / folder).symlink_to(precious)
        with pytest.raises(FormatError, match="is a link"):
            write_picks(formats()[name], linked, [small("good")], options())
        assert files_below(precious) == {"file": b"precious"}


def test_nothing_is_moved_where_a_folder_is_in_the_way(tmp_path):
    (tmp_path / "b").mkdir()

    def write():
        with file_set(tmp_path):
            write_text(tmp_path / "a", "new")
            write_text(tmp_path / "b", "new")

    with pytest.raises(FormatError, match="is a folder where a file is to be written"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_the_list_of_what_is_finished_is_written_through_no_link(make, tmp_path):
    """Lines are added to it, so it is not written beside and swapped in each time."""
    (tmp_path / "precious").write_text("precious")
    make(tmp_path / "precious", tmp_path / "picked.jsonl")
    progress = Progress(tmp_path / "picked.jsonl")
    for name in "ab":
        progress.note(name, {"k": 1}, {"r": 2})
    assert (tmp_path / "precious").read_text() == "precious"
    assert Progress(tmp_path / "picked.jsonl").finished() == {name: ({"k": 1}, {"r": 2}) for name in "ab"}


@pytest.mark.parametrize("name", WRITABLE)
def test_a_disk_that_fills_leaves_what_was_there(name, tmp_path, monkeypatch):
    """The last file of the set does not fit any more."""
    out = tmp_path / "out"
    before, _ = write_picks(formats()[name], out, [small("m1"), small("m2"), small("m3")], options())
    kept = files_below(out)
    new = tmp_path / "new"
    place = atomic._FileSet.place

    def fills_up(files, path):
        if files.n_opened >= len(before) - 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return place(files, path)

    monkeypatch.setattr(atomic._FileSet, "place", fills_up)
    moved = [picks_of(f"m{k}", [1.0], [2.0], height=64) for k in (1, 2, 3)]
    for folder in (out, new):
        with pytest.raises(FormatError, match=r"the disk is full.*nothing was written"):
            write_picks(formats()[name], folder, moved, options())
    assert files_below(out) == kept
    assert not new.exists()


def write_both(folder: Path, *paths: Path) -> None:
    with file_set(folder):
        for path in paths:
            write_text(path, "lost")


def test_files_of_a_set_appear_together(tmp_path):
    write_text(tmp_path / "a", "old")
    with file_set(tmp_path):
        write_text(tmp_path / "a", "half")
        write_text(tmp_path / "sub" / "b", "new")
        write_text(tmp_path / "a", "new")
        assert (tmp_path / "a").read_text() == "old"
        assert not (tmp_path / "sub").exists()
    assert files_below(tmp_path) == {"a": b"new", "sub/b": b"new"}
    with pytest.raises(FormatError, match="outside"):
        write_both(tmp_path / "sub", tmp_path / "sub" / "b", tmp_path / "a")
    assert files_below(tmp_path) == {"a": b"new", "sub/b": b"new"}
    with pytest.raises(FormatError, match="outside"):
        write_both(tmp_path / "fresh", tmp_path / "fresh" / "deep" / "c", tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


@settings(max_examples=200)
@given(st.text(max_size=20))
def test_a_name_is_one_file_or_refused(name):
    shown = printable(name)
    assert shown.isprintable()
    if file_name_problem(name):
        return
    assert Path("/x", name).parent == Path("/x")
    assert Path(os.path.normpath(Path("/x", f"{name}.star"))).parent == Path("/x")


def test_every_refusal_is_one_of_the_programs_errors(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for name in WRITABLE:
        with pytest.raises(AnnotatorError):
            write_picks(formats()[name], tmp_path / "file" / "out", [small("good")], options())


@pytest.mark.parametrize("name", WRITABLE)
def test_what_was_written_reads_back_by_its_folder(name, tmp_path):
    fmt = formats()[name]
    if not fmt.can_read:
        pytest.skip("this format is only written")
    written = [small("m1"), small("m2"), small("béta x")]
    write_picks(fmt, tmp_path / "out", written, options())
    for named_format in (None, name):
        file = read_any(tmp_path / "out", list(formats().values()), format=named_format)
        assert file.format == name
        assert file.n_picks == sum(map(len, written))
        assert len({picks.micrograph for picks in file.picks}) == len(written)


def test_a_folder_of_two_formats_is_not_guessed(tmp_path):
    for name in ("box", "relion"):
        write_picks(formats()[name], tmp_path / "out", [small("m1")], options())
    with pytest.raises(FormatError, match="several formats"):
        read_any(tmp_path / "out", list(formats().values()))
    assert read_any(tmp_path / "out", list(formats().values()), format="box").n_picks == 2
    with pytest.raises(FormatError):
        read_any(Path(tmp_path / "empty").mkdir() or tmp_path / "empty", list(formats().values()))


# --- cells of a spreadsheet ----------------------------------------------------------------------------------------


@given(st.text(alphabet="'=+-@\t\r\n ,;\"1.5eaβ＝", max_size=8))
def test_no_cell_is_a_formula_and_every_text_comes_back(text):
    cell = kept_text(text)
    assert original_text(cell) == text
    assert cell[:1] not in tuple("=+-@\t\r\n＝＋－＠") or float(cell.strip()) is not None
    (row,) = csv.reader(io.StringIO(csv_text([[text, "end"]]), newline=""))
    assert row == [cell, "end"]


def test_numbers_stay_numbers_in_a_table_and_names_come_back(tmp_path):
    names = ["=cmd|' -C calc'!A0", "+1+2", "-1.5", "@SUM(A1)", "'=quoted", "plain, with; signs"]
    scores = np.array([-0.25, 1e-9])
    given_picks = [replace(small(name), x=np.array([-1.5, 40.0]), score=scores, name_there=name) for name in names]
    files, _ = write_picks(formats()["table"], tmp_path / "out", given_picks, options())
    cells = [cell for row in csv.reader(files[0].read_text().splitlines()) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]
    assert {cell for cell in cells if cell.startswith("-")} == {"-1.5", "-0.25"}
    read = {picks.micrograph: picks for picks in formats()["table"].read(files[0]).picks}
    assert list(read) == [picks.written_name for picks in given_picks]
    for picks in given_picks:
        np.testing.assert_array_equal(read[picks.written_name].x, picks.x)
        np.testing.assert_array_equal(read[picks.written_name].score, picks.score)
