from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.imaging.ctf import Defocus, Optics, ctf_1d, ctf_2d, electron_wavelength_A
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.imaging.shapes import STRUCTURES, Carbon, from_map, make_views
from cryoppp_annotator.imaging.simulate import (
    SimulationParameters,
    imperfect_candidates,
    simulate_micrograph,
    views_for,
)
from cryoppp_annotator.model.context import JobContext

SMALL = SimulationParameters(size=(700, 640), pixel_size_A=3.5, structure="blob", n_particles=40, n_views=30, seed=5)


@pytest.fixture(scope="module")
def views():
    return views_for(SMALL)


def band_passed(micrograph):
    return BAND_PASS.denoise(
        micrograph.image,
        pixel_size_A=micrograph.pixel_size_A,
        diameter_A=micrograph.diameter_A,
        max_side=2048,
        context=JobContext(),
    ).pixels


def disc_mean(pixels, x, y, radius):
    """Mean inside discs around canonical points, (n,)."""
    yy, xx = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    return np.array([pixels[(yy - b) ** 2 + (xx - a) ** 2 < radius**2].mean() for a, b in zip(x, y, strict=True)])


# --- CTF ----------------------------------------------------------------------------------------------------------


def test_wavelengths_are_the_textbook_ones():
    assert electron_wavelength_A(300.0) == pytest.approx(0.019687, abs=1e-6)
    assert electron_wavelength_A(200.0) == pytest.approx(0.025079, abs=1e-6)


def test_ctf_is_the_amplitude_contrast_at_zero_and_positive_in_underfocus():
    optics = Optics(300.0, 2.7, 0.1)
    assert ctf_1d(0.0, 15000.0, optics) == pytest.approx(0.1)
    assert ctf_1d(1 / 60.0, 15000.0, optics) > 0.3
    # Without Cs and amplitude contrast the first zero is at k^2 = 1 / (lambda dz).
    plain = Optics(300.0, 0.0, 0.0)
    assert ctf_1d(np.sqrt(1 / (electron_wavelength_A(300.0) * 15000.0)), 15000.0, plain) == pytest.approx(0.0, abs=1e-9)


def test_ctf_2d_agrees_with_1d_and_turns_with_astigmatism():
    optics = Optics(200.0, 2.0, 0.07, 60.0)
    ctf = ctf_2d((64, 96), 2.0, Defocus(18000.0, 12000.0, 0.0), optics)
    assert ctf.shape == (64, 49)
    assert ctf.dtype == np.float32
    np.testing.assert_allclose(ctf[0], ctf_1d(np.fft.rfftfreq(96, 2.0), 18000.0, optics), atol=2e-3)
    np.testing.assert_allclose(ctf[:, 0], ctf_1d(np.fft.fftfreq(64, 2.0), 12000.0, optics), atol=2e-3)
    turned = ctf_2d((64, 96), 2.0, Defocus(18000.0, 12000.0, 90.0), optics)
    np.testing.assert_allclose(turned[0], ctf_1d(np.fft.rfftfreq(96, 2.0), 12000.0, optics), atol=2e-3)


# --- structures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "low", "high"), [("shell", 112, 128), ("double-ring", 145, 190), ("blob", 170, 230)])
def test_built_in_structures_have_their_size_and_are_centred(name, low, high):
    structure = STRUCTURES[name]()
    assert low < structure.diameter_A < high
    np.testing.assert_allclose(np.average(structure.positions_A, axis=0, weights=structure.weights), 0.0, atol=1e-2)
    np.testing.assert_array_equal(structure.positions_A, STRUCTURES[name]().positions_A)


def test_the_shell_is_hollow():
    radius = np.linalg.norm(STRUCTURES["shell"]().positions_A, axis=1)
    assert radius.min() > 30.0


def test_views_are_centred_and_shift_exactly(views):
    b = views.box_size
    yy, xx = np.indices((b, b)) - b // 2
    for dy, dx in ((0.0, 0.0), (0.37, -0.81)):
        image = views.render(3, dy, dx)
        assert (image * yy).sum() / image.sum() == pytest.approx(dy, abs=0.02)
        assert (image * xx).sum() / image.sum() == pytest.approx(dx, abs=0.02)
    np.testing.assert_allclose(np.linalg.norm(views.orientations, axis=1), 1.0)


def test_a_map_becomes_a_structure_with_the_same_axes():
    volume = np.zeros((20, 20, 20), np.float32)
    volume[4, 10, 10] = volume[15, 10, 10] = 1.0  # two points along z
    structure = from_map(volume, 3.0)
    np.testing.assert_allclose(np.ptp(structure.positions_A, axis=0), [0.0, 0.0, 33.0])
    assert len(make_views(structure, 2.0, 4, 0)) == 4


@pytest.mark.parametrize(("volume", "voxel"), [(np.zeros((4, 4, 4)), 1.0), (np.ones((4, 4)), 1.0), (np.eye(4), 0.0)])
def test_an_unusable_map_is_refused(volume, voxel):
    with pytest.raises(ValueError, match=r"voxel|axes"):
        from_map(volume, voxel)


def test_an_unknown_structure_is_refused():
    with pytest.raises(ValueError, match="shell"):
        views_for(dataclasses.replace(SMALL, structure="unicorn"))


# --- micrographs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["shell", "double-ring", "blob"])
def test_planted_particles_are_found_dark_where_the_truth_says(structure):
    params = dataclasses.replace(SMALL, structure=structure, carbon_probability=0.0, n_contaminants=0.0, snr=0.2)
    bank = views_for(params)
    truth, flipped = [], []
    for index in range(3):
        m = simulate_micrograph(params, index, bank)
        pixels = band_passed(m)
        radius = 0.5 * m.diameter_px
        truth.append(disc_mean(pixels, m.x, m.y, radius))
        flipped.append(disc_mean(pixels, m.x, m.image.shape[0] - 1 - m.y, radius))
    background = np.concatenate(flipped).mean()
    assert np.concatenate(truth).mean() < background - 0.2
    assert (np.concatenate(truth) < background).mean() > 0.95
    assert abs(background) < 0.2


def test_solid_particles_are_over_one_sd_dark_at_their_centre(views):
    params = dataclasses.replace(SMALL, carbon_probability=0.0, n_contaminants=0.0)
    at_truth, at_flip = [], []
    for index in range(4):
        m = simulate_micrograph(params, index, views)
        pixels = band_passed(m)
        i, j = np.round(m.y).astype(int), np.round(m.x).astype(int)
        at_truth.append(pixels[i, j])
        at_flip.append(pixels[-1 - i, j])
    assert np.concatenate(at_truth).mean() < -1.0
    assert abs(np.concatenate(at_flip).mean()) < 0.4


def test_truth_is_exact_to_a_fraction_of_a_pixel(views):
    # At focus, with amplitude contrast only, the CTF is 1 and the image is the projection itself, dark.
    params = dataclasses.replace(
        SMALL,
        n_particles=1,
        snr=2.0,
        carbon_probability=0.0,
        n_contaminants=0.0,
        ice_gradient=0.0,
        optics=Optics(amplitude_contrast=1.0, cs_mm=0.0),
        defocus_range_A=(0.0, 0.0),
    )
    for index in range(4):
        m = simulate_micrograph(params, index, views)
        b = views.box_size
        top, left = int(m.y[0]) - b // 2, int(m.x[0]) - b // 2
        window = m.image.mean() - m.image[top : top + b, left : left + b]

        def likeness(dy, dx, m=m, window=window):
            shape = views.render(int(m.view[0]), m.y[0] % 1 + dy, m.x[0] % 1 + dx)
            return np.corrcoef(shape.ravel(), window.ravel())[0, 1]

        assert likeness(0, 0) > 0.6
        shifts = (-0.5, -0.25, 0.0, 0.25, 0.5)
        assert abs(shifts[int(np.argmax([likeness(d, 0) for d in shifts]))]) <= 0.25
        assert abs(shifts[int(np.argmax([likeness(0, d) for d in shifts]))]) <= 0.25


def test_same_seed_and_index_give_the_same_bytes_in_any_order(views):
    forwards = [simulate_micrograph(SMALL, i, views) for i in (0, 1, 2)]
    backwards = [simulate_micrograph(SMALL, i, views_for(SMALL)) for i in (2, 1, 0)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert a.image.tobytes() == b.image.tobytes()
        assert a.x.tobytes() == b.x.tobytes()
        assert a.orientations.tobytes() == b.orientations.tobytes()
        assert a.contamination.tobytes() == b.contamination.tobytes()
    assert forwards[0].image.tobytes() != forwards[1].image.tobytes()
    other = simulate_micrograph(dataclasses.replace(SMALL, seed=6), 0, views)
    assert other.image.tobytes() != forwards[0].image.tobytes()


def test_a_micrograph_looks_like_one(views):
    m = simulate_micrograph(dataclasses.replace(SMALL, carbon_probability=1.0, n_contaminants=6.0), 1, views)
    assert m.image.shape == (700, 640)
    assert m.image.dtype == np.float32
    assert (m.image >= 0).all()
    assert 15 < np.median(m.image) < 30
    assert 10000 <= m.defocus_A <= 25000
    assert m.carbon is not None
    share = m.carbon_mask.mean()
    assert 0.01 < share < 0.5
    assert m.image[m.carbon_mask].mean() < 0.95 * m.image[~m.carbon_mask].mean()
    assert not m.carbon.contains(m.x, m.y).any()
    assert len(m.contamination)
    for x, y, radius in m.contamination:
        assert (np.hypot(m.x - x, m.y - y) > radius).all()


def test_particles_keep_their_distance_unless_aggregated(views):
    def nearest(m):
        d = np.hypot(m.x[:, None] - m.x, m.y[:, None] - m.y)
        np.fill_diagonal(d, np.inf)
        return d.min(axis=1) / m.diameter_px

    apart = simulate_micrograph(dataclasses.replace(SMALL, aggregate_fraction=0.0), 0, views)
    assert nearest(apart).min() >= SMALL.min_spacing
    heaps = simulate_micrograph(dataclasses.replace(SMALL, aggregate_fraction=0.8), 0, views)
    assert 0.5 <= nearest(heaps).min() < 0.9
    assert len(apart.x) == len(apart.y) == len(apart.view) == len(apart.orientations)


def test_crowded_and_empty_micrographs(views):
    crowded = simulate_micrograph(dataclasses.replace(SMALL, n_particles=2000), 0, views)
    assert 20 < len(crowded.x) < 400
    empty = simulate_micrograph(dataclasses.replace(SMALL, n_particles=0), 0, views)
    assert len(empty.x) == 0
    assert empty.image.std() > 1.0
    cut = simulate_micrograph(dataclasses.replace(SMALL, edge_margin=0.0, size=(90, 301)), 0, views)
    assert cut.image.shape == (90, 301)


def test_carbon_is_outside_the_hole():
    carbon = Carbon(10.0, 20.0, 5.0)
    assert carbon.contains(np.array([10.0, 16.0]), np.array([20.0, 20.0])).tolist() == [False, True]
    assert carbon.distance((30, 30))[20, 10] == -5.0


@pytest.mark.parametrize("calls", [0, 2, 4, 6])
def test_cancel_stops_the_simulation(views, calls):
    asked = 0

    def is_cancelled():
        nonlocal asked
        asked += 1
        return asked > calls

    with pytest.raises(Cancelled):
        simulate_micrograph(SMALL, 0, views, JobContext(is_cancelled=is_cancelled))
    with pytest.raises(Cancelled):
        views_for(SMALL, JobContext(is_cancelled=lambda: True))


def test_progress_is_reported(views):
    seen = []
    simulate_micrograph(SMALL, 0, views, JobContext(on_progress=lambda d, t, m: seen.append((d, t))))
    assert seen[-1][0] == seen[-1][1]


# --- candidates ---------------------------------------------------------------------------------------------------


def test_candidates_are_imperfect_in_the_stated_way(views):
    params = dataclasses.replace(SMALL, carbon_probability=1.0, size=(1400, 1280), n_particles=120, n_contaminants=6.0)
    n_found = true = false = wins = pairs = 0
    on_film = 0
    for index in range(8):
        m = simulate_micrograph(params, index, views)
        c = imperfect_candidates(m, np.random.default_rng(index))
        n_found, true, false = n_found + c.is_true.sum(), true + len(m.x), false + (~c.is_true).sum()
        nearest = np.hypot(c.x[:, None] - m.x, c.y[:, None] - m.y).min(axis=1) / m.diameter_px
        assert nearest[c.is_true].max() < 0.25
        assert nearest[~c.is_true].min() > 0.5
        assert ((c.score >= 0) & (c.score <= 1)).all()
        wins += (c.score[c.is_true][:, None] > c.score[~c.is_true]).sum()
        pairs += c.is_true.sum() * (~c.is_true).sum()
        assert m.carbon is not None
        on_film += m.carbon.contains(c.x[~c.is_true], c.y[~c.is_true]).sum()
    assert n_found / true == pytest.approx(0.9, abs=0.04)
    assert false / true == pytest.approx(0.35, abs=0.04)
    assert wins / pairs == pytest.approx(0.9, abs=0.03)
    assert on_film > 0.2 * false


def test_candidates_of_an_empty_micrograph(views):
    empty = simulate_micrograph(dataclasses.replace(SMALL, n_particles=0), 0, views)
    c = imperfect_candidates(empty, np.random.default_rng(0))
    assert not c.is_true.any()
    assert len(c.x) == len(c.y) == len(c.score) == len(c.is_true)
