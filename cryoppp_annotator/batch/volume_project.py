"""A project's picks against a map, or to a map: the run is kept with the project, and written as files where asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import Refused
from ..model.context import JobContext
from ..reconstruct.verdict import CONFIDENT_DEG
from ..reconstruct.view_coverage import LostView, ViewSpread, lost_views, spread_of
from ..session.core.session import Session
from ..session.volume.map_files import export_map
from ..session.volume.map_job import prove
from ..session.volume.map_run import MapResult, MapRunOptions

_QUIET = JobContext()


@dataclass(frozen=True, eq=False)
class ProjectProof:
    """What a run on a project's picks says.

    Attributes
    ----------
    result : MapResult
        Kept with the project.
    picks, particles, confident : int
        Picks with a verdict; those with log odds above 0; of these those with a pose known to 15 degrees.
    spread : ViewSpread
        Of the particles' views.
    lost : tuple of LostView
        Views that a rejection of all picks below the threshold would take away.
    files : tuple of Path
        Written into the folder that was named; empty without one.
    seconds : float
    """

    result: MapResult
    picks: int
    particles: int
    confident: int
    spread: ViewSpread
    lost: tuple[LostView, ...]
    files: tuple[Path, ...]
    seconds: float


def prove_project(
    session: Session,
    options: MapRunOptions,
    *,
    out: Path | None = None,
    everything: bool = False,
    threshold: float = 0.0,
    diameter_A: float | None = None,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> ProjectProof:
    """Lay a project's picks on a map; keep the run, and write it as files where a folder is named.

    Parameters
    ----------
    session : Session
    options : MapRunOptions
    out : Path, optional
    everything : bool
        Write every pick that has a verdict, and not only those that are rather the particle.
    threshold : float
        Log odds below which picks would be rejected: views that this loses are named.
    diameter_A : float, optional
        Of the particle, where the project does not know it; the project keeps it.
    scheduler : str, optional
        Of a Dask cluster that gives the verdicts; maps are made here.
    context : JobContext

    Raises
    ------
    Refused
        Too few picks, a file that is no map, or a diameter other than the project's.
    EngineError, ProjectError, FormatError, Cancelled
    """
    started = time.monotonic()
    if diameter_A is not None:
        _keep_diameter(session, diameter_A)
    result = prove(session, options, scheduler=scheduler, context=context.part(0.0, 0.95))
    files = (
        () if out is None else export_map(session, result, out, everything=everything, context=context.part(0.95, 1.0))
    )
    picks, known = result.picks, np.isfinite(result.picks.log_odds)
    particle = known & (np.nan_to_num(picks.log_odds) > 0)
    posed = known & (picks.error_deg < CONFIDENT_DEG)
    return ProjectProof(
        result,
        int(known.sum()),
        int(particle.sum()),
        int((particle & posed).sum()),
        spread_of(picks.matrices[particle], options.symmetry),
        tuple(lost_views(picks.matrices[posed], picks.log_odds[posed] >= threshold, options.symmetry)),
        files,
        time.monotonic() - started,
    )


def _keep_diameter(session: Session, diameter_A: float) -> None:
    if not session.settings.diameter_is_set:
        session.set_diameter(diameter_A)
    elif abs(session.diameter_A - diameter_A) > 0.01 * diameter_A:
        raise Refused(
            f"the project says that the particle's diameter is {session.diameter_A:.0f} Å, not {diameter_A:.0f} Å: "
            "leave --diameter out, or change it in the project"
        )


def only_micrographs(options: MapRunOptions, numbers: tuple[int, ...]) -> MapRunOptions:
    """Of these micrographs' picks alone.

    Raises
    ------
    Refused
        There are none.
    """
    if not numbers:
        raise Refused("no micrograph passes --where")
    return replace(options, micrographs=numbers)
