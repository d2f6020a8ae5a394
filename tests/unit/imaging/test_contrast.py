from __future__ import annotations

import time

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoppp_annotator.imaging.contrast import robust_limits, robust_location


def test_limits_are_the_percentiles_of_the_image():
    image = np.random.default_rng(0).normal(100.0, 10.0, (1500, 1300)).astype(np.float32)
    lo, hi = robust_limits(image)
    assert lo == pytest.approx(100.0 - 25.76, abs=1.0)
    assert hi == pytest.approx(100.0 + 25.76, abs=1.0)


def test_hot_pixels_nan_and_border_do_not_move_the_limits():
    image = np.random.default_rng(0).normal(0.0, 1.0, (800, 700)).astype(np.float32)
    before = robust_limits(image, padding=(50, 40, 30, 20))
    image[:50], image[-40:], image[:, :30], image[:, -20:] = 1e6, 1e6, -1e6, -1e6
    image[100::97, 100::89] = 1e9
    image[200:210, 200:210] = np.nan
    image[300, 300] = np.inf
    assert robust_limits(image, padding=(50, 40, 30, 20)) == pytest.approx(before, abs=0.15)


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint16, np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
    )
)
@settings(max_examples=150, deadline=None)
def test_limits_are_always_finite_and_ordered(image):
    lo, hi = robust_limits(image)
    assert np.isfinite([lo, hi]).all() or image.dtype == np.float64  # 1e308 apart overflows even float64
    assert lo < hi


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5, 6e4, 1e-8, 1e30])
def test_a_constant_image_has_limits_around_its_value(value):
    lo, hi = robust_limits(np.full((30, 30), value, np.float32))
    assert np.float32(lo) < np.float32(value) < np.float32(hi)


def test_an_image_without_a_finite_pixel():
    assert robust_limits(np.full((4, 4), np.nan)) == (0.0, 1.0)
    assert robust_limits(np.zeros((0, 4))) == (0.0, 1.0)


def test_padding_wider_than_the_image_is_ignored():
    lo, hi = robust_limits(np.arange(100.0).reshape(10, 10), padding=(9, 9, 9, 9))
    assert lo < 5.0
    assert hi > 90.0


def test_a_sparse_image_falls_back_on_its_range():
    image = np.zeros((64, 64), np.float32)
    image[10, 10] = 5.0
    assert robust_limits(image) == (0.0, 5.0)


def test_a_full_micrograph_takes_no_noticeable_time():
    image = np.random.default_rng(0).integers(-128, 127, (4096, 4096), dtype=np.int8)
    robust_limits(image)
    start = time.process_time()
    robust_limits(image)
    assert time.process_time() - start < 0.25  # 10 ms alone; room for a busy machine


def test_robust_location_of_degenerate_samples():
    assert robust_location(np.zeros(0)) == (0.0, 1.0)
    assert robust_location(np.full(5, 3.0)) == (3.0, 1.0)
    median, spread = robust_location(np.array([0.0] * 9 + [10.0]))
    assert median == 0.0
    assert spread == pytest.approx(3.0)
