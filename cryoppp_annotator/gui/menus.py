"""The menus: Project, Edit, Micrograph, Picks, View, Help. In napari they stand in one menu of ours, *Annotate*."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QAction, QMenu, QMenuBar

from ..formats.relion_project import find_root
from .binding import is_alive
from .icons import Icons
from .menu_entries import ENTRIES, PROJECT, TITLES, menu_of
from .recent import name_of, recent
from .workbench import Workbench

_REASONS = "Reject as"
_SERVER = "A PostgreSQL database that several curators share: postgresql://NAME@HOST/DATABASE"
_DEMO = "Six simulated micrographs whose truth is known"
_IMAGE = "MRC, TIFF, PNG or JPEG"
_FOLDER = "Micrographs, a data set or a project"
_IMPORT = "Read a coordinate file into this project"
_RELION = "CTF values, picks and 2D classes of the RELION project that the micrographs are of"
_MERGE = "Take states, decisions and picks of another project of these micrographs; conflicts are listed first"
_CLOSE = "Close the project; everything is saved"


class Page(Protocol):
    """Where a path is asked for."""

    def ask_folder(self) -> None:
        """Ask for a folder, and open it."""

    def ask_server(self) -> None:
        """Ask for the address of a project on a server."""

    def ask_file(self) -> None:
        """Ask for an image, and open it."""


class Opener(Protocol):
    """What the menus ask of the annotator."""

    bench: Workbench | None
    start_page: Page
    icons: Icons

    def open_path(self, path: Path) -> None:
        """Open a project or data."""

    def open_demo(self) -> None:
        """Make the demo, and open it."""

    def show_import(self) -> None:
        """Ask what to import."""

    def ask_relion(self) -> None:
        """Ask what is taken from the RELION project."""

    def ask_merge(self) -> None:
        """Ask for another project, and merge it."""

    def close_project(self) -> None:
        """Put the project away."""


class Menus:
    """Fills the menus whenever one is opened, so that they say what can be done now.

    Parameters
    ----------
    annotator : Opener
    into : QMenuBar or QMenu
    """

    def __init__(self, annotator: Opener, into: QMenuBar | QMenu) -> None:
        # weak: Qt keeps what is connected to a menu, and would keep the whole window
        self._annotator: Opener = weakref.proxy(annotator)
        self.more: dict[str, list[tuple[str, str, Callable[[], object]]]] = {title: [] for title in TITLES}
        self.menus = {title: into.addMenu(title if isinstance(into, QMenu) else f"&{title}") for title in TITLES}
        for title, menu in self.menus.items():
            menu.setToolTipsVisible(True)
            menu.aboutToShow.connect(lambda name=title: self.fill(name))
            self.fill(title)

    def close(self) -> None:
        """Take the menus away."""
        self.more.clear()
        for menu in self.menus.values():
            if is_alive(menu):
                for inner in (menu, *menu.findChildren(QMenu)):
                    inner.clear()  # what is connected to its entries goes at once
                menu.menuAction().setVisible(False)
                menu.deleteLater()
        self.menus.clear()

    def add(self, title: str, text: str, tip: str, run: Callable[[], object]) -> None:
        """Another entry at the end of a menu, for what is no command of the project."""
        self.more[title].append((text, tip, run))
        self.fill(title)

    def forget(self) -> None:
        """The project is closed."""
        for title, menu in self.menus.items():
            if is_alive(menu):
                self.fill(title)

    def fill(self, title: str) -> None:
        """Read anew what a menu offers."""
        menu, bench = self.menus[title], self._annotator.bench
        menu.clear()
        for inner in menu.findChildren(QMenu):
            inner.clear()  # what is connected to its entries goes at once
            inner.deleteLater()
        if title == PROJECT:
            self._fill_project(menu, bench)
        elif bench is not None:
            self._fill_commands(menu, bench, title)
        for text, tip, run in self.more[title]:
            _entry(menu, text, tip, run)

    def _fill_project(self, menu: QMenu, bench: Workbench | None) -> None:
        annotator, icon = self._annotator, self._annotator.icons.named
        _entry(menu, "Open a folder or project…", _FOLDER, lambda: annotator.start_page.ask_folder(), icon("folder"))
        _entry(menu, "Open one micrograph…", _IMAGE, lambda: annotator.start_page.ask_file(), icon("image"))
        _entry(menu, "Open a project on a server…", _SERVER, lambda: annotator.start_page.ask_server(), icon("server"))
        known = menu.addMenu("Open recent")
        known.setToolTipsVisible(True)
        for folder in recent():
            _entry(known, name_of(folder).removeprefix("…/"), str(folder), partial(self._open, folder))
        known.setEnabled(not known.isEmpty())
        _entry(menu, "Open the demo", _DEMO, lambda: annotator.open_demo(), icon("demo"))
        menu.addSeparator()
        if bench is not None:
            _entry(menu, "Import picks or classes…", _IMPORT, lambda: annotator.show_import(), icon("import"))
            if find_root(bench.session.data_root) is not None:
                _entry(menu, "Take from RELION…", _RELION, lambda: annotator.ask_relion())
            self._fill_commands(menu, bench, PROJECT)
            _entry(menu, "Merge a project…", _MERGE, lambda: annotator.ask_merge(), icon("merge"))
            menu.addSeparator()
            _entry(menu, "Close project", _CLOSE, lambda: annotator.close_project())

    def _open(self, folder: Path) -> None:
        self._annotator.open_path(folder)

    def _fill_commands(self, menu: QMenu, bench: Workbench, title: str) -> None:
        named = {name for names in ENTRIES.values() for name in names}
        rest = [name for name in bench.commands if menu_of(name) == title and name not in named]
        for name in (*ENTRIES[title], *(name for name in rest if not name.startswith("reject-"))):
            if name is None:
                menu.addSeparator()
            else:
                self._add(menu, bench, name)
            if name == "reject":
                # nine lines fewer: else the menu is higher than a small screen
                reasons = menu.addMenu(_REASONS)
                reasons.setToolTipsVisible(True)
                for reason in (name for name in bench.commands if name.startswith("reject-") and name != "reject-rest"):
                    self._add(reasons, bench, reason)

    def _give(self, command: str) -> None:
        if (bench := self._annotator.bench) is not None:
            bench.give(command)

    def _add(self, menu: QMenu, bench: Workbench, name: str) -> None:
        command = bench.commands[name]
        why = command.why_not(bench.focus)
        tip = why or command.about or command.title
        action = _entry(menu, _title(name, bench), tip, partial(self._give, name), bench.icons.named(name))
        action.setEnabled(not why)


def _entry(menu: QMenu, text: str, tip: str, run: Callable[[], object], icon: QIcon | None = None) -> QAction:
    action = menu.addAction(text)
    if icon is not None:
        action.setIcon(icon)
    action.setToolTip(tip)
    action.triggered.connect(lambda _checked=False: run())
    return action


def _title(name: str, bench: Workbench) -> str:
    title = bench.commands[name].title
    entry = None
    if name == "undo":
        entry = bench.session.next_undo()
    elif name == "redo":
        entry = bench.session.next_redo()
    if entry is not None:
        title = f"{title}: {entry.title}"
    keys = bench.keys_of(name)
    return f"{title}\t{keys[0]}" if keys else title
