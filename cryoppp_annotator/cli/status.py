"""``status``: how far a project is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import JsonOption, OptionalWhereOption, find_project

if TYPE_CHECKING:
    from ..session.core.session import Session
    from ..session.core.watch import FileNews

EXAMPLE = """  cryoppp-annotator status data/10017/annotator-project
  cryoppp-annotator status my-project --json
  cryoppp-annotator status my-project --csv micrographs.csv
  cryoppp-annotator status my-project --where 'res > 6 or state == todo'"""


def status(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT", help="The project, or the folder of micrographs it lies in.")
    ],
    where: OptionalWhereOption = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write one row a micrograph: state, whose it is, counts, ..."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how far a project is.

    Micrographs by state, particles by decision, pick sets; what has become of the micrographs' files: changed since
    they were picked, not there, new in the folder. Changes nothing.
    """
    from ..session.core import watch
    from ..session.core.opening import open_project
    from ..session.files import facts
    from .progress import run_job

    session = open_project(find_project(project), read_only=True)
    try:
        file_changes = run_job(
            lambda context: watch.look_at_files(session, new=True, context=context), title="Looking at files"
        )
        watch.note(session, file_changes)
        answer = describe(session, file_changes)
        if where is not None:
            passed = run_job(lambda context: facts.where(session, where, context=context), title="Choosing")
            answer["where"] = {"micrographs": [m.name for m in passed.micrographs], "unknown": passed.unknown}
        if csv is not None:
            answer["csv"] = str(_write_csv(session, csv))
    finally:
        session.close()
    typer.echo(json.dumps(answer, indent=2) if as_json else _as_text(answer))


def _write_csv(session: Session, file: Path) -> Path:
    """The table of micrographs that Python has, too."""
    from ..formats.atomic import write_text
    from ..formats.table.spreadsheet import csv_text
    from ..project import Project

    table = Project(session).micrographs().reset_index(names="id")
    rows = table.astype(object).where(table.notna(), "").to_numpy().tolist()
    return write_text(file, csv_text([list(table.columns), *rows]))


def describe(session: Session, file_changes: FileNews) -> dict[str, Any]:
    """What ``status --json`` prints."""
    from dataclasses import asdict

    from ..model.micrograph import MicrographState
    from ..model.which import Which
    from ..session.core import assigning
    from ..session.core.watch import What
    from ..session.pictures.coverage import Coverage
    from .species import described

    states = {state.value: 0 for state in MicrographState if state is not MicrographState.REMOVED}
    for micrograph in session.micrographs:
        states[micrograph.state.value] += 1
    coverage = Coverage(session)
    sets = [
        {
            "name": s.name,
            "kind": s.kind,
            "curator": s.curator,
            "source": s.source,
            "particles": session.store.count(Which(pick_sets=(number,))),
        }
        for number, s in session.pick_sets.items()
    ]
    return {
        "project": str(session.store.folder.absolute()),
        "kept_in": session.store.place,
        "data_root": str(session.data_root),
        "micrographs": len(session.micrographs),
        "states": states,
        "finished": session.n_finished(),
        "removed": len(session.removed),
        "changed": [m.name for m in session.micrographs if m.changed],
        "not_there": [update.now.name for update in file_changes.of(What.GONE)],
        "new": [str(path) for path in file_changes.new],
        "journal": session.store.journal,
        "problems": {m.name: m.problem for m in session.micrographs if m.problem},
        "assigned": [asdict(share) for share in assigning.shares(session)],
        "particles": session.counts(),
        "seen": {m.name: round(coverage.share(m.id), 3) for m in session.micrographs},
        "diameter_A": session.diameter_A if session.settings.diameter_is_set else None,
        "pick_sets": sets,
        "species": described(session),
    }


def _as_text(answer: dict[str, Any]) -> str:
    states = ", ".join(f"{n} {state}" for state, n in answer["states"].items() if n) or "none"
    particles = ", ".join(f"{n:,} {decision}" for decision, n in answer["particles"].items())
    diameter = "not set" if answer["diameter_A"] is None else f"{answer['diameter_A']:.4g} Å"
    shares = list(answer["seen"].values())
    seen = f"{sum(shares) / len(shares):.0%} of the area" if shares else "nothing"
    lines = [
        f"project      {answer['project']}",
        *([] if answer["kept_in"] == answer["project"] else [f"kept in      {answer['kept_in']}"]),
        f"micrographs  {answer['micrographs']:,}: {states}; {answer['finished']:,} finished",
        f"particles    {particles}",
        f"looked at    {seen}, at a useful zoom",
        f"diameter     {diameter}",
    ]
    lines += [
        f"assigned     {share['micrographs']:,} to {share['curator'] or 'nobody'}, {share['finished']:,} finished"
        for share in answer["assigned"]
    ]
    lines += [
        f"pick set     {s['name']}: {s['particles']:,} ({s['kind']}, {s['curator']})" for s in answer["pick_sets"]
    ]
    lines += [
        f"species      {s['name']}: " + ", ".join(f"{n:,} {decision}" for decision, n in s["particles"].items())
        for s in answer["species"]
    ]
    lines += _about_files(answer)
    if "where" in answer:
        passed = answer["where"]
        unknown = f"; too little is known of {passed['unknown']:,}" if passed["unknown"] else ""
        lines.append(f"where        {len(passed['micrographs']):,} micrographs{unknown}")
        lines += [f"             {name}" for name in passed["micrographs"]]
    lines += [f"problem      {name}: {problem}" for name, problem in answer["problems"].items()]
    return "\n".join(lines)


def _about_files(answer: dict[str, Any]) -> list[str]:
    """What needs attention."""
    from ..session.core.edits import count_of
    from ..session.core.watch import named
    from ..store.journal import NOTE, Journal

    lines = []
    for title, names, what in (
        (
            "changed",
            answer["changed"],
            (
                "changed since picking: nothing is proposed on them or exported until you say "
                "what becomes of their picks (cryoppp-annotator changed, or the window)"
            ),
        ),
        ("not there", answer["not_there"], f"not in {answer['data_root']}"),
        ("new", [Path(path).name for path in answer["new"]], "in the folder that the project does not have yet"),
    ):
        if names:
            lines.append(f"{title:13}{count_of(len(names), 'micrograph')} {what} ({named(names)})")
    if answer["removed"]:
        lines.append(f"removed      {count_of(answer['removed'], 'micrograph')}; the decisions on them are kept")
    if answer["journal"] == Journal.ROLLBACK:
        lines.append(f"journal      {NOTE}")
    return lines
