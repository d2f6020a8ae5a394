"""Outlines in COCO's way: ``segmentation`` is a list of polygons ``[x, y, x, y, ...]``, ``area`` and ``bbox`` are its.

Particles are outlined as circles of their diameter. Regions (carbon, ice ...) are annotations of a supercategory of
their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..model.coordinates import FloatArray
from ..model.curation import Reason
from ..model.region import REGION_REASONS, Origin, Region, area_of
from .table.entries import as_number, as_numbers

#: The supercategory of regions.
REGION = "region"
#: The key of what only this program knows of an annotation.
OURS = "annotator"
_CORNERS = 16
_ANGLES = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
_UNIT = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
#: Area of the polygon that stands for a circle of diameter 1.
_UNIT_AREA = _CORNERS / 8 * float(np.sin(2 * np.pi / _CORNERS))
#: Corners differ by less than this where only rounding has moved them, px.
_ROUNDED = 0.011
#: A particle was not moved that is so near to its place in the file, px.
_SAME = 1e-3
_REASONS = {reason.label: reason for reason in REGION_REASONS}


def circle(x: float, y: float, diameter: float) -> list[float]:
    """The corners ``x, y, x, y ...`` of a regular polygon that touches the box around a circle on all four sides."""
    return [round(value, 2) for value in ((x, y) + 0.5 * diameter * _UNIT).ravel().tolist()]


def around(outlines: object) -> list[float] | None:
    """The box ``[x, y, w, h]`` around COCO's outlines, lists of ``x, y, x, y ...``; None where they are none."""
    parts = polygons(outlines)
    if not parts:
        return None
    corners = np.vstack(parts)
    low, size = corners.min(axis=0), np.ptp(corners, axis=0)
    return [float(low[0]), float(low[1]), float(size[0]), float(size[1])]


def polygons(outlines: object) -> list[FloatArray]:
    """COCO's outlines as polygons (n, 2) float64, xy; none where one of them is no list of coordinates."""
    if not isinstance(outlines, list):
        return []
    lists = [as_numbers(outline, len(outline)) for outline in outlines if isinstance(outline, list) and outline]
    flat = [values for values in lists if values is not None and len(values) % 2 == 0]
    return [np.reshape(values, (-1, 2)) for values in flat] if len(flat) == len(lists) else []


# --- particles -----------------------------------------------------------------------------------------------------


def is_drawn_here(entry: Mapping[str, Any], x: float, y: float, diameter: float) -> bool:
    """Whether an annotation's outline says no more than its box: it has none, or one that is written for every pick."""
    outlines = entry.get("segmentation")
    if outlines in (None, [], [[]]):
        return True
    if not isinstance(outlines, list) or len(outlines) != 1:
        return False
    corners, drawn = as_numbers(outlines[0], 2 * _CORNERS), circle(x, y, diameter)
    return corners is not None and all(abs(a - b) < _ROUNDED for a, b in zip(corners, drawn, strict=True))


def particle_outline(x: float, y: float, diameter: float, kept: Mapping[str, str]) -> dict[str, Any]:
    """``bbox, area, iscrowd, segmentation`` of a particle.

    Parameters
    ----------
    x, y, diameter : float, px
    kept : mapping of key to JSON text
        What the annotation held that it was read from, with its ``bbox`` where its outline was more than a circle:
        that is written back where the particle is still in its place and of its size.
    """
    box = as_numbers(_value(kept.get("bbox", "")), 4)
    if box is not None and _is_there(box, x, y, diameter):
        outlines, area = _value(kept.get("segmentation", "")), as_number(_value(kept.get("area", "")))
        area = sum(map(area_of, polygons(outlines))) if area is None else area
        crowd = _value(kept.get("iscrowd", "0"))
        return {"bbox": list(map(plain, box)), "area": plain(area), "iscrowd": crowd, "segmentation": outlines}
    corner = [plain(x - diameter / 2), plain(y - diameter / 2), plain(diameter), plain(diameter)]
    area = plain(round(_UNIT_AREA * diameter**2, 2))
    return {"bbox": corner, "area": area, "iscrowd": 0, "segmentation": [circle(x, y, diameter)]}


def _is_there(box: list[float], x: float, y: float, diameter: float) -> bool:
    left, top, width, height = box
    off = (left + width / 2 - x, top + height / 2 - y, (width + height) / 2 - diameter)
    return max(map(abs, off)) <= _SAME


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def plain(value: float) -> float | int:
    """A number as JSON should show it: without the noise of its last digits, whole where it is."""
    rounded = round(float(value), 9)
    return int(rounded) if rounded.is_integer() else rounded


# --- regions -------------------------------------------------------------------------------------------------------


def region_reasons(categories: object) -> dict[int, Reason]:
    """The reason of each category that is of regions, by its id."""
    entries = [entry for entry in categories if isinstance(entry, dict)] if isinstance(categories, list) else []
    return {
        entry["id"]: _REASONS[entry["name"]]
        for entry in entries
        if entry.get("supercategory") == REGION and type(entry.get("id")) is int and entry.get("name") in _REASONS
    }


def regions_of(entry: Mapping[str, Any], reason: Reason) -> list[Region]:
    """The regions that an annotation outlines, px of the picture; none where it outlines nothing."""
    own = entry.get(OURS)
    by_machine = isinstance(own, dict) and own.get("origin") == Origin.FOUND.value
    origin = Origin.FOUND if by_machine else Origin.HAND
    return [
        Region(reason, part[:, ::-1].copy(), origin=origin)
        for part in polygons(entry.get("segmentation"))
        if len(part) >= 3
    ]


def region_entry(region: Region) -> dict[str, Any]:
    """What an annotation says of a region, but for its numbers."""
    corners = np.round(region.vertices[:, ::-1], 2)
    low, size = corners.min(axis=0), np.ptp(corners, axis=0)
    facts = {"region": region.id, "origin": region.origin.value, "curator": region.curator, "created": region.created}
    return {
        "bbox": [plain(value) for value in (*low.tolist(), *size.tolist())],
        "area": plain(round(area_of(corners), 2)),
        "iscrowd": 0,
        "segmentation": [[plain(value) for value in corners.ravel().tolist()]],
        OURS: {key: value for key, value in facts.items() if value},
    }
