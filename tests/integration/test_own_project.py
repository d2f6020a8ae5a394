"""At home in the user's own project: RELION and cryoSPARC folders, names, pixel sizes, optics groups, tables."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile

from cryoppp_annotator import open_project
from cryoppp_annotator.cli.main import run
from cryoppp_annotator.formats.table.star_file import read_star

HEIGHT, WIDTH = 240, 300
PLACES = [(60.0, 50.0), (120.0, 80.0), (200.0, 150.0)]
OPTICS = (
    "data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n_rlnVoltage #4\n"
    "_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\n"
)

Call = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command with --json: exit code, what it printed, what it said on stderr."""

    def command(*arguments: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = run([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.strip() else {}, err

    return command


def image(path: Path, pixel_size_A: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(1).normal(size=(HEIGHT, WIDTH)).astype(np.float32))
        file.voxel_size = pixel_size_A
    return path


def star(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def particles(names: list[str], optics: str = OPTICS + "sessionA 1 2.0 300 2.7 0.1\n") -> str:
    rows = "".join(f"{x} {y} {name} 1\n" for name in names for x, y in PLACES)
    labels = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n_rlnOpticsGroup #4\n"
    return f"# version 30001\n\n{optics}\n\n# version 30001\n\ndata_particles\n\nloop_\n{labels}{rows}\n"


@pytest.fixture
def relion(tmp_path: Path) -> Path:
    """``R/MotionCorr/job002/Movies/*.mrc``, the CTF list and ``Extract/job005/particles.star``."""
    root = tmp_path / "R"
    names = [f"MotionCorr/job002/Movies/m{i}.mrc" for i in range(3)]
    for name in names:
        image(root / name)
    image(root / "MotionCorr/job002/Movies/m0_PS.mrc")
    rows = "".join(f"{name} 1 12000 11800 30\n" for name in names)
    micrographs = f"\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n{'{}'}\n"
    listed = micrographs.format("".join(f"{name} 1\n" for name in names))
    star(root / "MotionCorr/job002/corrected_micrographs.star", f"{OPTICS}sessionA 1 2.0 300 2.7 0.1\n{listed}")
    ctf = micrographs.format("_rlnDefocusU #3\n_rlnDefocusV #4\n_rlnDefocusAngle #5\n" + rows)
    star(root / "CtfFind/job003/micrographs_ctf.star", f"{OPTICS}sessionA 1 2.0 300 2.7 0.1\n{ctf}")
    star(root / "Extract/job005/particles.star", particles(names))
    star(root / "default_pipeline.star", "data_pipeline_general\n\n_rlnPipeLineJobCounter 6\n")
    return root


def names_in(path: Path) -> set[str]:
    return set(read_star(path).tables[-1].columns["rlnMicrographName"])


def test_a_project_folder_opens_and_names_go_out_as_they_are(call: Call, relion: Path, tmp_path: Path) -> None:
    """The folder itself is opened (without power spectra), a job's folder is read, names are RELION's."""
    code, summary, err = call(
        "import",
        tmp_path / "P",
        "--micrographs",
        relion,
        "--coords",
        relion / "Extract/job005",
        "--ctf",
        relion / "CtfFind/job003/micrographs_ctf.star",
        "--decision",
        "accepted",
    )
    assert (code, summary["micrographs"], summary["particles"]["accepted"]) == (0, 3, 9), err
    assert summary["with_defocus"] == 3
    expected = {f"MotionCorr/job002/Movies/m{i}.mrc" for i in range(3)}
    call("export", tmp_path / "P", "-o", relion / "Out", "--to", "relion-particles")
    assert names_in(relion / "Out/particles.star") == expected
    _, report, _ = call("export", tmp_path / "P", "-o", relion / "ManualPick/job009", "--to", "relion")
    assert (relion / "ManualPick/job009/Movies/m1_manualpick.star").is_file()
    listing = read_star(relion / "ManualPick/job009/manualpick.star").tables[0].columns
    assert listing["rlnMicrographCoordinates"][1] == "ManualPick/job009/Movies/m1_manualpick.star"
    suffix = relion / "ManualPick/job009/coords_suffix_manualpick.star"
    assert suffix.read_text().strip() == "ManualPick/job009/manualpick_micrographs.star"
    assert report["picks"] == 9


def test_a_relion_project_is_taken_together(call: Call, relion: Path, tmp_path: Path) -> None:
    """Micrographs, CTF and the latest picks at once; what else there is, is offered."""
    row = "MotionCorr/job002/Movies/m0.mrc AutoPick/job004/Movies/m0_autopick.star"
    listing = f"data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n{row}\n"
    star(relion / "AutoPick/job004/autopick.star", listing)
    picks = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n"
    star(relion / "AutoPick/job004/Movies/m0_autopick.star", picks)
    code, summary, err = call("import", tmp_path / "P", "--relion", relion)
    assert (code, summary["micrographs"], summary["with_defocus"]) == (0, 3, 3), err
    assert summary["particles"]["undecided"] == 9
    assert summary["relion"]["taken"] == ["CtfFind/job003", "Extract/job005"]
    assert "AutoPick/job004" in summary["relion"]["jobs"]
    code, summary, err = call("import", tmp_path / "Q", "--relion", relion, "--job", "AutoPick/job004")
    assert (code, summary["particles"]["undecided"]) == (0, 1), err
    code, _, err = call("import", tmp_path / "Q", "--relion", tmp_path)
    assert (code, "no RELION project" in err) == (1, True)


def test_picks_by_hand_or_from_boxes_get_relions_name_too(call: Call, relion: Path, tmp_path: Path) -> None:
    box = star(tmp_path / "m1.box", "50 40 20 20\n")
    call("convert", box, "-o", tmp_path / "a.star", "--to", "relion-particles", "--micrographs", relion)
    assert names_in(tmp_path / "a.star") == {"MotionCorr/job002/Movies/m1.mrc"}
    elsewhere = tmp_path / "data"
    shutil.copytree(relion / "MotionCorr", elsewhere / "MotionCorr")
    (elsewhere / "MotionCorr/job002").rename(elsewhere / "MotionCorr/first")
    call(
        "convert",
        box,
        "-o",
        tmp_path / "b.star",
        "--to",
        "relion-particles",
        "--micrographs",
        elsewhere / "MotionCorr/first/Movies",
        "--relion-root",
        elsewhere / "MotionCorr",
    )
    assert names_in(tmp_path / "b.star") == {"first/Movies/m1.mrc"}


def test_two_jobs_with_the_same_file_names_are_told_apart(call: Call, relion: Path, tmp_path: Path) -> None:
    for i in range(3):
        image(relion / f"MotionCorr/job007/Movies/m{i}.mrc")
    names = [f"MotionCorr/{job}/Movies/m{i}.mrc" for job in ("job002", "job007") for i in range(3)]
    star(
        relion / "MotionCorr/job007/corrected_micrographs.star",
        "data_micrographs\n\nloop_\n_rlnMicrographName #1\n"
        + "".join(f"MotionCorr/job007/Movies/m{i}.mrc\n" for i in range(3)),
    )
    source = star(relion / "Extract/job008/particles.star", particles(names))
    code, summary, err = call(
        "import", tmp_path / "P", "--micrographs", relion, "--coords", source, "--decision", "accepted"
    )
    assert (code, summary["micrographs"], summary["imports"][0]["ambiguous"]) == (0, 6, {}), err
    assert summary["particles"]["accepted"] == 18
    for format in ("relion", "relion-particles"):
        code, report, err = call("export", tmp_path / "P", "-o", tmp_path / format, "--to", format)
        assert (code, report["picks"]) == (0, 18), err
    assert names_in(tmp_path / "relion-particles/particles.star") == set(names)


@pytest.mark.relion
def test_relion_finds_every_particle_again(call: Call, relion: Path, tmp_path: Path) -> None:
    call(
        "import",
        tmp_path / "P",
        "--micrographs",
        relion,
        "--coords",
        relion / "Extract/job005/particles.star",
        "--decision",
        "accepted",
    )
    call("export", tmp_path / "P", "-o", relion / "Out", "--to", "relion-particles")
    call("export", tmp_path / "P", "-o", relion / "ManualPick/job009", "--to", "relion")
    common = ["relion_preprocess", "--i", "CtfFind/job003/micrographs_ctf.star", "--extract", "--extract_size", "32"]
    for name, how in {
        "a": ["--reextract_data_star", "Out/particles.star"],
        "b": ["--coord_dir", "ManualPick/job009/", "--coord_suffix", "_manualpick.star"],
    }.items():
        subprocess.run(
            [*common, *how, "--part_star", f"{name}.star", "--part_dir", f"{name}/"],
            cwd=relion,
            check=True,
            capture_output=True,
        )
        assert len(read_star(relion / f"{name}.star").tables[-1]) == 9


GROUPS = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n"
    "_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnBeamTiltX #8\n_rlnOddZernike #9\n"
    "1 monday 300 2.7 0.1 2.0 64 0.5 [1,2,3]\n4 tuesday 300 2.7 0.1 2.0 64 -0.25 [4,5,6]\n"
)


def two_sessions(tmp_path: Path) -> Path:
    rows = "".join(f"{x} {y} m{i}.mrc {group}\n" for i, group in ((0, 1), (1, 4)) for x, y in PLACES)
    labels = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n_rlnOpticsGroup #4\n"
    return star(tmp_path / "in.star", f"{GROUPS}\n\ndata_particles\n\nloop_\n{labels}{rows}")


@pytest.mark.parametrize("through_a_project", [False, True])
def test_optics_groups_stay_whole_and_two(call: Call, tmp_path: Path, through_a_project: bool) -> None:
    """Name, number, tilt, Zernikes and image size of each group; a pick by hand gets its micrograph's."""
    source = two_sessions(tmp_path)
    for i in range(2):
        image(tmp_path / f"movies/m{i}.mrc")
    if through_a_project:
        call(
            "import", tmp_path / "P", "--micrographs", tmp_path / "movies", "--coords", source, "--decision", "accepted"
        )
        code, _, err = call("export", tmp_path / "P", "-o", tmp_path / "out", "--to", "relion-particles")
    else:
        code, _, err = call("convert", source, "-o", tmp_path / "out", "--to", "relion-particles")
    assert code == 0, err
    written = read_star(tmp_path / "out/particles.star")
    optics = written.table("optics")
    assert optics is not None
    for label, values in {
        "rlnOpticsGroupName": ["monday", "tuesday"],
        "rlnOpticsGroup": ["1", "4"],
        "rlnBeamTiltX": ["0.5", "-0.25"],
        "rlnOddZernike": ["[1,2,3]", "[4,5,6]"],
        "rlnImageSize": ["64", "64"],
        "rlnImagePixelSize": ["2.0", "2.0"],
    }.items():
        assert list(optics.columns[label]) == values, label
    assert list(written.tables[-1].columns["rlnOpticsGroup"]) == ["1"] * 3 + ["4"] * 3


@pytest.mark.parametrize(
    ("column", "value", "doubt"),
    [
        ("rlnMicrographOriginalPixelSize", "0.7", "movie's pixel"),
        ("rlnMicrographPixelSize", "1.0", "placeholder"),
        ("rlnMicrographPixelSize", "5300000", "not a pixel size"),
        ("rlnMicrographPixelSize", "1.4", ""),
    ],
)
def test_pixel_sizes_are_doubted_as_in_headers(call: Call, tmp_path: Path, column: str, value: str, doubt: str) -> None:
    source = star(
        tmp_path / "p.star",
        f"data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n_{column} #3\n1 2.8 {value}\n\n"
        "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnOpticsGroup #4\n"
        "_rlnImageName #5\nm0.mrc 10 20 1 1@a.mrcs\n",
    )
    arguments = ("convert", source, "-o", tmp_path / "out", "--to", "cbox", "--diameter", "140")
    code, _, err = call(*arguments)
    assert (code, doubt in err) == (1 if doubt else 0, True)
    code, report, _ = call("convert", source, "-o", tmp_path / "out", "--to", "relion-particles")
    assert code == 0
    assert any(doubt in note for note in report["notes"]) or not doubt
    image(tmp_path / "movies/m0.mrc", 1.4)
    code, _, err = call(*arguments, "--micrographs", tmp_path / "movies")
    assert code == 0, err
    assert "\n" in (tmp_path / "out/m0.cbox").read_text()
    assert "100" in (tmp_path / "out/m0.cbox").read_text()


JOB = (
    "data_job\n\n_rlnJobTypeLabel {}\n\n"
    "data_joboptions_values\n\nloop_\n_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\n"
)
NO_VALUES = JOB.format("relion.manualpick").replace("_rlnJobOptionValue #2\n", "do_startend\n")
STARTEND = '    angpix 0.885\ndo_startend {} \n fn_color "" \n'


@pytest.mark.parametrize(
    ("job", "name", "text"),
    [
        ("ManualPick/job004", "job.star", JOB.format("relion.manualpick") + STARTEND.format("Yes")),
        ("ManualPick/job004", "job.star", JOB.format("relion.manualpick") + STARTEND.format("No")),
        ("ManualPick/job004", "run.job", "job_type == 2\nPick start-end coordinates helices? == Yes\n"),
        ("AutoPick/job004", "job.star", JOB.format("relion.autopick.topaz") + "do_topaz_filaments Yes\n"),
        ("Import/job004", "job.star", JOB.format("relion.import.other") + "fn_in_other 'picks/*.star'\n"),
        ("ManualPick/job004", "job.star", NO_VALUES),
    ],
    ids=["start-end", "picks", "3.0", "topaz", "taken so by Extract", "damaged"],
)
def test_starts_and_ends_of_filaments_are_no_particles(
    call: Call, relion: Path, tmp_path: Path, job: str, name: str, text: str
) -> None:
    star(relion / job / name, text)
    if job.startswith("Import"):
        options = f"do_extract_helix Yes\ndo_extract_helical_tubes Yes\ncoords_suffix {job}/coords.star\n"
        star(relion / "Extract/job005/job.star", JOB.format("relion.extract.helical") + options)
    rows = "".join(f"{x} {y} 1\n" for x, y in [(20, 30), (100, 120), (150, 40), (220, 60)])
    labels = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnParticleSelectionType #3\n"
    picks = star(relion / job / "Movies/m0_manualpick.star", f"data_\n\nloop_\n{labels}{rows}")
    movies = relion / "MotionCorr/job002/Movies"
    _, answer, said = call("convert", picks, "-o", tmp_path / "o", "--to", "relion", "--micrographs", movies)
    are_ends = text != NO_VALUES and not text.endswith(STARTEND.format("No"))
    about = " ".join(answer["notes"]) + said
    assert ("starts and ends of 2 filaments" in about) is are_ends
    (written,) = (tmp_path / "o").rglob("m0_manualpick.star")
    columns = read_star(written).tables[0].columns
    assert list(columns.get("rlnHelicalTubeID", ())) == (["1", "1", "2", "2"] if are_ends else [])
    assert [float(x) for x in columns["rlnCoordinateX"]] == [20, 100, 150, 220]
    if name == "run.job":  # an end whose start was rejected
        call("import", tmp_path / "p", "--micrographs", movies, "--coords", picks)
        with open_project(tmp_path / "p", curator="ann") as project:
            project.decide(project.picks().index[1:], "accepted")
        _, answer, said = call("export", tmp_path / "p", "-o", tmp_path / "e", "--to", "relion")
        assert "1 filament is written with one end only" in " ".join(answer["notes"]) + said


def test_other_regions_are_another_import(call: Call, relion: Path, tmp_path: Path) -> None:
    movies = relion / "MotionCorr/job002/Movies"
    for name, side, code_is in (("a", 40, 0), ("b", 60, 0), ("c", 60, 1)):
        content = {
            "images": [{"id": 1, "file_name": "m0.png"}],
            "categories": [{"id": 1, "name": "carbon", "supercategory": "region"}],
            "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[5, 5, 5 + side, 5, 5, 5 + side]]}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        code, _, error = call("import", tmp_path / "p", "--micrographs", movies, "--coords", tmp_path / f"{name}.json")
        assert code == code_is, error
    assert "was imported before" in error
    with open_project(tmp_path / "p", curator="ann") as project:
        assert len(project.regions()) == 2


def test_relion_reads_a_tiff_from_the_last_row_up(call: Call, tmp_path: Path) -> None:
    """Three picks are too few to ask the image: the format and the kind of file say it, in and out."""
    (tmp_path / "movies").mkdir()
    tifffile.imwrite(tmp_path / "movies/m0.tif", np.zeros((HEIGHT, WIDTH), np.float32))
    source = star(tmp_path / "p.star", particles(["m0.tif"]))
    code, report, err = call(
        "convert", source, "-o", tmp_path / "own", "--to", "table", "--micrographs", tmp_path / "movies"
    )
    assert code == 0, err
    assert any("TIFF" in note for note in report["notes"])
    rows = [line.split(",") for line in (tmp_path / "own/picks.csv").read_text().splitlines()]
    assert [float(row[2]) for row in rows[1:]] == [HEIGHT - y for _, y in PLACES]
    call(
        "convert",
        tmp_path / "own/picks.csv",
        "-o",
        tmp_path / "back",
        "--to",
        "relion-particles",
        "--micrographs",
        tmp_path / "movies",
    )
    back = read_star(tmp_path / "back/particles.star").tables[-1].columns["rlnCoordinateY"]
    assert [float(text) for text in back] == [y for _, y in PLACES]


@pytest.mark.parametrize(
    ("given", "there", "suffix"),
    [
        ("m0_topazpicks.box", "m0.mrc", ""),
        ("M0.box", "m0.mrc", ""),
        (unicodedata.normalize("NFD", "grüße.box"), unicodedata.normalize("NFC", "grüße.mrc"), ""),
        ("m0.77.box", "m0.mrc", ".77"),
    ],
)
def test_names_of_coordinate_files(call: Call, tmp_path: Path, given: str, there: str, suffix: str) -> None:
    image(tmp_path / "movies" / there)
    image(tmp_path / "movies/other.mrc")
    source = star(tmp_path / given, "50 40 20 20\n")
    options = ["--suffix", suffix] if suffix else []
    code, report, err = call(
        "convert", source, "-o", tmp_path / "o", "--to", "relion", "--micrographs", tmp_path / "movies", *options
    )
    assert (code, report.get("picks")) == (0, 1), err


def test_a_number_behind_a_name_is_another_micrograph(call: Call, tmp_path: Path) -> None:
    image(tmp_path / "movies/m_1.mrc")
    source = star(tmp_path / "m_1_002.box", "50 40 20 20\n")
    code, _, err = call("convert", source, "-o", tmp_path / "o", "--to", "relion", "--micrographs", tmp_path / "movies")
    assert code == 1
    assert "m_1_002" in err


def test_folders_decide_among_equal_names(call: Call, tmp_path: Path) -> None:
    for job in ("jobA", "jobB"):
        image(tmp_path / "movies" / job / "m0.mrc")
        star(tmp_path / "picks" / job / "m0.box", f"{50 if job == 'jobA' else 90} 40 20 20\n")
    sources = sorted((tmp_path / "picks").rglob("*.box"))
    code, summary, err = call(
        "import", tmp_path / "P", "--micrographs", tmp_path / "movies", "--coords", *sources, "--decision", "accepted"
    )
    assert (code, summary["particles"]["accepted"]) == (0, 2), err
    for format in ("box", "topaz", "cryoppp"):
        code, report, err = call("export", tmp_path / "P", "-o", tmp_path / format, "--to", format)
        assert (code, report["picks"]) == (0, 2), err
    assert (tmp_path / "box/jobA/m0.box").read_text().split()[0] == "50"
    assert (tmp_path / "box/jobB/m0.box").read_text().split()[0] == "90"
    for source in (tmp_path / "topaz/particles.txt", tmp_path / "cryoppp"):
        again = tmp_path / f"again-{source.name}"
        code, summary, err = call("import", again, "--micrographs", tmp_path / "movies", "--coords", source)
        assert (code, summary["particles"]["undecided"], summary["imports"][0]["ambiguous"]) == (0, 2, {}), err


CTF_HEAD = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnDefocusU #2\n_rlnDefocusV #3\n_rlnDefocusAngle #4\n"


@pytest.mark.parametrize(
    "bad", ["-nan -nan -nan", "inf inf 0", "1000000 999999 33", "0.0 0.0 0.0", "-999 -999 0", "2.1 2.05 33"]
)
def test_bad_ctf_rows_are_left_out_and_named(call: Call, tmp_path: Path, bad: str) -> None:
    for i in range(2):
        image(tmp_path / f"movies/m{i}.mrc")
    source = star(tmp_path / "ctf.star", f"{CTF_HEAD}m0.mrc 21000 20500 33\nm1.mrc {bad}\n")
    code, summary, err = call("import", tmp_path / "P", "--micrographs", tmp_path / "movies", "--ctf", source)
    assert (code, summary["with_defocus"]) == (0, 1), err
    assert "m1.mrc" in err
    assert any("m1.mrc" in line for line in summary["ctf"]["left_out"])


CTFFIND = """\
# Output from CTFFind version 4.1.14
# Input file: m0.mrc ; Number of micrographs: 1
# Pixel size: 1.0 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 2.26 mm ; amplitude contrast: 0.07
1.0 21000.0 20500.0 33.0 0.0 0.1 4.5
"""
WARP = """\
<Movie CTFResolutionEstimate="4.5"><CTF><Param Name="Defocus" Value="2.075"/><Param Name="DefocusDelta" Value="0.05"/>
<Param Name="DefocusAngle" Value="33"/><Param Name="Voltage" Value="200"/><Param Name="Cs" Value="2.26"/></CTF></Movie>
"""
GCTF = "--kV 200 --cs 2.26\n 21000.0 20500.0 33.0 0.12  Final Values\nRES_LIMIT 4.5\n"


@pytest.mark.parametrize(("name", "text"), [("m0.txt", CTFFIND), ("m0.xml", WARP), ("m0_gctf.log", GCTF)])
def test_ctf_of_other_programs(call: Call, tmp_path: Path, name: str, text: str) -> None:
    from cryoppp_annotator.session.core.opening import open_project
    from cryoppp_annotator.session.pictures.optics import ctf_of, resolution_of

    image(tmp_path / "movies/m0.mrc")
    code, _, err = call(
        "import", tmp_path / "P", "--micrographs", tmp_path / "movies", "--ctf", star(tmp_path / name, text)
    )
    assert code == 0, err
    session = open_project(tmp_path / "P", read_only=True)
    (micrograph,) = session.micrographs
    session.close()
    ctf = ctf_of(micrograph)
    assert ctf is not None
    assert (round(ctf.defocus.u_A), round(ctf.defocus.v_A), ctf.optics.voltage_kV) == (21000, 20500, 200)
    assert resolution_of(micrograph) == 4.5


def test_an_optics_groups_voltage_counts_beside_a_rows_contrast(call: Call, tmp_path: Path) -> None:
    from cryoppp_annotator.session.pictures.optics import read_ctfs

    source = star(
        tmp_path / "c.star",
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 200\n\ndata_m\n\nloop_\n_rlnMicrographName #1\n"
        "_rlnOpticsGroup #2\n_rlnDefocusU #3\n_rlnAmplitudeContrast #4\nm0.mrc 1 21000 0.12\n",
    )
    (ctf,) = read_ctfs(source)[0].values()
    assert (ctf.optics.voltage_kV, ctf.optics.amplitude_contrast) == (200, 0.12)


def test_a_tomogram_and_lists_among_micrographs(call: Call, tmp_path: Path) -> None:
    (tmp_path / "movies").mkdir()
    with mrcfile.new(tmp_path / "movies/t.mrc") as file:
        file.set_data(np.zeros((20, 32, 32), np.float32))
    code, summary, _ = call("import", tmp_path / "P", "--micrographs", tmp_path / "movies")
    assert (code, summary["unreadable"]) == (0, ["t"])
    image(tmp_path / "other/m0.mrc")
    listed = star(tmp_path / "list.txt", "other/m0.mrc\n")
    code, summary, err = call("import", tmp_path / "Q", "--micrographs", listed)
    assert (code, summary["micrographs"]) == (0, 1), err
    text = star(tmp_path / "notes.txt", "nothing of that kind\n")
    code, _, err = call("import", tmp_path / "R", "--micrographs", text)
    assert code == 1
    assert "lists no micrographs" in err


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("m0.csv", "x,y\n60,50\n", (60, 50)),
        ("m0.txt", "60\t50\n", (60, 50)),
        ("m0_napari.csv", "index,axis-0,axis-1\n0,50,60\n", (60, 50)),
        ("m0_fiji.csv", " ,Area,Mean,X,Y\n1,0,88,60,50\n", (60, 50)),
        ("m0.coords", "60 50 20\n70 80 21\n", None),
        ("m0.json", '{"pickable_object_name":"r","points":[]}', None),
    ],
)
def test_plain_tables_are_read_or_named(call: Call, tmp_path: Path, name: str, text: str, place: Any) -> None:
    image(tmp_path / "movies/m0.mrc")
    source = star(tmp_path / name, text)
    code, report, err = call(
        "convert", source, "-o", tmp_path / "o", "--to", "relion-particles", "--micrographs", tmp_path / "movies"
    )
    if place is None:
        assert code == 1
        assert "tomogram" in err
        return
    assert code == 0, err
    assert any("taken as" in note for note in report["notes"])
    columns = read_star(tmp_path / "o/particles.star").tables[-1].columns
    assert (float(columns["rlnCoordinateX"][0]), float(columns["rlnCoordinateY"][0])) == place


def test_the_table_has_everything_and_comes_back(call: Call, tmp_path: Path) -> None:
    from cryoppp_annotator.model.curation import Decision, Reason
    from cryoppp_annotator.session.core.opening import open_plan, plan

    image(tmp_path / "movies/m0.mrc")
    session = open_plan(plan(tmp_path / "movies", tmp_path / "P"), curator="ann")
    session.go(session.micrographs[0].id)
    ids = [session.add(x, y, anyway=True).new_id for x, y in PLACES]  # type: ignore[union-attr]
    session.decide(ids[2:], Decision.REJECTED, Reason.ICE)
    session.close()
    code, _, err = call("export", tmp_path / "P", "-o", tmp_path / "t", "--to", "table", "--decision", "all")
    assert code == 0, err
    table = list(csv.DictReader((tmp_path / "t/picks.csv").open()))
    assert [row["decision"] for row in table] == ["accepted", "accepted", "rejected"]
    assert [row["reason"] for row in table] == ["", "", "ice"]
    assert {row["curator"] for row in table} == {"ann"}
    assert all(row["decided"] for row in table)
    _, report, _ = call("export", tmp_path / "P", "-o", tmp_path / "r", "--to", "relion", "--decision", "all")
    assert any("1 rejected picks" in note for note in report["notes"])
    code, summary, err = call(
        "import", tmp_path / "Q", "--micrographs", tmp_path / "movies", "--coords", tmp_path / "t/picks.csv"
    )
    assert (code, summary["particles"]) == (0, {"accepted": 2, "undecided": 0, "rejected": 1}), err


@pytest.mark.parametrize("to", ["box", "as-imported"])
def test_no_file_of_others_is_replaced_unasked(call: Call, tmp_path: Path, to: str) -> None:
    image(tmp_path / "movies/m0.mrc")
    source = star(tmp_path / "picks/m0.box", "10\t20\t40\t40\n")
    call("import", tmp_path / "P", "--micrographs", tmp_path / "movies", "--coords", source)
    again = {
        "as-imported": ("export", tmp_path / "P", "-o", tmp_path / "o", "--to", to),
        "box": ("convert", source, "-o", tmp_path / "o", "--to", to, "--micrographs", tmp_path / "movies"),
    }[to]
    assert [call(*again)[0] for _ in "ab"] == [0, 0], "its own files are replaced"
    kept = star(tmp_path / "o/m0.box", "somebody's")
    code, _, err = call(*again)
    assert (code, "--overwrite" in err, kept.read_text()) == (1, True, "somebody's")
    assert call(*again, "--overwrite")[0] == 0
    assert kept.read_text() == "10\t20\t40\t40\n"
    # one file, and the file that it was read from
    if to == "box":
        code, _, err = call("convert", source, "-o", source, "--to", to, "--micrographs", tmp_path / "movies")
    else:
        code, _, err = call("export", tmp_path / "P", "-o", source.parent, "--to", to)
    assert (code, "--overwrite" in err) == (1, True)


# --- the cases of ../shared ----------------------------------------------------------------------------------------


@pytest.fixture
def cases(data_dir: Path) -> Path:
    folder = data_dir.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    """Images called as the cases call theirs, 1024 x 768."""
    folder = tmp_path / "simulated"
    folder.mkdir()
    for i in (1, 2, 3):
        with mrcfile.new(folder / f"simulated_{i:04d}.mrc") as file:
            file.set_data(np.random.default_rng(i).normal(size=(768, 1024)).astype(np.float32))
            file.voxel_size = 2.0
    return folder


@pytest.mark.realdata
@pytest.mark.relion
def test_six_optics_groups_go_through_relion(call: Call, cases: Path, tmp_path: Path) -> None:
    source = cases / "optics-groups/in.star"
    code, _, err = call("convert", source, "-o", tmp_path / "out", "--to", "relion-particles")
    assert code == 0, err
    before, after = (read_star(path).table("optics") for path in (source, tmp_path / "out/particles.star"))
    assert before is not None
    assert after is not None
    by_name = {
        table: dict(zip(table.columns["rlnOpticsGroupName"], range(len(table)), strict=True))
        for table in (before, after)
    }
    assert set(by_name[before]) == set(by_name[after])
    for label in before.columns:
        for name, row in by_name[before].items():
            assert before.columns[label][row] == after.columns[label][by_name[after][name]], (label, name)
    subprocess.run(
        ["relion_star_handler", "--i", "out/particles.star", "--o", "back.star"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert len(read_star(tmp_path / "back.star").table("optics") or ()) == 6


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["both", "one_loop", "r1287", "warp3d", "z_block"])
def test_tomography_is_refused(call: Call, cases: Path, tmp_path: Path, name: str) -> None:
    code, _, err = call("convert", cases / f"tomography/{name}.star", "-o", tmp_path / "o", "--to", "relion")
    assert (code, "tomography" in err) == (1, True)


#: What is wrong with those that are not read; a word of the sentence.
_WRONG = {
    "j_empty": "no rows",
    "k_comma": "decimal comma",
    "l_dupcol": "twice",
    "s_latin1": "UTF-8",
    "u_semicolon": "comment begins with #",
}


@pytest.mark.realdata
def test_star_dialects_are_read_or_their_line_is_named(
    call: Call, cases: Path, simulated: Path, tmp_path: Path
) -> None:
    for source in sorted((cases / "star-dialects").glob("*.star")):
        out = tmp_path / source.stem
        code, report, err = call(
            "convert", source, "-o", out, "--to", "box", "--box-size", "60", "--micrographs", simulated
        )
        wrong = _WRONG.get(source.stem)
        if wrong is None:
            assert code == 0, (source.name, err)
            assert report["picks"] >= 1, source.name
        else:
            assert (code, wrong in err) == (1, True), (source.name, err)


@pytest.mark.realdata
def test_a_cryosparc_pair_is_one_source_and_comes_back_as_one(
    call: Call, cases: Path, simulated: Path, tmp_path: Path
) -> None:
    folder = cases / "cryosparc-pair"
    pair = [folder / "P1_J24_passthrough_particles.cs", folder / "cryosparc_P1_J24_001_particles.cs"]
    for number, sources in enumerate([pair, pair[::-1], [folder / "P1_J24_particles.csg"], pair[1:]]):
        project = tmp_path / f"P{number}"
        code, summary, err = call("import", project, "--micrographs", simulated, "--coords", *sources)
        assert (code, summary["particles"]["undecided"], len(summary["imports"])) == (0, 180, 1), err
        code, report, err = call("export", project, "-o", tmp_path / f"o{number}", "--to", "as-imported")
        assert {Path(name).name for name in report["files"]} >= {path.name for path in pair}, err
        for path in pair:
            assert (tmp_path / f"o{number}" / path.name).read_bytes() == path.read_bytes()
    # the same files called otherwise, in one folder, or apart with a group that says where
    renamed, job = tmp_path / "renamed", tmp_path / "P1/J24"
    for path, name in zip(pair, ("where.cs", "aligned.cs"), strict=True):
        renamed.mkdir(exist_ok=True)
        shutil.copy(path, renamed / name)
    for path, place in zip(pair, ("../J23", "."), strict=True):
        (job / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, job / place)
    text = (folder / "P1_J24_particles.csg").read_text()
    group = star(job / "apart.csg", text.replace(">P1_J24_pass", ">../J23/P1_J24_pass"))
    for source in (renamed, renamed / "aligned.cs", group):
        project = tmp_path / f"P-{source.stem}"
        code, summary, err = call("import", project, "--micrographs", simulated, "--coords", source)
        assert (code, summary["particles"]["undecided"]) == (0, 180), err
    assert call("export", project, "-o", tmp_path / "together", "--to", "as-imported")[0] == 0
    assert "'>P1_J24_pass" in (tmp_path / "together/apart.csg").read_text()
    assert call("import", tmp_path / "whole", "--micrographs", simulated, "--coords", folder)[1]["particles"] == {
        "accepted": 0,
        "undecided": 180,
        "rejected": 0,
    }, "the exposures beside them are passed over"
    exposures = folder / "P82_S4_accepted_live_exposures.cs"
    code, summary, err = call("import", tmp_path / "P0", "--ctf", exposures)
    assert (code, summary["with_defocus"]) == (0, 3), err


@pytest.mark.realdata
def test_a_super_resolution_movies_pixel_is_not_the_micrographs(call: Call, cases: Path, tmp_path: Path) -> None:
    source = cases / "pixel-size/superres.star"
    arguments = ("convert", source, "-o", tmp_path / "o", "--to", "cbox", "--diameter", "140")
    code, _, err = call(*arguments)
    assert (code, "movie's pixel" in err) == (1, True)
    code, _, err = call(*arguments, "--pixel-size", "1.403")
    assert code == 0, err
    (written,) = (tmp_path / "o").glob("*.cbox")
    assert "99.78" in written.read_text()


@pytest.mark.realdata
@pytest.mark.parametrize(
    "source", ["suffix/job/coords_suffix_topazpicks.star", "suffix/job", "relion4-box-list/coordinates.star"]
)
def test_lists_of_coordinate_files(call: Call, cases: Path, simulated: Path, tmp_path: Path, source: str) -> None:
    code, summary, err = call("import", tmp_path / "P", "--micrographs", simulated, "--coords", cases / source)
    assert (code, summary["particles"]["undecided"]) == (0, 180), err
