"""Which picture of which micrograph is on the screen: asked for, awaited, drawn; the method that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from napari import Viewer
from qtpy.QtWidgets import QMessageBox

from .. import extensions
from ..api import Denoiser
from ..errors import EngineError
from ..jobs.runner import Job, Runner
from ..model.curation import Change
from ..model.micrograph import Micrograph
from ..model.picture import Picture
from ..session.core import bookkeeping, own_paths, watch
from ..session.core.focus import Focus
from ..session.core.session import Session
from ..session.pictures.denoiser import DEFAULT, parameters_of
from ..session.pictures.display import Key, Pictures, View
from .layers.picture_layer import PictureLayer
from .preferences import keep_preference, preference
from .viewport import Viewport
from .widgets.dialogs.outside import ask_outside
from .widgets.parts.overlay import Overlay

WELCOME = (
    "Click adds a pick, drag moves it, right click or {reject} rejects, {accept} accepts, {undo} undoes.\n"
    "{next} goes on to the next micrograph; every step is saved as you make it.\n"
    "{help}  shows all keys."
)
_METHOD = "denoiser"
_NUMBERS = "denoiser parameters"


class Stage(Protocol):
    """What the pictures are shown on: the part of the workbench that this file knows."""

    session: Session
    runner: Runner
    focus: Focus
    viewer: Viewer
    picture_layer: PictureLayer
    viewport: Viewport
    overlay: Overlay
    window: Any
    picture_shown: Any  # Qt signals
    view_changed: Any

    def start(self, work: Callable[..., Any], *, title: str, **options: Any) -> Job:
        """Run work in the background."""

    def guarded(self, edit: Callable[[], object]) -> bool:
        """Do an edit; a refusal is said."""

    def say(self, text: str, level: str = "info", about: str = "") -> None:
        """Put a line into the status bar."""

    def over(self, about: str) -> None:
        """Take the line away that is about something which is over."""

    def world(self) -> tuple[float, str]:
        """World units per micrograph px, and which."""


class Show:
    """The picture flow of one workbench.

    Parameters
    ----------
    bench : Stage
        Its signals are sent from here.
    welcome : bool
        Explain the window on the canvas until something was done.
    """

    def __init__(self, bench: Stage, *, welcome: bool) -> None:
        self._bench, self._session = bench, bench.session
        self.methods = extensions.denoisers()
        denoiser = _chosen(self.methods)
        self.pictures = Pictures(bench.session, bench.runner, denoiser, kept_parameters(denoiser))
        self.view = View.DENOISED
        self.split = False
        self.problem = ""
        self.welcome = welcome
        #: What has just happened to the picks that would be missed; empty where nothing has.
        self.notice = ""
        self._rechecked: set[int] = set()
        self._refused: dict[Key, str] = {}
        self._said_lost: set[int] = set()
        self._asked: set[Path] = set()  # folders outside, about which a question was put
        self.question: QMessageBox | None = None
        self._shape: tuple[int, int] | None = None
        self._scale = 1.0  # world units per micrograph px, as drawn
        self._expected: list[int] = []
        self._drawn: int | None = None  # whose picture is on the screen

    # ------------------------------------------------------------------ choosing

    def set_view(self, view: View) -> None:
        """Choose which picture is shown."""
        self.view, self.split = view, False
        self.refresh()
        self._bench.view_changed.emit()

    def toggle_split(self) -> None:
        """Raw to the left of the pointer and denoised to the right, and back."""
        self.split = not self.split
        if self.split:
            self.view = View.DENOISED
        self.refresh()
        self._bench.view_changed.emit()

    def choose_method(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Choose what denoises, for this and later starts; the raw picture stays until it is done."""
        denoiser = self.methods[name]
        keep_preference(_METHOD, name)
        by_method = {k: v for k, v in preference(_NUMBERS, {}).items() if k != name}
        keep_preference(_NUMBERS, {**by_method, name: dict(parameters)})
        self.pictures.choose(denoiser, parameters)
        self._refused.clear()
        self._bench.over("picture")
        self.refresh()
        self.prepare_neighbours()
        self._bench.view_changed.emit()

    @property
    def unseen(self) -> str:
        """Why the current micrograph is not on the screen (it is still being read, say); empty where it is."""
        current = self._session.current
        if current is None:
            return "open a micrograph first"
        if self.problem or self._drawn == current.id:  # of a problem the verbs themselves have more to say
            return ""
        return f"{current.name} is still being read: nothing was changed"

    @property
    def refusal(self) -> str:
        """Why the chosen method cannot do the micrograph on the screen; empty where it can."""
        current = self._session.current
        return "" if current is None else self._refused.get(self.pictures.key(current, View.DENOISED), "")

    # ------------------------------------------------------------------ showing

    def on_current(self) -> None:
        """Another micrograph."""
        self._rechecked.clear()
        self._bench.over("picture")
        self.pictures.forget_waiting()
        self.refresh()

    def refresh(self) -> None:
        """Draw what is there, and have made what is not."""
        current = self._session.current
        if current is None:
            return
        self.problem = "" if current.changed else current.problem
        if self.problem:
            self._show_problem(current)
            return
        here = current.id
        self._place(current)
        raw = self.pictures.ready(current, View.RAW)
        picture = self.pictures.ready(current, self.view)
        if picture is not None:
            self._draw(picture, self.view)
        elif raw is not None:
            self._draw(raw, View.RAW)
        elif self._drawn != here:
            # never the picture of another micrograph under the picks of this one
            self._blank(f"reading {current.name} …")
        if picture is not None and (raw is not None or not self.split):
            return
        if raw is None and (self.split or self.view is View.DENOISED):
            self.pictures.request(current, View.RAW, lambda p: self._stand_in(here, p), self._failed(current))
        if picture is None and self.pictures.key(current, self.view) not in self._refused:
            self.pictures.request(
                current,
                self.view,
                lambda p: self._arrived(here, p),
                self._failed(current),
                on_refused=self._refusal(here, self.pictures.key(current, self.view)),
            )

    def expect(self, micrographs: Sequence[int]) -> None:
        """Say which micrographs (ids) come next, where that is not the order of the list; none = it is."""
        self._expected = list(micrographs)
        self.prepare_neighbours()

    def prepare_neighbours(self) -> None:
        """Have the pictures of the likely next micrographs made, once the one on the screen is there."""
        current, focus = self._session.current, self._bench.focus
        if current is not None and self._is_awaited(current):
            self.pictures.prepare([current], self.view)
            return
        near: list[int | None] = [*self._expected] or [focus.walking.neighbour(step) for step in (1, 2, -1)]
        neighbours = [self._session.micrograph(i) for i in near if i is not None]
        # what is on the screen is asked for first and must not be cancelled
        ahead = [current, *neighbours] if current is not None else neighbours
        self.pictures.prepare([m for m in ahead if self.pictures.key(m, self.view) not in self._refused], self.view)

    def _is_awaited(self, current: Micrograph) -> bool:
        key = self.pictures.key(current, self.view)
        return not self.problem and key not in self._refused and self.pictures.ready(current, self.view) is None

    def retry_problems(self) -> None:
        """Try the micrograph on the screen again, where it could not be read."""
        self._rechecked.clear()
        self.refresh()

    def retry_lost(self) -> None:
        """Try again the attached pictures that could not be shown: they were named again."""
        self.pictures.forget_lost()
        self._said_lost.clear()
        self.refresh()

    def _place(self, current: Micrograph) -> None:
        """Let what is on the screen follow the pixel size, until the picture that is wanted comes."""
        scale, units = self._bench.world()
        # a bar in nanometres is only shown where the pixel size is believed
        self._bench.viewer.canvas.overlays.scale_bar.visible = not self._session.settings.pixel_size_doubt(current)
        if self._drawn == current.id:
            self._bench.picture_layer.place(scale, units)
            if scale != self._scale:  # another pixel size: what was in view stays in view
                self._bench.viewport.rescale(scale / self._scale)
                self._scale = scale

    def _blank(self, text: str) -> None:
        self._drawn = None
        self._bench.picture_layer.blank()
        self._bench.overlay.write(text)

    def _show_problem(self, current: Micrograph) -> None:
        """Say why a micrograph cannot be shown, and look again: the file may have come back."""
        self._blank(f"{current.name} cannot be shown: {current.problem}")
        self._bench.picture_shown.emit("problem")
        if current.id in self._rechecked:
            return
        self._rechecked.add(current.id)
        session = self._session

        def take_note(file_changes: watch.FileNews) -> None:
            self._bench.guarded(lambda: watch.note(session, file_changes))

        self._bench.start(
            lambda context: watch.look_at_files(session, [current], context=context),
            title=f"look again at {current.name}",
            on_done=take_note,
            quiet=True,
        )

    def _note_file(self, micrograph: Micrograph) -> None:
        """Store what became of a file, so that the list says it."""
        self._bench.guarded(lambda: bookkeeping.update_micrograph(self._session, micrograph))

    def _stand_in(self, micrograph_id: int, picture: Picture) -> None:
        """The raw image shows while the denoised one is prepared."""
        current = self._session.current
        if current is None or current.id != micrograph_id or self.pictures.ready(current, View.RAW) is not picture:
            return  # another micrograph, or another frame of it, has been chosen meanwhile
        denoised = self.pictures.ready(current, self.view)
        if denoised is None:
            self._draw(picture, View.RAW)
        elif self.split:
            self._draw(denoised, self.view)

    def _arrived(self, micrograph_id: int, picture: Picture) -> None:
        current = self._session.current
        if current is None or current.id != micrograph_id:
            return
        # another method or the raw view may have been chosen while this one was made
        if self.pictures.ready(current, self.view) is picture:
            self._draw(picture, self.view)
            self._tell_lost(micrograph_id)
            self.prepare_neighbours()

    def _tell_lost(self, micrograph_id: int) -> None:
        self._ask_outside()
        why = self.pictures.lost.get(micrograph_id)
        if why and micrograph_id not in self._said_lost:
            self._said_lost.add(micrograph_id)
            self._bench.say(f"the attached picture cannot be shown ({why}); ours is", "warning")

    def _ask_outside(self) -> None:
        """Pictures lie where only the project says so: a person decides, once."""
        folders = self.pictures.outside - self._asked - own_paths.refused_folders(self._session)
        if not folders:
            return
        self._asked |= folders

        def answered(open_them: bool) -> None:
            if not open_them:
                own_paths.refuse(self._session, folders)
                return
            self.pictures.allow_outside(folders)
            self.retry_lost()
            self._bench.view_changed.emit()

        self.question = ask_outside(self._bench.window, folders, "attached pictures", answered)

    def _file_of(self, micrograph: Micrograph) -> tuple[Path, Key]:
        """What a picture is read from."""
        return self._session.path_of(micrograph), self.pictures.key(micrograph, View.RAW)

    def _failed(self, micrograph: Micrograph) -> Callable[[str], None]:
        here, tried = micrograph.id, self._file_of(micrograph)

        def tell(why: str) -> None:
            present = self._session.micrograph(here)
            if self._file_of(present) != tried:
                return  # the folder or the frame is another one since: it says nothing of that
            self._rechecked.add(here)  # or a file whose header is fine would be tried for ever
            if present.problem != why:  # both pictures of a file fail
                self._note_file(replace(present, problem=why))
            if self._session.current_id == here:
                self.problem = why
                self._blank(f"{present.name} cannot be shown: {why}")
                self._bench.say(f"{present.name}: {why}", "error")
                self._bench.picture_shown.emit("problem")
                self.prepare_neighbours()

        return tell

    def _refusal(self, micrograph_id: int, key: Key) -> Callable[[str], None]:
        title = self.pictures.denoiser.title

        def tell(why: str) -> None:
            self._refused[key] = f"{title}: {why}"
            current = self._session.current
            if current is not None and current.id == micrograph_id and self.refusal == self._refused[key]:
                self._bench.say(f"{title}: {why} · the raw picture is shown", "error", "picture")
                self._bench.view_changed.emit()
                self.prepare_neighbours()

        return tell

    def follow(self, change: Change, *, undone: bool) -> None:
        """A step was made or taken back: say what it means for the words on the canvas."""
        before, imported = self._words(), change.verb == "import"
        # who presses Ctrl+Z too often sees the picks vanish that came with the data set
        taken_back = imported and undone
        self.notice = f"“{change.title}” was undone · {{redo}} brings it back" if taken_back else ""
        # a data set is imported automatically: nothing the welcome explains has been done yet
        self.welcome &= imported
        if self._words() != before and not self.problem:
            self._bench.overlay.write(self._words())

    def _words(self) -> str:
        """What is written over the picture."""
        current = self._session.current
        if current is not None and current.changed:
            how = current.problem
            return f"This image has {how}.\nSay what becomes of its picks: “What now…” above the list."
        return self.notice or (WELCOME if self.welcome else "")

    def _draw(self, picture: Picture, view: View) -> None:
        current, bench = self._session.current, self._bench
        if current is None:
            return
        scale, units = bench.world()
        self._drawn = current.id
        raw = self.pictures.ready(current, View.RAW) if self.split and view is View.DENOISED else None
        bench.picture_layer.show(picture, current, scale, units, raw=raw, kind=view.value)
        shape = (current.height, current.width)
        if shape != self._shape:
            self._shape = shape
            bench.viewport.fit()
        elif scale != self._scale:
            bench.viewport.rescale(scale / self._scale)
        self._scale = scale
        bench.overlay.write(self._words())
        bench.picture_shown.emit(view.value)


def _chosen(methods: Mapping[str, Denoiser]) -> Denoiser:
    """The method of the last start, else the usual one, else any there is."""
    if not methods:
        raise EngineError("the built-in denoiser is missing; install cryoppp-annotator again")
    for name in (preference(_METHOD, DEFAULT), DEFAULT):
        if name in methods:
            return methods[name]
    return next(iter(methods.values()))


def kept_parameters(denoiser: Denoiser) -> dict[str, float]:
    """The numbers chosen for a method at some earlier time, those that it still has and allows."""
    kept = preference(_NUMBERS, {}).get(denoiser.name, {})
    parameters = {}
    for parameter in parameters_of(denoiser):
        try:
            parameters[parameter.name] = parameter.checked(kept[parameter.name])
        except (KeyError, TypeError, EngineError):
            continue
    return parameters
