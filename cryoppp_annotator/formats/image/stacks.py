"""Stacks of boxes: ``.mrcs`` in and out, and the images a particles STAR names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mrcfile.utils
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from ...errors import FormatError
from ..atomic import replacing
from ..table.star import StarFile
from . import mrc


def read_stack(path: Path) -> tuple[NDArray[Any], float | None]:
    """Map a stack.

    Parameters
    ----------
    path : Path
        An uncompressed MRC file.

    Returns
    -------
    images : (n, height, width) array, yx, read-only memory map (in memory where the byte order is foreign)
    pixel_size_A : float or None

    Raises
    ------
    FormatError
    """
    with mrc.open_regular(path) as (file, size):
        with mrc.guard(path):
            head = file.read(mrc.HEADER_BYTES)
        header = mrc.parse_header(head, path, size)
        shape = (header.n_frames, header.height, header.width)
        with mrc.guard(path):
            images = np.memmap(path, header.dtype, "r", header.offset, shape)
    return mrc.native(images), header.pixel_size_A or None


def write_stack(path: Path, images: NDArray[np.float32], pixel_size_A: float | None) -> Path:
    """Write (n, height, width) float32 images as an MRC image stack (mode 2); it replaces ``path`` when complete.

    Raises
    ------
    OSError
    """
    n, height, width = images.shape
    header = np.zeros((), HEADER_DTYPE)
    header["nx"], header["ny"], header["nz"] = width, height, n
    header["mode"] = 2
    header["mx"], header["my"], header["mz"] = width, height, 1
    pixel = pixel_size_A or 0.0
    header["cella"] = (width * pixel, height * pixel, pixel)
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["map"] = b"MAP "
    header["nversion"] = 20141
    header["machst"] = mrcfile.utils.machine_stamp_from_byte_order("<")
    if images.size:
        header["dmin"], header["dmax"] = images.min(), images.max()
        header["dmean"], header["rms"] = images.mean(dtype=np.float64), images.std(dtype=np.float64)
    with replacing(path) as stream:
        stream.write(header.tobytes())
        stream.write(np.ascontiguousarray(images, "<f4").tobytes())
    return path


def split_image_name(name: str) -> tuple[int, str]:
    """``000003@dir/stack.mrcs`` -> (2, ``dir/stack.mrcs``): 0-based image and file. Raises ValueError."""
    number, _, file = name.partition("@")
    index = int(number) - 1
    if index < 0 or not file:
        raise ValueError(name)
    return index, file


def read_named_images(star: StarFile, names: Sequence[str], lines: Sequence[int]) -> tuple[NDArray[Any], float | None]:
    """Images that ``rlnImageName`` values name, in their order.

    Parameters
    ----------
    star : StarFile
        Paths are looked for as they stand (RELION's are relative to its project folder), then from the file's folder
        and those above it, then beside it.
    names : (n,) sequence of str
    lines : (n,) sequence of int
        For messages.

    Returns
    -------
    images : (n, box, box) array; the memory map itself where one stack is named in order
    pixel_size_A : float or None
        What the stacks' headers say, where they agree.

    Raises
    ------
    FormatError
        A name, a missing file, an image number beyond its stack, or boxes of different sizes.
    """
    places: dict[str, list[tuple[int, int]]] = {}
    for row, name in enumerate(names):
        try:
            index, file = split_image_name(name)
        except ValueError:
            raise FormatError(f"rlnImageName is {name!r}, not number@stack", star.path, lines[row]) from None
        places.setdefault(file, []).append((row, index))
    out: NDArray[np.float32] | None = None
    pixels: set[float] = set()
    for file, numbers in places.items():
        images, pixel = read_stack(_stack_path(star.path, file, lines[numbers[0][0]]))
        pixels |= {pixel} if pixel else set()
        rows = np.array([row for row, _ in numbers])
        frames = np.array([index for _, index in numbers])
        if frames.max() >= len(images):
            bad = lines[int(rows[frames.argmax()])]
            raise FormatError(f"names image {frames.max() + 1} of {file}, which has {len(images)}", star.path, bad)
        if len(places) == 1 and np.array_equal(frames, np.arange(len(images))):
            return images, pixel
        if out is None:
            out = np.empty((len(names), *images.shape[1:]), np.float32)
        if images.shape[1:] != out.shape[1:]:
            sizes = f"{images.shape[2]} x {images.shape[1]} and {out.shape[2]} x {out.shape[1]}"
            raise FormatError(
                f"names boxes of different sizes ({sizes} px); classify them one size at a time", star.path
            )
        out[rows] = images[frames]
    if out is None:
        raise FormatError("names no images", star.path)
    return out, pixels.pop() if len(pixels) == 1 else None


def _stack_path(star: Path, file: str, line: int) -> Path:
    whole = star.absolute()
    for candidate in (Path(file), *(folder / file for folder in whole.parents), whole.parent / Path(file).name):
        if candidate.is_file():
            return candidate
    raise FormatError(f"names {file}, which is not in this folder, beside the STAR file or above it", star, line)
