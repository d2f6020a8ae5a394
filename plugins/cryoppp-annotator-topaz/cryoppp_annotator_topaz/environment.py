"""Makes an environment in which Topaz runs, apart from ours."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from cryoppp_annotator.api import AnnotatorError, EngineError, JobContext, run_process

from .program import PROGRAM

VERSION = "0.3.20"
#: What Topaz imports, without torchvision, and without torch, whose build the user chooses.
NEEDS = ("tqdm>=4.65", "h5py>=3.7", "numpy", "pandas", "psutil>=5.8", "scikit-learn", "scipy", "pillow>=6.2", "future")


def install(folder: Path, torch: str, say: Callable[[str], None], context: JobContext | None = None) -> Path:
    """Make a Python environment with Topaz and return its program.

    Topaz is installed without its dependencies, then those that it imports; torchvision, of which its training calls
    three functions, is replaced by plain torch where it cannot be imported.

    Parameters
    ----------
    folder : Path
        Is made; an environment that is there is completed.
    torch : str
        What pip installs as PyTorch: ``torch``, ``torch==2.13.0``.
    say : callable
        Gets what is being done.
    context : JobContext, optional

    Raises
    ------
    EngineError
        A step failed.
    Cancelled
    """
    job = context or JobContext()
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    if not python.exists():
        say(f"making {folder}")
        run_process([sys.executable, "-m", "venv", folder], context=job)
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    say(f"installing PyTorch ({torch}; 200 MB, with CUDA some GB)")
    run_process([*pip, torch], context=job)
    say(f"installing topaz-em {VERSION}")
    # it reads its weights through pkg_resources, which newer setuptools lack
    run_process([*pip, *NEEDS, "setuptools<81"], context=job)
    run_process([*pip, "--no-deps", f"topaz-em=={VERSION}"], context=job)
    try:
        run_process([python, "-c", "import torchvision.transforms.functional"], context=job)
    except AnnotatorError:
        job.check()
        say("torchvision cannot be imported: its three functions that Topaz calls are put in its place")
        _put_stand_in(python, job)
    program = programs / PROGRAM
    said = run_process([program, "--version"], environment={"PYTHONWARNINGS": "ignore"}, context=job).output
    say(f"topaz {' '.join(said)}: {program}")
    return program


def _put_stand_in(python: Path, context: JobContext) -> None:
    where = run_process([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], context=context)
    package = Path(where.output[-1]) / "torchvision"
    if package.exists():
        raise EngineError(f"{package} is there but cannot be imported: remove it (pip uninstall torchvision)")
    transforms = package / "transforms"
    transforms.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import transforms\n", encoding="ascii")
    (transforms / "__init__.py").write_text("from . import functional\n", encoding="ascii")
    shutil.copyfile(Path(__file__).with_name("torchvision_functional.py"), transforms / "functional.py")
