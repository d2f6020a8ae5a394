"""Checks for plugin authors: does a plugin keep to what its protocol says?"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .api import Cancelled, Candidates, EngineError, JobContext, Picker

#: Seconds after which a cancelled picker must have stopped.
CANCEL_S = 1.0
_CANCEL_TRIES = 3
_PIXEL_A, _DIAMETER_A = 2.0, 60.0


def planted(
    n_per_side: int = 5, spacing: int = 80, diameter: float = 30.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """A micrograph of dark discs on noise.

    Parameters
    ----------
    n_per_side : int
        Discs along each side.
    spacing, diameter : px
    seed : int

    Returns
    -------
    image : (h, w) float32, yx
    x, y : (n,) float64, px
        Centres.
    """
    rng = np.random.default_rng(seed)
    side = n_per_side * spacing
    image = rng.normal(100.0, 1.0, (side, side + 24)).astype(np.float32)
    at = (np.arange(n_per_side) + 0.5) * spacing
    x, y = (grid.ravel() + rng.uniform(-8, 8, n_per_side**2) for grid in np.meshgrid(at, at))
    rows, columns = np.indices(image.shape)
    for cx, cy in zip(x, y, strict=True):
        image[np.hypot(rows - cy, columns - cx) <= diameter / 2] -= 1.0
    return image, x, y


def check_picker(picker: Picker, parameters: Mapping[str, Any] | None = None) -> None:
    """Hold a picker to :class:`cryoppp_annotator.api.Picker`, on images a curator will meet.

    Discs on noise (bounds, order, finite scores, the image untouched, twice the same result, most of them found);
    an image of one value, of NaN, with NaN in it, of integers, smaller than a particle, of 1 x 1 px (few or no
    candidates, no error but EngineError); an empty array (EngineError); cancelled before and while it works.

    Parameters
    ----------
    picker : Picker
    parameters : mapping, optional
        Its own parameters.

    Raises
    ------
    AssertionError
        What is wrong, in a sentence.
    """
    wish = dict(parameters or {})
    assert isinstance(picker.name, str), "a picker's name is text"
    assert isinstance(picker.title, str), "a picker's title is text"
    assert picker.name.strip(), "a picker needs a name"
    assert picker.title.strip(), "a picker needs a title"
    image, x, y = planted()
    before = image.copy()
    found = _propose(picker, image, wish)
    assert np.array_equal(image, before), "the picker changed the image it was given"
    _check_candidates(found, image, "discs on noise")
    nearest = np.array([np.hypot(found.x - a, found.y - b).min(initial=np.inf) for a, b in zip(x, y, strict=True)])
    assert (nearest < 9.0).mean() >= 0.8, f"of {len(x)} plain discs only {(nearest < 9.0).sum()} were found"
    again = _propose(picker, image, wish)
    for column in ("x", "y", "score", "diameter_A"):
        assert np.array_equal(getattr(found, column), getattr(again, column)), f"{column} differs from run to run"
    _check_odd_images(picker, image, wish)
    _check_cancel(picker, image, wish)


def _propose(picker: Picker, image: NDArray[Any], parameters: Mapping[str, Any]) -> Candidates:
    return picker.propose(
        image, pixel_size_A=_PIXEL_A, diameter_A=_DIAMETER_A, parameters=parameters, context=JobContext()
    )


def _check_candidates(found: Candidates, image: NDArray[Any], what: str) -> None:
    columns = {name: getattr(found, name) for name in ("x", "y", "score", "diameter_A")}
    for name, column in columns.items():
        assert isinstance(column, np.ndarray), f"{name} is no array ({what})"
        assert column.dtype == np.float64, f"{name} is {column.dtype}, not float64 ({what})"
        assert column.shape == (len(found),), f"{name} has shape {column.shape} ({what})"
        assert np.isfinite(column).all(), f"{name} is not finite everywhere ({what})"
    height, width = image.shape
    inside = (found.x >= 0) & (found.x <= width - 1) & (found.y >= 0) & (found.y <= height - 1)
    assert inside.all(), f"{(~inside).sum()} candidates lie outside the image ({what})"
    assert (np.diff(found.score) <= 0).all(), f"candidates are not sorted, best first ({what})"
    assert (found.diameter_A > 0).all(), f"a diameter is not positive ({what})"


def _check_odd_images(picker: Picker, image: NDArray[np.float32], parameters: Mapping[str, Any]) -> None:
    holes = image.copy()
    holes[40:90, 200:300] = np.nan
    holes[5, 5] = np.inf
    odd: dict[str, NDArray[Any]] = {
        "an image of one value": np.full((300, 320), 7.0, np.float32),
        "an image of NaN": np.full((300, 320), np.nan, np.float32),
        "an image with NaN and infinity": holes,
        "an image of bytes": np.clip((image - 90) * 12, 0, 255).astype(np.uint8),
        "an image of 16-bit integers": (image * 100).astype(np.int16),
        "an image smaller than a particle": image[:12, :14],
        "one row": image[:1],
        "one pixel": image[:1, :1],
    }
    for what, given in odd.items():
        try:
            found = _propose(picker, given, parameters)
        except EngineError:
            continue
        _check_candidates(found, given, what)
        if "one value" in what or what == "an image of NaN":
            assert len(found) == 0, f"{len(found)} particles found on {what}"
    try:
        _propose(picker, np.zeros((0, 0), np.float32), parameters)
    except EngineError:
        return
    raise AssertionError("an empty array must raise EngineError")


def _check_cancel(picker: Picker, image: NDArray[np.float32], parameters: Mapping[str, Any]) -> None:
    large = np.tile(image, (5, 5))[:2048, :2048]
    for delay in (0.0, 0.05):
        # the best of a few: on a machine with much to do a second may pass without the picker having had it
        took = float("inf")
        for _ in range(_CANCEL_TRIES):
            took = min(took, _silence(picker, large, parameters, delay))
            if took < CANCEL_S:
                break
        assert took < CANCEL_S, f"cancel took {took:.1f} s"


def _silence(picker: Picker, image: NDArray[Any], parameters: Mapping[str, Any], delay: float) -> float:
    """Seconds from a cancel, ``delay`` s after the start, to the end of the picker's work; 0 = it was done before."""
    asked: list[float] = []
    cancel = threading.Event()

    def ask() -> None:
        asked.append(time.monotonic())
        cancel.set()

    timer = threading.Timer(delay, ask)
    if delay:
        timer.start()
    else:
        ask()
    try:
        picker.propose(
            image, pixel_size_A=_PIXEL_A, diameter_A=_DIAMETER_A, parameters=parameters,
            context=JobContext(is_cancelled=cancel.is_set),
        )  # fmt: skip
    except Cancelled:
        pass
    else:
        assert delay, "a cancelled picker must raise Cancelled"
    ended = time.monotonic()
    timer.cancel()
    return ended - asked[0] if asked else 0.0
