"""CTF values of micrographs, as RELION, CTFFIND, Gctf, Warp and cryoSPARC write them.

Bad rows are left out and named; the good ones are read. NaN stands for what a file does not say.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import FloatArray
from ..model.pickfile import Issue
from .cryosparc_exposures import exposure_ctfs
from .ctf_row import CtfRow
from .relion_optics import GROUP, groups_of, plain_number
from .table.star import ColumnReader, StarTable
from .table.star_file import read_star
from .table.text_rows import read_bounded

_NAME = "rlnMicrographName"
_U = "rlnDefocusU"
_V = "rlnDefocusV"
#: Labels of a row, or of its optics group, by what they say.
_LABELS = {
    "defocus_u_A": _U,
    "defocus_v_A": _V,
    "angle_deg": "rlnDefocusAngle",
    "phase_shift_deg": "rlnPhaseShift",
    "voltage_kV": "rlnVoltage",
    "cs_mm": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
    "resolution_A": "rlnCtfMaxResolution",
}
_AVERAGE = "_avrot"
_MICROSCOPE = ("acceleration voltage", "spherical aberration", "amplitude contrast")
_INPUT_LINE = re.compile(r"^# Input file:([^;\n]+)", re.M)
_GCTF_VALUES = re.compile(
    r"^[ \t]*([-\d.]+)[ \t]+([-\d.]+)[ \t]+([-\d.]+)[ \t]+([-\d.]+)(?:[ \t]+[-\d.]+)?[ \t]+Final Values", re.M
)
_GCTF_RESOLUTION = re.compile(r"RES_LIMIT\s+([\d.]+)")
_GCTF_OPTION = re.compile(r"(?m)(?:--|^[ \t]*)(kV|cs|ac)[ \t]+([\d.]+)")
_MOST_DEFOCUS_A = 300_000.0
#: Smaller ones than a micrograph's thickness are of another unit.
_LEAST_DEFOCUS_A = 50.0
#: Particles of one micrograph differ by less: tilted by 45 degrees across 0.8 um, angstrom.
_APART_A = 8_000.0


@dataclass(frozen=True, eq=False)
class CtfTable:
    """Rows that were read, and those left out, each named with why.

    Attributes
    ----------
    rows : tuple of CtfRow
    issues : tuple of Issue
        Rows left out.
    notes : tuple of str
        What is odd about the rows that were read.
    """

    rows: tuple[CtfRow, ...]
    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()


def read_ctf_files(source: Path) -> CtfTable:
    """Read CTF values of a file, or of all files of that kind in a folder or a pattern.

    Raises
    ------
    FormatError
        Nothing there holds CTF values.
    """
    source = source.expanduser()
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if _may_hold_ctf(path))
    elif source.exists() or not any(sign in source.name for sign in "*?["):
        return read_ctf(source)
    else:
        paths = sorted(path for path in source.parent.glob(source.name) if path.is_file())
    rows: list[CtfRow] = []
    issues: list[Issue] = []
    notes: dict[str, None] = {}
    for path in paths:
        try:
            table = read_ctf(path)
        except FormatError as error:
            issues.append(Issue(error.detail, path, error.line))
            continue
        rows += table.rows
        issues += table.issues
        notes |= dict.fromkeys(table.notes)
    if not rows:
        raise FormatError("holds no CTF values" + (f" ({issues[0].message})" if issues else ""), source)
    return CtfTable(tuple(rows), tuple(issues), tuple(notes))


def _may_hold_ctf(path: Path) -> bool:
    ending, stem = path.suffix.lower(), path.stem.lower()
    return ending in (".star", ".xml", ".cs") or (ending in (".txt", ".log") and not stem.endswith(_AVERAGE))


def read_ctf(path: Path) -> CtfTable:
    """Read CTF values of one file; its kind is seen from its content.

    Raises
    ------
    FormatError
        It holds none, or not one row of it makes sense.
    """
    if path.suffix.lower() in (".cs", ".csg"):
        return _without_bad_rows(exposure_ctfs(path), path)
    if path.suffix.lower() == ".star":
        return _without_bad_rows(*_of_star(path))
    text = read_bounded(path)
    for sign, read in _KINDS:
        if re.search(sign, text):
            return _without_bad_rows(read(text, path), path)
    raise FormatError(
        "holds no CTF values that are known here (RELION and Gctf STAR, CTFFIND .txt, Gctf .log, Warp .xml, cryoSPARC "
        "exposures .cs)",
        path,
    )


def _without_bad_rows(
    rows: Sequence[CtfRow], path: Path, issues: Sequence[Issue] = (), notes: Sequence[str] = ()
) -> CtfTable:
    good: list[CtfRow] = []
    bad = list(issues)
    for row in rows:
        problem = _problem(row)
        if problem:
            bad.append(Issue(f"{row.name}: {problem}", path, row.line))
        else:
            good.append(replace(row, resolution_A=row.resolution_A if 0 < row.resolution_A < 1e3 else math.nan))
    if not good:
        raise FormatError("gives no micrograph a defocus" + (f" ({bad[0].message})" if bad else ""), path)
    over = [row.name for row in good if row.defocus_u_A < 0]
    said = list(notes)
    if over:
        said.append(f"{path.name}: {_and_more(over)} with a negative defocus (overfocus; underfocus is positive)")
    return CtfTable(tuple(good), tuple(bad), tuple(said))


def _and_more(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")


def _problem(row: CtfRow) -> str:
    """Why a row is left out; empty where it is good."""
    if not math.isfinite(row.defocus_u_A):
        return "no defocus"
    if row.defocus_u_A == 0 and not row.defocus_v_A:
        return "a defocus of exactly 0, which programs write when they found none"
    if 0 < abs(row.defocus_u_A) < _LEAST_DEFOCUS_A:
        return f"defocus of {row.defocus_u_A:g} A makes no sense: it looks like micrometres; multiply by 10,000"
    limits = (
        ("defocus", row.defocus_u_A, -_MOST_DEFOCUS_A, _MOST_DEFOCUS_A, "A"),
        ("defocus", row.defocus_v_A, -_MOST_DEFOCUS_A, _MOST_DEFOCUS_A, "A"),
        ("voltage", row.voltage_kV, 20.0, 3000.0, "kV"),
        ("spherical aberration", row.cs_mm, 0.0, 50.0, "mm"),
        ("amplitude contrast", row.amplitude_contrast, 0.0, 1.0, ""),
    )
    for what, value, low, high, unit in limits:
        if math.isinf(value) or value < low or value > high:
            amount, span = f"{value:g} {unit}".strip(), f"{low:g} to {high:g} {unit}".strip()
            return f"{what} of {amount} makes no sense ({span})"
    return ""


# --- RELION, Gctf --------------------------------------------------------------------------------------------------


def _of_star(path: Path) -> tuple[list[CtfRow], Path, list[Issue], list[str]]:
    star = read_star(path, permissive=True)
    table = next((table for table in star.tables if {_NAME, _U} <= set(table.columns)), None)
    if table is None:
        names = [label for block in star.tables for label in block.columns]
        hint = ": it lists micrographs without CTF values" if _NAME in names else ""
        raise FormatError(f"holds no table with {_NAME} and {_U}{hint}", path)
    groups = groups_of(star)
    issues = list(star.issues)
    columns = {name: _numbers(table, label, groups, path, issues) for name, label in _LABELS.items()}
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.columns[_NAME]):
        rows.setdefault(name, []).append(row)
    group_of = table.columns.get(GROUP, ())
    return (
        [
            _mean_row(
                name, members, columns, table, groups.get(plain_number(group_of[members[0]]), {}) if group_of else {}
            )
            for name, members in rows.items()
        ],
        path,
        issues,
        _apart(rows, columns["defocus_u_A"], path),
    )


def _apart(rows: Mapping[str, Sequence[int]], defocus_A: FloatArray, path: Path) -> list[str]:
    """Micrographs whose rows differ by more than a tilted specimen explains: two exposures may share the name."""
    spreads = {}
    for name, members in rows.items():
        values = defocus_A[list(members)]
        values = values[np.isfinite(values)]
        if len(values) > 1 and np.ptp(values) > _APART_A:
            spreads[name] = (values.min() / 1e4, values.max() / 1e4)
    if not spreads:
        return []
    low, high = next(iter(spreads.values()))
    return [f"{path.name}: rows from {low:.2f} to {high:.2f} um were averaged for {_and_more(list(spreads))}"]


def _numbers(
    table: StarTable, label: str, groups: Mapping[str, Mapping[str, str]], path: Path, issues: list[Issue]
) -> FloatArray:
    """(n,) numbers of a label: the row's own, else its optics group's, else NaN."""
    own = np.full(len(table), np.nan)
    if label in table.columns:
        reader = ColumnReader(table.columns, table.lines, path, True)
        reader.number(label, optional=True)
        issues += [issue for issue in reader.issues if "'inf" not in issue.message and "'-inf" not in issue.message]
        own = _plain_numbers(table.columns[label])
    if GROUP not in table.columns:
        return own
    of_group = {number: _plain_numbers([group.get(label, "")])[0] for number, group in groups.items()}
    theirs = [of_group.get(plain_number(text), math.nan) for text in table.columns[GROUP]]
    return np.where(np.isnan(own), theirs, own)


def _plain_numbers(texts: Sequence[str]) -> FloatArray:
    """(n,) numbers; text that is not a number, and -999, become NaN. Infinity stays, so that its row is reported."""
    reader = ColumnReader({"": texts}, range(len(texts)), Path(), True)
    values = reader.number("", optional=True)
    infinite = [text.strip().lower().lstrip("+-") in ("inf", "infinity") for text in texts]
    return np.where(infinite, np.inf, values)


def _mean_row(
    name: str,
    members: list[int],
    columns: Mapping[str, FloatArray],
    table: StarTable,
    group: Mapping[str, str],
) -> CtfRow:
    """Particles of one micrograph as one row: their mean defocus, and the first one's other values."""
    known = [row for row in members if np.isfinite(columns["defocus_u_A"][row])] or members
    first = known[0]
    values: dict[str, Any] = {label: float(column[first]) for label, column in columns.items()}
    values["defocus_u_A"] = float(np.mean(columns["defocus_u_A"][known]))
    values["defocus_v_A"] = float(np.mean(columns["defocus_v_A"][known]))
    return CtfRow(name, **values, line=table.lines[first], group=group)


# --- CTFFIND, Gctf, Warp -------------------------------------------------------------------------------------------


def _of_ctffind(text: str, path: Path) -> list[CtfRow]:
    """``diagnostic_output.txt`` of CTFFIND 4 and 5: comment lines, then a row for each micrograph of the input."""
    if path.stem.endswith(_AVERAGE):
        beside = path.with_name(path.name.replace(_AVERAGE, ""))
        if not beside.is_file():
            raise FormatError(
                f"holds CTFFIND's averages only; the defocus is in {beside.name}, which is not here", path
            )
        return _of_ctffind(read_bounded(beside), beside)
    kilovolts, cs, contrast = (_number_after(name, text) for name in _MICROSCOPE)
    named = _INPUT_LINE.search(text)
    name = (named[1].strip() if named else "") or path.stem
    rows: list[CtfRow] = []
    for number, line in enumerate(text.split("\n"), 1):
        values = _plain_numbers(line.split()) if line.strip() and not line.startswith("#") else np.zeros(0)
        if len(values) >= 7:
            u, v, angle, shift, _, resolution = values[1:7].tolist()
            rows.append(
                CtfRow(
                    name,
                    u,
                    v,
                    angle,
                    math.degrees(shift),
                    kilovolts,
                    cs,
                    contrast,
                    resolution,
                    line=number,
                    other_name=path.stem,
                )
            )
    if not rows:
        raise FormatError("has no row of CTFFIND's seven values", path)
    return rows[:1] if len(rows) == 1 else [_mean_of(rows)]


def _number_after(name: str, text: str) -> float:
    """The value in ``name: value``; NaN where there is none."""
    match = re.search(rf"{name}:[ \t]*([\d.eE+-]+)", text)
    try:
        return float(match[1]) if match else math.nan
    except ValueError:
        return math.nan


def _mean_of(rows: Sequence[CtfRow]) -> CtfRow:
    """Frames of one stack as one row."""
    u, v = (float(np.nanmean([getattr(row, name) for row in rows])) for name in ("defocus_u_A", "defocus_v_A"))
    return replace(rows[0], defocus_u_A=u, defocus_v_A=v)


def _of_gctf(text: str, path: Path) -> list[CtfRow]:
    """Gctf's log of one micrograph: the line of final values, and the estimated resolution."""
    match = _GCTF_VALUES.search(text)
    if match is None:
        raise FormatError("is a Gctf log without final values", path)
    options = {name: float(value) for name, value in _GCTF_OPTION.findall(text)}
    resolution = _GCTF_RESOLUTION.search(text)
    stem = re.sub(r"_gctf$", "", path.stem)
    return [
        CtfRow(
            stem,
            float(match[1]),
            float(match[2]),
            float(match[3]),
            voltage_kV=options.get("kV", math.nan),
            cs_mm=options.get("cs", math.nan),
            amplitude_contrast=options.get("ac", math.nan),
            resolution_A=float(resolution[1]) if resolution else math.nan,
        )
    ]


def _of_warp(text: str, path: Path) -> list[CtfRow]:
    """Warp's XML of one movie: micrometres, total astigmatism, phase shift in half turns."""
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise FormatError("is XML with a document type, which Warp does not write: refused", path)
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FormatError(f"is no XML ({error})", path) from error
    ctf = root.find("CTF") if root.tag != "CTF" else root
    values = {p.get("Name", ""): p.get("Value", "") for p in ([] if ctf is None else ctf.iter("Param"))}

    def value(name: str, scale: float = 1.0) -> float:
        return float(_plain_numbers([values.get(name, "")])[0]) * scale

    mean, delta = value("Defocus", 1e4), value("DefocusDelta", 1e4)
    half = 0.0 if math.isnan(delta) else delta / 2.0
    return [
        CtfRow(
            path.stem,
            mean + half,
            mean - half,
            value("DefocusAngle"),
            value("PhaseShift", 180.0),
            value("Voltage"),
            value("Cs"),
            value("Amplitude"),
            float(_plain_numbers([root.get("CTFResolutionEstimate", "")])[0]),
            value("PixelSize"),
        )
    ]


_KINDS: tuple[tuple[str, Callable[[str, Path], list[CtfRow]]], ...] = (
    (r"(?im)^# Output from CTFFIND|^#.*defocus 2", _of_ctffind),
    (r"(?i)Final Values", _of_gctf),
    (r"(?s)<(?:Movie|TiltSeries|CTF)\b", _of_warp),
)
