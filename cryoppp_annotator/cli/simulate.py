"""``simulate``: micrographs with exact truth."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption

EXAMPLE = """  cryoppp-annotator simulate -o simulated --micrographs 10 --structure shell
  cryoppp-annotator simulate -o simulated --map emd_1997.mrc --pixel-size 1.5 --seed 7"""


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="New or empty folder to write into.")],
    density_map: Annotated[
        Path | None, typer.Option("--map", metavar="MRC", help="Make the particles from this density map.")
    ] = None,
    structure: Annotated[
        str | None, typer.Option("--structure", metavar="NAME", help="Or one of: shell, double-ring, blob.")
    ] = None,
    micrographs: Annotated[int, typer.Option("--micrographs", "-n", metavar="N", min=1, help="How many.")] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same number gives the same micrographs.")] = 0,
    size: Annotated[
        str, typer.Option("--size", metavar="PX", help="Of a micrograph: 2048, or width x height as 4096x3000.")
    ] = "2048",
    pixel_size: Annotated[float, typer.Option("--pixel-size", metavar="A", help="Angstrom per pixel.")] = 1.77,
    particles: Annotated[
        int, typer.Option("--particles", metavar="N", min=0, help="Wanted on each; fewer where there is no room.")
    ] = 200,
    snr: Annotated[float, typer.Option("--snr", min=0.0, help="Signal-to-noise ratio per pixel.")] = 0.05,
    voxel_size: Annotated[
        float | None, typer.Option("--voxel-size", metavar="A", help="Of the map, where its header is wrong.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate micrographs with exact truth.

    Particles, views, defocus, carbon and contamination are known. Writes micrographs/*.mrc, the truth as a CryoPPP
    data set (ground_truth/), truth.star and truth.json.
    """
    from ..batch import simulate as batch_simulate
    from ..imaging.simulate import SimulationParameters
    from .progress import run_job

    if density_map is not None and structure is not None:
        raise typer.BadParameter("give --map or --structure, not both")
    batch_simulate.refuse_occupied(out)
    what = structure or "shell" if density_map is None else batch_simulate.structure_from_map(density_map, voxel_size)
    parameters = SimulationParameters(
        size=_parse_size(size), pixel_size_A=pixel_size, structure=what, n_particles=particles, snr=snr, seed=seed
    )
    source = "" if density_map is None else str(density_map.absolute())
    started = time.monotonic()
    made = run_job(
        lambda context: batch_simulate.write_data_set(out, parameters, micrographs, source=source, context=context),
        title="Simulating",
    )
    answer = {
        "folder": str(out.absolute()),
        "micrographs": [made.file(i) for i in range(len(made.names))],
        "particles": made.n_particles,
        "diameter_A": made.diameter_A,
        "pixel_size_A": pixel_size,
        "truth": [batch_simulate.TRUTH_STAR, batch_simulate.TRUTH_JSON, "ground_truth"],
        "seconds": round(time.monotonic() - started, 2),
    }
    size_A = f"{made.diameter_A:.0f} Å"
    message = f"simulated {len(made.names):,} micrographs with {made.n_particles:,} particles of {size_A} in {out}"
    typer.echo(json.dumps(answer, indent=2) if as_json else message)


def _parse_size(text: str) -> tuple[int, int]:
    """Rows and columns from ``2048`` or ``4096x3000`` (width x height)."""
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.strip().isdecimal() for word in words):
        raise typer.BadParameter(f"{text!r} is no size: write 2048 or 4096x3000", param_hint="--size")
    return int(words[-1]), int(words[0])
