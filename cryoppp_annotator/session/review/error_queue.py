"""The queue of likely errors of a project's picks, kept beside the project, and its answers."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...audit.judging import LabelTask, judge_labels
from ...audit.queue import QueueItem
from ...audit.suspects import ErrorKind
from ...errors import ProjectError, Refused
from ...model.context import JobContext
from ...model.curation import Change, Decision, Delta, Reason
from ...model.message import Message
from ...model.particles import Particles
from ..core import edits
from ..core.session import Session
from ..core.step import Done
from .answer_log import FOLDER, ReviewFiles, checked
from .map_verdicts import weigh_by_map
from .review_item import ReviewItem
from .sets import members, named

QUEUE = "queue.json"
ANSWERS = "answers.jsonl"
#: Items ahead whose micrographs are made ready.
_LOOK_AHEAD = 20
#: An item that somebody else looks at is passed over for so many minutes.
_HELD_MINUTES = 10.0
#: Diameters; a pick that was moved by less is still in the middle of its picture.
_SEEN_MOVE = 0.1
_QUIET = JobContext()


class Answer(StrEnum):
    """What a curator says of an item."""

    ACCEPT = "accept"
    REJECT = "reject"
    MOVE = "move"
    SKIP = "skip"
    BACK = "back"
    LOOK = "look"


def find_errors(session: Session, number: int, context: JobContext = _QUIET) -> list[ReviewItem]:
    """The queue of a set of picks, by their looks and by the latest run in 3D; the body of a job.

    Parameters
    ----------
    number : int
        Of the set, see :mod:`.sets`.

    Raises
    ------
    Refused
        Too few picks.
    Cancelled
    """
    tasks, ids = [], {}
    polarity = "bright" if session.settings.bright else "dark"
    for micrograph in session.micrographs:
        here = session.store.particles(micrograph.id)
        mine = here.take(members(here, number))
        if not len(mine) or micrograph.problem:
            continue
        path, diameter = session.path_of(micrograph), session.settings.diameter_px(micrograph)
        tasks.append(LabelTask(path, mine.x, mine.y, diameter, polarity, str(micrograph.id), micrograph.frame))
        ids[micrograph.id] = mine.id
    if not tasks:
        raise Refused(f"{named(session, number)}: no picks to look for errors in")
    items = judge_labels(tasks, {}, context=context)
    return weigh_by_map(session, [_as_item(item, ids) for item in items])


def _as_item(item: QueueItem, ids: dict[int, Any]) -> ReviewItem:
    micrograph = int(item.micrograph)
    particle = int(ids[micrograph][item.label]) if item.label >= 0 else 0
    return ReviewItem(
        micrograph,
        particle,
        item.x,
        item.y,
        item.to_x,
        item.to_y,
        item.kind,
        item.probability,
        item.group,
        item.reason,
        tuple((int(m), x, y) for m, x, y in item.members),
    )


class Review:
    """A queue and what was answered, in ``review/`` beside the project's database; other curators' answers are read.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._files = ReviewFiles(session, QUEUE, ANSWERS)
        self.items: list[ReviewItem] = []
        #: When it was made, by whom, and of which picks.
        self.made, self.made_by, self.of = "", "", ""
        self._answered: dict[int, str] = {}
        self._likely: set[int] = set()
        self._held: dict[int, tuple[str, float]] = {}
        #: Items of each answer of mine, and the step that it became.
        self._mine: list[tuple[list[int], int | None]] = []
        self._before: int | None = None  # the curator's last step before the first answer

    # ------------------------------------------------------------------ files

    def load(self) -> bool:
        """Go on with the queue that lies there. Returns whether there was one that fits. Raises ProjectError."""
        try:
            if (kept := self._files.read()) is None:
                return False
            items = [_from_json(entry) for entry in kept["items"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ProjectError(f"{self._files.path} cannot be read ({error}); search for errors again") from error
        self.items = items
        self.made, self.made_by, self.of = (str(kept.get(name, "")) for name in ("made", "by", "of"))
        self._forget()
        self.follow()
        return True

    def start(self, items: Sequence[ReviewItem], of: str = "") -> None:
        """Begin a new queue; the one before is put aside with its answers.

        Parameters
        ----------
        items : sequence of ReviewItem
        of : str
            What the picks are called in which errors were searched.

        Raises
        ------
        FormatError
            It cannot be written.
        """
        self.made, self.made_by, self.of = self._files.put_aside(), self._session.curator, of
        self.items = list(items)
        self._forget()
        self._files.write(self.made, of, [_as_json(item) for item in items])

    def _forget(self) -> None:
        self._answered, self._held, self._mine = {}, {}, []
        self._likely = {number for number, item in enumerate(self.items) if item.likely}
        last = self._session.next_undo()
        self._before = None if last is None else last.id
        self._files.log.rewind()

    def follow(self) -> None:
        """Read what others, and an earlier start, have answered since."""
        for line in self._files.log.new_lines():
            with suppress(ValueError, KeyError, TypeError, OverflowError):
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("queue", self.made) != self.made:
            return  # of a queue that another window began, or of the one before
        answer = Answer(line["answer"])
        for number in line["items"]:
            if not isinstance(number, int) or not 0 <= number < len(self.items):
                continue
            if answer is Answer.BACK:
                self._answered.pop(number, None)
            elif answer is Answer.LOOK:
                self._held[number] = (str(line["curator"]), float(line["at"]))
            else:
                self._answered[number] = str(answer)

    def _write(self, numbers: Sequence[int], answer: Answer) -> None:
        self._files.append({"queue": self.made, "items": list(numbers), "answer": str(answer)})
        self.follow()

    # ------------------------------------------------------------------ walking

    @property
    def n_answered(self) -> int:
        """Answered items."""
        return len(self._answered)

    @property
    def n_left(self) -> int:
        """Items that nobody has answered yet."""
        return len(self.items) - len(self._answered)

    @property
    def n_likely_left(self) -> int:
        """Open items that are more likely wrong than right."""
        return len(self._likely - self._answered.keys())

    @property
    def title(self) -> str:
        """What the queue is of, from when and by whom."""
        day = self.made[:16].replace("T", " ")
        return " ".join(
            word for word in (self.of or "likely errors", day, self.made_by and f"by {self.made_by}") if word
        )

    def next(self) -> int | None:
        """Number of the next item that is neither answered nor looked at; None at the end."""
        self.follow()
        return next(self._open(), None)

    def upcoming(self, most: int = 3) -> list[int]:
        """Micrographs of the next items, without the one of the very next: their pictures will be asked for."""
        coming = dict.fromkeys(self.items[number].micrograph for number in islice(self._open(), _LOOK_AHEAD))
        return list(coming)[1 : most + 1]

    def hold(self, *numbers: int) -> None:
        """Say that one looks at some items, so that no other curator is shown them."""
        self._write(numbers, Answer.LOOK)

    def is_open(self, number: int) -> bool:
        """Whether nobody has answered an item, also not a moment ago in another window."""
        self.follow()
        return number not in self._answered

    def _open(self) -> Iterator[int]:
        now = datetime.datetime.now(datetime.UTC).timestamp()
        for number in range(len(self.items)):
            who, since = self._held.get(number, ("", 0.0))
            taken = who not in ("", self._session.curator) and now - since < 60.0 * _HELD_MINUTES
            is_there = self.items[number].micrograph in self._session.loaded
            if is_there and number not in self._answered and not taken:
                yield number

    def page(self, most: int = 40) -> list[int]:
        """Numbers of the next items of the kind that comes next, for a page of look-alikes; of a gap: itself."""
        self.follow()
        first = next(self._open(), None)
        if first is None or self.items[first].kind is ErrorKind.GAP:
            return [] if first is None else [first]
        kind, numbers = self.items[first].kind, []
        for number in self._open():
            # who answers a page alike must not be shown what is likely wrong beside what is likely right
            if self.items[number].kind is kind and self.items[number].likely == self.items[first].likely:
                numbers.append(number)
            if len(numbers) == most:
                break
        return numbers

    # ------------------------------------------------------------------ answering

    def answer(self, number: int, answer: Answer, reason: Reason = Reason.NOT_A_PARTICLE) -> str:
        """Answer one item: the pick is decided, moved or added as one step.

        Parameters
        ----------
        number : int
        answer : Answer
            Accept: it is a particle (a place without a pick gets one). Reject: it is none. Move: to where the model
            thinks that it lies. Skip: no answer.
        reason : Reason
            Of a rejection.

        Returns
        -------
        str
            What was done.

        Raises
        ------
        Refused
            It cannot be moved, the pick is gone, or somebody else has answered it meanwhile.
        """
        return self.answer_page([number], [], answer, reason)

    def answer_page(
        self,
        numbers: Sequence[int],
        exceptions: Sequence[int],
        answer: Answer,
        reason: Reason = Reason.NOT_A_PARTICLE,
    ) -> str:
        """Answer several items alike, but for the exceptions, which get the opposite; one step.

        The opposite of accept is reject and the other way round; exceptions of a move stay where they are. What
        somebody else has answered meanwhile keeps that answer. Picks that were moved since errors were searched
        stay as they are on a page, and their items open: the pictures were of other places.

        Raises
        ------
        Refused
            Nothing is left to answer.
        """
        self.follow()
        numbers = [number for number in numbers if number not in self._answered]
        if not numbers:
            raise Refused("somebody else has answered this meanwhile: go on with the next item")
        if answer is Answer.SKIP:
            self._write(numbers, answer)
            self._mine.append((list(numbers), None))
            return f"skipped {edits.count_of(len(numbers), 'item')}"
        opposite = {Answer.ACCEPT: Answer.REJECT, Answer.REJECT: Answer.ACCEPT, Answer.MOVE: Answer.ACCEPT}[answer]
        left_out = set(exceptions)
        answers = {number: (opposite if number in left_out else answer) for number in numbers}
        moved: set[int] = set()
        outcome = self._session.edit(lambda: self._change(answers, reason, moved))
        settled = [number for number in numbers if number not in moved]
        self._write(settled, answer)
        step = self._session.next_undo() if isinstance(outcome, Done) else None
        self._mine.append((settled, None if step is None else step.id))
        done = outcome.committed.change.done if isinstance(outcome, Done) else "as it was before"
        return done if not moved else f"{done} · left as it is, moved since the search: {edits.count_of(len(moved))}"

    def back(self) -> int | None:
        """Take the last answer back, with what it changed. Returns the number of its first item; None where none is."""
        if not self._mine:
            return None
        if not self.last_step_was_an_answer:
            raise Refused("something else was changed since the last answer: undo that first, on the picture")
        numbers, step = self._mine.pop()
        if step is not None:
            self._session.undo()
        self._write(numbers, Answer.BACK)
        return numbers[0]

    @property
    def last_step_was_an_answer(self) -> bool:
        """Whether the curator has changed nothing else since the last answer of this session."""
        last = self._session.next_undo()
        steps = [step for _, step in self._mine if step is not None]
        return last is None or last.id == (steps[-1] if steps else self._before)

    @property
    def can_go_back(self) -> bool:
        """Whether there is an answer of this session to take back."""
        return bool(self._mine)

    def take_back_undone(self) -> bool:
        """Take the last answer back where what it changed was undone elsewhere. Returns whether it was."""
        if not self._mine:
            return False
        redo = self._session.next_redo()
        for k, (numbers, step) in reversed(list(enumerate(self._mine))):
            if redo is not None and step == redo.id:
                del self._mine[k]
                self._write(numbers, Answer.BACK)
                return True
        return False

    def _change(self, answers: dict[int, Answer], reason: Reason, moved: set[int]) -> Change | None:
        """One change for all answers; None where everything is so already. ``moved`` gets items that are left out."""
        moved.clear()
        session = self._session
        particles: dict[int, Particles] = {}
        deltas: list[Delta] = []
        new: list[tuple[int, float, float]] = []
        counts = {"accept": 0, "reject": 0, "move": 0, "add": 0}
        for micrograph in {self.items[n].micrograph for n in answers}:
            particles[micrograph] = session.store.particles(micrograph)
        by_decision: dict[tuple[int, Answer], list[int]] = {}
        for number, answer in answers.items():
            item = self.items[number]
            if not item.particle:
                if answer is Answer.ACCEPT:
                    new += self._without_picks(item.members or ((item.micrograph, item.x, item.y),))
                continue
            if (row := particles[item.micrograph].rows_of(np.array([item.particle], np.int64))[0]) < 0:
                if len(answers) == 1:
                    raise Refused("this pick was deleted meanwhile: skip it")
                continue
            if len(answers) > 1 and self._lies_elsewhere(item, particles[item.micrograph], int(row)):
                moved.add(number)
                continue
            if answer is Answer.MOVE:
                changed = self._moved(item, particles[item.micrograph])
                deltas += changed
                counts["move"] += len(changed)
            else:
                by_decision.setdefault((item.micrograph, answer), []).append(item.particle)
        for (micrograph, answer), ids in by_decision.items():
            decision = Decision.ACCEPTED if answer is Answer.ACCEPT else Decision.REJECTED
            here = particles[micrograph]
            chosen = here.take(np.sort(here.rows_of(np.array(ids, np.int64))))
            change = edits.decide(chosen, decision, reason, "", micrograph)
            if change is not None:
                deltas += change.deltas
                counts[str(answer)] += change.n_rows()
        added = self._added(new)
        counts["add"] = sum(len(delta) for delta in added[-1:])
        deltas += added
        if not deltas:
            return None
        micrographs = {self.items[n].micrograph for n in answers}
        only = micrographs.pop() if len(micrographs) == 1 else None
        where = "in review" if only is None else f"on {session.micrograph(only).name} in review"
        message: Message | None = None
        for verb, n in reversed(counts.items()):
            if n:
                message = Message(verb, edits.count_of(n), where=where, also=message)
        assert message is not None, "there is something to change, so something is counted"
        return message.change("review", deltas, only)

    def _lies_elsewhere(self, item: ReviewItem, here: Particles, row: int) -> bool:
        """Whether a pick was moved since errors were searched, by more than is seen on a picture of it."""
        diameter = self._session.settings.diameter_px(self._session.micrograph(item.micrograph))
        return math.hypot(float(here.x[row]) - item.x, float(here.y[row]) - item.y) > _SEEN_MOVE * diameter

    def _without_picks(self, places: Sequence[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
        """Those of some places that were not picked meanwhile."""
        session, free = self._session, []
        for micrograph in {m for m, _, _ in places if m in session.loaded}:  # not on those that were removed
            here = session.store.particles(micrograph)
            limit = 0.5 * session.settings.diameter_px(session.micrograph(micrograph))
            free += [p for p in places if p[0] == micrograph and edits.nearest(here, p[1], p[2]) >= limit]
        return free

    def _moved(self, item: ReviewItem, here: Particles) -> tuple[Delta, ...]:
        if not (math.isfinite(item.to_x) and math.isfinite(item.to_y)):
            raise Refused("the right place of this pick is not known: accept it, reject it, or move it by hand")
        micrograph = self._session.micrograph(item.micrograph)
        change = edits.move(micrograph, here, np.array([item.particle], np.int64), item.to_x, item.to_y)
        return () if change is None else change.deltas

    def _added(self, places: Sequence[tuple[int, float, float]]) -> list[Delta]:
        if not places:
            return []
        hand = self._session.hand_set()
        columns = {
            "micrograph": np.array([m for m, _, _ in places], np.int64),
            "pick_set": np.array([hand if isinstance(hand, int) else -1], np.int64),
            "x": np.array([x for _, x, _ in places]),
            "y": np.array([y for _, _, y in places]),
            "decision": np.array([int(Decision.ACCEPTED)], np.int8),
            "reason": np.array([0], np.int8),
            "class_id": np.array([0], np.int32),
            "diameter_A": np.array([np.nan]),
            "score": np.array([np.nan]),
        }
        picks = edits.insert_particles(columns, len(places))
        return [picks] if isinstance(hand, int) else [hand, picks]


def _as_json(item: ReviewItem) -> dict[str, Any]:
    # not asdict, which copies what is in it: there may be half a million
    values = {name: getattr(item, name) for name in _NAMES}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


_NAMES = [field.name for field in fields(ReviewItem)]


def _from_json(values: dict[str, Any]) -> ReviewItem:
    known = checked(ReviewItem, values, unset=("to_x", "to_y"))
    known["kind"] = ErrorKind(known["kind"])
    for name in ("to_x", "to_y"):
        known[name] = math.nan if known[name] is None else float(known[name])
    known["members"] = tuple((int(m), float(x), float(y)) for m, x, y in known["members"])
    return ReviewItem(**known)


def project_folder(session: Session) -> Path:
    """Where the queue and its answers lie."""
    return session.store.folder / FOLDER
