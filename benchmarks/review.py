"""How well errors are found in labels nobody doubted: planted ones, in real labels and in simulated ones.

    .venv/bin/python benchmarks/review.py [--data ../shared/data] [--seeds 5] [planted] [gaps]

`planted`: among the labels of four micrographs of apoferritin (EMPIAR-10146) and five of CryoPPP_Lite (EMPIAR-10017),
5 % false ones are added (at random places 0.6 diameters and more from every label; or, `hard`, at places the `log`
picker proposes there), 5 % are moved by 0.4 diameters, 5 % are removed. What share of each is among the first items of
the queue? The labels themselves are not free of errors, so a hit that nobody planted is not always a mistake.
`gaps`: of six views of a simulated particle, the labels of one are removed from all micrographs; is there a group among
the first five items that holds more than half of it, and little else?
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from picking import Labelled, apoferritin, beta_galactosidase, by_log
from scipy.spatial import cKDTree

from cryoppp_annotator.audit.places import lay
from cryoppp_annotator.audit.queue import QueueItem, in_order, summon
from cryoppp_annotator.audit.suspects import ErrorKind
from cryoppp_annotator.batch.simulate import structure_from_map
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.context import JobContext

SHARE, MOVED_BY, APART = 0.05, 0.4, 0.6
QUIET = JobContext()


class Planted(NamedTuple):
    """Labels of a micrograph and what was done to them; ``removed`` are places (n, 2)."""

    x: np.ndarray
    y: np.ndarray
    kind: np.ndarray
    removed: np.ndarray


def plant(item: Labelled, rng: np.random.Generator, hard: bool) -> Planted:
    truth = np.column_stack([item.x, item.y])
    n, diameter = round(SHARE * len(truth)), item.diameter_A / item.pixel_A
    order, tree = rng.permutation(len(truth)), cKDTree(truth)
    moved, removed = order[:n], order[n : 2 * n]
    if hard:
        picked = by_log(item)
        places = np.column_stack([picked.x, picked.y])
    else:
        places = rng.uniform(truth.min(axis=0), truth.max(axis=0), (200 * n, 2))
    far = places[tree.query(places)[0] > APART * diameter]
    false = far[rng.permutation(len(far))[:n]] if hard else far[:n]
    points, kind = truth.copy(), np.full(len(truth), "", object)
    angle = rng.uniform(0, 2 * np.pi, n)
    points[moved] += MOVED_BY * diameter * np.column_stack([np.cos(angle), np.sin(angle)])
    kind[moved] = "moved"
    kept = np.setdiff1d(np.arange(len(truth)), removed)
    points = np.concatenate([points[kept], false])
    kind = np.concatenate([kind[kept], np.full(len(false), "false")])
    shuffled = rng.permutation(len(points))
    return Planted(points[shuffled, 0], points[shuffled, 1], kind[shuffled], truth[removed])


def hits(queue: Sequence[QueueItem], planted: dict[str, Planted], diameter: float) -> np.ndarray:
    """What each item of the queue points at: '', false, moved, removed."""
    trees = {name: cKDTree(one.removed) for name, one in planted.items()}
    done: set[tuple[str, int]] = set()
    out = []
    for item in queue:
        if item.label >= 0:
            out.append(planted[item.micrograph].kind[item.label])
            continue
        away, row = trees[item.micrograph].query([item.x, item.y])
        new = item.kind is ErrorKind.MISSING and away < 0.3 * diameter and (item.micrograph, row) not in done
        done |= {(item.micrograph, row)} if new else set()
        out.append("removed" if new else "")
    return np.array(out)


def planted_errors(sets: dict[str, list[Labelled]], seeds: int) -> None:
    print("\n| set, false ones | items | first 10 %: false, moved, removed | 20 % | of 50 planted | CPU s |")
    print("|---|---|---|---|---|---|")
    for name, items in sets.items():
        diameter = items[0].diameter_A / items[0].pixel_A
        for hard in (False, True):
            rows, fifty, sizes, seconds = [], [], [], []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                planted = {item.name: plant(item, rng, hard) for item in items}
                begun = time.process_time()
                teachers = [
                    lay(
                        i.image,
                        planted[i.name].x,
                        planted[i.name].y,
                        pixel_size_A=i.pixel_A,
                        diameter_A=i.diameter_A,
                        name=i.name,
                    )
                    for i in items
                ]
                jury, suspects = summon(teachers, QUIET)
                queue = in_order(jury, teachers, suspects)
                seconds.append(time.process_time() - begun)
                hit = hits(queue, planted, diameter)
                total = {
                    "false": sum(int((p.kind == "false").sum()) for p in planted.values()),
                    "moved": sum(int((p.kind == "moved").sum()) for p in planted.values()),
                    "removed": sum(len(p.removed) for p in planted.values()),
                }
                rows.append(
                    [
                        (hit[: round(part * len(hit))] == kind).sum() / n
                        for part in (0.1, 0.2)
                        for kind, n in total.items()
                    ]
                )
                fifty.append((hit[:50] != "").mean())
                sizes.append(len(hit))
            mean = np.round(100 * np.mean(rows, axis=0)).astype(int)
            kind = "what `log` proposes" if hard else "random places"
            print(
                f"| {name}, {kind} | {np.mean(sizes):.0f} | {mean[0]} / {mean[1]} / {mean[2]} "
                f"| {mean[3]} / {mean[4]} / {mean[5]} | {100 * np.mean(fifty):.0f} % | {np.mean(seconds):.0f} |",
                flush=True,
            )


def gaps(data: Path, seeds: int) -> None:
    print("\n| particle | seeds with the view as one group among the first five items | items of other groups |")
    print("|---|---|---|")
    for name, voxel, pixel in (("ribosome70s_5A.mrc", 5.0, 4.0), ("groel_emd1997_2.02A.mrc", 2.02, 2.5)):
        good, rest = 0, 0
        for seed in range(seeds):
            options = SimulationParameters(
                size=(1600, 1600),
                pixel_size_A=pixel,
                structure=structure_from_map(data / "maps" / name, voxel),
                n_particles=120,
                n_views=6,
                snr=0.1,
                seed=seed,
            )
            views = views_for(options)
            scenes = {f"m{i}": simulate_micrograph(options, i, views) for i in range(4)}
            gone = seed % 6
            teachers = [
                lay(
                    s.image,
                    s.x[s.view != gone],
                    s.y[s.view != gone],
                    pixel_size_A=pixel,
                    diameter_A=s.diameter_A,
                    name=n,
                )
                for n, s in scenes.items()
            ]
            jury, suspects = summon(teachers, QUIET)
            first = [item for item in in_order(jury, teachers, suspects)[:5] if item.kind is ErrorKind.GAP]
            n = sum(int((s.view == gone).sum()) for s in scenes.values())
            named = False
            for gap in first:
                of_view = [
                    np.hypot(s.x[s.view == gone] - x, s.y[s.view == gone] - y).min() < 0.3 * s.diameter_px
                    for m, x, y in gap.members
                    for s in (scenes[m],)
                ]
                if np.mean(of_view) > 0.7 and sum(of_view) > 0.5 * n:
                    named = True
                elif np.mean(of_view) < 0.5:
                    rest += 1
            good += named
        print(f"| {name.split('_')[0]} | {good} of {seeds} | {rest} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["planted", "gaps"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if "planted" in given.what:
        sets = {"apoferritin": apoferritin(given.data), "10017": beta_galactosidase(given.data)}
        planted_errors(sets, given.seeds)
    if "gaps" in given.what:
        gaps(given.data, max(10, given.seeds))


if __name__ == "__main__":
    main()
