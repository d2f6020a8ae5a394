"""A picker of somebody else, installed as a distribution of its own, that says on what it was called, and waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cryoppp_annotator import extensions

#: It says in a folder on which micrograph it was called (the number is in the first pixel) and by which process it was
#: asked (a plugin runs in one of its own, a child of that), and stays at those whose number is not below what the file
#: ``gate`` there says, until it is cancelled.
COUNTING = """
import os, time, uuid
from pathlib import Path
import numpy as np
from cryoppp_annotator.api import Candidates

class Counting:
    name, title = "counting", "Counts its calls"

    def propose(self, image, *, pixel_size_A, diameter_A, parameters, context):
        folder, number = Path(__file__).parents[1] / "calls", int(image[0, 0])
        (folder / f"{number}-{os.getppid()}-{uuid.uuid4().hex}").touch()
        while number >= int((folder / "gate").read_text()):
            context.check()
            time.sleep(0.01)
        x = 40.0 + np.arange(4) * 20
        return Candidates(x, x + number, 1 / (3 + np.arange(4)), np.full(4, float(diameter_A)))

IT = Counting()
"""


class Calls:
    """What the picker was called on."""

    def __init__(self, folder: Path, plugin: Path) -> None:
        self.folder, self.plugin = folder, plugin
        folder.mkdir(parents=True)

    def let_through(self, n: int) -> None:
        """It stays at the micrographs of this number and more, until it is cancelled or let through."""
        (self.folder / "gate.new").write_text(str(n))
        os.replace(self.folder / "gate.new", self.folder / "gate")

    def taken(self) -> list[int]:
        """The numbers since the last time, sorted; one of several calls stands several times."""
        return sorted(number for number, _ in self.taken_by())

    def taken_by(self) -> list[tuple[int, int]]:
        """The numbers since the last time, and which processes asked."""
        files = list(self.folder.glob("*-*-*"))
        for file in files:
            file.unlink()
        return [(int(number), int(pid)) for number, pid, _ in (file.name.split("-") for file in files)]


def install(folder: Path, version: str) -> None:
    info = folder / "counting.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: counting\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{extensions.PICKERS}]\ncounting = counting_picker:IT\n")
    (folder / "counting_picker.py").write_text(COUNTING)


@contextmanager
def counting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Installed in ``folder/plugin`` while the context lasts."""
    plugin = folder / "plugin"
    plugin.mkdir()
    install(plugin, "1.0")
    monkeypatch.syspath_prepend(plugin)
    extensions.find.cache_clear()
    try:
        yield Calls(folder / "calls", plugin)
    finally:
        extensions.find.cache_clear()
        sys.modules.pop("counting_picker", None)
