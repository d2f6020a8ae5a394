"""Boxes that are classified: by default, as chosen, and those that make no sense."""

from __future__ import annotations

import pytest

from cryoppp_annotator.errors import Refused
from cryoppp_annotator.session.classes.box_cache import Geometry, geometry_of
from cryoppp_annotator.session.classes.run_options import RunOptions


def test_by_default_a_box_has_1_5_diameters_and_at_most_64_px() -> None:
    made = geometry_of(RunOptions(), 190.0, 1.77)
    assert (made.side, made.box_px(1.77)) == (64, 162)
    assert made.pixel_size_A == pytest.approx(1.77 * 162 / 64)
    small = geometry_of(RunOptions(), 100.0, 5.0)
    assert (small.side, small.pixel_size_A) == (30, 5.0), "no pixel is made up"
    assert made.mask_radius == small.mask_radius == pytest.approx(1.15 / 3.0)


def test_a_box_is_chosen_in_diameters_or_px_and_its_pixels_too() -> None:
    wide = geometry_of(RunOptions(box_diameters=2.0), 190.0, 1.77)
    assert wide.box_px(1.77) * 1.77 >= 2.0 * 190.0
    assert wide.mask_radius == pytest.approx(1.15 / 4.0), "the particle is a smaller part of a wider box"
    tight = geometry_of(RunOptions(box_px=110), 190.0, 1.77)
    assert (tight.box_px(1.77), tight.mask_radius) == (110, pytest.approx(0.47))
    fine = geometry_of(RunOptions(pixel_size_A=3.0), 190.0, 1.77)
    assert (fine.side, fine.pixel_size_A) == (96, pytest.approx(2.987, abs=0.01))
    assert geometry_of(RunOptions(pixel_size_A=1.77, box_px=120), 190.0, 1.77).side == 120


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"box_diameters": 0.5}, "0.5 diameters makes no sense"),
        ({"box_diameters": float("nan")}, "makes no sense"),
        ({"box_px": 80}, r"80 px is 142 Å, smaller than the particle \(190 Å\): choose at least 108 px"),
        ({"pixel_size_A": 1.0}, r"1 Å are finer than those of the micrographs \(1.77 Å\)"),
        ({"pixel_size_A": 30.0}, "choose pixels of at most 18 Å"),
        ({"box_px": 400, "pixel_size_A": 1.77}, "choose pixels of at least 4.4 Å"),
    ],
)
def test_boxes_that_make_no_sense_say_what_would(chosen: dict[str, float], message: str) -> None:
    with pytest.raises(Refused, match=message):
        geometry_of(RunOptions(**chosen), 190.0, 1.77)  # type: ignore[arg-type]


def test_what_is_kept_of_a_run_says_the_same_again() -> None:
    chosen = RunOptions(box_px=120, pixel_size_A=3.5, box_diameters=2.0)
    assert RunOptions.from_json({"box_px": 120, "pixel_size_A": 3.5, "box_diameters": 2.0}) == chosen
    assert RunOptions.from_json({"n_classes": 50}) == RunOptions(), "a run from before boxes could be chosen"
    assert isinstance(geometry_of(chosen, 190.0, 1.77), Geometry)
