"""Attention-ratio analysis: does a change of the prompt or of the state raise attention to the audio, or move it?

The paper's first claim (arXiv 2606.11400): instruction steering redistributes attention over the audio, prompting and
audio-based steering do not. Here each of them is a *condition*, read at the last prompt token and compared, block by
block, with the neutral question alone: how much attention goes to the audio at all (*mass*), and how what goes there
is spread over it (*share*): its entropy, how far it moved (Jensen-Shannon divergence), how much lies in the event.

    table = shift_table(lm, scene_set(lm, settings, count=100, seed=0), settings)    # resumable; tidy, a row a block
    shift_summary(averaged(table))                                                   # intervals and tests over scenes

A longer prompt takes attention from the audio whatever it says: compare "prompting" with "neutral prompting", which
puts an instruction without the event in the same place. The unit is the scene (one audio), as in `statistics`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.plan import Row, tokenised
from steer_utils.lm.several_audios import check_batch, hear_each
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.audio_steering import MAVS, audio_contrast
from steer_utils.methods.base import Query, contrast_of, steered_row
from steer_utils.methods.settings import Settings, paper_settings
from steer_utils.sound.audio import AudioError, read_audio, stretches
from steer_utils.sound.spans import Interval
from steer_utils.study.benchmark import HeardScene, SceneSet, check_rows, hash_seed
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_table
from steer_utils.study.statistics import estimate_columns, holm

Condition = Callable[[Hearing, Query, Settings], Reading]
ANALYSIS = "attention shift"
EVEN = 1e-4  # how far from 1 a share may sum


# -- one reading against another -------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Shift:
    """How attention to the audio differs between a base reading and a changed one, per decoder block.

    (blocks,), of attention averaged over heads:
    mass_base, mass        attention that goes to the audio at all, 0..1
    entropy_base, entropy  of the audio share, nats; exp of it is the effective number of tokens looked at
    js                     Jensen-Shannon divergence of the two shares, bits: 0 (the same) to 1 (disjoint)
    inside_base, inside    share in the queried event, 0..1; None where no event is given
    others_base, others    share in the other events
    (blocks, heads), of each head alone (what heads do in opposite ways is lost in their average):
    head_mass, head_entropy  changed minus base;  head_js  as js
    """

    mass_base: np.ndarray
    mass: np.ndarray
    entropy_base: np.ndarray
    entropy: np.ndarray
    js: np.ndarray
    head_mass: np.ndarray
    head_entropy: np.ndarray
    head_js: np.ndarray
    inside_base: np.ndarray | None = None
    inside: np.ndarray | None = None
    others_base: np.ndarray | None = None
    others: np.ndarray | None = None

    def rows(self) -> list[Record]:
        """One record a block: the fields (of the heads, their mean), and `effective` numbers of tokens beside them."""
        names = [field.name for field in fields(self) if not field.name.startswith("head_")]
        columns = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        columns |= {"effective_base": np.exp(self.entropy_base), "effective": np.exp(self.entropy)}
        columns |= {"head_entropy": self.head_entropy.mean(axis=1), "head_js": self.head_js.mean(axis=1)}
        return [
            {"block": block, **{name: float(values[block]) for name, values in columns.items()}}
            for block in range(len(self.js))
        ]


def shift(
    base: AttentionMap, changed: AttentionMap, event: Interval | None = None, others: Sequence[Interval] = ()
) -> Shift:
    """Compare two readings of the same audio; with `event`, also the share inside it and inside the `others`.

    A token is inside an interval if its middle is. Rows, if there are several, are averaged. Raises ValueError for
    maps of different audio or blocks, and for a difference of maps, which is no share.
    """
    if base.span != changed.span or base.share.shape != changed.share.shape:
        raise ValueError(
            f"the maps do not match: {tuple(base.share.shape)} over {base.span} and {tuple(changed.share.shape)} over "
            f"{changed.span}; compare readings of the same audio and rows"
        )
    heads = [reading.share.mean(dim=2).double().numpy() for reading in (base, changed)]  # (blocks, heads, tokens)
    if any(abs(share.sum(axis=-1) - 1).max() > EVEN for share in heads):
        raise ValueError("a share does not sum to 1; pass the maps of two readings, not a difference of maps")
    masses = [reading.mass.mean(dim=2).double().numpy() for reading in (base, changed)]
    shares = [share.mean(axis=1) for share in heads]
    where: dict[str, np.ndarray] = {}
    if event is not None:
        inside = _tokens(base, [event])
        other = _tokens(base, others) & ~inside
        for name, tokens in (("inside", inside), ("others", other)):
            where[f"{name}_base"], where[name] = (share[:, tokens].sum(axis=1) for share in shares)
    return Shift(
        mass_base=masses[0].mean(axis=1),
        mass=masses[1].mean(axis=1),
        entropy_base=entropy(shares[0], axis=-1),
        entropy=entropy(shares[1], axis=-1),
        js=_divergence(*shares),
        head_mass=masses[1] - masses[0],
        head_entropy=entropy(heads[1], axis=-1) - entropy(heads[0], axis=-1),
        head_js=_divergence(*heads),
        **where,
    )


def _tokens(attention: AttentionMap, intervals: Sequence[Interval]) -> np.ndarray:
    """Which audio tokens lie in any of the intervals, (tokens,) bool."""
    inside = np.zeros(attention.span.count, dtype=bool)
    for interval in intervals:
        inside[attention.audio_span.tokens(interval)] = True
    return inside


def _divergence(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits along the last axis."""
    with np.errstate(invalid="ignore"):  # of equal shares rounding can leave the root of -1e-17
        distance = jensenshannon(first, second, base=2, axis=-1)
    return np.nan_to_num(np.asarray(distance), nan=0.0) ** 2


# -- conditions: what is done to the model while it reads the neutral question ---------------------------------------
def steering(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """Instruction steering with these settings. Three suffix passes."""
    return _steered(hearing, contrast_of(hearing, query, settings), settings)


def steering_paper(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """Instruction steering as declared for the paper, on the same question as the others, so that the base is one."""
    return steering(hearing, query, replace(paper_settings(settings), question=settings.question))


def random_vector(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """A random direction as long as the contrast in each block, drawn with the query's seed. Three suffix passes."""
    return _steered(hearing, contrast_of(hearing, query, settings).random_like(query.seed), settings)


def audio_steering(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """MAVS (arXiv 2510.12851) on the neutral question: what the audio adds to silence, λ = 0.05, all blocks.

    The question names no event, so the reading is the same for all queries. Two suffix passes, one behind silence.
    """
    vector = audio_contrast(hearing, settings.question)
    return _steered(hearing, vector, replace(settings, strength=MAVS.strength, keep_norm=True))


def prompting(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """The focus instruction before the same question, nothing steered. One suffix pass."""
    return hearing.read(settings.focus(query.event))


def neutral_prompting(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """The neutral instruction in its place: what any instruction does. One suffix pass."""
    return hearing.read(f"{settings.negative} {settings.question}")


def _steered(hearing: Hearing, vector: SteeringVector, settings: Settings) -> Reading:
    return hearing.read_rows([steered_row(settings, vector)])[0]


CONDITIONS: dict[str, Condition] = {
    "steering": steering,
    "steering-paper": steering_paper,
    "prompting": prompting,
    "neutral prompting": neutral_prompting,
    "audio steering": audio_steering,
    "random vector": random_vector,
}


#: What a summary tells of, and how: the change in this column, or (a divergence) the column itself.
MEASURES = ("mass", "entropy", "effective", "head_entropy", "js", "head_js", "inside", "others")
DIVERGENCES = ("js", "head_js")
ALL_BLOCKS = -1  # `block` of a table whose blocks were averaged


def shift_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    conditions: Mapping[str, Condition] = CONDITIONS,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, condition, block): the columns of `Shift`, and how many tokens the event and audio have.

    Cost: a scene is encoded once, its base is one suffix pass, the CONDITIONS are 13 for each query. `resume_file`: see
    `partials` (conditions are told apart by name). Warns where scenes hold classes that the settings were chosen on.
    Raises ValueError for no conditions, before any work.
    """
    facts = {"conditions": _named(conditions)}

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing = heard.hearing
        base = hearing.read(settings.question).attention
        rows = []
        for event, query, names in heard.queries():
            others = [other.span for other in heard.scene.events if other is not event]
            tokens = hearing.span.tokens(event.span)
            sizes = {"event_tokens": tokens.stop - tokens.start, "tokens": hearing.span.count}
            for name, condition in conditions.items():
                changed = condition(hearing, query, settings).attention
                moved = shift(base, changed, event.span, others)
                rows += [{**names, "condition": name, **row, **sizes} for row in moved.rows()]
        return rows

    return scenes.analysed(ANALYSIS, checkpoint, settings, rows_of, facts, resume_file=resume_file, progress=progress)


def question_shift_table(
    checkpoint: Checkpoint,
    items: Iterable[tuple[str | Path, str]],
    settings: Settings,
    *,
    focus: str = "meaningful parts",
    seed: int = 0,
    conditions: Mapping[str, Condition] = CONDITIONS,
    batch: int | None = None,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """The same for (audio file, question) pairs, such as of MMAU or SAKURA: no event is known, so no inside.

    Each question stands where `settings.question` stands, and `focus` for the event: "Focus on the meaningful parts."
    One row a (scene, item, condition, block), where a scene is one audio file, heard once for all its questions; `item`
    counts the pairs. Audio longer than the model takes is cut (`seconds` were heard of `duration`). `batch`: files
    encoded together (`several_audios.hear_each`).
    Raises ValueError for no pairs, a question that no prompt can hold, or a file that is missing, before any work;
    AudioError, naming the file, for what cannot be heard.
    """
    pairs = [(str(path), question) for path, question in items]
    missing = [path for path, _ in pairs if not Path(path).is_file()]
    if not pairs or missing or any(not question.strip() for _, question in pairs):
        raise ValueError(
            f"got {len(pairs)} pairs, {len(missing)} without their file ({', '.join(missing[:3]) or 'none'}); pass at "
            "least one (audio file, question), each with a file that exists and a question that is not empty"
        )
    tokenised(checkpoint, [Row(question) for _, question in pairs])  # refuses and tells of words before any work
    check_batch(batch)
    files = list(dict.fromkeys(path for path, _ in pairs))
    digest = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
    identity = {
        **analysis_identity(ANALYSIS, checkpoint, settings),
        "conditions": _named(conditions),
        "items": {"files": len(files), "questions": len(pairs), "sha256": digest, "focus": focus, "seed": seed},
    }

    def rows_of(heard: tuple[tuple[int, float], Hearing]) -> list[Record]:
        (index, duration), hearing = heard
        rows = []
        for item in (number for number, (path, _) in enumerate(pairs) if path == files[index]):
            asked = replace(settings, question=pairs[item][1].strip())
            base = hearing.read(asked.question).attention
            query = Query(focus, hearing.duration, hash_seed(seed, item))
            place = {"scene": index, "item": item, "path": files[index], "question": asked.question}
            sizes = {"tokens": hearing.span.count, "seconds": hearing.duration, "duration": duration}
            for name, condition in conditions.items():
                moved = shift(base, condition(hearing, query, asked).attention)
                rows += [{**place, "condition": name, **row, **sizes} for row in moved.rows()]
        return rows

    def heard(pending: Sequence[int]) -> Iterator[tuple[tuple[int, float], Hearing]]:
        sounds = ((index, *_beginning(checkpoint, files[index])) for index in pending)
        return hear_each(checkpoint, (((index, duration), samples) for index, samples, duration in sounds), batch)

    return resumable_table(len(files), rows_of, identity, inputs=heard, resume_file=resume_file, progress=progress)


def _beginning(checkpoint: Checkpoint, path: str) -> tuple[np.ndarray, float]:
    """The audio file as far as the model takes it in one go, and its whole duration in seconds."""
    samples = read_audio(path, target_rate=checkpoint.sampling_rate)
    ((_, part),) = stretches(len(samples), checkpoint.sampling_rate, checkpoint.window_seconds, "cut")
    heard = samples[part]
    if not np.any(heard):
        raise AudioError(f"the first {checkpoint.window_seconds:g} s of {path!r} are silent; leave it out")
    return heard, len(samples) / checkpoint.sampling_rate


def _named(conditions: Mapping[str, Condition]) -> list[str]:
    if not conditions:
        raise ValueError(f"there are no conditions; pass some of {', '.join(CONDITIONS)}, or your own by name")
    return list(conditions)


# -- what they say ---------------------------------------------------------------------------------------------------
def averaged(table: pd.DataFrame, blocks: Iterable[int] | None = None) -> pd.DataFrame:
    """The same table with `blocks` (default: all) averaged into one, of number -1: the answer in one row a condition.

    Raises ValueError for blocks that the table does not have.
    """
    there = sorted(set(table["block"]))
    wanted = there if blocks is None else sorted(set(blocks))
    if not wanted or not set(wanted) <= set(there):
        raise ValueError(f"blocks is {wanted}; the table has blocks {there}")
    keys = [*_keys(table), "condition"]
    numbers = [name for name in table.select_dtypes("number").columns if name not in (*keys, "block")]
    kept = table[table["block"].isin(wanted)]
    return kept.groupby(keys, sort=False)[numbers].mean().reset_index().assign(block=ALL_BLOCKS)


def shift_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean change of each measure per condition and block, with its 95 % interval over scenes and sign-flip p.

    measure   mass, entropy, effective (number of tokens), inside, others: changed minus base; head_entropy: the mean
              over heads of each one's change; js, head_js: the divergence itself
    base      its mean before the change, where it has one
    p         two-sided, of no change; p_holm: adjusted over the conditions and blocks of a measure. NaN for a
              divergence, which is never negative: test those between conditions, by `shift_differences`
    """
    changes = _changes(table)
    summary = _estimates(changes)
    divergent = summary["measure"].isin(DIVERGENCES)
    summary.loc[divergent, ["p", "p_holm"]] = np.nan
    means = table.groupby(["condition", "block"]).mean(numeric_only=True)
    bases = [means.loc[(row.condition, row.block)].get(f"{row.measure}_base", np.nan) for row in summary.itertuples()]
    summary.insert(3, "base", bases)
    return summary


def shift_differences(table: pd.DataFrame, condition: str = "steering") -> pd.DataFrame:
    """Paired over the same queries: how much more `condition` changes each measure than each other condition.

    Rows (measure, other, block): mean difference of the changes with interval and sign-flip p; p_holm over the rows
    of a measure. Raises ValueError if the table lacks the condition, or has no other.
    """
    there = list(dict.fromkeys(table["condition"]))
    if condition not in there or len(there) < 2:
        raise ValueError(f"condition is {condition!r}; the table has {', '.join(there)}, and needs it and another")
    changes = _changes(table)
    of_condition = changes.xs(condition, axis=1, level="condition")
    gaps = changes.drop(columns=condition, level="condition")
    for measure, other, block in gaps.columns:
        gaps[measure, other, block] = of_condition[measure, block] - gaps[measure, other, block]
    return _estimates(gaps).rename(columns={"condition": "other"}).assign(condition=condition)


def _keys(table: pd.DataFrame) -> list[str]:
    """What names a query in the table: an event is in a scene once, a question has its item."""
    return ["scene", "item" if "item" in table else "event"]


def _changes(table: pd.DataFrame) -> pd.DataFrame:
    """One row a query (scene, ...), columns (measure, condition, block): changed minus base, or the divergence."""
    check_rows(table)
    changed = table.copy()
    measures = [name for name in MEASURES if name in changed]
    for name in measures:
        if f"{name}_base" in changed:
            changed[name] = changed[name] - changed[f"{name}_base"]
    return changed.pivot(index=_keys(table), columns=["condition", "block"], values=measures)[measures]


def _estimates(changes: pd.DataFrame) -> pd.DataFrame:
    """A row a column (measure, condition, block) of `changes`: its mean over queries with interval, p and p_holm."""
    columns = estimate_columns(changes.to_numpy(), changes.index.get_level_values("scene").to_numpy())
    rows = changes.columns.to_frame(index=False, name=["measure", "condition", "block"])
    rows = rows.assign(
        mean=columns.mean, low=columns.low, high=columns.high, n=columns.n, scenes=columns.clusters, p=columns.p
    )
    rows["p_holm"] = np.nan
    for _, of_measure in rows.groupby("measure"):
        adjusted = holm({str(index): p for index, p in of_measure["p"].items()})
        rows.loc[of_measure.index, "p_holm"] = list(adjusted.values())
    return rows
