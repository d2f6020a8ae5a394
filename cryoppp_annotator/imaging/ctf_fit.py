"""The defocus of a micrograph from its Thon rings, or the answer that there are none.

The raw micrograph's power spectrum (:mod:`.power_spectrum`) has its smooth fall divided out (:mod:`.ctf_fit_model`).
Every defocus and astigmatism is tried (:mod:`.ctf_fit_search`), the best is made exact (:mod:`.ctf_fit_refine`), and
then it is asked whether rings are there at all (:mod:`.ctf_fit_judge`). The CTF is that of Rohou & Grigorieff 2015
(doi:10.1016/j.jsb.2015.08.008), as in :func:`.ctf.ctf_2d`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.context import JobContext
from .ctf import Ctf, Optics
from .ctf_fit_judge import (
    RingCurve,
    Tilt,
    correlation,
    equiphase,
    fit_resolution_A,
    measure_tilt,
    passband_end,
    repeated_pixels,
    rings_before,
)
from .ctf_fit_model import Rings, flatten
from .ctf_fit_refine import Refined, refine
from .ctf_fit_search import Match, search
from .power_spectrum import TiledSpectrum, tiled_spectrum

_QUIET = JobContext()
#: Pieces of the spline that follows the background.
_PIECES = 6
#: Share of the Nyquist frequency that is looked at.
_MOST_NYQUIST = 0.95
#: Where a filter leaves less than up to here, nothing is said, angstrom.
_FILTERED_A = 8.0
#: A second search starts at this period where the first is undecided: the shape of large particles ends by then;
#: angstrom.
_SECOND_START_A = 15.0
#: A search is undecided below this lead over the best other defocus.
_UNDECIDED = 2.5
#: An answer must beat the best other defocus by this factor.
_LEAST_LEAD = 1.4
#: It must beat the best match in noise by this factor.
_LEAST_OVER_NOISE = 1.6
#: It must reach this correlation along the equiphase average.
_LEAST_SCORE = 0.7
#: It must show so many rings.
_LEAST_RINGS = 2.0
#: Logarithm of how many independent CTFs are tried, of which noise shows the best.
_LOG_TRIED = 11.5
_WORST_RESOLUTION_A = 12.0
#: Share of neighbouring pixels that may be copies of one another.
_MOST_REPEATED = 0.05
#: Below this score it is asked whether a phase plate was used that nobody spoke of ...
_PHASE_ASKED = 0.85
#: ... which it was where the rings then agree so much better ...
_PHASE_GAIN = 0.05
#: ... with a shift of at least this, degrees.
_LEAST_PHASE_DEG = 15.0
#: The score is that of rings finer than this: coarser ones are mixed with the shape of the particles.
_SCORE_FROM_A = 20.0


@dataclass(frozen=True, slots=True)
class CtfFitOptions:
    """How to look for a defocus.

    Attributes
    ----------
    lowest_resolution_A, highest_resolution_A : float
        Band of the rings that are fitted; ice has rings beyond 4 A.
    least_defocus_A, most_defocus_A : float
        Of the mean of u and v.
    most_astigmatism_A : float
        Of u - v, in the search; what is then fitted may be more.
    find_phase_shift : bool
        Whether a phase plate was used whose shift is not known; 0 to 180 degrees are tried.
    """

    lowest_resolution_A: float = 30.0
    highest_resolution_A: float = 4.0
    least_defocus_A: float = 3000.0
    most_defocus_A: float = 60000.0
    most_astigmatism_A: float = 2000.0
    find_phase_shift: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.highest_resolution_A < self.lowest_resolution_A:
            raise ValueError(f"no band from {self.lowest_resolution_A:g} to {self.highest_resolution_A:g} Å")
        if not 0.0 < self.least_defocus_A < self.most_defocus_A:
            raise ValueError(f"no defocus from {self.least_defocus_A:g} to {self.most_defocus_A:g} Å")


@dataclass(frozen=True, eq=False)
class CtfFit:
    """What the rings say.

    Attributes
    ----------
    ctf : Ctf or None
        None = no answer.
    reason : str
        Why there is none; empty where there is one.
    doubt : str
        What should make one look at it; empty where nothing does.
    score : float
        Correlation of measured and fitted rings along the equiphase average, finer than 20 A, -1 .. 1.
    resolution_A : float
        Up to which rings agree by CTFFIND 4's criterion; infinity without an answer.
    error_A : float
        Standard error of the mean defocus; NaN without an answer.
    tilt : Tilt or None
        Of the specimen, from the defocus of the four quarters; None where they cannot say.
    curve : RingCurve or None
        The equiphase average; None without an answer.
    spectrum : TiledSpectrum or None
    """

    ctf: Ctf | None
    reason: str = ""
    doubt: str = ""
    score: float = 0.0
    resolution_A: float = math.inf
    error_A: float = math.nan
    tilt: Tilt | None = None
    curve: RingCurve | None = field(default=None, repr=False)
    spectrum: TiledSpectrum | None = field(default=None, repr=False)


_USUAL = CtfFitOptions()


def fit_ctf(
    image: NDArray[Any],
    pixel_size_A: float,
    optics: Optics,
    options: CtfFitOptions = _USUAL,
    context: JobContext = _QUIET,
) -> CtfFit:
    """Find the defocus of a raw micrograph.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        As the camera (and motion correction) gave it: not denoised, not filtered.
    pixel_size_A : float
    optics : Optics
        Voltage, spherical aberration, amplitude contrast and phase shift; its B factor is not used.
    options : CtfFitOptions
    context : JobContext

    Returns
    -------
    CtfFit
        Without an answer, and with the reason, where no rings can be seen.

    Raises
    ------
    Cancelled
    ValueError
        The pixel size is not positive.
    """
    if not (math.isfinite(pixel_size_A) and pixel_size_A > 0.0):
        raise ValueError(f"a pixel size of {pixel_size_A:g} Å makes no sense")
    try:
        spectrum = tiled_spectrum(image, pixel_size_A, context)
    except ValueError as error:
        return CtfFit(None, str(error))
    if repeated_pixels(image) > _MOST_REPEATED:
        reason = "neighbouring pixels repeat one another, as after a filter; rings are in the raw micrograph only"
        return CtfFit(None, reason, spectrum=spectrum)
    return fit_spectrum(spectrum, optics, options, context)


def fit_spectrum(
    spectrum: TiledSpectrum, optics: Optics, options: CtfFitOptions = _USUAL, context: JobContext = _QUIET
) -> CtfFit:
    """Find the defocus that a power spectrum shows; see :func:`fit_ctf`."""
    optics = replace(optics, b_factor_A2=0.0)
    if options.find_phase_shift:
        optics = replace(optics, phase_shift_deg=0.0)
    k, power = spectrum.frequencies, spectrum.radial
    end = passband_end(k, power)
    if end < min(1.0 / _FILTERED_A, float(k[-1])):
        reason = f"a filter has removed what is finer than {1.0 / end:.0f} Å; rings are in the raw micrograph only"
        return CtfFit(None, reason, spectrum=spectrum)
    low, high = 1.0 / options.lowest_resolution_A, 1.0 / options.highest_resolution_A
    band = (low, min(high, _MOST_NYQUIST * end))
    if np.count_nonzero((k >= band[0]) & (k <= band[1])) < 8 * _PIECES:
        return CtfFit(None, f"too few frequencies between {1 / band[0]:.0f} and {1 / band[1]:.1f} Å", spectrum=spectrum)
    rings = flatten(spectrum, band, _PIECES)
    match = _search_twice(rings, spectrum, band, optics, options)
    context.check()
    refined = refine(rings, optics, match, _PIECES, fit_phase=options.find_phase_shift)
    fit = _judged(spectrum, rings, match, refined, optics)
    if fit.ctf is None or fit.score > _PHASE_ASKED or options.find_phase_shift:
        return fit
    return _asked_for_phase(fit, rings, match, optics)


def _asked_for_phase(fit: CtfFit, rings: Rings, match: Match, optics: Optics) -> CtfFit:
    """Doubt an answer whose rings a phase shift would explain much better."""
    other = refine(rings, optics, match, _PIECES, fit_phase=True)
    shifted = replace(optics, phase_shift_deg=(optics.phase_shift_deg + other.phase_shift_deg) % 180.0)
    score = _score(equiphase(rings, other.defocus, shifted, other.envelope, other.rest))
    turned = abs((other.phase_shift_deg + 90.0) % 180.0 - 90.0)
    if score < fit.score + _PHASE_GAIN or turned < _LEAST_PHASE_DEG:
        return fit
    doubt = f"rings agree better with a phase shift of {shifted.phase_shift_deg:.0f} degrees: was a phase plate used?"
    return replace(fit, doubt="; ".join([*([fit.doubt] if fit.doubt else []), doubt]))


def _search_twice(
    rings: Rings, spectrum: TiledSpectrum, band: tuple[float, float], optics: Optics, options: CtfFitOptions
) -> Match:
    """The best match; where it hardly leads, also without the frequencies where particles have their shape."""
    shifts = np.arange(0.0, 180.0, 10.0) if options.find_phase_shift else np.array([0.0])
    ranges = ((options.least_defocus_A, options.most_defocus_A), options.most_astigmatism_A)
    match = search(rings, optics, *ranges, shifts, _PIECES)
    second = (max(band[0], 1.0 / _SECOND_START_A), band[1])
    if match.lead > _UNDECIDED or second[1] < 1.5 * second[0] or second == band:
        return match
    other = search(flatten(spectrum, second, _PIECES), optics, *ranges, shifts, _PIECES)
    return max(match, other, key=lambda candidate: candidate.lead)


def _judged(spectrum: TiledSpectrum, rings: Rings, match: Match, refined: Refined, optics: Optics) -> CtfFit:
    """The answer, where it is one."""
    optics = replace(optics, phase_shift_deg=(optics.phase_shift_deg + refined.phase_shift_deg) % 180.0)
    curve = equiphase(rings, refined.defocus, optics, refined.envelope, refined.rest)
    score = _score(curve)
    resolution = fit_resolution_A(curve)
    noise = math.sqrt(2.0 * _LOG_TRIED / max(1, match.n_bins))
    reason = ""
    if match.correlation < _LEAST_OVER_NOISE * noise or score < _LEAST_SCORE or resolution > _WORST_RESOLUTION_A:
        reason = "no Thon rings stand out of the noise"
    elif match.lead < _LEAST_LEAD:
        reason = "several defocus values explain the spectrum about equally well"
    elif rings_before(1.0 / resolution, refined.defocus, optics) < _LEAST_RINGS:
        reason = "fewer than two Thon rings agree with any defocus"
    if reason:
        return CtfFit(None, reason, "", score, spectrum=spectrum)
    tilt = measure_tilt(spectrum, rings, refined, optics, _PIECES)
    ctf = Ctf(refined.defocus, optics)
    return CtfFit(ctf, "", _doubt(refined, resolution, tilt), score, resolution, refined.error_A, tilt, curve, spectrum)


def _score(curve: RingCurve) -> float:
    """Correlation of measured and fitted rings finer than 20 A."""
    known = np.isfinite(curve.measured) & (curve.k > 1.0 / _SCORE_FROM_A)
    return correlation(curve.measured[known], curve.model[known])


def _doubt(refined: Refined, resolution_A: float, tilt: Tilt | None) -> str:
    """What is odd about an answer, in words; empty where nothing is."""
    doubts = []
    if resolution_A > _FILTERED_A:
        doubts.append(f"rings agree only to {resolution_A:.1f} Å")
    if refined.error_A > 100.0:
        doubts.append(f"the defocus is known to {refined.error_A:.0f} Å only")
    if refined.defocus.u_A - refined.defocus.v_A > 0.2 * refined.defocus.u_A:
        doubts.append(f"an astigmatism of {refined.defocus.u_A - refined.defocus.v_A:.0f} Å is large")
    if tilt is not None and tilt.reported:
        doubts.append(f"the specimen seems tilted by {tilt.angle_deg:.0f} degrees")
    return "; ".join(doubts)
