"""Every number of the training of a mini model: a pretrained language model that learns to hear.

A mini model has three parts: the audio tower of a pocket model or of a Whisper (frozen), a pretrained language model
(frozen), and what is trained here: the projector between them and low-rank adapters in the language model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from steer_utils.pocket.architecture import Size
from steer_utils.pocket.recipe import EVENTS, LanguageStage, Recipe, Stage
from steer_utils.pocket.text import TurnMix

#: Nearly the pocket models' mix. A pretrained model would rather say yes: presence is asked more often.
MINI_MIX = TurnMix(
    weights={
        "describe": 0.16,
        "pitch": 0.11,
        "loudness": 0.11,
        "listing": 0.17,
        "count": 0.05,
        "presence": 0.18,
        "after": 0.06,
        "before": 0.06,
        "order": 0.07,
        "place": 0.03,
    }
)


@dataclass(frozen=True)
class AdapterStage(Stage):
    """Tower and language model frozen, projector and adapters learn to answer from scenes encoded once."""

    scenes: int = 24_000
    steps: int = 600
    batch: int = 16
    turns: int = 8  # question-answer pairs behind one audio
    rank: int = 8
    projector_rate: float = 1e-3
    adapter_rate: float = 1e-3
    warm_up: int = 30
    ridge_scenes: int = 1500  # scenes from which the projector's start is computed
    local_audio: float = 0.0  # share of scenes in which audio tokens see only themselves inside the decoder
    mix: TurnMix = MINI_MIX
    least_rate = 0.01


@dataclass(frozen=True)
class MiniRecipe:
    """How one mini model is made. `seed` draws the adapters' start, the order of the scenes and the questions; the
    scenes themselves come from `scene_seed`, so that trainings by several seeds share what was heard once."""

    family: str
    seed: int = 1
    scene_seed: int = 91
    language_model: str = "SmolLM2-135M-Instruct"
    tower: str = "pocket-qwen2-audio"
    tower_sha256: str = ""  # of a Whisper's encoder; a pocket model's ships with this package
    size: Size = field(default_factory=Size)  # the tower's numbers (the decoder's in it mean nothing here)
    events: tuple[str, ...] = EVENTS
    recordings: float = 0.7
    stage: AdapterStage = field(default_factory=AdapterStage)

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"size": self.size.tower}

    def scenes_recipe(self) -> Recipe:
        """What `SceneSource` and `hear_corpus` need to know, as a pocket recipe."""
        return Recipe(
            family="qwen2_audio",
            seed=self.scene_seed,
            size=self.size,
            events=self.events,
            recordings=self.recordings,
            language=LanguageStage(scenes=self.stage.scenes),
        )

    def shortened(self, factor: float) -> MiniRecipe:
        """The same recipe with `factor` times the steps and scenes, for trials and tests."""

        def scaled(count: int) -> int:
            return max(1, round(count * factor))

        stage = self.stage
        return replace(self, stage=replace(stage, steps=scaled(stage.steps), scenes=max(64, scaled(stage.scenes))))


#: By the name of the model.
MINI_RECIPES = {
    "mini-smollm2-audio": MiniRecipe(family="qwen2_audio"),
    "mini-smollm2-audio-flamingo": MiniRecipe(family="audioflamingo3"),
}
