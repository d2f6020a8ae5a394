"""2D classification on particles with known views: time, agreement, junk; growth; memory.

    .venv/bin/python benchmarks/classify.py [--kit ../shared/bench/class2d] [--maps ../shared/data/maps] [--seeds 3]
        [--snr 0.1] [--n 1000] [--classes 16] [--big] [--growth] [--relion]

The kit makes the particles (defaults: 1,000 of 64 px, 12 views, 20 % junk, signal-to-noise 0.1) and scores
`particles.star`; it needs a Python with scikit-learn (--scorer). RELION takes minutes and is run with --relion only;
its figures are otherwise those measured once on an idle machine (issue 4).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cryoppp_annotator.classify.engine import Settings, classify, prepare
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.session.classification import load_stack

RELION_S = 431.0
PUBLISHED = "| relion_refine, measured once, idle machine | 431 | 1 | 0.26 | 0.37 | 0.63 | 0.67 |"
KEYS = ("nmi", "purity", "junk_recall", "junk_precision")


def simulate(kit: Path, maps: Path, folder: Path, name: str, *more: str) -> Path:
    script = [sys.executable, str(kit / "simulate_particles.py"), str((maps / "ribosome70s_5A.mrc").resolve()), name]
    subprocess.run([*script, "--apix", "5.0", *more], cwd=folder, check=True)
    return folder / f"{name}.star"


def score(kit: Path, scorer: str, star: Path, labelled: Path) -> dict[str, float]:
    truth = star.with_name(f"{star.stem}_truth.csv")
    ran = subprocess.run(
        [scorer, str(kit / "score_classes.py"), str(truth), str(labelled)], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def ours(star: Path, k: int, out: Path) -> float:
    """Wall seconds of the command as a user starts it, imports and output files included."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "cryoppp_annotator", "classify", star.name, "-o", str(out), "-k", str(k)]
    subprocess.run(command, cwd=star.parent, check=True, capture_output=True)
    return time.perf_counter() - start


def quality(kit: Path, maps: Path, scorer: str, seeds: int, n: int, snr: float, k: int, relion: bool) -> None:
    print(f"\n{n:,} particles, {k} classes, signal-to-noise {snr}, {seeds} seeds\n")
    print("| | seconds | times faster than 431 s | NMI | purity | junk recall | junk precision |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(seeds):
            star = simulate(kit, maps, folder, f"s{seed}", "--n", str(n), "--snr", str(snr), "--seed", str(seed))
            seconds = ours(star, k, folder / f"c{seed}")
            found = score(kit, scorer, star, folder / f"c{seed}/particles.star")
            rows.append([seconds, RELION_S / seconds, *(found[key] for key in KEYS)])
            print(f"| seed {seed} |", " | ".join(f"{value:.3g}" for value in rows[-1]), "|", flush=True)
        median = [statistics.median(column) for column in zip(*rows, strict=True)]
        print("| **median** |", " | ".join(f"{value:.3g}" for value in median), "|")
        if relion:
            start = time.perf_counter()
            subprocess.run([str(kit / "run_relion.sh"), "s0.star", "rel", str(k), "300"], cwd=folder, check=True)
            seconds = time.perf_counter() - start
            found = score(kit, scorer, folder / "s0.star", folder / "rel/run_it025_data.star")
            row = [seconds, RELION_S / seconds, *(found[key] for key in KEYS)]
            print("| relion_refine, now, seed 0 |", " | ".join(f"{value:.3g}" for value in row), "|")
        elif n == 1000 and snr == 0.1:
            print(PUBLISHED)


def timed(star: Path, n: int, k: int) -> tuple[float, float, float]:
    """Seconds of a run, seconds to the first averages, and seconds of a warm restart without 5 % of the particles."""
    stack = load_stack(star)
    rng = np.random.default_rng(0)
    rows = np.arange(len(stack.images)) if n == len(stack.images) else rng.integers(0, len(stack.images), n)
    images, defocus = stack.images[rows], stack.defocus_A[rows]
    first: list[float] = []
    start = time.perf_counter()
    ready = prepare(images, defocus_A=defocus, pixel_size_A=stack.pixel_size_A, optics=stack.optics)
    result = classify(
        ready, Settings(k), on_averages=lambda _: first.append(time.perf_counter() - start), context=JobContext()
    )
    whole = time.perf_counter() - start
    start = time.perf_counter()
    keep = np.sort(rng.choice(n, n * 95 // 100, replace=False))
    ready = prepare(images[keep], defocus_A=defocus[keep], pixel_size_A=stack.pixel_size_A, optics=stack.optics)
    classify(ready, Settings(k), start=result.model)
    return whole, first[0], time.perf_counter() - start


def table(kit: Path, maps: Path, sizes: list[tuple[int, int]]) -> None:
    print(
        "\n| particles | classes | seconds | first picture, s | us per particle and class | warm, s | peak memory, MB |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        star = simulate(kit, maps, Path(name), "s", "--n", str(min(5000, max(n for n, _ in sizes))))
        for n, k in sizes:
            whole, first, warm = timed(star, n, k)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"| {n:,} | {k} | {whole:.1f} | {first:.1f} | {1e6 * whole / n / k:.0f} | {warm:.1f} | {peak:.0f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared"
    parser.add_argument("--kit", type=Path, default=shared / "bench/class2d")
    parser.add_argument("--maps", type=Path, default=shared / "data/maps")
    parser.add_argument("--scorer", default=sys.executable, help="a Python with gemmi and scikit-learn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--big", action="store_true", help="only time 5,000 particles in 50 classes")
    parser.add_argument("--growth", action="store_true", help="only time 500 to 20,000 particles in 16 classes")
    parser.add_argument("--relion", action="store_true", help="run relion_refine too (minutes)")
    given = parser.parse_args()
    kit, maps = given.kit.resolve(), given.maps.resolve()
    if given.big:
        table(kit, maps, [(5000, 50)])
    elif given.growth:
        table(kit, maps, [(500, 16), (1000, 16), (2000, 16), (5000, 16), (10000, 16), (20000, 16)])
    else:
        quality(kit, maps, given.scorer, given.seeds, given.n, given.snr, given.classes, given.relion)


if __name__ == "__main__":
    main()
