"""Files without picks: what they are, and what a person can do with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..table.star import decode_head
from ..table.text_rows import numeric_widths

_HEAD_BYTES = 64 * 1024
_2D_ONLY = "this program labels 2D micrographs"
_NOT_KNOWN = "is of no known coordinate format"

#: First bytes of files that are no text.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"SQLite format 3", "is an SQLite database, but neither a cisTEM project nor a set of Scipion coordinates"),
    (b"\x89PNG", "is a picture (PNG), not a coordinate file"),
    (b"\xff\xd8\xff", "is a picture (JPEG), not a coordinate file"),
    (b"II*\x00", "is an image (TIFF), not a coordinate file: give it to --micrographs"),
    (b"MM\x00*", "is an image (TIFF), not a coordinate file: give it to --micrographs"),
    (b"\x1f\x8b", "is packed (gzip): unpack it first"),
    (b"BZh", "is packed (bzip2): unpack it first"),
    (b"PK\x03\x04", "is a packed file (ZIP, or a spreadsheet): unpack it, or save the table as CSV"),
    (b"%PDF", "is a PDF, not a coordinate file"),
    (b"\x89HDF", "is an HDF5 file: write its picks as text (x y) or as a RELION STAR"),
)

#: Beginnings of texts, with what the file is and what a person can do with it.
_SIGNS: tuple[tuple[str, str], ...] = (
    (r'"pickable_object_name"', f"is a copick file: its points are of a tomogram, and {_2D_ONLY}"),
    (r'"boxes_3d"|"tiltparams', f"holds EMAN2's boxes in a tomogram (boxes_3d); {_2D_ONLY}"),
    (r'"imagePath"[\s\S]*"shapes"|"shapes"[\s\S]*"imagePath"', "is a file of labelme: save its shapes as COCO JSON"),
    (
        r"(?m)^_cisTEM",
        "is a cisTEM STAR: it lists particles without their place on the micrograph; import the project's .db, or .plt",
    ),
    (
        r"(?m)^_(?:micrograph|particle|filament|reconstruction)\.",
        "is a Bsoft STAR: write its particles as a RELION STAR (bpartsel, or btxt for x and y), or as x y text",
    ),
    (r"(?m)^_wrp\w+", "is a Warp STAR of tilt series or movies; export RELION particles from Warp"),
    (
        r"(?m)^# Output from CTFFind",
        "is CTFFIND's result for one micrograph, not picks: give it to --ctf",
    ),
    (r"(?m)^[ \t]*_rlnMicrographMovieName|<Movie ", "is a list of movies, not picks"),
    (
        r"(?m)^#(?:segment length|helix):",
        "lists EMAN's helices by their two ends: save their boxes (.box, which keep the helix they are of)",
    ),
    (r"(?m)^[ \t]*_rln\w+", "has RELION's columns, but no line data_ above them: a STAR file needs one"),
    (r"(?im)^[ \t]*data_\S*[ \t]*$|^# version \d{5}", "is a STAR file without columns: it holds no picks"),
    (r"(?i)^\s*<(?:!doctype html|html)", "is a web page (HTML), not a coordinate file"),
    (r"(?i)^\s*<\?xml|^\s*<Movie", "is XML (Warp's values of one movie?): give it to --ctf if it holds a CTF"),
)
#: A line of a log: a program's message with its time or its weight.
_MESSAGE = re.compile(
    r"(?i)^\s*(?:Traceback \(|File \"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d"
    r"|\S*\s*\b(?:error|warning|info|debug|note)\b\s*[:\]]"
    r"|.*\b(?:ERROR|WARNING|INFO|DEBUG)\b)"
)
#: Numbers in a row of a Dynamo table.
_DYNAMO_COLUMNS = 20
_NAME_COLUMNS = 'put a line with the names of the columns above ("x y", centres in px), or leave the others out'


def what_it_is(path: Path) -> str:
    """What a file is that no format recognises, as the end of a sentence; empty where nothing is known of it.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        return "is a folder that is no CryoPPP data set, RELION job or RELION project: name the coordinate files in it"
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return ""  # who opens it says why
    if not head.strip():
        return "is empty: it holds no picks"
    if head[208:211] == b"MAP":
        return "is an image (MRC), not a coordinate file: give it to --micrographs"
    kind = next((sentence for magic, sentence in _MAGIC if head.startswith(magic)), "")
    if kind or (b"\x00" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff")):
        return kind
    text = decode_head(head)
    guess = next((sentence for sign, sentence in _SIGNS if re.search(sign, text)), "")
    return guess or _of_text(text, head)


def _of_text(text: str, head: bytes) -> str:
    """What a text is that has no sign of a program, in words that say that this is a guess."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if text.lstrip()[:1] in "{[":
        return _of_json(text)
    if lines and sum(bool(_MESSAGE.match(line)) for line in lines) * 2 >= len(lines):
        return (
            f"{_NOT_KNOWN}: it is a log (messages of a program), not a table; give the file of picks that the program "
            "wrote"
        )
    if lines and all(re.fullmatch(r"[+-]?\d+,\d+", cell.strip()) for cell in re.split(r"[;\t ]+", lines[0].strip())):
        return f"{_NOT_KNOWN}: its numbers have decimal commas; save the file with decimal points"
    widths = numeric_widths(head.replace(b",", b" ").replace(b";", b" "))
    if widths and max(widths) >= _DYNAMO_COLUMNS:
        return f"{_NOT_KNOWN}: its rows of {max(widths)} numbers look like Dynamo's table of a tomogram; {_2D_ONLY}"
    if widths:
        return f"{_NOT_KNOWN}: it has {max(widths)} numbers a row and does not say which are x and y; {_NAME_COLUMNS}"
    return _of_words(lines)


def _of_json(text: str) -> str:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    keys = ", ".join(map(str, list(content)[:4]))[:80] if isinstance(content, dict) else ""
    has = f" (its keys: {keys})" if keys else ""
    return f"{_NOT_KNOWN}: it is JSON, but of no program whose picks are read{has}; save them as COCO, or as a table"


def _of_words(lines: list[str]) -> str:
    """A table whose columns of x and y have other names, or prose."""
    separator = next((sign for sign in ("\t", ";", ",") if lines and sign in lines[0]), None)
    rows = [[cell.strip().strip('"') for cell in line.split(separator)] for line in lines[:5]]
    same = len(rows) > 1 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    if same and any(_is_number(cell) for cell in rows[1]):
        named = not any(_is_number(cell) for cell in rows[0])
        has = f"it has {', '.join(rows[0][:6])}" if named else "its first line has no names"
        return (
            f"{_NOT_KNOWN}: it is a table without columns x and y ({has[:120]}); call those of the centres, in px, so"
        )
    begin = lines[0].strip()[:40] if lines else ""
    return f'{_NOT_KNOWN}: it is text without a table (it begins "{begin}"); give a file that holds picks'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
