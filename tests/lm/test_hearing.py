"""Hearing: the shared prefix against full uncached forwards, rows alone and together, answers against generate."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface

from steer_utils.lm import hearing as module
from steer_utils.lm import plan as planning
from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import MAX_BATCH, Plan, Row
from steer_utils.lm.steering import Injection, steer
from steer_utils.lm.vectors import SteeringVector, VectorMismatchError

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"
Full = Callable[..., dict[str, Any]]


#: Where the model's class does not matter.
one_family = pytest.mark.parametrize("lm", ["qwen2_audio"], indirect=True)


@pytest.fixture
def focus(hearing: Hearing) -> SteeringVector:
    return hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.", prompt=SHORT)


def full_reading(
    lm: AudioLM, inputs: dict[str, Any], span: Any, eager: Callable[..., Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The oracle: one uncached eager forward. Logits, block outputs at the last token, its attention on the audio."""
    outputs: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda module, args, output: outputs.append(output[0, -1])) for block in lm.blocks
    ]
    try:
        with eager(lm), torch.no_grad():
            output = lm.model(**inputs, output_attentions=True, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    rows = torch.stack([block[0, :, -1, span.first : span.stop] for block in output.attentions])
    return output.logits[0, -1], torch.stack(outputs), rows


def check(reading: Reading, oracle: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    logits, hidden, rows = oracle
    torch.testing.assert_close(reading.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reading.hidden, hidden, atol=1e-4, rtol=1e-4)
    attention = reading.attention
    torch.testing.assert_close(attention.share * attention.mass[..., None], rows[:, :, None], atol=1e-4, rtol=0)


def test_the_shared_prefix_equals_a_full_forward(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full, eager: Any
) -> None:
    readings = hearing.read_rows([Row(SHORT), Row(LONG)])
    for reading, instruction in zip(readings, (SHORT, LONG), strict=True):
        check(reading, full_reading(lm, full_inputs(lm, (instruction, samples)), hearing.span, eager))
        check(hearing.read(instruction), full_reading(lm, full_inputs(lm, (instruction, samples)), hearing.span, eager))
    assert not torch.allclose(readings[0].logits, readings[1].logits, atol=0.1)


@pytest.mark.parametrize("positions", ["last", "text", "audio", "all", [2, 20, 40]])
def test_steered_readings_equal_a_steered_full_forward(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full, eager: Any, focus: Any, positions: Any
) -> None:
    reading = hearing.read(LONG, steer=focus.select([0, 2]), strength=3.0, positions=positions)
    inputs = full_inputs(lm, (LONG, samples))
    with steer(lm, 3.0 * focus.select([0, 2]), positions=positions, input_ids=inputs["input_ids"]):
        oracle = full_reading(lm, inputs, hearing.span, eager)
    check(reading, oracle)
    assert reading.recomputed_prefix == (positions not in ("last", "text"))
    assert not torch.allclose(reading.logits, hearing.read(LONG).logits, atol=1e-2)


def test_event_positions_steer_the_words_of_the_event(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full, eager: Any, focus: Any
) -> None:
    inputs = full_inputs(lm, (LONG, samples))
    names = lm.processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    words = [names.index("dog"), names.index("bark")]
    reading = hearing.read(
        LONG, steer=focus, strength=3.0, positions="event", event="dog bark", query_positions="event"
    )
    with steer(lm, 3.0 * focus, positions=words, input_ids=inputs["input_ids"]):
        expected = full_reading(lm, inputs, hearing.span, eager)
        with eager(lm), torch.no_grad():
            attentions = lm.model(**inputs, output_attentions=True).attentions
    torch.testing.assert_close(reading.logits, expected[0], atol=1e-4, rtol=1e-4)
    assert reading.attention.mass.shape == (4, 4, 2)
    rows = torch.stack([block[0][:, words, hearing.span.first : hearing.span.stop] for block in attentions])
    torch.testing.assert_close(reading.attention.share * reading.attention.mass[..., None], rows, atol=1e-4, rtol=0)


def test_rows_of_the_audio_itself(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full, eager: Any
) -> None:
    reading = hearing.read(SHORT, query_positions="audio")
    assert reading.recomputed_prefix
    with eager(lm), torch.no_grad():
        attentions = lm.model(**full_inputs(lm, (SHORT, samples)), output_attentions=True).attentions
    span = slice(hearing.span.first, hearing.span.stop)
    queries = slice(hearing.span.first, hearing.prefix_length)  # of the padding too, where that has tokens
    expected = torch.stack([block[0, :, queries, span] for block in attentions])
    attention = reading.attention
    torch.testing.assert_close(attention.share * attention.mass[..., None], expected, atol=1e-4, rtol=0)


@one_family
def test_the_contrast_is_a_difference_of_hidden_states(hearing: Hearing, lm: AudioLM) -> None:
    plus, minus = "Focus on the dog bark. Describe the sound.", "Listen to the whole audio. Describe the sound."
    v = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.", prompt="Describe the sound.")
    h = [hearing.read(instruction).hidden for instruction in (plus, minus)]
    torch.testing.assert_close(v.directions, h[0] - h[1], atol=1e-4, rtol=1e-4)
    assert (v.provenance.positive, v.provenance.negative) == (plus, minus)
    assert (v.provenance.model, v.provenance.family, v.provenance.revision) == (lm.name, lm.family.model_type, "test")
    assert "torch" in v.provenance.versions
    assert hearing.contrast("Bell.", "Siren.").allclose(-hearing.contrast("Siren.", "Bell."), tolerance=1e-4)
    assert float(v.norm_ratio().min()) > 0


def test_nothing_added_changes_no_bit(hearing: Hearing, focus: SteeringVector) -> None:
    plain = hearing.read(SHORT)
    for nothing in (0 * focus, Injection(focus, 0.0), Injection(focus - focus, 2.0, "audio"), []):
        reading = hearing.read(SHORT, steer=nothing)
        assert torch.equal(reading.logits, plain.logits)
        assert torch.equal(reading.hidden, plain.hidden)
        assert torch.equal(reading.attention.share, plain.attention.share)
        assert not reading.recomputed_prefix
    assert not torch.equal(hearing.read(SHORT, steer=focus).logits, plain.logits)
    assert torch.equal(hearing.read(SHORT).logits, plain.logits)  # and the prefix is as it was


@one_family
def test_attention_moves_after_the_steered_block_only(hearing: Hearing, focus: SteeringVector) -> None:
    shift = hearing.read(SHORT, steer=focus.select(1), strength=5.0).attention - hearing.read(SHORT).attention
    assert isinstance(shift, AttentionMap) and shift.first_block == 2
    assert shift.share[:2].abs().max() < 1e-6
    assert shift.share[2].abs().max() > 1e-3
    assert shift.window(seconds=0.5).duration == pytest.approx(0.48)
    last = hearing.read(SHORT, steer=focus.select(-1)).attention
    with pytest.raises(ValueError, match="changes no attention"):
        last.curve()


def test_answers_equal_generate(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full, focus: SteeringVector
) -> None:
    rows = [
        Row(SHORT),
        Row(LONG),
        Row(LONG, (Injection(focus.late(), 4.0),)),
        Row(SHORT, (Injection(focus, 2.0, "all"),), keep_norm=False),
        Row(SHORT, (Injection(focus, 2.0, "audio"), Injection(focus, -3.0, "text"))),
    ]
    answers = hearing.answers(rows, max_new_tokens=8)
    for row, answer in zip(rows, answers, strict=True):
        inputs = full_inputs(lm, (row.instruction, samples))
        with steer(lm, list(row.steer), input_ids=inputs["input_ids"], keep_norm=row.keep_norm):
            sequences = lm.model.generate(**inputs, do_sample=False, max_new_tokens=8)
        expected = lm.processor.tokenizer.decode(sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == expected.strip()
    assert len(set(answers)) >= 4
    assert hearing.answer(LONG, steer=focus.late(), strength=4.0, max_new_tokens=8) == answers[2]


@one_family
def test_answers_use_the_cache_whatever_the_checkpoint_says(lm: AudioLM, samples: np.ndarray) -> None:
    """Audio Flamingo 3's conversion and many fine-tunes write `use_cache: false`."""
    expected = lm.hear(samples, sampling_rate=16_000).answer("Describe the sound.", max_new_tokens=4)
    lm.model.generation_config.use_cache = False
    try:
        assert lm.hear(samples, sampling_rate=16_000).answer("Describe the sound.", max_new_tokens=4) == expected
    finally:
        lm.model.generation_config.use_cache = True


def test_what_a_number_type_cannot_hold_is_said(one_model: AudioLM, samples: np.ndarray) -> None:
    hearing = one_model.hear(samples, sampling_rate=16_000)
    spoil = lambda module, args, output: torch.full_like(output, float("nan"))  # noqa: E731
    handle = one_model.blocks[1].self_attn.q_proj.register_forward_hook(spoil)
    try:
        for ask in (hearing.read, hearing.answer):
            with pytest.raises(FloatingPointError, match="nan or infinity in float32; its weights are damaged"):
                ask("Describe the sound.")
    finally:
        handle.remove()


def test_an_answer_ends_with_the_turn(hearing: Hearing, lm: AudioLM) -> None:
    long = hearing.answers([Row(SHORT), Row(LONG)], max_new_tokens=12)
    third = lm.processor.tokenizer(long[0].split()[2])["input_ids"][0]
    config = lm.model.generation_config
    before = config.eos_token_id
    try:
        config.eos_token_id = [before, third]
        short = hearing.answers([Row(SHORT), Row(LONG)], max_new_tokens=12)
    finally:
        config.eos_token_id = before
    assert long[0].startswith(short[0]) and len(short[0].split()) <= 2
    with pytest.raises(ValueError, match="max_new_tokens"):
        hearing.answer(SHORT, max_new_tokens=0)


@one_family
def test_nothing_is_left_behind(hearing: Hearing, lm: AudioLM, focus: Any, hook_count: Callable[..., int]) -> None:
    hooks = hook_count(lm)
    settings = lm.model.generation_config.to_dict()
    hearing.read(SHORT, steer=focus, positions="all")
    hearing.answer(SHORT, steer=focus, max_new_tokens=2)
    bad = SteeringVector(torch.ones(4, 5), (0,), torch.ones(4))
    for call in (hearing.read, hearing.answer):
        with pytest.raises(VectorMismatchError, match=r"\(4, 5\).*\(4, 48\)"):
            call(SHORT, steer=[focus, bad])
    assert hook_count(lm) == hooks
    assert lm.decoder.config._attn_implementation == "sdpa"
    assert lm.model.generation_config.to_dict() == settings


@one_family
def test_the_prefix_is_computed_once(hearing: Hearing, lm: AudioLM, focus: Any, encoded: list[int]) -> None:
    encoded.clear()
    hearing.read_rows([Row(SHORT), Row(LONG, (Injection(focus, positions="audio"),))])
    hearing.answer(SHORT, steer=focus, positions="all", max_new_tokens=2)
    assert encoded == []
    lm.hear(hearing.samples, sampling_rate=16_000)
    assert encoded == [1]


@one_family
def test_the_silent_twin_is_encoded_once_and_only_when_asked_for(
    hearing: Hearing, lm: AudioLM, encoded: list[int]
) -> None:
    encoded.clear()
    hearing.read(SHORT)
    assert encoded == []
    silence = hearing.silence
    assert hearing.silence is silence
    assert encoded == [1]
    assert (silence.span, silence.duration, silence.checkpoint) == (hearing.span, hearing.duration, lm)
    assert silence.samples.shape == hearing.samples.shape and not silence.samples.any()
    assert hearing.samples.any()
    expected = Hearing(lm, np.zeros(2 * 16_000, np.float32)).read(SHORT)
    torch.testing.assert_close(silence.read(SHORT).hidden, expected.hidden)
    assert not torch.allclose(hearing.read(SHORT).hidden, expected.hidden, atol=1e-2)


def test_bfloat16(lm: AudioLM, samples: np.ndarray, focus: SteeringVector) -> None:
    half = AudioLM(copy.deepcopy(lm.model).to(torch.bfloat16), lm.processor, lm.family, "half")
    hearing = half.hear(samples, sampling_rate=16_000)
    reading = hearing.read(SHORT, steer=focus, positions="all")
    assert reading.logits.dtype == reading.hidden.dtype == torch.float32
    assert torch.isfinite(reading.logits).all()
    torch.testing.assert_close(reading.attention.share.sum(-1), torch.ones(4, 4, 1))


@one_family
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instruction": "  "}, "empty"),
        ({"positions": "lats"}, "unknown positions"),
        ({"query_positions": "lats"}, "unknown positions"),
        ({"query_positions": []}, "positions must be"),
        ({"query_positions": [10_000]}, "beyond the prompt"),
        ({"query_positions": "event"}, "name of the event"),
        ({"event": "siren"}, "does not name the event 'siren'"),
        ({"strength": float("inf")}, "finite"),
    ],
)
def test_errors_come_before_the_model_runs(
    hearing: Hearing, lm: AudioLM, focus: Any, options: dict[str, Any], message: str
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the model was run")

    handle = lm.blocks[0].register_forward_pre_hook(fail)
    try:
        with pytest.raises(ValueError, match=message):
            hearing.read(**{"instruction": SHORT, "steer": focus, **options})
    finally:
        handle.remove()


@one_family
def test_a_contrast_needs_two_instructions(hearing: Hearing) -> None:
    with pytest.raises(ValueError, match="two instructions"):
        hearing.contrast("Focus on the bell.", " ", prompt=SHORT)
    for positive, negative in (("Bell.", "Bell."), ("Bell.", " bell. "), ("Hör auf den Hund.", "Hör auf die Glocke.")):
        with pytest.raises(ValueError, match="are the same tokens to tiny"):
            hearing.contrast(positive, negative.replace("die", "den"), prompt=SHORT)
    with pytest.raises(TypeError, match="list of Row"):
        hearing.read_rows([SHORT])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="list of Row"):
        hearing.answers(Row(SHORT))  # type: ignore[arg-type]


@one_family
def test_a_contrast_that_is_zero_all_through(hearing: Hearing, lm: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last token looks at nothing, it has one state under all instructions."""
    for block in lm.blocks:
        monkeypatch.setattr(block.self_attn.o_proj.weight, "data", torch.zeros_like(block.self_attn.o_proj.weight))
    with pytest.raises(ValueError, match="is zero in every block"):
        lm.hear(hearing.samples, sampling_rate=16_000).contrast("Bell.", "Siren.")


@one_family
def test_as_many_rows_as_leave_a_gibibyte(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_MAPS", 40 * hearing._prefix.shape.map_bytes)
    assert (hearing.maps_at_once(), hearing.maps_at_once(2)) == (40, MAX_BATCH)


# -- remembering ---------------------------------------------------------------------------------------------------
@one_family
def test_what_is_remembered_is_read_once(hearing: Hearing, focus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(SHORT), Row(SHORT, Injection(focus, 2.0)), Row(LONG)]
    plain, counts, run = hearing.read_rows(rows), list[int](), module.run

    def counted(prefixes: Any, plan: Plan) -> Any:
        counts.append(len(plan.rows))
        return run(prefixes, plan)

    monkeypatch.setattr(module, "run", counted)
    with hearing.remembering():
        first, second = hearing.read_rows(rows), hearing.read_rows(rows)
        assert counts == [3, 1]  # the steered row is run again
        assert second[0] is first[0] and second[2] is first[2]
        hearing.read(SHORT, query_positions="text")  # other tokens' attention is not what was kept
        assert counts == [3, 1, 1]
    for reading, other in zip(plain * 2, first + second, strict=True):
        torch.testing.assert_close(reading.hidden, other.hidden, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reading.logits, other.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reading.attention.share, other.attention.share, atol=1e-4, rtol=0)
        assert reading.attention.first_block == other.attention.first_block
    hearing.read(SHORT)
    assert counts == [3, 1, 1, 1]


@one_family
def test_silence_is_remembered_as_long_as_its_hearing(hearing: Hearing) -> None:
    with hearing.remembering():
        first = hearing.silence.read(SHORT)  # encoded inside
        assert hearing.silence.read(SHORT) is first
        with hearing.remembering():
            assert hearing.silence.read(SHORT) is first
        assert hearing.silence.read(SHORT) is first
    assert hearing.silence.read(SHORT) is not first
    with hearing.remembering():  # encoded before
        assert hearing.silence.read(SHORT) is hearing.silence.read(SHORT)


def test_a_silence_as_long_is_taken_over(one_model: AudioLM, samples: np.ndarray, other_samples: np.ndarray) -> None:
    first, second = (one_model.hear(audio, sampling_rate=16_000) for audio in (samples, other_samples))
    assert first.encoded_silence is None
    second.take_silence(first.silence)
    assert second.silence is first.silence is first.encoded_silence
    shorter = one_model.hear(samples[:16_000], sampling_rate=16_000)
    shorter.take_silence(first.silence)
    assert shorter.encoded_silence is None


def test_a_silence_of_another_model_is_refused(tiny_models: dict[str, AudioLM], samples: np.ndarray) -> None:
    first, second, *_ = (lm.hear(samples, sampling_rate=16_000) for lm in tiny_models.values())
    with pytest.raises(ValueError, match="the silence is one of"):
        second.take_silence(first.silence)


# -- scores of the audio, scaled --------------------------------------------------------------------------------------
FACTORS = {0: 1.7, 2: 0.6, 3: 3.0}


@contextmanager
def eagerly_scaled(hearing: Hearing, factors: dict[int, float]) -> Iterator[None]:
    """The oracle: attention written out, its scores over the audio multiplied for every query behind the audio."""
    lm, span = hearing.checkpoint, hearing.span
    blocks = {lm.family.attention(block): number for number, block in enumerate(lm.blocks)}

    def forward(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> tuple[Any, Any]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(2, 3) * scaling
        behind = torch.arange(scores.shape[2]) >= hearing.prefix_length
        audio = torch.zeros(scores.shape[3], dtype=torch.bool)
        audio[span.first : span.stop] = True
        factor = torch.where(behind[:, None] & audio, factors.get(blocks[module], 1.0), 1.0)
        future = torch.arange(scores.shape[3]) > torch.arange(scores.shape[2])[:, None]
        weights = (scores * factor).masked_fill(future, float("-inf")).softmax(dim=-1)
        return (weights @ value).transpose(1, 2), weights

    AttentionInterface.register("scaled_for_a_test", forward)
    config = lm.decoder.config
    before = config._attn_implementation
    config._attn_implementation = "scaled_for_a_test"
    try:
        yield
    finally:
        config._attn_implementation = before


def test_scaled_scores_equal_attention_written_out(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full
) -> None:
    plain, scaled = hearing.read(LONG), hearing.with_scaled_audio(FACTORS)
    inputs = full_inputs(lm, (LONG, samples))
    with eagerly_scaled(hearing, FACTORS):
        expected = full_reading(lm, inputs, hearing.span, lambda _: nullcontext())
    check(scaled.read(LONG), expected)
    again, other = scaled.read_rows([Row(LONG), Row(SHORT)])
    check(again, expected)  # batched as alone
    assert not torch.allclose(other.logits, plain.logits, atol=1e-2)
    assert not torch.allclose(expected[0], plain.logits, atol=1e-2)
    assert torch.equal(hearing.read(LONG).logits, plain.logits)  # this hearing is as it was


def test_a_factor_of_one_changes_no_bit(hearing: Hearing) -> None:
    plain, same = hearing.read(LONG), hearing.with_scaled_audio(dict.fromkeys(range(4), 1.0)).read(LONG)
    assert torch.equal(plain.logits, same.logits) and torch.equal(plain.attention.share, same.attention.share)


def test_in_its_block_scaling_is_the_share_to_that_power_and_before_it_nothing(hearing: Hearing) -> None:
    plain, scaled = (place.read(LONG).attention for place in (hearing, hearing.with_scaled_audio({-2: 2.5})))
    power = plain.share[2].double() ** 2.5
    torch.testing.assert_close(scaled.share[2].double(), power / power.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert torch.equal(scaled.share[:2], plain.share[:2])
    assert (scaled.share[3] - plain.share[3]).abs().max() > 1e-4


def test_answers_see_the_scaled_scores_too(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full
) -> None:
    inputs = full_inputs(lm, (LONG, samples))
    with eagerly_scaled(hearing, FACTORS), torch.no_grad():
        first = int(lm.model(**inputs).logits[0, -1].argmax())
    answer = hearing.with_scaled_audio(FACTORS).answer(LONG, max_new_tokens=1)
    assert answer == lm.processor.tokenizer.decode([first], skip_special_tokens=True).strip()


@one_family
def test_what_needs_the_audio_again_is_refused_with_scaled_scores(hearing: Hearing, focus: SteeringVector) -> None:
    scaled = hearing.with_scaled_audio({1: 2.0})
    for options in ({"steer": focus, "positions": "audio"}, {"query_positions": "all"}):
        with pytest.raises(ValueError, match="keys were scaled"):
            scaled.read(SHORT, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keys were scaled"):
        scaled.answer(SHORT, steer=focus, positions="audio")


@one_family
@pytest.mark.parametrize("factors", [{4: 2.0}, {}, {1: float("nan")}, {1: 2.0, -3: 3.0}])
def test_factors_that_mean_nothing_are_refused(hearing: Hearing, factors: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"block|finite"):
        hearing.with_scaled_audio(factors)


@one_family
def test_what_is_shared_is_kept_as_long_as_it_is_held(hearing: Hearing) -> None:
    first = hearing.with_scaled_audio({1: 2.0})
    assert hearing.with_scaled_audio({-3: 2.0}) is first and hearing.with_scaled_audio({1: 3.0}) is not first
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


# -- states of other tokens -------------------------------------------------------------------------------------------
def test_states_are_read_where_a_row_says(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full, focus: SteeringVector
) -> None:
    """At the tokens of an event's name, which the tokenizer's own offsets give; alone, together, and beside steered
    rows of the same prompt, which leave its line."""
    inputs = full_inputs(lm, (LONG, samples))
    names = lm.processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    words = [names.index("dog"), names.index("bark")]
    with torch.no_grad():
        states = lm.model(**inputs, output_hidden_states=True).hidden_states[1:-1]
    expected = torch.stack([state[0, words].mean(dim=0) for state in states])
    named = Row(LONG, event="dog bark", hidden_at="event")
    (alone,) = hearing.read_rows([named])
    torch.testing.assert_close(alone.hidden[:-1], expected, atol=1e-4, rtol=1e-4)
    steered = Row(LONG, (Injection(focus, 2.0),))
    early = Row(LONG, (Injection(focus, 2.0, "event"),), event="dog bark", hidden_at="event")
    rows = [steered, named, Row(LONG), Row(LONG, hidden_at=words[1:]), Row(SHORT), replace(steered, hidden_at=words)]
    readings = hearing.read_rows([*rows, early])
    for reading, row in zip(readings, [*rows, early], strict=True):
        torch.testing.assert_close(reading.hidden, hearing.read_rows([row])[0].hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(readings[1].hidden, alone.hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(readings[5].hidden, alone.hidden, atol=1e-5, rtol=1e-5)  # steered behind the name
    torch.testing.assert_close(readings[2].hidden, hearing.read(LONG).hidden, atol=1e-5, rtol=1e-5)
    second = torch.stack([state[0, words[1]] for state in states])
    torch.testing.assert_close(readings[3].hidden[:-1], second, atol=1e-4, rtol=1e-4)
    assert (readings[6].hidden - alone.hidden).abs().max() > 1e-2  # steered at the name
    assert torch.equal(readings[1].logits, readings[2].logits)  # what is kept changes nothing


@one_family
def test_states_of_the_audio_are_recomputed_and_the_same(
    hearing: Hearing, lm: AudioLM, samples: np.ndarray, full_inputs: Full
) -> None:
    inputs, audio = full_inputs(lm, (SHORT, samples)), slice(hearing.span.first, hearing.span.stop)
    with torch.no_grad():
        states = lm.model(**inputs, output_hidden_states=True).hidden_states[1:-1]
    mixed, last = hearing.read_rows([Row(SHORT, hidden_at="audio"), Row(LONG, hidden_at=[3])])
    assert mixed.recomputed_prefix and last.recomputed_prefix
    expected = torch.stack([state[0, audio].mean(dim=0) for state in states])
    torch.testing.assert_close(mixed.hidden[:-1], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last.hidden[:-1], torch.stack([state[0, 3] for state in states]), atol=1e-4, rtol=1e-4)


@one_family
def test_a_state_at_the_name_is_not_remembered_as_the_last_one(hearing: Hearing) -> None:
    with hearing.remembering():
        rows = [Row(LONG), Row(LONG, event="bell", hidden_at="event"), Row(LONG, event="dog bark", hidden_at="event")]
        last, bell, bark = (hearing.read_rows([row])[0].hidden for row in rows)
    assert not torch.allclose(last, bell, atol=1e-2) and not torch.allclose(bell, bark, atol=1e-2)


def test_positions_of_states_that_do_not_exist_are_refused(one_model: AudioLM) -> None:
    with pytest.raises(ValueError, match="unknown positions 'first'"):
        Row(SHORT, hidden_at="first")  # type: ignore[arg-type]
