"""``ctf``: the defocus of many micrographs, without a project."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    AmplitudeContrastOption,
    CsOption,
    JsonOption,
    MicrographsArgument,
    OpticsOption,
    PixelSizeOption,
    SchedulerOption,
    VoltageOption,
)

if TYPE_CHECKING:
    from ..batch.ctf import CtfReport

EXAMPLE = """  cryoppp-annotator ctf movies/*.mrc -o ctf --voltage 300 --cs 2.7 --amplitude-contrast 0.1
  cryoppp-annotator ctf movies -o ctf --voltage 200 --phase-plate --json
  cryoppp-annotator ctf S4/*.mrc -o ctf --optics J12_exposures.cs"""


def ctf(
    micrographs: MicrographsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for micrographs_ctf.star.")],
    voltage: VoltageOption = None,
    cs: CsOption = None,
    amplitude_contrast: AmplitudeContrastOption = None,
    pixel_size: PixelSizeOption = None,
    optics: OpticsOption = None,
    phase_plate: Annotated[
        bool, typer.Option("--phase-plate", help="A phase plate was in use: find its shift, too.")
    ] = False,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the defocus of raw micrographs from their Thon rings.

    Writes DIR/micrographs_ctf.star (RELION 3.1) and for each micrograph DIR/<stem>_ctf.png: the measured spectrum left,
    the fitted one right. A micrograph without rings gets no answer, and is named (exit code 1). A second start
    continues where the first stopped.
    """
    from ..batch.ctf import fit_all
    from ..batch.ctf_options import CtfOptions
    from ..imaging.ctf_fit import CtfFitOptions
    from .progress import in_one_line, run_job

    fit = CtfFitOptions(find_phase_shift=phase_plate)
    options = CtfOptions(voltage, cs, amplitude_contrast, pixel_size, optics, fit)
    report = run_job(
        lambda context: fit_all(micrographs, out, options, scheduler=scheduler, context=context), title="CTF"
    )
    for sentence in report.assumed:
        print(f"note: {sentence}", file=sys.stderr)
    for kind, sentences in (("doubtful", report.doubts), ("failed", report.failed)):
        for path, reason in sentences.items():
            words = reason if path in reason else f"{path}: {reason}"
            print(f"{kind}: {in_one_line(words)}", file=sys.stderr)
    kept = f" ({report.n_kept:,} were done before)" if report.n_kept else ""
    typer.echo(
        json.dumps(_answer(report), indent=2)
        if as_json
        else f"{len(report.rows):,} of {len(report.rows) + len(report.failed):,} micrographs have a defocus{kept}: "
        f"{report.star}, {report.seconds:.1f} s"
    )
    if report.failed:
        raise typer.Exit(1)


def _answer(report: CtfReport) -> dict[str, Any]:
    return {
        "star": str(report.star),
        "micrographs": [
            {
                "micrograph": row.name,
                "defocus_u_A": row.ctf.defocus.u_A,
                "defocus_v_A": row.ctf.defocus.v_A,
                "defocus_angle_deg": row.ctf.defocus.angle_deg,
                "phase_shift_deg": row.ctf.optics.phase_shift_deg,
                "resolution_A": row.resolution_A,
                "score": row.score,
                "error_A": row.error_A,
                "tilt_deg": row.tilt_deg,
                "doubt": report.doubts.get(row.name, ""),
            }
            for row in report.rows
        ],
        "fitted_now": report.n_done,
        "kept": report.n_kept,
        "failed": [{"micrograph": path, "reason": reason} for path, reason in report.failed.items()],
        "assumed": list(report.assumed),
        "seconds": round(report.seconds, 3),
    }
