"""Templates kept where a template picker finds them: ``templates/`` in the project's folder.

A set says whether its images are free of the CTF. Those that are (averages made with the defocus known, projections of
a map) are multiplied by each micrograph's CTF when they are looked for; averages made without still carry one, and
multiplying them would apply it twice.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, ProjectError, Refused, disk_reason
from ...formats.atomic import write_text
from ...formats.image.stacks import read_stack, write_stack
from ...formats.kept_arrays import read_kept_json
from ...model.classes import ClassRun
from ..core.session import Session

#: Folder of the templates, in the project's.
FOLDER = "templates"
_STORED = ("pixel_size_A", "diameter_A", "white", "resolution_A", "source", "numbers", "made")


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
    ctf_corrected : bool
        The images are free of the CTF.
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
    ctf_corrected: bool = False

    @property
    def summary(self) -> str:
        """One line: ``5 images · to 12 Å · 4.4 Å/px · white · CTF-corrected``."""
        n = len(self.numbers)
        known = [value for value in self.resolution_A if value]
        words = [f"{n} image{'' if n == 1 else 's'}", f"to {min(known):.0f} Å" if known else ""]
        words += [f"{self.pixel_size_A:.3g} Å/px", "white" if self.white else "black"]
        words.append("CTF-corrected" if self.ctf_corrected else "not CTF-corrected")
        return " · ".join(word for word in words if word)

    def parameters(self) -> dict[str, Any]:
        """What a template picker is handed."""
        return {"templates": str(self.path), "template_pixel_A": self.pixel_size_A, "white": self.white}


def list_templates(session: Session) -> list[TemplateSet]:
    """Template sets of the project, newest first; one whose files are damaged is left out."""
    sets = []
    for path in sorted((session.store.folder / FOLDER).glob("*.json")):
        try:
            sets.append(_read(path))
        except FormatError:
            continue
    return sorted(sets, key=lambda item: item.made, reverse=True)


def _read(path: Path) -> TemplateSet:
    if path.with_suffix(".mrcs").is_symlink():
        raise FormatError("is a link, not images that this project keeps", path.with_suffix(".mrcs"))
    try:
        stored = read_kept_json(path)
        values = {name: stored[name] for name in _STORED}
        values["resolution_A"] = tuple(None if value is None else float(value) for value in values["resolution_A"])
        values["numbers"] = tuple(int(n) for n in values["numbers"])
        values |= {name: _positive(values[name]) for name in ("pixel_size_A", "diameter_A")}
        values |= {name: str(values[name]) for name in ("source", "made")}
        # what is not known to be corrected is not multiplied by a CTF
        corrected = bool(stored.get("ctf_corrected", False))
        return TemplateSet(path.stem, path.with_suffix(".mrcs"), **values, ctf_corrected=corrected)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"is no description of templates ({error})", path) from error


def load_template(session: Session, name: str) -> tuple[NDArray[np.float32], TemplateSet]:
    """A template set by name.

    Returns
    -------
    images : (n, side, side) float32, yx
        The particle lies at pixel ``side // 2`` of both axes.
    templates : TemplateSet

    Raises
    ------
    FormatError
        There is none of this name, or it is damaged.
    """
    path = session.store.folder / FOLDER / f"{name}.json"
    if not path.is_file():
        raise FormatError(f"there are no templates {name!r} in this project", path)
    templates = _read(path)
    images, _ = read_stack(templates.path)
    if len(images) != len(templates.numbers):
        raise FormatError(f"holds {len(images)} images, not the {len(templates.numbers)} it should", templates.path)
    return np.array(images, np.float32), templates


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
    inputs = run.record.get("inputs", {})
    some = "-".join(str(item.number) for item in chosen[:8])
    description = {
        "pixel_size_A": run.pixel_size_A,
        "diameter_A": float(inputs.get("diameter_A") or session.diameter_A),
        "white": True,
        "source": run.name,
        "numbers": [item.number for item in chosen],
        "resolution_A": [_number(item.resolution_A) for item in chosen],
        "ctf_corrected": is_corrected(run),
    }
    return keep(
        session, averages[[item.number - 1 for item in chosen]], description, name or f"run-{run.id:04d}-classes-{some}"
    )


def is_corrected(run: ClassRun) -> bool:
    """Whether the averages of a run are free of the CTF: made with the defocus of every pick known, or elsewhere.

    RELION and cryoSPARC correct theirs unless they are asked not to.
    """
    if run.source != "here":
        return True
    with_ctf = int(run.record.get("inputs", {}).get("with_ctf") or 0)
    return 0 < int(run.record.get("counts", {}).get("classified") or 0) <= with_ctf


def keep(session: Session, images: NDArray[np.float32], description: Mapping[str, Any], name: str) -> Path:
    """Write a template set; one of the same name is replaced.

    Parameters
    ----------
    images : (n, side, side) float32, yx
    description : mapping
        What :class:`TemplateSet` says of them, without ``name``, ``path`` and ``made``.
    name : str

    Returns
    -------
    Path
        The ``.mrcs``.

    Raises
    ------
    Refused
        ``name`` is no name.
    ProjectError
        They cannot be written.
    """
    if session.store.read_only:
        raise ProjectError(f"the project in {session.store.folder} was opened read-only; no templates were written")
    folder = session.store.folder / FOLDER
    path = folder / f"{name}.mrcs"
    if path.parent != folder or name.startswith("."):
        raise Refused(f"{name!r} is no name for templates: it becomes a file's name")
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    try:
        folder.mkdir(exist_ok=True)
        write_stack(path, images, float(description["pixel_size_A"]))
        write_text(path.with_suffix(".json"), json.dumps({**description, "made": made}, indent=2))
    except OSError as error:
        raise ProjectError(f"the templates could not be written to {path} ({disk_reason(error)})") from error
    return path


def free_name(session: Session, stem: str) -> str:
    """``stem-0003``: a name that no set has, the latest of its kind."""
    taken = [path.stem for path in (session.store.folder / FOLDER).glob(f"{stem}-*.mrcs")]
    numbers = [int(tail) for name in taken if (tail := name.removeprefix(f"{stem}-")).isdecimal()]
    return f"{stem}-{max(numbers, default=0) + 1:04d}"


def set_corrected(session: Session, name: str, corrected: bool) -> None:
    """Say of a set from a file whether its images are free of the CTF.

    Raises
    ------
    FormatError, ProjectError
    """
    path = session.store.folder / FOLDER / f"{name}.json"
    stored = asdict(_read(path))
    for own in ("name", "path"):
        stored.pop(own)
    try:
        write_text(path, json.dumps({**stored, "ctf_corrected": corrected}, indent=2))
    except OSError as error:
        raise ProjectError(f"{path} could not be written ({disk_reason(error)})") from error


def take_ctf(templates: object) -> bool:
    """Whether templates are to be multiplied by the CTF of each micrograph: those that are known to be free of it.

    Parameters
    ----------
    templates : str or Path, else anything
        A file: of a set that a project keeps (which says so), or a map, whose projections are free of it.
    """
    if not isinstance(templates, str | Path):
        return False
    path = Path(templates)
    if path.with_suffix(".json").is_file() and path.parent.name == FOLDER:
        try:
            return _read(path.with_suffix(".json")).ctf_corrected
        except FormatError:
            return False
    return path.suffix.lower() != ".mrcs"


def _positive(value: Any) -> float:
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{value} is not above 0")
    return float(value)


def _number(value: float) -> float | None:
    """As JSON has it: None where it is not known."""
    return float(value) if np.isfinite(value) else None
