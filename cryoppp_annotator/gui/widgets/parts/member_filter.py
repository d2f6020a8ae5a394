"""A line in which the picks of a class are filtered by what is known of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from ....errors import AnnotatorError
from ....model.expression import Expression, ExpressionError, is_expression
from ....session.classes import member_facts
from ....session.classes.browse import RunMembers
from ...workbench import Workbench

_PAUSE_MS = 200


class MemberFilter(QWidget):
    """The line, and why what stands in it is not understood.

    Parameters
    ----------
    bench : Workbench
    """

    changed = Signal()

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._expression: Expression | None = None
        self.line = QLineEdit()
        self.line.setPlaceholderText("filter: score < 0.3, sure < 0.5, decision == todo")
        self.line.setClearButtonEnabled(True)
        self.line.setToolTip(f"Shows only picks for which this holds; joined with and, or, not.\n{member_facts.ABOUT}")
        self.wrong = QLabel()
        self.wrong.setWordWrap(True)
        self.wrong.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.line)
        layout.addWidget(self.wrong)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self.changed)
        self.line.textChanged.connect(self._on_text)

    def _on_text(self, text: str) -> None:
        why = ""
        text = text.strip()
        if text and not is_expression(text, member_facts.COLUMNS):
            text = f'micrograph ~ "{text}"'
        try:
            self._expression = member_facts.understood(text) if text else None
        except ExpressionError as error:
            why = str(error)  # what was understood before goes on
        self.wrong.setText(why[:1].upper() + why[1:])
        self.wrong.setStyleSheet(f"color: {self._bench.ink('error')};")
        self.wrong.setVisible(bool(why))
        if not why:
            self._timer.start()

    def let_through(self, members: RunMembers, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows (m,) among ``rows`` (n,) for which the filter holds; all where there is none."""
        if self._expression is None:
            return rows
        try:
            return member_facts.let_through(self._bench.session, members, rows, self._expression)
        except AnnotatorError as error:
            self._bench.say(str(error), "error")
            return rows
