"""One threshold means the scores of one picker; what it hides is not counted, and not walked to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.errors import Refused
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.commands import session_commands
from cryoppp_annotator.session.core.focus import Focus
from cryoppp_annotator.session.picks import proposing


@pytest.fixture
def session(tmp_path: Path):
    for i in range(3):
        with mrcfile.new(tmp_path / f"m{i}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(i).normal(size=(300, 300)).astype(np.float32))
            mrc.voxel_size = 2.0
    opened = opening.open_plan(opening.plan(tmp_path, tmp_path / "project"), curator="me")
    opened.set_diameter(40)
    opened.go(opened.micrographs[0].id)
    yield opened
    opened.close()


def propose(session, picker: str, number: int, scores: list[float]) -> None:
    x = np.arange(len(scores)) * 40.0 + 20
    candidates = Candidates(x, np.full(len(x), 30.0 + 60 * number), np.array(scores), np.full(len(x), 40.0))
    one = session.micrographs[number].id
    proposing.enter(session, proposing.Proposal(picker, 40.0, {}, ((one, candidates),)))


def drawn(focus: Focus) -> Which:
    return Which(decisions=(Decision.UNDECIDED,), hidden=focus.drawn.hidden())


def test_a_probability_and_a_standard_deviation_share_no_threshold(session):
    propose(session, "log", 0, [6.0, 3.0])
    propose(session, "learned", 1, [0.9, 0.4, 0.2])
    focus = Focus(session)
    (learned,) = [i for i, entry in session.pick_sets.items() if entry.name.startswith("learned")]
    assert focus.drawn.scored_sets() == (learned,)
    assert sorted(session.store.sample_scores(Which(pick_sets=focus.drawn.scored_sets()))) == [0.2, 0.4, 0.9]
    focus.drawn.set_threshold(0.5)
    assert not focus.drawn.below().any()  # those of log here are not below a probability
    first, second = (m.id for m in session.micrographs[:2])
    assert session.store.count_by_micrograph(drawn(focus)) == {first: 2, second: 1}
    scored = Which(decisions=(Decision.UNDECIDED,), pick_sets=focus.drawn.scored_sets())
    sides = (replace(scored, min_score=0.5), replace(scored, below_score=0.5))
    assert session.store.counts(Which(decisions=(Decision.UNDECIDED,)), *sides) == (5, 1, 2)
    assert session.store.count(Which(min_score=0.5, pick_sets=(learned,))) == 1


def test_each_picker_keeps_its_threshold_when_another_proposes_elsewhere(session):
    first, second = (m.id for m in session.micrographs[:2])
    focus = Focus(session)
    propose(session, "log", 0, [6.0, 3.0, 2.0])
    focus.drawn.set_threshold(4.0)
    propose(session, "learned", 1, [0.9, 0.4, 0.2])
    assert focus.drawn.threshold is None, "a probability has one of its own"
    assert focus.drawn.below().tolist() == [False, True, True], "those of log are hidden as before"
    focus.drawn.set_threshold(0.5)
    assert session.store.count_by_micrograph(drawn(focus)) == {first: 1, second: 1}
    session.go(second)
    assert focus.drawn.below().tolist() == [False, True, True]
    focus.drawn.pick_set = min(session.pick_sets)  # log's
    assert focus.drawn.threshold == 4.0


def test_what_a_threshold_hides_is_neither_selected_nor_pointed_at_any_more(session):
    propose(session, "log", 0, [6.0, 3.0])
    focus = Focus(session)
    strong, weak = session.particles.id.tolist()
    focus.select([strong, weak])
    focus.drawn.set_threshold(4.0)
    assert focus.targets().tolist() == [strong]
    focus.clear()
    focus.hovered = weak  # the pointer has not moved since
    assert focus.targets().tolist() == []
    focus.drawn.set_threshold(None)
    assert focus.targets().tolist() == [weak]


def test_undo_takes_the_walk_back_to_the_pick_it_undid(session):
    propose(session, "log", 0, [6.0, 5.0, 4.5, 3.0])
    commands = {command.id: command for command in session_commands()}
    focus = Focus(session)
    focus.drawn.set_threshold(4.0)
    commands["next-undecided"].run(focus)
    (first,) = focus.selected
    commands["accept"].run(focus)
    (second,) = focus.selected
    assert first != second
    commands["undo"].run(focus)
    assert focus.selected.tolist() == [first]
    assert focus.walking.direction(focus.selected) == 1
    commands["reject"].run(focus)
    row = session.particles.rows_of(np.array([first]))
    assert session.particles.decision[row] == Decision.REJECTED
    assert focus.selected.tolist() == [second]


def test_a_walk_takes_both_sides_of_the_threshold_shows_where_it_is_and_says_what_is_left(session):
    propose(session, "log", 0, [6.0, 4.2, 3.9, 3.0, 1.0])
    propose(session, "log", 1, [2.0])
    commands = {command.id: command for command in session_commands()}
    lines = []
    session.said.connect(lambda text, level: lines.append(text))
    focus = Focus(session)
    focus.drawn.set_threshold(4.0)
    scores = []
    for _ in range(4):
        commands["next-undecided"].run(focus)
        row = session.particles.rows_of(focus.selected)
        scores.append(float(session.particles.score[row][0]))
        assert focus.drawn.mask()[row].all(), "what a walk has come to is drawn"
        assert focus.drawn.mask().sum() == 2 + (scores[-1] < 4)
    assert scores == [3.9, 4.2, 3.0, 6.0]
    assert lines[-1] == "5 undecided here (2 above the line, 3 below), 6 in the project"
    for _ in range(6):
        commands["next-undecided"].run(focus)
        commands["reject"].run(focus)
    assert session.counts()["undecided"] == 0
    with pytest.raises(Refused, match="no undecided pick is left"):
        commands["next-undecided"].run(focus)


def test_next_undecided_goes_where_the_chosen_set_has_some_and_nothing_hidden(session):
    propose(session, "log", 0, [6.0])
    propose(session, "log", 1, [2.0])
    propose(session, "log", 2, [5.0])
    commands = {command.id: command for command in session_commands()}
    focus = Focus(session)
    focus.drawn.set_threshold(4.0)
    commands["next-undecided"].run(focus)
    commands["next-undecided"].run(focus)
    assert session.current_id == session.micrographs[2].id  # what is hidden on the second is passed over
    focus.drawn.pick_set = min(session.pick_sets)  # the first proposal's
    commands["next-undecided"].run(focus)
    assert session.current_id == session.micrographs[0].id
