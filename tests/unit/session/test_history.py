"""History: who did what when, the picks as they were at any moment, two moments compared, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.particles import Particles
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.review import history, sets
from cryoppp_annotator.session.review.history import HistoryScope

AT = [(40.0, 40.0), (120.0, 40.0), (40.0, 120.0), (120.0, 120.0)]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Two micrographs; ada picks four on the first, bo rejects, moves and deletes some, and takes one step back."""
    for name in "ab":
        with mrcfile.new(tmp_path / f"{name}.mrc") as file:
            file.set_data(np.zeros((200, 200), np.float32))
            file.voxel_size = 2.0
    session = opening.open_plan(opening.plan(tmp_path, tmp_path / "project"), curator="ada")
    session.set_diameter(60.0)
    first, second = (m.id for m in session.micrographs)
    session.go(first)
    ids = [session.add(x, y).new_id for x, y in AT]
    session.go(second)
    session.add(50.0, 50.0)
    session.go(first)
    session.curator = "bo"
    session.decide(ids[:2], Decision.REJECTED, Reason.ICE)
    session.move([ids[2]], [43.0], [124.0])
    session.undo()
    session.remove([ids[3]])
    yield session
    session.close()


def first_picks(session: Session) -> list[int]:
    return sorted(e.particle for e in history.pick_events(session, HistoryScope()) if e.what == "added, accepted")[:4]


def rows(picks: Particles) -> list[str]:
    """What is known of each pick, as text: no NaN is equal to itself."""
    return [str(row) for row in zip(*(getattr(picks, f.name).tolist() for f in fields(Particles)), strict=True)]


def test_a_pick_tells_its_life(session: Session) -> None:
    ids = first_picks(session)
    life = [history.pick_events(session, HistoryScope(particle=i)) for i in ids]
    assert [(e.curator, e.what) for e in life[0]] == [("ada", "added, accepted"), ("bo", "rejected as ice")]
    assert [(e.kind, e.what) for e in life[2]] == [
        ("do", "added, accepted"),
        ("do", "moved by 5.0 px"),
        ("undo", "moved by 5.0 px"),
    ]
    assert [e.what for e in life[3]] == ["added, accepted", "deleted"], "a deleted pick has a history, too"
    assert {e.micrograph for e in life[3]} == {"a"}
    assert life[0][0].made_by == "by hand, ada"
    assert (life[2][1].x, life[2][1].y) == (43.0, 124.0)


def test_steps_about_a_micrograph_and_a_set(session: Session) -> None:
    first, second = (m.id for m in session.micrographs)
    about = history.steps_about(session, HistoryScope(micrograph=second))
    assert [(e.verb, e.micrograph) for e in about] == [("add", second)]
    assert len(history.steps_about(session, HistoryScope(micrograph=first))) == 8
    (of_ada,) = session.pick_sets
    assert len(history.steps_about(session, HistoryScope(pick_set=of_ada))) == 9
    assert history.steps_about(session, HistoryScope(pick_set=of_ada + 1)) == []
    assert [e.verb for e in history.steps_about(session, HistoryScope())][-1] == "setting"


def test_the_picks_of_any_moment_come_back(session: Session) -> None:
    first = session.micrographs[0].id
    moments = [e.id for e in reversed(history.steps_about(session, HistoryScope()))]
    seen = [rows(history.picks_at(session, moment)) for moment in moments]
    assert seen[-1] == rows(session.store.particles_where(Which(removed=True)))
    assert history.picks_at(session, 0).id.size == 0
    film = history.film_of(session, first)
    assert [entry.id for entry, _ in film] == [
        e.id for e in reversed(history.steps_about(session, HistoryScope(first)))
    ]
    for entry, picks in film:
        everywhere = history.picks_at(session, entry.id)
        assert rows(picks) == rows(everywhere.take(everywhere.micrograph == first))
    session.redo()
    assert [rows(history.picks_at(session, moment)) for moment in moments] == seen, "later steps change no past"


def test_two_moments_are_compared_and_made_sets(session: Session) -> None:
    steps = [e for e in history.steps_about(session, HistoryScope()) if e.verb in ("add", "decide")]
    before, after = sets.moment_set(steps[1].id), sets.moment_set(steps[0].id)
    compared = sets.compare_in_project(session, before, after, 0.3)
    total = compared.total
    assert (total.quality.matched, total.only_reference, total.only_other) == (3, 2, 0)
    since = sets.compare_in_project(session, sets.ACCEPTED, after, 0.3).total
    assert (since.only_reference, since.only_other) == (0, 1), "the deleted one"
    assert "step" in sets.named(session, before)
    sets.make_set(session, [before, after], sets.Algebra.DIFFERENCE, 0.3)
    new = session.store.particles_where(Which(pick_sets=(max(session.pick_sets),)))
    assert sorted(zip(new.x.tolist(), new.y.tolist(), strict=True)) == AT[:2], "what bo rejected"


def test_a_moment_is_named_by_step_or_time(session: Session) -> None:
    last = session.history()[0]
    assert history.moment_of(session, str(last.id)) == last.id
    assert history.moment_of(session, last.at) == last.id
    assert history.moment_of(session, "1999-01-01") == 0
    with pytest.raises(Refused, match="neither the number of a step nor a date"):
        history.moment_of(session, "yesterday")


def test_the_command_lists_and_writes_csv(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, out = str(session.store.folder), tmp_path / "who.csv"
    assert run(["history", project, "--micrograph", "a", "--csv", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[3] == "bo"
    table = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["what"] for row in table].count("rejected as ice") == 2
    assert {row["curator"] for row in table} == {"ada", "bo"}
    assert {row["micrograph"] for row in table} == {"a"}
    for words, why in ((["--micrograph", "z"], "no micrographs are called 'z'"), (["--set", "7"], "no pick sets")):
        assert run(["history", project, *words]) == 1
        assert why in capsys.readouterr().err
