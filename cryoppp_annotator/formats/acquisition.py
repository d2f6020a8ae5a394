"""What lies beside or inside an image file about how it was taken: SerialEM's .mdoc, and the FEI extended header."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import mrcfile

#: Of an .mdoc only its beginning is read: a tilt series has one section for each image.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What is known; None = not said.

    Attributes
    ----------
    voltage_kV, pixel_size_A : float or None
    source : str
        File that says it.
    """

    voltage_kV: float | None = None
    pixel_size_A: float | None = None
    source: str = ""


def read_acquisition(image: Path) -> Acquisition:
    """What the .mdoc of an image says, else its own header; never an error: such files are a courtesy."""
    for beside in (image.with_name(image.name + ".mdoc"), image.with_suffix(".mdoc")):
        if (acquisition := _of_mdoc(beside)).voltage_kV is not None:
            return acquisition
    return _of_header(image)


def _of_mdoc(path: Path) -> Acquisition:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return Acquisition()
    values = dict(re.findall(r"^[ \t]*(Voltage|PixelSpacing)[ \t]*=[ \t]*([-+.\deE]+)", text, re.MULTILINE)[::-1])
    return Acquisition(_positive(values.get("Voltage"), 1.0), _positive(values.get("PixelSpacing"), 1.0), path.name)


def _of_header(path: Path) -> Acquisition:
    """Acceleration voltage of an FEI extended header (volt there)."""
    if path.suffix.lower() not in (".mrc", ".mrcs"):
        return Acquisition()
    try:
        with mrcfile.mmap(path, mode="r", permissive=True) as file:
            if bytes(file.header.exttyp) not in (b"FEI1", b"FEI2"):
                return Acquisition()
            header = file.indexed_extended_header
            return Acquisition(_positive(header["HT"][0], 1e-3), None, path.name)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Acquisition()


def _positive(value: object, factor: float) -> float | None:
    try:
        number = factor * float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None
