"""One Points layer to a coordinate file of any format that we write, for napari without our panel."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info

from ... import extensions
from ...errors import FormatError
from ...formats.atomic import replacing
from ...formats.image import images
from ...formats.writing import lost_notes
from ...imaging.contrast import robust_limits
from ...model.coordinates import Orientation, SourceFrame
from ...model.curation import Decision
from ...model.micrograph import Micrograph
from ...model.pickfile import CoordinateFormat, MicrographPicks, WriteOptions
from . import layer_data
from .layer_data import LayerData
from .styles import WORDS

#: What stands behind a micrograph's name in files of a format.
_ENDINGS = ("_manualpick", "_info")


def write_points(path: Path, layers: Sequence[LayerData], format: str) -> list[Path]:
    """Write one Points layer, with the Image layer it lies on if that is saved with it.

    Parameters
    ----------
    path : Path
        The file to write; what the format writes beside it (pictures, RELION's lists) goes beside it, or nowhere.
    layers : sequence of (data, attributes, kind)
    format : str
        Name of a format that can be written.

    Returns
    -------
    list of Path
        The file first; for CryoPPP ``<stem>_false_positives.csv`` too, where points are rejected.

    Raises
    ------
    FormatError
        The micrograph's height is not certain, or points are not in its pixels.
    """
    (data, points) = next((data, meta) for data, meta, kind in layers if kind == "points")
    image = next(((data, meta) for data, meta, kind in layers if kind == "image"), None)
    if np.shape(data)[-1] != 2:
        raise FormatError(f"the layer {points['name']!r} has {np.shape(data)[-1]} dimensions; a micrograph has two")
    note = _micrograph_of(points, image)
    on_lite = note.get("orientation") == Orientation.AS_STORED and note.get("format") == "cryoppp"
    if on_lite and format not in ("cryoppp", "coco", "yolo"):
        raise FormatError(
            f"the points of {points['name']!r} lie on a CryoPPP_Lite picture, which is upside down against the MRC "
            f"that {format} files are of; open the MRC's data set instead"
        )
    picks = _picks(np.asarray(data, np.float64), points, note, path)
    return _write(path, picks, note, format, image)


def _micrograph_of(points: Mapping[str, Any], image: tuple[Any, Mapping[str, Any]] | None) -> dict[str, Any]:
    """What is known for certain of the micrograph under the points."""
    own = dict(points.get("metadata", {}).get(layer_data.NOTE, {}))
    if image is not None:
        under = _note_of_image(*image)
        _require_same_pixels(points, image[1])
    elif own.get("height"):
        _require_unmoved(points)
        return own
    else:
        under = _note_in_viewer(points)
    if own.get("height") and own["height"] != under["height"]:
        raise FormatError(
            f"the points of {points['name']!r} belong to a micrograph of {own['height']} rows, not {under['height']}"
        )
    return {**under, **own, "height": under["height"], "width": under["width"]}


def _note_of_image(data: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    note = meta.get("metadata", {}).get(layer_data.NOTE)
    if note is None:
        viewer = napari.current_viewer()
        source = None
        if viewer is not None and meta["name"] in viewer.layers:
            source = viewer.layers[meta["name"]].source.path
        if source and Path(source).suffix.lower() in layer_data.PICTURES:
            raise FormatError(
                f"{meta['name']!r} is a picture, whose rows need not be those of the micrograph; open the MRC instead"
            )
        if meta.get("rgb") or meta.get("multiscale") or np.ndim(data) != 2:
            raise FormatError(f"{meta['name']!r} is not one grey image, so that its height is not certain")
        note = layer_data.note_of(None, int(np.shape(data)[1]), int(np.shape(data)[0]), None)
    return {**note, "micrograph": meta["name"]}


def _note_in_viewer(points: Mapping[str, Any]) -> dict[str, Any]:
    """The one open image that our reader brought, where the points lie in its pixels."""
    viewer = napari.current_viewer()
    images = (
        []
        if viewer is None
        else [im for im in viewer.layers if isinstance(im, Image) and layer_data.NOTE in im.metadata]
    )
    if len(images) != 1:
        raise FormatError(
            f"of which micrograph the points of {points['name']!r} are is not certain, and so is its height: select "
            "its image layer too and save both, or open one MRC only (a project is exported in the Annotator panel)"
        )
    data, meta, _ = images[0].as_layer_data_tuple()
    _require_same_pixels(points, meta)
    return _note_of_image(data, meta)


_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine")


def _require_same_pixels(points: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    """Refuse where a point's numbers are not pixels of the image."""
    for name in _TRANSFORM:
        a, b = (np.asarray(meta.get(name, 0.0), np.float64) for meta in (points, image))
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-6, atol=1e-9):
            raise FormatError(
                f"{points['name']!r} and {image['name']!r} differ in {name}: the points are not in pixels of that image"
            )


def _require_unmoved(points: Mapping[str, Any]) -> None:
    affine = np.asarray(points.get("affine", np.eye(3)))
    moved = (
        np.any(np.asarray(points.get("translate", 0.0)))
        or not np.allclose(points.get("rotate", np.eye(2)), np.eye(2))
        or np.any(np.asarray(points.get("shear", 0.0)))
        or not np.allclose(affine, np.eye(len(affine)))
    )
    if moved:
        raise FormatError(f"the layer {points['name']!r} was moved or turned against its micrograph")


def stem_of(path: Path) -> str:
    """What a file says its micrograph is called."""
    stem = path.stem
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def _picks(
    data: np.ndarray[Any, Any], points: Mapping[str, Any], note: Mapping[str, Any], path: Path
) -> MicrographPicks:
    n = len(data)
    table = points.get("features")
    columns = {} if table is None else {str(name): np.asarray(table[name]) for name in table.columns}
    words = {word: decision for decision, word in WORDS.items()}
    decisions = columns.get("decision", np.full(n, ""))
    unknown = sorted({str(word) for word in decisions.tolist()} - {*words, ""})
    if unknown:
        raise FormatError(f"{unknown[0]!r} in the column 'decision' is none of {', '.join(words)}")
    own = ("row", "decision", "score", "class")
    extra = {
        name: column.astype(str)
        for name, column in columns.items()
        if "row" in columns and name not in own and all(str(value) for value in column.tolist())
    }
    pixel = note.get("pixel_size_A")
    micrograph = Micrograph(
        1,
        stem_of(path),
        Path(str(note.get("path") or note["micrograph"])).name,
        int(note["width"]),
        int(note["height"]),
        pixel,
    )
    return MicrographPicks(
        micrograph,
        pixel if pixel and pixel > 0 else None,
        data[:, 1],
        data[:, 0],
        np.broadcast_to(np.asarray(points["size"], np.float64), (n,)),
        np.asarray(columns.get("score", np.full(n, np.nan)), np.float64),
        np.array([words.get(str(word), Decision.ACCEPTED) for word in decisions.tolist()], np.int8).reshape(n),
        np.nan_to_num(np.asarray(columns.get("class", np.zeros(n)), np.float64)).astype(np.int32),
        extra,
    )


def _write(
    path: Path,
    picks: MicrographPicks,
    note: Mapping[str, Any],
    format: str,
    image: tuple[Any, Mapping[str, Any]] | None,
) -> list[Path]:
    """Through the format's own writer, in a folder of its own, then the files to where they were asked for."""
    target = extensions.formats()[format]
    rejected = picks.decision == Decision.REJECTED
    if rejected.any() and "decision" not in target.carries:
        show_info(f"{int(rejected.sum())} rejected points left out: {target.title} has no place for them")
        picks = picks.take(~rejected)
    options = _options(target, note, image)
    with tempfile.TemporaryDirectory(prefix="cryoppp-annotator-") as folder:
        aside = Path(folder, "new")
        written = target.write(aside / path.name if target.many_micrographs else aside, [picks], options)
        files = _put(written, path, picks.micrograph.name)
    for lost in lost_notes(target, [picks]):
        show_info(lost)
    return files


def _options(
    target: CoordinateFormat, note: Mapping[str, Any], image: tuple[Any, Mapping[str, Any]] | None
) -> WriteOptions:
    from_same = note.get("format") == target.name
    return WriteOptions(
        frame=SourceFrame(Orientation(note["orientation"])) if from_same and target.name == "cryoppp" else None,
        template=Path(note["file"]) if from_same and "template" in target.carries and note.get("file") else None,
        images=lambda micrograph: _grey(_pixels(micrograph, note, image)),
    )


def _pixels(
    micrograph: Micrograph, note: Mapping[str, Any], image: tuple[Any, Mapping[str, Any]] | None
) -> np.ndarray[Any, Any]:
    """The micrograph itself, for formats whose labels go with a picture."""
    path = Path(str(note.get("path") or ""))
    if image is not None:
        return np.asarray(image[0])
    if path.is_file():
        return np.asarray(images.read(path))
    raise FormatError(f"the picture of {micrograph.name} is not there: select its image layer too and save both")


def _grey(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    low, high = robust_limits(pixels)
    grey = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    return np.clip(grey, 0, 255).astype(np.uint8)


def _put(written: Sequence[Path], path: Path, name: str) -> list[Path]:
    """Put the file that holds the points where it was asked for; pictures and rejected ones beside it.

    RELION's lists and settings of whole data sets say nothing of one file, and are left.
    """
    main = next((file for file in written if file.name.startswith(name) and file.suffix == path.suffix), written[0])
    files = [_copied(main, path)]
    for file in written:
        if file.parent.name == "images":
            files.append(_copied(file, path.parent / "images" / file.name))
        elif file.name == f"{name}_false_positives.csv" or (file.suffix in (".cs", ".csg") and file != main):
            files.append(_copied(file, path.parent / file.name))
    return files


def _copied(file: Path, to: Path) -> Path:
    with file.open("rb") as source, replacing(to) as target:
        shutil.copyfileobj(source, target)
    return to
