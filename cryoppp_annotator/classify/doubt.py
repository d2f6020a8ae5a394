"""When a classification found nothing, although it made classes."""

from __future__ import annotations

from collections.abc import Sequence

#: Nats by which images must agree with averages they are no part of: below it classes are noise that was averaged.
LEAST_EVIDENCE = 1.0
#: Share of the images in one of several classes from which on they were hardly distinguished.
_MOST_IN_ONE = 0.7
#: Share of all images that the averages must explain.
_LEAST_MEMBERS = 0.02
_SEVERAL = 4
_ADVICE = "take more picks or fewer classes, and check diameter, contrast and pixel size"


def why_not(counts: Sequence[int], evidence: Sequence[float], total: int) -> str:
    """Why the classes are not to be relied on, one line; empty where nothing speaks against them.

    Parameters
    ----------
    counts : (k,) of int
        Members of each average.
    evidence : (k,) of float, nats
        Median over the members of each, under averages they are no part of.
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
