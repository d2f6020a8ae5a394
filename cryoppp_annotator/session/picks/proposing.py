"""What a picker proposes, entered as undecided candidates. Nothing a person decided is touched."""

from __future__ import annotations

import datetime
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ... import extensions
from ...errors import AnnotatorError, Cancelled
from ...formats.image import images
from ...imaging.ctf import Ctf, Defocus, Optics
from ...imaging.filters import fft_workers
from ...jobs.each import each
from ...model.candidates import Candidates
from ...model.context import JobContext
from ...model.coordinates import angstrom_to_px
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.micrograph import Micrograph
from ...model.parameter import Need
from ...model.particles import Particles
from ...model.region import Region
from ...model.which import Which
from ...picking.leaving_out import describe_left_out
from ...store.store import Connection, Store
from .. import regions
from ..classes.templates import take_ctf
from ..core import edits, watch
from ..core.session import Session
from ..core.step import Done, Outcome, Result, Step
from ..pictures.defocus import defocus_of
from ..pictures.optics import ctf_of
from .one_micrograph import OnePick, Picked, named_picker, pick_micrograph
from .proposed_before import ProposalCache

log = logging.getLogger(__name__)

_QUIET = JobContext()
#: A candidate so near to an earlier one, diameters, is the same.
_SAME = 0.1


@dataclass(frozen=True, eq=False)
class Proposal:
    """Candidates of some micrographs, not yet in the project.

    Attributes
    ----------
    picker : str
    diameter_A : float
    parameters : mapping
    candidates : tuple of (micrograph id, Candidates)
    failed : tuple of (micrograph name, why)
    """

    picker: str
    diameter_A: float
    parameters: Mapping[str, Any]
    candidates: tuple[tuple[int, Candidates], ...]
    failed: tuple[tuple[str, str], ...] = ()
    #: Carbon and ice that were found on the way, by micrograph id; entered too.
    regions: tuple[tuple[int, tuple[Region, ...]], ...] = ()
    #: Candidates left out because of where they lie.
    left_out: Mapping[Reason, int] = field(default_factory=dict)
    #: Whether such were left out at all.
    avoid: bool = True
    #: How many an earlier start had done ("200 of 300 were done before"); empty where none.
    before: str = ""
    #: Why nothing was found anywhere, where that can be said; empty otherwise.
    why_none: str = ""
    #: The kind of particle that was looked for; 0 = the project's one.
    species: int = 0
    #: What has become of the micrographs' files; taken note of when it is entered.
    news: watch.FileNews = field(default_factory=watch.FileNews)


def propose(
    session: Session,
    picker: str,
    micrographs: Sequence[Micrograph],
    *,
    parameters: Mapping[str, Any] | None = None,
    avoid: bool = True,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> Proposal:
    """Run a picker on micrographs, on all cores; one that cannot be read or fails is reported and skipped.

    What is found on a micrograph is kept in the project's cache as it comes, also of a proposal that is cancelled, or
    whose process dies: another one goes on there, where nothing that the picks depend on has changed.

    Parameters
    ----------
    parameters : mapping
        The picker's own. ``template`` gets the CTF of each micrograph where it is known, not given, and the
        templates are free of it.
    avoid : bool
        Leave out candidates in drawn regions, on carbon and ice (found on the way) and on the padding border.
    scheduler : str, optional
        Of a Dask cluster whose workers see the same files.

    Raises
    ------
    EngineError
        There is no such picker, or no such cluster, or the connection to it was lost.
    Cancelled
    """
    named_picker(picker)
    diameter_A, species = session.loaded.new_diameter_A, session.loaded.current_species
    given = dict(parameters or {})
    if session.settings.bright and Need.POLARITY in extensions.needs_of(picker):
        given.setdefault("polarity", "bright")
    micrographs, file_changes = watch.up_to_date(session, micrographs, context=context)
    failed = [(m.name, m.problem) for m in micrographs if m.problem]
    cache = ProposalCache(session.store, picker, given, context)
    jobs: list[OnePick] = []
    picked: dict[int, Picked] = {}
    keys: dict[int, str | None] = {}
    for job in _jobs(session, picker, micrographs, given, diameter_A, avoid):
        context.progress(len(jobs), len(micrographs), f"looking at {job.name}")
        jobs.append(job)
        keys[job.number] = cache.key(job)
        if (known := cache.get(job.number, keys[job.number])) is not None:
            picked[job.number] = known
    before = ""
    if picked:
        many = len(jobs) > 1
        before = (
            f"{len(picked):,} of {len(jobs):,} were done before" if many else "as before: nothing has changed since"
        )
    if before:
        context.log(before)
    try:
        rest = [job for job in jobs if job.number not in picked]
        with closing(_picked(rest, before, scheduler, context)) as results:
            for job, outcome in results:
                if isinstance(outcome, Picked):
                    picked[job.number] = outcome
                    cache.put(job.number, keys[job.number], outcome)
                else:
                    failed.append((job.name, outcome))
                    context.log(": ".join(failed[-1]))
    except Cancelled:
        if not cache.problem and picked:
            message = f"{len(picked):,} of {len(jobs):,} are kept: the next start continues there"
            context.on_progress(len(picked), len(jobs), message)
        raise
    words = [f"{len(picked):,}/{len(micrographs):,} micrographs", before]
    context.progress(len(micrographs), max(1, len(micrographs)), " · ".join(word for word in words if word))
    order = [job.number for job in jobs if job.number in picked]
    left_out: Counter[Reason] = Counter()
    for number in order:
        left_out.update(picked[number].left_out)
    return Proposal(
        picker,
        diameter_A,
        given,
        tuple((n, picked[n].candidates) for n in order),
        tuple(failed),
        tuple((n, picked[n].regions) for n in order) if avoid else (),
        left_out,
        avoid,
        before,
        _why_none([job for job in jobs if job.number in picked], picked),
        species,
        file_changes,
    )


def _why_none(jobs: Sequence[OnePick], picked: Mapping[int, Picked]) -> str:
    """Why nothing was found on any of these; empty where something was, or lay where it is left out."""
    if not jobs or any(len(picked[job.number].candidates) or picked[job.number].left_out for job in jobs):
        return ""
    reason = f"nothing that looks like a particle of {jobs[0].diameter_A:.0f} Å"
    if len(jobs) > 1:
        return reason
    try:
        image = images.read(jobs[0].path, jobs[0].frame)
    except AnnotatorError:  # it was read a moment ago
        return reason
    finite = image[np.isfinite(image)]
    if not finite.size:
        return f"{reason}; the micrograph has no finite pixel"
    if finite.min() == finite.max():
        return f"{reason}; the micrograph is flat"
    if min(image.shape) * jobs[0].pixel_size_A < jobs[0].diameter_A:
        return f"{reason}; the micrograph is smaller than that"
    return reason


def _jobs(
    session: Session,
    picker: str,
    micrographs: Sequence[Micrograph],
    given: Mapping[str, Any],
    diameter_A: float,
    avoid: bool,
) -> Iterator[OnePick]:
    """One of every micrograph that can be read."""
    told_ctf = Need.CTF in extensions.needs_of(picker) and "ctf" not in given and take_ctf(given.get("templates"))
    bright, box_px = session.settings.bright, session.settings.whole_box_px
    for m in micrographs:
        if m.problem:
            continue
        own = given
        if told_ctf and (ctf := _known_ctf(session, m)) is not None:
            own = {**given, "ctf": ctf}
        yield OnePick(
            str(session.path_of(m).absolute()),
            picker,
            session.pixel_size_A(m),
            diameter_A,
            own,
            m.frame,
            avoid=avoid,
            whole_box_px=box_px,
            regions=tuple(session.store.regions(m.id)) if avoid else (),
            number=m.id,
            name=m.name,
            bright=bright,
        )


def _picked(
    jobs: Sequence[OnePick], before: str, scheduler: str | None, context: JobContext
) -> Generator[tuple[OnePick, Picked | str], None, None]:
    """What is found, or why nothing is, as each micrograph is over. The progress is that of these, not of ``before``.

    Raises
    ------
    EngineError
        There is no such cluster, or it was lost.
    Cancelled
    """

    def report(done: float, total: float, message: str) -> None:
        context.on_progress(done, total, f"{message} · {before}" if before else message)

    inner = replace(context, on_progress=report)
    with closing(each(pick_micrograph, jobs, threads=fft_workers(), scheduler=scheduler, context=inner)) as results:
        for job, outcome in results:
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                yield job, str(outcome)
            elif isinstance(outcome, BaseException):  # a plugin's mistake costs its micrograph, not the others
                log.error("picking %s failed", job.name, exc_info=outcome)
                yield job, f"{type(outcome).__name__}: {outcome}"
            else:
                yield job, outcome


def _known_ctf(session: Session, micrograph: Micrograph) -> Ctf | None:
    """What was said of the micrograph, else of its picks."""
    if (ctf := ctf_of(micrograph)) is not None:
        return ctf
    defocus = defocus_of(session, micrograph)
    if not math.isfinite(defocus.mean_A):
        return None
    return Ctf(Defocus(defocus.mean_A, defocus.mean_A, 0.0), defocus.optics or Optics())


def enter(session: Session, proposal: Proposal, then: Callable[[str], object] = lambda line: None) -> Outcome:
    """Enter a proposal as one step; ``then`` gets the line for the status bar when it is entered.

    Candidates closer than half a diameter to a pick that is there already are left out: a person's, an import's, a
    rejected one's too. Undecided candidates of earlier proposals on these micrographs are replaced; one that is
    proposed again stays the pick it is (selected, too), and has the new score.
    """
    watch.note(session, proposal.news)

    def build(store: Store, connection: Connection) -> Change | None:
        merged = _merged(session, proposal, partial(store.read, connection))
        areas = regions.found_deltas(session, proposal.regions) if proposal.regions else []
        same = _as_before(session, proposal.picker, merged.updates)
        return None if merged.only_updates and not areas and same else _change(session, proposal, merged, areas)

    n_undecided = sum(session.micrograph(number).n_undecided for number, _ in proposal.candidates)
    coming = sum(len(candidates) for _, candidates in proposal.candidates)
    step = Step(
        build,
        n_undecided + coming,
        f"Saving {edits.count_of(coming, 'candidate')}",
        f"The {proposal.picker} picker found no new candidates",
    )

    def over(result: Result) -> None:
        if isinstance(result, Done):
            then(_entered(proposal, result))
        elif result.why == step.nothing:  # not one that could not be written
            n_new = _merged(session, proposal, session.store.particles_where).n_new
            line = _proposed(proposal, n_new, 0)
            then(line if proposal.why_none else f"{line} · all as before")

    return session.commit(step, over)


@dataclass(frozen=True, eq=False)
class _Merged:
    """Candidates beside the picks that are there.

    Attributes
    ----------
    inserts : tuple of mapping
        Columns of new candidates, of one micrograph each.
    deletes : tuple of Particles
        Earlier candidates that are not proposed any more.
    updates : tuple of Delta
        Earlier candidates that are proposed again.
    """

    inserts: tuple[Mapping[str, NDArray[Any]], ...]
    deletes: tuple[Particles, ...]
    updates: tuple[Delta, ...]

    @property
    def only_updates(self) -> bool:
        """Whether no candidate comes or goes."""
        return not self.inserts and not self.deletes

    @property
    def n_new(self) -> int:
        """Candidates of this proposal that are in the project when it is entered."""
        return sum(len(columns["x"]) for columns in self.inserts) + sum(map(len, self.updates))


def _merged(session: Session, proposal: Proposal, read: Callable[[Which], Particles]) -> _Merged:
    mine = [i for i, pick_set in session.pick_sets.items() if pick_set.proposed]
    kind = proposal.species if proposal.species in session.species else 0  # it was removed meanwhile
    inserts: list[Mapping[str, NDArray[Any]]] = []
    deletes: list[Particles] = []
    updates: list[Delta] = []
    for number, candidates in proposal.candidates:
        here = read(Which(micrographs=(number,)))
        candidate = np.isin(here.pick_set, mine) & (here.decision == Decision.UNDECIDED)
        earlier = here.take(candidate & (here.species == kind))  # those of other kinds stay, and are in nobody's way
        whole = angstrom_to_px(proposal.diameter_A, session.pixel_size_A(session.micrograph(number)))
        new = candidates.take(_free(candidates, here.take(~candidate), 0.5 * whole))
        row, repeated = _again(new, earlier, _SAME * whole)
        if len(row):
            updates.append(_scored_anew(earlier.take(repeated), new.score[row]))
        gone = np.ones(len(earlier), bool)
        gone[repeated] = False
        if gone.any():
            deletes.append(earlier.take(gone))
        fresh = np.ones(len(new), bool)
        fresh[row] = False
        if fresh.any():
            inserts.append(_columns(number, new.take(fresh), kind))
    return _Merged(tuple(inserts), tuple(deletes), tuple(updates))


def _as_before(session: Session, picker: str, updates: Sequence[Delta]) -> bool:
    """Whether candidates that are proposed again would get the scores they have, of the same picker."""
    sets = {int(number) for delta in updates for number in np.unique(delta.before["pick_set"])}
    return all(session.pick_sets[number].picker == picker for number in sets) and all(
        np.array_equal(delta.before["score"], delta.after["score"], equal_nan=True) for delta in updates
    )


def _entered(proposal: Proposal, done: Done) -> str:
    """What was entered, for the status bar."""
    picks = [delta for delta in done.committed.change.deltas if delta.table is Table.PARTICLE]
    old = sum(len(delta) for delta in picks if delta.kind is Kind.DELETE)
    return _proposed(proposal, sum(map(len, picks)) - old, old)


def _proposed(proposal: Proposal, new: int, old: int) -> str:
    n, where = edits.count_of(new, "candidate"), edits.count_of(len(proposal.candidates), "micrograph")
    words = [f"{_title(proposal.picker)} proposes {n} on {where}"]
    if not new and proposal.why_none:
        words = [f"{_title(proposal.picker)}: {proposal.why_none}"]
    if proposal.before and len(proposal.candidates) > 1:
        words.append(proposal.before)
    if left_out := describe_left_out(proposal.left_out):
        words.append(left_out)
    if old:
        words.append(f"{edits.count_of(old, 'earlier proposal')} replaced")
    if proposal.failed:
        words.append(f"{len(proposal.failed)} failed ({proposal.failed[0][0]}: {proposal.failed[0][1]})")
    return " · ".join(words)


def _title(picker: str) -> str:
    known = extensions.pickers()  # what it proposed stays when its plugin is gone
    return known[picker].title if picker in known else picker


def why_failed(proposal: Proposal) -> str:
    """Why a proposal failed on every micrograph, the reason first."""
    (name, why), n = proposal.failed[0], len(proposal.failed)
    where = name if n == 1 else f"all {n:,} micrographs, {name} first"
    return f"{why} · failed on {where}"


def last_left_out(session: Session) -> str:
    """What the newest proposal that is there left out because of where it lay; empty where nothing was."""
    mine = [i for i, pick_set in session.pick_sets.items() if pick_set.proposed]
    if not mine:
        return ""
    parameters = session.pick_sets[max(mine)].parameters
    by_label = {reason.label: reason for reason in Reason}
    counts = {by_label[name]: int(n) for name, n in parameters.get("left_out", {}).items() if name in by_label}
    words = [describe_left_out(counts)]
    if not parameters.get("avoid", True):
        words.append("candidates on carbon and ice came too")
    return " · ".join(word for word in words if word)


def _free(candidates: Candidates, particles: Particles, limit: float) -> NDArray[np.bool_]:
    """(n,) mask of candidates that lie on no pick."""
    if not len(particles) or not len(candidates):
        return np.ones(len(candidates), bool)
    distance, _ = cKDTree(np.column_stack([particles.x, particles.y])).query(
        np.column_stack([candidates.x, candidates.y])
    )
    return np.asarray(distance >= limit)


def _again(new: Candidates, earlier: Particles, limit: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which new candidates are which of the earlier ones, pairs of rows."""
    if not len(new) or not len(earlier):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    near = cKDTree(np.column_stack([earlier.x, earlier.y])).query(np.column_stack([new.x, new.y]))
    distance, which = np.asarray(near[0]), np.asarray(near[1], np.intp)
    row = np.flatnonzero(distance <= limit)
    _, first = np.unique(which[row], return_index=True)
    return row[first], which[row][first]


def _scored_anew(earlier: Particles, score: NDArray[Any]) -> Delta:
    """Candidates that stay, in the pick set that is to come (-1)."""
    before = {"pick_set": earlier.pick_set, "score": earlier.score}
    after = {"pick_set": np.full(len(earlier), -1, np.int64), "score": np.asarray(score, np.float64)}
    return Delta(Table.PARTICLE, Kind.UPDATE, earlier.id, before, after, earlier.micrograph)


def _columns(micrograph: int, new: Candidates, species: int) -> dict[str, NDArray[Any]]:
    n = len(new)
    return {
        "micrograph": np.full(n, micrograph, np.int64),
        "x": np.asarray(new.x, np.float64),
        "y": np.asarray(new.y, np.float64),
        "score": np.asarray(new.score, np.float64),
        "decision": np.zeros(n, np.int8),
        "reason": np.zeros(n, np.int8),
        "class_id": np.zeros(n, np.int32),
        "species": np.full(n, species, np.int32),
    }


def _change(session: Session, proposal: Proposal, merged: _Merged, areas: Sequence[Delta]) -> Change:
    deltas: list[Delta] = [*areas]
    deltas += [Delta(Table.PARTICLE, Kind.DELETE, old.id, old.columns(), {}, old.micrograph) for old in merged.deletes]
    n, inserts = merged.n_new, merged.inserts
    n_new = sum(len(columns["x"]) for columns in inserts)
    if n:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        given = json.loads(json.dumps(dict(proposal.parameters), default=str))
        stored = {"picker": proposal.picker, "diameter_A": proposal.diameter_A, **given, "avoid": proposal.avoid}
        kind = session.species.get(proposal.species)
        stored |= {} if kind is None else {"species": kind.id}
        stored["left_out"] = {reason.label: k for reason, k in proposal.left_out.items()}
        of = "" if kind is None else f"{kind.name}, "
        name = f"{proposal.picker}, {of}{proposal.diameter_A:.0f} Å"
        deltas += [
            edits.new_pick_set("picker", name, session.curator, parameters=stored, created=now),
            *merged.updates,
        ]
        if inserts:
            joined = {name: np.concatenate([columns[name] for columns in inserts]) for name in inserts[0]}
            joined["pick_set"] = np.array([-1], np.int64)
            joined["diameter_A"] = np.array([np.nan])
            deltas.append(edits.insert_particles(joined, n_new))
    only_micrograph = proposal.candidates[0][0] if len(proposal.candidates) == 1 else None
    where = (
        session.micrograph(only_micrograph).name
        if only_micrograph is not None
        else edits.count_of(len(proposal.candidates), "micrograph")
    )
    title = f"propose {edits.count_of(n, 'candidate')} on {where} ({proposal.picker})"
    return Change("propose", title, tuple(deltas), only_micrograph)
