"""Whether this display can draw what the window draws: tried in a separate process, before the window opens.

A display without usable OpenGL (``ssh -X`` with indirect GLX, an X server without GLX) gives a black canvas and
thousands of lines of log, or ends the process. So a small canvas is drawn and read back first, as the display is, and
where that fails through EGL, which draws on this machine and sends pictures. What draws is ``gui.try_display``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Longer than any display takes that works; a machine may be busy.
_LIMIT_S = 90.0
#: OpenGL by way of EGL instead of GLX, for Qt and for PyOpenGL.
EGL = {"PYOPENGL_PLATFORM": "egl", "QT_XCB_GL_INTEGRATION": "xcb_egl"}
#: Run by name: only it knows Qt.
_DRAWS = "cryoppp_annotator.gui.try_display"
#: How its one line begins: binding, Qt, OpenGL, renderer, problem, what to do, with | between them.
RESULT = "cryoppp-display:"

HELP = (
    "Try: a desktop on that machine (VNC, X2Go, ThinLinc); or install OpenGL for software (Debian: libgl1 libegl1 "
    "libgl1-mesa-dri). The command line needs no display"
)
SYSTEM_LIBRARIES = (
    "Install Qt's system libraries (Debian: apt-get install libgl1 libegl1 libxkbcommon-x11-0 libxcb-cursor0 "
    "libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0)"
)


@dataclass(frozen=True, slots=True)
class Display:
    """How a display can be drawn on.

    Attributes
    ----------
    works : bool
    environment : mapping
        What must be set before Qt starts; empty where nothing must.
    binding, qt, opengl, renderer : str
        As they say of themselves; empty where it did not come to that.
    problem, mend : str
        Why it does not work, and what to do, a line each; empty where it does.
    """

    works: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    binding: str = ""
    qt: str = ""
    opengl: str = ""
    renderer: str = ""
    problem: str = ""
    mend: str = ""

    @property
    def message(self) -> str:
        """Both in one line."""
        return f"{self.problem}. {self.mend}"


def start() -> subprocess.Popen[str]:
    """Begin to try the display as it is; for :func:`finish`, so that other things can be done meanwhile."""
    return _start({})


def finish(process: subprocess.Popen[str]) -> Display:
    """What came of it; where it does not work as it is, EGL is tried."""
    plain = _outcome(process, {})
    if plain.works or not _is_x11() or "QT_XCB_GL_INTEGRATION" in os.environ:
        return plain
    egl = _outcome(_start(EGL), EGL)
    return egl if egl.works else plain


def try_display() -> Display:
    """:func:`start` and :func:`finish`."""
    return finish(start())


def _is_x11() -> bool:
    return sys.platform.startswith("linux") and bool(os.environ.get("DISPLAY"))


def _start(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", _DRAWS],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _outcome(process: subprocess.Popen[str], environment: Mapping[str, str]) -> Display:
    try:
        out, log = process.communicate(timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Display(False, environment, problem=f"nothing was drawn within {_LIMIT_S:.0f} s", mend=HELP)
    line = next((line for line in out.splitlines() if line.startswith(RESULT)), "")
    if not line:
        problem, mend = _why_not(process.returncode, log)
        return Display(False, environment, problem=problem, mend=mend)
    binding, qt, opengl, renderer, problem, mend = line.removeprefix(RESULT).split("|")
    return Display(not problem, environment, binding, qt, opengl, renderer, problem, mend)


def _why_not(code: int, log: str) -> tuple[str, str]:
    """What a process said that died, and what to do, a line each."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("could not connect to display" in line for line in lines):
        return f"cannot reach the display {os.environ.get('DISPLAY', '')!r}", "Log in with a screen, or ssh -X"
    if plugin := next((line for line in lines if "platform plugin" in line), ""):
        return f"Qt cannot start on this display ({plugin})", SYSTEM_LIBRARIES
    last = lines[-1] if lines else f"exit code {code}"
    return f"this display gives no OpenGL that the window can use ({last})", HELP
