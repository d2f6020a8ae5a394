"""What a person chose for all projects: kept in a small file, lost without harm."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from ..session.core.opening import home


def preference(name: str, otherwise: Any) -> Any:
    """A chosen value, ``otherwise`` where nothing of that kind was chosen."""
    value = _read().get(name, otherwise)
    return value if isinstance(value, type(otherwise)) else otherwise


def keep_preference(name: str, value: Any) -> None:
    """Remember a choice for the next start."""
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps({**_read(), name: value}, indent=1), encoding="utf-8")


def _read() -> dict[str, Any]:
    try:
        preferences = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return preferences if isinstance(preferences, dict) else {}


def _file() -> Path:
    return home() / "preferences.json"
