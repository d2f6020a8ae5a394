"""Every conversion of the frame has an inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.model.coordinates import (
    CRYOPPP_FRAME,
    RELION_FRAME,
    Anchor,
    Orientation,
    SourceFrame,
    angstrom_to_px,
    flip_y,
    px_to_angstrom,
    to_yx,
)

positions = st.lists(st.tuples(st.floats(-2e4, 2e4), st.floats(-2e4, 2e4)), min_size=1, max_size=20)
frames = st.builds(
    SourceFrame,
    orientation=st.sampled_from(Orientation),
    anchor=st.sampled_from(Anchor),
    scale=st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 3.7, 8.0]),
    first_index=st.sampled_from([0, 1]),
)


@given(positions, frames, st.integers(1, 12000), st.floats(0, 1000))
def test_a_frame_undoes_itself(points, frame, height, box):
    x, y = np.array(points).T
    canonical = frame.to_canonical(x, y, height=height, box_size=box)
    back = frame.from_canonical(*canonical, height=height, box_size=box)
    np.testing.assert_allclose(back, (x, y), rtol=0, atol=1e-9)


@given(positions, frames, st.integers(1, 12000), st.floats(0, 1000))
def test_a_frame_undoes_itself_the_other_way(points, frame, height, box):
    x, y = np.array(points).T
    source = frame.from_canonical(x, y, height=height, box_size=box)
    back = frame.to_canonical(*source, height=height, box_size=box)
    np.testing.assert_allclose(back, (x, y), rtol=0, atol=1e-9)


@given(st.lists(st.integers(-9999, 9999), min_size=1), st.integers(1, 9999))
def test_flipping_whole_pixels_is_exact(rows, height):
    y = np.array(rows, np.float64)
    assert np.array_equal(flip_y(flip_y(y, height), height), y)


@given(st.lists(st.floats(1e-3, 1e5), min_size=1), st.floats(0.1, 20))
def test_lengths_go_to_angstrom_and_back(lengths, pixel):
    np.testing.assert_allclose(angstrom_to_px(px_to_angstrom(lengths, pixel), pixel), lengths, rtol=1e-14)
    assert angstrom_to_px(px_to_angstrom(lengths, pixel)[0], pixel) == pytest.approx(lengths[0], rel=1e-14)


@pytest.mark.parametrize("pixel", [0.0, -1.0, float("nan")])
def test_a_pixel_size_must_be_positive(pixel):
    for convert in (angstrom_to_px, px_to_angstrom):
        with pytest.raises(ValueError, match="positive"):
            convert(1.0, pixel)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (RELION_FRAME, (10, 20)),
        (CRYOPPP_FRAME, (10, 80)),
        (SourceFrame(Orientation.SWAP_XY), (20, 10)),
        (SourceFrame(Orientation.SWAP_FLIP_Y), (20, 90)),
        (SourceFrame(anchor=Anchor.CORNER), (13, 23)),
        (SourceFrame(Orientation.FLIP_Y, Anchor.CORNER, 2.0, 1), (24, 56)),
    ],
)
def test_known_positions(frame, expected):
    x, y = frame.to_canonical([10], [20], height=100, box_size=6)
    assert (x[0], y[0]) == expected


def test_napari_gets_row_and_column():
    assert to_yx([1, 2], [3, 4]).tolist() == [[3, 1], [4, 2]]
