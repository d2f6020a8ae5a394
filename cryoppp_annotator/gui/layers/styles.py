"""Colours of picks. Blue, yellow and red-orange are distinguished by colour-blind people; rejected is also thinner."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from numpy.typing import NDArray

from ...model.curation import Decision, Reason
from ...model.particles import Particles


class ColourBy(StrEnum):
    """What the colour of a ring says."""

    DECISION = "decision"
    SCORE = "score"
    CLASS = "class"
    SPECIES = "species"
    SET = "pick set"
    MAP = "3D"


HEX = {Decision.ACCEPTED: "#4C9BE8", Decision.UNDECIDED: "#F0C33C", Decision.REJECTED: "#E4572E"}
#: Regions: pink, green, brown and grey, distinguished from the rings and (by lightness too) from one another.
REGION_HEX = {Reason.CARBON: "#D678B6", Reason.ICE: "#2BD1A4", Reason.AGGREGATE: "#B07A3C", Reason.OTHER: "#C8C8C8"}
WORDS = {Decision.ACCEPTED: "accepted", Decision.UNDECIDED: "undecided", Decision.REJECTED: "rejected"}

#: Text on napari's dark and light themes, by how serious it is.
_INK = {"warning": ("#F0C33C", "#7A5200"), "error": ("#FF8A65", "#B3261E"), "note": ("#9AA0A8", "#5F6570")}

#: Ring width as a share of the diameter.
WIDTH = 0.05
#: The same of a rejected pick.
WIDTH_REJECTED = 0.022
#: Least and largest ring width on the screen, px.
WIDTH_PX = (1.9, 3.5)
#: The same of a rejected pick.
WIDTH_REJECTED_PX = (1.3, 2.0)
#: A selected ring is filled a little and wider; its colour goes on saying what was decided.
SELECTED_WIDTH = 1.5
#: White inside a selected ring, opacity.
SELECTED_FILL = 0.28
#: The same where the particle is large enough to be looked at.
SELECTED_FILL_LARGE = 0.10

#: Cividis at five places: readable with every kind of colour vision, and in print.
_SCORE_STOPS = np.array(
    [[0.0, 0.135, 0.305], [0.29, 0.35, 0.425], [0.49, 0.49, 0.47], [0.74, 0.67, 0.41], [0.995, 0.91, 0.14]]
)
#: Okabe and Ito's palette for classes.
_CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
_GREY = np.array([0.6, 0.6, 0.6, 1.0])
#: Log odds in 3D at the ends of the scale of colours: 50 to 1 against and for.
_ODDS = (-4.0, 4.0)


def ink(level: str, *, light: bool) -> str:
    """Colour of a text that is an ``error``, a ``warning`` or a ``note``; empty for plain text."""
    return _INK[level][light] if level in _INK else ""


#: Key of a layer's metadata.
_OURS = "cryoppp-annotator"


def silence(layer: Layer) -> None:
    """Mark a layer of ours, and keep napari's hints out of its status bar: they name number keys that reject here."""
    layer.metadata[_OURS] = True

    def hush(_event: object = None) -> None:
        layer.help = ""

    # after the others, who would take a hint for what is said now
    layer.events.help.connect(hush, position="last")
    hush()


def put_over(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer that only shows something; clicks and keys go on where they went."""
    active = viewer.layers.selection.active
    silence(layer)
    viewer.add_layer(layer)
    viewer.layers.selection.active = active


def take_away(viewer: ViewerModel, layer: Layer | None) -> None:
    """Take such a layer out of the viewer, where it still is there."""
    if layer is not None and layer in viewer.layers:
        viewer.layers.remove(layer)


def is_ours(layer: Layer) -> bool:
    """Whether the program made a layer: picture, picks, regions, or what a review shows."""
    return _OURS in layer.metadata


def rgba(text: str) -> NDArray[np.float64]:
    """(4,) float64 0 .. 1 of ``#RRGGBB``."""
    return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] + [1.0])


def colours(
    particles: Particles,
    by: ColourBy,
    score_range: tuple[float, float] | None = None,
    palette: Mapping[int, str] | None = None,
) -> NDArray[np.float64]:
    """(n, 4) float64 ring colours.

    Parameters
    ----------
    score_range : (low, high), optional
        Scores shown as the ends of the scale; those of the particles by default.
    palette : mapping of number to ``#RRGGBB``, optional
        Of species or pick sets; those without a colour are grey.
    """
    if by in (ColourBy.SPECIES, ColourBy.SET):
        numbers = particles.species if by is ColourBy.SPECIES else particles.pick_set
        return _by_number(numbers, palette or {})
    if by is ColourBy.MAP:
        return _by_score(particles.score, _ODDS)
    if by is ColourBy.SCORE:
        return _by_score(particles.score, score_range)
    if by is ColourBy.CLASS:
        table = np.array([_GREY, *(rgba(c) for c in _CLASS_COLOURS)])
        number = particles.class_id.astype(np.intp)
        return table[np.where(number > 0, 1 + (number - 1) % len(_CLASS_COLOURS), 0)]
    table = np.array([rgba(HEX[d]) for d in Decision])
    return table[particles.decision.astype(np.intp)]


def _by_number(numbers: NDArray[Any], palette: Mapping[int, str]) -> NDArray[np.float64]:
    out = np.tile(_GREY, (len(numbers), 1))
    for number, colour in palette.items():
        out[numbers == number] = rgba(colour)
    return out


def _by_score(score: NDArray[np.float64], limits: tuple[float, float] | None) -> NDArray[np.float64]:
    out = np.tile(_GREY, (len(score), 1))
    known = np.isfinite(score)
    if not known.any():
        return out
    low, high = limits or (float(np.nanmin(score)), float(np.nanmax(score)))
    share = np.clip((score[known] - low) / max(high - low, 1e-12), 0, 1)
    places = np.linspace(0, 1, len(_SCORE_STOPS))
    for channel in range(3):
        out[known, channel] = np.interp(share, places, _SCORE_STOPS[:, channel])
    return out


def widths(
    particles: Particles, ring_px: NDArray[np.float64], selected: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """(n,) float64 ring widths as a share of the diameter.

    Parameters
    ----------
    ring_px : (n,) float64
        Diameters of the rings on the screen, px: small rings stay visible, large ones do not become thick.
    selected : (n,) bool, optional
    """
    rings = np.maximum(ring_px, 1.0)
    normal = np.clip(WIDTH * rings, *WIDTH_PX)
    out = np.where(particles.decision == Decision.REJECTED, np.clip(WIDTH_REJECTED * rings, *WIDTH_REJECTED_PX), normal)
    if selected is not None:
        out = np.where(selected, SELECTED_WIDTH * out, out)
    return np.minimum(out / rings, 0.4)


def fills(ring_px: NDArray[np.float64], selected: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 4) float64 colours inside rings of (n,) screen px (see :func:`widths`), given a mask (n,) of the selected."""
    out = np.zeros((len(selected), 4))
    out[selected, :3] = 1.0
    out[selected, 3] = np.interp(ring_px[selected], (24.0, 64.0), (SELECTED_FILL, SELECTED_FILL_LARGE))
    return out
