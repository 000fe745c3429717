"""Does attention that moved cause what the model says? Two tests, each of which changes one thing and asks again.

Occlusion: the window that a method found is taken out of the audio, the model hears again, and is asked again whether
the sound is there and what it is. If its answer rests on what is in that window, it changes. A random window of equal
width says how much any cut does, the true interval of the event how much is possible.

Swap: a question that names no event is steered with one event's vector, then with another's. If the vector decides what
the model listens to, the answer speaks of that event and not of the others.

    occlusion_summary(occlusion_table(lm, scenes, settings))
    swap_summary(swap_table(lm, scenes, settings))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.base import contrast_of, steered_row
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import finder
from steer_utils.sound.masking import Fill, check_fill, occluded, window_apart
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval
from steer_utils.study.benchmark import HeardScene, SceneSet, by_query, check_rows
from steer_utils.study.resume import Progress, Record
from steer_utils.study.statistics import difference_record, mean_record

WINDOWS = ("found", "random", "true")
SWAPS = ("unsteered", "prompting", "steering", "swapped", "random vector")
SWAP_MEASURES = ("named", "only", "first", "loudness")


# -- occlusion -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Answers:
    """What a model says about an event: probability of yes to "is it there?", its description, and a free one."""

    presence: float
    description: str
    listing: str

    @classmethod
    def of(cls, hearing: Hearing, event: str, settings: Settings, question: str, max_new_tokens: int) -> _Answers:
        rows = [Row(settings.focus(event, question)), Row(question)]
        answers = hearing.answers(rows, max_new_tokens=max_new_tokens)
        return cls(presence_probability(hearing, event, settings), *answers)


def occlusion_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    method: str = "steering",
    question: str = PAPER.question,
    fill: Fill = "noise",
    max_new_tokens: int = 32,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, window), where the window that is silenced is the one `method` found, a random one of
    equal width that does not touch it (as far as there is room), or the true interval.

    hit                 how much of the event the window covers, 0..1
    presence_before     probability of yes to the presence question; _after: without the window
    listing_before      the answer to `question`; listed_before: whether it names the event
    description_before  the answer to the focus instruction and `question`; changed: whether it is another one after

    A query in which the method finds nothing (an answer without a time) has no rows. Cost a query: the method, three
    hearings, four presence questions and eight answers. `fill`: see `masking`. Warns where scenes hold classes that the
    settings were chosen on. Raises ValueError, before any work, for an unknown method or fill, or a method that finds
    nothing in one audio alone.
    """
    find = finder(method, settings, others=True)
    check_fill(fill)
    facts = {"method": method, "question": question, "fill": fill, "max_new_tokens": max_new_tokens}

    def rows_of(heard: HeardScene) -> list[Record]:
        scene, hearing = heard.scene, heard.hearing
        rows = []
        for event, query, names in heard.queries():
            found = find(hearing, query, settings).interval
            if found is None:
                continue
            before = _Answers.of(hearing, event.name, settings, question, max_new_tokens)
            for which, window in _windows(found, event.span, scene.duration, query.seed).items():
                audio = occluded(scene.samples, scene.rate, window, fill=fill, seed=query.seed)
                after = _Answers.of(Hearing(checkpoint, audio), event.name, settings, question, max_new_tokens)
                rows.append(
                    {
                        **names,
                        "window": which,
                        "start": window.start,
                        "end": window.end,
                        "hit": window.covers(event.span),
                        **{f"{name}_before": value for name, value in asdict(before).items()},
                        **{f"{name}_after": value for name, value in asdict(after).items()},
                        "listed_before": mention(before.listing, event.name) is not None,
                        "listed_after": mention(after.listing, event.name) is not None,
                        "changed": before.description != after.description,
                    }
                )
        return rows

    return scenes.analysed(
        "occlusion", checkpoint, settings, rows_of, facts, resume_file=resume_file, progress=progress
    )


def _windows(found: Interval, truth: Interval, duration: float, seed: int) -> dict[str, Interval]:
    found = found.cut(duration)
    return {"found": found, "random": window_apart(found, duration, np.random.default_rng(seed)), "true": truth}


def occlusion_summary(table: pd.DataFrame) -> pd.DataFrame:
    """What taking each window away does: mean drop with its 95 % interval over scenes and two-sided sign-flip p.

    measure  presence and listed: before minus after; changed: whether the description is another one
    window   found, random, true; "found - random" and "true - random": paired over the same queries
    p        of no drop; NaN for changed of one window, which is never negative
    Raises ValueError for a table without rows.
    """
    check_rows(table)
    rows: list[Record] = []
    for measure in ("presence", "listed", "changed"):
        if measure == "changed":
            drops = table[measure].astype(float)
        else:
            drops = table[f"{measure}_before"].astype(float) - table[f"{measure}_after"].astype(float)
        wide = by_query(table.assign(drop=drops), columns="window", values="drop")
        for window in WINDOWS:
            drop, ends = wide[window], {}
            if measure != "changed":
                of_window = table[table["window"] == window]
                ends = {end: float(of_window[f"{measure}_{end}"].mean()) for end in ("before", "after")}
            estimate = mean_record(drop) if measure == "changed" else difference_record(drop, 0.0 * drop)
            rows.append({"measure": measure, "window": window, **ends, **estimate})
        for window in ("found", "true"):
            estimate = difference_record(wide[window], wide["random"])
            rows.append({"measure": measure, "window": f"{window} - random", **estimate})
    return pd.DataFrame(rows).rename(columns={"mean": "drop"})


# -- swap ------------------------------------------------------------------------------------------------------------
def swap_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    question: str = PAPER.question,
    steer_answer: bool = False,
    max_new_tokens: int = 32,
    resume_file: Path | None = None,
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
    facts = {"steer_answer": steer_answer, "max_new_tokens": max_new_tokens}

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing, events = heard.hearing, heard.scene.events
        queries = [query for _, query, _ in heard.queries()]
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
        for slot, (_, _, names) in enumerate(heard.queries()):
            swapped = steered[(slot + 1) % count]
            spoken = (unsteered, prompted[slot], steered[slot], swapped, drawn[slot])
            rows += [
                {**names, "condition": condition, "answer": answer, **_spoken(answer, slot, events)}
                for condition, answer in zip(SWAPS, spoken, strict=True)
                if condition != "swapped" or count > 1
            ]
        return rows

    return scenes.analysed("swap", checkpoint, asked, rows_of, facts, resume_file=resume_file, progress=progress)


def swap_summary(table: pd.DataFrame) -> pd.DataFrame:
    """How often the answer speaks of the event, by measure and condition, with its 95 % interval over scenes.

    against  "": the rate itself; "unsteered", "swapped": minus that condition's, paired, with two-sided sign-flip p
    Raises ValueError for a table without rows.
    """
    check_rows(table)
    there = [name for name in SWAPS if (table["condition"] == name).any()]
    rows: list[Record] = []
    for measure in SWAP_MEASURES:
        wide = by_query(table.astype({measure: float}), columns="condition", values=measure).dropna()
        if wide.empty:  # no scene tells: its loudness is not known, or the same for all events
            continue
        for name in there:
            rows.append({"measure": measure, "condition": name, "against": "", **mean_record(wide[name])})
            for other in ("unsteered", "swapped"):
                if name not in ("unsteered", "swapped") and other in there:
                    gap = difference_record(wide[name], wide[other])
                    rows.append({"measure": measure, "condition": name, "against": other, **gap})
    return pd.DataFrame(rows)


def _steered(hearing: Hearing, settings: Settings, vector: SteeringVector, steer_answer: bool) -> Row:
    last = hearing.prefix_length + len(hearing.checkpoint.tokens(settings.question).tail) - 1
    return steered_row(settings, vector, positions="last" if steer_answer else [last])


def _spoken(answer: str, slot: int, events: Sequence[Event]) -> Record:
    """The measures of `swap_table`."""
    event, following = events[slot], events[(slot + 1) % len(events)]
    place = mention(answer, event.name)
    mentions = [mention(answer, other.name) for other in events if other is not event]
    others = [other for other in mentions if other is not None]
    loudness = None
    if event.loudness and following.loudness and event.loudness != following.loudness:
        says = [mention(answer, word) is not None for word in (event.loudness, following.loudness)]
        loudness = says == [True, False]
    return {
        "named": place is not None,
        "only": place is not None and not others,
        "first": place is not None and all(place < other for other in others),
        "loudness": loudness,
    }


# -- answers ---------------------------------------------------------------------------------------------------------
def mention(answer: str, event: str) -> int | None:
    """The character at which an answer names an event, or None.

    Every word of the name must begin a word of the answer, in any case and order: "A dog is barking" names a dog bark.
    That a sound is denied ("no dog barks") is not understood.
    """
    places = [re.search(rf"\b{re.escape(word)}", answer, re.IGNORECASE) for word in event.split()]
    starts = [place.start() for place in places if place]
    return min(starts) if starts and len(starts) == len(places) else None
