"""Which particles of a project are meant: the one noun for bulk decisions, counts, walks and class runs."""

from __future__ import annotations

from dataclasses import dataclass

from .curation import Decision

#: Scores below which undecided candidates are not drawn, each with the pick sets it holds for (none named = all).
Hidden = tuple[tuple[float, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class ClassesOf:
    """Classes of a run.

    Attributes
    ----------
    run : int or None
        None = the class numbers that picks were imported with.
    numbers : tuple of int, optional
        From 1; None = every class (a pick that is in none is left out).
    """

    run: int | None = None
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class InRegions:
    """The inside of regions, each on its micrograph; regions that a person dismissed have no inside.

    Attributes
    ----------
    numbers : tuple of int, optional
        Ids of regions; None = every region.
    """

    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Which:
    """Particles for which all of this holds; None = no restriction. ``store/which.py`` turns it into SQL.

    Attributes
    ----------
    micrographs, pick_sets, ids : tuple of int, optional
    decisions : tuple of Decision, optional
    min_score, below_score : float, optional
        From (inclusive) and up to (exclusive), so that the two sides of one threshold share nothing. A pick without a
        score is on neither side.
    classes : ClassesOf, optional
    regions : InRegions, optional
        The centre lies in one of these regions (even-odd rule).
    hidden : tuple of (score, pick sets)
        Undecided picks with a score below these thresholds are left out: they are not drawn.
    removed : bool
        Also those of micrographs that were taken out of the project, which keep their decisions.
    species : tuple of int, optional
        0 = picks of none.
    """

    micrographs: tuple[int, ...] | None = None
    decisions: tuple[Decision, ...] | None = None
    pick_sets: tuple[int, ...] | None = None
    min_score: float | None = None
    below_score: float | None = None
    classes: ClassesOf | None = None
    regions: InRegions | None = None
    ids: tuple[int, ...] | None = None
    hidden: Hidden = ()
    removed: bool = False
    species: tuple[int, ...] | None = None

    @property
    def one_micrograph(self) -> int | None:
        """The only micrograph that is meant; None where there are several, or all."""
        return self.micrographs[0] if self.micrographs is not None and len(self.micrographs) == 1 else None


def only(number: int | None) -> tuple[int, ...] | None:
    """A restriction to one micrograph or pick set; None = no restriction."""
    return None if number is None else (number,)
