"""Pick sets of a project compared with each other and combined into a new one."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...audit.comparing import TwoSets, agreement, compare_sets
from ...errors import Refused
from ...model.context import JobContext
from ...model.curation import Change, Decision, Delta, Kind, Table
from ...model.micrograph import Micrograph
from ...model.particles import Particles
from ...model.pick_set import PickSet
from ...model.species import is_colour
from ...model.which import Which
from ...picking.matching import match
from ..core import edits
from ..core.session import Session
from ..core.step import Outcome, Step
from .history import picks_at

#: Stands for all accepted picks, whatever set they came with.
ACCEPTED = 0
#: A number so far below zero, less the number of a history line, stands for what was accepted after that line.
_MOMENTS = -2
#: Kind of a pick set that was made of others.
CONSENSUS = "consensus"
_QUIET = JobContext()


class Algebra(StrEnum):
    """How sets are combined."""

    UNION = "union"
    INTERSECTION = "intersection"
    DIFFERENCE = "difference"
    AT_LEAST = "at least"


@dataclass(frozen=True, eq=False)
class Compared:
    """Two sets of a project, compared.

    Attributes
    ----------
    reference, other : int
        Numbers of the sets.
    sets : mapping of micrograph id to TwoSets
        The most disagreement first; only micrographs that hold a pick of either.
    tolerance : float, diameters
    """

    reference: int
    other: int
    sets: dict[int, TwoSets]
    tolerance: float

    @property
    def total(self) -> Any:
        """Over all micrographs, see :func:`~cryoppp_annotator.audit.comparing.agreement`."""
        return agreement(list(self.sets.values()))


def moment_set(moment: int) -> int:
    """The number that stands for what was accepted after a history line (its id; 0 = before the first)."""
    return _MOMENTS - moment


def is_moment(number: int) -> bool:
    """Whether a number stands for what was accepted at some moment."""
    return number <= _MOMENTS


def choices(session: Session) -> dict[int, str]:
    """The sets there are, by number, as a person reads them."""
    return {ACCEPTED: "accepted picks", **{i: named(session, i) for i in session.pick_sets}}


def largest(session: Session) -> int:
    """The set one would look at first: the accepted picks, else the set with the most picks."""
    counts = session.counts()
    if counts["accepted"] or not session.pick_sets:
        return ACCEPTED
    numbers = list(session.pick_sets)
    picks = session.store.counts(*(Which(pick_sets=(number,)) for number in numbers))
    return numbers[picks.index(max(picks))]


def named(session: Session, number: int) -> str:
    """What a set is called."""
    if number == ACCEPTED:
        return "accepted picks"
    if is_moment(number):
        moment = _MOMENTS - number
        line = next(iter(session.store.history(1, before=moment + 1)), None)
        when = "before the first step" if line is None else f"on {line.at[:16].replace('T', ' ')} UTC (step {moment})"
        return f"accepted {when}"
    pick_set = session.pick_sets.get(number)
    return f"set {number}" if pick_set is None else pick_set.name


def origin_of(pick_set: PickSet) -> str:
    """Where a set came from, one line: kind, file or picker, curator, day."""
    source = pick_set.source or (pick_set.picker if pick_set.proposed else "")
    words = [pick_set.kind, source, f"by {pick_set.curator}" if pick_set.curator else "", pick_set.created[:10]]
    return ", ".join(word for word in words if word)


def members(particles: Particles, number: int) -> NDArray[np.bool_]:
    """(n,) mask of what belongs to a set: its picks that are not rejected."""
    if number == ACCEPTED:
        return np.asarray(particles.decision == Decision.ACCEPTED)
    return np.asarray((particles.pick_set == number) & (particles.decision != Decision.REJECTED))


def compare_in_project(
    session: Session, reference: int, other: int, tolerance: float, context: JobContext = _QUIET
) -> Compared:
    """Match two sets on every micrograph; the body of a job.

    Parameters
    ----------
    reference, other : int
    tolerance : float, diameters

    Raises
    ------
    Refused
        Both are the same, or the tolerance makes no sense.
    Cancelled
    """
    if reference == other:
        raise Refused("choose two different sets to compare")
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise Refused(f"a tolerance of {tolerance:g} diameters makes no sense")
    matches, past = [], _past(session, (reference, other))
    for i, micrograph in enumerate(session.micrographs):
        context.progress(i, len(session.micrographs), f"comparing on {micrograph.name}")
        two = _two_sets(session, micrograph, (reference, other), tolerance, past)
        if len(two.reference) or len(two.other):
            matches.append((micrograph.id, two))
    matches.sort(key=lambda entry: (-entry[1].disagreement, entry[0]))
    return Compared(reference, other, dict(matches), tolerance)


def _past(session: Session, numbers: Sequence[int]) -> dict[int, Particles]:
    """The picks of the project at the moments that are among some sets, by number of the set."""
    return {number: picks_at(session, _MOMENTS - number) for number in numbers if is_moment(number)}


def of_set(
    session: Session, micrograph: Micrograph, number: int, past: Mapping[int, Particles] = MappingProxyType({})
) -> tuple[Particles, Particles]:
    """The picks of a set on a micrograph, and those that it refused; ``past`` has the picks of sets of moments."""
    if is_moment(number):
        here, number = past[number].take(past[number].micrograph == micrograph.id), ACCEPTED
    else:
        here = session.store.particles(micrograph.id)
    return here.take(members(here, number)), here.take(_refused(here, number))


def _two_sets(
    session: Session, micrograph: Micrograph, pair: tuple[int, int], tolerance: float, past: dict[int, Particles]
) -> TwoSets:
    (mine, mine_refused), (its, its_refused) = (of_set(session, micrograph, number, past) for number in pair)
    return compare_sets(
        micrograph.name,
        (micrograph.height, micrograph.width),
        session.settings.diameter_px(micrograph),
        _xy(mine),
        _xy(its),
        its.score,
        tolerance,
        refused=(_xy(mine_refused), _xy(its_refused)),
    )


def _refused(particles: Particles, number: int) -> NDArray[np.bool_]:
    rejected = particles.decision == Decision.REJECTED
    return np.asarray(rejected if number == ACCEPTED else rejected & (particles.pick_set == number))


def _xy(particles: Particles) -> NDArray[np.float64]:
    return np.column_stack([particles.x, particles.y])


# --- combining -------------------------------------------------------------------------------------------------------


def groups_of(points: Sequence[NDArray[np.float64]], reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which picks of several sets are one particle: each set is matched one-to-one with each other.

    Parameters
    ----------
    points : sequence of (n, 2) float64, xy
    reach : float
        Largest distance of a pair, in the units of ``points``.

    Returns
    -------
    group : (all,) intp
        Number of the particle of each pick, the sets one after the other.
    of : (all,) intp
        Number of the set.
    """
    start = np.cumsum([0, *map(len, points)])
    of = np.repeat(np.arange(len(points)), [len(places) for places in points])
    rows, columns = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for a in range(len(points)):
        for b in range(a + 1, len(points)):
            pairs = match(
                points[a][:, 0], points[a][:, 1], np.zeros(len(points[a])), points[b][:, 0], points[b][:, 1], reach
            )
            rows.append(start[a] + np.flatnonzero(pairs.hit))
            columns.append(start[b] + pairs.truth_of[pairs.hit])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row)), (row, column)), shape=(start[-1],) * 2)
    return connected_components(graph, directed=False)[1].astype(np.intp), of


def combined(
    points: Sequence[NDArray[np.float64]], how: Algebra, reach: float, at_least: int = 2
) -> NDArray[np.float64]:
    """Places of the new set: of each particle the mean of its picks.

    Parameters
    ----------
    points : sequence of (n, 2) float64, xy
    how : Algebra
        The difference is what the first set has and no other.
    reach : float
        Largest distance of picks of one particle, in the units of ``points``.
    at_least : int
        Sets that must have it.

    Returns
    -------
    (m, 2) float64
    """
    if not sum(map(len, points)):
        return np.zeros((0, 2))
    group, of = groups_of(points, reach)
    n = int(group.max()) + 1
    has = np.zeros((n, len(points)), bool)
    has[group, of] = True
    if how is Algebra.DIFFERENCE:
        kept = has[:, 0] & ~has[:, 1:].any(axis=1)
    else:
        least = {Algebra.UNION: 1, Algebra.INTERSECTION: len(points), Algebra.AT_LEAST: at_least}[how]
        kept = has.sum(axis=1) >= least
    everything = np.concatenate(list(points))
    count = np.maximum(np.bincount(group, minlength=n), 1)
    mean = np.column_stack([np.bincount(group, everything[:, k], n) / count for k in (0, 1)])
    return np.asarray(mean[kept])


def make_set(
    session: Session, numbers: Sequence[int], how: Algebra, tolerance: float, *, at_least: int = 2, name: str = ""
) -> Outcome:
    """Make a new set of others, over the whole project, as one step; its picks are undecided.

    Raises
    ------
    Refused
        Fewer than two sets, a tolerance or a number of sets that make no sense, or the new set would be empty.
    """
    if len(set(numbers)) < 2:
        raise Refused("choose at least two different sets to combine")
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise Refused(f"a tolerance of {tolerance:g} diameters makes no sense")
    if how is Algebra.AT_LEAST and not 1 <= at_least <= len(numbers):
        raise Refused(f"at least {at_least} of {len(numbers)} sets makes no sense")
    places: list[tuple[Micrograph, NDArray[np.float64]]] = []
    past = _past(session, numbers)
    for micrograph in session.micrographs:
        points = [_xy(of_set(session, micrograph, number, past)[0]) for number in numbers]
        reach = tolerance * session.settings.diameter_px(micrograph)
        places.append((micrograph, combined(points, how, reach, at_least)))
    n = sum(len(points) for _, points in places)
    if not n:
        raise Refused("the new set would be empty: nothing was changed")
    names = [named(session, number) for number in numbers]
    title = name or _title(how, names, at_least)
    parameters = {"how": str(how), "of": names, "tolerance": tolerance, "at_least": at_least}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    new = edits.new_pick_set(CONSENSUS, title, session.curator, parameters=parameters, created=now)
    picks = edits.insert_particles(_columns(places), n)
    change = Change("combine", f"make a set of {edits.count_of(n)}: {title}", (new, picks))
    return session.commit(Step(lambda _store, _connection: change, n, "making a set of picks"))


def _title(how: Algebra, names: Sequence[str], at_least: int) -> str:
    if how is Algebra.DIFFERENCE:
        return f"{names[0]} without {' and '.join(names[1:])}"
    words = {Algebra.UNION: "any of", Algebra.INTERSECTION: "all of", Algebra.AT_LEAST: f"at least {at_least} of"}[how]
    return f"{words} {', '.join(names)}"


def _columns(places: Sequence[tuple[Micrograph, NDArray[np.float64]]]) -> dict[str, NDArray[Any]]:
    xy = np.concatenate([points for _, points in places])
    return {
        "micrograph": np.concatenate([np.full(len(points), m.id, np.int64) for m, points in places]),
        "pick_set": np.array([-1], np.int64),
        "x": xy[:, 0],
        "y": xy[:, 1],
        "decision": np.array([int(Decision.UNDECIDED)], np.int8),
        "reason": np.array([0], np.int8),
        "class_id": np.array([0], np.int32),
        "diameter_A": np.array([np.nan]),
        "score": np.array([np.nan]),
    }


def rename_set(session: Session, number: int, name: str) -> Outcome:
    """Give a set another name, as a step. Raises Refused where it has no name or there is no such set."""
    name = " ".join(name.split())
    if number not in session.pick_sets:
        raise Refused("these picks are not a pick set made here: nothing to rename")
    if not name:
        raise Refused("a set needs a name")

    return _change_set(session, number, "name", name, f"rename set {session.pick_sets[number].name} to {name}")


def colour_set(session: Session, number: int, colour: str) -> Outcome:
    """Give the rings of a set a colour, as a step. Raises Refused where it is none or there is no such set."""
    if number not in session.pick_sets:
        raise Refused("these picks are not a set of their own: nothing to colour")
    if not is_colour(colour):
        raise Refused(f"a colour is written as #RRGGBB, and not {colour!r}")
    return _change_set(session, number, "colour", colour, f"colour of set {named(session, number)}: {colour}")


def _change_set(session: Session, number: int, column: str, value: str, title: str) -> Outcome:
    def build() -> Change | None:
        before = getattr(session.pick_sets[number], column)
        if before == value:
            return None
        delta = Delta(
            Table.PICK_SET,
            Kind.UPDATE,
            np.array([number], np.int64),
            {column: np.array([before])},
            {column: np.array([value])},
        )
        return Change("rename" if column == "name" else "colour", title, (delta,))

    return session.edit(build)


def delete_set(session: Session, number: int) -> Outcome:
    """Delete all picks of a set, over the whole project, as one step that can be undone. Raises Refused."""
    if number not in session.pick_sets:
        raise Refused("these picks are not a pick set made here: nothing to delete")

    def build(store: Any, connection: Any) -> Change | None:
        mine = store.read(connection, Which(pick_sets=(number,), removed=True))
        if not len(mine):
            return None
        delta = Delta(Table.PARTICLE, Kind.DELETE, mine.id, mine.columns(), {}, mine.micrograph)
        return Change("delete-set", f"delete {edits.count_of(len(mine))} of {named(session, number)}", (delta,))

    return session.commit(Step(build, None, f"deleting {named(session, number)}", "the set has no picks"))
