"""The precision-recall curve as a picture, drawn with what is there anyway (Pillow)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import FormatError, disk_reason
from ..formats.atomic import replacing
from ..picking.evaluate import precision_recall, quality
from ..picking.matching import Matches

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
#: Width of a plot, px.
_WIDTH = 900
#: Height of a plot, px.
_HEIGHT = 700
#: Margins around the axes, px.
_LEFT = 80
_TOP = 50
_RIGHT = 40
_BOTTOM = 70
#: Okabe & Ito's colours, distinguished by the colour-blind too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999")
_INK = "#222222"
_GRID = "#DDDDDD"
_MOST_CURVES = 6


def plot_precision_recall(matches: Mapping[str, Matches], path: Path) -> None:
    """Draw precision over recall, for all micrographs together and for each of the first six, as a PNG.

    Lines of equal F1 lie beneath; a dot marks the best F1.

    Parameters
    ----------
    matches : mapping of micrograph name to Matches
    path : Path

    Raises
    ------
    FormatError
        It cannot be written, or the picks have no scores.
    """
    total = quality(list(matches.values()))
    if math.isnan(total.average_precision):
        raise FormatError("cannot be drawn: the picks have no scores, or there is no truth", path)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(18), ImageFont.load_default(14)
    _axes(draw, font, small)
    some = list(matches.items()) if 1 < len(matches) <= _MOST_CURVES else []
    legend = []
    for (name, curve), colour in zip(some, _COLOURS[1:], strict=False):
        _curve(draw, [curve], colour, 2)
        legend.append((colour, f"{name}: AP {quality([curve]).average_precision:.3f}"))
    _curve(draw, list(matches.values()), _COLOURS[0], 4)
    title = "all micrographs" if len(matches) > 1 else next(iter(matches))
    legend.insert(0, (_COLOURS[0], f"{title}: AP {total.average_precision:.3f}"))
    head = f"best F1 {total.best_f1:.3f} at score {total.best_threshold:.3g}"
    draw.text((_WIDTH - _RIGHT, 16), head, fill=_INK, font=font, anchor="ra")
    for i, (colour, text) in enumerate(legend):
        y = _HEIGHT - _BOTTOM - 16 - 20 * (len(legend) - i)
        draw.line([(_LEFT + 14, y + 8), (_LEFT + 44, y + 8)], fill=colour, width=4)
        draw.text((_LEFT + 52, y), text, fill=_INK, font=small)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    try:
        with replacing(path) as stream:
            stream.write(buffer.getvalue())
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error


def _place(recall: float, precision: float) -> tuple[float, float]:
    return (
        _LEFT + recall * (_WIDTH - _LEFT - _RIGHT),
        _HEIGHT - _BOTTOM - precision * (_HEIGHT - _TOP - _BOTTOM),
    )


def _axes(
    draw: ImageDraw.ImageDraw,
    font: _Font,
    small: _Font,
) -> None:
    for k in range(6):
        at = k / 5
        draw.line([_place(at, 0), _place(at, 1)], fill=_GRID)
        draw.line([_place(0, at), _place(1, at)], fill=_GRID)
        x, y = _place(at, 0)
        draw.text((x, y + 8), f"{at:.1f}", fill=_INK, font=small, anchor="ma")
        x, y = _place(0, at)
        draw.text((x - 8, y), f"{at:.1f}", fill=_INK, font=small, anchor="rm")
    for f1 in (0.5, 0.7, 0.8, 0.9):
        recall = np.linspace(f1 / (2 - f1), 1.0, 60)
        precision = f1 * recall / (2 * recall - f1)
        points = [_place(r, p) for r, p in zip(recall.tolist(), precision.tolist(), strict=True)]
        draw.line(points, fill="#C9C9C9", width=1)
        x, y = points[-1]
        draw.text((x + 3, y), f"{f1:.1f}", fill="#909090", font=small, anchor="lm")
    draw.rectangle([_place(0, 1), _place(1, 0)], outline=_INK)
    draw.text(_place(0.5, -0.075), "recall", fill=_INK, font=font, anchor="ma")
    draw.text((12, _TOP - 30), "precision", fill=_INK, font=font)


def _curve(draw: ImageDraw.ImageDraw, matches: list[Matches], colour: str, width: int) -> None:
    hit = np.concatenate([m.hit for m in matches])
    score = np.concatenate([m.score for m in matches])
    _, precision, recall = precision_recall(hit, score, sum(m.n_truth for m in matches))
    if not len(recall):
        return
    points = [_place(r, p) for r, p in zip(recall.tolist(), precision.tolist(), strict=True)]
    if len(points) > 1:
        draw.line(points, fill=colour, width=width, joint="curve")
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    x, y = points[int(f1.argmax())]
    draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=colour, outline="white")
