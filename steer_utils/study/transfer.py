"""Does a steering vector from elsewhere still steer? Vectors of any origin on the same scenes, and what they find.

A *maker* gives the vector for a query about an audio: made there and then, kept from another scene, made in silence, or
carried over from another model (`Carrier`, by the maps of `alignment`). All of them are added to one model in the same
way, and read in the same way, so that nothing but the vector differs.

    makers = {"own": own_vector(settings), "silence": silent_vector(settings), "random": random_vector(settings)}
    vector_summary(vector_table(lm, scenes, settings, makers), against="random")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import Query, contrast_of, localise, read_out, steered_row
from steer_utils.methods.settings import Settings
from steer_utils.study.alignment import Alignment, carried
from steer_utils.study.benchmark import HeardScene, SceneSet, by_query, check_rows
from steer_utils.study.resume import Progress, Record
from steer_utils.study.statistics import difference_record, mean_record

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
    return lambda hearing, query: contrast_of(hearing, query.for_another_event(), settings)


@dataclass(eq=False)
class VectorSource:
    """Another model, and the vectors that it makes for the audio that a hearing holds. The last audio is kept, so
    that several carriers share its encoding. Raises ValueError for an audio of another sampling rate."""

    checkpoint: Checkpoint
    settings: Settings
    _heard: Hearing | None = field(default=None, init=False, repr=False)
    _vectors: dict[str, SteeringVector] = field(default_factory=dict, init=False, repr=False)

    def vector(self, hearing: Hearing, event: str) -> SteeringVector:
        """Its contrast for `event`, in all of its blocks."""
        if hearing.checkpoint.sampling_rate != self.checkpoint.sampling_rate:
            raise ValueError(f"{self.checkpoint.name} and {hearing.checkpoint.name} hear at different sampling rates")
        if self._heard is None or self._heard.samples is not hearing.samples:
            self._heard, self._vectors = Hearing(self.checkpoint, hearing.samples), {}
        if event not in self._vectors:
            settings = self.settings
            focus = settings.positive.format(event=event)
            self._vectors[event] = self._heard.contrast(focus, settings.negative, prompt=settings.contrast_question)
        return self._vectors[event]


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
        asked = query.for_another_event() if self.swapped else query
        chosen = self.maps[query.seed % len(self.maps)]
        return carried(self.source.vector(hearing, asked.event), chosen, hearing.checkpoint)


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

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing = heard.hearing
        rows = []
        for event, query, names in heard.queries():
            vectors = {name: maker(hearing, query) for name, maker in makers.items()}
            first = next(iter(vectors.values()))
            curves = _curves(hearing, vectors.values(), settings)
            for (name, vector), curve in zip(vectors.items(), curves, strict=True):
                window = localise(curve, hearing, query).interval
                assert window is not None  # a curve always has a best window
                scores = {"overlap": window.covers(event.span), "chance": heard.chance(event)}
                rows.append({**names, "vector": name, **scores, "cosine": _cosine(first, vector)})
        return rows

    facts = {"makers": list(makers)}
    table = scenes.analysed("vectors", checkpoint, settings, rows_of, facts, resume_file=resume_file, progress=progress)
    return table.astype({"cosine": float})


def _curves(hearing: Hearing, vectors: Iterable[SteeringVector], settings: Settings) -> list[np.ndarray]:
    """What `base.steered_curve` gives for each vector, as one batch."""
    steered = [steered_row(settings, vector) for vector in vectors]
    base, *readings = hearing.read_rows([Row(settings.question), *steered])
    return [read_out(reading.attention, base.attention, settings.read, settings.read_blocks) for reading in readings]


def _cosine(first: SteeringVector, second: SteeringVector) -> float | None:
    shared = sorted(set(first.acting_blocks()) & set(second.acting_blocks()))
    return float(first.cosine(second)[shared].mean()) if shared else None


def vector_summary(table: pd.DataFrame, against: str) -> pd.DataFrame:
    """Overlap of each vector with its 95 % interval over scenes, its chance and mean cosine; and how much more than
    that of `against` it is: `more`, `more_low`, `more_high` and two-sided sign-flip p, paired over the same queries.

    The row of `against` itself has NaN there. Raises ValueError for a table without rows, or without `against`.
    """
    check_rows(table)
    wide = by_query(table, columns="vector", values="overlap")
    if against not in wide:
        raise ValueError(f"against is {against!r}; the table has {', '.join(wide.columns)}")
    means = table.groupby("vector")[["chance", "cosine"]].mean()
    rows: list[Record] = []
    for name in dict.fromkeys(table["vector"]):
        overlap = mean_record(wide[name])
        row = {
            "vector": name,
            "n": overlap["n"],
            "overlap": overlap["mean"],
            "low": overlap["low"],
            "high": overlap["high"],
            **means.loc[name],
        }
        if name != against:
            gap = difference_record(wide[name], wide[against])
            row |= {"more": gap["mean"], "more_low": gap["low"], "more_high": gap["high"], "p": gap["p"]}
        rows.append(row)
    return pd.DataFrame(rows)
