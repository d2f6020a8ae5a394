from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryoppp_annotator.picking.evaluate import precision_recall, quality
from cryoppp_annotator.picking.matching import Matches, match


def points(most: int = 30) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, most).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.floats(0, 60, width=32)))


def matched(picks: np.ndarray, truth: np.ndarray, score: np.ndarray, tolerance: float) -> Matches:
    return match(picks[:, 0], picks[:, 1], score, truth[:, 0], truth[:, 1], tolerance)


@given(points())
def test_the_truth_itself_is_perfect(truth: np.ndarray) -> None:
    figures = quality([matched(truth, truth, np.ones(len(truth)), 1e-3)])
    assert (figures.precision, figures.recall, figures.f1) == (1.0, 1.0, 1.0)
    assert figures.centring_error_px == 0 or not len(truth)


def test_figures_worked_out_by_hand() -> None:
    hit = np.array([True, False, True, True, False])
    score = np.array([5.0, 4.0, 3.0, 3.0, 1.0])
    threshold, precision, recall = precision_recall(hit, score, 4)
    assert threshold.tolist() == [5, 4, 3, 1]
    assert precision.tolist() == pytest.approx([1, 1 / 2, 3 / 4, 3 / 5])
    assert recall.tolist() == [0.25, 0.25, 0.75, 0.75]
    truth_of = np.where(hit, np.cumsum(hit) - 1, -1)
    figures = quality([Matches("m", truth_of, np.where(hit, 2.0, np.nan), score, 4)])
    assert figures.average_precision == pytest.approx(0.25 * 1 + 0.5 * 0.75)
    assert (figures.best_threshold, figures.best_f1) == (3.0, pytest.approx(0.75))
    assert (figures.precision, figures.recall) == (0.6, 0.75)
    assert figures.centring_error_px == 2.0


def test_picks_without_a_score_or_a_place_are_no_error() -> None:
    truth = np.array([[1.0, 1.0], [9.0, 9.0], [np.nan, 0.0]])
    picks = np.array([[1.0, 1.0], [np.nan, 2.0], [9.0, 9.0]])
    figures = quality([matched(picks, truth, np.full(3, np.nan), 1.0)])
    assert (figures.matched, figures.picks, figures.truth) == (2, 3, 3)
    assert math.isnan(figures.average_precision)
    assert math.isnan(figures.best_threshold)


def test_nothing_at_all() -> None:
    nothing = np.zeros((0, 2))
    assert quality([]).f1 == 1.0
    assert quality([matched(nothing, nothing, np.zeros(0), 1.0)]).precision == 1.0
    missed = quality([matched(nothing, np.ones((2, 2)), np.zeros(0), 1.0)])
    assert (missed.precision, missed.recall, missed.f1) == (0.0, 0.0, 0.0)


def test_all_micrographs_share_one_threshold() -> None:
    good = Matches("a", np.array([0, -1]), np.array([1.0, np.nan]), np.array([9.0, 8.0]), 1)
    other = Matches("b", np.array([0, -1]), np.array([1.0, np.nan]), np.array([2.0, 1.0]), 1)
    both = quality([good, other])
    assert both.best_f1 == pytest.approx(0.8)
    assert (quality([good]).best_f1, quality([other]).best_f1) == (1.0, 1.0)
