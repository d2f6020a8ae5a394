"""The STARs of which a data set has one a micrograph: a block with one loop of plain words, read without the grammar.

Such a file says the same to this reader as to the whole grammar's (a property test compares them); all others, and all
that is wrong, are for :mod:`.star`.
"""

from __future__ import annotations

import re

_HEAD = re.compile(
    r"""\s*(?:\#[^\n]*\n\s*)*              # comments
        data_([!-~]*)[ \t]*\n\s*           # the block
        loop_[ \t]*\n
        ((?:_[!-~]+[ \t]*(?:\#[^\n]*)?\n)+)  # labels
    """,
    re.VERBOSE,
)
#: Characters that mean something to the grammar; all of its words (``data_``, ``loop_``) hold one.
_SPECIAL = re.compile(r"""["'#;\[\]$_]""")


def read_simple(text: str) -> tuple[str, dict[str, list[str]], list[int]] | None:
    """Block name, columns by label (without the underscore), and 1-based line of each row; None for other files."""
    head = _HEAD.match(text)
    if head is None or not text.isascii() or _SPECIAL.search(text, head.end()):
        return None
    labels = [line.split("#", 1)[0].strip().lstrip("_") for line in head[2].splitlines()]
    if len(set(labels)) < len(labels) or not all(labels) or head[1].startswith("_"):
        return None
    first, rows = text.count("\n", 0, head.end()) + 1, text[head.end() :]
    widths = list(map(len, map(str.split, rows.split("\n"))))
    if not set(widths) <= {0, len(labels)} or not any(widths):
        return None
    cells = rows.split()
    columns = {label: cells[i :: len(labels)] for i, label in enumerate(labels)}
    return head[1], columns, [number for number, width in enumerate(widths, first) if width]
