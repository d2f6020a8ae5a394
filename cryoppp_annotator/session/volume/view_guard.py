"""Whether a rejection removes a view: by the poses of a run in 3D, or, without one, by the relation of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...classify.same_view import SAME_VIEW, likeness
from ...errors import AnnotatorError
from ...model.classes import ClassRun, ClassSummary
from ...model.curation import Decision
from ...model.which import Which
from ...reconstruct import poses
from ...reconstruct.verdict import CONFIDENT_DEG
from ...reconstruct.view_coverage import are_lost, lost_views
from ..classes import decide
from ..classes.browse import load_members
from ..core.session import Session
from .map_run import MapResult
from .stored_maps import list_map_runs, load_map_run

#: Fewest picks with a known view for which anything is said.
_FEWEST = 40
#: Classes of less are mixed: what they show is no view. Unknown quality counts as good.
_QUALITY = 0.5


@dataclass(frozen=True, eq=False)
class ViewLoss:
    """A rejection that removes a view.

    Attributes
    ----------
    sentence : str
        What is lost; begins in lower case.
    directions : (n, 3) float64
        Directions of view of the picks that are looked at, where their poses are known; else (0, 3).
    kept : (n,) bool
        Which of them stay.
    classes : tuple of int
        Classes that alone show a lost view, where the poses are not known.
    """

    sentence: str
    directions: NDArray[np.float64]
    kept: NDArray[np.bool_]
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class PoseViews:
    """Views by pose.

    Attributes
    ----------
    particle : (n,) int64
        Confident particles, ordered.
    matrices : (n, 3, 3) float64
    symmetry : str
    """

    particle: NDArray[np.int64]
    matrices: NDArray[np.float64]
    symmetry: str

    def lost(self, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> ViewLoss | None:
        """What is lost from the picks before (n,) to those after (n,); None = no view."""
        if before.sum() < _FEWEST:
            return None
        matrices, kept = self.matrices[before], after[before]
        views = lost_views(matrices, kept, self.symmetry)
        if not views:
            return None
        more = f", and {len(views) - 1} more" if len(views) > 1 else ""
        return ViewLoss(f"{views[0].sentence()}{more}", poses.directions(matrices), kept)


@dataclass(frozen=True, eq=False)
class ClassViews:
    """Views by what the averages of classes have in common.

    Attributes
    ----------
    particle : (n,) int64
        Members of classes that look like particles, ordered.
    row : (n,) intp
        Class of each, as a row of ``same``.
    numbers : (k,) int64
        What those classes are called.
    same : (k, k) bool
        Which of them show the same view.
    """

    particle: NDArray[np.int64]
    row: NDArray[np.intp]
    numbers: NDArray[np.int64]
    same: NDArray[np.bool_]

    def lost(self, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> ViewLoss | None:
        """As :meth:`PoseViews.lost`, ``before`` (n,) and ``after`` (n,)."""
        if before.sum() < _FEWEST:
            return None
        k = len(self.numbers)
        n_before, n_after = (self.same @ np.bincount(self.row[mask], minlength=k) for mask in (before, before & after))
        lost = are_lost(n_before, n_after, float(after[before].mean()))
        own = np.bincount(self.row[before & ~after], minlength=k) > 0
        numbers = tuple(int(number) for number in self.numbers[lost & own])
        if not numbers:
            return None
        what = f"class {numbers[0]} shows" if len(numbers) == 1 else f"classes {', '.join(map(str, numbers[:6]))} show"
        sentence = f"{what} a view that no class which stays does"
        return ViewLoss(sentence, np.zeros((0, 3)), np.zeros(0, bool), numbers)


#: What is known of the views of picks.
Views = PoseViews | ClassViews


def views_of_map(result: MapResult) -> PoseViews | None:
    """Views of a run; None where too few poses are known."""
    picks = result.picks
    with np.errstate(invalid="ignore"):
        known = (picks.log_odds > 0) & (picks.error_deg < CONFIDENT_DEG)
    if known.sum() < _FEWEST:
        return None
    return PoseViews(picks.particle[known], picks.matrices[known], result.run.symmetry)


def views_of_classes(session: Session, run: ClassRun) -> ClassViews | None:
    """Views of the classes of a run that look like particles; None where there are none."""
    good = [s for s in run.summaries if s.count and _is_view(s)]
    if len(good) < 2:
        return None
    averages = decide.load_averages(session, run)[[s.number - 1 for s in good]]
    members = load_members(session, run)
    numbers = np.array([s.number for s in good], np.int64)
    row_of = np.full(int(max(members.number.max(initial=0), numbers.max())) + 1, -1, np.intp)
    row_of[numbers] = np.arange(len(numbers))
    row = row_of[members.number]
    mine = row >= 0
    return ClassViews(members.particle[mine], row[mine], numbers, likeness(averages) >= SAME_VIEW)


def _is_view(item: ClassSummary) -> bool:
    """Whether a class shows the particle from some side."""
    good = item.suggestion is not Decision.REJECTED and not item.quality < _QUALITY
    return item.kind == "structure" and good


def load_views(session: Session) -> Views | None:
    """What the project knows of views: poses of the latest run in 3D, else the latest classes; from any thread.

    None = nothing that can be used.
    """
    for run in reversed(list_map_runs(session)):
        try:
            views = views_of_map(load_map_run(session, run))
        except AnnotatorError:
            continue  # damaged: an earlier one may do
        if views is not None:
            return views
    for class_run in reversed(decide.list_runs(session)):
        try:
            by_class = views_of_classes(session, class_run)
        except AnnotatorError:
            continue
        if by_class is not None:
            return by_class
    return None


def known_views(session: Session) -> Views | None:
    """As :func:`load_views`, read again only where there is another run since."""
    runs, classes = list_map_runs(session), decide.list_runs(session)
    key = session.store.folder, runs[-1].number if runs else 0, classes[-1].id if classes else 0
    if key not in _known:
        views = load_views(session)
        _known.clear()
        _known[key] = views
    return _known.get(key)


#: What was read last, by project and latest runs.
_known: dict[tuple[Path, int, int], Views | None] = {}


def kept_ids(session: Session) -> NDArray[np.int64]:
    """Ids (n,) of the picks that are not rejected."""
    which = Which(decisions=(Decision.UNDECIDED, Decision.ACCEPTED))
    return np.asarray(session.store.positions(which)["id"], np.int64)


def loss_of(session: Session, views: Views, ids: NDArray[np.int64] | None = None) -> ViewLoss | None:
    """The view that is lost by rejecting picks; done before or after it. From any thread.

    Parameters
    ----------
    session : Session
    views : PoseViews or ClassViews
    ids : (m,) int64, optional
        The picks; None = all that are rejected now.
    """
    stays = np.isin(views.particle, kept_ids(session))
    if ids is None:
        present = session.store.positions(Which())["id"]
        return views.lost(np.isin(views.particle, present), stays)
    going = np.isin(views.particle, ids)
    return views.lost(stays | going, stays & ~going)
