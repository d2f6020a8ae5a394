"""Candidates enter as one step, never touch what a person decided, and make room for the next proposal."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from cryoppp_annotator.errors import Refused
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.focus import Focus
from cryoppp_annotator.session.picks import proposing


def test_a_picker_finds_the_particles_and_undo_takes_them_back(session, entered):
    proposal = proposing.propose(session, "log", session.micrographs)
    assert "proposes" in entered(session, proposal)
    truth, p = session.truths[0], session.particles
    assert (p.decision == Decision.UNDECIDED).all()
    near = [np.hypot(p.x - x, p.y - y).min() < 0.3 * truth.diameter_px for x, y in zip(truth.x, truth.y, strict=True)]
    assert np.mean(near) > 0.9
    assert session.micrographs[1].n_undecided > 20
    session.undo()
    assert session.counts() == {"accepted": 0, "undecided": 0, "rejected": 0}


def test_decided_picks_stay_and_older_candidates_make_room(session, entered):
    first = session.micrographs[0]
    candidates = Candidates(*(np.array(v, float) for v in ([100, 400, 700], [100, 400, 700], [3, 2, 1], [200] * 3)))
    proposal = proposing.Proposal("log", session.diameter_A, {}, ((first.id, candidates),))
    mine = session.add(100, 110).new_id
    proposing.enter(session, proposal)
    assert sorted(session.particles.x) == [100, 400, 700]
    assert mine in session.particles.id
    accepted, undecided = (
        session.particles.id[session.particles.x == 400],
        session.particles.id[session.particles.x == 700],
    )
    session.decide(accepted, Decision.ACCEPTED)
    again = Candidates(*(np.array(v, float) for v in ([405, 600], [405, 200], [5, 4], [200] * 2)))
    said = entered(session, proposing.Proposal("log", session.diameter_A, {}, ((first.id, again),)))
    assert "replaced" in said
    assert sorted(session.particles.x) == [100, 400, 600]
    assert undecided[0] not in session.particles.id
    session.undo()
    assert sorted(session.particles.x) == [100, 400, 700]


def test_candidates_below_the_threshold_are_hidden_and_a_click_there_accepts(session):
    first = session.micrographs[0]
    candidates = Candidates(*(np.array(v, float) for v in ([100, 400], [100, 400], [3, 1], [200] * 2)))
    proposing.enter(session, proposing.Proposal("log", session.diameter_A, {}, ((first.id, candidates),)))
    focus = Focus(session)
    assert focus.drawn.mask().all()
    focus.drawn.set_threshold(2.0)
    assert focus.drawn.mask().tolist() == [True, False]
    assert focus.at(400, 400) is None
    hidden = focus.drawn.hidden_at(405, 400)
    assert hidden == session.particles.id[1]
    session.decide([hidden], Decision.ACCEPTED)
    assert focus.drawn.mask().all()


def test_a_broken_micrograph_is_told_and_the_others_go_on(session):
    session.path_of(session.micrographs[0]).write_bytes(b"nothing")
    proposal = proposing.propose(session, "log", session.micrographs)
    assert [name for name, _ in proposal.failed] == ["m0"]
    assert len(proposal.candidates) == 1


def test_whole_boxes_only_is_a_step_and_holds_until_it_is_taken_back(session):
    everywhere = proposing.propose(session, "log", session.micrographs[:1]).candidates[0][1]
    assert session.settings.whole_box_px == 0
    box = session.settings.suggested_box_px(session.current)
    assert box >= 1.5 * session.diameter_A / session.pixel_size_A(session.current)
    session.set_whole_box_px(box)
    for avoid in (True, False):  # carbon wanted or not: a box that sticks out is of no use
        proposal = proposing.propose(session, "log", session.micrographs[:1], avoid=avoid)
        candidates, m = proposal.candidates[0][1], session.micrographs[0]
        inside = (candidates.x >= box / 2) & (candidates.x <= m.width - 1 - box / 2)
        inside &= (candidates.y >= box / 2) & (candidates.y <= m.height - 1 - box / 2)
        assert inside.all()
        assert proposal.left_out[Reason.EDGE] > 0
    assert 0 < len(candidates) < len(everywhere)
    session.undo()
    assert session.settings.whole_box_px == 0
    for nonsense in (-4.0, np.nan, 1e9):
        with pytest.raises(Refused, match="makes no sense"):
            session.set_whole_box_px(nonsense)


def test_a_candidate_that_is_proposed_again_stays_the_pick_it_is(session, entered):
    first = session.micrographs[0]

    def proposed(picker, xs, scores):
        columns = (xs, xs, scores, [np.nan] * len(xs))
        return proposing.Proposal(
            picker, session.diameter_A, {}, ((first.id, Candidates(*(np.array(c, float) for c in columns))),)
        )

    proposing.enter(session, proposed("log", [100, 400, 700], [5, 4, 3]))
    before = session.particles
    moved_on, (old_set,) = before.id[2], set(before.pick_set.tolist())
    said = entered(session, proposed("learned", [100.4, 401, 200], [0.9, np.nan, 0.2]))
    assert "3 candidates" in said
    assert "1 earlier proposal replaced" in said
    p = session.particles
    assert p.id[:2].tolist() == before.id[:2].tolist()
    assert moved_on not in p.id
    assert p.x.tolist() == [100.0, 400.0, 200.0], "it stays where a person may have looked at it"
    np.testing.assert_array_equal(p.score, [0.9, np.nan, 0.2])
    (new_set,) = set(p.pick_set.tolist())
    assert new_set != old_set
    session.undo()
    np.testing.assert_array_equal(session.particles.score, [5, 4, 3])
    assert set(session.particles.pick_set.tolist()) == {old_set}
    session.redo()
    assert set(session.particles.pick_set.tolist()) == {new_set}
    with closing(opening.open_project(session.store.folder)) as again:
        again.go(first.id)
        np.testing.assert_array_equal(again.particles.score, [0.9, np.nan, 0.2])
