"""What is known of every micrograph, as columns of a list and as names of a filter: counts, CTF, scores, classes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...formats.image import images
from ...model.context import JobContext
from ...model.expression import Column, Expression, Value, parse
from ...model.micrograph import FINISHED_STATES, Micrograph, MicrographState
from ...store import facts as table
from ..core.session import Session
from ..pictures.coverage import Coverage
from ..pictures.defocus import defocus_of
from ..pictures.optics import ctf_of, resolution_of

_QUIET = JobContext()
_STATES: Mapping[str, frozenset[str]] = {
    **{state.value: frozenset({state.value}) for state in MicrographState if state is not MicrographState.REMOVED},
    "todo": frozenset({MicrographState.UNSEEN.value, MicrographState.IN_PROGRESS.value}),
    "finished": frozenset(state.value for state in FINISHED_STATES),
}
#: What ``batch.passport`` keeps of each measured micrograph, below the project's cache.
_PASSPORTS = Path("cache") / "passport" / "passport.jsonl"


@dataclass(frozen=True, slots=True)
class Fact:
    """One column.

    Attributes
    ----------
    name : str
        In a filter, and as the column's head.
    about : str
        What it is, with its unit.
    digits : int
        Behind the point.
    measured : bool
        Whether it is read or counted in the background; what the project keeps of a micrograph is there at once.
    words : bool
        Whether it is a text.
    passport : str
        What the micrographs' passports call it; empty where it is of another source.
    """

    name: str
    about: str
    digits: int = 0
    measured: bool = False
    words: bool = False
    passport: str = ""


def _of_passport(name: str, about: str, digits: int, passport: str) -> Fact:
    return Fact(name, f"{about}; measured in the Screen tab", digits, measured=True, passport=passport)


FACTS: tuple[Fact, ...] = (
    Fact("state", "unseen, in progress, complete, empty or unusable; todo, finished", words=True),
    Fact("name", "the micrograph's name", words=True),
    Fact("whose", "the curator it is assigned to", words=True),
    Fact("acc", "accepted picks"),
    Fact("und", "undecided picks"),
    Fact("rej", "rejected picks"),
    Fact("picks", "all picks"),
    Fact("defocus", "mean defocus, µm, underfocus positive", 2, measured=True),
    Fact("astig", "astigmatism: difference of the two defoci, Å", 0, measured=True),
    Fact("res", "resolution up to which the CTF fits, Å", 1, measured=True),
    Fact("score", "median score of the picks that are not rejected", 3, measured=True),
    Fact(
        "quality", "median quality of the 2D classes that its picks are in, 0 to 1, by the newest run", 2, measured=True
    ),
    Fact("seen", "share that somebody had on the screen at a useful zoom, 0 to 1", 2, measured=True),
    Fact("px", "pixel size, Å", 3),
    Fact("width", "columns of the image, px"),
    Fact("height", "rows of the image, px"),
    _of_passport("tilt", "tilt of the specimen, degrees", 1, "tilt_deg"),
    _of_passport("drift", "anisotropy of the rings, by drift", 2, "ring_anisotropy"),
    _of_passport("ice", "strength of the ice ring at 3.7 Å", 3, "ice_ring"),
    _of_passport("thickness", "relative thickness of the ice", 2, "relative_thickness"),
    _of_passport("carbon", "share of the area that is carbon", 2, "carbon_share"),
    _of_passport("dirt", "share of the area that is contamination", 2, "contamination_share"),
    _of_passport("contrast", "local contrast", 2, "local_contrast"),
    _of_passport("visibility", "visibility of particles", 2, "visibility"),
    Fact("problem", "why it cannot be used", words=True),
)
BY_NAME: Mapping[str, Fact] = {fact.name: fact for fact in FACTS}
#: The names that an expression may use.
COLUMNS: tuple[Column, ...] = tuple(
    Column(fact.name, fact.words, _STATES if fact.name == "state" else {}) for fact in FACTS
)

#: Measured facts of one micrograph by name; one that is not there is not known.
Measured = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row(Mapping[str, Value]):
    """Facts of one micrograph by name; each is looked up when it is asked for.

    Attributes
    ----------
    session : Session
    micrograph : Micrograph
    measured : mapping of name to float
        Also of what the micrograph itself says, where something else is to be taken (picks above a threshold).
    """

    session: Session
    micrograph: Micrograph
    measured: Measured = field(default_factory=dict)

    def __getitem__(self, name: str) -> Value:
        fact, m = BY_NAME[name], self.micrograph
        if fact.measured or name in self.measured:
            return self.measured.get(name, math.nan)
        if name == "px":
            return math.nan if m.problem and not m.changed else self.session.pixel_size_A(m)
        if name in _SIZES:
            return float(getattr(m, name)) or math.nan
        value = getattr(m, _ATTRIBUTES.get(name, name))
        return str(value) if fact.words else float(value)

    def __iter__(self) -> Iterator[str]:
        return iter(BY_NAME)

    def __len__(self) -> int:
        return len(BY_NAME)


_SIZES = ("width", "height")
_ATTRIBUTES = {
    "acc": "n_accepted",
    "und": "n_undecided",
    "rej": "n_rejected",
    "picks": "n_particles",
    "whose": "assigned",
}


def measure(
    session: Session, names: Iterable[str] | None = None, *, context: JobContext = _QUIET
) -> dict[int, dict[str, float]]:
    """Read or count what is not kept with the micrographs; the body of a job.

    Parameters
    ----------
    names : iterable of str, optional
        Facts that are needed; all by default. What needs no further look at the database comes always.

    Returns
    -------
    mapping of micrograph id to mapping of name to float
        What is not known is left out.
    """
    needed = set(BY_NAME) if names is None else set(names)
    out: dict[int, dict[str, float]] = {}
    passports = _passports(session) if any(BY_NAME[name].passport for name in needed) or needed & _CTF else {}
    for i, micrograph in enumerate(list(session.micrographs)):
        context.progress(i, len(session.micrographs), micrograph.name)
        passport = passports.get(cache_name(micrograph.id, micrograph.path), {})
        out[micrograph.id] = {**_from_passport(passport), **(_ctf(session, micrograph) if needed & _CTF else {})}
    if "seen" in needed:
        coverage = Coverage(session)
        for number, values in out.items():
            values["seen"] = coverage.share(number)
    by_name = {"score": table.median_scores, "quality": table.class_quality}
    for name in needed & set(by_name):
        for number, value in by_name[name](session.store).items():
            if number in out:
                out[number][name] = value
    return out


_CTF = frozenset({"defocus", "astig", "res"})


def _ctf(session: Session, micrograph: Micrograph) -> dict[str, float]:
    """The micrograph's CTF as it was given; that of its picks, where they brought it."""
    ctf = ctf_of(micrograph)
    values = {
        "defocus": defocus_of(session, micrograph).mean_A / 1e4,
        "astig": math.nan if ctf is None else abs(ctf.defocus.u_A - ctf.defocus.v_A),
        "res": resolution_of(micrograph),
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _from_passport(passport: Mapping[str, object]) -> dict[str, float]:
    """What was measured; of the CTF, where nothing else was given."""
    values = {fact.name: passport.get(fact.passport) for fact in FACTS if fact.passport}
    values["res"], values["astig"] = passport.get("fit_resolution_A"), passport.get("astigmatism_A")
    u, v = passport.get("defocus_u_A"), passport.get("defocus_v_A")
    if isinstance(u, int | float) and isinstance(v, int | float):
        values["defocus"] = (u + v) / 2e4
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def cache_name(number: int, path: Path | str) -> str:
    """What a micrograph is called in the project's cache: two files of one name in different folders differ in it."""
    return f"{images.micrograph_name(path)}-{number}"


def _passports(session: Session) -> dict[str, Mapping[str, object]]:
    """What was measured of each micrograph, by :func:`cache_name`; nothing where nothing was, or it is unreadable."""
    try:
        lines = (session.store.folder / _PASSPORTS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    results: dict[str, Mapping[str, object]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            results[str(entry["name"])] = dict(entry["result"])
        except (ValueError, TypeError, KeyError):
            continue  # a line cut off in the middle says nothing
    return results


def understood(text: str) -> Expression:
    """A filter over these facts. Raises ExpressionError."""
    return parse(text, COLUMNS)


@dataclass(frozen=True, slots=True)
class Passed:
    """Which micrographs a filter lets through.

    Attributes
    ----------
    micrographs : tuple of Micrograph
    unknown : int
        Of how many others too little is known to say.
    """

    micrographs: tuple[Micrograph, ...]
    unknown: int

    @property
    def note(self) -> str:
        """That of some too little is known; empty where of none."""
        return f"too little is known of {self.unknown:,}, which are left out" if self.unknown else ""


def passing(rows: Sequence[Row], expression: Expression) -> Passed:
    """Let a filter choose among micrographs."""
    truths = [(row.micrograph, expression.truth(row)) for row in rows]
    kept = tuple(micrograph for micrograph, truth in truths if truth is True)
    return Passed(kept, sum(truth is None for _, truth in truths))


def where(session: Session, text: str, *, context: JobContext = _QUIET) -> Passed:
    """Micrographs of the project for which an expression holds.

    Raises
    ------
    ExpressionError
        It cannot be understood.
    """
    expression = understood(text)
    measured = measure(session, expression.names, context=context)
    return passing([Row(session, m, measured.get(m.id, {})) for m in session.micrographs], expression)
