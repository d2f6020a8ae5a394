"""2D classes: what is known of each, and of the run they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .curation import Decision


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """One class in numbers. How many of its picks are accepted or rejected is counted live, not kept here.

    Attributes
    ----------
    number : int
        From 1; the average is image ``number - 1`` of the run's stack.
    count : int
        Picks in it when the run was made.
    share : float
        Of the classified picks, 0 .. 1.
    resolution_A : float
        NaN = not known.
    posterior : float
        Mean over its members, 0 .. 1; NaN = not known.
    offset_px : float
        Distance of the average's centre of mass from the middle of its box, px of the average.
    spread : float
        Over micrographs, 0 .. 1: micrographs it is found on as a share of those it would be found on if its picks
        lay anywhere; NaN = not known.
    quality : float
        0 .. 1; NaN = not known.
    suggestion : Decision
        What the program would do; UNDECIDED where it does not know.
    kind : str
        ``structure``; or a model of what is no particle: ``empty``, ``outlier``.
    note : str
        What is remarkable ("lives on one micrograph"); mostly empty.
    """

    number: int
    count: int
    share: float
    resolution_A: float = math.nan
    posterior: float = math.nan
    offset_px: float = math.nan
    spread: float = math.nan
    quality: float = math.nan
    suggestion: Decision = Decision.UNDECIDED
    kind: str = "structure"
    note: str = ""


@dataclass(frozen=True, eq=False)
class ClassRun:
    """A 2D classification of picks of the project.

    Attributes
    ----------
    id : int
        0 = not in the project (yet).
    name : str
    source : str
        ``here``, ``relion`` or ``cryosparc``.
    pixel_size_A : float
        Of the averages.
    folder : str
        Of the averages, POSIX, relative to the project.
    head : int
        History line up to which picks were seen.
    summaries : tuple of ClassSummary
        In the order of their numbers.
    verdict : str
        One line about the data set.
    record : mapping
        Provenance: ``engine, version, parameters, inputs, counts, seed, curator, started, seconds``.
    """

    id: int
    name: str
    source: str
    pixel_size_A: float
    folder: str
    head: int
    summaries: tuple[ClassSummary, ...]
    verdict: str
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Members:
    """Picks of classes, one array per column, ordered by particle id.

    Attributes
    ----------
    particle, micrograph : (n,) int64
    number : (n,) int32
        Of the class, from 1; 0 = the pick could not be classified.
    posterior : (n,) float64
        NaN = not known.
    shift_x, shift_y : (n,) float64, canonical px
        From where the pick lay when it was classified to the centre of its class.
    angle_deg : (n,) float64
        Rotation of the average in the micrograph, from x towards y.
    """

    particle: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    number: NDArray[np.int32]
    posterior: NDArray[np.float64]
    shift_x: NDArray[np.float64]
    shift_y: NDArray[np.float64]
    angle_deg: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.particle)

    def take(self, index: Any) -> Members:
        """Rows by mask or integer index."""
        return Members(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


def verdict_of(summaries: Sequence[ClassSummary], doubt: str = "") -> str:
    """One line about the data set: how many picks lie in classes that look like particles.

    Parameters
    ----------
    doubt : str
        Why the suggestions are not to be relied on, where something speaks against them: said instead.
    """
    if doubt:
        return doubt
    total = sum(item.count for item in summaries)
    if not total:
        return "no pick is classified"
    if all(item.suggestion is Decision.UNDECIDED for item in summaries):
        filled = sum(item.count > 0 for item in summaries)
        return f"{total:,} picks in {filled} classes"
    good = [item for item in summaries if item.suggestion is Decision.ACCEPTED]
    kept = sum(item.count for item in good)
    junk = sum(item.count for item in summaries if item.suggestion is Decision.REJECTED)
    return (
        f"{kept:,} of {total:,} picks lie in {len(good)} classes that look like particles; "
        f"{100.0 * junk / total:.0f} % junk"
    )


def spread(micrograph: NDArray[np.int64], number: NDArray[np.int32], n_classes: int) -> NDArray[np.float64]:
    """How evenly each class lies over the micrographs.

    Parameters
    ----------
    micrograph, number : (n,)
        Of every classified pick.
    n_classes : int

    Returns
    -------
    (n_classes,) float64, 0 .. 1
        Micrographs a class is found on, over those it would be found on if its picks were drawn at random from all;
        NaN for an empty class and where all picks lie on one micrograph.
    """
    out = np.full(n_classes, np.nan)
    known = number > 0
    _, place, sizes = np.unique(micrograph[known], return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return out
    table = np.zeros((n_classes, len(sizes)), np.int64)
    np.add.at(table, (number[known] - 1, place), 1)
    share = sizes / sizes.sum()
    for k in np.flatnonzero(table.any(axis=1)):
        expected = (1.0 - (1.0 - share) ** table[k].sum()).sum()
        out[k] = min(1.0, (table[k] > 0).sum() / expected)
    return out


def with_members(
    measured: Sequence[ClassSummary],
    number: NDArray[np.int32],
    posterior: NDArray[np.float64],
    micrograph: NDArray[np.int64],
) -> tuple[ClassSummary, ...]:
    """Summaries of averages, with what their members say: count, share, posterior, spread and note.

    Parameters
    ----------
    measured : sequence of ClassSummary
        What was measured of each average; numbered 1, 2, ...
    number : (n,) int32
        Class of every pick; 0 = in none.
    posterior : (n,) float64
        0 .. 1; NaN = not known.
    micrograph : (n,) int64
    """
    total = max(1, int((number > 0).sum()))
    evenness = spread(micrograph, number, len(measured))
    summaries = []
    for item, even in zip(measured, evenness.tolist(), strict=True):
        mine = number == item.number
        count = int(mine.sum())
        known = posterior[mine][np.isfinite(posterior[mine])]
        mean = float(known.mean()) if len(known) else math.nan
        full = replace(item, count=count, share=count / total, posterior=mean, spread=even)
        summaries.append(replace(full, note=note_for(full, len(np.unique(micrograph[mine])))))
    return tuple(summaries)


def note_for(item: ClassSummary, n_micrographs: int) -> str:
    """What is remarkable about a class that lies on ``n_micrographs``; empty where nothing is."""
    if item.kind == "empty":
        return "no structure beyond noise"
    if item.kind == "outlier":
        return "structure that repeats nowhere"
    if item.count >= 10 and n_micrographs == 1 and item.spread < 0.5:
        return "lives on one micrograph"
    if item.count >= 10 and item.spread < 0.5:
        return f"lives on {n_micrographs} micrographs only"
    return ""


def summaries_as_json(summaries: Sequence[ClassSummary]) -> list[dict[str, Any]]:
    """Summaries as JSON can hold them; NaN becomes None."""
    return [
        {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(item).items()}
        for item in summaries
    ]


def summaries_from_json(entries: Sequence[Mapping[str, Any]]) -> tuple[ClassSummary, ...]:
    """Inverse of :func:`summaries_as_json`; unknown keys are ignored."""
    made = []
    for entry in entries:
        known = {n: v for n, v in entry.items() if n in ClassSummary.__dataclass_fields__}
        values: dict[str, Any] = {n: math.nan if v is None else v for n, v in known.items()}
        values["suggestion"] = Decision(values.get("suggestion", 0))
        made.append(ClassSummary(**values))
    return tuple(made)
