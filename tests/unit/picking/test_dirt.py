"""Carbon and ice: found where they are, nowhere else, and what is picked there is left out and counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Reason
from cryoppp_annotator.model.region import Region, holds, overlap, pack_vertices, unpack_vertices
from cryoppp_annotator.picking.dirt import find_regions
from cryoppp_annotator.picking.leaving_out import describe_left_out, exclude, reasons_at

BASE = SimulationParameters(
    size=(1024, 1024), pixel_size_A=3.0, structure="double-ring", n_particles=80, n_views=12, n_contaminants=4, seed=11
)
SQUARE = np.array([(10, 10), (10, 30), (30, 30), (30, 10)], float)


@pytest.fixture(scope="module")
def views():
    return views_for(BASE)


def find(truth, **words) -> list[Region]:
    return find_regions(truth.image, pixel_size_A=truth.pixel_size_A, diameter_A=truth.diameter_A, **words)


def true_dirt(truth, y, x) -> np.ndarray:
    dirt = np.zeros(len(x), bool) if truth.carbon is None else truth.carbon.contains(x, y)
    for cx, cy, radius in truth.contamination:
        dirt |= np.hypot(x - cx, y - cy) < radius
    return dirt


@pytest.mark.parametrize("snr", [0.2, 0.01])
@pytest.mark.parametrize("index", range(4))
def test_simulated_carbon_and_ice_are_covered_and_particles_are_not(views, snr, index):
    truth = simulate_micrograph(replace(BASE, snr=snr, carbon_probability=float(index % 2)), index, views)
    detected = find(truth)
    y, x = (part.ravel().astype(float) for part in np.mgrid[:1024:8, :1024:8])
    dirt, marked = true_dirt(truth, y, x), reasons_at(x, y, detected) > 0
    assert dirt[marked].mean() > 0.7 if marked.any() else not dirt.any()
    assert (dirt & ~marked).sum() <= 0.03 * dirt.sum() + 1
    assert not reasons_at(truth.x, truth.y, detected).any()
    assert (Reason.CARBON in {r.reason for r in detected}) == (truth.carbon is not None)


@pytest.mark.parametrize(("snr", "n"), [(0.01, 80), (0.3, 80), (1.0, 20)])
def test_nothing_is_found_on_a_clean_micrograph(views, snr, n):
    clean = replace(
        BASE, snr=snr, n_particles=n, n_contaminants=0, carbon_probability=0, aggregate_fraction=0, ice_gradient=0.2
    )
    for index in range(2):
        assert find(simulate_micrograph(clean, index, views)) == []


@pytest.mark.parametrize("what", [{"ice_step": 0.06}, {"crack_probability": 1.0}, {"ice_gradient": 0.3}], ids=str)
@pytest.mark.parametrize("snr", [0.1, 0.02])
def test_thicker_ice_and_cracks_are_no_dirt(views, snr, what):
    clean = replace(BASE, snr=snr, n_contaminants=0, carbon_probability=0, **what)
    for index in range(3):
        assert find(simulate_micrograph(clean, index, views)) == []


def cells(truth, detected, counts) -> tuple[np.ndarray, np.ndarray]:
    """Reasons found (n,) on the pieces that are ``counts``, and on what is far from any, every fourth pixel."""
    on, off = np.zeros(truth.image.shape, bool), np.ones(truth.image.shape, bool)
    for piece in truth.pieces:
        rows = slice(piece.top, piece.top + piece.mask.shape[0])
        columns = slice(piece.left, piece.left + piece.mask.shape[1])
        on[rows, columns] |= piece.mask & counts(piece)
    y, x = (part.ravel().astype(float) for part in np.mgrid[:1024:4, :1024:4])
    for cx, cy, radius in truth.contamination:
        off[::4, ::4] &= (np.hypot(x - cx, y - cy) > radius + truth.diameter_px).reshape(256, 256)
    why = reasons_at(x, y, detected).reshape(256, 256)
    return why[on[::4, ::4]], why[off[::4, ::4]]


@pytest.mark.parametrize("snr", [0.1, 0.02])
def test_aggregates_are_told_from_ice(views, snr):
    on, off, ice = [], [], []
    for index in range(3):
        base = replace(BASE, snr=snr, carbon_probability=0, n_contaminants=0)
        truth = simulate_micrograph(replace(base, n_aggregates=3.0), index, views)
        detected = find(truth)
        assert (reasons_at(truth.x, truth.y, detected) > 0).mean() < 0.02
        for reasons, where in zip(cells(truth, detected, lambda piece: True), (on, off), strict=True):
            where.append(reasons)
        truth = simulate_micrograph(replace(base, n_contaminants=4.0), index, views)
        ice += [region.reason for region in find(truth)]
    on, off = np.concatenate(on), np.concatenate(off)
    assert (on > 0).mean() > 0.6
    assert (on[on > 0] == Reason.AGGREGATE).mean() > 0.7
    assert (off > 0).mean() < 0.002
    assert set(ice) == {Reason.ICE}


@pytest.mark.parametrize("snr", [0.1, 0.02])
def test_pale_contamination_is_found_where_it_is_wider_than_a_particle(views, snr):
    on, off = [], []
    for index in range(4):
        pale = replace(BASE, snr=snr, dose_per_px=56.0, carbon_probability=0, n_contaminants=0, n_pale=3.0)
        truth = simulate_micrograph(pale, index, views)
        detected = find(truth)
        assert (reasons_at(truth.x, truth.y, detected) > 0).mean() < 0.02
        least = 0.25 * np.pi * (1.6 * truth.diameter_px) ** 2
        covered = cells(truth, detected, lambda piece, least=least: piece.mask.sum() > least)
        on.append(covered[0])
        off.append(covered[1])
    assert (np.concatenate(on) == Reason.ICE).mean() > 0.5
    assert (np.concatenate(off) > 0).mean() < 0.002


def test_bright_micrographs_and_other_number_types(views):
    truth = simulate_micrograph(replace(BASE, carbon_probability=1.0), 1, views)
    dark = find(truth)
    negative = replace(truth, image=-truth.image)
    assert [pack_vertices(r.vertices) for r in find(negative, bright=True)] == [pack_vertices(r.vertices) for r in dark]
    bytes_ = np.clip(truth.image * 4, 0, 255).astype(np.uint8)
    (carbon,) = [r for r in find(replace(truth, image=bytes_)) if r.reason is Reason.CARBON]
    assert overlap(carbon.vertices, dark[0].vertices) > 0.97
    holed = truth.image.copy()
    holed[200:210] = np.nan
    holed[5, 5] = np.inf
    (carbon,) = [r for r in find(replace(truth, image=holed)) if r.reason is Reason.CARBON]
    assert overlap(carbon.vertices, dark[0].vertices) > 0.97


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((300, 300), np.float32),
        np.full((300, 300), np.nan, np.float32),
        np.ones((3, 3), np.uint8),
        np.ones((2000, 1), np.float32),
        np.random.default_rng(0).normal(size=(500, 400)),
        np.where(np.random.default_rng(0).random((400, 400)) < 1e-4, 1e9, 0.0),
    ],
    ids=["constant", "nan", "tiny", "line", "noise", "hot"],
)
def test_empty_images_have_no_regions(image):
    assert find_regions(image, pixel_size_A=2.0, diameter_A=100.0) == []
    assert find_regions(image, pixel_size_A=None, diameter_A=None) == []


def test_what_is_no_image_is_refused_and_a_cancel_is_heard():
    for image in (np.zeros((0, 5)), np.zeros(5), np.zeros((4, 4, 4)), np.array([["a"]])):
        with pytest.raises(EngineError):
            find_regions(image, pixel_size_A=2.0, diameter_A=100.0)
    with pytest.raises(Cancelled):
        find_regions(
            np.zeros((50, 50)), pixel_size_A=2.0, diameter_A=100.0, context=JobContext(is_cancelled=lambda: True)
        )


@pytest.mark.realdata
def test_real_micrographs(data_dir: Path):
    """Carbon corners and ice balls as seen by eye; next to no labelled particle is lost."""
    lost = labelled = 0
    seen = {}
    for path in sorted((data_dir / "cryoppp_lite/10017/micrographs").glob("*.jpg")):
        detected = find_regions(images.read(path), pixel_size_A=1.77, diameter_A=191.0)
        table = pd.read_csv(data_dir / f"cryoppp_lite/10017/ground_truth/particle_coordinates/{path.stem}.csv")
        x, y = table["X-Coordinate"].to_numpy(float), table["Y-Coordinate"].to_numpy(float)
        lost += int((reasons_at(x, y, detected) > 0).sum())
        labelled += len(x)
        seen[path.stem[-10:]] = {r.reason for r in detected}
    assert lost <= 0.001 * labelled
    assert seen == {
        "14_33_35_0": {Reason.CARBON},
        "14_57_34_0": set(),
        "15_07_41_0": {Reason.ICE},
        "15_14_01_0": {Reason.ICE},
        "15_53_09_0": {Reason.CARBON},
    }
    (ball, *_) = find_regions(images.read(data_dir / "curation/Ucsf_stack_1142_DW.mrc"), pixel_size_A=1, diameter_A=40)
    assert ball.reason is Reason.ICE
    assert holds(ball.vertices, np.array([160.0, 500.0]), np.array([730.0, 300.0])).tolist() == [True, False]
    assert find_regions(images.read(data_dir / "curation/061.png"), pixel_size_A=4, diameter_A=260) == []


def test_candidates_are_left_out_and_counted():
    x = np.array([20.0, 29.9, 31.0, 60.0, 1.0, np.nan])
    y = np.array([20.0, 20.0, 20.0, 60.0, 50.0, 5.0])
    candidates = Candidates(x, y, np.arange(6.0), np.full(6, 100.0))
    marked = [
        Region(Reason.CARBON, SQUARE),
        Region(Reason.ICE, np.add(SQUARE, (0, 15))),
        Region(Reason.OTHER, SQUARE[:2]),
    ]
    kept, counts = exclude(candidates, marked, shape=(100, 100), padding=(0, 0, 3, 0))
    assert kept.score.tolist() == [3.0]
    assert counts == {Reason.CARBON: 2, Reason.ICE: 1, Reason.EDGE: 2}
    assert describe_left_out(counts) == "5 left out: 2 on carbon, 1 on ice, 2 at the border"
    assert describe_left_out({Reason.CARBON: 1_036, Reason.ICE: 0}) == "1,036 left out on carbon"
    assert describe_left_out({}) == ""
    assert len(exclude(candidates, []).kept) == 6
    # a box is cut from the file: the padding beside it makes the margin no wider
    for padding in ((0, 0, 0, 0), (0, 0, 3, 0)):
        whole = exclude(candidates, [], shape=(100, 100), padding=padding, margin=20.0)
        assert whole.kept.x.tolist() == [20.0, 29.9, 31.0, 60.0]
        assert whole.counts == {Reason.EDGE: 2}


def test_polygons_survive_the_store_and_nonsense_is_refused():
    np.testing.assert_array_equal(unpack_vertices(pack_vertices(SQUARE + 0.25)), SQUARE + 0.25)
    for text in ("[]", "[[1,2],[3,4]]", "[[1,2,3],[1,2,3],[1,2,3]]", "[[1,2],[3,4],[NaN,1]]", '"x"', "{}"):
        with pytest.raises(ValueError, match="polygon"):
            unpack_vertices(text)
    assert overlap(SQUARE, SQUARE + 5) == pytest.approx((15 / 20) ** 2, abs=0.03)
    assert overlap(SQUARE, SQUARE + 50) == 0
