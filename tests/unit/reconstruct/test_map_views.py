"""Evenness of views, views that a rejection would lose, and the score card of two label sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import PIXEL_A, plant
from scipy.spatial.transform import Rotation

from cryoppp_annotator.reconstruct import poses
from cryoppp_annotator.reconstruct.prepared_boxes import Stack
from cryoppp_annotator.reconstruct.rounds import VolumeOptions, reconstruct
from cryoppp_annotator.reconstruct.scorecard import better, score
from cryoppp_annotator.reconstruct.verdict import MatchOptions
from cryoppp_annotator.reconstruct.view_coverage import lost_views, spread_of
from cryoppp_annotator.session.volume.first_map import is_one_sided


def about(directions: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Poses around directions (v, 3), ``each`` of every one, 3 degrees apart, turned in the plane at will."""
    rng = np.random.default_rng(seed)
    out = []
    for x, y, z in directions:
        rot, tilt = np.degrees(np.arctan2(y, x)), np.degrees(np.arccos(z))
        angles = np.stack([np.full(each, rot), np.full(each, tilt), rng.uniform(0, 360, each)], axis=1)
        out.append(poses.to_matrix(angles) @ poses.turned(rng.normal(0, np.radians(3), (each, 3))))
    return np.concatenate(out)


def twelve(seed: int) -> np.ndarray:
    """Twelve views at least 35 degrees apart, opposites included."""
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    while len(chosen) < 12:
        v = rng.normal(size=3)
        v /= np.linalg.norm(v)
        if all(abs(v @ other) < np.cos(np.radians(28)) for other in chosen):
            chosen.append(v)
    return np.array(chosen)


def test_even_views_are_even_and_a_side_view_alone_is_not() -> None:
    even = spread_of(Rotation.random(3000, random_state=0).as_matrix())
    assert even.sampling > 0.95
    assert even.empty_cone_deg == 0.0
    top = spread_of(about(np.array([[0.0, 0.0, 1.0]]), 500, 1))
    assert top.sampling < 0.5
    assert top.empty_cone_deg > 40.0
    assert spread_of(np.zeros((0, 3, 3))).sampling == 0.0


def test_symmetry_fills_the_sphere() -> None:
    one = about(np.array([[0.6, 0.0, 0.8]]), 400, 2)
    assert spread_of(one, "O").sampling > spread_of(one, "C1").sampling


@pytest.mark.parametrize("seed", range(8))
def test_a_view_that_goes_is_named_and_random_rejections_name_none(seed: int) -> None:
    directions = twelve(seed)
    matrices = about(directions, 30, seed)
    kept = np.ones(len(matrices), bool)
    kept[60:90] = False
    kept[np.random.default_rng(seed).choice(len(kept), 40, replace=False)] = False
    lost = lost_views(matrices, kept)
    assert lost
    seen = [poses.to_matrix(np.array([[v.rot_deg, v.tilt_deg, 0.0]]))[0, 2] for v in lost]
    assert max(abs(s @ directions[2]) for s in seen) > np.cos(np.radians(20))
    assert "keeps" in lost[0].sentence()
    at_random = np.random.default_rng(seed + 50).random(len(matrices)) > 0.3
    assert lost_views(matrices, at_random) == []
    assert lost_views(matrices, np.ones(len(matrices), bool)) == []


def test_the_card_names_the_set_with_less_junk() -> None:
    options = VolumeOptions(MatchOptions(check_scale=False), lowpass_A=50.0, local_rounds=0)
    cards = []
    for junk in (0.0, 0.6):
        planted = plant(260, snr=0.6, junk=junk, seed=3)
        made = reconstruct(planted.stack, planted.volume, PIXEL_A, options)
        cards.append(score(planted.stack, made, draws=3))
    clean, dirty = cards
    assert clean.junk_share.value < 0.15
    assert dirty.junk_share.value == pytest.approx(0.6, abs=0.15)
    assert clean.junk_share.apart(dirty.junk_share)
    assert clean.confident_share.value > dirty.confident_share.value
    assert clean.resolution_A[-1].value <= clean.resolution_A[0].value
    assert set(clean.needed) == {20.0, 15.0, 10.0}
    assert better(clean, dirty) == 1
    assert better(dirty, clean) == 2
    assert better(clean, replace(clean)) == 0


def test_a_stack_of_parts_is_a_stack() -> None:
    planted = plant(20)
    part = planted.stack.take(np.array([3, 5]))
    assert isinstance(part, Stack)
    assert len(part) == 2
    assert np.array_equal(part.images[1], planted.stack.images[5])


@pytest.mark.parametrize("symmetry", ["C1", "D7"])
def test_views_on_one_side_are_doubted_and_views_all_round_are_not(symmetry: str) -> None:
    everywhere = Rotation.random(600, np.random.default_rng(3)).as_matrix()
    seen = spread_of(everywhere, symmetry)
    assert not is_one_sided(everywhere, symmetry), seen
    narrow = about(np.array([[0.3, 0.1, 0.95]]), 600, seed=1)
    assert is_one_sided(narrow, symmetry)
