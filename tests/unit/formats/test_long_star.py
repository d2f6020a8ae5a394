"""STAR files read in pieces give what they give when read whole."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from fuzz_driver import mutated

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.relion import RELION_PARTICLES
from cryoppp_annotator.formats.table import star_file as stars
from cryoppp_annotator.formats.table.columns import LongColumn
from cryoppp_annotator.formats.table.long_star import read_long_star
from cryoppp_annotator.formats.table.star_file import read_star

OPTICS = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300.0\n2 200.0\n\n"
HEAD = "# version 30001\n\ndata_particles\n\nloop_ \n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"


def particles(n: int) -> str:
    names = ("a.mrc", "'b c.mrc'", "data_1.mrc", "béta.mrc")
    return (
        OPTICS + HEAD + "_rlnOpticsGroup #4\n" + "".join(f"{names[i % 4]} {i} {i / 8} {1 + i % 2}\n" for i in range(n))
    )


def contents(star):
    return [(t.block, {label: list(column) for label, column in t.columns.items()}, t.lines) for t in star.tables]


def outcome(read, *words, **more):
    try:
        star = read(*words, **more)
    except FormatError as error:
        return error.line
    return contents(star), [(issue.message, issue.line) for issue in star.issues]


@pytest.mark.parametrize("piece", [64, 200, 1000, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        particles(200),
        particles(200) + "\n# a comment\n\ndata_last\n\n_rlnNothing 0\n\nloop_\n_rlnA\n_rlnB\n1 2\n3 4\n\ndata_empty\n",
        particles(50).replace("\n", "\r\n"),
        "\ufeff" + particles(30),
        particles(3) + "\n\n",
        particles(100).removesuffix("\n"),
    ],
)
def test_pieces_are_the_whole(tmp_path, text, piece):
    path = tmp_path / "p.star"
    path.write_bytes(text.encode())
    whole, pieces = outcome(read_star, path), outcome(read_long_star, path, piece_bytes=piece)
    assert isinstance(whole, tuple)
    assert pieces == whole


@pytest.mark.parametrize("permissive", [False, True])
def test_bad_rows_are_told_by_their_line_in_the_file(tmp_path, permissive):
    rows = particles(300).split("\n")
    rows[40] = "too few"
    rows[250] += " one too many"
    path = tmp_path / "p.star"
    path.write_text("\n".join(rows))
    whole = outcome(read_star, path, permissive=permissive)
    assert whole == (41 if not permissive else whole)
    assert outcome(read_long_star, path, permissive=permissive, piece_bytes=500) == whole


@pytest.mark.parametrize("permissive", [False, True])
def test_damaged_files_come_out_alike(tmp_path, permissive):
    """Both refuse a file or both read it; which of several faults is told may differ."""
    rng = random.Random(2)
    data = particles(60).encode()
    path = tmp_path / "p.star"
    n_read = 0
    for _ in range(300):
        path.write_bytes(mutated(data, rng))
        whole = outcome(read_star, path, permissive=permissive)
        pieces = outcome(read_long_star, path, permissive=permissive, piece_bytes=300)
        if isinstance(whole, tuple) and isinstance(pieces, tuple):
            n_read += 1
            assert sorted(map(repr, pieces[0])) == sorted(map(repr, whole[0]))
    assert n_read > 20


def test_particles_of_a_long_file(tmp_path, monkeypatch):
    path = tmp_path / "p.star"
    path.write_text(particles(2000))
    short = RELION_PARTICLES.read(path)
    monkeypatch.setattr(stars, "_LONG_BYTES", 100)
    monkeypatch.setattr("cryoppp_annotator.formats.table.long_star.PIECE_BYTES", 100)
    long = RELION_PARTICLES.read(path)
    assert isinstance(read_star(path).tables[1].columns["rlnCoordinateX"], LongColumn)
    assert [p.micrograph for p in long.picks] == [p.micrograph for p in short.picks]
    for a, b in zip(short.picks, long.picks, strict=True):
        assert np.array_equal(a.x, b.x)
        assert np.array_equal(a.lines, b.lines)
        assert {k: v.tolist() for k, v in a.extra.items()} == {k: v.tolist() for k, v in b.extra.items()}


def test_a_long_file_that_is_none(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(stars, "_LONG_BYTES", 100)
    path = tmp_path / "x.star"
    for data, line in ((b"\0" * 4096, None), (b"a" * (3 << 20), 1), (b"data_\n" * 50 + b"\xff\n", 51)):
        path.write_bytes(data)
        with pytest.raises(FormatError) as failure:
            read_long_star(path, piece_bytes=1 << 20)
        assert failure.value.line == line


def test_text_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("cryoppp_annotator.formats.table.long_star._MOST_WITHOUT_ROWS", 10_000)
    path = tmp_path / "x.star"
    path.write_text("just words and 1 2 3 numbers\n" * 5000)
    with pytest.raises(FormatError, match="no loop of rows"):
        read_long_star(path, piece_bytes=1000)
