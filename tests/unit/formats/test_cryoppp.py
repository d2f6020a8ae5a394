"""CryoPPP's CSVs, STARs and folders, real and made."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.cryoppp import CRYOPPP, EXTENDED_COLUMNS
from cryoppp_annotator.formats.relion import RELION_PARTICLES
from cryoppp_annotator.model.coordinates import CRYOPPP_FRAME, RELION_FRAME, STORED_FRAME
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import Micrograph
from cryoppp_annotator.model.pickfile import MicrographPicks, WriteOptions

BASIC = "X-Coordinate,Y-Coordinate,Diameter\n"
STAR = "\ndata_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
WIDE = (
    "Particles Filename,Micrographs Filename,X-Coordinate,Y-Coordinate,Angle-Psi,Origin X (Ang),Origin Y (Ang),"
    "Defocus U,Defocus V,Defocus Angle,Phase Shift,CTF B Factor,Optics Group,Class Number\n"
)


def picks_of(name, x, y, *, diameter=108.0, decision=Decision.ACCEPTED, extra=None, height=4096):
    n = len(x)
    return MicrographPicks(
        Micrograph(1, name, f"micrographs/{name}.mrc", 4096, height),
        1.77,
        np.array(x, np.float64),
        np.array(y, np.float64),
        np.broadcast_to(np.asarray(diameter, np.float64), (n,)),
        np.full(n, np.nan),
        np.broadcast_to(np.asarray(decision, np.int8), (n,)),
        np.zeros(n, np.int32),
        extra or {},
    )


def put(folder, text, name="0001.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


eighths = st.integers(-(2**20), 2**20).map(lambda n: n / 8)


@given(st.lists(st.tuples(eighths, eighths, st.floats(1e-3, 1e4), st.sampled_from(Decision)), max_size=12))
def test_what_is_written_is_read(tmp_path_factory, rows):
    x, y, diameter, decision = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], 1.0, 0)
    pick = picks_of("0001", x, y, diameter=diameter, decision=decision)
    folder = tmp_path_factory.mktemp("cryoppp")
    CRYOPPP.write(folder, [pick], WriteOptions())
    file = CRYOPPP.read(folder)
    assert {p.micrograph for p in file.picks} == {"0001"}
    for got in file.picks:
        expected = pick.take((pick.decision == Decision.REJECTED) == (got.decision is Decision.REJECTED))
        canonical = file.frame.to_canonical(got.x, got.y, height=4096)
        assert np.array_equal(canonical, (expected.x, expected.y))
        assert np.array_equal(got.diameter_px, expected.diameter_px)
    assert file.n_picks == len(pick)


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=9))
def test_any_position_survives_to_the_last_bit_of_the_height(tmp_path_factory, rows):
    x, y = np.array(rows).T
    folder = tmp_path_factory.mktemp("cryoppp")
    CRYOPPP.write(folder, [picks_of("a", x, y)], WriteOptions())
    (got,) = CRYOPPP.read(folder).picks
    assert np.array_equal(got.x, x)
    assert np.array_equal(got.y, 4096 - y)


def test_the_text_itself(tmp_path):
    extra = {label: np.array([f"{i}.50"]) for i, label in enumerate(EXTENDED_COLUMNS)}
    paths = CRYOPPP.write(
        tmp_path,
        [picks_of("a", [3752], [3403]), picks_of("b", [1.5], [0], extra=extra), picks_of("c", [], [])],
        WriteOptions(),
    )
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        f"ground_truth/particle_coordinates/{name}.csv" for name in "abc"
    ]
    assert paths[0].read_text() == BASIC + "3752,693,108\n"
    assert paths[1].read_text().splitlines()[0] == ",".join([*BASIC.strip().split(","), *EXTENDED_COLUMNS])
    assert paths[1].read_text().splitlines()[1] == "1.5,4096,108,0.50,1.50,2.50,3.50,4.50,5.50,6.50,7.50"
    assert paths[2].read_text() == BASIC
    assert CRYOPPP.read(paths[1]).picks[0].extra["CTF B Factor"].tolist() == ["7.50"]


def test_an_older_export_does_not_contradict_the_new_one(tmp_path):
    CRYOPPP.write(tmp_path, [picks_of("a", [1, 2], [3, 4], decision=[1, 2])], WriteOptions())
    assert [p.decision for p in CRYOPPP.read(tmp_path).picks] == [Decision.UNDECIDED, Decision.REJECTED]
    CRYOPPP.write(tmp_path, [picks_of("a", [1, 2], [3, 4])], WriteOptions())
    assert [len(p) for p in CRYOPPP.read(tmp_path).picks] == [2, 0]


def test_what_cannot_be_written(tmp_path):
    for pick, says in [
        (picks_of("a", [1, 2], [3, 4], diameter=[108, np.nan]), "diameter"),
        (picks_of("a", [1], [np.inf]), "finite"),
        (picks_of("a", [1], [1], height=0), "height"),
    ]:
        with pytest.raises(FormatError, match=says):
            CRYOPPP.write(tmp_path, [pick], WriteOptions())
    with pytest.raises(FormatError, match="two micrographs"):
        CRYOPPP.write(tmp_path, [picks_of("a", [1], [1])] * 2, WriteOptions())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        b"X-Coordinate,Y-Coordinate,Diameter\r\n1,2,3\r\n",
        b"\xef\xbb\xbfX-Coordinate,Y-Coordinate,Diameter\n1,2,3",
        "X-Coordinate,Y-Coordinate,Diameter\n1,2,3\n".encode("utf-16"),
        b"X-Coordinate\tY-Coordinate\tDiameter\n1\t2\t3\n",
        b'"X-Coordinate","Y-Coordinate","Diameter"\n"1","2","3"\n\n',
        b"Y-Coordinate , X-Coordinate,Diameter\n 2, 1 ,3\n",
    ],
)
def test_ways_to_say_the_same(tmp_path, data):
    path = put(tmp_path, data)
    assert CRYOPPP.sniff(path, data[:4096]) > 0.9
    (pick,) = CRYOPPP.read(path).picks
    assert (pick.micrograph, pick.x[0], pick.y[0], pick.diameter_px[0]) == ("0001", 1, 2, 3)


def test_an_empty_file_means_looked_at_and_empty(tmp_path):
    for text in ("", BASIC):
        file = CRYOPPP.read(put(tmp_path, text))
        assert [(p.micrograph, len(p)) for p in file.picks] == [("0001", 0)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1,2", "2 values"),
        ("1,2,3,4", "4 values"),
        ("x,2,3", "'x'"),
        ("1,nan,3", "'nan'"),
        ("1,-inf,3", "'-inf'"),
        (",2,3", "''"),
        ("1,2,big", "'big'"),
    ],
)
def test_bad_rows(tmp_path, row, says):
    path = put(tmp_path, f"{BASIC}1,2,3\n{row}\n4,5,\n")
    with pytest.raises(FormatError, match=says) as caught:
        CRYOPPP.read(path)
    assert (caught.value.line, caught.value.path) == (3, path)
    file = CRYOPPP.read(path, permissive=True)
    assert file.picks[0].x.tolist() == [1, 4]
    assert np.array_equal(file.picks[0].diameter_px, [3, np.nan], equal_nan=True)
    assert [issue.line for issue in file.issues] == [3]


@pytest.mark.parametrize(
    "data",
    [
        b"x,y\n1,2\n",
        b"\n\n",
        b"X-Coordinate,Y-Coordinate,X-Coordinate\n1,2,3\n",
        b"\x00" * 50,
        BASIC.encode() + b"1,\xe4,3",
        BASIC.encode() + b'1,"2\n3",4\n',
        BASIC.encode() + b'1,"2"x,4\n',
        BASIC.encode() + b"1,2," + b"9" * 200_000 + b"\n",
    ],
)
def test_what_is_no_cryoppp_csv_is_refused(tmp_path, data):
    with pytest.raises(FormatError):
        CRYOPPP.read(put(tmp_path, data))


def test_false_positives_and_excluded_are_rejected(tmp_path):
    for name, text in [
        ("ground_truth/false_positives/a_false_positives.csv", BASIC + "1,2,3\n"),
        ("ground_truth/empiar-1_particles_excluded.star", STAR + "a.mrc\t1\t2\n"),
        ("empiar-1_particles_excluded.csv", WIDE + "1@a.mrcs,a.mrc,1,2" + ",0" * 10 + "\n"),
    ]:
        file = CRYOPPP.read(put(tmp_path, text, name))
        assert file.frame == CRYOPPP_FRAME
        assert file.picks[0].micrograph in ("a", "a.mrc")
        assert file.picks[0].decision is Decision.REJECTED


def test_the_data_set_table_is_grouped(tmp_path):
    tail = ",1.25,0,0,1,1,0,0,0,1,"
    rows = f"1@p.mrcs,0001.mrc,1,2{tail}4\n1@q.mrcs,b c.mrc,3,4{tail}-999\n2@p.mrcs,0001.mrc,5,6{tail}5\n"
    file = CRYOPPP.read(put(tmp_path, WIDE + rows, "empiar-1_particles_selected.csv"))
    assert [(p.micrograph, p.x.tolist(), p.class_id.tolist()) for p in file.picks] == [
        ("0001.mrc", [1, 5], [4, 5]),
        ("b c.mrc", [3], [0]),
    ]
    assert file.picks[0].extra["Angle-Psi"].tolist() == ["1.25", "1.25"]


def test_a_star_is_cryoppp_s_by_its_place(tmp_path):
    path = put(tmp_path, STAR + "a.mrc\t1\t2\n", "ground_truth/empiar-1_particles_selected.star")
    assert CRYOPPP.read(path).frame == CRYOPPP_FRAME
    elsewhere = put(tmp_path, STAR + "a.mrc\t1\t2\n", "job/empiar-1_particles_selected.star")
    assert CRYOPPP.sniff(elsewhere, b"data_") == 0
    assert RELION_PARTICLES.read(elsewhere).frame == RELION_FRAME


def test_a_folder_without_csvs_falls_back_on_its_star(tmp_path):
    put(tmp_path, STAR + "a.mrc\t1\t2\nb.mrc\t3\t4\n", "ground_truth/empiar-1_particles_selected.star")
    put(tmp_path, STAR + "a.mrc\t5\t6\n", "ground_truth/empiar-1_particles_excluded.star")
    file = CRYOPPP.read(tmp_path)
    assert [(p.micrograph, p.decision) for p in file.picks] == [("a.mrc", 0), ("b.mrc", 0), ("a.mrc", 2)]
    assert file.frame == CRYOPPP_FRAME
    put(tmp_path, BASIC + "7,8,9\n", "ground_truth/particle_coordinates/a.csv")
    assert [p.x.tolist() for p in CRYOPPP.read(tmp_path).picks] == [[7], [5]]


def test_folders(tmp_path):
    with pytest.raises(FormatError, match="neither"):
        CRYOPPP.read(tmp_path)
    (tmp_path / "ground_truth").mkdir()
    with pytest.raises(FormatError, match="no coordinate CSV"):
        CRYOPPP.read(tmp_path)
    put(tmp_path, BASIC + "1,2,3\n", "ground_truth/particle_coordinates/a.csv")
    put(tmp_path, "nonsense\n", "ground_truth/particle_coordinates/b.csv")
    with pytest.raises(FormatError, match=r"b\.csv"):
        CRYOPPP.read(tmp_path)
    file = CRYOPPP.read(tmp_path, permissive=True)
    assert (file.n_picks, file.issues[0].line) == (1, 1)
    for folder in (tmp_path / "ground_truth", tmp_path / "ground_truth/particle_coordinates"):
        assert CRYOPPP.sniff(folder, b"") > 0.9
        assert CRYOPPP.read(folder, permissive=True).n_picks == 1


@pytest.mark.realdata
def test_real_folders(data_dir):
    full, lite = CRYOPPP.read(data_dir / "cryoppp/10017"), CRYOPPP.read(data_dir / "cryoppp_lite/10017")
    assert full.frame == CRYOPPP_FRAME
    assert lite.frame == STORED_FRAME  # its pictures are upside down against the MRC
    assert [len(p) for p in full.picks] == [629, 392]
    assert [len(p) for p in lite.picks] == [629, 694, 392, 648, 836]
    first = full.picks[0]
    assert (first.micrograph, first.x[0], first.y[0]) == ("Falcon_2012_06_12-14_33_35_0", 3752, 693)
    assert set(first.diameter_px) == {108}
    assert tuple(first.extra) == EXTENDED_COLUMNS
    assert first.extra["Angle-Psi"][0] == "256.224487"
    star = CRYOPPP.read(data_dir / "cryoppp/10017/ground_truth/empiar-10017_particles_selected.star")
    assert star.frame == CRYOPPP_FRAME
    assert np.array_equal(star.picks[0].y, first.y)
    lone = CRYOPPP.read(data_dir / "formats/cryoppp_csv/Falcon_2012_06_12-14_33_35_0.csv")
    assert np.array_equal(lone.picks[0].x, first.x)


@pytest.mark.realdata
def test_damaged_files_raise_format_errors_only(data_dir, tmp_path):
    rng = random.Random(11)
    files = sorted((data_dir / "cryoppp/10017/ground_truth/particle_coordinates").glob("*.csv"))
    path = tmp_path / "damaged.csv"
    for _ in range(400):
        data = rng.choice(files).read_bytes()[:5000]
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(len(data) + 1)
            end = min(len(data), start + rng.choice([0, 1, 1, 5, 60, 900]))
            poison = [
                b"",
                b"\x00",
                b"\xff",
                b"\n",
                b'"',
                b"'",
                b",",
                b";",
                b"nan",
                b"\r",
                b"\t",
                b"1e999",
                rng.randbytes(3),
            ]
            data = data[:start] + rng.choice(poison) + data[end:]
        path.write_bytes(data)
        assert 0 <= CRYOPPP.sniff(path, data[:4096]) <= 1
        for permissive in (False, True):
            try:
                file = CRYOPPP.read(path, permissive=permissive)
            except FormatError:
                continue
            assert all(np.isfinite(p.x).all() and np.isfinite(p.y).all() for p in file.picks)


def test_a_large_set_takes_seconds(tmp_path):
    rng = np.random.default_rng(0)
    picks = [picks_of(f"m{i}", *rng.uniform(0, 4096, (2, 1000)).round(3)) for i in range(30)]
    started = time.process_time()
    for fmt in (CRYOPPP, RELION_PARTICLES):
        fmt.write(tmp_path, picks, WriteOptions())
    assert CRYOPPP.read(tmp_path).n_picks == RELION_PARTICLES.read(tmp_path / "particles.star").n_picks == 30_000
    assert time.process_time() - started < 8  # 0.4 s on an idle machine; a slow loop would take minutes


def test_a_huge_file_of_words_is_refused_by_its_first_line(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as stream:
        stream.write(b"words, words\n" * 100)
        stream.truncate(20 << 30)
    with pytest.raises(FormatError, match="lacks the column"):
        CRYOPPP.read(path)
    with path.open("r+b") as stream:
        stream.write(b"X-Coordinate,Y-Coordinate\n")
    with pytest.raises(FormatError, match="MB large"):
        CRYOPPP.read(path)
