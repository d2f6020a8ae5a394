"""Any sequence of verbs, undo, redo, restart and second windows equals a simple model."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from project_tools import (
    check_memory,
    import_change,
    integrity,
    new_project,
    open_session,
    query,
    replay,
    table,
)

from cryoppp_annotator.errors import ConflictError, Refused
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.coordinates import FloatArray
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.region import REGION_REASONS, Region, unpack_vertices
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.core.settings import DEFAULT_DIAMETER_A
from cryoppp_annotator.session.picks import proposing

pytestmark = pytest.mark.slow

Row = dict[str, Any]
#: table, row id, field ("" = the whole row), value before, value after
Write = tuple[str, Any, str, Any, Any]

N_MICROGRAPHS = 3
#: window -> curator; "second" is another window of ann, who shares her undo.
WINDOWS = {"first": "ann", "second": "ann", "other": "bob"}


@dataclass
class Step:
    number: int
    curator: str
    micrograph: int | None
    writes: list[Write]
    state: str = "applied"

    def rows(self) -> set[tuple[str, Any]]:
        return {(write[0], write[1]) for write in self.writes}


@dataclass
class Model:
    """The project as dictionaries, and every step that was ever made as a list of writes."""

    particle: dict[int, Row] = field(default_factory=dict)
    micrograph: dict[int, Row] = field(default_factory=dict)
    pick_set: dict[int, Row] = field(default_factory=dict)
    setting: dict[str, Row] = field(default_factory=dict)
    region: dict[int, Row] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=lambda: {"particle": 0, "pick_set": 0, "region": 0})

    def new_id(self, name: str) -> int:
        self.ids[name] += 1
        return self.ids[name]

    def do(self, curator: str, micrograph: int | None, writes: list[Write]) -> None:
        if not writes:
            return
        for step in self.steps:
            if step.curator == curator and step.state == "undone":
                step.state = "abandoned"
        self.steps.append(Step(len(self.steps), curator, micrograph, writes))
        for write in writes:
            self._write(write)

    def _write(self, write: Write) -> None:
        name, key, column, before, after = write
        rows = getattr(self, name)
        if column:
            assert rows[key][column] == before
            rows[key][column] = after
        elif after is None:
            assert rows.pop(key) == before
        else:
            assert key not in rows
            rows[key] = dict(after)

    def _fits(self, write: Write) -> bool:
        name, key, column, before, _ = write
        row = getattr(self, name).get(key)
        if column:
            return row is not None and row[column] == before
        return (row is None) == (before is None)

    def revert(self, curator: str, *, redo: bool, passed: Container[int] = ()) -> Step | None:
        """Raises ConflictError as the session must, with the number of the step that stays."""
        expected = [
            s
            for s in self.steps
            if s.curator == curator and s.state == ("undone" if redo else "applied") and s.number not in passed
        ]
        if not expected:
            return None
        step = expected[0] if redo else expected[-1]
        foreign = [
            s
            for s in self.steps[step.number + 1 :]
            if s.state == "applied" and (s.curator != curator or s.number in passed)
        ]
        if any(step.rows() & other.rows() for other in foreign):
            raise ConflictError("somebody else changed the same", step.number)
        writes = step.writes
        if not redo:
            writes = [(name, key, column, after, before) for name, key, column, before, after in reversed(writes)]
        if not all(self._fits(write) for write in writes if write[2]):
            raise ConflictError("not what it was", step.number)
        # A row that the step made is gone, or back, only with another step that was taken back in between.
        there = {(name, key) for name, key, column, _, after in writes if not column and after is not None}
        if not all(self._fits(w) for w in writes if not w[2] and (w[0], w[1]) not in there):
            raise ConflictError("gone", step.number)
        for write in writes:
            self._write(write)
        step.state = "applied" if redo else "undone"
        return step

    def update(self, name: str, key: Any, **values: Any) -> list[Write]:
        row = getattr(self, name)[key]
        return [(name, key, column, row[column], value) for column, value in values.items()]

    def set(self, key: str, value: Any) -> list[Write]:
        row = self.setting.setdefault(key, {"value": None})
        return [] if row["value"] == value else [("setting", key, "value", row["value"], value)]

    def decide(self, ids: list[int], decision: Decision, reason: Reason) -> list[Write]:
        reason = reason if decision is Decision.REJECTED else Reason.NONE
        writes: list[Write] = []
        for i in ids:
            row = self.particle[i]
            if (row["decision"], row["reason"]) != (decision, reason):
                writes += self.update("particle", i, decision=int(decision), reason=int(reason))
        return writes


coordinate = st.integers(0, 8).map(lambda k: k * 25.0) | st.floats(-1e4, 1e4, width=32)
score = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.5, math.inf, math.nan])
window = st.sampled_from([*WINDOWS, "first", "first"])
decision = st.sampled_from(list(Decision))
reason = st.sampled_from(list(Reason))
picks = st.lists(st.integers(0, 30), max_size=5)
place = st.integers(0, 3)
region_reason = st.sampled_from(REGION_REASONS)


def square(place: int) -> FloatArray:
    """One of some regions that share nothing, (4, 2) yx."""
    return 300.0 * place + np.array([(0.0, 0.0), (0.0, 200.0), (200.0, 200.0), (200.0, 0.0)])


class Curation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = new_project(Path(tempfile.mkdtemp(prefix="machine-")), N_MICROGRAPHS)
        self.model = Model()
        for i in range(1, N_MICROGRAPHS + 1):
            self.model.micrograph[i] = {"state": "unseen", "state_by": "", "own_pixel_size_A": None}
        self.windows = {name: open_session(self.folder, curator) for name, curator in WINDOWS.items()}
        self.here: dict[str, int] = {}
        self.passed: dict[str, tuple[int, set[int]]] = {}
        self.used: set[int] = set()
        for name in WINDOWS:
            self._show(name, 1)

    def teardown(self) -> None:
        for session in self.windows.values():
            session.close()
        assert integrity(self.folder) == "ok"
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------------ help

    def _show(self, name: str, micrograph: int) -> None:
        self.windows[name].go(micrograph)
        self._arrived(name, micrograph)

    def _arrived(self, name: str, micrograph: int) -> None:
        self.here[name] = micrograph
        row = self.model.micrograph[micrograph]
        if row["state"] == "unseen":
            row.update(state="in progress", state_by=WINDOWS[name])

    def _on(self, name: str) -> list[int]:
        return [i for i, row in self.model.particle.items() if row["micrograph"] == self.here[name]]

    def _chosen(self, name: str, numbers: list[int]) -> list[int]:
        """Some of this micrograph's particles; a number past their end is an id that is not here."""
        on = sorted(self._on(name))
        return [on[k] if k < len(on) else 10_000 + k for k in numbers]

    def _pixel_size(self, micrograph: int) -> float:
        for value in (
            self.model.micrograph[micrograph]["own_pixel_size_A"],
            self.model.setting.get("pixel_size_A", {"value": None})["value"],
        ):
            if value is not None:
                return float(value)
        return 1.5

    def _diameter(self) -> float:
        return float(self.model.setting.get("diameter_A", {"value": None})["value"] or DEFAULT_DIAMETER_A)

    def _new_particle(self, micrograph: int, pick_set: int, x: float, y: float, **values: Any) -> Write:
        number = self.model.new_id("particle")
        row = {
            "micrograph": micrograph,
            "pick_set": pick_set,
            "x": x,
            "y": y,
            "diameter_A": None,
            "score": None,
            "decision": 0,
            "reason": 0,
            "class_id": 0,
            "species": 0,
            "extra": None,
            **values,
        }
        return ("particle", number, "", None, row)

    # ------------------------------------------------------------------ verbs

    @rule(name=window, x=coordinate, y=coordinate, anyway=st.booleans())
    def add(self, name: str, x: float, y: float, anyway: bool) -> None:
        session, model, curator, micrograph = self.windows[name], self.model, WINDOWS[name], self.here[name]
        limit = 0.5 * self._diameter() / self._pixel_size(micrograph)
        near = [
            i
            for i in self._on(name)
            if model.particle[i]["decision"] != Decision.REJECTED
            and math.hypot(model.particle[i]["x"] - x, model.particle[i]["y"] - y) < limit
        ]
        if near and not anyway:
            with pytest.raises(Refused):
                session.add(x, y)
            return
        number = session.add(x, y, anyway=anyway).new_id
        assert number not in self.used
        writes: list[Write] = []
        own = [i for i, row in model.pick_set.items() if (row["kind"], row["curator"]) == ("hand", curator)]
        if not own:
            own = [model.new_id("pick_set")]
            writes.append(("pick_set", own[0], "", None, {"kind": "hand", "curator": curator}))
        writes.append(self._new_particle(micrograph, own[0], x, y, decision=int(Decision.ACCEPTED)))
        assert number == writes[-1][1]
        model.do(curator, micrograph, writes)

    @rule(name=window, numbers=picks, x=coordinate, y=coordinate, step=st.sampled_from([0.0, 7.5]))
    def move(self, name: str, numbers: list[int], x: float, y: float, step: float) -> None:
        ids = self._chosen(name, numbers)
        xs, ys = [x + step * k for k in range(len(ids))], [y] * len(ids)
        self.windows[name].move(ids, xs, ys)
        writes: list[Write] = []
        for i, (new_x, new_y) in {i: (a, b) for i, a, b in zip(ids, xs, ys, strict=True)}.items():
            row = self.model.particle.get(i)
            if row is not None and (row["x"], row["y"]) != (new_x, new_y):
                writes += self.model.update("particle", i, x=new_x, y=new_y)
        self.model.do(WINDOWS[name], self.here[name], writes)

    @rule(name=window, numbers=picks, decision=decision, reason=reason)
    def decide(self, name: str, numbers: list[int], decision: Decision, reason: Reason) -> None:
        ids = self._chosen(name, numbers)
        there = sorted(set(ids) & set(self.model.particle))
        writes = self.model.decide(there, decision, reason)
        assert self.windows[name].decide(ids, decision, reason).n == len({w[1] for w in writes})
        self.model.do(WINDOWS[name], self.here[name], writes)

    @rule(
        name=window,
        whole=st.booleans(),
        low=st.none() | st.sampled_from([-1.0, 0.5, 2.0]),
        high=st.none() | st.sampled_from([0.5, 2.0, 5.0]),
        only=st.none() | st.sets(decision, min_size=1),
        decision=decision,
        reason=reason,
    )
    def decide_where(
        self,
        name: str,
        whole: bool,
        low: float | None,
        high: float | None,
        only: set[Decision] | None,
        decision: Decision,
        reason: Reason,
    ) -> None:
        one = None if whole else self.here[name]
        matches = [
            i
            for i, row in sorted(self.model.particle.items())
            if (one is None or row["micrograph"] == one)
            and (low is None or (row["score"] is not None and row["score"] >= low))
            and (high is None or (row["score"] is not None and row["score"] < high))
            and (only is None or Decision(row["decision"]) in only)
        ]
        writes = self.model.decide(matches, decision, reason)
        which = Which(
            micrographs=None if one is None else (one,),
            decisions=None if only is None else tuple(only),
            min_score=low,
            below_score=high,
        )
        n = self.windows[name].decide_where(which, decision, reason, what="by score").n
        assert n == len({w[1] for w in writes})
        self.model.do(WINDOWS[name], one, writes)

    @rule(name=window, numbers=picks)
    def remove(self, name: str, numbers: list[int]) -> None:
        ids = self._chosen(name, numbers)
        there = sorted(set(ids) & set(self.model.particle))
        hand = [i for i in there if self.model.pick_set[self.model.particle[i]["pick_set"]]["kind"] == "hand"]
        writes: list[Write] = [("particle", i, "", dict(self.model.particle[i]), None) for i in hand]
        rest = [i for i in there if i not in hand and self.model.particle[i]["decision"] != Decision.REJECTED]
        writes += self.model.decide(rest, Decision.REJECTED, Reason.NOT_A_PARTICLE)
        assert self.windows[name].remove(ids).n == len({w[1] for w in writes})
        self.model.do(WINDOWS[name], self.here[name], writes)

    @rule(
        name=window,
        where=st.lists(st.integers(1, N_MICROGRAPHS), min_size=1, max_size=4),
        # a micrograph is removed by a verb of its own (session/files/membership.py)
        new=st.sampled_from([s for s in MicrographState if s not in (MicrographState.UNSEEN, MicrographState.REMOVED)]),
    )
    def set_state(self, name: str, where: list[int], new: MicrographState) -> None:
        self.windows[name].set_state(where, new)
        changed = [i for i in dict.fromkeys(where) if self.model.micrograph[i]["state"] != new]
        writes: list[Write] = []
        for i in changed:
            writes += self.model.update("micrograph", i, state=new.value, state_by=WINDOWS[name])
        self.model.do(WINDOWS[name], changed[0] if len(changed) == 1 else None, writes)

    @rule(name=window, value=st.sampled_from([60.0, 150.0, 300.0]))
    def set_diameter(self, name: str, value: float) -> None:
        self.windows[name].set_diameter(value)
        self.model.do(WINDOWS[name], None, self.model.set("diameter_A", value))

    @rule(
        name=window,
        value=st.none() | st.sampled_from([0.75, 2.0]),
        micrograph=st.none() | st.integers(1, N_MICROGRAPHS),
    )
    def set_pixel_size(self, name: str, value: float | None, micrograph: int | None) -> None:
        self.windows[name].set_pixel_size(value, micrograph)
        if micrograph is None:
            writes = self.model.set("pixel_size_A", value)
        elif self.model.micrograph[micrograph]["own_pixel_size_A"] == value:
            writes = []
        else:
            writes = self.model.update("micrograph", micrograph, own_pixel_size_A=value)
        self.model.do(WINDOWS[name], micrograph, writes)

    @rule(
        name=window,
        rows=st.lists(st.tuples(st.integers(1, N_MICROGRAPHS), coordinate, coordinate, score), min_size=1, max_size=6),
    )
    def insert(self, name: str, rows: list[tuple[int, float, float, float]]) -> None:
        curator = WINDOWS[name]
        change = import_change(*zip(*rows, strict=True), curator=curator)  # type: ignore[arg-type]
        committed = self.windows[name].insert(change).committed
        assert committed is not None
        assert not set(committed.change.deltas[1].ids.tolist()) & self.used
        pick_set = self.model.new_id("pick_set")
        writes: list[Write] = [("pick_set", pick_set, "", None, {"kind": "import", "curator": curator})]
        for k, (micrograph, x, y, value) in enumerate(rows):
            known = {"score": None if math.isnan(value) else value, "extra": f'{{"rlnRow": "{k}"}}' if k % 2 else None}
            writes.append(self._new_particle(micrograph, pick_set, x, y, **known))
        self.model.do(curator, change.micrograph, writes)

    @rule(name=window, scores=st.dictionaries(place, score, max_size=4))
    def propose(self, name: str, scores: dict[int, float]) -> None:
        """A picker brings candidates; those of an earlier one make room, or stay and are scored anew."""
        here, diameter = self.here[name], self._diameter() / self._pixel_size(self.here[name])
        sets = {i for i, row in self.model.pick_set.items() if row["kind"] == "picker"}
        on = {i: row for i, row in sorted(self.model.particle.items()) if row["micrograph"] == here}
        stale = {i: row for i, row in on.items() if row["pick_set"] in sets and row["decision"] == 0}

        def distance(k: int, row: Row) -> float:
            return math.hypot(row["x"] - 1000.0 * k, row["y"] - 1000.0 * k)

        same = {k: [i for i, row in stale.items() if distance(k, row) <= 0.1 * diameter] for k in scores}
        if max(map(len, same.values()), default=0) > 1:
            return  # which of two in one place it is does not matter
        at = np.array([1000.0 * k for k in scores])
        values = np.array(list(scores.values()))
        candidates = Candidates(at, at, values, np.full(len(at), 100.0))
        proposal = proposing.Proposal("log", self._diameter(), {}, ((here, candidates),))
        proposing.enter(self.windows[name], proposal)

        unchanged = [row for i, row in on.items() if i not in stale]
        free = [k for k in scores if all(distance(k, row) >= 0.5 * diameter for row in unchanged)]
        kept = {same[k][0]: k for k in free if same[k]}
        fresh = [k for k in free if not same[k]]
        writes: list[Write] = []
        stored = {k: None if math.isnan(value) else value for k, value in scores.items()}
        if len(kept) == len(stale) and not fresh and all(stale[i]["score"] == stored[k] for i, k in kept.items()):
            return  # all as before
        if free:
            pick_set = self.model.new_id("pick_set")
            writes.append(("pick_set", pick_set, "", None, {"kind": "picker", "curator": WINDOWS[name]}))
        for i, k in kept.items():
            writes += self.model.update("particle", i, pick_set=pick_set, score=stored[k])
        writes += [("particle", i, "", dict(row), None) for i, row in stale.items() if i not in kept]
        writes += [self._new_particle(here, pick_set, 1000.0 * k, 1000.0 * k, score=stored[k]) for k in fresh]
        self.model.do(WINDOWS[name], here, writes)

    # ------------------------------------------------------------------ regions: squares, known by their place

    def _regions(self, name: str, numbers: list[int]) -> list[int]:
        on = sorted(i for i, row in self.model.region.items() if row["micrograph"] == self.here[name])
        return [on[k] if k < len(on) else 10_000 + k for k in numbers]

    def _new_region(self, name: str, place: int, reason: Reason, origin: str) -> Write:
        row = {"micrograph": self.here[name], "place": place, "reason": int(reason), "origin": origin}
        return ("region", self.model.new_id("region"), "", None, row)

    @rule(name=window, place=place, reason=region_reason)
    def draw(self, name: str, place: int, reason: Reason) -> None:
        number = regions.draw(self.windows[name], square(place), reason).new_id
        write = self._new_region(name, place, reason, "hand")
        assert number == write[1]
        self.model.do(WINDOWS[name], self.here[name], [write])

    @rule(name=window, numbers=picks)
    def take_away(self, name: str, numbers: list[int]) -> None:
        ids = self._regions(name, numbers)
        there = [
            i for i in sorted(set(ids)) if self.model.region.get(i, {"origin": "dismissed"})["origin"] != "dismissed"
        ]
        assert regions.remove(self.windows[name], ids).n == len(there)
        hand = [i for i in there if self.model.region[i]["origin"] == "hand"]
        writes: list[Write] = [("region", i, "", dict(self.model.region[i]), None) for i in hand]
        for i in there:
            writes += [] if i in hand else self.model.update("region", i, origin="dismissed")
        self.model.do(WINDOWS[name], self.here[name], writes)

    @rule(name=window, numbers=picks, reason=region_reason)
    def call_it(self, name: str, numbers: list[int], reason: Reason) -> None:
        ids = self._regions(name, numbers)
        rows = self.model.region
        there = [i for i in sorted(set(ids)) if i in rows and rows[i]["origin"] != "dismissed"]
        changed = [i for i in there if rows[i]["reason"] != reason]
        assert regions.set_reason(self.windows[name], ids, reason).n == len(changed)
        writes: list[Write] = []
        for i in changed:
            writes += self.model.update("region", i, reason=int(reason), origin="hand")
        self.model.do(WINDOWS[name], self.here[name], writes)

    @rule(name=window, detected=st.lists(place, max_size=3, unique=True))
    def find(self, name: str, detected: list[int]) -> None:
        """The machine brings squares: none where a person dealt with one."""
        here = self.here[name]
        brought = tuple(Region(Reason.ICE, square(k)) for k in detected)
        regions.enter_found(self.windows[name], regions.Detected(((here, brought),)))
        there = {i: row for i, row in sorted(self.model.region.items()) if row["micrograph"] == here}
        persons = {row["place"] for row in there.values() if row["origin"] != "found"}
        machines = {i: row["place"] for i, row in there.items() if row["origin"] == "found"}
        entered = [k for k in detected if k not in persons]
        writes: list[Write] = [
            ("region", i, "", dict(self.model.region[i]), None) for i, k in machines.items() if k not in entered
        ]
        writes += [self._new_region(name, k, Reason.ICE, "found") for k in entered if k not in machines.values()]
        self.model.do(WINDOWS[name], here, writes)

    # ------------------------------------------------------------------ back and forth

    @rule(name=window, redo=st.booleans(), times=st.integers(1, 4))
    def revert(self, name: str, redo: bool, times: int) -> None:
        session, curator = self.windows[name], WINDOWS[name]
        for _ in range(times):
            verb = session.redo if redo else session.undo
            # what stays is passed over until anybody writes anything
            head, passed = self.passed.get(name, (0, set()))
            passed = passed if head == session.store.newest() and not redo else set()
            try:
                step = self.model.revert(curator, redo=redo, passed=passed)
            except ConflictError as conflict:
                with pytest.raises(ConflictError):
                    verb()
                if not redo:
                    self.passed[name] = (session.store.newest(), passed | {conflict.step})
                return
            title = verb()
            assert (title is None) == (step is None)
            if step is None:
                return
            if step.micrograph is not None and step.micrograph != self.here[name]:
                self._arrived(name, step.micrograph)
            self.passed[name] = (session.store.newest(), passed)

    @rule(name=window, micrograph=st.integers(1, N_MICROGRAPHS))
    def go(self, name: str, micrograph: int) -> None:
        self._show(name, micrograph)

    @rule(name=window)
    def restart(self, name: str) -> None:
        self.passed.pop(name, None)
        self.windows[name].close()
        self.windows[name] = open_session(self.folder, WINDOWS[name])
        self._show(name, self.here[name])

    @rule()
    @precondition(lambda self: self.model.steps)
    def restart_all(self) -> None:
        for session in self.windows.values():
            session.close()
        assert not self.folder.joinpath("annotations.sqlite-wal").exists()
        for name, curator in WINDOWS.items():
            self.windows[name] = open_session(self.folder, curator)
            self._show(name, self.here[name])

    # ------------------------------------------------------------------ what must always hold

    @invariant()
    def the_file_is_the_model(self) -> None:
        held = table(self.folder, "particle")
        assert held == {i: {"id": i, **row} for i, row in sorted(self.model.particle.items())}
        for i, row in table(self.folder, "micrograph").items():
            assert {name: row[name] for name in self.model.micrograph[i]} == self.model.micrograph[i]
        sets = {i: {k: row[k] for k in ("kind", "curator")} for i, row in table(self.folder, "pick_set").items()}
        assert sets == self.model.pick_set
        self.used |= set(held)
        marked = {
            i: {
                "micrograph": row["micrograph"],
                "place": round(float(unpack_vertices(row["vertices"]).min()) / 300),
                "reason": row["reason"],
                "origin": row["origin"],
            }
            for i, row in table(self.folder, "region").items()
        }
        assert marked == dict(sorted(self.model.region.items()))

    @invariant()
    def memory_is_the_file(self) -> None:
        for name, session in self.windows.items():
            session.poll()
            assert session.current_id == self.here[name]
            check_memory(session)

    @invariant()
    def the_log_tells_the_particles(self) -> None:
        assert replay(self.folder) == table(self.folder, "particle")

    @invariant()
    def the_log_tells_the_steps(self) -> None:
        held = query(self.folder, "SELECT curator, state FROM change WHERE kind = 'do' ORDER BY id")
        assert [(row["curator"], row["state"]) for row in held] == [(s.curator, s.state) for s in self.model.steps]


class StaleWindows(Curation):
    """The same, but a window looks only when it must: its verbs meet a project that others changed."""

    @invariant()
    def memory_is_the_file(self) -> None:
        pass

    @rule(name=window)
    def reread(self, name: str) -> None:
        session = self.windows[name]
        session.poll()
        assert session.current_id == self.here[name]
        check_memory(session)


Curation.TestCase.settings = settings(stateful_step_count=25)
StaleWindows.TestCase.settings = settings(stateful_step_count=25)
TestCuration = Curation.TestCase
TestStaleWindows = StaleWindows.TestCase
