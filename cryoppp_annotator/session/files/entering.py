"""An import enters the project as one step."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, Refused
from ...formats import relion_project
from ...jobs.memory import give_back
from ...model.context import JobContext
from ...model.coordinates import SourceFrame
from ...model.curation import Change, Decision, Delta, Reason
from ...model.file_note import NoteKind, without
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.pick_set import PickSet
from ...model.pickfile import SPECIES_COLUMN, FilePicks
from ...model.region import Region, pack_vertices
from ...model.species import NO_SPECIES
from ...store.row_arrays import CHUNK
from ...store.store import Connection, Store
from ..core import edits, own_paths
from ..core import species as kinds
from ..core.session import Session
from ..core.step import Done, Queued, Result, Step
from ..regions.region_rows import insertion
from .import_plan import ImportPlan

_QUIET = JobContext()


def enter(
    session: Session,
    plan: ImportPlan,
    *,
    decision: Decision | None = None,
    again: bool = False,
    name: str | None = None,
    species: str = "",
    then: Callable[[str | None], object] = lambda line: None,
    context: JobContext = _QUIET,
) -> str:
    """Enter an import as one step that can be undone. Returns the line for the status bar.

    A window's many picks are entered in the background (:meth:`Session.commit`).

    Parameters
    ----------
    decision : Decision, optional
        Given to picks about which the file says nothing; undecided by default.
    again : bool
        Also when the same file was imported before.
    name : str, optional
        What the pick set is called; the file's name by default.
    species : str
        Of which species the picks are that do not say it themselves; made where there is none of that name.
    then : callable, optional
        Gets that line when the picks are there, now or later; None where they could not be written.
    context : JobContext, optional
        Of whoever waits for it; where they are entered in the background they have one of their own.

    Raises
    ------
    Refused
        It was imported before, or its frame contradicts the image.
    FormatError
        None of its micrographs can be read, so that their height is not known.
    """
    identity = _checked_identity(session, plan, again)

    def build(_store: Store, _connection: Connection) -> Change:
        rows = _rows(session, plan, decision or Decision.UNDECIDED)
        return _change(session, plan, rows, identity, name, species)

    return _commit(session, plan, build, plan.n_picks, then, context)


def enter_and_let_go(
    session: Session,
    plans: list[ImportPlan],
    number: int,
    *,
    decision: Decision | None = None,
    species: str = "",
    context: JobContext = _QUIET,
) -> str:
    """Enter ``plans[number]`` as :func:`enter` does, with less memory.

    The picks are laid out in columns first, and the plan in the list is then replaced by one without them: of millions
    of picks there is one copy while they are written, not two. Parameters and errors as in :func:`enter`.
    """
    plan = plans[number]
    identity = _checked_identity(session, plan, False)
    rows, n = _rows(session, plan, decision or Decision.UNDECIDED), plan.n_picks
    plans[number] = plan = plan.without_picks()
    give_back()

    def build(_store: Store, _connection: Connection) -> Change:
        return _change(session, plan, rows, identity, None, species)

    return _commit(session, plan, build, n, lambda line: None, context)


def _checked_identity(session: Session, plan: ImportPlan, again: bool) -> str:
    """What tells this import from any other. Raises what :func:`enter` raises where it cannot be entered."""
    if plan.contradiction:
        raise Refused(plan.contradiction)
    identity = _identity(plan)
    if not again and any(_is_same(plan, identity, s) for s in session.pick_sets.values()):
        raise Refused(
            f"{plan.file.path.name} was imported before; undo that import first, or import it again on purpose"
        )
    if not plan.placeable:
        first = plan.matched[0][0]
        raise FormatError(
            f"counts y from the last row, and {first.name} cannot be read ({first.problem})", plan.file.path
        )
    return identity


def _commit(
    session: Session,
    plan: ImportPlan,
    build: Callable[[Store, Connection], Change],
    n: int,
    then: Callable[[str | None], object],
    context: JobContext,
) -> str:
    step = Step(build, n, f"importing {edits.count_of(n)}", between=_told_of_pieces(n, context))
    outcome = session.commit(step, lambda result: then(_entered(session, plan, result)))
    line = None if isinstance(outcome, Queued) else _entered(session, plan, outcome)
    return line or f"{step.title} …"


def _told_of_pieces(n: int, context: JobContext) -> Callable[[], None]:
    """What is called before each piece of ``n`` rows that is written, and says how many there were before it."""
    pieces = itertools.count()

    def between() -> None:
        done = min(n, next(pieces) * CHUNK)
        context.progress(done, n, f"writing {done:,}/{n:,} picks")

    return between


def _entered(session: Session, plan: ImportPlan, result: Result) -> str | None:
    """What was imported, for the status bar; None where it was not."""
    if not isinstance(result, Done):
        return None
    named = [p.source.absolute() for _, p in plan.matched if p.source is not None]
    own_paths.allow_named(session, [*named, *(path.absolute() for path in plan.file.companions)])
    lines = [result.committed.change.done, plan.frame_message()]
    n_unplaced = len(plan.matched) - len(plan.placeable)
    if n_unplaced:
        lines.append(f"left out on {edits.count_of(n_unplaced, 'micrograph')} that cannot be read")
    lines += [*pixel_size_notes(session, plan), *without(plan.assumptions, NoteKind.PIXEL_SIZE)]
    if plan.unmatched:
        lines.append(f"{len(plan.unmatched)} names match no micrograph ({', '.join(plan.unmatched[:2])} ...)")
    if plan.ambiguous:
        lines.append(f"{len(plan.ambiguous)} names are ambiguous ({', '.join(list(plan.ambiguous)[:2])} ...)")
    if plan.file.issues:
        lines.append(f"{edits.count_of(len(plan.file.issues), 'bad row')} left out")
    return " · ".join(lines)


def pixel_size_notes(session: Session, plan: ImportPlan) -> list[str]:
    """What the file's pixel size says against the project's, as clauses; empty where there is nothing to say.

    The file was made on images of another pixel size where the two differ: its positions are off by that factor.
    """
    micrograph, picks = plan.matched[0]
    own, doubt = session.pixel_size_A(micrograph), session.settings.pixel_size_doubt(micrograph)
    stated, in_file = plan.file.known_pixel_size_A(picks), plan.file.pixel_size_doubt
    if doubt and stated is None:
        return [f"pixel size in doubt: {doubt}; in {plan.file.path.name}, {in_file}"] if in_file else []
    if doubt:
        return [f"{doubt}; {plan.file.path.name} says {stated:.4g} Å/px: set it (--pixel-size {stated:.4g}) if it is"]
    value = stated or plan.file.pixel_size_A
    if value is None or abs(value / own - 1.0) < 0.02:
        return []
    why = "" if stated is not None else f" ({in_file})"
    return [f"check the pixel size: the file says {value:.4g} Å/px, the project {own:.4g}{why}"]


def _is_same(plan: ImportPlan, identity: str, pick_set: PickSet) -> bool:
    """Whether a pick set came of the same positions on the same micrographs; old projects keep the positions only."""
    micrographs = _micrographs_digest(plan)
    kept = pick_set.parameters
    return kept.get("identity") == identity and kept.get("micrographs_digest", micrographs) == micrographs


def _micrographs_digest(plan: ImportPlan) -> str:
    names = "\0".join(micrograph.name for micrograph, _ in plan.matched)
    return hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _identity(plan: ImportPlan) -> str:
    digest = hashlib.sha256(str(plan.file.format).encode())
    for _, picks in plan.matched:
        digest.update(picks.x.tobytes())
        digest.update(picks.y.tobytes())
        for region in picks.regions:
            digest.update(region.reason.label.encode())
            digest.update(region.vertices.tobytes())
    return digest.hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class _Rows:
    """The picks of an import, one micrograph after the other.

    Attributes
    ----------
    columns : dict of name to (n,) or (1,) array
        As :func:`_columns` makes them.
    species_names : tuple of str
        Each species as the file writes it; an empty one stands for none.
    species : (n,) or (1,) int32
        Which of these names each pick has.
    """

    columns: dict[str, NDArray[Any]]
    species_names: tuple[str, ...]
    species: NDArray[np.int32]


def _rows(session: Session, plan: ImportPlan, decision: Decision) -> _Rows:
    parts = [picks for _, picks in plan.placeable]
    names, species = _species_said(parts)
    return _Rows(_columns(session, plan.placeable, plan.frame, decision), names, species)


def _change(
    session: Session, plan: ImportPlan, rows: _Rows, identity: str, name: str | None = None, species: str = ""
) -> Change:
    placed, joined = plan.placeable, dict(rows.columns)
    deltas: list[Delta] = []
    made, joined["species"] = _species(session, rows, " ".join((species or plan.species).split()))
    deltas += [] if made is None else [made]
    diameter = _common_diameter(joined["diameter_A"])
    if diameter is not None and not joined["species"].any():
        if not session.settings.diameter_is_set:
            deltas.append(edits.setting_delta("diameter_A", session.settings.values.get("diameter_A"), diameter))
            joined["diameter_A"] = np.full_like(joined["diameter_A"], np.nan)
        elif np.isclose(diameter, session.diameter_A, rtol=1e-9):
            joined["diameter_A"] = np.full_like(joined["diameter_A"], np.nan)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    frame = {
        **asdict(plan.frame),
        "verdict": plan.verdict.orientation,
        "verdict_anchor": plan.verdict.anchor,
        "verdict_scale": plan.verdict.scale,
        "margin_se": plan.verdict.margin_se,
        "reason": plan.verdict.reason,
    }
    files = dict.fromkeys(str(p.source.absolute()) for _, p in plan.matched if p.source is not None)
    parameters = {
        "identity": identity,
        "micrographs_digest": _micrographs_digest(plan),
        "format": plan.file.format,
        "files": list(files),
        "unmatched": list(plan.unmatched[:100]),
        **_one_kind(joined["species"]),
        **_kept_of_file(plan),
    }
    file_name = plan.file.path.name or str(plan.file.path)
    deltas.append(
        edits.new_pick_set(
            "import",
            name or file_name,
            session.curator,
            source=str(plan.file.path),
            frame=frame,
            parameters=parameters,
            created=now,
        )
    )
    joined["pick_set"] = np.array([-1], np.int64)
    joined["species"] = _once(joined["species"])
    outlines = _new_regions(session, placed, plan.frame)
    deltas += [insertion(session, outlines)] if outlines else []
    deltas.append(edits.insert_particles(joined, len(joined["x"])))
    on = {m.id for m, _ in placed}
    only_micrograph = placed[0][0].id if len(on) == 1 else None
    where = f"on {edits.count_of(len(on), 'micrograph')}"
    beside = f" and {edits.count_of(len(outlines), 'region')}" if outlines else ""
    return Message("import", f"{edits.count_of(len(joined['x']))}{beside}", f"from {file_name}", where).change(
        "import", deltas, only_micrograph
    )


def _new_regions(session: Session, placed: Sequence[tuple[Micrograph, FilePicks]], frame: SourceFrame) -> list[Region]:
    """The regions that come with the picks, but for those that are there already."""
    coming = [region for m, picks in placed if picks.regions for region in picks.regions_on(m, frame)]
    touched = {region.micrograph for region in coming}
    here = {_is_of(region) for number in touched for region in session.store.regions(number)}
    return [region for region in coming if _is_of(region) not in here]


def _is_of(region: Region) -> tuple[int, int, str]:
    return region.micrograph, int(region.reason), pack_vertices(region.vertices)


def _species_said(parts: Sequence[FilePicks]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The species that files name, and which of them each pick is of: (n,) int32, (1,) where it is one for all."""
    numbers: dict[str, int] = {}
    said = [picks.extra[SPECIES_COLUMN].tolist() if SPECIES_COLUMN in picks.extra else [""] for picks in parts]
    for names in said:
        for name in names:
            numbers.setdefault(name, len(numbers))
    if len(numbers) == 1:
        return tuple(numbers), np.zeros(1, np.int32)
    each = [
        np.broadcast_to(np.array([numbers[name] for name in names], np.int32), len(picks))
        for names, picks in zip(said, parts, strict=True)
    ]
    return tuple(numbers), np.concatenate(each)


def _species(session: Session, rows: _Rows, usual: str) -> tuple[Delta | None, NDArray[np.int32]]:
    """The species of each pick (n,) or (1,): what the file says, else ``usual``; and those that are to be made."""
    names = [usual if name in _NO_NAME else name for name in rows.species_names]
    made = kinds.insert_species(session, names)
    numbers = {kinds.plain(one.name): one.id for one in session.species.values()}
    numbers |= {} if made is None else {kinds.plain(name): number for name, number in made[1].items()}
    number_of = np.array([numbers.get(kinds.plain(name), NO_SPECIES) for name in names] or [NO_SPECIES], np.int32)
    return (None if made is None else made[0]), number_of[rows.species]


def _one_kind(species: NDArray[np.int32]) -> dict[str, int]:
    """The species that all picks are of, where it is one that is there already."""
    first = int(species[0]) if len(species) else NO_SPECIES
    return {"species": first} if first > 0 and (species == first).all() else {}


#: What stands where a pick is of no species.
_NO_NAME = frozenset({"", "None", "-999", "<NA>"})


#: Formats whose rows name micrographs as RELION does.
_RELION_FORMATS = ("relion", "relion-particles")


def _kept_of_file(plan: ImportPlan) -> dict[str, Any]:
    """What else goes out again with these picks: optics groups, RELION's names of micrographs, files of a pair."""
    kept: dict[str, Any] = {}
    if plan.file.optics:
        kept["optics"] = {number: dict(group) for number, group in plan.file.optics.items()}
    if plan.suffix:
        kept["suffix"] = plan.suffix
    if plan.file.companions:
        kept["companions"] = [str(path.absolute()) for path in plan.file.companions]
    if plan.file.format in _RELION_FORMATS:
        names = {m.id: p.micrograph for m, p in plan.matched if relion_project.is_written_name(p.micrograph)}
        if names:
            kept["names"] = {str(number): name for number, name in names.items()}
    return kept


def _columns(
    session: Session, placed: Sequence[tuple[Micrograph, FilePicks]], frame: SourceFrame, decision: Decision
) -> dict[str, NDArray[Any]]:
    """Columns (n,) of all picks, one micrograph after the other; (1,) of what is the same of all."""
    parts = [picks for _, picks in placed]
    sizes = [len(picks) for picks in parts]
    x, y = np.empty(sum(sizes)), np.empty(sum(sizes))
    for (micrograph, picks), end in zip(placed, np.cumsum(sizes).tolist(), strict=True):
        rows = slice(end - len(picks), end)
        x[rows], y[rows] = picks.positions(frame, micrograph.height, micrograph.path)
    decided = np.concatenate([np.broadcast_to(np.asarray(picks.decision, np.int8), len(picks)) for picks in parts])
    decided[decided == Decision.UNDECIDED] = decision
    diameters_A = [
        None if picks.diameter_px is None else picks.diameter_px * frame.scale * session.pixel_size_A(micrograph)
        for micrograph, picks in placed
    ]
    return {
        "micrograph": np.repeat(np.array([micrograph.id for micrograph, _ in placed], np.int64), sizes),
        "x": x,
        "y": y,
        "diameter_A": _joined(diameters_A, sizes, np.array([np.nan])),
        "score": _joined([picks.score for picks in parts], sizes, np.array([np.nan])),
        "decision": _once(decided),
        "reason": _once(np.where(decided == Decision.REJECTED, Reason.NOT_A_PARTICLE, Reason.NONE).astype(np.int8)),
        "class_id": _joined([picks.class_id for picks in parts], sizes, np.zeros(1, np.int32)),
        "extra": _extras(parts),
    }


def _joined(parts: Sequence[NDArray[Any] | None], sizes: Sequence[int], nothing: NDArray[Any]) -> NDArray[Any]:
    """A column (n,) of the parts' values, ``nothing`` (1,) where a part has none; (1,) where no part has any."""
    if all(part is None for part in parts):
        return nothing
    whole = [np.broadcast_to(nothing if part is None else part, n) for part, n in zip(parts, sizes, strict=True)]
    return np.concatenate(whole, dtype=nothing.dtype, casting="unsafe")


def _once(column: NDArray[Any]) -> NDArray[Any]:
    """A column whose rows are all alike as one row (1,), which is repeated; any other as it is."""
    return column[:1].copy() if len(column) and (column == column[0]).all() else column


def _extras(parts: Sequence[FilePicks]) -> NDArray[np.bytes_]:
    """As :func:`_extra`, of the picks of all micrographs; (1,) where none has any."""
    if not any(name != SPECIES_COLUMN for picks in parts for name in picks.extra):
        return np.zeros(1, dtype="S1")
    return np.concatenate([_extra(picks) for picks in parts])


def _extra(picks: FilePicks) -> NDArray[np.bytes_]:
    """Uninterpreted columns, one JSON text a row as UTF-8; empty where there are none."""
    names = [name for name in picks.extra if name != SPECIES_COLUMN]
    if not names or not len(picks):
        return np.zeros(len(picks), dtype="S1")
    cells = [picks.extra[name].tolist() for name in names]
    rows = zip(*cells, strict=True)
    return np.array([json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False).encode() for row in rows])


def _common_diameter(diameter_A: NDArray[np.float64]) -> float | None:
    """The one diameter all rows share; None where they differ or none is given."""
    if not len(diameter_A) or np.isnan(diameter_A).any():
        return None
    first = float(diameter_A[0])
    return first if np.allclose(diameter_A, first, rtol=1e-9) else None
