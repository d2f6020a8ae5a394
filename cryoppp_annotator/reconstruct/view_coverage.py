"""How evenly a map was looked at, and whether a rejection would lose a view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import poses, symmetry

#: Half width of a central section, as the cosine of the angle to its normal.
_SECTION = 0.1
_EVEN_GRID_DEG = 7.0
_CONES_DEG = tuple(range(10, 91, 5))
#: A cone counts as empty with less than this share of what even views would put into it.
_EMPTY = 0.1


@dataclass(frozen=True, slots=True)
class ViewSpread:
    """Evenness of views.

    Attributes
    ----------
    sampling : float
        Sampling compensation factor (Baldwin & Lyumkis 2020, doi:10.1016/j.pbiomolbio.2019.09.002): 1 = every direction
        of the map's transform is seen equally often, 0 = some are never seen.
    empty_cone_deg : float
        Half angle of the widest cone that holds less than a tenth of its share of views; 0 = none of 10 degrees.
    empty_rot_deg, empty_tilt_deg : float
        Where that cone points.
    """

    sampling: float
    empty_cone_deg: float
    empty_rot_deg: float
    empty_tilt_deg: float


def all_directions(matrices: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Directions of view with their symmetric copies and opposites, (m, 3): an opposite view is a mirror image."""
    group = symmetry.rotations(name)
    copies = np.einsum("gji,nj->gni", group, poses.directions(matrices)).reshape(-1, 3)
    return np.concatenate([copies, -copies])


def spread_of(matrices: NDArray[np.float64], name: str = "C1") -> ViewSpread:
    """Evenness of the views of poses (n, 3, 3)."""
    if not len(matrices):
        return ViewSpread(0.0, 90.0, 0.0, 0.0)
    seen = all_directions(matrices, name)
    if len(seen) > 20_000:
        seen = seen[:: len(seen) // 20_000 + 1]
    grid = _grid()
    along = grid @ seen.T
    visits = np.exp(-0.5 * (along / _SECTION) ** 2).mean(axis=1)
    visits /= _SECTION * math.sqrt(math.pi / 2.0)  # what even views give
    sampling = float(1.0 / np.mean(1.0 / np.maximum(visits, 1e-3)))
    cone, at = 0.0, 0
    for half_angle in _CONES_DEG:
        expected = 0.5 * (1.0 - math.cos(math.radians(half_angle)))
        share = (along > math.cos(math.radians(half_angle))).mean(axis=1) / expected
        if share.min() >= _EMPTY:
            break
        cone, at = float(half_angle), int(share.argmin())
    x, y, z = grid[at]
    return ViewSpread(min(1.0, sampling), cone, math.degrees(math.atan2(y, x)), math.degrees(math.acos(z)))


def _grid() -> NDArray[np.float64]:
    """Directions all over the sphere, (v, 3)."""
    views = poses.views(_EVEN_GRID_DEG)
    return poses.directions(poses.to_matrix(np.concatenate([views, np.zeros((len(views), 1))], axis=1)))


@dataclass(frozen=True, slots=True)
class LostView:
    """A view that a rejection removes.

    Attributes
    ----------
    rot_deg, tilt_deg : float
        Where it lies.
    before, after : int
        Picks within 15 degrees of it.
    """

    rot_deg: float
    tilt_deg: float
    before: int
    after: int

    def sentence(self) -> str:
        """For the status line."""
        return (
            f"the view at rot {self.rot_deg:.0f}, tilt {self.tilt_deg:.0f} degrees keeps {self.after} of its "
            f"{self.before} picks"
        )


#: Radius of what counts as one view, degrees.
VIEW_DEG = 15.0
#: A view is lost where it keeps less than this share of what the others keep.
_KEPT = 0.25
#: Fewer picks than this are no view.
_LEAST_PICKS = 8


def are_lost(before: NDArray[np.integer], after: NDArray[np.integer], overall: float) -> NDArray[np.bool_]:
    """Which views lose nearly all of their picks, and that not by chance.

    Parameters
    ----------
    before, after : (v,) int
        Picks of each view.
    overall : float
        Share of all picks that stay.
    """
    expected = before * overall
    doubt = np.sqrt(np.maximum(expected * (1.0 - overall), 1e-9)) if overall < 1 else np.ones(len(expected))
    surely = expected - after > 3.0 * np.minimum(doubt, expected / 3)
    return np.asarray((before >= _LEAST_PICKS) & (after < _KEPT * expected) & surely)


def lost_views(matrices: NDArray[np.float64], kept: NDArray[np.bool_], name: str = "C1") -> list[LostView]:
    """Views that nearly only rejected picks hold, the largest first.

    Parameters
    ----------
    matrices : (n, 3, 3) float64
        Poses of confident particles.
    kept : (n,) bool
        Which stay.
    name : str
        Of the symmetry. A view and its opposite are one.
    """
    if not len(matrices) or kept.all():
        return []
    group = symmetry.rotations(name)
    seen = poses.directions(matrices)
    overall = float(kept.mean())
    grid = _grid()
    near = np.abs(np.einsum("gij,vj->gvi", group, grid) @ seen.T).max(axis=0) > math.cos(math.radians(VIEW_DEG))
    before, after = near.sum(axis=1), (near & kept).sum(axis=1)
    lost = are_lost(before, after, overall)
    out: list[LostView] = []
    taken = np.zeros(len(grid), bool)
    for at in np.argsort(-(before - after), kind="stable"):
        if not lost[at] or taken[at]:
            continue
        x, y, z = grid[at]
        rot, tilt = math.degrees(math.atan2(y, x)), math.degrees(math.acos(z))
        out.append(LostView(rot, tilt, int(before[at]), int(after[at])))
        apart = np.abs(np.einsum("gij,vj->gvi", group, grid) @ grid[at]).max(axis=0)
        taken |= apart > math.cos(math.radians(2.0 * VIEW_DEG))
    return out
