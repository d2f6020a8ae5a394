"""``merge``: another project of the same data into this one."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import CuratorOption, JsonOption, ProjectArgument, find_project

if TYPE_CHECKING:
    from ..session.files.merging import MergeReport

EXAMPLE = """  cryoppp-annotator merge my-project /home/bob/projects/10017
  cryoppp-annotator merge my-project colleague --dry-run
  cryoppp-annotator merge my-project colleague --json"""


def merge(
    project: ProjectArgument,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="The project to take from; it is not changed.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    curator: CuratorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take what another project of the same micrographs has into this one: states, decisions, picks, history.

    One step that can be undone; stopped with Ctrl-C it changes nothing. Where both have decided, and differently,
    PROJECT's stays and the conflict is listed.
    """
    from ..session.core.opening import open_project
    from ..session.files.merging import merge as merge_projects
    from .progress import run_job

    session = open_project(find_project(project), curator=curator, read_only=dry_run)
    try:
        theirs = open_project(find_project(other), read_only=True)
        try:
            work = partial(merge_projects, session, theirs, dry_run=dry_run)
            report = run_job(work, title=f"{'comparing with' if dry_run else 'merging'} {other.name}")
        finally:
            theirs.close()
    finally:
        session.close()
    typer.echo(json.dumps(asdict(report), indent=2) if as_json else _as_text(report, dry_run))


def _as_text(report: MergeReport, dry_run: bool) -> str:
    counts = (
        (report.micrographs_matched, "micrographs in both"),
        (report.micrographs_added, "micrographs added"),
        (report.picks_same, "picks in both"),
        (report.picks_added, "picks added"),
        (report.picks_changed, "decisions and positions taken"),
        (report.picks_deleted, "picks deleted as there"),
        (report.regions_added, "regions added"),
        (report.states_taken, "states taken"),
    )
    lines = ["nothing was changed; a merge would bring" if dry_run else "merged"]
    lines += [f"  {n:,} {what}" for n, what in counts if n]
    lines += [f"note: {note}" for note in report.notes]
    for conflict in report.conflicts:
        where = f" of {conflict.micrograph}" if conflict.micrograph else ""
        which = f", pick {conflict.particle}" if conflict.particle else ""
        lines.append(
            f"conflict: {conflict.what}{where}{which}: here {conflict.ours}, there {conflict.theirs}; kept here"
        )
    return "\n".join(lines)
