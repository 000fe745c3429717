"""How much does it take? Overlap over strength, over how many contrast pairs are averaged, over wording and language.

Everything not varied is as the model's settings say. A contrast pair is an instruction to focus and one to hear it all;
there are twenty wordings of each. Their vectors are averaged before one steered reading; for prompting, which has no
vector, the curves of the readings are. "other audios": vectors of the settings' own pair made on other scenes with the
same sound, so that nothing of the audio that is searched is in the vector.

    curve_summary(curve_table(lm, scenes, settings))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing, contrast_rows, contrast_vector
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import averaged, contrast_of, read_out, steered_row
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import best_overlaps
from steer_utils.study.benchmark import HeardScene, SceneSet, check_rows, hash_seed
from steer_utils.study.resume import Progress, Record
from steer_utils.study.statistics import difference_record, mean_record

STRENGTHS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
COUNTS = (1, 2, 5, 10, 20)  # of pairs, or of other audios, that are averaged
METHODS = ("steering", "prompting")
OWN = "own"  # the settings as they are: what every level is compared with
AXES = (OWN, "strength", "pairs", "other audios", "wording", "language")

#: Twenty wordings of each instruction, in words that the pocket models know. Written down before any was tried.
FOCUS = (
    "Focus on the {event}.",
    "Focus only on the {event}.",
    "Pay attention to the {event}.",
    "Pay attention only to the {event}.",
    "Listen for the {event}.",
    "Listen to the {event}.",
    "Listen only to the {event}.",
    "Listen only for the {event}.",
    "Concentrate on the {event}.",
    "Concentrate only on the {event}.",
    "Attend to the {event}.",
    "Attend only to the {event}.",
    "Consider the {event}.",
    "Consider only the {event}.",
    "Focus on the sound of the {event}.",
    "Listen to the sound of the {event}.",
    "Pay attention to the sound of the {event}.",
    "Attend to the {event} in the audio.",
    "Listen for the {event} in the recording.",
    "Concentrate on the {event} in the clip.",
)
WHOLE = (
    "Listen to the whole audio.",
    "Focus on the whole audio.",
    "Attend to the whole audio.",
    "Pay attention to the entire recording.",
    "Consider all of the audio.",
    "Concentrate on the entire clip.",
    "Listen to the entire recording.",
    "Listen to all of the audio.",
    "Focus on the entire clip.",
    "Focus on all of the audio.",
    "Attend to the entire recording.",
    "Attend to all of the clip.",
    "Consider the whole recording.",
    "Consider the entire clip.",
    "Concentrate on the whole audio.",
    "Concentrate on all of the recording.",
    "Pay attention to the whole audio.",
    "Pay attention to all of the clip.",
    "Listen to the whole clip.",
    "Focus on the whole recording.",
)


@dataclass(frozen=True)
class Language:
    """Both instructions in a language, and the names of sounds with their articles as the instruction needs them."""

    positive: str
    negative: str
    names: Mapping[str, str]


LANGUAGES = {
    "German": Language(
        "Konzentriere dich auf {event}.",
        "Höre dir die ganze Aufnahme an.",
        {
            "alarm": "den Alarm",
            "bell": "die Glocke",
            "bird": "den Vogel",
            "clap": "das Klatschen",
            "cricket": "die Grille",
            "dog bark": "das Hundegebell",
            "engine": "den Motor",
            "helicopter": "den Hubschrauber",
            "rain": "den Regen",
        },
    ),
    "French": Language(
        "Concentre-toi sur {event}.",
        "Écoute tout l'enregistrement.",
        {
            "alarm": "l'alarme",
            "bell": "la cloche",
            "bird": "l'oiseau",
            "clap": "les applaudissements",
            "cricket": "le grillon",
            "dog bark": "l'aboiement du chien",
            "engine": "le moteur",
            "helicopter": "l'hélicoptère",
            "rain": "la pluie",
        },
    ),
    "Spanish": Language(
        "Concéntrate en {event}.",
        "Escucha toda la grabación.",
        {
            "alarm": "la alarma",
            "bell": "la campana",
            "bird": "el pájaro",
            "clap": "los aplausos",
            "cricket": "el grillo",
            "dog bark": "el ladrido del perro",
            "engine": "el motor",
            "helicopter": "el helicóptero",
            "rain": "la lluvia",
        },
    ),
}


@dataclass(frozen=True)
class _Pair:
    """One contrast, told for one sound, and where it stands in the table."""

    axis: str
    level: str
    positive: str
    negative: str


def curve_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    counts: Sequence[int] = COUNTS,
    languages: Mapping[str, Language] = LANGUAGES,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, axis, level, method): the overlap of the window found, and its chance.

    own           the settings as they are
    strength      steering at each of STRENGTHS
    pairs         so many of the twenty pairs averaged, drawn anew for each scene, the larger draw around the smaller;
                  "1" is the mean over all twenty, one at a time
    other audios  steering with vectors of so many other scenes
    wording       each of the twenty pairs; prompting has the first of the two instructions
    language      both instructions in one of `languages`, the sound's name too or in English. Only for a model that
                  takes any text, on sounds whose names are translated; else attrs["skipped"] says why it is not there

    Cost a scene: about 120 readings an event, most of them steered ones. Raises ValueError, before any work, for counts
    that are not 1 to 20. Warns where scenes hold classes that the settings were chosen on.
    """
    if not counts or min(counts) < 1 or max(counts) > len(FOCUS):
        raise ValueError(f"counts is {tuple(counts)}; pass numbers of pairs from 1 to {len(FOCUS)}")
    skipped = _no_languages(checkpoint, scenes.maker.names, languages)
    spoken = {} if skipped else languages
    facts = {
        "counts": list(counts),
        "wordings": [list(FOCUS), list(WHOLE)],
        **({"skipped": skipped} if skipped else {"languages": {name: asdict(one) for name, one in spoken.items()}}),
    }
    steered_blocks = settings.steered_blocks(checkpoint.num_blocks)

    @cache
    def elsewhere() -> dict[str, list[SteeringVector]]:
        return _vectors_of_others(checkpoint, scenes, settings, max(counts))

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing, others, rows = heard.hearing, elsewhere(), list[Record]()
        order = np.random.default_rng(hash_seed(scenes.seed, heard.scene.index or 0, 6)).permutation(len(FOCUS))
        with hearing.remembering():
            (base,) = hearing.read_rows([Row(settings.question)])
            for event, query, names in heard.queries():
                pairs = _pairs(event.name, settings, spoken)
                vectors, prompted = _contrasts(hearing, pairs, settings)
                vectors = [vector.select(steered_blocks) for vector in vectors]
                twenty = [place for place, pair in enumerate(pairs) if pair.axis == "wording"]
                drawn = [twenty[place] for place in order]
                steered = {
                    (pair.axis, pair.level): steered_row(settings, vector)
                    for pair, vector in zip(pairs, vectors, strict=True)
                }
                for strength in STRENGTHS:
                    at_strength = replace(settings, strength=strength)
                    steered["strength", f"{strength:g}"] = steered_row(at_strength, vectors[0])
                apart = [
                    others[event.name][place]
                    for place in np.random.default_rng(query.seed).permutation(len(others[event.name]))
                ]
                for count in counts:
                    steered["other audios", str(count)] = steered_row(settings, _mean(apart[:count]))
                    if count > 1:
                        several = _mean([vectors[place] for place in drawn[:count]])
                        steered["pairs", str(count)] = steered_row(settings, several)
                readings = hearing.read_rows(list(steered.values()))
                curves = {
                    (*place, METHODS[0]): read_out(
                        reading.attention, base.attention, settings.read, settings.read_blocks
                    )
                    for place, reading in zip(steered, readings, strict=True)
                }
                alone = [averaged(attention, settings.prompt_blocks, None) for attention in prompted]
                curves |= {(pair.axis, pair.level, METHODS[1]): curve for pair, curve in zip(pairs, alone, strict=True)}
                for count in counts:
                    if count > 1:
                        several_curves = np.mean([alone[place] for place in drawn[:count]], axis=0)
                        curves["pairs", str(count), METHODS[1]] = several_curves
                overlaps = dict(
                    zip(curves, best_overlaps(np.stack(list(curves.values())), hearing.span, event.span), strict=True)
                )
                if 1 in counts:
                    for method in METHODS:
                        singles = [overlaps["wording", pairs[place].level, method] for place in twenty]
                        overlaps["pairs", "1", method] = float(np.mean(singles))
                chance = heard.chance(event)
                rows += [
                    {**names, "axis": axis, "level": level, "method": method, "overlap": float(value), "chance": chance}
                    for (axis, level, method), value in overlaps.items()
                ]
        return rows

    return scenes.analysed(
        "sample curves", checkpoint, settings, rows_of, facts, resume_file=resume_file, progress=progress
    )


def _no_languages(checkpoint: Checkpoint, names: Sequence[str], languages: Mapping[str, Language]) -> str:
    """Why other languages cannot be tried; "" if they can."""
    if checkpoint.events is not None:
        return f"{checkpoint.name} knows a few words of English and no other language"
    lacking = [name for name in names if any(name not in language.names for language in languages.values())]
    return f"no translation is here of {', '.join(lacking)}" if lacking else ""


def _pairs(event: str, settings: Settings, languages: Mapping[str, Language]) -> list[_Pair]:
    """All contrasts for one sound; the settings' own comes first."""
    pairs = [_Pair(OWN, OWN, settings.positive.format(event=event), settings.negative)]
    for positive, negative in zip(FOCUS, WHOLE, strict=True):
        pairs.append(_Pair("wording", positive, positive.format(event=event), negative))
    for name, language in languages.items():
        translated = language.positive.format(event=language.names[event])
        english = language.positive.format(event=f"the {event}")
        pairs.append(_Pair("language", name, translated, language.negative))
        pairs.append(_Pair("language", f"{name}, English name", english, language.negative))
    return pairs


def _contrasts(
    hearing: Hearing, pairs: Sequence[_Pair], settings: Settings
) -> tuple[list[SteeringVector], list[AttentionMap]]:
    """The vector of each pair, and the attention under its first instruction alone before the question."""
    checkpoint = hearing.checkpoint
    rows = [
        row
        for pair in pairs
        for row in contrast_rows(checkpoint, pair.positive, pair.negative, settings.contrast_question)
    ]
    rows += [Row(f"{pair.positive} {settings.question}") for pair in pairs]
    readings = hearing.read_rows(rows)
    contrasts, prompted = readings[: 2 * len(pairs)], readings[2 * len(pairs) :]
    vectors = [
        contrast_vector(checkpoint, plus, minus) for plus, minus in zip(contrasts[::2], contrasts[1::2], strict=True)
    ]
    return vectors, [reading.attention for reading in prompted]


def _vectors_of_others(
    checkpoint: Checkpoint, scenes: SceneSet, settings: Settings, count: int
) -> dict[str, list[SteeringVector]]:
    """For each sound the vectors of the settings' own pair on `count` scenes that are not among those measured."""
    vectors: dict[str, list[SteeringVector]] = {name: [] for name in scenes.maker.names}
    elsewhere, index = replace(scenes, seed=hash_seed(scenes.seed, 7)), 0
    while any(len(those) < count for those in vectors.values()):
        heard = elsewhere.heard(checkpoint, index)
        for _, query, _ in heard.queries():
            if len(vectors[query.event]) < count:
                vectors[query.event].append(contrast_of(heard.hearing, query, settings))
        index += 1
    return vectors


def _mean(vectors: Sequence[SteeringVector]) -> SteeringVector:
    return sum(vectors[1:], vectors[0]) / len(vectors)


def curve_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Overlap of each (axis, level, method) with its 95 % interval over scenes, and its chance.

    more, more_low, more_high, p   against the same method with the settings as they are, paired over the same queries

    Raises ValueError for a table without rows.
    """
    check_rows(table)
    rows: list[Record] = []
    own = {method: _values(part) for method, part in table[table["axis"] == OWN].groupby("method")}
    order = {axis: place for place, axis in enumerate(AXES)}
    parts = sorted(
        table.groupby(["axis", "method", "level"], sort=False),
        key=lambda part: (order[part[0][0]], METHODS.index(part[0][1]), _number(part[0][2])),
    )
    for (axis, method, level), part in parts:
        values = _values(part)
        overlap, gap = mean_record(values), difference_record(values, own[method].reindex(values.index))
        rows.append(
            {
                "axis": axis,
                "method": method,
                "level": level,
                **{"overlap": overlap["mean"], "low": overlap["low"], "high": overlap["high"]},
                "chance": float(part["chance"].mean()),
                **{"more": gap["mean"], "more_low": gap["low"], "more_high": gap["high"], "p": gap["p"]},
                **{"n": overlap["n"], "scenes": overlap["scenes"]},
            }
        )
    return pd.DataFrame(rows)


def _number(level: str) -> float:
    """A level as a number; 0 for words, which keep their order."""
    return float(level) if level.replace(".", "", 1).isdigit() else 0.0


def _values(part: pd.DataFrame) -> pd.Series:
    return part.set_index(["scene", "event"])["overlap"]


def findings(summary: pd.DataFrame) -> list[str]:
    """What `curve_summary` says of how much it takes, in sentences."""
    levels = {(row["axis"], row["method"], row["level"]): row for row in summary.to_dict("records")}
    said: list[str] = []
    strengths = [row for (axis, _, _), row in levels.items() if axis == "strength"]
    best = max(strengths, key=lambda row: row["overlap"])
    enough = [row["level"] for row in strengths if row["overlap"] >= best["overlap"] - 0.01]
    said.append(
        f"Strength: within a point of the best ({100 * best['overlap']:.1f} %) at {', '.join(enough)}; "
        f"{100 * strengths[0]['overlap']:.1f} % at {strengths[0]['level']}."
    )
    for method in METHODS:
        counts = [row for (axis, name, _), row in levels.items() if axis == "pairs" and name == method]
        wordings = [row for (axis, name, _), row in levels.items() if axis == "wording" and name == method]
        low, high = (pick(wordings, key=lambda row: row["overlap"]) for pick in (min, max))
        said.append(
            f"Wording, {method}: {100 * low['overlap']:.1f} % ({low['level']}) to {100 * high['overlap']:.1f} % "
            f"({high['level']}); one of twenty on average {100 * counts[0]['overlap']:.1f} %, the mean of "
            f"{counts[-1]['level']} {100 * counts[-1]['overlap']:.1f} %; the settings' own "
            f"{100 * levels[OWN, method, OWN]['overlap']:.1f} %."
        )
    elsewhere = [row for (axis, _, _), row in levels.items() if axis == "other audios"]
    said.append(
        "Vectors of other audios with the sound: "
        + ", ".join(f"{100 * row['overlap']:.1f} % from {row['level']}" for row in elsewhere)
        + f"; of the audio itself {100 * levels[OWN, METHODS[0], OWN]['overlap']:.1f} %."
    )
    languages = [row for (axis, method, _), row in levels.items() if axis == "language" and method == METHODS[0]]
    if languages:
        listed = ", ".join(f"{row['level']} {100 * row['overlap']:.1f} %" for row in languages)
        said.append(f"Language, steering: {listed}.")
    return said
