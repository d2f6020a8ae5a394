"""Errors planted among the labels of simulated micrographs, and found again."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from cryoppp_annotator.audit.gaps import find_gaps
from cryoppp_annotator.audit.places import LabelledPlaces, lay, polarity_of
from cryoppp_annotator.audit.queue import QueueItem, in_order, summon, weigh
from cryoppp_annotator.audit.suspects import ErrorKind
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.imaging.simulate import SimulatedMicrograph, SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.context import JobContext

QUIET = JobContext()
N, EACH = 3, 3


class Planted(NamedTuple):
    """Labels of a micrograph, and what was done to them."""

    x: np.ndarray
    y: np.ndarray
    kind: np.ndarray
    removed: np.ndarray


@pytest.fixture(scope="module")
def scenes() -> list[SimulatedMicrograph]:
    options = SimulationParameters(
        size=(700, 700),
        pixel_size_A=5.0,
        structure="shell",
        n_particles=70,
        n_views=6,
        snr=0.3,
        seed=3,
        carbon_probability=0.0,
        n_contaminants=2.0,
        aggregate_fraction=0.0,
    )
    views = views_for(options)
    return [simulate_micrograph(options, i, views) for i in range(N)]


def plant(scene: SimulatedMicrograph, seed: int) -> Planted:
    """False, moved, double and removed labels, three of each."""
    rng = np.random.default_rng(seed)
    truth = np.column_stack([scene.x, scene.y])
    order, diameter = rng.permutation(len(truth)), scene.diameter_px
    moved, removed, twice = order[:EACH], order[EACH : 2 * EACH], order[2 * EACH : 3 * EACH]
    points, kind = truth.copy(), np.full(len(truth), "good", object)
    angle = rng.uniform(0, 2 * np.pi, EACH)
    points[moved] += 0.4 * diameter * np.column_stack([np.cos(angle), np.sin(angle)])
    kind[moved] = "moved"
    kept = np.setdiff1d(np.arange(len(truth)), removed)
    places = rng.uniform(20, 680, (2000, 2))
    free = places[np.hypot(*(places[:, None] - truth[None]).transpose(2, 0, 1)).min(axis=1) > 0.6 * diameter][:EACH]
    double = truth[twice] + 0.1 * diameter
    points = np.concatenate([points[kept], free, double])
    kind = np.concatenate([kind[kept], np.full(len(free), "false"), np.full(EACH, "double")])
    return Planted(points[:, 0], points[:, 1], kind, truth[removed])


def laid(scene: SimulatedMicrograph, x: np.ndarray, y: np.ndarray, name: str) -> LabelledPlaces:
    return lay(scene.image, x, y, pixel_size_A=scene.pixel_size_A, diameter_A=scene.diameter_A, name=name)


@pytest.fixture(scope="module")
def planted(scenes: list[SimulatedMicrograph]) -> dict[str, Planted]:
    return {f"m{i}": plant(scene, i) for i, scene in enumerate(scenes)}


@pytest.fixture(scope="module")
def teachers(scenes: list[SimulatedMicrograph], planted: dict[str, Planted]) -> list[LabelledPlaces]:
    return [laid(scene, p.x, p.y, name) for scene, (name, p) in zip(scenes, planted.items(), strict=True)]


@pytest.fixture(scope="module")
def queue(teachers: list[LabelledPlaces]) -> list[QueueItem]:
    jury, suspects = summon(teachers, QUIET)
    return in_order(jury, teachers, suspects)


def test_planted_errors_come_first(
    queue: list[QueueItem], teachers: list[LabelledPlaces], planted: dict[str, Planted]
) -> None:
    assert len([item for item in queue if item.label >= 0]) == sum(len(p.x) for p in planted.values())
    single = [item for item in queue if item.kind is not ErrorKind.GAP]
    assert all(a.probability >= b.probability for a, b in itertools.pairwise(single))
    first = queue[: int(1.5 * 4 * EACH * N)]
    hits = dict.fromkeys(("false", "moved", "double", "missing"), 0)
    for item in first:
        p = planted[item.micrograph]
        if item.label >= 0 and p.kind[item.label] != "good":
            hits[p.kind[item.label]] += 1
            if p.kind[item.label] in ("moved", "double"):
                assert item.kind in (ErrorKind.MOVED, ErrorKind.DOUBLE, ErrorKind.FALSE)
        elif item.label < 0:
            away = np.hypot(*(p.removed - (item.x, item.y)).T).min()
            hits["missing"] += bool(away < 0.3 * teachers[0].diameter)
    assert min(hits.values()) >= 0.75 * EACH * N, hits


def test_a_moved_label_is_told_where_its_particle_lies(
    scenes: list[SimulatedMicrograph], queue: list[QueueItem], teachers: list[LabelledPlaces]
) -> None:
    by_name = {f"m{i}": scene for i, scene in enumerate(scenes)}
    moved = [i for i in queue if i.kind is ErrorKind.MOVED and i.probability > 0.8]
    assert len(moved) >= 4
    off = [np.hypot(by_name[i.micrograph].x - i.to_x, by_name[i.micrograph].y - i.to_y).min() for i in moved]
    assert np.median(off) < 0.1 * teachers[0].diameter


def test_a_micrograph_that_taught_nothing_is_judged_as_well(teachers: list[LabelledPlaces]) -> None:
    jury, _ = summon(teachers[:2], QUIET)
    alone = weigh(jury, teachers[2], QUIET)
    wrong = alone.probability[alone.label >= 0]
    order = np.argsort(-wrong)
    assert (alone.label >= 0).sum() == len(teachers[2].x)
    assert wrong[order[0]] > 0.9 > wrong[order[len(order) // 2]]


def test_a_view_that_nobody_labelled_is_one_group(scenes: list[SimulatedMicrograph]) -> None:
    kept = [scene.view != 2 for scene in scenes]
    teachers = [laid(s, s.x[k], s.y[k], f"m{i}") for i, (s, k) in enumerate(zip(scenes, kept, strict=True))]
    jury, suspects = summon(teachers, QUIET)
    first = [item for item in in_order(jury, teachers, suspects)[:5] if item.kind is ErrorKind.GAP]
    by_name = {f"m{i}": scene for i, scene in enumerate(scenes)}
    best = 0.0
    for gap in first:
        of_view = [
            np.hypot(s.x[s.view == 2] - x, s.y[s.view == 2] - y).min() < 0.3 * s.diameter_px
            for name, x, y in gap.members
            for s in (by_name[name],)
        ]
        n = sum(int((scene.view == 2).sum()) for scene in scenes)
        best = max(best, min(sum(of_view) / n, float(np.mean(of_view))))
    assert best > 0.5


def test_parts_of_labelled_particles_are_no_view_that_nobody_labelled() -> None:
    """A barrel seen from the side is two rows of rings: half a diameter off its centre it looks like itself again."""
    options = SimulationParameters(structure="double-ring", n_particles=150, snr=0.07, seed=0)
    views, rng = views_for(options), np.random.default_rng(0)
    teachers = []
    for scene in (simulate_micrograph(options, i, views) for i in range(N)):
        kept = rng.random(len(scene.x)) < 0.92
        x = np.append(scene.x[kept] + rng.normal(0, 4, kept.sum()), rng.uniform(60, 1990, 30))
        y = np.append(scene.y[kept] + rng.normal(0, 4, kept.sum()), rng.uniform(60, 1990, 30))
        teachers.append(laid(scene, x, y, ""))
    for gap in find_gaps(teachers, 0.0, QUIET):
        beside = [
            np.hypot(t.x - t.seen.x[k], t.y - t.seen.y[k]).min() < 0.75 * t.diameter
            for t, k in ((teachers[i], k) for i, k in zip(gap.micrograph, gap.place, strict=True))
        ]
        assert np.mean(beside) < 0.5, gap.name


def test_labels_that_lie_exactly_where_a_picker_put_them_are_judged_by_their_looks(
    teachers: list[LabelledPlaces], scenes: list[SimulatedMicrograph]
) -> None:
    """False labels of the same detector lie exactly on its places; that they are well centred is no excuse."""
    laid_again = []
    for i, (scene, places) in enumerate(zip(scenes, teachers, strict=True)):
        x, y = places.seen.x[places.free], places.seen.y[places.free]
        far = np.hypot(scene.x - x[:, None], scene.y - y[:, None]).min(axis=1) > 0.6 * scene.diameter_px
        x, y = x[far][:4], y[far][:4]
        laid_again.append(laid(scene, np.append(scene.x, x), np.append(scene.y, y), f"m{i}"))
    _, suspects = summon(laid_again, QUIET)
    wrong = np.concatenate([s.probability[s.label >= len(scene.x)] for s, scene in zip(suspects, scenes, strict=True)])
    right = np.concatenate(
        [s.probability[(s.label >= 0) & (s.label < len(scene.x))] for s, scene in zip(suspects, scenes, strict=True)]
    )
    assert len(wrong) == 12
    assert np.mean(wrong[:, None] > right[None]) > 0.9


def test_one_micrograph_judges_itself_by_its_quarters(teachers: list[LabelledPlaces]) -> None:
    jury, (alone,) = summon(teachers[:1], QUIET)
    assert len(jury.looks) == 4
    assert (alone.label >= 0).sum() == len(teachers[0].x)


def test_few_labels_are_refused(scenes: list[SimulatedMicrograph]) -> None:
    few = laid(scenes[0], scenes[0].x[:20], scenes[0].y[:20], "m0")
    with pytest.raises(Refused, match="20 labels on the micrographs are too few"):
        summon([few], QUIET)


def test_where_every_place_is_labelled_nothing_shows_what_is_no_particle(scenes: list[SimulatedMicrograph]) -> None:
    s = scenes[0]
    step = s.diameter_px / 3
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.arange(step, 700 - step, step)] * 2))
    with pytest.raises(Refused, match="nearly every place"):
        summon([laid(s, x, y, "m0")], QUIET)


def test_labels_outside_the_picture_are_wrong_and_no_error(scenes: list[SimulatedMicrograph]) -> None:
    s = scenes[0]
    x, y = np.append(s.x, [-40.0, np.nan]), np.append(s.y, [5.0, 7.0])
    _, (alone,) = summon([laid(s, x, y, "m0")], QUIET)
    assert alone.probability[len(s.x)] == pytest.approx(1.0)
    assert alone.probability[len(s.x) + 1] == pytest.approx(1.0)


def test_dark_and_bright_are_told_apart(scenes: list[SimulatedMicrograph]) -> None:
    s = scenes[0]
    dark = polarity_of(s.image, s.x, s.y, s.diameter_px)
    assert dark < -5
    assert polarity_of(-s.image, s.x, s.y, s.diameter_px) == pytest.approx(-dark)
