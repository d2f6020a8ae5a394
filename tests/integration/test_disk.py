"""Full, vanished, locked, read-only and damaged disks: an edit is refused, and nothing is shown that is not saved."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image
from project_tools import check_memory, import_change, integrity, new_project, open_session, query, shown, state

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import ProjectError
from cryoppp_annotator.formats import atomic
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.volume import stored_maps
from cryoppp_annotator.session.volume.map_run import MapResult, MapRun, PickVerdicts
from cryoppp_annotator.store import copies, database
from cryoppp_annotator.store.store import DATABASE_NAME, Store

VERBS: dict[str, Callable[[Session], object]] = {
    "add": lambda s: s.add(1000, 1000, anyway=True),
    "move": lambda s: s.move([1, 2], [5.0, 6.0], [7.0, 8.0]),
    "decide": lambda s: s.decide([1, 2, 3], Decision.REJECTED, Reason.ICE),
    "decide_where": lambda s: s.decide_where(Which(min_score=0.5), Decision.ACCEPTED),
    "remove": lambda s: s.remove(s.particles.id),
    "state": lambda s: s.set_state([1, 2], MicrographState.COMPLETE),
    "diameter": lambda s: s.set_diameter(123),
    "pixel size": lambda s: s.set_pixel_size(2.0, 1),
    "import": lambda s: s.insert(import_change([1] * 500, range(500), range(500), [1.0] * 500)),
    "undo": lambda s: s.undo(),
    "redo": lambda s: s.redo(),
}


def prepare(folder: Path) -> Path:
    """A project with imported picks, a hand pick, and something to undo and to redo."""
    session = open_session(new_project(folder))
    session.go(1)
    session.insert(import_change([1, 1, 1, 2], [10, 50, 90, 10], [10, 50, 90, 10], [0.1, 0.6, 0.9, 0.7]))
    session.add(500, 500)
    session.decide([1], Decision.ACCEPTED)
    session.undo()
    session.close()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return prepare(tmp_path / "project")


@pytest.fixture
def session(project: Path) -> Iterator[Session]:
    session = open_session(project)
    session.go(1)
    yield session
    session.close()


def everything(session: Session) -> list[object]:
    """What a window shows."""
    return [
        shown(session),
        session.counts(),
        list(session.micrographs),
        dict(session.settings.values),
        dict(session.pick_sets),
    ]


def refuse_all(session: Session, message: str) -> None:
    """Every verb is refused with a helpful sentence, and the screen goes on showing what was there."""
    before = everything(session)
    refused: list[object] = []
    session.changed.connect(refused.append)
    try:
        for name, verb in VERBS.items():
            with pytest.raises(ProjectError, match=message) as caught:
                verb(session)
            assert type(caught.value) is ProjectError, name
    finally:
        session.changed.disconnect(refused.append)
    assert everything(session) == before
    assert refused == []


def all_work(session: Session) -> None:
    """Once the cause is gone the same verbs work in the same session, and what is shown is saved."""
    for name in ("redo", "undo", *(name for name in VERBS if name not in ("undo", "redo"))):
        VERBS[name](session)
        check_memory(session)
    assert integrity(session.store.folder) == "ok"


def work(project: Path) -> None:
    """Open a project and use every verb."""
    with closing(open_session(project)) as session:
        session.go(1)
        for verb in VERBS.values():
            verb(session)


# ---------------------------------------------------------------------- full


@contextmanager
def mounted(*arguments: str, on: Path) -> Iterator[Path]:
    """A real file system of its own; skips where this user or this container may not mount."""
    on.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(on)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield on
    finally:
        subprocess.run(["umount", "--lazy", str(on)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 512)


def test_a_full_disk(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    with mounted("-t", "tmpfs", "-o", "size=2m", "none", on=tmp_path / "disk") as disk:
        session = open_session(prepare(disk / "project"))
        session.go(1)
        held = state(disk / "project")
        filler = disk / "filler"
        fill(filler)
        refuse_all(session, "full.*everything confirmed before is safe.*Free some space")
        assert state(disk / "project") == held
        filler.unlink()
        all_work(session)
        session.close()
        again = open_session(disk / "project")
        check_memory(again)
        again.close()


def test_a_disk_that_takes_no_more_bytes(session: Session) -> None:
    """The same without a mount: the kernel lets no file grow."""
    folder = session.store.folder
    held = state(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(folder / f"{DATABASE_NAME}-wal").st_size, limits[1]))
    try:
        refuse_all(session, "everything confirmed before is safe")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state(folder) == held
    all_work(session)


def test_a_full_disk_makes_no_half_project(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ProjectError):
            new_project(tmp_path / "project")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "project").exists()
    new_project(tmp_path / "project")


def test_a_first_import_that_failed_leaves_no_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    data = tmp_path / "data"
    data.mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(data / "a.png")
    with mounted("-t", "tmpfs", "-o", "size=200k", "none", on=tmp_path / "disk") as disk:
        fill(disk / "filler")
        for room in (0, 20_000, 60_000, 100_000):  # fails ever later
            os.truncate(disk / "filler", (disk / "filler").stat().st_size - room)
            command = ["import", str(disk / "p"), "--micrographs", str(data)]
            if run(command) == 0:
                break
            assert "full" in capsys.readouterr().err
            assert not (disk / "p").exists()
        (disk / "filler").unlink()
        assert run(command) == 0


#: Commands that write files, by what they may leave where they do not finish: lists of what is whole and goes on.
WRITERS = {
    "extract": (["picks", "--micrographs", "data", "-o", "disk/o", "--box-size", "32"], set()),
    "passport": (["data", "-o", "disk/o"], {"passport.jsonl"}),
    "compare": (["picks", "picks", "--micrographs", "data", "--diameter", "20px", "--report", "disk/o/r.html"], set()),
    "recover": (["p", "-o", "disk/o"], set()),
}


def test_a_command_on_a_full_disk_leaves_all_of_its_files_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At every share of what it needs: the file is named, the disk is full, and nothing is half there."""
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    monkeypatch.chdir(tmp_path)
    for name in ("data", "picks"):
        (tmp_path / name).mkdir()
    for name in "ab":
        with mrcfile.new(f"data/{name}.mrc") as file:
            file.set_data(np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32))
            file.voxel_size = 4.0
        rows = "".join(f"{x} {y}\n" for x in (30, 60, 90) for y in (30, 60, 90))
        Path(f"picks/{name}.star").write_text(f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{rows}\n")
    assert run(["import", "p", "--micrographs", "data", "--coords", "picks"]) == 0
    with mounted("-t", "tmpfs", "-o", "size=1m", "none", on=tmp_path / "disk") as disk:
        out, filler = disk / "o", disk / "filler"
        for command, (words, unfinished) in WRITERS.items():
            assert run([command, *words]) == 0
            whole = {path.name for path in out.iterdir()}
            need = sum(path.stat().st_blocks * 512 for path in out.iterdir())
            shutil.rmtree(out)
            fill(filler)
            for room in (0, need // 8192 * 4096):
                os.truncate(filler, filler.stat().st_size - room)
                capsys.readouterr()
                assert run([command, *words]) == 1, command
                message = capsys.readouterr().err
                assert "is full" in message, (command, message)
                assert str(out.relative_to(tmp_path)) in message
                left = {path.name for path in out.rglob("*")} if out.exists() else set()
                assert left <= unfinished, (command, left)
            filler.unlink()
            assert run([command, *words]) == 0
            assert {path.name for path in out.iterdir()} == whole
            shutil.rmtree(out)


def test_a_map_that_does_not_get_into_the_project_is_written_elsewhere(session: Session) -> None:
    n, one = 3, np.eye(3)
    columns = PickVerdicts(
        np.arange(n), np.ones(n, np.int64), *[np.zeros(n)] * 4, np.stack([one] * n), *[np.zeros(n)] * 2, np.zeros(n)
    )
    result = MapResult(MapRun(0, {"name": "mine"}), columns, {"map": np.zeros((40, 40, 40), np.float32)}, {})
    folder = session.store.folder
    (folder / "maps").write_text("in the way")  # as a disk that refuses
    with pytest.raises(
        ProjectError, match=r"could not be saved.*picks are safe.*was written to (.*) instead"
    ) as caught:
        stored_maps.save_map_run(session, result)
    (folder / "maps").unlink()
    elsewhere, there = re.search(r"written to (.*) instead.*to (.*)$", str(caught.value)).groups()  # type: ignore[union-attr]
    Path(there).parent.mkdir()
    shutil.move(elsewhere, there)
    (kept,) = stored_maps.list_map_runs(session)
    assert stored_maps.load_map_run(session, kept).run.name == "mine"
    held = state(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # nowhere is room
    try:
        with pytest.raises(ProjectError, match="the map is gone"):
            stored_maps.save_map_run(session, result)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (folder / "maps").iterdir()] == ["run-0001"]
    assert state(folder) == held


def test_what_a_killed_export_left_goes_after_a_day(tmp_path: Path) -> None:
    """Not before: another window may be writing."""
    for name, age in (("old", 2 * 86_400), ("new", 60)):
        (tmp_path / f".unfinished-{name}").mkdir()
        os.utime(tmp_path / f".unfinished-{name}", (time.time() - age,) * 2)
    with atomic.file_set(tmp_path):
        atomic.write_text(tmp_path / "a.txt", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished-new", "a.txt"]


def test_an_empty_database_of_a_killed_start_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"")
    assert run(["status", str(tmp_path)]) == 1
    assert "is empty: the program that was making this project was ended" in capsys.readouterr().err


# ---------------------------------------------------------------------- vanished


def test_a_folder_that_is_away_for_a_while(session: Session) -> None:
    folder = session.store.folder
    held = state(folder)
    away = folder.rename(folder.with_name("away"))
    refuse_all(session, "vanished.*[Bb]ring the folder back")
    assert not folder.exists()
    assert state(away) == held
    away.rename(folder)
    all_work(session)


def test_a_folder_that_is_deleted_and_restored(session: Session) -> None:
    folder = session.store.folder
    backup = folder.with_name("backup")
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(folder, backup)
    session.add(2000, 2000)  # is in no backup
    shutil.rmtree(folder)
    refuse_all(session, "vanished")
    assert not folder.exists()
    shutil.copytree(backup, folder)
    all_work(session)
    assert not (session.particles.x == 2000).any()


def test_a_file_that_is_deleted_is_not_replaced_by_an_empty_one(session: Session) -> None:
    folder = session.store.folder
    (folder / DATABASE_NAME).unlink()
    refuse_all(session, "vanished")
    with pytest.raises(ProjectError):
        session.go(2)
    assert session.current_id == 1
    assert not (folder / DATABASE_NAME).exists()


def test_another_project_in_its_place_is_read_before_it_is_written(session: Session) -> None:
    folder = session.store.folder
    shutil.rmtree(folder)
    new_project(folder)
    session.set_diameter(200)
    check_memory(session)
    assert len(session.particles) == 0


def test_rubbish_in_its_place_is_left_alone(session: Session) -> None:
    path = session.store.folder / DATABASE_NAME
    shutil.rmtree(session.store.folder)
    path.parent.mkdir()
    path.write_bytes(b"a text of more than a hundred bytes, " * 5)
    refuse_all(session, "not a readable project database")
    assert path.read_bytes() == b"a text of more than a hundred bytes, " * 5


# ---------------------------------------------------------------------- locked


@contextmanager
def held_by_another(folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_database(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.05)
    session = open_session(project)
    session.go(1)
    with held_by_another(project):
        refuse_all(session, "another program holds.*close the other window")
    all_work(session)
    session.close()


def test_an_edit_waits_for_a_lock_as_long_as_it_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.5)
    session = open_session(project)
    session.go(1)
    with held_by_another(project):
        begun = time.monotonic()
        with pytest.raises(ProjectError, match="holds"):
            session.set_diameter(321)
        assert time.monotonic() - begun > 0.4  # not SQLite's own, which is none
    session.close()


def test_looking_goes_on_while_the_database_is_locked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.05)
    session = open_session(project)
    said: list[tuple[str, str]] = []
    session.said.connect(lambda text, level: said.append((text, level)))
    with held_by_another(project):
        session.go(2)
        assert session.current_id == 2
        assert len(session.particles) == 1
        assert session.micrograph(2).state is MicrographState.UNSEEN
        assert [level for _, level in said] == ["warning"]
        check_memory(session)
    session.go(2)
    assert session.micrograph(2).state is MicrographState.IN_PROGRESS
    check_memory(session)
    session.close()


def test_a_refresh_that_fails_half_way_spoils_no_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another window wrote, and reading that failed: the next edit must not be built on the old state."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.05)
    session, other = open_session(project), open_session(project, "bob")
    session.go(1)
    other.go(1)
    other.decide([1, 2], Decision.REJECTED, Reason.ICE)
    read = session.store.micrographs

    def broken() -> list[object]:
        raise ProjectError("the disk hiccupped")

    session.store.micrographs = broken  # type: ignore[assignment]
    with pytest.raises(ProjectError, match="hiccup"):
        session.decide([1], Decision.ACCEPTED)
    session.store.micrographs = read  # type: ignore[method-assign]
    session.decide([1], Decision.ACCEPTED)
    check_memory(session)
    session.close()
    other.close()


# ---------------------------------------------------------------------- read-only


def test_a_project_opened_to_read(project: Path) -> None:
    session = open_session(project, read_only=True)
    session.go(1)
    check_memory(session)
    refuse_all(session, "read-only; the edit was refused")
    said: list[str] = []
    session.said.connect(lambda text, _level: said.append(text))
    session.go(2)
    assert len(session.particles) == 1
    assert "read-only" in said[0]
    session.close()


def test_a_read_only_mount(project: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may mount")
    held = state(project)
    with mounted("--bind", str(project), on=tmp_path / "mounted") as folder:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        with pytest.raises(ProjectError):
            Store.open(folder)
        session = open_session(folder, read_only=True)
        session.go(1)
        assert len(session.particles) == 4
        assert session.counts() == {"accepted": 1, "undecided": 4, "rejected": 0}
        refuse_all(session, "read-only")
        session.close()
    assert state(project) == held
    assert {p.name for p in project.iterdir()} <= {DATABASE_NAME, copies.FOLDER}


def test_a_file_that_may_not_be_written(project: Path) -> None:
    path = project / DATABASE_NAME
    if os.geteuid() or subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this user or file system knows no immutable files")
    try:
        with pytest.raises(ProjectError, match=r"cannot be written.*Make the folder writable|disk is still there"):
            work(project)
        session = open_session(project, read_only=True)
        session.go(1)
        assert len(session.particles) == 4
        session.close()
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
    session = open_session(project)
    session.go(1)
    all_work(session)
    session.close()


# ---------------------------------------------------------------------- damaged, or something else


def test_a_file_that_is_no_database(project: Path) -> None:
    text = b"# a STAR file, or whatever else somebody called so\n" * 20
    (project / DATABASE_NAME).write_bytes(text)
    for read_only in (False, True):
        with pytest.raises(ProjectError, match=r"not a readable project database.*images are untouched"):
            Store.open(project, read_only=read_only)
    assert (project / DATABASE_NAME).read_bytes() == text


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_database(project: Path, keep: float) -> None:
    path = project / DATABASE_NAME
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(ProjectError):
        work(project)


def test_pages_of_rubbish(project: Path) -> None:
    path = project / DATABASE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(ProjectError, match=r"malformed|not a readable"):
        open_session(project)


def test_a_step_of_the_history_that_is_damaged(session: Session) -> None:
    last = session.next_undo()
    assert last is not None
    with closing(sqlite3.connect(session.store.path)) as connection, connection:
        connection.execute("UPDATE change SET payload = substr(payload, 1, 100) WHERE id = ?", (last.id,))
    held = state(session.store.folder)
    with pytest.raises(ProjectError, match="history is damaged"):
        session.undo()
    assert state(session.store.folder) == held
    check_memory(session)
    session.set_diameter(99)
    assert session.undo() is not None


def test_a_project_of_a_newer_program(project: Path) -> None:
    with closing(sqlite3.connect(project / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (project / DATABASE_NAME).read_bytes()
    for read_only in (False, True):
        with pytest.raises(ProjectError, match=r"newer CryoPPP Annotator \(schema 9999\).*update the program"):
            Store.open(project, read_only=read_only)
    assert (project / DATABASE_NAME).read_bytes() == before


def test_somebody_elses_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    for read_only in (False, True):
        with pytest.raises(ProjectError, match=r"not one of CryoPPP Annotator.*left alone"):
            Store.open(tmp_path, read_only=read_only)
    assert query(tmp_path, "SELECT name FROM sqlite_master") == [{"name": "recipes"}]


def test_somebody_elses_database_is_left_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = (tmp_path / DATABASE_NAME).read_bytes()
    with pytest.raises(ProjectError, match="left alone"):
        Store.open(tmp_path)
    assert (tmp_path / DATABASE_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE_NAME]


@pytest.mark.parametrize("of_another_program", [True, False])
def test_a_log_that_is_not_the_databases_own_is_not_merged(project: Path, tmp_path: Path, of_another_program) -> None:
    """SQLite merges any log of the right name: opening alone would write another database over the project."""
    other = tmp_path / "other.sqlite"
    if not of_another_program:
        shutil.copy(project / DATABASE_NAME, other)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        with connection:
            connection.execute("CREATE TABLE recipes AS SELECT name FROM sqlite_master")
            connection.execute("DROP TABLE recipes")
            connection.execute("DROP TABLE IF EXISTS alembic_version")
        log = project / f"{DATABASE_NAME}-wal"
        shutil.copy(other.with_name("other.sqlite-wal"), log)
    before = (project / DATABASE_NAME).read_bytes()
    for read_only in (True, False):
        with pytest.raises(ProjectError, match=r"does not belong to .*Nothing was changed\. Move"):
            Store.open(project, read_only=read_only)
    assert (project / DATABASE_NAME).read_bytes() == before
    for left in (log, project / f"{DATABASE_NAME}-shm"):
        left.unlink(missing_ok=True)
    Store.open(project).close()


def test_where_there_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no project in"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="cannot make the project folder"):
        Store.create(tmp_path / "file" / "project")
    new_project(tmp_path / "project")
    with pytest.raises(ProjectError, match="there is already a project"):
        Store.create(tmp_path / "project")


# ---------------------------------------------------------------------- too little memory


def in_a_gigabyte(*command: object) -> subprocess.CompletedProcess[str]:
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash", *map(str, command)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(limited, capture_output=True, text=True, check=False, env={**os.environ, **threads})


def test_boxes_that_do_not_fit_into_the_memory_are_cut_in_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(rng.normal(size=(1024, 1024)).astype(np.float32))
        file.voxel_size = 1.5
    rows = "".join(f"{x:.1f} {y:.1f}\n" for x, y in rng.uniform(200, 800, (700, 2)))
    (tmp_path / "a.star").write_text(f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{rows}\n")
    words = ("extract", tmp_path / "a.star", "--micrographs", tmp_path, "-o", tmp_path / "out", "--box-size", 320)
    done = in_a_gigabyte(sys.executable, "-m", "cryoppp_annotator", *words)
    assert done.returncode == 0, done.stderr
    with mrcfile.mmap(tmp_path / "out" / "a.mrcs") as file:
        assert file.data.shape == (700, 320, 320)  # 287 MB
        assert file.header.rms == pytest.approx(file.data[::50].std(), rel=0.01)


def test_a_large_micrograph_is_denoised_in_a_gigabyte(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.tile(noise, (8, 8)))
        file.voxel_size = 1.2
    words = ("denoise", tmp_path / "a.mrc", "-o", tmp_path / "out")
    done = in_a_gigabyte(sys.executable, "-m", "cryoppp_annotator", *words)
    assert done.returncode == 0, done.stderr
    with mrcfile.mmap(tmp_path / "out" / "a.mrc") as file:
        assert file.data.shape == (4096, 4096)
        assert file.data[::50].std() == pytest.approx(1.0, rel=0.05)


def test_too_little_memory_says_what_would_be_enough(tmp_path: Path) -> None:
    header = np.zeros(256, np.int32)
    header[[0, 1, 2, 3, 7, 8, 9]] = 12_000, 8_000, 1, 2, 12_000, 8_000, 1
    header[52] = int.from_bytes(b"MAP ", "little")
    (tmp_path / "big.mrc").write_bytes(header.tobytes())
    os.truncate(tmp_path / "big.mrc", 1024 + 4 * 12_000 * 8_000)  # takes no room on the disk
    command = [
        sys.executable,
        "-m",
        "cryoppp_annotator",
        "pick",
        tmp_path,
        "-o",
        tmp_path / "out",
        "--diameter",
        "90px",
    ]
    done = in_a_gigabyte(*command)
    assert done.returncode == 1
    assert "there is not enough free memory" in done.stderr
    assert "GB for this program would be enough" in done.stderr
    assert "MemoryError" not in done.stderr
    assert "Unable to allocate" not in done.stderr
