"""The two stages of the training, each resumable: hear first, then answer.

Trained together from nothing, the language model learns to do without the audio. So the tower is trained
first, on frame labels, and then frozen, as real systems freeze theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from steer_utils.pocket.checkpointing import load_progress, save_progress
from steer_utils.pocket.chunked_attention import chunked
from steer_utils.pocket.corpus import (
    UNKNOWN,
    Frames,
    HeardScenes,
    SceneFeatures,
    SceneSource,
    audio_tokens,
    frames,
    made_ahead,
    silent,
    tower_states,
)
from steer_utils.pocket.packing import IGNORE, Packed, Packer
from steer_utils.pocket.recipe import EncoderStage, LanguageStage, Recipe, Stage
from steer_utils.pocket.text import ask
from steer_utils.sound.scenes import Scene

_LANGUAGE_SCENES = 10_000_000  # scene numbers of stage 2 start here: none was heard in stage 1


@dataclass(frozen=True)
class Progress:
    """Where a training writes: checkpoints in `folder`, one every `every` steps; progress bars unless `quiet`.
    `workers`: how many processes make scenes ahead; None: `corpus.spare_workers`."""

    folder: Path
    every: int = 200
    workers: int | None = 1
    quiet: bool = False


class Tagger(torch.nn.Module):
    """A linear read-out of the tower: which event, pitch, loudness, per audio token. Thrown away after stage 1."""

    def __init__(self, width: int, events: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, events + 2)

    def loss(self, states: torch.Tensor, batch: Frames) -> torch.Tensor:
        """Binary cross-entropy over valid tokens (events) and over tokens with a known attribute."""
        scores = self.linear(states.float())
        valid = torch.arange(scores.shape[1], device=scores.device) < audio_tokens(batch.mel_lengths)[:, None]
        tags = functional.binary_cross_entropy_with_logits(scores[..., :-2], batch.sounding, reduction="none")
        loss = (tags.sum(-1) * valid).sum() / valid.sum()
        for column, truth in ((-2, batch.pitch), (-1, batch.loudness)):
            known = truth != UNKNOWN
            each = functional.binary_cross_entropy_with_logits(
                scores[..., column], truth.clamp(min=0), reduction="none"
            )
            loss = loss + (each * known).sum() / known.sum().clamp(min=1)
        return loss


def train_encoder(model: Any, processor: Any, source: SceneSource, progress: Progress) -> None:
    """Stage 1. About 0.5 s a step of 32 scenes on two cores."""
    recipe, stage = source.recipe, source.recipe.encoder
    device = model.device
    tower = model.model.audio_tower
    with seeded(device, recipe.seed):
        tagger = Tagger(recipe.size.encoder_width, len(recipe.events)).to(device)
    tower.requires_grad_(True)
    tower.embed_positions.requires_grad_(False)

    def losses(done: int) -> Generator[torch.Tensor]:
        count = (stage.steps - done) * stage.batch
        features = SceneFeatures(source, processor.feature_extractor, done * stage.batch, count)
        with seeded(device, recipe.seed), _dropout(tower, stage.dropout), chunked(tower), _learning(tower):
            for step, raw in enumerate(made_ahead(features, progress.workers, stage.batch), done):
                batch = _frames_to(frames(raw, recipe), device)
                mel = _masked_spectrogram(batch.mel.float(), stage.spectrogram_masks, np.random.default_rng([7, step]))
                torch.manual_seed(step)
                with torch.autocast(device.type, torch.bfloat16):
                    states = tower_states(model, mel, batch.mel_lengths)
                yield tagger.loss(states, batch)

    train_parts("encoder", {"tower": tower, "tagger": tagger}, stage, losses, progress)


@torch.inference_mode()
def hear_corpus(model: Any, processor: Any, source: SceneSource, progress: Progress) -> HeardScenes:
    """The scenes of stage 2, encoded once by the frozen tower: every later step is spared synthesis and tower."""
    count, size = source.recipe.language.scenes, source.recipe.size
    device = model.device
    states = torch.empty(count, size.audio_tokens, size.encoder_width, dtype=torch.bfloat16, device=device)
    tokens: list[int] = []
    scenes: list[Scene] = []
    features = SceneFeatures(source, processor.feature_extractor, _LANGUAGE_SCENES, count)
    bar = tqdm(made_ahead(features, progress.workers, 64), "corpus", math.ceil(count / 64), disable=progress.quiet)
    for raw in bar:
        mel = torch.from_numpy(np.stack([mel for mel, _, _ in raw])).to(device)
        lengths = torch.tensor([length for _, length, _ in raw], device=device)
        with torch.autocast(device.type, torch.bfloat16):
            heard = tower_states(model, mel.float(), lengths)
        states[len(scenes) : len(scenes) + len(raw)] = heard.to(torch.bfloat16)
        tokens += [audio_tokens(length) for _, length, _ in raw]
        scenes += [silent(scene) for _, _, scene in raw]  # again: on its way from a worker the view became an array
    return HeardScenes(states, tokens, scenes)


def train_language(
    model: Any, processor: Any, recipe: Recipe, hear: Callable[[], HeardScenes], progress: Progress
) -> None:
    """Stage 2. About 0.7 s a step of 24 scenes x 10 turns on two cores. `hear` is called only if steps are left."""
    stage, device = recipe.language, model.device

    def losses(done: int) -> Generator[torch.Tensor]:
        heard, packer = hear(), Packer(processor)
        with chunked(model.model.language_model):
            for step in range(done, stage.steps):
                rng = np.random.default_rng([recipe.seed, 11, step])
                chosen = epoch_slice(step, stage.batch, len(heard.scenes), recipe.seed)
                turns = [
                    [ask(heard.scenes[i], recipe.events, rng, stage.mix) for _ in range(stage.turns)] for i in chosen
                ]
                counts = [heard.tokens[i] for i in chosen]
                packed = packer.pack(counts, turns, rng.random(len(chosen)) < stage.local_audio)
                states = heard.states[torch.from_numpy(chosen).to(heard.states.device)]
                with torch.autocast(device.type, torch.bfloat16):
                    yield answer_loss(model, packed.to(device), states, counts)

    train_parts("language", answering_parts(model), stage, losses, progress)


def answering_parts(model: Any) -> dict[str, torch.nn.Module]:
    """What learns to answer, all else frozen: projector, decoder and output head."""
    inside = model.requires_grad_(False).model
    parts = {"projector": inside.multi_modal_projector, "decoder": inside.language_model, "head": model.lm_head}
    for part in parts.values():
        part.requires_grad_(True)
    return parts


def train_parts(
    name: str,
    parts: Mapping[str, torch.nn.Module],
    stage: EncoderStage | LanguageStage,
    losses: Callable[[int], Generator[torch.Tensor]],
    progress: Progress,
) -> None:
    """`train_steps` of the parameters of `parts` that want gradients; afterwards, also after an error, none does."""
    parameters = {
        f"{part}.{name}": parameter
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    try:
        train_steps(name, parameters, make_optimizer(parameters, stage), stage, losses, progress)
    finally:
        for part in parts.values():
            part.requires_grad_(False)


def train_steps(
    name: str,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    stage: Stage,
    losses: Callable[[int], Generator[torch.Tensor]],
    progress: Progress,
) -> None:
    """All steps of a stage that the checkpoint, NAME.safetensors in `progress.folder`, does not hold yet.

    `losses(done)` gives the loss of each step from number `done` on, one after another; it is called only if steps are
    left, and closed with them.
    """
    progress.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = progress.folder / f"{name}.safetensors"
    done = load_progress(checkpoint, parameters, optimizer, name)
    if done >= stage.steps:
        return
    bar = tqdm(range(done, stage.steps), name, initial=done, total=stage.steps, disable=progress.quiet, mininterval=2.0)
    with closing(losses(done)) as each_loss:
        for step, loss in zip(bar, each_loss, strict=True):
            take_step(loss, optimizer, parameters, stage, step)
            tell_loss(bar, loss, step, progress)
            if (step + 1) % progress.every == 0 or step + 1 == stage.steps:
                save_progress(checkpoint, parameters, optimizer, step + 1, name)


def answer_loss(model: Any, packed: Packed, states: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Cross-entropy of the answer tokens, the audio's states placed where the audio tokens stand."""
    audio = model.model.multi_modal_projector(states.to(model.dtype))
    valid = torch.arange(audio.shape[1], device=audio.device) < torch.tensor(tokens, device=audio.device)[:, None]
    embedded = model.get_input_embeddings()(packed.ids)
    embedded = embedded.masked_scatter(packed.audio_slots[..., None], audio[valid].to(embedded.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embedded, attention_mask=packed.mask, position_ids=packed.positions, use_cache=False
    ).last_hidden_state
    wanted = packed.labels[:, 1:] != IGNORE
    logits = model.lm_head(hidden[:, :-1][wanted]).float()
    return functional.cross_entropy(logits, packed.labels[:, 1:][wanted])


def epoch_slice(step: int, batch: int, count: int, seed: int) -> np.ndarray:
    """Scenes of a step: each scene once an epoch, in an order of that epoch's own."""
    batch = min(batch, count)
    per_epoch = max(1, count // batch)
    order = np.random.default_rng([seed, 13, step // per_epoch]).permutation(count)
    start = (step % per_epoch) * batch
    return order[start : start + batch]


def make_optimizer(
    parameters: Mapping[str, torch.nn.Parameter], stage: EncoderStage | LanguageStage
) -> torch.optim.AdamW:
    rate, decay = stage.learning_rate, stage.weight_decay
    return torch.optim.AdamW(parameters.values(), lr=rate, betas=(0.9, 0.98), weight_decay=decay, fused=True)


def take_step(
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    stage: Stage,
    step: int,
) -> None:
    """One AdamW step: linear warm-up and cosine decay in each period, gradients clipped at norm 1."""
    within = step % stage.period
    decay = max(0.5 * (1 + math.cos(math.pi * within / stage.period)), stage.least_rate)
    for group in optimizer.param_groups:
        highest = group.setdefault("initial_lr", group["lr"])
        group["lr"] = highest * min(1.0, (within + 1) / stage.warm_up) * decay
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    optimizer.step()


def _masked_spectrogram(mel: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """SpecAugment: in `share` of the scenes, up to two bands and two short stretches are set to the floor."""
    mel = mel.clone()
    for row in np.flatnonzero(rng.random(len(mel)) < share):
        floor = mel[row].min()
        for _ in range(2):
            low = int(rng.integers(mel.shape[1] - 10))
            mel[row, low : low + int(rng.integers(1, 10))] = floor
            start = int(rng.integers(mel.shape[2] - 24))
            mel[row, :, start : start + int(rng.integers(1, 24))] = floor
    return mel


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """torch's random numbers from `seed`, so that a run can be made again; a caller's own stream goes on untouched."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _learning(tower: torch.nn.Module) -> Iterator[None]:
    """Training mode for a while."""
    tower.train()
    try:
        yield
    finally:
        tower.eval()


@contextmanager
def _dropout(tower: Any, share: float) -> Iterator[None]:
    """Dropout where transformers has it in a tower: on the embedded frames, and on what attention and feed-forward add
    to a block's states. Hooks do it, because torch draws a random number a value, one after the other: a seventh of a
    step. Attention is left without."""

    def on_output(module: Any, args: Any, output: Any) -> Any:
        return (_dropped(output[0], share), *output[1:]) if isinstance(output, tuple) else _dropped(output, share)

    def on_input(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_dropped(args[0], share), *args[1:])

    parts = [part for layer in tower.layers for part in (layer.self_attn, layer.fc2)] if share else []
    handles = [part.register_forward_hook(on_output) for part in parts]
    if share:
        handles.append(tower.layers[0].register_forward_pre_hook(on_input))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _dropped(states: torch.Tensor, share: float) -> torch.Tensor:
    """`states` with `share` of them at 0 (to 1/65536) and the others larger by 1 / (1 - share): dropout from 16 random
    bits a value, four values to a draw."""
    draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64, device=states.device).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: states.numel()].view(states.shape)
    least = round(share * 2**16) - 2**15
    return states * (bits >= least).to(states.dtype).mul_(1 / (1 - share))


def _frames_to(batch: Frames, device: torch.device) -> Frames:
    return Frames(*(getattr(batch, name).to(device) for name in Frames.__dataclass_fields__))


def tell_loss(bar: tqdm, loss: torch.Tensor, step: int, progress: Progress) -> None:
    if step % 20 == 0 and not progress.quiet:
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
