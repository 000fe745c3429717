"""Both stages: a killed run goes on bit for bit, only what should learn learns, and nothing is left changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steer_utils.pocket import training
from steer_utils.pocket.architecture import build
from steer_utils.pocket.corpus import UNKNOWN, Frames, HeardScenes, SceneSource, tower_states
from steer_utils.pocket.packing import Packer
from steer_utils.pocket.recipe import EncoderStage, LanguageStage, Recipe
from steer_utils.pocket.text import TurnMix, ask
from steer_utils.pocket.training import Progress, Tagger, answer_loss, hear_corpus, train_encoder, train_language

State = dict[str, torch.Tensor]


def quiet(folder: Path, every: int = 2) -> Progress:
    folder.mkdir(exist_ok=True)
    return Progress(folder, every=every, workers=0, quiet=True)


def state(module: Any) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer step of that number raises, as a kill in the middle of a step would end it."""
    update: Callable[..., None] = training.take_step

    def killed(loss: Any, optimizer: Any, parameters: Any, stage: Any, number: int) -> None:
        if number == step:
            raise KeyboardInterrupt
        update(loss, optimizer, parameters, stage, number)

    monkeypatch.setattr(training, "take_step", killed)


def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Fills with the loss of every step."""
    seen: list[float] = []
    monkeypatch.setattr(training, "tell_loss", lambda bar, loss, step, progress: seen.append(loss.item()))
    return seen


@pytest.fixture
def heard(recipe: Recipe, fresh: tuple[Any, Any], tmp_path: Path) -> HeardScenes:
    return hear_corpus(*fresh, SceneSource(recipe, None), quiet(tmp_path))


# Stage 1 -----------------------------------------------------------------------------------------------------------


def test_a_killed_encoder_run_goes_on_bit_for_bit(
    recipe: Recipe, source: SceneSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def new() -> tuple[Any, Any]:
        return build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)

    whole = new()
    torch.manual_seed(1)  # whatever the caller's random numbers are
    train_encoder(*whole, source, quiet(tmp_path / "whole"))
    interrupted = new()
    torch.manual_seed(2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(3, patch)
        train_encoder(*interrupted, source, quiet(tmp_path / "cut"))
    resumed = new()  # another process: nothing of the first is left but the checkpoint, after step 2
    seen = losses(monkeypatch)
    train_encoder(*resumed, source, quiet(tmp_path / "cut"))
    assert len(seen) == 3
    assert not changed(state(whole[0]), state(resumed[0]))
    for folder in ("whole", "cut"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["encoder.safetensors"]
    assert not changed(*(load_file(tmp_path / f"{folder}/encoder.safetensors") for folder in ("whole", "cut")))
    again = new()
    train_encoder(*again, source, quiet(tmp_path / "cut"))  # finished: nothing to do but load
    assert len(seen) == 3
    assert not changed(state(whole[0]), state(again[0]))


def test_the_encoder_stage_teaches_the_tower_alone(fresh: tuple[Any, Any], source: SceneSource, tmp_path: Path) -> None:
    model, processor = fresh
    before = state(model)
    train_encoder(model, processor, source, quiet(tmp_path))
    moved = changed(before, state(model))
    assert moved and all(name.startswith("model.audio_tower.") for name in moved)
    assert not any("embed_positions" in name for name in moved)
    assert {name for name in before if name.startswith("model.audio_tower.layers")} <= moved


@pytest.mark.parametrize("killed", [False, True])
def test_nothing_is_left_changed_by_the_encoder_stage(
    killed: bool, fresh: tuple[Any, Any], source: SceneSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = fresh
    tower = model.model.audio_tower
    inside: list[tuple[Any, ...]] = []

    def facts() -> tuple[Any, ...]:
        hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in tower.modules())
        return tower.config._attn_implementation, hooks, tower.training

    before, numbers = facts(), torch.get_rng_state()
    monkeypatch.setattr(training, "tell_loss", lambda *_: inside.append(facts()))
    if killed:
        kill_at(2, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(model, processor, source, quiet(tmp_path))
    else:
        train_encoder(model, processor, source, quiet(tmp_path))
    assert facts() == before
    assert torch.equal(numbers, torch.get_rng_state())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    implementation, hooks, learning = inside[0]
    assert (implementation, learning) == ("chunked", True)
    assert hooks == before[1] + 1 + 2 * len(tower.layers)


def test_dropout_acts_where_transformers_has_it(fresh: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both made to weaken channel by channel: then a tower with the one says what a tower with the other says."""

    def weakened(states: torch.Tensor, p: float, training: bool = True) -> torch.Tensor:
        return states * torch.linspace(0, 1, states.shape[-1]) if p else states

    model, _ = fresh
    tower = model.model.audio_tower.train()
    mel, lengths = torch.randn(2, 40, 800), torch.tensor([800, 500])
    without = tower_states(model, mel, lengths)
    monkeypatch.setattr(training, "_dropped", weakened)
    with training._dropout(tower, 0.5):
        ours = tower_states(model, mel, lengths)
    monkeypatch.setattr(torch.nn.functional, "dropout", weakened)
    for part in (tower, *tower.layers):
        part.dropout = 0.5
    assert torch.allclose(ours, tower_states(model, mel, lengths), atol=1e-6)
    assert not torch.allclose(ours, without, atol=1e-2)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_keeps_the_mean(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    states = torch.ones(7, 11, 1301, dtype=kind, requires_grad=True)  # a number of values that four does not divide
    made = training._dropped(states, 0.1)
    assert made.shape == states.shape and made.dtype == kind
    kept = made != 0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=4 * (0.09 / states.numel()) ** 0.5)
    assert made[kept].float().unique().tolist() == pytest.approx([1 / 0.9], rel=5e-3)
    made.sum().backward()
    assert torch.equal(states.grad, made.detach())  # the same values are dropped on the way back
    torch.manual_seed(0)
    assert torch.equal(made, training._dropped(states, 0.1))
    neighbours = kept.flatten()
    for lag in (1, 2, 3, 4):  # four values share a draw, and are dropped independently all the same
        both = (~neighbours[lag:] & ~neighbours[:-lag]).float().mean().item()
        assert both == pytest.approx(0.01, abs=0.002)


def test_the_tower_learns_a_few_scenes_by_heart(
    recipes: dict[str, Recipe], source: SceneSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = EncoderStage(steps=24, batch=2, learning_rate=5e-3, warm_up=3, dropout=0.0, spectrogram_masks=0.0)
    recipe = replace(recipes["qwen2_audio"], encoder=stage)
    repeated = SceneSource(recipe, None)
    monkeypatch.setattr(repeated, "scene", lambda index: source.scene(index % 2))
    seen = losses(monkeypatch)
    model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=0)
    train_encoder(model, processor, repeated, quiet(tmp_path, every=100))
    assert np.mean(seen[-3:]) < 0.4 * seen[0]
    assert np.isfinite(seen).all()


def test_padding_and_unknown_attributes_are_not_learnt() -> None:
    torch.manual_seed(0)
    tagger, states = Tagger(8, 3), torch.randn(2, 100, 8)
    known = torch.randint(0, 2, (2, 100)).float()
    known[:, 60:] = UNKNOWN
    sounding = torch.randint(0, 2, (2, 100, 3)).float()
    lengths = torch.tensor([400, 242])  # 100 and 60 audio tokens
    batch = Frames(torch.zeros(2, 4, 400), lengths, sounding, known, known)
    loss = tagger.loss(states, batch)
    beyond = states.clone()
    beyond[1, 60:] += 5  # after the end of the shorter audio
    assert torch.allclose(loss, tagger.loss(beyond, batch))
    within = states.clone()
    within[0, 60:] += 5
    assert not torch.allclose(loss, tagger.loss(within, batch))
    nothing_known = replace(batch, pitch=torch.full((2, 100), UNKNOWN), loudness=torch.full((2, 100), UNKNOWN))
    scores = tagger.linear(states)[..., :-2]
    tags = torch.nn.functional.binary_cross_entropy_with_logits(scores, sounding, reduction="none").sum(-1)
    expected = torch.cat([tags[0], tags[1, :60]]).mean()
    assert torch.allclose(tagger.loss(states, nothing_known), expected)


def test_masks_leave_most_of_a_spectrogram_and_the_input_alone() -> None:
    mel = torch.randn(6, 40, 800)
    before = mel.clone()
    masked = training._masked_spectrogram(mel, 0.5, np.random.default_rng(0))
    assert torch.equal(mel, before)
    share = (masked != mel).float().mean((1, 2))
    assert 0 < (share > 0).sum() < 6
    assert share.max() < 0.5
    assert torch.equal(training._masked_spectrogram(mel, 0.0, np.random.default_rng(0)), mel)
    for row in range(6):
        assert (masked[row][masked[row] != mel[row]] == mel[row].min()).all()


# Between the stages ------------------------------------------------------------------------------------------------


def test_the_corpus_is_the_same_from_any_worker_and_holds_no_samples(
    recipe: Recipe, fresh: tuple[Any, Any], heard: HeardScenes, tmp_path: Path
) -> None:
    other = hear_corpus(*fresh, SceneSource(recipe, None), replace(quiet(tmp_path), workers=1))
    assert torch.equal(heard.states, other.states) and heard.tokens == other.tokens
    assert heard.states.shape == (6, 200, 32) and heard.states.dtype == torch.bfloat16
    assert torch.isfinite(heard.states).all()
    for scenes in (heard.scenes, other.scenes):
        assert [scene.events for scene in scenes] == [scene.events for scene in heard.scenes]
        # otherwise twelve thousand scenes from a worker would take six gigabytes
        assert all(scene.samples.strides == (0,) for scene in scenes)
    assert [round(scene.duration * 25) for scene in heard.scenes] == pytest.approx(heard.tokens, abs=1)


def test_no_scene_of_stage_two_was_heard_in_stage_one(heard: HeardScenes, source: SceneSource) -> None:
    first = [source.scene(index).events for index in range(20)]
    assert not any(scene.events in first for scene in heard.scenes)


def test_an_epoch_shows_every_scene_once() -> None:
    for epoch in range(3):
        shown = np.concatenate([training.epoch_slice(3 * epoch + step, 4, 12, seed=0) for step in range(3)])
        assert sorted(shown) == list(range(12))
    assert not np.array_equal(training.epoch_slice(0, 12, 12, 0), training.epoch_slice(1, 12, 12, 0))


# Stage 2 -----------------------------------------------------------------------------------------------------------


def test_a_killed_language_run_goes_on_bit_for_bit(
    recipe: Recipe, fresh: tuple[Any, Any], heard: HeardScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = fresh
    whole, interrupted, resumed = (copy.deepcopy(model) for _ in range(3))
    train_language(whole, processor, recipe, lambda: heard, quiet(tmp_path / "whole"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(3, patch)
        train_language(interrupted, processor, recipe, lambda: heard, quiet(tmp_path / "cut"))
    torch.manual_seed(5)
    seen = losses(monkeypatch)
    train_language(resumed, processor, recipe, lambda: heard, quiet(tmp_path / "cut"))
    assert len(seen) == 3  # the two steps saved are not repeated
    assert not changed(state(whole), state(resumed))
    assert not changed(*(load_file(tmp_path / f"{folder}/language.safetensors") for folder in ("whole", "cut")))


def test_the_language_stage_leaves_the_tower_alone(
    recipe: Recipe, fresh: tuple[Any, Any], heard: HeardScenes, tmp_path: Path
) -> None:
    model, processor = fresh
    before = state(model)
    train_language(model, processor, recipe, lambda: heard, quiet(tmp_path))
    moved = changed(before, state(model))
    assert not any("audio_tower" in name for name in moved)
    for part in ("multi_modal_projector", "language_model.layers.0", "language_model.layers.1", "lm_head"):
        assert any(part in name for name in moved), part
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_the_decoder_learns_a_few_scenes_by_heart(
    recipe: Recipe, fresh: tuple[Any, Any], heard: HeardScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_listings = TurnMix(focus=0.0, weights={"listing": 1.0})
    stage = LanguageStage(scenes=2, steps=25, batch=2, turns=1, learning_rate=1e-2, warm_up=3, mix=only_listings)
    heard = HeardScenes(heard.states[:2], heard.tokens[:2], heard.scenes[:2])
    seen = losses(monkeypatch)
    train_language(*fresh, replace(recipe, language=stage), lambda: heard, quiet(tmp_path, every=100))
    assert np.mean(seen[-3:]) < 0.35 * seen[0]  # the words alone, in any order, would end near 0.45


def test_the_loss_reaches_every_parameter_that_should_learn(
    recipe: Recipe, fresh: tuple[Any, Any], heard: HeardScenes
) -> None:
    model, processor = fresh
    model.requires_grad_(True)
    rng = np.random.default_rng(0)
    turns = [[ask(heard.scenes[0], recipe.events, rng, recipe.language.mix) for _ in range(8)]]
    packed = Packer(processor).pack(heard.tokens[:1], turns)
    answer_loss(model, packed, heard.states[:1], heard.tokens[:1]).backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.norm() > 0)
        assert reached == (".audio_tower." not in name), name


def test_the_rate_warms_up_and_decays() -> None:
    stage = LanguageStage(steps=100, warm_up=10, learning_rate=1.0)
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = training.make_optimizer({"x": parameter}, stage)
    rates = []
    for step in range(100):
        training.take_step((parameter * 1e4).sum(), optimizer, {"x": parameter}, stage, step)
        rates.append(optimizer.param_groups[0]["lr"])
        assert parameter.grad is not None and parameter.grad.norm() <= 1.0 + 1e-5  # clipped
    assert rates[0] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 2e-3
