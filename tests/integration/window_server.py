"""Runs the real program and says where things are on the screen; what happens there comes from outside (xdotool).

``window_server.py annotate PATH ...`` takes the words of the command line. Each line on stdin is a Python expression
about ``a`` (the Annotator), ``b`` (its Workbench) and the helpers below; the answer is one line of JSON on stdout.
Nothing here changes anything.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from qtpy.QtCore import QObject, QPoint, Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QApplication, QDialogButtonBox, QLabel, QWidget  # noqa: F401

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.gui.annotator import Annotator

# what napari and others print goes to stderr: stdout is for answers
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


class Server(QObject):
    asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.asked.connect(self._answer, Qt.ConnectionType.QueuedConnection)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.asked.emit(line)

    def _answer(self, question: str) -> None:
        try:
            answer: Any = {"is": eval(question, {**globals(), **_names()})}
            text = json.dumps(answer, default=_plain)
        except Exception as error:
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
        print(text, file=ANSWERS, flush=True)


def _names() -> dict[str, Any]:
    widgets = [a for w in QApplication.topLevelWidgets() for a in w.findChildren(Annotator)]
    a = widgets[0] if widgets else None
    return {
        "a": a,
        "b": None if a is None else a.bench,
        "app": QApplication.instance(),
        "at": lambda x, y: at(a, x, y),
        "pointer": lambda: pointer(a),
    }


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def at(a: Annotator, x: float, y: float) -> tuple[int, int]:
    """Where canonical px lie on the screen."""
    camera, canvas, scale = a.viewer.scene.camera, a.bench.canvas, float(a.bench.particles_layer.layer.scale[-1])
    vertical, horizontal = (str(way.value) for way in camera.orientation2d)
    right = (x * scale - camera.center[-1]) * camera.zoom * (1 if horizontal == "right" else -1)
    down = (y * scale - camera.center[-2]) * camera.zoom * (1 if vertical == "down" else -1)
    size = canvas.size()
    on = canvas.mapToGlobal(QPoint(round(size.width() / 2 + right), round(size.height() / 2 + down)))
    return on.x(), on.y()


def pointer(a: Annotator) -> tuple[int, int]:
    """Where on the screen napari last saw the pointer."""
    y, x = a.viewer.cursor.position[-2:]
    scale = float(a.bench.particles_layer.layer.scale[-1])
    return at(a, x / scale, y / scale)


def box(widget: QWidget) -> tuple[int, int, int, int]:
    """Left, top, width and height on the screen."""
    corner = widget.mapToGlobal(QPoint(0, 0))
    return corner.x(), corner.y(), widget.width(), widget.height()


def middle(widget: QWidget) -> tuple[int, int]:
    left, top, width, height = box(widget)
    return left + width // 2, top + height // 2


def button(text: str) -> tuple[int, int]:
    """The middle of the visible button or label whose text begins so."""
    buttons = [
        w
        for w in QApplication.allWidgets()
        if isinstance(w, QAbstractButton | QLabel) and w.isVisible() and w.text().startswith(text)
    ]
    return middle(buttons[0])


if __name__ == "__main__":
    server = Server()
    sys.exit(run())
