from __future__ import annotations

import csv
import inspect
import os
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from cryoppp_annotator.api import TunableDenoiser
from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.imaging.denoise import BAND_PASS, diameter_px, raw_picture
from cryoppp_annotator.model.context import JobContext

DATA = Path(os.environ.get("CRYOPPP_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))


def denoise(image, *, pixel_size_A=1.0, diameter_A=40.0, max_side=2048, context=None):
    return BAND_PASS.denoise(
        image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, max_side=max_side, context=context or JobContext()
    )


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def planted(shape, points, sigma=8.0, depth=3.0):
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    image = np.zeros(shape, np.float32)
    for y, x in points:
        image -= depth * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2)).astype(np.float32)
    return image


def test_it_walks_through_the_door():
    denoiser: TunableDenoiser = BAND_PASS
    assert inspect.signature(denoiser.denoise).parameters.keys() == (
        inspect.signature(TunableDenoiser.denoise).parameters.keys() - {"self"}
    )
    assert BAND_PASS.name == "band-pass"
    assert BAND_PASS.title == "Band-pass"


@given(st.integers(260, 420), st.integers(260, 420), st.integers(60, 600))
@settings(max_examples=30, deadline=None)
def test_pixel_0_stays_in_place_and_the_picture_fits(h, w, max_side):
    # A texture without outliers to clip: the picture must be most like the texture taken at (i step, j step).
    texture = gaussian_filter(noise((h, w)), max(3.0, 1.3 * max(h, w) / max_side))
    picture = denoise(texture, max_side=max_side)
    step = picture.step[0]
    assert max(picture.pixels.shape) <= max_side
    assert picture.pixels.shape == (int(np.ceil(h / step)), int(np.ceil(w / step)))
    assert step < max(h, w) / max_side + 0.25 or step == 1.0
    inside = (slice(2, -2), slice(2, -2))
    at = np.indices(picture.pixels.shape)[(slice(None), *inside)]

    def likeness(dy, dx):
        sampled = map_coordinates(texture, [(at[0] + dy) * step, (at[1] + dx) * step], order=3, mode="nearest")
        return np.corrcoef(sampled.ravel(), picture.pixels[inside].ravel())[0, 1]

    here = likeness(0.0, 0.0)
    assert here > 0.8
    for before, after in ((likeness(-0.5, 0), likeness(0.5, 0)), (likeness(0, -0.5), likeness(0, 0.5))):
        best = 0.25 * (before - after) / (before - 2 * here + after)  # top of the parabola, picture px
        assert abs(best) < 0.15


@pytest.mark.parametrize("shape", [(400, 401), (399, 420)])
@pytest.mark.parametrize("max_side", [2048, 210, 160])
def test_a_planted_spot_lands_at_its_place_over_step(shape, max_side):
    image = planted(shape, [(203.3, 151.8)], sigma=7.0, depth=2.0) + 0.15 * gaussian_filter(noise(shape), 2.0)
    picture = denoise(image, max_side=max_side)
    yy, xx = np.indices(picture.pixels.shape)
    near = np.hypot(yy * picture.step[0] - 203.3, xx * picture.step[1] - 151.8) < 22.0
    dark = np.clip(0.4 * picture.pixels[near].min() - picture.pixels, 0, None) * near
    assert np.average(yy, weights=dark) * picture.step[0] == pytest.approx(203.3, abs=0.25 * picture.step[0])
    assert np.average(xx, weights=dark) * picture.step[1] == pytest.approx(151.8, abs=0.25 * picture.step[1])


def test_particles_hidden_in_noise_become_dark_and_visible():
    points = [(60 + 70 * i, 60 + 75 * j) for i in range(10) for j in range(10)]
    image = 500.0 + 8.0 * (planted((800, 800), points, sigma=12.0, depth=0.7) + noise((800, 800)))
    picture = denoise(image.astype(np.float32))
    at = np.array(points)
    assert picture.pixels[at[:, 0], at[:, 1]].mean() < -1.2
    assert picture.pixels[at[:, 0] + 35, at[:, 1] + 37].mean() > 0.0


def test_it_is_normalised_and_flat_on_the_padding():
    image = np.full((500, 520), 37.0, np.float32)
    image[40:470, 30:500] = 20.0 * noise((430, 470)) + np.linspace(0, 100, 470, dtype=np.float32)
    picture = denoise(image, max_side=260)
    inner = picture.pixels[20:235, 15:250]
    assert picture.step == (2.0, 2.0)
    assert inner.mean() == pytest.approx(0.0, abs=1e-3)
    assert inner.std() == pytest.approx(1.0, abs=1e-3)
    assert not picture.pixels[:20].any()
    assert not picture.pixels[235:].any()
    assert not picture.pixels[:, :15].any()
    assert not picture.pixels[:, 250:].any()
    border = np.concatenate([inner[:3].ravel(), inner[-3:].ravel()])
    assert border.std() < 1.6  # nothing rings along the border


def test_hot_pixels_leave_no_mark():
    image = noise((400, 400))
    clean = denoise(image).pixels
    image[200, 200], image[100, 300] = 1e7, -1e7
    spoilt = denoise(image).pixels
    assert np.abs(spoilt - clean).max() < 1.5
    assert spoilt.std() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.float16, np.float32, np.float64, ">f4", ">i2"]
)
def test_every_dtype_gives_the_same_picture(dtype):
    image = 60.0 + 15.0 * noise((300, 280))
    expected = denoise(image).pixels
    given_image = image.clip(0, 127).astype(dtype)
    before = given_image.copy()
    given_image.flags.writeable = False
    pixels = denoise(given_image).pixels
    assert pixels.dtype == np.float32
    assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(given_image, before)


HOSTILE = {
    "1x1": np.ones((1, 1), np.float32),
    "1xn": np.arange(50, dtype=np.int16)[None],
    "nx1": np.arange(50, dtype=np.uint16)[:, None],
    "3x2": np.arange(6, dtype=np.int8).reshape(3, 2),
    "constant": np.full((64, 65), 7, np.uint16),
    "huge constant": np.full((64, 65), 3e38, np.float32),
    "all nan": np.full((40, 40), np.nan, np.float32),
    "all inf": np.full((40, 40), np.inf, np.float32),
    "some nan": np.where(noise((90, 90)) > 1, np.nan, noise((90, 90), 1)),
    "some inf": np.where(noise((90, 90)) > 1, -np.inf, noise((90, 90), 1)),
    "float64 beyond float32": noise((50, 50)).astype(np.float64) * 1e200,
    "tiny values": noise((50, 50)) * np.float32(1e-30),
    "bool": noise((50, 50)) > 0,
    "one spot": planted((64, 64), [(30, 30)]),
}


@pytest.mark.parametrize("image", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("max_side", [1, 33, 2048])
def test_hostile_images_give_finite_pictures(image, max_side):
    for picture in (denoise(image, max_side=max_side), raw_picture(image)):
        assert np.isfinite(picture.pixels).all()
        assert picture.pixels.dtype == np.float32
        assert picture.limits[0] < picture.limits[1]
        assert picture.pixels.size


@pytest.mark.parametrize(
    "image", [np.zeros((0, 5)), np.zeros((5, 0)), np.zeros((2, 3, 4)), np.zeros(9), np.zeros((4, 4), complex)]
)
def test_what_is_no_micrograph_is_refused(image):
    with pytest.raises(EngineError, match="expected a micrograph"):
        denoise(image)
    with pytest.raises(EngineError, match="expected a micrograph"):
        raw_picture(image)


def test_a_constant_image_is_flat():
    assert not denoise(np.full((100, 90), 5, np.int8)).pixels.any()


@pytest.mark.parametrize("calls", [0, 1, 3, 5])
def test_cancel_reaches_the_inside(calls):
    asked = 0

    def is_cancelled():
        nonlocal asked
        asked += 1
        return asked > calls

    with pytest.raises(Cancelled):
        denoise(noise((100, 100)), context=JobContext(is_cancelled=is_cancelled))


def test_the_band_can_be_said_in_angstrom():
    image = noise((400, 400))
    usual = BAND_PASS.denoise(image, pixel_size_A=2.0, diameter_A=80.0, max_side=2048, context=JobContext())

    def chosen(**parameters):
        return BAND_PASS.denoise(
            image, pixel_size_A=2.0, diameter_A=80.0, max_side=2048, context=JobContext(), parameters=parameters
        ).pixels

    np.testing.assert_array_equal(chosen(longest_A=200.0, shortest_A=10.0), usual.pixels)
    np.testing.assert_array_equal(chosen(longest_A=0), usual.pixels)
    power = np.abs(np.fft.rfft2(chosen(shortest_A=40.0)))  # 20 px
    assert power[0, 60:].max() < 0.02 * power[0, 4:16].max()
    for wrong in ({"longest_A": -3}, {"shortest_A": 1e9}, {"shortest_A": "fine"}, {"sharpness": 1}):
        with pytest.raises(EngineError):
            chosen(**wrong)


def test_the_diameter_falls_back_on_something_sensible():
    assert diameter_px(4096, 1.77, 191.0) == pytest.approx(107.9, abs=0.1)
    assert diameter_px(4096, None, 191.0) == pytest.approx(4096 / 28)
    assert diameter_px(4096, 1.5, None) == pytest.approx(100.0)
    assert diameter_px(512, 0.79, None) < 40  # a header that is wrong by eight
    assert diameter_px(4096, float("nan"), 5.0) == diameter_px(4096, 0.0, None) == diameter_px(4096, None, None)
    assert diameter_px(100, 1.0, 1e9) == 100.0


def test_raw_picture_keeps_values_and_place():
    image = np.random.default_rng(0).integers(-128, 127, (300, 200), dtype=np.int8)
    picture = raw_picture(image)
    np.testing.assert_array_equal(picture.pixels, image)
    assert picture.step == (1.0, 1.0)
    small = raw_picture(planted((300, 200), [(120.0, 90.0)], depth=50.0), max_side=100)
    assert small.step == (3.0, 3.0)
    assert small.pixels.shape == (100, 67)
    assert np.unravel_index(small.pixels.argmin(), small.pixels.shape) == (40, 30)


def test_raw_picture_shows_nan_as_the_median():
    image = 5.0 + noise((50, 50))
    image[3, 4] = np.nan
    assert raw_picture(image).pixels[3, 4] == pytest.approx(5.0, abs=0.2)


def test_a_large_memory_map(tmp_path):
    path = tmp_path / "big.mrc"
    with mrcfile.new_mmap(path, (5760, 4092), mrc_mode=0) as mrc:
        mrc.data[:] = np.random.default_rng(0).integers(-20, 20, (5760, 4092), dtype=np.int8)
    with mrcfile.mmap(path, mode="r") as mrc:
        start = time.process_time()
        picture = denoise(mrc.data, diameter_A=150.0)
        assert time.process_time() - start < 10.0
    assert picture.step == (3.0, 3.0)
    assert picture.pixels.shape == (1920, 1364)


# --- real micrographs ---------------------------------------------------------------------------------------------


def read_mrc(path):
    if not DATA.exists():
        pytest.skip(f"no test data at {DATA}")
    with mrcfile.open(path, permissive=True) as mrc:
        return np.array(mrc.data)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "n", "darkness"), [("14_33_35_0", 629, -1.5), ("15_07_41_0", 392, -1.5)])
def test_cryoppp_picks_are_dark_with_row_h_minus_y(name, n, darkness):
    root = DATA / "cryoppp/10017"
    image = read_mrc(root / f"micrographs/Falcon_2012_06_12-{name}.mrc")
    picks = root / f"ground_truth/particle_coordinates/Falcon_2012_06_12-{name}.csv"
    with picks.open() as file:
        rows = list(csv.DictReader(file))
    x = np.array([float(row["X-Coordinate"]) for row in rows])
    y = np.array([float(row["Y-Coordinate"]) for row in rows])
    assert len(x) == n
    picture = denoise(image, pixel_size_A=1.77, diameter_A=191.0)

    def density(row):
        i = np.clip(np.round(row / picture.step[0]).astype(int), 0, picture.pixels.shape[0] - 1)
        return picture.pixels[i, np.round(x / picture.step[1]).astype(int)].mean()

    assert picture.pixels.shape == (2048, 2048)
    assert density(image.shape[0] - y) < darkness
    assert abs(density(y)) < 0.2


@pytest.mark.realdata
def test_the_padding_of_a_cryoppp_micrograph_is_flat_and_does_not_ring():
    image = read_mrc(DATA / "cryoppp/10017/micrographs/Falcon_2012_06_12-14_33_35_0.mrc")
    pixels = denoise(image, pixel_size_A=1.77, diameter_A=191.0).pixels
    assert not pixels[:40].any()
    assert not pixels[:, :26].any()
    assert not pixels[-35:].any()
    assert not pixels[:, -44:].any()
    rows = pixels[48:-48, 60:-60].std(axis=1)
    assert rows[:20].mean() < 1.6 * np.median(rows)
    assert rows[-20:].mean() < 1.6 * np.median(rows)


@pytest.mark.realdata
def test_apoferritin_shells_are_darker_than_their_surroundings():
    image = read_mrc(DATA / "apoferritin_10146/micrographs/May08_03.05.02.bin_avg.mrc")
    labels = next((DATA / "apoferritin_10146/labels_csv").glob("*03.05.02*"))
    with labels.open() as file:
        rows = [row for row in csv.reader(file) if row and row[0].replace(".", "").isdigit()]
    at = np.array([[float(v) for v in row[:2]] for row in rows])
    pixels = denoise(image, pixel_size_A=1.5, diameter_A=120.0).pixels
    ring = []
    for x, y in at:
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            i, j = round(y + 33 * np.sin(angle)), round(x + 33 * np.cos(angle))
            if 0 <= i < pixels.shape[0] and 0 <= j < pixels.shape[1]:
                ring.append(pixels[i, j])
    assert np.mean(ring) < -0.4
