"""Makes ``schema_0003.sqlite``: what ``make_schema_0002.py`` does, with species, as the program of schema 0003 left it.

Not run again once schema 0004 exists: ``.venv/bin/python tests/data/make_schema_0003.py``.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import make_schema_0002 as before
from project_tools import new_project, open_session

from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core import species
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.store import schema
from cryoppp_annotator.store.store import DATABASE_NAME


def main() -> None:
    assert schema.HEAD == "0003", "this program no longer writes schema 0003"
    with tempfile.TemporaryDirectory() as scratch:
        session = open_session(new_project(Path(scratch)), "ann")
        before._settings(session)
        before._picks(session)
        before._regions(session)
        before._proposals(session)
        _species(session)
        before._classes(session)
        session.undo()
        session.undo()  # both are to be redone
        session.close()
        shutil.copy(Path(scratch) / DATABASE_NAME, Path(__file__).with_name("schema_0003.sqlite"))


def _species(session: Session) -> None:
    for number, name in enumerate(("ribosome", "proteasome"), 1):
        species.add(session, name, diameter_A=100.0 * number, key=f"F{number}")
    species.give(session, [1, 3], 1)
    species.give_where(session, Which(min_score=1.5), 2)
    species.change(session, 1, name="70S", colour="#123456", diameter_A=None)
    session.loaded.current_species = 2
    session.add(2000.5, 1500)
    session.loaded.current_species = 0


if __name__ == "__main__":
    main()
