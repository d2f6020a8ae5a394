"""How strong the signal is in each angular order on each ring: what averages are filtered with.

A filter by rings alone lets noise through wherever a ring holds little but the envelope: on a round particle all power
of the first rings is the radial mean (order 0), which all views share, and every other order there is noise. The power
of an order does not depend on the rotation of the particle, so that it is measured on the particles themselves, before
anything is aligned.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..imaging.polar import PolarGrid, ring_power, to_polar
from .centring import first_ring_power
from .expectation import Partition
from .prepared import soft_mask

#: White images that the spread of noise over orders is measured on: 5 % of an order's power.
_WHITE_IMAGES = 400
#: Standard deviations (orders, rings) of the smoothing of the power.
_SMOOTHING = (1.0, 0.7)
#: Least power as a share of the uncertainty of its estimate: what was not seen in the particles may show in an average.
_LEAST_POWER = 0.5
#: Particles with so many times the median power on the first rings are edges and lumps: they say nothing of the signal.
_STRONG = 2.5
#: Rings on which that is measured.
_STRONG_RINGS = 4


@lru_cache(maxsize=4)
def _white_profile(grid: PolarGrid, mask_radius: float) -> NDArray[np.float32]:
    """Power of masked white noise in each order, as a share of that of its ring, (n_orders, n_rings)."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(_WHITE_IMAGES, grid.box, grid.box)).astype(np.float32)
    orders = to_polar(images * soft_mask(grid.box, mask_radius), grid)
    power = (orders.real**2 + orders.imag**2).mean(axis=1)
    return np.asarray(power / ring_power(orders).mean(axis=0), np.float32)


def signal_spectrum(
    particles: Partition, grid: PolarGrid, mask_radius: float, noise: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Power of the signal by order and ring, and the radial mean that all views share.

    Parameters
    ----------
    particles : Partition
        Centred.
    grid : PolarGrid
    mask_radius : float
        As a share of the box.
    noise : (n_rings,) float32
        Noise power on each ring.

    Returns
    -------
    power : (n_orders, n_rings) float32
        Above 0; that of order 0 is about the radial mean.
    mean : (n_rings,) float32
    """
    strength = first_ring_power(particles, _STRONG_RINGS)
    kept = strength <= _STRONG * np.median(strength)
    orders, ctf2 = particles.orders[:, kept], particles.ctf2[kept]
    total, total2 = ctf2.sum(axis=0) + 1e-3, (ctf2**2).sum(axis=0) + 1e-3
    mean = orders[0].real.sum(axis=0) / total
    power = (orders.real**2 + orders.imag**2).sum(axis=1)
    power[0] = ((orders[0].real - ctf2 * mean) ** 2).sum(axis=0)
    white = _white_profile(grid, mask_radius) * noise * total
    excess = (power - white) / total2
    excess[1:] = gaussian_filter(excess[1:], _SMOOTHING, mode="nearest")
    uncertainty = white / total2 * np.sqrt(2.0 / max(1, int(kept.sum())))
    signal = np.maximum(excess, _LEAST_POWER * uncertainty + 1e-9)
    return np.asarray(signal, np.float32), np.asarray(mean, np.float32)
