"""What the ``learned`` picker has learned, in memory and as a file (``.npz``, no pickle: a file of another person's
cannot run anything)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError, disk_reason
from ..formats.atomic import replacing
from ..formats.kept_arrays import read_arrays

#: Raised when the numbers mean something else; an older file must be learned anew.
VERSION = 3
_ARRAYS = ("landmarks", "weights", "mean", "spread", "averages", "shares", "margins")


@dataclass(frozen=True, eq=False)
class Model:
    """What was learned.

    Attributes
    ----------
    landmarks : (m, k) float32
        Standardised, weighted numbers that new ones are compared with.
    weights : (m,) float32
    bias : float
    mean, spread : (k,) float32
        Of the numbers in training; for micrographs with few candidates.
    averages : (v, r, h) complex64
    shares : (v,) float32
        The particle's views; see ``views``.
    margins : (g,) float64
        How likely the curator leaves free each of the margins of ``learned``.
    slope, edge_slope, offset : float
        Of the logistic function that makes it a probability.
    diameter_A : float
        It was trained with.
    polarity : 'dark' or 'bright'
    n_accepted, n_rejected : int
        Decisions it was trained on.
    """

    landmarks: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: float
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    averages: NDArray[np.complex64]
    shares: NDArray[np.float32]
    margins: NDArray[np.float64]
    slope: float
    edge_slope: float
    offset: float
    diameter_A: float
    polarity: str
    n_accepted: int
    n_rejected: int

    def digest(self) -> str:
        """Twelve letters that differ where the model does."""
        hashed = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            hashed.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return hashed.hexdigest()[:12]


def save_model(model: Model, path: Path) -> None:
    """Write a model, at once and whole. Raises EngineError where that fails."""
    columns: dict[str, Any] = {field.name: np.asarray(getattr(model, field.name)) for field in fields(model)}
    try:
        with replacing(path) as stream:
            np.savez_compressed(stream, version=np.asarray(VERSION), **columns)
    except OSError as error:
        raise EngineError(f"the model could not be written to {path} ({disk_reason(error)})") from error


def load_model(path: Path) -> Model:
    """Read a model. Raises EngineError where there is none, or it is damaged."""
    try:
        file = read_arrays(path)
        if int(file["version"]) != VERSION:
            raise EngineError(f"{path} was learned by another version of this program; learn it again")
        values = {field.name: file[field.name] for field in fields(Model)}
        plain: dict[str, Any] = {name: value if name in _ARRAYS else value.item() for name, value in values.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path} is no model of the learned picker ({error})") from error
    model = Model(**plain)
    if not _is_sensible(plain):
        raise EngineError(f"{path} is no model of the learned picker (its numbers make no sense)")
    shapes = (model.landmarks.ndim, model.weights.shape, model.mean.shape, model.spread.shape)
    k = model.landmarks.shape[-1]
    views = model.averages.ndim == 3 and model.shares.shape == (len(model.averages),)
    if shapes != (2, (len(model.landmarks),), (k,), (k,)) or not views:
        raise EngineError(f"{path} is no model of the learned picker (its arrays do not fit each other)")
    return model


def _is_sensible(values: dict[str, Any]) -> bool:
    """Whether arrays are finite numbers of some dimension, and the rest of the type that it says."""
    arrays = [values[name] for name in _ARRAYS]
    numbers = [value for name, value in values.items() if name not in (*_ARRAYS, "polarity")]
    return (
        all(array.ndim and array.dtype.kind in "fc" and np.isfinite(array).all() for array in arrays)
        and all(isinstance(number, int | float) and np.isfinite(number) for number in numbers)
        and values["polarity"] in ("dark", "bright")
    )
