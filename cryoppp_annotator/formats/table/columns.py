"""A column of text with a million rows, in a quarter of the memory that a list of ``str`` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16


class LongColumn(Sequence[str]):
    """A sequence of texts over a NumPy array of variable-width strings.

    Parameters
    ----------
    parts : sequence of LongColumn or of list of str
        Joined in order.

    Attributes
    ----------
    array : (n,) array of ``StringDType``
        Up to 15 bytes of UTF-8 take 16 bytes a row, where a ``str`` takes some 60.
    """

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        kind = np.dtypes.StringDType()
        arrays = [part.array if isinstance(part, LongColumn) else np.array(part, dtype=kind) for part in parts]
        self.array: NDArray[Any] = arrays[0] if len(arrays) == 1 else np.concatenate([np.zeros(0, kind), *arrays])

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        value = self.array[index]
        return str(value) if isinstance(index, int) else value.tolist()

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks():
            yield from block

    def blocks(self) -> Iterator[list[str]]:
        """The texts in lists of a bounded length."""
        for start in range(0, len(self.array), _BLOCK):
            yield self.array[start : start + _BLOCK].tolist()
