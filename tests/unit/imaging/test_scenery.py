"""Pale contamination, aggregates, steps and cracks: drawn where the truth says, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.curation import Reason

SMALL = SimulationParameters(
    size=(700, 640),
    pixel_size_A=3.5,
    structure="blob",
    n_particles=30,
    n_views=12,
    n_contaminants=3.0,
    carbon_probability=1.0,
    seed=5,
)


@pytest.fixture(scope="module")
def views():
    return views_for(SMALL)


def test_what_was_there_before_stays_where_it_was(views):
    before = simulate_micrograph(SMALL, 0, views)
    more = simulate_micrograph(replace(SMALL, n_pale=3.0, n_aggregates=2.0), 0, views)
    assert more.carbon == before.carbon
    n = len(before.contamination)
    np.testing.assert_array_equal(more.contamination[:n], before.contamination)
    assert len(more.contamination) == len(more.pieces) > n
    assert [piece.pale for piece in more.pieces[:n]] == [False] * n
    again = simulate_micrograph(replace(SMALL, n_pale=3.0, n_aggregates=2.0), 0, views)
    np.testing.assert_array_equal(again.image, more.image)


def test_pieces_are_dark_where_their_outline_is_and_hold_no_particle(views):
    clean = replace(SMALL, n_contaminants=0.0, carbon_probability=0.0, ice_gradient=0.0)
    darker = []
    for index in range(4):
        truth = simulate_micrograph(replace(clean, n_pale=2.0, n_aggregates=1.0), index, views)
        for piece in truth.pieces:
            h, w = piece.mask.shape
            row, column = np.round(truth.y).astype(int) - piece.top, np.round(truth.x).astype(int) - piece.left
            near = (row >= 0) & (row < h) & (column >= 0) & (column < w)
            assert not piece.mask[row[near], column[near]].any()
            assert piece.reason is (Reason.ICE if piece.pale else Reason.AGGREGATE)
            under = truth.image[piece.top : piece.top + h, piece.left : piece.left + w]
            if piece.pale and piece.mask.any():
                darker.append(np.median(truth.image) - under[piece.mask].mean())
    assert len(darker) > 3
    assert min(darker) > 0.01 * clean.dose_per_px


def test_steps_and_cracks_change_the_grey_and_not_the_particles(views):
    clean = replace(SMALL, n_contaminants=0.0, carbon_probability=0.0)
    plain = simulate_micrograph(clean, 1, views)
    for what in ({"ice_step": 0.2}, {"crack_probability": 1.0}):
        other = simulate_micrograph(replace(clean, **what), 1, views)
        np.testing.assert_array_equal(other.x, plain.x)
        assert np.abs(other.image - plain.image).max() > 0.5
        assert not other.pieces
