"""Every command a curator can give from the keyboard or a menu: id, title, keys, whether it can be given, what it does.

Menus, tooltips, the help page and the key table are made from this one list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import Refused
from ...model.curation import Decision, Reason
from ...model.micrograph import MicrographState
from . import species
from .edits import count_of
from .focus import Focus
from .step import Nothing


def always(_focus: Focus) -> str:
    """The command can always be given."""
    return ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes
    ----------
    id : str
        Stable name; key settings refer to it.
    title : str
        What a menu says.
    keys : tuple of str
        Default keys, in Qt's spelling (``Ctrl+Shift+Z``).
    group : str
        Heading on the help page.
    run : callable
        Does it.
    why_not : callable
        Empty where it can be given now, else the reason a tooltip shows.
    about : str
        One more sentence for the tooltip.
    """

    id: str
    title: str
    keys: tuple[str, ...]
    group: str
    run: Callable[[Focus], None]
    why_not: Callable[[Focus], str] = always
    about: str = ""


def _open(focus: Focus) -> str:
    return "" if focus.session.current_id is not None else "open a micrograph first"


def _targets(focus: Focus) -> str:
    return "" if len(focus.targets()) else "point at a pick or select some first"


def _go(step: int) -> Callable[[Focus], None]:
    def run(focus: Focus) -> None:
        if (neighbour := focus.walking.neighbour(step)) is None:
            raise Refused(f"this is the {'last' if step > 0 else 'first'} micrograph of the list")
        focus.session.go(neighbour)

    return run


def _can_go(step: int) -> Callable[[Focus], str]:
    def why_not(focus: Focus) -> str:
        if focus.walking.neighbour(step) is not None:
            return ""
        return f"no {'further' if step > 0 else 'earlier'} micrograph"

    return why_not


def _decide(decision: Decision, reason: Reason = Reason.NONE) -> Callable[[Focus], None]:
    def run(focus: Focus) -> None:
        ids = focus.targets()
        if not len(ids):
            raise Refused("point at a pick or select some first")
        goes_on = focus.walking.go_on and decision is not Decision.UNDECIDED
        step = focus.walking.direction(focus.selected) if goes_on else 0
        ahead = _ahead(focus, step)
        if isinstance(focus.session.decide(ids, decision, reason), Nothing):
            word = {Decision.ACCEPTED: "accepted", Decision.REJECTED: "rejected"}.get(decision, "undecided")
            raise Refused(f"already {word}")
        if step:
            _walk_on(focus, step, ahead)

    return run


def _remove(focus: Focus) -> None:
    if not len(focus.targets()):
        raise Refused("point at a pick or select some first")
    focus.session.remove(focus.targets())


def _state(state: MicrographState, *, then_next: bool = False) -> Callable[[Focus], None]:
    def run(focus: Focus) -> None:
        here = focus.session.current_id
        if here is None:
            raise Refused("open a micrograph first")
        following = focus.walking.neighbour(1)
        session = focus.session
        session.set_state([here], state)
        done = session.micrograph(here)
        if then_next and following is not None:
            session.go(following)
        if state is MicrographState.COMPLETE and done.n_undecided:
            open_picks = count_of(done.n_undecided)
            line = f"{done.name} is complete, with {open_picks} still undecided · {{undo}} undoes"
            session.said.emit(line, "warning")

    return run


def _can_be_empty(focus: Focus) -> str:
    current = focus.session.current
    if current is None:
        return "open a micrograph first"
    for n, word in ((current.n_accepted, "accepted"), (current.n_undecided, "undecided")):
        if n:
            return f"{count_of(n)} here {'is' if n == 1 else 'are'} {word}; reject before calling it empty"
    return ""


def _empty(focus: Focus) -> None:
    if why := _can_be_empty(focus):
        raise Refused(why)
    _state(MicrographState.EMPTY, then_next=True)(focus)


def _next_undecided(step: int) -> Callable[[Focus], None]:
    def run(focus: Focus) -> None:
        if not _walk(focus, step, _ahead(focus, step)):
            raise Refused("no undecided pick is left in the listed micrographs")
        focus.session.said.emit(focus.walking.left(), "info")

    return run


def _ahead(focus: Focus, step: int) -> list[int]:
    """Undecided picks here that a walk has not passed yet, the next one first."""
    queue: list[int] = focus.walking.by_need().tolist()[:: step or 1]
    chosen = int(focus.selected[0]) if len(focus.selected) == 1 else None
    return queue[queue.index(chosen) + 1 :] if chosen in queue else queue


def _walk(focus: Focus, step: int, ahead: list[int]) -> bool:
    """Take a step of a walk by need; at the end it starts again. Returns whether there was anything to go to.

    It goes through both sides of the threshold, nearest first, for as long as there are picks above it; then to the
    next micrograph that has some, and only where none has to what is left below.
    """
    walking = focus.walking
    if not ahead or (step > 0 and not np.isin(ahead, walking.above()).any()):
        elsewhere = _elsewhere(focus, step, walking.open_elsewhere())
        if elsewhere is None and not ahead:
            elsewhere = _elsewhere(focus, step, walking.open_elsewhere(below=True))
        if elsewhere is not None:
            focus.session.go(elsewhere)
            ahead = []
    ahead = ahead or focus.walking.by_need().tolist()[::step]
    if ahead:
        focus.walk_to(ahead[0], step)
    return bool(ahead)


def _walk_on(focus: Focus, step: int, ahead: list[int]) -> None:
    """Go on after a decision, past what was skipped."""
    here = set(focus.walking.by_need().tolist())
    if not _walk(focus, step, [i for i in ahead if i in here]):
        focus.session.said.emit("every pick of the listed micrographs is decided · {undo} undoes the last step", "info")


def _elsewhere(focus: Focus, step: int, open_there: set[int]) -> int | None:
    order = focus.walking.micrographs()
    here = focus.session.current_id
    start = order.index(here) if here in order else -1
    for k in range(1, len(order)):
        candidate = order[(start + step * k) % len(order)]
        if candidate != here and candidate in open_there:
            return candidate
    return None


def _undo(focus: Focus) -> None:
    if focus.session.undo() is None:
        raise Refused("nothing to undo")


def _redo(focus: Focus) -> None:
    if focus.session.redo() is None:
        raise Refused("nothing to redo")


def _can_undo(focus: Focus) -> str:
    return "" if focus.session.next_undo() else "nothing to undo"


def _can_redo(focus: Focus) -> str:
    return "" if focus.session.next_redo() else "nothing to redo"


def _scale_diameter(factor: float) -> Callable[[Focus], None]:
    def run(focus: Focus) -> None:
        session, chosen = focus.session, focus.selected
        if len(chosen):
            species.scale_diameters(session, chosen, factor)
        else:
            # of two presses while a big step is written both count
            session.when_free(lambda: species.set_new_diameter(session, session.loaded.new_diameter_A * factor))

    return run


def _all_here(decision: Decision) -> Callable[[Focus], None]:
    def run(focus: Focus) -> None:
        if focus.session.current_id is None:
            raise Refused("open a micrograph first")
        p = focus.session.particles
        # what is not drawn is not decided
        chosen = (p.decision == Decision.UNDECIDED) & focus.drawn.of_set() & focus.drawn.mask()
        if not chosen.any():
            raise Refused("nothing is undecided here")
        focus.session.decide(p.id[chosen], decision, in_bulk=True)

    return run


def _select_all(focus: Focus) -> None:
    focus.select(focus.session.particles.id[focus.drawn.mask()])


def _select_others(focus: Focus) -> None:
    focus.select(np.setdiff1d(focus.session.particles.id[focus.drawn.mask()], focus.selected))


_WHOSE_SIZE = "Of the selected picks, else of the current species, else of all."
DECIDING = "Deciding"
PICKS = "Picks"
WALKING = "Micrographs"
UNDOING = "Undo"


def session_commands() -> list[Command]:
    """The commands that need no window."""
    reasons = [
        Command(
            f"reject-{int(reason)}",
            f"Reject as {reason.label}",
            (str(int(reason)),),
            DECIDING,
            _decide(Decision.REJECTED, reason),
            _targets,
        )
        for reason in Reason
        if reason is not Reason.NONE
    ]
    selection = "Acts on the selection, else on the pick under the pointer."
    return [
        Command("next", "Next micrograph", ("PgDown",), WALKING, _go(1), _can_go(1)),
        Command("previous", "Previous micrograph", ("PgUp",), WALKING, _go(-1), _can_go(-1)),
        Command(
            "complete",
            "Complete, and go to the next",
            ("C",),
            WALKING,
            _state(MicrographState.COMPLETE, then_next=True),
            _open,
        ),
        Command("empty", "Empty: looked at, no particle here", ("E",), WALKING, _empty, _can_be_empty),
        Command(
            "unusable",
            "Unusable, and go to the next",
            ("U",),
            WALKING,
            _state(MicrographState.UNUSABLE, then_next=True),
            _open,
        ),
        Command("reopen", "In progress again", (), WALKING, _state(MicrographState.IN_PROGRESS), _open),
        Command(
            "next-undecided",
            "Next undecided",
            ("N",),
            WALKING,
            _next_undecided(1),
            _open,
            "Nearest to the score threshold first, on both sides of it; continues on the next micrograph.",
        ),
        Command("previous-undecided", "Previous undecided", ("Shift+N",), WALKING, _next_undecided(-1), _open),
        Command("accept", "Accept", ("A",), DECIDING, _decide(Decision.ACCEPTED), _targets, selection),
        Command(
            "reject",
            "Reject",
            ("X",),
            DECIDING,
            _decide(Decision.REJECTED),
            _targets,
            selection + " Right click does the same.",
        ),
        *reasons,
        Command("undecide", "Set undecided", ("0",), DECIDING, _decide(Decision.UNDECIDED), _targets, selection),
        Command(
            "accept-rest", "Accept all undecided here", ("Shift+A",), DECIDING, _all_here(Decision.ACCEPTED), _open
        ),
        Command(
            "reject-rest", "Reject all undecided here", ("Shift+X",), DECIDING, _all_here(Decision.REJECTED), _open
        ),
        Command(
            "remove",
            "Remove (imported picks are rejected)",
            ("Delete", "Backspace"),
            PICKS,
            _remove,
            _targets,
            selection,
        ),
        Command("select-all", "Select all picks here", ("Ctrl+A",), PICKS, _select_all, _open),
        Command("select-others", "Select the other picks here", ("Ctrl+I",), PICKS, _select_others, _open),
        Command("select-none", "Select nothing", ("Escape",), PICKS, lambda focus: focus.clear()),
        Command("smaller", "Smaller diameter", ("[",), PICKS, _scale_diameter(1 / 1.05), always, _WHOSE_SIZE),
        Command("larger", "Larger diameter", ("]",), PICKS, _scale_diameter(1.05), always, _WHOSE_SIZE),
        Command("undo", "Undo", ("Ctrl+Z",), UNDOING, _undo, _can_undo),
        Command("redo", "Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), UNDOING, _redo, _can_redo),
    ]
