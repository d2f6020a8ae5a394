"""A Dask cluster: a real scheduler and two worker processes of their own, one of which is killed at work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from class_tools import make_micrographs, make_project
from machines import N_WORKERS, Machines, wait_until

from cryoppp_annotator.batch.classify import classify_files
from cryoppp_annotator.batch.pick import PickOptions, pick_all
from cryoppp_annotator.classify.engine import ClassifyOptions
from cryoppp_annotator.cli import main
from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.formats.image.volumes import write_volume
from cryoppp_annotator.jobs.cluster import Cluster
from cryoppp_annotator.jobs.each import each
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.reconstruct import verdict
from cryoppp_annotator.reconstruct.fourier_map import prepare_map, project
from cryoppp_annotator.session.classes import decide, stages
from cryoppp_annotator.session.classes.on_cluster import look_at
from cryoppp_annotator.store.store import DATABASE_NAME
from cryoppp_annotator.testing import planted

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    started = Machines(tmp_path_factory.mktemp("cluster"), Path(__file__).parent)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def cluster(machines: Machines) -> str:
    """Address of a scheduler that has both its workers."""
    return machines.address()


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """Eight micrographs, one of them no image."""
    folder = tmp_path / "movies"
    folder.mkdir()
    for seed in range(8):
        with mrcfile.new(folder / f"m{seed}.mrc") as file:
            file.set_data(planted(seed=seed)[0])
            file.voxel_size = 2.0
    (folder / "m3.mrc").write_bytes(b"no image at all")
    return folder


def stars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.star")}


def slowly(begun: Path, item: int, *, context: JobContext) -> int:
    """Says that it runs and where, and works until somebody lets it end or cancels it."""
    (begun / f"{item}-{os.getpid()}").touch()
    while not (begun / "go").exists():
        try:
            context.check()
        except Cancelled:
            (begun / f"{item}-cancelled").touch()
            raise
        time.sleep(0.02)
    return item * item


def test_picking_on_a_cluster_gives_the_local_result_and_goes_on(
    cluster: str, movies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line, with relative paths: the workers run in another folder."""
    monkeypatch.chdir(tmp_path)
    here = pick_all(["movies"], Path("here"), PickOptions(diameter_A=60.0))
    arguments = ["pick", "movies", "-o", "there", "--diameter", "60", "--json", "--scheduler", cluster]
    assert main.run(arguments) == 1
    answer = json.loads(capfd.readouterr().out)
    assert [Path(item["micrograph"]).name for item in answer["failed"]] == ["m3.mrc"], answer["failed"]
    assert answer["picked_now"] == here.n_picked == 7
    assert answer["picks"] == here.n_picks > 0
    assert stars(tmp_path / "there") == stars(tmp_path / "here")
    (tmp_path / "there" / "m5.star").unlink()
    assert main.run(arguments) == 1
    answer = json.loads(capfd.readouterr().out)
    assert (answer["picked_now"], answer["kept"]) == (1, 6)
    assert stars(tmp_path / "there") == stars(tmp_path / "here")


def test_denoising_on_a_cluster_gives_the_local_pictures(
    cluster: str, movies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out, more in (("here", []), ("there", ["--scheduler", cluster])):
        assert main.run(["denoise", "movies", "-o", out, "--bin", "4", "--json", *more]) == 1
        answer = json.loads(capfd.readouterr().out)
        assert answer["denoised_now"] == 7
        assert [Path(item["micrograph"]).name for item in answer["failed"]] == ["m3.mrc"]
    for path in sorted((tmp_path / "here").glob("*.mrc")):
        with mrcfile.open(path) as here, mrcfile.open(tmp_path / "there" / path.name) as there:
            assert np.array_equal(here.data, there.data)


def test_a_worker_killed_at_work_costs_nothing(cluster: str, machines: Machines, tmp_path: Path) -> None:
    outcome: dict[int, object] = {}
    work = partial(slowly, tmp_path)
    victim = machines.workers[0]

    def kill() -> None:
        wait_until(lambda: any(tmp_path.glob(f"*-{victim.pid}")))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    for item, got in each(work, range(6), threads=1, scheduler=cluster, context=JobContext()):
        outcome[item] = got
    killer.join()
    assert outcome == {i: i * i for i in range(6)}
    began = {path.name for path in tmp_path.glob("*-*")}
    lost = [name.split("-")[0] for name in began if name.endswith(f"-{victim.pid}")]
    assert lost
    for item in lost:  # it was begun once more elsewhere
        assert sum(name.startswith(f"{item}-") for name in began) == 2


def test_cancel_reaches_what_runs_elsewhere_and_ends_the_wait(cluster: str, tmp_path: Path) -> None:
    cancel = threading.Event()

    def ask() -> None:
        wait_until(lambda: len(list(tmp_path.glob("?-[0-9]*"))) == N_WORKERS)
        cancel.set()

    asker = threading.Thread(target=ask)
    asker.start()
    work = partial(slowly, tmp_path)
    with pytest.raises(Cancelled):  # what runs would never end by itself
        list(each(work, range(6), threads=1, scheduler=cluster, context=JobContext(is_cancelled=cancel.is_set)))
    asker.join()
    wait_until(lambda: len(list(tmp_path.glob("?-cancelled"))) == N_WORKERS)
    # those that had not begun never did
    assert len(list(tmp_path.glob("?-[0-9]*"))) == N_WORKERS


def invert(item: int, *, context: JobContext) -> float:
    context.progress(1, 2)
    context.log(f"{item} is being inverted")
    assert context.seed == 3
    return 1 / item


def total(part: np.ndarray) -> tuple[float, int]:
    return float(part.sum()), os.getpid()


def test_a_failing_item_is_that_item_s_error_and_the_log_comes_back(cluster: str) -> None:
    lines: list[str] = []
    context = JobContext(on_log=lines.append, seed=3)
    results = each(invert, [0, 1, 2], threads=1, scheduler=cluster, context=context)
    got = dict(next(results) for _ in range(3))
    assert isinstance(got[0], ZeroDivisionError)
    assert (got[1], got[2]) == (1.0, 0.5)
    wait_until(lambda: len(lines) == 3)
    assert sorted(lines) == [f"{i} is being inverted" for i in range(3)]
    results.close()


def there_held(cluster: Cluster) -> list[str]:
    """What the workers keep, results apart."""
    keys = [key for keys in cluster.client.has_what().values() for key in keys]
    return sorted(key for key in keys if key.startswith("ndarray"))


def test_what_lies_on_a_killed_worker_is_sent_to_another(cluster: str, machines: Machines) -> None:
    parts = [np.full(1000, float(i)) for i in range(4)]

    with Cluster(cluster) as there:
        pool = there.holding(JobContext())
        first = list(pool.map(total, parts))
        held = there_held(there)
        assert len({pid for _, pid in first}) == N_WORKERS
        list(pool.map(total, parts))
        assert there_held(there) == held
        assert len(held) == len(parts)
        victim = next(w for w in machines.workers if w.pid == first[0][1])
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        after = list(pool.map(total, parts))
    assert [sum_ for sum_, _ in after] == [sum_ for sum_, _ in first] == [0.0, 1000.0, 2000.0, 3000.0]
    assert victim.pid not in {pid for _, pid in after}


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """600 noisy images of four shapes, each turned."""
    rng = np.random.default_rng(4)
    rows, columns = np.indices((32, 32)) - 16.0
    images = []
    for i in range(600):
        turn = rng.uniform(0, 2 * np.pi)
        x, y = columns * np.cos(turn) + rows * np.sin(turn), rows * np.cos(turn) - columns * np.sin(turn)
        wide, high = ((9, 3), (5, 5), (9, 9), (3, 3))[i % 4]
        shape = (np.abs(x) < wide) & (np.abs(y) < high) & ~((i % 4 == 2) & (np.hypot(x, y) < 5))
        images.append(shape + rng.normal(0, 1.0, (32, 32)))
    path = tmp_path / "stack.mrcs"
    with mrcfile.new(path) as file:
        file.set_data(np.array(images, np.float32))
        file.set_image_stack()
        file.voxel_size = 3.0
    return path


def classified(folder: Path) -> dict[str, bytes]:
    """What a run found: the averages, without the time in the header, and the table of particles."""
    with mrcfile.open(folder / "classes.mrcs") as file:
        averages = np.array(file.data).tobytes()
    return {"averages": averages, "particles": (folder / "particles.star").read_bytes()}


def test_classification_with_a_worker_killed_is_the_local_one(
    cluster: str, machines: Machines, stack: Path, tmp_path: Path
) -> None:
    classify_files([stack], tmp_path / "here", ClassifyOptions(4), context=JobContext(seed=1))
    progress: list[float] = []
    victim = machines.workers[1]

    def report(done: float, total: float, _message: str) -> None:
        progress.append(done / total)
        if len(progress) == 8:
            victim.send_signal(signal.SIGKILL)
            victim.wait()

    report_there = JobContext(on_progress=report, seed=1)
    classify_files([stack], tmp_path / "there", ClassifyOptions(4), scheduler=cluster, context=report_there)
    assert victim.poll() == -signal.SIGKILL
    assert len(progress) > 20  # progress, and on after the kill
    assert progress[-1] == 1.0
    assert classified(tmp_path / "there") == classified(tmp_path / "here")


def members(project: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(project / DATABASE_NAME)) as connection:
        return list(connection.execute("select * from class_member order by run, particle"))


def test_a_project_classified_with_a_worker_killed_has_the_same_classes(
    cluster: str,
    machines: Machines,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the command line. Averages are made of 120 picks; the rest is assigned to them, on the cluster, too."""
    monkeypatch.setattr(stages, "TRAINED", 120)
    make_project(tmp_path / "here", make_micrographs(tmp_path / "here"), jitter_px=1.5).close()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    victim = machines.workers[0]
    iterations: list[int] = []
    real = decide.classify_project

    def watched(*arguments: Any, **words: Any) -> decide.RunResult:
        """The real thing, and a death in its third iteration."""

        def on_iteration_(preview: decide.Preview) -> None:
            iterations.append(preview.iteration)
            if len(iterations) == 3:
                victim.send_signal(signal.SIGKILL)
                victim.wait()

        return real(*arguments, on_iteration=on_iteration_, **words)

    def run(where: str, *more: str) -> dict[str, Any]:
        words = ["classify", str(tmp_path / where / "project"), "-k", "4", "--seed", "2", "--json"]
        assert main.run([*words, "-o", str(tmp_path / where / "out"), *more]) == 0
        answer: dict[str, Any] = json.loads(capfd.readouterr().out)
        return answer

    here = run("here")
    monkeypatch.setattr(decide, "classify_project", watched)
    there = run("there", "--scheduler", cluster)
    assert victim.poll() == -signal.SIGKILL
    assert len(iterations) > 5  # on after the kill
    assert there["classes"] == here["classes"]
    assert sum(item["count"] for item in here["classes"]) == len(members(tmp_path / "here" / "project")) == 196
    assert members(tmp_path / "there" / "project") == members(tmp_path / "here" / "project")
    assert classified(tmp_path / "there" / "out")["averages"] == classified(tmp_path / "here" / "out")["averages"]


def test_a_cancelled_classification_ends(cluster: str, stack: Path, tmp_path: Path) -> None:
    cancel = threading.Event()

    def report(_done: float, _total: float, _message: str) -> None:
        cancel.set()

    context = JobContext(on_progress=report, is_cancelled=cancel.is_set)
    with pytest.raises(Cancelled):
        classify_files([stack], tmp_path / "there", ClassifyOptions(4), scheduler=cluster, context=context)
    assert not (tmp_path / "there").exists()


def test_nobody_at_the_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryoppp_annotator.jobs.cluster._CONNECT_S", 0.5)
    with mrcfile.new(tmp_path / "m.mrc") as file:
        file.set_data(planted()[0])
        file.voxel_size = 2.0
    words = ["pick", str(tmp_path), "-o", str(tmp_path / "out"), "--diameter", "60", "--scheduler", "tcp://127.0.0.1:9"]
    assert main.run(words) == 1
    said = capfd.readouterr().err
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in said
    assert "dask worker" in said
    assert "Traceback" not in said
    with pytest.raises(EngineError, match="no Dask scheduler"):
        Cluster("nonsense://x")


def test_a_lost_scheduler_is_said_by_whoever_works_there(
    cluster: str, machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions of particles, and single micrographs: both were begun."""
    monkeypatch.setattr("cryoppp_annotator.jobs.cluster._CONNECT_S", 5.0)  # so long the first one waits for it

    def kill() -> None:
        wait_until(lambda: len(list(tmp_path.glob("?-[0-9]*"))) == N_WORKERS)
        machines.scheduler.kill()
        machines.scheduler.wait()

    parts = [np.full(1000, float(i)) for i in range(4)]
    killer = threading.Thread(target=kill)
    with Cluster(cluster) as there:
        pool = there.holding(JobContext())
        list(pool.map(total, parts))
        killer.start()
        with pytest.raises(EngineError, match=r"the scheduler tcp://.* was lost; what is finished is kept"):
            list(each(partial(slowly, tmp_path), range(6), threads=1, scheduler=cluster, context=JobContext()))
        killer.join()
        with pytest.raises(EngineError, match=r"the scheduler tcp://.* was lost; nothing was changed, start again"):
            list(pool.map(total, parts))


def test_what_is_at_an_address_is_told_before_anything_runs(cluster: str, machines: Machines, tmp_path: Path) -> None:
    said: list[str] = []
    context = JobContext(on_progress=lambda _done, _total, message: said.append(message))
    there = look_at(cluster, [tmp_path], context=context)
    assert (there.workers, there.cores, there.summary) == (2, 2, "2 workers, 2 cores")
    assert said == [f"connecting to {cluster}"]
    assert look_at(str(machines.file), [], context=JobContext()).workers == 2
    with pytest.raises(EngineError, match=r"gone\.mrc is not to be seen by the worker tcp://.* the same path there"):
        look_at(cluster, [tmp_path, tmp_path / "gone.mrc"], context=JobContext())
    for worker in machines.workers:
        worker.kill()
        worker.wait()
    with Cluster(cluster) as here:
        wait_until(lambda: not here.cores())
    with pytest.raises(EngineError, match="answers, but has no workers yet: start `dask worker`"):
        look_at(cluster, [], context=JobContext())


def test_a_cancel_does_not_wait_for_an_address_where_nobody_answers(tmp_path: Path) -> None:
    """Someone takes the connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        asked = threading.Event()

        def is_cancelled() -> bool:
            return asked.is_set()

        def report(*_progress: object) -> None:
            threading.Timer(0.3, asked.set).start()

        context = JobContext(on_progress=report, is_cancelled=is_cancelled)
        for work in (
            lambda: look_at(address, [], context=context),
            lambda: list(each(invert, [1], threads=1, scheduler=address, context=context)),
        ):
            asked.clear()
            before = threading.active_count()
            with pytest.raises(Cancelled):
                work()
            assert threading.active_count() > before, "nobody waited for the one that still tries"


class Person:
    """Reads what a job says while it waits for workers, and lets it go on here."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.context = JobContext(on_lost=self.messages.append, goes_on_here=lambda: any(self.messages))


def kill_all(machines: Machines) -> None:
    for worker in machines.workers:
        worker.send_signal(signal.SIGKILL)
        worker.wait()


def test_without_workers_it_is_said_and_goes_on_here(cluster: str, machines: Machines, tmp_path: Path) -> None:
    person, outcome = Person(), {}
    (tmp_path / "go").touch()
    results = each(partial(slowly, tmp_path), range(6), threads=1, scheduler=cluster, context=person.context)
    first, got = next(results)
    outcome[first] = got
    kill_all(machines)
    outcome |= dict(results)
    assert outcome == {i: i * i for i in range(6)}
    assert person.messages == [f"No workers are connected to {cluster}", ""]


def test_what_workers_hold_is_done_here_where_none_is_left(cluster: str, machines: Machines) -> None:
    person = Person()
    parts = [np.full(3, float(i)) for i in range(4)]
    with Cluster(cluster) as there:
        pool = there.holding(person.context)
        before = list(pool.map(total, parts))
        kill_all(machines)
        assert [one for one, _ in pool.map(total, parts)] == [one for one, _ in before]
        assert person.messages[0].startswith("No workers are connected")
        assert len(list(pool.map(total, parts))) == 4, "and the next call at once"


def test_the_command_line_says_that_there_are_no_workers(
    cluster: str, machines: Machines, movies: Path, tmp_path: Path
) -> None:
    kill_all(machines)
    command = [sys.executable, "-m", "cryoppp_annotator", "pick", movies, "-o", tmp_path / "out", "--diameter", "120"]
    started = subprocess.Popen(
        [*map(str, command), "--scheduler", cluster],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        # a shell's background job ignores it, and so would this
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        said = started.stderr.readline()
        assert "No workers are connected" in said
        assert "without --scheduler goes on here" in said
        started.send_signal(signal.SIGINT)
        started.communicate()  # nobody else reads what it says on its way out
        assert started.returncode == 130
    finally:
        started.kill()
        started.wait()


def test_verdicts_with_a_worker_killed_are_the_local_ones(
    cluster: str, machines: Machines, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line: pieces of the stack are searched and refined there, the poses are the same to the byte."""
    monkeypatch.setattr(verdict, "_PIECE", 15)
    rng = np.random.default_rng(2)
    axes = np.meshgrid(*[np.arange(32) - 16.0] * 3, indexing="ij")
    volume = sum(
        np.exp(-sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True)) / 8.0)
        for centre in rng.normal(0, 4.0, (6, 3))
    )
    angles = rng.uniform(0, 180, (60, 3))
    images = project(prepare_map(np.asarray(volume), 6.0, 12.0), angles, 32, 6.0)
    images += rng.normal(0, 2.0 * images.std(), images.shape).astype(np.float32)
    write_volume(tmp_path / "map.mrc", np.asarray(volume, np.float32), 6.0)
    write_stack(tmp_path / "boxes.mrcs", images, 6.0)
    victim = machines.workers[0]
    searched: list[int] = []
    real = verdict.each

    def watched(*arguments: Any, **words: Any) -> Iterator[Any]:
        """The real thing, and a death after its first piece."""
        for outcome in real(*arguments, **words):
            searched.append(outcome[0].number)
            if len(searched) == 1:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
            yield outcome

    def run(where: str, *more: str) -> bytes:
        words = ["verdict", str(tmp_path / "boxes.mrcs"), "--map", str(tmp_path / "map.mrc"), "--json", *more]
        assert main.run([*words, "-o", str(tmp_path / where)]) == 0
        assert json.loads(capfd.readouterr().out)["picks"] == 60
        return (tmp_path / where / "particles.star").read_bytes()

    here = run("here")
    monkeypatch.setattr(verdict, "each", watched)
    there = run("there", "--scheduler", cluster)
    assert victim.poll() == -signal.SIGKILL
    assert sorted(searched) == sorted([*range(4), *range(4)])  # searched, and refined
    assert there.replace(b"there", b"here") == here
