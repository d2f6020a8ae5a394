"""Two projects of one data set become one: truth is planted on both sides, and what becomes of it is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project_tools import check_memory, import_change, integrity, new_project, open_session, state, table

from cryoppp_annotator.errors import Cancelled, Refused
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Change, Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.core import edits
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files.merging import MergeReport, merge
from cryoppp_annotator.session.regions import drawing as regions

ACCEPTED, REJECTED, UNDECIDED = Decision.ACCEPTED, Decision.REJECTED, Decision.UNDECIDED


def base(folder: Path) -> Path:
    """A project of three micrographs, ten imported picks on the first and two on the second."""
    session = open_session(new_project(folder), "ann")
    session.set_diameter(30.0)  # 20 px
    places = [100.0 * (k + 1) for k in range(10)]
    session.go(1)
    session.insert(import_change([1] * 10 + [2] * 2, [*places, 50, 150], [*places, 50, 150], [0.5] * 12))
    session.close()
    return folder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A project, and a copy that a colleague got."""
    ours = base(tmp_path / "ours")
    shutil.copytree(ours, tmp_path / "theirs")
    return ours, tmp_path / "theirs"


def merged(ours: Path, theirs: Path) -> tuple[Session, MergeReport]:
    session, other = open_session(ours, "ann"), open_session(theirs, read_only=True)
    before = state(theirs)
    report = merge(session, other)
    other.close()
    assert state(theirs) == before
    session.go(1)
    check_memory(session)
    assert integrity(ours) == "ok"
    return session, report


def decisions(session: Session) -> dict[int, Decision]:
    return {int(i): Decision(int(d)) for i, d in zip(session.particles.id, session.particles.decision, strict=True)}


def test_what_each_has_done_comes_together(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    ann, bob = open_session(ours, "ann"), open_session(theirs, "bob")
    ann.go(1)
    ann.decide([1, 2], ACCEPTED)
    ann.decide([9], ACCEPTED)
    bob.go(1)
    bob.decide([3, 4], REJECTED, Reason.ICE)
    bob.decide([9], REJECTED, Reason.CARBON)  # against ann
    bob.move([5], [505.0], [495.0])
    bob.add(3000, 3000)
    bob.set_state([2], MicrographState.COMPLETE)
    regions.draw(bob, [[10, 10], [10, 500], [500, 500], [500, 10]], Reason.CARBON)
    ann.close()
    bob.close()
    before = state(ours)
    session, report = merged(ours, theirs)
    decided = decisions(session)
    assert [decided[i] for i in range(1, 11)] == [
        ACCEPTED,
        ACCEPTED,
        REJECTED,
        REJECTED,
        UNDECIDED,
        UNDECIDED,
        UNDECIDED,
        UNDECIDED,
        ACCEPTED,
        UNDECIDED,
    ]
    row = session.particles.rows_of([5])[0]
    assert (session.particles.x[row], session.particles.y[row]) == (505.0, 495.0)
    (added,) = set(decided) - set(range(1, 13))
    assert session.pick_sets[int(session.particles.pick_set[session.particles.rows_of([added])[0]])].curator == "bob"
    assert session.micrographs[1].state is MicrographState.COMPLETE
    assert session.micrographs[1].state_by == "bob"
    assert len(session.store.regions(1)) == 1
    (conflict,) = report.conflicts
    assert (conflict.what, conflict.micrograph, conflict.particle) == ("decision", "m0", 9)
    assert (conflict.ours, conflict.theirs) == ("accepted", "rejected as carbon")
    assert report.picks_changed == 3
    lines = [line for line in session.history(100) if line.verb == "merged" and line.curator == "bob"]
    assert any("reject 2 picks as ice" in line.title for line in lines)
    session.undo()
    after = state(ours)
    assert {name: after[name] for name in before} == before  # one step
    session.close()


def test_merging_twice_brings_nothing_new(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    bob = open_session(theirs, "bob")
    bob.go(1)
    bob.decide([3], ACCEPTED)
    bob.add(3000, 3000)
    bob.close()
    merged(ours, theirs)[0].close()
    before = state(ours)
    session, report = merged(ours, theirs)
    assert (report.picks_added, report.picks_changed) == (0, 0)
    assert not report.conflicts
    assert state(ours)["particle"] == before["particle"]
    session.close()


def test_an_undone_step_counts_as_undone(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    ann = open_session(ours, "ann")
    ann.go(1)
    ann.decide([1], ACCEPTED)
    ann.close()
    shutil.rmtree(theirs)
    shutil.copytree(ours, theirs)
    bob = open_session(theirs, "ann")  # the same curator on another machine
    bob.undo()
    bob.close()
    session, report = merged(ours, theirs)
    assert decisions(session)[1] is UNDECIDED
    assert not report.conflicts
    session.close()


def test_what_was_deleted_there_and_decided_here_is_a_conflict(tmp_path: Path) -> None:
    ours = base(tmp_path / "ours")
    ann = open_session(ours, "ann")
    ann.go(1)
    one, two = ann.add(2000, 2000).new_id, ann.add(2500, 2500).new_id
    ann.close()
    theirs = shutil.copytree(ours, tmp_path / "theirs")
    bob = open_session(theirs, "bob")
    bob.go(1)
    bob.remove([one, two])
    bob.close()
    ann = open_session(ours, "ann")
    ann.go(1)
    ann.decide([two], REJECTED, Reason.EDGE)
    ann.close()
    session, report = merged(ours, theirs)
    assert one not in decisions(session)
    assert decisions(session)[two] is REJECTED
    assert [conflict.what for conflict in report.conflicts] == ["deleted"]
    session.close()


def identical_import(session: Session) -> None:
    """The same file, imported on its own on each side."""
    change = import_change([1, 1, 1], [100, 200, 300], [100, 200, 300], [0.1, 0.2, 0.3])
    pick_set = edits.new_pick_set("import", "picks.star", session.curator, parameters={"identity": "abc"})
    session.insert(Change(change.verb, change.title, (pick_set, change.deltas[1]), change.micrograph))


def test_projects_that_were_made_apart(tmp_path: Path) -> None:
    """Without a common history: the same import is the same picks, hand picks on one another are one particle."""
    sessions = []
    for name in ("ann", "bob"):
        session = open_session(new_project(tmp_path / name), name)
        session.set_diameter(30.0)
        session.go(1)
        if name == "bob":
            session.add(5, 5)  # so that ids do not agree by chance
        identical_import(session)
        session.add(1000, 1000) if name == "ann" else session.add(1003, 1000)
        sessions.append(session)
    ann, bob = sessions
    ann.decide(ann.particles.id[:1], ACCEPTED)
    bob.decide(bob.particles.id[2:3], REJECTED, Reason.ICE)
    bob.go(3)
    bob.add(77, 77)
    ann.close()
    bob.close()
    session, report = merged(tmp_path / "ann", tmp_path / "bob")
    p = session.particles
    decided = sorted((x, Decision(int(d)).name) for x, d in zip(p.x.tolist(), p.decision.tolist(), strict=True))
    assert decided == [
        (5, "ACCEPTED"),
        (100, "ACCEPTED"),
        (200, "REJECTED"),
        (300, "UNDECIDED"),
        (1000, "ACCEPTED"),
    ]
    assert report.picks_added == 2
    assert report.picks_same == 4
    assert not report.conflicts
    assert session.micrographs[2].n_accepted == 1
    session.close()


def test_micrographs_of_one_side_are_added(tmp_path: Path) -> None:
    ours, theirs = new_project(tmp_path / "ours", 1), new_project(tmp_path / "theirs", 3)
    bob = open_session(theirs, "bob")
    bob.go(3)
    bob.add(40, 50)
    bob.set_state([3], MicrographState.COMPLETE)
    bob.close()
    session, report = merged(ours, theirs)
    assert (report.micrographs_matched, report.micrographs_added) == (1, 2)
    last = session.micrographs[2]
    assert (last.name, last.state, last.n_accepted) == ("m2", MicrographState.COMPLETE, 1)
    assert (session.data_root / last.path).resolve() == (theirs / "m2.mrc").resolve()
    session.close()


def test_a_merge_that_is_cancelled_changes_nothing(tmp_path: Path) -> None:
    """Wherever it stops: no micrograph, no pick, no line of history has come."""
    ours, theirs = new_project(tmp_path / "ours", 2), new_project(tmp_path / "theirs", 3)
    bob = open_session(theirs, "bob")
    bob.go(3)
    bob.add(40, 50)
    bob.close()
    session, other, asked, limit = open_session(ours, "ann"), open_session(theirs, read_only=True), [0], 0
    before = state(ours)

    def is_cancelled() -> bool:
        asked[0] += 1
        return asked[0] > limit

    while True:
        asked[0] = 0
        try:
            report = merge(session, other, context=JobContext(is_cancelled=is_cancelled))
        except Cancelled:
            assert state(ours) == before
            limit += 1
            continue
        break
    assert limit >= 5
    assert report.micrographs_added == 1
    assert [m.n_accepted for m in session.micrographs] == [0, 0, 1]
    other.close()
    session.close()


def test_other_images_of_the_same_name_are_listed(tmp_path: Path) -> None:
    from dataclasses import replace

    from cryoppp_annotator.session.core import bookkeeping

    ours, theirs = base(tmp_path / "ours"), base(tmp_path / "theirs")
    for folder, letter in ((ours, "a"), (theirs, "b")):
        session = open_session(folder)
        bookkeeping.update_micrograph(session, replace(session.micrographs[0], fingerprint=f"1-2-{letter * 64}"))
        session.close()
    session, report = merged(ours, theirs)
    assert report.micrographs_matched == 2
    assert [(c.what, c.micrograph) for c in report.conflicts if c.what == "image"] == [("image", "m0")]
    assert len(session.particles) == 10  # none of the other image's
    session.close()


def test_strangers_and_oneself_are_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    ours, _ = two
    session = open_session(ours)
    with pytest.raises(Refused, match="with itself"):
        merge(session, open_session(ours, read_only=True))
    with pytest.raises(Refused, match="other micrographs"):
        merge(session, open_session(new_project(tmp_path / "nothing", 0), read_only=True))
    session.close()


def test_the_command_tries_it_first(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    bob = open_session(theirs, "bob")
    bob.go(1)
    bob.decide([1, 2], ACCEPTED)
    bob.close()
    before = state(ours)
    command = [sys.executable, "-m", "cryoppp_annotator", "merge", str(ours), str(theirs), "--json"]
    trial = json.loads(subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout)
    assert state(ours) == before
    real = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert trial == real
    assert real["picks_changed"] == 2
    assert [row["decision"] for row in table(ours, "particle").values()][:3] == [1, 1, 0]
