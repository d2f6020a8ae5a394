"""What every test gets: no file of the user's is touched, real data where it is there, windows on a virtual display."""

from __future__ import annotations

import atexit
import gc
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before anything imports napari, Qt or platformdirs: a test run must never read or write the user's own settings.
_HOME = Path(tempfile.mkdtemp(prefix="cryoppp-annotator-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "CRYOPPP_ANNOTATOR_HOME"):
    _folder = _HOME / _variable.lower()
    _folder.mkdir()
    os.environ[_variable] = str(_folder)
os.environ["NAPARI_CONFIG"] = str(_HOME / "napari-settings.yaml")
os.environ.setdefault("QT_API", "pyqt5")
os.environ["PYTEST_QT_API"] = os.environ["QT_API"]
# The tests' windows are X11's (pytest-xvfb starts the server), also on a desktop that runs Wayland.
if sys.platform.startswith("linux"):
    os.environ.pop("WAYLAND_DISPLAY", None)
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    if "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["XDG_RUNTIME_DIR"] = str(_HOME)

REPOSITORY = Path(__file__).resolve().parents[1]
_WINDOWS_SEEN = pytest.StashKey[int]()
#: Windows after which what they left is taken as kept.
_WINDOWS_BETWEEN = 8

# The same examples each time, so that a change is judged by what it did; `thorough` is for searching.
hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _data_folder() -> Path:
    return Path(os.environ.get("CRYOPPP_TEST_DATA", REPOSITORY.parent / "shared" / "data")).resolve()


def pytest_configure(config: pytest.Config) -> None:
    """A data folder that was named must be there: a typing error must not skip the tests."""
    if "CRYOPPP_TEST_DATA" in os.environ and not _data_folder().is_dir():
        raise pytest.UsageError(f"CRYOPPP_TEST_DATA: no such folder: {_data_folder()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in tests/gui, skip what needs something that this machine lacks, begin with what takes long."""
    no_data = pytest.mark.skip(reason=f"no real data: {_data_folder()} does not exist (see CRYOPPP_TEST_DATA)")
    no_relion = pytest.mark.skip(reason="RELION is not installed (Debian: apt-get install relion)")
    data_here = _data_folder().is_dir()
    # In CI the set-up has installed it, so that a missing one is a failure.
    relion_here = shutil.which("relion_star_handler") is not None or "CI" in os.environ
    for item in items:
        if item.path.is_relative_to(REPOSITORY / "tests" / "gui"):
            item.add_marker("gui")
        if not data_here and item.get_closest_marker("realdata"):
            item.add_marker(no_data)
        if not relion_here and item.get_closest_marker("relion"):
            item.add_marker(no_relion)
    # the long ones first: at the end, one core would wait for the other
    items.sort(key=lambda item: not (item.get_closest_marker("slow") or item.get_closest_marker("topaz")))


def pytest_collection_finish() -> None:
    """What is imported now stays. napari collects garbage several times a test: it need not go through all of it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """The same for what windows leave behind that are closed, and no longer watched for leaks.

    The first one imports much; and napari's own fixture keeps some 4,500 objects of each (menus and their actions),
    through which every later collection would go.
    """
    yield
    if item.get_closest_marker("gui"):
        seen = item.config.stash[_WINDOWS_SEEN] = item.config.stash.get(_WINDOWS_SEEN, 0) + 1
        if seen % _WINDOWS_BETWEEN == 1:
            gc.collect()
            gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail where a window cannot be opened: Qt would abort the whole process, and a skip would go unseen."""
    no_display = sys.platform.startswith("linux") and "DISPLAY" not in os.environ
    if no_display and item.get_closest_marker("gui"):
        pytest.fail("no display, and Xvfb is not installed (Debian: apt-get install xvfb xauth)", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what `make test` checked before the suite, so that a failure up there is seen down here."""
    report = os.environ.get("CRYOPPP_CHECKS_REPORT")
    if report and Path(report).is_file():
        terminalreporter.section("checks before the test suite")
        for line in Path(report).read_text().splitlines():
            terminalreporter.write_line(line, red=line.startswith("FAILED"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real micrographs; its README says what is in it."""
    folder = _data_folder()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (see CRYOPPP_TEST_DATA)")
    return folder


def _wake(runner: weakref.ref[Any]) -> None:
    if (living := runner()) is not None:
        living.wake()


class Jitter:
    """A slow, loaded machine on which jobs end in any order: ``CRYOPPP_JITTER=SEED pytest ...``, for searching.

    Each job of a :class:`~cryoppp_annotator.jobs.runner.Runner` waits up to 0.3 s before it starts and again before it
    ends, and what it brings is delivered up to 0.3 s later, of several the latest first.
    """

    LONGEST_S = 0.3

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._due: dict[int, float] = {}  # job -> when its result may be delivered

    def _while(self) -> float:
        return self._random.uniform(0, self.LONGEST_S)

    def into(self, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make all runners slow."""
        run, finish, deliver = runner._run, runner._finish, runner.deliver

        def slow_run(itself: Any, job: Any, *arguments: Any) -> Any:
            job._cancel.wait(self._while())
            return run(itself, job, *arguments)

        def slow_finish(itself: Any, job: Any, future: Any, *callbacks: Any) -> None:
            # a job that is cancelled while it is queued ends in the thread that cancels it: the window's
            if threading.current_thread() is not threading.main_thread():
                time.sleep(self._while())
            self._due[id(job)] = time.monotonic() + self._while()
            finish(itself, job, future, *callbacks)

        def slow_deliver(itself: Any) -> int:
            """Those that are due, the latest first; the others stay."""
            ended = []
            while not itself._finished.empty():
                ended.append(itself._finished.get())
            now = time.monotonic()
            due = [entry for entry in ended if self._due.get(id(entry[0]), now) <= now]
            early = [entry for entry in ended if entry not in due]
            for entry in reversed(due):
                itself._finished.put(entry)
            try:
                n: int = deliver(itself)
                return n
            finally:
                for entry in early:
                    itself._finished.put(entry)
                if early:
                    # weakly: a window that was closed must not be kept by it
                    waker = threading.Timer(self._while(), _wake, [weakref.ref(itself)])
                    waker.daemon = True
                    waker.start()

        monkeypatch.setattr(runner, "_run", slow_run)
        monkeypatch.setattr(runner, "_finish", slow_finish)
        monkeypatch.setattr(runner, "deliver", slow_deliver)


@pytest.fixture(autouse=True)
def jitter(request: pytest.FixtureRequest) -> Iterator[None]:
    """See :class:`Jitter`; nothing by default. Each test has its own numbers, whatever runs before it."""
    seed = os.environ.get("CRYOPPP_JITTER")
    if not seed:
        yield
        return
    from cryoppp_annotator.jobs.runner import Runner

    with pytest.MonkeyPatch.context() as monkeypatch:
        Jitter(f"{seed} {request.node.nodeid}").into(Runner, monkeypatch)
        yield
