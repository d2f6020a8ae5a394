"""Particles whose truth is known, to classify: the kit's, real micrographs with hand labels and junk, simulated ones.

The kit (``shared/bench/class2d``) makes stacks with known views. Real junk is what people marked as no particle, and
random places at least one diameter from every label and from every pick of crYOLO, Topaz and DeepPicker.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from cryoppp_annotator.batch.classify import load_stack
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.ctf import Optics
from cryoppp_annotator.imaging.patches import PatchOptions, box_for, extract_patches
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for

SIDE = 64
#: Mask of picks in boxes of 1.5 diameters, as the program sets it.
MASK_OF_PICKS = 1.15 / 3.0
MASK_OF_KIT = 0.47
MAPS = {"70S": ("ribosome70s_5A.mrc", ["--apix", "5.0"]), "GroEL": ("", [])}


@dataclass(frozen=True)
class Set:
    """Boxes, and which of them are particles."""

    name: str
    stack: np.ndarray
    good: np.ndarray
    mask: float = MASK_OF_PICKS
    defocus_A: np.ndarray | None = None
    pixel_size_A: float | None = None
    optics: Optics | None = None


def simulate(kit: Path, maps: Path, folder: Path, name: str, *more: str, of: str = "70S") -> Path:
    """The kit's particles as a STAR file in ``folder``."""
    file, own = MAPS[of]
    path = maps / file if file else next(p for p in sorted(maps.iterdir()) if "ribosome" not in p.name and p.is_file())
    script = [sys.executable, str(kit / "simulate_particles.py"), str(path.resolve()), name]
    subprocess.run([*script, *own, *more], cwd=folder, check=True)
    return folder / f"{name}.star"


def from_kit(star: Path, name: str) -> Set:
    stack = load_stack(star)
    truth = star.with_name(f"{star.stem}_truth.csv")
    view = np.array([int(row["view"]) for row in csv.DictReader(truth.open())])
    return Set(name, stack.images, view >= 0, MASK_OF_KIT, stack.defocus_A, stack.pixel_size_A, stack.optics)


def _labels(path: Path) -> np.ndarray:
    rows = list(csv.reader(path.open()))[1:]
    return np.array([[float(row[0]), float(row[1])] for row in rows])


def _boxes(path: Path) -> np.ndarray:
    rows = np.array([[float(text) for text in line.split()[:4]] for line in path.read_text().splitlines() if line])
    return rows[:, :2] + rows[:, 2:] / 2.0


def _away(rng: np.random.Generator, known: np.ndarray, shape: tuple[int, int], diameter: float, n: int) -> np.ndarray:
    """Random places (m <= n, 2) at least a diameter from all that is known, half a diameter from one another."""
    margin = 0.75 * diameter
    drawn = rng.uniform([margin, margin], [shape[1] - margin, shape[0] - margin], (40000, 2))
    drawn = drawn[cKDTree(known).query(drawn)[0] >= diameter]
    kept: list[np.ndarray] = []
    for place in drawn:
        if all(np.hypot(*(place - other)) > 0.55 * diameter for other in kept):
            kept.append(place)
        if len(kept) == n:
            break
    return np.array(kept).reshape(-1, 2)


def _cut(image: np.ndarray, particles: np.ndarray, junk: np.ndarray, diameter: float) -> tuple[np.ndarray, np.ndarray]:
    places = np.concatenate([particles, junk])
    patches, rows = extract_patches(image, places[:, 0], places[:, 1], PatchOptions(box_for(diameter), SIDE))
    return patches, rows < len(particles)


def beta_galactosidase(data: Path, *, lite: bool, n_random: int = 120, seed: int = 0) -> Set:
    """CryoPPP 10017: accepted picks, hand negatives, random places; denoised MRC, or all five micrographs as JPG."""
    rng = np.random.default_rng(seed)
    root = data / ("cryoppp_lite/10017" if lite else "cryoppp/10017")
    parts = []
    for path in sorted((root / "micrographs").iterdir()):
        image = np.asarray(images.read(path))
        height = image.shape[0]
        truth = _labels(root / f"ground_truth/particle_coordinates/{path.stem}.csv")
        if not lite:
            truth[:, 1] = height - truth[:, 1]
        by_source = {
            kind: data / f"picks_10017/{kind}_box/{path.stem}.box"
            for kind in ("hand_negative", "cryolo", "topaz", "deeppicker", "hand_positive")
        }
        boxes = {kind: _boxes(file) for kind, file in by_source.items() if file.exists()}
        if lite:  # stored upside down against the MRC
            for places in boxes.values():
                places[:, 1] = height - 1 - places[:, 1]
        negative = boxes.pop("hand_negative")
        known = np.concatenate([truth, *boxes.values()])
        random = _away(rng, known, image.shape, 108.0, n_random)
        parts.append(_cut(image, truth, np.concatenate([negative, random]), 108.0))
    stack, good = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Set("10017, 5 JPG" if lite else "10017, 2 MRC", stack, good)


def apoferritin(data: Path, n_random: int = 60) -> Set:
    """Raw micrographs of EMPIAR-10146 with hand labels, random places as junk (some hold what nobody labelled)."""
    rng = np.random.default_rng(0)
    root = data / "apoferritin_10146"
    parts = []
    for path in sorted((root / "micrographs").glob("*.mrc")):
        image = np.asarray(images.read(path))
        truth = _labels(root / f"labels_csv/{path.stem}.csv")
        parts.append(_cut(image, truth, _away(rng, truth, image.shape, 80.0, n_random), 80.0))
    stack, good = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Set("apoferritin 10146", stack, good)


def on_particles(data: Path) -> float:
    """Share of places drawn blindly on the 10017 MRCs that lie within half a diameter of a label."""
    rng = np.random.default_rng(0)
    root = data / "cryoppp/10017"
    shares = []
    for path in sorted((root / "micrographs").iterdir()):
        truth = _labels(root / f"ground_truth/particle_coordinates/{path.stem}.csv")
        shares.append((cKDTree(truth).query(rng.uniform(88, 4008, (5000, 2)))[0] < 54.0).mean())
    return float(np.mean(shares))


def with_more_junk(source: Set, n_good: int, seed: int = 0) -> Set:
    """Fewer of the particles, so that junk is about half."""
    rng = np.random.default_rng(seed)
    kept = rng.choice(np.flatnonzero(source.good), n_good, replace=False)
    rows = np.sort(np.concatenate([kept, np.flatnonzero(~source.good)]))
    return Set(f"{source.name}, half junk", source.stack[rows], source.good[rows], source.mask)


def simulated(structure: str, n_micrographs: int = 6) -> Set:
    """Simulated micrographs with carbon, ice and contamination; random places away from particles as junk."""
    rng = np.random.default_rng(0)
    parameters = SimulationParameters(
        size=(1500, 1500),
        pixel_size_A=3.0,
        structure=structure,
        n_particles=120,
        snr=0.05,
        carbon_probability=0.6,
        n_contaminants=5,
        seed=3,
    )
    views = views_for(parameters)
    parts, defocus, pixel = [], [], 0.0
    for index in range(n_micrographs):
        made = simulate_micrograph(parameters, index, views)
        centres = np.column_stack([made.x, made.y])
        random = _away(rng, centres, made.image.shape, made.diameter_px, 40)
        places = np.concatenate([centres, random])
        box = box_for(made.diameter_px)
        options = PatchOptions(box, min(SIDE, box))
        patches, rows = extract_patches(made.image, places[:, 0], places[:, 1], options)
        parts.append((patches, rows < len(centres)))
        defocus.append(np.full(len(rows), made.defocus_A))
        pixel = made.pixel_size_A * box / options.out_px
    stack, good = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Set(f"simulated {structure}", stack, good, MASK_OF_PICKS, np.concatenate(defocus), pixel, parameters.optics)
