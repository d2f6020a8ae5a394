"""Checks for plugin authors: does a plugin keep to what its protocol says?"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .api import (
    Cancelled,
    Candidates,
    CoordinateFormat,
    EngineError,
    FilePicks,
    FormatError,
    JobContext,
    Micrograph,
    MicrographPicks,
    Picker,
    PickFile,
    WriteOptions,
)
from .model.coordinates import Anchor
from .model.parameter import Need, Parameter
from .model.pickfile import CARRIED

#: Seconds after which a cancelled picker must have stopped.
CANCEL_S = 1.0
_CANCEL_TRIES = 3
#: Pixel size of the test micrograph, angstrom.
_PIXEL_A = 2.0
#: Diameter of its particles, angstrom.
_DIAMETER_A = 60.0


def planted(
    n_per_side: int = 5, spacing: int = 80, diameter: float = 30.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """A micrograph of dark discs on noise.

    Parameters
    ----------
    n_per_side : int
        Discs along each side.
    spacing, diameter : px
    seed : int

    Returns
    -------
    image : (h, w) float32, yx
    x, y : (n,) float64, px
        Centres.
    """
    rng = np.random.default_rng(seed)
    side = n_per_side * spacing
    image = rng.normal(100.0, 1.0, (side, side + 24)).astype(np.float32)
    at = (np.arange(n_per_side) + 0.5) * spacing
    x, y = (grid.ravel() + rng.uniform(-8, 8, n_per_side**2) for grid in np.meshgrid(at, at))
    rows, columns = np.indices(image.shape)
    for cx, cy in zip(x, y, strict=True):
        image[np.hypot(rows - cy, columns - cx) <= diameter / 2] -= 1.0
    return image, x, y


def check_picker(picker: Picker, parameters: Mapping[str, Any] | None = None) -> None:
    """Hold a picker to :class:`cryoppp_annotator.api.Picker`, on images a curator will meet.

    Discs on noise (bounds, order, finite scores, the image untouched, twice the same result, most of them found);
    an image of one value, of NaN, with NaN in it, of integers, smaller than a particle, of 1 x 1 px (few or no
    candidates, no error but EngineError); an empty array (EngineError); cancelled before and while it works.

    Parameters
    ----------
    picker : Picker
    parameters : mapping, optional
        Its own parameters.

    Raises
    ------
    AssertionError
        What is wrong, in a sentence.
    """
    chosen = dict(parameters or {})
    assert isinstance(picker.name, str), "a picker's name is text"
    assert isinstance(picker.title, str), "a picker's title is text"
    assert picker.name.strip(), "a picker needs a name"
    assert picker.title.strip(), "a picker needs a title"
    _check_declarations(picker, chosen)
    image, x, y = planted()
    before = image.copy()
    candidates = _propose(picker, image, chosen)
    assert np.array_equal(image, before), "the picker changed the image it was given"
    _check_candidates(candidates, image, "discs on noise")
    nearest = np.array(
        [np.hypot(candidates.x - a, candidates.y - b).min(initial=np.inf) for a, b in zip(x, y, strict=True)]
    )
    assert (nearest < 9.0).mean() >= 0.8, f"of {len(x)} plain discs only {(nearest < 9.0).sum()} were found"
    repeated = _propose(picker, image, chosen)
    for column in ("x", "y", "score", "diameter_A"):
        assert np.array_equal(getattr(candidates, column), getattr(repeated, column)), (
            f"{column} differs from run to run"
        )
    _check_odd_images(picker, image, chosen)
    _check_cancel(picker, image, chosen)


def _check_declarations(picker: Picker, chosen: Mapping[str, Any]) -> None:
    """What an ``api.TunablePicker`` says of itself; nothing where it is a plain picker."""
    declared = getattr(picker, "parameters", ())
    assert all(isinstance(p, Parameter) for p in declared), "parameters are declared as api.Parameter"
    assert all(p.checked(p.default) == p.default for p in declared), "the default of a parameter lies in its range"
    assert all(isinstance(need, Need) for need in getattr(picker, "needs", ())), "needs are named as api.Need"
    why_not = getattr(picker, "why_not", None)
    assert why_not is None or why_not(chosen) == "", "it says that it cannot pick with the parameters given here"
    if required := {Need.MODEL, Need.TEMPLATES} & set(getattr(picker, "needs", ())):
        assert why_not is not None, "it needs something, and has no why_not"
        assert why_not({}), f"it does not say that it lacks {', '.join(sorted(required))}"


def _propose(picker: Picker, image: NDArray[Any], parameters: Mapping[str, Any]) -> Candidates:
    return picker.propose(
        image, pixel_size_A=_PIXEL_A, diameter_A=_DIAMETER_A, parameters=parameters, context=JobContext()
    )


def _check_candidates(candidates: Candidates, image: NDArray[Any], what: str) -> None:
    columns = {name: getattr(candidates, name) for name in ("x", "y", "score", "diameter_A")}
    for name, column in columns.items():
        assert isinstance(column, np.ndarray), f"{name} is no array ({what})"
        assert column.dtype == np.float64, f"{name} is {column.dtype}, not float64 ({what})"
        assert column.shape == (len(candidates),), f"{name} has shape {column.shape} ({what})"
        assert np.isfinite(column).all(), f"{name} is not finite everywhere ({what})"
    height, width = image.shape
    inside = (candidates.x >= 0) & (candidates.x <= width - 1) & (candidates.y >= 0) & (candidates.y <= height - 1)
    assert inside.all(), f"{(~inside).sum()} candidates lie outside the image ({what})"
    assert (np.diff(candidates.score) <= 0).all(), f"candidates are not sorted, best first ({what})"
    assert (candidates.diameter_A > 0).all(), f"a diameter is not positive ({what})"


def _check_odd_images(picker: Picker, image: NDArray[np.float32], parameters: Mapping[str, Any]) -> None:
    holes = image.copy()
    holes[40:90, 200:300] = np.nan
    holes[5, 5] = np.inf
    odd: dict[str, NDArray[Any]] = {
        "an image of one value": np.full((300, 320), 7.0, np.float32),
        "an image of NaN": np.full((300, 320), np.nan, np.float32),
        "an image with NaN and infinity": holes,
        "an image of bytes": np.clip((image - 90) * 12, 0, 255).astype(np.uint8),
        "an image of 16-bit integers": (image * 100).astype(np.int16),
        "an image smaller than a particle": image[:12, :14],
        "one row": image[:1],
        "one pixel": image[:1, :1],
    }
    for what, given in odd.items():
        try:
            candidates = _propose(picker, given, parameters)
        except EngineError:
            continue
        _check_candidates(candidates, given, what)
        if "one value" in what or what == "an image of NaN":
            assert len(candidates) == 0, f"{len(candidates)} particles found on {what}"
    try:
        _propose(picker, np.zeros((0, 0), np.float32), parameters)
    except EngineError:
        return
    raise AssertionError("an empty array must raise EngineError")


def _check_cancel(picker: Picker, image: NDArray[np.float32], parameters: Mapping[str, Any]) -> None:
    large = np.tile(image, (5, 5))[:2048, :2048]
    for delay in (0.0, 0.05):
        # the best of a few: on a machine with much to do a second may pass without the picker having had it
        took = float("inf")
        for _ in range(_CANCEL_TRIES):
            took = min(took, _silence(picker, large, parameters, delay))
            if took < CANCEL_S:
                break
        assert took < CANCEL_S, f"cancel took {took:.1f} s"


def _silence(picker: Picker, image: NDArray[Any], parameters: Mapping[str, Any], delay: float) -> float:
    """Seconds from a cancel, ``delay`` s after the start, to the end of the picker's work; 0 = it was done before."""
    asked: list[float] = []
    cancel = threading.Event()

    def ask() -> None:
        asked.append(time.monotonic())
        cancel.set()

    timer = threading.Timer(delay, ask)
    if delay:
        timer.start()
    else:
        ask()
    try:
        picker.propose(
            image,
            pixel_size_A=_PIXEL_A,
            diameter_A=_DIAMETER_A,
            parameters=parameters,
            context=JobContext(is_cancelled=cancel.is_set),
        )
    except Cancelled:
        pass
    else:
        assert delay, "a cancelled picker must raise Cancelled"
    ended = time.monotonic()
    timer.cancel()
    return ended - asked[0] if asked else 0.0


def check_format(fmt: CoordinateFormat, tolerance_px: float = 1.0) -> None:
    """Hold a coordinate format to :class:`cryoppp_annotator.api.CoordinateFormat`.

    What it says of itself; a file that is not there, is empty, or is of something else (never sure of it, no error but
    FormatError); picks of two micrographs of different height written into an empty folder and read back in their
    places, in the frame it declares, and once more after a second writing.

    Parameters
    ----------
    fmt : CoordinateFormat
    tolerance_px : float
        Largest distance between a pick and what is read back: formats that hold whole pixels round.

    Raises
    ------
    AssertionError
        What is wrong, in a sentence.
    """
    for name in ("name", "title"):
        assert isinstance(getattr(fmt, name), str), f"a format's {name} is text"
        assert getattr(fmt, name).strip(), f"a format needs a {name}"
    assert fmt.can_read or fmt.can_write, "a format that neither reads nor writes is none"
    wrong = [ending for ending in fmt.extensions if not ending.startswith(".") or ending != ending.lower()]
    assert not wrong, f"extensions are in lower case with the dot, not {wrong}"
    assert fmt.carries <= CARRIED, f"{sorted(fmt.carries - CARRIED)} is nothing a file may carry"
    with tempfile.TemporaryDirectory(prefix="cryoppp-check-") as folder:
        _check_strange_files(fmt, Path(folder))
        if fmt.can_write and "template" not in fmt.carries:  # such a one fills a file that must be there
            out = Path(folder) / "out"
            out.mkdir()
            _check_round_trip(fmt, out, tolerance_px)


def _check_strange_files(fmt: CoordinateFormat, folder: Path) -> None:
    ending = fmt.extensions[0] if fmt.extensions else ".txt"
    strange = {
        "empty": b"",
        "zeros": bytes(5000),
        "noise": np.random.default_rng(0).bytes(5000),
        "prose": b"Particles were picked by hand.\nMany of them.\n" * 40,
        "half": b'{"picks": [[1, 2',
        "other-letters": "\xe9t\xe9 \u7c92\u5b50\n".encode("utf-16"),
    }
    for what, content in strange.items():
        path = folder / f"{what}{ending}"
        path.write_bytes(content)
        sure = fmt.sniff(path, content[:4096])
        assert 0.0 <= sure <= 1.0, f"sniff gives {sure} for {what}"
        assert sure < 1.0 or what == "empty", f"it is quite sure of a file of {what}"
        if fmt.can_read:
            for permissive in (False, True):
                _read(fmt, path, permissive)
    if fmt.can_read:
        missing = folder / f"not-there{ending}"
        assert _read(fmt, missing, False) is None, "a file that is not there was read"


def _read(fmt: CoordinateFormat, path: Path, permissive: bool) -> PickFile | None:
    """None where it said FormatError; any other error is a fault."""
    try:
        return fmt.read(path, permissive=permissive)
    except FormatError as error:
        if not str(error).strip():
            raise AssertionError("an error without words") from error
        return None


def _check_round_trip(fmt: CoordinateFormat, out: Path, tolerance_px: float) -> None:
    rng = np.random.default_rng(7)
    given = []
    for number, (name, width, height) in enumerate((("first_001", 700, 900), ("second_002", 640, 480))):
        n = 12 - number
        micrograph = Micrograph(number + 1, f"{name}.mrc", f"micrographs/{name}.mrc", width, height, 1.5)
        x, y = rng.uniform(60, width - 60, n).round(2), rng.uniform(60, height - 60, n).round(2)
        given.append(
            MicrographPicks(
                micrograph,
                1.5,
                x,
                y,
                np.full(n, 40.0),
                rng.uniform(0, 1, n),
                np.ones(n, np.int8),
                np.ones(n, np.int32),
            )
        )

    def drawn(micrograph: Micrograph) -> NDArray[np.uint8]:
        return np.full((micrograph.height, micrograph.width), 128, np.uint8)

    options = WriteOptions(box_size_px=60.0, images=drawn)
    for _ in range(2):  # the second time over what the first wrote
        files = fmt.write(out, given, options)
        assert files, "write does not say which files it wrote"
        assert all(path.exists() for path in files), "write names files that are not there"
        if fmt.can_read:
            _check_places(fmt, files, given, tolerance_px)


def _check_places(fmt: CoordinateFormat, files: list[Path], given: list[MicrographPicks], tolerance_px: float) -> None:
    read_back: dict[str, list[tuple[FilePicks, PickFile]]] = {}
    for path in files:
        try:
            file = fmt.read(path)
        except FormatError:
            continue  # a picture or a list that goes with them
        for part in file.picks:
            read_back.setdefault(Path(part.micrograph).stem, []).append((part, file))
    for picks in given:
        name = Path(picks.micrograph.name).stem
        parts = [item for stem, items in read_back.items() if stem.startswith(name) for item in items]
        places = [_canonical(part, file, picks.micrograph.height) for part, file in parts if len(part)]
        # a list of the files names them once more
        places = list({(x.tobytes(), y.tobytes()): (x, y) for x, y in places}.values())
        assert places, f"nothing of {name} was read back from what was written"
        x, y = (np.concatenate(column) for column in zip(*places, strict=True))
        assert len(x) == len(picks), f"{len(picks)} picks of {name} were written, {len(x)} were read"
        away = max(np.hypot(x - a, y - b).min() for a, b in zip(picks.x, picks.y, strict=True))
        assert away <= tolerance_px, f"a pick of {name} comes back {away:.2f} px from its place"


def _canonical(part: FilePicks, file: PickFile, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    assert part.box_size_px is not None or file.frame.anchor is not Anchor.CORNER, "corners without a box size"
    return part.positions(file.frame, height, part.micrograph)
