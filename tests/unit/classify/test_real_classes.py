"""Classes of real micrographs separate particles from junk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryoppp_annotator.classify import engine, metrics, selection
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.formats.image.stacks import read_stack
from cryoppp_annotator.imaging.patches import PatchOptions, box_for, extract_patches
from cryoppp_annotator.session.classes import summary_files

DIAMETER = 108.0


def boxes(path: Path) -> np.ndarray:
    """Centres of a .box file."""
    table = np.array([[float(text) for text in line.split()[:4]] for line in path.read_text().splitlines() if line])
    return table[:, :2] + table[:, 2:] / 2.0


def particles_and_junk(data: Path, name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of one micrograph of 10017: accepted picks; then hand negatives and places far from all known picks."""
    root = data / "cryoppp/10017"
    image = np.asarray(images.read(root / f"micrographs/{name}.mrc"))
    rows = list(csv.DictReader((root / f"ground_truth/particle_coordinates/{name}.csv").open()))
    truth = np.array([[float(row["X-Coordinate"]), len(image) - float(row["Y-Coordinate"])] for row in rows])
    negative = boxes(data / f"picks_10017/hand_negative_box/{name}.box")
    rest = [data / f"picks_10017/{kind}_box/{name}.box" for kind in ("cryolo", "topaz", "deeppicker", "hand_positive")]
    known = np.concatenate([truth, *(boxes(path) for path in rest if path.exists())])
    random = rng.uniform(DIAMETER, 4096 - DIAMETER, (5000, 2))
    random = random[cKDTree(known).query(random)[0] >= DIAMETER][:120]
    places = np.concatenate([truth, negative, random])
    patches, used = extract_patches(image, *places.T, PatchOptions(box_for(DIAMETER), 64))
    return patches, used < len(truth)


@pytest.mark.realdata
def test_rejecting_the_suggested_classes_of_10017_drops_junk_and_keeps_particles(data_dir: Path) -> None:
    rng = np.random.default_rng(7)
    names = ("Falcon_2012_06_12-14_33_35_0", "Falcon_2012_06_12-15_07_41_0")
    cut = [particles_and_junk(data_dir, name, rng) for name in names]
    stack, good = (np.concatenate(part) for part in zip(*cut, strict=True))
    result = engine.classify(engine.prepare(stack, mask_radius=1.15 / 3.0), engine.ClassifyOptions(16))
    measures = metrics.measure(result, 4.48)
    kept = np.isin(result.label, [m.column for m in measures if selection.suggest(m) is selection.Suggestion.ACCEPT])
    assert kept[good].mean() >= 0.95
    assert 1.0 - kept[~good].mean() >= 0.70
    assert "look like particles" in summary_files.verdict(measures)


@pytest.mark.realdata
def test_real_averages_are_told_from_blurred_ones(data_dir: Path) -> None:
    """Averages of another program: sharp ones (by eye) against blurred ones and ones with foreign matter."""
    stack, _ = read_stack(data_dir / "particles/mixture_2D.mrcs")
    score = metrics.image_quality(np.asarray(stack, np.float32))
    junk = [0, 12, 23, 24, 30, 35, 37, 48, 51, 53, 60, 70, 85, 97]
    sharp = [1, 2, 3, 4, 5, 8, 11, 13, 14, 17, 26, 31, 34, 36, 40, 44, 46, 50, 55, 57, 62, 80, 83, 88, 89]
    pairs = score[sharp][:, None] > score[junk]
    assert pairs.mean() >= 0.95
