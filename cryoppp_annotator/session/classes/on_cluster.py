"""Work on a Dask cluster: whether one is there and sees the data; 2D classification, of which workers keep parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...classify.expectation import Partition
from ...classify.iteration import Piece
from ...errors import EngineError
from ...jobs.cluster import connected
from ...model.context import JobContext
from ..core.edits import count_of


@contextmanager
def class_workers(scheduler: str | None, context: JobContext) -> Iterator[tuple[Executor | None, JobContext]]:
    """What :func:`~cryoppp_annotator.classify.engine.classify` takes as ``workers`` and ``context``.

    Each partition is sent to a worker once and stays there; an iteration sends the averages and gets sums back. A
    partition whose worker dies is sent to another one. The sums are added in the order of the partitions, so the
    result is that of local threads.

    Parameters
    ----------
    scheduler : str or None
        Address or scheduler file; None = local threads, ``(None, context)``.
    context : JobContext

    Raises
    ------
    EngineError
        There is no such cluster.
    """
    if scheduler is None:
        yield None, context
        return

    def unpacked(part: Partition | Piece) -> Partition:
        return part if isinstance(part, Partition) else part.load(context)

    context.check()
    with connected(scheduler, context.check) as cluster:
        yield cluster.holding(context, unpacked), cluster.shipped(context)


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """What is at an address.

    Attributes
    ----------
    workers, cores : int
    """

    workers: int
    cores: int

    @property
    def summary(self) -> str:
        """``2 workers, 16 cores``."""
        return f"{count_of(self.workers, 'worker')}, {count_of(self.cores, 'core')}"


def look_at(scheduler: str, paths: Sequence[Path], *, context: JobContext) -> ClusterSize:
    """Whether a cluster could do a project's work.

    Parameters
    ----------
    scheduler : str
        Address or scheduler file.
    paths : sequence of Path
        Absolute; files and folders that its workers must see.

    Raises
    ------
    EngineError
        No scheduler answers, there is no worker, it is another version, or one does not see the files.
    Cancelled
    """
    context.progress(0, 1, f"connecting to {scheduler}")
    with connected(scheduler, context.check) as cluster:
        cores = cluster.cores()
        if not cores:
            raise EngineError(
                f"the scheduler at {scheduler} answers, but has no workers yet: start `dask worker` on each machine"
            )
        for worker, missing in cluster.on_each(_missing, [str(path) for path in paths]).items():
            if missing:
                raise EngineError(
                    f"{missing[0]} is not to be seen by the worker {worker}: it must lie under the same path there"
                )
    return ClusterSize(len(cores), sum(cores.values()))


def _missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]
