"""CLAP: a tiny model of the real class, made and saved here; nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tinies import EVENTS, knowing_five
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast
from typer.testing import CliRunner

from steer_utils.cli.main import app
from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.attribution import covering_mean, sliding_windows
from steer_utils.methods.base import Method, Query
from steer_utils.methods.clap import WINDOWS, ClapLocator
from steer_utils.methods.settings import PAPER
from steer_utils.pocket.architecture import save
from steer_utils.sound.spans import AudioSpan, best_window
from steer_utils.study.benchmark import query_in, run_benchmark, scene_set
from steer_utils.study.report import differences, report_text, summary

RATE = 8_000
WORDS = ("<s>", "<pad>", "</s>", "<unk>", "the", "sound", "of", "dog", "bark", "bell", "siren")
QUERY = Query("dog bark", 0.5)


def save_clap(folder: Path, fusion: bool) -> None:
    """A tiny CLAP that hears one second at 8 kHz."""
    table = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    table.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=table, **special)
    truncation = "fusion" if fusion else "rand_trunc"
    mel = {"feature_size": 16, "hop_length": 80, "fft_window_size": 256, "frequency_max": 4000}
    extractor = ClapFeatureExtractor(sampling_rate=RATE, max_length_s=1, truncation=truncation, **mel)
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 16, "projection_dim": 8}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
    audio = {"window_size": 2, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4]}
    audio |= {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16}
    audio |= {"num_hidden_layers": 2, "projection_dim": 8, "enable_fusion": fusion, "aff_block_r": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
        with torch.no_grad():  # as initialised, all sounds come out alike
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.4)
    model.save_pretrained(folder)
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap")
    save_clap(path, request.param)
    return path


@pytest.fixture(scope="module")
def clap(folder: Path) -> ClapLocator:
    return ClapLocator.load(folder)


def sounds(count: int, seconds: float = 0.5) -> list[np.ndarray]:
    noise = np.random.default_rng(0).normal(size=(count, round(seconds * RATE))).astype(np.float32)
    return [np.cumsum(row) / (10 * (1 + index)) if index % 2 else row for index, row in enumerate(noise)]


def test_similarity_is_the_cosine_of_the_whole_model(clap: ClapLocator, folder: Path) -> None:
    """The oracle: transformers' own forward on both, one sound at a time, none of them "longer"."""
    model, processor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)
    three = sounds(3)
    found = clap.similarities(three, " dog bark ")
    assert np.ptp(found) > 1e-3 and np.abs(found).max() <= 1 + 1e-6
    words = processor.tokenizer(["the sound of dog bark"], return_tensors="pt")
    for sound, similarity in zip(three, found, strict=True):
        features = processor.feature_extractor(sound, sampling_rate=RATE, return_tensors="pt")
        features["is_longer"] = torch.tensor([[False]])
        with torch.no_grad():
            output = model(**words, **features)
        cosine = torch.nn.functional.cosine_similarity(output.text_embeds, output.audio_embeds)
        assert similarity == pytest.approx(float(cosine), abs=1e-5)
    assert np.abs(clap.similarities(three, "siren") - found).max() > 1e-3


def test_many_windows_equal_windows_alone(clap: ClapLocator) -> None:
    many = sounds(WINDOWS + 1)
    together = clap.similarities(many, "bell")
    alone = [clap.similarities([sound], "bell")[0] for sound in many]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_curve_is_made_of_sliding_windows(clap: ClapLocator, one_hearing: Hearing) -> None:
    found = clap.find(one_hearing, QUERY, PAPER)
    resampled = soxr.resample(one_hearing.samples, 16_000, RATE, quality="HQ")
    starts, width = sliding_windows(one_hearing.span, 0.5)
    windows = [resampled[start * 320 : (start + width) * 320] for start in starts]  # 0.04 s at 8 kHz
    assert {len(window) for window in windows} == {width * 320}
    expected = covering_mean(clap.similarities(windows, "dog bark"), starts, width, one_hearing.span.count)
    assert found.curve is not None and np.ptp(found.curve) > 1e-4
    np.testing.assert_allclose(found.curve, expected, atol=1e-6)
    assert (found.interval, found.score) == best_window(found.curve, one_hearing.span, 0.5)


def test_a_window_longer_than_clap_takes(clap: ClapLocator, one_hearing: Hearing) -> None:
    assert clap.longest == 1.0 and clap.sampling_rate == RATE
    found = clap.find(one_hearing, Query("bell", 1.6), PAPER)
    np.testing.assert_array_equal(found.curve, clap.find(one_hearing, Query("bell", 1.0), PAPER).curve)
    assert found.interval is not None and found.interval.duration == pytest.approx(1.6)


@pytest.mark.parametrize("length", [16_000, 16_001, 16_639, 1_601])
@pytest.mark.parametrize("seconds", [0.01, 0.3, 9.0])
def test_audio_that_ends_within_a_token(
    clap: ClapLocator, tiny_models: dict[str, AudioLM], samples: np.ndarray, length: int, seconds: float
) -> None:
    hearing = tiny_models["audioflamingo3"].hear(samples[:length], sampling_rate=16_000)
    found = clap.find(hearing, Query("bell", seconds), PAPER)
    assert found.curve is not None and found.curve.shape == (hearing.span.count,)


def test_a_method_of_the_table(clap: ClapLocator, folder: Path, one_hearing: Hearing) -> None:
    method = clap.method()
    assert isinstance(method, Method) and (method.name, method.label) == ("clap", f"CLAP ({folder})")
    assert method.find(one_hearing, QUERY, PAPER).interval == clap.find(one_hearing, QUERY, PAPER).interval


def test_nothing_is_left_changed_and_nothing_is_random(folder: Path, one_hearing: Hearing) -> None:
    before = torch.get_rng_state(), np.random.get_state()
    clap = ClapLocator.load(str(folder), device="cpu")
    first, again = clap.find(one_hearing, QUERY, PAPER), clap.find(one_hearing, QUERY, PAPER)
    np.testing.assert_array_equal(first.curve, again.curve)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[2:] == before[1][2:]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1][1])
    assert not clap.model.training
    assert not any(parameter.requires_grad for parameter in clap.model.parameters())
    assert clap.model.dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(seconds=st.floats(max_value=0) | st.sampled_from([float("nan"), float("inf")]), event=st.text(max_size=5))
def test_bad_queries_are_refused_before_the_model_runs(seconds: float, event: str) -> None:
    class Heard:
        span = AudioSpan(2, 50)

    clap: Any = ClapLocator(model=None, processor=None, name="none")
    with pytest.raises(ValueError, match="event is empty" if not event.strip() else "positive number of seconds"):
        clap.find(Heard(), Query(event, seconds), PAPER)


def test_what_cannot_be_loaded(tmp_path: Path, folder: Path, model_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read a model configuration"):
        ClapLocator.load(tmp_path)
    with pytest.raises(CheckpointError, match="cannot read a model configuration"):
        ClapLocator.load("nobody/nothing-here")
    with pytest.raises(CheckpointError, match=r"of type .*; pass a CLAP model"):
        ClapLocator.load(model_folder)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save({}, bare / "pytorch_model.bin")  # pickles are not read
    with pytest.raises(CheckpointError, match="safetensors weights are needed"):
        ClapLocator.load(bare)


def test_remote_code_is_never_run(tmp_path: Path, folder: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for file in folder.iterdir():
        (trap / file.name).write_bytes(file.read_bytes())
    config = json.loads((trap / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "trap.Trap", "AutoModel": "trap.Trap"}
    (trap / "config.json").write_text(json.dumps(config))
    (trap / "trap.py").write_text("raise RuntimeError('remote code ran')\nclass Trap: pass\n")
    assert ClapLocator.load(trap).longest == 1.0


# -- as a row of the benchmark ---------------------------------------------------------------------------------------
def test_it_is_one_more_row_of_the_benchmark(clap: ClapLocator, one_model: AudioLM) -> None:
    lm = knowing_five(one_model)
    scenes = scene_set(lm, PAPER, count=2, seed=1)
    table = run_benchmark(lm, scenes, PAPER, methods=["random", "steering"], external=[clap.method()])
    assert table.attrs["methods"] == ["random", "steering", "clap"] and "CLAP" in table.attrs["external"]["clap"]
    assert list(dict.fromkeys(summary(table)["method"])) == ["steering", "random", "clap"]
    assert "clap" in report_text(table) and "clap" in differences(table)
    scene = scenes.maker.scene(0, 1)
    found = clap.find(Hearing(lm, scene.samples), query_in(scene, 0, 1), PAPER).interval
    row = table[(table["method"] == "clap") & (table["scene"] == 0) & (table["slot"] == "first")].iloc[0]
    assert found is not None and (row["start"], row["end"]) == pytest.approx((found.start, found.end))
    with pytest.raises(ValueError, match="at most once"):
        run_benchmark(lm, scenes, PAPER, methods=["random"], external=[clap.method(), clap.method()])


def test_the_command_takes_its_folder(folder: Path, one_model: AudioLM, tmp_path: Path) -> None:
    save(one_model.model, one_model.processor, tmp_path / "lm", {"events": list(EVENTS)})
    command = ["benchmark", "--model", str(tmp_path / "lm"), "--scenes", "1", "--methods", "random", "--clap"]
    result = CliRunner().invoke(app, [*command, str(folder), "--json"])
    assert result.exit_code == 0, result.output
    assert {row["method"] for row in json.loads(result.stdout)["rows"]} == {"random", "clap"}
    refused = CliRunner().invoke(app, [*command, str(tmp_path)])
    assert refused.exit_code == 2 and "cannot read a model configuration" in refused.stderr
