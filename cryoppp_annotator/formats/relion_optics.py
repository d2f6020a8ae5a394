"""RELION's optics groups: what RELION >= 3.1 knows of how micrographs were imaged, whole on the way in and out.

A group is a row of ``data_optics``: name, number, voltage, Cs, amplitude contrast, pixel sizes, image size, beam tilt,
Zernike coefficients, magnification matrix, MTF (3dem/relion ``src/jaz/obs_model.cpp``). RELION <= 3.0 writes the same
with each particle. Texts stay as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.micrograph import pixel_size_doubt
from ..model.pickfile import MicrographPicks, WriteOptions
from .table.star import StarFile, StarTable, number_text

Group: TypeAlias = Mapping[str, str]

GROUP = "rlnOpticsGroup"
GROUP_NAME = "rlnOpticsGroupName"
OWN_PIXEL = "rlnMicrographPixelSize"
MOVIE_PIXEL = "rlnMicrographOriginalPixelSize"
IMAGE_PIXEL = "rlnImagePixelSize"
DETECTOR_UM = "rlnDetectorPixelSize"
MAGNIFICATION = "rlnMagnification"
#: Microscope values that readers of one column want with each particle.
MICROSCOPE = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
#: RELION 3.1 takes no optics group without these two; 0 stands for "not known": no CTF program takes it for a value.
REQUIRED = ("rlnVoltage", "rlnSphericalAberration")
_MAGNIFICATION_MATRIX = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
#: Labels that RELION <= 3.0 writes with each particle and later versions with the group.
OF_GROUP = frozenset(
    {
        *MICROSCOPE,
        *_MAGNIFICATION_MATRIX,
        "rlnBeamTiltX",
        "rlnBeamTiltY",
        "rlnOddZernike",
        "rlnEvenZernike",
        "rlnMtfFileName",
        OWN_PIXEL,
        MOVIE_PIXEL,
        IMAGE_PIXEL,
        "rlnImageSize",
        "rlnImageDimensionality",
        "rlnCtfDataAreCtfPremultiplied",
    }
)
#: What a group has of the particles' images and not of the micrographs.
_OF_IMAGES = frozenset({IMAGE_PIXEL, "rlnImageSize", "rlnImageDimensionality", "rlnCtfDataAreCtfPremultiplied"})
#: The value of a column that other groups have and this one lacks.
_NEUTRAL = {
    "rlnMagMat00": "1",
    "rlnMagMat11": "1",
    "rlnImageDimensionality": "2",
    "rlnMtfFileName": "None",
    "rlnOddZernike": "[0]",
    "rlnEvenZernike": "[0]",
}
_NUMBERED_NAME = re.compile(r"opticsGroup(\d+)$")


# --- reading -------------------------------------------------------------------------------------------------------


def groups_of(star: StarFile) -> dict[str, dict[str, str]]:
    """Optics groups of a file by their number, each label with its text.

    Raises
    ------
    FormatError
        Two groups have one number.
    """
    optics = star.table("optics")
    if optics is None or GROUP not in optics.columns:
        return {}
    numbers = [plain_number(text) for text in optics.columns[GROUP]]
    if len(set(numbers)) < len(numbers):
        raise FormatError("data_optics has two groups of one number", star.path, optics.lines[0])
    return {
        number: {label: column[row] for label, column in optics.columns.items()} for row, number in enumerate(numbers)
    }


def plain_number(text: str) -> str:
    """A group's number as RELION understands it: ``1``, ``01`` and ``1.000`` are one."""
    try:
        return str(int(float(text)))
    except (ValueError, OverflowError):
        return text


def microscope_columns(groups: Mapping[str, Group], table: StarTable) -> dict[str, list[str]]:
    """Microscope values of each row's optics group, as columns of the table; those it has itself are left out."""
    if not groups or GROUP not in table.columns:
        return {}
    columns: dict[str, list[str]] = {}
    for label in MICROSCOPE:
        if label not in table.columns and any(label in group for group in groups.values()):
            of_group = {number: group.get(label, "-999") for number, group in groups.items()}
            columns[label] = [of_group.get(plain_number(number), "-999") for number in table.columns[GROUP]]
    return columns


def rows_of_groups(
    groups: Mapping[str, Group], extra: Mapping[str, NDArray[np.str_]], n: int
) -> tuple[tuple[Group, ...], NDArray[np.int64] | None]:
    """A source's groups as a tuple, and which each of ``n`` picks has by its ``rlnOpticsGroup`` (n,); -1 = none."""
    if not groups:
        return (), None
    place = {number: row for row, number in enumerate(groups)}
    texts = extra[GROUP].tolist() if GROUP in extra else [next(iter(groups)) if len(groups) == 1 else ""] * n
    return tuple(groups.values()), np.array([place.get(plain_number(text), -1) for text in texts], np.int64)


# --- pixel sizes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PixelSize:
    """What a file says of a micrograph's pixel size, angstrom, and why that may be something else."""

    value_A: float | None
    doubt: str = ""


def pixel_sizes(groups: Mapping[str, Group], table: StarTable) -> dict[tuple[str, ...], PixelSize]:
    """What a file says of pixel sizes, for each distinct case in its rows.

    Parameters
    ----------
    groups : mapping of number to optics group
    table : StarTable
        The particles, micrographs or picks.

    Returns
    -------
    mapping of the texts of :func:`size_key` to PixelSize
    """
    extracted = "rlnImageName" in table.columns
    return {key: _pixel_size(dict(zip(_SIZE_LABELS, key, strict=True)), extracted) for key in size_keys(groups, table)}


#: What stands where a program does not know a value.
_UNKNOWN = ("", "-999", "-999.000000", "None")
_SIZE_LABELS = (OWN_PIXEL, MOVIE_PIXEL, IMAGE_PIXEL, DETECTOR_UM, MAGNIFICATION)


def size_keys(groups: Mapping[str, Group], table: StarTable) -> dict[tuple[str, ...], list[int]]:
    """Rows of a table by the texts that speak of pixel sizes (row's own columns first, then its group's)."""
    n = len(table)
    if not n:
        return {tuple(group.get(label, "") for label in _SIZE_LABELS): [] for group in groups.values()}
    if not groups and not any(label in table.columns for label in _SIZE_LABELS):
        return {("",) * len(_SIZE_LABELS): list(range(n))}
    only = next(iter(groups.values())) if len(groups) == 1 and GROUP not in table.columns else {}
    numbers = [plain_number(text) for text in table.columns[GROUP]] if GROUP in table.columns else [""] * n
    columns = []
    for label in _SIZE_LABELS:
        if label in table.columns:
            columns.append(list(table.columns[label]))
        else:
            columns.append([groups.get(number, only).get(label, "") for number in numbers])
    keys: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*columns, strict=True)):
        keys.setdefault(key, []).append(row)
    return keys


def _pixel_size(texts: Mapping[str, str], extracted: bool) -> PixelSize:
    own, movie, image = (_positive(texts[label]) for label in (OWN_PIXEL, MOVIE_PIXEL, IMAGE_PIXEL))
    detector, magnification = _positive(texts[DETECTOR_UM]), _positive(texts[MAGNIFICATION])
    ratio = 1e4 * detector / magnification if detector and magnification else None
    if own is not None:
        return PixelSize(own, _doubt(own, OWN_PIXEL, {MOVIE_PIXEL: movie, IMAGE_PIXEL: image, "magnification": ratio}))
    if movie is not None:
        doubt = _doubt(movie, MOVIE_PIXEL, {IMAGE_PIXEL: image, "magnification": ratio})
        # binning only makes pixels larger: movie <= micrograph <= particle
        if not doubt and not (image is not None and abs(image / movie - 1) < 1e-3):
            doubt = f"it gives the movie's pixel before binning ({MOVIE_PIXEL} {movie:g} Å), not the micrograph's own"
        return PixelSize(movie, doubt)
    if ratio is not None:
        doubt = _doubt(ratio, f"{DETECTOR_UM} and {MAGNIFICATION}", {})
        if not doubt and extracted:
            doubt = f"magnification and detector pixel give the extracted particle's pixel ({ratio:.4g} Å), which is "
            doubt += "the micrograph's only where particles were not binned"
        return PixelSize(ratio, doubt)
    if image is not None:
        return PixelSize(None, f"it gives only the particle's pixel ({IMAGE_PIXEL} {image:g} Å)")
    stated = ((label, texts[label]) for label in (OWN_PIXEL, MOVIE_PIXEL, MAGNIFICATION))
    return PixelSize(None, next((f"{label} is {text}" for label, text in stated if text not in _UNKNOWN), ""))


def _doubt(value: float, label: str, alternatives: Mapping[str, float | None]) -> str:
    """Why a pixel size should be questioned, in the words that headers get; other columns may settle an exact 1."""
    known = {name: other for name, other in alternatives.items() if other is not None and not pixel_size_doubt(other)}
    if value == 1.0:
        same = [other for other in alternatives.values() if other == 1.0]
        if known:
            name, other = next(iter(known.items()))
            return f"{label} says exactly 1 Å/px, a placeholder, and {name} says {other:.4g}"
        return "" if same else f"{label} says exactly 1 Å/px, which is what programs write when they do not know"
    return f"{label}: {pixel_size_doubt(value)}" if pixel_size_doubt(value) else ""


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


# --- writing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class OpticsTable:
    """The optics groups of an export.

    Attributes
    ----------
    columns : mapping of label to list of str
        ``data_optics``.
    numbers : list of (n,) int64
        For each micrograph the group of each particle; (1,), the micrograph's own, where it has none.
    """

    columns: dict[str, list[str]]
    numbers: list[NDArray[np.int64]]


def optics_table(
    picks: Sequence[MicrographPicks], options: WriteOptions, *, of_micrographs: bool = False
) -> OpticsTable:
    """Optics groups of picks: those they came in with, whole, and one for each pixel size and microscope of the rest.

    Parameters
    ----------
    picks : sequence of MicrographPicks
    options : WriteOptions
        A frame of another scale multiplies the pixel size.
    of_micrographs : bool
        For a table of micrographs: what belongs to particles' images is left out.

    Raises
    ------
    FormatError
        Only some micrographs have a pixel size.
    """
    _require_pixel_sizes(picks)
    scale = 1.0 if options.frame is None else options.frame.scale
    sole = _sole_group(picks)
    places: dict[tuple[tuple[str, str], ...], int] = {}
    rows_of: list[NDArray[np.int64]] = []
    for pick in picks:
        keys = _keys(pick, scale, of_micrographs, sole)
        rows_of.append(np.array([places.setdefault(key, len(places)) for key in keys], np.int64))
    groups = [dict(key) for key in places]
    numbers = _numbers(groups)
    columns = _columns(groups, numbers)
    return OpticsTable(columns, [numbers[rows] for rows in rows_of])


def _require_pixel_sizes(picks: Sequence[MicrographPicks]) -> None:
    known = [pick.pixel_size_A is not None or bool(pick.optics) for pick in picks]
    if any(known) and not all(known):
        without = picks[known.index(False)].micrograph.name
        raise FormatError(f"{without} has no pixel size but others have; set it, RELION groups micrographs by it")


def _sole_group(picks: Sequence[MicrographPicks]) -> Group:
    """The one group that all picks came in with, which a micrograph without any is of, too; else none."""
    groups = {tuple(sorted(group.items())) for pick in picks for group in pick.optics}
    return dict(groups.pop()) if len(groups) == 1 else {}


def _keys(pick: MicrographPicks, scale: float, of_micrographs: bool, sole: Group) -> list[tuple[tuple[str, str], ...]]:
    """What each particle's group is distinguished by: all its labels but the number is among them."""
    size = None if pick.pixel_size_A is None else number_text(np.array([pick.pixel_size_A * scale]))[0]
    rows = np.full(len(pick), -1, np.int64) if pick.optics_row is None else pick.optics_row
    here = set(rows[rows >= 0].tolist())
    # a pick made by hand is of the group of all others here, or of the micrograph's
    usual = here.pop() if len(here) == 1 else 0 if not here and len(pick.optics) == 1 else -1
    cache: dict[tuple[int, tuple[str, ...]], tuple[tuple[str, str], ...]] = {}
    labels, own = _own_columns(pick)
    if len(pick) and not labels and (rows == rows[0]).all():
        group = int(rows[0]) if rows[0] >= 0 else usual
        return [_key(dict(pick.optics[group]) if group >= 0 else {}, size, scale, of_micrographs)] * len(pick)
    filled = _agreed(own, labels)
    keys = []
    for row, values in zip(rows.tolist(), own, strict=True):
        case = (row if row >= 0 else usual, tuple(text or filled[i] for i, text in enumerate(values)))
        if case not in cache:
            entries = {label: text for label, text in zip(labels, case[1], strict=True) if text not in ("", "-999")}
            cache[case] = _key(
                {**(pick.optics[case[0]] if case[0] >= 0 else {}), **entries}, size, scale, of_micrographs
            )
        keys.append(cache[case])
    if not keys:
        keys = [_key(dict(pick.optics[0] if pick.optics else sole), size, scale, of_micrographs)]
    return keys


def _own_columns(pick: MicrographPicks) -> tuple[list[str], list[tuple[str, ...]]]:
    """Labels of a group that the rows themselves have, and each row's texts."""
    columns = {label: pick.extra[label].tolist() for label in pick.extra if label in OF_GROUP}
    if IMAGE_PIXEL not in columns and {"rlnImageName", DETECTOR_UM, MAGNIFICATION} <= set(pick.extra):
        pairs = zip(pick.extra[DETECTOR_UM].tolist(), pick.extra[MAGNIFICATION].tolist(), strict=True)
        sizes = {pair: _ratio_text(*pair) for pair in set(pairs)}
        pairs = zip(pick.extra[DETECTOR_UM].tolist(), pick.extra[MAGNIFICATION].tolist(), strict=True)
        columns[IMAGE_PIXEL] = [sizes[pair] for pair in pairs]
    rows: list[tuple[str, ...]] = list(zip(*columns.values(), strict=True)) if columns else [()] * len(pick)
    return list(columns), rows


def _ratio_text(detector_um: str, magnification: str) -> str:
    """Pixel size of a particle as RELION <= 3.0 says it; empty where it makes no sense."""
    detector, times = _positive(detector_um), _positive(magnification)
    size = 1e4 * detector / times if detector and times else None
    return "" if size is None or pixel_size_doubt(size) else f"{size:.6g}"


def _agreed(rows: Sequence[tuple[str, ...]], labels: Sequence[str]) -> list[str]:
    """For each label the value that all rows which have one agree on; empty where they do not."""
    values = [{row[i] for row in rows} - {""} for i in range(len(labels))]
    return [next(iter(texts)) if len(texts) == 1 else "" for texts in values]


def _key(group: dict[str, str], size: str | None, scale: float, of_micrographs: bool) -> tuple[tuple[str, str], ...]:
    if not group.get(GROUP_NAME) and size is not None:
        group.setdefault(MOVIE_PIXEL, size)
    stated = _positive(group.get(OWN_PIXEL, ""))
    if size is not None and (scale != 1.0 or stated is None or pixel_size_doubt(stated)):
        group[OWN_PIXEL] = size
        if scale != 1.0:
            group[MOVIE_PIXEL] = size
    if of_micrographs:
        group = {label: text for label, text in group.items() if label not in _OF_IMAGES}
    return tuple(sorted(group.items()))


def _numbers(groups: Sequence[Group]) -> NDArray[np.int64]:
    """A number for each group: its own where that is free, else the next."""
    taken: set[int] = set()
    numbers: list[int] = []
    for group in groups:
        text = plain_number(group.get(GROUP, ""))
        own = int(text) if text.isdecimal() else 0
        number = own if own > 0 and own not in taken else 0
        numbers.append(number)
        taken.add(number)
    spare = (n for n in range(1, 2 * len(groups) + 2) if n not in taken)
    return np.array([number or next(spare) for number in numbers], np.int64)


def _columns(groups: Sequence[Group], numbers: NDArray[np.int64]) -> dict[str, list[str]]:
    labels = dict.fromkeys(label for group in groups for label in group)
    labels = dict.fromkeys((OWN_PIXEL, MOVIE_PIXEL, *REQUIRED, *labels))
    columns = {GROUP_NAME: _names(groups, numbers), GROUP: list(map(str, numbers.tolist()))}
    for label in labels:
        texts = [group.get(label, "") for group in groups]
        if label in columns or (label not in REQUIRED and not any(texts)):
            continue
        columns[label] = [text or _fill(label, group) for text, group in zip(texts, groups, strict=True)]
    return columns


def _fill(label: str, group: Group) -> str:
    if label in (MOVIE_PIXEL, IMAGE_PIXEL):
        return group.get(OWN_PIXEL, group.get(MOVIE_PIXEL, "0"))
    return _NEUTRAL.get(label, "0")


def _names(groups: Iterable[Group], numbers: NDArray[np.int64]) -> list[str]:
    """A name for each group, its own where it has one; RELION takes groups of one name for one group."""
    names: list[str] = []
    given = {group[GROUP_NAME] for group in groups if group.get(GROUP_NAME)}
    for group, number in zip(groups, numbers.tolist(), strict=True):
        base = group.get(GROUP_NAME) or f"opticsGroup{number}"
        name, copy = base, 2
        while name in names or (name in given and not group.get(GROUP_NAME)):
            name, copy = f"{base}_{copy}", copy + 1
        names.append(name)
    return names
