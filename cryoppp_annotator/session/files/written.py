"""What our exports wrote into a folder, so that the next one deletes what is obsolete and keeps the rest.

The list lies in the folder itself (:data:`LIST_NAME`), and goes with it. A file is ours while its size and date are
those that we left; a file that was edited since is kept, which is reported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import FormatError
from ...formats.atomic import write_text
from ...formats.kept_arrays import read_kept_json
from ..core.edits import count_of
from ..core.session import Session

#: Hidden, and of no format's ending: no reader takes it for coordinates.
LIST_NAME = ".cryoppp-annotator-export"


def tidy(session: Session, out: Path, kind: str, files: Sequence[Path]) -> list[str]:
    """Delete what the last export of that kind wrote here and this one did not, and note what this one wrote.

    Parameters
    ----------
    session : Session
        Exports of other projects into the same folder are not touched.
    out : Path
        As the export was given: the folder, or the file where the format holds many micrographs.
    kind : str
        What makes it the same export again: the format and the suffix.
    files : sequence of Path
        What was written just now.

    Returns
    -------
    list of str
        Notes for the curator.
    """
    folder = out if out.is_dir() else out.parent
    lists = _read(folder / LIST_NAME)
    key = f"{session.store.folder.resolve()} {kind}"
    mine = _names_inside(folder, files)
    removed, edited = [], []
    for name, mark in lists.get(key, {}).items():
        path = folder / name
        if name in mine or not _is_inside(folder, path) or path.is_symlink() or not path.is_file():
            continue
        if _mark(path) != mark:
            edited.append(name)
            continue
        with suppress(OSError):
            path.unlink()
            removed.append(name)
    for parent in {(folder / name).parent for name in removed} - {folder}:
        with suppress(OSError):  # not empty: something else is there
            parent.rmdir()
    lists[key] = {name: _mark(file) for name, file in mine.items()}
    with suppress(OSError, FormatError):  # without the list, the next export takes nothing away
        write_text(folder / LIST_NAME, json.dumps(lists))
    return _notes(removed, edited)


def remember(out: Path, kind: str, files: Sequence[Path]) -> None:
    """Note what was written, so that the same may be written again; nothing is deleted.

    Parameters
    ----------
    out : Path
        As the work was given: a folder, or a file in it.
    kind : str
        Of the work (``convert``).
    files : sequence of Path
    """
    folder = out if out.is_dir() else out.parent
    lists = _read(folder / LIST_NAME)
    now = {name: _mark(file) for name, file in _names_inside(folder, files).items()}
    lists[kind] = {**lists.get(kind, {}), **now}
    with suppress(OSError, FormatError):  # without the list, the next time asks
        write_text(folder / LIST_NAME, json.dumps(lists))


def may_replace(out: Path, *, overwrite: bool = False) -> Callable[[Path], bool]:
    """What says of a file in ``out`` whether it may be replaced.

    It may where an earlier export wrote it and nobody has touched it since, or where ``overwrite`` says so of all.

    Parameters
    ----------
    out : Path
        As the export is given: the folder, or a file in it.
    overwrite : bool
    """
    if overwrite:
        return lambda _path: True
    folder = out if out.is_dir() or not out.suffix else out.parent
    marks = {name: mark for files in _read(folder / LIST_NAME).values() for name, mark in files.items()}

    def is_ours(path: Path) -> bool:
        return path.is_file() and marks.get(_inside(folder, path)) == _mark(path)

    return is_ours


def _notes(removed: Sequence[str], edited: Sequence[str]) -> list[str]:
    notes = []
    if removed:
        notes.append(f"{count_of(len(removed), 'file')} of the last export here deleted ({_some(removed)})")
    if edited:
        notes.append(
            f"{count_of(len(edited), 'file')} of the last export here kept, because it was edited since "
            f"({_some(edited)})"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        lists = read_kept_json(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(lists, dict):
        return {}
    return {str(key): dict(files) for key, files in lists.items() if isinstance(files, Mapping)}


def _names_inside(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Files that lie in a folder, by their names relative to it."""
    begins = f"{folder}{os.sep}"
    names: dict[str, Path] = {}
    for file in files:
        text = str(file)
        plain = text.startswith(begins) and ".." not in text
        if name := text[len(begins) :].replace(os.sep, "/") if plain else _inside(folder, file):
            names[name] = file
    return names


def _mark(path: Path) -> list[int]:
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


def _inside(folder: Path, file: Path) -> str:
    """Its name relative to the folder; empty where it lies elsewhere."""
    relative = os.path.relpath(file.absolute(), folder.absolute())
    return "" if relative.startswith("..") else Path(relative).as_posix()


def _is_inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
