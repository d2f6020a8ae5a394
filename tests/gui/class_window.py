"""A project of 160 picks with a stored run of three classes, and hands for the *Classes* tab."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QTabWidget
from window import LEFT, PLAIN

from cryoppp_annotator.model.classes import ClassRun, ClassSummary, verdict_of
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.classes import decide

NAMES = "abcd"
#: Of three classes: quality, resolution, what is suggested.
KNOWN = ((0.8, 20.0, Decision.ACCEPTED), (0.5, 12.0, Decision.ACCEPTED), (0.1, 40.0, Decision.REJECTED))


def everything(window):
    return window.session.store.particles_where(Which())


def decisions(window) -> list[list[int]]:
    """Undecided, accepted and rejected picks of each imported class."""
    picks = everything(window)
    return [np.bincount(picks.decision[picks.class_id == k], minlength=3).tolist() for k in (1, 2, 3)]


def store_run(session, name: str = "made by hand", turned: int = 0) -> ClassRun:
    """A run whose classes are those of the imported file: 56, 52 and 52 picks on four micrographs.

    ``turned``: class 1 of the file is class 2 of the run, and so on.
    """
    picks = session.store.particles_where(Which())
    number = (picks.class_id - 1 + turned) % 3 + 1
    summaries = tuple(
        ClassSummary(
            k,
            int((number == k).sum()),
            float((number == k).mean()),
            resolution,
            0.9,
            0.5,
            1.0,
            quality,
            suggestion,
        )
        for k, (quality, resolution, suggestion) in enumerate(KNOWN, 1)
    )
    rows, columns = np.mgrid[:32, :32] - 16
    averages = np.stack([np.hypot(rows, columns) < 4 * k for k in (1, 2, 3)]).astype(np.float32)
    n = len(picks)
    members = {
        "particle": picks.id,
        "number": number,
        "posterior": np.linspace(0.2, 1.0, n),
        "shift_x": np.full(n, 1.5),
        "shift_y": np.full(n, -2.0),
        "angle_deg": np.zeros(n),
        "x": picks.x,
        "y": picks.y,
    }
    record = {
        "kind": "classify",
        "engine": "cryoppp-annotator",
        "version": "0",
        "parameters": {},
        "inputs": {},
        "counts": {"verdict": verdict_of(summaries)},
        "seed": 0,
        "curator": "ann",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 3.0,
    }
    run = ClassRun(0, name, "here", 10.0, "", session.store.newest(), summaries, verdict_of(summaries), record)
    return decide.enter_run(session, decide.RunResult(run, averages, members))


def open_tab(window):
    tabs = window.annotator.findChild(QTabWidget)
    tabs.setCurrentWidget(window.annotator.classes)
    QApplication.processEvents()
    return window.annotator.classes


def middle(view, row: int) -> QPoint:
    return view.visualRect(view.model().index(row, 0)).center()


def click_tile(view, row: int, held=PLAIN, button=LEFT) -> None:
    QTest.mouseClick(view.viewport(), button, held, middle(view, row))
    QApplication.processEvents()


def double_click(view, row: int) -> None:
    """As a mouse does: press, release, double click, release."""
    QTest.mouseClick(view.viewport(), LEFT, PLAIN, middle(view, row))
    QTest.mouseDClick(view.viewport(), LEFT, PLAIN, middle(view, row))
    QApplication.processEvents()


def press(view, key, held=PLAIN) -> None:
    QTest.keyClick(view, key, held)
    QApplication.processEvents()


def click_class(window, number: int, held=PLAIN) -> None:
    panel = window.annotator.classes
    click_tile(panel.gallery, panel.model.row_of(number), held)


def menu_action(panel, text: str):
    panel.menu.fill()
    (action,) = [action for action in panel.menu.actions() if action.text().startswith(text)]
    return action
