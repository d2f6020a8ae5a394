"""The schema that migrations make is the one the program expects, and every released one opens."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.store import database, schema
from cryoppp_annotator.store.store import DATABASE_NAME, Store

DATA = Path(__file__).resolve().parents[2] / "data"


def differences(folder: Path) -> list[object]:
    engine = database.make_engine(folder / DATABASE_NAME)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": other_default}
        changes = compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)
    engine.dispose()
    return list(changes)


def other_default(*arguments: object) -> bool:
    """Alembic takes SQLite's ('') for another default than an empty string."""
    *_, inspected, _declared, rendered = arguments
    return str(inspected or "").strip("'()") != str(rendered or "").strip("'()")


def revision(folder: Path) -> str:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_migrated_schema_is_the_declared_one(tmp_path: Path) -> None:
    Store.create(tmp_path).close()
    assert revision(tmp_path) == schema.HEAD
    assert differences(tmp_path) == []


def test_the_comparison_would_tell(tmp_path: Path) -> None:
    Store.create(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        connection.execute("ALTER TABLE particle DROP COLUMN extra")
        connection.execute("DROP INDEX change_by_state")
    assert len(differences(tmp_path)) == 2


def test_the_migrations_lead_to_the_head(tmp_path: Path) -> None:
    assert schema.HEAD in database.known_revisions()


def test_an_existing_project_is_not_migrated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.create(tmp_path).close()

    def refuse(*_arguments: object, **_more: object) -> None:
        raise AssertionError("migrated again")

    monkeypatch.setattr(command, "upgrade", refuse)
    before = (tmp_path / DATABASE_NAME).read_bytes()
    Store.open(tmp_path).close()
    Store.open(tmp_path, read_only=True).close()
    assert (tmp_path / DATABASE_NAME).read_bytes() == before


def test_projects_made_at_the_same_time(tmp_path: Path) -> None:
    """Alembic keeps its state in globals; two threads must not migrate each other's file."""

    def make(number: int) -> list[object]:
        Store.create(tmp_path / str(number)).close()
        return differences(tmp_path / str(number))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(12))) == [[]] * 12


def test_a_failed_migration_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade

    def fail(*arguments: object, **more: object) -> None:
        upgrade(*arguments, **more)  # type: ignore[arg-type]
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(database.ProjectError, match="full"):
        Store.create(tmp_path)
    assert list(tmp_path.iterdir()) == [], "of a new one nothing is left"
    shutil.copy(DATA / "schema_0001.sqlite", tmp_path / DATABASE_NAME)
    with pytest.raises(database.ProjectError, match="full"):
        Store.open(tmp_path)
    monkeypatch.undo()
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    Store.open(tmp_path).close()
    assert differences(tmp_path) == []


def test_a_project_of_schema_0001_opens(tmp_path: Path) -> None:
    shutil.copy(DATA / "schema_0001.sqlite", tmp_path / DATABASE_NAME)
    session = Session(Store.open(tmp_path), curator="ann", data_root=tmp_path)
    assert revision(tmp_path) == schema.HEAD
    assert differences(tmp_path) == []

    assert [m.name for m in session.micrographs] == ["m0", "m1", "m2"]
    states = [MicrographState.IN_PROGRESS, MicrographState.UNSEEN, MicrographState.EMPTY]
    assert [m.state for m in session.micrographs] == states
    assert [session.pixel_size_A(m) for m in session.micrographs] == [1.5, 0.75, 1.5]
    assert session.diameter_A == 120
    assert session.counts() == {"accepted": 1, "undecided": 2, "rejected": 1}
    assert {i: s.kind for i, s in session.pick_sets.items()} == {1: "import", 2: "hand"}
    session.go(1)
    p = session.particles
    assert p.id.tolist() == [1, 2, 4]
    assert p.x.tolist() == [100.5, 200.25, 400.125]
    assert p.y.tolist() == [10.0, 20.0, 40.0]
    np.testing.assert_array_equal(p.score, [0.5, 1.5, np.nan])
    assert p.decision.tolist() == [Decision.REJECTED, Decision.UNDECIDED, Decision.ACCEPTED]
    assert p.reason.tolist() == [Reason.CARBON, 0, 0]
    assert session.store.extra(1) == {2: {"rlnRow": "1"}}

    assert session.redo() == "move 1 pick on m0"
    assert session.particles.x.tolist() == [100.5, 200.25, 401.0]
    steps = 0
    while session.undo() is not None:
        steps += 1
    assert steps == 7
    assert session.counts() == {"accepted": 0, "undecided": 0, "rejected": 0}
    assert session.store.pick_sets() == []
    session.go(1)
    assert session.add(1, 1).new_id == 5  # an id that was used never comes back
    session.close()
