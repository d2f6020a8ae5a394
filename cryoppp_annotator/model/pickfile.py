"""What a coordinate file says, before and after it meets a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from .coordinates import Anchor, FloatArray, SourceFrame
from .curation import Decision
from .micrograph import Micrograph
from .region import Region

_NO_ROWS: FloatArray = np.empty(0)


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong with a file that permissive reading stepped over."""

    message: str
    path: Path | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class RowLayout:
    """How a row of a text file is laid out, for editing it in place.

    Attributes
    ----------
    x, y : int
        Number of the cell that holds the coordinate.
    separator : str or None
        None = white space (STAR, box), else a character (CSV).
    missing : str
        What the format writes where a value is not known.
    whole : bool
        Coordinates are whole numbers.
    flag : tuple of (cell, text of a rejected pick, text of any other) or None
        Where the format says of a row that it is rejected; None = rejected rows leave the file.
    serial : int or None
        Cell that numbers the rows.
    """

    x: int
    y: int
    separator: str | None = None
    missing: str = "-999"
    whole: bool = False
    flag: tuple[int, str, str] | None = None
    serial: int | None = None


@dataclass(frozen=True, eq=False)
class FilePicks:
    """The picks of one micrograph as the file states them, in the file's own frame.

    Attributes
    ----------
    micrograph : str
        Name as written (a path, or the stem the file name carries).
    x, y : (n,) float64, source px
    diameter_px : (n,) float64 or None
        Particle diameter in source px; NaN = not given for that row.
    box_size_px : (n,) float64 or None
        Box edge in source px, where the format has one.
    score : (n,) float64 or None
        NaN = not given.
    class_id : (n,) int32 or None
        0 = none.
    decision : Decision or (n,) int8 array
        What the file implies (``false_positives`` are rejected); UNDECIDED where it implies nothing.
    extra : mapping of column name to (n,) array of str
        Columns we do not interpret, as their own text, written back by the same format.
    source : Path or None
    lines : (n,) int64 or None
        1-based line of each row in ``source``, where rows can be edited in place.
    layout : RowLayout or None
    pixel_size_A : float or None
        Of this micrograph, where the file says it of each; else see :class:`PickFile`.
    regions : tuple of Region
        Where the file says that there is nothing to pick, in source px.
    """

    micrograph: str
    x: FloatArray
    y: FloatArray
    diameter_px: FloatArray | None = None
    box_size_px: FloatArray | None = None
    score: FloatArray | None = None
    class_id: NDArray[np.int32] | None = None
    decision: Decision | NDArray[np.int8] = Decision.UNDECIDED
    extra: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    source: Path | None = None
    lines: NDArray[np.int64] | None = None
    layout: RowLayout | None = None
    pixel_size_A: float | None = None
    regions: tuple[Region, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def without_rows(self) -> FilePicks:
        """Whose picks these are, where they were read, and the regions beside them, without any pick."""
        return FilePicks(
            self.micrograph,
            _NO_ROWS,
            _NO_ROWS,
            source=self.source,
            pixel_size_A=self.pixel_size_A,
            regions=self.regions,
        )

    @property
    def box(self) -> FloatArray | float:
        """(n,) box edges, source px; 0 where the format has none."""
        return 0.0 if self.box_size_px is None else self.box_size_px

    def positions(self, frame: SourceFrame, height: float, image: str | PurePath = "") -> tuple[FloatArray, FloatArray]:
        """x and y (n,) float64 of the particles' centres, canonical px.

        Parameters
        ----------
        frame : SourceFrame
            Of the file.
        height : float
            Of the micrograph, px.
        image : str or path
            Name of the micrograph, whose kind of file may turn the frame (:meth:`SourceFrame.on`).

        Raises
        ------
        FormatError
            Box corners without a box size.
        """
        if len(self) and frame.anchor is Anchor.CORNER and self.box_size_px is None:
            raise FormatError("gives box corners without a box size", self.source)
        return frame.on(image).to_canonical(self.x, self.y, height=height, box_size=self.box)

    def regions_on(self, micrograph: Micrograph, frame: SourceFrame) -> tuple[Region, ...]:
        """Its regions on a micrograph, canonical px; ``frame`` is the file's."""
        corners = replace(frame, anchor=Anchor.CENTRE).on(micrograph.path)

        def placed(region: Region) -> Region:
            y, x = region.vertices.T
            x, y = corners.to_canonical(x, y, height=micrograph.height)
            return replace(region, vertices=np.column_stack([y, x]), micrograph=micrograph.id)

        return tuple(map(placed, self.regions))


@dataclass(frozen=True, eq=False)
class PickFile:
    """One coordinate file, read.

    Attributes
    ----------
    format : str
        Registered format name (``cryoppp``, ``relion``, ...).
    path : Path
    frame : SourceFrame
        The frame the format declares; the image may say otherwise (see ``formats.frame``).
    picks : tuple of FilePicks
    issues : tuple of Issue
        Empty unless read permissively.
    pixel_size_A : float or None
        Micrograph pixel size, where the file states one.
    pixel_size_doubt : str
        Why that number may not be the micrograph's pixel size; a doubtful one counts as unknown.
    notes : tuple of str
        What was assumed in reading, each a clause that a person should read; a
        :class:`~cryoppp_annotator.model.file_note.FileNote` where an image or a known pixel size can settle it.
    optics : mapping of group to mapping of label to text
        RELION's optics groups as the file has them, by their number there (``rlnOpticsGroup`` of the rows).
    companions : tuple of Path
        Other files that are part of the same source (cryoSPARC's passthrough).
    """

    format: str
    path: Path
    frame: SourceFrame
    picks: tuple[FilePicks, ...]
    issues: tuple[Issue, ...] = ()
    pixel_size_A: float | None = None
    pixel_size_doubt: str = ""
    notes: tuple[str, ...] = ()
    optics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    companions: tuple[Path, ...] = ()

    def known_pixel_size_A(self, picks: FilePicks | None = None) -> float | None:
        """Micrograph pixel size that can be relied on, of one micrograph where the file says it of each; or None."""
        if picks is not None and picks.pixel_size_A is not None:
            return picks.pixel_size_A
        return None if self.pixel_size_doubt else self.pixel_size_A

    @property
    def n_picks(self) -> int:
        """Picks in all."""
        return sum(len(p) for p in self.picks)


@dataclass(frozen=True, eq=False)
class MicrographPicks:
    """Picks of one micrograph on their way into a file, canonical frame.

    Attributes
    ----------
    micrograph : Micrograph
        Gives name, path, width and height.
    pixel_size_A : float or None
        Effective pixel size.
    x, y : (n,) float64, canonical px
    diameter_px : (n,) float64, px; NaN = unknown
    score : (n,) float64; NaN = none
    decision : (n,) int8
    class_id : (n,) int32; 0 = none
    extra : mapping of column name to (n,) array of str
        What the import kept of unknown columns.
    name_there : str
        What other programs' files call the micrograph (RELION's ``rlnMicrographName``); empty = its path.
    optics : tuple of mapping of label to text
        Optics groups that the picks came in with.
    optics_row : (n,) int64 or None
        Which of ``optics`` each pick has; -1 = none.
    curation : mapping of name to (n,) array of str
        What the project knows of each pick beside: ``id, reason, pick_set, source, curator, decided, region``.
    species : (n,) array of str or None
        What each pick's kind is called, empty = of none; None where no pick is of any.
    regions : tuple of Region
        Where there is nothing to pick, canonical px.
    """

    micrograph: Micrograph
    pixel_size_A: float | None
    x: FloatArray
    y: FloatArray
    diameter_px: FloatArray
    score: FloatArray
    decision: NDArray[np.int8]
    class_id: NDArray[np.int32]
    extra: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    name_there: str = ""
    optics: tuple[Mapping[str, str], ...] = ()
    optics_row: NDArray[np.int64] | None = None
    curation: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    species: NDArray[np.str_] | None = None
    regions: tuple[Region, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def written_name(self) -> str:
        """What other programs are to call the micrograph."""
        return self.name_there or self.micrograph.path

    def take(self, index: Any) -> MicrographPicks:
        """Rows by mask or index."""
        return replace(
            self,
            x=self.x[index],
            y=self.y[index],
            diameter_px=self.diameter_px[index],
            score=self.score[index],
            decision=self.decision[index],
            class_id=self.class_id[index],
            extra={name: column[index] for name, column in self.extra.items()},
            optics_row=None if self.optics_row is None else self.optics_row[index],
            curation={name: column[index] for name, column in self.curation.items()},
            species=None if self.species is None else self.species[index],
        )


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How an export is written.

    Attributes
    ----------
    frame : SourceFrame or None
        None = the frame the format declares.
    suffix : str or None
        Put between micrograph stem and extension; None = the format's own (``_manualpick``).
    box_size_px : float or None
        For formats that need a box.
    template : Path or None
        For formats that can only fill a copy of a file that was read (cryoSPARC).
    images : callable (Micrograph) -> (height, width) uint8 array, or None
        For formats whose labels go with 8-bit pictures (COCO, YOLO): gives the picture of a micrograph, row 0 first.
        Without it such labels are written only beside pictures of the right size that are there already.
    relion_root : Path or None
        RELION's project folder, where it is known: paths in its lists are relative to it.
    """

    frame: SourceFrame | None = None
    suffix: str | None = None
    box_size_px: float | None = None
    template: Path | None = None
    images: Callable[[Micrograph], NDArray[np.uint8]] | None = None
    relion_root: Path | None = None


#: The column in which our own exports say of which species a pick is.
SPECIES_COLUMN = "cryopppSpecies"

#: What a format may carry beside positions; the words of :attr:`CoordinateFormat.carries`.
CARRIED = frozenset(
    {"score", "diameter", "box", "class", "decision", "extra", "template", "curation", "species", "region"}
)


class CoordinateFormat(Protocol):
    """The door every coordinate format comes through (entry-point group ``cryoppp_annotator.formats``).

    Attributes
    ----------
    name, title : str
        What scripts call it, and what people read.
    extensions : tuple of str
        In lower case, with the dot.
    can_read, can_write : bool
    frame : SourceFrame
        The frame it declares.
    carries : frozenset of str
        What a file of it can hold beside positions: a subset of :data:`CARRIED`. ``extra``: columns we do not
        interpret survive reading and writing. ``template``: ``write`` fills a copy of the file that was read
        (``WriteOptions.template``), so that all else in it survives too.
    many_micrographs : bool
        Whether one file holds several micrographs: all of an export, where the format is written. ``write`` then
        takes a file as well as a folder.
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    can_read: bool
    can_write: bool
    frame: SourceFrame
    carries: frozenset[str]
    many_micrographs: bool

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that ``path``, whose first 4 kB are ``head``, is of this format. A folder has no head."""
        ...

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a file or folder. Raises FormatError; ``permissive`` returns the good rows and the rest as issues."""
        ...

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write into folder (or file) ``out``; each file is written aside and renamed. Returns the files written."""
        ...
