"""Every number of the training of a pocket model, in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from steer_utils.pocket.architecture import Size
from steer_utils.pocket.text import TurnMix
from steer_utils.sound.sounds import SOUNDS

#: The ten classes of ESC-10. Three of them (dog bark, helicopter, rain) are procedural classes too.
RECORDED_EVENTS = (
    "baby cry",
    "chainsaw",
    "clock tick",
    "dog bark",
    "fire crackling",
    "helicopter",
    "person sneeze",
    "rain",
    "rooster",
    "sea waves",
)
EVENTS = tuple(sorted({*SOUNDS, *RECORDED_EVENTS}))

#: Procedural classes on which strength and blocks are chosen; figures are reported on the other ones.
DEVELOPMENT_EVENTS = ("siren", "knock", "whistle", "laughter", "drum")

TRAINING_FOLDS = (1, 2, 3)


class Stage:
    """What the learning rate of a stage follows: it rises over `warm_up` steps, and falls once in `period` steps, to
    `least_rate` times its highest."""

    steps: int
    warm_up: int
    least_rate = 1e-3

    @property
    def period(self) -> int:
        return self.steps


@dataclass(frozen=True)
class EncoderStage(Stage):
    """Stage 1: the audio tower learns to say, for each audio token, which event sounds, its pitch and loudness."""

    steps: int = 4200
    batch: int = 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up: int = 100
    dropout: float = 0.1
    spectrogram_masks: float = 0.5  # share of scenes with masked bands and frames


@dataclass(frozen=True)
class LanguageStage(Stage):
    """Stage 2: the tower frozen, projector and decoder learn to answer from scenes encoded once."""

    scenes: int = 12_000
    steps: int = 1300
    cycles: int = 1  # the learning rate falls to nothing and starts again so many times (cosine, warm restarts)
    batch: int = 24
    turns: int = 10  # question-answer pairs behind one audio
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up: int = 150
    local_audio: float = 0.85  # share of scenes in which audio tokens see only themselves inside the decoder
    mix: TurnMix = field(default_factory=TurnMix)

    @property
    def period(self) -> int:
        return max(1, self.steps // self.cycles)


@dataclass(frozen=True)
class Recipe:
    """How one pocket model is made. `recordings` is the share of scenes made from recordings (when given).

    Stage 1 does not depend on the family: all towers have the same parts, so one trained tower serves all
    models, as AF3's tower itself started from Whisper's.
    """

    family: str
    seed: int = 1
    size: Size = field(default_factory=Size)
    events: tuple[str, ...] = EVENTS
    recordings: float = 0.8
    encoder: EncoderStage = field(default_factory=EncoderStage)
    language: LanguageStage = field(default_factory=LanguageStage)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def shortened(self, factor: float) -> Recipe:
        """The same recipe with `factor` times the steps and scenes, for trials and tests."""

        def scaled(count: int) -> int:
            return max(1, round(count * factor))

        return replace(
            self,
            encoder=replace(self.encoder, steps=scaled(self.encoder.steps)),
            language=replace(
                self.language, steps=scaled(self.language.steps), scenes=max(64, scaled(self.language.scenes))
            ),
        )


#: By the name of the model.
RECIPES = {
    "pocket-qwen2-audio": Recipe(family="qwen2_audio"),
    # Deeper and narrower; and as in Audio Flamingo 3's decoder (Qwen2.5), few key/value heads serve all query heads.
    "pocket-audio-flamingo-3": Recipe(
        family="audioflamingo3",
        size=Size(blocks=8, width=160, heads=4, key_value_heads=2, feed_forward=384),
        language=LanguageStage(steps=2000, cycles=2),  # deeper: it binds sounds to their names later
    ),
    # The first at half its width (heads as wide, half as many), all else alike: does a vector carry between sizes?
    "pocket-qwen2-audio-half": Recipe(
        family="qwen2_audio", size=Size(width=96, heads=3, key_value_heads=3, feed_forward=256)
    ),
}
