"""A micrograph as the project knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .curation import Decision


class MicrographState(StrEnum):
    """How far the curator has come. *Empty* (looked at, nothing there) is a statement; *unseen* is its absence."""

    UNSEEN = "unseen"
    IN_PROGRESS = "in progress"
    COMPLETE = "complete"
    EMPTY = "empty"
    UNUSABLE = "unusable"
    #: Taken out of the project; its decisions are kept until it is deleted for good.
    REMOVED = "removed"


#: How :attr:`Micrograph.problem` begins where the file is another image than the one that was picked on.
CHANGED = "changed since it was picked"

#: States that say: a person has finished with this micrograph.
FINISHED_STATES = frozenset({MicrographState.COMPLETE, MicrographState.EMPTY, MicrographState.UNUSABLE})


@dataclass(frozen=True, slots=True)
class Micrograph:
    """One micrograph of a project.

    Attributes
    ----------
    id : int
        Never reused.
    name : str
        File stem, the name coordinate files use.
    path : str
        POSIX path relative to the project's data root (absolute where it lies elsewhere).
    width, height : int
        Columns and rows of the stored array, px; 0 where the file could not be read.
    header_pixel_size_A : float or None
        What the file's header says, unquestioned.
    own_pixel_size_A : float or None
        The curator's override for this micrograph.
    n_frames : int
        Images in the file; a micrograph made of several is averaged or one frame is chosen.
    frame : int
        The frame shown; -1 = average of all.
    fingerprint : str
        Identifies the file's content when it moves.
    state : MicrographState
    state_by : str
        Who set the state.
    problem : str
        Why the file cannot be used, empty where it can.
    optics : str
        JSON with ``voltage_kV, cs_mm, amplitude_contrast, defocus_u_A, defocus_v_A, defocus_angle_deg``; empty
        where it is not known.
    picture : str
        JSON with ``path`` (POSIX, relative to the data root where it lies below) and ``scale`` (micrograph px per
        picture px): a picture of another program that is shown instead of ours. Coordinates stay the micrograph's.
    assigned : str
        The curator who is to do it; empty = nobody in particular.
    n_accepted, n_undecided, n_rejected : int
        Particles by decision.
    """

    id: int
    name: str
    path: str
    width: int = 0
    height: int = 0
    header_pixel_size_A: float | None = None
    own_pixel_size_A: float | None = None
    n_frames: int = 1
    frame: int = -1
    fingerprint: str = ""
    state: MicrographState = MicrographState.UNSEEN
    state_by: str = ""
    problem: str = ""
    optics: str = ""
    picture: str = ""
    assigned: str = ""
    n_accepted: int = 0
    n_undecided: int = 0
    n_rejected: int = 0

    @property
    def n_particles(self) -> int:
        """All particles, whatever was decided."""
        return self.n_accepted + self.n_undecided + self.n_rejected

    @property
    def changed(self) -> bool:
        """Whether the file is another image than the one that was picked on, and no person has said what that means."""
        return self.problem.startswith(CHANGED)

    def n_of(self, decision: Decision) -> int:
        """How many particles carry a decision."""
        return (self.n_undecided, self.n_accepted, self.n_rejected)[decision]


def pixel_size_doubt(pixel_size_A: float | None) -> str:
    """Say why a header's pixel size should be questioned; empty where it is plausible.

    Parameters
    ----------
    pixel_size_A : float or None
        Angstrom per pixel.
    """
    if pixel_size_A is None or pixel_size_A == 0:
        return "the header gives no pixel size"
    if not pixel_size_A > 0:
        return f"the header gives an impossible pixel size ({pixel_size_A:g} Å/px)"
    if pixel_size_A == 1.0:
        return "the header says exactly 1 Å/px, which is what programs write when they do not know"
    if not 0.1 <= pixel_size_A <= 20:
        return f"{pixel_size_A:g} Å/px is not a pixel size of a cryo-EM micrograph"
    return ""
