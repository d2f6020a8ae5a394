"""JSON lists of entries, read within bounds: what COCO and Magellon share."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ...errors import FormatError
from ...model.pickfile import Issue
from .json_text import parse_json
from .text_rows import read_bounded

_LARGEST = 1e9
_MAX_TEXT = 100_000


def load_json(path: Path, limit: int) -> Any:
    """Parse a JSON file of at most ``limit`` bytes; None for 0 bytes.

    Raises
    ------
    FormatError
        Not JSON, nested without end, or too large.
    """
    text = read_bounded(path, limit)
    if not text.strip():
        return None
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"is not JSON ({error.msg.lower()})", path, error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is no JSON that a program wrote ({error})", path) from error


class EntryReader:
    """Takes values out of entries, keeping account of bad ones.

    Parameters
    ----------
    path : Path
    permissive : bool
        Bad entries become issues; otherwise the first raises FormatError.
    """

    def __init__(self, path: Path, permissive: bool) -> None:
        self._path = path
        self._permissive = permissive
        self.issues: list[Issue] = []

    def refuse(self, message: str, line: int | None = None) -> None:
        """Raise, or note and go on."""
        if not self._permissive:
            raise FormatError(message, self._path, line)
        self.issues.append(Issue(message, self._path, line))


def as_number(value: object) -> float | None:
    """A finite number of a reasonable size, or None. True and False are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST <= value <= _LARGEST and math.isfinite(value) else None


def as_numbers(value: object, n: int) -> list[float] | None:
    """A list of ``n`` finite numbers, or None."""
    if not isinstance(value, list) or len(value) != n:
        return None
    numbers = [as_number(part) for part in value]
    return None if None in numbers else [part for part in numbers if part is not None]


def short(value: object) -> str:
    """A value for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def kept_text(value: object) -> str:
    """A value we do not interpret, as text that is kept; '' where it is unreasonably long."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _MAX_TEXT else ""
