"""``passport``: planted defects are told from good micrographs, real ones are left alone."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import command_tools
import numpy as np
import pytest

from cryoppp_annotator.batch.passport import COLUMNS, star_label
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.imaging.simulate_defects import DEFECTS, simulate_defect

DATA = Path(os.environ.get("CRYOPPP_TEST_DATA", "../shared/data"))
PIXEL_A = 1.6
write_mrc = partial(command_tools.write_mrc, pixel_A=PIXEL_A)
PARAMETERS = SimulationParameters(
    size=(768, 768),
    pixel_size_A=PIXEL_A,
    n_particles=25,
    n_views=10,
    carbon_probability=0.0,
    n_contaminants=0.5,
    defocus_range_A=(12000.0, 20000.0),
    snr=0.1,
    dose_per_px=40.0,
)
OPTICS = ("--voltage", 300, "--cs", 2.7, "--amplitude-contrast", 0.1, "--diameter", 150)


def read_table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as stream:
        return {Path(row["micrograph"]).stem: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good micrographs, one of each defect, a copy of a good one, and one with dead lines."""
    folder = tmp_path_factory.mktemp("session")
    views = views_for(PARAMETERS)
    for i in range(10):
        image = simulate_micrograph(replace(PARAMETERS, seed=i), 0, views).image
        write_mrc(folder / f"good{i}.mrc", image)
    for i, kind in enumerate(DEFECTS):
        image = simulate_defect(kind, replace(PARAMETERS, seed=50 + i), 0, views)
        write_mrc(folder / f"{kind.replace(' ', '_')}.mrc", image)
    copy = simulate_micrograph(replace(PARAMETERS, seed=3), 0, views).image
    copy[100:103], copy[:, 7] = 40.0, 40.0
    write_mrc(folder / "zz_copy.mrc", copy)
    return folder


def test_defects_are_suggested_and_good_micrographs_are_not(cli, session_folder, tmp_path):
    code, said, errors = cli("passport", session_folder, "-o", tmp_path, *OPTICS, "--json")
    assert (code, errors) == (0, "")
    answer = json.loads(said)
    reasons = {Path(one["micrograph"]).stem: one["reason"] for one in answer["suggested_unusable"]}
    assert set(reasons) == {kind.replace(" ", "_") for kind in DEFECTS}
    assert "crystalline ice" in reasons["crystalline_ice"]
    assert "no Thon rings" in reasons["empty"]
    assert "carbon" in reasons["carbon_only"]
    assert "thick ice" in reasons["thick_ice"]
    table = read_table(tmp_path / "passport.csv")
    assert tuple(next(iter(table.values()))) == tuple(COLUMNS)
    assert {name: row["suggestion"] for name, row in table.items() if row["suggestion"]} == reasons
    copy = table["zz_copy"]
    assert Path(copy["duplicate_of"]).stem == "good3"
    assert (copy["dead_rows"], copy["dead_columns"]) == ("3", "1")
    assert table["good3"]["duplicate_of"] == ""
    for i in range(10):
        good = table[f"good{i}"]
        assert 11000.0 < float(good["defocus_u_A"]) < 21000.0
        assert float(good["fit_resolution_A"]) < 8.0
        assert 0.0 < float(good["visibility"]) < 1.0
        assert (good["dead_rows"], good["padding"]) == ("0", "0.0000")
    (star,) = read_star(tmp_path / "passport.star").tables
    assert star.block == "micrographs"
    for name in COLUMNS:
        absent = "-999" if COLUMNS[name] else "None"
        assert star.columns[star_label(name)] == [row[name] or absent for row in table.values()], name
    assert star_label("ice_ring") == "cryopppIceRing"
    again = json.loads(cli("passport", session_folder, "-o", tmp_path, *OPTICS, "--json")[1])
    assert (again["measured_now"], again["kept"]) == (0, 17)
    assert again["micrographs"] == answer["micrographs"]


def test_padding_slope_and_broken_pixels_are_measured(cli, tmp_path):
    image = simulate_micrograph(PARAMETERS, 1, views_for(PARAMETERS)).image
    slope = image + np.linspace(-20.0, 20.0, 768, dtype=np.float32)
    padded = np.pad(slope, 32, mode="edge")
    padded.ravel()[:: 768 * 9] = 1e5
    write_mrc(tmp_path / "in/a.mrc", padded)
    write_mrc(tmp_path / "in/b.mrc", image)
    assert cli("passport", tmp_path / "in", "-o", tmp_path / "out", *OPTICS)[0] == 0
    table = read_table(tmp_path / "out/passport.csv")
    assert float(table["a"]["padding"]) == pytest.approx(1.0 - (768 / 832) ** 2, abs=0.006)
    assert float(table["a"]["grey_gradient"]) > 2.0 > float(table["b"]["grey_gradient"])
    assert float(table["a"]["grey_outliers"]) > float(table["b"]["grey_outliers"]) == 0.0


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--diameter", "wide"), "is no diameter"), (("--diameter", "0.2"), "makes no sense")],
)
def test_nonsense_is_refused(cli, session_folder, tmp_path, words, said):
    code, _, errors = cli("passport", session_folder / "good0.mrc", "-o", tmp_path / "out", *words)
    assert code in (1, 2)
    assert said in errors


@pytest.mark.realdata
def test_no_real_micrograph_that_experts_labelled_is_suggested(cli, tmp_path):
    folders = ("apoferritin_10146/micrographs", "cryoppp/10017", "cryoppp_lite/10017")
    for i, folder in enumerate(folders):
        words = ("--pixel-size", 1.77, *OPTICS) if "10017" in folder else OPTICS
        _, said, _ = cli("passport", DATA / folder, "-o", tmp_path / str(i), *words, "--json")
        answer = json.loads(said)
        assert answer["failed"] == []
        assert len(answer["micrographs"]) == (4, 2, 5)[i]
        assert answer["suggested_unusable"] == []


@pytest.mark.parametrize("command", ["passport", "ctf"])
@pytest.mark.parametrize("nonsense", [{}, [], "x", {"reason": "", "defocus_u_A": "x"}, {"reason": "", "thumbnail": 5}])
def test_a_result_of_an_earlier_start_that_makes_no_sense_is_made_again(cli, command, nonsense, tmp_path):
    write_mrc(tmp_path / "in/a.mrc", np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32))
    words = (command, tmp_path / "in", "-o", tmp_path, "--json")
    before = json.loads(cli(*words)[1])
    record = tmp_path / f"{command}.jsonl"
    line = {**json.loads(record.read_text()), "result": nonsense}
    record.write_text(f"{'[' * 100_000}\n{json.dumps(line)}\n")
    answer = json.loads(cli(*words)[1])
    assert answer["micrographs"] == before["micrographs"]
    assert answer["kept"] == 0
