"""Long work on a Dask cluster that is chosen in the Jobs tab: a real scheduler, killed in the end, and two workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from class_window import open_tab
from counting_plugin import Calls, counting
from machines import Machines
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QTabWidget
from window import Window, choose, discs, held, write_mrc

from cryoppp_annotator.gui.run_on import RunOn
from cryoppp_annotator.jobs.runner import JobState
from cryoppp_annotator.model.curation import Decision

N = 4


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with pytest.MonkeyPatch.context() as patch, counting(tmp_path_factory.mktemp("counting"), patch) as counted:
        yield counted


@pytest.fixture(scope="module")
def machines(calls: Calls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    pytest.importorskip("distributed")
    started = Machines(tmp_path_factory.mktemp("cluster"), calls.plugin)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def numbered(new_window: Callable[[], Window], calls: Calls, tmp_path: Path) -> Window:
    """A window on micrographs whose first pixel says which they are; the picker lets all through."""
    for number in range(N):
        image = discs(number)
        image[0, 0] = number
        write_mrc(tmp_path / "data" / f"m{number}.mrc", image)
    opened = new_window().open(tmp_path / "data")
    opened.session.set_diameter(100.0)
    opened.until(opened.drawn)
    choose(opened.annotator.pick.propose.picker, "Counts its calls")
    calls.let_through(N)
    calls.taken()
    return opened


def show_jobs(window: Window) -> None:
    tabs = window.annotator.findChild(QTabWidget)
    tabs.setCurrentWidget(window.annotator.jobs)
    QApplication.processEvents()


def enter(window: Window, text: str) -> None:
    """Write into the field (keys go to a field only in an active window, and nobody manages windows here)."""
    field = window.annotator.jobs.run_on.address
    field.setText(text)
    field.textEdited.emit(text)


def type_address(window: Window, text: str) -> None:
    """Choose the cluster, and type where it is; Return tests it."""
    box = window.annotator.jobs.run_on
    choose(box.place, "a cluster")
    enter(window, text)
    QTest.keyClick(box.address, Qt.Key.Key_Return)
    QApplication.processEvents()


def row_of(window: Window, title: str) -> Any:
    """The newest row of a job, once it is listed."""

    def matching() -> list[Any]:
        return [row for row in window.annotator.jobs._rows.values() if row._title.text() == title]

    window.until(matching)
    return matching()[-1]


def kept(window: Window) -> list[Path]:
    return sorted((window.project() / "cache" / "proposals").glob("*.npz"))


def test_a_cluster_is_tested_and_what_is_long_runs_there(numbered: Window, calls: Calls, machines: Machines) -> None:
    window, address = numbered, machines.address()
    box, propose = window.annotator.jobs.run_on, window.annotator.pick.propose
    show_jobs(window)
    assert not box.address.isVisible()
    assert propose.everywhere.toolTip().endswith("the next start continues where it stopped")
    choose(box.place, "a cluster")
    assert box.address.isVisible()
    assert box.test.toolTip() == "say where the cluster is first"
    assert box.message.text() == "Say which: until then all runs on this computer."
    assert window.bench.run_on.scheduler is None
    with held(window):  # other jobs are no reason to wait
        type_address(window, address)
        window.until(lambda: box.message.text() == "2 workers, 2 cores; each sees the micrographs and the project.")
    assert RunOn().scheduler == address, "kept for the next start"
    assert f"Runs on {address}" in propose.everywhere.toolTip()
    assert "not on the cluster" in propose.here.toolTip()
    # candidates
    propose.everywhere.click()
    window.until(lambda: all(m.n_undecided == 4 for m in window.session.micrographs))
    taken = calls.taken_by()
    assert sorted(number for number, _ in taken) == list(range(N))
    assert {pid for _, pid in taken} <= {worker.pid for worker in machines.workers}
    row = row_of(window, f"propose on {N} micrographs")
    window.until(lambda: row._note.text().startswith(f"done · on {address} · 4/4 micrographs"))
    window.session.set_diameter(90.0)
    propose.here.click()
    window.until(lambda: row_of(window, "propose on m0").job.delivered)
    assert calls.taken_by() == [(0, os.getpid())]
    window.until(lambda: row_of(window, "propose on m0")._note.text().startswith("done · on this computer · "))
    # pictures
    for file in (window.project() / "cache").glob("*.npz"):
        file.unlink()
    window.annotator.jobs._denoise.click()
    row = row_of(window, f"denoise {N} micrographs")
    window.until(lambda: row._note.text().startswith(f"done · on {address} · 4 denoised, 0 failed"))
    pictures = window.bench.pictures
    for micrograph in window.session.micrographs:
        assert pictures._file(pictures.key(micrograph, window.bench.view)[2]).exists()
    # classes
    choose(propose.picker, "(LoG)")
    propose.everywhere.click()
    window.until(lambda: all(m.n_undecided > 20 for m in window.session.micrographs))
    run = window.annotator.classes.run
    open_tab(window)
    window.until(run.start.isEnabled)
    assert f"Runs on {address}" in run.start.toolTip()
    run.number.setValue(2)
    run.start.click()
    row = row_of(window, "classify picks")
    assert row.job.where == f"on {address}"
    window.until(lambda: row.job.delivered)
    window.until(lambda: run.shown is not None)
    assert row.job.state is JobState.DONE
    assert run.shown.record["counts"]["classified"] > 80


def test_a_lost_cluster_loses_nothing_and_this_computer_goes_on(
    numbered: Window, calls: Calls, machines: Machines
) -> None:
    window, address = numbered, machines.address()
    propose, session = window.annotator.pick.propose, window.session
    type_address(window, address)
    x, y = 300.0, 20.0
    mine = session.add(x, y).new_id
    steps = window.steps()
    calls.let_through(2)
    propose.everywhere.click()
    window.until(lambda: len(kept(window)) == 2)
    machines.scheduler.kill()
    row = row_of(window, f"propose on {N} micrographs")
    window.until(lambda: row.job.delivered)
    said = f"the scheduler {address} was lost; what is finished is kept, start again to go on"
    window.until(lambda: row._note.text() == f"failed: {said}")
    assert window.status.startswith(said)
    assert (window.steps(), session.counts()["undecided"]) == (steps, 0)
    assert set(calls.taken()) >= {0, 1}
    choose(window.annotator.jobs.run_on.place, "this computer")
    assert window.status == "", "it is about what was chosen before"
    machines.stop()  # what still waits there is not counted
    calls.taken()
    calls.let_through(N)
    propose.everywhere.click()
    window.until(lambda: all(m.n_undecided for m in session.micrographs))
    assert calls.taken() == [2, 3]
    window.until(lambda: "2 of 4 were done before" in window.status)
    here = session.particles
    assert here.decision[here.id == mine] == Decision.ACCEPTED


def test_cancelling_says_that_the_next_start_goes_on(numbered: Window, calls: Calls) -> None:
    window, propose = numbered, numbered.annotator.pick.propose
    show_jobs(window)
    calls.let_through(2)
    propose.everywhere.click()
    row = row_of(window, f"propose on {N} micrographs")
    tip = "Cancel; no pick is entered, and the next start continues where this one stopped"
    assert row._cancel.toolTip() == tip
    window.until(lambda: len(kept(window)) == 2)
    row._cancel.click()
    window.until(lambda: row._note.text().startswith("cancelled · 2 of 4 are kept: the next start continues there"))
    assert window.session.counts()["undecided"] == 0
    calls.taken()
    calls.let_through(N)
    propose.everywhere.click()
    window.until(lambda: all(m.n_undecided for m in window.session.micrographs))
    assert calls.taken() == [2, 3]


def test_nobody_there_is_said_in_a_sentence_and_the_window_goes_on(
    numbered: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    window, box = numbered, numbered.annotator.jobs.run_on
    show_jobs(window)
    type_address(window, "tcp://127.0.0.1:9")
    assert box.message.text() == "Testing …"
    assert box.test.toolTip() == "it is being tested"
    window.click(100, 80)
    assert len(window.session.particles) == 1, "nothing is blocked meanwhile"
    # another address: nobody waits for the answer of the first
    monkeypatch.setattr("cryoppp_annotator.jobs.cluster._CONNECT_S", 0.5)
    enter(window, "nonsense://x")
    box.address.editingFinished.emit()
    window.until(box.test.isEnabled)
    assert box.message.text() == "Not tested yet."
    box.test.click()
    window.until(lambda: box.message.text().startswith("No Dask scheduler answers at nonsense:"))
    assert not [job for job in window.bench.runner.jobs if job.state is JobState.FAILED]


def test_without_dask_the_line_says_what_to_install(
    new_window: Callable[[], Window], micrographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunOn().choose(True, "tcp://somewhere:8786")
    monkeypatch.setitem(sys.modules, "distributed", None)
    window = new_window().open(micrographs)
    box = window.annotator.jobs.run_on
    show_jobs(window)
    assert box.place.currentText() == "this computer"
    assert not box.place.model().item(1).isEnabled()
    assert box.message.text() == "A cluster needs Dask: pip install 'cryoppp-annotator[cluster]'"
    assert box.message.isVisible()
    assert window.bench.run_on.scheduler is None, "the choice of another time does not make jobs fail"


def test_the_command_line_s_cluster_is_for_this_start_only(own_home: None) -> None:
    pytest.importorskip("distributed")
    RunOn().choose(False, "tcp://kept:1")
    now = RunOn("tcp://told:1")
    assert now.scheduler == "tcp://told:1"
    assert (RunOn().scheduler, RunOn().address) == (None, "tcp://kept:1")
    now.choose(True, "tcp://typed:1")
    assert RunOn().scheduler == "tcp://typed:1"
