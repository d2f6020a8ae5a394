"""One fuzz driver for every registered reader: files of each format, damage, and what may come of it.

``test_fuzz.py`` runs it a little; ``benchmarks/fuzz.py`` runs it at length, with memory and time of each file bounded.
"""

from __future__ import annotations

import copy
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from format_tools import mutated as damaged
from format_tools import picks_of
from test_cistem import SCHEMA
from test_read_only import SAMPLES
from test_scipion import scipion_set

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats.registry import sniff
from cryoppp_annotator.formats.table.cs_tables import Dataset, write_dataset
from cryoppp_annotator.model.coordinates import SourceFrame
from cryoppp_annotator.model.pickfile import CoordinateFormat, WriteOptions

#: Larger real files are cut: what is wrong with a reader shows in the first rows, and small files mutate faster.
_LARGEST = 24 << 10
_EXTREMES = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e308",
    b"-1e308",
    b"1e999",
    b"1e-320",
    b"0x10",
    b"1_000",
    b"9" * 25,
    b"-0",
    b"1.5.2",
    b"None",
    b"<NA>",
    b"-999",
    b"4294967296",
    b"18446744073709551616",
    b"\xd9\xa1",
    b"''",
    b'""',
    b"",
    b"true",
)
_JSON_VALUES = (
    None,
    True,
    0,
    -1,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "nan",
    "\ud800",
    "1",
    [],
    {},
    [[]],
    [1, 2],
    [None, None, None, None],
    {"id": []},
    [1e308, 1e308, 1e308, 1e308],
)


@dataclass(frozen=True)
class Seed:
    """A file that a format reads; ``beside`` are files that must lie with it."""

    format: str
    name: str
    data: bytes
    beside: tuple[tuple[str, bytes], ...] = ()


# --- files to start from -------------------------------------------------------------------------------------------


def seeds(data_dir: Path | None = None) -> list[Seed]:
    """Made files of every format and, where there are any, the real ones."""
    with tempfile.TemporaryDirectory() as folder:
        all_seeds = [*_written(Path(folder)), *_datasets(Path(folder)), _database(Path(folder)), _scipion(Path(folder))]
    all_seeds += [Seed(fmt.name, name, data) for fmt, data, name in SAMPLES.values()]
    if data_dir is not None and data_dir.is_dir():
        all_seeds += _real(data_dir)
    return all_seeds


def _written(folder: Path) -> list[Seed]:
    """What our own writers make of two micrographs."""
    extra = {"rlnDefocusU": ["15000.5", "16000", ""], "rlnOther": ["a b", "'", ""], "topaz:x": ["1", "", "2"]}
    picks = [
        picks_of("m", [10.5, 20, 3000], [30.25, 40, 4000], score=[0.5, np.nan, -3], class_id=[1, 2, 0], extra=extra),
        picks_of("béta x", [7], [8]),
    ]
    options = WriteOptions(images=lambda _: np.zeros((4096, 4096), np.uint8))
    seeds: list[Seed] = []
    for name, fmt in formats().items():
        if not fmt.can_write or name == "cryosparc":
            continue
        for path in fmt.write(folder / name, picks, options):
            if path.suffix in fmt.extensions and path.name not in ("classes.txt", "coords_suffix_manualpick.star"):
                picture = path.parents[1] / "images" / f"{path.stem}.png"
                beside = ((picture.name, picture.read_bytes()),) if name == "yolo" else ()
                seeds.append(Seed(name, path.name, path.read_bytes(), beside))
    return seeds


def _datasets(folder: Path) -> list[Seed]:
    columns = {
        "uid": np.array([2**64 - 1, 2**63, 7], np.uint64),
        "location/micrograph_path": np.array([b"J1/a.mrc", b"J1/a.mrc", b">J1/b.mrc"]),
        "location/micrograph_shape": np.array([[400, 500]] * 3, np.uint32),
        "location/center_x_frac": np.array([0.25, 0.5, 0.75], np.float32),
        "location/center_y_frac": np.array([0.25, 0.5, 1], np.float32),
        "pick_stats/ncc_score": np.array([0.25, 0.5, np.nan], np.float32),
        "alignments2D/class": np.array([0, 1, 49], np.uint32),
    }
    seeds = []
    for compressed in (False, True):
        path = write_dataset(folder / f"picked{compressed:d}.cs", Dataset(columns, compressed=compressed))
        seeds.append(Seed("cryosparc", path.name, path.read_bytes()))
    return seeds


def _database(folder: Path) -> Seed:
    with closing(sqlite3.connect(folder / "p.db")) as connection:
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO IMAGE_ASSETS VALUES (1, 'a', '/x/a.mrc', 500, 400, 1.5, 0)")
        rows = [(i, 1, 1, 1, 10.0 * i, 20.0, 3.5, 0, 0, 0, 0) for i in range(1, 6)]
        connection.executemany(f"INSERT INTO PARTICLE_POSITION_ASSETS VALUES ({','.join('?' * 11)})", rows)
        connection.commit()
    return Seed("cistem", "p.db", (folder / "p.db").read_bytes())


def _scipion(folder: Path) -> Seed:
    path = scipion_set(folder / "coordinates.sqlite")
    return Seed("scipion", path.name, path.read_bytes())


def _real(data_dir: Path) -> list[Seed]:
    known = list(formats().values())
    seeds = []
    for top in ("formats", "picks_10017", "cryoppp/10017/ground_truth"):
        for path in sorted(p for p in (data_dir / top).rglob("*") if p.is_file()):
            candidates = sniff(path, known)
            if candidates:
                seeds.append(Seed(candidates[0][1].name, path.name, path.read_bytes()[:_LARGEST]))
    return seeds


# --- damage --------------------------------------------------------------------------------------------------------


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Damage of one of several kinds: bytes, numbers, lines, bits, length, encoding."""
    kinds: list[Callable[[bytes, random.Random], bytes]] = [damaged, damaged, _numbers, _lines, _bits, _cut, _encoded]
    if data[:1] in (b"{", b"["):
        kinds += [_values] * 7
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(kinds)(data, rng)
    return data


def _numbers(data: bytes, rng: random.Random) -> bytes:
    words = data.split(b" ") if b" " in data else data.split(b"\t") if b"\t" in data else data.split(b",")
    for _ in range(rng.randint(1, 3)):
        words[rng.randrange(len(words))] = rng.choice(_EXTREMES)
    return (b" " if b" " in data else b"\t" if b"\t" in data else b",").join(words)


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(4)
    if what == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 1:
        lines[i:i] = [lines[j]] * rng.choice((1, 3, 200))
    elif what == 2:
        del lines[min(i, j) : max(i, j)]
    else:
        lines[i] = lines[i] + b" " + lines[j]
    return b"\n".join(lines)[: 4 * _LARGEST]


def _values(data: bytes, rng: random.Random) -> bytes:
    """A JSON file that stays one, with some values replaced."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _bits(data, rng)
    for _ in range(rng.randint(1, 3)):
        node = content
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            if not isinstance(node[key], dict | list) or rng.random() < 0.2:
                node[key] = copy.deepcopy(rng.choice(_JSON_VALUES))
                break
            node = node[key]
    return json.dumps(content).encode()


def _bits(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 32)) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _encoded(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", errors="replace")
    return rng.choice(
        (
            lambda: text.encode("utf-16"),
            lambda: b"\xef\xbb\xbf" + data,
            lambda: data.replace(b"\n", b"\r\n"),
            lambda: data.replace(b"\n", b"\r"),
            lambda: text.encode("latin-1", errors="replace"),
            lambda: data.replace(b" ", b"\t"),
            lambda: "\n".join(json.dumps(line) for line in text.split("\n")).encode(),
        )
    )()


# --- what may come of it -------------------------------------------------------------------------------------------


def try_file(path: Path, own: CoordinateFormat, known: Sequence[CoordinateFormat]) -> int:
    """Let every reader that wants a file, and the one whose format it was, read it. Returns how many succeeded.

    Raises
    ------
    AssertionError
        What was read makes no sense.
    Exception
        Whatever a reader raised that is no FormatError.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    formats_ = {own.name: own}
    for fmt in known:
        confidence = fmt.sniff(path, head)
        assert 0 <= confidence <= 1
        if confidence:
            formats_[fmt.name] = fmt
    return sum(_read(path, fmt, permissive) for fmt in formats_.values() for permissive in (False, True))


def _read(path: Path, fmt: CoordinateFormat, permissive: bool) -> int:
    try:
        file = fmt.read(path, permissive=permissive)
    except FormatError:
        return 0
    assert isinstance(file.frame, SourceFrame)
    for picks in file.picks:
        assert np.isfinite(picks.x).all()
        assert np.isfinite(picks.y).all()
        assert len(picks.x) == len(picks.y)
        for column in (picks.diameter_px, picks.box_size_px, picks.score, picks.class_id, *picks.extra.values()):
            assert column is None or len(column) == len(picks)
    return 1


def put(folder: Path, seed: Seed, data: bytes, name: str | None = None) -> Path:
    """Write a damaged seed, with what must lie beside it."""
    for other, content in seed.beside:
        (folder / other).write_bytes(content)
    path = folder / (name or seed.name)
    path.write_bytes(data)
    return path
