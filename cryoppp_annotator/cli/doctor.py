"""``doctor``: what is installed, what is missing, and how to mend it."""

from __future__ import annotations

import json

import typer

from .options import JsonOption

EXAMPLE = """  cryoppp-annotator doctor
  cryoppp-annotator doctor --json"""


def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed, what is missing, and how to mend each.

    Looks at the machine, the libraries, the window (Qt, OpenGL), plugins and the programs they start. Exit code 1
    where something that is needed is broken; what is merely not there (RELION, Topaz, Dask) is no failure.
    """
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
