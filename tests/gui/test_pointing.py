"""What the pointer is on: nothing when it has left the canvas, and nothing where nobody sees the micrograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication
from window import Window, places

from cryoppp_annotator.model.curation import Decision

pytestmark = pytest.mark.any_qt

Key = Qt.Key


def test_a_pointer_that_left_the_canvas_points_at_nothing(window: Window) -> None:
    x, y = places(0)[0]
    window.click(x, y)
    window.bench.focus.clear()
    window.point(x, y)
    assert window.bench.focus.hovered is not None
    QApplication.sendEvent(window.bench.canvas, QEvent(QEvent.Type.Leave))
    assert window.bench.focus.hovered is None
    assert "none selected" in window.annotator.pick._selection.text()
    window.session.add(30.0, 30.0, anyway=True)  # a change finds no pointer either
    assert window.bench.focus.hovered is None
    window.key(Key.Key_X)
    assert (window.session.particles.decision == Decision.ACCEPTED).all()
    assert any("point at a pick" in text for text, _ in window.said)
    window.point(x, y)
    window.key(Key.Key_X)
    assert (window.session.particles.decision == Decision.REJECTED).sum() == 1


def test_a_click_on_a_micrograph_that_cannot_be_shown_adds_nothing(new_window: Any, micrographs: Path) -> None:
    (micrographs / "a.mrc").write_bytes(b"no image")
    window: Window = new_window().open(micrographs)
    (broken,) = [m for m in window.session.micrographs if m.problem]
    window.session.go(broken.id)
    window.settle()
    window.click(100, 100)
    assert len(window.session.particles) == 0
    assert window.steps() == 0
    assert any("cannot be shown: a pick would lie on nothing" in text for text, _ in window.said)
