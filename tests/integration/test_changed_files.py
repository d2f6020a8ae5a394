"""Data that changes under a project: replaced, half written, gone, back, new; micrographs that leave and come back."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from project_tools import check_memory, import_change, state

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats import registry
from cryoppp_annotator.formats.atomic import WouldOverwrite
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.classes.job import RunOptions, classify_project
from cryoppp_annotator.session.core import bookkeeping, opening, watch
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.core.watch import What
from cryoppp_annotator.session.files import changed, exportable, exporting, membership, written
from cryoppp_annotator.session.picks import proposing

SIDE, PIXEL_A = 256, 2.0


def write(path: Path, seed: int, side: int = SIDE, pixel_A: float = PIXEL_A) -> None:
    """One micrograph of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32))
        file.voxel_size = pixel_A


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        write(tmp_path / "data" / f"{name}.mrc", seed)
    return tmp_path / "data"


def open_folder(data: Path) -> Session:
    return opening.open_plan(opening.plan(data), curator="me")


def picked(data: Path) -> Session:
    """A project with two picks and a region on ``a``, one of them rejected, one pick on ``b``."""
    session = open_folder(data)
    session.set_diameter(60.0)
    session.go(2)
    session.add(30, 30)
    session.go(1)
    first, _ = session.add(40, 60).new_id, session.add(200, 100)
    session.decide([first], Decision.REJECTED, Reason.ICE)
    regions.draw(session, [[10, 10], [10, 90], [90, 90], [90, 10]], Reason.CARBON)
    return session


@pytest.mark.parametrize("side", [SIDE // 2, SIDE])
def test_a_replaced_micrograph_is_noticed_on_opening(data: Path, side: int) -> None:
    picked(data).close()
    write(data / "a.mrc", 99, side, PIXEL_A * SIDE / side)
    session = open_folder(data)
    a, b, _ = session.micrographs
    assert a.changed
    assert not b.changed
    assert a.width == side  # the record is of the file that is there
    assert str(side) in a.problem
    assert a.n_particles == 2  # nothing is lost
    session.go(1)
    with pytest.raises(Refused, match="what becomes of its picks"):
        session.add(10, 10)
    check_memory(session)
    session.close()


def test_the_command_says_what_became_of_the_picks(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = picked(data)
    project = str(session.store.folder)
    session.close()
    write(data / "a.mrc", 99, SIDE, PIXEL_A)
    assert run(["changed", project]) == 1
    assert run(["changed", project, "--keep"]) == 0
    assert "the picks of a were kept" in capsys.readouterr().out
    assert run(["changed", project]) == 0
    assert "no micrograph has changed" in capsys.readouterr().out


def test_the_same_size_and_date_do_not_hide_it(data: Path) -> None:
    picked(data).close()
    stat = (data / "a.mrc").stat()
    write(data / "a.mrc", 99)
    os.utime(data / "a.mrc", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    session = open_folder(data)
    assert [m.name for m in watch.changed(session)] == ["a"]
    session.close()


def test_a_copy_of_the_same_content_is_no_change(data: Path) -> None:
    picked(data).close()
    shutil.copy(data / "a.mrc", data / "copy")
    os.replace(data / "copy", data / "a.mrc")
    session = open_folder(data)
    assert not watch.changed(session)
    session.close()


def test_another_image_under_no_picks_is_read_again(data: Path) -> None:
    picked(data).close()
    write(data / "c.mrc", 99, SIDE // 2)
    session = open_folder(data)
    c = session.micrographs[2]
    assert (c.problem, c.width) == ("", SIDE // 2)
    session.close()


def test_what_comes_back_is_no_change_any_more(data: Path) -> None:
    picked(data).close()
    shutil.copy(data / "a.mrc", data.parent / "kept")
    write(data / "a.mrc", 99, SIDE // 2)
    session = open_folder(data)
    assert watch.changed(session)
    shutil.copy(data.parent / "kept", data / "a.mrc")
    news = watch.check(session)
    assert [update.what for update in news.updates] == [What.RESTORED]
    assert (session.micrographs[0].problem, session.micrographs[0].width) == ("", SIDE)
    check_memory(session)
    session.close()


@pytest.mark.parametrize("factor", [None, 0.5])
def test_picks_follow_a_binned_image_as_one_step(data: Path, factor: float | None) -> None:
    picked(data).close()
    write(data / "a.mrc", 99, SIDE // 2, 2 * PIXEL_A)
    session = open_folder(data)
    session.go(1)
    before = state(session.store.folder)
    assert changed.rescale(session, [1], factor).n == 2
    assert session.particles.yx.tolist() == [[30, 20], [50, 100]]
    assert session.particles.decision.tolist() == [Decision.REJECTED, Decision.ACCEPTED]
    (area,) = session.store.regions(1)
    assert area.vertices.max() == 45
    a = session.micrographs[0]
    assert (a.problem, session.pixel_size_A(a), a.own_pixel_size_A) == ("", 2 * PIXEL_A, None)
    session.add(5, 5)  # it is open for work again
    session.undo()
    session.undo()
    assert state(session.store.folder) == before
    assert watch.changed(session)
    session.redo()
    assert not watch.changed(session)
    check_memory(session)
    assert not watch.check(session).updates
    session.close()


def test_the_pixel_size_follows_where_the_header_does_not(data: Path) -> None:
    """A project whose pixel size a person has said, and a binned image whose header still says the old one."""
    session = picked(data)
    session.set_pixel_size(1.5)
    session.close()
    write(data / "a.mrc", 99, SIDE // 2, PIXEL_A)
    session = open_folder(data)
    changed.rescale(session, [1])
    assert [session.pixel_size_A(m) for m in session.micrographs] == [3.0, 1.5, 1.5]
    session.close()


def test_by_the_pixel_size(data: Path) -> None:
    picked(data).close()
    write(data / "a.mrc", 99, SIDE * 2, PIXEL_A)  # its header is wrong
    session = open_folder(data)
    changed.rescale_to(session, [1], 1.0)
    session.go(1)
    assert session.particles.x.tolist() == [80, 400]
    assert session.pixel_size_A(session.micrographs[0]) == 1.0
    session.close()


def test_what_was_cut_or_turned_has_no_scale(data: Path) -> None:
    picked(data).close()
    with mrcfile.new(data / "a.mrc", overwrite=True) as file:
        file.set_data(np.random.default_rng(5).normal(size=(200, SIDE)).astype(np.float32))
    session = open_folder(data)
    with pytest.raises(Refused, match="cut or turned"):
        changed.rescale(session, [1])
    assert watch.changed(session)
    changed.keep(session, [1])
    assert not watch.changed(session)
    session.close()


def test_begin_anew(data: Path) -> None:
    session = picked(data)
    session.set_state([1], MicrographState.COMPLETE)
    session.close()
    write(data / "a.mrc", 99)
    session = open_folder(data)
    before = state(session.store.folder)
    changed.start_anew(session, [1])
    a = session.micrographs[0]
    assert (a.n_particles, a.state, a.problem) == (0, MicrographState.UNSEEN, "")
    assert not session.store.regions(1)
    check_memory(session)
    session.undo()
    assert state(session.store.folder) == before
    session.close()


def test_nobody_settles_what_has_not_changed(data: Path) -> None:
    session = picked(data)
    for verb in (changed.keep, changed.rescale, changed.start_anew):
        with pytest.raises(Refused, match="has not changed"):
            verb(session, [1])
    session.close()


# ---------------------------------------------------------------------- data that grow


def test_a_half_written_file_is_looked_at_again(data: Path) -> None:
    whole = (data / "a.mrc").read_bytes()
    (data / "d.mrc").write_bytes(whole[:5000])
    session = open_folder(data)
    d = session.micrographs[-1]
    assert d.problem
    (data / "d.mrc").write_bytes(whole[:9000])
    watch.check(session)
    assert session.micrographs[-1].problem
    (data / "d.mrc").write_bytes(whole)
    news = watch.check(session)
    assert [update.what for update in news.updates] == [What.BACK]
    d = session.micrographs[-1]
    assert (d.problem, d.width) == ("", SIDE)
    check_memory(session)
    session.close()


def test_a_picked_file_that_is_being_copied_over_loses_nothing(data: Path) -> None:
    picked(data).close()
    whole = (data / "a.mrc").read_bytes()
    (data / "a.mrc").write_bytes(whole[:5000])
    session = open_folder(data)
    a = session.micrographs[0]
    assert a.problem
    assert not a.changed
    (data / "a.mrc").write_bytes(whole)
    watch.check(session)
    assert not session.micrographs[0].problem
    (data / "a.mrc").write_bytes(whole[:5000])
    watch.check(session)
    write(data / "a.mrc", 99)
    watch.check(session)
    assert session.micrographs[0].changed  # in between it could not be read at all
    session.close()


def test_new_micrographs_of_the_folder_are_seen(data: Path) -> None:
    session = open_folder(data)
    assert not watch.look_at_files(session, new=True).new
    write(data / "d.mrc", 7)
    (data / "notes.txt").write_text("no micrograph")
    assert watch.look_at_files(session, new=True).new == (data / "d.mrc",)
    bookkeeping.add_micrographs(session, opening.describe_new(session, [data / "d.mrc"]))
    assert not watch.look_at_files(session, new=True).new
    session.close()


def test_a_project_of_one_image_is_not_offered_its_neighbours(data: Path) -> None:
    session = opening.open_plan(opening.plan(data / "a.mrc"), curator="me")
    assert not watch.look_at_files(session, new=True).new
    session.close()


def test_a_disk_that_is_away_is_no_damage(data: Path) -> None:
    session = picked(data)
    before = state(session.store.folder)
    for name in "abc":
        (data / f"{name}.mrc").rename(data / f"{name}.away")
    news = watch.check(session)
    assert [update.what for update in news.updates] == [What.GONE] * 3
    assert state(session.store.folder) == before
    session.close()


def test_relinking_clears_what_it_mends(data: Path, tmp_path: Path) -> None:
    session = picked(data)
    project = session.store.folder
    session.close()
    shutil.move(project, tmp_path / "project")
    shutil.move(data, tmp_path / "elsewhere")
    session = opening.open_project(tmp_path / "project", curator="me")
    for m in session.micrographs:  # as the window notes it when it cannot show one
        bookkeeping.update_micrograph(session, replace(m, problem="does not exist"))
    assert all(m.problem for m in session.micrographs)
    write(tmp_path / "elsewhere" / "a.mrc", 99)  # the first was made anew meanwhile
    opening.relink(session, tmp_path / "elsewhere")
    assert [m.name for m in session.micrographs if m.problem] == ["a"]
    check_memory(session)
    session.close()


# ---------------------------------------------------------------------- leaving


def test_a_removed_micrograph_keeps_its_decisions(data: Path) -> None:
    session = picked(data)
    session.set_state([1], MicrographState.COMPLETE)
    before = state(session.store.folder)
    membership.remove(session, [1])
    assert [m.name for m in session.micrographs] == ["b", "c"]
    assert session.counts() == {"accepted": 1, "undecided": 0, "rejected": 0}
    assert not watch.look_at_files(session, new=True).new  # and is not offered again
    session.close()
    session = open_folder(data)
    assert [m.name for m in session.micrographs] == ["b", "c"]
    membership.bring_back(session, [1])
    assert state(session.store.folder)["micrograph"] == before["micrograph"]
    assert state(session.store.folder)["particle"] == before["particle"]
    check_memory(session)
    session.close()


def test_deleting_for_good_can_be_undone(data: Path) -> None:
    session = picked(data)
    session.go(1)
    with pytest.raises(Refused, match="remove micrographs first"):
        membership.delete_for_good(session)
    membership.remove(session, [1])
    before = state(session.store.folder)
    membership.delete_for_good(session)
    assert session.current is None
    held = state(session.store.folder)
    assert list(held["micrograph"]) == [2, 3]
    assert {row["micrograph"] for row in held["particle"].values()} == {2}
    session.undo()
    assert state(session.store.folder) == before
    session.undo()
    session.go(1)
    assert len(session.particles) == 2
    check_memory(session)
    session.close()


def test_a_decision_over_the_project_passes_by_what_was_removed(data: Path) -> None:
    from cryoppp_annotator.model.which import Which

    session = picked(data)
    membership.remove(session, [1])
    session.decide_where(Which(decisions=(Decision.ACCEPTED,)), Decision.UNDECIDED)
    membership.bring_back(session)
    session.go(1)
    assert Decision.ACCEPTED in session.particles.decision
    session.close()


def test_json_of_facts_is_what_it_was(data: Path) -> None:
    """What the picked image was is kept to the last digit: undo compares it."""
    picked(data).close()
    write(data / "a.mrc", 99, SIDE, 1.0737373)
    session = open_folder(data)
    stored = json.dumps(session.store.settings()[watch.WAS])
    changed.keep(session, [1])
    session.undo()
    assert json.dumps(session.store.settings()[watch.WAS]) == stored
    session.close()


# ---------------------------------------------------------------------- what does not go on in silence


def test_nothing_is_proposed_on_a_changed_micrograph(data: Path) -> None:
    session = picked(data)
    write(data / "a.mrc", 99)  # while the project is open
    proposal = proposing.propose(session, "log", session.micrographs)
    assert [name for name, why in proposal.failed if watch.CHANGED in why] == ["a"]
    assert {number for number, _ in proposal.candidates} == {2, 3}
    proposing.enter(session, proposal)
    assert [m.name for m in watch.changed(session)] == ["a"]
    session.close()


def test_a_file_that_is_whole_by_now_is_proposed_on(data: Path) -> None:
    whole = (data / "a.mrc").read_bytes()
    (data / "d.mrc").write_bytes(whole[:5000])
    session = open_folder(data)
    session.set_diameter(60.0)
    (data / "d.mrc").write_bytes(whole)
    proposal = proposing.propose(session, "log", session.micrographs)
    assert not proposal.failed
    proposing.enter(session, proposal)
    assert not session.micrographs[-1].problem
    check_memory(session)
    session.close()


def test_no_box_is_cut_from_another_image(data: Path) -> None:
    session = picked(data)
    places = np.random.default_rng(0).uniform(40, 210, (2, 20))
    session.insert(import_change([3] * 20, *places, [1.0] * 20))
    write(data / "a.mrc", 99)
    result = classify_project(session, RunOptions(n_classes=2))
    assert any(watch.CHANGED in note for note in result.notes)
    assert not set(result.members["particle"][result.members["number"] > 0]) & {2, 3}  # those on it
    session.close()


def test_export_leaves_out_what_has_changed_and_says_so(data: Path, tmp_path: Path) -> None:
    picked(data).close()
    write(data / "a.mrc", 99)
    session = opening.open_project(opening.find_project(data), read_only=True)
    report = exporting.export(session, tmp_path / "out", "box")
    assert sorted(file.name for file in report.files) == ["b.box"]
    assert any("changed since" in note and "(a)" in note for note in report.notes)
    write(data / "b.mrc", 98)
    with pytest.raises(Refused, match="changed since"):
        exporting.export(session, tmp_path / "out", "box")
    session.close()


def test_the_count_is_what_is_written(data: Path, tmp_path: Path) -> None:
    session = picked(data)
    session.insert(import_change([3, 3, 3], [10, 90, 200], [10, 90, 200], [0.1, 0.5, 0.9]))
    hidden = ((0.4, ()),)
    session.set_state([2], MicrographState.UNUSABLE)
    for decisions in exporting.DECISIONS.values():
        expected = exportable.count(session, decisions, hidden)
        if not expected.n_micrographs:
            continue
        report = exporting.export(session, tmp_path / "out", "box", decisions=decisions, hidden=hidden)
        assert (report.n_picks, report.n_micrographs) == (expected.n_picks, expected.n_micrographs)
        assert expected.n_hidden == (Decision.UNDECIDED in decisions)
    session.close()


# ---------------------------------------------------------------------- a second export


def test_a_second_export_takes_away_what_the_first_wrote(data: Path, tmp_path: Path) -> None:
    session, out = picked(data), tmp_path / "out"
    (tmp_path / "out").mkdir()
    (out / "c.box").write_text("somebody else's")
    both = exporting.DECISIONS["accepted+rejected"]
    exporting.export(session, out, "cryoppp", decisions=both)
    exporting.export(session, out, "box")
    before = sorted(path.name for path in out.rglob("*.*") if path.is_file())
    assert any("false" in str(path) for path in out.rglob("*"))
    session.go(2)
    session.decide(session.particles.id, Decision.REJECTED)
    report = exporting.export(session, out, "box")
    assert any("b.box" in note for note in report.notes)
    after = sorted(path.name for path in out.rglob("*.*") if path.is_file())
    assert set(before) - set(after) == {"b.box"}  # the other format's files stay
    exporting.export(session, out, "cryoppp")
    # the format itself empties a list of false positives that would contradict it
    assert all(len(path.read_text().splitlines()) <= 1 for path in out.rglob("*_false_positives.csv"))
    assert (out / "c.box").read_text() == "somebody else's"
    session.close()


def test_what_somebody_has_edited_is_left_alone(data: Path, tmp_path: Path) -> None:
    session, out = picked(data), tmp_path / "out"
    exporting.export(session, out, "box")
    (out / "b.box").write_text("mine now")
    membership.remove(session, [2])
    report = exporting.export(session, out, "box")
    assert (out / "b.box").read_text() == "mine now"
    assert any("edited" in note for note in report.notes)
    session.close()


def test_what_is_not_ours_is_not_replaced_unasked(data: Path, tmp_path: Path) -> None:
    session, out = picked(data), tmp_path / "out"
    exporting.export(session, out, "box")
    exporting.export(session, out, "box")  # ours is replaced without a word
    for name in ("a.box", "b.box"):
        (out / name).write_text(f"somebody's {name}")
    (out / "c.box").write_text("in nobody's way")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(WouldOverwrite, match=r"holds 2 files that are not of an earlier export.*\(a.box, b.box\)"):
        exporting.export(session, out, "box")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    exporting.export(session, out, "box", overwrite=True)
    assert "somebody" not in (out / "a.box").read_text()
    assert (out / "c.box").read_text() == "in nobody's way"
    exporting.export(session, out, "box")
    session.close()


def test_a_table_has_the_regions_beside_it(data: Path, tmp_path: Path) -> None:
    session, out = picked(data), tmp_path / "out"
    session.go(2)
    corners = [[10.0, 20.0], [10.0, 90.0], [80.0, 90.0]]
    number = regions.draw(session, corners, Reason.CARBON).new_id
    report = exporting.export(session, out, "table", decisions=exporting.DECISIONS["all"])
    assert out / "regions.geojson" in report.files
    features = json.loads((out / "regions.geojson").read_text())["features"]
    (feature,) = [one for one in features if one["properties"]["region"] == number]
    assert feature["properties"]["reason"] == "carbon"
    assert feature["properties"]["micrograph"] == session.micrograph(2).path
    (ring,) = feature["geometry"]["coordinates"]
    assert ring == [[x, y] for y, x in [*corners, corners[0]]]
    assert len(registry.read_any(out, list(formats().values())).picks) > 0, "no picks are made of outlines"
    (out / "regions.geojson").write_text("mine")
    with pytest.raises(WouldOverwrite):
        exporting.export(session, out, "table")
    session.close()


@pytest.mark.parametrize("content", ["", "[]", '{"x": 3}', "not json", '{"KEY": {"../../secret": [1, 2]}}'])
def test_a_list_of_nonsense_takes_nothing_away(data: Path, tmp_path: Path, content: str) -> None:
    session, out = picked(data), tmp_path / "deep" / "out"
    secret = tmp_path / "secret"
    secret.write_text("keep")
    stat = secret.stat()
    exporting.export(session, out, "box")
    key = next(iter(json.loads((out / written.LIST_NAME).read_text())))
    text = content.replace("KEY", key).replace("[1, 2]", json.dumps([stat.st_size, stat.st_mtime_ns]))
    (out / written.LIST_NAME).write_text(text)
    exporting.export(session, out, "box", overwrite=True)
    assert secret.exists()
    session.close()
