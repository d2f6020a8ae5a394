"""IMOD models, Magellon's JSON, VIA's CSV, SPIDER documents and Gautomatch STARs: read, never written."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from format_tools import check_declarations, fuzz, picks_of, put, refuse_hostile, refuse_huge

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.extensions import formats
from cryoppp_annotator.formats.gautomatch import GAUTOMATCH
from cryoppp_annotator.formats.imod import IMOD
from cryoppp_annotator.formats.magellon import MAGELLON
from cryoppp_annotator.formats.registry import match_micrographs, read_any
from cryoppp_annotator.formats.spider import SPIDER
from cryoppp_annotator.formats.via import VIA
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.pickfile import WriteOptions

ALL = (IMOD, MAGELLON, VIA, SPIDER, GAUTOMATCH)


def model(*objects, end=b"IEOF", sizes=None) -> bytes:
    """A binary IMOD model of objects that are lists of contours that are lists of (x, y, z)."""
    data = b"IMODV1.2" + b"test".ljust(128, b"\0") + struct.pack(">3iI", 100, 100, 1, len(objects)) + b"\0" * 64
    data += struct.pack(">fi", 0.177, -9) + b"\0" * 16
    for contours in objects:
        data += b"OBJT" + b"\0" * 176
        for points in contours:
            data += b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0)
            data += b"".join(struct.pack(">3f", *point) for point in points)
            if sizes is not None:
                data += b"SIZE" + struct.pack(f">i{len(points)}f", 4 * len(points), *sizes[: len(points)])
        data += b"IMAT" + struct.pack(">i", 4) + b"\0" * 4
    return data + end


MODEL = model([[(1.5, 2.5, 0), (3, 4, 0)]], [[(5, 6, 1)], []])
PICKS = json.dumps([{"x": 3896, "y": 376, "score": 5.5, "id": "tp-0"}, {"x": 1, "y": 2.5, "score": None, "class": 3}])
VIA_TEXT = (
    "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    'a.png,100,"{}",3,0,"{""name"":""point"",""cx"":84,""cy"":12}","{}"\n'
    'a.png,100,"{}",3,1,"{""name"":""circle"",""cx"":1.5,""cy"":2,""r"":10}","{""type"":""good""}"\n'
    'a.png,100,"{}",3,2,"{""name"":""rect"",""x"":10,""y"":20,""width"":8,""height"":12}","{}"\n'
    'b.png,100,"{}",0,0,"{}","{}"\n'
)
SPIDER_TEXT = (
    " ;tst/spi   31-DEC-2020 AT 10:00:00   sndc0001.spi\n    1 3   97.6178      7.88745      -10.4768\n    2 3 1 2 3\n"
)
GAUTO_TEXT = (
    "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAnglePsi #3\n_rlnClassNumber #4\n"
    "_rlnAutopickFigureOfMerit #5\n1272    136     0.000000\t0       0.372630\n108  196 0.0\t2  0.284764\n"
)
SAMPLES = {
    "imod": (IMOD, MODEL, "m.mod"),
    "magellon": (MAGELLON, PICKS.encode(), "m_picks.json"),
    "via": (VIA, VIA_TEXT.encode(), "via_export.csv"),
    "spider": (SPIDER, SPIDER_TEXT.encode(), "m.spi"),
    "gautomatch": (GAUTOMATCH, GAUTO_TEXT.encode(), "m_automatch.star"),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_each_is_recognised_among_all_and_never_written(tmp_path, kind):
    fmt, data, name = SAMPLES[kind]
    path = put(tmp_path, data, name)
    assert read_any(path, list(formats().values())).format == kind == fmt.name
    check_declarations(fmt)
    assert fmt.can_read
    assert not fmt.can_write
    with pytest.raises(FormatError, match="only read"):
        fmt.write(tmp_path, [picks_of("m", [1], [1])], WriteOptions())
    assert fmt.read(path).frame == fmt.frame
    assert fmt.sniff(tmp_path, b"") == 0


@pytest.mark.parametrize("kind", SAMPLES)
def test_hostile_input(tmp_path, kind):
    fmt, data, name = SAMPLES[kind]
    refuse_hostile(fmt, tmp_path, f"hostile_{name}")
    refuse_huge(fmt, tmp_path, f"huge_{name}")
    fuzz(fmt, [data, data.replace(b"\n", b"\r\n")], tmp_path / f"fuzz_{name}")


# --- IMOD ----------------------------------------------------------------------------------------------------------


def test_imod_points(tmp_path):
    file = IMOD.read(put(tmp_path, MODEL, "m.mod"))
    picks = file.picks[0]
    assert picks.micrograph == "m"
    assert (picks.x.tolist(), picks.y.tolist()) == ([1.5, 3, 5], [2.5, 4, 6])
    assert picks.class_id.tolist() == [1, 1, 2]
    assert picks.extra["imod:contour"].tolist() == ["1", "1", "2"]
    assert file.pixel_size_A == pytest.approx(1.77)
    sized = IMOD.read(put(tmp_path, model([[(1, 2, 0), (3, 4, 0)]], sizes=[7, -1]), "s.mod")).picks[0]
    assert np.array_equal(sized.diameter_px, [14, np.nan], equal_nan=True)
    assert sized.class_id is None
    assert len(IMOD.read(put(tmp_path, model(), "e.mod")).picks[0]) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no IMOD model"),
        (b"imod 1\nobject 0 1 0\n", "text model"),
        (MODEL[:100], "within the header"),
        (MODEL[:-4], "IEOF"),
        (MODEL[:430], "truncated"),
        (model([[(1, float("nan"), 0)]]), "finite"),
        (MODEL.replace(b"OBJT", b"JUNK", 1), "truncated|no object"),
        (MODEL[:420] + b"CONT" + struct.pack(">i", -5) + MODEL[428:], "negative"),
        (MODEL[:420] + b"CONT" + struct.pack(">i", 2**31 - 1) + MODEL[428:], "bytes more"),
        (b"IMODV1.2" + b"\0" * 232 + b"CONT" + b"\0" * 16 + b"IEOF", "no object"),
    ],
)
def test_bad_imod(tmp_path, data, message):
    path = put(tmp_path, data, "m.mod")
    with pytest.raises(FormatError, match=message):
        IMOD.read(path)
    if data[:4] == b"IMOD" and len(data) >= 240:
        assert IMOD.read(path, permissive=True).issues


@pytest.mark.realdata
def test_real_imod(data_dir):
    two = IMOD.read(data_dir / "formats/imod_mod/two_contour_example.mod")
    picks = two.picks[0]
    assert len(picks) == 25
    assert np.allclose([picks.x[0], picks.y[0]], [64.333336, 64.666664])
    assert np.allclose([picks.x[1], picks.y[1]], [47.0, 77.333336])
    assert picks.extra["imod:contour"].tolist() == ["1"] * 17 + ["2"] * 8
    assert two.pixel_size_A == pytest.approx(4.48, abs=0.01)
    sizes = IMOD.read(data_dir / "formats/imod_mod/point_sizes_example.mod").picks[0]
    # 3 objects of 1, 3 and 1 contours; the same as the imodmodel library reads
    assert sizes.x.tolist()[:4] == [438.5, 369.5, 317.5, 311.5]
    assert sizes.y.tolist()[-3:] == [973.5, 993.5, 1029.5]
    assert sizes.class_id.tolist() == [1] * 4 + [2] * 9 + [3] * 5
    assert np.allclose(sizes.diameter_px[[0, 13]], [56.8, 25.6], atol=1e-3)
    assert np.isnan(sizes.diameter_px[4:13]).all()


@pytest.mark.realdata
def test_fuzz_of_real_imod(data_dir, tmp_path):
    fuzz(IMOD, [p.read_bytes() for p in (data_dir / "formats/imod_mod").glob("*.mod")], tmp_path / "m.mod", n=300)


# --- Magellon --------------------------------------------------------------------------------------------------------


def test_magellon_picks(tmp_path):
    picks = MAGELLON.read(put(tmp_path, PICKS, "m_picks.json")).picks[0]
    assert (picks.x.tolist(), picks.y.tolist()) == ([3896, 1], [376, 2.5])
    assert np.array_equal(picks.score, [5.5, np.nan], equal_nan=True)
    assert picks.extra["magellon:id"].tolist() == ["tp-0", ""]
    assert picks.extra["magellon:class"].tolist() == ["", "3"]
    assert match_micrographs([picks.micrograph], ["m.mrc"]).matches == {"m_picks": "m.mrc"}
    assert len(MAGELLON.read(put(tmp_path, "[]", "e_picks.json")).picks[0]) == 0


@pytest.mark.parametrize(
    "text",
    ["{}", "", "[1]", '[{"x": 1}]', '[{"x": 1, "y": NaN}]', '[{"x": "1", "y": 2}]', '[{"x":1,"y":2,"score":[]}]'],
)
def test_bad_magellon(tmp_path, text):
    path = put(tmp_path, text, "m_picks.json")
    with pytest.raises(FormatError):
        MAGELLON.read(path)
    if text[:2] in ("[1", "[{"):
        assert len(MAGELLON.read(path, permissive=True).issues) == 1


@pytest.mark.realdata
def test_real_magellon(data_dir):
    (path,) = (data_dir / "formats/magellon_json").glob("*.json")
    file = read_any(path, list(formats().values()))
    picks = file.picks[0]
    assert (file.format, len(picks)) == ("magellon", 186)
    assert (picks.x[0], picks.y[0], picks.x[-1], picks.y[-1]) == (3896, 376, 1088, 112)
    assert picks.score[0] == 5.637533187866211
    assert picks.extra["magellon:id"][-1] == "tp-185"


# --- VIA -------------------------------------------------------------------------------------------------------------


def test_via_regions(tmp_path):
    a, b = VIA.read(put(tmp_path, VIA_TEXT, "v.csv")).picks
    assert (a.micrograph, b.micrograph, len(b)) == ("a.png", "b.png", 0)
    assert (a.x.tolist(), a.y.tolist()) == ([84, 1.5, 14], [12, 2, 26])
    assert np.array_equal(a.diameter_px, [np.nan, 20, 10], equal_nan=True)
    assert a.extra["via:region_attributes"].tolist()[1] == '{"type":"good"}'


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('""point""', '""polygon""', 2),
        ('""cx"":84', '""cx"":""84""', 2),
        ('""cx"":84', '""cx"":NaN', 2),
        ('a.png,100,"{}",3,1,', "a.png,100,1,", 3),
        ("a.png,100", ",100", 2),
        ('""r"":10', '""r"":-10', 3),
        ("filename", "name", 1),
    ],
)
def test_bad_via(tmp_path, old, new, line):
    path = put(tmp_path, VIA_TEXT.replace(old, new, 1), "v.csv")
    with pytest.raises(FormatError) as caught:
        VIA.read(path)
    assert caught.value.line == line
    if line > 1:
        file = VIA.read(path, permissive=True)
        assert (file.n_picks, len(file.issues)) == (2, 1)


# --- SPIDER ----------------------------------------------------------------------------------------------------------


def test_spider_rows(tmp_path):
    picks = SPIDER.read(put(tmp_path, SPIDER_TEXT, "m.spi")).picks[0]
    assert (picks.x.tolist(), picks.y.tolist()) == ([97.6178, 1], [7.88745, 2])
    assert picks.extra["spider:3"].tolist() == ["-10.4768", "3"]
    assert len(SPIDER.read(put(tmp_path, " ;nothing\n", "e.spi")).picks[0]) == 0


@pytest.mark.parametrize("row", ["3 3 1 2", "3 2 1 2", "x 3 1 2 3", "3 3 1 nan 3", "3 1 1"])
def test_bad_spider(tmp_path, row):
    path = put(tmp_path, SPIDER_TEXT + row + "\n", "m.spi")
    with pytest.raises(FormatError) as caught:
        SPIDER.read(path)
    assert caught.value.line == 4
    file = SPIDER.read(path, permissive=True)
    assert (file.n_picks, len(file.issues)) == (2, 1)


# --- Gautomatch ----------------------------------------------------------------------------------------------------


def test_gautomatch(tmp_path):
    picks = GAUTOMATCH.read(put(tmp_path, GAUTO_TEXT, "m_automatch.star")).picks[0]
    assert (picks.x.tolist(), picks.y.tolist()) == ([1272, 108], [136, 196])
    assert picks.class_id.tolist() == [1, 3]
    assert picks.score.tolist() == [0.37263, 0.284764]
    assert picks.decision is Decision.UNDECIDED
    assert GAUTOMATCH.read(put(tmp_path, GAUTO_TEXT, "m_rejected.star")).picks[0].decision is Decision.REJECTED
    path = put(tmp_path, GAUTO_TEXT.replace("1272", "12z2"), "b_automatch.star")
    with pytest.raises(FormatError) as caught:
        GAUTOMATCH.read(path)
    assert caught.value.line == 10
    assert GAUTOMATCH.read(path, permissive=True).n_picks == 1
