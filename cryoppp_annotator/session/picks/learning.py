"""Learning from the decisions in a project: which there are, whether they are enough, and the model they make."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
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
from ...picking.learned import too_few, train
from ...picking.model_file import Model, save_model
from ...picking.seen import Example, Seen, describe
from ..core.session import Session

_QUIET = JobContext()
#: Folder of the models, in the project's.
FOLDER = "models"
#: Models kept in it.
_KEPT = 20
#: Micrographs learned from: those with most decisions.
_MOST = 6
#: So many are looked at to find the particle's views: where fewer hold decisions, undecided ones are added.
_LOOKED_AT = 5
#: Decisions learned from on one micrograph at most, evenly taken.
_MOST_HERE = 2000
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
    """

    path: Path
    model: Model
    micrographs: int
    seconds: float

    @property
    def summary(self) -> str:
        """For the status bar."""
        where = "1 micrograph" if self.micrographs == 1 else f"{self.micrographs} micrographs"
        return (
            f"learned from {self.model.n_accepted:,} accepted and {self.model.n_rejected:,} rejected picks "
            f"on {where} in {self.seconds:.1f} s"
        )


def decided(session: Session) -> tuple[int, int]:
    """Accepted and rejected picks of the project."""
    usable = [m for m in session.micrographs if not m.problem]
    return sum(m.n_accepted for m in usable), sum(m.n_rejected for m in usable)


def why_not(session: Session) -> str:
    """Why nothing can be learned yet; empty where something can."""
    if not session.settings.diameter_is_set:
        return "needs the particle's diameter: set it first, or measure a particle"
    return too_few(*decided(session))


def grown(session: Session, model: Model, since: int = 0) -> bool:
    """Whether there are so many more decisions than a model was made from (or ``since``) that it is worth learning."""
    return sum(decided(session)) >= _GROWN * max(model.n_accepted + model.n_rejected, since)


@dataclass(frozen=True, eq=False)
class _Lesson:
    path: str
    frame: int
    pixel_size_A: float
    diameter_A: float
    polarity: str
    example: Example


def learn(session: Session, *, polarity: str = "dark", context: JobContext = _QUIET) -> Learned:
    """Make a model of the project's decisions and keep it in the project's folder.

    Learned from are the micrographs with the most decisions (six at most); where these are few, others are looked at,
    too, for what the particles look like. From any thread.

    Parameters
    ----------
    session : Session
    polarity : 'dark' or 'bright'
        Of the particles in the micrographs.
    context : JobContext

    Raises
    ------
    EngineError
        Too few decisions, or no micrograph can be read.
    Cancelled
    """
    started = time.monotonic()
    if why := why_not(session):
        raise EngineError(f"learned {why}")
    chosen = sorted(
        (m for m in session.micrographs if not m.problem and m.n_accepted + m.n_rejected),
        key=lambda m: (-min(m.n_accepted + m.n_rejected, _MOST_HERE), m.id),
    )
    # no micrograph is left out that has all the rejected (or accepted) ones
    chosen = _with_both_kinds(chosen)
    lessons = [_lesson(session, m, polarity) for m in [*chosen, *_spread(session, chosen)]]
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
        diameter_A=session.diameter_A,
        polarity=polarity,
        context=context.part(),
    )
    path = session.store.folder / FOLDER / f"learned-{model.digest()}.npz"
    save_model(model, path)
    _forget_old(path)
    return Learned(path, model, len(order), time.monotonic() - started)


def parameters_of(learned: Learned) -> Mapping[str, Any]:
    """What the ``learned`` picker is handed."""
    return {"model": str(learned.path.absolute())}


def _with_both_kinds(ranked: list[Micrograph]) -> list[Micrograph]:
    chosen = ranked[:_MOST]
    for kind in ("n_accepted", "n_rejected"):
        if not any(getattr(m, kind) for m in chosen):
            chosen = [*chosen[: _MOST - 1], *[m for m in ranked[_MOST:] if getattr(m, kind)][:1]]
    return chosen


def _spread(session: Session, chosen: list[Micrograph]) -> list[Micrograph]:
    """Micrographs without decisions, evenly over the project, to look at beside those that were chosen."""
    known = {m.id for m in chosen}
    unusable = MicrographState.UNUSABLE
    rest = [m for m in session.micrographs if not (m.problem or m.id in known or m.state == unusable)]
    n = min(max(0, _LOOKED_AT - len(chosen)), len(rest))
    return [rest[(2 * i + 1) * len(rest) // (2 * n)] for i in range(n)]


def _lesson(session: Session, micrograph: Micrograph, polarity: str) -> _Lesson:
    particles = session.store.particles(micrograph.id)
    rows = np.flatnonzero(particles.decision != Decision.UNDECIDED)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_HERE)).astype(np.intp)] if len(rows) else rows
    example = _example(particles, rows)
    return _Lesson(
        str(session.path_of(micrograph).absolute()),
        micrograph.frame,
        session.pixel_size_A(micrograph),
        session.diameter_A,
        polarity,
        example,
    )


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
