"""The defocus of many micrographs, without a project: a STAR that RELION reads, and a picture of each fit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..formats.image import images
from ..imaging.ctf import Ctf, Defocus, Optics
from ..imaging.ctf_fit import CtfFit, CtfFitOptions, fit_ctf
from ..model.context import JobContext
from .ctf_options import Assumed, CtfOptions, listed_microscopes, refuse_nonsense
from .ctf_output import CtfRow, star_text, write_fit_picture, write_star
from .resume import Progress, do_work, micrographs_of, plan_work

log = logging.getLogger(__name__)
_QUIET = JobContext()

#: Says of each finished micrograph what came out.
RECORD = "ctf.jsonl"
STAR = "micrographs_ctf.star"


@dataclass(frozen=True, slots=True)
class CtfReport:
    """What came out.

    Attributes
    ----------
    rows : tuple of CtfRow
        Micrographs with an answer.
    n_done, n_kept : int
        Micrographs looked at now, and found done and unchanged.
    failed : mapping of micrograph path to reason
        Without an answer, whatever the cause.
    doubts : mapping of micrograph path to what is odd about the answer
    assumed : tuple of str
        What was not given and is assumed to be usual, and the option that says another.
    assumed_facts : tuple of str
        The same without the options.
    star : Path
    seconds : float
    """

    rows: tuple[CtfRow, ...]
    n_done: int
    n_kept: int
    failed: Mapping[str, str]
    doubts: Mapping[str, str]
    assumed: tuple[str, ...]
    assumed_facts: tuple[str, ...]
    star: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    path: Path
    source: Path
    picture: Path | None
    pixel_size_A: float
    optics: Optics
    fit: CtfFitOptions
    key: dict[str, Any]


def fit_all(
    micrographs: Sequence[Path | str] | Mapping[str, Path],
    out: Path,
    options: CtfOptions,
    *,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> CtfReport:
    """Find the defocus of every micrograph; write ``micrographs_ctf.star`` and ``<name>_ctf.png`` into a folder.

    A micrograph without an answer has no row in the STAR; its reason is kept. One whose file and optics are those of
    an earlier start (``ctf.jsonl`` says so) is not done again, whether it had an answer or not.

    Raises
    ------
    Refused
        There are no micrographs, two of one name, or optics that make no sense.
    FormatError
        ``out`` cannot be written, a named path does not exist, or the file of optics says nothing of these micrographs.
    Cancelled
    """
    started = time.monotonic()
    refuse_nonsense(options)
    named = micrographs_of(micrographs)
    progress, assumed = Progress(out / RECORD), Assumed(options, listed_microscopes(micrographs, named, options))
    work = plan_work(
        named,
        progress,
        lambda name, path: _task(name, path, out, options, assumed),
        lambda task: task.picture is None or task.picture.is_file(),
        use=lambda result: str(result["reason"]) or star_text([_row(out, result)]),
        context=context,
    )
    do_work(work, fit_one, progress, scheduler=scheduler, context=context)
    results, failed = work.results, work.failed
    failed |= {str(named[name]): result["reason"] for name, result in results.items() if result.get("reason")}
    rows = tuple(_row(named[name], results[name]) for name in named if name in results and not results[name]["reason"])
    doubts = {str(named[n]): str(results[n]["doubt"]) for n in named if n in results and results[n].get("doubt")}
    star = write_star(out / STAR, rows)
    in_order = {str(path): failed[str(path)] for path in named.values() if str(path) in failed}
    return CtfReport(
        rows,
        work.n_done,
        work.n_kept,
        in_order,
        doubts,
        assumed.sentences(),
        assumed.facts(),
        star,
        time.monotonic() - started,
    )


def _task(name: str, path: Path, out: Path, options: CtfOptions, assumed: Assumed) -> _Task:
    pixel, optics = assumed.pixel_size_of(path), assumed.optics_of(path)
    key = {
        "fingerprint": images.fingerprint(path),
        "pixel_size_A": pixel,
        "optics": asdict(optics),
        "fit": asdict(options.fit),
        "version": __version__,
    }
    picture = (out / f"{name}_ctf.png").absolute() if options.pictures else None
    return _Task(name, path, path.absolute(), picture, pixel, optics, options.fit, key)


def fit_one(task: _Task, *, context: JobContext = _QUIET) -> dict[str, Any]:
    """Find the defocus of one micrograph and draw its picture, wherever both folders can be reached.

    Raises
    ------
    AnnotatorError
        It cannot be read, or the picture cannot be written.
    Cancelled
    """
    image = images.read(task.source, check=context.check)
    fit = fit_ctf(image, task.pixel_size_A, task.optics, task.fit, context)
    if task.picture is not None:
        write_fit_picture(task.picture, images.micrograph_name(task.path), fit)
    return result_of(fit, task.pixel_size_A)


def result_of(fit: CtfFit, pixel_size_A: float) -> dict[str, Any]:
    """What is kept of a fit: numbers and words."""
    result: dict[str, Any] = {"reason": fit.reason, "doubt": fit.doubt, "score": round(fit.score, 4)}
    if fit.ctf is None:
        return result
    defocus = fit.ctf.defocus
    return result | {
        "defocus_u_A": round(defocus.u_A, 2),
        "defocus_v_A": round(defocus.v_A, 2),
        "defocus_angle_deg": round(defocus.angle_deg, 3),
        "resolution_A": round(fit.resolution_A, 3),
        "error_A": round(fit.error_A, 2),
        "pixel_size_A": pixel_size_A,
        "optics": asdict(fit.ctf.optics),
        "tilt_deg": None if fit.tilt is None else round(fit.tilt.angle_deg, 2),
        "tilt_error_deg": None if fit.tilt is None else round(fit.tilt.error_deg, 2),
    }


def _row(path: Path, result: Mapping[str, Any]) -> CtfRow:
    defocus = Defocus(result["defocus_u_A"], result["defocus_v_A"], result["defocus_angle_deg"])
    return CtfRow(
        path.as_posix(),
        float(result["pixel_size_A"]),
        Ctf(defocus, Optics(**result["optics"])),
        float(result["resolution_A"]),
        float(result["score"]),
        float(result["error_A"]),
        result["tilt_deg"],
    )
