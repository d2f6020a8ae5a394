"""What a curator decides, and a change as an invertible value.

A :class:`Change` is a list of :class:`Delta`. A delta inserts, deletes or updates rows of one table and carries
the affected columns before and after, so that its inverse is a swap. Arrays of length 1 stand for a constant.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import partial
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .npy import read_npy

AnyArray: TypeAlias = NDArray[Any]

#: A larger array is packed in pieces, without copies of it.
_IN_PIECES_BYTES = 1 << 20
#: From so many rows on a packed delta says beside its ids which there are, one bit each, ...
_MANY = 1_000
#: ... where the ids span no more than so many times their number.
_SPARSE = 16


class Decision(IntEnum):
    """What is known of a particle. Rejecting is not deleting: a rejected particle is training data."""

    UNDECIDED = 0
    ACCEPTED = 1
    REJECTED = 2


class Reason(IntEnum):
    """Why a particle was rejected; the numbers 1 to 9 are also the keys."""

    NONE = 0
    CARBON = 1
    ICE = 2
    AGGREGATE = 3
    OVERLAP = 4
    EDGE = 5
    OFF_CENTRE = 6
    WRONG_SPECIES = 7
    NOT_A_PARTICLE = 8
    OTHER = 9

    @property
    def label(self) -> str:
        """The words a curator reads."""
        return self.name.lower().replace("_", " ").replace("off centre", "off-centre")


class Table(StrEnum):
    """Tables a change can touch."""

    PARTICLE = "particle"
    MICROGRAPH = "micrograph"
    PICK_SET = "pick_set"
    SPECIES = "species"
    REGION = "region"
    SETTING = "setting"


#: The verb of a decision by a rule: above a score, all that are left, in regions. Nobody looked at each pick.
BULK_VERB = "decide-many"
#: Verbs of steps whose decisions nobody made one by one, by a page or by a class.
BULK_VERBS = frozenset({BULK_VERB, "mend"})


class Kind(StrEnum):
    """What a delta does to rows."""

    INSERT = "insert"
    DELETE = "delete"
    UPDATE = "update"


_INVERSE = {Kind.INSERT: Kind.DELETE, Kind.DELETE: Kind.INSERT, Kind.UPDATE: Kind.UPDATE}


@dataclass(frozen=True, eq=False)
class Delta:
    """Rows of one table before and after.

    Attributes
    ----------
    table, kind : Table, Kind
    ids : (n,) int64
        Row ids; negative ids of an insert are replaced by fresh ones when it is first committed. Settings have keys
        (columns ``key`` and ``value``), their ids mean nothing.
    micrograph : (n,) or (1,) int64
        For particles: the micrograph of every row.
    before, after : mapping of column name to (n,) or (1,) array
        ``before`` is empty for an insert, ``after`` for a delete.
    """

    table: Table
    kind: Kind
    ids: NDArray[np.int64]
    before: Mapping[str, AnyArray] = field(default_factory=dict)
    after: Mapping[str, AnyArray] = field(default_factory=dict)
    micrograph: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def inverse(self) -> Delta:
        """The delta that takes this one back."""
        return Delta(self.table, _INVERSE[self.kind], self.ids, self.after, self.before, self.micrograph)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Change:
    """One user action: one transaction, one undo step, one announcement.

    Attributes
    ----------
    verb : str
        Stable machine name (``add``, ``move``, ``decide``, ``import`` ...).
    title : str
        What a person reads in the menu and the history ("reject 12 as carbon on 14_33_35_0").
    deltas : tuple of Delta
        Applied in order; the inverse applies the inverses in reverse order.
    micrograph : int or None
        The micrograph it is about, where there is exactly one.
    done : str
        The title as something that has happened ("rejected 12 as carbon ..."); not stored. Empty = the title.
    """

    verb: str
    title: str
    deltas: tuple[Delta, ...]
    micrograph: int | None = None
    done: str = ""

    def inverse(self) -> Change:
        """The change that takes this one back."""
        return Change(self.verb, self.title, tuple(d.inverse() for d in reversed(self.deltas)), self.micrograph)

    def n_rows(self, table: Table = Table.PARTICLE) -> int:
        """Rows of ``table`` this change touches."""
        return sum(len(d) for d in self.deltas if d.table is table)


def pack(deltas: tuple[Delta, ...]) -> bytes:
    """Serialise deltas to a compact blob without pickles (a zip of ``.npy`` members and one JSON head)."""
    buffer = io.BytesIO()
    big = sum(len(d) for d in deltas) > 200
    mode = zipfile.ZIP_DEFLATED if big else zipfile.ZIP_STORED
    head: list[dict[str, Any]] = []
    with zipfile.ZipFile(buffer, "w", mode, compresslevel=1 if big else None) as archive:

        def put(name: str, array: AnyArray) -> None:
            array = np.asarray(array)
            if array.nbytes < _IN_PIECES_BYTES or array.ndim != 1 or array.dtype.hasobject:  # refused by np.save
                member = io.BytesIO()
                np.save(member, array, allow_pickle=False)
                archive.writestr(name, member.getvalue())
                return
            with archive.open(name, "w", force_zip64=True) as stream:
                _save_in_pieces(stream, array)

        for i, delta in enumerate(deltas):
            put(f"{i}/ids", delta.ids)
            if (bits := _bits(delta)) is not None:
                put(f"{i}/bits", bits)
            put(f"{i}/micrograph", delta.micrograph)
            for side, columns in (("before", delta.before), ("after", delta.after)):
                for name, column in columns.items():
                    put(f"{i}/{side}/{name}", column)
            head.append(
                {
                    "table": delta.table.value,
                    "kind": delta.kind.value,
                    "before": list(delta.before),
                    "after": list(delta.after),
                    **({} if bits is None else {"first": int(delta.ids.min())}),
                }
            )
        archive.writestr("head.json", json.dumps(head))
    return buffer.getvalue()


def _save_in_pieces(stream: IO[bytes], array: AnyArray) -> None:
    """As ``np.save`` of a column (n,), whose pieces are 16 MB each: beside millions of rows that is much."""
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    rows = max(1, _IN_PIECES_BYTES // array.itemsize)
    for start in range(0, len(array), rows):
        stream.write(array[start : start + rows].tobytes())


def _bits(delta: Delta) -> NDArray[np.uint8] | None:
    """Which ids of a large delta there are, one bit each from the smallest on; None where that would save little."""
    ids = delta.ids
    if len(ids) < _MANY or delta.table is Table.SETTING:
        return None
    first, last = int(ids.min()), int(ids.max())
    if last - first >= _SPARSE * len(ids):
        return None
    present = np.zeros(last - first + 1, bool)
    present[ids - first] = True
    return np.packbits(present)


def _among(ids: NDArray[np.int64], first: int, bits: NDArray[np.uint8]) -> bool:
    """Whether any of ``ids`` is among those that :func:`_bits` noted from ``first`` on."""
    place = ids - first
    place = place[(place >= 0) & (place < 8 * len(bits))]
    return bool((bits[place >> 3] >> (7 - (place & 7)) & 1).any())


#: What zipfile, zlib, json and numpy raise on damaged bytes, and what the head's nonsense leads to.
_DAMAGE = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,  # also nested without an end
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
#: A packed change unpacks to at most so many bytes, or so many times its own: columns of one value pack well.
_MOST_UNPACKED = 64 << 20
_MOST_TIMES = 200
#: Its head names tables and columns.
_LONGEST_HEAD = 1 << 20


@contextmanager
def _opened(blob: bytes) -> Iterator[tuple[zipfile.ZipFile, list[dict[str, Any]]]]:
    """A packed change and its head. Raises ValueError, also of what goes wrong inside, where it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > max(_MOST_UNPACKED, _MOST_TIMES * len(blob)):
                raise ValueError(f"it says that it unpacks to {size / 2**20:,.0f} MB, of {len(blob) / 2**20:,.1f} MB")
            if archive.getinfo("head.json").file_size > _LONGEST_HEAD:
                raise ValueError("its head is longer than any that this program writes")
            yield archive, json.loads(archive.read("head.json"))
    except _DAMAGE as error:
        raise ValueError(f"damaged change record: {error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> AnyArray:
    """A column."""
    with archive.open(name) as stream:
        array: AnyArray = read_npy(stream)
    if array.ndim != 1:
        raise ValueError(f"{name} is no column of a table")
    return array


def overlap(blob: bytes, deltas: tuple[Delta, ...]) -> bool:
    """Whether a packed change is about rows that ``deltas`` are about, too; of a large one little is unpacked.

    Raises ValueError on a damaged blob.
    """
    with _opened(blob) as (archive, head):
        return any(
            _overlap(archive, i, entry, delta)
            for i, entry in enumerate(head)
            for delta in deltas
            if Table(entry["table"]) is delta.table
        )


def _overlap(archive: zipfile.ZipFile, i: int, entry: Mapping[str, Any], delta: Delta) -> bool:
    if delta.table is Table.SETTING:
        return bool(set(map(str, _member(archive, f"{i}/after/key"))) & set(map(str, delta.after["key"])))
    if "first" in entry:
        return _among(delta.ids, int(entry["first"]), _member(archive, f"{i}/bits"))
    return bool(np.isin(delta.ids, _member(archive, f"{i}/ids")).any())


def unpack(blob: bytes) -> tuple[Delta, ...]:
    """Inverse of :func:`pack`. Raises ValueError on a damaged blob."""
    with _opened(blob) as (archive, head):
        get = partial(_member, archive)
        return tuple(
            Delta(
                Table(entry["table"]),
                Kind(entry["kind"]),
                get(f"{i}/ids"),
                {name: get(f"{i}/before/{name}") for name in entry["before"]},
                {name: get(f"{i}/after/{name}") for name in entry["after"]},
                get(f"{i}/micrograph"),
            )
            for i, entry in enumerate(head)
        )
