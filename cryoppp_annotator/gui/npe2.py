"""What the napari manifest names besides the widget: readers, writers and sample data.

Everything is done in :mod:`.layers.layer_data` and :mod:`.layers.saving`. A reader that returns None leaves the file to
other readers. napari lists all of them in its command palette, where nothing is handed over: they then say where they
are found, and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Layer
from napari.utils.notifications import show_info

from .layers import layer_data, saving

LayerData = tuple[Any, dict[str, Any], str]
Writer = Callable[..., list[str]]


def micrograph_reader(path: str | Sequence[str] = ()) -> Callable[[str], list[LayerData]] | None:
    """A reader for one MRC file (napari reads TIFF, PNG and JPEG itself)."""
    if not path:
        show_info("Micrographs are opened with File > Open Files, or dropped into the window.")
    return (lambda p: [layer_data.micrograph_layer(Path(p))]) if path and isinstance(path, str) else None


def coordinate_reader(path: str | Sequence[str] = ()) -> Callable[[str], list[Layer]] | None:
    """A reader for a coordinate file or a folder of them; None for what is something else."""
    if not path:
        show_info("Particle coordinates are opened with File > Open Files or Open Folder, or dropped into the window.")
    return (lambda p: layer_data.points_layers(Path(p))) if path and layer_data.is_coordinate_file(path) else None


def _writer(format: str) -> Writer:
    """What writes one Points layer in a format."""

    def write(path: str = "", layers: Sequence[LayerData] = ()) -> list[str]:
        if not path:
            show_info("Points are saved with File > Save Selected Layers, where the format is chosen as the type.")
            return []
        return [str(file) for file in saving.write_points(Path(path), layers, format)]

    write.__doc__ = f"Write one Points layer in the format {format}."
    return write


write_cryoppp = _writer("cryoppp")
write_relion = _writer("relion")
write_relion_particles = _writer("relion-particles")
write_box = _writer("box")
write_cbox = _writer("cbox")
write_cistem = _writer("cistem-plt")
write_coco = _writer("coco")
write_cryosparc = _writer("cryosparc")
write_eman2 = _writer("eman2")
write_epicker = _writer("epicker")
write_table = _writer("table")
write_topaz = _writer("topaz")
write_xmipp = _writer("xmipp")
write_yolo = _writer("yolo")


def simulated_micrograph() -> list[LayerData]:
    """A small micrograph and where its particles are."""
    return layer_data.sample()
