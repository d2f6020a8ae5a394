from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.imaging.filters import (
    NO_PADDING,
    band_gain,
    band_pass,
    box_reduce,
    extend_mirrored,
    filtered,
    find_padding,
    fourier_crop,
)
from cryoppp_annotator.model.context import JobContext


def spot(shape, y, x, sigma=6.0):
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    return np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2)).astype(np.float32)


def peak(image):
    """Sub-pixel (y, x) of the highest point: a parabola through the logarithm of its neighbours."""
    i, j = np.unravel_index(np.argmax(image), image.shape)

    def offset(a, b, c):
        return 0.5 * (a - c) / (a - 2 * b + c)

    return i + offset(*image[i - 1 : i + 2, j]), j + offset(*image[i, j - 1 : j + 2])


@given(
    st.integers(150, 220),
    st.integers(150, 220),
    st.floats(0.3, 1.0),
    st.floats(0.3, 1.0),
    st.floats(60.0, 90.0),
    st.floats(60.0, 90.0),
)
@settings(max_examples=60, deadline=None)
def test_fourier_crop_keeps_pixel_0_in_place(h, w, fy, fx, y, x):
    image = spot((h, w), y, x)
    m, n = max(40, round(h * fy)), max(40, round(w * fx))
    small = fourier_crop(image, (m, n))
    assert small.shape == (m, n)
    assert small.dtype == np.float32
    place = peak(small)
    assert place[0] == pytest.approx(y * m / h, abs=0.25)
    assert place[1] == pytest.approx(x * n / w, abs=0.25)


@pytest.mark.parametrize(("side", "new"), [(s, n) for s in (64, 63) for n in (64, 63, 40, 41, 2, 1) if n <= s])
def test_fourier_crop_keeps_the_mean_and_low_waves_exactly(side, new):
    wave = 5.0 + np.cos(2 * np.pi * 3 * np.arange(side) / side + 0.4)
    small = fourier_crop(np.broadcast_to(wave, (side, side)), (new, new))
    assert small.mean() == pytest.approx(5.0, abs=1e-4)
    if new > 7:
        expected = 5.0 + np.cos(2 * np.pi * 3 * np.arange(new) / new + 0.4)
        np.testing.assert_allclose(small[0], expected, atol=1e-4)
        np.testing.assert_allclose(small[-1], expected, atol=1e-4)


def test_fourier_crop_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).normal(size=(30, 31)).astype(np.float32)
    np.testing.assert_allclose(fourier_crop(image, (30, 31)), image, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (11, 5), (5, 11)])
def test_fourier_crop_refuses_what_is_no_crop(shape):
    with pytest.raises(ValueError, match="crop"):
        fourier_crop(np.zeros((10, 10), np.float32), shape)


@pytest.mark.parametrize("shape", [(256, 256), (255, 257), (301, 200)])
@pytest.mark.parametrize("step", [1.0, 1.25, 2.0, 2.75])
def test_band_pass_keeps_pixel_0_in_place(shape, step):
    image = spot(shape, 101.3, 77.8)
    out = band_pass(image, 100.0, 5.0, step=step)
    assert out.shape == (int(np.ceil(shape[0] / step)), int(np.ceil(shape[1] / step)))
    y, x = peak(out)
    assert y * step == pytest.approx(101.3, abs=0.25 * step)
    assert x * step == pytest.approx(77.8, abs=0.25 * step)


@pytest.mark.parametrize("padding", [NO_PADDING, (9, 4, 3, 0)])
def test_band_pass_in_pieces_of_rows_is_that_of_the_whole(padding):
    image = np.random.default_rng(1).normal(size=(531, 340)).astype(np.float32)
    shapes = []

    def gain(_spectrum, full, small):
        shapes.append(full)
        return band_gain(small, 1.0, 60.0, 5.0)

    pixels = filtered(image.copy(), gain, margin_px=36.0, padding=padding)
    (full,) = shapes
    spectrum = scipy.fft.rfft2(extend_mirrored(image, full, padding)) * band_gain(full, 1.0, 60.0, 5.0)
    np.testing.assert_allclose(pixels, scipy.fft.irfft2(spectrum, s=full)[:531, :340], atol=1e-6)
    over = filtered(image, gain, margin_px=36.0, padding=padding, overwrite=True)
    assert over is image
    np.testing.assert_array_equal(over, pixels)


def test_band_pass_has_half_gain_at_its_wavelengths():
    columns = np.arange(1200)
    for wavelength in (120.0, 10.0):
        wave = np.broadcast_to(np.cos(2 * np.pi * columns / wavelength), (40, 1200))
        middle = band_pass(wave, 120.0, 10.0)[20, 300:900]
        assert np.abs(middle).max() == pytest.approx(0.5, abs=0.02)
    passed = band_pass(np.broadcast_to(np.cos(2 * np.pi * columns / 35.0), (40, 1200)), 120.0, 10.0)[20, 300:900]
    assert np.abs(passed).max() == pytest.approx(0.95, abs=0.06)


def test_band_gain_opens_where_there_is_no_cut_off():
    assert (band_gain((8, 9), 1.0, None, None) == 1.0).all()
    assert band_gain((8, 9), 1.0, 4.0, None)[0, 0] == 0.0
    assert band_gain((8, 9), 1.0, None, 4.0)[0, 0] == 1.0


def test_band_pass_of_a_slope_does_not_ring_at_the_edges():
    slope = np.broadcast_to(np.linspace(-1.0, 1.0, 600, dtype=np.float32), (500, 600))
    out = band_pass(slope, 60.0, 5.0)
    assert np.abs(out[:, 60:-60]).max() < 1e-3
    assert np.abs(out).max() < 0.1  # a wrapped-around slope would give 1 here


@pytest.mark.parametrize("step", [0.5, 1.1, 0.0, -2.0])
def test_band_pass_refuses_other_steps(step):
    with pytest.raises(ValueError, match="step"):
        band_pass(np.zeros((10, 10), np.float32), 5.0, 2.0, step=step)


def test_band_pass_stops_when_cancelled():
    with pytest.raises(Cancelled):
        band_pass(np.zeros((64, 64), np.float32), 20.0, 4.0, context=JobContext(is_cancelled=lambda: True))


def test_extend_mirrored_leaves_the_image_and_is_continuous_around_it():
    image = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    canvas = extend_mirrored(image, (40, 50))
    np.testing.assert_array_equal(canvas[:20, :30], image)
    np.testing.assert_array_equal(canvas[20, :30], image[19])
    np.testing.assert_array_equal(canvas[-1, :30], image[0])
    np.testing.assert_array_equal(canvas[:20, -1], image[:, 0])


def test_extend_mirrored_fills_the_padding_from_the_inside():
    image = np.full((20, 20), 99.0, np.float32)
    image[3:17, 4:18] = np.random.default_rng(0).normal(size=(14, 14))
    canvas = extend_mirrored(image, (32, 32), (3, 3, 4, 2))
    np.testing.assert_array_equal(canvas[3:17, 4:18], image[3:17, 4:18])
    assert canvas.max() < 10.0
    np.testing.assert_array_equal(canvas[2, 4:18], image[3, 4:18])


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float16, np.uint16])
@pytest.mark.parametrize("border", [(0, 0, 0, 0), (17, 0, 5, 30), (8, 8, 8, 8)])
def test_find_padding_sees_a_constant_border(dtype, border):
    image = np.random.default_rng(1).normal(60, 15, (240, 300)).astype(dtype)
    top, bottom, left, right = border
    image[:top], image[240 - bottom :], image[:, :left], image[:, 300 - right :] = 60, 60, 60, 60
    assert find_padding(image) == border


def test_find_padding_sees_smeared_and_nan_borders():
    inside = np.random.default_rng(2).normal(size=(200, 220)).astype(np.float32)
    # The line that was smeared is like its copies, so it counts as one of them.
    assert find_padding(np.pad(inside, ((12, 9), (7, 20)), mode="edge")) == (13, 10, 8, 21)
    assert find_padding(np.pad(inside, 10, constant_values=np.nan)) == (10, 10, 10, 10)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0)),
        np.zeros((1, 1)),
        np.full((100, 100), 7, np.int8),
        np.full((100, 100), np.nan),
        spot((300, 300), 150, 150),
        np.add.outer(np.arange(100.0), np.arange(100.0)),
    ],
    ids=["empty", "1x1", "constant", "nan", "one spot on nothing", "ramp"],
)
def test_find_padding_invents_none(image):
    assert find_padding(image) == NO_PADDING


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(200, 201), (203, 198)])
def test_box_reduce_keeps_pixel_0_in_place(factor, shape):
    small = box_reduce(spot(shape, 90.6, 111.3, sigma=9.0), factor)
    assert small.shape == (-(-shape[0] // factor), -(-shape[1] // factor))
    y, x = peak(small)
    assert y == pytest.approx(90.6 / factor, abs=0.1)
    assert x == pytest.approx(111.3 / factor, abs=0.1)


def test_box_reduce_keeps_a_constant():
    np.testing.assert_allclose(box_reduce(np.full((7, 5), 3.0, np.float32), 4), 3.0)
