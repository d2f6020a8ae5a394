"""An outside program in a job: output, errors, cancel."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.jobs.process import find_program, run_process
from cryoppp_annotator.model.context import JobContext


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie, which nobody reaps in a container, does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether processes have ended; the kernel needs a moment to end what was killed."""
    deadline = time.monotonic() + 120
    while any(map(alive, pids)) and time.monotonic() < deadline:
        os.sched_yield()
    return not any(map(alive, pids))


def test_output_errors_and_log_are_kept(tmp_path: Path) -> None:
    seen: list[str] = []
    log: list[str] = []
    script = "import sys, os; print('one'); print('a\\rb', file=sys.stderr); print(os.getcwd(), os.environ['WISH'])"
    ran = run_process(
        python(script),
        folder=tmp_path,
        environment={"WISH": "7"},
        on_line=seen.append,
        context=JobContext(on_log=log.append),
    )
    assert ran.output == ("one", f"{tmp_path.resolve()} 7")
    assert ran.errors == ("a", "b")
    assert sorted(seen) == sorted([*ran.output, *ran.errors])
    assert log[0].startswith(f"$ {sys.executable}")


def test_the_last_words_are_in_the_error() -> None:
    script = "import sys; print('working'); print('first\\nno such file: x.mrc', file=sys.stderr); sys.exit(3)"
    with pytest.raises(EngineError, match=r"failed \(exit code 3\): first \| no such file: x\.mrc"):
        run_process(python(script))


def test_one_killed_by_the_system_is_told() -> None:
    with pytest.raises(EngineError, match=r"killed by signal 9.*memory"):
        run_process(python("import os; os.kill(os.getpid(), 9)"))


def test_a_missing_program_says_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"no-such-program-here cannot be started .*; install it"):
        run_process(["no-such-program-here"], mend="install it")


def test_much_output_is_no_deadlock_and_not_all_kept() -> None:
    ran = run_process(python("for i in range(200000): print(i)"))
    assert ran.output[-1] == "199999"
    assert len(ran.output) < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_cancel_kills_it_and_what_it_started(tmp_path: Path) -> None:
    # deaf to being asked, and with a child of its own that holds the pipes
    child = "import time; time.sleep(1e6)"
    script = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print(os.getpid(), child.pid, flush=True); time.sleep(1e6)"
    )
    pids: list[int] = []
    cancel = threading.Event()

    def on_line(line: str) -> None:
        pids.extend(map(int, line.split()))
        cancel.set()

    with pytest.raises(Cancelled):  # and not after the days that it would sleep
        run_process(python(script), on_line=on_line, context=JobContext(is_cancelled=cancel.is_set))
    assert len(pids) == 2
    assert gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_it_leaves_in_the_background_ends_with_it() -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1e6)'])\n"
        "print(child.pid)"
    )
    ran = run_process(python(script))
    assert gone([int(ran.output[0])])


def test_a_program_is_found_by_variable_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "mytool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program("mytool") is None
    for value in (program, program.parent, tmp_path):
        monkeypatch.setenv("MY_TOOL", str(value))
        assert find_program("mytool", "MY_TOOL") == program
    monkeypatch.setenv("MY_TOOL", str(tmp_path / "elsewhere"))
    assert find_program("mytool", "MY_TOOL") is None
    monkeypatch.delenv("MY_TOOL")
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_program("mytool", "MY_TOOL") == program
