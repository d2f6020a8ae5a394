"""The work of a verdict on one piece of a stack, here or on a worker of a cluster: searching and refining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..model.context import JobContext
from . import poses
from .fourier_map import FourierMap
from .local import Data, Refined, refine
from .match import Matches, Projections, Spectra, search
from .prepared_boxes import Stack, degrees_of_freedom, half_plane, normalised, plane_ctf, plane_values, polar_boxes


@dataclass(frozen=True, eq=False)
class Piece:
    """Some of the images, as a worker gets them, and the likelihood and place of their views once there are any."""

    number: int
    stack: Stack
    candidates: tuple[NDArray[Any], ...]


def in_order(numbered: list[tuple[int, Any]]) -> list[Any]:
    """Results by their numbers, without them."""
    return [result for _, result in sorted(numbered, key=lambda one: one[0])]


def data_of(part: Stack, fine: int, radius: float) -> Data:
    """Images as the refinement takes them, out to ring ``fine``; ``radius`` of the mask, as a share of the box."""
    plane = half_plane(part.box, fine)
    images, _ = normalised(part.images, radius)
    return Data(
        plane_values(images, plane),
        plane_ctf(part, plane),
        plane,
        part.box,
        part.pixel_size_A,
        degrees_of_freedom(part.box, radius),
    )


def search_piece(
    piece: Piece, *, references: Projections, spectra: Spectra, radius: float, context: JobContext
) -> tuple[Matches, NDArray[np.bool_]]:
    """All views of a piece of the stack, and which of its images can be used."""
    with threadpool_limits(limits=1, user_api="blas"):
        boxes, good = polar_boxes(piece.stack, references.grid, radius)
        return search(boxes, references, spectra, context=context), good


def refine_piece(
    piece: Piece,
    *,
    source: FourierMap,
    references: Projections,
    spectra: Spectra,
    fine: int,
    modes: int,
    radius: float,
    symmetry: str,
    context: JobContext,
) -> tuple[NDArray[np.float64], ...]:
    """The likeliest poses of a piece of the stack, refined; weights and expected errors."""
    by_view, place = piece.candidates
    n = len(by_view)
    modes = min(modes, by_view.shape[1])
    view = np.argpartition(-by_view, modes - 1, axis=1)[:, :modes].ravel()
    image = np.repeat(np.arange(n), modes)
    matrices, shifts = placed(references, place[image, view], view)
    pair = (spectra.noise[:fine], spectra.gain[:fine])
    with threadpool_limits(limits=1, user_api="blas"):
        data = data_of(piece.stack, fine, radius)
        refined = refine(source, data, image, matrices, shifts, pair, context=context)
    return ordered(refined, n, modes, symmetry)


def placed(
    references: Projections, place: NDArray[np.int32], view: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices (m, 3, 3) and shifts (m, 2), xy, px, of a view's rotation and shift as the search numbers them."""
    n_shifts = len(references.shifts)
    turn = 2.0 * np.pi * (place // n_shifts) / references.grid.n_angles
    y, x = references.shifts[place % n_shifts].T.astype(np.float64)
    cosine, sine = np.cos(turn), np.sin(turn)
    matrices = references.matrices[view].copy()
    first, second = matrices[:, 0].copy(), matrices[:, 1].copy()
    matrices[:, 0] = cosine[:, None] * first - sine[:, None] * second
    matrices[:, 1] = sine[:, None] * first + cosine[:, None] * second
    return matrices, np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1)


def ordered(
    refined: Refined, n: int, modes: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Refined poses by image, the likeliest first: matrices, shifts, weights, expected error of the first in degrees.

    Starts that climbed to one pose count once.
    """
    score = (refined.gain + refined.log_volume).reshape(n, modes)
    order = np.argsort(-score, axis=1)
    at = (order + np.arange(n)[:, None] * modes).ravel()
    matrices = refined.matrices[at].reshape(n, modes, 3, 3)
    score = np.take_along_axis(score, order, axis=1)
    apart = np.zeros((n, modes))
    for j in range(1, modes):
        for i in range(j):
            distance = poses.distance_deg(matrices[:, i], matrices[:, j], name)
            if i == 0:
                apart[:, j] = distance
            score[distance < np.maximum(1.0, 0.5 * refined.turn_deg[at].reshape(n, modes)[:, j]), j] = -np.inf
    weights = np.exp(score - score[:, :1])
    weights /= weights.sum(axis=1, keepdims=True)
    own = refined.turn_deg[at].reshape(n, modes)
    error = np.sqrt((weights * (own**2 + apart**2)).sum(axis=1))
    return matrices, refined.shifts[at].reshape(n, modes, 2), weights, error
