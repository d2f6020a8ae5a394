"""Kinds of particle: made, changed, taken away, given to picks. Each is one step that can be undone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import Refused
from ...model.curation import Change, Decision, Delta, Kind, Table
from ...model.particles import Particles
from ...model.species import NO_SPECIES, Species, is_colour, next_colour
from ...model.which import Which
from ...store.store import Connection, Store
from . import edits
from .session import Session
from .settings import refuse_diameter
from .step import Done, Outcome, Result, Step

#: What picks of no species are called.
NONE = "no species"


def named(session: Session, number: int) -> str:
    """What a species is called; 0 = of none."""
    one = session.species.get(number)
    return one.name if one is not None else NONE if number == NO_SPECIES else f"species {number}"


def find(session: Session, name: str) -> Species:
    """The species of a name, whatever its case. Raises Refused, with those there are."""
    for one in session.species.values():
        if plain(one.name) == plain(name):
            return one
    known = ", ".join(one.name for one in session.species.values()) or "none yet"
    raise Refused(f"there is no species “{name}”; there are: {known}")


def plain(name: str) -> str:
    """A name as it is compared: whatever its case, and with spaces as RELION's files write them."""
    return " ".join(name.replace("_", " ").split()).casefold()


def insert_species(session: Session, names: Iterable[str]) -> tuple[Delta, dict[str, int]] | None:
    """Insert species that are not there yet, with placeholders; None where all are.

    Returns
    -------
    delta : Delta
    numbers : mapping of name to placeholder (-1, -2, ...)
    """
    known = {plain(one.name) for one in session.species.values()}
    by_plain = {plain(name): name for name in reversed(list(dict.fromkeys(names))) if plain(name)}
    new = [name for key, name in reversed(by_plain.items()) if key not in known]
    if not new:
        return None
    first = len(session.species)
    columns = {
        "name": np.array(new),
        "colour": np.array([next_colour(first + k) for k in range(len(new))]),
        "key": np.array([""] * len(new)),
        "diameter_A": np.full(len(new), np.nan),
    }
    ids = -np.arange(1, len(new) + 1, dtype=np.int64)
    return Delta(Table.SPECIES, Kind.INSERT, ids, {}, columns), dict(zip(new, ids.tolist(), strict=True))


def add(session: Session, name: str, *, colour: str = "", key: str = "", diameter_A: float | None = None) -> Result:
    """Make a species. Its number is the result's ``new_id``.

    Parameters
    ----------
    name : str
    colour : str
        ``#RRGGBB``; empty = the next of a palette that colour-blind people tell apart.
    key : str
    diameter_A : float, optional
        Angstrom; None = the project's.

    Raises
    ------
    Refused
        It has no name, or one that is there, or a colour or diameter that is none.
    """

    def build() -> Change:
        new = Species(-1, _name(session, name), colour or next_colour(len(session.species)), key.strip(), diameter_A)
        _refuse_nonsense(session, new)
        delta = Delta(Table.SPECIES, Kind.INSERT, np.array([-1], np.int64), {}, columns_of(new))
        return Change("species", f"add species {new.name}", (delta,))

    return session.insert_built(build)


def change(session: Session, number: int, **values: Any) -> Outcome:
    """Change a species' ``name``, ``colour``, ``key`` or ``diameter_A`` (None = the project's).

    Raises
    ------
    Refused
        There is no such species, or a value makes no sense.
    """

    def build() -> Change | None:
        old = _there(session, number)
        given = {"name": old.name, "colour": old.colour, "key": old.key, "diameter_A": old.diameter_A, **values}
        given["name"] = _name(session, str(given["name"]), number)
        new = Species(number, **given)
        if new == old:
            return None
        _refuse_nonsense(session, new)
        before, after = columns_of(old), columns_of(new)
        delta = Delta(Table.SPECIES, Kind.UPDATE, np.array([number], np.int64), before, after)
        return Change("species", _change_title(old, new), (delta,))

    return session.edit(build)


def _change_title(old: Species, new: Species) -> str:
    if new.diameter_A != old.diameter_A:
        size = "as the project" if new.diameter_A is None else f"{new.diameter_A:.4g} Å"
        return f"diameter of {new.name}: {size}"
    return f"rename species {old.name} to {new.name}" if new.name != old.name else f"change species {new.name}"


def remove(session: Session, number: int) -> Outcome:
    """Take a species away; its picks stay, and are of none. Raises Refused where there is none."""
    gone = _there(session, number)

    def build(store: Store, connection: Connection) -> Change:
        picks = store.read(connection, Which(species=(number,), removed=True))
        deltas = [_given(picks, NO_SPECIES)] if len(picks) else []
        deltas.append(Delta(Table.SPECIES, Kind.DELETE, np.array([number], np.int64), columns_of(gone), {}))
        title = f"remove species {gone.name}" + (f" from {edits.count_of(len(picks))}" if len(picks) else "")
        return Change("species", title, tuple(deltas))

    at_most = session.store.count(Which(species=(number,), removed=True))
    return session.commit(Step(build, at_most, f"removing species {gone.name}"))


def give(session: Session, ids: ArrayLike, number: int) -> Outcome:
    """Say of which species picks of the current micrograph are; 0 = of none."""
    chosen = np.unique(np.atleast_1d(np.asarray(ids, np.int64)))
    return give_where(session, Which(ids=tuple(chosen.tolist())), number)


def give_where(session: Session, which: Which, number: int) -> Outcome:
    """Say of which species all the picks that are meant are, as one step; 0 = of none. Raises Refused."""
    if number != NO_SPECIES:
        _there(session, number)
    name = named(session, number)

    def build(store: Store, connection: Connection) -> Change | None:
        picks = store.read(connection, which)
        picks = picks.take(picks.species != number)
        if not len(picks):
            return None
        on = np.unique(picks.micrograph)
        one = int(on[0]) if len(on) == 1 else None
        where = "in the project" if one is None else f"on {session.micrograph(one).name}"
        title = f"{edits.count_of(len(picks))} {'is' if len(picks) == 1 else 'are'} {name} {where}"
        return Change("species-of", title, (_given(picks, number),), one)

    at_most = None if which.ids is None else len(which.ids)
    return session.commit(Step(build, at_most, f"picks become {name}", f"they are {name} already"))


def _given(picks: Particles, number: int) -> Delta:
    after = {"species": np.array([number], np.int32)}
    return Delta(Table.PARTICLE, Kind.UPDATE, picks.id, {"species": picks.species}, after, picks.micrograph)


def scale_diameters(session: Session, ids: ArrayLike, factor: float) -> Outcome:
    """Make picks of the current micrograph smaller or larger than their kind, each by a factor.

    Raises
    ------
    Refused
        A diameter would make no sense.
    """
    chosen = np.unique(np.atleast_1d(np.asarray(ids, np.int64)))
    micrograph = session.current_id

    def build(store: Store, connection: Connection) -> Change | None:
        picks = store.read(connection, Which(ids=tuple(chosen.tolist())))
        if not len(picks):
            return None
        new = session.diameters_A(picks) * factor
        for value in (float(new.min()), float(new.max())):
            refuse_diameter(value)
        before, after = {"diameter_A": picks.diameter_A}, {"diameter_A": new}
        delta = Delta(Table.PARTICLE, Kind.UPDATE, picks.id, before, after, picks.micrograph)
        size = f"{new[0]:.4g} Å" if np.ptp(new) < 0.05 else f"{new.min():.4g} to {new.max():.4g} Å"
        return Change("diameter", f"diameter of {edits.count_of(len(picks))}: {size}", (delta,), micrograph)

    return session.commit(Step(build, len(chosen), "changing diameters"))


def set_new_diameter(session: Session, diameter_A: float) -> None:
    """Set the diameter of the current species; the project's where none is current. Raises Refused."""
    number = session.loaded.current_species
    if number == NO_SPECIES:
        session.set_diameter(diameter_A)
    else:
        change(session, number, diameter_A=float(diameter_A))


def count(session: Session) -> dict[int, tuple[int, int, int]]:
    """Accepted, undecided and rejected picks of each species and of none, over the project."""
    numbers = [NO_SPECIES, *session.species]
    questions = [Which(decisions=(d,), species=(number,)) for number in numbers for d in _ORDER]
    counts = session.store.counts(*questions)
    return {number: counts[3 * k : 3 * k + 3] for k, number in enumerate(numbers)}  # type: ignore[misc]


_ORDER = (Decision.ACCEPTED, Decision.UNDECIDED, Decision.REJECTED)


def new_id(result: Result) -> int:
    """The number of the species that was made."""
    assert isinstance(result, Done)
    return result.new_id


def _there(session: Session, number: int) -> Species:
    if number not in session.species:
        raise Refused(f"there is no species number {number}")
    return session.species[number]


def _name(session: Session, name: str, own: int = -1) -> str:
    """A name without needless spaces. Raises Refused where it is empty or another species has it."""
    text = " ".join(name.split())
    if not text:
        raise Refused("a species needs a name")
    if plain(text) in ("none", NONE):
        raise Refused(f"“{text}” is what picks without a species are called; choose another name")
    if any(plain(one.name) == plain(text) and one.id != own for one in session.species.values()):
        raise Refused(f"there is a species {text} already")
    return text


def _refuse_nonsense(session: Session, new: Species) -> None:
    if not is_colour(new.colour):
        raise Refused(f"a colour is written as #RRGGBB, and not {new.colour!r}")
    if new.diameter_A is not None:
        refuse_diameter(new.diameter_A)
    taken = [one.name for one in session.species.values() if one.key and one.key == new.key and one.id != new.id]
    if taken:
        raise Refused(f"the key {new.key} is that of {taken[0]}")


def columns_of(one: Species) -> dict[str, NDArray[Any]]:
    """A species as columns (1,) of a delta."""
    return {
        "name": np.array([one.name]),
        "colour": np.array([one.colour]),
        "key": np.array([one.key]),
        "diameter_A": np.array([math.nan if one.diameter_A is None else one.diameter_A]),
    }
