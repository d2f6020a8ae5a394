"""Simulated micrographs whose particles are known exactly: for the demo, for tests, for benchmarks.

Image formation (weak phase object, e.g. Vulovic et al. 2013, doi:10.1016/j.jsb.2013.05.008): the potential of
particles, ice and carbon is filtered by the CTF and taken from the beam, so particles are dark in underfocus; what is
left is counted with Gaussian shot noise of the counts' variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..model.context import JobContext
from .ctf import Defocus, Optics, ctf_2d
from .filters import extend_mirrored, fft_workers
from .scenery import Piece, add_crack, add_dirt, add_step, covered, grow_aggregate
from .shapes import STRUCTURES, Carbon, Structure, ViewBank, make_views, random_carbon, soft_step

_QUIET = JobContext()
_USUAL_OPTICS = Optics(b_factor_A2=80.0)
#: Noise of the ice, s.d. in units of the shot noise.
_ICE_ROUGHNESS = 0.5
#: Noise of the carbon, s.d. in units of the shot noise.
_CARBON_ROUGHNESS = 2.0
_CARBON_TRANSMISSION = 0.85
#: Softness of the edges of carbon and contamination, angstrom.
_EDGE_A = 15.0
#: Width of the slope where the ice gets thicker, angstrom.
_STEP_A = 150.0
#: Width of a crack, angstrom.
_CRACK_A = 200.0


@dataclass(frozen=True, eq=False)
class SimulationParameters:
    """What a simulated data set is like.

    Attributes
    ----------
    size : (rows, columns), px
    pixel_size_A : float
    structure : str or Structure
        A name from :data:`.shapes.STRUCTURES`, or a structure (``shapes.from_map``).
    n_particles : int
        Wanted per micrograph; fewer where there is no room.
    n_views : int
        Orientations in the bank.
    snr : float
        Variance of the particle (after the CTF, inside its diameter) over that of the noise, per pixel.
    defocus_range_A : (low, high), underfocus, drawn evenly
    optics : Optics
    dose_per_px : float
        Electrons per pixel in empty ice: the grey value of the background.
    ice_gradient : float
        Largest change of transmission across the micrograph, 0 .. 1.
    carbon_probability : float
        Of a carbon edge on a micrograph, 0 .. 1.
    n_contaminants : float
        Mean number of ice crystals and blobs per micrograph.
    min_spacing : float
        Smallest distance of two particles, diameters.
    aggregate_fraction : float
        Share of particles set against another one at 0.55 to 0.9 diameters, 0 .. 1.
    edge_margin : float
        Smallest distance of a centre from the edge, diameters; 0 allows particles cut in half.
    n_pale, n_aggregates : float
        Mean number of pieces of pale contamination, and of clumps of particles (which are no particles), a micrograph.
    ice_step : float
        Share of the light that thicker ice on one side of a line absorbs, 0 .. 1; particles lie on both sides.
    crack_probability : float
        Of a bright crack through the ice, 0 .. 1.
    astigmatism_A : float
        Most of u - v, drawn evenly from 0, its axis from all directions; 0 = none.
    drift_A : float
        How far the specimen moves, evenly and along the columns, while it is exposed.
    seed : int
    """

    size: tuple[int, int] = (2048, 2048)
    pixel_size_A: float = 1.77
    structure: str | Structure = "shell"
    n_particles: int = 200
    n_views: int = 200
    snr: float = 0.05
    defocus_range_A: tuple[float, float] = (10000.0, 25000.0)
    optics: Optics = _USUAL_OPTICS
    dose_per_px: float = 25.0
    ice_gradient: float = 0.08
    carbon_probability: float = 0.35
    n_contaminants: float = 3.0
    min_spacing: float = 1.05
    aggregate_fraction: float = 0.04
    edge_margin: float = 0.5
    n_pale: float = 0.0
    n_aggregates: float = 0.0
    ice_step: float = 0.0
    crack_probability: float = 0.0
    astigmatism_A: float = 0.0
    drift_A: float = 0.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SimulatedMicrograph:
    """A simulated micrograph and the truth about it. Coordinates are canonical: pixel centres on integers, row 0 first.

    Attributes
    ----------
    image : (h, w) float32, yx, electrons per pixel; particles dark
    pixel_size_A, diameter_A, defocus_A : float
    x, y : (n,) float64, px
        Projected centre of mass, exact.
    view : (n,) int64
        Index into the view bank.
    orientations : (n, 4) float64
        Unit quaternions xyzw.
    carbon : Carbon or None
    contamination : (m, 3) float64
        x, y and radius of each piece, px; pale ones and aggregates come last.
    pieces : tuple of Piece
        The same pieces with their outlines.
    defocus : Defocus or None
        With the astigmatism; its mean is ``defocus_A``.
    """

    image: NDArray[np.float32]
    pixel_size_A: float
    diameter_A: float
    defocus_A: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    view: NDArray[np.int64]
    orientations: NDArray[np.float64]
    carbon: Carbon | None
    contamination: NDArray[np.float64]
    pieces: tuple[Piece, ...] = ()
    defocus: Defocus | None = None

    @property
    def diameter_px(self) -> float:
        """Particle diameter in pixels of the image."""
        return self.diameter_A / self.pixel_size_A

    @property
    def carbon_mask(self) -> NDArray[np.bool_]:
        """(h, w) bool, True on carbon."""
        if self.carbon is None:
            return np.zeros(self.image.shape, bool)
        return self.carbon.distance(self.image.shape) > 0.0


class Candidates(NamedTuple):
    """What a picker might have found: canonical px, score, and whether it is a particle."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    score: NDArray[np.float64]
    is_true: NDArray[np.bool_]


def views_for(params: SimulationParameters, context: JobContext = _QUIET) -> ViewBank:
    """The view bank all micrographs of a data set share.

    Raises
    ------
    Cancelled
    ValueError
        Where there is no structure of that name.
    """
    structure = params.structure
    if isinstance(structure, str):
        if structure not in STRUCTURES:
            raise ValueError(f"no structure is called {structure!r}; there are {', '.join(STRUCTURES)}")
        structure = STRUCTURES[structure]()
    return make_views(structure, params.pixel_size_A, params.n_views, params.seed, context)


def simulate_micrograph(
    params: SimulationParameters, index: int, views: ViewBank, context: JobContext = _QUIET
) -> SimulatedMicrograph:
    """Simulate micrograph ``index`` of a data set; the same seed and index give the same bytes in any order.

    Parameters
    ----------
    params : SimulationParameters
    index : int, >= 0
    views : ViewBank
        From :func:`views_for` with the same parameters.
    context : JobContext
        Its seed is not used: ``params.seed`` is the data set's.

    Raises
    ------
    Cancelled
    """
    context.progress(0, 5, "placing particles")
    layout, optics_rng, noise = (np.random.default_rng([params.seed, index, stream]) for stream in (11, 12, 13))
    defocus_A = float(optics_rng.uniform(*params.defocus_range_A))
    carbon = random_carbon(params.size, layout) if layout.random() < params.carbon_probability else None
    contamination = _place_contamination(params, params.n_contaminants, layout)
    n_dark = len(contamination)
    # what was added later draws from another stream: an old seed still gives the old micrograph
    more = np.random.default_rng([params.seed, index, 14])
    pale = _place_contamination(params, params.n_pale, more)
    clumps = _place_aggregates(params, views.diameter_A / params.pixel_size_A, more)
    around = [_circle_around(places) for places in clumps]
    contamination = np.concatenate([contamination, pale, np.reshape(around, (-1, 3))])
    x, y = _place_particles(params, views.diameter_A / params.pixel_size_A, carbon, contamination, layout)
    view = layout.integers(len(views), size=len(x))

    potential = np.zeros(params.size, np.float32)
    amplitude = _amplitude(params, views, defocus_A)
    for i in range(len(x)):
        if i % 32 == 0:
            context.check()
        _add_particle(potential, views, int(view[i]), float(y[i]), float(x[i]), amplitude)
    for at_x, at_y in np.concatenate([np.zeros((0, 2)), *clumps]):
        _add_particle(potential, views, int(more.integers(len(views))), float(at_y), float(at_x), amplitude)
    context.progress(1, 5, "ice and carbon")
    transmission = _transmission(params, layout)
    _add_film(potential, transmission, carbon, params, noise)
    edge = _EDGE_A / params.pixel_size_A
    pieces = [add_dirt(potential, transmission, piece, edge, layout) for piece in contamination[:n_dark]]
    pieces += [add_dirt(potential, transmission, piece, edge, more, pale=True) for piece in pale]
    pieces += [covered(places, views.diameter_A / params.pixel_size_A, params.size) for places in clumps]
    if params.ice_step:
        add_step(transmission, params.ice_step, _STEP_A / params.pixel_size_A, more)
    if more.random() < params.crack_probability:
        add_crack(potential, transmission, _CRACK_A / params.pixel_size_A, more)
    context.progress(2, 5, "microscope")
    defocus = _astigmatic(defocus_A, params, np.random.default_rng([params.seed, index, 15]))
    _apply_ctf(potential, params, defocus, context)
    context.progress(4, 5, "camera")
    image = _expose(potential, transmission, params.dose_per_px, noise)
    context.progress(5, 5, "done")
    return SimulatedMicrograph(
        image,
        params.pixel_size_A,
        views.diameter_A,
        defocus_A,
        x,
        y,
        view,
        views.orientations[view],
        carbon,
        contamination,
        tuple(pieces),
        defocus,
    )


def _astigmatic(mean_A: float, params: SimulationParameters, rng: np.random.Generator) -> Defocus:
    half = 0.5 * rng.uniform(0.0, params.astigmatism_A)
    return Defocus(mean_A + half, mean_A - half, rng.uniform(-90.0, 90.0) if half else 0.0)


def _place_contamination(params: SimulationParameters, mean: float, rng: np.random.Generator) -> NDArray[np.float64]:
    h, w = params.size
    n = int(rng.poisson(mean))
    radius_A = np.exp(rng.uniform(math.log(50.0), math.log(280.0), n))
    radius = np.minimum(radius_A / params.pixel_size_A, 0.12 * min(h, w))
    return np.column_stack([rng.uniform(0, w - 1, n), rng.uniform(0, h - 1, n), radius])


def _place_aggregates(
    params: SimulationParameters, diameter: float, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Places (n, 2) xy, px, of the particles of each aggregate."""
    h, w = params.size
    n = int(rng.poisson(params.n_aggregates)) if params.n_aggregates else 0
    clumps = [rng.uniform((0, 0), (w - 1, h - 1)) + grow_aggregate(diameter, rng) for _ in range(n)]
    reach = 0.4 * diameter
    seen = [((places > -reach) & (places < np.array([w, h]) + reach)).all(axis=1) for places in clumps]
    return [places[inside] for places, inside in zip(clumps, seen, strict=True) if inside.any()]


def _circle_around(places: NDArray[np.float64]) -> tuple[float, float, float]:
    """x, y and radius, px, of a circle that holds points (n, 2)."""
    centre = places.mean(axis=0)
    return float(centre[0]), float(centre[1]), float(np.hypot(*(places - centre).T).max())


def _place_particles(
    params: SimulationParameters,
    diameter: float,
    carbon: Carbon | None,
    contamination: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw centres one by one, keeping those that are far enough from everything; px."""
    h, w = params.size
    margin = min(params.edge_margin * diameter, (min(h, w) - 1) / 2.0)
    placed = np.empty((params.n_particles, 2))
    n = 0
    for _ in range(60 * params.n_particles):
        if n == params.n_particles:
            break
        beside = n > 0 and rng.random() < params.aggregate_fraction
        if beside:
            angle, distance = rng.uniform(0.0, 2.0 * math.pi), diameter * rng.uniform(0.55, 0.9)
            at = placed[rng.integers(n)] + distance * np.array([math.cos(angle), math.sin(angle)])
        else:
            at = rng.uniform((margin, margin), (w - 1 - margin, h - 1 - margin))
        spacing = diameter * (min(0.5, params.min_spacing) if beside else params.min_spacing)
        if n and float(((placed[:n] - at) ** 2).sum(axis=1).min()) < spacing**2:
            continue
        if not (margin <= at[0] <= w - 1 - margin and margin <= at[1] <= h - 1 - margin):
            continue
        if _is_free(at, diameter, carbon, contamination):
            placed[n] = at
            n += 1
    return placed[:n, 0].copy(), placed[:n, 1].copy()


def _is_free(at: NDArray[np.float64], diameter: float, carbon: Carbon | None, pieces: NDArray[np.float64]) -> bool:
    """Whether a particle centred at (x, y) touches neither carbon nor contamination."""
    if carbon is not None and math.hypot(at[0] - carbon.x, at[1] - carbon.y) > carbon.radius - 0.5 * diameter:
        return False
    away = np.hypot(pieces[:, 0] - at[0], pieces[:, 1] - at[1])
    return bool((away > pieces[:, 2] + 0.5 * diameter).all())


def _amplitude(params: SimulationParameters, views: ViewBank, defocus_A: float) -> float:
    """Factor on projections that gives the wanted signal-to-noise ratio, in units of the shot noise."""
    box = views.box_size
    ctf = ctf_2d((box, box), params.pixel_size_A, Defocus(defocus_A, defocus_A), params.optics)
    images = scipy.fft.fftshift(scipy.fft.irfft2(views.spectra[:24] * ctf, s=(box, box)), axes=(1, 2))
    yy, xx = np.indices((box, box)) - box // 2
    disc = np.hypot(yy, xx) <= 0.5 * views.diameter_A / params.pixel_size_A
    signal = float(images[:, disc].var(axis=1, dtype=np.float64).mean())
    # Ice passes the CTF, whose mean square is about 1/2 before the envelope.
    noise = 1.0 + 0.5 * _ICE_ROUGHNESS**2
    return math.sqrt(params.snr * noise / signal) if signal > 0 else 0.0


def _add_particle(
    potential: NDArray[np.float32], views: ViewBank, view: int, y: float, x: float, amplitude: float
) -> None:
    row, column = math.floor(y), math.floor(x)
    picture = views.render(view, y - row, x - column)
    half = views.box_size // 2
    top, left = row - half, column - half
    rows = slice(max(0, top), min(potential.shape[0], top + len(picture)))
    columns = slice(max(0, left), min(potential.shape[1], left + len(picture)))
    part = picture[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    potential[rows, columns] += np.float32(amplitude) * part


def _transmission(params: SimulationParameters, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth variation of ice thickness: a slope and a bend, (h, w) float32 around 1."""
    h, w = params.size
    angle, bend_y, bend_x = rng.uniform(0.0, 2.0 * math.pi), *rng.uniform(-0.5, 0.5, 2)
    y, x = np.linspace(-0.5, 0.5, h), np.linspace(-0.5, 0.5, w)
    rows = params.ice_gradient * (math.sin(angle) * y + bend_y * y * y)
    columns = params.ice_gradient * (math.cos(angle) * x + bend_x * x * x)
    out: NDArray[np.float32] = 1.0 + rows.astype(np.float32)[:, None] + columns.astype(np.float32)[None]
    return out


def _add_film(
    potential: NDArray[np.float32],
    transmission: NDArray[np.float32],
    carbon: Carbon | None,
    params: SimulationParameters,
    rng: np.random.Generator,
) -> None:
    """Random potential of the ice, stronger on carbon, and the carbon's own darkness."""
    grain = rng.standard_normal(params.size, dtype=np.float32)
    if carbon is None:
        potential += np.float32(_ICE_ROUGHNESS) * grain
        return
    film = soft_step(carbon.distance(params.size), _EDGE_A / params.pixel_size_A)
    potential += (_ICE_ROUGHNESS + (_CARBON_ROUGHNESS - _ICE_ROUGHNESS) * film) * grain
    potential += np.float32(1.5) * film  # the step that makes the Fresnel fringe along the edge
    transmission *= 1.0 - np.float32(1.0 - _CARBON_TRANSMISSION) * film


def _apply_ctf(
    potential: NDArray[np.float32], params: SimulationParameters, defocus: Defocus, context: JobContext
) -> None:
    """Filter in place, on a canvas some 200 A larger on either side, filled by mirroring, so that no edge shows."""
    h, w = params.size
    margin = math.ceil(400.0 / params.pixel_size_A)
    shape = (int(scipy.fft.next_fast_len(h + margin, real=True)), int(scipy.fft.next_fast_len(w + margin, real=True)))
    spectrum = scipy.fft.rfft2(extend_mirrored(potential, shape), workers=fft_workers(), overwrite_x=True)
    context.check()
    spectrum *= ctf_2d(shape, params.pixel_size_A, defocus, params.optics)
    if params.drift_A:
        spectrum *= np.sinc(np.fft.fftfreq(shape[0], params.pixel_size_A) * params.drift_A).astype(np.float32)[:, None]
    context.check()
    potential[:] = scipy.fft.irfft2(spectrum, s=shape, workers=fft_workers(), overwrite_x=True)[:h, :w]


def _expose(
    phase_image: NDArray[np.float32], transmission: NDArray[np.float32], dose: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Electrons counted, (h, w) float32: ``dose T - sqrt(dose T) (signal + noise)``, never below 0."""
    image = rng.standard_normal(phase_image.shape, dtype=np.float32)
    image -= phase_image
    beam = np.float32(dose) * transmission
    image *= np.sqrt(beam)
    image += beam
    np.maximum(image, 0.0, out=image)
    return image


def imperfect_candidates(
    truth: SimulatedMicrograph,
    rng: np.random.Generator,
    *,
    recall: float = 0.9,
    jitter: float = 0.04,
    false_share: float = 0.35,
    separation: float = 1.81,
) -> Candidates:
    """Candidates as an imperfect picker would give them, for a curator to clean.

    Parameters
    ----------
    truth : SimulatedMicrograph
    rng : Generator
    recall : float
        Share of particles found, 0 .. 1.
    jitter : float
        Standard deviation of the centring error per axis, diameters.
    false_share : float
        False candidates per particle; a third each on carbon and contamination where there is any, the rest on
        background, all more than half a diameter from every particle.
    separation : float
        Distance of the mean scores in their s.d.; 1.81 gives an area under the ROC curve of 0.9.

    Returns
    -------
    Candidates
        In random order; scores 0 .. 1.
    """
    n = len(truth.x)
    recalled = np.flatnonzero(rng.random(n) < recall)
    error = rng.normal(0.0, jitter * truth.diameter_px, (2, len(recalled)))
    false_x, false_y = _false_positions(truth, rng, round(false_share * max(n, 1)))
    x = np.concatenate([truth.x[recalled] + error[0], false_x])
    y = np.concatenate([truth.y[recalled] + error[1], false_y])
    is_true = np.arange(len(x)) < len(recalled)
    score = 0.5 + 0.12 * (rng.normal(size=len(x)) + np.where(is_true, 0.5, -0.5) * separation)
    order = rng.permutation(len(x))
    return Candidates(x[order], y[order], np.clip(score, 0.0, 1.0)[order], is_true[order])


def _false_positions(
    truth: SimulatedMicrograph, rng: np.random.Generator, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Up to ``n`` points that are no particle, (n,) x and y."""
    h, w = truth.image.shape
    many = 40 * n + 200
    x, y = rng.uniform(0, w - 1, many), rng.uniform(0, h - 1, many)
    if len(truth.contamination):  # the last quarter falls on pieces of contamination
        k = many // 4
        piece = truth.contamination[rng.integers(len(truth.contamination), size=k)]
        angle, radius = rng.uniform(0, 2 * math.pi, k), piece[:, 2] * np.sqrt(rng.random(k))
        x[-k:] = np.clip(piece[:, 0] + radius * np.cos(angle), 0, w - 1)
        y[-k:] = np.clip(piece[:, 1] + radius * np.sin(angle), 0, h - 1)
    nearest = np.full(many, np.inf)
    for tx, ty in zip(truth.x, truth.y, strict=True):
        np.minimum(nearest, np.hypot(x - tx, y - ty), out=nearest)
    free = nearest > 0.55 * truth.diameter_px
    on_carbon = truth.carbon.contains(x, y) if truth.carbon is not None else np.zeros(many, bool)
    on_piece = np.zeros(many, bool)
    if len(truth.contamination):
        on_piece[-(many // 4) :] = True
    third = math.ceil(n / 3)
    chosen = [np.flatnonzero(free & on_carbon & ~on_piece)[:third], np.flatnonzero(free & on_piece)[:third]]
    rest = n - sum(len(c) for c in chosen)
    chosen.append(np.flatnonzero(free & ~on_carbon & ~on_piece)[:rest])
    take = np.concatenate(chosen)
    return x[take], y[take]
