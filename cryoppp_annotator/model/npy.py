"""Arrays in numpy's file format, read without Python's own parser.

``numpy.load`` gives the text of the header to :func:`ast.literal_eval`. Python 3.11 below 3.11.8 (Debian 12 has 3.11.2)
keeps one count of that parser's depth for all threads, and raises ``SystemError: AST constructor recursion depth
mismatch`` where two read a file at the same moment (https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import math
import re
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
#: Of each version: how many bytes say how long the header is, and the header's encoding.
_VERSIONS = {(1, 0): (2, "latin-1"), (2, 0): (4, "latin-1"), (3, 0): (4, "utf-8")}
#: A header of plain columns has about a hundred characters.
_LONGEST_HEADER = 10_000
_NUMBER = r"'[<>|=]?[biufcUSmM]\d*(?:\[\w+\])?'"
_SIZES = r"\((?:\d+, ?)*\d*\)"
_FIELD = re.compile(rf"\('(?P<name>\w+)', (?P<dtype>{_NUMBER})(?:, (?P<shape>{_SIZES}))?\)")
_FIELDS = re.sub(r"\?P<\w+>", "?:", _FIELD.pattern)
_HEADER = re.compile(
    rf"\{{'descr': (?P<dtype>{_NUMBER}|\[{_FIELDS}(?:, {_FIELDS})*\]), "
    rf"'fortran_order': (?P<fortran>True|False), 'shape': (?P<shape>{_SIZES}), ?\}}\s*"
)


class NpyHeader(NamedTuple):
    """What stands before the numbers."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    #: Bytes before the first number
    offset: int

    @property
    def n_bytes(self) -> int:
        """Of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(stream: IO[bytes]) -> NpyHeader:
    """The header of an ``.npy``; the stream is left before the first number.

    Raises
    ------
    ValueError
        It is none, or one of objects, which are not among what is kept.
    """
    start = stream.read(8)
    version = tuple(start[6:8])
    if start[:6] != _MAGIC or version not in _VERSIONS:
        raise ValueError("it is no array of numpy")
    n_digits, encoding = _VERSIONS[version]
    length = int.from_bytes(stream.read(n_digits), "little")
    if length > _LONGEST_HEADER:
        raise ValueError("the header of its array is longer than any of plain numbers")
    text = stream.read(length).decode(encoding)
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ValueError("its array is not of plain numbers or texts")
    return NpyHeader(
        _dtype(match["dtype"]),
        _sizes(match["shape"]),
        "F" if match["fortran"] == "True" else "C",
        8 + n_digits + length,
    )


def _dtype(text: str) -> np.dtype[Any]:
    """Of numbers, or of records of them. Raises ValueError where numpy knows no such."""
    try:
        if not text.startswith("["):
            return np.dtype(text[1:-1])
        fields = _FIELD.finditer(text)
        return np.dtype([(field["name"], field["dtype"][1:-1], _sizes(field["shape"] or "()")) for field in fields])
    except (TypeError, OverflowError) as error:
        raise ValueError(f"its array is not of plain numbers or texts ({error})") from error


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text[1:-1].split(",") if size.strip())


def read_npy(stream: IO[bytes]) -> NDArray[Any]:
    """The array of an ``.npy``. Nothing is set aside for numbers that are not there.

    Raises
    ------
    ValueError
        As :func:`read_npy_header`, or numbers are missing or left over.
    """
    header = read_npy_header(stream)
    data = stream.read()
    if len(data) != header.n_bytes:
        raise ValueError(f"its array is said to take {header.n_bytes:,} bytes, and {len(data):,} are there")
    if not data:
        return np.empty(header.shape, header.dtype)
    return np.frombuffer(data, header.dtype).reshape(header.shape, order=header.order).copy()
