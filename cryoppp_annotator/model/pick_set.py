"""Where picks came from: made by hand, imported from a file, or proposed by a picker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .coordinates import Anchor, Orientation, SourceFrame

HAND = "hand"
IMPORT = "import"
PICKER = "picker"


@dataclass(frozen=True, slots=True)
class PickSet:
    """A set of picks that came together.

    Attributes
    ----------
    id : int
    name : str
    kind : str
        ``hand``, ``import`` or ``picker``.
    source : str
        The file it was imported from; empty for others.
    curator : str
    frame : mapping
        Of an import: the fields of :class:`~.coordinates.SourceFrame` and how it was checked.
    parameters : mapping
        Of an import: identity, format, files, names without a micrograph. Of a proposal: the picker, its parameters,
        what was left out.
    created : str
        ISO 8601.
    colour : str
        ``#RRGGBB``; empty = as the window chooses.
    """

    id: int
    name: str
    kind: str
    source: str = ""
    curator: str = ""
    frame: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    colour: str = ""

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> PickSet:
        """As the database keeps it: ``frame`` and ``parameters`` are JSON. Raises ValueError on a damaged row."""
        return PickSet(
            int(row["id"]),
            str(row["name"]),
            str(row["kind"]),
            str(row["source"]),
            str(row["curator"]),
            frame=dict(json.loads(row["frame"] or "{}")),
            parameters=dict(json.loads(row["parameters"] or "{}")),
            created=str(row["created"]),
            colour=str(row.get("colour") or ""),
        )

    @property
    def species(self) -> int:
        """The species that it was proposed or imported for; 0 = of none. Picks of it may have been given another."""
        value = self.parameters.get("species", 0)
        return int(value) if isinstance(value, int) else 0

    @property
    def by_hand(self) -> bool:
        """Whether its picks were made by hand here."""
        return self.kind == HAND

    @property
    def imported(self) -> bool:
        """Whether its picks came from a file."""
        return self.kind == IMPORT

    @property
    def proposed(self) -> bool:
        """Whether a picker proposed its picks."""
        return self.kind == PICKER

    @property
    def source_frame(self) -> SourceFrame:
        """The coordinate frame that an import was read in. Raises KeyError for other pick sets."""
        return SourceFrame(
            orientation=Orientation(str(self.frame["orientation"])),
            anchor=Anchor(str(self.frame["anchor"])),
            scale=float(self.frame["scale"]),
            first_index=int(self.frame["first_index"]),
            flips_tiff=bool(self.frame.get("flips_tiff", False)),
        )

    @property
    def picker(self) -> str:
        """Name of the picker that proposed it, which is what its scores can be compared with; else its own name."""
        return str(self.parameters.get("picker", self.name))
