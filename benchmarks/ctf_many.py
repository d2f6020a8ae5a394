"""CTF and passports of many micrographs by the command line: seconds, memory, cancel and resume, a Dask cluster.

    .venv/bin/python benchmarks/ctf_many.py [-n 300] [--side 1536] [--kinds 15]

``--kinds`` different simulated micrographs, each under many names (hard links). Each row is a program of its own;
memory is its peak. "Cancelled" gets Ctrl-C once a third is done and is started again. The cluster is a scheduler and
two workers of one thread on this machine (``distributed`` must be installed); their memory is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import mrcfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from machines import Machines

from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for

PIXEL_A = 1.5
PROGRAM = [sys.executable, "-m", "cryoppp_annotator"]
OPTICS = ["--voltage", "300", "--cs", "2.7", "--amplitude-contrast", "0.1"]


def make(folder: Path, n: int, side: int, kinds: int) -> None:
    parameters = SimulationParameters(
        size=(side, side), pixel_size_A=PIXEL_A, n_particles=80, n_views=20, defocus_range_A=(8000.0, 25000.0)
    )
    views = views_for(parameters)
    folder.mkdir()
    for i in range(n):
        path = folder / f"m{i:04d}.mrc"
        if i >= kinds:
            os.link(folder / f"m{i % kinds:04d}.mrc", path)
            continue
        with mrcfile.new(path) as file:
            file.set_data(simulate_micrograph(parameters, i, views).image)
            file.voxel_size = PIXEL_A


def lines(record: Path) -> int:
    return record.read_text().count('"name":') if record.is_file() else 0


class Run:
    """One start of a command; its seconds, peak and answer."""

    def __init__(self, command: str, sources: list[Path], out: Path, *more: str, cancel_at: int = 0) -> None:
        words = [*PROGRAM, command, *map(str, sources), "-o", str(out), *OPTICS, *more, "--json"]
        record = out / f"{command}.jsonl"
        with tempfile.TemporaryFile() as answer:
            started = time.perf_counter()
            # a shell lets what it runs in the background ignore Ctrl-C
            heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
            process = subprocess.Popen(words, stdout=answer, stderr=subprocess.DEVNULL, preexec_fn=heed)
            while cancel_at and lines(record) < cancel_at:
                time.sleep(0.05)
            if cancel_at:
                asked = time.perf_counter()
                process.send_signal(signal.SIGINT)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.code = process.returncode
            self.wall = time.perf_counter() - started
            self.stopped_after = time.perf_counter() - asked if cancel_at else 0.0
            self.cpu, self.peak_mb = used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
            answer.seek(0)
            text = answer.read()
        self.answer = json.loads(text) if text and not cancel_at else {}
        self.done = self.answer.get("fitted_now", self.answer.get("measured_now", lines(record)))

    def row(self, what: str, n: int, note: str = "") -> None:
        print(
            f"| {what} | {n} | {self.done} | {self.wall:.0f} | {self.cpu:.0f} | {self.peak_mb:.0f} | {note} |",
            flush=True,
        )


def on_a_cluster(work: Path, sources: list[Path], n: int) -> None:
    machines = Machines(work)
    try:
        machines.address()
        run = Run("ctf", sources, work / "dask", "--scheduler", str(machines.file))
        answers = len(run.answer["micrographs"])
        run.row(
            "`ctf --scheduler`, two workers", n, f"{answers} with an answer; seconds and memory without the workers'"
        )
    finally:
        machines.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--side", type=int, default=1536)
    parser.add_argument("--kinds", type=int, default=15)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make(work / "in", chosen.n, chosen.side, chosen.kinds)
        everything = [work / "in"]
        few = sorted((work / "in").iterdir())[: chosen.n // 5]
        print("| command | micrographs | done now | wall, s | CPU, s | peak, MB | |\n|---|---|---|---|---|---|---|")
        Run("ctf", few, work / "few").row("`ctf`", len(few))
        whole = Run("ctf", everything, work / "all")
        whole.row("`ctf`", chosen.n, f"{len(whole.answer['micrographs'])} with an answer")
        cut = Run("ctf", everything, work / "cut", cancel_at=chosen.n // 3)
        cut.row(
            "`ctf`, Ctrl-C after a third", chosen.n, f"stopped {cut.stopped_after:.1f} s after, exit code {cut.code}"
        )
        again = Run("ctf", everything, work / "cut")
        same = [row["defocus_u_A"] for row in again.answer["micrographs"]] == [
            row["defocus_u_A"] for row in whole.answer["micrographs"]
        ]
        again.row("started again", chosen.n, f"{again.answer['kept']} kept; the same result: {same}")
        on_a_cluster(work, everything, chosen.n)
        Run("passport", few, work / "few").row("`passport`", len(few))
        Run("passport", everything, work / "all").row("`passport`", chosen.n)


if __name__ == "__main__":
    main()
