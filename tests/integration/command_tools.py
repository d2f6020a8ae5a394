"""Commands and micrographs for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
from numpy.typing import NDArray

#: Exit code, standard output and standard error of a command.
Cli = Callable[..., tuple[int, str, str]]


def write_mrc(path: Path, image: NDArray[Any], pixel_A: float) -> Path:
    """Write a micrograph (h, w) of a pixel size in angstrom, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(image)
        file.voxel_size = pixel_A
    return path
