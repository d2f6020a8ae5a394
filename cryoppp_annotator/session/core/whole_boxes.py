"""Whether only picks are wanted whose box lies whole in the micrograph, and of which size: a setting of the project.

Programs that cut boxes drop those that stick out (cryoSPARC, EMAN2), so that labels made with them end half a box from
the edge; what a picker proposes beyond is of no use there.
"""

from __future__ import annotations

import math

from ...errors import Refused
from ...imaging.patches import box_for
from . import edits
from .session import Session

_KEY = "whole_box_px"


def whole_box_px(session: Session) -> float:
    """Side of the box that must not stick out, px of the micrograph; 0 = nobody asked for one."""
    try:
        value = float(session.settings.get(_KEY) or 0.0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def set_whole_box_px(session: Session, box_px: float) -> None:
    """Say it (0 = picks may lie anywhere), as one step that can be undone. Raises Refused for an impossible size."""
    if not (math.isfinite(box_px) and 0 <= box_px < 1e5):
        raise Refused(f"a box of {box_px:g} px makes no sense")
    if box_px == whole_box_px(session):
        return
    title = f"propose whole boxes of {box_px:g} px only" if box_px else "propose up to the edge"
    change = edits.set_setting(_KEY, session.settings.get(_KEY), f"{box_px:g}", title)
    if change is not None:
        session.insert(change)


def suggested_px(session: Session) -> int:
    """One and a half diameters of the project's particle, in px of the current micrograph."""
    micrograph = session.current or (session.micrographs[0] if session.micrographs else None)
    pixel_A = session.pixel_size_A(micrograph) if micrograph is not None else 1.0
    return box_for(min(max(session.diameter_A / pixel_A, 1.0), 6e4))
