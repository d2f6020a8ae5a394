"""RELION's files: real ones, ours through our reader and through RELION itself, damaged ones."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from format_tools import mutated
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.batch.convert import ConvertOptions, convert
from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.registry import match_micrographs
from cryoppp_annotator.formats.relion import RELION, RELION_PARTICLES
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.coordinates import CRYOPPP_FRAME, RELION_FRAME, SourceFrame
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import Micrograph
from cryoppp_annotator.model.pickfile import MicrographPicks, WriteOptions

MANUAL = "\ndata_\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n_rlnClassNumber #3 \n"
floats = st.floats(-1e5, 1e5)


def picks_of(name, x, y, *, score=None, class_id=None, extra=None, pixel_size_A=1.77, height=4096, path=None):
    n = len(x)
    return MicrographPicks(
        Micrograph(1, name, path or f"{name}.mrc", 4096, height),
        pixel_size_A,
        np.array(x, np.float64),
        np.array(y, np.float64),
        np.full(n, 108.0),
        np.full(n, np.nan) if score is None else np.array(score, np.float64),
        np.full(n, Decision.ACCEPTED, np.int8),
        np.zeros(n, np.int32) if class_id is None else np.array(class_id, np.int32),
        {} if extra is None else {label: np.array(column, np.str_) for label, column in extra.items()},
    )


def put(folder: Path, text: str, name: str = "mic_1_manualpick.star") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@st.composite
def many_picks(draw):
    sets = []
    for i in range(draw(st.integers(1, 3))):
        rows = draw(st.lists(st.tuples(floats, floats, st.none() | st.floats(-50, 50), st.integers(0, 9)), max_size=6))
        x, y, score, class_id = zip(*rows, strict=True) if rows else ((), (), (), ())
        score = [np.nan if s is None else s for s in score]
        extra = {"rlnAnglePsi": [f"{i}.50"] * len(rows)}
        sets.append(picks_of(f"0{i}", x, y, score=score, class_id=class_id, extra=extra))
    return sets


def same(file, picks):
    """Positions, scores and classes survive to the bit; a column of nothing but NaN or 0 may be absent."""
    assert np.array_equal(file.x, picks.x)
    assert np.array_equal(file.y, picks.y)
    score = np.full(len(picks), np.nan) if file.score is None else file.score
    assert np.array_equal(score, picks.score, equal_nan=True)
    class_id = np.zeros(len(picks), np.int32) if file.class_id is None else file.class_id
    assert np.array_equal(class_id, picks.class_id)
    assert file.extra["rlnAnglePsi"].tolist() == picks.extra["rlnAnglePsi"].tolist()


@given(many_picks())
def test_manual_picks_come_back(tmp_path_factory, picks):
    folder = tmp_path_factory.mktemp("relion")
    written = RELION.write(folder, picks, WriteOptions())
    for path, pick in zip(written, picks, strict=False):
        assert path.name == f"{pick.micrograph.name}_manualpick.star"
        assert path.read_bytes().endswith(b"\n\n")
        same(RELION.read(path).picks[0], pick)
    for listing in ("manualpick.star", "coords_suffix_manualpick.star"):
        listed = RELION.read(folder / listing)
        for read_back, pick in zip(listed.picks, picks, strict=True):
            same(read_back, pick)
    assert [p.micrograph for p in RELION.read(folder / "manualpick.star").picks] == [p.micrograph.path for p in picks]


@given(many_picks())
def test_particles_come_back(tmp_path_factory, picks):
    folder = tmp_path_factory.mktemp("relion")
    (path,) = RELION_PARTICLES.write(folder, picks, WriteOptions())
    file = RELION_PARTICLES.read(path)
    assert file.frame == RELION_FRAME
    assert file.pixel_size_A == 1.77
    filled = [pick for pick in picks if len(pick)]
    assert [p.micrograph for p in file.picks] == [p.micrograph.path for p in filled]
    for got, pick in zip(file.picks, filled, strict=True):
        same(got, pick)


def test_a_frame_and_a_suffix_that_were_asked_for(tmp_path):
    picks = [picks_of("a", [10], [96]), picks_of("b", [1.25], [2])]
    options = WriteOptions(frame=CRYOPPP_FRAME, suffix="")
    names = [p.name for p in RELION.write(tmp_path, picks, options)]
    assert names == ["a.star", "b.star", "coordinates.star"]
    assert RELION.read(tmp_path / "a.star").picks[0].y.tolist() == [4000]
    (path,) = RELION_PARTICLES.write(tmp_path / "x" / "p.star", picks, WriteOptions(SourceFrame(scale=2.0)))
    file = RELION_PARTICLES.read(path)
    assert (file.picks[0].x[0], file.pixel_size_A) == (5.0, 3.54)


def test_optics_and_imported_columns_go_back_to_their_places(tmp_path):
    extra = {
        "rlnVoltage": ["300.000"] * 2,
        "rlnDefocusU": ["12506.042289"] * 2,
        "Angle-Psi": ["1"] * 2,
        "rlnOpticsGroup": ["7"] * 2,
        "rlnImageName": ["1@a b.mrcs", "2@c.mrcs"],
    }
    picks = [
        picks_of("a", [1, 2], [3, 4], extra=extra),
        picks_of("b", [5], [6], pixel_size_A=1.2),
        picks_of("c", [], []),
    ]
    star = read_star(RELION_PARTICLES.write(tmp_path, picks, WriteOptions())[0])
    optics, particles = star.table("optics"), star.table("particles")
    assert optics.columns["rlnMicrographOriginalPixelSize"] == ["1.77", "1.2", "1.77"]
    assert optics.columns["rlnVoltage"] == ["300.000", "0", "0"]
    assert particles.columns["rlnOpticsGroup"] == ["1", "1", "2"]
    assert particles.columns["rlnDefocusU"] == ["12506.042289", "12506.042289", "-999"]
    assert particles.columns["rlnImageName"] == ["1@a b.mrcs", "2@c.mrcs", "None"]
    assert not {"Angle-Psi", "rlnVoltage"} & set(particles.columns)
    file = RELION_PARTICLES.read(tmp_path / "particles.star", permissive=True)
    assert file.picks[0].extra["rlnVoltage"].tolist() == ["300.000"] * 2
    assert file.pixel_size_A is None
    assert "several" in file.issues[0].message


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(FormatError, match="two micrographs"):
        RELION.write(tmp_path, [picks_of("a", [1], [2])] * 2, WriteOptions())
    for bad in (np.nan, np.inf):
        for fmt in (RELION, RELION_PARTICLES):
            with pytest.raises(FormatError, match="finite"):
                fmt.write(tmp_path, [picks_of("a", [1, bad], [2, 2])], WriteOptions())
    with pytest.raises(FormatError, match="pixel size"):
        RELION_PARTICLES.write(
            tmp_path, [picks_of("a", [1], [2]), picks_of("b", [1], [2], pixel_size_A=None)], WriteOptions()
        )
    with pytest.raises(FormatError, match="like the list"):
        RELION.write(tmp_path, [picks_of("coordinates", [1], [2])], WriteOptions(suffix=""))
    assert not list(tmp_path.iterdir())


def test_an_unknown_pixel_size_is_not_invented(tmp_path):
    (path,) = RELION_PARTICLES.write(tmp_path, [picks_of("a", [1], [2], pixel_size_A=None)], WriteOptions())
    assert "PixelSize" not in path.read_text()
    assert RELION_PARTICLES.read(path).pixel_size_A is None


def test_an_empty_file_means_looked_at_and_empty(tmp_path):
    for text in ("", MANUAL):
        file = RELION.read(put(tmp_path, text))
        assert [(p.micrograph, len(p)) for p in file.picks] == [("mic_1_manualpick", 0)]
    assert match_micrographs(["mic_1_manualpick"], ["mic_1"]).matches == {"mic_1_manualpick": "mic_1"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1 2", "2 values"),
        ("1 2 3 4", "4 values"),
        ("1 x 3", "'x'"),
        ("nan 2 3", "'nan'"),
        ("1 inf 3", "'inf'"),
        ("1 2 x", "'x'"),
        ("1 2 0.5", "whole"),
    ],
)
def test_bad_rows(tmp_path, row, says):
    path = put(tmp_path, f"{MANUAL}1 2 -999\n{row}\n5 6 3\n")
    with pytest.raises(FormatError, match=says) as caught:
        RELION.read(path)
    assert caught.value.line == 9
    assert caught.value.path == path
    file = RELION.read(path, permissive=True)
    assert file.picks[0].x.tolist() == [1, 5]
    assert file.picks[0].class_id.tolist() == [0, 3]
    assert [issue.line for issue in file.issues] == [9]


def test_files_of_other_kinds(tmp_path):
    for text, says in [
        ("data_\nloop_\n_rlnTomoName\n_rlnCenteredCoordinateXAngst\na 1\n", "tomography"),
        ("data_micrographs\nloop_\n_rlnMicrographName\na.mrc\n", "no columns"),
        (MANUAL + "1 2 3\n" + MANUAL.replace("data_", "data_b") + "1 2 3\n", "several blocks"),
    ]:
        with pytest.raises(FormatError, match=says):
            RELION_PARTICLES.read(put(tmp_path, text))


def test_pixel_size_of_relion_30(tmp_path):
    text = (
        "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnDetectorPixelSize\n"
        "_rlnMagnification\nb.mrc 1 2 5.0 50000\n0001.mrc 3 4 5.0 50000\nb.mrc 5 6 5.0 50000\n"
    )
    file = RELION_PARTICLES.read(put(tmp_path, text))
    assert file.pixel_size_A == 1.0
    assert [(p.micrograph, p.x.tolist()) for p in file.picks] == [("b.mrc", [1, 5]), ("0001.mrc", [3])]


def test_rows_of_one_micrograph_that_disagree_about_its_pixel_size_are_said(tmp_path):
    text = (
        "data_particles\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographPixelSize\n"
        "a.mrc 1 2 1.5\nb.mrc 3 4 1.5\nb.mrc 5 6 3\n"
    )
    file = RELION_PARTICLES.read(put(tmp_path, text), permissive=True)
    assert [(p.micrograph, p.pixel_size_A) for p in file.picks] == [("a.mrc", 1.5), ("b.mrc", None)]
    assert "rows of b.mrc give pixel sizes of 1.5 and 3 A: none of them is taken" in file.notes


def test_lists_name_files_relative_to_the_project(tmp_path):
    listing = (
        "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
        "M/a.mrc Pick/job1/M/a_manualpick.star\nM/b.mrc Pick/job1/M/b.box\nM/c.mrc Pick/gone.star\n"
    )
    path = put(tmp_path, listing, "Pick/job1/manualpick.star")
    put(tmp_path, MANUAL + "7 8 -999\n", "Pick/job1/M/a_manualpick.star")
    put(tmp_path, "1 2 3 4\n", "Pick/job1/M/b.box")
    file = RELION.read(path, permissive=True)
    assert [(p.micrograph, p.x.tolist()) for p in file.picks] == [("M/a.mrc", [7]), ("M/b.mrc", [2.5])]
    assert [issue.line for issue in file.issues] == [8]
    with pytest.raises(FormatError, match=r"gone\.star"):
        RELION.read(path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "fmt", "n", "first", "pixel"),
    [
        ("formats/relion_star/relion30_Ucsf_stack_1142_DW_autopick.star", RELION, 45, (839.125024, 19.979167), None),
        ("picks_10017/manual_relion_star/Falcon_2012_06_12-14_57_34_0.star", RELION, 612, (3822, 3477), None),
        ("picks_10017/manual_relion_star/Falcon_2012_06_12-15_14_01_0.star", RELION, 643, (3945, 2568), None),
        ("formats/relion_star/cryosegnet_sample_tab.star", RELION_PARTICLES, 629, (3752, 693), None),
        ("formats/relion_star/cryoemmae_prediction_82_test.star", RELION_PARTICLES, 124, (3864, 608), None),
        ("formats/relion_star/cryosparc_via_pyem_sample2.star", RELION_PARTICLES, 2, (4857, 425), None),
        ("formats/relion_star/cryodrgn_relion31.star", RELION_PARTICLES, 5, None, 1.403),
        ("formats/relion_star/cryodrgn_relion5.star", RELION_PARTICLES, 17, None, 0.89),
    ],
)
def test_real_files(data_dir, tmp_path, name, fmt, n, first, pixel):
    file = fmt.read(data_dir / name)
    assert (file.n_picks, file.pixel_size_A, file.issues) == (n, pixel, ())
    pick = file.picks[0]
    if first is not None:
        assert (pick.x[0], pick.y[0]) == first
    if "manual" in name:
        assert np.isnan(pick.score).all()
        assert not pick.class_id.any()
        assert set(pick.extra["rlnAnglePsi"]) == {"-999.0"}
    if "autopick" in name:
        assert pick.score[0] == 0.624705
    again = [
        picks_of(f"m{i}", p.x, p.y, score=p.score, class_id=p.class_id, extra=p.extra, path=p.micrograph)
        for i, p in enumerate(file.picks)
    ]
    fmt.write(tmp_path, again, WriteOptions())
    back = fmt.read(tmp_path / ("manualpick.star" if fmt is RELION else "particles.star"))
    for a, b in zip(file.picks, back.picks, strict=True):
        assert (a.micrograph, a.x.tolist(), a.y.tolist()) == (b.micrograph, b.x.tolist(), b.y.tolist())
        for label in set(a.extra) - {"rlnOpticsGroup"}:
            assert a.extra[label].tolist() == b.extra[label].tolist()


@pytest.mark.realdata
def test_damaged_files_raise_format_errors_only(data_dir, tmp_path):
    rng = random.Random(7)
    files = sorted((data_dir / "formats/relion_star").glob("*.star"))
    path = tmp_path / "damaged.star"
    for _ in range(400):
        data = mutated(rng.choice(files).read_bytes()[:6000], rng)
        path.write_bytes(data)
        for fmt in (RELION, RELION_PARTICLES):
            assert 0 <= fmt.sniff(path, data[:4096]) <= 1
            for permissive in (False, True):
                try:
                    file = fmt.read(path, permissive=permissive)
                except FormatError:
                    continue
                assert all(np.isfinite(p.x).all() and np.isfinite(p.y).all() for p in file.picks)


# --- RELION's own programs -----------------------------------------------------------------------------------------


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.relion
@pytest.mark.parametrize("voltage", [None, "300.000000"])
def test_relion_reads_our_particles(tmp_path, voltage):
    extra = {} if voltage is None else {"rlnVoltage": [voltage] * 3, "rlnSphericalAberration": ["2.7"] * 3}
    x, y = [12.125, 4000.0, 0.1234567891], [3.0, -5.5, 1e-3]
    picks = [picks_of("a", x, y, score=[0.5, np.nan, -3], extra=extra, path="M x/a.mrc"), picks_of("0001", [7], [8])]
    RELION_PARTICLES.write(tmp_path, picks, WriteOptions())
    said = run(
        "relion_star_handler", "--i", "particles.star", "--o", "out.star", "--select", "rlnCoordinateX", cwd=tmp_path
    )
    assert "4 item(s)" in said
    file = RELION_PARTICLES.read(tmp_path / "out.star")
    assert [p.micrograph for p in file.picks] == ["M x/a.mrc", "0001.mrc"]
    np.testing.assert_allclose(file.picks[0].x, x, atol=1e-6)
    np.testing.assert_allclose(file.picks[0].y, y, atol=1e-6)
    assert file.pixel_size_A == pytest.approx(1.77)


@pytest.mark.relion
@pytest.mark.parametrize("score", [None, 0.25])
def test_relion_extracts_what_was_picked(tmp_path, score):
    rng = np.random.default_rng(3)
    x, y = rng.permutation(np.arange(20, 480, 24))[:12] + 0.0, rng.permutation(np.arange(20, 380, 24))[:12] + 0.0
    image = np.zeros((400, 500), np.float32)
    image[y.astype(int), x.astype(int)] = 100
    with mrcfile.new(tmp_path / "mic.mrc") as stream:
        stream.set_data(image)
        stream.voxel_size = 1.77
    pick = picks_of("mic", x, y, score=None if score is None else [score] * 12, class_id=[2] * 12, height=400)
    RELION.write(tmp_path / "picks", [pick], WriteOptions())
    run(
        "relion_preprocess",
        "--i",
        "picks/manualpick_micrographs.star",
        "--coord_dir",
        "picks/",
        "--coord_suffix",
        "_manualpick.star",
        "--part_dir",
        "P/",
        "--part_star",
        "P/particles.star",
        "--extract",
        "--extract_size",
        "16",
        cwd=tmp_path,
    )
    picks_read = RELION_PARTICLES.read(tmp_path / "P/particles.star").picks[0]
    assert picks_read.x.tolist() == x.tolist()
    assert picks_read.y.tolist() == y.tolist()
    stack = mrcfile.read(tmp_path / "P" / "mic.mrcs")
    assert stack.shape == (12, 16, 16)
    assert (stack[:, 8, 8] == 100).all()


@pytest.mark.relion
def test_relion_s_star_handler_reads_every_star_we_write(tmp_path):
    """Also with a hand pick beside imported columns, text with spaces, an empty micrograph and no pixel size."""
    extra = {"rlnAnglePsi": ["12.5", ""], "rlnDefocusU": ["15000.25", ""], "rlnGroupName": ["group a", ""]}
    picks = [
        picks_of("a", [12.125, 40], [3, 5.5], score=[0.5, np.nan], class_id=[2, 0], extra=extra, path="M x/a.mrc"),
        picks_of("0001", [7], [8], path="M/0001.mrc"),
        picks_of("empty", [], []),
    ]
    bare = [picks_of("b", [1], [2], pixel_size_A=None)]
    written = RELION.write(tmp_path / "1", picks, WriteOptions())
    written += RELION.write(tmp_path / "2", bare, WriteOptions(suffix="_autopick"))
    written += RELION_PARTICLES.write(tmp_path / "3", picks, WriteOptions())
    written += RELION_PARTICLES.write(tmp_path / "4", bare, WriteOptions())
    stars = [path for path in written if not path.name.startswith("coords_suffix")]  # which hold a path and no STAR
    assert len(stars) == 10
    for path in stars:
        said = run("relion_star_handler", "--i", str(path), "--o", "out.star", cwd=tmp_path)
        assert "ERROR" not in said, (path, said)
        # without optics it copies no rows, of RELION's own per-micrograph STARs neither: extraction judges those
        if path in (tmp_path / "1" / "manualpick_micrographs.star", tmp_path / "3" / "particles.star"):
            given, back = read_star(path).tables, read_star(tmp_path / "out.star").tables
            assert [(table.block, len(table)) for table in back] == [(table.block, len(table)) for table in given]
            assert back[1].columns["rlnMicrographName"] == given[1].columns["rlnMicrographName"]
            assert back[1].columns.get("rlnGroupName") == given[1].columns.get("rlnGroupName")


@pytest.mark.relion
@pytest.mark.parametrize("source", ["cryoppp", "topaz"])
def test_relion_extracts_what_came_from_another_frame(tmp_path, source):
    """A source whose y runs up, and one of images binned by 4: each bright pixel is in the middle of its box."""
    rng = np.random.default_rng(5)
    x, y = 4.0 * rng.permutation(np.arange(5, 120, 6))[:12], 4.0 * rng.permutation(np.arange(5, 95, 6))[:12]
    image = np.zeros((400, 500), np.float32)
    image[y.astype(int), x.astype(int)] = 100
    with mrcfile.new(tmp_path / "mic.mrc") as stream:
        stream.set_data(image)
        stream.voxel_size = 1.77
    if source == "cryoppp":
        rows = [f"{a:g},{400 - b:g},30" for a, b in zip(x, y, strict=True)]
        put(tmp_path, "\n".join(["X-Coordinate,Y-Coordinate,Diameter", *rows]) + "\n", "mic.csv")
        given = ConvertOptions("relion", micrographs=str(tmp_path / "mic.mrc"))
        convert([tmp_path / "mic.csv"], tmp_path / "picks", given)
    else:
        rows = [f"mic\t{a / 4:g}\t{b / 4:g}" for a, b in zip(x, y, strict=True)]
        put(tmp_path, "\n".join(["image_name\tx_coord\ty_coord", *rows]) + "\n", "t.txt")
        given = ConvertOptions("relion", micrographs=str(tmp_path / "mic.mrc"), scale=4)
        convert([tmp_path / "t.txt"], tmp_path / "picks", given)
    (star,) = (tmp_path / "picks").rglob("mic_manualpick.star")
    shutil.copy(star, tmp_path / "mic_manualpick.star")
    words = "--i list.star --coord_dir ./ --coord_suffix _manualpick.star --part_dir P/ --part_star P/particles.star"
    optics = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n"
    optics += "_rlnVoltage\n_rlnSphericalAberration\none 1 1.77 300 2.7\n\n# version 30001\n\ndata_micrographs\n\n"
    put(tmp_path, optics + "loop_\n_rlnMicrographName\n_rlnOpticsGroup\nmic.mrc 1\n", "list.star")
    run("relion_preprocess", *words.split(), "--extract", "--extract_size", "16", cwd=tmp_path)
    stack = mrcfile.read(tmp_path / "P" / "mic.mrcs")
    assert stack.shape == (12, 16, 16)
    assert (stack[:, 8, 8] == 100).all()
