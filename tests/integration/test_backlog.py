"""Big steps are written in the background: nothing is lost, nothing is out of order, one undo each."""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from class_tools import all_picks, make_micrographs, make_project

from cryoppp_annotator.errors import Refused
from cryoppp_annotator.jobs.runner import Runner
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.classes import browse
from cryoppp_annotator.session.core import opening, step
from cryoppp_annotator.session.core.backlog import Backlog
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.core.step import Nothing, Queued
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.session.picks import proposing

EVERYTHING = Which()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three micrographs with 49 undecided picks each."""
    folder = tmp_path_factory.mktemp("made") / "data"
    make_project(folder, make_micrographs(folder, 3)).close()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "data")
    return tmp_path / "data" / "project"


class Door:
    """A session with a background that writes only while the door is open."""

    def __init__(self, folder: Path) -> None:
        self.runner = Runner()
        self.session = opening.open_project(folder, curator="me")
        self.session.backlog = Backlog(self.session, self.runner)
        self.said: list[str] = []
        self.session.said.connect(lambda text, _level: self.said.append(text))
        self.session.changed.connect(lambda announcement: self.said.append(announcement.message))
        self._held: threading.Event | None = None

    def shut(self) -> None:
        """What is written from now on waits."""
        if self._held is not None and not self._held.is_set():
            return
        held = self._held = threading.Event()
        self.runner.submit(lambda context: held.wait(60), title="door", at_once=True)

    def open(self) -> None:
        """Let everything through, and deliver it."""
        if self._held is not None:
            self._held.set()
        assert self.runner.wait()

    def titles(self) -> list[str]:
        """Steps that are there, oldest first."""
        return [e.title for e in self.session.history()[::-1] if e.kind == "do" and e.state == "applied"]


@pytest.fixture
def door(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr("cryoppp_annotator.session.core.step.BIG", 40)
    opened = Door(folder)
    yield opened
    opened.open()
    opened.session.close()
    opened.runner.close()


def state(session: Session) -> dict[str, list[object]]:
    return {name: column.tolist() for name, column in all_picks(session).items()}


def agrees(session: Session) -> None:
    """What is in memory is what is in the database."""
    fresh = session.store.particles(session.current_id)
    for name, column in fresh.columns().items():
        np.testing.assert_array_equal(column, getattr(session.particles, name), err_msg=name)
    assert session.micrographs == session.store.micrographs()
    assert session.store.head == session.store.newest()


def test_the_curator_goes_on_and_every_step_keeps_its_place(door: Door) -> None:
    session = door.session
    first, second = (m.id for m in session.micrographs[:2])
    session.go(first)
    mine = session.particles.id[:3]
    door.shut()
    assert session.decide_where(EVERYTHING, Decision.REJECTED, Reason.NOT_A_PARTICLE) == Queued()
    assert "rejecting picks in the project …" in door.said
    assert session.counts()["rejected"] == 0
    assert session.decide(mine, Decision.ACCEPTED) == Queued()
    session.move(mine[:1], [11.0], [12.0])
    session.go(second)  # looking does not wait, and what was said about the first micrograph is about that one
    assert session.current_id == second
    assert len(session.particles) == 49
    assert session.add(3.0, 3.0, anyway=True) == Queued()
    assert "4 more steps wait for it" in door.said[-1]  # the visit too
    assert session.undo()  # of the pick that waits to be added
    door.open()
    agrees(session)
    picks = session.store.particles_where(EVERYTHING)
    assert (picks.decision == Decision.REJECTED).sum() == 3 * 49 - 3
    assert set(picks.id[picks.decision == Decision.ACCEPTED]) == set(mine)
    assert picks.x[picks.id == mine[0]] == 11.0
    verbs = [title.split()[0] for title in door.titles()[-3:]]
    assert verbs == ["reject", "accept", "move"]
    assert session.next_redo().title.startswith("add 1 pick")
    assert session.undo().startswith("move")
    assert session.undo().startswith("accept")
    assert session.undo().startswith("reject 147 picks as not a particle")
    door.open()
    agrees(session)
    assert session.counts() == {"accepted": 0, "undecided": 147, "rejected": 0}


def test_undo_shows_its_micrograph_but_fetches_nobody_who_has_gone_on(door: Door) -> None:
    session = door.session
    first, second, third = (m.id for m in session.micrographs)
    session.go(first)
    session.decide(session.particles.id, Decision.REJECTED)
    session.go(second)
    door.shut()
    assert session.undo()
    session.go(third)
    door.open()
    agrees(session)
    assert session.current_id == third
    assert session.redo()
    door.open()
    assert session.current_id == first, "who waits for it sees it"


def test_a_big_step_is_taken_back_and_repeated_in_the_background(door: Door) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    before = state(session)
    assert session.decide_where(EVERYTHING, Decision.REJECTED) == Queued()
    door.open()
    after = state(session)
    assert after != before
    door.shut()
    assert session.undo().startswith("reject 147 picks")
    assert state(session) == after
    assert session.redo() is not None
    door.open()
    agrees(session)
    assert state(session) == after
    assert [e.kind for e in session.history(3)] == ["redo", "undo", "do"]


def test_nothing_to_change_is_said(door: Door) -> None:
    session = door.session
    assert session.decide_where(EVERYTHING, Decision.ACCEPTED) == Queued()
    assert session.decide_where(EVERYTHING, Decision.ACCEPTED) == Queued()  # waits for the first
    door.open()
    assert "nothing was left to change" in door.said
    assert [title.split()[0] for title in door.titles()][-1] == "accept"


def test_what_is_refused_when_its_turn_comes_says_why_and_holds_nothing_up(door: Door) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    session.add(3.0, 3.0)
    door.shut()
    session.decide_where(EVERYTHING, Decision.REJECTED)
    session.decide(session.particles.id[:1], Decision.ACCEPTED)
    x, y = float(session.particles.x[0]), float(session.particles.y[0])
    session.add(x + 1.0, y)
    session.set_diameter(session.diameter_A + 10.0)
    door.open()
    assert any("another pick is 1 px away" in text for text in door.said)
    assert door.titles()[-1].startswith("particle diameter")
    agrees(session)


def test_a_cancelled_step_changes_nothing_and_what_waited_is_done(door: Door) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    mine = session.particles.id[:2]
    door.shut()
    session.decide_where(EVERYTHING, Decision.REJECTED)
    session.decide(mine, Decision.ACCEPTED)
    (job,) = [job for job in door.runner.active() if job.title.startswith("rejecting")]
    job.cancel()
    door.open()
    assert session.counts() == {"accepted": 2, "undecided": 145, "rejected": 0}
    assert "cancelled: rejecting picks in the project; nothing was changed" in door.said
    agrees(session)


def test_a_cancel_that_comes_too_late_changes_nothing(door: Door) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    session.decide_where(EVERYTHING, Decision.REJECTED)
    (job,) = [job for job in door.runner.jobs if job.title.startswith("rejecting")]
    assert job.wait(60)
    job.cancel()
    door.open()
    assert session.counts()["rejected"] == 147
    agrees(session)


def test_another_window_that_wrote_first_is_seen(door: Door, folder: Path) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    door.shut()
    session.decide_where(Which(decisions=(Decision.UNDECIDED,)), Decision.REJECTED)
    session.decide(session.particles.id[5:6], Decision.ACCEPTED)
    other = opening.open_project(folder, curator="other")
    other.go(other.micrographs[0].id)
    other.decide(other.particles.id[:2], Decision.ACCEPTED)
    other.close()
    door.open()
    agrees(session)
    assert session.counts() == {"accepted": 3, "undecided": 0, "rejected": 144}


def test_closing_waits_for_what_was_asked_for(door: Door, folder: Path) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    door.shut()
    session.decide_where(EVERYTHING, Decision.REJECTED)
    session.decide(session.particles.id[:1], Decision.ACCEPTED)
    door._held.set()
    session.close()
    again = opening.open_project(folder, curator="me")
    assert again.counts() == {"accepted": 1, "undecided": 0, "rejected": 146}
    again.close()


def test_an_import_that_comes_meanwhile_waits(door: Door) -> None:
    session = door.session
    session.go(session.micrographs[0].id)
    before = state(session)
    session.decide_where(EVERYTHING, Decision.REJECTED)
    assert isinstance(session.insert_built(lambda: None), Nothing)
    assert session.counts()["rejected"] == 147, "it was built on what the big step left"
    assert state(session) != before


def some_step(session: Session, rng: random.Random) -> None:
    """One thing that a curator may do."""
    n = max(1, len(session.particles))
    ids = session.particles.id[rng.randrange(n) : rng.randrange(n) + 1]
    where = rng.choice(session.micrographs).id
    decision = rng.choice(list(Decision))
    steps = [
        lambda: session.go(where),
        lambda: session.decide(ids, decision, Reason.ICE if decision is Decision.REJECTED else Reason.NONE),
        lambda: session.decide_where(EVERYTHING, decision),
        lambda: session.decide_where(Which(micrographs=(where,)), decision),
        lambda: browse.decide_picks(session, ids, decision),
        lambda: session.move(ids, np.full(len(ids), rng.random()), np.full(len(ids), 5.0)),
        lambda: session.add(rng.uniform(0, 500), rng.uniform(0, 500), anyway=True),
        session.undo,
        session.undo,
        session.redo,
    ]
    with contextlib.suppress(Refused):
        rng.choice(steps)()


@pytest.mark.parametrize("seed", range(3))
def test_any_steps_end_as_if_each_had_been_waited_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The same choices, made on what is drawn at the time, in a session without a background."""
    shutil.copytree(folder.parent, tmp_path / "twin")
    monkeypatch.setattr("cryoppp_annotator.session.core.step.BIG", 40)
    door, twin = Door(folder), opening.open_project(tmp_path / "twin" / "project", curator="me")
    rng = random.Random(seed)
    for session in (door.session, twin):
        session.go(session.micrographs[0].id)
    for _ in range(20):
        choice = rng.random()
        if rng.random() < 0.3:
            door.shut()
        some_step(door.session, random.Random(choice))
        some_step(twin, random.Random(choice))
        if rng.random() < 0.4:
            door.open()
        # the same picks must be in sight for the next choice; which they are is not changed by decisions
        if len(door.session.particles) != len(twin.particles) or door.session.current_id != twin.current_id:
            door.open()
    door.open()
    agrees(door.session)
    assert state(door.session) == state(twin)
    assert door.titles() == [e.title for e in twin.history()[::-1] if e.kind == "do" and e.state == "applied"]
    for session in (door.session, twin):
        session.close()
    door.runner.close()


def test_the_limit_is_a_number_of_picks() -> None:
    assert step.BIG > 100


def test_a_proposal_for_every_micrograph_is_entered_behind_and_takes_no_decision_away(door: Door) -> None:
    session = door.session
    session.go(session.micrographs[0].id)

    def proposal(offset: float) -> proposing.Proposal:
        at = np.arange(1.0, 41.0) * 2000 + offset  # far from the picks that are there
        candidates = Candidates(at, at, at, np.full(40, np.nan))
        return proposing.Proposal("log", session.diameter_A, {}, tuple((m.id, candidates) for m in session.micrographs))

    lines: list[str] = []
    door.shut()
    assert proposing.enter(session, proposal(0.0), lines.append) == Queued()
    assert lines == []
    assert "Saving 120 candidates …" in door.said
    door.open()
    assert lines == ["Laplacian of Gaussian (LoG) proposes 120 candidates on 3 micrographs"]
    agrees(session)

    candidates = session.particles.id[session.particles.x >= 2000]
    door.shut()
    again = proposal(0.0)
    fewer = proposing.Proposal("log", again.diameter_A, {}, tuple((i, c.take(c.x > 2000)) for i, c in again.candidates))
    assert proposing.enter(session, fewer, lines.append) == Queued()
    assert session.decide(candidates[:3], Decision.ACCEPTED) == Queued()
    door.open()
    agrees(session)
    p = session.particles
    assert candidates[0] not in p.id, "it was not proposed again, and nobody had decided when the new ones came"
    assert p.decision[np.isin(p.id, candidates[1:3])].tolist() == [Decision.ACCEPTED] * 2
    assert any("1 pick not decided: replaced by newer candidates" in text for text in door.said)
    assert session.undo().startswith("accept 2")
    assert session.undo().startswith("propose 117")
    door.open()
    agrees(session)
    assert candidates[0] in session.particles.id


def test_a_large_import_is_entered_behind_and_one_that_is_cancelled_leaves_nothing(door: Door, tmp_path: Path) -> None:
    session = door.session
    first = session.micrographs[0]
    session.go(first.id)
    rows = "\n".join(f"{first.name}.mrc {x} {7 * x % 501}" for x in range(1, 51))
    labels = "_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3"
    (tmp_path / "picks.star").write_text(f"data_\n\nloop_\n{labels}\n{rows}\n")
    plan = importing.read(session, tmp_path / "picks.star")
    lines: list[str | None] = []
    before = state(session)
    door.shut()
    assert importing.enter(session, plan, then=lines.append) == "importing 50 picks …"
    assert lines == []
    (writing,) = [job for job in door.runner.active() if job.title.startswith("importing")]
    writing.cancel()
    door.open()
    assert lines == [None]
    assert any("cancelled: importing 50 picks; nothing was changed" in text for text in door.said)
    assert state(session) == before

    door.shut()
    importing.enter(session, plan, then=lines.append)
    door.open()
    assert lines[1].startswith("imported 50 picks from picks.star")
    agrees(session)
    assert session.counts()["undecided"] == 3 * 49 + 50
    with pytest.raises(Refused, match="was imported before"):
        importing.enter(session, plan, then=lines.append)
    assert len(lines) == 2
