"""Classes as a panel looks at them, and the pictures of their particles."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.cli import main
from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.model.classes import ClassRun, ClassSummary
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.classes import browse, crops, decide
from cryoppp_annotator.session.classes.browse import SortBy
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.regions import drawing

U, A, R = Decision.UNDECIDED, Decision.ACCEPTED, Decision.REJECTED
RADIUS = 9


def disc(image: np.ndarray, x: float, y: float) -> None:
    rows, columns = np.indices(image.shape)
    image[np.hypot(rows - y, columns - x) < RADIUS] -= 5


@pytest.fixture
def session(tmp_path: Path):
    """Six picks on dark discs of each of two micrographs."""
    (tmp_path / "data").mkdir()
    for name in ("m0", "m1"):
        image = np.random.default_rng(0).normal(0, 0.3, (160, 240)).astype(np.float32)
        for k in range(6):
            disc(image, 30 + 36 * k, 80)
        with mrcfile.new(tmp_path / "data" / f"{name}.mrc") as file:
            file.set_data(image)
            file.voxel_size = 5.0
    opened = opening.open_plan(opening.plan(tmp_path / "data", tmp_path / "project"), curator="me")
    opened.set_diameter(90.0)
    for micrograph in opened.micrographs:
        opened.go(micrograph.id)
        for k in range(6):
            opened.add(30.0 + 36 * k, 80.0)
    yield opened
    opened.close()


def everything(session):
    return session.store.particles_where(Which())


def stored(session) -> ClassRun:
    """Picks in turn in classes 1, 2 and 3; the third of them could not be classified."""
    p = everything(session)
    n = len(p)
    number = (1 + np.arange(n) % 3).astype(np.int32)
    number[2] = 0
    items = tuple(ClassSummary(k, int((number == k).sum()), 1 / 3, quality=0.2 * k) for k in (1, 2, 3))
    posterior = np.arange(n) / n
    posterior[3] = np.nan
    zero = np.zeros(n)
    columns = {
        "particle": p.id,
        "number": number,
        "posterior": posterior,
        "shift_x": zero,
        "shift_y": zero,
        "angle_deg": zero,
        "x": p.x,
        "y": p.y,
    }
    record = {
        "kind": "classify",
        "engine": "cryoppp-annotator",
        "version": "",
        "curator": "me",
        "started": "",
        "seed": 0,
        "seconds": 1.0,
    }
    run = ClassRun(0, "run", "here", 5.0, "", session.store.newest(), items, "", record)
    return decide.enter_run(session, decide.RunResult(run, np.zeros((3, 16, 16), np.float32), columns))


# --- membership ------------------------------------------------------------------------------------------------------


def test_counts_follow_every_kind_of_change(session):
    run = stored(session)
    members = browse.load_members(session, run)
    session.changed.connect(lambda announcement: announcement.change and members.absorb(announcement.change))

    def as_stored() -> list[list[int]]:
        return decide.counts(session, run).tolist()

    def check() -> None:
        assert members.counts().tolist() == as_stored()

    assert members.counts().tolist() == [[0, 4, 0], [0, 4, 0], [0, 3, 0]]
    ids = everything(session).id
    decide.decide_classes(session, run.id, [2], R)
    check()
    session.decide(session.particles.id[:3], U)
    check()
    session.remove(session.particles.id[3:5])  # picks by hand: they are deleted
    assert members.counts().sum() == 9
    check()
    for _ in range(3):
        session.undo()
        check()
    for _ in range(3):
        session.redo()
        check()
    session.add(10.0, 10.0)
    session.move(session.particles.id[:1], [50.0], [60.0])
    check()
    assert members.numbers_of(np.array([ids[0], ids[1], ids[2], 9999])).tolist() == [1, 2, 0, 0]


def test_where_members_are_and_who_is_surest(session):
    run = stored(session)
    members = browse.load_members(session, run)
    first, second = (m.id for m in session.micrographs)
    assert members.where([3]) == [(second, 2), (first, 1)]
    assert members.where([1, 2]) == [(first, 4), (second, 4)]
    ids = everything(session).id
    assert members.particle[members.ranked([1])].tolist() == ids[[9, 6, 0, 3]].tolist(), "the unknown one last"
    assert members.particle[members.ranked([1], best_first=False)].tolist() == ids[[0, 6, 9, 3]].tolist()
    here, numbers = members.on(first)
    assert (here.tolist(), numbers.tolist()) == (ids[[0, 1, 3, 4, 5]].tolist(), [1, 2, 1, 2, 3])


def test_a_run_without_members_is_no_trouble(session):
    run = stored(session)
    members = browse.load_members(session, run)
    empty = browse.RunMembers(
        {n: getattr(members, n)[:0] for n in ("particle", "micrograph", "number", "posterior", "decision")}, 3
    )
    assert empty.counts().tolist() == [[0, 0, 0]] * 3
    assert empty.numbers_of(np.array([1, 2])).tolist() == [0, 0]
    assert empty.where([1]) == []
    assert len(empty.ranked([1, 2, 3])) == 0


def test_the_passports_of_a_project_know_its_picks_classes_and_regions(session, tmp_path, capsys):
    stored(session)
    ids = everything(session).id
    session.go(session.micrographs[0].id)
    session.decide(ids[:4], R)
    left_half = np.array([[-0.5, -0.5], [-0.5, 119.5], [159.5, 119.5], [159.5, -0.5]])
    drawing.draw(session, left_half, Reason.CARBON)
    main.run(["passport", str(session.store.folder), "-o", str(tmp_path / "out"), "--json"])
    rows = json.loads(capsys.readouterr().out)["micrographs"]
    assert [row["picks"] for row in rows] == [2, 6]
    assert [row["pick_density"] for row in rows] == [0.5, 1.5]
    assert [row["class_quality"] for row in rows] == pytest.approx([0.5, 0.4]), "of 2 and 3; of 1, 2, 3, 1, 2, 3"
    assert rows[0]["carbon_share"] == pytest.approx(0.5)
    assert rows[0]["pick_score"] is None, "picks by hand have none"
    assert main.run(["passport", str(session.store.folder), "-o", str(tmp_path / "out"), "--voltage", "200"]) == 2


# --- what is decided and suggested -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "state"),
    [((0, 0, 0), U), ((10, 0, 0), U), ((0, 95, 5), A), ((0, 5, 95), R), ((50, 50, 0), None), ((0, 80, 20), None)],
)
def test_a_class_is_decided_when_nearly_all_of_it_is(counts, state):
    assert browse.state_of(counts) is state


def item(number: int, count: int = 10, quality: float = 0.5, resolution: float = 20.0, **more) -> ClassSummary:
    return ClassSummary(number, count, 0.1, resolution_A=resolution, quality=quality, **more)


def test_a_threshold_overrules_the_program_only_where_there_is_a_quality():
    good, junk = item(1, quality=0.4, suggestion=R), item(2, quality=0.9, kind="outlier", suggestion=R)
    unknown = item(3, quality=math.nan, suggestion=A)
    assert browse.suggestion_of(good, None) is R
    assert browse.suggestion_of(good, 0.4) is A
    assert browse.suggestion_of(good, 0.41) is R
    assert browse.suggestion_of(junk, 0.0) is R
    assert browse.suggestion_of(unknown, 1.0) is A


def test_the_first_threshold_lies_between_what_is_kept_and_what_is_not():
    items = [item(1, quality=0.8, suggestion=A), item(2, quality=0.5, suggestion=A), item(3, quality=0.1, suggestion=R)]
    assert browse.suggested_threshold(items) == pytest.approx(0.3)
    assert browse.suggested_threshold(items[:2]) == 0.0
    assert browse.suggested_threshold(items[2:]) == 1.0
    assert 0 < browse.suggested_threshold([]) < 1


def test_order_puts_junk_and_the_unknown_last_and_leaves_out_the_empty():
    items = [
        item(1, 5, 0.2, 30),
        item(2, 50, 0.9, math.nan),
        item(3, 0),
        item(4, 500, kind="empty"),
        item(5, 20, 0.5, 9.0),
        item(6, 1, math.nan, 12.0),
    ]
    assert browse.order_of(items, SortBy.SIZE) == [2, 5, 1, 6, 4]
    assert browse.order_of(items, SortBy.SIZE, ascending=True) == [6, 1, 5, 2, 4]
    assert browse.order_of(items, SortBy.QUALITY) == [2, 5, 1, 6, 4]
    assert browse.order_of(items, SortBy.QUALITY, ascending=True) == [1, 5, 2, 6, 4]
    assert browse.order_of(items, SortBy.RESOLUTION) == [5, 6, 1, 2, 4]


def test_each_picture_has_its_own_contrast():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    holed = ramp.copy()
    holed[3, 3] = np.nan
    greys = browse.as_greys(np.stack([ramp, 1e6 * ramp - 7, np.ones_like(ramp), holed]))
    np.testing.assert_array_equal(greys[0], greys[1])
    assert (greys[0].min(), greys[0].max()) == (0, 255)
    assert set(greys[2].flat) == {128}
    assert set(greys[3].flat) == {128}


def test_picks_anywhere_are_decided_in_one_step(session):
    ids = everything(session).id[[0, 1, 7]]
    steps = len(session.history())
    assert browse.decide_picks(session, ids, R, Reason.ICE).n == 3
    picks = everything(session)
    assert picks.id[picks.reason == Reason.ICE].tolist() == ids.tolist()
    assert len(session.history()) == steps + 1
    assert browse.decide_picks(session, ids, R, Reason.ICE).n == 0
    session.undo()
    assert not (everything(session).decision == R).any()


# --- pictures of particles -------------------------------------------------------------------------------------------


def cut(session, ids, **words):
    got: dict[int, np.ndarray] = {}
    failed = crops.cut_crops(
        session, np.asarray(ids), on_some=lambda i, g: got.update(zip(i.tolist(), g, strict=True)), **words
    )
    return got, failed


def test_a_picture_shows_the_particle_white_in_its_middle(session):
    ids = everything(session).id
    got, failed = cut(session, ids)
    assert sorted(got) == ids.tolist()
    assert failed == {}
    for picture in got.values():
        side = len(picture)
        middle = picture[side // 2 - 3 : side // 2 + 4, side // 2 - 3 : side // 2 + 4]
        assert middle.mean() > 200 > 100 > picture[0].mean()
    dark, _ = cut(session, ids[:1], invert=False)
    assert dark[int(ids[0])][side // 2, side // 2] < 60


def test_a_pick_without_a_picture_says_why(session):
    first, second = session.micrographs
    session.path_of(second).unlink()
    session.go(first.id)
    off = session.add(-200.0, 40.0).new_id
    ids = [*everything(session).id.tolist(), 4242]
    got, failed = cut(session, ids)
    assert sorted(got) == [i for i in session.particles.id.tolist() if i != off]
    assert failed[off] == "it lies off the micrograph"
    assert failed[4242] == "it was deleted"
    lost = [i for i in failed if i not in (off, 4242)]
    assert len(lost) == 6
    assert all("m1.mrc" in failed[i] for i in lost)


def test_cutting_out_stops_when_cancelled(session):
    stop = threading.Event()
    got = []

    def take(ids, _greys) -> None:
        got.extend(ids)
        stop.set()

    with pytest.raises(Cancelled):
        crops.cut_crops(session, everything(session).id, on_some=take, context=JobContext(is_cancelled=stop.is_set))
    assert len(got) == 6, "those of the first micrograph"
