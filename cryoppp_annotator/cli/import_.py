"""``import``: micrographs and coordinate files into a project."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    CuratorOption,
    FilesOption,
    ImportFrame,
    JsonOption,
    PixelSizeOption,
    ScaleOption,
    SuffixOption,
    refuse_files_alone,
)

if TYPE_CHECKING:
    from ..formats.relion_project import Chosen
    from ..model.context import JobContext
    from ..session.core.session import Session
    from ..session.files.importing import ImportPlan

EXAMPLE = """  cryoppp-annotator import my-project --relion ~/relion/apoferritin
  cryoppp-annotator import my-project --micrographs data/10017 --coords data/10017
  cryoppp-annotator import my-project --micrographs 'movies/*.mrc' --coords picks/*_autopick.star
  cryoppp-annotator import my-project --ctf CtfFind/job003/micrographs_ctf.star --pictures denoised"""


class Implied(StrEnum):
    """What is decided of picks about which the file says nothing."""

    UNDECIDED = "undecided"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


def import_(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT", help="The project's folder; it is made where there is none.")
    ],
    micrographs: Annotated[
        list[str] | None,
        typer.Option("--micrographs", metavar="DIR|GLOB...", help="Micrographs to add: a folder, pattern or files."),
    ] = None,
    coords: Annotated[
        list[Path] | None,
        typer.Option(
            "--coords", metavar="FILE...", help="Coordinate files or CryoPPP folders, several after one another."
        ),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Format of the files; recognised by default.")
    ] = None,
    frame: Annotated[
        ImportFrame,
        typer.Option(
            "--frame", help="How the axes lie; auto = as the format declares, tested on the image; image = as it says."
        ),
    ] = ImportFrame.AUTO,
    scale: ScaleOption = None,
    suffix: SuffixOption = "",
    pixel_size: PixelSizeOption = None,
    decision: Annotated[
        Implied, typer.Option("--decision", help="Given to picks about which the file says nothing.")
    ] = Implied.UNDECIDED,
    ctf: Annotated[
        Path | None,
        typer.Option("--ctf", metavar="STAR", help="Defocus of each micrograph: micrographs_ctf.star of RELION."),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures", metavar="DIR|GLOB", help="Show these instead of ours: Topaz, Warp, *_denoised.mrc, binned."
        ),
    ] = None,
    relion: Annotated[
        Path | None,
        typer.Option(
            "--relion",
            metavar="DIR",
            help="RELION's project folder: its micrographs, and the latest CTF values, picks and 2D classes together.",
        ),
    ] = None,
    job: Annotated[
        list[str] | None,
        typer.Option("--job", metavar="NAME", help="With --relion: take these jobs instead (AutoPick/job006)."),
    ] = None,
    permissive: Annotated[
        bool, typer.Option("--permissive", help="Leave bad rows and files out, and list them.")
    ] = False,
    species: Annotated[
        str, typer.Option("--species", metavar="NAME", help="Of which kind the picks are; it is made if new.")
    ] = "",
    files: FilesOption = None,
    curator: CuratorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add micrographs, picks, defocus and pictures of other programs to a project.

    Files that belong together are one step to undo. Where the images contradict the frame a file declares, nothing
    is imported: say the right one with --frame.
    """
    from functools import partial

    from ..errors import Refused
    from ..model.curation import Decision
    from ..session.files import importing
    from ..session.pictures import foreign_pictures, optics
    from .progress import run_job

    refuse_files_alone(files)
    offered: dict[str, Any] = {}
    class_file: Path | None = None
    if relion is not None:
        offered, taken = _of_relion(relion.expanduser().absolute(), job or [])
        micrographs = micrographs or [str(relion)]
        coords = coords or [job.file for job in taken.picks]
        ctf = ctf or (None if taken.ctf is None else taken.ctf.file)
        class_file = None if taken.classes is None else taken.classes.file
    session = run_job(lambda context: _open(project, micrographs or [], curator, context), title="Reading headers")
    try:
        if pixel_size is not None and session.settings.pixel_size_A != pixel_size:
            session.set_pixel_size(pixel_size)
        plans: list[ImportPlan] = []
        if coords:
            plans = run_job(
                lambda context: importing.read_many(
                    session,
                    [path.expanduser() for path in coords],
                    format=format_name,
                    orientation=frame.orientation,
                    scale=scale,
                    suffix=suffix,
                    permissive=permissive,
                    context=context,
                ),
                title="Reading coordinates",
            )
        if frame is ImportFrame.IMAGE:
            plans = [_as_the_image_says(plan) for plan in plans]
        if contradiction := next((plan.contradiction for plan in plans if plan.contradiction), ""):
            raise Refused(contradiction)
        # both are read before anything is written, so that a mistake changes nothing
        known = None if ctf is None else optics.read_optics(session, ctf.expanduser())
        shown = None
        if pictures is not None:
            shown = run_job(
                lambda context: foreign_pictures.find(session, pictures, context=context), title="Finding pictures"
            )
        imports = [_of_import(session, plan) for plan in plans]
        messages: list[str] = []
        for number in range(len(plans)):
            enter = partial(importing.enter_and_let_go, session, plans, number)
            enter = partial(enter, decision=Decision[decision.name], species=species)
            messages.append(run_job(lambda context, enter=enter: enter(context=context), title="Writing picks"))
        if known is not None:
            messages.append(optics.enter(session, known))
        if shown is not None:
            messages.append(foreign_pictures.enter(session, shown))
            for path, why in shown.refused.items():
                print(f"left out: {path}: {why}", file=sys.stderr)
        _warn(plans)
        if class_file is not None:
            messages += _classes_of_relion(session, class_file)
        if known is not None:
            for issue in known.issues:
                print(f"left out: {issue.message}", file=sys.stderr)
        summary = _summary(session, imports)
        if known is not None:
            summary["ctf"] = {
                "source": str(known.path),
                "micrographs": len(known.ctfs),
                "unmatched": list(known.unmatched),
                "left_out": [issue.message for issue in known.issues],
                "assumed": known.assumed,
            }
        if offered:
            summary["relion"] = offered
            messages.insert(0, f"RELION project: {_offer_text(offered)}")
    finally:
        session.close()
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    typer.echo("\n".join([*messages, _as_text(summary)]))


def _of_relion(root: Path, names: list[str]) -> tuple[dict[str, Any], Chosen]:
    """Jobs that a RELION project offers, and which of them are taken: those named, else the latest of each kind."""
    from ..errors import ProjectError
    from ..formats import relion_project

    known = relion_project.jobs(root) if root.is_dir() else []
    if not known:
        raise ProjectError(f"{root} is no RELION project: it has no job folders (MotionCorr/job002 ...)")
    try:
        chosen = relion_project.named(known, names) if names else relion_project.latest(known)
    except KeyError as error:
        have = ", ".join(job.name for job in known)
        raise ProjectError(f"{root} has no job {error.args[0]} that can be taken (it has {have})") from None
    return {"root": str(root), "jobs": [job.name for job in known], "taken": chosen.names}, chosen


def _offer_text(offered: dict[str, Any]) -> str:
    rest = [name for name in offered["jobs"] if name not in offered["taken"]]
    more = f"; also there: {', '.join(rest)} (--job NAME takes others)" if rest else ""
    return f"took {', '.join(offered['taken']) or 'the micrographs'}{more}"


def _classes_of_relion(session: Session, file: Path) -> list[str]:
    """Import the classes of a Class2D job; where that fails the picks are entered nevertheless."""
    from ..errors import AnnotatorError
    from ..session.classes.decide import enter_run
    from ..session.classes.other_programs import import_run
    from .progress import run_job

    try:
        result = run_job(lambda context: import_run(session, [file], context=context), title="Reading classes")
        run = enter_run(session, result)
    except AnnotatorError as error:
        print(f"left out: the classes of {file.parent.name}: {error}", file=sys.stderr)
        return []
    return [f"{run.name}: {run.verdict} (run {run.id})"]


def _as_the_image_says(plan: ImportPlan) -> ImportPlan:
    from ..errors import Refused

    if plan.verdict.frame is None:
        raise Refused(
            f"{plan.file.path.name}: the images cannot tell its frame ({plan.verdict.reason}); say it with --frame"
        )
    return plan.as_imaged()


def _open(project: Path, patterns: list[str], curator: str | None, context: JobContext) -> Session:
    """The project, made where it is new, with the micrographs that were named."""
    from ..errors import ProjectError
    from ..session.core import watch
    from ..session.core.opening import Plan, find_project, open_plan, open_project
    from ..store.connecting import DATABASE_NAME
    from ..store.connecting import exists as is_there

    project = project.expanduser().absolute()
    if project.name == DATABASE_NAME:
        project = project.parent
    exists = is_there(project)
    if not patterns:
        try:
            session = open_project(find_project(project), curator=curator)
        except ProjectError:
            if exists:
                raise
            raise ProjectError(
                f"there is no project in {project}; say what to make one of with --micrographs"
            ) from None
        watch.check(session, context=context)
        return session
    micrographs, root = _find(patterns)
    sources = tuple(str(Path(pattern).expanduser().absolute()) for pattern in patterns)
    plan = Plan(project, root, tuple(micrographs), exists, sources=sources)
    return open_plan(plan, curator=curator, context=context)


def _find(patterns: list[str]) -> tuple[list[Path], Path]:
    """Images, and the folder their paths are kept relative to."""
    import os

    from ..errors import ProjectError
    from ..formats.image.images import find_micrographs

    files: list[Path] = []
    for source in patterns:
        here = [path.absolute() for path in find_micrographs(source)]
        if not here:
            raise ProjectError(
                f"{source} holds no micrographs (looked for .mrc, .mrcs, .tif, .png, .jpg, also compressed)"
            )
        files += here
    files = list(dict.fromkeys(files))
    folders = [Path(source).expanduser().absolute() for source in patterns]
    if len(folders) == 1 and folders[0].is_dir():
        return files, folders[0]
    return files, Path(os.path.commonpath([path.parent for path in files]))


def _warn(plans: list[ImportPlan]) -> None:
    for plan in plans:
        for name in plan.unmatched:
            print(f"unmatched: {name} is no micrograph of the project", file=sys.stderr)
        for name, candidates in plan.ambiguous.items():
            print(f"ambiguous: {name} could be {' or '.join(candidates)}", file=sys.stderr)
        for issue in plan.file.issues:
            where = (
                "" if issue.path is None else f"{issue.path}{'' if issue.line is None else f', line {issue.line}'}: "
            )
            print(f"left out: {where}{issue.message}", file=sys.stderr)


def _summary(session: Session, imports: list[dict[str, Any]]) -> dict[str, Any]:
    from ..session.core.opening import averaged_note

    return {
        "averaged": averaged_note(session),
        "project": str(session.store.folder),
        "micrographs": len(session.micrographs),
        "unreadable": [m.name for m in session.micrographs if m.problem],
        "particles": session.counts(),
        "with_defocus": sum(bool(m.optics) for m in session.micrographs),
        "with_picture": sum(bool(m.picture) for m in session.micrographs),
        "imports": imports,
    }


def _of_import(session: Session, plan: ImportPlan) -> dict[str, Any]:
    """What is said of one import; to be asked before its picks are let go."""
    from ..session.files.entering import pixel_size_notes

    return {
        "source": str(plan.file.path),
        "format": plan.file.format,
        "picks": plan.n_picks,
        "micrographs": len({m.id for m, _ in plan.placeable}),
        "frame": plan.frame.orientation.value,
        "anchor": plan.frame.anchor.value,
        "scale": plan.frame.scale,
        "verdict": "undecided" if plan.verdict.orientation is None else plan.verdict.orientation.value,
        "margin_se": round(plan.verdict.margin_se, 2),
        "pixel_size_A": plan.file.pixel_size_A,
        "pixel_size_doubt": plan.file.pixel_size_doubt,
        "notes": [*plan.assumptions, *pixel_size_notes(session, plan)],
        "unmatched": list(plan.unmatched),
        "ambiguous": {name: list(paths) for name, paths in plan.ambiguous.items()},
        "left_out": [
            {"file": None if i.path is None else str(i.path), "line": i.line, "message": i.message}
            for i in plan.file.issues
        ],
    }


def _as_text(summary: dict[str, Any]) -> str:
    particles = ", ".join(f"{n:,} {decision}" for decision, n in summary["particles"].items())
    unreadable = summary["unreadable"]
    bad = f" ({len(unreadable):,} of them cannot be read: {', '.join(unreadable[:3])} ...)" if unreadable else ""
    averaged = f"; {summary['averaged']}" if summary["averaged"] else ""
    return f"{summary['project']}: {summary['micrographs']:,} micrographs{bad}, particles: {particles}{averaged}"
