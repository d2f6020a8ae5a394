"""What a picker proposes, entered as undecided candidates. Nothing a person decided is touched."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import AnnotatorError, EngineError
from ..extensions import pickers
from ..formats import images
from ..model.candidates import Candidates
from ..model.context import JobContext
from ..model.curation import Change, Decision, Delta, Kind, Reason, Table
from ..model.micrograph import Micrograph
from ..model.particles import Particles
from ..model.region import Region
from ..picking.regions import told
from . import edits, regions
from .session import Session

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


def propose(
    session: Session,
    picker: str,
    micrographs: Sequence[Micrograph],
    *,
    parameters: Mapping[str, Any] | None = None,
    avoid: bool = True,
    context: JobContext = _QUIET,
) -> Proposal:
    """Run a picker on micrographs; one that cannot be read or fails is told and passed over.

    Parameters
    ----------
    avoid : bool
        Leave out candidates in drawn regions, on carbon and ice (found on the way) and on the padding border.

    Raises
    ------
    EngineError
        There is no such picker.
    Cancelled
    """
    known = pickers()
    if picker not in known:
        raise EngineError(f"there is no picker {picker!r}; installed are {', '.join(known) or 'none'}")
    given = dict(parameters or {})
    found: list[tuple[int, Candidates]] = []
    failed: list[tuple[str, str]] = []
    areas: list[tuple[int, tuple[Region, ...]]] = []
    left_out: Counter[Reason] = Counter()
    inner = JobContext(is_cancelled=context.is_cancelled, on_log=context.on_log, seed=context.seed)
    for i, micrograph in enumerate(micrographs):
        context.progress(i, len(micrographs), f"{i}/{len(micrographs)}")
        if micrograph.problem:
            failed.append((micrograph.name, micrograph.problem))
            continue
        try:
            image = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
            candidates = known[picker].propose(
                image,
                pixel_size_A=session.pixel_size_A(micrograph),
                diameter_A=session.diameter_A,
                parameters=given,
                context=inner,
            )
            screened = regions.screen(
                session, micrograph, image, candidates, bright=given.get("polarity") == "bright", avoid=avoid,
                context=context,
            )  # fmt: skip
            candidates = screened.excluded.kept
        except (EngineError, AnnotatorError) as error:
            context.check()
            failed.append((micrograph.name, str(error)))
            context.log(f"{micrograph.name}: {error}")
            continue
        found.append((micrograph.id, candidates))
        areas.append((micrograph.id, screened.found))
        left_out.update(screened.excluded.counts)
    context.progress(len(micrographs), len(micrographs), f"{len(found)}/{len(micrographs)}")
    return Proposal(picker, session.diameter_A, given, tuple(found), tuple(failed), tuple(areas), left_out)


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
        areas = regions.found_deltas(session, proposal.regions)
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
        told = {"picker": proposal.picker, "diameter_A": proposal.diameter_A, **proposal.parameters}
        name = f"{proposal.picker}, {proposal.diameter_A:.0f} A"
        deltas += [
            edits.new_pick_set("picker", name, session.curator, parameters=told, created=now),
            edits.insert_particles(joined, n),
        ]
    one = proposal.found[0][0] if len(proposal.found) == 1 else None
    where = session.micrograph(one).name if one is not None else edits.count_of(len(proposal.found), "micrograph")
    title = f"propose {edits.count_of(n, 'candidate')} on {where} ({proposal.picker})"
    return Change("propose", title, tuple(deltas), one)
