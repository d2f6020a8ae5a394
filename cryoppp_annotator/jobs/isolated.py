"""Other people's code in a separate process: it may print, exit, crash or never return, and the program goes on."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..model.context import JobContext

log = logging.getLogger(__name__)

#: Seconds between looks at the cancel flag.
_TICK_S = 0.1
#: Looks after the end of a process until it counts as ended, though a child of it may hold its answers open.
_TICKS_AFTER = 10
#: Bytes of one line that are read of what a plugin prints.
_LONGEST_LINE = 1 << 16
_POSIX = os.name == "posix"


class _Worker:
    """One process, and a thread that reads its answers."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._environment = dict(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cryoppp_annotator.jobs.isolated_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=_POSIX,
            env={**os.environ, "PYTHONPATH": _search_path()},
        )
        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._last_words = ""
        threading.Thread(target=self._read, daemon=True).start()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def call(self, request: dict[str, Any], context: JobContext) -> Any:
        assert self._process.stdin is not None
        request = {**request, "environment": self._changed_environment()}
        try:
            pickle.dump(request, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: the reader says how
        ticks_after = 0
        while True:
            context.check()
            try:
                kind, content = self._answers.get(timeout=_TICK_S)
            except queue.Empty:
                ticks_after += not self.alive
                if ticks_after > _TICKS_AFTER:
                    self._answers.put(("ended", _how(self._process.returncode)))
                continue
            if kind == "progress":
                context.progress(*content)
            elif kind == "log":
                context.log(content)
            elif kind == "answer":
                return content
            elif kind == "error":
                raise EngineError(content)
            elif kind == "raised":
                log.debug("%s failed:\n%s", self._plugin, content[1])
                raise EngineError(f"the plugin {self._plugin!r} failed ({content[0]})")
            else:
                raise EngineError(f"the plugin {self._plugin!r} ended its process ({content})")

    def _changed_environment(self) -> dict[str, str | None]:
        """Environment variables that differ from what the process has; None = unset."""
        before, self._environment = self._environment, dict(os.environ)
        names = before.keys() | self._environment.keys()
        now = {name: self._environment.get(name) for name in names}
        return {name: value for name, value in now.items() if value != before.get(name)}

    def end(self) -> None:
        """Kill it, and what it started."""
        for number in descendants(self._process.pid):  # also those in sessions of their own
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)
        with contextlib.suppress(OSError):
            if _POSIX:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._answers.put(pickle.load(self._process.stdout))
        except Exception as error:
            if not isinstance(error, EOFError | OSError) and self.alive:
                # what it returned cannot be made here: a class that only its process knows, or rubbish
                self._answers.put(("raised", (f"its answer cannot be read: {type(error).__name__}: {error}", "")))
                return
            code = self._process.wait()
            self._listener.join(1.0)
            self._answers.put(("ended", _how(code) + (f"; it said: {self._last_words}" if self._last_words else "")))

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in iter(partial(self._process.stderr.readline, _LONGEST_LINE), b""):
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self._last_words = text[:200]
                log.info("%s: %s", self._plugin, text)
        self._process.stderr.close()


def descendants(number: int) -> list[int]:
    """Processes that a process has started, and those that they have; empty where the system does not say."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    below = list(children.get(number, ()))
    for child in below:
        below += children.get(child, ())
    return below


def _how(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _search_path() -> str:
    """Where this process looks for packages: the other one finds the same plugins."""
    return os.pathsep.join(path for path in sys.path if path)


#: Workers that wait for a call, by entry-point group, name and search path.
_idle: dict[tuple[str, str, str], list[_Worker]] = {}
_lock = threading.Lock()


def call_isolated(
    group: str,
    name: str,
    method: str,
    arguments: Sequence[Any],
    words: Mapping[str, Any],
    context: JobContext,
    *,
    with_context: bool = True,
) -> Any:
    """Call a method of the plugin that an entry point names, in a separate process.

    The process stays for the next call; it is killed, with what it started, where the job is cancelled.

    Parameters
    ----------
    group, name : str
        The entry point.
    method : str
        Called with ``arguments``, ``words`` and a ``context`` whose progress and log are the job's.
    with_context : bool
        Whether the method takes a context.

    Raises
    ------
    EngineError
        The plugin failed, exited, crashed, or gave what cannot be sent.
    Cancelled
    """
    key = (group, name, _search_path())
    with _lock:
        free = _idle.setdefault(key, [])
        worker = free.pop() if free else None
    if worker is None or not worker.alive:
        worker = _Worker(name)
    request = {
        "group": group,
        "name": name,
        "method": method,
        "arguments": tuple(arguments),
        "words": dict(words),
        "seed": context.seed,
        "with_context": with_context,
        "folder": os.getcwd(),
    }
    try:
        answer = worker.call(request, context)
    except BaseException:
        worker.end()
        raise
    with _lock:
        _idle[key].append(worker)
    return answer


@atexit.register
def end_idle() -> None:
    """End the processes that wait for a call."""
    with _lock:
        workers = [worker for free in _idle.values() for worker in free]
        _idle.clear()
    for worker in workers:
        worker.end()
