"""2D classification on a Dask cluster: workers keep partitions of the particles and return sums."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ..classify.expectation import Partition
from ..classify.iteration import Piece
from ..jobs.cluster import Cluster
from ..model.context import JobContext


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

    with Cluster(scheduler) as cluster:
        yield cluster.holding(context, unpacked), cluster.shipped(context)
