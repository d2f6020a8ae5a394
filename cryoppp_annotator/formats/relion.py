"""RELION's coordinate files: per-micrograph STARs, the lists that name them, and ``particles.star``.

Positions are particle centres in px of the micrograph, row 0 = first row of the file: the canonical frame itself
(3dem/relion ``src/preprocessing.cpp``; FORMATS.md 2), but on TIFF, which RELION reads from the last row up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..model.coordinates import RELION_FRAME, SourceFrame
from ..model.pickfile import MicrographPicks, PickFile, WriteOptions
from . import relion_project
from .atomic import write_text
from .names import refuse_collisions
from .relion_filaments import with_filament_ends
from .relion_lists import LIST_BLOCK, SUFFIX_FILE, read_folder, read_list, read_suffix
from .relion_optics import optics_table
from .relion_picks import MICROGRAPH, X, read_picks
from .relion_writing import PICK_SUFFIX, coordinate_lists, file_of, manual_columns, particle_columns
from .table.star import decode_head, format_star
from .table.star_file import read_star

__all__ = ["RELION", "RELION_PARTICLES", "read_picks", "refuse_collisions"]


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Relion:
    """Per-micrograph STARs (``<stem>_manualpick.star``, ``<stem>_autopick.star``) and the lists that name them."""

    name: str = "relion"
    title: str = "RELION picks (one STAR per micrograph)"
    extensions: tuple[str, ...] = (".star",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = RELION_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "extra", "species"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a coordinate STAR of one micrograph, or a list of such."""
        if not head and path.is_dir():
            return _sniff_folder(path, several=False)
        if path.name.startswith(SUFFIX_FILE) and path.suffix == ".star":
            return 0.9
        return _sniff(path, head, several=False)

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of a STAR, of a ``data_coordinate_files`` list, of a ``coords_suffix`` file or a job's folder.

        ``FilePicks.micrograph`` is the file's stem with its suffix where the rows do not name a micrograph;
        ``registry.match_micrographs`` knows the suffixes. Where the job picked starts and ends of filaments, each pick
        has its filament.

        Raises
        ------
        FormatError
        """
        return with_filament_ends(_read(path, self.name, permissive))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write one STAR per micrograph under ``out``, and the lists RELION 3.x and 4+ find them by.

        All rows that are handed in are written, whatever was decided: RELION has no column for a decision,
        and none for a diameter. ``options.suffix`` defaults to ``_manualpick``; the list is called after it.

        Raises
        ------
        FormatError
            Two micrographs share a stem, or a position is not finite.
        """
        suffix = PICK_SUFFIX if options.suffix is None else options.suffix
        names = file_of(picks, suffix)
        refuse_collisions(names, out)
        lists = coordinate_lists(out, picks, names, suffix, options)
        files = [
            write_text(out / name, format_star([("", manual_columns(pick, options))]))
            for name, pick in zip(names, picks, strict=True)
        ]
        return files + [write_text(path, text) for path, text in lists.items()]


def _read(path: Path, name: str, permissive: bool) -> PickFile:
    if path.is_dir():
        return read_folder(path, permissive)
    if path.name.startswith(SUFFIX_FILE):
        return read_suffix(path, permissive)
    star = read_star(path, permissive=permissive)
    listed = star.table(LIST_BLOCK)
    if listed is not None:
        return read_list(star, listed, permissive)
    return read_picks(star, name, permissive=permissive)


@dataclass(frozen=True)
class _RelionParticles:
    """``particles.star``: all particles of a data set in one file, 3.0 or 3.1 and later (with optics groups)."""

    name: str = "relion-particles"
    title: str = "RELION particles (one STAR for all)"
    extensions: tuple[str, ...] = (".star",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = RELION_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "extra", "species"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a STAR whose rows name their micrograph."""
        if not head and path.is_dir():
            return _sniff_folder(path, several=True)
        return _sniff(path, head, several=True)

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a particles STAR; rows are grouped by micrograph, in the file's order.

        Raises
        ------
        FormatError
            Not such a STAR, or a tomography one.
        """
        if path.is_dir():
            return with_filament_ends(read_folder(path, permissive))
        return read_picks(read_star(path, permissive=permissive), self.name, permissive=permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out`` (where it ends in ``.star``) or ``out/particles.star``, RELION 3.1's layout.

        Optics groups that came in go out whole; other micrographs of one pixel size (and microscope) share a new one.
        Imported columns go back under their own labels; where only some micrographs have one, the others get -999
        (or ``None`` for text).

        Raises
        ------
        FormatError
            A position is not finite, or only some micrographs have a pixel size.
        """
        target = out if out.suffix == ".star" else out / "particles.star"
        optics = optics_table(picks, options)
        particles = particle_columns(picks, optics.numbers, options)
        tables = [("optics", optics.columns), ("particles", particles)]
        return [write_text(target, format_star(tables, version="30001"))]


def _sniff_folder(path: Path, *, several: bool) -> float:
    """A job with picks, or a project: its particles belong to the format of many micrographs, the rest to the other."""
    job = relion_project.job_of(path)
    if job is None:
        return 0.0 if several or not relion_project.is_root(path) else 0.8
    return 0.9 if job.has_picks and (job.file.name == "particles.star") == several else 0.0


def _sniff(path: Path, head: bytes, *, several: bool) -> float:
    if not head:
        return 0.5 if path.suffix == ".star" and not several else 0.0
    text = decode_head(head)
    if "data_" not in text.lower():
        return 0.0
    if f"data_{LIST_BLOCK}" in text:
        return 0.0 if several else 0.95
    trust = 1.0 if path.suffix == ".star" else 0.8
    names = MICROGRAPH in text or "rlnImageName" in text
    if f"_{X}" in text:
        return trust * (0.9 if names == several else 0.5)
    if "data_optics" in text or names:
        return trust * (0.6 if several else 0.2)
    return (0.2 if several else 0.1) if "_rln" in text else 0.0  # one of them reads it and says what it is


RELION = _Relion()
RELION_PARTICLES = _RelionParticles()
