"""What the tests of coordinate formats share: picks to write, files to read, and damage."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import Micrograph
from cryoppp_annotator.model.pickfile import CARRIED, MicrographPicks, WriteOptions

#: Positions that survive halving and flipping without rounding, px.
eighths = st.integers(-(2**20), 2**20).map(lambda n: n / 8)
positions = st.lists(st.tuples(eighths, eighths), max_size=12)
any_positions = st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), min_size=1, max_size=9)


def picks_of(
    name, x, y, *, diameter=108.0, score=np.nan, decision=Decision.ACCEPTED, class_id=0, extra=None, height=4096
):
    """Picks of one micrograph, canonical frame; single values stand for all rows."""
    n = len(x)

    def column(value, dtype):
        return np.array(np.broadcast_to(np.asarray(value, dtype), (n,)))

    return MicrographPicks(
        Micrograph(1, name, f"micrographs/{name}.mrc", 4096, height),
        1.77,
        np.array(x, np.float64),
        np.array(y, np.float64),
        column(diameter, np.float64),
        column(score, np.float64),
        column(decision, np.int8),
        column(class_id, np.int32),
        {key: np.array(value, dtype=np.str_) for key, value in (extra or {}).items()},
    )


def put(folder: Path, data: str | bytes, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def canonical(file, pick, height=4096):
    """Canonical positions of one micrograph of a file, (n, 2) xy."""
    box = 0.0 if pick.box_size_px is None else pick.box_size_px
    return np.column_stack(file.frame.to_canonical(pick.x, pick.y, height=height, box_size=box))


def as_written(file, pick, *, height=4096, name=None):
    """What a file gives, as picks to be written unedited."""
    n = len(pick)
    nothing = np.full(n, np.nan)
    x, y = canonical(file, pick, height).T
    return MicrographPicks(
        Micrograph(1, name or pick.micrograph, pick.micrograph, 4096, height),
        None,
        x.copy(),
        y.copy(),
        nothing if pick.diameter_px is None else pick.diameter_px,
        nothing if pick.score is None else pick.score,
        np.array(np.broadcast_to(np.asarray(pick.decision, np.int8), (n,))),
        np.zeros(n, np.int32) if pick.class_id is None else pick.class_id,
        pick.extra,
    )


def same_picks(a, b):
    """Whether two FilePicks hold the same, value for value."""
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.y, b.y)
    for name in ("diameter_px", "box_size_px", "score", "class_id"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        assert left is None or np.array_equal(left, right, equal_nan=True), name
    assert np.array_equal(np.asarray(a.decision), np.asarray(b.decision))
    assert {k: v.tolist() for k, v in a.extra.items()} == {k: v.tolist() for k, v in b.extra.items()}


def check_declarations(fmt):
    """What every format says of itself."""
    assert fmt.carries <= CARRIED
    assert isinstance(fmt.many_micrographs, bool)
    assert all(ending == ending.lower() and ending[0] == "." for ending in fmt.extensions)


def written_back(fmt, file, folder, **options):
    """Read, write unedited, read again: nothing may change."""
    picks = [as_written(file, pick) for pick in file.picks]
    paths = fmt.write(folder, picks, WriteOptions(**options))
    again = fmt.read(paths[0])
    assert len(again.picks) == len(file.picks)
    for a, b in zip(file.picks, again.picks, strict=True):
        same_picks(a, b)
    return paths


def hostile():
    """Contents that no coordinate file has."""
    return [
        b"\x00" * 200,
        random.Random(3).randbytes(5000),
        b"\xff\xfe\x00",
        b"a" * 70_000 + b"\x00",
        b"<html><body>404</body></html>\n",
        b"[" * 100_000,
        b"9" * 200_000 + b"\n",
        "é;è\n".encode("latin-1") * 50,
        b"MAP " * 256,
    ]


def refuse_hostile(fmt, folder, name):
    for data in hostile():
        path = put(folder, data, name)
        assert 0 <= fmt.sniff(path, data[:4096]) <= 1
        for permissive in (False, True):
            try:
                file = fmt.read(path, permissive=permissive)
            except FormatError as error:
                named = error.path
            else:
                named = path if permissive and file.n_picks == 0 else None
            assert named == path, data[:20]


def refuse_huge(fmt, folder, name):
    """A sparse file of 20 GB is refused at once."""
    path = folder / name
    with path.open("wb") as stream:
        stream.truncate(20 << 30)
    try:
        fmt.read(path)
    except FormatError:
        return
    raise AssertionError("a file of 20 GB of zeros was read")


def fuzz(fmt, samples: list[bytes], path: Path, n: int = 300, seed: int = 11):
    """Damage samples ``n`` times: only FormatError may come of it, and what is read is finite."""
    rng = random.Random(seed)
    n_read = 0
    for _ in range(n):
        data = mutated(rng.choice(samples), rng)
        path.write_bytes(data)
        assert 0 <= fmt.sniff(path, data[:4096]) <= 1
        for permissive in (False, True):
            try:
                file = fmt.read(path, permissive=permissive)
            except FormatError:
                continue
            n_read += 1
            assert all(np.isfinite(p.x).all() and np.isfinite(p.y).all() for p in file.picks)
            assert all(len(column) == len(p) for p in file.picks for column in p.extra.values())
    assert n_read


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut out, doubled, or replaced by what breaks parsers."""
    poisons = [
        b"",
        b"\x00",
        b"\xff",
        b"\n",
        b"'",
        b'"',
        b";",
        b"#",
        b"_a",
        b"loop_\n",
        b"data_\n",
        b"nan",
        b" ",
        b"\t",
        b"\r",
        b"-",
        b",",
        "é".encode(),
        b"[",
        b"{",
        b"}",
        b"null",
        b"1e999",
        b"9" * 30,
        b"\\ud800",
    ]
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 1, 1, 5, 60, 900]))
        poison = rng.choice([*poisons, data[start:end] * 2, rng.randbytes(3)])
        data = data[:start] + poison + data[end:]
    return data
