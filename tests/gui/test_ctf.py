"""The defocus of a project from the rings of its micrographs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication
from window import write_mrc

from cryoppp_annotator.batch import ctf_project
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics
from cryoppp_annotator.imaging.ctf_zeros import zero_ring
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.session.pictures import optics

PARAMETERS = SimulationParameters(
    size=(640, 640), pixel_size_A=5.0 / 2, n_particles=20, n_views=8, carbon_probability=1.0, dose_per_px=60.0
)


@pytest.fixture
def ringed(new_window, tmp_path):
    """Two micrographs with rings and one of noise, and the true mean defocus of the two."""
    truth = {}
    for seed, name in enumerate("ab"):
        params = SimulationParameters(**{**PARAMETERS.__dict__, "seed": seed})
        scene = simulate_micrograph(params, 0, views_for(params))
        write_mrc(tmp_path / "data" / f"{name}.mrc", scene.image, 2.5)
        truth[name] = scene.defocus_A
    noise = np.random.default_rng(0).normal(40.0, 6.0, (640, 640)).astype(np.float32)
    write_mrc(tmp_path / "data/noise.mrc", noise, 2.5)
    window = new_window().open(tmp_path / "data")
    window.until(window.drawn)
    return window, truth


def test_rings_give_a_defocus_and_an_imported_one_stays(ringed):
    window, truth = ringed
    fold = window.annotator.pick.view.fold
    imported = Ctf(Defocus(round(truth["b"]) + 4000.0, round(truth["b"]) + 4000.0), Optics())
    optics.set_optics(window.session, [window.named("b").id], imported)
    window.annotator.pick.view._more.setChecked(True)
    fold.show_rings()
    assert "estimate the defocus first" in fold._dialog.note.text()
    fold.estimate.click()
    window.until(lambda: optics.ctf_of(window.named("a")) is not None)
    answer = optics.ctf_of(window.named("a")).defocus
    assert (answer.u_A + answer.v_A) / 2 == pytest.approx(truth["a"], abs=100.0)
    assert optics.ctf_of(window.named("b")) == imported
    assert optics.ctf_of(window.named("noise")) is None
    assert window.status.startswith("estimated the defocus of 1 micrograph")
    assert "1 micrograph without an answer" in window.status
    assert "the rings contradict 1 known defocus value (b: " in window.status
    assert fold.defocus.value() == pytest.approx(truth["a"] / 1e4, abs=0.01)
    assert not fold._dialog.picture.pixmap().isNull()
    window.session.undo()
    assert optics.ctf_of(window.named("a")) is None
    window.session.redo()
    fold.defocus.setValue(1.234)  # a person knows better: a decision of its own
    fold.estimate.click()
    window.until(lambda: "contradict" in window.status or "no defocus was missing" in window.status)
    window.idle()
    assert fold.defocus.value() == pytest.approx(1.234)
    # the second ring, dragged to where it is measured
    rings, now = fold._dialog.picture, optics.ctf_of(window.named("a"))
    measured = Ctf(Defocus(truth["a"], truth["a"]), now.optics)
    places = [rings.place_of(zero_ring(ctf, 2, [0.0])[0], 0.0).toPoint() for ctf in (now, measured)]
    assert places[0].x() - places[1].x() > 20
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    for kind, place, button, held in (
        (QEvent.Type.MouseButtonPress, places[0], left, left),
        (QEvent.Type.MouseMove, places[1], none, left),
        (QEvent.Type.MouseButtonRelease, places[1], left, none),
    ):
        QApplication.sendEvent(rings, QMouseEvent(kind, QPointF(place), button, held, Qt.KeyboardModifier.NoModifier))
    assert fold.defocus.value() == pytest.approx(truth["a"] / 1e4, rel=0.03)
    assert fold._dialog.defocus.text().startswith(f"Defocus {fold.defocus.value():.3f} µm (")
    window.session.undo()
    assert fold.defocus.value() == pytest.approx(1.234)
    # by keyboard: 1,000 A less and 10 more, a step each
    window.qtbot.keyClick(rings, Qt.Key.Key_Down, Qt.KeyboardModifier.ControlModifier)
    window.qtbot.keyClick(rings, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert fold.defocus.value() == pytest.approx(1.135)
    window.session.undo()
    assert fold.defocus.value() == pytest.approx(1.134)
    window.session.undo()


def test_pictures_are_kept_with_the_project(ringed):
    window, _ = ringed
    session = window.session
    (window.session.data_root / "a.mrc.mdoc").write_text("Voltage = 200\n")
    estimates = ctf_project.estimate(ctf_project.exposures(session), ctf_project.folder_of(session))
    assert set(estimates.ctfs) == {window.named("a").id, window.named("b").id}
    assert "Thon rings" in estimates.failed[window.named("noise").id]
    assert all(ctf_project.picture_of(session, m).is_file() for m in session.micrographs)
    # what a file says of itself is taken, the rest is assumed and said
    voltages = {i: ctf.optics.voltage_kV for i, ctf in estimates.ctfs.items()}
    assert voltages == {window.named("a").id: 200.0, window.named("b").id: 300.0}
    assert "a voltage of 300 kV was assumed, because no file says it" in estimates.assumed
    assert "a spherical aberration of 2.7 mm was assumed, because no file says it" in ctf_project.enter(
        session, estimates
    )


def test_with_the_microscope_known_the_rings_are_looked_at_unasked(ringed, new_window):
    window, truth = ringed
    fold = window.annotator.pick.view.fold
    window.annotator.pick.view._more.setChecked(True)
    assert "nobody has said it" in fold.voltage.toolTip()
    fold.cs.setValue(2.6)
    assert "nobody has said it" not in fold.voltage.toolTip()
    window.until(lambda: optics.ctf_of(window.named("a")) is not None)
    for name in truth:
        assert optics.ctf_of(window.named(name)).optics == Optics(300.0, 2.6, 0.1)
    assert "assumed" not in window.status
    window.session.undo()
    window.session.undo()
    assert fold.cs.value() == 2.7
    window.session.redo()
    window.open(window.project())
    window.until(lambda: optics.ctf_of(window.named("a")) is not None)
    assert window.status.startswith("estimated the defocus of 2 micrographs")


def test_files_of_one_name_in_two_folders_do_not_share_an_estimate(ringed, tmp_path):
    window, truth = ringed
    given = []
    for number, name in enumerate(truth, start=7):
        path = tmp_path / f"grid{number}" / "m.mrc"
        path.parent.mkdir()
        shutil.copy(tmp_path / "data" / f"{name}.mrc", path)
        given.append(ctf_project.Exposure(number, path, 2.5, Optics(300.0, 2.7)))
    folder = ctf_project.folder_of(window.session)
    for _start in (1, 2):  # the second reads what the first has kept
        estimates = ctf_project.estimate(given, folder)
        means = [(ctf.defocus.u_A + ctf.defocus.v_A) / 2 for ctf in estimates.ctfs.values()]
        assert list(estimates.ctfs) == [7, 8]
        assert means == pytest.approx(list(truth.values()), abs=100.0)
    assert len(list(folder.glob("m*.png"))) == 2
