"""The contrast transfer function of the electron microscope."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Optics:
    """What the microscope adds to every image.

    Attributes
    ----------
    voltage_kV : float
        Acceleration voltage.
    cs_mm : float
        Spherical aberration.
    amplitude_contrast : float
        Share of amplitude contrast, 0 .. 1.
    b_factor_A2 : float
        Envelope ``exp(-B k^2 / 4)``, A^2; 0 = none.
    phase_shift_deg : float
        Of a phase plate, degrees.
    """

    voltage_kV: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.1
    b_factor_A2: float = 0.0
    phase_shift_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Defocus:
    """Defocus with astigmatism, underfocus positive, as RELION and CTFFIND write it.

    Attributes
    ----------
    u_A, v_A : float
        Along the axis at ``angle_deg`` and at right angles to it, angstrom.
    angle_deg : float
        From the x (column) axis towards y (row).
    """

    u_A: float
    v_A: float
    angle_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Ctf:
    """All that is known of how a micrograph was imaged: the microscope, and this exposure's defocus."""

    defocus: Defocus
    optics: Optics = Optics()


def electron_wavelength_A(voltage_kV: float) -> float:
    """Relativistic electron wavelength, angstrom: ``12.2643 / sqrt(V + 0.978466e-6 V^2)``, V in volt."""
    volts = 1e3 * voltage_kV
    return 12.2643247 / math.sqrt(volts + 0.978466e-6 * volts * volts)


def _constant_phase(optics: Optics) -> float:
    return math.asin(optics.amplitude_contrast) + math.radians(optics.phase_shift_deg)


def ctf_1d(k: ArrayLike, defocus_A: float, optics: Optics) -> NDArray[np.float64]:
    """CTF at spatial frequencies ``k`` (any shape, 1/A) without astigmatism; see :func:`ctf_2d` for sign and source."""
    k2 = np.asarray(k, np.float64) ** 2
    wavelength = electron_wavelength_A(optics.voltage_kV)
    phase = math.pi * wavelength * (defocus_A - 0.5e7 * optics.cs_mm * wavelength**2 * k2) * k2
    return np.asarray(np.sin(phase + _constant_phase(optics)) * np.exp(-0.25 * optics.b_factor_A2 * k2))


def ctf_2d(shape: tuple[int, int], pixel_size_A: float, defocus: Defocus, optics: Optics) -> NDArray[np.float32]:
    """CTF on the half spectrum ``rfft2`` gives of an image.

    ``sin(pi lambda dz k^2 - pi/2 Cs lambda^3 k^4 + arcsin(A))`` with ``dz = (u + v)/2 + (u - v)/2 cos(2 (a - a0))``
    (Mindell & Grigorieff 2003, doi:10.1016/S1047-8477(03)00069-8, in the form and sign of Rohou & Grigorieff 2015,
    doi:10.1016/j.jsb.2015.08.008), times the envelope. It is positive at low frequency in underfocus: subtract the
    filtered potential from the beam to get dark particles.

    Parameters
    ----------
    shape : (rows, columns) of the image, px
    pixel_size_A : float
    defocus : Defocus
    optics : Optics

    Returns
    -------
    (rows, columns // 2 + 1) float32, -1 .. 1
    """
    ky = np.fft.fftfreq(shape[0], pixel_size_A).astype(np.float32)[:, None]
    kx = np.fft.rfftfreq(shape[1], pixel_size_A).astype(np.float32)[None]
    k2 = ky * ky + kx * kx
    wavelength = electron_wavelength_A(optics.voltage_kV)
    # dz k^2 without an arctangent: k^2 cos(2 (a - a0)) is a quadratic form in kx and ky.
    mean, half = (defocus.u_A + defocus.v_A) / 2.0, (defocus.u_A - defocus.v_A) / 2.0
    twice = 2.0 * math.radians(defocus.angle_deg)
    phase = np.float32(mean) * k2
    if half:
        phase += np.float32(half * math.cos(twice)) * (kx * kx - ky * ky)
        phase += np.float32(2.0 * half * math.sin(twice)) * (kx * ky)
    phase *= np.float32(math.pi * wavelength)
    k2 *= k2  # in place: beside a spectrum of a large micrograph every array of its size counts
    k2 *= np.float32(0.5e7 * math.pi * optics.cs_mm * wavelength**3)
    phase -= k2
    phase += np.float32(_constant_phase(optics))
    np.sin(phase, out=phase)
    if optics.b_factor_A2:
        k2 = ky * ky + kx * kx
        k2 *= np.float32(-0.25 * optics.b_factor_A2)
        phase *= np.exp(k2, out=k2)
    return phase
