"""napari with our plugin in it: the manifest, readers, writers, samples, and a widget that leaves no trace."""

from __future__ import annotations

import itertools
import re
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import mrcfile
import npe2
import numpy as np
import pytest
from napari.layers import Points
from napari.plugins import _npe2
from napari.utils.notifications import notification_manager as told
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget
from scipy.ndimage import uniform_filter

import cryoppp_annotator
from cryoppp_annotator import extensions
from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.gui.annotator import Annotator
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.curation import Decision

PLUGIN = "cryoppp-annotator"
MANIFEST = Path(cryoppp_annotator.__file__).parent / "napari.yaml"
HEIGHT, WIDTH, PIXEL_A = 320, 400, 5.0
#: How long a test waits for what must come.
LIMIT_MS = 600_000


def write_mrc(path: Path, pixels: np.ndarray, pixel_size_A: float = PIXEL_A) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True, compression={".gz": "gzip", ".bz2": "bzip2"}.get(path.suffix)) as file:
        file.set_data(pixels)
        file.voxel_size = pixel_size_A
    return path


@pytest.fixture(scope="session")
def simulated() -> np.ndarray:
    parameters = SimulationParameters(
        size=(HEIGHT, WIDTH), pixel_size_A=PIXEL_A, n_particles=8, n_views=12, carbon_probability=0.0, seed=3
    )
    return simulate_micrograph(parameters, 0, views_for(parameters)).image


@pytest.fixture
def folder(tmp_path: Path, simulated: np.ndarray) -> Path:
    """Two micrographs in a folder without labels."""
    write_mrc(tmp_path / "data" / "one.mrc", simulated)
    write_mrc(tmp_path / "data" / "two.mrc", simulated[::-1].copy())
    return tmp_path / "data"


@pytest.fixture
def labelled(tmp_path: Path, simulated: np.ndarray) -> Path:
    """A CryoPPP CSV with its MRC two folders away; returns the CSV."""
    write_mrc(tmp_path / "set" / "micrographs" / "one.mrc", simulated)
    csv = tmp_path / "set" / "ground_truth" / "particle_coordinates" / "one.csv"
    csv.parent.mkdir(parents=True)
    csv.write_text("X-Coordinate,Y-Coordinate,Diameter\n10,20,30\n100,300,30\n")
    return csv


# --- manifest --------------------------------------------------------------------------------------------------------


def test_manifest_is_valid_and_every_command_is_there():
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == PLUGIN
    # npe2 drops what it does not know of a menu item or a command without a word
    doors = {"annotator", "read_micrograph", "read_coordinates", "simulated_micrograph"}
    written = {f"write_{name.partition('-plt')[0].replace('-', '_')}" for name in written_formats()}
    assert {c.id for c in manifest.contributions.commands} == {f"{PLUGIN}.{name}" for name in doors | written}


def written_formats():
    return [name for name, known in extensions.formats().items() if known.can_write]


def test_npe2_finds_the_installed_manifest():
    manager = npe2.PluginManager()
    manager.discover()
    manifest = manager.get_manifest(PLUGIN)
    assert manifest.display_name == "CryoPPP Annotator"
    assert [w.display_name for w in manager.iter_widgets() if w.plugin_name == PLUGIN] == ["Annotator"]
    assert PLUGIN in dict(manager.iter_sample_data())


@pytest.mark.parametrize("name", ["a.mrc", "A.MRC", "a.b.mrcs", "a.map", "a.st", "a.rec", "a.mrc.gz", "a.mrc.bz2"])
def test_only_we_read_mrc(name, make_napari_viewer):
    make_napari_viewer(show=False)
    assert list(_npe2.get_readers(name)) == [PLUGIN]


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_pictures_are_left_to_napari(name, make_napari_viewer):
    make_napari_viewer(show=False)
    assert PLUGIN not in _npe2.get_readers(name)


@pytest.mark.any_qt
def test_menus_list_the_widget_and_the_sample(make_napari_viewer):
    viewer = make_napari_viewer(show=False)
    assert dict(entry for _, entry in _npe2.widget_iterator())[PLUGIN] == ["Annotator"]
    assert PLUGIN in dict(_npe2.sample_iterator())
    texts = []
    for menu in (viewer.window.plugins_menu, viewer.window.file_menu):
        menu.aboutToShow.emit()
        texts += [action.text().replace("&", "") for action in _all_actions(menu)]
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (path,) = re.findall(r"In napari: \*Plugins › (.+?)\*", readme)
    assert path in [action.text() for action in viewer.window.plugins_menu.actions()], "the path in the README"
    assert any("Simulated micrograph" in text for text in texts)


def _all_actions(menu):
    for action in menu.actions():
        yield action
        if action.menu() is not None:
            yield from _all_actions(action.menu())


# --- reading micrographs ---------------------------------------------------------------------------------------------


def test_a_micrograph_opens_in_nanometres_and_unflipped(make_napari_viewer, folder, simulated):
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(folder / "one.mrc"), plugin=PLUGIN)
    np.testing.assert_array_equal(layer.data, simulated)
    assert layer.name == "one"
    np.testing.assert_allclose(layer.scale, PIXEL_A / 10)
    assert {str(unit) for unit in layer.units} == {"nanometer"}
    low, high = layer.contrast_limits
    assert simulated.min() < low < np.median(simulated) < high < simulated.max()


def test_a_pixel_size_that_is_not_believed_leaves_pixels(make_napari_viewer, tmp_path, simulated):
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(write_mrc(tmp_path / "one.mrc", simulated, 1.0)), plugin=PLUGIN)
    np.testing.assert_array_equal(layer.scale, 1)
    assert {str(unit) for unit in layer.units} == {"pixel"}


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_compressed_micrographs(make_napari_viewer, tmp_path, simulated, ending):
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(write_mrc(tmp_path / f"one.mrc{ending}", simulated)), plugin=PLUGIN)
    np.testing.assert_array_equal(layer.data, simulated)
    assert layer.name == "one"


def test_a_stack_is_mapped(make_napari_viewer, tmp_path, simulated):
    stack = np.stack([simulated, simulated + 1, simulated + 2])
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(write_mrc(tmp_path / "movie.mrcs", stack)), plugin=PLUGIN)
    assert isinstance(layer.data, np.memmap)
    np.testing.assert_array_equal(layer.data, stack)
    np.testing.assert_allclose(layer.scale, (1, PIXEL_A / 10, PIXEL_A / 10))


def test_a_broken_micrograph_says_what_is_wrong(make_napari_viewer, tmp_path):
    (tmp_path / "bad.mrc").write_text("this is no micrograph\n" * 100)
    viewer = make_napari_viewer(show=False)
    with pytest.raises(FormatError, match=r"bad\.mrc: is text"):
        viewer.open(str(tmp_path / "bad.mrc"), plugin=PLUGIN)
    assert not viewer.layers


# --- reading coordinates ---------------------------------------------------------------------------------------------


def test_a_cryoppp_csv_finds_its_micrograph(make_napari_viewer, labelled):
    viewer = make_napari_viewer(show=False)
    viewer.open(str(labelled.parents[2] / "micrographs" / "one.mrc"), plugin=PLUGIN)
    (layer,) = viewer.open(str(labelled), plugin=PLUGIN)
    np.testing.assert_array_equal(layer.data, [[HEIGHT - 20, 10], [HEIGHT - 300, 100]])
    np.testing.assert_array_equal(layer.size, 30)
    np.testing.assert_array_equal(layer.scale, viewer.layers["one"].scale)
    assert list(layer.features["decision"]) == ["undecided", "undecided"]
    assert layer.features["score"].isna().all()


def test_a_cryoppp_csv_without_its_micrograph_is_refused_not_mirrored(make_napari_viewer, labelled, tmp_path):
    alone = tmp_path / "elsewhere" / "deep" / "down" / "here" / "one.csv"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(labelled.read_bytes())
    viewer = make_napari_viewer(show=False)
    with pytest.raises(FormatError, match="the height of its micrograph one is not known"):
        viewer.open(str(alone), plugin=PLUGIN)
    assert not viewer.layers
    # an image of another name does not help, one of the same name does
    viewer.add_image(np.zeros((77, 50)), name="other")
    with pytest.raises(FormatError, match="height"):
        viewer.open(str(alone), plugin=PLUGIN)
    viewer.open(str(labelled.parents[2] / "micrographs" / "one.mrc"), plugin=PLUGIN)
    (layer,) = viewer.open(str(alone), plugin=PLUGIN)
    np.testing.assert_array_equal(layer.data, [[HEIGHT - 20, 10], [HEIGHT - 300, 100]])


def test_a_picture_does_not_lend_its_height(make_napari_viewer, labelled, tmp_path):
    """CryoPPP_Lite's pictures are upside down against the MRCs."""
    from PIL import Image as Picture

    alone = tmp_path / "elsewhere" / "deep" / "down" / "here" / "one.csv"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(labelled.read_bytes())
    Picture.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(alone.with_name("one.jpg"))
    viewer = make_napari_viewer(show=False)
    viewer.open(str(alone.with_name("one.jpg")), plugin="napari")
    with pytest.raises(FormatError, match="height"):
        viewer.open(str(alone), plugin=PLUGIN)


def test_napari_reads_its_own_csv(make_napari_viewer, tmp_path):
    own = tmp_path / "points.csv"
    own.write_text("index,axis-0,axis-1\n0,1.0,2.0\n1,3.0,4.0\n")
    viewer = make_napari_viewer(show=False)
    with pytest.raises(ValueError, match="refused the file"):
        viewer.open(str(own), plugin=PLUGIN)
    layers, reader = npe2.io_utils.read_get_reader([str(own)], stack=False)
    assert reader.plugin_name == "napari"
    np.testing.assert_array_equal(layers[0][0], [[1, 2], [3, 4]])


def test_a_star_of_two_micrographs_is_two_layers(make_napari_viewer, tmp_path):
    star = tmp_path / "particles.star"
    star.write_text(
        "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
        "_rlnAutopickFigureOfMerit #4\na.mrc 5 6 0.5\na.mrc 7 8 0.25\nb.mrc 9 10 1\n"
    )
    viewer = make_napari_viewer(show=False)
    first, second = viewer.open(str(star), plugin=PLUGIN)
    np.testing.assert_array_equal(first.data, [[6, 5], [8, 7]])
    assert list(first.features["score"]) == [0.5, 0.25]
    assert [first.visible, second.visible] == [True, False]
    assert [first.name, second.name] == ["a particles", "b particles"]


def test_an_added_point_inherits_nothing(make_napari_viewer, tmp_path):
    star = tmp_path / "a_manualpick.star"
    star.write_text("data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnAutopickFigureOfMerit\n5 6 0.5\n7 8 0.25\n")
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(star), plugin=PLUGIN)
    layer.selected_data = {0}
    layer.add([20, 30])
    layer.add([40, 50])  # napari turns text columns into str at the second
    assert layer.features["score"].isna().tolist() == [False, False, True, True]
    assert layer.features["row"].isna().tolist() == [False, False, True, True]
    layer.selected_data = {1}
    layer.remove_selected()
    layer.add([60, 70])
    assert layer.features["score"].isna().tolist() == [False, True, True, True]


# --- writing ---------------------------------------------------------------------------------------------------------


def test_cryoppp_round_trip(make_napari_viewer, labelled, tmp_path):
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(labelled), plugin=PLUGIN)
    out = tmp_path / "out" / "one.csv"
    assert layer.save(str(out), plugin=PLUGIN) == [str(out)]
    assert out.read_text() == labelled.read_text()
    assert [p.name for p in out.parent.iterdir()] == ["one.csv"]


def test_rejected_points_go_beside(make_napari_viewer, labelled, tmp_path):
    viewer = make_napari_viewer(show=False)
    (layer,) = viewer.open(str(labelled), plugin=PLUGIN)
    table = layer.features.copy()
    table.loc[0, "decision"] = "rejected"
    layer.features = table
    written = layer.save(str(tmp_path / "one.csv"), plugin=PLUGIN)
    assert [Path(p).name for p in written] == ["one.csv", "one_false_positives.csv"]
    assert Path(written[0]).read_text().splitlines()[1:] == ["100,300,30"]
    assert Path(written[1]).read_text().splitlines()[1:] == ["10,20,30"]


def test_relion_round_trip(make_napari_viewer, folder, tmp_path):
    viewer = make_napari_viewer(show=False)
    viewer.open(str(folder / "one.mrc"), plugin=PLUGIN)
    layer = viewer.add_points([[6.5, 5], [8, 7]], size=20, scale=viewer.layers[0].scale, units="nm")
    out = tmp_path / "coordinates.star"
    assert layer.save(str(out), plugin=PLUGIN) == [str(out)]
    (back,) = viewer.open(str(out), plugin=PLUGIN)
    np.testing.assert_array_equal(back.data, layer.data)


def test_points_over_one_open_micrograph_know_its_height(make_napari_viewer, folder, tmp_path):
    viewer = make_napari_viewer(show=False)
    (image,) = viewer.open(str(folder / "one.mrc"), plugin=PLUGIN)
    points = viewer.add_points([[300.0, 7.0]], size=20, scale=image.scale, units="nm")
    points.save(str(tmp_path / "one.csv"), plugin=PLUGIN)
    assert (tmp_path / "one.csv").read_text().splitlines()[1] == f"7,{HEIGHT - 300},20"
    # a second micrograph: which one is meant is not certain, until it is said
    viewer.open(str(folder / "two.mrc"), plugin=PLUGIN)
    with pytest.raises(FormatError, match="not certain"):
        points.save(str(tmp_path / "again.csv"), plugin=PLUGIN)
    viewer.layers.selection = {points, image}
    viewer.layers.save(str(tmp_path / "again.csv"), selected=True, plugin=PLUGIN)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "one.csv").read_text()


def test_points_in_other_pixels_are_refused(make_napari_viewer, folder, labelled, tmp_path):
    viewer = make_napari_viewer(show=False)
    viewer.open(str(folder / "one.mrc"), plugin=PLUGIN)
    binned = viewer.add_points([[30.0, 7.0]], scale=viewer.layers[0].scale * 4, units="nm")
    with pytest.raises(FormatError, match="differ in scale"):
        binned.save(str(tmp_path / "x.csv"), plugin=PLUGIN)
    (moved,) = viewer.open(str(labelled), plugin=PLUGIN)
    moved.translate = (5, 0)
    with pytest.raises(FormatError, match="moved or turned"):
        moved.save(str(tmp_path / "x.csv"), plugin=PLUGIN)
    assert not (tmp_path / "x.csv").exists()


def test_points_over_nothing_are_refused(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer(show=False)
    points = viewer.add_points([[30.0, 7.0]])
    for name in ("x.csv", "x.star"):
        with pytest.raises(FormatError, match="not certain"):
            points.save(str(tmp_path / name), plugin=PLUGIN)


def test_plain_saving_stays_naparis(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer(show=False)
    viewer.add_points([[30.0, 7.0]]).save(str(tmp_path / "x.csv"))
    assert (tmp_path / "x.csv").read_text().startswith("index,axis-0,axis-1")


# --- sample data -----------------------------------------------------------------------------------------------------


def test_sample(make_napari_viewer):
    viewer = make_napari_viewer(show=False)
    image, truth = viewer.open_sample(PLUGIN, "simulated")
    np.testing.assert_array_equal(image.scale, truth.scale)
    assert isinstance(truth, Points)
    assert len(truth.data) >= 40
    assert (truth.data >= 0).all()
    assert (truth.data < image.data.shape).all()
    # particles are dark
    diameter = float(truth.size[0])
    contrast = uniform_filter(image.data, round(diameter / 1.2)) - uniform_filter(image.data, round(3 * diameter))
    rows, columns = np.round(truth.data).astype(int).T
    assert contrast[rows, columns].mean() < contrast.mean() - contrast.std()


# --- the widget among other layers -----------------------------------------------------------------------------------


class Guest:
    """A viewer with somebody else's layers, into which our widget comes and from which it goes."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        rng = np.random.default_rng(0)
        self.image = viewer.add_image(rng.random((60, 80)), name="micrograph", scale=(2, 2), opacity=0.7)
        self.points = viewer.add_points(
            [[10.0, 10], [20, 20], [30, 30]], name="particles", size=4, features={"kind": ["a", "b", "c"]}
        )
        self.hidden = viewer.add_labels(np.zeros((60, 80), int), name="labels", visible=False)
        self.points.selected_data = {1}
        viewer.layers.selection.active = self.points
        self.points.mode = "select"
        viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 50, 60), 3.5
        self.pressed = pressed = []
        viewer.bind_key("Control-Z", lambda _viewer: pressed.append("viewer"), overwrite=True)
        self.before = self.state()
        self.around = self.surroundings()

    def state(self) -> list:
        """All that is theirs."""
        state = []
        for layer in (self.image, self.points, self.hidden):
            state += [layer in self.viewer.layers, layer.name, layer.visible, layer.opacity, str(layer.mode)]
            state += [tuple(layer.scale), tuple(map(str, layer.units)), np.asarray(layer.data).tolist()]
        state += [sorted(self.points.selected_data), self.points.features.to_dict(), self.points.size.tolist()]
        return state

    def surroundings(self) -> dict:
        """What the viewer has for everybody."""
        viewer, window = self.viewer, self.viewer.window
        return {
            "layers": [layer.name for layer in viewer.layers],
            "docks": sorted(d.objectName() for d in window._qt_window.findChildren(QDockWidget)),
            "named": sorted(window._wrapped_dock_widgets),
            "menus": [a.text() for a in window._qt_window.menuBar().actions() if a.isVisible()],
            "window menu": sorted(a.text() for a in window.window_menu.actions()),
            "drag": list(viewer.mouse_drag_callbacks),
            "move": list(viewer.mouse_move_callbacks),
            "double": list(viewer.mouse_double_click_callbacks),
            "wheel": list(viewer.mouse_wheel_callbacks),
            "keys": dict(viewer.keymap),
            "removed": len(viewer.layers.events.removed.callbacks),
            "scale bar": viewer.canvas.overlays.scale_bar.visible,
            "camera": (viewer.scene.camera.center, viewer.scene.camera.zoom, viewer.scene.camera.orientation),
            "canvas": len(window._qt_viewer.canvas.native.children()),
            "threads": sorted(t.name for t in threading.enumerate() if t.name.startswith(("job", "cryoppp", "Thread"))),
        }

    def add_widget(self) -> Annotator:
        dock, widget = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Annotator")
        assert isinstance(widget, Annotator)
        assert widget.viewer is not None
        self.dock = dock
        return widget

    def open(self, widget: Annotator, folder: Path) -> None:
        with self.qtbot.waitSignal(widget.ready, timeout=LIMIT_MS):
            widget.open_path(folder)

    def settle(self, check: Callable[[], bool] = lambda: True) -> None:
        """Let Qt delete what is to be deleted, until ``check`` holds; the caller asserts it, to say what does not."""
        limit = time.monotonic() + LIMIT_MS / 1000
        for n in itertools.count(1):
            self.qtbot.wait(20)
            QApplication.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
            QApplication.processEvents()
            if (n >= 5 and check()) or time.monotonic() > limit:
                return

    def key(self, key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        canvas = self.viewer.window._qt_viewer.canvas.native
        canvas.setFocus()
        QTest.keyClick(canvas, key, modifier)
        QApplication.processEvents()


@pytest.fixture
def guest(make_napari_viewer, qtbot):
    made = Guest(make_napari_viewer(show=True), qtbot)
    yield made
    vars(made).clear()  # pytest keeps what a fixture gave, and make_napari_viewer fails where a viewer is kept


def test_opening_leaves_other_layers_alone(guest, folder):
    before = guest.before
    widget = guest.add_widget()
    guest.open(widget, folder)
    assert guest.state() == before
    ours = [layer.name for layer in guest.viewer.layers if layer not in (guest.image, guest.points, guest.hidden)]
    assert len(ours) == 2
    # beside layers in pixels ours are in pixels too: napari draws mixed units as if they had none
    assert {str(u) for layer in guest.viewer.layers for u in layer.units} == {"pixel"}
    assert widget.bench.particles_layer.layer is guest.viewer.layers.selection.active


def test_among_nanometres_we_are_in_nanometres(make_napari_viewer, qtbot, folder):
    viewer = make_napari_viewer(show=False)
    told.records.clear()
    viewer.open(str(folder / "one.mrc"), plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Annotator")
    with qtbot.waitSignal(widget.ready, timeout=LIMIT_MS):
        widget.open_path(folder)
    assert {str(u) for layer in viewer.layers for u in layer.units} == {"nanometer"}
    assert not [note for note in told.records if "Inconsistent units" in note.message]
    viewer.add_points([[1.0, 2.0]])  # so that we know that napari would have said it
    assert [note for note in told.records if "Inconsistent units" in note.message]


@pytest.mark.any_qt
def test_keys_and_clicks_on_other_layers_stay_theirs(guest, folder):
    widget = guest.add_widget()
    guest.open(widget, folder)
    bench = widget.bench
    bench.session.add(50, 50)
    guest.viewer.layers.selection.active = guest.points
    guest.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert guest.pressed == ["viewer"]
    assert len(bench.session.particles) == 1
    guest.points.selected_data = {0}
    guest.key(Qt.Key.Key_Delete)
    assert len(guest.points.data) == 2
    assert len(bench.session.particles) == 1
    # and ours are ours
    guest.viewer.layers.selection.active = bench.particles_layer.layer
    guest.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert guest.pressed == ["viewer"]
    assert len(bench.session.particles) == 0


def _close_by_button(guest, widget):
    guest.dock.title.close_button.click()


def _close_by_window(guest, widget):
    guest.viewer.window.remove_dock_widget(guest.dock)


def _close_by_widget(guest, widget):
    guest.viewer.window.remove_dock_widget(widget)


def _close_all(guest, widget):
    guest.viewer.window.remove_dock_widget("all")


def _close_project_first(guest, widget):
    widget.close_project()
    guest.viewer.window.remove_dock_widget(guest.dock)


@pytest.mark.any_qt
@pytest.mark.parametrize(
    "close", [_close_by_button, _close_by_window, _close_by_widget, _close_all, _close_project_first]
)
def test_closing_leaves_no_trace(guest, folder, close):
    widget = guest.add_widget()
    guest.open(widget, folder)
    session, runner = widget.bench.session, widget.runner
    session.add(50, 50)
    guest.viewer.scene.camera.orientation2d = ("up", "right")
    close(guest, widget)
    guest.qtbot.waitUntil(lambda: runner._closed, timeout=LIMIT_MS)
    guest.settle(lambda: guest.surroundings() == guest.around)
    assert guest.state() == guest.before
    assert guest.surroundings() == guest.around
    assert guest.state() == guest.before
    # napari's own keys work again
    guest.viewer.layers.selection.active = guest.points
    guest.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert guest.pressed == ["viewer"]
    guest.points.selected_data = {0}
    guest.key(Qt.Key.Key_Delete)
    assert len(guest.points.data) == 2
    guest.points.add([5, 5])
    assert len(guest.points.data) == 3


def test_closing_the_project_keeps_the_start_page(guest, folder):
    widget = guest.add_widget()
    with_start_page = guest.surroundings()
    guest.open(widget, folder)
    widget.close_project()
    guest.settle(lambda: guest.surroundings()["canvas"] == with_start_page["canvas"])
    after = guest.surroundings()
    for name in ("layers", "docks", "named", "menus", "window menu", "drag", "move", "double", "removed", "canvas"):
        assert after[name] == with_start_page[name], name
    assert guest.state() == guest.before
    guest.open(widget, folder)  # and again
    assert [m.name for m in widget.bench.session.micrographs] == ["one", "two"]
    assert guest.state() == guest.before


@pytest.mark.any_qt
def test_opening_again_after_the_dock_was_closed(guest, folder):
    for n in range(3):
        widget = guest.add_widget()
        guest.open(widget, folder)
        assert len(widget.bench.session.particles) == n
        widget.bench.session.add(60 * (n + 1), 100)
        guest.dock.title.close_button.click()
        guest.settle(lambda: guest.surroundings() == guest.around)
    assert guest.surroundings() == guest.around
    assert guest.state() == guest.before


@pytest.mark.any_qt
def test_the_dock_can_be_hidden_and_shown(guest, folder):
    widget = guest.add_widget()
    guest.open(widget, folder)
    guest.dock.title.hide_button.click()
    guest.settle()
    assert widget.bench is not None
    guest.dock.show()
    guest.dock.setFloating(True)
    guest.settle()
    guest.dock.setFloating(False)
    guest.settle()
    assert widget.bench is not None
    widget.bench.session.add(50, 50)


def test_another_plugin_that_came_while_we_were_open_stays(guest, folder):
    widget = guest.add_widget()
    guest.open(widget, folder)

    def theirs(_viewer, _event):
        """Somebody's double click."""

    guest.viewer.mouse_double_click_callbacks.append(theirs)
    guest.viewer.mouse_drag_callbacks.append(theirs)
    later = guest.viewer.add_points([[1.0, 2.0]], name="later")
    widget.close_project()
    assert theirs in guest.viewer.mouse_double_click_callbacks
    assert theirs in guest.viewer.mouse_drag_callbacks
    assert later in guest.viewer.layers


@pytest.mark.any_qt
def test_closing_the_viewer_with_an_open_project(make_napari_viewer, qtbot, folder):
    guest = Guest(make_napari_viewer(show=True), qtbot)
    widget = guest.add_widget()
    guest.open(widget, folder)  # make_napari_viewer closes the viewer and fails on what is left behind


@pytest.mark.any_qt
def test_deleted_layers_come_back(guest, folder):
    widget = guest.add_widget()
    guest.open(widget, folder)
    bench = widget.bench
    bench.session.add(50, 50)
    picture, particles = bench.picture_layer.layer, bench.particles_layer.layer
    for gone in ([particles], [picture], [picture, particles]):
        guest.viewer.layers.selection = set(gone)
        guest.viewer.layers.remove_selected()
        guest.settle(lambda: picture in guest.viewer.layers and particles in guest.viewer.layers)
        assert guest.viewer.layers.index(picture) < guest.viewer.layers.index(particles)
    assert len(bench.session.particles) == 1
    bench.session.add(150, 150)
    assert len(particles.data) == 2
    assert guest.state() == guest.before
    guest.viewer.layers.clear()
    guest.settle(lambda: picture in guest.viewer.layers and particles in guest.viewer.layers)
    assert len(bench.session.particles) == 2


# --- napari's own tools on our layer ---------------------------------------------------------------------------------


@pytest.fixture
def bench(make_napari_viewer, qtbot, folder):
    viewer = make_napari_viewer(show=True)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Annotator")
    with qtbot.waitSignal(widget.ready, timeout=LIMIT_MS):
        widget.open_path(folder)
    widget.bench.session.set_diameter(100.0)  # 20 px
    qtbot.wait(200)
    qtbot.waitUntil(lambda: not widget.bench.viewport.moving, timeout=LIMIT_MS)
    widget.bench.viewport.fit()
    return weakref.proxy(widget.bench)  # pytest keeps what a fixture gave


def steps(bench) -> int:
    return len(bench.session.history())


class Mouse:
    """Qt's mouse on napari's canvas, in micrograph pixels."""

    def __init__(self, bench):
        self.bench = bench
        self.canvas = bench.canvas

    def at(self, x: float, y: float) -> QPoint:
        camera, scale = self.bench.viewer.scene.camera, self.bench.particles_layer.layer.scale
        size = self.canvas.size()
        column = size.width() / 2 + (x * scale[-1] - camera.center[-1]) * camera.zoom
        row = size.height() / 2 + (y * scale[-2] - camera.center[-2]) * camera.zoom
        return QPoint(round(column), round(row))

    def click(self, x, y, button=Qt.MouseButton.LeftButton):
        QTest.mouseMove(self.canvas, self.at(x, y))
        QApplication.processEvents()
        QTest.mouseClick(self.canvas, button, pos=self.at(x, y))
        QApplication.processEvents()

    def drag(self, start, end, n=5):
        left = Qt.MouseButton.LeftButton
        QTest.mouseMove(self.canvas, self.at(*start))
        QApplication.processEvents()
        QTest.mousePress(self.canvas, left, pos=self.at(*start))
        QApplication.processEvents()
        for share in np.linspace(0, 1, n + 1)[1:]:
            here = np.array(start) + share * (np.array(end) - start)
            self._move(self.at(*here))
        QTest.mouseRelease(self.canvas, left, pos=self.at(*end))
        QApplication.processEvents()

    def _move(self, point):
        """QTest.mouseMove tells of no held button."""
        from qtpy.QtCore import QEvent, QPointF
        from qtpy.QtGui import QMouseEvent

        left = Qt.MouseButton.LeftButton
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(point),
            QPointF(self.canvas.mapToGlobal(point)),
            left,
            left,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas, event)
        QApplication.processEvents()


@pytest.mark.any_qt
def test_naparis_add_mode_adds_through_the_session(bench):
    session, layer = bench.session, bench.particles_layer.layer
    first = session.add(100, 100).new_id
    before = steps(bench)
    layer.mode = "add"
    Mouse(bench).click(200, 150)
    assert steps(bench) == before + 1
    assert len(session.particles) == 2
    new = session.particles.take(session.particles.id != first)
    assert float(new.x[0]) == pytest.approx(200, abs=2)
    assert float(new.y[0]) == pytest.approx(150, abs=2)
    assert new.id[0] > first
    assert np.isnan(new.score[0])
    assert new.class_id[0] == 0
    assert new.decision[0] == Decision.ACCEPTED
    np.testing.assert_array_equal(bench.particles_layer.ids, session.particles.id)
    np.testing.assert_array_equal(layer.data, session.particles.yx)
    # too close to another: refused, and the picture says the truth
    Mouse(bench).click(202, 151)
    assert len(session.particles) == len(layer.data) == 2
    session.undo()
    assert len(session.particles) == len(layer.data) == 1
    Mouse(bench).click(200, 150)
    assert session.particles.id[-1] > new.id[0], "an id is never used again"


@pytest.mark.any_qt
def test_naparis_drag_is_one_step(bench):
    session, layer = bench.session, bench.particles_layer.layer
    moved, still = session.add(100, 100).new_id, session.add(300, 200).new_id
    before = steps(bench)
    layer.mode = "select"
    mouse = Mouse(bench)
    mouse.click(100, 100)
    assert bench.focus.selected.tolist() == [moved]
    mouse.drag((100, 100), (160, 130))
    assert steps(bench) == before + 1
    p = session.particles
    assert (p.x[0], p.y[0]) == pytest.approx((160, 130), abs=3)
    assert (p.x[1], p.y[1]) == (300, 200)
    assert p.id.tolist() == [moved, still]
    session.undo()
    assert session.particles.yx.tolist() == [[100, 100], [200, 300]]
    np.testing.assert_array_equal(layer.data, session.particles.yx)


@pytest.mark.any_qt
def test_dragging_two_is_one_step(bench):
    session, layer = bench.session, bench.particles_layer.layer
    ids = [session.add(100, 100).new_id, session.add(150, 200).new_id, session.add(300, 200).new_id]
    before = steps(bench)
    layer.mode = "select"
    bench.focus.select(ids[:2])
    Mouse(bench).drag((100, 100), (120, 110))
    assert steps(bench) == before + 1
    p = session.particles
    assert (p.x - [100, 150, 300]).tolist() == pytest.approx([20, 20, 0], abs=2)
    assert bench.focus.selected.tolist() == ids[:2]


def test_napari_deleting_is_a_verb(bench):
    session, layer = bench.session, bench.particles_layer.layer
    ids = [session.add(100, 100).new_id, session.add(100, 100, anyway=True).new_id, session.add(300, 200).new_id]
    before = steps(bench)
    layer.mode = "select"
    layer.selected_data = {1}
    layer.remove_selected()
    assert session.particles.id.tolist() == [ids[0], ids[2]], "of two at one place the selected one goes"
    assert steps(bench) == before + 1
    session.undo()
    assert session.particles.id.tolist() == ids
    layer.remove([0])
    assert session.particles.id.tolist() == ids[1:]
    assert len(bench.focus.selected) == 0
    np.testing.assert_array_equal(bench.particles_layer.ids, ids[1:])


def test_data_set_from_outside_is_put_right(bench):
    session, layer = bench.session, bench.particles_layer.layer
    session.add(100, 100)
    layer.data = np.zeros((5, 2))
    np.testing.assert_array_equal(layer.data, session.particles.yx)
    layer.data = np.array([[40.0, 60.0]])
    assert session.particles.yx.tolist() == [[40, 60]]


@pytest.mark.any_qt
def test_our_mouse_in_naparis_pan_mode(bench):
    mouse = Mouse(bench)
    assert str(bench.particles_layer.layer.mode) == "pan_zoom"
    mouse.click(120, 80)
    assert bench.session.particles.yx == pytest.approx(np.array([[80, 120]]), abs=2)
    mouse.drag((120, 80), (200, 200))
    assert bench.session.particles.yx == pytest.approx(np.array([[200, 200]]), abs=3)
    mouse.click(200, 200, Qt.MouseButton.RightButton)
    assert bench.session.particles.decision.tolist() == [Decision.REJECTED]
