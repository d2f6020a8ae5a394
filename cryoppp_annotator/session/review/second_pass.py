"""A blind second pass: a random sample of places, looked at again by somebody who is not told what was said of them.

The labels that are judged said of each place that it is a particle, or (as candidates of others that they do not have)
that it is none. A second curator says it again; where both differ a third one settles it. Places whose answer is known
(gold) are mixed in and look like the others: they measure each curator. Nothing of it changes a pick; the consensus can
be made a set.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...audit.curators import Quality, quality_of
from ...audit.sampling import Sample, strata, stratified
from ...errors import ProjectError, Refused
from ...formats.table.spreadsheet import csv_text
from ...model.curation import Change, Decision
from ...model.micrograph import Micrograph
from ...model.particles import Particles
from ..core import edits
from ..core.bookkeeping import remember
from ..core.session import Session
from ..core.step import Outcome
from ..pictures.defocus import defocus_of
from .answer_log import ReviewFiles, checked
from .sets import ACCEPTED, CONSENSUS, is_moment, members, named

PASS = "second_pass.json"
ANSWERS = "second_pass_answers.jsonl"
#: Setting of what nobody is to see beside the places: what the labels say, weights, known answers.
KEY = "second_pass"
_KEY = ("labelled", "weight", "stratum", "gold")
#: Two places nearer than so many diameters are one.
_SAME = 0.5
#: A place farther from every gold pick than so many diameters is gold that is no particle.
_APART = 1.0
#: A place that somebody else looks at is passed over for so many minutes.
_HELD_MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class PassOptions:
    """What is looked at again.

    Attributes
    ----------
    labels : int
        Number of the set that is judged, see :mod:`.sets`.
    n_micrographs, n_places : int
        Sampled micrographs, and places on them: half of the set's own, half of those that only others have.
    gold : int, optional
        Number of a set whose picks are particles for sure, and whose rejected picks are none.
    n_gold : int
        Places of known answer that are mixed in, half of them particles.
    seed : int
    """

    labels: int = ACCEPTED
    n_micrographs: int = 20
    n_places: int = 200
    gold: int | None = None
    n_gold: int = 40
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BlindItem:
    """One place.

    Attributes
    ----------
    micrograph : int
    x, y : float, canonical px
    labelled : bool
        Whether the labels that are judged call it a particle.
    weight : float
        How many places of the project it stands for; 0 for gold.
    stratum : int
    gold : bool, optional
        The known answer; None where it is not known.
    """

    micrograph: int
    x: float
    y: float
    labelled: bool
    weight: float
    stratum: int = 0
    gold: bool | None = None


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a second pass tells.

    Attributes
    ----------
    n_places, n_judged, n_differ, n_settled : int
        Sampled places, those looked at again, those where that differs from the labels, and those of them settled.
    labels : Quality
        Of the labels against the consensus, for the whole project (weighted); where a difference is not settled yet,
        the second curator is believed.
    curators : mapping of str to Quality
        By the gold places that each has answered.
    """

    n_places: int
    n_judged: int
    n_differ: int
    n_settled: int
    labels: Quality
    curators: dict[str, Quality]


# --- the sample ------------------------------------------------------------------------------------------------------


def sample_places(session: Session, options: PassOptions) -> list[BlindItem]:
    """Choose what is looked at again: stratified by density and defocus, one micrograph after the other.

    Raises
    ------
    Refused
        There are no labels, or nobody proposed anything beside them, so that nothing would show what they miss.
    """
    if is_moment(options.labels):
        raise Refused("a second pass is about picks as they are now: choose a set")
    usable = [m for m in session.micrographs if not m.problem and m.width and m.height]
    here = {m.id: _labels_and_candidates(session, m, options.labels) for m in usable}
    usable = [m for m in usable if len(here[m.id][0]) or len(here[m.id][1])]
    if not any(len(labels) for labels, _ in here.values()):
        raise Refused(f"{named(session, options.labels)}: no picks to look at again")
    if not any(len(candidates) for _, candidates in here.values()):
        raise Refused("nothing but these labels is there: propose candidates first, so that what they miss is seen")
    density = np.array([len(here[m.id][0]) / (m.width * m.height) for m in usable])
    defocus = np.array([defocus_of(session, m).mean_A for m in usable])
    chosen = stratified(strata(density, defocus), options.n_micrographs, options.seed)
    rng = np.random.default_rng(options.seed)
    items = _places_of([usable[i] for i in chosen.chosen], chosen, here, options, rng)
    items += _gold(session, options, items, rng)
    order = {m: k for k, m in enumerate(rng.permutation(sorted({item.micrograph for item in items})).tolist())}
    shuffled = [items[i] for i in rng.permutation(len(items))]
    return sorted(shuffled, key=lambda item: order[item.micrograph])


def _labels_and_candidates(
    session: Session, micrograph: Micrograph, number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) and (m, 2) xy of the labels, and of what only others have or what was rejected."""
    picks = session.store.particles(micrograph.id)
    mine = members(picks, number)
    labels, rest = _xy(picks.take(mine)), _xy(picks.take(~mine))
    apart = _SAME * session.settings.diameter_px(micrograph)
    return labels, _thinned(rest, labels, apart)


def _xy(picks: Particles) -> NDArray[np.float64]:
    return np.column_stack([picks.x, picks.y])


def _thinned(points: NDArray[np.float64], taken: NDArray[np.float64], apart: float) -> NDArray[np.float64]:
    """Those of some points that lie apart from others and from one another."""
    if len(taken) and len(points):
        points = points[cKDTree(taken).query(points)[0] >= apart]
    if len(points) < 2:
        return points
    kept = np.ones(len(points), bool)
    for i, j in sorted(cKDTree(points).query_pairs(apart)):
        if kept[i] and kept[j]:
            kept[j] = False
    return points[kept]


def _places_of(
    micrographs: Sequence[Micrograph],
    chosen: Sample,
    here: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]],
    options: PassOptions,
    rng: np.random.Generator,
) -> list[BlindItem]:
    """Of each micrograph its share of both kinds of places."""
    items = []
    for kind in (0, 1):
        there = np.array([len(here[m.id][kind]) for m in micrographs])
        take = _shares(there, options.n_places // 2)
        for i, micrograph in enumerate(micrographs):
            if not take[i]:
                continue
            weight = float(chosen.weight[i] * there[i] / take[i])
            for row in rng.permutation(there[i])[: take[i]].tolist():
                x, y = here[micrograph.id][kind][row].tolist()
                items.append(BlindItem(micrograph.id, x, y, kind == 0, weight, int(chosen.stratum[i])))
    return items


def _shares(there: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """How many of each to take: in proportion, at least one where there is one."""
    if there.sum() <= n:
        return there
    take = np.maximum(there > 0, np.round(there * n / there.sum()).astype(np.intp))
    return np.asarray(np.minimum(there, take), np.intp)


def _gold(
    session: Session, options: PassOptions, items: Sequence[BlindItem], rng: np.random.Generator
) -> list[BlindItem]:
    """Places of known answer, half of them particles, none where an item of the sample lies."""
    if options.gold is None or options.n_gold < 1:
        return []
    known: tuple[list[BlindItem], list[BlindItem]] = ([], [])
    for micrograph in (m for m in session.micrographs if not m.problem):
        picks = session.store.particles(micrograph.id)
        sure = members(picks, options.gold)
        if not sure.any():
            continue
        diameter = session.settings.diameter_px(micrograph)
        labels = _xy(picks.take(members(picks, options.labels)))
        particles = _xy(picks.take(sure))
        away = cKDTree(particles).query(_xy(picks))[0] >= _APART * diameter
        ours = np.array([(i.x, i.y) for i in items if i.micrograph == micrograph.id]).reshape(-1, 2)
        nothing = _thinned(_xy(picks.take(~sure & away)), ours, _SAME * diameter)
        for answer, points in ((True, _thinned(particles, ours, _SAME * diameter)), (False, nothing)):
            for x, y in points.tolist():
                near = bool(len(labels)) and bool(np.hypot(*(labels - (x, y)).T).min() < _SAME * diameter)
                known[not answer].append(BlindItem(micrograph.id, x, y, near, 0.0, gold=answer))
    half = options.n_gold // 2
    if not known[0] or not known[1]:
        raise Refused(f"{named(session, options.gold)}: gold needs places that are particles and places that are none")
    return [group[i] for group in known for i in rng.permutation(len(group))[:half].tolist()]


# --- the pass --------------------------------------------------------------------------------------------------------


class SecondPass:
    """The sample and what was said of it, in ``review/`` beside the project's database; others' answers are read.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._files = ReviewFiles(session, PASS, ANSWERS)
        self.items: list[BlindItem] = []
        self.made, self.of = "", ""
        #: Who answered what, by item, in the order it was said; None = skipped.
        self._said: dict[int, dict[str, bool | None]] = {}
        self._held: dict[int, tuple[str, float]] = {}
        self._mine: list[int] = []

    def load(self) -> bool:
        """Go on with the pass that lies there. Returns whether there is one. Raises ProjectError."""
        path = self._files.path
        try:
            if (kept := self._files.read()) is None:
                return False
            self.made, self.of = str(kept["made"]), str(kept["of"])
            self.items = self._with_key(kept["items"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProjectError(f"{path} cannot be read ({error}); begin another second pass") from error
        self._forget()
        self.follow()
        return True

    def start(self, items: Sequence[BlindItem], of: str) -> None:
        """Begin a pass; the one before is put aside with its answers. Raises FormatError where it cannot be written."""
        self.items, self.made, self.of = list(items), self._files.put_aside(), of
        self._forget()
        every = [asdict(item) for item in items]
        key = {name: [item.pop(name) for item in every] for name in _KEY}
        remember(self._session, {KEY: {"made": self.made, **key}})
        self._files.write(self.made, of, every)

    def _with_key(self, entries: list[dict[str, Any]]) -> list[BlindItem]:
        """The places with what is known of them. Raises ValueError: this project does not know this pass."""
        if entries and "gold" in entries[0]:  # of an earlier program
            return [BlindItem(**checked(BlindItem, entry)) for entry in entries]
        key = self._session.settings.values.get(KEY) or {}
        if key.get("made") != self.made:
            raise ValueError("the project does not know this pass, it is another one's")
        columns = zip(*(key[name] for name in _KEY), strict=True)
        return [
            BlindItem(**checked(BlindItem, {**entry, **dict(zip(_KEY, known, strict=True))}))
            for entry, known in zip(entries, columns, strict=True)
        ]

    def _forget(self) -> None:
        self._said, self._held, self._mine = {}, {}, []
        self._files.log.rewind()

    def follow(self) -> None:
        """Read what others, and an earlier start, have answered since."""
        for line in self._files.log.new_lines():
            with suppress(ValueError, KeyError, TypeError, OverflowError):
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        number, who, answer = int(line["item"]), str(line["curator"]), line["answer"]
        if line["pass"] != self.made or not 0 <= number < len(self.items):
            return
        if answer == "look":
            self._held[number] = (who, float(line["at"]))
        elif answer == "back":
            self._said.get(number, {}).pop(who, None)
        else:
            self._said.setdefault(number, {})[who] = None if answer is None else bool(answer)

    def _write(self, number: int, answer: bool | str | None) -> None:
        self._files.append({"pass": self.made, "item": number, "answer": answer})
        self.follow()

    # ------------------------------------------------------------------ walking

    def next(self) -> int | None:
        """Number of the next place that this curator is to judge or settle; None at the end."""
        self.follow()
        return next(self._open(), None)

    @property
    def n_left(self) -> int:
        """Places that this curator has yet to judge or settle."""
        return sum(1 for _ in self._open())

    @property
    def n_answers(self) -> int:
        """Answers of all curators, skipped places apart."""
        return sum(answer is not None for said in self._said.values() for answer in said.values())

    @property
    def n_done(self) -> int:
        """Places that this curator has answered or skipped."""
        return sum(self._session.curator in said for said in self._said.values())

    def _open(self) -> Iterator[int]:
        now, me = datetime.datetime.now(datetime.UTC).timestamp(), self._session.curator
        for number in range(len(self.items)):
            who, since = self._held.get(number, ("", 0.0))
            taken = who not in ("", me) and now - since < 60.0 * _HELD_MINUTES
            if self._is_asked(number, me) and (self.items[number].gold is not None or not taken):
                yield number

    def _is_asked(self, number: int, me: str) -> bool:
        """Whether somebody is to answer: gold everybody once, a place the second, a difference a third."""
        said = self._said.get(number, {})
        if me in said or self.items[number].micrograph not in self._session.loaded:
            return False
        if self.items[number].gold is not None:
            return True
        answers = [answer for answer in said.values() if answer is not None]
        return not answers or (len(answers) == 1 and answers[0] != self.items[number].labelled)

    def hold(self, number: int) -> None:
        """Say that one looks at a place, so that no other curator is shown it."""
        self._write(number, "look")

    def answer(self, number: int, is_particle: bool | None) -> None:
        """Say of a place whether it is a particle; None skips it."""
        self._write(number, is_particle)
        self._mine.append(number)

    def back(self) -> int | None:
        """Take the last answer back. Returns the number of its place; None where there is none."""
        if not self._mine:
            return None
        number = self._mine.pop()
        self._write(number, "back")
        return number

    @property
    def can_go_back(self) -> bool:
        """Whether there is an answer of this session to take back."""
        return bool(self._mine)

    # ------------------------------------------------------------------ what comes of it

    def final(self, number: int) -> bool | None:
        """What a place is after all: both agree, or a third settled it; None where that is open."""
        labelled = self.items[number].labelled
        answers = [answer for answer in self._said.get(number, {}).values() if answer is not None]
        if not answers:
            return None
        if answers[0] == labelled:
            return labelled
        return answers[1] if len(answers) > 1 else None

    def result(self) -> PassResult:
        """How good the labels and the curators are, as far as was answered."""
        self.follow()
        numbers = [n for n, item in enumerate(self.items) if item.gold is None]
        second = {n: next((a for a in self._said.get(n, {}).values() if a is not None), None) for n in numbers}
        judged = [n for n in numbers if second[n] is not None]
        differ = [n for n in judged if second[n] != self.items[n].labelled]
        finals = [self.final(n) for n in judged]
        believed = [second[n] if final is None else final for n, final in zip(judged, finals, strict=True)]
        labels = quality_of(
            np.array([self.items[n].labelled for n in judged], bool),
            np.array(believed, bool),
            np.array([self.items[n].weight for n in judged]),
        )
        settled = sum(self.final(n) is not None for n in differ)
        return PassResult(len(numbers), len(judged), len(differ), settled, labels, self._by_curator())

    def _by_curator(self) -> dict[str, Quality]:
        answers: dict[str, list[tuple[bool, bool]]] = {}
        for number, item in enumerate(self.items):
            if item.gold is not None:
                for who, answer in self._said.get(number, {}).items():
                    if answer is not None:
                        answers.setdefault(who, []).append((answer, item.gold))
        both = {who: np.array(pairs, bool) for who, pairs in sorted(answers.items())}
        return {who: quality_of(pairs[:, 0], pairs[:, 1]) for who, pairs in both.items()}

    def who_said(self, number: int) -> dict[str, str]:
        """What the labels and each curator said of a place, as it is kept with the consensus."""
        word = {True: "particle", False: "none", None: "skipped"}
        said = self._said.get(number, {})
        return {"labels": word[self.items[number].labelled], **{who: word[answer] for who, answer in said.items()}}

    def as_csv(self) -> str:
        """Each place of the sample (no gold) with what was said of it, as CSV text with a head line."""
        self.follow()
        curators = sorted({who for said in self._said.values() for who in said})
        rows: list[list[object]] = [["micrograph", "x", "y", "weight", "stratum", "labels", *curators, "final"]]
        for number, item in enumerate(self.items):
            if item.gold is None and item.micrograph in self._session.loaded:
                said = self.who_said(number)
                place = [self._session.micrograph(item.micrograph).name, f"{item.x:.2f}", f"{item.y:.2f}"]
                answers = [said.get(who, "") for who in ("labels", *curators)]
                final = {True: "particle", False: "none", None: ""}[self.final(number)]
                rows.append([*place, f"{item.weight:.4g}", item.stratum, *answers, final])
        return csv_text(rows)

    def make_consensus(self) -> Outcome:
        """Make a set of the places that are particles after all, as one step; each pick remembers who said what.

        Raises
        ------
        Refused
            No place is one yet.
        """
        self.follow()
        there = [n for n, item in enumerate(self.items) if item.micrograph in self._session.loaded]
        numbers = [n for n in there if self.items[n].gold is None and self.final(n)]
        if not numbers:
            raise Refused("no place of the second pass is a particle yet: nothing was changed")
        items, session = [self.items[n] for n in numbers], self._session
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        title = f"consensus on {self.of}"
        parameters = {"how": "second pass", "of": self.of, "made": self.made}
        new = edits.new_pick_set(CONSENSUS, title, session.curator, parameters=parameters, created=now)
        said = [{f"said_by_{who}": answer for who, answer in self.who_said(n).items()} for n in numbers]
        columns = {
            "micrograph": np.array([item.micrograph for item in items], np.int64),
            "pick_set": np.array([-1], np.int64),
            "x": np.array([item.x for item in items]),
            "y": np.array([item.y for item in items]),
            "decision": np.array([int(Decision.UNDECIDED)], np.int8),
            "reason": np.array([0], np.int8),
            "class_id": np.array([0], np.int32),
            "diameter_A": np.array([np.nan]),
            "score": np.array([np.nan]),
            "extra": np.array([json.dumps(row).encode() for row in said]),
        }
        picks = edits.insert_particles(columns, len(items))
        change = Change("combine", f"make a set of {edits.count_of(len(items))}: {title}", (new, picks))
        return session.edit(lambda: change)
