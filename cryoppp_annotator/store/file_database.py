"""A project's database as a file of its folder: SQLite."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import ProjectError
from .copies import DATABASE_NAME, keep_daily
from .database import explained, journal_of, make_engine, migrate, refuse_damage, sensible


class FileDatabase:
    """See :class:`~cryoppp_annotator.store.connecting.Database`."""

    def __init__(self, folder: Path, *, read_only: bool, create: bool) -> None:
        self.path = folder / DATABASE_NAME
        self.place = str(folder)
        self.engine = make_engine(self.path, read_only=read_only, create=create)
        self.journal = ""
        self._read_only, self._create = read_only, create
        self._inode = 0

    def prepare(self) -> None:
        """Migrate, look for damage, keep the copy of today."""
        with self.explained():
            migrate(self.engine, self.path, read_only=self._read_only)
            refuse_damage(self.engine, self.path)
            if not (self._read_only or self._create):
                keep_daily(self.path)
            self._inode = os.stat(self.path).st_ino
            self.journal = journal_of(self.engine)

    def explained(self) -> AbstractContextManager[None]:
        """What SQLite says, in words."""
        return explained(self.path)

    def sensible(self) -> AbstractContextManager[None]:
        """What Python says of a row, in words."""
        return sensible(self.path)

    def was_replaced(self) -> bool:
        """Whether another file is there now. SQLite would go on writing into an unlinked one while it is open."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError:
            self.engine.dispose()  # what is open leads to the file that is gone
            raise ProjectError(
                f"{self.path} has vanished (disk unplugged, folder moved?). The edit was refused; "
                "bring the folder back and repeat the step."
            ) from None
        if inode == self._inode:
            return False
        # perhaps a copy that was put back: nothing known of the old one holds
        self.engine.dispose()
        with self.explained():
            migrate(self.engine, self.path, read_only=self._read_only)
        self._inode = inode
        return True
