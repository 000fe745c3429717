"""The model card: what `steer-utils pocket evaluate` measured, as a page. Nothing in it is written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS, RIVALS
from steer_utils.pocket.architecture import TOKENS_PER_SECOND
from steer_utils.pocket.mini_card import is_mini, write_mini_card
from steer_utils.sound.files import write_whole
from steer_utils.sound.sounds import SOUNDS
from steer_utils.sound.tables import markdown_table
from steer_utils.study.benchmark import SLOTS
from steer_utils.study.paper_table import as_declared

_CLASSES = {
    "qwen2_audio": "Qwen2AudioForConditionalGeneration",
    "audioflamingo3": "AudioFlamingo3ForConditionalGeneration",
}
_KINDS = {
    "procedural": "procedural scenes never seen",
    "recordings": "scenes of recordings never seen",
}


def write_card(folder: Path) -> Path:
    """Write README.md in a pocket model's folder from its pocket.json, settings.json and evaluation.json."""
    facts = json.loads((folder / "pocket.json").read_text(encoding="utf-8"))
    if is_mini(facts):
        return write_mini_card(folder, _where)
    measured = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    settings = Settings.load(folder / "settings.json")
    parts = [
        _head(facts, measured),
        _training(facts),
        _answers(measured),
        _where(measured),
        _settings(settings, measured),
        _limits(facts),
    ]
    path = folder / "README.md"
    write_whole(path, "\n\n".join(parts) + "\n")
    return path


def gap_text(gap: Mapping[str, float]) -> str:
    """A difference of overlaps (mean, low, high) in points, as it stands in every page."""
    return f"{100 * gap['mean']:+.1f} ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"


def _head(facts: dict[str, Any], measured: dict[str, Any]) -> str:
    recipe = facts["recipe"]
    size = recipe["size"]
    return (
        f"# {facts['name']}\n\n"
        f"A small audio-language model of the unmodified transformers class `{_CLASSES[recipe['family']]}`, trained "
        "from nothing by the code in `steer_utils/pocket`. It shows the method of the course on a laptop; its figures "
        "are its own and say nothing about a full-size checkpoint.\n\n"
        f"- weights: `{measured['revision']}`, float32, Apache-2.0\n"
        f"- hears up to {size['seconds']} s at 16 kHz, {TOKENS_PER_SECOND} audio tokens a second\n"
        f"- audio tower {size['encoder_blocks']} x {size['encoder_width']}, decoder {size['blocks']} blocks x "
        f"{size['width']}, {size['heads']} heads, {size['key_value_heads']} key/value heads\n"
        f"- knows {len(facts['events'])} sounds: {', '.join(facts['events'])}"
    )


def _training(facts: dict[str, Any]) -> str:
    recipe = facts["recipe"]
    encoder, language = recipe["encoder"], recipe["language"]
    recorded = len(facts["trained_recordings"])
    source = (
        f"{recorded} recordings of ESC-10, folds {', '.join(map(str, facts['training_folds']))} "
        "(K. J. Piczak 2015, doi 10.1145/2733373.2806390; clips under CC0 and CC BY 3.0; listed in pocket.json)"
        if recorded
        else "no recordings"
    )
    return (
        "## How it was trained\n\n"
        f"1. The audio tower learnt frame labels (event, pitch, loudness): {encoder['steps']} steps of "
        f"{encoder['batch']} scenes. It was then frozen.\n"
        f"2. Projector and decoder learnt to answer: {language['steps']} steps of {language['batch']} scenes with "
        f"{language['turns']} questions each, from {language['scenes']} scenes; in {language['local_audio']:.0%} of "
        "them audio tokens attended only to themselves inside the decoder (inference is the unmodified model). "
        f"{language['mix']['focus']:.0%} of the questions held a focus instruction.\n\n"
        f"Material: procedural sounds ({len(SOUNDS)} classes) and {source}. It was never trained on times in seconds; "
        "it was trained on words of order (first, second, third, before, after) and of place (start, middle, end)."
    )


def _answers(measured: dict[str, Any]) -> str:
    lines = ["## What it answers", "", "Three-event scenes; share of right answers, 95 % interval over scenes.", ""]
    for kind, title in _KINDS.items():
        if kind in measured:
            rows = [
                (row["question"], f"{row['right']:.1%}", f"{row['low']:.1%} - {row['high']:.1%}", row["n"])
                for row in measured[kind]["answers"]
            ]
            lines += [*markdown_table((title, "right", "95 %", "n"), rows), ""]
    return "\n".join(lines).rstrip()


def _where(measured: dict[str, Any]) -> str:
    lines = ["## Where it listens", ""]
    for kind, title in _KINDS.items():
        if kind not in measured:
            continue
        where = measured[kind]["where"]
        scenes = where["settings"]["scenes"]
        lines += [
            f"{title[0].upper() + title[1:]}: {scenes['scenes']} scenes x 3 queries, classes "
            f"{', '.join(scenes['classes'])}. Overlap with the true interval, 95 % interval over scenes; the "
            "window's width is known.",
            "",
            *_overlaps({(row["method"], row["slot"]): row for row in where["rows"]}, where["steering_minus"]),
            *_declared(where),
            "",
        ]
    return "\n".join(lines).rstrip()


def _declared(where: Mapping[str, Any]) -> list[str]:
    """What is said below the table where the rivals' free numbers were not chosen for this model."""
    rivals = [METHODS[name].label for name in RIVALS if any(row["method"] == name for row in where["rows"])]
    return (
        ["", f"As declared, not chosen for this model: {'; '.join(rivals)}."] if rivals and as_declared(where) else []
    )


def _overlaps(figures: Mapping[tuple[str, str], Any], steering_minus: Mapping[str, Any]) -> list[str]:
    """Overlap by method and slot, from rows of `report.summary` by (method, slot), and what steering has more."""
    rows: list[Sequence[object]] = []
    for name, method in METHODS.items():
        if (name, "all") not in figures:
            continue
        whole = figures[name, "all"]
        slots = [f"{figures[name, slot]['overlap']:.1%}" for slot in SLOTS]
        against = gap_text(steering_minus[name]) if name in steering_minus else ""
        interval = f"{whole['low']:.1%} - {whole['high']:.1%}"
        fewer = f" (n = {whole['n']})" if whole["n"] != figures["steering", "all"]["n"] else ""
        overlap = f"{whole['overlap']:.1%}{fewer}"
        rows.append([method.label, method.demands, overlap, interval, *slots, against])
    whole, *slots = (f"{figures['steering', slot]['chance']:.1%}" for slot in ("all", *SLOTS))
    rows.append(["chance (computed)", None, whole, None, *slots, None])
    return markdown_table(("method", "needs", "overlap", "95 %", *SLOTS, "steering minus it"), rows)


def _settings(settings: Settings, measured: dict[str, Any]) -> str:
    chosen: dict[str, Any] = settings.chosen_on
    ratios = ", ".join(f"{ratio:.2f}" for ratio in measured["norm_ratio"])
    best = sorted(measured["tuning"], key=lambda row: -row["overlap"])[:8]
    norm = "kept" if settings.keep_norm else "free"
    lines = [
        "## Settings",
        "",
        f"Chosen on {', '.join(chosen['events'])} ({chosen['scenes']} scenes, {chosen['candidates']} candidates; "
        f'overlap there {chosen["overlap"]:.1%}): contrast "{settings.positive}" with "{settings.negative}", both '
        f'before "{settings.contrast_question}", added while it reads "{settings.question}"; blocks '
        f"{list(settings.blocks or ())}, strength {settings.strength:g}, norm "
        f"{norm}, read as {settings.read} over blocks {list(settings.read_blocks or ())}.",
        "",
        f"‖v‖/‖h‖ by block: {ratios}.",
        "",
    ]
    rows = [
        (
            row["blocks"],
            f"{row['read']} of blocks {row['read_blocks']}",
            f"{row['strength']:g}",
            "kept" if row["keep_norm"] else "free",
            f"{row['overlap']:.1%}",
        )
        for row in best
    ]
    lines += markdown_table(("steered blocks", "read", "strength", "norm", "overlap (development)"), rows)
    return "\n".join(lines)


def _limits(facts: dict[str, Any]) -> str:
    return (
        "## Limits\n\n"
        "It knows only the sounds listed above and the words it was trained on; other words become one unknown token. "
        "It hears events of about 1 to 2.5 s, one at a time. Made with "
        + ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        + "."
    )
