"""What was on the screen at a useful zoom: noted where the view rests, shown as a map, said where a view is missing."""

from __future__ import annotations

import json

import numpy as np
from window import HEIGHT, WIDTH

from cryoppp_annotator.cli.main import run
from cryoppp_annotator.session.pictures.coverage import CELLS, Coverage


def rest_on(window, x: float, y: float, times: float) -> None:
    """Look at a place, so many times larger than the whole micrograph would be."""
    window.bench.viewport.fit()
    scale = window.layer.scale[-1]
    window.viewer.scene.camera.center = (0.0, y * scale, x * scale)
    window.viewer.scene.camera.zoom *= times


def test_what_was_looked_at_is_noted_shown_kept_and_said(window, capsys):
    watch, session = window.annotator.coverage, window.session
    first, second, third = (m.id for m in session.micrographs[:3])
    window.until(lambda: watch.coverage.share(first) == 1.0)  # the whole of it is large enough here
    rest_on(window, 0.0, 0.0, 4.0)
    window.go("b")
    window.until(lambda: watch.coverage.share(second) > 0)
    seen = watch.coverage.seen(second)
    assert seen[0, 0]
    assert not seen[CELLS // 2 :].any()
    assert 0.01 < seen.mean() < 0.25
    window.bench.give("show-seen")
    assert f"{seen.mean():.0%} of this micrograph" in window.status
    dimmed = window.viewer.layers["not looked at"]
    assert np.array_equal(np.asarray(dimmed.data)[..., 3] == 0, seen)
    middles = np.asarray(dimmed.extent.world) / window.layer.scale[-1]  # of the first and the last cell
    half = np.array([HEIGHT, WIDTH]) / CELLS / 2
    assert np.allclose(middles, [half - 0.5, (HEIGHT, WIDTH) - half - 0.5])
    assert window.viewer.layers.selection.active is window.layer
    window.bench.give("show-seen")
    assert "not looked at" not in window.viewer.layers
    steps = len(session.history())
    window.bench.give("empty")
    assert window.status.startswith("b is empty, but only")
    assert len(session.history()) > steps
    rest_on(window, 0.0, 0.0, 0.2)  # particles of a few pixels
    window.go("c")
    watch.note_view()
    assert watch.coverage.share(third) == 0.0
    watch.coverage.write()
    steps = len(session.history())
    session.curator = "somebody else"
    again = Coverage(session)
    assert np.array_equal(again.seen(second), seen)
    assert len(session.history()) == steps, "looking is no step"
    capsys.readouterr()
    assert run(["status", str(session.store.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seen"]["b"] == round(float(seen.mean()), 3)
    (kept,) = (session.store.folder / "review/seen").glob("*.json")
    kept.write_text('{"cells": 16, "seen": {"1": "zz"}}')
    assert Coverage(session).share(first) == 0.0, "damaged: nobody looked"
