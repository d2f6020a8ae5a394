"""YOLO labels: one text a picture, ``class x y width height [score]`` as fractions of the picture from its top left.

The fractions mean nothing without the picture, so both are read and written together: ``labels/<stem>.txt`` beside
``images/<stem>.png``. An empty text is an empty picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .atomic import write_text
from .image.pictures import (
    REJECTED_NAME,
    box_sizes,
    class_name,
    find_picture,
    picture_size,
    require_picture_frame,
    write_pictures,
)
from .names import refuse_collisions
from .table.star import ColumnReader, decode_head, number_text, require_finite
from .table.text_rows import empty_picks, numbered_lines, numeric_widths, read_bounded, split_rows

_COLUMNS = ("class", "x", "y", "width", "height", "score")
_LARGEST_FRACTION = 1000.0
_NOT_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt", "requirements.txt", "readme.txt"})
_SETTINGS = "data.yaml"
_CLASSES = "classes.txt"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class _Yolo:
    """YOLO's detection labels; see the module."""

    name: str = "yolo"
    title: str = "YOLO labels, with 8-bit pictures"
    extensions: tuple[str, ...] = (".txt",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "diameter", "class", "decision"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a label text, or a folder of ``labels`` and ``images``."""
        if not head and path.is_dir():
            return 0.9 if (path / "labels").is_dir() and (path / "images").is_dir() else 0.0
        if path.suffix.lower() != ".txt" or path.name.lower() in _NOT_LABELS:
            return 0.0
        if not head.strip():
            return 0.6 if _picture_of(path) is not None else 0.0
        if not numeric_widths(head) & {5, 6}:
            return 0.0
        rows = (line.split() for line in decode_head(head).splitlines() if not line.startswith("#"))
        values = next(row for row in rows if row)  # numbers, or there would be no widths
        fractions = values[0].isdigit() and all(-1 <= float(value) <= 2 for value in values[1:5])
        return 0.9 if fractions else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read one label text, or every text below ``labels`` of a folder.

        Diameters are the mean of a box's edges. Where ``classes.txt`` calls a class ``rejected``, its picks are.

        Raises
        ------
        FormatError
            A row is bad, or the picture, which gives the size, is not there.
        """
        if not path.is_dir():
            picks, issues = _read_labels(path, permissive)
            return PickFile(self.name, path, self.frame, (picks,), tuple(issues))
        every: list[FilePicks] = []
        noted: list[Issue] = []
        for file in sorted((path / "labels").rglob("*.txt")):
            if file.name.lower() in _NOT_LABELS:
                continue
            try:
                picks, issues = _read_labels(file, permissive)
            except FormatError as error:
                if not permissive:
                    raise
                noted.append(Issue(error.detail, file, error.line))
                continue
            every.append(picks)
            noted += issues
        if not every:
            raise FormatError("holds no label texts that can be read", path / "labels")
        return PickFile(self.name, path, self.frame, tuple(every), tuple(noted))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``labels/<stem>.txt``, ``images/<stem>.png``, ``classes.txt`` and ``data.yaml`` into folder ``out``.

        A box's edge is the particle's diameter, or ``options.box_size_px`` where it has none. Rejected picks are of a
        class of their own, the last one.

        Raises
        ------
        FormatError
            There is no picture of a micrograph, a particle lies outside it (training programs then drop the whole
            picture), or has no diameter or finite position.
        """
        require_picture_frame(options)
        names = [f"{pick.micrograph.name}.txt" for pick in picks]
        refuse_collisions(names, out)
        sizes = [box_sizes(pick, options) for pick in picks]
        for pick in picks:
            require_finite(pick.x, pick.y, pick.micrograph.name)
        files, pictures = write_pictures(out / "images", picks, options)
        texts: dict[Path, str] = {}
        rejected = [pick.decision == Decision.REJECTED for pick in picks]
        kept = [pick.class_id[~rows] for pick, rows in zip(picks, rejected, strict=True)]
        n_classes = 1 + max((int(classes.max(initial=0)) for classes in kept), default=0)
        for name, pick, size, out_of_all in zip(names, picks, sizes, rejected, strict=True):
            _, width, height = pictures[pick.micrograph.name]
            classes = np.where(out_of_all, n_classes, pick.class_id)
            texts[out / "labels" / name] = _text(pick, classes, size, width, height)
        if n_classes > 10_000:
            raise FormatError(f"class {n_classes - 1:,} cannot be written: YOLO lists every class up to it", out)
        called = [class_name(number) for number in range(n_classes)]
        called += [REJECTED_NAME] if any(rows.any() for rows in rejected) else []
        texts[out / _CLASSES] = "\n".join(called) + "\n"
        texts[out / _SETTINGS] = _settings(called)
        return [*files, *(write_text(path, text) for path, text in texts.items())]


def _picture_of(path: Path) -> Path | None:
    """``images/.../<stem>`` for ``labels/.../<stem>.txt``, or a picture beside the text."""
    folders = [path.parent, path.parent / "images"]
    parts = path.parent.parts
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] == "labels":
            folders.insert(0, Path(*parts[:place], "images", *parts[place + 1 :]))
            break
    return find_picture(path.stem, folders)


def _rejected_class(path: Path) -> int:
    """Number of the class that ``classes.txt``, beside the labels or above them, calls rejected; -1 where none is."""
    for folder in (path.parent, path.parent.parent):
        try:
            lines = read_bounded(folder / _CLASSES, _MOST_BYTES).splitlines()
        except (OSError, FormatError):
            continue  # it only gives names
        if REJECTED_NAME in lines:
            return lines.index(REJECTED_NAME)
    return -1


def _read_labels(path: Path, permissive: bool) -> tuple[FilePicks, list[Issue]]:
    text = read_bounded(path)
    rows = split_rows(
        numbered_lines(text), path, widths={5, 6}, expected="class x y width height [score]", permissive=permissive
    )
    if not rows.lines:
        return empty_picks(path), rows.issues
    picture = _picture_of(path)
    if picture is None:
        raise FormatError(
            "gives fractions of a picture that is not there: put it beside the labels, or into images/", path
        )
    width, height = picture_size(picture)
    columns = rows.named(_COLUMNS)
    reader = ColumnReader(columns, rows.lines, path, permissive)
    fractions = {name: reader.number(name) for name in ("x", "y", "width", "height")}
    for name, values in fractions.items():
        senseless = np.abs(values) > _LARGEST_FRACTION
        reader.refuse(senseless, name, "a fraction of the picture")
        values[senseless] = 0.0
    x, y = fractions["x"] * width, fractions["y"] * height
    diameter = (fractions["width"] * width + fractions["height"] * height) / 2.0
    class_id = reader.integer("class")
    score = reader.number("score", optional=True) if "score" in columns else None
    issues = [*rows.issues, *reader.issues]
    for row in np.flatnonzero(class_id < 0).tolist():
        message = f"the class is {class_id[row]} where 0 or more was expected"
        if not permissive:
            raise FormatError(message, path, rows.lines[row])
        issues.append(Issue(message, path, rows.lines[row]))
    good = reader.good & (class_id >= 0)
    rejected = class_id == _rejected_class(path)
    picks = FilePicks(
        path.stem,
        np.round(x[good], 6),
        np.round(y[good], 6),
        diameter_px=np.round(diameter[good], 6),
        score=None if score is None else score[good],
        class_id=np.where(rejected, 0, class_id)[good],
        decision=np.where(rejected, Decision.REJECTED, Decision.UNDECIDED).astype(np.int8)[good],
        source=path,
    )
    return picks, issues


def _text(pick: MicrographPicks, classes: np.ndarray, size: np.ndarray, width: int, height: int) -> str:
    x, y = pick.x / width, pick.y / height
    outside = ~((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1))
    if outside.any():
        raise FormatError(
            f"particle {int(np.argmax(outside)) + 1} of {pick.micrograph.name} lies outside the picture, which YOLO "
            "cannot say: remove it first"
        )
    columns = [
        [str(number) for number in classes.tolist()],
        *(number_text(column) for column in (x, y, size / width, size / height)),
    ]
    if len(pick) and np.isfinite(pick.score).all():
        columns.append(number_text(pick.score))
    rows = [" ".join(row) for row in zip(*columns, strict=True)]
    return "\n".join(rows) + "\n" if rows else ""


def _settings(classes: Sequence[str]) -> str:
    names = "\n".join(f"  {number}: {json.dumps(name)}" for number, name in enumerate(classes))
    note = "# y runs down: row 0 of a picture is the first row of the micrograph file"
    return f"{note}\npath: .\ntrain: images\nval: images\nnames:\n{names}\n"


YOLO = _Yolo()
