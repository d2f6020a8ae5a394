"""Half maps of planted particles: what they show, what they do not, and that RELION makes the same from the poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import BOX, PIXEL_A, Planted, plant

from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.reconstruct import fsc
from cryoppp_annotator.reconstruct.fourier_map import centred_fft, centred_ifft, sphere
from cryoppp_annotator.reconstruct.halves import accumulate, lowpass
from cryoppp_annotator.reconstruct.rounds import Volume, VolumeOptions, reconstruct
from cryoppp_annotator.reconstruct.verdict import MatchOptions

OPTIONS = VolumeOptions(MatchOptions(check_scale=False), lowpass_A=50.0, local_rounds=1)


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shell correlation within a ball."""
    ball = sphere(len(a), len(a) / 2 - 3, 4.0)
    return fsc.correlate(centred_fft(a * ball), centred_fft(b * ball))


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(400, snr=0.6)


@pytest.fixture(scope="module")
def made(planted: Planted) -> Volume:
    return reconstruct(planted.stack, planted.volume, PIXEL_A, OPTIONS)


@pytest.mark.parametrize("name", ["C1", "D2", "O"])
def test_known_poses_give_the_map_back(name: str) -> None:
    planted = plant(120, snr=50.0, junk=0.0, name=name)
    sums = accumulate(
        planted.stack, planted.matrices[:, None], planted.shifts[:, None], np.ones((120, 1)), 12, mask_radius=0.47
    ).completed(name)
    volume = sums.solve(0.02 * sums.mean_weight())
    assert agreement(volume, planted.volume)[1:10].min() > 0.95
    # not only the shape: the height, too (the images are divided by the noise's s.d.)
    scale = float((volume * planted.volume).sum() / (planted.volume**2).sum())
    shells = np.abs(centred_fft(volume)).sum() / np.abs(centred_fft(planted.volume)).sum()
    assert shells == pytest.approx(scale, rel=0.3)


def test_the_map_shows_what_the_reference_did_not(planted: Planted, made: Volume) -> None:
    assert made.beyond.significant
    assert made.verdict.startswith("structure to ")
    assert "reference did not have" in made.verdict
    assert made.beyond.period_A < 40.0
    assert made.resolution_A < 40.0
    truth = agreement(made.mean, planted.volume)
    shared = BOX * PIXEL_A / OPTIONS.lowpass_A
    assert truth[round(shared) + 2] > 0.6


def test_halves_are_disjoint_and_share_all_images(planted: Planted, made: Volume) -> None:
    assert len(made.half) == len(planted.stack)
    assert abs(int(made.half.sum()) * 2 - len(made.half)) <= 1
    assert not np.allclose(made.half1, made.half2)


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_does_not_alarm(planted: Planted, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=planted.stack.images.shape).astype(np.float32)
    options = replace(OPTIONS, local_rounds=0)
    made = reconstruct(replace(planted.stack, images=noise), planted.volume, PIXEL_A, options)
    assert not made.beyond.significant
    assert made.verdict == "no evidence beyond the reference"


def test_another_particles_picks_against_a_low_pass_show_no_more_of_the_reference(planted: Planted) -> None:
    """A reference that is not there leaves nothing of its own outside its band."""
    rng = np.random.default_rng(3)
    stranger = rng.normal(size=planted.volume.shape).astype(np.float32)
    stranger = lowpass(stranger, PIXEL_A, 20.0) * sphere(BOX, 10)
    noise = rng.normal(size=planted.stack.images.shape).astype(np.float32)
    made = reconstruct(replace(planted.stack, images=noise), stranger, PIXEL_A, replace(OPTIONS, local_rounds=0))
    beyond = agreement(made.mean, stranger)[round(BOX * PIXEL_A / OPTIONS.lowpass_A) + 3 : 13]
    assert abs(float(beyond.mean())) < 0.15


def test_randomised_phases_share_nothing_and_the_mask_is_taken_off(planted: Planted) -> None:
    rng = np.random.default_rng(0)
    halves = [rng.normal(size=(BOX,) * 3).astype(np.float32) + 0.02 * planted.volume for _ in range(2)]
    curve = fsc.compare_halves(*halves, PIXEL_A, rng)
    assert np.abs(curve.corrected[10:]).mean() < 0.12
    assert np.abs(curve.random[10:]).mean() < 0.12
    same = fsc.compare_halves(planted.volume, planted.volume, PIXEL_A, rng)
    assert same.resolution_A == pytest.approx(2 * PIXEL_A * BOX / (BOX - 2), rel=0.01)


def test_images_that_fall_off_steeply_lend_no_resolution_through_the_mask() -> None:
    """Halves of low-passed images share what is coarse, and nothing on the weak fine shells."""
    rng = np.random.default_rng(4)
    shell = fsc.shell_index(BOX)
    height = 10.0 ** (-0.3 * np.maximum(shell - 3, 0))
    shared, *own = ((centred_fft(rng.normal(size=(BOX,) * 3).astype(np.float32)) * height) for _ in range(3))
    halves = [centred_ifft(np.where(shell <= 5, shared + 0.02 * one, one).astype(np.complex64)) for one in own]
    curve = fsc.compare_halves(*halves, PIXEL_A, rng)
    assert curve.corrected[4] > 0.8
    assert np.abs(curve.random[8:]).max() < 0.5
    assert np.abs(curve.corrected[9:]).mean() < 0.25
    assert curve.resolution_A > BOX * PIXEL_A / 9


def test_the_crossing_lies_between_shells() -> None:
    period = 100.0 / np.maximum(np.arange(6), 1e-9)
    values = np.array([1.0, 1.0, 0.9, 0.6, 0.2, 0.0])
    assert fsc.crossing(values, period, 0.4) == pytest.approx(100.0 / 3.5)
    assert fsc.crossing(np.ones(6), period, 0.4) == pytest.approx(20.0)
    assert fsc.crossing(np.zeros(6), period, 0.4) == float("inf")


def test_a_cancel_reaches_the_rounds(planted: Planted) -> None:
    calls: list[str] = []
    context = JobContext(
        on_progress=lambda done, total, message: calls.append(message), is_cancelled=lambda: "refining poses" in calls
    )
    with pytest.raises(Cancelled):
        reconstruct(planted.stack, planted.volume, PIXEL_A, OPTIONS, context=context)
    assert calls


def test_progress_rises_to_its_total(planted: Planted) -> None:
    seen: list[tuple[float, float]] = []
    context = JobContext(on_progress=lambda done, total, message: seen.append((done, total)))
    small = planted.stack.take(np.arange(80))
    reconstruct(small, planted.volume, PIXEL_A, replace(OPTIONS, local_rounds=0), context=context)
    share = [done / total for done, total in seen]
    assert share == sorted(share)
    assert share[-1] == pytest.approx(1.0)
