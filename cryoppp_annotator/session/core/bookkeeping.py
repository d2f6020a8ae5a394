"""What a project notes of its files and of itself: stored and announced, but no step to undo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...model.micrograph import Micrograph
from .edits import count_of
from .session import Session


def add_micrographs(session: Session, micrographs: Iterable[Micrograph]) -> int:
    """Register micrographs; those already known by path are left alone. Returns how many are new."""
    described = list(micrographs)
    added = session.retried(lambda: session.store.add_micrographs(described, session.curator))
    if added:
        session.read_again(f"added {count_of(added, 'micrograph')}")
    return added


def update_micrograph(session: Session, micrograph: Micrograph) -> None:
    """Store what the file says now (size, header, problem)."""
    session.retried(lambda: session.store.refresh_micrograph(micrograph, session.curator))
    # the counts and the state may have changed since the file was looked at
    session.loaded.put_files([micrograph])
    session.announce(f"{micrograph.name}: {micrograph.problem or 'read again'}", "note")


def remember(session: Session, settings: Mapping[str, Any]) -> None:
    """Store settings that no curator makes."""
    for key, value in settings.items():
        session.retried(lambda key=key, value=value: session.store.set_setting(key, value, session.curator))  # type: ignore[misc]
    session.loaded.set_settings(settings)


def move_data_root(session: Session, root: Path) -> None:
    """Say where the micrographs are now."""
    remember(session, {"data_root": str(root)})
    session.data_root = root
    session.read_again(f"micrographs are now read from {root}")
