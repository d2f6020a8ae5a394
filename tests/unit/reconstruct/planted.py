"""A particle of round blobs: its map and its projections are known exactly, without any of the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryoppp_annotator.imaging.ctf import Defocus, Optics, ctf_2d
from cryoppp_annotator.reconstruct import symmetry
from cryoppp_annotator.reconstruct.prepared_boxes import Stack

BOX, PIXEL_A, SIGMA_A = 32, 8.0, 11.0


@dataclass(frozen=True, eq=False)
class Planted:
    stack: Stack
    volume: NDArray[np.float32]
    matrices: NDArray[np.float64]
    shifts: NDArray[np.float64]
    particle: NDArray[np.bool_]


def blobs(seed: int = 0, name: str = "C1", count: int = 9, reach_A: float = 75.0) -> tuple[Any, Any]:
    """Centres (b, 3), xyz, A, and heights of blobs, with all symmetric copies."""
    rng = np.random.default_rng(seed)
    group = symmetry.rotations(name)
    count = max(2, round(count / len(group)) + 1) if len(group) > 1 else count
    centres = rng.normal(0, 1, (count, 3))
    centres *= (reach_A * rng.uniform(0.4, 1.0, count) / np.linalg.norm(centres, axis=1))[:, None]
    centres[0] *= reach_A / np.linalg.norm(centres[0])
    heights = rng.uniform(0.6, 1.6, count)
    return np.einsum("gij,bj->gbi", group, centres).reshape(-1, 3), np.tile(heights, len(group))


def density(centres: Any, heights: Any, box: int = BOX, pixel_A: float = PIXEL_A) -> NDArray[np.float32]:
    """The map, zyx."""
    at = (np.arange(box) - box // 2) * pixel_A
    x, y, z = (np.exp(-((at - c[:, None]) ** 2) / (2 * SIGMA_A**2)) for c in centres.T)
    return np.einsum("b,bz,by,bx->zyx", heights, z, y, x).astype(np.float32)


def picture(centres: Any, heights: Any, matrix: Any, shift_px: Any) -> NDArray[np.float64]:
    """The exact projection: image x and y of each blob are the first two rows of the pose times its centre."""
    at = (np.arange(BOX) - BOX // 2) * PIXEL_A
    x, y = (matrix[:2] @ centres.T) + np.asarray(shift_px)[:, None] * PIXEL_A
    along_x, along_y = (np.exp(-((at - c[:, None]) ** 2) / (2 * SIGMA_A**2)) for c in (x, y))
    return np.einsum("b,by,bx->yx", heights, along_y, along_x)


def plant(
    n: int = 300, snr: float = 0.6, junk: float = 0.2, seed: int = 0, name: str = "C1", matrices: Any = None
) -> Planted:
    """White particles with CTF and noise; junk is empty ice, edges or blobs of its own."""
    rng = np.random.default_rng(seed + 100)
    centres, heights = blobs(0, name)
    if matrices is None:
        matrices = Rotation.random(n, random_state=seed + 1).as_matrix()
    shifts = rng.uniform(-1.2, 1.2, (n, 2))
    particle = rng.random(n) >= junk
    clean = np.stack([picture(centres, heights, m, s) for m, s in zip(matrices, shifts, strict=True)])
    sd = float(clean[:, 6:26, 6:26].std(axis=(1, 2)).mean())
    yy, xx = np.indices((BOX, BOX)) - BOX // 2
    for i in np.flatnonzero(~particle):
        angle, kind = rng.uniform(0, 2 * np.pi), rng.integers(3)
        clean[i] = 0.0
        if kind == 1:
            clean[i] = 3 * sd * (yy * np.sin(angle) + xx * np.cos(angle) > rng.uniform(-8, 8))
        elif kind == 2:
            for y, x in rng.uniform(-12, 12, (3, 2)):
                clean[i] += 5 * sd * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 6.0)
    optics = Optics()
    defocus = np.stack([rng.uniform(12000, 30000, n)] * 2 + [np.zeros(n)], axis=1)
    images = np.empty((n, BOX, BOX), np.float32)
    for i in range(n):
        ctf = ctf_2d((BOX, BOX), PIXEL_A, Defocus(*defocus[i]), optics)
        images[i] = np.fft.irfft2(np.fft.rfft2(clean[i]) * ctf, (BOX, BOX))
    images += rng.normal(0, sd / np.sqrt(snr) * 0.6, images.shape).astype(np.float32)
    return Planted(Stack(images, PIXEL_A, defocus, optics), density(centres, heights), matrices, shifts, particle)


def auc(positive: NDArray[np.bool_], score: NDArray[Any]) -> float:
    """That a positive scores above a negative."""
    better = score[positive][:, None] > score[~positive][None]
    equal = score[positive][:, None] == score[~positive][None]
    return float(better.mean() + 0.5 * equal.mean())


@dataclass(frozen=True, eq=False)
class Scene:
    """Micrographs with planted dark particles and empty ice; x, y of every pick, whether it is one, and its pose."""

    micrographs: list[NDArray[np.float32]]
    places: list[NDArray[np.float64]]
    particle: list[NDArray[np.bool_]]
    matrices: list[NDArray[np.float64]]
    volume: NDArray[np.float32]


def scene(n_micrographs: int = 2, snr: float = 1.0, seed: int = 0) -> Scene:
    """81 picks on each micrograph of 400 px; every fifth is empty ice."""
    rng = np.random.default_rng(seed)
    centres, heights = blobs(0)
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(9)), axis=-1).reshape(-1, 2) * 40.0 + 40.0
    made = Scene([], [], [], [], density(centres, heights))
    for number in range(n_micrographs):
        matrices = Rotation.random(len(grid), random_state=seed + number).as_matrix()
        particle = rng.random(len(grid)) >= 0.2
        image, sd = np.zeros((400, 400)), 0.0
        for (x, y), matrix, real in zip(grid.astype(int), matrices, particle, strict=True):
            if real:
                drawn = picture(centres, heights, matrix, (0.0, 0.0))
                sd = float(drawn[6:26, 6:26].std())
                image[y - 16 : y + 16, x - 16 : x + 16] += drawn
        image += rng.normal(0, sd / np.sqrt(snr) * 0.6, image.shape)
        made.micrographs.append(-image.astype(np.float32))
        made.places.append(grid)
        made.particle.append(particle)
        made.matrices.append(matrices)
    return made
