"""A JupyterLab of its own: this very Python, a temporary folder, its own settings, nothing asked of the network."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

#: What JupyterLab is set to; everything else is as a reader finds it.
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # The tests save where they mean to; a file that changes in between would make them differ from run to run.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
}
START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running JupyterLab. `root`: the folder it shows. `log`: what it says."""

    address: str
    token: str
    root: Path
    log: Path

    def page(self, path: str) -> str:
        """The address at which the browser opens `path`, relative to the root, with nothing else open."""
        return f"{self.address}lab/tree/{path}?token={self.token}&reset"


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[Server]:
    """Start JupyterLab in `folder`/root (made if need be); stop it, with its kernels, at the end.

    Raises RuntimeError with the end of its log when it does not answer.
    """
    root, home, log = folder / "root", folder / "home", folder / "jupyter.log"
    root.mkdir(parents=True, exist_ok=True)
    environment = _environment(home)
    token = secrets.token_hex(16)
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--ip=127.0.0.1",
        "--port=0",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
        "--ServerApp.allow_root=True",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
    ]
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=said, stderr=subprocess.STDOUT)
    try:
        address = _address(process, home / "runtime", log)
        yield Server(address, token, root, log)
    finally:
        process.terminate()  # asked to stop, it shuts its kernels down first
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(home: Path) -> dict[str, str]:
    """The environment of the server: all its folders under `home`, and this Python as the kernel "python3"."""
    folders = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "IPYTHONDIR": home / "ipython",
    }
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    overrides = folders["JUPYTER_CONFIG_DIR"] / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir()
    overrides.write_text(json.dumps(SETTINGS), encoding="utf-8")
    kernel = folders["JUPYTER_DATA_DIR"] / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environment.update({name: str(path) for name, path in folders.items()})
    environment["JUPYTER_PREFER_ENV_PATH"] = "0"  # the kernel above before the one of the environment
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    return environment


def _address(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """The address of the server, from the file it writes when it listens, once it answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                address = f"http://127.0.0.1:{found['port']}{found['base_url']}"
                with urlopen(f"{address}api", timeout=5):
                    return address
            except (ValueError, KeyError, URLError, OSError):
                pass  # half written, or not listening yet
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
