"""A project that an earlier program left opens, and every one of its steps can be undone and redone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from project_tools import check_memory, open_session, state, table

from cryoppp_annotator.model.curation import Reason
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.classes import decide
from cryoppp_annotator.store.store import DATABASE_NAME

DATA = Path(__file__).resolve().parents[1] / "data"


def held(folder: Path) -> dict[str, Any]:
    """All that curators can change, regions too."""
    return {**state(folder), "region": table(folder, "region")}


def test_every_step_of_a_project_of_schema_0002_can_be_undone_and_redone(tmp_path: Path) -> None:
    shutil.copy(DATA / "schema_0002.sqlite", tmp_path / DATABASE_NAME)
    session = open_session(tmp_path)
    session.go(1)
    assert session.diameter_A == 120
    assert [session.pixel_size_A(m) for m in session.micrographs] == [1.25, 0.75, 1.25]
    assert session.settings.bright
    assert session.settings.whole_box_px == 144
    assert [run.name for run in decide.list_runs(session)] == ["two"]
    assert [region.reason for region in regions.of(session, 1)] == [Reason.CARBON]

    def titles(step: Callable[[], str | None]) -> list[str]:
        done = []
        while (title := step()) is not None:
            check_memory(session)
            done.append(title)
        return done

    assert titles(session.redo) == [
        "reject 4 picks as not a particle of class 2",
        "move 4 picks to the centre of class 1",
    ]
    full = held(tmp_path)
    undone = titles(session.undo)
    assert len(undone) == 23
    empty = held(tmp_path)
    assert empty["pick_set"] == empty["particle"] == empty["region"] == empty["setting"] == {}
    assert titles(session.redo) == undone[::-1]
    assert held(tmp_path) == full
    session.close()
