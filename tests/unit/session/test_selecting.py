"""Some micrographs of many: chosen by what is known of them, cleared, listed for RELION."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.errors import Refused
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.expression import ExpressionError
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.core.opening import open_plan, plan
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files import entering, exporting, facts, importing, selecting
from cryoppp_annotator.session.pictures import optics

_OPTICS = """data_optics

loop_
_rlnOpticsGroupName
_rlnOpticsGroup
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnMicrographOriginalPixelSize
_rlnBeamTiltX
monday 1 300 2.7 0.1 2 0.5
tuesday 2 300 2.7 0.1 2 -0.5

data_micrographs

loop_
_rlnMicrographName
_rlnOpticsGroup
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnCtfMaxResolution
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Micrographs a to d of a RELION project; a and b of Monday, c of Tuesday, of d nobody knows the CTF."""
    folder = tmp_path / "R" / "MotionCorr" / "job002"
    folder.mkdir(parents=True)
    (tmp_path / "R" / "default_pipeline.star").write_text("data_pipeline_general\n\n_rlnPipeLineJobCounter 3\n")
    for name in "abcd":
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(np.zeros((96, 128), np.float32))
            file.voxel_size = 2.0
    rows = [
        f"MotionCorr/job002/{name}.mrc {group} {u} {u - 400} 12 {res}"
        for name, group, u, res in (("a", 1, 9000, 4.5), ("b", 1, 21000, 7.2), ("c", 2, 12000, 5.5))
    ]
    (tmp_path / "ctf.star").write_text(_OPTICS + "\n".join(rows) + "\n")
    session = open_plan(plan(folder, tmp_path / "project"), curator="ann")
    optics.import_optics(session, tmp_path / "ctf.star")
    for y, name in enumerate("ab", 20):
        rows = [f"{10 + 20 * k},{y},{score}" for k, score in enumerate((0.1, 0.5, 0.6))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,y,score", *rows]) + "\n")
        entering.enter(session, importing.read(session, tmp_path / f"{name}.csv"))
    session.go(1)
    session.decide(session.particles.id[:1], Decision.REJECTED)
    session.decide(session.particles.id[1:2], Decision.ACCEPTED)
    yield session
    session.close()


def named(session: Session, text: str) -> str:
    return "".join(m.name for m in facts.where(session, text).micrographs)


def test_what_is_known_of_micrographs_chooses_among_them(session: Session) -> None:
    assert named(session, "res > 5") == "bc"
    assert named(session, "not res > 5") == "a"
    assert facts.where(session, "res > 5").unknown == 1, "d, whose resolution nobody knows, is neither"
    assert named(session, "res == unknown") == "d"
    assert named(session, "defocus > 1 and defocus < 1.5") == "c"
    assert named(session, "astig == 400") == "abc"
    assert named(session, "und > 0") == "ab"
    assert named(session, "acc > 0 and rej == 1") == "a"
    assert named(session, "score > 0.54") == "a", "the median of what is not rejected: 0.55, and 0.5"
    assert named(session, "picks == 0 and px == 2 and width > height") == "cd"
    assert named(session, "state == todo") == "abcd"
    session.set_state([2, 3], MicrographState.COMPLETE)
    assert named(session, "state == todo") == "ad"
    assert named(session, "state == finished") == "bc"
    assert named(session, "name ~ C or name == d") == "cd"
    with pytest.raises(ExpressionError, match="is res meant"):
        named(session, "ress > 5")


def test_passports_count_where_nobody_said_anything_else(session: Session) -> None:
    kept = session.store.folder / "cache" / "passport" / "passport.jsonl"
    kept.parent.mkdir(parents=True)
    lines = [
        json.dumps({"name": name, "key": {}, "result": {"ice_ring": ice, "fit_resolution_A": 9.0, "tilt_deg": None}})
        for name, ice in (("a-1", 0.7), ("d-4", 0.1))  # as the window keeps them: with the micrograph's number
    ]
    kept.write_text(
        "\n".join(
            [*lines, '{"name": "b", "key'],
        )
        + "\n"
    )
    assert named(session, "ice > 0.5") == "a"
    assert named(session, "ice == unknown") == "bc"
    assert named(session, "res > 8") == "d", "what was imported is not overruled by what was measured"
    assert named(session, "tilt == unknown") == "abcd"


def test_clearing_is_one_step(session: Session) -> None:
    before = session.store.particles(1), session.store.particles(2)
    outcome = selecting.clear(session, [1, 2], (Decision.UNDECIDED,))
    assert outcome.n == 4
    assert session.counts() == {"accepted": 1, "undecided": 0, "rejected": 1}
    assert "4 undecided picks of 2 micrographs" in session.next_undo().title
    session.undo()
    for number, there in enumerate(before, 1):
        assert np.array_equal(session.store.particles(number).columns()["x"], there.x)
    assert selecting.clear(session, [1]).n == 3
    assert selecting.clear(session, [3, 4]).n == 0
    with pytest.raises(Refused, match="choose the micrographs"):
        selecting.clear(session, [])


def test_the_list_is_what_relion_reads(session: Session, tmp_path: Path) -> None:
    report = selecting.export_selected(session, [3, 1], tmp_path / "out")
    assert report.file.name == "micrographs_selected.star"
    assert not report.notes
    star = read_star(report.file)
    table, groups = star.table("micrographs"), star.table("optics")
    assert table.columns["rlnMicrographName"] == ["MotionCorr/job002/c.mrc", "MotionCorr/job002/a.mrc"]
    tilt = dict(zip(groups.columns["rlnOpticsGroup"], groups.columns["rlnBeamTiltX"], strict=True))
    assert [float(tilt[number]) for number in table.columns["rlnOpticsGroup"]] == [-0.5, 0.5]
    assert [float(text) for text in table.columns["rlnCtfMaxResolution"]] == [5.5, 4.5]
    assert [float(text) for text in table.columns["rlnDefocusV"]] == [11600.0, 8600.0]
    # one without a CTF: RELION takes no gaps, and it is said
    report = selecting.export_selected(session, [4, 1], tmp_path / "other.star")
    assert "the CTF of 1 of 2 is not known" in report.notes[0]
    assert "rlnDefocusU" not in read_star(tmp_path / "other.star").table("micrographs").columns
    with pytest.raises(Refused):
        selecting.export_selected(session, [], tmp_path)


def test_the_microscope_goes_along_where_a_person_said_it(session: Session, tmp_path: Path) -> None:
    optics.set_optics(session, [4], Ctf(Defocus(15000.0, 15000.0, 0.0), Optics(200.0, 1.4, 0.07)))
    star = read_star(selecting.export_selected(session, [4], tmp_path / "d.star").file)
    assert float(star.table("optics").columns["rlnVoltage"][0]) == 200.0
    assert float(star.table("optics").columns["rlnMicrographPixelSize"][0]) == 2.0


@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="needs Debian's package relion")
def test_relion_itself_reads_the_list(session: Session, tmp_path: Path) -> None:
    report = selecting.export_selected(session, [1, 2, 3], tmp_path / "m.star")
    handler = ["relion_star_handler", "--i", str(report.file), "--o", "relion.star", "--select", "rlnCtfMaxResolution"]
    done = subprocess.run([*handler, "--maxval", "6"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_star(tmp_path / "relion.star").table("micrographs")
    assert table.columns["rlnMicrographName"] == ["MotionCorr/job002/a.mrc", "MotionCorr/job002/c.mrc"]
    assert table.columns["rlnOpticsGroup"] == ["1", "2"]


def test_only_some_micrographs_are_exported(session: Session, tmp_path: Path) -> None:
    chosen = [m.id for m in facts.where(session, "res > 5").micrographs]
    everything = exporting.DECISIONS["all"]
    report = exporting.export(session, tmp_path / "o", "cryoppp", decisions=everything, micrographs=chosen)
    assert [path.name for path in report.files] == ["b.csv"]
    assert report.n_picks == 3


def test_the_command_line_chooses_too(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = str(session.store.folder)
    assert run(["select", project, "--where", "res > 5", "--json", "-o", str(tmp_path / "s.star")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["micrographs"], answer["unknown"]) == (["b", "c"], 1)
    assert Path(answer["file"]).is_file()
    assert run(["status", project, "--where", "und > 0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["where"] == {"micrographs": ["a", "b"], "unknown": 0}
    assert (
        run(
            [
                "export",
                project,
                "-o",
                str(tmp_path / "o"),
                "--to",
                "cryoppp",
                "--decision",
                "all",
                "--where",
                "res < 5",
                "--json",
            ]
        )
        == 0
    )
    assert Path(json.loads(capsys.readouterr().out)["files"][0]).name == "a.csv"
    assert run(["select", project, "--where", "res > 5", "--mark", "unusable", "--reason", "poor CTF"]) == 0
    session.refresh()
    assert [m.name for m in session.micrographs if m.state is MicrographState.UNUSABLE] == ["b", "c"]
    assert "poor CTF" in session.history()[0].title
    capsys.readouterr()
    assert run(["select", project, "--where", "ress > 5"]) == 1
    assert "no column “ress”; is res meant?" in capsys.readouterr().err
    assert run(["select", project, "--where", "res > 5", "--mark", "rotten"]) == 1
    assert "no state 'rotten'" in capsys.readouterr().err
