"""Names that become file names: which may, and how the others are shown."""

from __future__ import annotations

import re

#: Longest name a file system takes, bytes; a suffix and an extension follow.
_LONGEST = 200


def file_name_problem(name: str) -> str:
    """Say why a name cannot become the name of one file in one folder; empty where it can.

    Parameters
    ----------
    name : str
        A stem, without suffix and extension. It may come from anybody's project or coordinate file.
    """
    if name in ("", ".", ".."):
        return "it is no file name"
    if "/" in name or "\\" in name:
        return "it leads to another folder"
    if any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in name):
        return "it holds a control character"
    if not is_unicode(name):
        return "it is not valid Unicode"
    if len(name.encode("utf-8")) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    return ""


def list_name_problem(name: str) -> str:
    """Say why a table of text, one row a line, cannot name a file; empty where it can."""
    if not is_unicode(name):
        return "its name is not valid Unicode; rename it"
    if any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in name):
        return "its name holds a control character; rename it"
    if re.search(r"\"\s", name) and re.search(r"'\s", name):
        return "its name holds both kinds of quotes, each before a blank; rename it"
    return ""


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: Python carries bytes of a file name that are none as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def suffix_problem(suffix: str) -> str:
    """Say why a text cannot be put between the stem and the extension of a file name; empty where it can."""
    return "" if not suffix else file_name_problem(f"x{suffix}")


def printable(name: str) -> str:
    """A name in one line: control characters and bytes that are no Unicode are escaped (``\\x0a``, ``\\xff``)."""
    return "".join(character if character.isprintable() else _escape(character) for character in name)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
