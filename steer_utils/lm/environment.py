"""What this process runs on: cores, a GPU that torch cannot use, and versions of installed packages."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib import metadata
from shutil import which
from subprocess import SubprocessError, run


def usable_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


GET_TORCH = "https://pytorch.org/get-started/locally"


def gpu_fault() -> str | None:
    """Why torch cannot use the NVIDIA GPU of this machine, and what to do; None if it can, there is none, or it was
    hidden on purpose (CUDA_VISIBLE_DEVICES)."""
    import torch

    if torch.cuda.is_available():
        capability = torch.cuda.get_device_capability(0)
        kinds = torch.cuda.get_arch_list()
        if torch.version.hip or not kinds or any(_runs(kind, capability) for kind in kinds):
            return None
        name = torch.cuda.get_device_name(0)
        return (
            f"torch {torch.__version__} has no code for {name} (sm_{capability[0]}{capability[1]}; it has "
            f"{', '.join(kinds)}): install a torch built for it, an older one for an older GPU ({GET_TORCH})"
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return None
    gpus = _nvidia_gpus()
    if not gpus:
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA and cannot use {gpus[0]}: install one from {GET_TORCH}"
    return (
        f"torch {torch.__version__} is built for CUDA {torch.version.cuda} and cannot use {gpus[0]}: update the NVIDIA "
        f"driver, or install a torch for an older CUDA ({GET_TORCH})"
    )


def _runs(kind: str, capability: tuple[int, int]) -> bool:
    """Whether code of a kind that torch was built for, "sm_86" or "compute_90" (which is compiled when it is needed),
    runs on a GPU of this capability."""
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", kind)
    if match is None:
        return False
    built = int(match[2]), int(match[3])
    if match[4] == "a":
        return built == capability
    return built <= capability and (built[0] == capability[0] or match[1] == "compute")


@cache
def _nvidia_gpus() -> list[str]:
    """What the driver's own program lists, such as "Tesla T4"; nothing where it is not there or does not answer."""
    program = which("nvidia-smi")
    try:
        listed = run([program, "-L"], capture_output=True, text=True, timeout=10).stdout if program else ""
    except (OSError, SubprocessError):
        return []
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", listed, flags=re.MULTILINE)


@cache  # reading package metadata took an eighth of a contrast's time
def installed_version(package: str) -> str:
    """The version of a package, or "not installed as a package"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def library_versions() -> dict[str, str]:
    """The installed versions that a vector or a result depends on."""
    return {package: installed_version(package) for package in ("steer-utils", "transformers", "torch")}
