"""A report for whoever is to help: versions, what ``doctor`` says, the project in numbers, the end of the log.

Names of micrographs, folders and people are left out unless they are asked for.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import __version__
from ..formats.atomic import write_text
from ..model.context import JobContext
from ..session.core.session import Session
from .doctor import Check, examine

_QUIET = JobContext()
#: Lines of the log that are taken.
LOG_LINES = 400
_PACKAGES = ("napari", "numpy", "scipy", "vispy", "superqt", "npe2", "SQLAlchemy", "gemmi", "tifffile", "mrcfile")
#: A path, and a file name by itself; both end before white space, quotes and what stands between names in a list.
_PATH = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?[/\\][^\s'\"“”:;,()]*")
_FILE = re.compile(
    r"(?i)[^\s'\"“”:;,()/\\<>]+\.(mrcs?|map|st|rec|tiff?|png|jpe?g|eer|star|csv|box|cbox|json|cs|csg|db|plt|thi|pos|txt)\b"
)
_LIBRARY = re.compile(r"(?:site-packages|dist-packages|lib/python3[.\d]*)[/\\]|cryoppp_annotator[/\\]")


def write_report(
    path: Path,
    log: str,
    session: Session | None = None,
    *,
    window: Mapping[str, str] | None = None,
    names: bool = False,
    context: JobContext = _QUIET,
) -> Path:
    """Write the report as one text file.

    Parameters
    ----------
    path : Path
    log : str
        The program's log; its last lines are taken.
    session : Session, optional
        The open project: its numbers are reported.
    window : mapping of str to str, optional
        What only the window knows (Qt, OpenGL, size of the screen).
    names : bool
        Whether names of micrographs, folders and people may stand in it.
    context : JobContext

    Raises
    ------
    OSError
    Cancelled
    """
    checks = examine(context)
    parts = [
        ("report", _head()),
        ("doctor", _doctor(checks)),
        ("packages", _versions()),
        ("window", [f"{key}: {value}" for key, value in (window or {}).items()]),
        ("project", [] if session is None else _numbers(session)),
        ("log", log.splitlines()[-LOG_LINES:]),
    ]
    text = "".join(f"== {title} ==\n" + "\n".join(lines or ["none"]) + "\n\n" for title, lines in parts)
    return write_text(path, text if names else without_names(text, _names_in(session)))


def without_names(text: str, names: Iterable[str] = ()) -> str:
    """A text without paths, file names, given names and the user's: each becomes what it was, ``<file>.mrc``.

    Paths of libraries and of this program in tracebacks stay from there on: they say nothing of the data.
    """
    longest_first = sorted({name for name in names if len(name) > 2}, key=lambda name: (-len(name), name))
    numbered = {name: f"<name {k}>" for k, name in enumerate(longest_first, 1)}
    text = _without(text, {name: as_what for name, as_what in numbered.items() if " " in name})  # no path holds these
    text = _PATH.sub(_path_as, text)
    text = _FILE.sub(lambda match: f"<file>.{match[1]}", text)
    text = _without(text, numbered)
    user = _user()
    return re.sub(rf"\b{re.escape(user)}\b", "<user>", text) if len(user) > 1 else text


def _without(text: str, names: Mapping[str, str]) -> str:
    for name, as_what in names.items():
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", as_what, text)
    return text


def _path_as(match: re.Match[str]) -> str:
    path = match[0]
    library = list(_LIBRARY.finditer(path))
    if library:
        return f"…/{path[library[-1].start() :]}"
    ending = Path(path).suffix
    return f"<path>{ending}" if len(path) > 1 else path


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _names_in(session: Session | None) -> list[str]:
    if session is None:
        return []
    of_micrographs = [text for m in session.micrographs for text in (m.name, Path(m.path).name)]
    sets = [pick_set.name for pick_set in session.pick_sets.values() if not pick_set.by_hand]
    folders = [session.store.folder, session.data_root, *(Path(m.path).parent for m in session.micrographs)]
    parts = [text for folder in set(folders) for text in (str(folder), *folder.parts)]
    return [*of_micrographs, *sets, session.curator, *parts]


def _head() -> list[str]:
    return [f"cryoppp-annotator {__version__}", time.strftime("written %Y-%m-%d %H:%M %z")]


def _doctor(checks: Sequence[Check]) -> list[str]:
    return [f"{c.level.value:7} {c.name}: {c.said}" + (f" -> {c.mend}" if c.mend else "") for c in checks]


def _versions() -> list[str]:
    lines = []
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return lines


def _numbers(session: Session) -> list[str]:
    states: dict[str, int] = {}
    for micrograph in session.micrographs:
        states[micrograph.state.name.lower()] = states.get(micrograph.state.name.lower(), 0) + 1
    shapes = sorted({f"{m.width} x {m.height}" for m in session.micrographs})
    endings = sorted({Path(m.path).suffix for m in session.micrographs})
    return [
        f"micrographs: {len(session.micrographs)}, {states}",
        f"sizes in px: {', '.join(shapes[:5])}; kinds: {', '.join(endings)}",
        f"picks: {session.counts()}",
        f"pick sets: {len(session.pick_sets)}; steps: {len(session.history(100_000))}",
        f"diameter: {session.diameter_A:g} A; read-only: {session.store.read_only}",
        f"micrographs with a problem: {sum(bool(m.problem) for m in session.micrographs)}",
    ]
