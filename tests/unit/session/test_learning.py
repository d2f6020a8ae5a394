"""The learned picker in a project: says what is missing, learns from decisions, proposes, survives damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryoppp_annotator.batch.pick import PickOptions, pick_all
from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import species
from cryoppp_annotator.session.core.commands import session_commands
from cryoppp_annotator.session.core.focus import Focus
from cryoppp_annotator.session.picks import learning, proposing


def decide(session, n: int = 50) -> None:
    """Decisions as a person makes them, on the first micrograph."""
    first = session.micrographs[0]
    proposing.enter(session, proposing.propose(session, "log", [first]))
    p, truth = session.particles, session.truths[0]
    away = np.array([np.hypot(truth.x - x, truth.y - y).min() for x, y in zip(p.x, p.y, strict=True)])
    hit = away < 0.3 * truth.diameter_px
    order = np.argsort(-p.score)[:n]
    yes = np.zeros(len(p), bool)
    yes[order] = True
    session.decide(p.id[yes & hit], Decision.ACCEPTED)
    session.decide(p.id[yes & ~hit], Decision.REJECTED)


def test_it_says_what_is_missing_until_there_is_enough(session):
    assert "30 more" in learning.why_not(session)
    with pytest.raises(EngineError, match="30 more"):
        learning.learn(session)
    for x in np.linspace(100, 800, 4):
        for y in np.linspace(100, 800, 8):
            session.add(x, y)
    assert "rejected" in learning.why_not(session)


def test_what_was_decided_in_bulk_is_not_learned_from_until_somebody_looks_at_it(session):
    decide(session)
    judged = learning.usable(session)
    model = learning.learn(session).model.digest()
    commands = {command.id: command for command in session_commands()}
    rule = Which(decisions=(Decision.UNDECIDED,), min_score=float(np.quantile(session.particles.score, 0.2)))
    above = session.decide_where(rule, Decision.ACCEPTED, what="above score 1", in_bulk=True).n
    commands["reject-rest"].run(Focus(session))
    assert above > 5
    there = learning.usable(session)
    left = session.counts()
    assert (there.n_accepted, there.n_rejected) == (judged.n_accepted, judged.n_rejected)
    assert there.in_bulk == sum(left.values()) - judged.n
    assert f"not from {there.in_bulk:,} decided in bulk" in there.sentence
    assert learning.learn(session).model.digest() == model, "its own output teaches nothing"
    p = session.particles
    looked_at = p.id[np.isin(p.id, session.store.decided_in_bulk().ids) & (p.decision == Decision.ACCEPTED)][:4]
    session.decide(looked_at, Decision.REJECTED)
    assert learning.usable(session).n_rejected == judged.n_rejected + 4
    session.undo()
    assert learning.usable(session).in_bulk == there.in_bulk
    session.undo()
    session.undo()
    assert learning.usable(session).sentence == judged.sentence


def test_a_chosen_species_is_learned_from_alone_and_of_its_size(session):
    decide(session, 45)
    every, size = learning.usable(session), 0.9 * session.diameter_A
    one, two = (species.new_id(species.add(session, name, diameter_A=size)) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    p = session.particles
    accepted = p.id[p.decision == Decision.ACCEPTED]
    mine, rest = accepted[::2], accepted[1::2]
    species.give(session, mine, one)
    species.give(session, rest, two)
    rule = Which(decisions=(Decision.UNDECIDED,))
    session.decide_where(rule, Decision.REJECTED, what="below score 0", in_bulk=True)
    session.loaded.current_species = one
    there = learning.usable(session)
    assert (there.n_accepted, there.of_others) == (len(mine), len(rest))
    assert there.n_rejected == every.n_rejected, "what is of no species is no particle of this one, but not in bulk"
    assert f"not from {len(rest):,} of other species and" in there.sentence
    learned = learning.learn(session)
    assert (learned.model.n_accepted, learned.species) == (len(mine), one)
    assert learned.model.diameter_A == pytest.approx(size)
    session.loaded.current_species = 0
    assert learning.usable(session).n_accepted == every.n_accepted


def test_the_number_said_is_the_number_learned_from(session):
    proposing.enter(session, proposing.propose(session, "log", [session.micrographs[0]]))
    p = session.particles
    session.decide(p.id[:2], Decision.REJECTED)
    rule = Which(decisions=(Decision.UNDECIDED,))
    n = session.decide_where(rule, Decision.ACCEPTED, what="above score 0", in_bulk=True).n
    assert f"28 more (0 accepted and 2 rejected so far); not from {n:,} decided in bulk" in learning.why_not(session)
    session.undo()
    decide(session)
    there = learning.usable(session)
    model = learning.learn(session).model
    assert (model.n_accepted, model.n_rejected) == (there.n_accepted, there.n_rejected)


def test_decisions_on_one_micrograph_serve_the_other(session):
    decide(session)
    learned = learning.learn(session)
    assert learned.path.is_file()
    assert learned.path.parent.parent == session.store.folder
    assert "accepted" in learned.summary
    assert learning.learn(session).path == learned.path  # the same decisions, the same model
    proposal = proposing.propose(session, "learned", session.micrographs, parameters=learning.parameters_of(learned))
    assert not proposal.failed
    again = learning.parameters_of(learning.learn(session))
    assert proposing.propose(session, "learned", session.micrographs, parameters=again).before.startswith("2 of 2")
    before = session.counts()
    proposing.enter(session, proposal)
    after = session.counts()
    assert (after["accepted"], after["rejected"]) == (before["accepted"], before["rejected"])
    second, truth = session.store.particles(session.micrographs[1].id), session.truths[1]
    assert ((second.score >= 0) & (second.score <= 1)).all()
    sure = second.score >= 0.5
    near = [np.hypot(truth.x - x, truth.y - y).min() for x, y in zip(second.x[sure], second.y[sure], strict=True)]
    assert np.mean(np.array(near) < 0.3 * truth.diameter_px) > 0.85
    assert not learning.grown(session, learned.model)


def test_an_undecided_micrograph_is_looked_at_and_a_damaged_one_does_no_harm(session):
    decide(session)
    with_both = learning.learn(session)
    other = session.path_of(session.micrographs[1])
    other.write_bytes(b"no image")
    messages = []
    without = learning.learn(session, context=JobContext(on_log=messages.append))
    assert any(other.name in line for line in messages)
    assert without.micrographs == with_both.micrographs == 1
    assert without.model.digest() != with_both.model.digest()
    session.path_of(session.micrographs[0]).write_bytes(b"no image")
    with pytest.raises(EngineError, match="nothing could be learned"):
        learning.learn(session)


def test_without_its_model_the_picker_fails_on_each_micrograph_and_says_so(session, tmp_path: Path):
    proposal = proposing.propose(session, "learned", session.micrographs, parameters={"model": str(tmp_path / "gone")})
    assert not proposal.candidates
    assert len(proposal.failed) == 2
    assert "gone" in proposal.failed[0][1]


def test_a_model_works_without_a_project_and_another_one_in_its_place_picks_again(session, tmp_path: Path):
    decide(session)
    learned = learning.learn(session)
    model = tmp_path / "model.npz"
    model.write_bytes(learned.path.read_bytes())
    paths = [session.path_of(m) for m in session.micrographs]
    options = PickOptions(diameter_A=session.diameter_A, picker="learned", parameters={"model": str(model)})
    first = pick_all(paths, tmp_path / "out", options)
    assert (first.n_picked, first.n_kept, dict(first.failed)) == (2, 0, {})
    assert pick_all(paths, tmp_path / "out", options).n_kept == 2
    session.decide(session.particles.id[:5], Decision.REJECTED)
    model.write_bytes(learning.learn(session).path.read_bytes())
    assert pick_all(paths, tmp_path / "out", options).n_picked == 2
