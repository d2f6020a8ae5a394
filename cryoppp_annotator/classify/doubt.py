"""When a classification found nothing, although it made classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Nats by which images must agree with averages they are no part of: below it classes are noise that was averaged.
LEAST_EVIDENCE = 1.0
#: Nats by which averages must explain images they are no part of better than their radial mean does.
LEAST_VIEW_GAIN = 1.0
#: Share of the images in one of several classes from which on they were hardly distinguished.
_MOST_IN_ONE = 0.7
#: Share of all images that the averages must explain.
_LEAST_MEMBERS = 0.02
_SEVERAL = 4
_ADVICE = "take more picks or fewer classes, and check diameter, contrast and pixel size"


def why_not(counts: Sequence[int], evidence: Sequence[float], view_gain: Sequence[float], total: int) -> str:
    """Why the classes are not to be relied on, one line; empty where nothing speaks against them.

    Parameters
    ----------
    counts : (k,) of int
        Members of each average.
    evidence : (k,) of float, nats
        Median over the members of each, under averages they are no part of.
    view_gain : (k,) of float, nats
        Median over the members of each, of how much better averages that they are no part of explain them than the
        radial mean of those does; NaN = not known.
    total : int
        Images in all, those of the empty and the outlier model too.
    """
    members = sum(counts)
    if not total:
        return "no pick could be classified"
    if members < _LEAST_MEMBERS * total:
        return f"no structure repeats in {total:,} picks: they look like empty ice, or are too noisy; {_ADVICE}"
    if _weighted_median(evidence, counts) < LEAST_EVIDENCE:
        return f"the classes are not reliable: picks agree with averages of others no better than noise does; {_ADVICE}"
    if len(counts) > 1 and _weighted_median(view_gain, counts) < LEAST_VIEW_GAIN:
        return f"views are not resolved: the averages share one envelope; {_ADVICE}"
    if len(counts) >= _SEVERAL and max(counts) > _MOST_IN_ONE * members:
        share = 100.0 * max(counts) / members
        return f"the classification separated few of the picks: {share:.0f} % of those in classes lie in one; {_ADVICE}"
    return ""


def _weighted_median(values: Sequence[float], weights: Sequence[int]) -> float:
    half, so_far = sum(weights) / 2.0, 0
    for value, weight in sorted(zip(values, weights, strict=True)):
        so_far += weight
        if so_far >= half:
            return value
    return 0.0


def doubt_of(
    label: NDArray[np.int32], support: NDArray[np.float32], view_gain: NDArray[np.float32], n_averages: int
) -> tuple[list[int], list[float], list[float]]:
    """What :func:`why_not` asks of each average: its members, their median support and their median gain.

    Parameters
    ----------
    label : (n,) int32
        Column of each image; -1 = not usable.
    support, view_gain : (n,) float32, nats
    n_averages : int
    """
    rows = [np.flatnonzero(label == column) for column in range(n_averages)]
    medians = [
        [float(np.median(values[mine])) if len(mine) else 0.0 for mine in rows] for values in (support, view_gain)
    ]
    return [len(mine) for mine in rows], medians[0], medians[1]
