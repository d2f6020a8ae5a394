"""``species``: the kinds of particle of a project, listed, added, changed, taken away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import CuratorOption, JsonOption, ProjectArgument, find_project

if TYPE_CHECKING:
    from ..session.core.session import Session

EXAMPLE = """  cryoppp-annotator species my-project
  cryoppp-annotator species my-project --add ribosome --diameter 260
  cryoppp-annotator species my-project --change ribosome --diameter 270 --rename 70S"""


def species(
    project: ProjectArgument,
    add: Annotated[str | None, typer.Option("--add", metavar="NAME", help="Make one of this name.")] = None,
    change: Annotated[str | None, typer.Option("--change", metavar="NAME", help="Change this one.")] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Take this one away; its picks stay, of no species.")
    ] = None,
    rename: Annotated[str | None, typer.Option("--rename", metavar="NAME", help="With --change: the new name.")] = None,
    diameter: Annotated[
        float | None, typer.Option("--diameter", metavar="A", help="Angstrom; the project's where it is not given.")
    ] = None,
    colour: Annotated[str | None, typer.Option("--colour", metavar="#RRGGBB", help="How its rings are drawn.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="The window's key for it.")] = None,
    curator: CuratorOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the kinds of particle of a project, or change one; each change is a step that the window can undo."""
    from ..errors import Refused
    from ..session.core.opening import open_project

    if sum(name is not None for name in (add, change, remove)) > 1:
        raise Refused("one of --add, --change and --remove at a time")
    edits = any(name is not None for name in (add, change, remove))
    session = open_project(find_project(project), curator=curator, read_only=not edits)
    given = {"name": rename, "diameter_A": diameter, "colour": colour, "key": key}
    try:
        _edit(session, add, change, remove, {name: value for name, value in given.items() if value is not None})
        answer = described(session)
    finally:
        session.close()
    typer.echo(json.dumps({"species": answer}, indent=2) if as_json else _as_text(answer))


def _edit(session: Session, add: str | None, change: str | None, remove: str | None, given: dict[str, Any]) -> None:
    from ..errors import Refused
    from ..session.core import species as kinds

    if add is not None:
        kinds.add(session, given.pop("name", add), **given)
    elif change is not None:
        kinds.change(session, kinds.find(session, change).id, **given)
    elif remove is not None:
        kinds.remove(session, kinds.find(session, remove).id)
    elif given:
        raise Refused("say which species is meant: --add NAME or --change NAME")


def described(session: Session) -> list[dict[str, Any]]:
    """What ``--json`` says of each."""
    from ..session.core import species as kinds

    counts = kinds.count(session)
    return [
        {
            "name": one.name,
            "diameter_A": one.diameter_A,
            "colour": one.colour,
            "key": one.key,
            "particles": dict(zip(("accepted", "undecided", "rejected"), counts[one.id], strict=True)),
        }
        for one in session.species.values()
    ]


def _as_text(answer: list[dict[str, Any]]) -> str:
    lines = []
    for one in answer:
        size = "the project's diameter" if one["diameter_A"] is None else f"{one['diameter_A']:.4g} Å"
        counts = ", ".join(f"{n:,} {decision}" for decision, n in one["particles"].items())
        lines.append(f"{one['name']}: {size}, {counts}")
    return "\n".join(lines) or "no species yet: all picks are of one kind (--add NAME makes one)"
