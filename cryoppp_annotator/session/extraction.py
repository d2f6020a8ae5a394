"""Particle stacks from coordinate files: one ``.mrcs`` a micrograph, and the ``particles.star`` that RELION takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import AnnotatorError, Refused
from ..formats import images
from ..formats.atomic import write_text
from ..formats.stacks import write_stack
from ..formats.star import format_star, number_text
from ..imaging.ctf import Defocus, Optics
from ..imaging.patches import Edge, PatchOptions, box_for, extract_patches, phase_ctf
from ..model.context import JobContext
from ..model.coordinates import Orientation
from ..model.curation import Decision
from ..model.pickfile import MicrographPicks
from .conversion import Conversion, read_picks

_QUIET = JobContext()
#: Boxes cut between two looks at whether the job was cancelled.
_BATCH = 256
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_OPTICS = {"rlnVoltage": "voltage_kV", "rlnSphericalAberration": "cs_mm", "rlnAmplitudeContrast": "amplitude_contrast"}


@dataclass(frozen=True, slots=True)
class ExtractionWish:
    """How to extract.

    Attributes
    ----------
    micrographs : str
        Folder, pattern or file.
    box_px : int or None
        Side of the box, micrograph px; None = 1.5 diameters.
    bin : int
        Fourier-crop by so much; ignored where ``out_px`` is given.
    out_px : int or None
        Side of the boxes that are written (at most ``box_px``).
    edge : Edge
    invert : bool
        Particles are dark in the micrographs, as in raw ones.
    phase_flip : bool
        Needs ``rlnDefocusU`` ... in the coordinate file.
    orientation : Orientation or None
        Of the coordinates; None = as their format declares.
    pixel_size_A : float or None
        Instead of what the headers say.
    diameter_A : float or None
        For picks without one.
    """

    micrographs: str
    box_px: int | None = None
    bin: int = 1
    out_px: int | None = None
    edge: Edge = Edge.SKIP
    invert: bool = True
    phase_flip: bool = False
    orientation: Orientation | None = None
    pixel_size_A: float | None = None
    diameter_A: float | None = None


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What an extraction wrote, and what it left out."""

    star: Path
    n_particles: int
    n_skipped: int
    box_px: int
    out_px: int
    notes: tuple[str, ...]


def extract(
    sources: Sequence[Path], out: Path, wish: ExtractionWish, *, context: JobContext = _QUIET
) -> ExtractionReport:
    """Cut boxes around the picks of coordinate files; one micrograph is in memory at a time.

    Rejected picks are left out. A micrograph that cannot be read is noted and skipped.

    Raises
    ------
    FormatError
        A coordinate file is bad.
    Refused
        There is nothing to extract, or the box or pixel size is not known.
    Cancelled
        Finished stacks are kept.
    """
    notes: list[str] = []
    picks = _picks(sources, wish, notes)
    box = wish.box_px or _box(picks)
    side = wish.out_px or 2 * round(box / wish.bin / 2)
    try:
        options = PatchOptions(box, min(side, box), wish.edge, invert=wish.invert)
    except ValueError as error:
        raise Refused(str(error)) from error
    table: dict[str, list[str]] = {}
    groups: dict[tuple[str, ...], int] = {}
    has_defocus = all(set(_DEFOCUS[:2]) <= set(pick.extra) for pick in picks)
    if wish.phase_flip and not has_defocus:
        raise Refused("phases cannot be flipped: the coordinates have no rlnDefocusU and rlnDefocusV")
    wanted = n_particles = 0
    for i, pick in enumerate(picks):
        context.progress(i, len(picks), f"{pick.micrograph.name}: {n_particles:,} particles")
        wanted += len(pick)
        try:
            image = images.read(pick.micrograph.path, pick.micrograph.frame, check=context.check)
            stack, rows = _cut(image, pick, options, wish, context)
        except AnnotatorError as error:
            context.check()
            notes.append(f"skipped: {error}")
            continue
        if not len(rows):
            continue
        path = write_stack(out / f"{pick.micrograph.name}.mrcs", stack, _pixel(pick) * box / options.out_px)
        kept = pick.take(rows)
        _append(table, kept, path, groups, has_defocus)
        n_particles += len(rows)
    if not n_particles:
        detail = f" ({notes[0]})" if notes else ""
        raise Refused(f"none of {wanted} picks has its whole box of {box} px on a readable micrograph{detail}")
    if n_particles < wanted:
        notes.append(f"left out: {wanted - n_particles:,} of {wanted:,} picks, off the edge or without contrast")
    star = out / "particles.star"
    optics = _optics(groups, box, options.out_px)
    write_text(star, format_star([("optics", optics), ("particles", table)], version="30001"))
    context.progress(len(picks), len(picks), f"{n_particles:,} particles")
    return ExtractionReport(star, n_particles, wanted - n_particles, box, options.out_px, tuple(notes))


def _picks(sources: Sequence[Path], wish: ExtractionWish, notes: list[str]) -> list[MicrographPicks]:
    """The picks with their micrographs, without the rejected ones."""
    conversion = Conversion(
        "relion-particles", micrographs=wish.micrographs, orientation=wish.orientation,
        pixel_size_A=wish.pixel_size_A, diameter_A=wish.diameter_A,
    )  # fmt: skip
    kept = [pick.take(pick.decision != Decision.REJECTED) for pick in read_picks(sources, conversion, notes)]
    kept = [pick for pick in kept if len(pick)]
    if not kept:
        raise Refused("there are no picks to extract")
    names = [pick.micrograph.name for pick in kept]
    if len(set(names)) < len(names):
        raise Refused("two micrographs share a name; extract them into different folders")
    for pick in kept:
        _pixel(pick)
    return kept


def _pixel(pick: MicrographPicks) -> float:
    if not pick.pixel_size_A:
        raise Refused(f"the pixel size of {pick.micrograph.name} is not known: give it (--pixel-size)")
    return pick.pixel_size_A


def _box(picks: Sequence[MicrographPicks]) -> int:
    diameters = np.concatenate([pick.diameter_px for pick in picks])
    if not np.isfinite(diameters).any():
        raise Refused("the picks have no diameter: give --box-size or --diameter")
    return box_for(float(np.nanmedian(diameters)))


def _cut(
    image: NDArray[np.generic], pick: MicrographPicks, options: PatchOptions, wish: ExtractionWish, context: JobContext
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    ctf = None
    if wish.phase_flip:
        u, v, angle = (_number(pick, label) for label in _DEFOCUS)
        values = {name: _number(pick, label) for label, name in _OPTICS.items() if label in pick.extra}
        ctf = phase_ctf(options.box_px, _pixel(pick), Defocus(u, v, angle), Optics(**values))
    kept: list[NDArray[np.float32]] = [np.zeros((0, options.out_px, options.out_px), np.float32)]
    of_rows: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    for start in range(0, len(pick), _BATCH):
        context.check()
        batch = slice(start, start + _BATCH)
        patches, rows = extract_patches(image, pick.x[batch], pick.y[batch], options, ctf=ctf)
        kept.append(patches)
        of_rows.append(start + rows)
    return np.concatenate(kept), np.concatenate(of_rows)


def _number(pick: MicrographPicks, label: str) -> float:
    """The micrograph's value of a column (the median of its particles'); 0 where it has none."""
    texts = pick.extra.get(label)
    try:
        return 0.0 if texts is None else float(np.median([float(text) for text in texts if text]))
    except ValueError as error:
        raise Refused(f"{label} of {pick.micrograph.name} is no number") from error


def _append(
    table: dict[str, list[str]],
    pick: MicrographPicks,
    path: Path,
    groups: dict[tuple[str, ...], int],
    has_defocus: bool,
) -> None:
    """Rows of one micrograph's particles."""
    n = len(pick)
    size = number_text(np.array([_pixel(pick)]))[0]
    defaults = Optics()
    key = (size, *(
        number_text(np.array([_number(pick, label) if label in pick.extra else getattr(defaults, name)]))[0]
        for label, name in _OPTICS.items()
    ))  # fmt: skip
    group = groups.setdefault(key, len(groups) + 1)
    score = np.where(np.isfinite(pick.score), pick.score, -999.0)
    columns = {
        "rlnCoordinateX": number_text(pick.x),
        "rlnCoordinateY": number_text(pick.y),
        "rlnImageName": [f"{i:06d}@{path.as_posix()}" for i in range(1, n + 1)],
        "rlnMicrographName": [pick.micrograph.path] * n,
        "rlnOpticsGroup": [str(group)] * n,
        "rlnAutopickFigureOfMerit": number_text(score),
    }
    if has_defocus:
        for label in _DEFOCUS:
            columns[label] = [text or "0" for text in pick.extra[label].tolist()] if label in pick.extra else ["0"] * n
    for label, texts in columns.items():
        table.setdefault(label, []).extend(texts)


def _optics(groups: dict[tuple[str, ...], int], box: int, side: int) -> dict[str, list[str]]:
    numbers = list(groups.values())
    return {
        "rlnOpticsGroupName": [f"opticsGroup{i}" for i in numbers],
        "rlnOpticsGroup": [str(i) for i in numbers],
        "rlnMicrographOriginalPixelSize": [key[0] for key in groups],
        **{label: [key[i] for key in groups] for i, label in enumerate(_OPTICS, 1)},
        "rlnImagePixelSize": [number_text(np.array([float(key[0]) * box / side]))[0] for key in groups],
        "rlnImageSize": [str(side)] * len(groups),
        "rlnImageDimensionality": ["2"] * len(groups),
    }
