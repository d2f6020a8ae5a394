"""Does a map have a symmetry, and do its axes lie where RELION expects them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import poses, symmetry
from .align import climb
from .fourier_map import FourierMap, centred_ifft, prepare_map, resized

_GRID_DEG = 12.0
#: Finest ring of the comparison.
_RINGS = 8
#: Axes that are refined.
_BEST = 6
#: Agreement of symmetric copies from which a map counts as symmetric.
HAS = 0.8
#: Agreement of symmetric copies from which a map stays as it lies.
STAYS = 0.97


@dataclass(frozen=True, eq=False)
class Oriented:
    """A map with its axes in RELION's places.

    Attributes
    ----------
    volume : (n, n, n) float32
    agreement : float
        Least correlation of the map with its symmetric copies, out to ring 8.
    turned_deg, moved_px : float
        How far it had to be turned and moved; 0 where it stayed as it lay.
    """

    volume: NDArray[np.float32]
    agreement: float
    turned_deg: float
    moved_px: float


def orient(volume: NDArray[np.generic], name: str) -> Oriented:
    """Turn and move a map so that its symmetry axes lie where RELION has them.

    Parameters
    ----------
    volume : (a, b, c) real array, zyx
    name : str
        Of the symmetry; C1 leaves the map alone.

    Raises
    ------
    EngineError
        It is no map, or the symmetry is not known.
    """
    group = symmetry.rotations(name)
    cube = np.asarray(resized(np.asarray(volume, np.float32), max(volume.shape)))
    if len(group) == 1:
        return Oriented(cube, 1.0, 0.0, 0.0)
    side = len(cube)
    source = prepare_map(cube, 1.0, max(2.0, side / (_RINGS + 4)))
    k = _ball(side)
    as_it_lies = _agreement(source, k, group, np.eye(3), np.zeros(3))
    if as_it_lies >= STAYS:
        return Oriented(cube, as_it_lies, 0.0, 0.0)
    step = 0.5 / side
    centre = -np.angle(source.at(step * np.eye(3))).astype(np.float64) / (2.0 * np.pi * step)
    best, turn, shift = as_it_lies, np.eye(3), np.zeros(3)
    for start in _starts(source, side, group, centre):
        optimum = climb(lambda p, first=start: _agreement(source, k, group, _step(p) @ first, centre + p[3:]), 6)
        if optimum[0] > best + 0.005:
            best, turn, shift = optimum[0], _step(optimum[1]) @ start, centre + optimum[1][3:]
    angle = float(poses.distance_deg(turn[None], np.eye(3)[None], name)[0])
    if best <= as_it_lies:
        return Oriented(cube, as_it_lies, 0.0, 0.0)
    moved = _moved(prepare_map(cube, 1.0, 2.0), side, turn, shift)
    return Oriented(moved, best, angle, float(np.linalg.norm(shift)))


def _step(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(poses.turned(0.1 * p[None, :3])[0])


def orient_and_say(volume: NDArray[np.generic], name: str) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """The map (n, n, n) with its axes in place, and what to tell of it."""
    optimum = orient(volume, name)
    if optimum.agreement < HAS:
        return volume, (f"the map does not have symmetry {name}: its copies agree to {optimum.agreement:.2f} only",)
    if not optimum.turned_deg and not optimum.moved_px:
        return volume, ()
    text = f"the map was turned by {optimum.turned_deg:.0f} degrees and moved by {optimum.moved_px:.1f} voxels"
    return optimum.volume, (f"{text}, so that its {name} axes lie where RELION has them; poses refer to that",)


def _ball(side: int, rings: int = _RINGS) -> NDArray[np.float64]:
    at = np.arange(-rings, rings + 1)
    k = np.stack(np.meshgrid(at, at, at, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.linalg.norm(k, axis=1)
    return np.asarray(k[(radius <= rings) & (radius > 0.5) & (k[:, 0] >= 0)] / side)


def _agreement(
    source: FourierMap,
    k: NDArray[np.float64],
    group: NDArray[np.float64],
    turn: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> float:
    """Least correlation of the turned map with its copies, its centre ``shift`` put to the origin."""

    def values(at: NDArray[np.float64]) -> NDArray[np.complex64]:
        turned = at @ turn
        return np.asarray(source.at(turned) * np.exp(2j * np.pi * (turned @ shift)), np.complex64)

    first = values(k)
    power = float((np.abs(first) ** 2).sum())
    copies = group[1 : 1 + min(len(group) - 1, 6)] if len(group) > 2 else group[1:]
    worst = [float((first * np.conj(values(k @ copy.T))).real.sum()) for copy in copies]
    return min(worst) / max(power, 1e-30)


def _starts(
    source: FourierMap, side: int, group: NDArray[np.float64], centre: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    views = poses.views(_GRID_DEG)
    spins = np.arange(0.0, 360.0, _GRID_DEG)
    grid = np.concatenate([np.repeat(views, len(spins), axis=0), np.tile(spins, len(views))[:, None]], axis=1)
    turns = poses.to_matrix(grid)
    k = _ball(side, 4)
    generators = group[[1, len(group) // 2]] if len(group) > 2 else group
    values = np.array([_agreement(source, k, np.concatenate([group[:1], generators]), turn, centre) for turn in turns])
    return [np.eye(3), *turns[np.argsort(-values)[:_BEST]]]


def _moved(source: FourierMap, side: int, turn: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    at = (np.arange(side) - side // 2) / side
    z, y, x = np.meshgrid(at, at, at, indexing="ij")
    places = np.stack([x, y, z], axis=-1).reshape(-1, 3) @ turn
    values = source.at(places) * np.exp(2j * np.pi * (places @ shift))
    return centred_ifft(np.asarray(values.reshape((side,) * 3), np.complex64))
