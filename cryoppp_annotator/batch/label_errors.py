"""The labels and places of coordinate files that are most worth a look, without a project: ``queue.csv``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audit.judging import LabelTask, judge_labels, polarity_by_labels
from ..audit.queue import QueueItem
from ..errors import FormatError, Refused
from ..formats.atomic import write_text
from ..formats.table.spreadsheet import csv_text
from ..model.context import JobContext
from ..model.coordinates import Orientation
from .label_sets import diameter_on, micrographs_by_name, orientation_on_images, read_label_set

log = logging.getLogger(__name__)

QUEUE = "queue.csv"
_COLUMNS = ("rank", "micrograph", "x", "y", "kind", "probability", "group", "to_x", "to_y", "reason")
_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class ErrorOptions:
    """How to look for errors.

    Attributes
    ----------
    micrographs : str
        Folder or pattern.
    diameter_A, diameter_px : float or None
        Exactly one.
    pixel_size_A : float or None
        Instead of what the headers say.
    orientation : Orientation or None
        Of the axes; None = as the format declares, unless the images are sure that it is not so.
    polarity : 'dark', 'bright' or 'auto'
        Of the particles; auto asks the images.
    pick_set : str or None
        Of a project: name or number of the set; None = its accepted picks.
    """

    micrographs: str
    diameter_A: float | None = None
    diameter_px: float | None = None
    pixel_size_A: float | None = None
    orientation: Orientation | None = None
    polarity: str = "auto"
    pick_set: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What was found.

    Attributes
    ----------
    items : tuple of QueueItem
        Most worth a look first.
    n_labels, n_micrographs : int
    failed : mapping of micrograph path to reason
    notes : tuple of str
        What was left out or assumed, and why.
    file : Path or None
    """

    items: tuple[QueueItem, ...]
    n_labels: int
    n_micrographs: int
    failed: Mapping[str, str]
    notes: tuple[str, ...]
    file: Path | None = None


def find_errors(
    labels: Path, out: Path | None, options: ErrorOptions, *, scheduler: str | None = None, context: JobContext = _QUIET
) -> ErrorReport:
    """Judge labels by what those of other micrographs teach, and write ``queue.csv``.

    Micrographs without labels are left out. Rejected picks are no labels.

    Parameters
    ----------
    labels : Path
        A coordinate file, a folder of such, a CryoPPP folder, or a project.
    out : Path or None
        Folder for ``queue.csv``; None = write nothing.
    options : ErrorOptions
    scheduler : str, optional
        Of a Dask cluster whose workers see the same micrographs.
    context : JobContext

    Raises
    ------
    FormatError
        A file is bad, names none of the micrographs, or ``out`` cannot be written.
    Refused
        The diameter is not known, or there are too few labels.
    Cancelled
    """
    if (options.diameter_A is None) == (options.diameter_px is None):
        raise Refused("say the particle's diameter, in angstrom or in px (--diameter 191, or 108px)")
    failed: dict[str, str] = {}
    tasks, notes = _tasks(labels, options, failed, context)
    items = judge_labels(tasks, failed, scheduler=scheduler, context=context)
    if not items and failed:
        path, reason = next(iter(failed.items()))
        raise FormatError(f"none of the micrographs could be read, the first because: {reason}", path)
    file = None
    if out is not None:
        file = out / QUEUE
        write_text(file, queue_text(items))
    n = sum(len(task.x) for task in tasks)
    return ErrorReport(tuple(items), n, len(tasks), failed, tuple(notes), file)


def _tasks(
    labels: Path, options: ErrorOptions, failed: dict[str, str], context: JobContext
) -> tuple[list[LabelTask], list[str]]:
    by_name = micrographs_by_name(options.micrographs)
    orientation, notes = options.orientation, []
    if orientation is None:
        orientation, note = orientation_on_images(
            labels,
            options.micrographs,
            diameter_A=options.diameter_A,
            diameter_px=options.diameter_px,
            pixel_size_A=options.pixel_size_A,
            context=context,
        )
        notes = [note] if note else []
    read = read_label_set(
        labels, by_name, orientation=orientation, pick_set=options.pick_set, failed=failed, context=context
    )
    notes += read.notes
    tasks = []
    for name, picks in read.picks.items():
        kept = picks.take(picks.accepted())
        if not len(kept.x):
            continue
        diameter = diameter_on(by_name[name], kept, options.diameter_A, options.diameter_px, options.pixel_size_A)
        tasks.append(LabelTask(by_name[name], kept.x, kept.y, diameter, options.polarity))
    n_without = len(by_name) - len(tasks) - len(failed)
    if n_without:
        notes.append(f"{n_without} of {len(by_name)} micrographs have no labels and are left out")
    if options.polarity == "auto":
        polarity = polarity_by_labels(tasks, context)
        tasks = [LabelTask(t.path, t.x, t.y, t.diameter, polarity) for t in tasks]
        if polarity == "bright":
            notes.append("the labels are brighter than what lies around them: particles are taken to be bright")
    return tasks, notes


def queue_text(items: Sequence[QueueItem]) -> str:
    """``queue.csv``: one row an item, most worth a look first.

    ``rank`` from 1, ``micrograph`` file name, ``x, y`` (column and row of the array as stored,
    px), ``kind``, ``probability``, ``group`` (number of a gap; empty for none), ``to_x, to_y`` (of moved labels: where
    the particle seems to lie), ``reason``.
    """
    return csv_text([_COLUMNS, *(_cells(rank, item) for rank, item in enumerate(items, start=1))])


def _cells(rank: int, item: QueueItem) -> list[object]:
    to = ["" if math.isnan(value) else f"{value:.2f}" for value in (item.to_x, item.to_y)]
    place = [rank, item.micrograph, f"{item.x:.2f}", f"{item.y:.2f}"]
    return [*place, item.kind.value, f"{item.probability:.4f}", item.group or "", *to, item.reason]
