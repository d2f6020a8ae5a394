"""The defocus of a project's micrographs, estimated in its cache folder and entered as one step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..imaging.ctf import Ctf, Optics
from ..model.context import JobContext
from ..model.message import Message
from ..model.micrograph import Micrograph
from ..session.core.edits import count_of, set_text
from ..session.core.session import Session
from ..session.core.step import Done
from ..session.files.facts import cache_name
from ..session.pictures.optics import as_json, common_microscope, ctf_of, relion_of
from .ctf import fit_all
from .ctf_options import CtfOptions

_QUIET = JobContext()
#: An estimate contradicts a known defocus from here on, angstrom.
_APART_A = 500.0
#: The same as a share of the known defocus.
_APART = 0.05


@dataclass(frozen=True, slots=True)
class Exposure:
    """A micrograph to look at.

    Attributes
    ----------
    id : int
    path : Path
    pixel_size_A : float
    microscope : Optics or None
        None = what its file says, and the usual values where it says nothing.
    """

    id: int
    path: Path
    pixel_size_A: float
    microscope: Optics | None = None

    @property
    def options(self) -> CtfOptions:
        """How it was taken."""
        optics = self.microscope
        if optics is None:
            return CtfOptions(pixel_size_A=self.pixel_size_A)
        return CtfOptions(optics.voltage_kV, optics.cs_mm, optics.amplitude_contrast, self.pixel_size_A)

    @property
    def name(self) -> str:
        """What its results are called in the cache; two files of one name in different folders differ in it."""
        return cache_name(self.id, self.path)


@dataclass(frozen=True, eq=False)
class Estimates:
    """What was found, not yet in the project.

    Attributes
    ----------
    ctfs : mapping of micrograph id to Ctf
    resolutions_A : mapping of micrograph id to the resolution up to which rings agree
    failed : mapping of micrograph id to reason
    assumed : tuple of str
        What nobody said of the microscope and was taken as usual.
    """

    ctfs: Mapping[int, Ctf]
    resolutions_A: Mapping[int, float]
    failed: Mapping[int, str]
    assumed: tuple[str, ...] = ()


def exposures(session: Session) -> list[Exposure]:
    """The project's micrographs that can be read."""
    common = common_microscope(session)
    return [
        Exposure(
            m.id, session.path_of(m), session.pixel_size_A(m), common if (ctf := ctf_of(m)) is None else ctf.optics
        )
        for m in session.micrographs
        if not m.problem
    ]


def missing(session: Session) -> bool:
    """Whether the rings of some micrograph could tell a defocus that nobody has said, and the microscope is known."""
    if common_microscope(session) is None:
        return False
    return any(not m.problem and ctf_of(m) is None for m in session.micrographs)


def by_options(given: Sequence[Exposure]) -> dict[CtfOptions, list[Exposure]]:
    """Micrographs that were taken alike."""
    groups: dict[CtfOptions, list[Exposure]] = {}
    for exposure in given:
        groups.setdefault(exposure.options, []).append(exposure)
    return groups


def folder_of(session: Session) -> Path:
    """Where estimates and their pictures are kept; it may be deleted at any time."""
    return Path(session.store.folder) / "cache" / "ctf"


def picture_of(session: Session, micrograph: Micrograph) -> Path:
    """The picture of a micrograph's estimate, which need not be there."""
    return folder_of(session) / f"{cache_name(micrograph.id, micrograph.path)}_ctf.png"


def estimate(
    given: Sequence[Exposure],
    folder: Path,
    *,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> Estimates:
    """Find the defocus of micrographs; what an earlier call found and is unchanged is kept.

    Parameters
    ----------
    given : sequence of Exposure
    folder : Path
        For the record and the pictures.

    Raises
    ------
    Refused
        The optics make no sense.
    Cancelled
    """
    ctfs: dict[int, Ctf] = {}
    resolutions: dict[int, float] = {}
    failed: dict[int, str] = {}
    assumed: dict[str, None] = {}
    for options, members in by_options(given).items():
        named = {exposure.name: exposure.path for exposure in members}
        report = fit_all(named, folder, options, scheduler=scheduler, context=context)
        ids = {exposure.path.as_posix(): exposure.id for exposure in members}
        ctfs |= {ids[row.name]: row.ctf for row in report.rows}
        resolutions |= {ids[row.name]: row.resolution_A for row in report.rows}
        failed |= {ids[Path(path).as_posix()]: reason for path, reason in report.failed.items()}
        assumed |= dict.fromkeys(report.assumed_facts)
    return Estimates(ctfs, resolutions, failed, tuple(assumed))


def news(session: Session, estimates: Estimates) -> bool:
    """Whether estimates say something of a micrograph: a defocus that is missing, or another than the known one."""
    for number, ctf in estimates.ctfs.items():
        known = ctf_of(session.micrograph(number))
        if known is None or contradict(known, ctf):
            return True
    return False


def enter(session: Session, estimates: Estimates) -> str:
    """Enter estimates where no defocus is known, as one step; the line for the status bar.

    What was imported or entered by hand stays; where an estimate contradicts it, that is said.
    """
    known = {m.id: ctf_of(m) for m in session.micrographs}
    new = {
        i: as_json(ctf, estimates.resolutions_A[i], relion_of(session.micrograph(i)) or None)
        for i, ctf in estimates.ctfs.items()
        if i in known and known[i] is None
    }
    message = Message("estimate", f"the defocus of {count_of(len(new), 'micrograph')}")
    result = session.insert_built(lambda: set_text(session.micrographs, "optics", new, "estimate-optics", message))
    lines = [message.done if isinstance(result, Done) else "no defocus was missing that rings could tell"]
    lines += estimates.assumed
    if estimates.failed:
        lines.append(f"{count_of(len(estimates.failed), 'micrograph')} without an answer")
    apart = [i for i, ctf in estimates.ctfs.items() if (had := known.get(i)) is not None and contradict(had, ctf)]
    if apart:
        first, had = session.micrograph(apart[0]), known[apart[0]]
        own, rings = math.nan if had is None else _mean(had) / 1e4, _mean(estimates.ctfs[first.id]) / 1e4
        example = f"{first.name}: {own:.2f} µm, the rings say {rings:.2f}"
        lines.append(f"the rings contradict {count_of(len(apart), 'known defocus value')} ({example}), which stay")
    return " · ".join(lines)


def contradict(known: Ctf, estimated: Ctf) -> bool:
    """Whether two mean defocus values are further apart than errors and habits explain."""
    return abs(_mean(known) - _mean(estimated)) > max(_APART_A, _APART * abs(_mean(known)))


def _mean(ctf: Ctf) -> float:
    return (ctf.defocus.u_A + ctf.defocus.v_A) / 2.0
