"""Regions of a project: drawn by a person, found by the machine, and what is done with the picks in them.

Steps are queued while a big one is being written (:mod:`..core.backlog`). A region that a person took away is kept as
*dismissed*, so that the machine does not bring it back. What a person decided about a pick is not touched by any of
this.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import measure

from ...errors import AnnotatorError, Cancelled, Refused
from ...formats.image import images
from ...imaging.filters import fft_workers
from ...jobs.each import each
from ...model.context import JobContext
from ...model.coordinates import FloatArray
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.particles import Particles
from ...model.region import REGION_REASONS, Origin, Region, area_of, as_polygon, not_dealt_with, pack_vertices
from ...model.which import Which
from ...picking.dirt import find_regions
from ...picking.regions import reasons_at
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Done, Nothing, Outcome, Result, Step

_QUIET = JobContext()
# scikit-image has no types
_measure: Any = measure
#: A drawn outline keeps the corners it needs to stay so near to the hand's, diameters.
_NEAR = 0.05
_KIND = "region"


@dataclass(frozen=True, eq=False)
class Detected:
    """What was found on some micrographs, not yet in the project.

    Attributes
    ----------
    regions : tuple of (micrograph id, regions)
        Also micrographs without any.
    failed : tuple of (micrograph name, why)
    """

    regions: tuple[tuple[int, tuple[Region, ...]], ...]
    failed: tuple[tuple[str, str], ...] = ()


def of(session: Session, micrograph: int) -> list[Region]:
    """The regions of a micrograph, ordered by id; not the dismissed ones."""
    return [region for region in session.store.regions(micrograph) if region.origin is not Origin.DISMISSED]


# ---------------------------------------------------------------------- drawing


def draw(session: Session, vertices: ArrayLike, reason: Reason) -> Outcome:
    """Draw a region on the current micrograph.

    Parameters
    ----------
    vertices : (n, 2) float64, yx, canonical px
        As the hand drew it; corners that make no difference are left out.
    reason : Reason
        One of :data:`~cryoppp_annotator.model.region.REGION_REASONS`.

    Returns
    -------
    Outcome
        Its ``new_id`` is that of the region.

    Raises
    ------
    Refused
        No micrograph is open, or the outline holds nothing.
    """
    micrograph = session.current
    if micrograph is None:
        raise Refused("open a micrograph first")
    _refuse_reason(reason)
    diameter = session.settings.diameter_px(micrograph)
    outline = _outline(vertices, micrograph, diameter)
    message = Message("mark", "a region", f"as {reason.label}", f"on {micrograph.name}")
    region = Region(reason, outline, 0, micrograph.id, Origin.HAND)
    change = message.change(_KIND, (_insert(session, [region]),), micrograph.id)

    return session.edit(lambda: change)


def _outline(vertices: ArrayLike, micrograph: Micrograph, diameter: float) -> FloatArray:
    """A hand's outline with few corners, inside the image. Raises Refused where it holds nothing."""
    try:
        outline = as_polygon(vertices)
    except ValueError as error:
        raise Refused(f"nothing was drawn: {error}") from error
    if micrograph.height and micrograph.width:
        outline = np.clip(outline, -0.5, (micrograph.height - 0.5, micrograph.width - 0.5))
    closed = np.vstack([outline, outline[:1]])
    simple = np.asarray(_measure.approximate_polygon(closed, max(0.5, _NEAR * diameter))[:-1], np.float64)
    if len(simple) < 3 or area_of(simple) < max(4.0, (0.1 * diameter) ** 2):
        raise Refused("nothing was drawn: the outline holds nothing of the micrograph")
    return simple


def _refuse_reason(reason: Reason) -> None:
    if reason not in REGION_REASONS:
        raise Refused(f"a region is {', '.join(r.label for r in REGION_REASONS)}, not {reason.label}")


def remove(session: Session, ids: ArrayLike) -> Outcome:
    """Take regions away: drawn ones are deleted, found ones are dismissed."""
    numbers = _numbers(ids)

    def build() -> Change | None:
        chosen = [region for region in _all(session, numbers) if region.origin is not Origin.DISMISSED]
        drawn = [region for region in chosen if region.origin is Origin.HAND]
        detected = [region for region in chosen if region.origin is Origin.FOUND]
        deltas = [_delete(drawn)] if drawn else []
        if detected:
            deltas.append(_update(detected, {"origin": [Origin.DISMISSED.value]}))
        return _change(session, Message("delete", edits.count_of(len(chosen), "region")), chosen, deltas)

    return session.edit(build)


def set_reason(session: Session, ids: ArrayLike, reason: Reason) -> Outcome:
    """Say what regions are; found ones are a person's from then on."""
    _refuse_reason(reason)
    numbers = _numbers(ids)

    def build() -> Change | None:
        chosen = [r for r in _all(session, numbers) if r.origin is not Origin.DISMISSED and r.reason is not reason]
        after: dict[str, list[Any]] = {"reason": [int(reason)], "origin": [Origin.HAND.value]}
        deltas = [_update(chosen, after)] if chosen else []
        return _change(
            session, Message("mark", edits.count_of(len(chosen), "region"), f"as {reason.label}"), chosen, deltas
        )

    return session.edit(build)


def reshape(session: Session, number: int, vertices: ArrayLike) -> Outcome:
    """Move the corners of a region; a found one is a person's from then on. Raises Refused as :func:`draw`."""

    def build() -> Change | None:
        chosen = _all(session, np.array([number]))
        if not chosen:
            raise Refused("that region is not there any more")
        micrograph = session.micrograph(chosen[0].micrograph)
        outline = _outline(vertices, micrograph, session.settings.diameter_px(micrograph))
        text = pack_vertices(outline)
        if text == pack_vertices(chosen[0].vertices):
            return None
        delta = _update(chosen, {"vertices": [text], "origin": [Origin.HAND.value]})
        return _change(session, Message("move", "the corners of a region"), chosen, [delta])

    return session.edit(build)


# ---------------------------------------------------------------------- finding


def find(
    session: Session, micrographs: Sequence[Micrograph], *, bright: bool = False, context: JobContext = _QUIET
) -> Detected:
    """Look for carbon, ice and contamination; a micrograph that cannot be read is told and passed over.

    Raises
    ------
    Cancelled
    """
    diameter = session.diameter_A if session.settings.diameter_is_set else None
    failed = [(m.name, m.problem) for m in micrographs if m.problem]
    jobs = [
        _Look(str(session.path_of(m).absolute()), m.frame, session.pixel_size_A(m), diameter, bright, m.id, m.name)
        for m in micrographs
        if not m.problem
    ]
    got: dict[int, tuple[Region, ...]] = {}
    with closing(each(_found_on, jobs, threads=fft_workers(), context=context)) as results:
        for one, outcome in results:
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                failed.append((one.name, str(outcome)))
                context.log(f"{one.name}: {outcome}")
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                got[one.number] = outcome
    context.progress(len(micrographs), len(micrographs), f"{len(got)}/{len(micrographs)} micrographs")
    return Detected(tuple((one.number, got[one.number]) for one in jobs if one.number in got), tuple(failed))


@dataclass(frozen=True, slots=True)
class _Look:
    """One micrograph to look at, in plain values."""

    path: str
    frame: int
    pixel_size_A: float
    diameter_A: float | None
    bright: bool
    number: int
    name: str


def _found_on(one: _Look, *, context: JobContext) -> tuple[Region, ...]:
    image = images.read(Path(one.path), one.frame, check=context.check)
    return tuple(
        find_regions(
            image, pixel_size_A=one.pixel_size_A, diameter_A=one.diameter_A, bright=one.bright, context=context
        )
    )


def enter_found(session: Session, detected: Detected, then: Callable[[str], object] = lambda line: None) -> Outcome:
    """Enter what was found as one step; where that is on several micrographs, in the background where there is one.

    Earlier found regions of these micrographs make room. What lies on a region that a person drew, changed or
    dismissed is left out.

    Parameters
    ----------
    then : callable
        Gets the line for the status bar when it is entered.
    """

    def build() -> Change | None:
        deltas = found_deltas(session, detected.regions)
        touched = [number for number, some in detected.regions if some]
        n = sum(len(d) for d in deltas if d.kind is Kind.INSERT)
        one = detected.regions[0][0] if len(detected.regions) == 1 else None
        where = session.micrograph(one).name if one is not None else edits.count_of(len(touched), "micrograph")
        message = Message("mark", edits.count_of(n, "region"), "found", f"on {where}")
        return message.change(_KIND, deltas, one) if deltas else None

    if len(detected.regions) < 2:
        return session.edit(build, lambda result: then(_entered(detected, result)))
    n = sum(len(some) for _, some in detected.regions)
    step = Step(
        lambda _store, _connection: build(),
        title=f"marking {edits.count_of(n, 'region')}",
        nothing=_entered(detected, Nothing()),
    )
    outcome = session.commit(
        step, lambda result: then(_entered(detected, result)) if isinstance(result, Done) else None
    )
    if isinstance(outcome, Nothing):
        then(_entered(detected, outcome))
    return outcome


def _entered(detected: Detected, result: Result) -> str:
    """What was entered, for the status bar."""
    changed = result.committed.change.deltas if isinstance(result, Done) else ()
    n = sum(len(delta) for delta in changed if delta.kind is Kind.INSERT)
    there = sum(len(some) for _, some in detected.regions)
    looked = edits.count_of(len(detected.regions), "micrograph")
    said = f"{edits.count_of(n, 'new region')} on {looked}" if n else f"nothing new on {looked}"
    if changed:
        said += " · Ctrl+Z undoes"
    elif there:
        said += ": what was found is marked already, or was taken away by a person"
    if detected.failed:
        name, why = detected.failed[0]
        said += f" · {edits.count_of(len(detected.failed), 'micrograph')} could not be read ({name}: {why})"
    return said


def found_deltas(session: Session, detected: Sequence[tuple[int, Sequence[Region]]]) -> list[Delta]:
    """What entering found regions changes: old found ones out, new ones in; nothing of a person's."""
    new: list[Region] = []
    old: list[Region] = []
    # one question for many micrographs, not many
    every: dict[int, list[Region]] = {number: [] for number, _ in detected}
    for region in session.store.regions(detected[0][0] if len(detected) == 1 else None):
        every.setdefault(region.micrograph, []).append(region)
    for number, regions in detected:
        there = every[number]
        fresh = {pack_vertices(r.vertices): r for r in not_dealt_with(regions, there)}
        machine = [(pack_vertices(r.vertices), r) for r in there if r.origin is Origin.FOUND]
        known = {text for text, _ in machine}
        new += [Region(r.reason, r.vertices, 0, number) for text, r in fresh.items() if text not in known]
        old += [r for text, r in machine if text not in fresh]
    return [*([_delete(old)] if old else []), *([_insert(session, new)] if new else [])]


# ---------------------------------------------------------------------- picks


def undecided_in(particles: Particles, regions: Sequence[Region]) -> NDArray[np.int8]:
    """Reason of the region that each undecided pick lies in, (n,) int8; 0 for decided picks and those in none."""
    why = np.zeros(len(particles), np.int8)
    rows = np.flatnonzero(particles.decision == Decision.UNDECIDED)
    why[rows] = reasons_at(particles.x[rows], particles.y[rows], regions)
    return why


@dataclass(frozen=True, eq=False)
class Inside:
    """Undecided picks in regions: ids, micrographs, the reason each would be rejected for and has now; (n,) each."""

    ids: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    reason: NDArray[np.int8]
    before: NDArray[np.int8]


def picks_inside(session: Session, micrographs: Sequence[int] | None = None, context: JobContext = _QUIET) -> Inside:
    """Undecided picks that lie in regions of some micrographs (all of them by default).

    Raises
    ------
    Cancelled
    """
    numbers = session.store.micrographs_with_regions() if micrographs is None else list(micrographs)
    ids, where = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    why, before = [np.zeros(0, np.int8)], [np.zeros(0, np.int8)]
    for i, number in enumerate(numbers):
        context.progress(i, len(numbers), f"{i}/{len(numbers)} micrographs")
        particles = session.store.particles(number)
        reason = undecided_in(particles, of(session, number))
        hit = reason > 0
        ids.append(particles.id[hit])
        where.append(particles.micrograph[hit])
        why.append(reason[hit])
        before.append(particles.reason[hit])
    return Inside(np.concatenate(ids), np.concatenate(where), np.concatenate(why), np.concatenate(before))


def reject_inside(session: Session, inside: Inside) -> Outcome:
    """Reject picks in regions, each for its region's reason, as one step.

    What was decided since they were looked for stays as it is.
    """
    nothing = "no undecided pick lies in a region there"
    if not len(inside.ids):
        return Nothing(nothing)

    which = Which(ids=tuple(inside.ids.tolist()), decisions=(Decision.UNDECIDED,))

    def build(store: Store, connection: Connection) -> Change | None:
        still = store.read(connection, which, ("reason",))
        mine = np.isin(inside.ids, still.id)
        n = int(mine.sum())
        if not n:
            return None
        before_now = still.reason[still.rows_of(inside.ids[mine])]
        why, where_of = inside.reason[mine], inside.micrograph[mine]
        before = {"decision": np.array([int(Decision.UNDECIDED)], np.int8), "reason": before_now}
        after = {"decision": np.array([int(Decision.REJECTED)], np.int8), "reason": why}
        delta = Delta(Table.PARTICLE, Kind.UPDATE, inside.ids[mine], before, after, where_of)
        touched = np.unique(where_of)
        one = int(touched[0]) if len(touched) == 1 else None
        where = session.micrograph(one).name if one is not None else edits.count_of(len(touched), "micrograph")
        kinds, counts = np.unique(why, return_counts=True)
        by_reason = ", ".join(f"{c:,} as {Reason(int(k)).label}" for k, c in zip(kinds, counts, strict=True))
        message = Message("reject", edits.count_of(n), "in regions", f"on {where}: {by_reason}")
        return message.change("decide", (delta,), one)

    title = f"rejecting {edits.count_of(len(inside.ids))} in regions"
    return session.commit(Step(build, len(inside.ids), title, nothing))


# ---------------------------------------------------------------------- rows


def _numbers(ids: ArrayLike) -> NDArray[np.int64]:
    return np.unique(np.atleast_1d(np.asarray(ids, np.int64)))


def _all(session: Session, ids: NDArray[np.int64]) -> list[Region]:
    numbers = set(ids.tolist())
    here = session.store.regions(session.current_id) if session.current_id is not None else []
    chosen = [region for region in here if region.id in numbers]
    if len(chosen) < len(numbers):
        chosen = [region for region in session.store.regions() if region.id in numbers]
    return chosen


def _change(session: Session, message: Message, regions: Sequence[Region], deltas: Sequence[Delta]) -> Change | None:
    if not deltas:
        return None
    touched = {region.micrograph for region in regions}
    one = touched.pop() if len(touched) == 1 else None
    where = session.micrograph(one).name if one is not None else edits.count_of(len(touched), "micrograph")
    return replace(message, where=f"on {where}").change(_KIND, deltas, one)


def _columns(regions: Sequence[Region]) -> dict[str, NDArray[Any]]:
    return {
        "micrograph": np.array([r.micrograph for r in regions], np.int64),
        "reason": np.array([int(r.reason) for r in regions], np.int8),
        "origin": np.array([r.origin.value for r in regions]),
        "vertices": np.array([pack_vertices(r.vertices) for r in regions]),
        "curator": np.array([r.curator for r in regions]),
        "created": np.array([r.created for r in regions]),
    }


def _insert(session: Session, regions: Sequence[Region]) -> Delta:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    columns = _columns(regions) | {"curator": np.array([session.curator]), "created": np.array([now])}
    ids = -np.arange(1, len(regions) + 1, dtype=np.int64)
    return Delta(Table.REGION, Kind.INSERT, ids, {}, columns, columns["micrograph"])


def _delete(regions: Sequence[Region]) -> Delta:
    columns = _columns(regions)
    return Delta(Table.REGION, Kind.DELETE, _ids(regions), columns, {}, columns["micrograph"])


def _update(regions: Sequence[Region], after: Mapping[str, list[Any]]) -> Delta:
    before = _columns(regions)
    changed = {
        name: np.array(values, before[name].dtype if name == "reason" else None) for name, values in after.items()
    }
    return Delta(
        Table.REGION,
        Kind.UPDATE,
        _ids(regions),
        {name: before[name] for name in changed},
        changed,
        before["micrograph"],
    )


def _ids(regions: Sequence[Region]) -> NDArray[np.int64]:
    return np.array([r.id for r in regions], np.int64)


def share_of(region: Region, micrograph: Micrograph) -> str:
    """How much of the micrograph it covers, as a person reads it: ``2.3 %``."""
    whole = micrograph.width * micrograph.height
    share = 100.0 * region.area / whole if whole else 0.0
    return f"{share:.1f} %" if share >= 0.1 else "below 0.1 %"
