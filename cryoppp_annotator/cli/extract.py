"""``extract``: boxes around picks as a particle stack."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Frame, JsonOption, PixelSizeOption, parse_diameter

if TYPE_CHECKING:
    from ..batch.extract import ExtractionReport
    from ..model.context import JobContext

EXAMPLE = """  cryoppp-annotator extract picks/ --micrographs data/micrographs -o particles --box-size 160 --bin 2"""


def extract(
    picks: Annotated[list[Path], typer.Argument(metavar="PICKS...", help="Coordinate files or a CryoPPP folder.")],
    micrographs: Annotated[str, typer.Option("--micrographs", metavar="DIR|GLOB", help="The images they are of.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; it is made.")],
    box_size: Annotated[
        int | None,
        typer.Option("--box-size", metavar="PX", min=8, help="Side of the box, micrograph px; else 1.5 diameters."),
    ] = None,
    bin_: Annotated[int, typer.Option("--bin", metavar="N", min=1, help="Fourier-crop N times.")] = 1,
    diameter: Annotated[
        str | None, typer.Option("--diameter", metavar="A", help="For picks without one: 191 (angstrom).")
    ] = None,
    pad: Annotated[bool, typer.Option("--pad", help="Keep boxes beyond the edge, filled with edge pixels.")] = False,
    white: Annotated[bool, typer.Option("--white", help="Particles are already white in the micrographs.")] = False,
    flip_phases: Annotated[bool, typer.Option("--flip-phases", help="Flip phases by the picks' defocus.")] = False,
    frame: Annotated[Frame, typer.Option("--frame", help="How the axes of the picks lie.")] = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut particles out: DIR/<micrograph>.mrcs and DIR/particles.star (RELION 3.1 and later).

    Boxes are centred to a fraction of a pixel, levelled, normalised outside the particle, and white. Picks whose box
    reaches beyond the micrograph are left out, and counted. Image names in the STAR file begin with DIR as given:
    run RELION from the same folder.
    """
    from ..batch import extract as batch_extract
    from ..imaging.patches import Edge
    from .progress import run_job

    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    options = batch_extract.ExtractOptions(
        micrographs,
        box_size,
        bin_,
        None,
        Edge.PAD if pad else Edge.SKIP,
        not white,
        flip_phases,
        frame.orientation,
        pixel_size,
        diameter_A,
    )

    def work(context: JobContext) -> ExtractionReport:
        return batch_extract.extract(picks, out, options, context=context)

    report = run_job(work, title="Extracting")
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    answer = {
        "star": str(report.star),
        "particles": report.n_particles,
        "skipped": report.n_skipped,
        "box_px": report.box_px,
        "out_px": report.out_px,
        "notes": list(report.notes),
    }
    message = f"wrote {report.n_particles:,} particles of {report.out_px} px and {report.star}"
    typer.echo(json.dumps(answer, indent=2) if as_json else message)
