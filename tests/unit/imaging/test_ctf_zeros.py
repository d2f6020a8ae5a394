"""Rings on which the CTF is zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics, ctf_1d
from cryoppp_annotator.imaging.ctf_zeros import nearest_zero, with_zero_at, zero_ring

defocus = st.builds(Defocus, st.floats(4e3, 5e4), st.floats(4e3, 5e4), st.floats(-90, 90))
microscope = st.builds(Optics, st.floats(80, 300), st.floats(0.0, 2.7), st.floats(0.0, 0.3))
ctfs = st.builds(Ctf, defocus, microscope)


@given(ctfs, st.integers(1, 3), st.floats(0, 2 * math.pi))
def test_the_ctf_is_zero_on_its_rings(ctf, number, angle):
    (k,) = zero_ring(ctf, number, [angle])
    axis = math.radians(ctf.defocus.angle_deg)
    mean, half = (ctf.defocus.u_A + ctf.defocus.v_A) / 2, (ctf.defocus.u_A - ctf.defocus.v_A) / 2
    here = mean + half * math.cos(2 * (angle - axis))
    assert abs(ctf_1d(k, here, ctf.optics)) < 1e-6
    inside = ctf_1d(np.linspace(0.02 * k, 0.99 * k, 2000), here, ctf.optics)
    assert (np.diff(np.sign(inside)) != 0).sum() == number - 1


@given(ctfs, ctfs, st.integers(1, 3), st.floats(0, 2 * math.pi))
def test_a_ring_dragged_onto_another_gives_its_defocus(start, target, number, angle):
    """With the same astigmatism and microscope; only the mean differs."""
    change = (target.defocus.u_A + target.defocus.v_A) / 2 - (start.defocus.u_A + start.defocus.v_A) / 2
    d = start.defocus
    other = Ctf(Defocus(d.u_A + change, d.v_A + change, d.angle_deg), start.optics)
    (k,) = zero_ring(other, number, [angle])
    if not np.isfinite(k):  # overfocus in that direction
        return
    kx, ky = float(k * math.cos(angle)), float(k * math.sin(angle))
    moved = with_zero_at(start, number, kx, ky)
    assert moved.defocus.u_A == pytest.approx(other.defocus.u_A, abs=0.1)
    assert moved.defocus.v_A == pytest.approx(other.defocus.v_A, abs=0.1)
    assert nearest_zero(moved, kx, ky) == number


def test_at_zero_frequency_nothing_changes():
    ctf = Ctf(Defocus(1e4, 1e4), Optics())
    assert with_zero_at(ctf, 1, 0.0, 0.0) == ctf
