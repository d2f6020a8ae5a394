"""``pick`` and ``evaluate`` as a person uses them: real files in, real files out, a failure costs one micrograph."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import command_tools
import numpy as np
import pandas as pd
import pytest
import tifffile
from command_tools import Cli
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from cryoppp_annotator import extensions, open_project
from cryoppp_annotator.batch.pick import RECORD, PickOptions, pick_all
from cryoppp_annotator.errors import Cancelled, EngineError, Refused
from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.picking.learned import train
from cryoppp_annotator.picking.log import LOG
from cryoppp_annotator.picking.matching import match
from cryoppp_annotator.picking.model_file import save_model
from cryoppp_annotator.picking.seen import Example, describe
from cryoppp_annotator.testing import planted

PIXEL_A = 2.0
write_mrc = partial(command_tools.write_mrc, pixel_A=PIXEL_A)


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """Three micrographs of discs, and the truth as CryoPPP writes it (y from the last row)."""
    for seed in range(3):
        image, x, y = planted(seed=seed)
        write_mrc(tmp_path / f"movies/m{seed}.mrc", image)
        rows = [f"{a:g},{len(image) - b:g},30" for a, b in zip(x, y, strict=True)]
        truth = tmp_path / f"truth/m{seed}.csv"
        truth.parent.mkdir(exist_ok=True)
        truth.write_text("\n".join(["X-Coordinate,Y-Coordinate,Diameter", *rows]) + "\n")
    return tmp_path / "movies"


class Counting:
    """A picker that counts, fails where it is told, and can be slow."""

    name, title = "counting", "Counting"

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.fail: Callable[[NDArray[Any]], bool] = lambda _: False
        self.error: Exception = EngineError("is not to be picked")

    def propose(
        self,
        image: NDArray[Any],
        *,
        pixel_size_A: float,
        diameter_A: float,
        parameters: Mapping[str, Any],
        context: JobContext,
    ) -> Candidates:
        self.calls.append(image.shape)
        if self.fail(image):
            raise self.error
        n = np.arange(3.0)
        return Candidates(n + 5, n + 7, 3.0 - n, np.full(3, diameter_A))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    picker = Counting()
    monkeypatch.setitem(extensions.pickers(), "counting", picker)
    return picker


def test_from_a_folder_of_micrographs_to_figures(cli: Cli, movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "picks"
    code, said, _ = cli("pick", movies, "-o", out, "--diameter", 60, "--threshold", 4, "--json")
    answer = json.loads(said)
    assert code == 0
    assert (answer["micrographs"], answer["failed"], answer["picker"]) == (3, [], "log")
    assert sorted(p.name for p in out.glob("*.star")) == ["m0.star", "m1.star", "m2.star"]
    (table,) = read_star(out / "m0.star").tables
    assert list(table.columns) == ["rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"]
    scores = np.array(table.columns["rlnAutopickFigureOfMerit"], float)
    assert scores.min() >= 4
    assert (np.diff(scores) <= 0).all()

    code, said, _ = cli("evaluate", out, "--truth", tmp_path / "truth", "--micrographs", movies, "--json")
    answer = json.loads(said)
    assert code == 0
    assert answer["truth"] == 75
    assert answer["recall"] > 0.95
    assert answer["precision"] > 0.95
    assert answer["centring_error_px"] < 2
    assert set(answer["per_micrograph"]) == {"m0.mrc", "m1.mrc", "m2.mrc"}
    assert answer["per_micrograph"]["m1.mrc"]["truth"] == 25

    code, said, _ = cli("evaluate", out, "--truth", tmp_path / "truth", "--micrographs", movies)
    assert code == 0
    assert "m2.mrc" in said
    # the other way up, nothing fits
    flipped = cli(
        "evaluate", out, "--truth", tmp_path / "truth", "--micrographs", movies, "--truth-frame", "as-stored", "--json"
    )
    assert json.loads(flipped[1])["recall"] < 0.7


def test_a_second_start_goes_on_and_sees_what_changed(
    cli: Cli, movies: Path, tmp_path: Path, counting: Counting
) -> None:
    out = tmp_path / "picks"
    words = ("pick", movies, "-o", out, "--picker", "counting", "--json")
    assert json.loads(cli(*words, "--diameter", 60)[1])["picked_now"] == 3
    assert json.loads(cli(*words, "--diameter", 60)[1])["kept"] == 3
    (out / "m1.star").unlink()
    write_mrc(movies / "m2.mrc", np.ones((64, 64), np.float32))
    answer = json.loads(cli(*words, "--diameter", 60)[1])
    assert (answer["picked_now"], answer["kept"], answer["picks"]) == (2, 1, 9)
    assert json.loads(cli(*words, "--diameter", 61)[1])["picked_now"] == 3
    assert len(counting.calls) == 8


def test_whole_boxes_only(cli: Cli, movies: Path, tmp_path: Path) -> None:
    words = ("pick", movies, "-o", tmp_path / "picks", "--diameter", 60, "--threshold", 3, "--json")
    assert "whole boxes of which size" in cli(*words, "--whole-boxes")[2]
    assert json.loads(cli(*words)[1])["picks"] >= 75
    answer = json.loads(cli(*words, "--box-size", 110, "--whole-boxes")[1])
    assert answer["picked_now"] == 3, "with other options it is picked anew"
    assert answer["left_out"]["edge"] >= 3
    for path in sorted((tmp_path / "picks").glob("*.star")):
        columns = read_star(path).tables[0].columns
        x, y = (np.array(columns[f"rlnCoordinate{axis}"], float) for axis in "XY")
        assert min(x.min(), 423 - x.max(), y.min(), 399 - y.max()) >= 55  # 424 x 400 px
        assert len(x) >= 9
    assert json.loads(cli(*words, "--box-size", 90)[1])["picks"] >= 75


def test_a_record_cut_off_in_the_middle_costs_one_micrograph(movies: Path, tmp_path: Path, counting: Counting) -> None:
    out = tmp_path / "picks"
    options = PickOptions(diameter_A=60.0, picker="counting")
    pick_all([movies], out, options)
    text = (out / RECORD).read_text().rstrip("\n")
    (out / RECORD).write_text(text[:-30])
    assert pick_all([movies], out, options).n_picked == 1
    assert pick_all([movies], out, options).n_kept == 3


@pytest.mark.parametrize("error", [EngineError("is not to be picked"), ValueError("a mistake in a plugin")])
def test_a_failing_micrograph_is_told_and_the_others_finish(
    cli: Cli, movies: Path, tmp_path: Path, counting: Counting, error: Exception
) -> None:
    (movies / "broken.mrc").write_bytes(b"no image at all")
    write_mrc(movies / "odd.mrc", np.zeros((32, 48), np.float32))
    counting.fail = lambda image: image.shape == (32, 48)
    counting.error = error
    out = tmp_path / "picks"
    code, said, err = cli("pick", movies, "-o", out, "--picker", "counting", "--diameter", 60, "--json")
    answer = json.loads(said)
    assert code == 1
    assert answer["micrographs"] == 3
    assert sorted(Path(f["micrograph"]).name for f in answer["failed"]) == ["broken.mrc", "odd.mrc"]
    assert err.count("failed: ") == 2
    assert str(error) in err
    assert "Traceback" not in err
    assert not (out / "odd.star").exists()
    # the next start tries them again, and only them
    counting.fail = lambda _: False
    assert (
        json.loads(cli("pick", movies, "-o", out, "--picker", "counting", "--diameter", 60, "--json")[1])["picked_now"]
        == 1
    )


def test_cancelled_in_the_middle_what_is_finished_is_kept(movies: Path, tmp_path: Path, counting: Counting) -> None:
    cancel = threading.Event()

    def slow(_: NDArray[Any]) -> bool:
        if len(counting.calls) >= 3:
            cancel.wait(5)
            raise Cancelled("cancelled")
        return False

    counting.fail = slow
    out = tmp_path / "picks"
    context = JobContext(
        is_cancelled=cancel.is_set, on_progress=lambda done, *_: cancel.set() if done >= 2 and counting.calls else None
    )
    options = PickOptions(diameter_A=60.0, picker="counting")
    with pytest.raises(Cancelled):
        pick_all([movies], out, options, context=context)
    assert len(list(out.glob("*.star"))) <= 2
    counting.fail = lambda _: False
    assert pick_all([movies], out, options).n_picks == 9
    assert not list(out.glob(".*"))


def test_other_formats_are_written_beside_the_stars(cli: Cli, movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "picks"
    words = ("pick", movies, "-o", out, "--diameter", "30px", "--threshold", 4)
    assert cli(*words, "--to", "box", "--box-size", 50)[0] == 0
    assert len(list(out.glob("*.box"))) == 3
    assert cli(*words, "--to", "topaz")[0] == 0
    code, _, err = cli(*words, "--to", "nonsense")
    assert code == 1
    assert "no format 'nonsense'" in err


def test_a_pixel_size_that_nobody_knows(cli: Cli, tmp_path: Path) -> None:
    image, x, _ = planted()
    path = write_mrc(tmp_path / "m.mrc", image, pixel_A=0.0)
    code, said, err = cli("pick", path, "-o", tmp_path / "p", "--diameter", 60)
    assert code == 1
    assert "--pixel-size" in err
    for words in (("--diameter", "30px"), ("--diameter", 60, "--pixel-size", 2)):
        code, said, _ = cli("pick", path, "-o", tmp_path / "p", *words, "--threshold", 4, "--json")
        assert code == 0
        assert abs(json.loads(said)["picks"] - len(x)) <= 2


def test_bright_particles(cli: Cli, tmp_path: Path) -> None:
    image, x, _ = planted()
    path = write_mrc(tmp_path / "m.mrc", -image)
    answer = json.loads(
        cli("pick", path, "-o", tmp_path / "p", "--diameter", 60, "--threshold", 4, "--bright", "--json")[1]
    )
    assert abs(answer["picks"] - len(x)) <= 2


def test_an_image_of_nothing_gives_an_empty_file_that_reads(cli: Cli, tmp_path: Path, movies: Path) -> None:
    path = write_mrc(tmp_path / "flat/m0.mrc", np.zeros((200, 200), np.float32))
    out = tmp_path / "p"
    assert cli("pick", path, "-o", out, "--diameter", 60)[0] == 0
    code, said, _ = cli("evaluate", out, "--truth", tmp_path / "truth", "--micrographs", movies, "--json")
    assert code == 0
    answer = json.loads(said)
    assert (answer["picks"], answer["recall"], answer["average_precision"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--picker", "nobody"), "choose one of"),
        (("--pixel-size", "-1"), "makes no sense"),
        (("--to", "box", "--box-size", "0"), "makes no sense"),
    ],
)
def test_what_makes_no_sense_is_said_before_any_work(
    cli: Cli, movies: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, _, err = cli("pick", movies, "-o", tmp_path / "p", "--diameter", 60, *words)
    assert code == 1
    assert said in err
    assert not list((tmp_path / "p").glob("*.star")) if (tmp_path / "p").exists() else True


def test_two_micrographs_of_one_name_are_refused(movies: Path, tmp_path: Path) -> None:
    write_mrc(tmp_path / "other/m1.mrc", np.ones((64, 64), np.float32))
    with pytest.raises(Refused, match="one file"):
        pick_all([movies, tmp_path / "other"], tmp_path / "p", PickOptions(diameter_A=60.0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(cli: Cli, movies: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    code, _, err = cli("pick", movies, "-o", locked / "p", "--diameter", 60)
    assert code == 1
    assert "cannot be written" in err


def test_evaluating_what_does_not_belong_together(cli: Cli, movies: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/else.star"
    other.parent.mkdir()
    other.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n")
    truth = tmp_path / "truth"
    code, _, err = cli("evaluate", other, "--truth", truth, "--micrographs", movies)
    assert code == 1
    assert "none of the micrographs" in err
    code, _, err = cli("evaluate", truth, "--truth", truth, "--micrographs", movies, "--tolerance", 0)
    assert code == 1
    assert "makes no sense" in err
    stars = tmp_path / "stars"
    pick_all([movies], stars, PickOptions(diameter_A=60.0))
    code, _, err = cli("evaluate", stars, "--truth", stars, "--micrographs", movies)
    assert code == 1
    assert "--diameter" in err
    code, said, _ = cli("evaluate", stars, "--truth", stars, "--micrographs", movies, "--diameter", "30px", "--json")
    assert json.loads(said)["f1"] == 1.0


def test_a_part_of_the_truth(cli: Cli, movies: Path, tmp_path: Path) -> None:
    """Picks without a truth are left out and told; a truth without picks counts as missed."""
    (tmp_path / "truth/m2.csv").unlink()
    stars = tmp_path / "stars"
    pick_all([movies], stars, PickOptions(diameter_A=60.0, threshold=4.0))
    (stars / "m1.star").unlink()
    code, said, err = cli("evaluate", stars, "--truth", tmp_path / "truth", "--micrographs", movies, "--json")
    answer = json.loads(said)
    assert code == 0
    assert "m2.mrc has picks but no truth" in err
    assert answer["truth"] == 50
    assert answer["per_micrograph"]["m1.mrc"]["recall"] == 0
    assert answer["per_micrograph"]["m0.mrc"]["recall"] > 0.9


def test_help_shows_an_example(cli: Cli) -> None:
    for command in ("pick", "evaluate"):
        code, said, _ = cli(command, "--help")
        assert code == 0
        assert f"cryoppp-annotator {command} " in said


def test_the_log_picker_is_the_one_that_is_installed() -> None:
    assert extensions.pickers()["log"] is LOG


def test_pickers_that_need_something_say_so_once(cli: Cli, movies: Path, tmp_path: Path) -> None:
    for words, why in (
        (["--picker", "learned"], "needs a model"),
        (["--picker", "learned", "--model", tmp_path / "gone.npz"], "gone.npz"),
        (["--picker", "template"], "needs templates"),
    ):
        code, _, complaint = cli("pick", movies, "-o", tmp_path / "out", "--diameter", 60, *words)
        assert code == 1
        assert why in complaint
        assert len(complaint.strip().splitlines()) == 1


def test_templates_from_a_file_pick_and_evaluate_draws_the_curve(cli: Cli, movies: Path, tmp_path: Path) -> None:
    offset = np.arange(48) - 24
    disc = (np.hypot(offset[:, None], offset[None]) <= 15).astype(np.float32)[None]
    write_stack(tmp_path / "disc.mrcs", disc, PIXEL_A)
    words = ["--picker", "template", "--templates", tmp_path / "disc.mrcs"]
    code, _, complaint = cli("pick", movies, "-o", tmp_path / "out", "--diameter", 60, *words)
    assert code == 0, complaint
    curve = tmp_path / "curve.png"
    truth = ["--truth", tmp_path / "truth", "--micrographs", movies]
    code, said, _ = cli("evaluate", tmp_path / "out", *truth, "--plot", curve, "--json")
    assert code == 0
    assert json.loads(said)["best_f1"] > 0.95
    with Image.open(curve) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 5
    code, _, complaint = cli("evaluate", tmp_path / "out", *truth, "--plot", movies / "m0.mrc" / "curve.png")
    assert code == 1
    assert "curve.png" in complaint


def test_picks_on_a_tiff_are_where_relion_looks_for_them(cli: Cli, tmp_path: Path) -> None:
    """RELION reads TIFF from the last row up: a STAR's y is counted from there, and so are a box's and a stack's."""
    image, x, y = planted(seed=0)
    tifffile.imwrite(tmp_path / "m.tif", image)
    common = ("--micrographs", tmp_path / "m.tif", "--pixel-size", PIXEL_A)
    picked = ("pick", tmp_path / "m.tif", "-o", tmp_path / "p", "--diameter", 60, "--pixel-size", PIXEL_A)
    assert cli(*picked)[0] == 0
    assert cli(*picked, "--to", "box", "--box-size", 40)[0] == 0
    extracted = ("extract", tmp_path / "p/m.star", *common, "-o", tmp_path / "x", "--box-size", 40)
    assert cli(*extracted)[0] == 0
    for name in ("p/m.star", "x/particles.star", "p/m.box"):
        if name.endswith(".box"):
            places = np.loadtxt(tmp_path / name)[:, :2] + 20
        else:
            columns = read_star(tmp_path / name).tables[-1].columns
            places = np.array([columns["rlnCoordinateX"], columns["rlnCoordinateY"]], float).T
        near = cKDTree(places).query(np.column_stack([x, len(image) - y]))[0] < 5
        assert near.mean() > 0.8, name
        assert (cKDTree(places).query(np.column_stack([x, y]))[0] < 5).mean() < 0.5, name


def test_evaluate_says_when_a_file_is_upside_down(cli: Cli, movies: Path, tmp_path: Path) -> None:
    words = ("evaluate", tmp_path / "truth", "--truth", tmp_path / "truth", "--micrographs", movies, "--json")
    for frame, is_turned in ((), False), (("--frame", "as-stored"), True):
        code, said, complaint = cli(*words, *frame)
        assert code == 0, complaint
        assert (json.loads(said)["f1"] < 0.5) is is_turned
        assert ("upside down" in complaint + said) is is_turned


def test_a_project_without_a_diameter_is_a_model_with_one(cli: Cli, movies: Path, tmp_path: Path) -> None:
    code, _, complaint = cli("import", tmp_path / "project", "--micrographs", movies)
    assert code == 0, complaint
    words = ("pick", movies / "m2.mrc", "-o", tmp_path / "p", "--picker", "learned", "--model", tmp_path / "project")
    code, _, complaint = cli(*words)
    assert code == 2
    assert "does not say the particle's diameter" in complaint
    code, _, complaint = cli(*words, "--diameter", "30px")
    assert code == 1
    assert "needs 30 decided picks to learn from" in complaint
    _, x, y = planted(seed=0)
    picks = pd.DataFrame({"micrograph": "m0", "x": x, "y": y})
    with open_project(tmp_path / "project", curator="ann") as project:
        ids = project.add_picks(picks.assign(diameter_A=60.0))
        project.decide(ids, "accepted")
        project.decide(project.add_picks(picks.assign(x=x + 40)), "rejected")
    for said, size in ((("--diameter", "30px"), "diameter 30 px"), ((), "diameter 60 Å = 30 px")):
        code, out, complaint = cli(*words, *said)
        assert code == 0, complaint
        assert size in out
    assert "(the model)" in out


def test_the_diameter_it_used_is_said_and_where_it_comes_from(cli: Cli, movies: Path, tmp_path: Path) -> None:
    words = ("pick", movies, "-o", tmp_path / "p")
    code, said, _ = cli(*words, "--diameter", 60)
    assert code == 0
    assert said.strip().endswith("; diameter 60 Å = 30 px at 2 Å/px (--diameter)")
    answer = json.loads(cli(*words, "--diameter", "30px", "--json")[1])
    assert (answer["diameter_A"], answer["diameter_px"], answer["diameter_from"]) == (None, [30, 30], "--diameter")
    code, _, complaint = cli(*words)
    assert code == 2
    assert "say the particle's diameter" in complaint
    image, x, y = planted(seed=3)
    sizes = {"pixel_size_A": PIXEL_A, "diameter_A": 60.0}
    candidates = LOG.propose(image, **sizes, parameters={}, context=JobContext())
    hit = match(candidates.x, candidates.y, candidates.score, x, y, 9.0).hit
    seen = describe(image, **sizes, context=JobContext())
    example = Example(candidates.x[:60], candidates.y[:60], hit[:60])
    save_model(train([seen], [example], diameter_A=60.0, context=JobContext()), tmp_path / "model.npz")
    code, said, _ = cli(*words, "--picker", "learned", "--model", tmp_path / "model.npz")
    assert code == 0
    assert said.strip().endswith("; diameter 60 Å = 30 px at 2 Å/px (the model)")
