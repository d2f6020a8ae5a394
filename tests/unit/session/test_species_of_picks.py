"""Several kinds of particle on the same micrographs: given, sized, proposed for, imported, exported, merged, undone."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.project import open_project
from cryoppp_annotator.session.core import species
from cryoppp_annotator.session.core.commands import session_commands
from cryoppp_annotator.session.core.focus import Focus
from cryoppp_annotator.session.core.opening import open_plan, plan
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import entering, exporting, importing, merging
from cryoppp_annotator.session.picks import proposing
from cryoppp_annotator.store.recover import recover
from cryoppp_annotator.store.soundness import find_problems

ALL = exporting.DECISIONS["all"]


def new_session(folder: Path, project: Path) -> Session:
    if not folder.exists():
        folder.mkdir()
        for grey, name in enumerate("ab"):
            with mrcfile.new(folder / f"{name}.mrc") as file:
                file.set_data(np.full((400, 500), grey, np.float32))
                file.voxel_size = 2.0
    session = open_plan(plan(folder, project), curator="ann")
    session.set_diameter(100)
    session.go(1)
    return session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Two micrographs; the species ribosome (240 A) and proteasome (150 A), a pick of each and one of none."""
    session = new_session(tmp_path / "movies", tmp_path / "project")
    for number, (name, size) in enumerate((("ribosome", 240.0), ("proteasome", 150.0)), 1):
        assert species.new_id(species.add(session, name, diameter_A=size, key=f"F{number}")) == number
    for number in (0, 1, 2):
        session.loaded.current_species = number
        session.add(100.0 + 150 * number, 100.0)
    session.loaded.current_species = 0
    yield session
    session.close()


def kinds(session: Session) -> list[int]:
    return session.particles.species.tolist()


def test_new_picks_are_of_the_current_species_and_as_large(session: Session) -> None:
    assert kinds(session) == [0, 1, 2]
    assert session.diameters_A().tolist() == [100, 240, 150]
    assert session.diameters_px(session.current).tolist() == [50, 120, 75]
    assert np.isnan(session.particles.diameter_A).all(), "no pick has a size of its own"
    session.loaded.current_species = 1
    with pytest.raises(Refused, match="another pick is 50 px away"):
        session.add(150.0, 100.0)  # less than half a ribosome
    session.loaded.current_species = 2
    session.add(150.0, 100.0)


def test_picks_are_given_another_species_and_back(session: Session) -> None:
    ids = session.particles.id
    assert species.give(session, ids[:2], 2).n == 2
    assert kinds(session) == [2, 2, 2]
    assert session.next_undo().title == "2 picks are proteasome on a"
    session.undo()
    assert kinds(session) == [0, 1, 2]
    session.redo()
    assert species.give(session, ids, 2).n == 0
    assert species.give_where(session, Which(species=(2,)), 0).n == 3
    assert kinds(session) == [0, 0, 0]
    with pytest.raises(Refused, match="no species number 9"):
        species.give(session, ids, 9)


def test_brackets_size_the_selected_picks_or_the_species(session: Session) -> None:
    focus, commands = Focus(session), {command.id: command for command in session_commands()}
    commands["larger"].run(focus)
    assert session.diameter_A == pytest.approx(105), "no species is current: the project's"
    session.loaded.current_species = 1
    commands["smaller"].run(focus)
    assert session.species[1].diameter_A == pytest.approx(240 / 1.05)
    assert session.next_undo().title == "diameter of ribosome: 228.6 Å"
    focus.select(session.particles.id[1:])
    commands["larger"].run(focus)
    assert session.diameters_A().tolist() == pytest.approx([105, 240, 157.5])
    assert session.species[2].diameter_A == 150
    for _ in range(3):
        session.undo()
    assert session.diameters_A().tolist() == [100, 240, 150]
    focus.select(session.particles.id)
    with pytest.raises(Refused, match="makes no sense"):
        species.scale_diameters(session, focus.selected, 1000.0)


def test_a_species_is_changed_and_taken_away_in_one_step_each(session: Session, tmp_path: Path) -> None:
    species.change(session, 1, name="70S", colour="#123456", diameter_A=None)
    one = session.species[1]
    assert (one.name, one.colour, one.diameter_A, one.key) == ("70S", "#123456", None, "F1")
    assert session.diameters_A().tolist() == [100, 100, 150]
    session.loaded.current_species = 1
    species.remove(session, 1)
    assert list(session.species) == [2]
    assert kinds(session) == [0, 0, 2]
    assert session.loaded.current_species == 0
    session.undo()
    assert (session.species[1], kinds(session)) == (one, [0, 1, 2])
    session.undo()
    assert session.species[1].name == "ribosome"
    assert species.new_id(species.add(session, "third")) == 3
    session.undo()
    assert species.new_id(species.add(session, "fourth")) == 4, "an id is never used twice"
    session.refresh()
    assert [one.name for one in session.species.values()] == ["ribosome", "proteasome", "fourth"]
    assert not find_problems(session.store.path, deep=True)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"name": " "}, "needs a name"),
        ({"name": "Proteasome"}, "already"),
        ({"name": "None"}, "what picks without"),
        ({"colour": "red"}, "#RRGGBB"),
        ({"diameter_A": 1.0}, "makes no sense"),
        ({"key": "F2"}, "is that of proteasome"),
    ],
)
def test_a_species_that_makes_no_sense_is_refused(session: Session, values: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        species.change(session, 1, **values)
    with pytest.raises(Refused, match=why):
        species.add(session, str(values.pop("name", "new")), **values)  # type: ignore[arg-type]
    assert session.history()[0].verb == "add"


# --- proposals -------------------------------------------------------------------------------------------------------


def proposal(session: Session, x: list[float], scores: list[float]) -> proposing.Proposal:
    n = len(x)
    candidates = Candidates(np.array(x), np.full(n, 300.0), np.array(scores), np.full(n, np.nan))
    kind = session.loaded.current_species
    return proposing.Proposal("log", session.loaded.new_diameter_A, {}, ((1, candidates),), species=kind)


def test_candidates_of_one_species_leave_those_of_the_other_and_have_a_threshold_of_their_own(session: Session) -> None:
    for number, x in ((1, [100.0, 300.0]), (2, [110.0, 400.0])):
        session.loaded.current_species = number
        proposing.enter(session, proposal(session, x, [0.2, 0.8]))
    assert kinds(session)[3:] == [1, 1, 2, 2]
    session.loaded.current_species = 1
    proposing.enter(session, proposal(session, [200.0], [0.6]))
    new = session.particles.take(session.particles.decision == Decision.UNDECIDED)
    assert sorted(zip(new.species.tolist(), new.x.tolist(), strict=True)) == [(1, 200.0), (2, 110.0), (2, 400.0)]
    sets = {pick_set.species: pick_set for pick_set in session.pick_sets.values() if pick_set.proposed}
    assert sets[1].name == "log, ribosome, 240 Å"
    focus = Focus(session)
    focus.drawn.pick_set = sets[1].id
    focus.drawn.set_threshold(0.7)
    focus.drawn.pick_set = sets[2].id
    focus.drawn.set_threshold(0.1)
    focus.drawn.pick_set = None
    drawn = session.particles.take(focus.drawn.mask())
    assert sorted(drawn.x[drawn.decision == Decision.UNDECIDED].tolist()) == [110, 400], "0.6 is below 0.7 only"


# --- in and out ------------------------------------------------------------------------------------------------------


def test_a_column_says_the_species_where_the_format_can(session: Session, tmp_path: Path) -> None:
    species.change(session, 2, name="20S core")
    report = exporting.export(session, tmp_path / "t", "table", decisions=ALL)
    rows = list(csv.DictReader(report.files[0].open()))
    assert [row["species"] for row in rows] == ["", "ribosome", "20S core"]
    assert [float(row["diameter_A"]) for row in rows] == [100, 240, 150]
    report = exporting.export(session, tmp_path / "r", "relion-particles", decisions=ALL)
    column = read_star(report.files[0]).table("particles").columns["cryopppSpecies"]
    assert column == ["None", "ribosome", "20S_core"]
    assert not [note for note in report.notes if "species" in note]
    report = exporting.export(session, tmp_path / "b", "box", decisions=ALL)
    assert any("3 species (20S core, none, ribosome), and box has no place" in note for note in report.notes)
    report = exporting.export(session, tmp_path / "one", "box", decisions=ALL, species=(1,))
    assert report.n_picks == 1
    assert not [note for note in report.notes if "species" in note]


def test_each_species_goes_into_a_folder_of_its_own(session: Session, tmp_path: Path) -> None:
    species.add(session, "empty")
    report = exporting.export_each_species(session, tmp_path / "o", "cryoppp", decisions=ALL)
    assert sorted(path.relative_to(tmp_path / "o").parts[0] for path in report.files) == [
        "none",
        "proteasome",
        "ribosome",
    ]
    assert "no such picks are of empty" in report.notes
    species.change(session, 1, name="a/b")
    with pytest.raises(Refused, match="rename it"):
        exporting.export_each_species(session, tmp_path / "p", "cryoppp", decisions=ALL)


@pytest.mark.parametrize("format", ["table", "relion", "relion-particles", "coco"])
def test_what_was_exported_comes_back_with_its_species(session: Session, tmp_path: Path, format: str) -> None:
    species.change(session, 2, name="20S core")
    report = exporting.export(session, tmp_path / "o", format, decisions=ALL, box_size_px=40)
    other = new_session(tmp_path / "movies", tmp_path / "other")
    species.add(other, "Ribosome", diameter_A=230.0)
    source = tmp_path / "o" if format == "relion" else report.files[-1]
    entering.enter(other, importing.read(other, source, format=format))
    names = [species.named(other, number) for number in other.particles.species.tolist()]
    assert [name.replace("_", " ") for name in names] == ["no species", "Ribosome", "20S core"]
    other.undo()
    assert [one.name for one in other.species.values()] == ["Ribosome"], "what the import made goes with it"
    other.close()


def test_an_import_sets_the_species_of_its_picks(session: Session, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,score\n50,300,0.5\n200,300,0.7\n")
    entering.enter(session, importing.read(session, tmp_path / "a.csv"), species="ribosome")
    assert kinds(session)[3:] == [1, 1]
    assert session.diameters_A()[3:].tolist() == [240, 240]
    assert len(session.species) == 2


@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="needs Debian's package relion")
def test_relion_reads_picks_with_species(session: Session, tmp_path: Path) -> None:
    report = exporting.export(session, tmp_path / "r", "relion-particles", decisions=ALL)
    handler = ["relion_star_handler", "--i", str(report.files[0]), "--o", "out.star", "--select", "rlnCoordinateX"]
    done = subprocess.run([*handler, "--minval", "200"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(read_star(tmp_path / "out.star").table("particles")) == 2


# --- together, damaged, from outside ---------------------------------------------------------------------------------


def test_merging_knows_species_by_their_names(session: Session, tmp_path: Path) -> None:
    other = new_session(tmp_path / "movies", tmp_path / "other")
    for name, size in (("virus", 600.0), ("Ribosome", 250.0)):
        species.add(other, name, diameter_A=size)
    for number, x in ((1, 300.0), (2, 50.0)):
        other.loaded.current_species = number
        other.add(x, 350.0)
    report = merging.merge(session, other)
    other.close()
    assert [(one.name, one.diameter_A) for one in session.species.values()] == [
        ("ribosome", 240.0),
        ("proteasome", 150.0),
        ("virus", 600.0),
    ]
    assert kinds(session) == [0, 1, 2, 3, 1]
    assert [(c.what, c.ours, c.theirs) for c in report.conflicts if c.what == "species"] == [
        ("species", "ribosome, 240 Å", "Ribosome, 250 Å")
    ]
    session.undo()
    assert (kinds(session), len(session.species)) == ([0, 1, 2], 2)


def test_a_lost_species_costs_no_pick(session: Session, tmp_path: Path) -> None:
    with session.store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM species WHERE id = 2")
    problems = [str(problem) for problem in find_problems(session.store.path)]
    assert problems == ["particle, row 3, species: names a species that is not there"]
    recover(session.store.folder, tmp_path / "new")
    picks = open_project(tmp_path / "new").picks()
    assert picks["species"].tolist() == ["", "ribosome", ""]


def test_the_command_line_knows_species(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = str(session.store.folder)

    def answer(*arguments: str) -> dict[str, object]:
        assert run([*arguments, "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    assert run(["species", project, "--add", "virus", "--diameter", "700"]) == 0
    assert "virus: 700 Å, 0 accepted" in capsys.readouterr().out
    listed = answer("species", project, "--change", "VIRUS", "--rename", "phage", "--key", "F9")["species"]
    assert [one["name"] for one in listed] == ["ribosome", "proteasome", "phage"]
    assert answer("status", project)["species"] == listed
    assert run(["species", project, "--remove", "phage"]) == 0
    capsys.readouterr()
    (tmp_path / "b.csv").write_text("x,y\n50,300\n")
    answer("import", project, "--coords", str(tmp_path / "b.csv"), "--species", "ribosome")
    written = answer(
        "export", project, "-o", str(tmp_path / "o"), "--to", "cryoppp", "--decision", "all", "--species", "ribosome"
    )
    assert written["picks"] == 2
    written = answer("export", project, "-o", str(tmp_path / "e"), "--to", "cryoppp", "--species", "each")
    assert {Path(file).relative_to(tmp_path / "e").parts[0] for file in written["files"]} == {
        "none",
        "ribosome",
        "proteasome",
    }
    assert run(["export", project, "-o", str(tmp_path / "o"), "--to", "cryoppp", "--species", "phage"]) == 1
    assert "there is no species “phage”; there are: ribosome, proteasome" in capsys.readouterr().err
