"""A comparison as one HTML file that can be read without the program: numbers, plots, rings, crops."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from .. import __version__
from ..audit.comparing import TwoSets
from ..audit.completeness import ASSUMPTIONS
from ..errors import AnnotatorError, FormatError, disk_reason
from ..formats.atomic import write_text
from ..formats.image import images
from ..imaging.denoise import BAND_PASS
from ..model.context import JobContext
from ..model.picture import Picture
from . import svg
from .compare import ComparisonReport
from .score_cards import TwoCards, card_rows

_QUIET = JobContext()
#: Most rows of the table.
_MOST_ROWS = 200
#: Micrographs that are drawn: those that agree least.
_WORST = 4
#: Side of the picture of a micrograph, px.
_WIDE_PX = 1000
#: Most crops of a kind.
_MOST_CROPS = 40
#: Side of a crop, px of the page.
_CROP_PX = 92
#: Side of a crop, diameters of the particle.
_CROP_DIAMETERS = 2.2


def write_report(
    report: ComparisonReport, path: Path, *, cards: TwoCards | None = None, context: JobContext = _QUIET
) -> None:
    """Write the report.

    Parameters
    ----------
    report : ComparisonReport
    path : Path
        An ``.html`` file; replaced where it exists.
    cards : TwoCards, optional
        What each set is worth to a map.

    Raises
    ------
    FormatError
        It cannot be written.
    Cancelled
    """
    worst, crops = _pictures(report, context)
    values = {
        "report": report,
        "total": report.total,
        "rows": list(report.per_micrograph.items())[:_MOST_ROWS],
        "summary": summary(report),
        "plots": [{"svg": Markup(plot), "caption": caption} for plot, caption in _plots(report)],
        "cards": None if cards is None else _cards(report, cards),
        "worst": worst,
        "crops": crops,
        "number": _number,
        "pair": lambda x, y: "–" if math.isnan(x) else f"{x:+.1f}, {y:+.1f}",
        "count": _count,
        "infinity": math.inf,
        "assumptions": ASSUMPTIONS,
        "version": __version__,
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = environment.from_string(_template()).render(values)
    try:
        write_text(path, text)
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error


def _template() -> str:
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "resources", here.parents[2] / "resources"):
        if (folder / "report/compare.html.j2").is_file():
            return (folder / "report/compare.html.j2").read_text(encoding="utf-8")
    raise AnnotatorError("this installation lacks resources/report/compare.html.j2; install the program again")


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def summary(report: ComparisonReport) -> str:
    """What a supervisor wants to know first, in some sentences."""
    total, quality = report.total, report.total.quality
    sentences = [
        (
            f"{report.other} has {quality.matched:,} of the {_count(quality.truth, 'pick')} of {report.reference}"
            f" ({quality.recall:.1%}); {total.only_other:,} of its own {_count(quality.picks, 'pick')} are not there."
        )
    ]
    if quality.matched > 1:
        shift = math.hypot(total.shift_x, total.shift_y)
        if shift > max(1.0, 4.0 * total.shift_error):
            sentences.append(
                f"It lies off by {total.shift_x:+.1f}, {total.shift_y:+.1f} px (x, y) as a whole, "
                f"with a spread of {total.spread:.1f} px."
            )
        else:
            sentences.append(f"No systematic offset is seen; the spread of a pair is {total.spread:.1f} px.")
    worst = next(iter(report.per_micrograph.items()), None)
    if worst is not None and len(report.per_micrograph) > 1:
        disagreement = worst[1].only_reference + worst[1].only_other
        sentences.append(f"The most disagreement is on {worst[0]} ({_count(disagreement, 'pick')}).")
    return " ".join(sentences)


def _plots(report: ComparisonReport) -> list[tuple[str, str]]:
    sets = list(report.sets.values())
    f1 = [item.quality.f1 for item in report.per_micrograph.values()]
    plots = [(svg.histogram(f1, 0.0, 1.0, "F1 of a micrograph"), "F1 of each micrograph.")]
    if report.score:
        curve = svg.precision_recall([item.matches for item in sets])
        plots.append((curve, "Precision and recall at each score; the dot is the best F1."))
        bars = [(f"{part.low:.3g}", part.precision) for part in report.score]
        plots.append((svg.bars(bars, "score from", "precision"), "Precision of the picks in each range of scores."))
    offsets = np.concatenate([item.offsets for item in sets]) if sets else np.zeros((0, 2))
    if len(offsets):
        reach = report.tolerance * float(np.median([item.diameter for item in sets]))
        plots.append((svg.scatter(offsets, reach), "Offset of each pair, px; the cross is the mean."))
    edge = [(f"{part.low:g}", part.recall) for part in report.edge]
    plots.append((svg.bars(edge, "diameters from the edge", "recall"), "Recall against the distance from the edge."))
    return plots


def _cards(report: ComparisonReport, cards: TwoCards) -> Mapping[str, Any]:
    """The score cards as the template draws them."""
    quality = report.total.quality
    curves = [
        (
            name,
            [
                (float(n), item.value, item.low, item.high)
                for n, item in zip(card.numbers, card.resolution_A, strict=True)
            ],
        )
        for name, card in zip(cards.names, cards.cards, strict=True)
    ]
    return {
        "sentence": cards.sentence,
        "names": cards.names,
        "number": cards.number,
        "rows": card_rows(cards, None),
        "with_f1": card_rows(cards, quality.f1)[-1:],
        "plot": Markup(svg.resolution(curves)),
        "notes": cards.notes,
    }


def _pictures(report: ComparisonReport, context: JobContext) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The worst micrographs with rings, and crops of each kind of disagreement, drawn from the same pictures."""
    worst: list[Mapping[str, Any]] = []
    crops: dict[str, list[Mapping[str, Any]]] = {"only_reference": [], "only_other": [], "apart": []}
    some = [pair for pair in report.sets.values() if len(pair.reference) or len(pair.other)]
    for i, pair in enumerate(some):
        if len(worst) >= _WORST and all(len(kind) >= _MOST_CROPS for kind in crops.values()):
            break
        if i >= 3 * _WORST:
            break
        context.progress(i, min(len(some), 3 * _WORST), f"drawing {pair.name}")
        try:
            picture = _picture(report.paths[pair.name], pair.diameter, context)
        except AnnotatorError:
            continue
        if len(worst) < _WORST:
            worst.append(_ringed(pair, picture))
        for kind, more in _crops(pair, picture, -(-_MOST_CROPS // min(_WORST, len(some)))).items():
            crops[kind] += more[: _MOST_CROPS - len(crops[kind])]
    titles = {
        "only_reference": (f"Only in {report.reference}", "reference", "picks without a partner in the other set"),
        "only_other": (f"Only in {report.other}", "other", "the best scores first, where it has scores"),
        "apart": ("In both, but apart", "both", "pairs that lie farthest apart"),
    }
    return worst, [
        {
            "title": titles[kind][0],
            "swatch": titles[kind][1],
            "said": _shown(kind, report, crops[kind], titles),
            "crops": crops[kind],
        }
        for kind in titles
        if crops[kind]
    ]


def _shown(
    kind: str, report: ComparisonReport, crops: Sequence[Any], titles: Mapping[str, tuple[str, str, str]]
) -> str:
    of = {
        "only_reference": report.total.only_reference,
        "only_other": report.total.only_other,
        "apart": report.total.quality.matched,
    }[kind]
    return f"{len(crops)} of {of:,}, from the micrographs that disagree most: {titles[kind][2]}."


def _picture(path: Path, diameter: float, context: JobContext) -> Picture:
    image = images.read(path, check=context.check)
    # in px throughout: the filter asks for a ratio only
    return BAND_PASS.denoise(image, pixel_size_A=1.0, diameter_A=diameter, max_side=2048, context=context)


def _grey(picture: Picture) -> NDArray[np.uint8]:
    low, high = picture.limits
    return np.asarray(np.clip((picture.pixels - low) / max(high - low, 1e-9) * 255, 0, 255), np.uint8)


def _data_uri(pixels: NDArray[np.uint8], width: int, height: int) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR).save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _ringed(pair: TwoSets, picture: Picture) -> Mapping[str, Any]:
    height, width = pair.shape
    scale = min(1.0, _WIDE_PX / max(height, width))
    rings = [(*_round(pair.reference[row]), "reference") for row in pair.only_reference]
    rings += [(*_round(pair.other[row]), "other") for row in pair.only_other]
    rings += [(*_round(point), "both") for point in pair.other[pair.matches.hit]]
    return {
        "name": pair.name,
        "picture": _data_uri(_grey(picture), round(width * scale), round(height * scale)),
        "width": width,
        "height": height,
        "radius": round(pair.diameter / 2, 1),
        "stroke": round(2.0 / scale, 1),
        "rings": rings,
        "said": f"{int(pair.matches.hit.sum())} both, {len(pair.only_reference)} only the first,"
        f" {len(pair.only_other)} only the second",
    }


def _round(point: NDArray[np.float64]) -> tuple[float, float]:
    return round(float(point[0]), 1), round(float(point[1]), 1)


def _crops(pair: TwoSets, picture: Picture, most: int) -> dict[str, list[Mapping[str, Any]]]:
    grey = _grey(picture)
    hit = np.flatnonzero(pair.matches.hit)
    apart = hit[np.argsort(-pair.matches.distance[hit], kind="stable")][:most]
    score = pair.matches.score[pair.only_other]
    its = pair.only_other[np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")][:most]
    mine = pair.only_reference[:: max(1, -(-len(pair.only_reference) // most))][:most]
    return {
        "only_reference": [
            _crop(pair, grey, picture, pair.reference[row], [(pair.reference[row], "reference")], "") for row in mine
        ],
        "only_other": [
            _crop(pair, grey, picture, pair.other[row], [(pair.other[row], "other")], _score(pair.matches.score[row]))
            for row in its
        ],
        "apart": [
            _crop(
                pair,
                grey,
                picture,
                pair.other[row],
                [(pair.other[row], "other"), (pair.reference[pair.matches.truth_of[row]], "reference")],
                f"{pair.matches.distance[row]:.0f} px apart",
            )
            for row in apart
        ],
    }


def _score(value: float) -> str:
    return "" if math.isnan(value) else f"score {value:.3g}"


def _crop(
    pair: TwoSets,
    grey: NDArray[np.uint8],
    picture: Picture,
    centre: NDArray[np.float64],
    rings: Sequence[tuple[NDArray[np.float64], str]],
    text: str,
) -> Mapping[str, Any]:
    """A square around a place; beyond the edge it is grey."""
    step = np.array([picture.step[1], picture.step[0]])
    half = _CROP_DIAMETERS * pair.diameter / 2 / step
    size = np.maximum(2, np.rint(2 * half)).astype(int)
    left, top = np.rint(centre / step - half).astype(int)
    rows, columns = np.arange(top, top + size[1]), np.arange(left, left + size[0])
    inside = ((rows >= 0) & (rows < grey.shape[0]))[:, None] & ((columns >= 0) & (columns < grey.shape[1]))[None]
    part = grey[np.clip(rows, 0, grey.shape[0] - 1)][:, np.clip(columns, 0, grey.shape[1] - 1)]
    pixels = np.where(inside, part, 128).astype(np.uint8)
    scale = _CROP_PX / (_CROP_DIAMETERS * pair.diameter)
    corner = np.array([left, top]) * step
    return {
        "name": f"{pair.name} at {centre[0]:.0f}, {centre[1]:.0f}",
        "picture": _data_uri(pixels, _CROP_PX, _CROP_PX),
        "radius": round(pair.diameter / 2 * scale, 1),
        "rings": [(*_round((point - corner) * scale), colour) for point, colour in rings],
        "said": text or f"{centre[0]:.0f}, {centre[1]:.0f}",
    }
