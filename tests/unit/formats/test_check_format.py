"""Every format that is installed keeps to the protocol, and the check finds those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cryoppp_annotator.api import FormatError, MicrographPicks, PickFile, WriteOptions
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.testing import check_format

BOX = formats()["box"]


@pytest.mark.parametrize("name", sorted(formats()))
def test_every_format_keeps_to_the_protocol(name: str) -> None:
    check_format(formats()[name])


class Wrapped:
    """A good format, made bad in one place."""

    def __init__(self, **other: object) -> None:
        self.__dict__.update({"name": "wrapped"} | other)

    def __getattr__(self, name: str) -> object:
        return getattr(BOX, name)


class Shifted(Wrapped):
    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        return BOX.write(out, [replace(p, x=p.x + 30.0) for p in picks], options)


class Forgetful(Wrapped):
    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        return BOX.write(out, [p.take(slice(1, None)) for p in picks], options)


class Raw(Wrapped):
    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        try:
            return BOX.read(path, permissive=permissive)
        except FormatError as error:
            raise KeyError(str(path)) from error


class Boastful(Wrapped):
    def sniff(self, path: Path, head: bytes) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        (Wrapped(title=" "), AssertionError, "needs a title"),
        (Wrapped(extensions=("BOX",)), AssertionError, "lower case"),
        (Wrapped(carries=frozenset({"magic"})), AssertionError, "magic"),
        (Shifted(), AssertionError, r"comes back 30\.\d+ px from its place"),
        (Forgetful(), AssertionError, "12 picks of first_001 were written, 11 were read"),
        (Boastful(), AssertionError, "quite sure of a file of zeros"),
        (Raw(), KeyError, "empty|zeros|noise"),
    ],
)
def test_what_is_wrong_is_found(bad: Wrapped, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check_format(bad)  # type: ignore[arg-type]
