"""Carry a steering vector from one model to another: a linear map between their states, fitted on shared inputs.

Both models hear the same audio under the same prompts; each pair of states at the last prompt token is one data point.
A map that turns the one model's states into the other's also turns differences of states, so vectors, into each other:

    first   = shared_states(one, audios, prompts, neutral)             # (pairs, blocks, hidden)
    second  = shared_states(another, audios, prompts, neutral)
    aligned = align(first, second, target_block=1)
    vector  = carried(one_hearing.contrast(...), [aligned], another)   # fits `another`

Whether such a vector still steers is asked by `transfer_tables`, beside what a map of shuffled pairs does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from .batches import Row
from .checkpoints import Checkpoint
from .hearing import Hearing
from .linear_maps import LinearMap, procrustes_map, ridge_map
from .provenance import Provenance, library_versions
from .vectors import SteeringVector, VectorMismatchError

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
