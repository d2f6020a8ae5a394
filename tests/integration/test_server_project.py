"""A project on a PostgreSQL server: a real one of Debian's package, real programs, and what is said where it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from command_tools import Cli, write_mrc
from postgres_server import PostgresServer, server_of_tests
from project_tools import import_change, integrity, new_project, open_session, query, replay, table
from sqlalchemy import create_engine

from cryoppp_annotator import open_project
from cryoppp_annotator.errors import ProjectError, Refused
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import ClassesOf, InRegions, Which
from cryoppp_annotator.session.core.server_projects import files_note, folder_of
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.store import classes, facts, schema
from cryoppp_annotator.store.database import MIGRATIONS
from cryoppp_annotator.store.recover import recover
from cryoppp_annotator.store.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))
import make_schema_0002 as steps
import make_schema_0003 as species_steps

CURATORS = ("ann", "bob", "cleo", "dora")
N_EDITS = 100


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    yield from server_of_tests()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "home"))


@pytest.fixture
def address(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Of a database that is empty."""
    return server.new_database(request.node.name[:40].replace("[", "_").rstrip("]").lower())


@pytest.fixture
def project(address: str) -> str:
    """Three micrographs whose files do not exist, three picks on the first."""
    session = open_session(new_project(folder_of(address)), "setup")
    for micrograph in list(session.micrographs):
        session.go(micrograph.id)
    session.insert(import_change([1] * 3, [10, 20, 30], [10, 20, 30], [0.1, 0.2, 0.3], "setup"))
    session.close()
    return address


def opened(address: str, curator: str = "ann") -> Session:
    session = open_session(folder_of(address), curator)
    session.go(1)
    return session


def brought_home(address: str, folder: Path) -> Path:
    """The server's project as one in a file, which the other tests' tools can look into."""
    report = recover(folder_of(address), folder)
    assert not any(report.lost.values())
    assert report.unreadable == []
    return folder


def test_four_curators_at_once_and_one_of_them_killed(project: str, tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("server_curator.py"))
    programs = {
        name: subprocess.Popen([sys.executable, script, project, name, str(N_EDITS)], stdout=subprocess.PIPE, text=True)
        for name in CURATORS
    }
    killed = programs["dora"]
    assert killed.stdout is not None
    confirmed = {"dora": [killed.stdout.readline() for _ in range(N_EDITS // 3)]}
    killed.send_signal(signal.SIGKILL)
    for name, program in programs.items():
        confirmed.setdefault(name, []).extend(program.communicate(timeout=300)[0].splitlines())
        assert program.returncode == (-signal.SIGKILL if program is killed else 0)
    after = opened(project, "eve")
    after.add(4000, 4000)  # whoever was killed holds nothing
    after.close()

    home = brought_home(project, tmp_path / "home-again")
    assert integrity(home) == "ok"
    kept = table(home, "particle")
    assert replay(home) == kept
    steps = query(home, "SELECT curator, verb, payload FROM change WHERE kind = 'do'")
    made = {(row["curator"], row["verb"]): 0 for row in steps}
    for row in steps:
        made[row["curator"], row["verb"]] += 1
    numbers: list[int] = []
    for name in CURATORS:
        lines = [line.split() for line in confirmed[name] if not line.startswith("end")]
        assert len(lines) == N_EDITS or (name == "dora" and len(lines) >= N_EDITS // 3)
        added = [int(line[1]) for line in lines if line[0] == "add"]
        numbers += added
        # nothing twice: of the killed one at most the step that was on its way is there and was not said
        assert 0 <= made[name, "add"] - len(added) <= (name == "dora")
        last = {int(pick): (float(x), float(y)) for _verb, pick, x, y, _decision in lines}
        wrong = {pick for pick, at in last.items() if (kept[pick]["x"], kept[pick]["y"]) != at}
        assert len(wrong) <= (name == "dora"), "nothing lost"
    assert len(set(numbers)) == len(numbers)


def test_commands_and_python_take_the_address(cli: Cli, address: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in "ab":
        write_mrc(tmp_path / "data" / f"{name}.mrc", rng.normal(size=(64, 64)).astype(np.float32), 2.0)
    star = tmp_path / "a_autopick.star"
    star.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n10.5 20\n30 40\n")
    files = tmp_path / "files"
    made = cli("import", address, "--micrographs", tmp_path / "data", "--coords", star, "--files", files, "--json")
    assert made[0] == 0, made
    assert json.loads(made[1])["project"] == str(files)
    assert [path.name for path in files.glob("server.json")] == ["server.json"]
    status = json.loads(cli("status", address, "--json")[1])
    assert (status["project"], status["journal"]) == (str(files), "postgresql"), "where the files are is remembered"
    assert status["particles"] == {"accepted": 0, "undecided": 2, "rejected": 0}
    with open_project(address, curator="ann") as door:
        picks = door.picks()
        assert picks.x.tolist() == [10.5, 30]
        assert door.decide(picks, "accepted") == 2
        assert door.undo() is not None
        assert door.redo() is not None
    assert cli("history", address)[1].count("ann") == 3
    assert cli("export", files, "-o", tmp_path / "out", "--to", "relion")[0] == 0, "the folder stands for it, too"
    assert "10.5" in "".join(path.read_text() for path in (tmp_path / "out").glob("*.star"))
    images = ("--micrographs", tmp_path / "data", "--diameter", "10px")
    of_set = ("compare", star, address, "--set", "a_autopick.star", *images, "--json")
    compared = json.loads(cli(*of_set)[1])
    assert (compared["matched"], compared["only_reference"], compared["only_other"]) == (2, 0, 0)
    assert compared["other"] == "a_autopick.star"
    assert json.loads(cli("evaluate", star, "--truth", address, *images, "--json")[1])["f1"] == 1, "the accepted ones"
    assert "labels" in cli("errors", address, *images, "-o", tmp_path / "queue")[2], "too few, but they are read"
    code, _out, error = cli("compare", star, address, "--set", "topaz", *images)
    assert (code, "no pick sets of " in error, "are called 'topaz'" in error) == (1, True, True)
    assert cli("doctor", address)[1].endswith("sound.\n")
    assert cli("merge", address, files, "--dry-run")[0] == 1, "a project cannot be merged into itself"
    assert cli("recover", address, "-o", tmp_path / "home-again")[0] == 0
    assert len(table(tmp_path / "home-again", "particle")) == 2


def test_a_folder_from_somebody_else_asks_no_server(cli: Cli, tmp_path: Path) -> None:
    from_elsewhere = tmp_path / "theirs"
    from_elsewhere.mkdir()
    where = {"address": "postgresql://you@127.0.0.1:1/labels?connect_timeout=1&passfile=/etc/passwd"}
    (from_elsewhere / "server.json").write_text(json.dumps(where))
    for command_line in (
        ("status", from_elsewhere),
        ("export", from_elsewhere, "-o", tmp_path / "out", "--to", "relion"),
    ):
        code, _out, said = cli(*command_line)
        assert code == 1
        assert "labels on 127.0.0.1, which you have not opened on this machine before, so it was not asked" in said
    assert "no PostgreSQL server answers" in cli("status", "postgresql://you@127.0.0.1:1/labels")[2]
    assert "no PostgreSQL server answers" in cli("status", from_elsewhere)[2], "named by its user, it is asked"


def test_each_sees_what_the_other_did(project: str) -> None:
    ann, bob = opened(project), opened(project, "bob")
    number = ann.add(3000, 3000).new_id
    assert bob.poll()
    assert number in bob.particles.id
    ann.move([1], [11.0], [12.0])
    bob.move([1], [21.0], [22.0])  # bob had not looked: the step is built on what is there
    ann.decide([1], Decision.ACCEPTED)
    assert (ann.particles.x[0], ann.particles.y[0]) == (21.0, 22.0)
    with pytest.raises(Refused):
        bob.add(3001, 3001)
    ann.close()
    bob.close()


def everything_read(session: Session) -> list[object]:
    """What the window asks a project, as plain values; NaN as None."""
    store, which, runs = session.store, Which(hidden=((1.0, ()),), removed=True), classes.runs(session.store)
    run = runs[0]["id"]
    by_class = Which(classes=ClassesOf(run, (1, 2)), hidden=((1.0, ()),))
    answers = [
        *store.counts(which, Which(min_score=0.3), Which(regions=InRegions(None))),
        *(store.count_by_micrograph(Which()), store.count_by_class(by_class), store.micrographs_with_regions()),
        *(store.positions(by_class), store.sample_scores(Which()), store.decided_in_bulk().ids, store.extra(1, 2)),
        *(runs, classes.members(store, run), classes.counts(store, run, 2), classes.micrographs_of(store, run, [1])),
        *(classes.changed_since(store, run, Which()), classes.some_extra(store, 1), classes.unpublished(store, "2099")),
        *(facts.median_scores(store), facts.class_quality(store)),
        *(asdict(m) for m in session.micrographs),
    ]
    return json.loads(json.dumps(answers, default=lambda value: np.asarray(value).tolist()).replace("NaN", "null"))


def test_every_kind_of_step_ends_as_in_a_file(address: str, tmp_path: Path) -> None:
    """The script that made the old projects of other tests, on both; then all is taken back, and done again."""
    ends = []
    for folder in (tmp_path / "file", folder_of(address)):
        session = open_session(new_project(folder), "ann")
        for make in (steps._settings, steps._picks, steps._regions, steps._proposals, species_steps._species):
            make(session)
        steps._classes(session)
        read = everything_read(session)
        titles = []
        while (title := session.undo()) is not None:
            titles.append(title)
        while (title := session.redo()) is not None:
            titles.append(title)
        assert everything_read(session) == read
        assert ("the averages of 1 class run are not in" in files_note(session)) == (folder != tmp_path / "file")
        ends.append((titles, read))
        session.close()
    assert len(ends[0][0]) > 50
    assert ends[0] == ends[1]
    home = brought_home(address, tmp_path / "home-again")
    for name in ("particle", "micrograph", "species", "class_member", "id_counter"):
        assert table(home, name) == table(tmp_path / "file", name), name


def test_a_server_that_goes_away_and_comes_back(server: PostgresServer, project: str, tmp_path: Path) -> None:
    session = opened(project)
    session.add(100, 100)
    server.stop(at_once=True)
    with pytest.raises(ProjectError, match=r"connection .* was lost|no PostgreSQL server answers"):
        session.add(200, 200)
    with pytest.raises(ProjectError, match=r"no PostgreSQL server answers on .* Is it running"):
        session.add(200, 200)
    server.start()
    session.poll()
    session.add(200, 200)
    session.close()
    kept = table(brought_home(project, tmp_path / "home-again"), "particle")
    assert sorted(row["x"] for row in kept.values()) == [10, 20, 30, 100, 200]


def test_what_is_wrong_is_said(cli: Cli, server: PostgresServer, project: str, tmp_path: Path) -> None:
    wrong = {
        project.replace(server.folder.name, "nowhere"): "no PostgreSQL server answers on /tmp/nowhere",
        "postgresql://ann@no.such.host/lab": "no machine is called no.such.host",
        server.address("nothing"): "there is no database nothing on ",
        server.address("lab", "mallory"): "does not know mallory",
        server.new_database("empty"): "there is no project yet in the database empty",
        "postgresql://ann:secret@host": "postgresql://ann:…@host names no database",
        project + "&sslmoed=1": "is no address that PostgreSQL takes",
    }
    for address, sentence in wrong.items():
        code, out, err = cli("status", address)
        assert (code, out, err.count("\n")) == (1, "", 1), err
        assert sentence in err
        assert "secret" not in err
    server.new_database("cellar")
    server.sql("CREATE TABLE wine (year int)", "cellar")
    assert "holds tables of something else" in cli("status", server.address("cellar"))[2]
    server.sql("UPDATE alembic_version SET version_num = '9999'", project.split("/")[3].split("?")[0])
    assert "made by a newer CryoPPP Annotator (schema 9999)" in cli("status", project)[2]
    password = server.ask_for_passwords()
    assert "asks bob for a password; put it into ~/.pgpass" in cli("status", server.address("empty", "bob"))[2]
    for given, sentence in (("ajar", "does not know bob with this password"), (password, "no project yet")):
        with_password = server.address("empty", "bob").replace("bob@", f"bob:{given.replace(' ', '%20')}@")
        code, _, err = cli("status", with_password)
        assert (code, sentence in err, given in err) == (1, True, False), err
    assert not [path for path in (tmp_path / "home").rglob("*.json") if password in path.read_text()]
    assert cli("annotate", tmp_path, "--files", tmp_path)[0] == 2, "--files goes with a server"


def test_an_old_schema_is_brought_up_to_date(server: PostgresServer, address: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    engine.dispose()
    with pytest.raises(ProjectError, match=r"older schema \(0002\) and is opened read-only"):
        Store.open(folder_of(address), read_only=True)
    Store.open(folder_of(address)).close()
    version = server.sql("SELECT version_num FROM alembic_version", address.split("/")[3].split("?")[0])
    assert version == schema.HEAD
