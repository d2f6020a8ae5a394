"""Are unusable micrographs told from good ones, with one setting for all, and what does a passport cost?

    .venv/bin/python benchmarks/passport.py [--good 300] [--bad 50] [--side 1024] [--seed 5]

Simulated at 1.5 A/px: good ones with defocus 0.8 to 2.5 um, astigmatism to 500 A, carbon on a fifth, contamination, a
beam that varies by 7 %; and of each defect (drift of 8 to 16 A, ice that takes a quarter to half of the electrons and
three times the B factor, crystalline ice, empty, carbon only, focus at 0.03 to 0.15 or 4.5 to 5.8 um) so many as
``--bad`` says. A suggestion counts whatever its reason. Then processor seconds of one thread for 4096 x 4096.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace

import numpy as np

from cryoppp_annotator.batch.passport import compared, measure_image
from cryoppp_annotator.imaging.ctf import Optics
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.imaging.simulate_defects import DEFECTS, simulate_defect

PIXEL_A, DIAMETER_A = 1.5, 200.0


def parameters(side: int) -> SimulationParameters:
    return SimulationParameters(
        size=(side, side),
        pixel_size_A=PIXEL_A,
        n_particles=int(60 * (side / 1024) ** 2),
        n_views=40,
        snr=0.05,
        defocus_range_A=(8000.0, 25000.0),
        astigmatism_A=500.0,
        carbon_probability=0.2,
        n_contaminants=1.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=300)
    parser.add_argument("--bad", type=int, default=50)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    base, rng = parameters(chosen.side), np.random.default_rng(chosen.seed)
    views = views_for(base)
    kinds = ["good"] * chosen.good + [kind for kind in DEFECTS for _ in range(chosen.bad)]
    results = []
    for i, kind in enumerate(kinds):
        params = replace(base, seed=chosen.seed + i, dose_per_px=25.0 * float(rng.uniform(0.93, 1.07)))
        good = kind == "good"
        image = simulate_micrograph(params, 0, views).image if good else simulate_defect(kind, params, 0, views)
        results.append(measure_image(image, PIXEL_A, DIAMETER_A, Optics()))
    rows = compared([str(i) for i in range(len(kinds))], results)
    suggested = np.array([bool(row["suggestion"]) for row in rows])
    print("| what | suggested | reasons |\n|---|---|---|")
    for kind in ("good", *DEFECTS):
        mine = np.array([one == kind for one in kinds])
        reasons = Counter(
            reason
            for row, its in zip(rows, mine, strict=True)
            if its and row["suggestion"]
            for reason in row["suggestion"].split("; ")
        )
        words = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(3))
        print(f"| {kind} | {suggested[mine].sum()} of {mine.sum()} | {words} |")
    bad = np.array([kind != "good" for kind in kinds])
    right = int((suggested & bad).sum())
    print(f"\nprecision {right / max(1, suggested.sum()):.3f}, recall {right / bad.sum():.3f}, ", end="")
    print(f"F1 {2 * right / (suggested.sum() + bad.sum()):.3f}")
    large = parameters(4096)
    image = simulate_micrograph(large, 0, views).image
    measure_image(image[:512, :512], PIXEL_A, DIAMETER_A, Optics())
    started = time.process_time()
    measure_image(image, PIXEL_A, DIAMETER_A, Optics())
    print(f"4096 x 4096: {time.process_time() - started:.2f} processor seconds")


if __name__ == "__main__":
    main()
