"""Regions in a project: drawn, found, dismissed; every step undoable, in every window; a person's word stands."""

from __future__ import annotations

import threading
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.errors import Refused
from cryoppp_annotator.formats.check.lint import Mend
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.jobs.runner import Runner
from cryoppp_annotator.model.curation import Decision, Reason, Table
from cryoppp_annotator.model.region import Origin, Region, overlap
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.backlog import Backlog
from cryoppp_annotator.session.core.step import Queued
from cryoppp_annotator.session.files import linting
from cryoppp_annotator.session.picks import proposing

PARAMETERS = SimulationParameters(
    size=(1000, 1000),
    pixel_size_A=3.0,
    structure="blob",
    n_particles=40,
    n_views=20,
    carbon_probability=1.0,
    n_contaminants=2,
    snr=0.3,
    seed=3,
)
SQUARE = [(100, 100), (100, 300), (300, 300), (300, 100)]


@pytest.fixture(scope="module")
def truths():
    views = views_for(PARAMETERS)
    return [simulate_micrograph(PARAMETERS, i, views) for i in range(2)]


@pytest.fixture
def session(tmp_path: Path, truths):
    for i, truth in enumerate(truths):
        with mrcfile.new(tmp_path / f"m{i}.mrc") as mrc:
            mrc.set_data(truth.image)
            mrc.voxel_size = truth.pixel_size_A
    opened = opening.open_plan(opening.plan(tmp_path, tmp_path / "project"), curator="me")
    opened.set_diameter(truths[0].diameter_A)
    opened.go(opened.micrographs[0].id)
    yield opened
    opened.close()


def here(session) -> list[Region]:
    return regions.of(session, session.current_id)


def on_dirt(truth, x, y) -> np.ndarray:
    dirt = truth.carbon.contains(x, y)
    for cx, cy, radius in truth.contamination:
        dirt |= np.hypot(x - cx, y - cy) < radius
    return dirt


def line_of(session, detected) -> str:
    """Enters what was found; what is said of it."""
    lines: list[str] = []
    regions.enter_found(session, detected, lines.append)
    (line,) = lines
    return line


def found_by_hand(session) -> regions.Detected:
    """As if the machine had found two squares on the micrograph that is open."""
    two = tuple(Region(Reason.ICE, np.add(SQUARE, shift).astype(float)) for shift in (0, 400))
    return regions.Detected(((session.current_id, two),))


def test_a_drawn_region_is_one_step_and_outlives_the_program(session):
    outline = [(100 + 150 * np.sin(a), 400 + 150 * np.cos(a)) for a in np.linspace(0, 6.2, 400)]
    number = regions.draw(session, outline, Reason.CARBON).new_id
    (region,) = here(session)
    assert (region.id, region.reason, region.origin, region.curator) == (number, Reason.CARBON, Origin.HAND, "me")
    assert len(region.vertices) < 40  # of four hundred
    assert region.vertices.min() >= -0.5  # the hand went past the edge
    assert overlap(region.vertices, np.clip(outline, -0.5, None)) > 0.97
    assert session.undo() is not None
    assert here(session) == []
    session.redo()
    folder = session.store.folder
    session.close()
    again = opening.open_project(folder, curator="me")
    try:
        (kept,) = regions.of(again, region.micrograph)
        assert kept.id == number
        np.testing.assert_array_equal(kept.vertices, np.round(region.vertices, 2))
        again.undo()
        assert regions.of(again, region.micrograph) == []
    finally:
        again.close()


@pytest.mark.parametrize(
    "outline", [[], [(1, 1), (2, 2)], [(5, 5), (5, 5), (5, 5)], [(0, 0), (0, 9), (np.nan, 3)], np.add(SQUARE, 5000)]
)
def test_an_outline_that_holds_nothing_is_refused(session, outline):
    with pytest.raises(Refused):
        regions.draw(session, outline, Reason.CARBON)
    with pytest.raises(Refused):
        regions.draw(session, SQUARE, Reason.OVERLAP)
    assert here(session) == []


def test_another_window_sees_a_region_and_both_undo_their_own(session):
    other = opening.open_project(session.store.folder, curator="bob")
    number = regions.draw(session, SQUARE, Reason.ICE).new_id
    regions.set_reason(other, [number], Reason.CARBON)
    heard = []
    session.changed.connect(heard.append)
    assert session.poll()
    assert heard[-1].touches(Table.REGION)
    assert [r.reason for r in here(session)] == [Reason.CARBON]
    assert other.undo() is not None
    session.poll()
    assert [r.reason for r in here(session)] == [Reason.ICE]
    session.undo()
    assert here(session) == []
    other.close()


def test_what_a_person_took_away_is_not_found_again(session):
    regions.enter_found(session, found_by_hand(session))
    first, second = here(session)
    assert {r.origin for r in (first, second)} == {Origin.FOUND}
    assert regions.remove(session, [first.id]).n == 1
    assert [r.id for r in here(session)] == [second.id]
    head = session.store.head
    assert "a person deleted it" in line_of(session, found_by_hand(session))
    assert session.store.head == head  # nothing was written
    assert [r.id for r in here(session)] == [second.id]
    session.undo()
    assert [r.id for r in here(session)] == [first.id, second.id]


def test_the_machine_leaves_a_persons_regions_alone(session):
    drawn = regions.draw(session, np.add(SQUARE, 10), Reason.AGGREGATE).new_id
    regions.enter_found(session, found_by_hand(session))
    kept, detected = here(session)
    assert (kept.id, kept.reason) == (drawn, Reason.AGGREGATE)
    assert detected.vertices.min() > 400  # the other of the two
    regions.set_reason(session, [detected.id], Reason.CARBON)
    regions.enter_found(session, regions.Detected(((session.current_id, ()),)))  # nothing is found any more
    assert [(r.id, r.origin) for r in here(session)] == [(drawn, Origin.HAND), (detected.id, Origin.HAND)]
    regions.reshape(session, detected.id, np.add(SQUARE, 450))
    assert here(session)[1].vertices.min() == 550
    session.undo()
    session.undo()  # the reason: the region is the machine's again
    assert here(session)[1].origin is Origin.FOUND
    regions.enter_found(session, regions.Detected(((session.current_id, ()),)))
    assert [r.id for r in here(session)] == [drawn]


def test_carbon_and_ice_are_found_on_all_micrographs_as_one_step(session):
    detected = regions.find(session, session.micrographs)
    assert "new region" in line_of(session, detected)
    for micrograph in session.micrographs:
        there = regions.of(session, micrograph.id)
        assert Reason.CARBON in {r.reason for r in there}
        assert all(((r.vertices >= -0.5) & (r.vertices <= 999.5)).all() for r in there)
    assert "nothing new" in line_of(session, regions.find(session, session.micrographs))
    session.undo()
    assert not session.store.regions()


def test_candidates_keep_off_carbon_and_ice(session, truths, entered):
    everything = proposing.propose(session, "log", session.micrographs, avoid=False)
    proposal = proposing.propose(session, "log", session.micrographs)
    said = entered(session, proposal)
    assert "left out" in said
    assert "on carbon" in said
    for (number, kept), (_, before), truth in zip(proposal.candidates, everything.candidates, truths, strict=True):
        assert on_dirt(truth, before.x, before.y).sum() > 3
        assert on_dirt(truth, kept.x, kept.y).sum() <= 0.1 * on_dirt(truth, before.x, before.y).sum()
        near = [np.hypot(kept.x - x, kept.y - y).min() for x, y in zip(truth.x, truth.y, strict=True)]
        assert np.mean(np.array(near) < 0.3 * truth.diameter_px) > 0.9
        assert regions.of(session, number)  # they are there to be seen
    session.undo()  # candidates and regions were one step
    assert session.counts()["undecided"] == 0
    assert not session.store.regions()


def test_a_region_rejects_the_undecided_in_it_and_nobody_elses(session):
    mine = session.add(150, 150).new_id
    no = session.add(260, 150).new_id
    session.decide([no], Decision.REJECTED, Reason.OVERLAP)
    inside = session.add(200, 250).new_id
    session.decide([inside], Decision.UNDECIDED)
    outside = session.add(500, 500).new_id
    session.decide([outside], Decision.UNDECIDED)
    regions.draw(session, SQUARE, Reason.ICE)
    rejectable = regions.picks_inside(session)
    assert rejectable.ids.tolist() == [inside]
    steps = len(session.history())
    assert regions.reject_inside(session, rejectable).n == 1
    assert len(session.history()) == steps + 1
    p = session.particles
    assert [(Decision(int(p.decision[p.rows_of(np.array([i]))[0]]))) for i in (mine, no, inside, outside)] == [
        Decision.ACCEPTED,
        Decision.REJECTED,
        Decision.REJECTED,
        Decision.UNDECIDED,
    ]
    assert Reason(int(p.reason[p.rows_of(np.array([inside]))[0]])) is Reason.ICE
    assert Reason(int(p.reason[p.rows_of(np.array([no]))[0]])) is Reason.OVERLAP
    session.undo()
    # decided by somebody between the look and the step: it stays
    other = opening.open_project(session.store.folder, curator="bob")
    other.go(session.current_id)
    other.decide([inside], Decision.ACCEPTED)
    other.close()
    assert regions.reject_inside(session, rejectable).n == 0
    session.poll()
    assert session.particles.count(Decision.ACCEPTED) == 2


def test_lint_tells_of_picks_in_regions_and_mends_the_undecided(session):
    accepted = session.add(150, 150).new_id
    undecided = session.add(250, 250).new_id
    session.decide([undecided], Decision.UNDECIDED)
    regions.draw(session, SQUARE, Reason.ICE)
    findings = [f for f in linting.lint(session, read_images=False) if f.finding.rule == "in-region"]
    assert {(f.ids, f.finding.mend) for f in findings} == {
        ((undecided,), Mend.REJECT_ICE),
        ((accepted,), Mend.NONE),
    }
    assert all("ice" in f.finding.message for f in findings)
    assert linting.mend(session, findings).n == 1
    p = session.particles
    row = int(p.rows_of(np.array([undecided]))[0])
    assert (p.decision[row], p.reason[row]) == (Decision.REJECTED, Reason.ICE)
    session.undo()
    session.decide([undecided], Decision.ACCEPTED)  # since the look
    assert linting.mend(session, findings).n == 0
    (region,) = here(session)
    regions.remove(session, [region.id])
    assert not [f for f in linting.lint(session, read_images=False) if f.finding.rule == "in-region"]


@pytest.fixture
def door(session, monkeypatch):
    """A background that writes only when it is told to; a step over more than one pick is big."""
    monkeypatch.setattr("cryoppp_annotator.session.core.step.BIG", 1)
    runner, held = Runner(), threading.Event()
    session.backlog = Backlog(session, runner)
    runner.submit(lambda context: held.wait(60), title="door", at_once=True)

    def open_it() -> None:
        held.set()
        assert runner.wait()

    yield open_it
    open_it()
    runner.close()


def test_steps_about_regions_wait_while_a_big_one_is_written(session, door):
    first, second = (m.id for m in session.micrographs)
    square = np.asarray(SQUARE, float)
    shifts = ((0, 0), (0, 400), (400, 0))
    moved, gone, renamed = (regions.draw(session, square + shift, Reason.ICE).new_id for shift in shifts)
    undecided = [session.add(150, 150).new_id, session.add(250, 250).new_id]
    session.decide(undecided, Decision.UNDECIDED)
    inside = regions.picks_inside(session)
    said, entered = [], []
    session.said.connect(lambda text, _level: said.append(text))
    assert session.decide_where(Which(), Decision.REJECTED, Reason.EDGE) == Queued()
    head = session.store.head
    assert regions.draw(session, square + 420, Reason.AGGREGATE) == Queued()
    assert regions.remove(session, [gone]) == Queued()
    assert regions.set_reason(session, [renamed], Reason.CARBON) == Queued()
    regions.reshape(session, moved, square + 20)
    assert regions.enter_found(session, regions.Detected(((second, found_by_hand(session).regions[0][1]),))) == Queued()
    assert regions.enter_found(session, regions.Detected(((first, ()), (second, ()))), entered.append) == Queued()
    assert regions.reject_inside(session, inside) == Queued()
    with pytest.raises(Refused):
        regions.draw(session, [], Reason.ICE)  # what is wrong is said at once
    session.go(second)  # a region belongs to the micrograph on which it was drawn
    assert session.backlog.busy
    assert session.store.newest() == head, "nobody waited for it, and nothing was written before its turn"
    assert len(regions.of(session, first)) == 3
    door()
    there = {region.id: region for region in regions.of(session, first)}
    assert gone not in there
    assert there[renamed].reason is Reason.CARBON
    assert there[moved].vertices.min() == 120
    assert [r.reason for i, r in there.items() if i not in (moved, renamed)] == [Reason.AGGREGATE]
    assert regions.of(session, second) == [], "what was found made room for what was found later"
    assert entered == ["nothing new on 2 micrographs · {undo} undoes"]
    assert "no undecided pick lies in a region there" in said
    assert session.counts() == {"accepted": 0, "undecided": 0, "rejected": 2}
    assert set(session.store.particles(first).reason.tolist()) == {Reason.EDGE}


def test_what_is_found_on_many_micrographs_and_rejected_in_it_is_written_behind(session, door):
    square = np.asarray(SQUARE, float)
    ids = [session.add(150, 150).new_id, session.add(250, 250).new_id, session.add(280, 120).new_id]
    session.decide(ids, Decision.UNDECIDED)
    two = regions.Detected(tuple((m.id, (Region(Reason.ICE, square),)) for m in session.micrographs), (("c", "gone"),))
    entered, said = [], []
    session.said.connect(lambda text, _level: said.append(text))
    assert regions.enter_found(session, two, entered.append) == Queued()
    assert session.backlog.busy
    door()
    assert entered == ["2 new regions on 2 micrographs · {undo} undoes · 1 micrograph could not be read (c: gone)"]
    for step, n in ((session.undo, 0), (session.redo, 2)):
        assert step() == "mark 2 regions found on 2 micrographs"
        assert session.backlog.busy
        door()
        assert len(session.store.regions()) == n
    inside = regions.picks_inside(session)
    session.decide(ids[:1], Decision.ACCEPTED)  # since the look
    assert regions.reject_inside(session, inside) == Queued()
    door()
    assert session.counts() == {"accepted": 1, "undecided": 0, "rejected": 2}
    assert regions.enter_found(session, two, entered.append) == Queued()
    door()
    assert any("nothing new on 2 micrographs: what was found is marked already" in text for text in said)
