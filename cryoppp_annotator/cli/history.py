"""``history``: who did what when, for a project, a micrograph, a set or a pick."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.file_names import printable
from .options import JsonOption, ProjectArgument, find_project

if TYPE_CHECKING:
    from ..model.context import JobContext
    from ..session.core.session import Session
    from ..session.review.history import HistoryScope
    from ..store.changes import HistoryEntry

EXAMPLE = """  cryoppp-annotator history my-project --micrograph 14_33_35_0
  cryoppp-annotator history my-project --csv who_did_what.csv"""


def history(
    project: ProjectArgument,
    micrograph: Annotated[
        str | None, typer.Option("--micrograph", metavar="NAME", help="Steps about this micrograph only.")
    ] = None,
    pick_set: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="Steps about this pick set only.")
    ] = None,
    pick: Annotated[int | None, typer.Option("--pick", metavar="ID", help="Steps about this pick only.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write what each step did to each pick, one row for each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List who did what and when, the newest first; steps that were undone, and the undoing, too."""
    from ..formats.atomic import write_text
    from ..session.core.opening import open_project
    from ..session.review import history as past
    from .progress import in_one_line, run_job

    session = open_project(find_project(project), read_only=True)

    def work(context: JobContext) -> list[HistoryEntry]:
        scope = _scope(session, micrograph, pick_set, pick)
        if csv is not None:
            write_text(csv, past.as_csv(past.pick_events(session, scope, context)))
        return past.steps_about(session, scope, context)

    try:
        steps = run_job(work, title="Reading the history")
    finally:
        session.close()
    if as_json:
        typer.echo(json.dumps({"steps": [asdict(step) for step in steps]}, indent=2))
        return
    for step in steps:
        word = "" if step.kind == "do" else f"{step.kind}: "
        when, who = step.at[:19].replace("T", " "), printable(step.curator)
        typer.echo(f"{step.id:6}  {when}  {who:12}  {word}{in_one_line(step.title)}")
    if csv is not None:
        typer.echo(f"wrote {csv}")


def _scope(session: Session, micrograph: str | None, pick_set: str | None, pick: int | None) -> HistoryScope:
    """What the options name. Raises Refused where it is not there, or several are named."""
    from ..errors import Refused
    from ..session.review.history import HistoryScope

    if sum(value is not None for value in (micrograph, pick_set, pick)) > 1:
        raise Refused("name a micrograph, a set or a pick, not several of them")
    if micrograph is not None:
        everywhere = (*session.micrographs, *session.removed.values())
        ids = [m.id for m in everywhere if micrograph in (m.name, Path(m.path).name)]
        if len(ids) != 1:
            raise Refused(f"{len(ids) or 'no'} micrographs are called {micrograph!r}")
        return HistoryScope(micrograph=ids[0])
    if pick_set is not None:
        ids = [number for number, one in session.pick_sets.items() if pick_set in (one.name, str(number))]
        if len(ids) != 1:
            raise Refused(f"{len(ids) or 'no'} pick sets are called {pick_set!r}; the number of a set names it, too")
        return HistoryScope(pick_set=ids[0])
    return HistoryScope(particle=pick)
