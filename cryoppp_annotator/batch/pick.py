"""Many micrographs through a picker, without a project: one STAR each, on all cores; a second start continues."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, extensions
from ..errors import AnnotatorError, Cancelled, FormatError, Refused, disk_reason
from ..extensions import formats
from ..formats.atomic import write_text
from ..formats.image import images
from ..formats.kept_arrays import read_kept_text
from ..formats.registry import read_any
from ..formats.table.star import format_star, number_text
from ..formats.writing import write_picks
from ..imaging.filters import fft_workers
from ..jobs.each import each
from ..model.candidates import Candidates
from ..model.context import JobContext
from ..model.coordinates import angstrom_to_px, is_tiff, relion_y
from ..model.curation import Decision, Reason
from ..model.micrograph import Micrograph, pixel_size_doubt
from ..model.parameter import Need
from ..model.pickfile import CoordinateFormat, MicrographPicks, WriteOptions
from ..session.files.exporting import writable
from ..session.picks.one_micrograph import OnePick, files_named, named_picker, pick_micrograph

log = logging.getLogger(__name__)

#: Says of each finished micrograph what was done; a line is added when its STAR is written.
RECORD = "picked.jsonl"
_QUIET = JobContext()
#: How the command line says what a picker cannot do without.
_HOW_TO_GIVE = {
    Need.MODEL: "--model FILE, or --model PROJECT to learn from its decisions",
    Need.TEMPLATES: "--templates averages.mrcs, or a map",
}


@dataclass(frozen=True, slots=True)
class PickOptions:
    """How to pick.

    Attributes
    ----------
    diameter_A, diameter_px : float or None
        Of the particle; exactly one of the two.
    picker : str
    parameters : mapping
        The picker's own.
    threshold : float or None
        Smallest score written; None = all that the picker proposes.
    pixel_size_A : float or None
        Instead of what the headers say.
    to : str
        Coordinate format written beside the STARs; ``relion`` = the STARs alone.
    box_size_px : float or None
        For formats that write a box.
    avoid : bool
        Leave out what lies on carbon, ice or the padding border.
    whole_boxes : bool
        Leave out picks whose box (of ``box_size_px``, which is then needed) would stick out of the micrograph.
    """

    diameter_A: float | None = None
    diameter_px: float | None = None
    picker: str = extensions.DEFAULT_PICKER
    parameters: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    pixel_size_A: float | None = None
    to: str = "relion"
    box_size_px: float | None = None
    avoid: bool = True
    whole_boxes: bool = False

    @property
    def whole_box_px(self) -> float:
        """Box that must not stick out; 0 = none."""
        return (self.box_size_px or 0.0) if self.whole_boxes else 0.0


@dataclass(frozen=True, slots=True)
class PickReport:
    """What was picked.

    Attributes
    ----------
    n_picks : int
        In all files, also those of an earlier start.
    files : tuple of Path
    n_picked, n_kept : int
        Micrographs picked now, and found done and unchanged.
    failed : mapping of micrograph path to reason
    seconds : float
    """

    n_picks: int
    files: tuple[Path, ...]
    n_picked: int
    n_kept: int
    failed: Mapping[str, str]
    seconds: float
    left_out: Mapping[Reason, int] = field(default_factory=dict)
    #: Smallest and largest pixel size that was reckoned with; None where nobody knew one, and all was in px.
    pixel_sizes_A: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class PickTask:
    """A micrograph to pick: what identifies it, where it goes, and what its sizes are.

    Attributes
    ----------
    path, star : Path
    key : mapping
        All that its picks depend on; ``micrograph`` is the absolute path.
    pixel_size_A, diameter_A : float
    pixel_known : bool
        False where the pixel size is not known: all is in px then.
    """

    path: Path
    star: Path
    key: dict[str, Any]
    pixel_size_A: float
    diameter_A: float
    pixel_known: bool = True


def pick_all(
    micrographs: Sequence[Path | str],
    out: Path,
    options: PickOptions,
    *,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> PickReport:
    """Pick every micrograph and write ``<stem>.star`` with ``rlnAutopickFigureOfMerit`` into a folder.

    A micrograph that fails is reported and the others finish. One whose file, picker and parameters are those of an
    earlier start (``picked.jsonl`` in ``out`` says so) and whose STAR is there is not picked again.

    Parameters
    ----------
    micrographs : sequence of Path or str
        Files, folders or patterns.
    out : Path
        Folder.
    options : PickOptions
    scheduler : str, optional
        Of a Dask cluster whose workers see the same micrographs; what they find is written here.
    context : JobContext

    Raises
    ------
    Refused
        Nothing to pick, two micrographs of one name, or impossible sizes.
    EngineError
        There is no such picker.
    FormatError
        ``out`` cannot be written, or a named path does not exist.
    Cancelled
    """
    started = time.monotonic()
    named_picker(options.picker)
    target = None if options.to == "relion" else writable(options.to)
    _refuse_nonsense(options)
    paths = _files(micrographs)
    record = _Record(out)
    failed: dict[str, str] = {}
    counts: dict[Path, int] = {}
    tasks: list[PickTask] = []
    sizes: list[float] = []
    n_kept = 0
    for i, path in enumerate(paths):
        context.progress(i, len(paths), f"looking at {path.name}")
        try:
            task = _task(path, out, options)
        except AnnotatorError as error:
            failed[str(path)] = str(error)
            continue
        if task.pixel_known:
            sizes.append(task.pixel_size_A)
        done = record.finished(task)
        if done is None:
            tasks.append(task)
        else:
            counts[task.star] = done
            n_kept += 1
    left_out: Counter[Reason] = Counter()
    counts |= _run(tasks, options, record, failed, left_out, scheduler, context)
    files = [star for path in paths if (star := _star_of(path, out)) in counts]
    if target is not None and files:
        files += _rewritten(target, paths, counts, out, options, context)
    return PickReport(
        sum(counts.values()),
        tuple(files),
        len(counts) - n_kept,
        n_kept,
        failed,
        time.monotonic() - started,
        left_out,
        (min(sizes), max(sizes)) if sizes else None,
    )


def _refuse_nonsense(options: PickOptions) -> None:
    if (options.diameter_A is None) == (options.diameter_px is None):
        raise Refused("say the particle's diameter, in angstrom or in px")
    for value in (options.diameter_A, options.diameter_px, options.pixel_size_A, options.box_size_px):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise Refused(f"a size of {value:g} makes no sense")
    if options.whole_boxes and options.box_size_px is None:
        raise Refused("whole boxes of which size? Say it in px (--box-size)")
    # said once, not of each of ten thousand micrographs
    if why := extensions.why_not(options.picker, options.parameters):
        missing = [need for need in extensions.needs_of(options.picker) if need not in options.parameters]
        raise Refused(": ".join([why, *(_HOW_TO_GIVE[need] for need in missing if need in _HOW_TO_GIVE)]))


def _files(micrographs: Sequence[Path | str]) -> list[Path]:
    paths = list(dict.fromkeys(path for source in micrographs for path in images.find_micrographs(source)))
    if not paths:
        raise Refused("there are no micrographs to pick")
    names: dict[str, Path] = {}
    for path in paths:
        other = names.setdefault(images.micrograph_name(path), path)
        if other != path:
            raise Refused(f"{other} and {path} would be written into one file; pick them into two folders")
    return paths


def _star_of(path: Path, out: Path) -> Path:
    return out / f"{images.micrograph_name(path)}.star"


def _task(path: Path, out: Path, options: PickOptions) -> PickTask:
    """Raises FormatError or Refused where the micrograph cannot be picked."""
    info = images.probe(path)
    pixel = options.pixel_size_A or (info.pixel_size_A if not pixel_size_doubt(info.pixel_size_A) else None)
    if pixel is None and options.diameter_px is None:
        doubt = pixel_size_doubt(info.pixel_size_A)
        raise Refused(f"{path}: {doubt}; give it (--pixel-size), or the diameter in px (--diameter 108px)")
    # in px throughout where the pixel size is not known
    known = pixel is not None
    pixel = pixel or 1.0
    diameter = options.diameter_A if options.diameter_A is not None else (options.diameter_px or 0.0) * pixel
    key = {
        "micrograph": str(path.absolute()),
        "fingerprint": images.fingerprint(path),
        "picker": options.picker,
        "program": __version__,
        "parameters": json.loads(json.dumps(dict(options.parameters), default=str)),
        "files": files_named(options.parameters),
        "threshold": options.threshold,
        "pixel_size_A": pixel,
        "diameter_A": diameter,
        "avoid": options.avoid,
        "whole_box_px": options.whole_box_px,
        **({"y": "RELION's, from the last row"} if is_tiff(path) else {}),
    }
    return PickTask(path, _star_of(path, out), key, pixel, diameter, known)


class _Record:
    """The lines of :data:`RECORD`: what is finished."""

    def __init__(self, out: Path) -> None:
        self._path = out / RECORD
        self._done: dict[str, dict[str, Any]] = {}
        try:
            out.mkdir(parents=True, exist_ok=True)
            lines = read_kept_text(self._path).splitlines() if self._path.exists() else []
        except OSError as error:
            raise FormatError(f"cannot be written ({disk_reason(error)})", out) from error
        except ValueError as error:
            raise FormatError(f"cannot be read ({error}); delete it to start again", self._path) from error
        for line in lines:
            try:
                entry = json.loads(line)
                self._done[entry["star"]] = entry
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a start that was killed: its micrograph is picked again

    def finished(self, task: PickTask) -> int | None:
        """Number of picks of a micrograph that was finished with the same options; None where it was not."""
        entry = self._done.get(task.star.name)
        if entry is None or not task.star.is_file() or entry.get("key") != task.key:
            return None
        return int(entry.get("picks", 0))

    def add(self, task: PickTask, n: int) -> None:
        """Say that a micrograph is finished. A line of its own also after one that was cut off."""
        line = json.dumps({"star": task.star.name, "picks": n, "key": task.key})
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n" if stream.tell() else f"{line}\n")


def _one(task: PickTask, options: PickOptions) -> OnePick:
    return OnePick(
        task.key["micrograph"],
        options.picker,
        task.pixel_size_A,
        task.diameter_A,
        options.parameters,
        threshold=options.threshold,
        avoid=options.avoid,
        whole_box_px=options.whole_box_px,
        name=str(task.path),
    )


def _run(
    tasks: Sequence[PickTask],
    options: PickOptions,
    record: _Record,
    failed: dict[str, str],
    left_out: Counter[Reason],
    scheduler: str | None,
    context: JobContext,
) -> dict[Path, int]:
    """All of them; the picks are written here, wherever they were found. Returns picks per STAR."""
    counts: dict[Path, int] = {}
    by_path = {str(task.path): task for task in tasks}
    jobs = [_one(task, options) for task in tasks]
    with closing(each(pick_micrograph, jobs, threads=fft_workers(), scheduler=scheduler, context=context)) as results:
        for job, outcome in results:
            task = by_path[job.name]
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                failed[str(task.path)] = str(outcome)
            elif isinstance(outcome, BaseException):  # a plugin's mistake costs its micrograph, not the others
                log.debug("picking %s failed", task.path, exc_info=outcome)
                failed[str(task.path)] = f"{type(outcome).__name__}: {outcome}"
            else:
                candidates = outcome.candidates
                try:
                    write_text(task.star, _star_text(candidates, task.path))
                except AnnotatorError as error:
                    failed[str(task.path)] = str(error)
                    continue
                left_out.update(outcome.left_out)
                record.add(task, len(candidates))
                counts[task.star] = len(candidates)
    return counts


def _star_text(candidates: Candidates, path: Path) -> str:
    height = images.probe(path).height if is_tiff(path) else 0  # of others the rows are RELION's
    columns = {
        "rlnCoordinateX": number_text(candidates.x),
        "rlnCoordinateY": number_text(relion_y(candidates.y, path, height)),
        "rlnAutopickFigureOfMerit": number_text(candidates.score),
    }
    return format_star([("", columns)])


def _rewritten(
    target: CoordinateFormat,
    paths: Sequence[Path],
    counts: Mapping[Path, int],
    out: Path,
    options: PickOptions,
    context: JobContext,
) -> list[Path]:
    """The STARs once more, in another format."""
    picks: list[MicrographPicks] = []
    for i, path in enumerate(paths):
        context.progress(i, len(paths), f"writing {target.name}")
        star = _star_of(path, out)
        if counts.get(star):
            picks.append(_picks_of(path, star, options))
    if not picks:
        return []
    files, notes = write_picks(target, out, picks, WriteOptions(box_size_px=options.box_size_px))
    for note in notes:
        log.warning("%s", note)
    return files


def _picks_of(path: Path, star: Path, options: PickOptions) -> MicrographPicks:
    task = _task(path, star.parent, options)
    info = images.probe(path)
    file = read_any(star, list(formats().values()), format="relion")
    (picks,) = file.picks
    x, y = picks.positions(file.frame, info.height, path)
    n = len(picks)
    known = options.pixel_size_A or info.pixel_size_A
    pixel = task.pixel_size_A if known and not pixel_size_doubt(known) else None
    micrograph = Micrograph(
        0, images.micrograph_name(path), path.as_posix(), info.width, info.height, info.pixel_size_A
    )
    score = np.full(n, np.nan) if picks.score is None else picks.score
    return MicrographPicks(
        micrograph,
        pixel,
        x,
        y,
        np.full(n, angstrom_to_px(task.diameter_A, task.pixel_size_A)),
        score,
        np.full(n, Decision.UNDECIDED, np.int8),
        np.zeros(n, np.int32),
    )
