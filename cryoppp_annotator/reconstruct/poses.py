"""Orientations: RELION's Euler angles, matrices, even grids of views, distances.

A pose is the matrix ``A`` that takes a point of the map (x, y, z from its centre) to the image: ``A p`` has the image's
x and y, and the beam's direction last. It is RELION's ``Euler_angles2matrix(rot, tilt, psi)`` (Z-Y-Z), so that the
image's transform at ``k`` is the map's at ``A^T (kx, ky, 0)``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from . import symmetry


def to_matrix(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (n, 3, 3) of RELION's rot, tilt, psi (n, 3), degrees."""
    a, b, g = np.deg2rad(np.asarray(angles_deg, np.float64)).T
    ca, sa, cb, sb, cg, sg = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(g), np.sin(g)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.asarray(np.moveaxis(np.array(rows), 2, 0), order="C")


def to_angles(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """RELION's rot, tilt, psi (n, 3), degrees, of matrices (n, 3, 3); where tilt is 0 or 180, psi is 0."""
    m = np.asarray(matrices, np.float64)
    sine = np.hypot(m[:, 2, 0], m[:, 2, 1])
    tilt = np.arctan2(sine, m[:, 2, 2])
    pole = sine < 1e-7
    rot = np.where(pole, np.arctan2(m[:, 0, 1] * np.sign(m[:, 2, 2]), m[:, 1, 1]), np.arctan2(m[:, 2, 1], m[:, 2, 0]))
    psi = np.where(pole, 0.0, np.arctan2(m[:, 1, 2], -m[:, 0, 2]))
    return np.asarray(np.rad2deg(np.stack([rot, tilt, psi], axis=1)))


def turned(vectors_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations (n, 3, 3) about vectors (n, 3) by their lengths (Rodrigues)."""
    angle = np.linalg.norm(vectors_rad, axis=1)
    x, y, z = (vectors_rad / np.maximum(angle, 1e-12)[:, None]).T
    zero = np.zeros_like(x)
    cross = np.moveaxis(np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]), 2, 0)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + (1.0 - cosine) * (cross @ cross))


def views(spacing_deg: float, name: str = "C1", *, mirrored: bool = False) -> NDArray[np.float64]:
    """Directions spread evenly (a Fibonacci lattice) over one asymmetric unit, as rot and tilt, (v, 2) degrees.

    Parameters
    ----------
    spacing_deg : float
        Mean distance of neighbours.
    name : str
        Of the symmetry.
    mirrored : bool
        Half of them: of a direction and its opposite, whose projections are mirror images, only one.
    """
    count = max(12, round(4.0 * math.pi / math.radians(spacing_deg) ** 2))
    z = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    rot = np.mod(np.pi * (1.0 + math.sqrt(5.0)) * np.arange(count), 2.0 * np.pi)
    across = np.sqrt(1.0 - z * z)
    directions = np.stack([across * np.cos(rot), across * np.sin(rot), z], axis=1)
    kept = symmetry.in_unit(directions, name, mirrored=mirrored)
    if not kept.any():
        kept[np.argmax(directions @ np.array([0.27, 0.11, 0.96]))] = True
    return np.asarray(np.rad2deg(np.stack([rot[kept], np.arccos(z[kept])], axis=1)))


def directions(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The beam's direction in the map's frame, (n, 3) float64 unit vectors, xyz: what makes a view."""
    return np.asarray(matrices[:, 2, :])


def distance_deg(a: NDArray[np.float64], b: NDArray[np.float64], name: str = "C1") -> NDArray[np.float64]:
    """Angle of the rotation between poses (n, 3, 3), the least over symmetric copies, (n,) degrees."""
    between = np.einsum("nij,nkj->nik", a, b)  # a b^T
    copies = np.einsum("nij,gjk->ngik", a, symmetry.rotations(name)) if name.upper() != "C1" else None
    if copies is None:
        trace = np.trace(between, axis1=1, axis2=2)
    else:
        trace = np.einsum("ngij,nij->ng", copies, b).max(axis=1)
    return np.asarray(np.rad2deg(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))))
