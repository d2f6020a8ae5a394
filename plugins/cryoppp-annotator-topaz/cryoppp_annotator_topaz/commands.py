"""``cryoppp-annotator-topaz``: make Topaz's environment, and train on our picks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cryoppp_annotator.api import AnnotatorError, JobContext

from .program import own_environment

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Topaz for CryoPPP Annotator.")


def _fail(error: AnnotatorError) -> typer.Exit:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return typer.Exit(1)


@app.command()
def install(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where; among the user's data by default.")
    ] = None,
    torch: Annotated[str, typer.Option("--torch", metavar="SPEC", help="What pip installs as PyTorch.")] = "torch",
) -> None:
    """Make an environment for Topaz, apart from this one."""
    from .environment import install as make

    try:
        make((folder or own_environment()).absolute(), torch, typer.echo)
    except AnnotatorError as error:
        raise _fail(error) from None


@app.command()
def train(
    picks: Annotated[list[Path], typer.Argument(metavar="PICKS...", help="Coordinate files of accepted picks.")],
    micrographs: Annotated[Path, typer.Option("--micrographs", metavar="DIR", help="Folder of the micrographs.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The model, .sav.")],
    diameter: Annotated[float, typer.Option("--diameter", metavar="A", min=1.0, help="Of the particle, angstrom.")],
    pixel_size: Annotated[float, typer.Option("--pixel-size", metavar="A", min=0.01, help="Angstrom per pixel.")],
    expected: Annotated[
        float | None, typer.Option("--expected", metavar="N", help="Particles there are on a micrograph, about.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 10,
    epoch_size: Annotated[int, typer.Option("--epoch-size", min=1, help="Updates in each epoch.")] = 1000,
    model: Annotated[str, typer.Option("--model", help="Topaz's architecture.")] = "resnet8",
) -> None:
    """Train a detector on accepted picks; `pick --picker topaz --set model=FILE` uses it."""
    from .reading import labelled
    from .training import train as run

    def tell(done: float, total: float, message: str) -> None:
        print(f"\r{done:.0f}/{total:.0f} {message:40}", end="", file=sys.stderr, flush=True)

    try:
        run(
            labelled(picks, micrographs),
            out,
            pixel_size_A=pixel_size,
            diameter_A=diameter,
            expected_per_micrograph=expected,
            epochs=epochs,
            epoch_size=epoch_size,
            model=model,
            context=JobContext(on_progress=tell if sys.stderr.isatty() else lambda *_: None),
        )
    except AnnotatorError as error:
        raise _fail(error) from None
    typer.echo(f"trained: {out}")


if __name__ == "__main__":
    app()
