"""Verdicts on planted particles: who is one, in which pose, and what is wrong with the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import PIXEL_A, Planted, auc, plant

from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.reconstruct import poses
from cryoppp_annotator.reconstruct.prepared_boxes import Stack
from cryoppp_annotator.reconstruct.verdict import MatchOptions, Verdicts, judge


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(240, snr=0.6)


@pytest.fixture(scope="module")
def verdicts(planted: Planted) -> Verdicts:
    return judge(planted.stack, planted.volume, PIXEL_A)


def test_particles_are_told_from_junk(planted: Planted, verdicts: Verdicts) -> None:
    assert auc(planted.particle, verdicts.log_odds) > 0.97
    assert ((verdicts.log_odds > 0) == planted.particle).mean() > 0.9
    assert verdicts.scale == 1.0
    assert not verdicts.inverted
    assert not verdicts.notes


def test_poses_and_shifts_are_the_planted_ones(planted: Planted, verdicts: Verdicts) -> None:
    right = planted.particle
    error = poses.distance_deg(verdicts.matrices[:, 0], planted.matrices)[right]
    assert np.median(error) < 5.0
    near = right & (poses.distance_deg(verdicts.matrices[:, 0], planted.matrices) < 10)
    assert np.median(np.abs(verdicts.shifts[near, 0] - planted.shifts[near])) < 0.35
    angles = poses.to_matrix(verdicts.angles_deg)
    assert np.allclose(angles, verdicts.matrices[:, 0], atol=1e-5)


def test_the_expected_error_is_the_error(planted: Planted, verdicts: Verdicts) -> None:
    sure = planted.particle & (verdicts.error_deg < 10)
    error = poses.distance_deg(verdicts.matrices[:, 0], planted.matrices)
    assert sure.sum() > 80
    assert np.median(error[sure]) < 2.0 * np.median(verdicts.error_deg[sure])
    assert (error[sure] < 30).mean() > 0.9


@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_a_wrong_pixel_size_of_the_map_is_said(planted: Planted, factor: float) -> None:
    wrong = judge(planted.stack, planted.volume, PIXEL_A * factor)
    assert wrong.scale == pytest.approx(1 / factor, rel=0.06)
    assert "pixel" in " ".join(wrong.notes)
    assert auc(planted.particle, wrong.log_odds) > 0.95


def test_dark_particles_are_noticed(planted: Planted) -> None:
    dark = replace(planted.stack, images=-planted.stack.images)
    verdicts = judge(dark, planted.volume, PIXEL_A)
    assert verdicts.inverted
    assert "contrast" in " ".join(verdicts.notes)
    assert auc(planted.particle, verdicts.log_odds) > 0.95


def test_symmetric_poses_are_found_up_to_the_symmetry() -> None:
    planted = plant(160, snr=0.6, name="D2")
    verdicts = judge(planted.stack, planted.volume, PIXEL_A, MatchOptions("D2", check_scale=False))
    error = poses.distance_deg(verdicts.matrices[:, 0], planted.matrices, "D2")[planted.particle]
    assert np.median(error) < 6.0
    assert auc(planted.particle, verdicts.log_odds) > 0.95


def test_noise_is_no_particle() -> None:
    planted = plant(200)
    noise = np.random.default_rng(5).normal(size=planted.stack.images.shape).astype(np.float32)
    verdicts = judge(replace(planted.stack, images=noise), planted.volume, PIXEL_A, MatchOptions(check_scale=False))
    assert (verdicts.log_odds > 0).mean() < 0.2


def test_boxes_that_cannot_be_used_have_no_verdict(planted: Planted, verdicts: Verdicts) -> None:
    images = planted.stack.images.copy()
    images[3], images[7] = np.nan, 0.0
    odd = judge(replace(planted.stack, images=images), planted.volume, PIXEL_A, MatchOptions(check_scale=False))
    assert np.isnan(odd.log_odds[[3, 7]]).all()
    assert (odd.probability[[3, 7]] == 0).all()
    assert np.isfinite(np.delete(odd.log_odds, [3, 7])).all()
    assert "2 boxes" in " ".join(odd.notes)


def test_the_same_seed_gives_the_same_verdicts(planted: Planted) -> None:
    small = planted.stack.take(np.arange(60))
    options = MatchOptions(check_scale=False)
    once, again = (judge(small, planted.volume, PIXEL_A, options, context=JobContext(seed=3)) for _ in range(2))
    assert np.array_equal(once.log_odds, again.log_odds)
    assert np.array_equal(once.matrices, again.matrices)


def test_first_results_come_before_the_end_and_a_cancel_stops(planted: Planted) -> None:
    seen: list[int] = []
    stopped = JobContext(is_cancelled=lambda: bool(seen))
    with pytest.raises(Cancelled):
        judge(
            planted.stack,
            planted.volume,
            PIXEL_A,
            MatchOptions(check_scale=False),
            on_results=lambda rows, odds: seen.append(len(rows)),
            context=stopped,
        )
    assert seen


@pytest.mark.parametrize(
    ("stack", "problem"),
    [
        (Stack(np.zeros((20, 32, 24), np.float32), 4.0, np.full((20, 3), np.nan)), "square"),
        (Stack(np.zeros((20, 32, 32), np.float32), 4.0, np.full((20, 3), np.nan)), "usable"),
        (Stack(np.zeros((20, 32, 32), np.float32), 0.0, np.full((20, 3), np.nan)), "pixel size"),
        (Stack(np.zeros((20, 32, 32), np.float32), 4.0, np.full((19, 3), np.nan)), "defocus"),
    ],
)
def test_what_is_no_stack_is_refused(planted: Planted, stack: Stack, problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        judge(stack, planted.volume, PIXEL_A)
