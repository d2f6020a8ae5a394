"""One edit, from what it is to what came of it: built, committed in one transaction, remembered, announced once.

A step about many picks is written by another thread while the window goes on (:mod:`.backlog`); steps that are asked
for meanwhile are queued behind it, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ...errors import Refused
from ...model.context import JobContext
from ...model.curation import Change
from ...store.store import Committed, Connection, StaleError, Store
from .backlog import Backlog
from .loaded_rows import Tallies

T = TypeVar("T")

#: A step over more picks than this is written in the background.
BIG = 300
#: Times a step is built anew where another window keeps writing first.
_TRIES = 3


@dataclass(frozen=True, eq=False)
class Step:
    """What is to be changed.

    Attributes
    ----------
    build : callable
        Makes the change of rows that it reads in the same transaction; None = there is nothing to change. May be
        called on another thread, and again where another window wrote first.
    at_most : int, optional
        Picks it can be about; None = not known. One about many is written in the background, where there is one.
    title : str
        Said while that goes on ("rejecting picks in the project").
    nothing : str
        Said where it changed nothing.
    between : callable
        Called between pieces of one that is written at once; what it raises takes all of it back.
    """

    build: Callable[[Store, Connection], Change | None]
    at_most: int | None = None
    title: str = "changing picks"
    nothing: str = "nothing was left to change"
    between: Callable[[], None] = lambda: None


@dataclass(frozen=True, eq=False)
class Done:
    """It is committed and in the memory."""

    committed: Committed

    @property
    def n(self) -> int:
        """Particles that changed; rows of other tables where it is about none."""
        change = self.committed.change
        return change.n_rows() or sum(len(delta) for delta in change.deltas)

    @property
    def new_id(self) -> int:
        """Id of the first row that the last part of the change made: of the pick or region that was added."""
        return int(self.committed.change.deltas[-1].ids[0])


@dataclass(frozen=True, slots=True)
class Queued:
    """It is being written in the background, or waits for a step that is."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing was changed, and why."""

    why: str = "nothing was left to change"
    n: int = 0


#: What came of a step that is over.
Result = Done | Nothing
#: What came of a step when its verb returns.
Outcome = Done | Nothing | Queued


class Owner(Protocol):
    """What a step needs of its session."""

    store: Store
    curator: str
    backlog: Backlog | None

    def absorb(self, committed: Committed, tallies: Tallies | None = None) -> None:
        """Let the memory follow what was committed, then announce it."""

    def refresh(self) -> None:
        """Read everything again."""

    def poll(self) -> bool:
        """Refresh where another window wrote; whether it had."""

    def say(self, text: str, level: str = "info") -> None:
        """Tell the curator."""


def is_big(n: int | None) -> bool:
    """Whether a step about so many picks (None = not known) is written in the background."""
    return n is None or n > BIG


def waits(owner: Owner, later: Callable[[], object]) -> bool:
    """Whether ``later`` has to wait for a big step that is being written; then it is done after it."""
    return owner.backlog is not None and owner.backlog.waits(later)


def settle(owner: Owner) -> None:
    """Block until nothing is being written and nothing waits."""
    if owner.backlog is not None:
        owner.backlog.finish()


def retried(owner: Owner, attempt: Callable[[], T]) -> T:
    """Repeat an edit after reading the project again, where another window has written meanwhile.

    Where others write one step after the other, so that it is too late again and again, they are made to wait.
    """
    settle(owner)
    for _ in range(_TRIES):
        try:
            return attempt()
        except StaleError:
            owner.refresh()
    with owner.store.alone():
        owner.refresh()
        return attempt()


def _result(owner: Owner, committed: Committed | None, nothing: str, tallies: Tallies | None = None) -> Result:
    """Let the memory follow; a commit without a number is one of nothing."""
    if committed is None or not committed.id:
        return Nothing(nothing)
    owner.absorb(committed, tallies)
    return Done(committed)


@dataclass(frozen=True, eq=False)
class Taking:
    """A step on its way into the project.

    Attributes
    ----------
    owner : Session
    step : Step
    then : callable
        Gets the result when it is over, now or later; also where it failed in the background.
    """

    owner: Owner
    step: Step
    then: Callable[[Result], object]

    def begin(self) -> Outcome:
        """Write it now, or begin to where it is big; there must be no other big one."""
        if self.owner.backlog is None or not is_big(self.step.at_most):
            return self._over(retried(self.owner, self._commit))
        self.owner.backlog.write(self._commit_behind, self.step.title, self._over_behind, lost=self._lost)
        return Queued()

    def after_waiting(self) -> None:
        """As :meth:`begin`, for one that has waited: what it returns is not used."""
        outcome = self.begin()
        if isinstance(outcome, Nothing):
            self.owner.say(outcome.why)

    def _commit(self) -> Committed:
        return self.owner.store.commit_built(self.step.build, self.owner.curator, self.step.between)

    def _commit_behind(self, context: JobContext) -> Committed:
        return self.owner.store.commit_built(self.step.build, self.owner.curator, context.check)

    def _over(self, committed: Committed | None, tallies: Tallies | None = None) -> Result:
        result = _result(self.owner, committed, self.step.nothing, tallies)
        self.then(result)
        return result

    def _over_behind(self, committed: Committed | None, tallies: Tallies) -> None:
        if committed is None or not committed.id:
            self.owner.say(self.step.nothing)
        self._over(committed, tallies)

    def _lost(self) -> None:
        self.then(Nothing("it could not be written"))


def take(owner: Owner, step: Step, then: Callable[[Result], object]) -> Outcome:
    """Commit a step: now, in the background where it is big, or behind the one that is being written."""
    taking = Taking(owner, step, then)
    return Queued() if waits(owner, taking.after_waiting) else taking.begin()


@dataclass(frozen=True, eq=False)
class Editing:
    """An edit that is built from what is in memory, as those of one micrograph are.

    Attributes
    ----------
    owner : Session
    build : callable
        Makes the change; None = there is nothing to change. Called again where another window wrote first.
    then : callable
        Gets the result when it is there.
    """

    owner: Owner
    build: Callable[[], Change | None]
    then: Callable[[Result], object]

    def begin(self) -> Outcome:
        """Commit it, or queue it behind the big step that is being written."""
        if waits(self.owner, self.begin):
            return Queued()
        return self.now()

    def now(self) -> Result:
        """Commit it."""
        result = _result(self.owner, retried(self.owner, self._attempt), "nothing was left to change")
        self.then(result)
        return result

    def _attempt(self) -> Committed | None:
        try:
            change = self.build()
        except Refused:
            if not self.owner.poll():
                raise
            change = self.build()
        if change is None and self.owner.poll():
            # what makes no difference here may make one to what another window left
            change = self.build()
        return None if change is None else self.owner.store.commit(change, self.owner.curator)
