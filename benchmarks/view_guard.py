"""Is a view that a rejection removes named, and is nothing said where none goes: by poses, and by classes.

    .venv/bin/python benchmarks/view_guard.py [--pose] [--classes] [--sets 60] [--seeds 5 6 8] [--snr 0.1]

By pose: 800 picks of twelve random views, poses wrong by 4.5 degrees about each axis (no images). By class: the kit's
70S particles (see verdict.py), 1,500 picks into 25 classes. A view counts as removed where under a quarter of the picks
within 16 degrees of it stay, and as kept where over 0.4 of its own do; what lies between is left out. Twelve random
views often lie closer than that: such pairs are one view.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from verdict import head, row, simulate

from cryoppp_annotator.classify.engine import ClassifyOptions, classify, prepare
from cryoppp_annotator.classify.metrics import Kind, measure
from cryoppp_annotator.classify.same_view import SAME_VIEW, likeness
from cryoppp_annotator.classify.selection import Suggestion, suggest
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.reconstruct.view_coverage import lost_views
from cryoppp_annotator.session.volume.view_guard import ClassViews

#: Half width of what counts as one view, and of a view's own picks, degrees.
NEAR_DEG = 16.0
OWN_DEG = 9.0


def apart(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles between views, degrees; a view and its opposite are one."""
    return np.degrees(np.arccos(np.clip(np.abs(directions @ directions.T), 0.0, 1.0)))


def by_pose(args: argparse.Namespace) -> None:
    warned, alarms = [], []
    for seed in range(args.sets):
        rng = np.random.default_rng(seed)
        base = Rotation.random(12, random_state=seed + 1)
        view = rng.integers(12, size=800)
        wrong = Rotation.from_rotvec(rng.normal(0, np.deg2rad(4.5), (800, 3)))
        matrices = (wrong * base[view]).as_matrix()
        angle = apart(base.as_matrix()[:, 2]) + 90.0 * np.eye(12)
        warned += [bool(lost_views(matrices, view != k)) for k in range(12) if angle[k].min() > 20.0]
        alarms += [bool(lost_views(matrices, rng.random(800) < rng.uniform(0.4, 0.95))) for _ in range(10)]
    head("by pose", "removed", "warned", "thinned at random", "false alarms")
    row("800 picks", len(warned), f"{np.mean(warned):.3f}", len(alarms), f"{np.mean(alarms):.3f}")


def by_class(args: argparse.Namespace) -> None:
    head("seed", "classes that count", "removed", "warned", "kept", "false alarms", "CPU s of the likeness")
    for seed in args.seeds:
        counts, good, averages, directions = classified(args.snr, seed)
        start = time.process_time()
        same = likeness(averages) >= SAME_VIEW
        seconds = time.process_time() - start
        answers = trials(counts, good, same, apart(directions), np.random.default_rng(seed))
        removed, kept = ([said for lost, said in answers if lost is which] for which in (True, False))
        row(seed, len(good), len(removed), sum(removed), len(kept), sum(kept), f"{seconds:.2f}")


def classified(snr: float, seed: int) -> tuple[NDArray[np.int64], list[int], Any, NDArray[np.float64]]:
    """Picks of junk and of each view in every class, the classes that count, their averages, and the views."""
    data = simulate("70S", 1500, snr, seed)
    context = JobContext(seed=seed)
    ready = prepare(
        data.stack.images,
        defocus_A=data.stack.defocus[:, 0],
        pixel_size_A=data.stack.pixel_size_A,
        optics=data.stack.optics,
        context=context,
    )
    result = classify(ready, ClassifyOptions(25), context=context)
    base = Rotation.random(12, random_state=seed + 1).as_matrix()
    directions = base[:, ::-1, ::-1].transpose(0, 2, 1)[:, 2]
    view = np.abs(data.matrices[:, 2] @ directions.T).argmax(axis=1)
    view[~data.particle] = -1
    classes = [item for item in measure(result, data.stack.pixel_size_A) if item.kind is Kind.STRUCTURE and item.count]
    counts = np.array(
        [[((result.label == c.column) & (view == v)).sum() for v in range(-1, 12)] for c in classes], np.int64
    )
    good = [k for k, item in enumerate(classes) if suggest(item) is Suggestion.ACCEPT and item.quality >= 0.5]
    return counts, good, result.model.images()[[classes[k].column for k in good]], directions


def trials(
    counts: NDArray[np.int64],
    good: list[int],
    same: NDArray[np.bool_],
    angle: NDArray[np.float64],
    rng: np.random.Generator,
) -> list[tuple[bool, bool]]:
    """Classes rejected one by one, in pairs, and view by view: whether a view was removed, and whether it was said."""
    row_of = np.repeat(np.arange(len(counts)), counts.sum(axis=1))
    view = np.concatenate([np.repeat(np.arange(-1, 12), line) for line in counts])
    place = np.full(len(counts), -1)
    place[good] = np.arange(len(good))
    mine = place[row_of] >= 0
    views = ClassViews(np.flatnonzero(mine), place[row_of[mine]], np.array(good), same)
    top = counts[:, 1:].argmax(axis=1)
    choices = [[k] for k in range(len(counts))]
    choices += [rng.choice(len(counts), 2, replace=False).tolist() for _ in range(30)]
    choices += [[k for k in good if top[k] == v] for v in range(12)]
    answers = []
    for chosen in filter(None, choices):
        stays = ~np.isin(row_of, chosen)
        near, own = (
            min(stays[np.isin(view, np.flatnonzero(angle[v] < limit))].mean() for v in range(12))
            for limit in (NEAR_DEG, OWN_DEG)
        )
        if near < 0.25 or own > 0.4:
            said = views.lost(np.ones(int(mine.sum()), bool), stays[mine]) is not None
            answers.append((bool(near < 0.25), said))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pose", action="store_true")
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6, 8])
    parser.add_argument("--snr", type=float, default=0.1)
    args = parser.parse_args()
    if args.pose or not args.classes:
        by_pose(args)
    if args.classes:
        by_class(args)


if __name__ == "__main__":
    main()
