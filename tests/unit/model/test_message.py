"""What a step does is said before and after from the same parts."""

from __future__ import annotations

import pytest

from cryoppp_annotator.model.message import Message


@pytest.mark.parametrize(
    ("message", "title", "done"),
    [
        (
            Message("reject", "12 picks", "as carbon", "on m0"),
            "reject 12 picks as carbon on m0",
            "rejected 12 picks as carbon on m0",
        ),
        (Message("undecide", "1 pick", where="on m0"), "undecide 1 pick on m0", "set undecided: 1 pick on m0"),
        (Message("bring back", "m2"), "bring back m2", "brought back m2"),
        (
            Message("delete", "1 pick", where="on m0", also=Message("reject", "2 imported picks", where="elsewhere")),
            "delete 1 pick and reject 2 imported picks on m0",
            "deleted 1 pick and rejected 2 imported picks on m0",
        ),
    ],
)
def test_a_title_and_what_has_happened(message: Message, title: str, done: str) -> None:
    assert (message.title, message.done) == (title, done)
    change = message.change("decide", (), 3)
    assert (change.verb, change.title, change.done, change.micrograph) == ("decide", title, done, 3)
