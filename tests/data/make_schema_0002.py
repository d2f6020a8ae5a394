"""Makes ``schema_0002.sqlite``: a small project with one of every step, as the program of schema 0002 left it.

Not run again once schema 0003 exists: ``.venv/bin/python tests/data/make_schema_0002.py``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from project_tools import import_change, new_project, open_session

from cryoppp_annotator.formats.check.lint import Finding, Mend, Severity
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.classes import ClassSummary, summaries_as_json
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.region import Region
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.classes import decide
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import linting
from cryoppp_annotator.session.picks import proposing
from cryoppp_annotator.session.pictures import optics
from cryoppp_annotator.store import classes as classes_table
from cryoppp_annotator.store import schema
from cryoppp_annotator.store.store import DATABASE_NAME

SQUARE = np.array([[1000.0, 1000.0], [1000.0, 1400.0], [1400.0, 1400.0], [1400.0, 1000.0]])


def main() -> None:
    assert schema.HEAD == "0002", "this program no longer writes schema 0002"
    with tempfile.TemporaryDirectory() as scratch:
        session = open_session(new_project(Path(scratch)), "ann")
        _settings(session)
        _picks(session)
        _regions(session)
        _proposals(session)
        _classes(session)
        session.undo()
        session.undo()  # both are to be redone
        session.close()
        shutil.copy(Path(scratch) / DATABASE_NAME, Path(__file__).with_name("schema_0002.sqlite"))


def _settings(session: Session) -> None:
    session.go(1)
    session.set_diameter(120)
    session.set_pixel_size(1.25)
    session.set_pixel_size(0.75, 2)
    session.set_bright(True)
    session.set_whole_box_px(144)
    session.go(2)
    session.go(3)
    session.set_state([3], MicrographState.EMPTY)
    session.go(1)
    optics.set_optics(session, [1, 2], Ctf(Defocus(12000.0, 11800.0, 30.0), Optics(200.0, 2.7, 0.07)))


def _picks(session: Session) -> None:
    on = [1] * 4 + [2] * 3
    x, y = 300.0 * np.arange(1, 8), 250.0 * np.arange(1, 8)
    session.insert(import_change(on, x, y, [0.5, 1.5, float("nan"), 0.1, 0.9, 0.2, 0.3]))
    session.add(400.125, 40)
    session.decide([1], Decision.REJECTED, Reason.CARBON)
    session.move([8], 401, 41)
    session.decide_where(Which(min_score=0.5), Decision.ACCEPTED, what="above score 0.5")
    session.remove([2, 8])
    finding = Finding("near-duplicate", Severity.WARNING, "m1", (0,), "two picks on one particle", Mend.REJECT_OVERLAP)
    linting.mend(session, [linting.ProjectFinding(finding, 2, (7,))])


def _regions(session: Session) -> None:
    drawn = regions.draw(session, SQUARE, Reason.CARBON).new_id
    regions.set_reason(session, [drawn], Reason.ICE)
    regions.reshape(session, drawn, SQUARE + 50.0)
    detected = (Region(Reason.CARBON, SQUARE + 1500.0),)
    regions.enter_found(session, regions.Detected(((1, detected), (2, detected))))
    regions.remove(session, [drawn])


def _proposals(session: Session) -> None:
    for shift, picker in ((0.0, "log"), (2.0, "template")):
        x, y = np.array([2000.0, 2500.0, 3000.0]) + shift, np.array([500.0, 700.0, 900.0])
        candidates = Candidates(x, y, np.array([3.0, 2.0, 1.0]), np.full(3, np.nan))
        proposing.enter(session, proposing.Proposal(picker, 120.0, {"threshold": 1.0}, ((1, candidates),)))


def _classes(session: Session) -> None:
    store = session.store
    picks = store.particles_where(Which())
    n = len(picks)
    record = {
        "kind": "classify",
        "engine": "polar",
        "version": "0.1.0",
        "parameters": {"n_classes": 2, "decisions": [0, 1]},
        "inputs": {"picks": n},
        "counts": {"verdict": ""},
        "seed": 0,
        "curator": "ann",
        "started": "2026-01-01T00:00:00",
        "seconds": 1.0,
    }
    run = classes_table.begin(store, record, head=store.newest(), pixel_size_A=3.0)
    columns = {
        "particle": picks.id,
        "number": np.arange(n) % 2 + 1,
        "posterior": np.linspace(0.5, 1.0, n),
        "shift_x": np.full(n, 1.5),
        "shift_y": np.full(n, -2.0),
        "angle_deg": np.zeros(n),
        "x": picks.x,
        "y": picks.y,
    }
    classes_table.add_members(store, run, columns)
    nan = float("nan")
    summaries = [
        ClassSummary(number, n // 2, 0.5, 12.0, 0.8, 1.0, nan, 0.7, Decision.ACCEPTED, "structure") for number in (1, 2)
    ]
    summary = summaries_as_json(summaries)
    classes_table.publish(
        store, run, name="two", folder="classes/run-0001", summary=summary, title="classify", curator="ann"
    )
    decide.decide_classes(session, run, [2], Decision.REJECTED)
    decide.recentre(session, run, [1])


if __name__ == "__main__":
    main()
