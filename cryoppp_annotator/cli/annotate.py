"""``annotate``: open the window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CuratorOption, QuitOption, ScreenshotOption

EXAMPLE = """  cryoppp-annotator annotate data/10017
  cryoppp-annotator annotate movies/ --project ~/labels --curator ada"""


def annotate(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of micrographs, a CryoPPP data set, a project, or one image.", show_default=False
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option("--project", metavar="DIR", help="Where the annotations are kept; beside the data by default."),
    ] = None,
    curator: CuratorOption = None,
    screenshot: ScreenshotOption = None,
    quit_after: QuitOption = False,
) -> None:
    """Open the window on micrographs."""
    from ..errors import ProjectError

    target = path if path is not None else project
    if target is not None:
        target = target.expanduser()
        if not target.exists():
            raise ProjectError(f"there is no {target}")
    open_window(context, target, project, curator, screenshot, quit_after)


def open_window(
    context: typer.Context,
    path: Path | None,
    project: Path | None,
    curator: str | None,
    screenshot: Path | None,
    quit_after: bool,
) -> None:
    """Start the window and end with its exit code.

    Raises
    ------
    typer.Exit
    EngineError
        Qt or napari is missing.
    """
    from .. import extensions

    debug = bool(context.find_root().params.get("debug"))
    main = extensions.window()
    code = main(path, project=project, curator=curator, screenshot=screenshot, quit_after=quit_after, debug=debug)
    raise typer.Exit(code)
