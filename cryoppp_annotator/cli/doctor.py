"""``doctor``: what is installed, what is missing, and how to repair it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, find_project

EXAMPLE = """  cryoppp-annotator doctor
  cryoppp-annotator doctor --json
  cryoppp-annotator doctor data/10017/annotator-project"""


def doctor(
    project: Annotated[
        Path | None, typer.Argument(metavar="[PROJECT]", help="A project whose database is checked instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is installed, what is missing, and how to repair each; or what is wrong with a project.

    Looks at the machine, the libraries, the window (Qt, OpenGL), plugins and the programs they start. Exit code 1
    where something that is needed is broken; what is merely absent (RELION, Topaz, Dask) is no failure.
    """
    if project is not None:
        _examine_project(project, as_json)
        return
    from ..batch.doctor import Level, examine
    from .progress import run_job

    checks = run_job(lambda context: examine(context), title="Looking")
    broken = [check for check in checks if check.level is Level.BROKEN]
    if as_json:
        answer = {
            "ok": not broken,
            "checks": [
                {"name": c.name, "level": c.level.value, "said": c.said, "mend": c.mend or None} for c in checks
            ],
        }
        typer.echo(json.dumps(answer, indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            typer.echo(f"{check.level.value:7}  {check.name:{width}}  {check.said}")
            if check.mend:
                typer.echo(f"{'':9}{'':{width}}  -> {check.mend}")
    if broken:
        raise typer.Exit(1)


def _examine_project(project: Path, as_json: bool) -> None:
    from ..session.volume.stored_maps import find_damage
    from ..store.connecting import check_rows

    problems, database, advice = check_rows(find_project(project))
    beside = find_damage(find_project(project))
    if beside and not problems:
        advice = "delete these runs, or make them again; picks and decisions are sound"
    problems = [*problems, *beside]
    if as_json:
        listed = [{"table": p.table, "row": p.row, "column": p.column, "message": p.message} for p in problems]
        typer.echo(json.dumps({"ok": not problems, "problems": listed}, indent=2))
    else:
        for problem in problems:
            typer.echo(str(problem))
        typer.echo(f"{database}: {'damaged; ' + advice if problems else 'sound'}.")
    if problems:
        raise typer.Exit(1)
