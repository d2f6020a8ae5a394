"""The C library's memory: handed back to the system, and fewer reservations where memory is limited."""

from __future__ import annotations

import sys
from typing import Any

#: glibc's number of the option of ``mallopt`` that says how many arenas there may be.
_ARENA_MAX = -8


def give_back() -> None:
    """Hand freed memory back to the system, where the C library keeps it (glibc); nothing elsewhere.

    After millions of small arrays were freed it lies between others, where larger arrays find no room in it. The call
    takes some milliseconds for 100 MB.
    """
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def reserve_little() -> None:
    """Let threads share one arena where the address space is limited (``ulimit -v``); nothing elsewhere.

    Each thread else reserves 64 MB for itself, hardly any of which it uses: of 1 GB that leaves half for pictures.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY and (library := _glibc()) is not None:
        library.mallopt(_ARENA_MAX, 1)


def _glibc() -> Any:
    """The C library of this process where it is glibc, else None."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library
