"""What there is to simulate: particles as clouds of scatterers and their projections, carbon, contamination."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from ..model.context import JobContext

_QUIET = JobContext()


@dataclass(frozen=True, eq=False)
class Structure:
    """A particle as weighted points: rotating points is exact and needs no interpolation of a volume.

    Attributes
    ----------
    positions_A : (n, 3) float32, xyz, angstrom, centre of mass at 0
    weights : (n,) float32, positive
    blur_A : float
        Standard deviation of the Gaussian each point stands for, angstrom.
    """

    positions_A: NDArray[np.float32]
    weights: NDArray[np.float32]
    blur_A: float

    @property
    def diameter_A(self) -> float:
        """Twice the radius that holds 98 % of the mass, angstrom."""
        radius = np.linalg.norm(self.positions_A, axis=1)
        order = np.argsort(radius)
        mass = np.cumsum(self.weights[order], dtype=np.float64)
        return 2.0 * float(radius[order][np.searchsorted(mass, 0.98 * mass[-1])])


@dataclass(frozen=True, eq=False)
class ViewBank:
    """Projections of one structure in random orientations.

    Attributes
    ----------
    spectra : (v, b, b // 2 + 1) complex64
        ``rfft2`` of projections whose centre of mass lies on pixel (0, 0).
    orientations : (v, 4) float64
        Unit quaternions xyzw: ``Rotation.from_quat(q).apply(positions_A)`` is what is summed along z.
    pixel_size_A : float
    diameter_A : float
    """

    spectra: NDArray[np.complex64]
    orientations: NDArray[np.float64]
    pixel_size_A: float
    diameter_A: float

    def __len__(self) -> int:
        return len(self.spectra)

    @property
    def box_size(self) -> int:
        """Edge of a projection, px."""
        return int(self.spectra.shape[1])

    def render(self, view: int, shift_y: float, shift_x: float) -> NDArray[np.float32]:
        """Projection ``view`` with its centre at ``(b // 2 + shift_y, b // 2 + shift_x)`` px, (b, b) float32."""
        b = self.box_size
        ky = np.exp(-2j * np.pi * np.fft.fftfreq(b) * (b // 2 + shift_y)).astype(np.complex64)
        kx = np.exp(-2j * np.pi * np.fft.rfftfreq(b) * (b // 2 + shift_x)).astype(np.complex64)
        spectrum = self.spectra[view] * ky[:, None] * kx[None]
        return np.asarray(scipy.fft.irfft2(spectrum, s=(b, b), overwrite_x=True), np.float32)


def _strands(rng: np.random.Generator, start: NDArray[np.float64], reach: float, n: int) -> NDArray[np.float64]:
    """A fold of ``n`` pseudo-residues: helices of 14 that wander inside a ball of ``reach`` around ``start`` (A)."""
    points = np.empty((n, 3))
    at = start.copy()
    direction = rng.normal(size=3)
    for i in range(n):
        if i % 14 == 0:
            direction = rng.normal(size=3)
            direction /= np.linalg.norm(direction)
        at = at + 1.5 * direction + rng.normal(0.0, 0.8, 3)
        out = at - start
        distance = float(np.linalg.norm(out))
        if distance > reach:  # turn back into the ball
            at = start + out * (reach / distance)
            direction = -out / distance + rng.normal(0.0, 0.5, 3)
            direction /= np.linalg.norm(direction)
        points[i] = at
    return points


def _body(rng: np.random.Generator, centres: NDArray[np.float64], reach: float, n: int) -> NDArray[np.float64]:
    """A subunit: ``n`` pseudo-residues folded around each centre, in balls filled as evenly as protein is (A)."""
    folds = [_strands(rng, centre, reach, n) for centre in centres]
    low, high = centres.min(axis=0) - reach - 5.0, centres.max(axis=0) + reach + 5.0
    grid = np.stack(np.meshgrid(*(np.arange(a, b, 3.4) for a, b in zip(low, high, strict=True))), axis=-1)
    points = grid.reshape(-1, 3) + rng.uniform(-1.7, 1.7, (grid.size // 3, 3))
    near = np.linalg.norm(points[:, None] - centres[None], axis=2).min(axis=1) < reach + 4.0
    return np.concatenate([*folds, points[near]])


def _symmetric(group: str, subunit: NDArray[np.float64]) -> Structure:
    """All copies of a subunit (n, 3) under a point group."""
    # The stubs know the letters only, not ``D7``.
    group_rotations = Rotation.create_group(cast(Any, group))
    copies = np.concatenate([r.apply(subunit) for r in group_rotations])
    return _centred(copies, np.ones(len(copies)), 3.0)


def _centred(positions: NDArray[Any], weights: NDArray[Any], blur_A: float) -> Structure:
    centre = np.average(positions, axis=0, weights=weights)
    return Structure((positions - centre).astype(np.float32), weights.astype(np.float32), blur_A)


def octahedral_shell() -> Structure:
    """A hollow shell of 24 subunits, some 120 A across, like apoferritin."""
    rng = np.random.default_rng(24)
    towards = np.array([[0.86, 0.42, 0.30], [0.95, 0.24, 0.20], [0.78, 0.58, 0.24], [0.80, 0.44, 0.42]])
    starts = 50.0 * towards / np.linalg.norm(towards, axis=1)[:, None]
    return _symmetric("O", _body(rng, starts, 8.0, 25))


def double_ring() -> Structure:
    """Two stacked rings of seven subunits, 140 A wide and 150 A high with a channel, like GroEL."""
    rng = np.random.default_rng(14)
    equatorial = [[42.0, 0.0, 15.0], [50.0, 6.0, 27.0], [46.0, -9.0, 22.0]]
    apical = [[46.0, -2.0, 44.0], [50.0, 10.0, 57.0], [40.0, 14.0, 62.0], [34.0, 4.0, 54.0]]
    return _symmetric("D7", _body(rng, np.array(equatorial + apical), 10.0, 60))


def asymmetric_blob() -> Structure:
    """Two unequal lobes and a stalk, some 200 A long, without symmetry, like a ribosome's outline."""
    rng = np.random.default_rng(70)
    large = rng.uniform(-1.0, 1.0, (16, 3)) * (34.0, 42.0, 32.0) + (-30.0, 0.0, 0.0)
    small = rng.uniform(-1.0, 1.0, (9, 3)) * (16.0, 48.0, 24.0) + (46.0, 10.0, 4.0)
    stalks = np.array([[-66.0, 58.0, 15.0], [-80.0, 70.0, 18.0], [-50.0, -66.0, -14.0], [36.0, 78.0, 10.0]])
    folds = [_body(rng, large, 20.0, 250), _body(rng, small, 17.0, 180), _body(rng, stalks, 9.0, 60)]
    return _centred(points := np.concatenate(folds), np.ones(len(points)), 3.5)


#: Built-in structures by name.
STRUCTURES: dict[str, Callable[[], Structure]] = {
    "shell": octahedral_shell,
    "double-ring": double_ring,
    "blob": asymmetric_blob,
}


def from_map(values: NDArray[Any], voxel_size_A: float, level: float | None = None) -> Structure:
    """Structure from a density map.

    Parameters
    ----------
    values : (nz, ny, nx) real array, molecule positive
    voxel_size_A : float
    level : float, optional
        Density below it is solvent; default is mean + 1 s.d. of the map.

    Raises
    ------
    ValueError
        Where the voxel size is not positive or no voxel lies above the level.
    """
    if not voxel_size_A > 0:
        raise ValueError(f"voxel size must be positive, not {voxel_size_A}")
    if values.ndim != 3:
        raise ValueError(f"expected a map with three axes, not {values.ndim}")
    threshold = float(values.mean(dtype=np.float64) + values.std(dtype=np.float64)) if level is None else level
    zyx = np.argwhere(values > threshold)
    if not len(zyx):
        raise ValueError(f"no voxel of the map is above {threshold}")
    weights = values[tuple(zyx.T)] - threshold
    # Half a voxel of blur hides the grid: at one voxel's wavelength it lets 0.7 % through.
    return _centred(zyx[:, ::-1] * voxel_size_A, weights, 0.5 * voxel_size_A)


def make_views(
    structure: Structure, pixel_size_A: float, n_views: int, seed: int, context: JobContext = _QUIET
) -> ViewBank:
    """Project a structure in ``n_views`` orientations drawn evenly from SO(3).

    Parameters
    ----------
    structure : Structure
    pixel_size_A : float
        Of the projections.
    n_views : int
    seed : int
    context : JobContext

    Raises
    ------
    Cancelled
    """
    diameter = structure.diameter_A
    half = float(np.linalg.norm(structure.positions_A, axis=1).max()) + 4.0 * structure.blur_A
    box = 2 * int(scipy.fft.next_fast_len(math.ceil(half / pixel_size_A) + 2))
    rotations = Rotation.random(n_views, rng=np.random.default_rng([seed, 1]))
    k2 = np.fft.fftfreq(box, pixel_size_A)[:, None] ** 2 + np.fft.rfftfreq(box, pixel_size_A)[None] ** 2
    blur = np.exp(-2.0 * (np.pi * structure.blur_A) ** 2 * k2).astype(np.float32)
    spectra = np.empty((n_views, box, box // 2 + 1), np.complex64)
    for i, matrix in enumerate(rotations.as_matrix()):
        if i % 10 == 0:
            context.progress(i, n_views, "projecting")
        xy = structure.positions_A @ matrix[:2].T.astype(np.float32) / np.float32(pixel_size_A)
        spectra[i] = scipy.fft.rfft2(_splat(xy, structure.weights, box)) * blur
    return ViewBank(spectra, rotations.as_quat(), pixel_size_A, diameter)


def _splat(xy: NDArray[np.float32], weights: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """Bilinear sum of points (n, 2) xy, px from pixel (0, 0), onto a periodic (box, box) float32 image."""
    corner = np.floor(xy)
    fx, fy = (xy - corner).T
    x, y = corner.astype(np.intp).T
    image = np.zeros(box * box)
    for dy, wy in ((0, 1.0 - fy), (1, fy)):
        for dx, wx in ((0, 1.0 - fx), (1, fx)):
            at = (y + dy) % box * box + (x + dx) % box
            image += np.bincount(at, weights * wy * wx, minlength=box * box)
    return image.reshape(box, box).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Carbon:
    """Carbon film around a round hole: everything further than ``radius`` px from the canonical point ``(x, y)``."""

    x: float
    y: float
    radius: float

    def contains(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points lie on carbon: x (n,) and y (n,), canonical px."""
        return np.hypot(x - self.x, y - self.y) > self.radius

    def distance(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Distance of each pixel of an image of ``shape`` onto the carbon, px, negative in the hole; float32."""
        y = (np.arange(shape[0], dtype=np.float32) - np.float32(self.y)) ** 2
        x = (np.arange(shape[1], dtype=np.float32) - np.float32(self.x)) ** 2
        distance = np.sqrt(y[:, None] + x[None])
        distance -= np.float32(self.radius)
        return distance


def random_carbon(size: tuple[int, int], rng: np.random.Generator) -> Carbon:
    """A hole whose edge crosses a micrograph of ``size`` (rows, columns) 0.28 to 0.48 of a side from its centre."""
    angle, reach, radius = rng.random(3)
    h, w = size
    radius = (0.9 + 0.7 * radius) * max(h, w)
    along = (0.28 + 0.2 * reach) * min(h, w) - radius
    angle *= 2.0 * math.pi
    return Carbon(w / 2.0 + along * math.cos(angle), h / 2.0 + along * math.sin(angle), radius)


def soft_step(distance: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Logistic edge from 0 (outside, distance < 0) to 1 (inside); distance and width in px, same shape, float32."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-distance / np.float32(width / 2.0), -40.0, 40.0))), np.float32)


def add_contaminant(
    potential: NDArray[np.float32],
    transmission: NDArray[np.float32],
    piece: NDArray[np.float64],
    edge_px: float,
    rng: np.random.Generator,
    *,
    depths: tuple[float, float] = (0.08, 0.3),
    height: float = 2.0,
) -> tuple[int, int, NDArray[np.bool_]]:
    """Draw a dark, mottled piece with an irregular outline into both images, in place.

    Parameters
    ----------
    potential, transmission : (h, w) float32, yx
    piece : (3,) float64
        Canonical x, y and radius, px.
    edge_px : float
        Softness of its edge.
    rng : Generator
    depths : (low, high)
        Share of the light that it absorbs, drawn evenly.
    height : float
        Its potential, in units of the shot noise.

    Returns
    -------
    tuple of (top, left, (h, w) bool)
        Where it lies, canonical px.
    """
    x, y, radius = (float(v) for v in piece)
    amplitude, phase = rng.uniform(0.0, 0.12, 6), rng.uniform(0.0, 2.0 * math.pi, 6)
    depth = rng.uniform(*depths)
    reach = 1.6 * radius + 3.0 * edge_px
    rows = slice(max(0, int(y - reach)), max(0, min(potential.shape[0], int(y + reach))))
    columns = slice(max(0, int(x - reach)), max(0, min(potential.shape[1], int(x + reach))))
    yy, xx = np.ogrid[rows, columns]
    angle = np.arctan2(yy - y, xx - x)
    outline = np.ones_like(angle)
    for k in range(6):
        outline += amplitude[k] * np.cos((k + 2) * angle + phase[k]) / math.sqrt(k + 1)
    distance = np.hypot(yy - y, xx - x)
    inside = soft_step((radius * outline - distance).astype(np.float32), edge_px)
    mottle = gaussian_filter(rng.standard_normal(inside.shape, dtype=np.float32), max(1.0, 0.12 * radius))
    mottle *= np.float32(0.15) / max(float(mottle.std()), 1e-6) if mottle.size else np.float32(0.0)
    dome = np.sqrt(np.clip(1.2 - (distance / (1.3 * radius)) ** 2, 0.0, 1.0)).astype(np.float32) + mottle
    potential[rows, columns] += np.float32(height) * inside
    transmission[rows, columns] *= 1.0 - np.float32(depth) * inside * np.clip(dome, 0.0, 1.5)
    return rows.start, columns.start, inside > 0.5
