"""``relion_autopick`` as pickers: Laplacian of Gaussian, and 2D references.

A micrograph goes through a temporary folder to a process of its own. The command line is RELION 3.1's and newer.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryoppp_annotator.api import (
    AnnotatorError,
    Candidates,
    EngineError,
    EngineStatus,
    JobContext,
    Need,
    Parameter,
    find_program,
    plain_image,
    run_process,
)

PROGRAM = "relion_autopick"
#: Where RELION is, if not on the PATH: the program, or its folder.
VARIABLE = "CRYOPPP_RELION"
MEND = f"install RELION (Debian: apt-get install relion), or set {VARIABLE} to its folder"

_LOG_DEFAULTS: dict[str, Any] = {
    "polarity": "dark",
    "diameter_min_A": None,
    "diameter_max_A": None,
    "adjust_threshold": -0.5,
}
_TEMPLATE_DEFAULTS: dict[str, Any] = {
    "polarity": "dark",
    "templates": None,
    "template_pixel_A": None,
    "white": True,
    "angle_deg": 10.0,
    "lowpass_A": 20.0,
    "threshold": 0.1,
}


class RelionPicker:
    """One way to call ``relion_autopick``; see the README for its parameters."""

    def __init__(self, name: str, title: str, defaults: Mapping[str, Any]) -> None:
        self.name = name
        self.title = title
        self._defaults = defaults
        self.parameters: tuple[Parameter, ...] = ()
        handed = {Need.POLARITY, Need.TEMPLATES} if "templates" in defaults else {Need.POLARITY}
        self.needs = frozenset(handed)

    def why_not(self, parameters: Mapping[str, Any]) -> str:
        """See :class:`cryoppp_annotator.api.TunablePicker`."""
        missing = Need.TEMPLATES in self.needs and not parameters.get("templates")
        return f"the {self.name} picker needs templates" if missing else ""

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        """See :class:`cryoppp_annotator.api.Picker`."""
        options = _options(parameters, self._defaults)
        if not (math.isfinite(pixel_size_A) and math.isfinite(diameter_A) and pixel_size_A > 0 and diameter_A > 0):
            raise EngineError("pixel size and diameter must be positive")
        if options["polarity"] not in ("dark", "bright"):
            raise EngineError(f"polarity is {options['polarity']!r}, not dark or bright")
        # RELION needs some background around a particle
        plain = plain_image(image, 2.0 * diameter_A / pixel_size_A)
        method = _log_words(options, diameter_A) if "templates" not in options else _template_words(options, diameter_A)
        if plain is None:
            return Candidates.empty()
        program = find_program(PROGRAM, VARIABLE)
        if program is None:
            raise EngineError(f"{PROGRAM} was not found; {MEND}")
        with tempfile.TemporaryDirectory(prefix="cryoppp-relion-") as name:
            folder = Path(name)
            with mrcfile.new(folder / "m.mrc") as file:
                file.set_data(plain)
                file.voxel_size = pixel_size_A
            (folder / "micrographs.star").write_text(_micrographs(pixel_size_A), encoding="ascii")
            words: list[str | Path] = [
                program,
                "--i",
                "micrographs.star",
                "--odir",
                "out/",
                "--pickname",
                "pick",
                *method,
            ]
            run_process(words, folder=folder, environment={"LC_ALL": "C"}, mend=MEND, context=context)
            stars = list(folder.glob("out/**/*pick.star"))
            x, y, score = _read(stars[0]) if stars else (np.zeros(0), np.zeros(0), np.zeros(0))
        inside = (x >= 0) & (y >= 0) & (x <= plain.shape[1] - 1) & (y <= plain.shape[0] - 1) & np.isfinite(score)
        candidates = Candidates(x, y, score, np.full(len(x), float(diameter_A))).take(inside)
        return candidates.take(np.lexsort((candidates.x, candidates.y, -candidates.score)))


def _options(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    strange = sorted(set(parameters) - set(defaults))
    if strange:
        raise EngineError(f"there is no parameter {strange[0]!r}; there are {', '.join(defaults)}")
    return {**defaults, **parameters}


def _number(options: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = options[name] if options[name] is not None else default
    try:
        number = float(value)  # type: ignore[arg-type]  # None and text are told below
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise EngineError(f"{name} is {value!r}, not a number")
    return number


def _log_words(options: Mapping[str, Any], diameter_A: float) -> list[str]:
    low = _number(options, "diameter_min_A", 0.85 * diameter_A)
    high = _number(options, "diameter_max_A", 1.1 * diameter_A)
    if not 0 < low < high:
        raise EngineError(f"the range of diameters, {low:g} to {high:g} A, is empty")
    words = [
        "--LoG",
        "--LoG_diam_min",
        f"{low:g}",
        "--LoG_diam_max",
        f"{high:g}",
        "--shrink",
        "0",
        "--lowpass",
        "20",
        "--LoG_adjust_threshold",
        f"{_number(options, 'adjust_threshold'):g}",
    ]
    return [*words, "--Log_invert"] if options["polarity"] == "bright" else words


def _template_words(options: Mapping[str, Any], diameter_A: float) -> list[str]:
    if not options["templates"]:
        raise EngineError("say which templates to use (--templates, the parameter templates: .mrcs of class averages)")
    path = Path(str(options["templates"])).expanduser().absolute()
    try:
        with mrcfile.open(path, header_only=True, permissive=True) as file:
            side, header = int(file.header.nx), float(file.voxel_size.x)
    except (OSError, ValueError) as error:
        raise EngineError(f"the templates {path} cannot be read ({error})") from error
    pixel = _number(options, "template_pixel_A", header)
    if pixel <= 0:
        raise EngineError(f"{path} does not say its pixel size; give it (--template-pixel)")
    words = [
        "--ref",
        str(path),
        "--angpix_ref",
        f"{pixel:g}",
        "--ang",
        f"{_number(options, 'angle_deg'):g}",
        "--lowpass",
        f"{_number(options, 'lowpass_A'):g}",
        "--threshold",
        f"{_number(options, 'threshold'):g}",
        "--min_distance",
        f"{0.7 * diameter_A:g}",
        "--particle_diameter",
        f"{min(diameter_A, 0.95 * side * pixel):g}",
        "--shrink",
        "0",
    ]
    # class averages are white, as a rule
    return [*words, "--invert"] if (options["polarity"] == "dark") == bool(options["white"]) else words


def _micrographs(pixel_size_A: float) -> str:
    return (
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n"
        "_rlnMicrographPixelSize #3\n_rlnVoltage #4\n_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\n"
        f"g1 1 {pixel_size_A:.6f} 300 2.7 0.1\n\n# version 30001\n\ndata_micrographs\n\nloop_\n"
        "_rlnMicrographName #1\n_rlnOpticsGroup #2\nm.mrc 1\n"
    )


def _read(star: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates (px) and figure of merit."""
    names: list[str] = []
    rows: list[list[str]] = []
    for line in star.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[0].startswith("_rln"):
            names.append(words[0][1:])
        elif names and len(words) == len(names):
            rows.append(words)
    try:
        at = [names.index(label) for label in ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")]
        table = np.array([[row[i] for i in at] for row in rows], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise EngineError(f"{PROGRAM} wrote a file of picks that cannot be read ({error})") from error
    return table[:, 0], table[:, 1], table[:, 2]


class RelionEngine:
    """What ``doctor`` asks."""

    name = "relion"

    def status(self) -> EngineStatus:
        """See :class:`cryoppp_annotator.api.Engine`."""
        program = find_program(PROGRAM, VARIABLE)
        if program is None:
            return EngineStatus("RELION", False, problem=f"{PROGRAM} is not on the PATH", mend=MEND)
        try:
            ran = run_process([program, "--version"])
        except AnnotatorError as error:
            return EngineStatus("RELION", False, str(program), problem=str(error), mend=MEND)
        said = next((line for line in (*ran.output, *ran.errors) if "version" in line.lower()), "")
        return EngineStatus("RELION", True, str(program), said.rpartition(":")[2].strip() or said)


LOG = RelionPicker("relion-log", "RELION: Laplacian of Gaussian", _LOG_DEFAULTS)
TEMPLATE = RelionPicker("relion-template", "RELION: templates", _TEMPLATE_DEFAULTS)
ENGINE = RelionEngine()
