"""Training material: endless scenes, their mel features and frame labels, and scenes encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from steer_utils.lm.environment import usable_cores
from steer_utils.pocket.architecture import TOKENS_PER_SECOND
from steer_utils.pocket.recipe import RECORDED_EVENTS, Recipe
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker, SoundBank
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS

Count = TypeVar("Count", int, torch.Tensor)
UNKNOWN = -1.0  # an attribute that is not known, or a frame without an event


class SceneSource:
    """Scene number i of a training run, the same whenever and wherever it is made.

    Half of the scenes are procedural, the others hold recordings (folds for training only), alone or among
    procedural sounds. Most last as long as the model's window and hold three events. A quarter are played
    softer, so that the model also hears faint recordings; their loudness is then not asked for.
    """

    def __init__(self, recipe: Recipe, clips: ClipBank | None) -> None:
        self.recipe = recipe
        full = float(recipe.size.seconds)
        bank = SoundBank(per=40, seed=recipe.seed)

        def maker(names: tuple[str, ...], recordings: float) -> Callable[[np.random.Generator], Scene]:
            shapes = [((full, full), (3, 3)), ((full, full), (1, 4)), ((full / 2, full), (1, 3))]
            makers = [
                SceneMaker(
                    names,
                    clips=clips if recordings else None,
                    recordings=recordings,
                    bank=bank,
                    seconds=seconds,
                    events=events,
                    augment=True,
                )
                for seconds, events in shapes
            ]
            return lambda rng: makers[int(rng.choice(3, p=[0.55, 0.2, 0.25]))].make(rng)

        self.makers = [(1.0, maker(tuple(SOUNDS), 0.0))]
        if clips is not None:
            recorded = tuple(name for name in RECORDED_EVENTS if name in clips.categories)
            self.makers = [
                (1.0 - recipe.recordings, self.makers[0][1]),
                (0.65 * recipe.recordings, maker(recorded, 1.0)),
                (0.35 * recipe.recordings, maker(recipe.events, 0.7)),
            ]

    def scene(self, index: int) -> Scene:
        rng = np.random.default_rng([self.recipe.seed, index])
        shares = [share for share, _ in self.makers]
        scene = self.makers[int(rng.choice(len(shares), p=shares))][1](rng)
        if rng.random() < 0.25:
            return softer(scene, float(rng.uniform(-24.0, -2.0)))
        return scene


def softer(scene: Scene, decibels: float) -> Scene:
    """The scene at another level; what was loud or quiet before is then unknown."""
    return replace(
        scene,
        samples=(scene.samples * 10 ** (decibels / 20)).astype(np.float32),
        events=tuple(replace(event, loudness=None) for event in scene.events),
    )


@dataclass(frozen=True)
class Frames:
    """A batch for the tagger: mel (batch, bins, frames), mel_lengths (batch,), and per audio token the labels:
    sounding (batch, tokens, events) in {0, 1}; pitch, loudness (batch, tokens) in {0, 1} or UNKNOWN."""

    mel: torch.Tensor
    mel_lengths: torch.Tensor
    sounding: torch.Tensor
    pitch: torch.Tensor
    loudness: torch.Tensor


class SceneFeatures(Dataset):
    """Scene i as (mel in half precision, mel length, scene without samples)."""

    def __init__(self, source: SceneSource, extractor: Any, first: int, count: int) -> None:
        self.source, self.extractor, self.first, self.count = source, extractor, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, Scene]:
        scene = self.source.scene(self.first + index)
        features = self.extractor(
            scene.samples, sampling_rate=scene.rate, return_attention_mask=True, return_tensors="np"
        )
        length = int(features["attention_mask"][0].sum())
        return features["input_features"][0].astype(np.float16), length, silent(scene)


def silent(scene: Scene) -> Scene:
    """The scene's facts without its samples (a view of one zero, so that `duration` still holds)."""
    return replace(scene, samples=np.broadcast_to(np.float32(0), scene.samples.shape))


def made_ahead(data: Dataset, workers: int | None, batch: int | None = None, *, pinned: bool = False) -> Iterator[Any]:
    """The items of `data` in order, one by one or as lists of `batch`, made by `workers` processes ahead of the
    training step (None: `spare_workers`). `pinned`: in memory from which a GPU copies faster."""
    workers = spare_workers() if workers is None else workers
    loader = DataLoader(
        data,
        batch_size=batch,
        num_workers=workers,
        collate_fn=list if batch else None,
        prefetch_factor=4 if workers else None,
        pin_memory=pinned and workers > 0,
        worker_init_fn=_single_thread,
    )
    return iter(loader)


def spare_workers() -> int:
    """How many processes make scenes ahead where nobody said: none on two cores. There one only takes turns with the
    training step, whose two threads then wait for each other (measured: 0.56 s a step with one, 0.51 s without)."""
    return 1 if usable_cores() > 2 else 0


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)


def audio_tokens(mel_length: Count) -> Count:
    """Audio tokens of so many mel frames, one number or a tensor: a convolution of stride two, then pooling by two."""
    return ((mel_length - 1) // 2 + 1 - 2) // 2 + 1


def frames(batch: list[tuple[np.ndarray, int, Scene]], recipe: Recipe) -> Frames:
    """Frame labels of a batch: a token carries an event when the middle of the token lies in its span."""
    column = {name: index for index, name in enumerate(recipe.events)}
    tokens = recipe.size.audio_tokens
    centers = (np.arange(tokens) + 0.5) / TOKENS_PER_SECOND
    sounding = np.zeros((len(batch), tokens, len(recipe.events)), np.float32)
    pitch = np.full((len(batch), tokens), UNKNOWN, np.float32)
    loudness = np.full((len(batch), tokens), UNKNOWN, np.float32)
    for row, (_, _, scene) in enumerate(batch):
        for event in scene.events:
            inside = (centers >= event.span.start) & (centers < event.span.end)
            sounding[row, inside, column[event.name]] = 1
            if event.pitch:
                pitch[row, inside] = event.pitch == "high"
            if event.loudness:
                loudness[row, inside] = event.loudness == "loud"
    mel = torch.from_numpy(np.stack([mel for mel, _, _ in batch]))
    lengths = torch.tensor([length for _, length, _ in batch])
    return Frames(mel, lengths, torch.from_numpy(sounding), torch.from_numpy(pitch), torch.from_numpy(loudness))


def tower_states(model: Any, mel: torch.Tensor, mel_lengths: torch.Tensor) -> torch.Tensor:
    """What the audio tower makes of mel features, (batch, tokens, width), padding kept out as in the full model."""
    tower = model.model.audio_tower
    inside = torch.arange(mel.shape[-1], device=mel.device) < mel_lengths.to(mel.device)[:, None]
    if model.config.model_type == "audioflamingo3":
        return tower(mel, input_features_mask=inside.long()).last_hidden_state
    # In the scores' own type: a float32 mask would turn them all into float32 under autocast.
    kind = torch.get_autocast_dtype(mel.device.type) if torch.is_autocast_enabled(mel.device.type) else mel.dtype
    padding = ~inside[:, ::2]
    hidden = torch.zeros(padding.shape, dtype=kind, device=mel.device).masked_fill(padding, torch.finfo(kind).min)
    return tower(mel, attention_mask=hidden[:, None, None, :]).last_hidden_state


@dataclass(frozen=True)
class HeardScenes:
    """Scenes as the frozen tower hears them: states (scenes, tokens, width) in half precision, tokens of each."""

    states: torch.Tensor
    tokens: list[int]
    scenes: list[Scene]
