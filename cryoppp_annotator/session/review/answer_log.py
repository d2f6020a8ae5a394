"""Lines of JSON that several programs append to one file: answers of curators, read as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import ProjectError
from ...formats.kept_arrays import open_kept


class AnswerLog:
    """One file that only grows; a line that is being written, or is damaged, is passed over.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def rewind(self) -> None:
        """Read from the beginning the next time."""
        self._read = 0

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """What was appended since the last time, by whichever program."""
        text = b""
        with suppress(OSError, ValueError), open_kept(self.path) as stream:
            stream.seek(self._read)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]  # a line that is being written is read the next time
        self._read += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, RecursionError):
                values = json.loads(line)
                if isinstance(values, dict):
                    yield values

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line. Raises ProjectError where it cannot be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self.path.is_file():
            raise ProjectError(f"{self.path} is no ordinary file; move it away, and answers can be written")
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
