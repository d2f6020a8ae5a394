"""What files of an export are called: by the micrograph, and by its folder too where two have one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ..errors import FormatError
from ..model.pickfile import MicrographPicks


def distinct_names(picks: Sequence[MicrographPicks]) -> list[str]:
    """A name for each micrograph: its own, or with as many of its folders in front as tell equal names apart.

    Parameters
    ----------
    picks : sequence of MicrographPicks

    Returns
    -------
    list of str
        POSIX, relative; equal only where path and name are.
    """
    own = [pick.micrograph.name for pick in picks]
    twice = {name for name, n in Counter(own).items() if n > 1}
    if not twice:
        return own
    names = list(own)
    for name in twice:
        places = [i for i, text in enumerate(own) if text == name]
        folders = [_folders(picks[i].micrograph.path) for i in places]
        depth = next((d for d in range(1, 64) if len({parts[-d:] for parts in folders}) == len(folders)), 0)
        if depth:
            for i, parts in zip(places, folders, strict=True):
                names[i] = "/".join((*parts[-depth:], name))
    return names


def _folders(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(path).parent.parts if part not in ("/", "..", "."))


def refuse_collisions(names: Iterable[str], out: Path) -> None:
    """Raise FormatError where two micrographs would be written into one file of folder ``out``."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FormatError("two micrographs of that name would be written into one file", out / name)
        seen.add(name)
