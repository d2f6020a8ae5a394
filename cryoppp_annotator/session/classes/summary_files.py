"""Classes as files that a person and other programs read: averages, a table, a picture of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...classify.metrics import ClassMetrics
from ...classify.selection import Suggestion, doubt, suggest
from ...formats.atomic import replacing, write_text
from ...formats.image.stacks import write_stack
from ...formats.table.spreadsheet import csv_text
from ...model.classes import ClassSummary, verdict_of
from ...model.curation import Decision

#: Side of a tile of the gallery, px.
_TILE = 128
#: Height of the line below it, px.
_CAPTION = 16
#: Tiles in a row.
_COLUMNS = 8
_WORD = {Decision.ACCEPTED: "accept", Decision.REJECTED: "reject", Decision.UNDECIDED: "undecided"}
_COLOUR = {Decision.ACCEPTED: "#2e9e44", Decision.REJECTED: "#c0392b", Decision.UNDECIDED: "#7f8c8d"}


def as_summary(item: ClassMetrics) -> ClassSummary:
    """What was measured of a class, as its summary; nothing is suggested where its quality is not known."""
    decision = Decision.ACCEPTED if suggest(item) is Suggestion.ACCEPT else Decision.REJECTED
    if math.isnan(item.quality):
        decision = Decision.UNDECIDED
    return ClassSummary(
        item.id,
        item.count,
        item.share,
        item.resolution_A,
        item.mean_posterior,
        item.centring_px,
        math.nan,
        item.quality,
        decision,
        item.kind.value,
    )


def verdict(measures: Sequence[ClassMetrics]) -> str:
    """One line about a data set whose classes were measured, or why not to rely on them."""
    return verdict_of([as_summary(item) for item in measures], doubt(measures))


def as_dict(item: ClassSummary) -> dict[str, Any]:
    """A class as ``--json`` prints it; what is not known is None."""
    return {
        "id": item.number,
        "count": item.count,
        "quality": _rounded(item.quality, 4),
        "resolution_A": _rounded(item.resolution_A, 2),
        "decision": _WORD[item.suggestion],
        "kind": item.kind,
        "share": _rounded(item.share, 4),
        "mean_posterior": _rounded(item.posterior, 4),
        "centring_px": _rounded(item.offset_px, 2),
        "spread": _rounded(item.spread, 3),
        "note": item.note,
    }


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def as_line(item: ClassSummary) -> str:
    """A class as one line on a terminal."""
    seen = "-" if not math.isfinite(item.resolution_A) else f"{item.resolution_A:.1f} Å"
    quality = "    -" if not math.isfinite(item.quality) else f"{item.quality:5.2f}"
    words = f"{_WORD[item.suggestion]:9} {item.kind}{f', {item.note}' if item.note else ''}"
    return f"{item.number:4} {item.count:7,} {quality} {seen:>9} {words}"


def write_report(
    out: Path, averages: NDArray[np.float32], classes: Sequence[ClassSummary], pixel_size_A: float | None
) -> tuple[Path, ...]:
    """Write ``classes.mrcs``, ``summary.csv`` and ``gallery.png``.

    Parameters
    ----------
    averages : (n, side, side) float32
        In the order of ``classes``.

    Raises
    ------
    OSError
    """
    stack = write_stack(out / "classes.mrcs", averages, pixel_size_A)
    table = write_text(out / "summary.csv", summary_csv(classes))
    gallery = out / "gallery.png"
    with replacing(gallery) as stream:
        draw_gallery(averages, classes).save(stream, "PNG")
    return stack, table, gallery


def summary_csv(classes: Sequence[ClassSummary]) -> str:
    """A table of classes; what is not known is empty."""
    rows = [as_dict(item) for item in classes]
    return csv_text([list(rows[0]) if rows else ["id"], *(list(row.values()) for row in rows)])


def draw_gallery(averages: NDArray[np.float32], classes: Sequence[ClassSummary]) -> Image.Image:
    """Class averages (n, s, s) as tiles, framed green (accept), red (reject) or grey, with count and figures."""
    rows = -(-len(classes) // _COLUMNS)
    height = _TILE + _CAPTION
    sheet = Image.new("RGB", (_COLUMNS * _TILE, max(1, rows) * height), "black")
    pen = ImageDraw.Draw(sheet)
    for place, (average, item) in enumerate(zip(averages, classes, strict=True)):
        known = np.nan_to_num(average)
        low, high = np.percentile(known, (0.5, 99.5))
        grey = np.clip((known - low) / (high - low if high > low else 1.0), 0.0, 1.0) * 255.0
        tile = Image.fromarray(grey.astype(np.uint8)).resize((_TILE - 4, _TILE - 4), Image.Resampling.BICUBIC)
        x, y = place % _COLUMNS * _TILE, place // _COLUMNS * height
        pen.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), fill=_COLOUR[item.suggestion])
        sheet.paste(tile, (x + 2, y + 2))
        pen.text((x + 3, y + _TILE + 2), f"{item.number}: {item.count:,}  {_caption(item)}", fill="white")
    return sheet


def _caption(item: ClassSummary) -> str:
    if item.kind != "structure":
        return item.kind
    if math.isfinite(item.quality):
        return f"q {item.quality:.2f}"
    return f"{item.resolution_A:.1f} Å" if math.isfinite(item.resolution_A) else ""
