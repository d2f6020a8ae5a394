"""What a long function is handed: a way to report, to be cancelled, and its seed. Knows no thread and no Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import Cancelled


def _silent(_done: float, _total: float, _message: str) -> None:
    """Report nothing."""


def _never() -> bool:
    return False


def _no_log(_message: str) -> None:
    """Log nothing."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """Progress, cancel, log and seed of one job.

    Call :meth:`check` in every inner loop (at least twice a second) and :meth:`progress` at least once a second.
    The default context reports nothing and is never cancelled, so every engine also runs from a notebook.
    """

    on_progress: Callable[[float, float, str], None] = field(default=_silent)
    is_cancelled: Callable[[], bool] = field(default=_never)
    on_log: Callable[[str], None] = field(default=_no_log)
    seed: int = 0
    #: Gets why a job on a cluster waits (no workers), and an empty text when it does not any more.
    on_lost: Callable[[str], None] = field(default=_no_log)
    #: Whether somebody has chosen that it goes on here, without the cluster.
    goes_on_here: Callable[[], bool] = field(default=_never)

    def progress(self, done: float, total: float, message: str = "") -> None:
        """Report that ``done`` of ``total`` units are finished; also a cancel point."""
        self.check()
        self.on_progress(done, total, message)

    def check(self) -> None:
        """Raise :class:`~cryoppp_annotator.errors.Cancelled` where the user has cancelled."""
        if self.is_cancelled():
            raise Cancelled("cancelled")

    def log(self, message: str) -> None:
        """Write one line to the job's log."""
        self.on_log(message)

    def part(self, begin: float = 0.0, end: float = 0.0, prefix: str = "") -> JobContext:
        """The context of a part of the job: the same cancel, log and seed.

        Parameters
        ----------
        begin, end : float
            The part's progress from 0 to 1 is ``begin`` to ``end`` of the job's; equal = it is not reported.
        prefix : str
            Begins what the part says of its progress.
        """
        if begin == end:
            return replace(self, on_progress=_silent)

        def report(done: float, total: float, message: str) -> None:
            share = done / total if total > 0 else 0.0
            self.on_progress(begin + (end - begin) * share, 1.0, f"{prefix}{message}")

        return replace(self, on_progress=report)

    def rng(self) -> np.random.Generator:
        """A fresh generator from the job's seed: the same seed gives the same result."""
        return np.random.default_rng(self.seed)
