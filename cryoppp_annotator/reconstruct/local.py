"""Poses made exact: Gauss-Newton from what the first search found, and how sure each is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.context import JobContext
from . import poses
from .fourier_map import FourierMap
from .prepared_boxes import HalfPlane

_QUIET = JobContext()
#: Images whose slices are worked on at once.
_BATCH = 256
#: Prior s.d. of a step of the rotation, radians: keeps an image without signal where it was.
_PRIOR_TURN = 0.15
#: Prior s.d. of a step of the shift, px.
_PRIOR_SHIFT = 2.0


@dataclass(frozen=True, eq=False)
class Data:
    """Images as the refinement takes them.

    Attributes
    ----------
    values : (n, p) complex64
        Transform at the pixels of ``plane``.
    ctf : (n, p) float32
    plane : HalfPlane
    box : int
    pixel_size_A : float
    dof : float
        Independent samples per Fourier pixel.
    """

    values: NDArray[np.complex64]
    ctf: NDArray[np.float32]
    plane: HalfPlane
    box: int
    pixel_size_A: float
    dof: float


@dataclass(frozen=True, eq=False)
class Refined:
    """Poses of images.

    Attributes
    ----------
    matrices : (n, 3, 3) float64
    shifts : (n, 2) float64, xy, px
        Where the particle's centre lies, from the centre of the box.
    gain : (n,) float64
        Log likelihood against noise alone.
    log_volume : (n,) float64
        Log of the volume (rad^3 px^2) that the pose's uncertainty takes.
    turn_deg, shift_px : (n,) float64
        Standard errors: root mean square over the axes of the rotation, and of the shift.
    """

    matrices: NDArray[np.float64]
    shifts: NDArray[np.float64]
    gain: NDArray[np.float64]
    log_volume: NDArray[np.float64]
    turn_deg: NDArray[np.float64]
    shift_px: NDArray[np.float64]


def model_values(
    source: FourierMap, matrices: NDArray[np.float64], shifts: NDArray[np.float64], data: Data
) -> NDArray[np.complex64]:
    """Projections without CTF in orientations (n, 3, 3), moved by shifts (n, 2), px, at the plane's pixels: (n, p)."""
    plane = data.plane.k / (data.box * data.pixel_size_A)
    values = source.at(np.matmul(plane, matrices[:, :2]))
    phase = (-2.0 * np.pi / data.box) * (shifts @ data.plane.k.T)
    return np.asarray(values * np.exp(1j * phase.astype(np.float32)), np.complex64)


def refine(
    source: FourierMap,
    data: Data,
    rows: NDArray[np.intp],
    matrices: NDArray[np.float64],
    shifts: NDArray[np.float64],
    spectra: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    iterations: int = 4,
    context: JobContext = _QUIET,
) -> Refined:
    """Climb to the most likely pose near each start.

    Parameters
    ----------
    source : FourierMap
    data : Data
    rows : (m,) intp
        Image of each start; an image may have several.
    matrices : (m, 3, 3) float64
    shifts : (m, 2) float64, xy, px
    spectra : (noise, gain), each (r,) float32
        Power of the noise on each ring, and what a projection is multiplied by.
    iterations : int
    context : JobContext
        Asked several times a second.

    Raises
    ------
    Cancelled
    """
    ring = data.plane.ring - 1
    weight = np.float32(data.dof) / spectra[0][ring]
    gain = spectra[1][ring]
    refined = []
    for start in range(0, len(rows), _BATCH):
        context.check()
        part = slice(start, start + _BATCH)
        climb = _Climb(source, data, rows[part], weight, gain)
        refined.append(climb.run(matrices[part], shifts[part], iterations))
    if not refined:
        none = np.zeros(0)
        return Refined(np.zeros((0, 3, 3)), np.zeros((0, 2)), none, none, none, none)
    return Refined(
        *(np.concatenate([getattr(batch, name) for batch in refined]) for name in Refined.__dataclass_fields__)
    )


class _Climb:
    """One batch of starts."""

    def __init__(
        self,
        source: FourierMap,
        data: Data,
        rows: NDArray[np.intp],
        weight: NDArray[np.float32],
        gain: NDArray[np.float32],
    ) -> None:
        self.source, self.data, self.weight = source, data, weight
        self.values = data.values[rows]
        self.filter = np.asarray(data.ctf[rows] * gain, np.float32)
        # a turn that moves the outermost sample by some six tenths of the transform's grid
        outer = float(data.plane.ring.max()) / (data.box * data.pixel_size_A * source.step)
        self.turn = 0.6 / outer

    def model(self, matrices: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.complex64]:
        return model_values(self.source, matrices, shifts, self.data) * self.filter

    def likelihood(self, model: NDArray[np.complex64]) -> NDArray[np.float64]:
        """Against noise alone, (n,)."""
        cross = 2.0 * (np.conj(self.values) * model).real - (model.real**2 + model.imag**2)
        return (cross @ self.weight).astype(np.float64)

    def slopes(
        self, matrices: NDArray[np.float64], shifts: NDArray[np.float64], model: NDArray[np.complex64]
    ) -> NDArray[np.complex64]:
        """Derivatives of the model by three turns and two shifts, (n, 5, p)."""
        out = np.empty((len(model), 5, model.shape[1]), np.complex64)
        steps = poses.turned(self.turn * np.eye(3))
        for axis in range(3):
            out[:, axis] = (self.model(steps[axis] @ matrices, shifts) - model) / np.float32(self.turn)
        wave = (-2j * np.pi / self.data.box) * self.data.plane.k.T
        out[:, 3:] = model[:, None] * wave.astype(np.complex64)
        return out

    def equations(
        self, slopes: NDArray[np.complex64], model: NDArray[np.complex64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Normal equations: curvature (n, 5, 5) and slope (n, 5) of the log likelihood."""
        weighted = (slopes * self.weight).view(np.float32)
        real = slopes.view(np.float32)
        curvature = 2.0 * np.matmul(weighted, real.swapaxes(1, 2)).astype(np.float64)
        residual = np.ascontiguousarray(self.values - model).view(np.float32)
        slope = 2.0 * np.matmul(weighted, residual[:, :, None])[..., 0].astype(np.float64)
        return curvature, slope

    def run(self, matrices: NDArray[np.float64], shifts: NDArray[np.float64], iterations: int) -> Refined:
        matrices, shifts = matrices.copy(), shifts.copy()
        prior = np.diag([_PRIOR_TURN**-2] * 3 + [_PRIOR_SHIFT**-2] * 2)
        damping = np.full(len(matrices), 0.1)
        model = self.model(matrices, shifts)
        best = self.likelihood(model)
        for _ in range(iterations):
            curvature, slope = self.equations(self.slopes(matrices, shifts, model), model)
            diagonal = np.einsum("nii->ni", curvature)
            system = curvature + prior + (damping[:, None] * diagonal)[:, :, None] * np.eye(5)
            step = np.linalg.solve(system, slope[..., None])[..., 0]
            step[:, :3] *= np.minimum(1.0, 0.2 / np.maximum(np.linalg.norm(step[:, :3], axis=1), 1e-9))[:, None]
            step[:, 3:] *= np.minimum(1.0, 2.0 / np.maximum(np.linalg.norm(step[:, 3:], axis=1), 1e-9))[:, None]
            tried, moved = poses.turned(step[:, :3]) @ matrices, shifts + step[:, 3:]
            proposal = self.model(tried, moved)
            likelihood = self.likelihood(proposal)
            better = likelihood > best
            matrices[better], shifts[better] = tried[better], moved[better]
            model[better], best[better] = proposal[better], likelihood[better]
            damping = np.where(better, damping * 0.3, damping * 5.0)
        curvature, _ = self.equations(self.slopes(matrices, shifts, model), model)
        return _with_errors(matrices, shifts, best, curvature + prior)


def _with_errors(
    matrices: NDArray[np.float64],
    shifts: NDArray[np.float64],
    gain: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> Refined:
    covariance = np.linalg.inv(curvature)
    log_volume = 2.5 * np.log(2.0 * np.pi) - 0.5 * np.linalg.slogdet(curvature)[1]
    variance = np.maximum(np.einsum("nii->ni", covariance), 0.0)
    turn = np.rad2deg(np.sqrt(variance[:, :3].sum(axis=1)))
    return Refined(matrices, shifts, gain, log_volume, turn, np.sqrt(variance[:, 3:].sum(axis=1)))
