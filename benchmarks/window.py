"""Speed of the window and of the verbs behind it, against the goals of *First light*.

    .venv/bin/python benchmarks/window.py [--quick] [--data ../shared/data/cryoppp/10017]
    .venv/bin/python benchmarks/window.py --busy         only: quiet, and beside a classification, at two sizes

Needs a display: without one it starts itself under Xvfb. Prints a Markdown table. Two noisy cores: medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np

from cryoppp_annotator.batch.demo import build
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.model.curation import Change, Decision, Delta
from cryoppp_annotator.model.micrograph import Micrograph
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import edits
from cryoppp_annotator.session.core.opening import open_project
from cryoppp_annotator.store.store import Store

SIDE = 4096
ROWS: list[tuple[str, str, str]] = []


def report(what: str, goal: str, measured: str) -> None:
    ROWS.append((what, goal, measured))
    print(f"  {what}: {measured} (goal {goal})", file=sys.stderr, flush=True)


def ms(seconds: list[float]) -> str:
    values = np.array(seconds) * 1e3
    return f"median {np.median(values):.1f} ms, 95 % {np.percentile(values, 95):.1f} ms (n = {len(values)})"


# ---------------------------------------------------------------------- cold start

COLD = """
import sys, time
from pathlib import Path
started = float(sys.argv[1])
from qtpy.QtCore import QTimer
from cryoppp_annotator.gui import annotator, app
plain = annotator.Annotator.__init__
def init(self, viewer, **words):
    plain(self, viewer, **words)
    def ready():
        canvas = viewer.window._qt_viewer.canvas.native
        canvas.repaint()
        print("DRAWN", time.time() - started, len(self.bench.particles_layer.layer.data), flush=True)
        QTimer.singleShot(0, self.window().close)
    self.ready.connect(ready)
annotator.Annotator.__init__ = init
sys.exit(app.main(Path(sys.argv[2]), project=Path(sys.argv[3])))
"""


def cold_start(data: Path, folder: Path) -> None:
    times = []
    for k in range(3):
        command = [sys.executable, "-c", COLD, str(time.time()), str(data), str(folder / f"cold{k}")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line = next((x for x in done.stdout.splitlines() if x.startswith("DRAWN")), None)
        if line is None:
            sys.exit(f"cold start failed:\n{done.stdout}\n{done.stderr}")
        _, seconds, n = line.split()
        if int(n) != 629:
            sys.exit(f"drew {n} picks, not 629")
        times.append(float(seconds))
    report(
        "cold start of `annotate` on cryoppp/10017 to 629 picks drawn (new project)",
        "7 s",
        f"median {np.median(times):.1f} s of {len(times)}",
    )


# ---------------------------------------------------------------------- making projects


def fill(store: Store, n_micrographs: int, n_each: int, paths: Callable[[int], str], side: int = SIDE) -> None:
    """A project with random picks, written in imports of at most 300,000."""
    store.add_micrographs(
        (
            Micrograph(
                0, Path(paths(i)).stem, paths(i), side, side, 1.77, fingerprint=fingerprint_of(store, paths(i), i)
            )
            for i in range(n_micrographs)
        ),
        "bench",
    )
    ids = np.array([m.id for m in store.micrographs()])
    rng = np.random.default_rng(0)
    step = max(1, 300_000 // n_each)
    for start in range(0, n_micrographs, step):
        chosen = np.repeat(ids[start : start + step], n_each)
        n = len(chosen)
        columns = {
            "micrograph": chosen,
            "pick_set": np.array([-1]),
            "x": rng.uniform(0, side, n),
            "y": rng.uniform(0, side, n),
            "score": rng.normal(size=n),
            "decision": np.array([0], np.int8),
            "reason": np.array([0], np.int8),
            "class_id": np.array([0], np.int32),
        }
        deltas: tuple[Delta, ...] = (
            edits.new_pick_set("import", f"part {start}", "bench"),
            edits.insert_particles(columns, n),
        )
        store.commit(Change("import", f"import {n}", deltas), "bench")


def fingerprint_of(store: Store, path: str, number: int) -> str:
    """Of the file, so that the window does not take it for another image; made up where there is no file."""
    file = store.folder.parent / path
    return images.fingerprint(file) if file.is_file() else f"f{number}"


def write_images(folder: Path, n: int) -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0, 20, (SIDE, SIDE)).clip(-120, 120).astype(np.int8)
    for i in range(n):
        with mrcfile.new(folder / f"m{i:02d}.mrc", overwrite=True) as mrc:
            mrc.set_data(np.roll(base, 37 * i, axis=0))
            mrc.voxel_size = 1.77


# ---------------------------------------------------------------------- the window


class Window:
    """A real window on a project, and a way to wait for a drawn frame."""

    def __init__(self, project: Path) -> None:
        from napari import Viewer
        from napari._qt import qt_main_window

        from cryoppp_annotator.gui.annotator import Annotator
        from cryoppp_annotator.gui.app import fold_napari

        qt_main_window.SHOW_QT_WARNING = False
        self.viewer = Viewer(show=False)
        fold_napari(self.viewer)
        self.annotator = Annotator(self.viewer)
        self.viewer.window.add_dock_widget(self.annotator, area="right", name="annotator")
        self.viewer.show()
        self.viewer.window._qt_window.resize(1600, 1000)
        self.canvas = self.viewer.window._qt_viewer.canvas.native
        self.shown: list[tuple[float, str]] = []
        self.opened = False
        self.annotator.ready.connect(self._on_ready)
        started = time.perf_counter()
        self.annotator.open_path(project)
        self.until(lambda: self.opened)
        self.draw()
        self.open_seconds = time.perf_counter() - started
        self.bench = self.annotator.bench
        self.bench.picture_shown.connect(lambda kind: self.shown.append((time.perf_counter(), kind)))

    def _on_ready(self) -> None:
        self.opened = True

    def process(self) -> None:
        from qtpy.QtWidgets import QApplication

        QApplication.processEvents()

    def until(self, true: Callable[[], bool], limit_s: float = 60) -> None:
        end = time.perf_counter() + limit_s
        while not true():
            self.process()
            if time.perf_counter() > end:
                sys.exit("the window did not get there in time")

    def draw(self) -> None:
        """Have everything that is pending drawn now."""
        self.process()
        self.canvas.repaint()

    def idle(self) -> None:
        """Until nothing is being prepared."""
        self.until(lambda: not self.bench.runner.active())
        self.draw()

    def close(self) -> None:
        self.annotator.shut_down()
        self.viewer.close()
        self.process()


def next_prepared(window: Window, n: int) -> list[float]:
    times = []
    for k in range(n):
        window.idle()
        started = time.perf_counter()
        window.bench.give("next" if (k // 8) % 2 == 0 else "previous")
        window.draw()
        times.append(time.perf_counter() - started)
    return times


def unprepared(window: Window) -> tuple[list[float], list[float]]:
    raw, denoised = [], []
    bench = window.bench
    for micrograph in bench.session.micrographs[-5:]:
        window.idle()
        bench.pictures._memory.clear()
        shutil.rmtree(bench.pictures.cache, ignore_errors=True)
        window.shown.clear()
        started = time.perf_counter()
        bench.session.go(micrograph.id)
        window.until(lambda: any(kind == "raw" for _, kind in window.shown))
        window.canvas.repaint()
        raw.append(time.perf_counter() - started)
        window.until(lambda: any(kind == "denoised" for _, kind in window.shown))
        window.canvas.repaint()
        denoised.append(time.perf_counter() - started)
    return raw, denoised


def walk(window: Window, command: str, back: str, n: int) -> tuple[list[float], list[float]]:
    """Seconds until what a key asks for is drawn, n times: on the wall, and processor time of the window's thread."""
    wall, process = [], []
    for k in range(n):
        end = time.perf_counter() + 0.4  # a person looks, and the neighbours are prepared
        window.until(lambda end=end: time.perf_counter() > end)
        started, spent = time.perf_counter(), time.thread_time()
        window.bench.give(command if k % 2 == 0 else back)
        window.draw()
        wall.append(time.perf_counter() - started)
        process.append(time.thread_time() - spent)
    return wall, process


def busy(folder: Path) -> None:
    """Next and raw/denoised, quiet and beside a classification of the demo's picks."""
    window = Window(build(folder / "demo").project)
    for width, height in ((1280, 800), (1920, 1080)):
        window.viewer.window._qt_window.resize(width, height)
        window.idle()
        goal = "100 ms" if width == 1280 else "200 ms"
        for beside in ("quiet", "classification"):
            run = window.annotator.classes.run
            if beside == "classification":
                run.classify()
                window.until(lambda run=run: run.running)
            for what, keys in (("next", ("next", "previous")), ("raw/denoised", ("toggle-raw", "toggle-raw"))):
                wall, own = walk(window, *keys, 8)
                report(f"{what}, {width} x {height}, {beside}", goal, f"{ms(wall)}; window's thread {ms(own)}")
            if beside == "classification" and run.running:
                run.cancel.click()
                window.idle()
    window.close()


def verbs(window: Window, n: int) -> dict[str, list[float]]:
    """Time in our own code: the verb, its commit, and everything that follows it in the window but the frame."""
    bench, session = window.bench, window.bench.session
    rng = np.random.default_rng(3)
    times: dict[str, list[float]] = {"add": [], "move": [], "decide": [], "undo": []}

    def timed(name: str, verb: Callable[[], object]) -> object:
        started = time.perf_counter()
        result = verb()
        times[name].append(time.perf_counter() - started)
        window.process()
        return result

    for _ in range(n):
        x, y = rng.uniform(0, SIDE, 2)
        added = timed("add", lambda x=x, y=y: session.add(x, y, anyway=True).new_id)
        timed("move", lambda i=added, x=x, y=y: session.move([i], [x + 3], [y + 2]))
        timed("decide", lambda i=added: session.decide([i], Decision.REJECTED))
        timed("undo", lambda: bench.give("undo"))
        timed("undo", lambda: bench.give("undo"))
        timed("undo", lambda: bench.give("undo"))
    return times


def the_window(folder: Path, quick: bool) -> None:
    write_images(folder, 10)
    project = folder / "window"
    store = Store.create(project)
    store.set_setting("data_root", "..", "bench")
    store.set_setting("diameter_A", 191.0, "bench")
    fill(store, 10, 600, lambda i: f"m{i:02d}.mrc")
    store.close()
    window = Window(project)
    next_prepared(window, 18)  # warm up: every picture cached
    times = next_prepared(window, 16 if quick else 40)
    report("next, prepared 4096 x 4096, 600 picks, key press to frame", "150 / 300 ms", ms(times))
    raw, denoised = unprepared(window)
    report("the same unprepared: raw drawn", "0.5 s", ms(raw))
    report("the same unprepared: denoised drawn", "1.5 s", ms(denoised))
    for name, values in verbs(window, 10 if quick else 30).items():
        report(f"{name}, own code with commit, 600 picks", "10 ms", ms(values))
    window.close()
    project = folder / "window5000"
    store = Store.create(project)
    store.set_setting("data_root", "..", "bench")
    fill(store, 2, 5000, lambda i: f"m{i:02d}.mrc")
    store.close()
    window = Window(project)
    window.idle()
    for name, values in verbs(window, 5 if quick else 15).items():
        report(f"{name}, own code with commit, 5,000 picks", "30 ms", ms(values))
    free, written = bulk_here(window, 3 if quick else 9)
    report("bulk decision on 5,000 picks: until the window is free and drawn again", "200 ms", ms(free))
    report("the same: until it is on the disk, in the memory and drawn", "200 ms", ms(written))
    window.close()


def bulk_here(window: Window, n: int) -> tuple[list[float], list[float]]:
    """A decision about all picks here, which is written behind: seconds until one can go on, and until it is there."""
    session = window.bench.session
    which = Which(micrographs=(session.current_id,))
    free, written = [], []
    for k in range(n):
        window.idle()
        decision = Decision.REJECTED if k % 2 == 0 else Decision.ACCEPTED
        started = time.perf_counter()
        session.decide_where(which, decision)
        window.draw()
        free.append(time.perf_counter() - started)
        window.until(lambda: not session.backlog.busy)
        window.draw()
        written.append(time.perf_counter() - started)
        if session.particles.count(decision) != len(session.particles):
            sys.exit("the bulk decision is wrong")
    return free, written


# ---------------------------------------------------------------------- large projects


def bulk(folder: Path) -> None:
    store = Store.create(folder / "bulk")
    fill(store, 300, 1000, lambda i: f"m{i:03d}.mrc")
    store.close()
    session = open_project(folder / "bulk", curator="bench")
    session.go(session.micrographs[0].id)
    started = time.perf_counter()
    n = session.decide_where(Which(), Decision.ACCEPTED).n
    decided = time.perf_counter() - started
    if n != 300_000:
        sys.exit(f"decided {n}, not 300,000")
    started = time.perf_counter()
    session.undo()
    undone = time.perf_counter() - started
    if session.counts()["undecided"] != 300_000:
        sys.exit("undo is wrong")
    session.close()
    report("decision on 300,000 picks over 300 micrographs", "3 s", f"{decided:.2f} s")
    report("its undo", "3 s", f"{undone:.2f} s")


def huge(folder: Path, quick: bool) -> None:
    n = 2_000 if quick else 10_000
    store = Store.create(folder / "huge")
    fill(store, n, 300, lambda i: f"m{i:05d}.mrc")
    store.close()
    command = [sys.executable, __file__, "--open-huge", str(folder / "huge")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    label = f"{n:,} micrographs, {n * 300:,} picks"
    opened, following, filtering, memory = done.stdout.splitlines()[-1].split("|")
    report(f"{label}: open", "2 s", opened)
    report(f"{label}: next", "150 ms", following)
    report(f"{label}: filter and sort", "300 ms", filtering)
    report(f"{label}: peak memory of the whole program", "1 GB", memory)


def open_huge(project: Path) -> None:
    """In a process of its own: the window on the large project (its images do not exist; picks and lists do)."""
    from qtpy.QtWidgets import QMessageBox

    QMessageBox.exec_ = QMessageBox.exec = lambda self: 0  # "where are the micrographs?": go on without
    window = Window(project)
    bench = window.bench
    following, filtering = [], []
    for _ in range(20):
        window.idle()
        started = time.perf_counter()
        bench.give("next")
        window.draw()
        following.append(time.perf_counter() - started)
    panel = window.annotator.micrographs
    for state in ("not finished", "in progress", "with undecided picks", "all states"):
        started = time.perf_counter()
        panel.model.set_filter(state, "7")
        window.process()
        filtering.append(time.perf_counter() - started)
        started = time.perf_counter()
        panel.model.sort(3)
        window.process()
        filtering.append(time.perf_counter() - started)
    # not ru_maxrss: a child starts with its parent's
    status = Path("/proc/self/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    line = f"{window.open_seconds:.2f} s|{ms(following)}|{ms(filtering)}|{memory:.0f} MB"
    window.close()
    print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and a smaller large project")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/cryoppp/10017")
    parser.add_argument("--busy", action="store_true", help="only the window beside a classification")
    parser.add_argument("--open-huge", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not os.environ.get("DISPLAY"):
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1920x1200x24"]
        sys.exit(subprocess.call([*screen, sys.executable, __file__, *sys.argv[1:]]))
    if arguments.open_huge:
        open_huge(arguments.open_huge)
        return
    os.environ["NAPARI_CONFIG"] = ""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        os.environ["CRYOPPP_ANNOTATOR_HOME"] = str(folder / "home")
        if arguments.busy:
            busy(folder)
        else:
            if arguments.data.exists():
                cold_start(arguments.data, folder)
            the_window(folder, arguments.quick)
            bulk(folder)
            huge(folder, arguments.quick)
    print("\n| what | goal | measured |\n|---|---|---|")
    for row in ROWS:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
