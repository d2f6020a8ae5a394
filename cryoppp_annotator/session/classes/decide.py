"""What a curator does with 2D classes: look them up, decide about them, re-centre their picks, keep them.

Reading functions take milliseconds for one micrograph and up to some tenths of a second for a large data set; they
may be called from any thread, so a window calls the ones over the data set as quiet jobs.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError, FormatError, Refused
from ...formats.image.stacks import read_stack
from ...model.classes import ClassRun, ClassSummary, Members, summaries_from_json
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.message import Message
from ...store import classes as table
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Outcome, Step
from .job import AVERAGES, RunResult, classify_project, clear_away, save
from .run_options import RunOptions
from .stages import Preview
from .templates import list_templates, load_template, save_averages

__all__ = [
    "Preview",
    "RunOptions",
    "RunResult",
    "changed_since",
    "classify_project",
    "counts",
    "decide_classes",
    "enter_run",
    "forget_run",
    "is_out_of_date",
    "list_runs",
    "list_templates",
    "load_averages",
    "load_template",
    "members",
    "micrographs_of",
    "recentre",
    "reclassify",
    "save",
    "save_templates",
    "update_of",
]

#: What a window says of the two decisions about a class.
REJECT_TIP = "Rejects the undecided and accepted picks of the chosen classes on every micrograph, as not a particle."
ACCEPT_TIP = "Accepts the undecided picks of the chosen classes on every micrograph, and those rejected as no particle."


def list_runs(session: Session) -> list[ClassRun]:
    """The project's class runs, oldest first."""
    return [_run(entry) for entry in table.runs(session.store)]


def _run(entry: dict[str, Any]) -> ClassRun:
    record = entry["record"]
    source = record["engine"] if record["engine"] in ("relion", "cryosparc") else "here"
    return ClassRun(
        entry["id"],
        entry["name"],
        source,
        entry["pixel_size_A"],
        entry["folder"],
        entry["head"],
        summaries_from_json(entry["summary"]),
        record["counts"].get("verdict", ""),
        record,
    )


def load_averages(session: Session, run: ClassRun) -> NDArray[np.float32]:
    """(n, side, side) float32, yx, white particles: image ``number - 1`` is the class of that number.

    Raises
    ------
    FormatError
        The file of the averages is gone or damaged.
    """
    path = session.store.folder / run.folder / AVERAGES
    images, _ = read_stack(path)
    if len(images) != len(run.summaries):
        raise FormatError(f"holds {len(images)} averages, not the {len(run.summaries)} of {run.name}", path)
    return np.array(images, np.float32)


def members(session: Session, run_id: int, micrograph: int | None = None, number: int | None = None) -> Members:
    """Members of a run that are still there, ordered by particle.

    Parameters
    ----------
    micrograph : int, optional
        Only on this one (a millisecond; without it up to a second for 300,000 picks).
    number : int, optional
        Only of this class; 0 = picks that could not be classified, which are left out otherwise.
    """
    numbers = None if number is None else [number]
    columns = table.members(session.store, run_id, micrograph=micrograph, numbers=numbers)
    return Members(**{name: columns[name] for name in Members.__dataclass_fields__})


def counts(session: Session, run: ClassRun) -> NDArray[np.int64]:
    """(n_classes, 3) int64: undecided, accepted, rejected (as Decision numbers them) of each class, as of now."""
    return table.counts(session.store, run.id, max((item.number for item in run.summaries), default=0))


def micrographs_of(session: Session, run_id: int, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Micrograph ids on which members of classes lie, and how many: most first."""
    return table.micrographs_of(session.store, run_id, numbers)


def changed_since(session: Session, run: ClassRun) -> tuple[int, int, int]:
    """Picks added, removed and moved since a run; rejecting or accepting picks changes nothing."""
    if run.source != "here" or session.store.newest() == run.head:
        return 0, 0, 0
    return table.changed_since(session.store, run.id, RunOptions.from_json(run.record["parameters"]).which)


def is_out_of_date(session: Session, run: ClassRun) -> int:
    """How many picks were added, removed or moved since a run."""
    return sum(changed_since(session, run))


def enter_run(session: Session, result: RunResult) -> ClassRun:
    """Make what a job brought the project's (on the main thread, milliseconds; saves it first where that failed).

    Raises
    ------
    ProjectError
        It cannot be saved; ``result`` still holds everything, and this can be called again.
    """
    fresh = result.saved is None
    if fresh:
        result = save(session, result)
    try:
        return _published(session, result)
    except BaseException:
        if fresh:
            clear_away(session, result.saved)  # the caller's result does not know of it
        raise


def _published(session: Session, result: RunResult) -> ClassRun:
    run = replace(result.run, id=result.saved or 0)
    title = f"classify {edits.count_of(sum(item.count for item in run.summaries))} into {len(run.summaries)} classes"
    folder = result.folder
    session.retried(
        lambda: table.publish(
            session.store,
            run.id,
            name=run.name,
            folder=folder,
            summary=result.summary_json(),
            title=title,
            curator=session.curator,
        )
    )
    return replace(run, folder=folder)


def forget_run(session: Session, run: ClassRun) -> None:
    """Take a run out of the project, its averages too, in milliseconds. Picks and decisions stay. Cannot be undone.

    Its rows go when the next run is saved.
    """
    session.retried(
        lambda: table.hide(session.store, run.id, title=f"forget the classes {run.name}", curator=session.curator)
    )
    if run.folder:
        with contextlib.suppress(OSError):
            shutil.rmtree(session.store.folder / run.folder)


def decide_classes(
    session: Session,
    run_id: int,
    numbers: Sequence[int],
    decision: Decision,
    reason: Reason = Reason.NOT_A_PARTICLE,
    *,
    at_most: int | None = None,
) -> Outcome:
    """Decide about the members of classes on every micrograph, as one step.

    Rejecting acts on undecided and accepted members; accepting on undecided ones and on those that were rejected as
    *not a particle*; other rejected picks keep their reason.

    Parameters
    ----------
    at_most : int, optional
        Picks these classes hold: many are decided about in the background, where there is one.
    """
    chosen = sorted({int(n) for n in numbers})

    def build(_store: Store, connection: Connection) -> Change | None:
        picks = table.to_decide(connection, run_id, chosen, decision)
        return edits.decide(picks, decision, reason, f"of {_classes(chosen)}", None)

    title = f"{edits.DOING[decision]} {_some(at_most)} of {_classes(chosen)}"
    return session.commit(Step(build, at_most, title, "every pick of these classes is decided so already"))


def _some(n: int | None) -> str:
    return "picks" if n is None else edits.count_of(n)


def _classes(numbers: Sequence[int]) -> str:
    if len(numbers) > 6:
        return f"{len(numbers)} classes"
    return f"{'class' if len(numbers) == 1 else 'classes'} {', '.join(map(str, numbers))}"


def recentre(
    session: Session, run_id: int, numbers: Sequence[int] | None = None, *, at_most: int | None = None
) -> Outcome:
    """Move picks to the centres of their classes, as one step.

    Picks that were moved since the run, and rejected ones, stay: doing it twice moves nothing twice.

    Parameters
    ----------
    at_most : int, optional
        As in :func:`decide_classes`.
    """
    where = "their classes" if numbers is None else _classes(sorted(numbers))

    def build(_store: Store, connection: Connection) -> Change | None:
        columns = table.to_move(connection, run_id, numbers)
        moves = np.hypot(columns["to_x"] - columns["x"], columns["to_y"] - columns["y"]) > 0.01
        columns = {name: column[moves] for name, column in columns.items()}
        n = len(columns["particle"])
        if not n:
            return None
        before, after = ({"x": columns[f"{w}x"], "y": columns[f"{w}y"]} for w in ("", "to_"))
        delta = Delta(Table.PARTICLE, Kind.UPDATE, columns["particle"], before, after, columns["micrograph"])
        return Message("move", edits.count_of(n), where=f"to the centre of {where}").change("recentre", (delta,))

    title = f"moving {_some(at_most)} to the centre of {where}"
    return session.commit(Step(build, at_most, title, "every pick is at the centre of its class, or was moved by you"))


def reclassify(run: ClassRun, numbers: Sequence[int], n_classes: int | None = None) -> RunOptions:
    """Options of a new run on the picks of some classes only, without a start from averages.

    Parameters
    ----------
    n_classes : int, optional
        By default as many as the share of the picks, at least 8.
    """
    if not numbers:
        raise Refused("choose the classes first")
    chosen: list[ClassSummary] = [item for item in run.summaries if item.number in set(numbers)]
    made = len(run.summaries) if n_classes is None else n_classes
    share = sum(item.count for item in chosen) / max(1, sum(item.count for item in run.summaries))
    base = RunOptions.from_json(run.record["parameters"]) if run.source == "here" else RunOptions()
    return replace(
        base,
        n_classes=n_classes or max(8, round(share * made)),
        of_run=run.id,
        of_numbers=tuple(sorted(numbers)),
        start_from=None,
        name=f"{run.name}, {_classes(sorted(numbers))}",
    )


def save_templates(session: Session, run_id: int, numbers: Sequence[int], name: str = "") -> Path:
    """Keep averages where a template picker finds them (:mod:`.templates`). Returns the ``.mrcs``.

    Raises
    ------
    Refused
        No class was chosen, or there is no such run.
    ProjectError, FormatError
    """
    run = next((run for run in list_runs(session) if run.id == run_id), None)
    if run is None:
        raise Refused("these classes are not in the project; save them first")
    return save_averages(session, run, load_averages(session, run), numbers, name)


def update_of(run: ClassRun) -> RunOptions:
    """Options that bring a run up to date: the same picks as they are now, from its averages."""
    if run.source != "here":
        raise AnnotatorError(f"{run.name} was made in another program; import it again")
    return replace(RunOptions.from_json(run.record["parameters"]), start_from=run.id, name=run.name)
