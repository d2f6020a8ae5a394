"""``select``: micrographs for which an expression holds, listed, marked, or written for RELION."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import CuratorOption, JsonOption, ProjectArgument, RelionRootOption, WhereOption, find_project

if TYPE_CHECKING:
    from ..model.context import JobContext
    from ..session.core.session import Session
    from ..session.files.facts import Passed

EXAMPLE = """  cryoppp-annotator select my-project --where "res < 6 and state == complete" -o micrographs_selected.star
  cryoppp-annotator select my-project --where "res > 8 or ice > 0.5" --mark unusable --reason ice
  cryoppp-annotator select my-project --where "whose == '' and state == todo" --assign ada"""


def select(
    project: ProjectArgument,
    where: WhereOption,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write them as RELION's micrographs_selected.star."),
    ] = None,
    mark: Annotated[
        str | None,
        typer.Option("--mark", metavar="STATE", help="Mark them: complete, empty, unusable or 'in progress'."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    assign: Annotated[
        str | None,
        typer.Option("--assign", metavar="NAME", help="Give them to a curator; '' = to nobody in particular."),
    ] = None,
    curator: CuratorOption = None,
    relion_root: RelionRootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose micrographs by an expression over what is known of them; list, mark, assign or write them.

    Names in an expression: state, name, whose, acc, und, rej, picks, defocus, astig, res, score, quality, px, width,
    height, tilt, drift, ice, thickness, carbon, dirt, contrast, visibility, problem. Marking and assigning are steps
    that the window can undo.
    """
    from ..session.core import assigning
    from ..session.core.opening import open_project
    from ..session.files import facts, selecting
    from .progress import run_job

    state = _state(mark)
    session = open_project(find_project(project), curator=curator, read_only=state is None and assign is None)

    def work(context: JobContext) -> tuple[Passed, dict[str, Any]]:
        passed = facts.where(session, where, context=context)
        answer: dict[str, Any] = {"micrographs": [m.name for m in passed.micrographs], "unknown": passed.unknown}
        if out is not None:
            ids = [m.id for m in passed.micrographs]
            report = selecting.export_selected(session, ids, out, relion_root=relion_root, context=context)
            answer |= {"file": str(report.file), "notes": list(report.notes)}
        return passed, answer

    try:
        passed, answer = run_job(work, title="Choosing")
        if state is not None and passed.micrographs:
            session.set_state([m.id for m in passed.micrographs], state, reason=reason)
            answer["marked"] = state.value
        if assign is not None and passed.micrographs:
            assigning.assign(session, [m.id for m in passed.micrographs], assign)
            answer["assigned"] = assign
    finally:
        session.close()
    typer.echo(json.dumps(answer, indent=2) if as_json else _as_text(answer, passed))


def _state(text: str | None) -> Any:
    """The state of that word. Raises Refused where there is none."""
    from ..errors import Refused
    from ..model.micrograph import MicrographState

    if text is None:
        return None
    usual = [s for s in MicrographState if s not in (MicrographState.REMOVED, MicrographState.UNSEEN)]
    for state in usual:
        if state.value == text.strip().lower():
            return state
    raise Refused(f"there is no state {text!r} to mark with; there are {', '.join(s.value for s in usual)}")


def _as_text(answer: dict[str, Any], passed: Passed) -> str:
    from ..session.core.edits import count_of
    from .progress import in_one_line

    lines = [*map(in_one_line, answer["micrographs"]), count_of(len(passed.micrographs), "micrograph")]
    lines += [passed.note] if passed.note else []
    lines += [f"marked {answer['marked']}"] if "marked" in answer else []
    lines += [f"assigned to {in_one_line(answer['assigned']) or 'nobody'}"] if "assigned" in answer else []
    lines += [f"wrote {answer['file']}", *map(in_one_line, answer["notes"])] if "file" in answer else []
    return "\n".join(lines)


def chosen(session: Session, where: str | None, context: JobContext) -> Passed | None:
    """Micrographs that ``--where`` of another command means; None where it was not given."""
    from ..session.files import facts

    return None if where is None else facts.where(session, where, context=context)
