"""The expectation step over a partition of the particles: posteriors in, sums out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.context import JobContext
from .polar import PolarGrid, ring_power, rotation_table, shift_references

_QUIET = JobContext()
#: Floats of posterior held at once: fits a core's share of the cache, and one block takes far less than a second.
_BLOCK = 3_000_000


@dataclass(frozen=True, eq=False)
class References:
    """What particles are compared with.

    Attributes
    ----------
    orders : (n_orders, k, n_rings) complex64
        Class averages as of :func:`~.polar.to_polar`.
    log_share : (k + 2,) float32
        Log prior of each class, then of the empty and of the outlier model; -inf = not used.
    noise : (n_rings,) float32
        Noise power on each ring.
    outlier : (n_rings,) float32
        Signal power of the outlier model: structure that no reference has.
    shifts : (s, 2) float32, yx, px
    log_shift : (s,) float32
        Log prior of each shift.
    dof : float
        Independent samples per Fourier pixel (the share of the box inside the mask).
    """

    orders: NDArray[np.complex64]
    log_share: NDArray[np.float32]
    noise: NDArray[np.float32]
    outlier: NDArray[np.float32]
    shifts: NDArray[np.float32]
    log_shift: NDArray[np.float32]
    dof: float


@dataclass(frozen=True, eq=False)
class Partition:
    """Particles as the expectation step takes them.

    Attributes
    ----------
    orders : (n_orders, n, n_rings) complex64
        Coefficients times the CTF of each particle.
    power : (n, n_rings) float32
        Ring power of the particles themselves.
    ctf2 : (n, n_rings) float32
        Squared CTF.
    half : (n,) bool
        Which half of the data each belongs to, for the FRC.
    """

    orders: NDArray[np.complex64]
    power: NDArray[np.float32]
    ctf2: NDArray[np.float32]
    half: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.power)


@dataclass(eq=False)
class Sums:
    """What a partition adds to the maximisation step; sums of partitions are added up.

    Attributes
    ----------
    numerator : (2, n_orders, k, n_rings) complex64
        Aligned particles times CTF, by half.
    ctf2 : (2, k, n_rings) float32
        Squared CTF, by half.
    members : (k + 2,) float64
        Expected members of each class, the empty and the outlier model.
    power : (k + 2, n_rings) float64
        Ring power of the members.
    model_ctf2 : (k + 2, n_rings) float64
        Squared CTF of the members, the two models included.
    log_likelihood : float
        Against pure noise.
    """

    numerator: NDArray[np.complex64]
    ctf2: NDArray[np.float32]
    members: NDArray[np.float64]
    power: NDArray[np.float64]
    model_ctf2: NDArray[np.float64]
    log_likelihood: float

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Assignment:
    """What the expectation step knows of each particle.

    Attributes
    ----------
    posterior : (n, k + 2) float32
        Of each class, the empty and the outlier model.
    angle_deg : (n,) float32
        In-plane rotation of the class average in the best class, from x towards y.
    shift : (n, 2) float32, yx, px
        Of the average before it is rotated.
    evidence : (n,) float32
        Log likelihood against pure noise.
    """

    posterior: NDArray[np.float32]
    angle_deg: NDArray[np.float32]
    shift: NDArray[np.float32]
    evidence: NDArray[np.float32]


def expect(
    particles: Partition, references: References, grid: PolarGrid, *, context: JobContext = _QUIET
) -> tuple[Sums, Assignment]:
    """Compare every particle with every reference at all rotations and shifts.

    For each angular frequency one product over rings, for all rotations one product with :func:`rotation_table`;
    the sums are the same two products run backwards.

    Parameters
    ----------
    particles : Partition
    references : References
        May have fewer orders and rings than the particles: the rest is not looked at.
    grid : PolarGrid
        Grid of the references.
    context : JobContext
        Asked several times a second.

    Raises
    ------
    Cancelled
    """
    n_orders, k, n_rings = references.orders.shape
    n_angles, n_shifts = grid.n_angles, len(references.shifts)
    table = rotation_table(n_orders, n_angles)
    back = table.copy()
    back[:, 1:n_orders] /= 2.0
    back[:, n_orders + 1 :] /= 2.0
    radii = np.arange(1, n_rings + 1, dtype=np.float32)
    weight = np.float32(2.0 * np.pi * references.dof) * radii / references.noise
    moved = shift_references(references.orders * weight, references.shifts, grid)
    moved = moved.reshape(n_orders, k * n_shifts, n_rings)
    of_real = np.ascontiguousarray(moved.view(np.float32).swapaxes(1, 2))
    of_imag = np.ascontiguousarray((moved * np.complex64(-1j)).view(np.float32).swapaxes(1, 2))
    fixed = 0.5 * weight * ring_power(references.orders)  # (k, rings): times ctf2 it is the model's energy
    prior = (references.log_share[:k, None] + references.log_shift - np.log(np.float32(n_angles))).ravel()
    step = max(1, _BLOCK // (n_angles * k * n_shifts))
    sums: list[NDArray[np.float32]] = [np.zeros((2, n_orders, 2 * n_rings, k * n_shifts), np.float32) for _ in range(2)]
    n = len(particles)
    posterior = np.empty((n, k + 2), np.float32)
    best = np.empty(n, np.intp)
    evidence = np.empty(n, np.float32)
    ctf2 = np.ascontiguousarray(particles.ctf2[:, :n_rings])
    power = np.ascontiguousarray(particles.power[:, :n_rings])
    models = _models(power, ctf2, references, radii)
    for members in (np.flatnonzero(~particles.half), np.flatnonzero(particles.half)):
        which = int(particles.half[members[0]]) if len(members) else 0
        for start in range(0, len(members), step):
            context.check()
            rows = members[start : start + step]
            image = particles.orders[:n_orders, rows, :n_rings].view(np.float32)
            wave = np.empty((2 * n_orders, len(rows), k * n_shifts), np.float32)
            np.matmul(image, of_real, out=wave[:n_orders])
            np.matmul(image, of_imag, out=wave[n_orders:])
            score = (table @ wave.reshape(2 * n_orders, -1)).reshape(n_angles, len(rows), -1)
            energy = np.repeat(ctf2[rows] @ fixed.T, n_shifts, axis=1)
            score += prior - energy
            peak = np.maximum(score.max(axis=(0, 2)), models[rows].max(axis=1))
            best[rows] = score.transpose(1, 0, 2).reshape(len(rows), -1).argmax(axis=1)
            score -= peak[:, None]
            np.exp(score, out=score)
            other = np.exp(models[rows] - peak[:, None])
            of_class = score.sum(axis=0).reshape(len(rows), k, n_shifts).sum(axis=2)
            total = of_class.sum(axis=1) + other.sum(axis=1)
            evidence[rows] = peak + np.log(total)
            score /= total[:, None]
            posterior[rows, :k] = of_class / total[:, None]
            posterior[rows, k:] = other / total[:, None]
            turned = (back.T @ score.reshape(n_angles, -1)).reshape(2, n_orders, len(rows), -1)
            transposed = image.swapaxes(1, 2)
            sums[0][which] += transposed @ turned[0]
            sums[1][which] += transposed @ turned[1]
    numerator = _unmoved(sums, references, grid, k)
    half = particles.half
    by_half = np.stack([posterior[h, :k].T @ ctf2[h] for h in (~half, half)])
    total_sums = Sums(
        numerator, by_half, posterior.sum(axis=0, dtype=np.float64),
        (posterior.T @ power).astype(np.float64), (posterior.T @ ctf2).astype(np.float64), float(evidence.sum()),
    )  # fmt: skip
    angle, column = np.divmod(best, k * n_shifts)
    angle_deg = (angle * (360.0 / n_angles)).astype(np.float32)
    return total_sums, Assignment(posterior, angle_deg, references.shifts[column % n_shifts], evidence)


def _models(
    power: NDArray[np.float32], ctf2: NDArray[np.float32], references: References, radii: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Log likelihood and prior of the empty and the outlier model, (n, 2)."""
    variance = references.noise + ctf2 * references.outlier
    gain = power * (1.0 / references.noise - 1.0 / variance) - np.log(variance / references.noise)
    outlier = gain @ (np.float32(np.pi * references.dof) * radii)
    return np.stack([np.zeros_like(outlier), outlier], axis=1) + references.log_share[-2:]


def _unmoved(sums: list[NDArray[np.float32]], references: References, grid: PolarGrid, k: int) -> NDArray[np.complex64]:
    """Sums over particles of coefficient times turned posterior, put back to the unmoved references."""
    cosine, sine = sums
    n_shifts = len(references.shifts)
    out: list[NDArray[Any]] = []
    for half in range(2):
        real = cosine[half, :, 0::2] - sine[half, :, 1::2]
        imag = sine[half, :, 0::2] + cosine[half, :, 1::2]
        moved = (real + 1j * imag).swapaxes(1, 2)  # (orders, k s, rings)
        shape = (len(moved), k, n_shifts, moved.shape[-1])
        out.append(shift_references(moved.reshape(shape).astype(np.complex64), references.shifts, grid, back=True))
    return np.stack(out)
