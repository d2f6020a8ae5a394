"""The View box: methods and their numbers, the split view, defocus, pictures of other programs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from window import Gate, button, choose, discs, write_mrc

from cryoppp_annotator import extensions
from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.model.message import Message
from cryoppp_annotator.session.core import edits, own_paths
from cryoppp_annotator.session.pictures import foreign_pictures, optics
from cryoppp_annotator.session.pictures.display import View

Key = Qt.Key


class Refusing:
    """A denoiser whose program is not there."""

    name, title = "missing", "Missing engine"

    def denoise(self, image, **words):
        raise EngineError("the program is not installed")


def test_the_automatic_method_is_the_usual_one_and_a_choice_is_kept(window, new_window, micrographs):
    view = window.annotator.pick.view
    assert view._method.currentText() == "Automatic"
    automatic = window.bench.picture_layer.picture
    choose(view._method, "Band-pass")
    window.until(window.drawn)
    plain = window.bench.picture_layer.picture
    assert plain is not automatic
    assert list(view.fold.numbers) == ["longest_A", "shortest_A"]
    assert [spin.text() for spin in view.fold.numbers.values()] == ["2.5 diameters", "1/8 diameter"]
    view.fold.numbers["shortest_A"].setValue(60.0)
    window.until(lambda: window.drawn() and window.bench.picture_layer.picture is not plain)
    assert np.abs(np.diff(window.image.data)).mean() < np.abs(np.diff(plain.pixels)).mean()
    assert window.steps() == 1, "looking is no step (one was the diameter)"
    window.idle()
    again = new_window().open(micrographs)
    box = again.annotator.pick.view
    assert box._method.currentText() == "Band-pass"
    assert box.fold.numbers["shortest_A"].value() == 60.0
    choose(box._method, "Automatic")
    assert not box.fold.numbers


def test_raw_stays_until_another_method_is_ready(new_window, micrographs, monkeypatch):
    gate = Gate()
    gate.name, gate.title = "slow", "Slow"
    known = {**extensions.denoisers(), "slow": gate}
    monkeypatch.setattr(extensions, "denoisers", lambda: known)
    window = new_window().open(micrographs)
    window.until(window.drawn)
    view = window.annotator.pick.view
    choose(view._method, "Slow")
    window.until(lambda: np.array_equal(window.image.data, discs(0)))
    gate.open()
    window.until(window.drawn)
    assert not np.array_equal(window.image.data, discs(0))
    choose(view._method, "Automatic")
    assert window.drawn(), "the first one's picture was kept"


def test_a_picture_that_comes_late_does_not_cover_what_was_chosen_meanwhile(new_window, micrographs, monkeypatch):
    late, refusing = Gate(), Refusing()
    late.name, late.title = "late", "Late"
    known = {**extensions.denoisers(), "late": late, "missing": refusing}
    monkeypatch.setattr(extensions, "denoisers", lambda: known)
    window = new_window().open(micrographs)
    window.until(window.drawn)
    view = window.annotator.pick.view
    choose(view._method, "Late")
    window.until(lambda: np.array_equal(window.image.data, discs(0)))
    choose(view._method, refusing.title)
    window.until(lambda: "not installed" in window.status)
    late.open()
    window.idle()
    assert np.array_equal(window.image.data, discs(0)), "the raw picture stays: the chosen method cannot"
    choose(view._method, "Late")
    assert window.drawn(), "it was kept all the same"


def test_a_method_that_cannot_leaves_the_micrograph_alone_and_says_why(new_window, micrographs, monkeypatch):
    known = {**extensions.denoisers(), "missing": Refusing()}
    monkeypatch.setattr(extensions, "denoisers", lambda: known)
    window = new_window().open(micrographs)
    view = window.annotator.pick.view
    choose(view._method, "Missing engine")
    window.until(lambda: "not installed" in window.status)
    assert view._note.text() == "Missing engine: the program is not installed"
    window.until(lambda: np.array_equal(window.image.data, discs(0)))
    assert not any(m.problem for m in window.session.micrographs)
    window.session.set_diameter(90.0)  # draws anew, and asks for it once more
    window.idle()
    choose(view._method, "Automatic")
    window.until(window.drawn)
    assert view._note.isHidden()


def test_split_shows_raw_left_and_denoised_right_of_the_pointer(window):
    view = window.annotator.pick.view
    denoised = window.image.data.copy()
    window.key(Key.Key_S)
    window.until(lambda: window.bench.picture_layer.split is not None)
    assert view._split.isChecked()
    window.point(300, 150)
    window.until(lambda: abs(window.bench.picture_layer.split - 300) < 3)
    at, data = window.bench.picture_layer.split, window.image.data
    np.testing.assert_array_equal(data[:, at + 2 :], denoised[:, at + 2 :])
    assert np.corrcoef(data[:, :at].ravel(), discs(0)[:, :at].ravel())[0, 1] > 0.999
    window.point(100, 150)
    window.until(lambda: abs(window.bench.picture_layer.split - 100) < 3)
    at = window.bench.picture_layer.split
    np.testing.assert_array_equal(window.image.data[:, at + 2 :], denoised[:, at + 2 :])
    window.click(330, 200)  # picks go on as ever
    assert len(window.session.particles) == 1
    window.go("b")
    window.until(lambda: window.bench.picture_layer.split is not None)
    window.key(Key.Key_S)
    window.until(lambda: window.bench.picture_layer.split is None)
    np.testing.assert_array_equal(window.image.data, window.denoised("b").pixels)
    window.key(Key.Key_S)
    window.key(Key.Key_D)
    window.until(lambda: np.array_equal(window.image.data, discs(1)))
    assert (view._raw.isChecked(), view._split.isChecked()) == (True, False)


def test_a_defocus_by_hand_and_from_a_star(window, tmp_path):
    view = window.annotator.pick.view
    before = window.bench.picture_layer.picture
    view._more.setChecked(True)
    view.fold.defocus.setValue(1.5)
    window.until(lambda: window.drawn() and window.bench.picture_layer.picture is not before)
    assert optics.ctf_of(window.session.current).defocus.u_A == 15000
    assert optics.ctf_of(window.named("b")) is None
    choose(view.fold.scope, "of all")
    view.fold.voltage.setValue(200)
    assert optics.ctf_of(window.session.current).optics.voltage_kV == 200.0
    assert optics.ctf_of(window.named("b")) is None, "another micrograph's defocus is not this one's"
    assert optics.common_microscope(window.session).voltage_kV == 200.0
    window.session.undo()
    assert view.fold.voltage.value() == 300
    assert optics.ctf_of(window.session.current).defocus.u_A == 15000
    assert window.session.settings.microscope is None
    view.fold.close_panel()  # the rings of these are not looked for
    star = tmp_path / "ctf.star"
    star.write_text("data_\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnDefocusV\na.mrc 20000 19000\n")
    view.fold.import_star(star)
    window.until(lambda: view.fold.defocus.value() == pytest.approx(1.95))
    assert "20000 and 19000 Å" in view.fold.defocus.toolTip()
    assert window.status.startswith("imported the defocus of 1 micrograph from ctf.star")


def test_pictures_of_another_program(window, tmp_path):
    view = window.annotator.pick.view
    ours = window.bench.picture_layer.picture
    folder = tmp_path / "warp"
    for seed, name in enumerate("abcd"):
        write_mrc(folder / f"{name}_denoised.mrc", discs(seed)[::2, ::2])
    window.click(200, 150)
    where = window.session.particles.x.tolist()
    view.fold.attach_folder(folder)
    window.until(lambda: window.session.current.picture)
    window.until(window.drawn)
    np.testing.assert_array_equal(window.image.data, discs(0)[::2, ::2])
    assert window.image.scale[-1] == pytest.approx(2 * window.layer.scale[-1])
    assert window.session.particles.x.tolist() == where
    assert window.status.startswith("attached 4 pictures from warp, binned 2 times")
    assert view._note.text() == "shown: a_denoised.mrc"
    assert not view._method.isEnabled()
    window.key(Key.Key_D)
    window.until(lambda: np.array_equal(window.image.data, discs(0)))
    window.key(Key.Key_D)
    (folder / "b_denoised.mrc").unlink()
    for name in "ab":  # what is gone is not read from memory
        window.bench.pictures._memory.pop(window.bench.pictures.key(window.named(name), View.DENOISED), None)
    window.go("b")
    window.until(lambda: "cannot be shown" in window.status)
    assert "does not exist" in window.status
    assert view._note.text() == "⚠ b_denoised.mrc cannot be shown, ours is"
    view.fold._on_detach()
    window.go("a")
    window.until(window.drawn)
    np.testing.assert_allclose(window.image.data, ours.pixels, atol=0.02)
    assert foreign_pictures.attached_to(window.session, window.session.current) is None


def test_pictures_that_only_the_project_names_are_asked_about_once(window, tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    for seed, name in enumerate("abcd"):
        write_mrc(folder / f"{name}_denoised.mrc", discs(seed)[::2, ::2])
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "another user"))
    show, session = window.bench.show, window.session
    texts = {m.id: json.dumps({"path": f"{folder}/{m.name}_denoised.mrc", "scale": 2}) for m in session.micrographs}
    message = Message("attach", "4 pictures")
    session.insert_built(lambda: edits.set_text(session.micrographs, "picture", texts, "attach", message))
    window.until(lambda: show.question is not None)
    assert str(folder) in show.question.text()
    button(show.question, "Do not open").click()
    assert own_paths.refused_folders(window.session) == {folder.resolve()}
    window.until(window.drawn)
    assert window.image.data.shape == discs(0).shape, "ours"
    asked = show.question
    window.go("b")
    window.until(lambda: "cannot be shown" in window.status)
    assert show.question is asked, "nobody asks again"
    window.annotator.pick.view.fold.attach_folder(folder)  # a person names it after all
    window.until(lambda: np.array_equal(window.image.data, discs(1)[::2, ::2]))
    assert not own_paths.refused_folders(window.session)


def test_nothing_is_cut_off_in_a_narrow_window(window):
    view = window.annotator.pick.view
    view._more.setChecked(True)
    choose(view._method, "Band-pass")
    QApplication.processEvents()
    for child in (view._raw, view._split, view._denoised, view.fold.attach, view.fold.detach, view.fold.from_star):
        needed = child.fontMetrics().horizontalAdvance(child.text())
        assert child.width() >= needed, child.text()
