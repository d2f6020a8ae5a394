"""Classes that could not be saved in their project, as files elsewhere: a program that ends would lose them."""

from __future__ import annotations

import datetime
import re
import shutil
import tempfile
from pathlib import Path

from ...errors import AnnotatorError, ProjectError
from ..core.opening import home
from ..core.session import Session
from .export_classes import export_result
from .job import RunResult, clear_away


def keep_elsewhere(session: Session, result: RunResult, error: ProjectError, out: Path | None = None) -> ProjectError:
    """Write classes that did not get into the project as files, and say where; nothing of them stays in the project.

    Parameters
    ----------
    result : RunResult
    error : ProjectError
        Why it could not be entered.
    out : Path, optional
        A folder that was asked for; else one of the user's own, else the system's for temporary files.

    Returns
    -------
    ProjectError
        What became of the classes, to raise.
    """
    clear_away(session, result.saved)
    why = str(error).partition(" They are kept in memory")[0].rstrip(". ")
    if result.run.source != "here":
        return ProjectError(f"{why}. Nothing was imported and your picks are safe: free some space, then import again")
    for folder in ([] if out is None else [out]) + places(session, "classes"):
        fresh = not folder.exists()
        try:
            export_result(session, result, folder)
        except (OSError, AnnotatorError):
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        return ProjectError(
            f"{why}. Your picks are safe, and the classes were written to {folder} instead: free some space, then "
            f"bring them in with: cryoppp-annotator import-classes {session.store.folder} {folder / 'particles.star'} "
            f"{folder / 'classes.mrcs'}"
        )
    return ProjectError(
        f"{why}. Your picks are safe, but the classes are gone: no other disk takes them either. Free some space, "
        "then classify again"
    )


def places(session: Session, what: str) -> list[Path]:
    """Folders for what did not get into the project: the user's own, then the system's for temporary files.

    Parameters
    ----------
    what : str
        ``classes`` or ``map``.
    """
    at = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    project = re.sub(r"[^\w-]+", "_", session.store.folder.name)[:60]
    named = f"unsaved-{what}-{project}-{at}"
    return [home() / named, Path(tempfile.gettempdir()) / named]
