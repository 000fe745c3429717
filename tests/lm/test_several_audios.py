"""Many audios: as one by one, in batches that are not kept, in groups that suit the machine."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tones import tones

from steer_utils.lm import several_audios as module
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.several_audios import hear_groups
from steer_utils.lm.steering import Injection
from steer_utils.sound.audio import AudioError

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"

#: Where the model's class does not matter.
one_family = pytest.mark.parametrize("lm", ["qwen2_audio"], indirect=True)


def test_many_audios_are_heard_as_one_by_one(lm: AudioLM) -> None:
    audios = tones(1.0, 3.2, 0.4, 2.0, 2.0)
    hearings = list(lm.hear_many(audios, sampling_rate=16_000, batch=3))
    for hearing, samples in zip(hearings, audios, strict=True):
        alone = lm.hear(samples, sampling_rate=16_000)
        assert (hearing.span, hearing.duration) == (alone.span, alone.duration)
        assert np.array_equal(hearing.samples, alone.samples)
        focus = alone.contrast("Focus on the dog bark.", "Listen to the whole audio.", prompt=SHORT)
        rows = [Row(SHORT), Row(LONG, (Injection(focus, 3.0),)), Row(SHORT, (Injection(focus, 2.0, "audio"),))]
        for mine, other in zip(hearing.read_rows(rows), alone.read_rows(rows), strict=True):
            torch.testing.assert_close(mine.logits, other.logits, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(mine.attention.share, other.attention.share, atol=1e-4, rtol=0)
        assert hearing.answers(rows, max_new_tokens=4) == alone.answers(rows, max_new_tokens=4)


@one_family
@pytest.mark.parametrize("batch", [1, 3, None])
def test_many_audios_are_read_a_batch_at_a_time_and_not_kept(
    lm: AudioLM, batch: int | None, encoded: list[int]
) -> None:
    size = batch or 1
    asked: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        (samples,) = tones(0.2)
        while True:
            asked.append(1)
            yield samples

    hearings = lm.hear_many(endless(), sampling_rate=16_000, batch=batch)
    assert not asked and not encoded
    given = []
    for number in range(2 * size):
        given.append(weakref.ref(next(hearings)))
        assert len(asked) == (number // size + 1) * size
        assert len(encoded) == number // size + 1
    gc.collect()
    assert not any(hearing() for hearing in given[:-1])


@one_family
def test_hearings_before_an_audio_that_cannot_be_heard_are_given(lm: AudioLM) -> None:
    for wrong, message in ((np.zeros(16_000), "silent"), (tones(5.0)[0], "tiny-qwen2_audio.*4 s")):
        hearings = lm.hear_many([*tones(0.3, 0.4), wrong, *tones(0.5)], sampling_rate=16_000, batch=4)
        assert [next(hearings).duration, next(hearings).duration] == [0.3, 0.4]
        with pytest.raises(AudioError, match=message):
            next(hearings)
    assert list(lm.hear_many([])) == []


@one_family
def test_what_is_no_batch_of_audios_is_refused_at_once(lm: AudioLM) -> None:
    for batch in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match=f"batch is {batch!r}; pass how many"):
            lm.hear_many([], batch=batch)  # type: ignore[arg-type]
    for one in ("street.wav", tones(0.2)[0]):
        with pytest.raises(TypeError, match=f"audios is one {type(one).__name__}; pass a list"):
            lm.hear_many(one, sampling_rate=16_000)


@one_family
def test_how_many_are_encoded_at_once_is_left_to_the_machine(lm: AudioLM, monkeypatch: Any) -> None:
    """On a CPU one. On a GPU several, fewer of long ones, whose padding counts."""
    sizes: list[int] = []

    def together(checkpoint: object, audios: list[np.ndarray]) -> list[np.ndarray]:
        sizes.append(len(audios))
        return audios

    monkeypatch.setattr(module, "hear_together", together)
    list(lm.hear_many(tones(0.2, 0.2), sampling_rate=16_000))
    assert sizes == [1, 1]
    monkeypatch.setattr(AudioLM, "device", torch.device("cuda"))
    monkeypatch.setattr(module, "GPU_SECONDS", 8.0)
    sizes.clear()
    list(lm.hear_many(tones(*[0.2] * 9, 3.0, 1.0, 3.5, 0.2), sampling_rate=16_000))
    assert sizes == [8, 2, 2, 1]


@one_family
def test_how_many_are_read_in_one_call_is_left_to_model_and_machine(lm: AudioLM, monkeypatch: Any) -> None:
    def sizes(batch: int | None) -> list[int]:
        audios = ((number, samples) for number, samples in enumerate(tones(*[0.2] * 10)))
        groups = list(hear_groups(lm, audios, batch))
        assert [number for group in groups for number, _ in group] == list(range(10))
        return [len(group) for group in groups]

    assert (sizes(None), sizes(3), sizes(1)) == ([8, 2], [3, 3, 3, 1], [1] * 10)
    held = Hearing(lm, tones(0.2)[0])._prefix.shape.cache_bytes
    monkeypatch.setattr(module, "GROUP_BYTES", 5 * held)
    assert (sizes(None), sizes(3)) == ([5, 5], [3, 3, 3, 1])
    monkeypatch.setattr(module, "SMALL_BYTES", 1000)  # one by one: the first answer comes after one audio
    assert sizes(None) == [1] * 10
    with pytest.raises(ValueError, match="batch is 0"):
        hear_groups(lm, [], 0)


@one_family
def test_groups_before_an_audio_that_cannot_be_heard_are_given(lm: AudioLM) -> None:
    groups = hear_groups(lm, enumerate([*tones(0.3, 0.4), tones(5.0)[0], *tones(0.5)]))
    assert [hearing.duration for _, hearing in next(groups)] == [0.3, 0.4]
    with pytest.raises(AudioError, match=r"tiny-qwen2_audio.*4 s"):
        next(groups)
