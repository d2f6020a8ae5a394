"""A small project of bars, rings and nothing, whose truth is known, and class files of other programs about it."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.formats.table.star import format_star
from cryoppp_annotator.model.curation import Change
from cryoppp_annotator.session.core import edits, opening
from cryoppp_annotator.session.core.session import Session

PIXEL_A, DIAMETER_A, SIDE = 2.5, 60.0, 420
BAR, RING, NOTHING = 0, 1, 2
#: Rows lie so that a flip puts them between themselves.
_STEP_X, _STEP_Y, _ROWS = 56, 50, 7


def _shape(kind: int, x: float, y: float, angle: float) -> NDArray[np.float32]:
    yy, xx = np.indices((SIDE, SIDE), np.float32)
    along = (xx - x) * np.cos(angle) + (yy - y) * np.sin(angle)
    across = -(xx - x) * np.sin(angle) + (yy - y) * np.cos(angle)
    if kind == BAR:
        return np.asarray(np.exp(-(along**2) / 60.0 - across**2 / 6.0), np.float32)
    return np.asarray(np.exp(-((np.hypot(along, across) - 8.0) ** 2) / 4.0), np.float32)


def make_micrographs(folder: Path, n: int = 4) -> dict[str, NDArray[np.float64]]:
    """Write ``m0.mrc`` ..; returns the truth: x, y, kind, angle and micrograph of each of 49 places a micrograph."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[float, ...]] = []
    for number in range(n):
        image = rng.normal(10.0, 0.4, (SIDE, SIDE)).astype(np.float32)
        for place in range(_ROWS**2):
            x = 42 + _STEP_X * (place % _ROWS) + rng.uniform(-2, 2)
            y = 42 + _STEP_Y * (place // _ROWS) + rng.uniform(-2, 2)
            kind, angle = place % 5 % 3, rng.uniform(0, 2 * np.pi)
            if kind != NOTHING:
                image -= 1.5 * _shape(kind, x, y, angle)
            rows.append((x, y, kind, angle, number))
        with mrcfile.new(folder / f"m{number}.mrc") as file:
            file.set_data(image)
            file.voxel_size = PIXEL_A
    columns = np.array(rows).T
    return dict(zip(("x", "y", "kind", "angle", "micrograph"), columns, strict=True))


def make_project(folder: Path, truth: dict[str, NDArray[np.float64]], jitter_px: float = 0.0) -> Session:
    """A project in ``folder/project`` with an undecided pick on every place, off by about ``jitter_px``."""
    session = opening.open_plan(opening.plan(folder, folder / "project"), curator="me")
    session.set_diameter(DIAMETER_A)
    n = len(truth["x"])
    off = np.random.default_rng(9).normal(0, jitter_px, (2, n)) if jitter_px else np.zeros((2, n))
    columns = {
        "micrograph": np.array([session.micrographs[int(i)].id for i in truth["micrograph"]], np.int64),
        "pick_set": np.array([-1], np.int64),
        "x": truth["x"] + off[0],
        "y": truth["y"] + off[1],
        "decision": np.zeros(1, np.int8),
        "reason": np.zeros(1, np.int8),
        "class_id": np.zeros(1, np.int32),
        "score": np.array([np.nan]),
        "diameter_A": np.array([np.nan]),
    }
    pick_set = edits.new_pick_set("import", "places", "me")
    session.insert(Change("import", "import places", (pick_set, edits.insert_particles(columns, n))))
    return session


def all_picks(session: Session) -> dict[str, NDArray[np.float64]]:
    """x, y, decision, reason, id of every pick, in the order of the truth."""
    parts = [session.store.particles(m.id) for m in session.micrographs]
    names = ("id", "x", "y", "decision", "reason", "micrograph")
    return {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}


def purity(number: NDArray[np.int32], kind: NDArray[np.float64]) -> float:
    """Share of picks that are of the commonest kind of their class."""
    kept = [np.bincount(kind[number == k].astype(int)).max() for k in np.unique(number)]
    return float(sum(kept) / len(number))


def write_relion(
    folder: Path,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    names: list[str],
    number: NDArray[np.int32],
    *,
    origin_A: NDArray[np.float64] | None = None,
    old: bool = False,
    side: int = 24,
    pixel_A: float = 4.0,
) -> Path:
    """``run_it025_data.star``, ``_classes.mrcs`` and ``_model.star`` as RELION 3.1 (or 3.0) lays them out."""
    folder.mkdir(parents=True, exist_ok=True)
    k = int(number.max())
    origin = np.zeros((len(x), 2)) if origin_A is None else origin_A
    columns = {
        "rlnCoordinateX": [f"{v:.6f}" for v in x],
        "rlnCoordinateY": [f"{v:.6f}" for v in y],
        "rlnMicrographName": [f"MotionCorr/job002/{name}" for name in names],
        "rlnImageName": [f"{i + 1:06d}@Extract/job007/all.mrcs" for i in range(len(x))],
        "rlnClassNumber": [str(v) for v in number.tolist()],
        "rlnAnglePsi": ["30.0"] * len(x),
        "rlnMaxValueProbDistribution": ["0.75"] * len(x),
    }
    if old:
        columns |= {
            "rlnDetectorPixelSize": ["5.0"] * len(x),
            "rlnMagnification": [f"{5e4 / pixel_A:.6f}"] * len(x),
            "rlnOriginX": [f"{v:.6f}" for v in origin[:, 0] / pixel_A],
            "rlnOriginY": [f"{v:.6f}" for v in origin[:, 1] / pixel_A],
        }
        tables, version = [("", columns)], None
    else:
        columns |= {
            "rlnOpticsGroup": ["1"] * len(x),
            "rlnOriginXAngst": [f"{v:.6f}" for v in origin[:, 0]],
            "rlnOriginYAngst": [f"{v:.6f}" for v in origin[:, 1]],
        }
        optics = {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": ["1"],
            "rlnVoltage": ["300"],
            "rlnSphericalAberration": ["2.7"],
            "rlnImagePixelSize": [f"{pixel_A}"],
            "rlnImageSize": [f"{side}"],
            "rlnMicrographOriginalPixelSize": [f"{PIXEL_A}"],
            "rlnImageDimensionality": ["2"],
        }
        tables, version = [("optics", optics), ("particles", columns)], "30001"
    data = folder / "run_it025_data.star"
    data.write_text(format_star(tables, version=version))
    classes = {
        "rlnReferenceImage": [f"{i + 1:06d}@Class2D/job009/run_it025_classes.mrcs" for i in range(k)],
        "rlnClassDistribution": [f"{1 / k:.6f}"] * k,
        "rlnEstimatedResolution": [f"{10.0 + i:.3f}" for i in range(k)],
    }
    (folder / "run_it025_model.star").write_text(format_star([("model_classes", classes)], version=version))
    write_stack(folder / "run_it025_classes.mrcs", averages(k, side), pixel_A)
    return data


def averages(k: int, side: int) -> NDArray[np.float32]:
    """``k`` averages that can be told apart: discs of growing size."""
    yy, xx = np.indices((side, side)) - side // 2
    return np.stack([np.hypot(yy, xx) < 2 + i for i in range(k)]).astype(np.float32)


def write_cryosparc(
    folder: Path,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    names: list[str],
    number: NDArray[np.int32],
    *,
    shift_px: NDArray[np.float64] | None = None,
    apart: bool = False,
    side: int = 24,
    pixel_A: float = 4.0,
) -> Path:
    """Particles and class averages as cryoSPARC's Class2D job writes them; ``x, y`` canonical."""
    folder.mkdir(parents=True, exist_ok=True)
    n, k = len(x), int(number.max())
    rng = np.random.default_rng(1)
    uid = rng.integers(2**62, 2**63, n, dtype=np.uint64)
    order = rng.permutation(n) if apart else np.arange(n)
    path = np.array([f"J3/motioncorrected/{10**20 + i % 4}_{name}" for i, name in enumerate(names)], "S80")
    uids = {name: f"{10**20 + i:021d}" for i, name in enumerate(dict.fromkeys(names))}
    path = np.array([f"J3/motioncorrected/{uids[name]}_{name}" for name in names], "S80")
    location = [
        ("uid", "<u8", uid),
        ("location/micrograph_path", "S80", path),
        ("location/micrograph_shape", ("<u4", (2,)), np.full((n, 2), SIDE)),
        ("location/center_x_frac", "<f4", x / SIDE),
        ("location/center_y_frac", "<f4", 1.0 - y / SIDE),
        ("location/micrograph_psize_A", "<f4", np.full(n, PIXEL_A)),
    ]
    aligned = [
        ("uid", "<u8", uid),
        ("alignments2D/class", "<u4", number - 1),
        ("alignments2D/class_posterior", "<f4", np.full(n, 0.5)),
        ("alignments2D/shift", ("<f4", (2,)), np.zeros((n, 2)) if shift_px is None else shift_px),
        ("alignments2D/psize_A", "<f4", np.full(n, pixel_A)),
        ("alignments2D/pose", "<f4", np.full(n, np.pi / 6)),
    ]
    particles = folder / "J12_020_particles.cs"
    if apart:
        _write_cs(particles, aligned)
        _write_cs(folder / "J12_passthrough_particles.cs", location, order)
    else:
        _write_cs(particles, [*location, *aligned[1:]])
    _write_cs(
        folder / "J12_020_class_averages.cs",
        [
            ("uid", "<u8", np.arange(k)),
            ("blob/path", "S60", np.array(["J12/J12_020_class_averages.mrc"] * k, "S60")),
            ("blob/idx", "<u4", np.arange(k)),
            ("blob/shape", ("<u4", (2,)), np.full((k, 2), side)),
            ("blob/psize_A", "<f4", np.full(k, pixel_A)),
            ("blob/res_A", "<f4", 10.0 + np.arange(k)),
        ],
    )
    write_stack(folder / "J12_020_class_averages.mrc", averages(k, side), pixel_A)
    return particles


def _write_cs(path: Path, fields: list[tuple[str, object, NDArray[np.generic]]], order: object = slice(None)) -> None:
    dtype = [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind, _ in fields]
    table = np.zeros(len(fields[0][2]), dtype)  # type: ignore[call-overload]  # built from a list of mixed tuples
    for name, _, values in fields:
        table[name] = values
    with path.open("wb") as stream:
        np.save(stream, table[order])  # type: ignore[index]  # a permutation or everything
