"""Topaz's shipped detectors, or one trained on our picks, as a picker."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoppp_annotator.api import Candidates, EngineError, JobContext, plain_image

from .program import checked, read_picks, run_topaz, write_image

#: Diameter of a particle on the images Topaz sees, px: what its shipped detectors were made for.
SEEN_DIAMETER_PX = 28.0
MODELS = ("resnet16", "resnet16_u32", "resnet8", "resnet8_u32")
_DEFAULTS: dict[str, Any] = {"model": "resnet16", "threshold": -3.0, "downsample": 0.0}


def downsampling(diameter_px: float) -> int:
    """Whole factor by which a micrograph is reduced before Topaz sees it."""
    return max(1, round(diameter_px / SEEN_DIAMETER_PX))


class TopazPicker:
    """``topaz preprocess`` and ``topaz extract``.

    Parameters (all optional): ``model``, one of :data:`MODELS` or a file that ``cryoppp-annotator-topaz train``
    wrote; ``threshold``, smallest log-likelihood ratio proposed; ``downsample``, whole factor, 0 = by the diameter.
    """

    name = "topaz"
    title = "Topaz"

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        """See :class:`cryoppp_annotator.api.Picker`."""
        options = checked(parameters, _DEFAULTS)
        if not (math.isfinite(pixel_size_A) and math.isfinite(diameter_A) and pixel_size_A > 0 and diameter_A > 0):
            raise EngineError("pixel size and diameter must be positive")
        model = str(options["model"])
        if model not in MODELS:
            model = str(Path(model).expanduser().absolute())
            if not Path(model).is_file():
                raise EngineError(
                    f"the Topaz model {options['model']} is neither a file nor one of {', '.join(MODELS)}"
                )
        diameter = diameter_A / pixel_size_A
        scale = max(0, int(options["downsample"])) or downsampling(diameter)
        # Topaz's own downsampling and networks want some pixels
        plain = plain_image(image, max(2.0 * diameter, 32.0 * scale))
        if plain is None:
            return Candidates.empty()
        with tempfile.TemporaryDirectory(prefix="cryoppp-topaz-") as name:
            folder = Path(name)
            write_image(folder / "m.mrc", plain, pixel_size_A)
            preprocess = ["preprocess", "-s", str(scale), "-o", "small/", "m.mrc"]
            extract = [
                "extract",
                "-m",
                model,
                "-r",
                str(max(1, round(0.5 * diameter / scale))),
                "-x",
                str(scale),
                "-t",
                f"{options['threshold']:g}",
                "-o",
                "picks.txt",
                "small/m.mrc",
            ]
            run_topaz(preprocess, extract, folder=folder, context=context)
            table = read_picks((folder / "picks.txt").read_text(encoding="utf-8").splitlines())
        x, y, score = table.T
        inside = (x >= 0) & (y >= 0) & (x <= plain.shape[1] - 1) & (y <= plain.shape[0] - 1) & np.isfinite(score)
        candidates = Candidates(x, y, score, np.full(len(x), float(diameter_A))).take(inside)
        return candidates.take(np.lexsort((candidates.x, candidates.y, -candidates.score)))


TOPAZ = TopazPicker()
