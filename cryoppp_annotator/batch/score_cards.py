"""What each of two compared label sets is worth to a map: the same number of picks of each, the same processing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, Refused
from ..formats.ctf_files import read_ctf_files
from ..formats.image import images
from ..formats.registry import match_micrographs
from ..imaging.ctf import Optics
from ..imaging.patches import PatchOptions, box_for, extract_patches, shrink
from ..model.context import JobContext
from ..reconstruct.prepared_boxes import Stack
from ..reconstruct.rounds import VolumeOptions, reconstruct
from ..reconstruct.scorecard import GOALS_A, Interval, ScoreCard, better, score
from ..reconstruct.verdict import MatchOptions
from ..session.pictures.optics import as_ctf
from .box_files import load_map
from .compare import ComparisonReport

_QUIET = JobContext()
#: Side of the boxes, px, and of the boxes in diameters.
_SIDE = 64
_DIAMETERS = 1.5
#: The particle's own radius and 15 % more, as a share of the box.
_MASK = 1.15 / 3.0
#: Fewest picks of each set.
_FEWEST = 80


@dataclass(frozen=True, slots=True)
class CardOptions:
    """What both sets are laid on.

    Attributes
    ----------
    map_path : Path
    map_pixel_A : float or None
        Instead of what the map's header says.
    symmetry : str
        C1, Cn, Dn, T, O or I.
    lowpass_A : float
        Nothing finer of the map is used.
    ctf : Path or None
        Defocus of the micrographs.
    pixel_size_A : float or None
        Of the micrographs, instead of what their headers say.
    most : int
        Picks drawn of each set, at most.
    """

    map_path: Path
    map_pixel_A: float | None = None
    symmetry: str = "C1"
    lowpass_A: float = 40.0
    ctf: Path | None = None
    pixel_size_A: float | None = None
    most: int = 2000


@dataclass(frozen=True, eq=False)
class TwoCards:
    """The score cards of a reference and of another set.

    Attributes
    ----------
    names : (str, str)
    cards : (ScoreCard, ScoreCard)
    number : int
        Picks drawn of each.
    notes : tuple of str
    """

    names: tuple[str, str]
    cards: tuple[ScoreCard, ScoreCard]
    number: int
    notes: tuple[str, ...]

    @property
    def better(self) -> str:
        """Name of the set that is worth more to a map; empty where the cards do not tell."""
        which = better(*self.cards)
        return self.names[which - 1] if which else ""

    @property
    def sentence(self) -> str:
        """Which it is, in words."""
        if not self.better:
            return "The cards do not tell which set is worth more to a map."
        return f"{self.better} is worth more to a map."


def score_both(report: ComparisonReport, options: CardOptions, *, context: JobContext = _QUIET) -> TwoCards:
    """Draw the same number of picks from both sets, make half maps of each in the same way, and score them.

    Parameters
    ----------
    report : ComparisonReport
    options : CardOptions
    context : JobContext
        Its seed makes the draw repeatable.

    Raises
    ------
    Refused
        A set has too few boxes, or the pixel size is not known.
    FormatError, EngineError, Cancelled
    """
    volume, map_pixel = load_map(options.map_path, options.map_pixel_A)
    cutter = _Cutter(report, options)
    stacks = cutter.cut(options.most, context.part(0.0, 0.2))
    names = report.reference, report.other
    for name, stack in zip(names, stacks, strict=True):
        if len(stack) < _FEWEST:
            raise Refused(f"{name} has {len(stack)} whole boxes; {_FEWEST} of each set are needed for a score card")
    number = min(map(len, stacks))
    match = MatchOptions(options.symmetry, mask_radius=_MASK)
    cards, notes = [], list(cutter.notes)
    for name, stack, start in zip(names, stacks, (0.2, 0.6), strict=True):
        part = stack.take(np.sort(context.rng().choice(len(stack), number, replace=False)))
        inner = context.part(start, start + 0.3, f"{name}: ")
        made = reconstruct(part, volume, map_pixel, VolumeOptions(match, options.lowpass_A), context=inner)
        notes += [f"{name}: {note}" for note in made.notes]
        cards.append(score(part, made, context=context.part(start + 0.3, start + 0.4, f"{name}: ")))
    return TwoCards(names, (cards[0], cards[1]), number, tuple(dict.fromkeys(notes)))


class _Cutter:
    """Cuts the boxes of either set from the micrographs of a comparison."""

    def __init__(self, report: ComparisonReport, options: CardOptions) -> None:
        self._report, self._options = report, options
        self.notes: list[str] = []
        self._defocus, self._optics = self._read_ctf()
        self._pixels = {name: self._pixel_of(name) for name in report.sets}
        self._coarsest_A = max(self._pixels.values())
        diameter_A = float(np.median([pair.diameter * self._pixels[name] for name, pair in report.sets.items()]))
        box = box_for(diameter_A / self._coarsest_A, _DIAMETERS)
        self._side = min(_SIDE, box)
        self._box_A = box * self._coarsest_A

    def _pixel_of(self, name: str) -> float:
        pixel = self._options.pixel_size_A or images.probe(self._report.paths[name]).pixel_size_A
        if not pixel:
            raise Refused(f"the pixel size of {name} is not known: give it (--pixel-size)")
        return float(pixel)

    def _read_ctf(self) -> tuple[Mapping[str, tuple[float, float, float]], Optics]:
        if self._options.ctf is None:
            self.notes.append("no CTF was given: fine details cancel each other in both maps")
            return {}, Optics()
        rows = read_ctf_files(self._options.ctf).rows
        matches = match_micrographs([row.name for row in rows], list(self._report.paths)).matches
        out, optics = {}, Optics()
        for row in rows:
            if name := matches.get(row.name):
                ctf = as_ctf(row)
                out[name] = ctf.defocus.u_A, ctf.defocus.v_A, ctf.defocus.angle_deg
                optics = ctf.optics
        if missing := len(self._report.paths) - len(out):
            self.notes.append(f"{missing} of {len(self._report.paths)} micrographs have no CTF")
        return out, optics

    def cut(self, most: int, context: JobContext) -> tuple[Stack, Stack]:
        """Boxes of the reference and of the other set, ``most`` of each; a micrograph is read once for both."""
        drawn = [self._draw(which, most, context) for which in (0, 1)]
        boxes: tuple[list[NDArray[np.float32]], ...] = ([], [])
        defocus: tuple[list[NDArray[np.float64]], ...] = ([], [])
        for i, (name, pair) in enumerate(self._report.sets.items()):
            context.progress(i, len(self._report.sets), f"cutting out {name}")
            try:
                image = images.read(self._report.paths[name], check=context.check)
            except FormatError as error:
                self.notes.append(f"left out: {error}")
                continue
            for which, points in enumerate((pair.reference, pair.other)):
                cut = self._of(image, name, points[drawn[which][name]])
                boxes[which].append(cut)
                defocus[which].append(np.tile(self._defocus.get(name, (np.nan,) * 3), (len(cut), 1)))
        first, second = (self._stack(*parts) for parts in zip(boxes, defocus, strict=True))
        return first, second

    def _draw(self, which: int, most: int, context: JobContext) -> dict[str, NDArray[np.intp]]:
        """Rows of a set on each micrograph, ``most`` in all: of picks whose boxes lie in the picture."""
        inside = {}
        for name, pair in self._report.sets.items():
            points, facts = (pair.reference, pair.other)[which], images.probe(self._report.paths[name])
            margin, sides = self._box_px(name) / 2 + 1, np.array([facts.width, facts.height])
            inside[name] = np.flatnonzero(((points >= margin) & (points <= sides - margin)).all(axis=1))
        owner = np.repeat(np.arange(len(inside)), [len(rows) for rows in inside.values()])
        chosen = np.zeros(len(owner), bool)
        chosen[context.rng().permutation(len(owner))[:most]] = True
        return {name: rows[chosen[owner == i]] for i, (name, rows) in enumerate(inside.items())}

    def _box_px(self, name: str) -> int:
        return 2 * round(self._box_A / self._pixels[name] / 2.0)

    def _of(self, image: NDArray[np.generic], name: str, points: NDArray[np.float64]) -> NDArray[np.float32]:
        box = self._box_px(name)
        boxes, _ = extract_patches(image, points[:, 0], points[:, 1], PatchOptions(box, box))
        return shrink(boxes, self._side) if box > self._side else boxes

    def _stack(self, boxes: list[NDArray[np.float32]], defocus: list[NDArray[np.float64]]) -> Stack:
        images_of_all = np.concatenate([np.zeros((0, self._side, self._side), np.float32), *boxes])
        values = np.concatenate([np.zeros((0, 3)), *defocus])
        return Stack(images_of_all, self._box_A / self._side, values, self._optics)


def card_rows(cards: TwoCards, f1: float | None) -> list[tuple[str, str, str]]:
    """A table of both cards: what, the reference, the other set; the last row is F1 where it is given."""
    first, second = cards.cards
    rows: list[tuple[str, str, str]] = [
        (f"resolution from {n:,} picks (Å)", _interval(a, "{:.1f}"), _interval(b, "{:.1f}"))
        for n, a, b in zip(first.numbers.tolist(), first.resolution_A, second.resolution_A, strict=True)
    ]
    rows += [(f"picks needed for {goal:g} Å", _needed(first, goal), _needed(second, goal)) for goal in GOALS_A]
    rows += [
        ("B-factor (Å²)", _b_factor(first), _b_factor(second)),
        ("confident pose", _interval(first.confident_share, "{:.1%}"), _interval(second.confident_share, "{:.1%}")),
        ("junk, by verdict", _interval(first.junk_share, "{:.1%}"), _interval(second.junk_share, "{:.1%}")),
        ("evenness of views", f"{first.spread.sampling:.2f}", f"{second.spread.sampling:.2f}"),
        ("emptiest cone (degrees)", _cone(first), _cone(second)),
    ]
    return rows if f1 is None else [*rows, ("F1 of one against the other", f"{f1:.3f}", f"{f1:.3f}")]


def _interval(item: Interval, form: str) -> str:
    if not math.isfinite(item.value):
        return "none"
    ends = [form.format(end) if math.isfinite(end) else "none" for end in (item.low, item.high)]
    return f"{form.format(item.value)} ({ends[0]} to {ends[1]})"


def _needed(card: ScoreCard, goal: float) -> str:
    number = card.needed[goal]
    return "not foreseen" if number is None else f"{number:,}"


def _b_factor(card: ScoreCard) -> str:
    return "not known" if card.b_factor_A2 is None else f"{card.b_factor_A2:,.0f}"


def _cone(card: ScoreCard) -> str:
    spread = card.spread
    if not spread.empty_cone_deg:
        return "none of 10"
    return f"{spread.empty_cone_deg:g}, at rot {spread.empty_rot_deg:.0f}, tilt {spread.empty_tilt_deg:.0f}"
