"""A change as a value: packing loses nothing, and the inverse of the inverse is the change."""

from __future__ import annotations

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from cryoppp_annotator.model.curation import Change, Decision, Delta, Kind, Reason, Table, overlap, pack, unpack

names = st.sampled_from(["x", "y", "decision", "score", "name", "extra", "own_pixel_size_A"])
dtypes = st.sampled_from([np.float64, np.int64, np.int8, np.int32]).map(np.dtype) | st.just(np.dtype("U9"))


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    n = draw(st.integers(0, 300))
    ids = draw(npst.arrays(np.int64, n, elements=st.integers(-(2**62), 2**62), fill=st.just(7)))

    def columns() -> dict[str, np.ndarray]:
        length = draw(st.sampled_from([1, n]))
        return {
            name: draw(npst.arrays(draw(dtypes), length, fill=st.nothing() if length < 20 else None))
            for name in draw(st.sets(names, max_size=3))
        }

    kind = draw(st.sampled_from(list(Kind)))
    before = {} if kind is Kind.INSERT else columns()
    after = {} if kind is Kind.DELETE else columns()
    micrograph = draw(npst.arrays(np.int64, draw(st.sampled_from([0, 1, n]))))
    return Delta(draw(st.sampled_from(list(Table))), kind, ids, before, after, micrograph)


def same(a: Delta, b: Delta) -> bool:
    def equal(x: np.ndarray, y: np.ndarray) -> bool:
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()

    return (
        (a.table, a.kind) == (b.table, b.kind)
        and equal(a.ids, b.ids)
        and equal(a.micrograph, b.micrograph)
        and all(
            list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
            for one, other in ((a.before, b.before), (a.after, b.after))
        )
    )


@given(st.lists(deltas(), max_size=4))
def test_unpacking_is_the_inverse_of_packing_to_the_bit(some: list[Delta]) -> None:
    unpacked = unpack(pack(tuple(some)))
    assert len(unpacked) == len(some)
    assert all(same(a, b) for a, b in zip(unpacked, some, strict=True))


@given(st.lists(deltas(), max_size=4))
def test_the_inverse_of_the_inverse_is_the_change(some: list[Delta]) -> None:
    change = Change("move", "move 3 picks", tuple(some), 4)
    twice = change.inverse().inverse()
    assert (twice.verb, twice.title, twice.micrograph) == (change.verb, change.title, change.micrograph)
    assert all(same(a, b) for a, b in zip(twice.deltas, change.deltas, strict=True))
    assert twice.n_rows() == change.n_rows() == sum(len(d) for d in some if d.table is Table.PARTICLE)


def test_the_inverse_goes_backwards() -> None:
    ids = np.array([5, 6], np.int64)
    insert = Delta(Table.PICK_SET, Kind.INSERT, ids, {}, {"name": np.array(["a", "b"])})
    update = Delta(Table.PARTICLE, Kind.UPDATE, ids, {"x": np.array([1.0, 2.0])}, {"x": np.array([3.0])})
    back = Change("import", "import", (insert, update)).inverse()
    assert [d.table for d in back.deltas] == [Table.PARTICLE, Table.PICK_SET]
    assert [d.kind for d in back.deltas] == [Kind.UPDATE, Kind.DELETE]
    assert back.deltas[0].before["x"].tolist() == [3.0]
    assert back.deltas[0].after["x"].tolist() == [1.0, 2.0]
    assert back.deltas[1].before["name"].tolist() == ["a", "b"]
    assert not back.deltas[1].after


def rows(table: Table, ids: object) -> Delta:
    numbers = np.asarray(ids, np.int64)
    keys = {"key": numbers.astype("U9")[: None if table is Table.SETTING else 1]}
    return Delta(table, Kind.UPDATE, numbers, keys, keys)


@given(
    st.sampled_from(list(Table)),
    st.sampled_from([Table.PARTICLE, Table.SETTING]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 30, 999, 1000, 4000]),
    st.sampled_from([1, 3, 15, 40]),
    st.integers(-9, 9),
)
def test_a_packed_change_knows_which_rows_it_is_about(
    theirs: Table, ours: Table, seed: int, n: int, sparse: int, beside: int
) -> None:
    """As unpacking it and comparing the ids says; also where there are many, dense or sparse, and at their ends."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(rng.choice(max(1, n * sparse), n, replace=False)) + 7
    blob = pack((rows(Table.REGION, [1, 2, 3]), rows(theirs, ids)))
    near = [int(ids.max()) + beside, int(ids.min()) + beside] if n else [beside]
    for asked in (near, [near[0] + 1, -(2**40), 2**40], rng.integers(0, 9 + n * sparse, 2), []):
        shared = theirs is ours and bool(set(map(int, asked)) & set(ids.tolist()))
        assert overlap(blob, (rows(ours, asked),)) is shared
    assert overlap(blob, (rows(Table.MICROGRAPH, [1]), rows(Table.REGION, [3])))
    with pytest.raises(ValueError, match="damaged change record"):
        overlap(blob[:-30], (rows(ours, near),))


def test_packing_stores_no_objects() -> None:
    strange = Delta(Table.PARTICLE, Kind.INSERT, np.array([1]), {}, {"extra": np.array([{"a": 1}], object)})
    with pytest.raises(ValueError, match="Object arrays"):
        pack((strange,))


@given(st.data())
def test_a_damaged_record_is_reported(data: st.DataObject) -> None:
    ids = np.arange(1, 400, dtype=np.int64)
    whole = pack((Delta(Table.PARTICLE, Kind.UPDATE, ids, {"x": ids * 1.0}, {"x": ids * 2.0}, ids),))
    with pytest.raises(ValueError, match="damaged"):
        unpack(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_the_words_for_reasons() -> None:
    assert Reason.NOT_A_PARTICLE.label == "not a particle"
    assert Reason.OFF_CENTRE.label == "off-centre"
    assert [int(r) for r in Reason] == list(range(10))  # 1 to 9 are keys
    assert [int(d) for d in Decision] == [0, 1, 2]
