"""From real picks to maps by the commands alone: apoferritin (our own CTF), beta-galactosidase from JPG (no CTF).

    .venv/bin/python benchmarks/real_maps.py WORK [--data ../shared/data] [--pictures docs/images]

Projects, runs and files lie in WORK; what is there already is not made again (some 12 CPU minutes the first time).

Apoferritin: four micrographs, 1.5 A/px, 642 hand labels; defocus by `ctf`; no map is given.
Beta-galactosidase: five 8-bit JPG; a map of the accepted picks of some micrographs, no map given; then `verdict` of the
accepted picks and the hand-picked negatives of the *other* micrographs against it, and the same the other way round.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from verdict import auc

from cryoppp_annotator.formats.image.volumes import read_volume
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.core.opening import open_project
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.volume.map_run import MapRun
from cryoppp_annotator.session.volume.stored_maps import list_map_runs, load_map_run

HERE = Path(__file__).resolve().parent
GROUPS = {"A": ("14_57", "15_14"), "B": ("15_07", "15_53")}
OTHERS = {"A": ("14_33", "15_07", "15_53"), "B": ("14_33", "14_57", "15_14")}
_SIDE, _FONT = 230, ImageFont.load_default(13)
_BLUE, _ORANGE, _INK, _GRID = "#0072B2", "#D55E00", "#222222", "#D8DCE2"


def command(*words: object, out: Path | None = None) -> dict[str, object]:
    """Run a command of the program, once; what its --json printed."""
    if out is not None and out.exists():
        return dict(json.loads(out.read_text(encoding="utf-8")))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "cryoppp_annotator", *map(str, words)]
    print("$ cryoppp-annotator", *line[3:], flush=True)
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
    if out is not None:
        out.write_text(done.stdout, encoding="utf-8")
        return dict(json.loads(done.stdout))
    return {}


def where(names: tuple[str, ...]) -> str:
    return " or ".join(f"name ~ {name}" for name in names)


def apoferritin(work: Path, data: Path) -> None:
    folder, project = data / "apoferritin_10146", work / "apo"
    ctf = work / "ctf_apo"
    if not project.exists():
        command("ctf", folder / "micrographs", "-o", ctf, "--voltage", 300, "--cs", 2.7)
        labels = sorted((folder / "labels_csv").glob("*.csv"))
        coords = ("--coords", *labels, "--ctf", ctf / "micrographs_ctf.star")
        command("import", project, "--micrographs", folder / "micrographs", *coords)
    extra = ("--diameter", 120, "-o", work / "aO", "--json")
    said = command("volume", project, "--symmetry", "O", *extra, out=work / "aO.json")
    print("apoferritin:", {k: said[k] for k in ("resolution_A", "significance", "verdict", "picks", "used", "seconds")})


def galactosidase(
    work: Path, data: Path, halves: list[str]
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """Of each half: its name, which picks are accepted, and their log odds."""
    lite, project = data / "cryoppp_lite/10017", work / "bgal"
    if not project.exists():
        labels = sorted((lite / "ground_truth/particle_coordinates").glob("*.csv"))
        frame = ("--frame", "as-stored", "--pixel-size", 1.77, "--decision", "accepted")
        command("import", project, "--micrographs", lite / "micrographs", "--coords", *labels, *frame)
        negatives = sorted((data / "picks_10017/hand_negative_box").glob("*.box"))
        command("import", project, "--coords", *negatives, "--frame", "flip-y", "--decision", "undecided")
    out = []
    for group in halves:
        names = GROUPS[group]
        made = work / f"b{group}"
        some = ("--symmetry", "D2", "--no-ctf", "--where", where(names))
        words = ("volume", project, *some, "--decision", "accepted", "-o", made, "--json")
        said = command(*words, out=work / f"b{group}.json")
        print(group, {k: said[k] for k in ("resolution_A", "significance", "verdict", "picks", "used", "seconds")})
        some = ("--symmetry", "D2", "--no-ctf", "--where", where(OTHERS[group]))
        judged = command("verdict", project, "--map", made / "map.mrc", *some, "--json", out=work / f"v{group}.json")
        session = open_project(project, read_only=True)
        try:
            (run,) = (one for one in list_map_runs(session) if one.number == judged["run"])
            out.append((group, *tell(session, run)))
        finally:
            session.close()
    return out


def tell(session: Session, run: MapRun) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Print AUC by micrograph."""
    picks = load_map_run(session, run).picks
    accepted = np.zeros(len(picks), bool)
    for micrograph in session.micrographs:
        here = session.store.particles(micrograph.id)
        accepted |= np.isin(picks.particle, here.id[here.decision == int(Decision.ACCEPTED)])
    known = np.isfinite(picks.log_odds)
    names = {micrograph.id: micrograph.name for micrograph in session.micrographs}
    for number in [0, *np.unique(picks.micrograph).tolist()]:
        some = known & ((picks.micrograph == number) | (number == 0))
        mine, odds = accepted[some], picks.log_odds[some]
        print(f"| {names.get(number, 'all')} | {mine.sum():,} | {(~mine).sum()} | {auc(mine, odds):.3f} |")
    return accepted[known], picks.log_odds[known].astype(np.float64)


# -- pictures --------------------------------------------------------------------------------------------------------


def grey(plane: NDArray[np.floating]) -> Image.Image:
    low, high = np.percentile(plane, (1, 99.7))
    pixels = (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def slices(path: Path) -> list[tuple[str, Image.Image]]:
    volume = np.asarray(read_volume(path)[0], np.float32)
    middle, off = len(volume) // 2, len(volume) // 8
    planes = (volume[middle], volume[:, middle], volume[middle - off], volume.sum(axis=0))
    return list(
        zip(("slice across z", "slice across y", "off the middle", "seen along z"), map(grey, planes), strict=True)
    )


def axes(draw: ImageDraw.ImageDraw, left: int, top: int, wide: int, high: int) -> None:
    draw.rectangle([left, top, left + wide, top + high], outline=_GRID)


def curve(path: Path) -> Image.Image:
    """The correlation of the halves: corrected, and of randomised phases."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    picture = Image.new("RGB", (320, _SIDE + 24), "white")
    draw, left, top, wide, high = ImageDraw.Draw(picture), 34, 8, 276, 190
    axes(draw, left, top, wide, high)
    spot = lambda k, v: (left + wide * k / len(rows), top + high * (1.0 - np.clip(v, -0.1, 1.0)) / 1.1)  # noqa: E731
    for name, colour in (("fsc_random", _ORANGE), ("fsc", _BLUE)):
        line = [spot(k, float(row[name])) for k, row in enumerate(rows, 1)]
        draw.line(line, fill=colour, width=2)
    draw.line([spot(0, 0.143), spot(len(rows), 0.143)], fill="#999999")
    for value in (0.0, 0.5, 1.0):
        draw.text((left - 4, spot(0, value)[1]), f"{value:g}", fill=_INK, font=_FONT, anchor="rm")
    for k in range(5, len(rows), 6):
        draw.text(
            (spot(k, 0)[0], top + high + 4), f"{float(rows[k - 1]['period_A']):.0f}", fill=_INK, font=_FONT, anchor="ma"
        )
    draw.text(
        (left + wide / 2, top + high + 20),
        "shell (A); blue: halves, orange: random phases",
        fill=_INK,
        font=_FONT,
        anchor="ma",
    )
    return picture


def odds(accepted: NDArray[np.bool_], values: NDArray[np.float64]) -> Image.Image:
    """How often each verdict is given to accepted picks and to hand-picked negatives."""
    picture = Image.new("RGB", (320, _SIDE + 24), "white")
    draw, left, top, wide, high = ImageDraw.Draw(picture), 34, 8, 276, 190
    axes(draw, left, top, wide, high)
    bins = np.linspace(-25, 25, 26)
    for mine, colour in ((accepted, _BLUE), (~accepted, _ORANGE)):
        share = np.histogram(np.clip(values[mine], -24.9, 24.9), bins)[0] / mine.sum()
        for k, part in enumerate(share):
            x = left + wide * k / 25 + (5 if colour == _ORANGE else 0)
            draw.rectangle([x, top + high * (1 - part / 0.3), x + 5, top + high], fill=colour)
    for value in (-20, 0, 20):
        draw.text((left + wide * (value + 25) / 50, top + high + 4), f"{value}", fill=_INK, font=_FONT, anchor="ma")
    draw.text(
        (left + wide / 2, top + high + 20),
        "verdict; blue: accepted, orange: negatives",
        fill=_INK,
        font=_FONT,
        anchor="ma",
    )
    return picture


def panel(target: Path, rows: list[tuple[str, list[tuple[str, Image.Image]], list[Image.Image]]]) -> None:
    """Rows of slices and plots, each with its title."""
    wide = max(len(planes) * (_SIDE + 8) + sum(plot.width for plot in plots) for _, planes, plots in rows)
    picture = Image.new("RGB", (wide, len(rows) * (_SIDE + 52)), "white")
    draw = ImageDraw.Draw(picture)
    for k, (title, planes, plots) in enumerate(rows):
        top, left = k * (_SIDE + 52), 0
        draw.text((2, top + 3), title, fill=_INK, font=ImageFont.load_default(15))
        for name, plane in planes:
            picture.paste(plane, (left, top + 24))
            draw.text((left + _SIDE / 2, top + 26 + _SIDE), name, fill=_INK, font=_FONT, anchor="ma")
            left += _SIDE + 8
        for plot in plots:
            picture.paste(plot, (left, top + 24))
            left += plot.width
    picture.quantize(160).save(target, optimize=True)
    print(target, target.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--halves", nargs="+", default=["A", "B"], help="of beta-galactosidase")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--pictures", type=Path, default=HERE.parent / "docs" / "images")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    apoferritin(args.work, args.data)
    of_halves = galactosidase(args.work, args.data, args.halves)
    planes = slices(args.work / "aO/map.mrc")
    panel(
        args.pictures / "3d-apoferritin.png",
        [("Apoferritin, 549 picks, octahedral, no map given", planes, [curve(args.work / "aO/fsc.csv")])],
    )
    rows = [
        (
            f"Beta-galactosidase, map of {' and '.join(GROUPS[name])}; verdicts of the other micrographs",
            slices(args.work / f"b{name}/map.mrc"),
            [curve(args.work / f"b{name}/fsc.csv"), odds(accepted, values)],
        )
        for name, accepted, values in of_halves
    ]
    panel(args.pictures / "3d-galactosidase.png", rows)


if __name__ == "__main__":
    main()
