"""Jobs: how far they are, how they are stopped, what comes of them, and on which thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from cryoppp_annotator.errors import Cancelled, EngineError
from cryoppp_annotator.jobs.each import each
from cryoppp_annotator.jobs.runner import Job, JobState, Runner
from cryoppp_annotator.model.context import JobContext

#: Longest wait for what must come; a busy machine is slow.
WAIT_S = 120.0


class Synchronous(Executor):
    """Runs at once on the caller's thread, and knows no ``cancel_futures``, as Dask's executor does not."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*arguments, **more))
        except BaseException as error:  # as every executor does
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True) -> None:  # type: ignore[override]
        pass


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocked jobs wait for; open at the end, so that no test leaves a thread behind."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(params=["own pool", "one thread", "synchronous"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    executors = {"own pool": lambda: None, "one thread": lambda: ThreadPoolExecutor(1), "synchronous": Synchronous}
    runner = Runner(executors[request.param]())
    yield runner
    runner.close()


@pytest.fixture
def narrow(gate: threading.Event) -> Iterator[Runner]:
    """A runner with a single thread, which can be blocked."""
    runner = Runner(ThreadPoolExecutor(1))
    yield runner
    gate.set()
    runner.close()


class Blocked:
    """A job that says when it runs, then waits for the gate or until it is cancelled."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.running = threading.Event()

    def __call__(self, *, context: JobContext) -> str:
        self.running.set()
        while not self.gate.wait(0.02):
            context.check()
        return "through"


def add(a: int, b: int, *, context: JobContext) -> int:
    context.progress(1, 2, "adding")
    context.log("a line")
    return a + b


def fail(*, context: JobContext) -> None:
    raise EngineError("no such map")


def test_a_result_is_delivered_on_the_thread_that_asks(runner: Runner) -> None:
    got: list[tuple[int, threading.Thread]] = []
    job = runner.submit(add, 2, 3, title="add", on_done=lambda n: got.append((n, threading.current_thread())))
    assert job.wait(WAIT_S)
    assert got == []
    assert runner.deliver() == 1
    assert got == [(5, threading.current_thread())]
    assert runner.deliver() == 0
    assert job.state is JobState.DONE
    assert job.over
    assert (job.done, job.total, job.message, job.fraction) == (1, 2, "adding", 0.5)
    assert job.lines == ["a line"]
    assert job.started is not None
    assert job.ended is not None
    assert job.ended >= job.started
    assert job.time_left_s() is None


def test_a_failure_is_told_with_its_traceback(runner: Runner) -> None:
    failed: list[Job] = []
    job = runner.submit(fail, title="fail", on_done=failed.append, on_failed=failed.append)
    assert runner.wait(WAIT_S)
    assert failed == [job]
    assert job.state is JobState.FAILED
    assert str(job.error) == "no such map"
    assert "in fail" in job.details
    assert "EngineError: no such map" in job.details


def test_a_failed_job_is_over_only_when_its_traceback_is_there(runner: Runner) -> None:
    """A panel that looks in between would show the failure without its details for good."""
    states: list[JobState] = []

    class Observed(Exception):
        def __str__(self) -> str:  # asked for while the traceback is written
            states.append(runner.jobs[-1].state)
            return "the model file is damaged"

    def work(context: JobContext) -> None:
        raise Observed

    job = runner.submit(work, title="pick with a model")
    assert job.wait(60)
    assert job.state is JobState.FAILED
    assert "the model file is damaged" in job.details
    assert states
    assert JobState.FAILED not in states


def test_a_failed_quiet_job_stays_on_the_list(runner: Runner) -> None:
    bad = runner.submit(fail, title="fail", quiet=True)
    good = runner.submit(add, 1, 1, title="add", quiet=True)
    assert runner.wait(WAIT_S)
    runner.submit(add, 1, 1, title="the next")
    assert bad in runner.jobs
    assert good not in runner.jobs
    assert runner.wait(WAIT_S)


def test_the_seed_and_the_wake_up(runner: Runner) -> None:
    woken = threading.Event()
    runner.wake = woken.set
    draws: list[float] = []

    def draw(*, context: JobContext) -> float:
        return float(context.rng().random())

    for seed in (7, 7, 8):
        runner.submit(draw, title="draw", seed=seed, on_done=draws.append).wait(WAIT_S)
        assert woken.wait(WAIT_S)
        woken.clear()
        runner.deliver()
    assert draws[0] == draws[1] != draws[2]


def test_a_job_submitted_by_a_delivery_is_waited_for_too(runner: Runner) -> None:
    got: list[int] = []

    def then(n: int) -> None:
        got.append(n)
        if n < 4:
            runner.submit(add, n, 1, title="add", on_done=then)

    runner.submit(add, 0, 1, title="add", on_done=then)
    assert runner.wait(WAIT_S)
    assert got == [1, 2, 3, 4]


def test_wait_delivers_everything_every_time() -> None:
    """A job is over a moment before its result can be delivered."""
    runner = Runner()
    for k in range(500):
        got: list[int] = []
        runner.submit(add, k, 0, title="add", quiet=True, on_done=got.append)
        assert runner.wait(WAIT_S)
        assert got == [k]
    runner.close()


def test_a_listener_that_fails_costs_no_other_its_result(runner: Runner) -> None:
    got: list[int] = []

    def bad(_n: int) -> None:
        raise RuntimeError("a slot failed")

    first = runner.submit(add, 1, 1, title="add", on_done=bad)
    first.wait(WAIT_S)
    runner.submit(add, 2, 2, title="add", on_done=got.append).wait(WAIT_S)
    with pytest.raises(RuntimeError, match="a slot failed"):
        runner.deliver()
    assert runner.deliver() == 1
    assert got == [4]


def test_a_running_job_is_cancelled(narrow: Runner, gate: threading.Event) -> None:
    delivered: list[Any] = []
    work = Blocked(gate)
    job = narrow.submit(work, title="long", on_done=delivered.append, on_failed=delivered.append)
    assert work.running.wait(WAIT_S)
    assert job.state is JobState.RUNNING
    assert narrow.active() == [job]
    job.cancel()
    assert job.wait(WAIT_S), "the work itself would wait for ever"
    assert narrow.deliver() == 1
    assert job.state is JobState.CANCELLED
    assert delivered == []


def test_a_queued_job_is_cancelled_at_once_though_another_runs(narrow: Runner, gate: threading.Event) -> None:
    work = Blocked(gate)
    first = narrow.submit(work, title="long")
    assert work.running.wait(WAIT_S)
    never = Blocked(gate)
    queued = narrow.submit(never, title="queued")
    assert queued.state is JobState.QUEUED
    queued.cancel()
    assert queued.wait(WAIT_S)
    assert queued.state is JobState.CANCELLED
    assert first.state is JobState.RUNNING
    gate.set()
    assert narrow.wait(WAIT_S)
    assert first.state is JobState.DONE
    assert not never.running.is_set()


def test_a_job_that_cannot_hear_keeps_its_result_to_itself(narrow: Runner, gate: threading.Event) -> None:
    """It was cancelled and finished all the same: its result is not wanted any more."""
    delivered: list[Any] = []
    running = threading.Event()

    def deaf(*, context: JobContext) -> int:
        running.set()
        gate.wait()
        return 1

    job = narrow.submit(deaf, title="deaf", on_done=delivered.append)
    assert running.wait(WAIT_S)
    job.cancel()
    gate.set()
    assert narrow.wait(WAIT_S)
    assert job.state is JobState.CANCELLED
    assert delivered == []


@pytest.mark.parametrize("work", [partial(add, 1, 2), fail])
def test_what_is_cancelled_after_its_end_is_not_handed_over(runner: Runner, work: Callable[..., Any]) -> None:
    """The project was closed, or another run chosen, between the end of a job and its delivery."""
    delivered: list[Any] = []
    job = runner.submit(work, title="late", quiet=True, on_done=delivered.append, on_failed=delivered.append)
    assert job.wait(WAIT_S)
    job.cancel()
    assert runner.deliver() == 1
    assert (job.state, delivered) == (JobState.CANCELLED, [])


def test_nothing_is_handed_over_once_all_is_cancelled(narrow: Runner, gate: threading.Event) -> None:
    delivered: list[Any] = []
    ended = narrow.submit(add, 1, 1, title="ended", quiet=True, on_done=delivered.append)
    assert ended.wait(WAIT_S)
    work = Blocked(gate)
    running = narrow.submit(work, title="long", on_done=delivered.append)
    queued = narrow.submit(add, 1, 1, title="queued", on_done=delivered.append)
    assert work.running.wait(WAIT_S)
    narrow.cancel_all()
    assert not narrow.idle
    after = narrow.submit(add, 2, 2, title="after", on_done=delivered.append)
    assert narrow.wait(WAIT_S)
    assert [job.state for job in (ended, running, queued)] == [JobState.CANCELLED] * 3
    assert (delivered, after.state, narrow.idle) == ([4], JobState.DONE, True)


def test_a_closed_runner_hands_nothing_over(runner: Runner) -> None:
    """The window's event that says so may come after the window has closed."""
    delivered: list[Any] = []
    assert runner.submit(add, 1, 1, title="add", on_done=delivered.append).wait(WAIT_S)
    runner.close()
    runner.deliver()
    assert delivered == []


def test_it_is_idle_when_all_is_delivered_not_when_all_is_over(runner: Runner) -> None:
    assert runner.idle
    assert runner.submit(add, 1, 1, title="add", quiet=True).wait(WAIT_S)
    assert runner.active() == []
    assert not runner.idle
    runner.deliver()
    assert runner.idle


def test_many_queued_jobs_are_all_kept(narrow: Runner, gate: threading.Event) -> None:
    got: list[int] = []
    work = Blocked(gate)
    narrow.submit(work, title="long")
    assert work.running.wait(WAIT_S)
    jobs = [narrow.submit(add, k, 0, title="add", on_done=got.append) for k in range(300)]
    assert len(narrow.active()) == 301
    gate.set()
    assert narrow.wait(WAIT_S)
    assert got == list(range(300))
    assert all(job.state is JobState.DONE for job in jobs)
    narrow.submit(add, 0, 0, title="the next")
    assert len(narrow.jobs) <= 201  # old ones are forgotten


def test_closing_stops_what_runs_and_what_waits(gate: threading.Event) -> None:
    runner = Runner(ThreadPoolExecutor(1))
    work, never = Blocked(gate), Blocked(gate)
    running, queued = runner.submit(work, title="long"), runner.submit(never, title="queued")
    assert work.running.wait(WAIT_S)
    runner.close()  # the work itself would wait for ever
    assert (running.state, queued.state) == (JobState.CANCELLED, JobState.CANCELLED)
    assert not never.running.is_set()
    runner.close()


def test_closing_does_not_wait_for_ever_for_a_deaf_job(gate: threading.Event) -> None:
    runner = Runner(ThreadPoolExecutor(1))
    job = runner.submit(lambda context: gate.wait(), title="deaf")
    runner.close(timeout_s=0.05)
    assert not job.over
    gate.set()
    assert job.wait(WAIT_S)


def test_a_closed_runner_takes_no_more(runner: Runner) -> None:
    runner.close()
    job = runner.submit(add, 1, 1, title="late")
    assert job.state is JobState.CANCELLED
    assert job.wait(0)
    assert runner.active() == []


def test_waiting_has_an_end(narrow: Runner, gate: threading.Event) -> None:
    narrow.submit(Blocked(gate), title="long")
    assert not narrow.wait(0.05)
    assert len(narrow.active()) == 1


def test_an_executor_that_refuses_leaves_no_job_behind() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    runner = Runner(executor)
    with pytest.raises(RuntimeError):
        runner.submit(add, 1, 1, title="add")
    assert runner.active() == []


def test_how_long_it_will_take() -> None:
    job = Job(1, "work")
    assert job.fraction is None
    assert job.time_left_s() is None
    job.started, job.done, job.total, job.state = 100.0, 1, 4, JobState.RUNNING
    assert job.time_left_s(now=110.0) == pytest.approx(30.0)
    job.done = 9
    assert job.fraction == 1.0


def test_the_default_context_runs_anything() -> None:
    assert add(1, 2, context=JobContext()) == 3
    with pytest.raises(Cancelled):
        JobContext(is_cancelled=lambda: True).progress(1, 2)


def test_what_does_not_fit_beside_others_is_done_alone() -> None:
    room, refused = threading.Lock(), threading.Event()

    def large(number: int, context: JobContext) -> int:
        if number == 3 or not room.acquire(blocking=False):
            refused.set()
            raise MemoryError
        if number == 1:
            refused.wait(30)
        room.release()
        return number

    outcomes = dict(each(large, [1, 2, 3], threads=2, context=JobContext()))
    assert (outcomes[1], outcomes[2]) == (1, 2)
    assert isinstance(outcomes[3], EngineError)
    assert "would be enough" in str(outcomes[3])


def test_nothing_is_handed_over_while_everything_is_cancelled():
    runner, held, came = Runner(ThreadPoolExecutor(1)), threading.Event(), []
    runner.submit(lambda context: held.wait(60), title="holds the line")
    runner.submit(lambda context: None, title="queued")
    late = runner.submit(lambda context: 1, title="late", at_once=True, on_done=came.append)
    assert late.wait(60)
    runner.wake = runner.deliver  # the end of the queued one is told at once
    runner.cancel_all(timeout_s=0.0)
    held.set()
    assert runner.wait()
    assert came == []
    runner.close()
