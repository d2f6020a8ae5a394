"""Other projects in the window: a RELION project's jobs are offered together; a colleague's project is merged; a
second export asks before it replaces what is not its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox
from window import Window, button, dialog, discs, held_by_another, places, scored, write_mrc, write_star

from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.gui.widgets.dialogs.export_dialog import ExportDialog
from cryoppp_annotator.gui.widgets.dialogs.merge_dialog import MergeDialog
from cryoppp_annotator.gui.widgets.dialogs.relion_dialog import RelionDialog
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.core.opening import open_project

LOOP = "data_\n\nloop_\n_rlnMicrographName #1\n"


@pytest.fixture
def relion(tmp_path: Path) -> Path:
    """A RELION project: two micrographs, their CTF values, two jobs of picks, 2D classes of the second."""
    root = tmp_path / "R"
    names = [f"MotionCorr/job002/Movies/{name}.mrc" for name in "ab"]
    for seed, name in enumerate(names):
        write_mrc(root / name, discs(seed))
    rows = [(name, *row[1:]) for name, letter in zip(names, "ab", strict=True) for row in scored(letter)]
    for job in ("AutoPick/job004", "Extract/job005", "CtfFind/job003", "Class2D/job006"):
        (root / job).mkdir(parents=True)
    (root / "MotionCorr/job002/corrected_micrographs.star").write_text(LOOP + "\n".join(names) + "\n")
    values = "".join(f"{name} 12000 11800 30\n" for name in names)
    labels = "_rlnDefocusU #2\n_rlnDefocusV #3\n_rlnDefocusAngle #4\n"
    (root / "CtfFind/job003/micrographs_ctf.star").write_text(LOOP + labels + values)
    write_star(root / "Extract/job005/particles.star", rows)
    write_star(root / "Class2D/job006/run_it025_data.star", rows)
    averages = np.random.default_rng(0).random((3, 32, 32), np.float32)
    write_stack(root / "Class2D/job006/run_it025_classes.mrcs", averages, 10.0)
    lists = "".join(f"{name} AutoPick/job004/{Path(name).stem}_autopick.star\n" for name in names)
    head = "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
    (root / "AutoPick/job004/autopick.star").write_text(head + lists)
    for seed, name in enumerate("ab"):
        picks = "".join(f"{x:g} {y:g}\n" for x, y in places(seed, 10).tolist())
        star = f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{picks}"
        (root / f"AutoPick/job004/{name}_autopick.star").write_text(star)
    (root / "default_pipeline.star").write_text("data_pipeline_general\n\n_rlnPipeLineJobCounter 7\n")
    return root


def test_a_relion_project_offers_its_jobs(new_window, relion: Path) -> None:
    window: Window = new_window().open(relion)
    window.until(lambda: dialog(RelionDialog) is not None)
    asked = dialog(RelionDialog)
    assert asked.ok.text() == "Take CtfFind/job003, Extract/job005, Class2D/job006", "the latest of each kind"
    assert [asked.picks.item(row).text().split()[0] for row in range(2)] == ["AutoPick/job004", "Extract/job005"]
    asked.picks.item(0).setCheckState(Qt.CheckState.Checked)
    assert asked.ok.text() == "Take 4 jobs"
    asked.ok.click()
    window.until(lambda: window.session.counts()["undecided"] == 80 + 20)
    window.until(lambda: window.annotator.classes.shown)
    assert all(m.optics for m in window.session.micrographs)
    assert {s.name for s in window.session.pick_sets.values()} >= {"autopick.star", "particles.star"}
    # it is known now: opened again nothing is asked, the menu asks
    window.open(relion)
    assert dialog(RelionDialog) is None
    window.annotator.ask_relion()
    assert dialog(RelionDialog).ok.isEnabled()


def test_a_project_is_merged_when_its_conflicts_were_seen(window: Window, tmp_path: Path) -> None:
    window.enter(write_star(tmp_path / "picks.star", scored("a")))
    window.idle()
    shutil.copytree(window.project(), tmp_path / "colleague")
    theirs = open_project(tmp_path / "colleague", curator="bob")
    first = window.named("a").id
    ids = window.session.particles.id[:3].tolist()
    theirs.go(first)
    theirs.decide(ids, Decision.REJECTED)
    theirs.close()
    window.session.decide(ids[:1], Decision.ACCEPTED)
    steps = window.steps()
    window.annotator.merge(tmp_path / "colleague")
    asked = dialog(MergeDialog)
    window.until(asked.ok.isEnabled)
    assert "2 decisions or positions taken" in asked.report.text()
    assert "1 conflict: this project's side stays" in asked.report.text()
    row = [asked.conflicts.item(0, column).text() for column in range(5)]
    assert row[:3] == ["decision", "a", str(ids[0])]
    assert ("accepted" in row[3].lower(), "rejected" in row[4].lower()) == (True, True)
    assert window.steps() == steps, "nothing is written by looking"
    before = window.session.counts()
    with held_by_another(window.project()):  # the merge waits for it, and the window for neither
        asked.ok.click()
        job = next(job for job in window.bench.runner.jobs if job.title == "merging colleague")
        window.go("b")
        window.session.add(30, 30)
        assert "2 more steps wait for it" in window.status  # the look, the pick
        window.bench.cancel(job)
    window.idle()
    assert ("cancelled: merging colleague; nothing was changed", "warning") in window.said
    assert window.steps() == steps + 1, "only the pick that waited"
    assert window.session.counts() == {**before, "accepted": 2}
    window.session.undo()
    window.annotator.merge(tmp_path / "colleague")
    window.until(lambda: dialog(MergeDialog) is not None and dialog(MergeDialog).ok.isEnabled())
    dialog(MergeDialog).ok.click()
    window.until(lambda: window.session.counts()["rejected"] == 2)
    assert window.session.counts()["accepted"] == 1
    assert "1 conflict, kept as here" in window.status
    assert window.session.undo() == "merge colleague into this project"
    assert window.session.counts() == before
    # a stranger is refused in words
    window.annotator.merge(tmp_path)
    window.until(lambda: not dialog(MergeDialog).report.text().startswith("comparing"))
    assert not dialog(MergeDialog).ok.isEnabled()


def test_an_export_asks_before_it_replaces_files_of_others(picked: Window, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def export() -> None:
        picked.annotator.show_export()
        asked = dialog(ExportDialog)
        asked.format.setCurrentIndex(asked.format.findData("relion"))
        asked.decisions.setCurrentText("all")
        asked.folder.setText(str(out))
        asked._on_export()

    def question() -> QMessageBox | None:
        return dialog(QMessageBox)

    export()
    picked.until(lambda: "exported" in picked.status)
    file = next(out.rglob("a_*.star"))
    ours = file.read_text()
    file.write_text("somebody's")
    for reply, content in (("Cancel", "somebody's"), ("Replace", ours)):
        export()
        picked.until(lambda: question() is not None)
        assert file.name in question().text()
        assert file.read_text() == "somebody's", "nothing is written before the answer"
        button(question(), reply).click()
        picked.idle()
        assert file.read_text() == content
