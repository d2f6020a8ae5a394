"""The search for a defocus: all of them are tried on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .ctf import Defocus, Optics, electron_wavelength_A
from .ctf_fit_model import Rings, fixed_phase, spline_basis

#: Envelopes exp(-b k^2) of the rings that are tried, A^2.
_FALLS_A2 = (10.0, 40.0, 120.0)
#: Step of the mean defocus, angstrom.
_STEP_A = 50.0
#: Step of the astigmatism, angstrom.
_ASTIGMATISM_STEP_A = 200.0
#: Angles of the astigmatism over the half circle.
_ANGLES = 12
#: Sectors that are joined for the search.
_JOINED = 2


@dataclass(frozen=True, slots=True)
class Match:
    """A defocus, and how well rings of it match: the correlation, 0 .. 1, after the background is projected out."""

    defocus: Defocus
    phase_shift_deg: float
    correlation: float
    #: The best correlation at a defocus that differs by more than a fifth.
    rival: float = 0.0
    #: Bins that were compared.
    n_bins: int = 1

    @property
    def lead(self) -> float:
        """How many times better it matches than the best other defocus."""
        return self.correlation / max(self.rival, 1e-3)


def search(
    rings: Rings,
    optics: Optics,
    defocus_range_A: tuple[float, float],
    most_astigmatism_A: float,
    phase_shifts_deg: NDArray[np.float64],
    n_pieces: int,
) -> Match:
    """Try every defocus, astigmatism, angle (and phase shift) on a grid.

    Rings of constant phase are averaged before they are compared: for each sector, the match with all defocus values
    is one matrix product; an astigmatism then only says which entry of each sector's row belongs together, so that the
    sum over sectors is the match of the equiphase average. What a spline can follow is projected out of both.
    ``phase_shifts_deg`` (n,) are tried beside that of the optics.
    """
    reach = 0.5 * most_astigmatism_A
    low, high = defocus_range_A
    grid = np.arange(max(low - reach, 100.0), high + reach + _STEP_A, _STEP_A)
    scale = math.pi * electron_wavelength_A(optics.voltage_kV)
    k2, k4 = rings.k**2, rings.k**4
    twice = 2.0 * (scale * grid[:, None] * k2 + fixed_phase(k4, optics))
    cosine, sine = np.cos(twice), np.sin(twice)
    weight = rings.weight.mean(axis=0)
    basis, _ = np.linalg.qr(spline_basis(rings.k, n_pieces) * np.sqrt(weight)[:, None])
    signal = _without(basis, _joined(rings) * np.sqrt(weight))
    scores = []
    for fall in _FALLS_A2:
        envelope = np.sqrt(weight) * np.exp(-fall * k2)
        parts = [_without(basis, -wave * envelope) for wave in (cosine, sine)]
        for shift in phase_shifts_deg:
            turn = 2.0 * math.radians(shift)
            template = parts[0] if not shift else math.cos(turn) * parts[0] - math.sin(turn) * parts[1]
            match = _best_astigmatism(signal @ template.T, (template**2).sum(axis=1), grid, defocus_range_A, reach)
            scores.append((match, shift))
    total = math.sqrt(float((signal**2).sum()))
    values = np.array([m.correlation for m, _ in scores])
    match, shift = scores[int(values.argmax())]
    return Match(match.defocus, float(shift), match.correlation / total, match.rival / total, signal.size)


def _joined(rings: Rings) -> NDArray[np.float64]:
    """Signal with neighbouring sectors averaged, the first still centred on the x axis."""
    turned = [np.roll(a, _JOINED // 2, axis=0) for a in (rings.signal * rings.weight, rings.weight)]
    total, weight = (a.reshape(-1, _JOINED, a.shape[1]).sum(axis=1) for a in turned)
    return np.asarray(total / np.maximum(weight, 1e-9))


def _without(basis: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (m, n) without what an orthonormal basis (n, p) can follow."""
    return np.asarray(rows - (rows @ basis) @ basis.T)


def _best_astigmatism(
    products: NDArray[np.float64],
    norms: NDArray[np.float64],
    grid: NDArray[np.float64],
    defocus_range_A: tuple[float, float],
    reach: float,
) -> Match:
    """The best mean defocus, astigmatism and angle, from products (n_sectors, n_grid) of sectors and templates."""
    n_sectors = len(products)
    middle = np.flatnonzero((grid >= defocus_range_A[0]) & (grid <= defocus_range_A[1]))
    sector_angles = (np.arange(n_sectors) - 0.5 / _JOINED) * math.pi / n_sectors
    best, profile = Match(Defocus(0.0, 0.0), 0.0, -np.inf), np.full(len(middle), -np.inf)
    for half in np.arange(0.0, reach + 1.0, 0.5 * _ASTIGMATISM_STEP_A):
        for axis in np.arange(_ANGLES if half else 1) * math.pi / _ANGLES:
            steps = np.rint(half * np.cos(2.0 * (sector_angles - axis)) / _STEP_A).astype(int)
            numerator, norm = np.zeros(len(middle)), np.zeros(len(middle))
            for sector, step in enumerate(steps):
                at = np.clip(middle + step, 0, len(grid) - 1)
                numerator += products[sector, at]
                norm += norms[at]
            score = numerator / np.sqrt(norm)
            np.maximum(profile, score, out=profile)
            top = int(score.argmax())
            if score[top] > best.correlation:
                mean = float(grid[middle[top]])
                best = Match(Defocus(mean + half, mean - half, math.degrees(axis)), 0.0, float(score[top]))
    mean = (best.defocus.u_A + best.defocus.v_A) / 2.0
    far = np.abs(grid[middle] - mean) > max(0.2 * mean, 1000.0)
    return replace(best, rival=float(profile[far].max()) if far.any() else 0.0)
