"""Files to napari layers, for napari without our panel; back to files: :mod:`.saving`.

Points are canonical (pixels of the stored micrograph, row 0 = first row of the file, ``(row, column)``); a layer's
scale makes nanometres of them where the pixel size is believed. CryoPPP counts y from the last row, so that its files
are read and written only where the micrograph's height is certain: picks are never mirrored by a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Image, Points

from ... import extensions
from ...errors import FormatError
from ...formats import registry
from ...formats.image import images
from ...imaging.contrast import robust_limits
from ...imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from ...model.coordinates import Orientation, to_yx
from ...model.curation import Decision
from ...model.micrograph import pixel_size_doubt
from ...model.pickfile import FilePicks, PickFile
from .styles import HEX, WIDTH, WORDS

#: Key of what we note in ``layer.metadata``.
NOTE = "cryoppp_annotator"
#: A file with more micrographs than this is for the panel, not for a pile of layers.
MOST_LAYERS = 40
#: How napari's own CSV of a Points layer begins.
_OWN_CSV = b"index,axis-0"
#: Entries of a folder that are looked at, to know whether it holds coordinates.
_LOOK_AT = 500

PICTURES = (".png", ".jpg", ".jpeg")
_SIMULATED = SimulationParameters(
    size=(1024, 1024),
    pixel_size_A=3.54,
    structure="shell",
    n_particles=60,
    n_views=48,
    carbon_probability=0.0,
    snr=0.5,
    seed=17,
)

LayerData = tuple[Any, dict[str, Any], str]


# --- micrographs ---------------------------------------------------------------------------------------------------


def micrograph_layer(path: Path) -> LayerData:
    """One MRC file as an Image layer.

    A single image is read into memory, a stack is memory-mapped, ``(frame, row, column)``.

    Raises
    ------
    FormatError
    """
    info = images.probe(path)
    pixels = np.array(images.read(path)) if info.n_frames == 1 else _stack(info)
    scale, units = _world(info.pixel_size_A)
    ahead = pixels.ndim - 2
    middle = pixels[len(pixels) // 2] if ahead else pixels
    described = {
        "name": images.micrograph_name(path),
        "scale": (1.0,) * ahead + (scale, scale),
        "units": ("pixel",) * ahead + (units, units),
        "contrast_limits": robust_limits(middle),
        "colormap": "gray",
        "rgb": False,
        "metadata": {NOTE: note_of(path, info.width, info.height, info.pixel_size_A)},
    }
    return pixels, described, "image"


def _stack(info: images.ImageInfo) -> np.ndarray[Any, Any]:
    first = images.read(info.path, 0)
    if isinstance(first, np.memmap) and info.kind == "mrc":
        shape = (info.n_frames, info.height, info.width)
        return np.memmap(info.path, first.dtype, "r", first.offset, shape)
    return np.stack([first, *(images.read(info.path, frame) for frame in range(1, info.n_frames))])


def _world(pixel_size_A: float | None) -> tuple[float, str]:
    """World units per pixel: nanometres where the pixel size is believed, else pixels."""
    if pixel_size_A is None or pixel_size_doubt(pixel_size_A):
        return 1.0, "pixel"
    return pixel_size_A / 10.0, "nm"


def note_of(path: Path | None, width: int, height: int, pixel_size_A: float | None) -> dict[str, Any]:
    """What is noted in a layer of the micrograph that it shows, or that its points are of."""
    return {
        "path": "" if path is None else str(path),
        "width": width,
        "height": height,
        "pixel_size_A": pixel_size_A,
        "pixel_size_doubt": pixel_size_doubt(pixel_size_A),
    }


# --- coordinate files to layers --------------------------------------------------------------------------------------


def is_coordinate_file(path: str | Sequence[str]) -> bool:
    """Whether a path is one file or folder that a coordinate format knows; napari's own CSVs are napari's."""
    if not isinstance(path, str):
        return False
    place = Path(path)
    try:
        if place.is_dir():
            return _is_coordinate_folder(place)
        return place.suffix.lower() == ".star" or _is_known(place)
    except (FormatError, OSError):
        return False


def _is_known(path: Path) -> bool:
    if path.suffix.lower() == ".csv" and path.read_bytes()[: len(_OWN_CSV)] == _OWN_CSV:
        return False
    return bool(registry.sniff(path, extensions.formats().values()))


def _is_coordinate_folder(folder: Path) -> bool:
    """Whether a folder is a source as a whole, or a file in it (the first few of each folder) is one."""
    if registry.sniff(folder, extensions.formats().values()):
        return True
    endings = tuple({e for f in extensions.formats().values() if f.can_read for e in f.extensions})
    files = (file for pattern in ("*", "*/*") for file in islice(sorted(folder.glob(pattern)), _LOOK_AT))
    return any(file.name.lower().endswith(endings) and file.is_file() and _is_known(file) for file in files)


def points_layers(path: Path) -> list[Points]:
    """One Points layer for each micrograph of a coordinate file; all but the first hidden.

    Layers, not layer data: a point added by hand must not inherit the score of the one selected before it.

    Raises
    ------
    FormatError
        The file is bad, is of too many micrographs, or counts y from the last row of a micrograph whose height
        nobody knows.
    """
    file = registry.read_any(path, list(extensions.formats().values()))
    if len(file.picks) > MOST_LAYERS:
        raise FormatError(
            f"is of {len(file.picks)} micrographs; open the micrographs with Plugins > Annotator (CryoPPP Annotator) "
            "and import it there",
            path,
        )
    merged: dict[str, list[FilePicks]] = {}
    for picks in file.picks:
        merged.setdefault(picks.micrograph, []).append(picks)
    layers = [_points(file, picks) for group in merged.values() for picks in group]
    for layer in layers[1:]:
        layer.visible = False
    return layers


@dataclass(frozen=True)
class _Place:
    """The micrograph picks belong to, as far as it is known."""

    path: Path | None = None
    width: int = 0
    height: int = 0
    pixel_size_A: float | None = None
    scale: float = 1.0
    units: str = "pixel"


def _points(file: PickFile, picks: FilePicks) -> Points:
    place = _place(file, picks)
    x, y = picks.positions(file.frame, place.height, place.path or "")
    diameter = _diameters(picks, place) * file.frame.scale
    features = _features(picks)
    decision = np.broadcast_to(np.asarray(picks.decision, np.int8), (len(picks),))
    note = note_of(place.path, place.width, place.height, place.pixel_size_A)
    note |= {
        "format": file.format,
        "micrograph": picks.micrograph,
        "orientation": file.frame.orientation.value,
        "file": str(file.path),
    }
    rejected = len(decision) > 0 and bool((decision == Decision.REJECTED).all())
    name = f"{registry.micrograph_key(picks.micrograph)} {'rejected' if rejected else 'particles'}"
    layer = Points(
        to_yx(x, y),
        ndim=2,
        name=name,
        size=diameter if len(diameter) else _usual_diameter(place),
        features=features,
        border_color=[HEX[Decision(int(d))] for d in decision] if len(decision) else HEX[Decision.ACCEPTED],
        border_width=WIDTH,
        face_color="transparent",
        scale=(place.scale, place.scale),
        units=(place.units, place.units),
        metadata={NOTE: note},
    )
    layer.events.data.connect(_forget_inherited)
    return layer


def _features(picks: FilePicks) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of the features table; ``row`` is the row in the file, NaN for a point added since."""
    n = len(picks)
    decision = np.broadcast_to(np.asarray(picks.decision, np.int8), (n,))
    features: dict[str, np.ndarray[Any, Any]] = {
        "row": np.arange(n, dtype=np.float64),
        "decision": np.array([WORDS[Decision(int(d))] for d in decision], dtype=object),
        "score": np.full(n, np.nan) if picks.score is None else np.asarray(picks.score, np.float64),
        "class": np.zeros(n, np.int64) if picks.class_id is None else picks.class_id.astype(np.int64),
    }
    return features | {name: column.astype(object) for name, column in picks.extra.items() if name not in features}


_BLANK: dict[str, Any] = {"row": np.nan, "decision": WORDS[Decision.ACCEPTED], "score": np.nan, "class": 0}


def _forget_inherited(event: Any) -> None:
    """A point added by hand got every feature of the point selected before it: give it none."""
    if str(getattr(event.action, "value", event.action)) != "added":
        return
    layer = event.source
    table = layer.features.copy()
    for index in event.data_indices:
        row = len(table) + index if index < 0 else index
        for name in table.columns:
            table.iloc[row, table.columns.get_loc(name)] = _BLANK.get(name, "")
    layer.features = table


def _diameters(picks: FilePicks, place: _Place) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) float64 source px: the file's diameter, else its box, else a usual one."""
    n = len(picks)
    for column in (picks.diameter_px, picks.box_size_px):
        if column is not None:
            return np.where(np.isfinite(column) & (column > 0), column, _usual_diameter(place))
    return np.full(n, _usual_diameter(place))


def _usual_diameter(place: _Place) -> float:
    """150 A where the pixel size is believed, else 100 px."""
    return 15.0 / place.scale if place.units == "nm" else 100.0


# --- which micrograph ------------------------------------------------------------------------------------------------


def _place(file: PickFile, picks: FilePicks) -> _Place:
    """The micrograph of picks: a file beside them, else an open layer. Raises where a height is needed and unknown."""
    path = picks.source or file.path
    layer = _open_image(picks.micrograph)
    image = _file_near(path, picks.micrograph)
    flipped = file.frame.orientation in (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y)
    place = _Place()
    if image is not None and not (flipped and image.suffix.lower() in PICTURES):
        info = images.probe(image)
        place = _Place(image, info.width, info.height, info.pixel_size_A, *_world(info.pixel_size_A))
    elif layer is not None:
        place = _place_of(layer)
    elif file.pixel_size_A is not None:
        place = _Place(None, 0, 0, file.pixel_size_A, *_world(file.pixel_size_A))
    if layer is not None and place.height in (0, layer.data.shape[-2]):
        # on top of what is open, whatever its header says
        place = replace(place, scale=float(layer.scale[-1]), units=str(layer.units[-1]))
    if flipped and len(picks) and not place.height:
        raise FormatError(
            f"counts y from the last row, and the height of its micrograph {picks.micrograph} is not known: put the "
            "MRC into ../../micrographs beside it, or open the MRC first",
            path,
        )
    return place


def _place_of(layer: Image) -> _Place:
    note = layer.metadata.get(NOTE, {})
    height, width = layer.data.shape[-2:]
    path = note.get("path") or layer.source.path
    return _Place(
        Path(path) if path else None,
        int(width),
        int(height),
        note.get("pixel_size_A"),
        float(layer.scale[-1]),
        str(layer.units[-1]),
    )


def _file_near(path: Path, micrograph: str) -> Path | None:
    """The image a name means: as a path below a folder above the file, or in a ``micrographs`` folder near by."""
    above = list(path.absolute().parents)[:4]
    for folder in above:
        if ("/" in micrograph or Path(micrograph).suffix) and (folder / micrograph).is_file():
            return folder / micrograph
    for folder in (path.absolute().parent, *(up / "micrographs" for up in above)):
        if not folder.is_dir():
            continue
        here = [str(file) for file in folder.iterdir() if images.micrograph_name(file) != file.name]
        match = registry.match_micrographs([micrograph], here).matches
        if micrograph in match:
            return Path(match[micrograph])
    return None


def _open_image(micrograph: str) -> Image | None:
    """The one open Image layer that shows a micrograph (an MRC, or an array under its name; no picture of it)."""
    viewer = napari.current_viewer()
    candidates: dict[str, Image] = {}
    for layer in () if viewer is None else viewer.layers:
        if not isinstance(layer, Image) or layer.rgb or layer.multiscale:
            continue
        source = layer.metadata.get(NOTE, {}).get("path") or layer.source.path
        if source and Path(source).suffix.lower() in PICTURES:
            continue
        candidates[source or layer.name] = layer
    match = registry.match_micrographs([micrograph], candidates).matches
    return candidates[match[micrograph]] if micrograph in match else None


# --- sample data -----------------------------------------------------------------------------------------------------


def sample() -> list[LayerData]:
    """A simulated micrograph as an Image layer and its true particles as a Points layer."""
    made = simulate_micrograph(_SIMULATED, 0, views_for(_SIMULATED))
    height, width = made.image.shape
    note = note_of(None, width, height, made.pixel_size_A) | {"micrograph": "simulated"}
    scale, units = _world(made.pixel_size_A)
    common = {"scale": (scale, scale), "units": (units, units), "metadata": {NOTE: note}}
    picture = {"name": "simulated", "contrast_limits": robust_limits(made.image), "colormap": "gray", "rgb": False}
    truth = {
        "name": "simulated truth",
        "ndim": 2,
        "size": made.diameter_px,
        "border_color": HEX[Decision.ACCEPTED],
        "border_width": WIDTH,
        "face_color": "transparent",
    }
    return [(made.image, picture | common, "image"), (to_yx(made.x, made.y), truth | common, "points")]
