"""What has become of the micrographs' files: replaced, back, still being written, gone, new in the folder.

Looking (:func:`look_at_files`) changes nothing and may run on any thread. Taking note (:func:`note`) is for the thread
that owns the session. A micrograph that was picked and is another image now is *changed*: its record says what the file
is, the setting :data:`WAS` what it was, and nothing is proposed on it or exported until a person says what that means
(``session.files.changed``).
"""

from __future__ import annotations

import glob
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...errors import AnnotatorError, FormatError
from ...formats.atomic import write_text
from ...formats.image import images
from ...formats.image.mrc import volume_problem
from ...formats.kept_arrays import read_kept_json
from ...model.context import JobContext
from ...model.file_names import is_unicode, printable
from ...model.micrograph import CHANGED, FINISHED_STATES, Micrograph
from . import bookkeeping, own_paths
from .edits import count_of
from .session import Session

log = logging.getLogger(__name__)

_QUIET = JobContext()
#: What the file says of a micrograph, not the curator.
FACTS = ("width", "height", "header_pixel_size_A", "n_frames", "fingerprint")
#: Setting: facts of the image that was picked, by the id of each changed micrograph.
WAS = "changed_micrographs"
#: Setting: where the project's micrographs were looked for: folders, patterns, files.
SOURCES = "micrograph_sources"
#: Setting: new micrographs of those are taken without asking.
TAKE_NEW = "take_new_micrographs"
#: A file that was written so short a time ago may be written again without another date, s.
_FRESH_S = 2.0


class What(StrEnum):
    """What has become of a file."""

    BACK = "can be read now"
    REREAD = "read again"
    CHANGED = "changed since it was picked"
    RESTORED = "is again what was picked"
    BROKEN = "cannot be read"
    GONE = "is not there"


@dataclass(frozen=True, slots=True)
class Update:
    """One micrograph whose file is not what the project says.

    Attributes
    ----------
    what : What
    before, now : Micrograph
        Its record, and what the record should be.
    """

    what: What
    before: Micrograph
    now: Micrograph


@dataclass(frozen=True, slots=True)
class FileNews:
    """What :func:`look_at_files` saw.

    Attributes
    ----------
    updates : tuple of Update
        Micrographs that are not there are among them, and are not taken note of: a disk comes back.
    new : tuple of Path
        Images that the project does not know, where its micrographs were found.
    """

    updates: tuple[Update, ...] = ()
    new: tuple[Path, ...] = ()

    def of(self, *what: What) -> list[Update]:
        """Those of a kind."""
        return [update for update in self.updates if update.what in what]

    def names(self, *what: What) -> str:
        """The first of a kind by name: ``m1, m2 and 7 more``."""
        return named([update.now.name for update in self.of(*what)])

    def message(self) -> str:
        """One line for the status bar; empty where nothing has happened."""
        words = []
        for what in (What.CHANGED, What.BACK, What.RESTORED, What.REREAD, What.BROKEN):
            if mine := self.of(what):
                words.append(f"{count_of(len(mine), 'micrograph')}: {what.value} ({self.names(what)})")
        return " · ".join(words)


def named(names: Sequence[str], most: int = 3) -> str:
    """``m1, m2, m3 and 7 more``."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


class Signatures:
    """Fingerprints of files that have not been touched since they were last read, kept in the project's cache."""

    def __init__(self, session: Session) -> None:
        self._path = session.store.folder / "cache" / "files.json"
        self._may_write = not session.store.read_only
        self._known: dict[str, list[Any]] = self._load()
        self._new = False

    def _load(self) -> dict[str, list[Any]]:
        try:
            known = read_kept_json(self._path)
        except (OSError, ValueError):
            return {}
        if not isinstance(known, dict):
            return {}
        return {path: entry for path, entry in known.items() if _is_signature(entry)}

    @staticmethod
    def _touched(path: Path) -> list[int]:
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]

    def fingerprint(self, path: Path, like: str = "") -> str:
        """As :func:`~..formats.image.images.fingerprint`. Raises FormatError, OSError."""
        before = self._touched(path)
        known = self._known.get(str(path))
        if known is not None and known[:4] == before and (not like or known[4].count("-") == like.count("-")):
            return str(known[4])
        print_ = images.fingerprint(path, like)
        if self._touched(path) == before and time.time() - max(before[1], before[2]) / 1e9 > _FRESH_S:
            self._known[str(path)] = [*before, print_]
            self._new = True
        return print_

    def save(self) -> None:
        """Keep them; a cache that cannot be written costs time, nothing else."""
        if not (self._new and self._may_write):
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._known))
            self._new = False
        except (OSError, AnnotatorError) as error:
            log.info("fingerprints are not kept: %s", error)


def _is_signature(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 5 and isinstance(entry[4], str)


# ---------------------------------------------------------------------- looking


def look_at_files(
    session: Session,
    micrographs: Iterable[Micrograph] | None = None,
    *,
    new: bool = False,
    damaged: bool = True,
    context: JobContext = _QUIET,
) -> FileNews:
    """See what has become of micrographs (all by default). Changes nothing.

    Parameters
    ----------
    new : bool
        Look for new images, too.
    damaged : bool
        Read those again whose header is fine and whose pixels could not be read.

    Raises
    ------
    Cancelled
    """
    looked_at = list(session.micrographs if micrographs is None else micrographs)
    was = was_of(session)
    signatures = Signatures(session)
    updates = []
    for i, micrograph in enumerate(looked_at):
        if i % 50 == 0:
            context.progress(i, len(looked_at), f"looking at files {i}/{len(looked_at)}")
        context.check()
        update = _look_at(session, micrograph, was.get(micrograph.id), signatures, damaged)
        if update is not None:
            updates.append(update)
    signatures.save()
    context.progress(len(looked_at), max(1, len(looked_at)), f"{count_of(len(looked_at), 'file')} looked at")
    return FileNews(tuple(_picked_or_not(session, updates)), tuple(new_images(session)) if new else ())


def up_to_date(
    session: Session, micrographs: Iterable[Micrograph], *, context: JobContext = _QUIET
) -> tuple[list[Micrograph], FileNews]:
    """Micrographs as their files say now, and what is new of them: for jobs, which may not change the session."""
    usable = list(micrographs)
    quiet = context.part()
    file_changes = look_at_files(session, {m.id: m for m in usable}.values(), context=quiet)
    now = {update.now.id: update.now for update in file_changes.updates}
    return [now.get(m.id, m) for m in usable], file_changes


def was_of(session: Session) -> dict[int, dict[str, Any]]:
    """Facts of the images that were picked, by the id of each changed micrograph."""
    kept = session.settings.values.get(WAS) or {}
    return {int(number): dict(facts) for number, facts in kept.items()}


def _look_at(
    session: Session, m: Micrograph, was: Mapping[str, Any] | None, signatures: Signatures, damaged: bool
) -> Update | None:
    path = session.path_of(m)
    if not path.exists():
        return Update(What.GONE, m, m)
    try:
        present = signatures.fingerprint(path, m.fingerprint)
    except (FormatError, OSError):
        present = ""
    if present and present == m.fingerprint and (not m.problem or m.changed):
        return None
    now = describe(path, m.path)
    if now.problem:
        return None if now.problem == m.problem else Update(What.BROKEN, m, replace(m, problem=now.problem))
    facts = {name: getattr(now, name) for name in FACTS}
    fresh = replace(m, **facts, frame=m.frame if m.frame < now.n_frames else -1, problem="")
    picked = facts_of(m) if was is None else dict(was)
    if not picked["fingerprint"]:
        return Update(What.BACK, m, fresh)
    if same_content(path, now.fingerprint, picked["fingerprint"]):
        if was is not None:
            return Update(What.RESTORED, m, fresh)
        return Update(What.BACK, m, fresh) if damaged and _readable(path, m.frame) else None
    return Update(What.CHANGED, m, replace(fresh, problem=_how(picked, facts)))


def same_content(path: Path, fingerprint: str, earlier: str) -> bool:
    """Whether a file is what an ``earlier`` fingerprint says, which may be of a kind past.

    Parameters
    ----------
    fingerprint : str
        The file's own, where it is known already; else empty.

    Raises
    ------
    FormatError
    """
    if fingerprint and fingerprint.count("-") == earlier.count("-"):
        return fingerprint == earlier
    return images.fingerprint(path, earlier) == earlier


def facts_of(micrograph: Micrograph) -> dict[str, Any]:
    """What the record says of the file."""
    return {name: getattr(micrograph, name) for name in FACTS}


def _readable(path: Path, frame: int) -> bool:
    try:
        images.read(path, frame)
    except AnnotatorError:
        return False
    return True


def _how(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    def said(facts: Mapping[str, Any]) -> str:
        pixel = facts["header_pixel_size_A"]
        return f"{facts['width']} x {facts['height']} px" + (f" of {pixel:.4g} Å" if pixel else "")

    if said(was) == said(now):
        return f"{CHANGED}: another image of the same size ({said(now)})"
    return f"{CHANGED}: it had {said(was)}, the file now has {said(now)}"


def _picked_or_not(session: Session, updates: Sequence[Update]) -> list[Update]:
    """Another image under a micrograph on which nothing was done needs no attention."""
    if not any(update.what is What.CHANGED for update in updates):
        return list(updates)
    with_regions = set(session.store.micrographs_with_regions())
    out = []
    for update in updates:
        m = update.before
        worked_on = m.n_particles or m.state in FINISHED_STATES or m.id in with_regions
        if update.what is What.CHANGED and not worked_on:
            out.append(Update(What.REREAD, m, replace(update.now, problem="")))
        else:
            out.append(update)
    return out


def describe(path: Path, relative: str) -> Micrograph:
    """A micrograph as its header tells; ``problem`` says why it cannot be used."""
    name = images.micrograph_name(path)
    if not is_unicode(str(path)):
        why = "its file name is no valid Unicode, so that no coordinate file can name it; rename the file"
        return Micrograph(0, printable(name), relative, problem=why)
    blank = Micrograph(0, name, relative)
    try:
        info = images.probe(path)
        return replace(
            blank,
            width=info.width,
            height=info.height,
            header_pixel_size_A=info.pixel_size_A,
            n_frames=info.n_frames,
            problem=volume_problem(info.n_frames) if info.is_volume else "",
            fingerprint=images.fingerprint(path),
        )
    except AnnotatorError as error:
        detail = error.detail if isinstance(error, FormatError) else str(error)
        return replace(blank, problem=detail)


# ---------------------------------------------------------------------- new images


def relative(path: Path, root: Path) -> str:
    """A path as the project keeps it: POSIX, relative to the data root where it lies below."""
    try:
        relative = path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError:
        relative = path.absolute().as_posix()
    return relative if is_unicode(relative) else printable(relative)


def new_images(session: Session) -> list[Path]:
    """Images that the project does not know, where its micrographs were looked for, in natural order."""
    known = {m.path for m in session.store.micrographs()}
    out: list[Path] = []
    for source in sources_of(session):
        if own_paths.outside(session, [_start_of(session.data_root / source) / "any"]):
            log.warning("new micrographs are not searched in %s: only the project names that folder", source)
            continue
        try:
            listed = images.find_micrographs(session.data_root / source)
        except (FormatError, OSError):
            continue  # a disk that is away
        out += [path for path in listed if relative(path, session.data_root) not in known]
    return list(dict.fromkeys(out))


def sources_of(session: Session) -> list[str]:
    """Where new micrographs would come: what was opened or imported, relative to the data root."""
    stored = session.store.settings().get(SOURCES)
    if stored is not None:
        return [str(source) for source in stored]
    # a project of an earlier program: the folders of its micrographs, files of their kind
    kinds = {(os.path.dirname(m.path), Path(m.path).suffix) for m in session.micrographs}
    return sorted(str(Path(glob.escape(folder)) / f"*{suffix}") for folder, suffix in kinds)


def _start_of(source: Path) -> Path:
    """The folder in which a source is looked for: its own, or what stands before the first wildcard."""
    parts = source.parts
    first = next((k for k, part in enumerate(parts) if glob.has_magic(part)), None)
    return source if first is None else Path(*parts[:first])


def remember_sources(session: Session, sources: Sequence[str]) -> None:
    """Note where micrographs were looked for (absolute paths and patterns), so that new ones there are seen."""
    allow_sources(session, sources)
    mine = [relative(Path(source), session.data_root) for source in sources]
    every = list(dict.fromkeys([*sources_of(session), *mine]))
    if every != session.store.settings().get(SOURCES):
        bookkeeping.remember(session, {SOURCES: every})


def allow_sources(session: Session, sources: Iterable[str]) -> None:
    """A person has named these folders and patterns."""
    own_paths.allow_named(session, [_start_of(Path(source).absolute()) / "any" for source in sources])


# ---------------------------------------------------------------------- taking note


def note(session: Session, file_changes: FileNews) -> str:
    """Let the project follow what was seen; not a step to undo. Returns a line for the status bar, empty for none.

    What was changed since it was checked stays as it is. A project that is open to read only follows in
    memory.
    """
    due = [update for update in file_changes.updates if update.what is not What.GONE and _still(session, update)]
    if not due:
        return ""
    fresh = [update.now for update in due]
    message = FileNews(tuple(due)).message()
    was = was_of(session)
    for update in due:
        if update.what is What.CHANGED:
            was.setdefault(update.before.id, facts_of(update.before))
        elif update.what in (What.RESTORED, What.BACK, What.REREAD):
            was.pop(update.before.id, None)
    kept = {str(number): facts for number, facts in was.items()} or None
    if not session.store.read_only:
        session.retried(lambda: session.store.refresh_micrographs(fresh, message, session.curator, {WAS: kept}))
    session.loaded.set_settings({WAS: kept})
    session.loaded.put_files(fresh, with_frame=True)
    session.announce(message)
    return message


def _still(session: Session, update: Update) -> bool:
    try:
        present = session.micrograph(update.before.id)
    except KeyError:
        return False
    before = update.before
    return (present.path, present.fingerprint, present.problem) == (before.path, before.fingerprint, before.problem)


def check(
    session: Session,
    micrographs: Iterable[Micrograph] | None = None,
    *,
    new: bool = False,
    context: JobContext = _QUIET,
) -> FileNews:
    """:func:`look_at_files`, and :func:`note` what was seen: for programs without a window."""
    file_changes = look_at_files(session, micrographs, new=new, context=context)
    note(session, file_changes)
    return file_changes


def changed(session: Session) -> list[Micrograph]:
    """Micrographs that are another image than the one that was picked on."""
    return [m for m in session.micrographs if m.changed]
