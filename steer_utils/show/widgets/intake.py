"""Sound that comes in by hand: an uploaded file, a recording from the microphone, a scene; ready to be heard.

    sound   = uploaded(content, "street.wav", lm)       # bytes from a browser; no file is written
    hearing = lm.hear(sound.samples, sampling_rate=sound.rate)

What cannot be heard is refused in the words of `audio.read_audio`, as on the command line, before it is decoded where
its length or size says so already.
"""

from __future__ import annotations

import io
import os
import textwrap
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

import numpy as np

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.sound.audio import AudioError, decoded_recording, read_audio, stretches
from steer_utils.sound.decoding import Decoding
from steer_utils.sound.files import readable_name
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event, Scene

#: A browser hands a file to the kernel in one message, and Jupyter closes the connection at 10 MiB.
MOST_BYTES = 9 * 2**20
FORMATS = ".wav,.flac,.ogg,.oga,.opus,.mp3,.aif,.aiff"  # what the file chooser offers; the decoder decides

_ARRAY = "the array"  # what read_audio calls sound that is no file


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples (n,) mono float32 at `rate`, what they are called, and what sounds in them where that is known.

    `code`: the lines that make `hearing` of it, given `lm`. `title` and names may come from a user: text, not markup.
    """

    samples: np.ndarray
    rate: int
    title: str
    code: str
    events: tuple[Event, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def heard(self, checkpoint: Checkpoint) -> Hearing:
        """This sound, encoded by a model. Raises AudioError for one that is too long for it."""
        return Hearing(
            checkpoint, read_audio(self.samples, sampling_rate=self.rate, target_rate=checkpoint.sampling_rate)
        )


def uploaded(content: bytes | memoryview, name: str, checkpoint: Checkpoint) -> Sound:
    """The sound file whose bytes a browser sent.

    Raises AudioError as `read_audio` does for a file of that name, and for one of more than 9 MiB, or longer than the
    model takes in one go (both before decoding: a small file can hold hours of silence).
    """
    file = Path(name).name or "file"
    if len(content) > MOST_BYTES:
        raise AudioError(
            f"the file {file!r} has {len(content) / 2**20:.1f} MiB; a browser can hand over {MOST_BYTES // 2**20} MiB: "
            "cut it, save it as OGG or MP3, or pass its path"
        )
    label = f"the file {file!r}"
    decoding = Decoding(io.BytesIO(bytes(content)), label)
    _check_length(label, decoding.announced, decoding.rate, checkpoint)
    recording = decoded_recording(decoding, label, checkpoint.sampling_rate)
    recording.warn()
    _check_length(label, len(recording.samples), recording.rate, checkpoint)
    code = f"hearing = lm.hear({file!r})  # the file that was uploaded"
    return Sound(recording.samples, recording.rate, file, code)


def recorded(content: bytes | memoryview, rate: int, checkpoint: Checkpoint) -> Sound:
    """What a microphone gave: `content` is mono float32, little-endian, at `rate` samples a second.

    Raises AudioError as `read_audio` does, for bytes that are no float32, and for a recording that is too long.
    """
    if len(content) % 4:
        raise AudioError(f"the recording has {len(content)} bytes, which are no 32-bit samples; record again")
    samples = np.frombuffer(content, dtype="<f4")
    if isinstance(rate, int) and rate > 0:
        _check_length("the recording", len(samples), rate, checkpoint)
    samples = _read(samples, rate, checkpoint.sampling_rate, "the recording")
    code = "hearing = lm.hear(samples, sampling_rate=rate)  # samples: what was recorded"
    return Sound(samples, checkpoint.sampling_rate, "your recording", code)


def as_sound(
    audio: Sound | Scene | str | os.PathLike[str] | np.ndarray, sampling_rate: int | None, checkpoint: Checkpoint
) -> Sound:
    """Whatever can be heard as a Sound. Raises AudioError for what cannot (see `given`)."""
    if isinstance(audio, Sound):
        return audio
    return scene_sound(audio) if isinstance(audio, Scene) else given(audio, sampling_rate, checkpoint)


def given(audio: str | os.PathLike[str] | np.ndarray, sampling_rate: int | None, checkpoint: Checkpoint) -> Sound:
    """A file by its path, or an array with its rate: as `lm.hear` takes them, with its errors."""
    rate = checkpoint.sampling_rate
    samples = read_audio(audio, sampling_rate=sampling_rate, target_rate=rate)
    if isinstance(audio, np.ndarray):
        title, code = "your samples", f"hearing = lm.hear(samples, sampling_rate={sampling_rate})"
    else:
        title, code = readable_name(Path(audio).name), f"hearing = lm.hear({os.fspath(audio)!r})"
    _check_length(title, len(samples), rate, checkpoint)
    return Sound(samples, rate, title, code)


def scene_sound(scene: Scene, title: str = "your scene", code: str = "") -> Sound:
    """A scene, with the events that are known to be in it."""
    code = code or "# scene: the Scene that you passed"
    hear = "hearing = lm.hear(scene.samples, sampling_rate=scene.rate)"
    return Sound(scene.samples, scene.rate, title, f"{code}\n{hear}", scene.events)


def made_scene(maker: SceneMaker, index: int, seed: int) -> Sound:
    """Scene `index` of a maker's balanced design. Raises ValueError for a negative index or seed."""
    return scene_sound(maker.scene(index, seed), f"scene {index} (seed {seed})", _scene_code(maker, index, seed))


def _scene_code(maker: SceneMaker, index: int, seed: int) -> str:
    low, high = maker.seconds
    options = [f"seconds={low!r}" if low == high else f"seconds={maker.seconds!r}"]
    for name in ("events", "event_seconds", "min_gap", "noise_db"):
        value = getattr(maker, name)
        options += [f"{name}={value!r}"] if value != signature(SceneMaker).parameters[name].default else []
    note = ""
    if maker.clips is not None:
        options += ["clips=clips", f"recordings={maker.recordings!r}"]
        note = "  # clips: your ClipBank without what the model was trained on (benchmark.scene_set leaves it out)"
    names = textwrap.fill(f"names = {list(maker.names)!r}", 110, subsequent_indent="         ")
    made = f"maker = su.SceneMaker(names, {', '.join(options)}){note}"
    return f"{names}\n{made}\nscene = maker.scene({index}, seed={seed})"


def _read(samples: np.ndarray, rate: int, target_rate: int, label: str) -> np.ndarray:
    """`read_audio` on an array, its complaints about "the array" made about `label`."""
    try:
        return read_audio(samples, sampling_rate=rate, target_rate=target_rate)
    except AudioError as error:
        raise AudioError(str(error).replace(_ARRAY, label, 1)) from error


def _check_length(label: str, count: int, rate: int, checkpoint: Checkpoint) -> None:
    stretches(count, rate, checkpoint.window_seconds, "refuse", label=label, listener=checkpoint.name)
