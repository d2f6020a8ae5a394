"""Which classes to keep: a suggestion for each, and why the suggestions may not be relied on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from .doubt import why_not
from .metrics import ClassMetrics, Kind

#: Classes below this quality are suggested for rejection. Quality is a chance; a particle lost weighs more than junk
#: kept, which the next round throws out. ``benchmarks/classify.py --quality`` prints what it keeps and drops.
QUALITY_THRESHOLD = 0.35


class Suggestion(StrEnum):
    """What the program would do with a class; the curator decides."""

    ACCEPT = "accept"
    REJECT = "reject"


def suggest(metrics: ClassMetrics, threshold: float = QUALITY_THRESHOLD) -> Suggestion:
    """Suggest a decision for one class."""
    good = metrics.kind is Kind.STRUCTURE and metrics.count > 0 and metrics.quality >= threshold
    return Suggestion.ACCEPT if good else Suggestion.REJECT


def junk_fraction(classes: Sequence[ClassMetrics], threshold: float = QUALITY_THRESHOLD) -> float:
    """Share of the picks, 0 .. 1, that lie in classes suggested for rejection."""
    total = sum(item.count for item in classes)
    return sum(item.count for item in classes if suggest(item, threshold) is Suggestion.REJECT) / max(1, total)


def doubt(classes: Sequence[ClassMetrics]) -> str:
    """Why the suggestions are not to be relied on, one line; empty where nothing speaks against them."""
    averages = [item for item in classes if item.kind is Kind.STRUCTURE]
    total = sum(item.count for item in classes)
    gains = [item.view_gain for item in averages]
    return why_not([item.count for item in averages], [item.evidence for item in averages], gains, total)
