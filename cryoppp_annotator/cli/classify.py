"""``classify``: 2D class averages of a stack, of picks, or of a project's picks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    CuratorOption,
    Frame,
    JsonOption,
    PixelSizeOption,
    SchedulerOption,
    find_project,
    parse_diameter,
)

if TYPE_CHECKING:
    from ..batch.classify import ClassificationReport
    from ..batch.extract import ExtractOptions
    from ..model.context import JobContext
    from ..session.classes.decide import RunResult
    from ..session.core.session import Session

EXAMPLE = """  cryoppp-annotator classify particles.star -o classes -k 16 --json
  cryoppp-annotator classify picks/ --micrographs data/micrographs -o classes -k 16 --diameter 191
  cryoppp-annotator classify my-project -k 50"""


def classify(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICKS|STACK|PROJECT...", help="A .mrcs, a STAR with images, coordinate files, or a project."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; it is made. A project needs none."),
    ] = None,
    n_classes: Annotated[
        int, typer.Option("-k", "--classes", metavar="N", min=1, max=500, help="Classes; from six on, two model junk.")
    ] = 16,
    micrographs: Annotated[
        str | None, typer.Option("--micrographs", metavar="DIR|GLOB", help="Extract the picks from these first.")
    ] = None,
    diameter: Annotated[
        str | None, typer.Option("--diameter", metavar="A", help="For picks without one: 191 (angstrom).")
    ] = None,
    box_size: Annotated[
        int | None, typer.Option("--box-size", metavar="PX", min=16, help="Micrograph px; 1.5 diameters by default.")
    ] = None,
    white: Annotated[bool, typer.Option("--white", help="Particles are already white in the micrographs.")] = False,
    ctf: Annotated[bool, typer.Option("--ctf/--no-ctf", help="Use the defocus where it is known.")] = True,
    frame: Annotated[Frame, typer.Option("--frame", help="How the axes of the picks lie.")] = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    start_from: Annotated[
        int | None, typer.Option("--start-from", metavar="RUN", help="Of a project: begin with this run's averages.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Of a project: what the run is called.")] = "",
    curator: CuratorOption = None,
    scheduler: SchedulerOption = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same classes.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Sort particles into class averages, and say which look like particles.

    Writes classes.mrcs, particles.star (with rlnClassNumber), summary.csv and gallery.png. Particles of a stack must
    be white, as RELION's are. Of a project the undecided and accepted picks are classified, and the classes are kept
    in it; with -o they are written as files too.
    """
    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    if micrographs is None and (project := _project(sources)) is not None:
        given = {"--diameter": diameter, "--pixel-size": pixel_size}
        if wrong := [option for option, value in given.items() if value is not None]:
            raise typer.BadParameter("a project knows this itself", param_hint=wrong[0])
        _classify_project(
            project, out, n_classes, box_size, white, ctf, start_from, name, curator, scheduler, seed, as_json
        )
        return
    if out is None:
        raise typer.BadParameter("say where to write the classes", param_hint="--out")
    if start_from is not None or name:
        raise typer.BadParameter("only of a project", param_hint="--name" if name else "--start-from")
    extract_options = None
    if micrographs is not None:
        from ..batch.extract import ExtractOptions

        extract_options = ExtractOptions(
            micrographs,
            box_size,
            invert=not white,
            orientation=frame.orientation,
            pixel_size_A=pixel_size,
            diameter_A=diameter_A,
        )
    _classify_files(sources, out, n_classes, extract_options, ctf, scheduler, seed, as_json)


def _project(sources: list[Path]) -> Path | None:
    """The project that the one source is; None where it is something else."""
    from ..errors import ProjectError

    if len(sources) != 1:
        return None
    try:
        return find_project(sources[0])
    except ProjectError:
        return None


def _classify_files(
    sources: list[Path],
    out: Path,
    n_classes: int,
    extract_options: ExtractOptions | None,
    ctf: bool,
    scheduler: str | None,
    seed: int,
    as_json: bool,
) -> None:
    from dataclasses import replace

    from ..batch import classify as batch_classify
    from ..classify.engine import ClassifyOptions
    from ..session.classes.summary_files import as_summary
    from .progress import run_job

    def work(context: JobContext) -> ClassificationReport:
        options, seeded = ClassifyOptions(n_classes), replace(context, seed=seed)
        return batch_classify.classify_files(
            sources, out, options, extract_options=extract_options, use_ctf=ctf, scheduler=scheduler, context=seeded
        )

    report = run_job(work, title="Classifying")
    answer = {"files": [str(file) for file in report.files]}
    classes = [as_summary(item) for item in report.classes]
    _say(classes, report.seconds, report.verdict, report.notes, answer, str(out), as_json)


def _classify_project(
    path: Path,
    out: Path | None,
    n_classes: int,
    box_px: int | None,
    white: bool,
    ctf: bool,
    start_from: int | None,
    name: str,
    curator: str | None,
    scheduler: str | None,
    seed: int,
    as_json: bool,
) -> None:
    from dataclasses import replace

    from ..errors import ProjectError
    from ..session.classes import decide
    from ..session.classes.export_classes import export_run
    from ..session.classes.rescue import keep_elsewhere
    from ..session.core.opening import open_project
    from .progress import run_job

    session: Session = open_project(path, curator=curator)
    try:
        options = decide.RunOptions(
            n_classes, use_ctf=ctf, invert=not white, start_from=start_from, name=name, box_px=box_px
        )

        def work(context: JobContext) -> RunResult:
            return decide.classify_project(session, options, context=replace(context, seed=seed), scheduler=scheduler)

        result = run_job(work, title="Classifying")
        try:
            run = decide.enter_run(session, result)
        except ProjectError as error:
            raise keep_elsewhere(session, result, error, out) from error
        answer: dict[str, Any] = {"run": run.id}
        if out is not None:
            answer["files"] = [str(file) for file in export_run(session, run, out)]
        seconds = float(run.record["seconds"])
        _say(run.summaries, seconds, run.verdict, result.notes, answer, f"run {run.id} of {path}", as_json)
    finally:
        session.close()


def _say(
    classes: Any, seconds: float, verdict: str, notes: Any, more: dict[str, Any], where: str, as_json: bool
) -> None:
    from ..session.classes.summary_files import as_dict, as_line

    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        answer = {
            "classes": [as_dict(item) for item in classes],
            "seconds": round(seconds, 2),
            "verdict": verdict,
            "notes": list(notes),
            **more,
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    for item in classes:
        typer.echo(as_line(item))
    typer.echo(f"{verdict} ({seconds:.1f} s, {where})")
