"""A kind of particle: what it is called, how it is drawn, and how large it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Stands for picks of no species: the project's one kind of particle.
NO_SPECIES = 0
#: Okabe and Ito's palette without what decisions are drawn in; one after the other for new species and sets.
COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442", "#0072B2", "#D55E00", "#FFFFFF")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclass(frozen=True, slots=True)
class Species:
    """One kind of particle.

    Attributes
    ----------
    id : int
        Never reused.
    name : str
    colour : str
        ``#RRGGBB``.
    key : str
        Gives picks this species and makes it the one of new picks; in Qt's spelling, empty = none.
    diameter_A : float or None
        Angstrom; None = the project's.
    """

    id: int
    name: str
    colour: str = COLOURS[0]
    key: str = ""
    diameter_A: float | None = None

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Species:
        """As the database keeps it."""
        diameter = row["diameter_A"]
        known = diameter is not None and not math.isnan(float(diameter))
        return Species(
            int(row["id"]), str(row["name"]), str(row["colour"]), str(row["key"]), float(diameter) if known else None
        )


def is_colour(text: str) -> bool:
    """Whether a text is a colour, ``#RRGGBB``."""
    return _COLOUR.fullmatch(text) is not None


def next_colour(n: int) -> str:
    """The colour of the ``n``-th species or pick set, from 0."""
    return COLOURS[n % len(COLOURS)]
