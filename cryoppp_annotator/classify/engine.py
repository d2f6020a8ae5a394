"""Maximum a posteriori 2D classification in the polar Fourier domain.

Regularised expectation maximisation after Scheres (2012, doi:10.1016/j.jmb.2011.11.010), with rotations and shifts
marginalised, every image turned by a phase (:mod:`.polar`). Two of the classes are not averages but models of what
is no particle: *empty* (noise alone) and *outlier* (random structure with its own power spectrum).

Plain expectation maximisation stays in the first local optimum. So there are two searches. One begins in the coarse;
between its rounds, two classes of one view are merged and a class of two views is split, where that raises the
likelihood (:mod:`.exchange`). The other begins with many single particles at medium resolution, each compared with
averages that it is no part of (:mod:`.folds`). The averages of both then compete, and those go on that explain the
particles best together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..imaging.filters import fft_workers
from ..imaging.polar import PolarGrid
from ..model.context import JobContext
from .agreement import independent_frc
from .centring import image_offset
from .doubt import doubt_of, why_not
from .exchange import exchange, fill_empty
from .expectation import Assignment, Partition
from .folds import NEAR_PX, STEP_PX, Folds
from .iteration import ClassModel, floored, iterate, support
from .prepared import MASK, Prepared, prepare

__all__ = ["MASK", "Classification", "ClassifyOptions", "Prepared", "classify", "one_blas_thread", "prepare"]

_QUIET = JobContext()
#: Fewer classes than this are all averages; from here on two of them model what is no particle.
MIN_FOR_MODELS = 6
#: Least signal of the averages as a share of that of all particles.
_LEAST_SIGNAL = np.float32(0.25)
#: Particles that a class must have on average; with fewer, fewer classes are made.
_PER_CLASS = 5
#: Particles of each class that averages are made of, at least.
_SUBSET_PER_CLASS = 60


class _Stage(NamedTuple):
    """Iterations at one resolution."""

    rings: int
    #: Of the shifts, px.
    step: float
    iterations: int
    #: Whether classes are merged and split afterwards.
    exchanges: bool
    #: Whether all classes have the same prior.
    equal: bool


#: The first search, where particles differ most: in the coarse. Six to ten iterations settle, and are exchanged after.
_COARSE = (
    _Stage(8, 1.5, 8, True, True),
    _Stage(8, 1.5, 6, True, True),
    _Stage(8, 1.5, 6, True, True),
    _Stage(10, 1.5, 6, True, False),
    _Stage(10, 1.5, 4, False, False),
)
#: Rings of the search among many averages: what tells views of a round particle apart lies above ring 8, and nearly all
#: of what ring 18 has to say is said by ring 12.
_SEARCH_RINGS = 12
#: Single particles that the second search starts from, for each average.
_SEEDS = 3
#: Seeds that are kept for each average.
_FIRST_KEPT = 2
#: Iterations with all seeds.
_OF_SEEDS = 8
#: Iterations with the seeds that are kept.
_OF_KEPT = 2
#: Iterations with the coarse averages added.
_OF_BOTH = 5
#: Iterations with the averages that remain, drawn from what they may be: views are found that no average shows yet.
_OF_BEST = 42
#: In every so manieth of them centres are looked for anew; in between, particles stay where they are.
_CENTRED_EACH = 5
#: Shifts tried around a centre that stays, px.
_WINDOW_PX = 1.5
#: Step of the shifts where centres are looked for anew, px: half of it is well inside the window.
_ANEW_STEP_PX = 1.5
#: Of the draws, until the last iterations settle.
_TEMPERATURE = 0.7
_SETTLING = 8
#: Largest shift of the coarse search, px.
_COARSE_PX = 3.0
#: Shifts tried when averages with centres of their own come in, px.
_JOIN_PX = 2.0
#: Iterations at full resolution.
_FINE_ITERATIONS = 5
#: Rings of the last comparison.
_FINE_RINGS = 18
#: Step of its shifts, px.
_FINE_STEP = 1.0
#: Rings of the comparison by which each half of the data is measured on averages of the other half.
_SUPPORT_RINGS = 12
#: Step of its shifts, px.
_SUPPORT_STEP = 1.5


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """How to classify.

    Attributes
    ----------
    n_classes : int
        Classes in all; from six on, two of them are the empty and the outlier model.
    shift_px : float
        Largest shift searched, px of the stack.
    max_rings : int
        Finest ring of the transform: resolution ``box / max_rings`` px.
    subset : int
        So many particles (at least 60 for each class) are classified first; the rest is then assigned.
    """

    n_classes: int = 16
    shift_px: float = 4.25
    max_rings: int = 18
    subset: int = 5000


@dataclass(frozen=True, eq=False)
class Classification:
    """Outcome of a run.

    Attributes
    ----------
    model : ClassModel
    posterior : (n, k + 2) float32
        0 throughout for images that could not be used.
    label : (n,) int32
        Column of the largest posterior; -1 where the image could not be used.
    angle_deg : (n,) float32
        Rotation of the average in the image, from x towards y.
    offset_px : (n, 2) float32, yx
        Centre of the particle in the image, from the centre of the box.
    evidence : (n,) float32
        Log likelihood against pure noise; NaN where the image could not be used.
    notes : tuple of str
        What to tell the user.
    mask_radius : float
        As a share of the box.
    support : (n,) float32, or (0,) where it was not looked at
        Log likelihood against pure noise under averages of the half of the data that the image is not in; NaN where
        the image could not be used.
    view_gain : (n,) float32, or (0,) where it was not looked at
        By how much ``support`` is above what the radial mean of the averages gives; NaN where the image could not be
        used.
    """

    model: ClassModel
    posterior: NDArray[np.float32]
    label: NDArray[np.int32]
    angle_deg: NDArray[np.float32]
    offset_px: NDArray[np.float32]
    evidence: NDArray[np.float32]
    notes: tuple[str, ...] = ()
    mask_radius: float = MASK
    support: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    view_gain: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Leave the cores to our own threads: the library's spin, which costs seconds on a busy machine."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def first_model(
    particles: Partition, grid: PolarGrid, n_averages: int, models: bool, rng: np.random.Generator
) -> ClassModel:
    """Start from single particles, filtered."""
    noise = floored(particles.power.mean(axis=0))
    floor = float(np.median(particles.power[:, -3:]))
    signal = np.maximum(noise - floor, 0.03 * floor) / np.maximum(particles.ctf2.mean(axis=0), 1e-3)
    rows = np.sort(rng.choice(len(particles), n_averages, replace=False))
    filtered = (particles.orders[:, rows] / (particles.ctf2[rows] + noise / signal)).astype(np.complex64)
    share = np.full(n_averages + 2, 1.0)
    share[n_averages:] = float(models)
    frc = np.zeros((n_averages, len(noise)), np.float32)
    signal = signal.astype(np.float32)
    outlier = np.float32(0.3) * signal
    return ClassModel(filtered, share / share.sum(), noise, outlier, frc, grid, _LEAST_SIGNAL * signal)


def classify(
    ready: Prepared,
    options: ClassifyOptions,
    *,
    start: ClassModel | None = None,
    on_averages: Callable[[ClassModel], None] | None = None,
    workers: Executor | None = None,
    context: JobContext = _QUIET,
) -> Classification:
    """Classify prepared particles.

    Parameters
    ----------
    ready : Prepared
    options : ClassifyOptions
    start : ClassModel, optional
        Of an earlier run on a stack of the same box: a few iterations then do.
    on_averages : callable, optional
        Gets the model after every iteration (:meth:`ClassModel.images` draws it).
    workers : Executor, optional
        Whose ``map`` runs what goes over all particles (a cluster's, which keeps them on its workers); local threads
        by default.
    context : JobContext
        Gives the seed: the same seed and particles give the same classes.

    Raises
    ------
    Cancelled
    """
    n = len(ready)
    n_classes = min(options.n_classes, max(1, n // _PER_CLASS))
    notes: list[str] = []
    if n_classes < options.n_classes:
        notes.append(f"{n} particles are too few for {options.n_classes} classes; {n_classes} are made")
    n_first = max(options.subset, _SUBSET_PER_CLASS * n_classes)
    rng = context.rng()
    chosen = np.arange(n) if n <= n_first * 1.2 else np.sort(rng.choice(n, n_first, replace=False))
    warm = start is not None and start.grid == ready.grid
    everything = ready.parts()
    finest = (_FINE_RINGS, options.shift_px, _FINE_STEP)
    halves = (_SUPPORT_RINGS, options.shift_px, _SUPPORT_STEP)
    with one_blas_thread(), ThreadPoolExecutor(fft_workers(), thread_name_prefix="classify") as pool:
        run = _Search(ready, ready.load(chosen, context), n_classes, options.shift_px, pool, context, on_averages, rng)
        model = start if start is not None and warm else run.cold(workers or pool)
        for _ in range(2 if warm or len(chosen) < n else 1):
            model, sums, assignment = iterate(
                everything, model, ready.dof, finest, pool=workers or pool, context=context
            )
            run.show(model)
        backed = support(everything, model, sums, ready.dof, halves, pool=workers or pool, context=context)
        frc = independent_frc(everything, model, ready.dof, pool=workers or pool, context=context)
        model = replace(model, frc=frc)
    context.progress(1, 1, "classified")
    return _outcome(ready, model, assignment, backed, notes)


@dataclass(eq=False)
class _Search:
    """A search for averages, which tells how far it is."""

    ready: Prepared
    particles: Partition
    n_classes: int
    reach: float
    pool: ThreadPoolExecutor
    context: JobContext
    on_averages: Callable[[ClassModel], None] | None
    rng: np.random.Generator
    done: int = 0

    def show(self, model: ClassModel) -> None:
        """Count an iteration, and hand its averages on, unless more compete than are asked for."""
        self.done += 1
        self.context.progress(min(self.done, _TOTAL - 1), _TOTAL, f"{self.n_classes} classes")
        if self.on_averages is not None and model.orders.shape[1] <= self.n_classes:
            self.on_averages(model)

    def cold(self, workers: Executor) -> ClassModel:
        """Averages from nothing: a coarse search and one among many single particles; the best of both go on."""
        ready = self.ready
        models = self.n_classes >= MIN_FOR_MODELS
        n = self.n_classes - 2 if models else self.n_classes
        folds = Folds.of(self.particles, ready.grid, ready.dof, self.reach)
        coarse = first_model(folds.whole(), ready.grid, n, models, self.rng)
        coarse = self._coarse(folds, coarse, workers)
        model = folds.measure_spectrum(coarse, ready.mask_radius)
        n_seeds = min(_SEEDS * n, len(self.particles) // 2)
        seeds = folds.seeds(model, n_seeds, self.rng)
        folds.models = [seeds] * len(folds.particles)
        self._steps(folds, _SEARCH_RINGS, _OF_SEEDS)
        folds.keep_best(_FIRST_KEPT * n)
        self._steps(folds, _SEARCH_RINGS, _OF_KEPT)
        folds.add(model)
        self._steps(folds, _SEARCH_RINGS, 1, near=_JOIN_PX)
        self._steps(folds, _SEARCH_RINGS, _OF_BOTH - 1)
        folds.keep_best(n)
        self._drawn(folds)
        model = self._fine(folds)
        label = np.concatenate([item.posterior.argmax(axis=1) for item in folds.assignments])
        at = (_SEARCH_RINGS, NEAR_PX, STEP_PX)
        return fill_empty(folds.whole(), model, label, ready.dof, at, self.rng, self.context)

    def _steps(self, folds: Folds, rings: int, iterations: int, near: float = NEAR_PX) -> ClassModel:
        for _ in range(iterations):
            model = folds.step(rings, self.pool, near=near, context=self.context)
            self.show(model)
        return model

    def _drawn(self, folds: Folds) -> None:
        """Iterations with averages drawn from their posterior, which settle at the end."""
        for iteration in range(_OF_BEST):
            stays = iteration % _CENTRED_EACH != 0
            step = folds.step(
                _SEARCH_RINGS,
                self.pool,
                near=_WINDOW_PX,
                apart=STEP_PX if stays else _ANEW_STEP_PX,
                centres="stay" if stays else "anew",
                temperature=_TEMPERATURE * min(1.0, (_OF_BEST - 1 - iteration) / _SETTLING),
                rng=self.rng,
                context=self.context,
            )
            self.show(step)

    def _fine(self, folds: Folds) -> ClassModel:
        """Iterations with the likeliest averages, at full resolution after the first, which looks for centres."""
        model = folds.step(_SEARCH_RINGS, self.pool, centres="anew", context=self.context)
        self.show(model)
        for _ in range(_FINE_ITERATIONS - 1):
            model = folds.step(_FINE_RINGS, self.pool, near=_WINDOW_PX, centres="stay", context=self.context)
            self.show(model)
        return model

    def _coarse(self, folds: Folds, model: ClassModel, workers: Executor) -> ClassModel:
        """Averages at low resolution, merged and split in between; particles are centred by them."""
        whole, dof, reach = folds.whole(), self.ready.dof, min(self.reach, _COARSE_PX)
        parts = [*folds.particles]
        for stage in _COARSE:
            at = (stage.rings, reach, stage.step)
            for _ in range(stage.iterations):
                model, sums, assignment = iterate(
                    parts, model, dof, at, equal=stage.equal, pool=workers, context=self.context
                )
                self.show(model)
            if stage.exchanges and model.orders.shape[1] > 1:
                model = exchange(
                    whole, model, sums, assignment, dof, at, self.rng, pool=self.pool, context=self.context
                )
        edges = np.cumsum([0, *(len(part) for part in parts)])
        folds.recentre([assignment.rows(a, b) for a, b in pairwise(edges.tolist())], self.pool)
        return model


#: Iterations of a run from nothing.
_TOTAL = sum(stage.iterations for stage in _COARSE) + _OF_SEEDS + _OF_KEPT + _OF_BOTH + _OF_BEST + _FINE_ITERATIONS + 2


def _outcome(
    ready: Prepared,
    model: ClassModel,
    assignment: Assignment,
    backed: tuple[NDArray[np.float32], NDArray[np.float32]],
    notes: list[str],
) -> Classification:
    n = ready.n_images
    k = assignment.posterior.shape[1]
    posterior = np.zeros((n, k), np.float32)
    label = np.full(n, -1, np.int32)
    angle, offset = np.zeros(n, np.float32), np.zeros((n, 2), np.float32)
    evidence, supported, gain = np.full((3, n), np.nan, np.float32)
    rows = ready.usable
    posterior[rows] = assignment.posterior
    label[rows] = assignment.posterior.argmax(axis=1)
    angle[rows], evidence[rows] = assignment.angle_deg, assignment.evidence
    supported[rows], gain[rows] = backed
    offset[rows] = image_offset(assignment)
    doubt = why_not(*doubt_of(label, supported, gain, k - 2), len(rows))
    notes = [*notes, doubt] if doubt else notes
    radius = ready.mask_radius
    return Classification(model, posterior, label, angle, offset, evidence, tuple(notes), radius, supported, gain)
