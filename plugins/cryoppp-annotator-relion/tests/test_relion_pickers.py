"""Against the real program: Debian's package relion."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.api import EngineError, JobContext
from cryoppp_annotator.extensions import engines, pickers
from cryoppp_annotator.testing import check_picker, planted

pytestmark = pytest.mark.relion


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Two white discs, as class averages are."""
    rows, columns = np.indices((48, 48)) - 24
    disc = (np.hypot(rows, columns) <= 15).astype(np.float32)
    path = tmp_path / "averages.mrcs"
    with mrcfile.new(path) as file:
        file.set_data(np.stack([disc, np.roll(disc, 1, axis=0)]))
        file.set_image_stack()
        file.voxel_size = 2.0
    return path


def test_log_keeps_to_the_rules() -> None:
    check_picker(pickers()["relion-log"])


def test_templates_keep_to_the_rules(references: Path) -> None:
    check_picker(pickers()["relion-template"], {"templates": str(references)})


def test_bright_particles_are_found_when_asked_for() -> None:
    image, x, y = planted()
    for name in ("dark", "bright"):
        candidates = pickers()["relion-log"].propose(
            -image, pixel_size_A=2.0, diameter_A=60.0, parameters={"polarity": name}, context=JobContext()
        )
        near = [np.hypot(candidates.x - a, candidates.y - b).min(initial=np.inf) < 9 for a, b in zip(x, y, strict=True)]
        assert bool(np.mean(near) >= 0.8) == (name == "bright")


def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image, _, _ = planted()

    def propose(name: str, **parameters: object) -> None:
        pickers()[name].propose(image, pixel_size_A=2.0, diameter_A=60.0, parameters=parameters, context=JobContext())

    with pytest.raises(EngineError, match="no parameter 'treshold'"):
        propose("relion-template", treshold=1)
    with pytest.raises(EngineError, match="say which templates"):
        propose("relion-template")
    with pytest.raises(EngineError, match=r"nothing-here\.mrcs cannot be read"):
        propose("relion-template", templates=str(tmp_path / "nothing-here.mrcs"))
    with pytest.raises(EngineError, match="range of diameters"):
        propose("relion-log", diameter_min_A=90, diameter_max_A=50)
    # RELION's own words: references of a box that it refuses
    odd = tmp_path / "odd.mrcs"
    with mrcfile.new(odd) as file:
        file.set_data(np.zeros((1, 31, 20), np.float32))
        file.voxel_size = 2.0
    with pytest.raises(EngineError, match=r"relion_autopick (failed|was killed)"):
        propose("relion-template", templates=str(odd))
    monkeypatch.setenv("CRYOPPP_RELION", str(tmp_path))
    with pytest.raises(EngineError, match=r"relion_autopick was not found; install RELION"):
        propose("relion-log")
    assert not engines()["relion"].status().found


def test_doctor_gets_the_version() -> None:
    status = engines()["relion"].status()
    assert status.found
    assert status.version[0].isdigit()
    assert Path(status.where).name == "relion_autopick"
