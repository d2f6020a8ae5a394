"""Choose what long work runs on, and try whether it answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from ....errors import EngineError
from ....jobs.runner import Job, JobState
from ....model.context import JobContext
from ....session.classes.on_cluster import ClusterSize, look_at
from ...workbench import Workbench

_TIP = (
    "Where Propose on all unfinished, Classify and Denoise all ahead run. Propose here and what you look at\n"
    "stay on this computer, and so does the project: only the computing is done on the cluster"
)
_ADDRESS_TIP = (
    "Address of a Dask scheduler, as it says itself when it starts, or its scheduler file. Its workers need this\n"
    "program, and must see the micrographs and the project under the same paths"
)


class RunOnBox(QWidget):
    """The line *Run on* of the *Jobs* tab.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._choice = bench, bench.run_on
        self._job: Job | None = None
        self._tested = ""
        self._level = "info"
        self.place = QComboBox()
        self.place.addItem("this computer", False)
        self.place.addItem("a cluster (Dask)", True)
        self.address = QLineEdit()
        self.address.setPlaceholderText("tcp://host:8786, or a scheduler file")
        self.address.setToolTip(_ADDRESS_TIP)
        self.file = QPushButton("File …")
        self.file.setToolTip("Choose a scheduler file")
        self.test = QPushButton("Test")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self._lay_out()
        if self._choice.why_not:
            self.place.model().item(1).setEnabled(False)
            self.place.setItemText(1, "a cluster (not installed)")
        self.place.setToolTip(self._choice.why_not or _TIP)
        self.place.activated.connect(self._on_place)
        self.address.textEdited.connect(lambda _text: self._enable())
        self.address.editingFinished.connect(self._on_address)
        self.address.returnPressed.connect(self.start_test)
        self.file.clicked.connect(self._on_file)
        self.test.clicked.connect(self.start_test)
        self._choice.changed.connect(self.refresh)
        bench.themed.connect(self._colour)
        self.refresh()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(QLabel("Run on"))
        top.addWidget(self.place, 1)
        self._where = QWidget()
        where = QHBoxLayout(self._where)
        where.setContentsMargins(0, 0, 0, 0)
        where.addWidget(self.address, 1)
        where.addWidget(self.file)
        where.addWidget(self.test)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self._where)
        layout.addWidget(self.message)

    # ------------------------------------------------------------------ what is chosen

    def refresh(self) -> None:
        """Show what is chosen."""
        choice = self._choice
        on_cluster = choice.cluster and not choice.why_not
        with QSignalBlocker(self.place), QSignalBlocker(self.address):
            self.place.setCurrentIndex(1 if on_cluster else 0)
            self.address.setText(choice.address)
        self._where.setVisible(on_cluster)
        if choice.why_not:
            self._tell(f"{choice.why_not[0].upper()}{choice.why_not[1:]}", "note")
        elif not on_cluster:
            self._tell("", "note")
        elif not choice.address:
            self._tell("Say which: until then all runs on this computer.", "warning")
        elif self._tested != choice.address:
            self._tell("Not tested yet.", "note")
        if self._job is not None and self._tested != choice.scheduler:
            self._job.cancel()  # its answer is not needed any more
        self._enable()

    def _enable(self) -> None:
        why = "say where the cluster is first" if not self.address.text().strip() else ""
        why = "it is being tested" if self._job is not None else why
        self.test.setEnabled(not why)
        self.test.setToolTip(why or "Connects, and looks for the workers and whether they see the micrographs")

    def _on_place(self, row: int) -> None:
        self._choice.choose(bool(self.place.itemData(row)), self.address.text())

    def _on_address(self) -> None:
        self._choice.choose(self._choice.cluster, self.address.text())

    def _on_file(self) -> None:
        kinds = "Scheduler files (*.json);;All files (*)"
        path, _ = QFileDialog.getOpenFileName(self, "Scheduler file", str(Path.home()), kinds)
        if path:
            self._choice.choose(True, path)

    # ------------------------------------------------------------------ trying it

    def start_test(self) -> None:
        """Connect in the background, and say what is there."""
        self._on_address()
        address, session = self._choice.scheduler, self._bench.session
        if address is None or self._job is not None:
            return
        first = next((session.path_of(m) for m in session.micrographs if not m.problem), session.data_root)
        paths = [first.absolute(), session.store.folder.absolute()]

        def work(context: JobContext) -> ClusterSize | EngineError:
            try:
                return look_at(address, paths, context=context)
            except EngineError as error:  # an answer, too
                return error

        self._tested = address
        self._tell("Testing …", "note")
        self._job = self._bench.start(
            work,
            title=f"test the cluster at {address}",
            quiet=True,
            waits=True,
            on_done=partial(self._on_tested, address),
            on_failed=self._bench.job_failed,
            on_end=self._on_end,
        )
        self._enable()

    def _on_tested(self, address: str, answer: ClusterSize | EngineError) -> None:
        if address != self._choice.address:
            return
        if isinstance(answer, EngineError):
            text = str(answer).replace("/", "/\u200b")  # a long path may be broken, or the panel would grow with it
            self._tell(f"{text[:1].upper()}{text[1:]}", "error")
        else:
            self._tell(f"{answer.summary}; each sees the micrographs and the project.", "info")

    def _on_end(self, job: Job) -> None:
        if job is self._job:
            self._job = None
            if job.state is not JobState.DONE:
                self._tested = ""
            self._enable()

    def _tell(self, text: str, level: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))
        if level != self._level:
            self._level = level
            self._colour()

    def _colour(self) -> None:
        colour = self._bench.ink(self._level)
        self.message.setStyleSheet(f"color: {colour};" if colour else "")
