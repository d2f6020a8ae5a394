"""Small plots as SVG text, for reports that need no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from ..picking.evaluate import precision_recall as points_of
from ..picking.matching import Matches

#: Width and height of a plot, px.
_W = 320
_H = 240
#: Margins around the axes, px.
_LEFT = 46
_TOP = 12
_RIGHT = 12
_BOTTOM = 40
_BLUE = "#0072B2"
_GREY = "#d8dce2"
_ORANGE = "#D55E00"


def _frame(body: Sequence[str], x_label: str, y_label: str) -> str:
    middle = _LEFT + (_W - _LEFT - _RIGHT) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_W}" height="{_H}" viewBox="0 0 {_W} {_H}">'
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_W - _LEFT - _RIGHT}" height="{_H - _TOP - _BOTTOM}" fill="none"'
        f' stroke="{_GREY}"/>{"".join(body)}'
        f'<text x="{middle}" y="{_H - 6}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="12" y="{_H / 2}" text-anchor="middle" transform="rotate(-90 12 {_H / 2})">{escape(y_label)}</text>'
        "</svg>"
    )


def _x(share: float) -> float:
    return round(_LEFT + share * (_W - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_H - _BOTTOM - share * (_H - _TOP - _BOTTOM), 1)


def _ticks(low: float, high: float, horizontal: bool) -> list[str]:
    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = f"{low + share * (high - low):.3g}"
        if horizontal:
            marks.append(f'<text x="{_x(share)}" y="{_y(0) + 14}" text-anchor="middle">{value}</text>')
        else:
            marks.append(f'<text x="{_LEFT - 4}" y="{_y(share) + 4}" text-anchor="end">{value}</text>')
    return marks


def bars(values: Sequence[tuple[str, float]], x_label: str, y_label: str) -> str:
    """A bar for each (name, share 0 .. 1); NaN is no bar."""
    body = _ticks(0.0, 1.0, horizontal=False)
    width = 1.0 / max(1, len(values))
    for i, (name, value) in enumerate(values):
        at = _x((i + 0.15) * width)
        if not math.isnan(value):
            height = _y(0) - _y(value)
            body.append(
                f'<rect x="{at}" y="{_y(value)}" width="{_x(0.7 * width) - _x(0):.1f}" height="{height:.1f}"'
                f' fill="{_BLUE}">'
                f"<title>{escape(name)}: {value:.3f}</title></rect>"
            )
        body.append(f'<text x="{_x((i + 0.5) * width)}" y="{_y(0) + 14}" text-anchor="middle">{escape(name)}</text>')
    return _frame(body, x_label, y_label)


def histogram(values: Sequence[float], low: float, high: float, x_label: str) -> str:
    """How often values fall into 20 equal parts of a range."""
    counts, _ = np.histogram([v for v in values if math.isfinite(v)], bins=20, range=(low, high))
    most = max(1, int(counts.max()))
    body = [
        *_ticks(low, high, horizontal=True),
        f'<text x="{_LEFT - 4}" y="{_y(1) + 8}" text-anchor="end">{most}</text>',
    ]
    for i, n in enumerate(counts.tolist()):
        height = _y(0) - _y(n / most)
        body.append(
            f'<rect x="{_x(i / 20)}" y="{_y(n / most)}" width="{_x(0.046) - _x(0):.1f}" height="{height:.1f}"'
            f' fill="{_BLUE}"/>'
        )
    return _frame(body, x_label, "micrographs")


def precision_recall(matches: Sequence[Matches]) -> str:
    """The curve over all micrographs together."""
    hit = np.concatenate([m.hit for m in matches])
    score = np.concatenate([m.score for m in matches])
    _, precision, recall = points_of(hit, score, sum(m.n_truth for m in matches))
    body = _ticks(0.0, 1.0, horizontal=True) + _ticks(0.0, 1.0, horizontal=False)
    if len(recall):
        some = np.unique(np.linspace(0, len(recall) - 1, 300).astype(int))
        points = " ".join(
            f"{_x(r)},{_y(p)}" for r, p in zip(recall[some].tolist(), precision[some].tolist(), strict=True)
        )
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1.argmax())
        at = (_x(float(recall[best])), _y(float(precision[best])))
        body.append(f'<polyline points="{points}" fill="none" stroke="{_BLUE}" stroke-width="2"/>')
        body.append(
            f'<circle cx="{at[0]}" cy="{at[1]}" r="4" fill="{_ORANGE}"><title>F1 {f1[best]:.3f}</title></circle>'
        )
    return _frame(body, "recall", "precision")


def resolution(curves: Sequence[tuple[str, Sequence[tuple[float, float, float, float]]]]) -> str:
    """Resolution over the number of picks, on 1 / d^2 over the log of the number, where a B-factor is a straight line.

    Parameters
    ----------
    curves : sequence of (name, points)
        Of each point: the number of picks, and the resolution in A with the ends of its interval; points without a
        resolution (infinite) are left out.
    """
    known = [(name, [p for p in points if all(map(math.isfinite, p))]) for name, points in curves]
    every = [p for _, points in known for p in points]
    if not every:
        return _frame([], "picks", "resolution (Å)")
    logs = [math.log(p[0]) for p in every]
    squares = [1.0 / value**2 for p in every for value in p[1:]]
    left, wide = min(logs), max(max(logs) - min(logs), 1e-9)
    high = 1.08 * max(squares)
    body = [
        f'<text x="{_x((at - left) / wide)}" y="{_y(0) + 14}" text-anchor="middle">{math.exp(at):,.0f}</text>'
        for at in sorted(set(logs))
    ]
    for share in (0.25, 0.5, 0.75, 1.0):
        value = 1.0 / math.sqrt(share * high)
        body.append(f'<text x="{_LEFT - 4}" y="{_y(share) + 4}" text-anchor="end">{value:.3g}</text>')
    for (name, points), colour in zip(known, (_BLUE, _ORANGE), strict=False):
        places = [(_x((math.log(p[0]) - left) / wide), *(_y(1.0 / v**2 / high) for v in p[1:])) for p in points]
        line = " ".join(f"{x},{y}" for x, y, _, _ in places)
        body.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"><title>{escape(name)}</title>'
            "</polyline>"
        )
        body += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/><path d="M{x} {low}V{top}" stroke="{colour}"/>'
            for x, y, low, top in places
        ]
    return _frame(body, "picks", "resolution (Å)")


def scatter(offsets: NDArray[np.float64], reach: float) -> str:
    """Offsets (n, 2), px, within ``reach`` of 0; at most 1500 of them are drawn. Rows run down, as on the image."""
    some = offsets[:: max(1, -(-len(offsets) // 1500))]
    body = _ticks(-reach, reach, horizontal=True)
    body += [
        f'<text x="{_LEFT - 4}" y="{_y(1.0 - share) + 4}" text-anchor="end">{-reach + 2 * share * reach:.3g}</text>'
        for share in (0.0, 0.5, 1.0)
    ]
    for dx, dy in some.tolist():
        x, y = _x(0.5 + dx / reach / 2), _y(0.5 - dy / reach / 2)
        body.append(f'<circle cx="{x}" cy="{y}" r="1.6" fill="{_BLUE}" fill-opacity="0.45"/>')
    mean = offsets.mean(axis=0)
    x, y = _x(0.5 + mean[0] / reach / 2), _y(0.5 - mean[1] / reach / 2)
    body.append(f'<path d="M{x - 7} {y}H{x + 7}M{x} {y - 7}V{y + 7}" stroke="{_ORANGE}" stroke-width="2.5"/>')
    return _frame(body, "offset in x (px)", "offset in y (px, down)")
