"""Particles to classify, made by a function: balls, rods, discs, rings, shells, a barrel, a tube, a membrane protein.

    .venv/bin/python benchmarks/class_maps.py OUT      # every one as an MRC file

The engine was tuned on half of them (:data:`TUNED_ON`); the others are only reported on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from scipy.ndimage import gaussian_filter

Axes = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Made:
    """A particle: side of its box (px), pixel size (angstrom), and its density on axes from -1 to 1 (z, y, x)."""

    side: int
    pixel_size_A: float
    density: Callable[[Axes, np.random.Generator], np.ndarray]
    seed: int = 0

    def volume(self) -> np.ndarray:
        """(side, side, side) float32, smoothed by a pixel."""
        line = (np.arange(self.side) - (self.side - 1) / 2) / (self.side / 2)
        z, y, x = np.meshgrid(line, line, line, indexing="ij")
        density = self.density((z, y, x), np.random.default_rng(self.seed)).astype(np.float32)
        return np.asarray(gaussian_filter(density, 0.7), np.float32)


def _soft(inside: np.ndarray, width: float = 0.03) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(inside / width, -30.0, 30.0))))


def _blob(axes: Axes, at: np.ndarray, radius: float) -> np.ndarray:
    z, y, x = axes
    return np.asarray(np.exp(-((z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2) / (2.0 * radius**2)))


def _rod(axes: Axes, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    along = end - start
    points = np.stack(axes, axis=-1) - start
    part = np.clip(points @ along / (along @ along), 0.0, 1.0)
    return _soft(radius - np.linalg.norm(points - part[..., None] * along, axis=-1))


def _texture(shape: tuple[int, ...], rng: np.random.Generator, coarse: float, fine: float) -> np.ndarray:
    """Random density between two scales (px), s.d. 1."""
    noise = rng.normal(size=shape)
    band = gaussian_filter(noise, fine) - gaussian_filter(noise, coarse)
    return np.asarray(band / band.std())


def round_particle(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """A ball whose inside is rough and even on the large scale: low frequencies are all envelope."""
    radius = np.sqrt(sum(axis**2 for axis in axes))
    return _soft(0.62 - radius) * (1.0 + 0.8 * _texture(radius.shape, rng, 3.2, 1.6))


def lobes(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """A ball with five lobes."""
    radius = np.sqrt(sum(axis**2 for axis in axes))
    out = _soft(0.4 - radius)
    for _ in range(5):
        direction = rng.normal(size=3)
        out = out + 2.0 * _blob(axes, direction / np.linalg.norm(direction) * rng.uniform(0.4, 0.6), 0.12)
    return np.asarray(out)


def rods(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """Four rods in a bundle that is not parallel."""
    ends = rng.uniform(-0.55, 0.55, (4, 2, 3))
    return np.asarray(sum(_rod(axes, start, end, 0.09) for start, end in ends))


def discs(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """Two discs, one on the other and askew, with a tail."""
    z, y, x = axes
    first = _soft(0.55 - np.hypot(x, y)) * _soft(0.12 - np.abs(z + 0.16))
    tilted = 0.2 * x + z
    second = _soft(0.42 - np.hypot(x - 0.1, y)) * _soft(0.1 - np.abs(tilted - 0.18))
    return np.asarray(first + second + _rod(axes, np.array([0.2, 0.3, 0.2]), np.array([0.6, 0.3, -0.1]), 0.08))


def ring(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """Nine beads of several sizes on a ring, one on top."""
    out = np.zeros_like(axes[0])
    for index in range(9):
        angle = 2.0 * np.pi * index / 9
        place = np.array([0.05 * (index % 3 - 1), 0.5 * np.sin(angle), 0.5 * np.cos(angle)])
        out += rng.uniform(0.5, 1.2) * _blob(axes, place, rng.uniform(0.07, 0.14))
    return out + _blob(axes, np.array([0.3, 0.35, 0.2]), 0.12)


def shell(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """A hollow shell of uneven density."""
    radius = np.sqrt(sum(axis**2 for axis in axes))
    return _soft(0.07 - np.abs(radius - 0.58)) * (1.0 + 0.6 * _texture(radius.shape, rng, 6.0, 2.0))


def barrel(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """Two seven-fold rings back to back: D7."""
    out = np.zeros_like(axes[0])
    for index in range(7):
        angle = 2.0 * np.pi * index / 7
        for side in (-1.0, 1.0):
            twist = angle + side * 0.12
            for height, away, size in ((0.14, 0.36, 0.1), (0.32, 0.42, 0.09), (0.46, 0.3, 0.08)):
                at = twist + side * 0.5 * height
                out += _blob(axes, np.array([side * height, away * np.sin(at), away * np.cos(at)]), size)
    return out


def tube(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """A piece of a tube of helical beads, cut by the box."""
    out = np.zeros_like(axes[0])
    for index in range(26):
        angle, height = 2.0 * np.pi * index / 4.3, -0.72 + 1.44 * index / 25
        out += _blob(axes, np.array([height, 0.36 * np.sin(angle), 0.36 * np.cos(angle)]), 0.1)
    return out


#: Height, distance from the axis and size of the domains of the membrane protein, and their turn (radians).
_DOMAINS = ((-0.42, 0.3, 0.1, 0.0), (0.0, 0.18, 0.1, 0.4), (0.34, 0.34, 0.1, 0.8), (0.62, 0.2, 0.08, 0.2))


def membrane(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """A four-fold membrane protein in a belt of detergent."""
    z, y, x = axes
    out = 0.3 * _soft(0.2 - np.hypot((np.hypot(x, y) - 0.4), 1.1 * z), 0.06)
    for index in range(4):
        turn = np.deg2rad(90.0 * index)
        for height, away, size, phase in _DOMAINS:
            at = turn + phase
            out = out + 1.5 * _blob(axes, np.array([height, away * np.sin(at), away * np.cos(at)]), size)
    return np.asarray(out)


def smooth_blob(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """Broad Gaussians."""
    places = rng.normal(0.0, 0.22, (6, 3))
    return np.asarray(sum(rng.uniform(0.5, 1.0) * _blob(axes, at, rng.uniform(0.1, 0.2)) for at in places))


def rough_blob(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """An ellipsoid with domains."""
    z, y, x = axes
    radius = np.sqrt((z / 0.6) ** 2 + (y / 0.52) ** 2 + (x / 0.45) ** 2)
    grain = _texture(radius.shape, rng, 0.06 * len(z), 0.02 * len(z))
    return _soft(1.0 - radius, 0.05) * np.maximum(1.0 + 0.9 * grain, 0.0)


PARTICLES = {
    "round": Made(64, 7.0, round_particle, 1),
    "tube": Made(64, 5.0, tube),
    "membrane": Made(48, 6.0, membrane),
    "lobes": Made(56, 6.0, lobes, 3),
    "rods": Made(72, 4.0, rods, 4),
    "smooth blob": Made(48, 8.0, smooth_blob, 5),
    "round, another": Made(56, 8.0, round_particle, 11),
    "rough blob": Made(100, 3.0, rough_blob, 12),
    "shell": Made(64, 6.0, shell, 13),
    "ring": Made(60, 5.0, ring, 14),
    "barrel": Made(64, 4.5, barrel),
    "discs": Made(80, 3.5, discs),
}
TUNED_ON = ("round", "tube", "membrane", "lobes", "rods", "smooth blob")


def write(name: str, folder: Path) -> Path:
    """The particle as an MRC file, with its pixel size."""
    path = folder / f"{name.replace(', ', '_').replace(' ', '_')}.mrc"
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(PARTICLES[name].volume())
        file.voxel_size = PARTICLES[name].pixel_size_A
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for particle in PARTICLES:
        print(write(particle, target))
