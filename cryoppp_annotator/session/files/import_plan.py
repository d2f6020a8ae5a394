"""A coordinate file that was read and checked, before it enters a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...formats.check import frame as frame_guard
from ...model.coordinates import Orientation, SourceFrame, is_tiff
from ...model.file_note import NoteKind, without
from ...model.micrograph import Micrograph
from ...model.pickfile import FilePicks, PickFile


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """A coordinate file read, matched and checked, not yet in the project.

    Attributes
    ----------
    file : PickFile
    matched : tuple of (micrograph, picks)
    unmatched : tuple of str
        Names of no micrograph here.
    ambiguous : mapping of name to candidates
    frame : SourceFrame
        The frame the picks will be read in.
    verdict : FrameVerdict
        What the images say of it.
    contradicted : bool
        The image says another frame than the format, and only a person can settle it.
    declared : SourceFrame
        By the format.
    suffix : str
        What a person said stands behind each micrograph's name.
    species : str
        Of which species a person said the picks are that do not say it themselves; empty = of none.
    """

    file: PickFile
    matched: tuple[tuple[Micrograph, FilePicks], ...]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    frame: SourceFrame
    verdict: frame_guard.FrameVerdict
    contradicted: bool = False
    declared: SourceFrame = field(default_factory=SourceFrame)
    suffix: str = ""
    species: str = ""

    @property
    def n_picks(self) -> int:
        """Picks that will enter the project."""
        return sum(len(p) for _, p in self.placeable)

    def without_picks(self) -> ImportPlan:
        """The same without its rows: which micrographs, files and frame it was about."""
        light = {id(picks): picks.without_rows() for picks in self.file.picks}
        light |= {id(picks): picks.without_rows() for _, picks in self.matched if id(picks) not in light}
        file = replace(self.file, picks=tuple(light[id(picks)] for picks in self.file.picks))
        return replace(self, file=file, matched=tuple((m, light[id(picks)]) for m, picks in self.matched))

    @property
    def frame_here(self) -> SourceFrame:
        """The frame on these micrographs: settled for their kind of file."""
        return self.frame.on(self.matched[0][0].path) if self.matched else self.frame

    @cached_property
    def placeable(self) -> tuple[tuple[Micrograph, FilePicks], ...]:
        """What can be entered: a flipped y means nothing on a micrograph of unknown height."""
        flipped = (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y)
        return tuple(
            (m, p) for m, p in self.matched if m.height > 0 or self.frame.on(m.path).orientation not in flipped
        )

    @property
    def contradiction(self) -> str:
        """Why a person must settle the frame before this can be entered; empty where nothing is in doubt."""
        if not self.contradicted or self.verdict.orientation is None:
            return ""
        return (
            f"{self.file.path.name}: the {self.file.format} frame puts the picks beside the particles; the image says "
            f"{self.verdict} (by {self.verdict.margin_se:.0f} standard errors). "
            "Say which is right (--frame image, or one by name)."
        )

    def with_orientation(self, orientation: Orientation) -> ImportPlan:
        """The same with the person's answer about the frame.

        An answer that is the image's and not the format's takes the image's anchor and scale too.
        """
        if self.contradicted and orientation is self.verdict.orientation is not self.frame_here.orientation:
            return self.as_imaged()
        return replace(self, frame=replace(self.frame, orientation=orientation, flips_tiff=False), contradicted=False)

    def as_imaged(self) -> ImportPlan:
        """The same, read as the image says: orientation, anchor and scale. Nothing changes where it is undecided."""
        seen = self.verdict.frame
        if seen is None:
            return self
        frame = replace(
            self.frame, orientation=seen.orientation, anchor=seen.anchor, scale=seen.scale, flips_tiff=False
        )
        return replace(self, frame=frame, contradicted=False)

    def as_the_format_says(self) -> ImportPlan:
        """The same in the declared frame, whatever the image says."""
        return replace(self, frame=self.declared, contradicted=False)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was assumed in reading, as clauses; what the image has confirmed is assumed no longer."""
        settled = (NoteKind.AXES,) if self.verdict.orientation is not None else ()
        notes = without(self.file.notes, *settled)
        if self.frame.flips_tiff and any(is_tiff(m.path) for m, _ in self.matched):
            notes += (f"{self.file.format} reads TIFF from the last row up, so y is turned on TIFF micrographs",)
        return notes

    def frame_message(self) -> str:
        """One clause about the frame for the status line."""
        name = f"{self.file.format} frame"
        if self.verdict.orientation is None:
            return f"{name}, not checked against the image ({self.verdict.reason})"
        if not self.verdict.contradicts(self.frame_here):
            how = "confirmed on the image"
            if self.verdict.contradicts(self.declared.on(self.matched[0][0].path)):
                how = f"read {frame_guard.describe(self.frame_here)}, as the image says"
            return f"{name}, {how}"
        return f"{name}, but the image says {self.verdict}"
