"""Runs a job from the command line: a bar on the terminal, and Ctrl-C reaches the job."""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ..jobs.memory import give_back
from ..model.file_names import printable

if TYPE_CHECKING:
    from ..jobs.runner import Job
    from ..session.files.exporting import ExportReport

log = logging.getLogger(__name__)

T = TypeVar("T")

_TICK_S = 0.1
#: The garbage collector's usual 700 costs a tenth of an import, whose millions of objects are no garbage.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def run_job(work: Callable[..., T], *, title: str) -> T:
    """Run ``work(context=JobContext)`` as a job and return its result.

    A progress bar with the time left is drawn on stderr where that is a terminal; with ``--debug`` the job's log is
    written there, too. Ctrl-C cancels the job, waits until it has stopped and then raises KeyboardInterrupt; a second
    Ctrl-C does not wait.

    Raises
    ------
    KeyboardInterrupt
        It was cancelled.
    Exception
        What the job raised.
    """
    from concurrent.futures import ThreadPoolExecutor

    from ..jobs.runner import Runner

    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # a failure is reported once, by the caller
    logging.getLogger("cryoppp_annotator.jobs.runner").setLevel(logging.CRITICAL)
    runner = Runner(ThreadPoolExecutor(max_workers=1, thread_name_prefix="job"))
    job = runner.submit(work, title=title)
    try:
        _watch(job)
    except KeyboardInterrupt:
        job.cancel()
        job.wait()
        raise
    finally:
        runner.close()
        give_back()
    if job.error is not None:
        raise job.error
    result: T = job.result
    return result


def in_one_line(text: str) -> str:
    """A message in one line of visible signs, whatever the names in it hold."""
    return printable(" ".join(text.split()))


def tell_failed(failed: Mapping[str, str]) -> None:
    """Say on stderr what could not be done with which files, one line each."""
    for path, reason in failed.items():
        print(f"failed: {in_one_line(reason if path in reason else f'{path}: {reason}')}", file=sys.stderr)


def tell_written(report: ExportReport, to: str, out: Path, *, as_json: bool) -> None:
    """Say which coordinate files were written: notes on stderr, the rest as one line or one JSON object."""
    for note in report.notes:
        print(f"note: {in_one_line(note)}", file=sys.stderr)
    answer = {
        "format": to,
        "picks": report.n_picks,
        "micrographs": report.n_micrographs,
        "files": [str(file) for file in report.files],
        "notes": list(report.notes),
    }
    said = (
        f"wrote {report.n_picks:,} picks of {report.n_micrographs:,} micrographs to {out} ({len(report.files)} files)"
    )
    typer.echo(json.dumps(answer, indent=2) if as_json else said)


class _Waiting:
    """Says that a cluster has no workers, and takes the answer of who sits at a terminal."""

    def __init__(self, job: Job) -> None:
        self._job, self._said = job, ""

    def follow(self) -> None:
        """Call it now and then."""
        if self._job.lost != self._said:
            self._said = self._job.lost
            if self._said:
                here = "Enter goes on here" if _has_keyboard() else "the same command without --scheduler goes on here"
                print(
                    f"{self._said}: waiting for them. Ctrl+C cancels and keeps what is finished; {here}",
                    file=sys.stderr,
                )
        if self._said and _has_keyboard() and select.select([sys.stdin], [], [], 0)[0]:
            sys.stdin.readline()
            self._job.go_on_here()


def _has_keyboard() -> bool:
    return os.name == "posix" and sys.stdin is not None and sys.stdin.isatty()


def _watch(job: Job) -> None:
    try:
        _draw(job)
    finally:
        _tell(job)


def _tell(job: Job) -> None:
    """Hand on what came into its log since the last call."""
    while job.lines:
        log.info("%s", job.lines.pop(0))


def _draw(job: Job) -> None:
    waiting = _Waiting(job)
    if not sys.stderr.isatty():
        while not job.wait(_TICK_S):
            _tell(job)
            waiting.follow()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[said]}", markup=False),  # it may hold a name, which may look like markup
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(job.title, total=None, said="")
        while not job.wait(_TICK_S):
            _tell(job)
            waiting.follow()
            bar.update(task, completed=job.done, total=job.total or None, said=in_one_line(job.message))
