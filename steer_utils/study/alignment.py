"""Linear maps between the states of two models, and what they make of a steering vector.

Both models hear the same audio under the same prompts; each pair of states at the last prompt token is one data point.
A map that turns the one model's states into the other's also turns differences of states, so vectors, into each other.
It is fitted by ridge regression, or as a rotation (Procrustes).

    first     = shared_states(one, audios, prompts, neutral)               # (pairs, blocks, hidden)
    second    = shared_states(another, audios, prompts, neutral)
    alignment = align(first, second, target_block=1)
    vector    = carried(one_hearing.contrast(...), [alignment], another)   # fits `another`

Whether such a vector still steers is asked by `transfer`, beside what a map of shuffled pairs does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.environment import library_versions
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import SteeringVector, VectorMismatchError

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
HELD_OUT = 3  # every third scene is held out while penalty and block are chosen
Kind = Literal["ridge", "rotation"]
LEAST_PAIRS = 10  # fewer pairs of states say nothing of a map between spaces of a hundred dimensions or more


# -- linear maps -----------------------------------------------------------------------------------------------------
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
    padded = [np.pad(states, ((0, 0), (0, width - states.shape[1]))) for states in (x, y)]
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
        hidden=np.stack([reading.hidden.double().numpy() for of_audio in readings for reading in of_audio]),
        scenes=np.repeat(np.arange(len(audios)), len(asked)),
        prompts=tuple(asked) * len(audios),
        neutral=neutral,
    )


# -- alignments ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Alignment:
    """A map from the states after one block of a model to those after a block of another.

    `length`: mean norm of the target's own contrasts on the shared inputs; `norm`: of its states, in that block.
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
    for alignment in alignments:
        width = (vector.hidden_size, target.hidden_size)
        if alignment.linear.weights.shape != width or alignment.source_block >= vector.num_blocks:
            raise VectorMismatchError(
                f"the map is {alignment.linear.weights.shape} from block {alignment.source_block}, the vector and "
                f"{target.name} need {width}; fit it on the states of these two models"
            )
        direction = vector.directions[alignment.source_block].double().numpy() @ alignment.linear.weights
        if rescale:
            direction = direction * (alignment.length / max(float(np.linalg.norm(direction)), 1e-30))
        directions[alignment.target_block] = torch.from_numpy(direction).float()
        norms[alignment.target_block] = alignment.norm
    provenance = replace(
        vector.provenance,
        model=target.name,
        family=target.family.model_type,
        revision=target.revision,
        recipe=f"carried from {vector.provenance.model or 'another model'}: {vector.provenance.recipe}",
        versions=library_versions(),
    )
    return SteeringVector(directions, tuple(alignment.target_block for alignment in alignments), norms, provenance)
