"""A verdict for each pick against a known map, from files to files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..formats.atomic import whole_set, write_text
from ..formats.table.star import format_star
from ..model.context import JobContext
from ..reconstruct.verdict import CONFIDENT_DEG, MatchOptions, Verdicts, judge
from ..reconstruct.view_coverage import LostView, ViewSpread, lost_views, spread_of
from .box_files import USUAL_BOXES, BoxOptions, load_boxes, load_map, posed_table

_QUIET = JobContext()
_USUAL = MatchOptions()


@dataclass(frozen=True, eq=False)
class VerdictReport:
    """What a run found and wrote.

    Attributes
    ----------
    verdicts : Verdicts
    star : Path
        Every box with its pose and ``cryopppVerdict``.
    picks, particles, confident : int
        Boxes; those with log odds above 0; of these those with a pose known to 15 degrees.
    spread : ViewSpread
        Of the particles' views.
    lost : tuple of LostView
        Views that a rejection of all picks below the threshold would take away.
    seconds : float
    notes : tuple of str
    """

    verdicts: Verdicts
    star: Path
    picks: int
    particles: int
    confident: int
    spread: ViewSpread
    lost: tuple[LostView, ...]
    seconds: float
    notes: tuple[str, ...]


def verdict_files(
    sources: Sequence[Path],
    map_path: Path,
    out: Path,
    options: MatchOptions = _USUAL,
    *,
    map_pixel_A: float | None = None,
    box_options: BoxOptions = USUAL_BOXES,
    threshold: float = 0.0,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> VerdictReport:
    """Match the boxes of a stack, or of picks that are cut first, with a map; write ``out / "particles.star"``.

    Parameters
    ----------
    sources : sequence of Path
        One stack or STAR with images; or, with ``box_options.extract``, coordinate files.
    map_path : Path
        An MRC volume of any box and pixel size.
    out : Path
    options : MatchOptions
    map_pixel_A : float, optional
        Instead of what the map's header says.
    box_options : BoxOptions
    threshold : float
        Log odds below which picks would be rejected: views that this loses are named.
    scheduler : str, optional
        Of a Dask cluster that does the matching; what is read and written is read and written here.
    context : JobContext

    Raises
    ------
    FormatError, EngineError, Refused, Cancelled
    """
    started = time.monotonic()
    volume, map_pixel = load_map(map_path, map_pixel_A)
    boxes = load_boxes(sources, out, box_options, context=context)
    options = replace(options, mask_radius=boxes.mask_radius)
    verdicts = judge(boxes.stack, volume, map_pixel, options, scheduler=scheduler, context=context)
    rows = np.arange(len(boxes.stack))
    tables = posed_table(boxes, rows, verdicts.matrices[:, 0], verdicts.shifts[:, 0])
    column = tables[1][1]
    odds = np.where(np.isfinite(verdicts.log_odds), verdicts.log_odds, -999.0)
    column["cryopppVerdict"] = [f"{value:.4f}" for value in odds]
    column["cryopppPoseErrorDeg"] = [f"{value:.2f}" for value in verdicts.error_deg]
    with whole_set(out):
        star = write_text(out / "particles.star", format_star(tables, version="30001"))
    particle = verdicts.probability > 0.5
    confident = particle & (verdicts.error_deg < CONFIDENT_DEG)
    spread = spread_of(verdicts.matrices[particle, 0], options.symmetry)
    posed = np.isfinite(verdicts.log_odds) & (verdicts.error_deg < CONFIDENT_DEG)
    lost = lost_views(verdicts.matrices[posed, 0], verdicts.log_odds[posed] >= threshold, options.symmetry)
    return VerdictReport(
        verdicts,
        star,
        len(rows),
        int(particle.sum()),
        int(confident.sum()),
        spread,
        tuple(lost),
        time.monotonic() - started,
        boxes.notes + verdicts.notes,
    )
