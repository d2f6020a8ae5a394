"""2D classes made by RELION and cryoSPARC: which particle is in which class, and the averages.

RELION (3.0 to 5): ``run_it025_data.star`` (``rlnClassNumber`` from 1, ``rlnOriginXAngst`` or in px ``rlnOriginX``: what
must be *added* to the image to centre it, so that the particle lies at coordinate minus origin; ``rlnAnglePsi``;
``rlnMaxValueProbDistribution``), ``run_it025_classes.mrcs``, ``run_it025_model.star`` (``data_model_classes``).

cryoSPARC: particles ``.cs`` (``alignments2D/class`` from 0, ``class_posterior``, ``shift`` in px of ``psize_A`` with
RELION's sign, ``pose`` in radians), averages ``.cs`` (``blob/path``, ``blob/idx``, ``blob/res_A``) and their ``.mrc``.
Conversions as pyem's ``metadata/cryosparc2.py`` has them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import FloatArray
from ..model.pickfile import FilePicks, PickFile
from .cryosparc import CRYOSPARC
from .image.images import MRC_EXTENSIONS
from .image.stacks import read_stack, split_image_name
from .relion_picks import read_picks
from .table.cs_tables import Dataset, read_dataset
from .table.star import ColumnReader, StarFile, StarTable
from .table.star_file import read_star

_RELION_DATA = re.compile(r"_data(\.star)$")
_MAX_CLASSES = 2000
#: Bytes at the beginning of a file that name its columns; a STAR's optics groups come before them.
_HEAD = 1 << 18


@dataclass(frozen=True, eq=False)
class ClassRows:
    """What a file says of the particles of one micrograph, row by row as in its ``FilePicks``.

    Attributes
    ----------
    number : (n,) int32
        From 1; 0 = none.
    posterior : (n,) float64
        NaN = not given, as in all others.
    origin_A : (n, 2) float64, xy, source frame
        What takes the particle to the middle of its box; the particle lies at its coordinates minus this.
    angle_deg : (n,) float64
        Rotation of the average in the image, from x towards y: RELION's ``rlnAnglePsi`` with the other sign (measured
        with 3.1.3 on turned copies of one image).
    """

    number: NDArray[np.int32]
    posterior: FloatArray
    origin_A: FloatArray
    angle_deg: FloatArray


@dataclass(frozen=True, eq=False)
class ClassFiles:
    """A 2D classification of another program, read.

    Attributes
    ----------
    program : str
        ``relion`` or ``cryosparc``.
    file : PickFile
        Positions, with the frame the format declares.
    rows : tuple of ClassRows
        One for each of ``file.picks``.
    averages : (k, side, side) float32, yx
        Image ``number - 1`` is the class of that number.
    pixel_size_A : float
        Of the averages.
    resolution_A : (k,) float64
        NaN = not given.
    sources : tuple of Path
    """

    program: str
    file: PickFile
    rows: tuple[ClassRows, ...]
    averages: NDArray[np.float32]
    pixel_size_A: float
    resolution_A: FloatArray
    sources: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Files that seem to hold a 2D classification; their content has not been checked.

    Attributes
    ----------
    particles : Path
        Which particle is in which class, and where it is.
    averages : Path
    n_averages : int
    """

    particles: Path
    averages: Path
    n_averages: int


def find_class_set(files: Sequence[Path]) -> ClassSet | None:
    """The 2D classes in some files, or beside them; None where there are none. Looks at beginnings: milliseconds.

    What it finds need not be sound: :func:`read_class_files` says what is wrong with it.
    """
    with_class = [path for path in files if _has_classes(path)]
    if len(with_class) != 1:
        return None
    path = with_class[0]
    stacks = [other for other in files if other.suffix.lower() in MRC_EXTENSIONS]
    try:
        if path.suffix.lower() == ".cs":
            named = [other for other in files if "class_averages" in other.name]
            averages = (named or stacks or [_averages_beside(path)])[0]
        else:
            averages = stacks[0] if stacks else _relion_stack(path, None)
        n = len(read_dataset(averages)) if averages.suffix.lower() == ".cs" else len(read_stack(averages)[0])
    except FormatError:
        return None
    return ClassSet(path, averages, n) if 1 <= n <= _MAX_CLASSES else None


def _has_classes(path: Path) -> bool:
    """Whether it is a table of particles with classes."""
    marks = {".star": (b"_rlnClassNumber", b"_rlnCoordinateX"), ".cs": (b"alignments2D/class", b"location/")}
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    labels = marks.get(path.suffix.lower(), ())
    return bool(labels) and all(label in head for label in labels)


def read_class_files(files: Sequence[Path], *, permissive: bool = False) -> ClassFiles:
    """Read the classes of RELION or cryoSPARC.

    Parameters
    ----------
    files : sequence of Path
        The particles, and where they do not lie beside them under their usual names, the averages and RELION's model
        STAR; in any order.
    permissive : bool
        Rows that cannot be read are issues of ``file``.

    Raises
    ------
    FormatError
        The particles or the averages are missing, damaged, or do not belong together.
    """
    stars = [path for path in files if path.suffix.lower() == ".star"]
    datasets = [path for path in files if path.suffix.lower() == ".cs"]
    stacks = [path for path in files if path.suffix.lower() in MRC_EXTENSIONS]
    if rest := [path for path in files if path not in (*stars, *datasets, *stacks)]:
        raise FormatError("is neither .star, .cs nor .mrc(s)", rest[0])
    if datasets and not stars:
        return _cryosparc(datasets, stacks, permissive)
    if stars and not datasets:
        return _relion(stars, stacks, permissive)
    raise FormatError("give the files of one program: RELION's run_it025_data.star, or cryoSPARC's particles .cs")


def _images(path: Path) -> tuple[NDArray[np.float32], float | None]:
    images, pixel = read_stack(path)
    if images.shape[1] != images.shape[2] or not 1 <= len(images) <= _MAX_CLASSES:
        raise FormatError(f"holds {len(images)} images of {images.shape[2]} x {images.shape[1]} px: no averages", path)
    return np.array(images, np.float32), pixel


def _refuse_numbers(rows: Sequence[ClassRows], n: int, path: Path, stack: Path) -> None:
    top = max((int(r.number.max(initial=0)) for r in rows), default=0)
    if top > n:
        raise FormatError(
            f"puts particles into class {top}, but {stack.name} holds {n} averages: files of two runs?", path
        )


# ---------------------------------------------------------------------- RELION


def _relion(stars: Sequence[Path], stacks: Sequence[Path], permissive: bool) -> ClassFiles:
    read = {path: read_star(path, permissive=permissive) for path in stars}
    data = [star for star in read.values() if any("rlnClassNumber" in t.columns for t in star.tables)]
    if len(data) != 1:
        raise FormatError("name one STAR file with rlnClassNumber (run_it025_data.star)", stars[0])
    star = data[0]
    model = next((table for table in read.values() if _model_table(table) is not None), None)
    beside = _RELION_DATA.sub(r"_model\1", star.path.name)
    if model is None and beside != star.path.name and (star.path.parent / beside).is_file():
        model = read_star(star.path.parent / beside, permissive=permissive)
    stack = stacks[0] if stacks else _relion_stack(star.path, model)
    averages, pixel = _images(stack)
    file = read_picks(star, "relion-particles", permissive=permissive)
    sizes = _image_pixel_sizes(star)
    rows = tuple(_relion_rows(picks, sizes, star.path) for picks in file.picks)
    _refuse_numbers(rows, len(averages), star.path, stack)
    own = pixel or next(iter(sizes.values()), None)
    if not own:
        raise FormatError("the averages have no pixel size, neither in their header nor in the STAR file", stack)
    resolution = np.full(len(averages), np.nan)
    if model is not None:
        _relion_resolution(model, resolution)
    sources = tuple(dict.fromkeys([star.path, stack, *([model.path] if model else [])]))
    return ClassFiles("relion", file, rows, averages, own, resolution, sources)


def _model_table(star: StarFile) -> StarTable | None:
    return next((table for table in star.tables if "rlnReferenceImage" in table.columns), None)


def _relion_stack(particles: Path, model: StarFile | None) -> Path:
    """The averages: as the model STAR names them, as RELION calls them, or the only ones that lie there."""
    names = [re.sub(r"_data\.star$", "_classes.mrcs", particles.name)]
    if model is not None and (table := _model_table(model)) is not None and len(table):
        named = table.columns["rlnReferenceImage"][0]
        names.insert(0, PurePosixPath(named.partition("@")[2] or named).name)
    for name in names:
        if name != particles.name and (particles.parent / name).is_file():
            return particles.parent / name
    lying = list(particles.parent.glob("*classes.mrcs"))
    if names[-1] == particles.name and len(lying) == 1:
        return lying[0]
    pattern = "*classes.mrcs" if names[-1] == particles.name else names[-1]
    raise FormatError(f"the class averages are not beside it ({pattern}): name them too", particles)


def _image_pixel_sizes(star: StarFile) -> dict[str, float]:
    """Pixel size of the particle images by optics group; ``""`` holds for all."""
    optics = star.table("optics")
    if optics is not None and "rlnImagePixelSize" in optics.columns and "rlnOpticsGroup" in optics.columns:
        sizes = ColumnReader(optics.columns, optics.lines, star.path, False).number("rlnImagePixelSize")
        return dict(zip(optics.columns["rlnOpticsGroup"], sizes.tolist(), strict=True))
    for table in star.tables:
        if {"rlnDetectorPixelSize", "rlnMagnification"} <= set(table.columns) and len(table):
            reader = ColumnReader(table.columns, table.lines, star.path, False)
            size = 1e4 * reader.number("rlnDetectorPixelSize") / reader.number("rlnMagnification")
            return {"": float(np.median(size))}
    return {}


def _relion_rows(picks: FilePicks, sizes: dict[str, float], path: Path) -> ClassRows:
    n = len(picks)
    number = np.zeros(n, np.int32) if picks.class_id is None else np.maximum(picks.class_id, 0).astype(np.int32)

    def column(label: str) -> FloatArray:
        if label not in picks.extra:
            return np.full(n, np.nan)
        try:
            return picks.extra[label].astype(np.float64)
        except ValueError as error:
            raise FormatError(f"{label} holds what is no number ({error})", path) from error

    origin = np.column_stack([column("rlnOriginXAngst"), column("rlnOriginYAngst")])
    if "rlnOriginXAngst" not in picks.extra and "rlnOriginX" in picks.extra and sizes:
        groups = picks.extra.get("rlnOpticsGroup", np.full(n, ""))
        first = next(iter(sizes.values()))
        size = np.array([sizes.get(str(group), first) for group in groups])
        origin = np.column_stack([column("rlnOriginX"), column("rlnOriginY")]) * size[:, None]
    return ClassRows(number, column("rlnMaxValueProbDistribution"), origin, -column("rlnAnglePsi"))


def _relion_resolution(model: StarFile, resolution: FloatArray) -> None:
    table = _model_table(model)
    if table is None or "rlnEstimatedResolution" not in table.columns:
        return
    values = ColumnReader(table.columns, table.lines, model.path, False).number("rlnEstimatedResolution", optional=True)
    for name, value in zip(table.columns["rlnReferenceImage"], values.tolist(), strict=True):
        try:
            place = split_image_name(name)[0]
        except ValueError:
            continue
        if place < len(resolution) and 0 < value < np.inf:
            resolution[place] = value


# ---------------------------------------------------------------------- cryoSPARC


def _cryosparc(datasets: Sequence[Path], stacks: Sequence[Path], permissive: bool) -> ClassFiles:
    read = {path: read_dataset(path) for path in datasets}
    with_class = [path for path, data in read.items() if "alignments2D/class" in data.columns]
    if len(with_class) != 1:
        raise FormatError("name one .cs of particles with alignments2D/class (J*_particles.cs)", datasets[0])
    path = with_class[0]
    averages = next((p for p, data in read.items() if _names_averages(data)), None)
    if averages is None and not stacks:
        averages = _averages_beside(path)
    images, pixel, resolution, sources = _cryosparc_averages(averages, read, stacks, path)
    file = CRYOSPARC.read(path, permissive=permissive)
    data = read[path]
    order = np.argsort(data.columns["uid"], kind="stable")
    uids = data.columns["uid"][order]
    rows = []
    for picks in file.picks:
        picked = np.array([int(uid) for uid in picks.extra["uid"].tolist()], np.uint64)
        rows.append(_cryosparc_rows(data, order[np.searchsorted(uids, picked)], path))
    _refuse_numbers(rows, len(images), path, sources[0])
    pixel = pixel or _first_number(data, "alignments2D/psize_A")
    if not pixel:
        raise FormatError("the averages have no pixel size (blob/psize_A)", sources[0])
    return ClassFiles("cryosparc", file, tuple(rows), images, pixel, resolution, (path, *sources))


def _names_averages(data: Dataset) -> bool:
    return "blob/path" in data.columns and not any(n.startswith(("alignments2D/", "location/")) for n in data.columns)


def _averages_beside(path: Path) -> Path:
    """``J12_020_class_averages.cs`` of the same iteration, else any averages beside."""
    stem = path.name.removesuffix(".cs").removesuffix("_particles")
    named = [path.parent / f"{stem}_class_averages.cs", *sorted(path.parent.glob("*class_averages.cs"))]
    for candidate in named:
        if candidate.is_file():
            return candidate
    raise FormatError("the class averages are not beside it (J*_class_averages.cs): name them too", path)


def _cryosparc_averages(
    averages: Path | None, read: dict[Path, Dataset], stacks: Sequence[Path], particles: Path
) -> tuple[NDArray[np.float32], float | None, FloatArray, tuple[Path, ...]]:
    if averages is None:
        images, pixel = _images(stacks[0])
        return images, pixel, np.full(len(images), np.nan), (stacks[0],)
    data = read.get(averages) or read_dataset(averages)
    stack = stacks[0] if stacks else _blob(data, averages)
    images, pixel = _images(stack)
    resolution = np.full(len(images), np.nan)
    if {"blob/idx", "blob/res_A"} <= set(data.columns):
        place = data.columns["blob/idx"].astype(np.int64)
        value = np.asarray(data.columns["blob/res_A"], np.float64)
        good = (place < len(images)) & np.isfinite(value) & (value > 0)
        resolution[place[good]] = value[good]
    return images, _first_number(data, "blob/psize_A") or pixel, resolution, (averages, stack)


def _blob(data: Dataset, path: Path) -> Path:
    value: Any = data.columns["blob/path"][0] if len(data) else b""
    name = (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).lstrip(">")
    if name:
        whole = path.absolute()
        for candidate in (whole.parent / PurePosixPath(name).name, *(folder / name for folder in whole.parents)):
            if candidate.is_file():
                return candidate
    raise FormatError(f"names {name or 'no file'} as its images, which is neither beside it nor above it", path)


def _first_number(data: Dataset, name: str) -> float | None:
    column = data.columns.get(name)
    if column is None or not len(column) or column.dtype.kind != "f" or not column[0] > 0:
        return None
    return float(str(column[0]))


def _cryosparc_rows(data: Dataset, rows: NDArray[np.intp], path: Path) -> ClassRows:
    def column(name: str, width: tuple[int, ...] = ()) -> FloatArray:
        values = data.columns.get(f"alignments2D/{name}")
        if values is None:
            return np.full((len(rows), *width), np.nan)
        if values.shape[1:] != width or values.dtype.kind != "f":
            raise FormatError(f"field alignments2D/{name} is of type {values.dtype} {values.shape[1:]}", path)
        return values[rows].astype(np.float64)

    number = np.clip(data.columns["alignments2D/class"][rows].astype(np.int64), -1, 2**31 - 2).astype(np.int32) + 1
    # rows of an image run downwards, y of a cryoSPARC micrograph upwards
    shift = column("shift", (2,)) * column("psize_A")[:, None] * (1.0, -1.0)
    return ClassRows(number, column("class_posterior"), shift, -np.rad2deg(column("pose")))
