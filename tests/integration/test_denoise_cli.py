"""``denoise`` and the new parts of ``import``, as a person uses them."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import command_tools
import mrcfile
import numpy as np
import pytest

from cryoppp_annotator import extensions
from cryoppp_annotator.batch.denoise import RECORD, DenoiseOptions, denoise_all
from cryoppp_annotator.errors import Cancelled, EngineError, Refused
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.imaging.wiener import AUTO
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.session.core.opening import open_project
from cryoppp_annotator.session.pictures.optics import ctf_of
from cryoppp_annotator.testing import planted

PIXEL_A = 2.5
write_mrc = partial(command_tools.write_mrc, pixel_A=PIXEL_A)


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    for seed in range(3):
        write_mrc(tmp_path / f"movies/m{seed}.mrc", planted(seed=seed)[0])
    return tmp_path / "movies"


def test_pictures_are_written_with_their_pixel_size_and_in_place(cli, movies, tmp_path):
    out = tmp_path / "out"
    code, said, errors = cli("denoise", movies, "-o", out, "--bin", 2, "--diameter", 75)
    assert (code, errors) == (0, "")
    assert said.startswith(f"3 micrographs denoised in {out}")
    image = planted(seed=1)[0]
    assert mrcfile.validate(out / "m1.mrc")
    with mrcfile.open(out / "m1.mrc") as file:
        assert file.voxel_size.x == file.voxel_size.y == pytest.approx(2 * PIXEL_A)
        assert file.header.mode == 2
        assert tuple(file.header.origin.tolist()) == (0.0, 0.0, 0.0)
        pixels = np.array(file.data)
    expected = AUTO.denoise(
        image, pixel_size_A=PIXEL_A, diameter_A=75.0, max_side=max(image.shape) // 2, context=JobContext()
    )
    assert pixels.shape == tuple((side + 1) // 2 for side in image.shape)
    np.testing.assert_allclose(pixels, expected.pixels, atol=1e-4)


def test_a_second_start_does_only_what_is_missing_or_changed(cli, movies, tmp_path):
    out = tmp_path / "out"
    assert json.loads(cli("denoise", movies, "-o", out, "--json")[1])["denoised_now"] == 3
    answer = json.loads(cli("denoise", movies, "-o", out, "--json")[1])
    assert (answer["denoised_now"], answer["kept"], answer["micrographs"]) == (0, 3, 3)
    (out / "m0.mrc").unlink()
    write_mrc(movies / "m1.mrc", planted(seed=9)[0])
    with (out / RECORD).open("a") as record:
        record.write('{"picture": "m2.m')  # cut off by a power failure
    assert json.loads(cli("denoise", movies, "-o", out, "--json")[1])["denoised_now"] == 2
    answer = json.loads(cli("denoise", movies, "-o", out, "--method", "band-pass", "--json")[1])
    assert (answer["method"], answer["denoised_now"]) == ("band-pass", 3)


def test_another_defocus_makes_anew_only_what_uses_it(cli, movies, tmp_path):
    def now(method: str, defocus: int) -> int:
        star = tmp_path / "ctf.star"
        star.write_text(
            "data_micrographs\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnDefocusV\n"
            f"m0.mrc {defocus} {defocus}\nm1.mrc {defocus} {defocus}\n"
        )
        words = ("--method", method, "--ctf", star, "--diameter", 75, "--json")
        return json.loads(cli("denoise", movies, "-o", tmp_path / method, *words)[1])["denoised_now"]

    assert [now("auto", 20000), now("auto", 20000), now("auto", 15000)] == [3, 0, 2]
    assert [now("band-pass", 20000), now("band-pass", 15000)] == [3, 0]


def test_what_is_odd_about_the_defocus_values_is_said(cli, movies, tmp_path):
    star = tmp_path / "ctf.star"
    star.write_text(
        "data_micrographs\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnDefocusV\n"
        "m0.mrc 10000 10000\nm0.mrc 30000 30000\nm1.mrc -20000 -20000\nm2.mrc 2.1 2.1\n"
    )
    code, said, errors = cli("denoise", movies, "-o", tmp_path / "out", "--ctf", star, "--diameter", 75, "--json")
    assert code == 0
    notes = json.loads(said)["notes"]
    assert notes == [
        "left out: m2.mrc: defocus of 2.1 A makes no sense: it looks like micrometres; multiply by 10,000",
        "ctf.star: rows from 1.00 to 3.00 um were averaged for m0.mrc",
        "ctf.star: m1.mrc with a negative defocus (overfocus; underfocus is positive)",
        "ctf.star has no defocus of m2.mrc: denoised without",
    ]
    assert [line.removeprefix("note: ") for line in errors.splitlines()] == notes
    answer = json.loads(cli("import", tmp_path / "p", "--micrographs", movies, "--ctf", star, "--json")[1])
    assert "rows from 1.00 to 3.00 um were averaged for m0.mrc" in answer["ctf"]["assumed"]


def test_one_that_fails_is_reported_and_the_others_finish(cli, movies, tmp_path):
    (movies / "broken.mrc").write_text("hello")
    code, said, errors = cli("denoise", movies, "-o", tmp_path / "out")
    assert code == 1
    assert said.startswith("3 micrographs denoised")
    assert errors.startswith("failed: ")
    assert "broken.mrc" in errors
    assert sorted(p.name for p in (tmp_path / "out").glob("*.mrc")) == ["m0.mrc", "m1.mrc", "m2.mrc"]


def test_the_numbers_of_a_method(cli, movies, tmp_path):
    code, said, _ = cli("denoise", "--list-methods")
    assert code == 0
    for word in ("auto ", "band-pass", "--set shortest_A=VALUE", "nlm", "tv"):
        assert word in said
    cli("denoise", movies / "m0.mrc", "-o", tmp_path / "a", "--method", "band-pass", "--set", "shortest_A=60")
    image = planted(seed=0)[0]
    expected = BAND_PASS.denoise(
        image,
        pixel_size_A=PIXEL_A,
        diameter_A=None,
        max_side=max(image.shape),
        context=JobContext(),
        parameters={"shortest_A": 60.0},
    )
    np.testing.assert_allclose(mrcfile.read(tmp_path / "a/m0.mrc"), expected.pixels, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--method", "magic"), 1, "there is no denoiser 'magic'; choose one of auto, band-pass"),
        (("--set", "speed=3"), 1, "auto has no parameter 'speed'; it has none"),
        (("--method", "tv", "--set", "strength=-1"), 1, "strength=-1.0 is not between 0.1 and 5"),
        (("--set", "strength"), 2, "is not NAME=NUMBER"),
        (("--bin", "0.5"), 1, "a binning of 0.5 makes no sense"),
        (("--bin", "nan"), 1, "makes no sense"),
        (("--pixel-size", "-2"), 1, "a size of -2 Å makes no sense"),
        (("--ctf", "nowhere.star"), 1, "nowhere.star: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(cli, movies, tmp_path, options, code, said):
    assert cli("denoise", movies, "-o", tmp_path / "out", *options)[0] == code
    assert said in cli("denoise", movies, "-o", tmp_path / "out", *options)[2]
    assert not (tmp_path / "out").exists()


def test_micrographs_are_never_overwritten(cli, movies):
    before = (movies / "m0.mrc").read_bytes()
    code, _, errors = cli("denoise", movies, "-o", movies)
    assert code == 1
    assert "would be overwritten by its own picture" in errors
    assert (movies / "m0.mrc").read_bytes() == before


def test_a_plugin_that_breaks_costs_its_micrograph(movies, tmp_path, monkeypatch):
    class Plain:
        """As a plugin may write it: no parameters, no CTF."""

        name, title = "plain", "Plain"

        def denoise(self, image, *, pixel_size_A, diameter_A, max_side, context):
            if image[0, 0] == planted(seed=1)[0][0, 0]:
                raise EngineError("does not like this one")
            return BAND_PASS.denoise(
                image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, max_side=max_side, context=context
            )

    monkeypatch.setitem(extensions.find(extensions.DENOISERS).items, "plain", Plain())
    report = denoise_all([movies], tmp_path / "out", DenoiseOptions("plain"))
    assert (report.n_done, list(report.failed.values())) == (2, ["does not like this one"])


def test_a_cancel_is_heard_and_leaves_whole_files(movies, tmp_path, monkeypatch):
    begun, cancelled = threading.Event(), threading.Event()

    class Slow:
        name, title = "slow", "Slow"

        def denoise(self, image: np.ndarray, *, context: JobContext, **words: Any) -> Any:
            begun.set()
            while True:
                context.check()
                cancelled.wait(0.01)

    monkeypatch.setitem(extensions.find(extensions.DENOISERS).items, "slow", Slow())
    context = JobContext(is_cancelled=cancelled.is_set)
    timer = threading.Thread(target=lambda: begun.wait(120) and cancelled.set())
    timer.start()
    with pytest.raises(Cancelled):
        denoise_all([movies], tmp_path / "out", DenoiseOptions("slow"), context=context)
    timer.join()
    assert list((tmp_path / "out").iterdir()) == []


def test_two_of_one_name_are_refused(movies, tmp_path):
    write_mrc(tmp_path / "other/m0.mrc", planted(seed=0)[0])
    with pytest.raises(Refused, match="would be written into one file"):
        denoise_all([movies, tmp_path / "other"], tmp_path / "out", DenoiseOptions())


def test_import_takes_the_defocus_and_the_pictures_in(cli, movies, tmp_path):
    star = tmp_path / "micrographs_ctf.star"
    star.write_text(
        "data_micrographs\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnDefocusV\n"
        "x/m0.mrc 20000 19000\nm2.mrc 9000 8000\n"
    )
    cli("denoise", movies, "-o", tmp_path / "pictures", "--bin", 4)
    code, said, _ = cli(
        "import", tmp_path / "p", "--micrographs", movies, "--ctf", star, "--pictures", tmp_path / "pictures", "--json"
    )
    assert code == 0
    answer = json.loads(said)
    assert (answer["with_defocus"], answer["with_picture"]) == (2, 3)
    session = open_project(tmp_path / "p")
    assert ctf_of(session.micrographs[0]).defocus.u_A == 20000
    assert json.loads(session.micrographs[1].picture)["scale"] == 4
    session.close()
    # a mistake in one part leaves all as it was
    star.write_text("data_\nloop_\n_rlnMicrographName\n_rlnDefocusU\nm0.mrc 1000\n")
    code, _, errors = cli("import", tmp_path / "p", "--ctf", star, "--pictures", tmp_path / "nowhere")
    assert code == 1
    assert "does not exist" in errors
    session = open_project(tmp_path / "p")
    assert ctf_of(session.micrographs[0]).defocus.u_A == 20000
    session.close()
