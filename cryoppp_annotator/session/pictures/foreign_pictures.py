"""Pictures made by other programs, shown instead of ours. Coordinates, picking and export stay the micrograph's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ...errors import AnnotatorError, FormatError, Refused
from ...formats.image import images
from ...formats.registry import match_micrographs
from ...imaging.denoise import raw_picture
from ...model.context import JobContext
from ...model.curation import Change
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.picture import Picture
from ..core import own_paths
from ..core.edits import count_of, set_text
from ..core.session import Session
from ..core.step import Done, Result

#: Smallest scale of a picture, micrograph px per px of it.
_LEAST_SCALE = 0.25
#: Largest scale of a picture, micrograph px per px of it.
_MOST_SCALE = 64.0
#: Px of the picture that a program may cut off or add when it bins.
_SLACK_PX = 2.0
#: Pictures that are compared with their micrograph before all of them are attached.
_LOOKED_AT = 3
_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class Attached:
    """A picture of another program.

    Attributes
    ----------
    path : Path
    scale : float
        Micrograph px per px of it.
    """

    path: Path
    scale: float


@dataclass(frozen=True, eq=False)
class AttachPlan:
    """Pictures found and matched, not yet in the project.

    Attributes
    ----------
    source : Path
    pictures : mapping of micrograph id to Attached
    refused : mapping of Path to str
        Pictures that belong to a micrograph by name and cannot be it, and why.
    unmatched : tuple of Path
        Pictures of no micrograph here.
    ambiguous : mapping of Path to candidates
    """

    source: Path
    pictures: Mapping[int, Attached]
    refused: Mapping[Path, str]
    unmatched: tuple[Path, ...]
    ambiguous: Mapping[Path, tuple[str, ...]]


def attached_to(session: Session, micrograph: Micrograph) -> Attached | None:
    """The picture that was attached to a micrograph, whether or not its file is still there."""
    if not micrograph.picture:
        return None
    try:
        stored = json.loads(micrograph.picture)
        picture = Attached(session.data_root / str(stored["path"]), float(stored["scale"]))
    except (ValueError, TypeError, KeyError):
        return None
    return picture if _LEAST_SCALE <= picture.scale <= _MOST_SCALE else None


def read(attached: Attached, micrograph: Micrograph, context: JobContext = _QUIET) -> Picture:
    """The picture, in micrograph coordinates.

    Raises
    ------
    FormatError
        It is gone, cannot be read, or is not of the size it had.
    Cancelled
    """
    image = images.read(attached.path, check=context.check)
    if scale_of((micrograph.height, micrograph.width), image.shape[:2]) is None:
        raise FormatError(_misfit((micrograph.height, micrograph.width), image.shape[:2]), attached.path)
    picture = raw_picture(image)
    step = (picture.step[0] * attached.scale, picture.step[1] * attached.scale)
    return Picture(picture.pixels, step, picture.limits)


# ------------------------------------------------------------------------------------------------------ finding


def find(session: Session, source: Path | str, *, context: JobContext = _QUIET) -> AttachPlan:
    """Find pictures of the project's micrographs by name, and the scale of each by its size.

    Parameters
    ----------
    source : Path or str
        A folder, a pattern or a file.

    Raises
    ------
    FormatError
        There is no such folder.
    Refused
        None of its images belongs to a micrograph, or they lie upside down against them.
    Cancelled
    """
    folder = Path(source).expanduser().absolute()
    own = {session.path_of(m).resolve() for m in session.micrographs}
    paths = [path.absolute() for path in images.find_micrographs(folder) if path.resolve() not in own]
    by_path = {m.path: m for m in session.micrographs}
    match = match_micrographs([path.as_posix() for path in paths], by_path)
    pictures: dict[int, Attached] = {}
    refused: dict[Path, str] = {}
    for i, (name, at) in enumerate(match.matches.items()):
        if i % 20 == 0:
            context.progress(i, len(match.matches), f"looking at {i}/{len(match.matches)} pictures")
        micrograph, path = by_path[at], Path(name)
        try:
            info = images.probe(path)
        except FormatError as error:
            refused[path] = error.detail
            continue
        full, size = (micrograph.height, micrograph.width), (info.height, info.width)
        scale = scale_of(full, size)
        if info.n_frames > 1:
            refused[path] = f"holds {info.n_frames} images, a picture was expected"
        elif scale is None:
            refused[path] = _misfit(full, size)
        else:
            pictures[micrograph.id] = Attached(path, scale)
    if not pictures:
        first = next((f"; {path.name}: {why}" for path, why in refused.items()), "")
        what = count_of(len(paths), "image")
        raise Refused(f"{folder} holds no picture of the project's micrographs ({what} found{first})")
    _refuse_turned(session, pictures, context)
    return AttachPlan(
        folder, pictures, refused, tuple(map(Path, match.unmatched)), {Path(n): c for n, c in match.ambiguous.items()}
    )


def scale_of(full: tuple[int, ...], size: tuple[int, ...]) -> float | None:
    """Micrograph px per picture px from two sizes (rows, columns); None where one is no scaled copy of the other.

    Programs that bin by a whole number cut off or fill up an odd pixel, so one that explains both sides is taken for
    what was meant.
    """
    if min(*full, *size) < 1:
        return None
    ratio = max(full) / max(size)
    if not _LEAST_SCALE <= ratio <= _MOST_SCALE:
        return None
    if max(full) != max(size) and abs(ratio - 1.0) < 0.01:
        return None  # not binned but cut, at an unknown place
    slack = _SLACK_PX if ratio > 1.0 else _SLACK_PX / ratio
    half = round(2.0 * ratio) / 2.0
    rest = slack if half % 1.0 == 0.0 else 0.5
    for scale, allowed in ((half, 0.0 if half == 1.0 else rest), (ratio, slack)):
        if scale > 0 and all(abs(a / scale - b) <= allowed for a, b in zip(full, size, strict=True)):
            return float(scale)
    return None


def _misfit(full: tuple[int, ...], size: tuple[int, ...]) -> str:
    text = f"{size[1]} x {size[0]} px is no scaled copy of {full[1]} x {full[0]}"
    if min(full) < 1:
        return "its micrograph cannot be read"
    if full[0] != full[1] and scale_of(full, size[::-1]) is not None:
        return text + " (its sides are exchanged)"
    return text


def _refuse_turned(session: Session, pictures: Mapping[int, Attached], context: JobContext) -> None:
    """Refuse pictures that lie upside down or mirrored: no file says so, only the images can."""
    turned = []
    looked = list(pictures.items())[:_LOOKED_AT]
    for i, (number, attached) in enumerate(looked):
        context.progress(i, len(looked), f"comparing {attached.path.name} with its micrograph")
        micrograph = session.micrograph(number)
        try:
            raw = _coarse(images.read(session.path_of(micrograph), micrograph.frame, check=context.check))
            other = _coarse(images.read(attached.path, check=context.check))
        except AnnotatorError:
            return  # what cannot be compared is said when it is shown
        views = {"": other, "upside down": other[::-1], "mirrored": other[:, ::-1], "half turned": other[::-1, ::-1]}
        likeness = {way: abs(float((raw * view).mean())) for way, view in views.items()}
        best = max(likeness, key=lambda way: likeness[way])
        if best and likeness[best] > 0.25 and likeness[best] > 3.0 * likeness[""]:
            turned.append(f"{attached.path.name} lies {best} against {micrograph.name}")
    if turned and len(turned) == len(looked):
        raise Refused(f"{turned[0]}: nothing was attached, or every pick would seem to be in the wrong place")


def _coarse(image: NDArray[np.generic], cells: int = 96) -> NDArray[np.float32]:
    """(96, 96) picture of the middle scales, s.d. 1; particles and ice, no slope and no noise."""
    pixels = raw_picture(image).pixels
    rows = np.linspace(0, pixels.shape[0], cells + 1).astype(int)[:-1]
    columns = np.linspace(0, pixels.shape[1], cells + 1).astype(int)[:-1]
    if min(pixels.shape) < cells:
        raise Refused("too small to compare")
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=0), columns, axis=1)
    sums = gaussian_filter(sums, 0.7) - gaussian_filter(sums, 6.0)
    low, high = np.percentile(sums, (2, 98))
    sums = np.clip(sums, low, high)
    sums -= sums.mean()
    spread = float(sums.std())
    return np.asarray(sums / spread if spread > 0 else sums, np.float32)


# ------------------------------------------------------------------------------------------------------ verbs


def enter(session: Session, plan: AttachPlan) -> str:
    """Attach what :func:`find` found as one step that can be undone; returns the line for the status bar."""
    own_paths.allow_named(session, (attached.path for attached in plan.pictures.values()))
    texts = {i: _as_json(session, attached) for i, attached in plan.pictures.items()}
    scales = sorted({round(attached.scale, 3) for attached in plan.pictures.values()})
    binned = "" if scales == [1.0] else f", binned {' and '.join(f'{s:g}' for s in scales[:3])} times"
    message = Message("attach", count_of(len(texts), "picture"), where=f"from {plan.source.name}{binned}")
    result = session.insert_built(lambda: set_text(session.micrographs, "picture", texts, "attach", message))
    lines = [message.done if isinstance(result, Done) else f"{plan.source.name}: attached already"]
    if plan.refused:
        path, why = next(iter(plan.refused.items()))
        lines.append(f"left out {count_of(len(plan.refused), 'picture')} ({path.name}: {why})")
    if plan.ambiguous:
        lines.append(f"{count_of(len(plan.ambiguous), 'name')} ambiguous ({next(iter(plan.ambiguous)).name} ...)")
    return " · ".join(lines)


def attach(session: Session, source: Path | str, *, context: JobContext = _QUIET) -> str:
    """Find and attach in one go; see :func:`find` and :func:`enter`."""
    return enter(session, find(session, source, context=context))


def detach(session: Session, micrograph_ids: Iterable[int] | None = None) -> Result:
    """Show our own pictures again (of all micrographs by default), as one step."""
    ids: Sequence[int] = [m.id for m in session.micrographs] if micrograph_ids is None else list(micrograph_ids)
    texts = dict.fromkeys(ids, "")
    n = sum(bool(session.micrograph(i).picture) for i in ids)
    message = Message("detach", count_of(n, "picture"))

    def build() -> Change | None:
        return set_text(session.micrographs, "picture", texts, "detach", message)

    return session.insert_built(build)


def _as_json(session: Session, attached: Attached) -> str:
    try:
        path = attached.path.relative_to(session.data_root.absolute())
    except ValueError:
        path = attached.path
    scale = attached.scale
    return json.dumps({"path": path.as_posix(), "scale": int(scale) if math.isclose(scale, round(scale)) else scale})
