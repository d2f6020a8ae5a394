"""cryoSPARC's two containers for tables, ``.cs``: NumPy's NPY and the compressed stream, as columns.

Written with cryosparc-tools, which knows both. Its *reader* trusts what it reads: a few changed bytes in a compressed
stream crash the process (version 5.0.3: string offsets and buffer lengths are not checked). So the container is taken
apart here, every length is compared with the bytes that are there, and only LZ4 is left to the library. Nothing is
ever unpickled.
"""

from __future__ import annotations

import json
import threading
import tokenize
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import FormatError, disk_reason
from ..atomic import replacing

NPY_MAGIC = b"\x93NUMPY"
STREAM_MAGIC = b"\x95CSDAT"
_MAX_HEADER = 1 << 20
_MAX_LZ4_RATIO = 256
_TEXT = "|O"
_BAD_HEADER = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError)
_OFFSET = np.dtype(np.uint64)
#: numpy reads headers with a parser that is not safe in threads (see :mod:`cryoppp_annotator.model.npy`).
_PARSER = threading.Lock()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table.

    Attributes
    ----------
    columns : mapping of field to (n, ...) array
        Texts as ``S`` (NPY) or object arrays of str (stream); everything else as stored.
    compressed : bool
        Whether it came as a compressed stream, and is to be written as one.
    """

    columns: Mapping[str, NDArray[Any]]
    compressed: bool

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def take(self, index: Any) -> Dataset:
        """Rows by mask or index."""
        return Dataset({name: column[index] for name, column in self.columns.items()}, self.compressed)


# --- reading -------------------------------------------------------------------------------------------------------


def read_dataset(path: Path) -> Dataset:
    """Read a ``.cs`` file of either kind.

    Raises
    ------
    FormatError
        It cannot be read, is of neither kind, is cut short or damaged, or asks for unpickling.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            magic = stream.read(6)
            if magic == NPY_MAGIC:
                stream.seek(0)
                return Dataset(_read_npy(stream, size, path), compressed=False)
            if magic == STREAM_MAGIC:
                return Dataset(_read_stream(stream, size, path), compressed=True)
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error
    raise FormatError("is no cryoSPARC dataset: it starts as neither NPY nor a cryoSPARC stream does", path)


def _read_npy(stream: BinaryIO, size: int, path: Path) -> dict[str, NDArray[Any]]:
    shape, dtype = _npy_header(stream, path)
    if dtype.hasobject:
        raise FormatError("asks for unpickling, which could run a program hidden in it: refused", path)
    if len(shape) != 1 or dtype.names is None or "uid" not in dtype.names:
        raise FormatError("is an array, but no cryoSPARC dataset (a table with the field uid)", path)
    left = size - stream.tell()
    if shape[0] * dtype.itemsize > left:
        n_left = left // max(dtype.itemsize, 1)
        raise FormatError(f"is cut short: it announces {shape[0]:,} rows and holds {n_left:,}", path)
    if not dtype.itemsize:
        raise FormatError("has rows of no length", path)
    records = np.fromfile(stream, dtype=dtype, count=shape[0])
    return {name: records[name] for name in dtype.names}


def _npy_header(stream: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        if version not in read_header:
            raise FormatError(f"is of NPY version {version}, which cryoSPARC does not write", path)
        with _PARSER, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old headers, which are read nevertheless
            shape, fortran, dtype = read_header[version](stream, max_header_size=_MAX_HEADER)
    except (*_BAD_HEADER, EOFError, tokenize.TokenError) as error:
        raise FormatError(f"has a damaged NPY header ({str(error)[:80]})", path) from error
    if fortran and len(shape) > 1:
        raise FormatError("is an array in column order, not a table", path)
    if not all(0 <= n < 2**48 for n in shape):
        raise FormatError(f"announces an impossible number of rows: {shape}", path)
    return shape, dtype


def _read_stream(stream: BinaryIO, size: int, path: Path) -> dict[str, NDArray[Any]]:
    length, fields, squeezed = _stream_header(stream, size, path)
    columns: dict[str, NDArray[Any]] = {}
    for name, dtype in fields.items():
        stored = _OFFSET if dtype is None else dtype
        if length == 0:  # then there is no data section
            columns[name] = np.zeros((0, *stored.shape), stored.base)
            continue
        data = _exactly(stream, int.from_bytes(_exactly(stream, 4, size, path), "little"), size, path)
        columns[name] = _column(data, length, stored, name in squeezed, f"field {name}", path)
    heap = stream.read()
    return {
        name: _strings(column, heap, name, path) if fields[name] is None else column for name, column in columns.items()
    }


def _exactly(stream: BinaryIO, n: int, size: int, path: Path) -> bytes:
    data = stream.read(n) if n <= size else b""
    if len(data) != n:
        raise FormatError("is cut short or damaged: a field is longer than the file", path)
    return data


def _stream_header(stream: BinaryIO, size: int, path: Path) -> tuple[int, dict[str, np.dtype[Any] | None], set[str]]:
    """Number of rows, dtypes by field (None for texts), and the compressed fields."""
    n = int.from_bytes(_exactly(stream, 4, size, path), "little")
    if n > _MAX_HEADER:
        raise FormatError("has a header of over a megabyte: damaged", path)
    try:
        header = json.loads(_exactly(stream, n, size, path))
        length, squeezed = header["length"], set(header["compressed_fields"])
        fields = {str(name): _dtype(kind, *shape) for name, kind, *shape in header["dtype"]}
        if header["compression"] not in (None, "lz4"):
            raise ValueError(f"compression {str(header['compression'])[:20]!r}")
    except (*_BAD_HEADER, KeyError) as error:
        raise FormatError(f"has a damaged stream header ({str(error)[:80]})", path) from error
    width = sum((_OFFSET if dtype is None else dtype).itemsize for dtype in fields.values())
    if type(length) is not int or not 0 <= length * width <= size * _MAX_LZ4_RATIO or "uid" not in fields:
        raise FormatError("has a stream header that does not fit the file: cut short or damaged", path)
    return length, fields, squeezed


def _dtype(kind: str, shape: Any = ()) -> np.dtype[Any] | None:
    """Type of a number field; None for a text."""
    if kind == _TEXT:
        return None
    base = np.dtype(kind)
    if base.hasobject or base.names is not None or base.subdtype is not None or base.kind not in "fiuc":
        raise ValueError(f"type {kind[:20]!r}")
    dimensions = tuple(int(n) for n in shape)
    if not all(0 < n < 2**16 for n in dimensions) or len(dimensions) > 3:
        raise ValueError(f"shape {dimensions}")
    return np.dtype((base, dimensions)) if dimensions else base


def _column(data: bytes, length: int, dtype: np.dtype[Any], squeezed: bool, what: str, path: Path) -> NDArray[Any]:
    expected = length * dtype.itemsize
    if squeezed:
        data = _decompressed(data, expected, what, path)
    if len(data) != expected:
        raise FormatError(f"{what} has {len(data):,} bytes where {expected:,} were expected", path)
    return np.frombuffer(data, dtype=np.dtype((dtype.base, dtype.shape)), count=length).copy()


def _decompressed(data: bytes, expected: int, what: str, path: Path) -> bytes:
    from cryosparc.dataset.core import Stream  # so that the program starts, and reads NPY, without it

    if not 0 < expected < 2**31 or expected > len(data) * _MAX_LZ4_RATIO:
        raise FormatError(f"{what} is too short for its {expected:,} bytes: cut short or damaged", path)
    # LZ4 writes no further than the array it is given
    buffer = np.zeros(expected, np.uint8)
    try:
        n = len(Stream().decompress_numpy(data, buffer))
    except ValueError as error:
        raise FormatError(f"{what} cannot be decompressed: damaged", path) from error
    return buffer[:n].tobytes()


def _strings(offsets: NDArray[Any], heap: bytes, name: str, path: Path) -> NDArray[Any]:
    """Texts of a field, from their places in the heap of NUL-ended UTF-8 strings."""
    texts: dict[int, str] = {}
    for offset in np.unique(offsets).tolist():
        end = heap.find(b"\x00", offset) if offset < len(heap) else -1
        if end < 0 and offset:
            raise FormatError(f"field {name} points to a text that is not in the file: cut short or damaged", path)
        try:
            texts[offset] = heap[offset:end].decode("utf-8") if end >= 0 else ""
        except UnicodeDecodeError as error:
            raise FormatError(f"field {name} holds a text that is not UTF-8", path) from error
    strings = np.empty(len(offsets), object)
    strings[:] = [texts[offset] for offset in offsets.tolist()]
    return strings


# --- writing -------------------------------------------------------------------------------------------------------


def write_dataset(path: Path, dataset: Dataset) -> Path:
    """Write a dataset in the container it came in; returns ``path``."""
    with replacing(path) as stream:
        if dataset.compressed:
            from cryosparc.dataset import CSDAT_FORMAT
            from cryosparc.dataset import Dataset as Table

            Table(dict(dataset.columns)).save(stream, format=CSDAT_FORMAT)
        else:
            np.save(stream, _records(dataset), allow_pickle=False)
    return path


def _records(dataset: Dataset) -> NDArray[Any]:
    fields = [(name, column.dtype, column.shape[1:]) for name, column in dataset.columns.items()]
    records = np.zeros(len(dataset), dtype=fields)
    for name, column in dataset.columns.items():
        records[name] = column
    return records
