"""Plans that are run: the same numbers as rows run apart, fewer tokens, and nothing left on the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from two_devices import CPU, place_of, spread

from steer_utils.lm import plan as planning
from steer_utils.lm.attention import attention_rows
from steer_utils.lm.hearing import Hearing, Reading, read_together
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Plan, Row
from steer_utils.lm.positions import TokenMask
from steer_utils.lm.run import generate, line_hooks, run
from steer_utils.lm.steering import Injection
from steer_utils.lm.vectors import SteeringVector

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"
BLOCKS = 4


@pytest.fixture(scope="module")
def heard(tiny_models: dict[str, AudioLM], samples: np.ndarray) -> Hearing:
    """Heard by one family, where the model's class does not matter."""
    return tiny_models["qwen2_audio"].hear(samples, sampling_rate=16_000)


def contrast(hearing: Hearing) -> SteeringVector:
    return hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.", prompt=SHORT)


def many_rows(hearing: Hearing) -> list[Row]:
    """Of every kind: three that need a prefix of their own are the last."""
    vector, other = contrast(hearing), hearing.contrast("Focus on the bell.", "Listen to the whole audio.")
    rows = [Row(SHORT), Row(LONG)]
    for block in range(BLOCKS):
        for strength in (-1.0, 2.0):
            rows.append(Row(SHORT, Injection(vector.select([block]), strength), keep_norm=strength > 0))
    return [
        *rows,
        Row(LONG, (Injection(vector.select([0]), 1.0), Injection(vector.select([2]), 3.0, "text"))),
        Row(LONG, Injection(vector, 0.0)),
        Row(SHORT, Injection(vector.select([1, 3]), 1.0, rule="vista")),
        Row("What is the bell like?", (Injection(other, 3.0, "event"), Injection(vector.early())), event="bell"),
        Row(SHORT, Injection(other, 0.0, "audio")),
        Row(SHORT, Injection(vector, -1.0, "audio"), keep_norm=False),
        Row(LONG, Injection(other.select(1), 5.0, "all")),
        Row(LONG, (Injection(vector.late(), 2.0), Injection(other, 1.0, [0, 20]))),
    ]


def same(readings: Sequence[Reading], others: Sequence[Reading]) -> None:
    for reading, other in zip(readings, others, strict=True):
        torch.testing.assert_close(reading.hidden, other.hidden, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reading.logits, other.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reading.attention.share, other.attention.share, atol=1e-4, rtol=0)
        for name in ("instruction", "recomputed_prefix"):
            assert getattr(reading, name) == getattr(other, name)
        assert reading.attention.first_block == other.attention.first_block


# -- a line --------------------------------------------------------------------------------------------------------
def test_together_and_alone_give_the_same(hearing: Hearing) -> None:
    rows = many_rows(hearing)
    together = hearing.read_rows(rows)
    same(together, [hearing.read_rows([row])[0] for row in rows])
    assert [reading.instruction for reading in together] == [row.instruction for row in rows]
    assert [reading.recomputed_prefix for reading in together] == [False] * (len(rows) - 3) + [True] * 3
    assert [reading.attention.first_block for reading in together][10:] == [1, 0, 2, 1, 0, 1, 2, 1]
    assert hearing.read_rows([]) == []


def test_sharing_equals_running_apart(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many_rows(hearing)
    shared = hearing.read_rows(rows)

    def apart(plan: Plan, numbers: Sequence[int], block: int) -> list[tuple[int, int]]:
        return [
            (number, slot)
            for number in numbers
            for slot in range(plan.rows[number].prefix_length, plan.rows[number].length)
        ]

    monkeypatch.setattr(Plan, "_tokens", apart)
    same(shared, hearing.read_rows(rows))


def test_long_and_short_lines_read_the_same(heard: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    vector, other = contrast(heard), "Focus on the dog bark."
    steered = [Injection(vector.select(number % (BLOCKS - 1)), 0.1 + number / 40) for number in range(40)]
    rows = [
        *(Row(SHORT, steer) for steer in steered),
        Row(other),
        *(Row(other, steer) for steer in steered),
        Row(SHORT),
    ]
    assert len(heard.plan(rows)) == 1
    together = heard.read_rows(rows)
    monkeypatch.setattr(planning, "MAX_LINE", 1)
    assert len(heard.plan(rows)) == 3
    for long, short in zip(together, heard.read_rows(rows), strict=True):
        torch.testing.assert_close(long.attention.share, short.attention.share, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(long.logits, short.logits, atol=1e-4, rtol=1e-4)


def tokens_in_blocks(hearing: Hearing, read: Callable[[], object]) -> list[int]:
    """How many tokens run through each block, call by call."""
    counts: list[int] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counts.append((args[0] if args else kwargs["hidden_states"]).shape[:2].numel())

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in hearing.checkpoint.blocks]
    try:
        read()
    finally:
        for handle in handles:
            handle.remove()
    return counts


def test_only_what_a_vector_can_change_is_run_again(heard: Hearing) -> None:
    vector, prompt = contrast(heard), len(heard.checkpoint.tokens(SHORT).tail)
    rows = [
        Row(SHORT, Injection(vector.select([block]), strength))
        for block in range(BLOCKS)
        for strength in (1.0, 2.0, 3.0)
    ]
    assert tokens_in_blocks(heard, lambda: heard.read_rows(rows)) == [prompt, prompt + 3, prompt + 6, prompt + 9]
    whole = [Row(SHORT, Injection(vector.select([1]), strength, "text")) for strength in (1.0, 2.0)]
    assert tokens_in_blocks(heard, lambda: heard.read_rows(whole)) == [prompt, prompt, 2 * prompt, 2 * prompt]
    assert tokens_in_blocks(heard, lambda: heard.read_rows(rows[:1])) == [prompt] * BLOCKS  # as anybody would run it


# -- a line behind several prefixes ---------------------------------------------------------------------------------
def several(lm: AudioLM, samples: np.ndarray) -> list[Hearing]:
    """Of three lengths, and one whose audio keys are other ones."""
    hearings = [lm.hear(samples[:count], sampling_rate=16_000) for count in (32_000, 13_000, 24_000)]
    return [*hearings, hearings[0].with_scaled_audio({1: 3.0})]


def test_rows_of_several_audios_read_as_each_alone(lm: AudioLM, samples: np.ndarray) -> None:
    hearings = several(lm, samples)
    counts = (None, None, 4, -3)  # those behind scaled keys cannot be run again, nor need all have the same rows
    asked = [(hearing, many_rows(hearings[0])[:count]) for hearing, count in zip(hearings, counts, strict=True)]
    together = read_together(asked)
    for (hearing, rows), readings in zip(asked, together, strict=True):
        alone = hearing.read_rows(rows)
        same(readings, alone)
        for reading, other in zip(readings, alone, strict=True):
            torch.testing.assert_close(reading.attention.share, other.attention.share, atol=1e-5, rtol=0)
            assert reading.attention.span == hearing.span
    assert not torch.allclose(together[0][0].logits, together[1][0].logits, atol=1e-2)


def test_rows_of_several_audios_are_one_call(heard: Hearing, samples: np.ndarray) -> None:
    lm, vector, prompt = heard.checkpoint, contrast(heard), len(heard.checkpoint.tokens(SHORT).tail)
    assert isinstance(lm, AudioLM)
    hearings = several(lm, samples)
    rows = [Row(SHORT), Row(SHORT, Injection(vector.select([1]), 2.0))]
    counts = tokens_in_blocks(heard, lambda: read_together([(hearing, rows) for hearing in hearings]))
    assert counts == [4 * prompt, 4 * prompt, 4 * prompt + 4, 4 * prompt + 4]
    assert read_together([]) == [] and read_together([(heard, []), (heard, [])]) == [[], []]


def test_what_is_remembered_is_not_read_again_beside_another(heard: Hearing, samples: np.ndarray) -> None:
    lm = heard.checkpoint
    assert isinstance(lm, AudioLM)
    first, second, _, _ = several(lm, samples)
    with first.remembering():
        ((reading,), _) = read_together([(first, [Row(SHORT)]), (second, [Row(SHORT)])])
        assert first.read(SHORT) is reading
        ((again, long), (other, _)) = read_together([(first, [Row(SHORT), Row(LONG)]), (second, [Row(LONG)] * 2)])
        assert again is reading and (long.instruction, other.instruction) == (LONG, LONG)
    same([long, other], [first.read(LONG), second.read(LONG)])


def test_several_audios_are_of_one_model_and_not_recorded_from_outside(
    heard: Hearing, tiny_models: dict[str, AudioLM], samples: np.ndarray, hook_count: Callable[..., int]
) -> None:
    lm, row = tiny_models["qwen2_audio"], [Row(SHORT)]
    other = tiny_models["audioflamingo3"].hear(samples, sampling_rate=16_000)
    with pytest.raises(ValueError, match="of one model"):
        read_together([(heard, row), (other, row)])
    before, hearings = hook_count(lm), several(lm, samples)
    with (
        pytest.raises(ValueError, match="read them one by one"),
        attention_rows(lm, TokenMask(torch.ones(1, 4, dtype=torch.bool), False), heard.span),
    ):
        read_together([(hearing, row) for hearing in hearings])
    assert (hook_count(lm), lm.decoder.config._attn_implementation) == (before, "sdpa")
    layers = [[keys.clone() for keys, _ in hearing._prefix.layers] for hearing in hearings]
    read_together([(hearing, row) for hearing in hearings])
    for hearing, kept in zip(hearings, layers, strict=True):  # nothing was added to what is shared
        assert all(torch.equal(keys, was) for (keys, _), was in zip(hearing._prefix.layers, kept, strict=True))


# -- a batch -------------------------------------------------------------------------------------------------------
def test_a_line_and_a_batch_give_the_same(hearing: Hearing) -> None:
    """Rows that could share the prefix, run with it, beside one whose tail is longer."""
    vector, prefix = contrast(hearing), hearing._prefix
    rows = [
        Row(SHORT, Injection(vector, 2.0, "text")),
        Row(LONG),
        Row(SHORT, Injection(vector.late()), keep_norm=False),
    ]
    (line,) = hearing.plan(rows, query_positions="text")
    batch = Plan(line.rows, line.indices, line.num_blocks, recompute=True)
    outputs = run([prefix], line), run([prefix], batch)
    torch.testing.assert_close(outputs[0].hidden, outputs[1].hidden, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, atol=1e-4, rtol=1e-4)
    for first, second in zip(outputs[0].attention, outputs[1].attention, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=0)
    assert generate(prefix, line, 5) == generate(prefix, batch, 5)


def test_few_and_many_rows_at_once_answer_the_same(heard: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(f"{SHORT} {word}") for word in ("one", "two two", "three three three")]
    rows.append(Row(SHORT, Injection(contrast(heard), 2.0, "all")))
    answers, readings = heard.answers(rows, max_new_tokens=4), heard.read_rows(rows)
    monkeypatch.setattr(planning, "MAX_COPIES", 2 * heard._prefix.shape.cache_bytes)
    assert len(heard.plan(rows, answers=True)) == 3
    assert heard.answers(rows, max_new_tokens=4) == answers
    same(heard.read_rows(rows), readings)


# -- afterwards ----------------------------------------------------------------------------------------------------
def test_nothing_is_left_on_the_model_after_an_exception(
    heard: Hearing, hook_count: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, vector = heard.checkpoint, contrast(heard)
    before, attention = hook_count(lm), lm.decoder.config._attn_implementation
    rows = [Row(SHORT), Row(SHORT, Injection(vector)), Row(SHORT, Injection(vector, positions="all"))]
    plans = heard.plan(rows)
    with pytest.raises(RuntimeError, match="inside"), line_hooks(lm, plans[0]):
        assert hook_count(lm) == before + 2 * BLOCKS
        raise RuntimeError("inside")
    assert hook_count(lm) == before

    def fail(*_: object) -> None:
        raise RuntimeError("inside")

    logits = [run([heard._prefix], plan).logits for plan in plans]
    handle = lm.blocks[2].register_forward_hook(fail)
    for plan in plans:
        with pytest.raises(RuntimeError, match="inside"):
            run([heard._prefix], plan)
    with pytest.raises(RuntimeError, match="inside"):
        generate(heard._prefix, plans[0], 2)
    handle.remove()
    assert (hook_count(lm), lm.decoder.config._attn_implementation) == (before, attention)
    assert all(torch.equal(run([heard._prefix], plan).logits, was) for plan, was in zip(plans, logits, strict=True))


# -- on GPUs, which are stood in for -------------------------------------------------------------------------------
def test_tensors_follow_the_tensor_that_they_index(lm: AudioLM, samples: np.ndarray) -> None:
    as_on_the_cpu(lm, samples, second_from=2)


def test_everything_is_brought_to_the_one_gpu(tiny_models: dict[str, AudioLM], samples: np.ndarray) -> None:
    as_on_the_cpu(tiny_models["qwen2_audio"], samples, second_from=None)


def as_on_the_cpu(lm: AudioLM, samples: np.ndarray, second_from: int | None) -> None:
    """Blocks from `second_from` on a second GPU: what CUDA refuses is refused, and numbers are as on the CPU."""

    def everything() -> tuple[list[Reading], list[str]]:
        hearing = lm.hear(samples, sampling_rate=16_000)
        rows = many_rows(hearing)
        return hearing.read_rows(rows), hearing.answers(rows[-4:-2], max_new_tokens=2)

    readings, answers = everything()
    with spread(lm, second_from):
        there, answers_there = everything()
        assert {place_of(tensor) for reading in there for tensor in (reading.logits, reading.hidden)} == {CPU}
        assert {place_of(reading.attention.share) for reading in there} == {CPU}
    same(there, readings)
    assert answers_there == answers


def test_a_tensor_left_behind_is_refused(tiny_models: dict[str, AudioLM]) -> None:
    """Without this the test above could not fail."""
    lm = tiny_models["qwen2_audio"]
    with spread(lm, 2):
        weight = lm.blocks[3].self_attn.q_proj.weight
        assert str(lm.device) == "cuda:0" and str(weight.device) == "cuda:1"
        here = torch.zeros(1, dtype=torch.long)
        with pytest.raises(RuntimeError, match="at least two devices, cpu and cuda:1"):
            weight.index_select(0, here)
        assert place_of(weight.index_select(0, here.to(weight.device))) == weight.device
        with pytest.raises(RuntimeError, match="cuda:0 and cuda:1"):
            lm.blocks[0].self_attn.q_proj.weight + weight
        with pytest.raises(TypeError, match=r"use Tensor\.cpu"):
            weight.numpy()
    assert weight.device == CPU and not hasattr(weight, "_hf_hook")
