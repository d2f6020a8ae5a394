"""What is said of a file that was read: a clause for a person, and what it is about for the program."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class NoteKind(StrEnum):
    """What a note is about, where something else can settle it."""

    #: Which way the axes run, or what the positions are: the image or a person can say it.
    AXES = "axes"
    #: The file's pixel size cannot be relied on: it is said where no other is known.
    PIXEL_SIZE = "pixel size"
    OTHER = "other"


class FileNote(str):
    """A clause that a person should read, as plain text, which knows what it is about.

    Parameters
    ----------
    text : str
    kind : NoteKind

    Notes
    -----
    Text that a plugin gives without a kind is :attr:`NoteKind.OTHER`, see :func:`without`.
    """

    kind: NoteKind

    def __new__(cls, text: str, kind: NoteKind = NoteKind.OTHER) -> FileNote:
        """Text, and what it is about."""
        note = super().__new__(cls, text)
        note.kind = kind
        return note


def without(notes: Iterable[str], *kinds: NoteKind) -> tuple[str, ...]:
    """Those notes that are about none of some kinds; plain text is about none."""
    return tuple(note for note in notes if getattr(note, "kind", NoteKind.OTHER) not in kinds)
