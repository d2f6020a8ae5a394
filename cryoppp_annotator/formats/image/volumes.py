"""Maps: MRC volumes in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile.utils
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from ...errors import FormatError
from ..atomic import replacing
from .stacks import read_stack


def read_volume(path: Path) -> tuple[NDArray[Any], float | None]:
    """Map an uncompressed MRC volume.

    Returns
    -------
    volume : (sections, rows, columns) real array, zyx
    voxel_size_A : float or None
        None where the header says 0.

    Raises
    ------
    FormatError
        Not an MRC, or a single image.
    """
    volume, pixel = read_stack(path)
    if volume.shape[0] < 2:
        raise FormatError("is one image, not a map of several sections", path)
    if np.iscomplexobj(volume):
        raise FormatError("holds complex numbers: a map in real space is needed", path)
    return volume, pixel


def write_volume(path: Path, volume: NDArray[np.float32], voxel_size_A: float) -> Path:
    """Write a (sections, rows, columns) float32 map (mode 2, space group 1); it replaces ``path`` when complete.

    Raises
    ------
    OSError
    """
    sections, rows, columns = volume.shape
    header = np.zeros((), HEADER_DTYPE)
    header["nx"], header["ny"], header["nz"] = columns, rows, sections
    header["mx"], header["my"], header["mz"] = columns, rows, sections
    header["mode"], header["ispg"] = 2, 1
    header["cella"] = (columns * voxel_size_A, rows * voxel_size_A, sections * voxel_size_A)
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["map"] = b"MAP "
    header["nversion"] = 20141
    header["machst"] = mrcfile.utils.machine_stamp_from_byte_order("<")
    header["dmin"], header["dmax"] = volume.min(), volume.max()
    header["dmean"], header["rms"] = volume.mean(dtype=np.float64), volume.std(dtype=np.float64)
    with replacing(path) as stream:
        stream.write(header.tobytes())
        stream.write(np.ascontiguousarray(volume, "<f4").tobytes())
    return path
