"""Symmetry axes that lie elsewhere, maps without the symmetry, maps turned onto each other, first maps."""

from __future__ import annotations

import numpy as np
import pytest
from planted import BOX, blobs, density, plant

from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.reconstruct import poses
from cryoppp_annotator.reconstruct.align import align
from cryoppp_annotator.reconstruct.fourier_map import prepare_map, project
from cryoppp_annotator.reconstruct.initial import InitialOptions, initial_map
from cryoppp_annotator.reconstruct.orient import orient, orient_and_say

TURN = poses.to_matrix(np.array([[33.0, 41.0, 77.0]]))[0]


@pytest.mark.parametrize("name", ["D2", "C5", "O"])
def test_axes_that_lie_elsewhere_are_found(name: str) -> None:
    centres, heights = blobs(0, name)
    assert orient(density(centres, heights), name).turned_deg == 0.0
    oriented = orient(density(centres @ TURN.T + np.array([6.0, -9.0, 4.0]), heights), name)
    assert oriented.agreement > 0.99
    assert oriented.turned_deg > 10.0
    again = orient(oriented.volume, name)
    assert again.agreement > 0.97
    assert again.turned_deg == 0.0


def test_a_map_without_the_symmetry_is_said() -> None:
    volume = density(*blobs(0))
    same, notes = orient_and_say(volume, "D2")
    assert same is volume
    assert "does not have symmetry D2" in notes[0]
    assert orient_and_say(volume, "C1")[1] == ()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_map_is_brought_back_with_its_hand(mirrored: bool) -> None:
    centres, heights = blobs(4)
    other = density(centres @ TURN.T + np.array([8.0, 4.0, -6.0]), heights)
    oriented = align(other[::-1] if mirrored else other, density(centres, heights), 8)
    assert oriented.mirrored is mirrored
    assert oriented.agreement > 0.98
    assert np.corrcoef(oriented.moved.ravel(), density(centres, heights).ravel())[0, 1] > 0.97


def test_a_first_map_from_clean_views_is_the_particle() -> None:
    planted = plant(40, snr=400.0, junk=0.0, name="D2")
    views = poses.views(25.0, "D2")
    angles = np.concatenate([views, np.zeros((len(views), 1))], axis=1)
    images = project(prepare_map(planted.volume, 8.0, 16.0), angles, BOX, 8.0)
    made = initial_map(images, np.full(len(images), 20.0), InitialOptions("D2", starts=6))
    assert made.volume.shape == (BOX,) * 3
    assert align(made.volume, planted.volume, 6).agreement > 0.85


def test_too_few_averages_are_refused() -> None:
    with pytest.raises(EngineError, match="too few"):
        initial_map(np.zeros((3, 32, 32), np.float32), np.ones(3), InitialOptions())
