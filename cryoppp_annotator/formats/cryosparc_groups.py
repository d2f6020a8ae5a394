"""cryoSPARC's result groups, ``.csg``: which dataset files belong together, and their columns joined by uid.

A group is a small YAML text: for each slot of results the file it lies in (``metafile: '>J24_particles.cs'``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from .table.cs_tables import read_dataset
from .table.text_rows import read_bounded

_UID = "uid"
_METAFILE = re.compile(r"""(?m)^[ \t]*metafile:[ \t]*['"]?>?([^'"\n]+?)['"]?[ \t]*$""")
_COUNT = re.compile(r"(?m)^([ \t]*num_items:[ \t]*)\d+[ \t]*$")
_MAX_BYTES = 1 << 20


def is_group(path: Path) -> bool:
    """Whether a file is a result group by its name."""
    return path.suffix.lower() == ".csg"


def members(path: Path) -> list[Path]:
    """The dataset files a group names, each once.

    Raises
    ------
    FormatError
        It names none, or one is not beside it.
    """
    names = list(dict.fromkeys(_METAFILE.findall(read_bounded(path, _MAX_BYTES))))
    if not names:
        raise FormatError("names no dataset files (metafile:)", path)
    return list(dict.fromkeys(_member(path, name) for name in names))


def _member(path: Path, name: str) -> Path:
    """The file that a group names: beside it, else where the name leads from its folder or from the project's."""
    project = path.absolute().parent.parent.resolve()
    plain = Path(name.replace("\\", "/"))
    for place in (path.parent / plain.name, path.parent / plain, path.parent.parent / plain):
        if place.is_file() and (place.parent == path.parent or place.resolve().is_relative_to(project)):
            return place
    raise FormatError(f"names {name}, which is neither beside it nor in its project's folder", path)


def beside(group: bytes) -> bytes:
    """The text of a group whose files lie beside it, as they do where they are written together."""
    text = group.decode("utf-8", "surrogateescape")
    alone = _METAFILE.sub(lambda match: match[0].replace(match[1], re.split(r"[/\\]", match[1])[-1]), text)
    return alone.encode("utf-8", "surrogateescape")


def joined_columns(path: Path) -> dict[str, NDArray[Any]]:
    """Columns of a dataset, or of all those a group names, joined by uid; rows of the first, where all have them.

    Raises
    ------
    FormatError
        A file cannot be read.
    """
    tables = [read_dataset(member) for member in (members(path) if is_group(path) else [path])]
    columns = dict(tables[0].columns)
    for table in tables[1:]:
        rows = rows_of(columns[_UID], table.columns[_UID])
        present = rows >= 0
        columns = {name: column[present] for name, column in columns.items()}
        columns.update({name: column[rows[present]] for name, column in table.columns.items() if name not in columns})
    return columns


def rows_of(uids: NDArray[Any], there: NDArray[Any]) -> NDArray[np.intp]:
    """Row of each of ``uids`` (n,) in ``there`` (m,); -1 where it is missing. Integers throughout."""
    if not len(there):
        return np.full(len(uids), -1, np.intp)
    order = np.argsort(there, kind="stable")
    place = np.minimum(np.searchsorted(there[order], uids), len(there) - 1)
    rows = order[place]
    return np.where(there[rows] == uids, rows, -1)


def group_text(files: Mapping[str, Sequence[str]], n: int, name: str, like: str = "") -> str:
    """The text of a group of particles.

    Parameters
    ----------
    files : mapping of file name to the slots that lie in it (``location``, ``alignments2D``)
    n : int
        Rows of each.
    name : str
        Of the group.
    like : str
        A group's text whose numbers are to be put right; else a new one is made.
    """
    if like:
        return _COUNT.sub(rf"\g<1>{n}", beside(like.encode()).decode())
    lines = ["group:", "  description: Particles curated in CryoPPP Annotator", f"  name: {name}", "  title: Particles"]
    lines += ["  type: particle", "results:"]
    for file, slots in files.items():
        for slot in slots:
            lines += [f"  {slot}:", f"    metafile: '>{file}'", f"    num_items: {n}", f"    type: particle.{slot}"]
    return "\n".join([*lines, "version: v4.4.1", ""])
