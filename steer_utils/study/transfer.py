"""Carry a steering vector from one model to another: a linear map between their states, fitted on shared inputs.

Both models hear the same audio under the same prompts; each pair of states at the last prompt token is one data point.
A map that turns the one model's states into the other's also turns differences of states, so vectors, into each other:

    first   = shared_states(one, audios, prompts, neutral)             # (pairs, blocks, hidden)
    second  = shared_states(another, audios, prompts, neutral)
    aligned = align(first, second, target_block=1)
    vector  = carried(one_hearing.contrast(...), [aligned], another)   # fits `another`

Whether such a vector still steers is asked by `transfer_tables`, beside what a map of shuffled pairs does.

Linear maps between the states of two models: ridge regression, and a rotation (Procrustes).

    fitted = ridge_map(source, target, penalty=0.01)       # states (pairs, a) and (pairs, b) on the same inputs
    fitted(source), fitted.explained(held_out_source, held_out_target)

Does a steering vector from elsewhere still steer? Vectors of any origin on the same scenes, and what they find.

A *maker* gives the vector for a query about an audio: made there and then, kept from another scene, made in silence, or
carried over from another model (`Carrier`). All of them are added to one model in the same way, and read in the same
way, so that nothing but the vector differs.

    makers = {"own": own_vector(settings), "silence": silent_vector(settings), "random": random_vector(settings)}
    vector_summary(vector_table(lm, scenes, settings, makers), against="random")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.linalg import orthogonal_procrustes

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import Provenance, SteeringVector, VectorMismatchError, library_versions
from steer_utils.methods.base import Query, contrast_of, localise, steered_row
from steer_utils.methods.settings import Settings
from steer_utils.study.benchmark import SceneSet, query_in, slot_name
from steer_utils.study.causality import KEYS, check_rows, difference, rate
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_table
from steer_utils.study.statistics import random_overlap

LEAST_PAIRS = 10  # fewer pairs of states say nothing of a map between spaces of a hundred dimensions or more


@dataclass(frozen=True, eq=False)
class LinearMap:
    """y = (x - source_mean) @ weights + target_mean. `weights`: (source width, target width)."""

    weights: np.ndarray
    source_mean: np.ndarray
    target_mean: np.ndarray

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """States (pairs, source width) as the other model would have them, (pairs, target width)."""
        return (states - self.source_mean) @ self.weights + self.target_mean

    def explained(self, source: np.ndarray, target: np.ndarray) -> float:
        """R²: the share of the variance of `target` (pairs, width) about its own mean that the map predicts.

        1 is perfect, 0 no better than that mean; below 0, worse.
        """
        rest = np.sum((target - self(source)) ** 2)
        return float(1.0 - rest / np.sum((target - target.mean(axis=0)) ** 2))


def ridge_map(source: np.ndarray, target: np.ndarray, penalty: float) -> LinearMap:
    """Ridge regression of `target` (pairs, b) on `source` (pairs, a), both centred, in closed form:

        W = (XᵀX + λI)⁻¹ XᵀY,     λ = penalty · trace(XᵀX) / a

    so that `penalty` means the same whatever the scale of the states. 0 is least squares (of the smallest norm, where
    there are fewer pairs than dimensions). Cost: one SVD of X. Raises ValueError as `_checked` does, and for a penalty
    that is negative or not finite.
    """
    if not (np.isfinite(penalty) and penalty >= 0):
        raise ValueError(f"penalty is {penalty}; pass a number of 0 or more")
    source, target = _checked(source, target)
    x, y = source - source.mean(axis=0), target - target.mean(axis=0)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    strength = penalty * np.sum(values**2) / x.shape[1]
    kept = values > values.max() * max(x.shape) * np.finfo(float).eps  # directions that the pairs do not have
    shrunk = np.where(kept, values / np.where(kept, values**2 + strength, 1.0), 0.0)
    return LinearMap((right.T * shrunk) @ (left.T @ y), source.mean(axis=0), target.mean(axis=0))


def procrustes_map(source: np.ndarray, target: np.ndarray) -> LinearMap:
    """The best rotation (with reflection) of centred `source` onto centred `target`, and one scale (Schönemann 1966).

    It can turn the space but not bend it: no direction is stretched more than another, so it has far fewer ways to fit
    than ridge. The narrower of two widths is padded with zeros. Raises ValueError as `_checked` does.
    """
    source, target = _checked(source, target)
    x, y = source - source.mean(axis=0), target - target.mean(axis=0)
    width = max(x.shape[1], y.shape[1])
    padded = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (x, y)]
    rotation = orthogonal_procrustes(*padded)[0][: x.shape[1], : y.shape[1]]
    turned = x @ rotation
    scale = np.sum(turned * y) / max(float(np.sum(turned**2)), 1e-30)
    return LinearMap(scale * rotation, source.mean(axis=0), target.mean(axis=0))


def _checked(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ValueError unless they are finite (pairs, width), of as many pairs, and enough."""
    source, target = np.asarray(source, float), np.asarray(target, float)
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
        raise ValueError(f"pass states (pairs, width) in pairs, got {source.shape} and {target.shape}")
    if len(source) < LEAST_PAIRS:
        raise ValueError(f"{len(source)} pairs of states are too few to fit a map; pass at least {LEAST_PAIRS}")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("the states hold NaN or infinity")
    return source, target


PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
HELD_OUT = 3  # every third scene is held out while penalty and block are chosen
Kind = Literal["ridge", "rotation"]


# -- states on shared inputs -----------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class SharedStates:
    """What one model's state is at the last prompt token, for every audio and prompt that the models share.

    `hidden`: (pairs, blocks, hidden), float64. `scenes`: (pairs,), which audio. `prompts`: one a pair; `neutral` is the
    one that the contrasts subtract.
    """

    model: str
    hidden: np.ndarray
    scenes: np.ndarray
    prompts: tuple[str, ...]
    neutral: str

    def contrasts(self, block: int) -> np.ndarray:
        """State minus the same audio's state under the neutral prompt, (pairs without the neutral ones, hidden)."""
        plain = np.array([prompt == self.neutral for prompt in self.prompts])
        base = dict(zip(self.scenes[plain].tolist(), self.hidden[plain, block], strict=True))
        rest = self.hidden[~plain, block]
        return rest - np.stack([base[scene] for scene in self.scenes[~plain].tolist()])

    def of(self, prompts: Iterable[str]) -> SharedStates:
        """Only the pairs with these prompts, and the neutral ones. Raises ValueError for one that was never asked."""
        wanted = {*prompts, self.neutral}
        if missing := sorted(wanted - set(self.prompts)):
            raise ValueError(f"never asked: {', '.join(missing)}")
        kept = np.array([prompt in wanted for prompt in self.prompts])
        chosen = tuple(prompt for prompt in self.prompts if prompt in wanted)
        return replace(self, hidden=self.hidden[kept], scenes=self.scenes[kept], prompts=chosen)


def shared_states(
    checkpoint: Checkpoint, audios: Sequence[np.ndarray], prompts: Sequence[str], neutral: str
) -> SharedStates:
    """The states of a model on each audio (samples at its rate) under each of `prompts` and the `neutral` one.

    Cost an audio: one encoding, and a batch of short suffix passes. Raises ValueError for no prompts, or a prompt named
    twice.
    """
    asked = [*prompts, neutral]
    if len(asked) < 2 or len(set(asked)) != len(asked):
        raise ValueError("pass prompts that differ from each other and from the neutral one, at least one")
    readings = [Hearing(checkpoint, audio).read_rows([Row(prompt) for prompt in asked]) for audio in audios]
    return SharedStates(
        model=checkpoint.name,
        hidden=np.stack([one.hidden.double().numpy() for each in readings for one in each]),
        scenes=np.repeat(np.arange(len(audios)), len(asked)),
        prompts=tuple(asked) * len(audios),
        neutral=neutral,
    )


# -- alignments ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Alignment:
    """A map from the states after one block of a model to those after a block of another.

    `length`: mean length of the target's own contrasts on the shared inputs; `norm`: of its states, in that block.
    `held_out`: R² on held-out scenes, of a map fitted without them (the map itself is fitted on all).
    """

    linear: LinearMap
    source_block: int
    target_block: int
    penalty: float | None
    held_out: float
    length: float
    norm: float


def alignment_scores(
    source: SharedStates, target: SharedStates, target_block: int, penalties: Sequence[float] = PENALTIES
) -> np.ndarray:
    """R² on held-out scenes of a ridge map from each source block, (source blocks, penalties)."""
    fit, test = _split(source, target)
    y = target.hidden[:, target_block]
    return np.array(
        [
            [ridge_map(x[fit], y[fit], penalty).explained(x[test], y[test]) for penalty in penalties]
            for x in np.moveaxis(source.hidden, 1, 0)
        ]
    )


def align(
    source: SharedStates,
    target: SharedStates,
    target_block: int,
    *,
    kind: Kind = "ridge",
    source_block: int | None = None,
    penalty: float | None = None,
    shuffle: int | None = None,
) -> Alignment:
    """Fit a map onto one block of the target; what is None is chosen by R² of a ridge map on held-out scenes.

    `kind`: "ridge", or "rotation" (Procrustes). `shuffle`: a seed; the map is fitted on mismatched pairs, the control
    that says what a map does that knows both spaces but not what belongs together. Raises ValueError for inputs that
    are not shared, and as `ridge_map` does.
    """
    fit, test = _split(source, target)
    if source_block is None or (penalty is None and kind == "ridge"):
        tried = PENALTIES if penalty is None else (penalty,)
        scores = alignment_scores(source, target, target_block, tried)
        if source_block is None:
            source_block = int(np.argmax(scores.max(axis=1)))
        penalty = tried[int(np.argmax(scores[source_block]))]
    x, y = source.hidden[:, source_block], target.hidden[:, target_block]
    if shuffle is not None:
        y = np.random.default_rng(shuffle).permutation(y)

    def fitted(rows: np.ndarray) -> LinearMap:
        return procrustes_map(x[rows], y[rows]) if kind == "rotation" else ridge_map(x[rows], y[rows], penalty or 0.0)

    return Alignment(
        linear=fitted(fit | test),
        source_block=source_block,
        target_block=target_block,
        penalty=None if kind == "rotation" else penalty,
        held_out=fitted(fit).explained(x[test], y[test]),
        length=float(np.linalg.norm(target.contrasts(target_block), axis=1).mean()),
        norm=float(np.linalg.norm(target.hidden[:, target_block], axis=1).mean()),
    )


def align_all(
    source: SharedStates,
    target: SharedStates,
    target_blocks: Iterable[int],
    *,
    kind: Kind = "ridge",
    like: Sequence[Alignment] | None = None,
    shuffle: int | None = None,
) -> list[Alignment]:
    """One alignment for each block that is to be steered in the target. `like`: take source block and penalty from
    these, block by block, so that a control differs in nothing but its pairs. Otherwise as `align`."""
    blocks = list(target_blocks)
    models = [None] * len(blocks) if like is None else list(like)
    return [
        align(
            source,
            target,
            block,
            kind=kind,
            source_block=None if model is None else model.source_block,
            penalty=None if model is None else model.penalty,
            shuffle=shuffle,
        )
        for block, model in zip(blocks, models, strict=True)
    ]


def _split(source: SharedStates, target: SharedStates) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs are fitted and which are held out, both (pairs,) bool: whole scenes."""
    if source.prompts != target.prompts or not np.array_equal(source.scenes, target.scenes):
        raise ValueError("the two models were not asked the same; pass states on the same audio and prompts")
    scenes = np.unique(source.scenes)
    if len(scenes) < HELD_OUT:
        raise ValueError(f"{len(scenes)} scenes are too few to hold some out; pass at least {HELD_OUT}")
    test = np.isin(source.scenes, scenes[HELD_OUT - 1 :: HELD_OUT])
    return ~test, test


def carried(
    vector: SteeringVector, alignments: Sequence[Alignment], target: Checkpoint, *, rescale: bool = True
) -> SteeringVector:
    """A vector of one model as a vector of `target`: v W, in the block of each alignment; zero in the others.

    The means drop out, because a vector is a difference. A ridge map shrinks, so by default the result is made as long
    as the target's own contrasts are on the shared inputs. Raises VectorMismatchError where the maps do not fit.
    """
    directions = torch.zeros(target.num_blocks, target.hidden_size)
    norms = torch.ones(target.num_blocks)
    for each in alignments:
        width = (vector.hidden_size, target.hidden_size)
        if each.linear.weights.shape != width or each.source_block >= vector.num_blocks:
            raise VectorMismatchError(
                f"the map is {each.linear.weights.shape} from block {each.source_block}, the vector and "
                f"{target.name} need {width}; fit it on the states of these two models"
            )
        made = vector.directions[each.source_block].double().numpy() @ each.linear.weights
        if rescale:
            made = made * (each.length / max(float(np.linalg.norm(made)), 1e-30))
        directions[each.target_block] = torch.from_numpy(made).float()
        norms[each.target_block] = each.norm
    provenance = Provenance(
        model=target.name,
        family=target.family.model_type,
        revision=target.revision,
        positive=vector.provenance.positive,
        negative=vector.provenance.negative,
        positions=vector.provenance.positions,
        recipe=f"carried from {vector.provenance.model or 'another model'}: {vector.provenance.recipe}",
        versions=library_versions(),
    )
    return SteeringVector(directions, tuple(each.target_block for each in alignments), norms, provenance)


Maker = Callable[[Hearing, Query], SteeringVector]


# -- makers ----------------------------------------------------------------------------------------------------------
def own_vector(settings: Settings) -> Maker:
    """The vector made on this very audio, as the benchmark's steering makes it. Two suffix passes."""
    return lambda hearing, query: contrast_of(hearing, query, settings)


def silent_vector(settings: Settings) -> Maker:
    """The same contrast made while the model hears silence of the same length: the words alone."""
    return lambda hearing, query: contrast_of(hearing.silence, query, settings)


def random_vector(settings: Settings) -> Maker:
    """A random direction as long as the own vector in each block, drawn with the query's seed."""
    return lambda hearing, query: contrast_of(hearing, query, settings).random_like(query.seed)


def swapped_vector(settings: Settings) -> Maker:
    """The vector of another event of the scene. The query must name the others."""
    return lambda hearing, query: contrast_of(hearing, _other(query), settings)


def _other(query: Query) -> Query:
    if not query.others:
        raise ValueError(f"the query for {query.event!r} names no other event; pass Query(..., others=...)")
    return Query(query.others[query.seed % len(query.others)], query.seconds, query.seed)


@dataclass(eq=False)
class VectorSource:
    """Another model, and the vectors that it makes for the audio that a hearing holds. The last audio is kept, so
    that several carriers share its encoding. Raises ValueError for an audio of another sampling rate."""

    checkpoint: Checkpoint
    settings: Settings
    _heard: Hearing | None = field(default=None, init=False, repr=False)
    _made: dict[str, SteeringVector] = field(default_factory=dict, init=False, repr=False)

    def vector(self, hearing: Hearing, event: str) -> SteeringVector:
        """Its contrast for `event`, in all of its blocks."""
        if hearing.checkpoint.sampling_rate != self.checkpoint.sampling_rate:
            raise ValueError(f"{self.checkpoint.name} and {hearing.checkpoint.name} hear at different sampling rates")
        if self._heard is None or self._heard.samples is not hearing.samples:
            self._heard, self._made = Hearing(self.checkpoint, hearing.samples), {}
        if event not in self._made:
            own = self.settings
            positive = own.positive.format(event=event)
            self._made[event] = self._heard.contrast(positive, own.negative, prompt=own.contrast_question)
        return self._made[event]


@dataclass(frozen=True, eq=False)
class Carrier:
    """A maker: what `source` makes for the audio, carried over. Each of `maps` is a set of alignments, one for each
    block to steer; a query takes one of them by its seed, so that a control does not hang on one draw.

    `swapped`: carry the vector of another event of the scene instead.
    """

    source: VectorSource
    maps: Sequence[Sequence[Alignment]]
    swapped: bool = False

    def __call__(self, hearing: Hearing, query: Query) -> SteeringVector:
        event = _other(query).event if self.swapped else query.event
        chosen = self.maps[query.seed % len(self.maps)]
        return carried(self.source.vector(hearing, event), chosen, hearing.checkpoint)


# -- the table -------------------------------------------------------------------------------------------------------
def vector_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    makers: Mapping[str, Maker],
    *,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, vector): overlap of the window found with the event, its chance, and the cosine of the
    vector with that of the first maker (mean over the blocks that both steer; NaN if there are none).

    `settings` say which question is steered, how strongly, and what is read; which blocks are steered is the vector's
    own matter. Cost a query: the makers, and one batch of a row a maker. `resume_file` goes by the makers' names only.
    Warns where scenes hold classes that the settings were chosen on. Raises ValueError for no makers.
    """
    if not makers:
        raise ValueError("there are no makers; pass some, by name")
    facts = {**analysis_identity("vectors", checkpoint, settings), "scenes": scenes.as_dict(), "makers": list(makers)}
    scenes.warn_of_development(settings)

    def rows_of(index: int) -> list[Record]:
        scene = scenes.maker.scene(index, scenes.seed)
        hearing = Hearing(checkpoint, scene.samples)
        rows = []
        for slot, event in enumerate(scene.events):
            query = query_in(scene, slot, scenes.seed)
            vectors = {name: maker(hearing, query) for name, maker in makers.items()}
            first = next(iter(vectors.values()))
            place = {"scene": index, "slot": slot_name(slot, len(scene.events)), "event": event.name}
            chance = random_overlap(event.span, hearing.span, query.seconds)
            curves = _curves(hearing, vectors.values(), settings)
            for (name, vector), curve in zip(vectors.items(), curves, strict=True):
                window = localise(curve, hearing, query).interval
                assert window is not None  # a curve always has a best window
                overlap = window.covers(event.span)
                cosine = _cosine(first, vector)
                rows.append({**place, "vector": name, "overlap": overlap, "chance": chance, "cosine": cosine})
        return rows

    return resumable_table(scenes.count, rows_of, facts, resume_file=resume_file, progress=progress).astype(
        {"cosine": float}
    )


def _curves(hearing: Hearing, vectors: Iterable[SteeringVector], settings: Settings) -> list[np.ndarray]:
    """What `base.steered_curve` gives for each vector, as one batch."""
    steered = [steered_row(settings, vector) for vector in vectors]
    base, *readings = hearing.read_rows([Row(settings.question), *steered])
    shown = [one.attention if settings.read == "share" else one.attention - base.attention for one in readings]
    return [attention.curve(settings.read_blocks) for attention in shown]


def _cosine(first: SteeringVector, second: SteeringVector) -> float | None:
    shared = sorted(set(first.acting_blocks()) & set(second.acting_blocks()))
    return float(first.cosine(second)[shared].mean()) if shared else None


def vector_summary(table: pd.DataFrame, against: str) -> pd.DataFrame:
    """Overlap of each vector with its 95 % interval over scenes, its chance and mean cosine; and how much more than
    that of `against` it is: `more`, `more_low`, `more_high` and two-sided sign-flip p, paired over the same queries.

    The row of `against` itself has NaN there. Raises ValueError for a table without rows, or without `against`.
    """
    check_rows(table)
    wide = table.pivot(index=KEYS, columns="vector", values="overlap")
    if against not in wide:
        raise ValueError(f"against is {against!r}; the table has {', '.join(wide.columns)}")
    means = table.groupby("vector")[["chance", "cosine"]].mean()
    rows: list[Record] = []
    for name in dict.fromkeys(table["vector"]):
        found = rate(wide[name])
        row = {"vector": name, "n": found["n"], "overlap": found["mean"], "low": found["low"], "high": found["high"],
               "chance": means.loc[name, "chance"], "cosine": means.loc[name, "cosine"]}  # fmt: skip
        if name != against:
            gap = difference(wide[name], wide[against])
            row |= {"more": gap["mean"], "more_low": gap["low"], "more_high": gap["high"], "p": gap["p"]}
        rows.append(row)
    return pd.DataFrame(rows)
