"""Formats, denoisers and pickers found by entry point. A broken plugin is reported, never fatal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from .api import CoordinateFormat, Denoiser, Engine, Need, Picker
from .errors import EngineError

log = logging.getLogger(__name__)

FORMATS = "cryoppp_annotator.formats"
DENOISERS = "cryoppp_annotator.denoisers"
PICKERS = "cryoppp_annotator.pickers"
ENGINES = "cryoppp_annotator.engines"
WINDOWS = "cryoppp_annotator.windows"


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that could not be loaded, and why."""

    name: str
    distribution: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """What an entry-point group holds."""

    items: dict[str, Any]
    broken: tuple[Broken, ...]


@cache
def find(group: str) -> Found:
    """Load every entry point of ``group``; those that fail are listed with their reason."""
    items: dict[str, Any] = {}
    broken: list[Broken] = []
    for point in entry_points(group=group):
        try:
            items[point.name] = point.load()
        except Exception as error:
            log.warning("plugin %s (%s) is broken", point.name, _distribution(point), exc_info=True)
            broken.append(Broken(point.name, _distribution(point), f"{type(error).__name__}: {error}"))
    return Found(items, tuple(broken))


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def provider(group: str, name: str) -> str:
    """Distribution and version that an engine comes with (``cryoppp-annotator-relion 1.0``); empty where unknown."""
    distributions = [point.dist for point in entry_points(group=group, name=name)]
    return ", ".join(f"{dist.name} {dist.version}" for dist in distributions if dist is not None)


def formats() -> dict[str, CoordinateFormat]:
    """Coordinate formats by name."""
    return cast("dict[str, CoordinateFormat]", find(FORMATS).items)


def denoisers() -> dict[str, Denoiser]:
    """Denoisers by name."""
    return cast("dict[str, Denoiser]", find(DENOISERS).items)


def pickers() -> dict[str, Picker]:
    """Pickers by name."""
    return cast("dict[str, Picker]", find(PICKERS).items)


#: The picker that is used where nobody chose one.
DEFAULT_PICKER = "log"


def needs_of(picker: str) -> frozenset[Need]:
    """What the program hands to a picker; to one that does not say so (a plain ``api.Picker``) its polarity."""
    plain = frozenset({Need.POLARITY})
    return cast("frozenset[Need]", getattr(pickers().get(picker), "needs", plain))


def why_not(picker: str, parameters: Mapping[str, Any]) -> str:
    """Why a picker cannot pick with these parameters; empty where it can, or does not say."""
    known = pickers().get(picker)
    for parameter in getattr(known, "parameters", ()):
        if parameter.name in parameters:
            try:
                parameter.checked(parameters[parameter.name])
            except EngineError as error:
                return str(error)
    ask = getattr(known, "why_not", None)
    return "" if ask is None else str(ask(parameters))


def engines() -> dict[str, Engine]:
    """Outside programs that plugins start, by name."""
    return cast("dict[str, Engine]", find(ENGINES).items)


def engine_of(picker: str) -> Engine | None:
    """The outside program that a picker's plugin asks for; None where that names none, or several."""
    own = {_distribution(point) for point in entry_points(group=PICKERS, name=picker)}
    names = {point.name for point in entry_points(group=ENGINES) if _distribution(point) in own - {"unknown"}}
    matches = [engine for name, engine in engines().items() if name in names]
    return matches[0] if len(matches) == 1 else None


def window() -> Callable[..., int]:
    """The program's window, which the command line starts without knowing it.

    Raises
    ------
    EngineError
        Qt or napari is missing.
    """
    windows = find(WINDOWS)
    if not windows.items:
        why = "; ".join(f"{b.name}: {b.reason}" for b in windows.broken) or "it is not installed"
        raise EngineError(f"the window cannot start ({why}); pip install 'cryoppp-annotator[pyqt6]'")
    return cast("Callable[..., int]", next(iter(windows.items.values())))
