"""One thing to look at in the queue of likely errors."""

from __future__ import annotations

from dataclasses import dataclass

from ...audit.suspects import ErrorKind


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One thing to look at.

    Attributes
    ----------
    micrograph : int
    particle : int
        Id of the pick; 0 for a place without one.
    x, y, to_x, to_y : float, canonical px
        Where it is, and where a moved pick should lie; NaN for none.
    kind : ErrorKind
    probability : float
    group : int
    reason : str
    members : tuple of (micrograph, x, y)
        Of a gap.
    """

    micrograph: int
    particle: int
    x: float
    y: float
    to_x: float
    to_y: float
    kind: ErrorKind
    probability: float
    group: int = 0
    reason: str = ""
    members: tuple[tuple[int, float, float], ...] = ()

    @property
    def likely(self) -> bool:
        """Whether it is more likely wrong than right."""
        return self.probability >= 0.5
