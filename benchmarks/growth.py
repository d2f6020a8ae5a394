"""Import, status and export as a project grows: time, processor time, memory, and what ten million picks would take.

    python benchmarks/growth.py [-n 2000 5000 50000] [--picks 50] [--to relion] [--folder DIR]

Micrographs are small (their headers are read, not their pixels), with PICKS picks each in a STAR of its own, as RELION
writes them. Each command starts cold. Seconds are the processor's, of the whole process tree, and wall; the last column
is the largest resident set of any one process. The last row extrapolates the largest two linearly.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np

PROGRAM = (sys.executable, "-m", "cryoppp_annotator")
COMMANDS = ("import", "status", "export")


def make(folder: Path, n: int, picks: int) -> None:
    """``n`` micrographs and their STARs."""
    (folder / "movies").mkdir(parents=True)
    (folder / "picks").mkdir()
    rng = np.random.default_rng(0)
    with mrcfile.new(folder / "one.mrc") as file:
        file.set_data(rng.normal(size=(64, 64)).astype(np.float32))
        file.voxel_size = 1.5
    data = bytearray((folder / "one.mrc").read_bytes())
    head = "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAutopickFigureOfMerit #3\n"
    for i in range(n):
        data[-8:] = i.to_bytes(8, "little")  # no two files of one fingerprint
        (folder / "movies" / f"mic_{i:06d}.mrc").write_bytes(data)
        rows = "".join(f"{x:.3f} {y:.3f} {s:.4f}\n" for x, y, s in rng.uniform(0, 64, (picks, 3)).tolist())
        (folder / "picks" / f"mic_{i:06d}.star").write_text(f"{head}{rows}\n")


def commands(folder: Path, to: str) -> dict[str, list[object]]:
    """What is measured, in this order."""
    project = folder / "project"
    sources = ["--micrographs", folder / "movies", "--coords", folder / "picks"]
    return {
        "import": ["import", project, *sources, "--frame", "as-stored"],
        "status": ["status", project],
        "export": ["export", project, "-o", folder / "out", "--to", to, "--decision", "all"],
    }


def measured(words: list[object]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds, MB of the largest process."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen([*PROGRAM, *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} failed")
    del before
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, nargs="+", default=[2000, 5000], help="micrographs")
    parser.add_argument("--picks", type=int, default=50, help="on each")
    parser.add_argument("--to", default="relion", help="format of the export")
    parser.add_argument("--folder", type=Path, help="where everything is made")
    options = parser.parse_args()
    print("| command | micrographs | picks | wall, s | CPU, s | peak, MB |\n|---|---|---|---|---|---|")
    costs: dict[str, list[tuple[int, float, float, float]]] = {name: [] for name in COMMANDS}
    for n in options.n:
        folder = Path(tempfile.mkdtemp(prefix="growth-", dir=options.folder))
        try:
            make(folder, n, options.picks)
            for name, words in commands(folder, options.to).items():
                wall, cpu, mb = measured(words)
                costs[name].append((n, wall, cpu, mb))
                print(f"| {name} | {n:,} | {n * options.picks:,} | {wall:.1f} | {cpu:.1f} | {mb:.0f} |", flush=True)
        finally:
            shutil.rmtree(folder)
    if len(options.n) > 1:
        _extrapolate(costs, 10_000_000 // options.picks, options.picks)


def _extrapolate(costs: dict[str, list[tuple[int, float, float, float]]], n: int, picks: int) -> None:
    for name, rows in costs.items():
        (n0, *before), (n1, *after) = sorted(rows)[-2:]
        wall, cpu, mb = (b + (b - a) / (n1 - n0) * (n - n1) for a, b in zip(before, after, strict=True))
        print(f"| {name}, on paper | {n:,} | {n * picks:,} | {wall:.0f} | {cpu:.0f} | {mb:.0f} |")


if __name__ == "__main__":
    main()
