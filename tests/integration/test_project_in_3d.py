"""A project's picks in 3D: a verdict for each, decisions, half maps, files for RELION, and views that would be lost."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "reconstruct"))
from planted import PIXEL_A, Scene, scene

from cryoppp_annotator.classify.same_view import SAME_VIEW, likeness
from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import Cancelled, EngineError, FormatError, Refused
from cryoppp_annotator.formats.image.stacks import read_stack
from cryoppp_annotator.formats.image.volumes import read_volume, write_volume
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.reconstruct import poses
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.session.volume import stored_maps
from cryoppp_annotator.session.volume.by_verdict import changed_since_map, decide_by_verdict
from cryoppp_annotator.session.volume.map_files import export_map
from cryoppp_annotator.session.volume.map_job import MapPreview, prove, tiff_notes
from cryoppp_annotator.session.volume.map_run import MapResult, MapRunOptions
from cryoppp_annotator.session.volume.view_guard import ClassViews, known_views, loss_of


def lay_out(folder: Path, planted: Scene) -> Path:
    """The scene as a folder of micrographs, with its picks and its map."""
    data = folder / "data"
    data.mkdir()
    rows = []
    for number, (image, places) in enumerate(zip(planted.micrographs, planted.places, strict=True)):
        with mrcfile.new(data / f"m{number}.mrc") as file:
            file.set_data(image)
            file.voxel_size = PIXEL_A
        rows += [f"m{number}.mrc {x} {y}" for x, y in places.tolist()]
    head = "".join(f"_rln{label} #{k}\n" for k, label in enumerate(("MicrographName", "CoordinateX", "CoordinateY"), 1))
    (folder / "picks.star").write_text(f"data_particles\n\nloop_\n{head}" + "\n".join(rows) + "\n")
    write_volume(folder / "map.mrc", planted.volume, PIXEL_A)
    return folder


def open_session(folder: Path) -> Session:
    session = opening.open_plan(opening.plan(folder / "data", folder / "project"), curator="ann")
    if not session.pick_sets:
        session.set_diameter(190.0)
        importing.enter(session, importing.read(session, folder / "picks.star"))
    return session


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project with one run, made with a map, and what was seen while it went on."""
    planted = scene()
    folder = lay_out(tmp_path_factory.mktemp("in3d"), planted)
    session = open_session(folder)
    previews: list[MapPreview] = []
    options = MapRunOptions(str(folder / "map.mrc"))
    result = prove(session, options, on_preview=previews.append)
    yield folder, planted, session, result, previews
    session.close()


def truth_of(session: Session, planted: Scene, result: MapResult) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pick of a run is a particle, and its planted pose (n, 3, 3)."""
    number = {m.id: int(m.name[1:]) for m in session.micrographs}
    p = result.picks
    at = [
        (number[m], int(np.argmin(np.hypot(*(planted.places[number[m]] - (x, y)).T))))
        for m, x, y in zip(p.micrograph.tolist(), p.x, p.y, strict=True)
    ]
    particle = np.array([planted.particle[m][k] for m, k in at])
    return particle, np.array([planted.matrices[m][k] for m, k in at])


def test_picks_of_a_project_are_told_from_junk_in_their_poses(proven: Any) -> None:
    _, planted, session, result, previews = proven
    particle, matrices = truth_of(session, planted, result)
    right = (result.picks.log_odds > 0) == particle
    assert right.mean() > 0.95
    error = poses.distance_deg(result.picks.matrices[particle], matrices[particle], "C1")
    assert np.median(error) < 8.0
    assert np.hypot(result.picks.shift_x, result.picks.shift_y)[particle].mean() < 1.5
    assert set(result.maps) == {"map", "half1", "half2", "mask", "reference"}
    assert "structure to" in result.run.verdict
    assert any(len(preview.particle) for preview in previews)
    assert any(preview.volume is not None for preview in previews)


def test_a_run_is_kept_with_its_provenance_and_read_again(proven: Any) -> None:
    folder, _, session, result, _ = proven
    (run,) = stored_maps.list_map_runs(session)
    again = stored_maps.load_map_run(session, run)
    assert np.array_equal(again.picks.log_odds, result.picks.log_odds)
    assert np.allclose(again.maps["half1"], result.maps["half1"])
    assert np.allclose(again.curves["corrected"], result.curves["corrected"])
    assert run.options == result.run.options
    record = run.record
    assert record["curator"] == "ann"
    assert record["inputs"]["picks"] == 162
    assert record["parameters"]["map_path"] == str(folder / "map.mrc")
    assert run.notes[-1].startswith("images of an untilted specimen")


def test_what_boxes_of_tiff_mean_to_relion_is_said() -> None:
    assert tiff_notes(["a.mrc", "b.mrc"]) == []
    (alone,) = tiff_notes(["a.tif", "b.TIFF"])
    assert "mirror images" in alone
    assert "1 of 2 micrographs are TIFF" in tiff_notes(["a.tif", "b.mrc"])[1]


def test_a_threshold_decides_in_one_step_and_moved_picks_stay(proven: Any) -> None:
    _, _, session, result, _ = proven
    with np.errstate(invalid="ignore"):
        below = set(result.picks.particle[result.picks.log_odds < 0].tolist())
    moved = min(below)
    session.go(int(result.picks.micrograph[result.picks.particle == moved][0]))
    session.move([moved], [70.0], [62.0])
    assert changed_since_map(session, result.run, result.picks) == (0, 0, 1)
    decide_by_verdict(session, result.picks, 0.0, Decision.REJECTED)
    rejected = set(session.store.positions(Which(decisions=(Decision.REJECTED,)))["id"].tolist())
    assert rejected == below - {moved}
    decide_by_verdict(session, result.picks, 0.0, Decision.ACCEPTED)
    assert session.counts()["accepted"] == (result.picks.log_odds >= 0).sum()
    session.undo()
    session.undo()
    session.undo()
    assert session.counts() == {**session.counts(), "accepted": 0, "rejected": 0}
    assert changed_since_map(session, result.run, result.picks) == (0, 0, 0)


def test_the_files_hold_maps_boxes_and_poses_that_fit(proven: Any, tmp_path: Path) -> None:
    _, _, session, result, _ = proven
    files = {file.name for file in export_map(session, result, tmp_path / "out")}
    assert files == {
        *("map.mrc", "half1.mrc", "half2.mrc", "mask.mrc", "fsc.csv", "fsc.star", "particles.mrcs", "particles.star")
    }
    star = read_star(tmp_path / "out" / "particles.star")
    table, optics = star.table("particles"), star.table("optics")
    assert table is not None
    assert optics is not None
    columns = table.columns
    images, pixel = read_stack(tmp_path / "out" / "particles.mrcs")
    assert len(images) == len(columns["rlnImageName"]) > 100
    assert float(optics.columns["rlnImagePixelSize"][0]) == pytest.approx(pixel, rel=1e-4)
    assert {"1", "2"} == set(columns["rlnRandomSubset"])
    assert min(map(float, columns["cryopppVerdict"])) > 0
    volume, voxel = read_volume(tmp_path / "out" / "map.mrc")
    assert voxel == pytest.approx(result.run.pixel_size_A, rel=1e-4)
    assert np.allclose(volume, result.maps["map"])
    # a pick's centre: coordinate less origin, as RELION has it
    row = 0
    x = float(columns["rlnCoordinateX"][row]) - float(columns["rlnOriginXAngst"][row]) / PIXEL_A
    at = np.flatnonzero(np.isclose(result.picks.x, float(columns["rlnCoordinateX"][row]), atol=0.01))
    assert np.min(np.abs(result.picks.x[at] + result.picks.shift_x[at] - x)) < 0.02


def test_the_commands_take_the_project_and_keep_the_run_in_it(
    proven: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, planted, session, *_ = proven
    before = [run.number for run in stored_maps.list_map_runs(session)]
    command = ["verdict", folder / "project", "--map", folder / "map.mrc", "--where", "name == m0", "-o", tmp_path]
    assert run([*map(str, command), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (kept,) = (one for one in stored_maps.list_map_runs(session) if one.number not in before)
    assert answer["run"] == kept.number
    assert kept.options.micrographs == (next(m.id for m in session.micrographs if m.name == "m0"),)
    assert answer["particles"] == pytest.approx(planted.particle[0].sum(), abs=6)
    assert answer["picks"] == 81  # those that are rather no particle are written, too
    table = read_star(Path(answer["file"])).table("particles")
    assert table is not None
    odds = np.array(table.columns["cryopppVerdict"], float)
    assert (odds > 0).sum() == answer["particles"]
    stored_maps.forget_map_run(session, kept)


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["verdict", "{project}", "--map", "{map}", "--pixel-size", "2"], 2, "a project knows this itself"),
        (["verdict", "{project}", "--map", "{map}", "--where", "name == nowhere"], 1, "no micrograph"),
        (["verdict", "{project}", "--map", "{map}", "--diameter", "55"], 1, "not 55"),
        (["volume", "{project}", "--map", "{map}", "--decision", "accepted"], 1, "0 picks are too few"),
        (["volume", "{map}"], 2, "say where to write"),
        (["volume", "{map}", "-o", "x", "--decision", "all"], 2, "only of a project"),
    ],
)
def test_what_a_project_cannot_be_asked_is_said(
    proven: Any, capsys: pytest.CaptureFixture[str], words: list[str], code: int, problem: str
) -> None:
    folder, _, session, *_ = proven
    runs = len(stored_maps.list_map_runs(session))
    places = {"project": str(folder / "project"), "map": str(folder / "map.mrc")}
    assert run([word.format(**places) for word in words]) == code
    assert problem in capsys.readouterr().err
    assert len(stored_maps.list_map_runs(session)) == runs
    assert session.diameter_A == 190.0


def test_a_view_that_goes_is_named_before_and_after_and_thinning_names_none(proven: Any) -> None:
    _, _, session, _, _ = proven
    views = known_views(session)
    assert views is not None
    seen = poses.directions(views.matrices)
    # the best filled side
    near = np.abs(seen @ seen.T) > np.cos(np.radians(32.0))
    gone = views.particle[near[near.sum(axis=1).argmax()]]
    before = loss_of(session, views, gone)
    assert before is not None
    assert "keeps" in before.sentence
    assert before.kept.sum() == len(views.particle) - len(gone)
    rng = np.random.default_rng(0)
    alarms = [loss_of(session, views, rng.choice(views.particle, len(gone), replace=False)) for _ in range(20)]
    assert sum(alarm is not None for alarm in alarms) <= 1


def test_averages_of_one_view_are_known_at_any_turn_and_hand(proven: Any) -> None:
    _, planted, *_ = proven
    rng = np.random.default_rng(1)
    sections = np.stack([planted.volume.sum(axis=axis) for axis in range(3)])
    turned = np.stack([np.rot90(one) for one in sections])
    mirrored = sections[:, :, ::-1]
    every = np.concatenate([sections, turned, mirrored]).astype(np.float32)
    every += rng.normal(0, 0.05 * every.std(), every.shape).astype(np.float32)
    same = likeness(every) >= SAME_VIEW
    assert np.array_equal(same, np.tile(np.eye(3, dtype=bool), (3, 3)))


def test_without_a_map_the_classes_that_alone_show_a_view_are_named(proven: Any) -> None:
    _, _, session, result, _ = proven
    ids = np.sort(result.picks.particle)
    row = np.arange(len(ids)) % 4
    same = np.eye(4, dtype=bool)
    same[2, 3] = same[3, 2] = True
    views = ClassViews(ids, row, np.array([11, 12, 13, 14]), same)
    lost = loss_of(session, views, ids[row == 0])
    assert lost is not None
    assert lost.classes == (11,)
    assert loss_of(session, views, ids[row == 2]) is None  # the other class of this view stays
    both = loss_of(session, views, ids[row >= 2])
    assert both is not None
    assert both.classes == (13, 14)


def test_what_cannot_be_done_in_3d_is_said_and_leaves_nothing(proven: Any, tmp_path: Path) -> None:
    folder, _, session, result, _ = proven
    runs = stored_maps.list_map_runs(session)
    no_map = tmp_path / "no.mrc"
    no_map.write_text("this is text")
    with pytest.raises(Refused, match=r"no\.mrc cannot be read as a map"):
        prove(session, MapRunOptions(str(no_map)))
    with pytest.raises(EngineError):
        prove(session, MapRunOptions(str(folder / "map.mrc"), symmetry="Q9"))
    none = replace(result.run.options, decisions=(Decision.ACCEPTED,))
    with pytest.raises(Refused, match="0 picks are too few"):
        prove(session, none)
    calls = iter([False] * 40)
    with pytest.raises(Cancelled):
        prove(session, result.run.options, context=JobContext(is_cancelled=lambda: next(calls, True)))
    assert [run.number for run in stored_maps.list_map_runs(session)] == [run.number for run in runs]


def test_a_damaged_run_is_said_and_a_forgotten_one_is_gone(proven: Any) -> None:
    _, _, session, result, _ = proven
    kept = stored_maps.save_map_run(session, result)
    assert kept.run.number == result.run.number + 1
    place = stored_maps.folder_of(session, kept.run.number)
    (place / stored_maps.VERDICTS).write_bytes(b"nonsense")
    with pytest.raises(FormatError, match="make this map again"):
        stored_maps.load_map_run(session, kept.run)
    stored_maps.forget_map_run(session, kept.run)
    assert not place.exists()
    (place.parent / "run-0099").mkdir()
    (place.parent / "run-0099" / stored_maps.RECORD).write_text(json.dumps([1]))
    assert [run.number for run in stored_maps.list_map_runs(session)] == [result.run.number]
