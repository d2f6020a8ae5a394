"""Undo and redo: a curator's steps one by one, in the background where one is big."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ...errors import AnnotatorError, ConflictError
from ...model.context import JobContext
from ...store.changes import HistoryEntry
from ...store.store import Committed
from . import step
from .loaded_rows import Tallies


class Owner(step.Owner, Protocol):
    """What undo needs of its session."""

    current_id: int | None

    def go(self, micrograph_id: int) -> None:
        """Show a micrograph."""


@dataclass(eq=False)
class _Revert:
    """One step on its way back (or forth again)."""

    redo: bool
    here: int | None
    passed: frozenset[int] = frozenset()


class Undo:
    """A curator's steps, taken back and repeated.

    Parameters
    ----------
    owner : Session
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        #: The newest change when undo was refused, and the steps it was refused for.
        self._refused: tuple[int, frozenset[int]] = (0, frozenset())

    def next(self, *, redo: bool) -> HistoryEntry | None:
        """What would be taken back, or repeated."""
        owner = self._owner
        return owner.store.next_redo(owner.curator) if redo else owner.store.next_undo(owner.curator, self._passed())

    def revert(self, *, redo: bool) -> str | None:
        """Take the last step back, or repeat the last one undone; its title, None where there is none.

        Raises
        ------
        ConflictError
            Another person changed the same since: the step stays, and the next undo takes back the one before it.
        """
        owner = self._owner
        if step.waits(owner, partial(self.revert, redo=redo)):
            return "a step"
        if self._refused[1]:
            owner.poll()  # what stood in the way may be gone
        revert = _Revert(redo, owner.current_id)
        entry = self.next(redo=redo) if owner.backlog is not None else None
        if owner.backlog is not None and entry is not None and (step.is_big(entry.n_particles) or entry.many_regions):
            owner.backlog.write(
                partial(self._attempt_behind, revert),
                f"{'redoing' if redo else 'undoing'}: {entry.title}",
                partial(self._over, revert),
                lambda error: owner.say(str(self._explained(revert, error)), "error"),
            )
            return entry.title
        try:
            return self._over(revert, step.retried(owner, partial(self._attempt, revert)))
        except ConflictError as conflict:
            raise self._explained(revert, conflict) from None

    def _attempt_behind(self, step: _Revert, context: JobContext) -> Committed | None:
        return self._attempt(step, context.check)

    def _attempt(self, step: _Revert, check: Callable[[], None] = lambda: None) -> Committed | None:
        step.passed = frozenset() if step.redo else self._passed()
        return self._owner.store.revert(self._owner.curator, redo=step.redo, passed=step.passed, check=check)

    def _explained(self, step: _Revert, error: AnnotatorError) -> AnnotatorError:
        if step.redo or not isinstance(error, ConflictError) or not error.step:
            return error
        self._refused = (self._owner.store.head, step.passed | {error.step})
        return ConflictError(f"{error}; undo again takes back the step before it", error.step)

    def _over(self, step: _Revert, committed: Committed | None, tallies: Tallies | None = None) -> str | None:
        owner = self._owner
        if committed is None:
            return None
        owner.absorb(committed, tallies)
        elsewhere = committed.change.micrograph
        if elsewhere is not None and step.here is not None and step.here == owner.current_id != elsewhere:
            owner.go(elsewhere)
        self._refused = (owner.store.head, step.passed)
        return committed.change.title

    def _passed(self) -> frozenset[int]:
        """Steps that undo has been refused for and passes over, until the project is edited."""
        return self._refused[1] if self._refused[0] == self._owner.store.head else frozenset()
