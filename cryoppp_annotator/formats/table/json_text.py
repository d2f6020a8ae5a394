"""JSON that somebody else wrote: each key of an object once, and texts that a file can hold."""

from __future__ import annotations

import json
import re
from typing import Any

#: Half of a sign that takes two escapes; whether its other half stands beside it only a parser knows.
_HALF_SIGN = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> Any:
    r"""The value of a JSON text; half a sign (``\ud800`` alone), which no file can hold, becomes ``?``.

    Raises
    ------
    json.JSONDecodeError
        It is not JSON.
    ValueError
        An object names a key twice (Python would drop the first without a word), or digits are beyond all reason.
    RecursionError
        It is nested too deeply.
    """
    value = json.loads(text, object_pairs_hook=_each_key_once)
    if _HALF_SIGN.search(text):
        whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        value = json.loads(whole)
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} is twice in one object")
    return values
