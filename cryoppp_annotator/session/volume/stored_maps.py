"""Runs beside the project's database: a folder each, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError, ProjectError, disk_reason
from ...formats.atomic import whole_folder, write_text
from ...formats.image.volumes import read_volume, write_volume
from ...formats.kept_arrays import load_arrays, read_kept_json
from ..classes.rescue import places
from ..core.session import Session
from .map_run import CURVES, MAPS, MapResult, MapRun, PickVerdicts

FOLDER = "maps"
RECORD = "run.json"
VERDICTS = "verdicts.npz"
CURVE = "fsc.npz"


def folder_of(session: Session, number: int) -> Path:
    """Where a run lies."""
    return session.store.folder / FOLDER / f"run-{number:04d}"


def list_map_runs(session: Session) -> list[MapRun]:
    """The project's runs, oldest first; folders that hold none are passed over."""
    runs = []
    for folder in sorted((session.store.folder / FOLDER).glob("run-*")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            number, record = int(folder.name[4:]), read_kept_json(folder / RECORD)
            if isinstance(record, dict):
                runs.append(MapRun(number, record))
    return runs


def save_map_run(session: Session, result: MapResult) -> MapResult:
    """Keep a run. Returns it with its number.

    Raises
    ------
    ProjectError
        It cannot be written; the run is in a folder elsewhere, or gone, which is said.
    """
    around = session.store.folder / FOLDER
    fresh = around / f".new-{os.getpid()}"
    try:
        around.mkdir(exist_ok=True)
        for left in around.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        fresh.mkdir()
        _write(fresh, result)
        number = _named(around, fresh)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        with contextlib.suppress(OSError):  # where it was the first
            around.rmdir()
        raise _kept_elsewhere(session, result, disk_reason(error)) from error
    return replace(result, run=replace(result.run, number=number))


def _kept_elsewhere(session: Session, result: MapResult, reason: str) -> ProjectError:
    """Write a run that did not get into the project into a folder of its own, and say where."""
    around = session.store.folder / FOLDER
    why = f"the map could not be saved in {around} ({reason}). Your picks are safe"
    for folder in places(session, "map"):
        try:
            with whole_folder(folder) as fresh:
                _write(fresh, result)
        except (OSError, FormatError):
            continue
        free = max((run.number for run in list_map_runs(session)), default=0) + 1
        return ProjectError(
            f"{why}, and the run was written to {folder} instead: free some space, then move that folder to "
            f"{around / f'run-{free:04d}'}"
        )
    return ProjectError(f"{why}, but the map is gone: no other disk takes it. Free some space, then make it again")


def _write(folder: Path, result: MapResult) -> None:
    columns = {name: getattr(result.picks, name) for name in PickVerdicts.__dataclass_fields__}
    np.savez(folder / VERDICTS, **columns)
    curves: dict[str, Any] = dict(result.curves)
    np.savez(folder / CURVE, **curves)
    for name, volume in result.maps.items():
        write_volume(folder / f"{name}.mrc", volume, result.run.pixel_size_A)
    write_text(folder / RECORD, json.dumps(dict(result.run.record), indent=1))


def _named(around: Path, fresh: Path) -> int:
    """Give a folder the next number; another window may take one first."""
    while True:
        known = [int(folder.name[4:]) for folder in around.glob("run-*") if folder.name[4:].isdigit()]
        number = max(known, default=0) + 1
        try:
            fresh.rename(around / f"run-{number:04d}")
        except OSError:
            if not (around / f"run-{number:04d}").exists():
                raise
        else:
            return number


def load_map_run(session: Session, run: MapRun) -> MapResult:
    """Read all of a run: some tenths of a second; from any thread.

    Raises
    ------
    FormatError
        Its verdicts are gone or damaged.
    """
    folder = folder_of(session, run.number)
    columns = load_arrays(folder / VERDICTS)
    if columns is None or not set(PickVerdicts.__dataclass_fields__) <= set(columns):
        raise FormatError("has vanished or is damaged: make this map again", folder / VERDICTS)
    picks = PickVerdicts(**{name: columns[name] for name in PickVerdicts.__dataclass_fields__})
    maps = {}
    for name in MAPS:
        if (path := folder / f"{name}.mrc").exists():
            maps[name] = np.array(read_volume(path)[0], np.float32)
    stored: dict[str, Any] = load_arrays(folder / CURVE) or {}
    curves = {name: stored[name] for name in CURVES if name in stored}
    return MapResult(run, picks, maps, curves)


def forget_map_run(session: Session, run: MapRun) -> None:
    """Delete a run. Picks and decisions stay. Cannot be undone.

    Raises
    ------
    ProjectError
    """
    try:
        shutil.rmtree(folder_of(session, run.number))
    except OSError as error:
        raise ProjectError(f"{run.name} could not be deleted ({disk_reason(error)})") from error
