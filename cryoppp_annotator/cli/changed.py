"""``changed``: micrographs whose files were replaced, and what becomes of their picks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import CuratorOption, JsonOption, ProjectArgument, find_project

if TYPE_CHECKING:
    from ..session.core.session import Session

EXAMPLE = """  cryoppp-annotator changed my-project
  cryoppp-annotator changed my-project --rescale auto
  cryoppp-annotator changed my-project --rescale 0.5 --micrograph 14_33_35_0
  cryoppp-annotator changed my-project --start-anew --micrograph 14_33_35_0"""


def changed(
    project: ProjectArgument,
    rescale: Annotated[
        str | None,
        typer.Option("--rescale", metavar="auto|F", help="Multiply positions by F; auto = as the images' sides say."),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option("--pixel-size", metavar="A", help="Positions in angstrom stay; the new images have this pixel."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the picks where they are.")] = False,
    start_anew: Annotated[bool, typer.Option("--start-anew", help="Delete the picks and begin again.")] = False,
    micrograph: Annotated[
        list[str] | None,
        typer.Option("--micrograph", metavar="NAME", help="Only this one (may be repeated); all by default."),
    ] = None,
    curator: CuratorOption = None,
    as_json: JsonOption = False,
) -> None:
    """List micrographs whose file is another image than the one that was picked, or say what becomes of their picks.

    Exit code 1 where some are left undecided.
    """
    from ..session.core.opening import open_project
    from ..session.core.watch import check
    from .progress import run_job

    actions = [rescale is not None, pixel_size is not None, keep, start_anew]
    if sum(actions) > 1:
        raise typer.BadParameter("give one of --rescale, --pixel-size, --keep and --start-anew")
    session = open_project(find_project(project), curator=curator, read_only=not any(actions))
    try:
        run_job(lambda context: check(session, context=context), title="Looking at files")
        settled = _named(session, micrograph or []) if any(actions) else []
        if any(actions):
            _settle(session, settled, rescale, pixel_size, keep)
        answer = _describe(session)
        names = [session.micrograph(number).name for number in settled]
    finally:
        session.close()
    how = "kept" if keep else "deleted" if not (rescale or pixel_size) else "rescaled"
    done = [f"the picks of {', '.join(names)} were {how}"] if names else []
    typer.echo(json.dumps(answer, indent=2) if as_json else _as_text(answer, done))
    if answer["changed"]:
        raise typer.Exit(1)


def _named(session: Session, names: list[str]) -> list[int]:
    """Ids of the changed micrographs of these names, all where none is named."""
    from ..errors import Refused

    known = {m.name: m for m in session.micrographs}
    if unknown := [name for name in names if name not in known]:
        raise Refused(f"the project has no micrograph {unknown[0]}")
    return [m.id for m in session.micrographs if (m.name in names if names else m.changed)]


def _settle(session: Session, ids: list[int], rescale: str | None, pixel_size: float | None, keep: bool) -> None:
    from ..session.files import changed as verbs

    if pixel_size is not None:
        verbs.rescale_to(session, ids, pixel_size)
    elif rescale is not None:
        verbs.rescale(session, ids, _factor(rescale))
    elif keep:
        verbs.keep(session, ids)
    else:
        verbs.start_anew(session, ids)


def _factor(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no factor: write 0.5, 2 or auto", param_hint="--rescale") from None


def _describe(session: Session) -> dict[str, Any]:
    from ..session.core.watch import changed as changed_ones
    from ..session.files.changed import suggested_scale

    out = []
    for m in changed_ones(session):
        scale = suggested_scale(session, m)
        out.append(
            {"micrograph": m.name, "picks": m.n_particles, "how": m.problem, "scale": scale.factor, "why": scale.why}
        )
    return {"project": str(session.store.folder), "changed": out}


def _as_text(answer: dict[str, Any], done: list[str]) -> str:
    if not answer["changed"]:
        return "\n".join(done) or "no micrograph has changed since it was picked"
    lines = [*done]
    for entry in answer["changed"]:
        scale = f"scale {entry['scale']:g}" if entry["scale"] is not None else f"no scale: {entry['why']}"
        lines.append(f"{entry['micrograph']}: {entry['picks']:,} picks; {entry['how']}; {scale}")
    return "\n".join([*lines, "give --rescale auto (or a factor), --pixel-size, --keep or --start-anew"])
