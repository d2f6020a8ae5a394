"""``passport``: what the pixels and the spectrum of each micrograph say, as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AmplitudeContrastOption,
    CsOption,
    JsonOption,
    MicrographsArgument,
    PixelSizeOption,
    SchedulerOption,
    VoltageOption,
    parse_diameter,
)

EXAMPLE = """  cryoppp-annotator passport movies/*.mrc -o passport --diameter 150 --voltage 300 --cs 2.7"""


def passport(
    micrographs: MicrographsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for passport.csv and passport.star.")],
    diameter: Annotated[
        str | None, typer.Option("--diameter", metavar="A", help="Of the particle, angstrom; 150 by default.")
    ] = None,
    voltage: VoltageOption = None,
    cs: CsOption = None,
    amplitude_contrast: AmplitudeContrastOption = None,
    pixel_size: PixelSizeOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure micrographs: defocus, drift, ice, thickness, carbon, contrast, broken pixels, duplicates.

    Writes DIR/passport.csv, one row a micrograph, and the same as DIR/passport.star; the column `suggestion` says why
    one seems unusable. A second start continues where the first stopped.
    """
    from ..batch.ctf import CtfOptions
    from ..batch.passport import passport_all
    from .progress import run_job

    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    options = CtfOptions(voltage, cs, amplitude_contrast, pixel_size)
    report = run_job(
        lambda context: passport_all(
            micrographs, out, options, diameter_A=diameter_A, scheduler=scheduler, context=context
        ),
        title="Passports",
    )
    for sentence in report.assumed:
        print(f"note: {sentence}", file=sys.stderr)
    for path, reason in report.failed.items():
        words = reason if path in reason else f"{path}: {reason}"
        print(f"failed: {' '.join(words.split())}", file=sys.stderr)
    doubtful = [row for row in report.rows if row["suggestion"]]
    answer = {
        "table": str(report.table),
        "micrographs": list(report.rows),
        "suggested_unusable": [{"micrograph": row["micrograph"], "reason": row["suggestion"]} for row in doubtful],
        "measured_now": report.n_done,
        "kept": report.n_kept,
        "failed": [{"micrograph": path, "reason": reason} for path, reason in report.failed.items()],
        "assumed": list(report.assumed),
        "seconds": round(report.seconds, 3),
    }
    typer.echo(
        json.dumps(answer, indent=2)
        if as_json
        else f"{len(report.rows):,} micrographs measured, {len(doubtful):,} seem unusable: {report.table}, "
        f"{report.seconds:.1f} s"
    )
    if report.failed:
        raise typer.Exit(1)
