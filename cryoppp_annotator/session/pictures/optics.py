"""What is known of how each micrograph was imaged: read from a STAR, entered by hand, kept with the micrograph."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import FormatError, Refused
from ...formats.ctf_files import read_ctf_files
from ...formats.ctf_row import CtfRow
from ...formats.registry import match_micrographs
from ...imaging.ctf import Ctf, Defocus, Optics
from ...model.curation import Change
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.pickfile import Issue
from ..core.edits import count_of, set_text
from ..core.session import Session
from ..core.settings import microscope_text
from ..core.step import Done, Result

#: Defocus that makes sense, angstrom; overfocus is negative.
_MOST_DEFOCUS_A = 300_000.0


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
    texts : mapping of micrograph id to str
        What the project keeps of each, where it is more than the CTF.
    issues : tuple of Issue
        Rows left out, and why.
    assumed : str
        What the file does not say and was taken as usual, and what is odd about it; empty where nothing is.
    """

    path: Path
    ctfs: Mapping[int, Ctf]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    texts: Mapping[int, str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    assumed: str = ""


def ctf_of(micrograph: Micrograph) -> Ctf | None:
    """The micrograph's CTF; None where its defocus is not known, or what is stored makes no sense."""
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


def as_json(ctf: Ctf, resolution_A: float = math.nan, relion: Mapping[str, object] | None = None) -> str:
    """As the database keeps it; see :class:`..model.micrograph.Micrograph`.

    Parameters
    ----------
    ctf : Ctf
    resolution_A : float
        To which the fit is good; NaN = not known.
    relion : mapping, optional
        ``name`` and ``group``: what RELION calls the micrograph, and its optics group.
    """
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
    if math.isfinite(resolution_A):
        values["resolution_A"] = resolution_A
    numbers = {name: round(float(value), 6) for name, value in values.items()}
    return json.dumps(numbers if relion is None else {**numbers, "relion": relion})


def resolution_of(micrograph: Micrograph) -> float:
    """To which resolution the micrograph's CTF was fitted, angstrom; NaN where it is not known."""
    value = _stored(micrograph).get("resolution_A", math.nan)
    return float(value) if isinstance(value, int | float) else math.nan


def relion_of(micrograph: Micrograph) -> dict[str, Any]:
    """What RELION's list says of the micrograph: ``name``, and ``group``, its optics group; empty where unknown."""
    relion = _stored(micrograph).get("relion", {})
    return relion if isinstance(relion, dict) else {}


def _stored(micrograph: Micrograph) -> dict[str, Any]:
    try:
        values = json.loads(micrograph.optics) if micrograph.optics else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


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
    """Say how micrographs were imaged (None = not known), as one step.

    Raises
    ------
    Refused
        A value that makes no sense.
    """
    if ctf is not None and (why := impossible(ctf)):
        raise Refused(why)

    def text_of(number: int) -> str:
        relion = relion_of(session.micrograph(number))
        return "" if ctf is None else as_json(ctf, relion=relion or None)

    texts = {number: text_of(number) for number in micrograph_ids}
    text = "not known" if ctf is None else f"{(ctf.defocus.u_A + ctf.defocus.v_A) / 2e4:.2f} um"

    def build() -> Change | None:
        named = session.micrograph(next(iter(texts))).name if len(texts) == 1 else count_of(len(texts), "micrograph")
        return set_text(session.micrographs, "optics", texts, "optics", f"defocus of {named}: {text}")

    return session.insert_built(build)


def set_microscope(
    session: Session, microscope: Optics, micrograph_ids: Iterable[int] = (), *, with_project: bool = True
) -> None:
    """Say with which microscope micrographs were taken, as one step; each keeps its defocus.

    Parameters
    ----------
    microscope : Optics
    micrograph_ids : iterable of int
        Micrographs that get it where their defocus is known.
    with_project : bool
        Also those whose defocus is not known yet, as the project's microscope.

    Raises
    ------
    Refused
        A value that makes no sense.
    """
    if why := impossible(Ctf(Defocus(1e4, 1e4), microscope)):
        raise Refused(why)
    chosen = set(micrograph_ids)

    def build() -> Change | None:
        texts = {
            m.id: as_json(Ctf(ctf.defocus, microscope), resolution_of(m), relion_of(m) or None)
            for m in session.micrographs
            if m.id in chosen and (ctf := ctf_of(m)) is not None
        }
        of_project = session.settings.set_microscope(microscope) if with_project else None
        title = f"microscope of {count_of(len(texts), 'micrograph')}: {microscope_text(microscope)}"
        of_micrographs = set_text(session.micrographs, "optics", texts, "optics", title)
        changes = [change for change in (of_micrographs, of_project) if change is not None]
        if len(changes) < 2:
            return changes[0] if changes else None
        return replace(changes[0], deltas=changes[0].deltas + changes[1].deltas, micrograph=None)

    session.edit(build)


def common_microscope(session: Session) -> Optics | None:
    """The microscope of micrographs whose defocus is not known: the project's, else the one of all whose defocus is.

    None where nobody has said it; the image's file may know the voltage.
    """
    if session.settings.microscope is not None:
        return session.settings.microscope
    known = {ctf.optics for m in session.micrographs if (ctf := ctf_of(m)) is not None}
    return known.pop() if len(known) == 1 else None


def read_optics(session: Session, source: Path) -> OpticsPlan:
    """Read CTF values of any program (see :mod:`...formats.ctf_files`) and match them by the micrographs' names.

    Particles of one micrograph are averaged. Rows that make no sense are left out and named.

    Parameters
    ----------
    source : Path
        A file; or a folder or pattern of files of one micrograph each.

    Raises
    ------
    FormatError
        It cannot be read, holds no defocus, or belongs to none of the micrographs.
    """
    table = read_ctf_files(source)
    by_path = {m.path: m.id for m in session.micrographs}
    match = match_micrographs([row.name for row in table.rows], by_path)
    second = match_micrographs([row.other_name for row in table.rows if row.other_name], by_path)
    plan: dict[int, Ctf] = {}
    texts: dict[int, str] = {}
    unmatched: list[str] = []
    for row in table.rows:
        place = match.matches.get(row.name) or second.matches.get(row.other_name, "")
        if not place:
            unmatched += [row.name] if row.name not in match.ambiguous else []
            continue
        plan[by_path[place]] = ctf = as_ctf(row)
        relion = {"name": row.name, "group": dict(row.group)} if row.group or "/" in row.name else None
        texts[by_path[place]] = as_json(ctf, row.resolution_A, relion)
    if not plan:
        names = ", ".join(row.name for row in table.rows[:2])
        raise FormatError(f"names none of the project's micrographs (it has {names} ...)", source)
    silent = sum(not math.isfinite(row.voltage_kV) for row in table.rows)
    usual = Optics()
    usual_text = f"{usual.voltage_kV:g} kV and Cs {usual.cs_mm:g} mm were taken for {silent:,} without a voltage"
    assumed = [*table.notes, *([usual_text] if silent else [])]
    stated = {round(row.pixel_size_A, 4) for row in table.rows if row.pixel_size_A > 0}
    doubtful = next((m for m in session.micrographs if session.settings.pixel_size_doubt(m)), None)
    if len(stated) == 1 and doubtful is not None:
        size = stated.pop()
        assumed.append(
            f"{session.settings.pixel_size_doubt(doubtful)}; {source.name} says {size:g} Å/px: set it (--pixel-size)"
        )
    return OpticsPlan(
        source,
        plan,
        tuple(dict.fromkeys(unmatched)),
        match.ambiguous,
        texts,
        table.issues,
        " · ".join(assumed),
    )


def as_ctf(row: CtfRow) -> Ctf:
    """A row as a CTF, with the usual microscope where it does not say; an amplitude or angle that is missing is 0."""
    usual = Optics()

    def known(value: float, otherwise: float) -> float:
        return value if math.isfinite(value) else otherwise

    defocus = Defocus(row.defocus_u_A, known(row.defocus_v_A, row.defocus_u_A), known(row.angle_deg, 0.0))
    optics = Optics(
        known(row.voltage_kV, usual.voltage_kV),
        known(row.cs_mm, usual.cs_mm),
        known(row.amplitude_contrast, usual.amplitude_contrast),
        phase_shift_deg=known(row.phase_shift_deg, 0.0),
    )
    return Ctf(defocus, optics)


def read_ctfs(source: Path) -> tuple[dict[str, Ctf], list[str]]:
    """CTF by micrograph name, without a project, and what a person should know of it. Raises FormatError."""
    table = read_ctf_files(source)
    left_out = [f"left out: {issue.message}" for issue in table.issues]
    return {row.name: as_ctf(row) for row in table.rows}, [*left_out, *table.notes]


def import_optics(session: Session, star: Path) -> str:
    """Read, match and enter a STAR as one step; returns the line for the status bar. Raises as :func:`read_optics`."""
    return enter(session, read_optics(session, star))


def enter(session: Session, plan: OpticsPlan) -> str:
    """Enter what :func:`read_optics` found as one step that can be undone; returns the line for the status bar."""
    texts = {i: plan.texts.get(i) or as_json(ctf) for i, ctf in plan.ctfs.items()}
    what = f"the defocus of {count_of(len(texts), 'micrograph')}"
    message = Message("import", what, where=f"from {plan.path.name}")
    result = session.insert_built(lambda: set_text(session.micrographs, "optics", texts, "import-optics", message))
    message_line = message.done if isinstance(result, Done) else f"{plan.path.name} says nothing new"
    lines = [message_line]
    if plan.unmatched:
        lines.append(f"{len(plan.unmatched)} names match no micrograph ({', '.join(plan.unmatched[:2])} ...)")
    if plan.ambiguous:
        lines.append(f"{len(plan.ambiguous)} names are ambiguous ({', '.join(list(plan.ambiguous)[:2])} ...)")
    if plan.issues:
        lines.append(f"left out: {'; '.join(issue.message for issue in plan.issues[:3])}")
        lines[-1] += f" and {len(plan.issues) - 3} more" if len(plan.issues) > 3 else ""
    if plan.assumed:
        lines.append(plan.assumed)
    return " · ".join(lines)
