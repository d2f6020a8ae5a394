"""The micrograph on the screen: one Image layer whose data are swapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from ...model.micrograph import Micrograph
from ...model.picture import Picture
from .styles import silence

NAME = "micrograph"
#: Width of the line between raw and denoised, share of the picture's.
_DIVIDER = 1 / 400


class PictureLayer:
    """One Image layer that shows a :class:`Picture` in micrograph coordinates.

    Parameters
    ----------
    viewer : ViewerModel
    units : str
        World units to begin with: napari warns of a layer that differs from the others.
    """

    def __init__(self, viewer: ViewerModel, units: str = "pixel") -> None:
        self._viewer = viewer
        self.layer = Image(
            np.zeros((2, 2), np.float32), name=NAME, colormap="gray", interpolation2d="linear", units=(units,) * 2
        )
        silence(self.layer)
        viewer.add_layer(self.layer)
        #: Contrast chosen by the curator for each kind of picture, as shares of the picture's own range.
        self.contrasts: dict[str, tuple[float, float]] = {}
        #: Which kind is shown.
        self.kind = ""
        #: Called when the curator has chosen another contrast.
        self.on_contrast: Callable[[], object] = lambda: None
        self.picture: Picture | None = None
        self._shape = (0, 0)
        self._raw: Picture | None = None
        self._left: NDArray[np.float32] | None = None  # what the raw half looks like, beside the denoised pixels
        self._split = 0  # column of the divider, picture px
        viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Take the layer out of the viewer."""
        if self._on_move in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._on_move)
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    @property
    def alive(self) -> bool:
        """Whether the layer is still in the viewer."""
        return self.layer in self._viewer.layers

    def show(
        self,
        picture: Picture,
        micrograph: Micrograph,
        scale: float,
        units: str,
        *,
        raw: Picture | None = None,
        kind: str = "",
    ) -> None:
        """Show a picture.

        Parameters
        ----------
        scale : float
            World units per micrograph pixel.
        raw : Picture, optional
            Shown to the left of a divider that follows the pointer, in the contrast of its own limits; in the middle
            until it moves.
        kind : str
            Raw or denoised: each has a contrast of its own.
        """
        self.kind = kind
        layer = self.layer
        step = (picture.step[0] * scale, picture.step[1] * scale)
        if picture is self.picture and raw is self._raw and np.allclose(layer.scale, step) and layer.visible:
            return
        if self._raw is None:  # the pointer is on the button that was pressed, beyond the right edge
            self._split = 0
        self.picture, self._raw = picture, raw
        self._left = None if raw is None else _as_seen_beside(raw, picture)
        self._split = min(self._split or picture.pixels.shape[1] // 2, picture.pixels.shape[1])
        with layer.events.blocker_all():
            layer.data = picture.pixels if self._left is None else self._composed()
        low, high = picture.limits
        layer.contrast_limits_range = (low - (high - low), high + (high - low))
        self._apply_contrast()
        if not np.allclose(layer.scale, step):
            layer.scale = step
        if str(layer.units[-1]) != units:
            layer.units = (units, units)
        layer.visible = True
        layer.refresh()
        layer.events.data(value=layer.data)
        self._shape = (micrograph.height, micrograph.width)

    def place(self, scale: float, units: str) -> None:
        """Set world units per micrograph px of the picture that is shown."""
        if self.picture is None:
            return
        step = (self.picture.step[0] * scale, self.picture.step[1] * scale)
        if not np.allclose(self.layer.scale, step):
            self.layer.scale = step
        if str(self.layer.units[-1]) != units:
            self.layer.units = (units, units)

    @property
    def split(self) -> int | None:
        """Column of the divider, picture px; None where there is none."""
        return None if self._left is None else self._split

    def move_split(self, column: int) -> None:
        """Put the divider at a column (picture px): only what changes sides is copied."""
        if self.picture is None or self._left is None:
            return
        data, pixels, line = self.layer.data, self.picture.pixels, self._line
        column = int(np.clip(column, 0, pixels.shape[1]))
        if column == self._split:
            return
        low, high = sorted((column, self._split))
        between = slice(low, min(high + line, pixels.shape[1]))
        data[:, between] = (self._left if column > self._split else pixels)[:, between]
        data[:, high : high + line] = pixels[:, high : high + line]
        self._split = column
        data[:, column : column + line] = self.picture.limits[1]
        self.layer.refresh()

    def halve(self) -> None:
        """Put the divider in the middle: there is no pointer that it could follow."""
        if self.picture is not None:
            self.move_split(self.picture.pixels.shape[1] // 2)

    @property
    def _line(self) -> int:
        """Width of the divider, picture px."""
        return 1 if self.picture is None else max(1, round(_DIVIDER * self.picture.pixels.shape[1]))

    def _composed(self) -> NDArray[np.float32]:
        assert self.picture is not None
        assert self._left is not None
        data = self.picture.pixels.copy()
        data[:, : self._split] = self._left[:, : self._split]
        data[:, self._split : self._split + self._line] = self.picture.limits[1]
        return data

    def _on_move(self, _viewer: Any, event: Any) -> None:
        if self._left is not None:
            self.move_split(round(float(event.position[-1]) / float(self.layer.scale[-1])))

    def blank(self) -> None:
        """Show nothing (the micrograph cannot be read)."""
        self.picture = self._raw = self._left = None
        if self.layer.visible:  # napari arranges all its layers anew, also where nothing changes
            self.layer.visible = False

    @property
    def contrast(self) -> tuple[float, float]:
        """Contrast of the kind that is shown, shares of the picture's own range; (0, 1) = automatic."""
        return self.contrasts.get(self.kind, (0.0, 1.0))

    def set_contrast(self, low: float, high: float) -> None:
        """Set the contrast of the kind that is shown, as shares of the automatic range, -1 .. 2."""
        self.contrasts[self.kind] = (low, max(high, low + 0.01))
        self._apply_contrast()
        self.on_contrast()

    def _apply_contrast(self) -> None:
        if self.picture is None:
            return
        low, high = self.picture.limits
        width = high - low
        limits = (low + self.contrast[0] * width, low + self.contrast[1] * width)
        if tuple(self.layer.contrast_limits) != limits:
            self.layer.contrast_limits = limits


def _as_seen_beside(raw: Picture, other: Picture) -> NDArray[np.float32]:
    """The raw picture at the pixels of another, its limits mapped on the other's so that one contrast serves both."""
    rows, columns = (
        np.clip(np.round(np.arange(n) * step / own).astype(np.intp), 0, limit - 1)
        for n, step, own, limit in zip(other.pixels.shape, other.step, raw.step, raw.pixels.shape, strict=True)
    )
    pixels = raw.pixels[rows[:, None], columns[None]]
    low, high = raw.limits
    pixels = (pixels - np.float32(low)) * np.float32((other.limits[1] - other.limits[0]) / (high - low))
    return np.asarray(pixels + np.float32(other.limits[0]), np.float32)
