"""The queue: labels and places most worth a look first.

A label is judged by a model fitted to other micrographs (k-fold), so that no label vouches for itself. Whole gaps come
first, because one answer settles many particles; then single labels and places by how likely something is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..errors import Refused
from ..imaging.filters import fft_workers
from ..jobs.each import each
from ..model.context import JobContext
from ..model.coordinates import FloatArray
from .gaps import Gap, find_empty_parts, find_gaps
from .looks import Calibration, Looks, calibrate, judge, learn
from .places import LabelledPlaces
from .suspects import ErrorKind, Suspects, crowded, spread_of, suspect

#: Parts of the labels; each is judged by what was learned from the others.
_FOLDS = 5
#: Fewer labels teach nothing.
ENOUGH = 50
#: Share of labels that may lie nearer to the edge than the margin.
_IN_MARGIN = 0.01
#: Micrographs that are learned from, at most.
MOST_TEACHERS = 40


@dataclass(frozen=True, eq=False)
class Jury:
    """What a set of labels teaches about itself.

    Attributes
    ----------
    looks : tuple of Looks
        One a fold, each learned without that fold.
    calibration : Calibration
    sigma : float, diameters
        How far good labels lie off their places, each axis.
    margin : float, diameters
        Nearer to the edge nothing is labelled.
    often_double : bool
    gaps : tuple of Gap
        On the micrographs that taught.
    """

    looks: tuple[Looks, ...]
    calibration: Calibration
    sigma: float
    margin: float
    often_double: bool
    gaps: tuple[Gap, ...]


def summon(teachers: Sequence[LabelledPlaces], context: JobContext) -> tuple[Jury, list[Suspects]]:
    """Learn from some micrographs, and weigh their own labels, each by what the others teach.

    Parameters
    ----------
    teachers : sequence of LabelledPlaces
        With a single one, its four quarters judge each other.
    context : JobContext

    Returns
    -------
    jury : Jury
    suspects : list of Suspects
        One a teacher.

    Raises
    ------
    Refused
        Too few labels, or no place without one to compare them with.
    Cancelled
    """
    n = sum(int(p.labelled.sum()) for p in teachers)
    if n < ENOUGH:
        raise Refused(f"{n} labels on the micrographs are too few to judge labels by; {ENOUGH} at least are needed")
    margin = _margin(teachers)
    fold = _folds(teachers)
    k = 1 + max(int(values.max()) for values in fold if len(values))
    usable = [(p.labelled | p.free) & (p.seen.away > margin) for p in teachers]
    _check_both_kinds(teachers, usable, fold)
    judged = [np.zeros(len(p.seen)) for p in teachers]
    looks: dict[int, Looks] = {}
    work = partial(_learn_and_judge, teachers=teachers, usable=usable, fold=fold)
    parts = each(work, range(k), threads=fft_workers(), what="parts of the labels learned from", context=context)
    with threadpool_limits(1), closing(parts) as results:
        for f, result in results:
            if isinstance(result, BaseException):
                raise result
            looks[f], judged_here = result
            for number, values in judged_here.items():
                judged[number][fold[number] == f] = values
    calibration = calibrate(
        np.concatenate([j[u] for j, u in zip(judged, usable, strict=True)]),
        np.concatenate([p.labelled[u] for p, u in zip(teachers, usable, strict=True)]),
    )
    odds = [calibration.log_odds(values) for values in judged]
    context.progress(k, k + 1, "looking for what is seldom labelled")
    gaps = find_empty_parts(teachers, [calibration.probability(values) for values in judged], margin)
    gaps += find_gaps(teachers, margin, context)
    gaps.sort(key=lambda gap: -gap.worth)
    jury = Jury(
        tuple(looks[f] for f in range(k)), calibration, spread_of(teachers), margin, crowded(teachers), tuple(gaps)
    )
    return jury, [_suspect(jury, p, values) for p, values in zip(teachers, odds, strict=True)]


def _check_both_kinds(
    teachers: Sequence[LabelledPlaces], usable: Sequence[NDArray[np.bool_]], fold: Sequence[NDArray[np.intp]]
) -> None:
    """Each part is judged by labels and by free places of the others. Raises Refused where one of the two lacks."""
    labelled = np.concatenate([p.labelled[u] for p, u in zip(teachers, usable, strict=True)])
    part = np.concatenate([f[u] for f, u in zip(fold, usable, strict=True)])
    if len(np.unique(part[labelled])) < 2:
        raise Refused("all labels lie in one part of the picture, or at its border: there are none to judge them by")
    if len(np.unique(part[~labelled])) < 2:
        raise Refused(
            "nearly every place that could be a particle is labelled, so that nothing shows what is none: "
            "reject the picks below a threshold first"
        )


def _learn_and_judge(
    part: int,
    *,
    teachers: Sequence[LabelledPlaces],
    usable: Sequence[NDArray[np.bool_]],
    fold: Sequence[NDArray[np.intp]],
    context: JobContext,
) -> tuple[Looks, dict[int, FloatArray]]:
    """What the other parts of the labels teach, and what it says of the places of this part, by micrograph."""
    looks = learn(teachers, [u & (values != part) for u, values in zip(usable, fold, strict=True)], context)
    judged = {
        number: judge(looks, p.seen, context)[values == part]
        for number, (p, values) in enumerate(zip(teachers, fold, strict=True))
        if (values == part).any()
    }
    return looks, judged


def weigh(jury: Jury, places: LabelledPlaces, context: JobContext) -> Suspects:
    """Weigh the labels of a micrograph that taught nothing. Raises Cancelled."""
    return _suspect(jury, places, jury.calibration.log_odds(judge(jury.looks[0], places.seen, context)))


def _suspect(jury: Jury, places: LabelledPlaces, log_odds: FloatArray) -> Suspects:
    return suspect(places, log_odds, jury.calibration, jury.sigma, jury.margin, jury.often_double)


def _margin(teachers: Sequence[LabelledPlaces]) -> float:
    """Distance from the edge, diameters, that hardly any label is nearer than."""
    away = []
    for p in teachers:
        height, width = p.shape
        away.append(np.minimum.reduce([p.x, width - 1 - p.x, p.y, height - 1 - p.y]) / p.diameter)
    all_of_them = np.concatenate(away)
    return max(0.0, float(np.nanquantile(all_of_them, _IN_MARGIN)))


def _folds(teachers: Sequence[LabelledPlaces]) -> list[NDArray[np.intp]]:
    if len(teachers) > 1:
        return [np.full(len(p.seen), i % _FOLDS) for i, p in enumerate(teachers)]
    (p,) = teachers
    height, width = p.shape
    return [2 * (p.seen.y > height / 2).astype(np.intp) + (p.seen.x > width / 2)]


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One thing to look at.

    Attributes
    ----------
    micrograph : str
    x, y : float, canonical px
    kind : ErrorKind
    probability : float
        That something is wrong; of a gap: that its places are particles.
    group : int
        Of the gap that it is, or belongs to; 0 for none.
    to_x, to_y : float, canonical px
        Where a moved label should lie; NaN else.
    label : int
        Number of the label on its micrograph; -1 for a place without one, and for a gap.
    reason : str
        Why it is here, one sentence.
    members : tuple of (micrograph, x, y)
        Of a gap: its places, the most typical first.
    """

    micrograph: str
    x: float
    y: float
    kind: ErrorKind
    probability: float
    group: int = 0
    to_x: float = float("nan")
    to_y: float = float("nan")
    label: int = -1
    reason: str = ""
    members: tuple[tuple[str, float, float], ...] = ()


_REASONS = {
    ErrorKind.FALSE: "The labels of the other micrographs say that this does not look like a particle.",
    ErrorKind.MOVED: "The particle seems to lie beside this label.",
    ErrorKind.DOUBLE: "Another label lies on the same particle.",
    ErrorKind.MISSING: "This looks like a labelled particle and has no label.",
}


def in_order(jury: Jury, teachers: Sequence[LabelledPlaces], suspects: Sequence[Suspects]) -> list[QueueItem]:
    """All items: gaps first, then labels and places by how likely something is wrong.

    Parameters
    ----------
    jury : Jury
    teachers : sequence of LabelledPlaces
        That its gaps are on.
    suspects : sequence of Suspects
        Of all micrographs, in any order.
    """
    items: list[QueueItem] = []
    group_of: dict[tuple[str, int], int] = {}
    for number, gap in enumerate(jury.gaps, start=1):
        members = [(teachers[i], int(j)) for i, j in zip(gap.micrograph, gap.place, strict=True)]
        for p, row in members:
            group_of.setdefault((p.name, row), number)
        where = tuple((p.name, float(p.seen.x[row]), float(p.seen.y[row])) for p, row in members)
        items.append(QueueItem(*where[0], ErrorKind.GAP, gap.trust, number, reason=f"{gap.name}.", members=where))
    single = [
        (float(s.probability[i]), s, i) for s in suspects for i in np.argsort(-s.probability, kind="stable").tolist()
    ]
    single.sort(key=lambda entry: -entry[0])
    for probability, s, i in single:
        group = group_of.get((s.micrograph, int(s.place[i])), 0) if s.label[i] < 0 else 0
        kind = ErrorKind(s.kind[i])
        items.append(
            QueueItem(
                s.micrograph,
                float(s.x[i]),
                float(s.y[i]),
                kind,
                probability,
                group,
                float(s.to_x[i]),
                float(s.to_y[i]),
                int(s.label[i]),
                _REASONS[kind],
            )
        )
    return items
