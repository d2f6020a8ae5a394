"""2D classification: the polar transform, planted views, and bad input."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, rotate, shift

from cryoppp_annotator.classify import engine, metrics, selection
from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.imaging import polar
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.session.classes import summary_files

BOX = 40


def views(n: int = 3) -> np.ndarray:
    """Smooth asymmetric objects, well inside the box."""
    rng = np.random.default_rng(5)
    yy, xx = np.indices((BOX, BOX)) - BOX // 2
    made = []
    for _ in range(n):
        image = gaussian_filter(rng.normal(size=(BOX, BOX)), 2.0) * np.exp(-((np.hypot(yy, xx) / 12.0) ** 4))
        image = np.maximum(image, 0.0) * (1.0 + xx / 30.0)
        made.append(image / image.std())
    return np.stack(made)


def planted(n: int, noise: float, junk: float = 0.0, seed: int = 0, n_views: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    library = views(n_views)
    truth = rng.integers(0, len(library), n)
    truth[rng.random(n) < junk] = -1
    stack = rng.normal(0.0, noise, (n, BOX, BOX)).astype(np.float32)
    for i, view in enumerate(truth):
        if view >= 0:
            turned = rotate(library[view], rng.uniform(0, 360), reshape=False, order=3)
            stack[i] += shift(turned, rng.uniform(-2, 2, 2), order=3)
    return stack, truth


def nmi(a: np.ndarray, b: np.ndarray) -> float:
    table = np.array([[np.mean((a == i) & (b == j)) for j in np.unique(b)] for i in np.unique(a)])
    pa, pb = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    seen = table > 0
    mutual = (table[seen] * np.log((table / (pa @ pb))[seen])).sum()
    return float(mutual / (-0.5 * (pa * np.log(pa)).sum() - 0.5 * (pb * np.log(pb)).sum()))


# -- the polar transform ---------------------------------------------------------------------------------------------


def grid(rings: int = 12) -> polar.PolarGrid:
    return polar.PolarGrid(BOX, rings, polar.angles_needed(rings, BOX, 16.0))


def test_coefficients_draw_the_image_they_are_of() -> None:
    image = gaussian_filter(views(1)[0], 2.0)[None].astype(np.float32)
    fine = grid(19)
    back = polar.from_polar(polar.to_polar(image, fine), fine)[0]
    # the zero frequency is left out, so that the mean of the object within the box is not known
    yy, xx = np.indices((BOX, BOX)) - BOX // 2
    inside = np.hypot(yy, xx) < 15
    assert np.corrcoef(back[inside], image[0][inside])[0, 1] > 0.99


@given(turns=st.integers(0, 3))
def test_a_quarter_turn_is_a_phase(turns: int) -> None:
    g = polar.PolarGrid(BOX, 10, 48)
    image = np.zeros((1, BOX, BOX), np.float32)
    image[0, 1:, 1:] = gaussian_filter(np.random.default_rng(0).normal(size=(BOX - 1, BOX - 1)), 1.5)
    turned = image.copy()
    turned[0, 1:, 1:] = np.rot90(image[0, 1:, 1:], -turns)  # from x towards y, row 0 first; pixel box // 2 stays
    expected = polar.to_polar(image, g) * np.exp(-1j * np.pi / 2 * turns * np.arange(g.n_orders))[:, None, None]
    np.testing.assert_allclose(polar.to_polar(turned, g), expected, atol=2e-5 * np.abs(expected).max())


@given(angle=st.floats(0.0, 360.0))
@settings(max_examples=15)
def test_the_table_finds_any_rotation(angle: float) -> None:
    g = grid()
    image = views(1)[0]
    both = np.stack([image, rotate(image, -angle, reshape=False, order=3)]).astype(np.float32)
    x = polar.to_polar(both, g)
    product = np.einsum("mr,mr,r->m", np.conj(x[:, 1]), x[:, 0], g.radii)
    score = polar.rotation_table(g.n_orders, g.n_angles) @ np.concatenate([product.real, product.imag])
    measured = 360.0 / g.n_angles * score.argmax()
    # scipy turns about (box - 1) / 2 and we about box // 2: half a pixel aside, which costs no angle
    assert abs((measured - angle + 180.0) % 360.0 - 180.0) <= 1.5 * 360.0 / g.n_angles


@given(dy=st.integers(-3, 3), dx=st.integers(-3, 3))
@settings(max_examples=15)
def test_a_shift_of_coefficients_is_a_shift_of_the_image(dy: int, dx: int) -> None:
    g = polar.PolarGrid(BOX, 10, 96)
    image = np.zeros((1, BOX, BOX), np.float32)
    image[0, 10:30, 10:30] = gaussian_filter(np.random.default_rng(1).normal(size=(20, 20)), 1.0)
    moved = polar.shift_references(polar.to_polar(image, g), np.array([[dy, dx]], np.float32), g)[:, :, 0]
    expected = polar.to_polar(np.roll(image, (dy, dx), axis=(1, 2)), g)
    np.testing.assert_allclose(moved, expected, atol=1e-4 * np.abs(expected).max())


def test_moving_back_is_the_adjoint() -> None:
    g = grid(8)
    rng = np.random.default_rng(0)
    a, b = (polar.to_polar(rng.normal(size=(2, BOX, BOX)).astype(np.float32), g) for _ in range(2))
    moves = np.array([[0, 0], [1, 2], [-1.5, 0.5]], np.float32)

    def dot(x: np.ndarray, y: np.ndarray) -> float:
        product = (np.conj(x) * y).real
        return float(2.0 * product.sum() - product[0].sum())

    there = polar.shift_references(a, moves, g)
    spread = np.repeat(b[:, :, None], 3, axis=2)
    back = polar.shift_references(spread, moves, g, back=True)
    assert dot(there, spread) == pytest.approx(dot(a, back), rel=1e-2)


# -- the engine ------------------------------------------------------------------------------------------------------


def run(stack: np.ndarray, k: int, seed: int = 0, **more: object) -> engine.Classification:
    ready = engine.prepare(stack, max_rings=14)
    return engine.classify(ready, engine.ClassifyOptions(k, max_rings=14), context=JobContext(seed=seed), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def easy() -> tuple[np.ndarray, np.ndarray, engine.Classification]:
    stack, truth = planted(240, 1.2, junk=0.2)
    return stack, truth, run(stack, 7)


def test_planted_views_are_recovered(easy: tuple[np.ndarray, np.ndarray, engine.Classification]) -> None:
    _, truth, result = easy
    real = truth >= 0
    assert nmi(truth[real], result.label[real]) > 0.7
    junk = [c for c in np.unique(result.label) if (~real[result.label == c]).mean() > 0.5]
    rejected = np.isin(result.label, junk)
    assert (rejected & ~real).sum() >= 0.8 * (~real).sum()
    assert (rejected & real).sum() <= 0.05 * real.sum()
    np.testing.assert_allclose(result.posterior.sum(axis=1), 1.0, atol=1e-4)


def test_metrics_suggest_views_and_refuse_the_rest(
    easy: tuple[np.ndarray, np.ndarray, engine.Classification],
) -> None:
    _, truth, result = easy
    measures = metrics.measure(result, 4.0)
    assert sum(item.count for item in measures) == len(truth)
    kept = np.isin(result.label, [m.column for m in measures if selection.suggest(m) is selection.Suggestion.ACCEPT])
    assert (kept & (truth >= 0)).sum() >= 0.9 * (truth >= 0).sum()
    assert (kept & (truth < 0)).sum() <= 0.2 * (truth < 0).sum()
    assert [item.kind for item in measures[-2:]] == [metrics.Kind.EMPTY, metrics.Kind.OUTLIER]
    assert all(item.resolution_A >= BOX * 4.0 / 14 for item in measures if item.resolution_A == item.resolution_A)
    assert "look like particles" in summary_files.verdict(measures)


def test_the_same_seed_gives_the_same_classes(easy: tuple[np.ndarray, np.ndarray, engine.Classification]) -> None:
    stack, _, result = easy
    again = run(stack, 7)
    np.testing.assert_array_equal(again.label, result.label)
    np.testing.assert_array_equal(again.model.orders, result.model.orders)


def test_a_warm_start_keeps_the_classes(easy: tuple[np.ndarray, np.ndarray, engine.Classification]) -> None:
    stack, _, result = easy
    calls: list[engine.ClassModel] = []
    again = run(stack[: len(stack) * 19 // 20], 7, start=result.model, on_averages=calls.append)
    assert nmi(again.label, result.label[: len(again.label)]) > 0.8
    assert len(calls) < 8
    assert calls[0].images().shape == (5, BOX, BOX)


def test_a_subset_comes_first_and_the_rest_is_assigned() -> None:
    stack, truth = planted(600, 1.2)
    ready = engine.prepare(stack, max_rings=12)
    result = engine.classify(ready, engine.ClassifyOptions(4, subset=250))
    assert (result.label >= 0).all()
    assert nmi(truth, result.label) > 0.6


def test_offsets_point_to_the_particle() -> None:
    """The centre found is the planted one, up to the average's own centre."""
    rng = np.random.default_rng(2)
    view = views(1)[0]
    moves = rng.uniform(-2.5, 2.5, (80, 2))
    stack = np.stack([shift(view, move, order=3) for move in moves]) + rng.normal(0, 0.4, (80, BOX, BOX))
    ready = engine.prepare(stack.astype(np.float32), max_rings=14)
    result = engine.classify(ready, engine.ClassifyOptions(1))
    offsets = result.offset_px - result.offset_px.mean(axis=0)
    error = offsets - (moves - moves.mean(axis=0))
    assert np.sqrt((error**2).mean()) < 0.7


def test_cancel_is_heard_within_a_second() -> None:
    stack, _ = planted(600, 1.0)
    ready = engine.prepare(stack)
    stop = threading.Event()
    cancelled_at: list[float] = []

    def on_model(_model: engine.ClassModel) -> None:
        if not stop.is_set():
            stop.set()
            cancelled_at.append(time.process_time())  # of this process

    with pytest.raises(Cancelled):
        engine.classify(
            ready, engine.ClassifyOptions(12), on_averages=on_model, context=JobContext(is_cancelled=stop.is_set)
        )
    assert time.process_time() - cancelled_at[0] < 2.0  # two cores


def test_images_that_cannot_be_used_are_left_out() -> None:
    stack, _ = planted(60, 1.0)
    stack[3, 5, 5] = np.nan
    stack[10] = 7.0
    stack[20] = 0.0
    stack[21] = np.inf
    result = run(stack, 2)
    assert np.flatnonzero(result.label < 0).tolist() == [3, 10, 20, 21]
    assert np.isfinite(result.model.orders).all()
    assert not result.posterior[[3, 10, 20, 21]].any()


def test_rows_after_the_last_usable_image_are_counted() -> None:
    stack, _ = planted(40, 1.0)
    stack[-1] = np.nan
    assert len(run(stack, 2).label) == 40


def test_more_classes_than_particles_allow() -> None:
    stack, _ = planted(30, 1.0)
    result = run(stack, 50)
    assert result.posterior.shape[1] == 6  # four averages; the two models take the rest
    assert "too few" in result.notes[0]


@pytest.mark.parametrize(
    "stack", [np.zeros((20, BOX, BOX)), np.zeros((3, BOX, BOX)), np.zeros((20, 40, 38)), np.zeros(5)]
)
def test_a_stack_that_cannot_be_classified_says_why(stack: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r"expected|too few"):
        engine.prepare(stack)
