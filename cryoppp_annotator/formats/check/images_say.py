"""What the images of several micrographs say together of the frame of one source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import FormatError
from ...model.coordinates import SourceFrame, is_tiff
from ...model.pickfile import FilePicks
from ..image import images
from .frame import FrameVerdict, check_frame, combine

#: Micrographs that are looked at.
SAMPLE = 3


@dataclass(frozen=True, eq=False)
class Sample:
    """A micrograph with picks to test.

    Attributes
    ----------
    path : Path
    frame : int
        Frame of the image file; -1 = average.
    picks : FilePicks
    diameter_px : float
        Particle diameter, px of the micrograph; a rough one.
    """

    path: Path
    frame: int
    picks: FilePicks
    diameter_px: float


def ask_images(
    samples: Sequence[Sample], declared: SourceFrame, check: Callable[[], None], *, most: int = SAMPLE
) -> FrameVerdict:
    """Test the frame of a source on the images with most picks.

    Parameters
    ----------
    samples : sequence of Sample
        The best first. Images of the first one's kind are looked at: RELION reads TIFF another way up than MRC.
    declared : SourceFrame
        Of the source.
    check : callable
        Called between images; raises to cancel.
    most : int
        So many images are read.
    """
    same_kind = [item for item in samples if is_tiff(item.path) == is_tiff(samples[0].path)]
    verdicts: list[FrameVerdict] = []
    why = "too few picks"
    for sample in same_kind[:most]:
        check()
        try:
            image = images.read(sample.path, sample.frame, check=check)
        except FormatError as error:
            why = error.detail
            continue
        here = declared.on(sample.path)
        picks = sample.picks
        verdicts.append(
            check_frame(image, picks.x, picks.y, sample.diameter_px, box_size=picks.box_size_px, declared=here)
        )
    return combine(verdicts) if verdicts else FrameVerdict(None, reason=why)
