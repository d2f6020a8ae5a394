"""What a label set is worth to a map: the score card of one, and of two beside each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.context import JobContext
from .fsc import compare_halves
from .halves import accumulate
from .prepared_boxes import Stack
from .rounds import Volume
from .verdict import CONFIDENT_DEG
from .view_coverage import ViewSpread, spread_of

_QUIET = JobContext()
_LEAST_WEIGHT = 0.05
#: Shares of the picks at which the resolution is measured.
_SHARES = (0.25, 0.5, 1.0)
#: Resolutions for which the needed number of picks is given, A.
GOALS_A = (20.0, 15.0, 10.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and where it lies in nine of ten bootstrap draws."""

    value: float
    low: float
    high: float

    def apart(self, other: Interval) -> bool:
        """The intervals do not overlap."""
        return self.low > other.high or other.low > self.high


@dataclass(frozen=True, eq=False)
class ScoreCard:
    """What a label set is worth.

    Attributes
    ----------
    picks : int
    junk_share : Interval
        Of picks that are rather no particle.
    confident_share : Interval
        Of picks that are a particle with a pose known to 15 degrees.
    spread : ViewSpread
        Of the particles' views.
    numbers : (s,) intp
        Picks drawn.
    resolution_A : tuple of Interval
        At each number; infinite where the halves do not agree at all.
    needed : dict of float to int or None
        Picks needed for a resolution (A), by a straight line through 1 / d^2 against the log of the number
        (Rosenthal & Henderson 2003, doi:10.1016/j.jmb.2003.07.013); None where that line does not rise.
    """

    picks: int
    junk_share: Interval
    confident_share: Interval
    spread: ViewSpread
    numbers: NDArray[np.intp]
    resolution_A: tuple[Interval, ...]
    needed: dict[float, int | None]

    @property
    def b_factor_A2(self) -> float | None:
        """Twice the inverse slope of that line, A^2; None where it does not rise."""
        slope = _line(self.numbers, self.resolution_A)
        return 2.0 / slope[0] if slope is not None and slope[0] > 0 else None


def score(stack: Stack, volume: Volume, *, draws: int = 5, context: JobContext = _QUIET) -> ScoreCard:
    """The score card of a label set from its map.

    Parts of the picks are put together again with the poses that they have, so that a number costs a second, not a
    new refinement.

    Parameters
    ----------
    stack : Stack
    volume : Volume
        Made of it (:func:`.rounds.reconstruct`).
    draws : int
        Of the bootstrap for the resolution, at each number.
    context : JobContext

    Raises
    ------
    Cancelled
    """
    rng = np.random.default_rng(context.seed + 7)
    verdicts = volume.verdicts
    particle = verdicts.probability > 0.5
    confident = particle & (verdicts.error_deg < CONFIDENT_DEG)
    numbers = np.array([max(20, round(share * len(stack))) for share in _SHARES])
    resolution = []
    for step, number in enumerate(numbers.tolist()):
        context.progress(step, len(numbers), f"resolution from {number:,} picks")
        values = [_resolution(stack, volume, number, rng, context) for _ in range(draws)]
        resolution.append(_interval(values))
    return ScoreCard(
        len(stack),
        _share(~particle, rng),
        _share(confident, rng),
        spread_of(verdicts.matrices[particle, 0], verdicts.symmetry),
        numbers,
        tuple(resolution),
        _needed(numbers, resolution),
    )


def _resolution(stack: Stack, volume: Volume, number: int, rng: np.random.Generator, context: JobContext) -> float:
    maps = []
    weights = volume.verdicts.weights * volume.verdicts.probability[:, None]
    for which in (0, 1):
        mine = np.flatnonzero(volume.half == which)
        rows = np.sort(rng.choice(mine, min(number // 2, len(mine)), replace=number >= len(stack)))
        sums = accumulate(
            stack.take(rows),
            volume.verdicts.matrices[rows],
            volume.verdicts.shifts[rows],
            weights[rows],
            stack.box // 2 - 1,
            mask_radius=volume.mask_radius,
            context=context,
        ).completed(volume.verdicts.symmetry)
        maps.append(sums.solve(_LEAST_WEIGHT * sums.mean_weight()))
    return compare_halves(maps[0], maps[1], stack.pixel_size_A, rng).resolution_A


def _share(hit: NDArray[np.bool_], rng: np.random.Generator) -> Interval:
    draws = rng.binomial(len(hit), float(hit.mean()), 400) / len(hit)
    return Interval(float(hit.mean()), float(np.quantile(draws, 0.05)), float(np.quantile(draws, 0.95)))


def _interval(values: list[float]) -> Interval:
    low, high = np.quantile(values, 0.05, method="nearest"), np.quantile(values, 0.95, method="nearest")
    return Interval(float(np.quantile(values, 0.5, method="nearest")), float(low), float(high))


def _line(numbers: NDArray[np.intp], resolution: tuple[Interval, ...] | list[Interval]) -> tuple[float, float] | None:
    """Slope and height of 1 / d^2 over the log of the number; None with fewer than two resolutions."""
    value = np.array([item.value for item in resolution])
    known = np.isfinite(value)
    if known.sum() < 2:
        return None
    slope, height = np.polyfit(np.log(numbers[known]), 1.0 / value[known] ** 2, 1)
    return float(slope), float(height)


def _needed(numbers: NDArray[np.intp], resolution: list[Interval]) -> dict[float, int | None]:
    line = _line(numbers, resolution)
    out: dict[float, int | None] = {}
    for goal in GOALS_A:
        log = (1.0 / goal**2 - line[1]) / line[0] if line is not None and line[0] > 1e-9 else math.inf
        out[goal] = round(math.exp(log)) if log < math.log(1e9) else None
    return out


def better(first: ScoreCard, second: ScoreCard) -> int:
    """Which of two is worth more to a map: 1, 2, or 0 where the cards do not tell.

    Resolution at the largest number first; where the intervals overlap, a lost view; then the share of picks with a
    confident pose.
    """
    a, b = first.resolution_A[-1], second.resolution_A[-1]
    if a.apart(b):
        return 1 if a.value < b.value else 2
    if abs(first.spread.empty_cone_deg - second.spread.empty_cone_deg) > 10.0:
        return 1 if first.spread.empty_cone_deg < second.spread.empty_cone_deg else 2
    if first.confident_share.apart(second.confident_share):
        return 1 if first.confident_share.value > second.confident_share.value else 2
    return 0
