"""``demo``: the window on simulated micrographs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .annotate import open_window
from .options import CuratorOption, QuitOption, ScreenshotOption

EXAMPLE = "  cryoppp-annotator demo"


def demo(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Where it is kept; in the program's own folder by default."),
    ] = None,
    micrographs: Annotated[int, typer.Option("--micrographs", metavar="N", min=1, help="How many.")] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number gives other micrographs.")] = 0,
    curator: CuratorOption = None,
    screenshot: ScreenshotOption = None,
    quit_after: QuitOption = False,
    window: Annotated[bool, typer.Option("--window/--no-window", help="Open it, or only make it.")] = True,
) -> None:
    """Open the window on simulated micrographs.

    Their truth is known. They are made the first time, which takes some seconds; later your annotations in them are
    found again.
    """
    from ..batch import demo as demos
    from .progress import run_job

    made = run_job(
        lambda context: demos.build(folder, n_micrographs=micrographs, seed=seed, context=context),
        title="Simulating",
    )
    print(f"{'made' if made.made else 'found'} the demo in {made.folder}", file=sys.stdout, flush=True)
    if window:
        open_window(context, made.project, None, curator, screenshot, quit_after)
