"""What the latest run in 3D says of the items of the queue: a pick that looks like no view of the map is suspect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...audit.suspects import FALSE_RATE, ErrorKind
from ...errors import AnnotatorError
from ..core.session import Session
from ..volume.first_map import DOUBT
from ..volume.map_run import MapResult
from ..volume.stored_maps import list_map_runs, load_map_run
from .review_item import ReviewItem

#: A map moves the odds by so many nats at most, 50 to 1: it may lack what is real.
_MOST_NATS = 4.0
#: From here on an item says what the map says.
_SAID_NATS = 1.0
#: A pick that was moved farther since the run has no verdict, px.
_SAME_PLACE_PX = 0.5
NO_VIEW = "3D: looks like no view of the map."
A_VIEW = "3D: looks like a view of the map."


def latest_verdicts(session: Session) -> MapResult | None:
    """The latest run in 3D that can be read and is not doubtful; None where there is none. From any thread."""
    for run in reversed(list_map_runs(session)):
        if run.verdict.startswith(DOUBT):
            continue
        try:
            return load_map_run(session, run)
        except AnnotatorError:
            continue  # damaged: an earlier one may do
    return None


def weigh_by_map(session: Session, items: Sequence[ReviewItem]) -> list[ReviewItem]:
    """The items with what the latest run in 3D adds to their suspicion, in their new order: gaps stay first.

    The odds that a pick is no particle are multiplied by the likelihood ratio of its verdict (within 50 to 1 either
    way). A pick that is there for another error is called false where the map alone makes that likelier.

    Parameters
    ----------
    session : Session
    items : sequence of ReviewItem
        The most suspicious first.
    """
    run = latest_verdicts(session)
    if run is None:
        return list(items)
    ratio = _ratios(run)
    gaps = [item for item in items if item.kind is ErrorKind.GAP]
    rest = [_weighed(item, ratio, run) for item in items if item.kind is not ErrorKind.GAP]
    return gaps + sorted(rest, key=lambda item: -item.probability)


def _ratios(run: MapResult) -> dict[int, tuple[float, int]]:
    """By pick: the log likelihood ratio of its verdict, without what the run took for granted, and its row."""
    odds = run.picks.log_odds.astype(np.float64)
    known = np.flatnonzero(np.isfinite(odds))
    if not len(known):
        return {}
    share = float(np.clip((odds[known] > 0).mean(), 0.02, 0.98))
    ratio = np.clip(odds[known] - math.log(share / (1.0 - share)), -_MOST_NATS, _MOST_NATS)
    rows = zip(run.picks.particle[known].tolist(), ratio.tolist(), known.tolist(), strict=True)
    return {particle: (value, row) for particle, value, row in rows}


def _weighed(item: ReviewItem, ratios: dict[int, tuple[float, int]], run: MapResult) -> ReviewItem:
    ratio, row = ratios.get(item.particle, (0.0, -1))
    if row < 0 or math.hypot(item.x - run.picks.x[row], item.y - run.picks.y[row]) > _SAME_PLACE_PX:
        return item
    if item.kind is ErrorKind.FALSE:
        said = NO_VIEW if ratio < -_SAID_NATS else A_VIEW if ratio > _SAID_NATS else ""
        wrong = _shifted(item.probability, -ratio)
        return replace(item, probability=wrong, reason=f"{item.reason} {said}".strip())
    alone = _shifted(FALSE_RATE, -ratio)
    if alone <= item.probability:
        return item
    return replace(item, kind=ErrorKind.FALSE, probability=alone, to_x=math.nan, to_y=math.nan, reason=NO_VIEW)


def _shifted(probability: float, nats: float) -> float:
    """A probability whose log odds are moved."""
    bounded = min(max(probability, 1e-9), 1.0 - 1e-9)
    return 1.0 / (1.0 + math.exp(-(math.log(bounded / (1.0 - bounded)) + nats)))
