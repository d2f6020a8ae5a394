"""File names that are no Unicode, or hold a newline: one never stops the others, and each is shown in one line."""

from __future__ import annotations

import csv
import json
import os
import shlex
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.files.exporting import export

ODD = (b"not\xffunicode.mrc", b"new\nline.mrc", b"tab\there.mrc", b"<img src=x>.mrc")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two plain micrographs and four odd ones."""
    plain = tmp_path / "data" / "plain.mrc"
    plain.parent.mkdir()
    with mrcfile.new(plain) as file:
        file.set_data(np.random.default_rng(0).normal(0, 1, (64, 80)).astype(np.float32))
        file.voxel_size = 2.0
    for name in (b"other.mrc", *ODD):
        (plain.parent / os.fsdecode(name)).write_bytes(plain.read_bytes())
    return plain.parent


def test_a_folder_with_odd_names_opens_and_exports(folder, tmp_path):
    session = opening.open_plan(opening.plan(folder))
    names = [m.name for m in session.micrographs]
    assert len(names) == 2 + len(ODD)
    (broken,) = [m for m in session.micrographs if m.problem]
    assert broken.name == "not\\xffunicode"
    assert "rename" in broken.problem
    for micrograph in session.micrographs:
        if not micrograph.problem:
            session.go(micrograph.id)
            session.add(20.0, 30.0)
    for name in ("relion", "topaz", "box", "cryoppp", "eman2"):
        report = export(session, tmp_path / name, name, decisions=[Decision.ACCEPTED, Decision.UNDECIDED])
        assert report.n_micrographs >= 3
        assert any("left out: 2 micrographs" in note for note in report.notes), report.notes
    session.close()
    session = opening.open_plan(opening.plan(folder))
    assert len(session.micrographs) == 2 + len(ODD), "none is added a second time"
    session.close()


def test_the_command_line_goes_on(folder, tmp_path, capsys):
    code = run(["denoise", str(folder), "-o", str(tmp_path / "out"), "--method", "band-pass"])
    assert code in (0, 1)
    capsys.readouterr()
    assert (tmp_path / "out" / "plain.mrc").is_file()
    assert (tmp_path / "out" / "other.mrc").is_file()
    assert run(["status", str(folder), "--json"]) == 1, "there is no project yet"
    assert run(["import", str(tmp_path / "project"), "--micrographs", str(folder)]) in (0, 1)
    capsys.readouterr()
    assert run(["status", str(tmp_path / "project"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["micrographs"] == 2 + len(ODD)


#: Written out by the program each as what they are, or left out and named; none of them ends the work on the others.
ODDER = (
    b"not\xffunicode",
    b"new\nline",
    b"tab\there",
    b"return\rhere",
    b"<b> & \"q\" 's'",
    b"'a' \"b\" c",
    b"\x1b[31mred",
    b"=1+1",
)


@pytest.fixture
def odder(tmp_path) -> Path:
    """Micrographs of such names and one plain one, with picks of the same names."""
    data, picks = tmp_path / "data", tmp_path / "picks"
    data.mkdir()
    picks.mkdir()
    plain = data / "plain.mrc"
    with mrcfile.new(plain) as file:
        file.set_data(np.random.default_rng(0).normal(0, 1, (128, 128)).astype(np.float32))
        file.voxel_size = 2.0
    places = "".join(f"{x} {y}\n" for x in (30, 60, 90) for y in (30, 60, 90))
    rows = f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{places}"
    for name in (b"plain", *ODDER):
        (data / os.fsdecode(name + b".mrc")).write_bytes(plain.read_bytes())
        (picks / os.fsdecode(name + b".star")).write_text(rows)
    return tmp_path


PROJECT_COMMANDS = ("select", "status", "history", "merge", "recover")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("ctf data -o out", "micrographs_ctf.star"),
        ("passport data -o out", "passport.star"),
        ("pick data -o out --diameter 30px --to topaz", "plain.star"),
        ("extract picks --micrographs data -o out --box-size 32", "particles.star"),
        ("compare picks picks --micrographs data --diameter 30px --report out/report.html", "report.html"),
        ("errors picks --micrographs data --diameter 30px -o out", "queue.csv"),
        ("convert picks --micrographs data --to relion-particles -o out", "particles.star"),
        ("select project --where 'px > 0' -o out/selected.star --assign <b>ada</b>", "selected.star"),
        ("status project --csv out/table.csv", "table.csv"),
        ("history project --csv out/table.csv", "table.csv"),
        ("merge twin project", "../twin/annotations.sqlite"),
        ("recover project -o out", "annotations.sqlite"),
    ],
)
def test_no_odd_name_stops_a_command(words, written, odder, monkeypatch, capsys):
    monkeypatch.chdir(odder)
    given = shlex.split(words)
    if given[0] in PROJECT_COMMANDS:
        assert run(["import", "project", "--micrographs", "data", "--coords", "picks"]) == 0
        assert run(["import", "twin", "--micrographs", "data"]) == 0
        if given[0] != "recover":
            (odder / "out").mkdir()
    assert run(given) in (0, 1)
    assert (odder / "out" / written).stat().st_size > 0
    said = capsys.readouterr()
    assert "unexpected" not in said.err
    assert not {"\x1b", "\r"} & set(said.err + said.out)
    if written == "table.csv":
        rows = list(csv.reader((odder / "out" / written).read_text().splitlines()))
        assert "'=1+1" in [cell for row in rows for cell in row], "a spreadsheet would run it"
