"""Accepting and rejecting by class in the Pick tab: here or everywhere, one step each, never what a person decided."""

from __future__ import annotations

from pathlib import Path

import pytest
from class_window import store_run
from qtpy.QtCore import Qt
from window import CTRL, Window, choose, scored, write_star

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.which import ClassesOf, Which
from cryoppp_annotator.session.classes.undecided import decide_by_class


@pytest.fixture
def picked(window: Window, tmp_path: Path) -> Window:
    """Forty undecided picks of three imported classes on each of a, b and c."""
    window.enter(write_star(tmp_path / "picks.star", scored("abc")))
    return window


def decided(window: Window, number: int, decision: Decision) -> int:
    """Picks of an imported class with that decision, everywhere."""
    picks = window.session.store.particles_where(Which())
    return int(((picks.class_id == number) & (picks.decision == decision)).sum())


def test_picks_of_an_imported_class_here_and_everywhere(picked: Window) -> None:
    window, row = picked, picked.annotator.pick.by_class
    mine = window.session.particles.id[window.session.particles.class_id == 2][:2]
    window.session.decide(mine, Decision.ACCEPTED)
    window.until(lambda: row.list.findText("class 2 · 11 undecided") >= 0)
    assert row.accept.text() == "Accept 14"
    assert [row.list.itemText(k) for k in range(row.list.count())] == [
        "class 1 · 14 undecided",
        "class 2 · 11 undecided",
        "class 3 · 13 undecided",
    ]
    choose(row.list, "class 2")
    before = window.steps()
    row.reject.click()
    window.until(lambda: decided(window, 2, Decision.REJECTED) == 11)
    window.until(lambda: window.session.current.n_rejected == 11)
    assert decided(window, 2, Decision.ACCEPTED) == 2, "what a person decided stays"
    assert window.steps() == before + 1
    p = window.session.particles
    assert set(p.reason[p.decision == Decision.REJECTED].tolist()) == {Reason.NOT_A_PARTICLE}
    window.until(lambda: row.list.count() == 2)
    choose(window.annotator.pick._scope, "all micrographs")
    window.until(lambda: row.list.findText("class 3 · 39 undecided") >= 0)
    choose(row.list, "class 3")
    row.accept.click()
    window.until(lambda: decided(window, 3, Decision.ACCEPTED) == 39)
    window.until(lambda: window.status == "accepted 39 picks of class 3 in the project · Ctrl+Z undoes")
    window.key(Qt.Key.Key_Z, CTRL)
    window.until(lambda: decided(window, 3, Decision.ACCEPTED) == 0)


def test_classes_of_the_shown_run_count(picked: Window) -> None:
    window, row = picked, picked.annotator.pick.by_class
    run = store_run(window.session)
    window.annotator.classes.run.reread()
    window.until(lambda: row._run is not None and row._run.id == run.id)
    window.until(lambda: row.list.count() == 3)
    choose(row.list, "class 1")
    row.accept.click()
    window.until(lambda: window.session.current.n_accepted == 14)
    window.go("d")
    window.until(lambda: row.list.isHidden())
    assert not row.accept.isEnabled()
    assert "undecided there" in row.accept.toolTip()


def test_accepting_leaves_out_candidates_below_the_threshold_and_rejecting_does_not(picked: Window) -> None:
    session, here = picked.session, picked.session.current_id
    (pick_set,) = [i for i, entry in session.pick_sets.items() if entry.imported]
    p = session.particles
    above = int(((p.class_id == 2) & (p.score >= 0.5)).sum())
    which = Which((here,), (Decision.UNDECIDED,), classes=ClassesOf(), hidden=((0.5, (pick_set,)),))
    assert session.store.count_by_class(which)[2] == (13, above)
    decide_by_class(session, [2], Decision.ACCEPTED, which)
    picked.until(lambda: session.current.n_accepted == above)
    decide_by_class(session, [2, 3], Decision.REJECTED, which)
    picked.until(lambda: session.current.n_rejected == 26 - above)
    assert decided(picked, 3, Decision.REJECTED) == 13
    assert decided(picked, 2, Decision.ACCEPTED) == above
