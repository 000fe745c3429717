"""What a playable picture needs: a sound, attention over it, where an event was located and where it is.

    heard = listening(hearing, Query("dog bark", 2.0), settings)      # steers as METHODS["steering"] does
    heard = listening_in(lm, scene, "dog bark")                       # the same in a scene, with the truth
    heard = listening_of(samples, rate, base, steered, seconds=2.0)   # from two attention maps that you have

Plain data: `player` shows it in a browser, `twins` draws it as a figure, `payloads` packs it into bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.blocks import Blocks, within
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query, averaged, contrast_of, steered_row
from steer_utils.methods.settings import Heads, Settings, model_settings
from steer_utils.sound.audio import read_audio
from steer_utils.sound.scenes import Scene
from steer_utils.sound.spans import AudioSpan, Interval, best_window

PLAIN, STEERED, SHIFT = "asked plainly", "steered", "steered minus plain"


@dataclass(frozen=True, eq=False)
class Listening:
    """One playable picture.

    samples      (n,) float32, mono, at `rate` samples a second
    span         the audio tokens that `curves` are counted in
    curves       label -> (blocks, heads, tokens): attention shares, or differences of shares; may be empty
    title        what was sought, in words (may come from a user or a file: text, never markup)
    located      the interval that was found, `truth` where the event is; None where it is not known
    events       the names and intervals of what sounds
    read         the label of the curve that `located` was read from; "": the last one
    read_blocks  the blocks that read-out averages (None: all), `read_heads` the (block, head) pairs in their place
    answers      label -> what the model said

    Raises ValueError for arrays of other shapes, values that are not finite, blocks, heads or labels that do not exist,
    and a truth or an event outside the sound.
    """

    samples: np.ndarray
    rate: int
    span: AudioSpan
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    title: str = ""
    located: Interval | None = None
    truth: Interval | None = None
    events: tuple[tuple[str, Interval], ...] = ()
    read: str = ""
    read_blocks: Blocks | None = None
    read_heads: Heads | None = None
    answers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", _sound(self.samples, self.rate))
        curves = {str(label): np.asarray(values, dtype=np.float32) for label, values in self.curves.items()}
        _check_curves(curves, self.span)
        object.__setattr__(self, "curves", curves)
        object.__setattr__(self, "events", tuple((str(name), interval) for name, interval in self.events))
        object.__setattr__(self, "read", self.read or next(reversed(curves), ""))
        if curves and self.read not in curves:
            raise ValueError(f"there is no curve {self.read!r}; there are: {', '.join(curves)}")
        _check_cells(self.cells(), self.shape)
        for name, interval in (("truth", self.truth), *self.events):
            if interval is not None and not (interval.end > 0 and interval.start < self.duration):
                raise ValueError(f"{name} is {interval}, but the sound lasts {self.duration:.2f} s")

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / self.rate

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks and heads of every curve; (0, 0) without curves."""
        shape = next(iter(self.curves.values())).shape if self.curves else (0, 0)
        return shape[0], shape[1]

    def cells(self, block: int | None = None, head: int | None = None) -> Heads:
        """The (block, head) pairs that are averaged for a choice; neither chosen: the default read-out.

        A block alone means all of its heads; a head alone means that head of every block.
        """
        blocks, heads = self.shape
        if block is None and head is None:
            if self.read_heads is not None:
                return self.read_heads
            return tuple((b, h) for b in self.read_blocks or range(blocks) for h in range(heads))
        rows, columns = range(blocks) if block is None else [block], range(heads) if head is None else [head]
        return tuple((b, h) for b in rows for h in columns)

    def curve(self, label: str = "", block: int | None = None, head: int | None = None) -> np.ndarray:
        """What is drawn: the curve called `label` ("": `read`), its mean over `cells(block, head)`: (tokens,) float64.

        Raises ValueError for a label, block or head that does not exist.
        """
        name = label or self.read
        if name not in self.curves:
            raise ValueError(f"there is no curve {name!r}; there are: {', '.join(self.curves) or 'none'}")
        chosen = self.cells(block, head)
        _check_cells(chosen, self.shape)
        blocks, heads = zip(*chosen, strict=True)
        return self.curves[name][list(blocks), list(heads)].mean(axis=0, dtype=np.float64)

    @property
    def overlap(self) -> float | None:
        """|located ∩ truth| / |truth|, the paper's overlap, in 0..1; None where one of them is not known."""
        return None if self.located is None or self.truth is None else self.located.covers(self.truth)

    def described(self) -> str:
        """One line: what was located, and how well where the truth is known."""
        said = "nothing located" if self.located is None else f"located {self.located}"
        if self.truth is None:
            return said
        return f"{said}; true {self.truth}" + ("" if self.overlap is None else f"; overlap {100 * self.overlap:.0f} %")


# -- builders ------------------------------------------------------------------------------------------------------
def listening(
    hearing: Hearing,
    query: Query,
    settings: Settings,
    *,
    truth: Interval | None = None,
    events: Iterable[tuple[str, Interval]] = (),
    heads: Heads | None = None,
    answer: bool = False,
) -> Listening:
    """Steer for `query` as METHODS["steering"] does (the same interval), and keep the curves of every block and head.

    `heads`: (block, head) pairs to read in place of the settings' blocks, as "steering-heads" does. `answer`: also what
    the model says, plainly and steered. Cost: four suffix passes behind the shared prefix, and the answers' tokens.
    """
    rows = [steered_row(settings, contrast_of(hearing, query, settings)), Row(settings.question)]
    steered, base = hearing.read_rows(rows)
    said = hearing.answers(rows) if answer else []
    return listening_of(
        hearing.samples,
        hearing.checkpoint.sampling_rate,
        base.attention,
        steered.attention,
        seconds=query.seconds,
        title=query.event,
        truth=truth,
        events=events,
        read=settings.read,
        read_blocks=settings.read_blocks,
        read_heads=heads,
        answers=dict(zip((PLAIN, STEERED), reversed(said), strict=False)),
    )


def listening_in(
    checkpoint: Checkpoint, scene: Scene, event: str, settings: Settings | None = None, *, answer: bool = False
) -> Listening:
    """`listening` for an event of a scene, with its truth; the window is as wide as the event (an oracle, as in the
    benchmark). Raises ValueError for an event that the scene does not have, AudioError for a scene that is too long.
    """
    truth = scene.event(event).span
    samples = read_audio(scene.samples, sampling_rate=scene.rate, target_rate=checkpoint.sampling_rate)
    return listening(
        Hearing(checkpoint, samples),
        Query(event, truth.duration),
        settings or model_settings(checkpoint),
        truth=truth,
        events=[(event.name, event.span) for event in scene.events],
        answer=answer,
    )


def listening_of(
    samples: np.ndarray,
    rate: int,
    base: AttentionMap,
    steered: AttentionMap | None = None,
    *,
    title: str = "",
    seconds: float | None = None,
    located: Interval | None = None,
    truth: Interval | None = None,
    events: Iterable[tuple[str, Interval]] = (),
    read: Literal["share", "difference"] = "difference",
    read_blocks: Sequence[int] | None = None,
    read_heads: Heads | None = None,
    answers: Mapping[str, str] | None = None,
) -> Listening:
    """From one map, or from two of which the second is steered: their curves, and the difference of both.

    `seconds`: the width of the window that is located here, in the steered share or the difference (`read`);
    `located`: the interval, where it is known already. `read_blocks`: None means `first_block` of the map and later.
    Query rows are averaged. Raises ValueError for maps that do not match, blocks or heads that do not exist, and where
    the steering changed no attention (its last block).
    """
    maps = {PLAIN: base}
    if steered is not None:
        maps |= {STEERED: steered, SHIFT: steered - base}
    label = PLAIN if steered is None else STEERED if read == "share" else SHIFT
    source, (blocks, heads) = maps[label], base.share.shape[:2]
    curve = averaged(source, read_blocks, read_heads)
    if located is None and seconds is not None:
        located = best_window(curve, base.audio_span, seconds)[0]
    return Listening(
        samples,
        rate,
        base.audio_span,
        {name: attention.share.mean(dim=2).numpy() for name, attention in maps.items()},
        title=title,
        located=located,
        truth=truth,
        events=tuple(events),
        read=label,
        read_blocks=within(
            range(source.first_block, blocks) if read_blocks is None else read_blocks, blocks, "read_blocks"
        ),
        read_heads=None if read_heads is None else tuple((b % blocks, h % heads) for b, h in read_heads),
        answers=dict(answers or {}),
    )


# -- checks --------------------------------------------------------------------------------------------------------
def _sound(samples: np.ndarray, rate: int) -> np.ndarray:
    values = np.asarray(samples, dtype=np.float32)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"samples must be finite and mono, (n,), got shape {values.shape}; read them with read_audio")
    if not rate > 0:
        raise ValueError(f"rate is {rate}; pass samples a second")
    return values


def _check_curves(curves: Mapping[str, np.ndarray], span: AudioSpan) -> None:
    shapes = {values.shape for values in curves.values()}
    if any(len(shape) != 3 or shape[2] != span.count or 0 in shape for shape in shapes) or len(shapes) > 1:
        raise ValueError(
            f"curves must have one shape (blocks, heads, {span.count} tokens), got "
            f"{', '.join(f'{label!r}: {values.shape}' for label, values in curves.items())}"
        )
    for label, values in curves.items():
        if not np.isfinite(values).all():
            raise ValueError(f"the curve {label!r} holds NaN or infinity; pass finite shares")


def _check_cells(cells: Heads, shape: tuple[int, int]) -> None:
    wrong = [cell for cell in cells if not (0 <= cell[0] < shape[0] and 0 <= cell[1] < shape[1])]
    if wrong:
        raise ValueError(f"there is no (block, head) {wrong[0]}; there are {shape[0]} blocks of {shape[1]} heads")
