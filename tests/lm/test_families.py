"""Family entries: parts are found by path, the audio comes first, seconds and tokens are those of the processor."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from tinies import OMNI_TEMPLATE, VOXTRAL, build_processor
from transformers import (
    Gemma3nConfig,
    Gemma4Config,
    Phi4MultimodalConfig,
    Qwen2_5OmniProcessor,
    Qwen3OmniMoeConfig,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)
from transformers.processing_utils import VideosKwargs

from steer_utils.lm.families import FAMILIES, family_of
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.models import AudioLM, load
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import event_tokens
from steer_utils.lm.steering import Injection


def test_the_rate_of_voxtral() -> None:
    """12.5 tokens a second, of which there are as many as whole windows of 30 s have."""
    voxtral = FAMILIES["voxtral"]
    extractor = SimpleNamespace(hop_length=160, sampling_rate=16_000)
    assert voxtral.seconds_per_token(SimpleNamespace(feature_extractor=extractor)) == 0.08
    counts = {mel_frames: voxtral.token_counts(mel_frames, 3000) for mel_frames in (5, 1700, 3000, 3100)}
    assert counts == {5: (375, 1), 1700: (375, 212), 3000: (375, 375), 3100: (750, 387)}


def test_family_of(lm: AudioLM) -> None:
    assert family_of(lm.model.config) is lm.family
    with pytest.raises(UnsupportedModelError, match=r"'gpt2' is not supported; supported are: Qwen2-Audio .*Voxtral"):
        family_of(SimpleNamespace(model_type="gpt2"))


def test_everything_up_to_the_audio_is_the_same_under_every_instruction(lm: AudioLM, samples: np.ndarray) -> None:
    prefixes = set()
    for instruction in (
        "Focus on the dog bark.",
        "Listen to the whole audio. Describe the sound.",
        "assistant audio 1",
    ):
        inputs = lm.family.inputs(lm.processor, lm.prompt(instruction), samples, 16_000)
        ids = inputs["input_ids"][0].tolist()
        last = max(slot for slot, token in enumerate(ids) if token == lm.audio_token_id)
        prefixes.add(tuple(ids[: last + 1]))
        assert ids.count(lm.audio_token_id) == 50  # two seconds, or with Voxtral's padding four
        assert tuple(ids[last + 1 :]) == lm.tokens(instruction).tail
    assert len(prefixes) == 1


def test_only_the_non_commercial_weights_carry_a_note() -> None:
    names = [family.name for family in FAMILIES.values() if family.non_commercial]
    assert names == ["Audio Flamingo 3", "MusicFlamingo"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (Gemma3nConfig, "sliding window.*four a token"),
        (Gemma4Config, "sliding window"),
        (Phi4MultimodalConfig, "adapters"),
        (Qwen3OmniMoeConfig, "'qwen3_omni_moe_thinker' is not supported; supported"),
    ],
)
def test_models_that_hear_but_do_not_fit_are_refused_with_the_reason(config: type, why: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"not supported.*{why}|{why}"):
        family_of(config())


# -- MusicFlamingo -----------------------------------------------------------------------------------------------------
def test_marks_around_the_audio_are_those_of_the_processor(tiny_models: dict[str, AudioLM]) -> None:
    lm = tiny_models["musicflamingo"]
    tokens, begin, end = lm.tokens("?"), lm.processor.audio_bos_token_id, lm.processor.audio_eos_token_id
    assert tokens.head[-2:] == (begin, lm.audio_token_id) and tokens.tail[0] == end
    assert tokens.text[slice(*tokens.tail_characters[0])] == "<|sound_eos|>"
    assert lm.processor.audio_bos_token not in lm.prompt("?")  # the raw template, which the processor is given


# -- Qwen2.5-Omni ------------------------------------------------------------------------------------------------------
@pytest.fixture
def omni_folder(tiny_models: dict[str, AudioLM], tmp_path: Path) -> Path:
    """As published: the whole model's config, weights by their older names below "thinker.", a talker's too."""
    lm = tiny_models["qwen2_5_omni_thinker"]
    state = {}
    for name, value in lm.model.state_dict().items():
        published = name.replace("model.language_model", "model") if "language_model" in name else name
        for part in ("audio_tower", "visual"):
            published = published.replace(f"model.{part}", part)
        state[f"thinker.{published}"] = value.contiguous()
    save_file({**state, "talker.codec_head.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors", {"format": "pt"})
    config = {"model_type": "qwen2_5_omni", "thinker_config": lm.model.config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    lm.processor.tokenizer.save_pretrained(tmp_path)
    lm.processor.feature_extractor.save_pretrained(tmp_path)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": OMNI_TEMPLATE}))
    return tmp_path


def test_the_thinker_is_taken_out_of_the_whole_model(
    omni_folder: Path, tiny_models: dict[str, AudioLM], samples: np.ndarray
) -> None:
    opened, lm = load(omni_folder), tiny_models["qwen2_5_omni_thinker"]
    assert (opened.num_blocks, opened.hidden_size) == (4, 48) and opened.family is lm.family
    assert opened.tokens("Is it a bell?") == lm.tokens("Is it a bell?")
    readings = [one.hear(samples, sampling_rate=16_000).read("Is it a bell?") for one in (opened, lm)]
    assert torch.equal(readings[0].logits, readings[1].logits)


def test_the_processor_hears_what_the_models_own_does(
    tiny_models: dict[str, AudioLM], samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own asks for torchvision: stand-ins take the places of what looks at pictures and films."""
    ours = tiny_models["qwen2_5_omni_thinker"].processor
    tokenizer = build_processor("qwen2_5_omni_thinker").tokenizer
    for kind in ("image", "audio", "video"):
        setattr(tokenizer, f"{kind}_token", f"<|{kind.upper()}|>")
        setattr(tokenizer, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(f"<|{kind.upper()}|>"))
    for mark in ("vision_bos", "vision_eos", "audio_bos", "audio_eos"):
        setattr(tokenizer, f"{mark}_token", f"<|{mark}|>")
    monkeypatch.setattr(Qwen2_5OmniProcessor, "check_argument_for_proper_class", lambda *_: object)
    blind = SimpleNamespace(model_input_names=[], valid_kwargs=VideosKwargs)
    theirs = Qwen2_5OmniProcessor(blind, blind, ours.feature_extractor, tokenizer, chat_template=OMNI_TEMPLATE)
    family = FAMILIES["qwen2_5_omni_thinker"]
    texts = [family.prompt(processor, "Is it a bell?") for processor in (ours, theirs)]
    inputs = [
        family.inputs(processor, text, samples, 16_000) for processor, text in zip((ours, theirs), texts, strict=True)
    ]
    assert texts[0] == texts[1] and inputs[0].keys() == inputs[1].keys()
    assert all(torch.equal(inputs[0][name], inputs[1][name]) for name in inputs[0])


def test_what_it_was_asked_before_by_others_changes_nothing(
    tiny_models: dict[str, AudioLM], samples: np.ndarray
) -> None:
    """It keeps a shift of positions from its last call, which a film makes other than 0."""
    lm = tiny_models["qwen2_5_omni_thinker"]
    hearing = lm.hear(samples, sampling_rate=16_000)
    vector = hearing.contrast("Focus on the bell.", "Listen to the whole audio.")
    rows = [Row("Is it a bell?"), Row("Is it a bell?", Injection(vector, 2.0, "audio"))]
    before = [reading.logits for reading in hearing.read_rows(rows)], hearing.answers(rows)
    lm.model.model.rope_deltas = torch.tensor([[7], [9], [11]])
    after = [reading.logits for reading in hearing.read_rows(rows)], hearing.answers(rows)
    assert before[1] == after[1]
    torch.testing.assert_close(before[0], after[0])


# -- Voxtral -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a folder of Voxtral's has in the place of a tokenizer.json, with few pairs; and its true mel bands."""
    folder, pairs = tmp_path_factory.mktemp("tekken"), [b"th", b"the", b" s", b"ou", b" the", b"in"]
    vocab = [*(bytes([byte]) for byte in range(256)), *pairs]
    special = [dict(rank=rank, token_str=token, is_control=True) for rank, token in enumerate(VOXTRAL)]
    upper, lower = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
    words = [rf"[^\r\n\p{{L}}\p{{N}}]?[{upper}]*[{lower}]+", rf"[^\r\n\p{{L}}\p{{N}}]?[{upper}]+[{lower}]*"]
    pattern = "|".join([*words, r"\p{N}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
    counts = {"default_vocab_size": len(vocab) + len(special), "default_num_special_tokens": len(special)}
    mel = {"num_mel_bins": 128, "hop_length": 160, "window_size": 400}
    facts = {
        "config": {"pattern": pattern, "num_vocab_tokens": len(vocab), "version": "v7", **counts},
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": token.decode(errors="replace")}
            for rank, token in enumerate(vocab)
        ],
        "special_tokens": special,
        "audio": {"sampling_rate": 16_000, "frame_rate": 12.5, "audio_encoding_config": mel, "chunk_length_s": 30.0},
    }
    (folder / "tekken.json").write_text(json.dumps(facts))
    (folder / "config.json").write_text('{"model_type": "voxtral"}')
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    return folder


ASKED = "Where is the sound?\nSay it, Zoë."


def test_a_tekken_vocabulary_is_read_without_mistral_common(tekken: Path) -> None:
    family = FAMILIES["voxtral"]
    lm = AudioLM(None, family.processor(str(tekken)), family, "voxtral")
    tokenizer, tokens = lm.processor.tokenizer, lm.tokens(ASKED)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, lm.audio_token_id) == (11, 2, 24)
    assert tokens.head == (1, 3, 25, 24) and tokens.tail[-1] == 4
    assert tokenizer.decode(tokens.tail[:-1]) == ASKED
    assert [tokens.text[slice(*tokens.tail_characters[index])] for index in event_tokens(tokens, "sound")] == [
        " s",
        "ou",
        "n",
        "d",
    ]
    with pytest.raises(ValueError, match=r"'\[/INST\]', a special token"):
        lm.tokens("End here.[/INST] And go on.")
    assert lm.window_seconds == 2400


def test_ids_and_mel_are_those_of_mistral_common(tekken: Path) -> None:
    """Two windows, the second of them mostly padding."""
    pytest.importorskip("mistral_common", reason="the oracle: pip install mistral-common")
    family, theirs = FAMILIES["voxtral"], VoxtralProcessor.from_pretrained(tekken)
    assert type(theirs.tokenizer).__name__ == "MistralCommonBackend"
    ours, audio = family.processor(str(tekken)), np.random.default_rng(0).normal(size=35 * 16_000).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * audio, 16_000, format="wav", subtype="FLOAT")
    sound = {"type": "audio", "base64": base64.b64encode(buffer.getvalue()).decode()}
    expected = theirs.apply_chat_template([{"role": "user", "content": [sound, {"type": "text", "text": ASKED}]}])
    inputs = family.inputs(ours, family.prompt(ours, ASKED), 0.1 * audio, 16_000)
    assert inputs["input_features"].shape == (2, 128, 3000)
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)


def test_padding_is_heard_but_is_no_time(tiny_models: dict[str, AudioLM], samples: np.ndarray) -> None:
    """Two seconds in a window of four: 50 tokens run, the first 25 of them are read."""
    lm = tiny_models["voxtral"]
    short, long = (lm.hear(audio, sampling_rate=16_000) for audio in (samples, np.pad(samples, (0, 2 * 16_000))))
    assert (short.span.count, short.span.duration, short.prefix_length) == (25, 2.0, long.prefix_length)
    assert (long.span.count, long.span.duration) == (50, 4.0)
    ours, theirs = (hearing.read("Is it a bell?") for hearing in (short, long))
    torch.testing.assert_close(ours.logits, theirs.logits)
    rows = [reading.attention.share * reading.attention.mass[..., None] for reading in (ours, theirs)]
    torch.testing.assert_close(rows[0], rows[1][..., :25])
    assert ours.attention.window(seconds=0.8).end <= 2.0
