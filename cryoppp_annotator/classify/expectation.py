"""The expectation step over a partition of the particles: posteriors in, sums out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import PolarGrid, ring_power, rotation_table, shift_references
from ..model.context import JobContext

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
    """Particles as the expectation step takes them; :meth:`to` moves them to another array library.

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
        return int(self.power.shape[0])

    def to(self, xp: Any) -> Partition:
        """With arrays of ``xp``, any library of the array API."""
        return Partition(*(xp.asarray(getattr(self, name)) for name in self.__dataclass_fields__))


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
        Of the average before it is rotated: the mean over the posterior of the shifts in the best class.
    evidence : (n,) float32
        Log likelihood against pure noise.
    """

    posterior: NDArray[np.float32]
    angle_deg: NDArray[np.float32]
    shift: NDArray[np.float32]
    evidence: NDArray[np.float32]

    def rows(self, start: int, stop: int) -> Assignment:
        """Of consecutive particles."""
        return Assignment(*(getattr(self, name)[start:stop] for name in self.__dataclass_fields__))


def expectation(particles: Partition, references: References, grid: PolarGrid, *, context: JobContext = _QUIET) -> Sums:
    """The sums of one partition: a pure function of what can be pickled, for a worker anywhere; see :func:`expect`."""
    return expect(particles, references, grid, context=context)[0]


def expect(
    particles: Partition, references: References, grid: PolarGrid, *, context: JobContext = _QUIET
) -> tuple[Sums, Assignment]:
    """Compare every particle with every reference at all rotations and shifts.

    For each angular frequency one product over rings, for all rotations one product with :func:`rotation_table`;
    the sums are the same two products run backwards. The particles may be arrays of any library of the array API
    (a GPU's): all that grows with their number is done by it. What comes back is NumPy's.

    Parameters
    ----------
    particles : Partition
    references : References
        NumPy's. May have fewer orders and rings than the particles: the rest is not looked at.
    grid : PolarGrid
        Grid of the references.
    context : JobContext
        Asked several times a second.

    Raises
    ------
    Cancelled
    """
    n_orders, k, n_rings = references.orders.shape
    n_shifts = len(references.shifts)
    radii = np.arange(1, n_rings + 1, dtype=np.float32)
    weight = np.float32(2.0 * np.pi * references.dof) * radii / references.noise
    compare = _Comparison.of(particles.orders.__array_namespace__(), references, weight, grid)
    fixed = 0.5 * weight * ring_power(references.orders)  # (k, rings): times ctf2 it is the model's energy
    prior = references.log_share[:k, None] + references.log_shift - np.log(np.float32(grid.n_angles))
    ctf2 = np.ascontiguousarray(to_numpy(particles.ctf2)[:, :n_rings])
    power = np.ascontiguousarray(to_numpy(particles.power)[:, :n_rings])
    half = to_numpy(particles.half)
    models = _models(power, ctf2, references, radii)
    step = max(1, _BLOCK // (grid.n_angles * k * n_shifts))
    sums = [np.zeros((2, n_orders, 2 * n_rings, k * n_shifts), np.float32) for _ in range(2)]
    n = len(power)
    posterior = np.empty((n, k + 2), np.float32)
    angle, shift = np.empty(n, np.intp), np.empty((n, 2), np.float32)
    evidence = np.empty(n, np.float32)
    for which in range(2):
        members = np.flatnonzero(half == bool(which))
        for start in range(0, len(members), step):
            context.check()
            rows = members[start : start + step]
            known = prior.ravel() - np.repeat(ctf2[rows] @ fixed.T, n_shifts, axis=1)
            compared = [to_numpy(item) for item in compare(particles.orders, rows, known, models[rows])]
            posterior[rows], angle[rows], evidence[rows] = compared[0], compared[1], compared[3]
            shift[rows] = compared[2] @ references.shifts
            sums[0][which] += compared[4]
            sums[1][which] += compared[5]
    by_half = np.stack([posterior[h, :k].T @ ctf2[h] for h in (~half, half)])
    total_sums = Sums(
        _unmoved(sums, references, grid, k),
        by_half,
        posterior.sum(axis=0, dtype=np.float64),
        (posterior.T @ power).astype(np.float64),
        (posterior.T @ ctf2).astype(np.float64),
        float(evidence.sum()),
    )
    angle_deg = (angle * (360.0 / grid.n_angles)).astype(np.float32)
    return total_sums, Assignment(posterior, angle_deg, shift, evidence)


def to_numpy(values: Any) -> NDArray[Any]:
    """An array of any library as NumPy's, copied from its device where it is on one."""
    return values if isinstance(values, np.ndarray) else np.from_dlpack(values)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Compares a block of particles with all references: what takes the time, in the array API and nothing else.

    Attributes
    ----------
    xp : module
        The array library; all other arrays are its.
    table, back : (n_angles, 2 n_orders), (2 n_orders, n_angles) float32
        Coefficients to rotations, and the way back.
    of_real, of_imag : (n_orders, 2 n_rings, k s) float32
        Give the two parts of conjugated image times reference from an image's real and imaginary parts.
    n_classes : int
    """

    xp: Any
    table: Any
    back: Any
    of_real: Any
    of_imag: Any
    n_classes: int

    @staticmethod
    def of(xp: Any, references: References, weight: NDArray[np.float32], grid: PolarGrid) -> _Comparison:
        """Of weighted, moved references."""
        n_orders, k, n_rings = references.orders.shape
        table = rotation_table(n_orders, grid.n_angles)
        back = table.copy()
        back[:, 1:n_orders] /= 2.0
        back[:, n_orders + 1 :] /= 2.0
        moved = shift_references(references.orders * weight, references.shifts, grid)
        moved = moved.reshape(n_orders, -1, n_rings).swapaxes(1, 2)
        real = np.concatenate([moved.real, moved.imag], axis=1)
        imag = np.concatenate([moved.imag, -moved.real], axis=1)
        as_its = xp.asarray
        return _Comparison(xp, as_its(table), as_its(back.T.copy()), as_its(real), as_its(imag), k)

    def __call__(
        self, orders: Any, rows: NDArray[np.intp], known: NDArray[np.float32], models: NDArray[np.float32]
    ) -> tuple[Any, ...]:
        """Compare some particles with all references.

        ``known`` (b, k s) is prior less the model's energy, ``models`` (b, 2) what the two models give. Returns the
        posterior (b, k + 2), best rotation, posterior of the shifts in the best class and rotation (b, s), evidence,
        and the two sums (n_orders, 2 n_rings, k s).
        """
        xp, n = self.xp, len(rows)
        n_orders, twice_rings, n_columns = self.of_real.shape
        part = xp.take(orders[:n_orders, :, : twice_rings // 2], xp.asarray(rows), axis=1)
        image = xp.concat([xp.real(part), xp.imag(part)], axis=2)
        flat = xp.reshape(self._products(image), (2 * n_orders, n * n_columns))
        score = xp.reshape(self.table @ flat, (-1, n, n_columns))
        score += xp.asarray(known)
        highest = xp.max(score, axis=0)
        column = xp.argmax(highest, axis=1)
        angle = xp.argmax(xp.take_along_axis(score, column[None, :, None], axis=2)[:, :, 0], axis=0)
        models = xp.asarray(models)
        peak = xp.maximum(xp.max(highest, axis=1), xp.max(models, axis=1))
        score -= peak[:, None]
        score = np.exp(score, out=score) if xp is np else xp.exp(score)
        of_models = xp.exp(models - peak[:, None])
        of_class = xp.sum(xp.reshape(xp.sum(score, axis=0), (n, self.n_classes, -1)), axis=2)
        total = xp.sum(of_class, axis=1) + xp.sum(of_models, axis=1)
        score /= total[:, None]
        posterior = xp.concat([of_class, of_models], axis=1) / total[:, None]
        of_shift = xp.reshape(highest, (n, self.n_classes, -1))
        best = xp.broadcast_to((column // of_shift.shape[2])[:, None, None], (n, 1, of_shift.shape[2]))
        of_shift = xp.exp(xp.take_along_axis(of_shift, best, axis=1)[:, 0, :] - peak[:, None])
        of_shift /= xp.maximum(xp.sum(of_shift, axis=1), 1e-30)[:, None]
        turned = xp.reshape(self.back @ xp.reshape(score, (-1, n * n_columns)), (2, n_orders, n, n_columns))
        across = xp.matrix_transpose(image)
        return posterior, angle, of_shift, peak + xp.log(total), across @ turned[0, ...], across @ turned[1, ...]

    def _products(self, image: Any) -> Any:
        """(2 n_orders, b, k s): over rings, the real parts and then the imaginary ones."""
        if self.xp is not np:
            return self.xp.concat([image @ self.of_real, image @ self.of_imag], axis=0)
        n_orders, n = image.shape[:2]
        out = np.empty((2 * n_orders, n, self.of_real.shape[2]), np.float32)
        np.matmul(image, self.of_real, out=out[:n_orders])
        np.matmul(image, self.of_imag, out=out[n_orders:])
        return out


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
    n_shifts, rings = len(references.shifts), references.orders.shape[2]
    out: list[NDArray[Any]] = []
    for half in range(2):
        real = cosine[half, :, :rings] - sine[half, :, rings:]
        imag = sine[half, :, :rings] + cosine[half, :, rings:]
        moved = (real + 1j * imag).swapaxes(1, 2)  # (orders, k s, rings)
        shape = (len(moved), k, n_shifts, moved.shape[-1])
        out.append(shift_references(moved.reshape(shape).astype(np.complex64), references.shifts, grid, back=True))
    return np.stack(out)
