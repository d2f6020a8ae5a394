"""Boxes for 3D from files: a stack as it lies there, or picks cut from their micrographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, Refused
from ..formats.image.volumes import read_volume
from ..imaging.patches import shrink
from ..model.context import JobContext
from ..reconstruct import poses
from ..reconstruct.prepared_boxes import MASK, Stack
from .classify import ParticleStack, load_stack
from .extract import ExtractOptions, extract

_QUIET = JobContext()
#: Mask of picks in boxes of 1.5 diameters: the particle's own radius and 15 % more, as a share of the box.
_MASK_OF_PICKS = 1.15 / 3.0
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """Where boxes come from, and how they are prepared.

    Attributes
    ----------
    extract : ExtractOptions or None
        How picks are cut from their micrographs; None = the source is a stack.
    side_px : int
        Larger boxes are Fourier-cropped to this, px.
    pixel_size_A : float or None
        Of the stack, instead of what its files say.
    use_ctf : bool
        Whether the defocus that the files give is used.
    """

    extract: ExtractOptions | None = None
    side_px: int = 64
    pixel_size_A: float | None = None
    use_ctf: bool = True


#: Boxes of a stack, as its files say.
USUAL_BOXES = BoxOptions()


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes ready to be matched, and where they come from.

    Attributes
    ----------
    stack : Stack
        Shrunk where it was larger than asked for.
    source : ParticleStack
        As it lies in the files.
    mask_radius : float
        Share of the box.
    notes : tuple of str
    """

    stack: Stack
    source: ParticleStack
    mask_radius: float
    notes: tuple[str, ...]


def load_boxes(
    sources: Sequence[Path],
    out: Path,
    options: BoxOptions = USUAL_BOXES,
    *,
    context: JobContext = _QUIET,
) -> Boxes:
    """Read a stack, or cut picks into ``out / "extracted"`` first.

    Parameters
    ----------
    sources : sequence of Path
        One stack or STAR with images; or, with ``options.extract``, coordinate files.
    out : Path
    options : BoxOptions
    context : JobContext

    Raises
    ------
    FormatError, Refused, Cancelled
    """
    notes: list[str] = []
    if options.extract is not None:
        cut = extract(sources, out / "extracted", replace(options.extract, phase_flip=False), context=context)
        notes += cut.notes
        source = load_stack(cut.star)
    elif len(sources) == 1:
        source = load_stack(sources[0])
    else:
        raise Refused("one stack at a time; picks need their micrographs (--micrographs)")
    images, pixel = source.images, options.pixel_size_A or source.pixel_size_A
    if not pixel:
        raise Refused(f"the pixel size of {sources[0].name} is not known: give it (--pixel-size)")
    box = images.shape[1]
    if box != images.shape[2]:
        raise FormatError(f"has images of {images.shape[2]} x {box} px; square boxes are needed", sources[0])
    if box > options.side_px:
        images = shrink(images, options.side_px)
        pixel = pixel * (box // 2 * 2) / options.side_px
    defocus = _defocus(source.table, len(images)) if options.use_ctf else np.full((len(images), 3), np.nan)
    unknown = int((~np.isfinite(defocus).all(axis=1)).sum())
    if unknown:
        which = "all boxes" if unknown == len(images) else f"{unknown:,} boxes"
        notes.append(f"no CTF for {which}: the defocus is not known or not used, so fine details cancel each other")
    tight = options.extract is not None and options.extract.box_px is None
    stack = Stack(images, pixel, defocus, source.optics)
    return Boxes(stack, source, _MASK_OF_PICKS if tight else MASK, tuple(notes))


def _defocus(table: Mapping[str, Sequence[str]], n: int) -> NDArray[np.float64]:
    """Defocus U, V and angle (n, 3); NaN throughout where it is not known (both 0, as a table writes *unknown*)."""
    out = np.full((n, 3), np.nan)
    if not {"rlnDefocusU", "rlnDefocusV"} <= set(table):
        return out
    for column, label in enumerate(_DEFOCUS):
        texts = table.get(label)
        out[:, column] = 0.0 if texts is None else [_number(text) for text in texts]
    out[(out[:, :2] == 0.0).all(axis=1) | ~np.isfinite(out).all(axis=1)] = np.nan
    return out


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def load_map(path: Path, pixel_size_A: float | None = None) -> tuple[NDArray[np.float32], float]:
    """A map and its pixel size, A.

    Raises
    ------
    FormatError
        Not a map, or its header has no pixel size and none was given.
    """
    volume, pixel = read_volume(path)
    size = pixel_size_A or pixel
    if not size:
        raise FormatError("has no pixel size in its header: give it (--map-pixel-size)", path)
    return np.asarray(volume, np.float32), size


def posed_table(
    boxes: Boxes, rows: NDArray[np.intp], matrices: NDArray[np.float64], shifts: NDArray[np.float64]
) -> list[tuple[str, dict[str, list[str]]]]:
    """Tables of a particles STAR with poses: what the source says, with angles and origins of some rows.

    Parameters
    ----------
    boxes : Boxes
    rows : (m,) intp
    matrices : (m, 3, 3) float64
    shifts : (m, 2) float64, xy, px of the stack
        Where the particle's centre lies, from the centre of the box.

    Returns
    -------
    list of (block, columns) : RELION 3.1's optics and particles
        ``rlnOriginXAngst`` is what an image must be moved by, so it is the centre with the opposite sign.
    """
    table = {label: [column[row] for row in rows.tolist()] for label, column in boxes.source.table.items()}
    angles = poses.to_angles(matrices)
    for label, values in zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles.T, strict=True):
        table[label] = [f"{value:.3f}" for value in values]
    for label, values in zip(("rlnOriginXAngst", "rlnOriginYAngst"), shifts.T, strict=True):
        table[label] = [f"{value:.3f}" for value in -values * boxes.stack.pixel_size_A + 0.0]
    for old in ("rlnOriginX", "rlnOriginY", "rlnAngleRotPrior", "rlnAngleTiltPrior", "rlnAnglePsiPrior"):
        table.pop(old, None)
    optics = boxes.source.optics_table or _optics_table(boxes)
    table.setdefault("rlnOpticsGroup", ["1"] * len(rows))
    return [("optics", dict(optics)), ("particles", table)]


def _optics_table(boxes: Boxes) -> dict[str, list[str]]:
    optics, side = boxes.stack.optics, boxes.source.images.shape[1]
    pixel = boxes.stack.pixel_size_A * boxes.stack.box / (side // 2 * 2 if side > boxes.stack.box else side)
    return {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": ["1"],
        "rlnVoltage": [f"{optics.voltage_kV:g}"],
        "rlnSphericalAberration": [f"{optics.cs_mm:g}"],
        "rlnAmplitudeContrast": [f"{optics.amplitude_contrast:g}"],
        "rlnImagePixelSize": [f"{pixel:.6g}"],
        "rlnImageSize": [str(side)],
        "rlnImageDimensionality": ["2"],
    }
