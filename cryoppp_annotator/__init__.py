"""CryoPPP Annotator: label protein particles in cryo-EM micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .project import Project

__version__ = "0.1.0"
__all__ = ["__version__", "open_project"]


def open_project(path: str | Path, *, curator: str | None = None, read_only: bool = False) -> Project:
    """Open a project as pandas tables: see :func:`cryoppp_annotator.project.open_project` and ``docs/python.md``."""
    from .project import open_project as open_it  # nothing heavy is loaded with the package

    return open_it(path, curator=curator, read_only=read_only)
