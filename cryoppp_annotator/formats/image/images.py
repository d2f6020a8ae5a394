"""Micrograph files: MRC (plain, gz, bz2), TIFF, PNG and JPEG.

What a file is, is decided by its first bytes, not by its name. Row 0 of every array is the first row of the file;
nothing is flipped. (IMOD, RELION and MotionCor2 flip a TIFF when they read it, tifffile and this module do not.)
A header is compared with the file's size before anything is allocated, and every failure is a
:class:`~cryoppp_annotator.errors.FormatError` that says what was expected and what to do.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
import tifffile
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ...errors import FormatError
from . import mrc
from .bombs import refuse_bombs
from .micrograph_files import COMPRESSED_EXTENSIONS, IMAGE_EXTENSIONS, MRC_EXTENSIONS, find_micrographs, micrograph_name
from .mrc import AnyArray, Check, guard, native, open_regular
from .tiff_decoding import decoded, is_lack_of_decoder, no_decoder

Kind: TypeAlias = Literal["mrc", "tiff", "png", "jpeg"]

_MAX_DISPLAY_PIXELS = 2**28
_FINGERPRINT_BYTES = 64 * 1024
#: Pieces between the ends of a file that its fingerprint reads.
_PIECES = 17
#: Bytes of each.
_PIECE_BYTES = 4096
#: Pages of a TIFF; movies have some hundred.
_MOST_PAGES = 10_000
_EER_COMPRESSIONS = (65000, 65001, 65002)
_DEFLATE_LIKE = (5, 8, 32773, 32946)  # LZW, Deflate (two numbers), PackBits
_LENGTH_A = {"a": 1.0, "å": 1.0, "angstrom": 1.0, "nm": 10.0, "um": 1e4, "µm": 1e4, "\\u00b5m": 1e4, "micron": 1e4}
_EER = (
    "is an EER movie of raw electron events; motion-correct it first (RELION, MotionCor, cryoSPARC) "
    "and open the micrograph that comes out"
)

__all__ = [
    "COMPRESSED_EXTENSIONS",
    "IMAGE_EXTENSIONS",
    "MRC_EXTENSIONS",
    "ImageInfo",
    "find_micrographs",
    "fingerprint",
    "micrograph_name",
    "probe",
    "read",
]

# tifffile logs what it then raises; without a handler Python would print that on stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a micrograph file says of itself.

    Attributes
    ----------
    path : Path
    kind : 'mrc', 'tiff', 'png' or 'jpeg'
        By content.
    width, height : int
        Columns and rows, px.
    n_frames : int
        Images of that shape in the file.
    dtype : str
        ``np.dtype(...).str`` of a pixel as stored (``<f4``, ``>i2``, ``|u1``).
    pixel_size_A : float or None
        Angstrom per pixel, unquestioned; None where the header has no such field or holds no number. A header that
        says 0 gives 0.0 (``model.micrograph.pixel_size_doubt`` speaks of both).
    compressed : bool
        The whole file is gz or bz2: it cannot be memory-mapped, and whether it is complete shows on reading.
    notes : tuple of str
        What to say on screen.
    is_volume : bool
        The frames are slices of a volume: no micrograph (``mrc.volume_problem``).
    """

    path: Path
    kind: Kind
    width: int
    height: int
    n_frames: int
    dtype: str
    pixel_size_A: float | None
    compressed: bool
    notes: tuple[str, ...] = ()
    is_volume: bool = False


def probe(path: Path | str) -> ImageInfo:
    """Read what the header says, check it against the size of the file, and touch no pixel.

    Raises
    ------
    FormatError
        Not a readable image, an impossible header, or a truncated file (for gz and bz2 that shows in :func:`read`).
    """
    path = Path(path)
    with open_regular(path) as (file, size):
        kind, compression = _sniff(file, path, size)
        if kind == "mrc":
            if compression:
                header = mrc.compressed_header(mrc.decompressed(file, compression), compression, path, size)
            else:
                header = mrc.parse_header(_head(file, path, mrc.HEADER_BYTES), path, size)
            return ImageInfo(
                path,
                kind,
                header.width,
                header.height,
                header.n_frames,
                header.dtype.str,
                header.pixel_size_A,
                bool(compression),
                _name_note(path, kind) + header.notes,
                header.is_volume,
            )
        if kind == "tiff":
            with _open_tiff(file, path, size) as tiff:
                return ImageInfo(
                    path,
                    kind,
                    tiff.width,
                    tiff.height,
                    len(tiff.frames),
                    tiff.dtype.str,
                    tiff.pixel_size_A,
                    False,
                    _name_note(path, kind) + tiff.notes,
                )
        picture, notes = _open_display(file, path, size, kind)
        dtype = "<u2" if picture.mode.startswith("I") else "|u1"
        return ImageInfo(path, kind, *picture.size, 1, dtype, None, False, _name_note(path, kind) + notes)


def read(path: Path | str, frame: int = -1, *, check: Callable[[], None] | None = None) -> AnyArray:
    """Read one image.

    Parameters
    ----------
    path : Path or str
    frame : int
        0-based; -1 = the average of all frames (of a single frame: that frame).
    check : callable, optional
        Called several times a second while reading; raises to cancel (``JobContext.check``).

    Returns
    -------
    (height, width) array, yx, row 0 = first row of the file, never flipped
        dtype as stored in native byte order; float32 for an average of several frames. A read-only ``np.memmap`` where
        the pixels lie uncompressed in this machine's byte order (big-endian ones are converted in memory), else an
        array in memory. Colours become their luminance. NaN is passed on. A map reads the disk when it is looked at:
        a file that is shortened meanwhile takes the process down, so copy what outlives the moment.

    Raises
    ------
    FormatError
        As :func:`probe`; no such frame; damaged or truncated data.
    """
    path = Path(path)
    check = check or _no_check
    check()
    with open_regular(path) as (file, size):
        kind, compression = _sniff(file, path, size)
        if kind == "mrc":
            return _read_mrc(file, path, size, compression, frame, check)
        if kind == "tiff":
            with _open_tiff(file, path, size) as tiff:
                return _select(path, len(tiff.frames), frame, tiff.read, check)
        picture, _ = _open_display(file, path, size, kind)
        return _select(path, 1, frame, lambda _: _display_pixels(picture, path), check)


def fingerprint(path: Path | str, like: str = "") -> str:
    """Cheap identity of a file's content: ``size-2-sha256`` of its first and last 64 KiB and 16 pieces between them.

    The same after a move or a touched date. A change of some pixels in the middle of a file of the same size may go
    unseen; another image does not.

    Parameters
    ----------
    path : Path or str
    like : str
        A fingerprint to compare with: one of an earlier program (``size-sha256``, of the two ends) gets one of its
        kind.

    Raises
    ------
    FormatError
        The file is absent, not an ordinary file, or may not be read.
    """
    path = Path(path)
    old = like.count("-") == 1
    with open_regular(path) as (file, size):
        digest = hashlib.sha256(_head(file, path, _FINGERPRINT_BYTES))
        between = [] if old else range(_FINGERPRINT_BYTES, size - _FINGERPRINT_BYTES, max(1, size // _PIECES))
        for place, length in [*((i, _PIECE_BYTES) for i in between), (size - _FINGERPRINT_BYTES, _FINGERPRINT_BYTES)]:
            with guard(path):
                file.seek(max(_FINGERPRINT_BYTES, place))
            digest.update(_take(file, path, length))
    return f"{size}-{digest.hexdigest()}" if old else f"{size}-2-{digest.hexdigest()}"


# -- what a file is ----------------------------------------------------------------------------------------------------


def _sniff(file: IO[bytes], path: Path, size: int) -> tuple[Kind, str]:
    """Kind and compression ('', 'gz' or 'bz2') by the first bytes."""
    if size == 0:
        raise FormatError("is empty (0 bytes); copy or download it again", path)
    if path.suffix.lower() == ".eer":
        raise FormatError(_EER, path)
    head = _head(file, path, 8)
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff", ""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", ""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg", ""
    if head.startswith(b"\x1f\x8b\x08"):
        return "mrc", "gz"
    if head.startswith(b"BZh"):
        return "mrc", "bz2"
    extension = path.suffix.lower()
    if extension in (".tif", ".tiff", ".png", ".jpg", ".jpeg") and head[:1] != b"\0" and not _could_be_mrc(file, path):
        raise FormatError(
            f"does not begin like a {extension[1:].upper()} file; it is damaged or something else: "
            "copy or download it again",
            path,
        )
    return "mrc", ""


def _could_be_mrc(file: IO[bytes], path: Path) -> bool:
    return _head(file, path, mrc.HEADER_BYTES)[208:211] == b"MAP"


def _name_note(path: Path, kind: Kind) -> tuple[str, ...]:
    """Say that the name promises something else, where it does."""
    name = path.name.lower()
    for extension in COMPRESSED_EXTENSIONS:
        name = name.removesuffix(extension)
    promised = os.path.splitext(name)[1]
    kinds = {".tif": "tiff", ".tiff": "tiff", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
    kinds |= dict.fromkeys(MRC_EXTENSIONS, "mrc")
    return (f"named {promised}, but is {kind.upper()}",) if kinds.get(promised, kind) != kind else ()


def _head(file: IO[bytes], path: Path, n: int) -> bytes:
    with guard(path):
        file.seek(0)
    return _take(file, path, n)


def _take(file: IO[bytes], path: Path, n: int) -> bytes:
    with guard(path):
        return file.read(n)


def _no_check() -> None:
    """Never cancel."""


def _select(path: Path, n_frames: int, frame: int, get: Callable[[int], AnyArray], check: Check) -> AnyArray:
    """Frame ``frame``, or the average where it is -1 and there are several."""
    _check_frame(path, n_frames, frame)
    if frame == -1 and n_frames > 1:
        return mrc.mean_frame((get(i) for i in range(n_frames)), check)
    return native(get(max(frame, 0)))


def _check_frame(path: Path, n_frames: int, frame: int) -> None:
    if not -1 <= frame < n_frames:
        raise FormatError(f"has no frame {frame}; it has {n_frames} (0 to {n_frames - 1}; -1 = average)", path)


def _read_mrc(file: IO[bytes], path: Path, size: int, compression: str, frame: int, check: Check) -> AnyArray:
    if not compression:
        header = mrc.parse_header(_head(file, path, mrc.HEADER_BYTES), path, size)
        _refuse_mean_of_volume(header, path, frame)
        return _select(path, header.n_frames, frame, lambda i: mrc.mapped_frame(file, path, header, i), check)
    stream = mrc.decompressed(file, compression)
    header = mrc.compressed_header(stream, compression, path, size)
    _check_frame(path, header.n_frames, frame)
    _refuse_mean_of_volume(header, path, frame)
    frames = mrc.streamed_frames(stream, path, header, max(frame, 0), check)
    return mrc.mean_frame(frames, check) if frame == -1 and header.n_frames > 1 else native(next(frames))


def _refuse_mean_of_volume(header: mrc.MrcHeader, path: Path, frame: int) -> None:
    if header.is_volume and frame == -1:
        raise FormatError(mrc.volume_problem(header.n_frames), path)


# -- TIFF --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tiff:
    """An open TIFF whose first page has been looked at; frames are the pages of the same shape and dtype."""

    file: IO[bytes]
    path: Path
    size: int
    width: int
    height: int
    dtype: np.dtype[Any]
    frames: tuple[tifffile.TiffPage, ...]
    pixel_size_A: float | None
    notes: tuple[str, ...]

    def read(self, frame: int) -> AnyArray:
        """One frame, (height, width), dtype as stored; a memory map where it lies in one piece."""
        page = self.frames[frame]
        _check_tiff_page(page, self.path, self.size)
        refuse_bombs(page, self.file, self.path)
        shape = (self.height, self.width)
        with guard(self.path):
            if page.is_memmappable and page.axes == "YX":
                offset = page.dataoffsets[0]
                return np.memmap(self.file, self.dtype, "r", offset, shape)
            try:
                pixels = np.asarray(page.asarray())
            except (ValueError, ImportError) as error:
                if not is_lack_of_decoder(error):
                    raise
                other = decoded(self.file, page, self.dtype)
                if other is None:
                    raise FormatError(no_decoder(page), self.path) from error
                pixels = other
            if page.axes == "SYX":
                pixels = np.moveaxis(pixels, 0, -1)
            pixels = _luminance(pixels) if pixels.ndim == 3 else pixels
        if pixels.shape != shape:
            raise FormatError(
                f"page {page.index} decodes to {pixels.shape[::-1]} px, not {shape[::-1]}: copy it again", self.path
            )
        return pixels.astype(self.dtype.newbyteorder("="), copy=False)


@contextmanager
def _open_tiff(file: IO[bytes], path: Path, size: int) -> Iterator[_Tiff]:
    with guard(path):
        file.seek(0)
        tif = tifffile.TiffFile(file)
    with tif:
        with guard(path):
            first = tif.pages.first
            _check_tiff_page(first, path, size)
            _refuse_many_pages(tif, path)
            dtype = np.dtype(first.dtype).newbyteorder(tif.byteorder)
            same = [first]
            for i in range(1, len(tif.pages)):
                page = tif.pages[i]
                if isinstance(page, tifffile.TiffPage) and (page.shape, page.dtype) == (first.shape, first.dtype):
                    same.append(page)
            notes = _tiff_notes(tif, first, len(same), len(tif.pages))
            pixel = _tiff_pixel_size(tif, first)
            height, width = int(first.imagelength), int(first.imagewidth)
        yield _Tiff(file, path, size, width, height, dtype, tuple(same), pixel, notes)


def _refuse_many_pages(tif: tifffile.TiffFile, path: Path) -> None:
    """Each page of a TIFF is looked at, which takes minutes where there are a million of one pixel."""
    try:
        tif.pages[_MOST_PAGES]
    except IndexError:
        return
    raise FormatError(f"has more than {_MOST_PAGES:,} pages; no movie has: it is no micrograph, or damaged", path)


def _check_tiff_page(page: Any, path: Path, size: int) -> None:
    """Refuse what is not a grey or colour image and what cannot be in the file, before it is decoded."""
    if int(page.compression) in _EER_COMPRESSIONS:
        raise FormatError(_EER, path)
    width, height = int(page.imagewidth), int(page.imagelength)
    if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None or np.dtype(page.dtype).kind not in "uif":
        raise FormatError("is not a TIFF of grey values (8 to 64 bit); save it as 16-bit or 32-bit grey-scale", path)
    samples = int(page.samplesperpixel)
    if not (0 < width <= mrc.MAX_SIDE and 0 < height <= mrc.MAX_SIDE and width * height * samples <= mrc.MAX_PIXELS):
        raise FormatError(f"its header announces an impossible {width} x {height} px; copy it again", path)
    tile_width, tile_height = int(page.tilewidth or 0), int(page.tilelength or 0)
    if page.is_tiled and not 0 < tile_width * tile_height * samples <= max(2**26, 4 * width * height * samples):
        raise FormatError(f"its header announces impossible tiles of {tile_width} x {tile_height} px", path)
    ends = [int(o) + int(n) for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if max(ends, default=0) > size:
        raise FormatError(f"is truncated: {max(ends) - size} bytes are missing; repeat the copy or download", path)
    stored = sum(map(int, page.databytecounts))
    bits = int(page.bitspersample) if int(page.compression) == 1 else 8 * np.dtype(page.dtype).itemsize
    expected = width * height * samples * bits // 8
    ratio = {1: 1, **dict.fromkeys(_DEFLATE_LIKE, 2 * mrc.MAX_DEFLATE_RATIO)}.get(int(page.compression))
    if stored == 0 or (ratio and expected > ratio * stored):
        raise FormatError(
            f"its header announces {expected} bytes of pixels, more than the {stored} bytes stored can hold; "
            "the file is damaged: copy or download it again",
            path,
        )


def _tiff_notes(tif: tifffile.TiffFile, page: Any, n_frames: int, n_pages: int) -> tuple[str, ...]:
    notes = []
    if tif.byteorder == ">":
        notes.append("big-endian")
    if page.axes != "YX":
        notes.append("colour image: luminance shown")
    if int(page.photometric) == 0:
        notes.append("stored with white as zero; values left as they are")
    if int(page.photometric) == 3:
        notes.append("has a colour table, which is ignored")
    turned = page.tags.valueof(274)
    if turned not in (None, 1):
        notes.append(f"its orientation tag ({turned}) is not applied: rows as they are stored, as RELION reads them")
    if n_frames < n_pages:
        notes.append(f"{n_pages - n_frames} pages of another shape left out")
    hidden = int((tif.imagej_metadata or {}).get("images", 1)) if tif.is_imagej else 1
    if hidden > n_pages:
        notes.append(f"an ImageJ stack of {hidden} images of which only {n_pages} can be read")
    if n_frames > 1:
        notes.append(f"{n_frames} frames: average shown")
    return tuple(notes)


def _tiff_pixel_size(tif: tifffile.TiffFile, page: Any) -> float | None:
    """Angstrom per pixel from the resolution tags; None where they speak of a screen or a printer (72 dpi)."""
    unit_A = {2: 2.54e8, 3: 1e8}.get(int(page.resolutionunit))
    if tif.is_imagej:
        unit_A = _LENGTH_A.get(str((tif.imagej_metadata or {}).get("unit", "")).lower(), unit_A)
    per_unit = float(page.resolution[0])
    if unit_A is None or not math.isfinite(per_unit) or per_unit <= 0:
        return None
    pixel = unit_A / per_unit
    return pixel if 0.01 <= pixel <= 1000 else None


def _luminance(pixels: AnyArray) -> AnyArray:
    """(h, w, s) to (h, w): Rec. 601 luminance of RGB, the first sample of anything else; dtype kept."""
    if pixels.shape[2] < 3:
        return pixels[..., 0]
    grey = sum(pixels[..., i] * np.float32(weight) for i, weight in enumerate((0.299, 0.587, 0.114)))
    return np.asarray(np.rint(grey) if pixels.dtype.kind in "ui" else grey).astype(pixels.dtype)


# -- PNG and JPEG ------------------------------------------------------------------------------------------------------


def _open_display(file: IO[bytes], path: Path, size: int, kind: Kind) -> tuple[ImageFile.ImageFile, tuple[str, ...]]:
    """Open a PNG or JPEG without decoding it; the size is checked here, so not by Pillow's process-wide limit."""
    with guard(path):
        file.seek(0)
        picture = PngImageFile(file) if kind == "png" else JpegImageFile(file)
    width, height = picture.size
    if not 0 < width * height <= min(_MAX_DISPLAY_PIXELS, 8 * mrc.MAX_DEFLATE_RATIO * size):
        raise FormatError(
            f"its header announces {width} x {height} px, which {size} bytes do not hold or which is more than "
            f"{_MAX_DISPLAY_PIXELS} px; open the MRC instead",
            path,
        )
    notes = [f"{kind.upper()} is a display copy: its rows may run the other way than the MRC's"]
    if picture.mode in ("LA", "La"):
        notes.append("transparency ignored")
    elif picture.mode not in ("L", "1") and not picture.mode.startswith("I"):
        notes.append("colour image: luminance shown")
    return picture, tuple(notes)


def _display_pixels(picture: ImageFile.ImageFile, path: Path) -> AnyArray:
    """(height, width) uint8, or uint16 of a 16-bit grey PNG."""
    with guard(path):
        if picture.mode.startswith("I"):
            return np.asarray(picture).astype(np.uint16, copy=False)
        return np.asarray(picture if picture.mode == "L" else picture.convert("L"))
