"""``compare``: two sets of picks on the same micrographs."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..audit.completeness import ASSUMPTIONS
from ..model.file_names import printable
from .evaluate import quality_as_json
from .options import Frame, ImagesOption, JsonOption, PickSetOption, PixelSizeOption, ToleranceOption, parse_diameter
from .verdict import MapPixelOption, SeedOption, SymmetryOption

if TYPE_CHECKING:
    from ..audit.comparing import Agreement
    from ..batch.compare import ComparisonReport
    from ..batch.score_cards import TwoCards
    from ..reconstruct.scorecard import ScoreCard

EXAMPLE = """  cryoppp-annotator compare manual.star topaz --micrographs movies --diameter 191
  cryoppp-annotator compare ground_truth cryolo --micrographs movies --diameter 108px --report for_my_supervisor.html
  cryoppp-annotator compare my-project my-project --reference-set manual --set topaz --micrographs movies"""


def compare(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="Coordinate file, folder of such, or project.")
    ],
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="The same, of the set that is judged by it.")],
    micrographs: ImagesOption,
    tolerance: ToleranceOption = 0.3,
    diameter: Annotated[
        str | None,
        typer.Option("--diameter", metavar="A", help="In angstrom, or 108px; what the reference says by default."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="T", help="Picks of OTHER with a lower score are refused.")
    ] = None,
    reference_frame: Annotated[
        Frame, typer.Option("--reference-frame", help="How the axes of REFERENCE lie; auto asks the images, too.")
    ] = Frame.AUTO,
    frame: Annotated[
        Frame, typer.Option("--frame", help="How the axes of OTHER lie; auto asks the images, too.")
    ] = Frame.AUTO,
    reference_set: Annotated[
        str | None,
        typer.Option("--reference-set", metavar="NAME", help="The pick set of REFERENCE, where that is a project."),
    ] = None,
    pick_set: PickSetOption = None,
    pixel_size: PixelSizeOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report to be read in a browser.")
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option("--map", metavar="MRC", help="Score what each set is worth to a map, too, from this one."),
    ] = None,
    symmetry: SymmetryOption = "C1",
    map_pixel_size: MapPixelOption = None,
    ctf: Annotated[
        Path | None, typer.Option("--ctf", metavar="STAR", help="With --map: the defocus of the micrographs.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare two sets of picks: what both have, what only one has, how they are centred, where they disagree.

    One-to-one: the most pairs within the tolerance, then the least distance. The micrographs with the most disagreement
    come first.
    """
    from dataclasses import replace

    from ..batch.compare import compare as compare_all
    from ..batch.html_report import write_report
    from ..batch.label_sets import CompareOptions
    from ..batch.score_cards import CardOptions, score_both
    from .progress import run_job

    diameter_A, diameter_px = parse_diameter(diameter)
    options = CompareOptions(
        micrographs,
        tolerance,
        diameter_A,
        diameter_px,
        pixel_size,
        frame.orientation,
        reference_frame.orientation,
        threshold,
        pick_set,
        reference_set,
    )
    compared = run_job(lambda context: compare_all(reference, other, options, context=context), title="Comparing")
    cards = None
    if map_ is not None:
        on = CardOptions(map_, map_pixel_size, symmetry, ctf=ctf, pixel_size_A=pixel_size)
        cards = run_job(
            lambda context: score_both(compared, on, context=replace(context, seed=seed)), title="Scoring both sets"
        )
    if report is not None:
        run_job(
            lambda context: write_report(compared, report, cards=cards, context=context), title="Writing the report"
        )
    for note in (*compared.notes, *(cards.notes if cards else ())):
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        answer = _as_json(compared) | ({"score_cards": _cards_as_json(cards)} if cards else {})
        typer.echo(json.dumps(answer, indent=2))
    else:
        typer.echo(_as_text(compared) + (f"\n{_cards_as_text(cards)}" if cards else ""))


def _cards_as_text(cards: TwoCards) -> str:
    from ..batch.score_cards import card_rows

    rows = [("", *cards.names), *card_rows(cards, None)]
    wide = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, wide, strict=True)).rstrip() for row in rows]
    return "\n".join([f"{cards.sentence} ({cards.number:,} picks of each)", *lines])


def _cards_as_json(cards: TwoCards) -> dict[str, Any]:
    return {
        "picks_of_each": cards.number,
        "better": cards.better or None,
        **{
            which: {"name": name, **_card_as_json(card)}
            for which, name, card in zip(("reference", "other"), cards.names, cards.cards, strict=True)
        },
    }


def _card_as_json(card: ScoreCard) -> dict[str, Any]:
    spread = asdict(card.spread)
    return {
        "resolution_A": [
            {"picks": n, **_plain(asdict(item))}
            for n, item in zip(card.numbers.tolist(), card.resolution_A, strict=True)
        ],
        "picks_needed": {f"{goal:g}": number for goal, number in card.needed.items()},
        "b_factor_A2": card.b_factor_A2,
        "confident_share": asdict(card.confident_share),
        "junk_share": asdict(card.junk_share),
        "views": {"evenness": spread.pop("sampling"), **spread},
    }


def _as_json(report: ComparisonReport) -> dict[str, Any]:
    return {
        "reference": report.reference,
        "other": report.other,
        "tolerance": report.tolerance,
        **_agreement(report.total),
        "completeness": _completeness(report.total),
        "by_distance_from_edge": [_plain(asdict(part)) for part in report.edge],
        "by_score": [_plain(asdict(part)) for part in report.score],
        "per_micrograph": {name: _agreement(agreement) for name, agreement in report.per_micrograph.items()},
        "notes": list(report.notes),
    }


def _agreement(agreement: Agreement) -> dict[str, Any]:
    return quality_as_json(agreement.quality) | _plain(
        {
            "only_reference": agreement.only_reference,
            "only_other": agreement.only_other,
            "shift_x_px": agreement.shift_x,
            "shift_y_px": agreement.shift_y,
            "shift_error_px": agreement.shift_error,
            "spread_px": agreement.spread,
            "kappa": agreement.kappa,
        }
    )


def _completeness(agreement: Agreement) -> dict[str, Any] | None:
    estimate = agreement.completeness
    if estimate is None:
        return None
    derived = {"seen": estimate.n_seen, "unseen": estimate.unseen, "share_seen": estimate.share_seen}
    return {**_plain(asdict(estimate)), **derived}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither NaN nor infinity."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _as_text(report: ComparisonReport) -> str:
    rows = {**{printable(name): agreement for name, agreement in report.per_micrograph.items()}, "all": report.total}
    width = max(map(len, rows))
    lines = [
        f"{'':{width}}   both  only reference  only other  precision  recall     F1  kappa  shift x, y (px)  spread",
        *(f"{name:{width}}  {_line(agreement)}" for name, agreement in rows.items()),
    ]
    estimate = report.total.completeness
    if estimate is not None:
        lines += ["", f"completeness, if both sets are independent: {estimate.sentence}", ASSUMPTIONS]
    return "\n".join(lines)


def _line(agreement: Agreement) -> str:
    q = agreement.quality
    kappa = "    -" if math.isnan(agreement.kappa) else f"{agreement.kappa:5.2f}"
    shift = "-" if math.isnan(agreement.shift_x) else f"{agreement.shift_x:+.1f}, {agreement.shift_y:+.1f}"
    spread = "-" if math.isnan(agreement.spread) else f"{agreement.spread:.1f}"
    return (
        f"{q.matched:5}  {agreement.only_reference:14}  {agreement.only_other:10}  {q.precision:9.3f}  {q.recall:6.3f}"
        f"  {q.f1:.3f}  {kappa}  {shift:>15}  {spread:>6}"
    )
