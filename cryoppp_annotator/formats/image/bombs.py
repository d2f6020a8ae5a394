"""Compressed parts of a picture that unpack to more than the picture: refused before a decoder makes room for them."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import FormatError
from .mrc import guard

_DEFLATE = (8, 32946)
_LZMA = 34925
#: Bytes unpacked at a time, and thrown away.
_PIECE = 2**20
#: What a part may hold beyond its share of the picture (padding), bytes.
_SLACK = 2**16


def refuse_bombs(page: Any, file: IO[bytes], path: Path) -> None:
    """Unpack every part of a TIFF page in small pieces, to see that none is larger than the page says.

    Decoders unpack a part whole before they look at its size, so that a file of 3 MB that says 64 x 48 px can take
    gigabytes. Parts that are not compressed, or by a method that is bounded, are not checked.

    Parameters
    ----------
    page : tifffile.TiffPage
    file : binary file
        Open; its position is changed.
    path : Path

    Raises
    ------
    FormatError
        A part is larger, or damaged.
    """
    compression = int(page.compression)
    if compression not in (*_DEFLATE, _LZMA):
        return
    limit = _part_bytes(page) + _SLACK
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        with guard(path):
            file.seek(int(offset))
            data = file.read(int(length))
            unpacked = 0
            for piece in _pieces(compression, data):
                unpacked += piece
                if unpacked > limit:
                    raise FormatError(
                        f"one of its parts unpacks to more than the {limit - _SLACK:,} bytes its header announces; "
                        "it is damaged or made to fill the memory: do not open it",
                        path,
                    )


def _part_bytes(page: Any) -> int:
    """Bytes of one strip or tile."""
    shape = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    rows = min(int(shape[0]), int(page.imagelength)) if not page.is_tiled else int(shape[0])
    samples = int(page.samplesperpixel) if int(page.planarconfig) == 1 else 1
    return int(rows * int(shape[1]) * samples * np.dtype(page.dtype).itemsize)


def _pieces(compression: int, data: bytes) -> Iterator[int]:
    """Sizes of the pieces that data unpack to."""
    if compression == _LZMA:
        xz = lzma.LZMADecompressor()
        while not xz.eof:
            piece = xz.decompress(data, _PIECE)
            data = b""
            if not piece and xz.needs_input:
                return
            yield len(piece)
        return
    deflate = zlib.decompressobj()
    while data:
        piece = deflate.decompress(data, _PIECE)
        data = deflate.unconsumed_tail
        yield len(piece)
        if not piece:
            return
