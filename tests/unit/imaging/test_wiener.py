"""The default denoiser, and those of scikit-image, on micrographs whose truth is known and on hostile ones."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoppp_annotator.api import TunableDenoiser
from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.extensions import denoisers
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics, ctf_2d
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.imaging.denoise_skimage import NLM, TV
from cryoppp_annotator.imaging.wiener import AUTO
from cryoppp_annotator.model.context import JobContext

ALL = {"auto": AUTO, "nlm": NLM, "tv": TV}
PIXEL_A, DIAMETER = 4.0, 24


def denoise(image, denoiser=AUTO, *, max_side=2048, context=None, **words):
    return denoiser.denoise(
        image,
        pixel_size_A=PIXEL_A,
        diameter_A=DIAMETER * PIXEL_A,
        max_side=max_side,
        context=context or JobContext(),
        **words,
    )


def particles(side=512, seed=0):
    """(side, side) of dark, textured discs, and where they are (n, 2) yx."""
    rng = np.random.default_rng(seed)
    at = np.array([(y, x) for y in range(48, side - 47, 64) for x in range(48, side - 47, 64)])
    at = at + rng.integers(-8, 9, at.shape)
    yy, xx = np.indices((side, side))
    image = np.zeros((side, side), np.float32)
    grain = 1 + 0.5 * gaussian_filter(rng.normal(size=(side, side)), 2) * 7
    for y, x in at:
        image -= (np.hypot(yy - y, xx - x) < DIAMETER / 2) * grain
    return gaussian_filter(image, 1), at


def noise(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def likeness(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("name", ALL)
def test_they_walk_through_the_door(name):
    denoiser: TunableDenoiser = denoisers()[name]
    assert denoiser is ALL[name]
    assert denoiser.name == name
    assert inspect.signature(denoiser.denoise).parameters.keys() == (
        inspect.signature(TunableDenoiser.denoise).parameters.keys() - {"self"}
    )


@pytest.mark.parametrize("name", ALL)
def test_the_picture_is_more_like_the_truth_than_the_band_pass(name):
    clean, _ = particles()
    image = 100 + 20 * (clean + 1.5 * noise(clean.shape))
    truth = denoise(clean, BAND_PASS).pixels
    plain, better = denoise(image, BAND_PASS), denoise(image, ALL[name])
    assert (better.step, better.pixels.shape) == (plain.step, plain.pixels.shape)
    assert better.pixels.std() == pytest.approx(1.0, abs=1e-3)
    gain = 0.1 if name == "auto" else 0.02
    assert likeness(better.pixels, truth) > likeness(plain.pixels, truth) + gain


def test_empty_ice_becomes_quiet_and_particles_stay_dark_at_their_places():
    clean, at = particles()
    picture = denoise(clean + 1.0 * noise(clean.shape)).pixels
    between = picture[at[:-9, 0] + 32, at[:-9, 1] + 32]
    inside = picture[at[:, 0], at[:, 1]]
    assert between.std() < 0.7 * picture.std()
    assert inside.mean() < -1.0
    plain = denoise(clean + 1.0 * noise(clean.shape), BAND_PASS).pixels
    assert between.std() < 0.75 * plain[at[:-9, 0] + 32, at[:-9, 1] + 32].std()


@pytest.mark.parametrize("colour", [0, 3, 9])
def test_noise_alone_is_not_made_into_particles(colour):
    """A picture of pure noise is as even as the noise: nothing is turned down as if the rest were particles."""
    image = noise((640, 640))
    if colour:
        image = image + 8 * colour * gaussian_filter(noise((640, 640), 2), colour)
    picture = denoise(image).pixels
    local = np.sqrt(gaussian_filter(picture**2, DIAMETER))[64:-64, 64:-64]
    plain = np.sqrt(gaussian_filter(denoise(image, BAND_PASS).pixels ** 2, DIAMETER))[64:-64, 64:-64]
    assert local.std() / local.mean() < 2.5 * plain.std() / plain.mean()


def test_carbon_does_not_drown_the_particles():
    clean, at = particles()
    image = clean + noise(clean.shape)
    image[:, :200] += 3 * gaussian_filter(noise((512, 200), 3), 1) * 3.5
    on_ice = at[at[:, 1] > 260]
    picture = denoise(image).pixels
    loudness = np.abs(picture[:, 20:180]).mean() / np.abs(picture[on_ice[:, 0], on_ice[:, 1]]).mean()
    plain = denoise(image, BAND_PASS).pixels
    assert loudness < 0.6 * np.abs(plain[:, 20:180]).mean() / np.abs(plain[on_ice[:, 0], on_ice[:, 1]]).mean()


def test_a_known_defocus_turns_the_phases_back():
    clean, _ = particles(768)
    defocus, optics = Defocus(31000.0, 29000.0, 20.0), Optics()
    seen = -np.fft.irfft2(
        np.fft.rfft2(-clean) * ctf_2d(clean.shape, PIXEL_A, defocus, optics), s=clean.shape
    )  # dark again: the potential is taken from the beam
    seen *= -1 if seen[clean < -0.5].mean() > 0 else 1
    image = seen + 0.3 * noise(clean.shape)
    without, with_ctf = denoise(image).pixels, denoise(image, ctf=Ctf(defocus, optics)).pixels

    def in_band(pixels, low, high):
        """Correlation with the truth at wavelengths between two, A."""
        a, b = np.fft.rfft2(pixels), np.fft.rfft2(clean)
        k = np.hypot(np.fft.fftfreq(768, PIXEL_A)[:, None], np.fft.rfftfreq(768, PIXEL_A)[None])
        ring = (k > 1 / high) & (k < 1 / low)
        return (a * b.conj()).real[ring].sum() / np.sqrt((np.abs(a) ** 2)[ring].sum() * (np.abs(b) ** 2)[ring].sum())

    # the first zero of this CTF is at 24 A
    assert in_band(without, 18, 23) < -0.3
    assert in_band(with_ctf, 18, 23) > 0.15
    assert in_band(with_ctf, 30, 100) > 0.6


@pytest.mark.parametrize("name", ALL)
def test_padding_stays_flat(name):
    clean, _ = particles(360)
    image = np.full((400, 420), 7.0, np.float32)
    image[20:380, 40:400] = clean + noise(clean.shape)
    picture = denoise(image, ALL[name]).pixels
    assert not picture[:20].any()
    assert not picture[:, :40].any()
    assert np.abs(picture[20:380, 40:400]).max() < 15


HOSTILE = {
    "1x1": np.ones((1, 1), np.float32),
    "1xn": np.arange(50, dtype=np.int16)[None],
    "3x2": np.arange(6, dtype=np.int8).reshape(3, 2),
    "constant": np.full((164, 165), 7, np.uint16),
    "all nan": np.full((90, 90), np.nan, np.float32),
    "some nan": np.where(noise((290, 290)) > 1, np.nan, noise((290, 290), 2)),
    "float64 beyond float32": noise((250, 250)).astype(np.float64) * 1e200,
    "half black": np.concatenate([np.zeros((150, 300)), noise((150, 300))]).astype(np.float32),
    "one spike": np.pad(np.full((1, 1), 1e30, np.float32), 120),
    "stripes": np.tile(np.arange(300) % 2, (200, 1)).astype(np.int8),
}


@pytest.mark.parametrize("image", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("ctf", [None, Ctf(Defocus(0.0, 0.0)), Ctf(Defocus(-9e4, 1e6, 500.0))])
def test_hostile_images_give_finite_pictures(image, ctf):
    for name in ("auto", "tv") if ctf is None else ("auto",):
        picture = denoise(image, ALL[name], ctf=ctf)
        assert np.isfinite(picture.pixels).all()
        assert picture.pixels.size
        assert picture.limits[0] < picture.limits[1]


@pytest.mark.parametrize("name", ALL)
def test_what_is_impossible_is_refused(name):
    with pytest.raises(EngineError, match="expected a micrograph"):
        denoise(np.zeros((2, 3, 4)), ALL[name])
    with pytest.raises(EngineError, match="no parameter 'nonsense'"):
        denoise(noise((64, 64)), ALL[name], parameters={"nonsense": 1})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("calls", [0, 2, 5])
def test_cancel_reaches_the_inside(name, calls):
    asked = 0

    def is_cancelled():
        nonlocal asked
        asked += 1
        return asked > calls

    with pytest.raises(Cancelled):
        denoise(noise((300, 300)), ALL[name], context=JobContext(is_cancelled=is_cancelled))


@pytest.mark.parametrize("name", ALL)
def test_the_same_image_gives_the_same_picture_and_is_left_alone(name):
    image = noise((300, 280))
    image.flags.writeable = False
    before = image.copy()
    first, second = denoise(image, ALL[name]).pixels, denoise(image, ALL[name]).pixels
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)
