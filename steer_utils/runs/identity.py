"""All that the result of a notebook's run depends on, and the hash of it that names the run's folder."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steer_utils.lm.environment import installed_version
from steer_utils.runs.parameters import checked_parameters, full_parameters, short_path

MODELS = ("model", "other")  # parameters of the course's notebooks that name a model
FIGURES = "figures"  # the parameter that says where figures go
LOCK = "requirements.lock"
PACKAGES = ("steer-utils", "torch", "transformers", "numpy", "scipy", "pandas", "soundfile", "soxr", "matplotlib")
HASH_LENGTH = 12


@dataclass(frozen=True)
class RunIdentity:
    """What a run is told by. Two runs with equal hashes give the same result, as far as can be known beforehand.

    notebook    its path
    given       the parameters that were given, as papermill takes them
    parameters  all of them, defaults included; without `figures` if that was left alone
    sources     hash of its cells: kind, text and tags, not outputs, ids or other metadata
    lock        the hash of requirements.lock, or else the installed versions; and the version of this library
    models      parameter -> name and revision of the model it names: a hash of the weights, settings and configuration
                of a folder or a pocket model, the commit of a hub id
    draws_into_the_run  whether `figures` was left alone, so that the run's own folder stands for it
    """

    notebook: Path
    given: dict[str, Any]
    parameters: dict[str, Any]
    sources: str
    lock: dict[str, str]
    models: dict[str, dict[str, str]]
    draws_into_the_run: bool

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits over parameters, sources, lock and models."""
        return digest([self.parameters, self.sources, self.lock, self.models])[:HASH_LENGTH]

    def as_dict(self) -> dict[str, Any]:
        """The facts as json holds them."""
        return {
            "notebook": short_path(self.notebook),
            "hash": self.hash,
            "parameters": self.parameters,
            "sources": self.sources,
            "lock": self.lock,
            "models": self.models,
        }


def run_identity(notebook: Path, given: Mapping[str, Any]) -> RunIdentity:
    """The facts of a run of `notebook` with the parameters given. Raises ValueError as `runs.checked_parameters` does,
    and for the name of a pocket model that there is not."""
    path = Path(notebook).resolve()
    values = checked_parameters(path, given)
    parameters = full_parameters(path, values)
    named = {name: parameters[name] for name in MODELS if isinstance(parameters.get(name), str) and parameters[name]}
    own_figures = FIGURES in parameters and FIGURES not in values
    return RunIdentity(
        notebook=path,
        given=values,
        parameters={name: value for name, value in parameters.items() if name != FIGURES or not own_figures},
        sources=_sources(path),
        lock=_locked(path.parent),
        models={name: {"name": model, "revision": revision(model, path.parent)} for name, model in named.items()},
        draws_into_the_run=own_figures,
    )


def installed_versions() -> dict[str, str]:
    """Python and the packages that a result depends on most, as installed."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}}


def revision(model: str, here: Path) -> str:
    """What a model's name means now. `here`: where a relative path starts.

    For a folder or a pocket model, a hash of its weights (`loading.fingerprint`), configuration and settings; for a
    hub id the commit in the local cache. A model that was never opened has none: its configuration, a small file that
    the run needs anyway, is then fetched to learn the commit, so that the same command finds its folder again. Without
    a network it is "unknown". Raises CheckpointError for a pocket model that there is not.
    """
    from steer_utils.lm.loading import fingerprint
    from steer_utils.lm.models import pocket_folder

    folder = pocket_folder(model) or here / Path(model).expanduser()
    if not (folder / "config.json").is_file():
        return _hub_commit(model)
    beside = (folder / name for name in ("config.json", "settings.json"))
    described = {path.name: digest(_json(path)) for path in beside if path.is_file()}
    return f"{fingerprint(folder)}, configuration and settings sha256:{digest(described)[:16]}"


def _hub_commit(name: str) -> str:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "config.json")
        path = cached if isinstance(cached, str) else hf_hub_download(name, "config.json")
    except Exception:  # no network, no such model, no access, not even a hub id: the notebook will say which
        return "unknown"
    return f"commit {Path(path).parent.name}"


def _sources(path: Path) -> str:
    """papermill and nbclient act on tags (`parameters`, `raises-exception`), so they are sources too."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    executed = [[cell.cell_type, cell.source, sorted(cell.metadata.get("tags", []))] for cell in cells]
    return f"sha256:{digest(executed)[:16]}"


def _locked(folder: Path) -> dict[str, str]:
    """Of the nearest requirements.lock in `folder` or above, comments left out; else of the packages installed."""
    for here in (folder, *folder.parents):
        if (here / LOCK).is_file():
            text = re.sub(r"(^|\s)#.*", "", (here / LOCK).read_text(encoding="utf-8"), flags=re.MULTILINE)
            lines = (line.strip() for line in text.splitlines())
            this = {PACKAGES[0]: installed_version(PACKAGES[0])}
            return {LOCK: f"sha256:{digest(sorted(filter(None, lines)))[:16]}", **this}
    return {name: installed_version(name) for name in PACKAGES}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return path.read_text(encoding="utf-8", errors="replace")


def digest(value: Any) -> str:
    """A hash of what json can hold, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
