"""What a picker found on a micrograph, kept in the project's cache, so that a second start continues.

One file a micrograph (``cache/proposals/<id>.npz``, no pickle), the newest only. It may be deleted at any time, and a
cache that cannot be read or written costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...errors import FormatError, disk_reason
from ...extensions import PICKERS, provider
from ...formats.atomic import replacing
from ...formats.image import images
from ...formats.kept_arrays import load_arrays
from ...model.candidates import Candidates
from ...model.context import JobContext
from ...model.curation import Reason
from ...model.region import Origin, Region
from ...store.store import Store
from .one_micrograph import OnePick, Picked, files_named

log = logging.getLogger(__name__)

#: Counted up when a file's content means something else than before, or a built-in picker finds something else.
_GENERATION = 1
#: Of a :class:`OnePick`: where the file lies and what it is called; its content counts instead.
_NAMES = ("path", "number", "name")
#: All that reading a damaged file has been seen to raise.
_DAMAGED = (ValueError, KeyError, TypeError, IndexError)


class ProposalCache:
    """What one proposal finds done, and keeps.

    Parameters
    ----------
    store : Store
        Of the project.
    picker : str
    parameters : mapping
        The picker's own, where they are the same for all micrographs: the files among them are looked at once.
    context : JobContext
        Its seed counts; its log says where nothing can be kept.
    """

    def __init__(self, store: Store, picker: str, parameters: Mapping[str, Any], context: JobContext) -> None:
        self._folder = store.folder / "cache" / "proposals"
        self._context = context
        self._level = logging.WARNING  # of the first damaged file
        #: Why nothing is kept (any more); empty where it is.
        self.problem = "the project was opened read-only" if store.read_only else ""
        self._common: dict[str, Any] | None
        try:
            files = files_named(parameters)
        except FormatError:  # the picker says so of its file itself
            self._common = None
        else:
            self._common = {
                "generation": _GENERATION,
                "program": __version__,
                "picker": provider(PICKERS, picker),
                "files": files,
                "seed": context.seed,
            }

    def key(self, task: OnePick) -> str | None:
        """All that the picks depend on, in 64 letters; None where that cannot be known.

        Every field of :class:`OnePick` counts, with the micrograph's content in place of its name.
        """
        if self._common is None:
            return None
        parts = {field.name: getattr(task, field.name) for field in fields(task) if field.name not in _NAMES}
        # those found before are found again
        parts["regions"] = [(r.reason, r.origin, r.vertices) for r in task.regions if r.origin is not Origin.FOUND]
        try:
            content = images.fingerprint(Path(task.path))
            text = json.dumps(_plain({**self._common, "one": parts, "content": content}), sort_keys=True)
        except (FormatError, _Untold):
            return None
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, number: int, key: str | None) -> Picked | None:
        """What was found on a micrograph where all was as it is now; None where it was not, or the file is damaged."""
        if key is None:
            return None
        path = self._file(number)
        arrays = load_arrays(path)
        if arrays is None:
            return None
        try:
            return _unpacked(arrays) if str(arrays["key"]) == key else None
        except _DAMAGED as error:
            log.log(self._level, "%s is no kept proposal (%s); its micrograph is picked again", path, error)
            self._level = logging.DEBUG
            return None

    def put(self, number: int, key: str | None, picked: Picked) -> None:
        """Keep what was found. Where that fails it is said once and not tried again."""
        if key is None or self.problem:
            return
        try:
            with replacing(self._file(number)) as stream:
                np.savez(stream, key=np.asarray(key), **_packed(picked))
        except OSError as error:
            self.problem = f"{self._folder} cannot be written ({disk_reason(error)})"
            log.warning("%s", self.problem)
            self._context.log(f"what is found is not kept for another start: {self.problem}")

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.npz"


class _Untold(Exception):
    """A value that says nothing of what is in it."""


def _plain(value: Any) -> Any:
    """A value as JSON has it: the same where its content is. Raises _Untold where that cannot be seen."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [value.dtype.str, list(value.shape), content]
    if isinstance(value, Mapping):
        return [[_plain(name), _plain(value[name])] for name in sorted(value, key=str)]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        named = [[field.name, _plain(getattr(value, field.name))] for field in fields(value)]
        return [type(value).__qualname__, named]
    raise _Untold


def _packed(picked: Picked) -> dict[str, Any]:
    c = picked.candidates
    corners = [np.asarray(region.vertices, np.float64).reshape(-1, 2) for region in picked.regions]
    return {
        "candidates": np.array([c.x, c.y, c.score, c.diameter_A], np.float64).reshape(4, -1),
        "left_out": np.array([(int(r), n) for r, n in picked.left_out.items()], np.int64).reshape(-1, 2),
        "reasons": np.array([int(region.reason) for region in picked.regions], np.int64),
        "corners": np.array([len(part) for part in corners], np.int64),
        "vertices": np.concatenate([np.zeros((0, 2)), *corners]),
    }


def _unpacked(file: Mapping[str, Any]) -> Picked:
    """Raises ValueError where it does not fit together."""
    x, y, score, diameter_A = file["candidates"].astype(np.float64)
    parts = np.split(file["vertices"].astype(np.float64), np.cumsum(file["corners"])[:-1])
    regions = tuple(Region(Reason(int(reason)), part) for reason, part in zip(file["reasons"], parts, strict=False))
    if not len(file["reasons"]) == len(file["corners"]) == len(regions):
        raise ValueError("its regions do not fit together")
    left_out = {Reason(int(reason)): int(n) for reason, n in file["left_out"]}
    return Picked(Candidates(x, y, score, diameter_A), left_out, regions)
