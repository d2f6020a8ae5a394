"""Windows for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from class_window import NAMES, open_tab, store_run
from window import Window, discs, scored, write_mrc, write_star


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and preferences of one test are not another's."""
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "home"))


@pytest.fixture
def micrographs(tmp_path: Path) -> Path:
    """A folder of four micrographs, ``a`` to ``d``."""
    for seed, name in enumerate("abcd"):
        write_mrc(tmp_path / "data" / f"{name}.mrc", discs(seed))
    return tmp_path / "data"


@pytest.fixture
def new_window(make_napari_viewer: Any, qtbot: Any) -> Iterator[Callable[[], Window]]:
    """Makes windows without a project."""
    made: list[Window] = []

    def make() -> Window:
        made.append(Window(make_napari_viewer(show=True), qtbot))
        return made[-1]

    yield make
    for window in made:
        window.close()


@pytest.fixture
def window(new_window: Callable[[], Window], micrographs: Path) -> Window:
    """A window on the four micrographs; the diameter is the particles' own."""
    opened = new_window().open(micrographs)
    opened.session.set_diameter(100.0)
    opened.until(opened.drawn)
    return opened


@pytest.fixture
def picked(window, tmp_path):
    """160 undecided picks on four micrographs."""
    window.enter(write_star(tmp_path / "picks.star", scored(NAMES)))
    return window


@pytest.fixture
def classed(picked):
    """With a stored run of three classes, and its tab open."""
    store_run(picked.session)
    picked.annotator.classes.run.reread()
    open_tab(picked)
    picked.until(lambda: picked.annotator.classes.shown)
    return picked
