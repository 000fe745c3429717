"""What transformers calls the key/value cache: `past_key_values` up to 5.23, `cache` from 5.24 on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import transformers
from transformers.modeling_outputs import BaseModelOutputWithPast

#: The argument of a forward or of `generate`, and the field of its output.
CACHE = "cache" if "cache" in {field.name for field in fields(BaseModelOutputWithPast)} else "past_key_values"


def cache_of(arguments: Mapping[str, Any]) -> Any:
    """The cache among the keyword arguments of a decoder's block; None: it was called without one.

    Raises RuntimeError where neither name is there: how far the sequence has come could then only be guessed.
    """
    if CACHE not in arguments:
        raise RuntimeError(
            f"transformers {transformers.__version__} calls the decoder's blocks without {CACHE}=, which says which "
            "tokens they see; install the version in requirements.lock"
        )
    return arguments[CACHE]
