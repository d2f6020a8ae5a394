"""What a picker proposes, entered as undecided candidates. Nothing a person decided is touched."""

from __future__ import annotations

import datetime
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import AnnotatorError, Cancelled
from ..imaging.ctf import Ctf, Defocus, Optics
from ..imaging.filters import fft_workers
from ..jobs.cluster import each
from ..model.candidates import Candidates
from ..model.context import JobContext
from ..model.curation import Change, Decision, Delta, Kind, Reason, Table
from ..model.micrograph import Micrograph
from ..model.particles import Particles
from ..model.region import Region
from ..picking.regions import told
from . import edits, regions
from .defocus import defocus_of
from .one_pick import OnePick, Picked, named_picker, pick_micrograph
from .optics import ctf_of
from .polarity import is_bright
from .session import Session
from .templates import take_ctf
from .whole_boxes import whole_box_px

log = logging.getLogger(__name__)

_QUIET = JobContext()


@dataclass(frozen=True, eq=False)
class Proposal:
    """Candidates of some micrographs, not yet in the project.

    Attributes
    ----------
    picker : str
    diameter_A : float
    parameters : mapping
    found : tuple of (micrograph id, Candidates)
    failed : tuple of (micrograph name, why)
    """

    picker: str
    diameter_A: float
    parameters: Mapping[str, Any]
    found: tuple[tuple[int, Candidates], ...]
    failed: tuple[tuple[str, str], ...] = ()
    #: Carbon and ice that were found on the way, by micrograph id; entered too.
    regions: tuple[tuple[int, tuple[Region, ...]], ...] = ()
    #: Candidates left out because of where they lie.
    left_out: Mapping[Reason, int] = field(default_factory=dict)
    #: Whether such were left out at all.
    avoid: bool = True


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
    """Run a picker on micrographs, on all cores; one that cannot be read or fails is told and passed over.

    Parameters
    ----------
    parameters : mapping
        The picker's own. ``template`` is told the CTF of each micrograph where it is known, not given, and the
        templates are free of it.
    avoid : bool
        Leave out candidates in drawn regions, on carbon and ice (found on the way) and on the padding border.
    scheduler : str, optional
        Of a Dask cluster whose workers see the same files.

    Raises
    ------
    EngineError
        There is no such picker.
    Cancelled
    """
    named_picker(picker)
    given = dict(parameters or {})
    bright = is_bright(session)
    if bright and picker != "learned":  # its model knows
        given.setdefault("polarity", "bright")
    told_ctf = picker == "template" and "ctf" not in given and take_ctf(given.get("templates"))
    jobs: list[OnePick] = []
    failed = [(m.name, m.problem) for m in micrographs if m.problem]
    for m in micrographs:
        if m.problem:
            continue
        own = given
        if told_ctf and (ctf := _known_ctf(session, m)) is not None:
            own = {**given, "ctf": ctf}
        jobs.append(
            OnePick(
                str(session.path_of(m).absolute()),
                picker,
                session.pixel_size_A(m),
                session.diameter_A,
                own,
                m.frame,
                avoid=avoid,
                whole_box_px=whole_box_px(session),
                regions=tuple(session.store.regions(m.id)) if avoid else (),
                number=m.id,
                name=m.name,
                bright=bright,
            )
        )
    got: dict[int, Picked] = {}
    with closing(each(pick_micrograph, jobs, threads=fft_workers(), scheduler=scheduler, context=context)) as results:
        for one, outcome in results:
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                failed.append((one.name, str(outcome)))
            elif isinstance(outcome, BaseException):  # a plugin's mistake costs its micrograph, not the others
                log.error("picking %s failed", one.name, exc_info=outcome)
                failed.append((one.name, f"{type(outcome).__name__}: {outcome}"))
            else:
                got[one.number] = outcome
                continue
            context.log(": ".join(failed[-1]))
    context.progress(len(micrographs), max(1, len(micrographs)), f"{len(got)}/{len(micrographs)} micrographs")
    order = [one.number for one in jobs if one.number in got]
    left_out: Counter[Reason] = Counter()
    for number in order:
        left_out.update(got[number].left_out)
    return Proposal(
        picker, session.diameter_A, given, tuple((n, got[n].candidates) for n in order), tuple(failed),
        tuple((n, got[n].regions) for n in order) if avoid else (), left_out, avoid,
    )  # fmt: skip


def _known_ctf(session: Session, micrograph: Micrograph) -> Ctf | None:
    """What was said of the micrograph, else of its picks."""
    if (ctf := ctf_of(micrograph)) is not None:
        return ctf
    told = defocus_of(session, micrograph)
    if not math.isfinite(told.mean_A):
        return None
    return Ctf(Defocus(told.mean_A, told.mean_A, 0.0), told.optics or Optics())


def enter(session: Session, proposal: Proposal) -> str:
    """Enter a proposal as one step. Returns the line for the status bar.

    Candidates closer than half a diameter to a pick that is there already are left out: a person's, an import's, a
    rejected one's too. Undecided candidates of earlier proposals on these micrographs make room.
    """
    counted = {"new": 0, "old": 0}

    def build() -> Change | None:
        mine = [i for i, told in session.pick_sets.items() if told["kind"] == "picker"]
        inserts: list[dict[str, NDArray[Any]]] = []
        deletes: list[Particles] = []
        for number, candidates in proposal.found:
            here = session.store.particles(number)
            stale = np.isin(here.pick_set, mine) & (here.decision == Decision.UNDECIDED)
            if stale.any():
                deletes.append(here.take(stale))
            limit = 0.5 * proposal.diameter_A / session.pixel_size_A(session.micrograph(number))
            new = candidates.take(_free(candidates, here.take(~stale), limit))
            if len(new):
                inserts.append(_columns(number, new))
        counted["new"] = sum(len(c["x"]) for c in inserts)
        counted["old"] = sum(map(len, deletes))
        areas = regions.found_deltas(session, proposal.regions) if proposal.regions else []
        if not inserts and not deletes and not areas:
            return None
        return _change(session, proposal, inserts, deletes, areas)

    session.insert_built(build)
    n, where = edits.count_of(counted["new"], "candidate"), edits.count_of(len(proposal.found), "micrograph")
    words = [f"{proposal.picker} proposes {n} on {where}"]
    if said := told(proposal.left_out):
        words.append(said)
    if counted["old"]:
        words.append(f"{edits.count_of(counted['old'])} of earlier proposals made room")
    if proposal.failed:
        words.append(f"{len(proposal.failed)} failed ({proposal.failed[0][0]}: {proposal.failed[0][1]})")
    return " · ".join(words)


def last_left_out(session: Session) -> str:
    """What the newest proposal that is there left out because of where it lay; empty where nothing was."""
    mine = [i for i, told in session.pick_sets.items() if told["kind"] == "picker"]
    if not mine:
        return ""
    parameters = session.pick_sets[max(mine)].get("parameters") or {}
    parameters = json.loads(parameters) if isinstance(parameters, str) else parameters
    by_label = {reason.label: reason for reason in Reason}
    counts = {by_label[name]: int(n) for name, n in parameters.get("left_out", {}).items() if name in by_label}
    said = told(counts)
    return said if parameters.get("avoid", True) else "nothing was left out: candidates on carbon and ice came too"


def _free(candidates: Candidates, there: Particles, limit: float) -> NDArray[np.bool_]:
    """(n,) mask of candidates that lie on no pick."""
    if not len(there) or not len(candidates):
        return np.ones(len(candidates), bool)
    distance, _ = cKDTree(np.column_stack([there.x, there.y])).query(np.column_stack([candidates.x, candidates.y]))
    return np.asarray(distance >= limit)


def _columns(micrograph: int, new: Candidates) -> dict[str, NDArray[Any]]:
    n = len(new)
    return {
        "micrograph": np.full(n, micrograph, np.int64),
        "x": np.asarray(new.x, np.float64),
        "y": np.asarray(new.y, np.float64),
        "score": np.asarray(new.score, np.float64),
        "decision": np.zeros(n, np.int8),
        "reason": np.zeros(n, np.int8),
        "class_id": np.zeros(n, np.int32),
    }


def _change(
    session: Session,
    proposal: Proposal,
    inserts: Sequence[Mapping[str, NDArray[Any]]],
    deletes: Sequence[Particles],
    areas: Sequence[Delta],
) -> Change:
    deltas: list[Delta] = [*areas]
    deltas += [Delta(Table.PARTICLE, Kind.DELETE, old.id, old.columns(), {}, old.micrograph) for old in deletes]
    n = sum(len(columns["x"]) for columns in inserts)
    if n:
        joined = {name: np.concatenate([columns[name] for columns in inserts]) for name in inserts[0]}
        joined["pick_set"] = np.array([-1], np.int64)
        joined["diameter_A"] = np.array([np.nan])
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        given = json.loads(json.dumps(dict(proposal.parameters), default=str))
        told = {"picker": proposal.picker, "diameter_A": proposal.diameter_A, **given, "avoid": proposal.avoid}
        told["left_out"] = {reason.label: k for reason, k in proposal.left_out.items()}
        name = f"{proposal.picker}, {proposal.diameter_A:.0f} A"
        deltas += [
            edits.new_pick_set("picker", name, session.curator, parameters=told, created=now),
            edits.insert_particles(joined, n),
        ]
    one = proposal.found[0][0] if len(proposal.found) == 1 else None
    where = session.micrograph(one).name if one is not None else edits.count_of(len(proposal.found), "micrograph")
    title = f"propose {edits.count_of(n, 'candidate')} on {where} ({proposal.picker})"
    return Change("propose", title, tuple(deltas), one)
