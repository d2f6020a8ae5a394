"""Where this user's own things are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """Folder of keys, preferences, logs, server addresses, and of projects whose data folder cannot be written."""
    own = os.environ.get("CRYOPPP_ANNOTATOR_HOME")
    return Path(own) if own else Path(platformdirs.user_data_dir("cryoppp-annotator"))
