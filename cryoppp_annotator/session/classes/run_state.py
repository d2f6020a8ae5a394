"""The state of a classification in a file, for a later run to start from."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from ...classify.iteration import ClassModel
from ...formats.atomic import replacing
from ...formats.kept_arrays import load_arrays
from ...imaging.polar import PolarGrid

FILE = "model.npz"
_ARRAYS = tuple(f.name for f in fields(ClassModel) if f.name != "grid")


def write(folder: Path, model: ClassModel) -> None:
    """Write a model into a run's folder. Raises OSError."""
    grid = np.array([asdict(model.grid)[name] for name in ("box", "n_rings", "n_angles")], np.int64)
    with replacing(folder / FILE) as stream:
        np.savez(stream, grid=grid, **{name: getattr(model, name) for name in _ARRAYS})


def load(project: Path, run: int) -> ClassModel | None:
    """The model of a run; None where there is none that can be read: a run then starts without it."""
    arrays = load_arrays(project / "classes" / f"run-{run:04d}" / FILE)
    if arrays is None:
        return None
    try:
        grid = PolarGrid(*(int(value) for value in arrays["grid"]))
        return ClassModel(grid=grid, **{name: arrays[name] for name in _ARRAYS if name in arrays})
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
