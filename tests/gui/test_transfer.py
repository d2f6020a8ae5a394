"""Import and export as a person does them: dropped files, both readings of a doubtful one, the lint line, the files."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QLabel
from window import (
    CTRL,
    DIAMETER,
    HEIGHT,
    SHIFT,
    button,
    choose,
    dialog,
    discs,
    drop_files,
    places,
    scored,
    write_mrc,
    write_star,
)

from cryoppp_annotator.gui.widgets.dialogs.export_dialog import ExportDialog
from cryoppp_annotator.gui.widgets.dialogs.import_dialog import FrameDialog, ImportDialog
from cryoppp_annotator.model.curation import Decision, Reason

pytestmark = pytest.mark.any_qt

Key = Qt.Key
OK = QDialogButtonBox.StandardButton.Ok


def write_csv(path: Path, xy: np.ndarray) -> Path:
    """CryoPPP's own: rows count from the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{x:g},{HEIGHT - y:g},{DIAMETER}\n" for x, y in xy.tolist())
    path.write_text("X-Coordinate,Y-Coordinate,Diameter\n" + rows)
    return path


def the(window, kind):
    """The dialog of a kind, once it is there."""
    window.until(lambda: dialog(kind) is not None)
    return dialog(kind)


def wide(name: str, *, flip: bool = False) -> list[tuple[object, ...]]:
    """RELION rows of one micrograph, in its frame or upside down."""
    seed = "abcd".index(name)
    return [(f"{name}.mrc", x, HEIGHT - y if flip else y, 0.5, 1) for x, y in places(seed).tolist()]


# --- import ----------------------------------------------------------------------------------------------------------


def test_dropped_files_are_recognised_and_entered(window, tmp_path):
    files = [write_csv(tmp_path / "labels" / f"{name}.csv", places("abcd".index(name))) for name in "ab"]
    drop_files(window.annotator, files)
    asked = the(window, ImportDialog)
    assert not asked.ok.isEnabled()
    window.until(asked.ok.isEnabled)
    assert asked.ok.text() == "Import 80 picks"
    assert "cryoppp, 80 picks on 2 micrographs" in asked.said.text()
    assert "cryoppp frame, confirmed on the image" in asked.said.text()
    assert len(window.session.particles) == 0, "nothing is entered by looking"
    asked.ok.click()
    window.until(lambda: len(window.session.particles) == 40)
    np.testing.assert_array_equal(window.session.particles.yx, places(0)[:, ::-1])
    assert window.named("b").n_undecided == 40
    assert window.status.startswith("imported 80 picks from labels on 2 micrographs · ")
    assert dialog(ImportDialog) is None
    window.key(Key.Key_Z, CTRL)
    assert len(window.session.particles) == window.named("b").n_undecided == 0


def test_the_dialog_takes_a_drop_and_enters_as_told(window, tmp_path):
    window.annotator.show_import()
    asked = the(window, ImportDialog)
    assert not asked.ok.isEnabled()
    assert asked.ok.toolTip() == "choose a file first"
    drop_files(asked, [write_star(tmp_path / "picker.star", scored("abc"))])
    window.until(asked.ok.isEnabled)
    assert "120 picks on 3 micrographs" in asked.said.text()
    choose(asked.decision, "accepted")
    asked.ok.click()
    window.until(lambda: window.session.counts()["accepted"] == 120)
    # the same file again: said, not doubled
    drop_files(window.annotator, [tmp_path / "picker.star"])
    again = the(window, ImportDialog)
    window.until(again.ok.isEnabled)
    again.ok.click()
    window.until(lambda: "was imported before" in window.status)
    assert window.session.counts()["accepted"] == 120


def test_a_broken_file_says_where_and_the_good_rows_can_be_taken(window, tmp_path):
    bad = write_csv(tmp_path / "a.csv", places(0))
    lines = bad.read_text().splitlines()
    lines[3] = "what,is,this"
    bad.write_text("\n".join(lines))
    drop_files(window.annotator, [bad])
    asked = the(window, ImportDialog)
    window.until(lambda: "reading" not in asked.said.text())
    assert "a.csv" in asked.said.text()
    assert "line 4" in asked.said.text()
    assert "Traceback" not in asked.said.text()
    assert not asked.ok.isEnabled()
    asked.permissive.click()
    window.until(asked.ok.isEnabled)
    assert asked.ok.text() == "Import 39 picks"
    assert "1 bad row left out (line 4" in asked.said.text()
    asked.close()


def test_a_dialog_that_is_closed_while_it_reads(window, tmp_path):
    drop_files(window.annotator, [write_star(tmp_path / "picker.star", scored("abcd"))])
    the(window, ImportDialog).close()
    QApplication.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
    window.idle()
    assert dialog(ImportDialog) is None
    assert not window.session.pick_sets


def test_a_file_of_other_micrographs_is_refused(window, tmp_path):
    drop_files(window.annotator, [write_star(tmp_path / "picker.star", [("elsewhere.mrc", 10, 10, 1, 1)])])
    asked = the(window, ImportDialog)
    window.until(lambda: "belong to other micrographs" in asked.said.text())
    assert "it names elsewhere" in asked.said.text()
    assert not asked.ok.isEnabled()
    asked.close()


@pytest.fixture
def contradicted(window, tmp_path):
    """Asked about a STAR file whose rows count from the last, which RELION's never do."""
    drop_files(window.annotator, [write_star(tmp_path / "upside_down.star", wide("a", flip=True))])
    asked = the(window, ImportDialog)
    window.until(asked.ok.isEnabled)
    assert "but the image says flip-y" in asked.said.text()
    assert "the two readings will be shown to you before anything is entered" in asked.said.text()
    asked.ok.click()
    the(window, FrameDialog)
    assert len(window.session.particles) == 0
    return window


def test_where_format_and_image_disagree_a_person_sees_both(contradicted):
    window, asked = contradicted, dialog(FrameDialog)
    drawn = [label.pixmap() for label in asked.findChildren(QLabel) if label.pixmap() is not None]
    drawn = [pixmap for pixmap in drawn if not pixmap.isNull()]
    assert len(drawn) == 2
    assert [min(pixmap.width(), pixmap.height()) > 250 for pixmap in drawn] == [True, True]
    assert asked.image.isDefault()
    asked.image.click()
    window.until(lambda: len(window.session.particles) == 40)
    np.testing.assert_array_equal(window.session.particles.yx, places(0)[:, ::-1])
    assert "as the image says" in window.status
    (kept,) = [pick_set for pick_set in window.session.pick_sets.values() if pick_set.imported]
    assert kept.frame["orientation"] == "flip-y", "the answer is stored with the pick set"


def test_the_person_may_insist_on_the_format(contradicted):
    window, asked = contradicted, dialog(FrameDialog)
    assert asked.file.text() == "As the format says: as-stored"
    asked.file.click()
    window.until(lambda: len(window.session.particles) == 40)
    np.testing.assert_array_equal(window.session.particles.y, HEIGHT - places(0)[:, 1])


def test_or_import_nothing(contradicted):
    window = contradicted
    button(dialog(FrameDialog), "Do not import").click()
    window.until(lambda: dialog(FrameDialog) is None)
    assert window.status == "upside_down.star was not imported"
    assert len(window.session.particles) == 0
    assert not window.session.pick_sets


def test_keys_typed_into_a_dialog_do_not_edit(window, tmp_path):
    from qtpy.QtTest import QTest

    window.enter(write_star(tmp_path / "picker.star", scored("a")))
    window.bench.focus.select(window.session.particles.id.tolist())
    window.annotator.show_import()
    asked = the(window, ImportDialog)
    asked.path.setFocus()
    QTest.keyClicks(asked.path, "xa1")
    assert asked.path.text() == "xa1"
    assert window.session.counts()["undecided"] == 40
    asked.path.clear()
    asked.close()


def rows_of(window, name):
    """A table of the project, as it is on the disk."""
    with closing(sqlite3.connect(window.session.store.path)) as file:
        return file.execute(f"select * from {name} order by 1").fetchall()


def test_the_import_that_came_by_itself_is_brought_back_whole(new_window, tmp_path):
    """The first Ctrl+Z in a new project of a data set takes back its labels: nobody should think they are lost."""
    data = tmp_path / "10017"
    write_mrc(data / "micrographs" / "a.mrc", discs(0))
    write_csv(data / "ground_truth" / "particle_coordinates" / "a.csv", places(0))
    window = new_window().open(data)
    tables = ("particle", "pick_set", "setting", "micrograph", "region")
    before = [rows_of(window, name) for name in tables]
    overlay = window.bench.overlay
    assert overlay.text.startswith("Click adds a pick")
    window.key(Key.Key_Z, CTRL)
    said = "“import 40 picks from 10017 on 1 micrograph” was undone · Ctrl+Shift+Z brings it back"
    assert window.status == said
    assert window.bench.ink("warning") in window.annotator.status.message.styleSheet()
    assert overlay.text == said, "and where the picks were"
    assert len(window.session.particles) == 0
    window.key(Key.Key_Z, CTRL)
    assert window.status == "nothing to undo"
    window.key(Key.Key_Z, CTRL | SHIFT)
    assert [rows_of(window, name) for name in tables] == before
    assert overlay.text.startswith("Click adds a pick")
    np.testing.assert_array_equal(window.session.particles.yx, places(0)[:, ::-1])
    window.key(Key.Key_Z, CTRL)
    window.click(10, 300)
    assert overlay.text == "", "who goes on has seen it"
    # and even then the file can be read again
    window.enter(data / "ground_truth" / "particle_coordinates" / "a.csv")
    assert len(window.session.particles) == 41


# --- export ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def decided(window, tmp_path):
    """Accepted, rejected and undecided picks on a and b; two of a's lie on each other, one over the edge."""
    window.enter(write_star(tmp_path / "picker.star", scored("ab")))
    session = window.session
    session.decide(session.particles.id[:10], Decision.ACCEPTED)
    session.decide(session.particles.id[10:20], Decision.REJECTED)
    (x, y) = places(0)[0]
    session.add(x + 2, y, anyway=True)
    session.add(200, 1)
    return window


def positions(file: Path) -> np.ndarray:
    with file.open(newline="") as text:
        rows = [(float(row["X-Coordinate"]), float(row["Y-Coordinate"])) for row in csv.DictReader(text)]
    return np.array(sorted(rows))


def test_export_says_what_goes_out_and_mends_first(decided, tmp_path):
    window, out = decided, tmp_path / "out"
    window.key(Key.Key_S, CTRL)
    asked = the(window, ExportDialog)
    assert window.status == "everything is saved already; this writes coordinate files"
    choose(asked.format, "CryoPPP")
    asked.decisions.setCurrentText("accepted")
    assert asked.note.text() == "12 picks of this project (12 accepted, 60 undecided, 10 rejected)."
    window.until(lambda: asked.mend.isVisible())
    assert asked.lint.text().startswith("Found: ")
    assert "1 pick closer than half a diameter to another" in asked.lint.text()
    steps = window.steps()
    asked.mend.click()
    window.until(lambda: not asked.mend.isVisible())
    assert window.steps() == steps + 1
    reasons = window.session.particles.reason
    assert (reasons == Reason.OVERLAP).sum() == 1
    assert (reasons == Reason.EDGE).sum() == 1
    window.until(lambda: asked.note.text().startswith("10 picks"))
    asked.folder.setText(str(out))
    asked.buttons.button(OK).click()
    window.until(lambda: window.status.startswith("exported 10 picks"))
    (file,) = out.rglob("a.csv")
    expected = places(0)[:10] * (1, -1) + (0, HEIGHT)
    np.testing.assert_allclose(positions(file), np.array(sorted(map(tuple, expected.tolist()))), atol=0.51)
    assert not [f for f in out.rglob("*") if f.suffix in (".part", ".tmp")]


def test_all_writable_formats_are_offered_and_the_last_one_comes_first(decided, tmp_path):
    from cryoppp_annotator import extensions

    window = decided
    window.annotator.show_export()
    asked = the(window, ExportDialog)
    offered = [asked.format.itemData(k) for k in range(asked.format.count())]
    assert set(offered) >= {name for name, file_format in extensions.formats().items() if file_format.can_write}
    assert offered[-1][0] == "as-imported"
    choose(asked.format, asked.format.itemText(offered.index("relion")))
    asked.decisions.setCurrentText("accepted+undecided")
    asked.folder.setText(str(tmp_path / "star"))
    asked.buttons.button(OK).click()
    window.until(lambda: window.status.startswith("exported"))
    assert list((tmp_path / "star").rglob("*.star"))
    window.annotator.show_export()
    assert the(window, ExportDialog).format.currentData() == "relion"
    dialog(ExportDialog).close()
    ExportDialog.last_format = "cryoppp"


def test_as_imported_changes_the_edited_rows_only(decided, tmp_path):
    window, out = decided, tmp_path / "back"
    window.annotator.show_export()
    asked = the(window, ExportDialog)
    choose(asked.format, "as imported: picker.star")
    for widget in (asked.decisions, asked.frame, asked.suffix, asked.box_size):
        assert not widget.isEnabled()
        assert widget.toolTip() == "the imported files say this themselves"
    asked.folder.setText(str(out))
    asked.buttons.button(OK).click()
    window.until(lambda: window.status.startswith("exported"))
    before = (tmp_path / "picker.star").read_text().splitlines()
    (file,) = out.rglob("*.star")
    after = file.read_text().splitlines()
    gone = [line for line in before if line not in after]
    assert len(gone) == 10, "the rejected ones leave; the rest is as it was, to the letter"


def test_nothing_to_write_is_said_before_the_button_is_pressed(window):
    window.annotator.show_export()
    asked = the(window, ExportDialog)
    asked.decisions.setCurrentText("accepted")
    assert "Nothing would be written: decide first, or choose other picks." in asked.note.text()
    assert not asked.buttons.button(OK).isEnabled()
    asked.close()


def test_a_folder_that_cannot_be_written_is_an_error_in_the_window(decided, tmp_path):
    window = decided
    (tmp_path / "file").write_text("in the way")
    window.annotator.show_export()
    asked = the(window, ExportDialog)
    asked.decisions.setCurrentText("accepted")
    asked.folder.setText(str(tmp_path / "file" / "out"))
    asked.buttons.button(OK).click()
    window.until(lambda: window.said[-1][1] == "error")
    assert "export to out: " in window.status
    assert "Traceback" not in window.status
