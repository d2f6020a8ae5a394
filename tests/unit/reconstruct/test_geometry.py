"""Symmetry, Euler angles, projections: against exact pictures, and against RELION where it is installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import BOX, PIXEL_A, blobs, density, picture

from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.formats.image.stacks import read_stack
from cryoppp_annotator.formats.image.volumes import read_volume, write_volume
from cryoppp_annotator.reconstruct import poses, symmetry
from cryoppp_annotator.reconstruct.fourier_map import prepare_map, project

NAMES = ("C1", "C5", "D2", "D7", "T", "O", "I")


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180)), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_angles_and_matrices_say_the_same(angles: list[tuple[float, float, float]]) -> None:
    matrices = poses.to_matrix(np.array(angles))
    assert np.allclose(matrices @ matrices.swapaxes(1, 2), np.eye(3), atol=1e-9)
    assert np.allclose(poses.to_matrix(poses.to_angles(matrices)), matrices, atol=1e-6)


@pytest.mark.parametrize(("name", "order"), list(zip(NAMES, (1, 5, 4, 14, 12, 24, 60), strict=True)))
def test_a_group_is_closed_and_its_unit_tiles_the_sphere(name: str, order: int) -> None:
    group = symmetry.rotations(name)
    assert len(group) == order
    products = np.einsum("gij,hjk->ghik", group, group).reshape(-1, 3, 3)
    nearest = np.abs(products[:, None] - group[None]).max(axis=(2, 3)).min(axis=1)
    assert nearest.max() < 1e-9
    directions = np.random.default_rng(0).normal(size=(4000, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    assert symmetry.in_unit(directions, name).mean() == pytest.approx(1 / order, rel=0.35)
    assert symmetry.in_unit(symmetry.to_unit(directions, name), name).all()


@pytest.mark.parametrize("name", ["", "X", "C0", "D", "C-1", "T2"])
def test_an_unknown_symmetry_is_refused_by_name(name: str) -> None:
    with pytest.raises(EngineError, match="symmetry"):
        symmetry.rotations(name)


def test_projections_are_those_of_the_blobs() -> None:
    centres, heights = blobs(3)
    angles = np.array([[0.0, 0.0, 0.0], [40.0, 70.0, 110.0], [-100.0, 155.0, 10.0]])
    ours = project(prepare_map(density(centres, heights), PIXEL_A, 2 * PIXEL_A), angles, BOX, PIXEL_A)
    for image, matrix in zip(ours, poses.to_matrix(angles), strict=True):
        exact = picture(centres, heights, matrix, (0.0, 0.0))
        assert np.corrcoef(image.ravel(), exact.ravel())[0, 1] > 0.995


def test_a_map_of_other_sides_and_pixels_projects_the_same() -> None:
    centres, heights = blobs(3)
    fine = density(centres, heights, 90, 3.0)[5:-6, 8:-9]
    volume = np.roll(fine, 0)
    coarse = prepare_map(density(centres, heights), PIXEL_A, 2 * PIXEL_A)
    # what was cut off moves the middle of the map: 90 -> 79 and 73 voxels
    centre = np.array([45 - 5 - 79 // 2, 45 - 8 - 73 // 2, 0])
    volume = np.roll(volume, -centre, axis=(0, 1, 2))
    other = prepare_map(volume, 3.0, 2 * PIXEL_A)
    angles = np.array([[20.0, 50.0, -70.0]])
    pair = [project(source, angles, BOX, PIXEL_A)[0].ravel() for source in (coarse, other)]
    assert np.corrcoef(*pair)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        (np.zeros((16, 16, 16)), "empty"),
        (np.full((16, 16, 16), np.nan), "not finite"),
        (np.ones((16, 16)), "three axes"),
        (np.ones((2, 16, 16)), "three axes"),
    ],
)
def test_what_is_no_map_is_refused(volume: np.ndarray, problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        prepare_map(volume, 4.0, 8.0)


@pytest.mark.relion
def test_relion_projects_the_same_at_the_same_angles(tmp_path: Path) -> None:
    volume = density(*blobs(3))
    write_volume(tmp_path / "map.mrc", volume, PIXEL_A)
    angles = (37.0, 63.0, 112.0)
    words = [word for pair in zip(("--rot", "--tilt", "--psi"), map(str, angles), strict=True) for word in pair]
    command = ["relion_project", "--i", str(tmp_path / "map.mrc"), "--o", str(tmp_path / "p.mrc"), *words]
    subprocess.run(command, check=True, capture_output=True)
    theirs = read_stack(tmp_path / "p.mrc")[0][0]
    ours = project(prepare_map(volume, PIXEL_A, 2 * PIXEL_A), np.array([angles]), BOX, PIXEL_A)[0]
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.999


@pytest.mark.relion
@pytest.mark.parametrize("name", NAMES[1:])
def test_relion_has_the_same_symmetric_copies(name: str) -> None:
    command = ["relion_refine", "--sym", name, "--print_symmetry_ops"]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    rows = re.findall(r"R\(\d+\)=\s*\n((?:[^\n]*\n){3})", text)
    theirs = np.array([[float(word) for word in block.split()] for block in rows]).reshape(-1, 3, 3)
    ours = symmetry.rotations(name)
    assert len(theirs) == len(ours)
    assert np.abs(theirs[:, None] - ours[None]).max(axis=(2, 3)).min(axis=1).max() < 1e-3


def test_a_map_keeps_its_voxels_and_their_size(tmp_path: Path) -> None:
    volume = density(*blobs(1))
    path = write_volume(tmp_path / "map.mrc", volume, 3.25)
    again, voxel = read_volume(path)
    assert np.array_equal(again, volume)
    assert voxel == pytest.approx(3.25)
