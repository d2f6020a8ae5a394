"""Class averages kept as templates, where a template picker finds them: ``templates/`` in the project's folder."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, ProjectError, Refused
from ..formats.atomic import write_text
from ..formats.stacks import read_stack, write_stack
from ..model.classes import ClassRun
from .session import Session

#: Folder of the templates, in the project's.
FOLDER = "templates"
_TOLD = ("pixel_size_A", "diameter_A", "white", "resolution_A", "source", "numbers", "made")


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """Templates as they lie in the project: ``<name>.mrcs`` and, beside it, ``<name>.json`` with the rest.

    Attributes
    ----------
    name : str
    path : Path
        The ``.mrcs``.
    pixel_size_A : float
    diameter_A : float
        Of the particle.
    white : bool
        Particles are white in the images (dark in the micrographs they were picked from).
    resolution_A : tuple of float or None
        One a template; None = not known.
    source : str
        Name of the class run.
    numbers : tuple of int
        The classes, from 1.
    made : str
        ISO 8601.
    """

    name: str
    path: Path
    pixel_size_A: float
    diameter_A: float
    white: bool
    resolution_A: tuple[float | None, ...]
    source: str
    numbers: tuple[int, ...]
    made: str


def list_templates(session: Session) -> list[TemplateSet]:
    """Template sets of the project, newest first; one whose files are damaged is left out."""
    found = []
    for path in sorted((session.store.folder / FOLDER).glob("*.json")):
        try:
            found.append(_read(path))
        except FormatError:
            continue
    return sorted(found, key=lambda item: item.made, reverse=True)


def _read(path: Path) -> TemplateSet:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        values = {name: told[name] for name in _TOLD}
        values["resolution_A"] = tuple(values["resolution_A"])
        values["numbers"] = tuple(int(n) for n in values["numbers"])
        return TemplateSet(path.stem, path.with_suffix(".mrcs"), **values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"is no description of templates ({error})", path) from error


def load_template(session: Session, name: str) -> tuple[NDArray[np.float32], TemplateSet]:
    """A template set by name.

    Returns
    -------
    images : (n, side, side) float32, yx
        The particle lies at pixel ``side // 2`` of both axes.
    told : TemplateSet

    Raises
    ------
    FormatError
        There is none of this name, or it is damaged.
    """
    path = session.store.folder / FOLDER / f"{name}.json"
    if not path.is_file():
        raise FormatError(f"there are no templates {name!r} in this project", path)
    told = _read(path)
    images, _ = read_stack(told.path)
    if len(images) != len(told.numbers):
        raise FormatError(f"holds {len(images)} images, not the {len(told.numbers)} it should", told.path)
    return np.array(images, np.float32), told


def save_averages(
    session: Session, run: ClassRun, averages: NDArray[np.float32], numbers: Sequence[int], name: str = ""
) -> Path:
    """Keep averages of a run as templates.

    Parameters
    ----------
    averages : (n, side, side) float32
        Of the whole run.
    numbers : sequence of int
        The classes to keep, from 1.
    name : str
        Of the set; ``run-0003-classes-1-4`` by default. A set of the same name is replaced.

    Returns
    -------
    Path
        The ``.mrcs``.

    Raises
    ------
    Refused
        No class was chosen.
    ProjectError
        They cannot be written.
    """
    chosen = [item for item in run.summaries if item.number in set(numbers)]
    if not chosen:
        raise Refused("choose the classes to keep as templates first")
    if session.store.read_only:
        raise ProjectError(f"the project in {session.store.folder} was opened read-only; no templates were written")
    inputs = run.record.get("inputs", {})
    told = {
        "pixel_size_A": run.pixel_size_A, "diameter_A": float(inputs.get("diameter_A") or session.diameter_A),
        "white": True, "source": run.name, "numbers": [item.number for item in chosen],
        "resolution_A": [None if item.resolution_A != item.resolution_A else item.resolution_A for item in chosen],
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    some = "-".join(str(item.number) for item in chosen[:8])
    folder = session.store.folder / FOLDER
    stem = name or f"run-{run.id:04d}-classes-{some}"
    path = folder / f"{stem}.mrcs"
    if path.parent != folder or stem.startswith("."):
        raise Refused(f"{name!r} is no name for templates: it becomes a file's name")
    try:
        folder.mkdir(exist_ok=True)
        write_stack(path, averages[[item.number - 1 for item in chosen]], run.pixel_size_A)
        write_text(path.with_suffix(".json"), json.dumps(told, indent=2))
    except OSError as error:
        raise ProjectError(f"the templates could not be written to {path} ({error.strerror or error})") from error
    return path
