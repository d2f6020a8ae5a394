"""Which files are micrographs: of a folder, a pattern, a RELION project or job, or a list (STAR, text, cryoSPARC)."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from ...errors import FormatError
from .. import relion_project
from ..table.text_rows import read_bounded
from .mrc import guard

MRC_EXTENSIONS = (".mrc", ".mrcs", ".map", ".st")
IMAGE_EXTENSIONS = (*MRC_EXTENSIONS, ".tif", ".tiff", ".png", ".jpg", ".jpeg")
COMPRESSED_EXTENSIONS = (".gz", ".bz2")
#: Files that list micrographs, and are none.
_STARS = (".star",)
_DATASETS = (".cs", ".csg")
_TEXTS = (".txt", ".lst", ".csv", ".tsv", ".json", ".xml", ".log", ".md")


def find_micrographs(source: Path | str) -> list[Path]:
    """List the images of a folder, a glob pattern, a list or a single file, in natural order (``2`` before ``10``).

    Parameters
    ----------
    source : Path or str
        A CryoPPP data set folder (one with ``micrographs/``) gives its micrographs; RELION's project folder those of
        its MotionCorr jobs, a job's folder those its STAR lists; any other folder the images directly inside, or
        where there are none, those one level down. A pattern gives the images it matches. A STAR, a text file of
        paths or a cryoSPARC dataset of exposures gives the micrographs it lists, those that are missing too; any
        other file itself, whatever its name. Hidden files are left out.

    Returns
    -------
    list of Path
        Empty where the folder or pattern holds no image.

    Raises
    ------
    FormatError
        ``source`` does not exist, may not be read, or is a text file that lists no micrograph that is there.
    """
    path = Path(source).expanduser()
    with guard(path, "listed"):
        if path.is_dir():
            listed = _of_relion(path)
            if listed:
                return listed
            images = _images_in(path)
            if not images:
                images = [image for folder in _folders_in(path) for image in _images_in(folder)]
        elif path.exists():
            return _of_list(path) if path.suffix.lower() in (*_STARS, *_DATASETS, *_TEXTS) else [path]
        elif glob.has_magic(str(path)):
            images = [p for p in map(Path, glob.iglob(str(path), recursive=True)) if _is_image(p.name) and p.is_file()]
        else:
            raise FormatError("does not exist; a folder, a pattern or an image file was expected", path)
    return sorted(images, key=_natural)


def micrograph_name(path: Path | str) -> str:
    """File name less image and compression extension, further dots kept: ``a.b.mrc.gz`` -> ``a.b``."""
    name = whole = Path(path).name
    for extensions in (COMPRESSED_EXTENSIONS, IMAGE_EXTENSIONS):
        stem, extension = os.path.splitext(name)
        if stem and extension.lower() in extensions:
            name = stem
    return name or whole


# --- lists ---------------------------------------------------------------------------------------------------------


def _of_relion(folder: Path) -> list[Path]:
    """Micrographs of a RELION project or job; empty where the folder is neither, or lists none."""
    job = relion_project.job_of(folder)
    if job is not None and job.has_micrographs:
        return relion_project.listed_micrographs(job, folder.absolute().parent.parent)
    return relion_project.project_micrographs(folder) if relion_project.is_root(folder) else []


def _of_list(path: Path) -> list[Path]:
    """Micrographs that a file lists, in its order.

    Raises
    ------
    FormatError
        It lists none, or none that is there.
    """
    names = _listed_names(path)
    if not names:
        raise FormatError(
            "is no image and lists no micrographs; name a folder, a pattern, images or a list of them", path
        )
    places = [_place_of(path, name) for name in names]
    if not any(place.is_file() for place in places):
        raise FormatError(f"lists {len(names)} micrographs, none of which is there (the first is {names[0]})", path)
    return list(dict.fromkeys(places))


def _listed_names(path: Path) -> list[str]:
    extension = path.suffix.lower()
    if extension in _STARS:
        return relion_project.names_in_list(path)
    if extension in _DATASETS:
        from ..cryosparc_exposures import exposure_names  # which needs the formats, and they the images

        return exposure_names(path)
    lines = (line.strip().strip("'\"") for line in read_bounded(path).split("\n"))
    return [line for line in lines if line and not line.startswith("#") and _is_image(line.replace("\\", "/"))]


def _place_of(path: Path, name: str) -> Path:
    """Where a listed micrograph lies: as named, from the list's folder or one above it, or beside the list."""
    name = name.replace("\\", "/") if "/" not in name else name
    whole = path.absolute()
    short = relion_project.after_job(name)
    candidates = [folder / name for folder in whole.parents] + [whole.parent / short, whole.parent / Path(name).name]
    return next((place for place in (*candidates, Path(name)) if place.is_file()), candidates[0])


# --- folders -------------------------------------------------------------------------------------------------------


def _is_image(name: str) -> bool:
    if name.startswith("."):
        return False
    stem, extension = os.path.splitext(name.lower())
    if extension in COMPRESSED_EXTENSIONS:
        return os.path.splitext(stem)[1] in MRC_EXTENSIONS
    return extension in IMAGE_EXTENSIONS


def _images_in(folder: Path) -> list[Path]:
    """Images directly in ``folder``, or in its ``micrographs/`` where it has one with images."""
    inner = folder / "micrographs"
    if inner.is_dir() and (images := _images_in(inner)):
        return images
    with os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if _is_image(entry.name) and entry.is_file()]


def _folders_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key: runs of digits count as numbers, case does not count."""
    pieces = re.split(r"([0-9]+)", str(path).casefold())
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)], str(path)
