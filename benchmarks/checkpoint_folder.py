"""A folder of a published checkpoint's full size, opened in nf4 and located in by the command line, on a CPU.

The folder (Qwen2-Audio's, 16.8 GB of random numbers in bfloat16, a gigabyte a file) is written tensor by tensor, then
`steer-utils locate` runs on it as a user runs it, and its memory is looked at meanwhile. What the process holds itself
(anonymous memory) is told apart from pages of the weight files, which the system may drop at any time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from benchmarks.common import Options, Result, main, rounded, say, verdict
from benchmarks.shapes import SAMPLING_RATE, TINY, Shape, config_and_processor
from steer_utils.lm.families import FAMILIES, full_size_config
from steer_utils.pocket.architecture import sinusoids

CLAIM = "a checkpoint folder of full size (random weights) is opened in nf4 and located in, on a CPU"
TARGET = "never the whole in 16 bit (16.8 GB): at most 12 GB at the peak, pages of the weight files included"
MOST_BYTES = 12e9
FAMILY = "qwen2_audio"
SECONDS = 30
RUN = "from steer_utils.cli.main import main; main()"


def shape(options: Options) -> Shape:
    """Every block and the whole vocabulary of the published checkpoint; tiny in a smoke run."""
    if options.smoke:
        return Shape(FAMILY, 3, 1, 4, narrow=TINY)
    config = full_size_config(FAMILY)
    blocks, tower_blocks = config.text_config.num_hidden_layers, config.audio_config.num_hidden_layers
    return Shape(FAMILY, blocks, tower_blocks, SECONDS, vocabulary=config.text_config.vocab_size)


def write_folder(folder: Path, shape: Shape) -> int:
    """A random checkpoint in bfloat16, as `save_pretrained` would leave it; how many parameters it has.

    No more than one file of it is in memory at a time. Matrices are normal with the deviation that transformers
    initialises them with; keys and queries are sharper, so that attention is not flat.
    """
    config, processor = config_and_processor(shape)
    with torch.device("meta"):
        outline = getattr(transformers, FAMILIES[shape.family].model_class)(config).to(torch.bfloat16)
    random = torch.Generator().manual_seed(shape.seed)
    sharper = max(1.0, 64 / config.text_config.hidden_size**0.5)
    tensors = outline.state_dict()
    shards = split_torch_state_dict_into_shards(tensors, max_shard_size="1GB")
    for file, names in shards.filename_to_tensors.items():
        save_file(
            {name: _numbers(name, tensors[name].shape, sharper, random) for name in names},
            folder / file,
            metadata={"format": "pt"},
        )
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.dtype = torch.bfloat16
    config.architectures = [type(outline).__name__]
    config.save_pretrained(folder)
    outline.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    outline.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    outline.generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(parameter.numel() for parameter in outline.parameters())


def _numbers(name: str, size: torch.Size, sharper: float, random: torch.Generator) -> torch.Tensor:
    if name.endswith("embed_positions.weight"):
        return sinusoids(*size).to(torch.bfloat16)
    if len(size) == 1:
        return torch.full(size, float("norm" in name and name.endswith("weight")), dtype=torch.bfloat16)
    scale = 0.02 * (sharper if "language_model" in name and ("q_proj" in name or "k_proj" in name) else 1.0)
    return torch.empty(size, dtype=torch.bfloat16).normal_(0, scale, generator=random)


def watched(command: list[str]) -> dict[str, Any]:
    """Run it, and look at its memory five times a second: what it printed, seconds on the clock and of processor, peaks
    in bytes.

    Raises RuntimeError if it fails.
    """
    peaks = {"RssAnon": 0, "VmRSS": 0}
    start, before = time.perf_counter(), _processor_seconds()
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=told, stderr=errors, text=True)
        while process.poll() is None:
            for line in _status(process.pid):
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], 1024 * int(value.split()[0]))
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        for file in (told, errors):
            file.seek(0)
        if process.returncode:
            raise RuntimeError(f"the process ended with exit code {process.returncode}: {errors.read()[-500:]}")
        return {
            "told": told.read(),
            "seconds": seconds,
            "processor": _processor_seconds() - before,
            "own": peaks["RssAnon"],
            "with_files": peaks["VmRSS"],
        }


def _processor_seconds() -> float:
    """Of the processes that were started here and have ended."""
    used = os.times()
    return used.children_user + used.children_system


def _status(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has just ended, or the system has no such file
        return []


def located(folder: Path, seconds: int, *options: str) -> dict[str, Any]:
    """`steer-utils locate` in so many seconds of noise with a tone in their second half."""
    audio = folder / "sound.wav"
    samples = 0.05 * np.random.default_rng(0).normal(size=seconds * SAMPLING_RATE)
    samples[len(samples) // 2 :] += 0.3 * np.sin(np.arange(len(samples) // 2) / 5)
    soundfile.write(audio, samples, SAMPLING_RATE)
    command = [sys.executable, "-c", RUN, "locate", str(audio), "dog bark", "--model", str(folder)]
    seen = watched([*command, "--device", "cpu", "--json", *options])
    return {
        "seconds": rounded(seen["seconds"]),
        "processor_s": rounded(seen["processor"]),
        "own_gb": rounded(seen["own"] / 1e9),
        "with_files_gb": rounded(seen["with_files"] / 1e9),
        "found": json.loads(seen["told"]),
    }


def measure(options: Options) -> Result:
    cases, missing = [], dict[str, str]()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        say("checkpoint_folder: writing")
        parameters = write_folder(folder, shape(options))
        quantise = find_spec("bitsandbytes") is not None
        if not quantise:
            missing["nf4"] = "the package bitsandbytes is not installed: pip install bitsandbytes"
        quantise = quantise and not options.smoke  # its kernels for CPUs do not take a matrix as narrow as a tiny one's
        numbers = "nf4" if quantise else "bfloat16"
        say(f"checkpoint_folder: {numbers}")
        ways = ["--quantise", "nf4"] if quantise else ["--dtype", "bfloat16"]
        seen = located(folder, 4 if options.smoke else SECONDS, *ways)
        cases.append({"numbers": numbers, "parameters": parameters, **seen})
    return Result(
        script="checkpoint_folder",
        claim=CLAIM,
        target=TARGET,
        measured=f"{numbers}: {parameters / 1e9:.2f} billion parameters, {seen['with_files_gb']:.3g} GB at the peak "
        f"({seen['own_gb']:.3g} without pages of the weight files), {seen['seconds']:.3g} s with loading",
        met=verdict(options, quantise and 1e9 * seen["with_files_gb"] <= MOST_BYTES),
        cases=cases,
        missing=missing,
        notes=["needs 17 GB of disk where temporary files go (TMPDIR)"],
    )


if __name__ == "__main__":
    main(measure)
