"""A proposal that was stopped goes on where it stopped, and nothing old is taken for new."""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from counting_plugin import Calls, counting, install

from cryoppp_annotator.errors import Cancelled
from cryoppp_annotator.imaging.ctf import Ctf, Defocus
from cryoppp_annotator.model.candidates import Candidates
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Reason
from cryoppp_annotator.model.region import Origin, Region
from cryoppp_annotator.session import regions
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.picks import proposing
from cryoppp_annotator.session.picks.one_micrograph import OnePick, Picked
from cryoppp_annotator.session.picks.proposed_before import ProposalCache

N, SIDE = 8, 160
SQUARE = np.array([(20.0, 20.0), (20.0, 60.0), (60.0, 60.0), (60.0, 20.0)])


def write(path: Path, number: int, seed: int = 0) -> Path:
    image = np.random.default_rng((number, seed)).normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    image[0, 0] = number
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 5.0
    return path


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """An installed distribution that brings the picker."""
    with counting(tmp_path, monkeypatch) as counted:
        counted.let_through(N)
        yield counted


@pytest.fixture
def eight(tmp_path: Path) -> Iterator[Session]:
    """A project of eight micrographs."""
    (tmp_path / "data").mkdir()
    for number in range(N):
        write(tmp_path / "data" / f"m{number}.mrc", number)
    opened = opening.open_plan(opening.plan(tmp_path / "data", tmp_path / "project"), curator="me")
    opened.set_diameter(60.0)
    opened.go(opened.micrographs[0].id)
    yield opened
    opened.close()


def kept(session: Session) -> list[Path]:
    return sorted((session.store.folder / "cache" / "proposals").glob("*.npz"))


def propose(session: Session, context: JobContext | None = None, **more: Any) -> proposing.Proposal:
    return proposing.propose(session, "counting", session.micrographs, context=context or JobContext(), **more)


def stopped_after(session: Session, n: int, said: list[str]) -> JobContext:
    return JobContext(
        on_progress=lambda *progress: said.append(progress[2]), is_cancelled=lambda: len(kept(session)) >= n
    )


def same(a: proposing.Proposal, b: proposing.Proposal) -> bool:
    def flat(one: proposing.Proposal) -> list[Any]:
        picks = [(n, *(v.tolist() for v in (c.x, c.y, c.score, c.diameter_A))) for n, c in one.candidates]
        by_micrograph = [(n, [(r.reason, r.vertices.tolist()) for r in there]) for n, there in one.regions]
        return [picks, by_micrograph, dict(one.left_out), one.failed, one.diameter_A, one.parameters]

    return flat(a) == flat(b)


def test_a_cancelled_proposal_enters_nothing_and_the_next_one_picks_only_the_rest(
    eight: Session, calls: Calls, entered: Any
) -> None:
    said: list[str] = []
    calls.let_through(5)
    steps = len(eight.history())
    with pytest.raises(Cancelled):
        propose(eight, stopped_after(eight, 5, said))
    assert said[-1] == "5 of 8 are kept: the next start continues there"
    assert set(calls.taken()) >= set(range(5))
    assert (len(eight.history()), eight.counts()["undecided"]) == (steps, 0), "nothing half-done appears"
    calls.let_through(N)
    lines: list[str] = []
    progress: list[tuple[float, float, str]] = []
    again = propose(eight, JobContext(on_progress=lambda *one: progress.append(one), on_log=lines.append))
    assert calls.taken() == [5, 6, 7]
    assert lines == ["5 of 8 were done before"]
    assert any(total == 3 and "micrographs · 5 of 8 were done before" in text for _, total, text in progress), progress
    assert progress[-1] == (8, 8, "8/8 micrographs · 5 of 8 were done before")
    line = entered(eight, again)
    assert " · 5 of 8 were done before" in line
    assert eight.counts()["undecided"] == 4 * N
    eight.undo()
    assert eight.counts()["undecided"] == 0, "one step"
    for file in kept(eight):
        file.unlink()
    whole = propose(eight)
    assert calls.taken() == list(range(N))
    assert same(again, whole)
    assert "before" not in entered(eight, whole)


def test_nothing_is_picked_twice_where_nothing_has_changed(eight: Session, calls: Calls) -> None:
    first = propose(eight)
    ball = Region(Reason.ICE, SQUARE + 80)
    here = eight.micrographs[2].id
    proposing.enter(eight, replace(first, regions=((here, (ball,)),)))
    assert [r.origin for r in eight.store.regions(here)] == [Origin.FOUND]
    calls.taken()
    again = propose(eight)
    assert calls.taken() == [], "what is entered and what was found on the way changes nothing"
    assert same(first, again)


def test_a_kill_costs_only_what_was_running(eight: Session, calls: Calls) -> None:
    calls.let_through(5)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cryoppp_annotator.session.core import opening\n"
        "from cryoppp_annotator.session.picks import proposing\n"
        "session = opening.open_project(Path(sys.argv[1]))\n"
        "proposing.propose(session, 'counting', session.micrographs)\n"
    )
    path = os.pathsep.join([str(calls.plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
    other = subprocess.Popen([sys.executable, "-c", script, eight.store.folder], env={**os.environ, "PYTHONPATH": path})
    try:
        while len(kept(eight)) < 5:
            assert other.poll() is None
            threading.Event().wait(0.02)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert set(calls.taken()) >= set(range(5))
    calls.let_through(N)
    assert propose(eight).before == "5 of 8 were done before"
    assert calls.taken() == [5, 6, 7]


# --- what counts -----------------------------------------------------------------------------------------------------


def _another_file(session: Session, _calls: Calls) -> None:
    write(session.path_of(session.micrographs[3]), 3, seed=1)


def _another_version(_session: Session, calls: Calls) -> None:
    install(calls.plugin, "1.1")


def _a_region(session: Session, _calls: Calls) -> None:
    session.go(session.micrographs[3].id)
    regions.draw(session, SQUARE, Reason.CARBON)


CHANGES: dict[str, tuple[Callable[[Session, Calls], object], list[int]]] = {
    "file": (_another_file, [3]),
    "region": (_a_region, [3]),
    "pixel size of one": (lambda s, _: s.set_pixel_size(4.0, s.micrographs[3].id), [3]),
    "diameter": (lambda s, _: s.set_diameter(61.0), list(range(N))),
    "whole boxes": (lambda s, _: s.set_whole_box_px(40.0), list(range(N))),
    "version of the plugin": (_another_version, list(range(N))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_has_changed_is_picked_anew(eight: Session, calls: Calls, what: str) -> None:
    propose(eight)
    calls.taken()
    change, numbers = CHANGES[what]
    change(eight, calls)
    again = propose(eight)
    assert calls.taken() == numbers
    assert same(again, propose(eight))
    assert calls.taken() == []


def test_another_parameter_or_another_file_of_that_name_picks_anew(
    eight: Session, calls: Calls, tmp_path: Path
) -> None:
    model = tmp_path / "model.npz"
    model.write_bytes(b"one")
    different: list[dict[str, Any]] = [
        {},
        {"parameters": {"threshold": 1}},
        {"parameters": {"ctf": Ctf(Defocus(1e4, 1e4))}},
        {"parameters": {"ctf": Ctf(Defocus(1e4, 1.1e4))}},
        {"parameters": {"templates": np.zeros((2, 3))}},
        {"parameters": {"templates": np.ones((2, 3))}},
        {"avoid": False},
        {"context": JobContext(seed=1)},
        {"parameters": {"model": str(model)}},
    ]
    for options in different:
        propose(eight, **options)
        assert calls.taken() == list(range(N)), options
        propose(eight, **options)
        assert calls.taken() == [], options
    model.write_bytes(b"two")
    propose(eight, **different[-1])
    assert calls.taken() == list(range(N))
    unseen = {"parameters": {"of unknown content": object()}}
    for _ in range(2):
        propose(eight, **unseen)
        assert calls.taken() == list(range(N)), "what cannot be compared is not taken for the same"


def test_every_field_of_a_pick_counts(eight: Session) -> None:
    """Also one that somebody adds later."""
    cache = ProposalCache(eight.store, "log", {}, JobContext())
    path = str(eight.path_of(eight.micrographs[0]))
    one = OnePick(path, "log", 5.0, 60.0, {}, number=1, name="m0")
    region = Region(Reason.ICE, SQUARE, origin=Origin.HAND)
    changed: dict[str, Any] = {
        "path": str(eight.path_of(eight.micrographs[1])),
        "picker": "x",
        "parameters": {"a": 1},
        "avoid": False,
        "regions": (region,),
        "threshold": 0.5,
        "bright": True,
    }
    keys = [cache.key(one)]
    for field in fields(OnePick):
        if field.name not in ("number", "name"):
            other = changed.get(field.name, 7)
            keys.append(cache.key(replace(one, **{field.name: other})))
    keys.append(cache.key(replace(one, regions=(replace(region, vertices=SQUARE + 1),))))
    keys.append(cache.key(replace(one, regions=(replace(region, origin=Origin.DISMISSED),))))
    assert None not in keys
    assert [key for key, n in Counter(keys).items() if n > 1] == []
    assert cache.key(replace(one, number=5, name="other")) == keys[0]
    detected = replace(region, origin=Origin.FOUND)
    assert cache.key(replace(one, regions=(detected,))) == keys[0]
    assert cache.key(replace(one, path=path + ".gone")) is None


# --- a bad cache -----------------------------------------------------------------------------------------------------


def picked() -> Picked:
    x = np.linspace(1, 2, 7)
    detected = (Region(Reason.ICE, SQUARE), Region(Reason.CARBON, SQUARE[:3] + 1 / 3))
    return Picked(Candidates(x, x + 1, x / 3, x * 100), {Reason.ICE: 3, Reason.EDGE: 1}, detected)


def as_lists(one: Picked) -> list[Any]:
    c = one.candidates
    parts = [v.tolist() for v in (c.x, c.y, c.score, c.diameter_A)]
    where = [(r.reason, r.origin, r.vertices.tolist()) for r in one.regions]
    # what is kept is all that there is
    assert {field.name for field in fields(one)} == {"candidates", "left_out", "regions"}
    return [parts, dict(one.left_out), where]


def test_a_damaged_file_is_picked_anew(eight: Session, calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    first = propose(eight)
    calls.taken()
    files = kept(eight)
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:-40])
    files[2].write_bytes(b"nothing of the kind")
    files[3].unlink()
    files[3].mkdir()
    np.savez(files[4], key=np.array({"a": 1}, dtype=object))
    with np.load(files[5]) as file:
        columns = dict(file)
    np.savez(files[5], **{**columns, "candidates": np.zeros((3, 2))})
    np.savez(files[6], **{name: value for name, value in columns.items() if name != "left_out"})
    with caplog.at_level(logging.WARNING, "cryoppp_annotator"):
        again = propose(eight)
    assert len(calls.taken()) >= 6
    assert same(first, again)
    assert [r.getMessage().count("is no kept proposal") for r in caplog.records].count(1) == 1, "said once"


def test_no_flipped_bit_is_taken_for_a_result(eight: Session) -> None:
    cache = ProposalCache(eight.store, "log", {}, JobContext())
    cache.put(1, "k" * 64, picked())
    (file,) = kept(eight)
    good = file.read_bytes()
    assert as_lists(cache.get(1, "k" * 64)) == as_lists(picked())
    assert cache.get(1, "x" * 64) is None
    rng = np.random.default_rng(3)
    lost = 0
    for at in rng.integers(0, len(good), 400).tolist():
        bad = bytearray(good)
        bad[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        cached = cache.get(1, "k" * 64)
        lost += cached is None
        assert cached is None or as_lists(cached) == as_lists(picked()), at
    assert lost > 200


def test_a_cache_that_cannot_be_written_fails_nothing(
    eight: Session, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    (eight.store.folder / "cache").mkdir()
    (eight.store.folder / "cache" / "proposals").write_text("in the way")
    lines: list[str] = []
    with caplog.at_level(logging.WARNING, "cryoppp_annotator"):
        proposal = propose(eight, JobContext(on_log=lines.append))
    assert len(proposal.candidates) == N
    assert not proposal.failed
    assert len(lines) == 1
    assert lines[0].startswith("what is found is not kept for another start: ")
    assert len([r for r in caplog.records if "cannot be written" in r.getMessage()]) == 1
    calls.taken()
    calls.let_through(2)
    said: list[str] = []
    context = JobContext(
        on_progress=lambda *progress: said.append(progress[2]),
        is_cancelled=lambda: any(text.startswith("2/8") for text in said),
    )
    with pytest.raises(Cancelled):
        propose(eight, context)
    assert not any("goes on" in text for text in said), "nothing is promised that is not so"


def test_a_full_disk_fails_nothing_and_leaves_nothing_half_written(eight: Session, calls: Calls) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        proposal = propose(eight)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signals)
    assert len(proposal.candidates) == N
    assert list((eight.store.folder / "cache" / "proposals").glob("*")) == []
    calls.taken()
    assert same(proposal, propose(eight))
    assert calls.taken() == list(range(N))
    assert len(kept(eight)) == N


def test_a_project_opened_read_only_is_not_written(eight: Session, calls: Calls) -> None:
    with_picks = propose(eight)
    for file in kept(eight):
        file.unlink()
    other = opening.open_project(eight.store.folder, read_only=True)
    try:
        assert same(with_picks, propose(other))
    finally:
        other.close()
    assert kept(eight) == []
