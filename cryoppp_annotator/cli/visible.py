"""What is printed is seen: no name of somebody else's speaks to the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..model.file_names import printable

#: Control characters but tab and line end, and what turns the direction of the line or ends it.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text with its control characters escaped (``\\x1b``); lines stay lines."""
    return _UNSEEN.sub(lambda match: printable(match[0]), text)


class _Visible:
    """A stream whose text is made :func:`visible`; Rich, which draws the bars, writes past it."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write text; returns how much of it there was."""
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def printing_visibly() -> Iterator[None]:
    """Everything that is printed meanwhile, on either stream, goes through :func:`visible`."""
    streams: tuple[Any, Any] = (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = (_Visible(stream) if stream is not None else None for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
