"""Short trainings that differ in one thing each: which part of the training makes steering work, and where?

Three questions, each answered by models trained alike but for one number:

    focus   how often must a model meet focus instructions until a prompt alone moves its attention?
    local   does it matter that audio tokens mostly see only themselves inside the decoder in training?
    blocks  does a deeper decoder look at the audio later, as 7B models do?

All share one frozen tower and one corpus of procedural scenes. They are short (a fraction of a shipped model's
training), so only their differences mean something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.models import AudioLM
from steer_utils.methods.tuning import Candidate, Tuned, tune
from steer_utils.pocket.architecture import build
from steer_utils.pocket.card import gap_text
from steer_utils.pocket.commands import (
    POCKET_SETTINGS,
    PROMPT_QUESTIONS,
    progress_bar,
    recipe_key,
    tower_key,
    training_material,
)
from steer_utils.pocket.corpus import HeardScenes, SceneSource
from steer_utils.pocket.evaluation import evaluate
from steer_utils.pocket.recipe import DEVELOPMENT_EVENTS, RECIPES, LanguageStage, Recipe
from steer_utils.pocket.training import Progress, hear_corpus, train_encoder, train_language
from steer_utils.sound.files import read_json, write_json, write_whole
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.tables import markdown_parts, markdown_table
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import report_dict
from steer_utils.study.resume import Progress as StudyProgress

#: Long enough for descriptions by name to come right: a quarter of this (500 steps of 12 scenes with 6 questions) lists
#: 91 % of scenes exactly, but describes 24 % of the named events, and its attention is near chance whatever is changed.
SHORT = LanguageStage(scenes=6000, steps=800)
METHODS = ("steering", "prompting", "prompting-best", "unsteered")
COMPARISON_HEADS = (
    "training",
    "listing exact",
    "focused description",
    "steering",
    "prompting, same question",
    "prompting, its best question",
    "steering minus prompting (95 %)",
)


@dataclass(frozen=True)
class Variant:
    """A training and what it is there to show. `question` is focus, local or blocks; "" for the common reference."""

    name: str
    question: str
    recipe: Recipe


def variants(base: Recipe, stage: LanguageStage = SHORT) -> list[Variant]:
    """The reference and one variant a changed number."""
    base = replace(base, language=stage)

    def focused(share: float) -> Recipe:
        return replace(base, language=replace(stage, mix=replace(stage.mix, focus=share)))

    return [
        Variant("reference", "", base),
        Variant("focus 1 %", "focus", focused(0.01)),
        Variant("focus 45 %", "focus", focused(0.45)),
        Variant("10 blocks", "blocks", replace(base, size=replace(base.size, blocks=10))),
        Variant("local 0 %", "local", replace(base, language=replace(stage, local_audio=0.0))),
    ]


def ablate(
    *,
    clips: Path | None,
    work: Path,
    out: Path,
    base: Recipe = RECIPES["pocket-qwen2-audio"],
    stage: LanguageStage = SHORT,
    scenes: int = 100,
    tuning_scenes: int = 40,
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train and measure every variant, write `out` (json) and the page beside it (.md); the page's path.

    Resumable: checkpoints are in `work` (the tower is that of `train`), a variant measured is in `out` and is not
    made again. Cost on two cores: about a quarter of an hour a variant, ten blocks nearly twice that.
    """
    base, bank, recorded = training_material(base, clips)
    tower = Progress(work / f"tower-{tower_key(base, recorded)}", workers=workers, quiet=quiet)

    @cache
    def heard() -> HeardScenes:
        model, processor = _built(base, tower, bank)
        procedural = replace(base, recordings=0.0, language=stage)
        return hear_corpus(model, processor, SceneSource(procedural, None), tower)

    measured = _read(out)
    for variant in variants(base, stage):
        key = recipe_key(variant.recipe, recorded)
        if measured.get(variant.name, {}).get("recipe_key") == key:
            continue
        model, processor = _built(variant.recipe, tower, bank)
        train_language(model, processor, variant.recipe, heard, replace(tower, folder=work / f"ablation-{key}"))
        lm = AudioLM(model.eval(), processor, FAMILIES[base.family], variant.name, revision=key, events=base.events)
        measured[variant.name] = {
            "recipe_key": key,
            "question": variant.question,
            "language": asdict(variant.recipe.language),
            "blocks": variant.recipe.size.blocks,
            **_measured(lm, scenes, tuning_scenes, quiet),
        }
        write_json(out, measured, indent=1)
    page = out.with_suffix(".md")
    write_whole(page, ablation_page(measured))
    return page


def _built(recipe: Recipe, tower: Progress, bank: ClipBank | None) -> tuple[Any, Any]:
    """A new model with the trained tower in it (trained now, if it is not there yet)."""
    model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)
    train_encoder(model, processor, SceneSource(recipe, bank), tower)
    return model, processor


def _read(out: Path) -> dict[str, Any]:
    return dict(read_json(out)) if out.is_file() else {}


def _measured(lm: AudioLM, scenes: int, tuning_scenes: int, quiet: bool) -> dict[str, Any]:
    def bar(label: str) -> StudyProgress:
        return progress_bar(f"{lm.name}: {label}", quiet)

    names = [event for event in DEVELOPMENT_EVENTS if event in (lm.events or ())]
    tuned = tune(
        lm,
        names,
        start=POCKET_SETTINGS,
        scenes=tuning_scenes,
        prompt_questions=PROMPT_QUESTIONS,
        progress=bar("settings"),
    )
    answers = evaluate(lm, scenes=scenes, progress=bar("answers"))
    table = run_benchmark(
        lm, scene_set(lm, tuned.settings, count=scenes, seed=7), tuned.settings, methods=METHODS, progress=bar("where")
    )
    where = report_dict(table)
    return {
        "settings": asdict(tuned.settings),
        "norm_ratio": [round(float(ratio), 3) for ratio in tuned.norm_ratio],
        "by_block_read": _best(tuned, lambda candidate: candidate.read_blocks, lm.num_blocks),
        "by_block_steered": _best(tuned, lambda candidate: candidate.blocks, lm.num_blocks),
        "listing": float(answers.loc[answers["kind"] == "listing", "right"].iloc[0]),
        "focused": float(answers.loc[answers["kind"] == "focused", "right"].iloc[0]),
        "rows": [row for row in where["rows"] if row["slot"] == "all"],
        "steering_minus": where["steering_minus"],
    }


def _best(tuned: Tuned, blocks_of: Callable[[Candidate], Sequence[int]], num_blocks: int) -> list[float | None]:
    """For each block: the best development overlap of the candidates that read (or steer) this block alone."""
    return [
        max(
            (round(best, 3) for candidate, best in tuned.overlaps.items() if tuple(blocks_of(candidate)) == (block,)),
            default=None,
        )
        for block in range(num_blocks)
    ]


def ablation_page(measured: dict[str, Any]) -> str:
    """What `ablate` measured, as a page in Markdown."""
    first = next(iter(measured.values()))
    language, n = first["language"], first["rows"][0]["n"]
    answered, by_block = [], []
    for name, result in measured.items():
        overlaps = {row["method"]: row["overlap"] for row in result["rows"]}
        answered.append(
            [
                name,
                f"{result['listing']:.0%}",
                f"{result['focused']:.0%}",
                *(f"{overlaps[method]:.1%}" for method in METHODS[:3]),
                gap_text(result["steering_minus"]["prompting"]),
            ]
        )
        bests = (
            " ".join("-" if overlap is None else f"{100 * overlap:.0f}" for overlap in result[key])
            for key in ("by_block_read", "by_block_steered")
        )
        by_block.append([name, " ".join(f"{ratio:.2f}" for ratio in result["norm_ratio"]), *bests])
    missing = [variant.name for variant in variants(RECIPES["pocket-qwen2-audio"]) if variant.name not in measured]
    parts = (
        "# Which part of the training makes steering work?",
        f"Short trainings ({language['steps']} steps of {language['batch']} scenes with {language['turns']} questions, "
        f"one frozen tower, procedural scenes), alike but for the number named; measured on {n} queries of classes "
        "on which no setting was chosen. Only differences between these rows mean something: the models that ship "
        "were trained longer. And each row is one training: two trainings by the same recipe can lie as far apart "
        "(docs/results.md, *One training is one draw*), so a difference here is a hint and no proof. A training that "
        "describes few named events right has not learnt to follow an instruction yet: its other columns say nothing "
        "about the question. Written by `steer-utils pocket ablate`.",
        markdown_table(COMPARISON_HEADS, answered),
        f"Not run yet: {', '.join(missing)}." if missing else "",
        "Best overlap on the development classes when one block alone is read, or one block alone is steered "
        "(the last block moves no attention):",
        markdown_table(("training", "‖v‖/‖h‖ by block", "one block read", "one block steered"), by_block),
    )
    return markdown_parts(*parts) + "\n"
