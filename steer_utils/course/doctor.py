"""Is this machine ready for the course? One line a check, and for each that fails what to do about it.

    for finding in examine():
        print(finding)

Nothing is downloaded and nothing is changed. Only the checks that need torch import it, so that a machine without it
gets an answer too.
"""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

State = Literal["OK", "NOTE", "FAIL"]

LEAST_PYTHON = (3, 11)
LEAST_MEMORY = 4e9  # bytes: torch, a pocket model and a notebook take about 1.5 GB
LEAST_DISK = 0.5e9  # bytes, for figures and executed copies
MINI_DISK = 1e9  # bytes, for each mini model that is to be assembled (0.65 GB)
#: Of a GPU that is to run a 7B checkpoint, room to work included (`steer-utils cost` has the details).
CHECKPOINT_MEMORY = ((18e9, "in 16 bits"), (12e9, 'with quantise="int8"'), (9e9, 'with quantise="nf4"'))
JUPYTER = ("jupyterlab", "ipykernel", "ipywidgets", "papermill")
AGAIN = "make setup (or: pip install -r requirements.lock)"


@dataclass(frozen=True)
class Finding:
    """What one check found. A NOTE is no obstacle. `remedy` says what to do, "" where there is nothing to do."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.state:4}  {self.name:9}  {self.detail}"
        return f"{line}\n{'':17}→ {self.remedy}" if self.remedy else line


def examine(here: Path | None = None) -> list[Finding]:
    """Every check, in order. `here`: the folder that will be written to; default the current one.

    A check that raises an error counts as a FAIL, and the others still run.
    """
    folder = Path.cwd() if here is None else here
    checks: dict[str, Callable[[], Finding]] = {
        "python": python,
        "packages": packages,
        "memory": lambda: memory(installed_memory()),
        "disk": lambda: disk(folder),
        "audio": audio,
        "models": models,
        "mini": mini,
        "jupyter": jupyter,
        "gpu": gpu,
    }
    return [_guarded(name, check) for name, check in checks.items()]


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.state != "FAIL" for finding in findings)


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever is broken on this machine
        return Finding(name, "FAIL", f"{type(error).__name__}: {str(error)[:200]}", AGAIN)


# -- the checks ------------------------------------------------------------------------------------------------------
def python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python is new enough."""
    detail = f"Python {'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if version >= LEAST_PYTHON:
        return Finding("python", "OK", detail)
    needed = ".".join(map(str, LEAST_PYTHON))
    remedy = f"install Python {needed} or newer, then: make setup PYTHON=python{needed}"
    return Finding("python", "FAIL", detail, remedy)


def packages() -> Finding:
    """What the package requires is there, and new enough."""
    faults, versions = [], {}
    for line in metadata.requires("steer-utils") or ():
        name, bounds = _split(line)
        if "extra ==" in line:
            continue
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            faults.append(f"{name} is missing")
            continue
        if not _within(versions[name], bounds):
            faults.append(f"{name} is {versions[name]}, needed is {bounds}")
    if faults:
        return Finding("packages", "FAIL", "; ".join(faults), AGAIN)
    shown = [f"{name} {versions[name]}" for name in ("torch", "transformers", "numpy")]
    detail = f"{', '.join(shown)} and {len(versions) - len(shown)} more"
    return Finding("packages", "OK", detail)


def memory(installed: int | None) -> Finding:
    """There is room for a pocket model and a notebook. `installed`: bytes, None if unknown."""
    if installed is None:
        return Finding("memory", "NOTE", "how much there is cannot be told here; the course takes about 2 GB")
    detail = f"{installed / 1e9:.1f} GB"
    if installed >= LEAST_MEMORY:
        return Finding("memory", "OK", detail)
    remedy = "close other programs, and run one notebook at a time with the preset smoke"
    return Finding("memory", "FAIL", f"{detail}; the course wants {LEAST_MEMORY / 1e9:.0f} GB", remedy)


def disk(folder: Path) -> Finding:
    """Figures and executed copies can be written."""
    if not os.access(folder, os.W_OK):
        return Finding("disk", "FAIL", f"{folder} cannot be written to", "work in a copy of the course that is yours")
    free = shutil.disk_usage(folder).free
    if free < LEAST_DISK:
        return Finding("disk", "FAIL", f"{free / 1e9:.2f} GB free in {folder}", "free half a gigabyte")
    return Finding("disk", "OK", f"{free / 1e9:.0f} GB free")


def audio() -> Finding:
    """A sound can be written, read and resampled."""
    import numpy
    import soundfile
    import soxr

    wave = numpy.sin(numpy.arange(8000) / 20).astype("float32")
    stored = io.BytesIO()
    soundfile.write(stored, wave, 8000, format="WAV")
    stored.seek(0)
    read, rate = soundfile.read(stored, dtype="float32")
    resampled = soxr.resample(read, rate, 16_000)
    if len(resampled) != 2 * len(wave) or not numpy.allclose(read, wave, atol=1e-3):
        return Finding("audio", "FAIL", "a sound that was written does not read back", AGAIN)
    formats = {"WAV", "FLAC", "OGG", "MP3"}.intersection(soundfile.available_formats())
    return Finding("audio", "OK", f"reads {', '.join(sorted(formats))}")


def models() -> Finding:
    """The pocket models are complete, and each hears a second of noise."""
    import numpy

    from steer_utils.lm.models import POCKET_MODELS, WEIGHTS, load

    missing = [name for name in POCKET_MODELS if not list((WEIGHTS / name).glob("*.safetensors"))]
    if missing:
        remedy = "the clone is incomplete: git checkout steer_utils/pocket/weights, or clone again"
        return Finding("models", "FAIL", f"no weights of {', '.join(missing)}", remedy)
    noise = numpy.random.default_rng(0).normal(scale=0.1, size=16_000).astype("float32")
    for name in POCKET_MODELS:
        load(name).hear(noise, sampling_rate=16_000).read("Describe the sound.")
    return Finding("models", "OK", f"{', '.join(POCKET_MODELS)} load and hear")


def mini() -> Finding:
    """The mini models are assembled, or can be: their language model is at hand, and the cache has room."""
    from steer_utils.lm.checkpoints import CheckpointError
    from steer_utils.lm.models import MINI_MODELS, WEIGHTS
    from steer_utils.pocket.assembly import CACHE_VARIABLE, assembled_folder, cache_folder
    from steer_utils.pocket.language_model import place_of
    from steer_utils.pocket.mini_recipe import MINI_RECIPES

    try:
        cache = cache_folder()
        waiting = [name for name in MINI_MODELS if not assembled_folder(WEIGHTS / name).is_dir()]
        if not waiting:
            return Finding("mini", "OK", f"{', '.join(MINI_MODELS)} are assembled in {cache}")
        places = sorted({place_of(MINI_RECIPES[name].language_model)[0] for name in waiting})
    except CheckpointError as error:
        fault, _, remedy = str(error).partition("; ")
        return Finding("mini", "NOTE", f"no mini model can be made here: {fault}", remedy or AGAIN)
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free, needed = shutil.disk_usage(there).free, MINI_DISK * len(waiting)
    remedy = f"free {needed / 1e9:.0f} GB there, or set {CACHE_VARIABLE} to a folder with that much room"
    if not os.access(there, os.W_OK):
        return Finding("mini", "NOTE", f"the cache {cache} cannot be written to", remedy.partition(", or ")[2])
    detail = f"{', '.join(waiting)}: assembled at first use in {cache}, {free / 1e9:.1f} GB free"
    if free < needed:
        return Finding("mini", "NOTE", detail, remedy)
    return Finding("mini", "OK", f"{detail}; language model from {', '.join(places)}")


def jupyter() -> Finding:
    """The notebooks can be opened and run."""
    missing = []
    for name in JUPYTER:
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        remedy = "make setup, or: pip install 'steer-utils[course]'"
        return Finding("jupyter", "FAIL", f"{', '.join(missing)} cannot be imported", remedy)
    return Finding("jupyter", "OK", f"jupyterlab {metadata.version('jupyterlab')}; open the course with: make lab")


def gpu() -> Finding:
    """A GPU is only needed for a full-size checkpoint."""
    import torch

    from steer_utils.lm.environment import gpu_fault

    if fault := gpu_fault():
        return Finding("gpu", "NOTE", fault.partition(": ")[0], f"{fault.partition(': ')[2]}; the course needs no GPU")
    if not torch.cuda.is_available():
        return Finding("gpu", "NOTE", "none; the course does not need one, a 7B checkpoint does (see steer-utils cost)")
    device = torch.cuda.get_device_properties(0)
    detail = f"{device.name}, {device.total_memory / 1e9:.0f} GB"
    for needed, way in CHECKPOINT_MEMORY:
        if device.total_memory >= needed:
            return Finding("gpu", "OK", f"{detail}: enough for a 7B checkpoint {way}")
    return Finding("gpu", "NOTE", f"{detail}; a 7B checkpoint {way} wants {needed / 1e9:.0f} GB")


# -- what they look at -----------------------------------------------------------------------------------------------
def installed_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _split(requirement: str) -> tuple[str, str]:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return name[0], requirement[name.end() :].split(";")[0].strip()


def _within(version: str, bounds: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(bounds).contains(version, prereleases=True)
