"""A run as files that RELION and cryoSPARC go on from: maps, curves, particles with poses and their boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Refused
from ...formats.atomic import whole_set, write_text
from ...formats.image.stacks import write_stack
from ...formats.image.volumes import write_volume
from ...formats.table.star import format_star
from ...imaging.ctf import Optics
from ...model.context import JobContext
from ...model.coordinates import relion_y
from ...model.micrograph import Micrograph
from ...reconstruct import poses
from ...reconstruct.fsc import ShellCorrelation
from ..classes.box_cache import Boxes, BoxStack, Picks, cut_out, plan
from ..core.session import Session
from .map_job import defocus_by_pick
from .map_run import CURVES, MapResult

_QUIET = JobContext()
#: Names of the files that a map is written to.
_NAMES = {name: f"{name}.mrc" for name in ("map", "half1", "half2", "mask")}


def fsc_csv(curve: ShellCorrelation) -> str:
    """The curves as a table: shell, period in A, and the four correlations."""
    lines = ["shell,period_A,fsc,fsc_unmasked,fsc_masked,fsc_random"]
    for shell in range(1, len(curve.period_A)):
        values = (curve.corrected[shell], curve.unmasked[shell], curve.masked[shell], curve.random[shell])
        lines.append(f"{shell},{curve.period_A[shell]:.4f}," + ",".join(f"{value:.5f}" for value in values))
    return "\n".join(lines) + "\n"


def fsc_star(curve: ShellCorrelation) -> str:
    """The curves as RELION's post-processing writes them."""
    shells = range(1, len(curve.period_A))
    columns = {
        "rlnSpectralIndex": [str(shell) for shell in shells],
        "rlnResolution": [f"{1.0 / curve.period_A[shell]:.6f}" for shell in shells],
        "rlnAngstromResolution": [f"{curve.period_A[shell]:.4f}" for shell in shells],
        "rlnFourierShellCorrelationCorrected": [f"{curve.corrected[shell]:.5f}" for shell in shells],
        "rlnFourierShellCorrelationUnmaskedMaps": [f"{curve.unmasked[shell]:.5f}" for shell in shells],
        "rlnFourierShellCorrelationMaskedMaps": [f"{curve.masked[shell]:.5f}" for shell in shells],
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": [
            f"{curve.random[shell]:.5f}" for shell in shells
        ],
    }
    return format_star([("fsc", columns)], version="30001")


def curve_of(result: MapResult) -> ShellCorrelation | None:
    """The correlation of a run's half maps; None where it has none."""
    if not set(CURVES) <= set(result.curves) or "mask" not in result.maps:
        return None
    return ShellCorrelation(**{name: result.curves[name] for name in CURVES}, mask=result.maps["mask"])


def export_map(
    session: Session, result: MapResult, out: Path, *, everything: bool = False, context: JobContext = _QUIET
) -> tuple[Path, ...]:
    """Write a run into a folder; it is made.

    ``half1.mrc half2.mrc map.mrc mask.mrc fsc.csv fsc.star`` where it has half maps; ``particles.mrcs`` and
    ``particles.star`` (RELION 3.1) with the picks that are more likely the particle than not and not rejected: their
    boxes, places, poses, CTF and halves. ``relion_reconstruct``, ``relion_refine`` and cryoSPARC go on from it.

    Parameters
    ----------
    session : Session
    result : MapResult
    out : Path
    everything : bool
        All picks with a verdict that the project still has, not only those that are rather the particle.
    context : JobContext

    Raises
    ------
    Refused
        No pick is left.
    FormatError, Cancelled
    """
    chosen = _chosen(session, result, everything)
    boxes, rows = _boxes(session, result, chosen, context)
    tables = _tables(session, result, boxes, rows)
    files = []
    with whole_set(out):
        for name, file in _NAMES.items():
            if name in result.maps:
                files.append(write_volume(out / file, result.maps[name], result.run.pixel_size_A))
        if (curve := curve_of(result)) is not None:
            files.append(write_text(out / "fsc.csv", fsc_csv(curve)))
            files.append(write_text(out / "fsc.star", fsc_star(curve)))
        context.check()
        images = boxes.images[np.arange(len(boxes))]
        files.append(write_stack(out / "particles.mrcs", images, boxes.geometry.pixel_size_A))
        files.append(write_text(out / "particles.star", format_star(tables, version="30001")))
    context.progress(1, 1, f"{len(rows):,} picks")
    return tuple(files)


def _chosen(session: Session, result: MapResult, everything: bool) -> NDArray[np.intp]:
    """Rows of the picks that are in the map, or have a verdict, and are not rejected, by micrograph."""
    picks = result.picks
    with np.errstate(invalid="ignore"):
        good = np.isfinite(picks.log_odds) if everything else picks.log_odds > 0
    if not everything and (picks.half >= 0).any():
        good &= picks.half >= 0
    present = session.store.positions(result.run.options.boxes.which)
    good &= np.isin(picks.particle, present["id"]) & np.isin(picks.micrograph, present["micrograph"])
    rows = np.flatnonzero(good)
    if not len(rows):
        raise Refused("no pick of this run is both more likely the particle than not and kept")
    return rows[np.lexsort((picks.particle[rows], picks.micrograph[rows]))]


def _boxes(
    session: Session, result: MapResult, rows: NDArray[np.intp], context: JobContext
) -> tuple[Boxes, NDArray[np.intp]]:
    """The boxes that were matched, from the cache, and the rows of the run that they are of."""
    p = result.picks
    n = len(rows)
    picks = Picks(p.particle[rows], p.micrograph[rows], p.x[rows], p.y[rows], np.full(n, np.nan))
    geometry = plan(session, picks, result.run.options.boxes)
    boxes = Boxes(BoxStack(geometry.side), geometry)
    cut_out(session, picks, boxes, context=context.part(0.0, 0.8))
    return boxes, rows[boxes.rows]


def _relion_y(y: NDArray[np.float64], on: NDArray[np.int64], by_id: Mapping[int, Micrograph]) -> NDArray[np.float64]:
    """(n,) ``rlnCoordinateY`` of places on several micrographs."""
    out = np.array(y, np.float64)
    for number in np.unique(on).tolist():
        if number in by_id:
            here = on == number
            out[here] = relion_y(y[here], by_id[number].path, by_id[number].height)
    return out


def _tables(
    session: Session, result: MapResult, boxes: Boxes, rows: NDArray[np.intp]
) -> list[tuple[str, dict[str, list[str]]]]:
    """RELION's optics and particles."""
    p, pixel = result.picks, boxes.geometry.pixel_size_A
    by_id = {m.id: m for m in session.micrographs}
    names = {number: m.name for number, m in by_id.items()}
    options = result.run.options
    defocus = defocus_by_pick(session, p.micrograph[rows]) if options.use_ctf else np.full((len(rows), 3), np.nan)
    angles = poses.to_angles(p.matrices[rows])
    numbers: dict[str, tuple[NDArray[Any], str]] = {
        "rlnCoordinateX": (p.x[rows], ".2f"),
        "rlnCoordinateY": (_relion_y(p.y[rows], p.micrograph[rows], by_id), ".2f"),
        **{f"rlnAngle{name}": (angles[:, k], ".3f") for k, name in enumerate(("Rot", "Tilt", "Psi"))},
        # RELION says by what an image must be moved, so it is the centre with the opposite sign
        "rlnOriginXAngst": (-p.shift_x[rows] / boxes.scale * pixel + 0.0, ".3f"),
        "rlnOriginYAngst": (-p.shift_y[rows] / boxes.scale * pixel + 0.0, ".3f"),
        "cryopppVerdict": (p.log_odds[rows], ".4f"),
        "cryopppPoseErrorDeg": (p.error_deg[rows], ".2f"),
    }
    if np.isfinite(defocus).all():
        numbers |= {f"rlnDefocus{name}": (defocus[:, k], ".1f") for k, name in enumerate(("U", "V", "Angle"))}
    columns = {
        "rlnImageName": [f"{k:06d}@particles.mrcs" for k in range(1, len(rows) + 1)],
        "rlnMicrographName": [names.get(number, "") for number in p.micrograph[rows].tolist()],
        **{name: [format(value, form) for value in values.tolist()] for name, (values, form) in numbers.items()},
        "rlnOpticsGroup": ["1"] * len(rows),
    }
    if len(rows) and (p.half[rows] >= 0).all():
        columns["rlnRandomSubset"] = [str(which + 1) for which in p.half[rows].tolist()]
    return [("optics", _optics_of(boxes)), ("particles", columns)]


def _optics_of(boxes: Boxes) -> dict[str, list[str]]:
    optics = boxes.optics or Optics()
    values = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": "1",
        "rlnVoltage": f"{optics.voltage_kV:g}",
        "rlnSphericalAberration": f"{optics.cs_mm:g}",
        "rlnAmplitudeContrast": f"{optics.amplitude_contrast:g}",
        "rlnImagePixelSize": f"{boxes.geometry.pixel_size_A:.6g}",
        "rlnImageSize": str(boxes.geometry.side),
        "rlnImageDimensionality": "2",
    }
    return {name: [value] for name, value in values.items()}
