"""Which format a file is of, and which micrograph a name in it means. Nothing is guessed silently."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..errors import FormatError, NoPicks, disk_reason
from ..model.context import JobContext
from ..model.pickfile import CoordinateFormat, FilePicks, PickFile
from .check.foreign import what_it_is
from .relion_lists import picks_beside

_QUIET = JobContext()
_HEAD_BYTES = 4096
#: Files between two reports of progress.
_REPORTED_EACH = 50
#: Files of a folder that are looked at; two for each of 100,000 micrographs.
_MOST_FILES = 200_000
_PICTURES = (".mrc", ".mrcs", ".map", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".gz", ".bz2", ".pdf", ".html")
#: What RELION's list may lie beside.
_LISTED = {"relion", "relion-particles"}
#: Stands in RELION's list of coordinate files.
_IS_LIST = b"data_coordinate_files"
#: Characters of a file's name: no file system takes longer ones, so nothing is looked for in them.
_LONGEST_NAME = 255
_UID = re.compile(r"^\d{21}_(?=.)")
#: RELION's number of a frame or image, in front of the file's name.
_NUMBERED = re.compile(r"^\d+@")
_IMAGE_EXTENSION = re.compile(r"(?i)\.(?:mrcs?|map|rec|st|tiff?|eer|dm[34]|jpe?g|png)(?:\.(?:bz2|gz))?$")
#: What may stand between a micrograph's name and the suffix of a coordinate file, and what a suffix must hold: a
#: number alone is another micrograph's.
_BOUNDARY = re.compile(r"[^0-9A-Za-z](?=.*[A-Za-z])")
_EXTENSION = re.compile(
    r"(?i)(?:\.(?:mrcs?|map|rec|tiff?|eer|dm[34]|jpe?g|png|star|csv|cbox|box|json|txt|tsv|coords?|pos|xmd|cs|plt|dat|thi|mod|spi|spd|doc|bz2|gz))+$"
)
_SUFFIX = re.compile(
    r"(?:_patch_aligned_doseweighted|_manualpick|_autopick|_extractpick|_automatch|_nonunique|_rejected"
    r"|_false_positives|_particles|_info|_picks)+$"
)
#: What processing programs add to a micrograph's name. A name with it and one without may be two files of one folder,
#: so it counts only where nothing stricter finds a micrograph.
_PROCESSED = re.compile(
    r"(?i)(?:_DWS?|_noDW|_doseweighted|_patch_aligned|_rigid_aligned|_aligned_mic|_aligned|_denoised)+$"
)


# --- which format --------------------------------------------------------------------------------------------------


def sniff(path: Path, formats: Iterable[CoordinateFormat]) -> list[tuple[float, CoordinateFormat]]:
    """Ask each readable format how sure it is of a file or folder.

    Returns
    -------
    list of (confidence 0 .. 1, format)
        Surest first; those at 0 are left out.

    Raises
    ------
    FormatError
        The file cannot be opened.
    """
    return _sniffed(path, b"" if path.is_dir() else _head(path), formats)


def _sniffed(path: Path, head: bytes, formats: Iterable[CoordinateFormat]) -> list[tuple[float, CoordinateFormat]]:
    scored = [(fmt.sniff(path, head), fmt) for fmt in formats if fmt.can_read]
    return sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])


def read_any(
    path: Path,
    formats: Sequence[CoordinateFormat],
    *,
    format: str | None = None,
    permissive: bool = False,
    context: JobContext = _QUIET,
) -> PickFile:
    """Read a coordinate file in a given format, or the one that recognises it.

    Parameters
    ----------
    path : Path
    formats : sequence of CoordinateFormat
        The formats to choose from.
    format : str, optional
        Name of the format; None = sniff.
    permissive : bool
        Bad rows become issues.
    context : JobContext
        Is told of the files of a folder, and can end the reading between them.

    Raises
    ------
    FormatError
        No format or several equally sure ones recognise the file, or reading fails.
    """
    path = picks_beside(path)
    if format is not None:
        known = _named(format, formats)
        if path.is_dir() and not known.sniff(path, b""):
            return _read_folder(path, [known], permissive, context)
        return known.read(path, permissive=permissive)
    candidates = sniff(path, formats)
    if not candidates and path.is_dir():
        return _read_folder(path, formats, permissive, context)
    if not candidates:
        kind = what_it_is(path)
        if kind:
            raise FormatError(kind, path)
        names = ", ".join(fmt.name for fmt in formats if fmt.can_read)
        raise FormatError(f"is of no known coordinate format (known: {names})", path)
    return _surest(path, candidates).read(path, permissive=permissive)


def _surest(path: Path, candidates: Sequence[tuple[float, CoordinateFormat]]) -> CoordinateFormat:
    best = candidates[0][0]
    equal = [fmt.name for score, fmt in candidates if score == best]
    if len(equal) > 1:
        raise FormatError(f"could be {' or '.join(equal)}: say which format it is", path)
    return candidates[0][1]


def _read_folder(folder: Path, formats: Sequence[CoordinateFormat], permissive: bool, context: JobContext) -> PickFile:
    """The coordinate files of a folder, and of the folders in it, as one source.

    Files of no coordinate format (pictures, lists of names) are passed over. Where one of the files is RELION's list of
    the others, that one is read.

    Raises
    ------
    FormatError
        There is none, they are of several formats or frames, or one cannot be read.
    """
    by_format: dict[str, list[Path]] = {}
    lists: list[Path] = []
    for file in _counted(_coordinate_files(folder), context.part(0.0, 0.3), "looking at"):
        head = _head(file)
        if file.suffix == ".star" and (file.name.startswith("coords_suffix_") or _IS_LIST in head):
            lists.append(file)
        candidates = _sniffed(file, head, formats)
        if candidates:
            by_format.setdefault(_surest(file, candidates).name, []).append(file)
    if lists and set(by_format) <= _LISTED:
        by_format = {"relion": lists[:1]}
    if not by_format:
        raise FormatError(what_it_is(folder) or "holds no coordinate file", folder)
    if len(by_format) > 1:
        counts = ", ".join(f"{len(files)} {name}" for name, files in sorted(by_format.items()))
        raise FormatError(
            f"holds coordinate files of several formats ({counts}): say which (--from), or name files", folder
        )
    ((name, files),) = by_format.items()
    known = _named(name, formats)
    counted = _counted(files, context.part(0.3, 1.0), "reading")
    each, passed_over = read_those_with_picks(counted, lambda file: known.read(file, permissive=permissive))
    read = united(each, [known])
    if len({file.frame for file in read}) > 1:
        raise FormatError("holds files whose axes lie differently: name them one by one", folder)
    if any(file.optics != read[0].optics for file in read):
        raise FormatError("holds files whose optics groups differ: name them one by one", folder)
    sizes = {file.pixel_size_A for file in read}
    return replace(
        read[0],
        path=folder,
        picks=tuple(picks for file in read for picks in file.picks),
        issues=tuple(issue for file in read for issue in file.issues),
        pixel_size_doubt=next((file.pixel_size_doubt for file in read if file.pixel_size_doubt), ""),
        notes=(*dict.fromkeys(note for file in read for note in file.notes), *passed_over),
        pixel_size_A=sizes.pop() if len(sizes) == 1 else None,
    )


def read_those_with_picks(
    files: Iterable[Path], read: Callable[[Path], PickFile]
) -> tuple[list[PickFile], tuple[str, ...]]:
    """Files of a set, but for those that hold no picks by their nature (cryoSPARC's exposures), and notes on these.

    Raises
    ------
    FormatError
        A file is bad, or none holds picks.
    """
    good: list[PickFile] = []
    without: list[NoPicks] = []
    for file in files:
        try:
            good.append(read(file))
        except NoPicks as error:
            without.append(error)
    if without and not good:
        raise without[0]
    return good, tuple(f"passed over: {'' if e.path is None else e.path.name} {e.detail}" for e in without)


def _counted(files: Sequence[Path], context: JobContext, verb: str) -> Iterator[Path]:
    """The files, one after the other, with progress."""
    for i, file in enumerate(files):
        if i % _REPORTED_EACH == 0:
            context.progress(i, len(files), f"{verb} {i:,}/{len(files):,} coordinate files")
        yield file


def _coordinate_files(folder: Path) -> list[Path]:
    """Ordinary files that may hold coordinates; hidden ones and pictures are none."""
    files: list[Path] = []
    n_files, folders = 0, [folder]
    while folders:
        entries = _visible(folders.pop(0))
        inner = [entry for entry in entries if _is(entry.is_dir)]
        folders[:0] = [Path(entry.path) for entry in inner if not entry.is_symlink()]
        n_files += len(entries) - len(inner)
        if n_files > _MOST_FILES:
            raise FormatError(f"holds more than {_MOST_FILES:,} files: name the coordinate files", folder)
        # the folder says of most entries what they are: no file need be asked
        files += [Path(e.path) for e in entries if not e.name.lower().endswith(_PICTURES) and _is(e.is_file)]
    return files


def _is(asked: Callable[[], bool]) -> bool:
    """What an entry of a folder says of itself; False of a link that leads nowhere or round in a circle."""
    try:
        return asked()
    except OSError:
        return False


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where it may not be read. Hidden entries are left out."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return []


def united(files: Sequence[PickFile], formats: Iterable[CoordinateFormat]) -> list[PickFile]:
    """Files that are parts of one source as one file, where their format knows of such (cryoSPARC's pairs).

    Parameters
    ----------
    files : sequence of PickFile
        Read one by one.
    formats : iterable of CoordinateFormat
        A format may have ``unite(files)``, which takes its own files and returns them united.
    """
    unite = {fmt.name: fmt.unite for fmt in formats if hasattr(fmt, "unite")}
    out: list[PickFile] = []
    for name in dict.fromkeys(file.format for file in files):
        own = [file for file in files if file.format == name]
        out += unite[name](own) if name in unite and len(own) > 1 else own
    return out


def _named(name: str, formats: Sequence[CoordinateFormat]) -> CoordinateFormat:
    for fmt in formats:
        if fmt.name == name and fmt.can_read:
            return fmt
    raise FormatError(
        f"no readable format is called {name!r} (known: {', '.join(f.name for f in formats if f.can_read)})"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error


# --- which micrograph ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MicrographMatch:
    """Which micrographs the names in a coordinate file mean.

    Attributes
    ----------
    matches : mapping of name to micrograph
        The certain ones.
    unmatched : tuple of str
        Names of no micrograph here.
    ambiguous : mapping of name to tuple of micrographs
        Names that could mean several micrographs, or that compete for one; a person must choose.
    """

    matches: Mapping[str, str] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Parsed:
    """A micrograph name taken apart; ``keys`` from the strictest to the loosest."""

    folder: tuple[str, ...]
    uid: str
    keys: tuple[str, ...]


def micrograph_key(name: str) -> str:
    """The name programs agree on: no folder, extension, cryoSPARC uid, or suffix a picking program added."""
    return _parse(name).keys[-1]


def match_micrographs(names: Iterable[str], micrographs: Iterable[str], *, suffix: str = "") -> MicrographMatch:
    """Find the micrograph each name in a coordinate file means.

    Tried in turn, and the first step that finds any candidate decides: the name itself; the file name; without
    extension; without a picking program's suffix; without cryoSPARC's 21-digit uid; without what processing added
    (``_DW``, ``_denoised``); as CryoPPP's scripts cut names there, up to the first dot; all that again in whatever
    case; and last, of a name that is no image's, the micrograph whose name it begins with. Folders tell equal file
    names apart. Unicode's ways to write one letter are one.

    Parameters
    ----------
    names : iterable of str
        Paths or stems, as coordinate files write them.
    micrographs : iterable of str
        Names, stems or paths of the micrographs there are.
    suffix : str
        What a person says stands behind each micrograph's name.

    Returns
    -------
    MicrographMatch
    """
    known = list(dict.fromkeys(micrographs))
    index = _Index(known)
    certain: dict[str, str] = {}
    unmatched: list[str] = []
    ambiguous: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(names):
        candidates = index.candidates(name, suffix)
        if len(candidates) == 1:
            certain[name] = candidates[0]
        elif candidates:
            ambiguous[name] = tuple(candidates)
        else:
            unmatched.append(name)
    rivals = _rivals(certain)
    ambiguous.update({name: (certain[name],) for name in rivals})
    certain = {name: micrograph for name, micrograph in certain.items() if name not in rivals}
    return MicrographMatch(certain, tuple(unmatched), ambiguous)


@dataclass(frozen=True)
class PicksMatch:
    """The micrograph of each ``FilePicks`` of a source.

    Attributes
    ----------
    micrographs : tuple of str
        One for each; empty where it is not certain.
    unmatched : tuple of str
        Names of no micrograph here.
    ambiguous : mapping of name to tuple of micrographs
    """

    micrographs: tuple[str, ...]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]


def match_picks(picks: Sequence[FilePicks], micrographs: Iterable[str], *, suffix: str = "") -> PicksMatch:
    """Find the micrograph of each part of a source; the folder of a coordinate file decides among equal names.

    Parameters
    ----------
    picks : sequence of FilePicks
    micrographs : iterable of str
        Paths of the micrographs there are.
    suffix : str
        As for :func:`match_micrographs`.
    """
    match = match_micrographs([part.micrograph for part in picks], micrographs, suffix=suffix)
    places: list[str] = []
    ambiguous: dict[str, tuple[str, ...]] = {}
    for part in picks:
        candidates = match.ambiguous.get(part.micrograph, ())
        if len(candidates) > 1 and _is_file_of_its_own(part) and part.source is not None:
            near = _same_folder(_parse((part.source.absolute().parent / "x").as_posix()), list(candidates))
            candidates = tuple(near)
            places.append(near[0] if len(near) == 1 else "")
        else:
            places.append(match.matches.get(part.micrograph, ""))
        if not places[-1] and candidates:
            ambiguous[part.micrograph] = candidates
    return PicksMatch(tuple(places), match.unmatched, ambiguous)


def _is_file_of_its_own(part: FilePicks) -> bool:
    """Whether the micrograph is named by the coordinate file's own name only."""
    return part.source is not None and "/" not in part.micrograph and part.source.name.startswith(part.micrograph)


def _parse(name: str, suffix: str = "") -> _Parsed:
    plain_name = unicodedata.normalize("NFC", _NUMBERED.sub("", name.lstrip(">")))
    *folder, file = [part for part in re.split(r"[/\\]+", plain_name) if part not in ("", ".")] or [plain_name]
    if len(file) > _LONGEST_NAME:
        return _Parsed(tuple(folder), "", (file,) * 4)
    stem = _EXTENSION.sub("", file) or file
    stem = (stem.removesuffix(suffix) or stem) if suffix else stem
    bare = _SUFFIX.sub("", stem) or stem
    uid = _UID.match(bare)
    plain = bare[uid.end() :] if uid else bare
    return _Parsed(tuple(folder), uid[0] if uid else "", (file, stem, bare, plain))


def _loose(plain: str) -> tuple[str, str]:
    """The two loosest keys: without what processing added, and up to the first dot."""
    if len(plain) > _LONGEST_NAME:
        return plain, plain
    return _PROCESSED.sub("", plain) or plain, plain.split(".")[0]


class _Index:
    """The micrographs there are, by the keys of each step; step 0 is the name as given."""

    def __init__(self, known: Sequence[str]) -> None:
        self._steps: list[dict[str, list[str]]] = [{} for _ in range(7)]
        for name in known:
            keys = _parse(name).keys
            for step, key in enumerate((name, *keys, *_loose(keys[-1]))):
                self._steps[step].setdefault(key, []).append(name)

    @cached_property
    def _any_case(self) -> list[dict[str, list[str]]]:
        steps: list[dict[str, list[str]]] = [{} for _ in self._steps]
        for step, folded in zip(self._steps, steps, strict=True):
            for key, names in step.items():
                folded.setdefault(key.casefold(), []).extend(names)
        return steps

    def candidates(self, name: str, suffix: str) -> list[str]:
        """Micrographs that a name may mean."""
        if name in self._steps[0]:
            return [name]
        parsed = _parse(name, suffix)
        plain = parsed.keys[-1]
        keys = (*parsed.keys, _loose(plain)[0], plain)
        for any_case in (False, True):
            for step, key in enumerate(keys, 1):
                matches = self._any_case[step].get(key.casefold(), []) if any_case else self._steps[step].get(key, [])
                if matches:
                    return _same_folder(parsed, matches) if len(matches) > 1 else matches
        return [] if _IMAGE_EXTENSION.search(name) else self._begun_with(parsed)

    def _begun_with(self, parsed: _Parsed) -> list[str]:
        """Micrographs whose name a stem begins with, where what follows looks like a suffix."""
        stem = parsed.keys[-1]
        matches: list[str] = []
        for end in _BOUNDARY.finditer(stem if len(stem) <= _LONGEST_NAME else ""):
            matches += self._steps[4].get(stem[: end.start()], [])
        return _same_folder(parsed, matches) if len(set(matches)) > 1 else matches


def _same_folder(parsed: _Parsed, matches: list[str]) -> list[str]:
    """Of micrographs that share a file name, those whose path agrees best with the name's."""
    depths = [_agreement(parsed.folder, _parse(name).folder) for name in matches]
    best = max(depths)
    near = [name for name, depth in zip(matches, depths, strict=True) if depth == best]
    return near if best > (0, 0) else matches


def _agreement(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[int, int]:
    """How many folders agree, counted from the end, and then anywhere."""
    depth = 0
    for left, right in zip(reversed(a), reversed(b), strict=False):
        if left != right:
            break
        depth += 1
    return depth, len(set(a) & set(b))


def _rivals(matches: Mapping[str, str]) -> set[str]:
    """Names that lead to one micrograph though they come from different exposures, folders or cut-off names."""
    by_micrograph: dict[str, list[str]] = {}
    for name, micrograph in matches.items():
        by_micrograph.setdefault(micrograph, []).append(name)
    rivals: set[str] = set()
    for micrograph, group in by_micrograph.items():
        parsed = [_parse(name) for name in group]
        uids = {p.uid for p in parsed if p.uid}
        folders = {p.folder for p in parsed if p.folder}
        if len(uids) > 1 or len(folders) > 1:
            rivals.update(name for name in group if name != micrograph)
        elif len({p.keys[-1] for p in parsed}) > 1:  # m.mrc and m_DW.mrc, of which only one is here
            own = _parse(micrograph).keys[-1]
            rivals.update(name for name, p in zip(group, parsed, strict=True) if p.keys[-1] != own)
    return rivals
