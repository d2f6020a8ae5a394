"""``check-frame``: do coordinates lie on the image as their format declares?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import JsonOption, PixelSizeOption, SuffixOption, parse_diameter

if TYPE_CHECKING:
    from ..batch.check_frame import FrameReport

EXAMPLE = """  cryoppp-annotator check-frame picks.star --micrographs movies --diameter 191
  cryoppp-annotator check-frame mic_1.box --micrographs movies/mic_1.mrc --diameter 108px --json"""


def check_frame(
    coords: Annotated[list[Path], typer.Argument(metavar="COORDS...", help="Coordinate files of one format.")],
    micrographs: Annotated[
        str, typer.Option("--micrographs", metavar="DIR|GLOB|FILE", help="The images the coordinates are about.")
    ],
    diameter: Annotated[
        str | None,
        typer.Option("--diameter", metavar="A", help="Particle diameter in angstrom, or 108px; a rough one will do."),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Format of the files; recognised by default.")
    ] = None,
    pixel_size: PixelSizeOption = None,
    suffix: SuffixOption = "",
    permissive: Annotated[bool, typer.Option("--permissive", help="Skip bad rows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Test on the images which way the axes run, whether boxes give centres or corners, and the binning.

    The exit code is 1 where the images contradict the frame that the format declares, and 0 where they confirm it or
    cannot tell.
    """
    from ..batch import check_frame as batch_check_frame
    from .progress import run_job

    diameter_A, diameter_px = parse_diameter(diameter)
    options = batch_check_frame.FrameOptions(
        micrographs, format_name, diameter_A, diameter_px, pixel_size, permissive, suffix
    )
    paths = [path.expanduser() for path in coords]
    report = run_job(lambda context: batch_check_frame.check(paths, options, context=context), title="Looking")
    for name in report.unmatched:
        print(f"unmatched: {name} means no micrograph for certain", file=sys.stderr)
    typer.echo(json.dumps(_as_dict(report), indent=2) if as_json else _as_text(report))
    if report.contradicted:
        raise typer.Exit(1)


def _as_dict(report: FrameReport) -> dict[str, Any]:
    verdict = report.verdict
    declared = report.declared
    return {
        "verdict": "undecided" if verdict.orientation is None else verdict.orientation.value,
        "anchor": None if verdict.anchor is None else verdict.anchor.value,
        "scale": verdict.scale,
        "margin_se": round(verdict.margin_se, 2),
        "picks_tested": verdict.n_tested,
        "reason": verdict.reason,
        "format": report.format,
        "declared": {
            "orientation": declared.orientation.value,
            "anchor": declared.anchor.value,
            "scale": declared.scale,
        },
        "contradicted": report.contradicted,
        "micrographs": {
            name: {"verdict": str(tested), "margin_se": round(tested.margin_se, 2), "picks_tested": tested.n_tested}
            for name, tested in report.tested.items()
        },
        "unmatched": list(report.unmatched),
    }


def _as_text(report: FrameReport) -> str:
    from ..formats.check.frame import describe

    verdict = report.verdict
    lines = [
        f"  {name}: {tested} ({tested.margin_se:.1f} standard errors, {tested.n_tested:,} picks)"
        for name, tested in report.tested.items()
    ]
    declares = f"{report.format} declares {describe(report.declared)}"
    if verdict.frame is None:
        end = f"undecided: {verdict.reason} ({declares})"
    elif report.contradicted:
        end = f"WRONG FRAME: {declares}, the image says {verdict} (by {verdict.margin_se:.1f} standard errors)"
    else:
        end = f"right: {declares}, and so says the image (by {verdict.margin_se:.1f} standard errors)"
    return "\n".join([*lines, end])
