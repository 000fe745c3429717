"""Is the shift of attention causal? Take away the window that was read out of it, and ask again.

The window that a method found is taken out of the audio, the model hears again, and is asked again whether the sound is
there and what it is. If its answer rests on what is in that window, it changes; a random window of equal width says how
much any cut does, the true interval of the event how much is possible. The other causal test is in `swaps`.

Does the answer follow the vector? Steer a question that names no event with one event's vector, then with another's.

If the vector decides what the model listens to, the answer speaks of that event and not of the others. A causal test,
as `causality` is the other: what is changed is the state, and what is looked at is what the model says.
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
from steer_utils.sound.audio import Fill, check_fill, occluded, window_apart
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval
from steer_utils.study.benchmark import SceneSet, query_in, slot_name
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_table
from steer_utils.study.statistics import Estimate, cluster_mean, paired_difference, sign_flip

WINDOWS = ("found", "random", "true")
KEYS = ["scene", "event"]  # an event is in a scene once


@dataclass(frozen=True)
class _Said:
    """What a model says about an event: probability of yes to "is it there?", its description, and a free one."""

    presence: float
    description: str
    listing: str

    @classmethod
    def by(cls, hearing: Hearing, event: str, settings: Settings, question: str, max_new_tokens: int) -> _Said:
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
    facts = {
        **analysis_identity("occlusion", checkpoint, settings),
        "scenes": scenes.as_dict(),
        "method": method,
        "question": question,
        "fill": fill,
        "max_new_tokens": max_new_tokens,
    }
    scenes.warn_of_development(settings)

    def rows_of(index: int) -> list[Record]:
        scene = scenes.maker.scene(index, scenes.seed)
        hearing = Hearing(checkpoint, scene.samples)
        rows = []
        for slot, event in enumerate(scene.events):
            query = query_in(scene, slot, scenes.seed)
            found = find(hearing, query, settings).interval
            if found is None:
                continue
            before = _Said.by(hearing, event.name, settings, question, max_new_tokens)
            for which, window in _windows(found, event.span, scene.duration, query.seed).items():
                audio = occluded(scene.samples, scene.rate, window, fill=fill, seed=query.seed)
                after = _Said.by(Hearing(checkpoint, audio), event.name, settings, question, max_new_tokens)
                rows.append(
                    {
                        "scene": index,
                        "slot": slot_name(slot, len(scene.events)),
                        "event": event.name,
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

    return resumable_table(scenes.count, rows_of, facts, resume_file=resume_file, progress=progress)


def _windows(found: Interval, truth: Interval, duration: float, seed: int) -> dict[str, Interval]:
    found = Interval(found.start, min(found.end, duration))  # the last token can stand for a little more than there is
    return {"found": found, "random": window_apart(found, duration, np.random.default_rng(seed)), "true": truth}


def occlusion_summary(table: pd.DataFrame) -> pd.DataFrame:
    """What taking each window away does: mean drop with its 95 % interval over scenes and two-sided sign-flip p.

    measure  presence and listed: before minus after; changed: whether the description is another one
    window   found, random, true; "found - random" and "true - random": paired over the same queries
    p        of no drop; NaN for changed of one window, which is never negative
    Raises ValueError for a table without rows.
    """
    check_rows(table)
    drops = {measure: table[f"{measure}_before"].astype(float) - table[f"{measure}_after"].astype(float)
             for measure in ("presence", "listed")}  # fmt: skip
    drops["changed"] = table["changed"].astype(float)
    rows: list[Record] = []
    for measure, drop in drops.items():
        wide = table.assign(drop=drop).pivot(index=KEYS, columns="window", values="drop")
        for window in WINDOWS:
            own = table[table["window"] == window]
            ends = {end: float(own[f"{measure}_{end}"].mean()) for end in ("before", "after") if measure != "changed"}
            found = rate(wide[window]) if measure == "changed" else difference(wide[window], 0.0 * wide[window])
            rows.append({"measure": measure, "window": window, **ends, **found})
        for window in ("found", "true"):
            found = difference(wide[window], wide["random"])
            rows.append({"measure": measure, "window": f"{window} - random", **found})
    return pd.DataFrame(rows).rename(columns={"mean": "drop"})


# -- shared with the other test ---------------------------------------------------------------------------------------
def mention(answer: str, event: str) -> int | None:
    """The character at which an answer names an event, or None.

    Every word of the name must begin a word of the answer, in any case and order: "A dog is barking" names a dog bark.
    That a sound is denied ("no dog barks") is not understood.
    """
    places = [re.search(rf"\b{re.escape(word)}", answer, re.IGNORECASE) for word in event.split()]
    starts = [found.start() for found in places if found]
    return min(starts) if starts and len(starts) == len(places) else None


def check_rows(table: pd.DataFrame) -> None:
    """Raises ValueError for a table without rows."""
    if table.empty:
        raise ValueError("the table has no rows to sum up: no query was answered, or no scenes were made")


def rate(values: pd.Series) -> Record:
    """Mean of `values`, indexed by scene and event, with its 95 % interval over scenes; p is NaN."""
    return _record(cluster_mean(values.to_numpy(), _scenes(values)), float("nan"))


def difference(first: pd.Series, second: pd.Series) -> Record:
    """Mean of first - second over the same queries, with its interval and two-sided sign-flip p."""
    pair = first.to_numpy(), second.to_numpy(), _scenes(first)
    return _record(paired_difference(*pair), sign_flip(*pair))


def _scenes(values: pd.Series) -> np.ndarray:
    return np.asarray(values.index.get_level_values("scene"))


def _record(estimate: Estimate, p: float) -> Record:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n,
            "scenes": estimate.clusters, "p": p}  # fmt: skip


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
    facts = {
        **analysis_identity("swap", checkpoint, asked),
        "scenes": scenes.as_dict(),
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

    return resumable_table(scenes.count, rows_of, facts, resume_file=resume_file, progress=progress)


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
    return steered_row(settings, vector, positions="last" if steer_answer else [last])


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
