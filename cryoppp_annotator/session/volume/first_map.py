"""A first map from the averages of a classification, where there is no reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...classify.engine import ClassifyOptions, classify, prepare
from ...classify.metrics import Kind, measure
from ...model.context import JobContext
from ...reconstruct.initial import InitialOptions, initial_map
from ...reconstruct.prepared_boxes import Stack
from ...reconstruct.view_coverage import spread_of

_QUIET = JobContext()
#: Boxes that are classified for a first map, at most.
_FIRST = 2000
#: Boxes for each class of those.
_PER_CLASS = 25
#: Fewest and most classes of those.
_CLASSES = (12, 50)
#: A class is used from this share of the median quality on.
_QUALITY = 0.3
#: The finest period of a first map that is trusted is the box through this, A.
_TRUSTED_RING = 6.0
#: A first map is doubted where a cone of this half angle is empty of views, degrees, ...
_EMPTY_CONE_DEG = 30.0
#: ... or where directions are seen as unevenly as this sampling factor says.
_UNEVEN = 0.5
#: What a verdict about a doubted one begins with, and why.
DOUBT = "doubtful (the views lie on one side): "
WHY_DOUBTED = (
    "the views lie on one side, as those of a wrong first map do: compare with another run, a map or a symmetry"
)


def first_map(
    stack: Stack, mask_radius: float, symmetry: str, context: JobContext = _QUIET
) -> tuple[NDArray[np.float32], float]:
    """A map from the class averages of a part of the boxes, and the finest period to trust it to, A.

    Parameters
    ----------
    stack : Stack
    mask_radius : float
        Of the particle, as a share of the box.
    symmetry : str
    context : JobContext
        Its seed makes it repeatable.

    Raises
    ------
    EngineError
        Too few boxes or classes.
    Cancelled
    """
    rows = np.sort(context.rng().choice(len(stack), min(len(stack), _FIRST), replace=False))
    part = stack.take(rows)
    ready = prepare(
        part.images,
        defocus_A=part.defocus[:, :2].mean(axis=1),
        pixel_size_A=part.pixel_size_A,
        optics=part.optics,
        mask_radius=mask_radius,
        context=context.part(0.0, 0.05),
    )
    number = int(np.clip(len(rows) // _PER_CLASS, *_CLASSES))
    classification = classify(ready, ClassifyOptions(number), context=context.part(0.05, 0.6, "class averages: "))
    classes = [item for item in measure(classification, part.pixel_size_A) if item.kind is Kind.STRUCTURE]
    quality = np.array([item.quality for item in classes])
    good = [item for item in classes if item.quality >= _QUALITY * float(np.median(quality))]
    averages = classification.model.images()[[item.column for item in good]]
    counts = np.array([item.count for item in good], float)
    options = InitialOptions(symmetry, mask_radius=mask_radius)
    made = initial_map(averages, counts, options, context=context.part(0.6, 1.0))
    return made.volume, stack.box * stack.pixel_size_A / _TRUSTED_RING


def is_one_sided(matrices: NDArray[np.float64], symmetry: str) -> bool:
    """Whether the views of a map that began without a reference lie on one side, as those of a wrong first map do.

    Parameters
    ----------
    matrices : (n, 3, 3) float64
        Poses of what is rather the particle than not.
    symmetry : str
    """
    spread = spread_of(matrices, symmetry)
    return spread.empty_cone_deg >= _EMPTY_CONE_DEG or spread.sampling <= _UNEVEN
