from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryoppp_annotator.picking.suppress import in_polygons, inside, suppress

POINTS = st.integers(0, 60).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=st.floats(-50, 500, width=32)),
        arrays(np.float64, n, elements=st.floats(-50, 500, width=32)),
        arrays(np.float64, n, elements=st.integers(0, 9).map(float)),
    )
)


@given(POINTS, st.floats(0.5, 120))
def test_kept_are_apart_and_each_dropped_one_is_near_a_better_one(
    points: tuple[np.ndarray, np.ndarray, np.ndarray], distance: float
) -> None:
    x, y, score = points
    kept = suppress(x, y, score, distance)
    assert (np.diff(score[kept]) <= 0).all()
    away = np.hypot(x[:, None] - x[kept], y[:, None] - y[kept])
    among = away[kept]
    np.fill_diagonal(among, np.inf)
    assert (among >= distance * (1 - 1e-9)).all()
    for row in np.setdiff1d(np.arange(len(x)), kept):
        near = away[row] < distance * (1 + 1e-9)
        assert (score[kept][near] >= score[row]).any()


@given(POINTS, st.floats(0.5, 120))
def test_twice_is_once(points: tuple[np.ndarray, np.ndarray, np.ndarray], distance: float) -> None:
    x, y, score = points
    kept = suppress(x, y, score, distance)
    assert np.array_equal(suppress(x[kept], y[kept], score[kept], distance), np.arange(len(kept)))


def test_of_two_equals_the_first_is_kept() -> None:
    assert suppress(np.array([5.0, 6.0]), np.array([5.0, 5.0]), np.array([1.0, 1.0]), 3.0).tolist() == [0]


def test_the_border_is_counted_in_whole_pixels() -> None:
    x, y = np.array([0.0, 9.0, 9.1, 4.0, 4.0]), np.array([5.0, 5.0, 5.0, -0.1, 19.0])
    assert inside(x, y, (20, 10)).tolist() == [True, True, False, False, True]
    assert inside(np.array([2.0, 1.9, 6.0, 6.1]), np.full(4, 9.0), (20, 10), (1, 1, 2, 3)).tolist() == [
        True,
        False,
        True,
        False,
    ]
    assert inside(np.array([4.0, 5.0]), np.array([10.0, 10.0]), (20, 10), margin=4.5).tolist() == [False, False]


def test_polygons_hold_what_is_within_them() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    notched = np.array([[20.0, 0.0], [40.0, 0.0], [40.0, 20.0], [30.0, 10.0], [20.0, 20.0]])
    x = np.array([5.0, 11.0, 30.0, 30.0, 22.0, -3.0])
    y = np.array([5.0, 5.0, 5.0, 15.0, 12.0, 3.0])
    assert in_polygons(x, y, [square, notched]).tolist() == [True, False, True, False, True, False]
    assert not in_polygons(x, y, [square[:2], np.zeros((0, 2))]).any()


@given(
    arrays(np.float64, (7, 2), elements=st.floats(-100, 100)), arrays(np.float64, (20, 2), elements=st.floats(-99, 99))
)
def test_where_a_polygon_begins_does_not_matter(polygon: np.ndarray, points: np.ndarray) -> None:
    x, y = points.T
    turned = in_polygons(x, y, [np.roll(polygon, 3, axis=0)])
    assert np.array_equal(in_polygons(x, y, [polygon]), turned)
