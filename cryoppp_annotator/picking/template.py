"""The ``template`` picker: normalised cross-correlation with pictures of the particle, over in-plane rotations.

Every template in every rotation is one filter; together they span a space of few dimensions. So the micrograph is
filtered with the strongest principal components of that bank, and the correlation with each of the hundreds of
filters is a matrix product of their responses. It is given in robust standard deviations of the micrograph, or of the
surroundings where they are noisier. It is not divided by the standard deviation under each template: in a crowded or
denoised micrograph that is the particle's own contrast (measured: F1 lower by 0.02 to 0.06; docs/picking.md).

Normalised cross-correlation as a particle picker: A. Roseman, Ultramicroscopy 94 (2003) 225.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from threadpoolctl import threadpool_limits

from ..errors import AnnotatorError, EngineError
from ..formats.image.stacks import read_stack
from ..imaging.ctf import Ctf, Defocus, Optics, ctf_2d
from ..imaging.filters import band_gain, fft_workers, find_padding
from ..imaging.shapes import from_map, make_views
from ..model.candidates import Candidates
from ..model.context import JobContext
from ..model.coordinates import angstrom_to_px
from ..model.parameter import Need, Parameter
from .log import DISTANCE, THRESHOLD, check_image
from .response import FloatImage, bright_copy, cut_offs, inner_mask, normalised, peaks, whitening, working_copy
from .suppress import in_polygons, inside, suppress

#: Radius of a template, diameters.
_REACH = 0.6
#: Width of the soft rim at the end of a template, diameters.
_RIM = 0.15
#: Step of the rotations, degrees.
_STEP_DEG = 12.0
#: Most principal components that the bank of rotated templates is kept as.
_MOST_COMPONENTS = 80
#: Share of the bank's power that the components must hold.
_HELD = 0.985
#: Projections that are made of a map.
_VIEWS = 60
#: Most templates of a stack that are used.
_MOST_TEMPLATES = 60
#: Smallest score that is proposed, robust s.d.
_LEAST_SCORE = 1.0
#: Least distance of two candidates, diameters.
_DISTANCE = 0.5
#: Side of the window of the local noise, diameters.
_NOISE_WINDOW = 8.0
_ROWS = 64


@dataclass(frozen=True, slots=True)
class TemplateParameters:
    """Parameters of the ``template`` picker.

    Attributes
    ----------
    templates : path or (n, side, side) array
        An ``.mrcs`` of particle images or class averages (the particle at pixel ``side // 2``), or a map (a cube) that
        is projected.
    template_pixel_A : float or None
        Instead of what the file says; needed for an array.
    white : bool
        Particles are white in the templates.
    ctf : mapping or None
        ``defocus_u_A``, ``defocus_v_A``, ``defocus_angle_deg``, ``voltage_kV``, ``cs_mm``, ``amplitude_contrast`` of
        the micrograph: templates (of a map, or CTF-corrected averages) are multiplied by its CTF.
    polarity : 'dark' or 'bright'
        Of the particles in the micrograph.
    distance : float
        Two candidates are at least this far apart, diameters.
    threshold : float
        Smallest score, robust standard deviations.
    exclude : sequence of (k, 2) arrays
        Polygons, xy, px, in which nothing is proposed.
    """

    templates: Any = None
    template_pixel_A: float | None = None
    white: bool = True
    ctf: Any = None
    polarity: str = "dark"
    distance: float = _DISTANCE
    threshold: float = _LEAST_SCORE
    exclude: tuple[Any, ...] = ()


@dataclass(slots=True)  # not frozen: the protocol declares plain attributes
class TemplatePicker:
    """An ``api.TunablePicker``; see the module and :class:`TemplateParameters`."""

    name: str = "template"
    title: str = "Templates, in all rotations"
    parameters: tuple[Parameter, ...] = (DISTANCE, THRESHOLD)
    needs: frozenset[Need] = frozenset({Need.TEMPLATES, Need.POLARITY, Need.CTF})

    def why_not(self, parameters: Mapping[str, Any]) -> str:
        """See :class:`cryoppp_annotator.api.TunablePicker`."""
        return "" if parameters.get("templates") is not None else "the template picker needs templates"

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        """Propose particles; see :class:`cryoppp_annotator.api.Picker`.

        Parameters
        ----------
        image : (h, w) real, px of the micrograph, row 0 first

        Returns
        -------
        Candidates
            ``score``: best correlation over templates and rotations, in robust standard deviations of the
            micrograph's own.

        Raises
        ------
        EngineError
            Without templates, too.
        Cancelled
        """
        unknown = set(parameters) - set(TemplateParameters.__dataclass_fields__)
        if unknown:
            known = ", ".join(TemplateParameters.__dataclass_fields__)
            raise EngineError(f"template has no parameter {', '.join(sorted(unknown))} (it has {known})")
        options = TemplateParameters(**parameters)
        check_image(image, pixel_size_A, diameter_A, options.polarity)
        images, template_pixel = load_templates(options, pixel_size_A, context)
        context.check()
        whole = angstrom_to_px(diameter_A, pixel_size_A)
        if min(image.shape) < 2.0 * whole:
            return Candidates.empty()
        padding = find_padding(image)
        copy = working_copy(bright_copy(image, padding, options.polarity, context), padding, whole, context)
        if copy is None:
            return Candidates.empty()
        small, step = copy
        templates = _resampled(images, template_pixel, pixel_size_A * step, diameter_A, options)
        inner = inner_mask(small.shape, padding, step, image.shape)
        y, x, score = peaks(correlation(small, templates, whole / step, inner, context), 0.25 * whole / step)
        x, y = x * step, y * step
        good = (score >= options.threshold) & inside(x, y, image.shape, padding)
        if len(options.exclude):
            good &= ~in_polygons(x, y, [np.asarray(p, np.float64) for p in options.exclude])
        x, y, score = x[good], y[good], score[good]
        kept = suppress(x, y, score, options.distance * whole)
        context.progress(1, 1, "done")
        return Candidates(x[kept], y[kept], score[kept], np.full(len(kept), float(diameter_A)))


#: The built-in picker (entry point ``template``).
TEMPLATE = TemplatePicker()


def load_templates(options: TemplateParameters, pixel_size_A: float, context: JobContext) -> tuple[FloatImage, float]:
    """Templates with white particles (n, side, side), and their pixel size.

    Parameters
    ----------
    options : TemplateParameters
    pixel_size_A : float
        Of the micrograph: that of the projections of a map.
    context : JobContext

    Raises
    ------
    EngineError
        There are none, or they make no sense.
    Cancelled
    """
    if options.templates is None:
        raise EngineError("template needs templates: an .mrcs of particles or class averages, or a map")
    stated_A: float | None = None
    what = "the templates"
    if isinstance(options.templates, str | Path):
        what = str(options.templates)
        try:
            values, stated_A = read_stack(Path(options.templates))
        except AnnotatorError as error:
            raise EngineError(str(error)) from error
    else:
        values = np.asarray(options.templates)
        values = values[None] if values.ndim == 2 else values
    pixel = options.template_pixel_A or stated_A
    if pixel is None or not (math.isfinite(pixel) and pixel > 0):
        raise EngineError(f"{what}: the pixel size is not known; give it (template_pixel_A)")
    if values.ndim != 3 or min(values.shape) < 1 or values.dtype.kind not in "biuf":
        raise EngineError(f"{what}: expected a stack of images, not {values.dtype} of shape {values.shape}")
    n, height, width = values.shape
    if n == height == width and n > 8 and not what.endswith(".mrcs"):
        try:
            views = make_views(from_map(np.array(values, np.float32), pixel), pixel, _VIEWS, 0, context)
        except ValueError as error:
            raise EngineError(f"{what}: {error}") from error
        return np.stack([views.render(i, 0.0, 0.0) for i in range(len(views))]), pixel
    if height != width or height < 8:
        raise EngineError(f"{what}: templates are square and at least 8 px wide, not {height} x {width}")
    images = np.array(values[:_MOST_TEMPLATES], np.float32)
    images = images[np.isfinite(images).all(axis=(1, 2)) & (images.std(axis=(1, 2)) > 0)]
    if not len(images):
        raise EngineError(f"{what}: no image has any contrast")
    return (images if options.white else -images), pixel


def _resampled(
    images: FloatImage, pixel_A: float, wanted_A: float, diameter_A: float, options: TemplateParameters
) -> FloatImage:
    """Templates under their CTF, at the pixel size of the working copy, in all rotations: (n * r, s, s), s odd."""
    context_side = images.shape[1]
    if options.ctf is not None:
        ctf = _ctf(options.ctf)
        gain = ctf_2d((context_side, context_side), pixel_A, ctf.defocus, ctf.optics)
        spectra = scipy.fft.rfft2(images, workers=fft_workers())
        images = np.asarray(scipy.fft.irfft2(spectra * gain, s=images.shape[1:], workers=fft_workers()), np.float32)
    shrink = wanted_A / pixel_A
    if shrink > 1.0:  # what the coarser grid cannot hold would fold into it
        k = np.fft.fftfreq(context_side)[:, None] ** 2 + np.fft.rfftfreq(context_side)[None] ** 2
        spectra = scipy.fft.rfft2(images, workers=fft_workers()) * np.exp(-math.log(2.0) * k * (2.0 * shrink) ** 2)
        images = np.asarray(scipy.fft.irfft2(spectra, s=images.shape[1:], workers=fft_workers()), np.float32)
    reach = math.ceil(_REACH * diameter_A / wanted_A)
    offset = np.arange(-reach, reach + 1) * shrink
    out = []
    for angle in np.deg2rad(np.arange(0.0, 360.0, _STEP_DEG)):
        c, s = math.cos(angle), math.sin(angle)
        y = c * offset[:, None] + s * offset[None] + context_side // 2
        x = -s * offset[:, None] + c * offset[None] + context_side // 2
        out += [map_coordinates(image, [y, x], order=1, mode="nearest") for image in images]
    return np.stack(out).astype(np.float32)


def _ctf(stated: Any) -> Ctf:
    if isinstance(stated, Ctf):
        return stated
    try:
        u = float(stated["defocus_u_A"])
        defocus = Defocus(u, float(stated.get("defocus_v_A", u)), float(stated.get("defocus_angle_deg", 0.0)))
        names = ("voltage_kV", "cs_mm", "amplitude_contrast")
        return Ctf(defocus, Optics(**{name: float(stated[name]) for name in names if name in stated}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(f"the CTF of the micrograph makes no sense ({error!r})") from error


def correlation(
    image: FloatImage, templates: FloatImage, diameter: float, inner: NDArray[np.bool_], context: JobContext
) -> FloatImage:
    """Best normalised cross-correlation over templates, in robust standard deviations.

    Parameters
    ----------
    image : (h, w) float32, yx
        Working copy, particles bright.
    templates : (m, s, s) float32, s odd
        At its pixel size, rotated.
    diameter : float
        px of ``image``.
    inner : (h, w) bool
        Where there is image and no padding.
    context : JobContext

    Returns
    -------
    (h, w) float32
    """
    side = templates.shape[1]
    height, width = (int(scipy.fft.next_fast_len(n + side, real=True)) for n in image.shape)
    shape = (height, width)
    extended = np.pad(image, [(0, b - a) for a, b in zip(image.shape, shape, strict=True)], mode="symmetric")
    spectrum = scipy.fft.rfft2(extended, workers=fft_workers())
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]).astype(np.float32)
    gain = whitening(spectrum, frequency)
    low, high = cut_offs(diameter)
    bank = _whitened(templates, gain * band_gain(shape, 1.0, low, high), shape)
    components, weights = _principal(bank)
    context.check()
    white = spectrum * gain
    responses = np.empty((len(components), *image.shape), np.float32)
    for i, component in enumerate(components):
        if i % 4 == 0:
            context.progress(i, len(components), "correlating")
        kernel = np.zeros(shape, np.float32)
        kernel[:side, :side] = component
        kernel = np.roll(kernel, (-(side // 2), -(side // 2)), (0, 1))
        product = white * np.conj(scipy.fft.rfft2(kernel, workers=fft_workers()))
        responses[i] = scipy.fft.irfft2(product, s=shape, workers=fft_workers())[: image.shape[0], : image.shape[1]]
    best = np.empty(image.shape, np.float32)
    for start in range(0, image.shape[0], _ROWS):
        context.check()
        rows = responses[:, start : start + _ROWS]
        best[start : start + _ROWS] = (weights @ rows.reshape(len(components), -1)).max(axis=0).reshape(rows.shape[1:])
    return normalised(best, inner, max(3, int(_NOISE_WINDOW * diameter)))


def _whitened(templates: FloatImage, gain: FloatImage, shape: tuple[int, ...]) -> FloatImage:
    """Templates as the filtered, whitened micrograph shows them: cut out softly, mean 0, length 1."""
    side = templates.shape[1]
    ky = np.rint(np.abs(np.fft.fftfreq(side)) * shape[0]).astype(np.intp)
    kx = np.rint(np.fft.rfftfreq(side) * shape[1]).astype(np.intp)
    spectra = scipy.fft.rfft2(templates - templates.mean(axis=(1, 2), keepdims=True), workers=fft_workers())
    spectra *= gain[np.minimum(ky, shape[0] - 1)[:, None], np.minimum(kx, gain.shape[1] - 1)[None]]
    flat = np.asarray(scipy.fft.irfft2(spectra, s=(side, side), workers=fft_workers()), np.float32)
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset[None]) / (side // 2)
    mask = np.clip((1.0 - radius) / (_RIM / _REACH), 0.0, 1.0).astype(np.float32)
    mean = (flat * mask).sum(axis=(1, 2), keepdims=True) / mask.sum()
    flat = (flat - mean) * mask
    length = np.sqrt((flat**2).sum(axis=(1, 2), keepdims=True))
    return np.asarray(flat / np.maximum(length, 1e-12), np.float32)


def _principal(bank: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Strongest components (k, s, s) of a bank (m, s, s), and each filter's weights (m, k)."""
    rows = bank.reshape(len(bank), -1).astype(np.float64)
    product = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
    n = len(product)
    with threadpool_limits(1):  # on a busy machine a second thread of it mostly waits
        values, vectors = scipy.linalg.eigh(product, subset_by_index=(max(0, n - _MOST_COMPONENTS), n - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    held = np.cumsum(values) / max(float(np.trace(product)), 1e-30)
    k = min(_MOST_COMPONENTS, int(np.searchsorted(held, _HELD)) + 1, len(values))
    if rows.shape[1] <= rows.shape[0]:
        basis = vectors[:, :k].T
    else:
        basis = (rows.T @ vectors[:, :k] / np.sqrt(np.maximum(values[:k], 1e-30))).T
    weights = rows @ basis.T
    return np.asarray(basis.reshape(k, *bank.shape[1:]), np.float32), np.asarray(weights, np.float32)
