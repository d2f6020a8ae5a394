"""Maximum a posteriori 2D classification in the polar Fourier domain.

Regularised expectation maximisation after Scheres (2012, doi:10.1016/j.jmb.2011.11.010), with rotations and shifts
marginalised, every image turned by a phase (:mod:`.polar`). Two of the classes are not averages but models of what
is no particle: *empty* (noise alone) and *outlier* (random structure with its own power spectrum). Between rounds, two
classes of one view are merged and a class of two views is split, where that raises the likelihood (:mod:`.exchange`):
plain expectation maximisation stays in the first local optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..imaging.filters import fft_workers
from ..imaging.polar import PolarGrid
from ..model.context import JobContext
from .doubt import why_not
from .exchange import exchange
from .expectation import Assignment, Partition
from .iteration import ClassModel, floored, iterate, split, support
from .particles import MASK, Prepared, prepare

__all__ = ["MASK", "Classification", "Prepared", "Settings", "classify", "one_blas_thread", "prepare"]

_QUIET = JobContext()
#: Fewer classes than this are all averages; from here on two of them model what is no particle.
MIN_FOR_MODELS = 6
#: Least signal of the averages as a share of that of all particles.
_LEAST_SIGNAL = np.float32(0.25)
_PER_CLASS = 5
#: Rings, step of the shifts (px), iterations, whether classes are exchanged after them, whether they weigh the same.
_STAGES: tuple[tuple[int, float, int, bool, bool], ...] = (
    (8, 1.5, 10, True, True), (8, 1.5, 6, True, True), (8, 1.5, 6, True, True), (10, 1.5, 6, True, False),
    (10, 1.5, 5, True, False), (12, 1.5, 6, False, False), (18, 1.0, 3, False, False),
)  # fmt: skip
#: Rings and step of the shifts (px) at which the halves are held against each other.
_SUPPORT_RINGS, _SUPPORT_STEP = 12, 1.5
_WARM_STAGES = ((18, 1.0, 1, False, False),)


@dataclass(frozen=True, slots=True)
class Settings:
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
    shift_px: float = 3.0
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
    settings: Settings,
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
    settings : Settings
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
    rng = context.rng()
    notes: list[str] = []
    n = len(ready)
    n_classes = min(settings.n_classes, max(1, n // _PER_CLASS))
    if n_classes < settings.n_classes:
        notes.append(f"{n} particles are too few for {settings.n_classes} classes; {n_classes} are made")
    models = n_classes >= MIN_FOR_MODELS
    n_averages = n_classes - 2 if models else n_classes
    n_first = max(settings.subset, 60 * n_classes)
    chosen = np.arange(n) if n <= n_first * 1.2 else np.sort(rng.choice(n, n_first, replace=False))
    subset = ready.load(chosen, context)
    stages = _STAGES
    if start is not None and start.grid == ready.grid:
        model, stages = start, _WARM_STAGES
        n_averages = model.orders.shape[1]
    else:
        model = first_model(subset, ready.grid, n_averages, models, rng)
    total = sum(stage[2] for stage in stages) + 2
    done = 0
    reach = settings.shift_px
    with one_blas_thread(), ThreadPoolExecutor(fft_workers(), thread_name_prefix="classify") as pool:
        parts = split(subset)
        for rings, step, iterations, trade, equal in stages:
            for _ in range(iterations):
                model, sums, assignment = iterate(
                    parts, model, ready.dof, (rings, reach, step), equal=equal, pool=workers or pool, context=context
                )
                done += 1
                context.progress(done, total, f"{n_classes} classes, ring {min(rings, ready.grid.n_rings)}")
                if on_averages is not None:
                    on_averages(model)
            if trade and n_averages > 1:
                model = exchange(
                    subset, model, sums, assignment, ready.dof, (rings, reach, 1.5), rng, pool=pool, context=context
                )
        finest = (stages[-1][0], reach, stages[-1][1])
        everything = ready.parts()
        for _ in range(2 if len(chosen) < n and stages is _STAGES else 1):
            model, sums, assignment = iterate(
                everything, model, ready.dof, finest, pool=workers or pool, context=context
            )
            if on_averages is not None:
                on_averages(model)
        backed = support(
            everything, model, sums, ready.dof, (_SUPPORT_RINGS, reach, _SUPPORT_STEP), pool=workers or pool,
            context=context,
        )  # fmt: skip
    context.progress(total, total, "classified")
    return _outcome(ready, model, assignment, backed, notes)


def _outcome(
    ready: Prepared, model: ClassModel, assignment: Assignment, backed: NDArray[np.float32], notes: list[str]
) -> Classification:
    n = ready.n_images
    k = assignment.posterior.shape[1]
    posterior = np.zeros((n, k), np.float32)
    label = np.full(n, -1, np.int32)
    angle, offset = np.zeros(n, np.float32), np.zeros((n, 2), np.float32)
    evidence, supported = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    rows = ready.usable
    posterior[rows] = assignment.posterior
    label[rows] = assignment.posterior.argmax(axis=1)
    angle[rows], evidence[rows] = assignment.angle_deg, assignment.evidence
    supported[rows] = backed
    turn = np.deg2rad(assignment.angle_deg)
    y, x = assignment.shift.T
    offset[rows, 0] = x * np.sin(turn) + y * np.cos(turn)
    offset[rows, 1] = x * np.cos(turn) - y * np.sin(turn)
    counts = np.bincount(label[rows], minlength=k)
    medians = [float(np.median(supported[label == c])) if counts[c] else 0.0 for c in range(k - 2)]
    doubt = why_not(counts[: k - 2].tolist(), medians, len(rows))
    notes = [*notes, doubt] if doubt else notes
    return Classification(model, posterior, label, angle, offset, evidence, tuple(notes), ready.mask_radius, supported)
