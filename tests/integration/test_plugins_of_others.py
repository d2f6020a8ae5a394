"""Plugins of somebody else that print, exit, crash, never return or give nonsense: named, and the program goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator import extensions
from cryoppp_annotator.batch.pick import PickOptions, pick_all
from cryoppp_annotator.jobs.isolated import end_idle

HEAD = """
import os, sys, time
import numpy as np
from cryoppp_annotator.api import Candidates, Picture

class It:
    name, title = "evil", "Evil"
    def propose(self, image, *, pixel_size_A, diameter_A, parameters, context):
        {propose}

IT = It()
"""
FINE = "return Candidates(np.array([50.0]), np.array([60.0]), np.array([1.0]), np.array([120.0]))"


def install(folder: Path, body: str) -> Path:
    info = folder / "evil.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-picker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{extensions.PICKERS}]\nevil = evil_picker:IT\n")
    (folder / "evil_picker.py").write_text(body)
    return folder


@pytest.fixture
def micrograph(tmp_path) -> Path:
    path = tmp_path / "data" / "m.mrc"
    path.parent.mkdir()
    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(0).normal(0, 1, (256, 320)).astype(np.float32))
        file.voxel_size = 2.0
    return path


def program(plugin: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(plugin)}
    return subprocess.run(
        [sys.executable, "-m", "cryoppp_annotator", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def pick(plugin: Path, micrograph: Path, picker: str = "evil") -> subprocess.CompletedProcess[str]:
    out = plugin.parent / "out"
    return program(plugin, "pick", micrograph, "-o", out, "--diameter", "120", "--picker", picker, "--json")


@pytest.mark.parametrize(
    ("propose", "said"),
    [
        ("return image", "returned an array; Candidates are expected"),
        ("return None", "returned nothing"),
        ("return Candidates(*[np.array([np.nan])] * 4)", "not finite"),
        ("return Candidates(np.array([1e9]), *[np.array([1.0])] * 3)", "outside the 320 x 256 px image"),
        ("return Candidates(*[np.ones(2)] * 3, np.ones(1))", "do not fit together"),
        ("return Candidates(*[np.ones(2_000_000)] * 4)", "2,000,000 candidates"),
        ("raise RuntimeError('no such thing')", "failed (RuntimeError: no such thing)"),
        ("sys.exit(3)", "failed (SystemExit: 3)"),
        ("os._exit(0)", "ended its process (exit status 0)"),
        ("os.kill(os.getpid(), 11)", "ended its process (killed by SIGSEGV"),
    ],
)
def test_what_a_picker_does_wrong_is_named(propose, said, tmp_path, micrograph, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path / "plugin", HEAD.format(propose=propose)))
    extensions.find.cache_clear()
    try:
        report = pick_all([micrograph], tmp_path / "out", PickOptions(picker="evil", diameter_A=120.0))
    finally:
        extensions.find.cache_clear()
        end_idle()
        sys.modules.pop("evil_picker", None)
    (reason,) = report.failed.values()
    assert said in reason
    assert "'evil'" in reason
    assert not list((tmp_path / "out").glob("*.star"))


def test_what_a_plugin_prints_is_no_answer_of_the_program(tmp_path, micrograph):
    body = "print('loading', flush=True)\n" + HEAD.format(propose=f"print('hello'); os.system('echo deep'); {FINE}")
    plugin = install(tmp_path / "plugin", body)
    ran = pick(plugin, micrograph)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["picks"] == 1
    assert json.loads(pick(plugin, micrograph, "log").stdout)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import sys; sys.exit(1)", "its import ends the process (exit status 1)"),
        ("import os; os._exit(0)", "its import ends the process (exit status 0)"),
        ("import os; os.kill(os.getpid(), 11)", "its import crashes (SIGSEGV)"),
        ("IT = 5", "it is a int without the method propose"),
        ("raise ValueError('broken')", "ValueError: broken"),
    ],
)
def test_an_import_that_ends_the_process_does_not_end_the_program(body, said, tmp_path, micrograph):
    plugin = install(tmp_path / "plugin", body)
    ran = pick(plugin, micrograph, "log")
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stderr
    assert "evil-picker" in ran.stderr
    ran = program(plugin, "doctor", "--json")
    assert said in ran.stdout


def test_doctor_tries_each_plugin_on_a_small_image(tmp_path):
    plugin = install(tmp_path / "plugin", HEAD.format(propose="os._exit(7)"))
    checks = {c["name"]: c for c in json.loads(program(plugin, "doctor", "--json").stdout)["checks"]}
    assert checks["pickers: evil"]["level"] == "broken"
    assert "exit status 7" in checks["pickers: evil"]["said"]
