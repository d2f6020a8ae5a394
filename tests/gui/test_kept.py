"""What is kept, and what the window says where it cannot be: read-only folders, locks, two windows, moved files."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox
from window import LIMIT_MS, RIGHT, answer, button, held_by_another, scored, write_star

from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.store import database
from cryoppp_annotator.store.store import DATABASE_NAME

Key = Qt.Key


def kept_in(window) -> str:
    (line,) = [label.text() for label in window.annotator.micrographs.findChildren(QLabel) if "kept in" in label.text()]
    return line


def test_where_it_is_kept_is_said(window, micrographs):
    assert kept_in(window) == "kept in …/data/annotator-project"
    assert window.project() == micrographs / "annotator-project"


def test_a_read_only_data_folder(new_window, micrographs, tmp_path):
    micrographs.chmod(0o555)
    try:
        window = new_window().open(micrographs)
        assert window.project().is_relative_to(tmp_path / "home")
        assert window.annotator.status.message.toolTip() == (
            f"{micrographs} is read-only, so the annotations are kept in {window.project()}"
        )
        assert kept_in(window) == f"kept in …/projects/{window.project().name}"
        window.click(100, 100)
        assert len(window.session.particles) == 1
        assert sorted(path.name for path in micrographs.iterdir()) == ["a.mrc", "b.mrc", "c.mrc", "d.mrc"]
        window.annotator.close_project()
        assert len(new_window().open(micrographs).session.particles) == 1, "and it is found again"
    finally:
        micrographs.chmod(0o755)


@contextmanager
def no_room(project: Path) -> Iterator[None]:
    """The disk takes no more bytes: the kernel lets no file grow."""
    now, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(project / f"{DATABASE_NAME}-wal").st_size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (now, most))


@pytest.mark.parametrize(
    ("trouble", "message"),
    [(held_by_another, "another program holds"), (no_room, "everything confirmed before is safe")],
    ids=["locked", "full disk"],
)
def test_an_edit_that_is_refused_does_not_look_kept(new_window, micrographs, tmp_path, monkeypatch, trouble, message):
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.05)
    window = new_window().open(micrographs)
    window.enter(write_star(tmp_path / "picker.star", scored("ab")))
    drawn = window.layer.data.copy(), window.layer.border_color.copy()
    x, y = (float(v) for v in window.session.particles.yx[5][::-1])
    with trouble(window.project()):
        window.click(20, 300)
        assert window.said[-1][1] in ("warning", "error")
        assert message in window.said[-1][0]
        assert window.status
        window.click(x, y, RIGHT)
        window.bench.focus.select(window.session.particles.id.tolist())
        window.key(Key.Key_X)
        assert window.said[-1][1] == "error"
        window.drag([(x, y), (x + 60, y)])
        window.key(Key.Key_C)
        window.annotator.pick._accept_all.click()
        window.annotator.pick.particle.diameter.setValue(222)
        assert (window.layer.data == drawn[0]).all(), "no ring is drawn or moved"
        assert (window.layer.border_color == drawn[1]).all()
        assert window.session.counts() == {"accepted": 0, "undecided": 80, "rejected": 0}
        assert window.session.current.state is MicrographState.IN_PROGRESS
        # looking goes on
        window.go("b")
        assert len(window.layer.data) == 40
    window.go("a")
    window.bench.focus.select(window.session.particles.id.tolist())
    window.key(Key.Key_X)
    assert window.session.counts()["rejected"] == 40, "and so does work, once it is free"
    assert window.annotator.pick.particle.diameter.value() == window.session.diameter_A


def test_two_windows_see_each_others_edits(new_window, micrographs, tmp_path):
    ann = new_window().open(micrographs)
    ann.enter(write_star(tmp_path / "picker.star", scored("ab")))
    bob = new_window().open(micrographs)
    bob.session.curator = "bob"
    assert len(bob.layer.data) == 40
    for each in (ann, bob):
        each.bench._poll.setInterval(100)  # a person waits two seconds
    ann.click(20, 300)
    bob.until(lambda: len(bob.layer.data) == 41)  # by itself
    assert bob.status == "read again: the project was changed in another window"
    ids = bob.session.particles.id
    bob.session.decide(ids[:7], Decision.REJECTED)
    ann.until(lambda: ann.session.current.n_rejected == 7)
    table = ann.annotator.micrographs.model
    assert [table.index(0, column).data() for column in (2, 3, 4)] == ["1", "33", "7"]
    # each undoes what was his
    ann.session.undo()
    bob.until(lambda: len(bob.layer.data) == 40)
    assert bob.session.current.n_rejected == 7
    # one edits before it has looked: nothing is lost
    bob.session.decide(ids[10:12], Decision.ACCEPTED)
    ann.session.decide(ids[20:22], Decision.ACCEPTED)
    bob.session.poll()
    assert bob.session.counts() == ann.session.counts() == {"accepted": 4, "undecided": 69, "rejected": 7}


@pytest.fixture
def moved(window, new_window, micrographs, tmp_path):
    """A project in a folder of its own whose micrographs have been moved."""
    folder = tmp_path / "elsewhere"
    window.annotator.close_project()
    window.open(micrographs, project_folder=folder)
    window.click(100, 100)
    window.annotator.close_project()
    shutil.rmtree(micrographs / "annotator-project")
    micrographs.rename(tmp_path / "archive")
    return folder


def question() -> QMessageBox | None:
    widgets = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.isVisible()]
    return widgets[0] if widgets else None


def test_moved_micrographs_are_asked_for(moved, new_window, micrographs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "archive"))

    def reply(box):
        asked.append(box.text())
        button(box, "Show me the folder…").click()

    answer(question, reply)
    window = new_window().open(moved, ready=False)
    window.until(lambda: asked and window.drawn())
    assert asked == [f"They are not in {micrographs} any more. All picks are safe."]
    assert len(window.layer.data) == 1
    assert window.session.data_root == tmp_path / "archive"
    window.annotator.close_project()
    again = new_window().open(moved)
    again.until(again.drawn)  # and nothing is asked again


def test_going_on_without_images(moved, new_window):
    answer(question, lambda box: button(box, "Continue without images").click())
    window = new_window().open(moved, ready=False)
    window.until(lambda: window.bench.problem)
    assert "does not exist" in window.bench.overlay.text
    assert len(window.layer.data) == 1, "the picks are there"


def test_a_wrong_folder_is_refused(moved, new_window, tmp_path, monkeypatch):
    (tmp_path / "wrong").mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "wrong"))
    answer(question, lambda box: button(box, "Show me the folder…").click())
    window = new_window().open(moved, ready=False)
    window.until(lambda: "none of the project's micrographs is in" in window.status)


def test_a_path_that_cannot_be_opened_is_said_on_the_start_page(new_window, tmp_path, qtbot):
    (tmp_path / "empty").mkdir()
    window = new_window()
    with qtbot.waitSignal(window.annotator.failed, timeout=LIMIT_MS) as failure:
        window.annotator.open_path(tmp_path / "empty")
    assert "holds no micrographs" in failure.args[0]
    assert window.annotator.start_page.message.text() == failure.args[0]
    assert window.bench is None


def test_the_first_start_explains_itself(new_window, micrographs):
    window = new_window().open(micrographs)
    lines = window.bench.overlay.text.splitlines()
    assert len(lines) == 3
    assert "Click adds a pick" in lines[0]
    window.click(100, 100)
    assert window.bench.overlay.text == "", "and makes room with the first edit"
