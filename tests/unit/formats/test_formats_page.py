"""docs/formats.md says of each registered format what the format says of itself."""

from __future__ import annotations

from pathlib import Path

from cryoppp_annotator.extensions import formats
from cryoppp_annotator.model.coordinates import Anchor, SourceFrame

PAGE = Path(__file__).resolve().parents[3] / "docs" / "formats.md"


def frame_words(frame: SourceFrame) -> str:
    words = [frame.orientation.value.replace("as-stored", "as stored")]
    words += ["corner"] if frame.anchor is Anchor.CORNER else []
    words += ["flips TIFF"] if frame.flips_tiff else []
    words += [f"from {frame.first_index}"] if frame.first_index else []
    return ", ".join(words)


def test_the_table_lists_the_formats_as_they_are():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    by_name = {row[0].strip("`"): row[1:] for row in rows}
    yes = {True: "yes", False: "no"}
    ours = {name: fmt for name, fmt in formats().items() if type(fmt).__module__.startswith("cryoppp_annotator.")}
    assert by_name == {
        name: [
            fmt.title,
            yes[fmt.can_read],
            yes[fmt.can_write],
            yes[fmt.many_micrographs],
            ", ".join(sorted(fmt.carries)),
            frame_words(fmt.frame),
        ]
        for name, fmt in ours.items()
    }
    assert list(by_name) == sorted(by_name)
