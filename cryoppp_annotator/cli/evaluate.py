"""``evaluate``: picks against a truth."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..model.file_names import printable
from .options import Frame, ImagesOption, JsonOption, PickSetOption, PixelSizeOption, ToleranceOption, parse_diameter

if TYPE_CHECKING:
    from ..picking.evaluate import Quality

EXAMPLE = """  cryoppp-annotator evaluate picks --truth ground_truth/particle_coordinates --micrographs micrographs
  cryoppp-annotator evaluate picks.star --truth manual.star --micrographs movies --diameter 191 --plot curve.png"""


def evaluate(
    picks: Annotated[Path, typer.Argument(metavar="PICKS", help="Coordinate file, folder of such, or project.")],
    truth: Annotated[Path, typer.Option("--truth", metavar="TRUTH", help="The same, of the true particles.")],
    micrographs: ImagesOption,
    tolerance: ToleranceOption = 0.3,
    diameter: Annotated[
        str | None,
        typer.Option("--diameter", metavar="A", help="In angstrom, or 108px; what the truth says by default."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="T", help="Leave picks with a lower score out.")
    ] = None,
    frame: Annotated[Frame, typer.Option("--frame", help="How the axes of PICKS lie.")] = Frame.AUTO,
    truth_frame: Annotated[Frame, typer.Option("--truth-frame", help="How the axes of TRUTH lie.")] = Frame.AUTO,
    pick_set: PickSetOption = None,
    truth_set: Annotated[
        str | None, typer.Option("--truth-set", metavar="NAME", help="The pick set of TRUTH, where that is a project.")
    ] = None,
    pixel_size: PixelSizeOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the precision-recall curves.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare picks with true particles.

    One-to-one, from the best score down: precision, recall, F1, average precision, centring error, and the threshold
    at which F1 would be best, for each micrograph and in all.
    """
    from ..batch.evaluate import evaluate as compare
    from ..batch.label_sets import CompareOptions
    from ..batch.plots import plot_precision_recall
    from .progress import run_job

    diameter_A, diameter_px = parse_diameter(diameter)
    options = CompareOptions(
        micrographs,
        tolerance,
        diameter_A,
        diameter_px,
        pixel_size,
        frame.orientation,
        truth_frame.orientation,
        threshold,
        pick_set,
        truth_set,
    )
    report = run_job(lambda context: compare(picks, truth, options, context=context), title="Matching")
    if plot is not None:
        plot_precision_recall(report.matches, plot)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        each = {name: quality_as_json(of_micrograph) for name, of_micrograph in report.per_micrograph.items()}
        answer = {
            **quality_as_json(report.total),
            "tolerance": tolerance,
            "per_micrograph": each,
            "notes": list(report.notes),
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    rows = {**{printable(name): quality for name, quality in report.per_micrograph.items()}, "all": report.total}
    width = max(map(len, rows))
    typer.echo(f"{'':{width}}  picks  truth  matched  precision  recall     F1     AP  centring  best F1 at")
    for name, of_micrograph in rows.items():
        typer.echo(f"{name:{width}}  {_as_text(of_micrograph)}")


def quality_as_json(quality: Quality) -> dict[str, Any]:
    """Figures for scripts; what is not known is null."""
    names = (
        "precision",
        "recall",
        "f1",
        "matched",
        "picks",
        "truth",
        "centring_error_px",
        "average_precision",
        "best_threshold",
        "best_f1",
    )
    values = {name: getattr(quality, name) for name in names}
    # JSON has no NaN
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def _as_text(quality: Quality) -> str:
    best = "-" if math.isnan(quality.best_f1) else f"{quality.best_f1:.3f} at {quality.best_threshold:.3g}"
    ap = "    -" if math.isnan(quality.average_precision) else f"{quality.average_precision:.3f}"
    centring = "-" if math.isnan(quality.centring_error_px) else f"{quality.centring_error_px:.1f} px"
    return (
        f"{quality.picks:5}  {quality.truth:5}  {quality.matched:7}  {quality.precision:9.3f}  "
        f"{quality.recall:6.3f}  {quality.f1:.3f}  {ap}  {centring:>8}  {best}"
    )
