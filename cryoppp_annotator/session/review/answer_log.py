"""What a review keeps in files: its items, and lines that several programs append, curators' answers."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...errors import ProjectError
from ...formats.atomic import write_text
from ...formats.kept_arrays import open_kept, read_kept_json
from ..core.session import Session

#: In the project's folder.
FOLDER = "review"


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


#: What a field of each plain type may hold: positions and weights are finite, ids go into the database.
_FITS: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int and abs(value) < 2**63,
    "float": lambda value: type(value) in (int, float) and abs(value) < 1e12,
    "bool": lambda value: type(value) is bool,
    "bool | None": lambda value: value is None or type(value) is bool,
    "str": lambda value: type(value) is str,
}


def checked(kind: type[Any], values: Mapping[str, Any], *, unset: Collection[str] = ()) -> dict[str, Any]:
    """What JSON says of an object, its plain fields compared with their types; ``unset`` ones may be null.

    Raises
    ------
    ValueError
        One is of another type, or no finite number.
    """
    for one in fields(kind):
        fits = _FITS.get(str(one.type))
        value = values.get(one.name)
        if one.name not in values or fits is None or (value is None and one.name in unset):
            continue
        if not fits(value):
            raise ValueError(f"its {one.name} is {str(value)[:40]}")
    return dict(values)


class ReviewFiles:
    """Items to be judged, and what was said of them, in ``review/`` of the project's folder.

    Parameters
    ----------
    session : Session
    items, answers : str
        Names of the two files.
    """

    def __init__(self, session: Session, items: str, answers: str) -> None:
        self._session = session
        self.path = session.store.folder / FOLDER / items
        self.log = AnswerLog(session.store.folder / FOLDER / answers)

    def read(self) -> dict[str, Any] | None:
        """What lies there; None where nothing does. Raises OSError or ValueError where it is damaged."""
        return read_kept_json(self.path) if self.path.is_file() else None

    def put_aside(self) -> str:
        """Rename what lies there; returns the moment, by which what comes now is known."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.UTC)
        for path in (self.path, self.log.path):
            if path.is_file():
                path.rename(path.with_name(f"{path.stem}-until-{now:%Y-%m-%dT%H%M%S.%f}{path.suffix}"))
        return now.isoformat(timespec="milliseconds")

    def write(self, made: str, of: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Write the items. Raises FormatError."""
        head = {"made": made, "by": self._session.curator, "of": of}
        write_text(self.path, json.dumps({**head, "items": list(items)}))

    def append(self, line: Mapping[str, Any]) -> None:
        """Add an answer, with who and when. Raises ProjectError."""
        at = datetime.datetime.now(datetime.UTC).timestamp()
        self.log.append({**line, "curator": self._session.curator, "at": at})
