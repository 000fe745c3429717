"""Which stretch of the audio the model's own "yes" rests on: gradients and occlusion, without attention or steering.

What is explained is one number: the yes-minus-no logit of "is there a {event}?" (`settings.presence`) at the last
prompt token. It is a function of the audio embeddings, i.e. of the projector's output in the audio slots. What stands
for "no sound" is the mean audio embedding of the same scene: it needs no further encoding, and keeps the channel and
the noise of the recording. The encoder has already mixed neighbouring frames; none of this is sharper than its reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from steer_utils.lm.caches import CACHE
from steer_utils.lm.checkpoints import alone
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.prefixes import Prefix
from steer_utils.methods.asking import yes_and_no, yes_minus_no
from steer_utils.methods.base import Localisation, Method, Query, localise
from steer_utils.methods.settings import Settings
from steer_utils.sound.audio import sliding_starts
from steer_utils.sound.spans import AudioSpan

STEPS = 16  # points on the path of integrated gradients
STRIDE = 0.2  # seconds between two windows that are occluded
GRADIENT_ROWS = 4  # sequences whose activations are kept for one backward pass
FORWARD_ROWS = 8  # sequences of one forward pass without gradients


@dataclass(frozen=True, eq=False)
class PresenceLogit:
    """The yes-minus-no logit of one presence question about one audio, as a function of the audio embeddings.

    `tail`: (1, n, hidden), embeddings of the prompt after the audio. `yes`, `no`: token ids of the two answers.
    """

    prefix: Prefix
    tail: torch.Tensor
    yes: list[int]
    no: list[int]

    def alone(self) -> AbstractContextManager[None]:
        """No other thread uses the model meanwhile, see `checkpoints.alone`."""
        return alone(self.prefix.checkpoint)

    @property
    def audio(self) -> torch.Tensor:
        """The audio embeddings as they were heard, (tokens, hidden)."""
        return self.prefix.embeddings[0, self.prefix.span.first : self.prefix.span.stop]

    @property
    def baseline(self) -> torch.Tensor:
        """What stands for "no sound" in every slot: the mean audio embedding, (tokens, hidden)."""
        return self.audio.mean(dim=0, keepdim=True).expand_as(self.audio)

    def logits(self, audio: torch.Tensor, unchanged: int | None = None) -> torch.Tensor:
        """Log-odds of yes against no for each row of `audio` (rows, tokens, hidden): (rows,), float32 or wider.

        `unchanged`: how many first audio tokens are as heard in every row. Their keys and values are then taken from
        the shared prefix, through which no gradient flows. None: the whole sequence is run.
        """
        prefix, checkpoint = self.prefix, self.prefix.checkpoint
        rows, first = len(audio), prefix.span.first
        around = (prefix.embeddings[:, :first], prefix.embeddings[:, prefix.span.stop :], self.tail)
        before, padding, tail = (part.expand(rows, -1, -1) for part in around)
        sequence = torch.cat([before, audio, padding, tail], dim=1)
        cache, known = None, 0
        if unchanged is not None:
            cache, known = prefix.cache(rows), first + unchanged
            cache.crop(known - prefix.length)
        with self.alone():
            output = checkpoint.family.backbone(checkpoint.model)(
                inputs_embeds=sequence[:, known:],
                attention_mask=torch.ones(sequence.shape[:2], dtype=torch.long, device=sequence.device),
                position_ids=torch.arange(known, sequence.shape[1], device=sequence.device)[None],
                use_cache=cache is not None,
                **{CACHE: cache},
            )
            logits = checkpoint.family.head(checkpoint.model)(output.last_hidden_state[:, -1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return yes_minus_no(logits, self.yes, self.no)


def presence_logit(hearing: Hearing, query: Query, settings: Settings) -> PresenceLogit:
    """The presence question about `query`, ready to be explained.

    Raises ValueError, before the model runs, for a width that is no window, an event that no prompt can hold, or a
    tokenizer that has no token of its own for yes and no.
    """
    hearing.span.window_tokens(query.seconds)
    checkpoint, prefix = hearing.checkpoint, hearing._prefix
    prompt = checkpoint.tokens(settings.presence.format(event=query.event))
    if prompt.head != prefix.shape.head:
        raise ValueError(f"this prompt begins otherwise before the audio: {prompt.text!r}")
    yes, no = yes_and_no(checkpoint)
    if set(yes) & set(no):
        raise ValueError(f"the tokenizer of {checkpoint.name} has no tokens of its own for yes and no")
    with torch.no_grad():
        tail = checkpoint.decoder.get_input_embeddings()(torch.tensor([prompt.tail], device=checkpoint.device))
    return PresenceLogit(prefix, tail, yes, no)


def gradients(logit: PresenceLogit, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The logit at each row of `audio` (rows, tokens, hidden): (rows,); and its gradient there, as large as `audio`.

    Works inside `no_grad` and `inference_mode` too. Parameters get no gradients, whatever their `requires_grad`.
    """
    values, slopes = [], []
    with torch.inference_mode(False), torch.enable_grad(), logit.alone():
        for chunk in audio.split(GRADIENT_ROWS):
            point = chunk.detach().clone().requires_grad_(True)  # what was heard is an inference tensor: copy it
            value = logit.logits(point)
            slopes.append(torch.autograd.grad(value.sum(), point)[0])
            values.append(value.detach())
    return torch.cat(values), torch.cat(slopes)


def integrated(logit: PresenceLogit, steps: int = STEPS) -> torch.Tensor:
    """Integrated gradients from the baseline to the audio, summed over width: (tokens,), signed.

    (x - x') ∫ ∇f(x' + a (x - x')) da by Gauss-Legendre with `steps` points (arXiv 1703.01365). Their sum tends to
    f(x) - f(x') as the steps grow (completeness). Raises ValueError for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; pass at least 1")
    points, weights = np.polynomial.legendre.leggauss(steps)
    difference = logit.audio - logit.baseline
    path = [logit.baseline + float(0.5 * (point + 1.0)) * difference for point in points]
    _, slopes = gradients(logit, torch.stack(path))
    mean = torch.einsum("s,sth->th", torch.as_tensor(0.5 * weights).to(slopes), slopes)
    return (difference * mean).sum(dim=1)


def gradient_input(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Gradient x input: |d(yes - no)/d(audio embedding) · audio embedding|.

    The absolute value, because the product compares with a zero embedding, which is not silence: its sign says little.
    (On the development classes of the pocket models it beats the positive part.)
    """
    logit = presence_logit(hearing, query, settings)
    _, slopes = gradients(logit, logit.audio[None])
    return localise(_curve((slopes[0] * logit.audio).sum(dim=1).abs()), hearing, query)


def integrated_gradients(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Integrated gradients in 16 steps from the mean audio embedding, signed.

    Signed, because the sum over a window is then the window's own part of the change of yes - no (completeness).
    """
    return localise(_curve(integrated(presence_logit(hearing, query, settings))), hearing, query)


def occlusion(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """How far yes - no drops when a window of the queried width is replaced by the mean audio embedding.

    Windows start every 0.2 s; a token's value is the mean over the windows that cover it.
    """
    logit = presence_logit(hearing, query, settings)
    starts, width = sliding_windows(hearing.span, query.seconds)
    drops = occluded_drops(logit, starts, width)
    return localise(covering_mean(drops, starts, width, hearing.span.count), hearing, query)


@torch.inference_mode()
def occluded_drops(logit: PresenceLogit, starts: Sequence[int], width: int) -> np.ndarray:
    """f(audio) - f(audio with tokens start..start+width-1 replaced by the baseline), one a start, (windows,)."""
    heard = logit.logits(logit.audio[None], unchanged=len(logit.audio))
    drops = []
    for first in range(0, len(starts), FORWARD_ROWS):
        chunk = starts[first : first + FORWARD_ROWS]
        audio = logit.audio.repeat(len(chunk), 1, 1)
        for row, start in enumerate(chunk):
            audio[row, start : start + width] = logit.baseline[start : start + width]
        # What comes before the first window is as heard: about half of all tokens are not run again.
        drops.append(heard - logit.logits(audio, unchanged=min(chunk)))
    return torch.cat(drops).double().cpu().numpy()


def sliding_windows(span: AudioSpan, seconds: float, stride: float = STRIDE) -> tuple[list[int], int]:
    """First tokens of windows that together cover the audio, one every `stride` seconds, and their width in tokens."""
    width = span.window_tokens(seconds)
    step = min(width, span.window_tokens(stride))
    return [int(start) for start in sliding_starts(span.count, width, step)], width


def covering_mean(values: np.ndarray, starts: Sequence[int], width: int, count: int) -> np.ndarray:
    """For each of `count` tokens the mean of `values` over the windows of `width` tokens that cover it, (count,)."""
    covers = np.array([(start <= np.arange(count)) & (np.arange(count) < start + width) for start in starts])
    return values @ covers / covers.sum(axis=0)


def _curve(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


_explained = partial(Method, extra="2nd pass", standard=False)
METHODS = (
    _explained("gradient-input", "gradient x input", gradient_input, "1 and back", "of the answer yes - no"),
    _explained("integrated-gradients", "integrated gradients", integrated_gradients, "16 and back", "arXiv 1703.01365"),
    _explained("occlusion", "occlusion", occlusion, "1, and a part each 0.2 s", "window set to the mean"),
)
