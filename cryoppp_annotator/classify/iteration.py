"""One iteration: expectation over partitions, maximisation of the averages, shares and spectra."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import PolarGrid, from_polar, ring_power
from ..model.context import JobContext
from .expectation import Assignment, Partition, References, Sums, expect
from .grids import shift_grid, stage_grid

_QUIET = JobContext()
#: Parts that the particles are worked on in, whatever the number of cores: sums are then rounded alike.
_PARTITIONS = 4
#: Least noise of a ring as a share of the noisiest one. A mask spreads what a ring has over its neighbours, so that the
#: rings that a denoiser has emptied repeat the full ones: taken at their word they make any ice a particle.
NOISE_FLOOR = 0.05
#: Members from which on the power of the outlier model is measured anew.
_LEAST_OUTLIERS = 3


@dataclass(frozen=True, eq=False)
class ClassModel:
    """State of the classification between iterations; a later run can start from it.

    Attributes
    ----------
    orders : (n_orders, k, n_rings) complex64
        Class averages on the grid.
    share : (k + 2,) float64
        Prior of each class, of the empty and of the outlier model; sums to 1.
    noise, outlier : (n_rings,) float32
        Power of the noise, and of the outlier model's signal.
    frc : (k, n_rings) float32
        Fourier ring correlation of the averages of two halves of the members.
    grid : PolarGrid
    signal : (n_rings,) float32, or (0,)
        Least signal power the averages are filtered with. Where the noise is strong, all averages otherwise fade to
        one round blot that fits no particle: the less they show, the flatter the posteriors, the less they show.
    spectrum : (n_orders, n_rings) float32, or (0, 0)
        Power of the signal by order and ring, as of :func:`~.spectrum.signal_spectrum`; where there is one, averages
        are filtered with it and not by rings.
    mean : (n_rings,) float32, or (0,)
        Radial mean that averages of few members are drawn to, with ``spectrum``.
    """

    orders: NDArray[np.complex64]
    share: NDArray[np.float64]
    noise: NDArray[np.float32]
    outlier: NDArray[np.float32]
    frc: NDArray[np.float32]
    grid: PolarGrid
    signal: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    spectrum: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    mean: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def images(self) -> NDArray[np.float32]:
        """(k, box, box) float32, yx, white on black: the averages."""
        return from_polar(self.orders, self.grid) * np.float32(self.grid.box)


class Piece(Protocol):
    """Particles that are loaded when they are needed."""

    def load(self, context: JobContext) -> Partition:
        """Read and transform them."""
        ...


def loaded(part: Partition | Piece, context: JobContext) -> Partition:
    """The particles of a part, read where they are not held."""
    return part if isinstance(part, Partition) else part.load(context)


def iterate(
    parts: Sequence[Partition | Piece],
    model: ClassModel,
    dof: float,
    stage: tuple[int, float, float],
    *,
    equal: bool = False,
    keep_spectra: bool = False,
    pool: Executor | None = None,
    context: JobContext = _QUIET,
) -> tuple[ClassModel, Sums, Assignment]:
    """One expectation and one maximisation step.

    Parameters
    ----------
    parts : sequence of Partition or Piece
        The expectation step runs over each; only sums come together. A piece is loaded when its turn comes.
    model : ClassModel
    dof : float
        Independent samples per Fourier pixel.
    stage : (rings, largest shift in px, step of the shifts in px)
    equal : bool
        Give all averages the same prior, so that large classes do not swallow small ones early on.
    keep_spectra : bool
        Do not re-estimate noise and outlier power (to compare likelihoods).
    pool : Executor, optional
        Whose ``map`` works on the partitions at the same time; on a cluster it keeps them on its workers.

    Raises
    ------
    Cancelled
    """
    references, grid = references_of(model, dof, stage)

    def work(part: Partition | Piece) -> tuple[Sums, Assignment]:
        return expect(loaded(part, context), references, grid, context=context)

    done = [work(part) for part in parts] if pool is None else list(pool.map(work, parts))
    sums = reduce(lambda a, b: a + b, (item[0] for item in done))
    names = Assignment.__dataclass_fields__
    assignment = Assignment(*(np.concatenate([getattr(item[1], name) for item in done]) for name in names))
    return maximise(model, sums, dof, equal=equal, keep_spectra=keep_spectra), sums, assignment


def references_of(model: ClassModel, dof: float, stage: tuple[int, float, float]) -> tuple[References, PolarGrid]:
    """What particles are compared with at a stage, and its grid."""
    grid = stage_grid(model.grid, stage[0])
    shifts, log_shift = shift_grid(stage[1], stage[2])
    rings = grid.n_rings
    with np.errstate(divide="ignore"):
        log_share = np.log(model.share).astype(np.float32)
    orders = np.ascontiguousarray(model.orders[: grid.n_orders, :, :rings])
    return References(orders, log_share, model.noise[:rings], model.outlier[:rings], shifts, log_shift, dof), grid


def support(
    parts: Sequence[Partition | Piece],
    model: ClassModel,
    sums: Sums,
    dof: float,
    stage: tuple[int, float, float],
    *,
    pool: Executor | None = None,
    context: JobContext = _QUIET,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log likelihood of each particle against noise under averages of the *other* half, (n,) float32, nats.

    A particle agrees with an average it is part of, even where that is noise; with one it is no part of only where
    the two show the same thing. The second array is by how much that is above what the radial mean of those averages
    gives, which shows no view: about 0 where views are not told apart.

    Parameters
    ----------
    parts, model, dof, stage, pool, context
        As :func:`iterate` takes them.
    sums : Sums
        Of an iteration over the same particles.

    Raises
    ------
    Cancelled
    """
    halves = []
    for other in (1, 0):
        only = np.array([other == 0, other == 1], np.float32)
        numerator = sums.numerator * only[:, None, None, None]
        cut = replace(sums, numerator=numerator, ctf2=sums.ctf2 * only[:, None, None])
        halves.append(references_of(maximise(model, cut, dof, keep_spectra=True), dof, stage))

    def work(piece: Partition | Piece) -> NDArray[np.float32]:
        part = loaded(piece, context)
        evidence = np.empty((2, len(part)), np.float32)
        for which, (references, grid) in enumerate(halves):
            rows = np.flatnonzero(part.half == bool(which))
            if len(rows):
                mine = take(part, rows)
                for place, compared in enumerate((references, _envelope(references))):
                    evidence[place, rows] = expect(mine, compared, grid, context=context)[1].evidence
        return evidence

    out = [work(part) for part in parts] if pool is None else list(pool.map(work, parts))
    evidence, of_envelope = np.concatenate(out, axis=1)
    return evidence, evidence - of_envelope


def _envelope(references: References) -> References:
    """One reference, with the shares of all: the radial mean that they have in common."""
    k = references.orders.shape[1]
    share = np.exp(references.log_share[:k])
    orders = np.zeros_like(references.orders[:, :1])
    orders[0, 0] = (references.orders[0].real * share[:, None]).sum(axis=0) / max(float(share.sum()), 1e-30)
    with np.errstate(divide="ignore"):
        log_share = np.log(np.array([share.sum()], np.float32))
    return replace(references, orders=orders, log_share=np.concatenate([log_share, references.log_share[k:]]))


def maximise(
    model: ClassModel, sums: Sums, dof: float, *, equal: bool = False, keep_spectra: bool = False
) -> ClassModel:
    """New averages, shares and spectra from the sums.

    Averages are filtered by the model's spectrum (:func:`filtered_by_order`) or, where it has none, by the signal
    power that all classes share on each ring.

    Parameters
    ----------
    model : ClassModel
    sums : Sums
    dof : float
        Independent samples per Fourier pixel.
    equal : bool
        Give all averages the same prior.
    keep_spectra : bool
        Do not re-estimate noise and outlier power.
    """
    n_orders, k, rings = sums.numerator.shape[1:]
    numerator, ctf2 = sums.numerator.sum(axis=0), sums.ctf2.sum(axis=0)
    members = sums.members
    if model.spectrum.size:
        new = filtered_by_order(model, numerator, ctf2, dof)
    else:
        new = _filtered_by_ring(model, numerator, ctf2, members)
    orders = np.zeros_like(model.orders)
    orders[:n_orders, :, :rings] = new
    noise, outlier = model.noise, model.outlier
    if not keep_spectra:
        noise, outlier = _spectra(model, sums, new)
    share = members + 1e-3
    if equal:
        share[:k] = share[:k].mean()
    share = np.where(model.share > 0, share, 0.0)
    frc = np.zeros_like(model.frc)
    frc[:, :rings] = half_correlation(sums.numerator)
    return replace(model, orders=orders, share=share / share.sum(), noise=noise, outlier=outlier, frc=frc)


def filtered_by_order(
    model: ClassModel, numerator: NDArray[np.complex64], ctf2: NDArray[np.float32], dof: float
) -> NDArray[np.complex64]:
    """The likeliest averages under the model's spectrum and radial mean, (n_orders, k, rings) complex64.

    Parameters
    ----------
    model : ClassModel
        With a spectrum.
    numerator : (n_orders, k, rings) complex64
        Sums of aligned particles times CTF.
    ctf2 : (k, rings) float32
        Sums of the squared CTF.
    dof : float
        Independent samples per Fourier pixel.
    """
    n_orders, _, rings = numerator.shape
    variance = model.noise[:rings] / (2.0 * np.pi * dof * np.arange(1, rings + 1))  # of one coefficient
    ridge = (variance / model.spectrum[:n_orders, :rings])[:, None]
    drawn = numerator.copy()
    drawn[0] += ridge[0] * model.mean[:rings]
    return np.asarray(drawn / (ctf2 + ridge), np.complex64)


def drawn_from_posterior(
    model: ClassModel, ctf2: NDArray[np.float32], dof: float, temperature: float, rng: np.random.Generator
) -> ClassModel:
    """The model with averages drawn from what they may be, instead of the likeliest ones.

    What an average does not know of itself is noise of this variance. With it, a particle leaves an average that it
    agrees with by chance only, and a search goes on where the likeliest averages have settled.

    Parameters
    ----------
    model : ClassModel
        With a spectrum; its averages as of :func:`filtered_by_order`.
    ctf2 : (k, rings) float32
        Sums of the squared CTF that the averages were made with.
    dof : float
        Independent samples per Fourier pixel.
    temperature : float
        1 = the posterior, 0 = none.
    rng : Generator
    """
    if temperature <= 0.0:
        return model
    n_orders, (k, rings) = len(model.orders), ctf2.shape
    variance = model.noise[:rings] / (2.0 * np.pi * dof * np.arange(1, rings + 1))
    ridge = (variance / model.spectrum[:, :rings])[:, None]
    sd = np.sqrt(temperature * variance / (ctf2 + ridge)).astype(np.float32)
    noise = rng.standard_normal((n_orders, k, rings, 2), np.float32) * np.float32(np.sqrt(0.5))
    noise[0] *= np.array([np.sqrt(2.0), 0.0], np.float32)  # order 0 is about real
    orders = model.orders.copy()
    orders[:, :, :rings] += sd * noise.view(np.complex64)[..., 0]
    return replace(model, orders=orders)


def _filtered_by_ring(
    model: ClassModel, numerator: NDArray[np.complex64], ctf2: NDArray[np.float32], members: NDArray[np.float64]
) -> NDArray[np.complex64]:
    """Wiener-filtered averages by the signal power of each ring, which all classes share."""
    k, rings = ctf2.shape
    noise = model.noise[:rings]
    raw = ring_power(numerator / (ctf2 + np.float32(1e-3)))
    of_class = (members[:k] / max(members[:k].sum(), 1e-9))[:, None]
    signal = np.maximum(((raw - noise / (ctf2 + 1e-3)) * of_class).sum(axis=0), 0.02 * (raw * of_class).sum(axis=0))
    if len(model.signal):
        signal = np.maximum(signal, model.signal[:rings])
    return np.asarray(numerator / (ctf2 + noise / (signal + 1e-6)).astype(np.float32), np.complex64)


def _spectra(
    model: ClassModel, sums: Sums, averages: NDArray[np.complex64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noise and outlier power, (n_rings,) each, from what the averages leave of their members."""
    k, rings = averages.shape[1:]
    members = sums.members
    noise, outlier = model.noise.copy(), model.outlier.copy()
    product = (np.conj(averages) * sums.numerator.sum(axis=0)).real
    cross = 2.0 * product.sum(axis=0) - product[0]
    residual = (sums.power[:k] - 2.0 * cross + ring_power(averages) * sums.ctf2.sum(axis=0)).sum(axis=0)
    # where most particles are outliers for a while, what their model leaves may be below nothing
    of_outliers = sums.power[k + 1] - outlier[:rings] * sums.model_ctf2[k + 1]
    residual = residual + sums.power[k] + np.maximum(of_outliers, noise[:rings] * members[k + 1])
    noise[:rings] = floored(residual / members.sum())
    if members[k + 1] > _LEAST_OUTLIERS:
        excess = sums.power[k + 1] - noise[:rings] * members[k + 1]
        outlier[:rings] = np.maximum(excess / np.maximum(sums.model_ctf2[k + 1], 1e-9), 1e-4)
    return noise, outlier


def floored(noise: NDArray[Any]) -> NDArray[np.float32]:
    """Noise power (n_rings,) no lower than :data:`NOISE_FLOOR` allows; ring 1 (ramps, ice) does not raise the floor."""
    return np.asarray(np.maximum(noise, max(1e-3, NOISE_FLOOR * float(noise[1:].max(initial=0.0)))), np.float32)


def half_correlation(numerator: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Ring correlation of the two halves, (k, rings) float32, from their sums (2, n_orders, k, rings) complex64."""
    product = (np.conj(numerator[0]) * numerator[1]).real
    cross = 2.0 * product.sum(axis=0) - product[0]
    scale = np.sqrt(ring_power(numerator[0]) * ring_power(numerator[1]))
    return np.asarray(cross / np.maximum(scale, 1e-20), np.float32)


def take(particles: Partition, rows: NDArray[np.intp]) -> Partition:
    """Some of the particles, by rows (n,) int, copied."""
    return Partition(
        np.ascontiguousarray(particles.orders[:, rows]),
        particles.power[rows],
        particles.ctf2[rows],
        particles.half[rows],
    )


def split(particles: Partition) -> list[Partition]:
    """Views of consecutive rows: always as many, so that sums do not depend on the number of cores."""
    edges = np.linspace(0, len(particles), _PARTITIONS + 1).astype(int)
    return [
        replace(
            particles,
            orders=particles.orders[:, a:b],
            power=particles.power[a:b],
            ctf2=particles.ctf2[a:b],
            half=particles.half[a:b],
        )
        for a, b in pairwise(edges.tolist())
        if b > a
    ]
