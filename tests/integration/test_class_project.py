"""2D classes of a project's picks: run, kept, read again, decided about, brought up to date; and hostile input."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from class_tools import BAR, NOTHING, SIDE, all_picks, make_micrographs, make_project, purity

from cryoppp_annotator.cli.main import run as run_command
from cryoppp_annotator.errors import Cancelled, EngineError, ProjectError, Refused
from cryoppp_annotator.formats.image.stacks import read_stack
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.imaging.ctf import Ctf, Defocus
from cryoppp_annotator.jobs.runner import JobState, Runner
from cryoppp_annotator.model.classes import ClassRun
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.classes import decide, stages
from cryoppp_annotator.session.classes.decide import RunOptions
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.pictures.optics import set_optics
from cryoppp_annotator.store.store import DATABASE_NAME

K = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with micrographs and a project in which a run is kept; tests work on copies."""
    folder = tmp_path_factory.mktemp("made") / "data"
    truth = make_micrographs(folder)
    session = make_project(folder, truth, jitter_px=1.5)
    decide.enter_run(session, decide.classify_project(session, RunOptions(K)))
    session.close()
    return folder, truth


@pytest.fixture
def truth(made) -> dict[str, np.ndarray]:
    return made[1]


@pytest.fixture
def session(made, tmp_path: Path) -> Iterator[Session]:
    shutil.copytree(made[0], tmp_path / "data")
    opened = opening.open_project(tmp_path / "data" / "project", curator="me")
    yield opened
    opened.close()


@pytest.fixture
def bare(made, tmp_path: Path) -> Iterator[Session]:
    """The same micrographs and picks, nothing classified yet."""
    (tmp_path / "bare").mkdir()
    for file in made[0].glob("*.mrc"):
        shutil.copy(file, tmp_path / "bare")
    opened = make_project(tmp_path / "bare", made[1], jitter_px=1.5)
    yield opened
    opened.close()


def only_run(session: Session) -> ClassRun:
    (run,) = decide.list_runs(session)
    return run


def test_a_run_is_kept_and_read_again_without_computing(session: Session, truth) -> None:
    run = only_run(session)
    assert run.source == "here"
    assert [item.number for item in run.summaries] == list(range(1, K + 1))
    averages = decide.load_averages(session, run)
    assert averages.shape[0] == K
    assert np.isfinite(averages).all()
    members = decide.members(session, run.id)
    assert len(members) == len(truth["x"])
    assert np.bincount(members.number, minlength=K + 1)[1:].tolist() == [item.count for item in run.summaries]
    assert purity(members.number, truth["kind"]) > 0.8
    kept = {item.number for item in run.summaries if item.suggestion is Decision.ACCEPTED}
    particle = truth["kind"] != NOTHING
    in_kept = np.isin(members.number, list(kept))
    assert in_kept[particle].mean() > 0.8
    assert in_kept[~particle].mean() < 0.2
    assert "look like particles" in run.verdict
    record = run.record
    assert (record["kind"], record["curator"]) == ("classify", "me")
    assert record["parameters"]["n_classes"] == K
    assert record["counts"]["classified"] == len(members)
    assert record["version"]
    assert record["seconds"] > 0
    one = decide.members(session, run.id, micrograph=session.micrographs[1].id, number=1)
    assert set(one.particle) == set(
        members.particle[(members.micrograph == session.micrographs[1].id) & (members.number == 1)]
    )
    where = decide.micrographs_of(session, run.id, [1])
    assert sum(n for _, n in where) == run.summaries[0].count
    assert [n for _, n in where] == sorted((n for _, n in where), reverse=True)


def test_another_window_sees_the_run(session: Session) -> None:
    with closing(opening.open_project(session.store.folder, curator="other")) as other:
        result = decide.classify_project(session, RunOptions(2, name="two"))
        assert len(decide.list_runs(other)) == 1  # saved, not entered
        decide.enter_run(session, result)
        assert other.poll()
        assert [run.name for run in decide.list_runs(other)][1:] == ["two"]
        decide.forget_run(other, decide.list_runs(other)[1])
    assert len(decide.list_runs(session)) == 1
    assert not list((session.store.folder / "classes").glob("run-0002*"))


def test_the_same_picks_and_seed_give_the_same_classes(bare: Session, session: Session) -> None:
    first, again = only_run(session), decide.classify_project(bare, RunOptions(K))
    assert np.array_equal(decide.members(session, first.id).number, again.members["number"])


def test_rejecting_classes_is_one_step_over_all_micrographs(session: Session) -> None:
    run = only_run(session)
    members = decide.members(session, run.id)
    mine = members.particle[np.isin(members.number, [1, 2])]
    here = session.micrographs[0].id
    session.go(here)
    on_here = members.particle[(members.number == 1) & (members.micrograph == here)]
    session.decide(on_here[:1], Decision.REJECTED, Reason.ICE)
    session.decide(on_here[1:2], Decision.ACCEPTED)
    before = all_picks(session)
    assert decide.decide_classes(session, run.id, [2, 1], Decision.REJECTED).n == len(mine) - 1
    after = all_picks(session)
    rejected = np.isin(after["id"], mine)
    assert (after["decision"][rejected] == Decision.REJECTED).all()
    assert (after["decision"][~rejected] == Decision.UNDECIDED).all()
    assert after["reason"][after["id"] == on_here[0]] == Reason.ICE
    assert (after["reason"][rejected] == Reason.NOT_A_PARTICLE).sum() == len(mine) - 1
    counts = decide.counts(session, run)
    assert counts[:2, Decision.REJECTED].sum() == len(mine)
    assert session.counts()["rejected"] == len(mine)
    assert session.next_undo().title == f"reject {len(mine) - 1} picks as not a particle of classes 1, 2"
    assert decide.decide_classes(session, run.id, [1, 2], Decision.REJECTED).n == 0
    # accepting takes back what was rejected as junk, and leaves what a person rejected as ice
    assert decide.decide_classes(session, run.id, [1], Decision.ACCEPTED).n == run.summaries[0].count - 1
    assert all_picks(session)["reason"][after["id"] == on_here[0]] == Reason.ICE
    session.undo()
    session.undo()
    assert {k: v.tolist() for k, v in all_picks(session).items()} == {k: v.tolist() for k, v in before.items()}
    assert decide.changed_since(session, run) == (0, 0, 0)


def test_recentring_moves_picks_to_their_particles_once(session: Session, truth) -> None:
    run = only_run(session)
    before = all_picks(session)
    here = session.micrographs[0].id
    session.go(here)
    by_hand = int(session.particles.id[0])
    session.move([by_hand], session.particles.x[:1] + 7, session.particles.y[:1])
    moved = decide.recentre(session, run.id).n
    after = all_picks(session)
    changed = (after["x"] != before["x"]) | (after["y"] != before["y"])
    assert changed.sum() == moved + 1
    assert after["x"][after["id"] == by_hand] == before["x"][0] + 7
    structure = [item.number for item in run.summaries if item.kind == "structure"]
    members = decide.members(session, run.id)
    good = np.isin(members.number, structure) & (truth["kind"] == BAR) & (after["id"] != by_hand)
    off = [np.hypot(picks["x"] - truth["x"], picks["y"] - truth["y"])[good] for picks in (before, after)]
    assert np.median(off[1]) < 0.7 * np.median(off[0])
    assert decide.recentre(session, run.id).n == 0
    assert decide.changed_since(session, run) == (0, 0, 1)  # the hand's; to a class's centre is no news
    assert "centre of their classes" in session.undo()
    session.undo()
    assert np.array_equal(all_picks(session)["x"], before["x"])


def test_a_run_out_of_date_is_brought_up_to_date_from_what_is_there(session: Session) -> None:
    run = only_run(session)
    first, rest = session.micrographs[0], session.micrographs[1:]
    session.go(first.id)
    new = session.add(70, 70).new_id
    gone = session.add(126, 70).new_id
    session.move([int(session.particles.id[3])], [session.particles.x[3] + 3], [session.particles.y[3]])
    session.remove([gone])
    session.decide([int(session.particles.id[5])], Decision.ACCEPTED)
    decide.decide_classes(session, run.id, [K], Decision.REJECTED)
    assert decide.changed_since(session, run) == (1, 0, 1)
    assert decide.is_out_of_date(session, run) == 2
    for other in rest:  # unchanged picks are not cut out again: their micrographs may be away
        session.path_of(other).rename(session.path_of(other).with_suffix(".away"))
    options = decide.update_of(run)
    assert options.start_from == run.id
    steps: list[int] = []
    result = decide.classify_project(session, options, on_iteration=lambda p: steps.append(p.n_picks))
    assert not [note for note in result.notes if "skipped" in note]
    newer = decide.enter_run(session, result)
    assert decide.is_out_of_date(session, newer) == 0
    fresh = decide.members(session, newer.id)
    assert new in fresh.particle
    old = decide.members(session, run.id)
    common, a, b = np.intersect1d(old.particle, fresh.particle, return_indices=True)
    assert len(common) > 150
    assert purity(fresh.number[b], old.number[a]) > 0.8
    assert 0 < len(steps) <= 6  # a few iterations, not a run


def test_picks_beyond_what_averages_are_made_of_are_assigned_in_pieces(
    bare: Session, truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "TRAINED", 90)
    result = decide.classify_project(bare, RunOptions(4, subset=60))
    assert (result.members["number"] > 0).all()
    assert purity(result.members["number"], truth["kind"]) > 0.75
    assert sum(item.count for item in result.run.summaries) == len(truth["x"])
    run = decide.enter_run(bare, result)
    bare.go(bare.micrographs[0].id)
    new = bare.add(70, 70).new_id
    again = decide.classify_project(bare, decide.update_of(run))
    assert again.members["number"][again.members["particle"] == new] > 0
    same = np.isin(again.members["particle"], result.members["particle"])
    assert purity(again.members["number"][same], result.members["number"].astype(float)) > 0.75


def test_a_second_run_may_write_the_boxes_of_the_first_anew(bare: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "TRAINED", 60)  # the others are read after the averages are made
    alone = decide.classify_project(bare, RunOptions(3))
    stacks: list[np.ndarray] = []

    def meanwhile(_preview: object) -> None:
        if not stacks:
            first = bare.micrographs[0]
            bare.go(first.id)
            bare.remove([bare.add(70, 67).new_id])
            bare.add(126, 67)
            stacks.append(decide.classify_project(bare, RunOptions(2)).averages)
            file = next((bare.store.folder / "cache" / "boxes").glob(f"{first.id}-*.npy"))
            records = np.load(file)
            np.save(file, np.concatenate([records[:1], records]))  # rows are others than they were
            records["particle"][0] = -1
            np.save(file, np.concatenate([records[:1], np.load(file)[1:]]))

    both = decide.classify_project(bare, RunOptions(3), on_iteration=meanwhile)
    assert stacks
    assert np.array_equal(both.averages, alone.averages)
    assert np.array_equal(both.members["number"], alone.members["number"])


def test_some_classes_alone_are_classified_again(session: Session) -> None:
    run = only_run(session)
    options = decide.reclassify(run, [1, 2], 3)
    again = decide.enter_run(session, decide.classify_project(session, options))
    mine = decide.members(session, run.id)
    assert set(decide.members(session, again.id).particle) == set(mine.particle[np.isin(mine.number, [1, 2])])
    assert len(again.summaries) == 3
    assert "classes 1, 2" in again.name
    with pytest.raises(Refused, match="choose"):
        decide.reclassify(run, [])


def test_averages_become_templates(session: Session) -> None:
    run = only_run(session)
    path = decide.save_templates(session, run.id, [2, 1])
    (templates,) = decide.list_templates(session)
    assert templates.path == path
    images, same = decide.load_template(session, templates.name)
    assert same == templates
    assert np.array_equal(images, decide.load_averages(session, run)[:2])
    assert read_stack(path)[1] == pytest.approx(run.pixel_size_A)
    assert (templates.pixel_size_A, templates.diameter_A, templates.white) == (run.pixel_size_A, 60.0, True)
    assert templates.numbers == (1, 2)
    known = [np.nan if resolution is None else resolution for resolution in templates.resolution_A]
    assert known == pytest.approx([summary.resolution_A for summary in run.summaries[:2]], nan_ok=True)
    with pytest.raises(Refused, match="choose"):
        decide.save_templates(session, run.id, [])
    for bad in ("../outside", ".hidden"):
        with pytest.raises(Refused, match="name"):
            decide.save_templates(session, run.id, [1], bad)
    path.write_bytes(b"")
    with pytest.raises(Exception, match=path.name):
        decide.load_template(session, templates.name)


# ---------------------------------------------------------------------- jobs


def test_a_cancelled_run_ends_within_a_second_and_leaves_nothing(bare: Session) -> None:
    runner = Runner()
    begun = threading.Event()
    job = runner.submit(
        lambda context: decide.classify_project(
            bare, RunOptions(K), context=context, on_iteration=lambda _: begun.set()
        ),
        title="classes",
    )
    assert begun.wait(300)
    spent = time.process_time()  # of this process: what else the machine does is not the run's
    job.cancel()
    assert job.wait(300)
    assert time.process_time() - spent < 2.0
    runner.deliver()
    assert job.state is JobState.CANCELLED
    assert decide.list_runs(bare) == []
    with closing(sqlite3.connect(bare.store.path)) as raw:
        assert raw.execute("select count(*) from class_run").fetchone() == (0,)
    runner.close()


def test_cancelled_while_cutting_out_or_saving(bare: Session) -> None:
    for word in ("cutting out", "saving"):
        seen: list[str] = []
        context = JobContext(
            on_progress=lambda _d, _t, message, seen=seen: seen.append(message),
            is_cancelled=lambda seen=seen, word=word: any(word in message for message in seen),
        )
        with pytest.raises(Cancelled):
            decide.classify_project(bare, RunOptions(2), context=context)
    with closing(sqlite3.connect(bare.store.path)) as raw:
        for name in ("class_run", "class_member", "record"):
            assert raw.execute(f"select count(*) from {name}").fetchone() == (0,)
    assert not list((bare.store.folder / "classes").glob("*"))


def test_picks_are_edited_while_it_runs(bare: Session) -> None:
    bare.go(bare.micrographs[0].id)
    before = bare.counts()["undecided"]

    def edit(preview: object) -> None:
        if bare.counts()["accepted"] < 3:
            bare.add(70 + 56 * bare.counts()["accepted"], 70)

    result = decide.classify_project(bare, RunOptions(2), on_iteration=edit)
    run = decide.enter_run(bare, result)
    assert sum(item.count for item in run.summaries) == before
    assert decide.changed_since(bare, run) == (3, 0, 0)


# ---------------------------------------------------------------------- bad input


def test_bad_picks_and_micrographs_are_skipped_and_told(bare: Session) -> None:
    one, two, three, four = bare.micrographs
    bare.go(one.id)
    bare.add(3, 3)  # off the edge
    bare.go(two.id)
    with mrcfile.mmap(bare.path_of(two), "r+") as file:
        file.data[20:70, 20:70] = np.nan
        file.data[160:260, 160:260] = 5.0
    bare.path_of(three).unlink()
    bare.set_pixel_size(2.6, four.id)
    result = decide.classify_project(bare, RunOptions(4))
    assert [note for note in result.notes if note.startswith(f"skipped {three.name}")]
    left_out = next(note for note in result.notes if "left out" in note)
    number = dict(zip(result.members["particle"].tolist(), result.members["number"].tolist(), strict=True))
    picks = all_picks(bare)
    without = np.array([number[i] == 0 for i in picks["id"].tolist()])
    assert f"left out: {without.sum()} of {len(without)} picks" in left_out
    assert without[picks["micrograph"] == three.id].all()
    assert not without[picks["micrograph"] == four.id].any()
    x, y = picks["x"], picks["y"]
    assert without[(x < 20) & (y < 20)].all()
    middle = (picks["micrograph"] == two.id) & (np.abs(x - 210) < 15) & (np.abs(y - 192) < 15)
    corner = (picks["micrograph"] == two.id) & (x < 80) & (y < 80)
    assert middle.any()
    assert without[middle].all()
    assert corner.any()
    assert without[corner].all()
    run = decide.enter_run(bare, result)
    assert len(decide.members(bare, run.id)) == (~without).sum()
    assert len(decide.members(bare, run.id, number=0)) == without.sum()
    assert decide.is_out_of_date(bare, run) == 0


def test_a_micrograph_of_much_coarser_pixels_than_the_others_is_skipped(bare: Session) -> None:
    wrong = bare.micrographs[3]
    bare.set_pixel_size(25.0, wrong.id)
    result = decide.classify_project(bare, RunOptions(3))
    assert any(note.startswith(f"skipped {wrong.name}: its pixels of 25 Å are coarser") for note in result.notes)
    assert result.run.record["counts"]["classified"] == 147
    bare.set_pixel_size(3.5, wrong.id)  # a little coarser: all boxes follow
    result = decide.classify_project(bare, RunOptions(3))
    assert result.run.record["counts"]["classified"] > 180
    assert result.run.pixel_size_A == pytest.approx(3.5, rel=0.05)


def test_the_defocus_that_is_known_is_used(bare: Session) -> None:
    one, two, *_ = bare.micrographs
    plain = decide.classify_project(bare, RunOptions(3))
    assert any("no CTF" in note for note in plain.notes)
    set_optics(bare, [one.id, two.id], Ctf(Defocus(12_000.0, 14_000.0)))
    some = decide.classify_project(bare, RunOptions(3))
    assert any("CTF of 98 of 196 picks" in note for note in some.notes)
    assert not np.array_equal(some.averages, plain.averages)
    without = decide.classify_project(bare, RunOptions(3, use_ctf=False))
    assert np.array_equal(without.averages, plain.averages)


def test_few_picks_make_fewer_classes_and_very_few_none(bare: Session) -> None:
    session = bare
    only = (session.micrographs[0].id,)
    result = decide.classify_project(session, RunOptions(40, micrographs=only))
    assert len(result.run.summaries) < 12
    assert [note for note in result.notes if "too few for 40 classes" in note]
    session.go(only[0])
    session.decide(session.particles.id[8:], Decision.REJECTED)
    with pytest.raises(EngineError, match="too few"):
        decide.classify_project(session, RunOptions(2, micrographs=only))
    session.decide(session.particles.id, Decision.REJECTED)
    with pytest.raises(Refused, match="no picks"):
        decide.classify_project(session, RunOptions(2, micrographs=only))


def test_no_box_fits(bare: Session) -> None:
    bare.set_diameter(PIXELS := 2.5 * SIDE)
    with pytest.raises(Refused, match="whole box"):
        decide.classify_project(bare, RunOptions(2))
    assert bare.diameter_A == PIXELS


@pytest.mark.parametrize("what", ["averages", "database"])
def test_a_full_disk_keeps_the_run_in_memory_until_there_is_room(bare: Session, what: str) -> None:
    folder = bare.store.folder
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = 4096 if what == "averages" else (folder / f"{DATABASE_NAME}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        result = decide.classify_project(bare, RunOptions(4))
        assert result.saved is None
        assert "kept in memory" in result.problem
        assert "save them again" in result.problem
        assert what == "database" or any("cache cannot be written" in note for note in result.notes)
        with pytest.raises(ProjectError, match="could not be saved"):
            decide.enter_run(bare, result)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert decide.list_runs(bare) == []
    assert not list((folder / "classes").glob("*/*"))
    run = decide.enter_run(bare, result)
    assert np.array_equal(decide.load_averages(bare, run), result.averages)
    assert len(decide.members(bare, run.id)) == (result.members["number"] > 0).sum()


def test_a_read_only_project_is_classified_in_memory(session: Session) -> None:
    with closing(opening.open_project(session.store.folder, read_only=True)) as reader:
        result = decide.classify_project(reader, RunOptions(2))
        assert "read-only" in result.problem
        with pytest.raises(ProjectError, match="read-only"):
            decide.enter_run(reader, result)
        assert len(decide.list_runs(reader)) == 1


def test_lost_or_damaged_files_are_said_or_made_again(session: Session) -> None:
    run = only_run(session)
    folder = session.store.folder
    for file in (folder / "cache" / "boxes").glob("*.npy"):
        file.write_bytes(file.read_bytes()[:1000])
    (folder / run.folder / "model.npz").write_bytes(b"PK\x03\x04 no archive")
    again = decide.classify_project(session, replace(decide.update_of(run), n_classes=2))
    assert (again.members["number"] > 0).all()
    averages = folder / run.folder / "classes.mrcs"
    averages.write_bytes(averages.read_bytes()[:3000])
    with pytest.raises(Exception, match=r"classes\.mrcs"):
        decide.load_averages(session, run)
    averages.unlink()
    with pytest.raises(Exception, match=r"classes\.mrcs"):
        decide.load_averages(session, run)


def test_what_a_crash_left_is_no_run(session: Session) -> None:
    """A process that dies while saving leaves a run that nobody sees."""
    result = decide.classify_project(session, RunOptions(2))
    assert result.saved is not None
    with closing(sqlite3.connect(session.store.folder / DATABASE_NAME)) as raw:
        (summary,) = raw.execute("select summary from class_run where id = ?", (result.saved,)).fetchone()
        assert json.loads(summary or "[]") == []
        raw.execute("update record set started = '2020-01-01T00:00:00+00:00'")
        raw.commit()
    assert len(decide.list_runs(session)) == 1
    folder = session.store.folder / "classes"
    assert {path.name for path in folder.iterdir()} == {"run-0001", f"run-{result.saved:04d}"}
    next_one = decide.classify_project(session, RunOptions(2))  # a day later its remains are taken away
    assert {path.name for path in folder.iterdir()} == {"run-0001", f"run-{next_one.saved:04d}"}
    assert len(decide.list_runs(session)) == 1


def rows_of(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as raw:
        return int(raw.execute(f"select count(*) from {table}").fetchone()[0])


def test_classes_that_do_not_get_into_the_project_are_kept_elsewhere_or_said_to_be_gone(
    bare: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bare.store.folder
    (folder / "classes").write_text("a file, so that no folder of classes can be made")
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "home"))
    command = ["classify", str(folder), "-k", "4"]
    assert run_command(command) == 1
    said = capsys.readouterr().err
    assert "could not be saved" in said
    assert "kept in memory" not in said, "its memory is gone"
    (kept,) = (tmp_path / "home").glob("unsaved-classes-*")
    assert str(kept) in said
    assert rows_of(folder, "class_run") == rows_of(folder, "class_member") == 0
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(folder / "classes"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "classes"))
    assert run_command(command) == 1
    assert "the classes are gone" in capsys.readouterr().err
    (folder / "classes").unlink()
    assert run_command(["import-classes", str(folder), str(kept / "particles.star"), str(kept / "classes.mrcs")]) == 0
    (imported,) = decide.list_runs(bare)
    written = read_star(kept / "particles.star").table("particles")
    assert sum(item.count for item in imported.summaries) == len(written) > 0
