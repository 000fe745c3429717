"""The pocket model that sees, and its training: an unmodified LLaVA class, made from nothing, by the audio models' way.

The tower is CLIP's vision transformer, the decoder Qwen2, both small. No two steps see the same picture.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlavaConfig, LlavaProcessor

from steer_utils.pocket.architecture import Size, decoder_config, initialised, sinusoids, tower_blocks, word_tokenizer
from steer_utils.pocket.packing import Packer
from steer_utils.pocket.recipe import EncoderStage, LanguageStage, Recipe
from steer_utils.pocket.shape_questions import WEIGHTS, turn, words
from steer_utils.pocket.shapes import ATTRIBUTES, GRID, NAMES, PATCH, SIDE, TRAINED, Picture, make_picture
from steer_utils.pocket.text import TurnMix
from steer_utils.pocket.training import Progress, answer_loss, answering_parts, seeded, train_parts

_TOWER = {"encoder_width": 96, "encoder_blocks": 3, "encoder_heads": 3}
_DECODER = {"width": 128, "blocks": 5, "heads": 4, "key_value_heads": 4, "feed_forward": 256}
#: By the name of the model. Its patches see each other in every picture: `local_audio` is 0.
PICTURE_RECIPES = {
    "pocket-llava": Recipe(
        family="llava",
        size=Size(**_TOWER, **_DECODER),
        events=NAMES,
        recordings=0.0,
        encoder=EncoderStage(steps=1200, batch=32, learning_rate=2e-3, dropout=0.0, spectrogram_masks=0.0),
        language=LanguageStage(
            scenes=0, steps=3600, cycles=3, batch=8, turns=10, local_audio=0.0, mix=TurnMix(0.05, dict(WEIGHTS))
        ),
    )
}
#: As llava-hf/llava-1.5-7b-hf writes a turn: "USER: <image>\n... ASSISTANT:".
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_COUNTS = (0.1, 0.2, 0.6, 0.1)  # of pictures with one, two, three and four shapes
_LANGUAGE_PICTURES = 10_000_000  # numbers of pictures in stage 2 start here: none was seen in stage 1


def build(size: Size, seed: int) -> tuple[Any, Any]:
    """A randomly initialised LLaVA and its processor, whose image processor needs no torchvision (PIL's)."""
    tokenizer = word_tokenizer(("<pad>", "<unk>", "</s>", "<image>"), words(), end="</s>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **tower_blocks(size), projection_dim=size.encoder_width, image_size=SIDE, patch_size=PATCH
        ),
        text_config=decoder_config(size, tokenizer),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=GRID.count,
    )
    model = initialised(config, tokenizer, seed).requires_grad_(False)
    # As Whisper's table in the audio towers, in two directions: who is beside whom need not be learnt from nothing.
    half = sinusoids(GRID.rows, size.encoder_width // 2)
    both = torch.cat([half.repeat_interleave(GRID.columns, dim=0), half.repeat(GRID.rows, 1)], dim=1)
    model.model.vision_tower.embeddings.position_embedding.weight[1:] = 0.2 * both
    return model, processor


def pictures(seed: int, first: int, count: int) -> list[Picture]:
    """Pictures number `first` and following of a training, the same whenever they are made."""
    generators = (np.random.default_rng([seed, number]) for number in range(first, first + count))
    return [make_picture(rng, TRAINED, 1 + int(rng.choice(len(_COUNTS), p=_COUNTS))) for rng in generators]


def patch_states(model: Any, processor: Any, batch: list[Picture]) -> torch.Tensor:
    """What the tower makes of pictures, (batch, patches, width): as `LlavaModel` takes it, without the first token."""
    pixels = processor.image_processor([picture.pixels for picture in batch], return_tensors="pt")["pixel_values"]
    return model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]


def patch_labels(batch: list[Picture]) -> dict[str, torch.Tensor]:
    """Of each patch (batch, patches): which value of each attribute has the thing in whose box its middle lies; where
    it lies in none, 0 for colour and shape, -1 (no label) for texture and size."""
    labels = {name: np.full((len(batch), GRID.count), int("" in of) - 1) for name, of in ATTRIBUTES.items()}
    for row, picture in enumerate(batch):
        for thing in picture.things:
            for name, of in ATTRIBUTES.items():
                labels[name][row, GRID.inside(thing.box)] = of.index(getattr(thing, name))
    return {name: torch.from_numpy(values) for name, values in labels.items()}


class PatchTagger(torch.nn.Module):
    """A linear read-out of the tower for each patch. Thrown away after stage 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, len(of)) for name, of in ATTRIBUTES.items()})

    def loss(self, states: torch.Tensor, labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy, the mean over patches that have such a label, summed over the four.

        Patches of the ground, four of five, count a tenth.
        """
        scores = {name: head(states.float()).flatten(0, 1) for name, head in self.heads.items()}
        weights = {name: torch.ones(score.shape[1]) for name, score in scores.items()}
        weights["colour"][0] = weights["shape"][0] = 0.1
        truths = {name: labels[name].flatten() for name in scores}
        losses = [
            functional.cross_entropy(scores[name], truths[name], weights[name], ignore_index=-1) for name in scores
        ]
        return torch.stack(losses).sum()


def train_tower(model: Any, processor: Any, recipe: Recipe, progress: Progress) -> None:
    """Stage 1: which colour, shape, texture and size has each patch?"""
    stage, tower = recipe.encoder, model.model.vision_tower.requires_grad_(True)
    tower.post_layernorm.requires_grad_(False)  # LLaVA does not use it
    with seeded(model.device, recipe.seed):
        tagger = PatchTagger(recipe.size.encoder_width)

    def losses(done: int) -> Generator[torch.Tensor]:
        for step in range(done, stage.steps):
            batch = pictures(recipe.seed, step * stage.batch, stage.batch)
            yield tagger.loss(patch_states(model, processor, batch), patch_labels(batch))

    train_parts("tower", {"tower": tower, "tagger": tagger}, stage, losses, progress)


def train_answers(model: Any, processor: Any, recipe: Recipe, progress: Progress) -> None:
    """Stage 2: the tower frozen, projector and decoder learn to answer."""
    stage, packer = recipe.language, Packer(processor, "image")

    def losses(done: int) -> Generator[torch.Tensor]:
        for step in range(done, stage.steps):
            rng = np.random.default_rng([recipe.seed, 11, step])
            batch = pictures(recipe.seed, _LANGUAGE_PICTURES + step * stage.batch, stage.batch)
            turns = [[turn(stage.mix.kind(rng), one, rng) for _ in range(stage.turns)] for one in batch]
            counts = [GRID.count] * len(batch)
            packed = packer.pack(counts, turns, rng.random(len(batch)) < stage.local_audio)
            with torch.no_grad():
                states = patch_states(model, processor, batch)
            yield answer_loss(model, packed, states, counts)

    train_parts("answers", answering_parts(model), stage, losses, progress)
