"""How many actions it takes to settle a data set, by pages of undecided candidates near the threshold.

    .venv/bin/python benchmarks/curating.py [--data ../shared/data] [--page 40] [--seeds 2]

A simulated curator who knows the labels: fifty decisions on one micrograph (twenty nearest to the threshold of `log`,
fifteen accepted, fifteen rejected), then pages of candidates nearest to the suggested threshold of `learned`, which
learns anew after each. A page costs one action (Enter) and one for each exception that is clicked; a page of one costs
one for each candidate (A or X), as N walks. Until F1 against the labels reaches 0.95. All micrographs of EMPIAR-10017
but 15_07_41_0, whose labels are incomplete, and apoferritin. Printed are actions for each labelled particle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from picking import TOLERANCE, Labelled, Picked, apoferritin, beta_galactosidase, by_log, matched
from scipy.spatial import cKDTree

from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.calibration import best_expected, parting
from cryoppp_annotator.picking.learned import probability, train
from cryoppp_annotator.picking.seen import Example, Seen, describe
from cryoppp_annotator.picking.suppress import suppress

GOAL = 0.95
MOST_ACTIONS = 0.4


class Progress(NamedTuple):
    """Where a curator stands."""

    actions: int
    f1: float
    decided: int


class Curator:
    """Answers by the labels, one label for one candidate."""

    def __init__(self, items: list[Labelled], seen: list[Seen]) -> None:
        self.items, self.seen = items, seen
        self.decision = [np.full(len(one), np.nan) for one in seen]
        pairs = zip(items, seen, strict=True)
        self._near = [
            cKDTree(np.column_stack([i.x, i.y])).query(np.column_stack([s.x, s.y]), distance_upper_bound=reach_of(i))
            for i, s in pairs
        ]
        self._taken = [np.zeros(len(item.x) + 1, bool) for item in items]

    def answer(self, k: int, row: int) -> bool:
        distance, label = self._near[k][0][row], self._near[k][1][row]
        yes = bool(np.isfinite(distance) and not self._taken[k][label])
        self._taken[k][label] |= yes
        self.decision[k][row] = float(yes)
        return yes

    def first_fifty(self, source: int, rng: np.random.Generator) -> None:
        proposed = by_log(self.items[source])
        hit = matched(self.items[source], proposed).hit
        middle = parting(proposed.score)
        walk = np.argsort(np.abs(proposed.score - middle), kind="stable")[:20]
        drawn = np.setdiff1d(np.flatnonzero(proposed.score >= middle), walk)
        chosen = np.concatenate(
            [walk, rng.permutation(drawn[hit[drawn]])[:15], rng.permutation(drawn[~hit[drawn]])[:15]]
        )
        tree = cKDTree(np.column_stack([self.seen[source].x, self.seen[source].y]))
        for row in tree.query(np.column_stack([proposed.x[chosen], proposed.y[chosen]]))[1]:
            self.answer(source, int(row))


def reach_of(item: Labelled) -> float:
    return TOLERANCE * item.diameter_A / item.pixel_A


def settle(items: list[Labelled], seen: list[Seen], seed: int, page: int) -> list[Progress]:
    """Actions and F1 after the first fifty decisions and after each page (of one: after each forty)."""
    curator = Curator(items, seen)
    curator.first_fifty(seed % len(items), np.random.default_rng(seed))
    n_true, actions, steps = sum(len(item.x) for item in items), 50, []
    while True:
        p = learned(curator)
        kept = [present(one, p[k], curator.decision[k]) for k, one in enumerate(seen)]
        sure = sum(int((one == 1).sum()) for one in curator.decision)
        open_rows = [(k, row) for k, rows in enumerate(kept) for row in rows if np.isnan(curator.decision[k][row])]
        scores = np.array([p[k][row] for k, row in open_rows])
        suggestion = best_expected(np.r_[scores, np.ones(sure)])
        assert suggestion is not None
        line = suggestion.threshold
        steps.append(
            Progress(actions, f1_of(curator, kept, p, line), sum(np.isfinite(d).sum() for d in curator.decision))
        )
        if steps[-1].f1 >= GOAL or actions > MOST_ACTIONS * n_true or not open_rows:
            return steps
        nearest = np.argsort(np.abs(scores - line), kind="stable")[:40].tolist()
        for start in range(0, len(nearest), page):
            rows = nearest[start : start + page]
            exceptions = sum(curator.answer(*open_rows[i]) != (scores[i] >= line) for i in rows)
            actions += 1 if page == 1 else 1 + exceptions


def learned(curator: Curator) -> list[np.ndarray]:
    decided = [k for k, one in enumerate(curator.decision) if np.isfinite(one).any()]
    examples = []
    for k in decided:
        rows = np.isfinite(curator.decision[k])
        one = curator.seen[k]
        examples.append(Example(one.x[rows], one.y[rows], curator.decision[k][rows] > 0.5))
    model = train(
        [curator.seen[k] for k in decided],
        examples,
        undecided=[one for k, one in enumerate(curator.seen) if k not in decided],
        diameter_A=curator.items[0].diameter_A,
        context=JobContext(),
    )
    return [probability(model, one) for one in curator.seen]


def present(seen: Seen, p: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """Rows of the candidates that are there: accepted ones, and undecided ones that do not lie on them."""
    order = np.where(decision == 1, 2.0, np.where(decision == 0, -1.0, p))
    rows = np.flatnonzero(order >= 0.05)
    return rows[suppress(seen.x[rows], seen.y[rows], order[rows], 0.5 * seen.diameter)]


def f1_of(curator: Curator, kept: list[np.ndarray], p: list[np.ndarray], line: float) -> float:
    hits = picks = truth = 0
    for k, rows in enumerate(kept):
        decision = curator.decision[k][rows]
        chosen = rows[(decision == 1) | (np.isnan(decision) & (p[k][rows] >= line))]
        one = curator.seen[k]
        places = Picked(one.x[chosen], one.y[chosen], np.ones(len(chosen)), 0.0)
        hits += int(matched(curator.items[k], places).hit.sum())
        picks += len(chosen)
        truth += len(curator.items[k].x)
    return 2 * hits / (picks + truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--page", type=int, nargs="+", default=[40, 1], help="candidates answered at once")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    beta = [item for item in beta_galactosidase(options.data) if item.name != "15_07_41_0"]
    print("| set | page | F1 after fifty | actions for each particle, F1 then | decided |\n|---|---|---|---|---|")
    for title, items in {"apoferritin": apoferritin(options.data), "beta-galactosidase": beta}.items():
        n_true = sum(len(item.x) for item in items)
        seen = [describe(i.image, pixel_size_A=i.pixel_A, diameter_A=i.diameter_A, context=JobContext()) for i in items]
        for page in options.page:
            runs = [settle(items, seen, seed, page) for seed in range(options.seeds)]
            first = np.mean([run[0].f1 for run in runs])
            last = np.array([[run[-1].actions / n_true, run[-1].f1, run[-1].decided] for run in runs]).mean(axis=0)
            print(f"| {title} | {page} | {first:.3f} | {last[0]:.3f}, {last[1]:.3f} | {last[2]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
