"""Sound files for the tests of this room: short made ones, and the folder of real ones where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def beep() -> Callable[[Path], None]:
    """Writes half a second of a tone at 8 kHz, into a folder that is made if need be."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * np.sin(np.arange(4000) / 5), 8000)

    return write


@pytest.fixture(scope="session")
def real_folder() -> str:
    """The folder of recordings that STEER_CLIPS names; without one the test is skipped."""
    root = os.environ.get("STEER_CLIPS")
    if not root:
        pytest.skip("set STEER_CLIPS to a folder with recordings and one csv (filename, category, ...)")
    return root
