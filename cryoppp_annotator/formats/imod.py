"""IMOD models (``.mod``, binary): the points of every contour, read only.

The file is a header of 240 bytes and chunks with a four-letter name; all numbers are big-endian
(bio3d.colorado.edu/imod/doc/binspec.html). ``x, y`` are px of the image from its lower left corner, which is row 0 of
the MRC. (IMOD counts from a pixel's edge, so its numbers are half a pixel more than ours; they are left as they are.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, disk_reason
from ..model.coordinates import RELION_FRAME, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions

_MAGIC = b"IMOD"
#: Bytes of the records of a model file, without their points.
_HEADER_BYTES = 240
_OBJECT_BYTES = 176
_CONTOUR_BYTES = 16
_MESH_BYTES = 16
_LIMIT = 256 << 20
_LARGEST = 1e9
#: Powers of ten of a metre that ``units`` may be; -10 is the angstrom.
_UNITS = {-9: 10.0, -10: 1.0, -6: 1e4}


@dataclass
class _Contours:
    """What has been read so far."""

    points: list[NDArray[np.float64]] = field(default_factory=list)
    radii: list[NDArray[np.float64]] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    n_objects: int = 0


@dataclass(frozen=True)
class _Imod:
    """IMOD's binary model; see the module."""

    name: str = "imod"
    title: str = "IMOD model (.mod)"
    extensions: tuple[str, ...] = (".mod",)
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = RELION_FRAME
    carries: frozenset[str] = frozenset({"diameter", "class", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a binary IMOD model."""
        return 0.98 if head.startswith(_MAGIC) else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the points of all contours as centres.

        The object's number becomes the class where there are several, a point's sphere its diameter; ``z``, object
        and contour are kept.

        Raises
        ------
        FormatError
            Not a binary model, or damaged. (Permissive: what comes before the damage is returned.)
        """
        data = _bytes(path)
        if not data.startswith(_MAGIC):
            ascii_model = data[:4].lower() == b"imod"
            hint = "is an IMOD text model: save it as a binary one in 3dmod" if ascii_model else "is no IMOD model"
            raise FormatError(hint, path)
        if len(data) < _HEADER_BYTES:
            raise FormatError(f"ends after {len(data)} bytes, within the header of {_HEADER_BYTES}", path)
        contours = _Contours()
        issues: list[Issue] = []
        try:
            for name, start, end in _chunks(data, path):
                _take(contours, name, data[start:end], start, path)
        except FormatError as error:
            if not permissive:
                raise
            issues.append(Issue(error.detail, path))
        picks, bad = _picks(contours, path)
        if bad and not permissive:
            raise FormatError(f"{bad} points have no finite position", path)
        issues += [Issue(f"{bad} points have no finite position", path)] if bad else []
        return PickFile(self.name, path, self.frame, (picks,), tuple(issues), _pixel_size(data))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Raise FormatError: models are only read."""
        raise FormatError("IMOD models are only read, not written", out)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LIMIT:
            raise FormatError(f"is larger than {_LIMIT >> 20} MB, which no model of picks is", path)
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error


def _chunks(data: bytes, path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of what follows each chunk's name, up to the end mark."""
    at = _HEADER_BYTES
    while at < len(data):
        name = data[at : at + 4]
        if name == b"IEOF":
            return
        start = at + 4
        end = start + _length(name, data, start, path)
        if end > len(data):
            raise FormatError(f"is truncated: {name!r} at byte {at} needs {end - len(data)} bytes more", path)
        yield name, start, end
        at = end
    raise FormatError("is truncated: the end mark IEOF is missing", path)


def _length(name: bytes, data: bytes, start: int, path: Path) -> int:
    if name == b"OBJT":
        return _OBJECT_BYTES
    if name == b"CONT":
        (n,) = _integers(data, start, 1, path)
        length = _CONTOUR_BYTES + 12 * n
    elif name == b"MESH":
        n, m = _integers(data, start, 2, path)
        length = _MESH_BYTES + 12 * n + 4 * m
        n = min(n, m)
    else:
        (n,) = _integers(data, start, 1, path)
        length = 4 + n
    if n < 0:
        raise FormatError(f"is damaged: {name!r} at byte {start - 4} has a negative size", path)
    return length


def _integers(data: bytes, start: int, n: int, path: Path) -> tuple[int, ...]:
    try:
        return struct.unpack_from(f">{n}i", data, start)
    except struct.error as error:
        raise FormatError(f"is truncated at byte {start}", path) from error


def _take(contours: _Contours, name: bytes, body: bytes, start: int, path: Path) -> None:
    if name == b"OBJT":
        contours.n_objects += 1
    elif name == b"CONT":
        if not contours.n_objects:
            raise FormatError(f"is damaged: a contour at byte {start} belongs to no object", path)
        points = np.frombuffer(body, ">f4", offset=_CONTOUR_BYTES).reshape(-1, 3).astype(np.float64)
        contours.points.append(points)
        contours.radii.append(np.full(len(points), np.nan))
        contours.objects.append(contours.n_objects)
    elif name == b"SIZE" and contours.points:
        radii = np.frombuffer(body[4:], ">f4", count=(len(body) - 4) // 4).astype(np.float64)
        if len(radii) == len(contours.points[-1]):
            contours.radii[-1] = np.where(np.isfinite(radii) & (radii > 0) & (radii < _LARGEST), radii, np.nan)


def _picks(contours: _Contours, path: Path) -> tuple[FilePicks, int]:
    if not contours.points:
        return FilePicks(path.stem, np.zeros(0), np.zeros(0), source=path), 0
    lengths = [len(points) for points in contours.points]
    points = np.concatenate(contours.points)
    radii = np.concatenate(contours.radii)
    objects = np.repeat(np.array(contours.objects, np.int32), lengths)
    numbers = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    good = (np.isfinite(points) & (np.abs(points) <= _LARGEST)).all(axis=1)
    kept = {"imod:object": objects, "imod:contour": numbers, "imod:z": np.round(points[:, 2], 4)}
    extra = {label: np.asarray(column)[good].astype(np.str_) for label, column in kept.items()}
    picks = FilePicks(
        path.stem,
        points[good, 0],
        points[good, 1],
        diameter_px=2.0 * radii[good] if np.isfinite(radii[good]).any() else None,
        class_id=objects[good] if contours.n_objects > 1 else None,
        extra=extra,
        source=path,
    )
    return picks, int(np.count_nonzero(~good))


def _pixel_size(data: bytes) -> float | None:
    size, unit = struct.unpack_from(">fi", data, 8 + 208)
    in_A = size * _UNITS.get(unit, 0.0)
    return float(in_A) if 0.05 < in_A < 1000 else None


IMOD = _Imod()
