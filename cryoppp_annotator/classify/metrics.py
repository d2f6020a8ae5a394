"""What can be said of each class: size, resolution, centring, structure, and whether it looks like particles.

Measured on ``bench/class2d`` (three seeds): the variance of an average at the rim of the mask over that in its middle
is 0.02 - 0.17 for views of a particle and 0.27 - 1.33 for edges, ice and mixtures; the FRC alone does not tell them
apart, because an edge repeats as well as a particle does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .engine import Classification

#: Share of the rings over which the FRC is averaged: finer ones are mostly noise.
_COARSE = 2 / 3
#: Rim variance over that of the middle, and distance of the centre as a share of the box, that count as nothing good.
_WORST_RIM, _WORST_OFFSET = 0.5, 0.3
THRESHOLD_FRC = 0.143


class Kind(StrEnum):
    """What a class stands for."""

    STRUCTURE = "structure"
    EMPTY = "empty"
    OUTLIER = "outlier"


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class in numbers.

    Attributes
    ----------
    id : int
        From 1, largest first; the empty and the outlier model come last.
    column : int
        Its column in :attr:`~.engine.Classification.posterior`.
    kind : Kind
    count : int
    share : float
        Of the classified particles, 0 .. 1.
    resolution_A : float
        Where the FRC of the halves falls below 0.143, angstrom (px where the pixel size is not known); NaN = never
        above it, or not an average. At best the finest ring used.
    mean_posterior : float
        Of its members in it, 0 .. 1.
    centring_px : float
        Distance of the average's centre of mass from the centre of the box.
    quality : float
        0 .. 1: agreement of the halves, times compactness, times centring; 0 for the two models.
    """

    id: int
    column: int
    kind: Kind
    count: int
    share: float
    resolution_A: float
    mean_posterior: float
    centring_px: float
    quality: float


def measure(result: Classification, pixel_size_A: float | None = None) -> tuple[ClassMetrics, ...]:
    """Measure every class, the largest first, the two models (where used) last.

    Parameters
    ----------
    result : Classification
    pixel_size_A : float, optional
        Of the stack.
    """
    model = result.model
    k, box = len(model.frc), model.grid.box
    counts = np.bincount(result.label[result.label >= 0], minlength=k + 2)
    rim, offset = rim_and_offset(model.images())
    coarse = np.clip(model.frc[:, : max(1, round(_COARSE * model.grid.n_rings))], 0.0, 1.0).mean(axis=1)
    compact = np.clip(1.0 - rim / _WORST_RIM, 0.0, 1.0)
    centred = np.clip(1.0 - offset / (_WORST_OFFSET * box), 0.0, 1.0)
    quality = np.where(counts[:k] > 0, coarse * compact * centred, 0.0)
    order = [*np.argsort(-counts[:k], kind="stable").tolist()]
    if model.share[k:].any():
        order += [k, k + 1]
    total = max(1, int(counts.sum()))
    found = []
    for number, column in enumerate(order, 1):
        mine = result.label == column
        average = column < k
        found.append(
            ClassMetrics(
                number,
                column,
                Kind.STRUCTURE if average else (Kind.EMPTY, Kind.OUTLIER)[column - k],
                int(counts[column]),
                float(counts[column] / total),
                resolution(model.frc[column], box, pixel_size_A or 1.0) if average else float("nan"),
                float(result.posterior[mine, column].mean()) if mine.any() else 0.0,
                float(offset[column]) if average else 0.0,
                float(quality[column]) if average else 0.0,
            )
        )
    return tuple(found)


def resolution(frc: NDArray[np.float32], box: int, pixel_size_A: float) -> float:
    """Wavelength of the last ring before the FRC (n_rings,) first falls below 0.143, angstrom; NaN = none."""
    below = np.flatnonzero(frc < THRESHOLD_FRC)
    ring = int(below[0]) if below.size else len(frc)
    return float("nan") if ring == 0 else box * pixel_size_A / ring


def rim_and_offset(images: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far images are from a compact object in the middle.

    Parameters
    ----------
    images : (k, box, box) float32, yx, white object

    Returns
    -------
    rim : (k,) float64
        Variance between 0.40 and 0.47 of the box from its centre, over that within 0.30; infinite for a flat image.
    offset : (k,) float64, px
        Of the centre of mass of what is brighter than the rim.
    """
    box = images.shape[1]
    yy, xx = np.indices((box, box)) - box // 2
    radius = np.hypot(yy, xx)
    outer, inner = (radius > 0.40 * box) & (radius < 0.47 * box), radius < 0.30 * box
    around, middle = images[:, outer].astype(np.float64), images[:, inner].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        rim = np.nan_to_num(around.var(axis=1) / middle.var(axis=1), nan=np.inf)
    level = around.mean(axis=1) + around.std(axis=1)
    mass = np.clip(images - level[:, None, None], 0.0, None) * (radius < 0.47 * box)
    total = np.maximum(mass.sum(axis=(1, 2)), 1e-12)
    return rim, np.hypot((mass * yy).sum(axis=(1, 2)) / total, (mass * xx).sum(axis=(1, 2)) / total)
