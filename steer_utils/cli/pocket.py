"""`steer-utils pocket`: make and measure the small models. Mounted by `steer_utils.cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

pocket_app = typer.Typer(no_args_is_help=True, help="Make and measure the pocket models.")

Clips = Annotated[
    Path | None,
    typer.Option(help="Folder of recordings in ESC-10's form (audio files and one csv with folds)."),
]

Work = Annotated[Path, typer.Option(help="Finished scenes; the same command goes on after a kill.")]
Checkpoints = Annotated[Path, typer.Option(help="Checkpoints; the same command goes on after a kill.")]
Figures = Annotated[Path, typer.Option(help="Where the figures go (json); the page (.md) is written beside it.")]
RUNS = Path("runs/pocket")

Workers = Annotated[
    int | None, typer.Option(help="Processes that make scenes ahead [default: 1; none on two cores or fewer].")
]


@pocket_app.command()
def train(
    model: Annotated[str, typer.Option(help="Its name, which says what it is made like, as pocket-qwen2-audio.")],
    clips: Clips = None,
    work: Checkpoints = RUNS,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the model is saved [default: WORK/NAME, with what differs from its recipe]."),
    ] = None,
    shorten: Annotated[float, typer.Option(help="Scale steps and scenes, for a trial: 0.01 takes a minute.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="Train once more, the tower kept, by another seed [default: the recipe's own].")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Workers = None,
    language_model: Annotated[
        str | None, typer.Option(help="For a mini model: another language model than the recipe's, hub id or folder.")
    ] = None,
    tower: Annotated[
        str | None,
        typer.Option(help="For a mini model: whose encoder hears, a pocket model or a Whisper (hub id or folder)."),
    ] = None,
) -> None:
    """Train a pocket model from nothing (about an hour on two cores), with progress, checkpoints and resume.

    A mini model (mini-smollm2-audio) keeps its pretrained language model and learns a projector and adapters. A larger
    one, for a GPU (not run here): --tower openai/whisper-small --language-model Qwen/Qwen2.5-0.5B-Instruct

    Example: steer-utils pocket train --model pocket-qwen2-audio --clips ESC-10/
    """
    from steer_utils.lm.models import PICTURE_MODELS
    from steer_utils.pocket.commands import train as run_training
    from steer_utils.pocket.mini_commands import train_mini
    from steer_utils.pocket.mini_recipe import MINI_RECIPES
    from steer_utils.pocket.where_to_look import train_picture_model

    if model in PICTURE_MODELS:
        why = f"{model} {_OF_PICTURES}"
        _refuse(why, clips=clips, seed=seed, tower=tower, language_model=language_model, workers=workers)
        _refuse(why, device=None if device == "cpu" else device)
        folder = train_picture_model(model, work=work, out=out, shorten=shorten)
    elif model in MINI_RECIPES:
        folder = train_mini(
            model,
            clips=clips,
            work=work,
            out=out,
            shorten=shorten,
            seed=seed,
            device=device,
            workers=workers,
            language_model=language_model,
            tower=tower,
        )
    else:
        _refuse(f"{model} has no pretrained language model", language_model=language_model)
        _refuse(f"{model} trains a tower of its own", tower=tower)
        folder = run_training(
            model, clips=clips, work=work, out=out, shorten=shorten, seed=seed, device=device, workers=workers
        )
    typer.echo(f"saved in {folder}; measure it with: steer-utils pocket evaluate --model {folder}")


_OF_PICTURES = "sees pictures, which it makes itself, on the CPU"


def _refuse(why: str, **given: object) -> None:
    """An error for an option that a model has no use for: it would go unheard without a word."""
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(why, param_hint=f"--{name.replace('_', '-')}")


@pocket_app.command()
def evaluate(
    model: Annotated[
        list[str] | None, typer.Option(help="Pocket model or folder; may be repeated [default: all that ship].")
    ] = None,
    clips: Clips = None,
    work: Work = RUNS,
    scenes: Annotated[int, typer.Option(help="Three-event scenes of each kind.")] = 300,
    tuning_scenes: Annotated[
        int, typer.Option(help="Three-event scenes that settings are chosen on (with --only, 0: as declared).")
    ] = 60,
    answer_scenes: Annotated[
        int | None, typer.Option(help="Three-event scenes of each kind whose questions are answered [default: SCENES].")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Add this method's row to what was measured on the same scenes; may be repeated."),
    ] = None,
) -> None:
    """Choose settings on development classes, measure answers and localisation, and write the model card.

    With --only the rest stays as it is, and steering must come out as before.

    Example: steer-utils pocket evaluate --model pocket-qwen2-audio --clips ESC-10/
    """
    from steer_utils.lm.models import POCKET_MODELS, load
    from steer_utils.pocket.commands import measure
    from steer_utils.pocket.more_methods import measure_more
    from steer_utils.pocket.where_to_look import measure_pictures

    for name in model or POCKET_MODELS:
        if only:
            card = measure_more(name, only, clips=clips, work=work, scenes=scenes, tuning_scenes=tuning_scenes)
        elif load(name).family.medium == "image":
            _refuse(f"{name} {_OF_PICTURES}", clips=clips, answer_scenes=answer_scenes)
            card = measure_pictures(name, work=work, scenes=scenes, tuning_scenes=tuning_scenes)
        else:
            card = measure(
                name,
                clips=clips,
                work=work,
                scenes=scenes,
                tuning_scenes=tuning_scenes,
                answer_scenes=answer_scenes,
            )
        typer.echo(f"card written: {card}")


@pocket_app.command()
def analyse(
    model: Annotated[
        list[str] | None, typer.Option(help="Pocket model or folder; may be repeated [default: the two of the table].")
    ] = None,
    clips: Clips = None,
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("figures"),
    work: Work = RUNS,
    scenes: Annotated[int, typer.Option(help="Three-event scenes of each analysis.")] = 200,
    further: Annotated[
        int, typer.Option(help="Three-event scenes of each kind for the slower methods; 0 leaves them out.")
    ] = 50,
    only: Annotated[
        list[str] | None, typer.Option(help="One analysis, such as blocks; may be repeated [default: all].")
    ] = None,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Measure nothing; draw again the figures that analyses.json has all of.")
    ] = False,
) -> None:
    """Run every analysis and the slower methods, and write analyses.json and analyses.md beside the weights.

    Example: steer-utils pocket analyse --model pocket-qwen2-audio --clips ESC-10/

    Example: steer-utils pocket analyse --redraw
    """
    from steer_utils.lm.models import MAIN_MODELS
    from steer_utils.pocket.analyses import analyse
    from steer_utils.pocket.analyses import redraw as drawn_again

    for name in model or MAIN_MODELS:
        if redraw:
            pictures, lacking = drawn_again(name, figures=figures, only=only or ())
            typer.echo(f"{name}: {len(pictures)} figures drawn from analyses.json")
            if lacking:
                typer.echo(f"{name}: only a measurement can draw {', '.join(lacking)}")
            continue
        page = analyse(
            name, clips=clips, figures=figures, work=work, scenes=scenes, further_scenes=further, only=only or ()
        )
        typer.echo(f"page written: {page}")


@pocket_app.command()
def along(
    snapshots: Annotated[list[Path], typer.Argument(help="What was learnt at some steps: step-00050.safetensors ...")],
    model: Annotated[str, typer.Option(help="The mini model that was trained.")] = "mini-smollm2-audio",
    work: Work = RUNS,
    scenes: Annotated[int, typer.Option(help="Three-event scenes at each step.")] = 40,
) -> None:
    """When does it learn to be steered? Steering and prompting at each snapshot of a training, with its own settings.

    The snapshots are in the work folder of `pocket train`.

    Example: steer-utils pocket along runs/pocket/mini-smollm2-audio-*/step-*.safetensors
    """
    from steer_utils.pocket.mini_studies import over_steps

    typer.echo(f"page written: {over_steps(model, snapshots, work=work, scenes=scenes)}")


@pocket_app.command()
def between(
    trainings: Annotated[list[Path], typer.Argument(help="What other trainings learnt: seed2.safetensors ...")],
    model: Annotated[str, typer.Option(help="The mini model that the vectors are added to.")] = "mini-smollm2-audio",
    other: Annotated[
        list[str] | None, typer.Option(help="Another model; may be repeated [default: the twin and a pocket model].")
    ] = None,
    work: Work = RUNS,
    scenes: Annotated[int, typer.Option(help="Three-event scenes.")] = 40,
) -> None:
    """Do vectors of other trainings, and of other models, steer the model that ships?

    Example: steer-utils pocket between trainings/mini-smollm2-audio/seed*.safetensors
    """
    from steer_utils.pocket.mini_studies import between_trainings

    others = other or ["mini-smollm2-audio-flamingo", "pocket-qwen2-audio"]
    named = {path.stem: path for path in trainings}
    typer.echo(f"page written: {between_trainings(model, named, others=others, work=work, scenes=scenes)}")


@pocket_app.command()
def ablate(
    clips: Clips = None,
    work: Checkpoints = RUNS,
    out: Figures = RUNS / "ablations.json",
    workers: Workers = None,
) -> None:
    """Train short variants that differ in one number each, and measure what the change does to steering.

    Focus instructions in 1, 5 and 45 % of the questions, audio tokens that see each other, 6 and 10 decoder blocks.

    Example: steer-utils pocket ablate --clips ESC-10/
    """
    from steer_utils.pocket.ablation import ablate as run_ablations

    typer.echo(f"page written: {run_ablations(clips=clips, work=work, out=out, workers=workers)}")


@pocket_app.command()
def repeats(
    models: Annotated[list[str], typer.Argument(help="Measured pocket models, by name or folder.")],
    out: Figures = RUNS / "repeats.json",
    figures: Annotated[Path, typer.Option(help="Folder of the figure.")] = Path("figures"),
) -> None:
    """Set trainings by one recipe beside each other: how far apart do their figures lie?

    Train them with --seed and evaluate them first. What is in the file from before is kept.

    Example: steer-utils pocket repeats pocket-qwen2-audio runs/pocket/pocket-qwen2-audio-seed2
    """
    from steer_utils.lm.models import pocket_folder
    from steer_utils.pocket.repeats import compare_trainings

    page = compare_trainings([pocket_folder(model) or Path(model) for model in models], out, figures)
    typer.echo(f"page written: {page}")
