"""The files a pick set was imported from, again, with only the edited rows changed.

Unknown columns, other blocks, comments, row order and the numbers' own text survive: what was not edited is the same
byte for byte. Rejected picks leave (or are marked, where the format can); moved ones get new numbers; picks made by
hand on a micrograph follow its rows. Where rows are no lines of text (cryoSPARC, EMAN2), the format's writer fills a
copy.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, Refused, disk_reason
from ...extensions import formats
from ...formats import registry
from ...formats.atomic import file_set, replacing, whole_set
from ...formats.cryosparc_groups import beside, is_group
from ...formats.table.rewrite import cells, rewritten
from ...formats.table.star import number_text
from ...model.context import JobContext
from ...model.coordinates import FloatArray, SourceFrame
from ...model.curation import Decision
from ...model.micrograph import Micrograph
from ...model.particles import Particles
from ...model.pickfile import FilePicks, MicrographPicks, RowLayout, WriteOptions
from ..core import own_paths, watch
from ..core.session import Session
from .exporting import ExportReport, as_picks
from .written import may_replace, tidy

_QUIET = JobContext()


def write_back(
    session: Session,
    pick_set: int,
    out: Path,
    *,
    with_hand_picks: bool = True,
    allow_outside: bool = False,
    overwrite: bool = False,
    context: JobContext = _QUIET,
) -> ExportReport:
    """Write an imported pick set as copies of the files it came from.

    Parameters
    ----------
    pick_set : int
    out : Path
        Folder; the files keep their names, and their folders below the one they share.
    with_hand_picks : bool
        Also the curator's own accepted picks on those micrographs.
    allow_outside : bool
        Open files outside the folders of the micrographs that the project names, without having been asked.
    overwrite : bool
        Whether files may be replaced that no earlier export wrote, or that somebody has edited since; the imported
        files themselves are such.

    Raises
    ------
    Refused
        The set was not imported from files that can be edited in place.
    OutsideError
        The project names files outside the folders of its micrographs, which was not allowed.
    FormatError
        A file has changed since it was imported, is gone, or cannot be written, or one that is not ours would be
        replaced (:class:`~cryoppp_annotator.formats.atomic.WouldOverwrite`).
    """
    imported = session.pick_sets.get(pick_set)
    parameters = {} if imported is None else imported.parameters
    files = [Path(name) for name in parameters.get("files", [])]
    if imported is None or not files:
        raise Refused("this pick set was not imported from files")
    if not allow_outside:
        own_paths.refuse_outside(session, _named(session, pick_set), f"what was imported as {imported.name}")
    given = [(file, picks) for file in files for picks in _read(file, parameters["format"])]
    matched = _matched(session, given, parameters.get("suffix", ""))
    if _digest(parameters["format"], [picks for _, picks, _ in matched]) != parameters["identity"]:
        raise FormatError("has changed since it was imported; import it again to edit what it says now", files[0])
    parts = _parts(session, matched, pick_set, with_hand_picks)
    frame = imported.source_frame
    base = _common_folder(files)
    written: list[Path] = []
    with whole_set(out, may_replace=may_replace(out, overwrite=overwrite)):
        for k, file in enumerate(files):
            context.progress(k, len(files), f"{k}/{len(files)} files")
            own = [part for part in parts if part.file == file]
            target = out / file.relative_to(base)
            if all(part.editable for part in own):
                written += _edited_in_place(own, file, target, frame)
            else:
                companions = [Path(name) for name in parameters.get("companions", ())]
                written += _filled_copy(session, own, file, target, frame, parameters["format"], companions)
    n_picks = sum(part.n_written for part in parts)
    micrographs, _ = watch.up_to_date(session, [part.micrograph for part in parts], context=context)
    notes = [f"{m.name} has {m.problem}; its rows are as they were picked" for m in micrographs if m.changed]
    notes += tidy(session, out, f"as-imported {pick_set}", written)
    return ExportReport(tuple(written), n_picks, len({part.micrograph.id for part in parts}), tuple(notes))


def outside_of(session: Session, pick_set: int) -> tuple[Path, ...]:
    """Folders of a pick set's files that only the project has named; see :mod:`..core.own_paths`."""
    return own_paths.outside(session, _named(session, pick_set))


def _named(session: Session, pick_set: int) -> list[Path]:
    imported = session.pick_sets.get(pick_set)
    parameters = {} if imported is None else imported.parameters
    return [Path(name) for name in (*parameters.get("files", ()), *parameters.get("companions", ()))]


@dataclass(frozen=True, eq=False)
class _Part:
    """One micrograph's picks in a file: as the file says them, as the project has them, and those made by hand."""

    file: Path
    picks: FilePicks
    micrograph: Micrograph
    rows: Particles
    new: Particles

    @property
    def editable(self) -> bool:
        """Whether the rows can be edited where they stand; there is nothing to edit in an empty file."""
        return (self.picks.layout is not None and self.picks.lines is not None) or not len(self.picks) + len(self.new)

    @property
    def turned(self) -> NDArray[np.bool_]:
        """(n,) bool: accepted or rejected otherwise than the file says. A file of false positives holds rejects."""
        n = len(self.picks)
        in_file = np.broadcast_to(np.asarray(self.picks.decision), (n,)) == Decision.REJECTED
        return np.asarray((self.rows.decision == Decision.REJECTED) != in_file)

    @property
    def n_written(self) -> int:
        """Rows that are in the file in the end."""
        flagged = self.picks.layout is not None and self.picks.layout.flag is not None
        return len(self.picks) + len(self.new) - (0 if flagged else int(self.turned.sum()))

    def moved(self, frame: SourceFrame) -> NDArray[np.bool_]:
        """(n,) bool: no longer where the file says."""
        x, y = self.picks.positions(frame, self.micrograph.height, self.micrograph.path)
        return np.asarray((self.rows.x != x) | (self.rows.y != y))


def _parts(
    session: Session, matched: list[tuple[Path, FilePicks, Micrograph]], pick_set: int, with_hand_picks: bool
) -> list[_Part]:
    """The file's picks with the project's; hand picks go with the first part of their micrograph that is no reject."""
    hand = {i for i, s in session.pick_sets.items() if s.by_hand} if with_hand_picks else set()
    taken: dict[int, int] = {}
    extended: set[int] = set()
    parts: list[_Part] = []
    for file, picks, micrograph in matched:
        here = session.store.particles(micrograph.id)
        own = here.take(here.pick_set == pick_set)
        first = taken.get(micrograph.id, 0)
        taken[micrograph.id] = first + len(picks)
        rows = own.take(slice(first, first + len(picks)))
        if len(rows) != len(picks):
            raise FormatError(f"has {len(picks)} picks of {micrograph.name}, the project {len(rows)}", picks.source)
        by_hand = np.isin(here.pick_set, list(hand)) & (here.decision == Decision.ACCEPTED)
        if micrograph.id in extended or _all_rejected(picks):
            by_hand[:] = False
        else:
            extended.add(micrograph.id)
        parts.append(_Part(file, picks, micrograph, rows, here.take(by_hand)))
    return parts


def _all_rejected(picks: FilePicks) -> bool:
    flagged = picks.layout is not None and picks.layout.flag is not None
    return not flagged and len(picks) > 0 and bool(np.all(np.asarray(picks.decision) == Decision.REJECTED))


# ---------------------------------------------------------------------- rows edited where they stand


def _edited_in_place(parts: list[_Part], file: Path, target: Path, frame: SourceFrame) -> list[Path]:
    edited: dict[int, dict[int, str]] = {}
    dropped: set[int] = set()
    appended: list[tuple[int, str]] = []
    text = _bytes(file)
    lines = _lines(text)
    separator = None
    for part in parts:
        if part.picks.layout is None:
            continue
        separator = part.picks.layout.separator
        _edit(part, part.picks.layout, frame, edited, dropped)
        appended += _new_rows(part, part.picks.layout, frame, lines)
    body = rewritten(text, edited=edited, dropped=dropped, appended=appended, separator=separator)
    with replacing(target) as stream:
        stream.write(body)
    return [target]


def _edit(
    part: _Part, layout: RowLayout, frame: SourceFrame, edited: dict[int, dict[int, str]], dropped: set[int]
) -> None:
    """Note what differs from the file."""
    lines = part.picks.lines
    assert lines is not None
    turned, moved = part.turned, part.moved(frame)
    if layout.flag is None:
        dropped.update(lines[turned].tolist())
        moved &= ~turned
    else:
        cell, rejected, other = layout.flag
        for row in np.flatnonzero(turned).tolist():
            text = rejected if part.rows.decision[row] == Decision.REJECTED else other
            edited.setdefault(int(lines[row]), {})[cell] = text
    which = np.flatnonzero(moved)
    box = part.picks.box if np.ndim(part.picks.box) == 0 else np.asarray(part.picks.box)[which]
    here = frame.on(part.micrograph.path)
    x, y = here.from_canonical(part.rows.x[which], part.rows.y[which], height=part.micrograph.height, box_size=box)
    for row, tx, ty in zip(which.tolist(), _numbers(x, layout), _numbers(y, layout), strict=True):
        edited.setdefault(int(lines[row]), {}).update({layout.x: tx, layout.y: ty})


def _new_rows(part: _Part, layout: RowLayout, frame: SourceFrame, lines: list[str]) -> list[tuple[int, str]]:
    """Rows for hand picks: like the last row of that micrograph, with nothing in the columns that vary."""
    places = part.picks.lines
    if not len(part.new):
        return []
    assert places is not None
    if not len(places):
        raise Refused(f"{part.micrograph.name} has no row in the file that new picks could be like; export it instead")
    samples = [cells(lines[int(line) - 1], layout.separator) for line in places.tolist()]
    same = [all(row[k] == samples[0][k] for row in samples) for k in range(len(samples[0]))]
    blank = [text if keep else layout.missing for text, keep in zip(samples[-1], same, strict=True)]
    if layout.flag is not None:
        blank[layout.flag[0]] = layout.flag[2]
    box = float(np.median(part.picks.box))
    here = frame.on(part.micrograph.path)
    x, y = here.from_canonical(part.new.x, part.new.y, height=part.micrograph.height, box_size=box)
    joint = _joint(layout, lines[int(places[-1]) - 1])
    out = []
    for number, (tx, ty) in enumerate(zip(_numbers(x, layout), _numbers(y, layout), strict=True), 1):
        row = list(blank)
        row[layout.x], row[layout.y] = tx, ty
        if layout.serial is not None:
            row[layout.serial] = _next([sample[layout.serial] for sample in samples], number)
        out.append((int(places[-1]), joint.join(row)))
    return out


def _joint(layout: RowLayout, like: str) -> str:
    """What stands between the values of a row, as in another row."""
    if layout.separator is not None:
        return layout.separator
    return "\t" if "\t" in like else " "


def _next(taken: list[str], number: int) -> str:
    """The ``number``-th free number after those taken, as wide as they are."""
    last = max((int(text) for text in taken if text.isdecimal()), default=0)
    return str(last + number).zfill(max(map(len, taken)))


# ---------------------------------------------------------------------- a copy filled by the format's own writer


def _filled_copy(
    session: Session,
    parts: list[_Part],
    file: Path,
    target: Path,
    frame: SourceFrame,
    format: str,
    companions: Sequence[Path],
) -> list[Path]:
    """A copy of a file whose rows are no lines of text, filled by its format; the bytes themselves if nothing changed.

    Its ``companions``, files of the same source, come with it.

    Raises
    ------
    Refused
        The format cannot keep what else is in the file.
    """
    fmt = formats()[format]
    if not any(part.turned.any() or part.moved(frame).any() or len(part.new) for part in parts):
        pairs = [(file, target), *((path, target.parent / path.name) for path in companions)]
        for original, copy in pairs:
            with replacing(copy) as stream:
                stream.write(beside(_bytes(original)) if is_group(original) else _bytes(original))
        return [copy for _, copy in pairs]
    if "template" not in fmt.carries:
        raise Refused(f"{file.name}: files of this format are written as a whole, not edited; export it instead")
    picks = [_as_picks(session, part, alone=not fmt.many_micrographs) for part in parts]
    options = WriteOptions(None if frame == fmt.frame else frame, template=file)
    with tempfile.TemporaryDirectory(prefix="cryoppp-annotator-") as folder:
        with file_set(Path(folder)):
            written = fmt.write(Path(folder), picks, options)
        # a result group is made where the source had one
        groups = {path.name for path in companions}
        written = [path for path in written if path.suffix != ".csg" or path.name in groups]
        targets = [target, *(target.parent / path.name for path in written[1:])]
        for path, final in zip(written, targets, strict=True):
            with path.open("rb") as source, replacing(final) as stream:
                shutil.copyfileobj(source, stream)
    return targets


def _as_picks(session: Session, part: _Part, *, alone: bool) -> MicrographPicks:
    """What stays of the file's picks, and the new ones; ``alone`` in a file that is called after the micrograph."""
    ids = [*part.rows.id[~part.turned].tolist(), *part.new.id.tolist()]
    here = session.store.particles(part.micrograph.id)
    both = as_picks(session, part.micrograph, here.take(here.rows_of(np.array(ids, np.int64))))
    return replace(both, micrograph=replace(part.micrograph, name=part.picks.micrograph)) if alone else both


# ---------------------------------------------------------------------- files and numbers


def _numbers(values: FloatArray, layout: RowLayout) -> list[str]:
    # the flip of a decimal fraction leaves rounding errors in the last digits
    return number_text(np.rint(values) if layout.whole else np.round(values, 9))


def _matched(
    session: Session, given: list[tuple[Path, FilePicks]], suffix: str
) -> list[tuple[Path, FilePicks, Micrograph]]:
    by_path = {m.path: m for m in session.micrographs}
    match = registry.match_picks([picks for _, picks in given], by_path, suffix=suffix)
    pairs = zip(match.micrographs, given, strict=True)
    return [(file, picks, by_path[place]) for place, (file, picks) in pairs if place]


def _read(file: Path, format: str) -> tuple[FilePicks, ...]:
    known = formats()
    if format not in known:
        raise FormatError(f"the format {format} it was imported with is not installed", file)
    if format == "relion" and file.suffix.lower() != ".star":
        raise Refused(
            f"{file.name} is one of the boxes or texts that a list of RELION names, which are not edited in place: "
            "export --to relion, or --to box"
        )
    return known[format].read(file).picks


def _digest(format: str, picks: list[FilePicks]) -> str:
    digest = hashlib.sha256(format.encode())
    for pick in picks:
        digest.update(pick.x.tobytes())
        digest.update(pick.y.tobytes())
    return digest.hexdigest()[:24]


def _common_folder(files: list[Path]) -> Path:
    folders = [file.parent for file in files]
    base = folders[0]
    while not all(folder.is_relative_to(base) for folder in folders):
        base = base.parent
    return base


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", file) from error


def _lines(data: bytes) -> list[str]:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding).replace("\r\n", "\n").split("\n")
