"""2D classification of a stack or of picks, from files to files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classify.engine import Classification, ClassifyOptions, classify, prepare
from ..classify.metrics import ClassMetrics, class_averages, measure
from ..errors import FormatError, Refused
from ..formats.atomic import whole_set, write_text
from ..formats.image.images import MRC_EXTENSIONS
from ..formats.image.stacks import read_named_images, read_stack
from ..formats.table.star import ColumnReader, StarFile, StarTable, format_star
from ..formats.table.star_file import read_star
from ..imaging.ctf import Optics
from ..imaging.patches import shrink
from ..model.context import JobContext
from ..session.classes.on_cluster import class_workers
from ..session.classes.summary_files import as_summary, verdict, write_report
from .extract import ExtractOptions, extract

_QUIET = JobContext()
#: Side of the boxes that are classified, px; larger ones are Fourier-cropped.
SIDE_PX = 64
#: Mask of picks in boxes of 1.5 diameters: the particle's own radius and 15 % more, as a share of the box.
_MASK_OF_PICKS = 1.15 / 3.0


@dataclass(frozen=True, eq=False)
class ParticleStack:
    """Images to classify, and what their STAR file says of them.

    Attributes
    ----------
    images : (n, box, box) array, yx, white particles
    pixel_size_A : float or None
    defocus_A : (n,) float64 or None
        Mean of U and V.
    optics : Optics
    table : mapping of label to (n,) list of str
        Columns of the particles, image names among them.
    optics_table : mapping of label to list of str, or None
    """

    images: NDArray[Any]
    pixel_size_A: float | None
    defocus_A: NDArray[np.float64] | None
    optics: Optics
    table: dict[str, list[str]]
    optics_table: dict[str, list[str]] | None = None


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """What a run found and wrote."""

    result: Classification
    classes: tuple[ClassMetrics, ...]
    seconds: float
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    verdict: str


def load_stack(path: Path, *, side: int | None = None) -> ParticleStack:
    """Read ``.mrcs``, or a particles STAR whose rows name their images.

    Parameters
    ----------
    path : Path
    side : int, optional
        Larger boxes are Fourier-cropped to it, px, as they are read, so that they are not all in memory at once; the
        pixel size is then that of the smaller ones.

    Raises
    ------
    FormatError
        Not such a file, several pixel sizes, or an image that is missing.
    """
    if path.suffix.lower() in MRC_EXTENSIONS:
        images, pixel = read_stack(path)
        names = [f"{i:06d}@{path.as_posix()}" for i in range(1, len(images) + 1)]
        pixel = pixel and pixel * _step(images.shape[1:], side)
        return ParticleStack(_reduced(images, side), pixel, None, Optics(), {"rlnImageName": names})
    star = read_star(path)
    table = next((t for t in star.tables if "rlnImageName" in t.columns), None)
    if table is None:
        raise FormatError("names no images (rlnImageName): it holds picks; say where the micrographs are", path)
    boxes: set[tuple[int, ...]] = set()

    def reduced(images: NDArray[Any]) -> NDArray[Any]:
        boxes.add(images.shape[1:])
        return _reduced(images, side)

    images, pixel = read_named_images(star, table.columns["rlnImageName"], table.lines, reduced)
    defocus = None
    if {"rlnDefocusU", "rlnDefocusV"} <= set(table.columns):
        reader = ColumnReader(table.columns, table.lines, path, False)
        defocus = (reader.number("rlnDefocusU", optional=True) + reader.number("rlnDefocusV", optional=True)) / 2.0
    group = star.table("optics")
    values = {
        label: _one_value(star, group, table, label)
        for label in ("rlnImagePixelSize", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
    }
    default = Optics()
    optics = Optics(
        values["rlnVoltage"] or default.voltage_kV,
        default.cs_mm if values["rlnSphericalAberration"] is None else values["rlnSphericalAberration"],
        default.amplitude_contrast if values["rlnAmplitudeContrast"] is None else values["rlnAmplitudeContrast"],
    )
    columns = {label: list(column) for label, column in table.columns.items()}
    kept = None if group is None else {label: list(column) for label, column in group.columns.items()}
    pixel = values["rlnImagePixelSize"] or pixel
    return ParticleStack(images, pixel and pixel * _step(boxes.pop(), side), defocus, optics, columns, kept)


def _step(box: Sequence[int], side: int | None) -> float:
    """Pixels of a box for each one that is left of them."""
    return box[0] // 2 * 2 / side if side is not None and box[0] == box[1] > side else 1.0


def _reduced(images: NDArray[Any], side: int | None) -> NDArray[Any]:
    return images if side is None or _step(images.shape[1:], side) == 1.0 else shrink(images, side)


def _one_value(star: StarFile, optics: StarTable | None, table: StarTable, label: str) -> float | None:
    """The one value a column has, wherever it stands; None = no such column."""
    for source in (optics, table):
        if source is not None and label in source.columns:
            values = np.unique(ColumnReader(source.columns, source.lines, star.path, False).number(label))
            if len(values) > 1:
                sizes = ", ".join(f"{value:g}" for value in values)
                raise FormatError(f"mixes particles of several {label} ({sizes}); classify them apart", star.path)
            return float(values[0]) if len(values) else None
    return None


def classify_files(
    sources: Sequence[Path],
    out: Path,
    options: ClassifyOptions,
    *,
    extract_options: ExtractOptions | None = None,
    use_ctf: bool = True,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> ClassificationReport:
    """Classify a particle stack, or picks that are extracted first.

    Parameters
    ----------
    sources : sequence of Path
        One stack or STAR with images; or, with ``extract_options``, coordinate files.
    out : Path
        Gets ``classes.mrcs``, ``particles.star``, ``summary.csv`` and ``gallery.png``; of picks also the extracted
        particles, in ``extracted/``.
    options : ClassifyOptions
    extract_options : ExtractOptions, optional
        How picks are extracted; their boxes are Fourier-cropped to at most 64 px.
    use_ctf : bool
        Use the defocus where it is known.
    scheduler : str, optional
        Of a Dask cluster that does the comparing; what is read and written is read and written here.
    context : JobContext

    Raises
    ------
    FormatError, EngineError, Refused, Cancelled
    """
    started = time.monotonic()
    notes: list[str] = []
    if extract_options is not None:
        taken = extract(sources, out / "extracted", replace(extract_options, out_px=SIDE_PX), context=context)
        notes += taken.notes
        stack = load_stack(taken.star, side=SIDE_PX)
    elif len(sources) == 1:
        stack = load_stack(sources[0], side=SIDE_PX)
    else:
        raise Refused("one stack at a time; picks need their micrographs (--micrographs)")
    images, pixel = stack.images, stack.pixel_size_A
    defocus = stack.defocus_A if use_ctf and _keeps_phases(extract_options) else None
    if defocus is None:
        notes.append("no CTF: the defocus is not known or not used")
    elif not pixel:
        notes.append("no CTF: the pixel size is not known")
    ready = prepare(
        images,
        defocus_A=defocus,
        pixel_size_A=pixel,
        optics=stack.optics,
        max_rings=options.max_rings,
        mask_radius=_MASK_OF_PICKS if extract_options is not None and extract_options.box_px is None else None,
        context=context,
    )
    with class_workers(scheduler, context) as (workers, inner):
        result = classify(ready, options, workers=workers, context=inner)
    notes += result.notes
    unusable = int((result.label < 0).sum())
    if unusable:
        notes.append(f"left out: {unusable:,} boxes with NaN or without contrast (class 0)")
    classes = measure(result, pixel)
    files = _write(out, stack, images, pixel, result, classes)
    return ClassificationReport(result, classes, time.monotonic() - started, files, tuple(notes), verdict(classes))


def _keeps_phases(extract_options: ExtractOptions | None) -> bool:
    """Whether the CTF of the boxes is the microscope's own (not flipped on extraction)."""
    return extract_options is None or not extract_options.phase_flip


def _write(
    out: Path,
    stack: ParticleStack,
    images: NDArray[Any],
    pixel: float | None,
    result: Classification,
    classes: Sequence[ClassMetrics],
) -> tuple[Path, ...]:
    averages = class_averages(result.model, result.label, classes, images)
    number = np.zeros(result.posterior.shape[1] + 1, np.int64)
    for item in classes:
        number[item.column] = item.id
    table = dict(stack.table)
    table["rlnClassNumber"] = [str(i) for i in number[result.label].tolist()]
    table["rlnMaxValueProbDistribution"] = [f"{value:.4f}" for value in result.posterior.max(axis=1)]
    if pixel:
        for label, column in (("rlnOriginXAngst", 1), ("rlnOriginYAngst", 0)):
            table[label] = [f"{value:.3f}" for value in -result.offset_px[:, column].astype(np.float64) * pixel]
    blocks = [("particles", table)]
    if stack.optics_table is not None:
        blocks.insert(0, ("optics", stack.optics_table))
    with whole_set(out):
        report = write_report(out, averages, [as_summary(item) for item in classes], pixel)
        return (*report, write_text(out / "particles.star", format_star(blocks, version="30001")))
