"""The session's particles drawn as one Points layer, and edits made with napari's own tools turned into verbs.

The layer is a picture of the store: it is redrawn from the session after every change and never asked what is true.
Works with a ``ViewerModel``, without Qt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Points
from numpy.typing import NDArray

from ...errors import AnnotatorError
from ...model.curation import Decision, Reason
from ...model.particles import Particles
from ...model.species import next_colour
from ...session.core.focus import Focus
from .styles import ColourBy, colours, fills, silence, widths

NAME = "particles"
#: Words of the features, by number.
_DECISIONS = np.array([decision.name.lower() for decision in Decision], object)
_REASONS = np.array(["" if reason is Reason.NONE else reason.label for reason in Reason], object)
#: Opacity of picks that a moving threshold leaves below.
DIMMED = 0.13
#: Opacity of picks that are not of the chosen classes.
UNLIT = 0.3


#: Why nothing is edited while the picks are covered.
COVERED = "the picks are hidden: none is edited meanwhile"


class ParticlesLayer:
    """One Points layer that follows a session.

    Parameters
    ----------
    viewer : ViewerModel
    focus : Focus
    on_error : callable
        Gets one sentence when an edit made with napari's tools is refused.
    units : str
        World units to begin with.
    """

    def __init__(
        self, viewer: ViewerModel, focus: Focus, on_error: Callable[[str], None], units: str = "pixel"
    ) -> None:
        self._viewer = viewer
        self._focus = focus
        self._session = focus.session
        self._on_error = on_error
        self.colour_by = ColourBy.DECISION
        #: While a threshold moves: undecided picks with a lower score fade.
        self.dim_below: float | None = None
        #: Classes of picks (m,) in the run a panel shows, 0 = none; None (or no such panel) = as imported.
        self.class_of: Callable[[Particles], NDArray[np.int32] | None] | None = None
        #: Log odds in 3D (m,) of picks in the run a panel shows; None = there is no such panel.
        self.odds_of: Callable[[Particles], NDArray[np.float64]] | None = None
        #: Classes whose picks stand out.
        self.lit: frozenset[int] = frozenset()
        #: Ids in the order of the layer's points.
        self.ids: NDArray[np.int64] = np.zeros(0, np.int64)
        #: The picks are hidden and cannot be edited: in a blind second pass, and while the past is shown.
        self.covered = False
        #: Gets :meth:`write_features` with every redraw; a window waits for a pause, for it takes as long as a commit.
        self.when_idle: Callable[[Callable[[], None]], None] = lambda write: write()
        self._updating = False
        self.layer = Points(
            np.zeros((0, 2)),
            name=NAME,
            ndim=2,
            size=10.0,
            face_color="transparent",
            border_color="white",
            border_width=0.05,
            border_width_is_relative=True,
            symbol="disc",
            canvas_size_limits=(4, 100_000),
            units=(units,) * 2,
        )
        silence(self.layer)
        viewer.add_layer(self.layer)
        self.layer.events.data.connect(self._on_data)
        self.layer.events.highlight.connect(self._on_highlight)
        self.layer.events.mode.connect(self._on_mode)
        self._drawn_zoom = 0.0
        viewer.scene.camera.events.zoom.connect(self._on_zoom)

    def hide(self, held: bool) -> None:
        """Hide the rings while a key is held; covered ones stay hidden."""
        self.layer.visible = not (held or self.covered)

    def cover(self, covered: bool) -> None:
        """Hide the rings until they are uncovered; see :attr:`covered`."""
        self.covered = covered
        self.hide(False)

    def close(self) -> None:
        """Take the layer out of the viewer."""
        self.layer.events.data.disconnect(self._on_data)
        self.layer.events.highlight.disconnect(self._on_highlight)
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    @property
    def alive(self) -> bool:
        """Whether the layer is still in the viewer (a person may delete it)."""
        return self.layer in self._viewer.layers

    def redraw(self, *, diameter_A: float | None = None) -> None:
        """Draw the session's current particles.

        Parameters
        ----------
        diameter_A : float, optional
            Shown instead of the current species' (or the project's) diameter while a slider moves.
        """
        micrograph = self._session.current
        shown = self._session.particles.take(self._focus.drawn.mask())
        pixel = 1.0 if micrograph is None else self._session.pixel_size_A(micrograph)
        size = self._session.diameters_A(shown) / pixel
        if diameter_A is not None:
            size[self._of_current_kind(shown)] = diameter_A / pixel
        self._updating = True
        try:
            layer = self.layer
            same = np.array_equal(self.ids, shown.id) and np.array_equal(layer.data, shown.yx)
            # One refresh at the end instead of one for each column (napari has no public name for that). The colours
            # would be drawn at once, with the indices of the points before: an IndexError where there are fewer now.
            with (
                layer.events.blocker_all(),
                layer._border.events.blocker_all(),
                layer._face.events.blocker_all(),
                layer._block_refresh(),
            ):
                if not same:
                    # data first: napari pads the other columns with defaults, which are then set
                    layer.selected_data = set()
                    layer.data = shown.yx
                if len(shown):
                    if not same or not np.array_equal(layer.size, size):
                        layer.size = size
                    layer.border_color = self._colours(shown)
                self.ids = shown.id
                self._dress(shown)
            self.when_idle(self.write_features)
            self._tell_napari()
            layer.refresh(thumbnail=False)  # a tenth of the time, for rings too small to be seen
        finally:
            self._updating = False

    def write_features(self) -> None:
        """Give napari's other tools what is known of each pick that is drawn, where it is not what they have."""
        shown = self._session.particles.take(self._focus.drawn.mask())
        if not np.array_equal(self.ids, shown.id):
            return  # it is about to be drawn again
        with self.layer.events.blocker_all():
            self.layer.features = self._features(shown)
        self.layer.events.features()

    def _of_current_kind(self, shown: Particles) -> NDArray[np.bool_]:
        """(n,) mask of picks that are as large as new ones are."""
        memory = self._session.loaded
        kinds = [memory.current_species]
        if not memory.current_species:
            kinds += [one.id for one in memory.species.values() if one.diameter_A is None]
        return np.isnan(shown.diameter_A) & np.isin(shown.species, kinds)

    def palette(self) -> dict[int, str]:
        """Colours of the species, or of the pick sets: a person's, else the next of a palette."""
        if self.colour_by is ColourBy.SPECIES:
            return {one.id: one.colour for one in self._session.species.values()}
        sets = self._session.pick_sets.values()
        return {one.id: one.colour or next_colour(k) for k, one in enumerate(sets)}

    def _features(self, shown: Particles) -> pd.DataFrame:
        """What other napari tools may want to know of each pick; a picture, as the layer is."""
        names = {number: pick_set.name for number, pick_set in self._session.pick_sets.items()}
        kinds = defaultdict(str, {number: one.name for number, one in self._session.species.items()})
        return pd.DataFrame(
            {
                "id": shown.id,
                "decision": _DECISIONS[shown.decision],
                "reason": _REASONS[shown.reason],
                "score": shown.score,
                "set": np.array([names.get(number, "") for number in shown.pick_set.tolist()], object),
                "class": self._numbers(shown),
                "species": np.array([kinds[number] for number in shown.species.tolist()], object),
            }
        )

    def light(self, classes: frozenset[int]) -> None:
        """Let the picks of classes stand out; of none, all are drawn alike."""
        if classes != self.lit:
            self.lit = classes
            self.redraw()

    def _numbers(self, shown: Particles) -> NDArray[np.int32]:
        class_ids = None if self.class_of is None else self.class_of(shown)
        return shown.class_id if class_ids is None else class_ids

    def _colours(self, shown: Particles) -> NDArray[np.float64]:
        if self.colour_by is ColourBy.CLASS:
            shown = replace(shown, class_id=self._numbers(shown))
        if self.colour_by is ColourBy.MAP:
            odds = np.full(len(shown), np.nan) if self.odds_of is None else self.odds_of(shown)
            rgba = colours(replace(shown, score=odds), self.colour_by)
        else:
            rgba = colours(shown, self.colour_by, palette=self.palette())
        if self.lit:
            rgba[~self._is_lit(shown), 3] = UNLIT
        if self.dim_below is not None:
            with np.errstate(invalid="ignore"):
                rgba[(shown.decision == Decision.UNDECIDED) & (shown.score < self.dim_below), 3] = DIMMED
        return rgba

    def _is_lit(self, shown: Particles) -> NDArray[np.bool_]:
        return np.isin(self._numbers(shown), list(self.lit))

    def place(self, scale: float, units: str) -> None:
        """Set world units per micrograph pixel."""
        if self.layer.scale[-1] != scale:
            self.layer.scale = (scale, scale)
        if str(self.layer.units[-1]) != units:
            self.layer.units = (units, units)

    def mark_selected(self) -> None:
        """Show the session's selection."""
        self._show_marked(self._focus.selected)

    def preview(self, ids: NDArray[np.int64]) -> None:
        """Highlight picks that a gesture is about to act on; ids (n,) int64."""
        self._show_marked(ids)

    def _show_marked(self, ids: NDArray[np.int64]) -> None:
        layer = self.layer
        self._updating = True
        try:
            with (
                layer.events.blocker_all(),
                layer._border.events.blocker_all(),
                layer._face.events.blocker_all(),
                layer._block_refresh(),
            ):
                self._dress(self._session.particles.take(self._focus.drawn.mask()), ids)
            self._tell_napari()
            layer.refresh(thumbnail=False)
        finally:
            self._updating = False

    def _dress(self, shown: Particles, marked: NDArray[np.int64] | None = None) -> None:
        """Set widths and fills: they say what is selected, and follow the zoom."""
        if not len(shown) or len(shown) != len(self.layer.data):
            return
        self._drawn_zoom = float(self._viewer.scene.camera.zoom)
        selected = np.isin(shown.id, self._focus.selected if marked is None else marked)
        ring_px = self.layer.size * float(self.layer.scale[-1]) * self._drawn_zoom
        stand_out = selected | self._is_lit(shown) if self.lit else selected
        self.layer.border_width = widths(shown, ring_px, stand_out)
        self.layer.face_color = fills(ring_px, selected)

    def _tell_napari(self) -> None:
        """Let napari know the selection while one of napari's tools is in use.

        Otherwise it would paint selected rings in a blue that looks like *accepted*.
        """
        own_tool = str(self.layer.mode) != "pan_zoom"
        rows = np.flatnonzero(np.isin(self.ids, self._focus.selected)) if own_tool else ()
        self.layer.selected_data = {int(row) for row in rows}

    def _on_mode(self, _event: Any) -> None:
        self.mark_selected()

    def _on_zoom(self, _event: Any) -> None:
        """Ring widths are kept in screen px, in steps of a fifth."""
        now = float(self._viewer.scene.camera.zoom)
        if not 0.83 < now / max(self._drawn_zoom, 1e-9) < 1.2:
            self.mark_selected()

    # ------------------------------------------------------------------ napari's own tools

    def _on_highlight(self, _event: Any) -> None:
        """A selection made with napari's select tool becomes the session's.

        Without one of its tools napari knows of no selection, and says so whenever the zoom changes.
        """
        if self._updating or str(self.layer.mode) == "pan_zoom" or len(self.layer.data) != len(self.ids):
            return  # in the middle of a removal rows and ids do not agree
        rows = [row for row in self.layer.selected_data if row < len(self.ids)]
        self._focus.select(self.ids[rows].tolist())

    def _on_data(self, event: Any) -> None:
        """Points added, moved or removed with napari's tools (events come before and after: the later one counts)."""
        if self._updating:
            return
        action = str(getattr(event, "action", ""))
        action = action.rsplit(".", 1)[-1].lower()
        if action not in ("added", "removed", "changed"):
            return
        try:
            self._take_over(action, list(event.data_indices))
        except AnnotatorError as error:
            self._on_error(str(error))
        finally:
            self.redraw()

    def _take_over(self, action: str, rows: list[int]) -> None:
        data = np.asarray(self.layer.data, dtype=np.float64)
        session = self._session
        if action == "added":
            for y, x in data[len(self.ids) :]:
                session.add(float(x), float(y))
        elif action == "removed":
            session.remove(self.ids[rows])
        elif len(data) == len(self.ids):
            before = session.particles.take(session.particles.rows_of(self.ids)).yx
            moved = np.flatnonzero((before != data).any(axis=1))
            if len(moved):
                session.move(self.ids[moved], data[moved, 1], data[moved, 0])
