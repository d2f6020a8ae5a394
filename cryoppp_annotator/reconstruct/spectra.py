"""What the images are made of: noise, the map's signal in them, other structure; learned from the images themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import ring_power, shift_references
from ..model.context import JobContext
from .match import Matches, PolarBoxes, Projections, Spectra, search

_QUIET = JobContext()
#: Least noise of a ring as a share of the noisiest one: a denoiser empties rings, and the mask spreads the others.
_NOISE_FLOOR = 0.05
#: Least gain as a share of the first guess.
_LEAST_GAIN = 0.05


def floored(noise: NDArray[np.float64]) -> NDArray[np.float32]:
    """Noise power (r,) no lower than a share of the noisiest ring; the first (ramps, ice) does not raise the floor."""
    return np.asarray(np.maximum(noise, max(1e-6, _NOISE_FLOOR * float(noise[1:].max(initial=0.0)))), np.float32)


def first_spectra(power: NDArray[np.float32], ctf2: NDArray[np.float32], map_power: NDArray[np.float32]) -> Spectra:
    """A start: noise as in the outermost rings or as the ring's whole power, the rest signal.

    Parameters
    ----------
    power, ctf2 : (n, r) float32
        Ring power of the images and their squared CTF.
    map_power : (r,) float32
        Mean ring power of the map's projections.
    """
    mean, seen = power.mean(axis=0), np.maximum(ctf2.mean(axis=0), 1e-3)
    floor = float(np.median(mean[-max(3, len(mean) // 8) :]))
    signal = np.maximum(mean - floor, 0.03 * floor) / seen
    noise = floored(np.maximum(mean - 0.8 * seen * signal, 0.5 * floor))
    inner = slice(0, max(3, len(mean) // 3))
    gain = np.sqrt(0.5 * signal[inner].sum() / max(float(map_power[inner].sum()), 1e-30))
    return Spectra(
        noise, np.full(len(mean), gain, np.float32), (0.5 * signal).astype(np.float32), np.array([0.8, 0.1, 0.1])
    )


def shares(matches: Matches, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior of particle, noise alone and other structure, (n, 3)."""
    return posterior(np.stack([matches.evidence, np.zeros_like(matches.evidence), matches.other], axis=1), share)


def posterior(evidence: NDArray[np.floating], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior (n, m) of models by their log likelihoods (n, m) and priors (m,)."""
    logs = evidence.astype(np.float64) + np.log(np.maximum(share, 1e-12))
    logs -= logs.max(axis=1, keepdims=True)
    odds = np.exp(logs)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def best_projection(references: Projections, matches: Matches, view: NDArray[np.intp]) -> NDArray[np.complex64]:
    """The projection of one view for each image, moved and turned to fit it: (n_orders, n, n_rings)."""
    n_shifts = len(references.shifts)
    place = matches.place[np.arange(len(view)), view]
    turn, shift = place // n_shifts, place % n_shifts
    out = np.empty((references.grid.n_orders, len(view), references.grid.n_rings), np.complex64)
    for which in np.unique(shift):  # images that share a shift go together
        rows = np.flatnonzero(shift == which)
        moved = shift_references(references.orders[:, view[rows]], references.shifts[[which]], references.grid)
        out[:, rows] = moved[:, :, 0]
    angle = 2.0 * np.pi * turn / references.grid.n_angles
    phase = np.exp(-1j * np.multiply.outer(np.arange(len(out)), angle)).astype(np.complex64)
    out *= phase[:, :, None]
    return out


def update(
    spectra: Spectra, boxes: PolarBoxes, references: Projections, matches: Matches, rng: np.random.Generator
) -> Spectra:
    """One step of expectation maximisation, with one view of each image drawn by its likelihood.

    The best view would take noise for signal, and the more so the weaker the signal is.
    """
    rings = references.grid.n_rings
    odds = shares(matches, spectra.share)
    draw = matches.by_view + rng.gumbel(size=matches.by_view.shape).astype(np.float32)
    placed = best_projection(references, matches, draw.argmax(axis=1))
    product = (np.conj(boxes.orders[: len(placed), :, :rings]) * placed).real
    cross = 2.0 * product.sum(axis=0) - product[0]
    ctf2, power = boxes.ctf2[:, :rings], boxes.power[:, :rings]
    energy = ctf2 * ring_power(placed)
    weight = odds[:, :1]
    level = np.abs(spectra.gain[:rings])
    prior = 0.02 * (weight * energy).sum(axis=0) + 1e-12
    sign = np.sign(spectra.gain[:rings])
    raw = sign * (weight * cross).sum(axis=0) + prior * level
    gain = sign * np.maximum(raw / ((weight * energy).sum(axis=0) + prior), _LEAST_GAIN * level)
    left = (weight * (power - 2.0 * gain * cross + gain**2 * energy)).sum(axis=0) + (odds[:, 1:2] * power).sum(axis=0)
    noise = floored(left / max(float(odds[:, :2].sum()), 1e-9))
    outlier = spectra.outlier[:rings]
    if odds[:, 2].sum() > 3:
        excess = (odds[:, 2:] * (power - noise)).sum(axis=0) / np.maximum((odds[:, 2:] * ctf2).sum(axis=0), 1e-6)
        outlier = np.maximum(excess, 0.02 * noise).astype(np.float32)
    share = odds.mean(axis=0) + 0.01
    return Spectra(noise, gain.astype(np.float32), outlier, share / share.sum())


def learn(
    boxes: PolarBoxes,
    references: Projections,
    spectra: Spectra,
    rounds: int,
    rng: np.random.Generator,
    *,
    context: JobContext = _QUIET,
) -> tuple[Spectra, Matches]:
    """Spectra that fit the images, by rounds of search and :func:`update`; and the last search."""
    rings = references.grid.n_rings
    now = replace(spectra, noise=spectra.noise[:rings], gain=spectra.gain[:rings], outlier=spectra.outlier[:rings])
    matches = search(boxes, references, now, context=context)
    for _ in range(rounds):
        now = update(now, boxes, references, matches, rng)
        matches = search(boxes, references, now, context=context)
    return now, matches
