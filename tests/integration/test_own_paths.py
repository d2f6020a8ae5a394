"""A project of somebody else names files: none is opened outside its micrographs' folders without being asked."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import OutsideError, ProjectError
from cryoppp_annotator.session.core import opening, own_paths, watch
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.session.files.as_imported import write_back
from cryoppp_annotator.store.store import DATABASE_NAME


def write_mrc(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32))
        file.voxel_size = 1.5


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an import from its maker's own folder, as another user gets it."""
    write_mrc(tmp_path / "data" / "a.mrc")
    labels = tmp_path / "elsewhere" / "a.box"
    labels.parent.mkdir()
    labels.write_text("10\t10\t20\t20\n30\t30\t20\t20\n")
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "maker"))
    with closing(opening.open_plan(opening.plan(tmp_path / "data"), curator="maker")) as session:
        importing.enter(session, importing.read(session, labels))
        write_back(session, max(session.pick_sets), tmp_path / "makers")  # who named the folder is not asked
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "mine"))
    return tmp_path / "data" / opening.FOLDER_NAME


def sql(folder: Path, script: str, *parameters: object) -> None:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection, connection:
        connection.execute(script, parameters)


def test_imported_files_elsewhere_are_not_opened_unasked(received, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["export", str(received), "-o", str(out), "--to", "as-imported"]) == 1
    assert "outside the folders of its micrographs" in (said := capsys.readouterr().err)
    assert "--allow-outside" in said
    assert not out.exists()
    assert run(["export", str(received), "-o", str(out), "--to", "as-imported", "--allow-outside"]) == 0
    assert (out / "a.box").read_bytes() == (tmp_path / "elsewhere" / "a.box").read_bytes()
    with closing(opening.open_project(received, read_only=True)) as session:
        with pytest.raises(OutsideError) as refused:
            write_back(session, 1, tmp_path / "again")
        own_paths.allow(session, refused.value.folders)
    with closing(opening.open_project(received, read_only=True)) as later:
        write_back(later, 1, tmp_path / "again")


def test_what_is_allowed_is_not_the_projects_to_say(received, tmp_path):
    """Nor does a link in the micrographs' folder, or a way with dots, lead out of it."""
    with closing(opening.open_project(received, read_only=True)) as session:
        os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
        named = ["../elsewhere/a.box", "link/a.box", str(tmp_path / "elsewhere" / "a.box"), "/etc/passwd", "x\0"]
        for name in named:
            assert own_paths.outside(session, [session.data_root / name]), name
        for name in ("a.mrc", "sub/../picture.mrc", "new/deep/x.png"):
            assert not own_paths.outside(session, [session.data_root / name]), name
    kept = tmp_path / "mine" / "allowed-folders.json"
    kept.parent.mkdir(exist_ok=True)
    for text in ("[", "[[]]", '{"x": 5}', "[" * 100_000):
        kept.write_text(text)
        with closing(opening.open_project(received, read_only=True)) as session:
            assert own_paths.outside(session, [Path("/etc/passwd")]) == (Path("/etc").resolve(),)


def test_new_micrographs_are_not_looked_for_where_only_the_project_says(received, tmp_path):
    write_mrc(tmp_path / "victim" / "private.mrc")
    sources = json.dumps([str(tmp_path / "victim"), str(tmp_path / "*" / "*.mrc"), "."])
    sql(received, "INSERT OR REPLACE INTO setting (key, value) VALUES (?, ?)", watch.SOURCES, sources)
    write_mrc(tmp_path / "data" / "new.mrc")
    with closing(opening.open_project(received, read_only=True)) as session:
        assert [path.name for path in watch.new_images(session)] == ["new.mrc"]
    with closing(opening.open_project(received)) as session:
        watch.remember_sources(session, [str(tmp_path / "victim")])  # now a person has opened that folder
        assert {path.name for path in watch.new_images(session)} == {"private.mrc", "new.mrc"}


@pytest.mark.parametrize("folder", ["..", ".", "../data", "classes/run-1/../../..", "/tmp", "classes", "classes/run-x"])
def test_forgetting_classes_deletes_no_folder_of_the_projects_choice(folder, received):
    sql(
        received,
        "INSERT INTO record (id, kind, engine, version, parameters, inputs, counts, curator, started) "
        "VALUES (90, 'classify', 'e', '1', '{}', '{}', '{}', 'c', '2026')",
    )
    sql(
        received,
        "INSERT INTO class_run (id, record, name, head, pixel_size_A, folder, summary) "
        "VALUES (9, 90, 'r', 0, 2.0, ?, '[]')",
        folder,
    )
    with pytest.raises(ProjectError, match="class_run, row 9, folder"):
        opening.open_project(received)


@pytest.mark.parametrize(
    "parameters",
    [
        {"files": ["a.box"]},
        {"files": ["a.box"], "format": "box", "identity": 5},
        {"files": ["a\0.box"], "format": "box", "identity": "x"},
        {"companions": 5},
        {"unmatched": {"a": 1}},
        {"names": {"one": "x"}},
        {"optics": {"1": ["x"]}},
    ],
    ids=str,
)
def test_nonsense_about_an_import_is_named(parameters, received):
    sql(received, "UPDATE pick_set SET parameters = ?", json.dumps(parameters))
    with pytest.raises(ProjectError, match="pick_set, row 1, parameters"):
        opening.open_project(received)


def test_the_root_that_a_project_says_leads_nowhere(received, tmp_path):
    (micrograph,) = (tmp_path / "data").glob("*.mrc")
    sql(received, "UPDATE micrograph SET path = ?", str(micrograph))
    sql(received, "UPDATE setting SET value = '\"/\"' WHERE key = 'data_root'")
    sql(received, "UPDATE setting SET value = '[\"**/*.mrc\"]' WHERE key = 'micrograph_sources'")
    with closing(opening.open_project(received, read_only=True)) as session:
        assert session.data_root == Path("/")
        assert own_paths.outside(session, [tmp_path / "elsewhere" / "a.box"])
        assert watch.new_images(session) == []


def test_a_moved_project_asks_anew(received, tmp_path):
    with closing(opening.open_project(received, read_only=True)) as session:
        own_paths.allow(session, [tmp_path / "elsewhere"])
    moved = Path(shutil.copytree(received, tmp_path / "other" / "copy"))
    with closing(opening.open_project(moved, read_only=True)) as session:
        assert own_paths.outside(session, [tmp_path / "elsewhere" / "a.box"])
