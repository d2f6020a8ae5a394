"""The most that any verdict can reach on the kit: everything known but the pose of each picture, beside our verdict.

    .venv/bin/python benchmarks/verdict_limit.py [--snr 0.02] [--seeds 1 2] [--n 1000]

The likelihood ratio with the true map, the true views (twelve, with their jitter), the true heights of signal and noise
on each ring and the mean power of each kind of junk; marginal over rotation and shift. Nothing of that is known to the
program, which has the map alone. AUC for all junk, and for each third of it: empty ice, edges, blobs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import verdict
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryoppp_annotator.imaging.polar import ring_power
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.reconstruct.fourier_map import polar_slices, prepare_map
from cryoppp_annotator.reconstruct.match import (
    Level,
    Projections,
    Spectra,
    level_grid,
    outlier_evidence,
    search,
    shift_disc,
)
from cryoppp_annotator.reconstruct.prepared_boxes import polar_boxes
from cryoppp_annotator.reconstruct.spectra import first_spectra, learn
from cryoppp_annotator.reconstruct.verdict import MatchOptions, judge

KINDS = ("empty ice", "edges", "blobs")
RINGS = 14


def with_kinds(n: int, snr: float, seed: int) -> tuple[verdict.Set, NDArray[np.intp]]:
    """The set, and what each picture is: -1 a particle, else a kind of junk."""
    kinds: list[int] = []
    load = verdict.load_kit

    def recording() -> Any:
        kit = load()
        junk = kit.junk

        def recorded(rng: np.random.Generator, size: int, sd: float) -> NDArray[np.float64]:
            image = junk(rng, size, sd)
            kinds.append(0 if not image.any() else 1 if len(np.unique(image)) <= 2 else 2)
            return image

        kit.junk = recorded
        return kit

    verdict.load_kit = recording
    try:
        data = verdict.simulate("70S", n, snr, seed)
    finally:
        verdict.load_kit = load
    out = np.full(n, -1)
    out[~data.particle] = kinds
    return data, out


def true_views(seed: int, views: int = 12, copies: int = 20) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    base = Rotation.random(views, random_state=seed + 1)
    jitter = np.deg2rad(3.5)
    turns = [Rotation.from_rotvec(rng.normal(0, jitter, 3)) * base[v] for v in range(views) for _ in range(copies)]
    return np.array([turn.as_matrix()[::-1, ::-1].T for turn in turns])


def references(data: verdict.Set, seed: int) -> Projections:
    grid = level_grid(data.stack.box, RINGS)
    matrices = true_views(seed)
    source = prepare_map(data.volume, data.stack.pixel_size_A, 2.0 * data.stack.pixel_size_A)
    orders = polar_slices(source, matrices, grid, data.stack.pixel_size_A)
    return Projections(orders, matrices, shift_disc(4.3, 1.07), grid, Level(RINGS, 5.0, 4.3, 1.07))


def limit(
    data: verdict.Set, kinds: NDArray[np.intp], bright: verdict.Set, snr: float, seed: int
) -> NDArray[np.float64]:
    """Log likelihood ratio with everything known; ``bright`` is the same set at a signal-to-noise ratio of 1."""
    projected = references(data, seed)
    grid = projected.grid
    clear, _ = polar_boxes(bright.stack, grid)
    start = first_spectra(clear.power, clear.ctf2, ring_power(projected.orders).mean(axis=0))
    known, _ = learn(clear.take(np.flatnonzero(bright.particle)), projected, start, 2, np.random.default_rng(0))
    height = np.sqrt(snr)  # noise is the unit
    white = np.random.default_rng(9).normal(size=data.stack.images[:400].shape).astype(np.float32)
    noise = polar_boxes(replace(data.stack.take(np.arange(400)), images=white), grid)[0].power.mean(axis=0)
    boxes, _ = polar_boxes(data.stack, grid)
    evidence = search(boxes, projected, Spectra(noise, known.gain * height, noise, np.ones(3) / 3)).evidence
    models = [np.zeros(len(boxes))]
    for kind in (1, 2):
        mine = clear.take(np.flatnonzero(kinds == kind))
        power = np.maximum((mine.power - noise).mean(axis=0), 0.0) / np.maximum(mine.ctf2.mean(axis=0), 1e-3)
        other = Spectra(noise, known.gain, (power * snr).astype(np.float32), np.ones(3) / 3)
        models.append(outlier_evidence(boxes, other, RINGS))
    return np.asarray(evidence - np.logaddexp.reduce(models, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.02])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--n", type=int, default=1000)
    args = parser.parse_args()
    verdict.head("signal-to-noise", "seed", "what", "AUC", *KINDS, "CPU s")
    for snr in args.snr:
        for seed in args.seeds:
            data, kinds = with_kinds(args.n, snr, seed)
            bright, _ = with_kinds(args.n, 1.0, seed)
            for what in ("the limit", "ours"):
                begun = time.process_time()
                if what == "ours":
                    context = JobContext(seed=seed)
                    odds = judge(
                        data.stack, data.volume, data.stack.pixel_size_A, MatchOptions(), context=context
                    ).log_odds
                else:
                    odds = limit(data, kinds, bright, snr, seed)
                seconds = time.process_time() - begun
                cells = [
                    verdict.auc(data.particle[some], odds[some])
                    for some in [np.ones(args.n, bool)] + [data.particle | (kinds == kind) for kind in range(3)]
                ]
                verdict.row(snr, seed, what, *(f"{cell:.3f}" for cell in cells), f"{seconds:.0f}")


if __name__ == "__main__":
    main()
