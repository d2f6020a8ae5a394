"""The labels and places of coordinate files that are most worth a look, without a project: ``queue.csv``."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..audit.places import LabelledPlaces, lay, polarity_of
from ..audit.queue import MOST_TEACHERS, Jury, QueueItem, in_order, summon, weigh
from ..audit.suspects import Suspects
from ..errors import AnnotatorError, Cancelled, FormatError, Refused
from ..formats.atomic import write_text
from ..formats.image import images
from ..imaging.filters import fft_workers
from ..jobs.each import each
from ..model.context import JobContext
from ..model.coordinates import FloatArray, Orientation
from .label_sets import diameter_on, micrographs_by_name, orientation_on_images, read_label_set

log = logging.getLogger(__name__)

R = TypeVar("R")

QUEUE = "queue.csv"
_COLUMNS = ("rank", "micrograph", "x", "y", "kind", "probability", "group", "to_x", "to_y", "reason")
#: Labels this much brighter than what lies around them, in standard errors, are bright particles.
_SURELY_BRIGHT = 5.0
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
    """

    micrographs: str
    diameter_A: float | None = None
    diameter_px: float | None = None
    pixel_size_A: float | None = None
    orientation: Orientation | None = None
    polarity: str = "auto"


@dataclass(frozen=True, slots=True)
class LabelTask:
    """Labels of one micrograph.

    Attributes
    ----------
    path : Path
    x, y : (n,) float64, canonical px
    diameter : float, px
    polarity : 'dark' or 'bright'
    """

    path: Path
    x: FloatArray
    y: FloatArray
    diameter: float
    polarity: str = "dark"


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
        A coordinate file, a folder of such, or a CryoPPP folder.
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
    read = read_label_set(labels, by_name, orientation=orientation, failed=failed, context=context)
    notes += read.notes
    tasks = []
    for name, picks in read.picks.items():
        kept = picks.take(picks.accepted())
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


def polarity_by_labels(tasks: Sequence[LabelTask], context: JobContext) -> str:
    """Whether the particles are dark or bright, by the micrographs with the most labels: 'dark' or 'bright'."""
    told = []
    for task in sorted(tasks, key=lambda one: -len(one.x))[:3]:
        try:
            image = images.read(task.path, check=context.check)
        except FormatError:
            continue
        told.append(polarity_of(image, task.x, task.y, task.diameter))
    sure = [one for one in told if math.isfinite(one)]
    return "bright" if sure and float(np.median(sure)) > _SURELY_BRIGHT else "dark"


def judge_labels(
    tasks: Sequence[LabelTask],
    failed: dict[str, str],
    *,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> list[QueueItem]:
    """The queue of some labelled micrographs.

    At most 40 micrographs, spread evenly, teach; the others are then judged one by one, so that memory does not grow
    with the data set. Gaps are looked for on those that teach.

    Parameters
    ----------
    tasks : sequence of LabelTask
    failed : dict
        Gets the reason of each micrograph that could not be read, by its path.
    scheduler : str, optional
    context : JobContext

    Raises
    ------
    Refused
        Too few labels.
    Cancelled
    """
    n = len(tasks)
    chosen = sorted({round(one) for one in np.linspace(0, n - 1, min(n, MOST_TEACHERS)).tolist()}) if n else []
    first = [tasks[i] for i in chosen]
    teachers = [places for _, places in _each(lay_labels, first, failed, scheduler, context)]
    if not teachers:
        return []
    teachers.sort(key=lambda one: one.name)
    jury, suspects = summon(teachers, context)
    done = set(chosen)
    rest = [task for i, task in enumerate(tasks) if i not in done]
    suspects += [one for _, one in _each(partial(weigh_labels, jury=jury), rest, failed, scheduler, context)]
    return in_order(jury, teachers, suspects)


def _each(
    function: Callable[..., R],
    tasks: Sequence[LabelTask],
    failed: dict[str, str],
    scheduler: str | None,
    context: JobContext,
) -> Iterable[tuple[LabelTask, R]]:
    with closing(each(function, tasks, threads=fft_workers(), scheduler=scheduler, context=context)) as results:
        for task, result in results:
            if isinstance(result, Cancelled):
                raise result
            if isinstance(result, BaseException):
                if not isinstance(result, AnnotatorError):
                    log.debug("looking at %s failed", task.path, exc_info=result)
                failed[str(task.path)] = str(result)
                continue
            yield task, result


def lay_labels(task: LabelTask, *, context: JobContext) -> LabelledPlaces:
    """Lay the labels of one micrograph on its places. Raises FormatError, EngineError or Cancelled."""
    image = images.read(task.path, check=context.check)
    # in px throughout: nothing here depends on the size of a pixel
    return lay(
        image,
        task.x,
        task.y,
        pixel_size_A=1.0,
        diameter_A=task.diameter,
        polarity=task.polarity,
        name=task.path.name,
        context=context,
    )


def weigh_labels(task: LabelTask, *, jury: Jury, context: JobContext) -> Suspects:
    """Judge the labels of one micrograph. Raises FormatError, EngineError or Cancelled."""
    return weigh(jury, lay_labels(task, context=context), context)


def queue_text(items: Sequence[QueueItem]) -> str:
    """``queue.csv``: one row an item, most worth a look first.

    ``rank`` from 1, ``micrograph`` file name, ``x, y`` (column and row of the array as stored,
    px), ``kind``, ``probability``, ``group`` (number of a gap; empty for none), ``to_x, to_y`` (of moved labels: where
    the particle seems to lie), ``reason``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for rank, item in enumerate(items, start=1):
        to = ["" if math.isnan(value) else f"{value:.2f}" for value in (item.to_x, item.to_y)]
        writer.writerow(
            [
                rank,
                item.micrograph,
                f"{item.x:.2f}",
                f"{item.y:.2f}",
                item.kind.value,
                f"{item.probability:.4f}",
                item.group or "",
                *to,
                item.reason,
            ]
        )
    return stream.getvalue()
