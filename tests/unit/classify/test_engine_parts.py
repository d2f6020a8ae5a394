"""The classification's parts: partitions and their sums, other array libraries, stacks that are not held, verdicts."""

from __future__ import annotations

import pickle
from functools import reduce
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from test_classify import BOX, nmi, planted

from cryoppp_annotator.classify import engine, metrics, selection
from cryoppp_annotator.classify.expectation import References, Sums, expectation
from cryoppp_annotator.classify.grids import shift_grid, stage_grid
from cryoppp_annotator.classify.iteration import split
from cryoppp_annotator.classify.prepared import prepare
from cryoppp_annotator.imaging.polar import PolarGrid
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.session.classes import summary_files


def references(ready: engine.Prepared, k: int = 3) -> tuple[References, PolarGrid]:
    """Single particles to compare with, on a coarse grid."""
    model = engine.first_model(ready.particles, ready.grid, k, True, np.random.default_rng(0))
    grid = stage_grid(model.grid, 6)
    shifts, log_shift = shift_grid(2.0, 1.0)
    orders = np.ascontiguousarray(model.orders[: grid.n_orders, :, :6])
    share = np.log(model.share).astype(np.float32)
    return References(orders, share, model.noise[:6], model.outlier[:6], shifts, log_shift, ready.dof), grid


def assert_same(sums: Sums, expected: Sums, rtol: float = 1e-4) -> None:
    for name in Sums.__dataclass_fields__:
        want = np.asarray(getattr(expected, name))
        np.testing.assert_allclose(getattr(sums, name), want, atol=rtol * max(1e-9, float(np.abs(want).max())))


def test_sums_of_partitions_add_up_to_the_sum_of_all() -> None:
    """What workers of a cluster do: partitions and references travel, only sums come back."""
    ready = prepare(planted(90, 1.0)[0], max_rings=8)
    compared, grid = references(ready)
    posted = [pickle.dumps((part, compared, grid)) for part in split(ready.particles)]
    returned = [pickle.loads(pickle.dumps(expectation(*pickle.loads(letter)))) for letter in posted]
    assert len(returned) == 4
    assert_same(reduce(lambda a, b: a + b, returned), expectation(ready.particles, compared, grid))


def test_another_array_library_gives_the_same_sums() -> None:
    ready = prepare(planted(40, 1.0)[0], max_rings=8)
    compared, grid = references(ready)
    part = ready.particles
    foreign = part.to(array_api_strict)
    assert not isinstance(foreign.orders, np.ndarray)
    assert_same(expectation(foreign, compared, grid), expectation(part, compared, grid), rtol=1e-6)


def test_a_mapped_stack_that_is_not_held_gives_the_same_classes(tmp_path: Path) -> None:
    stack, _ = planted(200, 1.2)
    stack[7, 3, 3] = np.nan
    np.save(tmp_path / "stack.npy", stack)
    mapped = np.load(tmp_path / "stack.npy", mmap_mode="r")
    settings = engine.ClassifyOptions(3, max_rings=10)
    held = engine.classify(prepare(stack, max_rings=10), settings)
    ready = prepare(mapped, max_rings=10, hold=50)
    assert ready.held is None
    read = engine.classify(ready, settings)
    # the partitions differ, so that sums are rounded differently
    assert (read.label == held.label).mean() > 0.95
    assert read.label[7] == held.label[7] == -1


class Slices:
    """A stack that can be read in slices only, as boxes on disk."""

    def __init__(self, stack: np.ndarray) -> None:
        self._stack, self.shape, self.ndim = stack, stack.shape, 3

    def __len__(self) -> int:
        return len(self._stack)

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice)
        return self._stack[rows]


def test_a_stack_that_knows_slices_only_is_read() -> None:
    stack, _ = planted(120, 1.0)
    whole = prepare(stack, max_rings=8)
    ready = prepare(Slices(stack), max_rings=8, hold=0)  # type: ignore[arg-type]
    for rows in (np.arange(20, 60), np.array([0, 5, 119])):
        np.testing.assert_allclose(ready.load(rows).orders, whole.load(rows).orders, atol=1e-5)


def ice(n: int, sigma: float, seed: int = 0) -> np.ndarray:
    """Empty ice as a denoiser leaves it: noise without its high frequencies."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(n, BOX, BOX)), (0, sigma, sigma))
    return (noise / noise.std()).astype(np.float32)


def test_ice_that_a_denoiser_smoothed_is_no_particle() -> None:
    """Its emptied rings hold what the mask spreads there: without a floor to the noise every image repeats it."""
    particles, truth = planted(240, 0.0, junk=0.3)
    stack = ice(240, 2.0) + 1.6 * gaussian_filter(particles, (0, 1.0, 1.0))
    result = engine.classify(prepare(stack, mask_radius=0.4), engine.ClassifyOptions(8), context=JobContext(seed=1))
    measures = metrics.measure(result)
    kept = np.isin(result.label, [m.column for m in measures if selection.suggest(m) is selection.Suggestion.ACCEPT])
    assert kept[truth >= 0].mean() >= 0.9
    assert kept[truth < 0].mean() <= 0.3


@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_where_nothing_repeats_no_class_is_kept_and_the_verdict_says_it(sigma: float) -> None:
    result = engine.classify(prepare(ice(300, sigma)), engine.ClassifyOptions(8))
    measures = metrics.measure(result)
    kept = sum(m.count for m in measures if selection.suggest(m) is selection.Suggestion.ACCEPT)
    assert kept <= 30
    assert not any(np.isfinite(m.resolution_A) for m in measures)
    verdict = summary_files.verdict(measures)
    assert (
        "look like empty ice" in verdict
        or "not reliable" in verdict
        or "separated few of the picks" in verdict
        or "100 % junk" in verdict
    )
    assert selection.junk_fraction(measures) >= 0.9
    doubt = selection.doubt(measures)
    assert result.notes == ((doubt,) if doubt else ())


def test_views_in_strong_noise_do_not_fade_into_one() -> None:
    """Averages that may fade do: each fits worse than before, so that each fades more, to one round blot."""
    stack, truth = planted(400, 3.4)
    result = engine.classify(prepare(stack, max_rings=10), engine.ClassifyOptions(6, max_rings=10))
    share = np.bincount(result.label[truth >= 0], minlength=8)[:4] / len(truth)
    assert np.sort(share)[-1] < 0.7
    assert (share > 0.05).sum() >= 3


def test_support_is_lost_where_the_halves_show_different_things() -> None:
    """An average of noise agrees with its own members only, and its halves on no ring that did not align them."""
    stack, _ = planted(120, 1.0)
    noise = np.random.default_rng(0).normal(size=stack.shape).astype(np.float32)
    gained, resolved = [], []
    for images in (stack, noise):
        ready = prepare(images, max_rings=10)
        result = engine.classify(ready, engine.ClassifyOptions(3, max_rings=10))
        assert np.bincount(result.label, minlength=3)[:3].min() > 0
        gained.append((np.median(result.support), np.median(result.view_gain)))
        resolved.append([np.isfinite(metrics.resolution(frc, BOX, 1.0)) for frc in result.model.frc])
        shown = [np.isfinite(item.resolution_A) for item in metrics.measure(result)[:3]]
        assert any(shown) == (images is stack), shown
    assert gained[0][0] > 5.0
    assert gained[0][1] > 5.0
    assert gained[1][0] < 1.0
    assert any(resolved[0])
    assert not any(resolved[1])


def test_views_that_are_not_told_apart_are_called_so() -> None:
    """Round particles in strong noise: every average is the envelope that all share, and says nothing of a view."""
    rng = np.random.default_rng(2)
    yy, xx = np.indices((BOX, BOX)) - BOX // 2
    ball = np.clip(11.0 - np.hypot(yy, xx), 0.0, 1.0)
    grain = gaussian_filter(rng.normal(size=(4, BOX, BOX)), (0, 1.0, 1.0)) * ball
    stack = ball + 0.5 * grain[rng.integers(4, size=300)] + rng.normal(0.0, 1.5, (300, BOX, BOX))
    result = engine.classify(prepare(stack.astype(np.float32), max_rings=12), engine.ClassifyOptions(8))
    assert np.median(result.support) > 2.0
    assert "views are not resolved: the averages share one envelope" in " ".join(result.notes)
    assert "views are not resolved" in summary_files.verdict(metrics.measure(result))


def test_classes_do_not_collapse_where_many_are_asked_for() -> None:
    """Some forty averages of five particles each, of three views: at least half of them are used."""
    stack, truth = planted(200, 1.2)
    options = engine.ClassifyOptions(40, max_rings=8)
    result = engine.classify(prepare(stack, max_rings=8), options, context=JobContext(seed=3))
    assert len(np.unique(result.label[result.label < 38])) >= 19
    assert nmi(truth, result.label) > 0.4


def test_doubt_names_the_class_that_swallowed_all() -> None:
    def item(number: int, count: int) -> metrics.ClassMetrics:
        return metrics.ClassMetrics(number, number, metrics.Kind.STRUCTURE, count, 0.1, 20.0, 0.9, 1.0, 0.9, 12.0)

    assert "91 %" in selection.doubt([item(1, 1000), *(item(i, 33) for i in range(2, 5))])
    assert selection.doubt([item(i, 100) for i in range(1, 6)]) == ""
    assert "could be classified" in selection.doubt([])


def test_images_alone_are_judged_by_detail_compactness_and_centring() -> None:
    yy, xx = np.indices((64, 64)) - 32
    sharp = (
        gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 1.5)
        * 8
        * np.exp(-((np.hypot(yy, xx) / 14) ** 4))
    )
    sharp += 2.0 * np.exp(-((np.hypot(yy, xx) / 13) ** 4))
    edge = gaussian_filter((xx > 18).astype(float), 2.0)
    aside = np.roll(gaussian_filter(sharp, 4.0), (14, 10), axis=(0, 1))
    scores = metrics.image_quality(np.stack([sharp, edge, aside]).astype(np.float32))
    assert scores[0] > 0.5 > scores[1:].max()
    assert np.isfinite(metrics.image_quality(np.zeros((2, 64, 64), np.float32))).all()
