"""Candidates in the window: what a picker needs is said, counts above the threshold are beside every micrograph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from window import DIAMETER, Window, choose, places

from cryoppp_annotator.gui.widgets.dataset import outliers
from cryoppp_annotator.gui.widgets.pick import PickPanel
from cryoppp_annotator.model.curation import Decision


def test_outliers_are_those_far_from_the_rest_and_not_the_untouched() -> None:
    counts = np.array([100.0, 104, 97, 99, 101, 0, 103, 400, 5])
    assert outliers(counts).tolist() == [False] * 7 + [True, True]
    assert not outliers(np.array([1.0, 500, 3])).any()  # too few to say what is usual


def test_learned_waits_for_decisions_then_proposes_and_the_list_counts_above_the_threshold(
    window: Window,
) -> None:
    (panel,) = [p for p in window.annotator._panels if isinstance(p, PickPanel)]
    box: Any = panel.propose
    choose(box.picker, "Learned")
    assert not box.here.isEnabled()
    assert "30 more" in box.note.text()
    choose(box.picker, "Templates")
    assert not box.here.isEnabled()
    assert "templates" in box.here.toolTip()
    choose(box.picker, "self-sharpened")
    box.here.click()
    window.idle()
    p = window.session.particles
    truth = places(0)
    hit = np.array([np.hypot(*(truth - [x, y]).T).min() < 0.3 * DIAMETER for x, y in zip(p.x, p.y, strict=True)])
    window.session.decide(p.id[hit][:25], Decision.ACCEPTED)
    window.session.decide(p.id[~hit][:25], Decision.REJECTED)
    if (~hit).sum() < 5:
        pytest.fail("the detector proposed too few wrong places for this test")
    choose(box.picker, "Learned")
    assert box.here.isEnabled()
    assert "25 accepted" in box.note.text()
    box.everywhere.click()
    window.idle()
    table = window.annotator.micrographs.model
    other = window.session.micrographs[1]
    window.until(lambda: table.above is not None)
    panel.threshold.changed.emit(0.99999)
    window.until(lambda: table.n_undecided(other) == 0)
    assert other.n_undecided > 0
    assert "hidden below the threshold" in panel._selection.text()
    panel.threshold.changed.emit(0.5)
    window.until(lambda: table.n_undecided(other) > 25)
    window.annotator.micrographs.plot.chosen.emit(other.id)
    assert window.session.current_id == other.id
