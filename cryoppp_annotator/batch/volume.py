"""Half maps from picks, with or without a reference, from files to files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import EngineError
from ..formats.atomic import whole_set, write_text
from ..formats.image.volumes import write_volume
from ..formats.table.star import format_star
from ..model.context import JobContext
from ..reconstruct.rounds import Volume, VolumeOptions, reconstruct
from ..session.volume.first_map import DOUBT, WHY_DOUBTED, first_map, is_one_sided
from ..session.volume.map_files import fsc_csv, fsc_star
from .box_files import USUAL_BOXES, Boxes, BoxOptions, load_boxes, load_map, posed_table

_QUIET = JobContext()
_USUAL = VolumeOptions()
_LEAST_PICKS = 40


@dataclass(frozen=True, eq=False)
class VolumeReport:
    """What a run made and wrote.

    Attributes
    ----------
    volume : Volume
    files : tuple of Path
        ``half1.mrc half2.mrc map.mrc mask.mrc fsc.csv fsc.star particles.star``, and ``initial.mrc`` where
        there was no reference.
    used : int
        Boxes in the maps: those that are rather a particle than not.
    picks : int
    seconds : float
    notes : tuple of str
    verdict : str
        The map's in words; begins with a doubt where there was no reference and the views lie on one side.
    """

    volume: Volume
    files: tuple[Path, ...]
    used: int
    picks: int
    seconds: float
    notes: tuple[str, ...]
    verdict: str


def volume_files(
    sources: Sequence[Path],
    out: Path,
    options: VolumeOptions = _USUAL,
    *,
    map_path: Path | None = None,
    map_pixel_A: float | None = None,
    box_options: BoxOptions = USUAL_BOXES,
    context: JobContext = _QUIET,
) -> VolumeReport:
    """Make half maps of a stack, or of picks that are cut first.

    Parameters
    ----------
    sources : sequence of Path
        One stack or STAR with images; or, with ``box_options.extract``, coordinate files.
    out : Path
    options : VolumeOptions
    map_path : Path, optional
        The reference, of which nothing finer than the low-pass is used; without it one is made from the boxes.
    map_pixel_A : float, optional
        Instead of what the map's header says.
    box_options : BoxOptions
    context : JobContext

    Raises
    ------
    FormatError, EngineError, Refused, Cancelled
    """
    started = time.monotonic()
    reference = None if map_path is None else load_map(map_path, map_pixel_A)
    boxes = load_boxes(sources, out, box_options, context=context)
    if len(boxes.stack) < _LEAST_PICKS:
        raise EngineError(f"{len(boxes.stack)} boxes are too few for a map; {_LEAST_PICKS} are needed")
    options = replace(options, match=replace(options.match, mask_radius=boxes.mask_radius))
    files: list[Path] = []
    notes = list(boxes.notes)
    if reference is None:
        first, period_A = first_map(boxes.stack, boxes.mask_radius, options.match.symmetry, context)
        reference = first, boxes.stack.pixel_size_A
        files.append(write_volume(out / "initial.mrc", first, boxes.stack.pixel_size_A))
        options = replace(options, lowpass_A=period_A, match=replace(options.match, check_scale=False))
        notes.append("no reference was given: the first map was made from class averages; its hand is arbitrary")
    volume = reconstruct(boxes.stack, reference[0], reference[1], options, context=context)
    notes += volume.notes
    notes.append("images of an untilted specimen do not tell the hand of a map")
    files += _write(out, boxes, volume)
    kept = volume.verdicts.probability > 0.5
    used = int(kept.sum())
    doubted = map_path is None and is_one_sided(volume.verdicts.matrices[kept, 0], options.match.symmetry)
    notes += [WHY_DOUBTED] * doubted
    if used < len(boxes.stack):
        notes.append(f"{len(boxes.stack) - used:,} of {len(boxes.stack):,} boxes are more likely no particle; left out")
    seconds, words = time.monotonic() - started, (DOUBT if doubted else "") + volume.verdict
    return VolumeReport(volume, tuple(files), used, len(boxes.stack), seconds, tuple(notes), words)


def _write(out: Path, boxes: Boxes, volume: Volume) -> list[Path]:
    verdicts = volume.verdicts
    rows = np.flatnonzero(verdicts.probability > 0.5)
    tables = posed_table(boxes, rows, verdicts.matrices[rows, 0], verdicts.shifts[rows, 0])
    column = tables[1][1]
    column["rlnRandomSubset"] = [str(which + 1) for which in volume.half[rows]]
    column["cryopppVerdict"] = [f"{value:.4f}" for value in verdicts.log_odds[rows]]
    column["cryopppPoseErrorDeg"] = [f"{value:.2f}" for value in verdicts.error_deg[rows]]
    maps = {"half1": volume.half1, "half2": volume.half2, "map": volume.mean, "mask": volume.correlation.mask}
    with whole_set(out):
        return [
            *(write_volume(out / f"{name}.mrc", array, volume.pixel_size_A) for name, array in maps.items()),
            write_text(out / "fsc.csv", fsc_csv(volume.correlation)),
            write_text(out / "fsc.star", fsc_star(volume.correlation)),
            write_text(out / "particles.star", format_star(tables, version="30001")),
        ]
