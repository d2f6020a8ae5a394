"""Many micrographs through a denoiser, without a project: one MRC each; a second start continues."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from .. import __version__
from ..api import Denoiser
from ..errors import AnnotatorError, Cancelled, EngineError, FormatError, Refused, disk_reason
from ..formats.atomic import replacing_by_name
from ..formats.image import images
from ..formats.kept_arrays import read_kept_text
from ..formats.registry import match_micrographs
from ..imaging.ctf import Ctf
from ..imaging.filters import fft_workers
from ..jobs.each import each
from ..model.context import JobContext
from ..model.micrograph import pixel_size_doubt
from ..model.picture import Picture
from ..session.pictures.denoiser import DEFAULT, named_denoiser, parameters_of, run_denoiser, uses_ctf
from ..session.pictures.optics import as_json, read_ctfs

log = logging.getLogger(__name__)

#: Says of each finished micrograph what was done; a line is added when its picture is written.
RECORD = "denoised.jsonl"
_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class DenoiseOptions:
    """How to denoise.

    Attributes
    ----------
    method : str
    parameters : mapping
        The method's own.
    bin : float
        Micrograph px per px of what is written, a multiple of 1/4, at least 1.
    pixel_size_A, diameter_A : float or None
        Instead of what the headers say; None = a usual particle.
    optics : Path or None
        STAR with the defocus of each micrograph.
    """

    method: str = DEFAULT
    parameters: Mapping[str, Any] = field(default_factory=dict)
    bin: float = 1.0
    pixel_size_A: float | None = None
    diameter_A: float | None = None
    optics: Path | None = None


@dataclass(frozen=True, slots=True)
class DenoiseReport:
    """What was denoised.

    Attributes
    ----------
    files : tuple of Path
        All that are there now, also those of an earlier start.
    n_done, n_kept : int
        Micrographs denoised now, and found done and unchanged.
    failed : mapping of micrograph path to reason
    seconds : float
    notes : tuple of str
        What was odd about the CTF values, and how many micrographs have none.
    """

    files: tuple[Path, ...]
    n_done: int
    n_kept: int
    failed: Mapping[str, str]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Task:
    path: Path
    out: Path
    #: Both once more, absolute.
    source: Path
    target: Path
    key: dict[str, Any]
    pixel_size_A: float | None
    side: int
    ctf: Ctf | None


def denoise_all(
    micrographs: Sequence[Path | str],
    out: Path,
    options: DenoiseOptions,
    *,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> DenoiseReport:
    """Denoise every micrograph and write ``<stem>.mrc`` (float32, pixel size in the header) into a folder.

    A micrograph that fails is reported and the others finish. One whose file, method and parameters are those of an
    earlier start (``denoised.jsonl`` in ``out`` says so) and whose picture is there is not done again. With a
    ``scheduler`` the workers of a Dask cluster do it; they read the micrographs and write the pictures themselves.

    Raises
    ------
    Refused
        Nothing to denoise, two micrographs of one name, an impossible binning, or pictures would overwrite what they
        are made of.
    EngineError
        There is no such method, or an impossible parameter.
    FormatError
        ``out`` cannot be written, a named path does not exist, or the STAR is bad.
    Cancelled
    """
    started = time.monotonic()
    denoiser = named_denoiser(options.method)
    _refuse_nonsense(options, denoiser)
    paths = _files(micrographs, out)
    known, notes = _known_ctfs(options, paths)  # read in any case: a bad STAR is said
    if not uses_ctf(denoiser):
        known, notes = {}, []  # another defocus makes no other picture
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FormatError(f"cannot be made ({disk_reason(error)})", out) from error
    finished = _finished(out)
    failed: dict[str, str] = {}
    done: set[Path] = set()
    tasks: list[_Task] = []
    for i, path in enumerate(paths):
        context.progress(i, len(paths), f"looking at {path.name}")
        try:
            task = _task(path, out, options, known.get(path))
        except AnnotatorError as error:
            failed[str(path)] = str(error)
            continue
        if finished.get(task.out.name) == task.key and task.out.is_file():
            done.add(task.out)
        else:
            tasks.append(task)
    n_kept = len(done)
    done |= _run(tasks, options, out, failed, scheduler, context)
    files = tuple(file for path in paths if (file := _picture_of(path, out)) in done)
    return DenoiseReport(files, len(done) - n_kept, n_kept, failed, time.monotonic() - started, tuple(notes))


def _refuse_nonsense(options: DenoiseOptions, denoiser: Denoiser) -> None:
    if not (1.0 <= options.bin <= 64.0) or (4.0 * options.bin) % 1.0:
        raise Refused(f"a binning of {options.bin:g} makes no sense (1, 1.25, 1.5 ... 64)")
    for value in (options.pixel_size_A, options.diameter_A):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise Refused(f"a size of {value:g} Å makes no sense")
    declared = {p.name: p for p in parameters_of(denoiser)}
    for name, value in options.parameters.items():
        if name not in declared:
            raise EngineError(f"{denoiser.name} has no parameter {name!r}; it has {', '.join(declared) or 'none'}")
        declared[name].checked(value)


def _files(micrographs: Sequence[Path | str], out: Path) -> list[Path]:
    paths = list(dict.fromkeys(path for source in micrographs for path in images.find_micrographs(source)))
    if not paths:
        raise Refused("there are no micrographs to denoise")
    targets: dict[Path, Path] = {}
    for path in paths:
        target = _picture_of(path, out)
        other = targets.setdefault(target, path)
        if other != path:
            raise Refused(f"{other} and {path} would be written into one file; denoise them into two folders")
    taken = {target.resolve() for target in targets} & {path.resolve() for path in paths}
    if taken:
        raise Refused(f"{min(taken)} would be overwritten by its own picture; give another folder with -o")
    return paths


def _picture_of(path: Path, out: Path) -> Path:
    return out / f"{images.micrograph_name(path)}.mrc"


def _known_ctfs(options: DenoiseOptions, paths: Sequence[Path]) -> tuple[dict[Path, Ctf], list[str]]:
    if options.optics is None:
        return {}, []
    named, notes = read_ctfs(options.optics)
    match = match_micrographs(named, [path.as_posix() for path in paths])
    known = {Path(at): named[name] for name, at in match.matches.items()}
    if missing := [path.name for path in paths if path not in known]:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        notes.append(f"{options.optics.name} has no defocus of {missing[0]}{more}: denoised without")
    return known, notes


def _task(path: Path, out: Path, options: DenoiseOptions, ctf: Ctf | None) -> _Task:
    info = images.probe(path)
    pixel = options.pixel_size_A
    if pixel is None and not pixel_size_doubt(info.pixel_size_A):
        pixel = info.pixel_size_A
    key = {
        "fingerprint": images.fingerprint(path),
        "method": options.method,
        "parameters": {name: float(value) for name, value in sorted(options.parameters.items())},
        "bin": options.bin,
        "pixel_size_A": pixel,
        "diameter_A": options.diameter_A,
        "optics": "" if ctf is None else as_json(ctf),
        "version": __version__,
    }
    # the side that gives this step: see imaging.denoise.picture_step
    side = max(1, math.ceil(max(info.width, info.height) / options.bin))
    target = _picture_of(path, out)
    return _Task(path, target, path.absolute(), target.absolute(), key, pixel, side, ctf)


def _finished(out: Path) -> dict[str, Any]:
    """What an earlier start says it did, by file name; a line cut off in the middle says nothing."""
    checksums: dict[str, Any] = {}
    try:
        lines = read_kept_text(out / RECORD).splitlines()
    except FileNotFoundError:
        return checksums
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot be read ({error})", out / RECORD) from error
    for line in lines:
        try:
            entry = json.loads(line)
            checksums[str(entry["picture"])] = entry["key"]
        except (ValueError, TypeError, KeyError):
            continue
    return checksums


def denoise_one(task: _Task, *, options: DenoiseOptions, context: JobContext = _QUIET) -> None:
    """Denoise one micrograph and write its picture, wherever both folders can be reached.

    Raises
    ------
    AnnotatorError
        It cannot be read or written, or the method failed.
    Cancelled
    """
    image = images.read(task.source, check=context.check)  # a worker runs in another folder
    picture = run_denoiser(
        named_denoiser(options.method),
        image,
        pixel_size_A=task.pixel_size_A,
        diameter_A=options.diameter_A,
        max_side=task.side,
        parameters=options.parameters,
        ctf=task.ctf,
        context=context,
    )
    write_picture(task.target, picture, task.pixel_size_A)


def _run(
    tasks: Sequence[_Task],
    options: DenoiseOptions,
    out: Path,
    failed: dict[str, str],
    scheduler: str | None,
    context: JobContext,
) -> set[Path]:
    """A few micrographs at once: while one is read or written the other computes."""
    done: set[Path] = set()
    work = partial(denoise_one, options=options)
    with closing(each(work, tasks, threads=min(fft_workers(), 4), scheduler=scheduler, context=context)) as results:
        for task, outcome in results:
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                failed[str(task.path)] = str(outcome)
            elif isinstance(outcome, BaseException):  # a plugin's mistake costs its micrograph, not the others
                log.debug("denoising %s failed", task.path, exc_info=outcome)
                failed[str(task.path)] = f"{type(outcome).__name__}: {outcome}"
            else:
                done.add(task.out)
                _note(out, task)
    return done


def _note(out: Path, task: _Task) -> None:
    line = json.dumps({"picture": task.out.name, "key": task.key})
    try:
        with (out / RECORD).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n" if stream.tell() else f"{line}\n")
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", out / RECORD) from error


def write_picture(path: Path, picture: Picture, pixel_size_A: float | None) -> None:
    """Write a picture as a float32 MRC, whole or not at all.

    The voxel size is the micrograph's times the step (0 where it is not known); pixel 0 is pixel 0 of the micrograph,
    so the origin is 0.

    Raises
    ------
    FormatError
        It cannot be written.
    """
    try:
        with replacing_by_name(path) as aside, mrcfile.new(aside, overwrite=True) as file:
            file.set_data(np.ascontiguousarray(picture.pixels, np.float32))
            size = pixel_size_A or 0.0
            file.voxel_size = (size * picture.step[1], size * picture.step[0], size * picture.step[1])
            file.header.origin = (0.0, 0.0, 0.0)
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error
