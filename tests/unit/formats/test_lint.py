"""Each rule finds what was planted, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.formats.check.lint import Mend, centroid_offsets, lint_micrograph, lint_set, worse_of
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import Micrograph, MicrographState
from cryoppp_annotator.model.pickfile import MicrographPicks


def picks(x, y, *, decision=None, score=None, diameter=100.0, name="m", pixel=1.5, header=1.5, **facts):
    n = len(x)
    return MicrographPicks(
        Micrograph(1, name, f"{name}.mrc", 1000, 800, header, **facts),
        pixel,
        np.asarray(x, float),
        np.asarray(y, float),
        np.full(n, diameter),
        np.full(n, np.nan) if score is None else np.asarray(score, float),
        np.zeros(n, np.int8) if decision is None else np.asarray(decision, np.int8),
        np.zeros(n, np.int32),
    )


def rules(findings):
    return {f.rule: f.rows for f in findings}


def test_clean_picks_are_left_in_peace():
    assert lint_micrograph(picks([200, 400, 600], [300, 300, 300])) == []


def test_overlaps_keep_the_better_pick():
    here = picks([200, 200.4, 500, 530], [300, 300, 300, 300], score=[0.1, 0.9, 0.9, 0.1])
    findings = rules(lint_micrograph(here))
    assert findings == {"duplicate": (0,), "near-duplicate": (3,)}
    accepted = picks([200, 200.4], [300, 300], score=[0.1, 0.9], decision=[Decision.ACCEPTED, Decision.UNDECIDED])
    assert rules(lint_micrograph(accepted)) == {"duplicate": (1,)}


def test_a_chain_of_picks_gives_up_no_more_than_it_must():
    # 0 and 2 are far enough apart: only the one between them goes
    here = picks([200, 240, 280], [300, 300, 300], score=[0.9, 0.1, 0.8])
    assert rules(lint_micrograph(here)) == {"near-duplicate": (1,)}


def test_rejected_picks_are_not_looked_at_and_rows_are_those_of_the_input():
    here = picks([200, 200, 200.3], [300, 300, 300], decision=[Decision.REJECTED, 0, 0])
    assert rules(lint_micrograph(here)) == {"duplicate": (2,)}


def test_edges_and_padding():
    here = picks([-3, 40, 500, 500, 930], [200, 400, 790, 400, 400])
    findings = lint_micrograph(here, padding=(0, 0, 0, 30))
    assert rules(findings) == {"out-of-bounds": (0,), "edge-clipped": (1, 2, 4)}
    assert {f.mend for f in findings} == {Mend.REJECT_EDGE}
    assert rules(lint_micrograph(here, box_size_px=20)) == {"out-of-bounds": (0,), "edge-clipped": (2,)}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_pick_beside_its_particle_is_found(sign):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:400, :500]
    x, y = np.array([100.0, 250, 400, 120, 300]), np.array([100.0, 120, 90, 300, 290])
    density = np.zeros((400, 500))
    for cx, cy in zip(x, y, strict=True):
        density += np.hypot(rows - cy, columns - cx) < 20
    density = (sign * density + rng.normal(0, 0.3, density.shape)).astype(np.float32)
    picked_x = x + np.array([0, 0, 14, 0, 0])
    findings = lint_micrograph(picks(picked_x * 2, y * 2, diameter=80.0), density=density, step=2.0)
    assert rules(findings) == {"off-centre": (2,)}
    shift = centroid_offsets(density, picked_x, y, 40.0)
    np.testing.assert_allclose(shift[2], [-14, 0], atol=3)


def test_sizes_and_counts():
    usual = [picks(np.linspace(100, 900, 40), np.full(40, 400.0), name=f"m{i}") for i in range(8)]
    odd = picks(np.linspace(100, 900, 400), np.linspace(100, 700, 400), name="odd")
    nothing = picks([], [], name="nothing")
    empty = picks([], [], name="empty", state=MicrographState.EMPTY)
    doubtful = picks(np.arange(40.0), np.arange(40.0), name="doubtful", pixel=1.0, header=1.0)
    other = picks(np.arange(40.0), np.arange(40.0), name="other", pixel=3.0, header=1.5, diameter=100.0)
    findings = [(f.rule, f.micrograph) for f in lint_set([*usual, odd, nothing, empty, doubtful, other])]
    assert ("count-outlier", "odd") in findings
    assert ("no-picks", "nothing") in findings
    assert ("no-picks", "empty") not in findings
    assert ("pixel-size", "doubtful") in findings
    assert ("pixel-size", "other") in findings
    assert ("diameters", "") in findings
    assert lint_set(usual) == []


@pytest.mark.parametrize("diameter", [3.0, 500.0])
def test_a_ring_no_particle_can_fill(diameter):
    assert [f.rule for f in lint_set([picks([400.0], [400.0], diameter=diameter)])] == ["pixel-size"]


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=30), st.integers(0, 5))
def test_after_the_mend_no_overlap_is_left(places, seed):
    x, y = (np.array([p[k] for p in places], float) for k in (0, 1))
    here = picks(x + 300, y + 300, score=np.random.default_rng(seed).random(len(x)))
    drop = {row for f in lint_micrograph(here) if f.mend is Mend.REJECT_OVERLAP for row in f.rows}
    left = here.take(np.array([i for i in range(len(x)) if i not in drop], int))
    assert not [f for f in lint_micrograph(left) if f.mend is Mend.REJECT_OVERLAP]


def test_worse_of_is_certain():
    here = picks([1, 1, 1], [1, 1, 1])
    assert worse_of(here, np.array([[0, 1], [1, 2], [0, 2]])) == [1, 2]
