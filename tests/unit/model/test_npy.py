"""Arrays in numpy's format: what numpy writes is read, anything else is named, threads do not disturb each other."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_array_equal

from cryoppp_annotator.model.npy import read_npy

PLAIN = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="?"),
    arrays.floating_dtypes(endianness="?"),
    arrays.complex_number_dtypes(),
    arrays.unicode_string_dtypes(max_len=9),
    arrays.datetime64_dtypes(),
)


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@given(arrays.arrays(PLAIN, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)), st.booleans())
def test_what_numpy_saves_is_read(array, columns_first):
    array = np.asfortranarray(array) if columns_first else array
    read = read_npy(io.BytesIO(saved(array)))
    assert read.dtype == array.dtype
    assert read.flags.writeable
    assert_array_equal(read, array)


@given(st.data())
def test_what_is_damaged_is_named_or_holds_other_numbers(data):
    blob = bytearray(saved(np.arange(6, dtype=np.int32).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = read_npy(io.BytesIO(blob[: data.draw(st.integers(0, len(blob)))]))
    except ValueError:
        return
    assert read.nbytes == 24


def test_records_of_plain_numbers_are_read():
    array = np.zeros(2, [("id", np.int64), ("image", np.float16, (3, 4)), ("row", np.int8, (2,))])
    array["image"] = np.arange(12).reshape(3, 4)
    read = read_npy(io.BytesIO(saved(array)))
    assert read.dtype == array.dtype
    assert_array_equal(read, array)


@pytest.mark.parametrize("array", [np.array([{}], object), np.zeros(2, [("a", np.int8), ("b", object)])])
def test_objects_which_numpy_would_unpickle_are_refused(array):
    with pytest.raises(ValueError, match="plain numbers"):
        read_npy(io.BytesIO(saved(array)))


@pytest.mark.parametrize("dtype", ["<f9", "<U99999999999"])
def test_numbers_that_do_not_exist_are_refused(dtype):
    blob = saved(np.zeros(1)).replace(b"'<f8'", f"'{dtype}'".encode())
    with pytest.raises(ValueError, match=r"plain numbers|bytes"):
        read_npy(io.BytesIO(blob[:8] + (len(blob) - 18).to_bytes(2, "little") + blob[10:]))


def test_a_size_that_is_not_there_sets_nothing_aside():
    blob = saved(np.zeros(8)).replace(b"'shape': (8,), }            ", b"'shape': (8888888888888,), }")
    with pytest.raises(ValueError, match="64 are there"):
        read_npy(io.BytesIO(blob))


@pytest.fixture
def eager_collection() -> Iterator[None]:
    """The collector runs, and hands the processor to another thread, in the middle of nearly everything."""

    def calculate(phase: str, info: dict[str, int]) -> None:
        sum(range(20))

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    gc.callbacks.append(calculate)
    yield
    gc.callbacks.remove(calculate)
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


def test_threads_read_at_the_same_moment(eager_collection):
    blob = saved(np.arange(3))
    with ThreadPoolExecutor(4) as pool:
        for read in pool.map(lambda _: read_npy(io.BytesIO(blob)), range(400)):
            assert_array_equal(read, [0, 1, 2])
