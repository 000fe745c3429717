"""Does the answer follow the vector? Steer a question that names no event with one event's vector, then with another's.

If the vector decides what the model listens to, the answer speaks of that event and not of the others. A causal test,
as `causality` is the other: what is changed is the state, and what is looked at is what the model says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from .batches import Row
from .benchmark import SceneSet, query_in, slot_name
from .causality import KEYS, check_rows, difference, mention, rate
from .checkpoints import Checkpoint
from .hearing import Hearing
from .partials import Progress, Record, resumable_table, run_facts
from .readout import contrast_of
from .scenes import Event
from .settings import PAPER, Settings
from .steering import Injection
from .vectors import SteeringVector

SWAPS = ("unsteered", "prompting", "steering", "swapped", "random vector")
SWAP_MEASURES = ("named", "only", "first", "loudness")


def swap_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    question: str = PAPER.question,
    steer_answer: bool = False,
    max_new_tokens: int = 32,
    partial: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, condition): the answer to `question`, and whether it speaks of the event.

    Conditions: unsteered; prompting (the focus instruction before the question); steering with the event's vector;
    swapped (the vector of the scene's next event, the same answer as that one's steering); a random vector.

    named     the answer names the event      first     it names it before the other events of the scene
    only      and no other of the scene       loudness  it says how loud the event is, and not how loud the next one
                                              is; NaN unless the two differ and are known

    The vector is read where the first word of the answer is decided, and added there: at the last prompt token. With
    `steer_answer` it is added at every generated token too, which can make a model say that word again and again.
    Cost a scene of three events: 6 contrasts and one batch of 10 answers. Warns where scenes hold classes that the
    settings were chosen on.
    """
    asked = replace(settings, question=question)
    facts = {
        **run_facts("swap", checkpoint, asked),
        "scenes": scenes.facts(),
        "steer_answer": steer_answer,
        "max_new_tokens": max_new_tokens,
    }
    scenes.warn_of_development(settings)

    def rows_of(index: int) -> list[Record]:
        scene = scenes.maker.scene(index, scenes.seed)
        hearing = Hearing(checkpoint, scene.samples)
        queries = [query_in(scene, slot, scenes.seed) for slot in range(len(scene.events))]
        vectors = [contrast_of(hearing, query, asked) for query in queries]
        noise = [vector.random_like(query.seed) for vector, query in zip(vectors, queries, strict=True)]
        answers = hearing.answers(
            [
                Row(question),
                *(Row(settings.focus(query.event, question)) for query in queries),
                *(_steered(hearing, asked, vector, steer_answer) for vector in (*vectors, *noise)),
            ],
            max_new_tokens=max_new_tokens,
        )
        unsteered, rest, count = answers[0], answers[1:], len(queries)
        prompted, steered, drawn = rest[:count], rest[count : 2 * count], rest[2 * count :]
        rows: list[Record] = []
        for slot, event in enumerate(scene.events):
            said = dict(zip(SWAPS, (unsteered, prompted[slot], steered[slot], steered[(slot + 1) % count], drawn[slot]),
                            strict=True))  # fmt: skip
            if count == 1:
                del said["swapped"]
            place = {"scene": index, "slot": slot_name(slot, count), "event": event.name}
            rows += [
                {**place, "condition": name, "answer": answer, **_spoken(answer, slot, scene.events)}
                for name, answer in said.items()
            ]
        return rows

    return resumable_table(scenes.count, rows_of, facts, partial=partial, progress=progress)


def swap_summary(table: pd.DataFrame) -> pd.DataFrame:
    """How often the answer speaks of the event, by measure and condition, with its 95 % interval over scenes.

    against  "": the rate itself; "unsteered", "swapped": minus that condition's, paired, with two-sided sign-flip p
    Raises ValueError for a table without rows.
    """
    check_rows(table)
    there = [name for name in SWAPS if (table["condition"] == name).any()]
    rows: list[Record] = []
    for measure in SWAP_MEASURES:
        wide = table.astype({measure: float}).pivot(index=KEYS, columns="condition", values=measure).dropna()
        if wide.empty:  # no scene tells: its loudness is not known, or the same for all events
            continue
        for name in there:
            rows.append({"measure": measure, "condition": name, "against": "", **rate(wide[name])})
            for other in ("unsteered", "swapped"):
                if name not in ("unsteered", "swapped") and other in there:
                    found = difference(wide[name], wide[other])
                    rows.append({"measure": measure, "condition": name, "against": other, **found})
    return pd.DataFrame(rows)


def _steered(hearing: Hearing, settings: Settings, vector: SteeringVector, steer_answer: bool) -> Row:
    last = hearing.prefix_length + len(hearing.checkpoint.tokens(settings.question).tail) - 1
    injection = Injection(vector, settings.strength, "last" if steer_answer else [last])
    return Row(settings.question, steer=(injection,), keep_norm=settings.keep_norm)


def _spoken(answer: str, slot: int, events: Sequence[Event]) -> Record:
    """The measures of `swap_table`."""
    own, following = events[slot], events[(slot + 1) % len(events)]
    place = mention(answer, own.name)
    others = [found for each in events if each is not own and (found := mention(answer, each.name)) is not None]
    loudness = None
    if own.loudness and following.loudness and own.loudness != following.loudness:
        says = [mention(answer, word) is not None for word in (own.loudness, following.loudness)]
        loudness = says == [True, False]
    return {
        "named": place is not None,
        "only": place is not None and not others,
        "first": place is not None and all(place < other for other in others),
        "loudness": loudness,
    }
