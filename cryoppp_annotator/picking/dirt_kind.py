"""What a thing that lies on a micrograph is: carbon, ice, an aggregate, or nothing but thicker ice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..model.curation import Reason
from .dirt_cues import FloatImage, Mask, depth_in, grown

#: Regions reach so much further than what was seen, diameters.
GROW = 0.15
#: Carbon is cut by an edge of the image over at least this length, diameters.
_CARBON_EDGE = 4.0
#: Carbon is cut by a corner of the image over at least this length, diameters.
_CARBON_CORNER = 1.5
#: A ball that is cut by the edge bulges into the field by more than this share of where it is cut.
_BULGE = 0.15
#: A pixel of a clump is dark below this, robust s.d. from the field.
_FIELD = -3.0
#: A pixel of a clump is dark below this share of the clump's darkest.
_FLANK = 0.25
#: What a clump surrounds within this distance belongs to it, diameters.
_CLOSE = 0.4
#: Gaps of an aggregate are looked for at least this far inside it, diameters.
_INSIDE = 0.35
#: A gap is less dark than this share of the aggregate's darkest tenth.
_GAP = 0.5
#: Fewest gaps of an aggregate.
_FEW = 2
#: Fewest gaps of an aggregate in a square diameter.
_GAPS = 1.2
#: An aggregate reaches so much further than its dark, diameters.
_SKIRT = 0.2
#: Things as wide as this (diameters from rim to middle) need a rim ...
_RIM_WIDE = 0.5
#: ... across which the grey changes: between this near on either side, diameters ...
_RIM_NEAR = 0.45
#: ... and from there to this far, diameters ...
_RIM_FAR = 1.5
#: ... by at least this share of the whole step ...
_RIM_SHARE = 0.3
#: ... and by at least this, robust s.d. ...
_RIM_STEP = 1.7
#: ... or by this, robust s.d., where it is taken for carbon.
_RIM_CARBON = 2.8


def aggregate_in(clump: Mask, fine: FloatImage, medium: FloatImage, diameter: float) -> Mask:
    """What of a place full of detail is made of particles: there are gaps between them, where ice is dark throughout.

    Parameters
    ----------
    clump : (h, w) bool
        One part of :func:`.dirt_cues.clumps`.
    fine, medium : (h, w) float32
        Darkness, negative on dark things, at an eighth and a quarter of a diameter.
    diameter : float

    Returns
    -------
    (h, w) bool
        Nothing where it is ice.
    """
    dark = clump & (medium < min(_FIELD, _FLANK * float(medium[clump].min())))
    if not dark.any():
        return dark
    reach = _CLOSE * diameter
    dark = np.asarray(ndimage.binary_fill_holes(clump & ~grown(~grown(dark, reach), reach)))
    depth = depth_in(dark)
    inside = depth > min(_INSIDE * diameter, 0.5 * float(depth.max()))
    _, gaps = ndimage.label(inside & (fine > _GAP * float(np.percentile(fine[inside], 10))))
    if gaps < _FEW or gaps * diameter**2 < _GAPS * float(inside.sum()):
        return np.zeros_like(dark)
    return np.asarray(clump & grown(dark, _SKIRT * diameter))


def has_rim(part: Mask, neighbours: Mask, fine: FloatImage, diameter: float, *, carbon: bool) -> bool:
    """Whether a wide thing has an edge: ice that gets thicker has none.

    Parameters
    ----------
    part, others : (h, w) bool
        The thing and all things.
    fine : (h, w) float32
        Darkness, little smoothed, negative on dark things.
    diameter : float
    carbon : bool
        By its shape it is carbon.
    """
    depth = depth_in(part)
    if float(depth.max()) < _RIM_WIDE * diameter:
        return True
    # how far outside the rim each pixel is; regions reach a little over it
    outside = np.where(part, -depth, ndimage.distance_transform_edt(~part)) / diameter + GROW
    apart = part | ~neighbours
    fine = np.minimum(fine, 0.0)  # a bright fringe on its own is no rim
    grey = []
    for low, high in ((0, _RIM_NEAR), (-_RIM_NEAR, 0), (_RIM_NEAR, _RIM_FAR), (-_RIM_FAR, -_RIM_NEAR)):
        band = (outside > low) & (outside <= high) & apart
        if not band.any():
            return True
        grey.append(float(fine[band].mean()))
    outer, inner, beyond, within = grey
    return outer - inner > max(_RIM_CARBON if carbon else _RIM_STEP, _RIM_SHARE * (beyond - within))


def shape_of(part: Mask, diameter: float) -> Reason:
    """Carbon comes from the edge of the image and bends round the hole, or not at all; all else is ice or dirt."""
    frame = np.zeros_like(part)
    frame[[0, -1]] = frame[:, [0, -1]] = True
    on_edge = part & frame
    corner = bool(part[:: part.shape[0] - 1, :: part.shape[1] - 1].any())
    if on_edge.sum() < (_CARBON_CORNER if corner else _CARBON_EDGE) * diameter:
        return Reason.ICE
    rim = np.argwhere(part & ~ndimage.binary_erosion(part, border_value=1)).astype(np.float64)
    last = np.subtract(part.shape, 1)
    ends = rim[((rim == 0) | (rim == last)).any(axis=1)]
    if len(ends) < 2:  # it goes all round
        return Reason.CARBON
    start = ends[np.argmax(np.hypot(*(ends - ends[0]).T))]
    end = ends[np.argmax(np.hypot(*(ends - start).T))]
    chord = end - start
    length = max(1.0, float(np.hypot(*chord)))
    normal = np.array([-chord[1], chord[0]]) / length
    if float(((np.argwhere(on_edge) - start) @ normal).mean()) > 0:
        normal = -normal  # into the field
    return Reason.ICE if float(((rim - start) @ normal).max()) > _BULGE * length else Reason.CARBON
