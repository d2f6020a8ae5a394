"""Names that somebody else gave are shown as they are written, wherever they stand; none is taken for markup."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QLabel, QTableView, QToolTip
from window import write_star

from cryoppp_annotator.gui.widgets.dialogs.import_dialog import ImportDialog
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.store.store import DATABASE_NAME

EVIL = "<img src=file:x.png><b>bold"


@pytest.fixture
def hostile(micrographs, tmp_path, new_window):
    """The window on a project in which somebody made every name markup."""
    session = opening.open_plan(opening.plan(micrographs))
    session.go(1)
    session.add(50.0, 60.0)
    folder = session.store.folder
    session.close()
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        connection.execute("UPDATE micrograph SET name = ?, state_by = ?", (EVIL, EVIL))
        connection.execute("UPDATE micrograph SET problem = ? WHERE id = 2", (EVIL,))
        connection.execute("UPDATE pick_set SET name = ?, curator = ?, source = ?", (EVIL, EVIL, EVIL))
        connection.execute("UPDATE pick_set SET parameters = ?", (json.dumps({"picker": EVIL}),))
        connection.execute("UPDATE change SET title = ?, curator = ?", (EVIL, EVIL))
        connection.commit()
    return new_window().open(folder)


def tooltips(view: QAbstractItemView) -> list[str]:
    """What is shown over each item that has a tooltip."""
    shown = []
    model = view.model()
    for row in range(model.rowCount()):
        for column in range(8 if isinstance(view, QTableView) else 1):
            place = view.visualRect(model.index(row, column)).center()
            event = QHelpEvent(QEvent.Type.ToolTip, place, view.viewport().mapToGlobal(place))
            QToolTip.hideText()
            QApplication.sendEvent(view.viewport(), event)
            if QToolTip.isVisible() and QToolTip.text():
                shown.append(QToolTip.text())
    return shown


def is_plain(label: QLabel) -> bool:
    return label.textFormat() == Qt.TextFormat.PlainText or "<img" not in label.text()


def test_no_name_of_a_project_is_taken_for_markup(hostile):
    window = hostile.annotator.window()
    seen = 0
    for view in window.findChildren(QAbstractItemView):
        if not isinstance(view, QHeaderView):
            for text in tooltips(view):
                if "img" in text:
                    seen += 1
                    assert "<img" not in text
    labels = [label for label in window.findChildren(QLabel) if EVIL in label.text()]
    assert all(map(is_plain, labels))
    assert seen + len(labels) > 0, "the names are shown somewhere"


def test_no_name_of_a_file_is_taken_for_markup(window, tmp_path):
    folder = tmp_path / "picks"
    folder.mkdir()
    path = write_star(folder / f"{EVIL.replace('/', '')}.star", [("a.mrc", 40, 50, 0.5, 1)])
    ImportDialog(window.annotator.bench, window.annotator.bench.window, [path]).show()
    window.qtbot.wait_until(lambda: bool(_labels()), timeout=60_000)
    assert all(map(is_plain, _labels()))


def _labels() -> list[QLabel]:
    return [
        label
        for top in QApplication.topLevelWidgets()
        for label in top.findChildren(QLabel)
        if "<img" in label.text() and label.isVisible()
    ]


def test_a_label_says_what_it_is_by_itself(window):
    label = QLabel(EVIL, window.annotator)
    label.show()
    QApplication.sendEvent(label, QEvent(QEvent.Type.Polish))
    assert label.textFormat() == Qt.TextFormat.PlainText
    label.setToolTip(EVIL)
    place = QPoint(1, 1)
    QApplication.sendEvent(label, QHelpEvent(QEvent.Type.ToolTip, place, label.mapToGlobal(place)))
    assert "&lt;img" in QToolTip.text()
