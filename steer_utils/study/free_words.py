"""Does a model find a sound by words that it was never trained with? Names, synonyms and whole phrases, side by side.

Each phrase is located by steering and by prompting, and the model is asked whether it is there: in scenes that hold the
sound, and in scenes that do not. Only a model that takes any text can be asked.

    word_summary(word_table(lm, scenes, settings))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.plan import Row
from steer_utils.methods.asking import yes_and_no, yes_minus_no
from steer_utils.methods.base import Query, find_together
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import finder
from steer_utils.study.benchmark import HeardScene, SceneSet, check_rows, hash_seed
from steer_utils.study.resume import Progress, Record
from steer_utils.study.statistics import difference_record, mean_record, roc_area

METHODS = ("steering", "prompting", "prompting-best")
KINDS = ("name", "synonym", "phrase")

#: Other words for the classes of sounds that settings are not chosen on, written down before any was tried.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "alarm": ("buzzer", "warning signal", "beeping", "alert"),
    "bell": ("chime", "gong", "church bell", "ding-dong"),
    "bird": ("songbird", "sparrow", "tweeting", "birdsong"),
    "clap": ("applause", "ovation", "hand clapping", "clapping hands"),
    "cricket": ("insect", "grasshopper", "cicada", "chirping insect"),
    "dog bark": ("hound", "puppy", "woof", "barking"),
    "engine": ("motor", "truck", "car", "motorcycle"),
    "helicopter": ("chopper", "rotor blades", "aircraft", "propeller"),
    "rain": ("downpour", "drizzle", "rainfall", "shower"),
}
PHRASES: dict[str, tuple[str, ...]] = {
    "alarm": ("something that wakes you up",),
    "bell": ("something that rings",),
    "bird": ("the animal with feathers",),
    "clap": ("people who liked the show",),
    "cricket": ("the insect in the grass",),
    "dog bark": ("the animal that guards the house",),
    "engine": ("the running machine",),
    "helicopter": ("something that flies with a rotor",),
    "rain": ("water falling from the sky",),
}


def word_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    synonyms: Mapping[str, Sequence[str]] = SYNONYMS,
    phrases: Mapping[str, Sequence[str]] = PHRASES,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, sound, text): its own name (kind "name"), a synonym or a phrase.

    there     whether the scene holds the sound; as many sounds are asked for that it does not hold
    yes       log odds of yes against no to the presence question in these words
    steering, prompting, prompting-best   overlap of the window found; None where the sound is not there

    Scenes must be of classes that have synonyms. Cost a scene: three methods and one question for each text. Raises
    ValueError, before any work, for a model that knows its own words only, or scenes of a class without synonyms.
    """
    if checkpoint.events is not None:
        raise ValueError(
            f"{checkpoint.name} knows these sounds by these names only: {', '.join(checkpoint.events)}; pass a model "
            "that takes any text, such as mini-smollm2-audio"
        )
    if lacking := [name for name in scenes.maker.names if name not in synonyms]:
        raise ValueError(f"there are no synonyms for {', '.join(lacking)}; pass scenes of {', '.join(synonyms)}")
    finders = [finder(name, settings) for name in METHODS]
    facts = {"texts": (dict(synonyms), dict(phrases))}
    yes, no = yes_and_no(checkpoint)

    def texts_of(name: str) -> list[tuple[str, str]]:
        others = ((kind, text) for kind, words in (("synonym", synonyms), ("phrase", phrases)) for text in words[name])
        return [("name", name), *others]

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing, rows = heard.hearing, list[Record]()
        for event, query, names in heard.queries():
            queries = [Query(text, query.seconds, query.seed) for _, text in texts_of(event.name)]
            found = find_together(hearing, finders, queries, settings)
            for (kind, text), localisations in zip(texts_of(event.name), found, strict=True):
                windows = [localisation.interval for localisation in localisations]
                overlaps = [None if window is None else window.covers(event.span) for window in windows]
                scores = {"there": True, "chance": heard.chance(event), **dict(zip(METHODS, overlaps, strict=True))}
                rows.append({**names, "kind": kind, "text": text, **scores})
        present = {event.name for event in heard.scene.events}
        absent = [name for name in scenes.maker.names if name not in present]
        rng = np.random.default_rng(hash_seed(heard.seed, heard.scene.index or 0, 4))
        drawn = rng.permutation(absent)[: len(present)]
        for name in map(str, drawn):
            names = {"scene": heard.scene.index, "slot": "none", "event": name}
            nowhere = {"there": False, "chance": None, **dict.fromkeys(METHODS)}
            rows += [{**names, "kind": kind, "text": text, **nowhere} for kind, text in texts_of(name)]
        asked = [Row(settings.presence.format(event=row["text"])) for row in rows]
        for row, reading in zip(rows, hearing.read_rows(asked), strict=True):
            row["yes"] = float(yes_minus_no(reading.logits, yes, no))
        return rows

    table = scenes.analysed("words", checkpoint, settings, rows_of, facts, resume_file=resume_file, progress=progress)
    return table.astype({**dict.fromkeys(METHODS, float), "chance": float})


def word_summary(table: pd.DataFrame, by: str = "kind") -> pd.DataFrame:
    """Overlap of each method with its 95 % interval over scenes, for each kind of text (or each `by="text"`).

    more      steering minus prompting before its best question, paired over the same queries, with interval and p
    auc       area under the ROC curve of the presence question: the chance that it says yes more firmly where the sound
              is than where it is not (0.5: it cannot tell)
    yes, no   share of right answers to it where the sound is, and where it is not

    Raises ValueError for a table without rows.
    """
    check_rows(table)
    rows: list[Record] = []
    order = [kind for kind in KINDS if kind in set(table["kind"])] if by == "kind" else list(dict.fromkeys(table[by]))
    for value in order:
        texts = table[table[by] == value]
        there = texts[texts["there"]]
        if there.empty:  # a sound that no scene holds
            continue
        row: Record = {by: value, **({} if by == "kind" else {"event": texts["event"].iloc[0]})}
        values = there.set_index(["scene", "text"])
        for method in METHODS:
            overlap = mean_record(values[method])
            row |= {method: overlap["mean"], f"{method}_low": overlap["low"], f"{method}_high": overlap["high"]}
        gap = difference_record(values["steering"], values["prompting-best"])
        row |= {"more": gap["mean"], "more_low": gap["low"], "more_high": gap["high"], "p": gap["p"]}
        row |= {"chance": float(there["chance"].mean()), "auc": presence_auc(texts)}
        row |= {"yes": float((there["yes"] > 0).mean()), "no": float((texts.loc[~texts["there"], "yes"] <= 0).mean())}
        row["n"] = len(there)
        rows.append(row)
    return pd.DataFrame(rows)


def presence_auc(texts: pd.DataFrame) -> float:
    """Area under the ROC curve of `yes` for `there`, 0..1; NaN where one of the two is missing."""
    return roc_area(texts["yes"].to_numpy(), texts["there"].to_numpy(bool))
