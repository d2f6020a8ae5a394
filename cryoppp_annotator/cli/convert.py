"""``convert``: coordinate files into another format, without a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    FORMATS_HELP,
    ImportFrame,
    JsonOption,
    ListFormatsOption,
    OverwriteOption,
    PixelSizeOption,
    RelionRootOption,
    ScaleOption,
    SuffixOption,
    TemplateOption,
    parse_diameter,
)

EXAMPLE = """  cryoppp-annotator convert labels/*.csv -o picks --to relion --micrographs movies
  cryoppp-annotator convert particles.star -o dataset --to cryoppp --micrographs movies --diameter 191
  cryoppp-annotator convert topaz.txt -o picks --to relion --micrographs movies --scale 8"""


def convert(
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Coordinate files or CryoPPP folders.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DST", help="Folder; or, for one micrograph or particles, a file.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=FORMATS_HELP)],
    from_format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Format of the sources; recognised by default.")
    ] = None,
    micrographs: Annotated[
        str | None,
        typer.Option("--micrographs", metavar="DIR", help="Micrographs, for their height, pixel size and full names."),
    ] = None,
    frame: Annotated[
        ImportFrame,
        typer.Option(
            "--frame",
            help="How the axes lie; auto = as the format declares, tested on the micrographs; image = as they say.",
        ),
    ] = ImportFrame.AUTO,
    scale: ScaleOption = None,
    pixel_size: PixelSizeOption = None,
    box_size: Annotated[
        float | None, typer.Option("--box-size", metavar="PX", help="For formats that write a box.")
    ] = None,
    diameter: Annotated[
        str | None,
        typer.Option(
            "--diameter", metavar="A", help="Where the sources give none: in angstrom, or 108px.", show_default=False
        ),
    ] = None,
    template: TemplateOption = None,
    suffix: SuffixOption = "",
    relion_root: RelionRootOption = None,
    permissive: Annotated[bool, typer.Option("--permissive", help="Leave bad rows out, and list them.")] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    list_formats: ListFormatsOption = False,
) -> None:
    """Convert coordinate files.

    Without a project. Where --micrographs are given, the frame is tested on up to three of them, as `import` does.
    """
    from ..batch import convert as batch_convert
    from .progress import run_job, tell_written

    diameter_A, diameter_px = parse_diameter(diameter)
    options = batch_convert.ConvertOptions(
        to=to,
        from_format=from_format,
        micrographs=micrographs,
        orientation=frame.orientation,
        pixel_size_A=pixel_size,
        box_size_px=box_size,
        diameter_A=diameter_A,
        diameter_px=diameter_px,
        permissive=permissive,
        scale=scale,
        template=template,
        by_image=frame is ImportFrame.IMAGE,
        suffix=suffix,
        relion_root=relion_root,
        overwrite=overwrite,
    )
    report = run_job(lambda context: batch_convert.convert(sources, out, options, context=context), title="Converting")
    tell_written(report, to, out, as_json=as_json)
