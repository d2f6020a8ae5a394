"""Coordinate files into a project: matching, the frame's trial, what is kept, and how it is taken back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoppp_annotator.errors import Cancelled, FormatError, Refused
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.core.opening import open_plan, plan
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.store import changes

H, W, DIAMETER = 400, 480, 24


@pytest.fixture
def positions() -> np.ndarray:
    """Canonical x, y of forty particles that keep their distance."""
    rng = np.random.default_rng(3)
    places: list[np.ndarray] = []
    while len(places) < 40:
        at = rng.uniform((30, 30), (W - 30, H - 30)).round()
        if all(np.hypot(*(at - other)) > 1.5 * DIAMETER for other in places):
            places.append(at)
    return np.array(places)


@pytest.fixture
def make(tmp_path: Path, positions: np.ndarray) -> Iterator[Callable[..., Session]]:
    """A project of dark discs on noise, as .mrc or another extension, with more broken or blank files."""
    sessions: list[Session] = []

    def build(*, broken: bool = False, picture: bool = False, twin: bool = False) -> Session:
        folder = tmp_path / "movies"
        folder.mkdir()
        rng = np.random.default_rng(0)
        yy, xx = np.mgrid[:H, :W]
        image = rng.normal(0, 0.5, (H, W))
        for x, y in positions:
            image -= np.hypot(yy - y, xx - x) < DIAMETER / 2
        image = gaussian_filter(image, 1).astype(np.float32)
        if picture:
            from PIL import Image

            Image.fromarray(np.clip(128 + 40 * image, 0, 255).astype(np.uint8)).save(folder / "a.jpg")
        else:
            with mrcfile.new(folder / "a.mrc") as file:
                file.set_data(image)
                file.voxel_size = 2.0
        if twin:
            shutil.copy(folder / "a.mrc", folder / "b.mrc")
        if broken:
            (folder / "b.mrc").write_bytes(b"broken" * 10)
        sessions.append(open_plan(plan(folder, tmp_path / "project"), curator="ann"))
        return sessions[-1]

    yield build
    for session in sessions:
        session.close()


def csv(path: Path, x: np.ndarray, y: np.ndarray, diameter: float | None = DIAMETER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tail = "" if diameter is None else f",{diameter:g}"
    rows = [f"{a:g},{b:g}{tail}" for a, b in zip(x, y, strict=True)]
    path.write_text("\n".join(["X-Coordinate,Y-Coordinate" + ("" if diameter is None else ",Diameter"), *rows]) + "\n")
    return path


def star(path: Path, x: np.ndarray, y: np.ndarray, *, more: str = "", cells: str = "") -> Path:
    labels = ["rlnCoordinateX", "rlnCoordinateY", *more.split()]
    head = "".join(f"_{label} #{i}\n" for i, label in enumerate(labels, 1))
    path.write_text(f"data_\n\nloop_\n{head}" + "".join(f"{a} {b} {cells}\n" for a, b in zip(x, y, strict=True)))
    return path


def test_cryoppp_rows_count_from_the_last(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make()
    x, y = positions.T
    read = importing.read(session, csv(tmp_path / "a.csv", x, H - y))
    assert (read.verdict.orientation, read.contradicted) == (Orientation.FLIP_Y, False)
    said = importing.enter(session, read)
    assert "imported 40 picks from a.csv on 1 micrograph" in said
    assert "confirmed on the image" in said
    session.go(1)
    np.testing.assert_array_equal(session.particles.yx, positions[:, ::-1])
    assert session.diameter_A == DIAMETER * 2.0
    assert session.undo() is not None
    assert not len(session.particles)
    assert not session.pick_sets
    assert not session.settings.diameter_is_set


def test_a_contradicted_frame_is_refused_until_a_person_speaks(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session = make()
    x, y = positions.T
    path = star(tmp_path / "a.star", x, H - y)
    session.set_diameter(DIAMETER * 2.0)
    read = importing.read(session, path)
    assert read.contradicted
    with pytest.raises(Refused, match="the image says flip-y"):
        importing.enter(session, read)
    assert session.counts()["undecided"] == 0
    importing.enter(session, read.with_orientation(Orientation.FLIP_Y))
    session.go(1)
    np.testing.assert_array_equal(session.particles.yx, positions[:, ::-1])
    insisted = importing.read(session, path, orientation=Orientation.AS_STORED)
    assert not insisted.contradiction
    assert "but the image says flip-y" in insisted.frame_message()


def test_a_display_picture_decides_its_frame_itself(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session = make(picture=True)
    read = importing.read(session, csv(tmp_path / "a.csv", *positions.T))
    assert read.frame.orientation is Orientation.AS_STORED
    assert "read as-stored, as the image says" in read.frame_message()


def test_few_picks_are_taken_on_trust(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make()
    read = importing.read(session, csv(tmp_path / "a.csv", *positions[:3].T))
    assert read.verdict.orientation is None
    assert "not checked against the image (too few picks)" in importing.enter(session, read)


def test_what_the_file_says_is_kept(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make()
    x, y = positions.T
    more = "rlnAutopickFigureOfMerit rlnClassNumber rlnAnglePsi"
    importing.enter(session, importing.read(session, star(tmp_path / "a.star", x, y, more=more, cells="1.5 3 -12.250")))
    p = session.store.particles(1)
    assert set(p.score.tolist()) == {1.5}
    assert set(p.class_id.tolist()) == {3}
    assert np.isnan(p.diameter_A).all()
    assert {row["rlnAnglePsi"] for row in session.store.extra(1).values()} == {"-12.250"}


@pytest.mark.parametrize("given", list(Decision))
def test_decision_is_for_picks_about_which_the_file_is_silent(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path, given: Decision
) -> None:
    session = make()
    x, y = positions.T
    truth = tmp_path / "d" / "ground_truth"
    csv(truth / "particle_coordinates" / "a.csv", x[:30], H - y[:30])
    csv(truth / "false_positives" / "a_false_positives.csv", x[30:], H - y[30:])
    importing.enter(session, importing.read(session, tmp_path / "d"), decision=given)
    p = session.store.particles(1)
    assert set(p.decision[:30].tolist()) == {int(given)}
    assert set(p.decision[30:].tolist()) == {int(Decision.REJECTED)}
    rejected = p.decision == Decision.REJECTED
    np.testing.assert_array_equal(p.reason, np.where(rejected, Reason.NOT_A_PARTICLE, Reason.NONE))


def test_other_diameters_stay_with_the_picks(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session = make()
    x, y = positions.T
    importing.enter(session, importing.read(session, csv(tmp_path / "one" / "a.csv", x[:20], H - y[:20])))
    importing.enter(session, importing.read(session, csv(tmp_path / "two" / "a.csv", x[20:], H - y[20:], 30)))
    p = session.store.particles(1)
    assert session.diameter_A == 48
    np.testing.assert_array_equal(session.diameters_A(p), [48.0] * 20 + [60.0] * 20)


def test_the_same_file_twice(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make()
    read = importing.read(session, csv(tmp_path / "a.csv", positions[:, 0], H - positions[:, 1]))
    importing.enter(session, read)
    with pytest.raises(Refused, match="imported before"):
        importing.enter(session, read)
    importing.enter(session, read, again=True, name="second look")
    assert [s.name for s in session.pick_sets.values()] == ["a.csv", "second look"]
    session.undo()
    session.undo()
    importing.enter(session, read)  # what was undone is not there


def test_the_same_positions_on_another_micrograph_are_another_import(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session = make(twin=True)
    for name in "ab":
        file = csv(tmp_path / f"{name}.csv", positions[:, 0], H - positions[:, 1])
        importing.enter(session, importing.read(session, file))
    assert [len(session.store.particles(m.id)) for m in session.micrographs] == [40, 40]


def test_picks_of_other_micrographs_are_refused(make: Callable[..., Session], tmp_path: Path) -> None:
    session = make()
    with pytest.raises(FormatError, match=r"belong to other micrographs .*zzz"):
        importing.read(session, csv(tmp_path / "zzz.csv", np.array([1.0]), np.array([2.0])))


def test_a_flip_needs_a_height(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    """Of a micrograph that cannot be read nobody knows it: ``0 - y`` would be a silent lie."""
    session = make(broken=True)
    x, y = positions.T
    files = [csv(tmp_path / f"{name}.csv", x, H - y) for name in "ab"]
    (read,) = importing.read_many(session, files)
    assert (len(read.matched), read.n_picks) == (2, 40)
    assert "left out on 1 micrograph that cannot be read" in importing.enter(session, read)
    assert session.micrographs[1].n_particles == 0
    with pytest.raises(FormatError, match="b cannot be read"):
        importing.enter(session, importing.read(session, files[1]))
    importing.enter(session, importing.read(session, star(tmp_path / "b.star", x, y)))  # no flip, no height
    assert session.micrographs[1].n_particles == 40


def test_another_pixel_size_is_said(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make()
    path = tmp_path / "a.star"
    rows = "".join(f"a.mrc {x} {y} 1\n" for x, y in positions)
    path.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographOriginalPixelSize #2\n1 4.0\n\ndata_particles\n\n"
        f"loop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnOpticsGroup #4\n{rows}"
    )
    assert "the file says 4 Å/px, the project 2" in importing.enter(session, importing.read(session, path))


def test_files_of_one_source_are_one_step(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make(broken=True)
    x, y = positions.T
    one = [csv(tmp_path / "one" / f"{name}.csv", x, H - y) for name in ("a", "zzz")]
    two = csv(tmp_path / "two" / "a.csv", x + 2, H - y)
    also = star(tmp_path / "a_autopick.star", x, y)
    plans = importing.read_many(session, [*one, two, also])
    assert [(p.file.path.name, p.n_picks, p.unmatched) for p in plans] == [
        ("one", 40, ("zzz",)),
        ("a.csv", 40, ()),
        ("a_autopick.star", 40, ()),
    ]


def test_permissive_steps_over_a_file_of_no_use(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session = make()
    good = csv(tmp_path / "a.csv", positions[:, 0], H - positions[:, 1])
    bad = tmp_path / "b.csv"
    bad.write_bytes(b"\x00\xff" * 50)
    with pytest.raises(FormatError, match=r"b\.csv"):
        importing.read_many(session, [good, bad])
    (read,) = importing.read_many(session, [bad, good], permissive=True)
    assert [issue.path for issue in read.file.issues] == [bad]
    assert "1 bad row left out" in importing.enter(session, read)
    with pytest.raises(FormatError):
        importing.read_many(session, [bad, bad], permissive=True)


def test_reading_can_be_cancelled(make: Callable[..., Session], positions: np.ndarray, tmp_path: Path) -> None:
    session = make()
    path = csv(tmp_path / "a.csv", positions[:, 0], H - positions[:, 1])
    with pytest.raises(Cancelled):
        importing.read_many(session, [path, path], context=JobContext(is_cancelled=lambda: True))


def test_each_part_of_an_import_says_how_far_it_is(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session, reports = make(), []
    csv(tmp_path / "picks" / "a.csv", positions[:, 0], H - positions[:, 1])
    context = JobContext(on_progress=lambda done, total, message: reports.append((done / total, message)))
    (read,) = importing.read_many(session, [tmp_path / "picks"], context=context)
    importing.enter(session, read, context=context)
    messages = [message for _, message in reports]
    assert {"reading 0/1 coordinate files", "writing 0/40 picks"} <= set(messages)
    assert all(0.0 <= share <= 1.0 for share, _ in reports)


def test_an_import_that_is_cancelled_while_it_is_written_leaves_nothing(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path
) -> None:
    session = make()
    (read,) = importing.read_many(session, [csv(tmp_path / "a.csv", positions[:, 0], H - positions[:, 1])])
    with pytest.raises(Cancelled):
        importing.enter(session, read, context=JobContext(is_cancelled=lambda: True))
    assert not session.pick_sets
    assert sum(session.counts().values()) == 0


def test_a_change_that_is_written_in_pieces_is_taken_back_whole(
    make: Callable[..., Session], positions: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_PIECE_BYTES", 100)
    session = make()
    (read,) = importing.read_many(session, [csv(tmp_path / "a.csv", positions[:, 0], H - positions[:, 1])])
    importing.enter(session, read)
    assert sum(session.counts().values()) == 40
    session.undo()
    assert sum(session.counts().values()) == 0
    session.redo()
    assert sum(session.counts().values()) == 40
