"""The learned picker: protocol, real micrographs, damaged model files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryoppp_annotator.api import Picker
from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.formats import kept_arrays
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.coordinates import FloatArray
from cryoppp_annotator.picking.evaluate import quality
from cryoppp_annotator.picking.learned import LEARNED, probability, too_few, train
from cryoppp_annotator.picking.log import LOG
from cryoppp_annotator.picking.matching import match
from cryoppp_annotator.picking.model_file import VERSION, Model, load_model, save_model
from cryoppp_annotator.picking.seen import Example, describe
from cryoppp_annotator.testing import check_picker, planted

QUIET = JobContext()
SIZES = {"pixel_size_A": 2.0, "diameter_A": 60.0}


def of_discs(seed: int = 3) -> Model:
    """A model that accepts discs."""
    image, x, y = planted(seed=seed)
    candidates = LOG.propose(image, **SIZES, parameters={}, context=QUIET)
    hit = match(candidates.x, candidates.y, candidates.score, x, y, 9.0).hit
    seen = describe(image, **SIZES, context=QUIET)
    return train([seen], [Example(candidates.x[:60], candidates.y[:60], hit[:60])], diameter_A=60.0, context=QUIET)


def test_keeps_to_the_protocol_with_a_model_of_a_file(tmp_path: Path) -> None:
    save_model(of_discs(), tmp_path / "model.npz")
    check_picker(LEARNED, {"model": str(tmp_path / "model.npz")})


def test_a_model_file_gives_the_same_picks_as_the_model(tmp_path: Path) -> None:
    model = of_discs()
    save_model(model, tmp_path / "a" / "model.npz")
    again = load_model(tmp_path / "a" / "model.npz")
    assert again.digest() == model.digest()
    image, *_ = planted(seed=9)
    one = LEARNED.propose(image, **SIZES, parameters={"model": model}, context=QUIET)
    other = LEARNED.propose(image, **SIZES, parameters={"model": again}, context=QUIET)
    assert np.array_equal(one.score, other.score)
    assert of_discs().digest() == model.digest()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    image, *_ = planted()
    with pytest.raises(EngineError, match="needs a model"):
        LEARNED.propose(image, **SIZES, parameters={}, context=QUIET)
    with pytest.raises(EngineError, match="no parameter nonsense"):
        LEARNED.propose(image, **SIZES, parameters={"nonsense": 1}, context=QUIET)
    with pytest.raises(EngineError, match=r"gone\.npz"):
        LEARNED.propose(image, **SIZES, parameters={"model": tmp_path / "gone.npz"}, context=QUIET)
    assert "20 more" in too_few(6, 4)
    assert "rejected" in too_few(40, 0)
    assert too_few(25, 25) == ""


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_damaged_model_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.npz"):
        load_model(path)


def test_a_file_of_other_arrays_and_of_another_version_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(EngineError, match="is no model"):
        load_model(tmp_path / "other.npz")
    np.savez(tmp_path / "future.npz", version=99)
    with pytest.raises(EngineError, match="another version"):
        load_model(tmp_path / "future.npz")


@pytest.mark.parametrize(
    ("name", "nonsense"),
    [
        ("diameter_A", np.asarray("x")),
        ("bias", np.asarray(np.nan)),
        ("mean", np.asarray(["a", "b"])),
        ("polarity", np.asarray("grey")),
        ("weights", np.asarray(5)),
    ],
)
def test_a_model_of_nonsense_is_named(name, nonsense, tmp_path):
    ones, views = np.ones(4, np.float32), np.ones((2, 3, 4), np.complex64)
    model = Model(
        np.ones((5, 4)), np.ones(5), 0.1, ones, ones, views, ones[:2], ones, 1.0, 1.0, 0.0, 99.0, "dark", 5, 6
    )
    columns = {one.name: np.asarray(getattr(model, one.name)) for one in fields(model)}
    np.savez_compressed(tmp_path / "m.npz", version=np.asarray(VERSION), **columns)
    assert load_model(tmp_path / "m.npz").diameter_A == 99.0
    np.savez_compressed(tmp_path / "m.npz", version=np.asarray(VERSION), **{**columns, name: nonsense})
    with pytest.raises(EngineError, match="is no model of the learned picker"):
        load_model(tmp_path / "m.npz")


def test_what_unpacks_to_more_than_a_model_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_arrays, "_MOST_UNPACKED", 10_000)
    np.savez_compressed(tmp_path / "m.npz", version=np.asarray(VERSION), landmarks=np.zeros(10_000))
    assert (tmp_path / "m.npz").stat().st_size < 1_000
    with pytest.raises(EngineError, match="unpacks to more than anything that is kept"):
        load_model(tmp_path / "m.npz")


def test_decisions_that_contradict_the_picture_do_not_turn_the_order_round() -> None:
    image, x, y = planted()
    candidates = LOG.propose(image, **SIZES, parameters={}, context=QUIET)
    hit = match(candidates.x, candidates.y, candidates.score, x, y, 9.0).hit
    seen = describe(image, **SIZES, context=QUIET)
    model = train([seen], [Example(candidates.x[:60], candidates.y[:60], ~hit[:60])], diameter_A=60.0, context=QUIET)
    assert model.slope > 0
    assert np.isfinite(model.weights).all()


def candidates(seed: int) -> tuple[np.ndarray, FloatArray, FloatArray, np.ndarray]:
    """An image of discs, places on it, best first, and whether they are discs."""
    image, x, y = planted(seed=seed)
    proposed = LOG.propose(image, **SIZES, parameters={}, context=QUIET)
    return image, proposed.x, proposed.y, match(proposed.x, proposed.y, proposed.score, x, y, 9.0).hit


def f1_of(model: Model, seed: int = 11) -> float:
    image, x, y = planted(seed=seed)
    candidates = LEARNED.propose(image, **SIZES, parameters={"model": model}, context=QUIET)
    return quality([match(candidates.x, candidates.y, candidates.score, x, y, 9.0)]).best_f1


@pytest.mark.parametrize("rejected", ["the worst", "a few at the corner"])
def test_a_curator_who_accepts_the_easiest_and_rejects_what_nobody_would_take_is_served(rejected: str) -> None:
    image, x, y, hit = candidates(3)
    # accepted: the best; rejected: nothing near them in score, or hardly any and all in one place (carbon, say)
    yes = np.flatnonzero(hit)[: 20 if rejected == "the worst" else 22]
    if rejected == "the worst":
        nx, ny = x[~hit][-20:], y[~hit][-20:]
    else:
        nx, ny = np.linspace(5.0, 60.0, 8), np.full(8, 5.0)
    example = Example(np.r_[x[yes], nx], np.r_[y[yes], ny], np.r_[np.ones(len(yes), bool), np.zeros(len(nx), bool)])
    seen = describe(image, **SIZES, also=(example.x, example.y), context=QUIET)
    model = train([seen], [example], diameter_A=60.0, context=QUIET)
    assert f1_of(model) > 0.9


def test_all_the_good_ones_rejected_is_learned_from_without_harm() -> None:
    image, x, y, hit = candidates(3)
    row = np.r_[np.flatnonzero(hit), np.flatnonzero(~hit)[:10]]
    yes = np.zeros(len(row), bool)
    yes[-10:] = True
    seen = describe(image, **SIZES, context=QUIET)
    model = train([seen], [Example(x[row], y[row], yes)], diameter_A=60.0, context=QUIET)
    p = probability(model, seen)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize(
    ("accepted", "rejected", "why"),
    [
        (40, 0, "at least 3 rejected picks to learn from .0 so far.: what is not one"),
        (0, 40, "at least 3 accepted picks"),
        (3, 2, "needs 30 decided picks to learn from, 25 more .3 accepted and 2 rejected so far"),
    ],
)
def test_decisions_that_do_not_suffice_are_refused_with_what_is_missing(accepted: int, rejected: int, why: str) -> None:
    image, x, y, _ = candidates(3)
    n = accepted + rejected
    seen = describe(image, **SIZES, context=QUIET)
    example = Example(np.resize(x, n), np.resize(y, n), np.arange(n) < accepted)
    with pytest.raises(EngineError, match=why):
        train([seen], [example], diameter_A=60.0, context=QUIET)


def test_decisions_where_nothing_is_seen_are_refused() -> None:
    image, x, y, hit = candidates(3)
    flat = describe(np.zeros((400, 400), np.float32), **SIZES, context=QUIET)
    seen = describe(image, **SIZES, context=QUIET)
    example = Example(x[:60], y[:60], hit[:60])
    with pytest.raises(EngineError, match="where anything is seen"):
        train([flat], [example], undecided=[seen, flat], diameter_A=60.0, context=QUIET)
    # beside one where something is, it does no harm
    model = train([seen, flat], [example, example], undecided=[flat], diameter_A=60.0, context=QUIET)
    assert f1_of(model) > 0.9
    assert len(LEARNED.propose(np.zeros((400, 400)), **SIZES, parameters={"model": model}, context=QUIET)) == 0


def test_picks_by_hand_off_every_candidate_are_learned_from() -> None:
    image, x, y = planted()
    rng = np.random.default_rng(0)
    far = rng.uniform(20, 380, (400, 2))
    far = far[np.hypot(far[:, :1] - x, far[:, 1:] - y).min(axis=1) > 25][:25]
    decided = Example(
        np.r_[x, far[:, 0], np.nan], np.r_[y, far[:, 1], 5.0], np.r_[np.ones(25, bool), np.zeros(26, bool)]
    )
    seen = describe(image, **SIZES, also=(decided.x, decided.y), context=QUIET)
    model = train([seen], [decided], diameter_A=60.0, context=QUIET)
    other, ox, oy = planted(seed=5)
    candidates = LEARNED.propose(other, **SIZES, parameters={"model": model}, context=QUIET)
    kept = candidates.take(candidates.score >= 0.5)
    assert quality([match(kept.x, kept.y, kept.score, ox, oy, 9.0)]).f1 > 0.9


def test_cancel_is_heard_while_describing() -> None:
    with pytest.raises(Cancelled):
        describe(planted()[0], **SIZES, context=JobContext(is_cancelled=lambda: True))


@pytest.mark.realdata
def test_fifty_decisions_on_one_apoferritin_micrograph_serve_the_others(data_dir: Path) -> None:
    folder = data_dir / "apoferritin_10146"
    sizes = {"pixel_size_A": 1.5, "diameter_A": 120.0}
    paths = sorted((folder / "micrographs").glob("*.mrc"))
    model = None
    matches = []
    for path in paths:
        image = np.array(images.read(path))
        truth = pd.read_csv(folder / "labels_csv" / f"{path.stem}.csv")
        tx, ty = truth.x.to_numpy(float), truth.y.to_numpy(float)
        if model is None:
            candidates = LOG.propose(image, **sizes, parameters={}, context=QUIET)
            hit = match(candidates.x, candidates.y, candidates.score, tx, ty, 24.0).hit
            chosen = np.random.default_rng(1).choice(len(hit), 50, replace=False)
            seen = describe(image, **sizes, context=QUIET)
            example = Example(candidates.x[chosen], candidates.y[chosen], hit[chosen])
            model = train([seen], [example], diameter_A=120.0, context=QUIET)
            continue
        candidates = LEARNED.propose(image, **sizes, parameters={"model": model}, context=QUIET)
        matches.append(match(candidates.x, candidates.y, candidates.score, tx, ty, 24.0))
    figures = quality(matches)
    assert figures.best_f1 > 0.92
    # what is called sure is right, and as many are particles as was foretold
    hit, score = np.concatenate([m.hit for m in matches]), np.concatenate([m.score for m in matches])
    assert hit[score > 0.8].mean() > 0.9
    likely = score > 0.5
    assert abs(hit[likely].mean() - score[likely].mean()) < 0.15
    assert hit[score < 0.3].mean() < hit[likely].mean() - 0.2


def _proposed(picker: Picker, parameters: dict[str, Model], seed: int) -> tuple[Candidates, np.ndarray, np.ndarray]:
    """Of many discs: what is proposed, whether it is a disc, and whether it is one of the outermost."""
    image, x, y = planted(n_per_side=9, spacing=40, seed=seed)
    candidates = picker.propose(image, **SIZES, parameters=parameters, context=QUIET)
    h, w = image.shape
    outer = np.minimum.reduce([candidates.x, w - candidates.x, candidates.y, h - candidates.y]) < 30.0
    return candidates, match(candidates.x, candidates.y, candidates.score, x, y, 9.0).hit, outer


@pytest.mark.parametrize("spared", [True, False])
def test_a_border_that_the_curator_leaves_free_is_learned_and_only_where_one_is(spared: bool) -> None:
    # the outermost discs lie about 0.7 diameters from the edge, the others 2 and more
    image, *_ = planted(n_per_side=9, spacing=40, seed=3)
    candidates, disc, outer = _proposed(LOG, {}, 3)
    some = np.random.default_rng(0).permutation(len(disc))[:60]
    example = Example(candidates.x[some], candidates.y[some], (disc & ~(outer & spared))[some])
    model = train([describe(image, **SIZES, context=QUIET)], [example], diameter_A=60.0, context=QUIET)
    assert model.margins.sum() == pytest.approx(1.0)
    candidates, disc, outer = _proposed(LEARNED, {"model": model}, 12)
    assert np.median(candidates.score[disc & ~outer]) > 0.8
    sure = int((candidates.score[disc & outer] > 0.5).sum())
    assert sure <= 1 if spared else sure >= 20
