"""The template picker: protocol, rotations, a map and its CTF, files that are no templates."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.batch.simulate import structure_from_map
from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.evaluate import quality
from cryoppp_annotator.picking.matching import match
from cryoppp_annotator.picking.template import TEMPLATE
from cryoppp_annotator.testing import check_picker, planted

QUIET = JobContext()
SIZES = {"pixel_size_A": 2.0, "diameter_A": 60.0}


def disc(side: int = 48, radius: float = 15.0) -> np.ndarray:
    offset = np.arange(side) - side // 2
    return (np.hypot(offset[:, None], offset[None]) <= radius).astype(np.float32)[None]


def test_keeps_to_the_protocol(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "disc.mrcs", disc(), 2.0)
    check_picker(TEMPLATE, {"templates": str(path)})


def test_black_templates_of_another_pixel_size_find_the_same() -> None:
    image, x, y = planted()
    coarse = -disc(24, 7.5)
    options = {"templates": coarse, "template_pixel_A": 4.0, "white": False}
    candidates = TEMPLATE.propose(image, **SIZES, parameters=options, context=QUIET)
    assert quality([match(candidates.x, candidates.y, candidates.score, x, y, 9.0)]).best_f1 > 0.95


def test_a_rod_is_found_however_it_lies() -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1.0, (400, 400)).astype(np.float32)
    rows, columns = np.indices(image.shape)
    places = [(60, 60, 0.0), (60, 300, 0.5), (200, 180, 1.0), (320, 70, 1.6), (320, 300, 2.6)]
    for cy, cx, angle in places:
        along = (columns - cx) * np.cos(angle) + (rows - cy) * np.sin(angle)
        across = -(columns - cx) * np.sin(angle) + (rows - cy) * np.cos(angle)
        image -= 1.2 * ((np.abs(along) < 16) & (np.abs(across) < 4))
    rod = np.zeros((1, 48, 48), np.float32)
    rod[0, 20:28, 8:40] = 1.0
    candidates = TEMPLATE.propose(image, **SIZES, parameters={"templates": rod, "template_pixel_A": 2.0}, context=QUIET)
    for cy, cx, _ in places:
        assert np.hypot(candidates.x[:5] - cx, candidates.y[:5] - cy).min() < 6.0


@pytest.mark.realdata
def test_projections_of_a_map_under_the_ctf_find_it(data_dir: Path) -> None:
    path = data_dir / "maps/groel_emd1997_2.02A.mrc"
    base = SimulationParameters(
        size=(1024, 1024),
        pixel_size_A=3.0,
        structure=structure_from_map(path, 2.02),
        n_particles=40,
        snr=0.05,
        n_views=60,
    )
    scene = simulate_micrograph(base, 0, views_for(base))
    sizes = {"pixel_size_A": 3.0, "diameter_A": scene.diameter_A}
    options = {"templates": str(path), "template_pixel_A": 2.02}
    best = []
    for more in ({"ctf": {"defocus_u_A": scene.defocus_A}}, {}):
        candidates = TEMPLATE.propose(scene.image, **sizes, parameters=options | more, context=QUIET)
        reach = 0.3 * scene.diameter_A / 3.0
        best.append(
            quality([match(candidates.x, candidates.y, candidates.score, scene.x, scene.y, reach)]).average_precision
        )
    assert best[0] > 0.9
    assert best[0] > best[1]


def test_what_is_no_template_is_refused(tmp_path: Path) -> None:
    image, *_ = planted()
    (tmp_path / "text.mrcs").write_text("no stack")
    with mrcfile.new(tmp_path / "flat.mrcs") as file:
        file.set_data(np.zeros((2, 16, 16), np.float32))
        file.voxel_size = 2.0
    for options, why in (
        ({}, "needs templates"),
        ({"templates": tmp_path / "gone.mrcs"}, r"gone\.mrcs"),
        ({"templates": tmp_path / "text.mrcs"}, r"text\.mrcs"),
        ({"templates": tmp_path / "flat.mrcs"}, "contrast"),
        ({"templates": disc()}, "pixel size"),
        ({"templates": np.zeros((2, 4, 6)), "template_pixel_A": 1.0}, "square"),
        ({"templates": disc(), "template_pixel_A": 2.0, "ctf": {"nonsense": 1}}, "CTF"),
        ({"templates": disc(), "nonsense": 1}, "no parameter nonsense"),
    ):
        with pytest.raises(EngineError, match=why):
            TEMPLATE.propose(image, **SIZES, parameters=options, context=QUIET)
