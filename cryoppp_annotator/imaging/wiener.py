"""The default denoiser: a Wiener filter that asks the micrograph itself what is signal and what is noise.

Twice: for each spatial frequency (what rises above the noise floor of the power spectrum), and for each place (what
rises above the noise around it). With a known defocus the first becomes a deconvolution that also turns the phases
back, after D. Tegunov's filter in Warp (Tegunov & Cramer 2019, doi:10.1038/s41592-019-0580-y; ``tom_deconv.m``):
``ctf / (ctf^2 + 1 / snr)`` with a signal-to-noise ratio that falls off exponentially with the spatial frequency;
there the fall-off is chosen by hand, here it is fitted to the spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, percentile_filter
from scipy.optimize import nnls

from ..model.context import JobContext
from ..model.parameter import Parameter, with_defaults
from ..model.picture import Picture
from .contrast import interior, robust_limits
from .ctf import Ctf, ctf_1d, ctf_2d
from .denoise import NOTHING, check_image, cleaned, diameter_px, normalise, picture_step, scaled_padding
from .filters import Padding, band_gain, filtered, find_padding

FloatArray = NDArray[np.float64]

#: Rows of a spectrum or picture that are worked on at once, so that what is made of them stays small.
_ROWS_AT_ONCE = 256
#: Longest wavelength that is shown (gain 1/2), particle diameters.
_LONGEST = 2.5
#: Shortest wavelength that is shown (gain 1/2), particle diameters.
_SHORTEST = 1 / 10
#: Rings of the radial spectrum, from 0 to 1/2 cycle per px.
_RINGS = 256
#: Where a micrograph holds nothing but the noise of counting, cycles per px.
_FLOOR = (0.25, 0.46)
#: The floor may rise towards low frequency (the camera's transfer function) by so much and not more.
_FLOOR_RISE = 2.0
#: Largest signal-to-noise ratio that is believed.
_SNR_CAP = 20.0
#: Least CTF whose loss is made good.
_LEAST_CTF = 0.3
#: Local energy is taken over a Gaussian of so many diameters (s.d.) ...
_REACH = 0.2
#: ... of what is finer than a Gaussian of so many diameters: a slope of the ice is no particle;
_BROAD = 0.3
#: it is compared with this percentile of it in the surroundings: the noise between the particles there.
_QUIET = 30.0
#: The surroundings of a place, diameters.
_AROUND = 5.0
#: Values beyond this percentile (ice, contamination) do not widen the contrast.
_LOUD = 93.0
#: Energy above the noise counts from so many s.d. of what chance gives.
_DOUBT = 0.6
#: Least gain of a quiet place, in that of a particle: nothing vanishes that might be a faint one.
_LEAST = 0.2


@dataclass(slots=True)  # not frozen: the protocol declares plain attributes
class WienerDenoiser:
    """Wiener filter in frequency and place, its spectra estimated from the micrograph; no parameters."""

    name: str = "auto"
    title: str = "Automatic"
    parameters: tuple[Parameter, ...] = ()

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
        """Make the display picture; see :class:`cryoppp_annotator.api.TunableDenoiser`.

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
            Where the image is empty or not 2-D.
        """
        check_image(image)
        with_defaults(self.parameters, parameters)
        context.check()
        step = picture_step(image.shape, max_side)
        diameter = diameter_px(max(image.shape), pixel_size_A, diameter_A)
        padding = find_padding(image)
        clean = cleaned(image, padding, context)
        filter_ = _Filter(diameter, step, ctf if pixel_size_A is not None and pixel_size_A > 0 else None, pixel_size_A)
        pixels = filtered(
            clean,
            filter_,
            margin_px=0.6 * _LONGEST * diameter,
            step=step,
            padding=padding,
            overwrite=True,
            context=context,
        )
        del clean
        context.check()
        small = scaled_padding(padding, step, image.shape, pixels.shape)
        _weigh_places(pixels, small, diameter / step, filter_.chance, context)
        if (boost := filter_.boost) is not None:
            pixels = filtered(
                pixels,
                lambda _spectrum, _full, shape: _on_rings(boost, shape, step),
                margin_px=0.6 * _LONGEST * diameter / step,
                padding=small,
                overwrite=True,
                context=context,
            )
        normalise(pixels, small)
        return Picture(pixels, (step, step), robust_limits(pixels, 0.3, 99.7, small))


#: The default (entry point ``auto``); an ``api.TunableDenoiser``.
AUTO = WienerDenoiser()


@dataclass
class _Filter:
    """The gain in frequency, made when the spectrum is there.

    Attributes
    ----------
    chance : float
        Relative variance that the local energy of pure noise would have after this filter.
    boost : (256,) float64 or None
        What the CTF took from low frequencies, by ring; None where it is not known.
    """

    diameter: float
    step: float
    ctf: Ctf | None
    pixel_size_A: float | None
    chance: float = 0.0
    boost: FloatArray | None = None

    def __call__(
        self, spectrum: NDArray[np.complex64], full: tuple[int, int], small: tuple[int, int]
    ) -> NDArray[np.float32]:
        """``(small[0], small[1] // 2 + 1)`` float32; see :func:`.filters.filtered`."""
        longest, shortest = _LONGEST * self.diameter, max(_SHORTEST * self.diameter, 2.0 * self.step)
        gain = band_gain(small, self.step, longest, shortest)
        if min(full) < 64:
            return gain
        k, power = radial_power(spectrum, full)
        excess = power / noise_floor(k, power) - 1.0
        if self.ctf is None or self.pixel_size_A is None:
            snr = gaussian_filter1d(np.maximum(excess, 0.0), 2.0)
            wiener = snr / (1.0 + snr)
            for rows, rings in _rings(small, self.step):
                gain[rows] *= wiener.astype(np.float32)[rings]
        else:
            wave = ctf_1d(k / self.pixel_size_A, (self.ctf.defocus.u_A + self.ctf.defocus.v_A) / 2.0, self.ctf.optics)
            snr = fitted_snr(k, excess, wave, 1.0 / self.diameter)
            factor = ctf_2d(small, self.pixel_size_A * self.step, self.ctf.defocus, self.ctf.optics)
            # ctf / (ctf^2 + 1 / snr) times |ctf|: the phases are turned back here, the boost waits until the places
            # are weighed, or the noise that it lifts would hide them
            for rows, rings in _rings(small, self.step):
                wave_2d, table = factor[rows], snr.astype(np.float32)[rings]
                gain[rows] *= wave_2d * np.abs(wave_2d) * table / (1.0 + wave_2d * wave_2d * table)
            wiener = wave**2 * snr / (1.0 + wave**2 * snr)
            self.boost = np.where(k < k[first_crest(wave)], 1.0 / np.maximum(np.abs(wave), _LEAST_CTF), 1.0)
        band = (1.0 - np.exp2(-((k * longest) ** 2))) * np.exp2(-((k * shortest) ** 2))
        band *= 1.0 - np.exp(-2.0 * (math.pi * _BROAD * self.diameter * k) ** 2)
        self.chance = _chance(k, power * (wiener * band) ** 2, _REACH * self.diameter)
        return gain


def radial_power(spectrum: NDArray[np.complex64], full: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Rotational average of the power spectrum, per pixel.

    Parameters
    ----------
    spectrum : (full[0], full[1] // 2 + 1) complex64, of ``rfft2``
    full : (rows, columns)

    Returns
    -------
    k, power : (256,) float64
        Centres of rings, cycles per px, and the mean of ``|F|^2 / (rows * columns)`` on them; the lowest rings look at
        all they hold, the others at every fourth row.
    """
    near = max(8, full[0] // 64)
    sums, counts = np.zeros(_RINGS + 1), np.zeros(_RINGS + 1)
    ky = np.fft.fftfreq(full[0])
    kx = np.fft.rfftfreq(full[1])
    every = (np.r_[0:near, full[0] - near : full[0]], np.arange(near, full[0] - near, 4))
    for rows in (
        piece for lines in every for piece in np.split(lines, range(_ROWS_AT_ONCE, len(lines), _ROWS_AT_ONCE))
    ):
        part = spectrum[rows]
        power = part.real**2 + part.imag**2
        ring = np.sqrt((ky[rows] ** 2)[:, None] + (kx**2)[None]) * (2.0 * _RINGS)
        ring = np.minimum(ring.astype(np.intp), _RINGS).ravel()
        sums += np.bincount(ring, power.ravel(), _RINGS + 1)
        counts += np.bincount(ring, minlength=_RINGS + 1)
    filled = np.flatnonzero(counts[:_RINGS])
    k: FloatArray = (np.arange(_RINGS, dtype=np.float64) + 0.5) / (2.0 * _RINGS)
    means = np.interp(np.arange(_RINGS), filled, sums[filled] / counts[filled])
    return k, np.asarray(means / (full[0] * full[1]), np.float64)


def noise_floor(k: FloatArray, power: FloatArray) -> FloatArray:
    """Noise spectrum (n,) under a radial power spectrum: ``a exp(-b k^2)`` fitted where nothing else is left.

    Counting noise is white but for the camera's transfer function. A micrograph that was low-passed has hardly any
    floor, and then nothing more is taken from it.

    Parameters
    ----------
    k : (n,) float64, cycles per px
    power : (n,) float64, power of the picture at each frequency
    """
    where = (k >= _FLOOR[0]) & (k <= _FLOOR[1])
    level = np.log(np.maximum(power[where], 1e-12))
    fall, at_zero = np.polyfit(k[where] ** 2, level, 1)
    fall = float(np.clip(-fall, 0.0, math.log(_FLOOR_RISE) / _FLOOR[1] ** 2))
    middle = float(np.mean(level + fall * k[where] ** 2)) if at_zero else 0.0
    floor = np.exp(middle - fall * k**2)
    return np.asarray(np.maximum(floor, 1e-12))


def fitted_snr(k: FloatArray, excess: FloatArray, ctf: FloatArray, lowest: float) -> FloatArray:
    """Signal-to-noise ratio ``A exp(-f k)`` (n,) of the particles, from ``excess = ctf^2 (A exp(-f k) + B)``.

    ``B`` is what the ice adds: it passes the microscope too, but is as strong at all frequencies. Where the spectrum
    says that there is more, that is taken.

    Parameters
    ----------
    k : (n,) float64, cycles per px
    excess, ctf : (n,) float64
        ``excess`` is the power above the noise floor in units of that, negative where noise made it so.
    lowest : float
        Frequency below which there is background (ice thickness), not specimen, cycles per px.
    """
    use = (k > lowest) & (k < 0.3)
    weight = np.sqrt(k[use]) / (1.0 + np.maximum(excess[use], 0.0))  # rings hold pixels in proportion to k
    passed = weight * ctf[use] ** 2
    best, fit = math.inf, (0.0, 1.0)
    for fall in np.geomspace(5.0, 400.0, 60):  # px
        shape = np.column_stack([passed * np.exp(-fall * (k[use] - lowest)), passed])
        (height, _ice), miss = nnls(shape, weight * excess[use])
        if miss < best and height > 0:
            best, fit = miss, (float(height), float(fall))
    snr = fit[0] * np.exp(-fit[1] * np.maximum(k - lowest, 0.0))
    # the spectrum may hold more than that model: what is measured, from zero to zero of the CTF, is believed too
    power = ctf**2
    measured = gaussian_filter1d(power * excess, 4.0) / np.maximum(gaussian_filter1d(power * power, 4.0), 1e-5)
    snr = np.maximum(snr, measured)
    return np.minimum(snr, _SNR_CAP)


def first_crest(ctf: FloatArray) -> int:
    """Where a CTF (n,) first stops to rise; 0 where it falls from the beginning."""
    return int(np.argmax(np.diff(np.abs(ctf)) < 0))


def _rings(small: tuple[int, int], step: float) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Ring of every pixel of a half spectrum, for a table of :data:`_RINGS` values; some rows at a time."""
    ky = np.fft.fftfreq(small[0], step).astype(np.float32) ** 2
    kx = np.fft.rfftfreq(small[1], step).astype(np.float32) ** 2
    for start in range(0, small[0], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        ring = np.sqrt(ky[rows, None] + kx[None])
        ring *= np.float32(2.0 * _RINGS)
        yield rows, np.asarray(np.minimum(ring.astype(np.intp), _RINGS - 1))


def _on_rings(table: FloatArray, small: tuple[int, int], step: float) -> NDArray[np.float32]:
    """A table (256,) laid out on the half spectrum, (small[0], small[1] // 2 + 1)."""
    out = np.empty((small[0], small[1] // 2 + 1), np.float32)
    for rows, rings in _rings(small, step):
        out[rows] = table.astype(np.float32)[rings]
    return out


def _chance(k: FloatArray, spectrum: FloatArray, reach: float) -> float:
    """Relative variance of the energy of Gaussian noise of this radial spectrum within a Gaussian of s.d. ``reach`` px.

    Twice the integral of the squared correlation, seen through the square of the window.
    """
    total = float((spectrum * k).sum())
    if total <= 0:
        return 1.0
    area = float((spectrum**2 * k).sum()) / (2.0 * math.pi * total**2 * (k[1] - k[0]))
    return min(1.0, 2.0 * float(area) / (4.0 * math.pi * reach**2))


def _weigh_places(
    pixels: NDArray[np.float32], padding: Padding, diameter: float, chance: float, context: JobContext
) -> None:
    """Turn down the places that hold no more than the noise around them; in place.

    A Wiener filter once more: gain = (energy - noise) / energy, with the energy over about a particle and the noise
    from the quiet third of the neighbourhood, so that on carbon a particle must rise above carbon.

    Parameters
    ----------
    pixels : (h, w) float32
    padding : px
    diameter : float, px
    chance : float
        Relative variance of the energy in pure noise: what varies no more than this is left alone.
    """
    inner = interior(pixels, padding)
    if min(inner.shape) < 4.0 * diameter or diameter < 4.0:
        return
    cell = max(1, int(_REACH * diameter / 1.5))
    energy = _cell_energy(inner, cell, _BROAD * diameter / cell)
    context.check()
    energy = gaussian_filter(energy, _REACH * diameter / cell, mode="reflect")
    if not energy.max() > 0:
        return
    energy += 1e-6 * float(energy.mean())
    noise = _quiet_level(energy, _AROUND * diameter / cell)
    context.check()
    signal = np.maximum(energy - noise * (1.0 + _DOUBT * math.sqrt(chance)), 0.0)
    loud = max(float(np.percentile(signal, _LOUD)), 1e-9 * float(energy.max()))
    # beyond `loud` the amplitude that is left stays what it is there
    gain = np.where(signal < loud, signal / energy, np.sqrt(loud / np.maximum(signal, 1e-30)) * loud / (loud + noise))
    gain = np.maximum(gain, _LEAST * float(np.percentile(gain, _LOUD)))
    ratio = np.minimum(energy / noise, 3.5)
    spread = float(ratio.var()) / float(ratio.mean()) ** 2
    trust = float(np.clip((spread / max(chance, 1e-9) - 1.0) / 0.5, 0.0, 1.0))
    gain = trust * gain / float(gain.max()) + (1.0 - trust)
    inner *= _stretched(gain.astype(np.float32), inner.shape, cell)


def _cell_energy(image: NDArray[np.float32], cell: int, broad: float) -> NDArray[np.float32]:
    """Mean square of cells of ``cell`` x ``cell`` px about a background of s.d. ``broad`` cells; no rest."""
    rows, columns = image.shape[0] // cell, image.shape[1] // cell
    whole = image[: rows * cell, : columns * cell]
    at_once = max(1, _ROWS_AT_ONCE // cell) * cell

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = np.add.reduceat(values, np.arange(0, len(values), cell), axis=0)
        sums = np.add.reduceat(sums, np.arange(0, columns * cell, cell), axis=1)
        return np.asarray(sums / np.float32(cell * cell), np.float32)

    middle = mean(whole)
    background = gaussian_filter(middle, broad, mode="reflect")
    square = np.concatenate([mean(np.square(whole[at : at + at_once])) for at in range(0, len(whole), at_once)])
    return np.asarray(np.maximum(square - (2.0 * middle - background) * background, 0.0), np.float32)


def _quiet_level(energy: NDArray[np.float32], window: float) -> NDArray[np.float32]:
    """Noise energy around each cell: a low percentile within ``window`` cells, smooth."""
    every = max(1, int(window / 8))
    size = max(3, round(window / every))
    sparse = percentile_filter(energy[::every, ::every], _QUIET, size=size, mode="reflect")
    sparse = gaussian_filter(sparse, size / 3, mode="nearest")
    return _stretched(sparse, energy.shape, every, centred=False)


def _stretched(
    values: NDArray[np.float32], shape: tuple[int, ...], cell: int, *, centred: bool = True
) -> NDArray[np.float32]:
    """Values of cells interpolated linearly to pixels, as two thin matrix products; (h, w) float32.

    Parameters
    ----------
    centred : bool
        A value stands for the middle of its cell, not for its first pixel.
    """

    def weights(n: int, m: int) -> NDArray[np.float32]:
        at = np.clip((np.arange(n) - (0.5 * (cell - 1) if centred else 0.0)) / cell, 0.0, m - 1)
        low = np.minimum(at.astype(np.intp), max(0, m - 2))
        out = np.zeros((n, m), np.float32)
        share = (at - low).astype(np.float32)
        out[np.arange(n), low] = 1.0 - share
        out[np.arange(n), np.minimum(low + 1, m - 1)] += share
        return out

    return np.asarray(weights(shape[0], values.shape[0]) @ values @ weights(shape[1], values.shape[1]).T)
