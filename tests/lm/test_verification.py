"""Verifying a checkpoint: sound ones pass, each kind of fault is named, and the model is left as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tinies import tiny

import steer_utils.lm.attention
import steer_utils.lm.verification
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.verification import CHECKS, FORMAT, OK, Report, verify


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.verification, "ROWS", 2)
    monkeypatch.setattr(steer_utils.lm.verification, "ANSWER_TOKENS", 4)


@pytest.fixture
def report(one_model: AudioLM, little_work: None) -> Report:
    return verify(one_model)


def off(report: Report) -> list[str]:
    return [name for name, said in report.checks.items() if not said.startswith(OK)]


def test_a_sound_model_passes_and_is_left_as_it_was(lm: AudioLM, hook_count: Callable[[Checkpoint], int]) -> None:
    before = hook_count(lm), lm.decoder.config._attn_implementation
    report = verify(lm)
    assert report.ok and tuple(report.checks) == CHECKS, report.checks
    seconds = min(5.0, lm.window_seconds)
    assert report.audio_tokens == int(seconds / lm.seconds_per_token) and report.audio_seconds == seconds
    assert len(report.largest_qk) == lm.num_blocks and min(report.largest_qk) > 1
    assert 0 < max(report.row_distance or 1, report.logit_distance or 1, report.steering_distance or 1) < 1e-4
    assert min(report.hear_seconds or 0, report.row_seconds or 0, report.token_seconds or 0) > 0
    assert (hook_count(lm), lm.decoder.config._attn_implementation) == before


def test_the_report_is_one_small_json_object(report: Report) -> None:
    kept = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert (kept["format"], kept["ok"], kept["model"]) == (FORMAT, True, "tiny-qwen2_audio")
    assert {name for name, value in kept.items() if isinstance(value, dict)} == {"versions", "checks"}
    assert len(json.dumps(kept)) < 4000
    assert "nan" not in report.text() and report.text().splitlines()[-1] == "OK"
    assert kept["largest_qk"] == report.largest_qk


def test_the_largest_product_is_that_of_queries_and_keys(report: Report) -> None:
    """Twice the keys, twice the product: in one block alone."""
    twice = tiny("qwen2_audio")
    twice.blocks[3].self_attn.k_proj.weight.mul_(2)
    twice.blocks[3].self_attn.k_proj.bias.mul_(2)
    largest = verify(twice).largest_qk
    assert largest[:3] == report.largest_qk[:3] and largest[3] == pytest.approx(2 * report.largest_qk[3], rel=1e-3)


def test_a_folder_goes_by_its_own_name(one_model: AudioLM, tmp_path: Any) -> None:
    folder = tmp_path / "somebody" / "checkpoint"
    folder.mkdir(parents=True)
    named = AudioLM(one_model.model, one_model.processor, one_model.family, str(folder))
    assert verify(named).model == "checkpoint"


def test_bfloat16_is_measured_by_its_own_rounding() -> None:
    rounded = tiny("audioflamingo3")
    rounded.model.to(torch.bfloat16)
    report = verify(rounded)
    assert report.ok, report.checks
    assert (report.row_noise or 0) > 1e-4 < (report.row_distance or 0)  # more than float32 may be off


# Faults -------------------------------------------------------------------------------------------------------------


def test_wrong_attention_is_found(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = steer_utils.lm.attention._chunk

    def blurred(query: Any, prefix: Any, key: Any, value: Any, mask: Any, scaling: float, kept: Any) -> Any:
        return sound(query, prefix, key, value, mask, 0.9 * scaling, kept)

    monkeypatch.setattr(steer_utils.lm.attention, "_chunk", blurred)
    report = verify(one_model)
    assert {"rows", "logits", "steering"} <= set(off(report)) and not report.ok
    assert "more than 0.0001" in report.checks["rows"] and report.text().splitlines()[-1].startswith("OFF: rows")


def test_wrong_steering_is_found(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Hearing.read
    monkeypatch.setattr(Hearing, "read", lambda self, text, steer, strength: sound(self, text, steer=steer))
    assert off(verify(one_model)) == ["steering"]


def test_a_wrong_answer_is_found(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "answer", lambda self, instruction, max_new_tokens: "another")
    report = verify(one_model)
    assert off(report) == ["answer"] and "'another', where generate gives" in report.checks["answer"]


def test_a_tie_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "answer", lambda self, instruction, max_new_tokens: "another")
    twins = tiny("qwen2_audio")
    twins.model.lm_head.weight[1::2] = twins.model.lm_head.weight[: 2 * (len(twins.model.lm_head.weight) // 2) : 2]
    report = verify(twins)
    assert report.checks["answer"].startswith("OK up to token 0")


def test_audio_that_is_not_laid_out_as_expected_is_found(one_model: AudioLM) -> None:
    family = replace(one_model.family, pooling=4)
    report = verify(AudioLM(one_model.model, one_model.processor, family, "tiny"))
    assert "audio tokens" in report.checks["layout"]
    assert set(report.checks.values()) == {report.checks["layout"], "not tried"} and not report.ok


def test_numbers_that_do_not_hold_are_found() -> None:
    broken = tiny("qwen2_audio")
    broken.blocks[2].self_attn.q_proj.bias[:] = float("nan")
    report = verify(broken)
    assert off(report) == ["numbers", "rows", "logits", "steering", "answer"]
    assert json.dumps(report.as_dict(), allow_nan=False) and "dtype='bfloat16'" in report.checks["numbers"]


def test_what_cannot_run_at_all_is_in_the_report(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = copy.deepcopy(one_model.processor)
    processor.feature_extractor.n_samples *= 2
    processor.feature_extractor.nb_max_frames *= 2
    report = verify(replace(one_model, processor=processor))
    assert "mel input features" in report.checks["layout"] and report.row_distance is None
    monkeypatch.setattr(Hearing, "read_rows", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    report = verify(one_model)
    assert report.checks["rows"] == "CUDA out of memory" and not report.ok


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_seconds_that_hold_no_audio_are_refused(one_model: AudioLM, seconds: float) -> None:
    with pytest.raises(ValueError, match="pass at least 1"):
        verify(one_model, seconds=seconds)
