"""The one coordinate frame and every conversion into and out of it.

Canonical frame: a pick is the particle centre; ``x`` is the column and ``y`` the row of the array as stored in
the micrograph file (row 0 = first row of the file); 0-based, pixel centres on integers; unit = pixel of the
full-resolution micrograph the record names; float64. Out-of-range values are legal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePath
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]


class Orientation(StrEnum):
    """How the axes of a source lie on the axes of the stored array."""

    AS_STORED = "as-stored"
    FLIP_Y = "flip-y"
    SWAP_XY = "swap-xy"
    SWAP_FLIP_Y = "swap-flip-y"


class Anchor(StrEnum):
    """What point of the particle box the source's numbers name."""

    CENTRE = "centre"
    CORNER = "corner"


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The frame a coordinate file uses, as a declared and reversible conversion.

    Attributes
    ----------
    orientation : Orientation
        ``flip-y`` is ``row = H - Y`` (CryoPPP, cryoSPARC); ``swap-xy`` is ``row = X, column = Y``;
        ``swap-flip-y`` is ``column = Y, row = H - X``.
    anchor : Anchor
        Box corner with the smallest row and column as counted *in the source*, or box centre.
    scale : float
        Micrograph pixels per source pixel (a file made on a 4x binned copy has scale 4).
    first_index : int
        0, or 1 for sources that count pixels from one.
    flips_tiff : bool
        The source's program reads TIFF from the last row up (RELION, IMOD, EMAN2, SerialEM, MotionCor2), so that on
        a TIFF micrograph its y runs against the stored rows; see :meth:`on`.
    """

    orientation: Orientation = Orientation.AS_STORED
    anchor: Anchor = Anchor.CENTRE
    scale: float = 1.0
    first_index: int = 0
    flips_tiff: bool = False

    def on(self, image: str | PurePath) -> SourceFrame:
        """The frame on one image: y turned where the program reads that kind of file upside down.

        Parameters
        ----------
        image : str or path
            Name of the micrograph; its extension says what it is, as it does to those programs.

        Returns
        -------
        SourceFrame
            ``flips_tiff`` is settled in it.
        """
        if not self.flips_tiff:
            return self
        orientation = _TURNED[self.orientation] if is_tiff(image) else self.orientation
        return replace(self, orientation=orientation, flips_tiff=False)

    def to_canonical(
        self, x: ArrayLike, y: ArrayLike, *, height: float, box_size: ArrayLike = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Convert source numbers to canonical ``(x, y)``.

        Parameters
        ----------
        x, y : (n,) array_like
            Numbers as the source writes them, source px.
        height : float
            Number of rows of the full-resolution micrograph, px.
        box_size : float or (n,) array_like
            Box edge in source px; used for corners only.

        Returns
        -------
        x, y : (n,) float64, canonical px
        """
        sx = np.asarray(x, dtype=np.float64) - self.first_index
        sy = np.asarray(y, dtype=np.float64) - self.first_index
        if self.anchor is Anchor.CORNER:
            half = np.asarray(box_size, dtype=np.float64) / 2.0
            sx, sy = sx + half, sy + half
        sx, sy = sx * self.scale, sy * self.scale
        if self.orientation in (Orientation.SWAP_XY, Orientation.SWAP_FLIP_Y):
            sx, sy = sy, sx
        if self.orientation in (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y):
            sy = flip_y(sy, height)
        return sx, sy

    def from_canonical(
        self, x: ArrayLike, y: ArrayLike, *, height: float, box_size: ArrayLike = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Inverse of :meth:`to_canonical`; same units and shapes."""
        cx = np.asarray(x, dtype=np.float64)
        cy = np.asarray(y, dtype=np.float64)
        if self.orientation in (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y):
            cy = flip_y(cy, height)
        if self.orientation in (Orientation.SWAP_XY, Orientation.SWAP_FLIP_Y):
            cx, cy = cy, cx
        cx, cy = cx / self.scale, cy / self.scale
        if self.anchor is Anchor.CORNER:
            half = np.asarray(box_size, dtype=np.float64) / 2.0
            cx, cy = cx - half, cy - half
        return cx + self.first_index, cy + self.first_index


#: Each orientation with y counted from the other end of the image's rows.
_TURNED = {
    Orientation.AS_STORED: Orientation.FLIP_Y,
    Orientation.FLIP_Y: Orientation.AS_STORED,
    Orientation.SWAP_XY: Orientation.SWAP_FLIP_Y,
    Orientation.SWAP_FLIP_Y: Orientation.SWAP_XY,
}

#: CryoPPP's CSV and ``*_particles_selected.star``: y counted from the last row (FORMATS.md 1.3).
CRYOPPP_FRAME = SourceFrame(Orientation.FLIP_Y)
#: Programs whose numbers are the canonical frame itself, whatever the kind of image.
STORED_FRAME = SourceFrame()
#: RELION STAR: the canonical frame itself (FORMATS.md 2), but RELION reads TIFF from the last row up (rwTIFF.h).
RELION_FRAME = SourceFrame(flips_tiff=True)


def is_tiff(image: str | PurePath) -> bool:
    """Whether a file is TIFF by its name."""
    return str(image).lower().endswith((".tif", ".tiff"))


def flip_y(y: ArrayLike, height: float) -> FloatArray:
    """``H - y``: bottom-up to top-down rows and back, px. Its own inverse."""
    return np.asarray(height - np.asarray(y, dtype=np.float64), dtype=np.float64)


def to_yx(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Stack canonical x, y into napari's ``(n, 2) float64, yx, px``."""
    return np.column_stack([np.asarray(y, np.float64).ravel(), np.asarray(x, np.float64).ravel()])


@overload
def angstrom_to_px(length_A: float, pixel_size_A: float) -> float: ...
@overload
def angstrom_to_px(length_A: FloatArray, pixel_size_A: float) -> FloatArray: ...
def angstrom_to_px(length_A: float | FloatArray, pixel_size_A: float) -> float | FloatArray:
    """Lengths in micrograph pixels.

    Parameters
    ----------
    length_A : float or (n,) float64, angstrom
    pixel_size_A : float
        Angstrom per px.

    Returns
    -------
    float or (n,) float64, px

    Raises
    ------
    ValueError
        The pixel size is not positive.
    """
    if not pixel_size_A > 0:
        raise ValueError(f"pixel size must be positive, not {pixel_size_A}")
    if isinstance(length_A, np.ndarray):
        return np.asarray(length_A / pixel_size_A, np.float64)
    return float(length_A) / pixel_size_A


def px_to_angstrom(length_px: ArrayLike, pixel_size_A: float) -> FloatArray:
    """Length in micrograph pixels to angstrom. Raises ValueError unless the pixel size is positive."""
    if not pixel_size_A > 0:
        raise ValueError(f"pixel size must be positive, not {pixel_size_A}")
    return np.asarray(np.asarray(length_px, np.float64) * pixel_size_A, dtype=np.float64)


def relion_y(y: ArrayLike, image: str | PurePath, height: float) -> FloatArray:
    """``rlnCoordinateY`` of places on a micrograph.

    Parameters
    ----------
    y : (n,) array_like, canonical px
    image : str or path
        Name of the micrograph: RELION reads TIFF from the last row up.
    height : float
        Of the micrograph, px.

    Returns
    -------
    (n,) float64
    """
    rows = np.asarray(y, np.float64)
    return RELION_FRAME.on(image).from_canonical(np.zeros_like(rows), rows, height=height)[1]
