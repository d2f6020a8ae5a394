"""Whether the programs are there that pickers of plugins start: asked in the background, as ``doctor`` asks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from .. import extensions
from ..api import EngineStatus
from ..model.context import JobContext

if TYPE_CHECKING:
    from .workbench import Workbench


class Programs(QObject):
    """What plugins say of their programs.

    Parameters
    ----------
    bench : Workbench
    """

    changed = Signal()

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._missing: dict[str, str] = {}
        self._asked: set[str] = set()

    def missing(self, picker: str) -> str:
        """Why a picker cannot start; empty where it can, where its plugin does not say, and until it has said."""
        if picker not in self._asked:
            self.ask(picker)
        return self._missing.get(picker, "")

    def ask(self, picker: str) -> None:
        """Ask (again: it may have been installed); :attr:`changed` tells that something else was said than before."""
        self._asked.add(picker)
        engine = extensions.engine_of(picker)
        if engine is None:
            return

        def ask_program(context: JobContext) -> EngineStatus:
            context.check()
            return engine.status()

        self._bench.start(
            ask_program,
            title=f"look for the program of the picker {picker}",
            on_done=partial(self._on_status, picker),
            quiet=True,
            waits=True,
        )

    def _on_status(self, picker: str, status: EngineStatus) -> None:
        message = "" if status.found else f"{status.title} cannot start: {status.problem}; {status.mend}".rstrip("; ")
        if message != self._missing.get(picker, ""):
            self._missing[picker] = message
            self.changed.emit()
