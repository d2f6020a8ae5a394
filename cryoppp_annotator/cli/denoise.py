"""``denoise``: pictures of many micrographs, without a project."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    JsonOption,
    MicrographsArgument,
    PixelSizeOption,
    SchedulerOption,
    parse_diameter,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = """  cryoppp-annotator denoise movies/*.mrc -o denoised --bin 4
  cryoppp-annotator denoise movies -o denoised --method band-pass --set shortest_A=30 --ctf micrographs_ctf.star"""


def _list_methods(asked: bool) -> None:
    """Print what methods there are and what they let you choose, and end (``--list-methods``)."""
    if not asked:
        return
    from ..extensions import denoisers
    from ..session.pictures.denoiser import parameters_of

    for name, denoiser in denoisers().items():
        typer.echo(f"{name:12}  {denoiser.title}")
        for p in parameters_of(denoiser):
            unit = f" {p.unit}" if p.unit else ""
            usual = f"by default {p.automatic}" if p.automatic and not p.default else f"by default {p.default:g}{unit}"
            typer.echo(f"{'':12}  --set {p.name}=VALUE  {p.help} ({p.low:g} to {p.high:g}{unit}, {usual})")
    raise typer.Exit


def denoise(
    micrographs: MicrographsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for <stem>.mrc.")],
    method: Annotated[str, typer.Option("--method", metavar="NAME", help="How; see --list-methods.")] = "auto",
    binning: Annotated[
        float, typer.Option("--bin", metavar="N", help="Shrink N times in Fourier space; 4 does for a screen.")
    ] = 1.0,
    diameter: Annotated[
        str | None,
        typer.Option("--diameter", metavar="A", help="Of the particle, which most methods adapt to; 150 by default."),
    ] = None,
    chosen: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A number of the method; may be repeated.")
    ] = None,
    ctf: Annotated[
        Path | None,
        typer.Option("--ctf", metavar="STAR", help="Defocus of each micrograph (micrographs_ctf.star), for auto."),
    ] = None,
    pixel_size: PixelSizeOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
    list_methods: Annotated[
        bool, typer.Option("--list-methods", is_eager=True, callback=_list_methods, help="Show the methods, and end.")
    ] = False,
) -> None:
    """Denoise micrographs for display.

    Writes DIR/<stem>.mrc (float32, its pixel size in the header, pixel 0 in place). What fails is reported and the
    others finish (exit code 1); a second start continues where the first stopped, and does again what has changed.
    """
    from ..batch.denoise import DenoiseOptions, denoise_all
    from .progress import run_job, tell_failed

    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    options = DenoiseOptions(method, _parameters(chosen or ()), binning, pixel_size, diameter_A, ctf)
    report = run_job(
        lambda context: denoise_all(micrographs, out, options, scheduler=scheduler, context=context), title="Denoising"
    )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    tell_failed(report.failed)
    answer = {
        "method": method,
        "micrographs": report.n_done + report.n_kept,
        "denoised_now": report.n_done,
        "kept": report.n_kept,
        "failed": [{"micrograph": path, "reason": reason} for path, reason in report.failed.items()],
        "notes": list(report.notes),
        "files": [str(file) for file in report.files],
        "seconds": round(report.seconds, 3),
    }
    kept = f" ({report.n_kept:,} were done before)" if report.n_kept else ""
    typer.echo(
        json.dumps(answer, indent=2)
        if as_json
        else f"{report.n_done + report.n_kept:,} micrographs denoised{kept} in {out}, {report.seconds:.1f} s"
    )
    if report.failed:
        raise typer.Exit(1)


def _parameters(chosen: Sequence[str]) -> dict[str, float]:
    parameters = {}
    for text in chosen:
        name, _, value = text.partition("=")
        try:
            parameters[name.strip()] = float(value)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} is not NAME=NUMBER", param_hint="--set") from error
    return parameters
