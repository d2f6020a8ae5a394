"""Formats, denoisers and pickers found by entry point. A broken plugin is reported, never fatal."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

import platformdirs

from .api import CoordinateFormat, Denoiser, Engine, Need, Picker
from .errors import EngineError
from .foreign_formats import ForeignFormat
from .formats.atomic import write_text

log = logging.getLogger(__name__)

FORMATS = "cryoppp_annotator.formats"
DENOISERS = "cryoppp_annotator.denoisers"
PICKERS = "cryoppp_annotator.pickers"
ENGINES = "cryoppp_annotator.engines"
WINDOWS = "cryoppp_annotator.windows"
#: What a plugin must be able to do.
_METHODS = {FORMATS: ("sniff", "read", "write"), DENOISERS: ("denoise",), PICKERS: ("propose",), ENGINES: ("status",)}
#: The distribution of the built-in ones.
OURS = "cryoppp-annotator"
#: Seconds that the first import of a plugin may take.
IMPORT_LIMIT_S = 60.0
#: So many plugins are remembered.
_KEPT = 200
_SURVIVED = "cryoppp-annotator: the import came back"


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
        reason = "" if _distribution(point) == OURS else known_problem(point)
        if not reason:
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    plugin = point.load()
                reason = _wrong_kind(group, plugin)
                if not reason:
                    ours = group != FORMATS or _distribution(point) in (OURS, "unknown")
                    items[point.name] = plugin if ours else ForeignFormat.of(group, point.name, plugin)
                    continue
            except (Exception, SystemExit) as error:
                log.debug("plugin %s is broken", point.name, exc_info=True)
                reason = f"{type(error).__name__}: {error}"
        log.warning("the plugin %s of %s is broken and left out: %s", point.name, _distribution(point), reason)
        broken.append(Broken(point.name, _distribution(point), reason))
    return Found(items, tuple(broken))


def _wrong_kind(group: str, plugin: Any) -> str:
    """Why an object is no plugin of its group; empty where it is one."""
    missing = [name for name in _METHODS.get(group, ()) if not callable(getattr(plugin, name, None))]
    if missing:
        return f"it is a {type(plugin).__name__} without the method {' and '.join(missing)}"
    if group in (PICKERS, DENOISERS, FORMATS) and not isinstance(getattr(plugin, "name", None), str):
        return f"it is a {type(plugin).__name__} without a name"
    return ""


def known_problem(point: EntryPoint) -> str:
    """As :func:`import_problem`, kept between starts for as long as the plugin's file is the same."""
    try:
        spec = importlib.util.find_spec(point.module.partition(".")[0])
        origin = spec.origin if spec is not None else None
        stat = os.stat(origin) if origin else None
        key = f"{sys.executable} {point.value} {origin} {stat.st_mtime_ns if stat else 0} {stat.st_size if stat else 0}"
        kept = _kept_problems()
    except (OSError, ValueError, ImportError):
        return import_problem(point)
    if key not in kept:
        kept[key] = import_problem(point)
        _keep_problems(kept)
    return kept[key]


def _kept_file() -> Path:
    return Path(platformdirs.user_cache_dir("cryoppp-annotator")) / "plugins.json"


def _kept_problems() -> dict[str, str]:
    try:
        kept = json.loads(_kept_file().read_text(encoding="utf-8"))
        return {str(key): str(reason) for key, reason in kept.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _keep_problems(kept: Mapping[str, str]) -> None:
    latest = dict(list(kept.items())[-_KEPT:])
    try:
        write_text(_kept_file(), json.dumps(latest, indent=1))
    except OSError as error:
        log.debug("what is known of plugins was not kept: %s", error)


def import_problem(point: EntryPoint) -> str:
    """Why importing a plugin would end the program; empty where it does not. Tried once, in a separate process.

    What merely raises is not found here: the caller's own import says it better.
    """
    script = f"import importlib; importlib.import_module({point.module!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        ran = subprocess.run(
            [sys.executable, "-c", f"{script}; print({_SURVIVED!r})"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=IMPORT_LIMIT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its import does not end within {IMPORT_LIMIT_S:.0f} s"
    except OSError as error:
        log.debug("the import of %s was not tried: %s", point.module, error)
        return ""
    if _SURVIVED.encode() in ran.stdout or (ran.returncode == 1 and b"Traceback" in ran.stderr):
        return ""
    if ran.returncode < 0:
        return f"its import crashes ({signal.Signals(-ran.returncode).name})"
    return f"its import ends the process (exit status {ran.returncode})"


def is_foreign(group: str, name: str) -> bool:
    """Whether a plugin is of another distribution than this program: it then runs in a separate process."""
    return any(_distribution(point) not in (OURS, "unknown") for point in entry_points(group=group, name=name))


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
    try:
        for parameter in getattr(known, "parameters", ()):
            if parameter.name in parameters:
                parameter.checked(parameters[parameter.name])
        ask = getattr(known, "why_not", None)
        return "" if ask is None else str(ask(parameters))
    except EngineError as error:
        return str(error)
    except (Exception, SystemExit) as error:  # somebody else's code
        log.debug("the picker %s could not say why not", picker, exc_info=True)
        return f"the plugin {picker!r} failed ({type(error).__name__}: {error}); tell its authors"


def engines() -> dict[str, Engine]:
    """Outside programs that plugins start, by name."""
    return cast("dict[str, Engine]", find(ENGINES).items)


def engine_of(plugin: str, group: str = PICKERS) -> Engine | None:
    """The outside program that a picker's (denoiser's) plugin asks for; None where that names none, or several."""
    own = {_distribution(point) for point in entry_points(group=group, name=plugin)}
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
