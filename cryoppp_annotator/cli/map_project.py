"""``verdict`` and ``volume`` of a project's picks: what both ask for, run and say alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import find_project, parse_diameter

if TYPE_CHECKING:
    from ..batch.volume_project import ProjectProof
    from ..model.context import JobContext


class ProjectPicks(StrEnum):
    """Which picks of a project; the words of ``session.files.exporting.DECISIONS``."""

    ACCEPTED = "accepted"
    UNDECIDED = "undecided"
    ACCEPTED_UNDECIDED = "accepted+undecided"
    ALL = "all"


OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; it is made. A project needs none."),
]
DecisionOption = Annotated[
    ProjectPicks | None, typer.Option("--decision", help="Of a project: which picks; accepted+undecided by default.")
]
ProjectWhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help='Of a project: only these micrographs: "name ~ 14_33".'),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What both commands take of a project."""

    sources: list[Path]
    out: Path | None
    symmetry: str
    diameter: str | None
    box_px: int | None
    white: bool
    ctf: bool
    decision: ProjectPicks | None
    where: str | None
    curator: str | None
    seed: int

    def project(self, micrographs: str | None, **known: object) -> Path | None:
        """The project that the one source is; None where it is something else.

        Parameters
        ----------
        micrographs : str or None
            As given: with micrographs the sources are picks.
        **known
            What was given that a project knows itself, by the option's name.
        """
        from ..errors import ProjectError

        project = None
        if micrographs is None and len(self.sources) == 1:
            try:
                project = find_project(self.sources[0])
            except ProjectError:
                project = None
        if project is None:
            if self.out is None:
                raise typer.BadParameter("say where to write the result", param_hint="--out")
            if self.decision is not None or self.where is not None:
                raise typer.BadParameter("only of a project", param_hint="--where" if self.where else "--decision")
        elif wrong := [name for name, value in known.items() if value]:
            raise typer.BadParameter("a project knows this itself", param_hint=f"--{wrong[0].replace('_', '-')}")
        return project

    def run(
        self,
        project: Path,
        title: str,
        *,
        map_path: Path | None,
        map_pixel_A: float | None,
        lowpass_A: float = 40.0,
        halves: bool,
        threshold: float = 0.0,
        scheduler: str | None = None,
    ) -> ProjectProof:
        """Lay the project's picks on the map, or make one of them; notes go to stderr."""
        from dataclasses import replace

        from ..batch.volume_project import only_micrographs, prove_project
        from ..session.core.opening import open_project
        from ..session.files.exporting import DECISIONS
        from ..session.volume.map_run import MapRunOptions
        from .progress import run_job
        from .select import chosen

        diameter_A, diameter_px = parse_diameter(self.diameter)
        if diameter_px is not None:
            raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
        session = open_project(project, curator=self.curator)
        options = MapRunOptions(
            "" if map_path is None else str(map_path.absolute()),
            map_pixel_A,
            self.symmetry,
            lowpass_A,
            halves,
            decisions=tuple(sorted(DECISIONS[(self.decision or ProjectPicks.ACCEPTED_UNDECIDED).value])),
            invert=not self.white,
            use_ctf=self.ctf,
            box_px=self.box_px,
        )

        def work(context: JobContext) -> ProjectProof:
            passed, on_these = chosen(session, self.where, context), options
            if passed is not None:
                on_these = only_micrographs(options, tuple(m.id for m in passed.micrographs))
            return prove_project(
                session,
                on_these,
                out=self.out,
                everything=not halves,
                threshold=threshold,
                diameter_A=diameter_A,
                scheduler=scheduler,
                context=replace(context, seed=self.seed),
            )

        try:
            return run_job(work, title=title)
        finally:
            session.close()


def where_kept(proof: ProjectProof, project: Path) -> dict[str, Any]:
    """What ``--json`` says of where a run is."""
    return {"run": proof.result.run.number, "project": str(project), "files": [str(file) for file in proof.files]}
