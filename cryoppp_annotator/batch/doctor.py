"""What is installed, what is missing, and how to repair each."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

from .. import __version__, extensions
from ..contract import candidates_of, picture_of
from ..errors import AnnotatorError, Cancelled
from ..imaging.filters import fft_workers
from ..jobs.isolated import call_isolated
from ..model.context import JobContext
from .display_check import try_display

_QUIET = JobContext()
_DISTRIBUTION = "cryoppp-annotator"
#: Seconds a plugin has for a small image on a machine that does nothing else.
_TRIAL_S = 60.0
_TELL = "tell the plugin's authors, or uninstall it"
#: Less free disk space is reported, GB.
_LEAST_FREE_GB = 2.0
#: Less memory is reported, GB.
_LEAST_MEMORY_GB = 4.0
_BINDINGS = ("PyQt5", "PyQt6", "PySide6", "PySide2")
_GROUPS = (extensions.FORMATS, extensions.PICKERS, extensions.DENOISERS, extensions.ENGINES, extensions.WINDOWS)


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    MISSING = "missing"  # and not needed for what is there to work
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    level : Level
    said : str
        What was found.
    mend : str
        One line: what to do. Empty where nothing is to be done.
    """

    name: str
    level: Level
    said: str
    mend: str = ""


def examine(context: JobContext = _QUIET) -> list[Check]:
    """Look at everything. Takes some seconds: outside programs are asked for their version.

    Raises
    ------
    Cancelled
    """
    out: list[Check] = []
    steps: Sequence[tuple[str, Callable[[JobContext], list[Check]]]] = (
        ("machine", _machine),
        ("packages", _packages),
        ("window", _window),
        ("plugins", _plugins),
        ("plugins on a small image", _tried_plugins),
        ("outside programs", _engines),
        ("cluster", _cluster),
        ("server", _server),
    )
    for i, (title, step) in enumerate(steps):
        context.progress(i, len(steps), title)
        out += step(context)
    return out


def _machine(_context: JobContext) -> list[Check]:
    out = [
        Check("program", Level.OK, f"{_DISTRIBUTION} {__version__} in {Path(__file__).parents[1]}"),
        Check("Python", Level.OK, f"{platform.python_version()}, {sys.executable}, {platform.platform()}"),
    ]
    memory = _memory_gb()
    text = f"{fft_workers()} cores" + ("" if memory is None else f", {memory:.1f} GB of memory")
    low = memory is not None and memory < _LEAST_MEMORY_GB
    out.append(
        Check("machine", Level.MISSING if low else Level.OK, text, "large micrographs may not fit" if low else "")
    )
    for name, folder in (("disk, temporary files", Path(tempfile.gettempdir())), ("disk, this folder", Path.cwd())):
        free = shutil.disk_usage(folder).free / 1e9
        full = free < _LEAST_FREE_GB
        mend = "free some space: pictures, picks and what outside programs read are written there" if full else ""
        out.append(Check(name, Level.BROKEN if full else Level.OK, f"{free:.1f} GB free in {folder}", mend))
    return out


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, ValueError, OSError):  # not everywhere
        return None


def _packages(_context: JobContext) -> list[Check]:
    """The libraries this program says it needs, and their versions."""
    try:
        needed = [Requirement(text) for text in importlib.metadata.requires(_DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        return [Check("packages", Level.BROKEN, f"{_DISTRIBUTION} is not installed", f"pip install {_DISTRIBUTION}")]
    wrong: list[str] = []
    n_found = 0
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        n_found += 1
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    out = [
        Check("napari", Level.OK, importlib.metadata.version("napari"))
        if "napari" not in " ".join(wrong)
        else Check("napari", Level.BROKEN, "of another version, or missing", f"pip install -U {_DISTRIBUTION}")
    ]
    if wrong:
        return [*out, Check("packages", Level.BROKEN, "; ".join(wrong), f"pip install -U {_DISTRIBUTION}")]
    return [*out, Check("packages", Level.OK, f"{n_found} needed, all there; numpy {np.__version__}")]


def _window(context: JobContext) -> list[Check]:
    """What the window needs: an image drawn and read back, where there is a display."""
    bindings = [name for name in _BINDINGS if importlib.util.find_spec(name) is not None]
    if not bindings:
        mend = f"for the window: pip install '{_DISTRIBUTION}[pyqt6]'; the command line works without"
        return [Check("Qt", Level.MISSING, "no binding is installed", mend)]
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        versions = ", ".join(f"{name} {_version_of(name)}" for name in bindings)
        mend = "log in with a screen, or ssh -X; or xvfb-run -a cryoppp-annotator doctor"
        return [Check("Qt", Level.OK, versions), Check("OpenGL", Level.MISSING, "not tried: no display", mend)]
    display = try_display()
    context.check()
    if not display.binding:
        return [Check("Qt and OpenGL", Level.BROKEN, display.problem, display.mend)]
    qt = Check("Qt", Level.OK, f"{display.binding}, Qt {display.qt}")
    if not display.works:
        return [qt, Check("OpenGL", Level.BROKEN, display.problem, display.mend)]
    version = display.opengl.split()[0]
    how = f"{version} through EGL, which the window uses automatically" if display.environment else version
    return [qt, Check("OpenGL", Level.OK, how)]


def _version_of(binding: str) -> str:
    """Version of a binding, which may be installed in part (PySide6_Essentials)."""
    for name in (binding, f"{binding}_Essentials"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def _plugins(_context: JobContext) -> list[Check]:
    """What came in by entry points, the built-in ones too."""
    out: list[Check] = []
    for group in _GROUPS:
        plugins = extensions.find(group)
        kind = group.rpartition(".")[2]
        names = ", ".join(sorted(plugins.items))
        if plugins.items or kind in ("engines", "windows"):
            out.append(Check(kind, Level.OK, names or "none"))
        else:
            mend = f"pip install --force-reinstall --no-deps {_DISTRIBUTION}"
            out.append(Check(kind, Level.BROKEN, "none is registered: the installation is not complete", mend))
        for broken in plugins.broken:
            text = f"{broken.name} of {broken.distribution}: {broken.reason}"
            # the window without Qt is no fault, and was reported above
            level = Level.MISSING if kind == "windows" else Level.BROKEN
            mend = f"pip install -U {broken.distribution}, or pip uninstall {broken.distribution}"
            out.append(Check(f"{kind}: {broken.name}", level, text, "" if kind == "windows" else mend))
    return out


def _tried_plugins(context: JobContext) -> list[Check]:
    """Other people's pickers and denoisers, each on a small image, in a separate process."""
    out: list[Check] = []
    for group, method in ((extensions.PICKERS, "propose"), (extensions.DENOISERS, "denoise")):
        for name, plugin in sorted(extensions.find(group).items.items()):
            if extensions.is_foreign(group, name):
                context.check()
                out.append(_tried(group, name, method, plugin, context))
    return out


def _tried(group: str, name: str, method: str, plugin: Any, context: JobContext) -> Check:
    title = f"{group.rpartition('.')[2]}: {name}"
    reason = extensions.why_not(name, {}) if group == extensions.PICKERS else ""
    if reason.startswith(f"the plugin {name!r} failed"):
        return Check(title, Level.BROKEN, reason, _TELL)
    engine = extensions.engine_of(name, group)
    if reason or (engine is not None and not engine.status().found):
        return Check(title, Level.OK, f"not tried: {reason or 'its program is not there'}")
    image = np.random.default_rng(0).normal(100.0, 1.0, (256, 320)).astype(np.float32)
    words: dict[str, Any] = {"pixel_size_A": 2.0, "diameter_A": 60.0}
    if group == extensions.PICKERS:
        words["parameters"] = {}
    else:
        words["max_side"] = 256
        if hasattr(plugin, "parameters"):
            words |= {"parameters": {}, "ctf": None}
    limit_s = _TRIAL_S * _slowdown()
    ends = time.monotonic() + limit_s
    limited = replace(context, is_cancelled=lambda: context.is_cancelled() or time.monotonic() > ends)
    try:
        answer = call_isolated(group, name, method, (image,), words, limited)
        if group == extensions.PICKERS:
            candidates_of(answer, name, image.shape)
        else:
            picture_of(answer, name, image.shape)
    except Cancelled:
        context.check()
        return Check(title, Level.BROKEN, f"does not come back within {limit_s:.0f} s on a small image", _TELL)
    except AnnotatorError as error:
        return Check(title, Level.BROKEN, str(error), _TELL)
    return Check(title, Level.OK, "worked on a small image, in a separate process")


def _slowdown() -> float:
    """How many times longer than alone something takes beside what runs on this machine, at least 1."""
    if not hasattr(os, "getloadavg"):
        return 1.0
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _engines(context: JobContext) -> list[Check]:
    out: list[Check] = []
    for name, engine in sorted(extensions.engines().items()):
        context.check()
        try:
            status = engine.status()
        except Exception as error:  # a plugin's mistake
            out.append(Check(name, Level.BROKEN, f"{type(error).__name__}: {error}", "tell the plugin's authors"))
            continue
        if status.found:
            out.append(Check(status.title, Level.OK, f"{status.version}, {status.where}"))
        else:
            # one that is there and does not start is broken; one that is not there is not needed
            level = Level.BROKEN if status.where else Level.MISSING
            out.append(Check(status.title, level, status.problem, status.mend))
    return out


def _cluster(_context: JobContext) -> list[Check]:
    return [_extra("Dask", "distributed", "cluster", "for --scheduler")]


def _server(_context: JobContext) -> list[Check]:
    return [_extra("PostgreSQL", "psycopg", "server", "for projects on a server")]


def _extra(title: str, package: str, extra: str, purpose: str) -> Check:
    """Whether a package is there that only some need."""
    try:
        return Check(title, Level.OK, f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        mend = f"{purpose}: pip install '{_DISTRIBUTION}[{extra}]'"
        return Check(title, Level.MISSING, f"{package} is not installed", mend)
