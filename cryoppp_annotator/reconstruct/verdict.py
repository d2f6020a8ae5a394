"""A verdict for each pick against a map: is it the particle, in which pose, and how sure is that?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..errors import EngineError
from ..imaging.polar import ring_power
from ..jobs.each import each
from ..model.context import JobContext
from . import poses, symmetry
from .fourier_map import FourierMap, polar_slices, prepare_map
from .local import model_values, refine
from .match import Level, Matches, PolarBoxes, Projections, Spectra, level_grid, projections, search
from .orient import orient_and_say
from .pieces import Piece, data_of, in_order, placed, refine_piece, search_piece
from .prepared_boxes import (
    MASK,
    Stack,
    check_stack,
    polar_boxes,
)
from .spectra import first_spectra, learn, posterior

_QUIET = JobContext()
_MIN_PARTICLES = 10
#: Images from which the spectra are learned.
_LEARN = 300
#: Images of one piece: what is held of a larger stack at once, and what a worker of a cluster gets.
_PIECE = 1024
#: Pieces that are sent to a cluster at once.
_SENT = 16
#: Pixel sizes tried for the map, as factors.
_SCALES = (0.8, 0.87, 0.93, 1.0, 1.07, 1.15, 1.25)
#: A pose is *confident* where its expected error is below this, degrees.
CONFIDENT_DEG = 15.0
#: Share of the view prior that stays even over all views.
_EVEN = 0.1


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """How to match picks with a map.

    Attributes
    ----------
    symmetry : str
        C1, Cn, Dn, T, O or I, in RELION's orientation.
    rings : int
        Finest ring of the first search: resolution ``box / rings`` px.
    fine_rings : int
        Of the local refinement.
    reach : float
        Largest distance of the particle from the middle of its box, as a share of the box.
    modes : int
        Poses of each image that are refined.
    mask_radius : float
        Of the soft mask, as a share of the box.
    check_scale : bool
        Try other pixel sizes and the opposite contrast.
    """

    symmetry: str = "C1"
    rings: int = 10
    fine_rings: int = 16
    reach: float = 0.067
    modes: int = 3
    mask_radius: float = MASK
    check_scale: bool = True


_USUAL = MatchOptions()


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What is known of each pick.

    Attributes
    ----------
    log_odds : (n,) float32
        That it is the particle; NaN where the image could not be used.
    evidence : (n,) float32
        Log likelihood of the map's projections against noise alone; NaN likewise.
    other : (n,) float32
        The same of structure that the map lacks.
    matrices : (n, m, 3, 3) float64
        Poses (:mod:`.poses`), the likeliest first.
    shifts : (n, m, 2) float64, xy, px
        Where the particle's centre lies, from the centre of the box.
    weights : (n, m) float64
        Posterior of each pose; 0 throughout where the image could not be used.
    error_deg : (n,) float64
        Expected error of the first pose.
    symmetry : str
    spectra : Spectra
        To the finest ring of the refinement.
    view_share : (v,) float64
        Learned share of each view of the grid.
    view_directions : (v, 3) float64
        Those views.
    scale : float
        Factor on the map's pixel size that fits best; 1 where the map's own does, or none was tried.
    inverted : bool
        The particles are dark where the map is bright.
    notes : tuple of str
        What to tell the user.
    """

    log_odds: NDArray[np.float32]
    evidence: NDArray[np.float32]
    other: NDArray[np.float32]
    matrices: NDArray[np.float64]
    shifts: NDArray[np.float64]
    weights: NDArray[np.float64]
    error_deg: NDArray[np.float64]
    symmetry: str
    spectra: Spectra
    view_share: NDArray[np.float64]
    view_directions: NDArray[np.float64]
    scale: float
    inverted: bool
    notes: tuple[str, ...]

    @property
    def probability(self) -> NDArray[np.float64]:
        """That each is the particle, (n,); 0 where the image could not be used."""
        odds = np.clip(np.nan_to_num(self.log_odds.astype(np.float64)), -700.0, 700.0)
        return np.where(np.isfinite(self.log_odds), 1.0 / (1.0 + np.exp(-odds)), 0.0)

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """RELION's rot, tilt and psi of the likeliest pose, (n, 3)."""
        return poses.to_angles(self.matrices[:, 0])


def judge(
    stack: Stack,
    volume: NDArray[np.generic],
    map_pixel_A: float,
    options: MatchOptions = _USUAL,
    *,
    on_results: Callable[[NDArray[np.intp], NDArray[np.float32]], None] | None = None,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> Verdicts:
    """Match every image with a map.

    Parameters
    ----------
    stack : Stack
    volume : (a, b, c) real array, zyx
    map_pixel_A : float
        Of the map.
    options : MatchOptions
    on_results : callable, optional
        Gets rows and their first log odds as soon as a piece of the stack has been searched.
    scheduler : str, optional
        Of a Dask cluster that searches and refines the pieces; what is learned first is learned here.
    context : JobContext
        Its seed makes the run repeatable.

    Raises
    ------
    EngineError
        The stack or the map cannot be used, or too few of the images.
    Cancelled
    """
    symmetry.rotations(options.symmetry)
    check_stack(stack)
    limit = 2.0 * stack.pixel_size_A
    with threadpool_limits(limits=1, user_api="blas"):
        volume, notes = orient_and_say(volume, options.symmetry)
        source = prepare_map(volume, map_pixel_A, limit / max(_SCALES))
        run = _Run(stack, source, options, context)
        run.notes += notes
        run.scheduler = scheduler
        run.learn()
        return run.everything(on_results)


def level_of(options: MatchOptions, box: int, rings: int | None = None) -> Level:
    """The level of a search with so many rings."""
    rings = min(options.rings if rings is None else rings, box // 2 - 1)
    step = 0.0234 * box * 10.0 / rings
    return Level(rings, 90.0 / rings, options.reach * box, min(step, options.reach * box))


class _Run:
    """One run: what is learned from a part of the images and used for all."""

    def __init__(self, stack: Stack, source: FourierMap, options: MatchOptions, context: JobContext) -> None:
        self.stack, self.source, self.options, self.context = stack, source, options, context
        self.rng = context.rng()
        self.notes: list[str] = []
        self.scheduler: str | None = None
        self.scale, self.inverted = 1.0, False
        self.level = level_of(options, stack.box)
        self.fine = min(max(options.fine_rings, options.rings), stack.box // 2 - 1)
        self.references: Projections
        self.spectra: Spectra

    # -- what is learned first ---------------------------------------------------------------------------------------

    def learn(self) -> None:
        """Pixel size, contrast and spectra, from a part of the images."""
        n = len(self.stack)
        chosen = np.sort(self.rng.choice(n, min(n, _LEARN), replace=False))
        part = self.stack.take(chosen)
        wide, good = polar_boxes(part, level_grid(self.stack.box, self.stack.box), self.options.mask_radius)
        if good.sum() < min(_MIN_PARTICLES, max(1, n)):
            raise EngineError(
                f"{int(good.sum())} usable boxes (of {len(chosen)} looked at) are too few; {_MIN_PARTICLES} are needed"
            )
        wide, part = wide.take(np.flatnonzero(good)), part.take(np.flatnonzero(good))
        coarse = level_of(self.options, self.stack.box, min(8, self.level.rings))
        if self.options.check_scale:
            self._find_scale(wide, coarse)
        references = self._project(coarse)
        start = self._first(wide)
        learned, _ = learn(wide, references, start, 2, self.rng, context=self.context)
        full = _extended(learned, start)
        self.references = self._project(self.level)
        learned, matches = learn(wide, self.references, full, 1, self.rng, context=self.context)
        self.spectra = self._fine_spectra(part, wide, matches, _extended(learned, full))

    def _project(self, level: Level, source: FourierMap | None = None) -> Projections:
        return projections(source or self.source, level, self.stack.box, self.stack.pixel_size_A, self.options.symmetry)

    def _first(self, wide: PolarBoxes) -> Spectra:
        views = poses.to_matrix(np.concatenate([poses.views(40.0), np.zeros((len(poses.views(40.0)), 1))], axis=1))
        power = ring_power(polar_slices(self.source, views, wide.grid, self.stack.pixel_size_A)).mean(axis=0)
        start = first_spectra(wide.power, wide.ctf2, power)
        return replace(start, gain=-start.gain) if self.inverted else start

    def _find_scale(self, wide: PolarBoxes, coarse: Level) -> None:
        """Other pixel sizes and the opposite contrast, by the evidence of all images together."""
        some = wide.take(np.arange(min(len(wide), 120)))
        original = self.source
        totals = {}
        for scale in _SCALES:
            self.source = replace(original, step=original.step / scale)
            start = self._first(some)
            rough = replace(coarse, spacing_deg=coarse.spacing_deg * 1.4)
            spectra, matches = learn(some, self._project(rough), start, 1, self.rng, context=self.context)
            totals[scale] = _fit(matches, spectra)
            if scale == 1.0:
                negative = replace(spectra, gain=-spectra.gain)
                dark = _fit(search(some, self._project(rough), negative, context=self.context), negative)
                self.inverted = dark > totals[scale] + 10.0
        self.source = original
        best = max(totals, key=lambda scale: totals[scale])
        if best != 1.0 and totals[best] > totals[1.0] + max(12.0, 0.15 * abs(totals[best])):
            best = _between(totals, best)
            self.scale = best
            self.source = replace(original, step=original.step / best)
            self.notes.append(
                f"the map fits best as if its pixels were {best:.2f} times as large as its header says: "
                "check the pixel sizes of the map and of the picks"
            )
        if self.inverted:
            self.notes.append("the particles are dark where the map is bright: the contrast is taken as inverted")

    def _fine_spectra(self, part: Stack, wide: PolarBoxes, matches: Matches, spectra: Spectra) -> Spectra:
        """Gain on the rings that only the refinement uses, from the refined poses of the likelier half of a part."""
        rows = np.argsort(-matches.evidence)[: max(10, len(part) // 2)]
        view = matches.by_view[rows].argmax(axis=1)
        matrices, shifts = placed(self.references, matches.place[rows, view], view)
        data = data_of(part, self.fine, self.options.mask_radius)
        outer = slice(self.level.rings, self.fine)
        pair = (spectra.noise[: self.fine], spectra.gain[: self.fine])
        refined = refine(self.source, data, rows, matrices, shifts, pair, context=self.context)
        model = model_values(self.source, refined.matrices, refined.shifts, data) * data.ctf[rows]
        ring = data.plane.ring - 1
        cross = np.bincount(ring, (np.conj(data.values[rows]) * model).real.sum(axis=0), self.fine)
        energy = np.bincount(ring, (np.abs(model) ** 2).sum(axis=0), self.fine)
        gain = spectra.gain.copy()
        known = np.abs(gain[self.level.rings - 1])
        prior = 0.1 * energy + 1e-12
        sign = -1.0 if self.inverted else 1.0
        fitted = sign * np.maximum((sign * cross + 0.5 * prior * known) / (energy + prior), 0.0)
        gain[outer] = fitted[outer]
        return replace(spectra, gain=gain.astype(np.float32))

    # -- all images --------------------------------------------------------------------------------------------------

    def everything(self, on_results: Callable[[NDArray[np.intp], NDArray[np.float32]], None] | None) -> Verdicts:
        """Search and refine piece by piece; the shares of the views are learned in between."""
        n = len(self.stack)
        pieces = [np.arange(start, min(n, start + _PIECE)) for start in range(0, n, _PIECE)]
        judged, usable = [], []
        search_one = partial(
            search_piece, references=self.references, spectra=self.spectra, radius=self.options.mask_radius
        )
        for piece, (matches, usable_here) in self._over(search_one, pieces, "searching all views", 0.0):
            judged.append((piece.number, matches))
            usable.append((piece.number, usable_here))
            if on_results is not None:
                on_results(pieces[piece.number], self._odds(matches.evidence, matches.other))
        good = np.concatenate(in_order(usable))
        whole = Matches(*(np.concatenate([getattr(part, name) for part in in_order(judged)]) for name in _FIELDS))
        by_view, share, classes = learn_views(whole, self.spectra.share, good)
        self.spectra = replace(self.spectra, share=classes)
        refine_one = partial(
            refine_piece,
            source=self.source,
            references=self.references,
            spectra=self.spectra,
            fine=self.fine,
            modes=self.options.modes,
            radius=self.options.mask_radius,
            symmetry=self.options.symmetry,
        )
        candidates = by_view, whole.place
        work = self._over(refine_one, pieces, "refining poses", 0.5, candidates)
        refined = in_order([(piece.number, poses_here) for piece, poses_here in work])
        self.context.progress(2, 2, "matched")
        matrices, shifts, weights, error = (np.concatenate(column) for column in zip(*refined, strict=True))
        evidence = np.logaddexp.reduce(by_view, axis=1).astype(np.float32)
        weights[~good] = 0.0
        error[~good] = 180.0
        missing = np.where(good, np.float32(0.0), np.float32(np.nan))
        if not good.all():
            self.notes.append(f"{int((~good).sum())} boxes are empty or not finite; they have no verdict")
        return Verdicts(
            self._odds(evidence, whole.other) + missing,
            evidence + missing,
            whole.other + missing,
            matrices,
            shifts,
            weights,
            error,
            self.options.symmetry,
            self.spectra,
            share,
            poses.directions(self.references.matrices),
            self.scale,
            self.inverted,
            tuple(self.notes),
        )

    def _odds(self, evidence: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
        particle, noise, structure = np.log(np.maximum(self.spectra.share, 1e-6))
        return np.asarray(particle + evidence - np.logaddexp(noise, structure + other), np.float32)

    def _over(
        self,
        function: Callable[..., Any],
        pieces: list[NDArray[np.intp]],
        what: str,
        begin: float,
        candidates: tuple[NDArray[Any], ...] = (),
    ) -> Iterator[tuple[Piece, Any]]:
        """A function of every piece, here one after the other, on a cluster as they are finished."""

        def made(number: int) -> Piece:
            rows = pieces[number]
            return Piece(number, self.stack.take(rows), tuple(array[rows] for array in candidates))

        if self.scheduler is None:
            for number in range(len(pieces)):
                self.context.progress(begin + 0.5 * number / len(pieces), 1.0, what)
                piece = made(number)
                yield piece, function(piece, context=self.context)
            return
        for start in range(0, len(pieces), _SENT):
            end = min(len(pieces), start + _SENT)
            part = self.context.part(begin + 0.5 * start / len(pieces), begin + 0.5 * end / len(pieces), f"{what}: ")
            some = [made(number) for number in range(start, end)]
            for piece, outcome in each(
                function, some, threads=1, scheduler=self.scheduler, what="pieces", context=part
            ):
                if isinstance(outcome, BaseException):
                    raise outcome
                yield piece, outcome


_FIELDS = tuple(Matches.__dataclass_fields__)


def learn_views(
    matches: Matches, share: NDArray[np.float64], good: NDArray[np.bool_], rounds: int = 15
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """How often each view and each model comes, and the likelihoods with it.

    Each half of the images gets what the other half has learned, so that no image supports itself.

    Returns
    -------
    (n, v) float32 : log likelihood of each view, its learned prior included
    (v,) float64 : share of each view
    (3,) float64 : share of particle, noise alone and other structure
    """
    n_views = matches.by_view.shape[1]
    flat = matches.by_view + np.float32(np.log(n_views))
    half = np.arange(len(flat)) % 2
    prior = np.full((2, n_views), 1.0 / n_views)
    chosen = [np.flatnonzero((half == which) & good) for which in (0, 1)]
    top = flat.max(axis=1, keepdims=True)
    shown = np.exp(flat - top)  # the same for all rounds: a round is two products
    log_top = top[:, 0].astype(np.float64)
    for _ in range(rounds if min(len(rows) for rows in chosen) >= 20 else 0):
        new, classes = np.empty_like(prior), np.zeros(3)
        for which, rows in enumerate(chosen):
            total = shown[rows] @ prior[1 - which].astype(np.float32)
            evidence = np.log(np.maximum(total, 1e-30)) + log_top[rows]
            models = np.stack([evidence, np.zeros(len(rows)), matches.other[rows]], axis=1)
            odds = posterior(models, share)
            weight = (odds[:, 0] / np.maximum(total, 1e-30)).astype(np.float32)
            counted = prior[1 - which] * (weight @ shown[rows])
            new[which] = (1.0 - _EVEN) * counted / max(float(counted.sum()), 1e-30) + _EVEN / n_views
            classes += odds.sum(axis=0)
        prior = new
        share = (classes + 1.0) / (classes + 1.0).sum()
    return flat + np.log(prior[1 - half]).astype(np.float32), prior.mean(axis=0), share


def _extended(inner: Spectra, full: Spectra) -> Spectra:
    """Spectra of a few rings, continued by those of more."""
    rings = len(inner.noise)
    gain = full.gain.copy()
    gain[:rings] = inner.gain
    gain[rings:] = np.sign(full.gain[rings:]) * np.median(np.abs(inner.gain[-3:]))
    noise, outlier = full.noise.copy(), full.outlier.copy()
    noise[:rings], outlier[:rings] = inner.noise, inner.outlier
    return Spectra(noise, gain, outlier, inner.share)


def _between(totals: dict[float, float], best: float) -> float:
    """The top of the parabola through the best factor and its neighbours, on a log scale."""
    at = _SCALES.index(best)
    if not 0 < at < len(_SCALES) - 1:
        return best
    x = np.log(np.array(_SCALES[at - 1 : at + 2]))
    curve = np.polyfit(x - x[1], [totals[scale] for scale in _SCALES[at - 1 : at + 2]], 2)
    top = -curve[1] / (2.0 * curve[0]) if curve[0] < 0 else 0.0
    return float(np.exp(x[1] + np.clip(top, x[0] - x[1], x[2] - x[1])))


def _fit(matches: Matches, spectra: Spectra) -> float:
    """How much better all images are explained with the map than without, nats."""
    logs = np.log(np.maximum(spectra.share, 1e-6))
    without = np.logaddexp(logs[1], logs[2] + matches.other)
    return float((np.logaddexp(logs[0] + matches.evidence, without) - without).sum())
