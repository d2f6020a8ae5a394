"""The defocus is found where there are rings, and nowhere else."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy import fft, ndimage

from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics, ctf_2d
from cryoppp_annotator.imaging.ctf_fit import CtfFit, CtfFitOptions, fit_ctf
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.context import JobContext

DATA = Path(os.environ.get("CRYOPPP_TEST_DATA", "../shared/data"))
TITAN = Optics(300.0, 2.7, 0.1)


def exposure(ctf: Ctf, pixel_A: float, *, side: int = 1536, strength: float = 1.0, seed: int = 0) -> np.ndarray:
    """Ice of one defocus, counted: (side, side) float32."""
    rng = np.random.default_rng(seed)
    spectrum = fft.rfft2(rng.standard_normal((side, side), dtype=np.float32))
    k2 = (np.fft.fftfreq(side, pixel_A)[:, None] ** 2 + np.fft.rfftfreq(side, pixel_A) ** 2).astype(np.float32)
    spectrum *= ctf_2d((side, side), pixel_A, ctf.defocus, ctf.optics) * np.exp(-20.0 * k2)
    ice = fft.irfft2(spectrum, s=(side, side))
    return (25.0 + 5.0 * (rng.standard_normal((side, side)) + strength * ice)).astype(np.float32)


def mean(defocus: Defocus) -> float:
    return (defocus.u_A + defocus.v_A) / 2.0


def turn(a: float, b: float) -> float:
    """Angle between two axes, degrees."""
    return abs((a - b + 90.0) % 180.0 - 90.0)


def answered(fit: CtfFit) -> Ctf:
    assert fit.ctf is not None, fit.reason
    assert fit.reason == ""
    return fit.ctf


@pytest.mark.parametrize(
    ("pixel_A", "defocus", "optics"),
    [
        (1.0, Defocus(5400.0, 4900.0, 20.0), TITAN),
        (1.5, Defocus(20500.0, 19500.0, -70.0), TITAN),
        (2.0, Defocus(29000.0, 28600.0, 88.0), Optics(200.0, 2.0, 0.07)),
        (1.3, Defocus(12000.0, 12000.0), Optics(300.0, 0.01, 0.1)),
    ],
)
def test_a_planted_defocus_is_found(pixel_A, defocus, optics):
    fit = fit_ctf(exposure(Ctf(defocus, optics), pixel_A), pixel_A, optics)
    ctf = answered(fit)
    assert mean(ctf.defocus) == pytest.approx(mean(defocus), abs=40.0)
    assert ctf.defocus.u_A - ctf.defocus.v_A == pytest.approx(defocus.u_A - defocus.v_A, abs=60.0)
    if defocus.u_A - defocus.v_A > 200.0:
        assert turn(ctf.defocus.angle_deg, defocus.angle_deg) < 5.0
    assert ctf.optics == optics
    assert fit.resolution_A < 6.0
    assert fit.score > 0.9
    assert fit.error_A < 40.0
    assert fit.doubt == ""


def test_the_frame_is_that_of_the_denoiser():
    """What is found for an image is found with the opposite angle for its mirror image."""
    image = exposure(Ctf(Defocus(15600.0, 14400.0, 30.0), TITAN), 1.5)
    upright, mirrored = (answered(fit_ctf(one, 1.5, TITAN)).defocus for one in (image, image[::-1]))
    assert turn(upright.angle_deg, 30.0) < 3.0
    assert turn(mirrored.angle_deg, -30.0) < 3.0


def test_particles_carbon_and_padding_do_not_mislead():
    params = SimulationParameters(
        size=(1536, 1536),
        pixel_size_A=1.6,
        n_particles=120,
        n_views=20,
        carbon_probability=1.0,
        snr=0.1,
        astigmatism_A=800.0,
        seed=3,
    )
    scene = simulate_micrograph(params, 0, views_for(params))
    assert scene.defocus is not None
    padded = np.pad(scene.image, 60, mode="edge")
    padded[200, 300], padded[500, 700] = 1e6, np.nan
    fitted = answered(fit_ctf(padded, 1.6, params.optics)).defocus
    assert mean(fitted) == pytest.approx(mean(scene.defocus), abs=50.0)


def test_a_phase_plate_is_found_where_asked():
    image = exposure(Ctf(Defocus(8200.0, 7800.0, 10.0), Optics(300.0, 2.7, 0.1, phase_shift_deg=70.0)), 1.5)
    ctf = answered(fit_ctf(image, 1.5, TITAN, CtfFitOptions(find_phase_shift=True)))
    assert ctf.optics.phase_shift_deg == pytest.approx(70.0, abs=8.0)
    assert mean(ctf.defocus) == pytest.approx(8000.0, abs=150.0)
    known = answered(fit_ctf(image, 1.5, Optics(300.0, 2.7, 0.1, phase_shift_deg=70.0)))
    assert mean(known.defocus) == pytest.approx(8000.0, abs=30.0)


@pytest.mark.parametrize(("tilt_deg", "reported"), [(12.0, True), (7.5, True), (2.5, False)])
def test_a_tilt_over_five_degrees_is_reported(tilt_deg, reported):
    pixel_A, side, slope = 2.0, 2048, math.tan(math.radians(tilt_deg))
    image = np.empty((side, side), np.float32)
    for left in range(0, side, 256):  # defocus grows with x
        defocus = 15000.0 + slope * (left + 128 - side / 2) * pixel_A
        strip = exposure(Ctf(Defocus(defocus, defocus), TITAN), pixel_A, side=side, strength=1.5)
        image[:, left : left + 256] = strip[:, left : left + 256]
    fit = fit_ctf(image, pixel_A, TITAN)
    assert fit.tilt is not None
    assert fit.tilt.reported is reported
    assert ("tilted" in fit.doubt) is reported
    assert fit.tilt.angle_deg == pytest.approx(tilt_deg, abs=2.5)
    if reported:
        assert turn(fit.tilt.axis_deg, 90.0) < 15.0


def _rows(image: np.ndarray) -> np.ndarray:
    gain = np.random.default_rng(1).normal(1.0, 0.03, (len(image), 1))
    return np.asarray(image * gain)


def _stripes(image: np.ndarray) -> np.ndarray:
    return np.asarray(image * (1.0 + 0.05 * np.sin(2.0 * np.pi * np.arange(image.shape[1]) / 7.0)))


def _broken(image: np.ndarray) -> np.ndarray:
    out = image.copy()
    out.ravel()[:: 12345 // 16] = 1e6
    out[:, 700:720], out[300:303] = 0.0, 1e5
    return out


def _beam_edge(image: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    lit = np.hypot(y - 700, x - 500) < 850.0
    return np.where(lit, image, np.float32(0.2) * image)


@pytest.mark.parametrize("spoil", [_rows, _stripes, _broken, _beam_edge])
def test_a_bad_camera_and_a_beam_edge_do_not_mislead(spoil):
    image = spoil(exposure(Ctf(Defocus(13200.0, 12800.0, 30.0), TITAN), 1.5))
    assert mean(answered(fit_ctf(image, 1.5, TITAN)).defocus) == pytest.approx(13000.0, abs=60.0)


def test_a_phase_plate_that_nobody_spoke_of_is_no_quiet_error():
    image = exposure(Ctf(Defocus(9700.0, 9700.0), Optics(300.0, 2.7, 0.1, phase_shift_deg=140.0)), 1.5, strength=2.0)
    fit = fit_ctf(image, 1.5, TITAN)
    assert fit.ctf is None or "phase plate" in fit.doubt


@pytest.mark.parametrize("change", [partial(ndimage.median_filter, size=5), partial(np.repeat, repeats=2, axis=1)])
def test_what_repeats_its_neighbours_is_no_raw_micrograph(change):
    fit = fit_ctf(change(exposure(Ctf(Defocus(13000.0, 13000.0), TITAN), 1.5, side=1024)), 1.5, TITAN)
    assert fit.ctf is None
    assert "repeat one another" in fit.reason


def test_few_grey_values_are_no_repetition():
    image = np.round(exposure(Ctf(Defocus(13000.0, 13000.0), TITAN), 1.5) / 5.0).astype(np.int8)
    assert mean(answered(fit_ctf(image, 1.5, TITAN)).defocus) == pytest.approx(13000.0, abs=60.0)


@pytest.mark.parametrize("seed", range(4))
def test_noise_has_no_defocus(seed):
    noise = np.random.default_rng(seed).normal(30.0, 5.0, (1024, 1024)).astype(np.float32)
    fit = fit_ctf(noise, 1.5, TITAN)
    assert fit.ctf is None
    assert "no Thon rings" in fit.reason
    assert fit.resolution_A == math.inf


def test_a_filtered_picture_has_no_defocus():
    image = exposure(Ctf(Defocus(15000.0, 15000.0), TITAN), 1.5, side=1024)
    for blur in (3.0, 8.0):
        fit = fit_ctf(ndimage.gaussian_filter(image, blur), 1.5, TITAN)
        assert fit.ctf is None
        assert "filter" in fit.reason


@pytest.mark.parametrize("image", [np.zeros((600, 600)), np.full((600, 600), np.nan), np.ones((90, 900))])
def test_what_is_no_micrograph_gets_a_reason(image):
    fit = fit_ctf(image, 1.5, TITAN)
    assert fit.ctf is None
    assert fit.reason


def test_it_stops_when_cancelled():
    with pytest.raises(Cancelled):
        fit_ctf(
            np.random.default_rng(0).normal(size=(600, 600)), 1.5, TITAN, context=JobContext(is_cancelled=lambda: True)
        )


@pytest.mark.realdata
def test_real_apoferritin_has_rings_to_five_angstrom():
    fitted = {}
    for path in sorted((DATA / "apoferritin_10146/micrographs").glob("*.mrc")):
        fit = fit_ctf(mrcfile.read(path), 1.5, TITAN)
        fitted[path.stem] = mean(answered(fit).defocus)
        assert fit.score > 0.9
        assert fit.resolution_A < 5.0
    assert len(fitted) == 4
    assert max(fitted.values()) - min(fitted.values()) > 4000.0


@pytest.mark.realdata
def test_low_passed_pictures_are_not_given_a_defocus():
    paths = sorted((DATA / "cryoppp/10017/micrographs").glob("*.mrc"))
    paths += sorted((DATA / "cryoppp_lite/10017/micrographs").glob("*.jpg"))[:2]
    assert len(paths) == 4
    for path in paths:
        assert fit_ctf(images.read(path), 1.77, Optics(300.0, 2.0, 0.07)).ctf is None
