"""The list of micrographs as a Qt model. Filtering and sorting happen here: a proxy is slow at 10,000 rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QFont

from ...model.expression import Expression, ExpressionError, is_expression
from ...model.micrograph import FINISHED_STATES, Micrograph, MicrographState
from ...session.core.session import Announcement, Session
from ...session.files.facts import COLUMNS as NAMES
from ...session.files.facts import FACTS, Fact, Row, understood

#: Accepted, undecided and rejected picks of a row, and the most picks of any.
COUNTS_ROLE = int(Qt.ItemDataRole.UserRole) + 1

SYMBOL = {
    MicrographState.UNSEEN: "·",
    MicrographState.IN_PROGRESS: "◐",
    MicrographState.COMPLETE: "●",
    MicrographState.EMPTY: "○",
    MicrographState.UNUSABLE: "✕",
}

COLUMNS = ("", "name", "acc", "und", "rej", "Å/px", "problem")
TIPS = (
    "state: · unseen, ◐ in progress, ● complete, ○ empty, ✕ unusable",
    "micrograph",
    "accepted",
    "undecided (above the score threshold, where there is one)",
    "rejected",
    "pixel size; ? = questionable",
    "why it cannot be used",
)

#: What can be shown beside, in this order after the columns above; hidden until a person asks for it.
MORE: tuple[Fact, ...] = tuple(
    fact for fact in FACTS if fact.name not in ("state", "name", "acc", "und", "rej", "px", "problem")
)

ALL = "all states"
OPEN = "not finished"
WITH_UNDECIDED = "with undecided picks"
PROBLEMS = "with problems"
MINE = "mine"
FILTERS = (ALL, OPEN, MINE, WITH_UNDECIDED, PROBLEMS, *(state.value for state in SYMBOL))


class MicrographTable(QAbstractTableModel):
    """Rows are the session's micrographs that pass the filter, in the chosen order.

    Parameters
    ----------
    session : Session
    ink : callable
        Colour of an ``error`` or a ``note``.
    """

    order_changed = Signal()

    def __init__(self, session: Session, ink: Callable[[str], str]) -> None:
        super().__init__()
        self.ink = ink
        self.session = session
        self.rows: list[int] = []
        self._state_filter = ALL
        self._text = ""
        #: What the filter's text means where it is an expression, and why one cannot be understood.
        self.expression: Expression | None = None
        self.error = ""
        #: Of how many micrographs too little is known for the expression.
        self.n_unknown = 0
        #: Numbers that were read or counted in the background, by micrograph.
        self.measured: dict[int, dict[str, float]] = {}
        #: Undecided picks that count, by micrograph, where a threshold hides others; None = all do.
        self.above: dict[int, int] | None = None
        #: Micrographs that the ranges of the Screen tab leave out.
        self.dimmed: frozenset[int] = frozenset()
        self._sort: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)
        session.changed.connect(self._on_changed)
        session.current_changed.connect(self._on_current)
        self.arrange()

    def close(self) -> None:
        """Stop following the session."""
        self.session.changed.disconnect(self._on_changed)
        self.session.current_changed.disconnect(self._on_current)

    def dim(self, ids: frozenset[int]) -> None:
        """Draw some micrographs as if they were not there."""
        if ids != self.dimmed:
            self.dimmed = ids
            if self.rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, self.columnCount() - 1))

    def n_undecided(self, m: Micrograph) -> int:
        """Undecided picks as the list counts them: those that the threshold leaves."""
        return m.n_undecided if self.above is None else min(m.n_undecided, self.above.get(m.id, 0))

    def largest(self, rows: range | None = None) -> dict[int, str]:
        """The largest number of every column of counts, as it is written.

        Parameters
        ----------
        rows : range, optional
            Rows of the list to compare; by default all micrographs, also those that are filtered out.
        """
        if rows is None:
            counted = self.session.micrographs
        else:
            counted = [self.session.micrograph(i) for i in self.rows[rows.start : rows.stop]]
        columns = {
            2: (m.n_accepted for m in counted),
            3: (self.n_undecided(m) for m in counted),
            4: (m.n_rejected for m in counted),
        }
        return {column: f"{max(counts, default=0):,}" for column, counts in columns.items()}

    def set_above(self, above: dict[int, int] | None) -> None:
        """Show how many undecided picks the threshold leaves; None = there is no threshold."""
        if above == self.above:
            return
        self.above = above
        if self._sort[0] == 3 or "und" in self.needs():
            self.arrange()
        else:
            self._refresh_cells()

    # ------------------------------------------------------------------ arranging

    def set_filter(self, state: str, text: str) -> None:
        """Keep micrographs of a state (one of :data:`FILTERS`) whose name holds ``text``.

        A text that compares (``res > 6 and und > 0``) is an expression over :data:`FACTS`; while it cannot be
        understood :attr:`error` says why, and the filter before it stays.
        """
        self._state_filter, text = state, text.strip()
        self.error = ""
        named = text and any(text.lower() in m.name.lower() for m in self.session.micrographs)
        if not text or not is_expression(text, NAMES) or (named and not set(text) & set("<>=~")):
            self._text, self.expression = text.lower(), None
        else:
            try:
                self._text, self.expression = "", understood(text)
            except ExpressionError as error:
                self.error = str(error)
        self.arrange()

    def needs(self) -> frozenset[str]:
        """Facts of the background that the filter or the order asks for."""
        names = self.expression.names if self.expression is not None else frozenset()
        column = self._sort[0] - len(COLUMNS)
        return frozenset(names | ({MORE[column].name} if column >= 0 else set()))

    def set_measured(self, measured: dict[int, dict[str, float]]) -> None:
        """Take what was read or counted in the background."""
        self.measured = measured
        if self.needs():
            self.arrange()
        else:
            self._refresh_cells()

    def row_facts(self, m: Micrograph) -> Row:
        """What is known of a micrograph; of its undecided picks those count that the threshold leaves."""
        return Row(self.session, m, {**self.measured.get(m.id, {}), "und": self.n_undecided(m)})

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 = as imported."""
        self._sort = (column, order)
        self.arrange()

    def arrange(self) -> None:
        """Filter and sort again."""
        self.beginResetModel()
        self.n_unknown = 0
        kept = [m for m in self.session.micrographs if self._passes(m)]
        column, order = self._sort
        if column >= 0:
            kept = self._sorted(kept, column, reverse=order == Qt.SortOrder.DescendingOrder)
        self.rows = [m.id for m in kept]
        self._place = {i: row for row, i in enumerate(self.rows)}
        self._n_there = len(self.session.micrographs)
        self._most = self._most_picks()
        self.endResetModel()
        self.order_changed.emit()

    def _sorted(self, kept: list[Micrograph], column: int, *, reverse: bool) -> list[Micrograph]:
        """In the order of a column; what is not known comes last, either way."""
        key = self._key(column)
        unknown = [m for m in kept if (value := key(m)) != value]
        known = [m for m in kept if (value := key(m)) == value]
        return sorted(known, key=key, reverse=reverse) + unknown

    def _most_picks(self) -> int:
        return max((m.n_accepted + self.n_undecided(m) + m.n_rejected for m in self.session.micrographs), default=0)

    def _passes(self, m: Micrograph) -> bool:
        if self._text and self._text not in m.name.lower():
            return False
        return self._has_state(m) and self._holds(m)

    def _holds(self, m: Micrograph) -> bool:
        if self.expression is None:
            return True
        truth = self.expression.truth(self.row_facts(m))
        self.n_unknown += truth is None
        return truth is True

    def _has_state(self, m: Micrograph) -> bool:
        state = self._state_filter
        if state == ALL:
            return True
        if state == OPEN:
            return m.state not in FINISHED_STATES
        if state == MINE:
            return m.assigned == self.session.curator
        if state == WITH_UNDECIDED:
            return m.n_undecided > 0
        if state == PROBLEMS:
            return bool(m.problem)
        return m.state.value == state

    def _key(self, column: int) -> Callable[[Micrograph], Any]:
        states = list(MicrographState)
        if column >= len(COLUMNS):
            fact = MORE[column - len(COLUMNS)]
            if fact.words:  # who has none comes last, as what is not known
                return lambda m: str(self.row_facts(m)[fact.name]).casefold() or math.nan
            return lambda m: self.row_facts(m)[fact.name]
        return (
            lambda m: states.index(m.state),
            lambda m: m.name.lower(),
            lambda m: m.n_accepted,
            self.n_undecided,
            lambda m: m.n_rejected,
            lambda m: self.session.pixel_size_A(m),
            lambda m: m.problem,
        )[column]

    def row_of(self, micrograph_id: int | None) -> int:
        """Row of a micrograph, -1 where it is filtered out."""
        return -1 if micrograph_id is None else self._place.get(micrograph_id, -1)

    # ------------------------------------------------------------------ Qt

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Rows shown."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Columns, also those that a person has not asked for."""
        return len(COLUMNS) + len(MORE)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Column heads."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return (*COLUMNS, *(fact.name for fact in MORE))[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return (*TIPS, *(fact.about for fact in MORE))[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell."""
        m = self.session.micrograph(self.rows[index.row()])
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text_of(m, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(m, column)
        if role == Qt.ItemDataRole.TextAlignmentRole and not _in_words(column):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == COUNTS_ROLE:
            return (m.n_accepted, self.n_undecided(m), m.n_rejected, self._most)
        quiet = m.state is MicrographState.UNUSABLE or m.id in self.dimmed
        if role == Qt.ItemDataRole.ForegroundRole and (m.problem or quiet):
            return QColor(self.ink("error" if m.problem else "note"))
        if role == Qt.ItemDataRole.FontRole and m.id == self.session.current_id:
            return bold(QFont())
        return None

    def _text_of(self, m: Micrograph, column: int) -> str:
        if column >= len(COLUMNS):
            return self._fact_of(m, MORE[column - len(COLUMNS)])
        if column == 0:
            return "!" if m.problem else SYMBOL[m.state]
        if column == 5:
            if m.problem:
                return ""
            return f"{self.session.pixel_size_A(m):.3g}{' ?' if self.session.settings.pixel_size_doubt(m) else ''}"
        return (
            m.name,
            f"{m.n_accepted:,}",
            f"{self.n_undecided(m):,}",
            f"{m.n_rejected:,}",
            "",
            m.problem,
        )[column - 1]

    def _fact_of(self, m: Micrograph, fact: Fact) -> str:
        if fact.words:
            return str(self.row_facts(m)[fact.name])
        value = float(self.row_facts(m)[fact.name])
        return "" if value != value else f"{value:,.{fact.digits}f}"

    def _tip(self, m: Micrograph, column: int) -> str:
        if column >= len(COLUMNS):
            fact = MORE[column - len(COLUMNS)]
            return f"{fact.about}: {self._fact_of(m, fact) or 'not known'}"
        if column == 0:
            return f"{m.state.value}{', by ' + m.state_by if m.state_by else ''}"
        if column == 3 and self.n_undecided(m) < m.n_undecided:
            hidden = m.n_undecided - self.n_undecided(m)
            return f"{self.n_undecided(m):,} undecided, {hidden:,} more hidden below the threshold"
        if column == 5:
            return self.session.settings.pixel_size_doubt(m) or f"{self.session.pixel_size_A(m):.4g} Å per pixel"
        counts = f"{m.n_accepted:,} accepted, {self.n_undecided(m):,} undecided, {m.n_rejected:,} rejected"
        whose = f"\nassigned to {m.assigned}" if m.assigned else ""
        return m.problem or f"{m.name}\n{counts}{whose}\n{m.width} × {m.height} px\n{m.path}"

    def _on_changed(self, announcement: Announcement) -> None:
        come_or_gone = self._n_there != len(self.session.micrographs)
        if announcement.change is None or come_or_gone or len(self.rows) != len(self._place):
            self.arrange()
            return
        self._refresh_cells()

    def _on_current(self) -> None:
        self._refresh_cells()

    def _refresh_cells(self) -> None:
        self._most = self._most_picks()
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, self.columnCount() - 1))


def bold(font: QFont) -> QFont:
    """The same font, bold: so the micrograph on the screen is written."""
    out = QFont(font)
    out.setBold(True)
    return out


def _in_words(column: int) -> bool:
    """Whether a column holds text and not numbers."""
    if column >= len(COLUMNS):
        return MORE[column - len(COLUMNS)].words
    return column < 2 or column == len(COLUMNS) - 1
