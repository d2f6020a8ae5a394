"""Compressed TIFF pages for which tifffile asks for a package, decoded by the libtiff that comes with Pillow.

Rows come as they are stored, whatever the orientation tag and the meaning of white say: so tifffile has them, and
RELION (3.1.3 was asked, with every compression and orientation).
"""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from .mrc import AnyArray

_ORIENTATION = 0x0112
_WHITE_IS_ZERO = 0
#: LZW, Deflate (two numbers), LZMA, Zstandard: what libtiff undoes a predictor of.
_WITH_PREDICTOR = frozenset({5, 8, 32946, 34925, 50000})


def is_lack_of_decoder(error: Exception) -> bool:
    """Whether tifffile failed for want of a package (imagecodecs, or Python 3.14's own), not for what is stored."""
    return isinstance(error, ImportError) or "imagecodecs" in str(error)


def decoded(file: IO[bytes], page: Any, dtype: np.dtype[Any]) -> AnyArray | None:
    """Pixels of a page; None where there is no decoder, or one that may be wrong.

    Parameters
    ----------
    file : binary stream
    page : tifffile.TiffPage
    dtype : dtype
        Of the pixels as stored, with its byte order.
    """
    swapped = dtype.itemsize > 1 and dtype.byteorder == ">"  # Pillow swaps what libtiff has swapped
    if swapped or (int(page.predictor) != 1 and int(page.compression) not in _WITH_PREDICTOR):
        return None
    try:
        picture = TiffImageFile(_unturned(file, page))
        picture.seek(page.index if isinstance(page.index, int) else page.index[0])
        pixels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, KeyError):
        return None
    return 255 - pixels if int(page.photometric) == _WHITE_IS_ZERO and picture.mode == "L" else pixels


def _unturned(file: IO[bytes], page: Any) -> IO[bytes]:
    """The file from its start; where the page has an orientation, which Pillow would turn it by, a copy without."""
    file.seek(0)
    tag = page.tags.get(_ORIENTATION)
    if tag is None or tag.value == 1:
        return file
    copy = io.BytesIO(file.read())
    copy.seek(tag.valueoffset)
    copy.write((1).to_bytes(2, "big" if page.parent.byteorder == ">" else "little"))
    copy.seek(0)
    return copy


def no_decoder(page: Any) -> str:
    """Why a TIFF that may well be sound cannot be read here."""
    name = getattr(page.compression, "name", str(page.compression)).replace("_", " ")
    how = f"{page.bitspersample}-bit values" if int(page.compression) == 1 else f"{name} compression"
    return (
        f"has {how}, which need the package imagecodecs: pip install 'cryoppp-annotator[tiff]' (the file itself may be "
        "sound)"
    )
