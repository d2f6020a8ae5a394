"""Micrograph files: every dialect reads as stored, every broken file says so in one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cryoppp_annotator.errors import Cancelled, FormatError
from cryoppp_annotator.formats.image.images import find_micrographs, fingerprint, micrograph_name, probe, read

DATA = Path(os.environ.get("CRYOPPP_TEST_DATA", Path(__file__).parents[3] / "../shared/data")).resolve()

DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def mrc_bytes(
    stack: NDArray[np.generic],
    mode: int,
    order: str = "<",
    *,
    extended: bytes = b"",
    stamp: bytes | None = None,
    map_id: bytes = b"MAP ",
    cell: tuple[float, float, float] | None = None,
    sampling: tuple[int, int, int] | None = None,
    limits: tuple[float, float] = (0.0, 0.0),
    imod: tuple[int, int] = (0, 0),
) -> bytes:
    """An MRC file written field by field from the MRC2014 text, independent of mrcfile and of the reader."""
    frames = stack if stack.ndim == 3 else stack[None]
    nz, ny, nx = frames.shape
    mx, my, mz = sampling or (nx, ny, nz)
    head = bytearray(1024)
    struct.pack_into(order + "10i", head, 0, nx, ny, nz, mode, 0, 0, 0, mx, my, mz)
    struct.pack_into(order + "6f", head, 40, *(cell or (nx * 1.5, ny * 1.5, nz * 1.5)), 90, 90, 90)
    struct.pack_into(order + "3i", head, 64, 1, 2, 3)
    struct.pack_into(order + "3f", head, 76, *limits, 0.0)
    struct.pack_into(order + "2i", head, 88, 0, len(extended))
    struct.pack_into(order + "2i", head, 152, *imod)
    head[208:212] = map_id
    head[212:216] = {"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}[order] if stamp is None else stamp
    return bytes(head) + extended + frames.astype(frames.dtype.newbyteorder(order)).tobytes()


def ramp(mode: int, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Distinct rows and columns, so that a flip or a shift is seen."""
    return (np.arange(np.prod(shape)) % 101 - (0 if mode == 6 else 50)).reshape(shape).astype(DTYPES[mode])


def save(folder: Path, data: bytes, name: str = "m.mrc") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# -- MRC dialects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", DTYPES)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extended", [b"", b"x" * 999])
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
def test_every_mode_order_header_and_compression_reads_as_stored(
    tmp_path: Path, mode: int, order: str, extended: bytes, shape: tuple[int, ...], suffix: str
) -> None:
    pixels = ramp(mode, shape)
    data = mrc_bytes(pixels, mode, order, extended=extended)
    pack: Callable[[bytes], bytes] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[suffix]
    path = save(tmp_path, pack(data), "m.mrc" + suffix)
    info = probe(path)
    frames = pixels if pixels.ndim == 3 else pixels[None]
    assert (info.kind, info.width, info.height, info.n_frames) == ("mrc", 7, 5, len(frames))
    assert np.dtype(info.dtype) == pixels.dtype.newbyteorder(order)
    assert info.pixel_size_A == pytest.approx(1.5)
    assert info.compressed is bool(suffix)
    assert ("big-endian" in info.notes) is (order == ">")
    for k, frame in enumerate(frames):
        got = read(path, k)
        assert got.dtype == pixels.dtype
        np.testing.assert_array_equal(got, frame)
        assert isinstance(got, np.memmap) is (not suffix and got.dtype.newbyteorder(order) == got.dtype)
    mean = read(path)
    if len(frames) == 1:
        np.testing.assert_array_equal(mean, frames[0])
    else:
        assert mean.dtype == np.float32
        np.testing.assert_allclose(mean, frames.astype(np.float64).mean(axis=0), rtol=1e-6)
        assert "3 frames: average shown" in info.notes


@given(
    mode=st.sampled_from(sorted(DTYPES)),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(1, 40)),
    order=st.sampled_from("<>"),
    extended=st.integers(0, 300),
    stamp=st.sampled_from([None, b"\x44\x41\0\0", b"\x11\x11\0\0", b"\0\0\0\0", b"\0\0\x44\x44"]),
    map_id=st.sampled_from([b"MAP ", b"MAP\0", b"\0\0\0\0"]),
    seed=st.integers(0, 2**32 - 1),
)
@example(mode=0, shape=(1, 256, 16), order=">", extended=0, stamp=b"\0\0\0\0", map_id=b"\0\0\0\0", seed=0)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip_whatever_the_stamps_say(
    tmp_path: Path,
    mode: int,
    shape: tuple[int, int, int],
    order: str,
    extended: int,
    stamp: bytes | None,
    map_id: bytes,
    seed: int,
) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, int(np.prod(shape)) * np.dtype(DTYPES[mode]).itemsize, np.uint8)
    pixels = raw.view(DTYPES[mode]).reshape(shape)  # any bit pattern: NaN and infinity too
    path = save(tmp_path, mrc_bytes(pixels, mode, order, extended=b"e" * extended, stamp=stamp, map_id=map_id))
    assert (probe(path).n_frames, probe(path).height, probe(path).width) == shape
    for k in range(shape[0]):
        np.testing.assert_array_equal(read(path, k), pixels[k])
    assert read(path).shape == shape[1:]


def test_wrong_and_missing_stamps_are_said(tmp_path: Path) -> None:
    pixels = ramp(2, (4, 6))
    wrong = probe(save(tmp_path, mrc_bytes(pixels, 2, "<", stamp=b"\x11\x11\0\0")))
    assert "machine stamp says big-endian, the header is little-endian" in wrong.notes
    old = probe(save(tmp_path, mrc_bytes(pixels, 2, ">", stamp=bytes(4), map_id=bytes(4))))
    assert {"old-style header without MAP stamp", "big-endian"} <= set(old.notes)
    assert (
        "unknown machine stamp, read as little-endian"
        in probe(save(tmp_path, mrc_bytes(pixels, 2, stamp=bytes(4)))).notes
    )
    assert probe(save(tmp_path, mrc_bytes(pixels, 2))).notes == ()


@pytest.mark.parametrize(
    ("imod", "limits", "expected", "noted"),
    [
        ((1146047817, 1), (0, 255), "|i1", False),
        ((1146047817, 0), (-5, 5), "|u1", False),
        ((0, 0), (3, 250), "|u1", True),
        ((0, 0), (-100, 100), "|i1", False),
        ((0, 0), (0, 0), "|i1", True),
        ((0, 0), (float("nan"), float("nan")), "|i1", True),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_mode_0_sign(
    tmp_path: Path, imod: tuple[int, int], limits: tuple[float, float], expected: str, noted: bool, order: str
) -> None:
    path = save(tmp_path, mrc_bytes(ramp(0, (4, 6)), 0, order, imod=imod, limits=limits))
    info = probe(path)
    assert info.dtype == expected
    assert any("mode 0 read as" in note for note in info.notes) is noted
    assert read(path).dtype.str == expected


@pytest.mark.parametrize(
    ("cell", "sampling", "expected"),
    [
        ((0.0, 0.0, 0.0), None, 0.0),
        ((6.0, 4.0, 1.0), None, 1.0),
        ((6.0, 4.0, 1.0), (0, 0, 0), None),
        ((float("nan"), 4.0, 1.0), None, None),
        ((float("inf"), 4.0, 1.0), None, None),
        ((-6.0, -4.0, 1.0), None, -1.0),
    ],
)
def test_pixel_size_is_what_the_header_says(
    tmp_path: Path, cell: tuple[float, float, float], sampling: tuple[int, int, int] | None, expected: float | None
) -> None:
    path = save(tmp_path, mrc_bytes(ramp(2, (4, 6)), 2, cell=cell, sampling=sampling))
    assert probe(path).pixel_size_A == expected


def test_header_doubts_are_noted(tmp_path: Path) -> None:
    pixels = ramp(2, (4, 6))
    assert "not square" in probe(save(tmp_path, mrc_bytes(pixels, 2, cell=(6, 8, 1)))).notes[0]
    assert "binned copy" in probe(save(tmp_path, mrc_bytes(pixels, 2, cell=(48, 32, 1), sampling=(48, 32, 1)))).notes[0]
    assert "5 bytes more" in probe(save(tmp_path, mrc_bytes(pixels, 2) + b"extra")).notes[0]


def test_pixels_are_a_read_only_map(tmp_path: Path) -> None:
    got = read(save(tmp_path, mrc_bytes(ramp(2, (4, 6)), 2)))
    assert isinstance(got, np.memmap)
    assert not got.flags.writeable


def test_what_mrcfile_writes(tmp_path: Path) -> None:
    stack = np.random.default_rng(1).normal(size=(4, 9, 11)).astype(np.float32)
    path = tmp_path / "s.mrcs"
    with mrcfile.new(path) as mrc:
        mrc.set_data(stack)
        mrc.set_volume()
        mrc.voxel_size = 1.25
    assert probe(path).pixel_size_A == pytest.approx(1.25)
    np.testing.assert_array_equal(read(path, 3), stack[3])


def test_impossible_extended_header_is_ignored_where_the_rest_fits(tmp_path: Path) -> None:
    data = bytearray(mrc_bytes(ramp(2, (4, 6)), 2))
    struct.pack_into("<i", data, 92, -7)
    path = save(tmp_path, bytes(data))
    assert "impossible extended header length -7 ignored" in probe(path).notes
    np.testing.assert_array_equal(read(path), ramp(2, (4, 6)))
    with pytest.raises(FormatError, match="impossible extended header"):
        probe(save(tmp_path, bytes(data[:-1])))


def test_average_passes_nan_on(tmp_path: Path) -> None:
    stack = np.ones((2, 3, 4), np.float32)
    stack[1, 0, 0] = np.nan
    mean = read(save(tmp_path, mrc_bytes(stack, 2)))
    assert np.isnan(mean[0, 0])
    assert np.nansum(mean) == 11
    assert np.isnan(read(save(tmp_path, mrc_bytes(np.full((3, 4), np.nan, np.float32), 2)))).all()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_cancel_reaches_the_frames(tmp_path: Path, suffix: str) -> None:
    data = mrc_bytes(ramp(2, (8, 5, 7)), 2)
    path = save(tmp_path, gzip.compress(data) if suffix else data, "m.mrcs" + suffix)
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        read(path, check=check)


@pytest.mark.parametrize("frame", [3, -2, 10**12])
@pytest.mark.parametrize("name", ["m.mrcs", "m.mrcs.gz", "m.tif", "m.png"])
def test_no_such_frame(tmp_path: Path, frame: int, name: str) -> None:
    path = tmp_path / name
    if name == "m.tif":
        tifffile.imwrite(path, ramp(1, (3, 5, 7)), photometric="minisblack")
    elif name == "m.png":
        Image.fromarray(np.zeros((5, 7), np.uint8)).save(path)
    else:
        data = mrc_bytes(ramp(1, (3, 5, 7)), 1)
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(FormatError, match="has no frame"):
        read(path, frame)


# -- TIFF, PNG, JPEG ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4", "u4", "f8", "f2"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"rowsperstrip": 2}, {"tile": (16, 16)}, {"bigtiff": True}]
)
def test_tiff(tmp_path: Path, dtype: str, order: str, options: dict[str, object]) -> None:
    pixels = np.arange(3 * 20 * 30).reshape(3, 20, 30).astype(dtype)
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, pixels, byteorder=order, photometric="minisblack", **options)
    info = probe(path)
    assert (info.kind, info.width, info.height, info.n_frames) == ("tiff", 30, 20, 3)
    assert np.dtype(info.dtype) == pixels.dtype.newbyteorder(order)
    assert info.pixel_size_A is None
    for k in range(3):
        got = read(path, k)
        assert got.dtype == pixels.dtype
        np.testing.assert_array_equal(got, pixels[k])
    np.testing.assert_allclose(read(path), pixels.astype(np.float64).mean(0), rtol=1e-6)


def test_contiguous_tiff_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "m.tiff"
    tifffile.imwrite(path, ramp(2, (40, 50)))
    assert isinstance(read(path), np.memmap)
    assert not read(path).flags.writeable


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_lzw_tiff_needs_no_extra_package(tmp_path: Path, dtype: str) -> None:
    pixels = np.arange(2 * 20 * 30).reshape(2, 20, 30).astype(dtype)
    path = tmp_path / "m.tif"
    first, second = (Image.fromarray(frame) for frame in pixels)
    first.save(path, compression="tiff_lzw", save_all=True, append_images=[second])
    assert probe(path).n_frames == 2
    np.testing.assert_array_equal(read(path, 1), pixels[1])
    np.testing.assert_allclose(read(path), pixels.astype(np.float64).mean(0))


@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd", "tiff_adobe_deflate", "packbits", None])
def test_rows_of_a_tiff_are_as_stored(tmp_path: Path, compression: str | None) -> None:
    """Whatever tags say of the way up and of white: RELION takes the rows as they are, and so does tifffile."""
    pixels = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
    for kind, orientation in [("u2", o) for o in range(1, 9)] + [("u1", 1), ("u1", 4)]:
        stored = (pixels % 251).astype(kind)
        path = tmp_path / f"{kind}{orientation}.tif"
        tags = {274: orientation} | ({262: 0} if kind == "u1" else {})
        shown = 255 - stored if kind == "u1" else stored  # Pillow keeps white as zero the other way round
        Image.fromarray(shown).save(path, compression=compression, tiffinfo=tags)
        with tifffile.TiffFile(path) as tif:
            assert (tif.pages[0].tags[274].value, tif.pages[0].photometric == 0) == (orientation, kind == "u1")
            if compression in (None, "packbits"):  # which it decodes without another package
                np.testing.assert_array_equal(tif.pages[0].asarray(), stored)
        np.testing.assert_array_equal(read(path), stored)
        assert (orientation != 1) == ("orientation tag" in " ".join(probe(path).notes))


def test_what_the_spare_decoder_gets_wrong_is_refused(tmp_path: Path) -> None:
    """Of big-endian LZW Pillow returns other numbers (swapped twice), and says nothing."""
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.ones((20, 30), ">u2"), byteorder=">")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[259].overwrite(5)
    with pytest.raises(FormatError, match="has LZW compression, which need the package imagecodecs"):
        read(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_is_luminance(tmp_path: Path, planar: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    path = tmp_path / "m.tif"
    stored = rgb if planar == "contig" else np.moveaxis(rgb, -1, 0)
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar)
    assert "colour image: luminance shown" in probe(path).notes
    np.testing.assert_allclose(read(path), rgb @ [0.299, 0.587, 0.114], atol=0.51)


def test_tiff_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, ramp(1, (4, 6)), resolution=(1e8 / 1.06, 1e8 / 1.06), resolutionunit="CENTIMETER")
    assert probe(path).pixel_size_A == pytest.approx(1.06)
    tifffile.imwrite(path, ramp(1, (4, 6)), imagej=True, resolution=(10 / 1.2, 10 / 1.2), metadata={"unit": "nm"})
    assert probe(path).pixel_size_A == pytest.approx(1.2)
    tifffile.imwrite(path, ramp(1, (4, 6)), resolution=(72, 72), resolutionunit="INCH")
    assert probe(path).pixel_size_A is None


def test_a_tiff_of_more_pages_than_any_movie_is_refused_at_once(tmp_path: Path) -> None:
    n, size = 20_000, 2 + 9 * 12 + 4
    out = bytearray(b"II*\0" + struct.pack("<I", 8))
    tags = ((256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8 + n * size), (277, 3, 1))
    for page in range(n):
        out += struct.pack("<H", 9)
        for tag, kind, value in (*tags, (278, 4, 8), (279, 4, 64)):
            out += struct.pack("<HHII", tag, kind, 1, value)
        out += struct.pack("<I", 8 + (page + 1) * size if page < n - 1 else 0)
    (tmp_path / "a.tif").write_bytes(bytes(out) + bytes(64))
    with pytest.raises(FormatError, match="more than 10,000 pages"):
        probe(tmp_path / "a.tif")


def test_tiff_pages_of_another_shape_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(ramp(1, (20, 30)))
        writer.write(ramp(1, (5, 7)))
    assert probe(path).n_frames == 1
    assert "1 pages of another shape left out" in probe(path).notes


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png(tmp_path: Path, dtype: str) -> None:
    pixels = np.arange(20 * 30).reshape(20, 30).astype(dtype)
    path = tmp_path / "m.png"
    Image.fromarray(pixels).save(path)
    info = probe(path)
    assert (info.kind, info.width, info.height, info.n_frames, info.pixel_size_A) == ("png", 30, 20, 1, None)
    assert np.dtype(info.dtype) == pixels.dtype
    np.testing.assert_array_equal(read(path), pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "CMYK", "L"])
def test_colour_display_copies(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1)))
    path = tmp_path / ("m.jpg" if mode == "CMYK" else "m.png")
    grey.convert("RGB").convert(mode).save(path) if mode == "CMYK" else grey.convert(mode).save(path)
    assert any("luminance" in note for note in probe(path).notes) is (mode not in ("L", "LA", "1"))
    got = read(path)
    assert (got.dtype, got.shape) == (np.uint8, (20, 30))
    if mode in ("RGB", "RGBA", "LA", "L"):
        np.testing.assert_array_equal(got, np.asarray(grey))


def test_content_goes_before_the_name(tmp_path: Path) -> None:
    path = tmp_path / "m.mrc"
    tifffile.imwrite(path, ramp(1, (4, 6)))
    assert probe(path).kind == "tiff"
    assert "named .mrc, but is TIFF" in probe(path).notes
    assert probe(save(tmp_path, mrc_bytes(ramp(1, (4, 6)), 1), "m.tif")).kind == "mrc"
    assert probe(save(tmp_path, gzip.compress(mrc_bytes(ramp(1, (4, 6)), 1)), "plain.mrc")).compressed


# -- hostile -----------------------------------------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header announces more than it holds."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "png")
    data = bytearray(buffer.getvalue())
    struct.pack_into(">2I", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    return bytes(data)


GOOD = mrc_bytes(ramp(2, (8, 8)), 2)
PNG = png_of(4, 4)


def header_with(offset: int, *values: int, base: bytes = GOOD) -> bytes:
    data = bytearray(base)
    struct.pack_into(f"<{len(values)}i", data, offset, *values)
    return bytes(data)


HOSTILE = {
    "empty.mrc": (b"", "is empty"),
    "short.mrc": (GOOD[:500], "only 500 bytes"),
    "header-only.mrc": (GOOD[:1024], "truncated: 256 of 1280 bytes are missing"),
    "truncated.mrc": (GOOD[:-1], "truncated: 1 of 1280 bytes are missing.*repeat the copy or download"),
    "text.mrc": (b"; not an image at all\n" * 100, "is text"),
    "zeros.mrc": (bytes(4096), "not an image"),
    "garbage.mrc": (np.random.default_rng(5).bytes(9000), "not an image"),
    "billion.mrc": (header_with(0, 10**9, 10**9, 1), "impossible"),
    "max.mrc": (header_with(0, 2**31 - 1, 2**31 - 1, 2**31 - 1), "impossible"),
    "negative.mrc": (header_with(0, -8, 8, 1), "impossible"),
    "zero-side.mrc": (header_with(0, 8, 0, 1), "impossible"),
    "large.mrc": (header_with(0, 20_000, 20_000, 4000), "truncated"),
    "mode-3.mrc": (header_with(12, 3), "complex"),
    "mode-4.mrc": (header_with(12, 4), "complex"),
    "mode-101.mrc": (header_with(12, 101), "newstack"),
    "mode-16.mrc": (header_with(12, 16), "colours"),
    "mode-9.mrc": (header_with(12, 9), "impossible"),
    "extended.mrc": (header_with(92, 2**31 - 1) + b"x", "impossible extended header"),
    "empty.mrc.gz": (gzip.compress(b""), "only 0 bytes"),
    "cut.mrc.gz": (gzip.compress(np.random.default_rng(1).bytes(500) + GOOD)[:300], "damaged"),
    "garbage.mrc.gz": (b"\x1f\x8b\x08" + b"\xff" * 2000, "damaged"),
    "garbage.mrc.bz2": (b"BZh9" + b"\xff" * 2000, "damaged"),
    "liar.mrc.gz": (gzip.compress(header_with(0, 20_000, 20_000, 4000)), "can hold"),
    "garbage.tif": (b"II*\0" + b"\xff" * 2000, "damaged|TIFF|grey"),
    "stub.tif": (b"MM\0*", "damaged"),
    "not.tif": (b"hello world" * 200, "does not begin like a TIF"),
    "bomb.png": (png_of(60_000, 60_000), "announces 60000 x 60000 px"),
    "liar.png": (png_of(9_000, 9_000), "announces"),
    "garbage.png": (b"\x89PNG\r\n\x1a\n" + b"\xff" * 300, "damaged"),
    "stub.png": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "garbage.jpg": (b"\xff\xd8\xff" + b"\x12" * 300, "damaged"),
    "not.jpg": (b"GIF89a" * 300, "does not begin like a JPG"),
    "movie.eer": (b"II*\0" + bytes(2000), "EER movie"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("act", [probe, read])
def test_hostile_files_are_refused_in_one_sentence(tmp_path: Path, name: str, act: Callable[[Path], object]) -> None:
    data, message = HOSTILE[name]
    path = save(tmp_path, data, name)
    with pytest.raises(FormatError, match=message) as caught:
        act(path)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_truncated_and_corrupted_compression_shows_on_reading(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    noise = np.random.default_rng(2).normal(size=(200, 200)).astype(np.float32)
    name = "m.mrc.gz" if pack is gzip.compress else "m.mrc.bz2"
    whole = pack(mrc_bytes(noise, 2))
    with pytest.raises(FormatError, match="damaged"):
        read(save(tmp_path, whole[: len(whole) // 2], name))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    with pytest.raises(FormatError, match="damaged"):
        read(save(tmp_path, bytes(flipped), name))
    with pytest.raises(FormatError, match="truncated: it decompresses to less"):
        read(save(tmp_path, pack(mrc_bytes(noise, 2)[:-3]), name))


def test_gz_checksum_is_looked_at(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(GOOD))
    data[-6] ^= 1
    with pytest.raises(FormatError, match="damaged"):
        read(save(tmp_path, bytes(data), "m.mrc.gz"))


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_truncated_pictures(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300), np.uint8)).save(buffer, kind)
    whole = buffer.getvalue()
    path = save(tmp_path, whole[: len(whole) // 2], f"m.{kind}")
    with pytest.raises(FormatError):
        read(path)


def test_damaged_lzw_tiff_is_not_passed_off_as_pixels(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 9, (200, 300)).astype(np.uint16)
    Image.fromarray(noise).save(buffer, "tiff", compression="tiff_lzw")
    damaged = bytearray(buffer.getvalue())
    damaged[9000:9100] = b"\xff" * 100
    with pytest.raises(FormatError, match="damaged"):
        read(save(tmp_path, bytes(damaged), "m.tif"))


def test_truncated_stripped_tiff_names_the_missing_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, ramp(2, (64, 64)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="truncated: 100 bytes are missing"):
        probe(path)


def test_complex_and_eer_tiff_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.complex64))
    with pytest.raises(FormatError, match="grey"):
        probe(path)
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), compression="zlib")
    data = path.read_bytes().replace(struct.pack("<HHIH", 259, 3, 1, 8), struct.pack("<HHIH", 259, 3, 1, 65001))
    with pytest.raises(FormatError, match="EER movie"):
        probe(save(tmp_path, data, "m.tif"))


@pytest.mark.parametrize("act", [probe, read, fingerprint])
def test_things_that_are_not_files(tmp_path: Path, act: Callable[[Path], object]) -> None:
    with pytest.raises(FormatError, match="is a folder"):
        act(tmp_path)
    with pytest.raises(FormatError, match="does not exist"):
        act(tmp_path / "gone.mrc")
    with pytest.raises(FormatError):
        act(tmp_path / "x.mrc" / "y.mrc")
    with pytest.raises(FormatError):
        act(tmp_path / ("n" * 5000))
    with pytest.raises(FormatError):
        act(Path("a\0b.mrc"))
    (tmp_path / "dangling.mrc").symlink_to(tmp_path / "nowhere.mrc")
    with pytest.raises(FormatError, match="does not exist"):
        act(tmp_path / "dangling.mrc")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mrc")
    with pytest.raises(FormatError, match="pipe"):
        probe(tmp_path / "pipe.mrc")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permission_denied(tmp_path: Path) -> None:
    path = save(tmp_path, GOOD)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        for act in (probe, read, fingerprint):
            with pytest.raises(FormatError, match="may not be read"):
                act(path)
    finally:
        if root:
            os.seteuid(0)


def only_format_errors(path: Path) -> None:
    for act in (probe, read):
        message = ""
        try:
            act(path)
        except FormatError as error:
            message = str(error)
        assert "\n" not in message


MUTATED: dict[str, tuple[bytes, int]] = {"m.mrc": (GOOD, 256), "m.mrc.gz": (gzip.compress(GOOD), 300)}
MUTATED["m.mrc.bz2"] = (bz2.compress(GOOD), 300)
for _name, _write in {
    "m.png": lambda out: Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(out, "png"),
    "m.jpg": lambda out: Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(out, "jpeg"),
    "m.tif": lambda out: tifffile.imwrite(out, ramp(1, (2, 20, 30)), photometric="minisblack"),
    "t.tif": lambda out: tifffile.imwrite(out, ramp(1, (20, 30)), tile=(16, 16), compression="zlib"),
}.items():
    _buffer = io.BytesIO()
    _write(_buffer)
    MUTATED[_name] = (_buffer.getvalue(), 600)


@pytest.mark.parametrize("name", MUTATED)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)),
        min_size=1,
        max_size=6,
    ),
    cut=st.none() | st.floats(0, 1),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_files_raise_only_format_errors(
    tmp_path: Path, name: str, edits: list[tuple[float, int]], cut: float | None
) -> None:
    data, span = MUTATED[name]
    mutated = bytearray(data)
    for where, value in edits:
        mutated[int(where * min(span, len(mutated)))] = value
    only_format_errors(save(tmp_path, bytes(mutated if cut is None else mutated[: int(cut * len(mutated))]), name))


@given(st.binary(max_size=3000), st.sampled_from(["m.mrc", "m.tif", "m.png", "m.jpg", "m.mrc.gz", "m.mrc.bz2"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_raise_only_format_errors(tmp_path: Path, data: bytes, name: str) -> None:
    magic = {
        "tif": b"II*\0",
        "png": b"\x89PNG\r\n\x1a\n",
        "jpg": b"\xff\xd8\xff",
        "gz": b"\x1f\x8b\x08",
        "bz2": b"BZh9",
    }
    only_format_errors(save(tmp_path, magic.get(name.rsplit(".", 1)[1], b"") + data, name))


# -- finding and naming ------------------------------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_find_in_a_plain_folder(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "m10.mrc",
        "M2.mrc",
        "m1.mrc.gz",
        ".m3.mrc",
        "notes.txt",
        "a.star",
        "m4.TIF",
        "x.rec",
        "b.png.gz",
        "sub/m.mrc",
    )
    (tmp_path / "dir.mrc").mkdir()
    assert names(find_micrographs(tmp_path)) == ["m1.mrc.gz", "M2.mrc", "m4.TIF", "m10.mrc"]
    assert names(find_micrographs(str(tmp_path / "*.mrc"))) == ["M2.mrc", "m10.mrc"]
    assert find_micrographs(tmp_path / "M2.mrc") == [tmp_path / "M2.mrc"]
    assert find_micrographs(tmp_path / "nothing*") == []
    with pytest.raises(FormatError, match="does not exist"):
        find_micrographs(tmp_path / "nowhere")


def test_find_in_a_cryoppp_data_set_and_in_a_folder_of_them(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "10017/micrographs/b.mrc",
        "10017/micrographs/a.mrc",
        "10017/ground_truth/x.mrc",
        "10028/micrographs/c.mrc",
    )
    touch(tmp_path, ".hidden/z.mrc", "deep/er/y.mrc")
    touch(tmp_path / "10017", "preview.png")
    assert names(find_micrographs(tmp_path / "10017")) == ["a.mrc", "b.mrc"]
    assert names(find_micrographs(tmp_path)) == ["a.mrc", "b.mrc", "c.mrc"]
    (tmp_path / "empty").mkdir()
    assert find_micrographs(tmp_path / "empty") == []


def test_a_name_with_brackets_is_not_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "set[1]/a.mrc")
    assert names(find_micrographs(tmp_path / "set[1]")) == ["a.mrc"]


@given(st.lists(st.integers(0, 10**25), unique=True, min_size=1, max_size=20))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_natural_order(tmp_path: Path, numbers: list[int]) -> None:
    folder = tmp_path / "n"
    shutil.rmtree(folder, ignore_errors=True)
    touch(folder, *(f"grid_{n}.mrc" for n in numbers))
    assert names(find_micrographs(folder)) == [f"grid_{n}.mrc" for n in sorted(numbers)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/x/a.b.mrc.gz", "a.b"),
        ("May08_03.05.02.bin_avg.mrc", "May08_03.05.02.bin_avg"),
        ("a.mrcs", "a"),
        ("a.TIFF", "a"),
        ("a.mrc.bz2", "a"),
        ("a.mrc.mrc", "a.mrc"),
        ("a.b", "a.b"),
        ("03.05.02", "03.05.02"),
        (".mrc", ".mrc"),
        ("a", "a"),
    ],
)
def test_micrograph_name(path: str, expected: str) -> None:
    assert micrograph_name(path) == expected
    assert micrograph_name(Path(path)) == expected


def test_fingerprint_survives_moves_and_sees_content(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(300_000)
    path = save(tmp_path, data, "a.mrc")
    first = fingerprint(path)
    os.utime(path, (1, 1))
    moved = path.rename(tmp_path / "b.mrc")
    assert fingerprint(moved) == first
    for position in (0, 65_535, 300_000 - 65_536, 299_999):
        changed = bytearray(data)
        changed[position] ^= 1
        assert fingerprint(save(tmp_path, bytes(changed), "c.mrc")) != first
    assert fingerprint(save(tmp_path, data + b"x", "c.mrc")) != first
    sizes = [0, 1, 65_536, 65_537, 131_072, 131_073]
    assert len({fingerprint(save(tmp_path, data[:n], "d.mrc")) for n in sizes}) == len(sizes)


# -- real files --------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
class TestRealFiles:
    def test_cryoppp_10017(self) -> None:
        paths = find_micrographs(DATA / "cryoppp/10017")
        assert [micrograph_name(p) for p in paths] == [f"Falcon_2012_06_12-{s}" for s in ("14_33_35_0", "15_07_41_0")]
        for path in paths:
            info = probe(path)
            assert (info.width, info.height, info.n_frames, info.dtype, info.notes) == (4096, 4096, 1, "|i1", ())
            assert info.pixel_size_A == pytest.approx(1.77, abs=1e-4)
            pixels = read(path)
            assert isinstance(pixels, np.memmap)
            with mrcfile.open(path) as mrc:
                np.testing.assert_array_equal(pixels, mrc.data)

    def test_lite_jpgs_lie_upside_down_against_the_mrc(self) -> None:
        paths = find_micrographs(DATA / "cryoppp_lite/10017")
        assert len(paths) == 5
        info = probe(paths[0])
        assert (info.kind, info.width, info.height, info.dtype, info.pixel_size_A) == ("jpeg", 4096, 4096, "|u1", None)
        jpg = read(paths[0])[::8, ::8].astype(np.float64)
        same = read(DATA / "cryoppp/10017/micrographs" / (micrograph_name(paths[0]) + ".mrc")).astype(np.float64)
        upright = np.corrcoef(jpg.ravel(), same[::8, ::8].ravel())[0, 1]
        flipped = np.corrcoef(jpg.ravel(), same[::-1][::8, ::8].ravel())[0, 1]
        assert flipped > 0.8 > 0.3 > upright

    def test_apoferritin(self) -> None:
        paths = find_micrographs(DATA / "apoferritin_10146")
        assert len(paths) == 4  # micrographs/ goes before the single-frame twin that lies beside it
        for path in paths:
            info = probe(path)
            assert (info.width, info.height, info.dtype, info.notes) == (1240, 1200, "<u2", ())
            assert info.pixel_size_A == pytest.approx(1.5)

    def test_odd_mrc(self) -> None:
        old = DATA / "odd_mrc/old_style_no_map_stamp_int16.mrc"
        assert (probe(old).dtype, probe(old).pixel_size_A) == ("<i2", None)
        assert "old-style header without MAP stamp" in probe(old).notes
        assert read(old).std() > 0
        swapped = DATA / "odd_mrc/byte_swapped_machine_stamp.mrc"
        assert "unknown machine stamp, read as little-endian" in probe(swapped).notes
        assert 695 < read(swapped).min() < read(swapped).max() < 2056
        half = DATA / "odd_mrc/float16_mode12.mrc"
        assert (probe(half).dtype, read(half).shape) == ("<f2", (64, 64))
        with pytest.raises(FormatError, match="is text"):
            probe(DATA / "odd_mrc/not_an_mrc.mrc")

    def test_curation(self) -> None:
        ice = probe(DATA / "curation/Ucsf_stack_1142_DW.mrc")
        assert (ice.width, ice.height, ice.pixel_size_A) == (959, 927, 1.0)
        rings = probe(DATA / "curation/24dec03a_ds8.mrc")
        assert rings.pixel_size_A == pytest.approx(0.79, abs=1e-3)
        assert "6.32 Å/px" in rings.notes[0]
        assert probe(DATA / "curation/061.png").kind == "png"
        assert read(DATA / "curation/061.png").dtype == np.uint8

    def test_stacks(self) -> None:
        path = DATA / "particles/empiar_10076_7.mrc"
        with mrcfile.open(path) as mrc:
            np.testing.assert_array_equal(read(path, 6), mrc.data[6])
            np.testing.assert_allclose(read(path), mrc.data.mean(axis=0), rtol=1e-4, atol=1e-5)
        assert probe(DATA / "particles/mixture_2D.mrcs").n_frames == 100
        assert probe(DATA / "particles/mixture_2D.mrcs").pixel_size_A == 0.0

    def test_every_mrc_reads_as_mrcfile_does(self, tmp_path: Path) -> None:
        for path in sorted(DATA.rglob("*.mrc")):
            if path.parent.name == "odd_mrc":
                continue
            with mrcfile.mmap(path) as mrc:
                data = mrc.data if mrc.data.ndim == 3 else mrc.data[None]
                np.testing.assert_array_equal(read(path, len(data) - 1)[::5], data[-1][::5])

    def test_truncated_download(self, tmp_path: Path) -> None:
        source = DATA / "apoferritin_10146/single_frame_May08_03.05.02.bin.mrc"
        path = save(tmp_path, source.read_bytes()[:2_000_000])
        with pytest.raises(FormatError, match="truncated: 977024 of 2977024 bytes"):
            probe(path)
