"""How micrographs were taken: what a person says, else what a list of them says, else their files, else the usual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ..errors import FormatError, Refused
from ..formats.acquisition import read_acquisition
from ..formats.image import images
from ..formats.microscopes import SUFFIXES, Microscope, read_microscopes
from ..formats.registry import match_micrographs
from ..imaging.ctf import Ctf, Defocus, Optics
from ..imaging.ctf_fit import CtfFitOptions
from ..session.pictures.optics import impossible

#: No list of micrographs says anything.
NOTHING_LISTED: Mapping[Path, Microscope] = MappingProxyType({})
#: Two pixel sizes differ from this share on.
_SIZES_APART = 0.01
#: What nobody says is taken to be that of most microscopes today.
USUAL = Optics(300.0, 2.7, 0.1)


@dataclass(frozen=True, slots=True)
class CtfOptions:
    """How the micrographs were taken, and how to look for their defocus.

    Attributes
    ----------
    voltage_kV, cs_mm, amplitude_contrast : float or None
        None = what lies beside the file (.mdoc) or in it, else 300 kV, 2.7 mm, 0.1, which the report says.
    pixel_size_A : float or None
        None = what each header says.
    optics_file : Path or None
        A STAR or a dataset of cryoSPARC that says all this of each micrograph; what is given above wins.
    fit : CtfFitOptions
    pictures : bool
        Whether a picture of each fit is drawn.
    """

    voltage_kV: float | None = None
    cs_mm: float | None = None
    amplitude_contrast: float | None = None
    pixel_size_A: float | None = None
    optics_file: Path | None = None
    fit: CtfFitOptions = field(default_factory=CtfFitOptions)
    pictures: bool = True


def listed_microscopes(
    sources: Sequence[Path | str] | Mapping[str, Path], named: Mapping[str, Path], options: CtfOptions
) -> dict[Path, Microscope]:
    """What lists say of micrographs: the file of optics, else the lists among the sources themselves.

    Parameters
    ----------
    sources : sequence of path, or mapping
        As a person named the micrographs.
    named : mapping of name to Path
        The micrographs.
    options : CtfOptions

    Raises
    ------
    FormatError
        The file of optics cannot be read, or names none of the micrographs.
    """
    out: dict[Path, Microscope] = {}
    if not isinstance(sources, Mapping):
        for source in map(Path, sources):
            if source.suffix.lower() in SUFFIXES and source.is_file():
                out |= _listed_in(source, named, needed=False)
    if options.optics_file is not None:
        out |= _listed_in(options.optics_file, named, needed=True)
    return out


def _listed_in(file: Path, named: Mapping[str, Path], *, needed: bool) -> dict[Path, Microscope]:
    try:
        listed = read_microscopes(file)
    except FormatError:
        if needed:
            raise
        return {}
    places = {path.as_posix(): path for path in named.values()}
    matches = match_micrographs(listed, places).matches
    if needed and not matches:
        raise FormatError(f"names none of the micrographs (it has {next(iter(listed))} ...)", file)
    return {places[place]: listed[name] for name, place in matches.items()}


def refuse_nonsense(options: CtfOptions, diameter_A: float | None = None) -> None:
    """Raise Refused where a number that a person gave makes no sense."""
    size = options.pixel_size_A
    if size is not None and not (math.isfinite(size) and 0.05 <= size <= 50.0):
        raise Refused(f"a pixel size of {size:g} Å makes no sense")
    if diameter_A is not None and not (math.isfinite(diameter_A) and 1.0 <= diameter_A <= 1e5):
        raise Refused(f"a diameter of {diameter_A:g} Å makes no sense")
    usual = (options.voltage_kV, options.cs_mm, options.amplitude_contrast)
    given = Optics(*(u if v is None else v for v, u in zip(usual, _usual_values(), strict=True)))
    if why := impossible(Ctf(Defocus(1e4, 1e4), given)):
        raise Refused(why)


def _usual_values() -> tuple[float, float, float]:
    return USUAL.voltage_kV, USUAL.cs_mm, USUAL.amplitude_contrast


class Assumed:
    """Pixel size and optics of each micrograph, and a list of what had to be taken as usual.

    Parameters
    ----------
    options : CtfOptions
        What a person said; it wins.
    listed : mapping of micrograph to Microscope
        What a file says, before the micrograph's own header.
    """

    def __init__(self, options: CtfOptions, listed: Mapping[Path, Microscope] = NOTHING_LISTED) -> None:
        self.options, self._listed = options, listed
        self._assumed: dict[str, str] = {}

    def optics_of(self, path: Path) -> Optics:
        """What is said of the microscope of a micrograph."""
        options, listed = self.options, self._listed.get(path, Microscope())
        voltage = _first(options.voltage_kV, listed.voltage_kV)
        if voltage is None:
            voltage = read_acquisition(path).voltage_kV
        return Optics(
            self._or_usual(voltage, USUAL.voltage_kV, "a voltage of {:g} kV", "--voltage"),
            self._or_usual(
                _first(options.cs_mm, listed.cs_mm), USUAL.cs_mm, "a spherical aberration of {:g} mm", "--cs"
            ),
            self._or_usual(
                _first(options.amplitude_contrast, listed.amplitude_contrast),
                USUAL.amplitude_contrast,
                "an amplitude contrast of {:g}",
                "--amplitude-contrast",
            ),
        )

    def pixel_size_of(self, path: Path) -> float:
        """Angstrom per pixel of a micrograph. Raises FormatError where it cannot be read or is not known."""
        info, pixel = images.probe(path), self.options.pixel_size_A
        if pixel is not None:
            return pixel
        listed = self._listed.get(path, Microscope())
        if listed.pixel_size_A is not None:
            return self._listed_size(listed.pixel_size_A, info.pixel_size_A, listed.source)
        pixel = info.pixel_size_A or read_acquisition(path).pixel_size_A
        if pixel is None or not 0.05 <= pixel <= 50.0:
            raise FormatError("its header gives no pixel size; say it with --pixel-size", path)
        if pixel == 1.0:
            self._assumed["a header says exactly 1 Å/px, which programs also write when they do not know it"] = (
                "--pixel-size gives another"
            )
        return float(pixel)

    def _listed_size(self, size_A: float, header_A: float | None, source: str) -> float:
        """A file's pixel size; that a header says another is said."""
        if header_A and header_A != 1.0 and abs(size_A / header_A - 1.0) > _SIZES_APART:
            sentence = f"{source} says {size_A:g} Å/px where a header says {header_A:g}: the former was taken"
            self._assumed[sentence] = "--pixel-size says another"
        return size_A

    def sentences(self) -> tuple[str, ...]:
        """What was assumed, one sentence each, with the option of the command line that says another."""
        return tuple(f"{sentence}; {option}" for sentence, option in self._assumed.items())

    def facts(self) -> tuple[str, ...]:
        """The same without the options."""
        return tuple(self._assumed)

    def _or_usual(self, value: float | None, usual: float, words: str, option: str) -> float:
        if value is None:
            self._assumed[f"{words.format(usual)} was assumed, because no file says it"] = f"{option} says another"
            return usual
        return value


def _first(given: float | None, listed: float | None) -> float | None:
    return listed if given is None else given
