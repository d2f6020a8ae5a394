"""Runs beside the project's database: a folder each, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError, ProjectError, disk_reason
from ...formats.atomic import whole_folder, write_text
from ...formats.image.volumes import write_volume
from ...formats.kept_arrays import load_arrays, read_kept_json
from ...store.soundness import Problem
from ..classes.rescue import places
from ..core.session import Session
from .map_run import MAPS, MapResult, MapRun, PickVerdicts
from .run_checks import curves_of, map_of, run_of, verdicts_of

log = logging.getLogger(__name__)
FOLDER = "maps"
RECORD = "run.json"
VERDICTS = "verdicts.npz"
CURVE = "fsc.npz"


def folder_of(session: Session, number: int) -> Path:
    """Where a run lies."""
    return session.store.folder / FOLDER / f"run-{number:04d}"


def list_map_runs(session: Session) -> list[MapRun]:
    """The project's runs, oldest first; folders that hold none are passed over, with a line in the log."""
    runs = []
    for folder in sorted((session.store.folder / FOLDER).glob("run-*")):
        try:
            runs.append(run_of(int(folder.name[4:]), read_kept_json(folder / RECORD)))
        except (OSError, ValueError) as error:
            log.warning("%s holds no run that makes sense (%s); it is passed over", folder, error)
    return runs


def find_damage(folder: Path) -> list[Problem]:
    """What is wrong with the runs beside a project's database; they are read as the program reads them.

    Parameters
    ----------
    folder : Path
        Of the project.
    """
    problems = []
    for run in sorted((folder / FOLDER).glob("run-*")):
        try:
            load_from(run, run_of(int(run.name[4:]), read_kept_json(run / RECORD)))
        except (OSError, ValueError, FormatError) as error:
            problems.append(Problem(FOLDER, None, run.name, f"cannot be used: {error}"))
    return problems


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
        Its verdicts or maps are gone, damaged or make no sense.
    """
    return load_from(folder_of(session, run.number), run)


def load_from(folder: Path, run: MapRun) -> MapResult:
    """As :func:`load_map_run`, from the run's own folder."""
    columns = load_arrays(folder / VERDICTS)
    if columns is None:
        raise FormatError("has vanished or is damaged: make this map again", folder / VERDICTS)
    try:
        picks = verdicts_of(columns)
    except ValueError as error:
        raise FormatError(f"makes no sense ({error}): make this map again", folder / VERDICTS) from error
    maps = {name: map_of(path) for name in MAPS if (path := folder / f"{name}.mrc").exists()}
    if len({array.shape for array in maps.values()}) > 1:
        raise FormatError("holds maps of different sizes: make this map again", folder)
    return MapResult(run, picks, maps, curves_of(load_arrays(folder / CURVE) or {}))


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
