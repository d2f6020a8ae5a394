"""What is done with some micrographs of the list at once: their picks cleared, a list of them for RELION."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import Refused
from ...formats import relion_micrographs
from ...formats.relion_micrographs import FILE_NAME, ListedCtf, with_microscope
from ...model.context import JobContext
from ...model.curation import Change, Decision, Delta, Kind, Table
from ...model.file_names import list_name_problem, printable
from ...model.micrograph import Micrograph
from ...model.which import Which
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Outcome, Step
from ..pictures.optics import ctf_of, resolution_of
from .exporting import gather
from .relion_names import RelionNames

_QUIET = JobContext()
_ALL = np.array(sorted(int(d) for d in Decision), np.int8)


@dataclass(frozen=True, slots=True)
class SelectedReport:
    """A list of micrographs that was written.

    Attributes
    ----------
    file : Path
    n_micrographs : int
    notes : tuple of str
        What a person should know of it.
    """

    file: Path
    n_micrographs: int
    notes: tuple[str, ...] = ()


def clear(session: Session, micrographs: Iterable[int], decisions: Iterable[Decision] = tuple(Decision)) -> Outcome:
    """Delete the picks of some micrographs, as one step that can be undone.

    Parameters
    ----------
    micrographs : iterable of int
    decisions : iterable of Decision
        Only picks with one of these; all by default.

    Raises
    ------
    Refused
        No micrograph is named.
    """
    ids, chosen = tuple(dict.fromkeys(micrographs)), tuple(decisions)
    if not ids:
        raise Refused("choose the micrographs to clear first")
    which = Which(micrographs=ids, decisions=chosen)
    where = session.micrograph(ids[0]).name if len(ids) == 1 else edits.count_of(len(ids), "micrograph")
    kind = "" if len(chosen) == len(Decision) else " and ".join(d.name.lower() for d in chosen) + " "

    def build(store: Store, connection: Connection) -> Change | None:
        picks = store.read(connection, which)
        if not len(picks):
            return None
        delta = Delta(Table.PARTICLE, Kind.DELETE, picks.id, picks.columns(), {}, picks.micrograph)
        title = f"clear {edits.count_of(len(picks), f'{kind}pick')} of {where}"
        return Change("clear", title, (delta,), ids[0] if len(ids) == 1 else None)

    at_most = sum(session.micrograph(i).n_of(d) for i in ids for d in chosen)
    return session.commit(Step(build, at_most, f"clearing {where}", f"there are no {kind}picks to clear"))


def export_selected(
    session: Session,
    micrographs: Sequence[int],
    out: Path,
    *,
    relion_root: Path | None = None,
    context: JobContext = _QUIET,
) -> SelectedReport:
    """Write some micrographs as RELION's ``micrographs_selected.star``, with their optics groups and CTF.

    Parameters
    ----------
    micrographs : sequence of int
        In the order in which they are written.
    out : Path
        The file, or a folder for it.
    relion_root : Path, optional
        RELION's project folder, which names are relative to; None = as for an export of picks.

    Raises
    ------
    Refused
        No micrograph is named.
    FormatError
        Only some have a pixel size, or the disk refuses.
    """
    chosen = [session.micrograph(i) for i in dict.fromkeys(micrographs)]
    if not chosen:
        raise Refused("there is no micrograph to write: choose some first")
    names = RelionNames(session, relion_root)
    picks, ctfs = [], []
    for i, micrograph in enumerate(chosen):
        context.progress(i, len(chosen), micrograph.name)
        here = gather(session, micrograph, _ALL)
        known = ctf_of(micrograph)
        if known is not None:
            optics = known.optics
            here = with_microscope(here, optics.voltage_kV, optics.cs_mm, optics.amplitude_contrast)
        picks.append(replace(here, name_there=names.name_of(micrograph)))
        ctfs.append(_listed(micrograph))
    path = out if out.suffix.lower() == ".star" else out / FILE_NAME
    problems = [list_name_problem(pick.written_name) for pick in picks]
    if all(problems):
        raise Refused(f"none of them can stand in a STAR file; {printable(chosen[0].name)}: {problems[0]}")
    picks = [one for one, bad in zip(picks, problems, strict=True) if not bad]
    ctfs = [one for one, bad in zip(ctfs, problems, strict=True) if not bad]
    notes = relion_micrographs.write_micrographs(path, picks, ctfs)
    notes += [f"left out: {printable(m.name)}: {bad}" for m, bad in zip(chosen, problems, strict=True) if bad]
    unusable = [m for m in chosen if m.problem]
    if unusable:
        notes.append(f"{edits.count_of(len(unusable), 'listed micrograph')} cannot be used: {unusable[0].problem}")
    return SelectedReport(path, len(picks), tuple(notes))


def _listed(micrograph: Micrograph) -> ListedCtf | None:
    ctf = ctf_of(micrograph)
    if ctf is None:
        return None
    d = ctf.defocus
    return ListedCtf(d.u_A, d.v_A, d.angle_deg, ctf.optics.phase_shift_deg, resolution_of(micrograph))
