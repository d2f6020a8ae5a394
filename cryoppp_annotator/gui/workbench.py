"""One open session in one viewer: layers, mouse, keys and the commands that belong to looking."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from napari import Viewer
from napari.utils.theme import get_theme
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ..errors import AnnotatorError, Refused
from ..jobs.runner import Job, Runner
from ..model.curation import Table
from ..model.micrograph import Micrograph
from ..session.core.backlog import Backlog
from ..session.core.commands import DECIDING, PICKS, session_commands
from ..session.core.focus import Focus
from ..session.core.session import Announcement, Session
from ..session.files.linting import ProjectFinding
from ..session.pictures.display import View
from .binding import is_alive
from .bridge import Bridge
from .icons import Icons
from .keys import Keys, own_keys, with_keys
from .latest import WhenIdle
from .layers.gestures import Gestures
from .layers.particle_layer import COVERED, ParticlesLayer
from .layers.picture_layer import PictureLayer
from .layers.styles import ColourBy, ink
from .own_layers import OwnLayers
from .poll import Poll
from .preferences import keep_preference, preference
from .requests import Requests
from .run_on import RunOn
from .show import Show
from .view_commands import TAKE_BACK, view_commands
from .viewport import Viewport
from .watcher import Watcher
from .widgets.parts.overlay import Overlay
from .window_state import WindowState

log = logging.getLogger(__name__)

_REJECTED = "show rejected picks"


class Taker(Protocol):
    """A panel for which commands mean what is chosen in it while it has the keyboard."""

    def has_keyboard(self) -> bool:
        """Whether keys are its own now."""

    def take(self, command: str) -> bool:
        """Do a command. Returns False where it is not about what the panel shows."""


class Workbench(Requests):
    """Joins a session to a viewer.

    Parameters
    ----------
    viewer : Viewer
    session : Session
    runner : Runner
    bridge : Bridge
        Delivers what the runner brings.
    icons : Icons
        Of the window's buttons and menus.
    run_on : RunOn
        What long work runs on.
    """

    said = Signal(str, str)
    view_changed = Signal()
    themed = Signal()  # napari's theme was changed
    picture_shown = Signal(str)  # "raw" or "denoised"
    diameter_previewed = Signal(float)
    hovered_changed = Signal()
    closing = Signal()  # the project is about to be closed
    imported, exported = Signal(), Signal()

    def __init__(
        self, viewer: Viewer, session: Session, runner: Runner, bridge: Bridge, icons: Icons, run_on: RunOn
    ) -> None:
        super().__init__()
        self.viewer, self.session, self.runner = viewer, session, runner
        self.run_on = run_on
        self.takers: list[Taker] = []
        #: Step of the project at the last check that looked at the images, and what it found.
        self.checked: tuple[int, list[ProjectFinding]] = (-1, [])
        #: Called when keys were changed.
        self.on_rekeyed: list[Callable[[], object]] = []
        self.focus = Focus(session)
        self.bridge = bridge
        self.icons = icons
        self.show = Show(
            self, welcome=all(entry.kind == "visit" or entry.verb == "import" for entry in session.history(9))
        )
        self.pictures = self.show.pictures
        self._hovered: int | None = None
        self._about: list[str] = []  # what the line in the status bar is about, where that can be over
        self._preview = _timer(self, 30, self._on_preview, once=True)
        self._closed = False
        session.backlog = Backlog(session, runner)
        window, canvas = _window_of(viewer)
        self.window, self.canvas = window, canvas
        self.window_state = WindowState(self.focus)
        self.overlay = Overlay(canvas)
        # napari draws layers of different units as if they had none
        in_pixels = [layer for layer in viewer.layers if str(layer.units[-1]) not in ("nm", "nanometer")]
        self._units = "pixel" if in_pixels else "nm"
        self.picture_layer = self.window_state.with_contrast(PictureLayer(viewer, self._units))
        self.particles_layer = ParticlesLayer(viewer, self.focus, self.warn, self._units)
        self.particles_layer.when_idle = self._idle = WhenIdle(self)
        self.layers = OwnLayers(viewer, self.picture_layer, self.particles_layer, self.warn)
        self.gestures = Gestures(
            viewer, self.particles_layer, self.focus, self.overlay, self.layers.have_mouse, self.warn, self._on_hover
        )
        self.gestures.unseen = lambda: COVERED if self.particles_layer.covered else self.show.unseen
        self.viewport = Viewport(
            viewer, session, canvas, self.overlay, self._scale, had_layers=bool(self.layers.foreign())
        )
        self.commands = {c.id: c for c in [*session_commands(), *view_commands(self)]}
        self.overlay.keyed, self.overlay.on_left = self.keyed, self._on_left
        self.focus.drawn.show_rejected = preference(_REJECTED, True)
        self.focus.walking.go_on = preference("go on after a decision", True)
        self.keys = Keys(window, self.keys_are_ours)
        self.bind_keys()
        viewer.layers.selection.active = self.particles_layer.layer
        self._had_scale_bar = bool(viewer.canvas.overlays.scale_bar.visible)
        # The focus has connected before, and listeners run in the order in which they connected: when the rings are
        # drawn again, a pick that was deleted is neither selected nor under the pointer any more.
        session.changed.connect(self._on_changed)
        session.current_changed.connect(self._on_current)
        session.said.connect(self.say)
        self.focus.selection_changed.connect(self.particles_layer.mark_selected)
        self.focus.drawn.in_sight_changed.connect(self.particles_layer.redraw)
        viewer.events.theme.connect(self._on_theme)
        self.run_on.changed.connect(self._on_run_on)
        self._poll = Poll(session, self)
        self._poll.failed.connect(self.say)
        self._poll.start()
        self.watcher = Watcher(self)

    def close(self) -> None:
        """Leave the viewer as it was found; the other layers are not touched."""
        if self._closed:
            return
        self._closed = True
        self.session.changed.disconnect(self._on_changed)
        self.session.current_changed.disconnect(self._on_current)
        self.session.said.disconnect(self.say)
        if self.session.backlog is not None:
            self.session.backlog.finish()  # what was asked for is done, and not cancelled
        self.closing.emit()
        self.window_state.close()
        self.runner.cancel_all()
        self._poll.stop()
        self.watcher.close()
        self._preview.stop()
        self._idle.stop()
        self.viewport.stop()
        self.keys.close()
        self.on_rekeyed.clear()
        self.gestures.close()
        self.layers.close()
        self.viewer.events.theme.disconnect(self._on_theme)
        self.run_on.changed.disconnect(self._on_run_on)
        if is_alive(self.canvas):
            self._leave_viewer()
        self.session.close()

    def _leave_viewer(self) -> None:
        self.viewport.close()
        for layer in (self.particles_layer, self.picture_layer):
            layer.close()
        self.viewer.canvas.overlays.scale_bar.visible = self._had_scale_bar
        self.viewport.restore()
        self.overlay.hide()
        self.overlay.deleteLater()

    # ------------------------------------------------------------------ commands

    def keys_of(self, command_id: str) -> tuple[str, ...]:
        """Keys of a command, as the person set them."""
        return self.chosen_keys.get(command_id, self.commands[command_id].keys)

    def keyed(self, text: str) -> str:
        """A text with the keys it speaks of (``{accept}``) as the person set them."""
        return with_keys(text, self.commands, self.keys_of)

    def keep_keyed(self, show: Callable[[str], object], text: str) -> None:
        """Show a text with keys in it, now and whenever they are changed; for what lives as long as the project."""

        def show_again() -> None:
            show(self.keyed(text))

        self.on_rekeyed.append(show_again)
        show_again()

    def bind_keys(self) -> None:
        """(Re)read which key does what."""
        self.chosen_keys = own_keys()
        press: dict[str, Callable[[], object]] = {}
        hold: dict[str, Callable[[bool], None]] = {}
        for command in self.commands.values():
            for key in self.keys_of(command.id):
                if command.id == "hide-rings":
                    hold[key] = self.hide_rings
                elif command.id == "brush":
                    hold[key] = self.hold_brush
                elif command.id == "region":
                    hold[key] = self.gestures.hold_outline
                else:
                    press[key] = partial(self.give, command.id)
        self.keys.bind(press, hold, always=self.keys_of(TAKE_BACK))
        for follow in self.on_rekeyed:
            follow()

    def give(self, command_id: str) -> bool:
        """Give a command; a refusal is said, not raised. Returns whether it was done."""
        if any(taker.has_keyboard() and taker.take(command_id) for taker in self.takers):
            return True
        if command_id == "select-none" and self.gestures.measuring:
            self.gestures.measure(False)
            return True
        command, focus = self.commands[command_id], self.focus
        if self.particles_layer.covered and command.group in (DECIDING, PICKS):
            self.say(COVERED)
            return False
        reached_before = focus.walking.reached
        if not self.guarded(lambda: command.run(focus)):
            return False
        moved = focus.walking.reached != reached_before or command.id.endswith("-undecided")
        if moved and focus.walking.direction(focus.selected):
            self.viewport.centre_on(focus.selected)
        elif command.id in ("next", "previous") and (current := self.session.current) is not None:
            self.say(_counted(current))
        return True

    def guarded(self, edit: Callable[[], object]) -> bool:
        """Do an edit from a panel; a refusal or a failure is said. Returns whether it was done."""
        try:
            edit()
        except Refused as refusal:
            self.say(str(refusal), "info")
        except AnnotatorError as error:
            self.say(str(error), "error")
        else:
            return True
        return False

    def say(self, text: str, level: str = "info", about: str = "") -> None:
        """Put a line into the status bar, with the keys as the person set them.

        ``about`` is one word or more for what it is about: :meth:`over` takes it away.
        """
        self._about = about.split()
        self.said.emit(self.keyed(text), level)

    def over(self, about: str) -> None:
        """Take the line away that is about something which is over."""
        if about in self._about:
            self.say("")

    def warn(self, text: str) -> None:
        """Say that something was refused."""
        self.say(text, "warning")

    # ------------------------------------------------------------------ looking

    def keys_are_ours(self) -> bool:
        """Whether keys go to our commands: one of our layers is active, or a panel takes them."""
        return self.layers.are_active() or any(taker.has_keyboard() for taker in self.takers)

    @property
    def view(self) -> View:
        """Which picture is wanted on the screen."""
        return self.show.view

    @property
    def problem(self) -> str:
        """Why the micrograph cannot be shown; empty where it can."""
        return self.show.problem

    def toggle_view(self) -> None:
        """Raw instead of denoised, and back."""
        self.show.set_view(View.RAW if self.view is View.DENOISED else View.DENOISED)

    def set_view(self, view: View) -> None:
        """Choose which picture is shown."""
        self.show.set_view(view)

    def set_colour_by(self, by: ColourBy) -> None:
        """Choose what the rings' colour says."""
        self.particles_layer.colour_by = by
        self.particles_layer.redraw()
        self.view_changed.emit()

    def toggle_rejected(self) -> None:
        """Show or hide rejected picks."""
        self.show_rejected(not self.focus.drawn.show_rejected)

    def show_rejected(self, shown: bool) -> None:
        """Draw rejected picks or not, now and at the next start."""
        self.focus.drawn.show_rejected = shown
        keep_preference(_REJECTED, shown)
        self.particles_layer.redraw()
        self.view_changed.emit()

    def hide_rings(self, held: bool) -> None:
        """Look under the rings while a key is held."""
        self.particles_layer.hide(held)

    def hold_brush(self, held: bool) -> None:
        """The pointer is a brush while a key is held."""
        self.gestures.brushing = held
        self.gestures.show_brush()

    def measure(self) -> None:
        """The next drag measures a particle."""
        if self.session.current is None:
            raise Refused("open a micrograph first")
        self.gestures.measure()
        self.say("drag from the centre of a particle to its rim: this sets the diameter", "info")

    def preview_diameter(self, diameter_A: float) -> None:
        """Show rings of another diameter without storing it (a slider that moves)."""
        self.particles_layer.redraw(diameter_A=diameter_A)
        self.diameter_previewed.emit(diameter_A)

    def set_go_on(self, go_on: bool) -> None:
        """Whether a decision while walking by need goes on to the next pick."""
        self.focus.walking.go_on = go_on
        keep_preference("go on after a decision", go_on)

    def ink(self, level: str) -> str:
        """Colour of a message, readable on napari's present theme."""
        return ink(level, light=get_theme(self.viewer.theme).background.as_hsl_tuple()[2] > 0.5)

    # ------------------------------------------------------------------ following the session

    def _on_current(self) -> None:
        self._on_hover()  # no ring of the micrograph before
        self.gestures.show_brush()
        self.show.on_current()
        if (current := self.session.current) is not None:
            self.watcher.look_at(current)
        self._show_particles()
        self.show.prepare_neighbours()

    def _scale(self) -> float:
        return float(self.particles_layer.layer.scale[-1])

    def _show_particles(self) -> None:
        scale, units = self.world()
        self.particles_layer.place(scale, units)
        self.particles_layer.redraw()

    def world(self) -> tuple[float, str]:
        """World units per micrograph px: nanometres, or pixels beside layers that are not ours."""
        current = self.session.current
        if current is None or self._units != "nm":
            return 1.0, self._units
        return self.session.pixel_size_A(current) / 10.0, self._units

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.kind == "refresh":
            self.show.refresh()
            self._show_particles()
        elif announcement.touches(Table.SETTING) or announcement.touches(Table.MICROGRAPH):
            # diameter, pixel size or frame: the filter, the scale and the rings follow
            self.show.refresh()
            self._show_particles()
        elif any(map(announcement.touches, (Table.PARTICLE, Table.SPECIES, Table.PICK_SET))):
            self.particles_layer.redraw()
        if announcement.change is not None:
            self.show.follow(announcement.change, undone=announcement.kind == "undo")
        self._on_hover()
        self.say(self.show.notice or announcement.message, "warning" if self.show.notice else "info")

    def _on_run_on(self) -> None:
        self.over("cluster")

    def _on_theme(self, _event: object = None) -> None:
        self.themed.emit()

    def _on_left(self) -> None:
        """The pointer left the canvas."""
        self.gestures.left()
        self.picture_layer.halve()

    def _on_hover(self) -> None:
        """Mark what X would reject, and say what it is."""
        hovered = self.focus.hovered
        if hovered != self._hovered:
            self._hovered = hovered
            self.hovered_changed.emit()
        row = -1
        if self._hovered is not None:
            row = int(self.session.particles.rows_of(np.array([self._hovered]))[0])
        shown = row >= 0 and not self.gestures.brushing
        self.overlay.mark(self.gestures.canvas_circle(row) if shown else None)

    def _on_preview(self) -> None:
        self.particles_layer.redraw()

    def preview_threshold(self, value: float | None) -> None:
        """Let undecided picks below a score fade while a threshold moves; None when it has come to rest."""
        self.particles_layer.dim_below = value
        self._preview.start()

    def export(self) -> None:
        """Ask where to export to."""
        self.say("everything is saved already; this writes coordinate files", "info")
        self.export_requested.emit()

    def start(
        self,
        work: Callable[..., Any],
        *,
        title: str,
        on_done: Callable[[Any], object] | None = None,
        on_failed: Callable[[Job], object] | None = None,
        quiet: bool = False,
        **options: Any,
    ) -> Job:
        """Run ``work(context=JobContext)`` in the background.

        Parameters
        ----------
        work : callable
        title : str
            What the Jobs tab calls it.
        on_done : callable, optional
            Gets the result, in Qt's thread; not called for a job that was cancelled.
        on_failed : callable, optional
            Gets the job; by default the failure is said in the status line, unless the job is quiet.
        quiet : bool
            The Jobs tab lists it only where it fails.
        **options
            The rest of :meth:`Runner.submit`.
        """
        failed = on_failed if on_failed is not None or quiet else self.job_failed
        return self.bridge.start(work, title=title, on_done=on_done, on_failed=failed, quiet=quiet, **options)

    def cancel(self, job: Job) -> None:
        """Stop a job, and say what becomes of what it has done."""
        job.cancel()
        self.say(f"cancelled: {job.title} · {job.if_cancelled}")

    def job_failed(self, job: Job) -> None:
        """Say why a background job failed."""
        self.say(f"{job.title}: {job.error}", "error", "cluster" if job.where else "")


def _timer(parent: QObject, interval_ms: int, do: Callable[[], object], *, once: bool = False) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(once)
    timer.setInterval(interval_ms)
    timer.timeout.connect(do)
    return timer


def _counted(m: Micrograph) -> str:
    return f"{m.name} · {m.n_accepted:,} accepted, {m.n_undecided:,} undecided, {m.n_rejected:,} rejected"


def _window_of(viewer: Viewer) -> tuple[QWidget, QWidget]:
    """napari's main window and the widget it draws in (napari has no public name for the canvas)."""
    return viewer.window._qt_window, viewer.window._qt_viewer.canvas.native


def viewer_widgets(viewer: Viewer) -> tuple[QWidget, ...]:
    """napari's main window and the widget with the canvas in it, which a script closes first."""
    return viewer.window._qt_window, viewer.window._qt_viewer
