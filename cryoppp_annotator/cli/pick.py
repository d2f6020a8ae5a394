"""``pick``: candidates on many micrographs, without a project."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Refused
from .options import (
    FORMATS_HELP,
    JsonOption,
    MicrographsArgument,
    PixelSizeOption,
    SchedulerOption,
    parse_diameter,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..session.core.session import Session

EXAMPLE = """  cryoppp-annotator pick movies/*.mrc -o picks --diameter 191
  cryoppp-annotator pick movies -o picks --diameter 108px --threshold 3 --to box --box-size 180
  cryoppp-annotator pick movies -o picks --diameter 191 --box-size 260 --whole-boxes
  cryoppp-annotator pick movies -o picks --diameter 191 --picker learned --model my_project
  cryoppp-annotator pick movies -o picks --diameter 191 --picker template --templates averages.mrcs
  cryoppp-annotator pick movies -o picks --diameter 191 --picker topaz --set model=resnet8_u32"""


def pick(
    micrographs: MicrographsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for <stem>.star.")],
    diameter: Annotated[
        str | None,
        typer.Option(
            "--diameter",
            metavar="A",
            help="Of the particle: in angstrom, or 108px. With --model: the model's, where nothing is said here.",
        ),
    ] = None,
    picker: Annotated[str, typer.Option("--picker", metavar="NAME", help="What picks.")] = "log",
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="Written beside the STARs. " + FORMATS_HELP)
    ] = "relion",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="T",
            help="Smallest score written (log: standard deviations, often 2.5 to 4); all that is proposed by default.",
        ),
    ] = None,
    bright: Annotated[
        bool, typer.Option("--bright", help="Particles are brighter than their surroundings (log picker).")
    ] = False,
    pixel_size: PixelSizeOption = None,
    box_size: Annotated[
        float | None, typer.Option("--box-size", metavar="PX", help="For formats that write a box.")
    ] = None,
    whole_boxes: Annotated[
        bool, typer.Option("--whole-boxes", help="Only picks whose box (--box-size) lies whole in the micrograph.")
    ] = False,
    keep_dirt: Annotated[
        bool, typer.Option("--keep-dirt", help="Also what lies on carbon, ice or the padding border.")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FILE|PROJECT",
            help="For --picker learned: a model file, or a project to learn from (its accepted and rejected picks).",
        ),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option("--templates", metavar="FILE", help="For --picker template: .mrcs of averages, or a map."),
    ] = None,
    template_pixel: Annotated[
        float | None,
        typer.Option("--template-pixel", metavar="A", help="Pixel size of the templates, where the file is wrong."),
    ] = None,
    chosen: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the picker (see docs); may be repeated."),
    ] = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose particles on micrographs.

    Writes DIR/<stem>.star with rlnAutopickFigureOfMerit for each micrograph. What fails is reported and the others
    finish (exit code 1); a second start continues where the first stopped, and picks again what has changed.
    """
    from ..batch.pick import PickOptions, pick_all
    from ..extensions import needs_of
    from ..model.parameter import Need
    from ..picking.leaving_out import describe_left_out
    from ..picking.model_file import load_model
    from .progress import run_job, tell_failed

    diameter_A, diameter_px = parse_diameter(diameter)
    source = "--diameter"
    parameters: dict[str, Any] = {"polarity": "bright"} if bright and Need.POLARITY in needs_of(picker) else {}
    if model is not None:
        learned = _model_of(model, bright, diameter_A, diameter_px)
        parameters["model"] = str(learned)
        if diameter is None:
            diameter_A, source = load_model(learned).diameter_A, "the model"
    if diameter_A is None and diameter_px is None:
        raise typer.BadParameter("say the particle's diameter: 191 (angstrom) or 108px", param_hint="--diameter")
    if templates is not None:
        parameters["templates"] = str(templates.expanduser().absolute())
    if template_pixel is not None:
        parameters["template_pixel_A"] = template_pixel
    parameters |= _chosen(chosen or ())
    options = PickOptions(
        diameter_A=diameter_A,
        diameter_px=diameter_px,
        picker=picker,
        threshold=threshold,
        to=to,
        parameters=parameters,
        pixel_size_A=pixel_size,
        box_size_px=box_size,
        avoid=not keep_dirt,
        whole_boxes=whole_boxes,
    )
    report = run_job(
        lambda context: pick_all(micrographs, out, options, scheduler=scheduler, context=context), title="Picking"
    )
    tell_failed(report.failed)
    answer = {
        "picker": picker,
        "diameter_A": diameter_A,
        "diameter_px": _in_px(diameter_A, diameter_px, report.pixel_sizes_A),
        "diameter_from": source,
        "picks": report.n_picks,
        "micrographs": report.n_picked + report.n_kept,
        "picked_now": report.n_picked,
        "kept": report.n_kept,
        "failed": [{"micrograph": path, "reason": reason} for path, reason in report.failed.items()],
        "files": [str(file) for file in report.files],
        "left_out": {reason.label: n for reason, n in report.left_out.items()},
        "seconds": round(report.seconds, 3),
    }
    kept = f" ({report.n_kept:,} were done before)" if report.n_kept else ""
    message = f"{report.n_picks:,} candidates on {report.n_picked + report.n_kept:,} micrographs{kept} in {out}"
    if left := describe_left_out(report.left_out):
        message += f" ({left})" if whole_boxes else f" ({left}; --keep-dirt keeps them)"
    message += f"; {_size_text(diameter_A, diameter_px, report.pixel_sizes_A)} ({source})"
    typer.echo(json.dumps(answer, indent=2) if as_json else message)
    if report.failed:
        raise typer.Exit(1)


def _in_px(
    diameter_A: float | None, diameter_px: float | None, pixel_sizes_A: tuple[float, float] | None
) -> list[float] | None:
    """Smallest and largest diameter in px; None where no micrograph could be looked at."""
    if diameter_px is not None:
        return [diameter_px, diameter_px]
    if diameter_A is None or pixel_sizes_A is None:
        return None
    return [round(diameter_A / size, 2) for size in reversed(pixel_sizes_A)]


def _size_text(diameter_A: float | None, diameter_px: float | None, pixel_sizes_A: tuple[float, float] | None) -> str:
    """``diameter 191 A = 108 px at 1.77 A/px``."""
    px = _in_px(diameter_A, diameter_px, pixel_sizes_A)
    if px is None or pixel_sizes_A is None:
        return f"diameter {diameter_A:g} Å" if diameter_A is not None else f"diameter {diameter_px:g} px"
    first = f"{diameter_A:g} Å = " if diameter_A is not None else ""
    return f"diameter {first}{_span(px, '.0f')} px at {_span(pixel_sizes_A, '.4g')} Å/px"


def _span(values: Sequence[float], form: str) -> str:
    low, high = (format(value, form) for value in values)
    return low if low == high else f"{low} to {high}"


def _chosen(texts: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE``; what reads as a number is one, a file that is there an absolute path."""
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
        try:
            parameters[name.strip()] = float(value)
        except ValueError:
            path = Path(value).expanduser()
            parameters[name.strip()] = str(path.absolute()) if path.is_file() else value
    return parameters


def _model_of(given: Path, bright: bool, diameter_A: float | None, diameter_px: float | None) -> Path:
    """The model file, made from the project's decisions where a project was given.

    The diameter is the project's; where it has none, what was said, else that of its accepted picks.
    """
    given = given.expanduser().absolute()
    if not given.is_dir():
        return given
    from ..session.core.opening import open_project
    from ..session.picks.learning import learn, why_not
    from .options import find_project
    from .progress import run_job

    session = open_project(find_project(given))
    try:
        size_A = None if session.settings.diameter_is_set else _said_or_picked(session, diameter_A, diameter_px)
        if why := why_not(session, size_A):
            raise Refused(f"{given}: nothing can be learned: the picker {why}")
        polarity = "bright" if bright else "dark"
        learned = run_job(
            lambda context: learn(session, polarity=polarity, diameter_A=size_A, context=context), title="Learning"
        )
        names = ", ".join(kind.name for kind in session.species.values())
    finally:
        session.close()
    print(learned.summary, file=sys.stderr)
    if names:
        print(f"note: it has learned from the picks of all species ({names}) together", file=sys.stderr)
    return learned.path


def _said_or_picked(session: Session, diameter_A: float | None, diameter_px: float | None) -> float:
    """The particle's diameter, angstrom, where the project says none."""
    from ..session.picks.learning import diameter_of_picks_A

    if diameter_px is not None:
        shown = [m for m in session.micrographs if not m.problem]
        diameter_A = diameter_px * session.pixel_size_A(shown[0]) if shown else None
    diameter_A = diameter_A or diameter_of_picks_A(session)
    if diameter_A is None:
        why = f"the project {session.store.folder} does not say the particle's diameter: 191 (angstrom) or 108px"
        raise typer.BadParameter(why, param_hint="--diameter")
    return diameter_A
