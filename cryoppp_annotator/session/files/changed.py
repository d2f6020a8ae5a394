"""What becomes of the picks of a micrograph whose file was replaced: scaled, kept, or begun again. One step each.

A micrograph is found to be *changed* by :mod:`..core.watch`; each of these verbs says that its file is the right one
from now on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Refused
from ...model.curation import Change, Delta, Kind, Table
from ...model.micrograph import Micrograph, MicrographState
from ...model.region import pack_vertices
from ...store import whole
from ...store.store import Connection, Store
from ..core import edits, watch
from ..core.session import Session
from ..core.step import Outcome, Step

#: Sides or pixel sizes whose ratios differ by less are of one scale.
_ALIKE = 0.02


@dataclass(frozen=True, slots=True)
class Scale:
    """By how much positions are multiplied, and where that comes from.

    Attributes
    ----------
    factor : float or None
        New px per old px; None where it is not known.
    why : str
        What it was taken from, or why it is not known.
    """

    factor: float | None
    why: str


def suggested_scale(session: Session, micrograph: Micrograph) -> Scale:
    """By how much the image was scaled, as its sides and pixel sizes say.

    The sides count: a factor is suggested where both changed alike. Where they did not change, the picks stay where
    they are, whatever the pixel size says (that alone is a header that was mended).
    """
    was = watch.was_of(session).get(micrograph.id)
    if was is None or not was["width"] or not was["height"]:
        return Scale(None, "the size that it had is not known")
    across, down = micrograph.width / was["width"], micrograph.height / was["height"]
    if abs(across / down - 1.0) > _ALIKE:
        return Scale(None, f"its sides changed by {across:.3g} and {down:.3g}: it was cut or turned, not scaled")
    sizes = f"it had {was['width']} x {was['height']} px, now {micrograph.width} x {micrograph.height}"
    old, new = was["header_pixel_size_A"], micrograph.header_pixel_size_A
    if old and new and abs(old / new / across - 1.0) > _ALIKE:
        sizes += f"; but the pixel size went from {old:.4g} to {new:.4g} Å"
    return Scale(round(across, 6), sizes)


def rescale(session: Session, micrographs: Iterable[int], factor: float | None = None) -> Outcome:
    """Let picks and regions follow an image that was scaled.

    Parameters
    ----------
    micrographs : iterable of int
        Ids of changed micrographs.
    factor : float, optional
        New px per old px (0.5 where it was binned twice); None = each as its sides say.

    Raises
    ------
    Refused
        One of them is not changed, or its scale is not known.
    """
    if factor is not None and not 0.01 <= factor <= 100:
        raise Refused(f"a factor of {factor:g} makes no sense (0.01 to 100)")
    chosen = _chosen(session, micrographs)
    factors = {m.id: _factor(session, m, factor) for m in chosen}

    def deltas(connection: Connection, m: Micrograph) -> list[Delta]:
        return _moved(connection, m, factors[m.id])

    def accepted(m: Micrograph) -> Micrograph:
        return _with_pixel_size(session, m, factors[m.id])

    text = ", ".join(f"{f:g}" for f in sorted(set(factors.values())))
    return _settle(session, chosen, deltas, accepted, f"scale the picks of {{}} by {text}")


def rescale_to(session: Session, micrographs: Iterable[int], pixel_size_A: float) -> Outcome:
    """As :func:`rescale`, by the pixel size that the new images have: positions in angstrom stay.

    Raises
    ------
    Refused
        It makes no sense, one is not changed, or the pixel size that it had is not known.
    """
    if not 0.01 <= pixel_size_A <= 100:
        raise Refused(f"a pixel size of {pixel_size_A:g} Å makes no sense (0.01 to 100)")
    chosen = _chosen(session, micrographs)
    was = watch.was_of(session)
    old = {m.id: _pixel_size_it_had(session, m, was[m.id]) for m in chosen}
    if unknown := [m.name for m in chosen if not old[m.id]]:
        raise Refused(f"it is not known which pixel size {watch.named(unknown)} had; say a factor")
    factors = {i: size / pixel_size_A for i, size in old.items() if size}

    def deltas(connection: Connection, m: Micrograph) -> list[Delta]:
        return _moved(connection, m, factors[m.id])

    def accepted(m: Micrograph) -> Micrograph:
        return replace(m, own_pixel_size_A=float(pixel_size_A))

    return _settle(session, chosen, deltas, accepted, f"scale the picks of {{}} to {pixel_size_A:g} Å/px")


def keep(session: Session, micrographs: Iterable[int]) -> Outcome:
    """Leave picks and regions where they are: the image is the same in another form. Raises Refused."""
    chosen = _chosen(session, micrographs)
    return _settle(session, chosen, lambda *_: [], lambda m: m, "keep the picks of {} on the changed image")


def start_anew(session: Session, micrographs: Iterable[int]) -> Outcome:
    """Take picks and regions away and begin again: another image has that name now. Raises Refused."""
    chosen = _chosen(session, micrographs)

    def accepted(m: Micrograph) -> Micrograph:
        return replace(m, state=MicrographState.UNSEEN, state_by="", picture="", optics="", own_pixel_size_A=None)

    return _settle(session, chosen, removed_rows, accepted, "start {} anew")


# ---------------------------------------------------------------------- inside


def _chosen(session: Session, micrographs: Iterable[int]) -> list[Micrograph]:
    chosen = [session.micrograph(number) for number in dict.fromkeys(micrographs)]
    if not chosen:
        raise Refused("no micrograph has changed since it was picked")
    if same := [m.name for m in chosen if not m.changed]:
        raise Refused(f"{watch.named(same)} has not changed since it was picked")
    return chosen


def _factor(session: Session, m: Micrograph, factor: float | None) -> float:
    if factor is not None:
        return factor
    scale = suggested_scale(session, m)
    if scale.factor is None:
        raise Refused(f"{m.name}: by how much it was scaled is not known ({scale.why}); say it")
    return scale.factor


def _pixel_size_it_had(session: Session, m: Micrograph, was: Mapping[str, Any]) -> float | None:
    for value in (m.own_pixel_size_A, session.settings.pixel_size_A, was["header_pixel_size_A"]):
        if value is not None and value > 0:
            return float(value)
    return None


def _with_pixel_size(session: Session, m: Micrograph, factor: float) -> Micrograph:
    """The micrograph with the pixel size that its scale implies, where the header or the project say another."""
    was = watch.was_of(session)[m.id]
    old = _pixel_size_it_had(session, m, was)
    if not old:
        return m
    expected = old / factor
    bare = replace(m, own_pixel_size_A=None)
    if abs(session.pixel_size_A(bare) / expected - 1.0) <= _ALIKE:
        return bare
    return replace(m, own_pixel_size_A=float(f"{expected:.6g}"))


def _moved(connection: Connection, m: Micrograph, factor: float) -> list[Delta]:
    """Picks and regions with positions multiplied; pixel 0 stays where it is, as binning in Fourier space has it."""
    picks = whole.particles_of(connection, m.id)
    out = []
    if len(picks["id"]) and factor != 1.0:
        before = {"x": picks["x"], "y": picks["y"]}
        after = {"x": picks["x"] * factor, "y": picks["y"] * factor}
        out.append(Delta(Table.PARTICLE, Kind.UPDATE, picks["id"], before, after, picks["micrograph"]))
    areas = whole.regions_of(connection, m.id)
    if len(areas["id"]) and factor != 1.0:
        scaled = [pack_vertices(np.asarray(json.loads(text)) * factor) for text in areas["vertices"].tolist()]
        out.append(
            Delta(
                Table.REGION,
                Kind.UPDATE,
                areas["id"],
                {"vertices": areas["vertices"]},
                {"vertices": np.array(scaled)},
                areas["micrograph"],
            )
        )
    return out


def removed_rows(connection: Connection, m: Micrograph) -> list[Delta]:
    """All picks (with their imported columns) and regions of a micrograph deleted."""
    out = []
    picks = whole.particles_of(connection, m.id)
    if len(picks["id"]):
        rest = {name: column for name, column in picks.items() if name != "id"}
        out.append(Delta(Table.PARTICLE, Kind.DELETE, picks["id"], rest, {}, picks["micrograph"]))
    areas = whole.regions_of(connection, m.id)
    if len(areas["id"]):
        rest = {name: column for name, column in areas.items() if name != "id"}
        out.append(Delta(Table.REGION, Kind.DELETE, areas["id"], rest, {}, areas["micrograph"]))
    return out


#: How the first words of titles are said of what has happened.
_DONE = {"scale": "scaled", "keep": "kept", "start": "started"}
#: Columns of a micrograph that a verb of this module may change.
_COLUMNS = ("problem", "state", "state_by", "own_pixel_size_A", "picture", "optics")


def _settle(
    session: Session,
    chosen: Sequence[Micrograph],
    deltas_of: Callable[[Connection, Micrograph], list[Delta]],
    accepted: Callable[[Micrograph], Micrograph],
    title: str,
) -> Outcome:
    """One step: what becomes of the picks, and that the file is the right one from now on."""
    what = chosen[0].name if len(chosen) == 1 else edits.count_of(len(chosen), "micrograph")
    ids = [m.id for m in chosen]

    def build(_store: Store, connection: Connection) -> Change:
        was = watch.was_of(session)
        here = [session.micrograph(i) for i in ids]
        deltas = [delta for m in here for delta in deltas_of(connection, m)]
        deltas.append(_micrograph_delta(here, [replace(accepted(m), problem="") for m in here]))
        every = {str(i): facts for i, facts in was.items()}
        still = {i: facts for i, facts in every.items() if int(i) not in ids}
        deltas.append(edits.setting_delta(watch.WAS, every or None, still or None))
        verb, _, rest = title.format(what).partition(" ")
        only_micrograph = ids[0] if len(ids) == 1 else None
        return Change("changed", f"{verb} {rest}", tuple(deltas), only_micrograph, f"{_DONE[verb]} {rest}")

    at_most = sum(m.n_particles for m in chosen)
    return session.commit(Step(build, at_most, f"settling {what}"))


def _micrograph_delta(before: Sequence[Micrograph], after: Sequence[Micrograph]) -> Delta:
    def column(of: Sequence[Micrograph], name: str) -> NDArray[Any]:
        values = [getattr(m, name) for m in of]
        if name == "own_pixel_size_A":
            return np.array([np.nan if value is None else value for value in values], np.float64)
        return np.array([str(value) for value in values])

    ids = np.array([m.id for m in before], np.int64)
    return Delta(
        Table.MICROGRAPH,
        Kind.UPDATE,
        ids,
        {name: column(before, name) for name in _COLUMNS},
        {name: column(after, name) for name in _COLUMNS},
    )
