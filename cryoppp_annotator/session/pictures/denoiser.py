"""One call for any denoiser, built in or of a plugin, with its parameters and the CTF where it takes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...api import Denoiser, Parameter
from ...contract import picture_of
from ...errors import EngineError
from ...extensions import DENOISERS, denoisers, is_foreign
from ...imaging.ctf import Ctf
from ...jobs.isolated import call_isolated
from ...model.context import JobContext
from ...model.picture import Picture

log = logging.getLogger(__name__)

#: What is used where nobody chooses.
DEFAULT = "auto"


def named_denoiser(name: str) -> Denoiser:
    """The denoiser of that name. Raises EngineError, with those there are, where there is none."""
    known = denoisers()
    if name not in known:
        raise EngineError(f"there is no denoiser {name!r}; choose one of {', '.join(sorted(known))}")
    return known[name]


def parameters_of(denoiser: Denoiser) -> tuple[Parameter, ...]:
    """The numbers a denoiser lets a person choose; none where it is a plain one."""
    try:
        described = tuple(getattr(denoiser, "parameters", ()))
    except (Exception, SystemExit):  # somebody else's code
        log.warning(
            "the parameters of the denoiser %s are left out: it fails to say them", denoiser.name, exc_info=True
        )
        return ()
    return tuple(one for one in described if isinstance(one, Parameter))


def uses_ctf(denoiser: Denoiser) -> bool:
    """Whether a denoiser's picture follows the defocus.

    One with parameters is given the CTF and is taken to use it, unless its ``uses_ctf`` says no.
    """
    return bool(getattr(denoiser, "uses_ctf", hasattr(denoiser, "parameters")))


def run_denoiser(
    denoiser: Denoiser,
    image: NDArray[Any],
    *,
    pixel_size_A: float | None,
    diameter_A: float | None,
    max_side: int,
    parameters: Mapping[str, Any],
    ctf: Ctf | None,
    context: JobContext,
) -> Picture:
    """Call a denoiser of either kind on an image (h, w); a plain one gets no parameters and no CTF, see ``api``.

    Raises
    ------
    EngineError
    Cancelled
    """
    common: dict[str, Any] = {
        "pixel_size_A": pixel_size_A,
        "diameter_A": diameter_A,
        "max_side": max_side,
    }
    if hasattr(denoiser, "parameters"):
        common |= {"parameters": parameters, "ctf": ctf}
    if is_foreign(DENOISERS, denoiser.name) and denoisers().get(denoiser.name) is denoiser:
        answer = call_isolated(DENOISERS, denoiser.name, "denoise", (np.asarray(image),), common, context)
    else:
        answer = cast("Any", denoiser).denoise(image, context=context, **common)
    return picture_of(answer, denoiser.name, image.shape)
