"""Templates from the accepted picks and from files: kept with what is known of them, the CTF never applied twice."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from cryoppp_annotator.errors import AnnotatorError, Cancelled, EngineError, Refused
from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.picking.evaluate import quality
from cryoppp_annotator.picking.matching import match
from cryoppp_annotator.session.classes import template_making, templates
from cryoppp_annotator.session.classes.job import classify_project
from cryoppp_annotator.session.classes.run_options import RunOptions
from cryoppp_annotator.session.picks import proposing
from cryoppp_annotator.session.pictures import optics


@pytest.fixture
def session(session):
    """The particles of the first micrograph are accepted."""
    for x, y in zip(session.truths[0].x, session.truths[0].y, strict=True):
        session.add(float(x), float(y), anyway=True)
    return session


def tell_defocus(session) -> Ctf:
    ctf = Ctf(Defocus(*[float(session.truths[0].defocus_A)] * 2, 0.0), Optics())
    optics.set_optics(session, [m.id for m in session.micrographs], ctf)
    return ctf


def scores(session, parameters) -> np.ndarray:
    ((_, candidates),) = proposing.propose(
        session, "template", session.micrographs[1:], parameters=parameters, avoid=False
    ).candidates
    return candidates.score


def test_averages_of_the_accepted_picks_find_the_particles_of_another_micrograph(session):
    made = template_making.from_picks(session)
    assert "template" in made.summary
    assert "accepted picks" in made.summary
    kept = made.templates
    assert [kept.name] == [item.name for item in templates.list_templates(session)]
    assert kept.name == "accepted-picks-0001"
    assert (kept.white, kept.ctf_corrected) == (True, False), "nobody knows the defocus"
    assert kept.diameter_A == session.diameter_A
    images, _ = templates.load_template(session, kept.name)
    assert 1 <= len(images) <= 5
    assert template_making.looks_white(images)
    ((_, item),) = proposing.propose(
        session, "template", session.micrographs[1:], parameters=kept.parameters()
    ).candidates
    truth = session.truths[1]
    hit = match(item.x, item.y, item.score, truth.x, truth.y, 0.3 * truth.diameter_px)
    assert quality([hit]).best_f1 > 0.85
    assert template_making.from_picks(session).templates.name == "accepted-picks-0002"


def test_the_ctf_is_applied_to_templates_that_are_free_of_it_only(session):
    plain = template_making.from_picks(session).templates
    ctf = tell_defocus(session)
    corrected = template_making.from_picks(session).templates
    assert (plain.ctf_corrected, corrected.ctf_corrected) == (False, True)
    for kept, known in ((plain, None), (corrected, ctf)):
        given = kept.parameters()
        np.testing.assert_array_equal(scores(session, given), scores(session, {**given, "ctf": known}))
    assert not np.array_equal(
        scores(session, {**corrected.parameters(), "ctf": None})[:5], scores(session, corrected.parameters())[:5]
    )
    templates.set_corrected(session, corrected.name, False)
    again = templates.load_template(session, corrected.name)[1]
    assert not again.ctf_corrected
    assert again.made == corrected.made


def test_a_stack_and_a_map_are_kept_with_what_is_known_of_them(session, tmp_path):
    offset = np.arange(32) - 16
    ball = (offset[:, None, None] ** 2 + offset[None, :, None] ** 2 + offset[None, None] ** 2 < 10**2).astype(
        np.float32
    )
    with mrcfile.new(tmp_path / "a map.mrc") as mrc:
        mrc.set_data(ball)
        mrc.voxel_size = 4.0
    made = template_making.from_file(session, tmp_path / "a map.mrc")
    assert (made.templates.name, made.templates.ctf_corrected, made.templates.white) == ("a-map-0001", True, True)
    assert made.templates.pixel_size_A == 4.0
    assert "projections of a map.mrc" in made.summary
    black = write_stack(tmp_path / "black.mrcs", -ball.sum(axis=0)[None], 4.0)
    kept = template_making.from_file(session, black, ctf_corrected=False).templates
    assert (len(kept.numbers), kept.white, kept.ctf_corrected) == (1, False, False)
    assert "black" in kept.summary
    assert len(scores(session, kept.parameters()))
    nameless = write_stack(tmp_path / "unknown.mrcs", ball.sum(axis=0)[None], 0.0)
    with pytest.raises(EngineError, match="pixel size"):
        template_making.from_file(session, nameless)
    assert template_making.from_file(session, nameless, pixel_size_A=4.0).templates.pixel_size_A == 4.0
    with pytest.raises(AnnotatorError, match="gone"):
        template_making.from_file(session, tmp_path / "gone.mrcs")


def test_too_few_picks_and_a_cancel_leave_nothing(session):
    with pytest.raises(Cancelled):
        template_making.from_picks(session, context=JobContext(is_cancelled=lambda: True))
    session.decide_where(Which(), Decision.REJECTED)
    with pytest.raises(Refused, match="at least 10 accepted picks"):
        template_making.from_picks(session)
    assert templates.list_templates(session) == []


def test_classes_cut_for_a_guessed_diameter_say_so(session):
    options = RunOptions(n_classes=1, decisions=(Decision.ACCEPTED,))
    assert not [note for note in classify_project(session, options).notes if "guess" in note]
    while session.settings.diameter_is_set:
        session.undo()
    for x, y in zip(session.truths[0].x, session.truths[0].y, strict=True):
        session.add(float(x), float(y), anyway=True)
    (note,) = [note for note in classify_project(session, options).notes if "guess" in note]
    assert "150 Å" in note
