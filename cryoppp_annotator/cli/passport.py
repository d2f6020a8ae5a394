"""``passport``: what the pixels and the spectrum of each micrograph say, as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    AmplitudeContrastOption,
    CsOption,
    JsonOption,
    OpticsOption,
    PixelSizeOption,
    SchedulerOption,
    VoltageOption,
    parse_diameter,
)

if TYPE_CHECKING:
    from ..batch.ctf_options import CtfOptions
    from ..batch.passport import PassportReport

EXAMPLE = """  cryoppp-annotator passport movies/*.mrc -o passport --diameter 150 --voltage 300 --cs 2.7
  cryoppp-annotator passport my-project -o passport"""


def passport(
    micrographs: Annotated[
        list[str],
        typer.Argument(metavar="MICROGRAPH...|PROJECT", help="Image files, folders of such, patterns, or a project."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for passport.csv and passport.star.")],
    diameter: Annotated[
        str | None, typer.Option("--diameter", metavar="A", help="Of the particle, angstrom; the project's, else 150.")
    ] = None,
    voltage: VoltageOption = None,
    cs: CsOption = None,
    amplitude_contrast: AmplitudeContrastOption = None,
    pixel_size: PixelSizeOption = None,
    optics: OpticsOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure micrographs: defocus, drift, ice, thickness, carbon, contrast, broken pixels, duplicates.

    Writes DIR/passport.csv, one row a micrograph, and the same as DIR/passport.star; the column `suggestion` says why
    one seems unusable. A second start continues where the first stopped. Of a project (its own folder), the microscope
    and pixel sizes are the project's, and the table also says how many picks a micrograph has, their density against
    the median, and the medians of their scores and of the quality of their classes.
    """
    from ..batch.ctf_options import CtfOptions
    from .progress import tell_failed

    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    options = CtfOptions(voltage, cs, amplitude_contrast, pixel_size, optics)
    report = _measure(micrographs, out, options, diameter_A, scheduler)
    for sentence in report.assumed:
        print(f"note: {sentence}", file=sys.stderr)
    tell_failed(report.failed)
    doubtful = [row for row in report.rows if row["suggestion"]]
    answer = {
        "table": str(report.table),
        "micrographs": list(report.rows),
        "suggested_unusable": [{"micrograph": row["micrograph"], "reason": row["suggestion"]} for row in doubtful],
        "measured_now": report.n_done,
        "kept": report.n_kept,
        "failed": [{"micrograph": path, "reason": reason} for path, reason in report.failed.items()],
        "assumed": list(report.assumed),
        "seconds": round(report.seconds, 3),
    }
    typer.echo(
        json.dumps(answer, indent=2)
        if as_json
        else f"{len(report.rows):,} micrographs measured, {len(doubtful):,} seem unusable: {report.table}, "
        f"{report.seconds:.1f} s"
    )
    if report.failed:
        raise typer.Exit(1)


def _measure(
    micrographs: list[str], out: Path, options: CtfOptions, diameter_A: float | None, scheduler: str | None
) -> PassportReport:
    from ..batch.passport import passport_all
    from ..batch.passport_project import report_of_project
    from ..session.core.opening import open_project
    from .progress import run_job

    project = _project_in(micrographs)
    if project is None:
        return run_job(
            lambda context: passport_all(
                micrographs, out, options, diameter_A=diameter_A, scheduler=scheduler, context=context
            ),
            title="Passports",
        )
    if options != type(options)():
        raise typer.BadParameter("a project knows its microscope and pixel sizes: set them in the project")
    session = open_project(project, read_only=True)
    try:
        return run_job(
            lambda context: report_of_project(
                session, out, diameter_A=diameter_A, scheduler=scheduler, context=context
            ),
            title="Passports",
        )
    finally:
        session.close()


def _project_in(micrographs: list[str]) -> Path | None:
    """The project that is named, by its own folder or its database; None where micrographs are."""
    from ..store.store import DATABASE_NAME

    folders = [path.parent if path.name == DATABASE_NAME else path for path in map(Path, micrographs)]
    projects = [folder for folder in folders if (folder / DATABASE_NAME).is_file()]
    if projects and len(folders) > 1:
        raise typer.BadParameter("a project is measured on its own: name nothing beside it")
    return projects[0] if projects else None
