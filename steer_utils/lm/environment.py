"""What this process runs on: how many cores it may use, and which versions of packages are installed."""

from __future__ import annotations

import os
from functools import cache
from importlib import metadata


def usable_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


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
