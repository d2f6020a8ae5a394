"""Which micrographs are worth picking on: numbers of all of them, ranges, and one click for what lies outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from ....batch import ctf_project, passport_project
from ....jobs.runner import Job, JobState
from ....model.context import JobContext
from ....model.curation import Table
from ....model.micrograph import MicrographState
from ....session.core.edits import count_of
from ....session.core.session import Announcement, Session
from ...latest import Latest, WhenIdle
from ...workbench import Workbench
from ..parts.range_slider import KEYS, RangeSlider
from ..parts.thumbnail_grid import ThumbnailGrid

_HISTOGRAM = "histogram"
_INSIDE = QColor("#56b4e9")
_OUTSIDE = QColor(130, 130, 130)
_SUGGESTED = QColor("#e69f00")
_CURRENT = QColor("white")
#: Bins of the histograms.
_BINS = 30
#: Margin around the plot, px.
_MARGIN = 8
#: Numbers of picks are counted again when edits pause so long, ms.
_PAUSE_MS = 400
#: A click takes the micrograph whose point is so near, px.
_NEAR_PX = 12.0


class ScreenPlot(QWidget):
    """One number of every micrograph as a histogram, or two as a scatter."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []
        self._x = self._y = np.zeros(0)
        self._outside = self._suggested = np.zeros(0, bool)
        self._scatter, self._current = False, None
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(96)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(260, 220)

    def show_values(self, ids, x, y, outside, suggested, current) -> None:
        """Show numbers (n,) of micrographs; ``y`` None = a histogram of ``x``."""
        self._ids, self._x, self._outside, self._suggested = ids, x, outside, suggested
        self._scatter, self._current = y is not None, current
        self._y = _counts(x) if y is None else y
        self.update()

    def points(self) -> np.ndarray:
        """(n, 2) float64, x and y on the widget, px; NaN where a number is not known."""
        return np.column_stack(
            [_placed(self._x, _MARGIN, self.width() - _MARGIN), _placed(self._y, self.height() - _MARGIN, _MARGIN)]
        )

    def paintEvent(self, _event: QPaintEvent) -> None:
        """A dot for each micrograph: stacked where it is a histogram."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QColor(128, 128, 128))
        painter.drawRect(QRectF(0.5, 0.5, self.width() - 1, self.height() - 1))
        if not self._ids:
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter), "Not measured yet")
        painter.setPen(Qt.PenStyle.NoPen)
        radius = 2.5 if len(self._ids) > 500 else 4.0
        for i, (x, y) in enumerate(self.points()):
            if math.isnan(x) or math.isnan(y):
                continue
            painter.setBrush(_OUTSIDE if self._outside[i] else _SUGGESTED if self._suggested[i] else _INSIDE)
            current = self._ids[i] == self._current
            painter.setPen(_CURRENT if current else Qt.PenStyle.NoPen)
            painter.drawEllipse(QPointF(x, y), radius + 2 * current, radius + 2 * current)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the micrograph of the nearest dot."""
        if not self._ids:
            return
        at = event.pos()
        distance = np.hypot(*(self.points() - (at.x(), at.y())).T)
        if np.isfinite(distance).any() and np.nanmin(distance) < _NEAR_PX:
            self.chosen.emit(self._ids[int(np.nanargmin(distance))])


def _counts(x: np.ndarray) -> np.ndarray:
    """How many came before in the same bin: a histogram made of dots, (n,)."""
    out, known = np.full(len(x), np.nan), np.flatnonzero(np.isfinite(x))
    if not len(known):
        return out
    low, high = x[known].min(), x[known].max()
    bins = np.floor((x[known] - low) / ((high - low) or 1.0) * (_BINS - 1e-9)).astype(int)
    seen: dict[int, int] = {}
    for i, b in zip(known, bins, strict=True):
        out[i] = seen[b] = seen.get(b, -1) + 1
    return out


def _placed(values: np.ndarray, first: float, last: float) -> np.ndarray:
    """Values between two places on the widget."""
    known = values[np.isfinite(values)]
    if not len(known):
        return values
    low, high = float(known.min()), float(known.max())
    return first + (values - low) / (high - low) * (last - first) if high > low else 0.0 * values + 0.5 * (first + last)


class ScreenPanel(QWidget):
    """The *Screen* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Screen"
    #: Ids of the micrographs that the ranges leave out.
    dimmed = Signal(object)

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        self._measured: passport_project.Rows = {}
        #: What was measured, and what the project knows of picks and regions, by micrograph id.
        self.rows: dict[int, Mapping[str, Any]] = {}
        self._latest, self._when_idle = Latest(), WhenIdle(self, _PAUSE_MS)
        self._measuring = Latest()
        self._looked = False
        self.ranges: dict[str, tuple[float, float]] = {}
        self.measure = QPushButton("Measure all")
        self.measure.setToolTip("Defocus, drift, ice, dirt and contrast of every micrograph, in the background")
        self.save = QPushButton("Save table…")
        self.save.setToolTip("All numbers, as passport.csv and passport.star")
        self.x, self.y, self.plot = QComboBox(), QComboBox(), ScreenPlot()
        self.grid = ThumbnailGrid(bench)
        self.y.addItem(_HISTOGRAM, "")
        for name in passport_project.NUMBERS:
            self.x.addItem(passport_project.TITLES[name], name)
            self.y.addItem(passport_project.TITLES[name], name)
        self.slider = RangeSlider()
        self.x.setToolTip("Which number is shown, and which the range below is of")
        self.y.setToolTip("A second number to plot the first against, or how many micrographs have each value")
        for widget in (self.slider, *self.slider.findChildren(QWidget)):
            widget.setToolTip("What lies outside is dimmed in the list and among the thumbnails.\n" + KEYS)
        self.note = QLabel("Measuring reads every micrograph once.")
        self.note.setWordWrap(True)
        self.mark, self.mark_suggested = QPushButton(), QPushButton()
        self.reset = QPushButton("Reset ranges")
        self.reset.setToolTip("Nothing is dimmed any more")
        self._lay_out()
        self.measure.clicked.connect(self.start)
        self.x.currentIndexChanged.connect(self._on_number)
        self.y.currentIndexChanged.connect(self.refresh)
        self.slider.valueChanged.connect(self._on_range)
        self.reset.clicked.connect(self._on_reset)
        self.mark.clicked.connect(self.mark_outside)
        self.mark_suggested.clicked.connect(self.mark_all_suggested)
        self.save.clicked.connect(self._on_save)
        self.plot.chosen.connect(self._go)
        self.grid.chosen.connect(self._go)
        self._session.changed.connect(self._on_changed)
        self._session.current_changed.connect(self.refresh)
        self._on_number()

    def _lay_out(self) -> None:
        layout, form, top, buttons = QVBoxLayout(self), QFormLayout(), QHBoxLayout(), QHBoxLayout()
        layout.setContentsMargins(4, 4, 4, 4)
        form.addRow("Number", self.x)
        form.addRow("against", self.y)
        top.addWidget(self.measure, 1)
        top.addWidget(self.save)
        layout.addLayout(top)
        layout.addLayout(form)
        upper, parts = QWidget(), QSplitter(Qt.Orientation.Vertical)
        above = QVBoxLayout(upper)
        above.setContentsMargins(0, 0, 0, 0)
        above.addWidget(self.plot, 1)
        above.addWidget(self.slider)
        parts.addWidget(upper)
        parts.addWidget(self.grid)
        parts.setChildrenCollapsible(False)
        parts.setSizes([100, 300])
        layout.addWidget(parts, 1)
        layout.addWidget(self.note)
        buttons.addWidget(self.mark)
        buttons.addWidget(self.reset)
        layout.addLayout(buttons)
        layout.addWidget(self.mark_suggested)

    def close_panel(self) -> None:
        """Stop listening."""
        self._latest.close()
        self._measuring.close()
        self._when_idle.stop()
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self.refresh)

    # ------------------------------------------------------------------ measuring

    def start(self) -> None:
        """Measure all micrographs in the background; what was measured before is kept."""
        work = partial(
            passport_project.measure,
            ctf_project.exposures(self._session),
            passport_project.folder_of(self._session),
            self._session.diameter_A,
        )
        self.measure.setEnabled(False)  # two at once would measure each micrograph twice
        end = self._measuring.only(self._on_measure_end)
        self._bench.start(work, title="passports", on_done=self._on_measured, on_end=end)

    def _on_measure_end(self, job: Job) -> None:
        self.measure.setEnabled(True)
        if job.state is JobState.CANCELLED:
            self._read_kept(self._measuring.only(self._on_kept_part))

    def _read_kept(self, on_done: Callable[[passport_project.Rows], None]) -> None:
        self._bench.start(partial(_kept, self._session), title="read passports", on_done=on_done, quiet=True)

    def _on_kept_part(self, rows: passport_project.Rows) -> None:
        """What a measuring that was cancelled has measured."""
        if len(rows) > len(self._measured):
            self.show_rows(rows)

    def showEvent(self, event: object) -> None:
        """Looked at for the first time: what was measured before is shown."""
        super().showEvent(event)
        if not self._looked:
            self._looked = True
            self._read_kept(self._latest.only(self._on_kept))

    def _on_kept(self, rows: passport_project.Rows) -> None:
        if rows and not self._measured:
            self.show_rows(rows)

    def _on_measured(self, passports: passport_project.Passports) -> None:
        self.show_rows(passports.rows)
        if passports.assumed:
            self._bench.say(" · ".join(passports.assumed), "warning")

    def show_rows(self, rows: passport_project.Rows) -> None:
        """Show what was measured, by micrograph id."""
        self._measured = rows
        self.rows = dict(rows)
        self._on_number()
        self.grid.show_rows(self.rows)
        self._count()

    def _count(self) -> None:
        """Have picks counted, and what follows from them, in the background."""
        if not self._latest.ask():
            return
        session, measured = self._session, self._measured
        self._bench.start(
            lambda context: passport_project.joined(measured, passport_project.known(session)),
            title="count picks of the passports",
            on_done=self._latest.only(self._on_counted),
            quiet=True,
        )

    def _on_counted(self, rows: dict[int, dict[str, Any]]) -> None:
        self.rows = dict(rows)
        self._on_number()
        self.grid.show_numbers(self.rows)

    def _on_changed(self, announcement: Announcement) -> None:
        self.refresh()
        if self._measured and (announcement.touches(Table.PARTICLE) or announcement.touches(Table.REGION)):
            self._when_idle(self._count)

    def _on_save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Save the table into", str(self._session.store.folder))
        if folder:
            self.save_table(Path(folder))

    def save_table(self, folder: Path) -> None:
        """Write all numbers of the measured micrographs into a folder."""
        if self._bench.guarded(lambda: passport_project.save(list(self.rows.values()), folder)):
            self._bench.say(f"{count_of(len(self.rows), 'micrograph')}: passport.csv and passport.star in {folder}")

    def _go(self, micrograph: int) -> None:
        self._bench.guarded(lambda: self._session.go(micrograph))

    # ------------------------------------------------------------------ numbers

    def values(self, name: str) -> np.ndarray:
        """(n,) float64, one number of every measured micrograph; NaN = not known."""
        return np.array([math.nan if (v := row[name]) is None else float(v) for row in self.rows.values()])

    # ------------------------------------------------------------------ ranges

    def outside(self) -> list[int]:
        """Ids of micrographs that some range leaves out; what is not known is never left out."""
        ids = np.array(list(self.rows), np.int64)
        out = np.zeros(len(ids), bool)
        for name, (low, high) in self.ranges.items():
            values = self.values(name)
            out |= (values < low) | (values > high)
        return ids[out].tolist()

    def suggested(self) -> dict[int, str]:
        """Reasons by id of micrographs that seem unusable and are not marked so."""
        unusable = self._unusable()
        return {i: row["suggestion"] for i, row in self.rows.items() if row["suggestion"] and i not in unusable}

    def _unusable(self) -> set[int]:
        return {m.id for m in self._session.micrographs if m.state is MicrographState.UNUSABLE}

    def _on_number(self, _index: int = 0) -> None:
        """Another number: its slider spans what was measured."""
        name, values = self.x.currentData(), self.values(self.x.currentData())
        known = values[np.isfinite(values)]
        self.slider.setEnabled(bool(len(known) and known.min() < known.max()))
        if self.slider.isEnabled():
            low, high = float(known.min()), float(known.max())
            with QSignalBlocker(self.slider):
                self.slider.setDecimals(max(0, 2 - math.floor(math.log10(high - low))))
                self.slider.setMinimum(low)  # type: ignore[arg-type]
                self.slider.setMaximum(high)  # type: ignore[arg-type]
                self.slider.setValue(self.ranges.get(name, (low, high)))
        self.refresh()

    def _on_range(self, value: tuple[float, float]) -> None:
        name = self.x.currentData()
        step = 0.5 * 10.0 ** -self.slider.decimals()
        if value[0] - self.slider.minimum() <= step and self.slider.maximum() - value[1] <= step:
            self.ranges.pop(name, None)
        else:
            self.ranges[name] = (value[0] - step, value[1] + step)
        self.refresh()

    def _on_reset(self) -> None:
        self.ranges = {}
        self._on_number()

    # ------------------------------------------------------------------ decisions

    def mark_outside(self) -> None:
        """Mark what the ranges leave out as unusable, as one step."""
        titles = [passport_project.TITLES[name] for name in self.ranges]
        self._mark(
            [i for i in self.outside() if i not in self._unusable()], "outside the range of " + ", ".join(titles)
        )

    def mark_all_suggested(self) -> None:
        """Follow the suggestions, as one step."""
        suggested = self.suggested()
        reasons = sorted(set(suggested.values()))
        self._mark(list(suggested), reasons[0] if len(reasons) == 1 else "as suggested")

    def _mark(self, ids: list[int], reason: str) -> None:
        if ids:
            unusable = MicrographState.UNUSABLE
            self._bench.guarded(lambda: self._session.set_state(ids, unusable, reason=reason))

    # ------------------------------------------------------------------ what is shown

    def refresh(self, *_what: object) -> None:
        """Draw, count, and say what the buttons would do."""
        ids, outside, suggested = list(self.rows), set(self.outside()), self.suggested()
        y = self.y.currentData()
        self.plot.show_values(
            ids,
            self.values(self.x.currentData()),
            self.values(y) if y else None,
            np.array([i in outside for i in ids], bool),
            np.array([i in suggested for i in ids], bool),
            self._session.current_id,
        )
        n = len(outside - self._unusable())
        self.mark.setText(f"Mark {n:,} unusable")
        self.mark.setEnabled(n > 0)
        self.mark.setToolTip("Those outside a range; one undo" if n else "every micrograph lies inside the ranges")
        self.mark_suggested.setText(f"Mark {len(suggested):,} suggested unusable")
        self.mark_suggested.setEnabled(bool(suggested))
        self.mark_suggested.setToolTip(_lines(suggested, self._session) or "none seems unusable")
        self.note.setText(self._sentence(len(outside), len(suggested)))
        self.save.setEnabled(bool(ids))
        self.grid.show_marks(outside, suggested, self._unusable())
        self.dimmed.emit(frozenset(outside))

    def _sentence(self, n_outside: int, n_suggested: int) -> str:
        if not self.rows:
            return "Measuring reads every micrograph once."
        current = self.rows.get(self._session.current_id or -1)
        here = f" Here: {current['suggestion']}." if current is not None and current["suggestion"] else ""
        measured = count_of(len(self.rows), "micrograph")
        return f"{measured} measured, {n_outside:,} outside, {n_suggested:,} (orange) seem unusable.{here}"


def _kept(session: Session, *, context: JobContext) -> passport_project.Rows:
    return passport_project.kept(session)


def _lines(suggested: Mapping[int, str], session: Any) -> str:
    names = {m.id: m.name for m in session.micrographs}
    lines = [f"{names[i]}: {reason}" for i, reason in suggested.items() if i in names]
    return "\n".join([*lines[:12], *([f"and {len(lines) - 12} more"] if len(lines) > 12 else [])])
