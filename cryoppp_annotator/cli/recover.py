"""``recover``: what is sound in a damaged project, into a new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, find_project

EXAMPLE = """  cryoppp-annotator doctor data/10017/annotator-project
  cryoppp-annotator recover data/10017/annotator-project -o rescued"""


def recover(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT", help="The damaged project, or the folder of micrographs it lies in.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="NEW", help="Folder of the new project.")],
    as_json: JsonOption = False,
) -> None:
    """Save every row that is sound into a new project, and count the others.

    The damaged project is read and left as it is. Particles keep their ids, decisions and history. Exit code 1 where
    something was lost.
    """
    from ..store.recover import recover as recover_rows
    from .progress import run_job

    report = run_job(lambda context: recover_rows(find_project(project), out, check=context.check), title="Recovering")
    lost = sum(report.lost.values())
    if as_json:
        answer = {"saved": report.saved, "lost": report.lost, "unreadable": report.unreadable}
        typer.echo(json.dumps(answer, indent=2))
    else:
        for table, n in report.saved.items():
            gone = report.lost[table]
            typer.echo(f"{table.replace('_', ' '):13} {n:>10,} saved{f', {gone:,} left out' if gone else ''}")
        for table in report.unreadable:
            typer.echo(f"{table.replace('_', ' '):13} a part could not be read: its rows could not be counted")
        typer.echo(f"The new project is in {out}.")
    if lost or report.unreadable:
        raise typer.Exit(1)
