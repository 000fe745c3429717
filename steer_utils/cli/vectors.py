"""Steering vectors as files: make one by `contrast`, `convert` it. Mounted by `cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note
from steer_utils.cli.options import Device, Dtype, Model, Quantise, Revision, open_model
from steer_utils.lm.blocks import parse_blocks

if TYPE_CHECKING:
    from steer_utils.lm.vectors import SteeringVector

VECTOR_SUFFIXES = (".safetensors", ".gguf")

vectors_app = typer.Typer()

Blocks = Annotated[str | None, typer.Option(help="Keep these decoder blocks only, counted from 0: such as 1-5 or 2,4.")]


@vectors_app.command()
def contrast(
    audio: Annotated[Path, typer.Argument(help="A sound file, no longer than the model hears in one go.")],
    positive: Annotated[str, typer.Argument(help='The instruction to steer towards: "Focus on the dog bark."')],
    negative: Annotated[str, typer.Argument(help='The one to steer away from: "Listen to the whole audio."')],
    out: Annotated[Path, typer.Option(help="Where the vector goes, as .safetensors or .gguf.")],
    prompt: Annotated[str, typer.Option(help='A question after both, such as "Describe the sound."')] = "",
    blocks: Blocks = None,
    model: Model = "pocket-qwen2-audio",
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Make a steering vector from two instructions.

    It is the difference of their states over one audio, block by block: v_l = h_l(audio, positive) - h_l(audio,
    negative), at the last prompt token. Prints its norm in each block.

    Example: steer-utils contrast street.wav "Focus on the dog bark." "Listen to the whole audio." --out dog.safetensors
    """
    if not positive.strip() or not negative.strip():
        raise ValueError("a contrast needs two instructions; one of them is empty")
    kept = None if blocks is None else parse_blocks(blocks)
    _check_vector_target(out)
    if out.suffix.lower() == ".gguf" and (kept is None or 0 in kept):
        raise ValueError("GGUF has no direction for block 0: pass --blocks without it, such as --blocks 1-5")
    from steer_utils.sound.audio import read_recording

    recording = read_recording(audio)  # before the model is loaded, which can take minutes
    for warning in recording.warnings:
        note(warning)
    lm = open_model(model, device, dtype, revision, quantise)
    hearing = lm.hear(recording.samples, sampling_rate=recording.rate)
    vector = hearing.contrast(positive, negative, prompt=prompt)
    _write_vector(vector if kept is None else vector.select(kept), out)


@vectors_app.command()
def convert(
    vector: Annotated[Path, typer.Argument(help="A steering vector, .safetensors or .gguf.")],
    out: Annotated[Path, typer.Argument(help="Where it goes, as .safetensors or .gguf.")],
    blocks: Blocks = None,
    num_blocks: Annotated[
        int | None, typer.Option(help="How many decoder blocks the model has, for a .gguf that does not say.")
    ] = None,
) -> None:
    """Convert a steering vector between safetensors and GGUF.

    GGUF has the control vectors of llama.cpp and repeng: direction.N is added to the output of decoder block N. Block 0
    has no direction there: leave it out with --blocks. Prints the norm of the vector in each block.

    Example: steer-utils convert dog.safetensors dog.gguf --blocks 1-5

    Example: steer-utils convert happy.gguf happy.safetensors --num-blocks 32
    """
    kept = None if blocks is None else parse_blocks(blocks)
    _check_vector_target(out)
    read = _read_vector(vector, num_blocks)
    _write_vector(read if kept is None else read.select(kept), out)


def _check_vector_target(path: Path) -> None:
    from steer_utils.sound.files import check_target

    check_target(path, VECTOR_SUFFIXES)
    if path.suffix.lower() == ".gguf":
        from steer_utils.lm.gguf_vectors import check_gguf_target

        check_gguf_target(path)


def _read_vector(path: Path, num_blocks: int | None) -> SteeringVector:
    if path.suffix.lower() not in VECTOR_SUFFIXES:
        raise ValueError(f"{str(path)!r} is no vector file; its name must end in {' or '.join(VECTOR_SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    from steer_utils.lm.gguf_vectors import from_gguf
    from steer_utils.lm.vectors import SteeringVector

    if path.suffix.lower() == ".gguf":
        return from_gguf(path, num_blocks=num_blocks)
    if num_blocks is not None:
        raise ValueError("--num-blocks is for a .gguf; a .safetensors says how many blocks its model has")
    return SteeringVector.load(path)


def _write_vector(vector: SteeringVector, path: Path) -> None:
    """Write it by the ending of the name, and print what it is, also where the disk is full."""
    try:
        if path.suffix.lower() == ".gguf":
            from steer_utils.lm.gguf_vectors import to_gguf

            to_gguf(vector, path)
        else:
            vector.save(path)
    except OSError:
        _print_vector(vector, path)
        raise
    _print_vector(vector, path)


def _print_vector(vector: SteeringVector, path: Path) -> None:
    acting = vector.acting_blocks()
    typer.echo(f"{path}: {vector.num_blocks} blocks of width {vector.hidden_size}, acting on {len(acting)} of them")
    typer.echo(f"recipe: {vector.provenance.recipe}")
    known = bool((vector.hidden_norms != 1).any())  # a .gguf of others does not say how long the model's states are
    typer.echo("block       norm" + ("   of the state's norm" if known else ""))
    for block, norm, ratio in zip(range(vector.num_blocks), vector.norms(), vector.norm_ratio(), strict=True):
        share = f" {ratio:21.2f}" if known else ""
        typer.echo(f"{block:5d} {norm:10.4g}{share}" if block in acting else f"{block:5d}          -")
