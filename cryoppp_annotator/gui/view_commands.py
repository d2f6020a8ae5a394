"""Commands about what is seen: they change nothing of the project."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ..errors import Refused
from ..session.core.commands import PICKS, Command
from ..session.core.focus import Focus
from ..session.review.history import HistoryScope
from .own_layers import OwnLayers
from .show import Show
from .viewport import Viewport

LOOKING = "Looking"
#: Its keys work also while somebody else's layer has the keyboard.
TAKE_BACK = "take-back"


class View(Protocol):
    """What these commands ask of the workbench."""

    show: Show
    viewport: Viewport
    layers: OwnLayers
    help_requested: Any  # a Qt signal
    fold_requested: Any  # a Qt signal
    history_requested: Any  # a Qt signal
    seen_requested: Any  # a Qt signal

    def toggle_view(self) -> None:
        """Raw instead of denoised, and back."""

    def toggle_rejected(self) -> None:
        """Show or hide rejected picks."""

    def measure(self) -> None:
        """The next drag measures a particle."""

    def say(self, text: str) -> None:
        """Put a line into the status bar."""

    def export(self) -> None:
        """Ask where to export to."""


def _add_here(bench: View, focus: Focus) -> None:
    """Add a pick under the pointer, also close to another."""
    if bench.show.unseen:
        raise Refused(bench.show.unseen)
    if focus.pointer is None:
        raise Refused("point at the place on the micrograph first")
    focus.session.add(*focus.pointer, anyway=True)


def _history(bench: View, focus: Focus) -> None:
    """List what was done to the pick."""
    targets = focus.targets()
    if len(targets) != 1:
        raise Refused("point at one pick or select one first")
    bench.history_requested.emit(HistoryScope(particle=int(targets[0])))


def _take_back(bench: View) -> None:
    """Give mouse and keys back to the picks."""
    bench.layers.take_back()
    bench.say("mouse and keys are with the picks")


def view_commands(bench: View) -> list[Command]:
    """The commands, in the order of the menu."""

    fold = bench.fold_requested.emit

    def view(run: Callable[[], object]) -> Callable[[Focus], None]:
        def give(_focus: Focus) -> None:
            run()

        return give

    return [
        Command("toggle-raw", "Raw / denoised", ("D",), LOOKING, view(bench.toggle_view)),
        Command("split", "Raw left, denoised right of the pointer", ("S",), LOOKING, view(bench.show.toggle_split)),
        Command("fit", "Fit the micrograph", ("F",), LOOKING, view(bench.viewport.fit)),
        Command("hide-rings", "Hide the rings while held", ("Space",), LOOKING, view(lambda: None)),
        Command("brush", "Brush while held: drag to reject", ("B",), LOOKING, view(lambda: None)),
        Command("region", "Region while held: drag round carbon, ice", ("R",), LOOKING, view(lambda: None)),
        Command("show-rejected", "Show or hide rejected picks", ("H",), LOOKING, view(bench.toggle_rejected)),
        Command("measure", "Measure a particle: drag from its centre", ("O",), LOOKING, view(bench.measure)),
        Command(
            "add-here",
            "Add a pick at the pointer, also close to another",
            ("P",),
            PICKS,
            partial(_add_here, bench),
            about="Alt+click does the same, where the window manager does not take it.",
        ),
        Command(
            "history-of-pick",
            "History of this pick",
            ("Ctrl+H",),
            PICKS,
            partial(_history, bench),
            about="Who did what to it, and when. Shift + right click does the same.",
        ),
        Command(
            TAKE_BACK,
            "Mouse and keys back to the picks",
            ("F8",),
            LOOKING,
            view(partial(_take_back, bench)),
            about="After another layer of napari was chosen, or one of its tools. This key works always.",
        ),
        Command(
            "show-seen",
            "Dim what nobody has looked at",
            ("Shift+L",),
            LOOKING,
            view(bench.seen_requested.emit),
            about="What was on the screen at a useful zoom stays bright.",
        ),
        Command("fold-list", "Fold the list of micrographs", ("Ctrl+L",), LOOKING, view(lambda: fold("list"))),
        Command("fold-panel", "Fold the panel of tools", ("Ctrl+T",), LOOKING, view(lambda: fold("panel"))),
        Command("export", "Export (everything is saved already)", ("Ctrl+S",), LOOKING, view(bench.export)),
        Command("help", "All keys", ("?", "F1"), LOOKING, view(bench.help_requested.emit)),
    ]
