"""Regions where there is nothing to pick: drawn by a person, found by the machine, and what is done with picks in them.

What a person drew, changed, dismissed or decided is never touched by the machine.
"""

from .detecting import Detected, enter_found, find, found_deltas
from .drawing import draw, remove, reshape, set_reason, share_of
from .region_rows import of
from .rejecting import Inside, picks_inside, reject_inside, undecided_in

__all__ = [
    "Detected",
    "Inside",
    "draw",
    "enter_found",
    "find",
    "found_deltas",
    "of",
    "picks_inside",
    "reject_inside",
    "remove",
    "reshape",
    "set_reason",
    "share_of",
    "undecided_in",
]
