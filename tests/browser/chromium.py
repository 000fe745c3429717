"""Which browser the tests drive, how it is started, and what to say when there is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

REMEDY = (
    "browser tests need Chromium: apt-get install chromium (Debian), or python -m playwright install chromium, "
    "or set CHROMIUM to one that is there"
)
COMMANDS = ("chromium", "chromium-browser", "google-chrome")


def chromium(playwright: Playwright) -> str | LookupError:
    """Path of a Chromium: $CHROMIUM, the one playwright brought, or one on the PATH; or, in words, how to get one.

    Where $CHROMIUM names something that is not there no other is taken: another would be tested than the one asked for.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named) or LookupError(f"CHROMIUM is {named!r}, which cannot be run; {REMEDY}")
    own = playwright.chromium.executable_path
    if own and Path(own).is_file():
        return own
    found = (shutil.which(command) for command in COMMANDS)
    return next((path for path in found if path), None) or LookupError(REMEDY)


def arguments() -> list[str]:
    """Switches of the browser: sound without a click, a fake microphone, and no way out of this machine."""
    switches = [
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        # Offline, whatever a page asks for. The requests themselves are counted too, by `Watch`.
        "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--disable-dev-shm-usage",  # containers have little of it
        "--force-color-profile=srgb",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        switches.append("--no-sandbox")  # Chromium refuses to start as root with it
    return switches
