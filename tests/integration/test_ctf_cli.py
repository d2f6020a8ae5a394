"""``ctf``, as a person uses it."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import command_tools
import numpy as np
import pytest
from PIL import Image

from cryoppp_annotator.batch.ctf import RECORD, STAR, fit_all
from cryoppp_annotator.batch.ctf_options import CtfOptions
from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.imaging.ctf import Defocus, Optics
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.session.pictures.optics import read_ctfs

PIXEL_A = 2.0
write_mrc = partial(command_tools.write_mrc, pixel_A=PIXEL_A)
PARAMETERS = SimulationParameters(
    size=(768, 768), pixel_size_A=PIXEL_A, n_particles=30, n_views=10, carbon_probability=1.0, astigmatism_A=600.0
)
OPTICS = ("--voltage", 300, "--cs", 2.7, "--amplitude-contrast", 0.1)


@pytest.fixture(scope="session")
def simulated() -> list[tuple[np.ndarray, Defocus]]:
    views = views_for(PARAMETERS)
    scenes = [simulate_micrograph(PARAMETERS, i, views) for i in range(2)]
    return [(scene.image, scene.defocus) for scene in scenes if scene.defocus is not None]


@pytest.fixture
def movies(tmp_path: Path, simulated) -> Path:
    for i, (image, _) in enumerate(simulated):
        write_mrc(tmp_path / f"movies/m{i}.mrc", image)
    noise = np.random.default_rng(0).normal(30.0, 5.0, (768, 768)).astype(np.float32)
    write_mrc(tmp_path / "movies/noise.mrc", noise)
    return tmp_path / "movies"


def test_the_star_holds_the_true_defocus_and_names_what_has_none(cli, movies, simulated, tmp_path):
    out = tmp_path / "out"
    code, said, errors = cli("ctf", movies, "-o", out, *OPTICS, "--json")
    answer = json.loads(said)
    assert code == 1  # one has no answer
    assert [Path(one["micrograph"]).name for one in answer["failed"]] == ["noise.mrc"]
    assert "no Thon rings" in answer["failed"][0]["reason"]
    assert errors.startswith("failed: ")
    assert answer["assumed"] == []
    by_name = {Path(name).stem: ctf for name, ctf in read_ctfs(out / STAR)[0].items()}
    assert sorted(by_name) == ["m0", "m1"]
    for i, (_, truth) in enumerate(simulated):
        ctf = by_name[f"m{i}"]
        assert (ctf.defocus.u_A + ctf.defocus.v_A) / 2 == pytest.approx((truth.u_A + truth.v_A) / 2, abs=60.0)
        assert ctf.optics.cs_mm == 2.7
        one = answer["micrographs"][i]
        assert one["defocus_u_A"] == pytest.approx(ctf.defocus.u_A, abs=0.01)
        assert 2 * PIXEL_A <= one["resolution_A"] < 8.0
    for name in ("m0", "m1", "noise"):
        with Image.open(out / f"{name}_ctf.png") as picture:
            assert np.asarray(picture).std() > 10


def test_what_nobody_says_is_said_to_be_assumed(cli, movies, tmp_path):
    code, said, errors = cli("ctf", movies / "m0.mrc", "-o", tmp_path / "out", "--cs", 2.7)
    assert code == 0
    assert said.startswith("1 of 1 micrographs have a defocus")
    assert "note: a voltage of 300 kV was assumed, because no file says it" in errors
    assert "spherical" not in errors
    (movies / "m0.mrc.mdoc").write_text("PixelSpacing = 2\nVoltage = 200\n")
    _, _, errors = cli("ctf", movies / "m0.mrc", "-o", tmp_path / "out", "--cs", 2.7)
    assert "voltage" not in errors
    (ctf,) = read_ctfs(tmp_path / "out" / STAR)[0].values()
    assert ctf.optics.voltage_kV == 200.0


def write_exposures(path: Path, names: list[str], **values: float) -> Path:
    """What cryoSPARC's patch motion correction, without a CTF, says of exposures."""
    fields = [("uid", "<u8"), ("micrograph_blob/path", "S64"), *((name.replace("__", "/"), "<f4") for name in values)]
    rows = [(i + 1, name.encode(), *values.values()) for i, name in enumerate(names)]
    with path.open("wb") as stream:
        np.save(stream, np.array(rows, np.dtype(fields)))
    return path


def test_the_microscope_is_taken_from_cryosparc_and_relion(cli, movies, tmp_path):
    said = {"mscope_params__accel_kv": 200.0, "mscope_params__cs_mm": 1.4, "micrograph_blob__psize_A": 1.9}
    names = [f"J7/motioncorrected/000000000000000000001_m{i}.mrc" for i in range(2)]
    exposures = write_exposures(tmp_path / "J7_micrographs.cs", names, **said)
    code, _, errors = cli("ctf", movies / "m0.mrc", "-o", tmp_path / "a", "--optics", exposures, "--voltage", 300)
    assert code == 0
    assert "an amplitude contrast of 0.1 was assumed" in errors
    assert "J7_micrographs.cs says 1.9 Å/px where a header says 2" in errors
    assert errors.count("assumed") == 1
    (ctf,) = read_ctfs(tmp_path / "a" / STAR)[0].values()
    assert (ctf.optics.voltage_kV, ctf.optics.cs_mm) == (300.0, 1.4), "what a person says wins"
    (tmp_path / "micrographs.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
        "1 200 2.0 0.07\n\ndata_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\nmovies/m1.mrc 1\n"
    )
    code, _, errors = cli("ctf", tmp_path / "micrographs.star", "-o", tmp_path / "b")
    assert (code, errors) == (0, ""), "nothing is assumed"
    (ctf,) = read_ctfs(tmp_path / "b" / STAR)[0].values()
    assert ctf.optics == Optics(200.0, 2.0, 0.07)
    other = write_exposures(tmp_path / "other.cs", ["S1/elsewhere.mrc"], **said)
    code, _, errors = cli("ctf", movies / "m0.mrc", "-o", tmp_path / "c", "--optics", other)
    assert (code, "other.cs: names none of the micrographs" in errors) == (1, True)
    bare = write_exposures(tmp_path / "bare.cs", names)
    code, _, errors = cli("ctf", movies / "m0.mrc", "-o", tmp_path / "c", "--optics", bare)
    assert (code, "says nothing of the microscope" in errors) == (1, True)


def test_a_second_start_does_only_what_is_missing_or_changed(cli, movies, tmp_path):
    out, words = tmp_path / "out", (*OPTICS, "--json")
    assert json.loads(cli("ctf", movies, "-o", out, *words)[1])["fitted_now"] == 3
    first = (out / STAR).read_text()
    with (out / RECORD).open("a") as record:
        record.write('{"name": "m1", "ke')  # cut off by a power failure
    answer = json.loads(cli("ctf", movies, "-o", out, *words)[1])
    assert (answer["fitted_now"], answer["kept"]) == (0, 3)
    assert [Path(one["micrograph"]).name for one in answer["failed"]] == ["noise.mrc"]
    assert (out / STAR).read_text() == first
    (out / "m0_ctf.png").unlink()
    assert json.loads(cli("ctf", movies, "-o", out, *words)[1])["fitted_now"] == 1
    assert json.loads(cli("ctf", movies, "-o", out, *words[:-1], "--pixel-size", 1.9, "--json")[1])["fitted_now"] == 3


def test_what_was_finished_before_a_cancel_is_kept(movies, tmp_path):
    out, options = tmp_path / "out", CtfOptions(300.0, 2.7, 0.1)

    def cancelled() -> bool:
        return (out / RECORD).is_file()

    with pytest.raises(Cancelled):
        fit_all([movies], out, options, context=JobContext(is_cancelled=cancelled))
    report = fit_all([movies], out, options)
    assert report.n_kept >= 1
    assert report.n_kept + report.n_done == 3
    assert len(report.rows) == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--voltage", 5), 1, "a voltage of 5 kV makes no sense"),
        (("--pixel-size", 0), 1, "a pixel size of 0 Å makes no sense"),
        (("--amplitude-contrast", 2), 1, "an amplitude contrast of 2 makes no sense"),
    ],
)
def test_nonsense_is_refused(cli, movies, tmp_path, options, code, words):
    got, _, errors = cli("ctf", movies, "-o", tmp_path / "out", *options)
    assert got == code
    assert words in errors
    assert not (tmp_path / "out").exists()


def test_a_file_without_pixel_size_or_content_is_reported_and_the_others_finish(cli, movies, simulated, tmp_path):
    write_mrc(movies / "bare.mrc", simulated[0][0], pixel_A=0.0)
    (movies / "broken.mrc").write_text("hello")
    code, said, _ = cli("ctf", movies, "-o", tmp_path / "out", *OPTICS, "--json")
    answer = json.loads(said)
    failed = {Path(one["micrograph"]).name: one["reason"] for one in answer["failed"]}
    assert code == 1
    assert set(failed) == {"bare.mrc", "broken.mrc", "noise.mrc"}
    assert "--pixel-size" in failed["bare.mrc"]
    assert len(answer["micrographs"]) == 2


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_preprocess") is None, reason="needs RELION")
def test_relion_extracts_and_corrects_with_our_star(cli, movies, tmp_path, monkeypatch):
    monkeypatch.chdir(movies)
    cli("ctf", "m0.mrc", "m1.mrc", "-o", "ctf", *OPTICS)
    (movies / "coords").mkdir()
    for name in ("m0", "m1"):
        rows = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n300 400\n500 350\n"
        (movies / f"coords/{name}_p.star").write_text(rows)
    command = ["relion_preprocess", "--i", f"ctf/{STAR}", "--coord_dir", "coords/", "--coord_suffix", "_p.star"]
    command += ["--part_star", "Extract/particles.star", "--part_dir", "Extract/", "--extract", "--extract_size", "96"]
    command += ["--norm", "--bg_radius", "40", "--premultiply_ctf"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    particles, _ = read_ctfs(movies / "Extract/particles.star")
    ours, _ = read_ctfs(movies / "ctf" / STAR)
    assert {Path(n).stem for n in particles} == {"m0", "m1"}
    for name, ctf in ours.items():
        assert particles[name].defocus.u_A == pytest.approx(ctf.defocus.u_A, abs=0.1)
        assert particles[name].optics == ctf.optics
