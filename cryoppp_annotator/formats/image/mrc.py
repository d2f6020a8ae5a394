"""MRC: the header and the pixels of every dialect that is met in the wild (FORMATS.md 13).

mrcfile gives the layout of the header and the modes. Opening is done here, not with ``mrcfile.open(permissive=True)``,
because that allocates what the header says before it looks at the file's size, reports by way of warnings,
decompresses a whole file to learn its shape, and goes by the machine stamp where the numbers contradict it. What
:func:`parse_header` says is the one truth for probing and for reading.
"""

from __future__ import annotations

import bz2
import gzip
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp, dtype_from_mode
from numpy.typing import NDArray

from ...errors import AnnotatorError, FormatError, lacks_memory, memory_reason

AnyArray: TypeAlias = NDArray[Any]
Check: TypeAlias = Callable[[], None]

HEADER_BYTES = 1024
#: Longest side, most pixels of one frame and most frames that are believed; beyond lies only damage.
MAX_SIDE = 262_144
MAX_PIXELS = 2**29
MAX_FRAMES = 2**22
_MODES = (0, 1, 2, 6, 12)
_REFUSED_MODES = {
    3: "holds complex numbers (mode 3: a Fourier transform); open the real-space micrograph instead",
    4: "holds complex numbers (mode 4: a Fourier transform); open the real-space micrograph instead",
    16: "holds colours (mode 16); open the grey-scale micrograph instead",
    101: "is packed 4-bit (mode 101, IMOD); unpack it once with IMOD's 'newstack -mode 0 IN.mrc OUT.mrc'",
}
_LAYOUT = {order: HEADER_DTYPE.newbyteorder(order) for order in "<>"}
_ORDER_NAMES = {"<": "little-endian", ">": "big-endian"}
_IMOD_STAMP = 1146047817
_CHUNK = 4 * 2**20
#: Deflate cannot do better than 1032:1, so a header that claims more than this is lying.
MAX_DEFLATE_RATIO = 1100

#: Likewise of bzip2: a block of 900,000 equal bytes takes some 40.
MAX_BZIP2_RATIO = 25_000
#: A compressed file that announces more than this is not unpacked, bytes.
MAX_UNPACKED = 2**37


@contextmanager
def guard(path: Path, what: str = "read") -> Iterator[None]:
    """Turn what goes wrong between us and a file into one FormatError sentence about ``path``.

    Whatever a decoder raises: none of them promises a set (a damaged LZMA TIFF raises ``LZMAError``).
    """
    try:
        yield
    except AnnotatorError:
        raise
    except FileNotFoundError as error:
        raise FormatError("does not exist; was it moved or renamed?", path) from error
    except PermissionError as error:
        raise FormatError("may not be read by you; ask its owner for permission to read it", path) from error
    except Exception as error:
        if lacks_memory(error):
            raise FormatError(f"cannot be {what}: {memory_reason(error)}", path) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(
            f"cannot be {what} ({reason}); it seems to be damaged or incomplete: copy or download it again", path
        ) from error


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open an ordinary file; yields it and its size in bytes. Raises FormatError (folders, pipes, devices too)."""
    with guard(path, "opened"):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise FormatError("is a folder; an image file was expected", path)
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise FormatError("is a pipe or a device; an image file was expected", path)
        # A network disk may ask for buffers of megabytes, which is a lot for a header.
        file = open(path, "rb", buffering=8192)  # noqa: SIM115
    with file:
        yield file, os.fstat(file.fileno()).st_size


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """What an MRC header says, checked.

    Attributes
    ----------
    width, height, n_frames : int
        Columns, rows, sections; at least 1.
    dtype : np.dtype
        Of a pixel as stored, byte order included.
    offset : int
        Bytes before the first pixel.
    pixel_size_A : float or None
        cella.x / mx; None where mx is not positive or the quotient not finite. 0.0 is kept: the header says so.
    notes : tuple of str
        What a person should know.
    is_volume : bool
        The header says that the sections are slices of one volume, and there are too many for a thin one.
    """

    width: int
    height: int
    n_frames: int
    dtype: np.dtype[Any]
    offset: int
    pixel_size_A: float | None
    notes: tuple[str, ...] = ()
    is_volume: bool = False

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.width * self.height * self.dtype.itemsize

    @property
    def expected_bytes(self) -> int:
        """Bytes of the whole file, decompressed."""
        return self.offset + self.n_frames * self.frame_bytes


#: From so many sections on a volume is not taken for the frames of a movie whose writer did not mind the difference.
_SLICES = 16


def parse_header(head: bytes, path: Path, size: int | None) -> MrcHeader:
    """Interpret the first 1024 bytes of an MRC file.

    Parameters
    ----------
    head : bytes
        At least the first 1024 bytes, decompressed.
    path : Path
        For messages.
    size : int or None
        Size of the file in bytes; None where it is compressed and the size is not known.

    Raises
    ------
    FormatError
        Not an MRC file, an impossible header, a mode that is not an image, or a truncated file.
    """
    if len(head) < HEADER_BYTES:
        raise FormatError(
            f"is only {len(head)} bytes long, an MRC header alone has {HEADER_BYTES}; copy or download it again", path
        )
    notes: list[str] = []
    order = _byte_order(head, path, notes)
    fields = np.frombuffer(head, _LAYOUT[order], count=1)[0]
    width, height, n_frames = int(fields["nx"]), int(fields["ny"]), int(fields["nz"])
    mode = int(fields["mode"])
    if mode in _REFUSED_MODES:
        raise FormatError(_REFUSED_MODES[mode], path)
    dtype = np.dtype(dtype_from_mode(mode)).newbyteorder(order)
    if mode == 0:
        dtype = _byte_dtype(head, fields, order, notes)
    offset = _data_offset(int(fields["nsymbt"]), n_frames * width * height * dtype.itemsize, path, size, notes)
    header = MrcHeader(width, height, n_frames, dtype, offset, _pixel_size(fields, width, height, notes))
    if size is not None and size < header.expected_bytes:
        raise FormatError(
            f"is truncated: {header.expected_bytes - size} of {header.expected_bytes} bytes are missing "
            f"(header: {width} x {height} x {n_frames}, mode {mode}); repeat the copy or download",
            path,
        )
    if size is not None and size > header.expected_bytes:
        notes.append(f"{size - header.expected_bytes} bytes more than the header accounts for")
    is_volume = n_frames >= _SLICES and int(fields["ispg"]) > 0 and int(fields["mz"]) == n_frames
    is_volume = is_volume or (n_frames > 1 and path.name.lower().endswith((".rec", "_rec.mrc", "_tomo.mrc")))
    if n_frames > 1 and not is_volume:
        as_volume = int(fields["ispg"]) > 0 and int(fields["mz"]) == n_frames
        what = "sections of what its header calls a volume" if as_volume else "frames"
        notes.append(f"{n_frames} {what}: average shown")
    return MrcHeader(width, height, n_frames, dtype, offset, header.pixel_size_A, tuple(notes), is_volume)


def volume_problem(n_slices: int) -> str:
    """What is wrong with a volume where a micrograph is expected."""
    return (
        f"is a volume of {n_slices} slices (a tomogram?), not a micrograph: this program labels 2D micrographs. If it "
        "is a movie, save it as an image stack (space group 0 in the MRC header, or .mrcs), best motion-corrected"
    )


def _byte_order(head: bytes, path: Path, notes: list[str]) -> str:
    """'<' or '>': the machine stamp's order, unless the numbers make sense in the other one only."""
    stamped = head[208:211] == b"MAP"
    if not stamped:
        notes.append("old-style header without MAP stamp")
    try:
        claimed = str(byte_order_from_machine_stamp(head[212:216]))
    except ValueError:
        claimed = ""
    for order in (claimed or "<", ">" if claimed in ("<", "") else "<"):
        if _plausible(head, order, stamped):
            if claimed and order != claimed:
                notes.append(f"machine stamp says {_ORDER_NAMES[claimed]}, the header is {_ORDER_NAMES[order]}")
            elif stamped and not claimed:
                notes.append(f"unknown machine stamp, read as {_ORDER_NAMES[order]}")
            elif order == ">":
                notes.append("big-endian")
            return order
    if stamped:
        nx, ny, nz, mode = struct.unpack((claimed or "<") + "4i", head[:16])
        raise FormatError(
            f"its MRC header is impossible ({nx} x {ny} x {nz} pixels, mode {mode}); the file is damaged: "
            "copy or download it again",
            path,
        )
    text = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head[:HEADER_BYTES]) >= 0.95 * HEADER_BYTES
    raise FormatError(
        f"is {'text' if text else 'not an image'}; an MRC, TIFF, PNG or JPEG micrograph was expected", path
    )


def _plausible(head: bytes, order: str, stamped: bool) -> bool:
    nx, ny, nz, mode = struct.unpack(order + "4i", head[:16])
    if not (0 < nx <= MAX_SIDE and 0 < ny <= MAX_SIDE and 0 < nz <= MAX_FRAMES and nx * ny <= MAX_PIXELS):
        return False
    if mode not in _MODES and mode not in _REFUSED_MODES:
        return False
    # Without a stamp nothing else says MRC, so the axis order has to be one (all zero in the oldest files).
    return stamped or sorted(struct.unpack(order + "3i", head[64:76])) in ([1, 2, 3], [0, 0, 0])


def _byte_dtype(head: bytes, fields: Any, order: str, notes: list[str]) -> np.dtype[Any]:
    """Signed or unsigned bytes: IMOD's flag, else the header's own minimum and maximum, else signed (MRC2014)."""
    stamp, flags = struct.unpack(order + "2i", head[152:160])
    if stamp == _IMOD_STAMP:
        return np.dtype(np.int8 if flags & 1 else np.uint8)
    low, high = float(fields["dmin"]), float(fields["dmax"])
    if 0 <= low <= high and 127 < high <= 255:
        notes.append("mode 0 read as unsigned (the header's maximum is above 127)")
        return np.dtype(np.uint8)
    if not (-128 <= low < high <= 127):
        notes.append("mode 0 read as signed")
    return np.dtype(np.int8)


def _data_offset(extended: int, data_bytes: int, path: Path, size: int | None, notes: list[str]) -> int:
    """Where the pixels begin; an impossible extended header is ignored where the rest fits to the byte."""
    offset = HEADER_BYTES + extended
    if extended < 0 or (size is not None and offset > size):
        if size == HEADER_BYTES + data_bytes:
            notes.append(f"impossible extended header length {extended} ignored")
            return HEADER_BYTES
        raise FormatError(
            f"its header announces an impossible extended header of {extended} bytes; the file is damaged or "
            "truncated: copy or download it again",
            path,
        )
    return offset


def _pixel_size(fields: Any, width: int, height: int, notes: list[str]) -> float | None:
    """Angstrom per pixel as the header says."""
    mx, my = int(fields["mx"]), int(fields["my"])
    cell_x, cell_y = float(fields["cella"]["x"]), float(fields["cella"]["y"])
    if mx <= 0 or not np.isfinite(cell_x):
        return None
    pixel = cell_x / mx
    if my > 0 and np.isfinite(cell_y) and abs(cell_y / my - pixel) > 0.01 * abs(pixel):
        notes.append(f"the header's pixel is not square: {pixel:.4g} x {cell_y / my:.4g} Å")
    if mx != width and my != height and cell_x > 0:
        notes.append(
            f"the header's grid is {mx} x {my}, the image {width} x {height}: a binned copy? "
            f"then {cell_x / width:.4g} Å/px, not {pixel:.4g}"
        )
    return pixel


def decompressed(file: IO[bytes], compression: str) -> IO[bytes]:
    """A stream of the decompressed bytes of an open ``gz`` or ``bz2`` file."""
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file, mode="rb") if compression == "gz" else bz2.BZ2File(file, "rb")
    return cast("IO[bytes]", stream)


def compressed_header(stream: IO[bytes], compression: str, path: Path, size: int) -> MrcHeader:
    """Header of a compressed MRC; ``size`` is that of the compressed file, bytes. Raises FormatError."""
    with guard(path, "decompressed"):
        head = stream.read(HEADER_BYTES)
    header = parse_header(head, path, None)
    ratio = MAX_DEFLATE_RATIO if compression == "gz" else MAX_BZIP2_RATIO
    if header.expected_bytes > min(ratio * size, MAX_UNPACKED):
        raise FormatError(
            f"its header announces {header.expected_bytes} bytes, more than {size} compressed bytes can hold; "
            "the file is damaged or truncated: copy or download it again",
            path,
        )
    return header


def mapped_frame(file: IO[bytes], path: Path, header: MrcHeader, frame: int) -> AnyArray:
    """Frame ``frame`` as a read-only memory map, (height, width), dtype as stored."""
    with guard(path):
        return np.memmap(
            cast("Any", file),
            dtype=header.dtype,
            mode="r",
            offset=header.offset + frame * header.frame_bytes,
            shape=(header.height, header.width),
        )


def streamed_frames(stream: IO[bytes], path: Path, header: MrcHeader, first: int, check: Check) -> Iterator[AnyArray]:
    """Frames from ``first`` on of a decompressed stream that stands behind the 1024 header bytes."""
    to_skip = header.offset - HEADER_BYTES + first * header.frame_bytes
    for _ in _chunks(stream, path, to_skip, header, check):
        pass
    for frame in range(first, header.n_frames):
        pixels = bytearray()  # grows as bytes arrive, never as the header promises
        for chunk in _chunks(stream, path, header.frame_bytes, header, check):
            pixels += chunk
        if frame == header.n_frames - 1:
            with guard(path, "decompressed"):
                stream.read(1)  # the checksum is looked at when the end is reached
        yield np.frombuffer(pixels, header.dtype).reshape(header.height, header.width)


def _chunks(stream: IO[bytes], path: Path, n: int, header: MrcHeader, check: Check) -> Iterator[bytes]:
    """``n`` bytes of ``stream`` in pieces. Raises FormatError where it ends before."""
    missing = n
    while missing > 0:
        check()
        with guard(path, "decompressed"):
            chunk = stream.read(min(missing, _CHUNK))
        if not chunk:
            raise FormatError(
                f"is truncated: it decompresses to less than the {header.expected_bytes} bytes its header announces; "
                "repeat the copy or download",
                path,
            )
        missing -= len(chunk)
        yield chunk


def native(array: AnyArray) -> AnyArray:
    """``array`` itself where its byte order is this machine's, else a converted copy in memory."""
    return array if array.dtype.isnative else np.asarray(array, dtype=array.dtype.newbyteorder("="))


def mean_frame(frames: Iterable[AnyArray], check: Check) -> NDArray[np.float32]:
    """Average of at least one (height, width) frame, float32; one frame in memory at a time."""
    total: NDArray[np.float32] | None = None
    n = 0
    for frame in frames:
        check()
        with np.errstate(all="ignore"):  # NaN and infinity are the file's business
            if total is None:
                total = frame.astype(np.float32)
            else:
                np.add(total, frame, out=total, casting="same_kind")
        n += 1
    if total is None:
        raise ValueError("no frames to average")
    with np.errstate(all="ignore"):
        total /= np.float32(n)
    return total
