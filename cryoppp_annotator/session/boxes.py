"""Boxes around the project's picks, cut from its micrographs one at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AnnotatorError, Refused
from ..formats import images
from ..imaging.ctf import Optics
from ..imaging.patches import PatchOptions, box_for, extract_patches
from ..model.context import JobContext
from ..model.micrograph import Micrograph
from .session import Session

_QUIET = JobContext()
#: Side of the boxes that are classified, px.
SIDE_PX = 64


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of those picks that have one.

    Attributes
    ----------
    images : (n, side, side) array, yx, white
    rows : (n,) intp
        Which pick each is of.
    pixel_size_A : float
        Of the boxes.
    scale : (n,) float64
        Micrograph px per box px.
    defocus_A : (n,) float64 or None
        Mean of u and v; NaN = not known.
    optics : Optics
    box_px : int
        Side in the (first) micrograph, px.
    diameter_A : float
    notes : tuple of str
        What was left out.
    """

    images: NDArray[Any]
    rows: NDArray[np.intp]
    pixel_size_A: float
    scale: NDArray[np.float64]
    defocus_A: NDArray[np.float64] | None
    optics: Optics
    box_px: int
    diameter_A: float
    notes: tuple[str, ...]


def cut_out(
    session: Session, picks: Mapping[str, NDArray[Any]], invert: bool = True, *, context: JobContext = _QUIET
) -> Boxes:
    """Cut boxes of 1.5 diameters around picks, Fourier-cropped to one pixel size.

    Parameters
    ----------
    picks : mapping of ``id, micrograph, x, y, diameter_A`` to (n,) arrays
        Ordered by micrograph.

    Raises
    ------
    Refused
        Not one has its whole box on a readable micrograph.
    Cancelled
    """
    known = {m.id: m for m in list(session.micrographs)}
    diameter_A = _diameter(session, picks["diameter_A"])
    numbers, starts = np.unique(picks["micrograph"], return_index=True)
    ends = [*starts[1:].tolist(), len(picks["id"])]
    first = session.pixel_size_A(known[int(numbers[0])])
    box = box_for(diameter_A / first)
    side = min(SIDE_PX, box)
    target_A = first * box / side
    kept: list[NDArray[np.float32]] = []
    rows: list[NDArray[np.intp]] = []
    scales: list[NDArray[np.float64]] = []
    defocus: list[NDArray[np.float64]] = []
    notes: list[str] = []
    optics = None
    for i, (number, start, end) in enumerate(zip(numbers.tolist(), starts.tolist(), ends, strict=True)):
        micrograph = known[number]
        context.progress(i, 2 * len(numbers), f"cutting out {micrograph.name}")
        try:
            cut, of = _cut(session, micrograph, picks, slice(start, end), target_A, side, invert, context)
        except AnnotatorError as error:
            context.check()
            notes.append(f"skipped {micrograph.name}: {error}")
            continue
        told = _optics(micrograph)
        optics = optics or told[1]
        kept.append(cut)
        rows.append(start + of)
        scales.append(np.full(len(of), target_A / session.pixel_size_A(micrograph)))
        defocus.append(np.full(len(of), told[0]))
    n = sum(map(len, rows))
    if not n:
        detail = f" ({notes[0]})" if notes else ""
        raise Refused(
            f"none of {len(picks['id']):,} picks has its whole box of {box} px on a readable micrograph{detail}"
        )
    if n < len(picks["id"]):
        notes.append(
            f"left out: {len(picks['id']) - n:,} of {len(picks['id']):,} picks, off the edge or without contrast"
        )
    depths = np.concatenate(defocus)
    return Boxes(
        np.concatenate(kept), np.concatenate(rows), target_A, np.concatenate(scales),
        depths if np.isfinite(depths).any() else None, optics or Optics(), box, diameter_A, tuple(notes),
    )  # fmt: skip


def _diameter(session: Session, of_picks: NDArray[np.float64]) -> float:
    if session.diameter_is_set or not np.isfinite(of_picks).any():
        return session.diameter_A
    return float(np.nanmedian(of_picks))


def _cut(
    session: Session,
    micrograph: Micrograph,
    picks: Mapping[str, NDArray[Any]],
    which: slice,
    target_A: float,
    side: int,
    invert: bool,
    context: JobContext,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    pixel = session.pixel_size_A(micrograph)
    box = 2 * round(target_A * side / pixel / 2.0)
    if box < side:
        raise Refused(f"its pixel size of {pixel:g} A is coarser than that of the others")
    image = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
    options = PatchOptions(box, side, invert=invert)
    return extract_patches(image, picks["x"][which], picks["y"][which], options)


def _optics(micrograph: Micrograph) -> tuple[float, Optics | None]:
    """Mean defocus, angstrom (NaN = not known), and the microscope of a micrograph."""
    if not micrograph.optics:
        return np.nan, None
    told = json.loads(micrograph.optics)
    u, v = told.get("defocus_u_A"), told.get("defocus_v_A")
    depth = np.nan if u is None else (float(u) + float(u if v is None else v)) / 2.0
    default = Optics()
    values = {n: told.get(n) for n in ("voltage_kV", "cs_mm", "amplitude_contrast")}
    return depth, Optics(*(getattr(default, n) if v is None else float(v) for n, v in values.items()))
