"""``annotate``: open the window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CuratorOption, FilesOption, QuitOption, SchedulerOption, ScreenshotOption, refuse_files_alone

EXAMPLE = """  cryoppp-annotator annotate data/10017
  cryoppp-annotator annotate movies/ --project ~/labels --curator ada
  cryoppp-annotator annotate data/10017 --project postgresql://lab@server/ribosomes
  cryoppp-annotator annotate data/10017 --scheduler tcp://cluster:8786"""


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
        typer.Option(
            "--project",
            metavar="DIR",
            help="Where the annotations are kept, also postgresql://NAME@HOST/DATABASE; beside the data by default.",
        ),
    ] = None,
    files: FilesOption = None,
    curator: CuratorOption = None,
    scheduler: SchedulerOption = None,
    screenshot: ScreenshotOption = None,
    quit_after: QuitOption = False,
) -> None:
    """Open the window on micrographs."""
    from ..errors import ProjectError
    from ..store.connecting import is_project

    refuse_files_alone(files)
    target = path if path is not None else project
    if target is not None:
        target = target.expanduser()
        if not target.exists() and not is_project(target):
            raise ProjectError(f"there is no {target}")
    open_window(context, target, project, curator, screenshot, quit_after, _known(scheduler))


def _known(scheduler: str | None) -> str | None:
    """An address as the window takes it. Raises EngineError where clusters need what is not installed."""
    from ..errors import EngineError
    from ..jobs.cluster import NEEDS, is_installed

    if scheduler is None:
        return None
    if not is_installed():
        raise EngineError(NEEDS)
    path = Path(scheduler).expanduser()
    return str(path.absolute()) if path.is_file() else scheduler


def open_window(
    context: typer.Context,
    path: Path | None,
    project: Path | None,
    curator: str | None,
    screenshot: Path | None,
    quit_after: bool,
    scheduler: str | None = None,
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
    code = main(
        path,
        project=project,
        curator=curator,
        scheduler=scheduler,
        screenshot=screenshot,
        quit_after=quit_after,
        debug=debug,
    )
    raise typer.Exit(code)
