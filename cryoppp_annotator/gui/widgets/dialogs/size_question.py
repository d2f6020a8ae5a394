"""What to do where the particle's diameter is needed and not set: measure one, or confirm the guess."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QPoint
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from ....session.core.session import Announcement
from ...workbench import Workbench

_MEASURE_TIP = "Then drag from the centre of a particle to its rim ({measure})"


class SizeQuestion(QFrame):
    """Hidden until it is asked; what needs the diameter continues when a person has set it.

    It lies over what is below the button that asked, so that nothing moves.

    Parameters
    ----------
    bench : Workbench
    owner : QWidget
        Part of a panel that needs the diameter; the question lies over its panel.
    button : QWidget
        What was pressed: the question is below it.
    """

    def __init__(self, bench: Workbench, owner: QWidget, button: QWidget) -> None:
        super().__init__(owner)
        self._bench, self._session = bench, bench.session
        self._owner, self._button = owner, button
        self.setAutoFillBackground(True)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._then: Callable[[], None] | None = None
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.measure = QPushButton("Draw a circle")
        bench.keep_keyed(self.measure.setToolTip, _MEASURE_TIP)
        self.confirm = QPushButton()
        self.confirm.setToolTip("Take the guess for the particle's diameter; one step, one undo")
        self.drop = QToolButton()
        bench.icons.put(self.drop, "cancel")
        self.drop.setToolTip("Not now")
        row = QHBoxLayout()
        for widget, share in ((self.measure, 1), (self.confirm, 1), (self.drop, 0)):
            row.addWidget(widget, share)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 6)
        layout.addWidget(self.message)
        layout.addLayout(row)
        self.measure.clicked.connect(lambda: bench.give("measure"))
        self.confirm.clicked.connect(self._on_confirm)
        self.drop.clicked.connect(self.forget)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._show_guess)
        bench.themed.connect(self._colour)
        self._colour()
        self.hide()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self._show_guess)

    @property
    def asked(self) -> bool:
        """Whether an answer is waited for."""
        return self._then is not None

    def needed_for(self, what: str, then: Callable[[], None]) -> bool:
        """Ask, and begin the measuring, where the diameter is not set; ``then`` is called when it is.

        Parameters
        ----------
        what : str
            Needs it: ``Propose``.

        Returns
        -------
        bool
            False where it is set already: nothing was asked.
        """
        if self._session.settings.diameter_is_set:
            return False
        self._then = then
        self.message.setText(
            f"{what} needs the particle's diameter, which is not set: drag from a particle's centre to its rim."
        )
        self._show_guess()
        self._place()
        self.show()
        self.raise_()
        if self._session.current is not None:
            self._bench.give("measure")
        return True

    def _place(self) -> None:
        """Below the button, over the panel that it is in."""
        panel = self._owner.parentWidget() or self._owner
        if self.parentWidget() is not panel:
            self.setParent(panel)
            panel.installEventFilter(self)
        self.setFixedWidth(panel.width())
        high = max(self.layout().heightForWidth(panel.width()), self.sizeHint().height())
        self.setGeometry(0, self._button.mapTo(panel, QPoint(0, self._button.height() + 3)).y(), panel.width(), high)

    def eventFilter(self, _panel: QObject, event: QEvent) -> bool:
        """As wide as the panel."""
        if event.type() == QEvent.Type.Resize and self.asked:
            self._place()
        return False

    def forget(self) -> None:
        """Ask no more."""
        self._then = None
        self._bench.gestures.measure(False)
        self.hide()

    def _show_guess(self) -> None:
        session, current = self._session, self._session.current
        self.confirm.setText(f"Use {session.diameter_A:.0f} Å")
        readable = current is not None and not current.problem
        self.measure.setEnabled(readable)
        self.measure.setToolTip(self._bench.keyed(_MEASURE_TIP) if readable else "open a micrograph first")

    def _on_confirm(self) -> None:
        self._bench.guarded(lambda: self._session.set_diameter(self._session.diameter_A))

    def _on_changed(self, announcement: Announcement) -> None:
        if self._then is None or not self._session.settings.diameter_is_set:
            return
        then = self._then
        self.forget()
        if announcement.kind == "do":  # a person's answer, not another window's or a redo's
            then()

    def _colour(self) -> None:
        ink = self._bench.ink("warning")
        self.message.setStyleSheet(f"color: {ink};")
        self.setStyleSheet(f"SizeQuestion {{ border: 1px solid {ink}; }}")
