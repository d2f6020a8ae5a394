"""Which format, which micrograph; nothing guessed."""

from __future__ import annotations

import pytest
from format_tools import picks_of

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.cryoppp import CRYOPPP
from cryoppp_annotator.formats.registry import match_micrographs, micrograph_key, read_any, sniff
from cryoppp_annotator.formats.relion import RELION, RELION_PARTICLES
from cryoppp_annotator.model.pickfile import WriteOptions

FORMATS = (CRYOPPP, RELION, RELION_PARTICLES)
UID = "000001281467243737059_"
CSV = "X-Coordinate,Y-Coordinate,Diameter\n1,2,3\n"
MANUAL = "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n"
PARTICLES = "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n0001.mrc 1 2\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", CSV, "cryoppp"),
        ("a.csv", "\ufeff" + CSV, "cryoppp"),
        ("a.csv", "", "cryoppp"),
        ("a_manualpick.star", MANUAL, "relion"),
        ("a.star", "", "relion"),
        ("particles.star", PARTICLES, "relion-particles"),
        ("ground_truth/empiar-1_particles_selected.star", PARTICLES, "cryoppp"),
        ("elsewhere/empiar-1_particles_selected.star", PARTICLES, "relion-particles"),
    ],
)
def test_each_file_is_recognised(tmp_path, name, text, expected):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert read_any(path, FORMATS).format == expected
    assert sniff(path, FORMATS)[0][0] > 0


@pytest.mark.parametrize(("name", "data"), [("a.csv", b"x,y\n1,2\n"), ("a.star", b"\x00\x01"), ("a.mrc", b"MAP ")])
def test_an_unknown_file_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match="no known coordinate format"):
        read_any(tmp_path / name, FORMATS)


def test_a_tie_is_refused_and_a_named_format_obeyed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(CSV)
    with pytest.raises(FormatError, match="could be"):
        read_any(path, (CRYOPPP, CRYOPPP))
    assert read_any(path, FORMATS, format="cryoppp").n_picks == 1
    with pytest.raises(FormatError, match="no readable format"):
        read_any(path, FORMATS, format="nonsense")
    with pytest.raises(FormatError):
        read_any(path, FORMATS, format="relion")
    with pytest.raises(FormatError, match="cannot be read"):
        read_any(tmp_path / "absent.star", FORMATS)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MotionCorr/job002/Movies/mic_1.mrc", "mic_1"),
        (f"J128/motioncorrected/{UID}x_patch_aligned_doseweighted.mrc", "x"),
        ("May08_03.05.02.bin_avg_manualpick.star", "May08_03.05.02.bin_avg"),
        ("a_autopick", "a"),
        ("a_false_positives.csv", "a"),
        ("0001", "0001"),
        ("14sep05c_00024sq_00003hl.frames.mrc", "14sep05c_00024sq_00003hl.frames"),
        ("C:\\data\\mic.tif", "mic"),
        ("_manualpick", "_manualpick"),
        ("20180810_x.mrc", "20180810_x"),
        (".mrc", ".mrc"),
        ("", ""),
    ],
)
def test_keys(name, key):
    assert micrograph_key(name) == key


def test_names_find_their_micrographs():
    micrographs = ["a", f"{UID}b_patch_aligned_doseweighted", "c.05.02", "d.frames", "e_manualpick", "0001"]
    names = ["Movies/a.mrc", "a_false_positives", "b", "c.05.02_autopick", "c.05", "d", "e_manualpick", "0001.mrc", "1"]
    match = match_micrographs(names, micrographs)
    assert match.matches == {
        "Movies/a.mrc": "a",
        "a_false_positives": "a",
        "b": micrographs[1],
        "c.05.02_autopick": "c.05.02",
        "d": "d.frames",
        "e_manualpick": "e_manualpick",
        "0001.mrc": "0001",
    }
    assert match.unmatched == ("c.05", "1")
    assert not match.ambiguous


def test_what_could_be_two_micrographs_is_left_to_a_person():
    other = "000000000000000000007_b"
    match = match_micrographs(["b", "May08_03"], [f"{UID}b", other, "May08_03.05.mrc", "May08_03.13.mrc"])
    assert match.ambiguous == {"b": (f"{UID}b", other), "May08_03": ("May08_03.05.mrc", "May08_03.13.mrc")}
    assert not match.matches


def test_two_exposures_do_not_merge_into_one_micrograph():
    names = [f"{UID}b.mrc", "000000000000000000007_b.mrc"]
    assert match_micrographs(names, ["b"]).ambiguous == dict.fromkeys(names, ("b",))
    assert set(match_micrographs(["grid1/m.mrc", "grid2/m.mrc"], ["m"]).ambiguous) == {"grid1/m.mrc", "grid2/m.mrc"}


def test_folders_tell_equal_names_apart():
    micrographs = ["/data/grid1/m.mrc", "/data/grid2/m.mrc"]
    match = match_micrographs(["Import/grid2/m.mrc", "m_manualpick.star"], micrographs)
    assert match.matches == {"Import/grid2/m.mrc": "/data/grid2/m.mrc"}
    assert match.ambiguous == {"m_manualpick.star": tuple(micrographs)}


def test_what_processing_added_to_a_name_counts_last():
    """An exact match always wins; with ``_DW`` or without is told apart wherever both are there."""
    assert match_micrographs(["m_autopick.star", "n"], ["m_DW.mrc", "n_noDW.mrc"]).matches == {
        "m_autopick.star": "m_DW.mrc",
        "n": "n_noDW.mrc",
    }
    both = ["m.mrc", "m_DW.mrc"]
    assert match_micrographs(["m_manualpick.star"], both).matches == {"m_manualpick.star": "m.mrc"}
    assert match_micrographs(["m_DW_automatch.star"], both).matches == {"m_DW_automatch.star": "m_DW.mrc"}
    assert match_micrographs(["m_DW.box", "m.box"], both).matches == {"m_DW.box": "m_DW.mrc", "m.box": "m.mrc"}
    assert match_micrographs(["m.star"], ["m_DW.mrc", "m_noDW.mrc"]).ambiguous == {"m.star": ("m_DW.mrc", "m_noDW.mrc")}
    assert match_micrographs([f"{UID}m_patch_aligned.mrc"], ["m.mrc"]).matches == {f"{UID}m_patch_aligned.mrc": "m.mrc"}
    assert match_micrographs(["_DW"], ["DW", "_DW.mrc"]).matches == {"_DW": "_DW.mrc"}


def test_two_names_do_not_share_a_micrograph_by_a_loose_key():
    match = match_micrographs(["m.mrc", "m_DW.mrc"], ["m"])
    assert match.matches == {"m.mrc": "m"}
    assert match.ambiguous == {"m_DW.mrc": ("m",)}


@pytest.mark.parametrize(
    "name", ["a_info.json", "a_picks.json", "a_rejected.star", "a_nonunique.star", "a.thi", "a.mod"]
)
def test_endings_of_other_programs(name):
    assert micrograph_key(name) == "a"
    assert match_micrographs([name], ["a.mrc", "b.mrc"]).matches == {name: "a.mrc"}
    stem = name.split(".")[0]
    assert match_micrographs([name], ["a.mrc", f"{stem}.mrc"]).matches == {name: f"{stem}.mrc"}


def test_what_relion_was_given_reads_back_by_its_folder_and_by_either_list(tmp_path):
    """A job has a list of its micrographs and one of their coordinate files; people point at any of them."""
    RELION.write(tmp_path / "job", [picks_of("m1", [10, 20], [30, 40]), picks_of("m2", [50], [60])], WriteOptions())
    for name in ("", "manualpick.star", "manualpick_micrographs.star"):
        read = read_any(tmp_path / "job" / name, FORMATS)
        assert [part.x.tolist() for part in read.picks] == [[10, 20], [50]], name
