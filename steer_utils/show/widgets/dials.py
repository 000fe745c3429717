"""The controls of the steering explorer: what is sought and how (`Dials`), and in which sound (`SoundDials`).

They only hold values and say when one has changed; what follows from them is worked out in `explorer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from steer_utils.lm.blocks import block_numbers, blocks_text
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.settings import Settings
from steer_utils.show.widgets.intake import Sound, made_scene, recorded, uploaded
from steer_utils.show.widgets.panels import aligned, row, widgets
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event

QUESTIONS = ("Describe the sound.", "How many sounds are there?", "Is it high or low?", "How loud is it?")
POSITIONS = (
    ("the last token", "last"),
    ("all text after the audio", "text"),
    ("the audio itself (slower)", "audio"),
    ("all tokens (slower)", "all"),
    ("the event's words in the question", "event"),
)
READS = (("steered minus plain", "difference"), ("steered", "share"))
WIDTHS = (
    ("the event's, where known", "event"),
    ("as wide as the curve says", "curve"),
    *((f"{seconds:g} s", seconds) for seconds in (0.5, 1.0, 2.0, 4.0, 5.0)),
)
AFTER = ("after",)  # read the blocks after the first steered one


class Dials:
    """Query, instructions, strength, blocks, positions, read-out. `changed` is called after each change by a reader.

    `box` is the widget. A model that knows few sounds offers them; others take any text.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Settings, changed: Callable[[], None]) -> None:
        module = widgets()
        self._settings, self._changed, self._held = settings, changed, 0
        self._known, self._events = checkpoint.events, tuple[Event, ...]()
        count = checkpoint.num_blocks
        self._blocks = settings.steered_blocks(count)
        if self._known is None:
            self.query = module.Combobox(description="Query", continuous_update=False, placeholder="dog bark")
        else:
            self.query = module.Dropdown(description="Query", options=self._known)
        self.width = module.Dropdown(description="Window width", options=WIDTHS)
        self.positive = module.Text(description="Positive", continuous_update=False)
        self.negative = module.Text(description="Negative", continuous_update=False)
        asked = tuple(dict.fromkeys((settings.question, settings.contrast_question, *QUESTIONS)))
        self.contrast = module.Combobox(description="Contrast question", options=asked, continuous_update=False)
        self.question = module.Combobox(description="Question asked", options=asked, continuous_update=False)
        most = max(2.0, 2 * abs(settings.strength))
        self.strength = module.FloatSlider(
            description="Strength", min=-most, max=most, step=most / 40, readout_format=".2f"
        )
        self.blocks = module.IntRangeSlider(description="Steered blocks", min=0, max=count - 1)
        self.positions = module.Dropdown(description="Steered tokens", options=POSITIONS)
        self.keep_norm = module.Checkbox(description="keep the norm of the state")
        self.read = module.Dropdown(description="Read", options=READS)
        self.read_from = module.Dropdown(description="in", options=_read_outs(settings, count))
        pairs = (
            (self.query, self.width),
            (self.positive, self.negative),
            (self.contrast, self.question),
            (self.strength, self.blocks),
            (self.positions, self.keep_norm),
            (self.read, self.read_from),
        )
        self.box = module.VBox([row(*(aligned(control) for control in pair)) for pair in pairs])
        self._controls = [control for pair in pairs for control in pair]
        self.reset()
        for control in self._controls:
            control.observe(self._on_value, "value")

    def reset(self) -> None:
        """Everything but the query as the settings have it; says nothing."""
        settings = self._settings
        with self.held():
            self.width.value = "event"
            self.positive.value, self.negative.value = settings.positive, settings.negative
            self.contrast.value, self.question.value = settings.contrast_question, settings.question
            self.strength.value, self.keep_norm.value = settings.strength, settings.keep_norm
            count = self.blocks.max + 1
            blocks = block_numbers(settings.steered_blocks(count), count)
            self.blocks.value = blocks[0], blocks[-1]
            self._blocks = blocks  # need not be a range, as the slider's are
            self.positions.value, self.read.value = "last", settings.read
            self.read_from.value = self.read_from.options[0][1]

    def offer(self, events: Iterable[Event]) -> None:
        """Queries for a new sound: what is known to sound in it comes first, and is asked for if the query is not."""
        self._events = tuple(events)
        names = list(dict.fromkeys(event.name for event in self._events))
        with self.held():
            before = self.query.value
            if self._known is None:
                self.query.options = names
                self.query.value = before if before and (before in names or not names) else next(iter(names), before)
                return
            there = [name for name in names if name in self._known]
            self.query.options = [(f"{name} (in this scene)", name) for name in there] + [
                (name, name) for name in self._known if name not in there
            ]
            self.query.value = before if before in there or (before and not there) else (*there, *self._known)[0]

    def ask(self, query: str) -> None:
        """Set the query, saying nothing; one that the model does not know is refused when it is explored."""
        with self.held():
            if self._known is not None and query not in self._known:
                self.query.options = [*self.query.options, (query, query)]
            self.query.value = query

    def values(self) -> dict[str, Any]:
        """The arguments of `Choice` as they stand."""
        kind, *numbers = self.read_from.value
        return {
            "query": self.query.value or "",
            "positive": self.positive.value,
            "negative": self.negative.value,
            "question": self.question.value,
            "contrast_question": self.contrast.value,
            "strength": round(self.strength.value, 6),  # a slider says 1.9000000000000004
            "blocks": self._blocks,
            "positions": self.positions.value,
            "keep_norm": self.keep_norm.value,
            "read": self.read.value,
            "read_blocks": numbers[0] if kind == "blocks" else None,
            "read_heads": numbers[0] if kind == "heads" else None,
            "seconds": self._seconds(),
        }

    def _seconds(self) -> float | None:
        if self.width.value != "event":
            return None if self.width.value == "curve" else float(self.width.value)
        return next((event.span.duration for event in self._events if event.name == self.query.value), None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, changes say nothing."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def _on_value(self, change: Any) -> None:
        if change["owner"] is self.blocks:
            low, high = self.blocks.value
            self._blocks = tuple(range(low, high + 1))
        if not self._held:
            self._changed()


class SoundDials:
    """Which sound: a scene by its number, a file of the reader's, a recording, or what the explorer was given.

    `heard(sound)` is called with each new one, `failed(error)` when a file or recording cannot be used.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        maker: SceneMaker | None,
        first: Sound | None,
        *,
        index: int,
        seed: int,
        heard: Callable[[Sound], None],
        failed: Callable[[Exception], None],
    ) -> None:
        from steer_utils.show.widgets.recorder import Recorder, Uploader

        module = widgets()
        self._maker, self._first = maker, first
        self._heard, self._failed = heard, failed
        kinds = [(first.title, "given")] if first is not None else []
        kinds += [("a scene", "scene")] if maker is not None else []
        kinds += [("a file of yours", "file"), ("your microphone", "microphone")]
        self.kind = module.Dropdown(description="Sound", options=kinds)
        self.index = module.BoundedIntText(index, min=0, max=2**31 - 1, description="Scene")
        self.seed = module.BoundedIntText(seed, min=0, max=2**31 - 1, description="Seed")
        self.upload, self.recorder = Uploader(), Recorder(checkpoint.window_seconds)
        for number in (self.index, self.seed):
            aligned(number, flex="0 1 150px", label="3.5em")
        self._parts = {"scene": (self.index, self.seed), "file": (self.upload,), "microphone": (self.recorder,)}
        self.box = row(aligned(self.kind, flex="0 1 330px"), self.index, self.seed, self.upload, self.recorder)
        self._show_parts()
        self.kind.observe(lambda change: self._on_kind(), "value")
        self.index.observe(lambda change: self._deliver(self.scene), "value")
        self.seed.observe(lambda change: self._deliver(self.scene), "value")
        file, take = self.upload, self.recorder
        file.observe(lambda change: self._deliver(lambda: uploaded(file.content, file.name, checkpoint)), "take")
        take.observe(lambda change: self._deliver(lambda: recorded(take.pcm, take.rate, checkpoint)), "take")

    def scene(self) -> Sound:
        """The scene whose number and seed are set. Raises ValueError where no scenes can be made."""
        if self._maker is None:
            raise ValueError("no scenes can be made for this model; pass a sound")
        return made_scene(self._maker, self.index.value, self.seed.value)

    def _show_parts(self) -> None:
        for kind, parts in self._parts.items():
            for part in parts:
                part.layout.display = None if kind == self.kind.value else "none"

    def _on_kind(self) -> None:
        self._show_parts()
        if self.kind.value == "scene":
            self._deliver(self.scene)
        elif self.kind.value == "given" and self._first is not None:
            self._heard(self._first)

    def _deliver(self, make: Callable[[], Sound]) -> None:
        try:
            sound = make()
        except Exception as error:  # a callback of a widget: nobody else would see it
            self._failed(error)
            return
        self._heard(sound)


def _read_outs(settings: Settings, count: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Where attention can be read: as the settings say, and elsewhere."""
    made: list[tuple[str, tuple[Any, ...]]] = []
    if settings.read_blocks is not None:
        made.append((f"{_blocks(settings.read_blocks)} (the settings')", ("blocks", settings.read_blocks)))
    made.append(("the blocks after the first steered", AFTER))
    if settings.read_heads is not None:
        made.append((f"{len(settings.read_heads)} chosen heads", ("heads", settings.read_heads)))
    made += [(f"block {block} alone", ("blocks", (block,))) for block in range(count)]
    return made


def _blocks(numbers: tuple[int, ...]) -> str:
    return f"block{'s' if len(numbers) > 1 else ''} {blocks_text(numbers)}"
