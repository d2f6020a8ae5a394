"""Carbon and ice: draw them, have them found, take them away, reject the picks in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QItemSelectionModel, QSignalBlocker, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QGroupBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
)

from ....errors import Refused
from ....jobs.runner import Job
from ....model.curation import Decision, Reason, Table
from ....model.micrograph import Micrograph
from ....model.region import REGION_REASONS, Region
from ....model.which import InRegions, Which, only
from ....session import regions
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.core.step import Done, Nothing
from ...keys import has_keyboard
from ...layers.corners import Corners
from ...layers.region_layer import REASON_WORDS, RegionsLayer, letter_of, name_of
from ...layers.styles import REGION_HEX
from ...workbench import Workbench
from .compact import side_by_side

_FIND = (
    "Looks for carbon edges, ice crystals, contamination and aggregates;\n"
    "regions that you deleted are not found again. One undo."
)
_CANCEL = "Stops looking; nothing is marked"
#: Lines of the list that are seen at once.
_LINES = 3


class RegionsBox(QGroupBox):
    """Regions of the micrograph on the screen.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__("Carbon and ice")
        self._bench, self._session = bench, bench.session
        self.layer = RegionsLayer(bench.viewer, bench.particles_layer.layer)
        self.shown: list[Region] = []
        self.selected: frozenset[int] = frozenset()
        self._looking: Job | None = None
        self.reason = QComboBox()
        for reason in REGION_REASONS:
            self.reason.addItem(_swatch(reason), REASON_WORDS[reason], reason)
        self.reason.setToolTip("What the next region you draw is; with regions selected: what those are")
        self.visible = QCheckBox("show")
        self.visible.setChecked(True)
        self.visible.setToolTip("Show the regions on the picture")
        self.here = QPushButton("Find here")
        self.everywhere = QPushButton("on all")
        self.list = QListWidget()
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        bench.keep_keyed(self.list.setToolTip, "Click selects a region here and on the picture; {remove} deletes it")
        self.remove = QPushButton("Delete region")
        self.reject = QPushButton("Reject picks in them")
        self.reject_all = QPushButton("on all")
        how = QLabel()
        bench.keep_keyed(how.setText, "{region} + drag draws")
        bench.keep_keyed(
            how.setToolTip,
            "{region} held: a drag draws a region, from a corner of one it moves the corner;\n"
            "a click selects a region, a right click deletes it. Each is one step, one undo",
        )
        bench.on_rekeyed.append(self._show_buttons)
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        layout.addLayout(side_by_side(self.reason, self.visible))
        layout.addWidget(how)
        layout.addLayout(side_by_side(self.here, self.everywhere))
        layout.addWidget(self.list)
        layout.addWidget(self.remove)
        layout.addLayout(side_by_side(self.reject, self.reject_all))
        self.reason.activated.connect(self._on_reason)
        self.visible.toggled.connect(self.layer.set_visible)
        self.here.clicked.connect(self._on_here)
        self.everywhere.clicked.connect(self._on_everywhere)
        self.remove.clicked.connect(self.remove_selected)
        self.reject.clicked.connect(self._on_reject)
        self.reject_all.clicked.connect(self._on_reject_all)
        self.list.itemSelectionChanged.connect(self._on_listed)
        bench.gestures.on_outline = self._on_outline
        bench.gestures.on_region = self._on_region
        bench.gestures.corners = Corners(self._on_screen, self._on_corner)
        bench.takers.append(self)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._on_current)
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session, and take the picture away."""
        self._bench.takers.remove(self)
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self._on_current)
        if self._looking is not None:
            self._looking = None
            self._bench.bridge.ticked.disconnect(self._on_tick)
        self.layer.close()

    def has_keyboard(self) -> bool:
        """Whether the list of regions has it."""
        return has_keyboard(self.list)

    def take(self, command: str) -> bool:
        """The Delete key deletes the selected regions."""
        if command != "remove":
            return False
        self.remove_selected()
        return True

    # ------------------------------------------------------------------ following

    def _on_current(self) -> None:
        self.selected = frozenset()
        self.refresh()

    def _on_changed(self, announcement: Announcement) -> None:
        if any(announcement.touches(t) for t in (Table.REGION, Table.SETTING, Table.MICROGRAPH)):
            self.refresh()
        elif announcement.touches(Table.PARTICLE):
            self._show_buttons()

    def refresh(self) -> None:
        """Read the regions of this micrograph and show them."""
        here = self._session.current_id
        self.shown = [] if here is None else regions.of(self._session, here)
        self.selected &= {region.id for region in self.shown}
        self.layer.show(self.shown, self.selected)
        self._fill()
        self._show_buttons()

    def _fill(self) -> None:
        current = self._session.current
        with QSignalBlocker(self.list):
            self.list.clear()
            for region in self.shown:
                size = regions.share_of(region, current) if current is not None else ""
                line = f"{letter_of(region)}  {name_of(region)} · {size} of the micrograph"
                item = QListWidgetItem(_swatch(region.reason), line)
                item.setData(Qt.ItemDataRole.UserRole, region.id)
                self.list.addItem(item)
            self._mark()
        self.list.setVisible(bool(self.shown))
        line = max(16, self.list.sizeHintForRow(0))
        self.list.setFixedHeight(line * min(_LINES, max(1, len(self.shown))) + 6)

    def _mark(self) -> None:
        with QSignalBlocker(self.list):
            model = self.list.selectionModel()
            for row, region in enumerate(self.shown):
                flag = QItemSelectionModel.SelectionFlag
                how = flag.Select if region.id in self.selected else flag.Deselect
                model.select(self.list.model().index(row, 0), how)

    def _show_buttons(self) -> None:
        current = self._session.current
        why = "open a micrograph first" if current is None else current.problem
        busy = "looking; the line at the bottom shows how far it is" if self._looking is not None else ""
        self.here.setEnabled(not (why or busy))
        self.here.setToolTip(why or busy or f"On this micrograph. {_FIND}")
        self.everywhere.setText("cancel" if busy else "on all")
        self.everywhere.setToolTip(_CANCEL if busy else f"On every micrograph, in the background. {_FIND}")
        n = len(self.selected)
        self.remove.setEnabled(n > 0)
        keys = "picks stay as they are ({remove} in the list, {region} held + right click)"
        self.remove.setToolTip(
            self._bench.keyed(
                f"Deletes {count_of(n, 'region')}; {keys}"
                if n
                else "click a region in the list, or on the picture with {region} held"
            )
        )
        inside = regions.undecided_in(self._session.particles, self.shown) if self.shown else np.zeros(0, np.int8)
        counts = Counter(inside[inside > 0].tolist())
        total = sum(counts.values())
        self.reject.setEnabled(total > 0)
        self.reject.setText(f"Reject {count_of(total)} in them" if total else "Reject picks in them")
        reasons = ", ".join(f"{k:,} as {Reason(reason).label}" for reason, k in sorted(counts.items()))
        self.reject.setToolTip(
            f"On this micrograph: {reasons}. Undecided picks only; what you decided stays. One undo."
            if total
            else "no undecided pick lies in a region here"
        )
        self.reject_all.setToolTip("The same on every micrograph that has regions; one step, one undo")

    # ------------------------------------------------------------------ on the picture

    def _on_outline(self, outline: NDArray[np.float64]) -> None:
        reason = Reason(self.reason.currentData())
        self._bench.guarded(lambda: self._draw(outline, reason))

    def _draw(self, outline: NDArray[np.float64], reason: Reason) -> None:
        outcome = regions.draw(self._session, outline, reason)
        if not isinstance(outcome, Done):
            return  # it is said that it waits
        number = outcome.new_id
        self._select({number})
        inside = regions.undecided_in(self._session.particles, [r for r in self.shown if r.id == number])
        n = int((inside > 0).sum())
        rest = f" · {count_of(n)} in it {'is' if n == 1 else 'are'} undecided: Reject picks in them" if n else ""
        self._bench.say(f"marked a region as {reason.label}{rest} · {{undo}} undoes")
        if n:
            which = Which(only(self._session.current_id), (Decision.UNDECIDED,), regions=InRegions((number,)))
            self._bench.rejection_considered.emit(which, "rejecting the picks in this region")

    def _on_region(self, x: float, y: float, right: bool) -> None:
        under = self.layer.at(y, x)
        if under is None:
            self._select(set())
            self._bench.say("no region is there; {region} held + drag draws one", "info")
        elif right:
            self._bench.guarded(lambda: regions.remove(self._session, [under.id]))
        else:
            self._select({under.id})
            self._bench.say(f"region: {name_of(under)} · Delete region removes it", "info")

    def _on_screen(self) -> list[Region]:
        return self.shown if self.layer.visible else []

    def _on_corner(self, region: Region, outline: NDArray[np.float64]) -> None:
        if self._bench.guarded(lambda: regions.reshape(self._session, region.id, outline)):
            self._select({region.id})

    def _select(self, ids: set[int]) -> None:
        self.selected = frozenset(ids) & {region.id for region in self.shown}
        self._mark()
        self._show_selected()

    def _show_selected(self) -> None:
        self.layer.show(self.shown, self.selected)
        reasons = {region.reason for region in self.shown if region.id in self.selected}
        if len(reasons) == 1:
            self.reason.setCurrentIndex(self.reason.findData(reasons.pop()))
        self._show_buttons()

    def _on_listed(self) -> None:
        chosen = {int(item.data(Qt.ItemDataRole.UserRole)) for item in self.list.selectedItems()}
        self.selected = frozenset(chosen)
        self._show_selected()

    # ------------------------------------------------------------------ steps

    def remove_selected(self) -> None:
        """Take the selected regions away."""
        ids = sorted(self.selected)
        if ids:
            self._bench.guarded(lambda: regions.remove(self._session, ids))

    def _on_reason(self, _index: int) -> None:
        reason, ids = Reason(self.reason.currentData()), sorted(self.selected)
        if ids:
            self._bench.guarded(lambda: regions.set_reason(self._session, ids, reason))
        self._bench.canvas.setFocus()

    def _on_here(self) -> None:
        current = self._session.current
        if current is not None:
            self._find([current])

    def _on_everywhere(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._bench.say("cancelled; nothing was marked", "info")
            return
        micrographs = [m for m in self._session.micrographs if not m.problem]
        if micrographs:
            self._find(micrographs)

    def _find(self, micrographs: Sequence[Micrograph]) -> None:
        bench, session = self._bench, self._session
        where = micrographs[0].name if len(micrographs) == 1 else count_of(len(micrographs), "micrograph")
        self._looking = bench.start(
            partial(regions.find, session, micrographs, bright=session.settings.bright),
            title=f"find carbon and ice on {where}",
            on_done=self._on_detected,
        )
        bench.bridge.ticked.connect(self._on_tick)
        self._show_buttons()

    def _on_tick(self) -> None:
        """However the job ends, also when it is cancelled, it can be started again."""
        if self._looking is not None and self._looking.over:
            self._looking = None
            self._bench.bridge.ticked.disconnect(self._on_tick)
            self._show_buttons()

    def _on_detected(self, detected: regions.Detected) -> None:
        self._bench.guarded(lambda: regions.enter_found(self._session, detected, self._bench.say))

    def _on_reject(self) -> None:
        here = self._session.current_id
        if here is not None:
            self._bench.guarded(lambda: self._reject(regions.picks_inside(self._session, [here])))

    def _on_reject_all(self) -> None:
        session = self._session
        self._bench.start(
            lambda context: regions.picks_inside(session, context=context),
            title="look for picks on carbon and ice",
            on_done=self._on_inside,
        )

    def _on_inside(self, inside: regions.Inside) -> None:
        self._bench.guarded(lambda: self._reject(inside))

    def _reject(self, inside: regions.Inside) -> None:
        outcome = regions.reject_inside(self._session, inside)
        if isinstance(outcome, Nothing):
            raise Refused(outcome.why)


def _swatch(reason: Reason) -> QIcon:
    pixels = QPixmap(12, 12)
    pixels.fill(QColor(REGION_HEX[reason]))
    return QIcon(pixels)
