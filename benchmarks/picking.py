"""How good and how fast the pickers are, beside RELION's LoG in the same run.

    .venv/bin/python benchmarks/picking.py [--data ../shared/data] [--repeats 5]

Labelled micrographs: five of CryoPPP_Lite (EMPIAR-10017; the labels of 15_07_41_0 are incomplete) and four of
apoferritin (EMPIAR-10146). One-to-one within 0.3 of the diameter, one threshold per set (the best of mean F1);
simulated ones at falling contrast, without and with carbon and contamination. RELION's programs must be installed
(Debian package relion); its picks are judged the same way, and its seconds are the whole program's, start and reading
included. Nothing of `log` is fitted to these labels; `template` uses averages (of eight classes) of the particles
labelled on the first micrograph, or projections of the simulated map under the simulated defocus; `learned` is trained
on 50 candidates of `log` on one micrograph, drawn at random and decided by its labels, and judged on the others, for
each micrograph in turn (the simulated ones: on the first). It looks at the others' images, not at their labels.
"Whole boxes": picks nearer than 130 px to the edge of EMPIAR-10017 are left out, as the program does where it is told
the box (of 260 px: the labels, which come from extracted particles, end there on all five).
`--agreement` tells how far labels and published picks of EMPIAR-10017 agree; `--picture FILE` draws what is called
wrong on 15_07_41_0.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import mrcfile
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from cryoppp_annotator.batch.simulate import structure_from_map
from cryoppp_annotator.classify.engine import ClassifyOptions, classify
from cryoppp_annotator.classify.prepared import prepare
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.imaging.filters import find_padding
from cryoppp_annotator.imaging.patches import PatchOptions, box_for, extract_patches
from cryoppp_annotator.imaging.simulate import SimulatedMicrograph, SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.dirt import find_regions
from cryoppp_annotator.picking.evaluate import precision_recall, quality
from cryoppp_annotator.picking.learned import LEARNED, probability, train
from cryoppp_annotator.picking.leaving_out import exclude
from cryoppp_annotator.picking.log import LOG
from cryoppp_annotator.picking.matching import Matches, match
from cryoppp_annotator.picking.seen import Example, describe
from cryoppp_annotator.picking.suppress import inside, suppress
from cryoppp_annotator.picking.template import TEMPLATE

TOLERANCE = 0.3
#: What bench/README.md says of RELION: smallest and largest diameter in angstrom for each particle.
WHOLE_BOX_PX = 260.0
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
    candidates = LOG.propose(
        item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A, parameters={}, context=JobContext()
    )
    return Picked(candidates.x, candidates.y, candidates.score, time.perf_counter() - begun)


def whole(item: Labelled, picked: Picked, box_px: float) -> Picked:
    """Without those whose box sticks out; see ``session/picks/one_micrograph.py``."""
    kept = inside(picked.x, picked.y, item.image.shape, margin=box_px / 2)
    return Picked(picked.x[kept], picked.y[kept], picked.score[kept], picked.seconds)


def averages_of(item: Labelled, n: int = 8) -> tuple[np.ndarray, float]:
    """Class averages of the labelled particles, white, and their pixel size."""
    box = box_for(1.3 * item.diameter_A / item.pixel_A)
    side = 72
    stack, _ = extract_patches(item.image, item.x, item.y, PatchOptions(box_px=box, out_px=side, invert=True))
    classes = classify(prepare(stack), ClassifyOptions(n_classes=n))
    images = classes.model.images()
    members = np.bincount(classes.label[classes.label >= 0], minlength=len(images))[: len(images)]
    return images[members > 0], item.pixel_A * box / side


def by_template(item: Labelled, templates: object, template_pixel_A: float, **more: object) -> Picked:
    begun = time.perf_counter()
    options = {"templates": templates, "template_pixel_A": template_pixel_A, **more}
    candidates = TEMPLATE.propose(
        item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A, parameters=options, context=JobContext()
    )
    return Picked(candidates.x, candidates.y, candidates.score, time.perf_counter() - begun)


def learned(sets: dict[str, list[Labelled]], decisions: tuple[int, ...], draws: int, boxes: Sequence[float]) -> None:
    print(
        "\n| set | decisions on one, box | mean F1, one threshold | F1 each, own threshold | right where p > 0.8, % "
        "| training, s (of processor) | proposing, s (of processor) |"
    )
    print("|---|---|---|---|---|---|---|")
    for title, items in sets.items():
        seen, seconds, busy = [], [], []
        for item in items:
            begun, busy_before = time.perf_counter(), time.process_time()
            sizes = {"pixel_size_A": item.pixel_A, "diameter_A": item.diameter_A}
            seen.append(describe(item.image, **sizes, context=JobContext()))
            seconds.append(time.perf_counter() - begun)
            busy.append(time.process_time() - busy_before)
        proposed = [by_log(item) for item in items]
        for n, box in itertools.product(decisions, boxes if items[0].diameter_A == 191.0 else boxes[:1]):
            whole_boxes = [whole(item, one, box) for item, one in zip(items, proposed, strict=True)]
            common: list[float] = []
            own: list[list[float]] = [[] for _ in items]
            sure = np.zeros(2)
            training: list[tuple[float, float]] = []
            proposing: list[tuple[float, float]] = []
            for source in range(len(items)):
                hit = matched(items[source], whole_boxes[source]).hit
                for draw in range(draws):
                    chosen = np.random.default_rng([source, draw]).choice(len(hit), min(n, len(hit)), replace=False)
                    example = Example(whole_boxes[source].x[chosen], whole_boxes[source].y[chosen], hit[chosen])
                    begun, busy_before = time.perf_counter(), time.process_time()
                    model = train(
                        [seen[source]],
                        [example],
                        undecided=[one for k, one in enumerate(seen) if k != source],
                        diameter_A=items[source].diameter_A,
                        context=JobContext(),
                    )
                    spent = time.perf_counter() - begun, time.process_time() - busy_before
                    training.append((sum(seconds) + spent[0], sum(busy) + spent[1]))
                    matches = []
                    for k, item in enumerate(items):
                        if k == source:
                            continue
                        begun, busy_before = time.perf_counter(), time.process_time()
                        p = probability(model, seen[k])
                        spent = time.perf_counter() - begun, time.process_time() - busy_before
                        proposing.append((seconds[k] + spent[0], busy[k] + spent[1]))
                        kept = suppress(seen[k].x, seen[k].y, p, 0.5 * seen[k].diameter)
                        picked = Picked(seen[k].x[kept], seen[k].y[kept], p[kept], 0.0)
                        one = matched(item, whole(item, picked, box))
                        matches.append(one)
                        own[k].append(quality([one]).best_f1)
                        sure += [one.hit[one.score > 0.8].sum(), (one.score > 0.8).sum()]
                    common.append(float(np.mean(common_threshold(matches))))
            each = ", ".join(f"{np.mean(f):.3f}" for f in own)
            limit = f", whole boxes of {box:g} px" if box else ""
            print(
                f"| {title} | {n}{limit} | {np.mean(common):.3f} | {each} | {100 * sure[0] / max(1, sure[1]):.0f} | "
                f"{told_seconds(training)} | {told_seconds(proposing)} |",
                flush=True,
            )


def told_seconds(spent: list[tuple[float, float]]) -> str:
    """Medians of wall and processor seconds."""
    wall, busy = np.median(spent, axis=0)
    return f"{wall:.1f} ({busy:.1f})"


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
            "relion_autopick",
            "--i",
            "mics.star",
            "--odir",
            "AP/",
            "--pickname",
            "autopick",
            "--LoG",
            "--LoG_diam_min",
            str(low),
            "--LoG_diam_max",
            str(high),
            "--shrink",
            "0",
            "--lowpass",
            "20",
            "--LoG_adjust_threshold",
            "-0.5",
        ]
        begun = time.perf_counter()
        subprocess.run(words, cwd=root, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        paths = list(root.glob("AP/**/*autopick.star"))
        if not paths:
            return Picked(np.zeros(0), np.zeros(0), np.zeros(0), seconds)
        columns = read_star(paths[0]).tables[0].columns
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


def labelled(sets: dict[str, list[Labelled]], with_relion: bool, repeats: int) -> None:
    print("\n| set | picker | mean F1 | F1 each, one threshold | average precision | centring, px | s, median |")
    print("|---|---|---|---|---|---|---|")
    for title, items in sets.items():
        templates, pixel_A = averages_of(items[0])
        pickers: dict[str, Callable[[Labelled], Picked]] = {"log": by_log}
        pickers["template"] = partial(by_template, templates=templates, template_pixel_A=pixel_A)
        if with_relion:
            pickers["relion LoG"] = by_relion
        for name, pick in pickers.items():
            runs = [[pick(item) for _ in range(repeats)] for item in items]
            seconds = statistics.median(picked.seconds for run in runs for picked in run)
            for box in (0.0, WHOLE_BOX_PX) if items[0].diameter_A == 191.0 else (0.0,):
                matches = [matched(item, whole(item, run[0], box)) for item, run in zip(items, runs, strict=True)]
                each = common_threshold(matches)
                figures = quality(matches)
                print(
                    f"| {title} | {name}{', whole boxes' if box else ''} | {np.mean(each):.3f} "
                    f"| {', '.join(f'{f:.2f}' for f in each)} | {figures.average_precision:.3f} "
                    f"| {figures.centring_error_px:.1f} | {seconds:.2f} |",
                    flush=True,
                )


def by_learned(items: list[Labelled], avoid: Callable[[Labelled, Picked], Picked]) -> list[Picked]:
    """Trained on 50 candidates of the first one; picks of the others."""
    size = {"pixel_size_A": items[0].pixel_A, "diameter_A": items[0].diameter_A}
    candidates = avoid(items[0], by_log(items[0]))
    hit = matched(items[0], candidates).hit
    chosen = np.random.default_rng(0).choice(len(hit), min(50, len(hit)), replace=False)
    example = Example(candidates.x[chosen], candidates.y[chosen], hit[chosen])
    seen = [describe(item.image, **size, context=JobContext()) for item in items]
    model = train([seen[0]], [example], undecided=seen[1:], diameter_A=items[0].diameter_A, context=JobContext())
    out = []
    for item in items[1:]:
        begun = time.perf_counter()
        got = LEARNED.propose(item.image, **size, parameters={"model": model}, context=JobContext())
        out.append(Picked(got.x, got.y, got.score, time.perf_counter() - begun))
    return out


def simulated(data: Path, with_relion: bool, n: int, levels: Sequence[float]) -> None:
    maps = {
        "GroEL": (data / "maps/groel_emd1997_2.02A.mrc", 2.02),
        "70S": (data / "maps/ribosome70s_5A.mrc", 5.0),
    }
    names = (["relion LoG"] if with_relion else []) + ["log", "template", "learned"]
    print(f"\n| particle | signal-to-noise | {' | '.join(names)} | on carbon or ice, %: log, template, learned |")
    print("|---|---|" + "---|" * (len(names) + 1))
    for title, (path, pixel_A) in maps.items():
        structure = structure_from_map(path, pixel_A)
        base = SimulationParameters(size=(2048, 2048), pixel_size_A=2.0, structure=structure, n_particles=150)
        views = views_for(base)
        for snr in levels:
            scenes = [
                simulate_micrograph(replace(base, snr=snr, carbon_probability=float(i % 2)), i, views) for i in range(n)
            ]
            items = [Labelled(str(i), s.image, s.x, s.y, s.pixel_size_A, s.diameter_A) for i, s in enumerate(scenes)]
            regions = {
                item.name: find_regions(item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A)
                for item in items
            }

            def avoid(item: Labelled, picked: Picked, regions: dict = regions) -> Picked:
                """With carbon and ice left out, as the program does."""
                candidates = Candidates(picked.x, picked.y, picked.score, np.full(len(picked.x), item.diameter_A))
                padding = find_padding(item.image)
                kept = exclude(candidates, regions[item.name], shape=item.image.shape, padding=padding).kept
                return Picked(kept.x, kept.y, kept.score, picked.seconds)

            judged = items[1:]
            runs = {
                "log": [avoid(item, by_log(item)) for item in judged],
                "template": [
                    avoid(item, by_template(item, path, pixel_A, ctf={"defocus_u_A": scene.defocus_A}))
                    for item, scene in zip(judged, scenes[1:], strict=True)
                ],
                "learned": [avoid(*one) for one in zip(judged, by_learned(items, avoid), strict=True)],
            }
            if with_relion:
                runs["relion LoG"] = [by_relion(item) for item in judged]
            rows = {
                name: quality([matched(item, one) for item, one in zip(judged, runs[name], strict=True)])
                for name in names
            }
            dirty = []
            for name in names[-3:]:
                bad = total = 0
                for scene, run in zip(scenes[1:], runs[name], strict=True):
                    kept = run.score >= rows[name].best_threshold
                    bad += int(on_dirt(scene, run.x[kept], run.y[kept]).sum())
                    total += int(kept.sum())
                dirty.append(f"{100 * bad / max(1, total):.1f}")
            cells = " | ".join(f"{rows[name].best_f1:.3f}" for name in names)
            print(f"| {title} | {snr:g} | {cells} | {', '.join(dirty)} |", flush=True)


def on_dirt(scene: SimulatedMicrograph, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dirt = scene.carbon.contains(x, y) if scene.carbon is not None else np.zeros(len(x), bool)
    for cx, cy, radius in scene.contamination:
        dirt |= np.hypot(x - cx, y - cy) < radius
    return dirt


def published(data: Path, name: str, picker: str) -> np.ndarray | None:
    """Published picks of a micrograph, (n, 2) xy, turned upside down as the JPGs are; None where there are none."""
    path = data / f"picks_10017/{picker}_box/Falcon_2012_06_12-{name}.box"
    if not path.exists():
        return None
    corner_x, corner_y, width, height = np.loadtxt(path, ndmin=2)[:, :4].T
    return np.column_stack([corner_x + width / 2, 4095 - (corner_y + height / 2)])


def in_turn(items: list[Labelled]) -> dict[str, Picked]:
    """What `learned` proposes on each after 50 decisions on the one before it."""
    size = {"pixel_size_A": items[0].pixel_A, "diameter_A": items[0].diameter_A}
    seen = [describe(item.image, **size, context=JobContext()) for item in items]
    out = {}
    for k, item in enumerate(items):
        source = k - 1 if k else len(items) - 1
        candidates = by_log(items[source])
        hit = matched(items[source], candidates).hit
        chosen = np.random.default_rng(source).choice(len(hit), 50, replace=False)
        example = Example(candidates.x[chosen], candidates.y[chosen], hit[chosen])
        rest = [one for i, one in enumerate(seen) if i != source]
        model = train([seen[source]], [example], undecided=rest, diameter_A=item.diameter_A, context=JobContext())
        p = probability(model, seen[k])
        kept = suppress(seen[k].x, seen[k].y, p, 0.5 * seen[k].diameter)
        out[item.name] = Picked(seen[k].x[kept], seen[k].y[kept], p[kept], 0.0)
    return out


def agreement(data: Path, items: list[Labelled]) -> None:
    """Whether what the labels call wrong is a pick of others, too."""
    print("| micrograph | picker | F1 | called wrong | of these picked by crYOLO | by Topaz | by both | missed |")
    print("|---|---|---|---|---|---|---|---|")
    ours = in_turn(items)
    for item in items:
        reach = TOLERANCE * item.diameter_A / item.pixel_A
        by_picker = {name: published(data, item.name, name) for name in ("cryolo", "topaz")}
        rows = {"learned": np.column_stack([ours[item.name].x, ours[item.name].y])}
        best = quality([matched(item, ours[item.name])]).best_threshold
        rows["learned"] = rows["learned"][ours[item.name].score >= best]
        rows |= {name: places for name, places in by_picker.items() if places is not None}
        for name, places in rows.items():
            matches = match(places[:, 0], places[:, 1], np.ones(len(places)), item.x, item.y, reach, item.name)
            wrong = places[~matches.hit]
            near = {
                peer: cKDTree(where).query(wrong)[0] <= reach
                for peer, where in by_picker.items()
                if where is not None and peer != name
            }
            cells = [str(int(near[peer].sum())) if peer in near else "" for peer in by_picker]
            both = str(int(np.logical_and.reduce(list(near.values())).sum())) if len(near) == 2 else ""
            missed = len(item.x) - int(matches.hit.sum())
            f1 = 2 * matches.hit.sum() / (len(places) + len(item.x))
            print(f"| {item.name} | {name} | {f1:.3f} | {len(wrong)} | {' | '.join(cells)} | {both} | {missed} |")


def picture(items: list[Labelled], path: Path) -> None:
    """Draw labels (blue) and what is called wrong at p > 0.8 (red) on a quarter of 15_07_41_0; rows of crops below."""
    item = next(item for item in items if item.name == "15_07_41_0")
    ours = in_turn(items)[item.name]
    hit = matched(item, ours).hit
    shown = BAND_PASS.denoise(
        item.image, pixel_size_A=item.pixel_A, diameter_A=item.diameter_A, max_side=1400, context=JobContext()
    )
    (low, high), step = shown.limits, shown.step[0]
    grey = (np.clip((shown.pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    micrograph = Image.fromarray(grey).convert("RGB")
    rings = micrograph.copy()
    pen = ImageDraw.Draw(rings)
    blue, red = (90, 170, 255), (255, 110, 60)
    radius = item.diameter_A / item.pixel_A / 2 / step
    wrong = (ours.score > 0.8) & ~hit
    for x, y in zip(item.x / step, item.y / step, strict=True):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=blue, width=2)
    for x, y in zip(ours.x[wrong] / step, ours.y[wrong] / step, strict=True):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=red, width=2)
    size, rows = 75, []
    for places in (np.column_stack([ours.x, ours.y])[wrong], np.column_stack([item.x, item.y])):
        inside = places[np.abs(places - np.array(item.image.shape) / 2).max(axis=1) < 1800]
        rows.append(inside[np.random.default_rng(0).permutation(len(inside))[:36]] / step)
    sheet = Image.new("RGB", (12 * size, 680 + 6 * size + 10), (255, 255, 255))
    sheet.paste(rings.crop((250, 300, 250 + 12 * size, 300 + 670)), (0, 0))
    for block, places in enumerate(rows):
        for k, (x, y) in enumerate(places):
            crop = micrograph.crop(tuple(int(v) for v in (x - 24, y - 24, x + 24, y + 24))).resize((size - 2, size - 2))
            sheet.paste(crop, ((k % 12) * size, 680 + block * (3 * size + 10) + (k // 12) * size))
    palette = Image.new("P", (1, 1))  # 30 greys and the two colours of the rings
    palette.putpalette(
        [v for grey in np.linspace(0, 255, 30).astype(int).tolist() for v in (grey,) * 3] + [*blue, *red]
    )
    sheet.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    sure = ours.score > 0.8
    print(f"{path}: at p > 0.8 {int((sure & hit).sum())} right and {int(wrong.sum())} called wrong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--simulated", type=int, default=4, help="micrographs at each contrast; 0 = none")
    parser.add_argument(
        "--levels", type=float, nargs="+", default=[0.05, 0.025, 0.0125, 0.01], help="of them, contrast"
    )
    parser.add_argument("--only", choices=("labelled", "learned", "simulated"), help="one of the three parts")
    parser.add_argument("--agreement", action="store_true", help="of labels and published picks, and nothing else")
    parser.add_argument("--picture", type=Path, help="of what is called wrong on 15_07_41_0, and nothing else")
    parser.add_argument("--draws", type=int, default=3, help="of decisions, for each micrograph")
    options = parser.parse_args()
    beta = beta_galactosidase(options.data)
    if options.agreement:
        agreement(options.data, beta)
        return
    if options.picture:
        picture(beta, options.picture)
        return
    relion = shutil.which("relion_autopick") is not None
    sets = {"beta-galactosidase": beta, "apoferritin": apoferritin(options.data)}
    if options.only in (None, "labelled"):
        labelled(sets, relion, options.repeats)
    if options.only in (None, "learned"):
        learned(sets, (50, 300), options.draws, (0.0, WHOLE_BOX_PX))
    if options.only in (None, "simulated") and options.simulated:
        simulated(options.data, relion, options.simulated, options.levels)


if __name__ == "__main__":
    main()
