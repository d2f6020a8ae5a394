"""How many particles nobody picked: the interval covers the truth, whatever the particles differ by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.audit.completeness import completeness

N = 800
Ease = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def shared(draw: Callable[[np.random.Generator], np.ndarray]) -> Ease:
    """What is hard for one set is as hard for the other."""

    def ease(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        both = draw(rng)
        return both, 0.95 * both

    return ease


@pytest.mark.parametrize(
    ("ease", "equal"),
    [
        (lambda rng: (np.full(N, 0.8), np.full(N, 0.7)), True),
        (lambda rng: (np.full(N, 0.5), np.full(N, 0.9)), True),
        (shared(lambda rng: rng.beta(4.0, 1.3, N)), False),
        (shared(lambda rng: rng.uniform(0.3, 1.0, N)), False),
        (shared(lambda rng: np.where(rng.random(N) < 0.8, 0.95, 0.4)), False),
    ],
    ids=["equal", "one set better", "few are hard", "evenly spread", "two kinds"],
)
def test_the_interval_covers_the_truth_in_ninety_of_a_hundred(ease: Ease, equal: bool) -> None:
    rng = np.random.default_rng(7)
    estimates = []
    for _ in range(100):
        first, second = (rng.random(N) < share for share in ease(rng))
        estimate = completeness(int(first.sum()), int(second.sum()), int((first & second).sum()))
        assert estimate is not None
        assert estimate.n_seen == int((first | second).sum())
        estimates.append(estimate)
    assert sum(one.low <= N <= one.high for one in estimates) >= 90
    mean = np.mean([one.chapman for one in estimates])
    assert abs(mean - N) < 0.01 * N if equal else mean < 0.98 * N, "unequal particles make it too low, as is said"


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 5000))
def test_an_estimate_is_never_less_than_what_was_seen(only_first: int, only_second: int, both: int) -> None:
    estimate = completeness(only_first + both, only_second + both, both)
    assert estimate is not None
    assert estimate.n_seen <= estimate.low <= estimate.chapman + 1e-6
    assert estimate.chapman <= estimate.chao <= estimate.high
    assert 0.0 < estimate.share_seen <= 1.0


def test_sets_without_a_common_pick_say_nothing_and_nonsense_is_refused() -> None:
    assert completeness(10, 20, 0) is None
    with pytest.raises(ValueError, match="in common"):
        completeness(3, 9, 4)
