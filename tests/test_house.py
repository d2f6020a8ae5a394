"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from npe2 import PluginManifest

import cryoppp_annotator

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "cryoppp_annotator"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 600
SCREEN = ("qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "napari", "magicgui", "superqt", "vispy")
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
        f"    found = sorted({{loaded.partition('.')[0] for loaded in sys.modules}} & set({SCREEN!r}))\n"
        "    if found:\n"
        "        sys.exit(f'importing {name} loaded {\", \".join(found)}')\n"
    )
    modules = modules_below_gui()
    assert modules
    ran = subprocess.run([sys.executable, "-c", script, *modules], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


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
