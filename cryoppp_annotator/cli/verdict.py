"""``verdict``: each pick against a known map."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .map_project import Asked, DecisionOption, OutOption, ProjectWhereOption, where_kept
from .options import CuratorOption, Frame, JsonOption, PixelSizeOption, SchedulerOption, parse_diameter

if TYPE_CHECKING:
    from ..batch.extract import ExtractOptions
    from ..batch.verdict import VerdictReport
    from ..batch.volume_project import ProjectProof
    from ..model.context import JobContext
    from ..reconstruct.view_coverage import LostView, ViewSpread

EXAMPLE = """  cryoppp-annotator verdict particles.star --map emd_1234.mrc -o verdict --json
  cryoppp-annotator verdict picks/*.star --micrographs data/micrographs --map map.mrc -o verdict --symmetry D2
  cryoppp-annotator verdict my-project --map map.mrc --symmetry D2"""

SourcesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="STACK|PICKS|PROJECT...", help="A .mrcs, a STAR with images, coordinate files, or a project."
    ),
]
SymmetryOption = Annotated[
    str, typer.Option("--symmetry", metavar="NAME", help="C1, Cn, Dn, T, O or I, in RELION's orientation.")
]
MapPixelOption = Annotated[
    float | None,
    typer.Option("--map-pixel-size", metavar="A", min=0.01, help="Of the map, instead of what its header says."),
]
MicrographsOption = Annotated[
    str | None, typer.Option("--micrographs", metavar="DIR|GLOB", help="Cut the picks from these first.")
]
DiameterOption = Annotated[
    str | None, typer.Option("--diameter", metavar="A", help="For picks without one: 191 (angstrom).")
]
BoxOption = Annotated[
    int | None, typer.Option("--box-size", metavar="PX", min=16, help="Micrograph px; 1.5 diameters by default.")
]
WhiteOption = Annotated[bool, typer.Option("--white", help="Particles are already white in the micrographs.")]
CtfOption = Annotated[bool, typer.Option("--ctf/--no-ctf", help="Use the defocus where it is known.")]
FrameOption = Annotated[Frame, typer.Option("--frame", help="How the axes of the picks lie.")]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]


def verdict(
    sources: SourcesArgument,
    map_: Annotated[Path, typer.Option("--map", metavar="MRC", help="The known map, any box and pixel size.")],
    out: OutOption = None,
    symmetry: SymmetryOption = "C1",
    micrographs: MicrographsOption = None,
    map_pixel_size: MapPixelOption = None,
    diameter: DiameterOption = None,
    box_size: BoxOption = None,
    white: WhiteOption = False,
    ctf: CtfOption = True,
    frame: FrameOption = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="T", help="Name views that rejecting below these log odds loses.")
    ] = 0.0,
    decision: DecisionOption = None,
    where: ProjectWhereOption = None,
    curator: CuratorOption = None,
    scheduler: SchedulerOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Match each pick with a map: is it the particle, in which pose, and how sure is that?

    Writes particles.star with rlnAngleRot/Tilt/Psi, rlnOriginXAngst/YAngst and cryopppVerdict (log odds that it is the
    particle). Particles of a stack must be white, as RELION's are. A map with another pixel size than its header says,
    or of the opposite contrast, is noticed and said; its hand cannot be determined from an untilted specimen.
    The verdicts of a project are kept in it (tab 3D), and with -o also written as files.
    """
    asked = Asked(sources, out, symmetry, diameter, box_size, white, ctf, decision, where, curator, seed)
    if (project := asked.project(micrographs, pixel_size=pixel_size)) is not None:
        proof = asked.run(
            project,
            "Matching with the map",
            map_path=map_,
            map_pixel_A=map_pixel_size,
            halves=False,
            threshold=threshold,
            scheduler=scheduler,
        )
        _say_of_project(proof, project, threshold, as_json)
        return
    assert out is not None
    report = _of_files(
        sources,
        map_,
        out,
        symmetry,
        map_pixel_size,
        extract_options_of(micrographs, box_size, white, frame, pixel_size, diameter),
        pixel_size,
        ctf,
        threshold,
        scheduler,
        seed,
    )
    _tell(report.notes, report.lost, threshold)
    if as_json:
        typer.echo(json.dumps(as_dict(report), indent=2))
        return
    typer.echo(
        f"{_in_words(report.particles, report.picks, report.confident, report.spread)} "
        f"({report.seconds:.1f} s, {report.star})"
    )


def _of_files(
    sources: list[Path],
    map_: Path,
    out: Path,
    symmetry: str,
    map_pixel_size: float | None,
    extract: ExtractOptions | None,
    pixel_size: float | None,
    ctf: bool,
    threshold: float,
    scheduler: str | None,
    seed: int,
) -> VerdictReport:
    from dataclasses import replace

    from ..batch.box_files import BoxOptions
    from ..batch.verdict import verdict_files
    from ..reconstruct.verdict import MatchOptions
    from .progress import run_job

    box_options = BoxOptions(extract, pixel_size_A=pixel_size if extract is None else None, use_ctf=ctf)

    def work(context: JobContext) -> VerdictReport:
        return verdict_files(
            sources,
            map_,
            out,
            MatchOptions(symmetry),
            map_pixel_A=map_pixel_size,
            box_options=box_options,
            threshold=threshold,
            scheduler=scheduler,
            context=replace(context, seed=seed),
        )

    return run_job(work, title="Matching with the map")


def _tell(notes: Sequence[str], lost: Sequence[LostView], threshold: float) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for view in lost:
        print(f"note: rejecting below {threshold:g} would lose a view: {view.sentence()}", file=sys.stderr)


def _in_words(particles: int, picks: int, confident: int, spread: ViewSpread) -> str:
    share = 100.0 * particles / max(1, picks)
    return (
        f"{particles:,} of {picks:,} picks ({share:.0f} %) are more likely the particle than not, "
        f"{confident:,} with a pose known to 15 degrees; evenness of views {spread.sampling:.2f}"
    )


def _say_of_project(proof: ProjectProof, project: Path, threshold: float, as_json: bool) -> None:
    run = proof.result.run
    _tell(run.notes, proof.lost, threshold)
    if not as_json:
        words = _in_words(proof.particles, proof.picks, proof.confident, proof.spread)
        typer.echo(f"{words} ({proof.seconds:.1f} s, run {run.number} of {project})")
        return
    stars = [str(file) for file in proof.files if file.name == "particles.star"]
    answer = {
        **_counts(proof),
        "map_scale": run.record["map_scale"],
        "inverted": run.record["inverted"],
        "file": stars[0] if stars else None,
        "seconds": round(proof.seconds, 2),
        "notes": list(run.notes),
        **where_kept(proof, project),
    }
    typer.echo(json.dumps(answer, indent=2))


def _counts(report: VerdictReport | ProjectProof) -> dict[str, object]:
    return {
        "picks": report.picks,
        "particles": report.particles,
        "junk_share": round(1.0 - report.particles / max(1, report.picks), 4),
        "confident": report.confident,
        "views": {
            "evenness": round(report.spread.sampling, 4),
            "emptiest_cone_deg": report.spread.empty_cone_deg,
            "emptiest_rot_deg": round(report.spread.empty_rot_deg, 1),
            "emptiest_tilt_deg": round(report.spread.empty_tilt_deg, 1),
        },
        "lost_views": [
            {
                "rot_deg": round(view.rot_deg, 1),
                "tilt_deg": round(view.tilt_deg, 1),
                "before": view.before,
                "after": view.after,
            }
            for view in report.lost
        ],
    }


def as_dict(report: VerdictReport) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        **_counts(report),
        "map_scale": report.verdicts.scale,
        "inverted": report.verdicts.inverted,
        "file": str(report.star),
        "seconds": round(report.seconds, 2),
        "notes": list(report.notes),
    }


def extract_options_of(
    micrographs: str | None,
    box_size: int | None,
    white: bool,
    frame: Frame,
    pixel_size: float | None,
    diameter: str | None,
) -> ExtractOptions | None:
    """How picks are cut; None where a stack is given."""
    from ..batch.extract import ExtractOptions

    diameter_A, diameter_px = parse_diameter(diameter)
    if diameter_px is not None:
        raise typer.BadParameter("give the diameter in angstrom", param_hint="--diameter")
    if micrographs is None:
        return None
    return ExtractOptions(
        micrographs,
        box_size,
        invert=not white,
        orientation=frame.orientation,
        pixel_size_A=pixel_size,
        diameter_A=diameter_A,
    )
