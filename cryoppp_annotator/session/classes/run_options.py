"""Which picks of the project are classified, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...model.curation import Decision
from ...model.which import ClassesOf, Hidden, Which


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Which picks are classified, and how.

    Attributes
    ----------
    n_classes : int
        From six on, two of them model what is no particle.
    decisions : tuple of Decision
        Picks so decided take part.
    pick_sets, micrographs : tuple of int, optional
        Only of these; None = all.
    species : tuple of int, optional
        Only picks of these kinds (0 = of none); None = all. The boxes are as large as the one that is named.
    hidden : tuple of (score, pick sets)
        Undecided picks of these sets (none named = all) with a lower score are left out.
    subset : int
        So many are classified first, for the first picture.
    use_ctf : bool
        Where the defocus of the micrographs is known.
    invert : bool
        Particles are dark in the micrographs, as in raw ones.
    start_from : int, optional
        Run whose averages it starts from.
    of_run, of_numbers : int and tuple of int, optional
        Only members of these classes of a run.
    name : str
        Empty = named after picks and classes.
    box_diameters : float
        Side of the boxes in particle diameters.
    box_px : int, optional
        Side in px of the micrographs (the coarsest of them, where they differ), instead.
    pixel_size_A : float, optional
        Of the boxes that are classified; by default so coarse that a box has at most 64 px.
    """

    n_classes: int = 50
    decisions: tuple[Decision, ...] = (Decision.UNDECIDED, Decision.ACCEPTED)
    pick_sets: tuple[int, ...] | None = None
    micrographs: tuple[int, ...] | None = None
    hidden: Hidden = ()
    subset: int = 2000
    use_ctf: bool = True
    invert: bool = True
    start_from: int | None = None
    of_run: int | None = None
    of_numbers: tuple[int, ...] = ()
    name: str = ""
    box_diameters: float = 1.5
    box_px: int | None = None
    pixel_size_A: float | None = None
    species: tuple[int, ...] | None = None

    @property
    def which(self) -> Which:
        """The picks a run is made of."""
        classes = None if self.of_run is None else ClassesOf(self.of_run, self.of_numbers)
        return Which(
            self.micrographs, self.decisions, self.pick_sets, classes=classes, hidden=self.hidden, species=self.species
        )

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> RunOptions:
        """As a run's record keeps them; unknown keys are ignored."""
        known = {name: value for name, value in stored.items() if name in RunOptions.__dataclass_fields__}
        for name in ("pick_sets", "micrographs", "of_numbers", "species"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        known["hidden"] = tuple((float(score), tuple(sets)) for score, sets in known.get("hidden", ()))
        if stored.get("min_score") is not None:  # as runs of 0.1.0 were kept
            known["hidden"] = ((float(stored["min_score"]), ()),)
        known["decisions"] = tuple(Decision(d) for d in known.get("decisions", (0, 1)))
        return RunOptions(**known)
