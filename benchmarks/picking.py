"""How good and how fast the pickers are, beside RELION's LoG in the same run.

    .venv/bin/python benchmarks/picking.py [--data ../shared/data] [--repeats 5]

Labelled micrographs: five of CryoPPP_Lite (EMPIAR-10017; the labels of 15_07_41_0 are incomplete) and four of
apoferritin (EMPIAR-10146). One-to-one within 0.3 of the diameter, one threshold per set (the best of mean F1);
simulated ones at falling contrast, without and with carbon and contamination. RELION's programs must be installed
(Debian package relion); its picks are judged the same way, and its seconds are the whole program's, start and reading
included. Nothing of `log` is fitted to these labels; `learned` is trained on 50 candidates of `log` on one
micrograph, drawn at random and decided by its labels, and judged on the others, for each micrograph in turn.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mrcfile
import numpy as np
import pandas as pd

from cryoppp_annotator.formats import images
from cryoppp_annotator.formats.star import read_star
from cryoppp_annotator.imaging.filters import find_padding
from cryoppp_annotator.imaging.simulate import SimulatedMicrograph, SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.dirt import find_regions
from cryoppp_annotator.picking.evaluate import Matches, match, precision_recall, quality
from cryoppp_annotator.picking.learned import Example, describe, probability, train
from cryoppp_annotator.picking.log import LOG
from cryoppp_annotator.picking.regions import exclude
from cryoppp_annotator.picking.suppress import suppress
from cryoppp_annotator.session.simulated import structure_from_map

TOLERANCE = 0.3
#: What bench/README.md says of RELION: smallest and largest diameter in angstrom for each particle.
RELION_DIAMETERS = {191.0: (150, 200), 120.0: (100, 130)}


class Labelled(NamedTuple):
    """A micrograph and what is on it, canonical px."""

    name: str
    image: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pixel_A: float
    diameter_A: float


class Picked(NamedTuple):
    """Picks of one micrograph and the seconds they took."""

    x: np.ndarray
    y: np.ndarray
    score: np.ndarray
    seconds: float


def beta_galactosidase(data: Path) -> list[Labelled]:
    out = []
    for path in sorted((data / "cryoppp_lite/10017/micrographs").glob("*.jpg")):
        table = pd.read_csv(data / f"cryoppp_lite/10017/ground_truth/particle_coordinates/{path.stem}.csv")
        x, y = table["X-Coordinate"].to_numpy(float), table["Y-Coordinate"].to_numpy(float)
        out.append(Labelled(path.stem[-10:], np.array(images.read(path)), x, y, 1.77, 191.0))
    return out


def apoferritin(data: Path) -> list[Labelled]:
    out = []
    for path in sorted((data / "apoferritin_10146/micrographs").glob("*.mrc")):
        table = pd.read_csv(data / f"apoferritin_10146/labels_csv/{path.stem}.csv")
        x, y = table.x.to_numpy(float), table.y.to_numpy(float)
        out.append(Labelled(path.stem[6:14], np.array(images.read(path)), x, y, 1.5, 120.0))
    return out


def by_log(item: Labelled) -> Picked:
    begun = time.perf_counter()
    found = LOG.propose(
        item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A, parameters={}, context=JobContext()
    )
    return Picked(found.x, found.y, found.score, time.perf_counter() - begun)


def by_log_avoiding(item: Labelled) -> Picked:
    """With carbon and ice left out, as the program does."""
    begun = time.perf_counter()
    found = LOG.propose(
        item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A, parameters={}, context=JobContext()
    )
    regions = find_regions(item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A)
    kept = exclude(found, regions, shape=item.image.shape, padding=find_padding(item.image)).kept
    return Picked(kept.x, kept.y, kept.score, time.perf_counter() - begun)


def learned(sets: dict[str, list[Labelled]], decisions: tuple[int, ...], draws: int) -> None:
    print(
        "\n| set | decisions on one | mean F1, one threshold | F1 each, own threshold | right where p > 0.8, % "
        "| training, s | proposing, s |"
    )
    print("|---|---|---|---|---|---|---|")
    for title, items in sets.items():
        seen, seconds = [], []
        for item in items:
            begun = time.perf_counter()
            sizes = {"pixel_size_A": item.pixel_A, "diameter_A": item.diameter_A}
            seen.append(describe(item.image, **sizes, context=JobContext()))
            seconds.append(time.perf_counter() - begun)
        found = [by_log(item) for item in items]
        for n in decisions:
            common: list[float] = []
            own: list[list[float]] = [[] for _ in items]
            sure = np.zeros(2)
            training: list[float] = []
            for source in range(len(items)):
                hit = matched(items[source], found[source]).hit
                for draw in range(draws):
                    chosen = np.random.default_rng([source, draw]).choice(len(hit), min(n, len(hit)), replace=False)
                    picked = found[source]
                    example = Example(picked.x[chosen], picked.y[chosen], hit[chosen])
                    begun = time.perf_counter()
                    diameter = items[source].diameter_A
                    model = train([seen[source]], [example], diameter_A=diameter, context=JobContext())
                    training.append(seconds[source] + time.perf_counter() - begun)
                    matches = []
                    for k, item in enumerate(items):
                        if k == source:
                            continue
                        p = probability(model, seen[k])
                        kept = suppress(seen[k].x, seen[k].y, p, 0.5 * seen[k].diameter)
                        one = matched(item, Picked(seen[k].x[kept], seen[k].y[kept], p[kept], 0.0))
                        matches.append(one)
                        own[k].append(quality([one]).best_f1)
                        sure += [one.hit[one.score > 0.8].sum(), (one.score > 0.8).sum()]
                    common.append(float(np.mean(common_threshold(matches))))
            each = ", ".join(f"{np.mean(f):.3f}" for f in own)
            print(
                f"| {title} | {n} | {np.mean(common):.3f} | {each} | {100 * sure[0] / max(1, sure[1]):.0f} | "
                f"{statistics.median(training):.2f} | {statistics.median(seconds):.2f} |",
                flush=True,
            )


def by_relion(item: Labelled) -> Picked:
    low, high = RELION_DIAMETERS.get(item.diameter_A, (0.85 * item.diameter_A, 1.1 * item.diameter_A))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with mrcfile.new(root / "m.mrc") as file:
            file.set_data(np.asarray(item.image, np.float32))
            file.voxel_size = item.pixel_A
        (root / "mics.star").write_text(
            "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n"
            "_rlnMicrographPixelSize #3\n_rlnVoltage #4\n_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\n"
            f"g1 1 {item.pixel_A} 300 2.0 0.07\n\n# version 30001\n\ndata_micrographs\n\nloop_\n"
            "_rlnMicrographName #1\n_rlnOpticsGroup #2\nm.mrc 1\n"
        )
        words = [
            "relion_autopick", "--i", "mics.star", "--odir", "AP/", "--pickname", "autopick", "--LoG",
            "--LoG_diam_min", str(low), "--LoG_diam_max", str(high), "--shrink", "0", "--lowpass", "20",
            "--LoG_adjust_threshold", "-0.5",
        ]  # fmt: skip
        begun = time.perf_counter()
        subprocess.run(words, cwd=root, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        found = list(root.glob("AP/**/*autopick.star"))
        if not found:
            return Picked(np.zeros(0), np.zeros(0), np.zeros(0), seconds)
        columns = read_star(found[0]).tables[0].columns
        labels = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")
        return Picked(*(np.array(columns[label], float) for label in labels), seconds)


def matched(item: Labelled, picked: Picked) -> Matches:
    reach = TOLERANCE * item.diameter_A / item.pixel_A
    return match(picked.x, picked.y, picked.score, item.x, item.y, reach, item.name)


def common_threshold(matches: list[Matches]) -> list[float]:
    """F1 of each micrograph at the one threshold where their mean is best."""
    levels = np.unique(np.concatenate([m.score for m in matches]))
    if not len(levels):
        return [0.0] * len(matches)
    best = np.zeros((len(levels), len(matches)))
    for column, m in enumerate(matches):
        threshold, precision, recall = precision_recall(m.hit, m.score, m.n_truth)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        # at each level what is at and above it: the last threshold that is not lower
        at = np.searchsorted(-threshold, -levels, side="right") - 1
        best[:, column] = np.where(at >= 0, f1[np.maximum(at, 0)] if len(f1) else 0.0, 0.0)
    return best[int(best.mean(axis=1).argmax())].tolist()


def labelled(sets: dict[str, list[Labelled]], pickers: dict[str, Callable[[Labelled], Picked]], repeats: int) -> None:
    print("\n| set | picker | mean F1 | F1 each, one threshold | average precision | centring, px | s, median |")
    print("|---|---|---|---|---|---|---|")
    for title, items in sets.items():
        for name, pick in pickers.items():
            runs = [[pick(item) for _ in range(repeats)] for item in items]
            matches = [matched(item, run[0]) for item, run in zip(items, runs, strict=True)]
            each = common_threshold(matches)
            told = quality(matches)
            seconds = statistics.median(picked.seconds for run in runs for picked in run)
            print(
                f"| {title} | {name} | {np.mean(each):.3f} | {', '.join(f'{f:.2f}' for f in each)} | "
                f"{told.average_precision:.3f} | {told.centring_error_px:.1f} | {seconds:.2f} |",
                flush=True,
            )


def simulated(data: Path, pickers: dict[str, Callable[[Labelled], Picked]], n: int) -> None:
    maps = {
        "GroEL": structure_from_map(data / "maps/groel_emd1997_2.02A.mrc", 2.02),
        "70S": structure_from_map(data / "maps/ribosome70s_5A.mrc", 5.0),
    }
    print(
        f"\n| particle | signal-to-noise | {' | '.join(f'{name} F1' for name in pickers)} | log on carbon or ice, % |"
    )
    print("|---|---|" + "---|" * (len(pickers) + 1))
    for title, structure in maps.items():
        base = SimulationParameters(size=(2048, 2048), pixel_size_A=2.0, structure=structure, n_particles=150)
        views = views_for(base)
        for snr in (0.05, 0.02, 0.01, 0.005):
            scenes = [
                simulate_micrograph(replace(base, snr=snr, carbon_probability=float(i % 2)), i, views) for i in range(n)
            ]
            items = [Labelled(str(i), s.image, s.x, s.y, s.pixel_size_A, s.diameter_A) for i, s in enumerate(scenes)]
            cells = []
            for name, pick in pickers.items():
                runs = [pick(item) for item in items]
                matches = [matched(item, run) for item, run in zip(items, runs, strict=True)]
                told = quality(matches)
                cells.append(f"{told.best_f1:.3f}")
                if name == "log":
                    bad = total = 0
                    for scene, run in zip(scenes, runs, strict=True):
                        kept = run.score >= told.best_threshold
                        bad += int(on_dirt(scene, run.x[kept], run.y[kept]).sum())
                        total += int(kept.sum())
            print(f"| {title} | {snr:g} | {' | '.join(cells)} | {100 * bad / max(1, total):.1f} |", flush=True)


def on_dirt(scene: SimulatedMicrograph, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dirt = scene.carbon.contains(x, y) if scene.carbon is not None else np.zeros(len(x), bool)
    for cx, cy, radius in scene.contamination:
        dirt |= np.hypot(x - cx, y - cy) < radius
    return dirt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--simulated", type=int, default=4, help="micrographs at each contrast; 0 = none")
    parser.add_argument("--draws", type=int, default=3, help="of decisions, for each micrograph")
    options = parser.parse_args()
    pickers: dict[str, Callable[[Labelled], Picked]] = {"log": by_log}
    if shutil.which("relion_autopick"):
        pickers["relion LoG"] = by_relion
    sets = {"beta-galactosidase": beta_galactosidase(options.data), "apoferritin": apoferritin(options.data)}
    labelled(sets, pickers, options.repeats)
    learned(sets, (50, 300), options.draws)
    if options.simulated:
        simulated(options.data, {**pickers, "log": by_log_avoiding}, options.simulated)


if __name__ == "__main__":
    main()
