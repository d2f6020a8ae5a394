"""How long the window stands still while classes are looked at and decided about.

    .venv/bin/python benchmarks/class_panel.py [--classes 200] [--micrographs 300] [--picks 1000] [--run]

A project of 300,000 picks with a stored run of 200 classes; ``--run`` adds a heartbeat while one is made of the demo's
picks. Needs a display: without one it starts itself under Xvfb. Prints a Markdown table: wall time and, because the
machine may be busy, processor time of the window's own thread. Goal: nothing over 50 ms.
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
from window import fill

from cryoppp_annotator.batch import demo
from cryoppp_annotator.model.classes import ClassRun, ClassSummary, verdict_of
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.classes import decide
from cryoppp_annotator.session.core.opening import open_project
from cryoppp_annotator.store.store import Store

SIDE = 4096
ROWS: list[tuple[str, str, str]] = []


def report(what: str, wall: list[float], own: list[float]) -> None:
    w, o = np.array(wall) * 1e3, np.array(own) * 1e3
    row = (what, f"{np.median(w):.0f} / {w.max():.0f} ms", f"{np.median(o):.0f} / {o.max():.0f} ms")
    ROWS.append(row)
    print("  " + "  ".join(row), file=sys.stderr, flush=True)


def big_project(folder: Path, n_micrographs: int, n_each: int, n_classes: int) -> Path:
    """Random picks, and a run that has put them into classes at random."""
    image = folder / "data" / "m0000.mrc"
    image.parent.mkdir(parents=True)
    with mrcfile.new(image) as file:
        file.set_data(np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32))
        file.voxel_size = 1.77
    project = folder / "project"
    store = Store.create(project)
    store.set_setting("data_root", str(image.parent), "bench")
    fill(store, n_micrographs, n_each, lambda i: f"m{i:04d}.mrc")
    store.close()
    session = open_project(project, curator="bench")
    picks = session.store.particles_where(Which())
    n, rng = len(picks), np.random.default_rng(1)
    # a few large classes and many small ones, as they come
    number = rng.choice(n_classes, n, p=(w := 1.0 / np.arange(3, n_classes + 3)) / w.sum()) + 1
    counts = np.bincount(number, minlength=n_classes + 1)
    summaries = tuple(
        ClassSummary(
            k,
            int(counts[k]),
            counts[k] / n,
            10.0 + k / 10,
            0.8,
            0.5,
            1.0,
            1.0 - k / n_classes,
            Decision.ACCEPTED if k < 0.7 * n_classes else Decision.REJECTED,
        )
        for k in range(1, n_classes + 1)
    )
    members = {
        "particle": picks.id,
        "number": number.astype(np.int32),
        "posterior": rng.random(n),
        "shift_x": rng.normal(0, 2, n),
        "shift_y": rng.normal(0, 2, n),
        "angle_deg": np.zeros(n),
        "x": picks.x,
        "y": picks.y,
    }
    record = {
        "kind": "classify",
        "engine": "cryoppp-annotator",
        "version": "0",
        "parameters": {},
        "inputs": {},
        "counts": {"verdict": verdict_of(summaries)},
        "seed": 0,
        "curator": "bench",
        "started": "",
        "seconds": 1.0,
    }
    run = ClassRun(0, "random", "here", 4.4, "", session.store.newest(), summaries, verdict_of(summaries), record)
    averages = rng.normal(size=(n_classes, 64, 64)).astype(np.float32)
    decide.enter_run(session, decide.RunResult(run, averages, members))
    session.close()
    return project


class Bench:
    """One window, and a clock for what is done in it."""

    def __init__(self, project: Path) -> None:
        from napari import Viewer
        from qtpy.QtWidgets import QApplication, QTabWidget

        from cryoppp_annotator.gui.annotator import Annotator
        from cryoppp_annotator.gui.app import set_aside

        self.app = QApplication
        self.viewer = Viewer(show=True)
        self.annotator = Annotator(self.viewer)
        self.viewer.window.add_dock_widget(self.annotator, area="right")
        self.viewer.window._qt_window.resize(1280, 800)
        ready: list[int] = []
        self.annotator.ready.connect(lambda: ready.append(1))
        self.annotator.open_path(project, curator="bench")
        self.until(lambda: ready)
        set_aside()  # as the program does
        self.panel = self.annotator.classes
        self.annotator.findChild(QTabWidget).setCurrentWidget(self.panel)

    def until(self, check: Callable[[], object], limit_s: float = 600.0) -> None:
        end = time.monotonic() + limit_s
        while not check():
            self.app.processEvents()
            if time.monotonic() > end:
                sys.exit("waited in vain")
            time.sleep(0.002)
        self.app.processEvents()

    def settle(self, seconds: float = 0.3) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.002)

    def clock(self, what: str, actions: list[Callable[[], object]], *, settle: float = 0.1) -> None:
        """Time each action with all events that it brings at once, drawing among them."""
        wall, own = [], []
        for action in actions:
            self.settle(settle)
            w, o = time.perf_counter(), time.thread_time()
            action()
            self.app.processEvents()
            wall.append(time.perf_counter() - w)
            own.append(time.thread_time() - o)
        report(what, wall, own)

    def big(self, what: str, action: Callable[[], object]) -> None:
        """A step that goes on in the background: how long the window stood still, and how long the step took."""
        session = self.annotator.bench.session
        self.settle()
        started = time.perf_counter()
        self.heartbeat(what, lambda: not (session.backlog and session.backlog.busy), action)
        print(f"    done after {time.perf_counter() - started:.2f} s", file=sys.stderr)

    def heartbeat(self, what: str, over: Callable[[], object], action: Callable[[], object] = lambda: None) -> None:
        """The longest times that the window took for one round of events, the first with what begins it all."""
        wall, own = [], []
        first = last = True
        while first or last:  # the last round draws what the end has changed
            last = not over() or first
            w, o = time.perf_counter(), time.thread_time()
            if first:
                action()
            first = False
            self.app.processEvents()
            wall.append(time.perf_counter() - w)
            own.append(time.thread_time() - o)
            time.sleep(0.002)
        report(what, wall, own)
        shares = ", ".join(
            f"{100 * (np.array(wall) > limit).mean():.2f} % over {1e3 * limit:.0f} ms" for limit in (0.05, 0.1)
        )
        print(f"    of {len(wall)} rounds {shares}", file=sys.stderr)


def large(folder: Path, arguments: argparse.Namespace) -> None:
    from cryoppp_annotator.gui.widgets.panels.class_panel import _SORTS

    project = big_project(folder, arguments.micrographs, arguments.picks, arguments.classes)
    bench = Bench(project)
    panel, gallery, model = bench.panel, bench.panel.gallery, bench.panel.model
    bench.until(lambda: panel.shown)
    run = panel.shown
    panel.run.choose(None)
    panel.run.choose(run)
    bench.heartbeat("reading a run and showing it (rounds of events)", lambda: panel.shown)
    bench.settle(1.5)
    numbers = list(model.numbers)
    bench.clock("choose one class", [lambda k=k: gallery.choose([k]) for k in numbers[3:15]])
    bench.clock("choose all classes", [lambda: gallery.choose(numbers), lambda: gallery.choose(numbers[:1])] * 3)
    bench.clock("sort", [lambda t=t: panel.sort.setCurrentText(t) for t in [*_SORTS, *_SORTS]])
    bench.clock("threshold moves one step", [lambda v=v: panel.threshold.setValue(v) for v in range(20, 70, 2)])
    bar = gallery.verticalScrollBar()
    bench.clock("scroll the classes by a tile", [lambda k=k: bar.setValue(40 * k) for k in range(40)], settle=0.0)
    p = bench.annotator.bench.session.particles
    focus = bench.annotator.bench.focus
    bench.clock("choose picks on the canvas", [lambda k=k: focus.select(p.id[: 20 * k]) for k in range(12)])
    sizes = {k: sum(model.tile(k).counts) for k in numbers}
    session = bench.annotator.bench.session
    for n_picks in (300, 1000, 3000, 10_000):
        k = min(numbers, key=lambda n: abs(sizes[n] - n_picks))
        for what, action in (("reject", lambda k=k: panel.decide([k], Decision.REJECTED)), ("undo", session.undo)):
            bench.big(f"{what} a class of {sizes[k]:,} picks", action)
    for n_picks in (100_000, 10**9):
        some = numbers[: int(np.searchsorted(np.cumsum([sizes[n] for n in numbers]), n_picks)) + 1]
        n = sum(sizes[k] for k in some)
        for what, action in (
            ("reject", lambda some=some: panel.decide(some, Decision.REJECTED)),
            ("undo rejecting", session.undo),
            ("redo rejecting", session.redo),
            ("undo rejecting", session.undo),
            ("re-centre", lambda some=some: decide.recentre(session, run.id, some, at_most=10**9)),
            ("undo re-centring", session.undo),
        ):
            bench.big(f"{what} {n:,} picks in {len(some)} classes", action)
    k = max(numbers, key=lambda n: sizes[n])
    bench.clock(f"open a class of {sizes[k]:,} picks", [lambda: panel.open_classes([k]), panel.particles.leave] * 3)
    panel.open_classes([k])
    bar = panel.particles.view.verticalScrollBar()
    bench.clock("scroll the particles by a tile", [lambda j=j: bar.setValue(40 * j) for j in range(40)], settle=0.0)
    bench.annotator.close_project()


def live(folder: Path) -> None:
    made = demo.build(folder / "demo")
    bench = Bench(made.project)
    panel = bench.panel
    panel.run.picks.setCurrentIndex(2)
    bench.settle(1.0)
    first: list[float] = []
    started = time.monotonic()
    panel.run.preview.connect(lambda *_: first.append(time.monotonic() - started) if not first else None)
    panel.run.start.click()
    bench.heartbeat("while a classification runs (rounds of events)", lambda: not panel.run.running)
    print(f"    first picture after {first[0]:.1f} s, all in {time.monotonic() - started:.0f} s", file=sys.stderr)
    bench.annotator.close_project()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--micrographs", type=int, default=300)
    parser.add_argument("--picks", type=int, default=1000)
    parser.add_argument("--run", action="store_true")
    arguments = parser.parse_args()
    if "DISPLAY" not in os.environ and shutil.which("xvfb-run"):
        xvfb = ["xvfb-run", "-a", "-s", "-screen 0 1920x1200x24"]
        sys.exit(subprocess.call([*xvfb, sys.executable, *sys.argv]))
    with tempfile.TemporaryDirectory() as work:
        os.environ["CRYOPPP_ANNOTATOR_HOME"] = f"{work}/home"
        os.environ["NAPARI_CONFIG"] = f"{work}/napari.yaml"
        if arguments.run:
            live(Path(work))
        else:
            large(Path(work), arguments)
        print("| what | median / longest, wall | of its own thread |\n|---|---|---|")
        for row in ROWS:
            print("| " + " | ".join(row) + " |")
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
