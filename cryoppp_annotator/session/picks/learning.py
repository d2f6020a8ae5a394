"""Learning from the decisions in a project: which there are, whether they are enough, and the model they make."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError, Cancelled, EngineError
from ...formats.image import images
from ...imaging.filters import fft_workers
from ...jobs.each import each
from ...model.context import JobContext
from ...model.curation import Decision
from ...model.micrograph import Micrograph, MicrographState
from ...model.particles import Particles
from ...model.which import Which
from ...picking.learned import ENOUGH_OF_EACH, too_few, train
from ...picking.model_file import Model, save_model
from ...picking.seen import Example, Seen, describe
from ..core.session import Session

_QUIET = JobContext()
_LEARNED_FROM = (Decision.ACCEPTED, Decision.REJECTED)
#: Folder of the models, in the project's.
FOLDER = "models"
#: Models kept in it.
_KEPT = 20
#: Micrographs learned from: those with most decisions.
_MOST = 6
#: So many are looked at to find the particle's views: where fewer hold decisions, undecided ones are added.
_LOOKED_AT = 5
#: Decisions of one kind learned from on one micrograph at most, evenly taken.
_MOST_HERE = 1000
#: A new model is offered when there are so many times the decisions it was made from.
_GROWN = 1.25


@dataclass(frozen=True, eq=False)
class Learned:
    """A model made from a project's decisions.

    Attributes
    ----------
    path : Path
        Of its file.
    model : Model
    micrographs : int
        It was learned from.
    seconds : float
    species : int
        Whose picks it was learned from; 0 = all of them.
    """

    path: Path
    model: Model
    micrographs: int
    seconds: float
    species: int = 0

    @property
    def summary(self) -> str:
        """For the status bar."""
        where = "1 micrograph" if self.micrographs == 1 else f"{self.micrographs} micrographs"
        return (
            f"learned from {self.model.n_accepted:,} accepted and {self.model.n_rejected:,} rejected picks "
            f"on {where} in {self.seconds:.1f} s"
        )


@dataclass(frozen=True, eq=False)
class Usable:
    """The decisions of a project that can be learned from, and how many others there are.

    Attributes
    ----------
    micrographs : tuple of Micrograph
        That are learned from.
    n_accepted, n_rejected : int
        Decisions on these that a person made one by one, by a page or by a class.
    in_bulk : int
        Decisions made by a rule, anywhere: above a score, all that were left, in regions.
    elsewhere : int
        Decisions on further micrographs, or too many on one.
    of_others : int
        Decisions on picks of other species than the one that is chosen.
    """

    micrographs: tuple[Micrograph, ...]
    n_accepted: int
    n_rejected: int
    in_bulk: int
    elsewhere: int
    of_others: int = 0

    @property
    def n(self) -> int:
        """Decisions of both kinds."""
        return self.n_accepted + self.n_rejected

    @property
    def sentence(self) -> str:
        """What is learned from, and what not and why."""
        where = "1 micrograph" if len(self.micrographs) == 1 else f"{len(self.micrographs)} micrographs"
        text = f"learns from {self.n_accepted:,} accepted and {self.n_rejected:,} rejected picks on {where}"
        return f"{text}; {self.left_out}" if self.left_out else text

    @property
    def left_out(self) -> str:
        """Which decisions are not learned from, and why; empty where all are."""
        reasons = []
        if self.of_others:
            reasons.append(f"{self.of_others:,} of other species")
        if self.in_bulk:
            reasons.append(f"{self.in_bulk:,} decided in bulk, not one by one")
        if self.elsewhere:
            reasons.append(f"{self.elsewhere:,} beyond the {_MOST} micrographs with the most decisions")
        return f"not from {' and '.join(reasons)}" if reasons else ""


def usable(session: Session) -> Usable:
    """Which decisions can be learned from: those of the species that is chosen, where one is."""
    there = [m for m in session.micrographs if not m.problem]
    judged = {m.id: [0, 0] for m in there}
    total = 0
    for k, (decision, kinds) in enumerate(zip(_LEARNED_FROM, _kinds(session), strict=True)):
        counts, bulk = _counts(session, decision, kinds)
        for micrograph in judged:
            judged[micrograph][k] = max(0, counts.get(micrograph, 0) - bulk.get(micrograph, 0))
            total += counts.get(micrograph, 0)
    of_others = sum(m.n_accepted + m.n_rejected for m in there) - total
    in_bulk = total - sum(map(sum, judged.values()))
    taken = {i: (min(a, _MOST_HERE), min(r, _MOST_HERE)) for i, (a, r) in judged.items() if a + r}
    by_id = {m.id: m for m in there}
    chosen = _with_both_kinds(taken)
    n_accepted, n_rejected = (sum(taken[i][k] for i in chosen) for k in (0, 1))
    elsewhere = total - in_bulk - n_accepted - n_rejected
    return Usable(tuple(by_id[i] for i in chosen), n_accepted, n_rejected, in_bulk, elsewhere, of_others)


def _kinds(session: Session) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Species of the accepted and of the rejected picks that are learned from; None = any.

    What was rejected before it had a species is no particle of the chosen one either.
    """
    chosen = session.loaded.current_species
    return ((chosen,), (chosen, 0)) if chosen in session.species else (None, None)


def _counts(
    session: Session, decision: Decision, kinds: tuple[int, ...] | None
) -> tuple[dict[int, int], dict[int, int]]:
    """Picks of one decision and of these species by micrograph, and how many of them were decided in bulk."""
    bulk = session.store.decided_in_bulk()
    of_it = bulk.decision == decision
    if kinds is None:
        accepted = decision is Decision.ACCEPTED
        counts = {m.id: m.n_accepted if accepted else m.n_rejected for m in session.micrographs}
        ids, numbers = np.unique(bulk.micrograph[of_it], return_counts=True)
        return counts, dict(zip(ids.tolist(), numbers.tolist(), strict=True))
    which = Which(decisions=(decision,), species=kinds)
    in_bulk = replace(which, ids=tuple(bulk.ids[of_it].tolist()))
    store = session.store
    return store.count_by_micrograph(which), store.count_by_micrograph(in_bulk) if of_it.any() else {}


def decided(session: Session) -> tuple[int, int]:
    """Accepted and rejected picks of the project that can be learned from."""
    there = usable(session)
    return there.n_accepted, there.n_rejected


def why_not(session: Session, diameter_A: float | None = None) -> str:
    """Why nothing can be learned yet; empty where something can. ``diameter_A`` stands in for the project's."""
    if diameter_A is None and not session.settings.diameter_is_set:
        return "needs the particle's diameter: set it first, or measure a particle"
    return _why_too_few(usable(session))


def _why_too_few(there: Usable) -> str:
    why = too_few(there.n_accepted, there.n_rejected)
    return f"{why}; {there.left_out}" if why and there.left_out else why


def grown(session: Session, model: Model, since: int = 0) -> bool:
    """Whether there are so many more decisions than a model was made from (or ``since``) that it is worth learning."""
    return sum(decided(session)) >= _GROWN * max(model.n_accepted + model.n_rejected, since)


def diameter_of_picks_A(session: Session) -> float | None:
    """The median of accepted picks' own diameters, angstrom; None where none has one."""
    own = session.store.particles_where(Which(decisions=(Decision.ACCEPTED,))).diameter_A
    return float(np.nanmedian(own)) if np.isfinite(own).any() else None


@dataclass(frozen=True, eq=False)
class _Lesson:
    path: str
    frame: int
    pixel_size_A: float
    diameter_A: float
    polarity: str
    example: Example


def learn(
    session: Session, *, polarity: str = "dark", diameter_A: float | None = None, context: JobContext = _QUIET
) -> Learned:
    """Make a model of the project's decisions and keep it in the project's folder.

    Learned from are the micrographs with the most decisions (six at most); where a species is chosen, from its picks
    only, of its diameter. Where these are few, others are looked at,
    too, for what the particles look like. From any thread.

    Parameters
    ----------
    session : Session
    polarity : 'dark' or 'bright'
        Of the particles in the micrographs.
    diameter_A : float, optional
        Of the particle; the project's (the chosen species') by default.
    context : JobContext

    Raises
    ------
    EngineError
        Too few decisions, or no micrograph can be read.
    Cancelled
    """
    started = time.monotonic()
    if why := why_not(session, diameter_A):
        raise EngineError(f"learned {why}")
    size_A = session.loaded.new_diameter_A if diameter_A is None else diameter_A
    chosen = list(usable(session).micrographs)
    bulk = session.store.decided_in_bulk().ids
    species = session.loaded.current_species
    lessons = [_lesson(session, m, polarity, size_A, bulk) for m in [*chosen, *_spread(session, chosen)]]
    seen: dict[int, Seen] = {}
    problems: list[str] = []
    with closing(each(_described, lessons, threads=fft_workers(), context=context)) as results:
        for lesson, outcome in results:
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, AnnotatorError):
                problems.append(str(outcome))
                context.log(problems[-1])
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                seen[lessons.index(lesson)] = outcome
    order = [i for i in sorted(seen) if i < len(chosen)]
    if not order:
        raise EngineError(f"nothing could be learned: {problems[0] if problems else 'no micrograph can be read'}")
    model = train(
        [seen[i] for i in order],
        [lessons[i].example for i in order],
        undecided=[seen[i] for i in sorted(seen) if i >= len(chosen)],
        diameter_A=size_A,
        polarity=polarity,
        context=context.part(),
    )
    path = session.store.folder / FOLDER / f"learned-{model.digest()}.npz"
    save_model(model, path)
    _forget_old(path)
    return Learned(path, model, len(order), time.monotonic() - started, species)


def parameters_of(learned: Learned) -> Mapping[str, Any]:
    """What the ``learned`` picker is handed."""
    return {"model": str(learned.path.absolute())}


def _with_both_kinds(taken: Mapping[int, tuple[int, int]]) -> list[int]:
    """Ids of the micrographs with the most decisions, and of such as have the rejected (or accepted) ones.

    ``taken`` gives how many of each kind there are on each.
    """
    ranked = sorted(taken, key=lambda i: (-sum(taken[i]), i))
    chosen = ranked[:_MOST]
    for kind in (0, 1):
        if sum(taken[i][kind] for i in chosen) < ENOUGH_OF_EACH:
            rest = sorted((i for i in ranked[_MOST:] if taken[i][kind]), key=lambda i: (-taken[i][kind], i))
            more = rest[:ENOUGH_OF_EACH]
            chosen = [*chosen[: _MOST - len(more)], *more]
    return chosen


def _spread(session: Session, chosen: list[Micrograph]) -> list[Micrograph]:
    """Micrographs without decisions, evenly over the project, to look at beside those that were chosen."""
    known = {m.id for m in chosen}
    unusable = MicrographState.UNUSABLE
    rest = [m for m in session.micrographs if not (m.problem or m.id in known or m.state == unusable)]
    n = min(max(0, _LOOKED_AT - len(chosen)), len(rest))
    return [rest[(2 * i + 1) * len(rest) // (2 * n)] for i in range(n)]


def _spread_rows(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """So many of them as are learned from at most, evenly taken."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_HERE)).astype(np.intp)] if len(rows) else rows


def _lesson(
    session: Session, micrograph: Micrograph, polarity: str, diameter_A: float, bulk: NDArray[np.int64]
) -> _Lesson:
    particles = session.store.particles(micrograph.id)
    kinds = [
        _spread_rows(np.flatnonzero(_is_of(particles, decision, species) & ~np.isin(particles.id, bulk)))
        for decision, species in zip(_LEARNED_FROM, _kinds(session), strict=True)
    ]
    rows = np.sort(np.concatenate(kinds))
    example = _example(particles, rows)
    return _Lesson(
        str(session.path_of(micrograph).absolute()),
        micrograph.frame,
        session.pixel_size_A(micrograph),
        diameter_A,
        polarity,
        example,
    )


def _is_of(particles: Particles, decision: Decision, species: tuple[int, ...] | None) -> NDArray[np.bool_]:
    """(n,) bool: decided so, and of one of these species."""
    so = np.asarray(particles.decision == decision)
    return so if species is None else np.asarray(so & np.isin(particles.species, species))


def _example(particles: Particles, rows: NDArray[np.intp]) -> Example:
    return Example(particles.x[rows], particles.y[rows], particles.decision[rows] == Decision.ACCEPTED)


def _described(lesson: _Lesson, *, context: JobContext) -> Seen:
    image = images.read(Path(lesson.path), lesson.frame, check=context.check)
    return describe(
        image,
        pixel_size_A=lesson.pixel_size_A,
        diameter_A=lesson.diameter_A,
        polarity=lesson.polarity,
        also=(lesson.example.x, lesson.example.y),
        context=context,
    )


def _forget_old(newest: Path) -> None:
    """Keep the latest models: each proposal names the file it was made with."""
    try:
        models = sorted(newest.parent.glob("learned-*.npz"), key=lambda path: path.stat().st_mtime)
        for path in models[:-_KEPT]:
            if path != newest:
                path.unlink()
    except OSError:
        return  # a superfluous model does no harm
