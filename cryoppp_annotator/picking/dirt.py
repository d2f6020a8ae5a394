"""Finding carbon, ice, contamination and aggregates on a micrograph, from a copy with twelve pixels to a particle.

What is much darker than the field it lies in, at the scale of a particle and of half a particle, and not one of many
alike (those are the particles), or wider than a particle and a little darker, is outlined at its steepest edge. What a
dark rim cuts off from the field belongs to it: in micrographs without low frequencies (denoised ones) carbon is dark
along its edge only. What has much more detail than particles have is an aggregate, unless it is evenly dark.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure, segmentation

from ..errors import EngineError
from ..imaging.contrast import interior, robust_location, sample_pixels
from ..imaging.denoise import diameter_px
from ..imaging.filters import box_reduce, find_padding
from ..model.context import JobContext
from ..model.curation import Reason
from ..model.region import Region
from .dirt_cues import FloatImage, Mask, below_field, clumps, detail, each_part, grown, touching, wide_and_dark
from .dirt_kind import GROW, aggregate_in, has_rim, shape_of

_QUIET = JobContext()
# scikit-image has no types
_measure: Any = measure
_segmentation: Any = segmentation
#: Working pixels per particle diameter.
_PER_DIAMETER = 12.0
#: Most working pixels along a side.
_MOST_SIDE = 512
#: Smoothing for the outline of a thing, diameters.
_FINE = 0.12
#: Smoothing that small things are looked for with, diameters.
_SMALL = 0.25
#: Smoothing that large things are looked for with, diameters.
_LARGE = 0.5
#: Darker than any particle: small things, robust s.d. of what is brighter than the field.
_SMALL_DEPTH = 12.0
#: Darker than any particle: large things, robust s.d. of what is brighter than the field.
_LARGE_DEPTH = 11.0
#: Between its pieces a thing goes on where it is darker than this share of its darkest nearby ...
_RIM_SHARE = 0.3
#: ... and darker than this, robust s.d.
_RIM_DEPTH = 4.0
#: Less dark than this is field for sure, with the smoothing for small things, robust s.d.
_FIELD_SMALL = 3.0
#: Less dark than this is field for sure, with the smoothing for large things, robust s.d.
_FIELD_LARGE = 2.5
#: Working pixels along the edge that are not looked at: cameras have dark lines there.
_TRIM = 2
#: The steepest edge is looked for so near, diameters.
_AROUND = 2.0
#: A pale thing ends within this distance of where it is half as dark, diameters.
_PALE_REACH = 0.3
#: A pale thing has no corner that a disc of this radius does not fill, diameters.
_PALE_ROUND = 0.6
#: So many things of like size and darkness are particles, whatever diameter was given.
_ALIKE = 5
#: Ratio of two sizes, or of two darknesses, from which they are alike.
_LIKENESS = 0.72
#: Largest particle among things that are alike, diameters.
_LARGEST_PARTICLE = 5.0
#: Largest cluster of such particles, times the size of one.
_CLUSTER = 4.0
#: Such a cluster is less dark than one particle divided by this.
_CLUSTER_LIKENESS = 0.5
#: What is no wider than this, diameters, may be a single particle.
_SINGLE = 1.3
#: Dirt is at least this many times darker than the dark spots of particles are.
_DARKER = 2.0
#: The darkness of such spots is this percentile of all spots.
_MOST = 85
#: What is larger (diameters^2) is no such spot.
_WIDE = 4.0
#: An aggregate is more than this share of the thing that it is part of ...
_MOSTLY = 0.5
#: ... or the thing is larger than this, square diameters ...
_SEVERAL = 2.5
#: ... and has at least this many times the median detail.
_BUSY = 2.5
#: Longest deviation of the polygon from the outline, working pixels.
_DEVIATION = 0.8
#: A smaller thing is noise, square diameters.
_LEAST_AREA = 0.04


def find_regions(
    image: NDArray[Any],
    *,
    pixel_size_A: float | None,
    diameter_A: float | None,
    bright: bool = False,
    context: JobContext = _QUIET,
) -> list[Region]:
    """Carbon, ice, contamination and aggregates.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        Raw or denoised; not modified. NaN is taken for field.
    pixel_size_A, diameter_A : float or None
        What the particles measure; a usual size where either is not known.
    bright : bool
        Particles, and so carbon and ice, are brighter than their surroundings.
    context : JobContext

    Returns
    -------
    list of Region
        Largest first, apart from one another; ``CARBON``, ``AGGREGATE`` (made of particles) or ``ICE`` (crystals,
        contamination and all else that is compact). Polygons of at most some hundred corners, reaching to the image's
        edge where they are cut by it.

    Raises
    ------
    EngineError
        The image is empty or not 2-D.
    Cancelled
    """
    if image.ndim != 2 or image.size == 0 or image.dtype.kind not in "biuf":
        raise EngineError(f"expected a micrograph, not {image.dtype} of shape {image.shape}")
    context.check()
    diameter = diameter_px(max(image.shape), pixel_size_A, diameter_A)
    padding = find_padding(image)
    top, bottom, left, right = padding
    inner = interior(image, padding)
    if inner.shape != (image.shape[0] - top - bottom, image.shape[1] - left - right):
        top = left = 0
    factor = max(1, round(diameter / _PER_DIAMETER), math.ceil(max(inner.shape) / _MOST_SIDE))
    small = _reduced(inner, factor, bright)
    context.check()
    if min(small.shape) < 24 + 2 * _TRIM:
        return []
    small = small[_TRIM:-_TRIM, _TRIM:-_TRIM]
    parts = _dirt(small, diameter / factor)
    context.check()
    limits = (top - 0.5, left - 0.5, top + inner.shape[0] - 0.5, left + inner.shape[1] - 0.5)
    first = (top + _TRIM * factor, left + _TRIM * factor)
    regions = [region for part, reason in parts if (region := _region(part, reason, factor, first, limits)) is not None]
    return sorted(regions, key=lambda region: -region.area)


def _reduced(image: NDArray[Any], factor: int, bright: bool) -> FloatImage:
    """Shrunk copy without hot pixels and NaN, dark things dark."""
    values = sample_pixels(image)
    median, spread = robust_location(values)
    low, high = np.percentile(values, (0.05, 99.95)) if values.size else (0.0, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = image.astype(np.float32)
        np.clip(pixels, min(low, median - 8 * spread), max(high, median + 8 * spread), out=pixels)
    pixels = np.ascontiguousarray(pixels)
    small = box_reduce(pixels, factor)
    if np.isnan(small).any():
        small = box_reduce(np.nan_to_num(pixels, copy=False, nan=median), factor)
    return -small if bright else small


def _dirt(small: FloatImage, diameter: float) -> list[tuple[Mask, Reason]]:
    """Things that are no field and no particle, and what each is; ``diameter`` in px of ``small``."""
    smooth = [ndimage.gaussian_filter(small, share * diameter) for share in (_FINE, _SMALL, _LARGE)]
    fine, medium, coarse = (below_field(picture) for picture in smooth)
    strength = detail(smooth[0], smooth[2], diameter)
    dark, wide = _dark(medium, coarse, diameter), wide_and_dark(small, strength, diameter)
    pale = wide & ~touching(wide, dark)
    field = (coarse > -_FIELD_LARGE) & (medium > -_FIELD_SMALL) & ~dark & ~pale
    dirt = np.zeros(small.shape, bool)
    if dark.any() or pale.any():
        steepness = ndimage.gaussian_gradient_magnitude(fine, max(0.5, 0.1 * diameter))
        markers = np.where(dark, 2, np.where(pale, 3, np.where(field, 1, 0)))
        basin = _segmentation.watershed(steepness, markers, mask=grown(dark | pale, _AROUND * diameter))
        # the steepest edge around a pale thing may be that of a particle beside it
        pale = (basin == 3) & grown(pale, _PALE_REACH * diameter)
        reach = _PALE_ROUND * diameter
        dirt = (basin == 2) | grown(~grown(~pale, reach), reach) if pale.any() else basin == 2
        dirt = _without_particles(dirt, wide, medium, diameter)

    clumped = np.zeros(small.shape, bool)
    busy = strength > _BUSY * float(np.median(strength))
    for window, clump in each_part(clumps(strength, diameter), diameter):
        clumped[window] |= aggregate_in(clump, fine[window], medium[window], diameter)
    dirt |= clumped
    if not dirt.any():
        return []
    dirt = _with_what_is_cut_off(dirt, diameter)
    dirt_parts = []
    for window, part in each_part(dirt, 2.0 * diameter):
        whole = np.zeros(small.shape, bool)
        whole[window] = part
        reason = shape_of(whole, diameter)
        carbon = reason is Reason.CARBON
        made_of_particles = clumped[window][part].mean() > _MOSTLY or (
            part.sum() > _SEVERAL * diameter**2
            and busy[window][part].mean() > _MOSTLY
            and bool(aggregate_in(part, fine[window], medium[window], diameter).any())
        )
        if made_of_particles and not carbon:
            dirt_parts.append((whole, Reason.AGGREGATE))
        elif part.sum() > _LEAST_AREA * diameter**2 and has_rim(
            part, dirt[window], fine[window], diameter, carbon=carbon
        ):
            dirt_parts.append((whole, reason))
    return dirt_parts


def _dark(medium: FloatImage, coarse: FloatImage, diameter: float) -> Mask:
    """Insides of what is darker than any particle."""
    label, _ = ndimage.label(coarse < -_RIM_DEPTH)
    wide = np.isin(label, np.flatnonzero(np.bincount(label.ravel()) > _WIDE * diameter**2)) & (label > 0)
    seed = medium < -_limit(medium, _SMALL_DEPTH, wide, diameter)
    seed |= coarse < -_limit(coarse, _LARGE_DEPTH, wide, diameter)
    if not seed.any():
        return seed
    # darker than half of the darkest nearby, so that the halo does not count
    deepest = ndimage.minimum_filter(medium, size=2 * round(0.75 * diameter) + 1)
    core = (medium < 0.5 * deepest) & (medium < -_FIELD_SMALL) & grown(seed, 0.5 * diameter)
    core = touching(core, seed)
    return _linked(core, (medium < _RIM_SHARE * deepest) & (coarse < -_RIM_DEPTH), diameter)


def _limit(below: FloatImage, least: float, wide: Mask, diameter: float) -> float:
    """Darkness that no particle reaches, robust s.d.: by the dark spots there are, most of which are particles."""
    spots = _spots(below, wide, diameter)
    return max(least, _DARKER * -float(np.percentile(spots, 100 - _MOST))) if len(spots) > 20 else least


def _without_particles(dirt: Mask, wide: Mask, medium: FloatImage, diameter: float) -> Mask:
    """Spare things of like size and like darkness, and clusters of them: those are dark particles, few or many."""
    label, n_all = ndimage.label(dirt)
    numbers = np.setdiff1d(np.arange(1, n_all + 1), label[wide])
    n = len(numbers)
    if not n:
        return dirt
    size = np.sqrt(np.atleast_1d(ndimage.sum_labels(dirt, label, numbers)))
    depth = -np.atleast_1d(ndimage.minimum(medium, label, numbers))
    alike = np.ones((n, n), bool)
    for value in (size, depth):
        ratio = value[:, None] / value[None]
        alike &= (ratio > _LIKENESS) & (ratio < 1.0 / _LIKENESS)
    # a particle that is just dark enough has many alike that are not
    small = size < _SINGLE * diameter
    spots = _spots(medium, np.isin(label, np.setdiff1d(np.arange(1, n_all + 1), numbers[small])) & dirt, diameter)
    spared = small & ((spots[None] < -_LIKENESS * depth[:, None]).sum(axis=1) >= _ALIKE)
    group = (alike.sum(axis=1) >= _ALIKE) & (size < _LARGEST_PARTICLE * diameter)
    if group.any():
        spared |= (depth < np.median(depth[group]) / _CLUSTER_LIKENESS) & (size < _CLUSTER * np.median(size[group]))
    return np.asarray(dirt & ~np.isin(label, numbers[spared]))


def _spots(below: FloatImage, without: Mask, diameter: float) -> FloatImage:
    """Values (n,) at the dark spots of ``below``, most of which are particles; not of those in ``without``."""
    lowest = below == ndimage.minimum_filter(below, size=2 * round(0.4 * diameter) + 1)
    return np.asarray(below[lowest & ~without])


def _with_what_is_cut_off(dirt: Mask, diameter: float) -> Mask:
    """Add what dark rims cut off from the field, and holes; smooth the outline and grow it a little."""
    margin = round(3 * diameter)
    wide = np.pad(dirt, margin, mode="edge")
    wide = ~grown(~grown(wide, 0.5 * diameter), 0.5 * diameter)
    closed = wide[margin:-margin, margin:-margin] | dirt
    label, n = ndimage.label(~closed)
    if n > 1:
        size = np.bincount(label.ravel())
        size[0] = 0
        closed = closed | (label != size.argmax())
    opened = grown(~grown(~closed, 0.1 * diameter), 0.1 * diameter) if diameter >= 10 else closed
    return grown(opened, GROW * diameter)


def _linked(core: Mask, bridge: Mask, diameter: float) -> Mask:
    """``core`` and what of ``bridge`` joins its pieces, or leads one of them to the image's edge: a rim that fades."""
    pieces, _ = ndimage.label(core)
    joined, n = ndimage.label(core | bridge)
    pairs = np.unique(np.column_stack([joined[core], pieces[core]]), axis=0)
    kept = np.bincount(pairs[:, 0], minlength=n + 1) > 1
    ends = bridge & ~grown(core, diameter)
    ends[1:-1, 1:-1] = False
    kept[np.intersect1d(joined[ends], pairs[:, 0])] = True
    return np.asarray(core | kept[joined])


def _region(
    part: Mask, reason: Reason, factor: int, first: tuple[int, int], limits: tuple[float, float, float, float]
) -> Region | None:
    """The outline of one part in canonical px; ``first``: centre of its first pixel, ``limits``: the image's edges."""
    outlines = _measure.find_contours(np.pad(part, 1).astype(np.float32), 0.5)
    if not outlines:
        return None
    outline = _measure.approximate_polygon(max(outlines, key=len), _DEVIATION)[:-1] - 1.0
    if len(outline) < 3:
        return None
    vertices = outline * factor + first
    for axis in (0, 1):
        low, high, last = limits[axis], limits[axis + 2], part.shape[axis] - 1
        vertices[outline[:, axis] <= 0.0, axis] = low
        vertices[outline[:, axis] >= last, axis] = high
    return Region(reason, vertices)
