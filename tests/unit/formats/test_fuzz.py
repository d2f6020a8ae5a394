"""Every reader on damaged files: a FormatError or sense, soon, and in little memory.

The long run is ``benchmarks/fuzz.py``.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections import defaultdict
from pathlib import Path

import pytest
from fuzz_driver import Seed, mutated, put, seeds, try_file
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoppp_annotator.extensions import formats

#: Mutated files per format; some take a millisecond.
COUNT = 40
#: One small file may take so long, s, on a busy machine.
SLOWEST_S = 5.0
GROWTH_KB = 500_000

_words = st.one_of(
    st.sampled_from(
        [
            *("data_", "loop_", "_rlnCoordinateX", "_rlnCoordinateY", "_rlnMicrographName", "data_cryolo"),
            *("x_coord", "y_coord", "image_name", "X-Coordinate", "Y-Coordinate", "Diameter", "data_particles"),
            *("{", "}", "[", "]", '"boxes":', '"images":', '"annotations":', ",", "'", '"', "#", ";", "nan", "-999"),
            "[Particle Coordinates: X Y Value]",
        ]
    ),
    st.floats(allow_nan=True).map(str),
    st.integers().map(str),
    st.text(max_size=5),
)
_texts = st.lists(st.lists(_words, max_size=6).map(" ".join), max_size=12).map(lambda lines: "\n".join(lines).encode())


@pytest.fixture(scope="session")
def known_seeds() -> dict[str, list[Seed]]:
    data_dir = Path(os.environ.get("CRYOPPP_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    seeds_of: dict[str, list[Seed]] = defaultdict(list)
    for seed in seeds(data_dir):
        seeds_of[seed.format].append(seed)
    return seeds_of


def test_there_is_a_file_of_every_format_to_start_from(known_seeds):
    assert set(known_seeds) == {name for name, fmt in formats().items() if fmt.can_read}


@pytest.mark.parametrize("name", [name for name, fmt in formats().items() if fmt.can_read])
def test_damaged_files(tmp_path, known_seeds, name):
    known = list(formats().values())
    rng = random.Random(f"{name} 1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_read = 0
    for _ in range(COUNT):
        seed = rng.choice(known_seeds[name])
        path = put(tmp_path, seed, mutated(seed.data, rng))
        started = time.process_time()
        n_read += try_file(path, formats()[name], known)
        assert time.process_time() - started < SLOWEST_S
    assert n_read
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KB


@pytest.mark.parametrize("name", [name for name, fmt in formats().items() if fmt.can_read])
@settings(max_examples=15)
@given(data=st.one_of(st.binary(max_size=300), _texts))
def test_anything_at_all(tmp_path_factory, name, data):
    fmt = formats()[name]
    folder = tmp_path_factory.mktemp("any")
    for ending in fmt.extensions:
        try_file(put(folder, Seed(name, f"x{ending}", b""), data), fmt, [fmt])
