"""Boxes around the project's picks, cut from its micrographs one at a time and kept in the project's cache.

One file a micrograph (``cache/boxes``): a pick that is added or moved later costs reading its own micrograph only,
and what is in memory does not grow with the data set.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError, EngineError, Refused, disk_reason
from ...formats.atomic import replacing
from ...formats.image import images
from ...formats.kept_arrays import map_array
from ...imaging.ctf import Optics
from ...imaging.patches import PatchOptions, box_for, extract_patches
from ...model.context import JobContext
from ...model.coordinates import angstrom_to_px
from ...model.micrograph import Micrograph
from ..core import watch
from ..core.disk_cache import DiskCache
from ..core.session import Session
from ..pictures.defocus import defocus_of
from .run_options import RunOptions

_QUIET = JobContext()
#: Side of the boxes that are classified, px: by default, and what a person may choose.
SIDE_PX = 64
SIDES_PX = (16, 160)
#: What counts in a box reaches this far, of the particle's radius ...
_AROUND = 1.15
#: ... or this far, of the box's side, where the box is tighter.
_WHOLE = 0.47
#: Boxes cut between two looks at whether the job was cancelled.
_BATCH = 128
#: A micrograph of coarser pixels than the others sets the pixel size of all boxes only where it has such a share.
_NOTABLE = 0.05
#: ... and where its pixels are no more than so many times those of most picks: else they are a mistake.
_COARSEST = 2.0
#: Relative difference of pixel size that is none.
_SAME = 0.005
#: Bytes of boxes kept for later runs.
DISK_LIMIT = 12 * 2**30
_NAMED = 5


class BoxStack:
    """Boxes of many micrographs as one (n, side, side) array that stays on the disk.

    Slices and integer arrays give float32 copies; that is all an engine needs of it. No file is held open.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(self, side: int) -> None:
        self._side = side
        self._parts: list[tuple[Path | NDArray[Any], NDArray[np.int64]]] = []
        self._starts = np.zeros(1, np.intp)
        self._order: NDArray[np.intp] | None = None

    def append(self, records: Path | NDArray[Any], particles: NDArray[np.int64]) -> None:
        """Add the boxes of some particles from records with fields ``particle`` and ``image``, in memory or a file.

        They are looked up when they are read: another run may have written the file again, with more in it.

        Parameters
        ----------
        records : (m,) structured, ``particle`` int64 and ``image`` (side, side)
        particles : (n,) int64 ids
        """
        self._parts.append((records, particles))
        self._starts = np.append(self._starts, self._starts[-1] + len(particles))

    def take(self, rows: NDArray[np.intp]) -> BoxStack:
        """Some of the boxes, by rows (n,) int, in this order; nothing is read yet."""
        other = BoxStack(self._side)
        other._parts, other._starts = list(self._parts), self._starts
        other._order = rows if self._order is None else self._order[rows]
        return other

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._order is None else len(self._order)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, side, side)."""
        return len(self), self._side, self._side

    def __getitem__(self, index: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        order = np.arange(len(self)) if self._order is None else self._order
        positions = order[index]
        out = np.empty((len(positions), self._side, self._side), np.float32)
        part = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(part).tolist():
            mine = np.flatnonzero(part == number)
            source, particles = self._parts[number]
            records = _opened(source, self._side) if isinstance(source, Path) else source
            ids = particles[positions[mine] - self._starts[number]]
            rows = np.minimum(np.searchsorted(records["particle"], ids), len(records) - 1)
            if not np.array_equal(records["particle"][rows], ids):
                raise EngineError(f"{source} has lost boxes of this run: run again, and they are cut again")
            out[mine] = records["image"][rows]
        return out


def _opened(path: Path, side: int) -> NDArray[Any]:
    boxes = _load(path, side)
    if boxes is None:
        raise EngineError(f"{path} has vanished or is damaged: run again, and it is computed again")
    return boxes


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the boxes of one run are cut.

    Attributes
    ----------
    side : int
        Of the boxes, px.
    pixel_size_A : float
        Of the boxes.
    diameter_A : float
    invert : bool
        Particles are dark in the micrographs.
    mask_radius : float
        What counts in a box, as a share of its side.
    """

    side: int
    pixel_size_A: float
    diameter_A: float
    invert: bool
    mask_radius: float = _AROUND / 3.0

    def box_px(self, pixel_size_A: float) -> int:
        """Side of the box in a micrograph of this pixel size, px, even."""
        return 2 * round(self.pixel_size_A * self.side / pixel_size_A / 2.0)


@dataclass(eq=False)
class Boxes:
    """Boxes of those picks that have one; it grows as micrographs are cut.

    Attributes
    ----------
    images : BoxStack
        White particles.
    geometry : Geometry
    rows : (n,) intp
        Which pick each box is of.
    scale : (n,) float64
        Micrograph px per box px.
    defocus_A : (n,) float64
        Mean of u and v; NaN = not known.
    optics : Optics
        The microscope, as the first micrograph that says it.
    skipped : list of str
        Micrographs that could not be read, and why.
    problem : str
        Why boxes are not kept in the cache; empty where they are.
    """

    images: BoxStack
    geometry: Geometry
    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    defocus_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    optics: Optics | None = None
    skipped: list[str] = field(default_factory=list)
    problem: str = ""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Picks:
    """Picks to cut boxes around, ordered by micrograph.

    Attributes
    ----------
    id, micrograph : (n,) int64
    x, y : (n,) float64, canonical px
    diameter_A : (n,) float64
        NaN = the project's.
    """

    id: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    diameter_A: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: NDArray[np.intp]) -> Picks:
        """Some of them, by rows (n,) int in ascending order."""
        return Picks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def by_micrograph(self) -> dict[int, slice]:
        """Where the picks of each micrograph stand."""
        numbers, starts = np.unique(self.micrograph, return_index=True)
        ends = [*starts[1:].tolist(), len(self)]
        return {n: slice(a, b) for n, a, b in zip(numbers.tolist(), starts.tolist(), ends, strict=True)}


def geometry_of(options: RunOptions, diameter_A: float, pixel_A: float) -> Geometry:
    """The boxes that are cut for ``options`` of micrographs whose coarsest pixels are ``pixel_A``.

    Raises
    ------
    Refused
        Such boxes make no sense: which, and what would.
    """
    if options.box_px is None:
        if not 1.0 <= options.box_diameters <= 5.0:
            raise Refused(f"a box of {options.box_diameters:g} diameters makes no sense (1 to 5)")
        box, share = box_for(angstrom_to_px(diameter_A, pixel_A), options.box_diameters), options.box_diameters
    else:
        box = 2 * round(options.box_px / 2.0)
        share = box * pixel_A / diameter_A
        if share < 1.0:
            raise Refused(
                f"a box of {box} px is {box * pixel_A:.0f} Å, smaller than the particle ({diameter_A:.0f} Å): "
                f"choose at least {2 * int(np.ceil(angstrom_to_px(diameter_A, pixel_A) / 2.0))} px"
            )
    side = min(SIDE_PX, box)
    if (chosen_A := options.pixel_size_A) is not None:
        if chosen_A < pixel_A * (1.0 - _SAME):
            raise Refused(f"pixels of {chosen_A:g} Å are finer than those of the micrographs ({pixel_A:.3g} Å)")
        side = min(box, 2 * round(box * pixel_A / chosen_A / 2.0))
        least, most = SIDES_PX
        if not least <= side <= most:
            fit = box * pixel_A / (least if side < least else most)
            raise Refused(
                f"a box of {box * pixel_A:.0f} Å is {side} px of {chosen_A:g} Å, and {least} to {most} px can be "
                f"classified: choose pixels of {'at most' if side < least else 'at least'} {fit:.2g} Å"
            )
    mask = min(_WHOLE, _AROUND / (2.0 * share))
    return Geometry(side, pixel_A * box / side, diameter_A, options.invert, mask)


def plan(session: Session, picks: Picks, options: RunOptions) -> Geometry:
    """Boxes of one pixel size that all micrographs of note can give. Raises Refused as :func:`geometry_of`."""
    known = {m.id: session.pixel_size_A(m) for m in list(session.micrographs)}
    where = picks.by_micrograph()
    sizes = np.array([known[number] for number in where])
    weight = np.array([part.stop - part.start for part in where.values()])
    order = np.argsort(sizes)
    usual = sizes[order][np.searchsorted(np.cumsum(weight[order]), len(picks) / 2.0)]
    near = sizes <= _COARSEST * usual
    notable = [size for size in np.unique(sizes[near]) if weight[near & (sizes >= size)].sum() >= _NOTABLE * len(picks)]
    coarsest = max(notable)
    own = picks.diameter_A[np.isfinite(picks.diameter_A)]
    usual = session.loaded.diameter_of(options.species[0] if options.species else 0)
    diameter_A = usual if session.settings.diameter_is_set or options.species or not len(own) else float(np.median(own))
    return geometry_of(options, diameter_A, float(coarsest))


def cut_out(session: Session, picks: Picks, boxes: Boxes, *, context: JobContext = _QUIET) -> None:
    """Add the boxes of picks to ``boxes``, from the cache where they are there.

    A micrograph that cannot be read is noted and passed over.

    Raises
    ------
    Cancelled
        What was cut is in the cache.
    """
    where = picks.by_micrograph()
    micrographs, _ = watch.up_to_date(session, [m for m in list(session.micrographs) if m.id in where], context=context)
    known = {m.id: m for m in micrographs}
    rows, scale, depth = [boxes.rows], [boxes.scale], [boxes.defocus_A]
    for i, (number, part) in enumerate(where.items()):
        micrograph = known[number]
        context.progress(i, len(where), f"cutting out {micrograph.name}, {len(boxes):,} picks")
        try:
            source, records = _records(session, micrograph, picks, part, boxes, context)
        except AnnotatorError as error:
            context.check()
            boxes.skipped.append(f"{micrograph.name}: {error}")
            continue
        ids = picks.id[part]
        at = np.searchsorted(records["particle"], ids)
        usable = np.asarray(records["usable"][at], np.bool_)
        defocus = defocus_of(session, micrograph)
        boxes.optics = boxes.optics or defocus.optics
        boxes.images.append(source, ids[usable])
        rows.append(part.start + np.flatnonzero(usable))
        n = int(usable.sum())
        scale.append(np.full(n, boxes.geometry.pixel_size_A / session.pixel_size_A(micrograph)))
        depth.append(np.full(n, defocus.mean_A))
    boxes.rows, boxes.scale, boxes.defocus_A = np.concatenate(rows), np.concatenate(scale), np.concatenate(depth)
    context.progress(1, 1, f"{len(boxes):,} picks")


def notes_of(boxes: Boxes, n_picks: int) -> list[str]:
    """What a person should know of the boxes that were cut of ``n_picks``."""
    notes = [f"skipped {text}" for text in boxes.skipped[:_NAMED]]
    if len(boxes.skipped) > _NAMED:
        notes.append(f"skipped {len(boxes.skipped) - _NAMED:,} more micrographs")
    if (missing := n_picks - len(boxes)) > 0:
        why = "off the edge, without contrast" + (" or on skipped micrographs" if boxes.skipped else "")
        notes.append(f"left out: {missing:,} of {n_picks:,} picks, {why}")
    if boxes.problem:
        notes.append(boxes.problem)
    return notes


# ---------------------------------------------------------------------- one micrograph


def _dtype(side: int) -> np.dtype[Any]:
    # float16 keeps three digits of a box whose noise is 1, in half the room
    return np.dtype([("particle", "<i8"), ("x", "<f8"), ("y", "<f8"), ("usable", "?"), ("image", "<f2", (side, side))])


def _records(
    session: Session, micrograph: Micrograph, picks: Picks, part: slice, boxes: Boxes, context: JobContext
) -> tuple[Path | NDArray[Any], NDArray[Any]]:
    """Records, ordered by particle, that hold at least the wanted picks as they are now; where they lie, and them."""
    geometry = boxes.geometry
    path = _file(session, micrograph, geometry)
    records = _load(path, geometry.side)
    ids, x, y = picks.id[part], picks.x[part], picks.y[part]
    new = np.ones(len(ids), np.bool_)
    if records is not None and len(records):
        at = np.minimum(np.searchsorted(records["particle"], ids), len(records) - 1)
        new = (records["particle"][at] != ids) | (records["x"][at] != x) | (records["y"][at] != y)
        if not new.any():
            return path, records
    cut = np.zeros(int(new.sum()), _dtype(geometry.side))
    cut["particle"], cut["x"], cut["y"] = ids[new], x[new], y[new]
    _cut(session, micrograph, cut, geometry, context)
    if records is not None:
        cut = np.concatenate([np.asarray(records)[~np.isin(records["particle"], ids[new])], cut])
    cut = cut[np.argsort(cut["particle"], kind="stable")]
    if boxes.problem:
        return cut, cut
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            np.save(stream, cut)
    except OSError as error:
        boxes.problem = f"boxes are held in memory: the cache cannot be written ({disk_reason(error)})"
        return cut, cut
    return path, cut


def _cut(
    session: Session, micrograph: Micrograph, records: NDArray[Any], geometry: Geometry, context: JobContext
) -> None:
    pixel = session.pixel_size_A(micrograph)
    box = geometry.box_px(pixel)
    if box < geometry.side:
        raise Refused(f"its pixels of {pixel:g} Å are coarser than those of the boxes ({geometry.pixel_size_A:.3g} Å)")
    if micrograph.problem:
        raise Refused(micrograph.problem)
    image = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
    options = PatchOptions(box, geometry.side, invert=geometry.invert)
    for start in range(0, len(records), _BATCH):
        context.check()
        batch = records[start : start + _BATCH]
        patches, rows = extract_patches(image, batch["x"], batch["y"], options)
        with np.errstate(over="ignore"):
            batch["image"][rows] = patches
        batch["usable"][rows] = np.isfinite(batch["image"][rows]).all(axis=(1, 2))


def _file(session: Session, micrograph: Micrograph, geometry: Geometry) -> Path:
    """Where boxes of a micrograph are kept: another name where anything that they depend on is another."""
    identity = (
        micrograph.path,
        micrograph.fingerprint,
        micrograph.frame,
        session.pixel_size_A(micrograph),
        geometry.side,
        geometry.pixel_size_A,
        geometry.invert,
    )
    tag = hashlib.sha256(repr(identity).encode()).hexdigest()[:12]
    return session.store.folder / "cache" / "boxes" / f"{micrograph.id}-{tag}.npy"


def _load(path: Path, side: int) -> NDArray[Any] | None:
    boxes = map_array(path)
    return boxes if boxes is not None and boxes.dtype == _dtype(side) and boxes.ndim == 1 else None


def trim_cache(session: Session, limit: int = DISK_LIMIT) -> None:
    """Delete the boxes that have lain longest beyond ``limit`` bytes."""
    DiskCache(session.store.folder / "cache" / "boxes", "*.npy", limit).trim()
