"""A passport for every micrograph, without a project: one row of numbers each, and what seems unusable."""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import FormatError, disk_reason
from ..formats.atomic import whole_set, write_text
from ..formats.image import images
from ..formats.table.spreadsheet import csv_text
from ..formats.table.star import format_star
from ..imaging.contrast import interior
from ..imaging.ctf import Optics
from ..imaging.ctf_fit import CtfFit, CtfFitOptions, fit_ctf
from ..imaging.filters import find_padding
from ..imaging.passport import THUMBNAIL, measure
from ..imaging.passport_limits import duplicates, suggestions
from ..model.context import JobContext
from ..model.curation import Reason
from ..model.region import Region
from ..picking.cracks import crack_share
from ..picking.dirt import find_regions
from .ctf_options import Assumed, CtfOptions, listed_microscopes, refuse_nonsense
from .resume import Progress, do_work, micrographs_of, plan_work

log = logging.getLogger(__name__)
_QUIET = JobContext()

#: Says of each finished micrograph what was measured.
RECORD = "passport.jsonl"
TABLE = "passport.csv"
#: The same table for programs that read STAR files.
STAR = "passport.star"
#: Particles of a usual size, where nobody says one, angstrom.
USUAL_DIAMETER_A = 150.0
#: The columns of the table, and how each is written.
COLUMNS: Mapping[str, str] = {
    "micrograph": "",
    "suggestion": "",
    "defocus_u_A": ".1f",
    "defocus_v_A": ".1f",
    "defocus_angle_deg": ".1f",
    "astigmatism_A": ".1f",
    "fit_resolution_A": ".2f",
    "ctf_score": ".3f",
    "ctf_remark": "",
    "tilt_deg": ".1f",
    "ring_anisotropy": ".3f",
    "ring_direction_deg": ".0f",
    "ring_strength": ".4f",
    "ice_ring": ".4f",
    "diffraction_spots": ".0f",
    "mean_grey": ".6g",
    "relative_thickness": ".4f",
    "grey_gradient": ".3f",
    "carbon_share": ".4f",
    "contamination_share": ".4f",
    "aggregate_share": ".4f",
    "crack_share": ".4f",
    "local_contrast": ".3f",
    "visibility": ".3f",
    "picks": ".0f",
    "pick_density": ".3f",
    "pick_score": ".4g",
    "class_quality": ".3f",
    "grey_outliers": ".6f",
    "dead_rows": ".0f",
    "dead_columns": ".0f",
    "padding": ".4f",
    "duplicate_of": "",
}
#: RELION's labels of these columns; the others get labels of their own (``cryopppIceRing``).
RELION_LABELS: Mapping[str, str] = {
    "micrograph": "rlnMicrographName",
    "defocus_u_A": "rlnDefocusU",
    "defocus_v_A": "rlnDefocusV",
    "defocus_angle_deg": "rlnDefocusAngle",
    "astigmatism_A": "rlnCtfAstigmatism",
    "fit_resolution_A": "rlnCtfMaxResolution",
    "ctf_score": "rlnCtfFigureOfMerit",
}


@dataclass(frozen=True, slots=True)
class PassportReport:
    """What was measured.

    Attributes
    ----------
    rows : tuple of mapping
        By column of :data:`COLUMNS`, None where not known.
    n_done, n_kept : int
    failed : mapping of micrograph path to reason
    assumed, assumed_facts : tuple of str
        As of :class:`.ctf.CtfReport`.
    table : Path
    seconds : float
    """

    rows: tuple[Mapping[str, Any], ...]
    n_done: int
    n_kept: int
    failed: Mapping[str, str]
    assumed: tuple[str, ...]
    assumed_facts: tuple[str, ...]
    table: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    path: Path
    source: Path
    pixel_size_A: float
    diameter_A: float
    optics: Optics
    fit: CtfFitOptions
    key: dict[str, Any]


def passport_all(
    micrographs: Sequence[Path | str] | Mapping[str, Path],
    out: Path,
    options: CtfOptions,
    *,
    diameter_A: float | None = None,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> PassportReport:
    """Measure every micrograph that is new or changed, and write ``passport.csv`` and ``passport.star``.

    Columns about picks are empty: they are known in a project only (:mod:`.passport_project`).

    Raises
    ------
    Refused
        There are no micrographs, two of one name, or optics or a diameter that make no sense.
    FormatError
        ``out`` cannot be written, or a named path does not exist.
    Cancelled
    """
    started = time.monotonic()
    refuse_nonsense(options, diameter_A)
    if diameter_A is None:
        diameter_A = USUAL_DIAMETER_A
    named = micrographs_of(micrographs)
    assumed = Assumed(options, listed_microscopes(micrographs, named, options))
    progress, diameter = Progress(out / RECORD), diameter_A
    work = plan_work(
        named,
        progress,
        lambda name, path: _task(name, path, options, diameter, assumed),
        use=lambda result: [
            _text(row[name], form) for row in compared(["x"], [result]) for name, form in COLUMNS.items()
        ],
        context=context,
    )
    do_work(work, measure_one, progress, scheduler=scheduler, context=context)
    results = work.results
    order = [name for name in named if name in results]
    rows = compared([named[name].as_posix() for name in order], [results[name] for name in order])
    table = write_tables(out, rows)
    return PassportReport(
        tuple(rows),
        work.n_done,
        work.n_kept,
        work.failed,
        assumed.sentences(),
        assumed.facts(),
        table,
        time.monotonic() - started,
    )


def _task(name: str, path: Path, options: CtfOptions, diameter_A: float, assumed: Assumed) -> _Task:
    pixel, optics = assumed.pixel_size_of(path), assumed.optics_of(path)
    key = {
        "fingerprint": images.fingerprint(path),
        "pixel_size_A": pixel,
        "optics": asdict(optics),
        "diameter_A": diameter_A,
        "fit": asdict(options.fit),
        "version": __version__,
    }
    return _Task(name, path, path.absolute(), pixel, diameter_A, optics, options.fit, key)


def measure_one(task: _Task, *, context: JobContext = _QUIET) -> dict[str, Any]:
    """Measure one micrograph, wherever it can be reached.

    Raises
    ------
    AnnotatorError
        It cannot be read.
    Cancelled
    """
    image = images.read(task.source, check=context.check)
    return measure_image(image, task.pixel_size_A, task.diameter_A, task.optics, task.fit, context)


def measure_image(
    image: NDArray[Any],
    pixel_size_A: float,
    diameter_A: float,
    optics: Optics,
    fit: CtfFitOptions | None = None,
    context: JobContext = _QUIET,
) -> dict[str, Any]:
    """All numbers of a micrograph (h, w), yx, that it says alone, as JSON can hold them; None = not known."""
    rings = fit_ctf(image, pixel_size_A, optics, fit or CtfFitOptions(), context)
    context.check()
    numbers = _numbers(image, rings, diameter_A, pixel_size_A)
    numbers["kind"] = f"{image.shape[1]} x {image.shape[0]} {image.dtype} {pixel_size_A:g} A"
    regions = find_regions(image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, context=context)
    inside = interior(image, find_padding(image))
    numbers["crack_share"] = crack_share(inside, pixel_size_A=pixel_size_A, diameter_A=diameter_A)
    return numbers | shares(regions, image.shape)


def _numbers(image: NDArray[Any], fit: CtfFit, diameter_A: float, pixel_size_A: float) -> dict[str, Any]:
    measured = asdict(measure(image, fit, diameter_A, pixel_size_A))
    thumbnail = np.clip(32.0 * measured.pop("thumbnail"), -127, 127).astype(np.int8)
    result: dict[str, Any] = {name: _json_number(value) for name, value in measured.items()}
    result["thumbnail"] = base64.b64encode(thumbnail.tobytes()).decode("ascii")
    result |= {"ctf_score": round(fit.score, 4), "ctf_remark": fit.reason or fit.doubt}
    if fit.ctf is not None:
        defocus = fit.ctf.defocus
        result |= {
            "defocus_u_A": defocus.u_A,
            "defocus_v_A": defocus.v_A,
            "defocus_angle_deg": defocus.angle_deg,
            "astigmatism_A": defocus.u_A - defocus.v_A,
            "fit_resolution_A": fit.resolution_A,
            "tilt_deg": None if fit.tilt is None else fit.tilt.angle_deg,
        }
    return result


def _json_number(value: object) -> float | None:
    number = float(str(value))
    return number if math.isfinite(number) else None


def shares(regions: Sequence[Region], shape: tuple[int, ...]) -> dict[str, float]:
    """Share of the area that is carbon, contamination (ice and all else), and aggregates of particles."""
    areas = dict.fromkeys(("carbon_share", "contamination_share", "aggregate_share"), 0.0)
    for region in regions:
        kinds = {Reason.CARBON: "carbon_share", Reason.AGGREGATE: "aggregate_share"}
        areas[kinds.get(region.reason, "contamination_share")] += region.area / (shape[0] * shape[1])
    return {name: min(1.0, area) for name, area in areas.items()}


def compared(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table: what one alone cannot say (thickness, duplicates, suggestions) is added.

    Rows have, besides the columns of the table, the ``kind`` of the micrograph.
    """
    rows = [{name: result.get(name) for name in (*COLUMNS, "kind")} for result in results]
    same = duplicates([_thumbnail(result) for result in results])
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        row["micrograph"] = name
        row["duplicate_of"] = names[same[i]] if same[i] >= 0 else None
    compare(rows)
    return rows


def compare(rows: Sequence[dict[str, Any]]) -> None:
    """Say of each row how it differs from the others: thickness, density of picks, suggestions.

    Micrographs are compared with those of the same size, number type and pixel size. The relative thickness is the
    logarithm of their median grey value over the micrograph's, as electrons are lost in ice; it is not known where grey
    values are not positive. The density of picks is that over the median one.
    """
    kinds = [str(row.get("kind") or "") for row in rows]
    for kind in dict.fromkeys(kinds):
        _compare([row for row, its in zip(rows, kinds, strict=True) if its == kind])


def _compare(rows: Sequence[dict[str, Any]]) -> None:
    """Thickness, density and suggestions of micrographs of one kind."""
    grey, usual = _and_usual(rows, "mean_grey")
    picks, usual_picks = _and_usual(rows, "picks")
    for row, value, n in zip(rows, grey, picks, strict=True):
        row["relative_thickness"] = math.log(usual / value) if usual > 0 and value > 0 else None
        row["pick_density"] = n / usual_picks if usual_picks > 0 and math.isfinite(n) else None
    for row, reason in zip(rows, suggestions([_for_limits(row) for row in rows]), strict=True):
        row["suggestion"] = reason


def _and_usual(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], float]:
    """A number of each row, and the median of those that are known."""
    values = np.array([_float(row[name]) for row in rows])
    return values.tolist(), float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def _for_limits(row: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: _float(row[name]) for name, form in COLUMNS.items() if form}
    has_rings = math.isfinite(numbers["defocus_u_A"])
    return numbers | {
        "has_rings": float(has_rings),
        "defocus_A": 0.5 * (numbers["defocus_u_A"] + numbers["defocus_v_A"]),
    }


def _float(value: object) -> float:
    return math.nan if value is None else float(str(value))


def _thumbnail(result: Mapping[str, Any]) -> NDArray[np.float32]:
    data = np.frombuffer(base64.b64decode(result["thumbnail"]), np.int8)
    return data.astype(np.float32).reshape(THUMBNAIL, THUMBNAIL)


def write_tables(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV and as STAR, both or neither. Returns the CSV.

    Raises
    ------
    FormatError
        They cannot be written; what was there before is intact.
    """
    with whole_set(out):
        write_star(out / STAR, rows)
        return write_table(out / TABLE, rows)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV; what is not known is an empty cell.

    Raises
    ------
    FormatError
        It cannot be written.
    """
    cells = [[_text(row[name], form) for name, form in COLUMNS.items()] for row in rows]
    try:
        return write_text(path, csv_text([list(COLUMNS), *cells]))
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error


def write_star(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as a STAR file; what is not known is -999 among numbers and ``None`` among texts, as RELION has it.

    Raises
    ------
    FormatError
        It cannot be written.
    """
    table = {
        star_label(name): [_text(row[name], form) or ("-999" if form else "None") for row in rows]
        for name, form in COLUMNS.items()
    }
    try:
        return write_text(path, format_star((("micrographs", table),), version="30001"))
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error


def star_label(column: str) -> str:
    """The STAR label of a column of :data:`COLUMNS`: RELION's where it has one."""
    own = "".join(word[:1].upper() + word[1:] for word in column.split("_"))
    return RELION_LABELS.get(column, f"cryoppp{own}")


def _text(value: Any, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if form else str(value)
