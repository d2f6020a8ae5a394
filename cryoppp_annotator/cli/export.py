"""``export``: a project's picks as coordinate files."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    FORMATS_HELP,
    Frame,
    JsonOption,
    OptionalWhereOption,
    OverwriteOption,
    RelionRootOption,
    ScaleOption,
    TemplateOption,
    find_project,
)

if TYPE_CHECKING:
    from ..model.context import JobContext
    from ..session.core.session import Session
    from ..session.files.exporting import ExportReport

AS_IMPORTED = "as-imported"

EXAMPLE = """  cryoppp-annotator export my-project -o picks --to relion
  cryoppp-annotator export my-project -o dataset --to cryoppp --decision accepted+rejected
  cryoppp-annotator export my-project -o picks --to as-imported"""


class Wanted(StrEnum):
    """Which picks; the words of ``session.files.exporting.DECISIONS``."""

    ACCEPTED = "accepted"
    UNDECIDED = "undecided"
    REJECTED = "rejected"
    ACCEPTED_UNDECIDED = "accepted+undecided"
    ACCEPTED_REJECTED = "accepted+rejected"
    ALL = "all"


def export(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT", help="The project, or the folder of micrographs it lies in.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; it is made.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help=f"{FORMATS_HELP} Or as-imported: the imported files with only the edited rows changed.",
        ),
    ],
    decision: Annotated[Wanted, typer.Option("--decision", help="Which picks.")] = Wanted.ACCEPTED,
    frame: Annotated[
        Frame, typer.Option("--frame", help="How the axes are written; auto = as the format declares.")
    ] = Frame.AUTO,
    scale: ScaleOption = None,
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Put behind each micrograph's name (RELION: _manualpick).")
    ] = None,
    box_size: Annotated[
        float | None, typer.Option("--box-size", metavar="PX", help="For formats that write a box.")
    ] = None,
    template: TemplateOption = None,
    relion_root: RelionRootOption = None,
    where: OptionalWhereOption = None,
    species: Annotated[
        str | None,
        typer.Option("--species", metavar="NAME", help="Only this species; each = each into a folder of its own."),
    ] = None,
    pick_set: Annotated[
        int | None, typer.Option("--pick-set", metavar="N", help="Which import, for as-imported (see status --json).")
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside",
            help="Open imported files outside the folders of the micrographs, though only the project names them.",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write picks as coordinate files.

    Micrographs marked unusable are left out; those without picks are written only where they are complete or empty.
    """
    from ..errors import Refused
    from ..session.core.opening import open_project
    from ..session.core.species import find
    from ..session.files import exporting
    from ..session.files.as_imported import write_back
    from .progress import run_job, tell_written
    from .select import chosen

    session = open_project(find_project(project), read_only=True)

    def work(context: JobContext) -> ExportReport:
        if to == AS_IMPORTED and (where or species):
            raise Refused("--where and --species are for exports to a format; as-imported writes whole files back")
        if to == AS_IMPORTED:
            number = _the_import(session) if pick_set is None else pick_set
            return write_back(session, number, out, allow_outside=allow_outside, overwrite=overwrite, context=context)
        passed = chosen(session, where, context)
        each = species == exporting.EACH_SPECIES
        write = partial(exporting.export_each_species if each else exporting.export, session, out, to)
        if species is not None and not each:
            write = partial(write, species=(find(session, species).id,))
        return write(
            decisions=exporting.DECISIONS[decision.value],
            orientation=frame.orientation,
            scale=scale,
            suffix=suffix,
            box_size_px=box_size,
            template=template,
            relion_root=relion_root,
            overwrite=overwrite,
            micrographs=None if passed is None else [m.id for m in passed.micrographs],
            context=context,
        )

    try:
        report = run_job(work, title="Exporting")
    finally:
        session.close()
    tell_written(report, to, out, as_json=as_json)


def _the_import(session: Session) -> int:
    """The project's one import."""
    from ..errors import Refused

    imports = [number for number, pick_set in session.pick_sets.items() if pick_set.imported]
    if len(imports) != 1:
        listed = ", ".join(f"{number} ({session.pick_sets[number].name})" for number in imports) or "none"
        raise Refused(f"the project has {len(imports)} imported pick sets: {listed}; say which with --pick-set")
    return imports[0]
