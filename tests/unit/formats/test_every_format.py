"""All registered formats together: none takes another's file, each says what it can do."""

from __future__ import annotations

import pytest
from format_tools import check_declarations, hostile, put

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.extensions import FORMATS, find, formats
from cryoppp_annotator.formats.registry import read_any, sniff

NAMES = (
    "cryoppp",
    "relion",
    "relion-particles",
    "cryosparc",
    "box",
    "eman2",
    "cbox",
    "topaz",
    "xmipp",
    "cistem-plt",
    "cistem",
    "epicker",
)

#: What the files of a folder are; one of a broken plugin's would be recognised by nobody.
FOLDERS = {
    "formats/cryolo_cbox": "cbox",
    "formats/cryoppp_csv": "cryoppp",
    "formats/cryosparc_cs": "cryosparc",
    "formats/eman1_box": "box",
    "formats/imod_mod": "imod",
    "formats/magellon_json": "magellon",
    "formats/topaz_txt": "topaz",
    "picks_10017/cryolo_box": "box",
    "picks_10017/deeppicker_box": "box",
    "picks_10017/hand_negative_box": "box",
    "picks_10017/hand_positive_box": "box",
    "picks_10017/topaz_box": "box",
    "picks_10017/manual_relion_star": "relion",
}
FILES = {
    "formats/relion_star/cryodrgn_relion31.star": "relion-particles",
    "formats/relion_star/cryodrgn_relion5.star": "relion-particles",
    "formats/relion_star/cryoemmae_prediction_82_test.star": "relion-particles",
    "formats/relion_star/cryosegnet_sample_tab.star": "relion-particles",
    "formats/relion_star/cryosparc_via_pyem_sample2.star": "relion-particles",
    "formats/relion_star/relion30_Ucsf_stack_1142_DW_autopick.star": "relion",
    "formats/same_picks_three_ways/sample.box": "box",
    "formats/same_picks_three_ways/sample.coord": "epicker",
    "formats/same_picks_three_ways/sample_relion_coord.star": "relion",
}
#: Broken on purpose, or a tomogram's.
UNREADABLE = {"boxmanager_2d_corrupt_has_string.box", "boxmanager_2d_corrupt_unqual_columns.box", "3d_particle.cbox"}


def test_the_formats_are_there_under_their_names():
    assert not find(FORMATS).broken
    assert set(NAMES) <= set(formats())
    for name, fmt in formats().items():
        assert fmt.name == name
        check_declarations(fmt)


@pytest.mark.realdata
def test_every_real_file_is_recognised_as_what_it_is(data_dir):
    known = list(formats().values())
    expected = {data_dir / name: fmt for name, fmt in FILES.items()}
    for folder, fmt in FOLDERS.items():
        expected |= dict.fromkeys(sorted((data_dir / folder).iterdir()), fmt)
    assert set(expected) == {
        path for top in ("formats", "picks_10017") for path in (data_dir / top).rglob("*") if path.is_file()
    }
    for path, name in expected.items():
        matches = sniff(path, known)
        if name not in formats():
            assert not matches, path
            continue
        assert matches, path
        assert matches[0][1].name == name, path
        assert len(matches) == 1 or matches[0][0] > matches[1][0], path
        if path.name in UNREADABLE:
            with pytest.raises(FormatError):
                read_any(path, known)
        else:
            assert read_any(path, known).format == name


@pytest.mark.realdata
def test_micrographs_and_databases_of_others_are_nobody_s(data_dir, tmp_path):
    known = list(formats().values())
    foreign = [
        *(data_dir / "cryoppp/10017/micrographs").iterdir(),
        *(data_dir / "odd_mrc").iterdir(),
        data_dir / "particles/mixture_2D.mrcs",
        put(tmp_path, b"SQLite format 3\x00" + b"\x00" * 500, "annotations.sqlite"),
    ]
    for path in foreign:
        assert not sniff(path, known), path


def test_garbage_is_nobody_s(tmp_path):
    known = list(formats().values())
    for i, data in enumerate(hostile()):
        assert not sniff(put(tmp_path, data, f"{i}.dat"), known)
        for fmt in known:
            for ending in fmt.extensions:
                path = put(tmp_path, data, f"x{i}{ending}")
                assert all(0 <= score <= 1 for score, _ in sniff(path, known))
