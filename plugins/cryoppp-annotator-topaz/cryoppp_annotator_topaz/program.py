"""Where Topaz is, how it is called, and the files it reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_data_path

from cryoppp_annotator.api import (
    AnnotatorError,
    EngineError,
    EngineStatus,
    JobContext,
    find_program,
    run_process,
)

PROGRAM = "topaz"
#: Where Topaz is, if not on the PATH: its program, or the folder of its environment.
VARIABLE = "CRYOPPP_TOPAZ"
_QUIET = {"PYTHONWARNINGS": "ignore", "LC_ALL": "C"}
# its mixture model looks at a random tenth of the pixels: seeded, each run gives the same
_DRIVER = """import json, sys
import numpy
from topaz.main import main
numpy.random.seed(0)
for words in json.loads(sys.argv[1]):
    sys.argv = ["topaz", *words]
    main()
"""
MEND = f"make its environment with `cryoppp-annotator-topaz install`, or set {VARIABLE} to one that is there"


def own_environment() -> Path:
    """Where ``cryoppp-annotator-topaz install`` puts it if not told otherwise."""
    return user_data_path("cryoppp-annotator") / "topaz"


def topaz() -> Path | None:
    """Topaz's program: what the variable names, else on the PATH, else in :func:`own_environment`."""
    program = find_program(PROGRAM, VARIABLE)
    if program is None:
        for folder in ("bin", "Scripts"):
            own = own_environment() / folder / PROGRAM
            if own.is_file():
                return own
    return program


def run_topaz(*steps: Sequence[str | Path], folder: Path, context: JobContext, **more: Any) -> None:
    """Run commands of Topaz one after the other in a folder.

    In one process where its Python lies beside the program (as in every environment): starting Topaz takes longer
    than picking a micrograph.

    Raises
    ------
    EngineError
        It is not there, or failed.
    Cancelled
    """
    program = topaz()
    if program is None:
        raise EngineError(f"Topaz was not found; {MEND}")
    said = [[str(word) for word in words] for words in steps]
    python = program.resolve().with_name("python")
    commands: list[list[str | Path]] = [[program, *words] for words in said]
    if len(said) > 1 and python.exists():
        commands = [[python, "-c", _DRIVER, json.dumps(said)]]
    for command in commands:
        run_process(command, folder=folder, environment=_QUIET, mend=MEND, context=context, **more)


def write_image(path: Path, image: NDArray[np.float32], pixel_size_A: float | None) -> None:
    """Write an MRC as Topaz reads it: float32 (its denoiser fails on integers)."""
    with mrcfile.new(path) as file:
        file.set_data(np.asarray(image, np.float32))
        if pixel_size_A:
            file.voxel_size = pixel_size_A


def checked(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with their defaults; numbers are numbers.

    Raises
    ------
    EngineError
        An unknown name, or text where a number belongs.
    """
    strange = sorted(set(parameters) - set(defaults))
    if strange:
        raise EngineError(f"there is no parameter {strange[0]!r}; there are {', '.join(defaults)}")
    out = {**defaults, **parameters}
    for name, default in defaults.items():
        if isinstance(default, float):
            try:
                out[name] = float(out[name])
            except (TypeError, ValueError):
                out[name] = math.nan
            if not math.isfinite(out[name]):
                raise EngineError(f"{name} is {parameters[name]!r}, not a number")
    return out


def read_picks(lines: Sequence[str]) -> NDArray[np.float64]:
    """(n, 3) float64: x, y (px) and score of a table that ``topaz extract`` wrote.

    Raises
    ------
    EngineError
        It is no such table.
    """
    names = lines[0].split("\t") if lines else []
    try:
        at = [names.index(name) for name in ("x_coord", "y_coord", "score")]
        rows = [[float(line.split("\t")[i]) for i in at] for line in lines[1:] if line.strip()]
    except (ValueError, IndexError) as error:
        raise EngineError(f"topaz extract wrote a table that cannot be read ({error})") from error
    return np.array(rows, np.float64).reshape(-1, 3)


class TopazEngine:
    """What ``doctor`` asks."""

    name = "topaz"

    def status(self) -> EngineStatus:
        """See :class:`cryoppp_annotator.api.Engine`."""
        program = topaz()
        if program is None:
            why = f"no {PROGRAM} on the PATH, in {VARIABLE} or in {own_environment()}"
            return EngineStatus("Topaz", False, problem=why, mend=MEND)
        try:
            ran = run_process([program, "--version"], environment=_QUIET)
        except AnnotatorError as error:
            return EngineStatus("Topaz", False, str(program), problem=str(error), mend=MEND)
        return EngineStatus("Topaz", True, str(program), ran.output[-1].strip() if ran.output else "")


ENGINE = TopazEngine()
