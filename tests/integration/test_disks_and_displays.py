"""On the user's disks and displays: no shared memory, data that may not be written, OpenGL that does not work."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from project_tools import check_memory, import_change, integrity, new_project, open_session

from cryoppp_annotator.batch.display_check import EGL, try_display
from cryoppp_annotator.errors import ProjectError
from cryoppp_annotator.gui.try_display import loses_none
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.store.journal import Journal

COMMAND = [sys.executable, "-m", "cryoppp_annotator"]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A folder, and the same folder as a network mount shows it: without shared memory maps."""
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs bindfs and FUSE (Debian: apt-get install bindfs)")
    here, there = tmp_path / "disk", tmp_path / "mount"
    here.mkdir()
    there.mkdir()
    subprocess.run(["bindfs", "-o", "direct_io", here, there], check=True)
    yield here, there
    subprocess.run(["fusermount", "-u", "-z", there], check=True)


def test_a_project_on_a_disk_without_shared_memory(mount: tuple[Path, Path]) -> None:
    _, there = mount
    project = new_project(there / "project")
    ann = open_session(project, "ann")
    ann.go(1)
    ann.insert(import_change([1, 1], [10, 500], [10, 500], [0.1, 0.9]))
    assert ann.store.journal == Journal.ROLLBACK
    bob = open_session(project, "bob")
    bob.go(1)
    bob.decide([1], Decision.ACCEPTED)
    ann.poll()
    ann.decide([2], Decision.REJECTED)
    check_memory(ann)
    reader = open_session(project, read_only=True)
    assert reader.counts() == {"accepted": 1, "undecided": 0, "rejected": 1}
    for session in (ann, bob, reader):
        session.close()
    assert integrity(project) == "ok"


def test_it_is_told_once(mount: tuple[Path, Path]) -> None:
    _, there = mount
    project = new_project(there / "project")
    session = open_session(project)
    assert "no shared memory" in opening.journal_note(session)
    assert not opening.journal_note(session)
    session.close()
    session = open_session(project)
    assert not opening.journal_note(session)
    session.close()
    answer = subprocess.run([*COMMAND, "status", project], capture_output=True, text=True, check=True).stdout
    assert "rollback journal" in answer


@pytest.mark.parametrize("read_only", [False, True])
def test_a_project_of_another_disk_with_a_log_that_is_not_merged(mount: tuple[Path, Path], read_only: bool) -> None:
    here, there = mount
    project = new_project(here / "project")
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from project_tools import *
session = open_session(Path({str(project)!r}))
session.go(1)
session.insert(import_change([1], [5], [5], [.5]))
os._exit(1)  # as if killed: what was confirmed is in the log
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (project / "annotations.sqlite-wal").stat().st_size > 0
    session = open_session(there / "project", read_only=read_only)
    assert session.counts()["undecided"] == 1
    session.close()


def test_an_ordinary_disk_keeps_its_log(tmp_path: Path) -> None:
    session = open_session(new_project(tmp_path / "project"))
    assert session.store.journal == Journal.WAL
    assert not opening.journal_note(session)
    session.close()


def test_the_command_line_finds_the_project_that_is_kept_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    with mrcfile.new(data / "a.mrc") as file:
        file.set_data(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    with pytest.raises(ProjectError, match="there is no project"):
        opening.find_project(data)
    data.chmod(0o555)
    try:
        session = opening.open_plan(opening.plan(data), curator="me")
        session.set_diameter(77.0)
        session.close()
        for path in (data, data / "a.mrc"):
            assert opening.find_project(path).is_relative_to(tmp_path / "home")
        answer = subprocess.run([*COMMAND, "status", data], capture_output=True, text=True, check=True).stdout
        assert "77 Å" in answer
    finally:
        data.chmod(0o755)


# ---------------------------------------------------------------------- displays


@pytest.mark.gui
def test_a_display_that_works_needs_nothing() -> None:
    display = try_display()
    assert display.works, display.problem
    assert not display.environment
    assert display.binding.startswith(("PyQt", "PySide"))


@pytest.mark.gui
def test_indirect_rendering_is_drawn_through_egl(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``ssh -X``: GLX is there, and gives no context that the window could use."""
    monkeypatch.setenv("LIBGL_ALWAYS_INDIRECT", "1")
    display = try_display()
    assert display.works, display.problem
    assert display.environment == EGL


@pytest.mark.gui
def test_where_nothing_draws_one_line_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "QT_XCB_GL_INTEGRATION": "none"}
    ran = subprocess.run([*COMMAND, "annotate", "--quit"], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 1
    (line,) = ran.stderr.strip().splitlines()
    assert line.startswith("error: this display gives no OpenGL")
    assert "VNC" in line


def test_a_qt_that_gives_away_what_is_not_its_own_is_noticed() -> None:
    """PySide6 6.12.0 ends Python 3.11 so. Python 3.12 and newer do not count references to None."""
    lose, give_back = ctypes.pythonapi.Py_DecRef, ctypes.pythonapi.Py_IncRef
    lose.argtypes = give_back.argtypes = [ctypes.py_object]
    n_calls = 0

    def call() -> None:
        nonlocal n_calls
        n_calls += 1
        lose(None)

    noticed = loses_none(call)
    for _ in range(n_calls):
        give_back(None)
    assert noticed == (sys.version_info < (3, 12))
    assert not loses_none(lambda: None)


def test_no_display_is_one_line_too() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    ran = subprocess.run([*COMMAND, "annotate", "--quit"], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 1
    (line,) = ran.stderr.strip().splitlines()
    assert "cannot reach the display" in line
