"""States under an instruction alone: the model is given no audio, not even silence.

Vectors made of text carry over to prompts with audio (Nudging Hidden States, arXiv 2603.14636). As nothing is heard,
one vector serves all audios.

    text_contrast(lm, "Focus on the dog bark.", "Listen to the whole audio.", prompt="Describe the sound.")
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steer_utils.lm.checkpoints import Checkpoint, CheckpointError, alone
from steer_utils.lm.hearing import contrast_rows, contrast_vector
from steer_utils.lm.hidden_states import hidden_states
from steer_utils.lm.positions import Layout, token_mask
from steer_utils.lm.vectors import SteeringVector


@dataclass(frozen=True, eq=False)
class TextState:
    """`hidden`: (blocks, hidden), each block's output at the last prompt token (of the last block, before the final
    norm), float32 on the CPU."""

    instruction: str
    hidden: torch.Tensor


@torch.inference_mode()
def text_state(checkpoint: Checkpoint, instruction: str) -> TextState:
    """The state at the end of the turn that holds `instruction` and no audio. Cost: one short forward.

    Raises ValueError for an instruction that no prompt can hold, CheckpointError for a chat template that puts an audio
    into every turn, FloatingPointError where the number type does not hold what the model computes.
    """
    checkpoint.prompt(instruction)  # raises for what no prompt can hold
    text = checkpoint.family.text_prompt(checkpoint.processor, instruction.strip())
    ids = torch.tensor([checkpoint.processor.tokenizer(text)["input_ids"]])
    if bool((ids == checkpoint.audio_token_id).any()):
        raise CheckpointError(f"the chat template of {checkpoint.name} puts an audio into a turn of text: {text!r}")
    last = token_mask("last", [Layout(ids.shape[1], range(0))])
    with alone(checkpoint), hidden_states(checkpoint, last) as states:
        checkpoint.family.backbone(checkpoint.model)(
            input_ids=ids.to(checkpoint.device),
            attention_mask=torch.ones_like(ids, device=checkpoint.device),
            use_cache=False,
        )
    hidden = states.states()[0, :, 0]
    if not bool(hidden.isfinite().all()):
        raise FloatingPointError(
            f"{checkpoint.name} gives nan or infinity in {checkpoint.numbers}; load it in bfloat16"
        )
    return TextState(instruction.strip(), hidden)


def text_contrast(checkpoint: Checkpoint, positive: str, negative: str, *, prompt: str = "") -> SteeringVector:
    """v_l = h_l(positive) - h_l(negative) with no audio: `Hearing.contrast`, with the audio turn left out.

    Cost: two short forwards. Raises what `Hearing.contrast` and `text_state` raise.
    """
    rows = contrast_rows(checkpoint, positive, negative, prompt)
    plus, minus = (text_state(checkpoint, row.instruction) for row in rows)
    return contrast_vector(checkpoint, plus, minus, note=", text alone")
