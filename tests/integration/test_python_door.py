"""A project from Python: tables, decisions as steps, beside another process that has it open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from project_tools import check_memory, import_change, new_project, open_session, query, state

import cryoppp_annotator
from cryoppp_annotator import open_project
from cryoppp_annotator.errors import ProjectError, Refused
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.regions import drawing as regions


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = new_project(tmp_path / "project")
    session = open_session(folder)
    session.set_diameter(120.0)
    session.go(1)
    session.insert(import_change([1, 1, 2], [10, 50.5, 10], [20, 60, 10], [0.1, 0.6, np.nan]))
    session.decide([1], Decision.REJECTED, Reason.OFF_CENTRE)
    regions.draw(session, [[0, 0], [0, 400], [300, 400], [300, 0]], Reason.CARBON)
    session.close()
    return folder


def test_the_tables(project: Path) -> None:
    with open_project(project, read_only=True) as door:
        picks = door.picks()
        assert picks.index.name == "id"
        assert picks.index.tolist() == [1, 2, 3]
        assert picks["micrograph"].tolist() == ["m0", "m0", "m1"]
        assert picks[["x", "y"]].to_numpy().tolist() == [[10, 20], [50.5, 60], [10, 10]]
        assert picks["decision"].tolist() == ["rejected", "undecided", "undecided"]
        assert picks["reason"].tolist() == ["off-centre", "", ""]
        assert picks["diameter_A"].tolist() == [120.0] * 3
        assert picks["score"].isna().tolist() == [False, False, True]
        assert picks["set"].tolist() == ["picks.star"] * 3
        assert len(door.picks("m1")) == len(door.picks(2)) == 1
        assert len(door.picks(decision=["rejected", "accepted"])) == 1
        micrographs = door.micrographs()
        assert micrographs["name"].tolist() == ["m0", "m1", "m2"]
        assert micrographs.loc[1, ["accepted", "undecided", "rejected"]].tolist() == [0, 1, 1]
        assert micrographs["pixel_size_A"].tolist() == [1.5] * 3
        (area,) = door.regions().itertuples()
        assert (area.micrograph, area.reason, area.area) == ("m0", "carbon", 120_000)
        assert area.vertices[:, 0].max() == 400  # x first
        history = door.history()
        assert history["title"].iloc[0].startswith("draw") or "carbon" in history["title"].iloc[0]
        assert "UTC" in str(history["at"].dtype)
        assert len(door.history(2)) == 2


def test_an_empty_project_has_tables_with_the_same_columns(project: Path, tmp_path: Path) -> None:
    new_project(tmp_path / "empty", 0)
    with open_project(project, read_only=True) as full, open_project(tmp_path / "empty", read_only=True) as empty:
        for table in ("picks", "micrographs", "regions"):
            assert getattr(empty, table)().empty
            assert list(getattr(empty, table)().columns) == list(getattr(full, table)().columns)


def test_a_decision_over_micrographs_is_one_step(project: Path) -> None:
    before = state(project)
    with open_project(project, curator="ann") as door:
        picks = door.picks(decision="undecided")
        assert door.decide(picks, "rejected", "not a particle") == 2
        assert door.picks()["decision"].tolist() == ["rejected"] * 3
        assert door.decide([2, 3], "rejected", "not a particle") == 0  # they are so already
        assert door.history()["curator"].iloc[0] == "ann"
        assert "reject 2" in (door.undo() or "")
    assert state(project) == before


def test_added_picks_are_a_set_of_their_own(project: Path) -> None:
    before = state(project)
    with open_project(project, curator="ann") as door:
        table = pd.DataFrame({"micrograph": ["m2", 1, "m2"], "x": [1, 2.5, 3], "y": [4.0, 5, 6], "score": [1, None, 3]})
        ids = door.add_picks(table, "mine", decision="accepted")
        added = door.picks().loc[ids]
        assert added["micrograph"].tolist() == ["m2", "m0", "m2"]
        assert added["x"].tolist() == [1, 2.5, 3]
        assert added["set"].unique().tolist() == ["mine"]
        assert added["decision"].unique().tolist() == ["accepted"]
        session = open_session(project)
        session.go(1)
        check_memory(session)
        session.close()
        door.undo()
    assert state(project)["particle"] == before["particle"]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"micrograph": ["m0"], "x": [1]}, "no column 'y'"),
        ({"micrograph": ["nobody"], "x": [1], "y": [1]}, "no micrograph 'nobody'"),
        ({"micrograph": [77], "x": [1], "y": [1]}, "no micrograph 77"),
        ({"micrograph": ["m0"], "x": [np.inf], "y": [1]}, "no position"),
        ({"micrograph": ["m0"], "x": ["far"], "y": [1]}, "no number"),
        ({"micrograph": [], "x": [], "y": []}, "no picks to add"),
    ],
)
def test_a_table_of_nonsense_adds_nothing(project: Path, table: dict[str, list[object]], why: str) -> None:
    before = state(project)
    with open_project(project) as door, pytest.raises(Refused, match=why):
        door.add_picks(pd.DataFrame(table))
    assert state(project) == before


def test_nonsense_is_not_decided(project: Path) -> None:
    before = state(project)
    with open_project(project) as door:
        for picks, decision, reason, why in (
            ([1, 99], "accepted", "", "1 of 2 ids"),
            ([1], "maybe", "", "no decision 'maybe'"),
            ([1], "rejected", "ugly", "no reason 'ugly'"),
            ([1], "accepted", "ice", "goes with a rejection"),
            ("first", "accepted", "", "by their ids"),
        ):
            with pytest.raises(Refused, match=why):
                door.decide(picks, decision, reason)
    assert state(project) == before


def test_read_only_refuses_and_sees_what_a_window_does(project: Path) -> None:
    window = open_session(project)
    window.go(2)
    with open_project(project, read_only=True) as door:
        window.decide([3], Decision.ACCEPTED)
        assert door.picks("m1")["decision"].tolist() == ["accepted"]
        with pytest.raises(ProjectError, match="read-only"):
            door.decide([3], "rejected")
    with open_project(project, curator="bob") as door:  # and a window sees what is done here
        door.decide([3], "rejected", "ice")
    assert window.poll()
    assert window.particles.decision.tolist() == [Decision.REJECTED]
    window.close()


def test_another_process_may_decide(project: Path) -> None:
    code = f"""
from cryoppp_annotator import open_project
with open_project({str(project)!r}, curator="script") as project:
    picks = project.picks()
    project.decide(picks[picks.score > 0.5], "accepted")
"""
    window = open_session(project)
    window.go(1)
    subprocess.run([sys.executable, "-c", code], check=True)
    window.poll()
    assert window.particles.decision.tolist() == [Decision.REJECTED, Decision.ACCEPTED]
    window.close()
    assert query(project, "SELECT curator FROM change ORDER BY id DESC LIMIT 1")[0]["curator"] == "script"


def test_the_package_has_types_and_loads_nothing_heavy() -> None:
    assert (Path(cryoppp_annotator.__file__).parent / "py.typed").is_file()
    code = "import cryoppp_annotator, sys; raise SystemExit('pandas' in sys.modules or 'sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
