"""``errors``: the labels most worth a look."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    Frame,
    ImagesOption,
    JsonOption,
    PickSetOption,
    PixelSizeOption,
    SchedulerOption,
    parse_diameter,
)

if TYPE_CHECKING:
    from ..batch.label_errors import ErrorReport

EXAMPLE = """  cryoppp-annotator errors manual.star --micrographs movies --diameter 191 -o doubtful
  cryoppp-annotator errors ground_truth/particle_coordinates --micrographs micrographs --diameter 108px -o doubtful"""
#: Above this an item counts as likely wrong in the summary.
_LIKELY = 0.5


def errors(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Coordinate file, folder of such, or project.")],
    micrographs: ImagesOption,
    diameter: Annotated[str, typer.Option("--diameter", metavar="A", help="In angstrom, or 108px.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for queue.csv.")],
    frame: Annotated[
        Frame, typer.Option("--frame", help="How the axes of LABELS lie; auto asks the images, too.")
    ] = Frame.AUTO,
    pick_set: PickSetOption = None,
    pixel_size: PixelSizeOption = None,
    bright: Annotated[
        bool | None,
        typer.Option("--bright/--dark", help="Particles are brighter or darker than the ice; the images say it."),
    ] = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the errors in labels: which are likely false, moved or double, which particles have none.

    Each micrograph is judged by a model trained on the labels of the others. DIR/queue.csv holds every label and every
    unlabelled place, the most worth a look first; whole views, margins or corners without labels are one item.
    """
    from ..batch.label_errors import ErrorOptions, find_errors
    from .progress import run_job, tell_failed

    diameter_A, diameter_px = parse_diameter(diameter)
    polarity = "auto" if bright is None else "bright" if bright else "dark"
    options = ErrorOptions(micrographs, diameter_A, diameter_px, pixel_size, frame.orientation, polarity, pick_set)
    report = run_job(
        lambda context: find_errors(labels, out, options, scheduler=scheduler, context=context), title="Judging labels"
    )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    tell_failed(report.failed)
    typer.echo(json.dumps(_as_json(report), indent=2) if as_json else _as_text(report))
    if report.failed:
        raise typer.Exit(1)


def _as_json(report: ErrorReport) -> dict[str, Any]:
    likely = Counter(item.kind.value for item in report.items if item.probability > _LIKELY)
    gaps = [
        {"group": item.group, "places": len(item.members), "probability": item.probability, "reason": item.reason}
        for item in report.items
        if item.members
    ]
    return {
        "queue": str(report.file),
        "items": len(report.items),
        "labels": report.n_labels,
        "micrographs": report.n_micrographs,
        "likely": dict(likely),
        "gaps": gaps,
        "failed": dict(report.failed),
        "notes": list(report.notes),
    }


def _as_text(report: ErrorReport) -> str:
    counts = Counter(item.kind.value for item in report.items if item.probability > _LIKELY)
    likely = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("false", "moved", "double", "missing") if counts[kind])
    lines = [
        f"{report.n_labels:,} labels on {report.n_micrographs:,} micrographs; likely wrong: {likely or 'none'}",
        *(f"gap {item.group}: {item.reason}" for item in report.items if item.members),
        f"wrote {len(report.items):,} items to {report.file}, the most worth a look first",
    ]
    return "\n".join(lines)
