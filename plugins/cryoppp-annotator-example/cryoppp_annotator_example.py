"""A picker in thirty lines: places that differ from their surroundings, by two box filters. Copy it to write yours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

from cryoppp_annotator.api import Candidates, EngineError, JobContext, plain_image


class ExamplePicker:
    """Dark particles (``polarity`` = ``bright``: bright ones) above ``threshold`` standard deviations."""

    name = "example"
    title = "Example (box filters)"

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
        if not (pixel_size_A > 0 and diameter_A > 0):
            raise EngineError("pixel size and diameter must be positive")
        diameter = diameter_A / pixel_size_A
        plain = plain_image(image, diameter)
        if plain is None:
            return Candidates.empty()
        context.check()  # wherever a second may pass
        contrast = uniform_filter(plain, max(1, round(0.7 * diameter))) - uniform_filter(plain, round(2 * diameter) + 1)
        contrast *= 1.0 if parameters.get("polarity") == "bright" else -1.0
        context.check()
        noise = 1.4826 * float(np.median(np.abs(contrast - np.median(contrast)))) or float(contrast.std()) or 1.0
        peaks = contrast == maximum_filter(contrast, max(3, round(0.8 * diameter)))
        context.check()
        y, x = np.nonzero(peaks & (contrast > float(parameters.get("threshold", 3.0)) * noise))
        score = contrast[y, x].astype(np.float64) / noise
        best = np.argsort(-score, kind="stable")
        candidates = Candidates(x.astype(np.float64), y.astype(np.float64), score, np.full(len(x), float(diameter_A)))
        return candidates.take(best)


EXAMPLE = ExamplePicker()
