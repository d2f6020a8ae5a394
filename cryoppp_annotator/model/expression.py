"""A filter as a person writes it: ``res > 6 and (und > 0 or state == todo)``.

Comparisons of columns with numbers, words and each other, joined by ``and``, ``or``, ``not`` and brackets. What is not
known is neither: a comparison with it is unknown, and only what is true passes (Kleene's logic), so that neither
``res > 6`` nor ``not res > 6`` lets a micrograph through whose resolution is not known; ``res == unknown`` finds those.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..errors import Refused

#: What a row has in a column: a number (NaN = not known) or a text.
Value: TypeAlias = float | str
Row: TypeAlias = Mapping[str, Value]
#: True, false, or not known.
Truth: TypeAlias = bool | None

UNKNOWN = "unknown"
_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>\"[^\"]*\"|'[^']*')|(?P<sign><=|>=|==|!=|<|>|=|~|\(|\))|(?P<word>[^\s<>=!~()\"']+))"
)
_SIGNS = re.compile(r"[<>=~]|!=")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
#: Brackets and ``not`` in one another.
_DEEPEST = 50
_JOINS = ("and", "or", "not")


class ExpressionError(Refused):
    """A filter that cannot be understood; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that an expression may name.

    Attributes
    ----------
    name : str
        As it is written in an expression.
    words : bool
        Whether it holds text; numbers otherwise.
    choices : mapping of word to the texts it stands for, optional
        The words it may be compared with (``todo`` = unseen or in progress); empty = any.
    """

    name: str
    words: bool = False
    choices: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter that was understood.

    Attributes
    ----------
    text : str
    names : frozenset of str
        Columns that it asks for.
    """

    text: str
    names: frozenset[str]
    _truth: Callable[[Row], Truth]

    def passes(self, row: Row) -> bool:
        """Whether a row is let through; one of which too little is known is not."""
        return self._truth(row) is True

    def truth(self, row: Row) -> Truth:
        """True, false, or None where too little is known of the row."""
        return self._truth(row)


def is_expression(text: str, columns: Sequence[Column]) -> bool:
    """Whether a text is meant as an expression, and not as a part of a name: it compares, or begins with a column."""
    first = text.split()[:1]
    return bool(_SIGNS.search(text)) or (first != [] and first[0] in {column.name for column in columns})


def parse(text: str, columns: Sequence[Column]) -> Expression:
    """Understand a filter.

    Parameters
    ----------
    text : str
    columns : sequence of Column
        That may be named.

    Raises
    ------
    ExpressionError
        It is not whole, names a column that there is not, or compares what cannot be compared.
    """
    parser = _Parser(text, {column.name: column for column in columns})
    truth = parser.either()
    if parser.here is not None:
        raise ExpressionError(f"“{parser.here.text}” is one too many: join comparisons with and, or")
    return Expression(text.strip(), frozenset(parser.named), truth)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    kind: str


def _tokens(text: str) -> list[_Token]:
    out, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            sign = text[place:].strip()[0]
            why = "the quotation mark is not closed" if sign in "\"'" else f"“{sign}” alone compares nothing"
            raise ExpressionError(f"{why}; write it as in res > 6 and state == todo")
        kind = str(match.lastgroup)
        words = match[kind][1:-1] if kind == "quoted" else match[kind]
        out.append(_Token("==" if words == "=" and kind == "sign" else words, kind))
        place = match.end()
    return out


@dataclass(frozen=True, slots=True)
class _Operand:
    """A column, or a constant."""

    column: Column | None
    text: str

    @property
    def number(self) -> float:
        """As a number. Raises ValueError where it is none."""
        return float(self.text)


class _Parser:
    """One pass from left to right."""

    def __init__(self, text: str, columns: Mapping[str, Column]) -> None:
        self._columns = columns
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self.named: set[str] = set()

    @property
    def here(self) -> _Token | None:
        """The token that comes next."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next_is(self, *texts: str, kind: str = "sign") -> bool:
        here = self.here
        return here is not None and here.kind == kind and here.text.lower() in texts

    def _take(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        return token.text

    def either(self) -> Callable[[Row], Truth]:
        """``a or b``."""
        terms = [self._both()]
        while self._next_is("or", kind="word"):
            self._take()
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else lambda row: _any(term(row) for term in terms)

    def _both(self) -> Callable[[Row], Truth]:
        terms = [self._one()]
        while self._next_is("and", kind="word"):
            self._take()
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else lambda row: _all(term(row) for term in terms)

    def _one(self) -> Callable[[Row], Truth]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError(f"brackets and “not” stand in one another more than {_DEEPEST} times")
        try:
            return self._inner()
        finally:
            self._depth -= 1

    def _inner(self) -> Callable[[Row], Truth]:
        if self._next_is("not", kind="word"):
            self._take()
            term = self._one()
            return lambda row: None if (truth := term(row)) is None else not truth
        if self._next_is("("):
            self._take()
            term = self.either()
            if not self._next_is(")"):
                raise ExpressionError("a bracket is not closed")
            self._take()
            return term
        return self._comparison()

    def _comparison(self) -> Callable[[Row], Truth]:
        left = self._operand()
        if not self._next_is(*_COMPARE, "~"):
            name = left.text
            usual = f"{name} == todo" if left.column is not None and left.column.words else f"{name} > 6"
            raise ExpressionError(f"compare {name} with something, as in {usual}")
        terms = []
        while self._next_is(*_COMPARE, "~"):
            sign = self._take()
            right = self._operand()
            terms.append(_compared(left, sign, right))
            left = right
        return terms[0] if len(terms) == 1 else lambda row: _all(term(row) for term in terms)

    def _operand(self) -> _Operand:
        here = self.here
        if here is None or here.kind == "sign" or (here.kind == "word" and here.text.lower() in _JOINS):
            place = "the end" if here is None else f"“{here.text}”"
            raise ExpressionError(f"a column, a number or a word is missing before {place}")
        words = [self._take()]
        if here.kind == "quoted":
            return _Operand(None, words[0])
        if words[0] in self._columns:
            self.named.add(words[0])
            return _Operand(self._columns[words[0]], words[0])
        number = _is_number(words[0])
        while (
            not number
            and self.here is not None
            and self.here.kind == "word"
            and not self._next_is(*_JOINS, kind="word")
        ):
            words.append(self._take())
        text = " ".join(words)
        if self._next_is(*_COMPARE, "~") and not _is_number(text):
            raise ExpressionError(no_such_column(text, list(self._columns)))
        return _Operand(None, text)


def no_such_column(name: str, names: Sequence[str]) -> str:
    """That there is no column of this name, with the nearest, or all there are."""
    near = difflib.get_close_matches(name, names, 1, 0.6)
    rest = f"is {near[0]} meant?" if near else f"there are {', '.join(names)}"
    return f"there is no column “{name}”; {rest}"


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _compared(left: _Operand, sign: str, right: _Operand) -> Callable[[Row], Truth]:
    if left.column is None and right.column is not None:
        mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
        return _compared(right, mirrored, left)
    column = left.column
    if column is None:
        raise ExpressionError(f"“{left.text} {sign} {right.text}” names no column")
    if right.column is None and right.text.lower() == UNKNOWN and sign in ("==", "!="):
        return _is_unknown(column, sign == "==")
    if column.words:
        return _of_words(column, sign, right)
    if sign == "~":
        raise ExpressionError(f"{column.name} is a number: compare it with <, >, == and the like")
    if right.column is None and not _is_number(right.text):
        raise ExpressionError(f"{column.name} is a number, and “{right.text}” is none")
    if right.column is not None and right.column.words:
        raise ExpressionError(f"{column.name} is a number and {right.column.name} a text")
    return _of_numbers(column.name, _COMPARE[sign], right)


def _of_numbers(name: str, compare: Callable[[float, float], bool], right: _Operand) -> Callable[[Row], Truth]:
    def truth(row: Row) -> Truth:
        a = float(row[name])
        b = right.number if right.column is None else float(row[right.text])
        return None if math.isnan(a) or math.isnan(b) else compare(a, b)

    return truth


def _is_unknown(column: Column, expected: bool) -> Callable[[Row], Truth]:
    def truth(row: Row) -> Truth:
        value = row[column.name]
        return (value == "" if isinstance(value, str) else math.isnan(value)) is expected

    return truth


def _of_words(column: Column, sign: str, right: _Operand) -> Callable[[Row], Truth]:
    name, text = column.name, right.text.lower()
    if sign not in ("==", "!=", "~") or right.column is not None:
        raise ExpressionError(f"{name} is a text: compare it with ==, != or ~ (holds) and a word")
    if sign == "~":
        return lambda row: text in str(row[name]).lower()
    if column.choices and text not in column.choices:
        near = difflib.get_close_matches(text, list(column.choices), 1, 0.6)
        rest = f"is {near[0]} meant?" if near else f"there are {', '.join(column.choices)}"
        raise ExpressionError(f"there is no {name} “{right.text}”; {rest}")
    texts = column.choices.get(text, frozenset({text}))
    return lambda row: (str(row[name]).lower() in texts) is (sign == "==")


def _all(terms: Iterable[Truth]) -> Truth:
    truths = list(terms)
    return False if False in truths else None if None in truths else True


def _any(terms: Iterable[Truth]) -> Truth:
    truths = list(terms)
    return True if True in truths else None if None in truths else False
