"""Pictures of micrographs for the screen: prepared in the background, kept in memory and in the project's cache."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...api import Denoiser
from ...errors import AnnotatorError, Cancelled, EngineError, FormatError, OutsideError
from ...formats.atomic import replacing
from ...formats.image import images
from ...formats.kept_arrays import load_arrays
from ...imaging import denoise
from ...imaging.ctf import Ctf
from ...jobs.each import each
from ...jobs.runner import Job, JobState, Runner
from ...model.context import JobContext
from ...model.micrograph import Micrograph
from ...model.picture import Picture
from ..core import own_paths
from ..core.disk_cache import DiskCache
from ..core.edits import count_of
from ..core.session import Session
from . import foreign_pictures
from .denoiser import named_denoiser, run_denoiser, uses_ctf
from .optics import ctf_of

#: Longest side of a denoised picture, px.
MAX_SIDE = 2048
#: Pictures kept in memory, bytes.
MEMORY_LIMIT = 400_000_000
#: Counted up when a built-in denoiser gives other pictures than before, so that cached ones are made anew.
_GENERATION = 2
#: Pictures kept in ``cache/``, bytes.
DISK_LIMIT = 8_000_000_000


class View(StrEnum):
    """Which picture of a micrograph."""

    RAW = "raw"
    DENOISED = "denoised"


Key = tuple[int, View, str]


@dataclass(frozen=True)
class _Method:
    """All that a denoised picture follows besides its file, as it was when the picture was asked for.

    A worker runs later: what is chosen meanwhile must not come into a picture that is kept under the earlier key.
    """

    denoiser: Denoiser
    parameters: Mapping[str, Any]
    pixel_size_A: float
    diameter_A: float
    key: str


class Pictures:
    """Makes and keeps the pictures of a session's micrographs.

    Parameters
    ----------
    session : Session
    runner : Runner
    denoiser : Denoiser
    parameters : mapping, optional
        The denoiser's own, as chosen.
    """

    def __init__(
        self, session: Session, runner: Runner, denoiser: Denoiser, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self._session = session
        self._runner = runner
        self.denoiser = denoiser
        self.parameters: dict[str, Any] = dict(parameters or {})
        self._memory: OrderedDict[Key, Picture] = OrderedDict()
        self._jobs: dict[Key, Job] = {}
        self._waiting: dict[Key, list[Callable[[Picture], None]]] = {}
        # who hears why it cannot be made, also where another asked first
        self._callbacks: dict[Key, tuple[Callable[[str], None] | None, Callable[[str], None] | None]] = {}
        self.cache = session.store.folder / "cache"
        #: What should be said of a micrograph's file ("old-style header", "average of 38 frames"), by id.
        self.notes: dict[int, tuple[str, ...]] = {}
        #: Why an attached picture could not be shown, so that ours is, by id.
        self.lost: dict[int, str] = {}
        #: Folders of attached pictures that were not opened, because nobody has allowed it.
        self.outside: set[Path] = set()

    def key(self, micrograph: Micrograph, view: View) -> Key:
        """What makes a picture this one and no other."""
        if view is View.RAW:
            return micrograph.id, view, f"{micrograph.fingerprint}-{micrograph.frame}"
        if micrograph.picture:
            return micrograph.id, view, f"{micrograph.fingerprint}-{micrograph.picture}"
        return micrograph.id, view, self._own_key(micrograph)

    def _own_key(self, micrograph: Micrograph) -> str:
        """What our own denoised picture follows."""
        size, diameter = self._session.pixel_size_A(micrograph), self._session.diameter_A
        # The filter follows the diameter in steps of 10 %: moving the slider must not redo every picture.
        step = round(math.log(diameter) / math.log(1.1))
        chosen = ",".join(f"{name}={float(value):.6g}" for name, value in sorted(self.parameters.items()))
        optics = micrograph.optics if uses_ctf(self.denoiser) else ""
        text = (
            f"{_GENERATION}-{micrograph.fingerprint}-{micrograph.frame}-{self.denoiser.name}-{chosen}"
            f"-{size:.5g}-{step}-{optics}-{MAX_SIDE}"
        )
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def choose(self, denoiser: Denoiser, parameters: Mapping[str, Any]) -> None:
        """Another method from now on; what the old one made stays in the cache."""
        self.denoiser, self.parameters = denoiser, dict(parameters)

    def ready(self, micrograph: Micrograph, view: View) -> Picture | None:
        """The picture, where it is in memory."""
        key = self.key(micrograph, view)
        picture = self._memory.get(key)
        if picture is not None:
            self._memory.move_to_end(key)
        return picture

    def request(
        self,
        micrograph: Micrograph,
        view: View,
        on_ready: Callable[[Picture], None] | None = None,
        on_failed: Callable[[str], None] | None = None,
        *,
        on_refused: Callable[[str], None] | None = None,
        quiet: bool = True,
        ahead: bool = False,
    ) -> Job | None:
        """Have a picture made; ``on_ready`` gets it on the main thread (at once where it is in memory).

        ``on_failed`` gets why the micrograph's file cannot be read, ``on_refused`` why the method cannot do it.
        One that is made ``ahead``, before anybody asks for it, lets all others go first.
        """
        ready = self.ready(micrograph, view)
        if ready is not None:
            if on_ready is not None:
                on_ready(ready)
            return None
        key = self.key(micrograph, view)
        if on_ready is not None:
            self._waiting.setdefault(key, []).append(on_ready)
        if on_failed is not None or on_refused is not None:
            self._callbacks[key] = on_failed, on_refused
        # also one that has ended and is not delivered yet
        if (running := self._jobs.get(key)) is not None and running.state is not JobState.CANCELLED:
            if ahead or not running.ahead or running.state is not JobState.QUEUED:
                return running
            running.cancel()  # it stands in the line of those that nobody waits for

        def done(picture: Picture) -> None:
            self._jobs.pop(key, None)
            self._callbacks.pop(key, None)
            self._keep(key, picture)
            for tell in self._waiting.pop(key, []):
                tell(picture)

        def failed(job: Job) -> None:
            self._jobs.pop(key, None)
            self._waiting.pop(key, None)
            tell_failed, tell_refused = self._callbacks.pop(key, (None, None))
            error = job.error
            if isinstance(error, FormatError | OSError):
                if tell_failed is not None:
                    tell_failed(error.detail if isinstance(error, FormatError) else str(error))
            elif tell_refused is not None:
                tell_refused(str(error) if isinstance(error, AnnotatorError) else f"{type(error).__name__}: {error}")

        title = f"{'denoise' if view is View.DENOISED else 'read'} {micrograph.name}"
        job = self._runner.submit(
            self._make,
            micrograph,
            view,
            self._method(micrograph),
            title=title,
            on_done=done,
            on_failed=failed,
            quiet=quiet,
            ahead=ahead,
        )
        self._jobs[key] = job
        return job

    def _method(self, micrograph: Micrograph) -> _Method:
        """What is chosen now, for one micrograph."""
        return _Method(
            self.denoiser,
            dict(self.parameters),
            self._session.pixel_size_A(micrograph),
            self._session.diameter_A,
            self._own_key(micrograph),
        )

    def prepare(self, micrographs: Iterable[Micrograph], view: View) -> None:
        """Have the pictures of the likely next micrographs made; what is no longer likely is cancelled."""
        usable = [m for m in micrographs if not m.problem]
        keys = {self.key(m, view) for m in usable}
        for key, job in list(self._jobs.items()):
            if key not in keys and key not in self._waiting:
                job.cancel()
                self._jobs.pop(key, None)
                self._callbacks.pop(key, None)
        for micrograph in usable:
            self.request(micrograph, view, ahead=True)

    def allow_outside(self, folders: set[Path]) -> None:
        """A person trusts the project: attached pictures in these folders are opened, and are read again."""
        own_paths.allow(self._session, folders)
        self.outside -= folders
        self.forget_lost()

    def forget_lost(self) -> None:
        """Try again the attached pictures that could not be shown."""
        for number in self.lost:
            for key in [key for key in self._memory if key[0] == number and key[1] is View.DENOISED]:
                del self._memory[key]
        self.lost.clear()

    def forget_waiting(self) -> None:
        """What was asked for so far is not needed any more (the micrograph on the screen changed)."""
        self._waiting.clear()

    def denoise_all(self, micrographs: Iterable[Micrograph], *, scheduler: str | None = None, where: str = "") -> Job:
        """Fill the cache for many micrographs as one job; a failing one is logged and skipped.

        Parameters
        ----------
        scheduler : str, optional
            Of a Dask cluster whose workers see the same micrographs; what they make is kept here.
        where : str
            What the job says that it runs on.
        """
        chosen = [(m, self._method(m)) for m in micrographs if not m.problem and not m.picture]

        def work(context: JobContext) -> int:
            make = self._make_all if scheduler is None else partial(self._have_made, scheduler)
            failed = make(chosen, context)
            context.progress(len(chosen), len(chosen), f"{len(chosen) - failed} denoised, {failed} failed")
            return failed

        return self._runner.submit(work, title=f"denoise {count_of(len(chosen), 'micrograph')}", where=where)

    def _make_all(self, chosen: Sequence[tuple[Micrograph, _Method]], context: JobContext) -> int:
        """Fill the cache. Returns how many failed."""
        failed = 0
        for i, (micrograph, method) in enumerate(chosen):
            context.progress(i, len(chosen), f"{i}/{len(chosen)}")
            if self._file(method.key).exists():
                continue
            try:
                self._denoise(micrograph, method, context.part())
            except (FormatError, EngineError) as error:
                failed += 1
                context.log(f"{micrograph.name}: {error}")
        return failed

    def _have_made(self, scheduler: str, chosen: Sequence[tuple[Micrograph, _Method]], context: JobContext) -> int:
        """Fill the cache with what the workers of a cluster make. Returns how many failed."""
        orders = [
            _Order(
                str(self._session.path_of(m).absolute()),
                m.frame,
                m.name,
                method.denoiser.name,
                method.parameters,
                method.pixel_size_A,
                method.diameter_A,
                ctf_of(m),
                method.key,
            )
            for m, method in chosen
            if not self._file(method.key).exists()
        ]
        failed, before = 0, len(chosen) - len(orders)

        def report(done: float, _total: float, _message: str) -> None:
            context.on_progress(before + done, len(chosen), f"{before + done:.0f}/{len(chosen)}")

        inner = replace(context, on_progress=report)
        with closing(each(_fill, orders, threads=1, scheduler=scheduler, context=inner)) as results:
            for order, picture in results:
                if isinstance(picture, Cancelled):
                    raise picture
                why = picture if isinstance(picture, BaseException) else None
                if not isinstance(picture, BaseException):
                    try:
                        _save(self._file(order.key), picture)
                    except OSError as error:
                        why = error
                if why is not None:
                    failed += 1
                    context.log(f"{order.name}: {why}")
        return failed

    def raw_value(self, micrograph: Micrograph) -> NDArray[Any]:
        """The micrograph's own array (memory-mapped where possible)."""
        return images.read(self._session.path_of(micrograph), micrograph.frame)

    # ------------------------------------------------------------------ in a worker thread

    def _make(self, micrograph: Micrograph, view: View, method: _Method, context: JobContext) -> Picture:
        path = self._session.path_of(micrograph)
        if micrograph.id not in self.notes:
            self.notes[micrograph.id] = images.probe(path).notes
        if view is View.RAW:
            return denoise.raw_picture(images.read(path, micrograph.frame, check=context.check))
        if micrograph.picture:
            try:
                return self._attached(micrograph, context)
            except FormatError as error:
                self._note_lost(micrograph, str(error))
        return self._denoise(micrograph, method, context)

    def _attached(self, micrograph: Micrograph, context: JobContext) -> Picture:
        """The picture of the other program. Raises FormatError where it is gone."""
        foreign = foreign_pictures.attached_to(self._session, micrograph)
        if foreign is None:
            raise FormatError("what the project says of the attached picture makes no sense", micrograph.name)
        try:
            own_paths.refuse_outside(self._session, [foreign.path], "the attached picture")
        except OutsideError as error:
            self.outside.update(error.folders)
            raise
        picture = foreign_pictures.read(foreign, micrograph, context)
        self._note_lost(micrograph, "")
        return picture

    def _note_lost(self, micrograph: Micrograph, why: str) -> None:
        """Whether the attached picture is there; nothing where another has been attached meanwhile."""
        if self._session.micrograph(micrograph.id).picture == micrograph.picture:
            self.lost.pop(micrograph.id, None)
            if why:
                self.lost[micrograph.id] = why

    def _denoise(self, micrograph: Micrograph, method: _Method, context: JobContext) -> Picture:
        if (cached := _load(self._file(method.key))) is not None:
            return cached
        image = images.read(self._session.path_of(micrograph), micrograph.frame, check=context.check)
        picture = run_denoiser(
            method.denoiser,
            image,
            pixel_size_A=method.pixel_size_A,
            diameter_A=method.diameter_A,
            max_side=MAX_SIDE,
            parameters=method.parameters,
            ctf=ctf_of(micrograph),
            context=context,
        )
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            _save(self._file(method.key), picture)
        return picture

    def _file(self, key: str) -> Path:
        return self.cache / f"{key}.npz"

    def _keep(self, key: Key, picture: Picture) -> None:
        self._memory[key] = picture
        self._memory.move_to_end(key)
        total = sum(p.pixels.nbytes for p in self._memory.values())
        while total > MEMORY_LIMIT and len(self._memory) > 3:
            _, dropped = self._memory.popitem(last=False)
            total -= dropped.pixels.nbytes

    def trim_cache(self, *, context: JobContext | None = None) -> None:
        """Delete the oldest cached pictures beyond :data:`DISK_LIMIT`."""
        DiskCache(self.cache, "*.npz", DISK_LIMIT).trim()


@dataclass(frozen=True)
class _Order:
    """All that a denoised picture follows, in plain values that can be sent to another machine."""

    path: str
    frame: int
    name: str
    denoiser: str
    parameters: Mapping[str, Any]
    pixel_size_A: float
    diameter_A: float
    ctf: Ctf | None
    key: str


def _fill(order: _Order, *, context: JobContext) -> Picture:
    """Make a picture, wherever the micrograph can be read."""
    image = images.read(Path(order.path), order.frame, check=context.check)
    picture = run_denoiser(
        named_denoiser(order.denoiser),
        image,
        pixel_size_A=order.pixel_size_A,
        diameter_A=order.diameter_A,
        max_side=MAX_SIDE,
        parameters=order.parameters,
        ctf=order.ctf,
        context=context,
    )
    return replace(picture, pixels=picture.pixels.astype(np.float16))  # as it is kept


def _save(file: Path, picture: Picture) -> None:
    with replacing(file) as stream:
        # float16 keeps three digits of a picture that is looked at, in half the room.
        np.savez(stream, pixels=picture.pixels.astype(np.float16), step=picture.step, limits=picture.limits)


def _load(file: Path) -> Picture | None:
    arrays = load_arrays(file)
    if arrays is None:
        return None
    try:
        pixels, step, limits = (arrays[name].astype(np.float32) for name in ("pixels", "step", "limits"))
    except (KeyError, ValueError, TypeError):
        return None
    if pixels.ndim != 2 or step.shape != (2,) or limits.shape != (2,) or not (step > 0).all():
        return None
    return Picture(pixels, (float(step[0]), float(step[1])), (float(limits[0]), float(limits[1])))
