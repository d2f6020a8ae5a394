"""The whole road in the real window, with a real pointer: after each step the database must say what was done."""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk import Desk, Point, Program, missing_tools, wait_until

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.region import holds
from cryoppp_annotator.store.store import DATABASE_NAME

pytestmark = [
    pytest.mark.gui,
    pytest.mark.realdata,
    pytest.mark.slow,
    pytest.mark.skipif("CI" not in os.environ and bool(missing_tools()), reason=f"not installed: {missing_tools()}"),
]

FIRST, SECOND = "Falcon_2012_06_12-14_33_35_0", "Falcon_2012_06_12-15_07_41_0"
SIDE = 4096


class Database:
    """The project as plain sqlite3 sees it, past everything that is tested."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / DATABASE_NAME

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        if not self.file.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as connection:
            return list(connection.execute(sql, parameters))

    def one(self, sql: str, *parameters: object) -> Any:
        return self.rows(sql, *parameters)[0][0]

    def picks(self, micrograph: str) -> dict[int, tuple[float, float, int, int]]:
        """x, y, decision and reason by id."""
        rows = self.rows(
            "select p.id, x, y, decision, reason from particle p join micrograph m on m.id = p.micrograph"
            " where m.name = ? order by p.id",
            micrograph,
        )
        return {row[0]: row[1:] for row in rows}

    def rejected(self, micrograph: str) -> set[int]:
        return {i for i, pick in self.picks(micrograph).items() if pick[2] == Decision.REJECTED}

    def state(self, micrograph: str) -> str:
        return str(self.one("select state from micrograph where name = ?", micrograph))

    def newest(self) -> tuple[str, str]:
        """Kind and title of the last line of the history."""
        return self.rows("select kind, title from change order by id desc limit 1")[0]  # type: ignore[return-value]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def started(desk: Desk) -> Iterator[list[Program]]:
    """Programs to be ended, whatever happens."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        if not program.ended():
            program.kill()


def test_a_curator_opens_picks_decides_undoes_exports_leaves_and_comes_back(
    desk: Desk, started: list[Program], data_dir: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    database = Database(project)
    pictures = os.environ.get("CRYOPPP_SCREENSHOTS")
    words = ("annotate", data_dir / "cryoppp" / "10017", "--project", project, "--curator", "ann")

    def picture(name: str) -> None:
        wait_until(program.shown, f"{name}: the window shows the micrograph and its picks")
        if pictures:
            desk.picture(Path(pictures) / f"{name}.png")
        else:
            desk.rest()

    def start() -> Program:
        program = Program(desk, *words)
        started.append(program)
        wait_until(program.shown, "the first micrograph is drawn", 300)
        return program

    # open: the labels that come with the data set are in the project
    program = start()
    wait_until(lambda: len(database.picks(FIRST)) == 629, "the labels are imported")
    assert len(database.picks(SECOND)) == 392
    assert database.state(FIRST) == "in progress"
    assert database.state(SECOND) == "unseen"
    picture("01-opened")
    # one pixel of the screen, in micrograph px
    px = SIDE / (program.at(SIDE, 0)[0] - program.at(0, 0)[0])

    # add: a click on empty ice
    ice = emptiest(database, FIRST)
    desk.click(program.at(*ice))
    wait_until(lambda: len(database.picks(FIRST)) == 630, "a click adds a pick")
    added, pick = max(database.picks(FIRST).items())
    assert pick[:2] == pytest.approx(ice, abs=px)
    assert pick[2:] == (Decision.ACCEPTED, Reason.NONE)
    picture("02-added")

    # drag
    goal = (ice[0] + 12 * px, ice[1] - 9 * px)
    desk.drag([program.at(*pick[:2]), program.at(*goal)], program.sees)
    wait_until(lambda: database.newest()[1] == f"move 1 pick on {FIRST}", "a drag moves the pick")
    assert database.picks(FIRST)[added][:2] == pytest.approx(goal, abs=1.5 * px)
    picture("03-dragged")

    # reject with a reason: the pick under the pointer
    wrong = loneliest(database, FIRST)
    desk.point(program.at(*database.picks(FIRST)[wrong][:2]))
    wait_until(lambda: program.ask("b.focus.hovered") == wrong, "the pointer is over the pick")
    desk.key("1")
    wait_until(lambda: database.picks(FIRST)[wrong][2:] == (Decision.REJECTED, Reason.CARBON), "1 rejects as carbon")
    assert database.rejected(FIRST) == {wrong}
    picture("04-rejected")

    # N goes to an undecided pick, close enough to be judged; A accepts it
    desk.key("n")
    (needed,) = wait_until(lambda: program.ask("b.focus.selected"), "N selects a pick")
    picture("05-next-undecided")
    assert program.ask("b.focus.selected") == [needed]
    assert database.picks(FIRST)[needed][2] == Decision.UNDECIDED
    assert program.at(0, SIDE)[1] - program.at(0, 0)[1] > 2 * SIDE / px
    desk.key("a")
    wait_until(lambda: database.picks(FIRST)[needed][2] == Decision.ACCEPTED, "A accepts it")
    desk.key("Escape", "f")
    wait_until(lambda: SIDE / (program.at(SIDE, 0)[0] - program.at(0, 0)[0]) == pytest.approx(px, rel=0.01), "fitted")
    wait_until(program.shown, "the camera is at rest")

    # lasso, then X
    corners = [(2000.0, 2300.0), (2700.0, 2250.0), (2800.0, 2900.0), (2350.0, 3100.0), (1900.0, 2800.0)]
    on_screen = [program.at(*corner) for corner in corners]
    desk.drag([*on_screen, on_screen[0]], program.sees, "shift")
    surely, maybe = inside(database, FIRST, corners, 3 * px)
    assert len(surely) > 5
    selected = set(wait_until(lambda: program.ask("b.focus.selected"), "the lasso selects"))
    assert surely <= selected <= maybe
    picture("06-lasso")
    desk.key("x")
    wait_until(lambda: database.rejected(FIRST) == selected | {wrong}, "X rejects what the lasso holds")
    assert database.newest() == ("do", f"reject {len(selected)} picks on {FIRST}")
    picture("07-lasso-rejected")

    # undo, redo: the lasso is one step
    desk.key("ctrl+z")
    wait_until(lambda: database.rejected(FIRST) == {wrong}, "undo takes the lasso back")
    picture("08-undone")
    desk.key("ctrl+shift+z")
    wait_until(lambda: database.rejected(FIRST) == selected | {wrong}, "redo")
    desk.key("Escape")

    # next; from there, undo goes back to where the step was made
    desk.key("Next")
    wait_until(lambda: database.state(SECOND) == "in progress", "the next micrograph")
    assert program.ask("b.session.current.name") == SECOND
    picture("09-next")
    desk.key("ctrl+z")
    wait_until(lambda: database.rejected(FIRST) == {wrong}, "undo across micrographs")
    wait_until(lambda: program.ask("b.session.current.name") == FIRST, "undo shows what it undid")
    assert len(program.ask("a.micrographs.chosen()")) == 1, "Ctrl of Ctrl+Z marks a second micrograph"
    picture("10-undone-across")
    desk.key("ctrl+shift+z")
    wait_until(lambda: database.rejected(FIRST) == selected | {wrong}, "redo")

    # export through the dialog: CryoPPP's CSV, accepted and undecided picks, into a folder that is typed
    before = database.picks(FIRST)
    desk.key("ctrl+s")
    wait_until(lambda: program.ask(f"{DIALOG} is not None and {DIALOG}.isActiveWindow()"), "the export dialog")
    desk.click(program.ask(f"middle({DIALOG}.decisions)"))
    wait_until(lambda: program.ask(f"{DIALOG}.decisions.view().isVisible()"), "the list of decisions")
    desk.key("Down", "Down", "Down", "Return")
    wait_until(lambda: program.ask(f"{DIALOG}.decisions.currentText()") == "accepted+undecided", "what to export")
    desk.click(program.ask(f"middle({DIALOG}.format)"))
    wait_until(lambda: program.ask(f"{DIALOG}.format.view().isVisible()"), "the list of formats")
    desk.type("CryoP")
    desk.key("Return")
    wait_until(lambda: program.ask(f"{DIALOG}.format.currentData()") == "cryoppp", "the format is chosen")
    desk.click(program.ask(f"middle({DIALOG}.folder)"))
    desk.key("ctrl+a")
    desk.type(str(tmp_path / "out"))
    wait_until(lambda: program.ask(f"{DIALOG}.folder.text()") == str(tmp_path / "out"), "the folder is typed")
    picture("11-export")
    desk.click(program.ask(f"middle({DIALOG}.buttons.button(QDialogButtonBox.StandardButton.Ok))"))
    wait_until(lambda: program.ask("a.status.message.text()").startswith("exported"), "the files are written")
    kept = [p for p in before.values() if p[2] != Decision.REJECTED]
    assert positions(tmp_path / "out", FIRST) == pytest.approx(as_cryoppp(kept), abs=0.51)
    assert positions(tmp_path / "out", SECOND).shape == (392, 2)
    assert database.picks(FIRST) == before
    picture("12-exported")

    # quit: no question is asked
    left = database.rows("select * from particle order by id")
    wait_until(lambda: program.ask("b.window.isActiveWindow()"), "the window has the keyboard again")
    desk.key("alt+F4")
    wait_until(program.ended, "the program has ended")
    assert program.process.returncode == 0
    assert database.rows("select * from particle order by id") == left

    # come back: everything is there, and yesterday's last step can be undone
    program = start()
    picture("13-reopened")
    assert database.rows("select * from particle order by id") == left
    assert program.ask("b.session.current.name") == FIRST
    assert set(program.ask("b.session.particles.id")) == set(before)
    desk.key("ctrl+z")
    wait_until(lambda: database.rejected(FIRST) == {wrong}, "yesterday's last step is undone")
    picture("14-undone-after-reopening")

    # a power cut, right after a pick was confirmed
    ice = emptiest(database, FIRST)
    desk.click(program.at(*ice))
    wait_until(lambda: len(database.picks(FIRST)) == 631, "a click adds a pick")
    program.kill()
    assert database.one("pragma integrity_check") == "ok"
    assert len(database.picks(FIRST)) == 631


DIALOG = (
    "next((w for w in QApplication.topLevelWidgets() if type(w).__name__ == 'ExportDialog' and w.isVisible()), None)"
)


def emptiest(database: Database, micrograph: str) -> Point:
    """A place on whole pixels far from all picks and from the edges."""
    picks = np.array([pick[:2] for pick in database.picks(micrograph).values()])
    grid = np.array([(x, y) for x in range(400, 3700, 40) for y in range(1400, 3700, 40)], float)
    distance = np.hypot(*(grid[:, None] - picks[None]).transpose(2, 0, 1)).min(axis=1)
    x, y = grid[distance.argmax()]
    assert distance.max() > 120
    return float(x), float(y)


def loneliest(database: Database, micrograph: str) -> int:
    """The undecided pick that is farthest from the others."""
    picks = database.picks(micrograph)
    ids, xy = np.array(list(picks)), np.array([pick[:2] for pick in picks.values()])
    distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(xy))
    undecided = np.array([pick[2] == Decision.UNDECIDED for pick in picks.values()])
    inner = (np.abs(xy - SIDE / 2) < 1500).all(axis=1)
    return int(ids[np.where(undecided & inner, distance.min(axis=1), 0).argmax()])


def inside(database: Database, micrograph: str, corners: list[Point], margin: float) -> tuple[set[int], set[int]]:
    """Ids surely inside a polygon, and ids that may be: those within ``margin`` px of its sides too."""
    picks = database.picks(micrograph)
    ids, xy = np.array(list(picks)), np.array([pick[:2] for pick in picks.values()])
    within = holds(np.array(corners)[:, ::-1], xy[:, 1], xy[:, 0])
    near = np.zeros(len(ids), bool)
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        a, side = np.array(start), np.subtract(end, start)
        along = np.clip(((xy - a) @ side) / (side @ side), 0, 1)
        near |= np.hypot(*(xy - a - along[:, None] * side).T) <= margin
    return set(ids[within & ~near].tolist()), set(ids[within | near].tolist())


def positions(folder: Path, micrograph: str) -> np.ndarray:
    """X and Y of the exported CSV, (n, 2), sorted."""
    (file,) = folder.rglob(f"{micrograph}.csv")
    with file.open(newline="") as text:
        rows = [(float(row["X-Coordinate"]), float(row["Y-Coordinate"])) for row in csv.DictReader(text)]
    return np.array(sorted(rows))


def as_cryoppp(picks: list[tuple[float, float, int, int]]) -> np.ndarray:
    """CryoPPP counts rows from the bottom: Y = H - row."""
    return np.array(sorted((x, SIDE - y) for x, y, *_ in picks))
