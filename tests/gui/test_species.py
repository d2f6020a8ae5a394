"""Several kinds of particle and several pick sets in the window: keys, sizes, rings, thresholds, what is hidden."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from window import choose, dialog, scored, write_star

from cryoppp_annotator.gui.layers.styles import ColourBy, rgba
from cryoppp_annotator.gui.widgets.dialogs.export_dialog import ExportDialog
from cryoppp_annotator.gui.widgets.dialogs.import_dialog import ImportDialog
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.core import species


@pytest.fixture
def two(window, tmp_path):
    """Candidates on a, and two species: big (200 A, F2) and small (60 A, F3)."""
    window.enter(write_star(tmp_path / "picker.star", scored("a", 30)))
    box = window.annotator.pick.species
    assert not box.first.isHidden()
    assert box.choice.isHidden(), "one line where all particles are of one kind"
    box.enter(-1, "big", "#009E73", "F2", 200.0)
    box.enter(-1, "small", "#CC79A7", "F3", 60.0)
    return window


def test_a_key_gives_the_species_and_new_picks_are_of_it(two):
    window, session, box = two, two.session, two.annotator.pick.species
    ids = session.particles.id
    assert box.choice.currentText() == "small, 60 Å  (F3)"
    window.bench.focus.select(ids[:4])
    window.key(Qt.Key.Key_F2)
    assert session.particles.species[:5].tolist() == [1, 1, 1, 1, 0]
    assert "4 picks are big on a" in window.status
    assert session.loaded.current_species == 1
    sizes = window.layer.size[np.isin(window.bench.particles_layer.ids, ids[:5])]
    assert sizes[:4].tolist() == [40.0] * 4, "200 A of 5 A/px"
    assert sizes[4] == session.diameter_A / 5
    window.key(Qt.Key.Key_BracketLeft)
    assert session.diameters_A()[:4] == pytest.approx(np.full(4, 200 / 1.05)), "of the selected picks"
    window.bench.focus.clear()
    window.key(Qt.Key.Key_BracketRight)
    assert session.species[1].diameter_A == pytest.approx(210), "of the species"
    assert window.annotator.pick.particle.diameter.value() == 210
    assert window.annotator.pick.particle.title() == "Particle: big"
    for _ in range(3):
        window.bench.give("undo")
    assert not session.particles.species.any()
    assert session.species[1].diameter_A == 200


def test_one_species_alone_is_drawn_and_decided_about(two):
    window, session, box = two, two.session, two.annotator.pick.species
    species.give(session, session.particles.id[:6], 1)
    window.bench.focus.choose_species(1)
    box.only.setChecked(True)
    assert len(window.layer.data) == 6
    window.annotator.pick._scope.setCurrentText("all micrographs")
    window.until(lambda: window.annotator.pick._reject_all.text().startswith("Reject 6"))
    window.annotator.pick._on_all(Decision.REJECTED)
    assert session.particles.species[session.particles.decision == Decision.REJECTED].tolist() == [1] * 6
    box.only.setChecked(False)
    assert len(window.layer.data) == 30
    window.bench.set_colour_by(ColourBy.SPECIES)
    colours = window.layer.border_color[np.isin(window.bench.particles_layer.ids, session.particles.id[:6])]
    assert np.allclose(colours, rgba("#009E73"))
    assert "big" in window.annotator.pick.view._legend.text()
    species.remove(session, 1)
    assert box.choice.currentData() == 0
    assert box.choice.count() == 2


def test_dialogs_ask_for_the_species(two, tmp_path):
    window, session = two, two.session
    species.give(session, session.particles.id[:6], 1)
    session.decide(session.particles.id[:10], Decision.ACCEPTED)
    dialog = ExportDialog(window.bench)
    choose(dialog.species, "only big")
    assert dialog.note.text().startswith("6 picks")
    dialog.folder.setText(str(tmp_path / "out"))
    choose(dialog.format, dialog.format.itemText(dialog.format.findData("table")))
    dialog._on_export()
    window.idle()
    rows = (tmp_path / "out" / "picks.csv").read_text().splitlines()
    assert len(rows) == 7
    assert all(",big" in row for row in rows[1:])
    choose(dialog.species, "each, in a folder of its own")
    dialog._on_export()
    window.idle()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["big", "none"]
    dialog.close()
    # imports: a name that is typed makes a species
    asked = ImportDialog(window.bench, None, [write_star(tmp_path / "b.star", scored("b", 5))])
    window.until(lambda: asked.ok.isEnabled())
    asked.species.setCurrentText("virus")
    asked._on_import()
    window.until(lambda: len(session.species) == 3)
    assert session.store.particles(session.micrographs[1].id).species.tolist() == [3] * 5


def test_pick_sets_are_hidden_coloured_renamed_and_have_thresholds(window, tmp_path):
    for name, shift in (("cryolo.star", 0), ("topaz.star", 3)):
        picks = [(mrc, x + shift, *rest) for mrc, x, *rest in scored("a", 20)]
        window.enter(write_star(tmp_path / name, picks))
    box, session, focus = window.annotator.pick.sets, window.session, window.bench.focus
    window.annotator.pick.folds["sets"].open()
    assert [box.table.item(row, 0).text() for row in range(2)] == ["cryolo.star", "topaz.star"]
    assert [box.table.item(row, 1).text() for row in range(2)] == ["20", "20"]
    box.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert set(session.particles.pick_set[np.isin(session.particles.id, window.bench.particles_layer.ids)]) == {2}
    window.bench.give("accept-rest")
    assert set(session.particles.pick_set[session.particles.decision == Decision.ACCEPTED]) == {2}, (
        "what is hidden stays"
    )
    window.bench.give("undo")
    window.annotator.show_export()
    window.until(lambda: dialog(ExportDialog) is not None)
    asked = dialog(ExportDialog)
    choose(asked.decisions, "all")
    assert "20 picks of hidden pick sets among them" in asked.note.text()
    asked.reject()
    box.table.item(0, 0).setCheckState(Qt.CheckState.Checked)
    # a threshold of its own
    scores = session.particles.score[session.particles.pick_set == 2]
    middle = float(np.median(scores))
    box.spin_of(2).setValue(middle)
    drawn = np.isin(session.particles.id, window.bench.particles_layer.ids)
    value = box.spin_of(2).value()
    assert (session.particles.pick_set[drawn] == 2).sum() == (scores >= value).sum()
    assert (session.particles.pick_set[drawn] == 1).sum() == 20
    # a name and a colour, each a step
    box.table.item(1, 0).setText("Topaz, all of Monday")
    QApplication.processEvents()
    assert session.pick_sets[2].name == "Topaz, all of Monday"
    box.set_colour(2, "#D55E00")
    assert window.annotator.pick.view._colour_by.currentText() == "pick set"
    of_two = session.particles.pick_set[np.searchsorted(session.particles.id, window.bench.particles_layer.ids)] == 2
    assert np.allclose(window.layer.border_color[of_two], rgba("#D55E00"))
    assert session.next_undo().verb == "colour"
    window.bench.give("undo")
    window.bench.give("undo")
    assert (session.pick_sets[2].name, session.pick_sets[2].colour) == ("topaz.star", "")
    # kept until the next time
    focus.drawn.hide_set(1)
    window.bench.window_state._write()
    again = type(window.bench.window_state)(type(focus)(session))
    assert again._focus.drawn.set_thresholds == {2: pytest.approx(value)}
    assert again._focus.drawn.hidden_sets == {1}
    again.close()
    box.table.selectRow(0)
    box.delete.click()
    window.idle()
    assert set(session.particles.pick_set) == {2}
