"""Where a steering vector came from: written into its file, and carried through its algebra."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import metadata


@dataclass(frozen=True)
class Provenance:
    """Where a vector came from. A vector made of others keeps what they share; `recipe` says how it was made."""

    model: str | None = None
    family: str | None = None
    revision: str | None = None
    positive: str | None = None
    negative: str | None = None
    positions: str | None = None
    recipe: str = "v"
    versions: dict[str, str] = field(default_factory=dict)

    def shared(self, other: Provenance, recipe: str) -> Provenance:
        """What both have in common, under a new recipe."""
        names = ("model", "family", "revision", "positive", "negative", "positions")
        kept = {name: getattr(self, name) for name in names if getattr(self, name) == getattr(other, name)}
        return Provenance(**kept, recipe=recipe, versions=self.versions if self.versions == other.versions else {})


def library_versions() -> dict[str, str]:
    """The installed versions that a vector depends on, for `Provenance.versions`."""
    return {package: _installed(package) for package in ("steer-utils", "transformers", "torch")}


@cache  # reading package metadata took an eighth of a contrast's time
def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"
