"""How near the true defocus is, what has none, and what it costs; beside ASPIRE where its Python is given.

    .venv/bin/python benchmarks/ctf.py [--data ../shared/data] [--micrographs 40] [--side 4096] [--seed 11]
        [--aspire PYTHON]

Simulated micrographs: 1.0 to 2.0 A/px, defocus 0.5 to 3 um, astigmatism 0 to 1,000 A in any direction, particles of
three shapes at a signal-to-noise of 0.02 to 0.1, carbon on a third of them, B factor 60 to 120 A^2, 25 electrons per
pixel. "Failed" is an error over 300 A or no answer; "unflagged" those with an answer and no doubt. Then noise, filtered
pictures and CryoPPP's low-passed micrographs, of which none may have an answer; the four real apoferritin micrographs:
correlation of the measured and the fitted rings along the equiphase average from 20 to 4.5 A; processor seconds of one
thread. ASPIRE (``pip install aspire`` into an environment of its own) does the real ones and two simulated ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
from scipy import ndimage

from cryoppp_annotator.formats.image import images
from cryoppp_annotator.imaging.ctf import Defocus, Optics
from cryoppp_annotator.imaging.ctf_fit import CtfFit, fit_ctf
from cryoppp_annotator.imaging.ctf_fit_judge import correlation
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for

ASPIRE = """
import json, sys, time, tempfile, os, glob
from pathlib import Path
import numpy as np, mrcfile
from aspire.ctf import estimate_ctf
for path, pixel, cs in json.loads(sys.argv[1]):
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(path, f"{folder}/one.mrc")
        started = time.process_time()
        try:
            found = estimate_ctf(folder, pixel_size=pixel, cs=cs, amplitude_contrast=0.1, voltage=300.0, psd_size=512,
                                 num_tapers=2, save_ctf_images=False, save_noise_images=False)
            one = list(found.values())[0]
            numbers = {k: float(v) for k, v in one.items() if isinstance(v, (int, float, np.floating))}
        except Exception as error:
            numbers = {"error": f"{type(error).__name__}: {error}"[:200]}
        print("@@" + json.dumps([path, numbers, time.process_time() - started]), flush=True)
"""


def scenes(n: int, side: int, seed: int):
    """Parameters of each simulated micrograph."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        yield SimulationParameters(
            size=(side, side),
            pixel_size_A=(1.0, 1.25, 1.5, 2.0)[i % 4],
            structure=("shell", "double-ring", "blob")[i % 3],
            n_particles=int(rng.uniform(50, 400)),
            n_views=40,
            snr=float(rng.uniform(0.02, 0.1)),
            defocus_range_A=(5000.0, 30000.0),
            astigmatism_A=1000.0,
            optics=Optics(300.0, 2.7, 0.1, b_factor_A2=float(rng.uniform(60, 120))),
            carbon_probability=float(rng.random() < 0.35),
            seed=seed + i,
        )


def error_of(fit: CtfFit, truth: Defocus) -> tuple[float, float, float]:
    """Of mean defocus, astigmatism (A) and angle (degrees)."""
    if fit.ctf is None:
        return np.nan, np.nan, np.nan
    d = fit.ctf.defocus
    angle = (d.angle_deg - truth.angle_deg + 90.0) % 180.0 - 90.0
    return 0.5 * (d.u_A + d.v_A - truth.u_A - truth.v_A), (d.u_A - d.v_A) - (truth.u_A - truth.v_A), angle


def simulated(n: int, side: int, seed: int, keep: Path) -> list[tuple[Path, float, float]]:
    rows, cost, kept = [], [], []
    for params in scenes(n, side, seed):
        scene = simulate_micrograph(params, 0, views_for(params))
        started = time.process_time()
        fit = fit_ctf(scene.image, params.pixel_size_A, replace(params.optics, b_factor_A2=0.0))
        cost.append(time.process_time() - started)
        truth = scene.defocus
        rows.append((*error_of(fit, truth), truth.u_A - truth.v_A, bool(fit.doubt), fit.resolution_A))
        if len(kept) < 2:
            path = keep / f"simulated_{len(kept)}.mrc"
            with mrcfile.new(path) as file:
                file.set_data(scene.image[:1200, :1240])
                file.voxel_size = params.pixel_size_A
            kept.append((path, params.pixel_size_A, 0.5 * (truth.u_A + truth.v_A)))
    mean, astigmatism, angle, true_astigmatism, doubt, resolution = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    failed = ~(np.abs(mean) < 300.0)
    strong = true_astigmatism > 200.0
    print(f"| {n} simulated, {side} x {side} | reached |\n|---|---|")
    print(f"| median error of the mean defocus | {np.nanmedian(np.abs(mean)):.1f} A |")
    print(f"| within 100 A | {100 * np.mean(np.abs(mean) < 100.0):.1f} % |")
    print(f"| 95 % within | {np.nanpercentile(np.abs(mean), 95):.0f} A |")
    print(f"| median error of the astigmatism | {np.nanmedian(np.abs(astigmatism)):.0f} A |")
    print(f"| median error of the angle, astigmatism over 200 A | {np.nanmedian(np.abs(angle[strong])):.1f} deg |")
    wrong = failed & np.isfinite(mean) & ~doubt
    print(f"| failed (no answer or over 300 A) | {100 * failed.mean():.1f} %, of them unflagged {wrong.sum()} |")
    print(f"| fit resolution, median | {np.median(resolution):.1f} A |")
    print(f"| processor seconds, median (most) | {np.median(cost):.2f} ({max(cost):.2f}) |")
    return kept


def nothing_there(data: Path) -> None:
    rng = np.random.default_rng(0)
    params = SimulationParameters(size=(2048, 2048), pixel_size_A=1.5, n_views=20)
    scene = simulate_micrograph(params, 0, views_for(params)).image
    cases = [(f"noise {i}", rng.normal(30.0, 5.0, (2048, 2048)).astype(np.float32), 1.5) for i in range(10)]
    cases += [(f"low-passed at {s:g} px", ndimage.gaussian_filter(scene, s), 1.5) for s in (3.0, 4.0, 8.0, 15.0)]
    paths = [
        *sorted((data / "cryoppp/10017/micrographs").glob("*.mrc")),
        *sorted((data / "cryoppp_lite/10017/micrographs").glob("*.jpg")),
    ]
    cases += [(path.name, images.read(path), 1.77) for path in paths]
    answers = [name for name, image, pixel in cases if fit_ctf(image, pixel, Optics(300.0, 2.0, 0.07)).ctf is not None]
    print(f"\nWithout rings: {len(answers)} of {len(cases)} have an answer {answers or ''}")


def real(data: Path) -> list[tuple[Path, float, float]]:
    print(
        "\n| real apoferritin | u / v / angle | rings to | error | r, 20 to 4.5 A | CPU s |\n|---|---|---|---|---|---|"
    )
    kept = []
    for path in sorted((data / "apoferritin_10146/micrographs").glob("*.mrc")):
        image = mrcfile.read(path)
        started = time.process_time()
        fit = fit_ctf(image, 1.5, Optics(300.0, 2.7, 0.1))
        seconds = time.process_time() - started
        d, curve = fit.ctf.defocus, fit.curve
        band = (curve.k >= 1 / 20.0) & (curve.k <= 1 / 4.5)
        r = correlation(np.nan_to_num(curve.measured[band]), curve.model[band])
        print(
            f"| {path.stem[6:14]} | {d.u_A:,.0f} / {d.v_A:,.0f} / {d.angle_deg:.0f} | {fit.resolution_A:.1f} A "
            f"| {fit.error_A:.0f} A | {r:.3f} | {seconds:.2f} |"
        )
        kept.append((path, 1.5, 0.5 * (d.u_A + d.v_A)))
    return kept


def beside_aspire(python: Path, cases: list[tuple[Path, float, float]]) -> None:
    given = json.dumps([[str(path.absolute()), pixel, 2.7] for path, pixel, _ in cases])
    with tempfile.TemporaryDirectory() as folder:  # it leaves logs and pictures where it is started
        command = [str(python.absolute()), "-c", ASPIRE, given]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    print(
        "\n| ASPIRE estimate_ctf | its mean defocus | ours (real) or the truth (simulated) | its CPU s |\n|"
        + "---|" * 4
    )
    for line in done.stdout.splitlines():
        if line.startswith("@@"):
            path, numbers, seconds = json.loads(line[2:])
            ours = next(value for p, _, value in cases if str(p.absolute()) == path)
            its = numbers.get("error") or f"{0.5 * (numbers['defocus_u'] + numbers['defocus_v']):,.0f} A"
            print(f"| {Path(path).stem} | {its} | {ours:,.0f} A | {seconds:.1f} |")
    if done.returncode:
        print(done.stderr[-800:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--micrographs", type=int, default=40)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--aspire", type=Path, help="Python of an environment with ASPIRE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = simulated(chosen.micrographs, chosen.side, chosen.seed, Path(folder))
        nothing_there(chosen.data)
        kept += real(chosen.data)
        if chosen.aspire:
            beside_aspire(chosen.aspire, kept)


if __name__ == "__main__":
    main()
