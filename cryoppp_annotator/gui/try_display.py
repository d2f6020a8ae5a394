"""Draws a small image as the window does and reads it back; one line of output for ``batch.display_check``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..batch.display_check import HELP, RESULT

if TYPE_CHECKING:
    from qtpy.QtWidgets import QApplication

_LEAST = (2, 1)
_REPETITIONS = 100
_OTHER_QT = "Install another one: pip install 'PySide6-Essentials<6.12'; or PyQt6; or Python 3.12 or newer"


def draw() -> None:
    """Draw, read back, print."""
    from qtpy import API_NAME, QtCore
    from qtpy.QtWidgets import QApplication

    application = QApplication([])
    version, renderer, problem, mend = "", "", "", HELP
    try:
        version, renderer, middle = _drawn(application)
        problem = _judged(version, middle)
        if not problem and loses_none(application.processEvents):
            python = platform.python_version()
            problem = f"{API_NAME} {QtCore.__version__} ends programs of Python {python} after some minutes"
            mend = _OTHER_QT
    except Exception as error:  # whatever a driver makes of it
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        problem = f"this display gives no OpenGL that the window can use ({why})"
    fields = (API_NAME, QtCore.__version__, version, renderer, problem, mend if problem else "")
    print(RESULT + "|".join(str(value).replace("|", "/") for value in fields), flush=True)
    os._exit(0)  # some drivers crash when they are put away


def _drawn(application: QApplication) -> tuple[str, str, list[int]]:
    """OpenGL's version and renderer, and the pixel in the middle of a white image."""
    import numpy as np
    from qtpy import API_NAME, QtCore
    from vispy.app import use_app

    use_app(API_NAME.lower())
    from vispy import scene
    from vispy.gloo import gl

    gl.use_gl("gl+")  # as napari does, for its points
    canvas = scene.SceneCanvas(size=(64, 64), show=False, bgcolor="black")
    canvas.native.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)  # no window appears on the screen
    canvas.native.show()
    view = canvas.central_widget.add_view()
    scene.visuals.Image(np.ones((8, 8), np.float32), parent=view.scene, cmap="grays", clim=(0, 1))
    view.camera = "panzoom"
    view.camera.set_range()
    for _ in range(20):
        application.processEvents()
    canvas.set_current()
    version, renderer = str(gl.glGetParameter(gl.GL_VERSION)), str(gl.glGetParameter(gl.GL_RENDERER))
    return version, renderer, canvas.render()[32, 32, :3].tolist()


def loses_none(call: Callable[[], object]) -> bool:
    """Whether each call that answers None gives away a reference to it that it does not own.

    PySide6 6.12.0 does so in all of its methods. Below Python 3.12, where None is counted as any other object, the
    process ends with "deallocating None" as soon as no reference is left.
    """
    call()
    before = sys.getrefcount(None)
    for _ in range(_REPETITIONS):
        call()
    return before - sys.getrefcount(None) > _REPETITIONS // 2


def _judged(version: str, middle: list[int]) -> str:
    """Why what was drawn is not what was asked for; empty where it is."""
    try:
        major, minor = (int(part) for part in version.split()[0].split(".")[:2])
    except (ValueError, IndexError):
        return "this display gives no OpenGL context"
    if (major, minor) < _LEAST:
        return f"this display has OpenGL {version}, and the window needs {_LEAST[0]}.{_LEAST[1]}"
    if min(middle) < 200:
        return f"a white image came out as {middle} (OpenGL {version})"
    return ""


if __name__ == "__main__":
    draw()
