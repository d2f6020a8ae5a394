"""Every view, rotation and shift of a map against every image: the first search, marginalised.

As in the 2D classes, a rotation in the plane is a phase of the polar coefficients (:mod:`..imaging.polar`): for each
angular frequency one product over rings, and for all rotations one product with a table. An image that does not show
the particle has two models: noise alone, and structure that the map lacks (with its own power spectrum,
the same in all directions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import PolarGrid, angles_needed, ring_power, rotation_table, shift_references
from ..model.context import JobContext
from . import poses
from .fourier_map import FourierMap, mirrored, polar_slices

_QUIET = JobContext()
#: Floats of score held at once: fits a core's share of the cache.
_BLOCK = 1_500_000
#: Radius of what the angular sampling must resolve, as a share of the box.
OBJECT = 0.4
_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, slots=True)
class Level:
    """How finely to search.

    Attributes
    ----------
    rings : int
        Finest ring of the transform.
    spacing_deg : float
        Of the views.
    reach_px, step_px : float
        Largest shift and step of the shifts.
    """

    rings: int
    spacing_deg: float
    reach_px: float
    step_px: float


@dataclass(frozen=True, eq=False)
class Spectra:
    """What the images are made of, ring by ring.

    Attributes
    ----------
    noise : (r,) float32
        Power of the noise.
    gain : (r,) float32
        What a projection of the map is multiplied by to become the images' signal.
    outlier : (r,) float32
        Signal power of structure that the map lacks.
    share : (3,) float64
        Prior of particle, noise alone and other structure.
    """

    noise: NDArray[np.float32]
    gain: NDArray[np.float32]
    outlier: NDArray[np.float32]
    share: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PolarBoxes:
    """Images on the polar grid.

    Attributes
    ----------
    orders : (n_orders, n, n_rings) complex64
        Coefficients times the CTF of each image.
    power : (n, n_rings) float32
        Ring power of the images themselves.
    ctf2 : (n, n_rings) float32
    grid : PolarGrid
    dof : float
        Independent samples per Fourier pixel (the share of the box inside the mask).
    """

    orders: NDArray[np.complex64]
    power: NDArray[np.float32]
    ctf2: NDArray[np.float32]
    grid: PolarGrid
    dof: float

    def __len__(self) -> int:
        return int(self.power.shape[0])

    def take(self, rows: NDArray[np.intp]) -> PolarBoxes:
        """Some of the images, by rows (n,) int, copied."""
        return PolarBoxes(
            np.ascontiguousarray(self.orders[:, rows]), self.power[rows], self.ctf2[rows], self.grid, self.dof
        )


@dataclass(frozen=True, eq=False)
class Projections:
    """A map's projections at one level.

    Attributes
    ----------
    orders : (n_orders, v, n_rings) complex64
        The first half of the views and then the same from the opposite side.
    matrices : (v, 3, 3) float64
        Their poses, without rotation in the plane.
    shifts : (s, 2) float32, yx, px
    grid : PolarGrid
    level : Level
    """

    orders: NDArray[np.complex64]
    matrices: NDArray[np.float64]
    shifts: NDArray[np.float32]
    grid: PolarGrid
    level: Level

    def __len__(self) -> int:
        return len(self.matrices)


@dataclass(frozen=True, eq=False)
class Matches:
    """What the search says of each image.

    Attributes
    ----------
    evidence : (n,) float32
        Log likelihood of the map's projections, all poses together, against noise alone.
    other : (n,) float32
        The same of structure that the map lacks.
    by_view : (n, v) float32
        Log likelihood of each view, all rotations and shifts together (prior of the view included).
    peak : (n, v) float32
        Of the best rotation and shift of each view.
    place : (n, v) int32
        Which: ``rotation * n_shifts + shift``.
    """

    evidence: NDArray[np.float32]
    other: NDArray[np.float32]
    by_view: NDArray[np.float32]
    peak: NDArray[np.float32]
    place: NDArray[np.int32]


def shift_disc(reach_px: float, step_px: float) -> NDArray[np.float32]:
    """Shifts on a disc, (s, 2) float32, yx, px."""
    line = np.arange(-int(reach_px / step_px), int(reach_px / step_px) + 1) * step_px
    yy, xx = np.meshgrid(line, line, indexing="ij")
    inside = np.hypot(yy, xx) <= reach_px + 1e-6
    return np.stack([yy[inside], xx[inside]], axis=1).astype(np.float32)


def level_grid(box: int, rings: int) -> PolarGrid:
    """The polar grid of so many rings."""
    rings = min(rings, box // 2 - 1)
    return PolarGrid(box, rings, angles_needed(rings, box, OBJECT * box))


def projections(source: FourierMap, level: Level, box: int, pixel_size_A: float, symmetry: str = "C1") -> Projections:
    """Project a map from all views of one asymmetric unit."""
    grid = level_grid(box, level.rings)
    views = poses.views(level.spacing_deg, symmetry, mirrored=True)
    matrices = poses.to_matrix(np.concatenate([views, np.zeros((len(views), 1))], axis=1))
    orders = polar_slices(source, matrices, grid, pixel_size_A)
    orders = np.concatenate([orders, mirrored(orders)], axis=1)
    shifts = shift_disc(level.reach_px, level.step_px)
    return Projections(orders, np.concatenate([matrices, _FLIP @ matrices]), shifts, grid, level)


def search(
    boxes: PolarBoxes,
    references: Projections,
    spectra: Spectra,
    *,
    log_view: NDArray[np.float32] | None = None,
    context: JobContext = _QUIET,
) -> Matches:
    """Compare every image with every projection at all rotations and shifts.

    Parameters
    ----------
    boxes : PolarBoxes
        May have more orders and rings than the references: the rest is not looked at.
    references : Projections
    spectra : Spectra
    log_view : (v,) float32, optional
        Log prior of each view; even by default.
    context : JobContext
        Asked several times a second.

    Raises
    ------
    Cancelled
    """
    table = _Table.of(references, spectra, boxes.dof)
    n_views, n_shifts = len(references), len(references.shifts)
    if log_view is None:
        log_view = np.full(n_views, -np.log(n_views), np.float32)
    prior = log_view - np.float32(np.log(n_shifts * references.grid.n_angles))
    n, rings = len(boxes), references.grid.n_rings
    ctf2 = np.ascontiguousarray(boxes.ctf2[:, :rings])
    known = prior - ctf2 @ table.energy.T
    by_view, peak = np.empty((n, n_views), np.float32), np.empty((n, n_views), np.float32)
    place = np.empty((n, n_views), np.int32)
    n_orders = references.grid.n_orders
    views = table.block_of_views()
    for first in range(0, n_views, views):
        part = slice(first, min(n_views, first + views))
        of_real, of_imag = table.products(references, part)
        step = max(1, _BLOCK // (references.grid.n_angles * of_real.shape[2]))
        for start in range(0, n, step):
            context.check()
            rows = slice(start, min(n, start + step))
            part_orders = boxes.orders[:n_orders, rows, :rings]
            image = np.concatenate([part_orders.real, part_orders.imag], axis=2)
            scores = table.compare(image, of_real, of_imag, n_shifts)
            by_view[rows, part], peak[rows, part] = scores[0] + known[rows, part], scores[1] + known[rows, part]
            place[rows, part] = scores[2]
    top = by_view.max(axis=1)
    evidence = top + np.log(np.exp(by_view - top[:, None]).sum(axis=1))
    return Matches(evidence, outlier_evidence(boxes, spectra, rings), by_view, peak, place)


def outlier_evidence(boxes: PolarBoxes, spectra: Spectra, rings: int) -> NDArray[np.float32]:
    """Log likelihood of structure that the map lacks, against noise alone, (n,)."""
    noise = spectra.noise[:rings]
    ratio = 1.0 + boxes.ctf2[:, :rings] * (spectra.outlier[:rings] / noise)
    gain = boxes.power[:, :rings] / noise * (1.0 - 1.0 / ratio) - np.log(ratio)
    radii = np.arange(1, rings + 1, dtype=np.float32)
    return np.asarray(gain @ (np.float32(np.pi * boxes.dof) * radii), np.float32)


@dataclass(frozen=True, eq=False)
class _Table:
    """What the products need: rotations, and the weight and energy of the references."""

    turns: NDArray[np.float32]
    weight: NDArray[np.float32]
    energy: NDArray[np.float32]

    @staticmethod
    def of(references: Projections, spectra: Spectra, dof: float) -> _Table:
        grid = references.grid
        noise, gain = spectra.noise[: grid.n_rings], spectra.gain[: grid.n_rings]
        weight = np.float32(2.0 * np.pi * dof) * grid.radii / noise
        energy = 0.5 * weight * gain**2 * ring_power(references.orders)
        return _Table(rotation_table(grid.n_orders, grid.n_angles), weight * gain, energy)

    def block_of_views(self) -> int:
        """Views whose moved projections are made at once."""
        return 32

    def products(self, references: Projections, part: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Real arrays (n_orders, 2 rings, views s) that give the two parts of conjugated image times projection."""
        moved = shift_references(references.orders[:, part] * self.weight, references.shifts, references.grid)
        moved = moved.reshape(len(moved), -1, moved.shape[-1]).swapaxes(1, 2)
        real = np.concatenate([moved.real, moved.imag], axis=1)
        return real, np.concatenate([moved.imag, -moved.real], axis=1)

    def compare(
        self, image: NDArray[np.float32], of_real: NDArray[np.float32], of_imag: NDArray[np.float32], n_shifts: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
        """Log of the sum over rotations and shifts, the best score and where it is, each (b, views)."""
        n_orders, n, _ = image.shape
        columns = of_real.shape[2]
        flat = np.empty((2 * n_orders, n, columns), np.float32)
        np.matmul(image, of_real, out=flat[:n_orders])
        np.matmul(image, of_imag, out=flat[n_orders:])
        score = (self.turns @ flat.reshape(2 * n_orders, -1)).reshape(-1, n, columns // n_shifts, n_shifts)
        n_turns = len(score)
        highest = score.max(axis=0)
        shift = highest.argmax(axis=2)
        best = np.take_along_axis(highest, shift[..., None], axis=2)[..., 0]
        flat_score = score.reshape(n_turns, -1)
        turn = flat_score[:, (np.arange(shift.size) * n_shifts + shift.ravel())].argmax(axis=0).reshape(shift.shape)
        score -= best[None, :, :, None]
        total = np.exp(score, out=score).sum(axis=0).sum(axis=2)
        return best + np.log(total), best, turn * n_shifts + shift
