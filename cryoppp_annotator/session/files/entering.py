"""An import enters the project as one step."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, Refused
from ...formats import relion_project
from ...model.coordinates import SourceFrame
from ...model.curation import Change, Decision, Delta, Reason
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.pick_set import PickSet
from ...model.pickfile import SPECIES_COLUMN, FilePicks
from ...model.species import NO_SPECIES
from ...store.store import Connection, Store
from ..core import edits, own_paths
from ..core import species as kinds
from ..core.session import Session
from ..core.step import Done, Queued, Result, Step
from .import_plan import ImportPlan


def enter(
    session: Session,
    plan: ImportPlan,
    *,
    decision: Decision | None = None,
    again: bool = False,
    name: str | None = None,
    species: str = "",
    then: Callable[[str | None], object] = lambda line: None,
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

    Raises
    ------
    Refused
        It was imported before, or its frame contradicts the image.
    FormatError
        None of its micrographs can be read, so that their height is not known.
    """
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

    def build(_store: Store, _connection: Connection) -> Change:
        kind = " ".join((species or plan.species).split())
        return _change(session, plan, decision or Decision.UNDECIDED, identity, name, kind)

    step = Step(build, plan.n_picks, f"importing {edits.count_of(plan.n_picks)}")
    outcome = session.commit(step, lambda result: then(_entered(session, plan, result)))
    line = None if isinstance(outcome, Queued) else _entered(session, plan, outcome)
    return line or f"{step.title} …"


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
    lines += [*pixel_size_notes(session, plan), *(note for note in plan.assumptions if "pixel size" not in note)]
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
    return digest.hexdigest()[:24]


def _change(
    session: Session, plan: ImportPlan, decision: Decision, identity: str, name: str | None = None, species: str = ""
) -> Change:
    placed = plan.placeable
    columns = [_columns(session, m, p, plan.frame, decision) for m, p in placed]
    joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    deltas: list[Delta] = []
    made, joined["species"] = _species(session, [p for _, p in placed], species)
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
    n = len(joined["x"])
    joined["pick_set"] = np.array([-1], np.int64)
    deltas.append(edits.insert_particles(joined, n))
    on = {m.id for m, _ in placed}
    only_micrograph = placed[0][0].id if len(on) == 1 else None
    where = f"on {edits.count_of(len(on), 'micrograph')}"
    return Message("import", edits.count_of(n), f"from {file_name}", where).change("import", deltas, only_micrograph)


def _species(session: Session, placed: Sequence[FilePicks], usual: str) -> tuple[Delta | None, NDArray[np.int32]]:
    """The species of each pick (n,): what the file says, else what a person says; and those that are to be made."""
    names: list[str] = []
    for picks in placed:
        said = picks.extra[SPECIES_COLUMN].tolist() if SPECIES_COLUMN in picks.extra else [""] * len(picks)
        names += [usual if text in _NO_NAME else text for text in said]
    made = kinds.insert_species(session, names)
    numbers = {kinds.plain(one.name): one.id for one in session.species.values()}
    numbers |= {} if made is None else {kinds.plain(name): number for name, number in made[1].items()}
    column = np.array([numbers.get(kinds.plain(name), NO_SPECIES) for name in names], np.int32)
    return (None if made is None else made[0]), column


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
    session: Session, micrograph: Micrograph, picks: FilePicks, frame: SourceFrame, decision: Decision
) -> dict[str, NDArray[Any]]:
    n = len(picks)
    x, y = picks.positions(frame, micrograph.height, micrograph.path)
    pixel = session.pixel_size_A(micrograph)
    nothing = np.full(n, np.nan)
    diameter = nothing if picks.diameter_px is None else picks.diameter_px * frame.scale * pixel
    decided = np.array(np.broadcast_to(np.asarray(picks.decision, np.int8), (n,)))
    decided[decided == Decision.UNDECIDED] = decision
    rejected = decided == Decision.REJECTED
    return {
        "micrograph": np.full(n, micrograph.id, np.int64),
        "x": x,
        "y": y,
        "diameter_A": np.asarray(diameter, np.float64),
        "score": nothing if picks.score is None else np.asarray(picks.score, np.float64),
        "decision": decided,
        "reason": np.where(rejected, Reason.NOT_A_PARTICLE, Reason.NONE).astype(np.int8),
        "class_id": np.zeros(n, np.int32) if picks.class_id is None else np.asarray(picks.class_id, np.int32),
        "extra": _extra(picks),
    }


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
