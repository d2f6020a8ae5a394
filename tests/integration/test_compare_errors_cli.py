"""``compare`` and ``errors`` as a person uses them."""

from __future__ import annotations

import csv
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import mrcfile
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "reconstruct"))
from command_tools import Cli
from planted import PIXEL_A, scene
from project_tools import open_session

from cryoppp_annotator import open_project
from cryoppp_annotator.formats.image.volumes import write_volume
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.testing import planted


def write_star(path: Path, x: np.ndarray, y: np.ndarray, score: np.ndarray | None = None) -> None:
    columns = ["rlnCoordinateX", "rlnCoordinateY", *(["rlnAutopickFigureOfMerit"] if score is not None else [])]
    rows = zip(x, y, *([score] if score is not None else []), strict=True)
    head = "".join(f"_{name} #{i}\n" for i, name in enumerate(columns, start=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("data_\n\nloop_\n" + head + "".join(" ".join(f"{v:.3f}" for v in row) + "\n" for row in rows))


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """Three micrographs of discs; the reference has all, the other misses two on m0, adds one, and is 2 px off."""
    for seed in range(3):
        image, x, y = planted(7, 60, seed=seed)
        path = tmp_path / f"movies/m{seed}.mrc"
        path.parent.mkdir(exist_ok=True)
        with mrcfile.new(path) as file:
            file.set_data(image)
            file.voxel_size = 2.0
        write_star(tmp_path / f"reference/m{seed}.star", x, y)
        mine = slice(2, None) if seed == 0 else slice(None)
        more_x, more_y = np.append(x[mine] + 2.0, 3.0), np.append(y[mine], 3.0)
        write_star(tmp_path / f"its <b>own/m{seed}.star", more_x, more_y, np.linspace(1, 0, len(more_x)))
    return tmp_path / "movies"


class Tags(HTMLParser):
    """What a browser would be asked to fetch, and whether all tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href") and not (value or "").startswith("data:"):
                self.outside.append(value or "")
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_compare_says_what_each_set_has_alone(cli: Cli, movies: Path, tmp_path: Path) -> None:
    words = ("compare", tmp_path / "reference", tmp_path / "its <b>own", "--micrographs", movies, "--diameter", "30px")
    code, output, _ = cli(*words, "--json")
    answer = json.loads(output)
    assert code == 0
    assert (answer["picks"], answer["truth"], answer["matched"]) == (148, 147, 145)
    assert (answer["only_reference"], answer["only_other"]) == (2, 3)
    assert answer["shift_x_px"] == pytest.approx(2.0, abs=0.01)
    assert answer["kappa"] is None
    assert next(iter(answer["per_micrograph"])) == "m0.mrc", "the most disagreement first"
    assert answer["per_micrograph"]["m0.mrc"]["only_reference"] == 2
    assert 0 < answer["average_precision"] <= 1
    # what a threshold refuses is a candidate that both sets refused, where nothing of the reference lies
    refused = json.loads(cli(*words, "--json", "--threshold", 0.0001)[1])
    assert refused["only_other"] == 0
    assert refused["kappa"] is not None
    assert "only reference" in cli(*words)[1]


def test_compare_writes_one_file_that_needs_no_other(cli: Cli, movies: Path, tmp_path: Path) -> None:
    report = tmp_path / "for him.html"
    words = ("compare", tmp_path / "reference", tmp_path / "its <b>own", "--micrographs", movies, "--diameter", "30px")
    assert cli(*words, "--report", report)[0] == 0
    text = report.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.outside == []
    assert tags.open == []
    assert "<b>own" not in text, "a name is text, never markup"
    assert "its &lt;b&gt;own" in text
    assert "145 of the 147 picks" in text
    assert text.count("data:image/jpeg;base64,") >= 3 + 2 + 3
    estimate = json.loads(cli(*words, "--json")[1])["completeness"]
    cards = text.split("nobody picked, about<b>", 1)[1]
    assert cards.startswith(f"{estimate['unseen']:,.0f}</b>")
    assert "made without knowledge of each other" in cards, "with what is assumed"


def test_the_report_says_what_each_set_is_worth_to_a_map(cli: Cli, tmp_path: Path) -> None:
    made = scene(1)
    with mrcfile.new(tmp_path / "m0.mrc") as file:
        file.set_data(made.micrographs[0])
        file.voxel_size = PIXEL_A
    write_volume(tmp_path / "map.mrc", made.volume, PIXEL_A)
    x, y = made.places[0].T.astype(float)
    write_star(tmp_path / "good/picks/m0.star", x, y)
    away = np.arange(len(x)) % 2 * 20.0  # half of them lie between particles
    write_star(tmp_path / "bad/picks/m0.star", np.clip(x + away, 40, 360), np.clip(y + away, 40, 360))
    sets = (tmp_path / "good/picks", tmp_path / "bad/picks")
    words = ("compare", *sets, "--micrographs", tmp_path / "m0.mrc", "--diameter", "190")
    report = tmp_path / "report.html"
    code, output, error = cli(*words, "--map", tmp_path / "map.mrc", "--report", report, "--json")
    assert code == 0, error
    answer = json.loads(output)["score_cards"]
    good, bad = answer["reference"], answer["other"]
    assert (good["name"], bad["name"]) == ("good/picks", "bad/picks")
    assert answer["better"] == "good/picks"
    assert answer["picks_of_each"] == 81
    assert good["confident_share"]["low"] > bad["confident_share"]["high"]
    assert good["junk_share"]["high"] < bad["junk_share"]["low"]
    assert [row["picks"] for row in good["resolution_A"]] == [20, 40, 81]
    assert set(good["picks_needed"]) == {"20", "15", "10"}
    text = report.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "good/picks is worth more to a map." in text
    for title in ("picks needed for 15 Å", "emptiest cone", "evenness of views", "F1 of one against the other"):
        assert title in text
    assert "no CTF was given" in error


def test_compare_refuses_what_it_cannot_do(cli: Cli, movies: Path, tmp_path: Path) -> None:
    words = ("compare", tmp_path / "reference", tmp_path / "its <b>own", "--micrographs", movies)
    code, _, error = cli(*words)
    assert code == 1
    assert "diameter" in error
    assert cli(*words, "--diameter", "30px", "--tolerance", "-1")[0] == 1
    assert cli(*words, "--diameter", "30px", "--report", movies / "m0.mrc/x.html")[0] == 1


def test_errors_writes_a_queue_with_the_planted_ones_first(cli: Cli, movies: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    for seed in range(3):
        _, x, y = planted(7, 60, seed=seed)
        x[0] += 0.45 * 30  # moved
        write_star(
            labels / f"m{seed}.star", np.append(np.delete(x, 5), 30.0 * seed + 60), np.append(np.delete(y, 5), 2.0)
        )
    out = tmp_path / "doubtful"
    code, output, _ = cli("errors", labels, "--micrographs", movies, "--diameter", "60", "-o", out, "--json")
    answer = json.loads(output)
    assert code == 0
    assert (answer["labels"], answer["micrographs"], answer["failed"]) == (147, 3, {})
    with (out / "queue.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:7] == ["rank", "micrograph", "x", "y", "kind", "probability", "group"]
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    assert len([row for row in rows if row["kind"] not in ("missing", "gap")]) == 147
    first = [(row["micrograph"], row["kind"]) for row in rows[:12]]
    for seed in range(3):
        kinds = {kind for name, kind in first if name == f"m{seed}.mrc"}
        assert "moved" in kinds
        assert "missing" in kinds
        assert "false" in kinds


def test_errors_refuses_few_labels_and_says_why(cli: Cli, movies: Path, tmp_path: Path) -> None:
    write_star(tmp_path / "few/m0.star", np.arange(9.0) * 40, np.full(9, 50.0))
    code, _, error = cli(
        "errors", tmp_path / "few", "--micrographs", movies, "--diameter", "30px", "-o", tmp_path / "q"
    )
    assert code == 1
    assert "too few" in error
    assert not (tmp_path / "q/queue.csv").exists()


def test_errors_goes_on_without_a_bad_micrograph(cli: Cli, movies: Path, tmp_path: Path) -> None:
    bad = movies / "m1.mrc"
    bad.write_bytes(bad.read_bytes()[:2000])
    words = ("errors", tmp_path / "reference", "--micrographs", movies, "--diameter", "30px", "-o", tmp_path / "q")
    code, _, error = cli(*words, "--frame", "as-stored")
    assert code == 1
    assert "m1.mrc" in error
    assert (tmp_path / "q/queue.csv").exists()


@pytest.mark.realdata
def test_cryolo_against_cryoppp(cli: Cli, data_dir: Path) -> None:
    code, output, _ = cli(
        "compare",
        data_dir / "cryoppp/10017/ground_truth/particle_coordinates",
        data_dir / "picks_10017/cryolo_box",
        "--micrographs",
        data_dir / "cryoppp/10017/micrographs/*14_33_35_0.mrc",
        "--diameter",
        "108px",
        "--tolerance",
        40 / 108,
        "--json",
    )
    answer = json.loads(output)
    assert code == 0
    assert 0.975 < answer["recall"] < 0.995
    assert abs(answer["shift_x_px"]) < 3


@pytest.mark.realdata
def test_coordinates_that_run_the_other_way_are_noticed(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    """CryoPPP's coordinates written as if they were RELION's: what the images say is taken, and said."""
    folder = data_dir / "cryoppp/10017"
    labels = folder / "ground_truth/particle_coordinates"
    name = "Falcon_2012_06_12-14_33_35_0"
    table = np.loadtxt(labels / f"{name}.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    write_star(tmp_path / f"wrong/{name}.star", *table.T)
    pattern = folder / f"micrographs/{name}.mrc"
    words = ("compare", labels, tmp_path / "wrong", "--micrographs", pattern, "--diameter", "108px", "--json")
    code, output, error = cli(*words)
    assert code == 0
    assert json.loads(output)["matched"] == 629
    assert "flip-y" in error
    assert json.loads(cli(*words, "--frame", "as-stored")[1])["matched"] < 400


def test_sets_of_a_project_are_judged_like_files(cli: Cli, movies: Path, tmp_path: Path) -> None:
    project, images = tmp_path / "project", ("--micrographs", movies, "--diameter", "30px")
    for name in ("reference", "its <b>own"):
        assert cli("import", project, "--micrographs", movies, "--coords", tmp_path / name, "--frame", "image")[0] == 0
    both = ("--reference-set", "1", "--set", "2")
    files = json.loads(cli("compare", tmp_path / "reference", tmp_path / "its <b>own", *images, "--json")[1])
    sets = json.loads(cli("compare", project, project / "annotations.sqlite", *both, *images, "--json")[1])
    names = ("reference", "other", "notes")
    assert {k: v for k, v in sets.items() if k not in names} == {k: v for k, v in files.items() if k not in names}
    judged = json.loads(cli("errors", project, "--set", "1", *images, "-o", tmp_path / "queue", "--json")[1])
    assert (judged["labels"], judged["micrographs"]) == (files["truth"], 3)
    with open_project(project, curator="ann") as door:
        assert door.decide(door.picks(micrograph="m0", pick_set=1), "accepted") > 10
    session = open_session(project)
    session.set_state([2], MicrographState.EMPTY)
    session.close()
    evaluated = json.loads(cli("evaluate", tmp_path / "reference", "--truth", project, *images, "--json")[1])
    assert list(evaluated["per_micrograph"]) == ["m0.mrc", "m1.mrc"], "finished without a pick: there is none"
    for words, sentence in (
        (("evaluate", project, "--truth", tmp_path / "reference", "--frame", "flip-y"), "need no frame"),
        (("evaluate", tmp_path / "reference", "--set", "1", "--truth", project), "is no project"),
        (("compare", project, project, "--set", "7"), "no pick sets of"),
        (("compare", project, project, *both[:2], "--set", "1"), "choose two different sets"),
    ):
        code, _out, error = cli(*words, *images)
        assert (code, sentence in error) == (1, True), error
