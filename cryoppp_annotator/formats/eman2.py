"""EMAN2 ``info/<micrograph>_info.json``: particle centres under the key ``boxes``, one file per micrograph.

An entry is ``[x, y, tag]`` or ``[x, y, tag, score]`` in px of the full micrograph, the tag ``manual``, ``auto_local``
and the like. The same file holds CTF, quality and more, which is left as it is: only ``boxes`` is written.
Particle and pixel size are in ``info/project.json`` (EMAN2 ``programs/e2boxer.py``; FORMATS.md 4.2).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import RELION_FRAME, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .atomic import write_text
from .names import refuse_collisions
from .table.json_text import parse_json
from .table.star import decode_head
from .table.text_rows import kept, read_bounded, source_positions, texts

_ENDING = "_info.json"
_KEY = "boxes"
_KEY_3D = "boxes_3d"
_OTHER_KEYS = ("boxes_rct", "ctf", "ctf_frame", "quality", "sets")
_TAG = "eman2:tag"
_MORE = "eman2:more"
_SIZE = "global.ptclsize"
_APIX = "global.apix"
_PROJECT = "project.json"
_MAX_BOX_CHARACTERS = 500


@dataclass(frozen=True)
class _Eman2:
    """EMAN2's info files, or a whole project folder; see the module."""

    name: str = "eman2"
    title: str = "EMAN2 (_info.json)"
    extensions: tuple[str, ...] = (".json",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = RELION_FRAME
    carries: frozenset[str] = frozenset({"score", "extra", "template"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is an info file, or an EMAN2 project or its ``info`` folder."""
        if not head and path.is_dir():
            return 0.9 if _info_files(path) else 0.0
        text = decode_head(head)
        if not text.lstrip().startswith("{"):
            return 0.0
        known = f'"{_KEY}"' in text
        if path.name.lower().endswith(_ENDING):
            return 0.95 if known else 0.85 if any(f'"{key}"' in text for key in _OTHER_KEYS) else 0.6
        return 0.6 if known and path.suffix.lower() == ".json" else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read an info file, or all those of a project folder. A file without ``boxes`` has no picks to give.

        The diameter (``global.ptclsize``) and pixel size come from ``project.json`` beside, where there is one.

        Raises
        ------
        FormatError
            It is not JSON, or a box is not ``[x, y, tag, ...]``.
        """
        files = _info_files(path) if path.is_dir() else [path]
        if not files:
            raise FormatError(f"is not an EMAN2 project: it has no info/*{_ENDING}", path)
        issues: list[Issue] = []
        size, apix = _project(files[0].parent / _PROJECT, permissive, issues)
        picks: list[FilePicks] = []
        for file in files:
            try:
                boxes = _read_boxes(file, permissive, issues)
            except FormatError as error:
                if not permissive or not path.is_dir():
                    raise
                issues.append(Issue(error.detail, file, error.line))
                continue
            if boxes is not None:
                picks.append(boxes if size is None else replace(boxes, diameter_px=np.full(len(boxes), size)))
        if not picks and not path.is_dir():
            raise FormatError(f'has no key "{_KEY}": this micrograph was not picked', path)
        return PickFile(self.name, path, self.frame, tuple(picks), tuple(issues), apix)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/info/<stem>_info.json`` (``out`` itself where it is called ``info``) for every micrograph.

        A file that is there keeps all it holds but ``boxes``, and a new one takes what the file of its name beside
        (or in) ``options.template`` holds. A pick without a tag gets ``manual``, or
        ``auto_local`` where it has a score.

        Raises
        ------
        FormatError
            A position is not finite, two micrographs share a stem, or a file that is there is damaged.
        """
        names = [f"{pick.micrograph.name}{options.suffix or ''}{_ENDING}" for pick in picks]
        folder = out if out.name == "info" else out / "info"
        refuse_collisions(names, folder)
        bodies: dict[Path, str] = {}
        for name, pick in zip(names, picks, strict=True):
            before = next((file for file in _befores(folder, name, options.template) if file.is_file()), None)
            content = {} if before is None else _load(before)
            content[_KEY] = _boxes(pick, options)
            bodies[folder / name] = _json_text(content)
        return [write_text(path, body) for path, body in bodies.items()]


# --- reading -------------------------------------------------------------------------------------------------------


def _info_files(path: Path) -> list[Path]:
    folder = path if path.name == "info" else path / "info"
    return sorted(file for file in folder.glob(f"*{_ENDING}") if not file.name.startswith("."))


def _befores(folder: Path, name: str, template: Path | None) -> list[Path]:
    """Where the info file that is to be completed may lie, best first."""
    before = [folder / name]
    if template is not None:
        before += [template / name, template / "info" / name, template.parent / name]
    return before


def _load(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object. EMAN2 itself writes NaN, which is left as it is."""
    text = read_bounded(path)
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"is not JSON: {error.msg}", path, error.lineno) from error
    except (RecursionError, ValueError) as error:  # nested or digits beyond all reason
        raise FormatError(f"is not JSON that can be read ({str(error) or type(error).__name__})", path) from error
    if not isinstance(content, dict):
        raise FormatError(f"holds {type(content).__name__} where an object with the key {_KEY!r} was expected", path)
    return content


def _project(path: Path, permissive: bool, issues: list[Issue]) -> tuple[float | None, float | None]:
    """Particle size in px and pixel size in angstrom, where the project states them."""
    if not path.is_file():
        return None, None
    try:
        content = _load(path)
    except FormatError as error:
        if not permissive:
            raise
        issues.append(Issue(error.detail, path, error.line))
        return None, None
    return _positive(content.get(_SIZE)), _positive(content.get(_APIX))


def _positive(value: Any) -> float | None:
    return float(value) if _is_number(value) and value > 0 else None


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number (booleans are not)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _read_boxes(path: Path, permissive: bool, issues: list[Issue]) -> FilePicks | None:
    """Picks of one file; None where it has no key ``boxes``."""
    content = _load(path)
    if not content.get(_KEY) and content.get(_KEY_3D):
        raise FormatError(
            f"holds EMAN2's boxes in a tomogram ({_KEY_3D}) and none of a micrograph; this program labels 2D "
            "micrographs",
            path,
        )
    if _KEY not in content:
        return None
    if not isinstance(content[_KEY], list):
        raise FormatError(f'"{_KEY}" is {type(content[_KEY]).__name__} where a list was expected', path)
    good: list[list[Any]] = []
    for number, box in enumerate(content[_KEY], 1):
        if _is_box(box):
            good.append(box)
            continue
        message = f"box {number} is {json.dumps(box)[:60]} where [x, y, tag, score] was expected"
        if not permissive:
            raise FormatError(message, path)
        issues.append(Issue(message, path))
    return _picks(good, path)


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) < 2 or not all(map(_is_number, box[:2])):
        return False
    if len(json.dumps(box)) > _MAX_BOX_CHARACTERS:
        return False
    return len(box) == 2 or isinstance(box[2], str)


def _picks(boxes: list[list[Any]], path: Path) -> FilePicks:
    x, y = np.array([box[:2] for box in boxes], np.float64).reshape(-1, 2).T
    score = np.array([box[3] if _has_score(box) else np.nan for box in boxes], np.float64)
    extra = {_TAG: texts([_encodable(box[2]) if len(box) > 2 else "" for box in boxes])}
    more = [box[4 if _has_score(box) else 3 :] for box in boxes]
    if any(more):
        extra[_MORE] = texts([json.dumps(rest) if rest else "" for rest in more])
    name = path.name[: -len(_ENDING)] if path.name.lower().endswith(_ENDING) else path.stem
    return FilePicks(name, x.copy(), y.copy(), score=score, extra=extra, source=path)


def _encodable(text: str) -> str:
    """Without the halves of surrogate pairs that JSON can say and UTF-8 cannot."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _has_score(box: list[Any]) -> bool:
    return len(box) > 3 and _is_number(box[3])


# --- writing -------------------------------------------------------------------------------------------------------


def _boxes(pick: MicrographPicks, options: WriteOptions) -> list[list[Any]]:
    n = len(pick)
    x, y = source_positions(pick, RELION_FRAME if options.frame is None else options.frame)
    tags, more = kept(pick.extra, _TAG, n), kept(pick.extra, _MORE, n)
    boxes: list[list[Any]] = []
    for i in range(n):
        scored = math.isfinite(pick.score[i])
        box = [_number(x[i]), _number(y[i]), tags[i] or ("auto_local" if scored else "manual")]
        box += [float(pick.score[i])] if scored else []
        boxes.append([*box, *(_rest(more[i]))])
    return boxes


def _number(value: float) -> int | float:
    """A whole number without a point, as EMAN2 writes it."""
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def _rest(text: str) -> list[Any]:
    try:
        values = json.loads(text) if text else []
    except ValueError:
        return []
    return values if isinstance(values, list) else []


def _json_text(content: dict[str, Any]) -> str:
    """One key and one box a line."""
    parts: list[str] = []
    for key, value in content.items():
        text = json.dumps(value)
        if key == _KEY and value:
            text = "[\n" + ",\n".join(json.dumps(box) for box in value) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


EMAN2 = _Eman2()
