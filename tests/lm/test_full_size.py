"""The published 7B checkpoints, without their weights.

Three stand-ins, each true in what it is used for: the whole model on the meta device (paths, counts, shapes through
every hook), the true widths and heads with two thin blocks (numbers), and the true processors around a small
byte-pair tokenizer of the true kind (prompts and token counts).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tinies import OMNI_TEMPLATE
from tokenizers import Tokenizer, models, trainers
from transformers import (
    AudioFlamingo3Processor,
    DynamicCache,
    MusicFlamingoProcessor,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from steer_utils.lm.attention import attention_rows
from steer_utils.lm.caches import CACHE
from steer_utils.lm.checkpoints import CheckpointError, special_tokens, stop_tokens
from steer_utils.lm.families import FAMILIES, PAPER_FAMILIES, full_size_config
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.hidden_states import hidden_states
from steer_utils.lm.loading import open_checkpoint
from steer_utils.lm.models import AudioLM, load
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import Layout, event_tokens, token_mask
from steer_utils.lm.steering import Injection, find_edits, steered
from steer_utils.lm.vectors import SteeringVector, VectorMismatchError
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.settings import PAPER
from steer_utils.pocket.architecture import AUDIO_FLAMINGO_3_TEMPLATE
from steer_utils.sound.spans import AudioSpan

TYPES = PAPER_FAMILIES
#: blocks, heads, key/value heads, hidden, audio token: from the model cards and configs named in `families`.
FACTS = {"qwen2_audio": (32, 32, 32, 4096, 151646), "audioflamingo3": (28, 28, 4, 3584, 151669)}
SHORT, FOCUS, WHOLE = "Describe the sound.", "Focus on the vacuum cleaner.", "Listen to the whole audio."

#: What nvidia/audio-flamingo-3-hf's template does where the pocket model's does otherwise, told in other words
#: (the original is in transformers' convert_audioflamingo3_to_hf.py): one <sound> however many audio parts, parts
#: known by their keys as well as by their type, turns without content left out.
TRUE_AUDIO_FLAMINGO_3_TEMPLATE = """
{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}
{%- for turn in messages if turn.content is not none %}{{ '<|im_start|>' + turn.role + '\n' }}
{%- if turn.content is string %}{{ turn.content }}{% else %}{% set seen = namespace(audio='', text='') %}
{%- for part in turn.content %}{% if part.type == 'audio' or 'audio' in part %}{% set seen.audio = '<sound>' %}
{%- elif part.type == 'text' or 'text' in part %}{% set seen.text = seen.text + part.text %}{% endif %}{% endfor %}
{{- seen.audio + seen.text }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

PROMPTS = {
    # Qwen2-Audio's template ships with transformers, as the default of its processor.
    "qwen2_audio": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n{}<|im_end|>\n<|im_start|>assistant\n",
    # As transformers' tests of AudioFlamingo3Processor expect it.
    "audioflamingo3": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<sound>{}<|im_end|>\n<|im_start|>assistant\n",
    # Its template differs from Audio Flamingo 3's in the system's turn alone (convert_musicflamingo_to_hf.py).
    "musicflamingo": "<|im_start|>system\nYou are Music Flamingo.<|im_end|>\n<|im_start|>user\n"
    "<sound>{}<|im_end|>\n<|im_start|>assistant\n",
    "qwen2_5_omni_thinker": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|audio_bos|><|AUDIO|><|audio_eos|>{}<|im_end|>\n<|im_start|>assistant\n",
}
MARKERS = {
    "qwen2_audio": ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"],
    "audioflamingo3": ["<sound>"],
    "musicflamingo": ["<sound>", "<|sound_bos|>", "<|sound_eos|>"],
    "qwen2_5_omni_thinker": ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"],
}


def byte_pairs(model_type: str) -> Qwen2Tokenizer:
    """The tokenizer class of both checkpoints (bytes, pairs, Qwen2's way to cut text), with few pairs learnt."""
    sentences = ["system user assistant You are a helpful assistant.", "Focus on the dog.", SHORT, WHOLE, "Audio 1:"]
    sentences += ["yes Yes no No, yes, Yes, no, No Answer yes or no. start end middle seconds"] * 3
    sentences += ["yes", "Yes", "no", "No"] * 9
    shaped = Qwen2Tokenizer()  # for the normaliser and the pattern that cuts text into words
    learner = Tokenizer(models.BPE())
    learner.normalizer = shaped.backend_tokenizer.normalizer
    learner.pre_tokenizer = shaped.backend_tokenizer.pre_tokenizer
    alphabet = bytes_to_unicode().values()
    learner.train_from_iterator(sentences * 4, trainers.BpeTrainer(vocab_size=420, initial_alphabet=sorted(alphabet)))
    learnt = json.loads(learner.to_str())["model"]
    special = ["<|im_start|>", "<|im_end|>", *MARKERS[model_type]]
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(pair) for pair in learnt["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=special,
        padding_side="left",
    )


def true_processor(model_type: str, template: str | None = None) -> Any:
    """30 s windows of 128 mel bands, as both checkpoints' preprocessor_config.json have them."""
    extractor = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
    tokenizer = byte_pairs(model_type)
    if model_type == "musicflamingo":
        system = TRUE_AUDIO_FLAMINGO_3_TEMPLATE.replace("You are a helpful assistant.", "You are Music Flamingo.")
        return MusicFlamingoProcessor(extractor, tokenizer, chat_template=system)
    if model_type == "qwen2_5_omni_thinker":
        longer = WhisperFeatureExtractor(feature_size=128, chunk_length=300, return_attention_mask=True)
        return Qwen2AudioProcessor(longer, tokenizer, chat_template=OMNI_TEMPLATE)
    if model_type == "qwen2_audio":
        return Qwen2AudioProcessor(extractor, tokenizer)
    return AudioFlamingo3Processor(extractor, tokenizer, chat_template=template or TRUE_AUDIO_FLAMINGO_3_TEMPLATE)


@pytest.fixture(scope="module")
def processors() -> dict[str, Any]:
    return {model_type: true_processor(model_type) for model_type in MARKERS}


@pytest.fixture(scope="module", params=TYPES)
def model_type(request: pytest.FixtureRequest) -> str:
    return request.param


def noise(seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(5).normal(size=round(seconds * 16_000)).astype(np.float32)


# -- the whole model, without numbers ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def whole(model_type: str, processors: dict[str, Any]) -> AudioLM:
    family = FAMILIES[model_type]
    with torch.device("meta"):
        model = getattr(transformers, family.model_class)(full_size_config(model_type))
    return AudioLM(model.to(torch.bfloat16).eval(), processors[model_type], family, family.checkpoint)


def test_the_parts_are_where_the_family_says(whole: AudioLM, model_type: str) -> None:
    family, model = whole.family, whole.model
    blocks, heads, kv_heads, hidden, audio_token = FACTS[model_type]
    assert (whole.num_blocks, whole.hidden_size, model.config.audio_token_id) == (blocks, hidden, audio_token)
    attention = whole.blocks[-1].self_attn
    assert attention.q_proj.out_features == heads * 128 and attention.k_proj.out_features == kv_heads * 128
    assert attention.num_key_value_groups == heads // kv_heads
    assert family.head(model) is model.get_output_embeddings() and family.head(model).weight.shape[1] == hidden
    assert family.backbone(model) is model.model and whole.decoder is model.model.language_model
    tower: Any = family.audio_tower(model)
    assert len(tower.layers) == 32 and tower.layers[0].self_attn.num_heads == 20
    assert family.projector(model)(torch.empty(750, 1280, dtype=torch.bfloat16, device="meta")).shape == (750, hidden)
    assert not any(getattr(block.self_attn, "sliding_window", None) for block in whole.blocks)
    assert (whole.device.type, whole.dtype) == ("meta", torch.bfloat16)


def test_as_many_parameters_as_were_published(whole: AudioLM, model_type: str) -> None:
    assert sum(parameter.numel() for parameter in whole.model.parameters()) == whole.family.parameters


@pytest.mark.parametrize("other", sorted(set(FAMILIES) - set(TYPES)))
def test_the_other_families_are_laid_out_as_their_entries_say(other: str) -> None:
    family = FAMILIES[other]
    with torch.device("meta"):
        model = getattr(transformers, family.model_class)(full_size_config(other))
    assert family.decoder(model) is model.model.language_model
    assert sum(parameter.numel() for parameter in model.parameters()) == family.parameters
    assert len(family.audio_tower(model).layers) == 32 and family.head(model) is model.get_output_embeddings()  # type: ignore[operator]


def test_vectors_must_have_the_full_shape(whole: AudioLM, model_type: str) -> None:
    blocks, _, _, hidden, _ = FACTS[model_type]
    SteeringVector(torch.ones(blocks, hidden), (0,), torch.ones(blocks)).check_fits(whole)
    for shape in ((blocks, hidden - 1), (blocks - 1, hidden), (32, 1280)):  # the last one: of the audio tower
        with pytest.raises(VectorMismatchError, match=rf"\({shape[0]}, {shape[1]}\).*\({blocks}, {hidden}\)"):
            SteeringVector(torch.ones(shape), (0,), torch.ones(shape[0])).check_fits(whole)


def test_every_hook_takes_the_full_shapes(whole: AudioLM, model_type: str, hook_count: Callable[..., int]) -> None:
    """17 s of audio, two tails behind it, the later half steered: shapes run through, and nothing stays."""
    blocks, heads, _, hidden, _ = FACTS[model_type]
    vector = SteeringVector(torch.ones(blocks, hidden), tuple(range(blocks // 2, blocks)), torch.ones(blocks))
    layout, before = Layout(20 + 425 + 7, range(20, 445)), hook_count(whole)
    mask, cache = token_mask("last", [layout, layout]), DynamicCache()
    edits = [find_edits([Injection(vector)], layout), ()]
    with (
        steered(whole, edits, [True, True], layout.length),
        attention_rows(whole, mask, AudioSpan(20, 425)) as seen,
        hidden_states(whole, mask) as kept,
        torch.no_grad(),
    ):
        # A hook a steered block, one a kept state, and one that refuses a static cache.
        assert hook_count(whole) == before + blocks // 2 + blocks + 1
        for tokens in (20 + 425, 7):
            states = torch.empty(2, tokens, hidden, dtype=torch.bfloat16, device="meta")
            whole.decoder(inputs_embeds=states, use_cache=True, **{CACHE: cache})
    assert hook_count(whole) == before and whole.decoder.config._attn_implementation != "sdpa_rows"
    assert seen.slots == kept.slots == [451]
    assert all(seen.block(block).shape == (2, heads, 1, 425) for block in range(blocks))
    assert cache.get_seq_length() == 452


def test_other_configurations() -> None:
    with pytest.raises(UnsupportedModelError, match="'gpt2'; there are: qwen2_audio"):
        full_size_config("gpt2")


# -- true widths, few blocks ----------------------------------------------------------------------------------------
def shaped(model_type: str, processor: Any, dtype: torch.dtype, source: Any = None) -> AudioLM:
    """Two decoder blocks and one of the tower, of the true widths and heads; thin feed-forwards, a small vocabulary.

    Parameters are drawn here, or rounded from `source`.
    """
    config, tokenizer, family = full_size_config(model_type), processor.tokenizer, FAMILIES[model_type]
    config.text_config.num_hidden_layers, config.text_config.layer_types = 2, ["full_attention"] * 2
    config.text_config.intermediate_size = 512
    config.text_config.vocab_size, config.text_config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    config.text_config.bos_token_id = None
    config.audio_config.num_hidden_layers, config.audio_config.intermediate_size = 1, 512
    config.audio_token_id = processor.audio_token_id
    with torch.device("meta"):
        model = getattr(transformers, family.model_class)(config).to(dtype)
    model.to_empty(device="cpu")
    rotary = model.model.language_model.rotary_emb
    model.model.language_model.rotary_emb = type(rotary)(config.text_config)  # its table is no parameter
    generator = torch.Generator().manual_seed(11)
    drawn = None if source is None else dict(source.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if drawn is not None:
                parameter.copy_(drawn[name])
            elif parameter.ndim > 1:
                parameter.uniform_(-0.035, 0.035, generator=generator)  # as wide as the usual 0.02 of a normal one
            else:
                parameter.fill_(float(name.endswith("weight")))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.repetition_penalty = 1.05
    return AudioLM(model.eval().requires_grad_(False), processor, family, f"shaped-{model_type}")


@pytest.fixture(scope="module")
def thin(model_type: str, processors: dict[str, Any]) -> AudioLM:
    gc.collect()  # the other family's, half a gigabyte held by reference cycles
    return shaped(model_type, processors[model_type], torch.float32)


@pytest.fixture(scope="module")
def long_hearing(thin: AudioLM) -> Hearing:
    """The paper's 17 s, or a second more than one window where windows are joined."""
    seconds = 17.0 if thin.family.max_windows == 1 else 31.0
    return thin.hear(noise(seconds), sampling_rate=16_000)


@pytest.mark.slow
def test_from_audio_to_answer(long_hearing: Hearing, model_type: str) -> None:
    heads, hidden = FACTS[model_type][1], FACTS[model_type][3]
    tokens = round(long_hearing.duration * 25)
    assert (long_hearing.span.count, long_hearing.span.seconds_per_token) == (tokens, 0.04)
    vector = long_hearing.contrast(FOCUS, WHOLE, prompt=SHORT)
    assert vector.directions.shape == (2, hidden) and float(vector.norm_ratio().min()) > 0.01
    steered_row = Row(SHORT, (Injection(vector.select(0), 2.0),))
    prompted, base, reading = long_hearing.read_rows([Row(f"{FOCUS} {SHORT}"), Row(SHORT), steered_row])
    shift = reading.attention - base.attention
    assert shift.share.shape == (2, heads, 1, tokens)
    assert shift.share[0].abs().max() < 1e-6 < 1e-4 < shift.share[1].abs().max()  # only behind the steered block
    assert shift.window(seconds=5.0).duration == pytest.approx(5.0)
    assert not torch.allclose(prompted.logits, base.logits, atol=1e-2)
    assert isinstance(long_hearing.answer(SHORT, steer=vector, max_new_tokens=2), str)


@pytest.mark.slow
def test_prefix_and_rows_are_those_of_one_eager_pass(
    long_hearing: Hearing, thin: AudioLM, eager: Callable[..., AbstractContextManager[None]]
) -> None:
    """The oracle sees what enters the decoder at once, without a cache, and forms every attention matrix."""
    prefix, outputs = long_hearing._prefix, list[torch.Tensor]()
    tail = torch.tensor([thin.tokens(SHORT).tail])
    entering = torch.cat([prefix.embeddings, thin.decoder.get_input_embeddings()(tail)], dim=1)
    keep = lambda module, inputs, output: outputs.append(output[0, -1])  # noqa: E731
    handles = [block.register_forward_hook(keep) for block in thin.blocks]
    try:
        with eager(thin), torch.no_grad():
            output = thin.decoder(inputs_embeds=entering, output_attentions=True, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    reading = long_hearing.read(SHORT)
    rows = torch.stack([block[0, :, -1, prefix.span.first : prefix.span.stop] for block in output.attentions])
    captured = reading.attention.share * reading.attention.mass[..., None]
    assert float(rows.max()) > 20 * float(rows.mean())  # far from flat, or anything would agree
    torch.testing.assert_close(captured[:, :, 0], rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(reading.hidden, torch.stack(outputs), atol=1e-4, rtol=1e-4)
    logits = thin.family.head(thin.model)(output.last_hidden_state[0, -1])
    torch.testing.assert_close(reading.logits, logits, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_bfloat16(thin: AudioLM, model_type: str, processors: dict[str, Any]) -> None:
    """What holds: shares still sum to one, and move by less than 0.03 of their sum; vectors keep their direction."""
    half = shaped(model_type, processors[model_type], torch.bfloat16, source=thin.model)
    hearings = [lm.hear(noise(2.0), sampling_rate=16_000) for lm in (thin, half)]
    exact, rounded = (hearing.read(SHORT).attention for hearing in hearings)
    torch.testing.assert_close(rounded.share.sum(-1), torch.ones_like(rounded.mass))
    moved = 0.5 * (exact.share - rounded.share).abs().sum(-1)  # total variation, 0..1
    assert float(moved.max()) < 0.03 and float((exact.mass - rounded.mass).abs().mean()) < 0.01
    vectors = [hearing.contrast(FOCUS, WHOLE, prompt=SHORT) for hearing in hearings]
    assert float(vectors[0].cosine(vectors[1]).min()) > 0.999
    reading = hearings[1].read(SHORT, steer=vectors[1], strength=2.0, positions="all")
    assert reading.recomputed_prefix and bool(torch.isfinite(reading.logits).all())
    assert isinstance(hearings[1].answer(SHORT, steer=vectors[1], max_new_tokens=2), str)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "logits", "rows"), [(torch.bfloat16, 0.2, 0.05), (torch.float16, 0.03, 0.01)])
def test_key_biases_as_large_as_those_of_qwen2_5(
    thin: AudioLM, model_type: str, processors: dict[str, Any], dtype: torch.dtype, logits: float, rows: float
) -> None:
    """Norm 900 in the first and last block. The oracle is the model's own SDPA in the same number type: keys that are
    rounded beside such a bias lose what they differ in, whoever computes with them."""
    half = shaped(model_type, processors[model_type], dtype, source=thin.model)
    for block in (half.blocks[0], half.blocks[-1]):
        bias = torch.randn(block.self_attn.k_proj.bias.shape, generator=torch.Generator().manual_seed(5))
        block.self_attn.k_proj.bias.copy_(900 * bias / bias.norm())
    hearing = half.hear(noise(2.0), sampling_rate=16_000)
    inputs = half.family.inputs(half.processor, half.prompt(SHORT), noise(2.0), 16_000)
    inputs["input_features"] = inputs["input_features"].to(dtype)
    length = inputs["input_ids"].shape[1]
    last = token_mask("last", [Layout(length, range(hearing.span.first, hearing.span.stop))])
    with attention_rows(half, last, hearing.span) as recorded, torch.no_grad():
        plain = half.model(**inputs).logits[0, -1].float()
    reading = hearing.read(SHORT)
    assert float((reading.logits - plain).abs().max()) < logits
    ours = (reading.attention.share * reading.attention.mass[..., None])[:, :, 0]
    assert float(0.5 * (ours - recorded.weights()[0, :, :, 0]).abs().sum(-1).max()) < rows


# -- true processors ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model_type", "seconds", "tokens", "windows"),
    [
        ("qwen2_audio", 17.0, 425, 1),  # the paper's form: three clips of 5 s, two gaps of 1 s
        ("qwen2_audio", 30.0, 750, 1),
        ("audioflamingo3", 17.0, 425, 1),
        ("audioflamingo3", 30.0, 750, 1),
        ("audioflamingo3", 35.0, 750 + 125, 2),
        ("audioflamingo3", 60.0, 2 * 750, 2),
        ("musicflamingo", 35.0, 750 + 125, 2),
        ("qwen2_5_omni_thinker", 35.0, 750 + 125, 1),  # one window of features; the tower cuts it every two seconds
    ],
)
def test_audio_tokens(processors: dict[str, Any], model_type: str, seconds: float, tokens: int, windows: int) -> None:
    family, processor = FAMILIES[model_type], processors[model_type]
    inputs = family.inputs(processor, family.prompt(processor, SHORT), noise(seconds), 16_000)
    slots = (inputs["input_ids"][0] == processor.audio_token_id).nonzero()[:, 0]
    assert len(slots) == tokens and int(slots[-1] - slots[0]) == tokens - 1
    assert inputs["input_features"].shape == (windows, 128, processor.feature_extractor.nb_max_frames)


def test_how_much_audio_fits(whole: AudioLM) -> None:
    assert whole.window_seconds == 30.0 * whole.family.max_windows
    assert (whole.sampling_rate, whole.seconds_per_token) == (16_000, 0.04)


def test_joined_windows_are_in_order(tiny_models: dict[str, AudioLM]) -> None:
    """Ten seconds in windows of four: each window's tokens are those it has alone, one after the other."""
    tiny = tiny_models["audioflamingo3"]
    extractor, tokenizer = tiny.processor.feature_extractor, tiny.processor.tokenizer
    joining = AudioFlamingo3Processor(extractor, tokenizer, chat_template=AUDIO_FLAMINGO_3_TEMPLATE, max_audio_len=12)
    lm, samples = AudioLM(tiny.model, joining, tiny.family, "joining"), noise(10.0)
    together = lm.hear(samples, sampling_rate=16_000)
    assert (together.span.count, together.span.duration, lm.window_seconds) == (250, 10.0, 12.0)
    alone = [lm.hear(samples[first : first + 64_000], sampling_rate=16_000)._prefix for first in (0, 64_000, 128_000)]
    parts = [prefix.embeddings[:, prefix.span.first : prefix.span.stop] for prefix in alone]
    whole_run = together._prefix.embeddings[:, together.span.first : together.span.stop]
    torch.testing.assert_close(whole_run, torch.cat(parts, dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("template", [AUDIO_FLAMINGO_3_TEMPLATE, TRUE_AUDIO_FLAMINGO_3_TEMPLATE])
def test_templates_of_audio_flamingo_3(template: str) -> None:
    processor, family = true_processor("audioflamingo3", template), FAMILIES["audioflamingo3"]
    assert family.prompt(processor, SHORT) == PROMPTS["audioflamingo3"].format(SHORT)
    # Whatever the order of the parts, the sound comes first.
    turn = {"role": "user", "content": [{"type": "text", "text": SHORT}, {"type": "audio", "audio": "audio.wav"}]}
    text = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    assert text == PROMPTS["audioflamingo3"].format(SHORT)


@pytest.mark.parametrize("kind", MARKERS)
def test_prompts(processors: dict[str, Any], kind: str) -> None:
    lm = AudioLM(None, processors[kind], FAMILIES[kind], kind)
    assert lm.prompt(f"  {SHORT} ") == PROMPTS[kind].format(SHORT)


TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Co"]), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS.filter(str.strip))
@example(text="\u0301 combining first")
@example(text="e\u0301clair: was ist zu ho\u0308ren?")  # the tokenizer composes these
@example(text="im_end|>\n<im_start|>assistant")
@example(text="1: sound>")
def test_the_prefix_is_the_same_under_every_instruction(text: str, processors: dict[str, Any]) -> None:
    special = set().union(*(special_tokens(processor.tokenizer) for processor in processors.values()))
    assume(not any(token in text for token in special))  # those are refused
    for model_type, processor in processors.items():
        lm = AudioLM(None, processor, FAMILIES[model_type], model_type)
        tokens, plain = lm.tokens(text), lm.tokens(SHORT)
        assert tokens.head == plain.head and tokens.head[-1] == processor.audio_token_id
        assert tokens.tail[-3:] == plain.tail[-3:]  # "<|im_start|>assistant\n" and so the last token
        assert tokens.tail_characters[-1][1] == len(tokens.text)


@pytest.mark.parametrize(
    ("instruction", "event"),
    [
        (FOCUS, "vacuum cleaner"),
        ("Is there a Vacuum  cleaner? Focus on the VACUUM CLEANER", "vacuum cleaner"),
        ("Glockenläuten; then a dog", "glockenläuten"),
        ("Did the cafe\u0301 door, or a cafe\u0301, close?", "cafe\u0301"),
        ("vacuum cleaner", "vacuum cleaner"),
    ],
)
def test_events_of_several_pieces(whole: AudioLM, processors: dict[str, Any], instruction: str, event: str) -> None:
    tokens, tokenizer = whole.tokens(instruction), whole.processor.tokenizer
    indices = event_tokens(tokens, event)
    pieces = [tokens.text[slice(*tokens.tail_characters[index])] for index in indices]
    named = instruction.lower().count(event)
    assert len(indices) > named  # more pieces than mentions: it is the case this test is about
    heard = tokenizer.decode([tokens.tail[index] for index in indices]).lower()
    assert heard.replace(" ", "").replace("é", "e\u0301") == event.replace(" ", "") * named
    assert all(piece.strip().lower() in event for piece in pieces)


@pytest.mark.slow
def test_yes_and_no_are_the_words_that_begin_an_answer(thin: AudioLM, long_hearing: Hearing) -> None:
    """After the assistant's newline the answer begins without a space: "Yes", not " Yes"."""
    tokenizer, hearing = thin.processor.tokenizer, long_hearing
    asked = PAPER.presence.format(event="vacuum cleaner")
    first = {word: tokenizer(thin.prompt(asked) + word)["input_ids"][-1] for word in ("yes", "Yes", "no", "No")}
    assert [tokenizer.decode([token]) for token in first.values()] == ["yes", "Yes", "no", "No"]
    assert tokenizer(" Yes")["input_ids"] != [first["Yes"]]
    odds = hearing.read(asked).logits.softmax(0)
    yes, no = (float(sum(odds[first[word]] for word in words)) for words in (("yes", "Yes"), ("no", "No")))
    assert presence_probability(hearing, "vacuum cleaner", PAPER) == pytest.approx(yes / (yes + no), rel=1e-4)


def test_an_answer_stops_at_any_end(thin: AudioLM) -> None:
    tokenizer = thin.processor.tokenizer
    ends = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")}
    assert len(ends) == 2 and set(stop_tokens(thin)) == ends


# -- files as the hub has them --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def sharded(tiny_models: dict[str, AudioLM], model_type: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in bfloat16, in several files, under the names that the published weights have."""
    folder, tiny = tmp_path_factory.mktemp("sharded"), tiny_models[model_type]
    model = type(tiny.model)(tiny.model.config).to(torch.bfloat16)
    model.load_state_dict(tiny.model.state_dict())
    model.save_pretrained(folder, max_shard_size="100KB")
    tiny.processor.save_pretrained(folder)
    return folder


def test_shards_with_the_published_names(sharded: Path, tiny_models: dict[str, AudioLM], model_type: str) -> None:
    index = json.loads((sharded / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 1
    # As the weight files on the hub: transformers gave these parts other places since.
    assert {"language_model.lm_head.weight", "language_model.model.embed_tokens.weight"} <= set(index)
    opened, tiny = load(sharded, dtype="auto"), tiny_models[model_type]
    assert opened.dtype == torch.bfloat16 and opened.revision is not None
    for name, value in tiny.model.state_dict().items():
        assert torch.equal(opened.model.state_dict()[name], value.to(torch.bfloat16)), name


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"dtype": "auto", "device_map": "auto"}])
def test_loading_as_for_a_gpu(sharded: Path, options: dict[str, Any]) -> None:
    if "device_map" in options:
        pytest.importorskip("accelerate", reason="device maps need accelerate")
    opened = load(sharded, **options)
    assert opened.dtype == torch.bfloat16 and not opened.model.training
    reading = opened.hear(noise(1.0), sampling_rate=16_000).read(SHORT)
    torch.testing.assert_close(reading.attention.share.sum(-1), torch.ones(4, 4, 1))


def test_a_missing_shard(sharded: Path, tmp_path: Path) -> None:
    for path in sharded.iterdir():
        if not path.name.startswith("model-00002"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match="cannot load the model"):
        open_checkpoint(tmp_path)
