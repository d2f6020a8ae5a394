"""What a picker proposes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .coordinates import FloatArray


@dataclass(frozen=True, eq=False)
class Candidates:
    """Proposed particles of one micrograph, best first.

    Attributes
    ----------
    x, y : (n,) float64, canonical px
    score : (n,) float64
        Higher is better; comparable between the micrographs of a data set. Finite.
    diameter_A : (n,) float64, angstrom
    """

    x: FloatArray
    y: FloatArray
    score: FloatArray
    diameter_A: FloatArray

    @staticmethod
    def empty() -> Candidates:
        """No candidates."""
        return Candidates(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Any) -> Candidates:
        """Rows by mask or integer index."""
        return Candidates(self.x[index], self.y[index], self.score[index], self.diameter_A[index])
