"""Two readings of a plain forward pass: what each audio token would say next (logit lens), and attention rollout."""

from __future__ import annotations

import numpy as np
import torch

from steer_utils.lm.attention import attention_rows
from steer_utils.lm.checkpoints import Checkpoint, alone
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.hidden_states import hidden_states
from steer_utils.lm.positions import Layout, TokenMask, token_mask
from steer_utils.methods.attribution import presence_logit
from steer_utils.methods.base import Localisation, Method, Query, localise
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import AudioSpan

ROLLOUT_BYTES = 2 * 2**30  # of attention maps; 15 s of audio fit at 32 blocks of 32 heads
LENS_TOKENS = 64  # audio tokens whose logits over the whole vocabulary are formed at once


def rollout(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928) of the last token of the presence question.

    The curve is the part of the flow that comes from each audio token, as a share (it sums to 1).
    """
    flow = rolled_out(hearing, query, settings)[hearing.span.first : hearing.span.stop]
    return localise(flow / max(float(flow.sum()), 1e-12), hearing, query)


@torch.inference_mode()
def rolled_out(hearing: Hearing, query: Query, settings: Settings) -> np.ndarray:
    """The last row of A_L ... A_1 for the presence question, (slots of the prompt,), summing to 1.

    A_l is the attention of block l, averaged over heads, plus the identity, rows renormalised. Needs the full maps of
    all blocks at once, blocks x heads x slots² numbers: raises ValueError above `ROLLOUT_BYTES`, before any work.
    """
    logit = presence_logit(hearing, query, settings)
    slots = hearing.prefix_length + logit.tail.shape[1]
    _check_memory(hearing.checkpoint, slots)
    every = TokenMask(torch.ones(1, slots, dtype=torch.bool), generated=False)
    # The span given is the whole prompt: the flow also passes through text.
    with alone(hearing.checkpoint), attention_rows(hearing.checkpoint, every, AudioSpan(0, slots)) as rows:
        logit.logits(logit.audio[None])
    flow = torch.zeros(slots, dtype=torch.float64)
    flow[-1] = 1.0
    for block in reversed(rows.blocks):  # a row times a matrix a block: the product itself is never formed
        attention = rows.block(block)[0].mean(dim=0).to("cpu", torch.float64)
        mixed = attention + torch.eye(slots, dtype=torch.float64)
        flow = flow @ (mixed / mixed.sum(dim=1, keepdim=True))
    return flow.numpy()


def _check_memory(checkpoint: Checkpoint, slots: int) -> None:
    heads = int(checkpoint.decoder.config.num_attention_heads)
    needed = 4 * checkpoint.num_blocks * heads * slots**2
    if needed > ROLLOUT_BYTES:
        raise ValueError(
            f"attention rollout would keep {checkpoint.num_blocks} blocks x {heads} heads x {slots}² weights, "
            f"{needed / 2**30:.1f} GiB; the limit is {ROLLOUT_BYTES / 2**30:g} GiB: pass a shorter audio, or raise "
            "logit_lens.ROLLOUT_BYTES"
        )


def logit_lens(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """How much each audio token's own state calls for the event's name: one curve a sound, no question asked.

    The final norm and the output head are applied to the last block's states at the audio tokens. The curve is the
    log-probability of the first token of the event's name, minus its mean over the audio. The audio comes before any
    instruction, so `settings` play no part. Names that share their first token share their curve.
    """
    hearing.span.window_tokens(query.seconds)
    names = name_tokens(hearing.checkpoint, query.event)
    curve = lens_curve(hearing, names)
    return localise(curve - curve.mean(), hearing, query)


@torch.inference_mode()
def lens_curve(hearing: Hearing, names: tuple[int, ...], block: int = -1) -> np.ndarray:
    """log p(any of the tokens `names`) read from each audio token's state after `block`, (tokens,).

    The prefix is run once more to see the states. That is one pass over the audio, less than a question costs with
    gradients, so nothing is kept for the next query.
    """
    checkpoint, prefix = hearing.checkpoint, hearing._prefix
    layout, audio = Layout(prefix.length, range(prefix.length)), range(prefix.span.first, prefix.span.stop)
    with alone(checkpoint), hidden_states(checkpoint, token_mask(audio, [layout])) as kept:
        prefix.recomputed(1)
    states = kept.states()[0, block].to(checkpoint.device, checkpoint.dtype)
    head, norm = checkpoint.family.head(checkpoint.model), checkpoint.family.norm(checkpoint.model)
    chances = []
    for chunk in states.split(LENS_TOKENS):
        logits = head(norm(chunk))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        chances.append(logits.log_softmax(dim=-1)[:, list(names)].logsumexp(dim=-1))
    return torch.cat(chances).double().cpu().numpy()


def name_tokens(checkpoint: Checkpoint, event: str) -> tuple[int, ...]:
    """First token of the event's name, at the start of a text and after a space (byte-level tokenizers differ).

    Raises ValueError for an empty name, one with a special token, or one whose first word the tokenizer does not know.
    """
    checkpoint.check_text(event, "the event")
    tokenizer, name = checkpoint.processor.tokenizer, event.strip()
    encoded = [tokenizer(text, add_special_tokens=False).input_ids for text in (name, f" {name}")]
    first = {ids[0] for ids in encoded if name and ids} - {tokenizer.unk_token_id}
    if not first:
        raise ValueError(f"the tokenizer of {checkpoint.name} has no token for the event {event!r}; name another sound")
    return tuple(sorted(first))


METHODS = (
    Method("rollout", "attention rollout", rollout, "1 whole", "arXiv 2005.00928", standard=False),
    Method(
        "logit-lens",
        "logit lens per audio token",
        logit_lens,
        "1 over the audio",
        "last block, first token",
        standard=False,
    ),
)
