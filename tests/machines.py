"""A Dask cluster on this machine: a scheduler and two workers, programs of their own that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryoppp_annotator.jobs.cluster import Cluster

N_WORKERS = 2


class Machines:
    """A scheduler and its workers as separate programs, in a folder that is not the test's.

    Parameters
    ----------
    folder : Path
    *modules : Path
        Folders whose modules and distributions they have beside what is installed.
    """

    def __init__(self, folder: Path, *modules: Path) -> None:
        self._folder, self._modules = folder, modules
        self.file = folder / "scheduler.json"
        self.begin()

    def begin(self) -> None:
        """Start all of them."""
        self.file.unlink(missing_ok=True)
        quiet = ["--no-dashboard", "--interface", "lo"]
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", self.file, *quiet)
        self.workers = [self.add() for _ in range(N_WORKERS)]

    def address(self) -> str:
        """Of a scheduler that has all its workers; what has died is started anew."""
        if self.scheduler.poll() is not None:
            self.stop()
            self.begin()
        wait_until(lambda: self.file.exists() and self.file.read_text().rstrip().endswith("}"))
        for worker in [w for w in self.workers if w.poll() is not None]:
            self.workers.remove(worker)
            self.workers.append(self.add())
        address: str = json.loads(self.file.read_text())["address"]
        with Cluster(address) as there:
            there.client.wait_for_workers(N_WORKERS, timeout=300)
        return address

    def add(self) -> subprocess.Popen[bytes]:
        """One more worker."""
        words = [
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--memory-limit",
            "0",
            "--scheduler-file",
            self.file,
        ]
        return self._start("worker", *words, "--local-directory", self._folder)

    def _start(self, what: str, *words: object) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{what}.log").open("ab")
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, words)]
        path = [*map(str, (*self._modules, Path(__file__).parent)), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, env=environment)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def wait_until(true: Callable[[], bool], seconds: float = 300.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        threading.Event().wait(0.02)
