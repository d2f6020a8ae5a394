"""An outside program as part of a job: its own process, killed on cancel, its last words in the error."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import EngineError, disk_reason
from ..model.context import JobContext

_QUIET = JobContext()
#: Seconds between looks at the cancel flag.
_TICK_S = 0.1
#: Seconds that a program is given to stop before it is killed.
_GRACE_S = 0.3
_KEPT_LINES = 400
_POSIX = os.name == "posix"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program that ended well wrote.

    Attributes
    ----------
    output, errors : tuple of str
        The last lines of stdout and of stderr.
    seconds : float
    """

    output: tuple[str, ...]
    errors: tuple[str, ...]
    seconds: float


def find_program(name: str, variable: str = "") -> Path | None:
    """The program an environment variable names, else the one of that name on the PATH; None where there is none.

    Parameters
    ----------
    name : str
    variable : str
        A variable that holds the program's path, or that of a folder it lies in (itself, ``bin`` or ``Scripts``).
    """
    wished = os.environ.get(variable, "") if variable else ""
    if not wished:
        path_found = shutil.which(name)
        return None if path_found is None else Path(path_found)
    path = Path(wished).expanduser()
    for folder in (path, path / "bin", path / "Scripts"):
        path_found = shutil.which(name, path=str(folder))
        if path_found is not None:
            return Path(path_found)
    path_found = shutil.which(str(path))
    return None if path_found is None else Path(path_found)


def run_process(
    words: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    mend: str = "",
    on_line: Callable[[str], None] | None = None,
    context: JobContext = _QUIET,
) -> Ran:
    """Run a program to its end; a cancelled job kills it and all it started within a second.

    Parameters
    ----------
    words : sequence of str or Path
        Program and arguments.
    folder : Path, optional
        Where it runs.
    environment : mapping, optional
        Variables that differ from ours.
    mend : str
        What to do where the program is not there, for the error.
    on_line : callable, optional
        Gets each line it writes (stdout and stderr; a carriage return ends one too), on this thread.
    context : JobContext
        Asked ten times a second; its log gets the command.

    Raises
    ------
    EngineError
        It is not there, or ended with an error: the message carries the last lines of its stderr.
    Cancelled
    """
    command = [str(word) for word in words]
    name = Path(command[0]).name
    context.check()
    context.log("$ " + " ".join(command))
    begun = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=_POSIX,
        )
    except OSError as error:
        where = f" in {folder}" if folder is not None and not folder.is_dir() else ""
        message = f"{name} cannot be started{where} ({disk_reason(error)})"
        raise EngineError(f"{message}; {mend}" if mend else message) from error
    kept: dict[str, deque[str]] = {"out": deque(maxlen=_KEPT_LINES), "err": deque(maxlen=_KEPT_LINES)}
    lines: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    for label, stream in (("out", process.stdout), ("err", process.stderr)):
        threading.Thread(target=_pump, args=(stream, label, lines), name=f"{name} {label}", daemon=True).start()
    try:
        _follow(process, lines, kept, on_line, context)
    finally:
        # also after a good end: what it started in the background must not live on
        _stop(process)
    if process.returncode != 0:
        raise EngineError(_failure(name, process.returncode, kept))
    return Ran(tuple(kept["out"]), tuple(kept["err"]), time.monotonic() - begun)


def _pump(stream: IO[str] | None, label: str, lines: queue.SimpleQueue[tuple[str, str | None]]) -> None:
    if stream is not None:
        with stream:
            for line in stream:
                lines.put((label, line.rstrip()))
    lines.put((label, None))


def _follow(
    process: subprocess.Popen[str],
    lines: queue.SimpleQueue[tuple[str, str | None]],
    kept: Mapping[str, deque[str]],
    on_line: Callable[[str], None] | None,
    context: JobContext,
) -> None:
    """Until it has ended and said all. A background process that holds the pipes open is not waited for."""
    open_streams = 2
    while True:
        context.check()
        try:
            label, line = lines.get(timeout=_TICK_S)
        except queue.Empty:
            if process.poll() is not None:
                return
            continue
        if line is None:
            open_streams -= 1
            if open_streams == 0:
                while process.poll() is None:
                    context.check()
                    time.sleep(_TICK_S / 10)
                return
        else:
            kept[label].append(line)
            if on_line is not None:
                on_line(line)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process and its group: asked first, then killed."""
    running = process.poll() is None
    if not running and not _POSIX:
        return
    _signal(process, signal.SIGTERM)
    if running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        _signal(process, signal.SIGKILL if _POSIX else signal.SIGTERM)
        process.wait()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it and its group are gone
        if _POSIX:
            os.killpg(process.pid, number)
        else:
            process.terminate()


def _failure(name: str, code: int, kept: Mapping[str, deque[str]]) -> str:
    output = [line.strip() for line in (kept["err"] or kept["out"]) if line.strip()]
    how = f"failed (exit code {code})" if code > 0 else f"was killed by signal {-code}"
    if code == -9:
        how += ", as the system does when memory runs out"
    last = " | ".join(output[-4:])
    if len(last) > 500:
        last = "... " + last[-500:]
    return f"{name} {how}: {last}" if last else f"{name} {how} and said nothing"
