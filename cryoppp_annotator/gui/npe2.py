"""What the napari manifest names besides the widget: readers, writers and sample data.

Everything is done in :mod:`.layers.convert`. A reader that returns None leaves the file to other readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Layer

from .layers import layer_data

LayerData = tuple[Any, dict[str, Any], str]


def micrograph_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader for one MRC file (napari reads TIFF, PNG and JPEG itself)."""
    return (lambda p: [layer_data.micrograph_layer(Path(p))]) if isinstance(path, str) else None


def coordinate_reader(path: str | Sequence[str]) -> Callable[[str], list[Layer]] | None:
    """A reader for a coordinate file; None for a CSV of something else."""
    return (lambda p: layer_data.points_layers(Path(p))) if layer_data.is_coordinate_file(path) else None


def write_cryoppp(path: str, layers: list[LayerData]) -> list[str]:
    """Write one Points layer as CryoPPP's CSV."""
    return [str(file) for file in layer_data.write_points(Path(path), layers, "cryoppp")]


def write_relion(path: str, layers: list[LayerData]) -> list[str]:
    """Write one Points layer as RELION's coordinate STAR."""
    return [str(file) for file in layer_data.write_points(Path(path), layers, "relion")]


def simulated_micrograph() -> list[LayerData]:
    """A small micrograph and where its particles are."""
    return layer_data.sample()
