"""Regions found by the machine: looked for, and entered beside those of a person, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ...errors import AnnotatorError, Cancelled
from ...formats.image import images
from ...imaging.filters import fft_workers
from ...jobs.each import each
from ...model.context import JobContext
from ...model.curation import Change, Delta, Kind
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.region import Origin, Region, not_dealt_with, pack_vertices
from ...picking.dirt import find_regions
from ..core import edits
from ..core.session import Session
from ..core.step import Done, Nothing, Outcome, Result, Step
from .region_rows import KIND, deletion, insertion

_QUIET = JobContext()


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


def find(
    session: Session, micrographs: Sequence[Micrograph], *, bright: bool = False, context: JobContext = _QUIET
) -> Detected:
    """Look for carbon, ice and contamination; a micrograph that cannot be read is reported and skipped.

    Raises
    ------
    Cancelled
    """
    diameter = session.diameter_A if session.settings.diameter_is_set else None
    failed = [(m.name, m.problem) for m in micrographs if m.problem]
    jobs = [
        _Task(str(session.path_of(m).absolute()), m.frame, session.pixel_size_A(m), diameter, bright, m.id, m.name)
        for m in micrographs
        if not m.problem
    ]
    regions: dict[int, tuple[Region, ...]] = {}
    with closing(each(_found_on, jobs, threads=fft_workers(), context=context)) as results:
        for task, outcome in results:
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                failed.append((task.name, str(outcome)))
                context.log(f"{task.name}: {outcome}")
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                regions[task.number] = outcome
    context.progress(len(micrographs), len(micrographs), f"{len(regions)}/{len(micrographs)} micrographs")
    return Detected(
        tuple((task.number, regions[task.number]) for task in jobs if task.number in regions), tuple(failed)
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """One micrograph to look at, in plain values."""

    path: str
    frame: int
    pixel_size_A: float
    diameter_A: float | None
    bright: bool
    number: int
    name: str


def _found_on(task: _Task, *, context: JobContext) -> tuple[Region, ...]:
    image = images.read(Path(task.path), task.frame, check=context.check)
    return tuple(
        find_regions(
            image, pixel_size_A=task.pixel_size_A, diameter_A=task.diameter_A, bright=task.bright, context=context
        )
    )


def enter_found(session: Session, detected: Detected, then: Callable[[str], object] = lambda line: None) -> Outcome:
    """Enter what was found as one step; where that is on several micrographs, in the background where there is one.

    Regions that were found earlier on these micrographs are replaced. What lies on a region that a person drew, changed
    or dismissed is left out.

    Parameters
    ----------
    then : callable
        Gets the line for the status bar when it is entered.
    """

    def build() -> Change | None:
        deltas = found_deltas(session, detected.regions)
        touched = [number for number, some in detected.regions if some]
        n = sum(len(d) for d in deltas if d.kind is Kind.INSERT)
        only_micrograph = detected.regions[0][0] if len(detected.regions) == 1 else None
        where = (
            session.micrograph(only_micrograph).name
            if only_micrograph is not None
            else edits.count_of(len(touched), "micrograph")
        )
        message = Message("mark", edits.count_of(n, "region"), "found", f"on {where}")
        return message.change(KIND, deltas, only_micrograph) if deltas else None

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
    n_detected = sum(len(some) for _, some in detected.regions)
    looked = edits.count_of(len(detected.regions), "micrograph")
    line = f"{edits.count_of(n, 'new region')} on {looked}" if n else f"nothing new on {looked}"
    if changed:
        line += " · {undo} undoes"
    elif n_detected:
        line += ": what was found is marked already, or a person deleted it"
    if detected.failed:
        name, why = detected.failed[0]
        line += f" · {edits.count_of(len(detected.failed), 'micrograph')} could not be read ({name}: {why})"
    return line


def found_deltas(session: Session, detected: Sequence[tuple[int, Sequence[Region]]]) -> list[Delta]:
    """What entering found regions changes: old found ones out, new ones in; nothing of a person's."""
    new: list[Region] = []
    old: list[Region] = []
    # one question for many micrographs, not many
    every: dict[int, list[Region]] = {number: [] for number, _ in detected}
    for region in session.store.regions(detected[0][0] if len(detected) == 1 else None):
        every.setdefault(region.micrograph, []).append(region)
    for number, regions in detected:
        existing = every[number]
        fresh = {pack_vertices(r.vertices): r for r in not_dealt_with(regions, existing)}
        machine = [(pack_vertices(r.vertices), r) for r in existing if r.origin is Origin.FOUND]
        known = {text for text, _ in machine}
        new += [Region(r.reason, r.vertices, 0, number) for text, r in fresh.items() if text not in known]
        old += [r for text, r in machine if text not in fresh]
    return [*([deletion(old)] if old else []), *([insertion(session, new)] if new else [])]
