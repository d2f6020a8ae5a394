"""The annotator in a real window, hands that move a real mouse and keys, and small micrographs whose truth is known."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from napari import Viewer
from pytestqt.exceptions import TimeoutError as NeverHeld
from qtpy.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QDialog, QPushButton, QSlider, QWidget
from scipy.ndimage import gaussian_filter

from cryoppp_annotator.gui.annotator import Annotator
from cryoppp_annotator.gui.app import fold_napari, own_menus
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.model.micrograph import Micrograph
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.session.pictures.display import View
from cryoppp_annotator.store.store import DATABASE_NAME

#: How long a test waits for what must come; generous, because the machine may be busy with something else.
LIMIT_MS = 600_000
HEIGHT, WIDTH, DIAMETER, PIXEL_A = 320, 400, 20, 5.0
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
PLAIN = Qt.KeyboardModifier.NoModifier
SHIFT, CTRL, ALT = (
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.AltModifier,
)


# --- micrographs -----------------------------------------------------------------------------------------------------


def places(seed: int = 0, n: int = 40) -> np.ndarray:
    """(n, 2) x, y of particles that keep their distance."""
    rng = np.random.default_rng(seed)
    kept: list[np.ndarray] = []
    while len(kept) < n:
        at = rng.uniform((DIAMETER, DIAMETER), (WIDTH - DIAMETER, HEIGHT - DIAMETER)).round()
        if all(np.hypot(*(at - other)) > 1.4 * DIAMETER for other in kept):
            kept.append(at)
    return np.array(kept)


def discs(seed: int = 0) -> np.ndarray:
    """A micrograph of dark discs at :func:`places`."""
    return _discs(seed).copy()


@cache
def _discs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = rng.normal(0, 0.5, (HEIGHT, WIDTH))
    for x, y in places(seed):
        image -= np.hypot(rows - y, columns - x) < DIAMETER / 2
    return gaussian_filter(image, 1).astype(np.float32)


def write_mrc(path: Path, pixels: np.ndarray, pixel_size_A: float = PIXEL_A) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(pixels)
        file.voxel_size = pixel_size_A
    return path


def write_star(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Particles as RELION writes them: micrograph, x, y, score, class."""
    labels = ("MicrographName", "CoordinateX", "CoordinateY", "AutopickFigureOfMerit", "ClassNumber")
    head = "".join(f"_rln{label} #{k}\n" for k, label in enumerate(labels, 1))
    path.write_text(f"data_particles\n\nloop_\n{head}" + "".join(" ".join(map(str, row)) + "\n" for row in rows))
    return path


def scored(names: Sequence[str], n: int = 40) -> list[tuple[object, ...]]:
    """Rows for :func:`write_star`: the true places, scores from 0 to 1, three classes."""
    return [
        (f"{name}.mrc", x, y, k / n, 1 + k % 3)
        for seed, name in enumerate(names)
        for k, (x, y) in enumerate(places(seed, n).tolist())
    ]


class Gate:
    """The built-in denoiser behind a door: it waits until :meth:`open`."""

    name, title = BAND_PASS.name, BAND_PASS.title

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def denoise(self, image: np.ndarray, *, context: Any, **words: Any) -> Any:
        while not self._open.wait(0.01):
            context.check()
        return BAND_PASS.denoise(image, context=context, **words)


@contextmanager
def held(window: Window) -> Iterator[None]:
    """No background job begins meanwhile; afterwards all do, in the order they were asked for."""
    gate = threading.Event()

    def hold(context: Any) -> None:
        while not gate.wait(0.01):
            context.check()

    window.idle()
    jobs = [window.bench.runner.submit(hold, title="hold", quiet=True) for _ in range(2)]  # as many as threads
    try:
        yield
    finally:
        gate.set()
    window.until(lambda: all(job.over for job in jobs))


@contextmanager
def latest_first(window: Window) -> Iterator[None]:
    """What is asked for meanwhile (Qt's events wait) is delivered afterwards, the latest first."""
    window.idle()
    yield
    runner = window.bench.runner
    assert all(job.wait(LIMIT_MS / 1000) for job in runner.jobs)
    ended = [runner._finished.get() for _ in range(runner._finished.qsize())]
    for entry in reversed(ended):
        runner._finished.put(entry)
    window.idle()


@contextmanager
def held_by_another(project: Path) -> Iterator[None]:
    """Another program is in the middle of writing."""
    with closing(sqlite3.connect(project / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# --- the window ------------------------------------------------------------------------------------------------------


def drop_files(on: QWidget, paths: Sequence[Path]) -> bool:
    """Drop files where a widget is, as the window system does. Returns whether they are taken."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    top, copy = on.window(), Qt.DropAction.CopyAction
    here = on.mapTo(top, QPoint(on.width() // 2, on.height() // 2))
    enter = QDragEnterEvent(here, copy, data, LEFT, PLAIN)
    QApplication.sendEvent(top.windowHandle(), enter)
    QApplication.sendEvent(top.windowHandle(), QDropEvent(QPointF(here), copy, data, LEFT, PLAIN))
    QApplication.processEvents()
    return bool(enter.isAccepted())


class Window:
    """One annotator in one viewer; ``own``: in a window that is ours, as the program opens it."""

    def __init__(self, viewer: Viewer, qtbot: Any, *, own: bool = False) -> None:
        self.qtbot, self.viewer = qtbot, viewer
        self.said: list[tuple[str, str]] = []
        self.annotator = Annotator(viewer, own_window=own)
        if own:
            fold_napari(viewer)
            own_menus(self.annotator, viewer.window._qt_window)
        viewer.window.add_dock_widget(self.annotator, area="right", name="CryoPPP Annotator")

    def open(self, path: Path, *, ready: bool = True, **words: Any) -> Window:
        """Open, and wait until the first micrograph is drawn (``ready``) or until there is a window to look at."""
        signal = self.annotator.ready if ready else self.annotator.opened
        with self.qtbot.waitSignal(signal, timeout=LIMIT_MS):
            self.annotator.open_path(path, curator="ann", **words)
        said = self.said
        self.bench.said.connect(lambda text, level: said.append((text, level)))
        return self

    def close(self) -> None:
        """Forget it: pytest keeps what a fixture gave, and make_napari_viewer fails where a viewer is kept."""
        vars(self).clear()

    @property
    def bench(self) -> Any:
        return self.annotator.bench

    @property
    def session(self) -> Any:
        return self.annotator.bench.session

    @property
    def layer(self) -> Any:
        """The points layer."""
        return self.bench.particles_layer.layer

    @property
    def image(self) -> Any:
        """The image layer."""
        return self.bench.picture_layer.layer

    @property
    def status(self) -> str:
        """What the line at the bottom says."""
        return self.annotator.status.message.text()

    def until(self, check: Callable[[], object], limit_ms: int = LIMIT_MS) -> None:
        def holds() -> bool:
            return bool(check())

        try:
            self.qtbot.waitUntil(holds, timeout=limit_ms)
        except NeverHeld as error:
            rows = self.annotator.jobs._rows.values()
            jobs = [f"{row.job.title}: {row.job.state}, {row.job.error or row._note.text()}" for row in rows]
            error.add_note(f"said: {self.said[-8:]}\njobs: {jobs[-8:]}\nidle: {self.bench.runner.idle}")
            raise

    def named(self, name: str) -> Micrograph:
        (micrograph,) = [m for m in self.session.micrographs if m.name == name]
        return micrograph

    def go(self, name: str) -> None:
        """Show a micrograph, and wait for its picture."""
        self.session.go(self.named(name).id)
        self.until(self.drawn)

    def drawn(self) -> bool:
        """Whether the wanted picture of the current micrograph is on the screen."""
        shown = self.bench.picture_layer.picture
        return shown is not None and shown is self.bench.pictures.ready(self.session.current, self.bench.view)

    def idle(self) -> None:
        """Wait until nothing runs and all that was brought has arrived."""
        self.until(lambda: self.bench.runner.idle)
        QApplication.processEvents()

    def denoised(self, name: str) -> Any:
        return self.bench.pictures.ready(self.named(name), View.DENOISED)

    def enter(self, file: Path, **words: Any) -> None:
        """Import without the dialog."""
        importing.enter(self.session, importing.read(self.session, file), **words)

    def steps(self) -> int:
        """Edits so far."""
        return len([entry for entry in self.session.history() if entry.kind == "do"])

    def project(self) -> Path:
        return self.session.store.folder

    # ------------------------------------------------------------------ hands

    def at(self, x: float, y: float) -> QPoint:
        """Where a micrograph's pixel is on the canvas."""
        camera, scale = self.viewer.scene.camera, self.layer.scale[-1]
        size = self.bench.canvas.size()
        down = 1 if self.bench.viewport.up == "down" else -1
        column = size.width() / 2 + (x * scale - camera.center[-1]) * camera.zoom
        row = size.height() / 2 + down * (y * scale - camera.center[-2]) * camera.zoom
        return QPoint(round(column), round(row))

    def settle(self) -> None:
        """Wait until the camera stands still: a panel that has grown makes the canvas smaller a moment later."""
        QApplication.processEvents()
        self.until(lambda: not self.bench.viewport.moving)

    def point(self, x: float, y: float) -> None:
        self.settle()
        QTest.mouseMove(self.bench.canvas, self.at(x, y) - QPoint(1, 0))
        self.qtbot.wait(12)
        QTest.mouseMove(self.bench.canvas, self.at(x, y))
        QApplication.processEvents()

    def click(self, x: float, y: float, button: Any = LEFT, held: Any = PLAIN) -> None:
        self.point(x, y)
        QTest.mouseClick(self.bench.canvas, button, held, self.at(x, y))
        QApplication.processEvents()

    def drag(self, corners: Sequence[tuple[float, float]], held: Any = PLAIN) -> None:
        """Press at the first corner, go through the others, release at the last."""
        canvas = self.bench.canvas
        self.point(*corners[0])
        QTest.mousePress(canvas, LEFT, held, self.at(*corners[0]))
        QApplication.processEvents()
        for start, end in itertools.pairwise(corners):
            for share in np.linspace(0, 1, 5)[1:]:
                here = self.at(*(np.array(start) + share * np.subtract(end, start)))
                # QTest.mouseMove tells of no held button
                glob = QPointF(canvas.mapToGlobal(here))
                move = QMouseEvent(QEvent.Type.MouseMove, QPointF(here), glob, LEFT, LEFT, held)
                self.qtbot.wait(12)  # vispy drops a move that comes within 10 ms of another
                QApplication.sendEvent(canvas, move)
                QApplication.processEvents()
        QTest.mouseRelease(canvas, LEFT, held, self.at(*corners[-1]))
        QApplication.processEvents()

    def key(self, key: Any, held: Any = PLAIN) -> None:
        self.bench.canvas.setFocus()
        QTest.keyClick(self.bench.canvas, key, held)
        QApplication.processEvents()

    def let_go(self, key: Any) -> None:
        """Release a key that is held, and wait until it counts: a press soon after means it was held on."""
        QTest.keyRelease(self.bench.canvas, key)
        self.until(lambda: not self.bench.keys.held)


def choose(box: QComboBox, text: str) -> None:
    """Choose in a combo box as a person does."""
    (row,) = [k for k in range(box.count()) if text in box.itemText(k)]
    box.setCurrentIndex(row)
    box.activated.emit(row)
    QApplication.processEvents()


def slide(slider: QSlider, to: int) -> None:
    """Take a slider and move it; :func:`let_go` releases it."""
    slider.setSliderDown(True)
    slider.setSliderPosition(to)
    QApplication.processEvents()


def let_go(slider: QSlider) -> None:
    slider.setSliderDown(False)
    QApplication.processEvents()


def dialog(kind: type[QDialog]) -> Any:
    """The open dialog of a kind, None where there is none."""
    widgets = [w for w in QApplication.topLevelWidgets() if type(w) is kind and w.isVisible()]
    return widgets[0] if widgets else None


def button(parent: QWidget, text: str) -> QPushButton:
    """The button that says ``text``."""
    (match,) = [b for b in parent.findChildren(QPushButton) if b.text() == text]
    return match


def answer(find: Callable[[], QWidget | None], reply: Callable[[Any], object]) -> None:
    """Reply to a modal question as soon as it is asked."""

    def try_to_reply() -> None:
        if (asked := find()) is None:
            QTimer.singleShot(20, try_to_reply)
        else:
            reply(asked)

    QTimer.singleShot(0, try_to_reply)
