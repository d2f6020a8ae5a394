"""What an estimated defocus costs denoising, templates and classes, beside the true one and none at all.

    .venv/bin/python benchmarks/ctf_downstream.py [--maps ../shared/data/maps] [--micrographs 8] [--side 1536]
        [--seeds 3]

Simulated micrographs of GroEL and the 70S ribosome at 1.77 A/px, signal-to-noise 0.05, defocus 0.8 to 2.5 um,
astigmatism to 600 A, carbon on a third, contamination; twelve views. The estimate is that of the same micrographs.
`auto`: mean correlation with the specimen without noise (without CTF), over spatial frequencies from 300 to 20 A.
`template`: projections of the map, F1 within 0.3 of the diameter at the best threshold for all. Classes: sixteen, of
the true places, NMI with the views, mean of the seeds (one seed differs from another by more than what is asked here).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import denoise as denoising
import mrcfile
import numpy as np

from cryoppp_annotator.classify.engine import ClassifyOptions, classify
from cryoppp_annotator.classify.prepared import prepare
from cryoppp_annotator.imaging import shapes
from cryoppp_annotator.imaging.ctf import Ctf, Defocus
from cryoppp_annotator.imaging.ctf_fit import fit_ctf
from cryoppp_annotator.imaging.patches import PatchOptions, box_for, extract_patches
from cryoppp_annotator.imaging.simulate import SimulatedMicrograph, SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.imaging.wiener import AUTO
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.evaluate import quality
from cryoppp_annotator.picking.matching import match
from cryoppp_annotator.picking.template import TEMPLATE

MAPS = {"GroEL": ("groel_emd1997_2.02A.mrc", 2.02), "70S": ("ribosome70s_5A.mrc", 5.0)}
PIXEL_A, SIDE_PX, COARSE = denoising.PIXEL_A, 64, 9
CONTEXT = JobContext()
Scenes = list[tuple[SimulatedMicrograph, np.ndarray]]


def scenes_of(path: Path, voxel: float, n: int, side: int) -> tuple[Scenes, SimulationParameters]:
    """Micrographs, and the same without noise and CTF."""
    parameters = SimulationParameters(
        size=(side, side),
        pixel_size_A=PIXEL_A,
        structure=shapes.from_map(mrcfile.read(path), voxel),
        n_particles=max(10, 110 * side * side // 2048**2),
        n_views=12,
        snr=0.05,
        defocus_range_A=(8000.0, 25000.0),
        astigmatism_A=600.0,
        n_contaminants=2.0,
        seed=21,
    )
    views = views_for(parameters)
    scenes = [simulate_micrograph(parameters, i, views) for i in range(n)]
    return [(scene, denoising.clean(scene, views, ctf=None)) for scene in scenes], parameters


def denoised(scenes: Scenes, ctfs: list[Ctf | None]) -> float:
    likeness = []
    for (scene, specimen), ctf in zip(scenes, ctfs, strict=True):
        picture = AUTO.denoise(
            scene.image,
            pixel_size_A=PIXEL_A,
            diameter_A=scene.diameter_A,
            max_side=scene.image.shape[0] // denoising.STEP,
            ctf=ctf,
            context=CONTEXT,
        )
        likeness.append(denoising.ring_correlation(picture.pixels, specimen)[:COARSE].mean())
    return float(np.mean(likeness))


def picked(scenes: Scenes, path: Path, voxel: float, ctfs: list[Ctf | None]) -> float:
    matches = []
    for (scene, _), ctf in zip(scenes, ctfs, strict=True):
        parameters = {"templates": path, "template_pixel_A": voxel, "ctf": ctf}
        candidates = TEMPLATE.propose(
            scene.image,
            pixel_size_A=PIXEL_A,
            diameter_A=scene.diameter_A,
            parameters=parameters,
            context=CONTEXT,
        )
        matches.append(match(candidates.x, candidates.y, candidates.score, scene.x, scene.y, 0.3 * scene.diameter_px))
    return quality(matches).best_f1


def classified(scenes: Scenes, parameters: SimulationParameters, seeds: int, ctfs: list[Ctf | None]) -> float:
    stacks, views, defocus = [], [], []
    box = box_for(scenes[0][0].diameter_px)
    options = PatchOptions(box, SIDE_PX)
    for (scene, _), ctf in zip(scenes, ctfs, strict=True):
        patches, rows = extract_patches(scene.image, scene.x, scene.y, options)
        stacks.append(patches)
        views.append(scene.view[rows])
        mean = np.nan if ctf is None else 0.5 * (ctf.defocus.u_A + ctf.defocus.v_A)
        defocus.append(np.full(len(rows), mean))
    known = np.concatenate(defocus)
    ready = prepare(
        np.concatenate(stacks),
        defocus_A=None if np.isnan(known).all() else known,
        pixel_size_A=PIXEL_A * box / options.out_px,
        optics=parameters.optics,
        context=CONTEXT,
    )
    truth = np.concatenate(views)
    runs = [classify(ready, ClassifyOptions(16), context=JobContext(seed=seed)) for seed in range(seeds)]
    return float(np.mean([shared_information(truth, run.label) for run in runs]))


def shared_information(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised mutual information of two labellings (n,), by the mean of their entropies."""
    (_, a), (_, b) = np.unique(a, return_inverse=True), np.unique(b, return_inverse=True)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1.0 / len(a))
    one, two, both = (-(p[p > 0] * np.log(p[p > 0])).sum() for p in (joint.sum(1), joint.sum(0), joint.ravel()))
    return float(2.0 * (one + two - both) / (one + two))


def lost(true: float, other: float) -> str:
    return f"{100.0 * (1.0 - other / true):+.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, default=Path("../shared/data/maps"))
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--side", type=int, default=1536)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    print("| particle | what | true defocus | estimated | lost | no defocus | lost |\n|---|---|---|---|---|---|---|")
    for name, (file, voxel) in MAPS.items():
        path = chosen.maps / file
        scenes, parameters = scenes_of(path, voxel, chosen.micrographs, chosen.side)
        optics = replace(parameters.optics, b_factor_A2=0.0)
        true = [Ctf(scene.defocus or Defocus(0.0, 0.0), optics) for scene, _ in scenes]
        fits = [fit_ctf(scene.image, PIXEL_A, optics) for scene, _ in scenes]
        estimated = [fit.ctf for fit in fits]
        nothing: list[Ctf | None] = [None] * len(scenes)
        errors = [
            0.5 * abs(fit.ctf.defocus.u_A + fit.ctf.defocus.v_A - ctf.defocus.u_A - ctf.defocus.v_A)
            for fit, ctf in zip(fits, true, strict=True)
            if fit.ctf is not None
        ]
        without = len(fits) - len(errors)
        for what, measure in (
            ("`auto`, likeness", partial(denoised, scenes)),
            ("`template`, F1", partial(picked, scenes, path, voxel)),
            ("classes, NMI", partial(classified, scenes, parameters, chosen.seeds)),
        ):
            a, b, c = (measure(ctfs) for ctfs in (true, estimated, nothing))
            print(f"| {name} | {what} | {a:.3f} | {b:.3f} | {lost(a, b)} | {c:.3f} | {lost(a, c)} |", flush=True)
        print(f"<!-- {name}: error of the estimate {np.median(errors):.1f} A (median), {without} without an answer -->")


if __name__ == "__main__":
    main()
