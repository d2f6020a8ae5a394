"""8-bit pictures that labels refer to: made from a micrograph, written beside the labels, never flipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import FormatError
from ...model.coordinates import SourceFrame
from ...model.micrograph import Micrograph
from ...model.pickfile import MicrographPicks, WriteOptions
from ..atomic import replacing
from . import images

#: Percentile that becomes black: dead pixels must not decide the contrast (FORMATS.md 13).
_BLACK = 0.5
#: Percentile that becomes white: hot pixels neither.
_WHITE = 99.5
_SAMPLE = 1_000_000
PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
#: What ``info`` of exported labels says of their frame.
Y_AXIS = "down: row 0 of the picture is the first row of the micrograph file; boxes are counted from its top left"


def to_8bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values 0 .. 255 of a micrograph, (h, w) real to (h, w) uint8; 8-bit input is returned as it is."""
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    sample = image.ravel()[:: max(1, image.size // _SAMPLE)].astype(np.float32)
    sample = sample[np.isfinite(sample)]
    black, white = np.percentile(sample, (_BLACK, _WHITE)) if len(sample) else (0.0, 1.0)
    scale = 255.0 / max(float(white) - float(black), 1e-30)
    out = np.empty(image.shape, np.uint8)
    for row in range(0, image.shape[0], 256):  # no full-size float copy
        part = (image[row : row + 256].astype(np.float32) - np.float32(black)) * np.float32(scale)
        out[row : row + 256] = np.clip(np.nan_to_num(part, nan=127.0) + 0.5, 0, 255)
    return out


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height, px. Raises FormatError where it is no image."""
    info = images.probe(path)
    return info.width, info.height


def find_picture(stem: str, folders: Sequence[Path]) -> Path | None:
    """The picture called ``stem`` in the first folder that has one."""
    for folder in folders:
        for extension in PICTURE_EXTENSIONS:
            if (folder / f"{stem}{extension}").is_file():
                return folder / f"{stem}{extension}"
    return None


def require_picture_frame(options: WriteOptions) -> None:
    """Raise FormatError where labels are asked for in another frame than their picture's."""
    if options.frame not in (None, SourceFrame()):
        raise FormatError("labels are written in the frame of the pictures they go with (as-stored, centres)")


def write_pictures(
    folder: Path, picks: Sequence[MicrographPicks], options: WriteOptions
) -> tuple[list[Path], dict[str, tuple[str, int, int]]]:
    """Write, or find, the picture of each micrograph.

    Returns
    -------
    files written : list of Path
    pictures : mapping of micrograph name to (file name, width, height)

    Raises
    ------
    FormatError
        There is no picture, or it is not of the micrograph's size.
    """
    written: list[Path] = []
    sizes: dict[str, tuple[str, int, int]] = {}
    for pick in picks:
        micrograph = pick.micrograph
        if options.images is not None:
            path = folder / f"{micrograph.name}.png"
            width, height = _write_png(path, options.images(micrograph))
            written.append(path)
        else:
            path, width, height = _existing(micrograph, folder)
        _require_size(micrograph, path, width, height)
        sizes[micrograph.name] = (path.name, width, height)
    return written, sizes


def _existing(micrograph: Micrograph, folder: Path) -> tuple[Path, int, int]:
    path = find_picture(micrograph.name, [folder])
    if path is None:
        raise FormatError(f"has no picture of {micrograph.name}, and none can be made without the micrographs", folder)
    return (path, *picture_size(path))


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = pixels.shape
    with replacing(path) as stream:
        Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=3)
    return width, height


def _require_size(micrograph: Micrograph, path: Path, width: int, height: int) -> None:
    size = (micrograph.width, micrograph.height)
    if 0 not in size and size != (width, height):
        raise FormatError(
            f"is {width} x {height} px, and {micrograph.name} is {size[0]} x {size[1]}: the labels would be wrong",
            path,
        )


def box_sizes(pick: MicrographPicks, options: WriteOptions) -> NDArray[np.float64]:
    """Edge of each particle's box, px: its diameter, or the box size where it has none.

    Raises
    ------
    FormatError
        Neither is known.
    """
    given = np.nan if options.box_size_px is None else options.box_size_px
    sizes = np.where(np.isfinite(pick.diameter_px) & (pick.diameter_px > 0), pick.diameter_px, given)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise FormatError(f"{pick.micrograph.name} has particles without a diameter: set it, or give a box size")
    return np.asarray(sizes, dtype=np.float64)


#: What labels call a rejected pick, which is of no class of particles.
REJECTED_NAME = "rejected"


def class_name(class_id: int) -> str:
    """What labels call a class; 0 = none."""
    return "particle" if class_id == 0 else f"class {class_id}"
