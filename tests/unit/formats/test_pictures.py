"""COCO and YOLO: labels and the very pictures they refer to."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from format_tools import any_positions, check_declarations, fuzz, picks_of, put, refuse_hostile, refuse_huge
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cryoppp_annotator.errors import FormatError
from cryoppp_annotator.formats.check.frame import check_frame
from cryoppp_annotator.formats.coco import COCO
from cryoppp_annotator.formats.cryoppp import CRYOPPP
from cryoppp_annotator.formats.image import images
from cryoppp_annotator.formats.image.pictures import to_8bit
from cryoppp_annotator.formats.yolo import YOLO
from cryoppp_annotator.model.coordinates import CRYOPPP_FRAME, SourceFrame
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.pickfile import WriteOptions
from cryoppp_annotator.model.region import Origin, Region

FOREIGN = {
    "images": [
        {"id": 0, "file_name": "m.jpg", "width": 4096, "height": 4096},
        {"id": 7, "file_name": "empty.jpg", "width": 4096, "height": 4096},
    ],
    "categories": [{"id": 1, "name": "ribosome"}, {"id": 3, "name": "junk"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 0,
            "category_id": 1,
            "bbox": [3698, 639, 108, 108],
            "area": 11664,
            "iscrowd": 0,
            "segmentation": [],
        },
        {
            "id": 2,
            "image_id": 0,
            "category_id": 3,
            "bbox": [-4, 10.5, 10, 20],
            "iscrowd": 1,
            "score": 0.25,
            "who": "me",
        },
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 0], "iscrowd": 1},
    ],
}


def picture(micrograph):
    """A small picture that differs from its mirror images."""
    return (np.arange(40 * 60) % 251).astype(np.uint8).reshape(40, 60)


def small(name="m", x=(1.0, 59.0), y=(2.0, 39.5), **more):
    picks = picks_of(name, x, y, **{"diameter": 8.0, **more})
    object.__setattr__(picks.micrograph, "width", 60)
    object.__setattr__(picks.micrograph, "height", 40)
    return picks


WITH_PICTURES = WriteOptions(images=picture)


@pytest.mark.parametrize("fmt", [COCO, YOLO])
def test_declarations(fmt):
    check_declarations(fmt)
    assert fmt.frame == SourceFrame()


# --- COCO ----------------------------------------------------------------------------------------------------------


def test_coco_of_others(tmp_path):
    path = put(tmp_path, json.dumps(FOREIGN), "labels.json")
    assert COCO.sniff(path, path.read_bytes()[:4096]) > 0.8
    first, empty = COCO.read(path).picks
    assert (first.micrograph, empty.micrograph, len(empty)) == ("m.jpg", "empty.jpg", 0)
    assert (first.x.tolist(), first.y.tolist()) == ([3752, 1], [693, 20.5])
    assert first.diameter_px.tolist() == [108, 15]
    assert first.class_id.tolist() == [1, 3]
    assert np.array_equal(first.score, [np.nan, 0.25], equal_nan=True)
    assert first.extra["coco:category"].tolist() == ["ribosome", "junk"]
    assert first.extra["coco:who"].tolist() == ["", '"me"']


def test_coco_is_written_with_its_pictures(tmp_path):
    files = COCO.write(tmp_path, [small(score=[0.5, np.nan], class_id=[0, 2]), small("n", (), ())], WITH_PICTURES)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "images/m.png",
        "images/n.png",
        "annotations.json",
    ]
    assert np.array_equal(np.asarray(Image.open(files[0])), picture(None))
    assert np.array_equal(images.read(files[0]), picture(None))
    content = json.loads(files[-1].read_text())
    assert content["images"][0] == {"id": 1, "file_name": "m.png", "width": 60, "height": 40}
    assert content["annotations"][0]["bbox"] == [-3, -2, 8, 8]
    assert "row 0" in content["info"]["y_axis"]
    assert content["categories"][1]["name"] == "class 2"
    again, empty = COCO.read(files[-1]).picks
    assert again.class_id.tolist() == [0, 2]
    assert again.score[0] == 0.5
    assert len(empty) == 0


@given(places=any_positions, scored=st.booleans())
def test_coco_round_trip(tmp_path_factory, places, scored):
    folder = tmp_path_factory.mktemp("coco")
    x, y = np.array(places).T
    picks = small(x=x, y=y, diameter=13.7, score=0.125 if scored else np.nan, class_id=range(len(x)))
    picks_read = COCO.read(COCO.write(folder / "a.json", [picks], WITH_PICTURES)[-1]).picks[0]
    assert np.allclose(picks_read.x, x, rtol=0, atol=1e-7)
    assert np.allclose(picks_read.y, y, rtol=0, atol=1e-7)
    assert picks_read.diameter_px.tolist() == [13.7] * len(x)
    assert picks_read.class_id.tolist() == list(range(len(x)))
    assert (picks_read.score is not None) == scored


def test_coco_keeps_what_it_does_not_know(tmp_path):
    path = put(
        tmp_path,
        json.dumps({**FOREIGN, "images": FOREIGN["images"][:1], "annotations": FOREIGN["annotations"][:2]}),
        "a.json",
    )
    first = COCO.read(path).picks[0]
    picks = small(x=first.x, y=first.y, diameter=first.diameter_px, class_id=first.class_id, extra=first.extra)
    content = json.loads(COCO.write(tmp_path / "b", [picks], WITH_PICTURES)[-1].read_text())
    assert content["annotations"][1]["who"] == "me"
    assert content["annotations"][1]["iscrowd"] == 1
    assert [c["name"] for c in content["categories"]] == ["particle", "ribosome", "junk"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: is not JSON"),
        ('{"images": [],\n "annotations": [,]}', "line 2: is not JSON"),
        ("[]", "no COCO file"),
        ({**FOREIGN, "images": [{"id": 1}]}, "image 1"),
        ({**FOREIGN, "images": FOREIGN["images"][:1] * 2}, "two images"),
        ({**FOREIGN, "categories": [{"id": "a", "name": "x"}]}, "category 1"),
        ({**FOREIGN, "annotations": [3]}, "annotation 1"),
        ({**FOREIGN, "annotations": 3}, "annotations"),
        ({**FOREIGN, "annotations": [{"image_id": 9, "bbox": [1, 2, 3, 4]}]}, "does not list"),
        ({**FOREIGN, "annotations": [{"image_id": 0, "bbox": [1, 2, 3]}]}, "bbox"),
        ({**FOREIGN, "annotations": [{"image_id": 0, "bbox": [1, 2, -3, 4]}]}, "bbox"),
        ({**FOREIGN, "annotations": [{"image_id": 0, "bbox": [1, float("nan"), 3, 4]}]}, "bbox"),
        ({**FOREIGN, "annotations": [{"image_id": 0, "bbox": [1, True, 3, 4]}]}, "bbox"),
        ({**FOREIGN, "annotations": [{"image_id": 0, "bbox": [1, 1, 3, 4], "category_id": "x"}]}, "category"),
        ({**FOREIGN, "annotations": [{"image_id": 0, "bbox": [1, 1, 3, 4], "score": "x"}]}, "score"),
        ({**FOREIGN, "annotations": [{"image_id": [0], "bbox": [1, 1, 3, 4]}]}, "does not list"),
    ],
)
def test_bad_coco(tmp_path, content, message):
    path = put(tmp_path, content if isinstance(content, str) else json.dumps(content), "a.json")
    with pytest.raises(FormatError, match=message):
        COCO.read(path)
    if isinstance(content, dict):
        assert COCO.read(path, permissive=True).issues


def test_hostile_coco(tmp_path):
    refuse_hostile(COCO, tmp_path, "a.json")
    refuse_huge(COCO, tmp_path, "big.json")
    fuzz(COCO, [json.dumps(FOREIGN).encode(), json.dumps(FOREIGN, indent=1).encode()], tmp_path / "f.json")


@pytest.mark.parametrize("fmt", [COCO, YOLO])
def test_rejected_picks_are_of_a_category_of_their_own(tmp_path, fmt):
    decisions = [Decision.ACCEPTED, Decision.REJECTED, Decision.REJECTED]
    picks = small(x=[10, 20, 30], y=[10, 20, 30], class_id=[2, 0, 3], decision=decisions)
    fmt.write(tmp_path, [picks], WITH_PICTURES)
    if fmt is COCO:
        content = json.loads((tmp_path / "annotations.json").read_text())
        named = {category["id"]: (category["name"], category["supercategory"]) for category in content["categories"]}
        assert [named[entry["category_id"]] for entry in content["annotations"]] == [
            ("class 2", "particle"),
            ("rejected", "rejected"),
            ("rejected", "rejected"),
        ]
    else:
        names = (tmp_path / "classes.txt").read_text().split("\n")
        rows = (tmp_path / f"labels/{picks.micrograph.name}.txt").read_text().splitlines()
        assert [names[int(row.split()[0])] for row in rows] == ["class 2", "rejected", "rejected"]
        assert '3: "rejected"' in (tmp_path / "data.yaml").read_text()
    (again,) = fmt.read(tmp_path / "annotations.json" if fmt is COCO else tmp_path).picks
    assert (np.asarray(again.decision) == Decision.REJECTED).tolist() == [False, True, True]
    assert again.class_id.tolist() == ([2, 0, 3] if fmt is COCO else [2, 0, 0])


def test_coco_outlines_without_boxes(tmp_path):
    outlines = [[[10, 20, 30, 20, 30, 50]], {"counts": "abc", "size": [9, 9]}, [[1, 2, 3]], []]
    images = [{"id": 1, "file_name": "m.png"}]
    for number, outline in enumerate(outlines):
        content = {"images": images, "annotations": [{"image_id": 1, "segmentation": outline}]}
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        if number:
            with pytest.raises(FormatError, match="bbox"):
                COCO.read(path)
        else:
            (picks,) = COCO.read(path).picks
            assert (picks.x[0], picks.y[0], picks.diameter_px[0]) == (20, 35, 25)


def test_coco_outlines_are_of_their_boxes_and_areas(tmp_path):
    """COCO's rules: an area is of the polygon, a box is around it; regions are a supercategory of their own."""
    carbon = Region(Reason.CARBON, np.array([[0, 0], [0, 30], [20, 30.25]]), 7, origin=Origin.HAND, curator="ann")
    ice = Region(Reason.ICE, np.array([[5, 5], [5, 9], [9, 9], [9, 5]]), 8, origin=Origin.FOUND)
    picks = small(decision=[Decision.ACCEPTED, Decision.REJECTED])
    picks = replace(picks, curation={"reason": np.array(["", "ice"])}, regions=(carbon, ice))
    path = COCO.write(tmp_path, [picks], WITH_PICTURES)[-1]
    content = json.loads(path.read_text())
    names = {category["id"]: (category["name"], category["supercategory"]) for category in content["categories"]}
    assert len(names) == len(content["categories"])
    assert [names[entry["category_id"]] for entry in content["annotations"]] == [
        ("particle", "particle"),
        ("rejected", "rejected"),
        ("carbon", "region"),
        ("ice", "region"),
    ]
    for entry in content["annotations"]:
        (outline,) = entry["segmentation"]
        x, y = np.reshape(outline, (-1, 2)).T
        assert entry["bbox"] == pytest.approx([x.min(), y.min(), np.ptp(x), np.ptp(y)], abs=0.011)
        shoelace = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        assert entry["area"] == pytest.approx(shoelace, rel=2e-3)
        assert entry["iscrowd"] == 0
    assert content["annotations"][0]["area"] == pytest.approx(np.pi * 4**2, rel=0.03)
    assert content["annotations"][2]["segmentation"] == [[0, 0, 30, 0, 30.25, 20]]
    assert [entry["annotator"] for entry in content["annotations"][:2]] == [
        {"decision": "accepted"},
        {"decision": "rejected", "reason": "ice"},
    ]
    (again,) = COCO.read(path).picks
    assert np.asarray(again.decision).tolist() == [Decision.ACCEPTED, Decision.REJECTED]
    assert "coco:segmentation" not in again.extra
    assert [(r.reason, r.origin) for r in again.regions] == [(carbon.reason, "hand"), (ice.reason, "found")]
    assert np.array_equal(again.regions[0].vertices, carbon.vertices)


@pytest.mark.parametrize("outline", [[[10, 20, 30, 20, 30, 50]], {"counts": [3, 4], "size": [40, 60]}])
def test_an_outline_of_others_stays_with_a_particle_that_was_not_moved(tmp_path, outline):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 20, 30], "area": 77, "segmentation": outline}
    content = {"images": [{"id": 1, "file_name": "m.png"}], "annotations": [entry | {"iscrowd": 0}]}
    (read,) = COCO.read(put(tmp_path, json.dumps(content), "a.json")).picks
    for by, kept in ((0, True), (3, False)):
        picks = small(x=read.x + by, y=read.y, diameter=read.diameter_px, extra=read.extra)
        (written,) = json.loads(COCO.write(tmp_path / str(by), [picks], WITH_PICTURES)[-1].read_text())["annotations"]
        assert (written["segmentation"] == outline) is kept
        assert (written["bbox"] == [10, 20, 20, 30]) is kept
        assert (written["area"] == 77) is kept


# --- YOLO ----------------------------------------------------------------------------------------------------------


def test_yolo_is_written_with_its_pictures(tmp_path):
    picks = [small(class_id=[0, 2], score=0.5), small("n", (), ())]
    files = YOLO.write(tmp_path, picks, WITH_PICTURES)
    assert {path.relative_to(tmp_path).as_posix() for path in files} == {
        "images/m.png",
        "images/n.png",
        "labels/m.txt",
        "labels/n.txt",
        "classes.txt",
        "data.yaml",
    }
    assert (tmp_path / "labels/n.txt").read_bytes() == b""
    assert (tmp_path / "classes.txt").read_text() == "particle\nclass 1\nclass 2\n"
    row = (tmp_path / "labels/m.txt").read_text().split("\n")[0].split()
    assert row[0] == "0"
    assert np.allclose([float(v) for v in row[1:]], [1 / 60, 2 / 40, 8 / 60, 8 / 40, 0.5])
    assert YOLO.sniff(tmp_path, b"") > 0.5
    assert YOLO.sniff(tmp_path / "labels/n.txt", b"") > 0.5
    whole = YOLO.read(tmp_path)
    assert [(p.micrograph, len(p)) for p in whole.picks] == [("m", 2), ("n", 0)]
    assert whole.picks[0].x.tolist() == [1, 59]
    assert whole.picks[0].y.tolist() == [2, 39.5]
    assert whole.picks[0].diameter_px.tolist() == [8, 8]
    assert whole.picks[0].class_id.tolist() == [0, 2]
    assert whole.picks[0].score.tolist() == [0.5, 0.5]


@given(places=st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40)), max_size=9), diameter=st.floats(1, 50))
def test_yolo_round_trip(tmp_path_factory, places, diameter):
    folder = tmp_path_factory.mktemp("yolo")
    x, y = np.array(places).reshape(-1, 2).T
    files = YOLO.write(folder, [small(x=x, y=y, diameter=diameter)], WITH_PICTURES)
    picks_read = YOLO.read(next(path for path in files if path.parent.name == "labels")).picks[0]
    assert np.allclose(picks_read.x, x, rtol=0, atol=1e-6)
    assert np.allclose(picks_read.y, y, rtol=0, atol=1e-6)
    if len(x):
        assert np.allclose(picks_read.diameter_px, diameter, rtol=0, atol=1e-6)


def test_yolo_line_of_the_specification(tmp_path):
    Image.new("L", (4096, 4096)).save(tmp_path / "m.png")
    path = put(tmp_path, "0 0.916016 0.169189 0.026367 0.026367\n", "m.txt")
    assert YOLO.sniff(path, path.read_bytes()) > 0.8
    picks = YOLO.read(path).picks[0]
    assert np.allclose([picks.x[0], picks.y[0], picks.diameter_px[0]], [3752, 693, 108], atol=0.01)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0 0.5 0.5 0.1\n", 1),
        ("0 .5 .5 .1 .1\n0 nan .5 .1 .1\n", 2),
        ("0 .5 .5 .1 .1\nx .5 .5 .1 .1\n", 2),
        ("-1 .5 .5 .1 .1\n", 1),
        ("0 .5 .5 .1 .1\n0 .5 .5 .1\n", 2),
    ],
)
def test_bad_yolo(tmp_path, text, line):
    Image.new("L", (60, 40)).save(tmp_path / "m.png")
    path = put(tmp_path, text, "m.txt")
    with pytest.raises(FormatError) as caught:
        YOLO.read(path)
    assert caught.value.line == line
    if line == 2:
        file = YOLO.read(path, permissive=True)
        assert (file.n_picks, len(file.issues)) == (1, 1)


def test_yolo_needs_its_picture(tmp_path):
    path = put(tmp_path, "0 .5 .5 .1 .1\n", "labels/m.txt")
    with pytest.raises(FormatError, match="not there"):
        YOLO.read(path)
    put(tmp_path, b"no picture", "images/m.png")
    with pytest.raises(FormatError):
        YOLO.read(path)
    with pytest.raises(FormatError):
        YOLO.read(tmp_path)
    with pytest.raises(FormatError, match="no label texts"):
        YOLO.read(tmp_path, permissive=True)


def test_hostile_yolo(tmp_path):
    Image.new("L", (60, 40)).save(tmp_path / "f.png")
    refuse_hostile(YOLO, tmp_path, "a.txt")
    refuse_huge(YOLO, tmp_path, "big.txt")
    fuzz(YOLO, [b"0 0.5 0.5 0.1 0.1\n1 0.25 0.75 0.1 0.2\n" * 5], tmp_path / "f.txt")


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [COCO, YOLO])
def test_labels_without_the_right_picture_are_refused(tmp_path, fmt):
    with pytest.raises(FormatError, match="no picture of m"):
        fmt.write(tmp_path, [small()], WriteOptions())
    put(tmp_path, b"", "images/other.png")
    Image.new("L", (61, 40)).save(tmp_path / "images/m.png")
    with pytest.raises(FormatError, match="61 x 40"):
        fmt.write(tmp_path, [small()], WriteOptions())
    with pytest.raises(FormatError, match="60 x 40"):
        fmt.write(tmp_path, [picks_of("m", [1], [1])], WITH_PICTURES)
    Image.new("L", (60, 40)).save(tmp_path / "images/m.png")
    before = (tmp_path / "images/m.png").read_bytes()
    fmt.write(tmp_path, [small()], WriteOptions())
    assert (tmp_path / "images/m.png").read_bytes() == before


@pytest.mark.parametrize("fmt", [COCO, YOLO])
def test_what_cannot_be_written(tmp_path, fmt):
    for picks, options, message in (
        (small(diameter=np.nan), WITH_PICTURES, "diameter"),
        (small(x=(np.nan, 1)), WITH_PICTURES, "finite"),
        (small(), WriteOptions(frame=CRYOPPP_FRAME, images=picture), "frame of the pictures"),
    ):
        with pytest.raises(FormatError, match=message):
            fmt.write(tmp_path, [picks], options)
    with pytest.raises(FormatError, match="two micrographs"):
        fmt.write(tmp_path, [small(), small()], WITH_PICTURES)
    assert fmt.write(tmp_path, [small(diameter=np.nan)], WriteOptions(images=picture, box_size_px=20))
    with pytest.raises(FormatError, match="outside"):
        YOLO.write(tmp_path, [small(x=(-1.0, 3.0))], WITH_PICTURES)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint16, np.float16, np.int8])
def test_grey_values(dtype):
    image = np.arange(100 * 90).reshape(100, 90) % 120
    out = to_8bit(image.astype(dtype))
    assert out.dtype == np.uint8
    assert (out.min(), out.max()) == (0, 255)
    assert np.corrcoef(out.ravel(), image.ravel())[0, 1] > 0.99
    assert (np.diff(out[0].astype(int)) >= 0).all()


def test_grey_values_of_odd_images():
    hot = np.zeros((200, 200), np.float32)
    hot[0, 0], hot[0, 1] = 1e30, np.nan
    hot[100:] = 1
    assert set(np.unique(to_8bit(hot))) <= {0, 127, 255}
    assert to_8bit(np.full((5, 5), np.nan)).shape == (5, 5)
    assert to_8bit(np.full((5, 5), 3.0)).std() == 0
    same = picture(None)
    assert to_8bit(same) is same


@pytest.mark.realdata
@pytest.mark.parametrize("fmt", [COCO, YOLO])
def test_labels_lie_on_the_particles_of_their_picture(data_dir, tmp_path, fmt):
    """CryoPPP's bottom-up CSV of a real micrograph comes out right way up, and the guard agrees."""
    stem = "Falcon_2012_06_12-15_07_41_0"
    folder = data_dir / "cryoppp/10017"
    source = CRYOPPP.read(folder / f"ground_truth/particle_coordinates/{stem}.csv").picks[0]
    x, y = CRYOPPP_FRAME.to_canonical(source.x, source.y, height=4096)
    options = WriteOptions(images=lambda _: to_8bit(images.read(folder / f"micrographs/{stem}.mrc")))
    files = fmt.write(tmp_path, [picks_of(stem, x, y)], options)
    labels = next(path for path in files if path.suffix in (".json", ".txt"))
    file = fmt.read(labels)
    pixels = np.asarray(Image.open(tmp_path / f"images/{stem}.png"))
    assert pixels.shape == (4096, 4096)
    assert np.allclose(file.picks[0].x, x, atol=1e-6)
    verdict = check_frame(pixels, file.picks[0].x, file.picks[0].y, 108, declared=file.frame)
    assert verdict.frame == SourceFrame()
    assert verdict.margin_se > 20


def test_a_region_that_cannot_be_placed_is_refused_and_no_pick(tmp_path):
    box = {"image_id": 1, "category_id": 9, "bbox": [1, 2, 10, 10]}
    outline = box | {"segmentation": [[1, 2, 11, 2, 11, 12]]}
    pick = {"image_id": 1, "category_id": 1, "bbox": [20, 20, 8, 8]}
    content = {
        "images": [{"id": 1, "file_name": "m.png"}],
        "categories": [{"id": 1, "name": "particle"}, {"id": 9, "name": "carbon", "supercategory": "region"}],
        "annotations": [outline, outline | {"image_id": 2}, box, pick, {"image_id": 1, "bbox": "none"}],
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    read = COCO.read(path, permissive=True)
    (picks,) = read.picks
    assert (len(picks), len(picks.regions)) == (1, 1)
    reasons = [str(issue) for issue in read.issues]
    assert len(reasons) == 3
    for number, reason in zip((2, 3, 5), reasons, strict=True):
        assert f"annotation {number} " in reason
    with pytest.raises(FormatError, match="annotation 2 is of image 2"):
        COCO.read(path)
