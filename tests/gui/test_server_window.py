"""The window on a project that lies on a PostgreSQL server, beside another curator's program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer, server_of_tests
from qtpy.QtWidgets import QPushButton

from cryoppp_annotator import open_project
from cryoppp_annotator.session.core.server_projects import folder_of


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    yield from server_of_tests()


def test_two_curators_of_a_server_see_each_others_edits(new_window, micrographs, server):
    address = server.new_database("lab")
    window = new_window().open(micrographs, project_folder=folder_of(address))
    window.bench._poll.setInterval(100)  # a person waits two seconds
    window.click(100, 100)
    with open_project(address, curator="bob") as bob:
        picks = bob.picks()
        assert len(picks) == 1
        assert bob.decide(picks, "rejected", "ice") == 1
    window.until(lambda: window.session.current.n_rejected == 1)  # by itself
    assert window.status == "read again: the project was changed in another window"
    server.stop(at_once=True)
    window.until(lambda: "server" in window.status or "lost" in window.status)
    assert "confirmed before is safe" in window.status
    server.start()
    window.click(200, 200)
    window.until(lambda: len(window.layer.data) == 2)
    with open_project(address) as bob:
        assert len(bob.picks()) == 2

    window.annotator.close_project()
    page = window.annotator.start_page
    (again,) = [button for button in page.findChildren(QPushButton) if button.text() == f"lab on {server.folder}"]
    again.click()
    window.until(lambda: window.bench is not None and len(window.layer.data) == 2)
    window.annotator.close_project()
    page.open_server("postgresql://host")
    assert page.message.text() == "postgresql://host names no database; write postgresql://NAME@HOST/DATABASE"
