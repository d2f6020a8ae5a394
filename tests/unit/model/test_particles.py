"""The particles of a micrograph as columns, and what a delta makes of them."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from cryoppp_annotator.model.curation import Decision, Delta, Kind, Table
from cryoppp_annotator.model.particles import COLUMNS, Particles, apply_delta

HERE, ELSEWHERE = 3, 8


def make(ids: list[int], **columns: object) -> Particles:
    given_columns = {"micrograph": [HERE], "x": np.arange(len(ids)) * 10.0, **columns}
    return Particles.from_columns(np.array(ids, np.int64), {k: np.asarray(v) for k, v in given_columns.items()})


def rows(particles: Particles) -> list[tuple[object, ...]]:
    columns = [particles.id, *particles.columns().values()]
    return [tuple(None if v != v else v for v in row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def test_missing_columns_are_not_known() -> None:
    p = make([4, 9])
    assert np.isnan(p.score).all()
    assert np.isnan(p.diameter_A).all()
    assert p.decision.tolist() == [0, 0]
    assert {name: column.dtype for name, column in p.columns().items()} == {n: np.dtype(t) for n, t in COLUMNS.items()}


def test_rows_of_names_what_is_absent() -> None:
    p = make([2, 5, 9])
    assert p.rows_of(np.array([9, 1, 5, 10, 2, 3])).tolist() == [2, -1, 1, -1, 0, -1]
    assert Particles.empty().rows_of(np.array([1, 2])).tolist() == [-1, -1]
    assert p.rows_of(np.zeros(0, np.int64)).tolist() == []


def test_napari_gets_y_first() -> None:
    p = make([1, 2], x=[10.0, 20.0], y=[1.0, 2.0])
    assert p.yx.tolist() == [[1.0, 10.0], [2.0, 20.0]]


@st.composite
def states(draw: st.DrawFn) -> tuple[Particles, Particles]:
    """Particles of this micrograph and of another, ids mixed."""
    ids = sorted(draw(st.sets(st.integers(1, 60), max_size=30)))
    here = [i for i in ids if draw(st.booleans())]
    there = [i for i in ids if i not in here]
    x = {i: draw(st.floats(-100, 100)) for i in ids}
    return make(here, x=[x[i] for i in here]), make(there, x=[x[i] for i in there], micrograph=[ELSEWHERE])


@given(states(), st.data())
def test_a_delta_and_its_inverse_leave_all_as_it_was(state: tuple[Particles, Particles], data: st.DataObject) -> None:
    here, _ = state
    every = {i: (p, k) for p in state for k, i in enumerate(p.id.tolist())}
    kind = data.draw(st.sampled_from(list(Kind)))
    if kind is Kind.INSERT:
        ids = np.array(sorted(data.draw(st.sets(st.integers(61, 90), max_size=9))), np.int64)
        on = np.array([data.draw(st.sampled_from([HERE, ELSEWHERE])) for _ in ids], np.int64)
        new = Particles.from_columns(ids, {"micrograph": on, "decision": np.array([1], np.int8)})
        delta = Delta(Table.PARTICLE, kind, ids, {}, new.columns(), on)
        expected = rows(here) + rows(new.take(on == HERE))
    else:
        chosen = data.draw(st.permutations(sorted(data.draw(st.sets(st.sampled_from(sorted(every)))) if every else [])))
        ids = np.array(chosen, np.int64)
        on = np.array([every[i][0].micrograph[every[i][1]] for i in chosen], np.int64)
        old = [every[i][0].take([every[i][1]]) for i in chosen]
        if kind is Kind.DELETE:
            before = {name: np.array([getattr(p, name)[0] for p in old], dtype) for name, dtype in COLUMNS.items()}
            delta = Delta(Table.PARTICLE, kind, ids, before, {}, on)
            expected = [row for row in rows(here) if row[0] not in chosen]
        else:
            before = {"x": np.array([p.x[0] for p in old]), "decision": np.array([p.decision[0] for p in old], np.int8)}
            after = {"x": ids * 7.0, "decision": np.array([2], np.int8)}
            delta = Delta(Table.PARTICLE, kind, ids, before, after, on)
            changed = here.take(np.isin(here.id, ids))
            changed = Particles.from_columns(
                changed.id, {**changed.columns(), "x": changed.id * 7.0, "decision": np.array([2])}
            )
            expected = sorted([row for row in rows(here) if row[0] not in chosen] + rows(changed))
    was = rows(here)
    now = apply_delta(here, delta, HERE)
    assert rows(now) == expected
    assert rows(here) == was  # the old value is still the old value
    assert rows(apply_delta(now, delta.inverse(), HERE)) == was
    assert {name: c.dtype for name, c in now.columns().items()} == {name: c.dtype for name, c in here.columns().items()}


def test_columns_memory_does_not_hold_are_passed_over() -> None:
    delta = Delta(
        Table.PARTICLE,
        Kind.UPDATE,
        np.array([1]),
        {"extra": np.array([b"a"])},
        {"extra": np.array([b"b"])},
        np.array([HERE]),
    )
    assert rows(apply_delta(make([1]), delta, HERE)) == rows(make([1]))


def test_counting() -> None:
    p = make([1, 2, 3], decision=[1, 2, 1])
    assert [p.count(d) for d in Decision] == [0, 2, 1]
