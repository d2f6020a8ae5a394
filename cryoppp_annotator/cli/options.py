"""What several sub-commands ask for in the same words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..model.coordinates import Orientation

#: Options of which each takes all the words that follow it, as a shell's pattern makes them.
_GREEDY = {"import": ("--coords", "--micrographs")}


class Frame(StrEnum):
    """The orientation of a source's axes; ``auto`` = what the format declares."""

    AUTO = "auto"
    AS_STORED = "as-stored"
    FLIP_Y = "flip-y"
    SWAP_XY = "swap-xy"
    SWAP_FLIP_Y = "swap-flip-y"

    @property
    def orientation(self) -> Orientation | None:
        """What the person says of it; None where the choice is left to the format."""
        from ..model.coordinates import Orientation

        return None if self is Frame.AUTO else Orientation(self.value)


class ImportFrame(StrEnum):
    """:class:`Frame`, or what the images say where they are sure."""

    AUTO = "auto"
    IMAGE = "image"
    AS_STORED = "as-stored"
    FLIP_Y = "flip-y"
    SWAP_XY = "swap-xy"
    SWAP_FLIP_Y = "swap-flip-y"

    @property
    def orientation(self) -> Orientation | None:
        """What the person says of it; None where the choice is left to the format or the images."""
        return None if self is ImportFrame.IMAGE else Frame(self.value).orientation


def list_formats(asked: bool) -> None:
    """Print what formats there are, and end (``--list-formats``)."""
    if not asked:
        return
    from ..extensions import formats

    known = formats()
    width = max(map(len, known))
    for name, fmt in known.items():
        ways = "reads, writes" if fmt.can_read and fmt.can_write else "reads" if fmt.can_read else "writes"
        print(f"{name:{width}}  {ways:13}  {fmt.title}")
    raise typer.Exit


#: What ``--to`` says of the formats there are.
FORMATS_HELP = "relion, cryoppp, box, topaz, ...: see convert --list-formats, or docs/formats.md."
ListFormatsOption = Annotated[
    bool,
    typer.Option("--list-formats", is_eager=True, callback=list_formats, help="Show the coordinate formats, and end."),
]
ScaleOption = Annotated[
    float | None,
    typer.Option(
        "--scale",
        metavar="S",
        min=1e-3,
        help="Micrograph px per px of the coordinates: Topaz's -s, the binning of the images they were made on.",
    ),
]
SuffixOption = Annotated[
    str,
    typer.Option(
        "--suffix", metavar="TEXT", help="What stands behind each micrograph's name in the names of the coordinates."
    ),
]
RelionRootOption = Annotated[
    Path | None,
    typer.Option(
        "--relion-root",
        metavar="DIR",
        help="RELION's project folder, to which names in its files are relative; searched upwards if not given.",
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files, too, that no earlier export or conversion wrote here.")
]
TemplateOption = Annotated[
    Path | None,
    typer.Option(
        "--template",
        metavar="FILE",
        help="For formats that fill a copy of a file (cryosparc): that file; what was read from by default.",
    ),
]
ProjectArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PROJECT",
        help="The project, the folder of micrographs it lies in, or postgresql://NAME@HOST/DATABASE.",
    ),
]
WhereOption = Annotated[
    str, typer.Option("--where", metavar="EXPR", help='Which micrographs: "res < 6 and und > 0", "state == todo".')
]
OptionalWhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help='Only these micrographs: "res < 6 and state == complete".'),
]
FILES = "--files"
FilesOption = Annotated[
    Path | None,
    typer.Option(
        FILES,
        metavar="DIR",
        help="Of a project on a server: where class averages, review queues and the cache go; at home by default.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")]
PickSetOption = Annotated[
    str | None,
    typer.Option("--set", metavar="NAME", help="Of a project: this pick set, by name or number; accepted picks else."),
]
CuratorOption = Annotated[
    str | None, typer.Option("--curator", metavar="NAME", help="Who decides; your login name by default.")
]
PixelSizeOption = Annotated[
    float | None,
    typer.Option("--pixel-size", metavar="A", help="Angstrom per pixel, instead of what the headers say."),
]
MicrographsArgument = Annotated[
    list[str], typer.Argument(metavar="MICROGRAPH...", help="Image files, folders of such, or patterns.")
]
ImagesOption = Annotated[str, typer.Option("--micrographs", metavar="DIR", help="Folder or pattern of images.")]
ToleranceOption = Annotated[
    float, typer.Option("--tolerance", metavar="SHARE", help="Largest distance of a match, of the diameter.")
]
VoltageOption = Annotated[
    float | None, typer.Option("--voltage", metavar="KV", help="Of the microscope; 300 where no file says it.")
]
CsOption = Annotated[float | None, typer.Option("--cs", metavar="MM", help="Spherical aberration; 2.7 by default.")]
AmplitudeContrastOption = Annotated[
    float | None, typer.Option("--amplitude-contrast", metavar="W", help="Its share, 0 to 1; 0.1 by default.")
]
OpticsOption = Annotated[
    Path | None,
    typer.Option(
        "--optics",
        metavar="FILE",
        help="RELION's STAR of the micrographs, or cryoSPARC's exposures .cs, that say microscope and pixel size.",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Work on a Dask cluster: tcp://host:8786 or its scheduler file. Its workers must see the same files.",
    ),
]
ScreenshotOption = Annotated[
    Path | None, typer.Option("--screenshot", metavar="FILE", help="Save a picture of the window once it is drawn.")
]
QuitOption = Annotated[bool, typer.Option("--quit", help="Quit once the window is drawn (after the screenshot).")]


def parse_diameter(text: str | None) -> tuple[float | None, float | None]:
    """Angstrom and px: ``191`` and ``191A`` are angstrom, ``108px`` is px."""
    if text is None:
        return None, None
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(A|px)?\s*", text)
    if match is None or not float(match[1]) > 0:
        raise typer.BadParameter(f"{text!r} is no diameter: write 191 (angstrom) or 108px", param_hint="--diameter")
    value = float(match[1])
    return (None, value) if match[2] == "px" else (value, None)


def spread(arguments: Sequence[str]) -> list[str]:
    """Give each word after a greedy option the option's name: ``--coords a b`` becomes ``--coords a --coords b``."""
    out: list[str] = []
    greedy: tuple[str, ...] = ()
    current = ""
    fresh = False
    for place, word in enumerate(arguments):
        if word == "--":
            return [*out, *arguments[place:]]
        if word in _GREEDY and not any(w in _GREEDY for w in out):
            greedy = _GREEDY[word]
        if word.startswith("-") and word != "-":
            current, fresh = (word, True) if word in greedy else ("", False)
        elif current and not fresh:
            out.append(current)
        else:
            fresh = False
        out.append(word)
    return out


def resolve_addresses(arguments: Sequence[str]) -> list[str]:
    """Put in place of a server's address the folder that stands for it, which ``--files DIR`` may name.

    Raises
    ------
    ProjectError
        That is no address, or the folder holds the files of another project.
    """
    if not any(_address_in(word) for word in arguments):
        return list(arguments)
    from ..session.core.server_projects import folder_of

    rest: list[str] = []
    files: Path | None = None
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name == FILES:
            files = Path(value if equals else next(words, ""))
        else:
            rest.append(word)
    return [word.replace(at, str(folder_of(at, files))) if (at := _address_in(word)) else word for word in rest]


def _address_in(word: str) -> str:
    """The server's address that a word of the command line is or ends with (``--project=...``); empty = none."""
    begin = word.partition("=")[2] if word.startswith("--") else word
    return begin if begin.startswith(("postgresql://", "postgres://")) else ""


def refuse_files_alone(files: Path | None) -> None:
    """Raises BadParameter where ``--files`` was given without a server's address, which would have taken it."""
    if files is not None:
        raise typer.BadParameter("goes with a project on a server (postgresql://...)", param_hint=FILES)


def find_project(path: Path) -> Path:
    """The project a path means, also the one that is kept at home for data that cannot be written.

    Raises
    ------
    ProjectError
        There is none.
    """
    from ..session.core.opening import find_project as find

    return find(path)
