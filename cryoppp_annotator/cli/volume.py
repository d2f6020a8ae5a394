"""``volume``: from picks to half maps."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Frame, JsonOption, PixelSizeOption
from .verdict import (
    BoxOption,
    CtfOption,
    DiameterOption,
    FrameOption,
    MapPixelOption,
    MicrographsOption,
    OutOption,
    SeedOption,
    SourcesArgument,
    SymmetryOption,
    WhiteOption,
    extract_options_of,
)

if TYPE_CHECKING:
    from ..batch.volume import VolumeReport
    from ..model.context import JobContext

EXAMPLE = """  cryoppp-annotator volume particles.star --map emd_1234.mrc --lowpass 40 -o volume --json
  cryoppp-annotator volume picks/*.star --micrographs data/micrographs -o volume --symmetry O"""


def volume(
    sources: SourcesArgument,
    out: OutOption,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="MRC", help="A reference; without one, it is made from the picks.")
    ] = None,
    lowpass: Annotated[
        float, typer.Option("--lowpass", metavar="A", min=5.0, help="Nothing finer of the reference is used.")
    ] = 40.0,
    symmetry: SymmetryOption = "C1",
    micrographs: MicrographsOption = None,
    map_pixel_size: MapPixelOption = None,
    diameter: DiameterOption = None,
    box_size: BoxOption = None,
    side: Annotated[
        int, typer.Option("--side", metavar="PX", min=32, max=160, help="Larger boxes are shrunk to this.")
    ] = 64,
    white: WhiteOption = False,
    ctf: CtfOption = True,
    frame: FrameOption = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Make half maps, and say what they show that the reference did not have.

    Writes half1.mrc, half2.mrc, map.mrc, fsc.csv and particles.star (poses that relion_reconstruct, relion_refine and
    cryoSPARC continue from; of picks that are more likely the particle than not). The halves share nothing finer than
    the low-pass.
    """
    from dataclasses import replace

    from ..batch.box_files import BoxOptions
    from ..batch.volume import volume_files
    from ..reconstruct.rounds import VolumeOptions
    from ..reconstruct.verdict import MatchOptions
    from .progress import run_job

    extract = extract_options_of(micrographs, box_size, white, frame, pixel_size, diameter)
    box_options = BoxOptions(extract, side // 2 * 2, pixel_size if extract is None else None, ctf)

    def work(context: JobContext) -> VolumeReport:
        return volume_files(
            sources,
            out,
            VolumeOptions(MatchOptions(symmetry), lowpass),
            map_path=map_,
            map_pixel_A=map_pixel_size,
            box_options=box_options,
            context=replace(context, seed=seed),
        )

    report = run_job(work, title="Making a map")
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        typer.echo(json.dumps(as_dict(report), indent=2))
        return
    resolution = report.volume.resolution_A
    size = f"{resolution:.1f} Å" if math.isfinite(resolution) else "no resolution"
    typer.echo(
        f"{size} from {report.used:,} of {report.picks:,} picks: {report.verdict} ({report.seconds:.1f} s, {out})"
    )


def as_dict(report: VolumeReport) -> dict[str, object]:
    """What ``--json`` prints."""
    made = report.volume
    return {
        "resolution_A": round(made.resolution_A, 3) if math.isfinite(made.resolution_A) else None,
        "fsc_outside_reference": round(made.beyond.mean, 4),
        "significance": round(made.beyond.significance, 2),
        "verdict": report.verdict,
        "picks": report.picks,
        "used": report.used,
        "files": [str(file) for file in report.files],
        "seconds": round(report.seconds, 2),
        "notes": list(report.notes),
    }
