"""Maps from images of known pose: direct Fourier inversion, weighted by the CTF, Wiener-filtered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.context import JobContext
from . import symmetry
from .fourier_map import PADDING, centred_fft, centred_ifft, resized, sphere, spread_correction
from .prepared_boxes import Stack, half_plane, normalised, plane_ctf, plane_values

_QUIET = JobContext()
_BATCH = 256
#: Weights below this count as zero.
_TINY = 1e-12


@dataclass(eq=False)
class Accumulator:
    """Sums over images on a padded Fourier grid.

    Attributes
    ----------
    numerator : (p, p, p) complex128, zyx
        Images times CTF; zero frequency at ``p // 2``.
    weight : (p, p, p) float64
        Squared CTF.
    box : int
        Side of the map, px.
    rings : int
        Finest ring that was inserted.
    """

    numerator: NDArray[np.complex128]
    weight: NDArray[np.float64]
    box: int
    rings: int

    @staticmethod
    def empty(box: int, rings: int) -> Accumulator:
        """Without any image."""
        shape = (PADDING * (box + box % 2),) * 3
        return Accumulator(np.zeros(shape, np.complex128), np.zeros(shape), box, min(rings, box // 2 - 1))

    def insert(
        self, values: NDArray[np.complex64], weights: NDArray[np.float32], matrices: NDArray[np.float64]
    ) -> None:
        """Add images.

        Parameters
        ----------
        values : (m, p) complex64
            Centred, times CTF, at the half plane's pixels.
        weights : (m, p) float32
            Squared CTF.
        matrices : (m, 3, 3) float64
        """
        side = len(self.weight)
        plane = half_plane(self.box, self.rings)
        place = np.matmul(plane.k * (side / self.box), matrices[:, :2]).reshape(-1, 3) + side // 2
        base = np.floor(place).astype(np.int64)
        x, y, z = (place - base).T
        corner = (base[:, 2] * side + base[:, 1]) * side + base[:, 0]
        real, imag, weight = values.real.ravel(), values.imag.ravel(), weights.ravel()
        flat = self.numerator.reshape(-1)
        for dz, wz in ((0, 1 - z), (side * side, z)):
            for dy, wy in ((0, 1 - y), (side, y)):
                for dx, wx in ((0, 1 - x), (1, x)):
                    share, at = wz * wy * wx, corner + (dz + dy + dx)
                    flat.real += np.bincount(at, share * real, len(flat))
                    flat.imag += np.bincount(at, share * imag, len(flat))
                    self.weight.reshape(-1)[:] += np.bincount(at, share * weight, len(flat))

    def completed(self, name: str) -> Accumulator:
        """With the other half of the transform (images are real), and all symmetric copies."""
        opposite = np.roll(self.numerator[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
        numerator = self.numerator + np.conj(opposite)
        weight = self.weight + np.roll(self.weight[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
        done = Accumulator(numerator, weight, self.box, self.rings)
        return done if len(symmetry.rotations(name)) == 1 else _symmetrised(done, name)

    def solve(self, per_shell: NDArray[np.float64]) -> NDArray[np.float32]:
        """The map (box, box, box) float32: numerator over weight, ``per_shell`` (box // 2 + 1,) added to the weight."""
        shell = self.shells()
        inside = shell <= self.rings
        added = per_shell[np.minimum(shell, len(per_shell) - 1)]
        values = np.where(inside, self.numerator / (self.weight + added + _TINY), 0.0)
        full = centred_ifft(values.astype(np.complex64))
        corrected = np.asarray(resized(full, self.box)) / spread_correction(self.box, len(self.weight))
        return np.asarray(corrected, np.float32)

    def shells(self) -> NDArray[np.intp]:
        """Ring of each sample, (p, p, p) intp."""
        at = (np.arange(len(self.weight)) - len(self.weight) // 2) * (self.box / len(self.weight))
        square = at * at
        return np.asarray(np.rint(np.sqrt(square[:, None, None] + square[:, None] + square)), np.intp)

    def mean_weight(self) -> NDArray[np.float64]:
        """Mean squared CTF of a sample on each ring, (box // 2 + 1,)."""
        shell = np.minimum(self.shells(), self.box // 2 + 1).ravel()
        total = np.bincount(shell, self.weight.ravel(), self.box // 2 + 2)
        return np.asarray(total / np.maximum(np.bincount(shell, minlength=self.box // 2 + 2), 1))[: self.box // 2 + 1]


def _symmetrised(done: Accumulator, name: str) -> Accumulator:
    side = len(done.weight)
    inside = done.shells() <= done.rings
    z, y, x = np.nonzero(inside)
    centred = np.stack([x, y, z], axis=1).astype(np.float64) - side // 2
    numerator, weight = np.zeros(len(x), np.complex128), np.zeros(len(x))
    for rotation in symmetry.rotations(name):
        place = centred @ rotation.T + side // 2
        base = np.clip(np.floor(place).astype(np.int64), 0, side - 2)
        fx, fy, fz = (place - base).T
        corner = (base[:, 2] * side + base[:, 1]) * side + base[:, 0]
        for dz, wz in ((0, 1 - fz), (side * side, fz)):
            for dy, wy in ((0, 1 - fy), (side, fy)):
                for dx, wx in ((0, 1 - fx), (1, fx)):
                    at, share = corner + (dz + dy + dx), wz * wy * wx
                    numerator += share * done.numerator.reshape(-1)[at]
                    weight += share * done.weight.reshape(-1)[at]
    out = Accumulator.empty(done.box, done.rings)
    out.numerator[inside], out.weight[inside] = numerator, weight
    return out


def accumulate(
    stack: Stack,
    matrices: NDArray[np.float64],
    shifts: NDArray[np.float64],
    weights: NDArray[np.float64],
    rings: int,
    *,
    mask_radius: float,
    context: JobContext = _QUIET,
) -> Accumulator:
    """Insert a stack.

    Parameters
    ----------
    stack : Stack
    matrices : (n, m, 3, 3) float64
        Poses of each image.
    shifts : (n, m, 2) float64, xy, px
        Where the particle's centre lies.
    weights : (n, m) float64
        Of each pose; 0 leaves it out.
    rings : int
    mask_radius : float
        Of the soft mask of the images, as a share of the box.
    context : JobContext

    Raises
    ------
    Cancelled
    """
    box = stack.box
    out = Accumulator.empty(box, rings)
    plane = half_plane(box, rings)
    least = 0.02
    for start in range(0, len(stack), _BATCH):
        context.check()
        rows = np.arange(start, min(len(stack), start + _BATCH))
        rows = rows[(weights[rows] > least).any(axis=1)]
        if not len(rows):
            continue
        part = stack.take(rows)
        ctf = plane_ctf(part, plane)
        values = plane_values(normalised(part.images, mask_radius)[0], plane) * ctf
        image, mode = np.nonzero(weights[rows] > least)
        at = rows[image]
        phase = (2.0 * np.pi / box) * (shifts[at, mode] @ plane.k.T)
        share = weights[at, mode, None].astype(np.float32)
        moved = values[image] * np.exp(1j * phase.astype(np.float32)) * share
        out.insert(moved, ctf[image] ** 2 * share, matrices[at, mode])
    return out


def lowpass(volume: NDArray[np.float32], pixel_size_A: float, limit_A: float) -> NDArray[np.float32]:
    """Without what is finer than ``limit_A``, with a soft edge of two Fourier px; any cube (n, n, n)."""
    side = len(volume)
    edge = side * pixel_size_A / limit_A
    return centred_ifft(centred_fft(volume) * sphere(side, edge, 2.0))


def per_shell_filter(volume: NDArray[np.float32], factor: NDArray[np.float64]) -> NDArray[np.float32]:
    """Multiply each shell of a cube's transform (n, n, n) by a factor (n // 2 + 1,); beyond the last it is 0."""
    side = len(volume)
    at = np.arange(side) - side // 2
    radius = np.sqrt((at * at)[:, None, None] + (at * at)[:, None] + at * at)
    shape = np.interp(radius, np.arange(len(factor)), factor, right=0.0).astype(np.float32)
    return centred_ifft(centred_fft(volume) * shape)
