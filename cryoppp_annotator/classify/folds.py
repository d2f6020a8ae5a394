"""Expectation maximisation in which no particle is compared with an average that it is part of.

A particle agrees with an average that holds its own noise, at the rotation it was added at and at no other: by several
nats where views differ by a few. It then stays where it first came to lie, and the likelihood of any set of averages
grows as they fit their members' noise. Here each fold of the particles meets averages of the other folds. That costs no
more, and the evidence can be held against that of other averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import PolarGrid
from ..model.context import JobContext
from .centring import centred, envelope_centres, image_offset, within
from .expectation import Assignment, Partition, Sums, expect
from .iteration import ClassModel, drawn_from_posterior, filtered_by_order, maximise, references_of, take
from .spectrum import signal_spectrum

Centres = Literal["follow", "anew", "stay"]

_QUIET = JobContext()
#: Averages are made of three quarters of the particles; more folds change little and are smaller matrices.
FOLDS = 4
#: Largest shift tried around the centre of each particle, px.
NEAR_PX = 1.0
#: Step of these shifts, px.
STEP_PX = 1.0
#: Particles that averages are selected on, at most.
_SELECTED_ON = 3000
_SWEEPS = 2
_LEAST_LIKELIHOOD = 1e-30


@dataclass(eq=False)
class Folds:
    """Particles in folds, each with its averages, and where each particle's centre is taken to be.

    Attributes
    ----------
    original : sequence of Partition
        As they were cut.
    grid : PolarGrid
    dof : float
        Independent samples per Fourier pixel.
    reach : float
        Largest offset of a centre, px.
    shift : list of (n, 2) float32, yx, px
        The centres, by fold.
    particles : list of Partition
        Centred, by fold.
    models : list of ClassModel
        For each fold, made without it.
    assignments : list of Assignment
        Of the last step, by fold.
    """

    original: Sequence[Partition]
    grid: PolarGrid
    dof: float
    reach: float
    shift: list[NDArray[np.float32]]
    particles: list[Partition]
    models: list[ClassModel] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)

    @staticmethod
    def of(particles: Partition, grid: PolarGrid, dof: float, reach: float) -> Folds:
        """Particles centred by the envelope they share."""
        shift = within(envelope_centres(particles, grid, dof, reach + STEP_PX), reach)
        rows = [np.arange(first, len(particles), FOLDS) for first in range(FOLDS)]
        original = [take(particles, mine) for mine in rows]
        shifts = [shift[mine] for mine in rows]
        moved = [centred(part, by, grid) for part, by in zip(original, shifts, strict=True)]
        return Folds(original, grid, dof, reach, shifts, moved)

    def whole(self) -> Partition:
        """All particles, centred, fold after fold."""
        parts = self.particles
        orders = np.concatenate([part.orders for part in parts], axis=1)
        power, ctf2, half = (np.concatenate([getattr(p, name) for p in parts]) for name in ("power", "ctf2", "half"))
        return Partition(orders, power, ctf2, half)

    def recentre(self, assignments: Sequence[Assignment], pool: Executor) -> None:
        """Move each particle that is in an average to where that lies."""

        def one(fold: int) -> tuple[NDArray[np.float32], Partition]:
            assignment = assignments[fold]
            stray = assignment.posterior.argmax(axis=1) >= assignment.posterior.shape[1] - 2
            offset = np.where(stray[:, None], np.float32(0.0), image_offset(assignment))
            shift = within(self.shift[fold] + offset, self.reach)
            return shift, centred(self.original[fold], shift, self.grid)

        for fold, (shift, particles) in enumerate(pool.map(one, range(len(self.original)))):
            self.shift[fold], self.particles[fold] = shift, particles

    def measure_spectrum(self, model: ClassModel, mask_radius: float) -> ClassModel:
        """The model with the spectrum of the particles as they are centred now."""
        whole = self.whole()
        floor = np.full(self.grid.n_rings, float(np.median(whole.power[:, -3:])), np.float32)
        spectrum, mean = signal_spectrum(whole, self.grid, mask_radius, floor)
        return replace(model, spectrum=spectrum, mean=mean)

    def seeds(self, model: ClassModel, n: int, rng: np.random.Generator) -> ClassModel:
        """The model with ``n`` single particles, filtered, for averages."""
        whole = self.whole()
        rows = np.sort(rng.choice(len(whole), n, replace=False))
        orders = filtered_by_order(model, whole.orders[:, rows], whole.ctf2[rows], self.dof)
        return with_averages(model, orders)

    def step(
        self,
        rings: int,
        pool: Executor,
        *,
        near: float = NEAR_PX,
        apart: float = STEP_PX,
        centres: Centres = "follow",
        equal: bool = True,
        temperature: float = 0.0,
        rng: np.random.Generator | None = None,
        context: JobContext = _QUIET,
    ) -> ClassModel:
        """One expectation and one maximisation step, and the particles moved; returns the model made of all folds.

        Parameters
        ----------
        rings : int
        pool : Executor
            Its ``map`` works on the folds at the same time.
        near : float, px
            Shifts tried around each particle's centre.
        apart : float, px
            Step of these shifts.
        centres : {"follow", "anew", "stay"}
            Particles are moved to their best shift; the same, but all shifts from the middle of the box up to ``reach``
            are tried; or they stay. A centre that follows each comparison also follows the particle's own noise.
        equal : bool
            Give all averages the same prior.
        temperature : float
            With ``rng``, the averages of the folds are drawn (:func:`~.iteration.drawn_from_posterior`).
        rng : Generator, optional
        context : JobContext

        Raises
        ------
        Cancelled
        """

        if centres == "anew":
            self.shift = [np.zeros_like(by) for by in self.shift]
            self.particles = list(self.original)
            near = self.reach

        def one(fold: int) -> tuple[Sums, Assignment]:
            references, grid = references_of(self.models[fold], self.dof, (rings, near, apart))
            return expect(self.particles[fold], references, grid, context=context)

        done = list(pool.map(one, range(len(self.particles))))
        sums = [item[0] for item in done]
        total = reduce(lambda a, b: a + b, sums)
        model = maximise(self.models[0], total, self.dof, equal=equal)
        # added up and not subtracted: what is left of a class that lives in one fold would be rounding errors
        rest = [reduce(lambda a, b: a + b, sums[:fold] + sums[fold + 1 :]) for fold in range(len(sums))]
        self.models = [maximise(model, part, self.dof, equal=equal, keep_spectra=True) for part in rest]
        if rng is not None:
            known = [part.ctf2.sum(axis=0) for part in rest]
            pairs = zip(self.models, known, strict=True)
            self.models = [drawn_from_posterior(mine, ctf2, self.dof, temperature, rng) for mine, ctf2 in pairs]
        self.assignments = [item[1] for item in done]
        if centres != "stay":
            self.recentre(self.assignments, pool)
        return model

    def add(self, model: ClassModel) -> None:
        """Let the averages of another model compete with those of each fold."""
        joined = [np.concatenate([mine.orders, model.orders], axis=1) for mine in self.models]
        self.models = [with_averages(mine, orders) for mine, orders in zip(self.models, joined, strict=True)]

    def keep_best(self, n: int) -> None:
        """Keep those ``n`` averages under which, together, the particles are likeliest."""
        model = self.models[0]
        k = model.orders.shape[1]
        if k <= n:
            return
        posterior = np.concatenate([item.posterior for item in self.assignments])
        posterior = posterior[:: max(1, len(posterior) // _SELECTED_ON)].astype(np.float64)
        likelihood = posterior[:, :k] / model.share[:k] * model.share[:k].mean()
        kept = best_together(likelihood, posterior[:, k:].sum(axis=1), n)
        self.models = [with_averages(mine, mine.orders[:, kept]) for mine in self.models]


def with_averages(model: ClassModel, orders: NDArray[np.complex64]) -> ClassModel:
    """The model with other averages, each of the same prior.

    Parameters
    ----------
    model : ClassModel
    orders : (n_orders, k, n_rings) complex64
        Of the averages, on the polar grid of the model.
    """
    k = orders.shape[1]
    share = np.ones(k + 2)
    share[k:] = model.share[-2:] > 0
    frc = np.zeros((k, model.frc.shape[1]), np.float32)
    return replace(model, orders=np.ascontiguousarray(orders, np.complex64), share=share / share.sum(), frc=frc)


def best_together(likelihood: NDArray[np.float64], stray: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Those ``n`` averages that explain the particles best together: one by one, then each exchanged for a better one.

    Parameters
    ----------
    likelihood : (particles, k) float64
        Of each particle under each average, with its prior; each row in units of its own.
    stray : (particles,) float64
        The same under what is no average.
    n : int

    Returns
    -------
    (n,) intp, ascending
    """
    explained = stray + _LEAST_LIKELIHOOD
    chosen: list[int] = []
    for _ in range(n):
        gain = np.log(explained[:, None] + likelihood).sum(axis=0)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        explained = explained + likelihood[:, chosen[-1]]
    for _ in range(_SWEEPS):
        before = list(chosen)
        for place in range(n):
            rest = chosen[:place] + chosen[place + 1 :]
            explained = stray + _LEAST_LIKELIHOOD + likelihood[:, rest].sum(axis=1)
            gain = np.log(explained[:, None] + likelihood).sum(axis=0)
            gain[rest] = -np.inf
            chosen[place] = int(gain.argmax())
        if chosen == before:
            break
    return np.sort(np.array(chosen, np.intp))
