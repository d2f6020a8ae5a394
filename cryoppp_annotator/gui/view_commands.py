"""Commands about what is seen: they change nothing of the project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..session.core.commands import Command
from ..session.core.focus import Focus
from .show import Show
from .viewport import Viewport

LOOKING = "Looking"


class View(Protocol):
    """What these commands ask of the workbench."""

    show: Show
    viewport: Viewport
    help_requested: Any  # a Qt signal

    def toggle_view(self) -> None:
        """Raw instead of denoised, and back."""

    def toggle_rejected(self) -> None:
        """Show or hide rejected picks."""

    def measure(self) -> None:
        """The next drag measures a particle."""

    def export(self) -> None:
        """Ask where to export to."""


def view_commands(bench: View) -> list[Command]:
    """The commands, in the order of the menu."""

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
        Command("export", "Export (everything is saved already)", ("Ctrl+S",), LOOKING, view(bench.export)),
        Command("help", "All keys", ("?", "F1"), LOOKING, view(bench.help_requested.emit)),
    ]
