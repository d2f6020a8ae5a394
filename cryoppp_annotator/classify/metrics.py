"""What can be said of each class: size, resolution, centring, structure, and whether it looks like particles.

Quality is the chance that most members of a class are particles, from three things measured on its members and its
average: how much better it explains them than noise does (*structure*), how little of it goes on beyond the particle
(*compactness*), and how near the middle it lies (*centring*). ``benchmarks/classify.py --quality`` measures each alone
and all together on sets whose truth is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import expit

from .agreement import ALIGNED_RINGS
from .doubt import LEAST_EVIDENCE
from .engine import MASK, Classification
from .iteration import ClassModel

#: Log odds: constant, weight of asinh(evidence / 3 nats), of the rim, of the offset in mask radii.
_WEIGHTS = (1.15, 3.20, -5.26, -15.9)
#: The same for averages made elsewhere, whose evidence is not known: weight of the log of the share of fine detail.
_WEIGHTS_OF_IMAGES = (11.0, 2.0, -5.26, -8.0)
#: Frequencies from here on are fine detail, cycles per px.
_DETAIL = 0.1
_SECTORS = 24
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
        Where the FRC of the halves, each ring of which had no part in the alignment, falls below 0.143, angstrom (px
        where the pixel size is not known); NaN = never above it, or not an average. At best the finest ring used.
    mean_posterior : float
        Of its members in it, 0 .. 1.
    centring_px : float
        Distance of the average's centre of mass from the centre of the box.
    quality : float
        0 .. 1: chance that most of its members are particles; 0 for the two models.
    evidence : float
        Median over its members of the log likelihood against noise, nats; each member under averages of the half of
        the data that it is not in.
    view_gain : float
        By how much, at the median, that is above what the radial mean of those averages gives, nats; NaN = not known.
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
    evidence: float = 0.0
    view_gain: float = float("nan")


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
    rim, offset = rim_and_offset(model.images(), result.mask_radius)
    backing = result.support if len(result.support) else result.evidence
    gains = result.view_gain if len(result.view_gain) else np.full_like(backing, np.nan)
    of_class = [result.label == column for column in range(k + 2)]
    evidence = np.array([np.median(backing[mine]) if mine.any() else 0.0 for mine in of_class], np.float64)
    gain = [float(np.median(gains[mine])) if mine.any() else 0.0 for mine in of_class]
    quality = np.where(counts[:k] > 0, quality_of(evidence[:k], rim, offset / (result.mask_radius * box)), 0.0)
    seen = (np.arange(k + 2) < k) & (evidence >= LEAST_EVIDENCE)
    order = [*np.argsort(-counts[:k], kind="stable").tolist()]
    if model.share[k:].any():
        order += [k, k + 1]
    total = max(1, int(counts.sum()))
    measures = []
    for number, column in enumerate(order, 1):
        mine = result.label == column
        average = column < k
        measures.append(
            ClassMetrics(
                number,
                column,
                Kind.STRUCTURE if average else (Kind.EMPTY, Kind.OUTLIER)[column - k],
                int(counts[column]),
                float(counts[column] / total),
                resolution(model.frc[column], box, pixel_size_A or 1.0) if seen[column] else float("nan"),
                float(result.posterior[mine, column].mean()) if mine.any() else 0.0,
                float(offset[column]) if average else 0.0,
                float(quality[column]) if average else 0.0,
                float(evidence[column]),
                gain[column],
            )
        )
    return tuple(measures)


def class_averages(
    model: ClassModel,
    label: NDArray[np.int32],
    classes: Sequence[ClassMetrics],
    images: Any,
    most_members: int | None = None,
) -> NDArray[np.float32]:
    """What each class looks like; of the empty and the outlier model, the plain mean of their members.

    Parameters
    ----------
    model : ClassModel
    label : (n,) int32
        Column of each image in the model; -1 = not usable.
    classes : sequence of ClassMetrics
    images : (n, box, box) float32, yx
        An array, or what gives one for an integer index.
    most_members : int, optional
        So many members of a model are averaged at most.

    Returns
    -------
    (k, box, box) float32, yx
        In the order of ``classes``.
    """
    drawn = model.images()
    averages = np.zeros((len(classes), *drawn.shape[1:]), np.float32)
    for place, item in enumerate(classes):
        members = np.flatnonzero(label == item.column)[:most_members]
        if item.kind is Kind.STRUCTURE:
            averages[place] = drawn[item.column]
        elif len(members):
            averages[place] = np.mean(images[members], axis=0, dtype=np.float64)
    return averages


def measure_images(
    images: NDArray[np.float32],
    counts: NDArray[np.int64],
    resolution_A: NDArray[np.float64],
    mask_radius: float | None = MASK,
) -> tuple[ClassMetrics, ...]:
    """Measure averages of other programs, in their order.

    Parameters
    ----------
    images : (k, box, box) float32, yx, white object
        A flat one has quality 0.
    counts : (k,) int64
        Members of each.
    resolution_A : (k,) float64, angstrom
    mask_radius : float or None
        What they were masked with, as a share of the box; None = too small to be measured: quality and centring NaN.
    """
    k = len(images)
    images = np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)
    flat = ~images.any(axis=(1, 2))
    offset, quality = np.full(k, np.nan), np.full(k, np.nan)
    if mask_radius is not None:
        offset, quality = rim_and_offset(images, mask_radius)[1], image_quality(images, mask_radius)
        offset[flat], quality[flat] = np.nan, 0.0
    share = counts / max(1, int(counts.sum()))
    columns = (counts, share, resolution_A, np.full(k, np.nan), offset, quality)
    return tuple(
        ClassMetrics(place + 1, place, Kind.STRUCTURE, int(count), *map(float, values))
        for place, (count, *values) in enumerate(zip(*columns, strict=True))
    )


def resolution(frc: NDArray[np.float32], box: int, pixel_size_A: float) -> float:
    """Wavelength of the last ring before the FRC (n_rings,) first falls below 0.143, angstrom.

    NaN where that is no more than the rings that must align the particles (:data:`~.agreement.ALIGNED_RINGS`).
    """
    below = np.flatnonzero(frc < THRESHOLD_FRC)
    ring = int(below[0]) if below.size else len(frc)
    return float("nan") if ring <= ALIGNED_RINGS[0] else box * pixel_size_A / ring


def quality_of(
    evidence: NDArray[np.float64], rim: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quality of classes, (k,) 0 .. 1.

    Parameters
    ----------
    evidence : (k,) float64, nats
        Median of the members'.
    rim : (k,) float64
        As of :func:`rim_and_offset`.
    offset : (k,) float64
        Of the centre of mass, in radii of the mask.
    """
    constant, structure, compactness, centring = _WEIGHTS
    odds = constant + structure * np.arcsinh(evidence / 3.0) + compactness * rim + centring * offset
    return np.asarray(expit(odds) * np.clip(evidence / LEAST_EVIDENCE, 0.0, 1.0))


def image_quality(images: NDArray[np.float32], mask_radius: float = MASK) -> NDArray[np.float64]:
    """Quality of averages alone, (k,) 0 .. 1, for classes of other programs: detail, compactness, centring.

    Parameters
    ----------
    images : (k, box, box) float32, yx, white object
    mask_radius : float
        What the averages were masked with, as a share of the box.
    """
    box = images.shape[1]
    rim, offset = rim_and_offset(images, mask_radius)
    constant, structure, compactness, centring = _WEIGHTS_OF_IMAGES
    odds = constant + structure * np.log(detail(images, mask_radius)) + compactness * rim
    return np.asarray(expit(odds + centring * offset / (mask_radius * box)))


def detail(images: NDArray[np.float32], mask_radius: float = MASK) -> NDArray[np.float64]:
    """Share of the power of averages (k, box, box) that lies at 0.1 to 0.3 cycles per px, (k,), above 0."""
    box = images.shape[1]
    yy, xx = np.indices((box, box)) - box // 2
    radius = np.hypot(yy, xx)
    window = np.clip((0.94 * mask_radius * box - radius) / 4.0 + 0.5, 0.0, 1.0).astype(np.float32)
    level = images[:, radius > 0.94 * mask_radius * box].mean(axis=1)
    power = np.abs(scipy.fft.fft2((images - level[:, None, None]) * window)) ** 2
    frequency = np.hypot(scipy.fft.fftfreq(box)[:, None], scipy.fft.fftfreq(box))
    whole = power[:, (frequency > 0) & (frequency < 0.3)].sum(axis=1)
    fine = power[:, (frequency >= _DETAIL) & (frequency < 0.3)].sum(axis=1)
    return np.asarray(np.maximum(fine / np.maximum(whole, 1e-30), 1e-6), np.float64)


def rim_and_offset(
    images: NDArray[np.float32], mask_radius: float = MASK
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far images are from a compact object in the middle.

    Parameters
    ----------
    images : (k, box, box) float32, yx, white object
    mask_radius : float
        What they were masked with, as a share of the box.

    Returns
    -------
    rim : (k,) float64
        Variance along the circle of what lies between 0.8 and 1 mask radius, over that of all within the mask. A round
        particle as large as the mask has none, speckle and edges that go on beyond it have much. 1 for a flat image.
    offset : (k,) float64, px
        Of the centre of mass of what is brighter than the rim.
    """
    box = images.shape[1]
    yy, xx = np.indices((box, box)) - box // 2
    radius = np.hypot(yy, xx) / (mask_radius * box)
    within, along = radius < 1.0, (radius > 0.8) & (radius < 1.0)
    sector = ((np.arctan2(yy, xx) / (2.0 * np.pi) + 0.5) * _SECTORS).astype(int) % _SECTORS
    profile = np.stack([images[:, along & (sector == s)].mean(axis=1) for s in range(_SECTORS)], axis=1)
    whole = images[:, within].astype(np.float64).var(axis=1)
    rim = np.divide(profile.astype(np.float64).var(axis=1), whole, out=np.ones(len(images)), where=whole > 0)
    around = images[:, (radius > 0.85) & within].astype(np.float64)
    level = around.mean(axis=1) + around.std(axis=1)
    mass = np.clip(images - level[:, None, None], 0.0, None) * within
    total = np.maximum(mass.sum(axis=(1, 2)), 1e-12)
    return rim, np.hypot((mass * yy).sum(axis=(1, 2)) / total, (mass * xx).sum(axis=(1, 2)) / total)
