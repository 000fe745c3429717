"""Opening models: from where, to which device, in which number type, and what is refused before weights are read."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tinies import EVENTS, TINY

from steer_utils.lm import loading
from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.families import FAMILIES, PAPER_FAMILIES, full_size_config
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.loading import Quantisation, fingerprint, open_checkpoint, weight_bytes
from steer_utils.lm.models import POCKET_MODELS, AudioLM, load
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.lm.vectors import SteeringVector
from steer_utils.pocket.architecture import build, save


def test_open_from_a_folder(model_folder: Path, lm: AudioLM) -> None:
    opened = open_checkpoint(model_folder)
    assert opened.family is lm.family
    assert (opened.num_blocks, opened.hidden_size) == (4, 48)
    for fact in ("sampling_rate", "seconds_per_token", "window_seconds"):
        assert getattr(opened, fact) == getattr(lm, fact)
    assert opened.events == ("dog bark", "bell", "siren")
    assert opened.dtype == torch.float32 and opened.device.type == "cpu"
    assert opened.model.config.text_config._attn_implementation == "sdpa"
    assert not opened.model.training
    assert not any(parameter.requires_grad for parameter in opened.model.parameters())
    for name, value in lm.model.state_dict().items():
        assert torch.equal(opened.model.state_dict()[name], value)


def test_small_models_are_float32_unless_asked(one_model: AudioLM, tmp_path: Path) -> None:
    copy.deepcopy(one_model.model).to(torch.bfloat16).save_pretrained(tmp_path)
    one_model.processor.save_pretrained(tmp_path)
    assert open_checkpoint(tmp_path).dtype == torch.float32
    assert open_checkpoint(tmp_path, dtype="bfloat16").dtype == torch.bfloat16


@pytest.fixture
def folder(one_folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    return Path(shutil.copytree(one_folder, tmp_path / "copy"))


def test_the_revision_follows_the_weights(one_folder: Path, folder: Path) -> None:
    assert open_checkpoint(folder).revision == fingerprint(one_folder)
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(bytes(raw))
    assert fingerprint(folder) != fingerprint(one_folder)


def test_the_revision_follows_a_matrix_in_the_middle_of_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merged adapter leaves size, beginning and end of most shards as they were."""
    monkeypatch.setattr(loading, "SAMPLED_MODEL", 2**20)
    monkeypatch.setattr(loading, "WHOLE_FILE", 2**20)
    weights, before = tmp_path / "model-00001-of-00004.safetensors", []
    for matrix in (b"base", b"tune"):
        weights.write_bytes(b"head" * 2**19 + matrix * 2**20 + b"tail" * 2**19)
        before.append(fingerprint(tmp_path))
    assert before[0] != before[1]


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"no config\.json; it holds: notes\.txt"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="is a file"):
        open_checkpoint(tmp_path / "notes.txt")
    with pytest.raises(CheckpointError, match="there is no folder"):
        open_checkpoint("./not/there")


def test_another_kind_of_model_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UnsupportedModelError, match="supported are: Qwen2-Audio"):
        open_checkpoint(tmp_path)


def test_a_model_with_code_of_its_own_is_refused_with_the_reason_where_it_is_known(tmp_path: Path) -> None:
    """Not with the advice to trust that code."""
    code = {"model_type": "phi4mm", "auto_map": {"AutoConfig": "phi.Phi"}}
    (tmp_path / "config.json").write_text(json.dumps(code))
    with pytest.raises(UnsupportedModelError, match="'phi4mm' is not supported: its decoder"):
        open_checkpoint(tmp_path)


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Model"}})
    )
    (tmp_path / "mine.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path)


def test_pickled_weights_are_refused(one_model: AudioLM, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(one_model.model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        open_checkpoint(folder)


def test_damaged_pocket_facts(folder: Path) -> None:
    (folder / "pocket.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"pocket\.json is damaged"):
        open_checkpoint(folder)
    (folder / "pocket.json").unlink()
    assert open_checkpoint(folder).events is None


def test_device_and_device_map_exclude_each_other() -> None:
    with pytest.raises(CheckpointError, match="not both"):
        open_checkpoint("anything/at-all", device="cpu", device_map="auto")


def test_embeddings_that_a_device_map_keeps_on_disk(model_folder: Path, lm: AudioLM, samples: np.ndarray) -> None:
    """What a GPU has no room for lies on the meta device until it runs: ids must go where it runs."""
    parts = {f"model.{name}": "cpu" for name, _ in lm.model.model.named_children()} | {"lm_head": "cpu"}
    spread = load(model_folder, device_map={**parts, "model.language_model": "disk"})
    assert spread.decoder.get_input_embeddings().weight.device.type == "meta"
    assert spread.device == torch.device("cpu")
    readings = [
        checkpoint.hear(samples, sampling_rate=16_000).read(
            "Describe the sound.", steer=SteeringVector(torch.ones(4, 48), (1, 2), torch.ones(4)), strength=2.0
        )
        for checkpoint in (spread, lm)
    ]
    torch.testing.assert_close(readings[0].logits, readings[1].logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(readings[0].attention.share, readings[1].attention.share, atol=1e-5, rtol=0)


def test_non_commercial_weights_from_the_hub_say_so(
    tiny_models: dict[str, AudioLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_models["audioflamingo3"].model.config
    monkeypatch.setattr("steer_utils.lm.loading.AutoConfig.from_pretrained", lambda *_, **__: config)
    with pytest.warns(UserWarning, match="Noncommercial"), pytest.raises(CheckpointError, match="cannot load"):
        open_checkpoint("nvidia/audio-flamingo-3-hf")  # offline: the weights cannot be had


# -- where a model goes, and what it is stored in ----------------------------------------------------------------------
class Reached(Exception):
    """`from_pretrained` was called: all checks before it passed."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """`calls = machine(16e9, 24e9)`: GPUs that have so many bytes free, and what `from_pretrained` is asked."""

    def build(*free: float, cpu: float = 64e9, bfloat16: bool = True) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def called(cls: object, source: object, **options: Any) -> None:
            calls.append(options)
            raise Reached

        def empty(*sizes: int, device: Any = None, **options: Any) -> None:
            if torch.device(device).type == "cuda" and (torch.device(device).index or 0) >= len(free):
                raise RuntimeError("no such GPU")

        monkeypatch.setattr(loading, "gpu_fault", lambda: None)
        monkeypatch.setattr(torch, "empty", empty)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(free))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
        monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {**dict(enumerate(free)), "cpu": cpu})
        monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(called))
        monkeypatch.setattr(loading, "_quantiser", lambda quantise, *_: quantise)
        monkeypatch.setattr(loading, "find_spec", lambda name: True)
        monkeypatch.setattr(loading, "_outline", lambda family, config: OUTLINES[family.model_type])
        return calls

    return build


OUTLINES = {name: loading._outline(FAMILIES[name], full_size_config(name)) for name in PAPER_FAMILIES}
BFLOAT16, FLOAT16, FLOAT32 = torch.bfloat16, torch.float16, torch.float32


@pytest.fixture(params=PAPER_FAMILIES)
def full_size(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the published configuration, said to be in float32, and no weights."""
    config = full_size_config(request.param)
    config.dtype = FLOAT32
    config.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("free", "given", "dtype", "device_map"),
    [
        ((24e9,), {}, BFLOAT16, {"": 0}),
        ((15e9, 24e9), {}, BFLOAT16, {"": 1}),
        ((12e9, 12e9), {}, BFLOAT16, "balanced"),
        ((15e9,), {"quantise": "int8"}, BFLOAT16, {"": 0}),
        ((9e9,), {"quantise": "nf4"}, BFLOAT16, {"": 0}),
        ((24e9, 24e9), {"device": "cuda:1"}, BFLOAT16, {"": 1}),
        ((24e9,), {"device": "cpu"}, BFLOAT16, None),
        ((4e9,), {"device": "auto"}, BFLOAT16, "auto"),
        ((4e9,), {"device_map": {"": "cpu"}}, BFLOAT16, {"": "cpu"}),
        ((40e9,), {"dtype": "float32"}, FLOAT32, {"": 0}),
        ((40e9,), {"dtype": "auto"}, "auto", {"": 0}),  # that is float32
        ((), {}, BFLOAT16, None),
        ((), {"dtype": "torch.float16"}, FLOAT16, None),
    ],
)
def test_a_7b_goes_straight_to_where_it_fits(
    machine: Callable[..., list[dict[str, Any]]],
    full_size: Path,
    free: tuple[float, ...],
    given: dict[str, Any],
    dtype: object,
    device_map: object,
) -> None:
    """16 bits a number, whatever its configuration says, unless another type is asked for."""
    calls = machine(*free)
    with pytest.raises(Reached):
        open_checkpoint(full_size, **given)
    assert (calls[0]["dtype"], calls[0]["device_map"]) == (dtype, device_map)
    assert calls[0].get("quantization_config") == given.get("quantise")


def test_float16_where_the_gpu_has_no_bfloat16_or_the_weights_are_float16(
    machine: Callable[..., list[dict[str, Any]]], full_size: Path
) -> None:
    calls = machine(24e9, bfloat16=False)
    for device in (None, "cpu"):  # a CPU has bfloat16 in any case
        with pytest.raises(Reached):
            open_checkpoint(full_size, device=device)
    config = json.loads((full_size / "config.json").read_text())
    (full_size / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    machine(24e9)
    with pytest.raises(Reached):
        open_checkpoint(full_size)
    assert [call["dtype"] for call in calls] == [FLOAT16, BFLOAT16]


def test_what_does_not_fit_is_refused_with_what_would(
    machine: Callable[..., list[dict[str, Any]]], full_size: Path
) -> None:
    calls = machine(15.5e9)
    sizes = r"takes 18\.\d GB, .* 15\.5 GB free; pass quantise='int8' \(11\.\d GB\), quantise='nf4' \(8\.\d GB\), "
    with pytest.raises(CheckpointError, match=sizes):
        open_checkpoint(full_size)
    with pytest.raises(CheckpointError, match=r"takes 18\.\d GB"):
        open_checkpoint(full_size, device="cuda")
    with pytest.raises(CheckpointError, match=r"takes 3[45]\.\d GB"):
        open_checkpoint(full_size, dtype="auto")  # as stored
    machine(8e9, 6e9)
    with pytest.raises(CheckpointError, match=r"8\.0 GB and 6\.0 GB free"):
        open_checkpoint(full_size)
    with pytest.raises(CheckpointError, match="cannot use the device 'cuda:2'"):
        open_checkpoint(full_size, device="cuda:2")
    assert not calls
    machine(cpu=12.7e9)
    with (
        pytest.warns(UserWarning, match=r"18\.\d GB, and this machine has 12\.7 GB free: .*kill.*nf4"),
        pytest.raises(Reached),
    ):
        open_checkpoint(full_size)


def test_a_small_model_goes_to_the_gpu_as_it_is_stored(
    machine: Callable[..., list[dict[str, Any]]], one_folder: Path, one_model: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = machine(1e9)
    monkeypatch.setattr(loading, "_outline", lambda *_: one_model.model)
    for given in ({}, {"device": "cpu"}):
        with pytest.raises(Reached):
            load(one_folder, **given)
    with pytest.raises(Reached):
        load(POCKET_MODELS[0])
    asked = [(call["dtype"], call["device_map"]) for call in calls]
    assert asked == [("auto", {"": 0}), (FLOAT32, None), (FLOAT32, None)], "a pocket model stays where it was measured"


def test_a_gpu_that_torch_cannot_use_is_said_aloud(one_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "gpu_fault", lambda: "torch 9 is built without CUDA and cannot use Tesla T4")
    for given in ({}, {"device_map": "auto"}):
        with pytest.warns(UserWarning, match="cannot use Tesla T4; the model goes to the CPU"):
            assert load(one_folder, **given).device.type == "cpu"
    with pytest.raises(CheckpointError, match="cannot use the device 'cuda': torch 9 is built without CUDA"):
        load(one_folder, device="cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(one_folder, device="cpu")  # asked for
        load(POCKET_MODELS[0])  # needs none


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"dtype": "float33"}, "dtype is 'float33'; pass one of auto, float32"),
        ({"dtype": torch.int8}, "pass one of auto, float32"),
        ({"dtype": 16}, "pass one of auto, float32"),
        ({"quantise": "int4"}, "quantise is 'int4'; pass one of int8, nf4, torchao-int8"),
        ({"device": "gpu"}, "cannot use the device 'gpu'"),
        ({"revision": "main"}, "is a folder, which has no revisions"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(
    given: dict[str, Any], match: str, one_folder: Path
) -> None:
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(one_folder, **given)


# -- device maps -------------------------------------------------------------------------------------------------------
def test_a_tower_that_a_device_map_leaves_on_the_disk_is_refused(model_folder: Path) -> None:
    for places in (
        {"": "disk"},
        {"": "cpu", "model.audio_tower": "disk"},
        {"": "cpu", "model": "disk", "lm_head": "cpu"},
        {"": "cpu", "model.audio_tower.layers.0": "disk"},
        {"": "cpu", "lm_head": 0},
    ):
        with pytest.raises(CheckpointError, match="the device map leaves the audio tower on the disk"):
            load(model_folder, device_map=places)


def test_a_tower_that_an_automatic_map_left_out_is_refused(
    model_folder: Path, lm: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offloaded(cls: object, source: object, **options: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
        model = copy.deepcopy(lm.model)
        model.model.audio_tower.to("meta")
        return model, dict.fromkeys(("missing_keys", "unexpected_keys", "mismatched_keys"), ())

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(offloaded))
    with pytest.raises(CheckpointError, match="leaves the audio tower on the disk"):
        load(model_folder, device_map="auto")


# -- quantised ---------------------------------------------------------------------------------------------------------
def test_what_a_7b_takes() -> None:
    """In 10⁹ bytes: 16 bits, int8, nf4; the tower (1.3 GB), embeddings and output head stay in 16 bits."""
    sizes = {
        name: [round(weight_bytes(FAMILIES[name], outline, 2, way) / 1e9, 1) for way in (None, "int8", "nf4")]
        for name, outline in OUTLINES.items()
    }
    assert sizes["qwen2_audio"] == [16.8, 10.3, 7.2] and sizes["audioflamingo3"] == [16.5, 10.0, 6.9]


def test_a_package_that_is_lacking_is_named(one_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    for way, package in (("int8", "bitsandbytes"), ("nf4", "bitsandbytes"), ("torchao-int8", "torchao")):
        with pytest.raises(CheckpointError, match=f"needs the package {package}: pip install {package}"):
            open_checkpoint(one_folder, quantise=way)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", PAPER_FAMILIES)
@pytest.mark.parametrize("way", get_args(Quantisation))
def test_quantised_weights_hear_read_steer_and_answer(
    family: str, way: Quantisation, samples: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip(loading.QUANTISERS[way][0])
    model, processor = build(family, EVENTS, size=replace(TINY, width=128, heads=2, feed_forward=128), seed=3)
    save(model, processor, tmp_path, {"events": list(EVENTS)})
    exact, lm = load(tmp_path), load(tmp_path, quantise=way)
    assert (
        lm.numbers
        == {
            "int8": "float32, int8 by bitsandbytes",
            "nf4": "float32, nf4 by bitsandbytes",
            "torchao-int8": "float32, torchao",
        }[way]
    )
    linear = [module.weight for module in lm.model.modules() if isinstance(module, torch.nn.Linear)]
    plain = [weight for weight in linear if type(weight) is torch.nn.Parameter]
    assert len(linear) - len(plain) == 4 * 7, "all matrices of the decoder's blocks"
    assert {weight.dtype for weight in plain} == {torch.float32}, (
        "the tower, the projector and the head are as they were"
    )

    hearing, right = (one.hear(samples, sampling_rate=16_000) for one in (lm, exact))
    vector = hearing.contrast("Focus on the bell.", "Describe the sound.")
    rows = [
        Row("Describe the sound."),
        *(Row("Describe the sound.", Injection(vector, 2.0, at)) for at in ("last", "audio")),
    ]
    for reading, other in zip(hearing.read_rows(rows), right.read_rows(rows), strict=True):
        assert float((reading.logits - other.logits).norm() / other.logits.norm()) < (0.3 if way == "nf4" else 0.05)
    inputs = lm.family.inputs(lm.processor, lm.prompt("Describe the sound."), samples, 16_000)
    with torch.no_grad():
        whole = lm.model(**inputs).logits[0, -1]
    torch.testing.assert_close(hearing.read("Describe the sound.").logits, whole, atol=0.05, rtol=0.05)
    assert isinstance(hearing.answer("Describe the sound.", max_new_tokens=2), str)


def test_numbers_of_weights_that_came_quantised(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_model.numbers == "float32"
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    monkeypatch.setattr(one_model.model.config, "quantization_config", settings, raising=False)
    assert one_model.numbers == "float32, nf4 by bitsandbytes"
    monkeypatch.setattr(one_model.model.config, "quantization_config", {"quant_method": "awq", "bits": 4})
    assert one_model.numbers == "float32, awq"


@pytest.mark.parametrize(
    ("settings", "room"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 9e9),
        ({"quant_method": "awq", "bits": 4}, 9e9),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 12e9),
    ],
)
def test_weights_that_came_quantised(
    settings: dict[str, Any], room: float, machine: Callable[..., list[dict[str, Any]]], full_size: Path
) -> None:
    """They are not quantised again, and take the room that they take."""
    config = json.loads((full_size / "config.json").read_text())
    (full_size / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    calls = machine(room)
    with pytest.raises(CheckpointError, match="quantised already; leave quantise='nf4' out"):
        open_checkpoint(full_size, quantise="nf4")
    with pytest.raises(Reached):
        open_checkpoint(full_size)
    assert calls[0]["device_map"] == {"": 0} and "quantization_config" not in calls[0]
    machine(room - 3e9)
    with pytest.raises(CheckpointError, match=r"GB free; pass device_map='auto'"):
        open_checkpoint(full_size)


# -- what others saved -------------------------------------------------------------------------------------------------
def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def _of_the_head(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in weights if "lm_head" in name)


def _of_a_block(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in weights if name.startswith("language_model") and name.endswith("q_proj.weight"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_weights(lambda weights: weights.pop(_of_a_block(weights))), r"do not hold model.*q_proj"),
        (_weights(lambda weights: weights.pop(_of_the_head(weights))), r"do not hold lm_head\.weight"),
        (
            _weights(lambda weights: weights.update({_of_a_block(weights)[:-6] + "lora_A.weight": torch.ones(2, 48)})),
            r"also hold model.*lora_A",
        ),
        (
            _weights(lambda weights: weights.update({_of_the_head(weights): torch.ones(8, 48)})),
            r"another shape in lm_head\.weight, ",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"version https://git-lfs"),
            "cannot load the model",
        ),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "holds an adapter; merge it"),
    ],
)
def test_weights_that_are_not_whole_or_not_those_of_the_configuration(
    change: Callable[[Path], object], match: str, folder: Path
) -> None:
    """transformers draws what is missing at random and leaves out what is too much; both only log it."""
    change(folder)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(folder)


def test_computed_tables_that_a_release_stored_are_no_obstacle(folder: Path) -> None:
    stored = _weights(lambda held: held.update({_of_a_block(held)[:-13] + "rotary_emb.inv_freq": torch.ones(4)}))
    stored(folder)
    assert "rotary_emb.inv_freq" in " ".join(load_file(folder / "model.safetensors"))
    open_checkpoint(folder)


def test_a_fine_tunes_own_way_to_run_is_not_ours(one_folder: Path, samples: np.ndarray, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    theirs = {"_attn_implementation": "flash_attention_2", "return_dict": False, "use_cache": False}
    parts = {name: {**config[name], **theirs} for name in ("text_config", "audio_config")}
    (folder / "config.json").write_text(json.dumps({**config, **theirs, **parts}))
    logits = [load(path).hear(samples, sampling_rate=16_000).read("bell").logits for path in (folder, one_folder)]
    assert torch.equal(*logits)


def test_blocks_that_do_not_see_the_whole_past_are_refused_before_weights_are_read(
    one_folder: Path, tmp_path: Path
) -> None:
    config = json.loads((one_folder / "config.json").read_text())
    del config["text_config"]["layer_types"]
    config["text_config"] |= {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match="do not see the whole past: sliding_attention"):
        open_checkpoint(tmp_path)


def test_a_prompt_that_cannot_be_is_refused_when_the_model_is_opened(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'][1]['text'] }}")
    with pytest.raises(CheckpointError, match="gives no single audio placeholder"):
        open_checkpoint(folder)
