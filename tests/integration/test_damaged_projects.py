"""Sound SQLite, nonsense in it: one sentence that names the place, nothing raw, nothing that hangs, and a way on."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import random
import shutil
import signal
import socket
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from damage import Damage, damaged_copy, flipped_copy, meaningless, sound_project, walk
from project_tools import open_session

from cryoppp_annotator.audit.queue import ErrorKind
from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import AnnotatorError
from cryoppp_annotator.model.curation import Delta, Kind, Table, pack
from cryoppp_annotator.session.classes.templates import list_templates
from cryoppp_annotator.session.core import watch
from cryoppp_annotator.session.core.opening import open_project
from cryoppp_annotator.session.pictures.coverage import Coverage
from cryoppp_annotator.session.review import map_verdicts
from cryoppp_annotator.session.review.error_queue import Review
from cryoppp_annotator.session.review.review_item import ReviewItem
from cryoppp_annotator.session.review.second_pass import BlindItem, SecondPass
from cryoppp_annotator.session.volume import stored_maps
from cryoppp_annotator.session.volume.map_run import MapResult, MapRun, PickVerdicts
from cryoppp_annotator.store.copies import FOLDER
from cryoppp_annotator.store.recover import recover
from cryoppp_annotator.store.soundness import find_problems
from cryoppp_annotator.store.store import DATABASE_NAME

#: Of some thousand; ``benchmarks/fuzz.py --databases`` tries them all.
TRIED = 120


class HangError(BaseException):
    """Nothing came back."""


@contextmanager
def limited(seconds: int):
    def stop(*_):
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return sound_project(tmp_path_factory.mktemp("sound") / "project")


def test_a_sound_project_has_no_problems(sound, tmp_path):
    assert find_problems(sound / DATABASE_NAME, deep=True) == []
    walk(Path(shutil.copytree(sound, tmp_path / "copy")), tmp_path / "out")


def attempt(folder: Path, out: Path) -> None:
    """Either it works or it is one of the program's own errors."""
    with limited(60):
        with contextlib.suppress(AnnotatorError):
            walk(folder, out)
        find_problems(folder / DATABASE_NAME, deep=True)


@pytest.mark.parametrize("damage", random.Random(5).sample(list(meaningless()), TRIED), ids=lambda d: d.name)
def test_nonsense_is_named_or_harmless(damage: Damage, sound, tmp_path):
    if damaged_copy(sound, tmp_path / "p", damage):
        attempt(tmp_path / "p", tmp_path / "out")


def test_flipped_bytes_are_named_or_harmless(sound, tmp_path):
    for seed in (*range(23), 37, 198):  # the last two: what SQLite says of it is not UTF-8
        flipped_copy(sound, tmp_path / "p", seed)
        attempt(tmp_path / "p", tmp_path / "out")


def sql(folder: Path, script: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.executescript(script)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("UPDATE micrograph SET state = 'nearly' WHERE id = 2", "micrograph, row 2, state"),
        ("UPDATE pick_set SET parameters = '{' WHERE id = 1", "pick_set, row 1, parameters"),
        ("UPDATE setting SET value = '\"wide\"' WHERE key = 'diameter_A'", "setting"),
        ("CREATE VIEW v AS SELECT 1", "the view 'v'"),
        ("CREATE TRIGGER t AFTER INSERT ON change BEGIN DELETE FROM particle; END", "the trigger 't'"),
    ],
)
def test_the_place_is_named_by_every_road(script, said, sound, tmp_path, capsys):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    sql(folder, script)
    with pytest.raises(AnnotatorError, match=said):
        open_session(folder)
    assert run(["status", str(folder)]) == 1
    assert said in capsys.readouterr().err
    assert run(["doctor", str(folder)]) == 1
    assert said in capsys.readouterr().out


def a_run(folder: Path) -> Path:
    """A small run in 3D beside the project; its folder."""
    n, eye = 4, np.eye(3)
    picks = PickVerdicts(
        np.arange(n), np.ones(n, np.int64), *[np.zeros(n)] * 4, np.stack([eye] * n), *[np.zeros(n)] * 2, np.zeros(n)
    )
    with closing(open_project(folder)) as session:
        result = MapResult(MapRun(0, {"name": "mine"}), picks, {"map": np.zeros((8, 8, 8), np.float32)}, {})
        return stored_maps.folder_of(session, stored_maps.save_map_run(session, result).run.number)


def _columns(**changes):
    def damage(run: Path):
        with np.load(run / "verdicts.npz") as kept:
            columns = dict(kept) | changes
        np.savez(run / "verdicts.npz", **columns)

    return damage


def _record(text: str):
    return lambda run: (run / "run.json").write_text(text)


def _pipe(name: str):
    def damage(run: Path):
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return damage


class Trap:
    """A pickle that leaves a mark where it is read."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


RUN_DAMAGES = {
    "pickle": _columns(x=np.array([Trap()] * 4, object)),
    "short": _columns(y=np.zeros(2)),
    "text": _columns(log_odds=np.array(["<b>"] * 4)),
    "matrices": _columns(matrices=np.zeros((4, 2, 2))),
    "order": _columns(particle=np.array([3, 2, 1, 0])),
    "half": _columns(half=np.full(4, 1e9)),
    "infinite": _columns(x=np.full(4, np.inf)),
    "no arrays": lambda run: os.truncate(run / "verdicts.npz", 100),
    "pipe": _pipe("verdicts.npz"),
    "pipe of a map": _pipe("map.mrc"),
    "pipe of a record": _pipe("run.json"),
    "huge map": lambda run: (run / "map.mrc").write_bytes(_mrc_header(4000)),
    "list": _record("[]"),
    "nested": _record("[" * 100_000),
    "notes": _record('{"notes": 7}'),
    "pixel": _record('{"pixel_size_A": -1}'),
    "endless": _record('{"parameters": {"symmetry": "D99999999"}}'),
    "parameters": _record('{"parameters": {"hidden": 7, "decisions": ["x"]}}'),
    "path": _record('{"parameters": {"map_path": 5}}'),
}


def _mrc_header(side: int) -> bytes:
    header = np.zeros(256, np.int32)
    header[[0, 1, 2, 3, 7, 8, 9]] = side, side, side, 2, side, side, side
    header[52] = int.from_bytes(b"MAP ", "little")
    return header.tobytes()


def test_a_run_in_3d_of_somebody_else_is_named_or_passed_over(sound, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    run_folder = a_run(folder)
    kept = shutil.copytree(run_folder, tmp_path / "kept")
    assert run(["doctor", str(folder)]) == 0
    with closing(open_project(folder)) as session:
        for name, damage in RUN_DAMAGES.items():
            shutil.rmtree(run_folder)
            shutil.copytree(kept, run_folder)
            damage(run_folder)
            with limited(20):
                for one in stored_maps.list_map_runs(session):
                    with pytest.raises(AnnotatorError):
                        stored_maps.load_map_run(session, one)
                assert map_verdicts.latest_verdicts(session) is None, name
            capsys.readouterr()
            assert run(["doctor", str(folder)]) == 1, name
            assert "maps" in capsys.readouterr().out
    assert not (tmp_path / "trapped").exists()


def test_recovery_saves_what_is_sound_and_counts_the_rest(sound, tmp_path, capsys):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    sql(
        folder,
        "UPDATE particle SET x = 'far' WHERE id = 3; UPDATE particle SET decision = 9 WHERE id = 4;"
        "UPDATE particle SET micrograph = 77 WHERE id = 5; UPDATE micrograph SET optics = '[' WHERE id = 3",
    )
    kept = folder / "maps" / "run-0001"
    kept.mkdir(parents=True)
    (kept / "run.json").write_text("{}")
    os.mkfifo(kept / "pipe")
    (kept / "link").symlink_to("/etc/passwd")
    assert run(["recover", str(folder), "-o", str(tmp_path / "new")]) == 1
    out = capsys.readouterr().out
    assert "3 left out" in out
    assert "1 saved, 2 left out" in out  # of the files beside it
    assert [path.name for path in (tmp_path / "new" / "maps" / "run-0001").iterdir()] == ["run.json"]
    with pytest.raises(AnnotatorError):
        recover(folder, tmp_path / "new")
    assert find_problems(tmp_path / "new" / DATABASE_NAME, deep=True) == []
    old, new = open_copy(sound, tmp_path / "s"), open_session(tmp_path / "new")
    before = {i for m in old.micrographs for i in old.store.particles(m.id).id.tolist()}
    after = {i for m in new.micrographs for i in new.store.particles(m.id).id.tolist()}
    assert after == before - {3, 4, 5}
    assert len(new.micrographs) == len(old.micrographs) - 1
    with contextlib.closing(open_project(tmp_path / "new", read_only=True)) as follows:
        assert follows.data_root == folder.resolve()
    new.go(1)
    assert new.add(500.0, 600.0).new_id > max(before), "no id is used twice"
    assert new.undo()
    old.close()
    new.close()


def open_copy(sound: Path, folder: Path):
    return open_session(Path(shutil.copytree(sound, folder)))


def test_recovery_passes_pages_that_cannot_be_read(sound, tmp_path):
    for seed in range(10):
        flipped_copy(sound, tmp_path / "p", seed)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        with limited(60):
            try:
                recover(tmp_path / "p", tmp_path / "new")
            except AnnotatorError:
                continue
            assert find_problems(tmp_path / "new" / DATABASE_NAME, deep=True) == []


def test_a_copy_is_kept_each_day_and_named_when_it_is_needed(sound, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    days = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"]
    for day in days:
        _on(day, monkeypatch, lambda: open_session(folder).close())
        _on(day, monkeypatch, lambda: open_session(folder).close())
    kept = sorted(path.name for path in (folder / FOLDER).iterdir())
    assert kept == [f"annotations-{day}.sqlite" for day in days[-3:]]
    sql(folder, "UPDATE micrograph SET width = 'wide'")
    with pytest.raises(AnnotatorError, match=r"backups/annotations-2026-01-05\.sqlite"):
        open_session(folder)
    shutil.copy(folder / FOLDER / kept[-1], folder / DATABASE_NAME)
    for leftover in folder.glob(f"{DATABASE_NAME}-*"):
        leftover.unlink()
    walk(folder, tmp_path / "out")


def _on(day: str, monkeypatch, do: Callable[[], object]) -> None:
    import datetime

    class Day(datetime.date):
        @classmethod
        def today(cls):
            return cls.fromisoformat(day)

    with monkeypatch.context() as patch:
        patch.setattr("cryoppp_annotator.store.copies.datetime.date", Day)
        do()


ODD_PLACES = (
    *("cache/files.json", "cache/window.json", "cache/proposals", "templates/t.json"),
    *("review/queue.json", "review/second_pass.json", "review/second_pass_answers.jsonl", "review/seen/0.json"),
)


def odd_thing(place: Path, kind: str) -> None:
    """A pipe, a device, a socket, a folder or nonsense where a kept file belongs."""
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "socket":
        with contextlib.chdir(place.parent), socket.socket(socket.AF_UNIX) as bound:
            bound.bind(place.name)
    elif kind == "folder":
        place.mkdir()
    else:
        place.write_text({"nested": "[" * 100_000, "other": '{"a": 5, "/x": [1, 2, 3, 4, 5]}'}[kind])


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "nested", "other"])
def test_what_is_kept_beside_the_database_never_hangs_nor_stops_a_project(kind, sound, tmp_path):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    kept = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.parent != folder]
    kept = [path for path in kept if path.parts[0] in ("cache", "classes", "templates", "models")]
    for place in [*map(Path, ODD_PLACES), *kept]:
        odd_thing(folder / place, kind)
    with limited(60), contextlib.closing(open_project(folder, curator="me")) as session:
        watch.check(session, new=True)
        assert list_templates(session) == []
        with contextlib.suppress(AnnotatorError):
            Review(session).load()
        with contextlib.suppress(AnnotatorError):
            SecondPass(session).load()
        assert all(Coverage(session).share(m.id) == 0.0 for m in session.micrographs)
    attempt(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["annotations.sqlite-journal", "annotations.sqlite-wal", "annotations.sqlite-shm"])
def test_a_pipe_that_sqlite_would_open_is_named(name, sound, tmp_path, capsys):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    for words in (["status"], ["doctor"], ["species", "--add", "new"], ["merge", str(sound)], ["recover", "-o", "new"]):
        with limited(20):
            assert run([words[0], str(folder), *words[1:]]) == 1
        assert f"{name} is no ordinary file" in capsys.readouterr().err
    with closing(sqlite3.connect(sound / DATABASE_NAME)) as untouched:
        assert untouched.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("name", [DATABASE_NAME, "backups", "cache", "classes", "maps", "review"])
def test_a_project_writes_through_no_link_in_its_folder(name, sound, tmp_path, capsys):
    """Its cache would be emptied of what is old, wherever it leads."""
    folder, victim = Path(shutil.copytree(sound, tmp_path / "p")), tmp_path / "victim"
    if name == DATABASE_NAME:
        os.rename(folder / name, victim)
    else:
        shutil.rmtree(folder / name, ignore_errors=True)
        victim.mkdir()
        (victim / "1-old.npz").write_text("precious")
    (folder / name).symlink_to(victim)
    before = victim.read_bytes() if victim.is_file() else sorted(victim.iterdir())
    assert run(["species", str(folder), "--add", "new"]) == 1
    assert f"{folder / name} is a link to {victim}" in capsys.readouterr().err
    assert run(["status", str(folder)]) == 0  # to read
    assert before == (victim.read_bytes() if victim.is_file() else sorted(victim.iterdir()))


def places_in(value: object, above: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Where something stands in what JSON says."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*above, key)
        yield from places_in(value[key], (*above, key))


def test_nonsense_in_a_review_is_named_or_passed_over(sound, tmp_path):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    with contextlib.closing(open_project(folder, curator="me")) as session:
        first = session.micrographs[0].id
        SecondPass(session).start([BlindItem(first, 10.0, 20.0, True, 2.0)], "labels")
        Review(session).start([ReviewItem(first, 0, 10.0, 20.0, math.nan, 3.0, ErrorKind.MOVED, 0.9)])
        kept = {path: path.read_text() for path in (folder / "review").glob("*.json")}
        assert len(kept) == 2
        for path, text in kept.items():
            for place in places_in(json.loads(text)):
                for nonsense in (None, "x", -1, 10**30, math.inf, [], {"a": 1}):
                    values = json.loads(text)
                    reduce(lambda inner, key: inner[key], place[:-1], values)[place[-1]] = nonsense
                    path.write_text(json.dumps(values))
                    for review in (SecondPass(session), Review(session)):
                        with contextlib.suppress(AnnotatorError):
                            review.load()
                            number = review.next()
                            assert number is None or review.items[number].micrograph in session.loaded
                            assert not isinstance(review, SecondPass) or review.as_csv()
            path.write_text(text)


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_json", ".json"), data)
    return stream.getvalue()


def inserted(**columns: object) -> bytes:
    """A step that inserts a particle, with these of its columns made other than they are."""
    usual = {"micrograph": [1], "pick_set": [1], "x": [5.0], "y": [5.0], "decision": [0], **columns}
    after = {name: np.array(value) for name, value in usual.items() if value is not None}
    return pack((Delta(Table.PARTICLE, Kind.INSERT, np.array([900]), {}, after, np.array([1])),))


HEADLESS = (
    None,
    0,
    "x",
    [3],
    {"table": "particle"},
    [{"table": "particle", "kind": "insert", "before": 3, "after": 3}],
)


@pytest.mark.parametrize(
    "payload",
    [
        zipped(head_json=b"[]", bomb=bytes(200 << 20)),
        zipped(head_json=b" " * (2 << 20)),
        zipped(head_json=b"[" * 100_000),
        *(zipped(head_json=json.dumps(head).encode()) for head in HEADLESS),
        inserted(x=[math.nan]),
        inserted(y=[math.inf]),
        inserted(x=None),
        inserted(x=["far"]),
        inserted(decision=[7]),
        inserted(micrograph=[2**62]),
        inserted(y=[1.0, 2.0, 3.0]),
        inserted(evil=[1]),
        pack((Delta(Table.SETTING, Kind.UPDATE, np.array([1]), {}, {"key": np.array(["x"])}),)),
        pack((Delta(Table.SPECIES, Kind.INSERT, np.array([9]), {}, {"name": np.array(["n" * 5000])}),)),
    ],
)
def test_a_step_of_the_history_that_makes_no_sense_is_named_by_every_road(payload, sound, tmp_path, capsys):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection, connection:
        newest = "SELECT max(id) FROM change WHERE kind = 'do' AND state = 'applied'"
        connection.execute(f"UPDATE change SET payload = ? WHERE id = ({newest})", (payload,))
    with limited(30):
        assert run(["history", str(folder), "--csv", str(tmp_path / "h.csv")]) == 1
        assert "the history is damaged at" in capsys.readouterr().err
        session = open_session(folder)
        before = session.counts()
        with pytest.raises(AnnotatorError, match="the history is damaged at"):
            session.undo()
        assert session.counts() == before
        session.close()


def test_a_text_that_a_project_could_not_be_opened_with_is_not_kept(sound, tmp_path, capsys):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    assert run(["species", str(folder), "--add", "n" * 5000]) == 1
    assert "not a text of at most 4,096 characters" in capsys.readouterr().err
    assert find_problems(folder / DATABASE_NAME) == []


def test_of_two_projects_the_damaged_one_is_named(sound, tmp_path, capsys):
    mine, other = (Path(shutil.copytree(sound, tmp_path / name)) for name in ("mine", "other"))
    sql(other, "UPDATE particle SET x = 9e999 WHERE id = 3")
    assert run(["merge", str(mine), str(other)]) == 1
    message = capsys.readouterr().err
    assert f"{other / DATABASE_NAME} is damaged: a value of x is infinite" in message
    assert f"doctor {other}" in message


def test_a_position_that_is_a_word_is_no_position(sound, tmp_path, capsys):
    folder = Path(shutil.copytree(sound, tmp_path / "p"))
    sql(folder, "UPDATE particle SET x = 'nan' WHERE id = 3")
    twin = Path(shutil.copytree(sound, tmp_path / "twin"))
    assert run(["merge", str(twin), str(folder)]) == 1
    assert "a value of x is no number" in capsys.readouterr().err
    assert find_problems(twin / DATABASE_NAME, deep=True) == []
