"""The defocus of many micrographs, without a project: a STAR that RELION reads, and a picture of each fit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import FormatError, Refused
from ..formats.acquisition import read_acquisition
from ..formats.image import images
from ..imaging.ctf import Ctf, Defocus, Optics
from ..imaging.ctf_fit import CtfFit, CtfFitOptions, fit_ctf
from ..model.context import JobContext
from ..session.pictures.optics import impossible
from .ctf_output import CtfRow, write_fit_picture, write_star
from .resume import Progress, do_work, micrographs_of, plan_work

log = logging.getLogger(__name__)
_QUIET = JobContext()

#: Says of each finished micrograph what came out.
RECORD = "ctf.jsonl"
STAR = "micrographs_ctf.star"
#: What nobody says is taken to be that of most microscopes today.
USUAL = Optics(300.0, 2.7, 0.1)


@dataclass(frozen=True, slots=True)
class CtfOptions:
    """How the micrographs were taken, and how to look for their defocus.

    Attributes
    ----------
    voltage_kV, cs_mm, amplitude_contrast : float or None
        None = what lies beside the file (.mdoc) or in it, else 300 kV, 2.7 mm, 0.1, which the report says.
    pixel_size_A : float or None
        None = what each header says.
    fit : CtfFitOptions
    pictures : bool
        Whether a picture of each fit is drawn.
    """

    voltage_kV: float | None = None
    cs_mm: float | None = None
    amplitude_contrast: float | None = None
    pixel_size_A: float | None = None
    fit: CtfFitOptions = field(default_factory=CtfFitOptions)
    pictures: bool = True


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
        ``out`` cannot be written, or a named path does not exist.
    Cancelled
    """
    started = time.monotonic()
    refuse_nonsense(options)
    named = micrographs_of(micrographs)
    progress, assumed = Progress(out / RECORD), Assumed(options)
    work = plan_work(
        named,
        progress,
        lambda name, path: _task(name, path, out, options, assumed),
        lambda task: task.picture is None or task.picture.is_file(),
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


def refuse_nonsense(options: CtfOptions, diameter_A: float | None = None) -> None:
    """Raise Refused where a number that a person gave makes no sense."""
    size = options.pixel_size_A
    if size is not None and not (math.isfinite(size) and 0.05 <= size <= 50.0):
        raise Refused(f"a pixel size of {size:g} Å makes no sense")
    if diameter_A is not None and not (math.isfinite(diameter_A) and 1.0 <= diameter_A <= 1e5):
        raise Refused(f"a diameter of {diameter_A:g} Å makes no sense")
    usual = (options.voltage_kV, options.cs_mm, options.amplitude_contrast)
    given = Optics(*(u if v is None else v for v, u in zip(usual, _usual_values(), strict=True)))
    if why := impossible(Ctf(Defocus(1e4, 1e4), given)):
        raise Refused(why)


def _usual_values() -> tuple[float, float, float]:
    return USUAL.voltage_kV, USUAL.cs_mm, USUAL.amplitude_contrast


class Assumed:
    """Pixel size and optics of each micrograph, and a list of what had to be taken as usual."""

    def __init__(self, options: CtfOptions) -> None:
        self.options = options
        self._assumed: dict[str, str] = {}

    def optics_of(self, path: Path) -> Optics:
        """What is said of the microscope of a micrograph."""
        options, voltage = self.options, self.options.voltage_kV
        if voltage is None:
            voltage = read_acquisition(path).voltage_kV
        return Optics(
            self._or_usual(voltage, USUAL.voltage_kV, "a voltage of {:g} kV", "--voltage"),
            self._or_usual(options.cs_mm, USUAL.cs_mm, "a spherical aberration of {:g} mm", "--cs"),
            self._or_usual(
                options.amplitude_contrast,
                USUAL.amplitude_contrast,
                "an amplitude contrast of {:g}",
                "--amplitude-contrast",
            ),
        )

    def pixel_size_of(self, path: Path) -> float:
        """Angstrom per pixel of a micrograph. Raises FormatError where it cannot be read or is not known."""
        info, pixel = images.probe(path), self.options.pixel_size_A
        if pixel is not None:
            return pixel
        pixel = info.pixel_size_A or read_acquisition(path).pixel_size_A
        if pixel is None or not 0.05 <= pixel <= 50.0:
            raise FormatError("its header gives no pixel size; say it with --pixel-size", path)
        if pixel == 1.0:
            self._assumed["a header says exactly 1 Å/px, which programs also write when they do not know it"] = (
                "--pixel-size gives another"
            )
        return float(pixel)

    def sentences(self) -> tuple[str, ...]:
        """What was assumed, one sentence each, with the option of the command line that says another."""
        return tuple(f"{sentence}; {option}" for sentence, option in self._assumed.items())

    def facts(self) -> tuple[str, ...]:
        """The same without the options."""
        return tuple(self._assumed)

    def _or_usual(self, value: float | None, usual: float, words: str, option: str) -> float:
        if value is None:
            self._assumed[f"{words.format(usual)} was assumed, because no file says it"] = f"{option} says another"
            return usual
        return value


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
