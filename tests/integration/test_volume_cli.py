"""``verdict`` and ``volume`` on planted particles; RELION makes the same map of the poses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "reconstruct"))
from planted import BOX, PIXEL_A, plant

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.formats.image.volumes import read_volume, write_volume
from cryoppp_annotator.formats.table.star import format_star
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.reconstruct import fsc, poses
from cryoppp_annotator.reconstruct.fourier_map import centred_fft, sphere


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("planted")
    planted = plant(260, snr=0.6)
    write_stack(folder / "boxes.mrcs", planted.stack.images, PIXEL_A)
    write_volume(folder / "map.mrc", planted.volume, PIXEL_A)
    optics = {
        "rlnOpticsGroup": ["1"],
        "rlnVoltage": ["300"],
        "rlnSphericalAberration": ["2.7"],
        "rlnAmplitudeContrast": ["0.1"],
        "rlnImagePixelSize": [f"{PIXEL_A}"],
        "rlnImageSize": [f"{BOX}"],
        "rlnImageDimensionality": ["2"],
    }
    table = {"rlnImageName": [f"{i:06d}@{folder / 'boxes.mrcs'}" for i in range(1, 261)], "rlnOpticsGroup": ["1"] * 260}
    for label, column in zip(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"), planted.stack.defocus.T, strict=True):
        table[label] = [f"{value:.1f}" for value in column]
    (folder / "in.star").write_text(format_star([("optics", optics), ("particles", table)], version="30001"))
    return folder, planted


def say(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert run([str(word) for word in words]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_verdict_writes_poses_and_odds(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, planted = made
    answer = say(capsys, "verdict", folder / "in.star", "--map", folder / "map.mrc", "-o", folder / "v", "--json")
    assert answer["picks"] == 260
    assert answer["particles"] == pytest.approx(planted.particle.sum(), rel=0.1)
    assert answer["map_scale"] == 1.0
    assert answer["lost_views"] == []
    table = read_star(folder / "v" / "particles.star").table("particles")
    assert table is not None
    columns = {label: np.array(column, float) for label, column in table.columns.items() if "Image" not in label}
    angles = np.stack([columns[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")], axis=1)
    right = planted.particle & (columns["cryopppPoseErrorDeg"] < 10)
    assert np.median(poses.distance_deg(poses.to_matrix(angles), planted.matrices)[right]) < 5
    # an origin is what the image must be moved by: the centre with the opposite sign
    assert np.median(np.abs(columns["rlnOriginXAngst"] / PIXEL_A + planted.shifts[:, 0])[right]) < 0.4
    assert np.median(np.abs(columns["rlnOriginYAngst"] / PIXEL_A + planted.shifts[:, 1])[right]) < 0.4
    assert ((columns["cryopppVerdict"] > 0) == planted.particle).mean() > 0.9


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ball = sphere(BOX, BOX / 2 - 3, 4.0)
    return fsc.correlate(centred_fft(a * ball), centred_fft(b * ball))


@pytest.fixture(scope="module")
def volume(made: Any) -> dict[str, Any]:
    folder, _ = made
    words = [sys.executable, "-m", "cryoppp_annotator", "volume", folder / "in.star", "--map", folder / "map.mrc"]
    words += ["--lowpass", 50, "-o", folder / "vol", "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(list(map(str, words)), check=True, capture_output=True).stdout)
    return answer


def test_volume_writes_halves_curve_and_poses(made: Any, volume: dict[str, Any]) -> None:
    folder, planted = made
    assert {"half1.mrc", "half2.mrc", "map.mrc", "fsc.csv", "particles.star"} <= {Path(f).name for f in volume["files"]}
    assert volume["resolution_A"] < 45
    assert volume["fsc_outside_reference"] > 0.2
    assert volume["verdict"].startswith("structure to ")
    mean, voxel = read_volume(folder / "vol" / "map.mrc")
    assert voxel == pytest.approx(PIXEL_A)
    assert agreement(np.asarray(mean), planted.volume)[1:7].min() > 0.7
    lines = (folder / "vol" / "fsc.csv").read_text().splitlines()
    assert lines[0] == "shell,period_A,fsc,fsc_unmasked,fsc_masked,fsc_random"
    assert len(lines) == BOX // 2
    table = read_star(folder / "vol" / "particles.star").table("particles")
    assert table is not None
    assert len(table.columns["rlnImageName"]) == volume["used"]
    assert set(table.columns["rlnRandomSubset"]) == {"1", "2"}


@pytest.mark.relion
def test_relion_makes_the_same_map_of_the_poses(made: Any, volume: dict[str, Any]) -> None:
    folder, planted = made
    command = ["relion_reconstruct", "--i", folder / "vol" / "particles.star", "--o", folder / "theirs.mrc", "--ctf"]
    subprocess.run([*map(str, command), "--angpix", str(PIXEL_A)], check=True, capture_output=True)
    ours, theirs = (np.asarray(read_volume(folder / name)[0]) for name in ("vol/map.mrc", "theirs.mrc"))
    truth = planted.volume
    shells = slice(1, int(BOX * PIXEL_A / volume["resolution_A"]) + 1)
    curve, near, as_near = (agreement(*pair)[shells] for pair in ((ours, theirs), (ours, truth), (theirs, truth)))
    assert curve.mean() > 0.97
    assert curve[near > 0.5].min() > 0.9
    # where little is known of some 200 particles, each program fills gaps in its own way: ours is no worse
    assert (near > as_near - 0.02).all()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["verdict", "boxes.mrcs", "--map", "boxes.mrcs", "-o", "x", "--symmetry", "Q7"], "symmetry"),
        (["verdict", "in.star", "--map", "nowhere.mrc", "-o", "x"], "nowhere.mrc"),
        (["verdict", "in.star", "--map", "in.star", "-o", "x"], "in.star"),
        (["volume", "in.star", "boxes.mrcs", "--map", "map.mrc", "-o", "x"], "one stack"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    made: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], problem: str
) -> None:
    monkeypatch.chdir(made[0])
    assert run(words) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert problem in error[0]
