"""What plugins may import: the nouns and protocols of the doors. Everything else may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from .errors import AnnotatorError, Cancelled, EngineError, FormatError, ProjectError
from .formats.image.images import find_micrographs, micrograph_name
from .formats.image.images import read as read_micrograph
from .imaging.ctf import Ctf, Defocus, Optics
from .imaging.filters import fourier_crop
from .imaging.handover import plain_image
from .jobs.process import Ran, find_program, run_process
from .model.candidates import Candidates
from .model.context import JobContext
from .model.coordinates import Anchor, Orientation, SourceFrame
from .model.curation import Decision, Reason
from .model.micrograph import Micrograph, MicrographState
from .model.parameter import Need, Parameter
from .model.particles import Particles
from .model.pickfile import CoordinateFormat, FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .model.picture import Picture


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether a program outside this one is there, as ``doctor`` tells it.

    Attributes
    ----------
    title : str
        ``RELION``.
    found : bool
    where : str
        Path of its program.
    version : str
    problem : str
        Why it is not there or does not start.
    mend : str
        One line: what to do about it.
    """

    title: str
    found: bool
    where: str = ""
    version: str = ""
    problem: str = ""
    mend: str = ""


class Engine(Protocol):
    """The door by which ``doctor`` asks a plugin for its program (entry-point group ``cryoppp_annotator.engines``)."""

    name: str

    def status(self) -> EngineStatus:
        """Look for the program and ask for its version; takes a few seconds at most and raises nothing."""
        ...


class Denoiser(Protocol):
    """The door every denoiser comes through (entry-point group ``cryoppp_annotator.denoisers``)."""

    name: str
    title: str

    def denoise(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float | None,
        diameter_A: float | None,
        max_side: int,
        context: JobContext,
    ) -> Picture:
        """Make the display picture of a raw micrograph.

        Parameters
        ----------
        image : (h, w) array of any real dtype, yx, full resolution; not modified
        pixel_size_A : float or None
        diameter_A : float or None
            Particle diameter the filter is adapted to; None = not known yet.
        max_side : int
            Longest side of the picture, px; larger images are Fourier-cropped.
        context : JobContext

        Raises
        ------
        Cancelled
        """
        ...


class TunableDenoiser(Denoiser, Protocol):
    """A denoiser with numbers to choose, which also gets the micrograph's CTF where it is known.

    One without ``parameters`` is a plain :class:`Denoiser` and is called without the last two arguments. One that makes
    nothing of the CTF says so with ``uses_ctf = False``: its pictures are then kept when the defocus changes.
    """

    parameters: tuple[Parameter, ...]

    def denoise(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float | None,
        diameter_A: float | None,
        max_side: int,
        context: JobContext,
        parameters: Mapping[str, Any] = ...,
        ctf: Ctf | None = None,
    ) -> Picture:
        """Make the display picture of a raw micrograph; see :meth:`Denoiser.denoise`.

        Parameters
        ----------
        image : (h, w) real, px of the micrograph, row 0 first
        parameters : mapping of name to number
            As declared; what is missing takes its default.
        ctf : Ctf or None
            None = the defocus is not known.

        Raises
        ------
        EngineError
            An unknown parameter, or one out of range.
        Cancelled
        """
        ...


class Picker(Protocol):
    """The door every picker comes through (entry-point group ``cryoppp_annotator.pickers``).

    A picker proposes, it never edits. ``testing.check_picker`` tells whether one keeps to what is said here.
    """

    name: str
    title: str

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        """Propose particles of one micrograph.

        Parameters
        ----------
        image : (h, w) array of any real dtype, yx, full resolution; not modified
            NaN and infinities are legal.
        pixel_size_A : float
            Angstrom per pixel, positive.
        diameter_A : float
            Particle diameter, angstrom, positive.
        parameters : mapping
            The picker's own; what is missing takes its default.
        context : JobContext
            The same image, parameters and seed give the same candidates.

        Returns
        -------
        Candidates
            Best first, all inside the image; none where the image is constant or smaller than a particle.

        Raises
        ------
        EngineError
            Impossible parameters; an image that is empty or not 2-D.
        Cancelled
        """
        ...


class TunablePicker(Picker, Protocol):
    """A picker that says what it takes, so that a window and the command line can ask for it.

    One without these is a plain :class:`Picker`: it is handed ``polarity`` where particles are bright, and nothing else
    but what a person names.

    Attributes
    ----------
    parameters : tuple of Parameter
        Numbers that a person can choose.
    needs : frozenset of Need
        What the program hands over.

    One whose scores are probabilities that a person would accept the candidate, calibrated over all candidates, may say
    so with ``gives_probabilities = True``: the threshold of the best expected F1 is then suggested for them.
    """

    parameters: tuple[Parameter, ...]
    needs: frozenset[Need]

    def why_not(self, parameters: Mapping[str, Any]) -> str:
        """Why it cannot pick with these parameters, as a sentence without a stop; empty where it can."""
        ...


__all__ = [
    "Anchor",
    "AnnotatorError",
    "Cancelled",
    "Candidates",
    "CoordinateFormat",
    "Ctf",
    "Decision",
    "Defocus",
    "Denoiser",
    "Engine",
    "EngineError",
    "EngineStatus",
    "FilePicks",
    "FormatError",
    "Issue",
    "JobContext",
    "Micrograph",
    "MicrographPicks",
    "MicrographState",
    "Need",
    "Optics",
    "Orientation",
    "Parameter",
    "Particles",
    "PickFile",
    "Picker",
    "Picture",
    "ProjectError",
    "Ran",
    "Reason",
    "SourceFrame",
    "TunableDenoiser",
    "TunablePicker",
    "WriteOptions",
    "find_micrographs",
    "find_program",
    "fourier_crop",
    "micrograph_name",
    "plain_image",
    "read_micrograph",
    "run_process",
]
