"""Non-local means and total variation of scikit-image, for comparison: slow, and without the CTF.

They work in tiles on the band-passed display copy: a cancel is heard between tiles, and both cores are busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from skimage import restoration

from ..model.context import JobContext
from ..model.parameter import Parameter, with_defaults
from ..model.picture import Picture
from .contrast import interior
from .ctf import Ctf
from .denoise import BAND_PASS, NOTHING, display_limits, normalise, scaled_padding
from .filters import fft_workers, find_padding

FloatImage = NDArray[np.float32]
Smooth = Callable[[FloatImage, Mapping[str, float], float], FloatImage]

#: Side of a tile that is denoised at once, px.
_TILE = 224
#: Overlap of neighbouring tiles on each side, px.
_MARGIN = 16
_STRENGTH = Parameter("strength", "Strength", 1.0, 0.1, 5.0, "", "In units of the noise: more is smoother")


@dataclass(slots=True)  # not frozen: the protocol declares plain attributes
class SmoothingDenoiser:
    """A filter of scikit-image on the band-passed picture.

    Attributes
    ----------
    smooth : callable
        ``smooth(tile, parameters, noise)`` of the same shape; ``noise`` is the s.d. of the noise.
    """

    #: The picture does not follow the defocus.
    uses_ctf: ClassVar[bool] = False
    name: str
    title: str
    parameters: tuple[Parameter, ...]
    smooth: Smooth

    def denoise(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float | None,
        diameter_A: float | None,
        max_side: int,
        context: JobContext,
        parameters: Mapping[str, Any] = NOTHING,
        ctf: Ctf | None = None,
    ) -> Picture:
        """Make the display picture; see :class:`cryoppp_annotator.api.TunableDenoiser`. The CTF is not used.

        Parameters
        ----------
        image : (h, w) real, px of the micrograph, row 0 first

        Raises
        ------
        Cancelled
        EngineError
            Where the image is empty or not 2-D, or a parameter is impossible.
        """
        chosen = with_defaults(self.parameters, parameters)
        picture = BAND_PASS.denoise(
            image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, max_side=max_side, context=context
        )
        padding = scaled_padding(find_padding(image), picture.step[0], image.shape, picture.pixels.shape)
        inner = interior(picture.pixels, padding)
        noise = _noise_of(inner)
        inner[:] = _tiled(inner, lambda tile: self.smooth(tile, chosen, noise), context)
        normalise(picture.pixels, padding)
        return Picture(picture.pixels, picture.step, display_limits(picture.pixels, padding))


def _noise_of(image: FloatImage) -> float:
    """S.d. of the noise: of the quieter half of the image, cells of 16 px."""
    rows, columns = image.shape[0] // 16, image.shape[1] // 16
    if not rows or not columns:
        return float(image.std())
    cells = image[: rows * 16, : columns * 16].reshape(rows, 16, columns, 16)
    return float(np.median(cells.std(axis=(1, 3))))


def _tiled(image: FloatImage, smooth: Callable[[FloatImage], FloatImage], context: JobContext) -> FloatImage:
    """Apply a local filter tile by tile, each with a margin that is thrown away."""
    out = np.empty_like(image)
    tiles = list(_tiles(image.shape))
    stop = False

    def one(tile: tuple[slice, slice]) -> None:
        if stop:
            return
        rows, columns = tile
        top, left = max(0, rows.start - _MARGIN), max(0, columns.start - _MARGIN)
        around = image[top : rows.stop + _MARGIN, left : columns.stop + _MARGIN]
        done = smooth(np.ascontiguousarray(around))
        out[tile] = done[rows.start - top :, columns.start - left :][
            : rows.stop - rows.start, : columns.stop - columns.start
        ]

    with ThreadPoolExecutor(fft_workers(), thread_name_prefix="smooth") as pool:
        pending = [pool.submit(one, tile) for tile in tiles]
        try:
            for i, future in enumerate(pending):
                context.progress(i, len(pending), f"{i}/{len(pending)} tiles")
                future.result()
        except BaseException:
            stop = True
            raise
    return out


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    for top in range(0, shape[0], _TILE):
        for left in range(0, shape[1], _TILE):
            yield slice(top, min(top + _TILE, shape[0])), slice(left, min(left + _TILE, shape[1]))


def _non_local_means(tile: FloatImage, parameters: Mapping[str, float], noise: float) -> FloatImage:
    """Buades, Coll & Morel 2005, doi:10.1109/CVPR.2005.38, in the fast form of scikit-image."""
    patch, distance = int(parameters["patch_px"]), int(parameters["distance_px"])
    h = 0.6 * parameters["strength"] * noise
    done = restoration.denoise_nl_means(tile, patch_size=patch, patch_distance=distance, h=max(h, 1e-6), fast_mode=True)
    return np.asarray(done, np.float32)


def _total_variation(tile: FloatImage, parameters: Mapping[str, float], noise: float) -> FloatImage:
    """Chambolle 2004, doi:10.1023/B:JMIV.0000011325.36760.1e."""
    # eps 0: each tile takes as many steps as the others, or they would differ in smoothness
    chambolle: Any = restoration.denoise_tv_chambolle
    done = chambolle(tile, weight=max(parameters["strength"] * noise, 1e-6), eps=0.0, max_num_iter=60)
    return np.asarray(done, np.float32)


#: Entry point ``nlm``; an ``api.TunableDenoiser``.
NLM = SmoothingDenoiser(
    "nlm",
    "Non-local means (slow)",
    (
        _STRENGTH,
        Parameter("patch_px", "Patch", 5, 3, 15, "px", "Side of the patches that are compared, picture px"),
        Parameter("distance_px", "Within", 6, 3, 15, "px", "How far away similar patches are looked for, picture px"),
    ),
    _non_local_means,
)
#: Entry point ``tv``; an ``api.TunableDenoiser``.
TV = SmoothingDenoiser("tv", "Total variation (slow)", (_STRENGTH,), _total_variation)
