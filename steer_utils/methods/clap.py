"""CLAP, an audio-text model, as a yardstick from outside: no part of the audio-language model, and only if there.

`ClapLocator.load("laion/clap-htsat-unfused").method()` is its row of the table; `run_benchmark(..., external=[it])`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from transformers import AutoConfig, ClapModel, ClapProcessor

from steer_utils.lm.checkpoints import CheckpointError, check_text, special_tokens
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.attribution import STRIDE, covering_mean, sliding_windows
from steer_utils.methods.base import Localisation, Method, Query, localise
from steer_utils.methods.settings import Settings

TEXT = "the sound of {event}"
WINDOWS = 16  # windows of one forward pass
SOURCE = "CLAP, arXiv 2211.06687"


@dataclass(frozen=True, eq=False)
class ClapLocator:
    """Finds a sound by the similarity of its name with what is heard in a sliding window.

    `name`: what the model was loaded as. Audio comes at the sampling rate of the audio-language model (16 kHz in both
    families) and is resampled, so CLAP misses what is above 8 kHz.
    """

    model: Any
    processor: Any
    name: str

    @classmethod
    def load(cls, folder_or_id: str | Path, *, device: torch.device | str | None = None) -> ClapLocator:
        """Open CLAP from a local folder or the hub: float32, no gradients, safetensors only, no remote code.

        Raises CheckpointError if there is nothing to load, or another kind of model, before any weights are read.
        """
        name = str(folder_or_id)
        local = Path(name).expanduser()
        source = str(local) if local.exists() else name
        try:
            kind = AutoConfig.from_pretrained(source, trust_remote_code=False).model_type
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read a model configuration from {name!r}: {error}") from error
        if kind != "clap":
            raise CheckpointError(f"{name!r} is a model of type {kind!r}; pass a CLAP model (laion/clap-htsat-unfused)")
        try:
            model = ClapModel.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
            processor = ClapProcessor.from_pretrained(source, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot load CLAP {name!r} (safetensors weights are needed): {error}") from error
        return cls(model.eval().requires_grad_(False).to(device or "cpu"), processor, name)

    @property
    def sampling_rate(self) -> int:
        """Samples a second that CLAP expects."""
        return int(self.processor.feature_extractor.sampling_rate)

    @property
    def longest(self) -> float:
        """The longest window in seconds that CLAP takes without drawing random cuts of it."""
        return float(self.processor.feature_extractor.nb_max_samples / self.sampling_rate)

    def method(self) -> Method:
        """This model as a row of the table of methods."""
        return Method("clap", f"CLAP ({self.name})", self.find, "windows of CLAP, one each 0.2 s", SOURCE)

    def find(self, hearing: Hearing, query: Query, settings: Settings) -> Localisation:
        """The window where the audio is most like "the sound of {event}"; `settings` play no part.

        Windows have the queried width (at most what CLAP takes) and start every 0.2 s; a token's value is the mean
        similarity of the windows that cover it. Raises ValueError for an empty event, one that holds a special
        token, or a width that is no window.
        """
        if not query.event.strip():
            raise ValueError("the event is empty; name a sound, such as 'dog bark'")
        span = hearing.span
        span.window_tokens(query.seconds)
        starts, width = sliding_windows(span, min(query.seconds, self.longest), STRIDE)
        samples = soxr.resample(hearing.samples, hearing.checkpoint.sampling_rate, self.sampling_rate, quality="HQ")
        rate = span.seconds_per_token * self.sampling_rate  # samples a token
        length = min(round(width * rate), int(self.longest * self.sampling_rate))
        # The last token can stand for more than there is: the last window is moved back, never cut short.
        edges = np.clip(np.round(np.array(starts) * rate).astype(int), 0, max(0, len(samples) - length))
        similarities = self.similarities([samples[edge : edge + length] for edge in edges], query.event)
        return localise(covering_mean(similarities, starts, width, span.count), hearing, query)

    @torch.inference_mode()
    def similarities(self, sounds: list[np.ndarray], event: str) -> np.ndarray:
        """Cosine of each sound (samples,) at `sampling_rate` with the text about `event`: (sounds,), -1..1."""
        check_text(event, special_tokens(self.processor.tokenizer), "the event")
        words = self.processor.tokenizer([TEXT.format(event=event.strip())], return_tensors="pt")
        text = self.model.get_text_features(**words.to(self.model.device)).pooler_output
        cosines = []
        for first in range(0, len(sounds), WINDOWS):
            heard = self._features(sounds[first : first + WINDOWS])
            cosines.append(self.model.get_audio_features(**heard).pooler_output @ text[0])
        return torch.cat(cosines).double().cpu().numpy()

    def _features(self, sounds: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """Mel features. None of the sounds is "longer": CLAP's extractor would pick one of them at random."""
        extractor = self.processor.feature_extractor
        state = np.random.get_state()  # it draws from numpy's global generator
        try:
            mel = extractor(sounds, sampling_rate=self.sampling_rate, return_tensors="pt")
        finally:
            np.random.set_state(state)
        features = mel["input_features"].to(self.model.device, torch.float32)
        longer = torch.zeros(len(sounds), 1, dtype=torch.bool, device=self.model.device)
        return {"input_features": features, "is_longer": longer}
