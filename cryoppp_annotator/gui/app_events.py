"""The events of the whole application, for everybody who watches some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakMethod

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication

#: Gets the object and the event; True where nobody else is to have it.
Listener = Callable[[QObject, QEvent], bool]


class AppEvents(QObject):
    """One filter on the application: opening a project alone brings 30,000 events, and Python is asked about each.

    Who comes last is asked first, as with Qt's own filters.
    """

    def __init__(self, application: QObject) -> None:
        super().__init__(application)
        self._by_kind: dict[QEvent.Type, list[WeakMethod[Listener]]] = {}

    @classmethod
    def instance(cls) -> AppEvents:
        """The filter of the running application; made where there is none yet."""
        application = QApplication.instance()
        return application.findChild(cls) or cls(application)

    def listen(self, kinds: Iterable[QEvent.Type], listener: Listener) -> None:
        """Have a method called with events of these kinds, before those who listen already.

        Only a weak reference is kept.
        """
        for kind in kinds:
            self._by_kind.setdefault(kind, []).insert(0, WeakMethod(listener))
        self.parent().installEventFilter(self)  # again: before the filters that came in between

    def forget(self, listener: Listener) -> None:
        """Call it no more."""
        for kind, methods in list(self._by_kind.items()):
            kept = [method for method in methods if method() not in (None, listener)]
            if kept:
                self._by_kind[kind] = kept
            else:
                del self._by_kind[kind]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Qt's hook."""
        methods = self._by_kind.get(event.type())
        if methods is None:
            return False
        for method in tuple(methods):
            listener = method()
            if listener is not None and listener(watched, event):
                return True
        return False
