"""Regions drawn by a person: drawn, named, reshaped, deleted.

A found region that a person took away is kept as *dismissed*, so that the machine does not bring it back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from skimage import measure

from ...errors import Refused
from ...model.coordinates import FloatArray
from ...model.curation import Change, Reason
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.region import REGION_REASONS, Origin, Region, area_of, as_polygon, pack_vertices
from ..core import edits
from ..core.session import Session
from ..core.step import Outcome
from .region_rows import KIND, all_of, change_of, deletion, insertion, numbers_of, update

# scikit-image has no types
_measure: Any = measure
#: A drawn outline keeps the corners it needs to stay so near to the hand's, diameters.
_NEAR = 0.05


def draw(session: Session, vertices: ArrayLike, reason: Reason) -> Outcome:
    """Draw a region on the current micrograph.

    Parameters
    ----------
    vertices : (n, 2) float64, yx, canonical px
        As the hand drew it; corners that make no difference are left out.
    reason : Reason
        One of :data:`~cryoppp_annotator.model.region.REGION_REASONS`.

    Returns
    -------
    Outcome
        Its ``new_id`` is that of the region.

    Raises
    ------
    Refused
        No micrograph is open, or the outline holds nothing.
    """
    micrograph = session.current
    if micrograph is None:
        raise Refused("open a micrograph first")
    _refuse_reason(reason)
    diameter = session.settings.diameter_px(micrograph)
    outline = _outline(vertices, micrograph, diameter)
    message = Message("mark", "a region", f"as {reason.label}", f"on {micrograph.name}")
    region = Region(reason, outline, 0, micrograph.id, Origin.HAND)
    change = message.change(KIND, (insertion(session, [region]),), micrograph.id)

    return session.edit(lambda: change)


def _outline(vertices: ArrayLike, micrograph: Micrograph, diameter: float) -> FloatArray:
    """A hand's outline with few corners, inside the image. Raises Refused where it holds nothing."""
    try:
        outline = as_polygon(vertices)
    except ValueError as error:
        raise Refused(f"nothing was drawn: {error}") from error
    if micrograph.height and micrograph.width:
        outline = np.clip(outline, -0.5, (micrograph.height - 0.5, micrograph.width - 0.5))
    closed = np.vstack([outline, outline[:1]])
    simple = np.asarray(_measure.approximate_polygon(closed, max(0.5, _NEAR * diameter))[:-1], np.float64)
    if len(simple) < 3 or area_of(simple) < max(4.0, (0.1 * diameter) ** 2):
        raise Refused("nothing was drawn: the outline holds nothing of the micrograph")
    return simple


def _refuse_reason(reason: Reason) -> None:
    if reason not in REGION_REASONS:
        raise Refused(f"a region is {', '.join(r.label for r in REGION_REASONS)}, not {reason.label}")


def remove(session: Session, ids: ArrayLike) -> Outcome:
    """Take regions away: drawn ones are deleted, found ones are dismissed."""
    numbers = numbers_of(ids)

    def build() -> Change | None:
        chosen = [region for region in all_of(session, numbers) if region.origin is not Origin.DISMISSED]
        drawn = [region for region in chosen if region.origin is Origin.HAND]
        detected = [region for region in chosen if region.origin is Origin.FOUND]
        deltas = [deletion(drawn)] if drawn else []
        if detected:
            deltas.append(update(detected, {"origin": [Origin.DISMISSED.value]}))
        return change_of(session, Message("delete", edits.count_of(len(chosen), "region")), chosen, deltas)

    return session.edit(build)


def set_reason(session: Session, ids: ArrayLike, reason: Reason) -> Outcome:
    """Say what regions are; found ones are a person's from then on."""
    _refuse_reason(reason)
    numbers = numbers_of(ids)

    def build() -> Change | None:
        chosen = [r for r in all_of(session, numbers) if r.origin is not Origin.DISMISSED and r.reason is not reason]
        after: dict[str, list[Any]] = {"reason": [int(reason)], "origin": [Origin.HAND.value]}
        deltas = [update(chosen, after)] if chosen else []
        return change_of(
            session, Message("mark", edits.count_of(len(chosen), "region"), f"as {reason.label}"), chosen, deltas
        )

    return session.edit(build)


def reshape(session: Session, number: int, vertices: ArrayLike) -> Outcome:
    """Move the corners of a region; a found one is a person's from then on. Raises Refused as :func:`draw`."""

    def build() -> Change | None:
        chosen = all_of(session, np.array([number]))
        if not chosen:
            raise Refused("that region is not there any more")
        micrograph = session.micrograph(chosen[0].micrograph)
        outline = _outline(vertices, micrograph, session.settings.diameter_px(micrograph))
        text = pack_vertices(outline)
        if text == pack_vertices(chosen[0].vertices):
            return None
        delta = update(chosen, {"vertices": [text], "origin": [Origin.HAND.value]})
        return change_of(session, Message("move", "the corners of a region"), chosen, [delta])

    return session.edit(build)


def share_of(region: Region, micrograph: Micrograph) -> str:
    """How much of the micrograph it covers, as a person reads it: ``2.3 %``."""
    whole = micrograph.width * micrograph.height
    share = 100.0 * region.area / whole if whole else 0.0
    return f"{share:.1f} %" if share >= 0.1 else "below 0.1 %"
