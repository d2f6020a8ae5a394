"""Candidates in the window: what a picker needs is said, counts above the threshold are beside every micrograph."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from window import CTRL, DIAMETER, Window, choose, places

from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.gui.widgets.panels.dataset import outliers
from cryoppp_annotator.gui.widgets.panels.pick import PickPanel
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.region import Region
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session import regions


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
    assert "no templates yet" in box.here.toolTip()
    choose(box.picker, "(LoG)")
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
    window.until(lambda: table.above is not None)
    # the line stands where F1 is expected to be best, and what is expected there is about right
    suggested = panel.suggested
    line = panel.threshold.value
    assert line is not None
    assert not suggested.follow.isEnabled()
    assert f"{line:.3g}" in suggested.follow.text()
    precision, recall = (float(word) for word in re.findall(r"~(\d\.\d\d)", suggested.expected.text()))
    other = window.session.micrographs[1]
    scored = window.session.store.particles(other.id)
    at = scored.score >= line
    near = [np.hypot(*(places(1) - [x, y]).T).min() for x, y in zip(scored.x, scored.y, strict=True)]
    right = np.array(near) < 0.3 * DIAMETER
    assert abs(right[at].mean() - precision) < 0.2
    assert abs((right & at).sum() / len(places(1)) - recall) < 0.2
    panel.threshold.changed.emit(0.99999)
    assert suggested.follow.isEnabled()
    window.until(lambda: table.n_undecided(other) == 0)
    assert other.n_undecided > 0
    assert "hidden below the threshold" in panel._selection.text()
    panel.threshold.changed.emit(0.5)
    window.until(lambda: table.n_undecided(other) > 25)
    suggested.follow.click()
    assert panel.threshold.value == line
    window.annotator.micrographs.plot.chosen.emit(other.id)
    assert window.session.current_id == other.id


def decide_some(window: Window, accept: int, reject: int = 0) -> None:
    """Accept so many undecided candidates here that are particles by the truth, reject so many that are not."""
    p, truth = window.session.particles, places(0)
    p = p.take(p.decision == Decision.UNDECIDED)
    hit = np.array([np.hypot(*(truth - [x, y]).T).min() < 0.3 * DIAMETER for x, y in zip(p.x, p.y, strict=True)])
    for ids, decision in ((p.id[hit][:accept], Decision.ACCEPTED), (p.id[~hit][:reject], Decision.REJECTED)):
        if len(ids):
            window.session.decide(ids, decision)


def test_it_learns_again_as_decisions_come_in_where_that_is_wished(window: Window) -> None:
    box = window.annotator.pick.propose
    choose(box.picker, "(LoG)")
    assert not box.anew.isVisible()
    box.here.click()
    window.until(lambda: window.session.current.n_undecided > 0)
    decide_some(window, 16, 16)
    choose(box.picker, "Learned")
    box.here.click()
    window.until(lambda: box.learned is not None)
    window.idle()
    first, steps = box.learned.model, window.steps()
    decide_some(window, 10)
    window.idle()
    assert "10 more decisions since it last learned: propose again" in box.note.text()
    assert not box._pause.isActive()
    assert box.learned.model is first
    window.session.undo()

    box.anew.click()
    candidates = window.session.particles.id
    decide_some(window, 10)
    window.until(lambda: box.learned.model is not first)
    window.idle()
    assert box.learned.model.n_accepted == 26
    assert window.steps() == steps + 3, "two decisions (one undone), and one step of the machine's"
    p = window.session.particles
    assert np.isin(p.id[p.decision == Decision.UNDECIDED], candidates).mean() > 0.8, "they stay the picks they are"
    window.key(Qt.Key.Key_Z, CTRL)
    assert window.session.counts()["accepted"] == 26, "the machine's step is one of its own"
    # what is accepted in bulk nobody looked at one by one
    box.everywhere.click()
    window.until(lambda: all(m.n_undecided for m in window.session.micrographs))
    window.idle()
    model = box.learned.model
    window.session.decide_where(Which(decisions=(Decision.UNDECIDED,)), Decision.ACCEPTED)
    window.until(lambda: not window.session.backlog.busy and window.session.counts()["undecided"] == 0)
    assert window.session.counts()["accepted"] > 2 * 26
    assert not box._pause.isActive()
    window.idle()
    assert box.learned.model is model


def test_the_same_proposal_again_is_no_step_and_a_threshold_waits_for_the_next_start(
    window: Window, new_window: Any
) -> None:
    box, panel = window.annotator.pick.propose, window.annotator.pick
    choose(box.picker, "(LoG)")
    box.here.click()
    window.until(lambda: window.session.current.n_undecided > 0)
    steps, n = window.steps(), len(window.session.particles)
    box.here.click()
    window.until(lambda: any("as before" in text or "nothing new" in text for text, _ in window.said))
    assert window.steps() == steps
    panel.threshold.changed.emit(4.0)
    choose(box.picker, "Templates")
    folder = window.project()
    window.annotator.close_project()
    again = new_window().open(folder)
    assert again.annotator.pick.propose.picker.currentText().startswith("Templates")
    assert again.bench.focus.drawn.threshold == 4.0
    assert again.annotator.pick.threshold.value == 4.0
    assert 0 < int(again.bench.focus.drawn.mask().sum()) < n


def test_whole_boxes_are_asked_for_kept_in_the_project_and_taken_back(window: Window) -> None:
    box = window.annotator.pick.propose
    assert not box.whole.isChecked()
    assert not box.box_px.isEnabled()
    assert box.box_px.value() >= 1.5 * DIAMETER
    choose(box.picker, "(LoG)")
    box.whole.click()
    assert box.box_px.isEnabled()
    box.box_px.setValue(100)
    box.here.click()
    window.until(lambda: window.session.current.n_undecided > 0)
    p, m = window.session.particles, window.session.current
    assert min(p.x.min(), p.y.min(), m.width - 1 - p.x.max(), m.height - 1 - p.y.max()) >= 50
    assert "at the border" in box.left_out.text()
    for _ in range(3):  # the candidates, the size, the tick
        window.key(Qt.Key.Key_Z, CTRL)
    assert not box.whole.isChecked()
    assert window.session.current.n_undecided == 0


# --- nobody has said what the particle measures ----------------------------------------------------------------------


@pytest.fixture
def unmeasured(new_window: Any, micrographs: Any) -> Window:
    """A window on micrographs whose particles nobody has measured."""
    opened: Window = new_window().open(micrographs)
    opened.until(opened.drawn)
    return opened


def test_propose_asks_for_the_diameter_and_goes_on_when_a_circle_is_drawn(unmeasured: Window) -> None:
    window, box = unmeasured, unmeasured.annotator.pick.propose
    guess = window.annotator.pick.particle.guess
    assert guess.isVisible()
    assert not box.question.isVisible()
    box.here.click()
    assert all(job.quiet for job in window.bench.runner.active())
    assert box.question.isVisible()
    assert "which is not set" in box.question.message.text()
    assert "Drag from the centre" in window.bench.overlay.text
    assert "drag from the centre" in window.status
    x, y = places(0)[0]
    window.click(x, y)  # a click is no circle: it adds no pick either
    assert window.steps() == 0
    assert "Drag from the centre" in window.bench.overlay.text
    window.drag([(x, y), (x + DIAMETER / 2, y)])
    assert window.session.diameter_A == pytest.approx(DIAMETER * 5.0, rel=0.15)
    assert not box.question.isVisible()
    assert "Drag" not in window.bench.overlay.text
    window.until(lambda: window.session.current.n_undecided > 20)
    assert not guess.isVisible()


def test_the_guess_can_be_confirmed_and_is_never_taken_without_a_word(unmeasured: Window) -> None:
    window, box = unmeasured, unmeasured.annotator.pick.propose
    box.everywhere.click()
    window.key(Qt.Key.Key_Escape)
    assert "Drag" not in window.bench.overlay.text
    window.click(20, 300)  # a click adds again
    assert len(window.session.particles) == 1
    assert box.question.isVisible(), "proposing waits for an answer"
    box.question.drop.click()
    assert not box.question.isVisible()
    window.session.set_diameter(90.0)
    window.idle()
    assert window.session.counts()["undecided"] == 0, "what was dropped does not start by itself"
    window.key(Qt.Key.Key_Z, CTRL)
    assert not window.session.settings.diameter_is_set
    box.everywhere.click()
    assert box.question.confirm.text() == "Use 150 Å"
    box.question.confirm.click()
    window.until(lambda: all(m.n_undecided for m in window.session.micrographs))
    assert window.session.settings.diameter_is_set


# --- templates -------------------------------------------------------------------------------------------------------


def test_the_accepted_picks_become_templates_that_are_chosen_at_once(window: Window) -> None:
    box, session = window.annotator.pick.propose, window.session
    choose(box.picker, "Templates")
    choice = box.templates
    assert not choice.from_picks.isEnabled()
    assert "at least 10 accepted picks" in choice.from_picks.toolTip()
    for x, y in places(0).tolist():
        session.add(x, y)
    assert choice.from_picks.isEnabled()
    choice.from_picks.click()
    assert not choice.from_picks.isEnabled()
    assert "being made" in choice.from_picks.toolTip()
    (job,) = [job for job in window.bench.runner.active() if not job.quiet]
    job.cancel()
    window.until(choice.from_picks.isEnabled)
    assert choice.chosen is None, "a cancelled job leaves nothing"
    choice.from_picks.click()
    window.until(lambda: choice.chosen is not None)
    window.until(choice.from_picks.isEnabled)
    assert "of 40 accepted picks" in window.status
    assert "not CTF-corrected" in choice.message.text()
    assert choice.corrected.isHidden(), "what is known is not asked"
    assert session.next_undo().title.startswith("add"), "no step: nothing about the picks was changed"
    window.go("b")
    box.here.click()
    window.until(lambda: session.current.n_undecided > 20)
    p, truth = session.particles, places(1)
    near = [np.hypot(*(np.column_stack([p.x, p.y]) - at).T).min() < 0.3 * DIAMETER for at in truth]
    assert np.mean(near) > 0.85


def test_a_stack_is_taken_and_a_person_says_whether_it_is_corrected(window: Window, tmp_path: Any) -> None:
    box = window.annotator.pick.propose
    choose(box.picker, "Templates")
    offset = np.arange(32) - 16
    disc = (np.hypot(offset[:, None], offset[None]) < 10).astype(np.float32)
    choice = box.templates
    choice.use_file(write_stack(tmp_path / "averages.mrcs", np.stack([disc, disc]), 5.0))
    window.until(lambda: choice.chosen is not None)
    assert "2 images" in choice.message.text()
    assert "averages.mrcs" in choice.message.text()
    assert choice.corrected.isVisible()
    assert choice.corrected.isChecked()
    choice.corrected.click()
    assert not choice.chosen.ctf_corrected
    assert box.here.isEnabled()
    choice.use_file(tmp_path / "gone.mrcs")
    assert window.said[-1][1] == "error"
    assert "gone.mrcs" in window.status


# --- carbon ----------------------------------------------------------------------------------------------------------


def test_what_lies_in_regions_is_left_out_and_told_unless_it_is_wanted_too(window: Window) -> None:
    box, session = window.annotator.pick.propose, window.session
    corners = np.array([(40.0, 40.0), (40.0, 220.0), (220.0, 220.0), (220.0, 40.0)])
    regions.draw(session, corners, Reason.CARBON)
    here_id = session.current_id
    assert box.avoid.isChecked()
    assert box.left_out.isHidden()
    box.here.click()
    window.until(lambda: session.current.n_undecided > 5)
    assert not regions.undecided_in(session.particles, regions.of(session, here_id)).any()
    inside = ((places(0) > 50) & (places(0) < 210)).all(axis=1).sum()
    said = box.left_out.text()
    assert "on carbon" in said
    assert int(said.split(" left out")[0]) >= inside
    ball = Region(Reason.ICE, np.add(corners / 6, (250, 250)))
    regions.enter_found(session, regions.Detected(((here_id, (ball,)),)))
    box.avoid.click()
    box.here.click()
    window.until(lambda: "came too" in box.left_out.text())
    assert (regions.undecided_in(session.particles, regions.of(session, here_id)) > 0).sum() >= inside
    assert len(regions.of(session, here_id)) == 2, "what was found before stays"
    window.key(Qt.Key.Key_Z, CTRL)
    assert "on carbon" in box.left_out.text()
