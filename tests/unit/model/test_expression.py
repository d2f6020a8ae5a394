"""Filters as people write them: what they let through, what is not known, and what they say while they are typed."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.model.expression import Column, ExpressionError, is_expression, parse

STATES = {
    "unseen": frozenset({"unseen"}),
    "complete": frozenset({"complete"}),
    "in progress": frozenset({"in progress"}),
    "todo": frozenset({"unseen", "in progress"}),
}
COLUMNS = (Column("res"), Column("und"), Column("acc"), Column("state", True, STATES), Column("name", True))
ROW = {"res": 6.5, "und": 3.0, "acc": 0.0, "state": "in progress", "name": "14_33_35_0"}
SIGNS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}


def truth(text: str, **changed: Any) -> bool | None:
    return parse(text, COLUMNS).truth({**ROW, **changed})


@pytest.mark.parametrize(
    "text",
    [
        "res > 6",
        "res>6",
        "6 < res",
        "6 < res <= 6.5",
        "und > acc",
        "res = 6.5",
        "state == todo",
        "state = in progress",
        'state == "In Progress"',
        "state != complete",
        "name ~ 33_35",
        "res > 9 or und > 0",
        "not res > 9",
        "res > 9 and und > 9 or acc == 0",
        "res > 6 and (und > 9 or acc == 0)",
        "NOT (res > 9 AND und > 9)",
        "acc < 1e-3",
    ],
)
def test_it_holds_and_its_negation_does_not(text: str) -> None:
    assert truth(text) is True
    assert truth(f"not ({text})") is False
    assert is_expression(text, COLUMNS)


def test_what_is_not_known_is_neither() -> None:
    nan = math.nan
    assert truth("res > 6", res=nan) is None
    assert truth("not res > 6", res=nan) is None
    assert not parse("res != 6", COLUMNS).passes({**ROW, "res": nan})
    # it is enough that one side decides
    assert truth("res > 6 or und > 0", res=nan) is True
    assert truth("res > 6 and und > 5", res=nan) is False
    assert truth("res == unknown", res=nan) is True
    assert truth("res == unknown") is False
    assert truth("res != unknown", res=nan) is False
    assert truth("name == unknown", name="") is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("res >", "missing before the end"),
        ("res", "compare res with something, as in res > 6"),
        ("state", "as in state == todo"),
        ("rez > 6", "no column “rez”; is res meant"),
        ("zzz > 6", "there are res, und"),
        ("res > six", "res is a number, and “six” is none"),
        ("state == finishd", "no state “finishd”"),
        ("state == toto", "is todo meant"),
        ("state > todo", "state is a text"),
        ("(res > 6", "a bracket is not closed"),
        ("res > 6)", "one too many"),
        ("res > 6 und > 0", "“und” is one too many: join"),
        ("res > 6 and", "missing before the end"),
        ('name == "a', "quotation mark is not closed"),
        ("res ! 6", "“!” alone"),
        ("3 > 2", "names no column"),
        ("res ~ 6", "res is a number"),
        ("res == name", "a number and name a text"),
        ("and res > 6", "missing before “and”"),
        ("res > nan", "is none"),
        ("(" * 5000 + "res > 6" + ")" * 5000, "more than 50 times"),
        ("not " * 5000 + "res > 6", "more than 50 times"),
    ],
)
def test_what_cannot_be_understood_says_what_is_expected(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, COLUMNS)
    assert why in str(caught.value)


def test_a_part_of_a_name_is_no_expression() -> None:
    assert not any(is_expression(text, COLUMNS) for text in ("", "14_33", "grid res", "a and b", "(1)"))
    assert is_expression("res", COLUMNS)
    assert is_expression("res >", COLUMNS)


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(a=NUMBERS, b=NUMBERS, limit=NUMBERS, first=st.sampled_from(sorted(SIGNS)), second=st.sampled_from(sorted(SIGNS)))
def test_it_is_what_python_says(a: float, b: float, limit: float, first: str, second: str) -> None:
    one, two = SIGNS[first](a, limit), SIGNS[second](b, a)
    row = {"res": a, "und": b}
    assert truth(f"res {first} {limit!r}", **row) is one
    assert truth(f"res {first} {limit!r} and not und {second} res", **row) is (one and not two)
    assert truth(f"not res {first} {limit!r} or und {second} res", **row) is (not one or two)
