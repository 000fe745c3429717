"""How a mini model learns to answer: projector and adapters, everything else frozen. Resumable, on a CPU or a GPU.

The scenes are encoded once by the frozen tower and kept beside the checkpoints: on a CPU that is a quarter of an hour
that a resumed run does not spend again, and trainings by several seeds share it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.utils.data import Dataset

from steer_utils.pocket.adapters import attach, detach, merge
from steer_utils.pocket.chunked_attention import chunked
from steer_utils.pocket.corpus import HeardScenes, made_ahead
from steer_utils.pocket.mini_recipe import AdapterStage, MiniRecipe
from steer_utils.pocket.packing import IGNORE, Packed, Packer
from steer_utils.pocket.projector_start import start_projector
from steer_utils.pocket.text import Turn, ask
from steer_utils.pocket.training import Progress, epoch_slice, train_steps
from steer_utils.sound.files import read_json, whole_file, write_whole
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import RATE
from steer_utils.sound.spans import Interval

#: Steps after which projector and adapters are kept, to see later what the model had learnt by then.
SNAPSHOTS = (0, 50, 100, 150, 200, 300, 400, 600, 800, 1000, 1200)


@dataclass(frozen=True)
class Learnt:
    """What a training makes: the projector's state and the adapters' matrices, float32 on the CPU."""

    projector: dict[str, torch.Tensor]
    adapters: dict[str, torch.Tensor]

    def tensors(self) -> dict[str, torch.Tensor]:
        """One flat table, "projector.linear.weight", "adapters.layers.0.mlp.up_proj.down", ..."""
        return {f"projector.{name}": value for name, value in self.projector.items()} | {
            f"adapters.{name}": value for name, value in self.adapters.items()
        }

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Learnt:
        """From such a table, in any number type (other tensors in it are passed over)."""
        return cls(
            *(
                {name.removeprefix(part): value.float() for name, value in tensors.items() if name.startswith(part)}
                for part in ("projector.", "adapters.")
            )
        )

    def put_into(self, model: Any) -> None:
        """Set the projector and merge the adapters into the decoder's weights (in float32)."""
        model.model.multi_modal_projector.load_state_dict(self.projector)
        merge(model.model.language_model, self.adapters)


@dataclass(frozen=True)
class Step:
    """One batch with every place as a flat index, so that nothing on a GPU has to wait for a mask to be counted.

    `ids`, `positions` (batch, T); `mask` (batch, 1, T, T); `scenes` (batch,): rows of the heard states; `audio_from`:
    their valid tokens in (batch * tokens); `audio_to`: where these go in (batch * T); `before_answers`: the place in
    (batch * T) from which each answer token is predicted; `answers`: that token.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    scenes: torch.Tensor
    audio_from: torch.Tensor
    audio_to: torch.Tensor
    before_answers: torch.Tensor
    answers: torch.Tensor

    @classmethod
    def of(cls, packed: Packed, scenes: np.ndarray, counts: Sequence[int], tokens: int, multiple: int = 1) -> Step:
        """From a packed batch. `counts`: audio tokens of each scene; `tokens`: for how many the heard states have room.

        T is padded to a multiple of `multiple`: kernels of a GPU like round lengths.
        """
        packed = _padded(packed, -packed.ids.shape[1] % multiple)
        valid = torch.arange(tokens) < torch.tensor(counts)[:, None]
        wanted = functional.pad(packed.labels[:, 1:] != IGNORE, (0, 1))
        before = wanted.flatten().nonzero().squeeze(1)
        return cls(
            packed.ids,
            packed.positions,
            packed.mask,
            torch.from_numpy(np.asarray(scenes)),
            valid.flatten().nonzero().squeeze(1),
            packed.audio_slots.flatten().nonzero().squeeze(1),
            before,
            packed.labels.flatten()[before + 1],
        )

    def to(self, device: torch.device) -> Step:
        return Step(*(getattr(self, name).to(device, non_blocking=True) for name in Step.__dataclass_fields__))


def _padded(packed: Packed, count: int) -> Packed:
    """`count` more tokens in every row, at its end, that see only themselves and nobody sees."""
    if not count:
        return packed
    length = packed.ids.shape[1]
    mask = functional.pad(packed.mask, (0, count, 0, count))
    mask[..., range(length, length + count), range(length, length + count)] = True
    ids, positions = (functional.pad(given, (0, count)) for given in (packed.ids, packed.positions))
    slots = functional.pad(packed.audio_slots, (0, count))
    return Packed(ids, functional.pad(packed.labels, (0, count), value=IGNORE), positions, mask, slots)


class Steps(Dataset):
    """Step number i of a training, the same whenever and wherever it is made."""

    def __init__(self, packer: Packer, heard: HeardScenes, recipe: MiniRecipe, first: int, multiple: int) -> None:
        self.packer, self.recipe, self.first, self.multiple = packer, recipe, first, multiple
        self.scenes, self.counts, self.tokens = heard.scenes, heard.tokens, heard.states.shape[1]

    def __len__(self) -> int:
        return self.recipe.stage.steps - self.first

    def __getitem__(self, index: int) -> Step:
        recipe, stage, step = self.recipe, self.recipe.stage, self.first + index
        rng = np.random.default_rng([recipe.seed, 11, step])
        chosen = epoch_slice(step, stage.batch, len(self.scenes), recipe.seed)
        turns = [[ask(self.scenes[i], recipe.events, rng, stage.mix) for _ in range(stage.turns)] for i in chosen]
        counts = [self.counts[i] for i in chosen]
        local = rng.random(len(chosen)) < stage.local_audio
        return Step.of(self.packer.pack(counts, turns, local), chosen, counts, self.tokens, self.multiple)


def train_adapters(
    model: Any,
    processor: Any,
    recipe: MiniRecipe,
    hear: Callable[[], HeardScenes],
    progress: Progress,
    snapshots: Sequence[int] = (),
    at_snapshot: Callable[[int, Learnt], None] | None = None,
) -> Learnt:
    """Train projector and adapters of a model made by `build_mini`; it is left frozen, in bfloat16 and unmerged.

    Checkpoints go to `progress.folder`; the same call goes on after a kill. `hear` is called only if steps are left.
    `at_snapshot` is called after each of the steps `snapshots`, with the adapters in place. About 12 s a step of
    6 scenes x 8 questions on two cores.
    """
    stage, device = recipe.stage, model.device
    model.requires_grad_(False)
    checkpoint = progress.folder / "adapters.safetensors"
    heard: HeardScenes | None = None
    if not checkpoint.exists():
        heard = hear()
        start_projector(model, processor.tokenizer, heard, stage.ridge_scenes, recipe.seed)
    projector, decoder = model.model.multi_modal_projector.float().requires_grad_(True), model.model.language_model
    decoder.to(torch.bfloat16)
    model.lm_head.to(torch.bfloat16)
    matrices = attach(decoder, stage.rank, recipe.seed)
    parameters = {f"projector.{name}": value for name, value in projector.named_parameters()}
    parameters |= {f"adapters.{name}": value for name, value in matrices.items()}

    def learnt() -> Learnt:
        return Learnt.of({name: value.detach().to("cpu", torch.float32).clone() for name, value in parameters.items()})

    def losses(done: int) -> Generator[torch.Tensor]:
        scenes = heard or hear()
        states = scenes.states.to(device)
        steps = Steps(Packer(processor), scenes, recipe, done, 64 if device.type == "cuda" else 1)
        with chunked(decoder):
            for step, batch in enumerate(made_ahead(steps, progress.workers, pinned=device.type == "cuda"), done):
                if step in snapshots and at_snapshot is not None:
                    at_snapshot(step, learnt())
                batch = batch.to(device)
                yield functional.cross_entropy(answer_logits(model, batch, states), batch.answers)

    train_steps("adapters", parameters, _optimizer(parameters, stage), stage, losses, progress)
    if at_snapshot is not None and stage.steps in snapshots:
        at_snapshot(stage.steps, learnt())
    result = learnt()
    detach(decoder)
    model.requires_grad_(False)
    return result


def answer_logits(model: Any, batch: Step, states: torch.Tensor) -> torch.Tensor:
    """What the model expects at each answer token, (answer tokens, vocabulary) float32; `states`: all heard scenes."""
    audio = model.model.multi_modal_projector(states[batch.scenes].float()).flatten(0, 1)
    embedded = model.get_input_embeddings()(batch.ids)
    shape = embedded.shape
    embedded = embedded.flatten(0, 1).index_copy(0, batch.audio_to, audio[batch.audio_from].to(embedded.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embedded.view(shape), attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    return model.lm_head(hidden.flatten(0, 1)[batch.before_answers]).float()


@torch.no_grad()
def exactly_answered(
    model: Any, packer: Packer, heard: HeardScenes, turns: Sequence[Sequence[Turn]], batch: int = 24
) -> list[list[bool]]:
    """For each scene, which of its questions greedy decoding would answer to the letter, without decoding.

    It would if, after the true answer's beginning, each next token of it (its end too) is the most likely one.
    """
    states, right = heard.states.to(model.device), list[list[bool]]()
    for first in range(0, len(turns), batch):
        rows = range(first, min(first + batch, len(turns)))
        counts, asked = [heard.tokens[i] for i in rows], [turns[i] for i in rows]
        packed = packer.pack(counts, asked)
        step = Step.of(packed, np.array(rows), counts, heard.states.shape[1]).to(model.device)
        hits = (answer_logits(model, step, states).argmax(dim=-1) == step.answers).cpu().tolist()
        taken = iter(hits)
        for scene_turns in asked:
            lengths = [len(packer.words(turn.answer)) + 1 for turn in scene_turns]
            right.append([all([next(taken) for _ in range(length)]) for length in lengths])
    return right


def kept_scenes(path: Path, hear: Callable[[], HeardScenes]) -> HeardScenes:
    """What `hear` heard before, from the file at `path`; or heard now and kept there."""
    if not path.exists():
        save_heard(path, hear())
    return load_heard(path)


def save_heard(path: Path, heard: HeardScenes) -> None:
    """Write heard scenes as one safetensors file: states, and what sounds in each scene as its metadata."""
    scenes = [
        {"seconds": scene.duration, "events": [asdict(event) for event in scene.events]} for scene in heard.scenes
    ]
    metadata = {"tokens": json.dumps(heard.tokens), "scenes": json.dumps(scenes)}
    write_whole(path.with_suffix(".json"), json.dumps(metadata))  # safetensors allows only so much metadata
    with whole_file(path) as part:
        save_file({"states": heard.states.cpu().contiguous()}, part)


def load_heard(path: Path) -> HeardScenes:
    """Read what `save_heard` wrote; the scenes have facts and no samples."""
    metadata = read_json(path.with_suffix(".json"))
    scenes = [
        Scene(
            np.broadcast_to(np.float32(0), (round(each["seconds"] * RATE),)),
            RATE,
            tuple(Event(**{**event, "span": Interval(**event["span"])}) for event in each["events"]),
        )
        for each in json.loads(metadata["scenes"])
    ]
    return HeardScenes(load_file(path)["states"], json.loads(metadata["tokens"]), scenes)


def _optimizer(parameters: Mapping[str, torch.nn.Parameter], stage: AdapterStage) -> torch.optim.AdamW:
    def group(part: str, rate: float) -> dict[str, Any]:
        return {"params": [value for name, value in parameters.items() if name.startswith(part)], "lr": rate}

    groups = [group("projector.", stage.projector_rate), group("adapters.", stage.adapter_rate)]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
