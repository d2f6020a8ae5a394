"""A folder of files that can be made again, of which the oldest go when there are too many."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DiskCache:
    """Files in the project's ``cache`` folder; each may be deleted at any time.

    Attributes
    ----------
    folder : Path
    pattern : str
        Of the files' names ("*.npz").
    limit : int
        Bytes that they may take.
    """

    folder: Path
    pattern: str
    limit: int

    def trim(self) -> None:
        """Delete the oldest files beyond the limit; what cannot be deleted stays."""
        try:
            files = sorted((f.stat().st_mtime, f.stat().st_size, f) for f in self.folder.glob(self.pattern))
        except OSError:
            return
        total = sum(size for _, size, _ in files)
        for _, size, file in files:
            if total <= self.limit:
                return
            with contextlib.suppress(OSError):
                file.unlink()
            total -= size
