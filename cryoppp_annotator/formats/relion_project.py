"""A RELION project folder: its root, its jobs, and what the micrographs are called in it.

RELION runs in the project's folder; every name in its files is relative to that. Jobs lie in ``<Type>/job001``
(3dem/relion ``src/pipeliner.cpp``; ``default_pipeline.star`` lists them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import FormatError
from .table.star_file import read_star

PIPELINE = "default_pipeline.star"
_JOB = re.compile(r"job\d{3,}$")
_JOB_PATH = re.compile(r"^[^/]+/job\d{3,}/")
#: Folders of jobs that are of use here, and what each holds.
_HOLDS = {
    "Import": ("micrographs.star", "movies.star"),
    "MotionCorr": ("corrected_micrographs.star",),
    "CtfFind": ("micrographs_ctf.star",),
    "ManualPick": ("manualpick.star", "coords_suffix_manualpick.star"),
    "AutoPick": ("autopick.star", "coords_suffix_autopick.star", "coords_suffix_topazpicks.star"),
    "Extract": ("particles.star",),
    "Select": ("particles.star", "micrographs.star"),
    "Class2D": ("run_data.star",),
}
#: Kinds of jobs whose files hold CTF values, and 2D classes.
CTF = "CtfFind"
CLASSES = "Class2D"
_PICKS = ("ManualPick", "AutoPick", "Extract", "Select")
_MICROGRAPHS = ("MotionCorr", "CtfFind", "Import", "Select")
#: Images that MotionCorr jobs write beside the micrographs: power spectra, and sums without dose weighting.
_NO_MICROGRAPHS = ("_PS", "_noDW")
_IMAGE_ENDINGS = (".mrc", ".mrcs", ".tif", ".tiff", ".st", ".map", ".gz", ".bz2")
_ITERATION = re.compile(r"run_(?:ct\d+_)?it(\d+)_data\.star$")


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a RELION project.

    Attributes
    ----------
    kind : str
        ``MotionCorr``, ``CtfFind``, ``ManualPick``, ``AutoPick``, ``Extract``, ``Select``, ``Class2D`` or ``Import``.
    folder : Path
    file : Path
        What it is read by: a list of micrographs, CTF values, picks, particles or classes.
    """

    kind: str
    folder: Path
    file: Path

    @property
    def name(self) -> str:
        """``AutoPick/job006``."""
        return f"{self.kind}/{self.folder.name}"

    @property
    def has_micrographs(self) -> bool:
        """Whether its file lists micrographs."""
        return "micrographs" in self.file.name

    @property
    def has_picks(self) -> bool:
        """Whether its file leads to picks."""
        return self.kind in _PICKS and not self.has_micrographs


@dataclass(frozen=True, slots=True)
class Chosen:
    """Jobs of a project that are taken together; its micrographs are taken in any case.

    Attributes
    ----------
    ctf : Job or None
    picks : tuple of Job
    classes : Job or None
    """

    ctf: Job | None = None
    picks: tuple[Job, ...] = ()
    classes: Job | None = None

    @property
    def names(self) -> list[str]:
        """Names of the jobs, in the order in which they are read."""
        every = (self.ctf, *self.picks, self.classes)
        return [job.name for job in every if job is not None]


def latest(known: Sequence[Job]) -> Chosen:
    """The latest job of each kind: CTF values, picks, classes.

    Parameters
    ----------
    known : sequence of Job
        As :func:`jobs` gives them.
    """
    return Chosen(_last(known, CTF), tuple(job for job in known if job.has_picks)[-1:], _last(known, CLASSES))


def named(known: Sequence[Job], names: Sequence[str]) -> Chosen:
    """Those of the jobs that are named; of CTF values and classes the last one.

    Raises
    ------
    KeyError
        No job has such a name.
    """
    by_name = {job.name: job for job in known}
    chosen = [by_name[name.strip("/")] for name in names]
    return Chosen(_last(chosen, CTF), tuple(job for job in chosen if job.has_picks), _last(chosen, CLASSES))


def _last(known: Sequence[Job], kind: str) -> Job | None:
    return next((job for job in reversed(known) if job.kind == kind), None)


def is_root(folder: Path) -> bool:
    """Whether a folder is where RELION runs: its pipeline lies in it, or folders of jobs do."""
    try:
        return (folder / PIPELINE).is_file() or any(True for _ in _job_folders(folder))
    except OSError:
        return False


def find_root(path: Path) -> Path | None:
    """The RELION project a file belongs to, found by walking up; None where there is none.

    Parameters
    ----------
    path : Path
        Links are not followed: RELION calls a file by the way that leads to it inside the project.
    """
    whole = path.expanduser().absolute()
    for folder in (whole, *whole.parents):
        if _JOB.match(folder.name) and folder.parent.name in _HOLDS:
            return folder.parent.parent
    return next((folder for folder in (whole, *whole.parents) if is_root(folder)), None)


def name_in(root: Path, path: Path) -> str | None:
    """What RELION calls a file: its path from the project's folder; None where it lies elsewhere."""
    try:
        return path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError:
        return None


def is_written_name(name: str) -> bool:
    """Whether a name is an image's, as rows give it, and not a coordinate file's stem."""
    return PurePosixPath(name.lower()).suffix in _IMAGE_ENDINGS


def after_job(name: str) -> str:
    """A name without the job in front: picks of ``MotionCorr/job002/Movies/a.mrc`` lie in ``Movies/a_pick.star``."""
    return _JOB_PATH.sub("", name)


def jobs(root: Path) -> list[Job]:
    """Jobs of a project that hold micrographs, CTF values, picks or classes, in the order they were started."""
    in_order: list[Job] = []
    for folder in _job_folders(root):
        file = _file_of(folder)
        if file is not None:
            in_order.append(Job(folder.parent.name, folder, file))
    return sorted(in_order, key=lambda job: (job.folder.name, job.kind))


def _job_folders(root: Path) -> Iterator[Path]:
    for kind in _HOLDS:
        folder = root / kind
        if folder.is_dir():
            yield from (job for job in sorted(folder.iterdir()) if _JOB.match(job.name) and job.is_dir())


def _file_of(folder: Path) -> Path | None:
    """The file of a job that is read first."""
    for name in _HOLDS[folder.parent.name]:
        if (folder / name).is_file():
            return folder / name
    lists = sorted(folder.glob("coords_suffix_*.star")) if folder.parent.name in _PICKS else []
    if lists:
        return lists[0]
    numbered = [
        (int(match[1]), path) for path in folder.glob("run_*it*_data.star") if (match := _ITERATION.match(path.name))
    ]
    return max(numbered)[1] if numbered else None


def job_of(folder: Path) -> Job | None:
    """The job a folder is, where it is one that holds something of use."""
    if not (_JOB.match(folder.name) and folder.parent.name in _HOLDS and folder.is_dir()):
        return None
    file = _file_of(folder)
    return None if file is None else Job(folder.parent.name, folder, file)


def listed_micrographs(job: Job, root: Path) -> list[Path]:
    """Micrographs that a job's STAR names, those that are missing too; empty where none is there.

    Raises
    ------
    FormatError
        It cannot be read.
    """
    paths = [root / name.split("@")[-1] for name in names_in_list(job.file)]
    return paths if any(path.is_file() for path in paths) else []


def names_in_list(path: Path) -> list[str]:
    """``rlnMicrographName`` of a STAR, each once, in its order; empty where it has no such column.

    Raises
    ------
    FormatError
        It is no STAR.
    """
    for table in read_star(path).tables:
        if "rlnMicrographName" in table.columns:
            return list(dict.fromkeys(table.columns["rlnMicrographName"]))
    return []


def project_micrographs(root: Path) -> list[Path]:
    """Micrographs of a project: those of all its MotionCorr jobs, else of CtfFind, Import or Select jobs.

    Raises
    ------
    FormatError
        A list of micrographs cannot be read.
    """
    known = jobs(root)
    for kind in _MICROGRAPHS:
        paths: list[Path] = []
        for job in known:
            if job.kind == kind and job.has_micrographs:
                paths += listed_micrographs(job, root)
        if not paths and kind == "MotionCorr":
            paths = [
                path
                for job in sorted((root / kind).glob("job*"))
                for path in sorted(job.rglob("*.mrc"))
                if not path.stem.endswith(_NO_MICROGRAPHS)
            ]
        if paths:
            return list(dict.fromkeys(paths))
    return []


def resolve(list_path: Path, name: str, line: int | None = None) -> Path:
    """Find a file that a list names: from RELION's folder, which lies at or above the list, or beside the list.

    Raises
    ------
    FormatError
        It is nowhere there.
    """
    folders = [list_path.parent, *list_path.absolute().parents]
    short = after_job(name)
    beside = [list_path.parent / short, list_path.parent / PurePosixPath(name).name]
    for candidate in (*(folder / name for folder in folders), *beside):
        if candidate.is_file():
            return candidate
    raise FormatError(f"names {name}, which is neither beside it nor in a RELION project above it", list_path, line)
