"""What RELION calls the project's micrographs: as their names came in, or by their path in RELION's own project."""

from __future__ import annotations

from pathlib import Path

from ...formats import relion_project
from ...model.micrograph import Micrograph
from ..core.session import Session
from ..pictures.optics import relion_of


class RelionNames:
    """Names of micrographs in RELION's files.

    RELION finds particles again only where ``rlnMicrographName`` is letter for letter what its own files say.

    Parameters
    ----------
    session : Session
    root : Path, optional
        RELION's project folder, where a person said it; names are relative to it before all else.

    Attributes
    ----------
    root : Path or None
        The folder that was said, or found above the first micrograph.
    """

    def __init__(self, session: Session, root: Path | None = None) -> None:
        self._session = session
        self._said = None if root is None else root.expanduser().absolute()
        self._came_in = _names_that_came_in(session)
        self._roots: dict[Path, Path | None] = {}
        self.root = self._said or self._first_root()

    def name_of(self, micrograph: Micrograph) -> str:
        """What RELION calls a micrograph; empty where it is not known."""
        path = self._session.path_of(micrograph).absolute()
        if self._said is not None and (name := relion_project.name_in(self._said, path)) is not None:
            return name
        if micrograph.id in self._came_in:
            return self._came_in[micrograph.id]
        root = self._root_above(path)
        return "" if root is None else relion_project.name_in(root, path) or ""

    def _first_root(self) -> Path | None:
        for micrograph in self._session.micrographs[:1]:
            return self._root_above(self._session.path_of(micrograph).absolute())
        return None

    def _root_above(self, path: Path) -> Path | None:
        """RELION's folder above a micrograph: found on the disk, or what is in front of names that came in."""
        folder = path.parent
        if folder not in self._roots:
            self._roots[folder] = relion_project.find_root(folder) or self._root_of_names()
        return self._roots[folder]

    def _root_of_names(self) -> Path | None:
        for number, name in self._came_in.items():
            path = self._session.path_of(self._session.micrograph(number)).absolute().as_posix()
            if "/" in name and path.endswith(f"/{name}"):
                return Path(path.removesuffix(name))
        return None


def _names_that_came_in(session: Session) -> dict[int, str]:
    """``rlnMicrographName`` by micrograph, of the latest picks that were imported, else of the list of micrographs."""
    known = {m.id for m in session.micrographs}
    names = {m.id: str(relion["name"]) for m in session.micrographs if (relion := relion_of(m)).get("name")}
    for number in sorted(session.pick_sets):
        parameters = session.pick_sets[number].parameters
        names.update({int(key): name for key, name in parameters.get("names", {}).items() if int(key) in known})
    return names
