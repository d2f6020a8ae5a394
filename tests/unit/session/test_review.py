"""Reviewing a project: sets compared and combined, likely errors found, answered, taken back, gone on with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryoppp_annotator.audit.suspects import ErrorKind
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import membership
from cryoppp_annotator.session.picks import learning, proposing
from cryoppp_annotator.session.review import sets
from cryoppp_annotator.session.review.error_queue import Answer, Review, find_errors
from cryoppp_annotator.session.review.map_verdicts import weigh_by_map
from cryoppp_annotator.session.review.review_item import ReviewItem
from cryoppp_annotator.session.review.sets import ACCEPTED, Algebra
from cryoppp_annotator.session.review.undecided_queue import no_particle, undecided_items
from cryoppp_annotator.session.volume.first_map import DOUBT
from cryoppp_annotator.session.volume.map_run import MapResult, MapRun, PickVerdicts
from cryoppp_annotator.session.volume.stored_maps import save_map_run
from cryoppp_annotator.testing import planted

DIAMETER = 30.0


def opened(folder: Path, curator: str) -> Session:
    session = opening.open_plan(opening.plan(folder, folder / "project"), curator=curator)
    session.set_diameter(2 * DIAMETER)
    return session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Three micrographs of discs, all of them picked by "me"."""
    for seed in range(3):
        image, _, _ = planted(7, 60, seed=seed)
        with mrcfile.new(tmp_path / f"m{seed}.mrc") as file:
            file.set_data(image)
            file.voxel_size = 2.0
    session = opened(tmp_path, "me")
    for seed, micrograph in enumerate(list(session.micrographs)):
        _, x, y = planted(7, 60, seed=seed)
        pick(session, micrograph.id, x, y)
    yield session
    session.close()


def pick(session: Session, micrograph: int, x: np.ndarray, y: np.ndarray) -> list[int]:
    session.go(micrograph)
    return [session.add(float(a), float(b), anyway=True).new_id for a, b in zip(x, y, strict=True)]


def second_set(session: Session) -> int:
    """The set of another curator: m0 without its first five, all 2 px to the right."""
    session.curator = "you"
    _, x, y = planted(7, 60, seed=0)
    pick(session, session.micrographs[0].id, x[5:] + 2, y[5:])
    session.curator = "me"
    return max(session.pick_sets)


# --- sets ------------------------------------------------------------------------------------------------------------


def test_two_sets_compared(session: Session) -> None:
    mine, its = min(session.pick_sets), second_set(session)
    compared = sets.compare_in_project(session, mine, its, 0.3)
    assert compared.total.quality.matched == 44
    assert (compared.total.only_reference, compared.total.only_other) == (5 + 98, 0)
    assert compared.total.shift_x == pytest.approx(2.0)
    assert [two.disagreement for two in compared.sets.values()] == [49, 49, 5]
    with pytest.raises(Refused, match="two different sets"):
        sets.compare_in_project(session, mine, mine, 0.3)


def test_a_set_is_made_renamed_and_deleted_each_as_one_step(session: Session) -> None:
    mine, its = min(session.pick_sets), second_set(session)
    before, n_sets = session.counts(), len(session.pick_sets)
    sets.make_set(session, [mine, its], Algebra.INTERSECTION, 0.3)
    new = max(session.pick_sets)
    assert session.pick_sets[new].kind == sets.CONSENSUS
    assert session.counts()["undecided"] - before["undecided"] == 44
    here = session.store.particles(session.micrographs[0].id)
    _, x, _ = planted(7, 60, seed=0)
    assert np.allclose(np.sort(here.x[here.pick_set == new]), np.sort(x[5:] + 1), atol=1e-6), "halfway between the two"
    sets.rename_set(session, new, "  what  both have ")
    assert session.pick_sets[new].name == "what both have"
    session.undo()
    assert session.pick_sets[new].name.startswith("all of")
    sets.delete_set(session, new)
    assert session.counts() == before
    session.undo()
    session.undo()
    assert session.counts() == before
    assert len(session.pick_sets) == n_sets
    session.redo()
    assert session.counts()["undecided"] - before["undecided"] == 44


def test_algebra_refuses_nonsense(session: Session) -> None:
    mine, its = min(session.pick_sets), second_set(session)
    with pytest.raises(Refused, match="would be empty"):
        sets.make_set(session, [its, mine], Algebra.DIFFERENCE, 0.3)
    with pytest.raises(Refused, match="at least 3 of 2"):
        sets.make_set(session, [mine, its], Algebra.AT_LEAST, 0.3, at_least=3)
    with pytest.raises(Refused, match="two different"):
        sets.make_set(session, [mine], Algebra.UNION, 0.3)


point_sets = st.lists(
    st.integers(0, 8).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.floats(0, 100, width=32))),
    min_size=2,
    max_size=4,
)


@settings(deadline=None)
@given(point_sets, st.floats(0.5, 10))
def test_algebra_of_any_sets(points: list[np.ndarray], reach: float) -> None:
    n = {k: len(sets.combined(points, Algebra.AT_LEAST, reach, k)) for k in range(1, len(points) + 1)}
    assert n[1] == len(sets.combined(points, Algebra.UNION, reach))
    assert n[len(points)] == len(sets.combined(points, Algebra.INTERSECTION, reach))
    assert all(n[k] >= n[k + 1] for k in range(1, len(points)))
    assert n[1] <= sum(map(len, points))
    both = len(sets.combined(points, Algebra.DIFFERENCE, reach))
    assert both <= len(points[0])


def test_sets_that_agree_have_the_same_union_and_intersection() -> None:
    points = np.array([[10.0, 10.0], [50.0, 20.0], [80.0, 90.0]])
    three = [points, points + 1, points[::-1] - 1]
    for how in (Algebra.UNION, Algebra.INTERSECTION):
        assert np.allclose(np.sort(sets.combined(three, how, 4.0), axis=0), np.sort(points, axis=0))
    assert len(sets.combined(three, Algebra.DIFFERENCE, 4.0)) == 0


# --- the queue -------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(session: Session) -> Session:
    """On each micrograph one pick is moved, one removed, one false."""
    for seed, micrograph in enumerate(list(session.micrographs)):
        _, x, y = planted(7, 60, seed=seed)
        session.go(micrograph.id)
        here = session.particles
        moved = here.id[np.hypot(here.x - x[0], here.y - y[0]).argmin()]
        gone = here.id[np.hypot(here.x - x[5], here.y - y[5]).argmin()]
        session.move([moved], [x[0] + 0.45 * DIAMETER], [y[0]])
        session.remove([gone])
        session.add(30.0 * seed + 60.0, 2.0, anyway=True)
    return session


@pytest.fixture
def review(doubtful: Session) -> Review:
    review = Review(doubtful)
    review.start(find_errors(doubtful, ACCEPTED))
    return review


def until(review: Review, kind: ErrorKind) -> int:
    """Skip to the next item of a kind."""
    while (number := review.next()) is not None and review.items[number].kind is not kind:
        review.answer(number, Answer.SKIP)
    assert number is not None
    return number


def test_what_is_wrong_comes_first_and_is_settled_by_one_answer_each(doubtful: Session, review: Review) -> None:
    first = review.items[:9]
    assert {kind: sum(item.kind is kind for item in first) for kind in first and ErrorKind} == {
        ErrorKind.FALSE: 3,
        ErrorKind.MOVED: 3,
        ErrorKind.MISSING: 3,
        ErrorKind.DOUBLE: 0,
        ErrorKind.GAP: 0,
    }
    answers = {ErrorKind.FALSE: Answer.REJECT, ErrorKind.MOVED: Answer.MOVE, ErrorKind.MISSING: Answer.ACCEPT}
    for number in range(9):
        assert review.next() == number
        review.answer(number, answers[first[number].kind], Reason.EDGE)
    for seed, micrograph in enumerate(doubtful.micrographs):
        _, x, y = planted(7, 60, seed=seed)
        here = doubtful.store.particles(micrograph.id)
        kept = here.take(here.decision == Decision.ACCEPTED)
        away = np.hypot(kept.x[:, None] - x, kept.y[:, None] - y)
        assert len(kept) == 49
        assert away.min(axis=0).max() < 0.15 * DIAMETER
        assert (here.reason[here.decision == Decision.REJECTED] == Reason.EDGE).all()


def test_a_pick_that_looks_like_no_view_of_the_map_is_suspect(doubtful: Session, review: Review) -> None:
    p = doubtful.store.positions(Which(decisions=(Decision.ACCEPTED,)))
    n, (sound, *_) = len(p["id"]), [item for item in reversed(review.items) if item.kind is ErrorKind.FALSE]
    odds = np.full(n, 2.0, np.float32)
    odds[:20] = np.nan  # these have no box
    suspects = [item.particle for item in review.items[:9] if item.kind is ErrorKind.FALSE]
    odds[np.isin(p["id"], suspects)] = -9.0
    odds[p["id"] == sound.particle] = -40.0
    order = np.argsort(p["id"])
    same = {"particle": p["id"], "micrograph": p["micrograph"], "x": p["x"], "y": p["y"], "log_odds": odds}
    nothing = {"error_deg": np.zeros(n), "matrices": np.tile(np.eye(3), (n, 1, 1)), "half": np.zeros(n, np.int8)}
    columns = same | nothing | {"shift_x": np.zeros(n), "shift_y": np.zeros(n)}
    picks = PickVerdicts(**{name: column[order] for name, column in columns.items()})
    save_map_run(doubtful, MapResult(MapRun(0, {"verdict": "20 Å"}), picks, {}, {}))
    doubted = MapRun(0, {"verdict": DOUBT + "20 Å"})  # says nothing, though it came later
    save_map_run(doubtful, MapResult(doubted, replace(picks, log_odds=-picks.log_odds), {}, {}))

    weighed = find_errors(doubtful, ACCEPTED)
    assert len(weighed) == len(review.items)
    probability = [item.probability for item in weighed]
    assert probability == sorted(probability, reverse=True)  # no gaps here
    before = {item.particle: item for item in review.items if item.particle}
    now = {item.particle: item for item in weighed if item.particle}
    assert "3D: looks like no view of the map." in now[sound.particle].reason
    odds_before = before[sound.particle].probability / (1 - before[sound.particle].probability)
    odds_now = now[sound.particle].probability / (1 - now[sound.particle].probability)
    assert odds_now / odds_before == pytest.approx(np.exp(4.0), rel=0.01)  # a map may lack what is real
    for particle in suspects:
        assert "no view" in now[particle].reason
        assert now[particle].probability >= before[particle].probability
    boxless = (set(p["id"][:20].tolist()) & now.keys()) - {*suspects, sound.particle}
    assert boxless
    assert all(now[particle].probability == before[particle].probability for particle in boxless)
    (again,) = weigh_by_map(doubtful, [replace(sound, x=sound.x + 1.0)])
    assert again.reason == sound.reason  # moved since the run


def test_an_answer_is_taken_back_with_what_it_changed(doubtful: Session, review: Review) -> None:
    before = doubtful.counts()
    number = until(review, ErrorKind.FALSE)
    said = review.answer(number, Answer.REJECT)
    assert said == f"rejected 1 pick on {doubtful.micrograph(review.items[number].micrograph).name} in review"
    assert doubtful.counts()["rejected"] == before["rejected"] + 1
    assert review.back() == number
    assert doubtful.counts() == before
    assert review.next() == number


def test_a_page_is_one_step_and_its_exceptions_are_the_opposite(doubtful: Session, review: Review) -> None:
    until(review, ErrorKind.MISSING)
    before, page = doubtful.counts(), review.page(10)
    assert len({(review.items[n].kind, review.items[n].likely) for n in page}) == 1
    assert len(page) >= 3
    steps = len(doubtful.history())
    review.answer_page(page, page[2:], Answer.ACCEPT)
    assert doubtful.counts()["accepted"] == before["accepted"] + 2
    assert len(doubtful.history()) == steps + 1
    assert review.next() not in page
    review.back()
    assert doubtful.counts() == before


def test_undecided_candidates_are_lined_up_by_the_threshold_and_settled_by_pages(session: Session) -> None:
    with pytest.raises(Refused, match="propose some first"):
        undecided_items(session, None, 0.5, probabilities=True)
    score = np.linspace(0.05, 0.95, 60)
    for micrograph, places in zip(session.micrographs, (np.arange(0, 30), np.arange(30, 60)), strict=False):
        x = 40.0 + 5.0 * np.arange(len(places))
        here = Candidates(x, np.full(len(x), 20.0), score[places], np.full(len(x), 60.0))
        proposing.enter(session, proposing.Proposal("learned", 60.0, {}, ((micrograph.id, here),)))
    proposed = tuple(i for i, one in session.pick_sets.items() if one.proposed)
    items = undecided_items(session, proposed, 0.4, probabilities=True)
    particles = session.store.particles_where(Which(pick_sets=proposed))
    assert len(items) == len(particles) > 30
    queue = Review(session)
    queue.start(items)
    score_of = dict(zip(particles.id.tolist(), particles.score.tolist(), strict=True))
    distance = [abs(item.probability - 0.5) for item in items]
    assert distance == sorted(distance)
    assert all(item.likely == (score_of[item.particle] < 0.4) for item in items)
    page = queue.page(10)
    assert len({items[n].likely for n in page}) == 1, "one side of the threshold"
    answer = Answer.REJECT if items[page[0]].likely else Answer.ACCEPT
    before = learning.usable(session).n
    queue.answer_page(page, page[:3], answer)
    after = session.store.particles_where(Which(ids=tuple(items[n].particle for n in page)))
    likely = Decision.REJECTED if answer is Answer.REJECT else Decision.ACCEPTED
    assert (after.decision == likely).sum() == 7
    assert (after.decision == Decision.UNDECIDED).sum() == 0
    assert learning.usable(session).n == before + 10, "a page is looked at: it is learned from"
    queue.back()
    assert learning.usable(session).n == before


def test_a_score_that_is_no_probability_has_its_half_at_the_threshold() -> None:
    wrong = no_particle(np.array([-3.0, 1.9, 2.0, 5.0]), 2.0, probabilities=False)
    assert (np.diff(wrong) < 0).all()
    assert (wrong >= 0.5).tolist() == [True, True, False, False]


def test_review_goes_on_another_day_and_beside_another_curator(doubtful: Session, review: Review) -> None:
    first = review.next()
    assert first == 0
    review.answer(0, Answer.SKIP)
    review.hold(1)
    again = Review(doubtful)
    assert again.load()
    assert len(again.items) == len(review.items)
    assert again.items[5] == review.items[5] or np.isnan(again.items[5].to_x)
    assert again.next() == 1, "what one holds oneself is shown again"
    doubtful.curator = "you"
    other = Review(doubtful)
    other.load()
    assert other.next() == 2, "what somebody else looks at is passed over"
    other.answer(2, Answer.SKIP)
    doubtful.curator = "me"
    review.follow()
    assert review.n_answered == 2


def doubted(session: Session) -> Review:
    """A queue of the first six picks, each likely false."""
    here = session.store.particles_where(Which()).take(np.arange(6))
    rows = zip(here.micrograph.tolist(), here.id.tolist(), here.x.tolist(), here.y.tolist(), strict=True)
    review = Review(session)
    review.start([ReviewItem(*row, np.nan, np.nan, ErrorKind.FALSE, 0.9) for row in rows])
    return review


def test_two_curators_on_one_queue_answer_nothing_twice(session: Session) -> None:
    mine = doubted(session)
    page = mine.page(4)
    mine.hold(*page)
    session.curator = "you"
    its = Review(session)
    its.load()
    assert its.page() == [4, 5], "a page that somebody looks at is not shown to another"
    its.answer(page[0], Answer.ACCEPT)
    session.curator = "me"
    assert not mine.is_open(page[0])
    mine.answer_page(page, [], Answer.REJECT)
    assert session.counts()["rejected"] == 3, "the answer that was there stays"
    with pytest.raises(Refused, match="somebody else has answered this meanwhile"):
        mine.answer_page(page, [], Answer.ACCEPT)


def test_a_page_leaves_alone_what_was_moved_or_removed_since(session: Session) -> None:
    review = doubted(session)
    item = review.items[1]
    session.go(item.micrograph)
    session.move([item.particle], [item.x + DIAMETER], [item.y])
    assert "moved since the search: 1 pick" in review.answer_page(review.page(), [], Answer.REJECT)
    assert session.counts()["rejected"] == 5
    assert review.page() == [1], "it is asked again"
    review.back()
    assert (session.counts()["rejected"], review.is_open(0)) == (0, True)
    micrographs = [m.id for m in session.micrographs]
    places = tuple((micrograph, 3.0, 3.0) for micrograph in micrographs)
    gap = replace(item, kind=ErrorKind.GAP, micrograph=micrographs[0], particle=0, members=places, group=1)
    review.start([gap])
    membership.remove(session, micrographs[2:])
    accepted = session.counts()["accepted"]
    review.answer(0, Answer.ACCEPT)
    assert session.counts()["accepted"] == accepted + 2, "none on the micrograph that was removed"


def test_a_pick_that_is_gone_is_refused_and_a_damaged_queue_said(doubtful: Session, review: Review) -> None:
    number = until(review, ErrorKind.FALSE)
    item = review.items[number]
    doubtful.go(item.micrograph)
    doubtful.remove([item.particle])
    with pytest.raises(Refused, match="deleted meanwhile"):
        review.answer(number, Answer.REJECT)
    path = doubtful.store.path.parent / "review/queue.json"
    path.write_text("{")
    with pytest.raises(Exception, match=r"queue\.json cannot be read"):
        Review(doubtful).load()


def test_what_comes_next_is_known_and_counted(review: Review) -> None:
    for _ in range(3):
        open_items = [n for n in range(len(review.items)) if n not in review._answered]
        order = list(dict.fromkeys(review.items[n].micrograph for n in open_items))
        assert review.upcoming() == order[1:4], "pictures of these are made ready"
        assert review.n_left == len(open_items)
        assert review.n_likely_left == sum(review.items[n].likely for n in open_items)
        review.answer(open_items[0], Answer.SKIP)
    review.back()
    assert review.n_left == len(review.items) - 2


def test_no_two_items_are_one_pick(review: Review) -> None:
    picks = [item.particle for item in review.items if item.particle]
    assert len(set(picks)) == len(picks)
    assert all(
        a.probability >= b.probability for a, b in itertools.pairwise(review.items) if a.kind is not ErrorKind.GAP
    )
