"""Two windows, and two programs, on one project."""

from __future__ import annotations

import io
import random
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from project_tools import check_memory, import_change, integrity, new_project, open_session, query, replay, table

from cryoppp_annotator.errors import ConflictError, Refused
from cryoppp_annotator.model.curation import Decision, Reason, Table
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import bookkeeping
from cryoppp_annotator.session.core.session import Announcement, Session

N_EDITS = 200


@pytest.fixture
def project(tmp_path: Path) -> Path:
    session = open_session(new_project(tmp_path / "project"), "setup")
    for micrograph in list(session.micrographs):
        session.go(micrograph.id)
    session.insert(import_change([1] * 6 + [2] * 2, range(0, 800, 100), range(0, 800, 100), np.arange(8) / 8, "setup"))
    session.close()
    return tmp_path / "project"


@pytest.fixture
def ann(project: Path) -> Iterator[Session]:
    session = open_session(project, "ann")
    session.go(1)
    yield session
    session.close()


@pytest.fixture
def bob(project: Path) -> Iterator[Session]:
    session = open_session(project, "bob")
    session.go(1)
    yield session
    session.close()


@pytest.fixture
def second(project: Path) -> Iterator[Session]:
    """Ann's second window."""
    session = open_session(project, "ann")
    session.go(1)
    yield session
    session.close()


def decisions(session: Session) -> dict[int, int]:
    return dict(zip(session.particles.id.tolist(), session.particles.decision.tolist(), strict=True))


def test_each_sees_what_the_other_did(ann: Session, bob: Session) -> None:
    announced: list[Announcement] = []
    bob.changed.connect(announced.append)
    assert not bob.poll()
    number = ann.add(3000, 3000).new_id
    ann.set_state([2], MicrographState.COMPLETE)
    ann.set_diameter(180)
    assert number not in decisions(bob)
    assert bob.poll()
    assert [a.kind for a in announced] == ["refresh"]
    assert all(announced[0].touches(t) for t in Table)
    assert decisions(bob)[number] == Decision.ACCEPTED
    assert bob.diameter_A == 180
    check_memory(bob)
    assert not bob.poll()
    bob.decide([number], Decision.REJECTED, Reason.ICE)
    assert ann.poll()
    assert decisions(ann)[number] == Decision.REJECTED
    check_memory(ann)


def test_an_edit_is_made_to_what_is_there_now(ann: Session, bob: Session) -> None:
    """Neither window has looked; each edit is built on the other's all the same."""
    ann.move([1], [11.0], [12.0])
    bob.move([1], [21.0], [22.0])
    ann.decide([1], Decision.ACCEPTED)
    assert (ann.particles.x[0], ann.particles.y[0]) == (21.0, 22.0)
    bob.decide([1], Decision.ACCEPTED)  # as it is already: nothing happens, and bob sees why
    assert decisions(bob)[1] == Decision.ACCEPTED
    for session in (ann, bob):
        session.poll()
        check_memory(session)
    assert replay(ann.store.folder) == table(ann.store.folder, "particle")


def test_the_same_place_is_refused_to_the_second(ann: Session, bob: Session) -> None:
    ann.add(3000, 3000)
    with pytest.raises(Refused):
        bob.add(3001, 3001)
    check_memory(bob)
    ann.undo()
    bob.add(3001, 3001)


def test_a_particle_that_the_other_deleted(ann: Session, bob: Session) -> None:
    number = ann.add(3000, 3000).new_id
    bob.poll()
    ann.undo()
    assert bob.decide([number], Decision.REJECTED).n == 0
    bob.move([number], 1.0, 1.0)
    assert bob.remove([number]).n == 0
    check_memory(bob)
    assert ann.next_redo() is not None


def test_undo_takes_back_only_ones_own(ann: Session, bob: Session) -> None:
    ann.decide([1], Decision.ACCEPTED)
    bob.decide([2], Decision.REJECTED, Reason.CARBON)
    ann.decide([3], Decision.ACCEPTED)
    bob.decide([4], Decision.REJECTED, Reason.CARBON)
    assert ann.undo() is not None
    assert ann.undo() is not None
    assert ann.undo() is None
    assert decisions(ann) == {1: 0, 2: 2, 3: 0, 4: 2, 5: 0, 6: 0}
    assert bob.undo() is not None
    assert decisions(bob) == {1: 0, 2: 2, 3: 0, 4: 0, 5: 0, 6: 0}
    # bob's new step ends bob's redo, not ann's
    bob.decide([5], Decision.ACCEPTED)
    assert bob.redo() is None
    assert ann.redo() is not None
    assert ann.redo() is not None
    assert decisions(ann) == {1: 1, 2: 2, 3: 1, 4: 0, 5: 1, 6: 0}
    check_memory(ann)


def test_two_windows_of_one_person_share_their_undo(ann: Session, second: Session) -> None:
    ann.decide([1], Decision.ACCEPTED)
    second.decide([1], Decision.REJECTED, Reason.ICE)
    ann.decide([1], Decision.UNDECIDED)
    assert second.undo() is not None
    assert decisions(second)[1] == Decision.REJECTED
    assert ann.undo() is not None
    assert decisions(ann)[1] == Decision.ACCEPTED
    assert second.undo() is not None
    assert ann.undo() is None
    for _ in range(3):
        assert ann.redo() is not None
    assert second.redo() is None
    second.poll()
    for session in (ann, second):
        assert decisions(session)[1] == Decision.UNDECIDED
        check_memory(session)


def test_what_the_other_changed_is_not_undone(ann: Session, bob: Session) -> None:
    ann.decide([1, 2], Decision.ACCEPTED)
    bob.decide([2, 3], Decision.REJECTED, Reason.ICE)
    with pytest.raises(ConflictError, match=r"bob has since changed the same data .*stays as it is"):
        ann.undo()
    assert decisions(ann) == {1: 1, 2: 2, 3: 2, 4: 0, 5: 0, 6: 0}
    check_memory(ann)
    bob.undo()
    assert ann.undo() is not None
    check_memory(ann)


def stored_as(session: Session, n_picks: int, payload: Callable[[bytes], bytes]) -> None:
    """Change how the history keeps the latest step over so many picks, behind the program's back."""
    with sqlite3.connect(session.store.path) as file:
        (number, kept) = file.execute(
            "select id, payload from change where n_particles = ? order by id desc limit 1", (n_picks,)
        ).fetchone()
        file.execute("update change set payload = ? where id = ?", (payload(kept), number))
    file.close()


def without_values(kept: bytes) -> bytes:
    """A step of which only the rows are known that it is about."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(kept)) as archive, zipfile.ZipFile(out, "w") as left:
        for name in archive.namelist():
            if not name.startswith(("0/before/", "0/after/", "0/ids")):
                left.writestr(name, archive.read(name))
    return out.getvalue()


def test_undo_reads_no_more_of_the_others_steps_than_it_must(ann: Session, bob: Session) -> None:
    """What it does not read may be anything; reading it takes time where there is much."""
    ann.insert(import_change([1] * 2000, range(2000), range(2000), np.zeros(2000), "ann"))
    ann.decide(ann.particles.id[-1:], Decision.REJECTED, Reason.EDGE)
    ann.decide([1], Decision.ACCEPTED)
    bob.poll()
    bob.decide_where(Which(micrographs=(2,)), Decision.REJECTED, Reason.ICE)
    stored_as(bob, 2, lambda _kept: b"of another micrograph")
    late = Which(pick_sets=(max(bob.pick_sets),))
    assert bob.decide_where(late, Decision.REJECTED, Reason.ICE).n == 2000
    stored_as(bob, 2000, without_values)
    assert ann.undo() == "accept 1 pick on m0"
    with pytest.raises(ConflictError, match="bob has since changed the same data"):
        ann.undo()
    check_memory(ann)


def test_a_step_that_stays_does_not_block_the_ones_before_it(ann: Session, bob: Session) -> None:
    ann.decide([4], Decision.ACCEPTED)
    ann.decide([1], Decision.ACCEPTED)
    ann.decide([1, 2], Decision.REJECTED, Reason.ICE)
    ann.decide([5], Decision.ACCEPTED)
    bob.decide([2], Decision.ACCEPTED)
    assert ann.undo() == "accept 1 pick on m0"
    with pytest.raises(ConflictError, match="undo again takes back the step before it"):
        ann.undo()
    with pytest.raises(ConflictError):  # that one is of a pick which the step that stays has rejected
        ann.undo()
    assert decisions(ann) == {1: 2, 2: 1, 3: 0, 4: 1, 5: 0, 6: 0}
    assert ann.undo() is not None
    assert decisions(ann) == {1: 2, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0}
    assert ann.undo() is None
    check_memory(ann)
    assert ann.redo() is not None
    bob.undo()  # now nothing stands in the way of what stayed
    assert [ann.undo() for _ in range(4)].count(None) == 1
    assert set(decisions(ann).values()) == {0}
    check_memory(ann)


def test_a_step_is_not_repeated_on_something_else(ann: Session, bob: Session) -> None:
    """Bob's rejection was of a particle that ann had accepted; she took that back before he repeats his."""
    ann.decide([1], Decision.ACCEPTED)
    bob.decide([1], Decision.REJECTED, Reason.ICE)
    bob.undo()
    ann.undo()
    with pytest.raises(ConflictError):
        bob.redo()
    bob.poll()
    check_memory(bob)
    assert bob.counts() == {"accepted": 0, "undecided": 8, "rejected": 0}


def test_a_particle_is_not_deleted_twice(ann: Session, bob: Session) -> None:
    number = ann.add(3000, 3000).new_id
    assert bob.remove([number]).n == 1
    with pytest.raises(ConflictError):
        ann.undo()
    bob.undo()
    ann.undo()
    with pytest.raises(ConflictError):
        bob.redo()
    for session in (ann, bob):
        session.poll()
        check_memory(session)


def test_a_setting_that_the_other_changed_is_not_undone(ann: Session, bob: Session) -> None:
    ann.set_diameter(100)
    bob.set_diameter(200)
    with pytest.raises(ConflictError):
        ann.undo()
    assert ann.diameter_A == 200
    bob.undo()
    ann.undo()
    assert not ann.settings.diameter_is_set
    bob.poll()
    check_memory(bob)


def test_what_a_file_says_does_not_overwrite_what_people_said(ann: Session, bob: Session) -> None:
    """A job has looked at a file; meanwhile the micrograph was marked and its particles decided."""
    before = ann.micrograph(1)
    bob.set_state([1], MicrographState.COMPLETE)
    bob.decide([1, 2], Decision.ACCEPTED)
    bookkeeping.update_micrograph(ann, before)
    check_memory(ann)
    assert ann.micrograph(1).state is MicrographState.COMPLETE
    assert ann.micrograph(1).n_accepted == 2


def hammer(folder: Path, curator: str, seed: int) -> None:
    """What each of two programs does."""
    rng = random.Random(seed)
    session = open_session(folder, curator)
    session.go(1)
    mine = []
    for k in range(N_EDITS):
        what = rng.randrange(6)
        some = rng.sample(session.particles.id.tolist(), 2)
        if what == 0 or not mine:
            mine.append(session.add(rng.uniform(0, 4096), rng.uniform(0, 4096), anyway=True).new_id)
        elif what == 1:
            session.move(some, rng.uniform(0, 4096), rng.uniform(0, 4096))
        elif what == 2:
            session.decide(some, rng.choice(list(Decision)), rng.choice(list(Reason)))
        elif what == 3:
            session.decide_where(Which(min_score=rng.random()), rng.choice(list(Decision)), Reason.ICE)
        elif what == 4:
            session.set_diameter(100 + k)
        else:
            try:
                session.undo()
            except ConflictError:
                session.add(1, 1, anyway=True)
    session.poll()
    print(" ".join(map(str, mine)))
    session.close()


def test_two_programs_at_once(project: Path) -> None:
    command = [sys.executable, __file__, str(project)]
    programs = [
        subprocess.Popen([*command, name, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed, name in enumerate(("ann", "bob"))
    ]
    numbers = []
    for program in programs:
        out, err = program.communicate(timeout=300)
        assert program.returncode == 0, err
        numbers += [int(word) for word in out.split()]
    assert len(set(numbers)) == len(numbers)  # no id was given to both
    assert integrity(project) == "ok"
    assert replay(project) == table(project, "particle")
    session = open_session(project)
    session.go(1)
    check_memory(session)
    session.close()
    by = {row["curator"]: row["n"] for row in query(project, "SELECT curator, COUNT(*) AS n FROM change GROUP BY 1")}
    assert min(by["ann"], by["bob"]) > N_EDITS / 2


if __name__ == "__main__":
    hammer(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
