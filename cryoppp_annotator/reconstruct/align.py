"""One map turned and moved onto another, either hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from . import poses
from .fourier_map import centred_ifft, prepare_map

_GRID_DEG = 15.0
#: Finest ring of the first comparison.
_COARSE_RING = 5
#: Orientations that are refined.
_BEST = 12


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a map lies to another.

    Attributes
    ----------
    moved : (n, n, n) float32
        The first map in the place of the second, on the second one's grid.
    mirrored : bool
        Its hand had to be changed.
    agreement : float
        Correlation of the transforms out to the ring that was looked at.
    """

    moved: NDArray[np.float32]
    mirrored: bool
    agreement: float


def align(
    volume: NDArray[np.float32], target: NDArray[np.float32], rings: int, *, either_hand: bool = True
) -> Alignment:
    """Turn and move a map onto another of the same box and pixel size.

    Parameters
    ----------
    volume, target : (n, n, n) float32, zyx
    rings : int
        Finest shell to look at.
    either_hand : bool
        Try the mirror image, too.
    """
    hands = (False, True) if either_hand else (False,)
    tried = [_Hand(volume, target, rings, mirrored) for mirrored in hands]
    best = max(tried, key=lambda hand: hand.agreement)
    return Alignment(best.moved(), best.mirrored, best.agreement)


def climb(agreement: Callable[..., float], n: int) -> tuple[float, NDArray[np.float64]]:
    """Highest value near 0 of a function of ``n`` numbers, and where (Powell)."""
    options: Any = {"xtol": 0.02, "ftol": 1e-4, "maxiter": 6}
    minimize: Any = scipy.optimize.minimize
    optimum = minimize(lambda p: -agreement(p), np.zeros(n), method="Powell", options=options)
    return -float(optimum.fun), np.asarray(optimum.x, np.float64)


def _step(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(poses.turned(0.1 * p[None, :3])[0])


class _Hand:
    """One hand of the map, brought onto the target."""

    def __init__(self, volume: NDArray[np.float32], target: NDArray[np.float32], rings: int, mirrored: bool) -> None:
        self.side, self.mirrored = len(target), mirrored
        self.source = prepare_map(volume[::-1] if mirrored else volume, 1.0, 2.0)
        self.target = prepare_map(target, 1.0, 2.0)
        self.agreement, self.turn, self.shift = -1.0, np.eye(3), np.zeros(3)
        self._search(rings)

    def _ball(self, ring: int) -> NDArray[np.float64]:
        at = np.arange(-ring, ring + 1)
        k = np.stack(np.meshgrid(at, at, at, indexing="ij"), axis=-1).reshape(-1, 3)
        k = k[(np.linalg.norm(k, axis=1) <= ring) & (k[:, 0] >= 0) & (k != 0).any(axis=1)]
        return np.asarray(k / self.side)

    def _search(self, rings: int) -> None:
        """Turns on a grid about the centres of mass, the best of them made exact."""
        views = poses.views(_GRID_DEG)
        spins = np.arange(0.0, 360.0, _GRID_DEG)
        grid = np.concatenate([np.repeat(views, len(spins), axis=0), np.tile(spins, len(views))[:, None]], axis=1)
        turns = poses.to_matrix(grid)
        k = self._ball(_COARSE_RING)
        none = np.zeros(3)
        coarse = [self._agreement(k, turn, none) for turn in turns]
        k = self._ball(rings)
        for start in np.argsort(coarse)[::-1][:_BEST]:
            optimum = climb(lambda p, turn=turns[start]: self._agreement(k, _step(p) @ turn, p[3:]), 6)
            if optimum[0] > self.agreement:
                self.agreement = optimum[0]
                self.turn, self.shift = _step(optimum[1]) @ turns[start], optimum[1][3:]

    @cached_property
    def _centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Phase per frequency of both maps' centres of mass."""
        step = 0.5 / self.side
        pair = [
            np.angle(transform.at(step * np.eye(3))).astype(np.float64) / step
            for transform in (self.source, self.target)
        ]
        return pair[0], pair[1]

    def _values(
        self, k: NDArray[np.float64], turn: NDArray[np.float64], shift: NDArray[np.float64]
    ) -> NDArray[np.complex64]:
        """The map's transform at ``k``, turned, its centre of mass put on the target's and moved on by the shift."""
        turned = k @ turn.T
        mine, goal = self._centres
        phase = k @ goal - turned @ mine - 2.0 * math.pi * (k @ shift)
        return np.asarray(self.source.at(turned) * np.exp(1j * phase), np.complex64)

    def _agreement(self, k: NDArray[np.float64], turn: NDArray[np.float64], shift: NDArray[np.float64]) -> float:
        mine, goal = self._values(k, turn, shift), self.target.at(k)
        power = (np.abs(mine) ** 2).sum() * (np.abs(goal) ** 2).sum()
        return float((mine * np.conj(goal)).real.sum() / max(math.sqrt(power), 1e-30))

    def moved(self) -> NDArray[np.float32]:
        """The map in the target's place."""
        at = (np.arange(self.side) - self.side // 2) / self.side
        z, y, x = np.meshgrid(at, at, at, indexing="ij")
        k = np.stack([x, y, z], axis=-1).reshape(-1, 3)
        return centred_ifft(self._values(k, self.turn, self.shift).reshape((self.side,) * 3))
