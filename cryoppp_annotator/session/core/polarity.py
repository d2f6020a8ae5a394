"""Whether particles are dark or bright in the micrographs of a project: a setting that a person makes."""

from __future__ import annotations

from . import edits
from .session import Session

_KEY = "polarity"


def is_bright(session: Session) -> bool:
    """Whether particles are brighter than their surroundings; dark, as they come from the microscope, by default."""
    return session.settings.get(_KEY) == "bright"


def set_bright(session: Session, bright: bool) -> None:
    """Say it, as one step that can be undone."""
    if bright == is_bright(session):
        return
    name = "bright" if bright else "dark"
    change = edits.set_setting(_KEY, session.settings.get(_KEY), name, f"particles are {name}")
    if change is not None:
        session.insert(change)
