"""A project that an earlier program left opens, and every one of its steps can be undone and redone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project_tools import check_memory, open_session, state, table

from cryoppp_annotator.model.curation import Reason
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.classes import decide
from cryoppp_annotator.store.store import DATABASE_NAME

DATA = Path(__file__).resolve().parents[1] / "data"


def held(folder: Path) -> dict[str, Any]:
    """All that curators can change, regions too."""
    return {**state(folder), "region": table(folder, "region")}


@pytest.mark.parametrize(("schema", "n_steps", "n_first", "n_second"), [("0002", 23, 4, 4), ("0003", 29, 5, 4)])
def test_every_step_of_an_old_project_can_be_undone_and_redone(
    tmp_path: Path, schema: str, n_steps: int, n_first: int, n_second: int
) -> None:
    shutil.copy(DATA / f"schema_{schema}.sqlite", tmp_path / DATABASE_NAME)
    session = open_session(tmp_path)
    session.go(1)
    assert session.diameter_A == 120
    assert [session.pixel_size_A(m) for m in session.micrographs] == [1.25, 0.75, 1.25]
    assert session.settings.bright
    assert session.settings.whole_box_px == 144
    kinds = {one.name: (one.colour, one.diameter_A) for one in session.species.values()}
    assert kinds == (
        {} if schema == "0002" else {"70S": ("#123456", None), "proteasome": (kinds["proteasome"][0], 200)}
    )
    assert [run.name for run in decide.list_runs(session)] == ["two"]
    assert [region.reason for region in regions.of(session, 1)] == [Reason.CARBON]

    def titles(step: Callable[[], str | None]) -> list[str]:
        done = []
        while (title := step()) is not None:
            check_memory(session)
            done.append(title)
        return done

    assert titles(session.redo) == [
        f"reject {n_second} picks as not a particle of class 2",
        f"move {n_first} picks to the centre of class 1",
    ]
    full = held(tmp_path)
    undone = titles(session.undo)
    assert len(undone) == n_steps
    empty = held(tmp_path)
    assert session.species == {}
    assert empty["pick_set"] == empty["particle"] == empty["region"] == empty["setting"] == {}
    assert titles(session.redo) == undone[::-1]
    assert held(tmp_path) == full
    session.close()
