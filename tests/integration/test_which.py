"""Which particles are meant: the database and plain numpy give the same answer to the same question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from project_tools import new_project, open_session

from cryoppp_annotator.model.curation import Change, Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.particles import Particles
from cryoppp_annotator.model.region import Origin, Region
from cryoppp_annotator.model.which import ClassesOf, InRegions, Which
from cryoppp_annotator.session.core import edits
from cryoppp_annotator.session.regions.region_rows import insertion
from cryoppp_annotator.store import classes as classes_table
from cryoppp_annotator.store.store import Store

N = 240
#: A micrograph that was taken out of the project: its picks are meant only where that is asked for.
REMOVED = 4
#: Regions as (micrograph, first and last row, first and last column), and whether a person dismissed it.
REGIONS = {
    1: (1, (0, 2048), (0, 4096), False),
    2: (2, (1000, 3000), (1000, 3000), False),
    3: (2, (2000, 4000), (2000, 4000), False),
    4: (3, (0, 4096), (0, 4096), True),
    5: (REMOVED, (0, 4096), (0, 2048), False),
}
Project = tuple[Store, Particles, NDArray[np.int32]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A store, its particles, and the class of each in run 1 (-1 = no member)."""
    session = open_session(new_project(tmp_path_factory.mktemp("which"), 4))
    rng = np.random.default_rng(2)
    for _ in range(2):
        n = N // 2
        columns = {
            "micrograph": rng.integers(1, 5, n),
            "pick_set": np.array([-1], np.int64),
            "x": rng.uniform(0, 4096, n),
            "y": rng.uniform(0, 4096, n),
            "score": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 5, n) / 4),
            "decision": rng.integers(0, 3, n).astype(np.int8),
            "class_id": rng.integers(0, 4, n).astype(np.int32),
        }
        new = (edits.new_pick_set("import", "picks", "ann"), edits.insert_particles(columns, n))
        session.insert(Change("import", "import", new))
    shapes = [
        Region(
            Reason.ICE, np.array([(a, c), (a, d), (b, d), (b, c)], float), 0, m, [Origin.HAND, Origin.DISMISSED][out]
        )
        for m, (a, b), (c, d), out in REGIONS.values()
    ]
    session.insert(Change("region", "regions", (insertion(session, shapes),)))
    store = session.store
    session.set_state([REMOVED], MicrographState.REMOVED)
    picks = store.particles_where(Which(removed=True))
    number = rng.integers(-1, 4, N).astype(np.int32)
    member = number >= 0
    run = classes_table.begin(store, {"kind": "classify", "engine": "test"}, head=0, pixel_size_A=1.0)
    nan = np.full(int(member.sum()), np.nan)
    classes_table.add_members(
        store,
        run,
        {
            "particle": picks.id[member],
            "number": number[member],
            "x": picks.x[member],
            "y": picks.y[member],
            **dict.fromkeys(("posterior", "shift_x", "shift_y", "angle_deg"), nan),
        },
    )
    assert run == 1
    yield store, picks, number
    session.close()


def expected(project: Project, which: Which) -> NDArray[np.bool_]:
    _, p, number = project
    mask = np.ones(len(p), bool) if which.removed else p.micrograph != REMOVED
    for name, column in (("micrographs", p.micrograph), ("decisions", p.decision), ("pick_sets", p.pick_set)):
        if getattr(which, name) is not None:
            mask &= np.isin(column, getattr(which, name))
    if which.ids is not None:
        mask &= np.isin(p.id, which.ids)
    with np.errstate(invalid="ignore"):
        if which.min_score is not None:
            mask &= p.score >= which.min_score
        if which.below_score is not None:
            mask &= p.score < which.below_score
        for threshold, sets in which.hidden:
            low = (p.score < threshold) & (p.decision == Decision.UNDECIDED)
            mask &= ~(low & (np.isin(p.pick_set, sets) if sets else True))
    if which.regions is not None:
        lies = np.zeros(len(p), bool)
        for region, (micrograph, (a, b), (c, d), dismissed) in REGIONS.items():
            if not dismissed and (which.regions.numbers is None or region in which.regions.numbers):
                lies |= (p.micrograph == micrograph) & (p.y > a) & (p.y < b) & (p.x > c) & (p.x < d)
        mask &= lies
    if which.classes is not None:
        of = p.class_id if which.classes.run is None else number
        mask &= of > 0 if which.classes.numbers is None else np.isin(of, which.classes.numbers)
    return mask


few = st.lists(st.integers(1, 4), max_size=3).map(tuple)
scores = st.sampled_from([0.0, 0.25, 0.6, 1.0])
whiches = st.builds(
    Which,
    micrographs=st.none() | few,
    decisions=st.none() | st.lists(st.sampled_from(Decision), max_size=3).map(tuple),
    pick_sets=st.none() | few,
    min_score=st.none() | scores,
    below_score=st.none() | scores,
    classes=st.none() | st.builds(ClassesOf, st.sampled_from([None, 1, 2]), st.none() | few),
    regions=st.none() | st.builds(InRegions, st.none() | st.lists(st.integers(1, 6), max_size=3).map(tuple)),
    ids=st.none() | st.lists(st.integers(1, N + 5), max_size=40).map(tuple),
    hidden=st.lists(st.tuples(scores, few), max_size=2).map(tuple),
    removed=st.booleans(),
)


@given(which=whiches, other=whiches)
def test_every_question_has_the_answer_that_numpy_gives(project: Project, which: Which, other: Which) -> None:
    if which.classes is not None and which.classes.run == 2:
        mask = np.zeros(N, bool)  # there is no such run
    else:
        mask = expected(project, which)
    store, picks, _ = project
    stored = store.particles_where(which)
    assert stored.id.tolist() == picks.id[mask].tolist()
    np.testing.assert_array_equal(stored.score, picks.score[mask])
    if other.classes is None or other.classes.run != 2:
        assert store.counts(which, other) == (mask.sum(), expected(project, other).sum())
    where, n = np.unique(picks.micrograph[mask], return_counts=True)
    assert store.count_by_micrograph(which) == dict(zip(where.tolist(), n.tolist(), strict=True))
    sample = store.sample_scores(which)
    assert sorted(sample.tolist()) == sorted(picks.score[mask & np.isfinite(picks.score)].tolist())
    at = store.positions(which)
    order = np.lexsort((picks.id[mask], picks.micrograph[mask]))
    assert at["id"].tolist() == picks.id[mask][order].tolist()


@given(which=whiches)
def test_picks_are_counted_by_class(project: Project, which: Which) -> None:
    store, picks, number = project
    run = which.classes.run if which.classes is not None and which.classes.run != 2 else None
    which = replace(which, classes=ClassesOf(run, None if which.classes is None else which.classes.numbers))
    of = picks.class_id if run is None else number
    all_of, drawn = expected(project, replace(which, hidden=())), expected(project, which)
    counts = {k: (int((of[all_of] == k).sum()), int((of[drawn] == k).sum())) for k in np.unique(of[all_of]).tolist()}
    assert store.count_by_class(which) == counts


def test_a_region_is_one_condition_among_others(project: Project) -> None:
    store, picks, _ = project
    assert [region.id for region in store.regions()] == list(REGIONS)
    inside = store.particles_where(Which(regions=InRegions((1,))))
    assert 0 < len(inside) < (picks.micrograph == 1).sum()
    assert set(inside.micrograph.tolist()) == {1}
    assert store.count(Which(regions=InRegions((4,)))) == 0, "a dismissed region holds nothing"


def test_more_ids_than_a_statement_takes(project: Project) -> None:
    store, picks, _ = project
    ids = tuple(range(40_000, 0, -1))
    everywhere = Which(ids=ids, removed=True)
    assert store.particles_where(everywhere).id.tolist() == picks.id.tolist()
    assert store.counts(everywhere, Which(ids=ids)) == (N, (picks.micrograph != REMOVED).sum())
