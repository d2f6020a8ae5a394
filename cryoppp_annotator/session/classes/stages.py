"""How picks are classified: some first, so that there is a picture in seconds; then more; then the rest in pieces.

What is in memory does not grow with the data set: averages are made of at most :data:`TRAINED` picks, and all others
are assigned to them piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...classify.centring import image_offset
from ...classify.engine import Classification, ClassifyOptions, Prepared, classify, one_blas_thread, prepare
from ...classify.iteration import ClassModel, iterate, split
from ...classify.metrics import ClassMetrics, Kind, class_averages, measure
from ...errors import Refused
from ...imaging.ctf import Optics
from ...imaging.filters import fft_workers
from ...model.context import JobContext
from ...store import classes as table
from ..core.session import Session
from . import run_state
from .box_cache import Boxes, BoxStack, Geometry, Picks, cut_out, notes_of, plan
from .on_cluster import class_workers
from .run_options import RunOptions

_QUIET = JobContext()
#: Picks that averages are made of; the others are assigned to them, so many at once.
TRAINED = 20_000
#: Micrographs that the first picks come from, at least.
_FIRST_MICROGRAPHS = 6
#: So many more picks are cut first than are wanted: some have no box.
_SPARE = 1.1
_PER_CLASS = 60
_MODEL_MEMBERS = 2000
#: Step of the shifts in the last stage, px.
_STEP = 1.0
#: Relative difference of pixel size up to which averages of one run are good for another.
_SAME_SIZE = 0.01


@dataclass(frozen=True, eq=False)
class Preview:
    """Averages while a run goes on.

    Attributes
    ----------
    averages : (k, side, side) float32, yx, white
    share : (k,) float64
        Of the picks, as of now.
    n_picks : int
        Picks that these averages are made of.
    iteration : int
        From 1.
    """

    averages: NDArray[np.float32]
    share: NDArray[np.float64]
    n_picks: int
    iteration: int


@dataclass(eq=False)
class Outcome:
    """What became of every box.

    Attributes
    ----------
    boxes : Boxes
    model : ClassModel
    classes : tuple of ClassMetrics
        In the order of their numbers.
    label : (n,) int32
        Column of the class of each box; -1 = not usable.
    posterior, angle_deg : (n,) float32
    offset_px : (n, 2) float32, yx, px of the boxes
        Centre of the particle in its box, from the middle.
    notes : list of str
    """

    boxes: Boxes
    model: ClassModel
    classes: tuple[ClassMetrics, ...]
    label: NDArray[np.int32]
    posterior: NDArray[np.float32]
    angle_deg: NDArray[np.float32]
    offset_px: NDArray[np.float32]
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[int]:
        """Column in the model of each class, in the order of their numbers."""
        return [item.column for item in self.classes]

    @property
    def n_averages(self) -> int:
        """Classes that are averages: the first ones."""
        return sum(item.kind is Kind.STRUCTURE for item in self.classes)

    def numbers(self) -> NDArray[np.int32]:
        """(n,) int32 number of the class of each box; 0 = not usable."""
        of_column = np.zeros(max(self.columns) + 2, np.int32)  # the last one is column -1
        of_column[self.columns] = np.arange(1, len(self.columns) + 1)
        return of_column[self.label]

    def shifts(self) -> dict[str, NDArray[np.float64]]:
        """From picks to the centres of their classes: ``shift_x, shift_y``, (n,), micrograph px."""
        scaled = self.offset_px * self.boxes.scale[:, None]
        return {"shift_x": scaled[:, 1], "shift_y": scaled[:, 0]}

    def averages(self) -> NDArray[np.float32]:
        """(k, side, side) float32 in the order of the numbers; of the two models, the plain mean of their members."""
        return class_averages(self.model, self.label, self.classes, self.boxes.images, _MODEL_MEMBERS)


@dataclass(slots=True)
class _Watch:
    """Hands averages on after every iteration."""

    on_iteration: Callable[[Preview], None] | None
    n_picks: int = 0
    iteration: int = 0

    def __call__(self, model: ClassModel) -> None:
        self.iteration += 1
        if self.on_iteration is not None:
            k = model.orders.shape[1]
            self.on_iteration(Preview(model.images(), model.share[:k], self.n_picks, self.iteration))


def work_out(
    session: Session,
    options: RunOptions,
    picks: Picks,
    *,
    context: JobContext = _QUIET,
    on_iteration: Callable[[Preview], None] | None = None,
    scheduler: str | None = None,
) -> Outcome:
    """Cut boxes around picks and classify them, the comparing on a Dask cluster where one is named.

    Raises
    ------
    Refused
        Not one pick has its whole box on a micrograph that can be read.
    EngineError, Cancelled
    """
    geometry = plan(session, picks, options)
    boxes = Boxes(BoxStack(geometry.side), geometry)
    before = None if options.start_from is None else previous_run(session, options.start_from, geometry)
    start = None if before is None else before.model
    work = _Work(
        boxes,
        options.use_ctf,
        ClassifyOptions(options.n_classes, subset=options.subset),
        _Watch(on_iteration),
        scheduler,
    )
    rng = context.rng()
    n_first = max(options.subset, _PER_CLASS * options.n_classes)
    n_passes, begun = 1, 0.0
    if start is None and len(picks) > 1.2 * n_first:
        n_passes, begun = 2, 0.4
        some = picks.take(_first(picks, n_first, rng))
        first = replace(work, boxes=Boxes(BoxStack(geometry.side), geometry))
        cut_out(session, some, first.boxes, context=context.part(0.0, 0.1))
        if len(first.boxes) > n_first // 2:
            inner = context.part(0.1, 0.4, f"Pass 1 of 2: {len(first.boxes):,} picks, ")
            start = first.classify(np.arange(len(first.boxes)), None, inner).model
    # cutting out takes a third of what is left; without a first pass that is all of it
    cut = begun + (1.0 - begun) / 3
    cut_out(session, picks, boxes, context=context.part(begun, cut))
    if not len(boxes):
        raise Refused("; ".join(["not one pick has its whole box on a micrograph", *notes_of(boxes, len(picks))[:3]]))
    if len(boxes) <= TRAINED:
        everything = np.arange(len(boxes))
        words = f"Pass {n_passes} of {n_passes}: {len(boxes):,} picks, "
        result = work.classify(everything, start, context.part(cut, 1.0, words))
        return work.outcome(result, _Labels.of(result))
    labels = _Labels.unknown(len(boxes)) if before is None else before.labels(boxes, picks)
    trained = _chosen(labels.missing(), len(boxes), rng)
    result = work.classify(
        trained, start, context.part(cut, 0.8, f"Pass {n_passes} of {n_passes}: {len(trained):,} picks, ")
    )
    labels.put(trained, _Labels.of(result))
    rest = labels.missing()
    for piece in np.array_split(rest, max(1, round(len(rest) / TRAINED))):
        done = len(boxes) - len(labels.missing())
        context.progress(0.8 + 0.2 * done / len(boxes), 1.0, f"assigning {done:,} of {len(boxes):,} picks")
        labels.put(piece, work.assign(piece, result.model, context))
    return work.outcome(result, labels)


def _first(picks: Picks, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Picks that are classified first: of few micrographs, because reading them takes the time."""
    where = picks.by_micrograph()
    parts = [where[number] for number in rng.permutation(list(where)).tolist()]
    count = round(_SPARE * count)
    held = np.cumsum([part.stop - part.start for part in parts])
    n = max(_FIRST_MICROGRAPHS, int(np.searchsorted(held, count)) + 1)
    quota = max(count // min(n, len(parts)), 1)
    drawn = [part.start + rng.permutation(part.stop - part.start) for part in parts[:n]]
    rows = np.concatenate([rows[:quota] for rows in drawn])
    spare = np.concatenate([rows[quota:] for rows in drawn])
    return np.sort(np.concatenate([rows, spare[: max(0, count - len(rows))]]))


def _chosen(new: NDArray[np.intp], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Boxes that averages are made of: half of them new ones, where there are so many, the rest drawn from all."""
    first = rng.permutation(new)[: TRAINED // 2]
    rest = np.setdiff1d(np.arange(n), first)
    return np.sort(np.concatenate([first, rng.permutation(rest)[: TRAINED - len(first)]]))


@dataclass(eq=False)
class _Labels:
    """What is known of every box; ``label`` is -2 where nothing is."""

    label: NDArray[np.int32]
    posterior: NDArray[np.float32]
    angle_deg: NDArray[np.float32]
    offset_px: NDArray[np.float32]

    @staticmethod
    def unknown(n: int) -> _Labels:
        return _Labels(np.full(n, -2, np.int32), *(np.zeros(s, np.float32) for s in (n, n, (n, 2))))

    @staticmethod
    def of(result: Classification) -> _Labels:
        return _Labels(result.label.copy(), result.posterior.max(axis=1), result.angle_deg, result.offset_px)

    def missing(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.label == -2)

    def put(self, rows: NDArray[np.intp], other: _Labels) -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name)[rows] = getattr(other, name)


@dataclass(slots=True)
class _Work:
    """The engine, on boxes of the project."""

    boxes: Boxes
    use_ctf: bool
    options: ClassifyOptions
    watch: _Watch
    scheduler: str | None

    def prepared(self, rows: NDArray[np.intp], context: JobContext) -> Prepared:
        stack = self.boxes.images if len(rows) == len(self.boxes) else self.boxes.images.take(rows)
        # read in slices, as a memory map would be
        images = cast("NDArray[np.float32]", stack)
        return prepare(
            images,
            defocus_A=self.boxes.defocus_A[rows] if self.use_ctf else None,
            pixel_size_A=self.boxes.geometry.pixel_size_A,
            optics=self.boxes.optics or Optics(),
            mask_radius=self.boxes.geometry.mask_radius,
            context=context,
        )

    def classify(self, rows: NDArray[np.intp], start: ClassModel | None, context: JobContext) -> Classification:
        self.watch.n_picks = len(rows)
        ready = self.prepared(rows, context)
        with class_workers(self.scheduler, context) as (workers, inner):
            return classify(ready, self.options, start=start, on_averages=self.watch, workers=workers, context=inner)

    def assign(self, rows: NDArray[np.intp], model: ClassModel, context: JobContext) -> _Labels:
        """One expectation step, on the cluster where there is one: which class each box belongs to."""
        # the engine needs some 32 boxes: where there are fewer, others are added, and their results are dropped
        company = np.setdiff1d(np.arange(min(len(self.boxes), 64)), rows) if len(rows) < 32 else rows[:0]
        ready = self.prepared(np.concatenate([rows, company]), context)
        stage = (self.options.max_rings, self.options.shift_px, _STEP)
        with (
            one_blas_thread(),
            ThreadPoolExecutor(fft_workers(), thread_name_prefix="assign") as pool,
            class_workers(self.scheduler, context) as (workers, inner),
        ):
            parts = split(ready.particles)
            _, _, assignment = iterate(parts, model, ready.dof, stage, pool=workers or pool, context=inner)
        out = _Labels.unknown(len(rows) + len(company))
        out.label[:] = -1
        best = _Labels(
            assignment.posterior.argmax(axis=1).astype(np.int32),
            assignment.posterior.max(axis=1),
            assignment.angle_deg,
            image_offset(assignment),
        )
        out.put(ready.usable, best)
        return _Labels(*(getattr(out, name)[: len(rows)] for name in _Labels.__dataclass_fields__))

    def outcome(self, result: Classification, labels: _Labels) -> Outcome:
        measured = measure(result, self.boxes.geometry.pixel_size_A)
        n = {item.column: int(np.count_nonzero(labels.label == item.column)) for item in measured}
        kept = Kind.STRUCTURE
        ordered = sorted(
            measured, key=lambda item: (item.kind is not kept, -n[item.column] if item.kind is kept else 0)
        )
        return Outcome(
            self.boxes,
            result.model,
            tuple(ordered),
            labels.label,
            labels.posterior,
            labels.angle_deg,
            labels.offset_px,
            list(result.notes),
        )


@dataclass(frozen=True, eq=False)
class Before:
    """An earlier run, as far as a new one can use it."""

    model: ClassModel
    members: dict[str, NDArray[Any]]
    columns: list[int]

    def labels(self, boxes: Boxes, picks: Picks) -> _Labels:
        """What is known of the boxes of picks that lie where they lay."""
        out = _Labels.unknown(len(boxes))
        ids, x, y = picks.id[boxes.rows], picks.x[boxes.rows], picks.y[boxes.rows]
        there = self.members
        if not len(there["particle"]):
            return out
        at = np.minimum(np.searchsorted(there["particle"], ids), len(there["particle"]) - 1)
        same = (there["particle"][at] == ids) & (there["x"][at] == x) & (there["y"][at] == y)
        rows, at = np.flatnonzero(same), at[same]
        scale = boxes.scale[rows, None]
        shift = (np.column_stack([there["shift_y"][at], there["shift_x"][at]]) / scale).astype(np.float32)
        column = np.asarray(self.columns, np.int32)[there["number"][at] - 1]
        known = _Labels(column, there["posterior"][at], there["angle_deg"][at], shift)
        out.put(rows, known)
        return out


def previous_run(session: Session, number: int, geometry: Geometry) -> Before | None:
    """An earlier run to start from; None where it has gone, or was made of boxes of another size."""
    entry = next((entry for entry in table.runs(session.store) if entry["id"] == number), None)
    model = run_state.load(session.store.folder, number)
    if entry is None or model is None or model.grid.box != geometry.side:
        return None
    if abs(entry["pixel_size_A"] / geometry.pixel_size_A - 1.0) > _SAME_SIZE:
        return None
    columns = entry["record"]["inputs"].get("columns", [])
    return Before(model, table.members(session.store, number), columns)
