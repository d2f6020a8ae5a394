"""Up to which ring the averages of two halves agree where nothing aligned them.

Noise that is aligned on an average agrees with it, and so do both halves of any class. Rings that had no part in the
alignment have no such reason: what the halves share there is structure (as with phases randomised beyond a ring).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import ring_power
from ..model.context import JobContext
from .expectation import Partition, Sums, expect
from .iteration import ClassModel, Piece, half_correlation, loaded, references_of

_QUIET = JobContext()
#: Particles are aligned with the rings up to each of these, and what lies beyond is measured: the more rings align, the
#: finer it is. Up to the first, nothing can be said: a resolution of less is none.
ALIGNED_RINGS = (3, 5, 7, 9)
#: Rings beyond those, of which the mask makes the nearest repeat their noise.
_SPARED_RINGS = 1
#: Largest shift of these alignments, px, and its step.
_SHIFTS_PX = (3.0, 1.5)
#: Standard errors that a correlation must be above to be one: fourteen averages of noise have many rings.
_STANDARD_ERRORS = 3.0


def independent_frc(
    parts: Sequence[Partition | Piece],
    model: ClassModel,
    dof: float,
    *,
    pool: Executor,
    context: JobContext = _QUIET,
) -> NDArray[np.float32]:
    """Ring correlation of the halves of each class on rings that had no part in the alignment.

    Parameters
    ----------
    parts : sequence of Partition or Piece
    model : ClassModel
    dof : float
        Independent samples per Fourier pixel.
    pool : Executor
    context : JobContext

    Returns
    -------
    (k, n_rings) float32
        1 on rings that aligned, as many as leave something beyond; 0 where it is within three standard errors of 0.

    Raises
    ------
    Cancelled
    """
    n_rings = model.frc.shape[1]
    out = np.zeros_like(model.frc)
    out[:, : ALIGNED_RINGS[0]] = 1.0
    for rings in ALIGNED_RINGS:
        first = rings + _SPARED_RINGS
        if first < n_rings:
            sums = _aligned(parts, model, dof, rings, pool, context)
            frc = half_correlation(sums)
            frc = np.where(frc > _STANDARD_ERRORS * _error_of_none(sums), frc, np.float32(0.0))
            frc[:, :first] = 1.0
            beyond = frc[:, first] > 0.0
            out[beyond] = frc[beyond]
    return out


def _error_of_none(sums: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Standard error of the correlation of halves that have nothing in common, (k, n_rings), from their sums.

    Where particles are hardly turned by what aligns them, only the radial mean is left: one sample a ring.
    """
    first, second = sums.real**2 + sums.imag**2
    together = first * second
    scale = ring_power(sums[0]) * ring_power(sums[1])
    variance = (2.0 * together.sum(axis=0) - together[0]) / np.maximum(scale, 1e-30)
    return np.asarray(np.sqrt(variance), np.float32)


def _aligned(
    parts: Sequence[Partition | Piece],
    model: ClassModel,
    dof: float,
    rings: int,
    pool: Executor,
    context: JobContext,
) -> NDArray[np.complex64]:
    """Sums of particles by half (2, n_orders, k, n_rings), aligned with the first ``rings`` alone."""
    orders = model.orders.copy()
    orders[:, :, rings:] = 0.0
    references, grid = references_of(replace(model, orders=orders), dof, (model.frc.shape[1], *_SHIFTS_PX))
    # the outlier model must not see beyond either
    outlier = references.outlier.copy()
    outlier[rings:] = 0.0
    references = replace(references, outlier=outlier)

    def work(part: Partition | Piece) -> Sums:
        return expect(loaded(part, context), references, grid, context=context)[0]

    return reduce(lambda a, b: a + b, pool.map(work, parts)).numerator
