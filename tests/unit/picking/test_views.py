"""Views of the particle: found without being told, in any rotation, the same ones each time."""

from __future__ import annotations

import numpy as np
import pytest

from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.views import find_views, likelihood, pictures

QUIET = JobContext()
DIAMETER = 16.0


def rods_and_rings(seed: int, n: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """White noise with rods and rings in any rotation on a grid: image, x, y."""
    rng = np.random.default_rng(seed)
    side = 32
    image = rng.normal(0.0, 1.0, (n * side, n * side)).astype(np.float32)
    rows, columns = np.indices((side, side)) - side / 2
    x, y = [], []
    for i in range(n):
        for j in range(n):
            if (i + j) % 3 == 2:
                continue  # nothing here
            angle = rng.uniform(0, np.pi)
            along = columns * np.cos(angle) + rows * np.sin(angle)
            across = -columns * np.sin(angle) + rows * np.cos(angle)
            radius = np.hypot(rows, columns)
            shape = (np.abs(along) < 7) & (np.abs(across) < 2) if (i + j) % 3 else (radius > 3.5) & (radius < 6)
            image[i * side : (i + 1) * side, j * side : (j + 1) * side] += 1.2 * shape
            x.append(j * side + side / 2)
            y.append(i * side + side / 2)
    return image, np.array(x), np.array(y)


def test_particles_are_likelier_than_noise_on_another_image() -> None:
    image, x, y = rods_and_rings(0)
    views = find_views(pictures(image, x, y, DIAMETER), np.ones(len(x)), np.random.default_rng(0), QUIET)
    assert views.shares.sum() == pytest.approx(1.0, abs=1e-4)
    other, ox, oy = rods_and_rings(1)
    there = likelihood(views, other, ox, oy, DIAMETER, QUIET)
    noise = np.random.default_rng(2).normal(0.0, 1.0, other.shape).astype(np.float32)
    nothing = likelihood(views, noise, ox, oy, DIAMETER, QUIET)
    assert np.percentile(there, 10) > np.percentile(nothing, 90)


def test_a_turned_image_is_as_likely() -> None:
    image, x, y = rods_and_rings(0)
    views = find_views(pictures(image, x, y, DIAMETER), np.ones(len(x)), np.random.default_rng(0), QUIET)
    before = likelihood(views, image, x, y, DIAMETER, QUIET)
    # row, column -> column, height - 1 - row
    turned = likelihood(views, np.rot90(image, -1).copy(), image.shape[0] - 1 - y, x, DIAMETER, QUIET)
    assert turned == pytest.approx(before, abs=0.02 * np.ptp(before))


def test_the_same_guess_gives_the_same_views_and_one_place_is_enough() -> None:
    image, x, y = rods_and_rings(0)
    seen = pictures(image, x, y, DIAMETER)
    one, again = (find_views(seen, np.ones(len(x)), np.random.default_rng(4), QUIET) for _ in range(2))
    assert np.array_equal(one.averages, again.averages)
    single = find_views(seen[:1], np.ones(1), np.random.default_rng(0), QUIET)
    assert np.isfinite(likelihood(single, image, x[:3], y[:3], DIAMETER, QUIET)).all()


def test_cancel_is_heard() -> None:
    image, x, y = rods_and_rings(0)
    stop = JobContext(is_cancelled=lambda: True)
    with pytest.raises(Cancelled):
        find_views(pictures(image, x, y, DIAMETER), np.ones(len(x)), np.random.default_rng(0), stop)
