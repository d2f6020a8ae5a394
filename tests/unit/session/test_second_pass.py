"""A blind second pass with simulated curators: what was planted is recovered, nobody is shown what was said."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.audit.curators import quality_of
from cryoppp_annotator.audit.sampling import strata, stratified
from cryoppp_annotator.errors import ProjectError, Refused
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import importing
from cryoppp_annotator.session.review import sets
from cryoppp_annotator.session.review.second_pass import BlindItem, PassOptions, SecondPass, sample_places

SIDE, N_MICROGRAPHS, PITCH = 1200, 6, 40
HEAD = "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
#: Of 900 places on each micrograph 500 are particles; the labels have 90 % of them and 8 % of the other 400.
TRUE, FOUND, FALSE = 500, 0.90, 0.08


def places() -> np.ndarray:
    """(900, 2) xy on a grid, the particles first: in truth the first TRUE of each micrograph."""
    axis = np.arange(PITCH // 2, SIDE, PITCH, dtype=float)
    xy = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return np.random.default_rng(7).permutation(xy)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of planted precision and recall, candidates everywhere, and a gold set on the whole."""
    folder = tmp_path_factory.mktemp("second")
    for k in range(N_MICROGRAPHS):
        with mrcfile.new(folder / f"m{k}.mrc") as file:
            file.set_data(np.zeros((SIDE, SIDE), np.int8))
            file.voxel_size = 2.0
    session = opening.open_plan(opening.plan(folder, folder / "project"), curator="labeller")
    session.set_diameter(2.0 * 0.7 * PITCH)
    xy, rng = places(), np.random.default_rng(3)
    true = np.arange(len(xy)) < TRUE
    for name in ("labels", "candidates", "gold"):
        rows = []
        for micrograph in session.micrographs:
            labelled = np.where(true, rng.random(len(xy)) < FOUND, rng.random(len(xy)) < FALSE)
            chosen = {"labels": labelled, "candidates": np.ones(len(xy), bool), "gold": true}[name]
            rows += [f"{micrograph.name}.mrc {x} {y}\n" for x, y in xy[chosen].tolist()]
        star = folder / f"{name}.star"
        star.write_text(HEAD + "".join(rows))
        importing.enter(session, importing.read(session, star), name=name)
    session.close()
    return folder / "project"


@pytest.fixture
def session(project: Path) -> Iterator[Session]:
    session = opening.open_project(project)
    yield session
    session.close()


def numbers(session: Session) -> tuple[int, int]:
    """The sets of labels and of gold."""
    by_name = {one.name: number for number, one in session.pick_sets.items()}
    return by_name["labels"], by_name["gold"]


def truth(item: BlindItem) -> bool:
    xy = places()[:TRUE]
    return bool(np.hypot(*(xy - (item.x, item.y)).T).min() < 1.0)


def go_through(session: Session, second: SecondPass, who: str, sure: float, rng: np.random.Generator) -> list[int]:
    """A curator who is right with a probability goes through all places that are offered."""
    session.curator, seen = who, []
    while (number := second.next()) is not None:
        right = rng.random() < sure
        second.answer(number, truth(second.items[number]) is right)
        seen.append(number)
    return seen


def planted_quality(session: Session) -> tuple[float, float, float]:
    labels, gold = numbers(session)
    total = sets.compare_in_project(session, gold, labels, 0.2).total.quality
    return total.precision, total.recall, total.f1


def test_what_was_planted_is_recovered(session: Session) -> None:
    labels, gold = numbers(session)
    before, steps = session.counts(), len(session.history())
    options = PassOptions(labels, n_micrographs=4, n_places=900, gold=gold, n_gold=600, seed=1)
    second = SecondPass(session)
    second.start(sample_places(session, options), "labels")
    rng = np.random.default_rng(5)
    first = go_through(session, second, "ada", 0.97, rng)
    assert sorted(first) == list(range(len(second.items)))
    third = go_through(session, second, "bo", 0.98, rng)
    differ = {n for n in first if second.items[n].gold is None and second.final(n) is not None}
    assert all(second.items[n].gold is not None or n in differ for n in third)
    result = second.result()
    assert result.n_judged == result.n_places
    assert result.n_settled == result.n_differ > 0
    for measured, planted in zip(
        (result.labels.precision, result.labels.recall, result.labels.f1), planted_quality(session), strict=True
    ):
        assert measured.value == pytest.approx(planted, abs=0.02)
        assert measured.low < planted < measured.high
    for who, sure in (("ada", 0.97), ("bo", 0.98)):
        quality = result.curators[who]
        assert quality.n == 600
        assert quality.f1.value == pytest.approx(sure, abs=0.02), "half of the gold are particles"
        assert quality.f1.low < sure < quality.f1.high
    assert session.counts() == before, "a second pass changes no pick"
    assert [line.kind for line in session.history()[:-steps]] == ["visit"], (
        "where the known answers lie is noted, no step"
    )
    kept = json.loads((session.store.folder / "review/second_pass.json").read_text())
    assert {name for item in kept["items"] for name in item} == {"micrograph", "x", "y"}, "gold cannot be told"


def test_a_consensus_remembers_who_said_what(session: Session) -> None:
    labels, _ = numbers(session)
    second = SecondPass(session)
    second.start(sample_places(session, PassOptions(labels, n_micrographs=2, n_places=60)), "labels")
    rng = np.random.default_rng(2)
    with pytest.raises(Refused, match="no place"):
        second.make_consensus()
    go_through(session, second, "ada", 0.8, rng)
    go_through(session, second, "bo", 1.0, rng)
    before = session.counts()
    second.make_consensus()
    new = max(session.pick_sets)
    picks = session.store.particles_where(Which(pick_sets=(new,)))
    assert session.pick_sets[new].kind == sets.CONSENSUS
    finals = [second.final(n) for n in range(len(second.items))]
    assert len(picks) == sum(bool(final) for final in finals) > 0
    said = session.store.extra(*np.unique(picks.micrograph).tolist())
    settled = [row for row in (said[i] for i in picks.id.tolist()) if "said_by_bo" in row]
    assert settled, "a third settled some"
    assert all(row["said_by_bo"] == "particle" and row["said_by_ada"] != row["said_by_labels"] for row in settled)
    table = list(csv.DictReader(io.StringIO(second.as_csv())))
    assert len(table) == len(second.items)
    assert [row["final"] for row in table] == ["particle" if final else "none" for final in finals]
    assert sum(row["bo"] == "particle" for row in table) == len(settled)
    assert {row["ada"] for row in table} == {"particle", "none"}
    session.undo()
    assert session.counts() == before


def test_nobody_is_shown_what_another_said_or_looks_at(session: Session) -> None:
    labels, gold = numbers(session)
    items = sample_places(session, PassOptions(labels, 2, 40, gold=gold, n_gold=10, seed=4))
    assert {item.gold for item in items} == {None, True, False}
    changes = sum(a.micrograph != b.micrograph for a, b in itertools.pairwise(items))
    assert changes == len({item.micrograph for item in items}) - 1, "one micrograph after the other"
    ada = SecondPass(session)
    ada.start(items, "labels")
    session.curator = "ada"
    number = ada.next()
    assert number is not None
    ada.hold(number)
    assert ada.next() == number
    session.curator = "bo"
    bo = SecondPass(session)
    assert bo.load()
    assert (bo.next() == number) is (items[number].gold is not None), "only gold is for everybody"
    session.curator = "ada"
    ada.answer(number, True)
    ada.answer(ada.next() or 0, None)
    left = ada.n_left
    assert ada.n_done == 2
    assert ada.back() is not None
    assert (ada.n_left, ada.n_done) == (left + 1, 1)
    ada.start(items, "labels")
    assert ada.n_done == 0, "answers to another pass are not these"


def test_odd_files_and_refusals(session: Session) -> None:
    labels, _ = numbers(session)
    with pytest.raises(Refused, match="no picks to look at again"):
        sample_places(session, PassOptions())
    with pytest.raises(Refused, match="as they are now"):
        sample_places(session, PassOptions(sets.moment_set(1)))
    second = SecondPass(session)
    second.start(sample_places(session, PassOptions(labels, 2, 40)), "labels")
    path = session.store.path.parent / "review/second_pass.json"
    with (path.parent / "second_pass_answers.jsonl").open("a") as file:
        file.write('{"item": "x"}\n[]\nno json\n' + json.dumps({"pass": second.made, "item": 10**9}) + "\n")
    assert second.next() == 0
    of_another = json.loads(path.read_text()) | {"made": "2020-01-01T00:00:00.000+00:00"}
    path.write_text(json.dumps(of_another))
    with pytest.raises(ProjectError, match="does not know this pass"):
        second.load()
    path.write_text('{"items": 3}')
    with pytest.raises(ProjectError, match=r"second_pass.json cannot be read"):
        second.load()


def test_intervals_cover_the_truth() -> None:
    rng, covered = np.random.default_rng(0), np.zeros(3)
    for _ in range(200):
        true = rng.random(120) < 0.5
        said = np.where(true, rng.random(120) < 0.9, rng.random(120) < 0.1)
        quality = quality_of(said, true)
        for k, share in enumerate((quality.precision, quality.recall, quality.f1)):
            covered[k] += share.low <= 0.9 <= share.high
    assert (covered / 200 >= 0.9).all(), covered
    perfect = quality_of(np.ones(20, bool), np.ones(20, bool))
    assert perfect.f1.low < 1.0 == perfect.f1.high, "nothing is certain after twenty"
    assert np.isnan(quality_of(np.zeros(3, bool), np.zeros(3, bool)).recall.value)


def test_a_sample_looks_like_all_of_them() -> None:
    rng = np.random.default_rng(1)
    density, defocus = rng.random(90), np.where(rng.random(90) < 0.2, np.nan, rng.random(90))
    stratum = strata(density, defocus)
    sample = stratified(stratum, 30, seed=2)
    assert len(np.unique(sample.chosen)) == 30
    assert sample.weight.sum() == pytest.approx(90)
    for h in np.unique(stratum):
        share = (stratum == h).sum() / 3
        assert abs((sample.stratum == h).sum() - share) <= 1.0
    assert stratified(stratum, 2, 0).weight.tolist() == [45.0, 45.0], "too few for all strata"
    assert len(stratified(strata(density[:3], defocus[:3]), 20, 0).chosen) == 3
    means = [density[stratified(stratum, 12, seed).chosen].mean() for seed in range(40)]
    plain = [density[rng.permutation(90)[:12]].mean() for _ in range(40)]
    assert np.std(means) < np.std(plain)
    with pytest.raises(Refused):
        stratified(np.zeros(0, np.intp), 3, 0)
