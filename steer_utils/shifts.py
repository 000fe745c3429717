"""Attention-ratio analysis: does a change of the prompt or of the state raise attention to the audio, or move it?

The paper's first claim (arXiv 2606.11400): instruction steering redistributes attention over the audio, prompting and
audio-based steering do not. Here each of them is a *condition*, read at the last prompt token and compared, block by
block, with the neutral question alone: how much attention goes to the audio at all (*mass*), and how what goes there
is spread over it (*share*): its entropy, how far it moved (Jensen-Shannon divergence), how much lies in the event.

    table = shift_table(lm, scene_set(lm, settings, count=100, seed=0), settings)     # shift_tables.py
    shift_summary(averaged(table))

A longer prompt takes attention from the audio whatever it says: compare "prompting" with "neutral prompting", which
puts an instruction without the event in the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from .audio_steering import MAVS, audio_contrast
from .hearing import Hearing, Reading
from .maps import AttentionMap
from .partials import Record
from .queries import Query
from .readout import contrast_of
from .settings import Settings, paper_settings
from .spans import Interval
from .steering import Injection
from .vectors import SteeringVector

Condition = Callable[[Hearing, Query, Settings], Reading]
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
        columns = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) is not None and not each.name.startswith("head_")
        }
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
    heads = [each.share.mean(dim=2).double().numpy() for each in (base, changed)]  # (blocks, heads, tokens)
    if any(abs(share.sum(axis=-1) - 1).max() > EVEN for share in heads):
        raise ValueError("a share does not sum to 1; pass the maps of two readings, not a difference of maps")
    masses = [each.mass.mean(dim=2).double().numpy() for each in (base, changed)]
    shares = [share.mean(axis=1) for share in heads]
    parts: dict[str, np.ndarray] = {}
    if event is not None:
        inside = _tokens(base, [event])
        other = _tokens(base, others) & ~inside
        for name, where in (("inside", inside), ("others", other)):
            parts[f"{name}_base"], parts[name] = (share[:, where].sum(axis=1) for share in shares)
    return Shift(
        mass_base=masses[0].mean(axis=1),
        mass=masses[1].mean(axis=1),
        entropy_base=entropy(shares[0], axis=-1),
        entropy=entropy(shares[1], axis=-1),
        js=_divergence(*shares),
        head_mass=masses[1] - masses[0],
        head_entropy=entropy(heads[1], axis=-1) - entropy(heads[0], axis=-1),
        head_js=_divergence(*heads),
        **parts,
    )


def _tokens(attention: AttentionMap, intervals: Sequence[Interval]) -> np.ndarray:
    """Which audio tokens lie in any of the intervals, (tokens,) bool."""
    found = np.zeros(attention.span.count, dtype=bool)
    for interval in intervals:
        found[attention.span.tokens(interval)] = True
    return found


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
    return hearing.read(settings.question, steer=Injection(vector, MAVS.strength))


def prompting(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """The focus instruction before the same question, nothing steered. One suffix pass."""
    return hearing.read(settings.focus(query.event))


def neutral_prompting(hearing: Hearing, query: Query, settings: Settings) -> Reading:
    """The neutral instruction in its place: what any instruction does. One suffix pass."""
    return hearing.read(f"{settings.negative} {settings.question}")


def _steered(hearing: Hearing, vector: SteeringVector, settings: Settings) -> Reading:
    return hearing.read(settings.question, steer=Injection(vector, settings.strength), keep_norm=settings.keep_norm)


CONDITIONS: dict[str, Condition] = {
    "steering": steering,
    "steering-paper": steering_paper,
    "prompting": prompting,
    "neutral prompting": neutral_prompting,
    "audio steering": audio_steering,
    "random vector": random_vector,
}
