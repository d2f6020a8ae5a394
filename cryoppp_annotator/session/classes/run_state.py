"""The state of a classification in a file, for a later run to start from."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from ...classify.iteration import ClassModel
from ...formats.atomic import replacing
from ...imaging.polar import PolarGrid

FILE = "model.npz"
_ARRAYS = tuple(f.name for f in fields(ClassModel) if f.name != "grid")


def write(folder: Path, model: ClassModel) -> None:
    """Write a model into a run's folder. Raises OSError."""
    grid = np.array([asdict(model.grid)[name] for name in ("box", "n_rings", "n_angles")], np.int64)
    with replacing(folder / FILE) as stream:
        np.savez(stream, grid=grid, **{name: getattr(model, name) for name in _ARRAYS})


def load(project: Path, run: int) -> ClassModel | None:
    """The model of a run; None where there is none that can be read: a run then starts anew."""
    try:
        path = project / "classes" / f"run-{run:04d}" / FILE
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {name: found[name] for name in _ARRAYS if name in found}
            return ClassModel(grid=PolarGrid(*(int(value) for value in found["grid"])), **arrays)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
