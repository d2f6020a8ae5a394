"""Topaz-Denoise (Bepler et al. 2020, doi:10.1038/s41467-020-18952-1) as a denoiser."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryoppp_annotator.api import JobContext, Picture, fourier_crop, plain_image

from .program import run_topaz, write_image


class TopazDenoiser:
    """``topaz denoise`` with its shipped U-net, on the micrograph Fourier-cropped to the size of the picture."""

    def __init__(self, name: str, title: str, model: str) -> None:
        self.name = name
        self.title = title
        self._model = model

    def denoise(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float | None,
        diameter_A: float | None,
        max_side: int,
        context: JobContext,
    ) -> Picture:
        """See :class:`cryoppp_annotator.api.Denoiser`."""
        step = max(1.0, math.ceil(4.0 * max(image.shape, default=1) / max(1, max_side)) / 4.0)
        plain = plain_image(image)
        if plain is None:
            return Picture(np.zeros(image.shape, np.float32), (1.0, 1.0), (-1.0, 1.0))
        small, steps = _cropped(plain, step)
        context.check()
        with tempfile.TemporaryDirectory(prefix="cryoppp-topaz-") as name:
            folder = Path(name)
            write_image(folder / "m.mrc", small, None)
            # 0.3.20 takes the model from --arch, earlier ones from -m
            words = [
                "denoise",
                "-m",
                self._model,
                "--arch",
                self._model,
                "--normalize",
                "-s",
                "512",
                "-p",
                "128",
                "-o",
                "out",
                "m.mrc",
            ]
            run_topaz(words, folder=folder, context=context)
            with mrcfile.open(folder / "out" / "m.mrc", permissive=True) as file:
                pixels = np.array(file.data, np.float32)
        low, high = np.percentile(pixels[::4, ::4], (0.5, 99.5))
        return Picture(pixels, steps, (float(low), float(max(high, low + 1e-6))))


def _cropped(image: NDArray[np.float32], step: float) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The image at ``step`` px a pixel, or as near as whole sizes allow, and the step there is, yx."""
    if step <= 1.0:
        return image, (1.0, 1.0)
    shape = (max(1, math.ceil(image.shape[0] / step)), max(1, math.ceil(image.shape[1] / step)))
    return fourier_crop(image, shape), (image.shape[0] / shape[0], image.shape[1] / shape[1])


TOPAZ_DENOISE = TopazDenoiser("topaz", "Topaz-Denoise", "unet")
