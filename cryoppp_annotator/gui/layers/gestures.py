"""The mouse on the canvas: one mode in which a click adds, a drag moves, a right click rejects.

========================  ====================================================
click on empty ice        add a pick (Alt: also close to another, as the key *add here* does)
click on a pick           select it (Ctrl: add to or take from the selection)
drag a pick               move it, and the selection it belongs to
drag empty ice            pan (napari's own)
right click               reject the pick (Shift: its history)
Shift + drag              select with a lasso
Ctrl + drag               select with a rectangle
B held + drag             brush: reject what it sweeps over, one step
R held + drag             draw a region round carbon or ice; from a corner of one: move the corner
R held + click            select a region (right click: take it away)
O, then drag              measure a particle from its centre: sets the diameter
========================  ====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray

from ...errors import AnnotatorError
from ...model.curation import Decision
from ...model.region import Region
from ...session.core import species
from ...session.core.focus import Focus
from .corners import MARK_PX, Corners
from .particle_layer import ParticlesLayer

#: A press that moved less than this many canvas pixels is a click.
CLICK_PX = 5.0
#: What is written on the canvas while a particle is to be measured.
MEASURE = "Drag from the centre of a particle to its rim: the circle sets the diameter.   {select-none}: not now"
#: Brush radius as a share of the particle diameter.
BRUSH = 0.75


class Canvas(Protocol):
    """What gestures draw on."""

    def draw(self, polygon: Any = (), circles: Any = (), label: str = "") -> None:
        """Draw a polygon and circles in canvas px."""

    def clear(self) -> None:
        """Draw nothing."""

    def ask(self, text: str) -> None:
        """Write what the next gesture is for."""


class Gestures:
    """Mouse callbacks of a viewer turned into verbs.

    Parameters
    ----------
    viewer : ViewerModel
    layer : ParticlesLayer
    focus : Focus
    canvas : Canvas
    active : callable
        Whether our layers have the mouse.
    on_error, on_hover, on_brush_end : callable
        Get why an edit was refused, and what the pointer is over.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layer: ParticlesLayer,
        focus: Focus,
        canvas: Canvas,
        active: Callable[[], bool],
        on_error: Callable[[str], None],
        on_hover: Callable[[], None],
    ) -> None:
        #: Gives a sentence where the current micrograph's picture is not on the screen.
        self.unseen: Callable[[], str] = lambda: ""
        self._viewer, self._layer, self._focus, self._canvas = viewer, layer, focus, canvas
        self._session = focus.session
        self._active, self._on_error, self._tell_hover = active, on_error, on_hover
        self.brushing = False
        self.measuring = False
        self.outlining = False
        #: Given what was drawn, (n, 2) float64, yx; and where a region was clicked on (x, y, whether with the right).
        self.on_outline: Callable[[NDArray[np.float64]], None] = lambda _outline: None
        self.on_region: Callable[[float, float, bool], None] = lambda _x, _y, _right: None
        #: Given the pick whose history is asked for.
        self.on_history: Callable[[int], None] = lambda _pick: None
        self.corners: Corners | None = None
        self._pointer_canvas = (0.0, 0.0)
        viewer.mouse_drag_callbacks.insert(0, self._on_drag)
        viewer.mouse_move_callbacks.append(self._on_move)
        # napari would zoom on a double click, and the second of two quick clicks would be lost
        self._napari_double_click = list(viewer.mouse_double_click_callbacks)
        viewer.mouse_double_click_callbacks[:] = [self._on_double_click]

    def close(self) -> None:
        """Give the mouse back to napari."""
        for callbacks, ours in (
            (self._viewer.mouse_drag_callbacks, self._on_drag),
            (self._viewer.mouse_move_callbacks, self._on_move),
        ):
            if ours in callbacks:
                callbacks.remove(ours)
        double = self._viewer.mouse_double_click_callbacks
        later = [callback for callback in double if callback != self._on_double_click]
        double[:] = self._napari_double_click + later

    # ------------------------------------------------------------------ where

    def xy(self, event: Any) -> tuple[float, float]:
        """Canonical px of a mouse event."""
        y, x = self._layer.layer.world_to_data(event.position)[-2:]
        return float(x), float(y)

    def canvas_per_px(self) -> float:
        """Canvas pixels per micrograph pixel."""
        return float(self._viewer.scene.camera.zoom * self._layer.layer.scale[-1])

    def brush_radius(self) -> float:
        """Micrograph px."""
        return BRUSH * self._ring_radius() * 2

    def _ring_radius(self) -> float:
        current, diameter_A = self._session.current, self._session.loaded.new_diameter_A
        return 0.5 * diameter_A / (1.0 if current is None else self._session.pixel_size_A(current))

    # ------------------------------------------------------------------ callbacks

    def left(self) -> None:
        """The pointer is not on the canvas any more: it points at nothing."""
        self._focus.pointer = self._focus.hovered = None
        self._tell_hover()

    def _on_move(self, _viewer: Any, event: Any) -> None:
        if not self._active():
            return
        self._focus.pointer = self.xy(event)
        self._pointer_canvas = (float(event.pos[0]), float(event.pos[1]))
        self._focus.hovered = self._focus.at(*self._focus.pointer)
        if self.brushing:
            self.show_brush()
        elif self.outlining:
            self._show_corners()
        self._tell_hover()

    def hold_outline(self, held: bool) -> None:
        """The next drag draws a region while a key is held, or moves a corner of one."""
        self.outlining = held
        self._show_corners()

    def _show_corners(self) -> None:
        if self.outlining and self.corners is not None and self._focus.pointer is not None:
            x, y = self._focus.pointer
            shown = self.corners.shown(y, x, self.canvas_per_px())
            places = self._on_canvas(shown, self._focus.pointer, self._pointer_canvas)
            self._canvas.draw(circles=[(*place, MARK_PX) for place in places])
        else:
            self._canvas.clear()

    def _on_canvas(
        self, yx: NDArray[np.float64], at: tuple[float, float], on_canvas: tuple[float, float]
    ) -> list[tuple[float, float]]:
        """Where points (n, 2), canonical px, lie round a position whose place on the canvas is known."""
        up = self._viewer.scene.camera.orientation2d
        signs = (1 if str(up[1].value) == "right" else -1, 1 if str(up[0].value) == "down" else -1)
        steps = (yx[:, ::-1] - at) * self.canvas_per_px() * signs
        return [(x, y) for x, y in (steps + on_canvas).tolist()]

    def measure(self, begun: bool = True) -> None:
        """The next drag measures a particle (or, where it is given up, does what drags do)."""
        self.measuring = begun
        self._canvas.ask(MEASURE if begun else "")

    def show_brush(self) -> None:
        """Draw the brush at the pointer (or take it away)."""
        if self.brushing:
            x, y = self._pointer_canvas
            self._canvas.draw(circles=[(x, y, self.brush_radius() * self.canvas_per_px())])
        else:
            self._canvas.clear()

    def _on_double_click(self, viewer: Any, event: Any) -> None:
        if not self._active():
            for callback in self._napari_double_click:
                callback(viewer, event)
            return
        event.handled = True
        if self._is_seen():
            self._click(event, self.xy(event))

    def _is_seen(self) -> bool:
        """Whether the pointer is on a picture: nobody picks what is not on the screen yet."""
        why = self.unseen()
        if why:
            self._on_error(why)
        return not why

    def _on_drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        if not self._active() or self._session.current is None:
            return
        if event.button not in (1, 2) or not self._is_seen():
            return
        gesture, here = self._right if event.button == 2 else self._choose(event), self._session.current_id
        for _ in gesture(event):
            yield
            if self._session.current_id != here:  # it was about a micrograph that is not under the pointer any more
                self._canvas.clear()
                return

    def _choose(self, event: Any) -> Callable[[Any], Iterator[None]]:
        if self.measuring:
            return self._measure
        if self.brushing:
            return self._brush
        if self.outlining:
            x, y = self.xy(event)
            held = None if self.corners is None else self.corners.held(y, x, self.canvas_per_px())
            return self._outline if held is None else partial(self._move_corner, *held)
        if "Shift" in event.modifiers:
            return self._lasso
        if "Control" in event.modifiers:
            return self._rectangle
        return self._pick_or_pan

    # ------------------------------------------------------------------ gestures

    def _pick_or_pan(self, event: Any) -> Iterator[None]:
        start, at = np.array(event.pos, float), self.xy(event)
        held = self._focus.at(*at)
        event.handled = held is not None
        yield
        moved = False
        while event.type == "mouse_move":
            moved = moved or not _near(event, start)
            if held is not None:
                event.handled = True
                if moved:
                    self._draw_moved(event, held, at)
            yield
        self._canvas.clear()
        # vispy drops moves that come in quick succession, all of them where the window was busy: the release counts too
        if not moved and _near(event, start):
            self._click(event, at)
        elif held is not None:
            event.handled = True
            x, y = self.xy(event)
            self._try(lambda: self._move(held, x - at[0], y - at[1]))

    def _click(self, event: Any, at: tuple[float, float]) -> None:
        anyway = "Alt" in event.modifiers
        on = None if anyway else self._focus.at(*at)
        if on is not None:
            self._focus.select([on])
        elif len(self._focus.selected) > 1 and not anyway:
            # a click beside a large selection means: let go of it
            self._focus.select(())
        else:
            self._focus.select(())
            hidden = None if anyway else self._focus.drawn.hidden_at(*at)
            if hidden is not None:
                # the machine saw it too, only less sure than the threshold: a click says yes to that candidate
                self._try(lambda: self._session.decide([hidden], Decision.ACCEPTED))
            else:
                self._try(lambda: self._session.add(*at, anyway=anyway))

    def _moving(self, held: int) -> NDArray[np.int64]:
        return self._focus.selected if held in self._focus.selected else np.array([held], np.int64)

    def canvas_circle(self, row: int) -> tuple[float, float, float]:
        """Where a pick is drawn, (x, y, radius) in canvas px."""
        p = self._session.particles
        return (
            self._circles(np.array([row]), self._focus.pointer or (0.0, 0.0), self._pointer_canvas)[0]
            if len(p)
            else (0, 0, 0)
        )

    def _circles(
        self, rows: NDArray[np.intp], at: tuple[float, float], on_canvas: tuple[float, float]
    ) -> list[tuple[float, float, float]]:
        """Rings of picks as they lie around a position whose place on the canvas is known."""
        current = self._session.current
        if current is None:
            return []
        p, zoom = self._session.particles, self.canvas_per_px()
        up = self._viewer.scene.camera.orientation2d
        signs = (1 if str(up[1].value) == "right" else -1, 1 if str(up[0].value) == "down" else -1)
        radius = 0.5 * self._session.diameters_px(current)[rows]
        return [
            (on_canvas[0] + signs[0] * dx * zoom, on_canvas[1] + signs[1] * dy * zoom, r * zoom)
            for dx, dy, r in zip(p.x[rows] - at[0], p.y[rows] - at[1], radius, strict=True)
        ]

    def _draw_moved(self, event: Any, held: int, start: tuple[float, float]) -> None:
        rows = self._session.particles.rows_of(self._moving(held))
        rows = rows[rows >= 0][:300]
        self._canvas.draw(circles=self._circles(rows, start, (float(event.pos[0]), float(event.pos[1]))))

    def _move(self, held: int, dx: float, dy: float) -> None:
        p, ids = self._session.particles, self._moving(held)
        rows = p.rows_of(ids)
        ids, rows = ids[rows >= 0], rows[rows >= 0]  # another window may have taken some away meanwhile
        self._session.move(ids, p.x[rows] + dx, p.y[rows] + dy)

    def _right(self, event: Any) -> Iterator[None]:
        start, at = np.array(event.pos, float), self.xy(event)
        yield
        moved = False
        while event.type == "mouse_move":
            moved = moved or not _near(event, start)
            yield
        moved = moved or not _near(event, start)
        if not moved and self.outlining:
            event.handled = True
            self.on_region(*at, True)
        elif not moved and (on := self._focus.at(*at)) is not None:
            event.handled = True
            if "Shift" in event.modifiers:
                self.on_history(on)
            else:
                self._try(lambda: self._session.decide([on], Decision.REJECTED))

    def _lasso(self, event: Any) -> Iterator[None]:
        yield from self._region(event, rectangle=False)

    def _rectangle(self, event: Any) -> Iterator[None]:
        yield from self._region(event, rectangle=True)

    def _outline(self, event: Any) -> Iterator[None]:
        corners = yield from self._drawn(event, rectangle=False)
        if corners is None:
            self.on_region(*self.xy(event), False)
        else:
            self.on_outline(corners[:, ::-1])

    def _move_corner(self, region: Region, corner: int, event: Any) -> Iterator[None]:
        assert self.corners is not None
        start, at, on_canvas = np.array(event.pos, float), self.xy(event), (float(event.pos[0]), float(event.pos[1]))
        outline = region.vertices.copy()
        event.handled = True
        yield
        moved = False
        while event.type == "mouse_move":
            event.handled = True
            moved = moved or not _near(event, start)
            if moved:
                outline[corner] = self.xy(event)[::-1]
                self._canvas.draw(polygon=self._on_canvas(outline, at, on_canvas))
            yield
        event.handled = True
        self._canvas.clear()
        if moved or not _near(event, start):
            outline[corner] = self.xy(event)[::-1]
            self.corners.moved(region, outline)
        else:
            self.on_region(*at, False)

    def _region(self, event: Any, *, rectangle: bool) -> Iterator[None]:
        start = self.xy(event)
        corners = yield from self._drawn(event, rectangle=rectangle)
        if corners is None:
            if (on := self._focus.at(*start)) is not None:
                self._focus.toggle([on])
            return
        self._focus.select(self._focus.inside(corners).tolist())
        n = len(self._focus.selected)
        words = "{accept} accepts, {reject} or {reasons} rejects, {remove} removes, {select-none} clears the selection"
        self._session.said.emit(f"{n:,} selected: {words}" if n else "no pick is in there: nothing is selected", "info")

    def _drawn(self, event: Any, *, rectangle: bool) -> Generator[None, None, NDArray[np.float64] | None]:
        """What a drag draws, (n, 2) float64, xy, canonical px; None where it was a click."""
        start = np.array(event.pos, float)
        on_canvas, corners = [tuple(start)], [self.xy(event)]
        event.handled = True
        yield
        while event.type == "mouse_move":
            event.handled = True
            on_canvas.append((float(event.pos[0]), float(event.pos[1])))
            corners.append(self.xy(event))
            self._canvas.draw(polygon=_box(on_canvas) if rectangle else on_canvas)
            yield
        event.handled = True
        self._canvas.clear()
        on_canvas.append((float(event.pos[0]), float(event.pos[1])))
        corners.append(self.xy(event))
        if float(np.ptp(np.array(on_canvas), axis=0).max()) < CLICK_PX:
            return None
        return np.array(_box(corners) if rectangle else corners, dtype=np.float64)

    def _brush(self, event: Any) -> Iterator[None]:
        swept: set[int] = set()
        event.handled = True
        previous = self.xy(event)
        self._sweep(swept, previous, previous)
        yield
        while event.type == "mouse_move":
            event.handled = True
            here = self.xy(event)
            self._pointer_canvas = (float(event.pos[0]), float(event.pos[1]))
            self._sweep(swept, previous, here)
            previous = here
            self.show_brush()
            yield
        event.handled = True
        self._sweep(swept, previous, self.xy(event))
        p = self._session.particles
        ids = [i for i in swept if p.decision[p.rows_of(np.array([i]))[0]] != Decision.REJECTED]
        if ids:
            self._try(lambda: self._session.decide(ids, Decision.REJECTED))
        else:
            self._layer.mark_selected()
        self.show_brush()

    def _sweep(self, swept: set[int], start: tuple[float, float], end: tuple[float, float]) -> None:
        radius = self.brush_radius()
        steps = max(1, int(np.hypot(end[0] - start[0], end[1] - start[1]) / radius * 2))
        before = len(swept)
        for share in np.linspace(0, 1, steps + 1):
            x, y = start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
            swept.update(self._focus.within(x, y, radius).tolist())
        if len(swept) != before:
            self._layer.preview(np.fromiter(swept, dtype=np.int64))

    def _measure(self, event: Any) -> Iterator[None]:
        centre, on_canvas = self.xy(event), np.array(event.pos, float)
        pixel = self._session.pixel_size_A(self._session.current)  # type: ignore[arg-type]
        event.handled = True
        yield
        while event.type == "mouse_move":
            event.handled = True
            radius = float(np.hypot(*np.subtract(self.xy(event), centre)))
            diameter = 2 * radius * pixel
            circle = (on_canvas[0], on_canvas[1], radius * self.canvas_per_px())
            self._canvas.draw(circles=[circle], label=f"{diameter:.0f} Å  ({2 * radius:.0f} px)")
            yield
        event.handled = True
        self._canvas.clear()
        diameter = 2 * pixel * float(np.hypot(*np.subtract(self.xy(event), centre)))
        if diameter * self.canvas_per_px() < 2 * CLICK_PX * pixel:
            return  # a click is no circle: it is asked for still
        self.measure(False)
        self._try(lambda: species.set_new_diameter(self._session, diameter))

    def _try(self, edit: Callable[[], Any]) -> None:
        try:
            edit()
        except AnnotatorError as error:
            self._on_error(str(error))


def _near(event: Any, start: NDArray[np.float64]) -> bool:
    """Whether the pointer is where it was pressed."""
    return float(np.hypot(*(np.array(event.pos) - start))) < CLICK_PX


def _box(points: list[Any]) -> list[tuple[float, float]]:
    (x0, y0), (x1, y1) = points[0], points[-1]
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
