"""What an engine takes: numbers that a person chooses, and what the program itself hands over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..errors import EngineError


class Need(StrEnum):
    """What the program hands to a picker under this name, besides the numbers that a person chooses."""

    #: Path of averages or of a map; with ``template_pixel_A`` and ``white``. It cannot pick without.
    TEMPLATES = "templates"
    #: Path of a model that was made of decisions. It cannot pick without.
    MODEL = "model"
    #: ``bright`` where particles are brighter than their surroundings.
    POLARITY = "polarity"
    #: The micrograph's CTF, where it is known and the templates are free of it.
    CTF = "ctf"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number.

    Attributes
    ----------
    name : str
        Key in the mapping the engine is handed.
    title : str
        What a form says.
    default : float
    low, high : float
        Range, both ends allowed.
    unit : str
        ``A``, ``px``, empty where it has none.
    help : str
        One line for a tooltip.
    automatic : str
        What the value 0 means where it stands for "you choose" ("2.5 diameters"); empty where 0 is a number. 0 is
        then allowed below ``low``, too.
    """

    name: str
    title: str
    default: float
    low: float
    high: float
    unit: str = ""
    help: str = ""
    automatic: str = ""

    def checked(self, value: Any) -> float:
        """The value as a number. Raises EngineError where it is none, or out of range."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if (self.automatic and number == 0.0) or self.low <= number <= self.high:
            return number
        unit = f" {self.unit}" if self.unit else ""
        raise EngineError(f"{self.name}={value} is not between {self.low:g} and {self.high:g}{unit}")


def with_defaults(declared: Sequence[Parameter], chosen: Mapping[str, Any]) -> dict[str, float]:
    """Every declared parameter, as chosen or by default.

    Raises
    ------
    EngineError
        An unknown name, or a value out of range.
    """
    names = [p.name for p in declared]
    for name in chosen:
        if name not in names:
            raise EngineError(f"there is no parameter {name!r}; there are {', '.join(names) or 'none'}")
    return {p.name: p.checked(chosen.get(p.name, p.default)) for p in declared}
