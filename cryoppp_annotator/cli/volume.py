"""``volume``: from picks to half maps."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .map_project import Asked, DecisionOption, OutOption, ProjectWhereOption, where_kept
from .options import CuratorOption, Frame, JsonOption, PixelSizeOption
from .verdict import (
    BoxOption,
    CtfOption,
    DiameterOption,
    FrameOption,
    MapPixelOption,
    MicrographsOption,
    SeedOption,
    SourcesArgument,
    SymmetryOption,
    WhiteOption,
    extract_options_of,
)

if TYPE_CHECKING:
    from ..batch.extract import ExtractOptions
    from ..batch.volume import VolumeReport
    from ..batch.volume_project import ProjectProof
    from ..model.context import JobContext

EXAMPLE = """  cryoppp-annotator volume particles.star --map emd_1234.mrc --lowpass 40 -o volume --json
  cryoppp-annotator volume picks/*.star --micrographs data/micrographs -o volume --symmetry O
  cryoppp-annotator volume my-project --symmetry O"""

_SIDE = 64


def volume(
    sources: SourcesArgument,
    out: OutOption = None,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="MRC", help="A reference; without one, it is made from the picks.")
    ] = None,
    lowpass: Annotated[
        float, typer.Option("--lowpass", metavar="A", min=5.0, help="Nothing finer of the reference is used.")
    ] = 40.0,
    symmetry: SymmetryOption = "C1",
    micrographs: MicrographsOption = None,
    map_pixel_size: MapPixelOption = None,
    diameter: DiameterOption = None,
    box_size: BoxOption = None,
    side: Annotated[
        int, typer.Option("--side", metavar="PX", min=32, max=160, help="Larger boxes are shrunk to this.")
    ] = _SIDE,
    white: WhiteOption = False,
    ctf: CtfOption = True,
    frame: FrameOption = Frame.AUTO,
    pixel_size: PixelSizeOption = None,
    decision: DecisionOption = None,
    where: ProjectWhereOption = None,
    curator: CuratorOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Make half maps, and say what they show that the reference did not have.

    Writes half1.mrc, half2.mrc, map.mrc, fsc.csv and particles.star (poses that relion_reconstruct, relion_refine and
    cryoSPARC continue from; of picks that are more likely the particle than not). The halves share nothing finer than
    the low-pass. The maps of a project are kept in it (tab 3D), and with -o also written as files.
    """
    asked = Asked(sources, out, symmetry, diameter, box_size, white, ctf, decision, where, curator, seed)
    known = {"pixel_size": pixel_size, "side": side != _SIDE}
    if (project := asked.project(micrographs, **known)) is not None:
        proof = asked.run(
            project, "Making a map", map_path=map_, map_pixel_A=map_pixel_size, lowpass_A=lowpass, halves=True
        )
        _say_of_project(proof, project, as_json)
        return
    assert out is not None
    report = _of_files(
        sources,
        out,
        map_,
        lowpass,
        symmetry,
        map_pixel_size,
        extract_options_of(micrographs, box_size, white, frame, pixel_size, diameter),
        side,
        pixel_size,
        ctf,
        seed,
    )
    _tell(report.notes)
    if as_json:
        typer.echo(json.dumps(as_dict(report), indent=2))
        return
    size = _size(report.volume.resolution_A if math.isfinite(report.volume.resolution_A) else None)
    typer.echo(
        f"{size} from {report.used:,} of {report.picks:,} picks: {report.verdict} ({report.seconds:.1f} s, {out})"
    )


def _of_files(
    sources: list[Path],
    out: Path,
    map_: Path | None,
    lowpass: float,
    symmetry: str,
    map_pixel_size: float | None,
    extract: ExtractOptions | None,
    side: int,
    pixel_size: float | None,
    ctf: bool,
    seed: int,
) -> VolumeReport:
    from dataclasses import replace

    from ..batch.box_files import BoxOptions
    from ..batch.volume import volume_files
    from ..reconstruct.rounds import VolumeOptions
    from ..reconstruct.verdict import MatchOptions
    from .progress import run_job

    box_options = BoxOptions(extract, side // 2 * 2, pixel_size if extract is None else None, ctf)

    def work(context: JobContext) -> VolumeReport:
        return volume_files(
            sources,
            out,
            VolumeOptions(MatchOptions(symmetry), lowpass),
            map_path=map_,
            map_pixel_A=map_pixel_size,
            box_options=box_options,
            context=replace(context, seed=seed),
        )

    return run_job(work, title="Making a map")


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _size(resolution_A: float | None) -> str:
    return "no resolution" if resolution_A is None else f"{resolution_A:.1f} Å"


def _say_of_project(proof: ProjectProof, project: Path, as_json: bool) -> None:
    record = proof.result.run.record
    used = int((proof.result.picks.half >= 0).sum())
    _tell(proof.result.run.notes)
    if not as_json:
        typer.echo(
            f"{_size(record['resolution_A'])} from {used:,} of {proof.picks:,} picks: {record['evidence']} "
            f"({proof.seconds:.1f} s, run {proof.result.run.number} of {project})"
        )
        return
    answer = {name: record[name] for name in ("resolution_A", "fsc_outside_reference", "significance")}
    answer |= {"verdict": record["evidence"], "picks": proof.picks, "used": used, "seconds": round(proof.seconds, 2)}
    typer.echo(json.dumps(answer | {"notes": list(proof.result.run.notes)} | where_kept(proof, project), indent=2))


def as_dict(report: VolumeReport) -> dict[str, object]:
    """What ``--json`` prints."""
    made = report.volume
    return {
        "resolution_A": round(made.resolution_A, 3) if math.isfinite(made.resolution_A) else None,
        "fsc_outside_reference": round(made.beyond.mean, 4),
        "significance": round(made.beyond.significance, 2),
        "verdict": report.verdict,
        "picks": report.picks,
        "used": report.used,
        "files": [str(file) for file in report.files],
        "seconds": round(report.seconds, 2),
        "notes": list(report.notes),
    }
