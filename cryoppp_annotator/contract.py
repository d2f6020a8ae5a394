"""What a picker or denoiser gave is judged at the door, by one function each for command line, window and cluster."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import EngineError
from .model.candidates import Candidates
from .model.coordinates import SourceFrame
from .model.pickfile import FilePicks, PickFile
from .model.picture import Picture

#: No micrograph holds more particles; a picker that proposes more has failed, and the window would not end.
MOST_CANDIDATES = 1_000_000
#: Px that a candidate may lie outside the image by rounding.
_OUTSIDE = 1.0


def candidates_of(answer: Any, picker: str, shape: tuple[int, ...]) -> Candidates:
    """A picker's answer, as the contract of :class:`cryoppp_annotator.api.Picker` has it.

    Parameters
    ----------
    answer : object
        What ``propose`` returned.
    picker : str
        Its name, for the message.
    shape : (height, width), px
        Of the image that it was given.

    Returns
    -------
    Candidates
        float64 columns, best first.

    Raises
    ------
    EngineError
        It is something else, its columns do not fit, are not finite or lie outside the image, or there are too many.
    """
    if not isinstance(answer, Candidates):
        raise _wrong(picker, f"returned {_kind(answer)}; Candidates are expected")
    columns = {}
    for name in ("x", "y", "score", "diameter_A"):
        try:
            columns[name] = np.asarray(getattr(answer, name), np.float64)
        except (TypeError, ValueError, OverflowError):
            raise _wrong(picker, f"returned a column {name} that holds no numbers") from None
        if columns[name].ndim != 1:
            raise _wrong(picker, f"returned a column {name} of shape {columns[name].shape}; (n,) is expected")
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column):,} {name}" for name, column in columns.items())
        raise _wrong(picker, f"returned columns that do not fit together ({lengths})")
    n = len(columns["x"])
    if n > MOST_CANDIDATES:
        raise _wrong(picker, f"returned {n:,} candidates; at most {MOST_CANDIDATES:,} on one micrograph are taken")
    for name, column in columns.items():
        if not np.isfinite(column).all():
            raise _wrong(picker, f"returned {int((~np.isfinite(column)).sum()):,} of {n:,} {name} that are not finite")
    height, width = shape[:2]
    x, y = columns["x"], columns["y"]
    outside = (x < -_OUTSIDE) | (y < -_OUTSIDE) | (x > width - 1 + _OUTSIDE) | (y > height - 1 + _OUTSIDE)
    if outside.any():
        raise _wrong(
            picker, f"returned {int(outside.sum()):,} of {n:,} candidates outside the {width} x {height} px image"
        )
    if not (columns["diameter_A"] > 0).all():
        raise _wrong(picker, "returned diameters that are not above 0")
    order = np.argsort(-columns["score"], kind="stable")
    if (np.diff(order) < 0).any():
        columns = {name: column[order] for name, column in columns.items()}
    return Candidates(**columns)


def picture_of(answer: Any, denoiser: str, shape: tuple[int, ...]) -> Picture:
    """A denoiser's answer, as the contract of :class:`cryoppp_annotator.api.Denoiser` has it.

    Parameters
    ----------
    answer : object
        What ``denoise`` returned.
    denoiser : str
    shape : (height, width), px
        Of the micrograph.

    Raises
    ------
    EngineError
        It is something else, no grey picture, or larger than the micrograph.
    """
    if not isinstance(answer, Picture):
        raise _wrong(denoiser, f"returned {_kind(answer)}; a Picture is expected")
    pixels = np.asarray(answer.pixels)
    if pixels.ndim != 2 or pixels.dtype.kind not in "fiu" or 0 in pixels.shape:
        raise _wrong(
            denoiser, f"returned pixels of {pixels.dtype} and shape {pixels.shape}; a grey picture is expected"
        )
    if pixels.shape[0] > shape[0] + 1 or pixels.shape[1] > shape[1] + 1:
        raise _wrong(denoiser, f"returned {pixels.shape[1]} x {pixels.shape[0]} px, more than the micrograph has")
    try:
        step = [float(value) for value in answer.step]
    except (TypeError, ValueError):
        step = []
    if len(step) != 2 or not all(np.isfinite(value) and value > 0 for value in step):
        raise _wrong(denoiser, f"returned a picture whose step is {answer.step!r}; two numbers above 0 are expected")
    return answer


def pick_file_of(answer: Any, plugin: str) -> PickFile:
    """What a coordinate format read, as the contract of :class:`cryoppp_annotator.api.CoordinateFormat` has it.

    Parameters
    ----------
    answer : object
        What ``read`` returned.
    plugin : str
        Its name, for the message.

    Raises
    ------
    EngineError
        It is something else, or what is in it does not fit together.
    """
    if not isinstance(answer, PickFile):
        raise _wrong(plugin, f"returned {_kind(answer)}; a PickFile is expected")
    if not isinstance(answer.frame, SourceFrame) or not isinstance(answer.picks, tuple):
        raise _wrong(plugin, "returned a PickFile whose frame or picks are of another kind")
    for picks in answer.picks:
        if not isinstance(picks, FilePicks) or not isinstance(picks.micrograph, str):
            raise _wrong(plugin, f"returned {_kind(picks)} among the picks; FilePicks are expected")
        x, y = np.asarray(picks.x), np.asarray(picks.y)
        if x.ndim != 1 or x.shape != y.shape or x.dtype.kind not in "fiu" or y.dtype.kind not in "fiu":
            raise _wrong(plugin, f"returned positions of {picks.micrograph!r} that do not fit together")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise _wrong(plugin, f"returned positions of {picks.micrograph!r} that are not finite")
        columns = [picks.score, picks.diameter_px, picks.class_id, *picks.extra.values()]
        if any(column is not None and np.shape(column) != x.shape for column in columns):
            raise _wrong(plugin, f"returned columns of {picks.micrograph!r} of another length than its positions")
    return answer


def _wrong(plugin: str, what: str) -> EngineError:
    return EngineError(f"the plugin {plugin!r} {what}; nothing of it was taken: tell its authors")


def _kind(answer: Any) -> str:
    if isinstance(answer, np.ndarray):
        return "an array"
    name = type(answer).__name__
    return "nothing" if answer is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
