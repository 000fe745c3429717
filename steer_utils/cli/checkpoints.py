"""A checkpoint of one's own: `verify` that it does here what plain transformers does with it, `tune` settings for it,
`contribute` what was measured. Mounted by `cli.main`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from steer_utils.cli.console import note, progress
from steer_utils.cli.options import (
    Clips,
    Device,
    Dtype,
    Json,
    Own,
    Quantise,
    Revision,
    check_scenes,
    open_bank,
    open_model,
    read_settings,
    tuned_file,
)

checkpoints_app = typer.Typer()

Named = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or a model that ships.")]


@checkpoints_app.command()
def verify(
    model: Named,
    seconds: Annotated[float, typer.Option(help="Length of the audio that is used.")] = 5.0,
    out: Annotated[Path | None, typer.Option(help="Write the report as .json.")] = None,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Check that a checkpoint is read rightly on this machine.

    Compares what the library reads with plain transformers: where the audio stands in the prompt, attention rows,
    logits, a steered row and an answer; and measures memory and seconds. Run it once on a checkpoint before you trust
    figures of it. Exit code 0: all is OK; 1: something is off, and the report says what.

    Example: steer-utils verify Qwen/Qwen2-Audio-7B-Instruct --out verify.json
    """
    from steer_utils.sound.files import check_target, write_whole

    if out is not None:
        check_target(out, (".json",))
    if not seconds >= 1.0:
        raise ValueError(f"seconds is {seconds}; pass at least 1")
    lm = open_model(model, device, dtype, revision, quantise)
    from steer_utils.lm.verification import verify as compare

    report = compare(lm, seconds=seconds)
    if out is not None:
        write_whole(out, json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n")
        note(f"the report is in {out}")
    typer.echo(json.dumps(report.as_dict(), allow_nan=False) if as_json else report.text())
    if not report.ok:
        raise typer.Exit(1)


@checkpoints_app.command()
def tune(
    model: Named,
    clips: Clips = None,
    events: Annotated[
        str | None, typer.Option(help="Development classes, separated by commas; else every second one of those there.")
    ] = None,
    scenes: Annotated[int, typer.Option(help="How many three-event scenes, of 17 s at most.")] = 60,
    seed: Annotated[int, typer.Option(help="What the scenes follow from.")] = 1000,
    strengths: Annotated[str, typer.Option(help="Strengths to try, separated by commas.")] = "1,2,4,8,16",
    settings: Own = None,
    out: Annotated[
        Path | None, typer.Option(help="The settings file, .json; else NAME.settings.json in this folder.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Choose settings for a model on development classes.

    Strength, blocks, norm, read-out and heads of steering, the question that its vector is made before (on a few of the
    scenes; pocket models keep theirs), and blocks and questions of its baselines. The file goes
    where your benchmark will write: `steer-utils benchmark` and `analyse` use NAME.settings.json in the folder of their
    --out, and leave its classes out. Says first how many hours it may take. When it is cut off, the same command goes
    on where it stopped.

    Example: steer-utils tune Qwen/Qwen2-Audio-7B-Instruct --clips data/ESC-50 --scenes 60
    """
    from steer_utils.sound.files import check_target

    target = tuned_file(model, None) if out is None else out
    check_target(target, (".json",))
    check_scenes(scenes, seed)
    tried = _numbers(strengths)
    given, bank = read_settings(settings), open_bank(clips)
    lm = open_model(model, device, dtype, revision, quantise)
    from dataclasses import replace

    from steer_utils.lm.blocks import blocks_text
    from steer_utils.methods.settings import model_settings
    from steer_utils.methods.tuning import (
        QUESTIONS,
        candidates_steered,
        choose_vector_question,
        select_heads,
        tuning_hours,
    )
    from steer_utils.methods.tuning import tune as choose
    from steer_utils.study.benchmark import scene_set

    start = replace(given or model_settings(lm), chosen_on={})
    whole = scene_set(lm, start, count=scenes, seed=seed, clips=bank)
    names = _development(events, whole.maker.names)
    hours, rows = tuning_hours(
        lm, names, scenes=scenes, strengths=tried, questions=len(QUESTIONS), clips=whole.maker.clips
    )
    few, fewer = min(scenes, 8), tried[:: max(1, len(tried) // 2)][:2]  # to choose the vector's question on
    asked = [] if lm.events is not None else list(dict.fromkeys((start.contrast_question, *QUESTIONS)))
    more = 3 * few * len(asked) * (len(candidates_steered(lm.num_blocks, fewer)) + 3)
    hours, rows = hours * (rows + more) / rows, rows + more
    sounds = whole.as_dict()["sounds"]
    note(f"development classes: {', '.join(names)} ({sounds})")
    length = whole.maker.seconds[1]
    note(f"about {hours:.2g} hours on {lm.device}: {rows} rows, and heads, in {scenes} scenes of {length:g} s")
    resume_file = target.with_name(f".{target.stem}.partial.safetensors")
    reached: dict[str, float] = {}
    try:
        if asked:
            start, reached = choose_vector_question(
                lm,
                names,
                start,
                asked,
                scenes=few,
                seed=seed,
                strengths=fewer,
                clips=whole.maker.clips,
                resume_file=resume_file,
                progress=lambda indices: progress(indices, "scene, the vector's question"),
            )
        tuned = choose(
            lm,
            names,
            start=start,
            scenes=scenes,
            seed=seed,
            strengths=tried,
            prompt_questions=QUESTIONS,
            clips=whole.maker.clips,
            resume_file=resume_file,
            progress=lambda indices: progress(indices, "scene"),
        )
        chosen = select_heads(
            lm,
            names,
            tuned.settings,
            scenes,
            seed=seed,
            clips=whole.maker.clips,
            progress=lambda indices: progress(indices, "scene, heads"),
        )
    except KeyboardInterrupt:
        note("stopped: the same command goes on from here")
        raise typer.Exit(130) from None
    facts = {"model": Path(lm.name).name, "revision": lm.revision, "sounds": sounds, "seconds": length}
    if reached:
        facts["vector_questions"] = reached
    replace(chosen, chosen_on={**chosen.chosen_on, **facts}).save(target)
    for number in range(len(asked)):
        resume_file.with_suffix(f".{number}{resume_file.suffix}").unlink(missing_ok=True)
    resume_file.unlink(missing_ok=True)
    typer.echo(
        f"{target}: strength {chosen.strength:g} at block {blocks_text(chosen.blocks or ())}, norm "
        f"{'kept' if chosen.keep_norm else 'free'}, {chosen.read} read in {blocks_text(chosen.read_blocks or ())}\n"
        f"overlap on the development classes: steering {100 * chosen.chosen_on['overlap']:.1f} %, prompting "
        f"{100 * chosen.chosen_on['prompting_best']:.1f} %, unsteered {100 * chosen.chosen_on['unsteered']:.1f} %"
    )


@checkpoints_app.command()
def contribute(
    table: Annotated[Path, typer.Argument(metavar="RUN", help="The .parquet of steer-utils benchmark --out.")],
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The .json of steer-utils verify --out.")],
    name: Annotated[str, typer.Option(help="What the run is called, such as qwen2-audio-nf4.")],
    folder: Annotated[Path | None, typer.Option("--into", help="Another folder than the project's results/.")] = None,
) -> None:
    """Put a run of a published checkpoint into results/.

    Checks that the table and the report are of one checkpoint and one commit, that nothing private is in them, and
    leaves out curves and answers. The tables of docs/results.md and of lesson 07 then show it.

    Example: steer-utils contribute run.parquet verify.json --name qwen2-audio-nf4
    """
    from steer_utils.study.contributed import RESULTS
    from steer_utils.study.contributed import contribute as put

    run = put(table, report, name, RESULTS if folder is None else folder)
    note(f"in {RESULTS if folder is None else folder} now: {run.title}")


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"strengths is {text!r}; pass numbers separated by commas, such as 1,2,4")
    return numbers


def _development(events: str | None, known: Sequence[str]) -> list[str]:
    """The classes to choose on. Raises ValueError unless three are named and three are left to test on."""
    names = list(known[::2]) if events is None else [name.strip() for name in events.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"events has {', '.join(unknown)}; there are: {', '.join(known)}")
    if len(set(names)) != len(names) or min(len(names), len(known) - len(names)) < 3:
        raise ValueError(
            f"{len(names)} of {len(known)} classes to choose on ({', '.join(names)}); name three or more, each once, "
            "and leave three to test on"
        )
    return names
