"""Defocus of the micrographs and pictures of other programs: into a project, out of it, and what cannot be right."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoppp_annotator.batch.denoise import named_denoiser
from cryoppp_annotator.errors import FormatError, Refused
from cryoppp_annotator.imaging.ctf import Ctf, Defocus, Optics
from cryoppp_annotator.imaging.denoise import BAND_PASS
from cryoppp_annotator.imaging.filters import fourier_crop
from cryoppp_annotator.jobs.runner import Runner
from cryoppp_annotator.session.core import opening, own_paths
from cryoppp_annotator.session.pictures import foreign_pictures, optics
from cryoppp_annotator.session.pictures.display import Pictures, View

H, W = 384, 512
HEAD = "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n_rlnDefocusU #3\n_rlnDefocusV #4\n"
GROUPS = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n_rlnAmplitudeContrast #4\n"
    "1 200 1.4 0.08\n2 300 2.7 0.1\n\n"
)


def micrograph(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(H, W)) + 6 * gaussian_filter(rng.normal(size=(H, W)), 4) * 4
    return image.astype(np.float32)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.asarray(pixels, np.float32))
        file.voxel_size = 2.0
    return path


@pytest.fixture
def session(tmp_path):
    for k in range(3):
        write(tmp_path / f"data/mic_{k}.mrc", micrograph(k))
    opened = opening.open_plan(opening.plan(tmp_path / "data"), curator="ann")
    yield opened
    opened.close()


def ids(session):
    return {m.name: m.id for m in session.micrographs}


def named(session, name):
    return session.micrograph(ids(session)[name])


# --- optics ----------------------------------------------------------------------------------------------------------


def test_a_relion_star_gives_each_micrograph_its_ctf_and_one_undo_takes_it_back(session, tmp_path):
    star = tmp_path / "micrographs_ctf.star"
    rows = "MotionCorr/mic_0.mrc 1 21000 20000\nMotionCorr/mic_1.mrc 2 15000 15500\nMotionCorr/other.mrc 1 1e4 1e4\n"
    star.write_text(GROUPS + HEAD + rows)
    said = optics.import_optics(session, star)
    assert said.startswith("imported the defocus of 2 micrographs from micrographs_ctf.star")
    assert "1 names match no micrograph (MotionCorr/other.mrc" in said
    assert optics.ctf_of(named(session, "mic_0")) == Ctf(Defocus(21000, 20000), Optics(200, 1.4, 0.08))
    assert optics.ctf_of(named(session, "mic_1")) == Ctf(Defocus(15000, 15500), Optics(300, 2.7, 0.1))
    assert optics.ctf_of(named(session, "mic_2")) is None
    again = opening.open_project(session.store.folder, curator="bob")
    assert optics.ctf_of(named(again, "mic_0")) == optics.ctf_of(named(session, "mic_0")), "it is stored"
    again.close()
    assert "nothing new" in optics.import_optics(session, star)
    session.undo()
    assert [optics.ctf_of(m) for m in session.micrographs] == [None] * 3
    session.redo()
    assert optics.ctf_of(named(session, "mic_0")) is not None


def test_older_stars_and_particles_are_read_too(session, tmp_path):
    old = tmp_path / "old.star"
    old.write_text(
        "data_\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnVoltage\n"
        "_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnPhaseShift\nmic_1.mrc 9000 8000 -45 120 6.3 0.2 90\n"
        "mic_2.mrc -999 -999 0 120 6.3 0.2 0\n"
    )
    optics.import_optics(session, old)
    shifted = Optics(120, 6.3, 0.2, phase_shift_deg=90)
    assert optics.ctf_of(named(session, "mic_1")) == Ctf(Defocus(9000, 8000, -45), shifted)
    assert optics.ctf_of(named(session, "mic_2")) is None, "not set"
    particles = tmp_path / "particles.star"
    particles.write_text(
        "data_particles\nloop_\n_rlnMicrographName\n_rlnDefocusU\nmic_0.mrc 10000\nmic_0.mrc 12000\nmic_2.mrc 7000\n"
    )
    optics.import_optics(session, particles)
    assert optics.ctf_of(named(session, "mic_0")).defocus == Defocus(11000, 11000)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD + "mic_0.mrc 1 2e9 2e9\n", "makes no sense"),
        (HEAD + "mic_0.mrc 1 thick 1e4\n", "rlnDefocusU is 'thick'"),
        (HEAD + "nowhere.mrc 1 1e4 1e4\n", "names none of the project's micrographs"),
        (HEAD + "mic_0.mrc 1 -999 -999\n", "gives no micrograph a defocus"),
        ("data_\nloop_\n_rlnMicrographName\nmic_0.mrc\n", "no table with rlnMicrographName and rlnDefocusU"),
        ("\x00\x01 nothing", "bad.star"),
        ("", "bad.star"),
    ],
)
def test_a_star_that_cannot_be_right_changes_nothing(session, tmp_path, text, why):
    star = tmp_path / "bad.star"
    star.write_text(text)
    with pytest.raises(FormatError, match=why):
        optics.import_optics(session, star)
    assert not any(m.optics for m in session.micrographs)
    assert not [entry for entry in session.history() if entry.kind == "do"]


def test_optics_entered_by_hand(session):
    ctf = Ctf(Defocus(18000, 18000), Optics(200.0))
    everywhere = list(ids(session).values())
    assert optics.set_optics(session, everywhere, ctf).n == 3
    assert optics.set_optics(session, everywhere, ctf).n == 0
    assert {optics.ctf_of(m) for m in session.micrographs} == {ctf}
    assert optics.set_optics(session, everywhere[:1], None).n == 1
    assert optics.ctf_of(session.micrograph(everywhere[0])) is None
    session.undo()
    assert optics.ctf_of(session.micrograph(everywhere[0])) == ctf
    for wrong in (Defocus(1e9, 1e4), Defocus(float("nan"), 1e4)):
        with pytest.raises(Refused, match="makes no sense"):
            optics.set_optics(session, everywhere, Ctf(wrong))


# --- pictures of other programs --------------------------------------------------------------------------------------


def test_scales_are_told_from_sizes():
    assert foreign_pictures.scale_of((4096, 4096), (1024, 1024)) == 4.0
    assert foreign_pictures.scale_of((3838, 3710), (959, 927)) == 4.0, "an odd rest was cut off"
    assert foreign_pictures.scale_of((3838, 3710), (960, 928)) == 4.0, "or filled up"
    assert foreign_pictures.scale_of((4096, 4096), (4096, 4096)) == 1.0
    assert foreign_pictures.scale_of((4092, 5760), (1637, 2304)) == 2.5
    assert foreign_pictures.scale_of((7676, 7420), (1024, 990)) == pytest.approx(7676 / 1024)
    assert foreign_pictures.scale_of((2000, 2000), (4000, 4000)) == 0.5
    for full, size in (
        ((4096, 4096), (1024, 1000)),
        ((4092, 5760), (1440, 1023)),
        ((4096, 4096), (4090, 4090)),
        ((4096, 4096), (8, 8)),
        ((0, 0), (10, 10)),
    ):
        assert foreign_pictures.scale_of(full, size) is None


def test_pictures_are_found_by_name_and_taken_back_in_one_step(session, tmp_path):
    folder = tmp_path / "topaz"
    for k in range(2):
        write(folder / f"mic_{k}_denoised.mrc", fourier_crop(micrograph(k), (H // 2, W // 2)))
    write(folder / "mic_2.mrc", np.zeros((H // 2, W // 3)))
    write(folder / "unknown.mrc", np.zeros((4, 4)))
    (folder / "notes.txt").write_text("hello")
    plan = foreign_pictures.find(session, folder)
    assert {foreign_pictures.Attached(folder / f"mic_{k}_denoised.mrc", 2.0) for k in range(2)} == set(
        plan.pictures.values()
    )
    assert plan.refused == {folder / "mic_2.mrc": "170 x 192 px is no scaled copy of 512 x 384"}
    assert plan.unmatched == (folder / "unknown.mrc",)
    said = foreign_pictures.enter(session, plan)
    assert said.startswith("attached 2 pictures from topaz, binned 2 times")
    assert "170 x 192 px is no scaled copy" in said
    pictures = foreign_pictures.attached_to(session, named(session, "mic_1"))
    picture = foreign_pictures.read(pictures, named(session, "mic_1"))
    assert (picture.step, picture.pixels.shape) == ((2.0, 2.0), (H // 2, W // 2))
    assert foreign_pictures.attached_to(session, named(session, "mic_2")) is None
    session.undo()
    assert not any(m.picture for m in session.micrographs)
    session.redo()
    assert foreign_pictures.detach(session).n == 2
    assert foreign_pictures.detach(session).n == 0
    session.undo()
    assert sum(bool(m.picture) for m in session.micrographs) == 2


def test_pictures_below_the_data_move_with_it(session):
    write(session.data_root / "den/mic_0.mrc", fourier_crop(micrograph(0), (H // 2, W // 2)))
    foreign_pictures.attach(session, session.data_root / "den")
    assert json.loads(named(session, "mic_0").picture) == {"path": "den/mic_0.mrc", "scale": 2}


@pytest.mark.parametrize(
    ("turn", "said"), [(np.flipud, "upside down"), (np.fliplr, "mirrored"), (lambda a: a[::-1, ::-1], "half turned")]
)
def test_pictures_that_lie_otherwise_than_their_micrographs_are_refused(session, tmp_path, turn, said):
    for k in range(3):
        write(tmp_path / f"turned/mic_{k}.mrc", turn(fourier_crop(micrograph(k), (H // 2, W // 2))))
    with pytest.raises(Refused, match=f"lies {said} against mic_"):
        foreign_pictures.attach(session, tmp_path / "turned")
    assert not any(m.picture for m in session.micrographs)


def test_exchanged_sides_say_so(session, tmp_path):
    write(tmp_path / "t/mic_0.mrc", micrograph(0).T)
    with pytest.raises(Refused, match="its sides are exchanged"):
        foreign_pictures.attach(session, tmp_path / "t")


def test_a_folder_without_any_is_refused(session, tmp_path):
    write(tmp_path / "t/else.mrc", micrograph(0))
    with pytest.raises(Refused, match="no picture of the project's micrographs"):
        foreign_pictures.attach(session, tmp_path / "t")
    with pytest.raises(Refused, match="no picture"):
        foreign_pictures.attach(session, session.data_root)  # the micrographs themselves are no pictures of themselves
    with pytest.raises(FormatError, match="does not exist"):
        foreign_pictures.attach(session, tmp_path / "nowhere")


# --- shown -----------------------------------------------------------------------------------------------------------


def made(pictures, micrograph, view=View.DENOISED):
    job = pictures.request(micrograph, view)
    if job is not None:
        assert job.wait(120)
    pictures._runner.deliver()
    return pictures.ready(micrograph, view)


@pytest.fixture
def pictures(session):
    runner = Runner()
    yield Pictures(session, runner, named_denoiser("auto"))
    runner.close()


def test_the_attached_picture_is_shown_and_ours_where_it_vanished(session, pictures, tmp_path):
    ours = made(pictures, named(session, "mic_0"))
    special = fourier_crop(micrograph(0), (H // 2, W // 2))
    file = write(tmp_path / "t/mic_0.mrc", special)
    foreign_pictures.attach(session, tmp_path / "t")
    shown = made(pictures, named(session, "mic_0"))
    np.testing.assert_array_equal(shown.pixels, special)
    assert shown.step == (2.0, 2.0)
    raw = made(pictures, named(session, "mic_0"), View.RAW)
    np.testing.assert_array_equal(raw.pixels, micrograph(0))
    file.unlink()
    later = Pictures(session, pictures._runner, pictures.denoiser)
    fallen_back = made(later, named(session, "mic_0"))
    np.testing.assert_allclose(fallen_back.pixels, ours.pixels, atol=0.02)
    assert "mic_0.mrc" in later.lost[named(session, "mic_0").id]
    assert "does not exist" in later.lost[named(session, "mic_0").id]
    session.undo()
    assert made(pictures, named(session, "mic_0")) is ours, "kept in memory"


class Recorder:
    """The built-in denoiser, which remembers what it was given."""

    name, title = "recorder", "Recorder"

    def __init__(self):
        self.given = []

    def denoise(self, image, **words):
        self.given.append((words["pixel_size_A"], words["diameter_A"]))
        return BAND_PASS.denoise(image, **words)


@pytest.mark.parametrize("how", ["request", "denoise_all"])
def test_a_picture_is_made_with_the_numbers_it_is_kept_under(session, how):
    """The diameter is changed between the asking and the making: the queue may be long."""
    gate, recorder = threading.Event(), Recorder()
    runner = Runner(ThreadPoolExecutor(1))
    pictures, here = Pictures(session, runner, recorder), named(session, "mic_0")
    session.set_diameter(100.0)
    runner.submit(lambda context: gate.wait(), title="a long job")
    if how == "request":
        pictures.request(here, View.DENOISED)
    else:
        pictures.denoise_all([here])
    file = pictures._file(pictures.key(here, View.DENOISED)[2])
    session.set_diameter(300.0)
    session.set_pixel_size(4.0)
    gate.set()
    assert runner.wait(120)
    assert recorder.given == [(2.0, 100.0)]
    assert file.exists()
    assert made(pictures, here) is not None
    assert recorder.given[1:] == [(4.0, 300.0)]
    runner.close()


def test_each_method_and_each_defocus_has_a_picture_of_its_own_and_keeps_it(session, pictures):
    here = named(session, "mic_0")
    automatic = made(pictures, here)
    pictures.choose(named_denoiser("band-pass"), {"shortest_A": 40.0})
    coarse = made(pictures, here)
    pictures.choose(named_denoiser("band-pass"), {})
    plain = made(pictures, here)
    assert coarse is not plain is not automatic
    assert np.abs(np.diff(coarse.pixels)).mean() < np.abs(np.diff(plain.pixels)).mean()
    pictures.choose(named_denoiser("auto"), {})
    assert pictures.ready(here, View.DENOISED) is automatic
    optics.set_optics(session, [here.id], Ctf(Defocus(20000, 20000)))
    assert pictures.ready(named(session, "mic_0"), View.DENOISED) is None
    assert made(pictures, named(session, "mic_0")) is not automatic
    files = len(list(pictures.cache.glob("*.npz")))
    assert files == 4
    fresh = Pictures(session, pictures._runner, named_denoiser("band-pass"))
    np.testing.assert_allclose(made(fresh, named(session, "mic_0")).pixels.std(), 1, atol=0.01)
    assert len(list(pictures.cache.glob("*.npz"))) == files, "the band-pass makes nothing of the defocus"


@pytest.mark.parametrize("method", ["band-pass", "nlm", "tv"])
def test_a_picture_that_does_not_follow_the_defocus_is_not_made_again(session, pictures, method):
    here = named(session, "mic_0")
    pictures.choose(named_denoiser(method), {})
    picture = made(pictures, here)
    for ctf in (Ctf(Defocus(20000, 20000)), Ctf(Defocus(9000, 9000)), None):
        optics.set_optics(session, [here.id], ctf)
        assert pictures.ready(named(session, "mic_0"), View.DENOISED) is picture


def test_a_picture_elsewhere_is_not_opened_before_somebody_allows_it(session, pictures, tmp_path, monkeypatch):
    """Whoever attaches it is not asked; whoever gets the project is, or sees our own picture."""
    here = named(session, "mic_0")
    ours = made(pictures, here)
    special = fourier_crop(micrograph(0), (H // 2, W // 2))
    write(tmp_path / "elsewhere/mic_0.mrc", special)
    foreign_pictures.attach(session, tmp_path / "elsewhere")
    assert not pictures.outside
    np.testing.assert_array_equal(made(pictures, named(session, "mic_0")).pixels, special)
    own_paths.forget(session)
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "another user"))
    theirs = Pictures(session, pictures._runner, pictures.denoiser)
    np.testing.assert_allclose(made(theirs, named(session, "mic_0")).pixels, ours.pixels, atol=0.02)
    assert "outside the folders of its micrographs" in theirs.lost[here.id]
    assert theirs.outside == {(tmp_path / "elsewhere").resolve()}
    theirs.allow_outside(set(theirs.outside))
    np.testing.assert_array_equal(made(theirs, named(session, "mic_0")).pixels, special)
    assert not theirs.lost
