"""A project of two simulated micrographs whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import mrcfile
import pytest

from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.session.core import opening
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.picks import proposing

PARAMETERS = SimulationParameters(
    size=(900, 900), structure="blob", n_particles=30, n_views=20, carbon_probability=0, n_contaminants=0, snr=0.3
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """``session.truths`` holds what was simulated; the diameter is set, the first micrograph is open."""
    views = views_for(PARAMETERS)
    truths = [simulate_micrograph(PARAMETERS, i, views) for i in range(2)]
    for i, truth in enumerate(truths):
        with mrcfile.new(tmp_path / f"m{i}.mrc") as mrc:
            mrc.set_data(truth.image)
            mrc.voxel_size = truth.pixel_size_A
    opened = opening.open_plan(opening.plan(tmp_path, tmp_path / "project"), curator="me")
    opened.set_diameter(truths[0].diameter_A)
    opened.truths = truths
    opened.go(opened.micrographs[0].id)
    yield opened
    opened.close()


@pytest.fixture
def entered() -> Callable[[Session, proposing.Proposal], str]:
    """Enters a proposal; what is said of it."""

    def enter(into: Session, proposal: proposing.Proposal) -> str:
        lines: list[str] = []
        proposing.enter(into, proposal, lines.append)
        (line,) = lines
        return line

    return enter
