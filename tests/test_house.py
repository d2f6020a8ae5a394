"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from npe2 import PluginManifest

import cryoppp_annotator

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "cryoppp_annotator"
SOURCES = sorted(PACKAGE.rglob("*.py"))
#: Past some 400 lines a file is usually two; past these it is.
LONGEST_FILE, LONGEST_CLASS = 500, 400
#: Arguments that are positions, lengths, angles or frequencies: their numbers mean nothing without the unit.
HAVE_A_UNIT = re.compile(
    r"(x|y|xs|ys|k|places?|positions?|points?|cent(re|er)s?|corners?|vertices|polygon|outline|shifts?|offsets?|width|height"
    r"|radius|distances?|box_size|lengths?|steps?|angles?|turns?|frequenc(y|ies)|diameters?|defocus|periods?)"
)
#: Units as docstrings spell them; ``radii`` and the like are units of their own.
UNIT = re.compile(
    r"\bpx\b|\b1/A\b|angstrom|degree|\bdeg\b|\brad(ian)?s?\b|per px|\bradii\b|unit vectors?|any unit|0 ?\.\. ?1"
)
#: Where names are in plain words throughout.
ROOMS_IN_PLAIN_WORDS = ("cryoppp_annotator", "plugins", "tests", "benchmarks")
#: What plugins rely on keeps its name.
OLD_WORDS_OF_THE_DOOR = ("cryoppp_annotator/api.py",)
#: Names of several files that are about one thing: a command and its work, or a noun, its table and its steps.
SAME_THING = {
    *("changed", "check_frame", "classify", "compare", "convert", "ctf", "demo", "denoise", "doctor", "evaluate"),
    *(
        "export_classes",
        "extract",
        "history",
        "label_errors",
        "lint",
        "passport",
        "pick",
        "recover",
        "simulate",
        "verdict",
        "volume",
    ),
    *("classes", "error_queue", "facts", "species", "which"),
}
#: Words that say how a thing came and not what it is; see docs/glossary.md.
OLD_WORDS = {"told", "wish", "found", "wanted", "look", "others"}
SCREEN = ("qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "napari", "magicgui", "superqt", "fonticon_mdi7", "vispy")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def modules_below_gui() -> list[str]:
    """Every importable module outside ``gui``; Alembic runs its migration scripts itself."""
    root = cryoppp_annotator.__name__
    return [
        module.name
        for module in pkgutil.walk_packages(cryoppp_annotator.__path__, f"{root}.", onerror=pytest.fail)
        if not module.name.startswith(f"{root}.gui")
        and ".migrations." not in module.name
        and not module.name.endswith("__main__")
    ]


def public_without_docstring(node: ast.AST, prefix: str = "") -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in child.decorator_list}
        if child.name.startswith("_") or decorators & {"overload", "setter", "deleter", "override"}:
            continue
        if ast.get_docstring(child) is None:
            yield f"{prefix}{child.name} (line {child.lineno})"
        if isinstance(child, ast.ClassDef):
            yield from public_without_docstring(child, f"{prefix}{child.name}.")


def test_both_manifests_are_one() -> None:
    assert (REPOSITORY / "napari.yaml").read_bytes() == (PACKAGE / "napari.yaml").read_bytes()


def test_manifest_is_valid_and_what_it_names_exists() -> None:
    manifest = PluginManifest.from_file(PACKAGE / "napari.yaml")
    assert manifest.name == PROJECT["name"]
    manifest.validate_imports()


def test_imports_point_down() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run(
        [lint_imports, "--no-cache", "--no-logo"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_below_gui_loads_a_screen() -> None:
    """In a fresh process: what a notebook or a cluster worker imports needs no Qt, not even through others."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        f"    loaded_screen = sorted({{loaded.partition('.')[0] for loaded in sys.modules}} & set({SCREEN!r}))\n"
        "    if loaded_screen:\n"
        "        sys.exit(f'importing {name} loaded {\", \".join(loaded_screen)}')\n"
    )
    modules = modules_below_gui()
    assert modules
    ran = subprocess.run([sys.executable, "-c", script, *modules], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    too_long = {name: n for name, n in lengths.items() if n > LONGEST_FILE}
    assert too_long == {}


def test_classes_are_short() -> None:
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    too_long = {name: n for name, n in lengths.items() if n > LONGEST_CLASS}
    assert too_long == {}


def test_no_imports_go_in_a_circle() -> None:
    """Not even those for type checkers, and not within a room."""
    graph = grimp.build_graph(cryoppp_annotator.__name__, exclude_type_checking_imports=False)
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # take away what imports nothing that is left, again and again: what stays goes in circles
    while free := [module for module, imported in below.items() if not imported & below.keys()]:
        for module in free:
            del below[module]
    assert {module: sorted(imported & below.keys()) for module, imported in below.items()} == {}


def given_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a file gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


@pytest.mark.parametrize("room", ROOMS_IN_PLAIN_WORDS)
def test_old_words_stay_out(room: str) -> None:
    """A name says what it holds, not how it came."""
    used = [
        f"{relative(path)}:{line}: {name}"
        for path in sorted((REPOSITORY / room).rglob("*.py"))
        for name, line in given_names(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_") in OLD_WORDS and relative(path) not in OLD_WORDS_OF_THE_DOOR
    ]
    assert used == []


def array_arguments(function: ast.FunctionDef) -> list[str]:
    given = function.args
    return [
        a.arg
        for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)
        if a.annotation is not None and re.match(r"NDArray|Float(Image|Array)", ast.unparse(a.annotation))
    ]


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield child
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)


def described_arrays() -> Iterator[tuple[str, str, ast.FunctionDef]]:
    """Where each array argument of a public function stands, its name, and the function."""
    for path in SOURCES:
        for function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            if any(ast.unparse(decorator) == "overload" for decorator in function.decorator_list):
                continue
            for name in array_arguments(function):
                yield f"{relative(path)}:{function.name}({name})", name, function


def without_shape(function: ast.FunctionDef) -> list[str]:
    """Array arguments whose ``name : (n, 2) float64, yx, px`` is missing; a short docstring may say it in the text."""
    doc, arrays = ast.get_docstring(function) or "", array_arguments(function)
    if "Parameters\n---" not in doc and len(re.findall(r"\([^()]*,[^()]*\)", doc)) >= len(arrays):
        return []
    entry = r"^(?:\w+, )*{}(?:, \w+)* : (.*(?:\n    .*)*)"
    entries = {a: re.search(entry.format(a), doc, re.MULTILINE) for a in arrays}
    return [a for a, match in entries.items() if match is None or not re.search(r"\([^)]*,[^)]*\)", match[1])]


def test_arrays_say_their_shape() -> None:
    """Shape and axis order: an array without them is read wrongly sooner or later."""
    assert [place for place, name, function in described_arrays() if name in without_shape(function)] == []


def entry_of(name: str, function: ast.FunctionDef) -> str:
    """What a docstring says of an argument; the whole of a docstring that has no list of them."""
    doc = ast.get_docstring(function) or ""
    entry = re.search(rf"^(?:\w+, )*{name}(?:, \w+)* : (.*(?:\n    .*)*)", doc, re.MULTILINE)
    return entry[1] if entry is not None else doc


def test_arrays_say_their_unit() -> None:
    """Positions, lengths, angles and frequencies say in what, unless their name does (``_A``, ``_px``, ``_deg``)."""
    silent = [
        place
        for place, name, function in described_arrays()
        if HAVE_A_UNIT.fullmatch(name) and not UNIT.search(entry_of(name, function))
    ]
    assert silent == []


def test_nothing_is_formatted_by_hand() -> None:
    mark = re.compile("# " + "fmt:")
    paths = [path for room in ROOMS_IN_PLAIN_WORDS for path in sorted((REPOSITORY / room).rglob("*.py"))]
    assert [relative(path) for path in paths if mark.search(path.read_text(encoding="utf-8"))] == []


def test_every_number_has_a_name_and_a_line_of_its_own() -> None:
    """``_A, _B = 0.5, 12`` at the top of a file leaves no place for the unit and the reason of each."""
    together = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
        if any(isinstance(part, ast.Constant) and isinstance(part.value, int | float) for part in ast.walk(node.value))
    ]
    assert together == []


def test_one_name_is_one_thing() -> None:
    """Files of one name say the same of it in different rooms (``batch/pick.py`` and ``cli/pick.py``)."""
    rooms: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.stem not in {"__init__", "__main__"}:
            rooms.setdefault(path.stem, []).append(path.parent.relative_to(PACKAGE).as_posix())
    shared = {name for name, where in rooms.items() if len(where) > 1}
    assert shared <= SAME_THING


def test_no_room_is_called_utils() -> None:
    assert [relative(path) for path in PACKAGE.rglob("*") if path.stem in {"utils", "helpers", "misc"}] == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_everything_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = list(public_without_docstring(tree))
    if ast.get_docstring(tree) is None and tree.body:
        missing.insert(0, "the module")
    assert missing == []


def declared_entry_points() -> list[tuple[str, str, str]]:
    groups = {"console_scripts": PROJECT["scripts"]}
    groups |= {name: group for name, group in PROJECT["entry-points"].items() if name.startswith("cryoppp_annotator.")}
    return [(group, name, target) for group, entries in groups.items() for name, target in entries.items()]


@pytest.mark.parametrize(("group", "name", "target"), declared_entry_points())
def test_entry_points_resolve(group: str, name: str, target: str) -> None:
    installed = importlib.metadata.entry_points(group=group, name=name)
    assert [point.value for point in installed] == [target], "the installed package is stale: make setup"
    (point,) = installed
    assert point.load() is not None


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version(PROJECT["name"]) == cryoppp_annotator.__version__


def trips() -> list[tuple[str, list[str]]]:
    """Files and functions that docs/design.md names in its five trips."""
    page = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    text = page[page.index("## Five trips") : page.index("## One verb")]
    steps: list[tuple[str, list[str]]] = []
    for code in re.findall(r"`([\w./]+)`", text):
        if code.endswith(".py"):
            steps.append((code, []))
        elif code.isidentifier() and steps:
            steps[-1][1].append(code)
    return steps


def test_the_trips_of_the_design_can_be_walked() -> None:
    """A page that names files and functions must not go stale."""
    assert len(trips()) > 25
    lost = []
    for file, names in trips():
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        given = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        lost += [f"{file}: {name}" for name in names if name not in given]
    assert lost == []
