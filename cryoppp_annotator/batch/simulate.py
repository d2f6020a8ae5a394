"""Simulated data sets on disk: micrographs, and the truth about them in the layouts other programs read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .. import __version__
from ..errors import FormatError, Refused, disk_reason
from ..formats.atomic import replacing_by_name, write_text
from ..formats.cryoppp import CRYOPPP
from ..formats.relion import RELION_PARTICLES
from ..imaging.filters import fft_workers
from ..imaging.shapes import STRUCTURES, Structure, ViewBank, from_map
from ..imaging.simulate import SimulatedMicrograph, SimulationParameters, simulate_micrograph, views_for
from ..model.context import JobContext
from ..model.micrograph import Micrograph
from ..model.pickfile import MicrographPicks, WriteOptions

TRUTH_JSON = "truth.json"
TRUTH_STAR = "truth.star"
_MICROGRAPHS = "micrographs"
#: Micrographs in the making at one time; each takes some ten times its size in memory.
_MOST_AT_ONCE = 4
_GOLDEN = (1.0 + 5.0**0.5) / 2.0
#: The six axes through opposite corners of an icosahedron: view class ``k + 1`` looks most nearly along axis ``k``.
VIEW_AXES = np.array(
    [[0, 1, _GOLDEN], [0, 1, -_GOLDEN], [1, _GOLDEN, 0], [1, -_GOLDEN, 0], [_GOLDEN, 0, 1], [_GOLDEN, 0, -1]]
) / np.hypot(1.0, _GOLDEN)

_QUIET = JobContext()


@dataclass(frozen=True, eq=False)
class DataSet:
    """A simulated data set that was written.

    Attributes
    ----------
    folder : Path
    names : tuple of str
        File stems of the micrographs.
    truth : tuple of SimulatedMicrograph
        Their ``image`` has the right shape and no content: the pixels are in the files.
    parameters : SimulationParameters
    """

    folder: Path
    names: tuple[str, ...]
    truth: tuple[SimulatedMicrograph, ...]
    parameters: SimulationParameters

    @property
    def n_particles(self) -> int:
        """Particles in all."""
        return sum(len(m.x) for m in self.truth)

    @property
    def diameter_A(self) -> float:
        """Particle diameter, angstrom."""
        return self.truth[0].diameter_A

    def file(self, index: int) -> str:
        """Path of a micrograph relative to the folder."""
        return f"{_MICROGRAPHS}/{self.names[index]}.mrc"


def write_data_set(
    folder: Path,
    parameters: SimulationParameters,
    n_micrographs: int,
    *,
    source: str = "",
    context: JobContext = _QUIET,
) -> DataSet:
    """Simulate micrographs on all cores and write them with their truth.

    Written are ``micrographs/*.mrc`` (float32), CryoPPP's ``ground_truth/particle_coordinates/*.csv`` (so the folder
    opens as a CryoPPP data set), ``truth.star`` (RELION 3.1: exact centres, orientations, defocus; canonical frame)
    and ``truth.json`` (everything, with carbon and contamination), which comes last.

    Parameters
    ----------
    folder : Path
        New, empty, or an earlier simulation, which is replaced.
    parameters : SimulationParameters
    n_micrographs : int, at least 1
    source : str
        What the particle is made of, for ``truth.json``; the structure's name by default.
    context : JobContext
        Its seed is not used: ``parameters.seed`` is the data set's.

    Raises
    ------
    Refused
        The folder holds something else, or the parameters make no sense.
    FormatError
        It cannot be written.
    Cancelled
    """
    refuse_nonsense(parameters, n_micrographs)
    refuse_occupied(folder)
    try:
        (folder / _MICROGRAPHS).mkdir(parents=True, exist_ok=True)
        head = _head(parameters, source)
        write_text(folder / TRUTH_JSON, json.dumps({**head, "complete": False}, indent=1) + "\n")
        for leftover in (folder / _MICROGRAPHS).glob("simulated_*.mrc"):
            leftover.unlink()
        for leftover in (folder / "ground_truth" / "particle_coordinates").glob("simulated_*.csv"):
            leftover.unlink()
        context.progress(0, n_micrographs, "projecting the particle")
        views = views_for(parameters, context.part())
        names = tuple(f"simulated_{i + 1:04d}" for i in range(n_micrographs))
        truth = _simulate_all(folder, parameters, names, views, context)
        made = DataSet(folder, names, tuple(truth), parameters)
        picks = truth_picks(made)
        CRYOPPP.write(folder, picks, WriteOptions())
        RELION_PARTICLES.write(folder / TRUTH_STAR, picks, WriteOptions())
        entries = [_entry(made, i) for i in range(n_micrographs)]
        write_text(folder / TRUTH_JSON, json.dumps({**head, "complete": True, "micrographs": entries}, indent=1) + "\n")
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", folder) from error
    return made


def refuse_nonsense(parameters: SimulationParameters, n_micrographs: int) -> None:
    """Raise Refused where a data set could not be simulated."""
    if n_micrographs < 1:
        raise Refused("at least one micrograph must be simulated")
    if not 0.1 <= parameters.pixel_size_A <= 20:
        raise Refused(f"a pixel size of {parameters.pixel_size_A:g} Å/px makes no sense (0.1 to 20)")
    if min(parameters.size) < 64 or max(parameters.size) > 16384:
        raise Refused(f"a micrograph of {parameters.size[1]} x {parameters.size[0]} px makes no sense (64 to 16384)")
    if parameters.n_particles < 0 or parameters.seed < 0:
        raise Refused("neither the number of particles nor the seed can be negative")
    if isinstance(parameters.structure, str) and parameters.structure not in STRUCTURES:
        raise Refused(f"no structure is called {parameters.structure!r}; there are {', '.join(STRUCTURES)}")


def refuse_occupied(folder: Path) -> None:
    """Raise Refused where a folder holds anything but an earlier simulation, or a project was made of that."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not folder.is_dir():
            raise Refused(f"{folder} is a file; a folder was expected")
        ours = is_simulation(folder)
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", folder) from error
    if not ours:
        raise Refused(f"{folder} holds other files; choose a new or empty folder")
    if any(folder.glob("*/annotations.sqlite")):
        raise Refused(f"{folder} holds a simulation with a project in it; choose a new folder")


def is_simulation(folder: Path) -> bool:
    """Whether a folder was made by :func:`write_data_set`."""
    try:
        truth = json.loads((folder / TRUTH_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(truth, dict) and str(truth.get("program", "")).startswith("cryoppp-annotator")


def structure_from_map(path: Path, voxel_size_A: float | None = None) -> Structure:
    """A particle from a density map in an MRC file.

    Parameters
    ----------
    voxel_size_A : float, optional
        Instead of what the header says.

    Raises
    ------
    FormatError
        It is no map, or neither it nor the caller knows the voxel size.
    """
    try:
        with mrcfile.open(path, permissive=False) as file:
            values = np.array(file.data, np.float32)
            pixel_size_A = float(file.voxel_size.x)
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error
    except ValueError as error:
        raise FormatError(f"is no MRC map ({str(error).strip()})", path) from error
    voxel = pixel_size_A if voxel_size_A is None else voxel_size_A
    if not voxel > 0:
        raise FormatError(
            f"its header gives a voxel size of {pixel_size_A:g} Å; say the right one (--voxel-size)", path
        )
    try:
        return from_map(values, voxel)
    except ValueError as error:
        raise FormatError(str(error), path) from error


def view_class(orientations: NDArray[np.float64]) -> NDArray[np.int32]:
    """Which of six kinds of view each orientation gives, 1 .. 6.

    Parameters
    ----------
    orientations : (n, 4) float64
        Unit quaternions xyzw.

    Returns
    -------
    (n,) int32
        1 + the number of the axis of :data:`VIEW_AXES`, in the particle's frame, nearest to the beam. Views from
        opposite sides are mirror images and share a class.
    """
    if not len(orientations):
        return np.zeros(0, np.int32)
    beam = Rotation.from_quat(orientations).as_matrix()[:, 2, :]
    return np.asarray(1 + np.abs(beam @ VIEW_AXES.T).argmax(axis=1), dtype=np.int32)


def truth_picks(data: DataSet) -> list[MicrographPicks]:
    """The true particles as picks, with what RELION calls their orientation and defocus."""
    return [_truth_of(data, i) for i in range(len(data.truth))]


def as_micrograph(data: DataSet, index: int) -> Micrograph:
    """A simulated micrograph as the formats want it."""
    height, width = data.parameters.size
    return Micrograph(index + 1, data.names[index], data.file(index), width, height, data.parameters.pixel_size_A)


def _truth_of(data: DataSet, index: int) -> MicrographPicks:
    truth, optics = data.truth[index], data.parameters.optics
    n = len(truth.x)
    constants = {
        "rlnDefocusU": truth.defocus_A,
        "rlnDefocusV": truth.defocus_A,
        "rlnDefocusAngle": 0.0,
        "rlnVoltage": optics.voltage_kV,
        "rlnSphericalAberration": optics.cs_mm,
        "rlnAmplitudeContrast": optics.amplitude_contrast,
    }
    extra = {label: np.full(n, f"{value:.6f}") for label, value in constants.items()}
    # RELION's matrix takes the particle into the image, as ours does; its angles are those of the inverse (ZYZ).
    angles = Rotation.from_quat(truth.orientations).inv().as_euler("ZYZ", degrees=True) if n else np.zeros((0, 3))
    for column, label in enumerate(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")):
        extra[label] = np.array([f"{angle:.6f}" for angle in angles[:, column]], str)
    return MicrographPicks(
        as_micrograph(data, index),
        truth.pixel_size_A,
        truth.x,
        truth.y,
        np.full(n, truth.diameter_px),
        np.full(n, np.nan),
        np.zeros(n, np.int8),
        view_class(truth.orientations),
        extra,
    )


def _simulate_all(
    folder: Path, parameters: SimulationParameters, names: Sequence[str], views: ViewBank, context: JobContext
) -> list[SimulatedMicrograph]:
    """One micrograph a thread: numpy and the FFT leave the interpreter alone."""
    failed = False
    inner = replace(context.part(), is_cancelled=lambda: failed or context.is_cancelled())

    def one(index: int) -> SimulatedMicrograph:
        made = simulate_micrograph(parameters, index, views, inner)
        _write_mrc(folder / _MICROGRAPHS / f"{names[index]}.mrc", made)
        return replace(made, image=np.broadcast_to(np.float32(0.0), made.image.shape))

    n = len(names)
    with ThreadPoolExecutor(max(1, min(n, _MOST_AT_ONCE, fft_workers())), thread_name_prefix="simulate") as pool:
        futures: list[Future[SimulatedMicrograph]] = [pool.submit(one, i) for i in range(n)]
        pending = set(futures)
        try:
            while pending:
                context.progress(n - len(pending), n, f"{n - len(pending)}/{n} micrographs")
                done, pending = wait(pending, timeout=0.3, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            failed = True
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    context.progress(n, n, f"{n}/{n} micrographs")
    return [future.result() for future in futures]


def _write_mrc(path: Path, made: SimulatedMicrograph) -> None:
    with replacing_by_name(path) as aside, mrcfile.new(aside, overwrite=True) as file:
        file.set_data(made.image)
        file.voxel_size = made.pixel_size_A
        file.add_label("simulated by cryoppp-annotator")


def _head(parameters: SimulationParameters, source: str) -> dict[str, Any]:
    numbers = {name: value for name, value in vars(parameters).items() if name not in ("structure", "optics")}
    structure = parameters.structure if isinstance(parameters.structure, str) else "map"
    return {
        "program": f"cryoppp-annotator {__version__}",
        "frame": "x = column, y = row of the array as stored, 0-based, pixel centres on integers; px",
        "parameters": {**numbers, "structure": source or structure, "optics": asdict(parameters.optics)},
        "view_axes": VIEW_AXES.tolist(),
    }


def _entry(data: DataSet, index: int) -> dict[str, Any]:
    truth = data.truth[index]
    particles = zip(
        truth.x.tolist(),
        truth.y.tolist(),
        truth.view.tolist(),
        view_class(truth.orientations).tolist(),
        truth.orientations.tolist(),
        strict=True,
    )
    return {
        "name": data.names[index],
        "file": data.file(index),
        "pixel_size_A": truth.pixel_size_A,
        "diameter_A": truth.diameter_A,
        "defocus_A": truth.defocus_A,
        "carbon": None if truth.carbon is None else asdict(truth.carbon),
        "contamination": [
            dict(zip(("x", "y", "radius"), piece, strict=True)) for piece in truth.contamination.tolist()
        ],
        "particles": [
            {"x": x, "y": y, "view": view, "view_class": kind, "quaternion_xyzw": turn}
            for x, y, view, kind, turn in particles
        ],
    }
