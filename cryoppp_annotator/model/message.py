"""What a step does, in parts: said as a title before, and as something that has happened after, without parsing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .curation import Change, Delta

#: Verbs of titles, and how they are said of what has happened.
_PAST = {
    "accept": "accepted",
    "reject": "rejected",
    "undecide": "set undecided:",
    "add": "added",
    "move": "moved",
    "delete": "deleted",
    "remove": "removed",
    "bring back": "brought back",
    "mark": "marked",
    "mend": "mended",
    "import": "imported",
    "attach": "attached",
    "estimate": "estimated",
    "detach": "detached",
    "show": "showing",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that a step does.

    Attributes
    ----------
    verb : str
        In the imperative: one of those that this module knows.
    what : str
        What it is done to, counted ("12 picks").
    reason : str
        Why ("as carbon"); may be empty.
    where : str
        On which micrograph, or of which class ("on 14_33_35_0"); may be empty.
    also : Message, optional
        Another thing that the same step does, in the same place.
    """

    verb: str
    what: str
    reason: str = ""
    where: str = ""
    also: Message | None = None

    @property
    def title(self) -> str:
        """As the history and the menu say it: ``reject 12 picks as carbon on 14_33_35_0``."""
        return self._said(self.verb, "title")

    @property
    def done(self) -> str:
        """As something that has happened: ``rejected 12 picks as carbon on 14_33_35_0``."""
        return self._said(_PAST[self.verb], "done")

    def _said(self, verb: str, form: str) -> str:
        also = f"and {getattr(replace(self.also, where=''), form)}" if self.also is not None else ""
        return " ".join(word for word in (verb, self.what, self.reason, also, self.where) if word)

    def change(self, kind: str, deltas: Sequence[Delta], micrograph: int | None = None) -> Change:
        """The change that it is about; ``kind`` is the change's stable name."""
        return Change(kind, self.title, tuple(deltas), micrograph, self.done)
