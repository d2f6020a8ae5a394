"""From images on disk to the queue: the labels of many micrographs judged in parallel, without holding them all."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import AnnotatorError, Cancelled, FormatError
from ..formats.image import images
from ..imaging.filters import fft_workers
from ..jobs.each import each
from ..model.context import JobContext
from ..model.coordinates import FloatArray
from .places import LabelledPlaces, lay, polarity_of
from .queue import MOST_TEACHERS, Jury, QueueItem, in_order, summon, weigh
from .suspects import Suspects

log = logging.getLogger(__name__)

R = TypeVar("R")
#: Labels this much brighter than what lies around them, in standard errors, are bright particles.
_SURELY_BRIGHT = 5.0
_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class LabelTask:
    """Labels of one micrograph.

    Attributes
    ----------
    path : Path
    x, y : (n,) float64, canonical px
    diameter : float, px
    polarity : 'dark' or 'bright'
    name : str
        What the queue calls it; its file name by default.
    frame : int
        Of a file with several images; -1 = their average.
    """

    path: Path
    x: FloatArray
    y: FloatArray
    diameter: float
    polarity: str = "dark"
    name: str = ""
    frame: int = -1


def polarity_by_labels(tasks: Sequence[LabelTask], context: JobContext) -> str:
    """Whether the particles are dark or bright, by the micrographs with the most labels: 'dark' or 'bright'."""
    contrasts = []
    for task in sorted(tasks, key=lambda item: -len(item.x))[:3]:
        try:
            image = images.read(task.path, task.frame, check=context.check)
        except FormatError:
            continue
        contrasts.append(polarity_of(image, task.x, task.y, task.diameter))
    sure = [item for item in contrasts if math.isfinite(item)]
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
    chosen = sorted({round(item) for item in np.linspace(0, n - 1, min(n, MOST_TEACHERS)).tolist()}) if n else []
    first = [tasks[i] for i in chosen]
    teachers = [places for _, places in _each(lay_labels, first, failed, scheduler, context)]
    if not teachers:
        return []
    teachers.sort(key=lambda item: item.name)
    jury, suspects = summon(teachers, context)
    done = set(chosen)
    rest = [task for i, task in enumerate(tasks) if i not in done]
    suspects += [item for _, item in _each(partial(weigh_labels, jury=jury), rest, failed, scheduler, context)]
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
    image = images.read(task.path, task.frame, check=context.check)
    # in px throughout: nothing here depends on the size of a pixel
    return lay(
        image,
        task.x,
        task.y,
        pixel_size_A=1.0,
        diameter_A=task.diameter,
        polarity=task.polarity,
        name=task.name or task.path.name,
        context=context,
    )


def weigh_labels(task: LabelTask, *, jury: Jury, context: JobContext) -> Suspects:
    """Judge the labels of one micrograph. Raises FormatError, EngineError or Cancelled."""
    return weigh(jury, lay_labels(task, context=context), context)
