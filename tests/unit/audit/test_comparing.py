"""Figures of a comparison, worked out by hand and by planting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.audit.comparing import TwoSets, agreement, by_edge, by_score, compare_sets, kappa

NOTHING = np.zeros((0, 2))


def two_sets(seed: int, shift: tuple[float, float] = (0.0, 0.0), spread: float = 0.0) -> TwoSets:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(20.0, 1000, 60), np.arange(20.0, 1000, 60)), -1).reshape(-1, 2)
    reference = grid[rng.random(len(grid)) < 0.8]
    there = reference[rng.random(len(reference)) < 0.7]
    other = np.concatenate([there + shift + rng.normal(0, spread, there.shape), rng.uniform(0, 1000, (9, 2))])
    return compare_sets(f"m{seed}", (1000, 1000), 40.0, reference, other, rng.random(len(other)), 0.3)


def test_kappa_by_hand() -> None:
    # 20 of 50 both, 5 and 10 alone, 15 neither: Wikipedia's example, read as two judges
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)
    assert math.isnan(kappa(20, 5, 10, 0))
    assert kappa(20, 0, 0, 5) == pytest.approx(1.0)


def test_a_shift_and_a_spread_that_were_planted_come_out() -> None:
    figures = agreement([two_sets(seed, (3.0, -2.0), 1.5) for seed in range(4)])
    assert figures.shift_x == pytest.approx(3.0, abs=4 * figures.shift_error)
    assert figures.shift_y == pytest.approx(-2.0, abs=4 * figures.shift_error)
    assert figures.spread == pytest.approx(1.5, rel=0.15)


@given(st.integers(0, 50))
def test_parts_make_the_whole(seed: int) -> None:
    one = two_sets(seed, (1.0, 0.0), 2.0)
    whole = agreement([one])
    assert whole.only_reference + whole.quality.matched == len(one.reference)
    assert whole.only_other + whole.quality.matched == len(one.other)
    for parts in (by_edge([one]), by_score([one])):
        assert sum(part.other for part in parts) == len(one.other)
        assert sum(part.matched for part in parts) == whole.quality.matched
    assert sum(part.reference for part in by_edge([one])) == len(one.reference)


def test_what_both_refused_counts_once() -> None:
    reference, other = np.array([[10.0, 10.0], [50.0, 50.0]]), np.array([[11.0, 10.0]])
    # the first was refused by both; the second by the reference alone, the third lies on a pick of the reference
    refused = (np.array([[80.0, 80.0], [20.0, 80.0]]), np.array([[81.0, 80.0], [50.0, 51.0]]))
    one = compare_sets("m", (100, 100), 10.0, reference, other, np.ones(1), 0.3, refused=refused)
    assert one.n_neither == 2
    assert agreement([one]).kappa == pytest.approx(kappa(1, 1, 0, 2))


def test_nothing_on_either_side() -> None:
    one = compare_sets("m", (10, 10), 4.0, NOTHING, NOTHING, np.zeros(0), 0.3)
    figures = agreement([one])
    assert figures.quality.f1 == 1.0
    assert math.isnan(figures.spread)
    assert by_score([one]) == []
    assert all(math.isnan(part.recall) for part in by_edge([one]))
