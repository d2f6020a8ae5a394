"""Which format a file is of, and which micrograph a name in it means. Nothing is guessed silently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FormatError
from ..model.pickfile import CoordinateFormat, PickFile

_HEAD_BYTES = 4096
_UID = re.compile(r"^\d{21}_(?=.)")
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
    head = b"" if path.is_dir() else _head(path)
    scored = [(fmt.sniff(path, head), fmt) for fmt in formats if fmt.can_read]
    return sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])


def read_any(
    path: Path, formats: Sequence[CoordinateFormat], *, format: str | None = None, permissive: bool = False
) -> PickFile:
    """Read a coordinate file in the format it is told, or the one that recognises it.

    Parameters
    ----------
    path : Path
    formats : sequence of CoordinateFormat
        The formats to choose from.
    format : str, optional
        Name of the format; None = sniff.
    permissive : bool
        Bad rows become issues.

    Raises
    ------
    FormatError
        No format or several equally sure ones recognise the file, or reading fails.
    """
    if format is not None:
        return _named(format, formats).read(path, permissive=permissive)
    candidates = sniff(path, formats)
    if not candidates:
        known = ", ".join(fmt.name for fmt in formats if fmt.can_read)
        raise FormatError(f"is of no known coordinate format (known: {known})", path)
    best = candidates[0][0]
    equal = [fmt.name for score, fmt in candidates if score == best]
    if len(equal) > 1:
        raise FormatError(f"could be {' or '.join(equal)}: say which format it is", path)
    return candidates[0][1].read(path, permissive=permissive)


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
        raise FormatError(f"cannot be read ({error.strerror or error})", path) from error


# --- which micrograph ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MicrographMatch:
    """What became of the micrograph names a coordinate file gives.

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


def match_micrographs(names: Iterable[str], micrographs: Iterable[str]) -> MicrographMatch:
    """Find the micrograph each name in a coordinate file means.

    Tried in turn, and the first step that finds any candidate decides: the name itself; the file name; without
    extension; without a picking program's suffix; without cryoSPARC's 21-digit uid; without what processing added
    (``_DW``, ``_denoised``); and, as CryoPPP's scripts cut names there, up to the first dot. Folders tell equal file
    names apart.

    Parameters
    ----------
    names : iterable of str
        Paths or stems, as coordinate files write them.
    micrographs : iterable of str
        Names, stems or paths of the micrographs there are.

    Returns
    -------
    MicrographMatch
    """
    known = list(dict.fromkeys(micrographs))
    index = _index(known)
    found: dict[str, str] = {}
    unmatched: list[str] = []
    ambiguous: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(names):
        candidates = [name] if name in index[0] else _candidates(_parse(name), index)
        if len(candidates) == 1:
            found[name] = candidates[0]
        elif candidates:
            ambiguous[name] = tuple(candidates)
        else:
            unmatched.append(name)
    rivals = _rivals(found)
    ambiguous.update({name: (found[name],) for name in rivals})
    certain = {name: micrograph for name, micrograph in found.items() if name not in rivals}
    return MicrographMatch(certain, tuple(unmatched), ambiguous)


def _parse(name: str) -> _Parsed:
    *folder, file = [part for part in re.split(r"[/\\]+", name.lstrip(">")) if part not in ("", ".")] or [name]
    stem = _EXTENSION.sub("", file) or file
    bare = _SUFFIX.sub("", stem) or stem
    uid = _UID.match(bare)
    plain = bare[uid.end() :] if uid else bare
    return _Parsed(tuple(folder), uid[0] if uid else "", (file, stem, bare, plain))


def _loose(plain: str) -> tuple[str, str]:
    """The two loosest keys: without what processing added, and up to the first dot."""
    return _PROCESSED.sub("", plain) or plain, plain.split(".")[0]


def _index(known: list[str]) -> list[dict[str, list[str]]]:
    """For each step, key -> micrographs; step 0 is the name as given, the last the key up to the first dot."""
    index: list[dict[str, list[str]]] = [{} for _ in range(7)]
    for name in known:
        keys = _parse(name).keys
        for step, key in enumerate((name, *keys, *_loose(keys[-1]))):
            index[step].setdefault(key, []).append(name)
    return index


def _candidates(parsed: _Parsed, index: list[dict[str, list[str]]]) -> list[str]:
    plain = parsed.keys[-1]
    for step, key in enumerate((*parsed.keys, _loose(plain)[0], plain), 1):
        found = index[step].get(key, [])
        if found:
            return _same_folder(parsed, found) if len(found) > 1 else found
    return []


def _same_folder(parsed: _Parsed, found: list[str]) -> list[str]:
    """Of micrographs that share a file name, those whose path agrees longest with the name's, from the end."""
    depths = [_agreement(parsed.folder, _parse(name).folder) for name in found]
    best = max(depths)
    return [name for name, depth in zip(found, depths, strict=True) if depth == best] if best else found


def _agreement(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    depth = 0
    for left, right in zip(reversed(a), reversed(b), strict=False):
        if left != right:
            break
        depth += 1
    return depth


def _rivals(found: Mapping[str, str]) -> set[str]:
    """Names that lead to one micrograph though they come from different exposures, folders or cut-off names."""
    by_micrograph: dict[str, list[str]] = {}
    for name, micrograph in found.items():
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
