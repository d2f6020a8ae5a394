"""``lint``: what is suspicious about a project or a coordinate file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Frame, JsonOption, PixelSizeOption

if TYPE_CHECKING:
    from ..model.context import JobContext
    from ..session.core.session import Session
    from ..session.files.linting import ProjectFinding

EXAMPLE = """  cryoppp-annotator lint my-project
  cryoppp-annotator lint data/10017 --micrographs data/10017 --json"""


def lint(
    source: Annotated[
        Path, typer.Argument(metavar="COORDS|PROJECT", help="A coordinate file or folder, or a project.")
    ],
    micrographs: Annotated[
        str | None, typer.Option("--micrographs", metavar="DIR|GLOB", help="The images a coordinate file is about.")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Format of the file; recognised by default.")
    ] = None,
    frame: Annotated[Frame, typer.Option("--frame", help="How the axes lie, as for import.")] = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    box_size: Annotated[
        float | None, typer.Option("--box-size", metavar="PX", help="Box of the later extraction, px.")
    ] = None,
    with_images: Annotated[bool, typer.Option("--look/--no-look", help="Also read the images.")] = True,
    as_json: JsonOption = False,
) -> None:
    """List duplicates, picks beside their particle, off the edge or in regions, doubtful sizes, and unusual counts.

    Nothing is changed. The exit code is 1 where an error or a warning was found.
    """
    from ..session.files import linting
    from .options import find_project
    from .progress import in_one_line, run_job

    def work(context: JobContext) -> list[ProjectFinding]:
        if micrographs is None:
            from ..session.core.opening import open_project

            session = open_project(find_project(source), read_only=True)
            try:
                return linting.lint(session, read_images=with_images, box_size_px=box_size, context=context)
            finally:
                session.close()
        return _of_file(
            lambda session: linting.lint(session, read_images=with_images, box_size_px=box_size, context=context),
            source,
            micrographs,
            format_name,
            frame,
            pixel_size,
            context,
        )

    from ..formats.check.lint import Severity, as_dict

    findings = run_job(work, title="Looking")
    if as_json:
        entries = [{**as_dict(item.finding), "particles": list(item.ids)} for item in findings]
        typer.echo(json.dumps({"findings": entries}, indent=2))
    else:
        for item in findings:
            where = f"{item.finding.micrograph}: " if item.finding.micrograph else ""
            words = in_one_line(f"{where}{item.finding.message} [{item.finding.rule}]")
            typer.echo(f"{item.finding.severity.value:8}{words}")
        typer.echo(f"{len(findings)} findings" if findings else "nothing suspicious")
    if any(item.finding.severity is not Severity.NOTE for item in findings):
        raise typer.Exit(1)


def _of_file(
    check: Callable[[Session], list[ProjectFinding]],
    source: Path,
    micrographs: str,
    format_name: str | None,
    frame: Frame,
    pixel_size: float | None,
    context: JobContext,
) -> list[ProjectFinding]:
    """Lint of a loose file: through a project that is thrown away, so that it is judged as a project would be."""
    import tempfile

    from ..formats.check.lint import Finding, Severity
    from ..formats.image.images import find_micrographs
    from ..model.file_note import NoteKind, without
    from ..session.core.opening import Plan, open_plan
    from ..session.files import importing
    from ..session.files.entering import pixel_size_notes
    from ..session.files.linting import ProjectFinding

    images = [path.absolute() for path in find_micrographs(micrographs)]
    root = Path(micrographs).expanduser().absolute()
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder) / "project", root if root.is_dir() else root.parent, tuple(images), False)
        session = open_plan(plan, curator="lint", context=context)
        try:
            if pixel_size is not None:
                session.set_pixel_size(pixel_size)
            read = importing.read(
                session, source.expanduser(), format=format_name, orientation=frame.orientation, context=context
            )
            findings: list[ProjectFinding] = []
            if read.contradiction and read.verdict.orientation is not None:
                findings.append(ProjectFinding(Finding("frame", Severity.ERROR, "", (), read.contradiction), None, ()))
                read = read.as_imaged()
            for name in (*read.unmatched, *read.ambiguous):
                text = f"{name} matches no micrograph for certain"
                findings.append(ProjectFinding(Finding("name-mismatch", Severity.WARNING, "", (), text), None, ()))
            # a doubt about the file's own pixel size is said by the first, where it matters
            for note in (*pixel_size_notes(session, read), *without(read.assumptions, NoteKind.PIXEL_SIZE)):
                findings.append(ProjectFinding(Finding("assumed", Severity.NOTE, "", (), note), None, ()))
            importing.enter(session, read)
            return [*findings, *check(session)]
        finally:
            session.close()
