"""cryoSPARC datasets: fractions, passthrough files, templates, and containers nobody should trust."""

from __future__ import annotations

import io
import pickle
import random
import struct

import numpy as np
import pytest
from cryosparc.dataset import CSDAT_FORMAT
from cryosparc.dataset import Dataset as Table
from format_tools import as_written, canonical, check_declarations, mutated, picks_of, put, refuse_hostile, refuse_huge
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.cryosparc import CRYOSPARC
from cryoppp_annotator.formats.table.cs_tables import Dataset, read_dataset, write_dataset
from cryoppp_annotator.model.coordinates import CRYOPPP_FRAME
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.pickfile import WriteOptions

#: Above 2**53, and one apart: a float would make them equal.
UIDS = np.array([2**64 - 1, 2**64 - 2, 2**63 + 1, 7], np.uint64)
NAMES = ["J1/motioncorrected/000001281467243737059_0001.mrc"] * 3 + [
    "J1/motioncorrected/000000000000000000007_béta.mrc"
]
W, H = 7420, 7676
LOCATION = [
    ("uid", "<u8"),
    ("location/micrograph_uid", "<u8"),
    ("location/exp_group_id", "<u4"),
    ("location/micrograph_path", "S80"),
    ("location/micrograph_shape", "<u4", (2,)),
    ("location/center_x_frac", "<f4"),
    ("location/center_y_frac", "<f4"),
    ("location/min_dist_A", "<f4"),
    ("location/micrograph_psize_A", "<f4"),
]
STATS = [
    ("pick_stats/ncc_score", "<f4"),
    ("pick_stats/power", "<f4"),
    ("pick_stats/template_idx", "<u4"),
    ("alignments2D/class", "<u4"),
    ("blob/path", "S20"),
    ("ctf/shift_A", "<f4", (2,)),
]


def table(dtype):
    data = np.zeros(4, dtype)
    data["uid"] = UIDS
    names = data.dtype.names
    if "location/micrograph_path" in names:
        data["location/micrograph_path"] = [name.encode() for name in NAMES]
        data["location/micrograph_shape"] = [H, W]
        data["location/micrograph_uid"] = [5, 5, 5, 6]
        data["location/center_x_frac"] = [0.41896552, 0.5, 0.25, 0.125]
        data["location/center_y_frac"] = [0.165, 0.5, 0.75, 1.0]
        data["location/min_dist_A"] = 50
        data["location/micrograph_psize_A"] = 1.31
        data["location/exp_group_id"] = 3
    if "pick_stats/ncc_score" in names:
        data["pick_stats/ncc_score"] = [0.5, 0.25, 0.125, 0.75]
        data["pick_stats/power"] = [100.5, 200, 300, 400]
        data["pick_stats/template_idx"] = [0, 1, 2, 3]
        data["alignments2D/class"] = [0, 1, 2, 49]
        data["blob/path"] = b"a.mrcs"
        data["ctf/shift_A"] = [[1, 2]] * 4
    return data


def save(path, data, compressed=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not compressed:
        with path.open("wb") as stream:
            np.save(stream, data, allow_pickle=False)
        return path
    columns = {
        name: np.array([text.decode() for text in data[name].tolist()], object)
        if data[name].dtype.kind == "S"
        else data[name]
        for name in data.dtype.names
    }
    Table(columns).save(path, format=CSDAT_FORMAT)
    return path


def columns_of(path):
    return {name: column.tolist() for name, column in read_dataset(path).columns.items()}


BOTH = pytest.mark.parametrize("compressed", [False, True])


def test_declarations():
    check_declarations(CRYOSPARC)


# --- reading -------------------------------------------------------------------------------------------------------


@BOTH
def test_both_containers_say_the_same(tmp_path, compressed):
    path = save(tmp_path / "a.cs", table(LOCATION + STATS), compressed)
    assert CRYOSPARC.sniff(path, path.read_bytes()[:4096]) > 0.9
    file = CRYOSPARC.read(path)
    assert file.frame == CRYOPPP_FRAME
    assert file.pixel_size_A == 1.31
    first, second = file.picks
    assert (first.micrograph, second.micrograph) == (NAMES[0], NAMES[3])
    assert first.x.tolist() == [np.float64(np.float32(0.41896552)) * W, W / 2, W / 4]
    assert canonical(file, second, H).tolist() == [[W / 8, 0]]
    assert canonical(file, first, H)[2].tolist() == [W / 4, H / 4]
    assert first.score.tolist() == [0.5, 0.25, 0.125]
    assert (first.class_id.tolist(), second.class_id.tolist()) == ([1, 2, 3], [50])
    assert first.extra["uid"].tolist() == [str(2**64 - 1), str(2**64 - 2), str(2**63 + 1)]
    assert first.extra["pick_stats/power"].tolist() == ["100.5", "200.0", "300.0"]
    assert first.extra["pick_stats/template_idx"].tolist() == ["0", "1", "2"]
    assert first.extra["location/min_dist_A"].tolist() == ["50.0"] * 3


@BOTH
def test_positions_are_taken_from_the_passthrough_file_by_uid(tmp_path, compressed):
    path = save(tmp_path / "J2_particles.cs", table([("uid", "<u8"), *STATS]), compressed)
    with pytest.raises(FormatError, match="passthrough"):
        CRYOSPARC.read(path)
    save(tmp_path / "J1_passthrough_exposures.cs", table([("uid", "<u8")]))
    put(tmp_path, b"garbage", "J0_passthrough_particles.cs")
    save(tmp_path / "J2_passthrough_particles.cs", table(LOCATION)[[3, 1, 0, 2]], compressed)
    file = CRYOSPARC.read(path)
    first, second = file.picks
    assert first.extra["uid"].tolist() == [str(u) for u in UIDS[:3].tolist()]
    assert first.x.tolist() == [np.float64(np.float32(0.41896552)) * W, W / 2, W / 4]
    assert (first.score[0], second.score[0]) == (0.5, 0.75)
    save(tmp_path / "J2_passthrough_particles.cs", table(LOCATION)[[3, 1, 0]], compressed)
    with pytest.raises(FormatError, match="row 3"):
        CRYOSPARC.read(path)
    file = CRYOSPARC.read(path, permissive=True)
    assert (file.n_picks, len(file.issues)) == (3, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("location/center_x_frac", np.nan),
        ("location/center_y_frac", np.inf),
        ("location/micrograph_shape", 0),
        ("location/micrograph_path", b""),
    ],
)
def test_bad_rows(tmp_path, field, value):
    data = table(LOCATION)
    data[field][1] = value
    path = save(tmp_path / "a.cs", data)
    with pytest.raises(FormatError, match="row 2"):
        CRYOSPARC.read(path)
    file = CRYOSPARC.read(path, permissive=True)
    assert (file.n_picks, len(file.issues)) == (3, 1)


def test_files_that_ask_for_unpickling_are_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    objects = np.empty(1, dtype=[("uid", "<u8"), ("x", "O")])
    objects["x"][0] = Bomb()
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    for data in (buffer.getvalue(), pickle.dumps(Bomb())):
        with pytest.raises(FormatError):
            CRYOSPARC.read(put(tmp_path, data, "a.cs"))
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(FormatError, match="unpickling"):
        CRYOSPARC.read(put(tmp_path, buffer.getvalue(), "a.cs"))


@BOTH
def test_truncated_and_wrong_files(tmp_path, compressed):
    whole = save(tmp_path / "a.cs", table(LOCATION + STATS), compressed).read_bytes()
    for n in (0, 3, 6, 9, 60, 300, len(whole) // 2, len(whole) - 40):
        with pytest.raises(FormatError):
            CRYOSPARC.read(put(tmp_path, whole[:n], "b.cs"))
    for data in (
        np.zeros(3),
        np.zeros((2, 2)),
        table([("uid", "<f8")]),
        table([("uid", "<u4")]),
        np.zeros(2, [("x", "<f4")]),
    ):
        with pytest.raises(FormatError):
            CRYOSPARC.read(save(tmp_path / "c.cs", data))
    wrong = [(name, "S9", *rest[1:]) if name == "location/center_x_frac" else (name, *rest) for name, *rest in LOCATION]
    with pytest.raises(FormatError, match="center_x_frac"):
        CRYOSPARC.read(save(tmp_path / "d.cs", np.zeros(2, wrong)))
    refuse_hostile(CRYOSPARC, tmp_path, "e.cs")
    refuse_huge(CRYOSPARC, tmp_path, "f.cs")


def test_an_announced_size_is_not_believed(tmp_path):
    header = b"{'descr': [('uid', '<u8')], 'fortran_order': False, 'shape': (100000000000,), }"
    for data in (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + header,
        b"\x93NUMPY\x03\x00" + header,
        b"\x95CSDAT\xff\xff\xff\x7f{}",
    ):
        with pytest.raises(FormatError):
            CRYOSPARC.read(put(tmp_path, data, "a.cs"))
    stream = b'{"length": 1000000000000, "dtype": [["uid", "<u8"]], "compression": null, "compressed_fields": []}'
    with pytest.raises(FormatError, match="does not fit"):
        CRYOSPARC.read(put(tmp_path, b"\x95CSDAT" + struct.pack("<I", len(stream)) + stream, "a.cs"))


@pytest.mark.realdata
def test_real_files(data_dir):
    file = CRYOSPARC.read(data_dir / "formats/cryosparc_cs/4k_dataset.cs")
    assert file.picks == ()
    fields = read_dataset(data_dir / "formats/cryosparc_cs/4k_dataset.cs").columns
    assert fields["location/micrograph_shape"].shape == (0, 2)
    particles = data_dir / "particles/empiar_10076_7.cs"
    assert read_dataset(particles).columns["uid"].tolist()[:2] == [3806243878409217281, 1836934726079308703]
    with pytest.raises(FormatError, match="no positions"):
        CRYOSPARC.read(particles)


@pytest.mark.realdata
def test_real_particles_with_positions_beside(data_dir, tmp_path):
    path = put(tmp_path, (data_dir / "particles/empiar_10076_7.cs").read_bytes(), "particles.cs")
    uid = read_dataset(path).columns["uid"]
    located = np.zeros(7, LOCATION)
    located["uid"] = uid[::-1]
    located["location/micrograph_path"] = b"1.mrc"
    located["location/micrograph_shape"] = [H, W]
    located["location/center_x_frac"] = np.arange(7)[::-1] / 8
    save(tmp_path / "passthrough_particles.cs", located)
    (pick,) = CRYOSPARC.read(path).picks
    assert pick.extra["uid"].tolist() == [str(u) for u in uid.tolist()]
    assert pick.x.tolist() == (np.arange(7) / 8 * W).tolist()


@BOTH
def test_damaged_files_raise_format_errors_only(tmp_path, compressed):
    """The library's own reader is killed by some of these streams (signal 11)."""
    whole = save(tmp_path / "a.cs", table(LOCATION + STATS), compressed).read_bytes()
    rng = random.Random(7)
    path = tmp_path / "damaged.cs"
    n_read = 0
    for i in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged) if i % 2 else mutated(whole, rng))
        assert 0 <= CRYOSPARC.sniff(path, path.read_bytes()[:4096]) <= 1
        for permissive in (False, True):
            try:
                file = CRYOSPARC.read(path, permissive=permissive)
            except FormatError:
                continue
            n_read += 1
            assert all(np.isfinite(p.x).all() and np.isfinite(p.y).all() for p in file.picks)
    assert n_read


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1), st.floats(width=32), st.text(st.characters(exclude_categories=["C"]), max_size=9)
        )
    )
)
def test_a_stream_is_read_as_the_library_wrote_it(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("stream")
    uid = np.array([u for u, _, _ in rows], np.uint64)
    x = np.array([x for _, x, _ in rows], np.float32)
    text = np.array([t for _, _, t in rows] + [""], object)[:-1]
    columns = {"uid": uid, "x": x, "text": text, "pair": np.stack([uid, uid], axis=1)}
    data = read_dataset(write_dataset(folder / "a.cs", Dataset(columns, compressed=True)))
    assert data.compressed
    for name, column in columns.items():
        assert data.columns[name].tolist() == column.tolist() or np.array_equal(
            data.columns[name], column, equal_nan=True
        )


# --- writing -------------------------------------------------------------------------------------------------------


def edited(path, folder, change, **options):
    """Read, change the picks of each micrograph, write into a copy."""
    file = CRYOSPARC.read(path)
    picks = [change(as_written(file, pick, height=H)) for pick in file.picks]
    *files, group = CRYOSPARC.write(folder, picks, WriteOptions(template=path, **options))
    assert group.suffix == ".csg"
    return files


@BOTH
def test_an_unedited_file_comes_back_to_the_bit(tmp_path, compressed):
    path = save(tmp_path / "a.cs", table(LOCATION + STATS), compressed)
    (again,) = edited(path, tmp_path / "out", lambda pick: pick)
    assert again == tmp_path / "out/a.cs"
    assert columns_of(again) == columns_of(path)
    if not compressed:
        assert again.read_bytes() == path.read_bytes()


@BOTH
def test_moved_rejected_and_new_picks(tmp_path, compressed):
    path = save(tmp_path / "a.cs", table(LOCATION + STATS), compressed)

    def change(pick):
        if len(pick) == 1:
            return pick
        pick.x[1] += 10
        pick.decision[2] = Decision.REJECTED
        new = picks_of(
            pick.micrograph.name, [100], [200], score=0.9, extra={name: [""] for name in pick.extra}, height=H
        )
        both = [
            np.concatenate([getattr(pick, n), getattr(new, n)])
            for n in ("x", "y", "diameter_px", "score", "decision", "class_id")
        ]
        extra = {name: np.concatenate([pick.extra[name], [""]]) for name in pick.extra}
        return type(pick)(pick.micrograph, None, *both, extra)

    (again,) = edited(path, tmp_path / "out.cs", change)
    assert again == tmp_path / "out.cs"
    before, after = read_dataset(path).columns, read_dataset(again).columns
    assert after["uid"][:3].tolist() == UIDS[[0, 1, 3]].tolist()
    assert after["uid"][3] not in UIDS
    for name in before:
        changed = name in ("location/center_x_frac",)
        rows = [0, 2] if changed else [0, 1, 2]
        assert after[name][rows].tolist() == before[name][[0, 3] if changed else [0, 1, 3]].tolist(), name
    assert after["location/center_x_frac"][1] == np.float32((W / 2 + 10) / W)
    new = {name: column[3] for name, column in after.items()}
    assert new["location/micrograph_uid"] == 5
    assert new["location/micrograph_path"] == before["location/micrograph_path"][0]
    assert new["location/center_x_frac"] == np.float32(100 / W)
    assert new["location/center_y_frac"] == np.float32((H - 200) / H)
    assert (new["pick_stats/ncc_score"], new["pick_stats/power"], new["alignments2D/class"]) == (np.float32(0.9), 0, 0)
    back = CRYOSPARC.read(again)
    np.testing.assert_allclose(canonical(back, back.picks[0], H)[-1], [100, 200], atol=5e-4)


@given(st.lists(st.tuples(st.floats(0, W), st.floats(0, H)), min_size=4, max_size=4))
def test_moves_are_kept_to_the_precision_of_float32(tmp_path_factory, moves):
    folder = tmp_path_factory.mktemp("cs")
    path = save(folder / "a.cs", table(LOCATION))
    expected = iter(moves)

    def change(pick):
        for i in range(len(pick)):
            pick.x[i], pick.y[i] = next(expected)
        return pick

    (again,) = edited(path, folder / "out", change)
    back = CRYOSPARC.read(again)
    got = np.concatenate([canonical(back, pick, H) for pick in back.picks])
    np.testing.assert_allclose(got, moves, rtol=0, atol=5e-4)


def test_both_files_are_written_where_the_positions_lie_beside(tmp_path):
    path = save(tmp_path / "J2_particles.cs", table([("uid", "<u8"), *STATS]))
    beside = save(tmp_path / "J2_passthrough_particles.cs", table(LOCATION)[[3, 1, 0, 2]])

    def change(pick):
        pick.y[0] -= 5
        return pick.take(slice(0, 2))

    paths = edited(path, tmp_path / "out", change)
    assert [p.name for p in paths] == [path.name, beside.name]
    assert read_dataset(paths[0]).columns["uid"].tolist() == UIDS[[0, 1, 3]].tolist()
    back = CRYOSPARC.read(paths[0])
    assert canonical(back, back.picks[0], H)[0, 1] == pytest.approx(H - np.float32(0.165) * H - 5, abs=1e-3)
    assert columns_of(beside) == {n: table(LOCATION)[[3, 1, 0, 2]][n].tolist() for n in table(LOCATION).dtype.names}


def test_what_cannot_be_written(tmp_path):
    path = save(tmp_path / "a.cs", table(LOCATION))
    pick = picks_of("0001", [1], [2])
    with pytest.raises(FormatError, match="Import Particle Stack"):
        CRYOSPARC.write(tmp_path / "out", [pick], WriteOptions())
    with pytest.raises(FormatError, match="template itself"):
        CRYOSPARC.write(tmp_path, [pick], WriteOptions(template=path))
    with pytest.raises(FormatError, match="no pick on other"):
        CRYOSPARC.write(tmp_path / "out", [picks_of("other", [1], [2])], WriteOptions(template=path))
    twice = picks_of("0001", [1, 2], [2, 3], extra={"uid": ["7", "7"]})
    with pytest.raises(FormatError, match="same uid"):
        CRYOSPARC.write(tmp_path / "out", [twice], WriteOptions(template=path))
    data = table(LOCATION)
    data["uid"] = 7
    with pytest.raises(FormatError, match="same uid twice"):
        CRYOSPARC.write(tmp_path / "out", [pick], WriteOptions(template=save(tmp_path / "b.cs", data)))
    assert not (tmp_path / "out").exists()
    again, _ = CRYOSPARC.write(tmp_path / "out", [pick], WriteOptions(template=path))
    assert len(read_dataset(again)) == 1
    again, _ = CRYOSPARC.write(tmp_path / "none", [], WriteOptions(template=path))
    assert len(read_dataset(again)) == 0
