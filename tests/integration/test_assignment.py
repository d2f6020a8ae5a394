"""Whose micrographs are whose: set by a command, from Python or in the window, one step each; said everywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command_tools import Cli
from project_tools import check_memory, new_project, open_session

from cryoppp_annotator import open_project
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.core import assigning
from cryoppp_annotator.session.files.merging import merge


def test_it_is_set_said_and_undone(cli: Cli, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 4)
    chosen = cli("select", project, "--where", "name == m0 or name == m1", "--assign", "ada", "--curator", "boss")
    assert (chosen[0], chosen[1].splitlines()[-1]) == (0, "assigned to ada")
    with open_project(project, curator="boss") as door:
        door.assign(["m2"], " bob ")
        assert door.micrographs().assigned.tolist() == ["ada", "ada", "bob", ""]
        for wrong in ("x" * 65, "bob\x07"):
            with pytest.raises(Refused, match="a curator's name"):
                door.assign("m3", wrong)
        with pytest.raises(Refused, match="has no micrograph 'm9'"):
            door.assign("m9", "ada")
    session = open_session(project, "boss")
    session.set_state([1], MicrographState.COMPLETE)
    assert assigning.curators(session) == ["boss", "ada", "bob", "setup"]
    session.close()

    table = tmp_path / "micrographs.csv"
    code, out, _ = cli("status", project, "--csv", table)
    assert code == 0
    assert "assigned     2 to ada, 1 finished\nassigned     1 to bob, 0 finished\nassigned     1 to nobody" in out
    shares = json.loads(cli("status", project, "--json")[1])["assigned"]
    assert shares[0] == {"curator": "ada", "micrographs": 2, "finished": 1}
    with table.open(newline="") as file:
        assert [(row["name"], row["assigned"]) for row in csv.DictReader(file)][1:3] == [("m1", "ada"), ("m2", "bob")]
    assert json.loads(cli("select", project, "--where", "whose == ada and state == todo", "--json")[1])[
        "micrographs"
    ] == ["m1"]
    assert "assign m2 to bob" in cli("history", project)[1]

    session = open_session(project, "boss")
    check_memory(session)
    titles = [session.undo() for _ in range(3)]
    assert titles == ["mark m0 complete", "assign m2 to bob", "assign 2 micrographs to ada"]
    assert {m.assigned for m in session.micrographs} == {""}
    session.close()
    assert json.loads(cli("status", project, "--json")[1])["assigned"] == []


def test_merging_keeps_it_and_lists_where_both_have_said_so(tmp_path: Path) -> None:
    ours = open_session(new_project(tmp_path / "ours", 3), "ada")
    theirs = open_session(new_project(tmp_path / "theirs", 4), "bob")
    assigning.assign(ours, [1], "ada")
    assigning.assign(theirs, [1, 2, 4], "bob")
    report = merge(ours, theirs)
    assert [m.assigned for m in ours.micrographs] == ["ada", "bob", "", "bob"]
    assert [(c.what, c.micrograph, c.ours, c.theirs) for c in report.conflicts] == [("assignment", "m0", "ada", "bob")]
    check_memory(ours)
    ours.close()
    theirs.close()
