"""What the suggested threshold of the `learned` picker costs, beside the best one.

    .venv/bin/python benchmarks/threshold.py [--data ../shared/data] [--draws 3]

Of five micrographs of CryoPPP_Lite (EMPIAR-10017) and four of apoferritin (EMPIAR-10146) each in turn is the one that
is decided on; F1 is judged on the others together. The fifty decisions are drawn as a curator's come (``DECIDED``), one
in twenty of them is wrong. "Otsu's" is what was suggested before: where the probabilities part into two kinds.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from picking import Labelled, Picked, apoferritin, beta_galactosidase, by_log, matched

from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.calibration import best_expected, parting
from cryoppp_annotator.picking.evaluate import quality
from cryoppp_annotator.picking.learned import probability, too_few, train
from cryoppp_annotator.picking.matching import Matches
from cryoppp_annotator.picking.model_file import Model
from cryoppp_annotator.picking.seen import Example, Seen, describe
from cryoppp_annotator.picking.suppress import suppress

#: How fifty decisions come about: so many by walking with N (nearest to the threshold of `log`'s scores, both sides),
#: accepted under the pointer, and rejected by a right click (both among what is drawn: above the threshold).
DECIDED = {
    "50 by N": (50, 0, 0),
    "30 by N, 10 accepted, 10 rejected": (30, 10, 10),
    "20 by N, 15 accepted, 15 rejected": (20, 15, 15),
    "10 by N, 30 accepted, 10 rejected": (10, 30, 10),
    "35 accepted, 15 rejected": (0, 35, 15),
    "25 accepted, 25 rejected": (0, 25, 25),
    "25 by N, 25 rejected": (25, 0, 25),
}


def as_a_curator(item: Labelled, proposed: Picked, middle: float, how: tuple[int, int, int], seed: int) -> Example:
    """Fifty decisions about what `log` proposed, two or three of them wrong."""
    by_walk, accepted, rejected = how
    hit = matched(item, proposed).hit
    rng = np.random.default_rng(seed)
    walk = np.argsort(np.abs(proposed.score - middle), kind="stable")[rng.integers(0, 4) :]
    chosen = walk[:by_walk]
    drawn = np.setdiff1d(np.flatnonzero(proposed.score >= middle), chosen)
    good, bad = rng.permutation(drawn[hit[drawn]])[:accepted], rng.permutation(drawn[~hit[drawn]])[:rejected]
    chosen = np.concatenate([chosen, good, bad])
    decision = hit[chosen]
    wrong = rng.permutation(len(chosen))[: round(0.05 * len(chosen))]
    decision[wrong] = ~decision[wrong]
    return Example(proposed.x[chosen], proposed.y[chosen], decision)


def threshold(sets: dict[str, list[Labelled]], draws: int) -> None:
    """F1 at the suggested threshold of `learned`, on the micrographs that nobody decided on."""
    print(
        "\n| set | fifty decisions | best F1 | lost at the suggested threshold: mean, worst "
        "| precision, recall estimated | true | lost with Otsu's |"
    )
    print("|---|---|---|---|---|---|---|")
    losses: list[float] = []
    for title, items in sets.items():
        sizes = {"pixel_size_A": items[0].pixel_A, "diameter_A": items[0].diameter_A}
        seen = [describe(item.image, **sizes, context=JobContext()) for item in items]
        proposed = [by_log(item) for item in items]
        middle = parting(np.concatenate([one.score for one in proposed]))
        for name, how in DECIDED.items():
            rows = []
            for source, draw in itertools.product(range(len(items)), range(draws)):
                example = as_a_curator(items[source], proposed[source], middle, how, 100 * source + draw)
                n_yes = int(example.accepted.sum())
                if too_few(n_yes, len(example.accepted) - n_yes):
                    continue
                rest = [k for k in range(len(items)) if k != source]
                model = train(
                    [seen[source]],
                    [example],
                    undecided=[seen[k] for k in rest],
                    diameter_A=items[0].diameter_A,
                    context=JobContext(),
                )
                matches = [matched(items[k], proposed_by(model, seen[k])) for k in rest]
                rows.append(at_suggestion(matches))
            if rows:
                mean, worst = np.mean(rows, axis=0), np.max(rows, axis=0)
                losses += [row[1] for row in rows]
                print(
                    f"| {title} | {name} ({len(rows)}) | {mean[0]:.3f} | {mean[1]:.3f}, {worst[1]:.3f} "
                    f"| {mean[2]:.2f}, {mean[3]:.2f} | {mean[4]:.2f}, {mean[5]:.2f} | {mean[6]:.3f}, {worst[6]:.3f} |",
                    flush=True,
                )
    print(f"\nWithin 0.02 of the best: {np.mean(np.array(losses) <= 0.02):.0%} of {len(losses)}")


def proposed_by(model: Model, seen: Seen) -> Picked:
    p = probability(model, seen)
    some = np.flatnonzero(p >= 0.05)
    kept = some[suppress(seen.x[some], seen.y[some], p[some], 0.5 * seen.diameter)]
    return Picked(seen.x[kept], seen.y[kept], p[kept], 0.0)


def at_suggestion(matches: list[Matches]) -> tuple[float, ...]:
    """Best F1, what is lost, precision and recall estimated and true, and what Otsu's threshold loses."""
    score, hit = (np.concatenate([getattr(m, name) for m in matches]) for name in ("score", "hit"))
    n = sum(m.n_truth for m in matches)
    best, suggested = quality(matches).best_f1, best_expected(score)
    assert suggested is not None

    def f1(level: float) -> tuple[float, float, float]:
        true = int(hit[score >= level].sum())
        above = int((score >= level).sum())
        return 2 * true / (above + n), true / max(1, above), true / n

    got, precision, recall = f1(suggested.threshold)
    otsu = f1(parting(score))[0]
    return best, best - got, suggested.precision, suggested.recall, precision, recall, best - otsu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--draws", type=int, default=3, help="of decisions, for each micrograph")
    options = parser.parse_args()
    sets = {"beta-galactosidase": beta_galactosidase(options.data), "apoferritin": apoferritin(options.data)}
    threshold(sets, options.draws)


if __name__ == "__main__":
    main()
