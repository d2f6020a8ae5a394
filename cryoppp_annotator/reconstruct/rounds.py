"""From picks to half maps: rounds of matching and inversion at rising resolution, the halves each for themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..model.context import JobContext
from .fourier_map import FourierMap, prepare_map, resized, sphere
from .fsc import Beyond, ShellCorrelation, beyond_reference, compare_halves
from .halves import Accumulator, accumulate, lowpass
from .local import Data, refine
from .match import level_grid
from .orient import orient_and_say
from .pieces import ordered
from .prepared_boxes import (
    MASK,
    Stack,
    degrees_of_freedom,
    half_plane,
    normalised,
    plane_ctf,
    plane_values,
    polar_boxes,
)
from .verdict import MatchOptions, Verdicts, judge

_QUIET = JobContext()
_CHUNK = 512
#: Least weight of a sample, as a share of its shell's mean, of the maps whose correlation is measured.
_LEAST_WEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """How to make a map.

    Attributes
    ----------
    match : MatchOptions
        Of the searches over all views.
    lowpass_A : float
        What the halves share: the reference has nothing finer, A.
    local_rounds : int
        Rounds of local refinement after the two searches.
    modes : int
        Poses of an image that go into the maps.
    """

    match: MatchOptions = field(default_factory=MatchOptions)
    lowpass_A: float = 40.0
    local_rounds: int = 3
    modes: int = 2


_USUAL = VolumeOptions()


@dataclass(frozen=True, eq=False)
class Volume:
    """Half maps and what they say.

    Attributes
    ----------
    half1, half2 : (box, box, box) float32, zyx
        Unfiltered.
    mean : (box, box, box) float32
        Of both, Wiener-filtered by their correlation.
    correlation : ShellCorrelation
    beyond : Beyond
        What they share outside the reference's band.
    verdicts : Verdicts
        Of all images, with the final poses; symmetric units as in the maps.
    half : (n,) int8
        Which half each image is in, 0 or 1.
    pixel_size_A : float
    notes : tuple of str
    mask_radius : float, as a share of the box
        Of the images that the maps are made of.
    """

    half1: NDArray[np.float32]
    half2: NDArray[np.float32]
    mean: NDArray[np.float32]
    correlation: ShellCorrelation
    beyond: Beyond
    verdicts: Verdicts
    half: NDArray[np.int8]
    pixel_size_A: float
    notes: tuple[str, ...]
    mask_radius: float

    @property
    def resolution_A(self) -> float:
        """Fourier shell correlation 0.143, corrected for the mask."""
        return self.correlation.resolution_A

    @property
    def verdict(self) -> str:
        """In words."""
        return verdict_in_words(self.beyond)


def verdict_in_words(beyond: Beyond) -> str:
    """What the correlation outside the reference's band says."""
    if beyond.significant:
        return f"structure to {beyond.period_A:.0f} Å that the reference did not have"
    return "no evidence beyond the reference"


def reconstruct(
    stack: Stack,
    volume: NDArray[np.generic],
    map_pixel_A: float,
    options: VolumeOptions = _USUAL,
    *,
    on_map: Callable[[NDArray[np.float32], float], None] | None = None,
    context: JobContext = _QUIET,
) -> Volume:
    """Make half maps from images and a reference, of which nothing finer than the low-pass is used.

    Parameters
    ----------
    stack : Stack
    volume : (a, b, c) real array, zyx
        The reference.
    map_pixel_A : float
    options : VolumeOptions
    on_map : callable, optional
        Gets the mean map and its resolution after every round.
    context : JobContext

    Raises
    ------
    EngineError
        The stack or the reference cannot be used.
    Cancelled
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return _Rounds(stack, options, on_map, context).run(volume, map_pixel_A)


class _Rounds:
    """State between rounds."""

    def __init__(
        self,
        stack: Stack,
        options: VolumeOptions,
        on_map: Callable[[NDArray[np.float32], float], None] | None,
        context: JobContext,
    ) -> None:
        self.stack, self.options, self.on_map, self.context = stack, options, on_map, context
        self.rng = np.random.default_rng(context.seed + 1)
        self.half = (self.rng.permutation(len(stack)) % 2).astype(np.int8)
        self.name = options.match.symmetry
        self.band = max(3, round(stack.box * stack.pixel_size_A / options.lowpass_A))
        # the defocus spreads fine detail far around the particle; without it, only the neighbours lie there
        self.map_mask = MASK if np.isfinite(stack.defocus).any() else options.match.mask_radius
        self.total, self.done = 3.0 + options.local_rounds, 0.0

    def run(self, volume: NDArray[np.generic], map_pixel_A: float) -> Volume:
        stack, options = self.stack, self.options
        volume, notes_on_map = orient_and_say(volume, self.name) if np.isfinite(volume).all() else (volume, ())
        shared = _lowpassed(volume, map_pixel_A, options.lowpass_A)
        band = min(self.band, options.match.rings)
        first = replace(options.match, rings=band, fine_rings=self.band)
        verdicts = judge(stack, shared, map_pixel_A, first, context=self._part(1.0))
        notes = [*notes_on_map, *verdicts.notes]
        outer = min(2 * self.band + 4, stack.box // 2 - 1)
        halves, correlation = self._maps(verdicts, outer)
        verdicts = self._search_again(halves, correlation)
        for number in range(options.local_rounds):
            outer = self._next_ring(correlation, number)
            halves, correlation = self._maps(verdicts, outer)
            verdicts = self._refine(verdicts, halves, correlation, self._part(1.0))
        outer = stack.box // 2 - 1
        halves, correlation = self._maps(verdicts, outer, final=True)
        beyond = beyond_reference(correlation.unmasked, correlation.period_A, options.lowpass_A, outer, self.name)
        unfiltered = [half.solve(_LEAST_WEIGHT * half.mean_weight()) for half in halves]
        mean = _joined(halves, correlation)
        if not np.isfinite(stack.defocus).all():
            notes.append("the defocus of some picks is not known: their CTF is taken as 1, which limits the resolution")
        return Volume(
            unfiltered[0],
            unfiltered[1],
            mean,
            correlation,
            beyond,
            verdicts,
            self.half,
            stack.pixel_size_A,
            tuple(notes),
            self.map_mask,
        )

    def _part(self, share: float) -> JobContext:
        """A context whose progress is one part of the whole."""
        start, total = self.done, self.total
        self.done += share

        def on_progress(done: float, of: float, message: str) -> None:
            self.context.on_progress(start + share * done / max(of, 1e-9), total, message)

        return replace(self.context, on_progress=on_progress)

    def _weights(self, verdicts: Verdicts, *, final: bool = False) -> NDArray[np.float64]:
        """Of each pose; in the final maps the likeliest pose of each particle alone, as a particles STAR can say it."""
        if final:
            return np.asarray((verdicts.probability > 0.5)[:, None] & (verdicts.weights[:, :1] > 0), np.float64)
        kept = verdicts.weights[:, : self.options.modes]
        return np.asarray(kept * verdicts.probability[:, None])

    def _maps(
        self, verdicts: Verdicts, outer: int, *, final: bool = False
    ) -> tuple[list[Accumulator], ShellCorrelation]:
        """Sums of both halves, and the correlation of their maps."""
        halves, maps = [], []
        weights = self._weights(verdicts, final=final)
        modes = weights.shape[1]
        for which in (0, 1):
            rows = np.flatnonzero(self.half == which)
            sums = accumulate(
                self.stack.take(rows),
                verdicts.matrices[rows, :modes],
                verdicts.shifts[rows, :modes],
                weights[rows],
                outer,
                mask_radius=self.map_mask,
                context=self.context,
            )
            halves.append(sums.completed(self.name))
            maps.append(halves[-1].solve(_LEAST_WEIGHT * halves[-1].mean_weight()))
        correlation = compare_halves(maps[0], maps[1], self.stack.pixel_size_A, self.rng)
        if self.on_map is not None:
            self.on_map(_joined(halves, correlation), correlation.resolution_A)
        return halves, correlation

    def _next_ring(self, correlation: ShellCorrelation, number: int) -> int:
        """How far the next round looks: a little beyond where the halves agree."""
        side = self.stack.box * self.stack.pixel_size_A
        agreed = side / correlation.resolution_A
        return int(min(max(agreed * 1.15 + 3, self.band + 3), self.stack.box // 2 - 1))

    def _references(self, halves: list[Accumulator], correlation: ShellCorrelation) -> list[NDArray[np.float32]]:
        """A Wiener-filtered map of each half; within the band of the first reference both have the same."""
        own = [_wiener(half, correlation.corrected, 1.0) for half in halves]
        together = lowpass(
            np.asarray((own[0] + own[1]) / 2, np.float32), self.stack.pixel_size_A, self.options.lowpass_A
        )
        ball = sphere(self.stack.box, self.stack.box / 2 - 2, 4.0)
        return [
            (volume - lowpass(volume, self.stack.pixel_size_A, self.options.lowpass_A) + together) * ball
            for volume in own
        ]

    def _search_again(self, halves: list[Accumulator], correlation: ShellCorrelation) -> Verdicts:
        """All views once more, each half with its own map."""
        references = self._references(halves, correlation)
        ring = self._next_ring(correlation, 0)
        match = replace(self.options.match, rings=min(self.options.match.rings, ring), fine_rings=ring)
        match = replace(match, check_scale=False)
        searched = []
        for which in (0, 1):
            part = self.stack.take(np.flatnonzero(self.half == which))
            searched.append(judge(part, references[which], self.stack.pixel_size_A, match, context=self._part(1.0)))
        return _merged(searched, self.half)

    def _refine(
        self, verdicts: Verdicts, halves: list[Accumulator], correlation: ShellCorrelation, context: JobContext
    ) -> Verdicts:
        """Poses made exact, each half with its own map."""
        references = self._references(halves, correlation)
        rings = halves[0].rings
        noise = self._noise(rings)
        modes = min(self.options.modes, verdicts.matrices.shape[1])
        matrices, shifts = verdicts.matrices[:, :modes].copy(), verdicts.shifts[:, :modes].copy()
        weights, error = verdicts.weights[:, :modes].copy(), verdicts.error_deg.copy()
        for which in (0, 1):
            source = prepare_map(references[which], self.stack.pixel_size_A, 2.0 * self.stack.pixel_size_A)
            rows = np.flatnonzero((self.half == which) & (verdicts.probability > 0.1))
            for start in range(0, len(rows), _CHUNK):
                context.progress(which * len(rows) + start, 2 * len(rows), "refining poses")
                part = rows[start : start + _CHUNK]
                refined = self._refine_part(source, part, verdicts, modes, noise)
                matrices[part], shifts[part], weights[part], error[part] = refined
        return replace(verdicts, matrices=matrices, shifts=shifts, weights=weights, error_deg=error)

    def _refine_part(
        self, source: FourierMap, rows: NDArray[np.intp], verdicts: Verdicts, modes: int, noise: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], ...]:
        part = self.stack.take(rows)
        rings = len(noise)
        plane = half_plane(part.box, rings)
        radius = self.options.match.mask_radius
        data = Data(
            plane_values(normalised(part.images, radius)[0], plane),
            plane_ctf(part, plane),
            plane,
            part.box,
            part.pixel_size_A,
            degrees_of_freedom(part.box, radius),
        )
        image = np.repeat(np.arange(len(rows)), modes)
        start = verdicts.matrices[rows, :modes].reshape(-1, 3, 3), verdicts.shifts[rows, :modes].reshape(-1, 2)
        gain = np.ones(rings, np.float32)
        refined = refine(source, data, image, *start, (noise, gain), iterations=3, context=self.context)
        return ordered(refined, len(rows), modes, self.name)

    def _noise(self, rings: int) -> NDArray[np.float32]:
        """Power of the images on each ring: the signal in single images is next to nothing beside it."""
        rows = np.arange(0, len(self.stack), max(1, len(self.stack) // 400))
        boxes, good = polar_boxes(
            self.stack.take(rows), level_grid(self.stack.box, rings), self.options.match.mask_radius
        )
        return np.asarray(boxes.power[good].mean(axis=0), np.float32)


def _wiener(half: Accumulator, correlation: NDArray[np.float64], copies: float) -> NDArray[np.float32]:
    """The map with each shell damped by its signal-to-noise ratio, which the correlation of the halves gives."""
    fsc = np.clip(correlation, 0.0, 0.999)
    ratio = copies * fsc / (1.0 - fsc)
    weight = half.mean_weight()
    added = weight[: len(ratio)] / np.maximum(ratio, 1e-3)
    return half.solve(np.append(added, added[-1]))


def _joined(halves: list[Accumulator], correlation: ShellCorrelation) -> NDArray[np.float32]:
    """The map of all images, Wiener-filtered."""
    whole = Accumulator(
        halves[0].numerator + halves[1].numerator, halves[0].weight + halves[1].weight, halves[0].box, halves[0].rings
    )
    return _wiener(whole, correlation.corrected, 2.0)


def _lowpassed(volume: NDArray[np.generic], pixel_size_A: float, limit_A: float) -> NDArray[np.float32]:
    """A cube of the reference, without what is finer than the limit."""
    real = np.asarray(volume, np.float32)
    if real.ndim != 3 or not np.isfinite(real).all():
        return real  # the search says what is wrong with it
    cube = np.asarray(resized(real - np.median(real), max(real.shape)))
    return lowpass(cube, pixel_size_A, limit_A)


def _merged(parts: list[Verdicts], half: NDArray[np.int8]) -> Verdicts:
    """Verdicts of both halves, in the order of the stack."""
    rows = [np.flatnonzero(half == which) for which in (0, 1)]
    order = np.argsort(np.concatenate(rows))
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("log_odds", "evidence", "other", "matrices", "shifts", "weights", "error_deg")
    }
    share = (parts[0].view_share + parts[1].view_share) / 2
    return replace(parts[0], view_share=share, notes=(), **arrays)
