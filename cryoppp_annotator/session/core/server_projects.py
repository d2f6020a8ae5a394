"""Projects whose rows are on a PostgreSQL server: the folder that stands for one on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import ProjectError, disk_reason
from ...store import classes
from ...store.server_address import is_address, parse_address, stand_for, stands_for_server
from .edits import count_of
from .opening import home
from .session import Session

#: Where the files of a server's project were said to be.
_PLACE = "files.json"


def folder_of(address: str, files: Path | None = None) -> Path:
    """The folder of class averages, review queues and the cache of a project on a server.

    Parameters
    ----------
    address : str
        ``postgresql://NAME@HOST/DATABASE``.
    files : Path, optional
        A folder of its own, best one that all curators see; remembered for the next time. At home by default.

    Raises
    ------
    ProjectError
        That is no address, or the folder holds the files of another project.
    """
    parsed = parse_address(address)
    own = home() / "servers" / parsed.tag
    if files is not None:
        folder = files.expanduser().absolute()
        _remember(own, folder)
    else:
        folder = _remembered(own) or own
    stand_for(folder, parsed)
    return folder


def files_note(session: Session) -> str:
    """What is said of a server's project whose class averages another curator has; empty everywhere else."""
    folder = session.store.folder
    if not stands_for_server(folder):
        return ""
    missing = [run for run in classes.runs(session.store) if run["folder"] and not (folder / run["folder"]).is_dir()]
    if not missing:
        return ""
    runs = count_of(len(missing), "class run")
    return f"the averages of {runs} are not in {folder}: give all curators the same folder with --files"


def project_path(text: str | Path) -> Path:
    """A path, or the folder that a server's address stands for. Raises ProjectError."""
    return folder_of(text) if isinstance(text, str) and is_address(text) else Path(text)


def _remembered(own: Path) -> Path | None:
    try:
        return Path(json.loads((own / _PLACE).read_text(encoding="utf-8"))["files"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{own / _PLACE} does not say where the project's files are ({error}); delete it") from error


def _remember(own: Path, folder: Path) -> None:
    if folder == (_remembered(own) or own):
        return
    try:
        own.mkdir(parents=True, exist_ok=True)
        (own / _PLACE).write_text(json.dumps({"files": str(folder)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise ProjectError(f"{own} cannot be written: {disk_reason(error)}") from error
