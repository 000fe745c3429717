"""What leaves the project: `export` (intervals), `contrast` and `convert` (steering vectors). Mounted by `cli`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note
from steer_utils.cli.options import Device, Dtype, Model, open_model
from steer_utils.lm.blocks import parse_blocks

if TYPE_CHECKING:
    from steer_utils.lm.vectors import SteeringVector
    from steer_utils.sound.labels import Labelled

VECTOR_SUFFIXES = (".safetensors", ".gguf")

export_app = typer.Typer()

Blocks = Annotated[
    str | None, typer.Option(help="Keep these decoder blocks only, counted from 0: such as 1-5 or 2,4.")
]


@export_app.command()
def export(
    table: Annotated[Path, typer.Argument(help="What `benchmark` wrote with --out FILE.parquet.")],
    out: Annotated[Path, typer.Argument(help="The label file: .tsv (DCASE), .json, or, of one scene, .txt or .jams.")],
    method: Annotated[str, typer.Option(help="Whose intervals; a wrong name lists those of the run.")] = "steering",
    truth: Annotated[bool, typer.Option("--truth", help="Write the true intervals in place of found ones.")] = False,
    scene: Annotated[int | None, typer.Option(help="This scene alone, counted from 0.")] = None,
) -> None:
    """Write the intervals of a saved benchmark as labels for other tools: Audacity, DCASE, json or JAMS.

    Scene 12 goes by the file name scene_0012.wav, in the found and in the true labels alike.

    Example: steer-utils export run.parquet found.tsv --method steering

    Example: steer-utils export run.parquet truth.tsv --truth
    """
    from steer_utils.sound.files import check_target
    from steer_utils.sound.labels import SUFFIXES, found_intervals, of_scene, true_intervals, write_intervals

    check_target(out, SUFFIXES)
    from steer_utils.study.report import read_table

    saved = read_table(table)
    rows = saved if scene is None else of_scene(saved, scene)
    intervals = true_intervals(rows) if truth else found_intervals(rows, method)
    write_intervals(out, intervals, duration=_scene_seconds(saved.attrs["scenes"], intervals))
    typer.echo(f"{len(intervals)} intervals in {out}")
    if not truth and (lost := int((rows["method"] == method).sum()) - len(intervals)):
        note(f"{lost} of {lost + len(intervals)} answers named no time, and are left out")


def _scene_seconds(scenes: object, intervals: Sequence[Labelled]) -> float | None:
    """How long each scene of a run is, where all are of one length and no token at the end goes beyond it."""
    match scenes:
        case {"seconds": [float() as low, float() as high]} if low == high:
            return low if all(each.interval.end <= low for each in intervals) else None
    return None


@export_app.command()
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
) -> None:
    """Make a steering vector: the difference of two instructions over one audio, block by block.

    v_l = h_l(audio, positive) - h_l(audio, negative), at the last prompt token. Prints its norm in each block.

    Example: steer-utils contrast street.wav "Focus on the dog bark." "Listen to the whole audio." --out dog.safetensors
    """
    if not positive.strip() or not negative.strip():
        raise ValueError("a contrast needs two instructions; one of them is empty")
    kept = None if blocks is None else parse_blocks(blocks)
    _check_vector_target(out)
    if out.suffix.lower() == ".gguf" and (kept is None or 0 in kept):
        raise ValueError("GGUF has no direction for block 0: pass --blocks without it, such as --blocks 1-5")
    from steer_utils.sound.audio import TARGET_RATE, read_audio

    samples = read_audio(audio)  # before the model is loaded, which can take minutes
    lm = open_model(model, device, dtype)
    hearing = lm.hear(samples, sampling_rate=TARGET_RATE)
    vector = hearing.contrast(positive, negative, prompt=prompt)
    _write_vector(vector if kept is None else vector.select(kept), out)


@export_app.command()
def convert(
    vector: Annotated[Path, typer.Argument(help="A steering vector, .safetensors or .gguf.")],
    out: Annotated[Path, typer.Argument(help="Where it goes, as .safetensors or .gguf.")],
    blocks: Blocks = None,
    num_blocks: Annotated[
        int | None, typer.Option(help="How many decoder blocks the model has, for a .gguf that does not say.")
    ] = None,
) -> None:
    """Convert a steering vector between safetensors and GGUF, the control vectors of llama.cpp and repeng.

    direction.N of GGUF is added to the output of decoder block N. Block 0 has no direction there: leave it out with
    --blocks. Prints the norm of the vector in each block.

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
    """Write it by the ending of the name, then print what it is."""
    if path.suffix.lower() == ".gguf":
        from steer_utils.lm.gguf_vectors import to_gguf

        to_gguf(vector, path)
    else:
        vector.save(path)
    acting = vector.acting_blocks()
    typer.echo(f"{path}: {vector.num_blocks} blocks of width {vector.hidden_size}, acting on {len(acting)} of them")
    typer.echo(f"recipe: {vector.provenance.recipe}")
    known = bool((vector.hidden_norms != 1).any())  # a .gguf of others does not say how long the model's states are
    typer.echo("block       norm" + ("   of the state's norm" if known else ""))
    for block, norm, ratio in zip(range(vector.num_blocks), vector.norms(), vector.norm_ratio(), strict=True):
        share = f" {ratio:21.2f}" if known else ""
        typer.echo(f"{block:5d} {norm:10.4g}{share}" if block in acting else f"{block:5d}          -")
