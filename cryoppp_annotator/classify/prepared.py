"""A stack of boxes made ready for classification: normalised, masked, on the polar grid; held, or read in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..imaging.ctf import Optics, ctf_1d
from ..imaging.polar import PolarGrid, angles_needed, ring_power, to_polar
from ..model.context import JobContext
from .expectation import Partition
from .extent import reach
from .grids import OBJECT
from .iteration import Piece, split, take

_QUIET = JobContext()
#: Largest radius of the mask as a share of the box.
MASK = 0.47
#: Images that the extent of the particles is measured on.
_MEASURED_ON = 1000
#: Images whose coefficients are held in memory (7 kB each); of larger stacks they are made anew when they are needed.
HELD = 20_000
#: Width of the mask's edge, px: what is sharper rings in Fourier space.
_EDGE_PX = 3.0
_MIN_PARTICLES = 10
_CHUNK = 256
#: Images of a piece of a stack that is not held.
_PIECE = 2048


def _radius(box: int) -> NDArray[np.float64]:
    yy, xx = np.indices((box, box)) - box // 2
    return np.asarray(np.hypot(yy, xx), np.float64)


def soft_mask(box: int, mask_radius: float) -> NDArray[np.float32]:
    """Disc of ``mask_radius`` (a share of the box) with a soft edge, (box, box) float32."""
    return np.clip((box * mask_radius - _radius(box)) / _EDGE_PX + 0.5, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Source:
    """A stack, and how its images become coefficients. Can be pickled where the stack can.

    Attributes
    ----------
    stack : (n, box, box) real array, yx, particles white
    grid : PolarGrid
    mask_radius : float
        Of the soft mask, as a share of the box.
    """

    stack: Any
    grid: PolarGrid
    mask_radius: float

    def masks(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The soft mask and where the background is, both (box, box)."""
        box = self.grid.box
        return soft_mask(box, self.mask_radius), _radius(box) > MASK * box

    def usable(self, start: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Normalised images of the chunk at ``start``, and their rows: those that are finite and have contrast."""
        return self._normalised(np.asarray(self.stack[start : start + _CHUNK], np.float32), start)

    def _normalised(self, images: NDArray[np.float32], start: int = 0) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        with np.errstate(invalid="ignore", over="ignore"):
            background = images[:, self.masks()[1]]
            mean, sd = background.mean(axis=1), background.std(axis=1)
            good = np.isfinite(images).all(axis=(1, 2)) & (sd > 1e-6 * (1e-30 + np.abs(images).max(axis=(1, 2))))
        return (images[good] - mean[good, None, None]) / sd[good, None, None], start + np.flatnonzero(good)

    def orders(self, normalised: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Coefficients (n_orders, n, n_rings) of normalised images."""
        return to_polar(normalised * self.masks()[0], self.grid) / np.float32(self.grid.box)

    def read(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Normalised images of some rows (n,) int, which must be usable."""
        if isinstance(self.stack, np.ndarray):
            images = np.asarray(self.stack[rows], np.float32)
        elif rows[-1] - rows[0] > 4 * len(rows):  # far apart in a stack that knows slices only
            images = np.concatenate([np.asarray(self.stack[row : row + 1], np.float32) for row in rows.tolist()])
        else:
            images = np.asarray(self.stack[rows[0] : rows[-1] + 1], np.float32)[rows - rows[0]]
        return self._normalised(images)[0]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A stack in polar coefficients, without the images that cannot be used.

    Attributes
    ----------
    source : Source
    usable : (n,) intp
        Rows of the stack.
    ctf : (n, n_rings) float32
    held : Partition or None
        All coefficients; None = computed again for each use, because they are too many.
    n_images : int
        Of the stack.
    """

    source: Source
    usable: NDArray[np.intp]
    ctf: NDArray[np.float32]
    held: Partition | None
    n_images: int

    def __len__(self) -> int:
        return len(self.usable)

    @property
    def grid(self) -> PolarGrid:
        """Of the coefficients."""
        return self.source.grid

    @property
    def mask_radius(self) -> float:
        """As a share of the box."""
        return self.source.mask_radius

    @property
    def dof(self) -> float:
        """Independent samples per Fourier pixel."""
        return float((self.source.masks()[0] ** 2).mean())

    @property
    def particles(self) -> Partition:
        """All of them, whatever memory that takes."""
        return self.load(np.arange(len(self))) if self.held is None else self.held

    def load(self, chosen: NDArray[np.intp], context: JobContext = _QUIET) -> Partition:
        """Some of the usable images, by rows (n,) int, in order."""
        if self.held is not None:
            return self.held if len(chosen) == len(self) else take(self.held, chosen)
        out = np.empty((self.grid.n_orders, len(chosen), self.grid.n_rings), np.complex64)
        for start in range(0, len(chosen), _CHUNK):
            context.check()
            part = chosen[start : start + _CHUNK]
            out[:, start : start + len(part)] = self.source.orders(self.source.read(self.usable[part]))
        return _partition(out, self.ctf[chosen], chosen)

    def parts(self) -> Sequence[Partition | Piece]:
        """What an iteration over all images works on: what is held, or pieces that are read when their turn comes."""
        if self.held is not None:
            return split(self.held)
        edges = range(0, len(self), _PIECE)
        return [_StackPiece(self, start, min(start + _PIECE, len(self))) for start in edges]


@dataclass(frozen=True, eq=False)
class _StackPiece:
    """Consecutive usable images of a stack that is not held."""

    ready: Prepared
    start: int
    stop: int

    def load(self, context: JobContext) -> Partition:
        return self.ready.load(np.arange(self.start, self.stop), context)


def prepare(
    stack: NDArray[np.float32],
    *,
    defocus_A: NDArray[np.float64] | None = None,
    pixel_size_A: float | None = None,
    optics: Optics | None = None,
    max_rings: int = 18,
    mask_radius: float | None = None,
    hold: int = HELD,
    context: JobContext = _QUIET,
) -> Prepared:
    """Normalise, mask and transform a stack.

    Parameters
    ----------
    stack : (n, box, box) real array, yx, particles white
        May be a memory map; it is read in pieces. Images with NaN or without contrast are left out.
    defocus_A : (n,) float64, optional
        Mean defocus of each image, underfocus positive; without it the CTF is taken as 1. NaN = not known.
    pixel_size_A : float, optional
        Needed for the CTF.
    optics : Optics, optional
    mask_radius : float, optional
        Of the soft mask, as a share of the box; a tighter one keeps neighbours and noise out. Without it the images
        are looked at (:func:`~.extent.reach`).
    hold : int
        Of a stack with more images than this the coefficients are not held: the images are read again when they are
        needed, and memory does not grow with the stack.

    Raises
    ------
    EngineError
        The stack is not one of square images of at least 16 px, or has too few that can be used.
    Cancelled
    """
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or stack.shape[1] < 16:
        raise EngineError(f"a stack of square boxes of at least 16 px was expected, not an array of {stack.shape}")
    box = stack.shape[1]
    rings = min(max_rings, box // 2 - 1)
    grid = PolarGrid(box, rings, angles_needed(rings, box, OBJECT * box))
    source = Source(stack, grid, _reach(stack, grid) if mask_radius is None else mask_radius)
    held = np.empty((grid.n_orders, len(stack), rings), np.complex64) if len(stack) <= hold else None
    usable_rows: list[NDArray[np.intp]] = []
    n = 0
    for start in range(0, len(stack), _CHUNK):
        context.check()
        images, rows = source.usable(start)
        if held is not None and len(rows):
            held[:, n : n + len(rows)] = source.orders(images)
        n += len(rows)
        usable_rows.append(rows)
    if n < _MIN_PARTICLES:
        raise EngineError(
            f"{n} usable particles (of {len(stack)}) are too few to classify; {_MIN_PARTICLES} are needed"
        )
    usable = np.concatenate(usable_rows)
    ctf = np.ones((n, rings), np.float32)
    if defocus_A is not None and pixel_size_A:
        k = grid.radii / (box * pixel_size_A)
        known = np.isfinite(defocus_A[usable])
        for i in np.flatnonzero(known):  # one row of a few rings each
            ctf[i] = ctf_1d(k, float(defocus_A[usable[i]]), optics or Optics())
    if held is None:
        return Prepared(source, usable, ctf, None, len(stack))
    return Prepared(source, usable, ctf, _partition(held[:, :n], ctf, np.arange(n)), len(stack))


def _reach(stack: Any, grid: PolarGrid) -> float:
    """Radius that holds the particles of a stack, as a share of the box, from chunks all over it."""
    n_chunks = max(1, _MEASURED_ON // _CHUNK)
    starts = np.unique(np.linspace(0, max(0, len(stack) - _CHUNK), n_chunks).astype(int))
    images = np.concatenate([Source(stack, grid, MASK).usable(int(start))[0] for start in starts])
    return reach(images, MASK) if len(images) >= _MIN_PARTICLES else MASK


def _partition(orders: NDArray[np.complex64], ctf: NDArray[np.float32], number: NDArray[np.intp]) -> Partition:
    """Of coefficients that are multiplied by the CTF in place; halves go by the number of each image."""
    power = ring_power(orders)
    orders *= ctf
    return Partition(orders, power, ctf**2, number % 2 == 1)
