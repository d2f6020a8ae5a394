"""How often the frame guard is right, silent, and wrong on the real micrographs.

    .venv/bin/python benchmarks/frame_guard.py [--seeds 20] [--data ../shared/data]

Prints two Markdown tables: the verdict on every coordinate file whose frame is known, and the number of verdicts on
picks that lie on no particles (random in four ways, of other micrographs, shifted): each of those would be false.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats.check.frame import check_frame, describe
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.formats.registry import read_any
from cryoppp_annotator.model.coordinates import Anchor, Orientation, SourceFrame

FALCON = "Falcon_2012_06_12-"
STEMS = ("14_33_35_0", "14_57_34_0", "15_07_41_0", "15_14_01_0", "15_53_09_0")
PLAIN, FLIPPED = SourceFrame(), SourceFrame(Orientation.FLIP_Y)
CORNERS, FLIPPED_CORNERS = SourceFrame(anchor=Anchor.CORNER), SourceFrame(Orientation.FLIP_Y, Anchor.CORNER)


class Case(NamedTuple):
    """Picks on an image, and the frame they are in; None = nobody can tell."""

    name: str
    image: Path
    diameter: float
    x: np.ndarray
    y: np.ndarray
    box: np.ndarray | None
    truth: SourceFrame | None


@lru_cache(maxsize=20)
def image_of(path: Path) -> np.ndarray:
    return images.read(path)


def from_file(name: str, path: Path, image: Path, diameter: float, truth: SourceFrame | None) -> Case:
    known = list(formats().values())
    picks = [p for p in read_any(path, known).picks if image.stem in p.micrograph] or read_any(path, known).picks
    return Case(name, image, diameter, picks[0].x, picks[0].y, picks[0].box_size_px, truth)


def falcons(data: Path) -> Iterator[Case]:
    for stem in STEMS:
        pictures = [(data / f"cryoppp_lite/10017/micrographs/{FALCON}{stem}.jpg", True)]
        pictures.append((data / f"cryoppp/10017/micrographs/{FALCON}{stem}.mrc", False))
        for image, upside_down in pictures:
            if not image.exists():
                continue
            kind = image.suffix[1:]
            csv = image.parents[1] / f"ground_truth/particle_coordinates/{FALCON}{stem}.csv"
            yield from_file(f"{stem} CSV on {kind}", csv, image, 108, PLAIN if upside_down else FLIPPED)
            for tool in ("cryolo", "topaz", "deeppicker", "hand_positive", "hand_negative"):
                path = data / f"picks_10017/{tool}_box/{FALCON}{stem}.box"
                truth = FLIPPED_CORNERS if upside_down else CORNERS
                if path.exists():
                    name = f"{stem} {tool} .box on {kind}"
                    yield from_file(name, path, image, 108, None if "negative" in tool else truth)
            path = data / f"picks_10017/manual_relion_star/{FALCON}{stem}.star"
            if path.exists():
                yield from_file(f"{stem} manual .star on {kind}", path, image, 108, FLIPPED if upside_down else PLAIN)


def other_cases(data: Path) -> Iterator[Case]:
    falcon = data / f"cryoppp/10017/micrographs/{FALCON}{STEMS[0]}.mrc"
    star = data / "cryoppp/10017/ground_truth/empiar-10017_particles_selected.star"
    yield from_file("ground_truth .star on mrc", star, falcon, 108, FLIPPED)
    sample = data / "formats/same_picks_three_ways/sample.box"
    yield from_file("sample.box (centres) on 14_33_35_0", sample, falcon, 108, PLAIN)
    for image in sorted((data / "apoferritin_10146/micrographs").glob("*.mrc")):
        table = pd.read_csv(data / f"apoferritin_10146/labels_csv/{image.stem}.csv")
        yield Case(f"apoferritin {image.stem}", image, 80, table.x.to_numpy(), table.y.to_numpy(), None, PLAIN)
    twin = data / "apoferritin_10146/single_frame_May08_03.05.02.bin.mrc"
    table = pd.read_csv(data / "apoferritin_10146/labels_csv/May08_03.05.02.bin_avg.csv")
    yield Case("apoferritin single frame", twin, 80, table.x.to_numpy(), table.y.to_numpy(), None, PLAIN)
    rings = data / "curation/24dec03a_ds8.mrc"
    table = pd.read_csv(data / "curation/24dec03a_ds8_topaz.csv")
    x, y = table.x_ds.to_numpy(float), table.y_ds_topleft.to_numpy(float)
    yield Case("24dec03a Topaz", rings, 20, x, y, None, PLAIN)
    yield Case("24dec03a Topaz x 8", rings, 20, 8 * x, 8 * y, None, SourceFrame(scale=1 / 8))
    entries = json.loads((data / "curation/24dec03a_magellon_picks.json").read_text())
    x, y = np.array([(e["x"], e["y"]) for e in entries], float).T
    yield Case("24dec03a Magellon (beside the particles)", rings, 20, x, y, None, None)
    ucsf = data / "curation/Ucsf_stack_1142_DW.mrc"
    yield from_file("Ucsf autopick", data / "curation/Ucsf_stack_1142_DW_autopick.star", ucsf, 40, PLAIN)
    table = pd.read_csv(data / "curation/061_autopicks.csv")
    x, y = table.x.to_numpy(), table.y_topleft.to_numpy()
    yield Case("061 png", data / "curation/061.png", 40, x, y, None, PLAIN)


def nowhere(kind: str, rng: np.random.Generator, width: int, height: int, diameter: float) -> np.ndarray:
    """(n, 2) xy positions that know nothing of the image."""
    n = int(rng.choice([12, 25, 60, 150]))
    size = np.array([width, height])
    if kind == "random":
        return rng.uniform(0, 1, (n, 2)) * size
    if kind == "lattice":
        side = int(np.ceil(np.sqrt(n)))
        grid = np.stack(np.meshgrid(*[np.arange(side) + rng.uniform()] * 2), -1).reshape(-1, 2) / (side + 1)
        return grid * size
    if kind == "clusters":
        centres = rng.uniform(0.1, 0.9, (4, 2)) * size
        return centres[rng.integers(0, 4, n)] + rng.normal(0, 3 * diameter, (n, 2))
    start = rng.uniform(0, 1, 2) * size  # along a line, as on the edge of a hole
    step = rng.normal(0, 1, 2)
    return start + np.outer(np.linspace(-0.5, 0.5, n), step / np.hypot(*step)) * size.min()


def false_cases(cases: list[Case], seeds: int) -> Iterator[tuple[str, Case]]:
    by_image = {case.image: case for case in cases}
    for image, case in by_image.items():
        height, width = image_of(image).shape
        for kind in ("random", "lattice", "clusters", "line"):
            for seed in range(seeds):
                rng = np.random.default_rng([seed, len(kind)])
                x, y = nowhere(kind, rng, width, height, case.diameter).T
                box = np.full(len(x), 1.6 * case.diameter) if seed % 2 else None
                yield kind, case._replace(x=x, y=y, box=box, name=f"{kind} {seed} on {image.name}")
    for case in cases:
        if case.truth is None or case.truth.scale != 1:
            continue
        for factor in (3.0, -5.5):
            moved = case._replace(x=case.x + factor * case.diameter, y=case.y - 2.5 * case.diameter)
            yield "shifted by 3 to 6 diameters", moved
        for image in by_image:
            same_scene = case.image.stem == image.stem or {"May08"} == {
                p.stem.split("_")[0] for p in (image, case.image)
            }
            same_scene |= "single_frame" in image.stem + case.image.stem or "sample" in case.name
            if image.suffix == case.image.suffix and not same_scene and case.diameter == by_image[image].diameter:
                yield "of another micrograph", case._replace(image=image, name=f"{case.name} -> {image.name}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    options = parser.parse_args()
    cases = [*falcons(options.data), *other_cases(options.data)]
    print("| picks | truth | verdict | margin, s.e. | picks tested | s |\n|---|---|---|---|---|---|")
    n_wrong = n_silent = 0
    for case in cases:
        pixels = image_of(case.image)
        started = time.perf_counter()
        verdict = check_frame(pixels, case.x, case.y, case.diameter, box_size=case.box)
        seconds = time.perf_counter() - started
        n_wrong += verdict.frame not in (None, case.truth)
        n_silent += verdict.frame is None and case.truth is not None
        truth = "nobody can tell" if case.truth is None else describe(case.truth)
        margin, n = verdict.margin_se, verdict.n_tested
        print(f"| {case.name} | {truth} | {verdict} | {margin:.1f} | {n} | {seconds:.2f} |")
    print(f"\n{len(cases)} files: {n_wrong} wrong, {n_silent} undecided that could be known\n")
    counts: dict[str, list[float]] = {}
    for kind, case in false_cases(cases, options.seeds):
        verdict = check_frame(image_of(case.image), case.x, case.y, case.diameter, box_size=case.box)
        counts.setdefault(kind, []).append(verdict.margin_se)
        if verdict.frame is not None:
            print(f"FALSE: {case.name}: {verdict.reason}")
    print("| picks on no particles | sets | verdicts | highest margin, s.e. |\n|---|---|---|---|")
    for kind, margins in counts.items():
        n_false = sum(margin >= 3 for margin in margins)
        print(f"| {kind} | {len(margins)} | {n_false} | {max(margins):.2f} |")


if __name__ == "__main__":
    main()
