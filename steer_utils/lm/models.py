"""AudioLM, and `load`: a pocket model that ships with the package, a folder, or a hub id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.hearing import Hearing, Seeing
from steer_utils.lm.loading import DeviceMap, Quantisation, open_checkpoint
from steer_utils.lm.patch_grid import read_picture
from steer_utils.lm.several_audios import check_batch, hear_each
from steer_utils.sound.audio import check_several, read_audio

MAIN_MODELS = ("pocket-qwen2-audio", "pocket-audio-flamingo-3")  # what course and result table are about
POCKET_MODELS = (*MAIN_MODELS, "pocket-qwen2-audio-half")  # all that ship; the last one is there to compare sizes
#: A pretrained language model (not ours, see pocket/language_model.py) behind a pocket model's tower: assembled once.
MINI_MODELS = ("mini-smollm2-audio", "mini-smollm2-audio-flamingo")
#: It sees instead of hearing: `lm.see(picture)`. The methods that give seconds refuse it.
PICTURE_MODELS = ("pocket-llava",)
WEIGHTS = Path(__file__).parents[1] / "pocket" / "weights"


class AudioLM(Checkpoint):
    """An audio-language model that can hear: `lm.hear("street.wav")`. Make one with `load`.

    One of `PICTURE_MODELS` sees instead: `lm.see("street.png")`. Each refuses, in one line, what is not its own.
    """

    def hear(self, audio: str | Path | np.ndarray, *, sampling_rate: int | None = None) -> Hearing:
        """Encode an audio once, for any number of instructions.

        `audio`: a file of any rate and channel count, or an array (samples,) or (samples, channels) with its
        `sampling_rate`. Raises AudioError for what cannot be heard: no file, not audio, silent, too short, too long.
        """
        return Hearing(self, read_audio(audio, sampling_rate=sampling_rate, target_rate=self.sampling_rate))

    def see(self, picture: str | Path | np.ndarray) -> Seeing:
        """Encode a picture once, for any number of instructions.

        `picture`: an image file, or an array (side, side, 3), 0 to 255. Raises UnsupportedModelError for a model that
        hears, ValueError for what is no square picture of that form.
        """
        if self.family.medium != "image":
            raise UnsupportedModelError(f"{self.name} hears and sees nothing: give it an audio with lm.hear(audio)")
        return Seeing(self, read_picture(picture))

    def hear_many(
        self,
        audios: Iterable[str | Path | np.ndarray],
        *,
        sampling_rate: int | None = None,
        batch: int | None = None,
    ) -> Iterator[Hearing]:
        """`hear` for any number of audios, in their order, several encoded in one go:

            for hearing in lm.hear_many(sorted(folder.glob("*.wav"))): ...

        `batch` audios are read and encoded together when the first of them is asked for, and none is kept here, so that
        a folder of thousands fits in memory. `batch=None`: one on a CPU, where more gain little, up to eight on a GPU.
        Equal to `hear` but for rounding. Raises ValueError at once for a batch below 1; AudioError as `hear` does, once
        all audios before that one are given.
        """
        check_several(audios)
        rate = self.sampling_rate
        sounds = ((None, read_audio(audio, sampling_rate=sampling_rate, target_rate=rate)) for audio in audios)
        check_batch(batch)
        return (hearing for _, hearing in hear_each(self, sounds, batch))


def load(
    name: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: DeviceMap | None = None,
    revision: str | None = None,
    quantise: Quantisation | None = None,
) -> AudioLM:
    """Open a model: one that ships (`POCKET_MODELS`, `MINI_MODELS`, `PICTURE_MODELS`), a folder, or a hub id.

        lm = load("pocket-qwen2-audio")
        lm = load("mini-smollm2-audio")
        lm = load("Qwen/Qwen2-Audio-7B-Instruct")                    # straight to the GPU, 17 GB in bfloat16
        lm = load("Qwen/Qwen2-Audio-7B-Instruct", quantise="nf4")    # 7 GB

    `loading.open_checkpoint` says what the options mean, and their defaults; but a pocket model stays on the CPU, where
    its figures were measured. A mini model is assembled in the user's cache at its first use. Raises CheckpointError if
    there is no such model (or its language model is not at hand), UnsupportedModelError if it is of another kind.
    """
    pocket = _whole_model(pocket_folder(str(name)) or Path(name).expanduser())
    if pocket is not None and device is None and device_map is None:
        device = "cpu"
    opened = open_checkpoint(
        pocket or name, dtype=dtype, device=device, device_map=device_map, revision=revision, quantise=quantise
    )
    parts = {part.name: getattr(opened, part.name) for part in fields(Checkpoint)}
    return AudioLM(**{**parts, "name": str(name)})


def pocket_folder(name: str) -> Path | None:
    """Where the weights of a pocket model, or the parts of a mini model, are, with all that was measured of it.

    None for other names. Raises CheckpointError for an unknown one.
    """
    pockets = (*POCKET_MODELS, *PICTURE_MODELS)
    if name not in (*pockets, *MINI_MODELS):
        for kind, names in (("pocket", pockets), ("mini-", MINI_MODELS)):
            if name.startswith(kind) and not Path(name).exists() and "/" not in name:
                raise CheckpointError(f"there is no {kind.rstrip('-')} model {name!r}; there are: {', '.join(names)}")
        return None
    folder, needed = WEIGHTS / name, "config.json" if name in pockets else "parts.safetensors"
    if not (folder / needed).is_file():
        raise CheckpointError(f"the weights of {name} are not installed: {folder} has no {needed}")
    return folder


def _whole_model(folder: Path) -> Path | None:
    """The folder that `from_pretrained` reads: itself, or for parts of a mini model what they are assembled to; None if
    it is no folder of ours."""
    if (folder / "parts.safetensors").is_file():
        from steer_utils.pocket.assembly import assembled  # here, because other models need nothing of it

        return assembled(folder)
    return folder if folder.is_relative_to(WEIGHTS) else None
