"""The process that runs a plugin: it reads calls from its standard input and answers on what was its standard output.

Whatever the plugin prints, from Python or C, goes to standard error, which the program logs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import sys
import threading
import time
import traceback
from importlib.metadata import entry_points
from typing import IO, Any

from ..errors import AnnotatorError
from ..model.context import JobContext

#: Seconds between looks at who started this process.
_LOOK_S = 0.3
#: Of Linux' ``prctl``.
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Answer calls until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    calls = sys.stdin.buffer
    lock = threading.Lock()
    own = os.getpid()
    _adopt_orphans()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            call = pickle.load(calls)
        except EOFError:
            return
        answer = _answer(call, answers, lock)
        if os.getpid() != own:  # the plugin forked, and this is its child
            os._exit(0)
        _put(answers, lock, *answer)


def _adopt_orphans() -> None:
    """Children of children stay below this process, so that they can be ended with it (Linux)."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError, TypeError):
        return


def _end_with(parent: int) -> None:
    """A program that was killed cannot end what it started: look whether it is still there."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _answer(call: dict[str, Any], answers: IO[bytes], lock: threading.Lock) -> tuple[str, Any]:
    def progress(done: float, total: float, message: str) -> None:
        _put(answers, lock, "progress", (float(done), float(total), str(message)))

    def log(message: str) -> None:
        _put(answers, lock, "log", str(message))

    context = JobContext(on_progress=progress, on_log=log, seed=call["seed"])
    for name, value in call["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    with contextlib.suppress(OSError):
        os.chdir(call["folder"])  # an earlier call may have left it
    try:
        (point,) = list(entry_points(group=call["group"], name=call["name"]))[:1]
        plugin = point.load()
        words = {**call["words"], "context": context} if call["with_context"] else call["words"]
        answer = getattr(plugin, call["method"])(*call["arguments"], **words)
        pickle.dumps(answer)
        return "answer", answer
    except AnnotatorError as error:
        return "error", str(error)
    except BaseException as error:  # sys.exit too: the process may end, the program goes on
        return "raised", (f"{type(error).__name__}: {error}", traceback.format_exc())


def _put(answers: IO[bytes], lock: threading.Lock, kind: str, content: Any) -> None:
    with lock:
        pickle.dump((kind, content), answers)
        answers.flush()


if __name__ == "__main__":
    main()
