"""Plain napari: every coordinate format in and out, folders, the command palette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.plugins import _npe2
from window import HEIGHT, WIDTH, discs, places, write_mrc

from cryoppp_annotator import extensions

PLUGIN = "cryoppp-annotator"
#: Format, name of the file; cryoSPARC's needs a file to fill, and has a test of its own.
WRITTEN = {
    "cryoppp": "one.csv",
    "relion": "one_manualpick.star",
    "box": "one.box",
    "cbox": "one.cbox",
    "cistem-plt": "one.plt",
    "coco": "one.json",
    "eman2": "one_info.json",
    "epicker": "one.thi",
    "relion-particles": "particles.star",
    "table": "table.csv",
    "topaz": "one.txt",
    "xmipp": "one.pos",
    "yolo": "yolo/one.txt",
}


@pytest.fixture
def viewer(make_napari_viewer: Any, tmp_path: Path) -> Any:
    """napari with one micrograph and forty points on it."""
    viewer = make_napari_viewer(show=False)
    (image,) = viewer.open(str(write_mrc(tmp_path / "micrographs" / "one.mrc", discs())), plugin=PLUGIN)
    viewer.add_points(places()[:, ::-1], size=20, scale=image.scale, units="nm", name="mine")
    return viewer


def writer_of(name: str) -> Any:
    command = f"{PLUGIN}.write_{name.removesuffix('-plt').replace('-', '_')}"
    (writer,) = [w for w in _npe2.pm.iter_compatible_writers(["points", "image"]) if w.command == command]
    return writer


def test_every_format_that_we_write_is_saved_and_opened(viewer: Any, tmp_path: Path) -> None:
    formats = extensions.formats()
    assert set(WRITTEN) | {"cryosparc"} == {name for name, f in formats.items() if f.can_write}
    points, image = viewer.layers["mine"], viewer.layers["one"]
    for name, file in WRITTEN.items():
        path = tmp_path / "out" / name / file
        data = [points.as_layer_data_tuple(), image.as_layer_data_tuple()]
        written = writer_of(name).exec(args=(str(path), data))
        assert written[0] == str(path), name
        assert path.is_file(), name
        (back,) = viewer.open(str(path), plugin=PLUGIN)
        assert back.metadata["cryoppp_annotator"]["format"] == name
        np.testing.assert_allclose(back.data, points.data, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(back.scale, image.scale, err_msg=name)
        viewer.layers.remove(back)


def test_every_ending_that_we_read_is_ours(viewer: Any) -> None:
    for name, known in extensions.formats().items():
        for ending in known.extensions if known.can_read else ():
            assert PLUGIN in _npe2.get_readers(f"a{ending}"), (name, ending)


def test_a_folder_of_coordinate_files_is_read(viewer: Any, tmp_path: Path) -> None:
    folder = tmp_path / "boxes"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.box").write_text("10 20 30 30\n")
    first, second = viewer.open(str(folder), plugin=PLUGIN)
    assert [first.name, second.name] == ["one particles", "two particles"]
    np.testing.assert_array_equal(first.data, [[35, 25]])
    with pytest.raises(ValueError, match=r"refused"):
        viewer.open(str(tmp_path / "micrographs"), plugin=PLUGIN)


def test_no_command_of_the_palette_fails(make_napari_viewer: Any, caplog: pytest.LogCaptureFixture) -> None:
    viewer = make_napari_viewer(show=True)
    app = get_app_model()
    palette = app.menus.get_menu(app.menus.COMMAND_PALETTE_ID)
    ours = [item.command for item in palette if item.command.id.startswith(PLUGIN)]
    assert f"{PLUGIN}.read_coordinates" in {command.id for command in ours}
    shown = [command for command in ours if command.enablement is None or command.enablement.eval({})]
    assert {command.id.removeprefix(PLUGIN)[1:] for command in shown} == {"annotator", "simulated"}
    for command in ours:
        app.commands.execute_command(command.id).result()
    assert len(viewer.layers) == 2, "the sample"
    (widget,) = viewer.window._wrapped_dock_widgets.values()
    assert widget.widget().bench is None
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_cryosparc_comes_back_as_a_filled_copy(viewer: Any, tmp_path: Path) -> None:
    from cryosparc.dataset import Dataset

    n = 5
    fields: list[Any] = [("location/micrograph_path", "O"), ("location/micrograph_shape", "<u4", (2,))]
    fields += [("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4")]
    data = Dataset.allocate(n, fields)
    data["location/micrograph_path"] = ["J1/one.mrc"] * n
    data["location/micrograph_shape"] = [[HEIGHT, WIDTH]] * n
    data["location/center_x_frac"] = places()[:n, 0] / WIDTH
    data["location/center_y_frac"] = 1 - places()[:n, 1] / HEIGHT
    data.save(str(tmp_path / "in.cs"))
    (layer,) = viewer.open(str(tmp_path / "in.cs"), plugin=PLUGIN)
    np.testing.assert_allclose(layer.data, places()[:n, ::-1], atol=1e-3)
    layer.data = layer.data + np.array([3, 0])
    out = tmp_path / "out" / "moved.cs"
    layer.save(str(out), plugin=PLUGIN)
    (back,) = viewer.open(str(out), plugin=PLUGIN)
    np.testing.assert_allclose(back.data, layer.data, atol=1e-3)
