"""What tests of commands share; a file may have a ``cli`` that says more."""

from __future__ import annotations

import pytest
from command_tools import Cli

from cryoppp_annotator.cli import main


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main.run([str(a) for a in arguments])
        return code, *capfd.readouterr()

    return run
