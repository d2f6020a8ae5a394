"""The ``log`` picker: Laplacian of Gaussian, sharpened by what the particles of this micrograph look like on average.

A Laplacian of Gaussian is a good detector of filled discs and a bad one of rings (apoferritin) and of what defocus
makes of either. So it only makes the start: the radial average around its best peaks becomes the next filter, twice.
Nothing is learned from labels, and the filter follows the shape and the defocus in each micrograph.

Scale normalisation: T. Lindeberg, Int. J. Comput. Vis. 30 (1998) 79; as a particle picker: N. Voss et al., J. Struct.
Biol. 166 (2009) 205.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..errors import EngineError
from ..imaging.filters import Padding, fft_workers, find_padding
from ..model.candidates import Candidates
from ..model.context import JobContext
from ..model.coordinates import angstrom_to_px
from ..model.parameter import Need, Parameter
from .response import bright_copy, filtered, inner_mask, normalised, peaks, whitening, working_copy
from .suppress import in_polygons, inside, suppress

FloatImage = NDArray[np.float32]

#: Peaks that are averaged, per square diameter of the image.
_DENSITY = 0.1
#: Fewest peaks that are averaged.
_FEWEST = 20
#: Most peaks that are averaged: more do not change the average.
_MOST = 400
#: Share of the strongest peaks that is passed over: they may be ice.
_STRONGEST = 0.02
#: Radius of the averaged profile, diameters.
_REACH = 0.75
#: Rounds of averaging.
_ROUNDS = 2
#: Window of the local noise, diameters.
_NOISE_WINDOW = 8.0
#: What is proposed at all, robust s.d.
_LEAST_SCORE = 1.0
#: What every built-in picker lets a person choose.
DISTANCE = Parameter("distance", "Least distance of two candidates", 0.5, 0.0, 100.0, "diameters")
THRESHOLD = Parameter("threshold", "Smallest score", _LEAST_SCORE, -1e6, 1e6, "robust s.d.")
#: Diameters tried over a range, ratio of one to the next at most.
_SCALE_STEP = 1.25


@dataclass(frozen=True, slots=True)
class LogParameters:
    """Parameters of the ``log`` picker.

    Attributes
    ----------
    polarity : 'dark' or 'bright'
        Whether particles are darker than their surroundings (unprocessed micrographs) or brighter.
    diameter_max_A : float or None
        Where given, particles from ``diameter_A`` to this size are looked for, and each gets its own diameter.
    distance : float
        Two candidates are at least this far apart, diameters.
    edge_margin : float
        Smallest distance of a candidate from the edge (or the padding), diameters.
    threshold : float
        Smallest score proposed, robust standard deviations of the response.
    exclude : sequence of (k, 2) arrays
        Polygons, xy, px, in which nothing is proposed.
    """

    polarity: str = "dark"
    diameter_max_A: float | None = None
    distance: float = 0.5
    edge_margin: float = 0.0
    threshold: float = _LEAST_SCORE
    exclude: tuple[Any, ...] = ()


@dataclass(slots=True)  # not frozen: the protocol declares plain attributes
class LogPicker:
    """An ``api.TunablePicker``; see the module."""

    name: str = "log"
    title: str = "Laplacian of Gaussian (LoG)"
    parameters: tuple[Parameter, ...] = (DISTANCE, THRESHOLD)
    needs: frozenset[Need] = frozenset({Need.POLARITY})

    def why_not(self, parameters: Mapping[str, Any]) -> str:
        """See :class:`cryoppp_annotator.api.TunablePicker`; it always can."""
        return ""

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        """Propose particles; see :class:`cryoppp_annotator.api.Picker` and :class:`LogParameters`.

        Parameters
        ----------
        image : (h, w) real, px of the micrograph, row 0 first

        Returns
        -------
        Candidates
            ``score``: the response in robust standard deviations of the micrograph's own (on carbon: of its
            surroundings' where that is more).

        Raises
        ------
        EngineError
        Cancelled
        """
        options = _parsed(parameters)
        _check(image, pixel_size_A, diameter_A, options)
        context.check()
        diameters = _diameters(diameter_A, options.diameter_max_A)
        if min(image.shape) < 2.0 * angstrom_to_px(diameters[0], pixel_size_A):
            return Candidates.empty()
        padding = find_padding(image)
        clean = bright_copy(image, padding, options.polarity, context)
        by_size = []
        for i, one_A in enumerate(diameters):
            context.progress(i, len(diameters), f"looking for particles of {one_A:.0f} Å")
            if min(image.shape) >= 2.0 * angstrom_to_px(one_A, pixel_size_A):
                by_size.append(_of_one_size(clean, padding, one_A, pixel_size_A, context))
        x, y, score, size = (np.concatenate([columns[i] for columns in by_size]) for i in range(4))
        good = (score >= options.threshold) & np.isfinite(score)
        good &= inside(x, y, image.shape, padding, options.edge_margin * angstrom_to_px(diameter_A, pixel_size_A))
        if options.exclude:
            good &= ~in_polygons(x, y, [np.asarray(p, np.float64) for p in options.exclude])
        x, y, score, size = x[good], y[good], score[good], size[good]
        kept = suppress(x, y, score, options.distance * angstrom_to_px(diameter_A, pixel_size_A))
        context.progress(1, 1, "done")
        return Candidates(x[kept], y[kept], score[kept], size[kept])


#: The built-in picker (entry point ``log``).
LOG = LogPicker()


def _parsed(parameters: Mapping[str, Any]) -> LogParameters:
    unknown = set(parameters) - set(LogParameters.__dataclass_fields__)
    if unknown:
        known = ", ".join(LogParameters.__dataclass_fields__)
        raise EngineError(f"log has no parameter {', '.join(sorted(unknown))} (it has {known})")
    return LogParameters(**parameters)


def _check(image: NDArray[Any], pixel_size_A: float, diameter_A: float, options: LogParameters) -> None:
    check_image(image, pixel_size_A, diameter_A, options.polarity)
    if options.diameter_max_A is not None and not (diameter_A <= options.diameter_max_A < math.inf):
        raise EngineError(f"the largest diameter ({options.diameter_max_A} Å) is below the smallest ({diameter_A} Å)")


def check_image(image: NDArray[Any], pixel_size_A: float, diameter_A: float, polarity: str) -> None:
    """Refuse an image (h, w) and sizes that no picker can work with. Raises EngineError."""
    if image.ndim != 2 or image.size == 0 or image.dtype.kind not in "biuf":
        raise EngineError(f"expected a micrograph, not {image.dtype} of shape {image.shape}")
    for what, value in (("pixel size", pixel_size_A), ("diameter", diameter_A)):
        if not (math.isfinite(value) and value > 0):
            raise EngineError(f"the {what} must be positive, not {value}")
    if diameter_A < 4.0 * pixel_size_A:
        raise EngineError(
            f"a diameter of {angstrom_to_px(diameter_A, pixel_size_A):.1f} px is too small to pick; 4 px at least"
        )
    if polarity not in ("dark", "bright"):
        raise EngineError(f"particles are 'dark' or 'bright', not {polarity!r}")


def _diameters(smallest: float, largest: float | None) -> list[float]:
    if largest is None or largest <= smallest:
        return [smallest]
    n = 1 + math.ceil(math.log(largest / smallest) / math.log(_SCALE_STEP))
    return [float(d) for d in np.geomspace(smallest, largest, n)]


Columns = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Detection:
    """A micrograph as the detector sees it.

    Attributes
    ----------
    small : (h, w) float32
        Band-passed working copy, particles bright, in robust standard deviations.
    response : (h, w) float32
        Of the detector, in robust standard deviations.
    step : float
        Micrograph pixels per pixel of these.
    diameter : float
        Of a particle, px of these.
    padding : (top, bottom, left, right), micrograph px
    """

    small: FloatImage
    response: FloatImage
    step: float
    diameter: float
    padding: Padding

    def peaks(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Local maxima of the response: x, y (micrograph px), score."""
        y, x, score = peaks(self.response, 0.25 * self.diameter)
        return x * self.step, y * self.step, score


def detect(
    image: NDArray[Any], *, pixel_size_A: float, diameter_A: float, polarity: str, context: JobContext
) -> Detection | None:
    """The detector's view of a micrograph; None where the image is too small or holds nothing.

    Parameters
    ----------
    image : (h, w) real array, yx
    pixel_size_A, diameter_A : float
    polarity : 'dark' or 'bright'
    context : JobContext

    Raises
    ------
    EngineError
        Sizes or an image that make no sense.
    Cancelled
    """
    _check(image, pixel_size_A, diameter_A, LogParameters(polarity))
    context.check()
    if min(image.shape) < 2.0 * angstrom_to_px(diameter_A, pixel_size_A):
        return None
    padding = find_padding(image)
    return _detected(
        bright_copy(image, padding, polarity, context), padding, angstrom_to_px(diameter_A, pixel_size_A), context
    )


def _detected(clean: FloatImage, padding: Padding, whole: float, context: JobContext) -> Detection | None:
    copy = working_copy(clean, padding, whole, context)
    if copy is None:
        return None
    small, step = copy
    inner = inner_mask(small.shape, padding, step, clean.shape)
    return Detection(small, best_response(small, whole / step, inner, context), step, whole / step, padding)


def _of_one_size(
    clean: FloatImage, padding: Padding, diameter_A: float, pixel_size_A: float, context: JobContext
) -> Columns:
    """Peaks of particles of one diameter: x, y (px), score, diameter (A)."""
    seen = _detected(clean, padding, angstrom_to_px(diameter_A, pixel_size_A), context)
    if seen is None:
        nothing = np.zeros(0)
        return nothing, nothing, nothing, nothing
    x, y, score = seen.peaks()
    return x, y, score, np.full(len(x), diameter_A)


def best_response(image: FloatImage, diameter: float, inner: NDArray[np.bool_], context: JobContext) -> FloatImage:
    """Response of the detector, in robust standard deviations.

    Parameters
    ----------
    image : (h, w) float32, yx
        Band-passed; particles bright.
    diameter : float
        Of a particle, px of ``image``.
    inner : (h, w) bool
        Where there is image and no padding.
    context : JobContext

    Returns
    -------
    (h, w) float32
    """
    shape = tuple(int(scipy.fft.next_fast_len(side + int(2 * diameter), real=True)) for side in image.shape)
    extended = np.pad(image, [(0, b - a) for a, b in zip(image.shape, shape, strict=True)], mode="symmetric")
    spectrum = scipy.fft.rfft2(extended, workers=fft_workers())
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]).astype(np.float32)
    white = spectrum * whitening(spectrum, frequency)
    flat = filtered(white, 1.0, shape, image.shape)
    window = max(3, int(_NOISE_WINDOW * diameter))
    response = normalised(filtered(spectrum, _laplacian(frequency, diameter), shape, image.shape), inner, window)
    for _ in range(_ROUNDS):
        context.check()
        kernel = _kernel(_average(flat, response, inner, diameter), shape)
        response = normalised(filtered(white, kernel, shape, image.shape), inner, window)
    return response


def _laplacian(frequency: FloatImage, diameter: float) -> FloatImage:
    """Transfer function of the scale-normalised LoG that answers most to a disc of that diameter: sigma = d / 8^0.5."""
    k2 = (2.0 * np.pi * frequency * (diameter / math.sqrt(8.0))) ** 2
    return np.asarray(k2 * np.exp(-0.5 * k2), np.float32)


def _average(flat: FloatImage, response: FloatImage, inner: NDArray[np.bool_], diameter: float) -> FloatImage:
    """Radial profile (radius 0, 1, 2 ... px) around the best peaks, fading to 0 at its end."""
    reach = max(2, int(_REACH * diameter))
    y, x, score = peaks(response, 0.5 * diameter)
    iy, ix = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
    whole = (iy >= reach) & (iy < flat.shape[0] - reach) & (ix >= reach) & (ix < flat.shape[1] - reach)
    whole &= inner[iy, ix]
    iy, ix, score = iy[whole], ix[whole], score[whole]
    kept = np.argsort(-score, kind="stable")
    skipped = int(_STRONGEST * len(kept))
    n = int(np.clip(_DENSITY * flat.size / diameter**2, _FEWEST, _MOST))
    chosen = kept[skipped : skipped + n]
    offset = np.arange(-reach, reach + 1)
    patches = flat[(iy[chosen, None] + offset)[:, :, None], (ix[chosen, None] + offset)[:, None, :]]
    radius = np.rint(np.hypot(offset[:, None], offset[None])).astype(np.intp).ravel()
    total = patches.sum(axis=0, dtype=np.float64).ravel()
    profile = np.bincount(radius, total)[: reach + 1] / np.bincount(radius)[: reach + 1]
    fade = np.clip((reach - np.arange(reach + 1)) / (0.3 * reach), 0.0, 1.0)
    return np.asarray(profile * fade, np.float32)


def _kernel(profile: FloatImage, shape: tuple[int, ...]) -> FloatImage:
    """Transfer function of a radial profile."""
    rows, columns = (np.fft.fftfreq(side, 1.0 / side) for side in shape)
    reach = len(profile) - 1
    kernel = np.zeros(shape, np.float32)
    near_rows, near_columns = np.flatnonzero(np.abs(rows) <= reach), np.flatnonzero(np.abs(columns) <= reach)
    radius = np.hypot(rows[near_rows, None], columns[None, near_columns])
    kernel[np.ix_(near_rows, near_columns)] = np.interp(radius, np.arange(reach + 1), profile, right=0.0)
    gain = np.ascontiguousarray(scipy.fft.rfft2(kernel, workers=fft_workers()).real, np.float32)
    gain[0, 0] = 0.0
    return gain
