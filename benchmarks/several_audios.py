"""Rows of several audios in one call of the model, beside a call an audio: reading, and locating in a folder.

By hand: python -m benchmarks.several_audios [MODEL]. Processor time of one thread, an audio of 5 s each, medians of
rounds in turn. The third contestant is the first once more: how far that is from it is noise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.common import interleaved, say
from benchmarks.shapes import EVENTS, SAMPLING_RATE, audio_of
from steer_utils.lm.hearing import Hearing, read_together
from steer_utils.lm.models import AudioLM, load
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.methods.locate import locate_events
from steer_utils.methods.settings import model_settings

COUNTS, SECONDS, ROUNDS = (2, 4, 8), 5.0, 7
APART, JOINED, AGAIN = "a call an audio", "one call", "a call an audio, once more"


def processor_seconds(run: Callable[[], object]) -> float:
    """What this process alone took: the machine may be busy."""
    start = time.process_time()
    run()
    return time.process_time() - start


def read_apart(hearings: Sequence[Hearing], rows: list[Row]) -> None:
    """A call for each hearing."""
    for hearing in hearings:
        hearing.read_rows(rows)


def located(lm: AudioLM, audios: Sequence[np.ndarray], events: Sequence[str], batch: int | None) -> None:
    """As `steer-utils locate` in a folder of these audios."""
    for _ in locate_events(lm, audios, events, sampling_rate=SAMPLING_RATE, batch=batch):
        pass


def measure(lm: AudioLM, counts: Sequence[int] = COUNTS, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[str]:
    """A line a case: milliseconds an audio of each contestant, how many times faster one call is, and the noise."""
    settings, audios = model_settings(lm), [np.roll(audio_of(lm, seconds), 997 * n) for n in range(max(counts))]
    hearings = [lm.hear(samples, sampling_rate=SAMPLING_RATE) for samples in audios]
    question, focus = Row(settings.question), Row(settings.focus(EVENTS[0]))
    vector = hearings[0].contrast(focus.instruction, settings.question)
    kinds = {
        "presence": [Row(settings.presence.format(event=EVENTS[0]))],
        "contrast": [question, focus],
        "steered and not": [question, Row(settings.question, Injection(vector.early()))],
    }
    cases: dict[tuple[str, int], tuple[Callable[[], object], Callable[[], object]]] = {}
    for count in counts:
        for name, rows in kinds.items():
            heard = hearings[:count]
            cases[name, count] = (
                partial(read_apart, heard, rows),
                partial(read_together, [(hearing, rows) for hearing in heard]),
            )
    for events in (EVENTS[:1], EVENTS[:2]):
        several = partial(located, lm, audios, events)
        cases[f"locate, {len(events)} of a file", len(audios)] = (partial(several, 1), partial(several, None))
    lines = []
    for (name, count), (apart, joined) in cases.items():
        times = interleaved({APART: apart, JOINED: joined, AGAIN: apart}, rounds, clock=processor_seconds)
        first, gain, noise = (times[contestant].median for contestant in (APART, JOINED, AGAIN))
        told = ", ".join(f"{who} {1000 * taken.median / count:.1f} ms" for who, taken in times.items())
        lines.append(f"{name}, {count} audios: {told}; {first / gain:.2f}x, noise {first / noise:.2f}x")
        say(lines[-1])
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure(load(sys.argv[1] if len(sys.argv) > 1 else "pocket-qwen2-audio"))
