"""A class run as a panel looks at it: who is in which class, what is decided about each, in which order they stand.

The membership is held in memory and follows the session's changes, so that nothing has to ask the database while a
person clicks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.classes import ClassRun, ClassSummary
from ...model.context import JobContext
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.which import Which
from ...store import classes as table
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Outcome, Step
from . import decide

_QUIET = JobContext()
#: A class counts as decided when so many of its picks are.
DECIDED_SHARE = 0.9
#: Decision of a member that was deleted.
_GONE = -1
_GREYS = (0.5, 99.5)
#: A class whose quality is no further from the threshold is doubtful.
_DOUBTFUL = 0.12


class SortBy(StrEnum):
    """Order of the classes."""

    DOUBT = "doubt"
    SIZE = "size"
    QUALITY = "quality"
    RESOLUTION = "resolution"


@dataclass(frozen=True, eq=False)
class RunPictures:
    """A run with what a gallery draws of it.

    Attributes
    ----------
    run : ClassRun
    greys : (n, side, side) uint8, yx
        Image ``number - 1`` is the class of that number.
    members : RunMembers
    """

    run: ClassRun
    greys: NDArray[np.uint8]
    members: RunMembers


class RunMembers:
    """Which pick is in which class, and what is decided about it.

    Parameters
    ----------
    columns : mapping of ``particle, micrograph, number, posterior, decision`` to (n,) arrays
        Ordered by particle.
    n_classes : int
    """

    def __init__(self, columns: dict[str, NDArray[Any]], n_classes: int) -> None:
        self.particle: NDArray[np.int64] = columns["particle"]
        self.micrograph: NDArray[np.int64] = columns["micrograph"]
        self.number: NDArray[np.int32] = columns["number"]
        self.posterior: NDArray[np.float64] = columns["posterior"]
        self.decision: NDArray[np.int8] = columns["decision"]
        self.n_classes = n_classes
        self._micrographs, self._place = np.unique(self.micrograph, return_inverse=True)

    def __len__(self) -> int:
        return len(self.particle)

    def absorb(self, change: Change) -> bool:
        """Follow a change of the session. Returns whether a member was touched; doing it twice does no harm."""
        touched = False
        for delta in change.deltas:
            if delta.table is Table.PARTICLE and (delta.kind is Kind.DELETE or "decision" in delta.after):
                touched |= self._absorb(delta)
        return touched

    def _absorb(self, delta: Delta) -> bool:
        if not len(self):
            return False
        row = np.minimum(np.searchsorted(self.particle, delta.ids), len(self) - 1)
        mine = self.particle[row] == delta.ids
        if not mine.any():
            return False
        if delta.kind is Kind.DELETE:
            self.decision[row[mine]] = _GONE
        else:
            self.decision[row[mine]] = np.broadcast_to(delta.after["decision"], (len(delta),))[mine]
        return True

    def counts(self) -> NDArray[np.int64]:
        """(n_classes, 3) int64: undecided, accepted and rejected picks of each class."""
        present = self.decision >= 0
        flat = (self.number[present].astype(np.int64) - 1) * 3 + self.decision[present]
        return np.bincount(flat, minlength=3 * self.n_classes).reshape(self.n_classes, 3).astype(np.int64)

    def of_classes(self, numbers: Sequence[int]) -> NDArray[np.intp]:
        """Rows of the picks of some classes that are still there."""
        return np.flatnonzero(np.isin(self.number, np.asarray(numbers, np.int32)) & (self.decision >= 0))

    def on(self, micrograph: int | None) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Ids and class numbers of the members on one micrograph, ordered by id."""
        here = self.micrograph == (-1 if micrograph is None else micrograph)
        return self.particle[here], self.number[here]

    def numbers_of(self, ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """(m,) int32 class numbers of picks, 0 where a pick is in none."""
        if not len(self):
            return np.zeros(len(ids), np.int32)
        row = np.minimum(np.searchsorted(self.particle, ids), len(self) - 1)
        return np.where(self.particle[row] == ids, self.number[row], 0).astype(np.int32)

    def where(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """Micrographs with members of some classes, and how many: most first."""
        n = np.bincount(self._place[self.of_classes(numbers)], minlength=len(self._micrographs))
        populated = np.flatnonzero(n)
        order = populated[np.lexsort((self._micrographs[populated], -n[populated]))]
        return list(zip(self._micrographs[order].tolist(), n[order].tolist(), strict=True))

    def ranked(self, numbers: Sequence[int], *, best_first: bool = True) -> NDArray[np.intp]:
        """Rows of the picks of some classes, the surest members first or last; unknown ones at the end."""
        rows = self.of_classes(numbers)
        sure = self.posterior[rows]
        key = np.where(np.isfinite(sure), -sure if best_first else sure, np.inf)
        return rows[np.lexsort((self.particle[rows], key))]


def load_members(session: Session, run: ClassRun) -> RunMembers:
    """Read a run's membership: some tenths of a second for 300,000 picks; from any thread."""
    names = ("particle", "micrograph", "number", "posterior", "decision")
    columns = table.members(session.store, run.id, columns=names)
    return RunMembers(columns, max((item.number for item in run.summaries), default=0))


def load_pictures(session: Session, run: ClassRun, *, context: JobContext = _QUIET) -> RunPictures:
    """All a gallery needs of a run: the body of a job.

    Raises
    ------
    FormatError
        The file of the averages is gone or damaged.
    ProjectError
    """
    greys = as_greys(decide.load_averages(session, run))
    context.check()
    return RunPictures(run, greys, load_members(session, run))


def as_greys(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images (n, h, w) as 8-bit greys, each with its own contrast; constant and non-finite ones are mid-grey."""
    out = np.full(images.shape, 128, np.uint8)
    for place, image in enumerate(images):
        known = np.asarray(image, np.float32)
        if not np.isfinite(known).all():
            continue
        low, high = np.percentile(known, _GREYS)
        if high > low:
            out[place] = np.clip((known - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    return out


def state_of(counts: Sequence[int]) -> Decision | None:
    """What is decided about a class with so many undecided, accepted and rejected picks; None = some of each."""
    total = sum(counts)
    if not total:
        return Decision.UNDECIDED
    most = int(np.argmax(counts))
    return Decision(most) if counts[most] >= DECIDED_SHARE * total else None


def suggestion_of(item: ClassSummary, threshold: float | None) -> Decision:
    """What is suggested for a class: by the program, or by the quality a person set as threshold.

    Models of what is no particle stay rejected, and what has no quality keeps the program's word.
    """
    if threshold is None or item.kind != "structure" or math.isnan(item.quality):
        return item.suggestion
    return Decision.ACCEPTED if item.quality >= threshold else Decision.REJECTED


def is_doubtful(item: ClassSummary, threshold: float) -> bool:
    """Whether a class lies so near the quality that divides kept from dropped ones that a person should look."""
    return item.kind == "structure" and not abs(item.quality - threshold) >= _DOUBTFUL  # an unknown quality too


def suggested_threshold(summaries: Iterable[ClassSummary]) -> float:
    """The quality that best divides what the program suggests to keep from the rest, 0 .. 1."""
    known = [s for s in summaries if s.kind == "structure" and s.count and not math.isnan(s.quality)]
    kept = [s.quality for s in known if s.suggestion is Decision.ACCEPTED]
    dropped = [s.quality for s in known if s.suggestion is Decision.REJECTED]
    if not kept or not dropped:
        return 0.0 if kept else 1.0 if dropped else 0.35
    return max(0.0, min(1.0, (min(kept) + max(dropped)) / 2.0))


def order_of(
    summaries: Sequence[ClassSummary], by: SortBy, *, ascending: bool = False, threshold: float | None = None
) -> list[int]:
    """Numbers of the classes that hold picks: the largest, the best or the sharpest first; models of junk last.

    By doubt: what is suggested for rejection (by a ``threshold`` of quality, where a person set one) first, models of
    junk and the worst before the others, then the rest with the largest first.
    """
    if by is SortBy.DOUBT:
        return [item.number for item in sorted(summaries, key=lambda item: _doubt(item, threshold)) if item.count]

    def key(item: ClassSummary) -> tuple[float, ...]:
        value = {SortBy.SIZE: -item.count, SortBy.QUALITY: -item.quality, SortBy.RESOLUTION: item.resolution_A}[by]
        known = not math.isnan(value)
        last = float(item.kind != "structure")
        return last, float(not known), (-value if ascending else value) if known else 0.0, item.number

    return [item.number for item in sorted(summaries, key=key) if item.count]


def _doubt(item: ClassSummary, threshold: float | None) -> tuple[float, ...]:
    if suggestion_of(item, threshold) is not Decision.REJECTED:
        return 2.0, -float(item.count), item.number
    worst = 0.0 if math.isnan(item.quality) else item.quality
    return float(item.kind == "structure"), worst, item.number


def n_classes_for(n_picks: int) -> int:
    """How many classes so many picks can fill: about sixty picks each, 8 to 50."""
    return int(min(50, max(8, round(n_picks / 60.0))))


def classes_of(n: int) -> str:
    """``1 class``, ``12 classes``."""
    return f"{n:,} class{'' if n == 1 else 'es'}"


def decide_picks(session: Session, ids: NDArray[np.int64], decision: Decision, reason: Reason = Reason.NONE) -> Outcome:
    """Decide about picks (n,) anywhere in the project, as one step."""
    which = Which(ids=tuple(np.unique(np.asarray(ids, np.int64)).tolist()))
    n = len(which.ids or ())

    def build(store: Store, connection: Connection) -> Change | None:
        picks = store.read(connection, which)
        micrographs = np.unique(picks.micrograph)
        only_micrograph = int(micrographs[0]) if len(micrographs) == 1 else None
        where = "in the project" if only_micrograph is None else f"on {session.micrograph(only_micrograph).name}"
        return edits.decide(picks, decision, reason, where, only_micrograph)

    return session.commit(Step(build, n, f"{edits.DOING[decision]} {edits.count_of(n)}"))
