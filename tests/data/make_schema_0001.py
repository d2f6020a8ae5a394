"""Makes ``schema_0001.sqlite``: a small project as the program of schema 0001 left it.

Not run again once schema 0002 exists: ``.venv/bin/python tests/data/make_schema_0001.py``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from project_tools import import_change, new_project, open_session

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.store import schema
from cryoppp_annotator.store.store import DATABASE_NAME


def main() -> None:
    assert schema.HEAD == "0001", "this program no longer writes schema 0001"
    with tempfile.TemporaryDirectory() as scratch:
        session = open_session(new_project(Path(scratch)), "ann")
        session.go(1)
        session.insert(import_change([1, 1, 2], [100.5, 200.25, 300], [10, 20, 30], [0.5, 1.5, float("nan")]))
        session.add(400.125, 40)
        session.decide([1], Decision.REJECTED, Reason.CARBON)
        session.set_diameter(120)
        session.set_pixel_size(0.75, 2)
        session.set_state([3], MicrographState.EMPTY)
        session.move([4], 401, 41)
        session.undo()  # the move, to be redone
        session.close()
        shutil.copy(Path(scratch) / DATABASE_NAME, Path(__file__).with_name("schema_0001.sqlite"))


if __name__ == "__main__":
    main()
