"""Templates made here: averages of the accepted picks, projections of a map, images of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...classify.metrics import Kind
from ...errors import Refused
from ...formats.image.stacks import read_stack
from ...model.context import JobContext
from ...model.curation import Decision
from ...model.which import Which
from ...picking.template import TemplateParameters, load_templates
from ..core.edits import count_of
from ..core.session import Session
from .box_cache import Picks
from .run_options import RunOptions
from .stages import work_out
from .templates import TemplateSet, free_name, keep, load_template

_QUIET = JobContext()
#: Fewest accepted picks that averages are made of.
FEWEST = 10
#: Most accepted picks that averages are made of.
MOST = 2000
#: Picks to an average.
_EACH = 60
#: Most averages: fewer than the classes from which on some model what is no particle.
_AVERAGES = 5
#: An average of a smaller share of the picks is left out.
_LEAST_SHARE = 0.03
#: Radius of the particle in a template, as a share of its side.
_INSIDE = 0.25
#: Radius of its surroundings in a template, as a share of its side.
_OUTSIDE = 0.45


@dataclass(frozen=True, slots=True)
class Made:
    """Templates that were kept, and what a person should know of them."""

    templates: TemplateSet
    summary: str


def why_not(session: Session) -> str:
    """Why no templates can be made of the picks; empty where they can."""
    if session.store.read_only:
        return "the project was opened read-only"
    n = session.counts()["accepted"]
    return "" if n >= FEWEST else f"at least {FEWEST} accepted picks are needed; there are {n}"


def from_picks(session: Session, *, invert: bool = True, context: JobContext = _QUIET) -> Made:
    """Average the accepted picks, aligned and sorted into at most five classes, and keep the averages as templates.

    Parameters
    ----------
    invert : bool
        Particles are dark in the micrographs.
    context : JobContext

    Raises
    ------
    Refused
        Too few are accepted, or have a box.
    EngineError, ProjectError, Cancelled
    """
    if why := why_not(session):
        raise Refused(f"no templates were made: {why}")
    picks = Picks(**session.store.positions(Which(decisions=(Decision.ACCEPTED,))))
    n = len(picks)
    some = picks.take(np.unique(np.linspace(0, n - 1, min(n, MOST)).astype(np.intp))) if n else picks
    k = max(1, min(_AVERAGES, len(some) // _EACH))
    options = RunOptions(n_classes=k, decisions=(Decision.ACCEPTED,), invert=invert, subset=MOST)
    outcome = work_out(session, options, some, context=context)
    context.check()
    drawn = outcome.averages()
    label = outcome.label
    chosen = [
        (place, item)
        for place, item in enumerate(outcome.classes)
        if item.kind is Kind.STRUCTURE and (label == item.column).sum() >= max(1.0, _LEAST_SHARE * len(label))
    ]
    if not chosen:
        raise Refused("no templates were made: not one average came of the accepted picks")
    boxes = outcome.boxes
    known = bool(np.isfinite(boxes.defocus_A[label >= 0]).all())
    description = {
        "pixel_size_A": boxes.geometry.pixel_size_A,
        "diameter_A": boxes.geometry.diameter_A,
        "white": True,
        "resolution_A": [item.resolution_A if math.isfinite(item.resolution_A) else None for _, item in chosen],
        "source": count_of(len(boxes), "accepted pick") + (f" of {n:,}" if n > len(boxes) else ""),
        "numbers": list(range(1, len(chosen) + 1)),
        "ctf_corrected": known,
    }
    path = keep(session, drawn[[place for place, _ in chosen]], description, free_name(session, "accepted-picks"))
    made = load_template(session, path.stem)[1]
    message = f"kept {count_of(len(chosen), 'template')} made of {description['source']} · {made.summary}"
    skipped = [f"skipped {boxes.skipped[0]}"] if boxes.skipped else []
    return Made(made, " · ".join([message, *skipped]))


def from_file(
    session: Session,
    path: Path,
    *,
    pixel_size_A: float | None = None,
    white: bool | None = None,
    ctf_corrected: bool | None = None,
    context: JobContext = _QUIET,
) -> Made:
    """Keep the images of a file, or the projections of a map, as templates.

    Parameters
    ----------
    path : Path
        An ``.mrcs`` of averages or particles, or a map (a cube) that is projected.
    pixel_size_A : float, optional
        Instead of what the file says.
    white : bool, optional
        Particles are white in it; by default as the images look.
    ctf_corrected : bool, optional
        By default: a map is, and images of other programs are taken to be.

    Raises
    ------
    EngineError
        No such file, or no templates in it, or the pixel size is not known.
    ProjectError, Cancelled
    """
    context.progress(0, 1, f"reading {path.name}")
    options = TemplateParameters(templates=str(path), template_pixel_A=pixel_size_A)
    images, pixel = load_templates(options, 1.0, context)
    context.check()
    a_map = is_map(path)
    seen_white = a_map or looks_white(images) if white is None else white
    description = {
        "pixel_size_A": pixel,
        "diameter_A": session.diameter_A,
        "white": seen_white,
        "resolution_A": [None] * len(images),
        "source": str(path),
        "numbers": list(range(1, len(images) + 1)),
        "ctf_corrected": True if ctf_corrected is None else ctf_corrected,
    }
    kept = keep(session, np.ascontiguousarray(images, np.float32), description, free_name(session, _stem(path)))
    made = load_template(session, kept.stem)[1]
    what = "projection" if a_map else "template"
    return Made(made, f"kept {count_of(len(images), what)} of {path.name} · {made.summary}")


def pixel_size_of(path: Path) -> float | None:
    """What a file says of its pixel size, angstrom; None where it says nothing. Raises FormatError."""
    return read_stack(path)[1]


def is_map(path: Path) -> bool:
    """Whether a file holds a map, not a stack. Raises FormatError."""
    images, _ = read_stack(path)
    return images.shape[0] == images.shape[1] == images.shape[2] and path.suffix.lower() != ".mrcs"


def looks_white(images: NDArray[np.float32]) -> bool:
    """Whether the middle of most images (n, side, side) is brighter than its surroundings."""
    side = images.shape[1]
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset[None]) / side
    inside, outside = radius < _INSIDE, radius > _OUTSIDE
    return bool(np.median(images[:, inside].mean(axis=1) - images[:, outside].mean(axis=1)) >= 0)


def _stem(path: Path) -> str:
    """A file's name as part of another's."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in path.stem).strip("-")[:40] or "file"
