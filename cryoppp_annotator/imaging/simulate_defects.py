"""Unusable micrographs, one of each kind: for the passport's limits to be measured on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from .ctf import Defocus, ctf_2d
from .filters import fft_workers
from .shapes import ViewBank
from .simulate import SimulationParameters, simulate_micrograph

DEFECTS = ("drift", "thick ice", "crystalline ice", "empty", "carbon only", "wrong focus")
#: Noise of the carbon, s.d. in units of the shot noise.
_CARBON_ROUGHNESS = 2.0
#: Share of the electrons that the carbon lets through.
_CARBON_TRANSMISSION = 0.85
_ICE_RINGS_A = (3.90, 3.67, 3.44)


def simulate_defect(kind: str, params: SimulationParameters, index: int, views: ViewBank) -> NDArray[np.float32]:
    """A micrograph like those of ``params`` but for one defect.

    Parameters
    ----------
    kind : str
        One of :data:`DEFECTS`.
    params : SimulationParameters
    index : int
        With the seed of ``params`` it says which.
    views : ViewBank

    Returns
    -------
    (h, w) float32, yx, electrons per pixel

    Raises
    ------
    ValueError
        There is no such defect.
    """
    rng = np.random.default_rng([params.seed, index, 16])
    if kind == "empty":
        return np.asarray(rng.poisson(params.dose_per_px, params.size), np.float32)
    if kind == "carbon only":
        return _carbon(params, rng)
    changed = {
        "drift": {"drift_A": float(rng.uniform(8.0, 16.0))},
        "thick ice": {
            "dose_per_px": params.dose_per_px * float(rng.uniform(0.5, 0.75)),
            "snr": 0.4 * params.snr,
            "optics": replace(params.optics, b_factor_A2=3.0 * params.optics.b_factor_A2),
        },
        "crystalline ice": {},
        "wrong focus": {"defocus_range_A": (45000.0, 58000.0) if rng.random() < 0.5 else (300.0, 1500.0)},
    }
    if kind not in changed:
        raise ValueError(f"no defect is called {kind!r}; there are {', '.join(DEFECTS)}")
    image = simulate_micrograph(replace(params, **changed[kind]), index, views).image  # type: ignore[arg-type]
    return _with_crystals(image, params, rng) if kind == "crystalline ice" else image


def _carbon(params: SimulationParameters, rng: np.random.Generator) -> NDArray[np.float32]:
    """A film of carbon from edge to edge."""
    spectrum = scipy.fft.rfft2(rng.standard_normal(params.size, dtype=np.float32), workers=fft_workers())
    defocus = float(rng.uniform(*params.defocus_range_A))
    spectrum *= ctf_2d(params.size, params.pixel_size_A, Defocus(defocus, defocus), params.optics)
    film = scipy.fft.irfft2(spectrum, s=params.size, workers=fft_workers())
    noise = rng.standard_normal(params.size, dtype=np.float32) - np.float32(_CARBON_ROUGHNESS) * film
    beam = params.dose_per_px * _CARBON_TRANSMISSION
    return np.asarray(np.maximum(beam + math.sqrt(beam) * noise, 0.0), np.float32)


def _with_crystals(
    image: NDArray[np.float32], params: SimulationParameters, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The rings of polycrystalline ice, and in half of the cases spots of larger crystals."""
    spectrum = scipy.fft.rfft2(image, workers=fft_workers())
    ky = np.fft.fftfreq(image.shape[0], params.pixel_size_A)[:, None]
    k = np.hypot(ky, np.fft.rfftfreq(image.shape[1], params.pixel_size_A))
    level = math.sqrt(image.size * params.dose_per_px)
    strength = sum(np.exp(-0.5 * ((k - 1.0 / ring) / 0.003) ** 2) for ring in _ICE_RINGS_A)
    noise = rng.standard_normal((2, *k.shape))
    spectrum += level * rng.uniform(0.8, 1.5) * strength * (noise[0] + 1j * noise[1])
    if rng.random() < 0.5:
        near = np.flatnonzero(np.abs(k - 1.0 / _ICE_RINGS_A[1]).ravel() < 0.002)
        spectrum.ravel()[rng.choice(near, 12)] *= 60.0
    return np.asarray(scipy.fft.irfft2(spectrum, s=image.shape, workers=fft_workers()), np.float32)
