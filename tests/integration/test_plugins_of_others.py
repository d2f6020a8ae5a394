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
from cryoppp_annotator.formats.table.star_file import read_star
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


def install(folder: Path, body: str, name: str = "evil") -> Path:
    info = folder / f"{name}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-picker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{extensions.PICKERS}]\n{name} = {name}_picker:IT\n")
    (folder / f"{name}_picker.py").write_text(body)
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
    # doctor would try Topaz and RELION each time
    environment = {**os.environ, "PYTHONPATH": str(plugin), "CRYOPPP_TOPAZ": "nowhere", "CRYOPPP_RELION": "nowhere"}
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
        # a child holds the answers open
        ("os.fork() or time.sleep(600); os._exit(4)", "ended its process (exit status 4)"),
        (
            "return type('Odd', (), {'__reduce__': lambda self: (exec, ('{}[1]',))})()",
            "its answer cannot be read: KeyError",
        ),
        ("os.fork(); return 5", "returned an int"),
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


def test_nothing_that_a_plugin_starts_outlives_the_program(tmp_path, micrograph, monkeypatch):
    """Neither a child that ignores every signal, in a session of its own, nor the child of one that has ended."""
    start = (
        "import signal, subprocess\n"
        "        [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]\n"
        "        a = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "        b = subprocess.run(['sh', '-c', 'setsid sleep 600 >&- 2>&- & echo $!'], stdout=subprocess.PIPE)\n"
        f"        open({str(tmp_path / 'started')!r}, 'w').write(f'{{a.pid}} {{int(b.stdout)}}')\n"
        f"        os.chdir('/'); {FINE}"
    )
    monkeypatch.syspath_prepend(install(tmp_path / "plugin", HEAD.replace("{propose}", start)))
    extensions.find.cache_clear()
    try:
        for number in range(2):  # the second finds the folder that the first has left
            report = pick_all([micrograph], tmp_path / f"out{number}", PickOptions(picker="evil", diameter_A=120.0))
            assert not report.failed
        started = [int(text) for text in (tmp_path / "started").read_text().split()]
        assert all(Path(f"/proc/{pid}").exists() for pid in started)
    finally:
        extensions.find.cache_clear()
        end_idle()
        sys.modules.pop("evil_picker", None)
    for pid in started:
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_plugin_sees_the_environment_as_it_is_now(tmp_path, micrograph, monkeypatch):
    """Its process stays for the next call; where its program lies may have been said in between."""
    where = "np.array([float(os.environ.get('WHERE', '10'))])"
    fine = f"return Candidates({where}, np.array([60.0]), np.array([1.0]), np.array([120.0]))"
    monkeypatch.syspath_prepend(install(tmp_path / "plugin", HEAD.format(propose=fine)))
    extensions.find.cache_clear()
    seen = []
    try:
        for number, value in enumerate((None, "20", "30", None)):
            if value is None:
                monkeypatch.delenv("WHERE", raising=False)
            else:
                monkeypatch.setenv("WHERE", value)
            out = tmp_path / f"out{number}"
            pick_all([micrograph], out, PickOptions(picker="evil", diameter_A=120.0))
            (star,) = [path for path in out.rglob("m*.star") if "rlnCoordinateX" in path.read_text()]
            seen += [float(x) for table in read_star(star).tables for x in table.columns["rlnCoordinateX"]]
    finally:
        extensions.find.cache_clear()
        end_idle()
        sys.modules.pop("evil_picker", None)
    assert seen == [10.0, 20.0, 30.0, 10.0]


def test_what_a_plugin_prints_is_no_answer_of_the_program(tmp_path, micrograph):
    body = "print('loading', flush=True)\n" + HEAD.format(propose=f"print('hello'); os.system('echo deep'); {FINE}")
    plugin = install(tmp_path / "plugin", body)
    ran = pick(plugin, micrograph)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["picks"] == 1
    assert json.loads(pick(plugin, micrograph, "log").stdout)


def test_imports_that_end_the_process_do_not_end_the_program(tmp_path, micrograph):
    folder, reasons = tmp_path / "plugins", {}
    for name, body, reason in (
        ("exits", "import sys; sys.exit(1)", "its import ends the process (exit status 1)"),
        ("ends", "import os; os._exit(0)", "its import ends the process (exit status 0)"),
        ("crashes", "import os; os.kill(os.getpid(), 11)", "its import crashes (SIGSEGV)"),
        ("number", "IT = 5", "it is a int without the method propose"),
        ("raises", "raise ValueError('broken')", "ValueError: broken"),
    ):
        install(folder, body, name)
        reasons[name] = reason
    ran = pick(folder, micrograph, "log")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stderr.splitlines()
    checks = {c["name"]: c for c in json.loads(program(folder, "doctor", "--json").stdout)["checks"]}
    for name, reason in reasons.items():
        assert [line for line in lines if f"{name}-picker" in line and reason in line], ran.stderr
        assert [c for c in checks.values() if name in c["name"] and reason in c["said"]], checks


def test_doctor_tries_each_plugin_on_a_small_image(tmp_path):
    plugin = install(tmp_path / "plugin", HEAD.format(propose="os._exit(7)"))
    checks = {c["name"]: c for c in json.loads(program(plugin, "doctor", "--json").stdout)["checks"]}
    assert checks["pickers: evil"]["level"] == "broken"
    assert "exit status 7" in checks["pickers: evil"]["said"]


FORMAT = """
import os, sys
from pathlib import Path
import numpy as np
from cryoppp_annotator.api import *
from cryoppp_annotator.model.pickfile import FilePicks, PickFile
from cryoppp_annotator.model.coordinates import STORED_FRAME

class It:
    name, title, extensions = "odd", "Odd", (".odd",)
    can_read = can_write = many_micrographs = True
    frame, carries = STORED_FRAME, frozenset()
    def sniff(self, path, head):
        print("a line of the plugin's")
        return {sniff}
    def read(self, path, *, permissive=False):
        print("another")
        rows = [line.split() for line in Path(path).read_text().split(chr(10)) if line]
        x, y = (np.array([float(row[k]) for row in rows]) for k in (1, 2))
        {read}
        return PickFile("odd", path, self.frame, (FilePicks(rows[0][0], x, y, source=path),))
    def write(self, out, picks, options):
        {write}
        out.write_text("".join(f"{{p.micrograph.name}} {{x}} {{y}}" + chr(10) for p in picks for x, y in zip(p.x, p.y)))
        return [out]

IT = It()
"""


def odd_format(folder: Path, *, sniff: str = "0.95 * path.name.endswith('.odd')", read: str = "", write: str = "pass"):
    info = folder / "odd.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-format\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{extensions.FORMATS}]\nodd = odd_format:IT\n")
    (folder / "odd_format.py").write_text(FORMAT.format(sniff=sniff, read=read or "pass", write=write))
    return folder


def test_a_format_of_somebody_else_works_in_a_process_of_its_own(micrograph, tmp_path):
    plugin = odd_format(tmp_path / "plugin")
    (tmp_path / "m.odd").write_text("m 10 20\nm 30.5 40\n")
    words = ("--to", "table", "--micrographs", micrograph.parent, "--json")
    to_table = program(plugin, "convert", tmp_path / "m.odd", "-o", tmp_path / "t.csv", *words)
    assert to_table.returncode == 0, to_table.stderr
    assert json.loads(to_table.stdout)["picks"] == 2, "what it prints is not in the answer"
    to_odd = ("--to", "odd", "--micrographs", micrograph.parent)
    back = program(plugin, "convert", tmp_path / "t.csv", "-o", tmp_path / "back.odd", *to_odd)
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back.odd").read_text() == "m 10.0 20.0\nm 30.5 40.0\n"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"read": "sys.exit(0)"}, "'odd' failed (SystemExit: 0)"),
        ({"read": "os._exit(0)"}, "'odd' ended its process"),
        ({"read": "return 5"}, "returned an int; a PickFile is expected"),
        ({"read": "x[0] = np.nan"}, "not finite"),
        ({"read": "y = y[:1]"}, "do not fit together"),
        ({"sniff": "os._exit(0)"}, "of no known coordinate format"),
        ({"sniff": "'very'"}, "of no known coordinate format"),
    ],
    ids=str,
)
def test_what_a_format_of_somebody_else_does_wrong_is_named(how, said, micrograph, tmp_path):
    plugin = odd_format(tmp_path / "plugin", **how)
    (tmp_path / "m.odd").write_text("m 10 20\nm 30.5 40\n")
    words = ("--to", "table", "--micrographs", micrograph.parent)
    answer = program(plugin, "convert", tmp_path / "m.odd", "-o", tmp_path / "out", *words)
    assert answer.returncode == 1
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_format_writes_nowhere_but_where_it_is_told(micrograph, tmp_path):
    plugin = odd_format(tmp_path / "plugin", write="(out.parent.parent / 'stray').write_text('x'); os._exit(1)")
    (tmp_path / "t.csv").write_text("micrograph,x,y,decision\nm,1,2,accepted\n")
    words = ("--to", "odd", "--micrographs", micrograph.parent)
    before = {path.name for path in tmp_path.iterdir()}
    answer = program(plugin, "convert", tmp_path / "t.csv", "-o", tmp_path / "out" / "a.odd", *words)
    assert answer.returncode == 1
    assert "'odd' ended its process" in answer.stderr
    assert {path.name for path in tmp_path.iterdir()} == before
