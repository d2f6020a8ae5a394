"""A project out into coordinate files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, Refused
from ...extensions import formats
from ...formats import relion_project
from ...formats.image import images
from ...formats.image.pictures import to_8bit
from ...formats.relion_optics import rows_of_groups
from ...formats.writing import write_picks
from ...model.context import JobContext
from ...model.coordinates import Orientation, SourceFrame, angstrom_to_px
from ...model.curation import Decision
from ...model.file_names import file_name_problem
from ...model.micrograph import FINISHED_STATES, Micrograph
from ...model.particles import Particles
from ...model.pickfile import CoordinateFormat, MicrographPicks, WriteOptions
from ...model.which import Hidden, Which
from ..core import edits, watch
from ..core.session import Session
from ..pictures.optics import relion_of
from . import written
from .exportable import is_hidden, left_out, notes_on
from .pick_origins import curation_of, last_decisions
from .region_outlines import refuse_foreign, regions_by_micrograph, write_outlines
from .relion_names import RelionNames

_QUIET = JobContext()
#: What a person says who wants each species in a folder of its own.
EACH_SPECIES = "each"

#: Decisions that may be exported, by the word a person uses.
DECISIONS = {
    "accepted": frozenset({Decision.ACCEPTED}),
    "undecided": frozenset({Decision.UNDECIDED}),
    "rejected": frozenset({Decision.REJECTED}),
    "accepted+undecided": frozenset({Decision.ACCEPTED, Decision.UNDECIDED}),
    "accepted+rejected": frozenset({Decision.ACCEPTED, Decision.REJECTED}),
    "all": frozenset(Decision),
}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote."""

    files: tuple[Path, ...]
    n_picks: int
    n_micrographs: int
    notes: tuple[str, ...] = ()


def export(
    session: Session,
    out: Path,
    format: str,
    *,
    decisions: Iterable[Decision] = (Decision.ACCEPTED,),
    orientation: Orientation | None = None,
    scale: float | None = None,
    suffix: str | None = None,
    box_size_px: float | None = None,
    template: Path | None = None,
    hidden: Hidden = (),
    relion_root: Path | None = None,
    micrographs: Collection[int] | None = None,
    species: Collection[int] | None = None,
    overwrite: bool = False,
    context: JobContext = _QUIET,
) -> ExportReport:
    """Write the project's picks as coordinate files of one format.

    Unusable micrographs are left out, and those whose file was replaced since they were picked; one without picks is
    written only where a person has said it is finished, so that *looked at, nothing there* and *not looked at* stay
    apart.

    Parameters
    ----------
    decisions : iterable of Decision
    orientation : Orientation, optional
        How the axes are written; None = as the format declares.
    scale : float, optional
        Micrograph px per px of the file (Topaz's ``-s``); None = as the format declares.
    suffix : str, optional
        Put behind each micrograph's name.
    box_size_px : float, optional
        For formats that write a box.
    template : Path, optional
        For formats that fill a copy of a file (cryoSPARC); None = the file of that format that was imported.
    hidden : Hidden
        Thresholds whose candidates are left out.
    relion_root : Path, optional
        RELION's project folder, which names in RELION's files are relative to; None = as the names came in, else found
        by walking up from the micrographs.
    micrographs : collection of int, optional
        Only these; all by default.
    species : collection of int, optional
        Only picks of these kinds (0 = of none); all by default.
    overwrite : bool
        Whether files may be replaced that no earlier export wrote, or that somebody has edited since.

    A table with everything (``curation``) has the outlines of the regions beside it, as GeoJSON; COCO has them in it.

    Files that an earlier export of the same format wrote into the folder and that this one does not are deleted.

    Raises
    ------
    FormatError
        The format is unknown or cannot be written, a file that is not ours would be replaced
        (:class:`~cryoppp_annotator.formats.atomic.WouldOverwrite`), or the disk refuses.
    Refused
        There is nothing to write.
    """
    target = writable(format)
    chosen = np.array(sorted(int(d) for d in decisions), np.int8)
    picks: list[MicrographPicks] = []
    n_guessed = n_hidden = 0
    names = RelionNames(session, relion_root)
    decided = last_decisions(session) if "curation" in target.carries else None
    outlined = decided is not None and "region" not in target.carries  # in a file of their own
    outlines = {} if outlined else regions_by_micrograph(session)
    meant = [m for m in session.micrographs if micrographs is None or m.id in micrographs]
    up_to_date, _ = watch.up_to_date(session, meant, context=context)
    reading, writing = context.part(0.0, 0.5), context.part(0.5, 1.0)
    for micrograph, stored in _read(session, [m for m in up_to_date if not left_out(m)], reading):
        here, without, below = _gather(session, micrograph, stored, chosen, hidden, decided, species)
        n_hidden += below
        n_guessed += without
        if len(here) or micrograph.state in FINISHED_STATES:
            regions = outlines.get(micrograph.id, ())
            picks.append(replace(here, name_there=names.name_of(micrograph), regions=regions))
    n = sum(len(p) for p in picks)
    if not picks:
        counts = session.counts()
        message = "; ".join([", ".join(f"{number:,} {word}" for word, number in counts.items()), *notes_on(up_to_date)])
        raise Refused(f"nothing to export with this choice; the project has {message}")
    options = WriteOptions(
        _frame(target, orientation, scale),
        suffix,
        box_size_px,
        template=template or imported_file(session, format),
        images=_pictures(session, context),
        relion_root=names.root or relion_project.find_root(out),
    )

    def on_file(k: int) -> None:
        if k % 20 == 1:
            writing.progress(min(k, len(picks)), len(picks), f"writing {min(k, len(picks)):,}/{len(picks):,} files")

    may_replace = written.may_replace(out, overwrite=overwrite)
    folder = out.parent if out.suffix else out
    if outlined:
        refuse_foreign(folder, may_replace)
    files, notes = write_picks(target, out, picks, options, on_file=on_file, may_replace=may_replace)
    if outlined:
        files += write_outlines(session, folder, {pick.micrograph.id for pick in picks})
    notes += notes_on(up_to_date)
    if n_hidden:
        notes.append(f"{edits.count_of(n_hidden, 'candidate')} below the threshold left out")
    if n_guessed and not session.settings.diameter_is_set:
        notes.append(f"the particle's diameter is not set; {session.diameter_A:g} Å was taken for {n_guessed:,}")
    notes += written.tidy(session, out, f"{format} {suffix or ''}", files)
    return ExportReport(tuple(files), n, len(picks), tuple(notes))


def export_each_species(session: Session, out: Path, format: str, **options: Any) -> ExportReport:
    """Write the picks of each species into a folder of its own below ``out``, those of none into ``none``.

    ``options`` are those of :func:`export`. A species without such picks has no folder, and is named in a note.

    Raises
    ------
    FormatError, Refused
        As :func:`export`; the project has no species, or none has picks.
    """
    if not session.species:
        raise Refused("the project has no species; export without --species")
    reports: list[ExportReport] = []
    empty: list[str] = []
    for number, name in ((0, "none"), *((one.id, one.name) for one in session.species.values())):
        if not session.store.count(Which(species=(number,), decisions=tuple(options.get("decisions", Decision)))):
            empty += [name] if number else []
            continue
        if problem := file_name_problem(name):
            raise Refused(f"the species {name!r} cannot be the name of a folder: {problem}; rename it")
        reports.append(export(session, out / name, format, species=(number,), **options))
    if not reports:
        raise Refused("nothing to export with this choice: no species has such picks")
    notes = list(dict.fromkeys(note for report in reports for note in report.notes))
    notes += [f"no such picks are of {', '.join(empty)}"] if empty else []
    return ExportReport(
        tuple(path for report in reports for path in report.files),
        sum(report.n_picks for report in reports),
        max(report.n_micrographs for report in reports),
        tuple(notes),
    )


def writable(name: str) -> CoordinateFormat:
    """The format of that name. Raises FormatError, with those there are, unless it can be written."""
    known = formats()
    if name not in known or not known[name].can_write:
        can = ", ".join(n for n, f in known.items() if f.can_write)
        raise FormatError(f"there is no format {name!r} to write; choose one of {can}")
    return known[name]


def _frame(target: CoordinateFormat, orientation: Orientation | None, scale: float | None) -> SourceFrame | None:
    """The frame to write in; None = as the format declares. Its anchor and first index stay the format's."""
    frame = target.frame
    if orientation is not None:
        frame = replace(frame, orientation=orientation, flips_tiff=False)
    if scale is not None:
        frame = replace(frame, scale=scale)
    return None if frame == target.frame else frame


def imported_file(session: Session, format: str) -> Path | None:
    """The one file of that format that picks were imported from; None where there are none or several."""
    imports = [pick_set.parameters for pick_set in session.pick_sets.values()]
    files = {name for entry in imports if entry.get("format") == format for name in entry.get("files", ())}
    return Path(files.pop()) if len(files) == 1 else None


def _pictures(session: Session, context: JobContext) -> Callable[[Micrograph], NDArray[np.uint8]]:
    """What makes the 8-bit picture that labels go with."""

    def picture(micrograph: Micrograph) -> NDArray[np.uint8]:
        context.check()
        return to_8bit(images.read(session.path_of(micrograph), micrograph.frame, check=context.check))

    return picture


def gather(session: Session, micrograph: Micrograph, decisions: np.ndarray) -> MicrographPicks:
    """The picks of one micrograph with the given decisions, canonical frame."""
    ((_, stored),) = _read(session, [micrograph], _QUIET)
    return _gather(session, micrograph, stored, decisions, (), None)[0]


#: Micrographs that are read from the database at once: asking takes longer than the answer.
_AT_ONCE = 100
#: Imported columns that nobody here understands, by particle id.
_Extra = Mapping[int, Mapping[str, str]]


def _read(
    session: Session, micrographs: Sequence[Micrograph], context: JobContext
) -> Iterator[tuple[Micrograph, tuple[Particles, _Extra]]]:
    """Micrographs with their particles, ordered by id, and their imported columns."""
    for start in range(0, len(micrographs), _AT_ONCE):
        some = micrographs[start : start + _AT_ONCE]
        context.progress(start, len(micrographs), f"reading picks of {start:,}/{len(micrographs):,} micrographs")
        ids = tuple(m.id for m in some)
        particles = session.store.particles_where(Which(micrographs=ids, removed=True))
        extra = session.store.extra(*ids) if len(particles) else {}
        order = np.argsort(particles.micrograph, kind="stable")
        ordered = particles.micrograph[order]
        for m in some:
            first, last = np.searchsorted(ordered, (m.id, m.id + 1))
            yield m, (particles.take(order[first:last]), extra)


def _gather(
    session: Session,
    micrograph: Micrograph,
    stored: tuple[Particles, _Extra],
    decisions: np.ndarray,
    hidden: Hidden,
    decided: Mapping[int, tuple[str, str]] | None,
    species: Collection[int] | None = None,
) -> tuple[MicrographPicks, int, int]:
    """Picks, how many of them have no diameter of their own, and how many more are hidden."""
    particles, extra = stored
    particles = particles.take(np.isin(particles.decision, decisions))
    if species is not None:
        particles = particles.take(np.isin(particles.species, list(species)))
    below = is_hidden(particles, hidden)
    particles = particles.take(~below)
    picks = as_picks(session, micrograph, particles, extra)
    if decided is not None:
        picks = replace(picks, curation=curation_of(session, micrograph, particles, decided))
    return picks, int(np.isnan(particles.diameter_A).sum()), int(below.sum())


def as_picks(
    session: Session, micrograph: Micrograph, particles: Particles, extra: _Extra | None = None
) -> MicrographPicks:
    """Particles of a micrograph with all that a writer may want of them; ``extra`` where it has been read already."""
    pixel = session.pixel_size_A(micrograph)
    if extra is None:
        extra = session.store.extra(micrograph.id) if len(particles) else {}
    rows = [extra.get(i, {}) for i in particles.id.tolist()] if extra else []
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: np.array([row.get(name, "") for row in rows], str) for name in names}
    # picks made by hand have none of an import's columns: "" there, each writer has its own word for it
    known = {name: column for name, column in columns.items() if (column != "").any()}
    # rounding removes what px -> angstrom -> px added
    diameter_px = np.round(angstrom_to_px(session.diameters_A(particles), pixel), 9)
    optics, optics_row = _optics_of(session, micrograph, particles, known)
    return MicrographPicks(
        micrograph,
        pixel,
        particles.x,
        particles.y,
        diameter_px,
        particles.score,
        particles.decision,
        particles.class_id,
        known,
        "",
        optics,
        optics_row,
        species=_species_of(session, particles),
    )


def _species_of(session: Session, particles: Particles) -> NDArray[np.str_] | None:
    """Names of the kinds of particles (n,), empty = of none; None where the project knows no kinds."""
    if not session.species:
        return None
    names = {number: one.name for number, one in session.species.items()}
    return np.array([names.get(number, "") for number in particles.species.tolist()], np.str_)


def _optics_of(
    session: Session, micrograph: Micrograph, particles: Particles, extra: Mapping[str, NDArray[np.str_]]
) -> tuple[tuple[Mapping[str, str], ...], NDArray[np.int64] | None]:
    """Optics groups that these particles came in with, else the micrograph's, and each particle's; -1 = none."""
    groups: list[Mapping[str, str]] = []
    row = np.full(len(particles), -1, np.int64)
    for number in np.unique(particles.pick_set).tolist():
        pick_set = session.pick_sets.get(number)
        optics = {} if pick_set is None else pick_set.parameters.get("optics", {})
        mine = np.flatnonzero(particles.pick_set == number)
        own, rows = rows_of_groups(optics, {name: column[mine] for name, column in extra.items()}, len(mine))
        if rows is not None:
            row[mine] = np.where(rows < 0, -1, rows + len(groups))
            groups += own
    if not groups and (own_group := relion_of(micrograph).get("group")):
        return (own_group,), row
    return (tuple(groups), row) if groups else ((), None)
