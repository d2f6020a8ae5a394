"""One micrograph through a picker: what the window, the command line and a cluster's worker all run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...api import Picker
from ...contract import candidates_of
from ...errors import EngineError
from ...extensions import PICKERS, is_foreign, pickers
from ...formats.image import images
from ...imaging.filters import find_padding
from ...jobs.isolated import call_isolated
from ...model.candidates import Candidates
from ...model.context import JobContext
from ...model.curation import Reason
from ...model.region import Origin, Region, not_dealt_with
from ...picking.dirt import find_regions
from ...picking.leaving_out import exclude

_QUIET = JobContext()


@dataclass(frozen=True, eq=False)
class OnePick:
    """All that picking one micrograph needs; plain values, so that it can be sent to another machine.

    Attributes
    ----------
    path : str
        Absolute: a worker runs in another folder.
    picker : str
    pixel_size_A, diameter_A : float
    parameters : mapping
        The picker's own.
    frame : int
        Of a file of several; -1 = their average.
    threshold : float or None
        Smallest score kept; None = all.
    avoid : bool
        Leave out candidates in drawn regions, on carbon and ice (found on the way) and on the padding border.
    whole_box_px : float
        Leave out candidates whose box of so many px would stick out of the micrograph; 0 = none.
    regions : tuple of Region
        Those the micrograph has already.
    number : int
        Of the micrograph in its project.
    name : str
    bright : bool
        Particles, and so carbon and ice, are brighter than their surroundings (also where the picker gets no
        ``polarity``).
    """

    path: str
    picker: str
    pixel_size_A: float
    diameter_A: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
    frame: int = -1
    threshold: float | None = None
    avoid: bool = True
    whole_box_px: float = 0.0
    regions: tuple[Region, ...] = ()
    number: int = 0
    name: str = ""
    bright: bool = False


@dataclass(frozen=True, eq=False)
class Picked:
    """What came out.

    Attributes
    ----------
    candidates : Candidates
    left_out : mapping of Reason to int
        Because of where they lie.
    regions : tuple of Region
        Found on the way, without those a person dealt with.
    """

    candidates: Candidates
    left_out: Mapping[Reason, int]
    regions: tuple[Region, ...]


def named_picker(name: str) -> Picker:
    """The picker of that name. Raises EngineError, with those there are, where there is none."""
    known = pickers()
    if name not in known:
        raise EngineError(f"there is no picker {name!r}; choose one of {', '.join(sorted(known)) or 'none'}")
    return known[name]


def pick_micrograph(task: OnePick, *, context: JobContext = _QUIET) -> Picked:
    """Pick one micrograph, wherever its file can be read: it writes nothing and needs nothing but its arguments.

    Raises
    ------
    AnnotatorError
        The file cannot be read, or the picker failed.
    Cancelled
    """
    image = images.read(Path(task.path), task.frame, check=context.check)
    candidates = _proposed(task, image, context.part())
    if task.threshold is not None:
        candidates = candidates.take(candidates.score >= task.threshold)
    margin = task.whole_box_px / 2
    if not task.avoid:
        left = exclude(candidates, (), shape=image.shape, margin=margin)
        return Picked(left.kept, left.counts, ()) if margin else Picked(candidates, {}, ())
    bright = task.bright or task.parameters.get("polarity") == "bright"
    machine = find_regions(
        image, pixel_size_A=task.pixel_size_A, diameter_A=task.diameter_A, bright=bright, context=context
    )
    machine = not_dealt_with(machine, task.regions)
    drawn = [region for region in task.regions if region.origin is Origin.HAND]
    left = exclude(candidates, [*drawn, *machine], shape=image.shape, padding=find_padding(image), margin=margin)
    return Picked(left.kept, left.counts, tuple(machine))


def _proposed(task: OnePick, image: NDArray[Any], context: JobContext) -> Candidates:
    """What the picker gives, held to its contract; other people's pickers run in a separate process."""
    picker = named_picker(task.picker)
    words: dict[str, Any] = {
        "pixel_size_A": task.pixel_size_A,
        "diameter_A": task.diameter_A,
        "parameters": task.parameters,
    }
    if is_foreign(PICKERS, task.picker):
        answer = call_isolated(PICKERS, task.picker, "propose", (np.asarray(image),), words, context)
    else:
        answer = picker.propose(image, context=context, **words)
    return candidates_of(answer, task.picker, image.shape)


def files_named(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of the files that parameters name (a model, templates): another file of that name counts.

    Raises
    ------
    FormatError
        One may not be read.
    """
    fingerprints = {}
    for name, value in parameters.items():
        if isinstance(value, str | Path) and Path(value).is_file():
            fingerprints[name] = images.fingerprint(Path(value))
    return fingerprints
