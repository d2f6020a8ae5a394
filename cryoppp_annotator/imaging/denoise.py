"""Pictures of a micrograph: the raw one, and the band-passed one in which a person sees the particles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..model.context import JobContext
from ..model.coordinates import angstrom_to_px
from ..model.parameter import Parameter, with_defaults
from ..model.picture import Picture
from .contrast import interior, robust_limits, robust_location, sample_pixels
from .ctf import Ctf
from .filters import Padding, band_pass, box_reduce, find_padding

#: Clip this many robust s.d. from the median: far beyond any particle, far below a hot pixel.
_CLIP_SD = 6.0
#: No parameter was chosen.
NOTHING: Mapping[str, Any] = MappingProxyType({})
#: Diameter assumed where none is known, angstrom.
_USUAL_DIAMETER_A = 150.0
#: The same as a share of the longest side, where the pixel size is not known either.
_USUAL_SHARE = 1 / 28


def raw_picture(image: NDArray[Any], max_side: int = 8192) -> Picture:
    """The micrograph as it is, with robust contrast limits.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        Not modified. NaN and infinities are shown as the median.
    max_side : int
        Larger images (beyond what a GPU texture holds) are shrunk by a whole factor with a box centred on every
        ``factor``-th pixel, so pixel 0 stays in place.

    Returns
    -------
    Picture
        Full resolution, step (1, 1), where the image is not larger than ``max_side``.

    Raises
    ------
    EngineError
        Where the image is empty or not 2-D.
    """
    check_image(image)
    with np.errstate(over="ignore"):
        pixels = image.astype(np.float32)
    if image.dtype.kind == "f":
        _replace_non_finite(pixels, robust_location(sample_pixels(pixels))[0])
    factor = max(1, math.ceil(max(image.shape) / max_side))
    limits = robust_limits(pixels, padding=find_padding(image))
    return Picture(box_reduce(pixels, factor), (float(factor), float(factor)), limits)


@dataclass(slots=True)  # not frozen: the protocol declares plain attributes
class BandPassDenoiser:
    """Band-pass filter: what is much larger or much finer than a particle is removed.

    Attributes
    ----------
    high_pass_diameters : float
        Wavelength of the high-pass (gain 1/2) where none is chosen, particle diameters.
    low_pass_diameters : float
        Wavelength of the low-pass (gain 1/2) where none is chosen, particle diameters.
    """

    #: The picture does not follow the defocus.
    uses_ctf: ClassVar[bool] = False
    name: str = "band-pass"
    title: str = "Band-pass"
    high_pass_diameters: float = 2.5
    low_pass_diameters: float = 1 / 8
    parameters: tuple[Parameter, ...] = (
        Parameter(
            "longest_A",
            "Longest",
            0.0,
            20.0,
            5000.0,
            "A",
            "Larger structures are removed (half left at this wavelength)",
            "2.5 diameters",
        ),
        Parameter(
            "shortest_A",
            "Shortest",
            0.0,
            2.0,
            500.0,
            "A",
            "Finer structures are removed (half left at this wavelength)",
            "1/8 diameter",
        ),
    )

    def denoise(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float | None,
        diameter_A: float | None,
        max_side: int,
        context: JobContext,
        parameters: Mapping[str, Any] = NOTHING,
        ctf: Ctf | None = None,
    ) -> Picture:
        """Make the display picture; see :class:`cryoppp_annotator.api.TunableDenoiser`. The CTF is not used.

        Returns
        -------
        Picture
            ``(ceil(h / step), ceil(w / step))`` pixels, mean 0 and s.d. 1 inside the padding border, 0 on it. Polarity
            is kept: particles that are dark in the micrograph are dark. The step is the same on both axes: the
            smallest multiple of 1/4 that is at least 1 and ``max(h, w) / max_side``.

        Raises
        ------
        Cancelled
        EngineError
            Where the image is empty or not 2-D, or a parameter is impossible.
        """
        check_image(image)
        chosen = with_defaults(self.parameters, parameters)
        context.check()
        step = picture_step(image.shape, max_side)
        diameter = diameter_px(max(image.shape), pixel_size_A, diameter_A)
        pixel = pixel_size_A if _positive(pixel_size_A) else None
        longest, shortest = (
            size / pixel if size and pixel else share * diameter
            for size, share in (
                (chosen["longest_A"], self.high_pass_diameters),
                (chosen["shortest_A"], self.low_pass_diameters),
            )
        )
        padding = find_padding(image)
        clean = cleaned(image, padding, context)
        shortest = max(shortest, 2.0 * step)
        pixels = band_pass(clean, longest, shortest, step=step, padding=padding, overwrite=True, context=context)
        del clean
        context.check()
        small = scaled_padding(padding, step, image.shape, pixels.shape)
        normalise(pixels, small)
        return Picture(pixels, (step, step), display_limits(pixels, small))


#: The simplest of the built-in denoisers (entry point ``band-pass``); an ``api.TunableDenoiser``.
BAND_PASS = BandPassDenoiser()


def picture_step(shape: tuple[int, ...], max_side: int) -> float:
    """Micrograph px per picture px: the smallest multiple of 1/4, at least 1, that gives at most ``max_side`` px."""
    return max(1.0, math.ceil(4.0 * max(shape) / max(1, max_side)) / 4.0)


def diameter_px(side: int, pixel_size_A: float | None, diameter_A: float | None) -> float:
    """Particle diameter to adapt a filter to, px: the one given, else a usual one kept sensible for this image.

    Parameters
    ----------
    side : int
        Longest side of the micrograph, px.
    pixel_size_A, diameter_A : float or None
        Unknown (also NaN or not positive) pixel size makes the diameter useless.
    """
    if not _positive(pixel_size_A):
        return max(4.0, side * _USUAL_SHARE)
    assert pixel_size_A is not None
    if _positive(diameter_A):
        assert diameter_A is not None
        return float(np.clip(angstrom_to_px(diameter_A, pixel_size_A), 2.0, max(2.0, side)))
    # A header may say 1 A/px and be wrong by ten: keep within what particles in micrographs are.
    return float(np.clip(angstrom_to_px(_USUAL_DIAMETER_A, pixel_size_A), max(4.0, side / 80), max(4.0, side / 15)))


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0.0


def check_image(image: NDArray[Any]) -> None:
    """Raise EngineError where this is no image (h, w) of real numbers."""
    if image.ndim != 2 or image.size == 0:
        raise EngineError(f"expected a micrograph with rows and columns, not an array of shape {image.shape}")
    if image.dtype.kind not in "biuf":
        raise EngineError(f"expected a micrograph of real numbers, not of {image.dtype}")


def _replace_non_finite(pixels: NDArray[np.float32], value: float) -> None:
    # A sum is not finite where one pixel is not (or where it overflows): one cheap pass in the usual, clean case.
    with np.errstate(over="ignore", invalid="ignore"):
        clean = bool(np.isfinite(pixels.sum()))
    if not clean:
        pixels[~np.isfinite(pixels)] = value


def cleaned(image: NDArray[Any], padding: Padding, context: JobContext) -> NDArray[np.float32]:
    """Copy in robust units: median 0, s.d. about 1, no NaN, no hot pixel, no overall slope inside the padding.

    Parameters
    ----------
    image : (h, w) real array, yx
    padding : (top, bottom, left, right), px
    context : JobContext

    Returns
    -------
    (h, w) float32

    Raises
    ------
    Cancelled
    """
    values = sample_pixels(image, padding)
    median, spread = robust_location(values)
    reach = np.array([-_CLIP_SD, _CLIP_SD])
    if values.size:  # where more than 0.5 % lie further out, it is content (carbon, spots on nothing), not hot pixels
        far = (np.percentile(values, (0.5, 99.5)) - median) / spread
        reach = np.array([min(reach[0], far[0]), max(reach[1], far[1])])
    with np.errstate(over="ignore", invalid="ignore"):
        clean = np.asarray(image).astype(np.float32)
        clean -= np.float32(median)
        clean *= np.float32(1.0 / spread)
    context.check()
    _replace_non_finite(clean, 0.0)
    _mend_hot_pixels(clean, float(reach[0]), float(reach[1]))
    _subtract_plane(clean, padding)
    context.check()
    return clean


def _mend_hot_pixels(image: NDArray[np.float32], low: float, high: float) -> None:
    """Give single pixels out of range the median of their neighbours, and clip what is left (ice, carbon); in place."""
    outside = np.flatnonzero((image < np.float32(low)) | (image > np.float32(high)))
    if 0 < len(outside) <= max(16, image.size // 100):
        y, x = np.unravel_index(outside, image.shape)
        around = [
            image[np.clip(y + dy, 0, image.shape[0] - 1), np.clip(x + dx, 0, image.shape[1] - 1)]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if dy or dx
        ]
        image[y, x] = np.median(np.stack(around), axis=0)
    np.clip(image, np.float32(low), np.float32(high), out=image)


def _subtract_plane(image: NDArray[np.float32], padding: Padding) -> None:
    """Remove the least-squares plane of the inside (a subsample of it) from the whole image, in place."""
    inner = interior(image, padding)
    stride = (max(1, inner.shape[0] // 128), max(1, inner.shape[1] // 128))
    sample = inner[:: stride[0], :: stride[1]].astype(np.float64)
    y = np.arange(sample.shape[0]) - (sample.shape[0] - 1) / 2
    x = np.arange(sample.shape[1]) - (sample.shape[1] - 1) / 2
    # On a full grid the three terms are orthogonal, so each is a separate projection.
    slope_y = (sample.mean(axis=1) @ y) / max(1e-9, float(y @ y)) / stride[0]
    slope_x = (sample.mean(axis=0) @ x) / max(1e-9, float(x @ x)) / stride[1]
    rows = (np.arange(image.shape[0]) - padding[0]) * slope_y - y[-1] * stride[0] * slope_y + sample.mean()
    columns = (np.arange(image.shape[1]) - padding[2]) * slope_x - x[-1] * stride[1] * slope_x
    image -= rows.astype(np.float32)[:, None]
    image -= columns.astype(np.float32)[None]


def display_limits(pixels: NDArray[np.float32], padding: Padding) -> tuple[float, float]:
    """Percentile limits of an image (h, w), drawn in where ice or carbon would take the contrast from the particles."""
    lo, hi = robust_limits(pixels, 0.2, 99.8, padding)
    median, spread = robust_location(sample_pixels(pixels, padding))
    drawn = max(lo, median - 5.0 * spread), min(hi, median + 4.0 * spread)
    return drawn if drawn[0] < drawn[1] else (lo, hi)


def scaled_padding(padding: Padding, step: float, full: tuple[int, ...], small: tuple[int, ...]) -> Padding:
    """Padding in picture pixels: every picture pixel centred on padding belongs to it."""
    top, bottom, left, right = padding
    return (
        math.ceil(top / step),
        small[0] - math.ceil((full[0] - bottom) / step),
        math.ceil(left / step),
        small[1] - math.ceil((full[1] - right) / step),
    )


def normalise(pixels: NDArray[np.float32], padding: Padding) -> None:
    """Image (h, w) with mean 0 and s.d. 1 inside the padding, 0 on it; in place.

    Filtered rounding errors of a constant stay 0.
    """
    inner = interior(pixels, padding)
    mean = float(inner.mean(dtype=np.float64))
    spread = float(inner.std(dtype=np.float64))
    if spread < 1e-5:  # the cleaned image has s.d. about 1: this is rounding
        pixels[:] = 0.0
        return
    inner -= np.float32(mean)
    inner *= np.float32(1.0 / spread)
    top, bottom, left, right = padding
    pixels[:top] = 0.0
    pixels[pixels.shape[0] - bottom :] = 0.0
    pixels[:, :left] = 0.0
    pixels[:, pixels.shape[1] - right :] = 0.0
