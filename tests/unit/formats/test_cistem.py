"""cisTEM: exported .plt and the read-only database."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from format_tools import (
    any_positions,
    canonical,
    check_declarations,
    fuzz,
    mutated,
    picks_of,
    positions,
    put,
    refuse_hostile,
    refuse_huge,
    written_back,
)
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.cistem import CISTEM, CISTEM_PLT, PLT_FRAME
from cryoppp_annotator.model.pickfile import WriteOptions

PLT = "2001.00\t1373.00\t1.00\n12.50\t3.25\t1.00\n"
SCHEMA = """
CREATE TABLE IMAGE_ASSETS(IMAGE_ASSET_ID INTEGER PRIMARY KEY, NAME TEXT, FILENAME TEXT, X_SIZE INTEGER, Y_SIZE INTEGER,
  PIXEL_SIZE REAL, PROTEIN_IS_WHITE INTEGER);
CREATE TABLE PARTICLE_POSITION_ASSETS(PARTICLE_POSITION_ASSET_ID INTEGER PRIMARY KEY, PARENT_IMAGE_ASSET_ID INTEGER,
  PICKING_ID INTEGER, PICK_JOB_ID INTEGER, X_POSITION REAL, Y_POSITION REAL, PEAK_HEIGHT REAL,
  TEMPLATE_ASSET_ID INTEGER, TEMPLATE_PSI REAL, TEMPLATE_THETA REAL, TEMPLATE_PHI REAL);
"""


def test_declarations():
    check_declarations(CISTEM_PLT)
    check_declarations(CISTEM)


# --- .plt ----------------------------------------------------------------------------------------------------------


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.integers(1, 20_000))
def test_the_frame_says_what_cistem_writes(x, y, height):
    """``H - y + 1`` and ``x + 1``, and back (``MyParticlePositionExportDialog.cpp``)."""
    second, first = PLT_FRAME.from_canonical(x, y, height=height)
    assert second == x + 1
    assert first == pytest.approx(height - y + 1, abs=1e-9)
    back_x, back_y = PLT_FRAME.to_canonical(second, first, height=height)
    assert back_x == pytest.approx(second - 1, abs=0)
    assert back_y == pytest.approx(height + 1 - first, abs=1e-9)
    assert (back_x, back_y) == (pytest.approx(x, abs=1e-9), pytest.approx(y, abs=1e-9))


@given(positions)
def test_what_is_written_is_read(tmp_path_factory, rows):
    x, y = np.array(rows, np.float64).reshape(-1, 2).T
    (path,) = CISTEM_PLT.write(tmp_path_factory.mktemp("plt"), [picks_of("a", x, y)], WriteOptions())
    file = CISTEM_PLT.read(path)
    assert np.array_equal(canonical(file, file.picks[0]), np.column_stack([x, y]))


@given(any_positions)
def test_any_position_survives_to_a_billionth_of_a_pixel(tmp_path_factory, rows):
    x, y = np.array(rows).T
    (path,) = CISTEM_PLT.write(tmp_path_factory.mktemp("plt"), [picks_of("a", x, y)], WriteOptions())
    file = CISTEM_PLT.read(path)
    np.testing.assert_allclose(canonical(file, file.picks[0]), np.column_stack([x, y]), rtol=0, atol=2e-9)


def test_the_text_itself(tmp_path):
    (path,) = CISTEM_PLT.write(tmp_path, [picks_of("m", [1372], [2096], height=4096)], WriteOptions())
    assert path.read_text() == "2001\t1373\t1.0\n"
    path = put(tmp_path, PLT, "n.plt")
    assert CISTEM_PLT.sniff(path, PLT.encode()) > 0.8
    file = CISTEM_PLT.read(path)
    assert canonical(file, file.picks[0]).tolist() == [[1372, 2096], [2.25, 4084.5]]
    written_back(CISTEM_PLT, file, tmp_path / "out")
    with pytest.raises(FormatError, match="height"):
        CISTEM_PLT.write(tmp_path, [picks_of("m", [1], [2], height=0)], WriteOptions())


@pytest.mark.parametrize(
    ("row", "says"),
    [("1 2", "2 values"), ("1 2 3 4", "4 values"), ("1 x 1", "'x'"), ("nan 1 1", "'nan'"), ("1 1 y", "'y'")],
)
def test_bad_rows(tmp_path, row, says):
    path = put(tmp_path, f"{PLT}{row}\n5 6 1\r\n", "a.plt")
    with pytest.raises(FormatError, match=says) as caught:
        CISTEM_PLT.read(path)
    assert caught.value.line == 3
    assert CISTEM_PLT.read(path, permissive=True).n_picks == 3


def test_empty_and_hostile_files(tmp_path):
    assert [len(p) for p in CISTEM_PLT.read(put(tmp_path, "", "a.plt")).picks] == [0]
    assert CISTEM_PLT.read(put(tmp_path, PLT.encode("utf-16"), "a.plt")).n_picks == 2
    refuse_hostile(CISTEM_PLT, tmp_path, "a.plt")
    refuse_huge(CISTEM_PLT, tmp_path, "big.plt")


def test_damaged_files_raise_format_errors_only(tmp_path):
    fuzz(CISTEM_PLT, [PLT.encode() * 10], tmp_path / "damaged.plt")


# --- database ------------------------------------------------------------------------------------------------------


def database(
    path,
    positions=((1, 1, 1, 1, 177.0, 354.0, 7.5, 1, 10.0, 0.0, 0.0), (2, 2, 1, 1, 10.0, 0.5, None, 1, 0.0, 0.0, 0.0)),
):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        images = [(1, "m", "/data/m_0.mrc", 4096, 4096, 1.77, 0), (2, "n", "/data/n.mrc", 4096, 4096, 2.5, 0)]
        connection.executemany("INSERT INTO IMAGE_ASSETS VALUES (?,?,?,?,?,?,?)", images)
        connection.executemany(f"INSERT INTO PARTICLE_POSITION_ASSETS VALUES ({','.join('?' * 11)})", positions)
        connection.commit()
    return path


def test_positions_are_angstrom_from_the_first_row(tmp_path):
    path = database(tmp_path / "project #1?.db")
    before = path.read_bytes()
    assert CISTEM.sniff(path, before[:4096]) > 0.9
    file = CISTEM.read(path)
    first, second = file.picks
    assert (first.micrograph, second.micrograph) == ("/data/m_0.mrc", "/data/n.mrc")
    assert canonical(file, first).tolist() == [[100, 200]]
    assert canonical(file, second).tolist() == [[4, 0.2]]
    assert first.score.tolist() == [7.5]
    assert np.isnan(second.score[0])
    assert first.extra["cistem:TEMPLATE_PSI"].tolist() == ["10.0"]
    assert file.pixel_size_A is None
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(FormatError, match="read only"):
        CISTEM.write(tmp_path, [], WriteOptions())


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((3, 9, 1, 1, 1.0, 1.0, 1, 1, 0, 0, 0), "image 9"),
        ((3, None, 1, 1, 1.0, 1.0, 1, 1, 0, 0, 0), "image None"),
        ((3, 1, 1, 1, "far", 1.0, 1, 1, 0, 0, 0), "'far'"),
        ((3, 1, 1, 1, 1.0, None, 1, 1, 0, 0, 0), "'None'"),
        ((3, 1, 1, 1, 1.0, float("inf"), 1, 1, 0, 0, 0), "'inf'"),
        ((3, 1, 1, 1, 1.0, b"x", 1, 1, 0, 0, 0), "finite"),
    ],
)
def test_bad_rows_of_a_database(tmp_path, row, says):
    path = database(tmp_path / "p.db", [(1, 1, 1, 1, 177.0, 354.0, 7.5, 1, 10.0, 0.0, 0.0), row])
    with pytest.raises(FormatError, match=says):
        CISTEM.read(path)
    file = CISTEM.read(path, permissive=True)
    assert (file.n_picks, len(file.issues)) == (1, 1)


def test_what_is_no_cistem_project_is_refused(tmp_path):
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(
            "CREATE TABLE PARTICLE_POSITION_ASSETS(X); CREATE VIEW IMAGE_ASSETS AS SELECT 1 AS IMAGE_ASSET_ID;"
        )
    assert CISTEM.sniff(other, other.read_bytes()[:4096]) == 0
    with pytest.raises(FormatError, match="no table IMAGE_ASSETS"):
        CISTEM.read(other)
    for path in (
        put(tmp_path, "", "e.db"),
        put(tmp_path, b"SQLite format 3\x00" + b"x" * 500, "g.db"),
        tmp_path,
        tmp_path / "no.db",
    ):
        with pytest.raises(FormatError):
            CISTEM.read(path)
    assert not (tmp_path / "no.db").exists()


def test_damaged_databases_raise_format_errors_only(tmp_path):
    data = database(tmp_path / "p.db").read_bytes()
    rng = random.Random(5)
    path = tmp_path / "damaged.db"
    for i in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 30)):
            damaged[rng.randrange(16, len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged) if i % 2 else mutated(data, rng))
        assert 0 <= CISTEM.sniff(path, path.read_bytes()[:4096]) <= 1
        for permissive in (False, True):
            try:
                file = CISTEM.read(path, permissive=permissive)
            except FormatError:
                continue
            assert all(np.isfinite(p.x).all() and np.isfinite(p.y).all() for p in file.picks)
