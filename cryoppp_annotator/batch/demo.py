"""The demo: a simulated data set, and a project in which every feature has something to act on."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import FormatError, Refused, disk_reason
from ..formats.atomic import write_text
from ..formats.relion import RELION_PARTICLES
from ..imaging.simulate import SimulatedMicrograph, SimulationParameters, imperfect_candidates
from ..model.context import JobContext
from ..model.coordinates import FloatArray
from ..model.curation import Decision, Reason
from ..model.micrograph import MicrographState
from ..model.pickfile import MicrographPicks, WriteOptions
from ..model.which import Which
from ..session.core.opening import FOLDER_NAME, home, open_plan, plan
from ..session.core.session import Session
from ..session.files import importing
from ..store.store import DATABASE_NAME
from .simulate import TRUTH_STAR, DataSet, as_micrograph, refuse_occupied, view_class, write_data_set

#: Who made the demo's first steps, so that the curator's undo does not reach them.
SIMULATOR = "simulation"
#: Class of false candidates on contamination; 1 to 6 are kinds of view (``simulated.view_class``).
CONTAMINATION_CLASS = 7
#: Class of false candidates on plain ice.
BACKGROUND_CLASS = 8
_MARK = "demo.json"
_CANDIDATES = "candidates.star"
_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo on disk.

    Attributes
    ----------
    folder, project : Path
    made : bool
        False where it was there already; the annotations in it were left alone.
    """

    folder: Path
    project: Path
    made: bool


def default_folder(n_micrographs: int, seed: int) -> Path:
    """Where the demo with these parameters is kept."""
    return home() / "demo" / f"{n_micrographs}-micrographs-seed-{seed}"


def build(folder: Path | None = None, *, n_micrographs: int = 6, seed: int = 0, context: JobContext = _QUIET) -> Demo:
    """Simulate the demo's micrographs and make its project, or find both where they were made before.

    The truth is one pick set: accepted on the first two micrographs, undecided on the others. Imperfect candidates
    with scores and classes are another; on the first micrograph the false ones are rejected with their reasons, and
    it is complete.

    Parameters
    ----------
    folder : Path, optional
        New, empty, or this demo; :func:`default_folder` where None.

    Raises
    ------
    Refused
        The folder holds something else.
    FormatError, ProjectError
        It cannot be written.
    Cancelled
    """
    folder = (folder or default_folder(n_micrographs, seed)).expanduser().absolute()
    project = folder / FOLDER_NAME
    asked = {"micrographs": n_micrographs, "seed": seed}
    mark = _mark(folder)
    if mark == {**asked, "complete": True} and (project / DATABASE_NAME).is_file():
        return Demo(folder, project, False)
    if mark is not None and mark.get("complete"):
        raise Refused(f"{folder} holds a demo of other parameters; choose another folder (--dir)")
    if mark is not None:  # it was interrupted, so it holds no work
        shutil.rmtree(project, ignore_errors=True)
        (folder / _MARK).unlink(missing_ok=True)
    refuse_occupied(folder)
    try:
        parameters = SimulationParameters(structure="double-ring", n_particles=150, snr=0.07, seed=seed)
        data = write_data_set(folder, parameters, n_micrographs, context=context)
        candidates = [_candidates(data, i) for i in range(n_micrographs)]
        RELION_PARTICLES.write(folder / _CANDIDATES, candidates, WriteOptions())
        context.progress(n_micrographs, n_micrographs, "making the project")
        write_text(folder / _MARK, json.dumps({**asked, "complete": False}) + "\n")
        _make_project(data, project, context)
        write_text(folder / _MARK, json.dumps({**asked, "complete": True}) + "\n")
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", folder) from error
    return Demo(folder, project, True)


def _mark(folder: Path) -> dict[str, object] | None:
    try:
        mark = json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def _candidates(data: DataSet, index: int) -> MicrographPicks:
    """What an imperfect picker found: scores, and the class that a 2D classification would have given."""
    truth = data.truth[index]
    candidates = imperfect_candidates(truth, np.random.default_rng([data.parameters.seed, index, 21]))
    n = len(candidates.x)
    class_id = np.full(n, BACKGROUND_CLASS, np.int32)
    reason = _reasons(truth, candidates.x, candidates.y)
    class_id[np.isin(reason, (Reason.CARBON, Reason.ICE))] = CONTAMINATION_CLASS
    if candidates.is_true.any():
        at = np.column_stack([candidates.x, candidates.y])[candidates.is_true]
        _, nearest = cKDTree(np.column_stack([truth.x, truth.y])).query(at)
        class_id[candidates.is_true] = view_class(truth.orientations)[nearest]
    nothing = np.full(n, np.nan)
    score = np.round(candidates.score, 4)
    return MicrographPicks(
        as_micrograph(data, index),
        truth.pixel_size_A,
        np.round(candidates.x, 2),
        np.round(candidates.y, 2),
        nothing,
        score,
        np.zeros(n, np.int8),
        class_id,
    )


def _reasons(truth: SimulatedMicrograph, x: FloatArray, y: FloatArray) -> NDArray[np.int8]:
    """Why a false candidate at each point is none, (n,) int8 of Reason."""
    reason = np.full(len(x), Reason.NOT_A_PARTICLE, np.int8)
    for px, py, radius in truth.contamination:
        reason[np.hypot(x - px, y - py) <= radius] = Reason.ICE
    if truth.carbon is not None:
        reason[truth.carbon.contains(x, y)] = Reason.CARBON
    return reason


def _make_project(data: DataSet, project: Path, context: JobContext) -> None:
    session = open_plan(plan(data.folder, project), curator=SIMULATOR)
    try:
        session.set_diameter(round(data.diameter_A, 1))
        for file, name in ((TRUTH_STAR, "truth"), (_CANDIDATES, "candidates")):
            read = importing.read(session, data.folder / file, format="relion-particles")
            importing.enter(session, read, name=name)
            context.check()
        _start(session, data)
    finally:
        session.close()


def _start(session: Session, data: DataSet) -> None:
    """Some of the work is done already, so that there is something to look at and something to do."""
    sets = {s.name: number for number, s in session.pick_sets.items()}
    order = {m.path: m.id for m in session.micrographs}
    ids = [order[data.file(i)] for i in range(len(data.names))]
    for micrograph in ids[:2]:
        session.decide_where(Which(micrographs=(micrograph,), pick_sets=(sets["truth"],)), Decision.ACCEPTED)
    session.go(ids[0])
    particles = session.particles
    false = (particles.pick_set == sets["candidates"]) & (particles.class_id >= CONTAMINATION_CLASS)
    false = particles.take(false)
    reasons = _reasons(data.truth[0], false.x, false.y)
    for reason in np.unique(reasons).tolist():
        session.decide(false.id[reasons == reason], Decision.REJECTED, Reason(reason))
    session.set_state(ids[:1], MicrographState.COMPLETE)
    session.set_state(ids[1:2], MicrographState.IN_PROGRESS)
