"""``import-classes``: 2D classes of other programs into a project."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import CuratorOption, Frame, JsonOption, ProjectArgument, find_project

if TYPE_CHECKING:
    from ..model.classes import ClassRun
    from ..model.context import JobContext
    from ..session.classes.decide import RunResult

EXAMPLE = """  cryoppp-annotator import-classes my-project Class2D/job012/run_it025_data.star
  cryoppp-annotator import-classes my-project J12_020_particles.cs J12_020_class_averages.cs"""


def import_classes(
    project: ProjectArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="RELION's run_it025_data.star, or cryoSPARC's particles .cs; the averages where they lie elsewhere.",
        ),
    ],
    frame: Annotated[
        Frame, typer.Option("--frame", help="How the axes lie; auto = as the program's format, tested on the image.")
    ] = Frame.AUTO,
    name: Annotated[str, typer.Option("--name", help="What the classes are called.")] = "",
    permissive: Annotated[bool, typer.Option("--permissive", help="Leave bad rows out, and count them.")] = False,
    curator: CuratorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring 2D classes made in RELION or cryoSPARC to the picks of a project.

    Particles are matched with picks by micrograph and position (a quarter of the diameter, one for one). No pick is
    made, moved or decided about. What lies on no pick is counted.
    """
    from ..errors import ProjectError
    from ..session.classes.decide import enter_run
    from ..session.classes.other_programs import import_run
    from ..session.classes.rescue import keep_elsewhere
    from ..session.core.opening import open_project
    from .progress import run_job

    session = open_project(find_project(project), curator=curator)
    try:

        def work(context: JobContext) -> RunResult:
            return import_run(
                session, files, orientation=frame.orientation, name=name, permissive=permissive, context=context
            )

        result = run_job(work, title="Reading classes")
        try:
            run = enter_run(session, result)
        except ProjectError as error:
            raise keep_elsewhere(session, result, error) from error
    finally:
        session.close()
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    say_run(run, as_json, {"notes": list(result.notes)})


def say_run(run: ClassRun, as_json: bool, more: dict[str, Any]) -> None:
    """Print a run: a line a class, or one JSON object."""
    from ..session.classes.summary_files import as_dict, as_line

    if as_json:
        classes = [as_dict(item) for item in run.summaries]
        typer.echo(json.dumps({"run": run.id, "classes": classes, "verdict": run.verdict, **more}, indent=2))
        return
    for item in run.summaries:
        typer.echo(as_line(item))
    for file in more.get("files", ()):
        typer.echo(f"wrote {file}")
    typer.echo(f"{run.name}: {run.verdict} (run {run.id})")
