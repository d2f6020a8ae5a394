"""Boxes around picks: placed to a fraction of a pixel, levelled, white."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryoppp_annotator.imaging import patches
from cryoppp_annotator.imaging.ctf import Defocus, Optics
from cryoppp_annotator.imaging.patches import Edge, PatchOptions, extract_patches


def micrograph(spots: list[tuple[float, float]], shape: tuple[int, int] = (200, 240)) -> np.ndarray:
    """Dark Gaussian spots at (x, y) on a ramp with a little noise."""
    yy, xx = np.indices(shape)
    image = 50.0 + 0.05 * xx - 0.03 * yy + np.random.default_rng(0).normal(0, 0.01, shape)
    for x, y in spots:
        image -= 5.0 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 3.0**2))
    return image.astype(np.float32)


def centre_of(patch: np.ndarray) -> tuple[float, float]:
    yy, xx = np.indices(patch.shape)
    mass = np.where(patch > 0.3 * patch.max(), patch, 0.0)
    return float((mass * xx).sum() / mass.sum()), float((mass * yy).sum() / mass.sum())


@given(x=st.floats(60, 180), y=st.floats(60, 140), out=st.sampled_from([32, 48, 64]))
@example(x=60.4921875, y=60.0, out=64)
@settings(max_examples=30)
def test_a_spot_comes_to_lie_in_the_middle(x: float, y: float, out: int) -> None:
    patches, rows = extract_patches(micrograph([(x, y)]), np.array([x]), np.array([y]), PatchOptions(64, out))
    assert rows.tolist() == [0]
    assert patches.shape == (1, out, out)
    assert centre_of(patches[0]) == pytest.approx((out // 2, out // 2), abs=0.05)


@pytest.mark.parametrize(("x", "y"), [(32.0, 32.0), (207.0, 167.0), (32.4, 167.4)])
def test_a_box_that_just_fits_is_exact(x: float, y: float) -> None:
    patches, _ = extract_patches(micrograph([(x, y)]), np.array([x]), np.array([y]), PatchOptions(64, 64))
    assert centre_of(patches[0]) == pytest.approx((32, 32), abs=0.05)


def test_boxes_beyond_the_edge_are_skipped_or_padded() -> None:
    image = micrograph([(10.25, 100.0), (120.0, 100.0)])
    x, y = np.array([10.25, 120.0, 500.0, np.nan]), np.full(4, 100.0)
    _, rows = extract_patches(image, x, y, PatchOptions(64, 64))
    assert rows.tolist() == [1]
    patches, rows = extract_patches(image, x, y, PatchOptions(64, 64, Edge.PAD))
    assert rows.tolist() == [0, 1]
    assert centre_of(patches[0]) == pytest.approx((32, 32), abs=0.1)


def test_background_is_level_and_normal_and_particles_are_white() -> None:
    patches, _ = extract_patches(micrograph([(100, 100)]), np.array([100.0]), np.array([100.0]), PatchOptions(64, 64))
    yy, xx = np.indices((64, 64)) - 32
    outside = np.hypot(yy, xx) > 0.375 * 64
    assert patches[0][outside].mean() == pytest.approx(0, abs=1e-3)
    assert patches[0][outside].std() == pytest.approx(1, abs=1e-3)
    assert abs(np.corrcoef(patches[0][outside], xx[outside])[0, 1]) < 1e-3
    assert patches[0][32, 32] > 10
    white, _ = extract_patches(
        -micrograph([(100, 100)]), np.array([100.0]), np.array([100.0]), PatchOptions(64, 64, invert=False)
    )
    np.testing.assert_allclose(white, patches, atol=1e-2)


def test_nan_and_constant_boxes_are_left_out() -> None:
    image = micrograph([(60, 60), (150, 60)])
    image[60, 60] = np.nan
    image[90:170, 20:100] = 3.0
    x, y = np.array([60.0, 150.0, 60.0]), np.array([60.0, 60.0, 130.0])
    patches, rows = extract_patches(image, x, y, PatchOptions(48, 48))
    assert rows.tolist() == [1]
    assert np.isfinite(patches).all()


def test_integers_and_many_batches() -> None:
    image = np.random.default_rng(0).integers(0, 255, (150, 150)).astype(np.uint8)
    x = np.full(600, 75.0)
    patches, rows = extract_patches(image, x, x, PatchOptions(32, 16))
    assert len(patches) == len(rows) == 600
    np.testing.assert_array_equal(patches[0], patches[-1])


def test_flipped_phases_undo_a_ctf() -> None:
    """A spot seen through a CTF: after flipping, its middle is the brightest again, and brighter than before."""
    ctf = patches.phase_ctf(64, 2.0, Defocus(20000.0, 20000.0), Optics())
    spot = np.zeros((64, 64), np.float32)
    spot[32, 32] = -1.0
    seen = np.fft.irfft2(np.fft.rfft2(spot) * ctf, s=(64, 64))
    image = np.pad(seen, 20)
    at = np.array([52.0])
    plain, _ = extract_patches(image, at, at, PatchOptions(64, 64))
    flipped, _ = extract_patches(image, at, at, PatchOptions(64, 64), ctf=ctf)
    assert flipped[0].argmax() == 32 * 64 + 32
    assert flipped[0][32, 32] > 1.5 * plain[0][32, 32]


@pytest.mark.parametrize("box", [63, 64, 101])
def test_shrinking_keeps_the_centre(box: int) -> None:
    yy, xx = np.indices((box, box)) - box // 2
    small = patches.shrink(np.exp(-(yy**2 + xx**2) / 50.0)[None], 32)
    assert centre_of(small[0]) == pytest.approx((16, 16), abs=0.02)


@pytest.mark.parametrize(("box", "out"), [(63, 32), (64, 31), (32, 64), (64, 4)])
def test_impossible_boxes_are_refused(box: int, out: int) -> None:
    with pytest.raises(ValueError, match="even"):
        PatchOptions(box, out)


def test_the_box_holds_one_and_a_half_diameters() -> None:
    assert [patches.box_for(d) for d in (40, 108, 1)] == [60, 162, 8]
    with pytest.raises(ValueError, match="diameter"):
        patches.box_for(float("nan"))
