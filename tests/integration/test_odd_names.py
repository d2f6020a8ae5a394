"""File names that are no Unicode, or hold a newline: one never stops the others, and each is shown in one line."""

from __future__ import annotations

import json
import os
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
