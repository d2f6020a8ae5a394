"""Damaged pictures, project databases and cache files: nothing raw, nothing that hangs. (Coordinate files: fuzz.py.)

    python benchmarks/fuzz_damage.py [pictures] [projects] [cache] [--count 1900] [--seed 0]

Prints a Markdown table: tried, clean (the next two together), worked (the damage did no harm), named (one of the
program's own errors), raw (any other exception) and hung (nothing came back within a minute). Exit code 1 where the
last two are not 0.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import mrcfile
import numpy as np
import tifffile
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))

from damage import damaged_copy, flipped_copy, meaningless, sound_project, walk  # noqa: E402

from cryoppp_annotator.errors import AnnotatorError  # noqa: E402
from cryoppp_annotator.formats.image import images  # noqa: E402
from cryoppp_annotator.formats.kept_arrays import load_arrays, map_array  # noqa: E402

#: Seconds after which nothing is expected to come back.
PATIENCE_S = 60
COLUMNS = ("tried", "clean", "worked", "named", "raw", "hung")


class HangError(BaseException):
    """Nothing came back."""


def attempt(counts: Counter[str], name: str, work: Callable[[], object]) -> None:
    """Do it and count how it ended; what is raw or hangs is named on standard error."""
    counts["tried"] += 1
    signal.alarm(PATIENCE_S)
    try:
        work()
        counts["worked"] += 1
        counts["clean"] += 1
    except AnnotatorError:
        counts["named"] += 1
        counts["clean"] += 1
    except HangError:
        counts["hung"] += 1
        print(f"hung: {name}", file=sys.stderr)
    except Exception as error:
        counts["raw"] += 1
        print(f"raw: {name}: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        signal.alarm(0)


def sound_pictures() -> dict[str, bytes]:
    """A small picture of every kind and compression that can be written here."""
    pixels = np.random.default_rng(0).normal(100, 10, (48, 64)).astype(np.float32)
    grey = pixels.astype(np.uint8)
    made: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, compression in ((".mrc", None), (".mrc.gz", "gzip"), (".mrc.bz2", "bzip2")):
            path = Path(folder, f"m{suffix}")
            with mrcfile.new(path, compression=compression) as file:
                file.set_data(pixels)
            made[path.name] = path.read_bytes()
        for compression in (None, "zlib", "lzma", "packbits", "lzw", "zstd"):
            path = Path(folder, f"{compression}.tif")
            with contextlib.suppress(Exception):  # some need a package
                tifffile.imwrite(path, grey, compression=compression, rowsperstrip=16)
                made[path.name] = path.read_bytes()
    for extension, kind in (("png", "PNG"), ("jpg", "JPEG"), ("lzw_pillow.tif", "TIFF")):
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
        made[f"p.{extension}"] = stream.getvalue()
    return made


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut off, doubled or set."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        kind = rng.randrange(5)
        at = rng.randrange(len(out)) if out else 0
        if kind < 2 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2 and out:
            out[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 3:
            del out[at : at + rng.randrange(1, 64)]
        else:
            out[at:at] = out[at : at + rng.randrange(1, 64)]
    return bytes(out)


def fuzz_pictures(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Every decoder on damaged files."""
    for name, data in sound_pictures().items():
        rng, counts = random.Random(f"{seed} {name}"), Counter[str]()
        path = folder / name
        for k in range(count):
            path.write_bytes(damaged(data, rng))
            attempt(counts, f"{name} number {k}", lambda path=path: (images.probe(path), np.array(images.read(path))))
        yield f"picture {name}", counts


def fuzz_projects(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Nonsense in every column of every table; and flipped bytes."""
    sound = sound_project(folder / "sound")
    counts = Counter[str]()
    for damage in meaningless():
        if damaged_copy(sound, folder / "p", damage):
            attempt(counts, damage.name, lambda: walk(folder / "p", folder / "out"))
    yield "database, nonsense in a column", counts
    counts = Counter[str]()
    for k in range(count):
        flipped_copy(sound, folder / "p", seed * 1_000_003 + k)
        attempt(counts, f"flipped {k}", lambda: walk(folder / "p", folder / "out"))
    yield "database, flipped bytes", counts


def fuzz_cache(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Kept arrays, damaged; and a pipe, a folder and a link in their place."""
    rng, counts = random.Random(seed), Counter[str]()
    arrays = {"pixels": np.zeros((20, 30), np.float16), "step": np.ones(2), "limits": np.ones(2)}
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    path = folder / "k.npz"
    for k in range(count):
        path.write_bytes(damaged(stream.getvalue(), rng))
        attempt(counts, f"npz {k}", lambda: load_arrays(path))
    stream = io.BytesIO()
    np.save(stream, np.zeros(9, [("a", np.int64), ("b", np.float32)]))
    path = folder / "k.npy"
    for k in range(count):
        path.write_bytes(damaged(stream.getvalue(), rng))
        attempt(counts, f"npy {k}", lambda: map_array(path))
    for make in (os.mkfifo, os.mkdir, lambda place: os.symlink("/nowhere", place)):
        place = folder / "odd.npz"
        make(place)
        attempt(counts, "no file", lambda place=place: load_arrays(place))
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    yield "cache file", counts


FUZZERS = {"pictures": fuzz_pictures, "projects": fuzz_projects, "cache": fuzz_cache}


def main() -> int:
    """Run, print the table, and say whether anything was raw or hung."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*FUZZERS, []], default=list(FUZZERS))
    parser.add_argument("--count", type=int, default=1900)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)

    def stop(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, stop)
    bad = 0
    print(f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as folder:
        for what in options.what:
            for name, counts in FUZZERS[what](options.count, options.seed, Path(folder)):
                print(f"| {name} | {' | '.join(f'{counts[column]:,}' for column in COLUMNS)} |", flush=True)
                bad += counts["raw"] + counts["hung"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
