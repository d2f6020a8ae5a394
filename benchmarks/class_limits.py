"""2D classes of particles the engine was not made on, beside the limit: what the true projections would tell apart.

    .venv/bin/python benchmarks/class_limits.py [PARTICLE:SNR ...] [--seeds 0 1 2] [--n 1000] [--classes 16]
        [--limit-only] [--save FILE]

Particles are those of ``class_maps.py`` (and 70S, GroEL from the shared maps). The limit is the likeliest view of each
particle under the true mean projections and its CTF, over all rotations and shifts; nobody can do better with averages
that have to be learned.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from class_maps import PARTICLES, TUNED_ON
from scipy.ndimage import affine_transform, rotate, shift
from scipy.spatial.transform import Rotation
from sklearn.metrics import normalized_mutual_info_score

from cryoppp_annotator.classify.engine import MASK, Classification, ClassifyOptions, Prepared, classify, prepare
from cryoppp_annotator.classify.expectation import References, expect
from cryoppp_annotator.classify.grids import shift_grid
from cryoppp_annotator.imaging.ctf import Optics, ctf_1d
from cryoppp_annotator.imaging.polar import ring_power, to_polar
from cryoppp_annotator.model.context import JobContext

MAPS = Path(__file__).resolve().parents[2] / "shared/data/maps"
OPTICS = Optics()
#: Views a map is projected to, mean spread of each (degrees), and projections of each.
VIEWS, JITTER_DEG, COPIES = 12, 3.5, 20
JUNK = 0.2
#: What is compared at the limit: nearly all rings.
LIMIT_RINGS = 26


@dataclass(frozen=True)
class Kit:
    """Particles with known views (-1 = junk), and the mean projection of each view in units of the noise."""

    stack: np.ndarray
    defocus_A: np.ndarray
    view: np.ndarray
    projections: np.ndarray
    pixel_size_A: float

    def ready(self, rings: int = 18, mask: float | None = None) -> Prepared:
        """Prepared as the program does it."""
        optics = {"defocus_A": self.defocus_A, "pixel_size_A": self.pixel_size_A, "optics": OPTICS}
        return prepare(self.stack, **optics, max_rings=rings, mask_radius=mask)


def volume_of(name: str) -> tuple[np.ndarray, float]:
    """Density and pixel size (angstrom) of a particle."""
    if name in PARTICLES:
        return PARTICLES[name].volume(), PARTICLES[name].pixel_size_A
    path = next(p for p in sorted(MAPS.iterdir()) if p.is_file() and ("ribosome" in p.name) == (name == "70S"))
    with mrcfile.open(path, permissive=True) as file:
        density = np.asarray(file.data, np.float32)
        return density, 5.0 if name == "70S" else float(file.voxel_size.x)


def project(density: np.ndarray, turn: Rotation) -> np.ndarray:
    """Sum of the turned density over its first axis."""
    matrix, centre = turn.as_matrix(), (np.array(density.shape) - 1) / 2
    return np.asarray(affine_transform(density, matrix, offset=centre - matrix @ centre, order=1).sum(axis=0))


def lumps(rng: np.random.Generator, side: int, strength: float) -> np.ndarray:
    """Junk: nothing, an edge, or three lumps."""
    yy, xx = np.indices((side, side)) - side / 2
    kind = rng.integers(3)
    if kind == 1:
        turn = rng.uniform(0.0, 2.0 * np.pi)
        return np.asarray(3.0 * strength * (yy * np.cos(turn) + xx * np.sin(turn) > rng.uniform(-0.25, 0.25) * side))
    out = np.zeros((side, side))
    for _ in range(3 if kind == 2 else 0):
        y, x = rng.uniform(-0.4, 0.4, 2) * side
        out += 6.0 * strength * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2.0 * rng.uniform(2.0, 6.0) ** 2))
    return out


def make(name: str, snr: float, n: int = 1000, seed: int = 0) -> Kit:
    """Particles of a map as the shared kit makes them: shifted, rotated projections times CTF in white noise."""
    rng = np.random.default_rng(seed)
    density, pixel = volume_of(name)
    side = len(density) // 2 * 2
    density = density[:side, :side, :side]
    centres = Rotation.random(VIEWS, random_state=seed + 1)
    copies = [
        [
            project(density, Rotation.from_rotvec(rng.normal(0.0, np.deg2rad(JITTER_DEG), 3)) * centre)
            for _ in range(COPIES)
        ]
        for centre in centres
    ]
    k = np.hypot(np.fft.fftfreq(side, pixel)[:, None], np.fft.fftfreq(side, pixel)[None])
    yy, xx = np.indices((side, side)) - side // 2
    around, inside = np.hypot(yy, xx) > 0.47 * side, np.hypot(yy, xx) < 0.4 * side
    strength = float(np.mean([view[0][inside].std() for view in copies]))
    noise = 0.6 * strength / np.sqrt(snr)
    stack, defocus = np.empty((n, side, side), np.float32), rng.uniform(8000.0, 22000.0, n)
    view = np.where(rng.random(n) < JUNK, -1, rng.integers(VIEWS, size=n))
    scales = []
    for i in range(n):
        if view[i] < 0:
            image = lumps(rng, side, strength)
        else:
            turned = rotate(copies[view[i]][rng.integers(COPIES)], rng.uniform(0.0, 360.0), reshape=False, order=1)
            image = shift(turned, rng.uniform(-3.0, 3.0, 2), order=1)
        image = np.fft.ifft2(np.fft.fft2(image) * ctf_1d(k, float(defocus[i]), OPTICS)).real
        image = image + rng.normal(0.0, noise, image.shape)
        scales.append(image[around].std())
        stack[i] = (image - image[around].mean()) / scales[-1]
    means = np.array([np.mean(view, axis=0) for view in copies])
    return Kit(stack, defocus, view, (means / np.mean(scales)).astype(np.float32), pixel)


def scores(view: np.ndarray, label: np.ndarray) -> tuple[float, float, float]:
    """NMI of views, and recall and precision of junk where classes that are mostly junk are rejected whole."""
    junk = view < 0
    rejected = np.isin(label, [k for k in np.unique(label) if junk[label == k].mean() > 0.5])
    hit = (rejected & junk).sum()
    nmi = float(normalized_mutual_info_score(view[~junk], label[~junk]))
    return nmi, float(hit / max(1, junk.sum())), float(hit / max(1, rejected.sum()))


def noise_power(ready: Prepared, n: int = 400) -> np.ndarray:
    """Of white noise of s.d. 1 after the mask, on each ring."""
    white = np.random.default_rng(0).normal(size=(n, ready.grid.box, ready.grid.box)).astype(np.float32)
    return np.asarray(ring_power(ready.source.orders(white)).mean(axis=0), np.float32)


def limit(kit: Kit) -> float:
    """NMI of the likeliest view of each particle under the true mean projections."""
    ready = kit.ready(min(LIMIT_RINGS, kit.stack.shape[1] // 2 - 1), MASK)
    means = kit.projections - kit.projections[:, :2].mean(axis=(1, 2), keepdims=True)
    orders = to_polar(means, ready.grid) / np.float32(ready.grid.box)
    shifts, log_shift = shift_grid(4.0, 1.0)
    share = np.full(VIEWS + 2, -np.inf, np.float32)
    share[:VIEWS] = -np.log(VIEWS)
    noise = noise_power(ready)
    label = np.zeros(len(kit.view), int)
    compared = References(orders, share, noise, noise, shifts, log_shift, ready.dof)
    label[ready.usable] = expect(ready.particles, compared, ready.grid)[1].posterior.argmax(axis=1)
    real = kit.view >= 0
    return float(normalized_mutual_info_score(kit.view[real], label[real]))


def run(kit: Kit, classes: int, seed: int) -> tuple[Classification, float]:
    """Classes, and the processor time they took (s)."""
    start = time.process_time()
    result = classify(kit.ready(), ClassifyOptions(classes), context=JobContext(seed=seed))
    return result, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kits", nargs="*", metavar="PARTICLE:SNR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--limit-only", action="store_true")
    parser.add_argument("--save", type=Path, help="a JSON line for each run is added to this file")
    given = parser.parse_args()
    print(
        "| particle, signal-to-noise | limit: NMI | ours (worst) | share | junk recall, precision | filled | CPU, s |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for text in given.kits or [f"{name}:0.5" for name in PARTICLES]:
        name, snr = text.rsplit(":", 1)
        rows = []
        for seed in given.seeds:
            kit = make(name, float(snr), given.n, seed)
            best = limit(kit)
            if given.limit_only:
                rows.append((best, 0.0, 0.0, 0.0, 0, 0.0))
                continue
            result, cpu = run(kit, given.classes, seed)
            filled = len(np.unique(result.label[result.label < len(result.model.frc)]))
            rows.append((best, *scores(kit.view, result.label), filled, cpu))
            if given.save:
                with given.save.open("a") as file:
                    file.write(json.dumps({"kit": text, "seed": seed, "row": rows[-1]}) + "\n")
        best, nmi, recall, precision, filled, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        share = statistics.median(row[1] / row[0] for row in rows)
        worst = min(row[1] / row[0] for row in rows)
        held = "" if name in TUNED_ON or name not in PARTICLES else " (not tuned on)"
        print(
            f"| {name}, {snr}{held} | {best:.2f} | {nmi:.2f} ({min(row[1] for row in rows):.2f}) "
            f"| {share:.0%} ({worst:.0%}) | {recall:.2f}, {precision:.2f} | {filled:.0f} | {cpu:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
