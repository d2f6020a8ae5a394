"""Time, cores and memory of the whole road over many micrographs of 4096 x 4096: ``denoise``, ``pick``, ``extract``.

    .venv/bin/python benchmarks/road.py [--data ../shared/data] [-n 30 100 300] [--picks 50000 ...] [--only denoise ...]

Six float32 micrographs of 64 MiB are made of the two of EMPIAR-10017 (turned, with noise added) and stand in the
folder under N names; ``extract`` cuts 500 boxes of 96 px from each. Each row is one command, from a cold start. Cores
busy: processor seconds of the whole process tree over wall seconds; it says little where other programs run. Cores
wanted: threads that run or wait for a core, no more than there are, on average over the whole run; on a machine that
has nothing else to do the two are the same. Memory: peak of the sum over the tree of what each process holds for itself
and its share of what it shares; mapped files, which the system takes back at will, are not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import psutil

from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.patches import PatchOptions, box_for, extract_patches

PIXEL_A, DIAMETER_A = 1.77, 191.0
KINDS, PICKS_EACH = 6, 500
PROGRAM = (sys.executable, "-m", "cryoppp_annotator")

#: What a window does for "propose on all": a project of the folder, the picker on every micrograph, one entry.
INTO_PROJECT = """
import sys
from pathlib import Path
from cryoppp_annotator.session.picks import proposing
from cryoppp_annotator.session.core.opening import open_plan, plan
session = open_plan(plan(Path(sys.argv[1]), Path(sys.argv[2])), curator="bench")
session.set_diameter(191.0)
proposing.enter(session, proposing.propose(session, "log", list(session.micrographs)), print)
session.close()
"""


@dataclass
class Seen:
    """Of a process tree while it ran: threads that wanted a core, at most as many as there are; memory."""

    runnable: list[int] = field(default_factory=list)
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Of one command."""

    wall_s: float
    cpu_s: float
    seen: Seen


def measured(command: Iterable[object]) -> Cost:
    """Run a command and watch its process tree."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([str(word) for word in command], stdout=said, stderr=subprocess.STDOUT)
        seen, over = Seen(), threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, seen, over))
        watcher.start()
        code = process.wait()
        wall = time.perf_counter() - begun
        over.set()
        watcher.join()
        if code:
            said.seek(0)
            raise SystemExit(f"{' '.join(map(str, command))}\n{said.read().decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Cost(wall, cpu, seen)


def _watch(pid: int, seen: Seen, over: threading.Event) -> None:
    cores, n_looks = os.cpu_count() or 1, 0
    while not over.wait(0.02):
        try:
            root = psutil.Process(pid)
            tree = [root.pid, *(child.pid for child in root.children(recursive=True))]
        except psutil.Error:
            return
        seen.runnable.append(min(cores, sum(map(_runnable, tree))))
        n_looks += 1
        if n_looks % 10 == 0:
            seen.peak_mb = max(seen.peak_mb, sum(map(_own_mb, tree)))


def _runnable(pid: int) -> int:
    """Threads of a process that run, or would if they had a core."""
    n = 0
    try:
        for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
            n += stat.read_text().rpartition(")")[2].split()[0] in "RD"
    except OSError:
        pass
    return n


def _own_mb(pid: int) -> float:
    """Anonymous memory of a process, its share of what it shares with others, MB."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon:")) / 1024


def make_kinds(data: Path, folder: Path) -> list[Path]:
    """Some micrographs that differ."""
    rng = np.random.default_rng(0)
    real = [np.asarray(images.read(p), np.float32) for p in sorted((data / "cryoppp/10017/micrographs").glob("*.mrc"))]
    kinds = []
    for i in range(KINDS):
        pixels = np.rot90(real[i % len(real)], i // len(real))
        path = folder / f"kind{i}.mrc"
        with mrcfile.new(path) as file:
            file.set_data(pixels + 20.0 * rng.standard_normal(pixels.shape, np.float32))
            file.voxel_size = PIXEL_A
        kinds.append(path)
    return kinds


def linked(kinds: list[Path], folder: Path, n: int) -> Path:
    """A folder in which they stand under n names."""
    folder.mkdir()
    for i in range(n):
        os.link(kinds[i % len(kinds)], folder / f"mic{i:04d}.mrc")
    return folder


def make_templates(data: Path, path: Path) -> Path:
    """Four rough averages of labelled particles."""
    (first, *_) = sorted((data / "cryoppp/10017/micrographs").glob("*.mrc"))
    image = np.asarray(images.read(first), np.float32)
    table = pd.read_csv(data / f"cryoppp/10017/ground_truth/particle_coordinates/{first.stem}.csv")
    x = table["X-Coordinate"].to_numpy(float)
    y = image.shape[0] - table["Y-Coordinate"].to_numpy(float)
    patches, _ = extract_patches(image, x, y, PatchOptions(box_for(DIAMETER_A / PIXEL_A), 64))
    with mrcfile.new(path) as file:
        file.set_data(np.stack([patches[i::4].mean(axis=0) for i in range(4)]))
        file.set_image_stack()
        file.voxel_size = PIXEL_A * box_for(DIAMETER_A / PIXEL_A) / 64
    return path


def make_model(data: Path, folder: Path) -> Path:
    """A project to learn from: the best and the worst candidates of one micrograph, decided."""
    code = """
import sys
from pathlib import Path
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.picks import proposing
from cryoppp_annotator.session.core.opening import open_plan, plan
session = open_plan(plan(Path(sys.argv[1]), Path(sys.argv[2])), curator="bench")
session.set_diameter(191.0)
session.go(session.micrographs[0].id)
proposing.enter(session, proposing.propose(session, "log", [session.current]))
best = session.particles.id[session.particles.score.argsort()[::-1]].tolist()
session.decide(best[:100], Decision.ACCEPTED, Reason.NONE)
session.decide(best[-100:], Decision.REJECTED, Reason.OTHER)
session.close()
"""
    subprocess.run([sys.executable, "-c", code, data / "cryoppp/10017", folder], check=True)
    return folder


def make_picks(movies: Path, folder: Path) -> Path:
    """A STAR of picks for each micrograph, as ``pick`` writes them."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for path in sorted(movies.glob("*.mrc")):
        rows = rng.uniform(200, 3896, (PICKS_EACH, 2)).round(3).tolist()
        text = "".join(f"{x}\t{y}\t{i / PICKS_EACH}\n" for i, (x, y) in enumerate(rows))
        labels = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAutopickFigureOfMerit #3\n"
        (folder / f"{path.stem}.star").write_text(f"\ndata_\n\nloop_\n{labels}{text}\n")
    return folder


def roads(data: Path, work: Path) -> dict[str, Callable[[Path, Path], list[object]]]:
    """The command of each row, given the micrographs and a folder to write into."""
    diameter = ("--diameter", DIAMETER_A)

    def picking(*more: object) -> Callable[[Path, Path], list[object]]:
        return lambda movies, out: [*PROGRAM, "pick", movies, "-o", out, *diameter, *more]

    model, templates = make_model(data, work / "model"), make_templates(data, work / "templates.mrcs")
    return {
        "denoise --bin 4": lambda movies, out: [*PROGRAM, "denoise", movies, "-o", out, "--bin", 4],
        "denoise": lambda movies, out: [*PROGRAM, "denoise", movies, "-o", out],
        "pick": picking(),
        "pick --picker learned": picking("--picker", "learned", "--model", model),
        "pick --picker template": picking("--picker", "template", "--templates", templates),
        "propose, in a project": lambda movies, out: [sys.executable, "-c", INTO_PROJECT, movies, out],
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options.add_argument("-n", type=int, nargs="*", default=[30, 100, 300], help="micrographs")
    options.add_argument("--picks", type=int, nargs="*", default=[50_000, 100_000, 300_000], help="for extract")
    options.add_argument("--only", nargs="+", help="rows whose name holds one of these")
    options.add_argument("--folder", type=Path, help="where the micrographs are made, and everything is written")
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="road-", dir=options.folder) as name:
        work = Path(name)
        kinds = make_kinds(options.data, work)
        print("| | micrographs | wall, s | CPU, s | CPU each | cores busy | cores wanted | peak memory, MB |")
        print("|---|---|---|---|---|---|---|---|")
        commands = roads(options.data, work) if options.n else {}
        for title, command in commands.items():
            for n in options.n:
                if options.only and not any(word in title for word in options.only):
                    continue
                with tempfile.TemporaryDirectory(dir=work) as out:
                    movies = linked(kinds, Path(out) / "movies", n)
                    report(title, n, measured(command(movies, Path(out) / "out")))
        for n in options.picks:
            with tempfile.TemporaryDirectory(dir=work) as out:
                movies = linked(kinds, Path(out) / "movies", n // PICKS_EACH)
                picks = make_picks(movies, Path(out) / "picks")
                command = [*PROGRAM, "extract", *sorted(picks.glob("*.star")), "--micrographs", movies]
                cost = measured([*command, "-o", Path(out) / "out", "--box-size", 96, "--bin", 2])
                report(f"extract, {n:,} picks", n // PICKS_EACH, cost)


def report(title: str, n: int, cost: Cost) -> None:
    """Print a row."""
    print(
        f"| `{title}` | {n} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {cost.cpu_s / n:.2f} "
        f"| {cost.cpu_s / cost.wall_s:.2f} | {np.mean(cost.seen.runnable):.2f} | {cost.seen.peak_mb:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
