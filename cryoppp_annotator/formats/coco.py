"""COCO detection JSON: boxes on 8-bit pictures, read and written together with those pictures.

``bbox`` is ``[x_min, y_min, width, height]`` in px from the top left of the picture, ``segmentation`` the outline:
of particles a circle, of regions (carbon, ice ...) the polygon. What we write says so in ``info`` and lies beside the
exact pictures (``images/<stem>.png``, row 0 = first row of the micrograph file). Files of others may be made on flipped
copies (FORMATS.md 10): the frame guard tells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.curation import Decision, Reason
from ..model.pickfile import SPECIES_COLUMN, FilePicks, MicrographPicks, PickFile, WriteOptions
from ..model.region import Region
from .atomic import write_text
from .coco_outlines import (
    OURS,
    REGION,
    around,
    is_drawn_here,
    particle_outline,
    region_entry,
    region_reasons,
    regions_of,
)
from .image.pictures import REJECTED_NAME, Y_AXIS, box_sizes, class_name, require_picture_frame, write_pictures
from .names import refuse_collisions
from .table.entries import EntryReader, as_number, as_numbers, kept_text, load_json, short
from .table.star import require_finite

_LIMIT = 512 << 20
_PREFIX = "coco:"
_CATEGORY = f"{_PREFIX}category"
_OUR_CLASS = re.compile(r"class ([1-9]\d{0,8})")
_SPECIES = "species"
#: The class of a rejected pick, whose category says that it is rejected.
_CLASS = "annotator_class"
_OURS = frozenset({"id", "image_id", "category_id", "bbox", "score", "area", _SPECIES, _CLASS})
_MOST_CLASSES = 1 << 30
_OUTLINE = ("bbox", "area")
#: Of what a project knows, not for a file that is handed on: where on this computer picks came from.
_PRIVATE = frozenset({"source"})


@dataclass(frozen=True)
class _Coco:
    """COCO's detection format; see the module."""

    name: str = "coco"
    title: str = "COCO JSON, with 8-bit pictures"
    extensions: tuple[str, ...] = (".json",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset(
        {"score", "diameter", "class", "decision", "extra", "species", "curation", "region"}
    )
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a COCO JSON: an object with ``images`` or ``annotations``."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not start.startswith(b"{"):
            return 0.0
        keys = sum(f'"{key}"'.encode() in start for key in ("images", "annotations", "categories", "bbox", "image_id"))
        if keys >= 2 and (b'"images"' in start or b'"annotations"' in start):
            return 0.9
        return 0.6 if keys and path.suffix.lower() == ".json" else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the boxes of every image the file lists; an image without any is an empty micrograph.

        Positions are the boxes' middles and diameters their mean edge. A dummy box of no size is passed over; an
        outline without a box has the box around it. Picks of the category ``rejected`` are rejected. Annotations of
        the supercategory ``region`` that are carbon, ice, aggregate or other are regions, and no picks.
        Anything else an annotation holds is kept as JSON text under ``coco:<key>``.

        Raises
        ------
        FormatError
            Not COCO, or an annotation is bad.
        """
        content = load_json(path, _LIMIT)
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise FormatError('is no COCO file: an object with "images" and "annotations" was expected', path)
        reader = EntryReader(path, permissive)
        names = _images(content["images"], reader)
        categories = _categories(content.get("categories"), reader)
        reasons = region_reasons(content.get("categories"))
        rows, regions = _annotations(content.get("annotations"), names, categories, reasons, reader)
        picks = tuple(_picks(name, rows[key], path, regions.get(key, ())) for key, name in names.items())
        return PickFile(self.name, path, self.frame, picks, tuple(reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out`` (where it ends in ``.json``) or ``out/annotations.json``, and ``images/<stem>.png`` beside it.

        A box's edge is the particle's diameter, or ``options.box_size_px`` where it has none; the outline is the circle
        in it, or the one that was read where the pick was not moved. Boxes may reach over the picture's edge.
        Rejected picks are of a category of their own, regions of a supercategory; what the project knows beside
        stands under ``annotator``.

        Raises
        ------
        FormatError
            There is no picture of a micrograph, or a particle without diameter or finite position.
        """
        require_picture_frame(options)
        refuse_collisions((f"{pick.micrograph.name}.png" for pick in picks), out)
        target = out if out.suffix.lower() == ".json" else out / "annotations.json"
        sizes = [box_sizes(pick, options) for pick in picks]
        for pick in picks:
            require_finite(pick.x, pick.y, pick.micrograph.name)
        files, pictures = write_pictures(target.parent / "images", picks, options)
        return [*files, write_text(target, _text(picks, sizes, pictures))]


# --- reading -------------------------------------------------------------------------------------------------------


def _images(entries: list[Any], reader: EntryReader) -> dict[object, str]:
    names: dict[object, str] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("file_name") if isinstance(entry, dict) else None
        key = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or not isinstance(key, int | str):
            reader.refuse(f"image {number} is {short(entry)} where an id and a file_name were expected")
        elif key in names:
            reader.refuse(f"two images have the id {short(key)}")
        else:
            names[key] = name
    return names


def _categories(entries: object, reader: EntryReader) -> dict[int, tuple[int, str]]:
    """For each category its class and name; a lone category is no class."""
    categories: dict[int, tuple[int, str]] = {}
    if entries is not None and not isinstance(entries, list):
        reader.refuse(f'"categories" is {short(entries)} where a list was expected')
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        key = entry.get("id") if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if type(key) is not int or not 0 <= key < _MOST_CLASSES or not isinstance(name, str):
            reader.refuse(f"category {number} is {short(entry)} where an id and a name were expected")
            continue
        ours = _OUR_CLASS.fullmatch(name)
        categories[key] = (0 if name in ("particle", REJECTED_NAME) else int(ours[1]) if ours else key, name)
    return categories


def _annotations(
    entries: object,
    names: Mapping[object, str],
    categories: Mapping[int, tuple[int, str]],
    reasons: Mapping[int, Reason],
    reader: EntryReader,
) -> tuple[dict[object, list[dict[str, Any]]], dict[object, list[Region]]]:
    """The picks and the regions of each image."""
    regions: dict[object, list[Region]] = {}
    rows: dict[object, list[dict[str, Any]]] = {key: [] for key in names}
    if entries is not None and not isinstance(entries, list):
        reader.refuse(f'"annotations" is {short(entries)} where a list was expected')
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        if not isinstance(entry, dict):
            reader.refuse(f"annotation {number} is {short(entry)} where an object was expected")
            continue
        image = entry.get("image_id")
        bbox = as_numbers(entry.get("bbox"), 4) if "bbox" in entry else around(entry.get("segmentation"))
        if not isinstance(image, int | str) or image not in rows:
            reader.refuse(f"annotation {number} is of image {short(image)}, which the file does not list")
        elif (reason := _reason_of(entry, reasons)) is not None:
            drawn = regions_of(entry, reason)
            if not drawn:
                reader.refuse(f"annotation {number} is a region ({reason.label}) without a polygon that outlines it")
            regions.setdefault(image, []).extend(drawn)
        elif bbox is None or bbox[2] < 0 or bbox[3] < 0:
            reader.refuse(f"annotation {number} has the bbox {short(entry.get('bbox'))}; [x, y, w, h] was expected")
        elif max(bbox[2:]) > 0 and (row := _row(number, entry, bbox, categories, reader)) is not None:
            rows[image].append(row)
    return rows, regions


def _reason_of(entry: Mapping[str, Any], reasons: Mapping[int, Reason]) -> Reason | None:
    """What the region is that an annotation outlines; None where it is no region."""
    category = entry.get("category_id")
    return reasons.get(category) if type(category) is int else None


def _row(
    number: int,
    entry: dict[str, Any],
    bbox: list[float],
    categories: Mapping[int, tuple[int, str]],
    reader: EntryReader,
) -> dict[str, Any] | None:
    category = entry.get("category_id")
    score = entry.get("score")
    if category is not None and (type(category) is not int or not 0 <= category < _MOST_CLASSES):
        reader.refuse(f"annotation {number} has the category {short(category)}; a whole number was expected")
        return None
    if score is not None and as_number(score) is None:
        reader.refuse(f"annotation {number} has the score {short(score)}; a number was expected")
        return None
    class_id, name = categories.get(category, (category, "")) if category is not None else (0, "")
    rejected = name == REJECTED_NAME
    if rejected and type(entry.get(_CLASS)) is int and 0 <= entry[_CLASS] < _MOST_CLASSES:
        class_id = entry[_CLASS]
    x, y, size = bbox[0] + bbox[2] / 2, bbox[1] + bbox[3] / 2, (bbox[2] + bbox[3]) / 2
    own = is_drawn_here(entry, x, y, size)
    ours = _OURS | {"segmentation"} if own else _OURS - set(_OUTLINE)
    extra = {f"{_PREFIX}{key}": kept_text(value) for key, value in entry.items() if key not in ours}
    if isinstance(entry.get(_SPECIES), str):
        extra[SPECIES_COLUMN] = entry[_SPECIES]
    if name and not rejected and name != class_name(class_id):
        extra[_CATEGORY] = name
    return {
        "x": x,
        "y": y,
        "diameter_px": size,
        "score": np.nan if score is None else as_number(score),
        "class_id": class_id,
        "decision": int(Decision.REJECTED if rejected else _decision(entry)),
        "extra": extra,
    }


def _decision(entry: Mapping[str, Any]) -> Decision:
    """What our own files say of a pick that is not rejected."""
    own = entry.get(OURS)
    said = own.get("decision") if isinstance(own, dict) else None
    return Decision.ACCEPTED if said == "accepted" else Decision.UNDECIDED


def _picks(name: str, rows: list[dict[str, Any]], path: Path, regions: Sequence[Region]) -> FilePicks:
    columns = {key: np.array([row[key] for row in rows], np.float64) for key in ("x", "y", "diameter_px", "score")}
    labels = list(dict.fromkeys(label for row in rows for label in row["extra"]))
    extra = {label: np.array([row["extra"].get(label, "") for row in rows], dtype=np.str_) for label in labels}
    return FilePicks(
        name,
        columns["x"],
        columns["y"],
        diameter_px=columns["diameter_px"],
        score=columns["score"] if np.isfinite(columns["score"]).any() else None,
        class_id=np.array([row["class_id"] for row in rows], np.int32),
        decision=np.array([row["decision"] for row in rows], np.int8),
        extra=extra,
        source=path,
        regions=tuple(regions),
    )


# --- writing -------------------------------------------------------------------------------------------------------


def _text(picks: Sequence[MicrographPicks], sizes: Sequence[Any], pictures: Mapping[str, tuple[str, int, int]]) -> str:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    classes = {0: class_name(0)}
    for pick in picks:
        for row in np.flatnonzero(pick.decision != Decision.REJECTED).tolist():
            _name_class(classes, pick, row)
    rejected = max(classes) + 2  # behind all others: numbers of categories are those of classes, and one
    for image_id, (pick, size) in enumerate(zip(picks, sizes, strict=True), 1):
        file_name, width, height = pictures[pick.micrograph.name]
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for row in range(len(pick)):
            entry = _annotation(len(annotations) + 1, image_id, pick, row, float(size[row]))
            if pick.decision[row] == Decision.REJECTED:
                entry["category_id"] = rejected
                entry |= {_CLASS: int(pick.class_id[row])} if pick.class_id[row] else {}
            annotations.append(entry)
    outlines, region_categories = _regions(picks, len(annotations), rejected + 1)
    annotations += outlines
    categories = [
        {"id": class_id + 1, "name": name, "supercategory": "particle"} for class_id, name in sorted(classes.items())
    ]
    if any((pick.decision == Decision.REJECTED).any() for pick in picks):
        categories.append({"id": rejected, "name": REJECTED_NAME, "supercategory": REJECTED_NAME})
    categories += region_categories
    content = {
        "info": {
            "description": "particles labelled with CryoPPP Annotator",
            "version": __version__,
            "y_axis": Y_AXIS,
            "frame": "as-stored",
        },
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    parts = [f"{json.dumps(key)}: {_list_text(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _regions(picks: Sequence[MicrographPicks], n: int, first: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Annotations of all regions, numbered behind the first ``n``, and their categories, numbered from ``first``."""
    reasons = sorted({region.reason for pick in picks for region in pick.regions})
    numbers = {reason: first + k for k, reason in enumerate(reasons)}
    regions = [(image, region) for image, pick in enumerate(picks, 1) for region in pick.regions]
    entries = [
        {"id": n + k, "image_id": image, "category_id": numbers[region.reason], **region_entry(region)}
        for k, (image, region) in enumerate(regions, 1)
    ]
    names = [{"id": number, "name": reason.label, "supercategory": REGION} for reason, number in numbers.items()]
    return entries, names


def _list_text(value: object) -> str:
    """One entry a line: a text that people and version control can look through."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]" if value else "[]"


def _annotation(number: int, image_id: int, pick: MicrographPicks, row: int, size: float) -> dict[str, Any]:
    kept = {
        label.removeprefix(_PREFIX): str(column[row])
        for label, column in pick.extra.items()
        if label.startswith(_PREFIX) and label != _CATEGORY and column[row]
    }
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image_id,
        "category_id": int(pick.class_id[row]) + 1,
        **particle_outline(float(pick.x[row]), float(pick.y[row]), size, kept),
    }
    if np.isfinite(pick.score[row]):
        entry["score"] = float(pick.score[row])
    if pick.species is not None and pick.species[row]:
        entry[_SPECIES] = str(pick.species[row])
    own = _OURS | {"segmentation"}
    entry |= {key: _value(text) for key, text in kept.items() if key not in own}
    if pick.curation:
        entry[OURS] = _facts(pick, row)
    return entry


def _facts(pick: MicrographPicks, row: int) -> dict[str, str]:
    """What the project knows of a pick, as far as there is something to say."""
    columns = {name: str(column[row]) for name, column in pick.curation.items() if name not in _PRIVATE}
    facts = {"decision": Decision(int(pick.decision[row])).name.lower(), **columns}
    return {name: text for name, text in facts.items() if text}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _name_class(classes: dict[int, str], pick: MicrographPicks, row: int) -> None:
    """A class is called as the file it came from did."""
    class_id = int(pick.class_id[row])
    name = str(pick.extra[_CATEGORY][row]) if _CATEGORY in pick.extra else ""
    if class_id not in classes or (name and classes[class_id] == class_name(class_id) and class_id):
        classes[class_id] = name or class_name(class_id)


COCO = _Coco()
