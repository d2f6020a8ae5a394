"""The projects that were opened last, for the start page and the Project menu."""

from __future__ import annotations

from pathlib import Path

from ..errors import ProjectError
from ..store.connecting import is_project
from ..store.server_address import address_of
from .preferences import keep_preference, preference

#: So many are kept.
_KEPT = 8
_NAME = "recent projects"


def recent() -> list[Path]:
    """Folders of projects that are still there, the last one first."""
    folders = [Path(str(folder)) for folder in preference(_NAME, [])]
    return [folder for folder in folders if is_project(folder)]


def name_of(folder: Path) -> str:
    """A project in few words."""
    try:
        address = address_of(folder)
    except ProjectError:
        address = None
    return f"…/{folder.parent.name}/{folder.name}" if address is None else address.short


def remember(folder: Path) -> None:
    """A project was opened."""
    folder = folder.resolve()
    rest = [str(known) for known in recent() if known != folder]
    keep_preference(_NAME, [str(folder), *rest][:_KEPT])
