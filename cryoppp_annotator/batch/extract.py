"""Particle stacks from coordinate files: one ``.mrcs`` a micrograph, and the ``particles.star`` that RELION takes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import AnnotatorError, Cancelled, Refused
from ..formats.atomic import replacing, waiting_folder
from ..formats.image import images
from ..formats.image.stacks import writing_stack
from ..formats.table.star import format_rows, format_star, number_text
from ..formats.writing import without_bad_names
from ..imaging.ctf import Defocus, Optics
from ..imaging.filters import fft_workers
from ..imaging.patches import Edge, PatchOptions, box_for, extract_patches, phase_ctf
from ..jobs.each import each
from ..model.context import JobContext
from ..model.coordinates import Orientation, relion_y
from ..model.curation import Decision
from ..model.pickfile import MicrographPicks
from .convert import ConvertOptions, read_picks

_QUIET = JobContext()
#: Pixels of the boxes that are cut at once, and written before the next.
_PIXELS_AT_ONCE = 1 << 22
#: Micrographs in memory at once, at most.
_AT_ONCE = 4
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_OPTICS = {"rlnVoltage": "voltage_kV", "rlnSphericalAberration": "cs_mm", "rlnAmplitudeContrast": "amplitude_contrast"}


@dataclass(frozen=True, slots=True)
class ExtractOptions:
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


@dataclass(frozen=True, eq=False)
class _Task:
    """The boxes of one micrograph; plain values, and absolute paths: a worker runs in another folder."""

    number: int
    pick: MicrographPicks
    source: Path
    target: Path
    patch: PatchOptions
    phase_flip: bool


def extract(
    sources: Sequence[Path], out: Path, options: ExtractOptions, *, context: JobContext = _QUIET
) -> ExtractionReport:
    """Cut boxes around the picks of coordinate files, on all cores; what is in memory does not grow with the picks.

    Rejected picks are left out. A micrograph that cannot be read is noted and skipped.

    Raises
    ------
    FormatError
        A coordinate file is bad.
    Refused
        There is nothing to extract, or the box or pixel size is not known.
    Cancelled
        As after an error, nothing is written.
    """
    notes: list[str] = []
    picks = _picks(sources, options, notes)
    box = options.box_px or _box(picks)
    side = options.out_px or 2 * round(box / options.bin / 2)
    try:
        patch = PatchOptions(box, min(side, box), options.edge, invert=options.invert)
    except ValueError as error:
        raise Refused(str(error)) from error
    has_defocus = all(set(_DEFOCUS[:2]) <= set(pick.extra) for pick in picks)
    if options.phase_flip and not has_defocus:
        raise Refused("phases cannot be flipped: the coordinates have no rlnDefocusU and rlnDefocusV")
    n_picks = sum(map(len, picks))
    with waiting_folder(out) as aside, _Table(out, aside, box, patch.out_px, has_defocus) as table:
        tasks = [
            _Task(i, pick, Path(pick.micrograph.path).absolute(), aside / _stack_name(pick), patch, options.phase_flip)
            for i, pick in enumerate(picks)
        ]
        _run(tasks, table, notes, context)
        n = table.n_particles
        if not n:
            detail = f" ({notes[0]})" if notes else ""
            raise Refused(f"none of {n_picks} picks has its whole box of {box} px on a readable micrograph{detail}")
        if n < n_picks:
            notes.append(f"left out: {n_picks - n:,} of {n_picks:,} picks, off the edge or without contrast")
        star = table.write()
    context.progress(len(picks), len(picks), f"{n:,} particles")
    return ExtractionReport(star, n, n_picks - n, box, patch.out_px, tuple(notes))


def _stack_name(pick: MicrographPicks) -> str:
    return f"{pick.micrograph.name}.mrcs"


def _run(tasks: Sequence[_Task], table: _Table, notes: list[str], context: JobContext) -> None:
    """All micrographs, a few at once; the table is written in their order."""
    waiting: dict[int, NDArray[np.intp] | str] = {}
    begun = 0  # not yet in the table: the first of these is waited for

    def report(done: float, total: float, _message: str) -> None:
        context.on_progress(done, total, f"{done:,.0f}/{total:,.0f} micrographs, {table.n_particles:,} particles")

    threads = min(fft_workers(), _AT_ONCE)
    inner = replace(context, on_progress=report)
    with closing(each(extract_one, tasks, threads=threads, context=inner)) as results:
        for task, outcome in results:
            if isinstance(outcome, Cancelled) or (
                isinstance(outcome, BaseException) and not isinstance(outcome, AnnotatorError)
            ):
                raise outcome
            waiting[task.number] = f"skipped: {outcome}" if isinstance(outcome, BaseException) else outcome
            while begun in waiting:
                rows = waiting.pop(begun)
                if isinstance(rows, str):
                    notes.append(rows)
                elif len(rows):
                    table.add(tasks[begun].pick.take(rows))
                begun += 1


def extract_one(task: _Task, *, context: JobContext = _QUIET) -> NDArray[np.intp]:
    """Cut the boxes of one micrograph and write them as a stack, wherever both can be reached.

    Returns
    -------
    (m,) intp
        Which picks have a box, in the order of the stack; none is written where this is empty.

    Raises
    ------
    AnnotatorError
        The micrograph cannot be read.
    OSError
        The stack cannot be written.
    Cancelled
    """
    image = images.read(task.source, task.pick.micrograph.frame, check=context.check)
    parts = _cut(image, task.pick, task.patch, task.phase_flip, context)
    first, rows = next(parts, (None, np.zeros(0, np.intp)))
    if first is None:
        return rows
    of_parts = [rows]
    with writing_stack(task.target, _pixel(task.pick) * task.patch.box_px / task.patch.out_px) as add:
        add(first)
        for patches, rows in parts:
            add(patches)
            of_parts.append(rows)
    return np.concatenate(of_parts)


def _picks(sources: Sequence[Path], options: ExtractOptions, notes: list[str]) -> list[MicrographPicks]:
    """The picks with their micrographs, without the rejected ones."""
    conversion = ConvertOptions(
        "relion-particles",
        micrographs=options.micrographs,
        orientation=options.orientation,
        pixel_size_A=options.pixel_size_A,
        diameter_A=options.diameter_A,
    )
    kept = [pick.take(pick.decision != Decision.REJECTED) for pick in read_picks(sources, conversion, notes)]
    kept, left_out = without_bad_names([pick for pick in kept if len(pick)], listed=True)
    notes += left_out
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
    image: NDArray[np.generic], pick: MicrographPicks, patch: PatchOptions, phase_flip: bool, context: JobContext
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    """Boxes, a part of them at a time, and which picks they are of; parts without any are left out."""
    ctf = None
    if phase_flip:
        u, v, angle = (_number(pick, label) for label in _DEFOCUS)
        values = {name: _number(pick, label) for label, name in _OPTICS.items() if label in pick.extra}
        ctf = phase_ctf(patch.box_px, _pixel(pick), Defocus(u, v, angle), Optics(**values))
    n_at_once = max(1, _PIXELS_AT_ONCE // patch.box_px**2)
    for start in range(0, len(pick), n_at_once):
        context.check()
        batch = slice(start, start + n_at_once)
        patches, rows = extract_patches(image, pick.x[batch], pick.y[batch], patch, ctf=ctf)
        if len(rows):
            yield patches, start + rows


def _number(pick: MicrographPicks, label: str) -> float:
    """The micrograph's value of a column (the median of its particles'); 0 where it has none."""
    texts = pick.extra.get(label)
    try:
        return 0.0 if texts is None else float(np.median([float(text) for text in texts if text]))
    except ValueError as error:
        raise Refused(f"{label} of {pick.micrograph.name} is no number") from error


class _Table:
    """``particles.star`` while it grows: the rows wait on the disk, because the optics come first and are known last.

    Parameters
    ----------
    out : Path
        Folder of the stacks, as the star shall name it.
    aside : Path
        Where the rows wait.
    box, side : int
        Of a particle in the micrograph and in its stack, px.
    has_defocus : bool
    """

    def __init__(self, out: Path, aside: Path, box: int, side: int, has_defocus: bool) -> None:
        self.n_particles = 0
        self._out, self._aside, self._box, self._side, self._has_defocus = out, aside, box, side, has_defocus
        self._groups: dict[tuple[str, ...], int] = {}
        self._rows: IO[bytes] | None = None
        self._labels: list[str] = []

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_what: object) -> None:
        if self._rows is not None:
            self._rows.close()

    def add(self, pick: MicrographPicks) -> None:
        """Rows of one micrograph's particles, in the order of its stack."""
        n = len(pick)
        size = number_text(np.array([_pixel(pick)]))[0]
        defaults = Optics()
        key = (
            size,
            *(
                number_text(np.array([_number(pick, label) if label in pick.extra else getattr(defaults, name)]))[0]
                for label, name in _OPTICS.items()
            ),
        )
        group = self._groups.setdefault(key, len(self._groups) + 1)
        path = self._out / _stack_name(pick)
        columns = {
            "rlnCoordinateX": number_text(pick.x),
            "rlnCoordinateY": number_text(relion_y(pick.y, pick.micrograph.path, pick.micrograph.height)),
            "rlnImageName": [f"{i:06d}@{path.as_posix()}" for i in range(1, n + 1)],
            "rlnMicrographName": [pick.micrograph.path] * n,
            "rlnOpticsGroup": [str(group)] * n,
            "rlnAutopickFigureOfMerit": number_text(np.where(np.isfinite(pick.score), pick.score, -999.0)),
        }
        if self._has_defocus:
            none = ["0"] * n
            for label in _DEFOCUS:
                columns[label] = [t or "0" for t in pick.extra[label].tolist()] if label in pick.extra else none
        if self._rows is None:
            self._rows = tempfile.TemporaryFile(dir=self._aside)  # noqa: SIM115 - closed with the table
            self._labels = list(columns)
        self._rows.write(format_rows(list(columns.values())).encode())
        self.n_particles += n

    def write(self) -> Path:
        """Write the star; its path."""
        assert self._rows is not None
        blocks = [("optics", self._optics()), ("particles", dict.fromkeys(self._labels, ()))]
        path = self._out / "particles.star"
        self._rows.seek(0)
        with replacing(path) as stream:
            stream.write(format_star(blocks, version="30001").removesuffix("\n").encode())
            shutil.copyfileobj(self._rows, stream, 1 << 20)
            stream.write(b"\n")
        return path

    def _optics(self) -> Mapping[str, Sequence[str]]:
        numbers = list(self._groups.values())
        sizes = [float(key[0]) * self._box / self._side for key in self._groups]
        return {
            "rlnOpticsGroupName": [f"opticsGroup{i}" for i in numbers],
            "rlnOpticsGroup": [str(i) for i in numbers],
            "rlnMicrographOriginalPixelSize": [key[0] for key in self._groups],
            **{label: [key[i] for key in self._groups] for i, label in enumerate(_OPTICS, 1)},
            "rlnImagePixelSize": [number_text(np.array([size]))[0] for size in sizes],
            "rlnImageSize": [str(self._side)] * len(numbers),
            "rlnImageDimensionality": ["2"] * len(numbers),
        }
