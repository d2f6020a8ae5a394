"""Which classes to keep: a suggestion for each, and one line about the whole."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from .metrics import ClassMetrics, Kind

#: Classes below this quality are suggested for rejection: on ``bench/class2d`` (three seeds) views reach 0.42 and
#: more, classes that are mostly junk 0.27 and less.
QUALITY_THRESHOLD = 0.35


class Suggestion(StrEnum):
    """What the program would do with a class; the curator decides."""

    ACCEPT = "accept"
    REJECT = "reject"


def suggest(metrics: ClassMetrics, threshold: float = QUALITY_THRESHOLD) -> Suggestion:
    """Suggest a decision for one class."""
    good = metrics.kind is Kind.STRUCTURE and metrics.count > 0 and metrics.quality >= threshold
    return Suggestion.ACCEPT if good else Suggestion.REJECT


def verdict(classes: Sequence[ClassMetrics], threshold: float = QUALITY_THRESHOLD) -> str:
    """One line about the data set: how many particles lie in classes that look like particles."""
    total = sum(item.count for item in classes)
    junk = sum(item.count for item in classes if suggest(item, threshold) is Suggestion.REJECT)
    good = sum(suggest(item, threshold) is Suggestion.ACCEPT for item in classes)
    share = 100.0 * junk / max(1, total)
    return f"{total - junk:,} of {total:,} picks lie in {good} classes that look like particles; {share:.0f} % junk"
