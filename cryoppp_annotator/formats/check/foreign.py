"""Files that are no picks of ours, named for what they are, with a way out."""

from __future__ import annotations

import re
from pathlib import Path

_HEAD_BYTES = 64 * 1024

#: What the beginning of a text says of the file, and what a person can do.
_SIGNS: tuple[tuple[str, str], ...] = (
    (
        r'"pickable_object_name"',
        "is a copick file: its points are of a tomogram, and this program labels 2D micrographs",
    ),
    (r'"boxes_3d"|"tiltparams', "holds EMAN2's boxes in a tomogram (boxes_3d); this program labels 2D micrographs"),
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
    (r"(?i)^\s*<\?xml|^\s*<Movie", "is XML (Warp's values of one movie?): give it to --ctf if it holds a CTF"),
)


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
    if head.startswith(b"SQLite format 3"):
        return "is an SQLite database, but neither a cisTEM project nor a set of Scipion coordinates"
    if head[208:211] == b"MAP":
        return "is an image (MRC), not a coordinate file: give it to --micrographs"
    text = head.decode("utf-8", "replace")
    return next((sentence for sign, sentence in _SIGNS if re.search(sign, text)), "")
