"""A Topaz detector trained on our picks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoppp_annotator.api import EngineError, JobContext, plain_image

from .picker import downsampling
from .program import run_topaz, write_image


@dataclass(frozen=True, eq=False)
class Labelled:
    """A micrograph and its accepted picks.

    Attributes
    ----------
    name : str
    read : callable
        Gives the (h, w) image, yx.
    x, y : (n,) float64, px
    """

    name: str
    read: Callable[[], NDArray[np.float32]]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def train(
    micrographs: Sequence[Labelled],
    out: Path,
    *,
    pixel_size_A: float,
    diameter_A: float,
    expected_per_micrograph: float | None = None,
    model: str = "resnet8",
    units: int = 32,
    epochs: int = 10,
    epoch_size: int = 1000,
    context: JobContext | None = None,
) -> Path:
    """Train a detector and write it to ``out``, to be given to the picker as ``model``.

    Positive-unlabelled training: what nobody picked is unlabelled, not negative. It starts from Topaz's shipped
    weights where those fit.

    Parameters
    ----------
    micrographs : sequence of Labelled
    out : Path
        ``.sav``; replaced only when the training has ended well.
    pixel_size_A, diameter_A : float
    expected_per_micrograph : float, optional
        Particles there are on a micrograph, picked or not; 1.3 times the mean number of picks by default.
    model, units : str, int
        Topaz's architecture.
    epochs, epoch_size : int
        Passes, and updates in each.
    context : JobContext, optional

    Raises
    ------
    EngineError
        No picks, or Topaz failed.
    Cancelled
    """
    context = context or JobContext()
    counts = [len(item.x) for item in micrographs]
    if not sum(counts):
        raise EngineError("there are no accepted picks to train on")
    scale = downsampling(diameter_A / pixel_size_A)
    radius = max(2, round(0.25 * diameter_A / pixel_size_A / scale))
    with tempfile.TemporaryDirectory(prefix="cryoppp-topaz-") as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        rows = ["image_name\tx_coord\ty_coord"]
        for i, item in enumerate(micrographs):
            context.progress(i, len(micrographs) + epochs, f"writing {item.name}")
            plain = plain_image(item.read())
            if plain is None or not len(item.x):
                continue
            write_image(folder / "raw" / f"m{i}.mrc", plain, pixel_size_A)
            rows += [f"m{i}\t{round(x / scale)}\t{round(y / scale)}" for x, y in zip(item.x, item.y, strict=True)]
        raw = sorted(str(path.relative_to(folder)) for path in (folder / "raw").iterdir())
        if not raw:
            raise EngineError("none of the micrographs has contrast and picks")
        (folder / "picks.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
        expected = expected_per_micrograph or 1.3 * sum(counts) / len(raw)
        done = 0

        def follow(line: str) -> None:
            nonlocal done
            words = line.split()
            # its table: a line for each update and for each test, the epoch first
            if words and words[0].isdigit() and int(words[0]) > done:
                done = int(words[0])
            context.on_progress(len(micrographs) + done - 1, len(micrographs) + epochs, f"epoch {done}/{epochs}")

        preprocess = ["preprocess", "-s", str(scale), "-o", "small/", *raw]
        learn = [
            "train",
            "--train-images",
            "small/",
            "--train-targets",
            "picks.txt",
            "-n",
            f"{expected:g}",
            "-r",
            str(radius),
            "-m",
            model,
            "--units",
            str(units),
            "--num-epochs",
            str(epochs),
            "--epoch-size",
            str(epoch_size),
            "--save-prefix",
            "saved",
        ]
        run_topaz(preprocess, learn, folder=folder, context=context, on_line=follow)
        saved = sorted(folder.glob("saved_epoch*.sav"))
        if not saved:
            raise EngineError("topaz train ended without writing a model")
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        shutil.copyfile(saved[-1], part)
        part.replace(out)
    return out
