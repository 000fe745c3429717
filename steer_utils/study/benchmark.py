"""Every method on the same scenes: a tidy table of overlaps, resumable.

Scenes hold three events, every class equally often in each slot. The queried class is never one on which the
settings were chosen, and a recording the model was trained on is left out. The analyses beside the benchmark take their
scenes and queries from here.

    scenes = scene_set(lm, settings, count=100, seed=0)
    table  = run_benchmark(lm, scenes, settings)                   # a row a (scene, event, method)
    for event, query, names in scenes.heard(lm, 0).queries(): ...  # what every analysis goes through
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.several_audios import check_batch, hear_each
from steer_utils.methods.base import Localisation, Method, Query, find_together
from steer_utils.methods.baselines import POSITION
from steer_utils.methods.settings import Settings, trained_recordings
from steer_utils.methods.table import METHODS, method_named, standard_methods, without_equal_rows
from steer_utils.sound.conditions import PLAIN, condition_named
from steer_utils.sound.datasets import same_recordings
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import PAPER_SECONDS as PAPER_SECONDS  # lesson 07 takes it from here
from steer_utils.sound.scenemaker import SceneMaker, three_event_maker
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import SOUNDS
from steer_utils.sound.spans import AudioSpan, best_window
from steer_utils.study.metrics import score_row
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_table
from steer_utils.study.statistics import random_overlap

#: Classes that settings are chosen on, and classes that figures are reported on.
DEVELOPMENT, TEST = SPLITS = ("development", "test")

SLOTS = ("first", "middle", "last")

PRIOR_OF = "steering"  # the positional prior averages this method's curves
_QUERY_COLUMNS = ("scene", "slot", "event", "source", "truth_start", "truth_end", "others", "token_seconds", "chance")


@dataclass(frozen=True)
class SceneSet:
    """The scenes of a run: how they are made, and where their sounds come from."""

    maker: SceneMaker
    count: int
    seed: int
    left_out: int = 0  # recordings left out because the model was trained on them
    unused: Mapping[str, int] = field(default_factory=dict)  # recordings by class, where the class is not asked for
    condition: str = PLAIN  # what the scenes are like (`sound.conditions`)

    def as_dict(self) -> dict[str, object]:
        """What a reader needs to make the same scenes again."""
        return {
            "scenes": self.count,
            "seed": self.seed,
            "classes": list(self.maker.names),
            "sounds": "procedural" if self.maker.clips is None else f"{len(self.maker.clips)} recordings",
            "left_out": self.left_out,
            **({"unused": dict(self.unused)} if self.unused else {}),
            **({"condition": self.condition} if self.condition != PLAIN else {}),
            "seconds": list(self.maker.seconds),
            "event_seconds": list(self.maker.event_seconds),
        }

    def warn_of_development(self, settings: Settings, stacklevel: int = 3) -> None:
        """A UserWarning where scenes hold classes that `settings` were chosen on: figures on them flatter."""
        seen = [name for name in self.maker.names if name in settings.development_events]
        if seen:
            warnings.warn(
                f"the settings were chosen on {', '.join(seen)}, and these scenes hold them: what is measured flatters "
                "the method. scene_set(checkpoint, settings, ...) with the same settings leaves them out",
                stacklevel=stacklevel,
            )

    def analysed(
        self,
        analysis: str,
        checkpoint: Checkpoint,
        settings: Settings,
        rows_of: Callable[[HeardScene], list[Record]],
        facts: Mapping[str, object] | None = None,
        *,
        resume_file: Path | None = None,
        progress: Progress = iter,
    ) -> pd.DataFrame:
        """The rows that an analysis makes of each scene, one heard after another; resumable as `resumable_table` is.

        Its identity is the analysis, the model, the settings, these scenes and the further `facts`. Warns where scenes
        hold classes that the settings were chosen on.
        """
        self.warn_of_development(settings, stacklevel=4)  # where the analysis was called
        return resumable_table(
            self.count,
            rows_of,
            {**analysis_identity(analysis, checkpoint, settings), "scenes": self.as_dict(), **(facts or {})},
            inputs=lambda pending: (self.heard(checkpoint, index) for index in pending),
            resume_file=resume_file,
            progress=progress,
        )

    def heard(self, checkpoint: Checkpoint, index: int) -> HeardScene:
        """Scene `index`, encoded by the model once for all queries about it."""
        (heard,) = self.heard_each(checkpoint, [index])
        return heard

    def heard_each(
        self, checkpoint: Checkpoint, indices: Iterable[int], batch: int | None = None
    ) -> Iterator[HeardScene]:
        """These scenes, one after another, `batch` of them made and encoded together (`several_audios.hear_each`)."""
        scenes = (self.maker.scene(index, self.seed) for index in indices)
        for scene, hearing in hear_each(checkpoint, ((scene, scene.samples) for scene in scenes), batch):
            yield HeardScene(scene, hearing, self.seed)


@dataclass(frozen=True, eq=False)
class HeardScene:
    """A scene of a set, and what a model hears of it."""

    scene: Scene
    hearing: Hearing
    seed: int

    def queries(self) -> Iterator[tuple[Event, Query, Record]]:
        """Each event, the query for it, and the columns that name the query in a table: scene, slot, event."""
        for slot, event in enumerate(self.scene.events):
            names = {
                "scene": self.scene.index,
                "slot": slot_name(slot, len(self.scene.events)),
                "event": event.name,
            }
            yield event, query_in(self.scene, slot, self.seed), names

    def chance(self, event: Event, width: float = 1.0) -> float:
        """Expected overlap with `event` of a random window, `width` times as long as the event."""
        return random_overlap(event.span, self.hearing.span, width * event.span.duration)


def scene_set(
    checkpoint: Checkpoint,
    settings: Settings,
    *,
    count: int,
    seed: int,
    clips: ClipBank | None = None,
    condition: str = PLAIN,
) -> SceneSet:
    """Three-event scenes that fit the model: its known classes (any, for a model that takes any text) without the
    classes the settings were chosen on. A model that hears 17 s or more gets the paper's form: 5 s clips, 1 s gaps.
    Categories of `clips` are those classes in any case, in the plural, and under their names in ESC-50. `condition`:
    scenes that are less kind, by a name of `sound.conditions`.

    Raises ValueError when fewer than three classes are left, or all recordings were used in training; and for scenes
    that a benchmark cannot ask about: longer than the model hears in one go, or with a class in them twice.
    """
    harder = condition_named(condition)
    if count < 1 or seed < 0:
        raise ValueError(f"scenes is {count}, seed {seed}; pass at least 1 scene and a seed of 0 or more")
    left_out = 0
    if clips is not None:
        used = same_recordings(clips.clips, trained_recordings(checkpoint))  # whatever release's file names
        left_out = sum(clip.path.name in used for clip in clips.clips)
        if left_out == len(clips):
            raise ValueError(f"all {left_out} recordings were used to train {checkpoint.name}; pass other ones")
        clips = clips.subset(exclude_files=used).named_as((*(checkpoint.events or ()), *settings.development_events))
    offered = tuple(SOUNDS) if clips is None else clips.categories
    known = offered if checkpoint.events is None else [name for name in offered if name in checkpoint.events]
    names = [name for name in known if name not in settings.development_events]
    for name in names:
        checkpoint.check_text(name, "the class")
    if len(names) < 3:
        raise ValueError(
            f"three-event scenes need three classes, {len(names)} are left ({', '.join(names) or 'none'}); the model "
            f"knows: {', '.join(checkpoint.events or ('any text',))}; the settings were chosen on: "
            f"{', '.join(settings.development_events) or 'none'}; {left_out} recordings were used in its training"
        )
    unused: dict[str, int] = {}
    if clips is not None:
        unused = dict(sorted(Counter(clip.category for clip in clips.clips if clip.category not in names).items()))
        clips = clips.subset(categories=names)
    maker = harder.maker(three_event_maker(names, checkpoint.window_seconds, clips))
    elsewhere = "`steer-utils analyse conditions` has an answer for it"
    if harder.twice:
        raise ValueError(f"scenes {condition!r} hold a class twice, and a benchmark asks for one event: {elsewhere}")
    if maker.seconds[1] > checkpoint.window_seconds:
        raise ValueError(
            f"scenes {condition!r} are longer than the {checkpoint.window_seconds:g} s that {checkpoint.name} hears in "
            f"one go: {elsewhere}, in windows"
        )
    return SceneSet(maker, count, seed, left_out, unused, condition)


def run_benchmark(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    methods: Sequence[str] | None = None,
    external: Sequence[Method] = (),
    batch: int | None = None,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, method): truth, found window, scores (`metrics.score_row`), chance, curve.

    Cost: a scene is encoded once, then the short suffix passes that each method states. `batch`: how many scenes are
    encoded together (`hear_each`). `resume_file`: each finished scene is appended to it; a killed run with the same
    settings goes on from there, one with others starts anew. `methods`: their names; None: the standard ones.
    Of methods that find the same under these settings one is run; `attrs["equal"]` names the others, each with the one
    whose rows are its own too. `external`: methods that are not in the table, such as `clap.ClapLocator.method()`.
    Warns where scenes hold classes that the settings were chosen on. Raises ValueError for no methods, an unknown one,
    one named twice or one that these settings cannot serve, before any work.
    """
    if methods is None:
        methods = standard_methods(settings, scenes.count)
    chosen = [*(method_named(name) for name in methods), *external]
    methods = [method.name for method in chosen]
    if not chosen or len(set(methods)) != len(chosen):
        raise ValueError(f"methods is {', '.join(methods) or 'empty'}; pass each of {', '.join(METHODS)} at most once")
    if POSITION in methods and PRIOR_OF not in methods:
        raise ValueError(f"{POSITION!r} is the mean curve of {PRIOR_OF!r} in other scenes; pass {PRIOR_OF!r} too")
    methods, equal = without_equal_rows(methods, settings)
    chosen = [method for method in chosen if method.name in methods]
    for method in chosen:
        if lacking := method.lacks(settings, others=True, scenes=scenes.count):
            raise ValueError(f"{method.name} cannot run here: it needs {lacking}; scenes: got {scenes.count}")
    check_batch(batch)
    identity: dict[str, object] = {
        **checkpoint.identity,
        "scenes": scenes.as_dict(),
        "settings": asdict(settings),
        "methods": methods,
        **({"equal": equal} if equal else {}),
        **({"external": {method.name: method.label for method in external}} if external else {}),
    }
    scenes.warn_of_development(settings)
    per_query = [method for method in chosen if method.find is not None]

    silence: Hearing | None = None  # of the scene before: kept alone, not with all that was heard there

    def rows_of(heard: HeardScene) -> list[Record]:
        nonlocal silence
        if silence is not None:
            heard.hearing.take_silence(silence)
        rows = _scene_rows(heard, settings, per_query)
        silence = heard.hearing.encoded_silence
        return rows

    table = resumable_table(
        scenes.count,
        rows_of,
        identity,
        inputs=lambda pending: scenes.heard_each(checkpoint, pending, batch),
        resume_file=resume_file,
        progress=progress,
    )
    if POSITION in methods:
        attrs = table.attrs
        table = pd.concat([table, positional_prior(table)], ignore_index=True)
        table.attrs = attrs
    # What a method lacks is None in the rows and NaN in the table.
    table = table.astype({name: float for name in ("start", "end", "center_error", "auroc", "pointing")})
    return table.sort_values(["scene", "method"], kind="stable", ignore_index=True)


def _scene_rows(heard: HeardScene, settings: Settings, methods: Sequence[Method]) -> list[Record]:
    hearing, truths = heard.hearing, [event.span for event in heard.scene.events]
    asked = list(heard.queries())
    finders = [method.find for method in methods if method.find is not None]
    found = find_together(hearing, finders, [query for _, query, _ in asked], settings)
    rows: list[Record] = []
    for (event, _, names), localised in zip(asked, found, strict=True):
        columns = {
            **names,
            "source": event.source,
            "truth_start": event.span.start,
            "truth_end": event.span.end,
            "others": [[truth.start, truth.end] for truth in truths if truth is not event.span],
            "token_seconds": hearing.span.seconds_per_token,
            "chance": heard.chance(event),
        }
        rows += [
            score_row(columns, method.name, localisation)
            for method, localisation in zip(methods, localised, strict=True)
        ]
    return rows


def query_in(scene: Scene, slot: int, seed: int) -> Query:
    """The query for event `slot` of a scene that was made with an index."""
    event = scene.events[slot]
    others = tuple(other.name for other in scene.events if other is not event)
    return Query(event.name, event.span.duration, hash_seed(seed, scene.index or 0, slot), others)


def slot_name(slot: int, count: int) -> str:
    """first, middle or last; with other than three events the middle ones share a name."""
    return SLOTS[0] if slot == 0 else SLOTS[2] if slot == count - 1 else SLOTS[1]


def check_rows(table: pd.DataFrame) -> None:
    """Raises ValueError for a table without rows."""
    if table.empty:
        raise ValueError("the table is empty, with no rows to sum up: no query was answered, or no scenes were made")


def by_query(table: pd.DataFrame, columns: str | list[str], values: str | list[str]) -> pd.DataFrame:
    """`values` of a table with a row a query, indexed by scene and event (which is in a scene once), and a column for
    each of `columns`."""
    return table.pivot(index=["scene", "event"], columns=columns, values=values)


def hash_seed(*parts: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def positional_prior(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the method "position", where a method looks whatever is asked: for each query the mean curve of
    steering in all *other* scenes, and the best window of the query's width in it. No content of the scene enters, and
    a method worth its name beats it.

    Cost: one sum over all curves. Raises ValueError for fewer than two scenes, or scenes of different token counts.
    """
    steered = table[table["method"] == PRIOR_OF]
    if (count := steered["scene"].nunique()) < 2:
        raise ValueError(f"the mean curve of other scenes needs at least two scenes, got {count}")
    lengths = {len(curve) for curve in steered["curve"]}
    if len(lengths) > 1:
        raise ValueError(f"a mean curve needs scenes of one length, these have {sorted(lengths)} audio tokens")
    curves = np.stack(steered["curve"].to_list())
    scenes = steered["scene"].to_numpy()
    total = curves.sum(axis=0)
    rows = []
    for scene, (_, row) in zip(scenes, steered.iterrows(), strict=True):
        inside = scenes == scene
        curve = (total - curves[inside].sum(axis=0)) / np.count_nonzero(~inside)
        span = AudioSpan(0, len(curve), row["token_seconds"])
        interval, score = best_window(curve, span, row["truth_end"] - row["truth_start"])
        asked = {name: row[name] for name in _QUERY_COLUMNS}
        rows.append(score_row(asked, POSITION, Localisation(interval, score, curve)))
    return pd.DataFrame(rows)
