"""``python -m cryoppp_annotator``: the same as the command ``cryoppp-annotator``."""

import sys

from .cli.main import run

if __name__ == "__main__":
    sys.exit(run())
