"""Lint of a project: findings carry particle ids, a mend is one step that can be undone."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.formats.check.lint import Mend
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.files import importing, linting


@pytest.fixture
def session(tmp_path: Path):
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        with mrcfile.new(tmp_path / f"{name}.mrc") as mrc:
            mrc.set_data(rng.normal(size=(400, 500)).astype(np.float32))
            mrc.voxel_size = 2.0
    opened = opening.open_plan(opening.plan(tmp_path, tmp_path / "project"), curator="me")
    opened.set_diameter(80.0)  # 40 px
    yield opened
    opened.close()


def place(session, name: str, places) -> list[int]:
    session.go(next(m.id for m in session.micrographs if m.name == name))
    return [session.add(x, y, anyway=True).new_id for x, y in places]


def test_findings_and_mend(session):
    first = place(session, "a", [(100, 100), (100, 100.2), (250, 200), (495, 200)])
    second = place(session, "b", [(200, 200), (210, 200), (300, 300)])
    findings = linting.lint(session)
    by_rule = {(f.finding.rule, f.finding.micrograph): f.ids for f in findings if f.ids}
    assert by_rule[("duplicate", "a")] == (first[1],)
    assert by_rule[("near-duplicate", "b")] == (second[1],)
    assert by_rule[("edge-clipped", "a")] == (first[3],)
    assert linting.n_mendable(findings) == 3
    assert "1 duplicate" in linting.one_line(findings)
    before = session.counts()
    assert linting.mend(session, findings).n == 3
    assert session.counts()["rejected"] == 3
    reasons = {int(i): Reason(int(r)) for m in (1, 2) for i, r in zip(*_reasons(session, m), strict=True)}
    assert reasons[first[1]] is Reason.OVERLAP
    assert reasons[first[3]] is Reason.EDGE
    assert not [f for f in linting.lint(session) if f.finding.mend not in (Mend.NONE, Mend.RECENTRE)]
    assert linting.mend(session, findings).n == 0
    session.undo()
    assert session.counts() == before


def _reasons(session, micrograph: int):
    particles = session.store.particles(micrograph)
    return particles.id, particles.reason


def test_names_that_match_nothing_are_told(session, tmp_path):
    (tmp_path / "p.star").write_text(
        "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\na.mrc 100 100\nz.mrc 5 5\n"
    )
    importing.enter(session, importing.read(session, tmp_path / "p.star", orientation=Orientation.AS_STORED))
    (message,) = [f.finding.message for f in linting.lint(session) if f.finding.rule == "name-mismatch"]
    assert "z.mrc" in message


def test_a_vanished_image_does_not_stop_the_look(session):
    ids = place(session, "a", [(100, 100), (100.1, 100)])
    session.path_of(session.micrographs[0]).unlink()
    findings = linting.lint(session, decisions=(Decision.ACCEPTED,))
    assert ("duplicate", (ids[1],)) in [(f.finding.rule, f.ids) for f in findings]


def test_off_centre_picks_are_moved_onto_their_particles_in_one_step(session):
    truth = np.array([(90.0, 90.0), (250.0, 120.0), (400.0, 300.0), (120.0, 300.0)])
    rows, columns = np.mgrid[:400, :500]
    image = np.random.default_rng(2).normal(0, 0.3, (400, 500))
    for x, y in truth:
        image -= 2.0 * (np.hypot(rows - y, columns - x) < 20)
    with mrcfile.open(session.path_of(session.micrographs[0]), "r+") as mrc:
        mrc.set_data(image.astype(np.float32))
    shift = np.array([(0, 0), (13, 0), (0, -14), (0, 0)])
    ids = place(session, "a", (truth + shift).tolist())
    findings = linting.lint(session)
    assert linting.n_off_centre(findings) == 2
    assert linting.n_off_centre(linting.of_decisions(session, findings, (Decision.UNDECIDED,))) == 0
    assert linting.n_off_centre(linting.of_decisions(session, findings, (Decision.ACCEPTED,))) == 2
    linting.recentre(session, findings)
    there = session.store.particles(session.micrographs[0].id)
    np.testing.assert_allclose(there.yx[there.rows_of(np.array(ids))], truth[:, ::-1], atol=4)
    assert linting.n_off_centre(linting.lint(session)) == 0
    session.undo()
    there = session.store.particles(session.micrographs[0].id)
    np.testing.assert_allclose(there.yx[there.rows_of(np.array(ids))], (truth + shift)[:, ::-1])
