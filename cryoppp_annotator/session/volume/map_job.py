"""From the project's picks to a verdict for each and to half maps: the body of a job."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...errors import FormatError, Refused
from ...formats.image.volumes import read_volume
from ...imaging.ctf import Optics
from ...model.context import JobContext
from ...model.coordinates import is_tiff
from ...reconstruct import symmetry as groups
from ...reconstruct.fourier_map import on_grid
from ...reconstruct.prepared_boxes import Stack
from ...reconstruct.rounds import Volume, VolumeOptions, reconstruct
from ...reconstruct.verdict import CONFIDENT_DEG, MatchOptions, Verdicts, judge
from ..classes.box_cache import Boxes, BoxStack, Picks, cut_out, notes_of, plan, trim_cache
from ..core.session import Session
from ..pictures.defocus import defocus_of
from ..pictures.optics import ctf_of
from .first_map import DOUBT, WHY_DOUBTED, first_map, is_one_sided
from .map_run import CURVES, MapResult, MapRun, MapRunOptions, PickVerdicts
from .stored_maps import save_map_run

_QUIET = JobContext()
#: Fewest picks of a run.
FEWEST = 40
#: Picks that are matched first, so that there is something to see in seconds.
_FIRST = 200
#: Below this share of confident picks the answer is said with a warning.
_FEW_CONFIDENT = 0.1


def tiff_notes(paths: Sequence[str]) -> list[str]:
    """What the boxes of TIFF micrographs mean to RELION, which reads those files from the last row."""
    n_tiff = sum(map(is_tiff, paths))
    if not n_tiff:
        return []
    mirrored = (
        "boxes of TIFF micrographs are cut as they are shown; RELION reads TIFF from the last row and would cut mirror "
        "images, to which these poses do not apply: let it go on with the exported particles.mrcs"
    )
    if n_tiff == len(paths):
        return [mirrored]
    mixed = (
        f"{n_tiff} of {len(paths)} micrographs are TIFF, the others are not: if one program wrote them all, the "
        "particles of the two kinds are mirror images of each other; make a map of one kind alone"
    )
    return [mirrored, mixed]


@dataclass(frozen=True, eq=False)
class MapPreview:
    """What a run knows while it goes on.

    Attributes
    ----------
    particle : (n,) int64
        Picks that have a first verdict.
    log_odds : (n,) float32
    volume : (box, box, box) float32 or None
        The map of the latest round.
    words : str
    """

    particle: NDArray[np.int64]
    log_odds: NDArray[np.float32]
    volume: NDArray[np.float32] | None
    words: str


OnPreview = Callable[[MapPreview], None]


def _ignore(_preview: MapPreview) -> None:
    """Nobody looks at it."""


def prove(
    session: Session,
    options: MapRunOptions,
    *,
    on_preview: OnPreview = _ignore,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> MapResult:
    """Lay picks of the project on a map, and make half maps of them; nothing of the picks changes.

    Parameters
    ----------
    session : Session
    options : MapRunOptions
    on_preview : callable
        Gets a :class:`MapPreview` as soon as there is one, on the job's thread.
    scheduler : str, optional
        Of a Dask cluster that gives the verdicts; boxes are cut and maps are made here.
    context : JobContext

    Returns
    -------
    MapResult
        Saved beside the project.

    Raises
    ------
    Refused
        Too few picks, or a file that is no map.
    EngineError, ProjectError, Cancelled
    """
    groups.rotations(options.symmetry)
    reference = None if not options.map_path else _read_map(options)
    return _Proof(session, options, reference, on_preview, scheduler, context).run()


def _read_map(options: MapRunOptions) -> tuple[NDArray[np.float32], float]:
    path = Path(options.map_path)
    try:
        volume, pixel = read_volume(path)
    except (FormatError, OSError) as error:
        raise Refused(f"{path.name} cannot be read as a map: {error}") from error
    size = options.map_pixel_A or pixel
    if not size:
        raise Refused(f"{path.name} has no pixel size in its header: give it (the tab 3D has a field for it)")
    return np.asarray(volume, np.float32), size


class _Proof:
    """One run on its way."""

    def __init__(
        self,
        session: Session,
        options: MapRunOptions,
        reference: tuple[NDArray[np.float32], float] | None,
        on_preview: OnPreview,
        scheduler: str | None,
        context: JobContext,
    ) -> None:
        self.session, self.options, self.reference = session, options, reference
        self.on_preview, self.scheduler, self.context = on_preview, scheduler, context
        self.notes: list[str] = []
        self.volume: Volume | None = None
        self.stack: Stack
        self.ids: NDArray[np.int64]

    def run(self) -> MapResult:
        started = time.monotonic()
        begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        head = self.session.store.newest()
        picks = Picks(**self.session.store.positions(self.options.boxes.which))
        if len(picks) < FEWEST:
            raise Refused(f"{len(picks)} picks are too few for a map; {FEWEST} are needed")
        boxes, mask_radius = self._boxes(picks)
        match = MatchOptions(self.options.symmetry, mask_radius=mask_radius)
        verdicts = None if self.reference is None else self._judge(self.reference, match)
        if verdicts is None or self.options.halves:
            self.volume = self._halves(match, mask_radius)
        final = verdicts or (None if self.volume is None else self.volume.verdicts)
        assert final is not None
        posed = final if self.volume is None else self.volume.verdicts
        columns = _columns(picks, boxes, final, posed, None if self.volume is None else self.volume.half)
        doubt = self._doubt(posed)
        record = {
            "kind": "volume",
            "engine": "cryoppp-annotator",
            "version": __version__,
            "parameters": asdict(self.options),
            "inputs": {"picks": len(picks), "boxes": len(boxes), "side_px": self.stack.box},
            "counts": {"particles": int((final.log_odds > 0).sum())},
            "seed": self.context.seed,
            "curator": self.session.curator,
            "started": begun,
            "seconds": round(time.monotonic() - started, 2),
            "head": head,
            "name": self._name(len(picks)),
            "verdict": doubt + _in_words(final, self.volume),
            "notes": list(dict.fromkeys(self.notes)),
            "pixel_size_A": self.stack.pixel_size_A,
            "map_scale": final.scale,
            "inverted": final.inverted,
            **({} if self.volume is None else _measured(self.volume, doubt)),
        }
        trim_cache(self.session)
        return save_map_run(self.session, MapResult(MapRun(0, record), columns, self._maps(), self._curves()))

    def _name(self, n: int) -> str:
        made = Path(self.options.map_path).name if self.options.map_path else "no map"
        return f"{n:,} picks, {made}, {self.options.symmetry}"

    # -- steps -------------------------------------------------------------------------------------------------------

    def _boxes(self, picks: Picks) -> tuple[Boxes, float]:
        """Boxes of the picks, from the cache of the classes where they are there; a few are matched at once."""
        geometry = plan(self.session, picks, self.options.boxes)
        if self.reference is not None and len(picks) > 3 * _FIRST:
            self._glance(picks)
        boxes = Boxes(BoxStack(geometry.side), geometry)
        cut_out(self.session, picks, boxes, context=self.context.part(0.05, 0.2))
        self.notes += notes_of(boxes, len(picks))
        of_picks = set(picks.micrograph.tolist())
        self.notes += tiff_notes([m.path for m in self.session.micrographs if m.id in of_picks])
        if len(boxes) < FEWEST:
            raise Refused("; ".join([f"only {len(boxes)} picks have a box on a micrograph", *self.notes[:3]]))
        self.stack, self.ids = self._as_stack(boxes, picks), picks.id[boxes.rows]
        unknown = int(np.isnan(self.stack.defocus[:, 0]).sum())
        if unknown:
            which = "all picks" if unknown == len(boxes) else f"{unknown:,} picks"
            self.notes.append(f"no CTF for {which}: fine details cancel each other")
        return boxes, geometry.mask_radius

    def _as_stack(self, boxes: Boxes, picks: Picks) -> Stack:
        micrographs = picks.micrograph[boxes.rows]
        defocus = defocus_by_pick(self.session, micrographs) if self.options.use_ctf else _no_defocus(micrographs)
        return Stack(boxes.images, boxes.geometry.pixel_size_A, defocus, boxes.optics or Optics())

    def _glance(self, picks: Picks) -> None:
        """A first verdict of some picks of few micrographs: what the rest will look like."""
        assert self.reference is not None
        parts = list(picks.by_micrograph().values())
        rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])[:_FIRST]
        some = picks.take(np.sort(rows))
        geometry = plan(self.session, picks, self.options.boxes)
        boxes = Boxes(BoxStack(geometry.side), geometry)
        cut_out(self.session, some, boxes, context=self.context.part())
        if len(boxes) < FEWEST:
            return
        stack, ids = self._as_stack(boxes, some), some.id[boxes.rows]
        self.context.progress(0.0, 1.0, f"a first look at {len(ids)} picks")
        match = MatchOptions(self.options.symmetry, mask_radius=geometry.mask_radius, check_scale=False)
        first = judge(stack, *self.reference, match, context=self.context.part())
        self.on_preview(MapPreview(ids, first.log_odds, None, f"first verdicts of {len(ids)} picks"))

    def _judge(self, reference: tuple[NDArray[np.float32], float], match: MatchOptions) -> Verdicts:
        """Each pick against all that the map holds."""

        def hand_on(rows: NDArray[np.intp], odds: NDArray[np.float32]) -> None:
            self.on_preview(MapPreview(self.ids[rows], odds, None, f"verdicts of {int(rows[-1]) + 1:,} picks"))

        end = 0.5 if self.options.halves else 0.98
        part = self.context.part(0.2, end)
        verdicts = judge(self.stack, *reference, match, on_results=hand_on, scheduler=self.scheduler, context=part)
        self.notes += verdicts.notes
        return verdicts

    def _halves(self, match: MatchOptions, mask_radius: float) -> Volume:
        begin, lowpass_A = 0.5, self.options.lowpass_A
        if self.reference is None:
            first, lowpass_A = first_map(
                self.stack, mask_radius, self.options.symmetry, self.context.part(0.2, 0.55, "first map: ")
            )
            self.reference, begin = (first, self.stack.pixel_size_A), 0.55
            match = replace(match, check_scale=False)
            self.notes.append("no map was given: the first one was made from class averages, and its hand is arbitrary")
            self.on_preview(MapPreview(_NONE, _NO_ODDS, first, "first map, from class averages"))

        def hand_on(volume: NDArray[np.float32], resolution_A: float) -> None:
            size = f"the halves agree to {resolution_A:.0f} Å" if math.isfinite(resolution_A) else "no agreement yet"
            self.on_preview(MapPreview(_NONE, _NO_ODDS, volume, size))

        volume = reconstruct(
            self.stack,
            *self.reference,
            VolumeOptions(match, lowpass_A),
            on_map=hand_on,
            context=self.context.part(begin, 0.98),
        )
        self.notes += volume.notes
        self.notes.append("images of an untilted specimen do not tell the hand of a map")
        return volume

    def _doubt(self, posed: Verdicts) -> str:
        """Of a map without a reference whose views lie in one direction, as those of a wrong first map do."""
        if self.options.map_path:
            return ""
        if not is_one_sided(posed.matrices[posed.probability > 0.5, 0], self.options.symmetry):
            return ""
        self.notes.append(WHY_DOUBTED)
        return DOUBT

    # -- what is kept ------------------------------------------------------------------------------------------------

    def _maps(self) -> dict[str, NDArray[np.float32]]:
        assert self.reference is not None
        maps = {"reference": on_grid(*self.reference, self.stack.box, self.stack.pixel_size_A)}
        if (made := self.volume) is not None:
            maps |= {"map": made.mean, "half1": made.half1, "half2": made.half2, "mask": made.correlation.mask}
        return maps

    def _curves(self) -> Mapping[str, NDArray[np.float64]]:
        return {} if self.volume is None else {name: getattr(self.volume.correlation, name) for name in CURVES}


_NONE = np.zeros(0, np.int64)
_NO_ODDS = np.zeros(0, np.float32)


def defocus_by_pick(session: Session, micrographs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Defocus U and V, A, and the angle of U, degrees, (n, 3), of picks on micrographs (n,); NaN = not known."""
    out = _no_defocus(micrographs)
    for number in np.unique(micrographs).tolist():
        micrograph = session.micrograph(number)
        mine = micrographs == number
        if (ctf := ctf_of(micrograph)) is not None:
            out[mine] = ctf.defocus.u_A, ctf.defocus.v_A, ctf.defocus.angle_deg
        elif math.isfinite(mean := defocus_of(session, micrograph).mean_A):
            out[mine] = mean, mean, 0.0
    return out


def _no_defocus(micrographs: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.full((len(micrographs), 3), np.nan)


def _columns(
    picks: Picks, boxes: Boxes, verdicts: Verdicts, posed: Verdicts, half: NDArray[np.int8] | None
) -> PickVerdicts:
    """What is known of every pick, ordered by its id."""
    n, rows = len(picks), boxes.rows
    wide: dict[str, NDArray[Any]] = {
        "log_odds": np.full(n, np.nan, np.float32),
        "error_deg": np.full(n, 180.0, np.float32),
        "matrices": np.tile(np.eye(3), (n, 1, 1)),
        "shift_x": np.zeros(n),
        "shift_y": np.zeros(n),
        "half": np.full(n, -1, np.int8),
    }
    wide["log_odds"][rows], wide["error_deg"][rows] = verdicts.log_odds, posed.error_deg
    wide["matrices"][rows] = posed.matrices[:, 0]
    wide["shift_x"][rows] = posed.shifts[:, 0, 0] * boxes.scale
    wide["shift_y"][rows] = posed.shifts[:, 0, 1] * boxes.scale
    if half is not None:
        wide["half"][rows] = np.where(posed.probability > 0.5, half, -1)
    order = np.argsort(picks.id, kind="stable")
    same = {"particle": picks.id, "micrograph": picks.micrograph, "x": picks.x, "y": picks.y}
    return PickVerdicts(**{name: column[order] for name, column in (same | wide).items()})


def _measured(volume: Volume, doubt: str) -> dict[str, float | str | None]:
    """What is kept of the half maps in numbers, and what they say."""
    size, beyond = volume.resolution_A, volume.beyond
    return {
        "resolution_A": round(size, 3) if math.isfinite(size) else None,
        "fsc_outside_reference": round(beyond.mean, 4),
        "significance": round(beyond.significance, 2),
        "evidence": doubt + volume.verdict,
    }


def _in_words(verdicts: Verdicts, volume: Volume | None) -> str:
    n, particles = len(verdicts.log_odds), int((verdicts.probability > 0.5).sum())
    confident = int(((verdicts.probability > 0.5) & (verdicts.error_deg < CONFIDENT_DEG)).sum())
    words = f"{particles:,} of {n:,} picks are rather particles"
    if volume is not None:
        resolution = volume.resolution_A
        size = f"{resolution:.1f} Å" if math.isfinite(resolution) else "no resolution"
        words = f"{size}, {volume.verdict}; {words}"
    elif confident < _FEW_CONFIDENT * n:
        words += f", but only {confident:,} have a pose that is known to {CONFIDENT_DEG:.0f} degrees"
    return words
