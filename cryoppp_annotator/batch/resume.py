"""What a command has finished, so that a second start continues where the first stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FormatError, Refused, disk_reason
from ..formats.image import images
from ..formats.kept_arrays import read_kept_text


class Progress:
    """A text file with one JSON line for each finished micrograph: its name, what it was made from, the result.

    Parameters
    ----------
    path : Path
        Made with the first line; its folder too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(self) -> dict[str, tuple[Any, Any]]:
        """Key and result by name; a line cut off in the middle says nothing. Raises FormatError where unreadable."""
        results: dict[str, tuple[Any, Any]] = {}
        try:
            lines = read_kept_text(self.path).splitlines()
        except FileNotFoundError:
            return results
        except (OSError, ValueError) as error:
            raise FormatError(f"cannot be read ({error})", self.path) from error
        for line in lines:
            try:
                entry = json.loads(line)
                results[str(entry["name"])] = entry["key"], entry["result"]
            except (ValueError, TypeError, KeyError):
                continue
        return results

    def note(self, name: str, key: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Add a line. Raises FormatError where it cannot be written."""
        line = json.dumps({"name": name, "key": key, "result": result})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(f"\n{line}\n" if stream.tell() else f"{line}\n")
        except OSError as error:
            raise FormatError(f"cannot be written ({disk_reason(error)})", self.path) from error


def micrographs_of(sources: Sequence[Path | str]) -> dict[str, Path]:
    """Micrographs by name, in natural order of each source.

    Raises
    ------
    Refused
        There are none, or two of one name.
    FormatError
        A named path does not exist.
    """
    paths = list(dict.fromkeys(path for source in sources for path in images.find_micrographs(source)))
    if not paths:
        raise Refused("there are no micrographs")
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(images.micrograph_name(path), path)
        if other != path:
            raise Refused(f"{other} and {path} have the same name; do them into two folders")
    return named
