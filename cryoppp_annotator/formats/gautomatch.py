"""Gautomatch STARs: ``<stem>_automatch.star``, and ``_rejected.star`` with what it turned down, read only.

RELION's columns and frame in mixed white space; but classes count from 0, where 0 elsewhere means *none*
(FORMATS.md 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import FilePicks, MicrographPicks, PickFile, WriteOptions
from .relion_picks import read_picks
from .table.star import decode_head
from .table.star_file import read_star

_REJECTED = "_rejected.star"
_ENDINGS = ("_automatch.star", "_nonunique.star", _REJECTED)


@dataclass(frozen=True)
class _Gautomatch:
    """Gautomatch's STAR; see the module."""

    name: str = "gautomatch"
    title: str = "Gautomatch (_automatch.star)"
    extensions: tuple[str, ...] = (".star",)
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "decision", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is Gautomatch's: by its name and columns."""
        if (not head and path.is_dir()) or not path.name.endswith(_ENDINGS):
            return 0.0
        return 0.97 if not head or "_rlnCoordinateX" in decode_head(head) else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of one micrograph; those of a ``_rejected`` file come back REJECTED.

        Template 0 becomes class 1, and so on.

        Raises
        ------
        FormatError
        """
        file = read_picks(read_star(path, permissive=permissive), self.name, permissive=permissive, frame=self.frame)
        decision = Decision.REJECTED if path.name.endswith(_REJECTED) else Decision.UNDECIDED
        return replace(file, picks=tuple(_own(picks, decision) for picks in file.picks))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Raise FormatError: RELION's format is the one to write."""
        raise FormatError("Gautomatch's files are only read: write RELION's format", out)


def _own(picks: FilePicks, decision: Decision) -> FilePicks:
    classes = None if picks.class_id is None else (picks.class_id + 1).astype(picks.class_id.dtype)
    return replace(picks, class_id=classes, decision=decision)


GAUTOMATCH = _Gautomatch()
