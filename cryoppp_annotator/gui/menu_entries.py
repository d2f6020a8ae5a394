"""Which command stands in which menu."""

from __future__ import annotations

PROJECT = "Project"
EDIT = "Edit"
MICROGRAPH = "Micrograph"
PICKS = "Picks"
VIEW = "View"
HELP = "Help"
TITLES = (PROJECT, EDIT, MICROGRAPH, PICKS, VIEW, HELP)
#: Commands by menu, in their order; None = a line between groups.
ENTRIES: dict[str, tuple[str | None, ...]] = {
    PROJECT: ("export",),
    EDIT: ("undo", "redo", None, "select-all", "select-others", "select-none"),
    MICROGRAPH: ("next", "previous", None, "complete", "empty", "unusable", "reopen"),
    PICKS: (
        "accept",
        "reject",
        "undecide",
        "remove",
        None,
        "accept-rest",
        "reject-rest",
        None,
        "next-undecided",
        "previous-undecided",
        None,
        "smaller",
        "larger",
        "measure",
        None,
        "brush",
        "region",
        None,
        "history-of-pick",
    ),
    VIEW: (
        "toggle-raw",
        "split",
        "fit",
        None,
        "show-rejected",
        "hide-rings",
        "show-seen",
        None,
        "fold-list",
        "fold-panel",
    ),
    HELP: ("help",),
}


def menu_of(command: str) -> str:
    """Title of the menu that a command stands in; the commands that none names come under *Picks*."""
    return next((title for title, names in ENTRIES.items() if command in names), PICKS)
