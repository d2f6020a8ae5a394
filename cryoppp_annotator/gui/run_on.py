"""What long work runs on: this computer, or a Dask cluster."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Signal

from ..jobs.cluster import NEEDS, is_installed
from .preferences import keep_preference, preference

_CLUSTER = "run on a cluster"
_ADDRESS = "cluster"


class RunOn(QObject):
    """A person's choice, kept for the next start.

    Parameters
    ----------
    scheduler : str, optional
        Address or scheduler file, for this start only: chosen, and not kept until something is changed.
    """

    changed = Signal()

    def __init__(self, scheduler: str | None = None) -> None:
        super().__init__()
        #: Why there is no cluster to choose; empty where there is.
        self.why_not = "" if is_installed() else NEEDS
        self.cluster = preference(_CLUSTER, False)
        self.address = preference(_ADDRESS, "")
        if scheduler is not None:
            self.cluster, self.address = True, scheduler

    def choose(self, cluster: bool, address: str) -> None:
        """Choose, and keep it."""
        address = address.strip()
        if (cluster, address) == (self.cluster, self.address):
            return
        self.cluster, self.address = cluster, address
        keep_preference(_CLUSTER, cluster)
        keep_preference(_ADDRESS, address)
        self.changed.emit()

    @property
    def scheduler(self) -> str | None:
        """The scheduler that a job uses; None = this computer."""
        return self.address if self.cluster and self.address and not self.why_not else None

    @property
    def where(self) -> str:
        """What the row of a job says that runs there."""
        if self.scheduler is None:
            return self.here
        return f"on {self.address if '://' in self.address else Path(self.address).name}"

    @property
    def here(self) -> str:
        """What the row of a job says that always runs here; nothing where no other place was chosen."""
        return "on this computer" if self.scheduler is not None else ""

    @property
    def tooltip(self) -> str:
        """For the tooltip of what runs there; nothing where that is this computer."""
        return f"Runs {self.where} (Jobs, Run on)" if self.scheduler is not None else ""

    @property
    def tooltip_here(self) -> str:
        """For the tooltip of what always runs here; nothing where no other place was chosen."""
        return "Runs on this computer, not on the cluster" if self.scheduler is not None else ""
