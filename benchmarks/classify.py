"""2D classification: against RELION, growth, memory, real data, and what the quality score is worth.

    .venv/bin/python benchmarks/classify.py [--kit] [--big] [--growth] [--real] [--quality] [--relion]
        [--seeds 3 4 5] [--snr 0.1] [--n 1000] [--classes 16] [--map 70S|GroEL]

Without a section, all are printed but RELION, which takes minutes. The kit makes the particles (defaults: 1,000 of
64 px, 12 views, 20 % junk, signal-to-noise 0.1). Seeds 0 to 2 were looked at while the engine was made; the defaults
were not. It needs scikit-learn, and RELION for --relion. --picture FILE draws the classes of the real data set.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from class_sets import Set, apoferritin, beta_galactosidase, from_kit, on_particles, simulate, simulated, with_more_junk
from PIL import Image, ImageDraw
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score

from cryoppp_annotator.batch.classify import load_stack
from cryoppp_annotator.classify import metrics
from cryoppp_annotator.classify.engine import Classification, ClassifyOptions, classify, prepare
from cryoppp_annotator.classify.selection import Suggestion, suggest
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.session.classes.summary_files import verdict

SHARED = Path(__file__).resolve().parents[2] / "shared"
RELION_S = 431.0
#: Averages of mixture_2D.mrcs, by eye: blurred, empty, with foreign matter; and two particles in one.
MIXTURE_JUNK = (0, 12, 22, 23, 24, 30, 32, 35, 37, 43, 48, 51, 52, 53, 54, 60, 70, 85, 97, 98)
MIXTURE_DOUBLE = (
    6,
    7,
    10,
    15,
    16,
    20,
    21,
    25,
    28,
    29,
    33,
    39,
    42,
    45,
    56,
    61,
    66,
    71,
    72,
    74,
    76,
    77,
    79,
    86,
    87,
    95,
    96,
    99,
)


def row(*cells: object) -> None:
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def head(*cells: str) -> None:
    print()
    row(*cells)
    row(*["---"] * len(cells))


# -- the kit, against RELION ---------------------------------------------------------------------------------------


def scores(star: Path, labelled: Path) -> dict[str, float]:
    """What the kit's score_classes.py prints."""
    truth = star.with_name(f"{star.stem}_truth.csv")
    view = np.array([int(line["view"]) for line in csv.DictReader(truth.open())])
    table = next(t for t in read_star(labelled).tables if "rlnClassNumber" in t.columns)
    order = [int(name.split("@")[0]) - 1 for name in table.columns["rlnImageName"]]
    label = np.full(len(view), -99)
    label[order] = np.array(table.columns["rlnClassNumber"], float).astype(int)
    junk = view < 0
    rejected = np.isin(label, [k for k in np.unique(label) if junk[label == k].mean() > 0.5])
    hit = (rejected & junk).sum()
    return {
        "nmi": float(normalized_mutual_info_score(view[~junk], label[~junk])),
        "ari": float(adjusted_rand_score(view[~junk], label[~junk])),
        "purity": sum(np.bincount(view[label == k] + 1).max() for k in np.unique(label)) / len(view),
        "recall": hit / max(1, junk.sum()),
        "precision": hit / max(1, rejected.sum()),
    }


def timed_command(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def against_relion(given: argparse.Namespace, n: int, snr: float, of: str, relion: bool) -> None:
    """One table: each seed by us and, right after, by RELION; medians."""
    head(
        f"{n:,} of {of}, SNR {snr:g}, {given.classes} classes",
        "wall, s",
        "CPU, s",
        "NMI",
        "purity",
        "junk recall",
        "junk precision",
        "kept by the suggestion",
        "junk dropped",
    )
    rows: list[list[float]] = []
    theirs: list[list[float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stars = [
            simulate(
                given.kit_folder,
                given.maps,
                folder,
                f"s{seed}",
                "--n",
                str(n),
                "--snr",
                str(snr),
                "--seed",
                str(seed),
                of=of,
            )
            for seed in given.seeds
        ]
        for seed, star in zip(given.seeds, stars, strict=True):
            out = folder / f"c{seed}"
            command = [
                sys.executable,
                "-m",
                "cryoppp_annotator",
                "classify",
                star.name,
                "-o",
                str(out),
                "-k",
                str(given.classes),
            ]
            seconds = timed_command(command, folder)
            agreement = scores(star, out / "particles.star")
            kept, dropped = suggested(star, out)
            rows.append([*seconds, *(agreement[k] for k in ("nmi", "purity", "recall", "precision")), kept, dropped])
            row(f"seed {seed}", *(f"{value:.3g}" for value in rows[-1]))
            if relion:
                diameter = "300" if of == "70S" else "160"
                command = [
                    str(given.kit_folder / "run_relion.sh"),
                    star.name,
                    f"rel{seed}",
                    str(given.classes),
                    diameter,
                ]
                seconds = timed_command(command, folder)
                agreement = scores(star, folder / f"rel{seed}/run_it025_data.star")
                theirs.append([*seconds, *(agreement[k] for k in ("nmi", "purity", "recall", "precision"))])
                row(f"relion_refine, seed {seed}", *(f"{value:.3g}" for value in theirs[-1]), "", "")
    median = [statistics.median(column) for column in zip(*rows, strict=True)]
    row("**median**", *(f"{value:.3g}" for value in median))
    if theirs:
        other = [statistics.median(column) for column in zip(*theirs, strict=True)]
        row("**median, relion_refine**", *(f"{value:.3g}" for value in other), "", "")
        print(f"\n{other[0] / median[0]:.0f} times faster in wall time, {other[1] / median[1]:.0f} in CPU time")


def suggested(star: Path, out: Path) -> tuple[float, float]:
    """Share of the particles kept and of the junk dropped by the suggested decisions."""
    truth = star.with_name(f"{star.stem}_truth.csv")
    good = np.array([int(line["view"]) >= 0 for line in csv.DictReader(truth.open())])
    accepted = [
        int(line["id"]) for line in csv.DictReader((out / "summary.csv").open()) if line["decision"] == "accept"
    ]
    table = next(t for t in read_star(out / "particles.star").tables if "rlnClassNumber" in t.columns)
    kept = np.isin(np.array(table.columns["rlnClassNumber"], int), accepted)
    return float(kept[good].mean()), float(1.0 - kept[~good].mean())


# -- time and memory -----------------------------------------------------------------------------------------------


def one_size(stack: Path, star: Path, n: int, k: int) -> None:
    """In a process of its own, so that the peak is its own: prints one JSON line."""
    table = read_star(star)
    columns = next(t for t in table.tables if "rlnDefocusU" in t.columns).columns
    defocus = np.resize(np.array(columns["rlnDefocusU"], float), n)
    optics = table.table("optics")
    pixel = float(optics.columns["rlnImagePixelSize"][0])
    images = np.load(stack, mmap_mode="r")[:n]
    first: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()

    def run(rows: Any, more: dict[str, Any]) -> Classification:
        stack = images if rows is None else images[rows]
        ready = prepare(stack, defocus_A=defocus if rows is None else defocus[rows], pixel_size_A=pixel, hold=5000)
        return classify(ready, ClassifyOptions(k), context=JobContext(), **more)

    result = run(None, {"on_averages": lambda _: first.append(time.perf_counter() - start)})
    whole, whole_cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    warm = None
    if n <= 5000:
        rng = np.random.default_rng(0)
        start = time.perf_counter()
        run(np.sort(rng.choice(n, n * 95 // 100, replace=False)), {"start": result.model})
        warm = time.perf_counter() - start
    print(
        json.dumps(
            {
                "whole": whole,
                "cpu": whole_cpu,
                "first": first[0],
                "warm": warm,
                "peak": peak,
                "stack": images.nbytes / 2**20,
            }
        )
    )


def growth(given: argparse.Namespace, sizes: list[tuple[int, int]]) -> None:
    head(
        "particles",
        "classes",
        "wall, s",
        "CPU, s",
        "CPU us per particle and class",
        "first picture, s",
        "warm/first",
        "stack (mapped), MB",
        "peak, MB",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        star = simulate(given.kit_folder, given.maps, folder, "s", "--n", "5000", "--seed", str(given.seeds[0]))
        images = load_stack(star).images
        big = np.lib.format.open_memmap(folder / "stack.npy", "w+", np.float32, (max(n for n, _ in sizes), 64, 64))
        for at in range(0, len(big), len(images)):
            big[at : at + len(images)] = images[: len(big) - at]
        big.flush()
        for n, k in sizes:
            command = [sys.executable, __file__, "--one", str(folder / "stack.npy"), str(star), str(n), str(k)]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
            got = json.loads(ran.stdout.splitlines()[-1])
            warm = "" if got["warm"] is None else f"{got['warm'] / got['whole']:.2f}"
            row(
                f"{n:,}",
                k,
                f"{got['whole']:.1f}",
                f"{got['cpu']:.1f}",
                f"{1e6 * got['cpu'] / n / k:.0f}",
                f"{got['first']:.1f}",
                warm,
                f"{got['stack']:.0f}",
                f"{got['peak']:.0f}",
            )


# -- real data, and the score --------------------------------------------------------------------------------------


def run_set(item: Set, k: int, seed: int) -> tuple[Classification, tuple[metrics.ClassMetrics, ...]]:
    ready = prepare(
        item.stack, defocus_A=item.defocus_A, pixel_size_A=item.pixel_size_A, optics=item.optics, mask_radius=item.mask
    )
    result = classify(ready, ClassifyOptions(k), context=JobContext(seed=seed))
    return result, metrics.measure(result, item.pixel_size_A)


def kept_of(item: Set, result: Classification, measures: tuple[metrics.ClassMetrics, ...]) -> tuple[float, float]:
    kept = np.isin(result.label, [m.column for m in measures if suggest(m) is Suggestion.ACCEPT])
    good = kept[item.good].mean() if item.good.any() else float("nan")
    return float(good), float(1.0 - kept[~item.good].mean())


def real(data: Path, picture: Path | None) -> None:
    print(f"\nOf places drawn blindly on the two MRCs, {100 * on_particles(data):.0f} % lie on a labelled particle.")
    head("set", "classes", "particles", "junk", "kept, median (least)", "junk dropped, median (least)")
    for item in (beta_galactosidase(data, lite=False), beta_galactosidase(data, lite=True), apoferritin(data)):
        for k in (16, 30):
            runs = [run_set(item, k, seed) for seed in range(3)]
            kept, dropped = zip(*(kept_of(item, *run) for run in runs), strict=True)
            row(
                item.name,
                k,
                int(item.good.sum()),
                int((~item.good).sum()),
                f"{statistics.median(kept):.3f} ({min(kept):.3f})",
                f"{statistics.median(dropped):.3f} ({min(dropped):.3f})",
            )
            if picture is not None and item.name.startswith("10017, 2") and k == 16:
                draw(picture, item, *runs[0])


def draw(picture: Path, item: Set, result: Classification, measures: tuple[metrics.ClassMetrics, ...]) -> None:
    """Class averages, framed green (accept) or red (reject), with members and the share of them that are junk."""
    averages, columns, side = result.model.images(), 8, 112
    sheet = Image.new("RGB", (columns * side, -(-len(measures) // columns) * (side + 14)), "black")
    pen = ImageDraw.Draw(sheet)
    for place, m in enumerate(measures):
        mine = result.label == m.column
        plain = item.stack[mine].mean(axis=0) if mine.any() else np.zeros_like(item.stack[0])
        average = averages[m.column] if m.column < len(averages) else plain
        low, high = np.percentile(average, (0.5, 99.5))
        grey = (np.clip((average - low) / max(high - low, 1e-9), 0.0, 1.0) * 255.0).astype(np.uint8)
        x, y = place % columns * side, place // columns * (side + 14)
        colour = "#2e9e44" if suggest(m) is Suggestion.ACCEPT else "#c0392b"
        pen.rectangle((x, y, x + side - 1, y + side - 1), fill=colour)
        sheet.paste(Image.fromarray(grey).resize((side - 6, side - 6), Image.Resampling.BICUBIC), (x + 3, y + 3))
        junk = f"{100 * (~item.good[mine]).mean():.0f} % junk" if mine.any() else ""
        pen.text((x + 3, y + side), f"{m.count}, {junk}", fill="white")
    sheet.quantize(64).save(picture, optimize=True)
    print(f"<!-- {picture}: {verdict(measures)} -->")


def quality(given: argparse.Namespace, data: Path) -> None:
    head(
        "set",
        "classes (good)",
        "structure",
        "compactness",
        "centring",
        "**quality**",
        "kept",
        "junk dropped",
        "verdict",
    )
    everything = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lite = beta_galactosidase(data, lite=True)
        sets = [beta_galactosidase(data, lite=False), lite, with_more_junk(lite, 700), apoferritin(data)]
        sets += [simulated(structure) for structure in ("shell", "double-ring", "blob")]
        sets.append(from_kit(simulate(given.kit_folder, given.maps, folder, "a", "--seed", str(given.seeds[0])), "kit"))
        low = simulate(given.kit_folder, given.maps, folder, "b", "--seed", str(given.seeds[1]), "--snr", "0.05")
        sets.append(from_kit(low, "kit, SNR 0.05, 1,000"))
        junk = Set("10017, its junk alone", lite.stack[~lite.good], np.zeros(int((~lite.good).sum()), bool))
        noise = np.random.default_rng(0).normal(size=(1000, 64, 64)).astype(np.float32)
        sets += [junk, Set("white noise", noise, np.zeros(1000, bool))]
        for item in sets:
            result, measures = run_set(item, 16, 3)
            classes = [m for m in measures if m.kind is metrics.Kind.STRUCTURE and m.count]
            good = np.array([item.good[result.label == m.column].mean() >= 0.5 for m in classes], bool)
            rim, offset = metrics.rim_and_offset(result.model.images(), item.mask)
            columns = [m.column for m in classes]
            values = np.column_stack(
                [
                    [m.evidence for m in classes],
                    -rim[columns],
                    -offset[columns] / (item.mask * 64),
                    [m.quality for m in classes],
                ]
            )
            everything.append((good, values))
            kept, dropped = kept_of(item, result, measures)
            row(
                item.name,
                f"{len(good)} ({good.sum()})",
                *aucs(good, values),
                f"{kept:.3f}",
                f"{dropped:.3f}",
                verdict(measures).split(";")[0],
            )
    good, values = np.concatenate([g for g, _ in everything]), np.concatenate([v for _, v in everything])
    row("**all**", f"{len(good)} ({good.sum()})", *aucs(good, values), "", "", "")
    mixture(data)


def mixture(data: Path) -> None:
    """The score of averages alone on those of another program."""
    with mrcfile.open(data / "particles/mixture_2D.mrcs", permissive=True) as file:
        images = file.data.astype(np.float32)
    junk = np.isin(np.arange(len(images)), MIXTURE_JUNK)
    double = np.isin(np.arange(len(images)), MIXTURE_DOUBLE)
    rim, offset = metrics.rim_and_offset(images)
    values = np.column_stack([metrics.detail(images), -rim, -offset, metrics.image_quality(images)])
    for name, rows, bad in (
        ("mixture_2D, images alone, doubles left out", ~double, junk),
        ("mixture_2D, doubles as junk", np.ones(len(junk), bool), junk | double),
    ):
        accepted = values[:, 3] >= 0.35
        row(
            name,
            f"{rows.sum()} ({(rows & ~bad).sum()})",
            *aucs(~bad[rows], values[rows]),
            f"{accepted[rows & ~bad].mean():.3f}",
            f"{1 - accepted[rows & bad].mean():.3f}",
            "",
        )


def aucs(good: np.ndarray, values: np.ndarray) -> list[str]:
    if not 0 < good.sum() < len(good):
        return ["-"] * values.shape[1]
    return [f"{roc_auc_score(good, column):.3f}" for column in values.T]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit-folder", type=Path, default=SHARED / "bench/class2d")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--map", choices=("70S", "GroEL"), default="70S")
    for section in ("kit", "big", "growth", "real", "quality", "relion"):
        parser.add_argument(f"--{section}", action="store_true")
    parser.add_argument("--picture", type=Path, help="where the classes of 10017 are drawn (with --real)")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one_size(Path(given.one[0]), Path(given.one[1]), int(given.one[2]), int(given.one[3]))
        return
    given.kit_folder, given.maps = given.kit_folder.resolve(), (given.data / "maps").resolve()
    whole = not any((given.kit, given.big, given.growth, given.real, given.quality, given.relion))
    if given.kit or given.relion:
        against_relion(given, given.n, given.snr, given.map, given.relion)
    if whole:
        against_relion(given, 1000, 0.1, "70S", False)
        against_relion(given, 1000, 0.1, "GroEL", False)
        against_relion(given, 5000, 0.05, "70S", False)
    if given.real or whole:
        real(given.data, given.picture)
    if given.quality or whole:
        quality(given, given.data)
    if given.big:
        growth(given, [(5000, 50)])
    if given.growth or whole:
        few = [(500, 16), (1000, 16), (2000, 16), (5000, 16), (10000, 16), (20000, 16)]
        growth(given, [(5000, 50), *few, (5000, 32), (5000, 100)])


if __name__ == "__main__":
    main()
