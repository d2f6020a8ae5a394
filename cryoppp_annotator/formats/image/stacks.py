"""Stacks of boxes: ``.mrcs`` in and out, and the images a particles STAR names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

#: Pixels of images that are read at once.
_PIXELS_AT_ONCE = 1 << 22


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
    with writing_stack(path, pixel_size_A) as add:
        add(images)
    return path


@contextmanager
def writing_stack(path: Path, pixel_size_A: float | None) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Write a stack as :func:`write_stack` does, part by part: no more than a part need be in memory.

    Yields what takes (n, height, width) float32 images; it must be called, and each time with images of one size.

    Raises
    ------
    OSError
    """
    totals = _Totals()
    with replacing(path) as stream:
        stream.write(bytes(mrc.HEADER_BYTES))

        def add(images: NDArray[np.float32]) -> None:
            totals.add(images)
            stream.write(np.ascontiguousarray(images, "<f4").data)

        yield add
        stream.seek(0)
        stream.write(totals.header(pixel_size_A).tobytes())


@dataclass
class _Totals:
    """What the header of a stack says of all its pixels."""

    shape: tuple[int, int, int] = (0, 0, 0)
    low: float = np.inf
    high: float = -np.inf
    sum_: float = 0.0
    squares: float = 0.0

    def add(self, images: NDArray[np.float32]) -> None:
        self.shape = (self.shape[0] + images.shape[0], images.shape[1], images.shape[2])
        for image in images:
            self.low, self.high = min(self.low, float(image.min())), max(self.high, float(image.max()))
            values = image.astype(np.float64)
            self.sum_ += float(values.sum())
            self.squares += float(np.vdot(values, values))

    def header(self, pixel_size_A: float | None) -> NDArray[Any]:
        n, height, width = self.shape
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
        if n_pixels := n * height * width:
            mean = self.sum_ / n_pixels
            header["dmin"], header["dmax"], header["dmean"] = self.low, self.high, mean
            header["rms"] = np.sqrt(max(0.0, self.squares / n_pixels - mean * mean))
        return header


def split_image_name(name: str) -> tuple[int, str]:
    """``000003@dir/stack.mrcs`` -> (2, ``dir/stack.mrcs``): 0-based image and file. Raises ValueError."""
    number, _, file = name.partition("@")
    index = int(number) - 1
    if index < 0 or not file:
        raise ValueError(name)
    return index, file


def read_named_images(
    star: StarFile,
    names: Sequence[str],
    lines: Sequence[int],
    reduced: Callable[[NDArray[Any]], NDArray[Any]] = lambda images: images,
) -> tuple[NDArray[Any], float | None]:
    """Images that ``rlnImageName`` values name, in their order.

    Parameters
    ----------
    star : StarFile
        Paths are looked for as they stand (RELION's are relative to its project folder), then from the file's folder
        and those above it, then beside it.
    names : (n,) sequence of str
    lines : (n,) sequence of int
        For messages.
    reduced : callable
        Gets (m, box, box) images as they are read, some at a time, and returns what is kept of them.

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
    size: tuple[int, ...] = ()
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
            return reduced(images), pixel
        size = size or images.shape[1:]
        if images.shape[1:] != size:
            sizes = f"{images.shape[2]} x {images.shape[1]} and {size[1]} x {size[0]}"
            raise FormatError(
                f"names boxes of different sizes ({sizes} px); classify them one size at a time", star.path
            )
        n_at_once = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
        for first in range(0, len(rows), n_at_once):
            some = slice(first, first + n_at_once)
            part = reduced(images[frames[some]])
            out = np.empty((len(names), *part.shape[1:]), np.float32) if out is None else out
            out[rows[some]] = part
        del images  # before the next one is mapped
    if out is None:
        raise FormatError("names no images", star.path)
    return out, pixels.pop() if len(pixels) == 1 else None


def _stack_path(star: Path, file: str, line: int) -> Path:
    whole = star.absolute()
    for candidate in (Path(file), *(folder / file for folder in whole.parents), whole.parent / Path(file).name):
        if candidate.is_file():
            return candidate
    raise FormatError(f"names {file}, which is not in this folder, beside the STAR file or above it", star, line)
