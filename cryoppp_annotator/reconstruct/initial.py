"""A first map without a reference: many cheap starts from class averages, the likeliest kept.

Each start is a heap of random blobs; rounds of stochastic expectation maximisation against a few dozen averages at
rising resolution and falling temperature turn it into a map. The averages are shrunk, so that a round takes a few
hundredths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..errors import EngineError
from ..imaging.patches import shrink
from ..imaging.polar import ring_power, to_polar
from ..model.context import JobContext
from . import symmetry as groups
from .fourier_map import centred_fft, centred_ifft, prepare_map, resized, sphere
from .halves import Accumulator
from .match import Level, Matches, PolarBoxes, Projections, Spectra, level_grid, projections, search
from .pieces import placed
from .prepared_boxes import half_plane, plane_values

_QUIET = JobContext()
#: Side of the averages that the starts work with, px.
_SIDE = 32
#: Rings at the beginning and at the end of a start.
_RINGS = (4, 9)
#: Noise as a share of the averages' own power at the beginning and at the end of a start.
_HEAT = (0.6, 0.04)
_DRAWS = 3
_LEAST_AVERAGES = 4


@dataclass(frozen=True, slots=True)
class InitialOptions:
    """How to make a first map.

    Attributes
    ----------
    symmetry : str
        C1, Cn, Dn, T, O or I.
    starts : int
    rounds : int
        Of each start.
    mask_radius : float
        Of the particle, as a share of the box.
    """

    symmetry: str = "C1"
    starts: int = 20
    rounds: int = 30
    mask_radius: float = 0.47


@dataclass(frozen=True, eq=False)
class InitialMap:
    """The likeliest of all starts.

    Attributes
    ----------
    volume : (box, box, box) float32, zyx
        At the pixel size of the averages; its hand is arbitrary.
    resolution_px : float
        Finest period that was looked at, px of the averages.
    scores : (starts,) float64
        Log likelihood of each start.
    """

    volume: NDArray[np.float32]
    resolution_px: float
    scores: NDArray[np.float64]


def initial_map(
    averages: NDArray[np.float32],
    counts: NDArray[np.floating],
    options: InitialOptions,
    *,
    context: JobContext = _QUIET,
) -> InitialMap:
    """Make a map from class averages.

    Parameters
    ----------
    averages : (k, box, box) float32, yx, white on black, CTF-corrected
    counts : (k,) float
        Members of each.
    options : InitialOptions
    context : JobContext
        Its seed makes the run repeatable.

    Raises
    ------
    EngineError
        Too few averages.
    Cancelled
    """
    groups.rotations(options.symmetry)
    if len(averages) < _LEAST_AVERAGES:
        raise EngineError(f"{len(averages)} class averages are too few for a first map; {_LEAST_AVERAGES} are needed")
    rng = context.rng()
    with threadpool_limits(limits=1, user_api="blas"):
        data = _Averages.of(averages, counts, options)
        best: tuple[float, NDArray[np.float32]] | None = None
        scores = []
        for start in range(options.starts):
            volume, score = _one_start(data, options, rng, context)
            scores.append(score)
            context.progress(start + 1, options.starts, f"first map: start {start + 1} of {options.starts}")
            if best is None or score > best[0]:
                best = (score, volume)
    assert best is not None
    full = _enlarged(best[1], averages.shape[1])
    return InitialMap(full, averages.shape[1] / _RINGS[1], np.array(scores))


@dataclass(frozen=True, eq=False)
class _Averages:
    """Averages, shrunk and on the polar grid."""

    images: NDArray[np.float32]
    boxes: PolarBoxes
    weight: NDArray[np.float32]
    power: NDArray[np.float32]

    @staticmethod
    def of(averages: NDArray[np.float32], counts: NDArray[np.floating], options: InitialOptions) -> _Averages:
        small = shrink(averages, _SIDE) if averages.shape[1] > _SIDE else np.asarray(averages, np.float32)
        side = small.shape[1]
        yy, xx = np.indices((side, side)) - side // 2
        distance = np.hypot(yy, xx)
        mask = np.clip((side * options.mask_radius - distance) / 2.0 + 0.5, 0.0, 1.0).astype(np.float32)
        small = (small - np.median(small[:, distance > 0.42 * side], axis=1)[:, None, None]) * mask
        small /= np.sqrt((small**2).mean())
        grid = level_grid(side, _RINGS[1])
        orders = to_polar(small, grid) / np.float32(side)
        power = ring_power(orders)
        boxes = PolarBoxes(orders, power, np.ones_like(power), grid, float((mask**2).mean()))
        weight = np.sqrt(np.asarray(counts, np.float32))
        return _Averages(small, boxes, weight / weight.mean(), power.mean(axis=0))


def _blobs(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    at = np.arange(side) - side // 2
    out = np.zeros((side,) * 3, np.float32)
    for centre in rng.normal(0, 0.14 * side, (8, 3)):
        z, y, x = (np.exp(-((at - c) ** 2) / (2 * (0.09 * side) ** 2)) for c in centre)
        out += (z[:, None, None] * y[:, None] * x).astype(np.float32)
    return out * sphere(side, 0.42 * side)


def _one_start(
    data: _Averages, options: InitialOptions, rng: np.random.Generator, context: JobContext
) -> tuple[NDArray[np.float32], float]:
    side = data.images.shape[1]
    volume = _blobs(side, rng)
    for number in range(options.rounds):
        context.check()
        part = number / max(1, options.rounds - 1)
        rings = round(_RINGS[0] + part * (_RINGS[1] - _RINGS[0]))
        heat = _HEAT[0] * (_HEAT[1] / _HEAT[0]) ** part
        references, matches, _ = _compare(data, volume, rings, heat, options, context)
        fresh = _rebuilt(data, references, matches, rings, options, rng)
        volume = fresh if number == 0 else np.asarray(0.3 * volume + 0.7 * fresh, np.float32)
    _, matches, score = _compare(data, volume, _RINGS[1], 0.1, options, context)
    return volume, score


def _compare(
    data: _Averages, volume: NDArray[np.float32], rings: int, heat: float, options: InitialOptions, context: JobContext
) -> tuple[Projections, Matches, float]:
    """All averages against all views of a map; and the log likelihood of all together."""
    side = data.images.shape[1]
    source = prepare_map(volume, 1.0, 2.0)
    level = Level(rings, max(10.0, 100.0 / rings), 0.07 * side, 0.045 * side)
    references = projections(source, level, side, 1.0, options.symmetry)
    rings = references.grid.n_rings
    noise = (heat * np.maximum(data.power[:rings], 0.02 * data.power[:rings].max())).astype(np.float32)
    flat = Spectra(noise, np.ones(rings, np.float32), noise, np.array([1.0, 0.0, 0.0]))
    # one factor brings the map to the averages' height
    power = ring_power(references.orders).mean(axis=0)
    gain = np.sqrt(data.power[:rings].sum() / max(float(power.sum()), 1e-30)).astype(np.float32)
    scaled = Projections(references.orders * gain, references.matrices, references.shifts, references.grid, level)
    matches = search(data.boxes, scaled, flat, context=context)
    return scaled, matches, float((data.weight * matches.evidence).sum())


def _rebuilt(
    data: _Averages,
    references: Projections,
    matches: Matches,
    rings: int,
    options: InitialOptions,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The map of the averages at poses drawn by their likelihood."""
    side = data.images.shape[1]
    plane = half_plane(side, rings)
    values = plane_values(data.images, plane)
    sums = Accumulator.empty(side, rings)
    for _ in range(_DRAWS):
        view = (matches.by_view + rng.gumbel(size=matches.by_view.shape)).argmax(axis=1)
        matrices, shifts = placed(references, matches.place[np.arange(len(view)), view], view)
        phase = (2.0 * np.pi / side) * (shifts @ plane.k.T)
        weight = np.broadcast_to(data.weight[:, None], values.shape)
        sums.insert(values * np.exp(1j * phase.astype(np.float32)) * weight, weight, matrices)
    sums = sums.completed(options.symmetry)
    volume = sums.solve(0.2 * sums.mean_weight()) * sphere(side, side * min(options.mask_radius, 0.45))
    return np.asarray(np.maximum(volume, 0.1 * np.minimum(volume, 0.0)), np.float32)


def _enlarged(volume: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """On a finer grid."""
    if len(volume) == side:
        return volume
    return centred_ifft(np.asarray(resized(centred_fft(volume), side)))
