from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.extensions import pickers
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.evaluate import Quality, quality
from cryoppp_annotator.picking.log import LOG
from cryoppp_annotator.picking.matching import match
from cryoppp_annotator.testing import check_picker, planted

EASY = SimulationParameters(
    size=(1536, 1536),
    pixel_size_A=2.2,
    n_particles=120,
    n_views=40,
    snr=0.15,
    carbon_probability=0.0,
    n_contaminants=0.0,
    aggregate_fraction=0.0,
    defocus_range_A=(15000.0, 25000.0),
)


def pick(image: NDArray, diameter: float = 30.0, pixel: float = 1.0, **parameters: object) -> Candidates:
    return LOG.propose(
        image, pixel_size_A=pixel, diameter_A=diameter * pixel, parameters=parameters, context=JobContext()
    )


def judged(candidates: Candidates, x: NDArray, y: NDArray, tolerance: float) -> Quality:
    return quality([match(candidates.x, candidates.y, candidates.score, x, y, tolerance)])


def test_it_is_found_by_name_and_keeps_the_protocol() -> None:
    assert pickers()["log"] is LOG
    check_picker(LOG)
    check_picker(LOG, {"diameter_max_A": 90.0, "edge_margin": 0.5})


@pytest.mark.parametrize("structure", ["shell", "double-ring", "blob"])
def test_simulated_particles_of_every_kind_are_recovered(structure: str) -> None:
    parameters = replace(EASY, structure=structure)
    views = views_for(parameters)
    for index in range(2):
        made = simulate_micrograph(parameters, index, views)
        candidates = pick(made.image, made.diameter_px, made.pixel_size_A)
        figures = judged(candidates, made.x, made.y, 0.3 * made.diameter_px)
        assert figures.best_f1 >= 0.9
        # the blob is long and lopsided: its outline's middle is not its centre of mass
        assert figures.centring_error_px < (0.16 if structure == "blob" else 0.08) * made.diameter_px


def test_one_threshold_serves_micrographs_of_other_brightness_contrast_and_number() -> None:
    views = views_for(EASY)
    matches, own = [], []
    for index, n in enumerate((40, 80, 150)):
        made = simulate_micrograph(replace(EASY, n_particles=n), index, views)
        candidates = pick(made.image * np.float32(3.0**index) + 100.0 * index, made.diameter_px, made.pixel_size_A)
        matches.append(match(candidates.x, candidates.y, candidates.score, made.x, made.y, 0.3 * made.diameter_px))
        own.append(quality(matches[-1:]).best_f1)
    assert quality(matches).best_f1 > np.mean(own) - 0.03


def test_grey_values_do_not_change_scores() -> None:
    image, _, _ = planted()
    plain, scaled = pick(image), pick(7.0 * image - 300.0)
    assert np.allclose(plain.score[:25], scaled.score[:25], rtol=1e-2)
    assert np.allclose(plain.x[:25], scaled.x[:25], atol=0.1)


def test_noise_alone_gives_no_high_score() -> None:
    best = []
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(size=(1024, 1024)).astype(np.float32)
        best.append(pick(noise).score.max(initial=0.0))
    image, x, y = planted(10)
    candidates = pick(image)
    nearest = np.array([np.hypot(candidates.x - a, candidates.y - b).argmin() for a, b in zip(x, y, strict=True)])
    assert max(best) < 6.0 < np.median(candidates.score[nearest])


def test_positions_are_finer_than_the_working_copy() -> None:
    image, x, y = planted(6, spacing=160, diameter=80.0)
    figures = judged(pick(image, 80.0), x, y, 24.0)
    assert figures.matched == 36
    assert figures.centring_error_px < 1.5  # the working copy has 5 px per pixel


def test_bright_particles_are_bright() -> None:
    image, x, y = planted()
    assert judged(pick(-image, polarity="bright"), x, y, 9.0).best_f1 > 0.95
    assert judged(pick(-image), x, y, 9.0).best_f1 < 0.3


def test_over_a_range_each_has_its_own_diameter() -> None:
    small, x, y = planted(4, spacing=120, diameter=30.0)
    large, u, v = planted(4, spacing=120, diameter=60.0, seed=1)
    candidates = pick(np.hstack([small, large]), 30.0, diameter_max_A=60.0, distance=1.0)
    width = small.shape[1]
    for ax, ay, size in ((x, y, 30.0), (u + width, v, 60.0)):
        near = [np.hypot(candidates.x - a, candidates.y - b).argmin() for a, b in zip(ax, ay, strict=True)]
        assert np.hypot(candidates.x[near] - ax, candidates.y[near] - ay).max() < 9
        assert 0.75 < np.median(candidates.diameter_A[near]) / size < 1.34


def test_nothing_on_the_padding_the_margin_or_in_an_excluded_region() -> None:
    image, _, _ = planted(8)
    padded = np.pad(image, 40, mode="edge")
    corner = np.array([[0.0, 0.0], [300.0, 0.0], [300.0, 300.0], [0.0, 300.0]])
    candidates = pick(padded, edge_margin=0.5, exclude=(corner,))
    assert len(candidates) > 20
    height, width = padded.shape
    assert candidates.x.min() >= 40 + 15 - 2
    assert candidates.y.max() <= height - 40 - 15 + 2
    assert candidates.x.max() <= width - 40 - 15 + 2
    assert not ((candidates.x < 300) & (candidates.y < 300)).any()


def test_candidates_keep_their_distance() -> None:
    image, _, _ = planted()
    candidates = pick(image, distance=0.9)
    away = np.hypot(candidates.x[:, None] - candidates.x, candidates.y[:, None] - candidates.y) + 1e9 * np.eye(
        len(candidates)
    )
    assert away.min() >= 27.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"polarity": "grey"}, "'dark' or 'bright'"),
        ({"size": 3}, "no parameter size"),
        ({"diameter_max_A": 10.0}, "below the smallest"),
    ],
)
def test_impossible_parameters_are_said(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        pick(planted()[0], **wrong)


@pytest.mark.parametrize(("diameter", "pixel"), [(0.0, 1.0), (30.0, 0.0), (float("nan"), 1.0), (2.0, 1.0)])
def test_impossible_sizes_are_said(diameter: float, pixel: float) -> None:
    with pytest.raises(EngineError, match=r"must be positive|too small"):
        pick(planted()[0], diameter, pixel)


def test_a_stack_or_complex_numbers_are_refused() -> None:
    for odd in (np.zeros((3, 64, 64), np.float32), np.zeros((64, 64), np.complex64)):
        with pytest.raises(EngineError, match="expected a micrograph"):
            pick(odd)


def test_cancel_is_heard_in_a_large_micrograph() -> None:
    image = np.random.default_rng(0).normal(size=(4096, 4096)).astype(np.float32)
    asked = [time.process_time()]  # of this process: what else the machine does is not the picker's

    def cancelled(after: int) -> bool:
        asked.append(time.process_time())
        return len(asked) > after

    def propose(after: int) -> None:
        context = JobContext(is_cancelled=lambda: cancelled(after))
        LOG.propose(image, pixel_size_A=1.0, diameter_A=100.0, parameters={}, context=context)

    propose(after=1_000)
    stretches = np.diff([*asked, time.process_time()])
    assert stretches.max() < 0.75 * stretches.sum(), "no stretch without asking is most of the work"
    for after in range(1, len(asked)):
        asked[1:] = []
        with pytest.raises(Cancelled):
            propose(after)
        assert len(asked) == after + 1, "it goes on after it was cancelled"


@pytest.mark.realdata
def test_real_rings_and_blobs(data_dir: Path) -> None:
    """Modest bounds on one micrograph of each kind; benchmarks/picking.py has the figures."""
    path = data_dir / "apoferritin_10146/micrographs/May08_03.05.02.bin_avg.mrc"
    table = pd.read_csv(data_dir / "apoferritin_10146/labels_csv/May08_03.05.02.bin_avg.csv")
    candidates = pick(images.read(path), 80.0, 1.5)
    assert judged(candidates, table.x.to_numpy(float), table.y.to_numpy(float), 24.0).best_f1 > 0.88
    path = data_dir / "cryoppp/10017/micrographs/Falcon_2012_06_12-14_33_35_0.mrc"
    image = images.read(path)
    csv = data_dir / "cryoppp/10017/ground_truth/particle_coordinates/Falcon_2012_06_12-14_33_35_0.csv"
    table = pd.read_csv(csv)
    x, y = table["X-Coordinate"].to_numpy(float), len(image) - table["Y-Coordinate"].to_numpy(float)
    assert judged(pick(image, 108.0, 1.77), x, y, 32.4).best_f1 > 0.78
