"""Denoisers on simulated micrographs whose truth is known: likeness per spatial frequency, contrast, seconds.

    python benchmarks/denoise.py [--maps DIR] [--topaz PROGRAM] [--size 4096] [--snr 0.03] [--cases 4]

Likeness is the Fourier ring correlation with the micrograph that the same particles would have given without noise,
ice, carbon and contamination; once as the microscope shows them (with its CTF), once as they are (without).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import scipy.fft
from scipy.ndimage import distance_transform_edt

from cryoppp_annotator.imaging import shapes
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, ctf_2d
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.imaging.filters import band_pass, fourier_crop
from cryoppp_annotator.imaging.simulate import SimulatedMicrograph, SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.imaging.wiener import AUTO
from cryoppp_annotator.model.context import JobContext

PIXEL_A, STEP = 1.77, 2
#: Edges of the rings, angstrom; each is named by its middle.
EDGES_A = (300, 160, 100, 70, 55, 45, 35, 27.5, 22.5, 18.5, 16, 13.5, 11, 9, 7.5)
LOW_PASS_A = 20.0


@dataclasses.dataclass
class Case:
    name: str
    truth: SimulatedMicrograph
    seen: np.ndarray  # without noise, as the microscope shows it
    specimen: np.ndarray  # without noise and without CTF
    ctf: Ctf


def cases(maps: Path | None, side: int, snr: float) -> list[Case]:
    structures: list[tuple[str, Any]] = [("shell", "shell"), ("double-ring", "double-ring")]
    if maps is not None:
        structures = [
            (name, shapes.from_map(mrcfile.read(maps / file), voxel))
            for name, file, voxel in (
                ("GroEL", "groel_emd1997_2.02A.mrc", 2.02),
                ("70S", "ribosome70s_5A.mrc", 5.0),
            )
        ]
    images_ = []
    for i, (name, structure) in enumerate(structures):
        for carbon in (0.0, 1.0):
            parameters = SimulationParameters(
                size=(side, side),
                pixel_size_A=PIXEL_A,
                structure=structure,
                snr=snr,
                seed=10 + i,
                n_particles=max(8, 400 * side * side // 4096**2),
                carbon_probability=carbon,
                n_contaminants=6.0 * carbon,
            )
            views = views_for(parameters)
            truth = simulate_micrograph(parameters, int(carbon), views)
            ctf = Ctf(Defocus(truth.defocus_A, truth.defocus_A), parameters.optics)
            specimen = clean(truth, views, ctf=None)
            known = Ctf(
                ctf.defocus, dataclasses.replace(parameters.optics, b_factor_A2=0.0)
            )  # nobody knows the envelope
            label = f"{name}, {'carbon and ice' if carbon else 'empty ice'}"
            images_.append(Case(label, truth, clean(truth, views, ctf), specimen, known))
    return images_


def clean(truth: SimulatedMicrograph, views: shapes.ViewBank, ctf: Ctf | None) -> np.ndarray:
    """The particles alone, dark, on a larger canvas so that nothing wraps around; cropped for the picture."""
    half = views.box_size // 2
    canvas = np.zeros([side + 2 * views.box_size for side in truth.image.shape], np.float32)
    for x, y, view in zip(truth.x, truth.y, truth.view, strict=True):
        row, column = int(np.floor(y)), int(np.floor(x))
        picture = views.render(int(view), y - row, x - column)
        top, left = row - half + views.box_size, column - half + views.box_size
        canvas[top : top + len(picture), left : left + len(picture)] -= picture
    if ctf is not None:
        wave = ctf_2d((canvas.shape[0], canvas.shape[1]), PIXEL_A, ctf.defocus, ctf.optics)
        canvas = scipy.fft.irfft2(scipy.fft.rfft2(canvas, workers=2) * wave, s=canvas.shape, workers=2)
    inner = canvas[views.box_size : -views.box_size, views.box_size : -views.box_size]
    return fourier_crop(inner, (inner.shape[0] // STEP, inner.shape[1] // STEP))


# ----------------------------------------------------------------------------------------------------- figures


def ring_correlation(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fourier ring correlation within :data:`EDGES_A`, of tapered images."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    taper = np.ones(picture.shape, np.float32)
    for axis in (0, 1):
        line = np.ones(picture.shape[axis])
        line[:64], line[-64:] = ramp, ramp[::-1]
        taper *= np.expand_dims(line, 1 - axis).astype(np.float32)
    a, b = (scipy.fft.rfft2((image - image.mean()) * taper, workers=2) for image in (picture, truth))
    ky = np.fft.fftfreq(picture.shape[0], PIXEL_A * STEP)[:, None]
    kx = np.fft.rfftfreq(picture.shape[1], PIXEL_A * STEP)[None]
    ring = np.digitize(np.hypot(ky, kx), 1.0 / np.array(EDGES_A)).ravel()
    n = len(EDGES_A) + 1

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(ring, values.ravel(), n)[1:-1]

    return total((a * b.conj()).real) / np.sqrt(total(np.abs(a) ** 2) * total(np.abs(b) ** 2) + 1e-30)


def contrast(picture: np.ndarray, truth: SimulatedMicrograph) -> float:
    """Difference of the means around and inside the particles, in s.d. of what lies around them; not on carbon."""
    away = np.ones(picture.shape, bool)
    rows = np.clip(np.round(truth.y / STEP).astype(int), 0, picture.shape[0] - 1)
    away[rows, np.clip(np.round(truth.x / STEP).astype(int), 0, picture.shape[1] - 1)] = False
    distance = distance_transform_edt(away) * STEP / truth.diameter_px
    around = (distance > 0.8) & (distance < 2.0) & ~truth.carbon_mask[::STEP, ::STEP]
    return float((picture[around].mean() - picture[distance < 0.35].mean()) / picture[around].std())


def timed(work: Callable[[], np.ndarray], repeats: int = 3) -> tuple[np.ndarray, float]:
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return result, statistics.median(seconds)


class Topaz:
    """``topaz denoise`` with its shipped U-net on the CPU, as a program; its start is measured and taken off."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._start: float | None = None

    def run(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            mrcfile.write(work / "m.mrc", image.astype(np.float32), voxel_size=PIXEL_A)
            begun = time.perf_counter()
            subprocess.run(
                [self.program, "denoise", "-m", "unet", "--arch", "unet", "-d", "-1", "-o", "out", "m.mrc"],
                cwd=work,
                check=True,
                capture_output=True,
            )
            seconds = time.perf_counter() - begun
            return mrcfile.read(work / "out" / "m.mrc"), seconds

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        if self._start is None:
            self._start = self.run(image[:64, :64])[1]
        picture, seconds = self.run(image)
        return picture, seconds - self._start


# ----------------------------------------------------------------------------------------------------- tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, help="folder of the GroEL and 70S maps (shared/data/maps)")
    parser.add_argument("--topaz", type=Path, help="the topaz program, in an environment of its own")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--snr", type=float, default=0.03)
    parser.add_argument("--cases", type=int, default=4, help="micrographs, at most 4")
    given = parser.parse_args()
    topaz = Topaz(given.topaz.absolute()) if given.topaz is not None else None
    results: dict[str, list[tuple[np.ndarray, np.ndarray, float, float]]] = {}
    for case in cases(given.maps, given.size, given.snr)[: given.cases]:
        image, truth = case.truth.image, case.truth
        words = {
            "pixel_size_A": PIXEL_A,
            "diameter_A": truth.diameter_A,
            "max_side": given.size // STEP,
            "context": JobContext(),
        }
        pictures = {
            "low-pass 20 A": timed(lambda i=image: band_pass(i, None, LOW_PASS_A / PIXEL_A, step=STEP)),
            "band-pass": timed(lambda i=image, w=words: BAND_PASS.denoise(i, **w).pixels),
            "auto": timed(lambda i=image, w=words: AUTO.denoise(i, **w).pixels),
            "auto, defocus known": timed(lambda i=image, w=words, c=case.ctf: AUTO.denoise(i, ctf=c, **w).pixels),
        }
        if topaz is not None:
            full, seconds = topaz(image)
            pictures["Topaz unet, CPU"] = fourier_crop(full, case.seen.shape), seconds
        for name, (picture, seconds) in pictures.items():
            results.setdefault(name, []).append(
                (
                    ring_correlation(picture, case.seen),
                    ring_correlation(picture, case.specimen),
                    contrast(picture, truth),
                    seconds,
                )
            )
        took = ", ".join(f"{name} {seconds:.2f} s" for name, (_, seconds) in pictures.items())
        print(f"({case.name}: {len(truth.x)} particles, defocus {truth.defocus_A / 1e4:.2f} um; {took})", flush=True)
    report(results)


def report(results: dict[str, list[tuple[np.ndarray, np.ndarray, float, float]]]) -> None:
    middles = [2.0 / (1.0 / a + 1.0 / b) for a, b in itertools.pairwise(EDGES_A)]
    for part, title in ((0, "as the microscope shows it"), (1, "as it is, without the CTF")):
        print(f"\nCorrelation with the clean image, {title}; mean of {len(next(iter(results.values())))} micrographs\n")
        print("| resolution, A | " + " | ".join(f"{m:.3g}" for m in middles) + " |")
        print("|---" * (len(middles) + 1) + "|")
        for name, rows in results.items():
            mean = np.mean([row[part] for row in rows], axis=0)
            print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in mean) + " |")
    print("\n| | contrast to noise at particles | seconds | times faster than Topaz |\n|---|---|---|---|")
    slowest = [row[3] for row in results.get("Topaz unet, CPU", [])]
    for name, rows in results.items():
        seconds = statistics.median(row[3] for row in rows)
        faster = f"{statistics.median(slowest) / seconds:.0f}" if slowest else ""
        print(f"| {name} | {np.mean([row[2] for row in rows]):.2f} | {seconds:.2f} | {faster} |")


if __name__ == "__main__":
    main()
