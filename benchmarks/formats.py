"""Speed and memory of coordinate files of the size that data sets have.

    python benchmarks/formats.py [--picks 300000] [--particles 1000000] [--repeats 3]

Measures RELION STAR reading and writing, beside the package ``starfile`` where it is installed (it is no dependency:
``pip install starfile`` into a scratch environment, and name its Python with ``--peer-python``). Each measurement
runs in a process of its own, so that peak memory (VmHWM) is of that one thing. Prints Markdown; exit code 1 where a
goal is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Of issue 3: seconds and MB.
READ_S, WRITE_S, PEAK_MB = 2.0, 4.0, 1000.0


@dataclass(frozen=True)
class Task:
    """One row of the table; ``goal_s`` and ``goal_mb`` are None where nothing was promised."""

    name: str
    title: str
    goal_s: float | None = None
    goal_mb: float | None = None
    peer: bool = False


TASKS = (
    Task("read_picks", "{picks:,} picks in one STAR, read", READ_S),
    Task("peer_read_picks", "the same with starfile", peer=True),
    Task("write_picks", "{picks:,} picks in one STAR, written", WRITE_S),
    Task("peer_write_picks", "the same with starfile", peer=True),
    Task("read_particles", "particles.star, {particles:,} rows of 12 columns, optics, read", None, PEAK_MB),
    Task("peer_read_particles", "the same with starfile", peer=True),
    Task("write_particles", "particles.star, {particles:,} rows, written"),
)


# --- the files -----------------------------------------------------------------------------------------------------


def make_picks(path: Path, n: int) -> None:
    """One micrograph's STAR as RELION's autopicking writes it."""
    rng = np.random.default_rng(0)
    x, y, score = rng.uniform(0, 8000, n), rng.uniform(0, 8000, n), rng.normal(size=n)
    labels = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", "rlnClassNumber", "rlnAnglePsi")
    with path.open("w") as stream:
        stream.write("\n# version 30001\n\ndata_\n\nloop_ \n")
        stream.writelines(f"_{label} #{i} \n" for i, label in enumerate(labels, 1))
        rows = zip(x.tolist(), y.tolist(), score.tolist(), strict=True)
        stream.writelines(f"{a:12.6f} {b:12.6f} {c:12.6f}            0     0.000000 \n" for a, b, c in rows)
        stream.write("\n")


def make_particles(path: Path, n: int) -> None:
    """RELION 3.1's particles.star of 2,500 micrographs: optics, and twelve columns."""
    rng = np.random.default_rng(1)
    labels = (
        "rlnCoordinateX",
        "rlnCoordinateY",
        "rlnAutopickFigureOfMerit",
        "rlnClassNumber",
        "rlnAnglePsi",
        "rlnImageName",
        "rlnMicrographName",
        "rlnOpticsGroup",
        "rlnCtfMaxResolution",
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
    )
    per = max(1, n // 2500)
    with path.open("w") as stream:
        stream.write("\n# version 30001\n\ndata_optics\n\nloop_ \n")
        optics = ("rlnOpticsGroupName", "rlnOpticsGroup", "rlnMicrographOriginalPixelSize", "rlnVoltage")
        optics += ("rlnSphericalAberration", "rlnAmplitudeContrast")
        stream.writelines(f"_{label} #{i} \n" for i, label in enumerate(optics, 1))
        stream.write("opticsGroup1 1 1.310000 300.000000 2.700000 0.100000 \n\n\n")
        stream.write("# version 30001\n\ndata_particles\n\nloop_ \n")
        stream.writelines(f"_{label} #{i} \n" for i, label in enumerate(labels, 1))
        for start in range(0, n, per):
            k = min(per, n - start)
            x, y, score = rng.uniform(0, 4000, k), rng.uniform(0, 4000, k), rng.normal(size=k)
            name = f"FoilHole_{start // per:06d}_Data_fractions"
            defocus = rng.uniform(8000, 20000)
            stream.writelines(
                f"{x[i]:12.6f} {y[i]:12.6f} {score[i]:12.6f}            0     0.000000 "
                f"{i + 1:06d}@Extract/job007/Movies/{name}.mrcs MotionCorr/job002/Movies/{name}.mrc            1 "
                f"    3.800000 {defocus:12.6f} {defocus - 200:12.6f}    45.000000 \n"
                for i in range(k)
            )
        stream.write("\n")


# --- one measurement, in its own process ---------------------------------------------------------------------------


def measure(name: str, folder: Path) -> dict[str, float]:
    """Seconds, and the peak memory of this process in MB."""
    prepared = PREPARE[name](folder)
    started = time.perf_counter()
    n = prepared()
    return {"seconds": time.perf_counter() - started, "mb": _peak_mb(), "rows": float(n)}


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _reading(file: str, format: str) -> Callable[[Path], Callable[[], int]]:
    def prepare(folder: Path) -> Callable[[], int]:
        from cryoppp_annotator.extensions import formats
        from cryoppp_annotator.formats.registry import read_any

        known = list(formats().values())
        return lambda: read_any(folder / file, known, format=format).n_picks

    return prepare


def _writing(file: str, format: str) -> Callable[[Path], Callable[[], int]]:
    def prepare(folder: Path) -> Callable[[], int]:
        from cryoppp_annotator.extensions import formats
        from cryoppp_annotator.model.pickfile import WriteOptions

        fmt = formats()[format]
        picks = [_outgoing(part) for part in fmt.read(folder / file).picks]

        def write() -> int:
            fmt.write(folder / "out", picks, WriteOptions())
            return sum(map(len, picks))

        return write

    return prepare


def _outgoing(part: Any) -> Any:
    from cryoppp_annotator.model.micrograph import Micrograph
    from cryoppp_annotator.model.pickfile import MicrographPicks

    n = len(part)
    name = Path(part.micrograph).stem
    return MicrographPicks(
        Micrograph(1, name, part.micrograph, 8000, 8000),
        1.31,
        part.x,
        part.y,
        np.full(n, 100.0),
        part.score,
        np.ones(n, np.int8),
        part.class_id,
        part.extra,
    )


def _peer_reading(file: str) -> Callable[[Path], Callable[[], int]]:
    def prepare(folder: Path) -> Callable[[], int]:
        import starfile

        def read() -> int:
            return max(len(table) for table in starfile.read(folder / file, always_dict=True).values())

        return read

    return prepare


def _peer_writing(folder: Path) -> Callable[[], int]:
    import starfile

    table = starfile.read(folder / "picks.star")

    def write() -> int:
        starfile.write(table, folder / "peer.star", overwrite=True)
        return len(table)

    return write


PREPARE = {
    "read_picks": _reading("picks.star", "relion"),
    "write_picks": _writing("picks.star", "relion"),
    "read_particles": _reading("particles.star", "relion-particles"),
    "write_particles": _writing("particles.star", "relion-particles"),
    "peer_read_picks": _peer_reading("picks.star"),
    "peer_write_picks": _peer_writing,
    "peer_read_particles": _peer_reading("particles.star"),
}


# --- all of them ---------------------------------------------------------------------------------------------------


def main() -> int:
    options = _options()
    if options.measure:
        print(json.dumps(measure(options.measure, options.folder)))
        return 0
    lines = ["| task | median, s | peak, MB | goal |", "|---|---|---|---|"]
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_picks(folder / "picks.star", options.picks)
        make_particles(folder / "particles.star", options.particles)
        for task in TASKS:
            runs = _runs(task, folder, options)
            missed |= bool(runs) and _misses(task, runs)
            lines.append(_row(task, runs, options))
    print("\n".join(lines))
    return 1 if missed else 0


def _runs(task: Task, folder: Path, options: argparse.Namespace) -> list[dict[str, float]]:
    """The measurements; none where the peer is not installed."""
    python = options.peer_python if task.peer else sys.executable
    words = [python, __file__, "--measure", task.name, "--folder", str(folder)]
    runs = []
    for _ in range(options.repeats):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode and task.peer:
            print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
            return []
        if done.returncode:
            raise SystemExit(done.stderr)
        runs.append(json.loads(done.stdout))
    assert {run["rows"] for run in runs} == {options.particles if "particles" in task.name else options.picks}
    return runs


def _misses(task: Task, runs: list[dict[str, float]]) -> bool:
    slow = task.goal_s is not None and statistics.median(run["seconds"] for run in runs) > task.goal_s
    return slow or (task.goal_mb is not None and max(run["mb"] for run in runs) > task.goal_mb)


def _row(task: Task, runs: list[dict[str, float]], options: argparse.Namespace) -> str:
    title = task.title.format(picks=options.picks, particles=options.particles)
    if not runs:
        return f"| {title} | not installed | | |"
    goal = f"{task.goal_s:g} s" if task.goal_s else f"{task.goal_mb:,.0f} MB" if task.goal_mb else ""
    if goal:
        goal = f"{goal}: {'MISSED' if _misses(task, runs) else 'met'}"
    seconds = statistics.median(run["seconds"] for run in runs)
    return f"| {title} | {seconds:.2f} | {max(run['mb'] for run in runs):,.0f} | {goal} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picks", type=int, default=300_000)
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable, help="Python that has starfile")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
