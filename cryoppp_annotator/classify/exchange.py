"""Merging two averages of one view and splitting one of two views, where the likelihood gains.

Expectation maximisation cannot move a class from where there are two to where there is one too few. What a split gains
is measured by classifying a class's own members into two; what a merger costs is Ward's criterion on aligned averages
in the same units (nats). Both are cheap beside an iteration over all classes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import ring_power, rotation_table, shift_references
from ..model.context import JobContext
from .expectation import Assignment, Partition, Sums
from .grids import shift_grid, stage_grid
from .iteration import ClassModel, iterate, take

_QUIET = JobContext()
_MIN_MEMBERS = 12
#: Exchanges of averages that are tried.
_TRIES = 2
#: Iterations after each.
_ITERATIONS = 7
#: Members of a class that a trial split looks at: enough to tell, and its time does not grow with the data set.
_MAX_MEMBERS = 300
#: Prior of the empty and the outlier model within a class.
_STRAY = 2e-9
_STEP = tuple[int, float, float]


#: Members of a class that is split to fill an empty one, at least.
_LEAST_FILLED_FROM = 6


class _Split(NamedTuple):
    gain: float
    orders: NDArray[np.complex64] | None


def exchange(
    particles: Partition,
    model: ClassModel,
    sums: Sums,
    assignment: Assignment,
    dof: float,
    stage: _STEP,
    rng: np.random.Generator,
    *,
    pool: ThreadPoolExecutor,
    context: JobContext = _QUIET,
) -> ClassModel:
    """Merge and split where a split gains more than the merger costs that frees a class for it.

    Parameters
    ----------
    particles : Partition
    model, sums, assignment
        As of the last iteration on these particles.
    dof : float
    stage : (rings, largest shift in px, step of the shifts in px)
        Of the trial iterations.
    rng : Generator
    pool : ThreadPoolExecutor
        Classes are tried at the same time.
    context : JobContext

    Raises
    ------
    Cancelled
    """
    members = sums.members[: model.orders.shape[1]]
    cost = merge_costs(model, sums, dof, stage)
    label = assignment.posterior.argmax(axis=1)
    rows = [np.flatnonzero(label == k) for k in range(len(members))]
    seeds = rng.integers(2**32, size=len(members))

    def trial(k: int) -> _Split:
        return _try_split(particles, rows[k], model, k, dof, stage, int(seeds[k]), context)

    tried = list(pool.map(trial, range(len(members))))
    pairs = [divmod(int(flat), len(members)) for flat in np.argsort(cost, axis=None, kind="stable")]
    pairs = [(i, j) for i, j in pairs if i < j]
    orders, share = model.orders.copy(), model.share.copy()
    used: set[int] = set()
    for k in sorted(range(len(members)), key=lambda index: -tried[index].gain):
        gain, halves = tried[k]
        pair = next((p for p in pairs if k not in p and not used & {k, *p}), None)
        if halves is None or pair is None or gain <= cost[pair] + 1.0:
            continue
        freed = min(pair, key=lambda index: float(members[index]))
        orders[:, k], orders[:, freed] = halves[:, 0], halves[:, 1]
        share[k] = share[freed] = share[k] / 2.0
        used |= {k, *pair}
    return replace(model, orders=orders, share=share / share.sum())


def fill_empty(
    particles: Partition,
    model: ClassModel,
    label: NDArray[np.intp],
    dof: float,
    stage: _STEP,
    rng: np.random.Generator,
    context: JobContext = _QUIET,
) -> ClassModel:
    """The model with its empty classes filled: each gets a half of the class that is largest then.

    Parameters
    ----------
    particles : Partition
    model : ClassModel
    label : (n,) intp
        Column of each particle.
    dof : float
    stage : (rings, largest shift in px, step of the shifts in px)
        Of the iterations that split a class.
    rng : Generator
    context : JobContext

    Raises
    ------
    Cancelled
    """
    k = model.orders.shape[1]
    rows = [np.flatnonzero(label == column) for column in range(k)]
    orders, share = model.orders.copy(), model.share.copy()
    whole: set[int] = set()
    empty = [column for column in range(k) if not len(rows[column])]
    while empty:
        large = max(range(k), key=lambda column: -1 if column in whole else len(rows[column]))
        current = replace(model, orders=orders)
        seed, least = int(rng.integers(2**32)), _LEAST_FILLED_FROM
        halves = _try_split(particles, rows[large], current, large, dof, stage, seed, context, least).orders
        if large in whole or halves is None:
            break
        first = _in_first(particles, rows[large], _pair(model, halves), dof, stage, context)
        if first.all() or not first.any():
            whole.add(large)
            continue
        into = empty.pop()
        orders[:, large], orders[:, into] = halves[:, 0], halves[:, 1]
        rows[large], rows[into] = rows[large][first], rows[large][~first]
        share[large] = share[into] = share[large] / 2.0
    return replace(model, orders=orders, share=share / share.sum())


def _in_first(
    particles: Partition,
    rows: NDArray[np.intp],
    pair: ClassModel,
    dof: float,
    stage: _STEP,
    context: JobContext,
) -> NDArray[np.bool_]:
    """Which of the particles ``rows`` are likelier in the first of two averages, (n,) bool."""
    parts = [take(particles, rows)]
    posterior = iterate(parts, pair, dof, stage, keep_spectra=True, context=context)[2].posterior
    return np.asarray(posterior[:, 0] >= posterior[:, 1], np.bool_)


def _pair(model: ClassModel, orders: NDArray[np.complex64]) -> ClassModel:
    """A model of two averages alone."""
    share = np.array([0.5, 0.5, _STRAY, _STRAY])
    return replace(model, orders=orders, share=share, frc=np.zeros((2, model.frc.shape[1]), np.float32))


def merge_costs(model: ClassModel, sums: Sums, dof: float, stage: _STEP) -> NDArray[np.float64]:
    """Log likelihood lost by making one average of two, (k, k) float64, nats; the diagonal is infinite."""
    grid = stage_grid(model.grid, stage[0])
    k = model.orders.shape[1]
    averages = np.ascontiguousarray(model.orders[: grid.n_orders, :, : grid.n_rings])
    shifts, _ = shift_grid(stage[1], stage[2])
    members = sums.members[:k]
    ctf2 = sums.ctf2.sum(axis=(0, 1)) / max(float(members.sum()), 1e-9)
    weight = (2.0 * np.pi * dof * grid.radii / model.noise[: grid.n_rings] * ctf2).astype(np.float32)
    moved = shift_references(averages * weight, shifts, grid).reshape(grid.n_orders, -1, grid.n_rings)
    wave = np.conj(averages) @ moved.swapaxes(1, 2)
    table = rotation_table(grid.n_orders, grid.n_angles)
    flat = np.concatenate([wave.real, wave.imag]).reshape(2 * grid.n_orders, -1)
    match = (table @ flat).reshape(grid.n_angles, k, k, len(shifts)).max(axis=(0, 3))
    energy = (ring_power(averages) * weight).sum(axis=1)
    distance = energy[:, None] + energy - match - match.T
    cost = 0.5 * distance * np.multiply.outer(members, members) / (members[:, None] + members + 1e-9)
    np.fill_diagonal(cost, np.inf)
    return np.asarray(cost, np.float64)


def _try_split(
    particles: Partition,
    rows: NDArray[np.intp],
    model: ClassModel,
    k: int,
    dof: float,
    stage: _STEP,
    seed: int,
    context: JobContext,
    least: int = _MIN_MEMBERS,
) -> _Split:
    """Likelihood gained by two averages instead of one for the members ``rows`` of class ``k``, and the two."""
    if len(rows) < least:
        return _Split(-np.inf, None)
    rng = np.random.default_rng(seed)
    scale = max(1.0, len(rows) / _MAX_MEMBERS)
    if scale > 1.0:
        rows = np.sort(rng.choice(rows, _MAX_MEMBERS, replace=False))
    mine = take(particles, rows)
    parts = [mine]
    alone = replace(model, orders=model.orders[:, [k]], share=np.array([1.0, _STRAY, _STRAY]), frc=model.frc[[k]])
    for _ in range(2):
        alone, single, _ = iterate(parts, alone, dof, stage, keep_spectra=True, context=context)
    signal = np.maximum(ring_power(model.orders).mean(axis=0), 1e-4)
    best = _Split(-np.inf, None)
    for _ in range(_TRIES):
        two = rng.choice(len(rows), 2, replace=False)
        orders = (mine.orders[:, two] / (mine.ctf2[two] + model.noise / signal)).astype(np.complex64)
        pair = _pair(model, orders)
        for _ in range(_ITERATIONS):
            pair, both, _ = iterate(parts, pair, dof, stage, equal=True, keep_spectra=True, context=context)
        gain = scale * (both.log_likelihood - single.log_likelihood)
        if gain > best.gain:
            best = _Split(gain, pair.orders)
    return best
