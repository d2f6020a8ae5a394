"""The matching against brute force: the most pairs, the best scores, the least distance."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryoppp_annotator.picking.evaluate import quality
from cryoppp_annotator.picking.matching import Matches, match


def points(most: int = 30, size: float = 60) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, most).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.floats(0, size, width=32)))


def matched(picks: np.ndarray, truth: np.ndarray, score: np.ndarray, tolerance: float) -> Matches:
    return match(picks[:, 0], picks[:, 1], score, truth[:, 0], truth[:, 1], tolerance)


def by_trying_all(
    picks: np.ndarray, truth: np.ndarray, score: np.ndarray, tolerance: float
) -> tuple[list[float], float]:
    """Scores of the pairs, best first, and their total distance, of the best of all one-to-one pairings."""
    away = np.hypot(*(picks[:, None] - truth[None]).transpose(2, 0, 1)) if len(picks) and len(truth) else None
    best: tuple[int, list[float], float] = (0, [], 0.0)
    for n in range(1, min(len(picks), len(truth)) + 1):
        for some in itertools.combinations(range(len(picks)), n):
            for there in itertools.permutations(range(len(truth)), n):
                assert away is not None
                one = away[list(some), list(there)]
                if (one <= tolerance).all():
                    this = (n, sorted((float(score[i]) for i in some), reverse=True), -float(one.sum()))
                    best = max(best, this)
    return best[1], -best[2]


@settings(max_examples=150, deadline=None)
@given(points(5, 12), points(5, 12), st.floats(0.5, 9), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_no_other_pairing_is_better(picks: np.ndarray, truth: np.ndarray, tolerance: float, levels: list[int]) -> None:
    score = np.array(levels[: len(picks)], float)
    pairs = matched(picks, truth, score, tolerance)
    scores, total = by_trying_all(picks, truth, score, tolerance)
    assert sorted(score[pairs.hit].tolist(), reverse=True) == scores
    assert np.isclose(pairs.distance[pairs.hit].sum(), total, atol=1e-6)


@given(points(), points(), st.floats(0.1, 20))
def test_one_pick_for_one_particle_within_the_tolerance(picks: np.ndarray, truth: np.ndarray, tolerance: float) -> None:
    score = np.arange(len(picks), dtype=float)[::-1]
    pairs = matched(picks, truth, score, tolerance)
    used = pairs.truth_of[pairs.hit]
    assert len(set(used.tolist())) == len(used)
    away = np.hypot(*(picks[pairs.hit] - truth[used]).T)
    assert np.allclose(away, pairs.distance[pairs.hit])
    assert (away <= tolerance * (1 + 1e-9)).all()
    # nothing that could still be matched is left
    free = np.setdiff1d(np.arange(len(truth)), used)
    for row in np.flatnonzero(~pairs.hit):
        assert (np.hypot(*(truth[free] - picks[row]).T) > tolerance * (1 - 1e-9)).all()
    figures = quality([pairs])
    assert 0 <= figures.precision <= 1
    assert 0 <= figures.recall <= 1
    assert figures.matched == len(used)


@given(points(), points(), st.floats(0.1, 20))
def test_what_lies_below_a_threshold_changes_nothing_above_it(
    picks: np.ndarray, truth: np.ndarray, tolerance: float
) -> None:
    score = np.arange(len(picks), dtype=float)[::-1]
    half = len(picks) // 2
    whole = matched(picks, truth, score, tolerance)
    upper = matched(picks[:half], truth, score[:half], tolerance)
    assert np.array_equal(whole.hit[:half], upper.hit)


def test_one_that_is_nearer_to_both_does_not_take_the_only_partner_of_another() -> None:
    # nearest first would pair (1, 0) with (1, 0) and leave (0, 0) alone, or the other way round
    picks, truth = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [3.5, 0.0]])
    for score in ([2.0, 1.0], [1.0, 2.0], [np.nan, np.nan]):
        assert matched(picks, truth, np.array(score), 3.0).truth_of.tolist() == [0, 1]


def test_of_two_picks_on_one_particle_the_better_score_has_it() -> None:
    picks, truth = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0]])
    assert matched(picks, truth, np.array([2.0, 1.0]), 3.0).truth_of.tolist() == [0, -1]
    assert matched(picks, truth, np.array([2.0, 2.0]), 3.0).truth_of.tolist() == [-1, 0]


def test_a_thousand_picks_in_one_crowd() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (1000, 2))
    pairs = matched(truth + rng.normal(0, 0.2, truth.shape), truth, rng.random(1000), 12.0)
    assert pairs.hit.all()
    assert np.median(pairs.distance) < 0.4
