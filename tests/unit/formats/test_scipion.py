"""Scipion's sets of coordinates."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats.registry import read_any
from cryoppp_annotator.model.curation import Decision

ROWS = [(1, 1, 100, 200, "mic_a.mrc", 0.5), (2, 0, 30, 40, "mic_a.mrc", 0.25), (3, 1, 7, 8, "mic_b.mrc", None)]


def scipion_set(path: Path, labels: tuple[str, ...] = ("_x", "_y", "_micName", "_xmipp_cost"), rows=ROWS) -> Path:
    """As Scipion's mapper writes one."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE Properties (key TEXT UNIQUE, value TEXT)")
        database.execute("INSERT INTO Properties VALUES ('_boxSize', '128')")
        database.execute(
            "CREATE TABLE Classes (id INTEGER PRIMARY KEY, label_property TEXT, column_name TEXT, class_name TEXT)"
        )
        columns = [f"c{k:02d}" for k in range(len(labels))]
        classes = [("self", "c00", "Coordinate"), *zip(labels, columns, ["Integer"] * len(labels), strict=True)]
        database.executemany("INSERT INTO Classes (label_property, column_name, class_name) VALUES (?, ?, ?)", classes)
        made = ", ".join(columns)
        database.execute(f"CREATE TABLE Objects (id INTEGER PRIMARY KEY, enabled INTEGER, label TEXT, {made})")
        marks = ", ".join("?" * len(labels))
        for key, enabled, *values in rows:
            used = values[: len(labels)]
            database.execute(f"INSERT INTO Objects (id, enabled, {made}) VALUES (?, ?, {marks})", (key, enabled, *used))
    return path


def read(path: Path, **words):
    return read_any(path, list(formats().values()), **words)


def test_a_set_is_read(tmp_path):
    file = read(scipion_set(tmp_path / "coordinates.sqlite"))
    assert file.format == "scipion"
    first, second = file.picks
    assert (first.micrograph, second.micrograph) == ("mic_a.mrc", "mic_b.mrc")
    np.testing.assert_array_equal([first.x, first.y], [[100, 30], [200, 40]])
    assert first.decision.tolist() == [Decision.UNDECIDED, Decision.REJECTED], "deselected in Scipion"
    np.testing.assert_array_equal(first.score, [0.5, 0.25])
    assert np.isnan(second.score).all()
    np.testing.assert_array_equal(first.box_size_px, 128)
    assert first.extra["scipion:id"].tolist() == ["1", "2"]


def test_what_is_none_is_named(tmp_path):
    with pytest.raises(FormatError, match="three dimensions"):
        read(scipion_set(tmp_path / "tomo.sqlite", ("_x", "_y", "_z", "_micName"), [(1, 1, 1, 2, 3, "a")]))
    with pytest.raises(FormatError, match="names no micrographs, only their numbers"):
        read(scipion_set(tmp_path / "ids.sqlite", ("_x", "_y", "_micId"), [(1, 1, 1, 2, 3)]))
    with pytest.raises(FormatError, match="neither a cisTEM project nor a set of Scipion coordinates"):
        read(scipion_set(tmp_path / "mics.sqlite", ("_filename",), [(1, 1, "a.mrc")]))


def test_a_row_that_makes_no_sense_is_named(tmp_path):
    rows = [*ROWS, (4, 1, None, 8, "mic_b.mrc", None)]
    path = scipion_set(tmp_path / "bad.sqlite", rows=rows)
    with pytest.raises(FormatError, match="coordinate 4: _x is 'None'"):
        read(path)
    assert len(read(path, permissive=True).issues) == 1
