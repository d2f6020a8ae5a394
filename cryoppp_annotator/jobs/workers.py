"""Whether a Dask cluster has any worker: a job that waits for workers that do not come says so."""

from __future__ import annotations

import time
from typing import Any

from ..model.context import JobContext

#: Seconds between looks.
_LOOK_S = 1.0
#: Seconds without a worker until it is said.
_PATIENCE_S = 4.0
#: Seconds for the scheduler to answer.
_ANSWER_S = 2.0


class GoOnHereError(Exception):
    """A person does not want to wait for workers: the rest is done on this computer."""


class WorkerWatch:
    """Looks now and then, while a job waits, whether the cluster still has workers.

    Parameters
    ----------
    client : distributed.Client
    address : str
        Of the scheduler, for the message.
    context : JobContext
        Its ``on_lost`` gets the message, and an empty one when workers are there again.
    """

    def __init__(self, client: Any, address: str, context: JobContext) -> None:
        self._client, self._address, self._context = client, address, context
        self._looked = time.monotonic()
        self._none_since: float | None = None
        self._said = False

    def follow(self) -> None:
        """Call it while waiting. Raises GoOnHereError where somebody has chosen that."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self._note(now, self._n_workers())
        if self._said and self._context.goes_on_here():
            self._context.on_lost("")
            raise GoOnHereError

    def _note(self, now: float, n_workers: int | None) -> None:
        if n_workers is None:
            return
        if n_workers:
            self._none_since = None
            if self._said:
                self._context.on_lost("")
            self._said = False
            return
        self._none_since = now if self._none_since is None else self._none_since
        if not self._said and now - self._none_since >= _PATIENCE_S:
            self._said = True
            self._context.on_lost(f"No workers are connected to {self._address}")

    def _n_workers(self) -> int | None:
        """None where the scheduler cannot be asked: that is said elsewhere."""
        if self._client.status != "running":
            return None
        try:
            return len(self._client.sync(self._client.scheduler.ncores, callback_timeout=_ANSWER_S))
        except Exception:  # of Dask's many
            return None
