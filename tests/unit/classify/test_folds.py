"""The search among many averages: centres, the choice of those that go on, and particles compared with others only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.ndimage import gaussian_filter, shift
from test_classify import BOX, nmi, planted, run, views

from cryoppp_annotator.classify import engine
from cryoppp_annotator.classify.centring import envelope_centres, moved
from cryoppp_annotator.classify.folds import Folds, best_together
from cryoppp_annotator.imaging.polar import PolarGrid, angles_needed, to_polar


def test_coefficients_of_an_image_move_as_the_image_does() -> None:
    grid = PolarGrid(BOX, 10, angles_needed(10, BOX, 18.0))
    image = np.zeros((2, BOX, BOX), np.float32)
    image[:, 12:28, 12:28] = gaussian_filter(np.random.default_rng(1).normal(size=(16, 16)), 1.0)
    offsets = np.array([[2.0, -1.0], [-3.0, 0.0]], np.float32)
    expected = to_polar(np.stack([np.roll(image[0], (2, -1), (0, 1)), np.roll(image[1], (-3, 0), (0, 1))]), grid)
    np.testing.assert_allclose(
        moved(to_polar(image, grid), offsets, grid), expected, atol=0.02 * np.abs(expected).max()
    )


def test_the_envelope_gives_centres() -> None:
    rng = np.random.default_rng(0)
    yy, xx = np.indices((BOX, BOX)) - BOX // 2
    ball = np.clip(10.0 - np.hypot(yy, xx), 0.0, 1.0) * 4.0
    offsets = rng.uniform(-3.0, 3.0, (60, 2))
    stack = np.stack([shift(ball, by, order=1) for by in offsets]) + rng.normal(size=(60, BOX, BOX))
    ready = engine.prepare(stack.astype(np.float32), max_rings=10)
    centres = envelope_centres(ready.particles, ready.grid, ready.dof, 4.0)
    error = centres - centres.mean(axis=0) - (offsets - offsets.mean(axis=0))
    assert np.sqrt((error**2).mean()) < 0.5


def test_averages_that_explain_different_particles_go_on() -> None:
    """Two that are best alone but explain the same lose to two that are good together."""
    likelihood = np.full((30, 4), 1e-3)
    likelihood[:20, 0] = likelihood[:20, 1] = 2.0
    likelihood[20:, 2] = 1.0
    likelihood[:5, 3] = 1.0
    assert 2 in best_together(likelihood, np.full(30, 1e-3), 2)


def test_noise_gains_nothing_from_averages_it_is_no_part_of() -> None:
    """Compared with averages that hold them, images of noise alone gain evidence with every iteration."""
    noise = np.random.default_rng(3).normal(size=(200, BOX, BOX)).astype(np.float32)
    ready = engine.prepare(noise, max_rings=8)
    folds = Folds.of(ready.particles, ready.grid, ready.dof, 3.0)
    model = engine.first_model(folds.whole(), ready.grid, 4, True, np.random.default_rng(0))
    folds.models = [folds.seeds(folds.measure_spectrum(model, ready.mask_radius), 4, np.random.default_rng(0))] * 4
    with ThreadPoolExecutor(1) as pool:
        for _ in range(6):
            folds.step(8, pool)
    evidence = np.concatenate([item.evidence for item in folds.assignments])
    assert np.median(evidence) < 1.0


def test_views_without_noise_are_all_found() -> None:
    """Outliers that outweigh the noise for a while must not take it below nothing."""
    stack, truth = planted(200, 0.05, junk=0.2)
    result = run(stack, 8)
    real = truth >= 0
    assert len(views()) == 3
    assert nmi(truth[real], result.label[real]) > 0.5
    assert np.isfinite(result.evidence).all()
