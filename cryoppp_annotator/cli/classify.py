"""``classify``: 2D class averages of a stack or of picks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Frame, JsonOption, PixelSizeOption, parse_diameter

if TYPE_CHECKING:
    from ..model.context import JobContext
    from ..session.classification import ClassificationReport

EXAMPLE = """  cryoppp-annotator classify particles.star -o classes -k 16 --json
  cryoppp-annotator classify picks/ --micrographs data/micrographs -o classes -k 16 --diameter 191"""


def classify(
    sources: Annotated[
        list[Path], typer.Argument(metavar="PICKS|STACK...", help="A .mrcs, a STAR with images, or coordinate files.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; it is made.")],
    n_classes: Annotated[
        int, typer.Option("-k", "--classes", metavar="N", min=1, max=500, help="Classes; from six on, two model junk.")
    ] = 16,
    micrographs: Annotated[
        str | None, typer.Option("--micrographs", metavar="DIR|GLOB", help="Extract the picks from these first.")
    ] = None,
    diameter: Annotated[
        str | None, typer.Option("--diameter", metavar="A", help="For picks without one: 191 (angstrom).")
    ] = None,
    box_size: Annotated[
        int | None, typer.Option("--box-size", metavar="PX", min=16, help="Micrograph px; 1.5 diameters by default.")
    ] = None,
    white: Annotated[bool, typer.Option("--white", help="Particles are already white in the micrographs.")] = False,
    ctf: Annotated[bool, typer.Option("--ctf/--no-ctf", help="Use the defocus where it is known.")] = True,
    frame: Annotated[Frame, typer.Option("--frame", help="How the axes of the picks lie.")] = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same classes.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Sort particles into class averages, and say which look like particles.

    Writes classes.mrcs, particles.star (with rlnClassNumber), summary.csv and gallery.png. Particles of a stack must
    be white, as RELION's are.
    """
    from dataclasses import replace

    from ..classify.engine import Settings
    from ..session import classification
    from ..session.extraction import ExtractionWish
    from .progress import run_job

    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    wish = None
    if micrographs is not None:
        wish = ExtractionWish(
            micrographs, box_size, invert=not white, orientation=frame.orientation, pixel_size_A=pixel_size,
            diameter_A=diameter_A,
        )  # fmt: skip

    def work(context: JobContext) -> ClassificationReport:
        settings, seeded = Settings(n_classes), replace(context, seed=seed)
        return classification.classify_files(sources, out, settings, wish=wish, use_ctf=ctf, context=seeded)

    report = run_job(work, title="Classifying")
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        told = {
            "classes": [classification.as_dict(item) for item in report.classes], "seconds": round(report.seconds, 2),
            "verdict": report.verdict, "files": [str(file) for file in report.files], "notes": list(report.notes),
        }  # fmt: skip
        typer.echo(json.dumps(told, indent=2))
        return
    for item in report.classes:
        told = classification.as_dict(item)
        seen = "-" if told["resolution_A"] is None else f"{told['resolution_A']:.1f} A"
        typer.echo(f"{item.id:4} {item.count:7,} {item.quality:5.2f} {seen:>9} {told['decision']:7} {item.kind.value}")
    typer.echo(f"{report.verdict} ({report.seconds:.1f} s, {out})")
