"""The exact defocus: rings, their envelope and the background by least squares together, from a start near it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .ctf import Defocus, Optics, electron_wavelength_A
from .ctf_fit_model import Rings, fixed_phase, spline_basis
from .ctf_fit_search import Match

#: Gauss-Newton steps of each round.
_ITERATIONS = 12
#: Rounds, each with new weights.
_REWEIGHTINGS = 2
#: Largest change of a defocus in a step, angstrom.
_MOST_STEP_A = 400.0
#: Largest change of the angle in a step, radians.
_MOST_TURN = 0.3
_CLOSE_A = 0.5
#: Relative damping of the normal equations.
_DAMPING = 1e-9
#: Pieces of the spline of the envelope.
_ENVELOPE_PIECES = 2
#: Rings over which the structure that no model explains is averaged.
_STRUCTURE_RINGS = 15


@dataclass(frozen=True, eq=False)
class Refined:
    """The end of :func:`refine`.

    Attributes
    ----------
    defocus : Defocus
        ``u >= v``, angle -90 .. 90.
    phase_shift_deg : float
        Beside that of the optics.
    error_A : float
        Standard error of the mean defocus, from the residuals.
    envelope, rest : (n_rings,) float64
        Of the rings (in the units of ``Rings.signal``), and what is left of the background.
    """

    defocus: Defocus
    phase_shift_deg: float
    error_A: float
    envelope: NDArray[np.float64]
    rest: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Fit:
    """Where the fit stands: mean defocus, the two parts of the astigmatism (A), the phase shift (rad), and the rest."""

    values: NDArray[np.float64]
    error_A: float
    envelope: NDArray[np.float64]
    rest: NDArray[np.float64]
    residual: NDArray[np.float64]


def refine(
    rings: Rings, optics: Optics, start: Match, n_pieces: int, *, fit_phase: bool = False, only_mean: bool = False
) -> Refined:
    """Least squares of rings, envelope and background together (Gauss-Newton), three times.

    Structure of the particles makes further rings, which no smooth background follows: after each time a ring of
    the spectrum weighs less, the more its mean over the sectors departs from the model.

    Parameters
    ----------
    rings : Rings
    optics : Optics
    start : Match
    n_pieces : int
        Of the spline of the background.
    fit_phase : bool
        Whether the phase shift is free.
    only_mean : bool
        Whether the astigmatism stays as it is.
    """
    half, twice = (start.defocus.u_A - start.defocus.v_A) / 2.0, 2.0 * math.radians(start.defocus.angle_deg)
    parts = (half * math.cos(twice), half * math.sin(twice))
    values = np.array([(start.defocus.u_A + start.defocus.v_A) / 2.0, *parts, math.radians(start.phase_shift_deg)])
    free = np.array([True, not only_mean, not only_mean, fit_phase])
    fit = _descend(values, rings, rings.weight, optics, n_pieces, free)
    for _ in range(_REWEIGHTINGS):
        fit = _descend(fit.values, rings, _reweighted(rings, fit.residual), optics, n_pieces, free)
    mean, cos_part, sin_part, shift = (float(value) for value in fit.values)
    half = math.hypot(cos_part, sin_part)
    defocus = Defocus(mean + half, mean - half, math.degrees(0.5 * math.atan2(sin_part, cos_part)))
    return Refined(defocus, math.degrees(shift), fit.error_A, fit.envelope, fit.rest)


def _descend(
    values: NDArray[np.float64],
    rings: Rings,
    weight: NDArray[np.float64],
    optics: Optics,
    n_pieces: int,
    free: NDArray[np.bool_],
) -> _Fit:
    """Gauss-Newton steps from where the fit stands, until it hardly moves; ``values`` and ``free`` (4,)."""
    values, root = values.copy(), np.sqrt(weight)
    scale = math.pi * electron_wavelength_A(optics.voltage_kV)
    background, falls = spline_basis(rings.k, n_pieces), spline_basis(rings.k, _ENVELOPE_PIECES)
    fixed = fixed_phase(rings.k4, optics)
    slopes = np.stack([scale * rings.k2, scale * rings.k2_cos, scale * rings.k2_sin, np.ones_like(rings.k2)])
    target, smooth = (rings.signal * root).ravel(), _columns(background, root)
    n_background, n_linear = background.shape[1], background.shape[1] + falls.shape[1]
    most = np.array([_MOST_STEP_A] * 3 + [_MOST_TURN])[free]
    for _ in range(_ITERATIONS):
        phase = np.tensordot(values, slopes, 1) + fixed
        linear = np.concatenate([smooth, _columns(falls, -np.cos(2.0 * phase) * root)], axis=1)
        envelope = falls @ _solve(linear, target)[0][n_background:]
        envelope = np.maximum(envelope, 1e-3 * max(float(envelope.max()), 1e-9))
        turn = 2.0 * np.sin(2.0 * phase) * envelope * root
        matrix = np.concatenate([linear, (turn * slopes[free]).reshape(free.sum(), -1).T], axis=1)
        solution, inverse = _solve(matrix, target)
        step = np.clip(solution[n_linear:], -most, most)
        values[free] += step
        if float(np.abs(step[: 3 if free[1] else 1]).max()) < _CLOSE_A:
            break
    residual = target - matrix @ solution
    variance = float(residual @ residual) / max(1, np.count_nonzero(weight) - matrix.shape[1])
    error = math.sqrt(max(0.0, variance * float(inverse[n_linear, n_linear])))
    left = residual.reshape(root.shape) / np.where(root > 0.0, root, np.inf)
    return _Fit(values, error, envelope, background @ solution[:n_background], left)


def _columns(basis: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each function of the ring (n_rings, p) times a factor of every bin, as a matrix (n_bins, p)."""
    return np.asarray((basis.T[:, None, :] * factor).reshape(basis.shape[1], -1).T)


def _reweighted(rings: Rings, residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights where the mean of a ring has a variance of its own beside that of its pixels."""
    count = rings.weight.sum(axis=0)
    mean = (residual * rings.weight).sum(axis=0) / count
    pixel_variance = float((rings.weight * (residual - mean) ** 2).sum()) / np.count_nonzero(rings.weight)
    structure = ndimage.uniform_filter1d(mean**2 - pixel_variance / count, _STRUCTURE_RINGS, mode="nearest")
    return np.asarray(rings.weight / (1.0 + count * np.maximum(structure, 0.0) / pixel_variance))


def _solve(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares by damped normal equations: (n, p) and (n,) give (p,) and the inverse of the normal matrix."""
    normal = matrix.T @ matrix
    size = np.sqrt(np.maximum(np.diagonal(normal), 1e-30))
    normal = normal / size[:, None] / size
    normal[np.diag_indices_from(normal)] += _DAMPING
    inverse = np.linalg.inv(normal) / size[:, None] / size
    return np.asarray(inverse @ (matrix.T @ target)), np.asarray(inverse)
