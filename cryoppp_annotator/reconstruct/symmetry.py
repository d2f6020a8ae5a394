"""Point groups as rotations, in the orientation that RELION gives them."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError

_GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0
_NAME = re.compile(r"(?:([CD])(\d+)|T|O|I)\Z")
#: Of an axis; no particle has more, and as many rotations are compared with each other.
_MOST_FOLDS = 100
#: A direction that lies on no axis and in no mirror plane of any group: the cell around it is an asymmetric unit.
_GENERIC = np.array([0.2731, 0.1129, 0.9553])


def _turn(axis: tuple[float, float, float], fold: int) -> NDArray[np.float64]:
    """Rotation by ``1 / fold`` of a circle about an axis, (3, 3)."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = 2.0 * math.pi / fold
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross)


def _generators(name: str) -> list[NDArray[np.float64]]:
    match = _NAME.match(name)
    if match is None or (match.group(1) and not 0 < int(match.group(2)[:9]) <= _MOST_FOLDS):
        known = f"C1, Cn, Dn (n up to {_MOST_FOLDS}), T, O or I"
        raise EngineError(f"{name[:40]!r} is no symmetry that is known here: give {known}")
    z = (0.0, 0.0, 1.0)
    if match.group(1):
        fold = int(match.group(2))
        return [_turn(z, fold)] + ([_turn((1.0, 0.0, 0.0), 2)] if match.group(1) == "D" else [])
    return {
        "T": [_turn(z, 3), _turn((0.0, math.sqrt(2.0 / 3.0), math.sqrt(1.0 / 3.0)), 2)],
        "O": [_turn((1.0, 1.0, 1.0), 3), _turn(z, 4)],
        "I": [_turn(z, 2), _turn((1.0, 0.0, _GOLDEN), 5), _turn((0.0, 1.0, _GOLDEN**2), 3)],
    }[name]


@lru_cache(maxsize=32)
def rotations(name: str) -> NDArray[np.float64]:
    """All rotations of a point group, the identity first.

    Parameters
    ----------
    name : str
        C1, Cn, Dn (the n-fold axis on z, a twofold axis on x), T (a threefold axis on z), O (a fourfold axis on z) or
        I (twofold axes on x, y and z; a fivefold axis in the xz plane): RELION's orientations, capital or not.

    Returns
    -------
    (g, 3, 3) float64, on xyz column vectors

    Raises
    ------
    EngineError
        The name is none of these.
    """
    generators = _generators(name.strip().upper())
    group = [np.eye(3)]
    grown = True
    while grown:
        grown = False
        for generator in generators:
            for element in list(group):
                product = generator @ element
                if not any(np.abs(product - known).max() < 1e-6 for known in group):
                    group.append(product)
                    grown = True
    return np.stack(group)


def in_unit(directions: NDArray[np.float64], name: str, *, mirrored: bool = False) -> NDArray[np.bool_]:
    """Which directions lie in one asymmetric unit of the sphere of views.

    Parameters
    ----------
    directions : (n, 3) float64, unit vectors, xyz
    name : str
        Of the symmetry.
    mirrored : bool
        Take a direction and its opposite as one: their projections are mirror images.

    Returns
    -------
    (n,) bool
    """
    group = rotations(name)
    copies = np.concatenate([group, -group]) if mirrored else group
    centre = _GENERIC / np.linalg.norm(_GENERIC)
    nearness = directions @ (copies @ centre).T
    return np.asarray(nearness.argmax(axis=1) == 0)


def to_unit(directions: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The symmetric copy of each direction that lies in the asymmetric unit, (n, 3) float64."""
    group = rotations(name)
    centre = _GENERIC / np.linalg.norm(_GENERIC)
    best = (directions @ (group @ centre).T).argmax(axis=1)
    return np.asarray(np.einsum("nji,nj->ni", group[best], directions))
