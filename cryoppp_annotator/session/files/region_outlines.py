"""Regions' outlines as GeoJSON, beside the table of picks that names them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ...errors import FormatError, disk_reason
from ...formats.atomic import WouldOverwrite, file_set, write_text
from ...model.region import Origin, Region
from ..core.session import Session

#: Of no coordinate format: a folder that holds it is read as before.
NAME = "regions.geojson"


def refuse_foreign(folder: Path, may_replace: Callable[[Path], bool]) -> None:
    """Raise WouldOverwrite where outlines are in a folder that may not be replaced."""
    if (folder / NAME).exists() and not may_replace(folder / NAME):
        raise WouldOverwrite([folder / NAME])


def regions_by_micrograph(session: Session) -> dict[int, tuple[Region, ...]]:
    """The regions of each micrograph that has some, by its id; not those that a person has dismissed."""
    regions: dict[int, tuple[Region, ...]] = {}
    for region in session.store.regions():
        if region.origin is not Origin.DISMISSED:
            regions[region.micrograph] = (*regions.get(region.micrograph, ()), region)
    return regions


def write_outlines(session: Session, folder: Path, micrographs: Collection[int]) -> list[Path]:
    """Write the outlines of all regions on some micrographs; no file where there are none.

    Corners are (x, y) in px of the micrograph: x the column, y the row from the first row of the file.
    Regions that a person has dismissed are left out.

    Parameters
    ----------
    session : Session
    folder : Path
    micrographs : collection of int

    Returns
    -------
    list of Path

    Raises
    ------
    FormatError
        It cannot be written; what was there before is intact.
    """
    names = {m.id: m.path for m in session.micrographs if m.id in micrographs}
    regions = [r for on, here in regions_by_micrograph(session).items() if on in names for r in here]
    if not regions:
        return []
    features = ",\n".join(json.dumps(_feature(region, names[region.micrograph])) for region in regions)
    try:
        with file_set(folder):
            return [write_text(folder / NAME, f'{{"type": "FeatureCollection", "features": [\n{features}\n]}}\n')]
    except OSError as error:
        reason = f"cannot be written ({disk_reason(error)}); the picks are written, these outlines are not"
        raise FormatError(reason, folder / NAME) from error


def _feature(region: Region, micrograph: str) -> dict[str, Any]:
    corners = [[x, y] for y, x in region.vertices.round(2).tolist()]
    return {
        "type": "Feature",
        "properties": {
            "region": region.id,
            "micrograph": micrograph,
            "reason": region.reason.label,
            "origin": region.origin.value,
            "curator": region.curator,
            "created": region.created,
        },
        "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
    }
