"""Against the real program: topaz-em in an environment of its own, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from cryoppp_annotator_topaz.program import read_picks, topaz

from cryoppp_annotator.api import EngineError, JobContext
from cryoppp_annotator.extensions import denoisers, engines, pickers
from cryoppp_annotator.testing import check_picker, planted

HERE = topaz() is not None
needs_topaz = pytest.mark.skipif(not HERE, reason="Topaz is not here (cryoppp-annotator-topaz install, CRYOPPP_TOPAZ)")
#: The smallest detector, on images on which a disc is as large as what it was trained on.
QUICK = {"model": "resnet8_u32", "downsample": 2}


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "cryoppp_annotator_topaz.commands", *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, check=False)


@pytest.mark.topaz
@needs_topaz
def test_the_picker_keeps_to_the_rules() -> None:
    check_picker(pickers()["topaz"], QUICK)


@pytest.mark.topaz
@needs_topaz
def test_the_denoiser_makes_a_clearer_picture_of_the_size_asked_for() -> None:
    image, x, y = planted(n_per_side=6)
    image = image.astype(np.float64)
    image[3, 7] = np.nan
    before = image.copy()
    # 480 x 504 px into 252
    picture = denoisers()["topaz"].denoise(image, pixel_size_A=2.0, diameter_A=60.0, max_side=252, context=JobContext())
    assert np.array_equal(image, before, equal_nan=True)
    assert picture.pixels.shape == (240, 252)
    assert picture.step == (2.0, 2.0)
    assert picture.pixels.dtype == np.float32
    assert np.isfinite(picture.pixels).all()
    # dark stays dark, and stands out more than in the raw image (where it is one standard deviation)
    at = picture.pixels[(y / 2).round().astype(int), (x / 2).round().astype(int)]
    assert (np.median(picture.pixels) - np.median(at)) / picture.pixels.std() > 1.2
    assert picture.limits[0] < picture.limits[1]


@pytest.mark.topaz
@needs_topaz
def test_training_on_picks_gives_a_model_that_the_picker_uses(tmp_path: Path) -> None:
    # large discs, which Topaz sees reduced
    image, x, y = planted(n_per_side=3, spacing=120, diameter=56)
    (tmp_path / "micrographs").mkdir()
    with mrcfile.new(tmp_path / "micrographs" / "one.mrc") as file:
        file.set_data(image)
    rows = [f"one\t{a:.0f}\t{b:.0f}" for a, b in zip(x, y, strict=True)]
    (tmp_path / "picks.txt").write_text("\n".join(["image_name\tx_coord\ty_coord", *rows]) + "\n")
    ran = command(
        "train",
        tmp_path / "picks.txt",
        "--micrographs",
        tmp_path / "micrographs",
        "-o",
        tmp_path / "mine.sav",
        "--diameter",
        "168",
        "--pixel-size",
        "2",
        "--epochs",
        "1",
        "--epoch-size",
        "1",
    )
    assert ran.returncode == 0, ran.stderr
    candidates = pickers()["topaz"].propose(
        image,
        pixel_size_A=2.0,
        diameter_A=168.0,
        parameters={"model": str(tmp_path / "mine.sav"), "threshold": -20},
        context=JobContext(),
    )
    assert len(candidates) > 0


@pytest.mark.topaz
@needs_topaz
def test_doctor_gets_the_version() -> None:
    status = engines()["topaz"].status()
    assert status.found
    assert status.version[0].isdigit()


def test_without_topaz_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CRYOPPP_TOPAZ", str(tmp_path))
    status = engines()["topaz"].status()
    assert not status.found
    assert "cryoppp-annotator-topaz install" in status.mend
    image, _, _ = planted()
    with pytest.raises(EngineError, match=r"Topaz was not found; .*cryoppp-annotator-topaz install"):
        pickers()["topaz"].propose(image, pixel_size_A=2.0, diameter_A=60.0, parameters={}, context=JobContext())


def test_an_environment_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with a torchvision of another build: the program is there and dies."""
    broken = tmp_path / "topaz"
    broken.write_text("#!/bin/sh\necho 'RuntimeError: operator torchvision::nms does not exist' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CRYOPPP_TOPAZ", os.fspath(broken))
    status = engines()["topaz"].status()
    assert not status.found
    assert "torchvision::nms" in status.problem


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    image, _, _ = planted()
    for parameters, said in (
        ({"treshold": 1}, "no parameter 'treshold'"),
        ({"threshold": "high"}, "not a number"),
        ({"model": tmp_path / "mine.sav"}, "neither a file nor one of"),
    ):
        with pytest.raises(EngineError, match=said):
            pickers()["topaz"].propose(
                image, pixel_size_A=2.0, diameter_A=60.0, parameters=parameters, context=JobContext()
            )
    with pytest.raises(EngineError, match="cannot be read"):
        read_picks(["nonsense"])
    odd = tmp_path / "picks.star"
    odd.write_text("data_\n")
    for picks, said in ((odd, "is no Topaz table"), (tmp_path / "none.txt", "cannot be read")):
        ran = command(
            "train", picks, "--micrographs", tmp_path, "-o", tmp_path / "m", "--diameter", 60, "--pixel-size", 2
        )
        assert ran.returncode == 1
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr
