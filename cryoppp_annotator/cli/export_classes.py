"""``export-classes``: the 2D classes a project keeps, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .import_classes import say_run
from .options import JsonOption, ProjectArgument, find_project

if TYPE_CHECKING:
    from ..model.classes import ClassRun
    from ..model.context import JobContext

EXAMPLE = """  cryoppp-annotator export-classes my-project -o classes
  cryoppp-annotator export-classes my-project -o good --classes 1,4,7
  cryoppp-annotator export-classes my-project"""


def export_classes(
    project: ProjectArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; without it runs are listed."),
    ] = None,
    number: Annotated[int | None, typer.Option("--run", metavar="ID", help="Which run; the newest by default.")] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="N,N,...", help="Only these classes; all by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the 2D classes that a project keeps: classes.mrcs, particles.star, summary.csv, gallery.png.

    Nothing is computed again. Rejected picks are left out of particles.star.
    """
    from ..errors import ProjectError
    from ..session.classes.decide import list_runs
    from ..session.classes.export_classes import export_run
    from ..session.core.opening import open_project
    from .progress import run_job

    numbers = None if classes is None else _numbers(classes)
    session = open_project(find_project(project), read_only=True)
    try:
        runs = list_runs(session)
        chosen = [run for run in runs if number is None or run.id == number]
        if out is None:
            _list(chosen, as_json)
            return
        if not chosen:
            known = ", ".join(str(run.id) for run in runs) or "none"
            raise ProjectError(f"{project} has no such classes (runs: {known})")
        run = chosen[-1]

        def work(context: JobContext) -> tuple[Path, ...]:
            return export_run(session, run, out, numbers=numbers, context=context)

        files = run_job(work, title="Writing")
    finally:
        session.close()
    say_run(run, as_json, {"files": [str(file) for file in files]})


def _numbers(text: str) -> list[int]:
    """Class numbers as they are written, ``1,4,7``. Raises Refused."""
    from ..errors import Refused

    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise Refused(f"--classes wants numbers of classes, as in 1,4,7, and not {text!r}") from error


def _list(runs: list[ClassRun], as_json: bool) -> None:
    entries = [
        {
            "run": run.id,
            "name": run.name,
            "source": run.source,
            "classes": len(run.summaries),
            "made": run.record["started"],
            "by": run.record["curator"],
            "verdict": run.verdict,
        }
        for run in runs
    ]
    if as_json:
        typer.echo(json.dumps({"runs": entries}, indent=2))
        return
    for entry in entries:
        typer.echo(f"{entry['run']:4}  {entry['made']}  {entry['name']}: {entry['verdict']}")
    if not entries:
        typer.echo("no classes yet: cryoppp-annotator classify PROJECT")
