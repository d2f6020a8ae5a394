"""A report for whoever is to help says nothing of the data that it need not."""

from __future__ import annotations

import pytest

from cryoppp_annotator.batch.trouble import without_names


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("cannot read /data/secret/14sep05c_22sq.mrc (Errno 5)", "cannot read <path>.mrc (Errno 5)"),
        ("14sep05c_22sq.mrc: is text", "<file>.mrc: is text"),
        ("set 'virus picks.star' of 3", "set '<name 1>' of 3"),
        ("accepted 3 picks on 14sep05c_22sq · Ctrl+Z", "accepted 3 picks on <name 2> · Ctrl+Z"),
        ("C:\\Users\\ann\\x.tif is 2 x 3", "<path>.tif is 2 x 3"),
        (
            '  File "/home/ann/v/lib/python3.11/site-packages/numpy/x.py", line 3',
            '  File "…/site-packages/numpy/x.py", line 3',
        ),
        ("200 A/px, 1/2, and/or", "200 A/px, 1/2, and/or"),
    ],
)
def test_names_are_left_out(line: str, left: str) -> None:
    assert without_names(line, ["14sep05c_22sq", "virus picks.star"]) == left
