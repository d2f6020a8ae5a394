"""``doctor`` on this machine, and on one where something is missing or broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cryoppp_annotator.batch.doctor import Check, Level, examine


def doctor(*words: str, **changed: str | None) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what is found is kept for a process's life."""
    environment = {**os.environ, **{name: value for name, value in changed.items() if value is not None}}
    for name in (name for name, value in changed.items() if value is None):
        environment.pop(name, None)
    command = [sys.executable, "-m", "cryoppp_annotator", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def checks_of(ran: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(ran.stdout)["checks"]}


def plugin(folder: Path, group: str, name: str, code: str) -> None:
    """An installed distribution whose one entry point is in a module of that code."""
    (folder / f"{name}_module.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}_module:IT\n")


def test_here_everything_needed_is_there_and_the_window_was_tried(tmp_path: Path) -> None:
    ran = doctor("--json", CRYOPPP_TOPAZ=str(tmp_path))  # it takes half a minute to try Topaz
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["ok"] is True
    checks = checks_of(ran)
    assert not [name for name, check in checks.items() if check["level"] == "broken"]
    assert checks["OpenGL"]["level"] == "ok"  # there is a display in the tests, and a context was made on it
    assert float(checks["OpenGL"]["said"]) >= 2.1
    assert "PyQt" in checks["Qt"]["said"]
    assert checks["napari"]["said"].startswith("0.9")
    assert {"log", "example", "relion-log", "topaz"} <= set(checks["pickers"]["said"].split(", "))
    assert "GB free" in checks["disk, this folder"]["said"]
    assert "cores" in checks["machine"]["said"]
    assert all(check["mend"] for check in checks.values() if check["level"] == "missing")


def test_what_is_merely_not_there_is_no_failure(tmp_path: Path) -> None:
    ran = doctor("--json", PATH=str(tmp_path), CRYOPPP_TOPAZ=str(tmp_path), DISPLAY=None, WAYLAND_DISPLAY=None)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    checks = checks_of(ran)
    for name, mend in (
        ("RELION", "apt-get install relion"),
        ("Topaz", "cryoppp-annotator-topaz install"),
        ("OpenGL", "xvfb-run"),
    ):
        assert checks[name]["level"] == "missing"
        assert mend in checks[name]["mend"]


def test_a_broken_plugin_and_a_broken_program_are_named_and_fail(tmp_path: Path) -> None:
    plugin(tmp_path, "cryoppp_annotator.pickers", "brokenpicker", "raise RuntimeError('no such library: libfoo')")
    plugin(
        tmp_path, "cryoppp_annotator.engines", "brokenengine", "class IT:\n    name = 'x'\n    status = None\nIT = IT()"
    )
    program = tmp_path / "relion_autopick"
    program.write_text("#!/bin/sh\necho 'libmpi.so.40: cannot open shared object file' >&2\nexit 127\n")
    program.chmod(0o755)
    ran = doctor(
        PYTHONPATH=str(tmp_path),
        CRYOPPP_RELION=str(program),
        CRYOPPP_TOPAZ=str(tmp_path),  # to try it takes long
        DISPLAY=None,
        WAYLAND_DISPLAY=None,
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    lines = ran.stdout.splitlines()
    broken = [line for line in lines if line.startswith("broken")]
    assert len(broken) == 3
    for said in ("RuntimeError: no such library: libfoo", "libmpi.so.40", "without the method status"):
        assert sum(said in line for line in broken) == 1
    for line in broken:  # each is followed by what to do
        assert lines[lines.index(line) + 1].strip().startswith("-> ")
    # and the other plugins work
    assert any(line.startswith("ok") and "relion-log" in line for line in lines)


def test_qt_that_dies_is_found_without_dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform plugin that is not there ends a Qt program by a signal."""
    display = os.environ.get("DISPLAY", ":0")
    ran = doctor("--json", QT_QPA_PLATFORM="nonsense", DISPLAY=display, CRYOPPP_TOPAZ="nowhere")
    assert ran.returncode == 1
    check = checks_of(ran)["Qt and OpenGL"]
    assert check["level"] == "broken"
    assert "nonsense" in check["said"]
    assert "apt-get install" in check["mend"]


def test_a_full_disk_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryoppp_annotator.batch.doctor._LEAST_FREE_GB", 1e9)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("CRYOPPP_TOPAZ", "nowhere")
    disks = [check for check in examine() if check.name.startswith("disk")]
    assert len(disks) == 2
    assert all(isinstance(check, Check) and check.level is Level.BROKEN and check.mend for check in disks)
