"""How long a review of a large project takes: until the queue is ready, until its first item, until each next one.

    .venv/bin/python benchmarks/review_size.py [--micrographs 300] [--picks 1000] [--window]

The micrographs are links to the five of CryoPPP_Lite (EMPIAR-10017, 4096 x 4096), so that reading is from the disk's
cache; the labels are theirs, and random places up to the number of picks, so that a queue has many items. `--window`
opens the window on it and answers twenty items, half a second after each is on the screen, as a quick curator does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from picking import beta_galactosidase

from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Change, Decision
from cryoppp_annotator.session.core import edits
from cryoppp_annotator.session.core.opening import open_plan, plan
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.review.error_queue import Review, find_errors
from cryoppp_annotator.session.review.sets import largest


def make(folder: Path, data: Path, n_micrographs: int, n_picks: int) -> Session:
    """A project of so many micrographs, with so many picks on each."""
    sources = beta_galactosidase(data)
    originals = sorted((data / "cryoppp_lite/10017/micrographs").glob("*.jpg"))
    by_name = {item.name: item for item in sources}
    (folder / "micrographs").mkdir()
    rng, labels = np.random.default_rng(0), []
    for k in range(n_micrographs):
        original = originals[k % len(originals)]
        (folder / "micrographs" / f"m{k:04d}.jpg").symlink_to(original)
        item = next(item for name, item in by_name.items() if name in original.name)
        points = np.column_stack([item.x, item.y])
        more = rng.uniform(100, 3900, (max(0, n_picks - len(points)), 2))
        labels.append(np.concatenate([points, more])[:n_picks])
    session = open_plan(plan(folder / "micrographs"), curator="ann")
    session.set_pixel_size(sources[0].pixel_A)
    session.set_diameter(sources[0].diameter_A)
    places = np.concatenate(labels)
    columns = {
        "micrograph": np.repeat([m.id for m in session.micrographs], [len(one) for one in labels]),
        "pick_set": np.array([-1], np.int64),
        "x": places[:, 0].copy(),
        "y": places[:, 1].copy(),
        "decision": np.array([int(Decision.UNDECIDED)], np.int8),
    }
    pick_set = edits.new_pick_set("import", "labels", "ann")
    session.insert(Change("import", "labels", (pick_set, edits.insert_particles(columns, len(places)))))
    return session


def measure(session: Session) -> None:
    """Find the errors, and walk without a screen."""
    number = largest(session)
    begun, cpu = time.perf_counter(), time.process_time()
    items = find_errors(session, number, JobContext())
    print(f"| queue of {len(items):,} items | {time.perf_counter() - begun:.0f} | {time.process_time() - cpu:.0f} |")
    review = Review(session)
    begun, cpu = time.perf_counter(), time.process_time()
    review.start(items, "labels")
    print(f"| written | {time.perf_counter() - begun:.1f} | {time.process_time() - cpu:.1f} |")
    begun, cpu = time.perf_counter(), time.process_time()
    Review(session).load()
    print(
        f"| read again, another day | {time.perf_counter() - begun:.1f} | {time.process_time() - cpu:.1f} |", flush=True
    )


def walk(folder: Path) -> None:
    """Answer twenty items in the window; wall and the window's own thread, ms."""
    from napari import Viewer
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from cryoppp_annotator.gui.annotator import Annotator

    viewer = Viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    annotator = Annotator(viewer, own_window=True)
    viewer.window.add_dock_widget(annotator, area="right")
    arrived: list[bool] = []
    annotator.ready.connect(lambda: arrived.append(True))
    annotator.open_path(folder / "micrographs", curator="ann")
    _until(lambda: bool(arrived))
    bench, queue = annotator.bench, annotator.review.queue
    assert bench is not None
    annotator.tabs.setCurrentWidget(annotator.review)
    begun = time.perf_counter()
    queue.skip.click()
    _until(lambda: not bench.show.unseen)
    print(f"| first item on the screen | {time.perf_counter() - begun:.2f} | |")
    walls, threads = [], []
    for k in range(20):
        _pause(0.5)
        begun, cpu = time.perf_counter(), time.thread_time()
        QTest.keyClick(queue, Qt.Key.Key_X if k % 2 else Qt.Key.Key_A)
        _until(lambda: not bench.show.unseen)
        viewer.window._qt_viewer.canvas._scene_canvas.update()
        QApplication.processEvents()
        walls.append(1000 * (time.perf_counter() - begun))
        threads.append(1000 * (time.thread_time() - cpu))
    for name, values in (("wall", walls), ("the window's thread", threads)):
        print(f"| next item, {name}, ms: median, 90 % | {np.median(values):.0f}, {np.quantile(values, 0.9):.0f} | |")
    viewer.close()


def _until(there: object) -> None:
    from qtpy.QtWidgets import QApplication

    while not there():  # type: ignore[operator]
        QApplication.processEvents()
        time.sleep(0.001)


def _pause(seconds: float) -> None:
    end = time.perf_counter() + seconds
    _until(lambda: time.perf_counter() > end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--micrographs", type=int, default=300)
    parser.add_argument("--picks", type=int, default=1000, help="on each micrograph")
    parser.add_argument("--window", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        session = make(Path(scratch), given.data.resolve(), given.micrographs, given.picks)
        print("| what | s | CPU s |\n|---|---|---|")
        measure(session)
        session.close()
        if given.window:
            walk(Path(scratch))


if __name__ == "__main__":
    main()
