"""Coordinate formats of other distributions: they sniff, read and write in a process of their own, and are judged."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .contract import pick_file_of
from .errors import Cancelled, EngineError, FormatError
from .formats.atomic import replacing_by_name
from .jobs.isolated import call_isolated
from .model.context import JobContext
from .model.coordinates import SourceFrame
from .model.pickfile import MicrographPicks, PickFile, WriteOptions

log = logging.getLogger(__name__)

#: Seconds that a look at a file's first bytes may take.
_SNIFF_LIMIT_S = 20.0
#: Seconds that reading or writing may take.
_WORK_LIMIT_S = 600.0


@dataclass(frozen=True)
class ForeignFormat:
    """What a format says of itself, and its methods called elsewhere; as ``api.CoordinateFormat``."""

    group: str
    point: str
    name: str
    title: str
    extensions: tuple[str, ...]
    can_read: bool
    can_write: bool
    frame: SourceFrame
    carries: frozenset[str]
    many_micrographs: bool

    @staticmethod
    def of(group: str, point: str, plugin: Any) -> ForeignFormat:
        """Of a format that was loaded. Raises TypeError or AttributeError where what it says makes no sense."""
        if not isinstance(plugin.frame, SourceFrame):
            raise TypeError(f"its frame is a {type(plugin.frame).__name__}, not a SourceFrame")
        return ForeignFormat(
            group,
            point,
            str(plugin.name),
            str(getattr(plugin, "title", plugin.name)),
            tuple(map(str, plugin.extensions)),
            bool(plugin.can_read),
            bool(plugin.can_write),
            plugin.frame,
            frozenset(map(str, getattr(plugin, "carries", ()))),
            bool(getattr(plugin, "many_micrographs", False)),
        )

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1); 0 where it fails, so that the others are asked."""
        try:
            score = float(self._call("sniff", (path, head), {}, _SNIFF_LIMIT_S))
        except (FormatError, TypeError, ValueError) as error:
            log.warning("the format %s could not look at %s: %s", self.name, path, error)
            return 0.0
        return score if 0.0 <= score <= 1.0 else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a file. Raises FormatError where the plugin fails or gives nonsense."""
        answer = self._call("read", (path,), {"permissive": permissive}, _WORK_LIMIT_S)
        try:
            return pick_file_of(answer, self.point)
        except EngineError as error:
            raise FormatError(str(error), path) from error

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write aside, and take over what lies there; the plugin never writes to ``out`` itself.

        It gets no pictures (``options.images``): they cannot be sent.
        """
        with tempfile.TemporaryDirectory(prefix="cryoppp-format-") as folder:
            aside = Path(folder, "out", out.name) if out.suffix.lower() in self.extensions else Path(folder, "out")
            aside.parent.mkdir(exist_ok=True)
            self._call("write", (aside, list(picks), replace(options, images=None)), {}, _WORK_LIMIT_S)
            root = Path(folder, "out")
            made = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
            base = out.parent if aside.parent == root else out
            return [_taken_over(path, base / path.relative_to(root)) for path in made]

    def _call(self, method: str, arguments: tuple[Any, ...], words: dict[str, Any], limit_s: float) -> Any:
        ends = time.monotonic() + limit_s
        context = JobContext(is_cancelled=lambda: time.monotonic() > ends)
        try:
            return call_isolated(self.group, self.point, method, arguments, words, context, with_context=False)
        except Cancelled as error:
            raise FormatError(f"the plugin {self.point!r} did not come back within {limit_s:.0f} s") from error
        except EngineError as error:
            raise FormatError(str(error)) from error


def _taken_over(path: Path, target: Path) -> Path:
    with replacing_by_name(target) as aside:
        shutil.copyfile(path, aside)
    return target
