"""The projects that were opened last, for the start page and the Project menu."""

from __future__ import annotations

from pathlib import Path

from ..store.store import DATABASE_NAME
from .preferences import keep_preference, preference

#: So many are kept.
_KEPT = 8
_NAME = "recent projects"


def recent() -> list[Path]:
    """Folders of projects that are still there, the last one first."""
    folders = [Path(str(folder)) for folder in preference(_NAME, [])]
    return [folder for folder in folders if (folder / DATABASE_NAME).is_file()]


def remember(folder: Path) -> None:
    """A project was opened."""
    folder = folder.resolve()
    rest = [str(known) for known in recent() if known != folder]
    keep_preference(_NAME, [str(folder), *rest][:_KEPT])
