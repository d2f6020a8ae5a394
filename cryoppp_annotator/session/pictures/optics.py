"""What is known of how each micrograph was imaged: read from a STAR, entered by hand, kept with the micrograph."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import FormatError, Refused
from ...formats.registry import match_micrographs
from ...formats.table.star import ColumnReader, StarFile, StarTable
from ...formats.table.star_file import read_star
from ...imaging.ctf import Ctf, Defocus, Optics
from ...model.curation import Change
from ...model.message import Message
from ...model.micrograph import Micrograph
from ..core.edits import count_of, set_text
from ..core.session import Session
from ..core.step import Done, Result

#: Defocus that makes sense, angstrom; overfocus is negative.
_MOST_DEFOCUS_A = 300_000.0
_LABELS = {
    "voltage_kV": "rlnVoltage",
    "cs_mm": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}


@dataclass(frozen=True, eq=False)
class OpticsPlan:
    """A STAR read and matched, not yet in the project.

    Attributes
    ----------
    path : Path
    ctfs : mapping of micrograph id to Ctf
    unmatched : tuple of str
        Names of no micrograph here.
    ambiguous : mapping of name to candidates
    """

    path: Path
    ctfs: Mapping[int, Ctf]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]


def ctf_of(micrograph: Micrograph) -> Ctf | None:
    """The micrograph's CTF; None where nobody said its defocus, or what is stored makes no sense."""
    if not micrograph.optics:
        return None
    try:
        stored = json.loads(micrograph.optics)
        u = float(stored["defocus_u_A"])
        defocus = Defocus(u, float(stored.get("defocus_v_A", u)), float(stored.get("defocus_angle_deg", 0.0)))
        usual = Optics()
        optics = Optics(
            float(stored.get("voltage_kV", usual.voltage_kV)),
            float(stored.get("cs_mm", usual.cs_mm)),
            float(stored.get("amplitude_contrast", usual.amplitude_contrast)),
            phase_shift_deg=float(stored.get("phase_shift_deg", 0.0)),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    ctf = Ctf(defocus, optics)
    return None if impossible(ctf) else ctf


def as_json(ctf: Ctf) -> str:
    """As the database keeps it; see :class:`..model.micrograph.Micrograph`."""
    values = {
        "voltage_kV": ctf.optics.voltage_kV,
        "cs_mm": ctf.optics.cs_mm,
        "amplitude_contrast": ctf.optics.amplitude_contrast,
        "defocus_u_A": ctf.defocus.u_A,
        "defocus_v_A": ctf.defocus.v_A,
        "defocus_angle_deg": ctf.defocus.angle_deg,
    }
    if ctf.optics.phase_shift_deg:
        values["phase_shift_deg"] = ctf.optics.phase_shift_deg
    return json.dumps({name: round(float(value), 6) for name, value in values.items()})


def impossible(ctf: Ctf) -> str:
    """Why a CTF makes no sense; empty where it does."""
    limits = (
        ("defocus", ctf.defocus.u_A, -_MOST_DEFOCUS_A, _MOST_DEFOCUS_A, "A"),
        ("defocus", ctf.defocus.v_A, -_MOST_DEFOCUS_A, _MOST_DEFOCUS_A, "A"),
        ("astigmatism angle", ctf.defocus.angle_deg, -360.0, 360.0, "degrees"),
        ("voltage", ctf.optics.voltage_kV, 20.0, 3000.0, "kV"),
        ("spherical aberration", ctf.optics.cs_mm, 0.0, 50.0, "mm"),
        ("amplitude contrast", ctf.optics.amplitude_contrast, 0.0, 1.0, ""),
        ("phase shift", ctf.optics.phase_shift_deg, -360.0, 360.0, "degrees"),
    )
    for what, value, low, high, unit in limits:
        if not (math.isfinite(value) and low <= value <= high):
            measured, limit = f"{value:g} {unit}".strip(), f"{low:g} to {high:g} {unit}".strip()
            article = "an" if what[0] in "aeiou" else "a"
            return f"{article} {what} of {measured} makes no sense ({limit})"
    return ""


# ------------------------------------------------------------------------------------------------------ verbs


def set_optics(session: Session, micrograph_ids: Iterable[int], ctf: Ctf | None) -> Result:
    """Say how micrographs were imaged (None = nobody knows), as one step.

    Raises
    ------
    Refused
        A value that makes no sense.
    """
    if ctf is not None and (why := impossible(ctf)):
        raise Refused(why)
    text = "" if ctf is None else as_json(ctf)
    texts = dict.fromkeys(micrograph_ids, text)
    said = "not known" if ctf is None else f"{(ctf.defocus.u_A + ctf.defocus.v_A) / 2e4:.2f} um"

    def build() -> Change | None:
        one = session.micrograph(next(iter(texts))).name if len(texts) == 1 else count_of(len(texts), "micrograph")
        return set_text(session.micrographs, "optics", texts, "optics", f"defocus of {one}: {said}")

    return session.insert_built(build)


def read_optics(session: Session, star: Path) -> OpticsPlan:
    """Read a ``micrographs_ctf.star`` (or a particles STAR: the mean of each micrograph) and match it by name.

    Raises
    ------
    FormatError
        It cannot be read, holds no defocus, or belongs to none of the micrographs.
    """
    named = read_ctfs(star)
    by_path = {m.path: m.id for m in session.micrographs}
    match = match_micrographs(named, by_path)
    ctfs = {by_path[path]: named[name] for name, path in match.matches.items()}
    if not ctfs:
        names = ", ".join(list(named)[:2])
        raise FormatError(f"names none of the project's micrographs (it has {names} ...)", star)
    return OpticsPlan(star, ctfs, match.unmatched, match.ambiguous)


def import_optics(session: Session, star: Path) -> str:
    """Read, match and enter a STAR as one step; returns the line for the status bar. Raises as :func:`read_optics`."""
    return enter(session, read_optics(session, star))


def enter(session: Session, plan: OpticsPlan) -> str:
    """Enter what :func:`read_optics` found as one step that can be undone; returns the line for the status bar."""
    texts = {i: as_json(ctf) for i, ctf in plan.ctfs.items()}
    what = f"the defocus of {count_of(len(texts), 'micrograph')}"
    message = Message("import", what, where=f"from {plan.path.name}")
    result = session.insert_built(lambda: set_text(session.micrographs, "optics", texts, "import-optics", message))
    said = message.done if isinstance(result, Done) else f"{plan.path.name} says nothing new"
    lines = [said]
    if plan.unmatched:
        lines.append(f"{len(plan.unmatched)} names match no micrograph ({', '.join(plan.unmatched[:2])} ...)")
    if plan.ambiguous:
        lines.append(f"{len(plan.ambiguous)} names are ambiguous ({', '.join(list(plan.ambiguous)[:2])} ...)")
    return " · ".join(lines)


# ------------------------------------------------------------------------------------------------------ the STAR


def read_ctfs(star: Path) -> dict[str, Ctf]:
    """CTF by micrograph name, as RELION's and CTFFIND's jobs write it.

    Rows whose defocus is not set (-999, nan) are left out; several rows of a micrograph (particles) are averaged.

    Raises
    ------
    FormatError
        It cannot be read, holds no defocus, or a value makes no sense.
    """
    file = read_star(star)
    labels = {"rlnMicrographName", "rlnDefocusU"}
    table = next((t for t in file.tables if labels <= set(t.columns)), None)
    if table is None:
        raise FormatError("holds no table with rlnMicrographName and rlnDefocusU", star)
    reader = ColumnReader(table.columns, table.lines, star, False)
    u = reader.number("rlnDefocusU", optional=True)
    v = reader.number("rlnDefocusV", optional=True) if "rlnDefocusV" in table.columns else u
    v = np.where(np.isnan(v), u, v)
    zero = np.zeros(len(table))
    angle = reader.number("rlnDefocusAngle", optional=True) if "rlnDefocusAngle" in table.columns else zero
    shift = reader.number("rlnPhaseShift", optional=True) if "rlnPhaseShift" in table.columns else zero
    optics = _optics_of_rows(file, table, star)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.columns["rlnMicrographName"]):
        if np.isfinite(u[row]):
            rows.setdefault(name, []).append(row)
    ctfs = {}
    for name, members in rows.items():
        first = members[0]
        defocus = Defocus(float(u[members].mean()), float(v[members].mean()), float(np.nan_to_num(angle[first])))
        ctf = Ctf(defocus, replace(optics[first], phase_shift_deg=float(np.nan_to_num(shift[first]))))
        if why := impossible(ctf):
            raise FormatError(why, star, table.lines[first])
        ctfs[name] = ctf
    if not ctfs:
        raise FormatError("gives no micrograph a defocus", star)
    return ctfs


def _optics_of_rows(file: StarFile, table: StarTable, path: Path) -> list[Optics]:
    """The microscope of each row: its own columns, else those of its optics group, else the usual."""
    groups = file.table("optics")
    by_group = {}
    if groups is not None and "rlnOpticsGroup" in groups.columns:
        by_group = dict(zip(groups.columns["rlnOpticsGroup"], _optics(groups, path), strict=True))
    own = _optics(table, path)
    if any(label in table.columns for label in _LABELS.values()) or "rlnOpticsGroup" not in table.columns:
        return own
    return [by_group.get(group, usual) for group, usual in zip(table.columns["rlnOpticsGroup"], own, strict=True)]


def _optics(table: StarTable, path: Path) -> list[Optics]:
    usual = Optics()
    reader = ColumnReader(table.columns, table.lines, path, False)
    values = {}
    for field, label in _LABELS.items():
        given = reader.number(label, optional=True) if label in table.columns else np.full(len(table), np.nan)
        values[field] = np.where(np.isnan(given), getattr(usual, field), given)
    return [
        Optics(float(values["voltage_kV"][i]), float(values["cs_mm"][i]), float(values["amplitude_contrast"][i]))
        for i in range(len(table))
    ]
